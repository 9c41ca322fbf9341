"""Differences of gamma functions, elementwise, without the cancellation of their large terms."""

import numpy as np
from scipy.special import gammaln

LARGE = 10
"""From here on the asymptotic series below are exact to rounding."""

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
"""log Γ(z) = (z − ½) log z − z + ½ log 2π + Σ cₖ z^(1−2k)."""

DIGAMMA = {1: 1 / 2, 2: 1 / 12, 4: -1 / 120, 6: 1 / 252, 8: -1 / 240, 10: 1 / 132, 12: -691 / 32760, 14: 1 / 12}
"""log z − ψ(z) = Σ cⱼ z^(−j)."""

TRIGAMMA = {1: 1.0} | {power + 1: power * value for power, value in DIGAMMA.items()}
"""ψ′(z) = Σ cⱼ z^(−j), the derivative of log z − Σ cⱼ z^(−j)."""


ROUNDING = 64 * float(np.finfo(float).eps)
"""A difference of sums this small, relative to its terms, is rounding."""


def log(x):
    """Return log x of observations; the last bit of NumPy's own depends on their strides."""
    return np.log(np.ascontiguousarray(x))


def stirling(z):
    """Return log Γ(z) − (z − ½) log z + z − ½ log 2π for z ≥ LARGE."""
    square, out = z**-2.0, 0.0
    for coefficient in reversed(STIRLING):
        out = out * square + coefficient
    return out / z


def log_beta(a, b):
    """Return log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b) with the error of a number of its size."""
    with np.errstate(all="ignore"):
        small, large = np.minimum(a, b), np.maximum(a, b)
        both_small = gammaln(small) + gammaln(large) - gammaln(small + large)
        far = np.maximum(large, LARGE)
        rise = small * np.log(far) + (far + small - 0.5) * np.log1p(small / far) - small
        one_large = gammaln(small) - (rise + stirling(far + small) - stirling(far))
        near = np.maximum(small, LARGE)
        # the linear terms of the three expansions cancel exactly, and the rest have one sign
        both_large = (
            -far * np.log1p(near / far) - near * np.log1p(far / near)
            + 0.5 * (np.log(2 * np.pi) + np.log1p(near / far) - np.log(near))
            + stirling(near) + stirling(far) - stirling(near + far)
        )  # fmt: skip
        value = np.where(large < LARGE, both_small, np.where(small < LARGE, one_large, both_large))
        return np.where(small > 0, value, np.where(small == 0, np.inf, np.nan))


def log_minus_digamma(a):
    """Return log a − ψ(a) > 0 with a small relative error."""
    a = np.asarray(a, np.float64)
    shifted = np.where(a < LARGE, a + LARGE, a)
    u = 1 / (np.where(a < LARGE, a, np.inf) + np.arange(LARGE).reshape(-1, *[1] * a.ndim))
    # log a − ψ(a) falls by 1/a − log(1 + 1/a) from a to a + 1: all terms are positive
    return np.sum(u - np.log1p(u), axis=0) + sum(c * shifted**-power for power, c in DIGAMMA.items())


def digamma_difference(a, b):
    """Return ψ(a + b) − ψ(a) ≥ 0 for a > 0, b ≥ 0 with a small relative error."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    here = a + np.arange(LARGE).reshape(-1, *[1] * a.ndim)
    # Σ 1/(a + i) − 1/(a + b + i), and then log and the series from a + LARGE on
    return np.sum(b / (here + b) / here, axis=0) + _differences(DIGAMMA | {0: 1.0}, a, b)


def trigamma_difference(a, b):
    """Return ψ′(a) − ψ′(a + b) ≥ 0 for a > 0, b ≥ 0 with a small relative error."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    here = a + np.arange(LARGE).reshape(-1, *[1] * a.ndim)
    return np.sum(b / (here + b) / here * (1 / here + 1 / (here + b)), axis=0) + _differences(TRIGAMMA, a, b)


def _differences(series, a, b):
    """Return Σ cⱼ (z^(−j) − (z + b)^(−j)) for z = a + LARGE; j = 0 stands for log((z + b)/z)."""
    z = a + LARGE
    log_ratio = np.log1p(b / z)
    return sum(c * (-(z**-power) * np.expm1(-power * log_ratio) if power else log_ratio) for power, c in series.items())
