"""Textbook EM in dense NumPy, sharing nothing with the package: densities and estimates come from the table."""

import numpy as np
from scipy.special import logsumexp


class Step:
    """Weights, components, bound and log-prior at one point of a run."""

    def __init__(self, weights, thetas, bound, log_prior):
        self.weights, self.thetas, self.bound, self.log_prior = weights, thetas, bound, log_prior


def scores(case, X, weights, thetas):
    """log π_k + log p(x|θ_k), (n, K)."""
    with np.errstate(divide="ignore"):
        return np.log(weights) + np.column_stack([case.log_density(X, theta) for theta in thetas])


def responsibilities(S, temperature):
    """Softmax of S/τ by row; the indicator of the largest at τ = 0."""
    if temperature == 0:
        return np.eye(S.shape[1])[S.argmax(axis=1)]
    return np.exp(S / temperature - logsumexp(S / temperature, axis=1, keepdims=True))


def bound(S, temperature, w):
    """Σ w τ logsumexp(S/τ), or Σ w max S at τ = 0."""
    rows = S.max(axis=1) if temperature == 0 else temperature * logsumexp(S / temperature, axis=1)
    return np.sum(w[w > 0] * rows[w > 0])


def estimate_present(case, X, R, thetas):
    """Estimates of the components that have observations; the others stay."""
    present = np.flatnonzero(R.sum(axis=0) > 0)
    found = dict(zip(present, case.estimate_all(X, R[:, present]), strict=True))
    return [found.get(k, theta) for k, theta in enumerate(thetas)]


def run(case, X, weights, thetas, steps, *, temperature=1.0, w=None, pseudo=None, concentration=1.0, free=True):
    """Return the start and ``steps`` EM steps.

    ``pseudo`` = (rows, their weight) is a conjugate prior as what it means: rows that every component has seen.
    """
    w = np.ones(len(X)) if w is None else np.asarray(w, float)
    K = len(thetas)
    X0, w0 = (X[:0], np.zeros(0)) if pseudo is None else pseudo
    alpha = np.broadcast_to(concentration, K)
    out = []
    for step in range(steps + 1):
        S = scores(case, X, weights, thetas)
        with np.errstate(divide="ignore", invalid="ignore"):
            on_weights = np.where(alpha == 1, 0.0, (alpha - 1) * np.log(weights)).sum()
        on_components = sum(w0 @ case.log_density(X0, theta) for theta in thetas)
        out.append(Step(weights, thetas, bound(S, temperature, w), on_weights + on_components))
        if step < steps:
            R = w[:, None] * responsibilities(S, temperature)
            if free:
                weights = (R.sum(axis=0) + alpha - 1) / (R.sum() + alpha.sum() - K)
            everything = np.concatenate([R, np.repeat(w0[:, None], K, axis=1)])
            thetas = estimate_present(case, np.concatenate([X, X0]), everything, thetas)
    return out
