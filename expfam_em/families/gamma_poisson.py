"""Counts that vary more than Poisson counts do, with a shape that is estimated."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from expfam_em.families.columns import IndependentColumns
from expfam_em.families.special.gamma import log_beta
from expfam_em.families.special.inverses import inverse_log_minus_digamma
from expfam_em.family.named import FROM_0, POSITIVE, POSSIBLE_SUCCESS
from expfam_em.family.optional import Incomplete
from expfam_em.family.summaries import Width
from expfam_em.rows.typing import Array, Block, Floats, Mask

LARGEST_SHAPE = 1e8
"""Beyond, counts cannot be told from Poisson ones."""

LEAST_MEAN = 1e-200
"""Mean of counts that are all 0."""

SAME = 1e-9
"""Relative difference from the rates of an E-step up to which it is rounding."""


class GammaPoisson(IndependentColumns, Incomplete):
    """Poisson counts x of unobserved rates λ that follow a Gamma density: the negative binomial law with r free.

    The complete data are counts and rates: T(x, λ) = (log λ, λ, x), A(η) = Σ log Γ(r) − r log(1 − η₂ − e^η₃),
    h(x, λ) = Π e^−λ/(λ x!), with η = (r, −b, 0). The E-step takes E[log λ|x] = ψ(x + r) − log(1 + b) and
    E[λ|x] = (x + r)/(1 + b). The M-step finds r from the rates; for any r, the likelihood is largest where the
    mean r/b is that of the counts, so b follows from x (ECME, Liu and Rubin 1994), and the bound, that of the counts,
    never falls. Where a prior adds rates that were not computed so, b follows from λ.

    ``from_parameters`` needs shapes and means, or shapes and probabilities.
    """

    order = 3
    coupled = False
    n_features: int | None = None
    needs = "whole numbers from 0"
    ranges = {"shapes": POSITIVE, "means": FROM_0, "probabilities": POSSIBLE_SUCCESS}
    determined_by = (("shapes", "means"), ("shapes", "probabilities"))

    def statistics_of(self, x: Array) -> tuple[Array, ...]:
        return np.log(x + 0.5), x + 0.5, x  # about the means of log λ and λ

    def summary(self, X: Array, sample_weight: Floats | None) -> Any:
        return Width(X.shape[1])

    def bound(self, summary: Any) -> Self:
        """Return a copy that knows the number of columns, by which parameters are counted."""
        return self.replace(n_features=summary.n_features)

    def n_parameters(self, n_components: int) -> int:
        if self.n_features is None:
            raise ValueError("GammaPoisson counts its parameters once the number of columns is known: call bind first")
        return 2 * n_components * self.n_features

    def log_partition_of(self, shape: Array, minus_rate: Array, tilt: Array) -> Array:
        with np.errstate(all="ignore"):
            rate = -minus_rate - np.expm1(tilt)
            return np.where((shape > 0) & (rate > 0), gammaln(shape) - xlogy(shape, rate), np.inf)

    def log_density(self, X: Block, natural: Array) -> Array:
        shape, rate = self._shape_and_rate(natural)
        x = np.asarray(X, np.float64)[:, None, :]
        with np.errstate(all="ignore"):
            binomial = np.where(x == 0, 0.0, -np.log(x + shape) - log_beta(x + 1, shape))
        return (binomial - shape * np.log1p(1 / rate) - x * np.log1p(rate)).sum(axis=2)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # that of the rates would say nothing about counts

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        shape, rate = self._shape_and_rate(natural)
        total = np.asarray(X, np.float64)[:, None, :] + shape
        log_rates, rates = digamma(total) - np.log1p(rate), total / (1 + rate)
        sums = [np.einsum("nk,nkd->kd", responsibilities, part) for part in (log_rates, rates)]
        return np.concatenate([*sums, responsibilities.T @ np.asarray(X, np.float64)], axis=1)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        log_mean, mean, of_counts = self._split(sums / counts[:, None])
        shape, minus_rate, tilt = self.natural_of(log_mean, mean, of_counts)
        if previous is not None:
            shape_before, rate_before = self._shape_and_rate(previous)
            expected = (of_counts + shape_before) / (1 + rate_before)  # what an E-step gives, if nothing is added to it
            of_likelihood = -shape / np.maximum(of_counts, LEAST_MEAN)
            minus_rate = np.where(np.abs(mean - expected) <= SAME * expected, of_likelihood, minus_rate)
        return np.concatenate([shape, minus_rate, tilt], axis=-1)

    def _shape_and_rate(self, natural: Array) -> tuple[Array, Array]:
        shape, minus_rate, _ = self._split(np.atleast_2d(natural))
        return shape, -minus_rate

    def expectation_of(self, shape: Array, minus_rate: Array, tilt: Array) -> tuple[Array, ...]:
        rate = -minus_rate - np.expm1(tilt)
        return digamma(shape) - np.log(rate), shape / rate, shape * np.exp(tilt) / rate

    def natural_of(self, log_mean: Array, mean: Array, of_counts: Array) -> tuple[Array, ...]:
        shape = inverse_log_minus_digamma(np.log(mean) - log_mean)
        shape = np.where(shape < LARGEST_SHAPE, shape, LARGEST_SHAPE)  # NaN where the rates do not vary at all
        return shape, -shape / mean, np.zeros_like(shape)

    def parameters_of(self, shape: Array, minus_rate: Array, tilt: Array) -> dict[str, Array]:
        return {"shapes": shape, "means": -shape / minus_rate, "probabilities": minus_rate / (minus_rate - 1)}

    def natural_from(
        self, shapes: Array, means: Array | None = None, probabilities: Array | None = None
    ) -> tuple[Array, ...]:
        if means is None:
            assert probabilities is not None  # see determined_by
            means = shapes * ((1 - np.minimum(probabilities, 1.0)) / probabilities)
        return shapes, -shapes / np.maximum(means, LEAST_MEAN), np.zeros_like(shapes)

    def _known_sizes(self) -> dict[str, int]:
        return {} if self.n_features is None else {"column": self.n_features}

    def draw_of(self, natural: Array, size: tuple[int, ...], rng: np.random.Generator) -> Block:
        shape, minus_rate, _ = natural
        return rng.poisson(rng.standard_gamma(shape, size) / -minus_rate)

    def possible(self, x: Array) -> Mask:
        return (x >= 0) & (x == np.floor(x)) & (x < np.inf)
