"""The table, the test and the picture of docs/choosing.md.

python docs/choosing.py            prints the numbers
python docs/choosing.py picture    draws docs/images/choosing.png
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

import expfam_em as ef


def faithful() -> np.ndarray:
    """Return Old Faithful: eruption time and waiting time, both in minutes, (272, 2); from plotnine's package."""
    path = distribution("plotnine").locate_file("plotnine/data/faithful.csv")
    return np.loadtxt(path, delimiter=",", skiprows=1)


def draw(selection: ef.Selection) -> None:
    """Draw BIC against the number of components."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    from expfam_em.plots import plot_criteria

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    plot_criteria(selection, ax=figure.subplots())
    figure.savefig(Path(__file__).parent / "images" / "choosing.png", dpi=110)


def main() -> None:
    """Compare the fourteen models on Old Faithful, and test the number of components of the best one."""
    X = faithful()
    selection = ef.select(X, random_state=0)
    if "picture" in sys.argv[1:]:
        draw(selection)
        return
    print(selection)
    of_best = selection.table.set_index(["model", "n_components"]).loc[("EEE", 3)]
    print("\n", of_best.drop("status").to_string(), sep="")
    for K in (1, 2, 3):
        model = ef.ExponentialFamilyMixture(ef.families.Gaussian("EEE"), K, n_init=5, random_state=0)
        test = ef.likelihood_ratio_test(model, X, n_replicates=99, random_state=0)
        print(f"{K} against {K + 1} components: statistic {test.statistic:.2f}, p = {test.p_value:.2f}")


if __name__ == "__main__":
    main()
