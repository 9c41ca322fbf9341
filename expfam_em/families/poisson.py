"""Independent columns of counts."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.special.lattice import expected_log_base
from expfam_em.family.base import NATURAL_LIMIT
from expfam_em.family.named import FROM_0
from expfam_em.rows.typing import Array, Block, Mask


class Poisson(IndependentColumns):
    """Product of Poisson columns: T(x) = x, A(η) = Σ e^η, h(x) = Π 1/x!, η = log rate."""

    sparse = "entries"
    is_identity = True
    needs = "whole numbers from 0"
    ranges = {"rates": FROM_0}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

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

    def parameters_of(self, log_rate: Array) -> dict[str, Array]:
        return {"rates": np.where(log_rate <= -NATURAL_LIMIT, 0.0, np.exp(log_rate))}

    def natural_from(self, rates: Array) -> tuple[Array, ...]:
        return self.natural_of(rates)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.poisson(self.parameters_of(*natural)["rates"], size)

    def possible(self, x: Array) -> Mask:
        return (x >= 0) & (x == np.floor(x)) & (x < np.inf)
