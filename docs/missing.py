"""The picture and the cost of missing values: ``python docs/missing.py [picture | cost | bias]``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from family_pictures import COLOURS, panels, write
from matplotlib.patches import Ellipse

import expfam_em as ef
from expfam_em import families as f
from expfam_em.estep.grouped import with_groups
from expfam_em.estep.plan import plan
from expfam_em.rows.memory import as_rows

PICTURE = Path(__file__).parent / "images" / "missing.png"
SHARES = (0.01, 0.1, 0.3)


def clusters(n, rng):
    """Return rows of two correlated clusters, and the same with most of the second column missing above x₀ = 1.5."""
    X = np.concatenate(
        [
            rng.multivariate_normal([-2.0, 0.0], [[1.0, 0.8], [0.8, 1.0]], n),
            rng.multivariate_normal([2.0, 1.0], [[1.0, -0.6], [-0.6, 0.6]], n),
        ]
    )
    Y = X.copy()
    Y[(X[:, 0] > 1.5) & (rng.random(2 * n) < 0.95), 1] = np.nan
    return X, Y


def picture():
    """Draw fits to complete rows, to those with missing values, and to those of the latter that are complete."""
    X, Y = clusters(150, np.random.default_rng(3))
    gaps = np.isnan(Y[:, 1])
    means = [[-2.0, 0.0], [2.0, 1.0]]
    model = ef.GaussianMixture(2, means_init=means, random_state=0, tol=1e-8, max_iter=1000).fit(Y)
    alone = ef.GaussianMixture(2, means_init=means, random_state=0, tol=1e-8, max_iter=1000).fit(Y[~gaps])
    filled = model.impute(Y, "draw")
    figure, axes = panels(3, width=9.0, height=2.9, sharex=True, sharey=True)
    for ax, rows, fitted, title in zip(
        axes, (Y[~gaps], Y[~gaps], filled), (alone, model, model),
        ("complete rows alone", "all rows, values missing", "what is missing, drawn"), strict=True,
    ):  # fmt: skip
        ax.set_title(title, fontsize="small")
        ax.scatter(*X.T, s=5, color="0.85", linewidths=0)
        ax.scatter(*rows.T, s=6, color="0.35", linewidths=0)
        for mean, covariance, colour in zip(fitted.means_, fitted.covariances_, COLOURS, strict=False):
            sizes, axes_of = np.linalg.eigh(covariance)
            angle = np.degrees(np.arctan2(axes_of[1, 1], axes_of[0, 1]))
            width, height = 4 * np.sqrt(sizes[::-1])
            ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, color=colour, linewidth=1.6))
    axes[1].plot(Y[gaps, 0], np.full(gaps.sum(), axes[1].get_ylim()[0]), "|", color=COLOURS[1], markersize=5)
    axes[2].scatter(*filled[gaps].T, s=8, color=COLOURS[1], linewidths=0)
    write(figure, PICTURE)


def cost(n=100_000, d=10, K=5, passes=25):
    """Print what an E-step costs with missing values, against the same rows without any."""
    rng = np.random.default_rng(0)
    means, label = 3 * rng.normal(size=(K, d)), rng.integers(K, size=n)
    X = means[label] + rng.normal(size=(n, d)) @ (np.eye(d) + 0.1 * rng.normal(size=(d, d)))
    tables = {
        "Gaussian full": (f.Gaussian(), X), "Gaussian diag": (f.Gaussian("diag"), X),
        "Gaussian spherical": (f.Gaussian("spherical"), X),
        "Poisson": (f.Poisson(), rng.poisson(np.exp(0.3 * means[label])).astype(float)),
        "Gamma": (f.Gamma(), np.exp(0.2 * X)),
    }  # fmt: skip
    print("| family | complete | " + " | ".join(f"{share:.0%} missing" for share in SHARES) + " |")
    print("|---|---|" + "---|" * len(SHARES))
    for name, (family, rows) in tables.items():
        model = ef.ExponentialFamilyMixture(family, K, random_state=0, max_iter=15, tol=1e-2, n_jobs=1)
        mixture = model.fit(rows).mixture_
        complete = milliseconds(mixture, rows, passes)
        cells = []
        for share in SHARES:
            spent = milliseconds(mixture, np.where(rng.random(rows.shape) < share, np.nan, rows), passes)
            cells.append(f"{spent / complete:.2f}")
        print(f"| {name} | {complete:.1f} ms | " + " | ".join(cells) + " |", flush=True)


def milliseconds(mixture, X, passes):
    """Return the least CPU time of an E-step."""
    rows = with_groups(mixture.family, as_rows(X, None, 1))
    pass_, spent = plan(mixture.family, rows, mixture.n_components), []
    for _ in range(passes):
        start = time.process_time()
        pass_.sums(mixture.scores)
        spent.append(time.process_time() - start)
    return 1e3 * min(spent)


def bias(repeats=120, n=500, share=0.3):
    """Print the largest bias of estimates from rows with missing values, in standard errors over the repeats."""
    weights, means = np.array([0.4, 0.6]), np.array([[-2.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
    covariances = np.array([np.eye(3) + 0.5, 0.5 * np.eye(3) + 0.3])
    start = ef.Mixture.of(f.Gaussian(), weights, means=means, covariances=covariances)
    found = []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        X, _ = start.sample(n, rng)
        fitted = ef.fit(start, np.where(rng.random(X.shape) < share, np.nan, X), tol=1e-9, max_iter=2000, n_jobs=1)
        named = fitted.mixture.parameters
        upper = np.triu_indices(3)
        parts = fitted.mixture.weights[:1], named["means"], named["covariances"][:, upper[0], upper[1]]
        found.append(np.concatenate([np.ravel(part) for part in parts]))
    truth = np.concatenate([weights[:1], means.ravel(), covariances[:, upper[0], upper[1]].ravel()])
    error = (np.mean(found, axis=0) - truth) / (np.std(found, axis=0) / np.sqrt(repeats))
    print(f"{len(truth)} parameters, {repeats} times {n} rows: largest bias {np.abs(error).max():.1f} standard errors")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["picture", "cost", "bias"]:
        {"picture": picture, "cost": cost, "bias": bias}[name]()
