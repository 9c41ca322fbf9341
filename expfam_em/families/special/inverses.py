"""Inverses of digamma equations for all components and columns at once, by a fixed number of Newton steps."""

import numpy as np
from scipy.special import polygamma

from expfam_em.families.special.gamma import (
    DIGAMMA,
    LARGE,
    ROUNDING,
    digamma_difference,
    log_minus_digamma,
    trigamma_difference,
)

STEPS_OF_ONE = 4
STEPS_OF_TWO = 6
LONGEST = 2.0
"""Longest step of the logarithm of a shape."""


def inverse_log_minus_digamma(s):
    """Return the a with log a − ψ(a) = s, NaN where s is not positive.

    Newton's method on log s as a function of log a, whose slope is between −1 and −1.3. It starts from Minka's
    approximation (2002, "Estimating a Gamma distribution"), which is within 2%.
    """
    with np.errstate(all="ignore"):
        s = np.where(np.asarray(s) > 0, s, np.nan)
        root = np.hypot(s - 3, np.sqrt(24 * s))
        a = np.where(s < 3, (3 - s + root) / (12 * s), 2 / (root + s - 3))
        for _ in range(STEPS_OF_ONE):
            value = log_minus_digamma(a)
            far = np.maximum(a, LARGE)
            series = -sum(power * c * far**-power for power, c in DIGAMMA.items())
            slope = np.where(a < LARGE, 1 - a * polygamma(1, a), series) / value
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
        small = inverse_log_minus_digamma(np.where(excess > ROUNDING * (1 + more), excess, np.nan))
        large = small * np.maximum(1 / np.expm1(less), np.sqrt(more / less))
        for _ in range(STEPS_OF_TWO):
            of_small, of_large = digamma_difference(small, large), digamma_difference(large, small)
            residual_small, residual_large = np.log(of_small / more), np.log(of_large / less)
            common = polygamma(1, small + large)
            # slopes of log u and log v against the logarithms of both shapes
            ss, sl = -small * trigamma_difference(small, large) / of_small, large * common / of_small
            ll, ls = -large * trigamma_difference(large, small) / of_large, small * common / of_large
            determinant = ss * ll - sl * ls
            step_small = (ll * residual_small - sl * residual_large) / determinant
            step_large = (ss * residual_large - ls * residual_small) / determinant
            small = small * np.exp(-np.clip(step_small, -LONGEST, LONGEST))
            large = large * np.exp(-np.clip(step_large, -LONGEST, LONGEST))
        swapped = u < v
        return np.where(swapped, large, small), np.where(swapped, small, large)
