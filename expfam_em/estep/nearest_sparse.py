"""CSR rows for k-means: nothing is shifted, so that zeros stay zeros, and every row is scored in every step."""

from __future__ import annotations

import numpy as np

from expfam_em.estep.nearest import NearestPass
from expfam_em.estep.plan import Pass
from expfam_em.estep.scores import Outputs, Scores, Sums
from expfam_em.estep.sparse import Sparse
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk


class SparseNearestPass(NearestPass):
    """What `NearestPass` says of rows and their nearest centres, from the entries of CSR rows and without a search.

    Parameters
    ----------
    family : ExponentialFamily
        In the coordinates of x: T(x) = x. That log h of a zero is not 0 has nothing to do with the nearest centre.
    rows : ArrayRows
        CSR rows.
    """

    def __init__(self, family, rows: ArrayRows):
        self.family, self.rows, self.kernel = family, rows, Sparse(family)

    @property
    def frame(self):
        """Shift and inverse scale of z, each (d,): none."""
        d = self.rows.n_features
        return np.zeros(d), np.ones(d)

    def sums(self, scores: Scores, temperature=1.0, data_set=None) -> Sums:
        """Return counts, sums and bounds, without log h; see `Pass.sums`."""
        return Pass(self.family, self.rows, self.kernel, np.zeros(1)).sums(scores, temperature, data_set)

    def labels(self, scores: Scores) -> np.ndarray:
        """Return the index of the nearest centre of each row, the lower one of two equally near, (n,) int32."""
        out = np.empty(len(self.rows), np.int64)
        Pass(self.family, self.rows, self.kernel, np.zeros(1)).write(scores, Outputs(labels=out))
        return out.astype(np.int32)

    def distances(self, centres) -> np.ndarray:
        """Return the distance of each row to each centre, (n, K)."""
        out, squares_of = np.empty((len(self.rows), len(centres))), _squares(centres)

        def write(chunk: Chunk) -> int:
            X, rows = chunk.X, slice(chunk.first, chunk.first + len(chunk.X))
            for k in range(len(centres)):
                out[rows, k] = np.sqrt(_squared_distances(X, centres, squares_of, np.full(len(X), k)))
            return 0

        self.rows.reduce(write, len(centres))
        return out

    def column_variance(self) -> np.ndarray:
        """Return the variances of the columns, (d,)."""
        X, d = self.rows.X, self.rows.n_features
        weight = self._weight_of(np.arange(len(X)))
        of_entry, x, total = weight[X.rows], np.asarray(X.values, np.float64), weight.sum()
        mean = np.bincount(X.columns, of_entry * x, d) / total
        with np.errstate(over="ignore"):
            stored = np.bincount(X.columns, of_entry * (x - mean[X.columns]) ** 2, d)
            zeros = np.maximum(total - np.bincount(X.columns, of_entry, d), 0.0)
            return (stored + zeros * mean**2) / total

    def _in_frame(self, which):
        return np.asarray(self.rows.X[which], np.float64)

    def _sums_of(self, which):
        weight = self._weight_of(which)
        return weight.sum(), self.rows.X[which].matrix.T @ weight

    def _loss(self, centres, labels, squares):
        squares_of = _squares(centres)

        def loss(chunk: Chunk) -> float:
            rows = slice(chunk.first, chunk.first + len(chunk.X))
            found = _squared_distances(chunk.X, centres, squares_of, labels[rows])
            if len(squares):
                squares[rows] = found
            with np.errstate(over="ignore"):  # here, for threads have a state of their own
                return found.sum() if chunk.weight is None else chunk.weight @ found

        with np.errstate(over="ignore"):
            return float(self.rows.reduce(loss, 16))


def _squares(centres):
    """Return |μ|², added in the order of columns, as the entries of a row are: the two then cancel exactly."""
    return np.cumsum(centres**2, axis=1)[:, -1]


def _squared_distances(X, centres, squares, labels) -> np.ndarray:
    """Return ‖x − μ‖² = Σ_{x_j ≠ 0} (x_j − μ_j)² + (|μ|² − Σ_{x_j ≠ 0} μ_j²) of rows and the centres they belong to."""
    at = centres[labels[X.rows], X.columns]
    stored = X.sum_rows((X.values - at) ** 2)
    return stored + np.maximum(squares[labels] - X.sum_rows(at**2), 0.0)
