"""Independent columns of counts other than Poisson ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from expfam_em.families.bernoulli import log_odds_of
from expfam_em.families.columns import IndependentColumns
from expfam_em.families.constants import ColumnsWithConstants, constant
from expfam_em.families.special.gamma import log_beta
from expfam_em.families.special.lattice import expected_log_base
from expfam_em.family.base import NATURAL_LIMIT
from expfam_em.family.named import FROM_0, POSSIBLE_SUCCESS, PROBABILITY
from expfam_em.rows.typing import Array, Block, Mask


def _is_count(x: Array) -> Mask:
    return (x >= 0) & (x == np.floor(x)) & (x < np.inf)


class Binomial(ColumnsWithConstants):
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

    is_identity = True
    needs = "whole numbers from 0 to n"
    constants = ("n",)
    ranges = {"probabilities": PROBABILITY}

    def __init__(self, n: ArrayLike) -> None:
        self.n = constant("n", n, lambda n: (n >= 1) & (n == np.floor(n)), "a whole number of at least 1")
        self.sparse = "entries" if np.ndim(self.n) == 0 else "never"  # columns with an n of their own are not all alike

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def log_partition_of(self, log_odds: Array) -> Array:
        return self.n * np.logaddexp(0, log_odds)

    def _smooth_log_base(self, x: Array) -> Array:
        # n! / (x! (n − x)!) = 1 / ((n + 1) B(x + 1, n − x + 1))
        return np.where((x == 0) | (x == self.n), 0.0, -np.log1p(self.n) - log_beta(x + 1, self.n - x + 1))

    def log_base_of(self, x: Array) -> Array | None:
        return np.where(self.possible(x), self._smooth_log_base(x), -np.inf)

    def expected_log_base_of(self, log_odds: Array) -> Array | None:
        rarer = -np.abs(log_odds)  # h is the same for successes and failures
        (mean,) = self.expectation_of(rarer)
        return expected_log_base(self._smooth_log_base, rarer, self.log_partition_of(rarer), mean, -1 / self.n)

    def expectation_of(self, log_odds: Array) -> tuple[Array, ...]:
        return (self.n * expit(log_odds),)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        mean = np.clip(mean, 0.0, self.n)  # S/N may round to one unit above n
        return (np.clip(np.log(mean / (self.n - mean)), -NATURAL_LIMIT, NATURAL_LIMIT),)

    def parameters_of(self, log_odds: Array) -> dict[str, Array]:
        return {"probabilities": np.where(log_odds <= -NATURAL_LIMIT, 0.0, expit(log_odds))}

    def natural_from(self, probabilities: Array) -> tuple[Array, ...]:
        return (log_odds_of(probabilities),)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.binomial(np.asarray(self.n, np.int64), self.parameters_of(*natural)["probabilities"], size)

    def possible(self, x: Array) -> Mask:
        return _is_count(x) & (x <= self.n)


class _Failures(IndependentColumns):
    """Failures before the r-th success: T(x) = x, A(η) = −Σ r log(1 − e^η), h(x) = Π Γ(x + r) / (Γ(r) x!)."""

    is_identity = True
    sparse = "entries"
    needs = "whole numbers from 0"
    r: float | np.ndarray
    ranges = {"probabilities": POSSIBLE_SUCCESS, "means": FROM_0}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def log_partition_of(self, log_failure: Array) -> Array:
        with np.errstate(all="ignore"):
            small = -np.log1p(-np.exp(log_failure))
            return self.r * np.where(log_failure < -np.log(2), small, -np.log(-np.expm1(log_failure)))

    def expectation_of(self, log_failure: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):  # infinite at η = 0
            return (self.r * (np.exp(log_failure) / -np.expm1(log_failure)),)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        # e^η = m / (m + r)
        return (np.maximum(-np.log1p(self.r / mean), -NATURAL_LIMIT),)

    def parameters_of(self, log_failure: Array) -> dict[str, Array]:
        return {"probabilities": -np.expm1(log_failure)}

    def natural_from(self, probabilities: Array) -> tuple[Array, ...]:
        return (np.maximum(np.log1p(-np.minimum(probabilities, 1.0)), -NATURAL_LIMIT),)

    def possible(self, x: Array) -> Mask:
        return _is_count(x)


class Geometric(_Failures):
    """Failures before a success: T(x) = x, A(η) = −Σ log(1 − e^η), h(x) = 1, η = log(1 − p) for success p."""

    r = 1.0

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        with np.errstate(all="ignore"):
            return np.floor(rng.standard_exponential(size) / -natural[0])


class NegativeBinomial(_Failures, ColumnsWithConstants):
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
        with np.errstate(all="ignore"):
            return np.where(self.possible(x), self._smooth_log_base(x), -np.inf)

    def expected_log_base_of(self, log_failure: Array) -> Array | None:
        (mean,) = self.expectation_of(log_failure)
        return expected_log_base(
            self._smooth_log_base, log_failure, self.log_partition_of(log_failure), mean, 1 / self.r
        )

    def parameters_of(self, log_failure: Array) -> dict[str, Array]:
        means = np.where(log_failure <= -NATURAL_LIMIT, 0.0, self.expectation_of(log_failure)[0])
        return {**super().parameters_of(log_failure), "means": means}

    def natural_from(self, probabilities: Array | None = None, means: Array | None = None) -> tuple[Array, ...]:
        if means is not None:
            return self.natural_of(means)
        assert probabilities is not None  # see determined_by
        return super().natural_from(probabilities)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        odds = self.expectation_of(*natural)[0] / self.r
        return rng.poisson(rng.standard_gamma(self.r, size) * odds)
