"""
One Gaussian, and how it fails
==============================

Note 003: one Gaussian by maximum likelihood, and how it fails on two clusters.
"""

import numpy as np
from _common import MINUTES, faithful, output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters


def gaussian(X, n_components=1):
    """Plain maximum likelihood: nothing is added to the covariances."""
    return ef.GaussianMixture(n_components, reg_covar=0, tol=1e-10, max_iter=500, random_state=0).fit(X)


def main():
    folder = output_folder()

    one = gaussian(np.array([[1.0], [3], [4], [5], [6], [7], [9]]))
    mean, variance = one.means_.item(), one.covariances_.item()
    table(
        "X = 1, 3, 4, 5, 6, 7, 9", ["estimate", "computed", "expected"],
        [["μ", f"{mean:.6f}", 5], ["σ²", f"{variance:.6f}", 6]],
    )  # fmt: skip
    assert np.isclose(mean, 5)
    assert np.isclose(variance, 6)

    points = np.array([[3.0, 5], [7, 5], [5, 3], [5, 7], [5, 5], [5, 5]])
    two = gaussian(points)
    table(
        "Six points of the plane", ["estimate", "computed", "expected"],
        [["μ", np.round(two.means_[0], 6).tolist(), "[5, 5]"],
         ["Σ", np.round(two.covariances_[0], 6).tolist(), "[[1.33, 0], [0, 1.33]]"]],
    )  # fmt: skip
    assert np.allclose(two.means_[0], 5)
    assert np.allclose(two.covariances_[0], np.eye(2) * 4 / 3)

    X = faithful()
    single, double = gaussian(X), gaussian(X, 2)
    figure, axes = side_by_side(2, 4.2, sharex=True, sharey=True)
    rows = []
    for fit, ax in zip((single, double), axes, strict=True):
        K = fit.n_components
        # rows within one standard deviation of a centre, the place where a Gaussian is densest
        offset = X[:, None] - fit.means_
        near = np.einsum("nki,kij,nkj->nk", offset, fit.precisions_, offset).min(axis=1) <= 1
        rows.append([K, f"{fit.lower_bound_ * len(X):.3f}", f"{fit.bic(X):.1f}", f"{near.mean():.1%}"])
        plot_clusters(X, fit.predict_proba(X), mixture=fit.mixture_, names=MINUTES, ax=ax)
        where = "is centred where there are almost no rows" if K == 1 else "each have their cluster"
        ax.set_title(f"{K} Gaussian{'s' * (K > 1)} {where}", loc="left", fontsize="medium")
    table(
        "Old Faithful (within 1 sd, expected of a Gaussian: "
        f"{1 - np.exp(-0.5):.1%})", ["Gaussians", "log-likelihood", "BIC", "within 1 sd"], rows,
    )  # fmt: skip
    save(figure, "one_gaussian", folder)
    assert double.bic(X) < single.bic(X)
    assert double.lower_bound_ > single.lower_bound_


if __name__ == "__main__":
    main()
