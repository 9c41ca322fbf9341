"""
One E-step and one M-step by hand
=================================

Note 003: one E-step and one M-step by hand, with two Gaussians and four rows.

The table of responsibilities in the note is made up, as the note says of its parameters; these are the true ones.
"""

import numpy as np
from _common import output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import plot_clusters

X = np.array([[0.6, 1.6], [-1.3, 1.5], [-0.44, 0.4], [1.5, -1.5]])
PRIOR = np.array([0.6, 0.4])
MEANS = np.array([[-1.5, 1.5], [1.5, -1.0]])
NOTE = np.array([0.8, 0.72, 0.1, 0.5])
"""P(blue|x) as the note prints it."""


def main():
    folder = output_folder()
    family = ef.families.Gaussian("full")
    start = ef.Mixture(family, PRIOR, family.from_moments(MEANS, np.array([np.eye(2)] * 2)))

    r = start.responsibilities(X)
    # with Σ = I the normalising constants cancel
    joint = PRIOR * np.exp(-0.5 * np.sum((X[:, None] - MEANS) ** 2, axis=2))
    by_hand = joint / joint.sum(axis=1, keepdims=True)
    table(
        "E-step", ["x1", "x2", "P(blue|x)", "P(red|x)", "by hand, blue", "in the note, blue"],
        [[*x, f"{blue:.6f}", f"{red:.6f}", f"{hand:.6f}", note]
         for x, (blue, red), hand, note in zip(X, r, by_hand[:, 0], NOTE, strict=True)],
    )  # fmt: skip
    assert np.allclose(r, by_hand)

    statistics = ef.accumulate(start, X)
    after = ef.maximize(statistics, start)
    counts = r.sum(axis=0)
    means = r.T @ X / counts[:, None]
    offset = X[:, None] - means
    covariances = np.einsum("nk,nki,nkj->kij", r, offset, offset) / counts[:, None, None]
    rows = []
    for k, name in enumerate(("blue", "red")):
        mean, covariance = (np.round(after.parameters[what][k], 4).tolist() for what in ("means", "covariances"))
        rows.append([name, f"{statistics.counts[k]:.6f}", f"{after.weights[k]:.6f}", mean, covariance])
    headers = ["cluster", "N", "π", "μ", "Σ"]
    table("M-step: N_k, π_k = N_k / N, weighted mean, weighted covariance", headers, rows)
    assert np.allclose(statistics.counts, counts)
    assert np.allclose(after.weights, counts / 4)
    assert np.allclose(after.parameters["means"], means)
    assert np.allclose(after.parameters["covariances"], covariances)

    before, now = start.log_density(X).sum(), after.log_density(X).sum()
    table("Log-likelihood", ["before", "after the step"], [[f"{before:.6f}", f"{now:.6f}"]])
    assert np.isclose(statistics.bound, before)
    assert now > before

    figure, axes = side_by_side(2, 4.4, sharex=True, sharey=True)
    titles = "E-step: rows take the colours of the components", "M-step: components move to their rows"
    for mixture, ax, title in zip((start, after), axes, titles, strict=True):
        plot_clusters(X, r, mixture=mixture, names=["x1", "x2"], ax=ax)
        ax.set_title(title, loc="left", fontsize="medium")
    save(figure, "worked_step", folder)


if __name__ == "__main__":
    main()
