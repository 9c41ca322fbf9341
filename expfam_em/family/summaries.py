"""What a family has to know of all rows: summaries of some rows, which are added up."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.family import checked
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import DENSE_ENTRIES
from expfam_em.rows.protocol import Chunk


def summary_of(family: Any, blocks: Any) -> Any:
    """Return the sum of the summaries of rows, see `Rows`, or of ``(X, sample_weight)`` blocks; None if there is none.

    Rows are reduced, so that the bits do not depend on where they are.
    """
    if hasattr(blocks, "reduce"):
        return blocks.reduce(functools.partial(summary_chunk, family), ENTRY_WORK * blocks.n_features).value
    parts = (Summary(checked.told(family, "summary", X, weight)) for X, weight in blocks)
    return functools.reduce(Summary.__add__, parts, Summary(None)).value


@dataclass(frozen=True)
class Summary:
    """The summary of some rows, or None; ``+`` adds two."""

    value: Any

    def __add__(self, other: Summary) -> Summary:
        return other if self.value is None else Summary(self.value + other.value)


def summary_chunk(family: Any, chunk: Chunk) -> Summary:
    """Return the summary of the rows of a chunk that carry weight; sparse rows are made dense a few at a time."""
    X, weight = chunk.X, chunk.weight
    if weight is not None and not np.all(weight > 0):
        X, weight = X[weight > 0], weight[weight > 0]
    if not isinstance(X, CSRBlock) or family.sparse == "rows":
        return Summary(checked.told(family, "summary", X, weight))
    step = max(1, DENSE_ENTRIES // X.shape[1])
    parts = (slice(first, first + step) for first in range(0, max(len(X), 1), step))
    dense = ((np.asarray(X[part]), None if weight is None else weight[part]) for part in parts)
    return functools.reduce(Summary.__add__, (Summary(checked.told(family, "summary", *part)) for part in dense))


def same_summary(one: Any, other: Any) -> bool:
    """Whether two families, by their attribute ``_summary_constants``, are known to summarise any rows alike."""
    alike = type(one).summary is type(other).summary and one._summary_constants == other._summary_constants
    return one is other or (alike and one._summary_constants is not None)


@dataclass(frozen=True)
class Width:
    """The summary of a family that has to know the number of columns only."""

    n_features: int

    def __add__(self, other: Width) -> Width:
        return self
