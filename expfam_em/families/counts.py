"""Independent columns of counts, and of 0 and 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, expit, gammaln, log1p, xlogy

from expfam_em.families.columns import IndependentColumns, constant
from expfam_em.families.conjugates import OfCounts, OfFailures, OfSuccesses
from expfam_em.families.special import draws
from expfam_em.families.special.deviance import LARGE_COUNT, log_binomial, log_negative_binomial, log_poisson
from expfam_em.families.special.gamma import inverse_log_minus_digamma, log_beta
from expfam_em.families.special.lattice import expected_log_base
from expfam_em.family.base import NATURAL_LIMIT
from expfam_em.family.conjugate import Conjugate, Conjugated
from expfam_em.family.named import FROM_0, POSITIVE_OR_LIMIT, POSSIBLE_SUCCESS, PROBABILITY
from expfam_em.family.optional import Cancelling, Incomplete, OfKnownWidth, OverTime, UpToLargest
from expfam_em.rows.csr import observations
from expfam_em.rows.typing import Array, Block, Mask

LARGEST_SHAPE = 1e8
"""Shape from which counts are Poisson ones, as a multiple of the mean, or of 1 if that is less."""

LEAST_MEAN = 1e-200
"""Mean of counts that are all 0."""

LARGEST_ESTIMATED_SHAPE = 4e10
"""Shape, as a multiple of 1 + |E[log λ]|, from which it is left as it is by M-steps: the difference of logarithms that
it follows from has four digits there, so that its rounding does not lower the bound."""

SAME = 1e-9
"""Relative difference from the rates of an E-step up to which it is rounding."""


def log_odds_of(share: Array) -> Array:
    """Return log(p / (1 − p)), within ± 700 where p is 0 or 1, or one unit above 1 by rounding."""
    share = np.clip(share, 0.0, 1.0)
    return np.clip(np.log(share) - log1p(-share), -NATURAL_LIMIT, NATURAL_LIMIT)


def _unless_cut(natural: Array, value: Array) -> Array:
    """Return what belongs to η, 0 where η was cut at −700: there the estimate was 0."""
    return np.where(natural <= -NATURAL_LIMIT, 0.0, value)


class _Counts(IndependentColumns, Cancelling):
    """Columns of whole numbers with T(x) = x."""

    sparse = "entries"
    bounded = True
    is_identity = True
    needs = "whole numbers from 0"

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def possible(self, x: Array) -> Mask:
        return (x >= 0) & (x == np.floor(x)) & (x < np.inf)

    def cancels(self, natural: Array) -> bool:
        return False

    def log_probability_of(self, x: Array, natural: Array) -> Array:
        """Return log p(x) of large counts, which what `cancels` is true of need."""
        raise NotImplementedError

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        if not self.cancels(natural):
            return super().log_density(X, natural)
        x = np.asarray(observations(X), np.float64)
        with np.errstate(all="ignore"):
            each = [np.where(self.possible(x), self.log_probability_of(x, eta), -np.inf) for eta in natural]
        return np.stack([values.sum(axis=1) for values in each], axis=1)

    def entropy(self, natural: Array) -> Array | None:
        return None if self.cancels(natural) else super().entropy(natural)


class Poisson(_Counts, Conjugated, OverTime):
    """Product of Poisson columns: T(x) = x, A(η) = Σ e^η, h(x) = Π 1/x!, η = log rate."""

    ranges = {"rates": FROM_0}

    def log_partition_of(self, log_rate: Array) -> Array:
        return np.exp(log_rate)

    def log_base_of(self, x: Array) -> Array | None:
        return -gammaln(x + 1)

    def expected_log_base_of(self, log_rate: Array) -> Array | None:
        rate = np.exp(log_rate)
        return expected_log_base(self.log_base_of, log_rate, rate, rate)

    def expectation_of(self, log_rate: Array) -> tuple[Array, ...]:
        return (np.exp(log_rate),)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (np.maximum(np.log(mean), -NATURAL_LIMIT),)

    def cancels(self, natural: Array) -> bool:
        return bool(np.any(np.exp(natural) > LARGE_COUNT))

    def log_probability_of(self, x: Array, natural: Array) -> Array:
        return log_poisson(x, np.exp(natural))

    def conjugate(self) -> Conjugate:
        return OfCounts(self)

    def log_density_over(self, exposure: Array, X: Block, natural: Array) -> Array:
        each = [self.log_probability_of(X, np.maximum(eta, -NATURAL_LIMIT) + np.log(exposure)) for eta in natural]
        return np.stack([values.sum(axis=1) for values in each], axis=1)

    def parameters_of(self, log_rate: Array) -> dict[str, Array]:
        return {"rates": _unless_cut(log_rate, np.exp(log_rate))}

    def natural_from(self, rates: Array) -> tuple[Array, ...]:
        return self.natural_of(rates)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return draws.poisson(self.parameters_of(*natural)["rates"], size, rng)


class _Successes(_Counts, Conjugated, UpToLargest):
    """Successes in n trials: T(x) = x, A(η) = Σ n log(1 + e^η), η = log(p / (1 − p))."""

    n: float | np.ndarray = 1.0
    ranges = {"probabilities": PROBABILITY}

    def log_partition_of(self, log_odds: Array) -> Array:
        return self.n * np.logaddexp(0, log_odds)

    def expectation_of(self, log_odds: Array) -> tuple[Array, ...]:
        return (self.n * expit(log_odds),)

    def left_of_largest(self, natural: Array) -> Array:
        return self.to_expectation(-natural)

    def parameters_of(self, log_odds: Array) -> dict[str, Array]:
        return {"probabilities": _unless_cut(log_odds, expit(log_odds))}

    def natural_from(self, probabilities: Array) -> tuple[Array, ...]:
        return (log_odds_of(probabilities),)

    def conjugate(self) -> Conjugate:
        return OfSuccesses(self)

    def possible(self, x: Array) -> Mask:
        return super().possible(x) & (x <= self.n)


class Bernoulli(_Successes):
    """Product of Bernoulli columns: T(x) = x, A(η) = Σ log(1 + e^η), h(x) = 1, η = log(p / (1 − p))."""

    needs = "0 or 1"

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (log_odds_of(mean),)  # S/N may round to one unit above 1

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.random(size) < self.parameters_of(*natural)["probabilities"]

    def possible(self, x: Array) -> Mask:
        return (x == 0) | (x == 1)


class Binomial(_Successes):
    """Successes in n trials: T(x) = x, A(η) = Σ n log(1 + e^η), h(x) = Π n! / (x! (n − x)!), η = log(p / (1 − p)).

    Parameters
    ----------
    n : whole number ≥ 1, or (d,)
        Number of trials.

    Raises
    ------
    ValueError
        If n is no whole number of at least 1.
    """

    needs = "whole numbers from 0 to n"
    constants = ("n",)

    def __init__(self, n: ArrayLike) -> None:
        self.n = constant("n", n, lambda n: (n >= 1) & (n == np.floor(n)), "a whole number of at least 1")
        self.sparse = "entries" if np.ndim(self.n) == 0 else "never"  # columns with an n of their own are not all alike

    def _smooth_log_base(self, x: Array) -> Array:
        # n! / (x! (n − x)!) = 1 / ((n + 1) B(x + 1, n − x + 1))
        return np.where((x == 0) | (x == self.n), 0.0, -np.log1p(self.n) - log_beta(x + 1, self.n - x + 1))

    def log_base_of(self, x: Array) -> Array | None:
        return np.where(self.possible(x), self._smooth_log_base(x), -np.inf)

    def expected_log_base_of(self, log_odds: Array) -> Array | None:
        rarer = -np.abs(log_odds)  # h is the same for successes and failures
        (mean,) = self.expectation_of(rarer)
        return expected_log_base(self._smooth_log_base, rarer, self.log_partition_of(rarer), mean, -1 / self.n)

    def cancels(self, natural: Array) -> bool:
        return bool(np.any(self.n * np.minimum(expit(natural), expit(-natural)) > LARGE_COUNT))

    def log_probability_of(self, x: Array, natural: Array) -> Array:
        return log_binomial(x, self.n, -np.logaddexp(0, -natural), -np.logaddexp(0, natural))

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        mean = np.clip(mean, 0.0, self.n)  # S/N may round to one unit above n
        return (np.clip(np.log(mean / (self.n - mean)), -NATURAL_LIMIT, NATURAL_LIMIT),)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.binomial(np.asarray(self.n, np.int64), self.parameters_of(*natural)["probabilities"], size)


class _Failures(_Counts, Conjugated):
    """Failures before the r-th success: T(x) = x, A(η) = −Σ r log(1 − e^η), η = log(1 − p)."""

    r: float | np.ndarray = 1.0
    ranges = {"probabilities": POSSIBLE_SUCCESS, "means": FROM_0}

    def log_partition_of(self, log_failure: Array) -> Array:
        small = -np.log1p(-np.exp(log_failure))
        return self.r * np.where(log_failure < -np.log(2), small, -np.log(-np.expm1(log_failure)))

    def expectation_of(self, log_failure: Array) -> tuple[Array, ...]:
        return (self.r * (np.exp(log_failure) / -np.expm1(log_failure)),)  # infinite at η = 0

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        # e^η = m / (m + r)
        return (np.maximum(-np.log1p(self.r / mean), -NATURAL_LIMIT),)

    def parameters_of(self, log_failure: Array) -> dict[str, Array]:
        return {"probabilities": -np.expm1(log_failure)}

    def natural_from(self, probabilities: Array) -> tuple[Array, ...]:
        return (np.maximum(np.log1p(-np.minimum(probabilities, 1.0)), -NATURAL_LIMIT),)

    def conjugate(self) -> Conjugate:
        return OfFailures(self)


class Geometric(_Failures):
    """Failures before a success: T(x) = x, A(η) = −Σ log(1 − e^η), h(x) = 1, η = log(1 − p) for success p."""

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return np.floor(rng.standard_exponential(size) / -natural[0])


class NegativeBinomial(_Failures):
    """Failures before the r-th success: T(x) = x, A(η) = −Σ r log(1 − e^η), h(x) = Π Γ(x + r) / (Γ(r) x!).

    η = log(1 − p) for success p, and the mean is r (1 − p) / p. ``from_parameters`` needs means or probabilities.

    Parameters
    ----------
    r : float > 0, or (d,)
        Number of successes; not a whole number where counts are Poisson ones of Gamma distributed rates. `GammaPoisson`
        is the same density with r estimated for each component and column.

    Raises
    ------
    ValueError
        If r is not positive.
    """

    constants = ("r",)
    determined_by = (("means",), ("probabilities",))  # a probability close to 1 has few digits

    def __init__(self, r: ArrayLike) -> None:
        self.r = constant("r", r, lambda r: r > 0, "positive")
        self.sparse = "entries" if np.ndim(self.r) == 0 else "never"  # columns with an r of their own are not all alike

    def _smooth_log_base(self, x: Array) -> Array:
        # Γ(x + r) / (Γ(r) x!) = 1 / ((x + r) B(x + 1, r))
        return np.where(x == 0, 0.0, -np.log(x + self.r) - log_beta(x + 1, self.r))

    def log_base_of(self, x: Array) -> Array | None:
        return np.where(self.possible(x), self._smooth_log_base(x), -np.inf)

    def expected_log_base_of(self, log_failure: Array) -> Array | None:
        (mean,), partition = self.expectation_of(log_failure), self.log_partition_of(log_failure)
        return expected_log_base(self._smooth_log_base, log_failure, partition, mean, 1 / self.r)

    def cancels(self, natural: Array) -> bool:
        return bool(np.any(np.minimum(self.r, self.expectation_of(natural)[0]) > LARGE_COUNT))

    def log_probability_of(self, x: Array, natural: Array) -> Array:
        return log_negative_binomial(x, self.r, -self.log_partition_of(natural) / self.r, natural)

    def parameters_of(self, log_failure: Array) -> dict[str, Array]:
        means = _unless_cut(log_failure, self.expectation_of(log_failure)[0])
        return {**super().parameters_of(log_failure), "means": means}

    def natural_from(self, probabilities: Array | None = None, means: Array | None = None) -> tuple[Array, ...]:
        if means is not None:
            return self.natural_of(means)
        assert probabilities is not None  # see determined_by
        return super().natural_from(probabilities)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        odds = self.expectation_of(*natural)[0] / self.r
        return draws.poisson(rng.standard_gamma(self.r, size) * odds, size, rng)


class GammaPoisson(OfKnownWidth, IndependentColumns, Incomplete, OverTime):
    """Poisson counts x of unobserved rates λ that follow a Gamma density: the negative binomial law with r free.

    The complete data are counts and rates: T(x, λ) = (log λ, λ, x), A(η) = Σ log Γ(r) − r log(1 − η₂ − e^η₃),
    h(x, λ) = Π e^−λ/(λ x!), with η = (r, −b, 0). The E-step takes E[log λ|x] = ψ(x + r) − log(1 + b) and
    E[λ|x] = (x + r)/(1 + b). The M-step finds r from the rates; for any r, the likelihood is largest where the
    mean r/b is that of the counts, so b follows from x (ECME, Liu and Rubin 1994), and the bound, that of the counts,
    never falls. Where a prior adds rates that were not computed so, b follows from λ.

    An infinite shape is the Poisson law, where the likelihood of counts is largest whose variance is not above their
    mean (Levin & Reeds 1977). ``shapes`` are then infinite, and `Mixture.edges` names the components.

    ``from_parameters`` needs shapes and means, or shapes and probabilities.
    """

    order = 3
    bounded = True
    coupled = False
    _curved = True
    needs = "whole numbers from 0"
    possible = _Counts.possible
    has_limits = True
    ranges = {"shapes": POSITIVE_OR_LIMIT, "means": FROM_0, "probabilities": POSSIBLE_SUCCESS}
    determined_by = (("shapes", "means"), ("shapes", "probabilities"))

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.log(x + 0.5), x + 0.5, x  # about the means of log λ and λ

    def _n_free(self, n_features: int) -> int:
        return 2 * n_features

    def log_partition_of(self, shape: Array, minus_rate: Array, tilt: Array) -> Array:
        rate = -minus_rate - np.expm1(tilt)
        return np.where((shape > 0) & (rate > 0), gammaln(shape) - xlogy(shape, rate), np.inf)

    def log_density(self, X: Block, natural: Array) -> Array:
        return self._log_probability(np.asarray(X, np.float64)[:, None, :], natural)

    def paired_log_density(self, X: Block, natural: Array) -> Array:
        return self._log_probability(np.asarray(X, np.float64), natural)

    def log_density_over(self, exposure: Array, X: Block, natural: Array) -> Array:
        return self._log_probability(X[:, None, :], natural, exposure[:, :, None])

    def _log_probability(self, x: Array, natural: Array, exposure: Array | float = 1.0) -> Array:
        shape, rate = self._shape_and_rate(natural)
        rate = rate / exposure  # of the Gamma density of e λ
        with np.errstate(all="ignore"):
            binomial = np.where(x == 0, 0.0, -np.log(x + shape) - log_beta(x + 1, shape))
            value = binomial - shape * np.log1p(1 / rate) - x * np.log1p(rate)
            if np.any(large := np.minimum(x, shape) > LARGE_COUNT):
                value = np.where(large, log_negative_binomial(x, shape, -np.log1p(1 / rate), -np.log1p(rate)), value)
            if np.any(in_limit := _in_limit(shape, rate)):
                value = np.where(in_limit, log_poisson(x, shape / rate), value)
        return value.sum(axis=-1)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # that of the rates would say nothing about counts

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self.complete_over(np.ones((len(X), 1)), X, natural, responsibilities)

    def complete_over(self, exposure: Array, X: Block, natural: Array, responsibilities: Array) -> Array:
        shape, rate = self._shape_and_rate(natural)
        total, longer = np.asarray(X, np.float64)[:, None, :] + shape, exposure[:, :, None] - 1
        log_rates, rates = digamma(total) - np.log1p(longer + rate), total / (1 + (longer + rate))
        sums = [np.einsum("nk,nkd->kd", responsibilities, part) for part in (log_rates, rates)]
        return np.concatenate([*sums, responsibilities.T @ (np.asarray(X, np.float64) / exposure)], axis=1)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        log_mean, mean, of_counts = self._split(sums / counts[:, None])
        shape, minus_rate, tilt = self.natural_of(log_mean, mean, of_counts)
        if previous is not None:
            shape_before, rate_before = self._shape_and_rate(previous)
            expected = (of_counts + shape_before) / (1 + rate_before)  # what an E-step gives, if nothing is added to it
            of_likelihood = -shape / np.maximum(of_counts, LEAST_MEAN)
            minus_rate = np.where(np.abs(mean - expected) <= SAME * expected, of_likelihood, minus_rate)
            uncertain = _is_uncertain(shape, log_mean)
            minus_rate = np.where(uncertain, minus_rate * (shape_before / shape), minus_rate)
            shape = np.where(uncertain, shape_before, shape)
            # only `at_edges` leaves the limit; here it would be rounding
            in_limit, limit = _in_limit(shape_before, rate_before), _limit(mean)
            minus_rate = np.where(in_limit, minus_rate * (limit / shape), minus_rate)
            shape = np.where(in_limit, limit, shape)
        return np.concatenate([shape, minus_rate, tilt], axis=-1)

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        x = np.asarray(X, np.float64)
        sums = [responsibilities.T @ values for values in (x * x, x)]
        return np.concatenate([*sums, np.zeros_like(sums[0])], axis=1)

    knows_observed_limits = True

    def observed_edge_sums(self, X: Block, natural: Array, responsibilities: Array, present: Mask) -> Array:
        shape, rate = self._shape_and_rate(natural)
        mean = shape / rate
        expected = np.concatenate([mean**2 + mean + mean / rate, mean, 0 * mean], axis=1)
        known = self.edge_sums(np.where(present, X, 0.0), natural, responsibilities)
        return np.where(np.tile(present, 3), known, responsibilities.sum(axis=0)[:, None] * expected)

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        shape, rate = self._shape_and_rate(natural)
        square, mean, tilt = self._split(sums / counts[:, None])
        excess = square - mean**2 - mean
        limit = _limit(mean)
        of_moments = np.where(excess > 0, np.minimum(mean**2 / excess, limit), limit)
        # close to the limit steps are slow, and a shape far below it is a long way off
        known = ~_in_limit(shape, rate) & ~_is_uncertain(shape, np.log(np.maximum(mean, LEAST_MEAN)))
        new = np.where(known & (of_moments < 2 * shape), shape, of_moments)
        return np.concatenate([new, -np.where(new == shape, rate, new * (rate / shape)), tilt], axis=-1)

    def edges(self, natural: Array) -> dict[str, Mask]:
        in_limit = _in_limit(*self._shape_and_rate(natural))
        return {"Poisson in a column, of infinite shape": np.any(in_limit, axis=-1)}

    def _shape_and_rate(self, natural: Array) -> tuple[Array, Array]:
        shape, minus_rate, _ = self._split(np.atleast_2d(natural))
        return shape, -minus_rate

    def expectation_of(self, shape: Array, minus_rate: Array, tilt: Array) -> tuple[Array, ...]:
        rate = -minus_rate - np.expm1(tilt)
        return digamma(shape) - np.log(rate), shape / rate, shape * np.exp(tilt) / rate

    def mean_of(self, shape: Array, minus_rate: Array, tilt: Array) -> Array:
        return self.expectation_of(shape, minus_rate, tilt)[2]

    def natural_of(self, log_mean: Array, mean: Array, of_counts: Array) -> tuple[Array, ...]:
        shape = inverse_log_minus_digamma(np.log(mean) - log_mean)
        shape = np.where(shape < _limit(mean), shape, _limit(mean))  # NaN where the rates do not vary at all
        return shape, -shape / mean, np.zeros_like(shape)

    def parameters_of(self, shape: Array, minus_rate: Array, tilt: Array) -> dict[str, Array]:
        in_limit = _in_limit(shape, -minus_rate)
        return {
            "shapes": np.where(in_limit, np.inf, shape),
            "means": -shape / minus_rate,
            "probabilities": np.where(in_limit, 1.0, minus_rate / (minus_rate - 1)),
        }

    def natural_from(
        self, shapes: Array, means: Array | None = None, probabilities: Array | None = None
    ) -> tuple[Array, ...]:
        if means is None:
            assert probabilities is not None  # see determined_by
            means = shapes * ((1 - np.minimum(probabilities, 1.0)) / probabilities)
        shapes = np.minimum(shapes, _limit(means))
        return shapes, -shapes / np.maximum(means, LEAST_MEAN), np.zeros_like(shapes)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        shape, minus_rate, _ = natural
        rates = rng.standard_gamma(shape, size) / -minus_rate
        return draws.poisson(np.where(_in_limit(shape, -minus_rate), shape / -minus_rate, rates), size, rng)


def _limit(mean: Array) -> Array:
    """Return what stands for an infinite shape of counts with a mean."""
    return 2 * LARGEST_SHAPE * np.maximum(mean, 1.0)  # twice, so that no rounding takes it below


def _is_uncertain(shape: Array, log_mean: Array) -> Mask:
    """Return which shapes are beyond what M-steps can estimate."""
    return np.asarray(shape * (1 + np.abs(log_mean)) > LARGEST_ESTIMATED_SHAPE)


def _in_limit(shape: Array, rate: Array) -> Mask:
    """Return which Gamma densities have so large a shape that their counts are Poisson ones."""
    return np.minimum(shape, rate) >= LARGEST_SHAPE
