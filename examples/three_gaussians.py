"""
500 points from three Gaussians
===============================

Note 002: 500 points from three Gaussians: the joint density, the marginal, and the responsibilities.
"""

from itertools import permutations

import numpy as np
from _common import output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import INK, plot_clusters

WEIGHTS = np.array([0.5, 0.3, 0.2])
MEANS = np.array([[0.2, 0.35], [0.5, 0.5], [0.8, 0.65]])
COVARIANCES = np.array([[[18, 8], [8, 12]], [[20, -16], [-16, 20]], [[18, 8], [8, 12]]]) / 1000


def main():
    folder = output_folder()
    family = ef.families.Gaussian("full")
    true = ef.Mixture(family, WEIGHTS, family.from_moments(MEANS, COVARIANCES))
    X, z = true.sample(500, rng=0)
    r = true.responsibilities(X)

    joint = np.array([true.family.log_density(X, true.natural)[n, k] + np.log(WEIGHTS[k]) for n, k in enumerate(z)])
    marginal = true.log_density(X)
    table(
        "500 points: mean log-density", ["joint p(x, z)", "marginal p(x)", "difference", "mean log p(z|x)"],
        [[f"{joint.mean():.6f}", f"{marginal.mean():.6f}", f"{(joint - marginal).mean():.6f}",
          f"{np.log(r[np.arange(500), z]).mean():.6f}"]],
    )  # fmt: skip
    assert np.allclose(joint - marginal, np.log(r[np.arange(500), z]))

    fit = ef.GaussianMixture(3, n_init=10, tol=1e-8, max_iter=2000, random_state=0).fit(X)
    order = np.array(min(permutations(range(3)), key=lambda p: np.abs(fit.means_[list(p)] - MEANS).sum()))
    sizes = np.bincount(z, minlength=3) / 500
    table(
        "What EM finds from the points alone", ["component", "true π", "share drawn", "fitted π", "true μ", "fitted μ"],
        [["abc"[k], WEIGHTS[k], f"{sizes[k]:.3f}", f"{fit.weights_[order[k]]:.3f}", MEANS[k].tolist(),
          np.round(fit.means_[order[k]], 3).tolist()] for k in range(3)],
    )  # fmt: skip
    agreement = np.mean(order[z] == fit.predict(X))
    best = np.mean(z == r.argmax(axis=1))
    print(f"\nrows given to the component that drew them: {agreement:.1%} fitted, {best:.1%} with the true parameters")
    assert fit.lower_bound_ >= marginal.mean()  # the fit is at least as likely as the truth
    assert np.abs(fit.weights_[order] - WEIGHTS).max() < 0.1
    assert np.abs(fit.means_[order] - MEANS).max() < 0.05
    assert agreement > best - 0.03

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
    save(figure, "three_gaussians", folder)


if __name__ == "__main__":
    main()
