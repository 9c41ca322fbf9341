"""The pass over rows of 0s and 1s, kept as codes of four columns each: a quarter of the operations."""

from __future__ import annotations

import numpy as np

from expfam_em.estep.scores import Kernel, Outputs, Scores
from expfam_em.family.kernel_form import KernelForm
from expfam_em.kernels import patterns as kernel
from expfam_em.rows.protocol import PADDING, Chunk, Rows

CODED_ENTRIES, CODED_COLUMNS = 50_000, 8
"""Entries of X and columns below which there is nothing to gain."""

CODED_ROWS = 500
"""Rows of a data set below which its table takes longer than what it saves."""

CODE_TABLE_ENTRIES = 1 << 19
"""Entries of a table of one mixture, four megabytes: with more, reading it takes as long as the dense products."""

CODE_STACK_ENTRIES = 1 << 23
"""Entries of the tables of a stack, 64 MB, that are made at a time."""

CODED_LOOK_ROWS = 64
"""Rows that are looked at before all others are."""


class Bits(Kernel):
    """The pass of a family with T(x) = x over rows with codes beside them, see `with_codes`."""

    def most_mixtures(self, scores: Scores) -> int:
        """Return how many mixtures of a stack to take at a time, for the memory of their tables."""
        _, K, d = scores.natural.shape
        return max(1, CODE_STACK_ENTRIES // kernel.table_size(d, K))

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        tables, offset, level = kernel.tabulate(scores.natural), scores.offset, scores.level
        temperature = float(temperature)

        def run(chunk: Chunk, items, out: Outputs):
            codes = with_codes(chunk).table if chunk.table is None else chunk.table  # a source may keep no tables
            weight = np.empty(0) if chunk.weight is None else chunk.weight
            kernel.em_patterns(
                codes, items, tables, offset, level, weight, temperature, out.counts, out.sums, out.bounds
            )

        return run


def coded(rows: Rows, form: KernelForm | None, n_components):
    """Return rows with codes beside them; None if X has other values, or nothing is gained by it."""
    d = rows.n_features
    if form is None or not form.is_identity or rows.is_sparse or d < CODED_COLUMNS:
        return None
    if n_components == 1 or kernel.table_size(d, n_components) > CODE_TABLE_ENTRIES:
        return None
    enough = max(CODED_ROWS * rows.n_data, CODED_ENTRIES / d)
    return rows.derive(with_codes, 16 * d) if rows.reduce(_coded_rows, 2 * d) >= enough else None


def _coded_rows(chunk: Chunk) -> float:
    """Return how many rows a chunk has; −∞ if they cannot be taken as codes, so that no sum with them is positive."""
    X = chunk.X
    possible = chunk.offset is None and _is_binary(X[:CODED_LOOK_ROWS]) and _is_binary(X)
    return len(X) if possible else -np.inf


def _is_binary(X) -> bool:
    return bool(np.all((X == 0) | (X == 1)))


def with_codes(chunk: Chunk) -> Chunk:
    """Return a chunk with the codes of its rows as table, (m + PADDING, ⌈d/4⌉) uint8."""
    codes = np.zeros((len(chunk.X) + PADDING, -(-chunk.X.shape[1] // kernel.BITS)), np.uint8)
    kernel.pack(chunk.X == 1, codes[: len(chunk.X)])
    return chunk._replace(table=codes)
