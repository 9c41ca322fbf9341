"""The rows of a block and their statistics, with rows along the last axis.

X comes as three arrays, of float64, float32 and uint8; all but one are empty, so one compilation serves all.
A block is padded to a multiple of PANEL rows by copies of its last row, which are as finite as that is.
"""

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.vectors import DOUBLE, INT32, SINGLE, code_of, ir, jit_is_off

LINE_ENTRIES = 8  # numbers in a cache line
ONE_LINE, ORDER = (ir.VectorType(element, LINE_ENTRIES) for element in (DOUBLE, INT32))
NO_ROWS = tuple(np.empty((0, 0), dtype) for dtype in (np.float64, np.float32, np.uint8))


def rows_of(X):
    """Return the three arrays as which a kernel takes rows X of float64, float32, uint8 or bool."""
    X = X.view(np.uint8) if X.dtype == np.bool_ else X
    return tuple(X if X.dtype == nothing.dtype else nothing for nothing in NO_ROWS)


def _turning(d):
    """Return what turns over LINE_ENTRIES rows of d columns, if they lie one after another: d vectors of numbers."""

    def pick(code, vectors, j):
        """Return column j: what comes of a vector is put beside what has come of those before."""
        place = range(j, j + d * LINE_ENTRIES, d)
        found, lanes = vectors[0], [n % LINE_ENTRIES for n in place]
        for s, vector in enumerate(vectors):
            mask = [
                LINE_ENTRIES + n % LINE_ENTRIES if n // LINE_ENTRIES == s else lane
                for n, lane in zip(place, lanes, strict=True)
            ]
            found = code.builder.shuffle_vector(found, vector, ir.Constant(ORDER, mask))
            lanes = list(range(LINE_ENTRIES))
        return found

    @intrinsic
    def turn(typing, X, first, out, i):
        def generate(code, X, first, out, i):
            element = X.first.type.pointee
            rows = code.at(X.first, code.times(first, d))
            vectors = [code.load(rows, s * LINE_ENTRIES, ir.VectorType(element, LINE_ENTRIES)) for s in range(d)]
            for j in range(d):
                found = pick(code, vectors, j)
                if element != DOUBLE:
                    found = (code.builder.fpext if element == SINGLE else code.builder.uitofp)(found, ONE_LINE)
                code.store(found, code.at(out.first, code.times(out.width, j)), i)

        return code_of(generate, ONE_LINE, X, types.intp, out, types.intp)

    return turn


def _turn_in_numpy(X, first, out, i):
    out[:, i : i + LINE_ENTRIES] = X[first : first + LINE_ENTRIES].T


turn_1, turn_2, turn_3, turn_4 = (_turn_in_numpy if jit_is_off else _turning(d) for d in range(1, 5))
"""turn_2(X, first, out, i): out[:, i : i + LINE_ENTRIES] = X[first : first + LINE_ENTRIES].T for two columns.

The rows lie one after another. Column by column it took four times as long.
"""


@inner(EXACT)
def transpose_tiles(X, first, rows, out):
    """out[j, i] = X[first + i, j], in tiles as wide as a cache line: both sides are then read and written whole."""
    d = X.shape[1]
    whole = rows // LINE_ENTRIES * LINE_ENTRIES
    few = d if X.strides[1] == X.itemsize and X.strides[0] == d * X.itemsize else 0
    for start in range(0, whole, LINE_ENTRIES):
        if few == 1:
            turn_1(X, first + start, out, start)
        elif few == 2:
            turn_2(X, first + start, out, start)
        elif few == 3:
            turn_3(X, first + start, out, start)
        elif few == 4:
            turn_4(X, first + start, out, start)
        else:
            for j in range(d):
                for i in range(start, start + LINE_ENTRIES):
                    out[j, i] = np.float64(X[first + i, j])
    for i in range(whole, rows):
        for j in range(d):
            out[j, i] = np.float64(X[first + i, j])


@inner(EXACT)
def transpose(X, first, rows, out):
    """out = X[first : first + rows].T, and copies of the last row."""
    doubles, singles, bytes_ = X
    if doubles.size > 0:
        transpose_tiles(doubles, first, rows, out)
    elif singles.size > 0:
        transpose_tiles(singles, first, rows, out)
    else:
        transpose_tiles(bytes_, first, rows, out)
    for j in range(out.shape[0]):
        for i in range(rows, out.shape[1]):
            out[j, i] = out[j, rows - 1]


@inner(EXACT)
def scale(rows_last, shift, inverse_scale, T):
    """T[:d] = the rows of a block in the frame."""
    for j in range(shift.shape[0]):
        a, inverse = shift[j], inverse_scale[j]
        for i in range(T.shape[1]):
            T[j, i] = (rows_last[j, i] - a) * inverse


@inner(EXACT)
def multiply(products, first, last, d, begin, T):
    """Form some of the products of the coordinates in T[:d]; the target ``begin`` goes to T[d]."""
    previous = -1
    for q in range(first, last):
        i, j, target = products[q, 0], products[q, 1], products[q, 2]
        at = d + target - begin
        if target == previous:
            for n in range(T.shape[1]):
                T[at, n] += T[i, n] * T[j, n]
        else:
            for n in range(T.shape[1]):
                T[at, n] = T[i, n] * T[j, n]
        previous = target


@inner(EXACT)
def clear_absent(rows_last, weight):
    """Set rows of weight 0, and copies of them, to 0: their statistics may be infinite, and 0 · ∞ would stay."""
    last = weight.shape[0] - 1
    for i in range(rows_last.shape[1]):
        if weight[min(i, last)] == 0.0:
            rows_last[:, i] = 0.0
