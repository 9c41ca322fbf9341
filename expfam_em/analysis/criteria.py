"""Criteria by which fits of different families and numbers of components are compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from expfam_em.rows.typing import Array


class Sharpness(NamedTuple):
    """How surely responsibilities put rows into components.

    Attributes
    ----------
    entropy : float
        −Σ_n w_n Σ_k r_nk log r_nk.
    classification : float
        −Σ_n w_n log max_k r_nk.
    n_components : int
    """

    entropy: float
    classification: float
    n_components: int

    @classmethod
    def of(cls, responsibilities: ArrayLike, weight: Array | None = None) -> Sharpness:
        """Return that of responsibilities (n, K) of rows with weights (n,)."""
        R = np.asarray(responsibilities, np.float64)
        w = np.ones(len(R)) if weight is None else weight
        return cls(float(w @ entr(R).sum(axis=1)), float(w @ -np.log(R.max(axis=1))), R.shape[1])


class Criteria(NamedTuple):
    """Numbers to choose a fit by. Lower is better, but for ``relative_entropy``.

    Attributes
    ----------
    bic : float
        −2 log L + m log n (Schwarz 1978).
    aic : float
        −2 log L + 2 m (Akaike 1974).
    sabic : float
        −2 log L + m log((n + 2)/24), adjusted to the sample size (Sclove 1987).
    icl : float
        BIC + 2 E with the entropy E = −Σ r log r.
    icl_classification : float
        BIC − 2 Σ log max r (Biernacki, Celeux and Govaert 2000).
    nec : float
        E/(log L − log L₁), the normalised entropy criterion, where L₁ is that of one component (Celeux and Soromenho
        1996); 1 for one component (Biernacki, Celeux and Govaert 1999), ∞ where it is no better than one.
    relative_entropy : float
        1 − E/(n log K): 1 where all rows are surely in one component, 0 where nothing is known (Ramaswamy et al.
        1993); NaN for one component.
    """

    bic: float
    aic: float
    sabic: float
    icl: float
    icl_classification: float
    nec: float
    relative_entropy: float


def criteria(
    log_likelihood: float, n_parameters: int, n: float, sharpness: Sharpness, of_one: float = np.nan
) -> Criteria:
    """Return the criteria of a fit.

    Parameters
    ----------
    log_likelihood : float
        Of all rows.
    n_parameters : int
        m, the number of free parameters.
    n : float
        Number of rows, or Σ of their weights, which are frequencies.
    sharpness : Sharpness
    of_one : float
        Log-likelihood of one component; without it ``nec`` is NaN.
    """
    entropy, unsure, K = sharpness
    deviance = -2 * log_likelihood
    bic, gain = deviance + n_parameters * np.log(n), log_likelihood - of_one
    nec = 1.0 if K == 1 else np.inf if gain <= 0 else entropy / gain
    return Criteria(
        float(bic), deviance + 2 * n_parameters, float(deviance + n_parameters * np.log((n + 2) / 24)),
        float(bic + 2 * entropy), float(bic + 2 * unsure), float(nec),
        float(1 - entropy / (n * np.log(K))) if K > 1 else np.nan,
    )  # fmt: skip
