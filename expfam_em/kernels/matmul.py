"""Products of small matrices that are in cache, written in LLVM's own language: BLAS copies its operands first.

One operand has a row for each component and the other a column for each row of a block, which is made and used in
cache. A tile of the result stays in vector registers until it is finished. For 4 to 64 components that takes a half to
a quarter of the time of a BLAS call, which is made for large matrices.

Matrices are padded: components to a multiple of TILE, rows of a block to a multiple of PANEL. A sum over rows adds
LANES of them side by side, in one vector register or in several, so that it has the same bits on every machine.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.vectors import DOUBLE, LANES, code_of, has_avx512, ir, jit_is_off, number

TILE, PANEL = 4, 32
# 16 accumulators in the 32 registers of AVX-512; on other machines 8 in 16, and 12 of sums over rows
DOUBLE_LANES, VECTORS, TILE_SUMS = (8, 4, 4) if has_avx512 else (4, 2, 3)
COLUMNS = DOUBLE_LANES * VECTORS
DOUBLES = ir.VectorType(DOUBLE, DOUBLE_LANES)


@inner(EXACT)
def round_up(number, multiple):
    """The least multiple that is not below a number."""
    return -(-number // multiple) * multiple


@intrinsic
def _times_tile(typing, A, k, column, T, n, i, S):
    """Write the code of `times_tile`."""

    def generate(code, A, k, column, T, n, i, S):
        row = [code.builder.add(k, number(c)) for c in range(TILE)]
        a = [code.at(A.first, code.times(row[c], A.width), column) for c in range(TILE)]
        out = [code.at(S.first, code.times(row[c], S.width), i) for c in range(TILE)]

        def vectors(pointer):
            return [code.load(pointer, v * DOUBLE_LANES) for v in range(VECTORS)]

        def factors(q):
            spread = [code.splat(code.value(pointer, q)) for pointer in a]
            return spread, vectors(code.at(T.first, code.times(q, T.width), i))

        begun = {(c, v): vector for c, pointer in enumerate(out) for v, vector in enumerate(vectors(pointer))}
        for (c, v), value in code.sum_products(n, 1, begun, factors).items():
            code.store(value, out[c], v * DOUBLE_LANES)

    return code_of(generate, DOUBLES, A, types.intp, types.intp, T, types.intp, types.intp, S)


@intrinsic
def _times_transposed_tile(typing, R, k, T, q, rows, out, column):
    """Write the code of `times_transposed_tile`."""

    def generate(code, R, k, T, q, rows, out, column):
        row, other = ([code.builder.add(at, number(c)) for c in range(n)] for at, n in ((k, TILE), (q, TILE_SUMS)))
        r = [code.at(R.first, code.times(row[c], R.width)) for c in range(TILE)]
        t = [code.at(T.first, code.times(other[j], T.width)) for j in range(TILE_SUMS)]
        begun = {(c, j): code.zero() for c in range(TILE) for j in range(TILE_SUMS)}

        def part(lane):
            """Some of the lanes of all sums."""

            def factors(i):
                return [[code.load(code.at(pointer, i), lane) for pointer in pointers] for pointers in (r, t)]

            return code.sum_products(rows, LANES, begun, factors)

        parts = [part(lane) for lane in range(0, LANES, DOUBLE_LANES)]
        for c, j in begun:
            place = code.at(out.first, code.times(row[c], out.width), column, q, j)
            code.builder.store(code.fold([lanes[c, j] for lanes in parts]), place)

    return code_of(generate, DOUBLES, R, types.intp, T, types.intp, types.intp, out, types.intp)


def _times_tile_in_numpy(A, k, column, T, n, i, S):
    S[k : k + TILE, i : i + COLUMNS] += A[k : k + TILE, column : column + n] @ T[:n, i : i + COLUMNS]


def _times_transposed_tile_in_numpy(R, k, T, q, rows, out, column):
    at = slice(column + q, column + q + TILE_SUMS)
    out[k : k + TILE, at] = R[k : k + TILE, :rows] @ T[q : q + TILE_SUMS, :rows].T


times_tile: Any = _times_tile_in_numpy if jit_is_off else _times_tile
"""times_tile(A, k, column, T, n, i, S): add A[·, column : column + n] T[:n, ·] to the tile of S at (k, i)."""

times_transposed_tile: Any = _times_transposed_tile_in_numpy if jit_is_off else _times_transposed_tile
"""times_transposed_tile(R, k, T, q, rows, out, column): R[·, :rows] T[·, :rows]ᵀ, to the tile at (k, column + q)."""


@inner(EXACT)
def add_product(A, column, T, n, lower, S):
    """S += A[:, column : column + n] T[:n]; of a lower triangular A only what may differ from 0 is read."""
    for k in range(0, A.shape[0], TILE):
        last = min(n, k + TILE) if lower else n
        for i in range(0, S.shape[1], COLUMNS):
            times_tile(A, k, column, T, last, i, S)


@inner(EXACT)
def product_transposed(R, T, n, upper, out, column):
    """out[:, column : column + n] = R T[:n]ᵀ, or of a square matrix only what is not left of the diagonal's tiles.

    T has rows, and ``out`` columns, to complete the last tile.
    """
    last = round_up(n, TILE) - TILE_SUMS
    for k in range(0, R.shape[0], TILE):
        for q in range(k if upper else 0, n, TILE_SUMS):
            times_transposed_tile(R, k, T, min(q, last), R.shape[1], out, column)


@inner(EXACT)
def aligned(memory, rows, columns):
    """A matrix in memory that begins where a cache line does; as long as the memory has 8 numbers more."""
    start = (-memory.ctypes.data // 8) % 8
    return memory[start : start + rows * columns].reshape(rows, columns)
