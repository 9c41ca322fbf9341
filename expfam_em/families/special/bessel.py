"""Modified Bessel functions I_ν of the first kind, as directional densities need them: elementwise, never I_ν itself.

Up to SERIES the power series in x²/4, whose terms are all positive; beyond, the uniform expansion of Debye (DLMF
§10.41) in 1/r with r = √(ν² + x²), which at ν = 0 is the expansion for large x. Both hold for every order ν ≥ −½.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.special import gammaln

from expfam_em.families.special.gamma import stirling_error

SERIES = 30.0
"""Largest x at which the power series is used: I₀(30) is still far from overflow, and 30⁻ᵏ falls for 17 terms."""

SERIES_TERMS = 60
DEBYE_TERMS = 17
STIRLING_FROM = 2.0
"""Order from which Γ(ν + 1) is cancelled by its own expansion; below, log Γ is small beside x."""

RATIO_STEPS = 60
LOG_STEP_SOLVED = 1e-15
SMALL_GAP, GAP_STEPS = 0.01, 20
"""Differences of a mean resultant length from 1 that are inverted by themselves, and the steps of that."""

ALMOST_ONE = 1 - 4 * np.finfo(float).eps
"""A mean resultant length that rounding no longer tells from 1."""


def _debye_polynomials():
    """Return the coefficients of u_k and w_k in q = (ν/r)²; those of u_k(ν²/r²)/rᵏ make up I_ν, see `_debye`.

    U_k(p) = pᵏ u_k(p²) by DLMF 10.41.9, exactly, and w_k = (k − ½) u_{k−1} + 2 q u′_{k−1}.
    """
    u, w = [[Fraction(1)]], [[Fraction(0)]]
    for k in range(DEBYE_TERMS):
        following, slope = [Fraction(0)] * (k + 2), [Fraction(0)] * (k + 1)
        for j, c in enumerate(u[k]):
            n = k + 2 * j
            following[j] += c * (Fraction(n, 2) + Fraction(1, 8 * (n + 1)))
            following[j + 1] -= c * (Fraction(n, 2) + Fraction(5, 8 * (n + 3)))
            slope[j] = c * (k + Fraction(1, 2) + 2 * j)
        u.append(following)
        w.append(slope)
    # zeros make the rows as long as the last one
    return tuple(np.array([[*map(float, c), *[0.0] * (DEBYE_TERMS + 1 - len(c))] for c in rows]) for rows in (u, w))


U, W = _debye_polynomials()


def _series(b, x):
    """Return ₀F₁(; b; x²/4) − 1 = Σ_{k≥1} (x²/4)ᵏ / (k! (b)_k)."""
    t = x * x / 4
    inner = np.ones_like(t)
    for k in range(SERIES_TERMS, 1, -1):
        inner = 1 + inner * t / (k * (b + k - 1))
    return inner * t / b


def _debye(order, x):
    """Return r, Σ u_k(q)/rᵏ − 1 and Σ w_k(q)/rᵏ with r = √(ν² + x²), q = (ν/r)²."""
    r = np.hypot(order, x)
    q, step = (order / r) ** 2, 1 / r
    powers = np.power(q[..., None], np.arange(DEBYE_TERMS + 1))
    scales = np.power(step[..., None], np.arange(DEBYE_TERMS + 1))
    return r, np.sum((powers @ U[1:].T) * scales[..., 1:], axis=-1), np.sum((powers @ W.T) * scales, axis=-1)


def log_bessel(order, x, scaled=False) -> np.ndarray:
    """Return log(Γ(ν + 1) (2/x)^ν I_ν(x)) ≥ 0, which is 0 at x = 0, for x ≥ 0 of any shape and one order ν ≥ −½.

    This is log ₀F₁(; ν + 1; x²/4): no more than log I_ν itself, but with neither its pole at 0 nor the cancellation
    against log Γ(ν + 1) where ν is large. ``scaled`` takes x from it, which it is nearly where x is large.
    """
    x = np.asarray(x, np.float64)
    small = np.log1p(_series(order + 1, np.minimum(x, SERIES))) - (x if scaled else 0.0)
    if not np.any(x > SERIES):
        return small
    z = np.maximum(x, SERIES)
    r, excess, _ = _debye(order, z)
    over = order**2 / (r + z)  # r − x
    if order < STIRLING_FROM:
        large = over if scaled else r
        large = large + order * np.log(2 / (order + r)) - 0.5 * np.log(2 * np.pi * r) + gammaln(order + 1)
    else:
        beyond = z * (z / (r + order))  # r − ν
        large = over - order if scaled else beyond
        large = large - order * np.log1p(beyond / (2 * order)) - 0.5 * np.log1p(beyond / order)
        large = large + stirling_error(np.float64(order))
    return np.where(x <= SERIES, small, large + np.log1p(excess))


def ratio_over_x(order, x) -> np.ndarray:
    """Return I_{ν+1}(x) / (x I_ν(x)), which is 1/(2(ν + 1)) at x = 0, for x ≥ 0 of any shape and one order ν ≥ −½."""
    x = np.asarray(x, np.float64)
    y = np.minimum(x, SERIES)
    small = (1 + _series(order + 2, y)) / (1 + _series(order + 1, y)) / (2 * (order + 1))
    if not np.any(x > SERIES):
        return small
    # I′_ν/I_ν − ν/x, in which r − ν = x²/(r + ν) and the expansions of I′ and I differ by a multiple of x²/r²
    r, excess, slope = _debye(order, np.maximum(x, SERIES))
    return np.where(x <= SERIES, small, 1 / (r + order) - slope / (r * (1 + excess)))


def ratio(order, x) -> np.ndarray:
    """Return I_{ν+1}(x)/I_ν(x), between 0 and 1."""
    return x * ratio_over_x(order, x)


def ratio_gap(order, x) -> np.ndarray:
    """Return 1 − I_{ν+1}(x)/I_ν(x), which falls like (ν + ½)/x, with a small relative error."""
    x = np.asarray(x, np.float64)
    z = np.maximum(x, SERIES)
    r, excess, slope = _debye(order, z)
    large = (order**2 / (r + z) + order) / (r + order) + z * slope / (r * (1 + excess))
    return np.where(x <= SERIES, 1 - ratio(order, x), large)


def inverse_ratio_gap(order, gap) -> np.ndarray:
    """Return the x ≥ 0 with 1 − I_{ν+1}(x)/I_ν(x) = gap, of any shape; NaN outside (0, 1]."""
    gap = np.asarray(gap, np.float64)
    with np.errstate(all="ignore"):
        x = (order + 0.5) / gap
        for _ in range(GAP_STEPS):  # x · gap hardly depends on x where x is large
            x = np.where(gap < SMALL_GAP, x * (ratio_gap(order, x) / gap), 0.0)
        return np.where(gap < SMALL_GAP, np.where(gap > 0, x, np.nan), inverse_ratio(order, 1 - gap))


def inverse_ratio(order, mean) -> np.ndarray:
    """Return the x ≥ 0 with I_{ν+1}(x)/I_ν(x) = mean, of any shape; ∞ where rounding does not tell it from 1.

    Newton's method on the log-odds of the ratio as a function of log x, whose slope is 1 at both ends, from the
    approximation of Banerjee et al. (2005, eq. 4.4). NaN outside [0, 1].
    """
    mean = np.asarray(mean, np.float64)
    with np.errstate(all="ignore"):
        inside = (mean > 0) & (mean <= ALMOST_ONE)
        rho = np.where(inside, mean, 0.5)
        n = 2 * order + 2
        x = rho * (n - rho * rho) / ((1 - rho) * (1 + rho))
        done = np.zeros(np.shape(x), bool)
        for _ in range(RATIO_STEPS):
            here = ratio(order, x)
            slope = x * (1 - here * here - (2 * order + 1) * (here / x)) / (here * (1 - here))
            # for small x the bracket is the difference of two numbers near 1, for large x of two near 0
            slope = np.where((x > 1e4 * n) | (x < 1e-4) | ~((slope > 0.5) & (slope < 2)), 1.0, slope)
            step = np.log(here / rho * ((1 - rho) / (1 - here))) / slope
            x = np.where(done, x, x * np.exp(-step))  # each ends where it would alone
            # near 1 the ratio itself is rounded, which moves x by that much
            done |= np.abs(step) <= LOG_STEP_SOLVED + np.finfo(float).eps / (1 - rho)
            if done.all():
                break
        return np.where(inside, x, np.where(mean == 0, 0.0, np.where(mean > ALMOST_ONE, np.inf, np.nan)))
