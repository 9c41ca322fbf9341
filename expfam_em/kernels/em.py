"""The one jitted EM pass over a range of rows.

Everything inside a block is stored with rows along the last axis: the statistics as (p, b), the scores as
(K, b). Each loop over rows then runs over contiguous memory and vectorises, and both products are of plain
matrices: scores = η T and sums = r Tᵀ. Statistics that L2 cannot hold are formed in parts, for each of the two.

The statistics of a block are z = (x − shift) · inverse_scale, followed by sums of products z_i z_j as listed
in ``products``. A family whose T has another form evaluates T in NumPy and passes it as X. Components may have
statistics of their own (own_frames.py).

One call serves many mixtures and many ranges of rows, for a call costs as much as a thousand small rows.
"""

import numpy as np
from numba import types

from expfam_em.kernels.elementwise import exp_nonpositive, log_positive
from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import LINE_ENTRIES, clear_absent, multiply, rows_of, scale, transpose
from expfam_em.kernels.matmul import PANEL, TILE, add_product, aligned, product_transposed, round_up
from expfam_em.kernels.own_frames import collect_own, score_own, whiten
from expfam_em.kernels.sums import scale_and_add, weighted_sum

L1_ENTRIES, L2_ENTRIES = 6144, 65536  # 48 and 512 kilobytes
SMALL_PARAMETERS = 96  # up to this p·K a block stays in L1
OWN_FRAME_ENTRIES = 1 << 20  # eight megabytes: their matrix products want more rows than L2 has room for

NO_OFFSET, NO_GROUP = np.empty((0, 0)), np.empty(0, np.int64)


def block_rows(n_statistics, n_components, n_own=0):
    """Rows per block: statistics and scores of a block stay in L1 (small problems) or, if they can, in L2.

    ``n_own`` counts the coordinates kept for components with frames of their own.
    """
    numbers = n_statistics + n_components + n_own
    if n_statistics * n_components + n_own <= SMALL_PARAMETERS:
        return max(64, min(768, L1_ENTRIES // numbers // PANEL * PANEL))
    if n_own > 0:
        return max(128, min(512, OWN_FRAME_ENTRIES // n_own // PANEL * PANEL))
    return max(256, min(384, L2_ENTRIES // numbers // PANEL * PANEL))


def partition(n_statistics, n_features, block, products):
    """Ranges of statistics that L2 can hold, and of the products they are made of: (m, 4) begin, end, first, last."""
    p, d = n_statistics, n_features
    rows = -(-block // PANEL) * PANEL  # round_up would be compiled for this call, by every process
    if p * rows <= L2_ENTRIES:
        return np.array([[0, p, 0, len(products)]])
    cuts = [
        start + (stop - start) * np.arange(n + 1) // n
        for start, stop in ((0, d), (d, p))
        if (n := min((stop - start) * rows // L2_ENTRIES + 1, stop - start)) > 0
    ]
    begin, end = (np.concatenate([part[where] for part in cuts]) for where in (slice(-1), slice(1, None)))
    return np.stack([begin, end, *np.searchsorted(products[:, 2], [begin, end])], axis=1)


@inner(EXACT)
def score(natural, parts, products, d, T, S):
    """S = natural T, forming the products on the way."""
    S[:] = 0.0
    for c in range(parts.shape[0]):
        begin, end, first, last = parts[c]
        multiply(products, first, last, d, max(begin, d), T)
        add_product(natural, begin, T[min(begin, d) :], end - begin, False, S)


@inner(EXACT)
def maximum(S, offset, top):
    """Add the offsets to the scores; find the largest of each row."""
    K, rows = offset.shape[0], top.shape[0]
    for i in range(rows):
        S[0, i] += offset[0]
        top[i] = S[0, i]
    for k in range(1, K):
        for i in range(rows):
            value = S[k, i] + offset[k]
            S[k, i] = value
            top[i] = value if value > top[i] else top[i]


@inner(EXACT)
def first_largest(S, K, top, label):
    """Find the component that has the largest score of each row; the lower index wins a tie."""
    rows = top.shape[0]
    for i in range(rows):
        label[i] = 0
    for k in range(K - 1, -1, -1):
        for i in range(rows):
            before = label[i]  # read in any case, so that nothing has to be guessed
            label[i] = k if S[k, i] == top[i] else before


@inner(EXACT)
def soften(S, K, top, temperature, factor, label):
    """S becomes the responsibilities softmax(S/τ), each up to a factor; top becomes τ logsumexp(S/τ)."""
    rows = top.shape[0]
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
def harden(S, K, label, factor):
    """S becomes the indicator of the label."""
    for i in range(label.shape[0]):
        factor[i] = 1.0
    for k in range(K):
        for i in range(label.shape[0]):
            S[k, i] = 1.0 if label[i] == k else 0.0


@inner(EXACT)
def weigh(S, factor, weight, counts):
    """Multiply the responsibilities by their factors and the weights of the rows, and add them to counts."""
    rows = weight.shape[0]
    for i in range(rows):
        factor[i] *= weight[i]
    scale_and_add(S, factor, counts)
    S[:, rows:] = 0.0


@inner(EXACT)
def collect(S, parts, products, d, T, frame, sums, scratch):
    """Add Σ r T of a block to the sums of the components in the shared frame."""
    for c in range(parts.shape[0]):
        begin, end, first, last = parts[c]
        if parts.shape[0] > 1:  # else they are still there
            multiply(products, first, last, d, max(begin, d), T)
        product_transposed(S, T[min(begin, d) :], end - begin, False, scratch, begin)
    for k in range(sums.shape[0]):
        if frame[k] < 0:
            for j in range(sums.shape[1]):
                sums[k, j] += scratch[k, j]


@inner(EXACT)
def assign(S, offset, level, weight, temperature, soft_wanted, labels_wanted, top, factor, label):
    """Turn scores without offsets into responsibilities up to a factor; return Σ weight · (τ logsumexp + level)."""
    maximum(S, offset, top)
    odd = 0  # infinite, or not a number: soften then asks for the label
    for i in range(top.shape[0]):
        odd += 0 if abs(top[i]) < np.inf else 1
    if labels_wanted or temperature == 0.0 or odd > 0:
        first_largest(S, offset.shape[0], top, label)
    if temperature > 0.0:
        soften(S, offset.shape[0], top, temperature, factor, label)
    elif soft_wanted:
        harden(S, offset.shape[0], label, factor)
    for i in range(top.shape[0]):
        top[i] += level
    return weighted_sum(weight, top)


@inner(EXACT)
def add_offsets(row_offset, group, first, rows, S):
    """Add the offset of its group to the score of each component, row by row."""
    for k in range(group.shape[0]):
        g = group[k]
        for i in range(rows):
            S[k, i] += row_offset[first + i, g]


@inner(EXACT)
def read_rows(responsibilities, first, S, factor):
    """Take the responsibilities as given."""
    S[:] = 0.0
    for i in range(factor.shape[0]):
        factor[i] = 1.0
        for k in range(responsibilities.shape[1]):
            S[k, i] = responsibilities[first + i, k]


@inner(EXACT)
def write_rows(S, factor, top, label, first, responsibilities, evidence, labels):
    """Write the results of a block to the outputs by row that are asked for."""
    rows = factor.shape[0]
    if responsibilities.size > 0:
        for i in range(rows):
            known = 1.0 if top[i] == top[i] else np.nan
            for k in range(responsibilities.shape[1]):
                responsibilities[first + i, k] = S[k, i] * factor[i] * known
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


@entry(
    types.void, types.Tuple([array(2, element, layout="A") for element in (types.float64, types.float32, types.uint8)]),
    array(2, types.int64), array(1), array(1), *[array(2, types.int64)] * 3, array(2), array(3), array(3), array(2),
    array(1), array(1), types.float64, types.bool_, types.int64, array(2), array(1, types.int64),
    array(2, writable=True), array(3, writable=True), array(1, writable=True),
    array(2, writable=True), array(1, writable=True), array(1, types.int64, writable=True),
)  # fmt: skip
def _em_rows(
    X, items, shift, inverse_scale, products, parts, frame, own_shift, whitener, natural, offset, level, sample_weight,
    temperature, given, block, row_offset, group, counts, sums, bounds, responsibilities, evidence, labels,
):  # fmt: skip
    """One EM pass over ranges of rows, each under one of B mixtures; outputs of length 0 are left out.

    Parameters
    ----------
    X : (n, d) arrays of float64, float32 and uint8, any strides; two of the three are empty
    items : (m, 4) int64: start, stop, mixture, slot; rows start ≤ n < stop under a mixture, into a slot of the sums
    shift, inverse_scale : (d,) shared frame of the observations
    products : (q, 3) int64: z_i z_j is added to the statistic ``target``, equal targets adjacent
    parts : (m, 4) int64: see `partition`
    frame : (B, K) int64: −1 for the shared frame, else an index of own_shift and whitener
    own_shift, whitener : (F, d), (F, d padded, d) or (F, 1, d) frames of single components
    natural, offset : (B, K padded, p) natural parameters and (B, K) log π − A − level
    level : (B,) added to the evidence of every row
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    given : whether the responsibilities are read instead of written, and scores left out
    block : rows handled at a time
    row_offset, group : (n, G) or empty, (K,) int64: row_offset[n, group[k]] is added to the score of component k
    counts, sums, bounds : (slots, K), (slots, K, p), (slots,) added to; a bound is Σ weight · τ logsumexp(scores/τ)
    responsibilities, evidence, labels : (n, K), (n,), (n,) outputs by row
    """
    K, p, d = offset.shape[1], natural.shape[2], shift.shape[0]
    n_own = own_shift.shape[0] if frame.size > 0 else 0
    own_rows = round_up(d, TILE) * (n_own > 0)
    block_padded, K_padded = round_up(block, PANEL), natural.shape[1]
    held = 0
    for c in range(parts.shape[0]):
        held = max(held, parts[c, 1] - max(parts[c, 0] - d, 0))
    held += TILE
    T_memory, S_memory = np.zeros(held * block_padded + LINE_ENTRIES), np.zeros(K_padded * block_padded + LINE_ENTRIES)
    scratch = np.empty((K_padded, p + TILE))
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.ones(block), np.zeros(block, np.int64)
    rows_memory = np.empty(d * block_padded * (n_own > 0) + LINE_ENTRIES)
    Z_memory = np.empty((min(n_own, K), own_rows * block_padded + LINE_ENTRIES))
    space = np.empty((2, own_rows * block_padded + LINE_ENTRIES))
    second = np.empty((own_rows, own_rows))
    soft_wanted, labels_wanted = sums.size > 0 or responsibilities.size > 0, labels.size > 0
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
        eta, c, own = natural[mixture], offset[mixture], frame[mixture]
        any_shared, bound = False, 0.0
        for k in range(K):
            any_shared |= own[k] < 0
        blocks = max((stop - start + block - 1) // block, 1)
        size = round_up((stop - start + blocks - 1) // blocks, PANEL)  # alike: a short rest would be slow
        size = min(max(size, 1), block)
        for first in range(start, stop, size):
            rows = min(size, stop - first)
            width = round_up(rows, PANEL)
            T, S = aligned(T_memory, held, width), aligned(S_memory, K_padded, width)
            top, factor = top_memory[:rows], factor_memory[:rows]
            weight, label = weight_memory[:rows], label_memory[:rows]
            absent = block_weights(sample_weight, first, weight)
            rows_last = aligned(rows_memory, d, width) if n_own > 0 else T[:d]
            transpose(X, first, rows, rows_last)
            if absent:
                clear_absent(rows_last, weight)
            if any_shared:
                scale(rows_last, shift, inverse_scale, T)
                score(eta, parts, products, d, T, S)  # and statistics, even if the responsibilities are given
            kept = 0
            for k in range(K):
                if own[k] >= 0:
                    Z = aligned(Z_memory[kept], own_rows, width)
                    kept += 1
                    whiten(rows_last, own_shift[own[k]], whitener[own[k]], aligned(space[1], own_rows, width), Z)
                    if not given:
                        score_own(eta[k], products, d, Z, S[k])
            if given:
                read_rows(responsibilities, first, S, factor)
            else:
                if row_offset.size > 0:
                    add_offsets(row_offset, group, first, rows, S)
                bound += assign(
                    S, c, level[mixture], weight, temperature, soft_wanted, labels_wanted, top, factor, label
                )  # fmt: skip
                write_rows(S, factor, top, label, first, responsibilities, evidence, labels)
            if sums.size > 0:
                weigh(S, factor, weight, counts[slot])
                if any_shared:
                    collect(S, parts, products, d, T, own, sums[slot], scratch)
                kept = 0
                for k in range(K):
                    if own[k] >= 0:
                        Z = aligned(Z_memory[kept], own_rows, width)
                        kept += 1
                        collect_own(S[k], products, d, Z, space, second, sums[slot, k])
        if bounds.size > 0:
            bounds[slot] += bound


def em_rows(
    X, items, shift, inverse_scale, products, frame, own_shift, whitener, natural, offset, level, sample_weight,
    temperature, given, block, *outputs, row_offset=NO_OFFSET, group=NO_GROUP
):  # fmt: skip
    """Run the pass for rows X of float64, float32, uint8 or bool; see `_em_rows`."""
    parts = partition(natural.shape[2], len(shift), block, products)
    whitener = padded(whitener) if whitener.shape[1] > 1 else whitener
    return _em_rows(
        rows_of(X), items, shift, inverse_scale, products, parts, frame, own_shift, whitener, padded(natural), offset,
        level, sample_weight, temperature, given, block, row_offset, group, *outputs,
    )  # fmt: skip


def padded(matrices):
    """Return matrices (m, K, p) with rows of zeros to complete the last tile."""
    m, K, p = matrices.shape
    if K % TILE == 0:
        return matrices
    out = np.zeros((m, K + -K % TILE, p))
    out[:, :K] = matrices
    return out
