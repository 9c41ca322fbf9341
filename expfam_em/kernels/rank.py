"""The highest score of each row and its component, where nobody needs the other scores: they stay in registers."""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import L2_ENTRIES, block_rows
from expfam_em.kernels.jit import array, entry
from expfam_em.kernels.load import LINE_ENTRIES, multiply, scale, transpose
from expfam_em.kernels.matmul import COLUMNS, DOUBLE_LANES, DOUBLES, PANEL, TILE, VECTORS, aligned, round_up
from expfam_em.kernels.sums import weighted_sum
from expfam_em.kernels.vectors import INT64, code_of, ir, jit_is_off, number

NUMBERS = ir.VectorType(INT64, DOUBLE_LANES)


@intrinsic
def _rank_tile(typing, A, offset, k, T, n, i, top, label):
    """Write the code of `rank_tile`."""

    def generate(code, A, offset, k, T, n, i, top, label):
        builder, places = code.builder, range(0, COLUMNS, DOUBLE_LANES)
        row = [builder.add(k, number(c)) for c in range(TILE)]
        a = [code.at(A.first, code.times(row[c], A.width)) for c in range(TILE)]

        def factors(q):
            t = code.at(T.first, code.times(q, T.width), i)
            return [code.splat(code.value(pointer, q)) for pointer in a], [code.load(t, at) for at in places]

        begun = {(c, v): code.zero() for c in range(TILE) for v in range(VECTORS)}
        scores = code.sum_products(n, 1, begun, factors)
        is_first = builder.icmp_signed("==", k, number(0))
        for v, at in enumerate(places):
            best, index = (
                code.load(code.at(out.first, i), at, kind) for out, kind in ((top, DOUBLES), (label, NUMBERS))
            )
            for c in range(TILE):
                score = builder.fadd(scores[c, v], code.splat(code.value(offset.first, row[c])))
                wins = builder.fcmp_ordered(">", score, best)
                if c == 0:
                    wins = builder.select(is_first, ir.Constant(wins.type, [1] * DOUBLE_LANES), wins)
                best = builder.select(wins, score, best)
                index = builder.select(wins, code.splat(row[c]), index)
            code.store(best, code.at(top.first, i), at)
            code.store(index, code.at(label.first, i), at)

    return code_of(generate, DOUBLES, A, offset, types.intp, T, types.intp, types.intp, top, label)


def _rank_tile_in_numpy(A, offset, k, T, n, i, top, label):
    some = slice(i, i + COLUMNS)
    scores = A[k : k + TILE, :n] @ T[:n, some] + offset[k : k + TILE, None]
    for c, score in enumerate(scores, k):
        wins = (score > top[some]) | (c == 0)
        top[some][wins], label[some][wins] = score[wins], c


rank_tile: Any = _rank_tile_in_numpy if jit_is_off else _rank_tile
"""rank_tile(A, offset, k, T, n, i, top, label): compare the scores A T[:n] + offset of some components and rows.

A component must score more than those before it, so that the lower index wins a tie. The first one is taken as it is,
even if its score is no number.
"""


@entry(
    types.void, types.Tuple([array(2, element, layout="A") for element in (types.float64, types.float32, types.uint8)]),
    array(2, types.int64), array(1), array(1), array(2, types.int64), array(3), array(2), array(1), types.int64,
    array(1, writable=True), array(1, writable=True), array(1, types.int64, writable=True),
)  # fmt: skip
def rank_rows(
    X, items, shift, inverse_scale, products, natural, offset, level, block, bounds, evidence, labels
):  # fmt: skip
    """Find the highest score of rows, and its component, the lower index of two; see `em._em_rows` at temperature 0.

    Parameters
    ----------
    X, items, shift, inverse_scale, products, natural, offset, level
        See `em._em_rows`; there are no frames of single components.
    block : rows handled at a time
    bounds : (slots,) or empty, the highest scores are added to
    evidence, labels : (n,) or empty, outputs by row
    """
    K, p, d = offset.shape[1], natural.shape[2], shift.shape[0]
    padded = round_up(block, PANEL)
    T_memory, top_memory = np.empty(p * padded + LINE_ENTRIES), np.empty(padded)
    label_memory, present = np.empty(padded, np.int64), np.ones(padded)
    c = np.full(natural.shape[1], -np.inf)  # for the components that complete the last tile
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
        eta, bound = natural[mixture], 0.0
        c[:K] = offset[mixture]
        for first in range(start, stop, block):
            rows = min(block, stop - first)
            width = round_up(rows, PANEL)
            T, top = aligned(T_memory, p, width), top_memory[:rows]
            transpose(X, first, rows, T[:d])
            scale(T[:d], shift, inverse_scale, T)
            multiply(products, 0, products.shape[0], d, d, T)
            for i in range(0, width, COLUMNS):
                for k in range(0, eta.shape[0], TILE):
                    rank_tile(eta, c, k, T, p, i, top_memory, label_memory)
            for i in range(rows):
                top[i] += level[mixture]
            if bounds.size > 0:
                bound += weighted_sum(present[:rows], top)
            if evidence.size > 0:
                evidence[first : first + rows] = top
            if labels.size > 0:
                labels[first : first + rows] = label_memory[:rows]
        if bounds.size > 0:
            bounds[slot] += bound


RANK_ENTRIES, FEWEST_RANKED, MOST_RANKED = 1024, 96, 192
"""Statistics of a block, a quarter of 32 kilobytes, that stay in L1 beside the rest, and the rows of such a block."""


def rank_block(n_statistics, n_components):
    """Rows per block of `rank_rows`; 0 where the statistics of not even a panel fit in L2."""
    small, fitting = (size // max(n_statistics, 1) // PANEL * PANEL for size in (RANK_ENTRIES, L2_ENTRIES))
    return min(small, MOST_RANKED) if small >= FEWEST_RANKED else min(block_rows(n_statistics, n_components), fitting)
