"""Gamma functions of one and of several arguments, their differences without cancellation, and their inverses.

Everything is elementwise; inverses are found for all components and columns at once by Newton's method.
"""

import numpy as np
from scipy.special import digamma, gammaln, zeta

LOG_2PI, LOG_PI = float(np.log(2 * np.pi)), float(np.log(np.pi))

ASYMPTOTIC_FROM = 10
"""From here on the asymptotic series below are exact to rounding."""

STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)
"""log Γ(z) = (z − ½) log z − z + ½ log 2π + Σ cₖ z^(1−2k)."""

DIGAMMA = {1: 1 / 2, 2: 1 / 12, 4: -1 / 120, 6: 1 / 252, 8: -1 / 240, 10: 1 / 132, 12: -691 / 32760, 14: 1 / 12}
"""log z − ψ(z) = Σ cⱼ z^(−j)."""

TRIGAMMA = {1: 1.0} | {power + 1: power * value for power, value in DIGAMMA.items()}
"""ψ′(z) = Σ cⱼ z^(−j), the derivative of log z − Σ cⱼ z^(−j)."""


DIFFERENCE_ROUNDING = 64 * float(np.finfo(float).eps)
"""A difference of sums this small, relative to its terms, is rounding."""

EQUAL_ROWS = (4 * float(np.finfo(float).eps)) ** 2
"""Squared spread, relative to x, of rows that differ by no more than their rounding."""

NEAR_0, ARTANH_TERMS = (-0.3, 0.5), 14
"""Where log(1 + u) − u is taken from the series of the inverse hyperbolic tangent, and its terms."""

SHAPE_STEPS, TWO_SHAPES_STEPS, MULTIDIGAMMA_STEPS = 4, 6, 60
"""Newton steps of an inverse; of the last one at most."""

LONGEST_LOG_STEP = 2.0
"""Longest step of the logarithm of a shape."""


def stirling(z):
    """Return log Γ(z) − (z − ½) log z + z − ½ log 2π for z ≥ ASYMPTOTIC_FROM."""
    square, out = z**-2.0, 0.0
    for coefficient in reversed(STIRLING):
        out = out * square + coefficient
    return out / z


def stirling_error(x):
    """Return log Γ(x) − (x − ½) log x + x − ½ log 2π, for x > 0; it falls like 1/(12x)."""
    with np.errstate(all="ignore"):
        small = np.minimum(x, ASYMPTOTIC_FROM)
        direct = gammaln(small) - (small - 0.5) * np.log(small) + small - 0.5 * LOG_2PI
    return np.where(x < ASYMPTOTIC_FROM, direct, stirling(np.maximum(x, float(ASYMPTOTIC_FROM))))


def log1p_less(u):
    """Return log(1 + u) − u ≤ 0 for u ≥ −1 with a small relative error, where it is −u²/2 too."""
    u = np.asarray(u, np.float64)
    near = np.where((u > NEAR_0[0]) & (u < NEAR_0[1]), u, 0.0)
    # log(1 + u) = 2 artanh r for r = u/(2 + u), and 2 r − u = −u r
    r = near / (2 + near)
    square, tail = r * r, 0.0
    for power in range(2 * ARTANH_TERMS + 1, 1, -2):
        tail = tail * square + 1 / power
    with np.errstate(all="ignore"):
        return np.where((u > NEAR_0[0]) & (u < NEAR_0[1]), 2 * r * square * tail - near * r, np.log1p(u) - u)


def above_rounding(excess, *terms):
    """Return a difference of terms, NaN where it is rounding: of the terms, or of rows that are all equal."""
    size = sum((np.abs(term) for term in terms), np.zeros(()))
    return np.where(excess > np.maximum(DIFFERENCE_ROUNDING * size, EQUAL_ROWS), excess, np.nan)


def trigamma(x):
    """Return ψ′(x) = ζ(2, x), for x > 0."""
    return zeta(2.0, x)


def log_beta(a, b):
    """Return log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b) with the error of a number of its size."""
    with np.errstate(all="ignore"):
        small, large = np.minimum(a, b), np.maximum(a, b)
        both_small = gammaln(small) + gammaln(large) - gammaln(small + large)
        far = np.maximum(large, ASYMPTOTIC_FROM)
        rise = small * np.log(far) + (far + small - 0.5) * np.log1p(small / far) - small
        one_large = gammaln(small) - (rise + stirling(far + small) - stirling(far))
        near = np.maximum(small, ASYMPTOTIC_FROM)
        # the linear terms of the three expansions cancel exactly, and the rest have one sign
        both_large = (
            -far * np.log1p(near / far) - near * np.log1p(far / near)
            + 0.5 * (np.log(2 * np.pi) + np.log1p(near / far) - np.log(near))
            + stirling(near) + stirling(far) - stirling(near + far)
        )  # fmt: skip
        value = np.where(large < ASYMPTOTIC_FROM, both_small, np.where(small < ASYMPTOTIC_FROM, one_large, both_large))
        return np.where(small > 0, value, np.where(small == 0, np.inf, np.nan))


def log_minus_digamma(a):
    """Return log a − ψ(a) > 0 with a small relative error."""
    a = np.asarray(a, np.float64)
    shifted = np.where(a < ASYMPTOTIC_FROM, a + ASYMPTOTIC_FROM, a)
    u = 1 / (np.where(a < ASYMPTOTIC_FROM, a, np.inf) + np.arange(ASYMPTOTIC_FROM).reshape(-1, *[1] * a.ndim))
    # log a − ψ(a) falls by 1/a − log(1 + 1/a) from a to a + 1: all terms are positive
    return np.sum(u - np.log1p(u), axis=0) + sum(c * shifted**-power for power, c in DIGAMMA.items())


def digamma_difference(a, b):
    """Return ψ(a + b) − ψ(a) ≥ 0 for a > 0, b ≥ 0 with a small relative error."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    here = a + np.arange(ASYMPTOTIC_FROM).reshape(-1, *[1] * a.ndim)
    # Σ 1/(a + i) − 1/(a + b + i), and then log and the series from a + ASYMPTOTIC_FROM on
    return np.sum(b / (here + b) / here, axis=0) + _differences(DIGAMMA | {0: 1.0}, a, b)


def trigamma_difference(a, b):
    """Return ψ′(a) − ψ′(a + b) ≥ 0 for a > 0, b ≥ 0 with a small relative error."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    here = a + np.arange(ASYMPTOTIC_FROM).reshape(-1, *[1] * a.ndim)
    return np.sum(b / (here + b) / here * (1 / here + 1 / (here + b)), axis=0) + _differences(TRIGAMMA, a, b)


def _differences(series, a, b):
    """Return Σ cⱼ (z^(−j) − (z + b)^(−j)) for z = a + ASYMPTOTIC_FROM; j = 0 stands for log((z + b)/z)."""
    z = a + ASYMPTOTIC_FROM
    log_ratio = np.log1p(b / z)
    return sum(c * (-(z**-power) * np.expm1(-power * log_ratio) if power else log_ratio) for power, c in series.items())


# ---- inverses ---------------------------------------------------------------------------------------------------


def inverse_digamma(y, steps=4):
    """Return the x > 0 with ψ(x) = y, by Newton's method from Minka's start (Minka 2000, appendix C)."""
    # ψ(x) ≈ log(x − ½) for large x and −1/x − γ for small x; Newton's method on the concave ψ then rises to the root
    x = np.where(y >= -2.22, np.exp(np.minimum(y, 700.0)) + 0.5, -1 / (np.minimum(y, -2.22) + np.euler_gamma))
    for _ in range(steps):
        x = np.maximum(x - (digamma(x) - y) / trigamma(x), x / 8)
    return x


def inverse_log_minus_digamma(s):
    """Return the a with log a − ψ(a) = s, NaN where s is not positive.

    Newton's method on log s as a function of log a, whose slope is between −1 and −1.3. It starts from Minka's
    approximation (2002, "Estimating a Gamma distribution"), which is within 2%.
    """
    with np.errstate(all="ignore"):
        s = np.where(np.asarray(s) > 0, s, np.nan)
        root = np.hypot(s - 3, np.sqrt(24 * s))
        a = np.where(s < 3, (3 - s + root) / (12 * s), 2 / (root + s - 3))
        for _ in range(SHAPE_STEPS):
            value = log_minus_digamma(a)
            far = np.maximum(a, ASYMPTOTIC_FROM)
            series = -sum(power * c * far**-power for power, c in DIGAMMA.items())
            slope = np.where(a < ASYMPTOTIC_FROM, 1 - a * trigamma(a), series) / value
            a = a * np.exp(-np.log(value / s) / slope)
        return a


def shapes_of_beta(u, v):
    """Return the a, b with ψ(a + b) − ψ(a) = u and ψ(a + b) − ψ(b) = v; NaN where there are none, up to rounding.

    They are −E[log x] and −E[log(1 − x)] if u, v > 0 and e^(−u) + e^(−v) < 1. Newton's method on log u and log v as
    functions of log a and log b, whose slopes are between −2 and 1.
    """
    with np.errstate(all="ignore"):
        # the smaller shape is started as that of a Gamma density, which it has if the other one is large
        more, less = np.maximum(u, v), np.minimum(u, v)
        excess = np.log(-np.expm1(-less)) + more
        small = inverse_log_minus_digamma(np.where(excess > DIFFERENCE_ROUNDING * (1 + more), excess, np.nan))
        large = small * np.maximum(1 / np.expm1(less), np.sqrt(more / less))
        for _ in range(TWO_SHAPES_STEPS):
            of_small, of_large = digamma_difference(small, large), digamma_difference(large, small)
            residual_small, residual_large = np.log(of_small / more), np.log(of_large / less)
            common = trigamma(small + large)
            # slopes of log u and log v against the logarithms of both shapes
            ss, sl = -small * trigamma_difference(small, large) / of_small, large * common / of_small
            ll, ls = -large * trigamma_difference(large, small) / of_large, small * common / of_large
            determinant = ss * ll - sl * ls
            step_small = (ll * residual_small - sl * residual_large) / determinant
            step_large = (ss * residual_large - ls * residual_small) / determinant
            small = small * np.exp(-np.clip(step_small, -LONGEST_LOG_STEP, LONGEST_LOG_STEP))
            large = large * np.exp(-np.clip(step_large, -LONGEST_LOG_STEP, LONGEST_LOG_STEP))
        swapped = u < v
        return np.where(swapped, large, small), np.where(swapped, small, large)


# ---- of several arguments ---------------------------------------------------------------------------------------


def log_multigamma(x, order):
    """Return log Γ_q(x) = q(q − 1)/4 log π + Σ_i log Γ(x − i/2), i < q, for x > (q − 1)/2."""
    return order * (order - 1) / 4 * LOG_PI + gammaln(x[..., None] - np.arange(order) / 2).sum(axis=-1)


def log_minus_multidigamma(excess, order):
    """Return q log x − Σ_i ψ(x − i/2) at x = (q − 1)/2 + s, s > 0; it falls from 1/s to q(q + 1)/(4 s)."""
    below = np.arange(order) / 2
    arguments = excess[..., None] + below  # x − i/2, from the last i to the first
    return np.sum(np.log1p(below[::-1] / arguments) + log_minus_digamma(arguments), axis=-1)


def inverse_log_minus_multidigamma(value, order):
    """Return the s > 0 at which `log_minus_multidigamma` has a value; NaN where that is not positive.

    Newton's method on its logarithm as a function of log s, whose slope is −1 at both ends.
    """
    with np.errstate(all="ignore"):
        possible = (value > 0) & np.isfinite(value)
        target = np.where(possible, value, 1.0)
        s = (1 + order * (order + 1) / 4 * (target < 1)) / target
        below = np.arange(order) / 2
        done = np.zeros(np.shape(s), bool)
        for _ in range(MULTIDIGAMMA_STEPS):
            found = log_minus_multidigamma(s, order)
            arguments = s[..., None] + below
            slope = s / found * (order / (s + (order - 1) / 2) - trigamma(arguments).sum(axis=-1))
            # the difference has lost its digits where s is large, but there the slope is known
            slope = np.where((s > 1e6 * order) | ~(slope < 0), -1.0, slope)
            step = np.clip(np.log(found / target) / slope, -LONGEST_LOG_STEP, LONGEST_LOG_STEP)
            s = np.where(done, s, s * np.exp(-step))  # each ends where it would alone
            done |= np.abs(step) <= 1e-15
            if done.all():
                break
        return np.where(possible, s, np.nan)
