"""Where chunks begin and in which order they are added: neither depends on how many rows there are, or who adds."""

from __future__ import annotations

import itertools
import math
import threading
from typing import Any

CHUNK_WORK = 4_000_000
"""Multiply-adds per chunk, half a millisecond: with fewer the work around a chunk counts, with more threads wait."""

FEWEST_ROWS, MOST_ROWS = 1 << 9, 1 << 17
"""Fewer rows would halve the blocks in which components with frames of their own are multiplied: 15 % slower."""


def rows_per_chunk(work: float) -> int:
    """Return the number of rows of a chunk, a power of two, given the multiply-adds per row."""
    wanted = max(CHUNK_WORK / max(work, 1.0), FEWEST_ROWS)
    return 1 << math.ceil(math.log2(min(wanted, MOST_ROWS)))


ENTRY_WORK = 8
"""Multiply-adds that a look at an entry of X is taken to cost: a chunk of such looks has a million entries at most."""


class Tree:
    """Sum over a binary tree of chunk numbers: node (level, i) is (level − 1, 2i) + (level − 1, 2i + 1).

    Values may come in any order, from any thread, and as any aligned node: the total has the same bits. Only nodes
    whose neighbour has not come yet are held. The sum of two trees is the union of their nodes, which is exactly
    associative and commutative, so anybody may add trees in any order.
    """

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], Any] = {}
        self._lock = threading.Lock()

    def put(self, level: int, index: int, value: Any) -> None:
        """Add the value of a node."""
        while True:
            with self._lock:
                if (level, index ^ 1) not in self.nodes:
                    self.nodes[level, index] = value
                    return
                mate = self.nodes.pop((level, index ^ 1))
            value = mate + value if index % 2 else value + mate
            level, index = level + 1, index // 2

    def __add__(self, other: Tree) -> Tree:
        out = Tree()
        out.nodes = dict(self.nodes)
        for (level, index), value in other.nodes.items():
            out.put(level, index, value)
        return out

    def __getstate__(self) -> dict:
        return {"nodes": self.nodes}

    def __setstate__(self, state: dict) -> None:
        self.nodes, self._lock = state["nodes"], threading.Lock()

    def total(self) -> Any:
        """Return the sum of all that has come: a node without a right half is its left half.

        Raises
        ------
        ValueError
            If a chunk has come twice.
        """
        left = sorted(self.nodes, key=lambda node: node[1] << node[0])  # by first chunk
        for (level, index), (further, behind) in itertools.pairwise(left):
            if (index + 1) << level > behind << further:
                raise ValueError(f"chunk {behind << further} has been added twice")
        if not left:
            raise ValueError("no chunk has been added")
        value = self.nodes[left[-1]]
        for node in reversed(left[:-1]):
            value = self.nodes[node] + value
        return value
