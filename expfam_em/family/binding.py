"""Families bound to rows, also where they are made of others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.constraints import Constraint
from expfam_em.rows.protocol import Blocks, Rows
from expfam_em.rows.typing import Array, Block, Floats


def bind(family: Any, rows: Rows) -> Any:
    """Return a family that holds the structural constants found in rows.

    Raises
    ------
    TypeError
        If the rows cannot be iterated over, as those in memory can, and the family or a part of it needs that.
    """
    if needs_blocks(family) and not hasattr(rows, "__iter__"):
        raise TypeError(
            f"{family!r} finds its constants by bind(blocks), which takes rows in memory: define summary(X, "
            "sample_weight) and bound(summary) instead"
        )
    return checked.family_from(family, "bind", rows)


def needs_blocks(family: Any) -> bool:
    """Whether a family, or a part of it, defines only ``bind``."""
    return not checked.is_default(family.bind) or any(map(needs_blocks, _parts(family)))


def is_solved_numerically(family: Any) -> bool:
    """Whether η of a family, or of a part of it, has no closed form."""
    return checked.is_default(family.to_natural) or any(map(is_solved_numerically, _parts(family)))


def _parts(family: Any) -> list[ExponentialFamily]:
    return [part for part, _ in family._views()] if isinstance(family, Composed) else []


@dataclass(frozen=True)
class Parts:
    """The number of columns, and the summary of each part for the rows, or columns, that it sees."""

    n_features: int
    summaries: tuple

    def __add__(self, other: Parts) -> Parts:
        pairs = zip(self.summaries, other.summaries, strict=True)
        return Parts(self.n_features, tuple(None if one is None else one + two for one, two in pairs))


class Viewed:
    """Blocks of rows as a part of a family sees them; they can be iterated over again and again."""

    def __init__(self, blocks: Any, view: Callable) -> None:
        self.blocks, self.view = blocks, view

    def __iter__(self) -> Iterator:
        return (self.view(X, weight) for X, weight in self.blocks)


class Composed(ExponentialFamily):
    """Families made of other families; each part sees some of the columns, or some of the rows."""

    @abstractmethod
    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        """Return each part, and a function (X, sample_weight) -> the same two as this part sees them."""

    @abstractmethod
    def _with_parts(self, families: list[ExponentialFamily], n_features: int | None) -> Self:
        """Return the family with other parts, which has not computed anything from them yet."""

    def _constraints(self) -> list[Constraint]:
        return [*super()._constraints(), *(each for part, _ in self._views() for each in part._constraints())]

    def summary(self, X: Block, sample_weight: Array | None) -> Any:
        seen = ((part, None if needs_blocks(part) else view(X, sample_weight)) for part, view in self._views())
        return Parts(X.shape[1], tuple(None if rows is None else part.summary(*rows) for part, rows in seen))

    def bound(self, summary: Any) -> Self:
        pairs = zip(self._views(), summary.summaries, strict=True)
        return self._with_parts(
            [part if s is None else checked.family_from(part, "bound", s) for (part, _), s in pairs], summary.n_features
        )

    @checked.default
    def bind(self, blocks: Blocks) -> ExponentialFamily:
        """Return a copy whose parts hold the structural constants found in ``(X, sample_weight)`` blocks."""
        if needs_blocks(self):
            parts = [
                checked.family_from(part, "bind", Viewed(blocks, view)) if needs_blocks(part) else part
                for part, view in self._views()
            ]
            return ExponentialFamily.bind(self._with_parts(parts, None), blocks)
        return super().bind(blocks)


def rows_where(which: Callable) -> Callable:
    """Return the view of the rows X for which ``which(X)``, (n,) bool, is true."""

    def some(X: Array, weight: Floats | None) -> tuple:
        keep = which(X)
        return (X, weight) if keep.all() else (X[keep], None if weight is None else weight[keep])

    return some
