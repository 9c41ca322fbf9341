"""
k-means as the limit of EM
==========================

Notes 000, 001, 002: k-means is EM with Σ = εI and equal weights as ε → 0, and so as the temperature → 0.

The expected log-likelihood itself diverges; ε times it tends to −J/2.
"""

import numpy as np
from _common import faithful, output_folder, save, side_by_side, table

import expfam_em as ef
from expfam_em.plots import INK, PALETTE

START = np.array([[-1.0, 0.0], [1.0, 0.0]])
EPSILONS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.007, 0.005, 0.003, 0.001, 1e-4)


def soft(X, epsilon, temperature=1.0):
    """EM to the end with Σ = εI and equal weights."""
    family = ef.families.KnownCovariance(variance=epsilon)
    start = ef.Mixture(family, [0.5, 0.5], family.from_moments(START, np.ones(2)))
    to_the_end = {"stop": "parameters", "tol": 1e-12, "max_iter": 2000}
    return ef.fit(start, X, temperature=temperature, weights="equal", **to_the_end).mixture


def main():
    folder = output_folder()
    X = faithful(standardised=True)
    hard = ef.KMeans(2, init=START, tol=0).fit(X)
    labels = np.eye(2)[hard.labels_]

    rows, off_r, off_centres, scaled = [], [], [], []
    for epsilon in EPSILONS:
        mixture = soft(X, epsilon)
        r = mixture.responsibilities(X)
        # temperature ε at variance 1 gives the same responsibilities, step by step
        cooled = soft(X, 1.0, temperature=epsilon)
        warm = cooled.responsibilities(X, temperature=epsilon)
        off_r.append(np.abs(r - labels).max())
        off_centres.append(np.abs(mixture.parameters["means"] - hard.cluster_centers_).max())
        scaled.append(epsilon * ef.expected_log_likelihood(mixture, X, r))
        agree = np.abs(r - warm).max()
        off = f"{off_r[-1]:.2e}", f"{off_centres[-1]:.2e}"
        rows.append([f"{epsilon:g}", *off, f"{scaled[-1]:.5f}", f"{agree:.1e}"])
        assert agree < 1e-6
        assert np.allclose(cooled.parameters["means"], mixture.parameters["means"], atol=1e-6)
    headers = ["ε", "max |r − r of k-means|", "max |μ − μ of k-means|", "ε E[ln p]", "|r − r at temperature ε|"]
    end = f"k-means ends at J = {hard.inertia_:.5f}, −J/2 = −{hard.inertia_ / 2:.5f}"
    table(f"Old Faithful, standardised, K = 2; {end}", headers, rows)

    zero = ef.fit(soft(X, 1.0), X, temperature=0.0, weights="equal", stop="parameters", tol=0).mixture
    at_zero = np.abs(zero.parameters["means"] - hard.cluster_centers_).max()
    print(f"\nat temperature 0 the centres differ from those of k-means by {at_zero:.1e}")
    assert at_zero < 1e-12
    assert off_r[-1] < 1e-12
    assert off_centres[-1] < 1e-12
    assert np.isclose(scaled[-1], -hard.inertia_ / 2, rtol=0.01)

    figure, axes = side_by_side(2, 3.8)
    for ax, values, what, colour in zip(
        axes, (off_r, off_centres), ("largest |r − r of k-means|", "largest |μ − μ of k-means|, sd"),
        PALETTE, strict=False,
    ):  # fmt: skip
        shown = np.maximum(values[:-1], 1e-16)  # what is exactly 0 is drawn at the rounding of a number near 1
        ax.loglog(EPSILONS[:-1], shown, color=colour, marker="o", markersize=4)
        ax.set_xlabel("ε (variance of every component), sd²")
        ax.set_ylabel(what)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK)
    axes[0].set_title("Responsibilities become hard as ε → 0", loc="left", fontsize="medium")
    axes[1].set_title("Centres become those of k-means", loc="left", fontsize="medium")
    save(figure, "epsilon_limit", folder)


if __name__ == "__main__":
    main()
