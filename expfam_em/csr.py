"""Rows of a CSR matrix, taken as the rows of an array are, and what a family says of them from their entries alone."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from expfam_em.kernels.sparse import csr_arrays
from expfam_em.support import OutsideSupportError

PROBE = 1 << 14
"""Numbers of the first rows that are evaluated densely, to see that a family keeps zeros as it says."""

T_IS_NOT_X = "its T(x) is not x"


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

    def __init__(self, data, indices, indptr, n_columns):
        self.data, self.indices, self.indptr = data, indices, indptr
        self.shape = (len(indptr) - 1, n_columns)

    @classmethod
    def of(cls, X) -> CSRBlock:
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

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self):
        return self.data.dtype

    def __getitem__(self, rows) -> CSRBlock:
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

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        out = np.zeros(self.shape, self.dtype if dtype is None else dtype)
        out[self.rows, self.columns] = self.values
        return out

    def place(self, entry) -> tuple[int, int]:
        """Return row and column of an entry of `values`."""
        row = np.searchsorted(self.indptr - self.indptr[0], entry, side="right") - 1
        return int(row), int(self.columns[entry])

    def first_gap(self) -> tuple[int, int] | None:
        """Return row and column of the first zero that is not stored, if there is one."""
        row = int(np.argmax(np.diff(self.indptr) < self.shape[1]))
        gaps = np.setdiff1d(np.arange(self.shape[1]), self[row : row + 1].columns)
        return (row, int(gaps[0])) if len(gaps) else None

    def sum_rows(self, values) -> np.ndarray:
        """Return the sum over each row of one number for each entry, (nnz,) -> (n,), added in the order of columns."""
        return np.bincount(self.rows, values, minlength=len(self))

    def project(self, direction) -> np.ndarray:
        """Return X · direction, (n,), with equal results for equal rows."""
        return self.sum_rows(self.values * direction[self.columns])

    @property
    def matrix(self):
        """These rows as a SciPy array, for products."""
        return sparse.csr_array((self.values, self.columns, self.indptr - self.indptr[0]), self.shape)


def row_sums(X, function=None) -> np.ndarray:
    """Return Σ_j f(x_j) of each row of an array or of CSR rows, (n,), for a function with f(0) = 0, or Σ_j x_j."""
    values = np.asarray(X.values if isinstance(X, CSRBlock) else X, np.float64)
    values = values if function is None else function(values)
    return X.sum_rows(values) if isinstance(X, CSRBlock) else values.sum(axis=1)


def observations(X):
    """Return X as an array, or as a block of CSR rows if it is sparse."""
    if isinstance(X, CSRBlock):
        return X
    if sparse.issparse(X):
        return CSRBlock.of(X)
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; it must be (n, d), one row for each observation")
    return X


def refuse_unless_zeros_are_kept(family) -> None:
    """Raise a TypeError for sparse rows if the family says that it needs dense ones."""
    if family.keeps_zeros is not None and not family.keeps_zeros:
        raise _needs_dense(family, "its T or log h is not 0 where x is 0")


def check_keeps_zeros(family, X) -> None:
    """Raise a TypeError if the family does not keep zeros, a ValueError if it does so in name only.

    What a family says, or does not say, is compared with what the first rows show.
    """
    refuse_unless_zeros_are_kept(family)
    reason = _reason_for_dense(family, X[: max(1, PROBE // X.shape[1])])
    if reason and family.keeps_zeros:
        raise ValueError(f"{family!r} says keeps_zeros, but {reason}: sparse X is refused")
    if reason:
        raise _needs_dense(family, reason)


def _needs_dense(family, reason) -> TypeError:
    return TypeError(
        f"X is a sparse matrix, but {family!r} needs dense rows, because {reason} (keeps_zeros): give X.toarray() if "
        "it fits into memory, or fit a family that keeps zeros, such as Bernoulli, Poisson, Multinomial or OneHot"
    )


def _reason_for_dense(family, X) -> str | None:
    """Return what differs between CSR rows and the same rows made dense, or None."""
    dense = np.asarray(X)
    with np.errstate(all="ignore"):
        T, exposure = family.statistics_and_exposure(dense)
    if not np.array_equal(T, dense):
        return T_IS_NOT_X
    found = family.checked_exposure(X)
    if (found is None) != (exposure is None) or (found is not None and not _agree(found, exposure)):
        return (
            "its exposure of CSR rows is not that of dense ones (with takes_csr, exposure(X) is called with a "
            "CSRBlock; without, there is none)"
        )
    if _agree(log_base_measure(family, X), family.checked_log_base_measure(dense)):
        return None
    if family.takes_csr:
        return "log h of CSR rows is not that of dense ones (takes_csr)"
    return "log h of a row is not the sum over its entries, each taken as a row of one column"


def _agree(found, expected) -> bool:
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def log_base_measure(family, X) -> np.ndarray:
    """Return log h (n,) of CSR rows, which are not looked at for whether the family keeps zeros."""
    if family.takes_csr:
        with np.errstate(all="ignore"):  # impossible rows have log h = −∞
            return np.asarray(family.log_base_measure(X), np.float64)
    return X.sum_rows(family.checked_log_base_measure(X.values[:, None]))


def check_rows(family, X) -> None:
    """Raise the family's ValueError for the first entry outside its support, with row and column as in X.

    A family that does not say whether it keeps zeros is also asked for T of every entry: that T(x) is x in the first
    rows may be owed to them, as with x² where they hold 0 and 1.
    """
    check_keeps_zeros(family, X)
    entries = X.values[:, None]
    if family.keeps_zeros is None and not np.array_equal(family.statistics_and_exposure(entries)[0], entries):
        raise _needs_dense(family, T_IS_NOT_X)
    if family.takes_csr:
        family.check_support(X)
        return

    def refusal(values):
        try:
            family.check_support(values[:, None])
        except ValueError as error:
            return error
        return None

    values, gap = X.values, X.first_gap()
    if len(values) and refusal(values):
        start, stop = 0, len(values)  # the first bad entry lies in this range
        while stop - start > 1:
            middle = (start + stop) // 2
            start, stop = (start, middle) if refusal(values[start:middle]) else (middle, stop)
        (row, column), value, error = X.place(start), values[start], refusal(values[start : start + 1])
    elif gap is not None and (error := refusal(np.zeros(1, X.dtype))):
        (row, column), value = gap, 0
    else:
        return
    raise OutsideSupportError(getattr(error, "needs", str(error)), column, value, row) from None
