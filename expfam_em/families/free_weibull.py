"""Columns with a Weibull density of which the shape is estimated too."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import gamma as gamma_function

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.families.special.draws import representable
from expfam_em.families.uniform import Uniform
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import Parts
from expfam_em.family.named import POSITIVE
from expfam_em.family.optional import Incomplete
from expfam_em.rows.typing import Array, Block, Integers, Mask

OF_UNIT = (1.0, 1 - np.euler_gamma, np.pi**2 / 6 - 2 * np.euler_gamma + np.euler_gamma**2, -np.euler_gamma)
"""E[e^u], E[u e^u], E[u² e^u] and E[u] of u = k log(x/λ), whose e^u is exponential: Γ(2), Γ′(2), Γ″(2) and Γ′(1)."""

LOGARITHMS = (-745.2, 709.8)
"""Logarithms of the least and the largest number of float64."""

SAME_SUMS = 1e-9
"""Difference between the first statistics and what the others say they must be, up to which it is rounding."""

POWER_SEEN = 42.0
LOG_POWER_SEEN = float(np.log(POWER_SEEN))
"""Where u < −POWER_SEEN, and where e^u > POWER_SEEN, there is less of a Weibull density than rounding."""

SHAPE_CHANGES = (0.25, 4.0)
"""How many times a shape may become in an M-step."""

STEPS_TO_SHAPE = 40

LARGEST_POWER = 1e14
"""Shape beyond which x^k has no digits in float64."""


class FreeWeibull(IndependentColumns, Incomplete):
    """Weibull columns whose shapes are estimated too: p(x) = (k/x) e^(u − e^u), u = k log(x/λ), each with its own k, λ.

    Statistics go with the component: T = (k + (1 + u − u e^u)/k, log λ + k (e^u − 1), e^u, u e^u, u² e^u, u). The first
    two are η = (k, log λ, 0, 0, 0, 0) and the gradient of log p. From the others the M-step finds a shape k (1 + δ): it
    maximises log(1 + δ) + δ Σ u/n − log M(δ), where M(δ) is at most what Bennett's inequality says of numbers u with
    the mean and the variance under weights e^u, between the least and the largest that there is. So the bound never
    falls, and close to the maximum the steps are those of Newton.

    There is no prior for it, because statistics of different components do not add up.
    """

    order = 6
    seed_smoothing = 0.0  # a row as a scale has the shape of the columns
    coupled = False
    incidental = ("spread", "low", "high")
    needs = "positive numbers"
    ranges = {"shapes": POSITIVE, "scales": POSITIVE}
    open_range = False
    """Whether numbers that are only known up to intervals may lie outside the range of the rows."""

    def __init__(self) -> None:
        self.spread: Array | None = None
        self.low: Array | None = None
        self.high: Array | None = None

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        with np.errstate(all="ignore"):
            logs = np.log(np.asarray(X, np.float64))
        return Parts(X.shape[1], (Gaussian("diag").summary(logs, sample_weight), Uniform().summary(logs, None)))

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the range and the standard deviation of the logarithms of the columns."""
        of_logs, corners = summary.summaries
        return self.replace(spread=np.sqrt(of_logs.scatter / of_logs.total), low=corners.low, high=corners.high)

    def for_intervals(self) -> Self:
        return self.replace(open_range=True)

    def possible(self, x: Array) -> Mask:
        return (x > 0) & (x < np.inf)

    # ---- the family ------------------------------------------------------------------------------------------

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        """Return those of rows that are middles themselves, with the shape to start from."""
        log_x, none = np.log(x), np.zeros_like(x)
        spread = 1.0 if self.spread is None else self.spread
        shape = none + np.pi / np.sqrt(6) / spread  # log x has the standard deviation π/(√6 k)
        return shape, log_x + np.euler_gamma / shape, none, none, none, none

    def log_partition_of(self, shape: Array, log_scale: Array, *others: Array) -> Array:
        inside = (shape > 0) & (shape < LARGEST_POWER)
        linear = sum(mean * eta for mean, eta in zip(OF_UNIT, others, strict=True))
        return np.where(inside, 0.5 * (shape**2 + log_scale**2) + linear, np.inf)

    def expectation_of(self, shape: Array, log_scale: Array, *_: Array) -> tuple[Array, ...]:
        return shape, log_scale, *(np.full_like(shape, mean) for mean in OF_UNIT)

    def natural_of(self, shape: Array, log_scale: Array, *others: Array) -> tuple[Array, ...]:
        return shape, log_scale, *[np.zeros_like(shape)] * len(others)

    def log_density(self, X: Block, natural: Array) -> Array:
        return self._log_density(np.asarray(X, np.float64)[:, None, :], np.atleast_2d(natural))

    def paired_log_density(self, X: Block, natural: Array) -> Array:
        return self._log_density(np.asarray(X, np.float64), natural)

    def _log_density(self, x: Array, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            u, shape = self._powers(x, natural)
            return np.sum(np.log(shape) - np.log(x) + u - np.exp(u), axis=-1)

    def _powers(self, x: Array, natural: Array) -> tuple[Array, Array]:
        """Return u = k log(x/λ) and k."""
        shape, log_scale, *_ = self._split(natural)
        ratio = x / np.exp(log_scale)
        inside = (ratio > np.finfo(float).tiny) & (ratio < np.inf)
        return shape * np.where(inside, np.log(ratio), np.log(x) - log_scale), shape

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # statistics go with the component: there is no h for all of them

    def divergence(self, natural: Array, other: Array) -> Array:
        """Return KL(p(·|η) ‖ p(·|η′)), row by row, (K,) (Bauckhage 2013).

        It is Σ log(k/k′) + (1 − k′/k)(−γ) − 1 − k′ log(λ/λ′) + e^(k′ log(λ/λ′)) Γ(1 + k′/k).
        """
        (shape, log_scale, *_), (its_shape, its_log_scale, *_) = self._split(natural), self._split(other)
        ratio, apart = its_shape / shape, its_shape * (log_scale - its_log_scale)
        with np.errstate(over="ignore"):
            power = np.exp(apart) * gamma_function(1 + ratio)
        return np.sum(-np.log(ratio) - (1 - ratio) * np.euler_gamma - 1 - apart + power, axis=-1)

    def fisher_information(self, natural: Array) -> Array:
        raise NotImplementedError("FreeWeibull has no Fisher information by A: its statistics go with the component")

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        natural = np.atleast_2d(natural)
        with np.errstate(all="ignore"):
            u, shape = self._powers(np.asarray(X, np.float64)[:, None, :], natural)
            u = np.where(u < LOGARITHMS[1], u, 0.0)  # the density of such a row is 0, and its responsibility, too
            power = np.exp(u)
        of_row = (power, u * power, u * u * power, u)
        means = [np.einsum("nk,nkd->kd", responsibilities, values) for values in of_row]
        counts, log_scale = responsibilities.sum(axis=0)[:, None], self._split(natural)[1]
        gradient = (counts + means[3] - means[1]) / shape, shape * (means[0] - counts)
        return np.concatenate([counts * shape + gradient[0], counts * log_scale + gradient[1], *means], axis=1)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        first, second, total, times_u, squared, mean_u = self._split(sums / counts[:, None])
        if previous is None or not np.any(total):
            return self.to_natural(sums / counts[:, None])
        shape, log_scale, *_ = self._split(previous)
        with np.errstate(all="ignore"):
            expected = shape + (1 + mean_u - times_u) / shape, log_scale + shape * (total - 1)
            unit = 1 + shape + np.abs(log_scale) + (np.abs(mean_u) + times_u) / shape + shape * total
            for found, wanted in zip((first, second), expected, strict=True):
                if np.any(np.abs(found - wanted) > SAME_SUMS * unit):
                    raise ValueError(
                        "statistics of FreeWeibull are of other parameters than those of the last step: there is no "
                        "prior for it, and statistics of different mixtures do not add up"
                    )
            low, high = LOGARITHMS if self.low is None or self.high is None else (self.low, self.high)
            mean = times_u / total
            variance = np.maximum(squared / total - mean**2, 0.0)
            most, least = shape * (high - log_scale), shape * (low - log_scale)
            if self.open_range:  # of an interval's middle, or its end, what is not negligible lies within these
                most, least = np.logaddexp(most + shape * np.log(2), LOG_POWER_SEEN), np.minimum(least, -POWER_SEEN)
            above, below = most - mean, mean - least
            step, log_power = _shape_step(mean_u, mean, variance, above, below)
            shape = shape * (1 + step)
            log_scale = log_scale + (np.log(total) + log_power) / shape
        return np.concatenate([shape, log_scale, *[np.zeros_like(shape)] * 4], axis=1)

    # ---- as users know it ------------------------------------------------------------------------------------

    def parameters_of(self, shape: Array, log_scale: Array, *_: Array) -> dict[str, Array]:
        return {"shapes": shape, "scales": np.exp(log_scale)}

    def natural_from(self, shapes: Array, scales: Array) -> tuple[Array, ...]:
        return self.natural_of(shapes, np.log(scales), *OF_UNIT)  # type: ignore[arg-type]

    def mean_of(self, shape: Array, log_scale: Array, *_: Array) -> Array:
        return np.exp(log_scale) * gamma_function(1 + 1 / shape)

    def n_parameters(self, n_components: int) -> int:
        if self.spread is None:
            raise ValueError("FreeWeibull counts its parameters once the number of columns is known: call bind first")
        return 2 * n_components * len(self.spread)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        part, eta = super().marginal(natural, columns)
        if self.spread is None or self.low is None or self.high is None:
            return part, eta
        return self.replace(spread=self.spread[columns], low=self.low[columns], high=self.high[columns]), eta

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        shape, log_scale, *_ = natural
        return representable(np.exp(log_scale) * rng.standard_exponential(size) ** (1 / shape))


def _shape_step(mean_u: Array, mean: Array, variance: Array, above: Array, below: Array) -> tuple[Array, Array]:
    """Return δ, and δ m + log B(δ), where log(1 + δ) + δ (ū − m) − log B(δ) is largest.

    B(δ) ≥ E e^(δ(u − m)) is Bennett's (1962) bound for numbers of mean m and variance v, at most b above the mean, or
    below it for δ < 0: (b² e^(−δ v/b) + v e^(δ b))/(b² + v). Its logarithm is convex. δ is found by Newton's method
    between bounds.
    """
    slope = 1 + mean_u - mean
    sign = np.where(slope >= 0, 1.0, -1.0)
    b = np.maximum(np.where(slope >= 0, above, below), np.sqrt(variance) + np.finfo(float).tiny)
    w = b + variance / b
    low, high = np.zeros_like(slope), np.where(slope >= 0, SHAPE_CHANGES[1] - 1, 1 - SHAPE_CHANGES[0])
    t, settled = np.zeros_like(slope), np.zeros(slope.shape, bool)  # |δ|, and where the search has ended
    for _ in range(STEPS_TO_SHAPE):
        q = np.exp(-t * w)
        D = b * b * q + variance
        derivative = sign / (1 + sign * t) + sign * (mean_u - mean) - b * variance * (1 - q) / D
        curvature = -1 / (1 + sign * t) ** 2 - b * variance * w * q * (variance + b * b) / D**2
        low, high = np.where(derivative >= 0, t, low), np.where(derivative < 0, t, high)
        newton = t - derivative / curvature
        new = np.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
        new = np.where(settled, t, new)
        settled |= np.abs(new - t) <= 1e-14 * new
        t = new
        if settled.all():
            break
    log_B = np.log1p((b * b * np.expm1(-t * variance / b) + variance * np.expm1(t * b)) / (b * b + variance))
    return sign * t, sign * t * mean + log_B
