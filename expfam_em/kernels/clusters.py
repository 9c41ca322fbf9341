"""What the search for the nearest centres needs beforehand, and the sums that follow from it."""

import functools

import numpy as np
from numba import types

from expfam_em.kernels._jit import EXACT, inner
from expfam_em.kernels.nearest import FAST, PLACES, SINGLE, SINGLE_2, SINGLE_3, UP, array, compiled, rows_of
from expfam_em.kernels.tiles import GROUP, WIDTH


@inner(EXACT)
def longest_steps(step, among):
    """The longest and the second longest step among some centres, and which centre made the longest."""
    longest, next_longest, of = 0.0, 0.0, -1
    for k in range(step.shape[0]):
        if among[k] and step[k] > longest:
            longest, next_longest, of = step[k], longest, k
        elif among[k]:
            next_longest = max(next_longest, step[k])
    return longest, next_longest, of


def _follow(exact, offset, previous, fresh, n_fast, accumulated, drift, groups, fast):
    """Put the centres into float32, in groups, and find how far the rows may have come to change their labels.

    Parameters
    ----------
    exact, offset, previous : (K, d), (K,), (K, d) centres now, −½|c|², and centres before
    fresh : whether there is no before
    n_fast : centres to be counted as fast, a multiple of GROUP
    accumulated, drift : (K + 1,) float64, and float32 rounded up; the last is the largest step of any label
    groups, fast : see `_search_rows`; without the errors, updated

    Returns
    -------
    largest : float
        max |c|²
    moved : bool
    """
    centres, offsets = groups
    fast_centres, fast_offsets, fast_index, slow, singles, single_offset, kept = fast
    K, d = exact.shape
    largest, moved = 0.0, False
    step = np.zeros(K)
    for k in range(K):
        square, size = 0.0, 0.0
        for j in range(d):
            singles[k, j] = np.float32(exact[k, j])
            centres[k // GROUP, j, k % GROUP] = singles[k, j]
            size += exact[k, j] * exact[k, j]
            square += (exact[k, j] - previous[k, j]) ** 2
            moved |= exact[k, j] != previous[k, j]
        single_offset[k] = np.float32(offset[k])
        offsets[k // GROUP, k % GROUP] = single_offset[k]
        largest = max(largest, size)
        kept[k] = True
        step[k] = 0.0 if fresh else np.sqrt(square) * (1 + (d + 8) * 2.0**-52)
    longest, next_longest, which = longest_steps(step, kept)
    for f in range(n_fast):
        k = -1
        for other in range(K):
            if kept[other] and (k < 0 or step[other] > step[k]):
                k = other
        kept[k] = False
        fast_index[f] = k
        fast_offsets[f // GROUP, f % GROUP] = single_offset[k]
        for j in range(d):
            fast_centres[f // GROUP, j, f % GROUP] = singles[k, j]
    slowest, _, _ = longest_steps(step, kept)
    for k in range(K + 1):
        mine = longest if k == K else step[k]
        if k < K:
            slow[k] = np.float32(accumulated[k] + mine + slowest) * UP
        accumulated[k] = (accumulated[k] + mine + (next_longest if k in (which, K) else longest)) * (1 + 2.0**-50)
        drift[k] = np.float32(accumulated[k]) * UP
    return largest, moved


def _copy(X, order, shift, inverse_scale, start, stop, Z):
    """Z = the rows of X in the frame, in float32: as rows, or as panels if there is an order."""
    d = X.shape[1]
    if order.size == 0:
        for n in range(start, stop):
            for j in range(d):
                Z[n, j] = np.float32((np.float64(X[n, j]) - shift[j]) * inverse_scale[j])
    else:
        for n in range(start, stop):
            for j in range(d):
                z = (np.float64(X[order[n], j]) - shift[j]) * inverse_scale[j]
                Z[n // WIDTH * d + j, n % WIDTH] = np.float32(z)


@inner(EXACT)
def add_exactly(high, low, term):
    """high + low += term, without the error that high alone would make."""
    total = high + term
    part = total - high
    return total, low + ((high - (total - part)) + (term - part))


def _move(
    X, sample_weight, order, shift, inverse_scale, label, changed, before, segments, first, last, counts, sums
):  # fmt: skip
    """Move the rows that changed their label from the sums of the old cluster to those of the new one.

    Only clusters first ≤ k < last are touched. The sums are kept in two parts, to twice the precision, so that they
    depend on the labels and not on the way that led there.

    Parameters
    ----------
    segments : (s, 2) int64, the filled parts of ``changed`` and ``before``
    counts, sums : (2, K), (2, K, d), updated
    """
    d = X.shape[1]
    z = np.empty(d)
    for s in range(segments.shape[0]):
        for e in range(segments[s, 0], segments[s, 1]):
            old, new = before[e], label[changed[e]]
            if not (first <= old < last or first <= new < last):
                continue
            row = order[changed[e]] if order.size > 0 else changed[e]
            weight = sample_weight[row] if sample_weight.size > 0 else 1.0
            if weight == 0.0:
                continue
            for j in range(d):
                z[j] = weight * ((np.float64(X[row, j]) - shift[j]) * inverse_scale[j])
            for k, sign in ((old, -1.0), (new, 1.0)):
                if first <= k < last:
                    counts[0, k], counts[1, k] = add_exactly(counts[0, k], counts[1, k], sign * weight)
                    for j in range(d):
                        sums[0, k, j], sums[1, k, j] = add_exactly(sums[0, k, j], sums[1, k, j], sign * z[j])


def _loss(X, centres, label, start, stop, loss):
    """loss = ‖x − centre of its label‖² of the rows start ≤ n < stop, from the differences: nothing cancels."""
    d = X.shape[1]
    whole = d // 4 * 4
    for n in range(start, stop):
        k, total = label[n], 0.0
        for j in range(0, whole, 4):  # four at a time, lest each addition wait for the one before
            a, b = np.float64(X[n, j]) - centres[k, j], np.float64(X[n, j + 1]) - centres[k, j + 1]
            c, e = np.float64(X[n, j + 2]) - centres[k, j + 2], np.float64(X[n, j + 3]) - centres[k, j + 3]
            total += (a * a + b * b) + (c * c + e * e)
        for j in range(whole, d):
            total += (np.float64(X[n, j]) - centres[k, j]) ** 2
        loss[n] = total


@functools.cache
def copy(dtype):
    """Return `_copy` compiled for a dtype of X."""
    n = types.intp
    return compiled(_copy, types.void, rows_of(dtype), PLACES, array(1), array(1), n, n, SINGLE_2)


@functools.cache
def follow():
    """Return `_follow` compiled."""
    return compiled(
        _follow, types.Tuple((types.float64, types.boolean)), array(2), array(1), array(2), types.boolean,
        types.intp, array(1, writable=True), SINGLE, types.Tuple((SINGLE_3, SINGLE_2)), FAST,
    )  # fmt: skip


@functools.cache
def move(dtype):
    """Return `_move` compiled for a dtype of X."""
    n = types.intp
    return compiled(
        _move, types.void, rows_of(dtype), array(1), PLACES, array(1), array(1), PLACES, PLACES, PLACES,
        array(2, types.int64), n, n, array(2, writable=True), array(3, writable=True),
    )  # fmt: skip


@functools.cache
def loss(dtype):
    """Return `_loss` compiled for a dtype of X."""
    n = types.intp
    return compiled(
        _loss, types.void, rows_of(dtype), array(2), array(1, types.int32), n, n, array(1, writable=True)
    )  # fmt: skip
