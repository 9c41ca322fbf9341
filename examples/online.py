"""
A stream whose clusters drift
=============================

A stream of rows whose clusters drift: what forgetting is for.
"""

import numpy as np
from _common import output_folder, table

import expfam_em as ef

CENTRES = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])


def batch(rng, where):
    """Return 1,000 rows of three clusters, moved to the right."""
    return CENTRES[rng.integers(3, size=1000)] + rng.standard_normal((1000, 2)) + [where, 0.0]


def main():
    output_folder()
    rng = np.random.default_rng(0)
    models = {None: ef.GaussianMixture(3, random_state=0), 5000: ef.GaussianMixture(3, random_state=0)}
    lags = {memory: [] for memory in models}
    steps = (20, 60, 100)
    for t in range(1, 101):
        where = 0.03 * max(t - 20, 0)  # nothing moves at first
        X = batch(rng, where)
        for memory, model in models.items():
            model.partial_fit(X, step=ef.StepSize(memory=memory))
            if t in steps:
                lags[memory].append(where + CENTRES[:, 0].mean() - np.mean(model.means_[:, 0]))
    rows = [["everything" if m is None else f"{m:,} rows", *(f"{lag:.2f}" for lag in lags[m])] for m in models]
    table("How far the centres are behind", ["remembers", *(f"after {t} batches" for t in steps)], rows)
    assert abs(lags[5000][0]) < 0.1
    assert lags[5000][2] < 0.3 < lags[None][2]


if __name__ == "__main__":
    main()
