"""Sums over many numbers, in an order that is the same for every machine.

A sum in the order of its numbers waits for each addition. So SIDE of them are added side by side, number i to lane
i mod SIDE, and lanes are added to one another at the end. How many lanes are in a register makes no difference.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.jit import EXACT, inner
from expfam_em.kernels.vectors import DOUBLE, LANES, code_of, ir, jit_is_off, number

ACCUMULATORS = 4
SIDE = ACCUMULATORS * LANES
WIDE = ir.VectorType(DOUBLE, LANES)


def _added(code, n, term):  # pragma: no cover - writes code for the compiler
    """Add vectors over a loop; n is a multiple of LANES, and ``term(i, total)`` adds the vector at i to another."""
    builder = code.builder
    whole = builder.and_(n, number(-SIDE))

    def turn(i, totals):
        return [term(builder.add(i, number(v * LANES)), total) for v, total in enumerate(totals)]

    first, *others = code.repeat(whole, SIDE, [code.zero()] * ACCUMULATORS, turn)
    [first] = code.repeat(n, LANES, [first], lambda i, total: [term(i, total[0])], whole)
    return code.fold([first, *others])


@intrinsic
def _add(typing, x, n):  # pragma: no cover - writes code for the compiler
    """Write the code of `add`."""

    def generate(code, x, n):
        return _added(code, n, lambda i, total: code.builder.fadd(total, code.load(x.first, i)))

    return code_of(generate, WIDE, x, types.intp, result=types.float64)


@intrinsic
def _add_products(typing, x, y, n):  # pragma: no cover - writes code for the compiler
    """Write the code of `add_products`."""

    def generate(code, x, y, n):
        return _added(code, n, lambda i, total: code.fma(code.load(x.first, i), code.load(y.first, i), total))

    return code_of(generate, WIDE, x, y, types.intp, result=types.float64)


@intrinsic
def _add_present(typing, weight, x, n):  # pragma: no cover - writes code for the compiler
    """Write the code of `add_present`."""

    def generate(code, weight, x, n):
        def term(i, total):
            w = code.load(weight.first, i)
            present = code.builder.fcmp_ordered(">", w, code.zero())
            return code.fma(w, code.builder.select(present, code.load(x.first, i), code.zero()), total)

        return _added(code, n, term)

    return code_of(generate, WIDE, weight, x, types.intp, result=types.float64)


@intrinsic
def _scale_row(typing, S, k, factor, n):  # pragma: no cover - writes code for the compiler
    """Write the code of `scale_row`."""

    def generate(code, S, k, factor, n):
        row = code.at(S.first, code.times(k, S.width))

        def term(i, total):
            value = code.builder.fmul(code.load(row, i), code.load(factor.first, i))
            code.store(value, row, i)
            return code.builder.fadd(total, value)

        return _added(code, n, term)

    return code_of(generate, WIDE, S, types.intp, factor, types.intp, result=types.float64)


def _scale_row_in_numpy(S, k, factor, n):
    S[k, :n] *= factor[:n]
    return S[k, :n].sum()


add: Any = (lambda x, n: x[:n].sum()) if jit_is_off else _add
"""add(x, n): Σ_{i<n} x_i, for n a multiple of LANES."""

add_products: Any = (lambda x, y, n: x[:n] @ y[:n]) if jit_is_off else _add_products
"""add_products(x, y, n): Σ_{i<n} x_i y_i, for n a multiple of LANES."""

add_present: Any = (lambda w, x, n: (w * np.where(w > 0, x, 0.0))[:n].sum()) if jit_is_off else _add_present
"""add_present(w, x, n): Σ_{i<n} w_i x_i over the w_i > 0, for n a multiple of LANES."""

scale_row: Any = _scale_row_in_numpy if jit_is_off else _scale_row
"""scale_row(S, k, factor, n): s_ki ← s_ki factor_i for i < n, a multiple of LANES; return their sum."""


@inner(EXACT)
def product(x, y):
    """Return ⟨x, y⟩."""
    n = x.shape[0]
    whole = n // LANES * LANES
    total = add_products(x, y, whole)
    for i in range(whole, n):
        total += x[i] * y[i]
    return total


@inner(EXACT)
def weighted_sum(weight, x):
    """Return Σ w x over the rows that are present: one of weight 0 is absent, even where its x is −∞."""
    n = x.shape[0]
    whole = n // LANES * LANES
    total = add_present(weight, x, whole)
    for i in range(whole, n):
        total += weight[i] * x[i] if weight[i] > 0.0 else 0.0
    return total


@inner(EXACT)
def scale_and_add(S, factor, counts):
    """Multiply the first columns of S by a factor each, and add the sums of the rows to the counts."""
    n = factor.shape[0]
    whole = n // LANES * LANES
    for k in range(counts.shape[0]):
        total = scale_row(S, k, factor, whole)
        for i in range(whole, n):
            S[k, i] *= factor[i]
            total += S[k, i]
        counts[k] += total
