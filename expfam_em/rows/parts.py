"""Parts of rows that are somewhere else: aligned runs of chunks, each of which is a single node of the whole tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from expfam_em.rows import grid
from expfam_em.rows.grid import Tree
from expfam_em.rows.protocol import PADDING, Chunk
from expfam_em.rows.threads import undisturbed


def part_bounds(n: int, n_parts: int) -> list[int]:
    """Return where parts of n rows begin, and where the last one ends.

    All but the last are as long: at least the longest chunk that there is, 2¹⁷ rows, times a power of two.

    Parameters
    ----------
    n : int
        Number of rows.
    n_parts : int
        How many parts there should be at least; if there are rows for so many.

    Raises
    ------
    ValueError
        If there are no rows.
    """
    if n < 1:
        raise ValueError("there are no rows: at least one is needed")
    rows = grid.MOST_ROWS
    while 2 * rows * n_parts <= n:
        rows *= 2
    return [*range(0, n, rows), n]


@undisturbed
def sum_part(function: Callable[[Chunk], Any], part: Chunk, size: int) -> Tree:
    """Return the sum of ``function(chunk)`` over the chunks of a part, to be added to the trees of other parts.

    Parameters
    ----------
    function : callable
        What `Rows.reduce` is given.
    part : Chunk
        One of those of `part_bounds`.
    size : int
        Rows of a chunk, `rows_per_chunk` of the work that `Rows.reduce` is given.
    """
    tree = Tree()
    for chunk in chunks_of(part, size):
        tree.put(0, chunk.first // size, function(chunk))
    return tree


def chunks_of(part: Chunk, size: int) -> Iterator[Chunk]:
    """Yield the chunks of a part, so many rows at a time."""
    for begin in range(0, len(part.X), size):
        rows = slice(begin, begin + size)
        weight, offset = (None if value is None else value[rows] for value in (part.weight, part.offset))
        table = None if part.table is None else part.table[begin : begin + size + PADDING]
        yield Chunk(part.X[rows], weight, part.first + begin, table, offset=offset)
