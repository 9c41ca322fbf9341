"""Row weights that do not count rows, and how many rows they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.estep.look import size_chunk
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.protocol import Rows, is_rows
from expfam_em.rows.typing import Array

TOO_FEW = 1 - 1e-6
"""Share of the effective sample size that frequencies sum to at least, up to rounding: none of them is below 1."""


def effective_sample_size(sample_weight: ArrayLike) -> float:
    """Return (Σ w)² / Σ w², the number of rows of equal weight that are worth as much as the weighted ones (Kish 1965).

    Criteria such as ``bic`` take weights for frequencies: their n is Σ w. For weights that are not, such as those that
    sum to 1, give ``w * effective_sample_size(w) / w.sum()``, whose sum is the effective sample size. The size lies
    between 1 and n, and does not depend on the unit of the weights.

    Parameters
    ----------
    sample_weight : (n,)
        Non-negative and finite, not all 0.

    Raises
    ------
    ValueError
        If the weights are others.

    Examples
    --------
    >>> import expfam_em as ef
    >>> ef.effective_sample_size([0.25, 0.25, 0.25, 0.25]), ef.effective_sample_size([0.9, 0.05, 0.05])
    (4.0, 1.2269938650306749)
    """
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim != 1 or not (np.all((weight >= 0) & (weight < np.inf)) and np.any(weight > 0)):
        raise ValueError(
            f"sample_weight is {sample_weight!r}; it must be one finite number ≥ 0 for each row, not all of them 0"
        )
    relative = weight / weight.max()  # no square overflows, and none that counts underflows
    return float(relative.sum() ** 2 / np.sum(relative**2))


def why_not_frequencies(weight: Array | Rows | None) -> str | None:
    """Return why weights (n,), or those of rows, cannot say how often rows occur; None if they can.

    Frequencies have Σ w² ≥ Σ w, so their sum is at least the effective sample size. Weights below 1 have not.
    """
    if weight is None:
        return None
    if is_rows(weight):
        rows: Any = weight
        found = rows.reduce(size_chunk, ENTRY_WORK * rows.n_features)
        n, total, size = found.present, found.weight, found.weight**2 / found.squares
    else:
        known: Any = weight
        n, total, size = np.count_nonzero(known), float(known.sum()), effective_sample_size(known)
    if total >= TOO_FEW * size:
        return None
    return f"the weights of {n:.0f} rows sum to {total:.6g}, but are worth {size:.6g} rows of equal weight"
