"""The lower bound for any responsibilities, its gap to the log-likelihood, and Q(θ, θ_old).

With q_nk any distribution over the components of each row,

    log p(X) = ℒ(q, θ) + Σ_n w_n KL(q_n ‖ p(·|x_n, θ)),   ℒ(q, θ) = Q(θ; q) + Σ_n w_n H(q_n),

so the E-step closes the gap and the M-step raises Q (Neal and Hinton 1998).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, logsumexp

from expfam_em.family import checked
from expfam_em.rows.csr import observations
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Observations
from expfam_em.values.mixture import Mixture, mixture_and_rows


@undisturbed
def expected_log_likelihood(
    mixture: Mixture, X: Observations, q: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Return Q(θ; q) = Σ_n w_n Σ_k q_nk (log π_k + log p(x_n|η_k)).

    Q(θ, θ_old) of the general EM algorithm is this with ``q = old.responsibilities(X)``.

    Parameters
    ----------
    mixture : Mixture
        θ.
    X : (n, d)
        Rows.
    q : (n, K)
        Rows non-negative with sum 1.
    sample_weight : (n,), optional
        Row weights, 1 by default.

    Raises
    ------
    ValueError
        If q has another shape or its rows are no distributions.
    """
    q, joint = _joint(mixture, X, q)
    return _total(_mean(q, joint), sample_weight)


@undisturbed
def lower_bound(mixture: Mixture, X: Observations, q: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return ℒ(q, θ) = Q(θ; q) + Σ_n w_n H(q_n), at most the log-likelihood (Jensen).

    Parameters
    ----------
    mixture : Mixture
        θ, as in ``model.mixture_``.
    X : (n, d) array or sparse matrix
        Rows.
    q : (n, K)
        Probabilities of the components for each row.
    sample_weight : (n,), optional
        Row weights w, 1 by default.
    """
    return expected_log_likelihood(mixture, X, q, sample_weight) + _total(entr(q).sum(axis=1), sample_weight)


@undisturbed
def gap(mixture: Mixture, X: Observations, q: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
    """Return log p(X|θ) − ℒ(q, θ) = Σ_n w_n KL(q_n ‖ p(·|x_n, θ)) ≥ 0, from the divergences themselves.

    Parameters
    ----------
    mixture : Mixture
        θ, as in ``model.mixture_``.
    X : (n, d) array or sparse matrix
        Rows.
    q : (n, K)
        Probabilities of the components for each row.
    sample_weight : (n,), optional
        Row weights w, 1 by default.
    """
    q, joint = _joint(mixture, X, q)
    # of logarithms: a responsibility may be too small for float64 where q is not
    log_responsibilities = joint - logsumexp(joint, axis=1, keepdims=True)
    divergences = -entr(q).sum(axis=1) - _mean(q, log_responsibilities)
    return _total(np.maximum(divergences, 0.0), sample_weight)  # rounding alone makes one negative


def _joint(mixture: Mixture, X: Observations, q: ArrayLike) -> tuple[Array, Array]:
    """Return q, checked, and log π_k + log p(x_n|η_k), (n, K)."""
    mixture, X = mixture_and_rows(mixture, X)
    rows: Any = observations(X)  # CSR rows only where the family takes them
    joint = mixture.log_weights + checked.log_density(mixture.family, rows, mixture.natural)
    return _checked(q, len(rows), mixture.n_components), joint


def _mean(q: Array, values: Array) -> Array:
    """Return Σ_k q_nk v_nk, where what has no probability does not count, (n,)."""
    with np.errstate(invalid="ignore"):
        return np.where(q > 0, q * values, 0.0).sum(axis=1)


def _checked(q: ArrayLike, n: int, K: int) -> Array:
    q = np.asarray(q, np.float64)
    if q.shape != (n, K):
        raise ValueError(f"q has shape {q.shape}; it must be ({n}, {K}), one distribution over components per row")
    if not (np.all(q >= 0) and np.allclose(q.sum(axis=1), 1)):
        raise ValueError("every row of q must be non-negative and sum to 1")
    return q


def _total(values: Array, sample_weight: ArrayLike | None) -> float:
    return float(values.sum() if sample_weight is None else values @ np.asarray(sample_weight, np.float64))
