"""The one jitted EM pass over a range of rows.

Everything inside a block is stored with rows along the last axis: the statistics as (p, b), the scores as
(K, b). Each loop over rows then runs over contiguous memory and vectorises, and both matrix products are plain
GEMMs: scores = η T + c and sums = r Tᵀ.

The statistics of a block are z = (x − shift) · inverse_scale, followed by sums of products z_i z_j as listed
in ``products``. A family whose T has another form evaluates T in NumPy and passes it as X. Components may have
statistics of their own (own_frames.py).

One call serves many mixtures and many ranges of rows, for a call costs as much as a thousand small rows.
"""

import functools
import threading

import numpy as np
from numba import types

from expfam_em.kernels._jit import EXACT, SUMS, entry, inner
from expfam_em.kernels.elementwise import exp_nonpositive, log_positive
from expfam_em.kernels.own_frames import collect_own, score_own, whiten

SMALL = 96  # up to this p·K a BLAS call costs more than the product itself
L1_NUMBERS, L2_NUMBERS = 6144, 65536  # 48 and 512 kilobytes
OWN_NUMBERS = 1 << 20  # eight megabytes: their matrix products want more rows than L2 has room for
TILE = 8  # numbers in a cache line
_compiling = threading.Lock()


def block_rows(n_statistics, n_components, n_own=0):
    """Rows per block: statistics and scores of a block stay in L1 (small problems) or, if they can, in L2.

    ``n_own`` counts the coordinates kept for components with frames of their own.
    """
    numbers = n_statistics + n_components + n_own
    if n_statistics * n_components + n_own <= SMALL:
        return max(64, min(512, L1_NUMBERS // numbers // 8 * 8))
    if n_own > 0:
        return max(128, min(512, OWN_NUMBERS // n_own // 8 * 8))
    return max(256, min(384, L2_NUMBERS // numbers // 8 * 8))


@inner(EXACT)
def transpose(X, first, out):
    """out[j, i] = X[first + i, j], in tiles as wide as a cache line: both sides are then read and written whole."""
    d, rows = out.shape
    whole = rows // TILE * TILE
    for start in range(0, whole, TILE):
        for j in range(d):
            for i in range(start, start + TILE):
                out[j, i] = np.float64(X[first + i, j])
    for i in range(whole, rows):
        for j in range(d):
            out[j, i] = np.float64(X[first + i, j])


@inner(EXACT)
def load(X, first, shift, inverse_scale, products, T):
    """T[:, i] = statistics of row first + i."""
    d = X.shape[1]
    rows = T.shape[1]
    transpose(X, first, T[:d])
    for j in range(d):
        out, a, scale = T[j], shift[j], inverse_scale[j]
        for i in range(rows):
            out[i] = (out[i] - a) * scale
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
def score(natural, T, S):
    """S = natural T."""
    K, p = natural.shape
    rows = T.shape[1]
    if K * p <= SMALL:
        for k in range(K):
            out = S[k]
            first = natural[k, 0]
            for i in range(rows):
                out[i] = first * T[0, i]
            for j in range(1, p):
                value = natural[k, j]
                for i in range(rows):
                    out[i] += value * T[j, i]
    else:
        np.dot(natural, T, S)


@inner(EXACT)
def maximum(S, offset, top):
    """Add the offsets to the scores; find the largest of each row."""
    K, rows = S.shape
    for i in range(rows):
        S[0, i] += offset[0]
        top[i] = S[0, i]
    for k in range(1, K):
        for i in range(rows):
            value = S[k, i] + offset[k]
            S[k, i] = value
            top[i] = value if value > top[i] else top[i]


@inner(EXACT)
def first_largest(S, top, label):
    """Find the component that has the largest score of each row; the lower index wins a tie."""
    K, rows = S.shape
    for i in range(rows):
        label[i] = 0
    for k in range(K - 1, -1, -1):
        for i in range(rows):
            label[i] = k if S[k, i] == top[i] else label[i]


@inner(EXACT)
def soften(S, top, temperature, factor, label):
    """S becomes the responsibilities softmax(S/τ), each up to a factor; top becomes τ logsumexp(S/τ)."""
    K, rows = S.shape
    inverse = 1.0 / temperature
    for i in range(rows):
        factor[i] = 0.0
    for k in range(K):
        for i in range(rows):
            value = exp_nonpositive((S[k, i] - top[i]) * inverse)
            S[k, i] = value
            factor[i] += value
    for i in range(rows):
        top[i] += temperature * log_positive(factor[i])
        factor[i] = 1.0 / factor[i] if factor[i] > 0.0 else 0.0
    for i in range(rows):
        if factor[i] == 0.0:  # every score is infinite: the row belongs to the first of the largest
            S[:, i] = 0.0
            S[label[i], i] = factor[i] = 1.0


@inner(EXACT)
def harden(S, label, factor):
    """S becomes the indicator of the label."""
    for i in range(S.shape[1]):
        factor[i] = 1.0
    for k in range(S.shape[0]):
        for i in range(S.shape[1]):
            S[k, i] = 1.0 if label[i] == k else 0.0


@inner(SUMS)
def weigh(S, factor, weight, counts):
    """Multiply the responsibilities by their factors and the weights of the rows, and add them to counts."""
    K, rows = S.shape
    for i in range(rows):
        factor[i] *= weight[i]
    for k in range(K):
        total = 0.0
        for i in range(rows):
            S[k, i] *= factor[i]
            total += S[k, i]
        counts[k] += total


@inner(SUMS)
def collect(S, T, frame, sums, scratch):
    """Add Σ r T of a block to the sums of the components in the shared frame."""
    K, rows = S.shape
    p = T.shape[0]
    if K * p <= SMALL:
        for k in range(K):
            if frame[k] >= 0:
                continue
            for j in range(p):
                total = 0.0
                for i in range(rows):
                    total += S[k, i] * T[j, i]
                sums[k, j] += total
    else:
        np.dot(S, T.T, scratch)
        for k in range(K):
            if frame[k] < 0:
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


@inner(EXACT)
def assign(S, offset, level, weight, temperature, soft_wanted, labels_wanted, top, factor, label):
    """Turn scores without offsets into responsibilities up to a factor; return Σ weight · (τ logsumexp + level)."""
    maximum(S, offset, top)
    infinite = 0
    for i in range(top.shape[0]):
        infinite += 1 if abs(top[i]) == np.inf else 0
    if labels_wanted or temperature == 0.0 or infinite > 0:
        first_largest(S, top, label)
    if temperature > 0.0:
        soften(S, top, temperature, factor, label)
    elif soft_wanted:
        harden(S, label, factor)
    for i in range(top.shape[0]):
        top[i] += level
    return weighted_sum(top, weight)


@inner(EXACT)
def read_rows(responsibilities, first, S, factor):
    """Take the responsibilities as given."""
    for i in range(S.shape[1]):
        factor[i] = 1.0
        for k in range(S.shape[0]):
            S[k, i] = responsibilities[first + i, k]


@inner(EXACT)
def write_rows(S, factor, top, label, first, responsibilities, evidence, labels):
    """Write the results of a block to the outputs by row that are asked for."""
    K, rows = S.shape
    if responsibilities.size > 0:
        for i in range(rows):
            for k in range(K):
                responsibilities[first + i, k] = S[k, i] * factor[i]
    if evidence.size > 0:
        for i in range(rows):
            evidence[first + i] = top[i]
    if labels.size > 0:
        for i in range(rows):
            labels[first + i] = label[i]


@inner(EXACT)
def block_weights(sample_weight, first, weight):
    """Copy the weights of a block; return whether one is 0."""
    absent = False
    if sample_weight.size > 0:
        for i in range(weight.shape[0]):
            weight[i] = sample_weight[first + i]
            absent = absent or weight[i] == 0.0
    return absent


@inner(EXACT)
def clear_absent(T, weight):
    """Set the statistics of rows of weight 0 to 0: they may be infinite, and 0 · ∞ would stay."""
    for i in range(T.shape[1]):
        if weight[i] == 0.0:
            T[:, i] = 0.0


def _em_rows(
    X, items, shift, inverse_scale, products, frame, own_shift, whitener, natural, offset, level, sample_weight,
    temperature, given, block, counts, sums, bounds, responsibilities, evidence, labels,
):  # fmt: skip
    """One EM pass over ranges of rows, each under one of B mixtures; outputs of length 0 are left out.

    Parameters
    ----------
    X : (n, d) array of float64, float32 or uint8, any strides
    items : (m, 4) int64: start, stop, mixture, slot; rows start ≤ n < stop under a mixture, into a slot of the sums
    shift, inverse_scale : (d,) shared frame of the observations
    products : (q, 3) int64: z_i z_j is added to the statistic ``target``, equal targets adjacent
    frame : (B, K) int64: −1 for the shared frame, else an index of own_shift and whitener
    own_shift, whitener : (F, d), (F, d, d) or (F, 1, d) frames of single components
    natural, offset : (B, K, p) natural parameters and (B, K) log π − A − level
    level : (B,) added to the evidence of every row
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    given : whether the responsibilities are read instead of written, and scores left out
    block : rows handled at a time
    counts, sums, bounds : (slots, K), (slots, K, p), (slots,) added to; a bound is Σ weight · τ logsumexp(scores/τ)
    responsibilities, evidence, labels : (n, K), (n,), (n,) outputs by row
    """
    K, p = natural.shape[1:]
    d = X.shape[1]
    n_own = own_shift.shape[0] if frame.size > 0 else 0
    T_memory, S_memory = np.empty(p * block), np.empty(K * block)
    scratch = np.empty((K, p))
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.ones(block), np.empty(block, np.int64)
    Z_memory = np.empty((min(n_own, K), d * block))
    present, weighted = np.empty(d * block * (n_own > 0)), np.empty(d * block * (n_own > 0))
    gram, second = np.empty(d * d * (n_own > 0)), np.empty((d, d) if n_own > 0 else (0, 0))
    soft_wanted, labels_wanted = sums.size > 0 or responsibilities.size > 0, labels.size > 0
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
        eta, c, own = natural[mixture], offset[mixture], frame[mixture]
        any_shared = np.any(own < 0)
        bound = 0.0
        blocks = max((stop - start + block - 1) // block, 1)
        size = ((stop - start + blocks - 1) // blocks + TILE - 1) // TILE * TILE  # alike: a short rest would be slow
        size = min(max(size, 1), block)
        for first in range(start, stop, size):
            rows = min(size, stop - first)
            T = T_memory[: p * rows].reshape(p, rows)
            S = S_memory[: K * rows].reshape(K, rows)
            top, factor = top_memory[:rows], factor_memory[:rows]
            weight, label = weight_memory[:rows], label_memory[:rows]
            absent = block_weights(sample_weight, first, weight)
            if any_shared:
                load(X, first, shift, inverse_scale, products, T)
                if absent:
                    clear_absent(T, weight)
                if not given:
                    score(eta, T, S)
            kept = 0
            rows_last = weighted[: d * rows * (n_own > 0)].reshape(-1, rows)
            if n_own > 0:
                transpose(X, first, rows_last)
            for k in range(K):
                if own[k] >= 0:
                    Z = Z_memory[kept, : d * rows].reshape(d, rows)
                    kept += 1
                    difference = present[: d * rows].reshape(d, rows)
                    whiten(rows_last, own_shift[own[k]], whitener[own[k]], difference, Z)
                    if absent:
                        clear_absent(Z, weight)
                    if not given:
                        score_own(eta[k], products, Z, S[k])
            if given:
                read_rows(responsibilities, first, S, factor)
            else:
                bound += assign(
                    S, c, level[mixture], weight, temperature, soft_wanted, labels_wanted, top, factor, label
                )  # fmt: skip
                write_rows(S, factor, top, label, first, responsibilities, evidence, labels)
            if sums.size > 0:
                weigh(S, factor, weight, counts[slot])
                if any_shared:
                    collect(S, T, own, sums[slot], scratch)
                kept = 0
                for k in range(K):
                    if own[k] >= 0:
                        Z = Z_memory[kept, : d * rows].reshape(d, rows)
                        kept += 1
                        collect_own(S[k], products, Z, present, weighted, gram, second, sums[slot, k])
        if bounds.size > 0:
            bounds[slot] += bound


@functools.cache
def _compiled(dtype):
    """Return the pass for one dtype of X; its other arguments have one type each."""

    def array(ndim, element=types.float64, layout="C", writable=False):
        return types.Array(element, ndim, layout, readonly=not writable)

    rows = types.Array(getattr(types, dtype.name), 2, "A", readonly=True)
    integers = array(2, types.int64)
    shared, own = (array(1), array(1), integers), (integers, array(2), array(3))
    parameters = array(3), array(2), array(1), array(1)
    sums = array(2, writable=True), array(3, writable=True), array(1, writable=True)
    by_row = array(2, writable=True), array(1, writable=True), array(1, types.int64, writable=True)
    signature = types.void(
        rows, integers, *shared, *own, *parameters, types.float64, types.bool_, types.int64, *sums, *by_row
    )
    return entry(_em_rows, signature)


def em_rows(X, *arguments):
    """Run the pass compiled for the dtype of X; see `_em_rows`."""
    X = X.view(np.uint8) if X.dtype == np.bool_ else X  # the same bytes, and one compilation less
    with _compiling:  # threads that arrive together wait for one compilation
        kernel = _compiled(X.dtype)
    return kernel(X, *arguments)
