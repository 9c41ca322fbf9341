"""What fitted mixtures and k-means say of their rows, to be printed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from expfam_em.analysis.uncertainty import PRINTED, StandardErrors, aligned, called, listed
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import DENSE_ENTRIES
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.typing import Array, Floats


@dataclass(frozen=True, eq=False)
class Summary:
    """A fitted mixture in numbers; printed, it is a table.

    Attributes
    ----------
    title, status : str
        The family and its components, and how the fit ended.
    n, n_features, n_components, n_parameters : int or float
        n is the total row weight.
    log_likelihood, aic, bic, icl : float
        Of all rows.
    estimates : dict of str to array
        Mixing weights and named parameters.
    errors : StandardErrors, optional
        None where the mixture has none.
    why : str
        Then, why.
    entries : dict of str to array of Entry
        What each number of the estimates is of.
    """

    title: str
    status: str
    n: float
    n_features: int
    n_components: int
    n_parameters: int
    log_likelihood: float
    aic: float
    bic: float
    icl: float
    estimates: dict[str, Any]
    errors: StandardErrors | None
    why: str = ""
    entries: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = f"{self.n:g} rows of {self.n_features} columns, {self.n_components} components, "
        head = [
            self.title,
            rows + f"{self.n_parameters} free parameters",
            f"log-likelihood {self.log_likelihood:.4f}, AIC {self.aic:.4f}, BIC {self.bic:.4f}, ICL {self.icl:.4f}",
            self.status,
            "",
        ]
        if self.errors is not None:
            return "\n".join([*head, str(self.errors)])
        numbers = [*listed(self.estimates, self.entries)]
        shown = [(called(name, at, self.entries), f"{self.estimates[name][at]:.6g}") for name, at in numbers[:PRINTED]]
        more = [f"… and {len(numbers) - PRINTED} more"] if len(numbers) > PRINTED else []
        table = aligned([("parameter", "estimate"), *shown])
        return "\n".join([*head, *table, *more, f"No standard errors: {self.why}."])

    __repr__ = __str__


@dataclass(frozen=True, eq=False)
class ClusterSummary:
    """Clusters of k-means in numbers; printed, they are tables. There is no likelihood, and so no standard error.

    Attributes
    ----------
    title, status : str
        The estimator, and how the fit ended; empty for centres that nobody has fitted.
    n : float
        Total row weight.
    columns : tuple of str
        Names of the columns, or their numbers.
    centers : (K, d)
        ``cluster_centers_``.
    sizes : (K,)
        Row weight of each cluster.
    inertias : (K,)
        Σ w ‖x − μ‖² of each cluster.
    total : float
        Σ w ‖x − x̄‖² of all rows, of which the clusters leave ``inertias.sum()``.
    """

    title: str
    status: str
    n: float
    columns: tuple[str, ...]
    centers: Floats
    sizes: Array
    inertias: Array
    total: float

    @property
    def inertia(self) -> float:
        """J of all clusters."""
        return float(self.inertias.sum())

    @property
    def explained(self) -> float:
        """Share 1 − J / Σ w ‖x − x̄‖² of the variance that the clusters explain; NaN where there is none."""
        return 1 - self.inertia / self.total if self.total > 0 else np.nan

    def __str__(self) -> str:
        K, d = self.centers.shape
        clusters: list[tuple[str, ...]] = [("cluster", "rows", "share", "inertia", "share of inertia")]
        for k, (size, J) in enumerate(zip(self.sizes, self.inertias, strict=True)):
            of_all = f"{J / self.inertia:.4f}" if self.inertia > 0 else "–"
            clusters.append((str(k), f"{size:g}", f"{size / self.n:.4f}", f"{J:.6g}", of_all))
        each = [(f"centers[{k}, {self.columns[j]}]", f"{self.centers[k, j]:.6g}") for k, j in np.ndindex(K, d)]
        explained = f", {self.explained:.2%} of the variance explained" if self.total > 0 else ""
        head = [
            self.title,
            f"{self.n:g} rows of {d} columns, {K} cluster{'s' * (K > 1)}",
            f"inertia {self.inertia:.6g}{explained}",
            *([self.status] if self.status else []),
        ]
        centers = aligned([("center", "estimate"), *each[:PRINTED]])
        more = [f"… and {len(each) - PRINTED} more"] if len(each) > PRINTED else []
        return "\n".join([*head, "", *aligned(clusters), "", *centers, *more])

    __repr__ = __str__


def clusters_of(rows: Rows, centres: Array) -> tuple[Array, Array, float]:
    """Return row weight and Σ w ‖x − μ‖² of the cluster of each centre, (K,), and Σ w ‖x − x̄‖² of all rows."""
    K, about = len(centres), centres.mean(axis=0)
    found = rows.reduce(functools.partial(_clusters_of_chunk, centres, about), 3.0 * centres.size)
    sizes, inertias, moved, total = found[:K], found[K : 2 * K], found[2 * K : -1], found[-1]
    return sizes, inertias, float(max(0.0, total - moved @ moved / sizes.sum()))


def _clusters_of_chunk(centres: Array, about: Array, chunk: Chunk) -> Array:
    """Return the sums of `clusters_of` over the rows of a chunk, about a point near their mean."""
    (K, d), n = centres.shape, len(chunk.X)
    found = np.zeros(2 * K + d + 1)
    step = max(1, DENSE_ENTRIES // max(K, d)) if isinstance(chunk.X, CSRBlock) else n
    for first in range(0, n, max(1, step)):
        part = slice(first, first + step)
        X = np.asarray(chunk.X[part], np.float64)
        weight = np.ones(len(X)) if chunk.weight is None else chunk.weight[part]
        squares = cdist(X, centres, "sqeuclidean")
        label = np.argmin(squares, axis=1)
        of_rows = weight * squares[np.arange(len(X)), label]
        shifted = X - about
        found += np.concatenate([
            np.bincount(label, weight, K), np.bincount(label, of_rows, K), weight @ shifted,
            [weight @ np.einsum("nd,nd->n", shifted, shifted)],
        ])  # fmt: skip
    return found
