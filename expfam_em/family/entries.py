"""What the numbers of named parameters are of: a component, columns by name, a level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from expfam_em.rows.columns import Column


class Entry(NamedTuple):
    """What a number of a named parameter is of.

    Attributes
    ----------
    component : int, optional
        None where all components have the number in common.
    column, level : str
        Empty where the number is of none, or of all.
    """

    component: int | None = None
    column: str = ""
    level: str = ""

    def __str__(self) -> str:
        parts = ["" if self.component is None else str(self.component), self.column]
        text = ", ".join(part for part in parts if part)
        return f"{text}: {self.level}" if self.level else text


def by_shape(shape: tuple[int, ...], columns: Sequence[Column], n_components: int, shared: bool = False) -> Any:
    """Return the entries of an array, object array of the shape: axes as long as the rows have columns are these.

    Parameters
    ----------
    shape : of a named parameter
    columns : of the rows that the family describes
    n_components : int
    shared : bool
        Whether all components have the array in common, so that there is no axis of components.
    """
    shared = shared or not shape or shape[0] != n_components
    found = np.empty(shape, object)
    of_columns = [size == len(columns) for size in shape]
    for index in np.ndindex(shape):
        rest = [*zip(index, of_columns, strict=True)][0 if shared else 1 :]
        names = ", ".join(columns[i].name for i, of in rest if of)
        level = ", ".join(str(i) for i, of in rest if not of)
        found[index] = Entry(None if shared else index[0], names, level)
    return found


def numbered(n_columns: int) -> list[Column]:
    """Return columns without names: their numbers."""
    return [Column(str(j)) for j in range(n_columns)]
