"""Conjugate priors of normal densities: normal-Wishart, normal-Gamma, and normal where the covariance is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from expfam_em.families.gaussian.coordinates import Coordinates
from expfam_em.families.special import gamma
from expfam_em.families.special.linalg import cholesky
from expfam_em.family.conjugate import Conjugate, split
from expfam_em.rows.typing import Array


class NormalWishart(Conjugate):
    """Conjugate prior of a `Gaussian`: m = χ₁/ν, μ is normal about m with precision νΛ, and Λ is Wishart.

    W⁻¹ = χ₂ − χ₁χ₁ᵀ/ν. Λ has ν + ``extra`` degrees of freedom, and the expectation (ν + extra) W. Each precision of a
    diagonal covariance has a Gamma density of half as many, and that of a spherical one of d times half as many. Of
    tied components, whose Λ is one, W⁻¹ and ν are the sums over components.

    Parameters
    ----------
    family : Gaussian
    extra : float, optional
        By default the least that has a density for every ν > 0: d − 1 for matrices, else 0.
    """

    family: Any

    def __init__(self, family: Any, extra: float | None = None) -> None:
        super().__init__(family)
        self.extra = extra

    @property
    def coupled(self) -> bool:
        return bool(self.family._model.tied)

    def degrees_of_freedom(self, nu: Array, n_features: int) -> Array:
        """Return ν + extra of each component, or Σ ν + extra if components are tied, (K,)."""
        least = n_features - 1 if self.family._model.free == "full" else 0
        total = np.broadcast_to(nu.sum(), nu.shape) if self.coupled else nu
        return total + (least if self.extra is None else self.extra)

    def _parts(self, natural: Array) -> tuple[Array, Array, Array, Array]:
        """Return ν (K,), degrees of freedom (K,), means m (K, d) and W⁻¹, in the shape of the form."""
        (chi, nu), form = split(natural), self.family._form
        mean, covariance = form.central(chi / nu)
        nu = nu[:, 0]
        scatter = covariance * nu.reshape(-1, *[1] * (covariance.ndim - 1))
        if self.coupled:
            scatter = np.broadcast_to(scatter.sum(axis=0), scatter.shape)
        return nu, self.degrees_of_freedom(nu, mean.shape[1]), mean, scatter

    def _volumes(self, n: int, d: int) -> Array:
        """Return what frames of single components add to A, (n,)."""
        coordinates: Coordinates = self.family._coordinates(d)
        return np.zeros(n) if coordinates.frames is None else coordinates.log_volumes(n)

    def _of_precision(self, freedom: Array, scatter: Array, d: int) -> tuple[Array, Array]:
        """Return log ∫ of the density of Λ, and E[log |Λ|], each (K,); NaN outside the space."""
        half = 0.5 * freedom
        if self.family._model.free == "full":
            half = np.where(freedom > d - 1, half, np.nan)
            log_det = 2 * self.family._form.log_volume(cholesky(scatter), d)
            log_mean = digamma(half[:, None] - 0.5 * np.arange(d)).sum(axis=1)
            value = gamma.log_multigamma(half, d) - half * (log_det - d * np.log(2))
            return value, log_mean + d * np.log(2) - log_det
        half, scatter = np.where(half > 0, half, np.nan)[:, None], np.where(scatter > 0, scatter, np.nan)
        copies = d // scatter.shape[1]  # of a number that stands for all columns
        half, rate = copies * half, 0.5 * copies * scatter
        each = gammaln(half) - half * np.log(rate), copies * (digamma(half) - np.log(rate))
        return each[0].sum(axis=1), each[1].sum(axis=1)

    def log_partition(self, natural: Array) -> Array:
        with np.errstate(all="ignore"):
            nu, freedom, mean, scatter = self._parts(natural)
            (K, d), share = mean.shape, 1 / len(mean) if self.coupled else 1.0
            of_precision = share * self._of_precision(freedom, scatter, d)[0]
            value = of_precision - 0.5 * d * np.log(np.where(nu > 0, nu, np.nan)) - nu * self._volumes(K, d)
        return np.where(np.isfinite(value), value, np.inf)

    def to_expectation(self, natural: Array) -> Array:
        form = self.family._form
        with np.errstate(all="ignore"):
            nu, freedom, mean, scatter = self._parts(natural)
            K, d = mean.shape
            eta = form.natural(mean, scatter / freedom.reshape(-1, *[1] * (scatter.ndim - 1)))
            squares = np.sum(eta[:, :d] * mean, axis=1)
            partition = 0.5 * (squares + d / nu - self._of_precision(freedom, scatter, d)[1]) + self._volumes(K, d)
        return np.column_stack([eta, -partition])

    def point(self, natural: Array) -> Array:
        """Return E[η]: the density of mean m and precision E[Λ]."""
        return self.to_expectation(natural)[:, :-1]


class NormalMean(Conjugate):
    """Conjugate prior of `KnownCovariance`, whose covariance is εI: μ is normal about χ/ν with covariance εI/ν."""

    family: Any

    def log_partition(self, natural: Array) -> Array:
        (chi, nu), variance = split(natural), self.family._form.variance
        with np.errstate(all="ignore"):
            d, nu = chi.shape[1], np.where(nu > 0, nu, np.nan)
            value = 0.5 * np.sum(chi**2, axis=1) / (nu[:, 0] * variance) - 0.5 * d * np.log(nu[:, 0] * variance)
        return np.where(np.isfinite(value), value, np.inf)

    def to_expectation(self, natural: Array) -> Array:
        (chi, nu), variance = split(natural), self.family._form.variance
        with np.errstate(all="ignore"):
            eta = chi / (nu * variance)
            partition = 0.5 * variance * np.sum(eta**2, axis=1) + 0.5 * chi.shape[1] / nu[:, 0]
        return np.column_stack([eta, -partition])
