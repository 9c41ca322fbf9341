"""The one jitted EM pass over a range of rows.

Everything inside a block is stored with rows along the last axis: the statistics as (p, b), the scores as
(K, b). Each loop over rows then runs over contiguous memory and vectorises, and both matrix products are plain
GEMMs: scores = η T + c and sums = r Tᵀ.

The statistics of a block are z = (x − shift) · inverse_scale, followed by sums of products z_i z_j as listed
in ``products``. A family whose T has another form evaluates T in NumPy and passes it as X.
"""

import functools
import threading

import numpy as np
from numba import types

from expfam_em.kernels._jit import EXACT, SUMS, entry, inner

SMALL = 96  # up to this p·K a BLAS call costs more than the product itself
LOG2E = 1.4426950408889634
LN2_HIGH = 0.6931471803691238  # ln 2 with its last 32 bits zero, so that n · LN2_HIGH is exact
LN2_LOW = 1.9082149292705877e-10
ROUND = 6755399441055744.0  # 1.5 · 2⁵²: adding it rounds to an integer held in the low bits
LOG_FLUSH = -460.0  # e⁻⁴⁶⁰ ≈ 1e-200: smaller responsibilities are 0, for subnormals are slow
SQRT_HALF_BITS = 0x3FE6A09E00000000
_compiling = threading.Lock()


def block_rows(n_statistics, n_components):
    """Rows per block: statistics and scores of a block stay in L1 (small problems) or in L2."""
    if n_statistics * n_components <= SMALL:
        return max(64, min(512, 3072 // (n_statistics + n_components) // 8 * 8))
    return max(128, min(1024, 65536 // (n_statistics + n_components) // 8 * 8))


@inner(EXACT)
def exp_nonpositive(x):
    """e^x for x ≤ 0, at most 1 ulp from the true value; exactly 0 below LOG_FLUSH."""
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
    """log x for normal positive x, at most 1 ulp from the true value (the reduction of fdlibm's e_log.c)."""
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


@inner(EXACT)
def load(X, first, shift, inverse_scale, products, T):
    """T[:, i] = statistics of row first + i."""
    d = X.shape[1]
    rows = T.shape[1]
    for i in range(rows):
        for j in range(d):
            T[j, i] = (np.float64(X[first + i, j]) - shift[j]) * inverse_scale[j]
    previous = -1
    for q in range(products.shape[0]):
        a, b, target = T[products[q, 0]], T[products[q, 1]], products[q, 2]
        out = T[target]
        if target == previous:
            for i in range(rows):
                out[i] += a[i] * b[i]
        else:
            for i in range(rows):
                out[i] = a[i] * b[i]
        previous = target


@inner(EXACT)
def score(natural, offset, T, S):
    """S = natural T + offset."""
    K, p = natural.shape
    rows = T.shape[1]
    if K * p <= SMALL:
        for k in range(K):
            out = S[k]
            first = natural[k, 0]
            for i in range(rows):
                out[i] = first * T[0, i] + offset[k]
            for j in range(1, p):
                value = natural[k, j]
                for i in range(rows):
                    out[i] += value * T[j, i]
    else:
        np.dot(natural, T, S)
        for k in range(K):
            for i in range(rows):
                S[k, i] += offset[k]


@inner(EXACT)
def maximum(S, top, label):
    """Largest score of each row and the component that has it; the lower index wins a tie."""
    rows = S.shape[1]
    for i in range(rows):
        top[i] = S[0, i]
        label[i] = 0
    for k in range(1, S.shape[0]):
        for i in range(rows):
            larger = S[k, i] > top[i]
            label[i] = k if larger else label[i]
            top[i] = S[k, i] if larger else top[i]


@inner(EXACT)
def soften(S, top, temperature, total, label):
    """S becomes the responsibilities softmax(S/τ); top becomes τ logsumexp(S/τ)."""
    K, rows = S.shape
    inverse = 1.0 / temperature
    for i in range(rows):
        total[i] = 0.0
    for k in range(K):
        for i in range(rows):
            value = exp_nonpositive((S[k, i] - top[i]) * inverse)
            S[k, i] = value
            total[i] += value
    for i in range(rows):
        top[i] += temperature * log_positive(total[i])
        total[i] = 1.0 / total[i] if total[i] > 0.0 else 0.0
    for k in range(K):
        for i in range(rows):
            S[k, i] *= total[i]
    for i in range(rows):
        if total[i] == 0.0:  # every score is −∞: the row belongs where `maximum` has put it
            S[label[i], i] = 1.0


@inner(EXACT)
def harden(S, label):
    """S becomes the indicator of the label."""
    for k in range(S.shape[0]):
        for i in range(S.shape[1]):
            S[k, i] = 1.0 if label[i] == k else 0.0


@inner(SUMS)
def collect(S, T, weight, counts, sums, scratch):
    """Add the weighted responsibilities and statistics of a block to counts and sums."""
    K, rows = S.shape
    p = T.shape[0]
    for k in range(K):
        total = 0.0
        for i in range(rows):
            S[k, i] *= weight[i]
            total += S[k, i]
        counts[k] += total
    if K * p <= SMALL:
        for k in range(K):
            for j in range(p):
                total = 0.0
                for i in range(rows):
                    total += S[k, i] * T[j, i]
                sums[k, j] += total
    else:
        np.dot(S, T.T, scratch)
        for k in range(K):
            for j in range(p):
                sums[k, j] += scratch[k, j]


@inner(SUMS)
def weighted_sum(top, weight):
    """Σ weight · top over the rows that are present."""
    total = 0.0
    for i in range(top.shape[0]):
        # a row of weight zero is absent, even where its log-density is −∞
        total += weight[i] * top[i] if weight[i] > 0.0 else 0.0
    return total


def _em_rows(
    X, start, stop, shift, inverse_scale, products, natural, offset, sample_weight, temperature, block,
    counts, sums, responsibilities, evidence, labels,
):  # fmt: skip
    """One EM pass over the rows start ≤ n < stop; every output of length 0 is left out.

    Parameters
    ----------
    X : (n, d) array of float64, float32, uint8 or bool, any strides
    shift, inverse_scale : (d,) frame of the observations
    products : (q, 3) int64: z_i z_j is added to the statistic ``target``, equal targets adjacent
    natural, offset : (K, p) natural parameters and (K,) log π − A
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    block : rows handled at a time
    counts, sums : (K,), (K, p) expected statistics, added to
    responsibilities, evidence, labels : (n, K), (n,), (n,) outputs by row

    Returns
    -------
    bound : Σ sample_weight · τ logsumexp(scores/τ), without log h
    """
    K, p = natural.shape
    bound = 0.0
    T_memory = np.empty(p * block)
    S_memory = np.empty(K * block)
    scratch = np.empty((K, p))
    top_memory, total_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.ones(block), np.empty(block, np.int64)
    first = start
    while first < stop:
        rows = min(block, stop - first)
        T = T_memory[: p * rows].reshape(p, rows)
        S = S_memory[: K * rows].reshape(K, rows)
        top, total = top_memory[:rows], total_memory[:rows]
        weight, label = weight_memory[:rows], label_memory[:rows]
        load(X, first, shift, inverse_scale, products, T)
        if sample_weight.size > 0:
            for i in range(rows):
                weight[i] = sample_weight[first + i]
                if weight[i] == 0.0:  # an absent row may have infinite statistics, and 0 · ∞ would stay
                    T[:, i] = 0.0
        score(natural, offset, T, S)
        maximum(S, top, label)
        if temperature > 0.0:
            soften(S, top, temperature, total, label)
        elif sums.size > 0 or responsibilities.size > 0:
            harden(S, label)
        bound += weighted_sum(top, weight)
        if responsibilities.size > 0:
            for i in range(rows):
                for k in range(K):
                    responsibilities[first + i, k] = S[k, i]
        if evidence.size > 0:
            for i in range(rows):
                evidence[first + i] = top[i]
        if labels.size > 0:
            for i in range(rows):
                labels[first + i] = label[i]
        if sums.size > 0:
            collect(S, T, weight, counts, sums, scratch)
        first += rows
    return bound


@functools.cache
def _compiled(dtype):
    """Return the pass for one dtype of X; its other arguments have one type each."""

    def array(ndim, element=types.float64, layout="C", writable=False):
        return types.Array(element, ndim, layout, readonly=not writable)

    rows = types.Array(types.bool_ if dtype == np.bool_ else getattr(types, dtype.name), 2, "A", readonly=True)
    frame, products, natural, offset, weight = array(1), array(2, types.int64), array(2), array(1), array(1)
    outputs = (array(1, writable=True), array(2, writable=True), array(2, writable=True), array(1, writable=True))
    return entry(
        _em_rows,
        types.float64(
            rows, types.int64, types.int64, frame, frame, products, natural, offset, weight, types.float64, types.int64,
            *outputs, array(1, types.int64, writable=True),
        ),
    )  # fmt: skip


def em_rows(X, *arguments):
    """Run the pass compiled for the dtype of X; see `_em_rows`."""
    with _compiling:  # threads that arrive together wait for one compilation
        kernel = _compiled(X.dtype)
    return kernel(X, *arguments)
