"""How many cells of mclust's tables `select` reaches, and in what time.

python docs/mclust_tables.py FOLDER NAME ...

For each name FOLDER has NAME.csv, the rows with a line of names, and NAME.json: "bic" of mclust, numbers of components
1 to 9 × its fourteen models, null where it has none, and "cpu", the seconds that it took. Without a folder nothing is
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
    """Print a line of the table."""
    X = np.loadtxt(folder / f"{name}.csv", delimiter=",", skiprows=1)
    known = json.loads((folder / f"{name}.json").read_text())
    mclust = np.array(known["bic"], float).T  # models × numbers
    ef.select(X[:, :2], ["VVV", "VVE", "EVI"], [1, 2], random_state=0, n_jobs=1)  # loads the kernels
    begun = time.process_time()
    found = ef.select(X, random_state=0, n_jobs=1)
    seconds = time.process_time() - begun
    ours = -found.values()
    there = np.isfinite(mclust)
    reached = there & (ours >= mclust - SLACK)
    higher = there & (ours > mclust + SLACK)
    print(
        f"| {name} | {X.shape[0]} × {X.shape[1]} | {there.sum()} | {reached.sum()} ({reached.sum() / there.sum():.1%}) "
        f"| {higher.sum()} | {found.best_model_}, {found.best_.n_components} | {seconds / known['cpu']:.0f} |"
    )


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")  # fits of many components that max_iter ends
    folder, *names = sys.argv[1:] or [""]
    print("| data | rows | cells | at least mclust's − 0.01 | higher | chosen | CPU time of mclust |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        compare(Path(folder), name)


if __name__ == "__main__":
    main()
