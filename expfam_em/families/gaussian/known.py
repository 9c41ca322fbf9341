"""Normal densities whose covariance is known: the spheres of k-means."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from expfam_em.families.gaussian.conjugate import NormalMean
from expfam_em.families.gaussian.gaussian import Gaussian, read_moments
from expfam_em.families.gaussian.models import MODELS, Model
from expfam_em.families.gaussian.packing import Constant
from expfam_em.family import named
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.conjugate import Conjugate
from expfam_em.family.optional import Cancelling, Framed
from expfam_em.rows.typing import Array, Block

FARTHEST_MEAN = 1e7
"""Squared distance of a mean from the frame's origin, in variances, beyond which ⟨η, z⟩ − A lacks eight digits."""


class KnownCovariance(Gaussian, Cancelling):
    """Normal density with the known covariance εI: T(x) = z, A(η) = ½ ε |η|², h(x) = (2πε)^(−d/2) exp(−|z|²/(2ε)).

    z = (x − shift) / scale, with one scale for all columns, is the observation in the family's frame, as in `Gaussian`,
    and the formulas take ε in units of the frame. Equal weights held fixed and temperature 0 make k-means of it.

    Parameters
    ----------
    variance : float > 0
        The variance ε of every column, in units of x².

    Raises
    ------
    ValueError
        If the variance is not one finite positive number.
    """

    choose_frames, rescue_frames = Framed.choose_frames, Framed.rescue_frames  # none: z zᵀ is no statistic

    def __init__(self, variance: float = 1.0) -> None:
        if not (isinstance(variance, Real) and 0 < variance < np.inf):
            raise ValueError(f"variance is {variance!r}; it must be a finite positive number")
        super().__init__("spherical", variance_floor=0.0)
        self.covariance_type = "known"
        self.variance: float = float(variance)
        self.seed_smoothing = 0.0

    @property
    def _model(self) -> Model:
        return MODELS["spherical"]

    @property
    def _form(self) -> Any:
        return Constant(self.variance if self.scale is None else self.variance / self.scale[0] ** 2)

    def cancels(self, natural: Array) -> bool:
        mean, _ = self._form.moments(natural)
        return bool(np.any(np.sum(mean**2, axis=1) > FARTHEST_MEAN * self._form.variance))

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        if not self.cancels(natural):
            return super().log_density(X, natural)
        squares = cdist(np.asarray(X, np.float64), self.to_moments(natural)[0], "sqeuclidean")
        return -0.5 * (squares / self.variance + np.shape(X)[1] * np.log(2 * np.pi * self.variance))

    def log_base_measure(self, X: Block) -> Array:
        shift, scale = self._frame(X.shape[1])
        variance, Z = self._form.variance, (np.asarray(X, np.float64) - shift) / scale
        squares = 0.5 * np.einsum("ij,ij->i", Z, Z)
        return super().log_base_measure(X) - 0.5 * X.shape[1] * np.log(variance) - squares / variance

    def _log_base_by_column(self, X: Block) -> Array:
        shift, scale = self._frame(X.shape[1])
        variance, Z = self._form.variance, (np.asarray(X, np.float64) - shift) / scale
        return super()._log_base_by_column(X) - 0.5 * np.log(variance) - 0.5 * Z**2 / variance

    def filling(self, n_features: int) -> Array | None:
        return None  # there are no squares among the statistics

    def expected_log_base_measure(self, natural: Array) -> Array:
        d, (mean, covariance) = natural.shape[1], self._form.moments(natural)
        variance, squares = covariance[:, 0], np.sum(mean**2, axis=1)
        return super().expected_log_base_measure(natural) - 0.5 * (d * np.log(variance) + squares / variance + d)

    _maximize_constrained = ExponentialFamily._maximize_constrained

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of means (K, d)."""
        arrays, used = read_moments(self, self, given, constant=("covariances",))
        with np.errstate(all="ignore"):
            natural = self.from_moments(used["means"], np.full(len(used["means"]), self.variance))
        return named.finished(self, natural, arrays, used)

    def conjugate(self) -> Conjugate:
        return NormalMean(self)

    def __repr__(self) -> str:
        return f"KnownCovariance(variance={self.variance!r})"


def in_frame_units(family: KnownCovariance) -> KnownCovariance:
    """Return a bound family with an ε that is 1 in the frame, so that scores have no unit of x²."""
    return family.replace(variance=1.0 if family.scale is None else float(family.scale[0]) ** 2)
