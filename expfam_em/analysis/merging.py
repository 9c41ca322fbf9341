"""Components that overlap, merged into clusters one pair at a time."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from expfam_em.rows.memory import ArrayRows, as_rows, not_in_memory
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Integers, Observations
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import mixture_and_rows


@dataclass(frozen=True)
class Merging:
    """The clusters that components form, from K of them down to one.

    Attributes
    ----------
    pairs : (K − 1, 2) int
        Clusters joined at each step; the second goes into the first, and those behind it move up by one.
    entropies : (K,)
        Σ_n w_n H(responsibilities of the clusters), with K clusters, K − 1, …, 1; the last is 0 up to rounding. An
        elbow of entropies against the number of rows joined so far, ``joined``, suggests how many clusters there are.
    joined : (K,)
        Σ of the rows' weights in the clusters that were joined, up to each step; the first is 0.
    """

    pairs: Integers
    entropies: Array
    joined: Array

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.entropies)

    def clusters(self, n_clusters: int) -> Integers:
        """Return the cluster of each component, (K,), with so many of them.

        Raises
        ------
        ValueError
            If ``n_clusters`` is not in 1..K.
        """
        K = self.n_components
        if not 1 <= operator.index(n_clusters) <= K:
            raise ValueError(f"n_clusters is {n_clusters!r}; it must be a whole number from 1 to {K}")
        cluster = np.arange(K)
        for first, second in self.pairs[: K - n_clusters]:
            cluster[cluster == second] = first
            cluster[cluster > second] -= 1
        return cluster

    def combine(self, responsibilities: ArrayLike, n_clusters: int) -> Array:
        """Return the responsibilities of so many clusters, (n, K) -> (n, n_clusters)."""
        return np.asarray(responsibilities) @ np.eye(n_clusters)[self.clusters(n_clusters)]


@undisturbed
def merge_components(
    mixture: Any, X: Observations, sample_weight: ArrayLike | None = None, *, n_jobs: int | None = None
) -> Merging:
    """Merge components, at each step the two whose union lowers the entropy of the clustering most.

    A density needs several components where a cluster does not have the shape of the family; the density stays as it
    is and only the clustering changes (Baudry, Raftery, Celeux, Lo & Gottardo 2010, eq. 7).

    Parameters
    ----------
    mixture : Mixture, or fitted estimator of one
        An estimator takes the rows as its fit did.
    X : (n, d) array or sparse matrix
        Rows.
    sample_weight : (n,), optional
        Row weights, 1 by default.
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.

    Returns
    -------
    Merging
    """
    mixture, X = mixture_and_rows(mixture, X)
    rows = as_rows(X, sample_weight, n_jobs)
    if not isinstance(rows, ArrayRows):
        raise not_in_memory("merge_components")
    R = evaluate(mixture.family, mixture.scores, rows, responsibilities=True).responsibilities
    weight = np.ones(len(R)) if rows.sample_weight is None else rows.sample_weight
    pairs, entropies, joined = [], [float(weight @ entr(R).sum(axis=1))], [0.0]
    while R.shape[1] > 1:
        first, second = _best_pair(R, weight)
        joined.append(joined[-1] + float(weight @ (R[:, first] + R[:, second])))
        R[:, first] += R[:, second]
        R = np.delete(R, second, axis=1)
        pairs.append((first, second))
        entropies.append(float(weight @ entr(np.minimum(R, 1.0)).sum(axis=1)))
    return Merging(np.array(pairs, np.int64).reshape(-1, 2), np.array(entropies), np.array(joined))


def _best_pair(R: Array, weight: Array) -> tuple[int, int]:
    """Return the columns first < second whose sum lowers Σ w H most; the lower ones in a tie."""
    K = R.shape[1]
    alone = weight @ entr(R)
    best, pair = -np.inf, (0, 1)
    for first in range(K - 1):
        together = weight @ entr(np.minimum(R[:, [first]] + R[:, first + 1 :], 1.0))
        gain = alone[first] + alone[first + 1 :] - together
        at = int(np.argmax(gain))
        if gain[at] > best:
            best, pair = gain[at], (first, first + 1 + at)
    return pair
