"""A family for each column of a table, chosen by what the column holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from expfam_em.families.categorical import Categorical
from expfam_em.families.columns import IndependentColumns
from expfam_em.families.composed.parts import family_argument
from expfam_em.families.composed.zero_inflated import ZeroInflated
from expfam_em.families.counts import Bernoulli, Poisson
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.families.gaussian.lognormal import LogNormal
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.registry import by_name, family_of
from expfam_em.rows.columns import (
    check_table,
    did_you_mean,
    holds_labels,
    is_frame,
    levels_of,
    listed,
    names_of,
    values_of,
)
from expfam_em.rows.typing import Array

FEW_LABELS = 20
"""Different labels of a column that never are too many; of more, each must have two rows."""

MANY_ZEROS = 0.05
"""Share of zeros from which amounts are a mixture of none and some; one zero alone may be a rounded number."""

LEAST_COUNT = 1
"""Where counts begin at the latest: whole numbers from a larger one on are measures that were rounded, or years."""


class UntoldFamilyError(ValueError):
    """Columns that tell no family: what each of them holds, by name."""

    def __init__(self, columns: Mapping[Any, str]) -> None:
        super().__init__(columns)
        self.columns = columns

    def __str__(self) -> str:
        names = list(self.columns)
        them, they = ("it", "it has") if len(names) == 1 else ("them", "they have")
        none = ", ".join(f"{name!r}: None" for name in names)
        return (
            f"{self.what}, which tells no family: leave {them} out, Product.infer(X, {{{none}}}), or say which family "
            f"{they}, as in {{{names[0]!r}: 'categorical'}}"
        )

    @property
    def what(self) -> str:
        """What the columns hold."""
        return "; ".join(f"column {name!r} has {what}" for name, what in self.columns.items())


def inferred(X: Any, given: Mapping[Any, Any]) -> tuple[list[tuple[ExponentialFamily, list[int]]], Any]:
    """Return families with the columns they describe, and the names of all these columns; None if they have none.

    Parameters
    ----------
    X : frame or array
    given : dict of column to family, name of one, or None

    Raises
    ------
    ValueError
        If a column tells no family, or one that is given is not there.
    """
    check_table(X)
    if not isinstance(given, Mapping):
        raise TypeError(
            f"families is {given!r}; it must be a dict of columns and their families, as in {{'age': 'gaussian'}}"
        )
    names = names_of(X)
    columns: list[Any] = list(X.columns) if is_frame(X) else [*range(_checked(X).shape[1])]
    for name in given:
        if name not in columns:
            hint = did_you_mean(str(name), map(str, columns))
            raise ValueError(f"a family is given for {name!r}{hint}, which is no column; these are {listed(columns)}")
    kept: list[Any] = [name for name in columns if name not in given or given[name] is not None]
    if not kept:
        raise ValueError("no column is left")
    place_of = {name: at for at, name in enumerate(columns if names is None else kept)}
    parts: dict[Any, tuple[ExponentialFamily, list[int]]] = {}
    untold: dict[Any, str] = {}
    for name in kept:
        try:
            family: Any = given.get(name) or _chosen(X[name] if is_frame(X) else np.asarray(X)[:, name], name)
        except UntoldFamilyError as error:
            untold |= error.columns
            continue
        if isinstance(family, str):
            family = _of_one_column(family)
        family = family_argument(family)
        key: Any = id(family) if family is given.get(name) or not _is_by_column(family) else repr(family)
        parts.setdefault(key, (family, []))[1].append(place_of[name])
    if untold:
        raise UntoldFamilyError(untold)
    return list(parts.values()), None if names is None else tuple(kept)


def _checked(X: Any) -> Array:
    array = np.asarray(X)
    if array.ndim != 2 or array.dtype.kind not in "biufO":
        raise ValueError(
            f"X has shape {array.shape} and dtype {array.dtype}: give a frame with columns by name, or an array of "
            "numbers (n, d)"
        )
    return array


def _of_one_column(name: str) -> ExponentialFamily:
    """Return the family of a name; columns that are given the same one are independent of one another."""
    kind = by_name(name)
    return kind("diag") if kind in (Gaussian, LogNormal) else family_of(name)


def _is_by_column(family: ExponentialFamily) -> bool:
    """Whether columns may as well be one part of a family that is given by name: they are independent under it."""
    return isinstance(family, (IndependentColumns, Categorical)) or type(family) in (Gaussian, LogNormal)


def _chosen(column: Any, name: Any) -> ExponentialFamily:
    """Return the family of a column."""
    if hasattr(column, "dtype") and not isinstance(column, np.ndarray) and holds_labels(column):
        return _of_labels(column, name)
    x, missing = values_of(column, str(name))
    present = x[~missing]
    if not len(present) or np.ptp(present) == 0:
        what = "no value" if not len(present) else f"{present[0]:g} in every row"
        raise UntoldFamilyError({name: what})
    if np.all((present == 0) | (present == 1)):
        return Bernoulli()
    if np.all(present == np.floor(present)) and 0 <= present.min() <= LEAST_COUNT:
        return Poisson()
    if present.min() > 0:
        return LogNormal("diag")
    zeros = np.sum(present == 0)
    is_amount = present.min() == 0 and zeros > 1 and zeros >= MANY_ZEROS * len(present)
    return ZeroInflated(LogNormal("diag")) if is_amount else Gaussian("diag")


def _of_labels(column: Any, name: Any) -> ExponentialFamily:
    x, missing = values_of(column, str(name))
    n_rows, n_levels = int(np.sum(~missing)), len(levels_of(column, str(name)))
    occurring = len(set(x[~missing].tolist()))
    if occurring < 2 or (n_levels > FEW_LABELS and 2 * occurring > n_rows):
        what = "one label" if occurring < 2 else f"{occurring} different labels in {n_rows} rows, which name rows"
        raise UntoldFamilyError({name: what})
    return Categorical()
