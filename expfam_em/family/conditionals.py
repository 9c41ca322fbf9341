"""What components say of the other columns of many rows, given some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from expfam_em.rows.typing import Array, Integers

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily

Move = tuple[Array, Array | None]
"""Shift and scale of rows, each (n, K, r) or what broadcasts to it; None is a scale of 1."""


class Conditionals(NamedTuple):
    """The other r columns of a row, given some: shift + scale · z, where z follows a density without the given values.

    Attributes
    ----------
    family : ExponentialFamily
    natural : (K, p)
        Those of z.
    move : callable of (n, g) values, or None
        Returns shift and scale for each row and component. None: the other columns do not depend on the given ones.
    """

    family: ExponentialFamily
    natural: Array
    move: Callable[[Array], Move] | None = None

    def moved(self, values: Array) -> tuple[Array, Array]:
        """Return shift and scale, which broadcast to (n, K, r)."""
        if self.move is None:
            return np.zeros((1, 1, 1)), np.ones((1, 1, 1))
        shift, scale = self.move(values)
        return shift, np.ones((1, 1, 1)) if scale is None else scale

    def mean(self, values: Array) -> Array:
        """Return E[x] of the other columns under each component, (n, K, r), or (1, K, r) if all rows have the same."""
        mean = self.family.mean(self.natural)
        if self.move is None:
            return mean[None]
        shift, scale = self.move(values)
        return shift + (mean if scale is None else scale * mean)


class Lot(NamedTuple):
    """Conditionals of a part of a family made of others.

    Attributes
    ----------
    conditionals : Conditionals
    components, columns, given
        Which components they are of, which of the other columns, and which of the given ones they take.
    """

    conditionals: Conditionals
    components: slice | Integers = slice(None)
    columns: slice | Integers = slice(None)
    given: slice | Integers = slice(None)


def joined(lots: Sequence[Lot], n_components: int, n_columns: int) -> Callable[[Array], Move] | None:
    """Return how the parts move the other columns; None if no part does."""
    moving = [lot for lot in lots if lot.conditionals.move is not None]
    if not moving:
        return None

    def move(values: Array) -> Move:
        shape = len(values), n_components, n_columns
        shift, scale = np.zeros(shape), np.ones(shape)
        for lot in moving:
            k, j = np.arange(n_components)[lot.components], np.arange(n_columns)[lot.columns]
            shift[:, k[:, None], j], scale[:, k[:, None], j] = lot.conditionals.moved(values[:, lot.given])
        return shift, scale

    return move
