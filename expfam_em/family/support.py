"""One error for every value outside a support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from expfam_em.rows.columns import Column
from expfam_em.rows.typing import Array, Block, Mask


class ImpossibleRowError(ValueError):
    """A row that a family cannot have produced; ``{row}`` in the sentence stands for its number."""

    fine: Mask | None = None
    """Which rows meet the condition that this one does not, (n,), where that is known."""

    def __init__(self, sentence: str, row: int) -> None:
        super().__init__(sentence, row)
        self.sentence, self.row = sentence, int(row)

    def __str__(self) -> str:
        return self.sentence.replace("{row}", str(self.row))

    def counted_from(self, first: int) -> ImpossibleRowError:
        """Return the error with its row counted from the start of the whole; this part begins at row ``first``."""
        return ImpossibleRowError(self.sentence, self.row + first)


class OutsideSupportError(ImpossibleRowError):
    """A value that a family needs to be otherwise."""

    def __init__(self, needs: str, column: int, value: Any, row: int, name: str | None = None) -> None:
        called = str(column) if name is None else repr(name)
        super().__init__(f"{needs}; column {called} holds {value!s} (row {{row}})", row)
        self.args = needs, column, value, row, name  # what it is made again from, where it is pickled
        self.needs, self.column, self.value, self.name = needs, column, value, name

    def counted_from(self, first: int) -> OutsideSupportError:
        return OutsideSupportError(self.needs, self.column, self.value, self.row + first, self.name)

    def called(self, of: Column) -> OutsideSupportError:
        """Return the error with the name of the column, and with the label that a value is the code of."""
        value = self.value if of.levels is None else f"{of.level(float(self.value))!r}, coded as {self.value:g}"
        return OutsideSupportError(self.needs, self.column, value, self.row, of.name)


def counted_from(error: ValueError, first: int) -> ValueError:
    """Return a family's error with its row counted from the start of the whole; this part begins at row ``first``."""
    if isinstance(error, ImpossibleRowError):
        return error.counted_from(first)
    # a family's own, which may name a row as it has counted it
    return ValueError(f"{error} [rows counted from {first} on]") if first else error


def require(valid: Mask, X: Any, needs: str) -> None:
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
        error = OutsideSupportError(needs, int(column), (X if dense else X.values)[at], int(row))
        error.fine = np.all(np.asarray(valid).reshape(len(X), -1), axis=1) if dense else None
        raise error


def require_rows(valid: Mask, sentence: str, values: Array | None = None) -> None:
    """Raise a ValueError for the first row where ``valid`` (n,) is False.

    ``{row}`` in the sentence stands for its number, and ``{value}`` for what it has in ``values`` (n,).
    """
    if not np.all(valid):
        row = int(np.argmin(valid))
        error = ImpossibleRowError(sentence if values is None else sentence.replace("{value}", str(values[row])), row)
        error.fine = np.asarray(valid, bool)
        raise error


def check_exposure(exposure: Array | None, name: str) -> None:
    """Raise a ValueError for the first row whose exposure, e (n,) or None, is not positive."""
    if exposure is not None:
        sentence = "needs rows with a positive exposure; exposure(X) gave something else (row {row})"
        require_rows(exposure > 0, f"{name} {sentence}")


def accepted(check: Callable[[Block], None], X: Block) -> Mask:
    """Return a mask (n,) of the rows that pass ``check``, which raises ValueError at the first impossible row."""
    left = np.arange(len(X))
    while len(left):
        try:
            check(X if len(left) == len(X) else X[left])
            break
        except ValueError as error:
            row = getattr(error, "row", 0 if len(left) == 1 else None)
            if row is None:  # an error without a row: each is asked for alone
                left = left[[accepted(check, X[i : i + 1])[0] for i in left]]
                break
            known = getattr(error, "fine", None)
            fine = np.array(known) if known is not None and known.shape == left.shape else np.ones(len(left), bool)
            fine[row] = False
            left = left[fine]  # conditions are looked at one after the other: they may fail the next
    possible = np.zeros(len(X), bool)
    possible[left] = True
    return possible
