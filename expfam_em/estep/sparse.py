"""The pass over CSR rows, for T(x) = x."""

from __future__ import annotations

from typing import Any

import numpy as np

from expfam_em.estep.incomplete import IncompletePass
from expfam_em.estep.scores import Kernel, Outputs, Scores, cancels
from expfam_em.family import checked
from expfam_em.kernels import NO_OFFSET
from expfam_em.kernels.sparse import SPARSE_ROWS, em_sparse
from expfam_em.rows import grid
from expfam_em.rows.protocol import Chunk

SPARSE_WORK = 4 * grid.CHUNK_WORK
"""Multiply-adds per row and column, above which chunks would be too short for the number of columns."""

NO_TOTALS = np.empty(0), np.empty((0, 0)), np.empty(0)


class Sparse(Kernel):
    """The pass of a family over CSR rows; exposures, where there are any, may stand in a table beside them."""

    by_statistic = True

    def work(self, n_components, n_statistics) -> float:
        """Return the multiply-adds that a row is taken to cost: a chunk has at least a quarter as many rows as columns.

        With fewer rows, adding up the (d, K) sums of the chunks would take too long. The number of entries plays no
        part: no source knows it before all rows have been read.
        """
        return min(super().work(n_components, n_statistics), SPARSE_WORK / n_statistics)

    def prepared(self, scores: Scores, temperature=1.0, given=False):
        if cancels(self.family, scores):
            return IncompletePass(self.family).prepared(scores, temperature, given)
        natural = np.ascontiguousarray(scores.natural.transpose(0, 2, 1))
        partition, temperature = scores.log_partition, float(temperature)
        offset, level, group = scores.offset, scores.level, scores.groups
        offset_of_exposed = scores._replace(log_partition=np.zeros_like(partition)).offset

        def run(chunk: Chunk, items, out: Outputs):
            X: Any = chunk.X
            weight = np.empty(0) if chunk.weight is None else chunk.weight
            known = None if chunk.table is None else np.ascontiguousarray(chunk.table[:, 0])
            exposure = checked.exposure(self.family, X) if known is None else known
            row_offset = NO_OFFSET if chunk.offset is None else np.ascontiguousarray(chunk.offset, np.float64)
            exposed, e = exposure is not None, np.empty(0) if exposure is None else exposure
            for start, stop, mixture, slot in items.tolist():
                totals = (out.counts[slot], out.sums[slot].T, out.exposures[slot]) if out.sums.size else NO_TOTALS
                if given:
                    _add_given(X, weight, e, out.responsibilities, start, stop, totals)
                    continue
                bound = em_sparse(
                    X.data, X.indices, X.indptr, start, stop, natural[mixture], e,
                    partition[mixture] if exposed else np.empty(0),
                    (offset_of_exposed if exposed else offset)[mixture], level[mixture], weight, temperature,
                    SPARSE_ROWS, *totals, out.responsibilities, out.evidence, out.labels,
                    row_offset=row_offset, group=group,
                )  # fmt: skip
                if out.bounds.size:
                    out.bounds[slot] += bound

        return run


def _add_given(X, weight, exposure, responsibilities, start, stop, totals) -> None:
    """Add up rows whose responsibilities are given."""
    counts, sums, exposures = totals
    R = responsibilities[start:stop] * (weight[start:stop, None] if len(weight) else 1.0)
    counts += R.sum(axis=0)
    sums += X[start:stop].matrix.T @ R
    if len(exposure):
        exposures += exposure[start:stop] @ R
