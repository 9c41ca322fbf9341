"""What the numbers of named parameters are of: a component, columns by name, a level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expfam_em.family.named import PROBABILITY, Parameter
from expfam_em.rows.columns import Column

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily

MIXING_WEIGHT = PROBABILITY._replace(axes=())


class Entry(NamedTuple):
    """What a number of a named parameter is of, and between which ends it lies.

    Attributes
    ----------
    component : int, optional
        None where all components have the number in common.
    column, level : str
        Empty where the number is of none, or of all.
    low, high : float
    """

    component: int | None = None
    column: str = ""
    level: str = ""
    low: float = -np.inf
    high: float = np.inf

    def __str__(self) -> str:
        parts = ["" if self.component is None else str(self.component), self.column]
        text = ", ".join(part for part in parts if part)
        return f"{text}: {self.level}" if self.level else text


def by_shape(
    shape: tuple[int, ...], columns: Sequence[Column], n_components: int, of: Parameter | None = None
) -> Any:  # fmt: skip
    """Return the entries of an array, object array of the shape: axes as long as the rows have columns are these.

    Parameters
    ----------
    shape : of a named parameter
    columns : of the rows that the family describes
    n_components : int
    of : Parameter, optional
        What the named parameter has to be. Of symmetric matrices, numbers above the diagonal stand below it too, and
        have None; those on it are positive.
    """
    shared = (of is not None and of.shared) or not shape or shape[0] != n_components
    is_matrix = of is not None and of.is_matrix
    low, high = (-np.inf, np.inf) if of is None else (of.low, of.high)
    found = np.empty(shape, object)
    of_columns = [size == len(columns) for size in shape]
    for index in np.ndindex(shape):
        rest = [*zip(index, of_columns, strict=True)][0 if shared else 1 :]
        names = ", ".join(columns[i].name for i, of in rest if of)
        level = ", ".join(str(i) for i, of in rest if not of)
        above = is_matrix and index[-2] < index[-1]
        least = 0.0 if is_matrix and index[-2] == index[-1] else low
        found[index] = None if above else Entry(None if shared else index[0], names, level, least, high)
    return found


def entries_of(
    family: ExponentialFamily, parameters: Mapping[str, Any], columns: Sequence[Column], n_components: int
) -> dict[str, Any]:
    """Return what each number of the mixing weights and named parameters is of, object arrays of `Entry` or None."""
    weights = by_shape((n_components,), [], n_components, MIXING_WEIGHT)
    return {"weights": weights} | {
        name: family._entries(name, np.shape(value), columns, n_components) for name, value in parameters.items()
    }


def numbered(n_columns: int) -> list[Column]:
    """Return columns without names: their numbers."""
    return [Column(str(j)) for j in range(n_columns)]
