"""Rows of a CSR matrix, taken as the rows of an array are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import sparse

from expfam_em.rows.columns import check_table
from expfam_em.rows.typing import Array, Block, Integers, Observations


def read_only(X: Any) -> Any:
    """Return a view of an array that refuses changes: no method of a family is a place to change the observations."""
    if isinstance(X, np.ndarray) and X.flags.writeable:
        X = X.view()
        X.flags.writeable = False
    if isinstance(X, CSRBlock) and X.data.flags.writeable:
        X = CSRBlock(read_only(X.data), read_only(X.indices), read_only(X.indptr), X.shape[1])
    return X


def csr_arrays(X: Any) -> tuple[Block, NDArray[np.int32], Integers]:
    """Return data, indices (int32) and indptr (int64) of a CSR matrix as the pass takes them, copied only to convert.

    Values of float64, float32, uint8 and bool are kept, others become float64.

    Raises
    ------
    ValueError
        If an index is outside the matrix: the pass would write there.
    """
    data, indices, indptr = np.asarray(X.data), np.asarray(X.indices), np.asarray(X.indptr)
    n, d = X.shape
    ascending = len(indptr) == n + 1 and indptr[0] >= 0 and np.all(np.diff(indptr) >= 0)
    if not (ascending and indptr[-1] <= min(len(data), len(indices))):
        raise ValueError("indptr of the CSR matrix is not an ascending list of n + 1 positions in its data")
    stored = indices[indptr[0] : indptr[-1]]
    if stored.size and not (stored.min() >= 0 and stored.max() < d):
        raise ValueError(f"column indices of the CSR matrix: {stored.min()} to {stored.max()} where it has {d} columns")
    if data.dtype not in (np.float64, np.float32, np.uint8, np.bool_):
        data = data.astype(np.float64)
    return (
        np.ascontiguousarray(data),
        np.ascontiguousarray(indices, np.int32),
        np.ascontiguousarray(indptr, np.int64),
    )


class CSRBlock:
    """Some rows of a CSR matrix; slices share its memory, and ``np.asarray`` makes them dense.

    Attributes
    ----------
    data, indices : (nnz,), (nnz,) int32
        Of the whole matrix: ascending columns in each row, none twice.
    indptr : (n + 1,) int64
        Where in them the rows of this block begin and end.
    shape : (n, d)
    """

    ndim = 2

    def __init__(self, data: Block, indices: NDArray[np.int32], indptr: Integers, n_columns: int) -> None:
        self.data: Block = data
        self.indices: NDArray[np.int32] = indices
        self.indptr: Integers = indptr
        self.shape: tuple[int, int] = (len(indptr) - 1, n_columns)

    @classmethod
    def of(cls, X: Any) -> CSRBlock:
        """Take the rows of a SciPy sparse matrix or array, which is not changed.

        Raises
        ------
        ValueError
            If it is no matrix, its indices point outside it, or an entry is infinite or NaN.
        """
        if len(X.shape) != 2:
            raise ValueError(f"X is sparse of shape {X.shape}; it must be (n, d)")
        X = X.tocsr()
        data, indices, indptr = csr_arrays(X)
        if not X.has_canonical_format:
            X = sparse.csr_array((X.data, X.indices, X.indptr), X.shape, copy=True)
            X.sum_duplicates()
            data, indices, indptr = csr_arrays(X)
        block = cls(data, indices, indptr, X.shape[1])
        if not np.all(finite := np.isfinite(block.values)):
            entry = int(np.argmin(finite))
            row, column = block.place(entry)
            raise ValueError(
                f"sparse X holds {block.values[entry]} in column {column} (row {row}); entries must be finite"
            )
        return block

    @classmethod
    def empty(cls, n_columns: int, dtype: Any) -> CSRBlock:
        """Return one row without entries."""
        return cls(np.empty(0, dtype), np.empty(0, np.int32), np.zeros(2, np.int64), n_columns)

    @classmethod
    def concatenate(cls, blocks: list[CSRBlock]) -> CSRBlock:
        """Return the rows of several blocks of as many columns one after another."""
        sizes = np.concatenate([[0], *(np.diff(block.indptr) for block in blocks)])
        data, indices = (np.concatenate(parts) for parts in zip(*((b.values, b.columns) for b in blocks), strict=True))
        return cls(data, indices, np.cumsum(sizes, dtype=np.int64), blocks[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def __getitem__(self, rows: Any) -> CSRBlock:
        """Return the rows of a slice without a step, or of an index array."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return CSRBlock(self.data, self.indices, self.indptr[start : max(start, stop) + 1], self.shape[1])
        sizes, ends = np.diff(self.indptr)[rows], np.cumsum(np.diff(self.indptr)[rows])
        entries = np.arange(sizes.sum()) + np.repeat(self.indptr[:-1][rows] - (ends - sizes), sizes)
        indptr = np.concatenate([[0], ends]).astype(np.int64)
        return CSRBlock(self.data[entries], self.indices[entries], indptr, self.shape[1])

    @property
    def values(self) -> np.ndarray:
        """The entries of these rows."""
        return self.data[self.indptr[0] : self.indptr[-1]]

    @property
    def columns(self) -> np.ndarray:
        """Their columns."""
        return self.indices[self.indptr[0] : self.indptr[-1]]

    @property
    def rows(self) -> np.ndarray:
        """Their rows, counted from the first of this block."""
        return np.repeat(np.arange(len(self)), np.diff(self.indptr))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        out = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        out[self.rows, self.columns] = self.values
        return out

    def place(self, entry: int) -> tuple[int, int]:
        """Return row and column of an entry of `values`."""
        row = np.searchsorted(self.indptr - self.indptr[0], entry, side="right") - 1
        return int(row), int(self.columns[entry])

    def first_gap(self) -> tuple[int, int] | None:
        """Return row and column of the first zero that is not stored, if there is one."""
        row = int(np.argmax(np.diff(self.indptr) < self.shape[1]))
        gaps = np.setdiff1d(np.arange(self.shape[1]), self[row : row + 1].columns)
        return (row, int(gaps[0])) if len(gaps) else None

    def sum_rows(self, values: Block) -> np.ndarray:
        """Return the sum over each row of one number for each entry, (nnz,) -> (n,), added in the order of columns."""
        return np.bincount(self.rows, values, minlength=len(self))

    @property
    def matrix(self) -> Any:
        """These rows as a SciPy array, for products."""
        return sparse.csr_array((self.values, self.columns, self.indptr - self.indptr[0]), self.shape)


def row_sums(X: Block | CSRBlock, function: Callable[[Array], Array] | None = None) -> Array:
    """Return Σ_j f(x_j) of each row of an array or of CSR rows, (n,), for a function with f(0) = 0, or Σ_j x_j."""
    values = np.asarray(X.values if isinstance(X, CSRBlock) else X, np.float64)
    values = values if function is None else function(values)
    return X.sum_rows(values) if isinstance(X, CSRBlock) else values.sum(axis=1)


def without_mask(X: Any) -> Any:
    """Return a masked array with NaN, a missing value, where it is masked; anything else as it is."""
    if not isinstance(X, np.ma.MaskedArray):
        return X
    values: Any = X
    if not np.ma.is_masked(values):
        return values.data
    return values.astype(np.result_type(values.dtype, np.float32)).filled(np.nan)


def has_missing(X: Any) -> bool:
    """Whether a value of dense rows is missing, NaN; sparse rows are refused before if one is."""
    return not isinstance(X, CSRBlock) and X.dtype.kind == "f" and X.size > 0 and bool(np.isnan(X.min()))


def check_weight(sample_weight: Any) -> None:
    """Raise a ValueError if weights are masked, or no numbers, which NumPy might make numbers of."""
    if np.ma.is_masked(sample_weight):
        raise ValueError("sample_weight has masked entries: give 0 for rows that are to count for nothing")
    if (dtype := np.asarray(sample_weight).dtype).kind not in "biufO":
        raise ValueError(
            f"sample_weight has dtype {dtype}; give numbers, one for each row, such as X['name of the column']"
        )


def observations(X: Observations | CSRBlock) -> Block | CSRBlock:
    """Return X as an array, or as a block of CSR rows if it is sparse."""
    if isinstance(X, CSRBlock):
        return X
    if sparse.issparse(X):
        return CSRBlock.of(X)
    if isinstance(X, (str, os.PathLike)) or (callable(X) and not hasattr(X, "shape")):
        raise ValueError(f"X is {type(X).__name__}, and not rows themselves: give expfam_em.rows_from(X)")
    check_table(X)
    X = np.asarray(without_mask(X))
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; it must be (n, d), one row for each observation")
    return X


def project(X: Block | CSRBlock, direction: Array) -> Array:
    """Return X · direction added column by column: equal rows get equal keys, which a BLAS product does not promise."""
    if isinstance(X, CSRBlock):
        return X.sum_rows(X.values * direction[X.columns])
    key = np.zeros(len(X))
    with np.errstate(all="ignore"):  # absent rows may hold anything
        for column, coefficient in zip(np.asarray(X).T, direction, strict=True):
            key += column * coefficient
    return key
