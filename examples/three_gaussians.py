"""
500 points from three Gaussians
===============================

Note 002. Rows drawn with their components, p(x, z); rows alone, p(x); and rows in the colours of p(z|x).
"""

import numpy as np
from _common import save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import INK, plot_clusters

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.2, 0.35], [0.5, 0.5], [0.8, 0.65]])
COVARIANCES = np.array([[[18, 8], [8, 12]], [[20, -16], [-16, 20]], [[18, 8], [8, 12]]]) / 1000
true = ef.Mixture.of(ef.families.Gaussian(), WEIGHTS, means=MEANS, covariances=COVARIANCES)
X, z = true.sample(500, rng=0)
r = true.responsibilities(X)

each = np.arange(500)
joint = true.family.log_density(X, true.natural)[each, z] + np.log(WEIGHTS[z])
marginal, posterior = true.log_density(X), np.log(r[each, z])
means = [f"{values.mean():.6f}" for values in (joint, marginal, joint - marginal, posterior)]
table("Mean log-density", ["joint p(x, z)", "marginal p(x)", "difference", "mean log p(z|x)"], [means])
assert np.allclose(joint - marginal, posterior)

figure, axes = side_by_side(3, 3.9, 11, sharex=True, sharey=True)
names = ["x1", "x2"]
plot_clusters(X, np.eye(3)[z], names=names, ax=axes[0])
axes[0].set_title("Joint: rows and their components", loc="left", fontsize="medium")
axes[1].scatter(*X.T, s=12, color=INK, linewidths=0, alpha=0.8)
axes[1].set_title("Marginal: what is observed", loc="left", fontsize="medium")
axes[1].set_xlabel(names[0])
axes[1].spines[["top", "right"]].set_visible(False)
plot_clusters(X, r, mixture=true, names=names, ax=axes[2])
axes[2].set_title("Responsibilities: colours mix between them", loc="left", fontsize="medium")
save(figure, "three_gaussians")

# %%
# What EM finds from the points alone.
fit = ef.GaussianMixture(3, n_init=10, tol=1e-8, max_iter=2000, random_state=0).fit(X).match(true)
sizes = np.bincount(z, minlength=3) / 500
columns = WEIGHTS, sizes.round(3), fit.weights_.round(3), MEANS.tolist(), fit.means_.round(3).tolist()
rows = list(zip("abc", *columns, strict=True))
table("From the points alone", ["component", "true π", "share drawn", "fitted π", "true μ", "fitted μ"], rows)
agreement, best = np.mean(z == fit.predict(X)), np.mean(z == r.argmax(axis=1))
print(f"\nrows given to the component that drew them: {agreement:.1%} fitted, {best:.1%} with the true parameters")
assert fit.lower_bound_ >= marginal.mean()  # the fit is at least as likely as the truth
assert np.abs(fit.weights_ - WEIGHTS).max() < 0.1
assert np.abs(fit.means_ - MEANS).max() < 0.05
assert agreement > best - 0.03
