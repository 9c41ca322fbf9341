"""The EM pass over rows of 0s and 1s, for T(x) = x: four columns at a time.

Four columns have 16 patterns, so a row is d/4 codes. With a table of the sums of natural parameters of every pattern
a score is d/4 additions instead of d multiplications. The sums of few columns are as many additions into a table of
the same shape, from which those of single columns are added up at the end of a range of rows. To add to a table takes
twice as long as to read from one. So the sums of many columns are made as scores are, of the patterns of four rows:
the codes are turned over, and a column has one for every four rows.

An entry of a table is DOUBLE_LANES components, one vector register. A tile is TILE_ROWS rows, or columns, and
DOUBLE_LANES components. It stays in registers while a segment is added, whose tables are in the L1 cache. A tile of
scores is turned over then, because everything else has rows along the last axis.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from expfam_em.kernels.em import assign, block_weights, weigh
from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.load import LINE_ENTRIES
from expfam_em.kernels.matmul import DOUBLE_LANES, DOUBLES, aligned
from expfam_em.kernels.vectors import INT64, LANES, code_of, jit_is_off, number

BITS = 4  # with 8, tables outgrow the caches; to make them and add them up took longer than what they saved
PATTERNS = 1 << BITS
TILE_ROWS = 8
SEGMENT = 32  # tables that the L1 cache holds
TURNED_GROUPS = 40  # from which on sums are made by turned codes
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
def _score_tile(
    typing, codes, row, table, chunk, S, column, group, stop
):  # pragma: no cover - writes code for the compiler
    """Write the code of `score_tile`."""

    def generate(code, *arguments):
        *where, group, stop = arguments
        tile = _Tile(code, *where)

        def add(group, totals):
            entries = (code.load(tile.table, tile.entry(group, i)) for i in range(TILE_ROWS))
            return [code.builder.fadd(total, entry) for total, entry in zip(totals, entries, strict=True)]

        totals = code.repeat(stop, 1, [code.zero()] * TILE_ROWS, add, group)
        begins = code.builder.icmp_signed("==", group, number(0))
        for rows, places in tile.squares():
            for vector, place in zip(code.transposed([totals[i] for i in rows]), places, strict=True):
                both = code.builder.fadd(code.load(place, 0), vector)
                code.store(code.builder.select(begins, vector, both), place, 0)

    return code_of(generate, DOUBLES, codes, types.intp, table, types.intp, S, types.intp, types.intp, types.intp)


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


@intrinsic
def _tabulate_rows(typing, S, chunk, column, table):  # pragma: no cover - writes code for the compiler
    """Write the code of `tabulate_rows`."""

    def generate(code, S, chunk, column, table):
        here = code.at(S.first, code.times(chunk, DOUBLE_LANES, S.width), column)
        out = code.at(table.first, code.times(column, PATTERNS // BITS * DOUBLE_LANES))
        for first in range(0, TILE_ROWS, DOUBLE_LANES):
            rows = code.transposed(
                [code.load(here, code.builder.add(code.times(k, S.width), number(first))) for k in range(DOUBLE_LANES)]
            )
            for group in range(0, DOUBLE_LANES, BITS):
                sums = [code.zero()]
                for row in rows[group : group + BITS]:
                    sums += [code.builder.fadd(one, row) for one in sums]
                for pattern, total in enumerate(sums):
                    code.store(total, out, ((first + group) // BITS * PATTERNS + pattern) * DOUBLE_LANES)

    return code_of(generate, DOUBLES, S, types.intp, types.intp, table)


@intrinsic
def _sum_tile(typing, turned, column, table, first, stop, out):  # pragma: no cover - writes code for the compiler
    """Write the code of `sum_tile`."""

    def generate(code, turned, column, table, first, stop, out):
        place = code.at(out.first, code.times(column, DOUBLE_LANES))

        def add(group, totals):
            codes = code.at(turned.first, code.times(group, turned.width), column)
            entries = code.at(table.first, code.times(group, PATTERNS * DOUBLE_LANES))
            found = [code.builder.zext(code.value(codes, i), INT64) for i in range(TILE_ROWS)]
            vectors = [code.load(entries, code.times(one, DOUBLE_LANES)) for one in found]
            return [code.builder.fadd(total, vector) for total, vector in zip(totals, vectors, strict=True)]

        begun = [code.load(place, i * DOUBLE_LANES) for i in range(TILE_ROWS)]
        for i, total in enumerate(code.repeat(stop, 1, begun, add, first)):
            code.store(total, place, i * DOUBLE_LANES)

    return code_of(generate, DOUBLES, turned, types.intp, table, types.intp, types.intp, out)


def _score_tile_in_numpy(codes, row, table, chunk, S, column, group, stop):
    entries = np.arange(group, stop) * PATTERNS + codes[row : row + TILE_ROWS, group:stop]
    here = S[chunk * DOUBLE_LANES : (chunk + 1) * DOUBLE_LANES, column : column + TILE_ROWS]
    here[:] = table[chunk][entries].sum(axis=1).T + (here if group > 0 else 0.0)


def _collect_tile_in_numpy(codes, row, table, chunk, S, column):
    entries = np.arange(codes.shape[1]) * PATTERNS + codes[row : row + TILE_ROWS]
    here = S[chunk * DOUBLE_LANES : (chunk + 1) * DOUBLE_LANES, column : column + TILE_ROWS]
    np.add.at(table[chunk], entries, here.T[:, None])


def _tabulate_rows_in_numpy(S, chunk, column, table):
    patterns = np.arange(PATTERNS)[:, None] >> np.arange(BITS) & 1
    for first in range(column, column + TILE_ROWS, BITS):
        rows = S[chunk * DOUBLE_LANES : (chunk + 1) * DOUBLE_LANES, first : first + BITS]
        table[first // BITS * PATTERNS :][:PATTERNS] = patterns @ rows.T


def _sum_tile_in_numpy(turned, column, table, first, stop, out):
    entries = np.arange(first, stop)[:, None] * PATTERNS + turned[first:stop, column : column + TILE_ROWS]
    out[column : column + TILE_ROWS] += table[entries].sum(axis=0)


score_tile: Any = _score_tile_in_numpy if jit_is_off else _score_tile
"""score_tile(codes, row, table, chunk, S, column, group, stop): add what some groups of columns give to S.

S is that of TILE_ROWS rows and a chunk of DOUBLE_LANES components. The first group begins it."""

collect_tile: Any = _collect_tile_in_numpy if jit_is_off else _collect_tile
"""collect_tile(codes, row, table, chunk, S, column): add the same part of S to the table."""

tabulate_rows: Any = _tabulate_rows_in_numpy if jit_is_off else _tabulate_rows
"""tabulate_rows(S, chunk, column, table): the sums of the same part of S over every pattern of four rows."""

sum_tile: Any = _sum_tile_in_numpy if jit_is_off else _sum_tile
"""sum_tile(turned, column, table, first, stop, out): add the entries of some fours of rows to TILE_ROWS columns."""


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
def score(codes, first, table, S):
    """S = the scores of a block of rows, a segment of the columns after another."""
    groups = codes.shape[1]
    for chunk in range(table.shape[0]):
        for group in range(0, groups, SEGMENT):
            for i in range(0, S.shape[1], TILE_ROWS):
                score_tile(codes, first + i, table, chunk, S, i, group, min(group + SEGMENT, groups))


@inner(EXACT)
def turn_codes(codes, first, turned):
    """Turn the codes of rows, (rows, groups), into codes of BITS rows each: (rows/BITS, BITS · groups), and padding.

    The columns are in the order of their bits, and then of their groups.
    """
    groups = codes.shape[1]
    squares = np.empty(groups, np.uint16)  # 4 × 4 bits, a row after another
    for four in range(turned.shape[0]):
        row = first + four * BITS
        for g in range(groups):
            x = np.int64(codes[row, g])
            for other in range(1, BITS):
                x |= np.int64(codes[row + other, g]) << BITS * other
            t = (x ^ x >> 3) & 0x0A0A  # swap what is off the diagonal in squares of 2 × 2, then of 4 × 4
            x ^= t ^ t << 3
            t = (x ^ x >> 6) & 0x00CC
            squares[g] = x ^ t ^ t << 6
        for bit in range(BITS):
            for g in range(groups):
                turned[four, bit * groups + g] = squares[g] >> BITS * bit & (PATTERNS - 1)


@inner(EXACT)
def sum_columns(turned, S, table, out):
    """Add S of a block of rows to what each column has collected, (chunks, columns, DOUBLE_LANES)."""
    fours = S.shape[1] // BITS
    for chunk in range(out.shape[0]):
        for i in range(0, S.shape[1], TILE_ROWS):
            tabulate_rows(S, chunk, i, table)
        for first in range(0, fours, SEGMENT):
            for column in range(0, turned.shape[1], TILE_ROWS):
                sum_tile(turned, column, table, first, min(first + SEGMENT, fours), out[chunk])


@inner(EXACT)
def add_columns(collected, groups, sums):
    """Add what each column has collected to sums[k, j]."""
    for k in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            sums[k, j] += collected[k // DOUBLE_LANES, j % BITS * groups + j // BITS, k % DOUBLE_LANES]


@inner(EXACT)
def room(entries):
    """Room for some entries, each in one cache line."""
    return aligned(np.empty(entries * DOUBLE_LANES + LINE_ENTRIES), entries, DOUBLE_LANES)


@inner(EXACT)
def collect(codes, first, S, tables):
    """Add S of a block of rows to what each pattern has collected."""
    for chunk in range(tables.shape[0]):
        for i in range(0, S.shape[1], TILE_ROWS):
            collect_tile(codes, first + i, tables, chunk, S, i)


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
    types.intp, array(2, writable=True), array(3, writable=True), array(1, writable=True),
)  # fmt: skip
def _em_patterns(codes, items, tables, offset, level, sample_weight, temperature, block, counts, sums, bounds):
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
    block : rows at a time, some tiles
    counts, sums, bounds : (slots, K), (slots, K, d), (slots,) added to; a bound is Σ weight · τ logsumexp(scores/τ)
    """
    K, chunks, groups = offset.shape[1], tables.shape[1], codes.shape[1]
    turning = groups > TURNED_GROUPS
    columns = (groups * BITS + TILE_ROWS - 1) // TILE_ROWS * TILE_ROWS if turning else 0
    places = columns if turning else groups * PATTERNS
    S_memory = np.empty(chunks * DOUBLE_LANES * block)
    row_table = room(block // BITS * PATTERNS if turning else 0)
    collected = room(chunks * places).reshape(chunks, places, DOUBLE_LANES)
    turned_memory = np.zeros((block // BITS, columns), np.uint8)
    top_memory, factor_memory = np.empty(block), np.empty(block)
    weight_memory, label_memory = np.empty(block), np.zeros(block, np.int64)
    for item in range(items.shape[0]):
        start, stop, mixture, slot = items[item]
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
            score(codes, first, tables[mixture], S)
            bounds[slot] += assign(
                S[:K], offset[mixture], level[mixture], weight, temperature, True, False, top, factor, label
            )  # fmt: skip
            weigh(S[:K], factor, weight, counts[slot])
            if turning:
                turned = turned_memory[: whole // BITS]
                turn_codes(codes, first, turned)
                sum_columns(turned, S, row_table, collected)
            else:
                collect(codes, first, S, collected)
        if turning:
            add_columns(collected, groups, sums[slot])
        else:
            fold(collected, S_memory[:DOUBLE_LANES], sums[slot])


def em_patterns(codes, items, tables, offset, level, sample_weight, temperature, counts, sums, bounds, block=None):
    """Run the pass by blocks of rows, which are some tiles; see `_em_patterns`."""
    if block is None:
        rows = CODED_BLOCK_ENTRIES // (-(-offset.shape[1] // LANES) * LANES) // TILE_ROWS * TILE_ROWS
        block = max(FEWEST_CODED_ROWS, min(MOST_CODED_ROWS, rows))
    _em_patterns(codes, items, tables, offset, level, sample_weight, temperature, block, counts, sums, bounds)
