"""Rows that have been looked at once: what several functions of chunks find of all rows, by a single pass."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.estep.reduce import Refusal
from expfam_em.family.summaries import same_summary, summary_chunk
from expfam_em.rows.grid import Tree, rows_per_chunk
from expfam_em.rows.protocol import PADDING, Chunk, Rows, V
from expfam_em.rows.source import weight_of
from expfam_em.rows.threads import cached_property


@dataclass(frozen=True)
class Found:
    """What each function has found; ``+`` adds up. Nothing is said behind a refusal."""

    values: tuple[Any, ...]

    def __add__(self, other: Found) -> Found:
        pairs = zip(self.values, other.values, strict=True)
        return Found(tuple(None if one is None or two is None else one + two for one, two in pairs))


@dataclass(frozen=True)
class Size:
    """How many rows there are, how many of them carry weight, and the sums of the weights and of their squares."""

    n: int
    present: int
    weight: float
    squares: float

    def __add__(self, other: Size) -> Size:
        weight, squares = self.weight + other.weight, self.squares + other.squares
        return Size(self.n + other.n, self.present + other.present, weight, squares)


def size_chunk(chunk: Chunk) -> Size:
    """Return the size of a chunk."""
    n, w = len(chunk.X), chunk.weight
    present, squares = (n, float(n)) if w is None else (int(np.count_nonzero(w)), float(w @ w))
    return Size(n, present, weight_of(chunk), squares)


def together(functions: tuple[Callable[[Chunk], Any], ...], chunk: Chunk) -> Found:
    """Return what functions find of a chunk; those behind one that refuses a row are not asked."""
    values: list[Any] = []
    for function in functions:
        refused = any(isinstance(value, Refusal) and value.error is not None for value in values)
        values.append(None if refused else function(chunk))
    return Found(tuple(values))


def on_grids(functions: tuple[tuple[Callable[[Chunk], Any], int], ...], chunk: Chunk) -> Found:
    """Return what functions find of a chunk, each added up over the chunks of so many rows that it consists of."""
    return Found(tuple(_on_grid(function, size, chunk) for function, size in functions))


def _on_grid(function: Callable[[Chunk], V], size: int, chunk: Chunk) -> V:
    n, tree = len(chunk.X), Tree()
    if n <= size:
        return function(chunk)
    for number, first in enumerate(range(0, n, size)):  # an aligned node of the tree over all rows
        rows = slice(first, min(first + size, n))
        weight, offset = (None if part is None else part[rows] for part in (chunk.weight, chunk.offset))
        table = None if chunk.table is None else chunk.table[first : rows.stop + PADDING]
        tree.put(0, number, function(Chunk(chunk.X[rows], weight, chunk.first + first, table, offset=offset)))
    return tree.total()


class Later:
    """The sum of a function of chunks that the next pass over some rows finds beside its own; see `LookedRows.later`.

    Attributes
    ----------
    function, work
        See `Rows.reduce`.
    """

    def __init__(self, rows: LookedRows, function: Callable[[Chunk], Any], work: float) -> None:
        self._rows, self.function, self.work = rows, function, work

    @cached_property
    def value(self) -> Any:
        """The sum, by a pass of its own if there has been none since."""
        self._rows.catch_up()
        return vars(self)["value"]


class LookedRows:
    """Rows that answer some functions of chunks without being read again, and let others wait for the next pass.

    Parameters
    ----------
    rows : Rows
    functions : tuple of functions of a chunk
        The same ones are answered, and `functools.partial` of the same function with the same arguments.
    work : float
        See `Rows`; answers have the bits of ``rows.reduce(function, work)``.
    """

    def __init__(self, rows: Rows, functions: tuple[Callable[[Chunk], Any], ...], work: float) -> None:
        self.rows: Any = rows
        functions = (*functions, size_chunk)
        found = rows.reduce(functools.partial(together, functions), work)
        self.known = [(f, value) for f, value in zip(functions, found.values, strict=True) if value is not None]
        self._waiting: list[Later] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("rows", "known", "_waiting"):
            raise AttributeError(name)  # of an object that is being made
        return getattr(self.rows, name)

    def __len__(self) -> int:
        return self.reduce(size_chunk, 1.0).n

    @property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights, (1,)."""
        return np.array([self.reduce(size_chunk, 1.0).weight])

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks; see `Rows`."""
        for one, value in self.known:
            if _same(one, function):
                return value
        if not self._waiting:
            return self.rows.reduce(function, work)
        own = Later(self, function, work)
        self._waiting.append(own)
        return own.value

    def later(self, function: Callable[[Chunk], Any], work: float) -> Later:
        """Return what will hold ``reduce(function, work)``, once there is another pass or somebody asks for it."""
        found = Later(self, function, work)
        self._waiting.append(found)
        return found

    def catch_up(self) -> None:
        """Find what waits, by one pass in the longest chunks, which consist of those of the others."""
        waiting, self._waiting = self._waiting, []
        functions = tuple((one.function, rows_per_chunk(one.work)) for one in waiting)
        found = self.rows.reduce(functools.partial(on_grids, functions), min(one.work for one in waiting))
        for one, value in zip(waiting, found.values, strict=True):
            vars(one)["value"] = value

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> Rows:
        """Return rows changed chunk by chunk; see `Rows`."""
        return self.rows.derive(function, work)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        same = one.func is other.func and len(one.args) == len(other.args) and one.keywords == other.keywords
        equal = same_summary if one.func is summary_chunk else operator.is_
        return same and all(map(equal, one.args, other.args))
    return one is other
