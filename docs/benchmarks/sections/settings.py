"""Two settings of the rows: clusters that separate and a start near the truth, blobs that overlap and a poor start."""

from dataclasses import replace

import numpy as np

SETTINGS = {
    "separated": "Separated: normal clusters",
    "overlapping": "Overlapping: blobs",
}


def in_settings(cases):
    """Return the cases in every setting, {setting: cases}."""
    return {setting: [replace(case, setting=setting) for case in cases] for setting in SETTINGS}


def separated(n, d, K):
    """Return rows of normal clusters of covariance I about 2·N(0, I), means near the centres, and the variance 1."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.standard_normal((K, d))
    X = rng.standard_normal((n, d))
    X += centres[rng.integers(K, size=n)]
    return X, centres + 0.5 * rng.standard_normal((K, d)), 1.0


def overlapping(n, d, K):
    """Return rows of blobs of width 3, their first K rows as means, and the mean variance of a column."""
    from sklearn.datasets import make_blobs

    X = make_blobs(n, d, centers=K, cluster_std=3, random_state=0)[0] + 5
    return X, X[:K].copy(), float(X.var(axis=0).mean())


DATA = {"separated": separated, "overlapping": overlapping}
