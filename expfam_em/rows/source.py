"""Rows of which any range can be read, from files for example: a subclass reads, this class does the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import Tree, rows_per_chunk
from expfam_em.rows.protocol import Chunk, V
from expfam_em.rows.threads import cached_property, run_in_order, thread_count


class RowSource(ABC):
    """Rows that are read range by range; no more than a chunk for each thread is held at a time.

    A subclass defines ``__len__``, the number of rows, and `read`.
    """

    n_data = 1
    n_jobs: int | None = 1
    """Threads that read and compute; all cores if None. `read` is called by all of them."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, first: int, stop: int) -> Chunk:
        """Return the rows first ≤ i < stop with their weights: ``Chunk(X, weight, first)``."""

    @cached_property
    def _head(self) -> Chunk:
        return self._checked(0, 1)

    def _checked(self, first: int, stop: int) -> Chunk:
        """Return what `read` returns, with weights as float64, once it is what was asked for."""
        chunk, asked = self.read(first, stop), f"{type(self).__name__}.read({first}, {stop})"
        if chunk.first != first or chunk.X.shape[0] != stop - first:
            raise ValueError(f"{asked} returned {chunk.X.shape[0]} rows that begin at row {chunk.first}")
        if chunk.weight is None:
            return chunk
        weight = np.ascontiguousarray(chunk.weight, np.float64)
        if weight.shape != (stop - first,) or not np.all((weight >= 0) & np.isfinite(weight)):
            raise ValueError(
                f"{asked} returned weights of shape {weight.shape}, the least of them {weight.min(initial=np.inf)}; "
                f"{stop - first} finite numbers ≥ 0 are needed"
            )
        return chunk._replace(weight=weight)

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
        """Whether `read` returns CSR rows."""
        return isinstance(self._head.X, CSRBlock)

    @cached_property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights, (1,)."""
        return np.array([float(self.reduce(_weight, 1.0))])

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks; see `Rows`."""
        if not len(self):
            raise ValueError(f"{type(self).__name__} has no rows: at least one is needed")
        tree, size = Tree(), rows_per_chunk(work)

        def one(number: int) -> None:
            first = number * size
            tree.put(0, number, function(self._checked(first, min(first + size, len(self)))))

        run_in_order(one, range(-(-len(self) // size)), thread_count(self.n_jobs))
        return tree.total()

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> RowSource:
        """Return rows changed whenever they are read; see `Rows`."""
        return _Derived(self, function)


class _Derived(RowSource):
    def __init__(self, source: RowSource, function: Callable[[Chunk], Chunk]) -> None:
        self.source, self.function, self.n_jobs = source, function, source.n_jobs

    def __len__(self) -> int:
        return len(self.source)

    def read(self, first: int, stop: int) -> Chunk:
        return self.function(self.source.read(first, stop))


def _weight(chunk: Chunk) -> float:
    return len(chunk.X) if chunk.weight is None else chunk.weight.sum()
