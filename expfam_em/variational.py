"""The lower bound for any responsibilities, its gap to the log-likelihood, and Q(θ, θ_old).

With q_nk any distribution over the components of each row,

    log p(X) = ℒ(q, θ) + Σ_n w_n KL(q_n ‖ p(·|x_n, θ)),   ℒ(q, θ) = Q(θ; q) + Σ_n w_n H(q_n),

so the E-step closes the gap and the M-step raises Q (Neal and Hinton 1998).
"""

from __future__ import annotations

import numpy as np
from scipy.special import entr, rel_entr

from expfam_em import em
from expfam_em.blocks import as_rows
from expfam_em.csr import observations


def expected_log_likelihood(mixture, X, q, sample_weight=None) -> float:
    """Return Q(θ; q) = Σ_n w_n Σ_k q_nk (log π_k + log p(x_n|η_k)).

    Q(θ, θ_old) of the general EM algorithm is this with ``q = old.responsibilities(X)``.

    Parameters
    ----------
    mixture : Mixture
        θ.
    X : (n, d)
    q : (n, K)
        Rows non-negative with sum 1.
    sample_weight : (n,), optional

    Raises
    ------
    ValueError
        If q has another shape or its rows are no distributions.
    """
    X = observations(X)
    q = _checked(q, len(X), mixture.n_components)
    joint = mixture.log_weights + mixture.family.log_density(X, mixture.natural)
    with np.errstate(invalid="ignore"):
        terms = np.where(q > 0, q * joint, 0.0)
    return _total(terms.sum(axis=1), sample_weight)


def lower_bound(mixture, X, q, sample_weight=None) -> float:
    """Return ℒ(q, θ) = Q(θ; q) + Σ_n w_n H(q_n), at most the log-likelihood (Jensen)."""
    return expected_log_likelihood(mixture, X, q, sample_weight) + _total(entr(q).sum(axis=1), sample_weight)


def gap(mixture, X, q, sample_weight=None) -> float:
    """Return log p(X|θ) − ℒ(q, θ) = Σ_n w_n KL(q_n ‖ p(·|x_n, θ)) ≥ 0, from the divergences themselves."""
    rows = as_rows(X)
    q = _checked(q, len(rows), mixture.n_components)
    responsibilities = em.evaluate(mixture, rows, log_density=False, responsibilities=True)[0]
    return _total(rel_entr(q, responsibilities).sum(axis=1), sample_weight)


def _checked(q, n, K):
    q = np.asarray(q, np.float64)
    if q.shape != (n, K):
        raise ValueError(f"q has shape {q.shape}; it must be ({n}, {K}), one distribution over components per row")
    if not (np.all(q >= 0) and np.allclose(q.sum(axis=1), 1)):
        raise ValueError("every row of q must be non-negative and sum to 1")
    return q


def _total(values, sample_weight) -> float:
    return float(values.sum() if sample_weight is None else values @ np.asarray(sample_weight, np.float64))
