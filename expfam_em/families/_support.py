"""One error for every value outside a support."""

import numpy as np


def require(valid, X, needs: str) -> None:
    """Raise a ValueError naming the first column and value where ``valid`` is False.

    Parameters
    ----------
    valid : (n, d) bool
    X : (n, d)
    needs : what the family needs, as in "Bernoulli needs 0 or 1"
    """
    if not np.all(valid):
        row, column = np.argwhere(~np.asarray(valid))[0]
        raise ValueError(f"{needs}; column {column} holds {X[row, column]!s} (row {row})")
