"""
k-means on Old Faithful, half-step by half-step
===============================================

Note 002: k-means on Old Faithful, with the distortion after every E-step and every M-step.
"""

import numpy as np
from _common import faithful, output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_bound, plot_clusters

START = np.array([[-1.5, 1.0], [1.5, -1.0]])
"""Two centres away from both clusters."""


def by_hand(X, centres):
    """Centres and J after every half-step, as the formulas say: r by the nearest centre, μ by the mean of its rows."""
    distortions, labels = [], None
    while True:
        square = np.sum((X[:, None] - centres) ** 2, axis=2)
        nearest = square.argmin(axis=1)
        distortions.append(square.min(axis=1).sum())
        if labels is not None and np.array_equal(nearest, labels):
            return centres, distortions
        labels = nearest
        centres = np.array([X[labels == k].mean(axis=0) for k in range(len(centres))])
        distortions.append(np.sum((X - centres[labels]) ** 2))


def main():
    folder = output_folder()
    X = faithful(standardised=True)
    fit = ef.KMeans(2, init=START, tol=0).fit(X)
    trace = fit.distortions_
    centres, expected = by_hand(X, START)

    rows = []
    for i in range(fit.n_iter_ + 1):
        after_m = [f"{trace[2 * i + 1]:.6f}", f"{expected[2 * i + 1]:.6f}"] if 2 * i + 1 < len(expected) else ["", ""]
        if 2 * i < len(expected):
            rows.append([i + 1, f"{trace[2 * i]:.6f}", f"{expected[2 * i]:.6f}", *after_m])
    headers = ["iteration", "J after E-step", "by hand", "J after M-step", "by hand"]
    table("Old Faithful, standardised, K = 2: distortion after every half-step", headers, rows)
    changing = (len(expected) - 1) // 2
    excess = expected[5] / expected[-1] - 1
    print(f"\nafter iteration 3, J is {excess:.2%} above its end (expected in the note's plot: converged after 3);")
    print(f"no row changes its cluster after iteration {changing}, and J = {fit.inertia_:.6f}")

    assert np.allclose(trace[: len(expected)], expected)
    assert np.allclose(trace[len(expected) :], expected[-1])
    assert np.allclose(fit.cluster_centers_, centres)
    assert np.isclose(fit.inertia_, expected[-1])
    assert np.all(np.diff(trace) <= 1e-9)
    assert changing <= 5
    assert excess < 0.002

    figure, axes = side_by_side(2, 4.2)
    plot_bound(fit, axes[0])
    names = [f"{what}, standard deviations" for what in ("eruption", "waiting time")]
    plot_clusters(X, np.eye(2)[fit.labels_], names=names, ax=axes[1])
    for start, end in zip(START, fit.cluster_centers_, strict=True):
        axes[1].annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#222222"})
    axes[1].plot(*START.T, "x", color="#222222")
    axes[1].annotate("start", START[0], (6, 6), textcoords="offset points")
    save(figure, "kmeans_faithful", folder)


if __name__ == "__main__":
    main()
