"""What families whose statistic has an exponential distribution have in common."""

from __future__ import annotations

import numpy as np

from expfam_em.families.columns import IndependentColumns
from expfam_em.rows.typing import Array

EULER_GAMMA = float(np.euler_gamma)
SMALLEST, LARGEST = float(np.finfo(float).tiny), float(np.finfo(float).max)


def representable(x: Array) -> Array:
    """Return positive draws with those below and above the range of float64 moved into it."""
    return np.clip(x, SMALLEST, LARGEST)


class Waiting(IndependentColumns):
    """One statistic with an exponential distribution: A(η) = −Σ log(−η), E[t] = −1/η."""

    def log_partition_of(self, negative_rate: Array) -> Array:
        with np.errstate(all="ignore"):
            return -np.log(-negative_rate)

    def expectation_of(self, negative_rate: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return (-1 / negative_rate,)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (-1 / mean,)

    def draw_statistic(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        """Return numbers distributed as t."""
        return rng.standard_exponential(size) / -natural[0]
