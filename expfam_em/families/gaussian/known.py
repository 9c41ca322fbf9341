"""Normal densities whose covariance is known: the spheres of k-means."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.gaussian import packing
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.family import named
from expfam_em.rows.typing import Array, Block


class KnownCovariance(Gaussian):
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
        If the variance is not positive.
    """

    _may_reframe = False

    def __init__(self, variance: float = 1.0) -> None:
        if not variance > 0:
            raise ValueError(f"variance is {variance!r}; it must be positive")
        super().__init__("spherical")
        self.covariance_type = "known"
        self.variance = float(variance)
        self.seed_smoothing = 0.0

    @property
    def coupled(self) -> bool:
        return False

    @property
    def form(self) -> Any:
        return packing.Constant(self.variance if self.scale is None else self.variance / self.scale[0] ** 2)

    def in_frame_units(self) -> Self:
        """Return a copy of a bound family whose ε is 1 in the frame, so that scores have no unit of x²."""
        scale = self.frame(1 if self.scale is None else len(self.scale))[1]
        return self.replace(variance=float(scale[0]) ** 2)

    def log_base_measure(self, X: Block) -> Array:
        shift, scale = self.frame(X.shape[1])
        variance, Z = self.form.variance, (np.asarray(X, np.float64) - shift) / scale
        squares = 0.5 * np.einsum("ij,ij->i", Z, Z)
        return super().log_base_measure(X) - 0.5 * X.shape[1] * np.log(variance) - squares / variance

    def expected_log_base_measure(self, natural: Array) -> Array:
        d, (mean, variance) = natural.shape[1], self.form.moments(natural)
        squares = np.sum(mean**2, axis=1)
        return super().expected_log_base_measure(natural) - 0.5 * (d * np.log(variance) + squares / variance + d)

    def from_parameters(self, **given: ArrayLike) -> Array:
        """Return the natural parameters of means (K, d)."""
        known = {"means": named.FINITE, "covariances": named.POSITIVE._replace(axes=())}
        arrays, used = named.read(self, given, known, (("means",),), sizes=self._known_sizes())
        with np.errstate(all="ignore"):
            natural = self.from_moments(used["means"], np.full(len(used["means"]), self.variance))
        return named.finished(self, natural, arrays, used)

    def __repr__(self) -> str:
        return f"KnownCovariance(variance={self.variance:g})"
