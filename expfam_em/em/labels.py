"""Labels that runs may start from: clusters of rows by their distances, in several coordinates."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, ward
from scipy.spatial.distance import cdist

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.kernel_form import form_of
from expfam_em.kernels.agglomerate import agglomerate
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.typing import Array, Floats, Integers

ROWS_PER_AXIS = 4
"""Rows there must be for each principal axis: with fewer of them, whitened rows are all equally far apart."""

NARROWEST_STATISTIC = 1e-6
"""Standard deviation along a principal axis, relative to the largest one, below which it is rounding."""

UNSQUARED = 1e150
"""Statistics whose squares float64 does not hold, as those of rows that only other components can have produced."""

CENTRE_STEPS = 10
"""Steps of k-means: EM goes on from there."""

WARD_ROWS = 500
"""Most rows of which all distances are computed."""

TREE_ROWS = 1000
"""Most rows that are joined two by two."""

TREE_AXES = 50
"""Coordinates that say which rows are joined, the longest principal axes: time grows with the cube of their number."""

SHARES = 8.0
"""Ratio of the largest to the smallest share of rows that a component of a start may have."""

LARGEST_SHARE = 0.9
"""Largest share of the rows left that a component of a start may take."""


class Axes(NamedTuple):
    """Rows in their principal coordinates, or as they are.

    Attributes
    ----------
    whitened : (m, q)
        Principal coordinates of variance 1, of columns that were scaled to variance 1.
    deviation : (q,)
        Standard deviation of these columns along each principal axis.
    raw : (m, c)
    weight : (m,)
    """

    whitened: np.ndarray
    deviation: np.ndarray
    raw: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, family: ExponentialFamily, X: Any, weight: Array) -> Axes:
        """Return the coordinates of rows in memory."""
        raw = _columns(family, X)
        share = weight / weight.sum()
        centred = raw - share @ raw
        width = np.sqrt(share @ centred**2)
        varies = width > NARROWEST_STATISTIC * np.abs(raw).max(axis=0, initial=0.0)
        scaled = centred[:, varies] / width[varies]
        _, deviation, axes = np.linalg.svd(np.sqrt(share)[:, None] * scaled, full_matrices=False)
        q = min(len(deviation), max(1, len(raw) // ROWS_PER_AXIS))
        kept = np.flatnonzero(deviation[:q] > NARROWEST_STATISTIC * deviation.max(initial=0.0))
        return cls(scaled @ axes[kept].T / deviation[kept], deviation[kept], raw, weight)

    def in_coordinates(self, name: str) -> np.ndarray:
        """Return the rows in coordinates "raw", "scaled" (every column of variance 1), "whitened", or "between".

        The last are half way between the two before: principal coordinates whose variances are deviations.
        """
        if name == "raw" or not len(self.deviation):
            return self.raw
        power = {"whitened": 0.0, "between": 0.5, "scaled": 1.0}[name]
        return self.whitened * self.deviation**power


def _columns(family: ExponentialFamily, X: Any) -> np.ndarray:
    """Return those statistics of rows that are no products of others, per unit of exposure."""
    if isinstance(X, CSRBlock):
        T, exposure, form = X.matrix.toarray(), checked.exposure(family, X), None
    else:
        (T, exposure), form = checked.statistics(family, X), form_of(family, X.shape[1])
    T = T if exposure is None else T / exposure[:, None]
    if form is not None:
        monomials = form.monomials
        T = T[:, : len(monomials.shift)] / monomials.inverse_scale  # in the units of the rows
    return T[:, np.all(np.abs(T) < UNSQUARED, axis=0)]


def k_means(Z: Floats, weight: Array, n_components: int, rng: np.random.Generator) -> Integers:
    """Return labels (m,) by k-means of points (m, q), which begins at points far from one another."""
    chosen, near = [_drawn(weight, rng)], np.full(len(Z), np.inf)
    for _ in range(1, n_components):
        near = np.minimum(near, cdist(Z, Z[chosen[-1:]], "sqeuclidean")[:, 0])
        chosen.append(_drawn(weight * near if near.any() else weight, rng))
    centres = Z[chosen]
    for _ in range(CENTRE_STEPS):
        centres = _centres(Z, weight, _nearest(Z, centres), centres)
    return _nearest(Z, centres)


def hierarchical(Z: Floats, weight: Array, n_components: int, rng: np.random.Generator) -> Integers:
    """Return labels (m,) by the nearest of the centres of clusters that Ward's method finds in half of the points."""
    there = np.flatnonzero(weight > 0)
    some = there[rng.permutation(len(there))[: min(max(len(there) // 2, 5 * n_components), WARD_ROWS)]]
    found = fcluster(ward(Z[some]), n_components, "maxclust") - 1 if len(some) > 1 else np.zeros(1, np.int64)
    return _nearest(Z, _centres(Z[some], weight[some], found, Z[np.resize(some, n_components)]))


class Tree:
    """Clusters of points that are joined two by two, by the likelihood of Gaussian clusters; see `agglomerate`.

    In the coordinates "between" it is that of mclust's ``hc`` with its defaults.

    Parameters
    ----------
    Z : (m, q)
    weight : (m,)
    rng : numpy Generator
        Draws the points that are joined, where they are many; the others go to the nearest cluster.
    """

    def __init__(self, Z: Floats, weight: Array, rng: np.random.Generator) -> None:
        self.Z, self.weight = Z, weight
        there = np.flatnonzero(weight > 0)  # no row of weight 0, whose scatter per row would be 0/0
        self.some = there[np.sort(rng.permutation(len(there))[:TREE_ROWS])]
        # volumes and traces are added: as in mclust, squares are in units of 1/√n
        points = np.ascontiguousarray(Z[self.some, :TREE_AXES] * weight.sum() ** -0.25, np.float64)
        share = np.ascontiguousarray(weight[self.some], np.float64)
        mean = share @ points / share.sum()
        variance = float((share @ (points - mean) ** 2).mean() / share.sum())
        self.joins = np.empty((len(points) - 1, 2), np.int64)
        agglomerate(points, share, max(variance, np.finfo(float).eps), self.joins)

    def cut(self, n_components: int) -> Integers:
        """Return labels (m,) of so many clusters."""
        m = len(self.some)
        of = np.arange(m)
        for joined, into in self.joins[: max(m - n_components, 0)].tolist():
            of[joined] = into
        for at in range(m):  # a cluster is joined into one of a lower number
            of[at] = of[of[at]]
        found: Integers = np.unique(of, return_inverse=True)[1]
        if m == np.count_nonzero(self.weight):
            labels = np.zeros(len(self.Z), np.int64)
            labels[self.some] = found
            return labels
        before = self.Z[np.resize(self.some, n_components)]
        return _nearest(self.Z, _centres(self.Z[self.some], self.weight[self.some], found, before))


def unequal(Z: Floats, weight: Array, n_components: int, rng: np.random.Generator) -> Integers:
    """Return labels (m,) by balls around points, one after another, of very different shares of what is left.

    The last component is what no ball contains.
    """
    labels, left = np.full(len(Z), n_components - 1), np.arange(len(Z))
    for k in range(n_components - 1):
        if len(left) < 2:
            break
        centre = Z[left[_drawn(weight[left], rng)]]
        left = left[np.argsort(cdist(Z[left], centre[None])[:, 0], kind="stable")]
        share = min(1.5 / (n_components - k) * SHARES ** -rng.random(), LARGEST_SHARE)
        within = np.cumsum(weight[left])
        size = min(1 + int(np.searchsorted(within, share * within[-1])), len(left) - 1)
        labels[left[:size]], left = k, left[size:]
    return labels


def _drawn(mass: Array, rng: np.random.Generator) -> int:
    """Return a point drawn in proportion to what it has."""
    cumulative = np.cumsum(mass)
    return min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), len(mass) - 1)


def _nearest(Z: Floats, centres: Floats) -> Integers:
    return cdist(Z, centres, "sqeuclidean").argmin(axis=1)


def _centres(Z: Floats, weight: Array, labels: Integers, before: Floats) -> np.ndarray:
    """Return the mean of the points of each label, (K, q), or what it was before if there are none."""
    inside = (labels == np.arange(len(before))[:, None]) * weight
    mass = inside.sum(axis=1, keepdims=True)
    return np.where(mass > 0, inside @ Z / np.where(mass > 0, mass, 1.0), before)
