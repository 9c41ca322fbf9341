"""The pass over rows in groups by the components that they may belong to: each group has log-weights of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from expfam_em.estep.bits import Bits
from expfam_em.estep.scores import Kernel, Outputs, Scores
from expfam_em.family.optional import components
from expfam_em.rows.protocol import Chunk

STACK_ENTRIES = 1 << 20
"""Entries of natural parameters, 8 MB, of mixtures that stand for others that are made at a time."""


@dataclass(frozen=True)
class Masked(Kernel):
    """The pass of a family over complete rows in groups by which components they may belong to.

    A mixture of the stack and a group make another mixture: the components that the rows of the group cannot belong to
    have weight 0. So the kernel knows nothing of groups.

    Attributes
    ----------
    inner : Dense, Sparse, Bits or IncompletePass
        What serves the mixtures.
    allowed : (G, K) bool
        Components that the rows of each group may belong to.
    """

    inner: Any = None
    allowed: Any = None

    @property
    def form(self) -> Any:
        """What the family says of its kernel."""
        return getattr(self.inner, "form", None)

    @property
    def by_statistic(self) -> bool:  # type: ignore[override]
        """Whether sums are laid out by statistic."""
        return self.inner.by_statistic

    def work(self, n_components, n_statistics) -> float:
        """Return the multiply-adds that a row costs."""
        return replace(self.inner, n_common=self.n_common).work(n_components, n_statistics)

    def most_mixtures(self, scores: Scores) -> int:
        """Return how many mixtures of a stack to take at a time."""
        most = self.inner.most_mixtures(scores)
        return most if most >= len(scores.natural) * len(self.allowed) else max(1, most // len(self.allowed))

    def adding(self, of_rows: Callable) -> Masked:
        """Return the pass of an incomplete family that adds up something else."""
        return replace(self, inner=self.inner.adding(of_rows))

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        inner, G = replace(self.inner, n_common=self.n_common), len(self.allowed)
        if given and scores.are_none:
            return inner.prepared(scores, temperature, given)
        B, K, p = scores.natural.shape
        if at_once := B * G * K * p <= STACK_ENTRIES or isinstance(inner, Bits):
            mixture, group = np.divmod(np.arange(B * G), G)
            whole = inner.prepared(self._masked(scores, mixture, group), temperature, given)
        step = max(1, STACK_ENTRIES // (K * p))

        def run(chunk: Chunk, items, out: Outputs):
            rows, item, at = in_common(chunk.groups.starts, items)
            mixture, group, slot = items[item, 2], chunk.groups.number[at], items[item, 3]
            if at_once:
                whole(chunk, np.column_stack([rows, G * mixture + group, slot]), out)
                return
            for first in range(0, len(item), step):
                lot = slice(first, first + step)
                here = np.column_stack([rows[lot], np.arange(len(rows[lot])), slot[lot]])
                inner.prepared(self._masked(scores, mixture[lot], group[lot]), temperature, given)(chunk, here, out)

        return run

    def _masked(self, scores: Scores, mixture, group) -> Scores:
        """Return the scores of some mixtures for some groups of rows."""
        K = scores.natural.shape[1]
        which = K * mixture[:, None] + np.arange(K)
        family = self.family if scores.family is None else scores.family
        return scores._replace(
            natural=scores.natural[mixture], log_partition=scores.log_partition[mixture],
            log_weights=masked(scores.log_weights[mixture], self.allowed[group]),
            family=components(family, which.ravel()), excess=None if scores.excess is None else scores.excess[mixture],
        )  # fmt: skip


def in_common(starts, items) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ranges of rows that items and groups have in common, (m, 2), and of which item and group each is."""
    first = np.searchsorted(starts, items[:, 0], side="right") - 1
    n_groups = np.searchsorted(starts, items[:, 1], side="left") - first
    item = np.repeat(np.arange(len(items)), n_groups)
    group = np.arange(len(item)) - np.repeat(np.cumsum(n_groups) - n_groups, n_groups) + first[item]
    rows = np.column_stack([np.maximum(starts[group], items[item, 0]), np.minimum(starts[group + 1], items[item, 1])])
    return rows, item, group


def masked(log_weights, allowed) -> np.ndarray:
    """Return log-weights (m, K), −∞ for components that are not allowed, (m, K) bool.

    Raises
    ------
    ValueError
        If all that are allowed have weight 0.
    """
    found = np.where(allowed, log_weights, -np.inf)
    if (nowhere := np.isneginf(found).all(axis=1)).any():
        which = ", ".join(map(str, np.flatnonzero(allowed[np.argmax(nowhere)])))
        raise ValueError(
            f"some rows are only allowed in component(s) {which}, of mixing weight 0: their likelihood is 0. Allow "
            "others, or give positive weights, and a concentration of at least 1"
        )
    return found
