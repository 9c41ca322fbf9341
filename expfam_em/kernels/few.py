"""The pass over blocks of rows to which few components matter: scores and sums of those components alone.

Two layouts serve it. The columns of T are rows, as everywhere, and so are the scores of one component for the rows
that are listed for it. In Z a row is a row again, to be read by its number. A sum over rows adds them one after
another, so that it has the same bits on every machine. A score adds up its terms in the order of the dense pass.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import assign, block_weights, weigh
from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import LINE_ENTRIES, clear_absent, multiply, rows_of, scale, transpose
from expfam_em.kernels.matmul import PANEL, add_product, aligned, round_up
from expfam_em.kernels.vectors import DOUBLE, code_of, has_avx512, ir, jit_is_off, number

LINE = ir.VectorType(DOUBLE, LINE_ENTRIES)
MOMENTS = 8 if has_avx512 else 4  # rows of a tile of second moments: as many registers, or half as many pairs
FEW_SCORES = 6
"""Scores that have to be computed are few if there are this many times as many in all."""
FEW_ENTRIES = 32768  # of the columns of a block: 256 kilobytes, and twice more to turn them over and to bound scores


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
def list_others(U, K, weight, temperature, cut, floor, lists, found):
    """List further components of each row whose bound is not below the floor by more than τ · cut; return if few are.

    All listed ones count, with the best one of each row. Rows of weight 0 have no others.
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
    return FEW_SCORES * total <= K * rows


@inner(EXACT)
def score_few(Z, d, natural, products, lists, begin, end, memory, scores, S):
    """Write the scores of the rows from ``begin`` to ``end`` of each list to S."""
    for k in range(end.shape[0]):
        first, n = begin[k], end[k] - begin[k]
        width = round_up(n, PANEL)
        for e in range(first + n, first + width):
            lists[k, e] = lists[k, first]
        near = aligned(memory, Z.shape[1], width)
        turn(Z, lists[k, first:], width, d, near)
        for i in range(0, width, PANEL):
            score_tile(natural[k], products, near[:d], i, scores)
        for e in range(n):
            S[k, lists[k, first + e]] = scores[e]


@inner(EXACT)
def leave_out(S, factor, cut, lists, found):
    """Set responsibilities below e^cut to 0, so that no result depends on whether a component was listed."""
    for k in range(found.shape[0]):
        least = np.exp(cut[k])
        for e in range(found[k]):
            i = lists[k, e]
            S[k, i] = S[k, i] if S[k, i] * factor[i] >= least else 0.0


@inner(EXACT)
def collect_few(S, Z, d, products, lists, found, which, share, second, sums):
    """Add Σ r T of the listed rows to sums."""
    last = second.shape[0] - 1
    for k in range(found.shape[0]):
        n = 0
        for e in range(found[k]):
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


@entry(
    types.void, types.Tuple([array(2, element, layout="A") for element in (types.float64, types.float32, types.uint8)]),
    array(2, types.int64), array(1), array(1), array(2, types.int64), array(3), array(2), array(1), array(1),
    types.float64, types.int64, array(2), array(3), array(3), array(2), array(2, types.int64),
    array(1, types.int64, writable=True),
    array(2, writable=True), array(3, writable=True), array(1, writable=True),
)  # fmt: skip
def _em_few(
    X, items, shift, inverse_scale, products, natural, offset, level, sample_weight, temperature, block,
    cut, projection, coefficients, slack, pairs, reached, counts, sums, bounds,
):  # fmt: skip
    """One EM pass over ranges of rows until a block to which many components matter; see `_em_rows`.

    ``products`` are all of the d columns, each a statistic of its own. A responsibility of component k below
    e^cut[b, k] counts as 0. ``projection``, ``coefficients`` and ``slack`` have a leading axis for the mixtures; see
    `bound_scores`. To ``reached``, (m,), goes the row up to which each item was taken.

    A score that is left out is below another one of its row by more than τ · cut, whatever is rounded.
    """
    K, d, K_padded = offset.shape[1], shift.shape[0], natural.shape[1]
    q, projected = coefficients.shape[2], projection.shape[1]
    m = q - pairs.shape[0] - 1
    most, columns = round_up(block, PANEL), round_up(d, LINE_ENTRIES)
    T_memory, Z_memory = np.empty(columns * most + LINE_ENTRIES), np.empty(columns * most + LINE_ENTRIES)
    near_memory, S_memory = np.empty(columns * most + LINE_ENTRIES), np.empty(K_padded * most + LINE_ENTRIES)
    Y_memory, U_memory = np.empty(max(q, projected) * most + LINE_ENTRIES), np.empty(K_padded * most + LINE_ENTRIES)
    top_memory, factor_memory, scores = np.empty(most), np.empty(most), np.empty(most)
    weight_memory, label_memory = np.ones(most), np.zeros(most, np.int64)
    lists, every = np.empty((K, most + PANEL), np.int64), np.arange(max(columns, most))
    none, best, found = np.zeros(K, np.int64), np.empty(K, np.int64), np.empty(K, np.int64)
    which, share, second = np.empty(most, np.int64), np.empty(most), np.empty((columns + 1, columns))
    for item in range(items.shape[0]):
        start, stop, b, slot = items[item]
        reached[item], bound, tried = start, 0.0, False
        blocks = max((stop - start + block - 1) // block, 1)
        size = min(round_up(max((stop - start + blocks - 1) // blocks, 1), PANEL), block)  # alike
        while reached[item] < stop:
            first = reached[item]
            rows = min(size if tried else PANEL, stop - first)
            width = round_up(rows, PANEL)
            T, Z = aligned(T_memory, columns, width), aligned(Z_memory, width, columns)
            S, U = aligned(S_memory, K_padded, width), aligned(U_memory, K_padded, width)
            top, factor = top_memory[:rows], factor_memory[:rows]
            weight, label = weight_memory[:rows], label_memory[:rows]
            absent = block_weights(sample_weight, first, weight)
            transpose(X, first, rows, T[:d])
            if absent:
                clear_absent(T[:d], weight)
            scale(T[:d], shift, inverse_scale, T)
            Y = aligned(Y_memory, max(q, projected), width)
            if not bound_scores(projection[b], coefficients[b], slack[b], pairs, T, rows, Y, U, factor):
                break
            list_best(U, K, rows, top, label, lists, best)
            if not tried:  # what the first rows promise: of a row at the mean a score is so much below its bound
                for i in range(rows):
                    top[i] -= 0.5 * (d - m)
                tried = list_others(U, K, weight, temperature, cut[b], top, lists, best)
                if tried:
                    continue
                break
            turn(T, every, columns, width, Z)
            S[:] = -np.inf
            score_few(Z, d, natural[b], products, lists, none, best, near_memory, scores, S)
            for i in range(rows):
                top[i] = S[label[i], i] + offset[b, label[i]] - factor[i]
            for k in range(K):
                found[k] = best[k]
            if not list_others(U, K, weight, temperature, cut[b], top, lists, found):
                break
            score_few(Z, d, natural[b], products, lists, best, found, near_memory, scores, S)
            bound += assign(S, offset[b], level[b], weight, temperature, True, False, top, factor, label)
            leave_out(S, factor, cut[b], lists, found)
            weigh(S, factor, weight, counts[slot])
            collect_few(S, Z, d, products, lists, found, which, share, second, sums[slot])
            reached[item] += rows
        bounds[slot] += bound


def em_few(
    X, items, shift, inverse_scale, products, natural, offset, level, weight, temperature, screen, *outputs
):  # fmt: skip
    """Add up the first rows of each item, while few components matter to a block; return the items that are left."""
    reached = np.empty(len(items), np.int64)
    block = max(PANEL, min(1024, FEW_ENTRIES // len(shift) // PANEL * PANEL))
    _em_few(
        rows_of(X), items, shift, inverse_scale, products, natural, offset, level, weight, temperature, block,
        *screen, reached, *outputs,
    )  # fmt: skip
    left = reached < items[:, 1]
    items, reached = items[left], reached[left]
    items[:, 0] = reached
    return items
