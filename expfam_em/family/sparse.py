"""What a family says of CSR rows, from their entries alone."""

from __future__ import annotations

import numpy as np

from expfam_em.family.support import OutsideSupportError

PROBE = 1 << 14
"""Numbers of the first rows that are evaluated densely, to see that a family keeps zeros as it says."""

T_IS_NOT_X = "its T(x) is not x"


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
