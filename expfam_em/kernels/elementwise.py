"""exp and log that vectorise: numba's own are scalar calls."""

import numpy as np

from expfam_em.kernels.jit import EXACT, inner

LOG2E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238  # ln 2 with its last 32 bits zero, so that n · LN2_HIGH is exact
LN2_LOW = 1.9082149292705877e-10
ROUND = 6755399441055744.0  # 1.5 · 2⁵²: adding it rounds to an integer held in the low bits
LOG_FLUSH = -460.0  # e⁻⁴⁶⁰ ≈ 1e-200: smaller responsibilities are 0, for subnormals are slow
SQRT_HALF_BITS = 0x3FE6A09E00000000


@inner(EXACT)
def exp_nonpositive(x):
    """e^x for x ≤ 0, within 2 ulp of the true value; exactly 0 below LOG_FLUSH."""
    clamped = max(x, LOG_FLUSH)
    shifted = clamped * LOG2E + ROUND
    n = shifted - ROUND
    r = (clamped - n * LN2_HIGH) - n * LN2_LOW
    # (eʳ − 1 − r)/r² on |r| ≤ ln 2 / 2, interpolated at 10 Chebyshev nodes: relative error 1.3e-17
    q = 2.7620088445409746e-07 + r * 2.510038549551032e-08
    q = 2.7557268459997064e-06 + r * q
    q = 2.4801521295954376e-05 + r * q
    q = 0.00019841269863053618 + r * q
    q = 0.0013888888917213717 + r * q
    q = 0.008333333333330062 + r * q
    q = 0.04166666666662413 + r * q
    q = 0.16666666666666669 + r * q
    q = 0.5000000000000001 + r * q
    y = 1.0 + (r + r * r * q)
    bits = np.float64(y).view(np.int64) + (np.float64(shifted).view(np.int64) << 52)
    return np.int64(bits).view(np.float64) if x >= LOG_FLUSH else 0.0


@inner(EXACT)
def log_positive(x):
    """log x for normal positive x, within 2 ulp of the true value (the reduction of fdlibm's e_log.c)."""
    bits = np.float64(x).view(np.int64) - SQRT_HALF_BITS
    n = np.float64(bits >> 52)
    f = np.int64((bits & 0xFFFFFFFFFFFFF) + SQRT_HALF_BITS).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (0.3999999999940942 + w * (0.22222198432149784 + w * 0.15313837699209373))
    odd = z * (0.6666666666666735 + w * (0.2857142874366239 + w * (0.1818357216161805 + w * 0.14798198605116586)))
    half = 0.5 * f * f
    return n * LN2_HIGH - ((half - (s * (half + (even + odd)) + n * LN2_LOW)) - f)
