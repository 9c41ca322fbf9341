"""
k-means as a start of EM
========================

Note 002. EM needs many more iterations than k-means, and fewer from k-means than from random responsibilities.
"""

import numpy as np
from _common import faithful, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import PALETTE

SEEDS = range(20)
rng = np.random.default_rng(1)
blobs = np.concatenate([rng.normal(centre, 1.0, (150, 2)) for centre in ((0, 0), (5, 0), (0, 5), (6, 6))])
data = {"Old Faithful": (2, faithful(standardised=True)), "Four clusters": (4, blobs)}
figure, axes = side_by_side(2, 3.2)
for ax, (name, (K, X)) in zip(axes, data.items(), strict=True):
    fits = {"k-means itself": [ef.KMeans(K, tol=0, random_state=seed).fit(X) for seed in SEEDS]}
    for start in ("kmeans", "random"):
        settings = {"init_params": start, "tol": 1e-7, "max_iter": 5000}
        fits[f"EM from {start}"] = [ef.GaussianMixture(K, random_state=seed, **settings).fit(X) for seed in SEEDS]
    iterations = {label: [fit.n_iter_ for fit in of] for label, of in fits.items()}
    ends = {label: np.array([fit.score(X) for fit in of]) for label, of in fits.items() if label != "k-means itself"}
    best = max(end.max() for end in ends.values())
    reach = {label: np.sum(end > best - 1e-4) for label, end in ends.items()}
    rows = [[k, min(n), f"{np.median(n):g}", max(n), reach.get(k, "")] for k, n in iterations.items()]
    headers = ["fit", "fewest", "median iterations", "most", "reach the best"]
    table(f"{name}, K = {K}: {len(SEEDS)} starts", headers, rows)
    hard, from_kmeans, from_random = (np.median(n) for n in iterations.values())
    assert max(hard, from_kmeans) < from_random
    assert reach["EM from kmeans"] >= reach["EM from random"]

    for y, ((label, n), colour) in enumerate(zip(iterations.items(), PALETTE, strict=False)):
        ax.scatter(n, y + np.linspace(-0.2, 0.2, len(n)), s=14, color=colour, linewidths=0, alpha=0.7)
        ax.annotate(label, (min(n), y + 0.3), color=colour)
    ax.set_xscale("log")
    ticks = [2, 5, 10, 20, 50, 100, 200]
    ax.set_xticks(ticks, map(str, ticks))
    ax.set_xticks([], minor=True)
    ax.set(yticks=[], ylim=(-0.5, 2.7), xlabel="iterations until convergence, one dot for each start")
    ax.spines[["top", "right", "left"]].set_visible(False)
    title = f"{name}: {from_kmeans:g} iterations from k-means, {from_random:g} from random"
    ax.set_title(title, loc="left", fontsize="medium")
save(figure, "kmeans_start")
