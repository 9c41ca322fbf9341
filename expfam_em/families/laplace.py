"""Independent columns with two-sided exponential densities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.constants import ColumnsWithConstants, constant
from expfam_em.families.waiting import Waiting
from expfam_em.family.named import POSITIVE
from expfam_em.rows.typing import Array, Block


class Laplace(Waiting, ColumnsWithConstants):
    """Product of Laplace columns about a location: T(x) = |x − location|, A(η) = Σ log(−2/η), h(x) = 1, η = −1/scale.

    Parameters
    ----------
    location : float, or (d,)
        Median, where the density has its peak.

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

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        distance = self.draw_statistic(natural, size, rng)
        return self.location + np.where(rng.random(size) < 0.5, -distance, distance)
