"""Log-probabilities of counts that may be large: terms of the size of x log x have cancelled (Loader 2000)."""

import numpy as np

from expfam_em.families.special.gamma import LOG_2PI, log1p_less, stirling_error

LARGE_COUNT = 1e6
"""Mean count from which on ⟨η, T⟩ − A + log h lacks eight digits or more, those of x log x."""


def deviance(x, mean):
    """Return x log(x/m) + m − x ≥ 0, half a deviance, for x ≥ 0 and m > 0, with a small relative error."""
    present = np.where(x > 0, x, 1.0)
    step = mean - present
    near = np.abs(step) < 0.25 * present
    value = np.where(near, -present * log1p_less(step / present), present * np.log(present / mean) + step)
    return np.where(x > 0, value, mean)


def log_root(x):
    """Return log x! − x log x + x, and 0 for x = 0: ½ log(2πx) and the error of Stirling's formula."""
    present = np.where(x > 0, x, 1.0)
    return np.where(x > 0, 0.5 * (LOG_2PI + np.log(present)) + stirling_error(present), 0.0)


def log_poisson(x, mean):
    """Return log(m^x e^−m / x!)."""
    return -deviance(x, mean) - log_root(x)


def log_binomial(x, n, log_success, log_failure):
    """Return log(n!/(x! (n − x)!) p^x q^(n − x)) for the logarithms of p and q = 1 − p."""
    of_success, of_failure = deviance(x, n * np.exp(log_success)), deviance(n - x, n * np.exp(log_failure))
    inside = log_root(n) - log_root(x) - log_root(n - x) - of_success - of_failure
    return np.where(x == 0, n * log_failure, np.where(x == n, n * log_success, inside))


def log_negative_binomial(x, r, log_success, log_failure):
    """Return log(Γ(x + r)/(Γ(r) x!) p^r q^x) for the logarithms of p and q = 1 − p."""
    return log_binomial(r, r + x, log_success, log_failure) - np.log1p(x / r)
