"""Independent columns of numbers that have a density."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, exp1, gammaln, log1p
from scipy.special import gamma as gamma_function

from expfam_em.families.columns import CentredColumns, IndependentColumns, constant
from expfam_em.families.conjugates import OfWaiting
from expfam_em.families.special import draws, gamma, shares
from expfam_em.families.special.draws import SMALLEST, representable
from expfam_em.family import checked
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.named import POSITIVE
from expfam_em.rows.typing import Array, Block, Mask

LARGEST_BELOW_1 = 1 - float(np.finfo(float).epsneg)


class _Signed(IndependentColumns):
    """Columns whose named parameters, those of ``ranges``, are the natural ones up to ``signs``."""

    signs: tuple[int, ...] = (1, 1)

    @checked.named_by_subclass
    def parameters_of(self, *natural: Array) -> dict[str, Array]:
        return {name: sign * eta for name, sign, eta in zip(self.ranges, self.signs, natural, strict=True)}

    @checked.named_by_subclass
    def natural_from(self, **named: Array) -> tuple[Array, ...]:
        return tuple(sign * named[name] for name, sign in zip(self.ranges, self.signs, strict=True))


class _Positive(IndependentColumns):
    """Columns of positive numbers with finite statistics."""

    needs = "positive numbers"

    def possible(self, x: Array) -> Mask:
        x = np.asarray(x, np.float64)
        return (x > 0) & np.all([np.isfinite(t) for t in (x, *self.statistics_of(x))], axis=0)


class _Waiting(_Signed, Conjugated):
    """One statistic with a Gamma distribution of shape a and rate −η, an exponential one if a = 1."""

    signs = (-1,)
    gamma_shape = 1.0
    factor = 1.0
    """c in A(η) = −a log(−cη); h(x) has the factor c⁻ᵃ."""

    def log_partition_of(self, negative_rate: Array) -> Array:
        return -self.gamma_shape * np.log(-self.factor * negative_rate)

    def expectation_of(self, negative_rate: Array) -> tuple[Array, ...]:
        return (-self.gamma_shape / negative_rate,)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (-self.gamma_shape / mean,)

    def draw_statistic(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return numbers distributed as t."""
        return rng.standard_gamma(self.gamma_shape, size) / -natural[0]

    def conjugate(self) -> Conjugate:
        return OfWaiting(self)


class Exponential(_Waiting):
    """Product of exponential columns: T(x) = x, A(η) = −Σ log(−η), h(x) = 1, η = −rate."""

    sparse = "entries"
    is_identity = True
    needs = "numbers from 0"
    ranges = {"rates": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return self.draw_statistic(natural, size, rng)

    def possible(self, x: Array) -> Mask:
        return (x >= 0) & (x < np.inf)


class Laplace(_Waiting):
    """Product of Laplace columns about a location: T(x) = |x − location|, A(η) = Σ log(−2/η), h(x) = 1, η = −1/scale.

    Parameters
    ----------
    location : float, or (d,)
        Median, where the density has its peak. `FreeLaplace` is the same density with a location estimated for each
        component and column.

    Raises
    ------
    ValueError
        If the location is not finite.
    """

    needs = "finite numbers"
    constants = ("location",)
    ranges = {"scales": POSITIVE}

    def __init__(self, location: ArrayLike = 0.0) -> None:
        self.location = constant("location", location, np.isfinite, "a finite number")

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (np.abs(x - self.location),)

    def log_partition_of(self, negative_rate: Array) -> Array:
        return np.log(2) + super().log_partition_of(negative_rate)

    def parameters_of(self, negative_rate: Array) -> dict[str, Array]:
        return {"scales": -1 / negative_rate}

    def natural_from(self, scales: Array) -> tuple[Array, ...]:
        return (-1 / scales,)

    def mean_of(self, negative_rate: Array) -> Array:
        return np.broadcast_to(self.location, negative_rate.shape)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        distance = self.draw_statistic(natural, size, rng)
        return self.location + np.where(rng.random(size) < 0.5, -distance, distance)


# ---- Gamma and its reciprocal ----------------------------------------------------------------------------------------


class Gamma(CentredColumns, _Signed, _Positive):
    """Product of Gamma columns: T(x) = (log x, x), A(η) = Σ log Γ(a) − a log b, h(x) = Π 1/x, η = (a, −b).

    a is the shape and b the rate; with h(x) = 1/x, and not 1, a small a is not rounded to a − 1.
    """

    order = 2
    signs = (1, -1)
    ranges = {"shapes": POSITIVE, "rates": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.log(x), x

    def log_base_of(self, x: Array) -> Array | None:
        return -np.log(x)

    def log_partition_of(self, signed_shape: Array, negative_rate: Array) -> Array:
        shape, rate = self.signs[0] * signed_shape, -negative_rate
        return np.where((shape > 0) & (rate > 0), gammaln(shape) - shape * np.log(rate), np.inf)

    def expectation_of(self, signed_shape: Array, negative_rate: Array) -> tuple[Array, ...]:
        shape, rate = self.signs[0] * signed_shape, -negative_rate
        return self.signs[0] * (digamma(shape) - np.log(rate)), shape / rate

    def expected_log_base_of(self, *natural: Array) -> Array | None:
        return -self.expectation_of(*natural)[0]

    def mean_of(self, signed_shape: Array, negative_rate: Array) -> Array:
        return signed_shape / -negative_rate

    def middle_of(self, log_mean: Array, mean: Array, /) -> Array:
        return mean ** self.signs[0]

    def recombined(self, origin: Array) -> Any:
        of_log, scale = self.signs[0] * np.ones_like(origin), origin ** -self.signs[0]
        return (of_log, -scale), (0.0, scale)

    def statistics_near(self, x: Array, origin: Array) -> tuple[Array, Array]:
        u = (x - origin) / origin if self.signs[0] > 0 else (origin - x) / x
        return gamma.log1p_less(u), u

    def log_partition_near(self, origin: Array, shape: Array, tilt: Array, /) -> Array:
        # log Γ(a) − a log(a − s) + a − s, of which most cancels where a is large
        inside = (shape > 0) & (tilt < shape)
        of_shape = 0.5 * (gamma.LOG_2PI - np.log(shape)) + gamma.stirling_error(shape)
        return np.where(inside, of_shape - shape * gamma.log1p_less(-tilt / shape), np.inf)

    def expectation_near(self, origin: Array, shape: Array, tilt: Array, /) -> tuple[Array, Array]:
        u = tilt / (shape - tilt)
        return gamma.log1p_less(u) - gamma.log_minus_digamma(shape), u

    def natural_near(self, origin: Array, curved: Array, u: Array, /) -> tuple[Array, Array]:
        of_mean = gamma.log1p_less(u)
        shape = gamma.inverse_log_minus_digamma(gamma.above_rounding(of_mean - curved, of_mean, curved))
        return shape, shape * (u / (1 + u))

    def natural_of(self, log_mean: Array, mean: Array) -> tuple[Array, ...]:
        # log a − ψ(a) = log E[t₂] − E[log t₂]
        excess, size = np.log(mean) - self.signs[0] * log_mean, 1 + np.abs(log_mean)
        shape = gamma.inverse_log_minus_digamma(np.where(excess > gamma.DIFFERENCE_ROUNDING * size, excess, np.nan))
        return self.signs[0] * shape, -shape / mean

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return representable(np.exp(draws.log_gamma(natural[0], size, rng) - np.log(-natural[1])))


class InverseGamma(Gamma):
    """Product of inverse Gamma columns: T(x) = (log x, 1/x), A(η) = Σ log Γ(a) − a log b, h(x) = Π 1/x, η = (−a, −b).

    a is the shape and b the scale: 1/x has a Gamma distribution with rate b.
    """

    signs = (-1, -1)
    ranges = {"shapes": POSITIVE, "scales": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.log(x), 1 / x

    def mean_of(self, minus_shape: Array, minus_scale: Array) -> Array:
        return np.where(minus_shape < -1, minus_scale / (1 + minus_shape), np.inf)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return representable(np.exp(np.log(-natural[1]) - draws.log_gamma(-natural[0], size, rng)))


# ---- powers ----------------------------------------------------------------------------------------------------------


class Weibull(_Waiting, _Positive):
    """Product of Weibull columns of shape k: T(x) = x^k, A(η) = −Σ log(−η), h(x) = Π k x^(k − 1), η = −scale^(−k).

    Parameters
    ----------
    shape : float > 0, or (d,)
        The power k. `FreeWeibull` is the same density with a shape estimated for each component and column.

    Raises
    ------
    ValueError
        If the shape is not positive.
    """

    seed_smoothing = 0.0  # x^k > 0 is inside the expectation space
    needs = "positive numbers with a finite power"
    constants = ("shape",)
    ranges = {"scales": POSITIVE}

    def __init__(self, shape: ArrayLike) -> None:
        self.shape = constant("shape", shape, lambda shape: shape > 0, "positive")

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x**self.shape,)

    def log_base_of(self, x: Array) -> Array | None:
        return np.log(self.shape) + (self.shape - 1) * np.log(x)

    def expected_log_base_of(self, negative_rate: Array) -> Array | None:
        log_x = -(np.log(-negative_rate) + np.euler_gamma) / self.shape
        return np.log(self.shape) + (self.shape - 1) * log_x

    def parameters_of(self, negative_rate: Array) -> dict[str, Array]:
        return {"scales": (-negative_rate) ** (-1 / self.shape)}

    def natural_from(self, scales: Array) -> tuple[Array, ...]:
        return (-(scales**-self.shape),)

    def mean_of(self, negative_rate: Array) -> Array:
        return self.parameters_of(negative_rate)["scales"] * gamma_function(1 + 1 / np.asarray(self.shape))

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return representable(self.draw_statistic(natural, size, rng) ** (1 / self.shape))


class _Length(_Waiting, _Positive):
    """Length of ν = 2a normal numbers: T(x) = x², A(η) = −a Σ log(−2η), h(x) ∝ Π x^(ν − 1), η = −1/(2 scale²)."""

    needs = "positive numbers with a finite square"
    seed_smoothing = 0.0  # x² > 0 is inside the expectation space
    factor = 2.0
    ranges = {"scales": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x * x,)

    def log_base_of(self, x: Array) -> Array | None:
        return self._log_base(np.log(x) if self.gamma_shape > 0.5 else np.zeros(np.shape(x)))  # x may be 0

    def expected_log_base_of(self, negative_rate: Array) -> Array | None:
        return self._log_base((digamma(self.gamma_shape) - np.log(-negative_rate)) / 2)

    def _log_base(self, log_x: Array) -> Array:
        a = self.gamma_shape
        return (1 - a) * np.log(2) - gammaln(a) + (2 * a - 1) * log_x

    def parameters_of(self, negative_rate: Array) -> dict[str, Array]:
        return {"scales": np.sqrt(-0.5 / negative_rate)}

    def natural_from(self, scales: Array) -> tuple[Array, ...]:
        return (-0.5 / scales / scales,)  # the square may be beyond the range of float64

    def mean_of(self, negative_rate: Array) -> Array:
        a = self.gamma_shape
        return self.parameters_of(negative_rate)["scales"] * np.sqrt(2) * gamma_function(a + 0.5) / gamma_function(a)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return representable(np.sqrt(self.draw_statistic(natural, size, rng)))


class HalfNormal(_Length):
    """Product of half-normal columns: T(x) = x², A(η) = −½ Σ log(−2η), h(x) = Π √(2/π), η = −1/(2 scale²)."""

    needs = "numbers from 0 with a finite square"
    seed_smoothing = 0.5  # x may be 0
    gamma_shape = 0.5

    def possible(self, x: Array) -> Mask:
        return (np.asarray(x) == 0) | super().possible(x)


class Rayleigh(_Length):
    """Product of Rayleigh columns: T(x) = x², A(η) = −Σ log(−2η), h(x) = Π x, η = −1/(2 scale²)."""

    gamma_shape = 1.0


class Maxwell(_Length):
    """Product of Maxwell columns: T(x) = x², A(η) = −3/2 Σ log(−2η), h(x) = Π √(2/π) x², η = −1/(2 scale²)."""

    gamma_shape = 1.5


class Pareto(_Waiting):
    """Product of Pareto columns from a known minimum: T(x) = log(x / minimum), A(η) = −Σ log(−η), h(x) = Π 1/x.

    η = −exponent, the power by which P(X > x) falls.

    Parameters
    ----------
    minimum : float > 0, or (d,)
        Where the density starts.

    Raises
    ------
    ValueError
        If the minimum is not positive.
    """

    needs = "numbers from the minimum"
    constants = ("minimum",)
    ranges = {"exponents": POSITIVE}

    def __init__(self, minimum: ArrayLike) -> None:
        self.minimum = constant("minimum", minimum, lambda minimum: minimum > 0, "positive")

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        # of x close to the minimum the difference is exact, the quotient is rounded
        return (log1p((x - self.minimum) / self.minimum),)

    def log_base_of(self, x: Array) -> Array | None:
        return -np.log(x)

    def expected_log_base_of(self, negative_exponent: Array) -> Array | None:
        return 1 / negative_exponent - np.log(self.minimum)

    def mean_of(self, negative_exponent: Array) -> Array:
        exponent = -negative_exponent
        return np.where(exponent > 1, self.minimum * exponent / (exponent - 1), np.inf)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        excess = self.minimum * np.expm1(self.draw_statistic(natural, size, rng))
        return representable(self.minimum + excess)

    def possible(self, x: Array) -> Mask:
        return (x >= self.minimum) & (x < np.inf)


# ---- InverseGaussian -------------------------------------------------------------------------------------------------


class InverseGaussian(CentredColumns, _Positive):
    """Product of inverse Gaussian columns, of mean μ and shape λ: T(x) = (x, 1/x), h(x) = Π (2πx³)^(−½).

    A(η) = −Σ 2 √(η₁η₂) + ½ log(−2η₂) and η = (−λ/(2μ²), −λ/2).
    """

    order = 2
    ranges = {"means": POSITIVE, "shapes": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return x, 1 / x

    def log_base_of(self, x: Array) -> Array | None:
        return -0.5 * gamma.LOG_2PI - 1.5 * np.log(x)

    def log_partition_of(self, first: Array, second: Array) -> Array:
        return -2 * _root(first, second) - 0.5 * np.log(-2 * second)

    def expectation_of(self, first: Array, second: Array) -> tuple[Array, ...]:
        mean = np.sqrt(-second) / np.sqrt(-first)
        return mean, 1 / mean - 0.5 / second

    def expected_log_base_of(self, first: Array, second: Array) -> Array | None:
        # E[log x] = log μ − e^z E₁(z) for z = 2λ/μ
        (mean, _), z = self.expectation_of(first, second), 4 * _root(first, second)
        return -0.5 * gamma.LOG_2PI - 1.5 * (np.log(mean) - _scaled_exp1(z))

    def middle_of(self, mean: Array, mean_reciprocal: Array, /) -> Array:
        return mean

    def recombined(self, origin: Array) -> Any:
        return (-0.5 / origin, -0.5 * origin), (1 / origin, 0.0)

    def statistics_near(self, x: Array, origin: Array) -> tuple[Array, Array]:
        u = (x - origin) / origin
        return -0.5 * u * ((x - origin) / x), u

    def log_partition_near(self, origin: Array, shape: Array, tilt: Array, /) -> Array:
        # in units of the origin, for λ = shape and λ/μ² = shape − 2 tilt: ½ (√λ − √(λ/μ²))² − ½ log λ
        first = shape - 2 * tilt
        step = 2 * tilt / (np.sqrt(shape) + np.sqrt(first))
        return np.where((shape > 0) & (first > 0), 0.5 * step**2 - 0.5 * np.log(shape) - 0.5 * np.log(origin), np.inf)

    def expectation_near(self, origin: Array, shape: Array, tilt: Array, /) -> tuple[Array, Array]:
        # μ − 1 for μ = √(λ/(λ − 2 tilt))
        first = shape - 2 * tilt
        u = 2 * tilt / (np.sqrt(first) * (np.sqrt(shape) + np.sqrt(first)))
        return -0.5 * (u * u / (1 + u) + 1 / shape), u

    def natural_near(self, origin: Array, curved: Array, u: Array, /) -> tuple[Array, Array]:
        of_mean = -0.5 * (u * u / (1 + u))
        shape = 0.5 / gamma.above_rounding(of_mean - curved, of_mean, curved)
        return shape, 0.5 * shape * (u * (2 + u) / (1 + u) ** 2)

    def natural_of(self, mean: Array, mean_reciprocal: Array) -> tuple[Array, ...]:
        excess = mean_reciprocal - 1 / mean  # 1/λ
        shape = 1 / np.where(excess > gamma.DIFFERENCE_ROUNDING * mean_reciprocal, excess, np.nan)
        return -shape / 2 / mean / mean, -shape / 2

    def parameters_of(self, first: Array, second: Array) -> dict[str, Array]:
        return {"means": self.expectation_of(first, second)[0], "shapes": -2 * second}

    def natural_from(self, means: Array, shapes: Array) -> tuple[Array, ...]:
        return -shapes / 2 / means / means, -shapes / 2

    def mean_of(self, first: Array, second: Array) -> Array:
        return self.expectation_of(first, second)[0]

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        # x/μ + μ/x − 2 is w = (μ/λ) N²: its smaller root, in a form that does not cancel, or the larger one
        mean = self.expectation_of(*natural)[0]
        square = rng.standard_normal(size) ** 2
        w = square / (2 * _root(*natural))
        root = 2 / (2 + w + np.sqrt(w) * np.sqrt(4 + w))
        x = mean * np.where(rng.random(size) * (1 + root) <= 1, root, 1 / root)
        return representable(np.where(mean < np.inf, x, -2 * natural[1] / square))  # λ/N² without a finite mean


def _root(first: Array, second: Array) -> Array:
    """Return √(η₁η₂) = λ/(2μ), without underflow."""
    return np.sqrt(-first) * np.sqrt(-second)


def _scaled_exp1(z: Array) -> Array:
    """Return e^z E₁(z), by its continued fraction where it converges quickly."""
    near = np.minimum(z, 2.0)
    far, fraction = np.maximum(z, 2.0), np.zeros(np.shape(z))
    for step in range(60, 0, -1):
        fraction = step * step / (far + 2 * step + 1 - fraction)
    return np.where(z < 2, np.exp(near) * exp1(near), 1 / (far + 1 - fraction))


# ---- Beta ------------------------------------------------------------------------------------------------------------


class Beta(CentredColumns, _Signed):
    """Product of Beta columns: T(x) = (log x, log(1 − x)), A(η) = Σ log B(a, b), h(x) = Π 1/(x (1 − x)), η = (a, b)."""

    order = 2
    needs = "numbers between 0 and 1, these excluded"
    ranges = {"alphas": POSITIVE, "betas": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.log(x), log1p(-x)

    def log_base_of(self, x: Array) -> Array | None:
        return -np.log(x) - log1p(-x)

    def log_partition_of(self, alpha: Array, beta: Array) -> Array:
        return gamma.log_beta(alpha, beta)

    def expectation_of(self, alpha: Array, beta: Array) -> tuple[Array, ...]:
        return -gamma.digamma_difference(alpha, beta), -gamma.digamma_difference(beta, alpha)

    def expected_log_base_of(self, alpha: Array, beta: Array) -> Array | None:
        return -sum(self.expectation_of(alpha, beta), np.zeros(()))

    def mean_of(self, alpha: Array, beta: Array) -> Array:
        return alpha / (alpha + beta)

    def middle_of(self, log_mean: Array, log_mean_of_rest: Array, /) -> Array:
        middle = 1 / (1 + np.exp(log_mean_of_rest - log_mean))
        return np.clip(middle, SMALLEST, LARGEST_BELOW_1)

    def recombined(self, origin: Array) -> Any:
        return (1 / (1 - origin), 1 / origin), (1.0, -1.0)

    def statistics_near(self, x: Array, origin: Array) -> tuple[Array, Array]:
        rest, step = 1 - origin, x - origin
        curved = gamma.log1p_less(step / origin) / rest + gamma.log1p_less(-step / rest) / origin
        return curved, log1p(step / origin) - log1p(-step / rest)

    def _near(self, origin: Array, shape: Array, tilt: Array) -> tuple[Array, Array, Array]:
        """Return α as `shares` takes it."""
        m = np.stack(np.broadcast_arrays(origin, 1 - origin), axis=-1)
        return (shape / (origin * (1 - origin)))[..., None], np.stack([tilt, -tilt], axis=-1), m

    def log_partition_near(self, origin: Array, shape: Array, tilt: Array, /) -> Array:
        return shares.partition(*self._near(origin, shape, tilt))

    def expectation_near(self, origin: Array, shape: Array, tilt: Array, /) -> tuple[Array, Array]:
        g, curved = shares.means(*self._near(origin, shape, tilt))
        return curved / (origin * (1 - origin)), g[..., 0] - g[..., 1]

    def natural_near(self, origin: Array, curved: Array, difference: Array, /) -> tuple[Array, Array]:
        rest, curved = 1 - origin, origin * (1 - origin) * curved
        g = np.stack([curved + rest * difference, curved - origin * difference], axis=-1)
        m = np.stack(np.broadcast_arrays(origin, rest), axis=-1)
        total, z = shares.from_means(g, curved, m)
        total, tilt = total[..., 0], total[..., 0] * origin * np.expm1(z[..., 0])
        # rows that differ much have digits enough in T itself
        alpha, beta = self.natural_of(np.log(origin) + g[..., 0], log1p(-origin) + g[..., 1])
        wide = ~(total > shares.LARGE_TOTAL)
        total, tilt = np.where(wide, alpha + beta, total), np.where(wide, alpha * rest - beta * origin, tilt)
        return total * origin * rest, tilt

    def natural_of(self, log_mean: Array, log_mean_of_rest: Array) -> tuple[Array, ...]:
        return gamma.shapes_of_beta(-log_mean, -log_mean_of_rest)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return np.clip(rng.beta(natural[0], natural[1], size), SMALLEST, LARGEST_BELOW_1)

    def possible(self, x: Array) -> Mask:
        return (x > 0) & (x < 1)
