"""Independent 0/1 columns."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log1p

from expfam_em.families.columns import IndependentColumns
from expfam_em.family.base import NATURAL_LIMIT
from expfam_em.family.named import PROBABILITY
from expfam_em.rows.typing import Array, Block, Mask


def log_odds_of(share: Array) -> Array:
    """Return log(p / (1 − p)), within ± 700 where p is 0 or 1, or one unit above 1 by rounding."""
    share = np.clip(share, 0.0, 1.0)
    return np.clip(np.log(share) - log1p(-share), -NATURAL_LIMIT, NATURAL_LIMIT)


class Bernoulli(IndependentColumns):
    """Product of Bernoulli columns: T(x) = x, A(η) = Σ log(1 + e^η), h(x) = 1, η = log(p / (1 − p))."""

    sparse = "entries"
    is_identity = True
    needs = "0 or 1"
    ranges = {"probabilities": PROBABILITY}

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return (x,)

    def log_partition_of(self, log_odds: Array) -> Array:
        return np.logaddexp(0, log_odds)

    def expectation_of(self, log_odds: Array) -> tuple[Array, ...]:
        return (expit(log_odds),)

    def natural_of(self, mean: Array) -> tuple[Array, ...]:
        return (log_odds_of(mean),)  # S/N may round to one unit above 1

    def parameters_of(self, log_odds: Array) -> dict[str, Array]:
        return {"probabilities": np.where(log_odds <= -NATURAL_LIMIT, 0.0, expit(log_odds))}

    def natural_from(self, probabilities: Array) -> tuple[Array, ...]:
        return (log_odds_of(probabilities),)

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        return rng.random(size) < self.parameters_of(*natural)["probabilities"]

    def possible(self, x: Array) -> Mask:
        return (x == 0) | (x == 1)
