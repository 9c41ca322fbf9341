"""Gamma functions without cancellation: Stirling's remainder, differences of digammas, and Γ of several arguments."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, gammaln, zeta

LOG_2PI = float(np.log(2 * np.pi))
LOG_PI = float(np.log(np.pi))

ASYMPTOTIC = 16.0
"""Argument from which asymptotic series of this many terms are exact to rounding."""

BERNOULLI = np.array([1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6])
"""B₂, B₄, …"""

STEPS = 60


def stirling_error(x) -> np.ndarray:
    """Return log Γ(x) − (x − ½) log x + x − ½ log 2π, for x > 0; it falls like 1/(12x)."""
    large = np.maximum(x, ASYMPTOTIC)
    k = np.arange(1, len(BERNOULLI) + 1)
    series = _polynomial(BERNOULLI / (2 * k * (2 * k - 1)), large**-2.0) / large
    with np.errstate(all="ignore"):
        small = np.minimum(x, ASYMPTOTIC)
        direct = gammaln(small) - (small - 0.5) * np.log(small) + small - 0.5 * LOG_2PI
    return np.where(x < ASYMPTOTIC, direct, series)


def trigamma(x) -> np.ndarray:
    """Return ψ′(x) = ζ(2, x), for x > 0."""
    return zeta(2.0, x)


def log_minus_digamma(x) -> np.ndarray:
    """Return log x − ψ(x) > 0, for x > 0; it falls like 1/(2x)."""
    large = np.maximum(x, ASYMPTOTIC)
    k = np.arange(1, len(BERNOULLI) + 1)
    inverse = 1 / large
    series = inverse / 2 + _polynomial(BERNOULLI / (2 * k), inverse**2) * inverse**2
    if np.all(x >= ASYMPTOTIC):
        return series
    with np.errstate(all="ignore"):
        # log x − ψ(x) = Σ_n (1/(x + n) − log(1 + 1/(x + n))), up to the argument of the series
        small = np.minimum(x, ASYMPTOTIC)
        total = log_minus_digamma(small + ASYMPTOTIC)
        for n in range(int(ASYMPTOTIC)):
            total = total + (1 / (small + n) - np.log1p(1 / (small + n)))
    return np.where(x < ASYMPTOTIC, total, series)


def digamma_difference(x, step) -> np.ndarray:
    """Return ψ(x + s) − ψ(x) for x, s > 0, to the last digits whether s or x is small.

    ψ(x + s) − ψ(x) = Σ_n s/((x + n)(x + n + s)) term by term up to an argument at which the asymptotic series of the
    two digammas can be subtracted, term by term as well.
    """
    x, step = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(step, np.float64))
    total = np.zeros(x.shape)
    at = x
    shifted = x < ASYMPTOTIC
    if np.any(shifted):
        for _ in range(int(ASYMPTOTIC)):
            total = np.where(shifted, total + step / at / (at + step), total)
            at = np.where(shifted, at + 1, at)
    u, v = 1 / at, 1 / (at + step)
    gap = step * u * v  # u − v
    # u^{2k} − v^{2k} = (u² − v²) Σ u^{2i} v^{2(k−1−i)}
    series, sums = np.zeros(x.shape), np.zeros(x.shape)
    for k, number in enumerate(BERNOULLI, 1):
        sums = sums * v * v + u ** (2 * (k - 1))
        series = series + number / (2 * k) * sums
    return total + np.log1p(step * u) + gap / 2 + gap * (u + v) * series


def trigamma_difference(x, step) -> np.ndarray:
    """Return ψ′(x) − ψ′(x + s) for x, s > 0, to the last digits whether s or x is small; see `digamma_difference`."""
    x, step = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(step, np.float64))
    total = np.zeros(x.shape)
    at = x
    shifted = x < ASYMPTOTIC
    if np.any(shifted):
        for _ in range(int(ASYMPTOTIC)):
            u, v = 1 / at, 1 / (at + step)
            total = np.where(shifted, total + step * u * v * (u + v), total)
            at = np.where(shifted, at + 1, at)
    u, v = 1 / at, 1 / (at + step)
    gap = step * u * v
    # ψ′(x) = u + u²/2 + Σ B_{2k} u^{2k+1}; u^m − v^m = (u − v) Σ uⁱ v^{m−1−i}
    series, sums = np.ones(x.shape), u + v
    series = series + sums / 2
    for k, number in enumerate(BERNOULLI, 1):
        sums = sums * v + u ** (2 * k)
        series = series + number * sums
        sums = sums * v + u ** (2 * k + 1)
    return total + gap * series


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


def _polynomial(coefficients, x):
    """Return c₀ + c₁ x + c₂ x² + …"""
    value = np.zeros_like(x)
    for c in coefficients[::-1]:
        value = value * x + c
    return value
