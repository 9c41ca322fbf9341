"""How many cells of mclust's tables `select` reaches, and in what time.

python docs/mclust_tables.py FOLDER NAME ...

`mclust_tables.R` writes the folder: for each name NAME.csv, the rows with a line of names, and NAME.json: "bic" of
mclust, numbers of components 1 to 9 × its fourteen models, null where it has none, "starts", the labels of the rows
that its fits of each number begin with, and "cpu", the seconds that the table took. Without a folder nothing is
printed: the tables are not part of the package.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import expfam_em as ef

SLACK = 0.01
"""What a BIC may be worse by."""


def compare(folder: Path, name: str) -> None:
    """Print a line of the table, and the cells that are not reached."""
    X = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
    known = json.loads((folder / f"{name}.json").read_text())
    mclust = np.array(known["bic"], float).T  # models × numbers
    ef.select(X[:, :2], ["VVV", "VVE", "EVI"], [1, 2], random_state=0, n_jobs=1)  # loads the kernels
    begun = time.process_time()
    found = ef.select(X, random_state=0, n_jobs=1)
    seconds = time.process_time() - begun
    ours = -found.values()
    there = np.isfinite(mclust)
    unsound, reached = there & np.isnan(ours), there & (ours >= mclust - SLACK)
    higher = there & (ours > mclust + SLACK)
    print(
        f"| {name} | {X.shape[0]} × {X.shape[1]} | {there.sum()} | {reached.sum()} | {unsound.sum()} "
        f"| {reached.sum() / (there.sum() - unsound.sum()):.1%} | {higher.sum()} "
        f"| {found.best_model_}, {found.best_.n_components} | {seconds / known['cpu']:.0f} |",
        flush=True,
    )
    for i, j in np.argwhere(there & ~unsound & ~reached):
        there = from_start(X, found.models[i], known["starts"][j])
        print(f"{name} {found.models[i]}, {j + 1}: {ours[i, j]:.2f} for {mclust[i, j]:.2f}; {there}", file=sys.stderr)


def from_start(X: np.ndarray, model: str, labels: list[int]) -> str:
    """Return what is found from mclust's start, and whether a component of it is spurious."""
    fit = ef.ExponentialFamilyMixture(ef.families.Gaussian(model), max(labels) + 1, init=np.array(labels)).fit(X)
    return f"{-fit.bic(X):.2f} from its start, {'sound' if fit.sound_ else 'with a spurious component'}"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")  # fits of many components that max_iter ends
    folder, *names = sys.argv[1:] or [""]
    print("| data | rows | cells | at least mclust's − 0.01 | NA | share of the others | higher | chosen | CPU time |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in names:
        compare(Path(folder), name)


if __name__ == "__main__":
    main()
