"""Rows that are read in order, from files for example: a subclass reads, this class does the rest."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK, Tree, rows_per_chunk
from expfam_em.rows.protocol import Chunk, V
from expfam_em.rows.threads import cached_property, run_ahead, thread_count

COPIED_ROWS = 1 << 12
"""Rows whose order is changed at a time."""


class StreamedRows(ABC):
    """Rows that are read chunk by chunk, by one thread, while others compute; few chunks are held at a time.

    A subclass defines `chunks`.
    """

    n_data = 1
    n_jobs: int | None = 1
    """Threads that compute, beside the one that reads; all cores if None."""
    columns: Sequence[str] | None = None
    """Names of the columns, where they have some."""

    @abstractmethod
    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in order, ``size`` at a time, and in the last chunk the rest."""

    @cached_property
    def _head(self) -> Chunk:
        for chunk in self.chunks(1):
            return chunk
        raise self._nothing()

    def _nothing(self) -> ValueError:
        return ValueError(f"{type(self).__name__} has no rows: at least one is needed")

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._head.X.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the rows."""
        return self._head.X.dtype

    @property
    def is_sparse(self) -> bool:
        """Whether chunks hold CSR rows."""
        return isinstance(self._head.X, CSRBlock)

    @cached_property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights, (1,)."""
        return np.array([self.reduce(weight_of, ENTRY_WORK * self.n_features)])

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks; see `Rows`."""
        tree, as_read = Tree(), getattr(function, "takes_any_order", False)

        def one(numbered: tuple[int, Chunk]) -> None:
            number, chunk = numbered
            tree.put(0, number, function(chunk if as_read else in_row_order(chunk)))

        run_ahead(one, self._of_pass(rows_per_chunk(work)), thread_count(self.n_jobs))
        if not tree.nodes:
            raise self._nothing()
        return tree.total()

    def _of_pass(self, size: int) -> Iterator[Chunk]:
        """Yield the chunks of one of several passes."""
        return self.chunks(size)

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> StreamedRows:
        """Return rows changed whenever they are read; see `Rows`."""
        return _Derived(self, function)


def in_row_order(chunk: Chunk) -> Chunk:
    """Return a chunk whose rows lie one after another: sums over them that NumPy makes then have the same bits."""
    X = chunk.X
    if isinstance(X, CSRBlock) or X.flags.c_contiguous:
        return chunk
    out = np.empty(X.shape, X.dtype)
    for first in range(0, len(X), COPIED_ROWS):  # while they are in the cache
        out[first : first + COPIED_ROWS] = X[first : first + COPIED_ROWS]
    return chunk._replace(X=out)


class RowSource(StreamedRows):
    """Rows of which any range can be read.

    A subclass defines ``__len__``, the number of rows, and `read`.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, first: int, stop: int) -> Chunk:
        """Return the rows first ≤ i < stop with their weights: ``Chunk(X, weight, first)``."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in order, ``size`` at a time, and in the last chunk the rest."""
        for first in range(0, len(self), size):
            yield self.chunk(first, min(first + size, len(self)))

    def chunk(self, first: int, stop: int) -> Chunk:
        """Return what `read` returns, with weights as float64, once it is what was asked for."""
        chunk, asked = self.read(first, stop), f"{type(self).__name__}.read({first}, {stop})"
        if chunk.first != first or chunk.X.shape[0] != stop - first:
            raise ValueError(f"{asked} returned {chunk.X.shape[0]} rows that begin at row {chunk.first}")
        return chunk if chunk.weight is None else chunk._replace(weight=as_weights(chunk.weight, stop - first, asked))


def as_weights(weight: Any, n: int, asked: str) -> np.ndarray:
    """Return the weights of n rows as float64.

    Raises
    ------
    ValueError
        If they are no finite numbers from 0; ``asked`` is what has returned them.
    """
    if (kind := np.asarray(weight).dtype).kind not in "biuf":
        raise ValueError(f"{asked} returned weights of dtype {kind}; numbers are needed")
    weight = np.ascontiguousarray(weight, np.float64)
    if weight.shape != (n,) or not np.all((weight >= 0) & np.isfinite(weight)):
        raise ValueError(
            f"{asked} returned weights of shape {weight.shape}, the least of them {weight.min(initial=np.inf)}; "
            f"{n} finite numbers ≥ 0 are needed"
        )
    return weight


class _Derived(StreamedRows):
    def __init__(self, source: StreamedRows, function: Callable[[Chunk], Chunk]) -> None:
        self.source, self.function, self.columns = source, function, source.columns

    def chunks(self, size: int) -> Iterator[Chunk]:
        return map(self.function, self.source.chunks(size))

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        # a chunk is changed by the thread that computes, not by the one that reads
        return self.source.reduce(functools.partial(_after, self.function, function), work)


def _after(change: Callable[[Chunk], Chunk], function: Callable[[Chunk], Any], chunk: Chunk) -> Any:
    return function(change(chunk))  # of rows in order, since a partial function does not take any


def weight_of(chunk: Chunk) -> float:
    """Return the sum of the row weights of a chunk."""
    return float(len(chunk.X) if chunk.weight is None else chunk.weight.sum())
