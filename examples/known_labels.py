"""
Labels give parameters, parameters give labels
==============================================

Note 001, the chicken and the egg. Were the labels known, parameters would be means and variances of the rows of each
label; with responsibilities they are weighted ones. Were the parameters known, Bayes' rule would give the labels.
"""

import numpy as np
from _common import save, side_by_side, table
from scipy.special import expit

import expfam_em as ef
from expfam_em.plots import plot_clusters

family = ef.families.Gaussian()
true = ef.Mixture.of(family, [0.5, 0.5], means=[[-2.0], [2.0]], covariances=np.ones((2, 1, 1)))
X, labels = true.sample(400, rng=0)
x = X[:, 0]
given = {"labels": np.eye(2)[labels], "responsibilities": true.responsibilities(X)}
rows, fits = [], []
for name, r in given.items():
    fit = ef.GaussianMixture(2, init=r, max_iter=0, reg_covar=0).fit(X)  # an M-step, and nothing else
    fits.append(fit)
    for k in range(2):
        mean = np.average(x, weights=r[:, k])
        variance = np.average((x - mean) ** 2, weights=r[:, k])
        numbers = fit.means_[k, 0], mean, fit.covariances_[k].item(), variance
        rows.append([name, k, *(f"{number:.6f}" for number in numbers)])
        assert np.allclose(numbers[::2], numbers[1::2])
headers = ["given", "component", "μ", "weighted mean", "σ²", "weighted variance"]
table("The M-step", headers, rows)

# %%
# The log odds of N(−2, 1) and N(2, 1) with equal weights are −4x.
at = np.array([-4.0, -2, -1, -0.5, 0, 0.5, 1, 2, 4])
posterior, bayes = true.responsibilities(at[:, None])[:, 0], expit(-4 * at)
rows = [[value, f"{p:.8f}", f"{q:.8f}"] for value, p, q in zip(at, posterior, bayes, strict=True)]
table("The E-step: p(t = 1|x) by Bayes' rule", ["x", "responsibility", "1 / (1 + exp 4x)"], rows)
assert np.allclose(posterior, bayes)

figure, axes = side_by_side(2, 3.8, sharey=True)
titles = "Given the labels: each component fits its own rows", "Given the components: rows between are shared"
for ax, r, mixture, title in zip(axes, given.values(), (fits[0].mixture_, true), titles, strict=True):
    plot_clusters(X, r, mixture=mixture, names=["x"], ax=ax)
    ax.set_title(title, loc="left", fontsize="medium")
save(figure, "known_labels")
