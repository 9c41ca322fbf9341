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
R = TypeVar("R")

T_IS_NOT_X = "its T(x) is not x"


def default(method: F) -> F:
    """Mark a method of the abstract class as one that stands in where a family defines none; a decorator."""
    vars(method)["is_default"] = True
    return method


def named_by_subclass(method: Callable[..., R]) -> Callable[..., R]:
    """Mark a method that takes as many arrays as a subclass has parameters, and names them; a decorator."""
    return method


def is_default(method: Callable[..., Any]) -> bool:
    """Whether a family does not define a method itself."""
    return getattr(method, "is_default", False)


def told(family: ExponentialFamily, method: str, *arguments: Any, **named: Any) -> Any:
    """Return what a method of a family returns; an error that it raises gets a note that names both."""
    try:
        return getattr(family, method)(*arguments, **named)
    except Exception as error:
        if not is_ours(family, method):  # ours say what they have to say
            shapes = " and ".join(f"shape {np.shape(it)}" for it in arguments if isinstance(it, np.ndarray))
            error.add_note(f"raised by {type(family).__name__}.{method}" + (f" for {shapes}" if shapes else ""))
        raise


def is_ours(family: ExponentialFamily, method: str) -> bool:
    """Whether a method of a family is one of this package."""
    return (getattr(getattr(type(family), method), "__module__", None) or "").startswith("expfam_em.")


def answer(
    family: ExponentialFamily, method: str, value: Any, axes: dict[str, int | None], kinds: str = "biuf"
) -> np.ndarray:
    """Return what a method returned as an array, once it is one of numbers and of its shape.

    Parameters
    ----------
    axes : dict
        The axes by name, and their lengths; None for one of any length.
    kinds : str
        Kinds of dtype that are accepted, as in ``np.dtype.kind``.

    Raises
    ------
    ValueError
        If it is anything else; the family, its method, what came and what should have come are named.
    """
    lengths = tuple(axes.values())
    if type(value) is np.ndarray and value.shape == lengths and value.dtype.kind in kinds:
        return value
    try:
        found = np.asarray(value)
    except (TypeError, ValueError):  # rows of different lengths; other errors may be those of a signal handler
        found = np.empty((), object)
    fits = len(found.shape) == len(axes) and all(n in (None, m) for n, m in zip(lengths, found.shape, strict=True))
    if fits and found.dtype.kind in kinds:
        return found
    here = ", ".join(name if n is None else str(n) for name, n in axes.items()) + "," * (len(axes) == 1)
    kind = "" if found.dtype.kind in kinds else f" of {found.dtype}"
    came = f"shape {found.shape}{kind}" if isinstance(value, (np.ndarray, np.generic)) else f"{value!r:.80}"
    wanted = "truth values" if kinds == "b" else "real numbers"
    raise ValueError(
        f"{type(family).__name__}.{method} returned {came}; it must return {wanted} of shape "
        f"({', '.join(axes)}{',' * (len(axes) == 1)}), here ({here})"
    )


def check_numbers(family: ExponentialFamily, method: str, unknown: Any, row: str = "x", first: int = 0) -> None:
    """Raise a ValueError if a method returned NaN where a mask says so."""
    if np.any(unknown):
        raise ValueError(
            f"{type(family).__name__}.{method} returned NaN for {row} in row {first + int(np.argmax(unknown))}: it "
            "must return numbers" + (", or check_support refuse the row" if row == "x" else "")
        )


def check_statistics(family: ExponentialFamily, T: Array, weight: Array | None, first: int) -> None:
    """Raise a ValueError if T of a row that carries weight is NaN; rows are counted from ``first``."""
    if T.size and np.isnan(T.min()):
        unknown = np.isnan(T[: len(T) if weight is None else len(weight)]).any(axis=1)
        check_numbers(
            family, "sufficient_statistics", unknown if weight is None else unknown & (weight > 0), "x", first
        )


def asked(family: ExponentialFamily, method: str, axes: dict[str, int | None], *arguments: Any) -> Array:
    """Return what a method says of some arguments, without floating-point warnings, as float64; see `answer`."""
    with np.errstate(all="ignore"):
        value = told(family, method, *arguments)
    return answer(family, method, value, axes).astype(np.float64, copy=False)


def log_partition(family: ExponentialFamily, natural: Array) -> Array:
    """Return A(η) without floating-point warnings, (K, p) -> (K,); not finite outside the space.

    Raises
    ------
    ValueError
        If the family returns anything else.
    """
    with np.errstate(all="ignore"):
        value = told(family, "log_partition", natural)
    is_complex = natural.dtype.kind == "c"
    found = answer(family, "log_partition", value, {"K": len(natural)}, "biufc" if is_complex else "biuf")
    return found if is_complex else found.astype(np.float64, copy=False)


def statistics(family: ExponentialFamily, X: Any) -> tuple[Array, Array | None]:
    """Return T (n, p) as float64 and e (n,), None where it is 1.

    Raises
    ------
    ValueError
        If the family returns another shape, or writes to X.
    """
    X = read_only(np.asarray(X))
    return asked(family, "sufficient_statistics", {"n": len(X), "p": None}, X), exposure(family, X)


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
    if is_default(family.exposure):
        return None
    with np.errstate(all="ignore"):
        takes = family.sparse == "rows" or not isinstance(X, CSRBlock)
        value = told(family, "exposure", read_only(X)) if takes else None
    if value is None:
        return None
    value = answer(family, "exposure", value, {"n": len(X)}).astype(np.float64, copy=False)
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
    return asked(family, "log_base_measure", {"n": len(X)}, read_only(X))  # impossible rows have log h = −∞


def check_rows(family: ExponentialFamily, X: Block | CSRBlock) -> None:
    """Raise a ValueError that names a column, a value and a row if a row is impossible; X may be CSR rows."""
    if isinstance(X, CSRBlock):
        _check_csr_rows(family, X)
    else:
        told(family, "check_support", read_only(X))
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
    if family.constraint is not None:
        return asked(family, "_maximize_constrained", dict(zip("Kp", sums.shape, strict=True)), counts, sums, previous)
    if previous is not None and is_default(family.to_natural) and is_default(family.maximize):
        return _solved_from(family, sums / counts[:, None], previous)
    K, p = sums.shape
    if is_default(family.maximize):
        return to_natural(family, sums / counts[:, None])
    more = (previous,) if previous is not None and _takes_previous(type(family).maximize) else ()
    return asked(family, "maximize", {"K": K, "p": p}, counts, sums, *more)


def next_natural_of_stack(
    family: ExponentialFamily, counts: Array, sums: Array, previous: Array, search: bool
) -> Array:  # fmt: skip
    """Return the same of all mixtures of a stack at once, (B, K), (B, K, p) -> (B, K, p), for an `InStacks` family."""
    axes: dict[str, int | None] = dict(zip("BKp", sums.shape, strict=True))
    return asked(family, "maximize_stack", axes, counts, sums, previous, search)


def to_natural(family: ExponentialFamily, expectation: Array) -> Array:
    """Return the η with ∇A(η) = m, (K, p) -> (K, p)."""
    K, p = expectation.shape
    return asked(family, "to_natural", {"K": K, "p": p}, expectation)


def to_expectation(family: ExponentialFamily, natural: Array) -> Array:
    """Return ∇A(η) = E[T], (K, p) -> (K, p)."""
    found = asked(family, "to_expectation", dict(zip("BKp"[-natural.ndim :], natural.shape, strict=True)), natural)
    if not is_ours(family, "to_expectation"):
        check_numbers(family, "to_expectation", np.isnan(found).any(axis=-1) & np.isfinite(natural).all(axis=-1), "η")
    return found


def seeds(family: ExponentialFamily, expectation: Array, mean: Array) -> Array:
    """Return the T of single rows as expectation parameters, (m, p), (1, p) -> (m, p)."""
    m, p = expectation.shape
    return asked(family, "seed", {"m": m, "p": p}, expectation, mean)


def sample(family: ExponentialFamily, natural: Array, n: int, rng: np.random.Generator, d: int | None = None) -> Array:
    """Return n rows drawn from one component, (p,) -> (n, d); any number of columns if ``d`` is None.

    Raises
    ------
    ValueError
        If the family returns anything else, or NaN.
    """
    rows = answer(family, "sample", told(family, "sample", natural, n, rng), {"n": n, "d": d})
    if rows.dtype.kind == "f" and (unknown := np.isnan(rows)).any():  # numbers are put into words if they have to be
        check_numbers(family, "sample", unknown.any(axis=1), f"η = {natural}")
    return rows


def log_density(family: ExponentialFamily, X: Any, natural: Array) -> Array:
    """Return log p(x|η_k) without floating-point warnings, (n, d), (K, p) -> (n, K); X may be CSR rows."""
    return asked(family, "log_density", {"n": len(X), "K": len(natural)}, X, natural)


def expected_log_base_measure(family: ExponentialFamily, natural: Array) -> Array | None:
    """Return E[log h(x)], (K, p) -> (K,), or None."""
    found = told(family, "expected_log_base_measure", natural)
    return None if found is None else of_components(family, "expected_log_base_measure", found, natural)


def of_components(family: ExponentialFamily, method: str, value: Any, natural: Array) -> Array:
    """Return what a method returned, once it is a number for each component, (K,), and none is NaN."""
    found = answer(family, method, value, {"K": len(natural)}).astype(np.float64, copy=False)
    if not is_ours(family, method):
        check_numbers(family, method, np.isnan(found), "η")
    return found


def family_from(family: ExponentialFamily, method: str, *arguments: Any) -> Any:
    """Return the family that ``bind`` or ``bound`` returns."""
    found = told(family, method, *arguments)
    if type(found) is not type(family):
        raise ValueError(
            f"{type(family).__name__}.{method} returned {found!r:.80}; it must return a family of the same class: "
            "self, or a copy of it"
        )
    # a family that makes another one of its own parameters knows nothing of a constraint
    return found if found.constraint is family.constraint else found._under(family.constraint)


def some_columns(family: ExponentialFamily, method: str, natural: Array, *which: Any) -> tuple[Any, Array]:
    """Return the family and natural parameters of some columns, from ``marginal`` or ``conditional``.

    Raises
    ------
    ValueError
        If the method returns no pair of a family and an array (K, p).
    """
    found = told(family, method, natural, *which)
    if not (isinstance(found, tuple) and len(found) == 2 and hasattr(found[0], "log_partition")):
        raise ValueError(
            f"{type(family).__name__}.{method} returned {found!r:.80}; it must return a family and natural parameters "
            f"of shape (K, p), here ({len(natural)}, p)"
        )
    return found[0]._under(None), answer(family, method, found[1], {"K": len(natural), "p": None})


def n_parameters(family: ExponentialFamily, n_components: int) -> int | None:
    """Return the number of free parameters of K components, or None, which stands for K · p."""
    found = told(family, "n_parameters", n_components)
    if found is not None and (isinstance(found, bool) or not isinstance(found, (int, np.integer)) or found < 0):
        raise ValueError(
            f"{type(family).__name__}.n_parameters returned {found!r:.80}; it must return a whole number ≥ 0, or None"
        )
    return None if found is None else int(found)


def supports(family: ExponentialFamily, X: Block) -> Mask:
    """Return which rows are possible, (n,)."""
    return answer(family, "supports", told(family, "supports", X), {"n": len(X)}, "b")


def parameters(family: ExponentialFamily, natural: Array) -> dict[str, Array]:
    """Return the named parameters of K components, arrays of numbers with a leading axis of components.

    Raises
    ------
    ValueError
        If they are no dict of such arrays.
    """
    named, at = told(family, "parameters", natural), f"{type(family).__name__}.parameters"
    if not isinstance(named, dict):
        raise ValueError(
            f"{at} returned {named!r:.80}; it must return a dict of arrays by name, each of shape (K, ...)"
        )
    if is_ours(family, "parameters"):
        return named
    lead, arrays = natural.shape[:-1], {}
    for name, value in named.items():
        try:
            found = arrays[name] = np.asarray(value)
        except (TypeError, ValueError):  # lists of different lengths
            found = np.empty((), object)
        if found.shape[: len(lead)] != lead or found.dtype.kind not in "biuf":
            came = f"shape {found.shape} of {found.dtype}" if isinstance(value, np.ndarray) else f"{value!r:.80}"
            raise ValueError(
                f"{at} returned {name!r} as {came}; it must be an array of real numbers of shape (K, ...), here "
                f"({', '.join(map(str, lead))}, ...)"
            )
    return arrays


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
        return asked(family, "log_base_measure", {"n": len(X)}, X)
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
