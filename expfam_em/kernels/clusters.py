"""What the search for the nearest centres needs beforehand, and the sums that follow from it."""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.nearest import FAST_TYPE, PLACES_TYPE, ROWS_TYPE, SINGLE_1, SINGLE_2, SINGLE_3, UP, number
from expfam_em.kernels.tiles import GROUP_CENTRES, WIDTH


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


@entry(
    types.Tuple((types.float64, types.boolean)), array(2), array(1), array(2), types.boolean,
    types.intp, array(1, writable=True), SINGLE_1, types.Tuple((SINGLE_3, SINGLE_2)), FAST_TYPE,
)  # fmt: skip
def follow(exact, offset, previous, fresh, n_fast, accumulated, drift, groups, fast):
    """Put the centres into float32, in groups, and find how far the rows may have come to change their labels.

    Parameters
    ----------
    exact, offset, previous : (K, d), (K,), (K, d) centres now, −½|c|², and centres before
    fresh : whether there is no before
    n_fast : centres to be counted as fast
    accumulated, drift : (K + 1,) float64, and float32 rounded up; the last is the largest step of any label
    groups, fast : see `search_rows`; without the errors, updated

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
            centres[k // GROUP_CENTRES, j, k % GROUP_CENTRES] = singles[k, j]
            size += exact[k, j] * exact[k, j]
            square += (exact[k, j] - previous[k, j]) ** 2
            moved |= exact[k, j] != previous[k, j]
        single_offset[k] = np.float32(offset[k])
        offsets[k // GROUP_CENTRES, k % GROUP_CENTRES] = single_offset[k]
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
        fast_offsets[f // GROUP_CENTRES, f % GROUP_CENTRES] = single_offset[k]
        for j in range(d):
            fast_centres[f // GROUP_CENTRES, j, f % GROUP_CENTRES] = singles[k, j]
    slowest, _, _ = longest_steps(step, kept)
    for k in range(K + 1):
        mine = longest if k == K else step[k]
        if k < K:
            slow[k] = np.float32(accumulated[k] + mine + slowest) * UP
        accumulated[k] = (accumulated[k] + mine + (next_longest if k in (which, K) else longest)) * (1 + 2.0**-50)
        drift[k] = np.float32(accumulated[k]) * UP
    return largest, moved


@entry(types.void, ROWS_TYPE, array(1), array(1), PLACES_TYPE)
def arrange(X, shift, inverse_scale, order):
    """order = the rows along a Morton curve through the cube ±4 of the frame, as they come within a cell of it."""
    n, d = X[0].shape[0] + X[1].shape[0], shift.shape[0]
    bits = 16 // d
    spread = np.zeros(1 << bits, np.uint16)  # the bits of a number, d places apart
    for value in range(1 << bits):
        for bit in range(bits):
            spread[value] |= np.uint16(((value >> bit) & 1) << (bit * d))
    scale, highest = 2.0 ** (bits - 3), 2.0**bits - 1
    cell, ends = np.empty(n, np.uint16), np.zeros((1 << 16) + 1, np.int64)
    for i in range(n):
        code = np.int64(0)
        for j in range(d):
            z = ((number(X, i, j) - shift[j]) * inverse_scale[j] + 4) * scale
            code |= np.int64(spread[np.int64(min(max(z, 0.0), highest))]) << j
        cell[i] = code
        ends[code + 1] += 1
    for c in range(1, ends.shape[0]):
        ends[c] += ends[c - 1]
    for i in range(n):
        at = np.int64(cell[i])
        order[ends[at]] = i
        ends[at] += 1


@entry(types.void, ROWS_TYPE, array(1), array(1), types.intp, types.intp, SINGLE_2)
def copy(X, shift, inverse_scale, start, stop, Z):
    """Z = the rows of X in the frame, in float32 and as panels, start ≤ n < stop; the last row is repeated."""
    d, last = shift.shape[0], X[0].shape[0] + X[1].shape[0] - 1
    for n in range(start, stop):
        for j in range(d):
            z = (number(X, min(n, last), j) - shift[j]) * inverse_scale[j]
            Z[n // WIDTH * d + j, n % WIDTH] = np.float32(z)


@inner(EXACT)
def add_exactly(high, low, term):
    """high + low += term, without the error that high alone would make."""
    total = high + term
    part = total - high
    return total, low + ((high - (total - part)) + (term - part))


@entry(
    types.void, ROWS_TYPE, array(1), array(1), array(1), types.boolean, *[PLACES_TYPE] * 3,
    array(2, types.int64), types.intp, types.intp, array(2, writable=True), array(3, writable=True),
)  # fmt: skip
def move(
    X, sample_weight, shift, inverse_scale, fresh, label, changed, before, segments, first, last, counts, sums
):  # fmt: skip
    """Move the rows that changed their label from the sums of the old cluster to those of the new one.

    Only clusters first ≤ k < last are touched. The sums are kept in two parts, to twice the precision, so that they
    depend on the labels and not on the way that led there.

    Parameters
    ----------
    fresh : whether all rows get their first labels, and ``changed`` and ``before`` are not there yet
    segments : (s, 2) int64, the filled parts of ``changed`` and ``before``
    counts, sums : (3, K), (2, K, d), updated; counts[2] is the number of rows, for without rows all else is exactly 0
    """
    d = shift.shape[0]
    z = np.empty(d)
    for s in range(segments.shape[0]):
        for e in range(segments[s, 0], segments[s, 1]):
            row = e if fresh else np.int64(changed[e])
            old, new = np.int64(-1 if fresh else before[e]), np.int64(label[row])
            if not (first <= old < last or first <= new < last):
                continue
            weight = sample_weight[row] if sample_weight.size > 0 else 1.0
            if weight == 0.0:
                continue
            for j in range(d):
                z[j] = weight * ((number(X, row, j) - shift[j]) * inverse_scale[j])
            for k, sign in ((old, -1.0), (new, 1.0)):
                if first <= k < last:
                    counts[2, k] += sign
                    counts[0, k], counts[1, k] = add_exactly(counts[0, k], counts[1, k], sign * weight)
                    for j in range(d):
                        sums[0, k, j], sums[1, k, j] = add_exactly(sums[0, k, j], sums[1, k, j], sign * z[j])
    for cluster in range(first, last):
        if counts[2, cluster] == 0.0:
            counts[:, cluster], sums[:, cluster] = 0.0, 0.0


@entry(
    types.float64, ROWS_TYPE, array(1), array(2), array(1, types.int32), types.intp, types.intp,
    array(1, writable=True),
)  # fmt: skip
def loss(X, sample_weight, centres, label, start, stop, squares):
    """Return Σ w ‖x − centre of its label‖² of the rows start ≤ n < stop, from the differences: nothing cancels.

    They are written to ``squares`` by row, without the weights, unless that is empty.
    """
    d = centres.shape[1]
    whole = d // 4 * 4
    high, low = 0.0, 0.0
    for n in range(start, stop):
        k, total = label[n], 0.0
        for j in range(0, whole, 4):  # four at a time, so that no addition waits for the one before
            a, b = number(X, n, j) - centres[k, j], number(X, n, j + 1) - centres[k, j + 1]
            c, e = number(X, n, j + 2) - centres[k, j + 2], number(X, n, j + 3) - centres[k, j + 3]
            total += (a * a + b * b) + (c * c + e * e)
        for j in range(whole, d):
            total += (number(X, n, j) - centres[k, j]) ** 2
        if squares.size > 0:
            squares[n] = total
        weight = sample_weight[n] if sample_weight.size > 0 else 1.0
        if weight > 0.0:
            high, low = add_exactly(high, low, weight * total)
    return high + low if high < np.inf else high
