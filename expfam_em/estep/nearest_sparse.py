"""CSR rows for k-means: nothing is shifted, so that zeros stay zeros, and every row is scored in every step."""

from __future__ import annotations

import numpy as np

from expfam_em.estep.dense import Outputs
from expfam_em.estep.memory import ArrayRows
from expfam_em.estep.nearest import NearestRows
from expfam_em.values.mixture import Mixture


class SparseNearestRows(NearestRows):
    """What `NearestRows` says of rows and their nearest centres, from the entries of CSR rows and without a search.

    Parameters
    ----------
    X : CSRBlock
    sample_weight : (n,) float64, optional
    n_jobs : int, optional
        Threads; all cores if None or −1.
    """

    def __init__(self, X, sample_weight=None, n_jobs=None):
        ArrayRows.__init__(self, X, sample_weight, n_jobs)

    def expected_statistics(self, mixture, temperature=1.0, data=None, totals=None, table=None):
        """Return the expected statistics of the rows under a mixture, with a bound that leaves out log h."""
        return ArrayRows.expected_statistics(self, _keeping_zeros(mixture), temperature, data, totals, table)

    def labels(self, mixture) -> np.ndarray:
        """Return the index of the nearest centre of each row, the lower one of two equally near, (n,) int32."""
        out = np.empty(len(self), np.int64)
        self.write(_keeping_zeros(mixture), Outputs(labels=out))
        return out.astype(np.int32)

    def distances(self, centres) -> np.ndarray:
        """Return the distance of each row to each centre, (n, K)."""
        out = np.empty((len(self), len(centres)))

        def chunk(X, weight, where):
            for k in range(len(centres)):
                squares = _squared_distances(X, centres, squares_of, np.full(len(X), k))
                out[where, k] = np.sqrt(squares)

        squares_of = _squares(centres)
        self.map(chunk, 1)
        return out

    def column_variance(self) -> np.ndarray:
        """Return the variances of the columns, (d,)."""
        X, d = self.X, self.n_features
        weight = self._weight_of(np.arange(len(X)))
        of_entry, x, total = weight[X.rows], np.asarray(X.values, np.float64), weight.sum()
        mean = np.bincount(X.columns, of_entry * x, d) / total
        stored = np.bincount(X.columns, of_entry * (x - mean[X.columns]) ** 2, d)
        zeros = np.maximum(total - np.bincount(X.columns, of_entry, d), 0.0)
        return (stored + zeros * mean**2) / total

    def _in_frame(self, which, family):
        return np.asarray(self.X[which], np.float64)

    def _sums_of(self, which, family):
        weight = self._weight_of(which)
        return weight.sum(), self.X[which].matrix.T @ weight

    def _loss(self, centres, labels, squares):
        squares_of = _squares(centres)

        def chunk(X, weight, where):
            found = _squared_distances(X, centres, squares_of, labels[where])
            if len(squares):
                squares[where] = found
            return found.sum() if weight is None else weight @ found

        return float(np.sum(self.map(chunk, 1)))


def _keeping_zeros(mixture) -> Mixture:
    """Return the mixture as the pass over CSR rows takes it.

    T is x, but log h of a zero is not 0, which has nothing to do with the nearest centre.
    """
    return Mixture.unchecked(
        mixture.family.replace(keeps_zeros=True), mixture.weights, mixture.natural,
        log_partition=mixture.log_partition, log_weights=mixture.log_weights,
    )  # fmt: skip


def _squares(centres):
    """Return |μ|², added in the order of columns, as the entries of a row are: the two then cancel exactly."""
    return np.cumsum(centres**2, axis=1)[:, -1]


def _squared_distances(X, centres, squares, labels) -> np.ndarray:
    """Return ‖x − μ‖² = Σ_{x_j ≠ 0} (x_j − μ_j)² + (|μ|² − Σ_{x_j ≠ 0} μ_j²) of rows and the centres they belong to."""
    at = centres[labels[X.rows], X.columns]
    stored = X.sum_rows((X.values - at) ** 2)
    return stored + np.maximum(squares[labels] - X.sum_rows(at**2), 0.0)
