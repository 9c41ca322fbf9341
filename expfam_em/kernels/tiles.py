"""Vector code for the nearest-centre search.

A panel is WIDTH rows, column by column, (d, WIDTH); a group is GROUP_CENTRES centres, column by column. The scores of a
panel and a group stay in vector registers, as do the two best of each row, so that nothing of size n × K is ever
written. That was 1.5 to 3 times as fast as a product of matrices in BLAS followed by a search for the maximum.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.vectors import DOUBLE, INT32, INT64, SINGLE, code_of, has_avx512, ir, jit_is_off, number

# 16 accumulators of 16 numbers fill the registers of AVX-512, 12 of 8 those of other machines
SINGLE_LANES, GROUP_CENTRES = (16, 8) if has_avx512 else (8, 6)
WIDTH = 32
SINGLES, WIDE_DOUBLES, INDICES = (ir.VectorType(element, SINGLE_LANES) for element in (SINGLE, DOUBLE, INT32))


@intrinsic
def _tile(typing, panels, row, centres, offsets, group, top, second, label):
    """Write the code of `tile`."""

    def generate(code, panels, row, centres, offsets, group, top, second, label):
        builder, first, cells = code.builder, code.times(group, GROUP_CENTRES), range(GROUP_CENTRES)
        panel, offset = code.at(panels.first, code.times(row, WIDTH)), code.at(offsets.first, first)
        d = centres.shape[1]
        centre = code.at(centres.first, code.times(first, d))
        start = [code.splat(code.value(offset, c)) for c in cells]

        def rank(places):
            """Score the rows at some places of the panel, and update the two best."""

            def factors(j):
                z = code.at(panel, code.times(j, WIDTH))
                spread = [code.splat(code.value(centre, code.times(j, GROUP_CENTRES), c)) for c in cells]
                return spread, {at: code.load(z, at) for at in places}

            scores = code.sum_products(d, 1, {(c, at): start[c] for c in cells for at in places}, factors)
            for at in places:
                best, next_best = code.load(top.first, at), code.load(second.first, at)
                index = code.load(label.first, at, INDICES)
                for c in cells:
                    score = scores[c, at]
                    wins = builder.fcmp_ordered(">", score, best)
                    loser = builder.select(wins, best, score)
                    next_best = builder.select(builder.fcmp_ordered(">", loser, next_best), loser, next_best)
                    best = builder.select(wins, score, best)
                    k = builder.trunc(builder.add(first, number(c)), INT32)
                    index = builder.select(wins, code.splat(k), index)
                for vector, out in ((best, top), (next_best, second), (index, label)):
                    code.store(vector, out.first, at)

        for at in range(0, WIDTH, 2 * SINGLE_LANES):
            rank((at, at + SINGLE_LANES))

    return code_of(generate, SINGLES, panels, types.intp, centres, offsets, types.intp, top, second, label)


@intrinsic
def _turn_lanes(typing, X, rows, first, column, shift, inverse_scale, panel, at):
    """Write the code of `turn_lanes`."""

    def generate(code, X, rows, first, column, shift, inverse_scale, panel, at):
        builder, element = code.builder, X.first.type.pointee
        bytes_ = builder.bitcast(X.first, ir.IntType(8).as_pointer())
        a, scale = (code.load(vector.first, column, WIDE_DOUBLES) for vector in (shift, inverse_scale))

        def framed(i):
            """Row i in the frame, computed in float64."""
            row = code.times(builder.sext(code.value(rows.first, first, i), INT64), X.row_bytes)
            x = builder.bitcast(code.at(bytes_, row), element.as_pointer())
            x = code.load(x, column, ir.VectorType(element, SINGLE_LANES))
            x = x if element == DOUBLE else builder.fpext(x, WIDE_DOUBLES)
            return builder.fptrunc(builder.fmul(builder.fsub(x, a), scale), SINGLES)

        for i, vector in enumerate(code.transposed([framed(i) for i in range(SINGLE_LANES)])):
            place = code.times(builder.add(column, number(i)), WIDTH)
            code.store(vector, panel.first, builder.add(place, at))

    return code_of(generate, SINGLES, X, rows, types.intp, types.intp, shift, inverse_scale, panel, types.intp)


def _tile_in_numpy(panels, row, centres, offsets, group, top, second, label):
    scores = offsets[group][:, None] + centres[group].T @ panels[row : row + centres.shape[1]]
    for c, score in enumerate(scores):
        wins = score > top
        np.maximum(second, np.where(wins, top, score), out=second)
        top[wins], label[wins] = score[wins], group * GROUP_CENTRES + c


def _turn_lanes_in_numpy(X, rows, first, column, shift, inverse_scale, panel, at):
    some = slice(column, column + SINGLE_LANES)
    z = (X[rows[first : first + SINGLE_LANES], some].astype(np.float64) - shift[some]) * inverse_scale[some]
    panel[some, at : at + SINGLE_LANES] = z.T


tile: Any = _tile_in_numpy if jit_is_off else _tile
"""tile(panels, row, centres, offsets, group, top, second, label): score a panel and a group, update the two best."""

turn_lanes: Any = _turn_lanes_in_numpy if jit_is_off else _turn_lanes
"""turn_lanes(X, rows, first, column, shift, inverse_scale, panel, at): some rows and columns of X, to the panel.

There are SINGLE_LANES of both. The columns of X are next to each other; they are put into the frame and transposed."""
