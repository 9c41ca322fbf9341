"""What a source of rows has to say: how they are cut into chunks, and what is made of the chunks added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.typing import Array, Block


class Addable(Protocol):
    """A value with ``+``."""

    def __add__(self, other: Any) -> Any:
        """Return the sum of two values."""


V = TypeVar("V", bound=Addable)


class Chunk(NamedTuple):
    """Some rows in memory, as functions of chunks see them.

    Attributes
    ----------
    X : (m, d) array or CSRBlock
        In row or column order.
    weight : (m,) float64, or None
        Row weights, where there are some.
    first : int
        Number of the first row in the whole.
    table : array or None
        What `Rows.derive` has put beside the rows, by row; up to `PADDING` further rows may follow.
    offset : (m, G) float64, or None
        Added to the scores: the first column to those of the components of group 0, and so on.
    ranges : (r, 3) int64, or None
        Ranges of rows (start, stop, data set), counted within the chunk, where rows of several data sets are at hand.
        None: all rows are of the one data set.
    groups : Ranges, or None
        What rows that lie together have in common, such as the columns that are observed.
    """

    X: np.ndarray | CSRBlock
    weight: np.ndarray | None
    first: int
    table: Any = None
    ranges: np.ndarray | None = None
    offset: np.ndarray | None = None
    groups: Any = None

    def of_data(self) -> np.ndarray:
        """Return the ranges, also where there is one only, (r, 3)."""
        return np.array([[0, len(self.X), 0]]) if self.ranges is None else self.ranges


PADDING = 8
"""Rows that a table is longer than its rows: kernels may read a vector of rows at once."""


class Rows(Protocol):
    """Rows wherever they are: in memory, in files, on other machines.

    Attributes
    ----------
    n_features : int
    dtype : numpy dtype
    n_data : int
        Number of data sets D, 1 but for rows in memory that are fitted in lock step.
    total_weights : (D,)
        Σ of the row weights of each data set.
    is_sparse : bool
        Whether chunks hold CSR rows.
    """

    @property
    def n_features(self) -> int: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def n_data(self) -> int: ...
    @property
    def total_weights(self) -> np.ndarray: ...
    @property
    def is_sparse(self) -> bool: ...

    def reduce(self, function: Callable[[Chunk], V], work: float) -> V:
        """Return the sum of ``function(chunk)`` over all chunks.

        Chunks lie on the `grid` of row numbers that belongs to ``work``, the multiply-adds per row, and are added in
        the order of a binary tree over their numbers (`Tree`): any threads, files or workers then give the same bits.
        The function and what it returns can be pickled.
        """

    def derive(self, function: Callable[[Chunk], Chunk], work: float) -> Rows:
        """Return rows changed chunk by chunk, each as long as before: another X, another weight, a table beside them.

        The function does the same to a row in every chunk, so it may be called whenever a chunk is asked for.
        """


def is_rows(X: Any) -> bool:
    """Whether X is a `Rows`, and neither an array nor a matrix."""
    kind = type(X)  # a proxy may claim to have every attribute
    return hasattr(kind, "reduce") and hasattr(kind, "derive")


Blocks: TypeAlias = Rows | Iterable[tuple[Block, Array | None]]
"""Rows, or arrays of rows and their weights, block by block; these can be iterated over more than once."""
