"""Products of small matrices that are in cache, written in LLVM's own language: BLAS copies its operands first.

One operand has a row for each component and the other a column for each row of a block, which is made and used in
cache. A tile of the result stays in vector registers until it is finished. For 4 to 64 components that takes a half to
a quarter of the time of a BLAS call, which is made for large matrices.

Matrices are padded: components to a multiple of TILE, rows of a block to a multiple of PANEL.
"""

from typing import Any

from numba import types
from numba.core import cgutils, codegen
from numba.extending import intrinsic

from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.tiles import jit_is_off

ir = cgutils.ir
TILE = 4
# 16 accumulators in the 32 registers of AVX-512; on other machines 8 in 16
LANES, VECTORS = (8, 4) if codegen.ll.get_host_cpu_features().get("avx512f") else (4, 2)
PANEL = LANES * VECTORS
_F, _I, _N = ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_VECTOR = ir.VectorType(_F, LANES)
_ZERO = ir.Constant(_VECTOR, [0.0] * LANES)


@inner(EXACT)
def round_up(number, multiple):
    """The least multiple that is not below a number."""
    return -(-number // multiple) * multiple


def _at(builder, pointer, *terms):
    """The pointer moved by a sum of numbers."""
    for term in terms:
        pointer = builder.gep(pointer, [ir.Constant(_N, term) if isinstance(term, int) else term])
    return pointer


def _load(builder, pointer, offset):
    return builder.load(builder.bitcast(_at(builder, pointer, offset), _VECTOR.as_pointer()), align=8)


def _store(builder, vector, pointer, offset):
    builder.store(vector, builder.bitcast(_at(builder, pointer, offset), _VECTOR.as_pointer()), align=8)


def _splat(builder, value):
    """A vector with the same value in each lane."""
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_I, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_I, LANES), [0] * LANES))


def _matrices(context, builder, signature, arguments, *which):
    """Pointer to the first number, and length of a row, of matrices among the arguments."""
    for i in which:
        matrix = context.make_array(signature.args[i])(context, builder, arguments[i])
        yield matrix.data, builder.extract_value(matrix.shape, 1)


def _accumulated(builder, start, stop, step, begun, factors):
    """Σ a_c b_v over a loop, for all pairs of vectors; ``factors(i)`` returns the a_c and the b_v of one turn."""
    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f64"
    )
    before, loop, after = builder.block, builder.append_basic_block("turn"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    i, total = builder.phi(_N), {cell: builder.phi(_VECTOR) for cell in begun}
    a, b = factors(i)
    new = {(c, v): builder.call(fma, [a[c], b[v], total[c, v]]) for c, v in begun}
    following = builder.add(i, ir.Constant(_N, step))
    i.add_incoming(start, before)
    i.add_incoming(following, loop)
    for cell, first in begun.items():
        total[cell].add_incoming(first, before)
        total[cell].add_incoming(new[cell], loop)
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)
    builder.position_at_end(after)
    return new


@intrinsic
def _times_tile(typing, A, k, column, T, n, i, S):
    """S[k:k+TILE, i:i+PANEL] += A[k:k+TILE, column:column+n] T[:n, i:i+PANEL]."""
    signature = types.void(A, types.intp, types.intp, T, types.intp, types.intp, S)

    def generate(context, builder, signature, arguments):
        _, k, column, _, n, i, _ = arguments
        (A, wide), (T, width), (S, long) = _matrices(context, builder, signature, arguments, 0, 3, 6)
        row = [builder.add(k, ir.Constant(_N, c)) for c in range(TILE)]
        a = [_at(builder, A, builder.mul(row[c], wide), column) for c in range(TILE)]
        out = [_at(builder, S, builder.mul(row[c], long), i) for c in range(TILE)]

        def factors(q):
            t = _at(builder, T, builder.mul(q, width), i)
            spread = [_splat(builder, builder.load(_at(builder, a[c], q))) for c in range(TILE)]
            return spread, [_load(builder, t, v * LANES) for v in range(VECTORS)]

        begun = {(c, v): _load(builder, out[c], v * LANES) for c in range(TILE) for v in range(VECTORS)}
        for (c, v), value in _accumulated(builder, ir.Constant(_N, 0), n, 1, begun, factors).items():
            _store(builder, value, out[c], v * LANES)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _times_transposed_tile(typing, R, k, T, q, rows, out, column):
    """out[k:k+TILE, column+q:column+q+TILE] = R[k:k+TILE, :rows] T[q:q+TILE, :rows]ᵀ."""
    signature = types.void(R, types.intp, T, types.intp, types.intp, out, types.intp)

    def generate(context, builder, signature, arguments):
        _, k, _, q, rows, _, column = arguments
        (R, long), (T, width), (out, wide) = _matrices(context, builder, signature, arguments, 0, 2, 5)
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_F, [_F, _VECTOR]), f"llvm.vector.reduce.fadd.v{LANES}f64"
        )
        row = [builder.add(k, ir.Constant(_N, c)) for c in range(TILE)]
        r = [_at(builder, R, builder.mul(row[c], long)) for c in range(TILE)]
        t = [_at(builder, T, builder.mul(builder.add(q, ir.Constant(_N, j)), width)) for j in range(TILE)]

        def factors(i):
            return [_load(builder, pointer, i) for pointer in r], [_load(builder, pointer, i) for pointer in t]

        begun = {(c, j): _ZERO for c in range(TILE) for j in range(TILE)}
        for (c, j), value in _accumulated(builder, ir.Constant(_N, 0), rows, LANES, begun, factors).items():
            total = builder.call(add, [ir.Constant(_F, 0.0), value], fastmath=("reassoc",))
            builder.store(total, _at(builder, out, builder.mul(row[c], wide), column, q, j))
        return context.get_dummy_value()

    return signature, generate


def _times_tile_in_numpy(A, k, column, T, n, i, S):
    S[k : k + TILE, i : i + PANEL] += A[k : k + TILE, column : column + n] @ T[:n, i : i + PANEL]


def _times_transposed_tile_in_numpy(R, k, T, q, rows, out, column):
    at = slice(column + q, column + q + TILE)
    out[k : k + TILE, at] = R[k : k + TILE, :rows] @ T[q : q + TILE, :rows].T


times_tile: Any = _times_tile_in_numpy if jit_is_off else _times_tile
times_transposed_tile: Any = _times_transposed_tile_in_numpy if jit_is_off else _times_transposed_tile


@inner(EXACT)
def add_product(A, column, T, n, lower, S):
    """S += A[:, column : column + n] T[:n]; of a lower triangular A only what may differ from 0 is read."""
    for k in range(0, A.shape[0], TILE):
        last = min(n, k + TILE) if lower else n
        for i in range(0, S.shape[1], PANEL):
            times_tile(A, k, column, T, last, i, S)


@inner(EXACT)
def product_transposed(R, T, n, upper, out, column):
    """out[:, column : column + n] = R T[:n]ᵀ, or of a square matrix only what is not left of the diagonal's tiles.

    T has rows, and ``out`` columns, to complete the last tile.
    """
    for k in range(0, R.shape[0], TILE):
        for q in range(k if upper else 0, n, TILE):
            times_transposed_tile(R, k, T, q, R.shape[1], out, column)


@inner(EXACT)
def aligned(memory, rows, columns):
    """A matrix in memory that begins where a cache line does; as long as the memory has 8 numbers more."""
    start = (-memory.ctypes.data // 8) % 8
    return memory[start : start + rows * columns].reshape(rows, columns)
