"""One error for every value outside a support."""

from __future__ import annotations

import numpy as np


class OutsideSupportError(ValueError):
    """A value that a family needs to be otherwise."""

    def __init__(self, needs, column, value, row):
        super().__init__(needs, column, value, row)
        self.needs, self.column, self.value, self.row = needs, column, value, row

    def __str__(self):
        return f"{self.needs}; column {self.column} holds {self.value!s} (row {self.row})"


def require(valid, X, needs: str) -> None:
    """Raise a ValueError naming the first column and value where ``valid`` is False.

    Parameters
    ----------
    valid : (n, d) bool, or (nnz,) for CSR rows
    X : (n, d) array or CSRBlock
    needs : what the family needs, as in "Bernoulli needs 0 or 1"
    """
    if not np.all(valid):
        at = tuple(np.argwhere(~np.asarray(valid))[0])
        dense = isinstance(X, np.ndarray)
        row, column = at if dense else X.place(at[0])
        raise OutsideSupportError(needs, int(column), (X if dense else X.values)[at], int(row))


def check_present(family, X, present) -> None:
    """Raise the family's error for the first of the present rows (n,) that it finds impossible, numbered as in X."""
    first = int(np.argmax(present))
    if not len(X) or not present[first]:
        return
    try:
        # a present row stands in for each absent one, so that rows are counted as the user does
        family.check_rows(X if np.all(present) else X[np.where(present, np.arange(len(X)), first)])
    except OutsideSupportError as error:
        raise OutsideSupportError(error.needs, error.column, error.value, max(error.row, first)) from None


def check_exposure(exposure, name) -> None:
    """Raise a ValueError for the first row of which the exposure e (n,), if there is one, is not positive."""
    if exposure is not None and not np.all(positive := exposure > 0):
        raise ValueError(
            f"{name} needs rows with a positive exposure; exposure(X) gave something else (row {np.argmin(positive)})"
        )


def accepted(check, X) -> np.ndarray:
    """Return which rows of X a function accepts, (n,), that raises a ValueError if one is impossible."""

    def alone(row):
        try:
            check(row)
        except ValueError:
            return False
        return True

    possible, first = np.ones(len(X), bool), 0
    while first < len(X):
        try:
            check(X[first:])
            break
        except ValueError as error:
            row = getattr(error, "row", None)
            if row is None:  # an error without a row: each is asked for alone
                return np.array([alone(X[i : i + 1]) for i in range(len(X))], bool)
            possible[first + row] = False
            first += row + 1
    return possible
