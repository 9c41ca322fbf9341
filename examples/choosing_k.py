"""
The number of components by criteria
====================================

Note 004, K that is not given beforehand: information criteria over K.
"""

import numpy as np
from _common import output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import PALETTE


def main():
    folder = output_folder()
    family = ef.families.Gaussian("full")
    means = np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 4.0]])
    true = ef.Mixture(family, [0.4, 0.35, 0.25], family.from_moments(means, np.array([np.eye(2)] * 3)))
    X, _ = true.sample(600, rng=0)
    counts = range(1, 8)
    selection = ef.select(X, "VVV", counts, random_state=0)
    criteria = {name: selection.values(name)[0] for name in ("aic", "bic", "icl")}
    likelihood, m = (selection.values(name)[0] for name in ("log_likelihood", "n_parameters"))
    rows = [[K, int(m[i]), f"{likelihood[i]:.2f}", *(f"{criteria[name][i]:.1f}" for name in criteria)]
            for i, K in enumerate(counts)]  # fmt: skip
    table("600 rows of three Gaussians", ["K", "parameters", "log-likelihood", "AIC", "BIC", "ICL"], rows)
    chosen = {name: counts[int(np.argmin(values))] for name, values in criteria.items()}
    print("\nlowest at K =", ", ".join(f"{K} ({name.upper()})" for name, K in chosen.items()), "(expected 3)")

    assert chosen["bic"] == 3
    assert chosen["icl"] == 3
    assert np.all(np.diff(likelihood) > -1e-6 * len(X))  # more components never fit worse: likelihood cannot choose K
    assert list(m) == [6 * K - 1 for K in counts]  # 2 means, 3 covariances and a weight each, less one
    assert np.allclose(criteria["bic"], -2 * likelihood + m * np.log(len(X)))
    assert np.all(criteria["icl"] >= criteria["bic"])

    figure, (ax,) = side_by_side(1, 4, 6)
    for (name, values), colour in zip(criteria.items(), PALETTE, strict=False):
        ax.plot(counts, values, color=colour, marker="o", markersize=4)
        best = int(np.argmin(values))
        ax.plot(counts[best], values[best], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour)
        where = {"xytext": (8, 0), "textcoords": "offset points"}
        ax.annotate(name.upper(), (counts[-1], values[-1]), **where, color=colour, va="center")
    ax.set_xlabel("number of components K")
    ax.set_ylabel("criterion, lower is better")
    ax.set_title("BIC and ICL are lowest at the three components drawn from", loc="left", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "choosing_k", folder)


if __name__ == "__main__":
    main()
