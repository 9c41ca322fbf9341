"""The tree of Gaussian clusters, beside one made by trying all pairs."""

import numpy as np
import pytest

from expfam_em.em.labels import Tree


def joined_by_the_formula(Z, variance, n_clusters):
    """Clusters that are joined two by two so that Σ n log(|W/n| + (tr W + α)/n) grows least, by trying all pairs."""

    def loss(rows):
        n, W = len(rows), (rows - rows.mean(axis=0)).T @ (rows - rows.mean(axis=0))
        volume = np.linalg.det(W / n) if n > Z.shape[1] else 0.0
        return n * np.log(volume + (np.trace(W) + variance) / n)

    clusters = [[i] for i in range(len(Z))]
    while len(clusters) > n_clusters:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a)]
        growth = [loss(Z[clusters[a] + clusters[b]]) - loss(Z[clusters[a]]) - loss(Z[clusters[b]]) for a, b in pairs]
        a, b = pairs[int(np.argmin(growth))]
        clusters[b] += clusters.pop(a)
    return {frozenset(one) for one in clusters}


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_tree_joins_clusters_by_their_likelihood(d):
    Z = np.random.default_rng(d).normal(size=(24, d)) * (1 + np.arange(d)) + np.repeat([0, 5], 12)[:, None]
    scaled = Z / len(Z) ** 0.25
    tree = Tree(Z, np.ones(len(Z)), np.random.default_rng(0))
    for K in (2, 3, 6):
        labels = tree.cut(K)
        found = {frozenset(np.flatnonzero(labels == k).tolist()) for k in range(K)}
        assert found == joined_by_the_formula(scaled, scaled.var(axis=0).mean(), K)
