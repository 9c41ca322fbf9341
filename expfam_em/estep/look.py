"""Rows that have been looked at once: what several functions of chunks find of all rows, by a single pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.estep.reduce import Refusal
from expfam_em.rows.protocol import Chunk, Rows, V
from expfam_em.rows.source import weight_of


@dataclass(frozen=True)
class Found:
    """What each function has found; ``+`` adds up. Nothing is said behind a refusal."""

    values: tuple[Any, ...]

    def __add__(self, other: Found) -> Found:
        pairs = zip(self.values, other.values, strict=True)
        return Found(tuple(None if one is None or two is None else one + two for one, two in pairs))


@dataclass(frozen=True)
class Size:
    """How many rows there are, and the sum of their weights."""

    n: int
    weight: float

    def __add__(self, other: Size) -> Size:
        return Size(self.n + other.n, self.weight + other.weight)


def size_chunk(chunk: Chunk) -> Size:
    """Return the size of a chunk."""
    return Size(len(chunk.X), weight_of(chunk))


def together(functions: tuple[Callable[[Chunk], Any], ...], chunk: Chunk) -> Found:
    """Return what functions find of a chunk; those behind one that refuses a row are not asked."""
    values: list[Any] = []
    for function in functions:
        refused = any(isinstance(value, Refusal) and value.error is not None for value in values)
        values.append(None if refused else function(chunk))
    return Found(tuple(values))


class LookedRows:
    """Rows that answer some functions of chunks without being read again.

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

    def __getattr__(self, name: str) -> Any:
        if name in ("rows", "known"):
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
        return self.rows.reduce(function, work)

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> Rows:
        """Return rows changed chunk by chunk; see `Rows`."""
        return self.rows.derive(function, work)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, functools.partial) and isinstance(other, functools.partial):
        same = one.func is other.func and len(one.args) == len(other.args) and one.keywords == other.keywords
        return same and all(a is b for a, b in zip(one.args, other.args, strict=True))
    return one is other
