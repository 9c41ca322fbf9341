"""
A local maximum, and restarts that escape it
============================================

Notes 001 and 004. EM ends in the maximum that is near its start. From a bad start two components share one cluster,
and the third has to cover two; the best of ten starts finds all three.
"""

import numpy as np
from _common import never_falls, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters

SETTINGS = {"tol": 1e-9, "max_iter": 2000}
rng = np.random.default_rng(3)
X = np.concatenate([rng.normal(centre, 1.0, 100) for centre in (-6.0, 0.0, 6.0)])[:, None]


def from_means(*means):
    given = {"means_init": np.array(means)[:, None], "weights_init": np.full(3, 1 / 3)}
    return ef.GaussianMixture(3, **given, precisions_init=np.ones((3, 1, 1)), **SETTINGS).fit(X)


fits = {
    "bad: means −7, −5, 3": from_means(-7.0, -5.0, 3.0),
    "good: means −5, 1, 4": from_means(-5.0, 1.0, 4.0),
    "best of 10": ef.GaussianMixture(3, init_params="random", n_init=10, random_state=0, **SETTINGS).fit(X),
}
rows = [
    [name, fit.n_iter_, f"{fit.score(X) * len(X):.4f}", np.sort(fit.means_[:, 0]).round(2).tolist()]
    for name, fit in fits.items()
]
headers = ["start", "iterations", "log-likelihood", "means"]
table("Three clusters of 100 rows at −6, 0, 6; three Gaussians", headers, rows)
bad, good, best = fits.values()
assert bad.score(X) < good.score(X) - 0.05
assert np.isclose(best.score(X), good.score(X), atol=1e-6)
assert all(never_falls(fit.lower_bounds_) for fit in fits.values())
still = ef.fit(bad.mixture_, X, max_iter=50, tol=0).mixture  # EM has come to rest there
assert np.allclose(still.parameters["means"], bad.means_, atol=1e-2)

figure, axes = side_by_side(2, 3.8, sharey=True)
for fit, ax, name in zip((bad, best), axes, ("A bad start", "Best of 10 starts"), strict=True):
    plot_clusters(X, fit.predict_proba(X), mixture=fit.mixture_, names=["x"], ax=ax)
    ax.set_title(f"{name}: log-likelihood −{-fit.score(X) * len(X):.1f}", loc="left", fontsize="medium")
save(figure, "local_maximum")

# %%
# Where ten single starts from random responsibilities end.
starts = [ef.GaussianMixture(3, init_params="random", random_state=seed, **SETTINGS).fit(X) for seed in range(10)]
values, times = np.unique(np.round([fit.score(X) * len(X) for fit in starts], 2), return_counts=True)
table("Ten starts", ["log-likelihood", "starts"], list(zip(values[::-1], times[::-1], strict=True)))
assert values.min() < values.max() - 10
