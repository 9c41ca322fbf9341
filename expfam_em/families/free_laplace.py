"""Columns with a Laplace density about a median that is estimated."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.constraints import Constraint
from expfam_em.family.named import FINITE, POSITIVE
from expfam_em.family.optional import Incomplete
from expfam_em.rows.typing import Array, Block, Integers

FINEST = 15
"""Powers of 1/4 of the scale at which other medians are tried: the last is 1e-9."""

TRIED = np.concatenate([sign * 0.25 ** np.arange(FINEST + 1) for sign in (1.0, -1.0)])
TRIED.flags.writeable = False
"""Where other medians are tried, as distances from the present one in units of the scale."""

SAME_MEDIAN = 1e-9
"""Difference between the medians that statistics are about and those of the last step, in units of the scale and of
the median, up to which it is rounding."""


class FreeLaplace(IndependentColumns, Incomplete):
    """Laplace columns whose medians are estimated too: −log p = log(2b) + |x − m|/b, each component with its own m.

    The sum of r |x − m| is least at the weighted median, which is no mean of statistics of x alone. So statistics go
    with the component: T = (m, |x − m|, |x − m − b g|, …) for distances g of ±4⁻ʲ, j = 0, …, 15. The M-step takes the
    best of these medians, and b = Σ r |x − m| / Σ r, so the bound never falls. The sum is convex in m, so where none is
    better than m, the weighted median is closer than 1e-9 b. η = (m, −1/b, 0, …).

    There is no prior for it, because statistics about other medians do not add up.
    """

    order = 2 + len(TRIED)
    seed_smoothing = 0.0  # a row as a median has the scale of the columns
    coupled = False
    incidental = ("spread",)
    needs = "finite numbers"
    ranges = {"locations": FINITE, "scales": POSITIVE}

    def __init__(self) -> None:
        self.spread: Array | None = None

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        return Gaussian("diag").summary(X, sample_weight)

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the standard deviations of the columns, the scales to start from."""
        return self.replace(spread=np.sqrt(summary.scatter / summary.total))

    # ---- the family ------------------------------------------------------------------------------------------

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        """Return those of rows that are medians themselves, with the scale to start from."""
        scale = np.ones_like(x) * (1.0 if self.spread is None else self.spread)
        return x, scale, *[np.zeros_like(x)] * len(TRIED)

    def log_partition_of(self, location: Array, negative_rate: Array, *_: Array) -> Array:
        # its gradient is (m, b), and seeds are as far from one another as their squared differences
        return 0.5 * location**2 + np.log(2) - np.log(-negative_rate)

    def log_density(self, X: Block, natural: Array) -> Array:
        location, negative_rate, *_ = self._split(np.atleast_2d(natural))
        distance = np.abs(np.asarray(X, np.float64)[:, None, :] - location)
        return np.sum(negative_rate * distance + np.log(-0.5 * negative_rate), axis=2)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # statistics go with the component: there is no h for all of them

    def divergence(self, natural: Array, other: Array) -> Array:
        """Return KL(p(·|η) ‖ p(·|η′)) = Σ log(b′/b) + (δ + b e^(−δ/b))/b′ − 1 for δ = |m − m′|, row by row, (K,)."""
        (location, rate, *_), (its_location, its_rate, *_) = self._split(natural), self._split(other)
        distance = np.abs(location - its_location)
        mean = distance - np.exp(distance * rate) / rate  # E|x − m′|
        return np.sum(np.log(rate / its_rate) - its_rate * mean - 1, axis=-1)

    def _under(self, constraint: Constraint | None) -> Self:
        if constraint is not None:
            raise ValueError(
                "FreeLaplace takes no constraints: its M-step is no maximum over A; take Laplace(location)"
            )
        return self

    def fisher_information(self, natural: Array) -> Array:
        raise NotImplementedError("FreeLaplace has no Fisher information by A: its statistics go with the component")

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        location, negative_rate, *_ = self._split(np.atleast_2d(natural))
        from_median = np.asarray(X, np.float64)[:, None, :] - location
        sums = [responsibilities.sum(axis=0)[:, None] * location]
        for g in (0.0, *TRIED):
            sums.append(np.einsum("nk,nkd->kd", responsibilities, np.abs(from_median + g / negative_rate)))
        return np.concatenate(sums, axis=1)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        location, here, *tried = self._split(sums / counts[:, None])
        if previous is None or not np.any(tried):
            return self.to_natural(sums / counts[:, None])
        before, negative_rate, *_ = self._split(previous)
        with np.errstate(all="ignore"):
            if np.any(np.abs(location - before) > SAME_MEDIAN * (np.abs(before) - 1 / negative_rate)):
                raise ValueError(
                    "statistics of FreeLaplace are about other medians than those of the last step: there is no prior "
                    "for it, and statistics of different mixtures do not add up"
                )
            each = np.stack([here, *tried])
            best = np.argmin(each, axis=0)  # the present one in a tie
            location = before - np.append(0.0, TRIED)[best] / negative_rate
            scale = np.take_along_axis(each, best[None], axis=0)[0]
            return np.concatenate([location, -1 / scale, *[np.zeros_like(scale)] * len(TRIED)], axis=1)

    def expectation_of(self, location: Array, negative_rate: Array, *_: Array) -> tuple[Array, ...]:
        tried = [(np.abs(g) + np.exp(-np.abs(g))) / -negative_rate for g in TRIED]
        return location, -1 / negative_rate, *tried

    def natural_of(self, location: Array, here: Array, *tried: Array) -> tuple[Array, ...]:
        return location, -1 / here, *[np.zeros_like(here)] * len(tried)

    # ---- as users know it ------------------------------------------------------------------------------------

    def parameters_of(self, location: Array, negative_rate: Array, *_: Array) -> dict[str, Array]:
        return {"locations": location, "scales": -1 / negative_rate}

    def natural_from(self, locations: Array, scales: Array) -> tuple[Array, ...]:
        return self.natural_of(locations, scales, *TRIED)

    def mean_of(self, location: Array, *_: Array) -> Array:
        return location

    def n_parameters(self, n_components: int) -> int:
        if self.spread is None:
            raise ValueError("FreeLaplace counts its parameters once the number of columns is known: call bind first")
        return 2 * n_components * len(self.spread)

    def marginal(self, natural: Array, columns: Integers) -> tuple[ExponentialFamily, Array]:
        part, eta = super().marginal(natural, columns)
        return (part if self.spread is None else self.replace(spread=self.spread[columns])), eta

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.laplace(natural[0], -1 / natural[1], size)
