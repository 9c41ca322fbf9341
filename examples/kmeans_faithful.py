"""
k-means on Old Faithful, half-step by half-step
===============================================

Note 002. J = Σ_n ‖x_n − μ_label‖² after every E-step (each row to the nearest centre) and every M-step (each centre
to the mean of its rows). Two centres that begin away from both clusters are nearly at their end after three
iterations.
"""

import numpy as np
from _common import faithful, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_bound, plot_clusters

START = np.array([[-1.5, 1.0], [1.5, -1.0]])


def by_hand(X, centres):
    """Centres and J after every half-step, as the formulas say."""
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


X = faithful(standardised=True)
fit = ef.KMeans(2, init=START, tol=0).fit(X)
centres, expected = by_hand(X, START)
halves = "E", "M"
rows = [
    [i // 2 + 1, halves[i % 2], f"{found:.6f}", f"{hand:.6f}"]
    for i, (found, hand) in enumerate(zip(fit.distortions_, expected, strict=False))
]
table("Old Faithful, standardised, K = 2", ["iteration", "after step", "J", "by hand"], rows)
excess = expected[5] / expected[-1] - 1
print(f"\nafter iteration 3, J is {excess:.2%} above its end, J = {fit.inertia_:.6f}")
assert np.allclose(fit.distortions_[: len(expected)], expected)
assert np.allclose(fit.cluster_centers_, centres)
assert excess < 0.002

figure, axes = side_by_side(2, 4.2)
plot_bound(fit, axes[0])
names = [f"{what}, standard deviations" for what in ("eruption", "waiting time")]
plot_clusters(X, np.eye(2)[fit.labels_], names=names, ax=axes[1])
for start, end in zip(START, fit.cluster_centers_, strict=True):
    axes[1].annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#222222"})
axes[1].plot(*START.T, "x", color="#222222")
axes[1].annotate("start", START[0], (6, 6), textcoords="offset points")
save(figure, "kmeans_faithful")
