"""Γ of several arguments, and inverses of its derivatives."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln, zeta

from expfam_em.families.special.gamma import LARGE, log_minus_digamma, stirling

LOG_2PI = float(np.log(2 * np.pi))
LOG_PI = float(np.log(np.pi))

STEPS = 60


def stirling_error(x) -> np.ndarray:
    """Return log Γ(x) − (x − ½) log x + x − ½ log 2π, for x > 0; it falls like 1/(12x)."""
    with np.errstate(all="ignore"):
        small = np.minimum(x, LARGE)
        direct = gammaln(small) - (small - 0.5) * np.log(small) + small - 0.5 * LOG_2PI
    return np.where(x < LARGE, direct, stirling(np.maximum(x, float(LARGE))))


def trigamma(x) -> np.ndarray:
    """Return ψ′(x) = ζ(2, x), for x > 0."""
    return zeta(2.0, x)


def inverse_digamma(y, steps=4) -> np.ndarray:
    """Return the x > 0 with ψ(x) = y, by Newton's method from Minka's start (Minka 2000, appendix C)."""
    # ψ(x) ≈ log(x − ½) for large x and −1/x − γ for small x; Newton's method on the concave ψ then rises to the root
    x = np.where(y >= -2.22, np.exp(np.minimum(y, 700.0)) + 0.5, -1 / (np.minimum(y, -2.22) + np.euler_gamma))
    for _ in range(steps):
        x = np.maximum(x - (digamma(x) - y) / trigamma(x), x / 8)
    return x


def log_multigamma(x, order) -> np.ndarray:
    """Return log Γ_q(x) = q(q − 1)/4 log π + Σ_i log Γ(x − i/2), i < q, for x > (q − 1)/2."""
    return order * (order - 1) / 4 * LOG_PI + gammaln(x[..., None] - np.arange(order) / 2).sum(axis=-1)


def log_minus_multidigamma(excess, order) -> np.ndarray:
    """Return q log x − Σ_i ψ(x − i/2) at x = (q − 1)/2 + s, s > 0; it falls from 1/s to q(q + 1)/(4 s)."""
    below = np.arange(order) / 2
    arguments = excess[..., None] + below  # x − i/2, from the last i to the first
    return np.sum(np.log1p(below[::-1] / arguments) + log_minus_digamma(arguments), axis=-1)


def inverse_log_minus_multidigamma(value, order) -> np.ndarray:
    """Return the s > 0 at which `log_minus_multidigamma` has a value; NaN where that is not positive.

    Newton's method on its logarithm as a function of log s, whose slope is −1 at both ends.
    """
    with np.errstate(all="ignore"):
        possible = (value > 0) & np.isfinite(value)
        target = np.where(possible, value, 1.0)
        s = (1 + order * (order + 1) / 4 * (target < 1)) / target
        below = np.arange(order) / 2
        for _ in range(STEPS):
            found = log_minus_multidigamma(s, order)
            arguments = s[..., None] + below
            slope = s / found * (order / (s + (order - 1) / 2) - trigamma(arguments).sum(axis=-1))
            # the difference has lost its digits where s is large, but there the slope is known
            slope = np.where((s > 1e6 * order) | ~(slope < 0), -1.0, slope)
            step = np.clip(np.log(found / target) / slope, -2.0, 2.0)
            s = s * np.exp(-step)
            if np.all(np.abs(step) <= 1e-15):
                break
        return np.where(possible, s, np.nan)
