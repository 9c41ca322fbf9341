"""Counts that vary more than Poisson counts do, with a shape that is estimated."""

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from expfam_em.families._columns import IndependentColumns
from expfam_em.families._inverses import inverse_log_minus_digamma
from expfam_em.families._special import log_beta

LARGEST_SHAPE = 1e8
"""Beyond, counts cannot be told from Poisson ones."""


class GammaPoisson(IndependentColumns):
    """Poisson counts x of unobserved rates λ that follow a Gamma density: the negative binomial law with r free.

    The complete data are those of the rates: T(λ) = (log λ, λ), A(η) = Σ log Γ(r) − r log b, h(λ) = Π 1/λ, with
    η = (r, −b). The E-step takes E[log λ|x] = ψ(x + r) − log(1 + b) and E[λ|x] = (x + r)/(1 + b), so that r and b are
    estimated for each component and column, and the bound, that of the counts, never falls.
    """

    order = 2
    incomplete = True
    needs = "whole numbers from 0"

    def statistics_of(self, x):
        return np.log(x + 0.5), x + 0.5  # about the means of log λ and λ

    def log_partition_of(self, shape, minus_rate):
        with np.errstate(all="ignore"):
            inside = (shape > 0) & (minus_rate < 0)
            return np.where(inside, gammaln(shape) - xlogy(shape, -minus_rate), np.inf)

    def log_density(self, X, natural):
        shape, rate = self._shape_and_rate(natural)
        x = np.asarray(X, np.float64)[:, None, :]
        with np.errstate(all="ignore"):
            binomial = np.where(x == 0, 0.0, -np.log(x + shape) - log_beta(x + 1, shape))
        return (binomial - shape * np.log1p(1 / rate) - x * np.log1p(rate)).sum(axis=2)

    def expected_log_base_measure(self, natural):
        return None  # that of the rates would say nothing about counts

    def complete(self, X, natural, responsibilities):
        shape, rate = self._shape_and_rate(natural)
        total = np.asarray(X, np.float64)[:, None, :] + shape
        log_rates, rates = digamma(total) - np.log1p(rate), total / (1 + rate)
        sums = [np.einsum("nk,nkd->kd", responsibilities, part) for part in (log_rates, rates)]
        return np.concatenate(sums, axis=1)

    def _shape_and_rate(self, natural):
        shape, minus_rate = self._split(np.atleast_2d(natural))
        return shape, -minus_rate

    def expectation_of(self, shape, minus_rate):
        return digamma(shape) - np.log(-minus_rate), -shape / minus_rate

    def natural_of(self, log_mean, mean):
        shape = inverse_log_minus_digamma(np.log(mean) - log_mean)
        shape = np.where(shape < LARGEST_SHAPE, shape, LARGEST_SHAPE)  # NaN where the rates do not vary at all
        return shape, -shape / mean

    def parameters_of(self, shape, minus_rate):
        return {"shapes": shape, "means": -shape / minus_rate, "probabilities": minus_rate / (minus_rate - 1)}

    def draw_of(self, natural, size, rng):
        shape, minus_rate = natural
        return rng.poisson(rng.standard_gamma(shape, size) / -minus_rate)

    def possible(self, x):
        return (x >= 0) & (x == np.floor(x)) & (x < np.inf)
