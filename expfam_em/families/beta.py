"""Independent columns of numbers between 0 and 1."""

from __future__ import annotations

import numpy as np
from scipy.special import log1p

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.special.gamma import digamma_difference, log, log_beta
from expfam_em.families.special.inverses import shapes_of_beta
from expfam_em.families.waiting import SMALLEST
from expfam_em.family.named import POSITIVE
from expfam_em.rows.typing import Array, Block, Mask

LARGEST_BELOW_1 = 1 - float(np.finfo(float).epsneg)


class Beta(IndependentColumns):
    """Product of Beta columns: T(x) = (log x, log(1 − x)), A(η) = Σ log B(a, b), h(x) = Π 1/(x (1 − x)), η = (a, b)."""

    order = 2
    needs = "numbers between 0 and 1, these excluded"
    ranges = {"alphas": POSITIVE, "betas": POSITIVE}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return log(x), log1p(-x)

    def log_base_of(self, x: Array) -> Array | None:
        return -log(x) - log1p(-x)

    def log_partition_of(self, alpha: Array, beta: Array) -> Array:
        return log_beta(alpha, beta)

    def expectation_of(self, alpha: Array, beta: Array) -> tuple[Array, ...]:
        with np.errstate(all="ignore"):
            return -digamma_difference(alpha, beta), -digamma_difference(beta, alpha)

    def expected_log_base_of(self, alpha: Array, beta: Array) -> Array | None:
        return -sum(self.expectation_of(alpha, beta), np.zeros(()))

    def natural_of(self, log_mean: Array, log_mean_of_rest: Array) -> tuple[Array, ...]:
        return shapes_of_beta(-log_mean, -log_mean_of_rest)

    def parameters_of(self, alpha: Array, beta: Array) -> dict[str, Array]:
        return {"alphas": alpha, "betas": beta}

    def natural_from(self, alphas: Array, betas: Array) -> tuple[Array, ...]:
        return alphas, betas

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return np.clip(rng.beta(natural[0], natural[1], size), SMALLEST, LARGEST_BELOW_1)

    def possible(self, x: Array) -> Mask:
        return (x > 0) & (x < 1)
