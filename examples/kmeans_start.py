"""
k-means as a start of EM
========================

Note 002: EM needs many more iterations than k-means, and fewer from k-means than from random responsibilities.
"""

import numpy as np
from _common import faithful, output_folder, save, side_by_side, table
from matplotlib.ticker import NullLocator

import expfam_em as ef
from expfam_em.plots import PALETTE

STARTS = range(20)


def gaussian(X, K, start, seed):
    return ef.GaussianMixture(K, init_params=start, tol=1e-7, max_iter=5000, random_state=seed).fit(X)


def main():
    folder = output_folder()
    rng = np.random.default_rng(1)
    blobs = np.concatenate([rng.normal(centre, 1.0, (150, 2)) for centre in ((0, 0), (5, 0), (0, 5), (6, 6))])
    figure, axes = side_by_side(2, 3.2)
    data = ((2, "Old Faithful, K = 2", faithful(standardised=True)), (4, "Four clusters, K = 4", blobs))
    for ax, (K, name, X) in zip(axes, data, strict=True):
        iterations = {
            "k-means itself": [ef.KMeans(K, tol=0, random_state=seed).fit(X).n_iter_ for seed in STARTS],
        }
        ends = {"k-means itself": None}
        for label, start in (("EM from k-means", "kmeans"), ("EM from random", "random")):
            fits = [gaussian(X, K, start, seed) for seed in STARTS]
            iterations[label] = [fit.n_iter_ for fit in fits]
            ends[label] = np.array([fit.lower_bound_ for fit in fits])
        best = max(ends["EM from k-means"].max(), ends["EM from random"].max())
        rows = []
        for label, n in iterations.items():
            reached = "" if ends[label] is None else f"{np.sum(ends[label] > best - 1e-4)} of {len(STARTS)}"
            rows.append([label, min(n), f"{np.median(n):g}", max(n), reached])
        table(f"{name}: {len(STARTS)} starts", ["fit", "fewest", "median iterations", "most", "reach the best"], rows)
        hard, from_kmeans, from_random = (np.median(n) for n in iterations.values())
        assert hard < from_random
        assert from_kmeans < from_random
        assert np.sum(ends["EM from k-means"] > best - 1e-4) >= np.sum(ends["EM from random"] > best - 1e-4)

        for y, ((label, n), colour) in enumerate(zip(iterations.items(), PALETTE, strict=False)):
            jitter = y + np.linspace(-0.2, 0.2, len(n))
            ax.scatter(n, jitter, s=14, color=colour, linewidths=0, alpha=0.7)
            ax.annotate(label, (min(n), y + 0.3), color=colour)
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_xticks([2, 5, 10, 20, 50, 100, 200], ["2", "5", "10", "20", "50", "100", "200"])
        ax.set_xlabel("iterations until convergence, one dot for each start")
        ax.set_yticks([])
        ax.set_ylim(-0.5, 2.7)
        ax.spines[["top", "right", "left"]].set_visible(False)
        title = f"{name}: {from_kmeans:g} iterations from k-means, {from_random:g} from random"
        ax.set_title(title, loc="left", fontsize="medium")
    save(figure, "kmeans_start", folder)


if __name__ == "__main__":
    main()
