"""
One Gaussian, and how it fails
==============================

Note 003. Maximum likelihood gives a Gaussian the mean and the variance of its rows. On two clusters its centre is
where there are almost no rows; two Gaussians have one each.
"""

import numpy as np
from _common import MINUTES, faithful, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters


def gaussian(X, n_components=1):
    """Plain maximum likelihood: nothing is added to the covariances."""
    return ef.GaussianMixture(n_components, reg_covar=0, tol=1e-10, max_iter=500, random_state=0).fit(X)


one = gaussian(np.array([[1.0], [3], [4], [5], [6], [7], [9]]))
two = gaussian(np.array([[3.0, 5], [7, 5], [5, 3], [5, 7], [5, 5], [5, 5]]))
rows = [
    ["1, 3, 4, 5, 6, 7, 9", "μ, σ²", f"{one.means_.item():.6f}, {one.covariances_.item():.6f}", "5, 6"],
    ["six points", "μ", two.means_[0].round(6).tolist(), "[5, 5]"],
    ["six points", "Σ", two.covariances_[0].round(6).tolist(), "[[1.33, 0], [0, 1.33]]"],
]
table("One Gaussian", ["rows", "estimate", "computed", "expected"], rows)
assert np.allclose([one.means_.item(), one.covariances_.item()], [5, 6])
assert np.allclose(two.means_[0], 5)
assert np.allclose(two.covariances_[0], np.eye(2) * 4 / 3)

# %%
# Of a Gaussian, 39.3 % of the rows are expected within one standard deviation of the centre, where it is densest.
X = faithful()
single, double = gaussian(X), gaussian(X, 2)
figure, axes = side_by_side(2, 4.2, sharex=True, sharey=True)
rows = []
for fit, ax in zip((single, double), axes, strict=True):
    offset = X[:, None] - fit.means_
    near = np.einsum("nki,kij,nkj->nk", offset, fit.precisions_, offset).min(axis=1) <= 1
    rows.append([fit.n_components, f"{fit.score(X) * len(X):.3f}", f"{fit.bic(X):.1f}", f"{near.mean():.1%}"])
    plot_clusters(X, fit.predict_proba(X), mixture=fit.mixture_, names=MINUTES, ax=ax)
    where = "is centred where there are almost no rows" if fit is single else "s each have their cluster"
    ax.set_title(f"{fit.n_components} Gaussian{where if fit is double else ' ' + where}", loc="left", fontsize="medium")
table("Old Faithful", ["Gaussians", "log-likelihood", "BIC", "within 1 sd"], rows)
save(figure, "one_gaussian")
assert double.bic(X) < single.bic(X)
