"""One error for every value outside a support."""

import numpy as np

from expfam_em.csr import CSRBlock


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
        sparse = isinstance(X, CSRBlock)
        row, column = X.place(at[0]) if sparse else at
        raise OutsideSupportError(needs, int(column), (X.values if sparse else X)[at], int(row))
