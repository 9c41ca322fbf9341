"""
A local maximum, and restarts that escape it
============================================

Notes 001 and 004: EM ends in a local maximum from a bad start; several starts escape it.
"""

import numpy as np
from _common import never_falls, output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters

SETTINGS = {"tol": 1e-9, "max_iter": 2000, "reg_covar": 1e-6}


def main():
    folder = output_folder()
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(centre, 1.0, 100) for centre in (-6.0, 0.0, 6.0)])[:, None]

    def from_means(*means):
        given = {"means_init": np.array(means)[:, None], "weights_init": np.full(3, 1 / 3)}
        return ef.GaussianMixture(3, **given, precisions_init=np.ones((3, 1, 1)), **SETTINGS).fit(X)

    # two components share one cluster, so the third has to cover two
    bad, good = from_means(-7.0, -5.0, 3.0), from_means(-5.0, 1.0, 4.0)
    restarts = [ef.GaussianMixture(3, init_params="random", random_state=seed, **SETTINGS).fit(X) for seed in range(10)]
    best_of = ef.GaussianMixture(3, init_params="random", n_init=10, random_state=0, **SETTINGS).fit(X)

    def row(name, fit):
        order = np.argsort(fit.means_[:, 0])
        return [name, fit.n_iter_, f"{fit.lower_bound_ * len(X):.4f}", np.round(fit.means_[order, 0], 2).tolist()]

    table(
        "Three clusters of 100 rows at −6, 0, 6; three Gaussians", ["start", "iterations", "log-likelihood", "means"],
        [row("bad: means −7, −5, 3", bad), row("good: means −5, 1, 4", good), row("best of 10 restarts", best_of)],
    )  # fmt: skip
    ends = np.round([fit.lower_bound_ * len(X) for fit in restarts], 2)
    values, times = np.unique(ends, return_counts=True)
    table(
        "Where 10 single starts from random responsibilities end", ["log-likelihood", "starts"],
        [[f"{value:.2f}", int(count)] for value, count in zip(values[::-1], times[::-1], strict=True)],
    )  # fmt: skip

    # EM has come to rest there: further steps change nothing
    still = ef.fit(bad.mixture_, X, max_iter=50, tol=0).mixture
    assert np.allclose(still.parameters["means"], bad.means_, atol=1e-2)
    assert bad.lower_bound_ < good.lower_bound_ - 0.05
    assert np.isclose(best_of.lower_bound_, good.lower_bound_, atol=1e-6)
    assert min(ends) < max(ends) - 10
    assert all(never_falls(fit.lower_bounds_) for fit in (bad, good, best_of))

    figure, axes = side_by_side(2, 3.8, sharey=True)
    for fit, ax, name in zip((bad, best_of), axes, ("A bad start", "Best of 10 restarts"), strict=True):
        plot_clusters(X, fit.predict_proba(X), mixture=fit.mixture_, names=["x"], ax=ax)
        ax.set_title(f"{name}: log-likelihood −{-fit.lower_bound_ * len(X):.1f}", loc="left", fontsize="medium")
    save(figure, "local_maximum", folder)


if __name__ == "__main__":
    main()
