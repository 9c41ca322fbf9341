"""Columns of frames of any library: their names, and their labels as codes.

A frame is a table with columns by name, as those of pandas and polars are. What is asked of it is in both of them:
``columns``, ``dtypes``, ``frame[name]``, and ``to_numpy`` and ``dtype`` of a column. So neither is imported.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.typing import Array, Mask

Level = str | float | int | bool
"""What a column of labels holds."""

_TIMES = "holds dates or times ({}): give numbers, such as days from the first"

LISTED_NAMES = 20
"""Names of columns, or levels of one, that an error shows."""


class Column(NamedTuple):
    """What a column is called, and its levels where it holds labels that are coded as 0, 1, …."""

    name: str
    levels: tuple[Level, ...] | None = None

    def level(self, code: float) -> str:
        """Return the level of a code; a number where nothing is coded."""
        known = self.levels is not None and 0 <= code < len(self.levels)
        return str(self.levels[int(code)]) if known and self.levels is not None else f"{code:g}"


class UnseenLabelError(ValueError):
    """A label that is none of the levels of its column."""

    def __init__(self, name: str, label: Level, levels: Sequence[Level], row: int) -> None:
        super().__init__(name, label, levels, row)
        self.name, self.label, self.levels, self.row = name, label, levels, row

    def __str__(self) -> str:
        return (
            f"{self.what(f' (row {self.row})')}. Leave such rows out, or give the family Categorical(unseen='zero'), "
            "under which they have density 0"
        )

    def what(self, place: str = "") -> str:
        """Return what is wrong, and where."""
        known = listed(map(repr, self.levels))
        return f"column {self.name!r} holds {self.label!r}{place}, which no row of the fit has; its levels are {known}"

    def counted_from(self, first: int) -> UnseenLabelError:
        """Return the error with its row counted from the start of the whole; this part begins at row ``first``."""
        return UnseenLabelError(self.name, self.label, self.levels, self.row + first)


def is_frame(X: Any) -> bool:
    """Whether X is a table of columns by name, as of pandas or polars."""
    return all(hasattr(X, name) for name in ("to_numpy", "shape", "columns", "dtypes", "__getitem__"))


def names_of(X: Any) -> list[str] | None:
    """Return the names of the columns of a frame; None where they are not all text, or X is no frame."""
    if not is_frame(X):
        return None
    names = list(X.columns)
    return names if names and all(isinstance(name, str) for name in names) else None


def check_table(X: Any) -> None:
    """Raise an error for what is no table of numbers or labels, where NumPy would have numbers of it or say little.

    Raises
    ------
    TypeError
        For a dict, a set, an array with fields, and a frame that is not in memory.
    ValueError
        For dates, times and complex numbers, and for a frame without rows or columns, or with two columns of one name.
    """
    if isinstance(X, (Mapping, Set)) and not hasattr(X, "tocsr"):  # sparse matrices of one kind are dicts
        raise TypeError(f"X is a {type(X).__name__}; give a frame, such as pandas.DataFrame(X), or an array (n, d)")
    dtype = getattr(X, "dtype", None)
    if getattr(dtype, "names", None):
        raise TypeError("X is an array with fields: give a frame, pandas.DataFrame(X), or an array of numbers (n, d)")
    if getattr(dtype, "kind", " ") in "mM":
        raise ValueError(f"X {_TIMES.format(dtype)}")
    if getattr(dtype, "kind", " ") == "c":  # as scikit-learn begins
        raise ValueError("Complex data not supported: give real numbers, such as X.real and X.imag side by side")
    if not is_frame(X):
        if hasattr(X, "collect") and not hasattr(X, "dtype"):
            raise TypeError(f"X is a {type(X).__name__}, whose rows are not in memory: give X.collect()")
        return
    if 0 in X.shape:
        what = "no column" if X.shape[1] == 0 else f"no row (its columns are {listed(X.columns)})"
        raise ValueError(f"X has {what}: give a frame with at least one row and one column")
    if twice := [name for name, times in Counter(list(X.columns)).items() if times > 1]:
        raise ValueError(f"several columns are named {twice[0]!r}: give them names of their own")


def picked(X: Any, names: Sequence[str]) -> Any:
    """Return the frame of some columns, in this order.

    Raises
    ------
    ValueError
        If a column is not there, or several have its name.
    """
    here = names_of(X) or []
    times = Counter(here)
    for name in names:
        if times[name] != 1:
            near = "" if times[name] else did_you_mean(name, here)
            what = f"{'several columns are' if times[name] else 'no column is'} named {name!r}{near}"
            raise ValueError(f"{what}; the columns of X are {listed(here)}")
    return X if list(names) == here else X[list(names)]


def listed(values: Iterable[Any]) -> str:
    """Return some of many names for an error."""
    shown = [str(value) for value in values]
    return ", ".join(shown) if len(shown) <= LISTED_NAMES else f"{', '.join(shown[:LISTED_NAMES])}, … ({len(shown)})"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what an error says behind a name that is unknown: the known one that is nearest; "" if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


# ---- columns ------------------------------------------------------------------------------------------------


def values_of(column: Any, name: str) -> tuple[Array, Mask]:
    """Return what a column holds, as float64 if all of it is numbers, and where nothing is.

    Raises
    ------
    ValueError
        If it holds dates, or labels beside numbers.
    """
    x = column.to_numpy() if hasattr(column, "to_numpy") else np.asarray(column)
    if x.dtype.kind in "biuf":
        x = x.astype(np.float64)
        return x, np.isnan(x)
    if x.dtype.kind in "mM":
        raise ValueError(f"column {name!r} {_TIMES.format(x.dtype)}")
    missing = np.asarray(column.is_null() if hasattr(column, "is_null") else column.isna(), bool)
    kinds = set(map(type, x[~missing].tolist()))
    if all(issubclass(kind, (Real, Decimal, np.bool_)) for kind in kinds):
        out = np.full(len(x), np.nan)
        out[~missing] = x[~missing].astype(np.float64)
        return out, missing | np.isnan(out)
    if not all(issubclass(kind, str) for kind in kinds):
        what = " and ".join(sorted(kind.__name__ for kind in kinds))
        several = "values of several kinds, " if len(kinds) > 1 else "values of the kind "
        raise ValueError(f"column {name!r} holds {several}{what}: give text, or numbers")
    return x, missing


def with_labels(X: Any) -> list[Any]:
    """Return the columns of a frame that hold labels, by what it calls them; none where two are called alike.

    Raises
    ------
    ValueError
        If a column holds neither numbers nor labels.
    """
    if not is_frame(X) or len(set(X.columns)) < len(list(X.columns)):
        return []
    found = []
    for name, dtype in zip(list(X.columns), list(X.dtypes), strict=True):
        if _is_numeric(dtype):
            continue
        if holds_labels(column := X[name]):
            found.append(name)
        else:
            values_of(column, str(name))  # which says what else it holds
    return found


def _is_numeric(dtype: Any) -> bool:
    """Whether a dtype of pandas or polars is one of numbers; to ask it is cheaper than to look at many columns."""
    return getattr(dtype, "kind", " ") in "biuf" or (hasattr(dtype, "is_numeric") and bool(dtype.is_numeric()))


def holds_labels(column: Any) -> bool:
    """Whether a column is one of labels by its dtype: of categories, or text."""
    dtype = column.dtype
    return _categories(dtype) is not None or (getattr(dtype, "kind", "O") not in "biufmM" and _is_text(column))


def _is_text(column: Any) -> bool:
    x = column.to_numpy()
    return x.dtype.kind in "OUT" and any(isinstance(value, str) for value in x.tolist())


def _categories(dtype: Any) -> tuple[Level, ...] | None:
    """Return the categories of a dtype that has them."""
    categories = getattr(dtype, "categories", None)
    try:
        return None if categories is None else tuple(_plain(value) for value in categories)
    except TypeError:  # polars' Categorical does not list them
        return None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def levels_of(column: Any, name: str) -> tuple[Level, ...]:
    """Return the levels of a column of labels: its categories, in their order, or else the labels that occur, sorted.

    Raises
    ------
    ValueError
        If no label is there.
    """
    levels = _categories(column.dtype)
    if levels is None:
        x, missing = values_of(column, name)
        levels = tuple(sorted(set(map(_plain, x[~missing].tolist()))))
    if not levels:
        raise ValueError(f"column {name!r} holds no label: leave it out")
    return levels


def codes_of(column: Any, of: Column, unseen: str) -> Array:
    """Return the number of the level of each label, NaN where none is there, (n,).

    Parameters
    ----------
    column : of a frame
    of : Column
        Its name and levels.
    unseen : {"error", "zero"}
        A label that is none of the levels is an error, or a number beyond theirs.

    Raises
    ------
    UnseenLabelError
        If a label is none of the levels.
    """
    levels = of.levels or ()
    x, missing = values_of(column, of.name)
    number: Mapping[Any, int] = {level: i for i, level in enumerate(levels)}
    out = np.array([number.get(value, len(levels)) for value in x.tolist()], np.float64)
    out[missing] = np.nan
    if unseen == "error" and np.any(out == len(levels)):
        row = int(np.argmax(out == len(levels)))
        raise UnseenLabelError(of.name, _plain(x[row]), levels, row)
    return out


def first_of(column: Any) -> Any:
    """Return the first label of a column; None if it has none."""
    return next((value for value in column.to_numpy().tolist() if isinstance(value, Level)), None)


def decoded(codes: Array, of: Column) -> Any:
    """Return the labels of codes, (n,), None where none is there; numbers where nothing is coded."""
    if of.levels is None:
        return codes
    return [None if np.isnan(code) else of.levels[int(code)] for code in codes]
