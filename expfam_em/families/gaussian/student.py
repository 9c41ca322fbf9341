"""Multivariate t densities: normal ones with an unobserved scale for each row, so that outliers count less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, gammaln

from expfam_em.families.gaussian.bulk import middles
from expfam_em.families.gaussian.framed import coordinates_of, plain
from expfam_em.families.gaussian.gaussian import Gaussian, moments_of, power_of_two, read_moments
from expfam_em.families.gaussian.models import MODELS
from expfam_em.families.gaussian.scaled import LARGEST_DEGREES, Scaled, weighted_by_scales
from expfam_em.families.special import draws
from expfam_em.families.special.gamma import ASYMPTOTIC_FROM, LOG_2PI, inverse_log_minus_digamma, log_beta, stirling
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conditionals import Conditionals
from expfam_em.family.frames import Frames
from expfam_em.family.optional import FramedBy, Incomplete, in_own_frames
from expfam_em.rows.typing import Array, Block, Integers, Mask

OUTLYING = 1e3
"""How many times as wide as the bulk the rows as a whole are where their frame is about the bulk."""

NEARLY_NORMAL = 30.0
"""Degrees of freedom from which the kurtosis says how many they are."""

GUESS = 4.0
"""Degrees of freedom to start from."""

GUESSED_SCALE = float(digamma(GUESS / 2) - np.log(GUESS / 2))
"""E[log u − u + 1] for them."""


class StudentT(Scaled, FramedBy, Incomplete):
    """t density, a normal one of covariance Σ/u with an unobserved u that follows a Gamma density of mean 1.

    The complete data are (x, u): T = (u z, u zzᵀ, u, log u − u + 1) with z as in `Gaussian`,
    η = (Λμ, −½Λ, −½ μᵀΛμ, ν/2) for Λ = Σ⁻¹ in z, and A(η) = ½ log|Σ| + log Γ(ν/2) − (ν/2) log(ν/2) + ν/2. The third
    parameter follows from the first two. The E-step takes E[u|x] = (ν + d)/(ν + δ²) with δ² = (x − μ)ᵀΣ⁻¹(x − μ), and
    E[log u|x] = ψ((ν + d)/2) − log((ν + δ²)/2) (Peel & McLachlan 2000).

    Estimated degrees of freedom may be infinite: the component is then normal, and `Mixture.edges` names it. This is
    tried where the rows have a kurtosis E[δ⁴] of at most d (d + 2), that of the normal density (Mardia 1970).

    Parameters
    ----------
    degrees_of_freedom : float > 0, optional
        ν; estimated for each component if None.
    covariance_type : {"full", "diag", "spherical"}
        Of the scale matrices Σ.
    variance_floor : float ≥ 0
        Smallest eigenvalue of Σ, as in `Gaussian`.

    Raises
    ------
    ValueError
        If ν is not positive, or the covariance type another one.
    """

    sparse, framed_by, its_natural = "never", "normal", slice(None, -2)
    coupled = False
    _curved = True
    incidental = ("bulk",)

    def __init__(
        self,
        degrees_of_freedom: float | None = None,
        covariance_type: str = "full",
        *,
        variance_floor: float = 1e-14,
    ) -> None:
        if covariance_type not in ("full", "diag", "spherical"):
            raise ValueError(f"covariance_type is {covariance_type!r}; it must be one of full, diag, spherical")
        if degrees_of_freedom is not None and not 0 < degrees_of_freedom < np.inf:
            raise ValueError(f"degrees_of_freedom is {degrees_of_freedom!r}; it must be positive and finite, or None")
        self.degrees_of_freedom = degrees_of_freedom
        self.bulk: tuple[Array, Array] | None = None
        self.normal = Gaussian(covariance_type, variance_floor=variance_floor)

    @property
    def _form(self) -> Any:
        return MODELS[self.normal.covariance_type].form

    # ---- packed parameters: those of the normal density, and two more ---------------------------------------

    @property
    def has_limits(self) -> bool:  # type: ignore[override]
        return self.degrees_of_freedom is None

    def _unpacked(self, natural):
        """Return mean, covariance and ν in the frame."""
        natural = np.atleast_2d(natural)
        mean, covariance = self._form.moments(natural[:, :-2])
        return mean, covariance, 2 * natural[:, -1]

    def _packed(self, mean, covariance, degrees):
        natural = self._form.natural(mean, covariance)
        energy = -0.5 * np.sum(natural[:, : mean.shape[1]] * mean, axis=1)
        return np.column_stack([natural, energy, degrees / 2])

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return moments_of(X, sample_weight, with_values=True)

    def bound(self, summary: Any) -> Self:
        """Return a copy with the frame of `Gaussian`, and with the place and width of the bulk of the rows."""
        normal: Any = self.normal.bound(summary)
        middle, width = middles(summary.values)
        if self._form.isotropic:
            width = np.full_like(width, np.sqrt(np.mean(width**2)))
        outlying = normal.scale > OUTLYING * width
        if outlying.any():  # the mean and the spread are those of outliers, in units of which the bulk has no digits
            scale = np.where(outlying, power_of_two(width), normal.scale)
            shift = np.where(outlying, np.round(middle / scale * 64) / 64 * scale, normal.shift)
            normal = normal.replace(shift=shift, scale=scale)
        return self.replace(normal=normal, bulk=(middle, width))

    def sufficient_statistics(self, X: Block) -> Array:
        scale = np.tile([1.0, GUESSED_SCALE], (len(X), 1))
        return np.concatenate([self.normal.sufficient_statistics(X), scale], axis=1)

    def log_partition(self, natural: Array) -> Array:
        mean, _, degrees = self._unpacked(natural)
        half = np.where(degrees > 0, degrees / 2, np.nan)
        # the normal A is ½ (μᵀΛμ + log|Σ|), and the first of these belongs to the third statistic here
        of_normal = self.normal.log_partition(natural[:, :-2])
        of_normal = of_normal - 0.5 * np.sum(natural[:, : mean.shape[1]] * mean, axis=1)
        return np.where(np.isfinite(of_normal), of_normal + _of_scale(half), np.inf)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # that of the complete data would say nothing about x

    def to_expectation(self, natural: Array) -> Array:
        mean, covariance, degrees = self._unpacked(natural)
        half = degrees / 2
        normal = self._form.expectation(mean, covariance)
        return np.column_stack([normal, np.ones(len(half)), digamma(half) - np.log(half)])

    def to_natural(self, expectation: Array) -> Array:
        form, scale = self._form, expectation[:, -2]
        mean = expectation[:, : form.n_features(expectation.shape[1] - 2)] / scale[:, None]
        # E[u zzᵀ] − E[u] μμᵀ, which is E[u] times the covariance of z weighted by u
        covariance = form.central(expectation[:, :-2] / scale[:, None])[1]
        covariance = covariance * scale.reshape(-1, *[1] * (covariance.ndim - 1))
        covariance = coordinates_of(self.normal, mean.shape[1]).floored(covariance)
        if self.degrees_of_freedom is not None:
            return self._packed(mean, covariance, np.full(len(mean), float(self.degrees_of_freedom)))
        degrees = 2 * inverse_log_minus_digamma(-expectation[:, -1])
        return self._packed(mean, covariance, np.where(degrees < LARGEST_DEGREES, degrees, LARGEST_DEGREES))

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        natural = self.to_natural(sums / counts[:, None])
        if previous is not None and self.degrees_of_freedom is None:
            in_limit = 2 * previous[:, -1] >= LARGEST_DEGREES  # only `at_edges` leaves it; here it would be rounding
            natural[in_limit, -1] = LARGEST_DEGREES / 2
        return natural

    def typical(self, mean: Array) -> Array:
        """Return T of the bulk of the rows: no outlier moves it, as it moves means and variances."""
        if self.bulk is None:
            return mean
        middle, width = self.bulk
        form, shared = self._form, coordinates_of(self.normal, len(middle))
        place = (middle - shared.shift) / shared.scale
        covariance = form.square(form.root_of_scale(width / shared.scale))
        typical = form.expectation(place[None], covariance[None])[0]
        return np.column_stack([np.tile(typical, (len(mean), 1)), np.tile([1.0, GUESSED_SCALE], (len(mean), 1))])

    def seed(self, expectation: Array, mean: Array) -> Array:
        of_normal = self.normal.seed(expectation[:, :-2], mean[:, :-2])
        return np.column_stack([of_normal, expectation[:, -2:]])

    # ---- the E-step -----------------------------------------------------------------------------------------

    def _standardised(self, X, n_components):
        """Yield z of rows in the frame of each component."""
        shifts, roots = coordinates_of(self.normal, X.shape[1]).of_each(n_components)
        X = np.asarray(X, np.float64)
        for shift, root in zip(shifts, roots, strict=True):
            yield self._form.solve_rows(root, X - shift)

    def _distances(self, X, natural):
        """Return δ² of rows from components, (n, K), roots of the covariances, in the frames, and ν."""
        mean, covariance, degrees = self._unpacked(natural)
        roots = self._form.root(covariance)
        places = zip(self._standardised(X, len(mean)), roots, mean, strict=True)
        squares = [np.sum(self._form.solve_rows(root, Z - m) ** 2, axis=1) for Z, root, m in places]
        return np.stack(squares, axis=1), roots, degrees

    def log_density(self, X: Block, natural: Array) -> Array:
        squares, roots, degrees = self._distances(X, natural)
        return self._log_density(X.shape[1], squares, self._log_volumes(X.shape[1], roots), degrees)

    def paired_log_density(self, X: Block, natural: Array) -> Array:
        (mean, covariance, degrees), form = self._unpacked(natural), self._form
        shifts, frames = coordinates_of(self.normal, X.shape[1]).of_each(len(natural))
        roots = form.root(covariance)
        Z = form.solve(roots, form.solve(frames, np.asarray(X, np.float64) - shifts) - mean)
        return self._log_density(X.shape[1], np.sum(Z**2, axis=1), self._log_volumes(X.shape[1], roots), degrees)

    def _log_volumes(self, d, roots):
        """Return ½ log|Σ| of x, given roots of Σ in the frames."""
        frames = coordinates_of(self.normal, d).of_each(len(roots))[1]
        return self._form.log_volume(roots, d) + self._form.log_volume(frames, d)

    def _log_density(self, d, squares, log_volumes, degrees):
        half = degrees / 2
        # Γ((ν + d)/2)/(Γ(ν/2) (νπ)^(d/2)) through the Beta function: both Γ are huge for large ν
        constant = gammaln(d / 2) - log_beta(half, d / 2) - 0.5 * d * np.log(degrees * np.pi)
        heavy = constant - log_volumes - (half + 0.5 * d) * np.log1p(squares / degrees)
        return np.where(degrees < LARGEST_DEGREES, heavy, -0.5 * (squares + d * LOG_2PI) - log_volumes)

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        squares, _, degrees = self._distances(X, natural)
        weighted, last = weighted_by_scales(responsibilities, squares, degrees, X.shape[1])
        return np.column_stack([self.normal.sums(X, weighted), weighted.sum(axis=0), last])

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        squares = self._distances(X, natural)[0]
        out = np.zeros_like(natural)
        out[:, 0], out[:, 1] = np.sum(responsibilities * squares, axis=0), np.sum(responsibilities * squares**2, axis=0)
        return out

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        if not self.has_limits:
            return natural
        mean, covariance, degrees = self._unpacked(natural)
        d, (square, fourth) = mean.shape[1], (sums[:, :2] / counts[:, None]).T
        excess = fourth / square**2 * d / (d + 2) - 1
        # (ν − 2)/(ν − 4) is 1 + excess
        of_moments = np.where(excess > 0, np.minimum(4 + 2 / excess, LARGEST_DEGREES), LARGEST_DEGREES)
        # close to the limit steps are slow, and degrees far below it are a long way off
        near = (of_moments > NEARLY_NORMAL) & (of_moments > 2 * degrees)
        to_limit = np.where(degrees > NEARLY_NORMAL, LARGEST_DEGREES, degrees)
        new = np.where((degrees < LARGEST_DEGREES) & ~near & (excess > 0), to_limit, of_moments)
        factor = square / d * np.where(new < LARGEST_DEGREES, 1 - 2 / new, 1.0)
        covariance = covariance * factor.reshape(-1, *[1] * (covariance.ndim - 1))
        moved = self._packed(mean, coordinates_of(self.normal, d).floored(covariance), new)
        return np.where((new == degrees)[:, None], natural, moved)

    def guess(self, X: Block, responsibilities: Array) -> Array:
        counts = responsibilities.sum(axis=0)
        return np.column_stack([self.normal.sums(X, responsibilities), counts, GUESSED_SCALE * counts])

    # ---- frames: those of the normal density ----------------------------------------------------------------

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        found = self.normal.choose_frames(natural[:, :-2], expectation[:, :-2] / expectation[:, -2:-1])
        return None if found is None else (found[0], self.translate(natural, self.with_frames(found[0])))

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        return self.normal.rescue_frames(natural[:, :-2], expectation[:, :-2] / expectation[:, -2:-1], proper)

    def edges(self, natural: Array) -> dict[str, Mask]:
        found = self.normal.edges(natural[:, :-2])
        if self.has_limits:
            found["normal, of infinite degrees_of_freedom"] = 2 * natural[:, -1] >= LARGEST_DEGREES
        return found

    # ---- as users know it -----------------------------------------------------------------------------------

    def parameters(self, natural: Array) -> dict[str, Array]:
        means, scales = self.normal.to_moments(np.atleast_2d(natural)[:, :-2])
        degrees = 2 * np.atleast_2d(natural)[:, -1]
        if self.has_limits:
            degrees = np.where(degrees < LARGEST_DEGREES, degrees, np.inf)
        return {"means": means, "scales": scales, "degrees_of_freedom": degrees}

    def _ranges(self) -> Mapping[str, named.Parameter]:
        moments = {"means": named.FINITE, "scales": self.normal._model.parameter()}
        return moments | {"degrees_of_freedom": named.POSITIVE_OR_LIMIT._replace(axes=())}

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of means (K, d), scales and degrees of freedom (K,).

        Scales are (K, d, d), (K, d) or (K,), as the covariance type has them. Degrees of freedom are not needed where
        they are a constant of the family.
        """
        family, normal = self.with_frames(None), self.normal.with_frames(None)
        known = self.degrees_of_freedom
        constant = () if known is None else ("degrees_of_freedom",)
        arrays, used = read_moments(self, normal, given, constant)
        if known is None:
            degrees = np.minimum(used["degrees_of_freedom"], LARGEST_DEGREES)
        else:
            degrees = np.full(len(used["means"]), float(known))
        shared = coordinates_of(normal, used["means"].shape[1])
        with np.errstate(all="ignore"):
            mean, scale = shared.into_shared(used["means"], self._form.given(used["scales"]))
            natural = family._packed(mean, shared.floored(scale), degrees)
        return in_own_frames(self, named.finished(family, natural, arrays, used))

    def n_parameters(self, n_components: int) -> int:
        if self.normal.shift is None:
            raise ValueError("a StudentT counts its parameters once its dimension is known: call bind first")
        p = plain(self._form, len(self.normal.shift)).n_statistics
        return n_components * (p + (self.degrees_of_freedom is None))

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        [mean], scale = self.normal.to_moments(natural[None, :-2])
        normal, half = self._form.draw(scale[0], rng.standard_normal((n, len(mean)))), natural[-1]
        log_u = draws.log_gamma(half, (n,), rng) - np.log(half)
        log_u = log_u if 2 * half < LARGEST_DEGREES else 0 * log_u
        with np.errstate(over="ignore"):
            return np.clip(mean + normal * np.exp(-log_u / 2)[:, None], -draws.LARGEST, draws.LARGEST)

    def translate(self, natural: Array, target: Any) -> Array:
        moved, form = self.normal.translate(natural[:, :-2], target.normal), target._form
        packed = target._packed(*form.moments(moved), 2 * natural[:, -1])
        if (lost := ~np.isfinite(packed).all(axis=1)).any():  # a precision that cannot be inverted there
            mean = self.normal.mean_in(natural[:, :-2], target.normal)
            energy = -0.5 * np.sum(moved[:, : mean.shape[1]] * mean, axis=1)
            packed[lost] = np.column_stack([moved, energy, natural[:, -1]])[lost]
        return packed

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        scale = expectation[:, -2:-1]
        moved = self.normal.translate_expectation(expectation[:, :-2] / scale, target.normal)
        return np.concatenate([moved * scale, expectation[:, -2:]], axis=1)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        part, of_normal = self.normal.marginal(natural[:, :-2], columns)
        family = self.replace(normal=part, bulk=None)
        mean, covariance = family._form.moments(of_normal)
        return family, family._packed(mean, covariance, 2 * natural[:, -1])

    def conditional(self, natural: Array, columns: Integers, values: Array) -> tuple[ExponentialFamily, Array]:
        part, means, scales, move, degrees = self._regression(natural, columns)
        shift, stretch = (each[0] for each in move(values[None]))
        stretched = self._form.given(scales)
        stretched = stretched * stretch.reshape(-1, *[1] * (stretched.ndim - 1)) ** 2
        return part._of_moments(means + shift, self._form.shown(stretched), degrees)

    def conditionals(self, natural: Array, columns: Integers) -> Conditionals:
        part, means, scales, move, degrees = self._regression(natural, columns)

        def about_means(values: Array) -> tuple[Array, Array]:
            shift, stretch = move(values)
            return means + shift, stretch

        family, eta = part._of_moments(np.zeros_like(means), scales, degrees)
        return Conditionals(family, eta, about_means)

    def _regression(self, natural, columns):
        """Return what `Gaussian.regression` does of the normal density, and the degrees of freedom.

        Values move the means and stretch the roots of the scales by √((ν + δ²)/(ν + g)), with δ² their squared
        distance from the means of the g columns, and there are ν + g degrees of freedom then (Ding 2016).
        """
        g, form, degrees = len(columns), self._form, 2 * natural[:, -1]
        part, means, scales, shift = self.normal.regression(natural[:, :-2], columns)
        centres, of_given = self.normal.to_moments(natural[:, :-2])
        roots = form.root(form.given(form.marginal(of_given, columns)))

        def move(values: Array) -> tuple[Array, Array]:
            each = zip(roots, centres[:, columns], strict=True)
            squares = [np.sum(form.solve_rows(root, values - centre) ** 2, axis=1) for root, centre in each]
            return shift(values), np.sqrt((degrees + np.stack(squares, axis=1)) / (degrees + g))[:, :, None]

        known = None if self.degrees_of_freedom is None else self.degrees_of_freedom + g
        return self.replace(normal=part, degrees_of_freedom=known), means, scales, move, degrees + g

    def _of_moments(self, means, scales, degrees):
        """Return this family and natural parameters in its shared frame."""
        mean, covariance = self._form.moments(self.normal.from_moments(means, scales))
        return self, self._packed(mean, covariance, degrees)

    def mean(self, natural: Array) -> Array:
        """Return the means, (K, d); NaN for up to one degree of freedom, where there is none."""
        return np.where(natural[:, -1:] > 0.5, self.normal.to_moments(natural[:, :-2])[0], np.nan)

    def __repr__(self) -> str:
        given = [] if self.degrees_of_freedom is None else [f"{self.degrees_of_freedom:g}"]
        kind = self.normal.covariance_type
        return f"StudentT({', '.join(given + ([f'covariance_type={kind!r}'] if kind != 'full' else []))})"


def _of_scale(half):
    """Return log Γ(a) − a log a + a for a = ν/2, which is of the size of log a while its terms are of that of a."""
    far = np.maximum(half, ASYMPTOTIC_FROM)
    series = stirling(far) + 0.5 * (np.log(2 * np.pi) - np.log(far))
    return np.where(half < ASYMPTOTIC_FROM, gammaln(half) - half * np.log(half) + half, series)
