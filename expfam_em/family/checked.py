"""What a family says, checked before anything is made of it; sparse rows are taken here and nowhere else.

The first argument of each function is the family.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from expfam_em.family import mappings
from expfam_em.family.support import ImpossibleRowError, OutsideSupportError, check_exposure, counted_from
from expfam_em.rows.csr import CSRBlock, read_only
from expfam_em.rows.typing import Array, Block, Mask

PROBE = 1 << 14
"""Entries of the first rows that are evaluated densely, to see that T and log h are as the family says."""

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily

F = TypeVar("F", bound=Callable[..., Any])

T_IS_NOT_X = "its T(x) is not x"


def default(method: F) -> F:
    """Mark a method of the abstract class as one that stands in where a family defines none; a decorator."""
    vars(method)["is_default"] = True
    return method


def is_default(method: Callable[..., Any]) -> bool:
    """Whether a family does not define a method itself."""
    return getattr(method, "is_default", False)


def log_partition(family: ExponentialFamily, natural: Array) -> Array:
    """Return A(η) without floating-point warnings, (K, p) -> (K,); not finite outside the space.

    Raises
    ------
    ValueError
        If the family returns another shape.
    """
    with np.errstate(all="ignore"):
        value = np.asarray(family.log_partition(natural))
    return _one_per_row(family, "log_partition", value, len(natural), "rows of natural parameters", "K")


def _one_per_row(
    family: ExponentialFamily, method: str, value: Array, n: int, rows: str = "rows", axis: str = "n"
) -> Array:
    """Return what a method returned, if its shape is (n,)."""
    if value.shape != (n,):
        raise ValueError(
            f"{type(family).__name__}.{method} returned shape {value.shape} for {n} {rows}: it must be one number per "
            f"row, ({axis},)"
        )
    return value


def statistics(family: ExponentialFamily, X: Any) -> tuple[Array, Array | None]:
    """Return T (n, p) as float64 and e (n,), None where it is 1.

    Raises
    ------
    ValueError
        If the family returns another shape, or writes to X.
    """
    X = read_only(np.asarray(X))
    with np.errstate(all="ignore"):  # absent rows may hold anything
        T = np.asarray(family.sufficient_statistics(X), np.float64)
    if T.ndim != 2 or len(T) != len(X):
        raise ValueError(
            f"{type(family).__name__}.sufficient_statistics returned shape {T.shape} for {len(X)} rows: "
            "it must return one row of statistics per row of X, (n, p)"
        )
    return T, exposure(family, X)


def n_statistics(family: ExponentialFamily, n_features: int, dtype: DTypeLike = np.float64) -> int:
    """Return the number of statistics p of rows of so many columns."""
    with np.errstate(all="ignore"):  # one of them may lie outside the support: only the shape matters
        return statistics(family, np.ones((1, n_features), dtype))[0].shape[1]


def exposure(family: ExponentialFamily, X: Any) -> Array | None:
    """Return e (n,) as float64, NaN where it is not positive, None where it is always 1; X may be CSR rows.

    Raises
    ------
    ValueError
        If the family returns another shape.
    """
    with np.errstate(all="ignore"):
        value = family.exposure(read_only(X)) if family.sparse == "rows" or not isinstance(X, CSRBlock) else None
    if value is None:
        return None
    value = _one_per_row(family, "exposure", np.asarray(value, np.float64), len(X))
    return np.where(value > 0, value, np.nan)


def log_base_measure(family: ExponentialFamily, X: Block | CSRBlock) -> Array:
    """Return log h (n,) as float64; X may be CSR rows.

    Raises
    ------
    ValueError
        If the family returns another shape.
    """
    if isinstance(X, CSRBlock):
        check_sparse(family, X)
        return _log_base_of_csr(family, X)
    with np.errstate(all="ignore"):  # impossible rows have log h = −∞
        value = np.asarray(family.log_base_measure(read_only(X)), np.float64)
    return _one_per_row(family, "log_base_measure", value, len(X))


def check_rows(family: ExponentialFamily, X: Block | CSRBlock) -> None:
    """Raise a ValueError that names a column, a value and a row if a row is impossible; X may be CSR rows."""
    if isinstance(X, CSRBlock):
        _check_csr_rows(family, X)
    else:
        family.check_support(read_only(X))
    check_exposure(exposure(family, X), type(family).__name__)


def check_present(family: ExponentialFamily, X: Block | CSRBlock, present: Mask) -> None:
    """Raise the family's error for the first of the present rows (n,) that it finds impossible, numbered as in X."""
    first = int(np.argmax(present))
    if not len(X) or not present[first]:
        return
    try:
        # a present row stands in for each absent one, so that rows are counted as the user does
        check_rows(family, X if np.all(present) else X[np.where(present, np.arange(len(X)), first)])
    except ImpossibleRowError as error:
        raise error.counted_from(max(first - error.row, 0)) from None


# ---- the M-step ------------------------------------------------------------------------------------------------


def solve_natural(
    family: ExponentialFamily, expectation: Array, start: Array | None = None, *, lenient: bool = False
) -> Array:
    """Solve ∇A(η) = m numerically, from ``start`` (K, p) if given; if ``lenient``, from nowhere else, or NaN.

    Raises
    ------
    ValueError
        If no η with a finite A is found to start from.
    """
    gradient = None if is_default(family.to_expectation) else family.to_expectation
    return mappings.inverse_gradient(
        functools.partial(log_partition, family), np.asarray(expectation, np.float64), gradient, start,
        type(family).__name__, lenient=lenient,
    )  # fmt: skip


def next_natural(family: ExponentialFamily, counts: Array, sums: Array, previous: Array | None = None) -> Array:
    """Return the M-step's η, (K,), (K, p) -> (K, p), from the last one's, ``previous``, where it is searched for.

    A ``maximize`` that takes ``previous`` gets it.
    """
    kind = type(family)
    if previous is not None and is_default(family.to_natural) and is_default(family.maximize):
        return _solved_from(family, sums / counts[:, None], previous)
    if previous is not None and _takes_previous(kind.maximize):
        maximize: Callable[..., Array] = family.maximize
        return np.asarray(maximize(counts, sums, previous))
    return np.asarray(family.maximize(counts, sums))


@functools.cache
def _takes_previous(maximize: Callable[..., Any]) -> bool:
    """Whether a ``maximize(self, counts, sums)`` has a third parameter."""
    return "previous" in inspect.signature(maximize).parameters


def _solved_from(family: ExponentialFamily, expectation: Array, previous: Array) -> Array:
    """Return η, NaN for components that have none unless none has: other starts may go on."""
    try:
        return solve_natural(family, expectation, previous)
    except ValueError:
        found = solve_natural(family, expectation, previous, lenient=True)
        if not np.isfinite(found).all(axis=1).any():
            raise
        return found


# ---- sparse rows -------------------------------------------------------------------------------------------------


def refuse_sparse(family: ExponentialFamily) -> None:
    """Raise a TypeError for sparse rows if the family says that it needs dense ones."""
    if family.sparse == "never":
        raise _needs_dense(family, "its T or log h is not 0 where x is 0")


def check_sparse(family: ExponentialFamily, X: CSRBlock) -> None:
    """Raise a TypeError if the family needs dense rows, a ValueError if it takes sparse ones in name only.

    What a family says, or does not say, is compared with what the first rows show.
    """
    refuse_sparse(family)
    reason = _reason_for_dense(family, X[: max(1, PROBE // X.shape[1])])
    if reason and family.sparse is not None:
        raise ValueError(f"{family!r} says sparse = {family.sparse!r}, but {reason}: sparse X is refused")
    if reason:
        raise _needs_dense(family, reason)


def _needs_dense(family: ExponentialFamily, reason: str) -> TypeError:
    return TypeError(
        f"X is a sparse matrix, but {family!r} needs dense rows, because {reason} (sparse): give X.toarray() if it "
        "fits into memory, or fit a family that takes sparse rows, such as Bernoulli, Poisson, Multinomial or OneHot"
    )


def _reason_for_dense(family: ExponentialFamily, X: CSRBlock) -> str | None:
    """Return what differs between CSR rows and the same rows made dense, or None."""
    dense = np.asarray(X)
    T, expected = statistics(family, dense)
    if not np.array_equal(T, dense):
        return T_IS_NOT_X
    found = exposure(family, X)
    if (found is None) != (expected is None) or (found is not None and not _agree(found, expected)):
        return (
            "its exposure of CSR rows is not that of dense ones (with sparse = 'rows', exposure(X) is called with a "
            "CSRBlock; without, there is none)"
        )
    if _agree(_log_base_of_csr(family, X), log_base_measure(family, dense)):
        return None
    if family.sparse == "rows":
        return "log h of CSR rows is not that of dense ones"
    return "log h of a row is not the sum over its entries, each taken as a row of one column"


def _agree(found: Any, expected: Any) -> bool:
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)


def _log_base_of_csr(family: ExponentialFamily, X: Any) -> Array:
    """Return log h (n,) of CSR rows, which are not looked at for whether the family takes them."""
    if family.sparse == "rows":
        with np.errstate(all="ignore"):  # impossible rows have log h = −∞
            return np.asarray(family.log_base_measure(X), np.float64)
    return X.sum_rows(log_base_measure(family, X.values[:, None]))


def _check_csr_rows(family: ExponentialFamily, X: Any) -> None:
    """Raise the family's ValueError for the first entry outside its support, with row and column as in X.

    A family that does not say whether it takes sparse rows is also asked for T of every entry: that T(x) is x in the
    first rows may be owed to them, as with x² where they hold 0 and 1.
    """
    check_sparse(family, X)
    entries = X.values[:, None]
    if family.sparse is None and not np.array_equal(statistics(family, entries)[0], entries):
        raise _needs_dense(family, T_IS_NOT_X)
    if family.sparse == "rows":
        family.check_support(X)
        return

    def refusal(values: Block) -> ValueError | None:
        try:
            family.check_support(read_only(values[:, None]))
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
        if family.sparse is None and _is_fine_as_a_row(family, X[row : row + 1]):  # the check is one of whole rows
            _check_whole_rows(family, X)
            return
    elif gap is not None and (error := refusal(np.zeros(1, X.dtype))):
        (row, column), value = gap, 0
    else:
        return
    raise OutsideSupportError(getattr(error, "needs", str(error)), column, value, row) from None


def _is_fine_as_a_row(family: ExponentialFamily, X: Any) -> bool:
    try:
        family.check_support(np.asarray(X))
    except ValueError:
        return False
    return True


def _check_whole_rows(family: ExponentialFamily, X: Any) -> None:
    """Raise the family's ValueError for the first impossible CSR row, made dense a few at a time."""
    step = max(1, PROBE // X.shape[1])
    for first in range(0, len(X), step):
        try:
            family.check_support(np.asarray(X[first : first + step]))
        except ValueError as error:
            raise counted_from(error, first) from None
