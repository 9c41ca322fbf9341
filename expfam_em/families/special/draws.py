"""Random draws whose size float64 or NumPy does not take: a draw beyond the range of float64 is moved into it."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_em.rows.typing import Array

SMALLEST, LARGEST = float(np.finfo(float).tiny), float(np.finfo(float).max)

NORMAL_COUNTS = 2.0**60
"""Rate from which Poisson draws are rounded normal ones: the distribution functions differ by 0.5/√rate, below 1e-9."""


def representable(x: Array) -> Array:
    """Return positive draws with those below and above the range of float64 moved into it."""
    return np.clip(x, SMALLEST, LARGEST)


def log_gamma(shape: Any, size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return the logarithms of Gamma draws of rate 1: of small shapes, only these are finite.

    log g(a) has the law of log g(a + 1) + log(u)/a with a uniform u (Marsaglia and Tsang 2000).
    """
    return np.log(rng.standard_gamma(shape + 1, size)) + np.log1p(-rng.random(size)) / shape


def poisson(rate: Array, size: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Return Poisson draws of shape ``size``, as float64."""
    counts = rng.poisson(np.where(rate < NORMAL_COUNTS, rate, 0.0), size).astype(np.float64)
    high = np.broadcast_to(rate >= NORMAL_COUNTS, size)
    if high.any():
        mean = np.minimum(np.broadcast_to(rate, size)[high], LARGEST)
        counts[high] = np.minimum(np.rint(mean + np.sqrt(mean) * rng.standard_normal(len(mean))), LARGEST)
    return counts
