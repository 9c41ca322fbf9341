"""The EM pass over rows of 0s and 1s, for T(x) = x: four columns at a time.

Four columns have 16 patterns, so a row is d/4 codes. With a table of the sums of natural parameters of every pattern
a score is d/4 additions instead of d multiplications, and the sums are as many additions into a table of the same
shape, from which those of single columns are added up at the end of a range of rows. An entry of a table is LANES
components, one vector register; a tile is ROWS rows and LANES components, which stay in registers from the first
group of columns to the last and are turned over there, because everything else has rows along the last axis.
"""

import functools
import math
import threading
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import assign, block_weights, weigh
from expfam_em.kernels.jit import EXACT, entry, inner
from expfam_em.kernels.tiles import codegen, ir, jit_is_off

BITS = 4  # with 8, tables outgrow the caches; to make them and add them up took longer than what they saved
PATTERNS = 1 << BITS
LANES = 8 if codegen.ll.get_host_cpu_features().get("avx512f") else 4
ROWS = 8
MOST_ROWS, LEAST_ROWS, BLOCK_NUMBERS = 512, 64, 1 << 14  # in a block, and 128 kilobytes of scores
LINE = 8  # numbers in a cache line
_compiling = threading.Lock()
_D, _N = ir.DoubleType(), ir.IntType(64)
_VECTOR = ir.VectorType(_D, LANES)


def _number(value):  # pragma: no cover - writes code for the compiler
    return ir.Constant(_N, value)


def _vector_at(builder, pointer, index):  # pragma: no cover - writes code for the compiler
    return builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer())


def _transposed(builder, v):  # pragma: no cover - writes code for the compiler
    """Turn over as many vectors as they have lanes."""
    half, v = len(v) // 2, list(v)
    while half:  # swap the off-diagonal blocks, then within blocks of half the size
        low = [i if not i & half else len(v) + i - half for i in range(len(v))]
        high = [i + half if not i & half else len(v) + i for i in range(len(v))]
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), len(v)), mask) for mask in (low, high)]
        for i in range(len(v)):
            if not i & half:
                v[i], v[i + half] = (builder.shuffle_vector(v[i], v[i + half], mask) for mask in masks)
        half //= 2
    return v


class _Tile:  # pragma: no cover - writes code for the compiler
    """Code that walks over the groups of columns of a tile."""

    def __init__(self, context, builder, signature, arguments):
        self.builder = builder
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2, 4)]
        row, chunk, column = arguments[1], arguments[3], arguments[5]
        self.codes, self.table, self.S = (array.data for array in arrays)
        self.groups, self.width = (builder.extract_value(arrays[i].shape, 1) for i in (0, 2))
        self.codes = builder.gep(self.codes, [builder.mul(row, self.groups)])
        size = builder.mul(self.groups, _number(PATTERNS * LANES))
        self.table = builder.gep(self.table, [builder.mul(chunk, size)])
        first = builder.mul(builder.mul(chunk, _number(LANES)), self.width)
        self.S = builder.gep(self.S, [builder.add(first, column)])

    def entry(self, group, row):
        """Where the table has what belongs to the code of a row in a group."""
        at = self.builder.add(self.builder.mul(_number(row), self.groups), group)
        code = self.builder.zext(self.builder.load(self.builder.gep(self.codes, [at])), _N)
        index = self.builder.add(self.builder.mul(group, _number(PATTERNS)), code)
        return _vector_at(self.builder, self.table, self.builder.mul(index, _number(LANES)))

    def loop(self, start, step):
        """Let values pass ``step(group, values)`` for each group; there is at least one."""
        builder = self.builder
        before, body, after = builder.block, builder.append_basic_block("group"), builder.append_basic_block("done")
        builder.branch(body)
        builder.position_at_end(body)
        group, values = builder.phi(_N), [builder.phi(_VECTOR) for _ in start]
        new = step(group, values)
        following = builder.add(group, _number(1))
        group.add_incoming(_number(0), before)
        group.add_incoming(following, body)
        for value, first, last in zip(values, start, new, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(last, body)
        builder.cbranch(builder.icmp_signed("<", following, self.groups), body, after)
        builder.position_at_end(after)
        return new

    def squares(self):
        """The rows of the tile, LANES at a time, and where S has component k of them."""
        for first in range(0, ROWS, LANES):
            where = [
                _vector_at(
                    self.builder, self.S, self.builder.add(self.builder.mul(_number(k), self.width), _number(first))
                )
                for k in range(LANES)
            ]
            yield slice(first, first + LANES), where


@intrinsic
def _score_tile(typing, codes, row, table, chunk, S, column):  # pragma: no cover - writes code for the compiler
    """The code of `score_tile`."""

    def generate(context, builder, signature, arguments):
        tile = _Tile(context, builder, signature, arguments)

        def step(group, total):
            return [builder.fadd(total[i], builder.load(tile.entry(group, i), align=8)) for i in range(ROWS)]

        total = tile.loop([ir.Constant(_VECTOR, [0.0] * LANES)] * ROWS, step)
        for rows, where in tile.squares():
            for vector, pointer in zip(_transposed(builder, total[rows]), where, strict=True):
                builder.store(vector, pointer, align=8)
        return context.get_dummy_value()

    return types.void(codes, types.intp, table, types.intp, S, types.intp), generate


@intrinsic
def _collect_tile(typing, codes, row, table, chunk, S, column):  # pragma: no cover - writes code for the compiler
    """The code of `collect_tile`."""

    def generate(context, builder, signature, arguments):
        tile = _Tile(context, builder, signature, arguments)
        for rows, where in tile.squares():
            columns = [builder.load(pointer, align=8) for pointer in where]
            for i, vector in zip(range(rows.start, rows.stop), _transposed(builder, columns), strict=True):

                def step(group, values, i=i, vector=vector):
                    entry = tile.entry(group, i)
                    builder.store(builder.fadd(builder.load(entry, align=8), vector), entry, align=8)
                    return values

                tile.loop([], step)
        return context.get_dummy_value()

    return types.void(codes, types.intp, table, types.intp, S, types.intp), generate


def _score_tile_in_numpy(codes, row, table, chunk, S, column):
    at = np.arange(codes.shape[1]) * PATTERNS + codes[row : row + ROWS]
    S[chunk * LANES : (chunk + 1) * LANES, column : column + ROWS] = table[chunk][at].sum(axis=1).T


def _collect_tile_in_numpy(codes, row, table, chunk, S, column):
    at = np.arange(codes.shape[1]) * PATTERNS + codes[row : row + ROWS]
    here = S[chunk * LANES : (chunk + 1) * LANES, column : column + ROWS]
    np.add.at(table[chunk], at, here.T[:, None])


score_tile: Any = _score_tile_in_numpy if jit_is_off else _score_tile
"""score_tile(codes, row, table, chunk, S, column): S of ROWS rows and a chunk of LANES components."""

collect_tile: Any = _collect_tile_in_numpy if jit_is_off else _collect_tile
"""collect_tile(codes, row, table, chunk, S, column): add the same part of S to the table."""


def table_size(n_columns, n_components):
    """Return how many numbers the table of a mixture has."""
    return -(-n_components // LANES) * -(-n_columns // BITS) * PATTERNS * LANES


def pack(ones, codes):
    """Write the codes of rows of booleans, (n, d) -> (n, ⌈d/BITS⌉)."""
    two = np.packbits(ones, axis=1, bitorder="little")
    codes[:, ::2], codes[:, 1::2] = two & (PATTERNS - 1), two[:, : codes.shape[1] // 2] >> BITS


def lines(size):
    """Return room for some numbers that starts with a cache line: an entry that is in two takes twice as long."""
    memory = np.empty(size + LINE)
    first = (-memory.ctypes.data // 8) % LINE
    return memory[first : first + size]


def tabulate(natural):
    """Return Σ natural of the columns that each pattern of each group contains: (B, K, d) -> (B, chunks, ·, LANES)."""
    B, K, d = natural.shape
    chunks, groups = -(-K // LANES), -(-d // BITS)
    columns = np.zeros((B, chunks * LANES, groups * BITS))
    columns[:, :K, :d] = natural
    columns = columns.reshape(B, chunks, LANES, groups, BITS).transpose(4, 0, 1, 3, 2)[:, :, :, :, None]
    table = lines(B * chunks * groups * PATTERNS * LANES).reshape(B, chunks, groups, PATTERNS, LANES)
    table[:, :, :, 0] = 0.0
    for bit in range(BITS):
        has = 1 << bit
        np.add(table[:, :, :, :has], columns[bit], out=table[:, :, :, has : 2 * has])
    return table.reshape(B, chunks, groups * PATTERNS, LANES)


@inner(EXACT)
def clear(table):
    """Set a table to 0."""
    for chunk in range(table.shape[0]):
        for at in range(table.shape[1]):
            for lane in range(LANES):
                table[chunk, at, lane] = 0.0


@inner(EXACT)
def fold(table, total, sums):
    """Add to sums[k, j] what the patterns that contain column j have collected; ``total`` is room for an entry."""
    K, d = sums.shape
    for chunk in range(table.shape[0]):
        for j in range(d):
            first, has = j // BITS * PATTERNS, 1 << j % BITS
            for lane in range(LANES):
                total[lane] = 0.0
            for other in range(PATTERNS // 2):  # the bits of the other columns
                at = first + other + (other & -has) + has
                for lane in range(LANES):
                    total[lane] += table[chunk, at, lane]
            for k in range(chunk * LANES, min((chunk + 1) * LANES, K)):
                sums[k, j] += total[k - chunk * LANES]


def _em_patterns(
    codes, items, tables, offset, level, sample_weight, temperature, S_memory, collected, counts, sums, bounds
):  # fmt: skip
    """One EM pass over ranges of rows, each under one of B mixtures.

    Parameters
    ----------
    codes : (n + ROWS − 1, ⌈d/BITS⌉) uint8
        Bit b of code g is column g · BITS + b; the rows at the end fill the last tile.
    items : (m, 4) int64: start, stop, mixture, slot; rows start ≤ n < stop under a mixture, into a slot of the sums
    tables : (B, chunks, ⌈d/BITS⌉ · PATTERNS, LANES) natural parameters, from `tabulate`
    offset : (B, K) log π − A − level
    level : (B,) added to the evidence of every row
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    S_memory : room for the scores of a block of rows
    collected : (chunks, ⌈d/BITS⌉ · PATTERNS, LANES) room for the sums of each pattern
    counts, sums, bounds : (slots, K), (slots, K, d), (slots,) added to; a bound is Σ weight · τ logsumexp(scores/τ)
    """
    K, chunks = offset.shape[1], tables.shape[1]
    block = S_memory.shape[0] // (chunks * LANES)
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.empty(block), np.empty(block, np.int64)
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
        table = tables[mixture]
        clear(collected)
        for first in range(start, stop, block):
            rows = min(block, stop - first)
            whole = (rows + ROWS - 1) // ROWS * ROWS
            S = S_memory[: chunks * LANES * whole].reshape(chunks * LANES, whole)
            top, factor, label = top_memory[:whole], factor_memory[:whole], label_memory[:whole]
            weight = weight_memory[:whole]
            for i in range(whole):
                weight[i] = 1.0 if i < rows else 0.0  # what follows the range is absent
            block_weights(sample_weight, first, weight[:rows])
            for chunk in range(chunks):
                for i in range(0, whole, ROWS):
                    score_tile(codes, first + i, table, chunk, S, i)
            bounds[slot] += assign(
                S[:K], offset[mixture], level[mixture], weight, temperature, True, False, top, factor, label
            )  # fmt: skip
            weigh(S[:K], factor, weight, counts[slot])
            for chunk in range(chunks):
                for i in range(0, whole, ROWS):
                    collect_tile(codes, first + i, collected, chunk, S, i)
        fold(collected, S_memory[:LANES], sums[slot])


@functools.cache
def _compiled():
    def array(ndim, element=types.float64, writable=False):
        return types.Array(element, ndim, "C", readonly=not writable)

    parameters = array(4), array(2), array(1), array(1)
    sums = array(2, writable=True), array(3, writable=True), array(1, writable=True)
    return entry(
        _em_patterns,
        types.void(
            array(2, types.uint8), array(2, types.int64), *parameters, types.float64, array(1, writable=True),
            array(3, writable=True), *sums,
        ),
    )  # fmt: skip


def em_patterns(codes, items, tables, offset, level, sample_weight, temperature, counts, sums, bounds, block=None):
    """Run the compiled pass; see `_em_patterns`. A block is some tiles of rows."""
    with _compiling:  # threads that arrive together wait for one compilation
        kernel = _compiled()
    shape = tables.shape[1:]
    if block is None:
        block = max(LEAST_ROWS, min(MOST_ROWS, BLOCK_NUMBERS // (shape[0] * LANES) // ROWS * ROWS))
    room = lines(shape[0] * LANES * block), lines(math.prod(shape)).reshape(shape)
    kernel(codes, items, tables, offset, level, sample_weight, temperature, *room, counts, sums, bounds)
