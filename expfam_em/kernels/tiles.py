"""Vector code for the nearest-centre search, written in LLVM's own language because LLVM does not find it itself.

A panel is WIDTH rows, column by column, (d, WIDTH); a group is GROUP centres, column by column, (d, GROUP). The scores
of a panel and a group stay in vector registers, as do the two best of each row, so that nothing of size n × K is ever
written. That was 1.5 to 3 times as fast as a product of matrices in BLAS followed by a search for the maximum.
"""

from typing import Any

import numpy as np
from numba import config, types
from numba.core import cgutils, codegen
from numba.extending import intrinsic

ir = cgutils.ir
# 16 accumulators of 16 numbers fill the registers of AVX-512, 12 of 8 those of other machines
LANES, GROUP = (16, 8) if codegen.ll.get_host_cpu_features().get("avx512f") else (8, 6)
WIDTH = 2 * LANES
_F, _I, _N = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_VECTOR, _INDEX = ir.VectorType(_F, LANES), ir.VectorType(_I, LANES)


def _splat(builder, value, kind):
    """A vector with the same value in each lane."""
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INDEX, [0] * LANES))


def _vector_at(builder, pointer, index, kind):
    return builder.bitcast(builder.gep(pointer, [index]), kind.as_pointer())


def _load(builder, pointer, index, kind=_VECTOR):
    return builder.load(_vector_at(builder, pointer, index, kind), align=4)


def _store(builder, vector, pointer, index):
    builder.store(vector, _vector_at(builder, pointer, index, vector.type), align=4)


def _scores(builder, panel, centres, offset, d):
    """The scores of two vectors of rows and a group of centres, as a loop over columns."""
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )
    cells = [(c, r) for c in range(GROUP) for r in range(2)]
    at = [ir.Constant(_N, i) for i in range(WIDTH)]
    start = [_splat(builder, builder.load(builder.gep(offset, [at[c]])), _VECTOR) for c in range(GROUP)]
    before, loop, after = builder.block, builder.append_basic_block("column"), builder.append_basic_block("ranked")
    builder.branch(loop)
    builder.position_at_end(loop)
    j, total = builder.phi(_N), {cell: builder.phi(_VECTOR) for cell in cells}
    row, column = builder.mul(j, ir.Constant(_N, WIDTH)), builder.mul(j, ir.Constant(_N, GROUP))
    z = [_load(builder, panel, builder.add(row, at[r * LANES])) for r in range(2)]
    numbers = [builder.load(builder.gep(centres, [builder.add(column, at[c])])) for c in range(GROUP)]
    spread = [_splat(builder, number, _VECTOR) for number in numbers]
    new = {(c, r): builder.call(fma, [spread[c], z[r], total[c, r]]) for c, r in cells}
    following = builder.add(j, ir.Constant(_N, 1))
    j.add_incoming(ir.Constant(_N, 0), before)
    j.add_incoming(following, loop)
    for c, r in cells:
        total[c, r].add_incoming(start[c], before)
        total[c, r].add_incoming(new[c, r], loop)
    builder.cbranch(builder.icmp_signed("<", following, d), loop, after)
    builder.position_at_end(after)
    return new


@intrinsic
def _tile(typing, panels, row, centres, offsets, group, top, second, label):
    """The code of `tile`."""
    signature = types.void(panels, types.intp, centres, offsets, types.intp, top, second, label)

    def generate(context, builder, signature, arguments):
        def data(i):
            return context.make_array(signature.args[i])(context, builder, arguments[i]).data

        def number(i):
            return ir.Constant(_N, i)

        row, group = arguments[1], arguments[4]
        d = builder.extract_value(context.make_array(signature.args[2])(context, builder, arguments[2]).shape, 1)
        panel = builder.gep(data(0), [builder.mul(row, number(WIDTH))])
        offset = builder.gep(data(3), [builder.mul(group, number(GROUP))])
        centres = builder.gep(data(2), [builder.mul(builder.mul(group, number(GROUP)), d)])
        scores = _scores(builder, panel, centres, offset, d)
        first = builder.trunc(builder.mul(group, number(GROUP)), _I)
        for r in range(2):
            at = number(r * LANES)
            best, next_best = _load(builder, data(5), at), _load(builder, data(6), at)
            index = _load(builder, data(7), at, _INDEX)
            for c in range(GROUP):
                score = scores[c, r]
                wins = builder.fcmp_ordered(">", score, best)
                loser = builder.select(wins, best, score)
                next_best = builder.select(builder.fcmp_ordered(">", loser, next_best), loser, next_best)
                best = builder.select(wins, score, best)
                k = _splat(builder, builder.add(first, ir.Constant(_I, c)), _INDEX)
                index = builder.select(wins, k, index)
            _store(builder, best, data(5), at)
            _store(builder, next_best, data(6), at)
            _store(builder, index, data(7), at)
        return context.get_dummy_value()

    return signature, generate


def _framed(builder, x, shift, inverse_scale, column):
    """float32((x − shift) · inverse_scale) for a vector of columns, computed in float64."""
    double = ir.VectorType(ir.DoubleType(), LANES)
    a, scale = (_load(builder, pointer, column, double) for pointer in (shift, inverse_scale))
    x = x if x.type == double else builder.fpext(x, double)
    return builder.fptrunc(builder.fmul(builder.fsub(x, a), scale), _VECTOR)


@intrinsic
def _turn_lanes(typing, X, rows, first, column, shift, inverse_scale, panel, at):
    """The code of `turn`."""
    signature = types.void(X, rows, types.intp, types.intp, shift, inverse_scale, panel, types.intp)

    def generate(context, builder, signature, arguments):
        def array(i):
            return context.make_array(signature.args[i])(context, builder, arguments[i])

        first, column, at = arguments[2], arguments[3], arguments[7]
        X, element = array(0), ir.DoubleType() if signature.args[0].dtype == types.float64 else _F
        rows, shift, scale, panel = (array(i).data for i in (1, 4, 5, 6))
        bytes_, row_length = builder.bitcast(X.data, ir.IntType(8).as_pointer()), builder.extract_value(X.strides, 0)
        v = []
        for i in range(LANES):
            row = builder.sext(builder.load(builder.gep(rows, [builder.add(first, ir.Constant(_N, i))])), _N)
            x = builder.bitcast(builder.gep(bytes_, [builder.mul(row, row_length)]), element.as_pointer())
            x = _load(builder, x, column, ir.VectorType(element, LANES))
            v.append(_framed(builder, x, shift, scale, column))
        half = LANES // 2
        while half:  # swap the off-diagonal blocks, then within blocks of half the size
            low = [i if not i & half else LANES + i - half for i in range(LANES)]
            high = [i + half if not i & half else LANES + i for i in range(LANES)]
            for i in range(LANES):
                if not i & half:
                    a, b = v[i], v[i + half]
                    v[i] = builder.shuffle_vector(a, b, ir.Constant(_INDEX, low))
                    v[i + half] = builder.shuffle_vector(a, b, ir.Constant(_INDEX, high))
            half //= 2
        for i in range(LANES):
            row = builder.mul(builder.add(column, ir.Constant(_N, i)), ir.Constant(_N, WIDTH))
            _store(builder, v[i], panel, builder.add(row, at))
        return context.get_dummy_value()

    return signature, generate


def _tile_in_numpy(panels, row, centres, offsets, group, top, second, label):
    scores = offsets[group][:, None] + centres[group].T @ panels[row : row + centres.shape[1]]
    for c, score in enumerate(scores):
        wins = score > top
        np.maximum(second, np.where(wins, top, score), out=second)
        top[wins], label[wins] = score[wins], group * GROUP + c


def _turn_lanes_in_numpy(X, rows, first, column, shift, inverse_scale, panel, at):
    some = slice(column, column + LANES)
    z = (X[rows[first : first + LANES], some].astype(np.float64) - shift[some]) * inverse_scale[some]
    panel[some, at : at + LANES] = z.T


jit_is_off = bool(getattr(config, "DISABLE_JIT", False))

tile: Any = _tile_in_numpy if jit_is_off else _tile
"""tile(panels, row, centres, offsets, group, top, second, label): score a panel and a group, update the two best."""

turn_lanes: Any = _turn_lanes_in_numpy if jit_is_off else _turn_lanes
"""turn_lanes(X, rows, first, column, shift, inverse_scale, panel, at): LANES rows and columns of X, to the panel.

The columns of X are next to each other; they are put into the frame and transposed."""
