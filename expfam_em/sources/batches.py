"""Rows that come in batches of any length, cut into the chunks that are asked for."""

from __future__ import annotations

import functools
import itertools
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from expfam_em.rows import grid
from expfam_em.rows.parts import chunks_of
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.source import StreamedRows, as_weights
from expfam_em.rows.threads import cached_property
from expfam_em.rows.typing import Array, Block

COLUMN_GAP = 80
"""Entries between columns: distances that are powers of two would have all columns share a few lines of the cache."""

FIRST_ROWS = 8
"""Rows at the beginning of a pass that must be those of the pass before."""

NUMBER_DTYPES = (np.float64, np.float32, np.uint8, np.bool_)
"""Dtypes of numbers that are kept; others become float64."""


class Batch(NamedTuple):
    """Some rows.

    Attributes
    ----------
    X : (m, d) array, or list of d arrays, one for each column
    weight : (m,), or None
    fresh : bool
        Whether nobody else will write to X, so that it need not be copied.
    """

    X: Block | list[np.ndarray]
    weight: Any = None
    fresh: bool = False

    def __len__(self) -> int:
        return len(self.X[0]) if isinstance(self.X, list) else len(self.X)

    @property
    def dtypes(self) -> list[np.dtype]:
        """Dtypes of the columns, or the one of the array."""
        return [np.asarray(column).dtype for column in self.X] if isinstance(self.X, list) else [self.X.dtype]


KEPT_BYTES = 1 << 26
"""Bytes of rows, the first of all, that are kept from one pass to the next where it takes long to read them."""

Reader = Callable[..., Iterable[Batch]]
"""Returns the batches in order; given the number of rows that a chunk will have, and free to heed it. Where the number
of rows is known, it may also be given the row to begin at."""


class Rooms:
    """Memory of arrays that nobody holds any more, given to new ones: fresh memory costs as much as what is read.

    One thread makes the arrays; others may drop them. What happens then is made in C: Ctrl-C would be lost in it.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._gone: list[_Held] = []

    def empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Return an array whose entries are not set; its memory is free again when the last view of it is gone."""
        size = math.prod(shape) * dtype.itemsize
        before = self._gone.pop() if self._gone else None
        block: Any = None if before is None else self._held.pop(id(before)).block
        if block is None or len(block) != size:
            block = np.empty(size, np.uint8)
        out = np.asarray(memoryview(block))
        held = _Held(out.base, self._gone.append)  # views hold this base, however they were made
        held.block = block
        self._held[id(held)] = held
        return out.view(dtype).reshape(shape)


class _Held(weakref.ref):
    """A reference to an array that lies in a block of memory."""

    block: np.ndarray


class BatchRows(StreamedRows):
    """Rows that are read as batches, again in each pass.

    Parameters
    ----------
    batches : callable (rows of a chunk) -> iterable of Batch
    dtypes : list of dtypes
        Of the columns.
    n_features : int
    weighted : bool
        Whether batches have weights.
    columns : list of str, optional
        Names of the columns.
    n_jobs : int, optional
        Threads that compute.
    """

    def __init__(
        self, batches: Reader, dtypes: Sequence[Any], n_features: int, weighted: bool,
        columns: Sequence[str] | None = None, n_jobs: int | None = None,
    ) -> None:  # fmt: skip
        if not n_features:
            raise ValueError("no column is left to be read: give columns=[...] others, or leave it out")
        self._batches, self._d, self._dtype = batches, n_features, common_dtype(dtypes, columns)
        self._weighted = weighted
        self._n: int | None = None  # rows of a pass, once there has been one
        self._first: Block | None = None  # the first rows of all
        self.columns, self.n_jobs = columns, n_jobs

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._d

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the rows."""
        return self._dtype

    @property
    def is_sparse(self) -> bool:
        """Whether chunks hold CSR rows; they do not."""
        return False

    @cached_property
    def total_weights(self) -> np.ndarray:
        """Σ of the row weights, (1,)."""
        # rows that have no weights need not be read to be counted again
        return super().total_weights if self._weighted or not self._n else np.array([float(self._n)])

    def chunks(self, size: int) -> Iterator[Chunk]:
        """Yield the rows in order, ``size`` at a time, and in the last chunk the rest."""
        return self._cut(self._batches(size), size, 0)

    def _cut(self, batches: Iterable[Batch], size: int, first: int) -> Iterator[Chunk]:
        """Yield the rows of batches, the first of which begins at some row, as chunks."""
        at, rooms = 0, Rooms()
        X = weight = np.empty(0)
        for batch in batches:
            m, begin = len(batch), 0
            weights = self._checked(batch, first + at)
            if first + at == 0:
                self.compare(batch)
            if at == 0 and m == size and batch.fresh and self._is_chunk(batch.X):
                yield Chunk(batch.X, weights, first)  # type: ignore[arg-type]
                first += m
                continue
            while begin < m:
                if at == 0:
                    X, weight = self._room(batch, size, rooms), np.empty(size if self._weighted else 0)
                take = min(size - at, m - begin)
                _fill(X[at : at + take], batch.X, begin)
                if weights is not None:
                    weight[at : at + take] = weights[begin : begin + take]
                begin, at = begin + take, at + take
                if at == size:
                    yield Chunk(X, weight if self._weighted else None, first)
                    first, at, X = first + size, 0, np.empty(0)  # a chunk is not held any longer
        if at:
            yield Chunk(X[:at], weight[:at] if self._weighted else None, first)
        if self._n not in (None, first + at):
            raise ValueError(
                f"{first + at} rows have been read, and {self._n} before: the same rows must come in every pass"
            )
        self._n = first + at

    def compare(self, batch: Batch) -> None:
        """Raise a ValueError if the first rows of a pass are not those of the pass before."""
        rows = self._room(batch, min(len(batch), FIRST_ROWS), Rooms())
        _fill(rows, batch.X, 0)
        n = len(rows) if self._first is None else min(len(rows), len(self._first))
        if self._first is not None and not np.array_equal(rows[:n], self._first[:n], equal_nan=True):
            raise ValueError(
                "the first rows are not those that came before: the same rows must come in every pass, so a function "
                "must return a new iterator whenever it is called, and draw from the same seed"
            )
        if len(rows):
            self._first = rows

    def weighed(self, weight: Any) -> Self:
        """Return the same rows, which have no weights, with those of an array or of anything with slices, (n,)."""
        if self._weighted:
            raise ValueError("weight is given beside rows that have weights: give either")
        weight = weight if hasattr(weight, "shape") else np.asarray(weight)
        if len(weight.shape) != 1 or self._n not in (None, len(weight)):
            n = "n" if self._n is None else self._n
            raise ValueError(f"weight has shape {weight.shape}; it must be ({n},), a weight for each row")
        self._batches, self._weighted = functools.partial(_weighed, self._batches, weight), True
        return self

    def _nothing(self) -> ValueError:
        return ValueError("the source has no rows: at least one is needed")

    def _room(self, batch: Batch, size: int, rooms: Rooms) -> np.ndarray:
        """Return room for a chunk, in the order in which a batch is laid out."""
        if isinstance(batch.X, list):
            return rooms.empty((self._d, size + COLUMN_GAP), self._dtype)[:, :size].T
        return rooms.empty((size, self._d), self._dtype)

    def _is_chunk(self, X: Any) -> bool:
        return isinstance(X, np.ndarray) and X.dtype == self._dtype and X.flags.c_contiguous

    def _checked(self, batch: Batch, row: int) -> Array | None:
        """Return the weights of a batch, once it is like the first."""
        d = len(batch.X) if isinstance(batch.X, list) else batch.X.shape[-1]
        if d != self._d or (not isinstance(batch.X, list) and batch.X.ndim != 2):
            shape = (len(batch), d) if isinstance(batch.X, list) else batch.X.shape
            raise ValueError(f"the batch at row {row} has shape {shape}; all must be (m, {self._d})")
        dtype = common_dtype(batch.dtypes)
        if not np.can_cast(dtype, self._dtype):
            raise ValueError(
                f"the batch at row {row} has dtype {dtype}, and the first one {self._dtype}, which cannot hold it: "
                "give all batches in one dtype"
            )
        if (batch.weight is not None) != self._weighted:
            raise ValueError(f"the batch at row {row} has {'no ' * self._weighted}weights, unlike the first one")
        return as_weights(batch.weight, len(batch), f"the batch at row {row}") if self._weighted else None


class SizedRows(BatchRows):
    """The same where the number of rows is known.

    Parameters
    ----------
    n_rows : int
    *arguments, **named
        Those of `BatchRows`.
    stamp : callable, optional
        Returns what is another when the rows are. With it, the first rows of a pass are kept for the next.
    """

    def __init__(
        self, n_rows: int, *arguments: Any, stamp: Callable[[], object] | None = None, **named: Any
    ) -> None:  # fmt: skip
        super().__init__(*arguments, **named)
        self._n = self._length = n_rows
        self._stamp = stamp
        self._kept: tuple[object, list[Chunk]] = None, []

    def __len__(self) -> int:
        return self._length

    def _of_pass(self, size: int) -> Iterator[Chunk]:
        if self._stamp is None:
            yield from self.chunks(size)
            return
        stamp, kept = self._kept
        if stamp != (now := self._stamp()):
            kept = []
            for block in itertools.islice(self.chunks(grid.MOST_ROWS), self._n_kept()):
                kept.append(block)
                yield from chunks_of(block, size)
            self._kept = now, kept
        else:
            for block in kept:
                yield from chunks_of(block, size)
        first = sum(len(block.X) for block in kept)
        if first < self._length:
            yield from self._cut(self._batches(size, first), size, first)

    def _n_kept(self) -> int | None:
        """Return how many blocks are kept, of as many rows as the longest chunk; None if all of them are."""
        width = self._d * self._dtype.itemsize + 8 * self._weighted
        return None if self._length * width <= KEPT_BYTES else KEPT_BYTES // (width * grid.MOST_ROWS)


def _weighed(batches: Reader, weight: Any, size: int, *begin: int) -> Iterator[Batch]:
    row = sum(begin)
    for batch in batches(size, *begin):
        yield Batch(batch.X, np.asarray(weight[row : row + len(batch)]), batch.fresh)
        row += len(batch)
    if row != len(weight):
        raise ValueError(f"there are {len(weight)} weights, and {row} rows: give a weight for each row")


def common_dtype(dtypes: Sequence[Any], names: Sequence[str] | None = None) -> np.dtype:
    """Return the dtype of an array of columns, in which nothing is lost that float64 can hold.

    Raises
    ------
    ValueError
        If one is no dtype of numbers.
    """
    for at, dtype in enumerate(dtypes):
        if dtype.kind not in "biuf":
            name = at if names is None else repr(names[at])
            raise ValueError(
                f"column {name} holds {dtype}; numbers are needed: leave it out with columns=[...], or give a frame in "
                "memory where it holds labels"
            )
    found = np.result_type(*dtypes)
    return np.dtype(found if found in NUMBER_DTYPES else np.float64)


def _fill(out: Block, X: Block | list[np.ndarray], begin: int) -> None:
    """Write the rows from one on to an array."""
    if not isinstance(X, list):
        out[:] = X[begin : begin + len(out)]
        return
    for j, column in enumerate(X):
        out[:, j] = column[begin : begin + len(out)]
