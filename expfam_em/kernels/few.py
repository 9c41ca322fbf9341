"""The pass over blocks of rows to which few components matter: scores and sums of those components alone.

Two layouts serve it. The columns of T are rows, as everywhere, and so are the scores of one component for the rows
that are listed for it. In Z a row is a row again, to be read by its number. A sum over rows adds them one after
another, so that it has the same bits on every machine. A score adds up its terms in the order of the dense pass.

A component with a frame of its own (own_frames.py) takes the rows themselves instead of Z. What has been made of them
in that frame is kept from the scores for the sums.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import assign, block_weights, weigh
from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import LINE_ENTRIES, clear_absent, multiply, rows_of, scale, transpose
from expfam_em.kernels.matmul import PANEL, TILE, add_product, aligned, round_up
from expfam_em.kernels.own_frames import collect_own, score_own, whiten
from expfam_em.kernels.vectors import DOUBLE, code_of, has_avx512, ir, jit_is_off, number

LINE = ir.VectorType(DOUBLE, LINE_ENTRIES)
MOMENTS = 8 if has_avx512 else 4  # rows of a tile of second moments: as many registers, or half as many pairs
FEW_SCORES, FEW_SCORES_OWN = 6, 2
"""Scores that have to be computed are few if there are this many times as many in all; in frames of their own they cost
more, beside the bounds."""
FEW_ENTRIES = 32768  # of the columns of a block: 256 kilobytes, and twice more to turn them over and to bound scores
OWN_ENTRIES = 65536  # the same in frames of their own, of which a product with few rows would be slow


@intrinsic
def _turn_tile(typing, X, which, first, column, out):
    """Write the code of `turn_tile`."""

    def generate(code, X, which, first, column, out):
        rows = [code.at(X.first, code.times(code.value(which.first, first, r), X.width)) for r in range(LINE_ENTRIES)]
        for j, vector in enumerate(code.transposed([code.load(row, column) for row in rows])):
            code.store(vector, out.first, code.builder.add(
                code.times(code.builder.add(column, number(j)), out.width), first
            ))  # fmt: skip

    return code_of(generate, LINE, X, which, types.intp, types.intp, out)


@intrinsic
def _score_tile(typing, natural, products, Z, i, out):
    """Write the code of `score_tile`."""

    def generate(code, natural, products, Z, i, out):
        places, d = range(0, PANEL, LINE_ENTRIES), Z.shape[0]

        def vectors(j):
            pointer = code.at(Z.first, code.times(j, Z.width), i)
            return [code.load(pointer, at) for at in places]

        def linear(j, totals):
            eta = code.splat(code.value(natural.first, j))
            return [code.fma(eta, z, total) for z, total in zip(vectors(j), totals, strict=True)]

        def pair(q, totals):
            one, other, target = (code.value(products.first, code.times(q, 3), c) for c in range(3))
            eta = code.splat(code.value(natural.first, target))
            terms = zip(vectors(one), vectors(other), totals, strict=True)
            return [code.fma(eta, code.builder.fmul(a, b), total) for a, b, total in terms]

        totals = code.repeat(d, 1, [code.zero()] * len(places), linear)
        for at, total in zip(places, code.repeat(products.shape[0], 1, totals, pair), strict=True):
            code.store(total, out.first, code.builder.add(i, number(at)))

    return code_of(generate, LINE, natural, products, Z, types.intp, out)


@intrinsic
def _moments(typing, Z, which, share, n, i, j, out):
    """Write the code of `moments`."""

    def generate(code, Z, which, share, n, i, j, out):
        builder, cells = code.builder, range(MOMENTS)

        def turn(e, totals):
            z = code.at(Z.first, code.times(code.value(which.first, e), Z.width))
            weighted = builder.fmul(code.splat(code.value(share.first, e)), code.load(z, j))
            second = [code.fma(code.splat(code.value(z, i, c)), weighted, totals[c]) for c in cells]
            return [*second, builder.fadd(totals[-1], weighted)]

        *second, first = code.repeat(n, 1, [code.zero()] * (MOMENTS + 1), turn)
        rows = [*(builder.add(i, number(c)) for c in cells), builder.sub(out.shape[0], number(1))]
        for row, vector in zip(rows, [*second, first], strict=True):
            code.store(vector, out.first, builder.add(code.times(row, out.width), j))

    return code_of(generate, LINE, Z, which, share, *[types.intp] * 3, out)


def _turn_tile_in_numpy(X, which, first, column, out):
    rows, columns = slice(first, first + LINE_ENTRIES), slice(column, column + LINE_ENTRIES)
    out[columns, rows] = X[which[rows], columns].T


def _score_tile_in_numpy(natural, products, Z, i, out):
    some, d = slice(i, i + PANEL), len(Z)
    one, other, target = products.T
    out[some] = natural[:d] @ Z[:, some] + natural[target] @ (Z[one, some] * Z[other, some])


def _moments_in_numpy(Z, which, share, n, i, j, out):
    some = slice(j, j + LINE_ENTRIES)
    with np.errstate(all="ignore"):  # what completes the last tile may be anything
        weighted = share[:n, None] * Z[which[:n], some]
        out[i : i + MOMENTS, some] = Z[which[:n], i : i + MOMENTS].T @ weighted
        out[-1, some] = weighted.sum(axis=0)


turn_tile: Any = _turn_tile_in_numpy if jit_is_off else _turn_tile
"""turn_tile(X, which, first, column, out): X[which[first + r], column + j] → out[column + j, first + r].

r and j go from 0 to LINE_ENTRIES."""

score_tile: Any = _score_tile_in_numpy if jit_is_off else _score_tile
"""score_tile(natural, products, Z, i, out): ⟨natural, T(z)⟩ of PANEL columns of Z, from the i-th on, to out."""

moments: Any = _moments_in_numpy if jit_is_off else _moments
"""moments(Z, which, share, n, i, j, out): Σ share z_i z_j of n > 0 listed rows to a tile of out; Σ share z_j below."""


@inner(EXACT)
def read_block(X, first, sample_weight, weight, rows_last):
    """Write the rows of a block, as columns, and their weights."""
    absent = block_weights(sample_weight, first, weight)
    transpose(X, first, weight.shape[0], rows_last)
    if absent:
        clear_absent(rows_last, weight)


@inner(EXACT)
def turn(X, which, n, columns, out):
    """out[c, e] = X[which[e], c] for e < n and c < columns, both completed to whole tiles."""
    for e in range(0, n, LINE_ENTRIES):
        for c in range(0, columns, LINE_ENTRIES):
            turn_tile(X, which, e, c, out)


@inner(EXACT)
def bound_scores(projection, coefficients, slack, pairs, T, rows, Y, U, far):
    """Write upper bounds of scores to U; return whether their error, which goes to ``far``, is below 1 for every row.

    Parameters
    ----------
    projection, coefficients, slack : (m padded, d), (K padded, q), (2,)
        With y = projection z, a score is at most ⟨coefficients, (y, 1, y_i y_j)⟩. That, and the score itself, are
        right to within slack[0] |z|² + slack[1].
    pairs : (q − m − 1, 3) int64: y_i y_j and its place
    T, rows : z of the rows is in T[:d].
    Y, U, far : scratch for q and K numbers of each row, padded, and for one
    """
    d, q = projection.shape[1], coefficients.shape[1]
    m = q - pairs.shape[0] - 1
    Y[: projection.shape[0]] = 0.0
    add_product(projection, 0, T, d, False, Y[: projection.shape[0]])
    Y[m] = 1.0
    multiply(pairs, 0, pairs.shape[0], 0, 0, Y)
    U[:] = 0.0
    add_product(coefficients, 0, Y, q, False, U)
    for i in range(rows):
        far[i] = 0.0
    for j in range(d):
        for i in range(rows):
            far[i] += T[j, i] * T[j, i]
    worst = 0.0
    for i in range(rows):
        far[i] = slack[0] * far[i] + slack[1]
        worst = max(worst, far[i] if far[i] < 1.0 else 1.0)
    return worst < 1.0


@inner(EXACT)
def list_best(U, K, rows, top, label, lists, found):
    """List each row under the component with the highest bound, and set its bound to −∞."""
    for i in range(rows):
        top[i] = -np.inf
        label[i] = 0
    for k in range(K):
        found[k] = 0
        for i in range(rows):
            higher = U[k, i] > top[i]
            top[i] = U[k, i] if higher else top[i]
            label[i] = k if higher else label[i]
    for i in range(rows):
        k = label[i]
        lists[k, found[k]] = i
        found[k] += 1
        U[k, i] = -np.inf


@inner(EXACT)
def list_others(U, K, weight, temperature, cut, few, floor, lists, found):
    """List further components of each row whose bound is not below the floor by more than τ · cut; return if few are.

    All listed ones count, with the best one of each row: few are those of which ``few`` times as many are at most all.
    Rows of weight 0 have no others.
    """
    rows = weight.shape[0]
    total = rows
    for i in range(rows):
        floor[i] = floor[i] if weight[i] > 0.0 else np.inf
    for k in range(K):
        n, begun, below = found[k], found[k], temperature * cut[k]
        for i in range(rows):
            lists[k, n] = i
            n += 1 if U[k, i] >= floor[i] + below and U[k, i] > -np.inf else 0  # −∞ marks the best one
        found[k] = n
        total += n - begun
    return few * total <= K * rows


@inner(EXACT)
def own_rows(d):
    """Rows that d coordinates in a frame of its own take."""
    return round_up(d, TILE)


@inner(EXACT)
def memory_of_own(d, K, few, most):
    """Return room for what is made of the rows in frames of their own, and scratch to collect it."""
    # few of all rows, each list completed to whole panels twice, and one more for differences
    columns = most * (K // few + 2) + 2 * K * PANEL if most > 0 else 0
    room, space = np.empty(own_rows(d) * columns + LINE_ENTRIES), np.empty((2, own_rows(d) * most + LINE_ENTRIES))
    return room, space, np.empty((own_rows(d), own_rows(d)))


@inner(EXACT)
def kinds(frame):
    """Return whether a component is in the shared frame, and whether one has its own."""
    any_shared, any_own = False, False
    for k in range(frame.shape[0]):
        any_shared |= frame[k] < 0
        any_own |= frame[k] >= 0
    return any_shared, any_own


@inner(EXACT)
def score_few(X, Z, d, natural, products, frames, lists, begin, end, scratch, taken, held, S):
    """Write the scores of the rows from ``begin`` to ``end`` of each list to S; return how much of the room is taken.

    What is made of them in a frame of its own goes to the room, to where ``held`` says for each component.
    """
    (frame, own_shift, whitener), (memory, scores, room) = frames, scratch
    for k in range(end.shape[0]):
        first, n, f = begin[k], end[k] - begin[k], frame[k]
        width = round_up(n, PANEL)
        for e in range(first + n, first + width):
            lists[k, e] = lists[k, first]
        near = aligned(memory, Z.shape[1], width)
        held[k] = taken
        if f < 0:
            turn(Z, lists[k, first:], width, d, near)
            for i in range(0, width, PANEL):
                score_tile(natural[k], products, near[:d], i, scores)
        elif n > 0:
            turn(X, lists[k, first:], width, d, near)
            own = aligned(room[taken:], own_rows(d), width)
            taken += own.size
            whiten(near, own_shift[f], whitener[f], aligned(room[taken:], own_rows(d), width), own)
            score_own(natural[k], products, d, own, scores[:width])
        for e in range(n):
            S[k, lists[k, first + e]] = scores[e]
    return taken


@inner(EXACT)
def leave_out(S, factor, cut, lists, found):
    """Set responsibilities below e^cut to 0, so that no result depends on whether a component was listed."""
    for k in range(found.shape[0]):
        least = np.exp(cut[k])
        for e in range(found[k]):
            i = lists[k, e]
            S[k, i] = S[k, i] if S[k, i] * factor[i] >= least else 0.0


@inner(EXACT)
def collect_few(S, Z, d, products, frame, lists, found, which, share, second, sums):
    """Add Σ r T of the listed rows to the sums of the components in the shared frame."""
    last = second.shape[0] - 1
    for k in range(found.shape[0]):
        n = 0
        for e in range(found[k] if frame[k] < 0 else 0):
            i = lists[k, e]
            which[n], share[n] = i, S[k, i]
            n += 1 if S[k, i] > 0.0 else 0
        if n == 0:
            continue
        for i in range(0, d, MOMENTS):
            for j in range(i // LINE_ENTRIES * LINE_ENTRIES, d, LINE_ENTRIES):
                moments(Z, which, share, n, i, j, second)
        for j in range(d):
            sums[k, j] += second[last, j]
        for q in range(products.shape[0]):
            i, j = products[q, 0], products[q, 1]
            sums[k, products[q, 2]] += second[min(i, j), max(i, j)]


@inner(EXACT)
def collect_few_own(S, d, products, frame, lists, begin, end, share, room, held, space, second, sums):
    """Add Σ r T of the rows from ``begin`` to ``end`` of each list, from the room, for components in their own frames.

    See `score_few`.
    """
    for k in range(end.shape[0]):
        first, n = begin[k], end[k] - begin[k]
        if frame[k] < 0 or n == 0:
            continue
        width = round_up(n, PANEL)
        for e in range(width):
            share[e] = S[k, lists[k, first + e]] if e < n else 0.0
        collect_own(share[:width], products, d, aligned(room[held[k] :], own_rows(d), width), space, second, sums[k])


@entry(
    types.void, types.Tuple([array(2, element, layout="A") for element in (types.float64, types.float32, types.uint8)]),
    array(2, types.int64), array(1), array(1), array(2, types.int64), array(2, types.int64), array(2), array(3),
    array(3), array(2), array(1), array(1), types.float64, types.int64, types.int64, array(2), array(3), array(3),
    array(2), array(2, types.int64), array(1, types.int64, writable=True),
    array(2, writable=True), array(3, writable=True), array(1, writable=True),
)  # fmt: skip
def _em_few(
    X, items, shift, inverse_scale, products, frame, own_shift, whitener, natural, offset, level, sample_weight,
    temperature, block, few, cut, projection, coefficients, slack, pairs, reached, counts, sums, bounds,
):  # fmt: skip
    """One EM pass over ranges of rows until a block to which many components matter; see `_em_rows`.

    ``products`` are all of the d columns, each a statistic of its own. A responsibility of component k below
    e^cut[b, k] counts as 0. ``projection``, ``coefficients`` and ``slack`` have a leading axis for the mixtures; see
    `bound_scores`, and `list_others` for ``few``. To ``reached``, (m,), goes the row up to which each item was taken.

    A score that is left out is below another one of its row by more than τ · cut, whatever is rounded.
    """
    K, d, K_padded = offset.shape[1], shift.shape[0], natural.shape[1]
    q, projected = coefficients.shape[2], projection.shape[1]
    m = q - pairs.shape[0] - 1
    most, columns = round_up(block, PANEL), round_up(d, LINE_ENTRIES)
    own_most = most if own_shift.shape[0] > 0 else 0
    T_memory, Z_memory = np.empty(columns * most + LINE_ENTRIES), np.empty(columns * most + LINE_ENTRIES)
    near_memory, S_memory = np.empty(columns * most + LINE_ENTRIES), np.empty(K_padded * most + LINE_ENTRIES)
    Y_memory, U_memory = np.empty(max(q, projected) * most + LINE_ENTRIES), np.empty(K_padded * most + LINE_ENTRIES)
    rows_memory, X_memory = np.empty(columns * own_most + LINE_ENTRIES), np.empty(columns * own_most + LINE_ENTRIES)
    room, space, second_own = memory_of_own(d, K, few, own_most)
    scratch = near_memory, np.empty(most), room
    top_memory, factor_memory = np.empty(most), np.empty(most)
    weight_memory, label_memory = np.ones(most), np.zeros(most, np.int64)
    lists, every = np.empty((K, most + PANEL), np.int64), np.arange(max(columns, most))
    none, best, found = np.zeros(K, np.int64), np.empty(K, np.int64), np.empty(K, np.int64)
    held = np.empty((2, K), np.int64)
    which, share, second = np.empty(most, np.int64), np.empty(most), np.empty((columns + 1, columns))
    for item in range(items.shape[0]):
        start, stop, b, slot = items[item]
        reached[item], bound, tried = start, 0.0, False
        frames = frame[b], own_shift, whitener
        any_shared, any_own = kinds(frame[b])
        blocks = max((stop - start + block - 1) // block, 1)
        size = min(round_up(max((stop - start + blocks - 1) // blocks, 1), PANEL), block)  # alike
        while reached[item] < stop:
            first = reached[item]
            rows = min(size if tried else PANEL, stop - first)
            width = round_up(rows, PANEL)
            T, Z = aligned(T_memory, columns, width), aligned(Z_memory, width, columns)
            S, U = aligned(S_memory, K_padded, width), aligned(U_memory, K_padded, width)
            rows_last = aligned(rows_memory, columns, width) if any_own else T
            rows_first = aligned(X_memory, width, columns) if any_own else Z
            top, factor = top_memory[:rows], factor_memory[:rows]
            weight, label = weight_memory[:rows], label_memory[:rows]
            read_block(X, first, sample_weight, weight, rows_last[:d])
            scale(rows_last[:d], shift, inverse_scale, T)
            Y = aligned(Y_memory, max(q, projected), width)
            if not bound_scores(projection[b], coefficients[b], slack[b], pairs, T, rows, Y, U, factor):
                break
            list_best(U, K, rows, top, label, lists, best)
            if not tried:  # what the first rows promise: of a row at the mean a score is so much below its bound
                top -= 0.5 * (d - m)
                tried = list_others(U, K, weight, temperature, cut[b], few, top, lists, best)
                if tried:
                    continue
                break
            if any_shared:
                turn(T, every, columns, width, Z)
            if any_own:
                turn(rows_last, every, columns, width, rows_first)
            S[:] = -np.inf
            taken = score_few(rows_first, Z, d, natural[b], products, frames, lists, none, best, scratch, 0, held[0], S)
            for i in range(rows):
                top[i] = S[label[i], i] + offset[b, label[i]] - factor[i]
            found[:] = best
            if not list_others(U, K, weight, temperature, cut[b], few, top, lists, found):
                break
            score_few(rows_first, Z, d, natural[b], products, frames, lists, best, found, scratch, taken, held[1], S)
            bound += assign(S, offset[b], level[b], weight, temperature, True, False, top, factor, label)
            leave_out(S, factor, cut[b], lists, found)
            weigh(S, factor, weight, counts[slot])
            collect_few(S, Z, d, products, frame[b], lists, found, which, share, second, sums[slot])
            for part, begin, end in ((0, none, best), (1, best, found)):
                collect_few_own(
                    S, d, products, frame[b], lists, begin, end, share, room, held[part], space, second_own, sums[slot]
                )
            reached[item] += rows
        bounds[slot] += bound


def em_few(
    X, items, shift, inverse_scale, products, frame, own_shift, whitener, natural, offset, level, weight, temperature,
    screen, *outputs
):  # fmt: skip
    """Add up the first rows of each item, while few components matter to a block; return the items that are left."""
    own, every_left = np.all(frame >= 0, axis=1), []
    for kind in set(own.tolist()):  # each mixture in blocks of the size that it would have alone
        some = items[own[items[:, 2]] == kind]
        reached = np.empty(len(some), np.int64)
        block = max(PANEL, min(1024, (OWN_ENTRIES if kind else FEW_ENTRIES) // len(shift) // PANEL * PANEL))
        _em_few(
            rows_of(X), some, shift, inverse_scale, products, frame, own_shift, whitener, natural, offset, level,
            weight, temperature, block, FEW_SCORES_OWN if kind else FEW_SCORES, *screen, reached, *outputs,
        )  # fmt: skip
        left = reached < some[:, 1]
        some[left, 0] = reached[left]
        every_left.append(some[left])
    return np.concatenate(every_left)
