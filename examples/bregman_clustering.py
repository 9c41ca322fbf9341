"""
Hard clustering in any family's divergence
==========================================

Note 002, a dissimilarity in place of the squared distance. At temperature 0 with equal weights the driver minimises J
= Σ_n D(x_n, μ_label), D being the family's own divergence (Banerjee et al. 2005): squared distance for a Gaussian
with known variance, x log(x/μ) − x + μ for counts. Measures of no exponential family, as in k-medoids, are outside
this package.
"""

import numpy as np
from _common import never_falls, save, side_by_side, table
from scipy.special import xlogy
from sklearn.metrics import adjusted_rand_score

import expfam_em as ef
from expfam_em.plots import plot_clusters


def poisson_divergence(X, centres):
    """D(x, μ) = Σ x log(x/μ) − x + μ, (n, K)."""
    X, centres = X[:, None], centres[None]
    return (xlogy(X, X / centres) - X + centres).sum(axis=2)


family = ef.families.Poisson()
third = np.full(3, 1 / 3)
X, drawn = ef.Mixture.of(family, third, rates=[[2.0, 3.0], [4.0, 25.0], [60.0, 40.0]]).sample(600, rng=0)
start = ef.Mixture.of(family, third, rates=[[1.0, 1.0], [10.0, 10.0], [30.0, 30.0]])
fit = ef.fit(start, X, temperature=0.0, weights="equal", stop="parameters", tol=0)
centres, labels = fit.mixture.parameters["rates"], fit.mixture.responsibilities(X).argmax(axis=1)

# the bound is −J plus what does not depend on the centres: the density of each row at its own rate
best = np.sum(xlogy(X, X) - X) + family.log_base_measure(X).sum() - len(X) * np.log(3)
J, J_half = best - fit.bounds, best - fit.half_bounds
rows = [[i + 1, f"{e:.6f}", f"{m:.6f}"] for i, (e, m) in enumerate(zip(J, J_half, strict=False))]
table("600 pairs of counts: J after every half-step", ["iteration", "J after E-step", "J after M-step"], rows)
by_definition = poisson_divergence(X, centres).min(axis=1).sum()
print(f"\nJ at the end: {J[-1]:.6f}; from the divergences themselves: {by_definition:.6f}")
assert np.isclose(J[-1], by_definition)
assert never_falls(-np.column_stack([J[:-1], J_half]).ravel())
for k in range(3):  # whatever the divergence, a centre is the mean of its rows
    assert np.allclose(centres[k], X[labels == k].mean(axis=0))

# %%
# Squared distance does not know that large counts vary more than small ones.
squared = ef.KMeans(3, n_init=20, random_state=0).fit(X)
figure, axes = side_by_side(2, 3.9, sharex=True, sharey=True)
agreement = []
for ax, found, name in zip(axes, (labels, squared.labels_), ("Poisson divergence", "Squared distance"), strict=True):
    agreement.append(adjusted_rand_score(drawn, found))
    order = np.argsort(np.argsort([X[found == k].sum(axis=1).mean() for k in range(3)]))  # the same colours
    plot_clusters(X, np.eye(3)[order[found]], names=["first count", "second count"], ax=ax)
    ax.set_title(f"{name}: adjusted Rand index {agreement[-1]:.3f}", loc="left", fontsize="medium")
save(figure, "bregman_clustering")
assert agreement[0] > agreement[1]
