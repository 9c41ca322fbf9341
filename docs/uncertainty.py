"""How often 95 % intervals contain the parameters, and the picture of docs/uncertainty.md.

python docs/uncertainty.py            prints the table
python docs/uncertainty.py picture    draws docs/images/uncertainty.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import expfam_em as ef
from expfam_em.analysis.uncertainty import flattened

DATA_SETS, ROWS = 1000, 2000
LOTS = {"Gaussian, full": 4}
"""How many times as many data sets a mixture has; chance moves a coverage by 0.7 % in one lot, by 0.35 % in four."""

TRUTHS = {
    "Gaussian, full": ef.Mixture.of(
        ef.families.Gaussian("full"), [0.4, 0.6], means=[[0, 0], [3, 1]],
        covariances=[[[1, 0.4], [0.4, 1]], [[1.5, -0.3], [-0.3, 0.5]]],
    ),
    "Gaussian, tied": ef.Mixture.of(
        ef.families.Gaussian("tied"), [0.4, 0.6], means=[[0, 0], [3, 1]], covariances=[[1, 0.4], [0.4, 1]]
    ),
    "Bernoulli": ef.Mixture.of(
        ef.families.Bernoulli(), [0.4, 0.6],
        probabilities=[[0.8, 0.7, 0.9, 0.75, 0.2, 0.3], [0.2, 0.3, 0.15, 0.4, 0.7, 0.8]],
    ),
    "Poisson": ef.Mixture.of(ef.families.Poisson(), [0.3, 0.7], rates=[[2.0, 9.0], [6.0, 4.0]]),
}  # fmt: skip


def fits_of(truth: ef.Mixture, n_data: int, n: int, seed: int = 0):
    """Return data sets drawn from a mixture, and fits to them from the truth to convergence."""
    rng = np.random.default_rng(seed)
    data = [truth.sample(n, rng)[0] for _ in range(n_data)]
    model = ef.ExponentialFamilyMixture(
        truth.family, truth.n_components, init=truth, tol=1e-10, max_iter=5000, acceleration="auto"
    )
    return data, ef.fit_many(model, data)


def coverage(truth: ef.Mixture, n_lots: int) -> np.ndarray:
    """Return for each parameter how often its interval contains it."""
    true = flattened({"weights": truth.weights, **truth.parameters})
    hits = []
    for seed in range(n_lots):
        for X, fit in zip(*fits_of(truth, DATA_SETS, ROWS, seed), strict=True):
            ends = ef.standard_errors(fit, X, n_jobs=1).intervals()
            low, high = (flattened({name: pair[side] for name, pair in ends.items()}) for side in (0, 1))
            hits.append((low <= true) & (true <= high))
    return np.mean(hits, axis=0)


def table() -> None:
    """Print the coverage of 95 % intervals."""
    print(f"Share of 95 % intervals that contain the parameter, data sets of {ROWS:,} rows:\n")
    print("| mixture | data sets | numbers | mean | least | most |")
    print("|---|---|---|---|---|---|")
    for name, truth in TRUTHS.items():
        n_lots = LOTS.get(name, 1)
        found = 100 * coverage(truth, n_lots)
        ends = f"{found.mean():.1f} % | {found.min():.1f} % | {found.max():.1f} %"
        print(f"| {name} | {n_lots * DATA_SETS:,} | {len(found)} | {ends} |", flush=True)


def picture() -> None:
    """Draw estimates of one mixture with intervals of three kinds, and the estimates of 400 other data sets."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    truth = TRUTHS["Poisson"]
    (X, *_), (model, *rest) = fits_of(truth, 401, 300, seed=1)
    found = {
        "information": ef.standard_errors(model, X),
        "robust": ef.standard_errors(model, X, kind="robust"),
        "bootstrap": ef.bootstrap(model, X, random_state=0),
    }
    labels = [f"rates[{k}, {j}]" for k in range(2) for j in range(2)]
    true = truth.parameters["rates"].ravel()
    others = np.array([fit.parameters_["rates"].ravel() for fit in rest])
    figure, axes = plt.subplots(1, 4, figsize=(10, 3.2), layout="constrained")
    for j, axis in enumerate(axes):
        axis.axhline(true[j], color="0.3", lw=1, ls="--")
        axis.plot(
            np.full(len(others), 3.0) + np.linspace(-0.25, 0.25, len(others)), others[:, j], ".", ms=2, color="0.6"
        )
        for at, errors in enumerate(found.values()):
            low, high = (side.ravel()[j] for side in errors.intervals()["rates"])
            axis.plot([at, at], [low, high], lw=3, color=f"C{at}", solid_capstyle="butt")
            axis.plot(at, errors.estimates["rates"].ravel()[j], "o", ms=5, color=f"C{at}")
        axis.set(title=labels[j], xticks=range(4), xlim=(-0.6, 3.6))
        axis.set_xticklabels([*found, "400 data sets"], rotation=40, ha="right", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).parent / "images" / "uncertainty.png", dpi=110)


if __name__ == "__main__":
    picture() if sys.argv[1:] == ["picture"] else table()
