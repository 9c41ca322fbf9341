"""The EM pass over rows of 0s and 1s, for T(x) = x: four columns at a time.

Four columns have 16 patterns, so a row is d/4 codes. With a table of the sums of natural parameters of every pattern
a score is d/4 additions instead of d multiplications, and the sums are as many additions into a table of the same
shape, from which those of single columns are added up at the end of a range of rows. An entry of a table is
DOUBLE_LANES components, one vector register. A tile is TILE_ROWS rows and DOUBLE_LANES components. It stays in
registers from the first group of columns to the last and is turned over there, because everything else has rows along
the last axis.
"""

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import assign, block_weights, weigh
from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import LINE_ENTRIES
from expfam_em.kernels.matmul import DOUBLE_LANES, DOUBLES
from expfam_em.kernels.vectors import INT64, LANES, code_of, jit_is_off

BITS = 4  # with 8, tables outgrow the caches; to make them and add them up took longer than what they saved
PATTERNS = 1 << BITS
TILE_ROWS = 8
MOST_CODED_ROWS, FEWEST_CODED_ROWS, CODED_BLOCK_ENTRIES = 512, 64, 1 << 14  # in a block, and 128 kilobytes of scores


class _Tile:  # pragma: no cover - writes code for the compiler
    """The places in codes, table and S that belong to a tile."""

    def __init__(self, code, codes, row, table, chunk, S, column):
        self.code, self.groups = code, codes.width
        self.codes = code.at(codes.first, code.times(row, codes.width))
        self.table = code.at(table.first, code.times(chunk, codes.width, PATTERNS * DOUBLE_LANES))
        self.S, self.width = code.at(S.first, code.times(chunk, DOUBLE_LANES, S.width), column), S.width

    def entry(self, group, row):
        """Where the table has what belongs to the code of a row in a group."""
        code = self.code.builder.zext(self.code.value(self.codes, self.code.times(row, self.groups), group), INT64)
        return self.code.times(self.code.builder.add(self.code.times(group, PATTERNS), code), DOUBLE_LANES)

    def squares(self):
        """The rows of the tile, as many at a time as a vector has lanes, and where S has component k of them."""
        for first in range(0, TILE_ROWS, DOUBLE_LANES):
            components = (self.code.times(k, self.width) for k in range(DOUBLE_LANES))
            yield range(first, first + DOUBLE_LANES), [self.code.at(self.S, k, first) for k in components]


@intrinsic
def _score_tile(typing, codes, row, table, chunk, S, column):  # pragma: no cover - writes code for the compiler
    """Write the code of `score_tile`."""

    def generate(code, *arguments):
        tile = _Tile(code, *arguments)

        def add(group, totals):
            entries = (code.load(tile.table, tile.entry(group, i)) for i in range(TILE_ROWS))
            return [code.builder.fadd(total, entry) for total, entry in zip(totals, entries, strict=True)]

        totals = code.repeat(tile.groups, 1, [code.zero()] * TILE_ROWS, add)
        for rows, places in tile.squares():
            for vector, place in zip(code.transposed([totals[i] for i in rows]), places, strict=True):
                code.store(vector, place, 0)

    return code_of(generate, DOUBLES, codes, types.intp, table, types.intp, S, types.intp)


@intrinsic
def _collect_tile(typing, codes, row, table, chunk, S, column):  # pragma: no cover - writes code for the compiler
    """Write the code of `collect_tile`."""

    def generate(code, *arguments):
        tile = _Tile(code, *arguments)
        for rows, places in tile.squares():
            for i, vector in zip(rows, code.transposed([code.load(place, 0) for place in places]), strict=True):

                def add(group, nothing, i=i, vector=vector):
                    entry = tile.entry(group, i)
                    code.store(code.builder.fadd(code.load(tile.table, entry), vector), tile.table, entry)
                    return nothing

                code.repeat(tile.groups, 1, [], add)

    return code_of(generate, DOUBLES, codes, types.intp, table, types.intp, S, types.intp)


def _score_tile_in_numpy(codes, row, table, chunk, S, column):
    entries = np.arange(codes.shape[1]) * PATTERNS + codes[row : row + TILE_ROWS]
    S[chunk * DOUBLE_LANES : (chunk + 1) * DOUBLE_LANES, column : column + TILE_ROWS] = (
        table[chunk][entries].sum(axis=1).T
    )


def _collect_tile_in_numpy(codes, row, table, chunk, S, column):
    entries = np.arange(codes.shape[1]) * PATTERNS + codes[row : row + TILE_ROWS]
    here = S[chunk * DOUBLE_LANES : (chunk + 1) * DOUBLE_LANES, column : column + TILE_ROWS]
    np.add.at(table[chunk], entries, here.T[:, None])


score_tile: Any = _score_tile_in_numpy if jit_is_off else _score_tile
"""score_tile(codes, row, table, chunk, S, column): S of TILE_ROWS rows and a chunk of DOUBLE_LANES components."""

collect_tile: Any = _collect_tile_in_numpy if jit_is_off else _collect_tile
"""collect_tile(codes, row, table, chunk, S, column): add the same part of S to the table."""


def table_size(n_columns, n_components):
    """Return how many numbers the table of a mixture has, or would have if a register held LANES of them."""
    return -(-n_components // LANES) * LANES * -(-n_columns // BITS) * PATTERNS


def pack(ones, codes):
    """Write the codes of rows of booleans, (n, d) -> (n, ⌈d/BITS⌉)."""
    two = np.packbits(ones, axis=1, bitorder="little")
    codes[:, ::2], codes[:, 1::2] = two & (PATTERNS - 1), two[:, : codes.shape[1] // 2] >> BITS


def lines(size):
    """Return room for some numbers that starts with a cache line: an entry that is in two takes twice as long."""
    memory = np.empty(size + LINE_ENTRIES)
    first = (-memory.ctypes.data // 8) % LINE_ENTRIES
    return memory[first : first + size]


def tabulate(natural):
    """Return Σ natural of the columns that each pattern contains, (B, K, d) -> (B, chunks, ·, DOUBLE_LANES)."""
    B, K, d = natural.shape
    chunks, groups = -(-K // DOUBLE_LANES), -(-d // BITS)
    columns = np.zeros((B, chunks * DOUBLE_LANES, groups * BITS))
    columns[:, :K, :d] = natural
    columns = columns.reshape(B, chunks, DOUBLE_LANES, groups, BITS).transpose(4, 0, 1, 3, 2)[:, :, :, :, None]
    table = lines(B * chunks * groups * PATTERNS * DOUBLE_LANES).reshape(B, chunks, groups, PATTERNS, DOUBLE_LANES)
    table[:, :, :, 0] = 0.0
    for bit in range(BITS):
        has = 1 << bit
        np.add(table[:, :, :, :has], columns[bit], out=table[:, :, :, has : 2 * has])
    return table.reshape(B, chunks, groups * PATTERNS, DOUBLE_LANES)


@inner(EXACT)
def clear(table):
    """Set a table to 0."""
    for chunk in range(table.shape[0]):
        for place in range(table.shape[1]):
            for lane in range(DOUBLE_LANES):
                table[chunk, place, lane] = 0.0


@inner(EXACT)
def fold(table, total, sums):
    """Add to sums[k, j] what the patterns that contain column j have collected; ``total`` is room for an entry."""
    K, d = sums.shape
    for chunk in range(table.shape[0]):
        for j in range(d):
            first, has = j // BITS * PATTERNS, 1 << j % BITS
            for lane in range(DOUBLE_LANES):
                total[lane] = 0.0
            for other in range(PATTERNS // 2):  # the bits of the other columns
                place = first + other + (other & -has) + has
                for lane in range(DOUBLE_LANES):
                    total[lane] += table[chunk, place, lane]
            for k in range(chunk * DOUBLE_LANES, min((chunk + 1) * DOUBLE_LANES, K)):
                sums[k, j] += total[k - chunk * DOUBLE_LANES]


@entry(
    types.void, array(2, types.uint8), array(2, types.int64), array(4), array(2), array(1), array(1), types.float64,
    array(1, writable=True), array(3, writable=True), array(2, writable=True), array(3, writable=True),
    array(1, writable=True),
)  # fmt: skip
def _em_patterns(
    codes, items, tables, offset, level, sample_weight, temperature, S_memory, collected, counts, sums, bounds
):  # fmt: skip
    """One EM pass over ranges of rows, each under one of B mixtures.

    Parameters
    ----------
    codes : (n + TILE_ROWS − 1, ⌈d/BITS⌉) uint8
        Bit b of code g is column g · BITS + b; the rows at the end fill the last tile.
    items : (m, 4) int64: start, stop, mixture, slot; rows start ≤ n < stop under a mixture, into a slot of the sums
    tables : (B, chunks, ⌈d/BITS⌉ · PATTERNS, DOUBLE_LANES) natural parameters, from `tabulate`
    offset : (B, K) log π − A − level
    level : (B,) added to the evidence of every row
    sample_weight : (n,) or empty
    temperature : 1 soft, 0 hard
    S_memory : room for the scores of a block of rows
    collected : (chunks, ⌈d/BITS⌉ · PATTERNS, DOUBLE_LANES) room for the sums of each pattern
    counts, sums, bounds : (slots, K), (slots, K, d), (slots,) added to; a bound is Σ weight · τ logsumexp(scores/τ)
    """
    K, chunks = offset.shape[1], tables.shape[1]
    block = S_memory.shape[0] // (chunks * DOUBLE_LANES)
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.empty(block), np.zeros(block, np.int64)
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
        table = tables[mixture]
        clear(collected)
        for first in range(start, stop, block):
            rows = min(block, stop - first)
            whole = (rows + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS
            S = S_memory[: chunks * DOUBLE_LANES * whole].reshape(chunks * DOUBLE_LANES, whole)
            top, factor, label = top_memory[:whole], factor_memory[:whole], label_memory[:whole]
            weight = weight_memory[:whole]
            for i in range(whole):
                weight[i] = 1.0 if i < rows else 0.0  # what follows the range is absent
            block_weights(sample_weight, first, weight[:rows])
            for chunk in range(chunks):
                for i in range(0, whole, TILE_ROWS):
                    score_tile(codes, first + i, table, chunk, S, i)
            bounds[slot] += assign(
                S[:K], offset[mixture], level[mixture], weight, temperature, True, False, top, factor, label
            )  # fmt: skip
            weigh(S[:K], factor, weight, counts[slot])
            for chunk in range(chunks):
                for i in range(0, whole, TILE_ROWS):
                    collect_tile(codes, first + i, collected, chunk, S, i)
        fold(collected, S_memory[:DOUBLE_LANES], sums[slot])


def em_patterns(codes, items, tables, offset, level, sample_weight, temperature, counts, sums, bounds, block=None):
    """Run the pass with room for a block of rows, which is some tiles; see `_em_patterns`."""
    shape, lanes = tables.shape[1:], -(-offset.shape[1] // LANES) * LANES
    if block is None:
        rows = CODED_BLOCK_ENTRIES // lanes // TILE_ROWS * TILE_ROWS
        block = max(FEWEST_CODED_ROWS, min(MOST_CODED_ROWS, rows))
    room = lines(shape[0] * DOUBLE_LANES * block), lines(math.prod(shape)).reshape(shape)
    _em_patterns(codes, items, tables, offset, level, sample_weight, temperature, *room, counts, sums, bounds)
