"""Search for the nearest centre of each row in float32, with a proof or a second look in float64.

The score of centre c for a row z is ⟨c, z⟩ − ½|c|²; the largest belongs to the nearest centre.

How far a score may be off. Let u = 2⁻²⁴, γ_m = m u/(1 − m u), q = |z|² and c² the largest |c|². The coordinates of z
and c and the offset o = −½|c|² are rounded once and enter d fused additions, in any order, so that by Higham's
Lemma 3.1 the score is off by at most γ_{d+3} (|o| + Σ_j |z_j c_j|) ≤ γ_{d+3} (½c² + |z||c|) ≤ γ_{d+3} (c² + ½q),
the 3 holding the two factors' roundings and that of o in float64. q is itself computed, and low by at most the factor
1 − γ_{d+2}. Underflow adds at most 2⁻¹⁴⁹ for each of the d products and inputs, times c² + ½q + 3. So with

    E = slope · q + level        slope ≥ ½ γ_{d+3} (1 + γ_{d+8}),   level ≥ γ_{d+3} c² + 3 d 2⁻¹⁴⁹ (1 + c²)

each score is within E, and if the best exceeds the second by more than 2E it belongs to the nearest centre. All other
rows, those with an infinity among them, are searched again in float64.

How far a row may be from changing its label. Let D₁ ≤ D₂ be the distances to the nearest and second nearest centre.
D₂ − D₁ = (D₂² − D₁²)/(D₁ + D₂) ≥ 2 (s₁ − s₂ − 2E)/√(2 (D₁² + D₂²)), and D₁² + D₂² = 2q − 2(s₁ + s₂) is off by at
most 4E for the scores, 2γ_{d+3} q ≤ 5.4E for q and 18u(½q + c²) ≤ 6E for the last operations (γ_{d+3} ≥ 4u), hence
16E in all. This gap shrinks by at most the drift of the label's centre plus the largest drift of another, by the
triangle inequality. What is stored is the gap plus the accumulated drift at that time; the row is left alone while
that exceeds the accumulated drift. Constants round it down.
"""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import NO_ROWS, transpose
from expfam_em.kernels.tiles import SINGLE_LANES, WIDTH, tile, turn_lanes

DOWN = np.float32(1 - 2.0**-20)  # more than the 8 roundings on the way to a gap, and the one of storing it
UP = np.float32(1 + 2.0**-20)
TWO, SIXTEEN, SQRT_2 = np.float32(2), np.float32(16), np.float32(2**0.5)
INFINITY = np.float32(np.inf)
CHOICE = 4096  # rows looked through before those found are searched
SPACE = CHOICE + WIDTH
NO_BYTES = NO_ROWS[2]

ROWS_TYPE = types.Tuple([array(2, element, layout="A") for element in (types.float64, types.float32)])
FRAME_TYPE = types.Tuple((array(1), array(1)))
CENTRES_TYPE = types.Tuple((array(2), array(1), array(1)))
SINGLE_1, SINGLE_2, SINGLE_3 = (array(ndim, types.float32, True) for ndim in (1, 2, 3))
PLACES_TYPE = array(1, types.int32, True)
GROUPS_TYPE = types.Tuple((SINGLE_3, SINGLE_2, array(1, types.float32)))
FAST_TYPE = types.Tuple((SINGLE_3, SINGLE_2, PLACES_TYPE, SINGLE_1, SINGLE_2, SINGLE_1, array(1, types.boolean, True)))


# ---- search ---------------------------------------------------------------------------------------------------
# Slices are avoided in what follows: each counts references to an array that the threads share, which is slow.


@inner(EXACT)
def number(X, i, j):
    """x_ij from whichever of the two arrays there is."""
    doubles, singles = X
    return doubles[i, j] if doubles.size > 0 else np.float64(singles[i, j])


@inner(EXACT)
def turn(X, rows, first, shift, inverse_scale, panel):
    """panel (d, WIDTH) = X[rows[first : first + WIDTH]].T in the frame."""
    doubles, singles = X
    d = panel.shape[0]
    whole = d // SINGLE_LANES * SINGLE_LANES
    for at in range(0, WIDTH, SINGLE_LANES):
        if doubles.size > 0:
            for column in range(0, whole, SINGLE_LANES):
                turn_lanes(doubles, rows, first + at, column, shift, inverse_scale, panel, at)
        else:
            for column in range(0, whole, SINGLE_LANES):
                turn_lanes(singles, rows, first + at, column, shift, inverse_scale, panel, at)
    for i in range(WIDTH):
        for j in range(whole, d):
            panel[j, i] = np.float32((number(X, rows[first + i], j) - shift[j]) * inverse_scale[j])


@inner(EXACT)
def narrow(columns, shift, inverse_scale, panel):
    """panel (d, WIDTH) = columns in the frame."""
    for j in range(panel.shape[0]):
        a, inverse = shift[j], inverse_scale[j]
        for i in range(WIDTH):
            panel[j, i] = np.float32((columns[j, i] - a) * inverse)


@inner(EXACT)
def rank(panels, row, centres, offsets, top, second, label):
    """The two highest scores of the rows of a panel and the centre of the highest.

    The panel is (d, WIDTH) from the given row of ``panels`` on. A later centre must score more than an earlier one, so
    the lower index wins a tie.
    """
    for i in range(WIDTH):
        top[i], second[i], label[i] = -INFINITY, -INFINITY, 0
    for g in range(centres.shape[0]):
        tile(panels, row, centres, offsets, g, top, second, label)


@inner(EXACT)
def rank_own(panel, own, offsets, fast_index, kept, label, top, second, nearest):
    """Let each row's own centre, a column of ``own``, take part in the ranking of the fast, unless it is one."""
    score = np.empty(WIDTH, np.float32)
    for i in range(WIDTH):
        score[i] = offsets[label[i]]
    d = panel.shape[0]
    whole = d // 4 * 4
    for j in range(0, whole, 4):  # four at a time, so that no addition waits for the one before
        for i in range(WIDTH):
            a, b = own[j, i] * panel[j, i], own[j + 1, i] * panel[j + 1, i]
            c, e = own[j + 2, i] * panel[j + 2, i], own[j + 3, i] * panel[j + 3, i]
            score[i] += (a + b) + (c + e)
    for j in range(whole, d):
        for i in range(WIDTH):
            score[i] += own[j, i] * panel[j, i]
    for i in range(WIDTH):
        nearest[i] = fast_index[nearest[i]]
        if kept[label[i]]:
            if score[i] > top[i]:
                top[i], second[i], nearest[i] = score[i], top[i], label[i]
            else:
                second[i] = max(second[i], score[i])


@inner(EXACT)
def measure(panels, row, d, error, top, second, gap):
    """gap = the least by which another centre is farther than the nearest; ≤ 0 or NaN where that is not proven."""
    slope, level = error[0], error[1]
    for i in range(WIDTH):
        gap[i] = 0
    whole = row + d // 4 * 4
    for j in range(row, whole, 4):  # as above
        for i in range(WIDTH):
            a, b, c, e = panels[j, i], panels[j + 1, i], panels[j + 2, i], panels[j + 3, i]
            gap[i] += (a * a + b * b) + (c * c + e * e)
    for j in range(whole, row + d):
        for i in range(WIDTH):
            gap[i] += panels[j, i] * panels[j, i]
    for i in range(WIDTH):
        q = gap[i]
        off = slope * q + level
        margin = (top[i] - second[i]) - TWO * off
        gap[i] = DOWN * (SQRT_2 * margin / np.sqrt(TWO * (q - (top[i] + second[i])) + SIXTEEN * off))


@inner(EXACT)
def rank_exactly(X, row, shift, inverse_scale, centres, offset, error, z):
    """Nearest centre and gap of one row, in float64; a gap that is still unproven is −∞."""
    K, d = centres.shape
    whole, q = d // 4 * 4, 0.0
    for j in range(d):
        z[j] = (number(X, row, j) - shift[j]) * inverse_scale[j]
        q += z[j] * z[j]
    top, second, label = -np.inf, -np.inf, 0
    for k in range(K):
        score = 0.0
        for j in range(0, whole, 4):  # as above
            a, b = centres[k, j] * z[j], centres[k, j + 1] * z[j + 1]
            c, e = centres[k, j + 2] * z[j + 2], centres[k, j + 3] * z[j + 3]
            score += (a + b) + (c + e)
        for j in range(whole, d):
            score += centres[k, j] * z[j]
        score += offset[k]
        if score > top:
            top, second, label = score, top, k
        elif score > second:
            second = score
    if second == -np.inf:
        return label, np.inf
    off = error[0] * q + error[1]
    margin = (top - second) - 2 * off
    spread = 2 * (q - (top + second)) + 16 * off
    return label, DOWN * np.sqrt(2.0) * margin / np.sqrt(spread) if margin > 0 else -np.inf


@inner(EXACT)
def stale(gap, drift, label, start, stop, chosen):
    """chosen = the units whose label may have changed, of start ≤ i < stop; return how many."""
    found = 0
    for i in range(start, stop):
        chosen[found] = i
        found += 0 if gap[i] > drift[np.uint32(label[i])] else 1
    return found


@inner(EXACT)
def stored(gap, drift):
    """The number to keep for a gap, so that rounding never makes it larger."""
    return np.float32(gap + drift) * DOWN if gap > 0 else -INFINITY


@inner(EXACT)
def separate(gap, slow, label, chosen, found):
    """Put the chosen rows that only a fast centre can have come closest to behind the others; return how many.

    They are chosen[SPACE:], the others stay in front.
    """
    few, rest = 0, 0
    for e in range(found):
        n = chosen[e]
        if gap[n] > slow[label[n]]:
            chosen[SPACE + few] = n
            few += 1
        else:
            chosen[rest] = n
            rest += 1
    return few


@entry(
    types.UniTuple(types.intp, 2), ROWS_TYPE, FRAME_TYPE, CENTRES_TYPE, GROUPS_TYPE, FAST_TYPE, SINGLE_1,
    types.boolean, types.intp, types.intp, SINGLE_1, PLACES_TYPE, PLACES_TYPE, PLACES_TYPE,
)  # fmt: skip
def search_rows(
    X, frame, exact, groups, fast, drift, fresh, start, stop, gap, label, changed, before
):  # fmt: skip
    """Search the rows start ≤ n < stop that may have changed their label.

    Parameters
    ----------
    X : (n, d) array of float64 and one of float32, C order; the one of the other type is empty
    frame : shift and inverse scale, (d,)
    exact : centres c in the frame (K, d), −½|c|² (K,), and slope and level of the error, (2,), in float64
    groups : the same in float32, in groups of C = GROUP_CENTRES padded with −∞: (G, d, C), (G, C), (2,)
    fast : the centres that moved most, (F, d, C), (F, C), and which they are; the drift that does
        not count them, (K,); all centres (K, d) and −½|c|² (K,); whether a centre is not among the fast, (K,)
    drift : (K,) accumulated drift, rounded up
    fresh : whether no row has a label yet
    gap, label : (n,) float32, int32, updated
    changed, before : (n,) int32: rows that changed their label and their old label, from ``start`` on; not if fresh

    Returns
    -------
    n_changed, n_searched : int
    """
    shift, inverse_scale = frame
    exact_centres, exact_offset, exact_error = exact
    centres, offsets, error = groups
    fast_centres, fast_offsets, fast_index, slow, singles, single_offset, kept = fast
    d = exact_centres.shape[1]
    chosen = np.empty(2 * SPACE, np.int32)
    panel, own, z = np.empty((d, WIDTH), np.float32), np.empty((d, WIDTH), np.float32), np.empty(d)
    top, second, space = (
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
    )
    nearest, was = np.empty(WIDTH, np.int32), np.empty(WIDTH, np.int32)
    nowhere, unity = np.zeros(d), np.ones(d)  # the frame of centres that are in it already
    n_changed, n_searched = 0, 0
    for first in range(start, stop, CHOICE):
        found = stale(gap, drift, label, first, min(first + CHOICE, stop), chosen)
        few = separate(gap, slow, label, chosen, found) if fast_centres.shape[0] > 0 else 0
        n_searched += found - few + few // 8
        for base, count in ((0, found - few), (SPACE, few)):
            for i in range(WIDTH):  # complete the last panel with copies of its last row
                chosen[base + count + i] = chosen[base + max(count - 1, 0)]
            for at in range(base, base + count, WIDTH):
                for i in range(WIDTH):
                    was[i] = label[chosen[at + i]]
                turn(X, chosen, at, shift, inverse_scale, panel)
                if base == 0:
                    rank(panel, 0, centres, offsets, top, second, nearest)
                else:
                    rank(panel, 0, fast_centres, fast_offsets, top, second, nearest)
                    turn((X[0][:0], singles), was, 0, nowhere, unity, own)
                    rank_own(panel, own, single_offset, fast_index, kept, was, top, second, nearest)
                measure(panel, 0, d, error, top, second, space)
                for i in range(min(WIDTH, base + count - at)):
                    n, k, free = chosen[at + i], nearest[i], np.float64(space[i])
                    if not free > 0:
                        k, free = rank_exactly(X, n, shift, inverse_scale, exact_centres, exact_offset, exact_error, z)
                    elif base > 0:  # and the slow centres are farther by at least
                        free = min(free, np.float64(gap[n] - slow[was[i]]))
                    gap[n] = stored(free, drift[k])
                    if k != was[i] and not fresh:
                        changed[start + n_changed], before[start + n_changed] = n, was[i]
                        n_changed += 1
                    label[n] = k
    return n_changed, n_searched


@entry(types.void, ROWS_TYPE, FRAME_TYPE, CENTRES_TYPE, GROUPS_TYPE, types.intp, types.intp, PLACES_TYPE)
def label_rows(X, frame, exact, groups, start, stop, label):
    """Set label[n] to the nearest centre, start ≤ n < stop, and keep nothing for a next search; see `search_rows`."""
    shift, inverse_scale = frame
    exact_centres, exact_offset, exact_error = exact
    centres, offsets, error = groups
    d = exact_centres.shape[1]
    panel, z = np.empty((d, WIDTH), np.float32), np.empty(d)
    top, second, space = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    nearest, rows = np.empty(WIDTH, np.int32), np.empty(WIDTH, np.int32)
    few, wide = d < SINGLE_LANES, np.empty((d, WIDTH))
    for at in range(start, stop, WIDTH):
        if few:
            transpose((X[0], X[1], NO_BYTES), at, min(WIDTH, stop - at), wide)
            narrow(wide, shift, inverse_scale, panel)
        else:
            for i in range(WIDTH):
                rows[i] = min(at + i, stop - 1)
            turn(X, rows, 0, shift, inverse_scale, panel)
        rank(panel, 0, centres, offsets, top, second, nearest)
        measure(panel, 0, d, error, top, second, space)
        for i in range(min(WIDTH, stop - at)):
            k = nearest[i]
            if not space[i] > 0:
                k = rank_exactly(X, at + i, shift, inverse_scale, exact_centres, exact_offset, exact_error, z)[0]
            label[at + i] = k


@entry(
    types.UniTuple(types.intp, 2), ROWS_TYPE, SINGLE_2, FRAME_TYPE, CENTRES_TYPE, GROUPS_TYPE, SINGLE_1,
    types.boolean, types.intp, types.intp, SINGLE_1, *[PLACES_TYPE] * 4,
)  # fmt: skip
def search_panels(
    X, Z, frame, exact, groups, drift, fresh, start, stop, gap, panel_label, label, changed, before
):  # fmt: skip
    """Search the panels start ≤ b < stop of rows that are neighbours in space; see `search_rows`.

    Parameters
    ----------
    Z : (panels · d, WIDTH) float32, the rows of X, of which the last one is repeated
    drift : (K + 1,) with the largest of all at K
    gap, panel_label : (panels,) the least of the rows, and their label, or K if they differ
    label : (panels · WIDTH,)
    changed, before : (panels · WIDTH,) rows that changed their label and their old label
    """
    shift, inverse_scale = frame
    exact_centres, exact_offset, exact_error = exact
    centres, offsets, error = groups
    K, d = exact_centres.shape
    n = X[0].shape[0] + X[1].shape[0]
    z, chosen = np.empty(d), np.empty(CHOICE, np.int32)
    top, second, space = (
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
        np.empty(WIDTH, np.float32),
    )
    nearest = np.empty(WIDTH, np.int32)
    n_changed, n_searched, out = 0, 0, start * WIDTH
    for first in range(start, stop, CHOICE):
        found = stale(gap, drift, panel_label, first, min(first + CHOICE, stop), chosen)
        n_searched += found * WIDTH
        for c in range(found):
            b = chosen[c]
            place = b * WIDTH
            rank(Z, b * d, centres, offsets, top, second, nearest)
            measure(Z, b * d, d, error, top, second, space)
            unproven = 0
            for i in range(WIDTH):
                unproven += 0 if space[i] > 0 else 1
            if unproven > 0:
                for i in range(WIDTH):
                    if not space[i] > 0:
                        row = min(place + i, n - 1)
                        k, free = rank_exactly(
                            X, row, shift, inverse_scale, exact_centres, exact_offset, exact_error, z
                        )
                        nearest[i], space[i] = k, np.float32(free) * DOWN
            least, differ, other = INFINITY, 0, 0
            for i in range(WIDTH):
                least = min(least, space[i])
                differ += 1 if nearest[i] != nearest[0] else 0
                other += 1 if nearest[i] != label[place + i] else 0
            panel_label[b] = K if differ > 0 else nearest[0]
            gap[b] = stored(np.float64(least), drift[panel_label[b]])
            if other > 0:
                for i in range(WIDTH):
                    if nearest[i] != label[place + i] and place + i < n and not fresh:
                        changed[out + n_changed], before[out + n_changed] = place + i, label[place + i]
                        n_changed += 1
                    label[place + i] = nearest[i]
    return n_changed, n_searched
