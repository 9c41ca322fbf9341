"""
A folder of Parquet files
=========================

A folder of Parquet files, fitted and labelled a few rows at a time.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _common import output_folder, table

import expfam_em as ef


def main():
    folder = output_folder() / "visits"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for month in range(3):
        long = rng.random(4000) < 0.3
        minutes = np.where(long, rng.gamma(9, 5, 4000), rng.gamma(4, 1.5, 4000))
        pages = np.where(long, rng.poisson(12, 4000), rng.poisson(3, 4000))
        times = rng.integers(1, 4, 4000)  # how often each visit has been made
        columns = {"minutes": minutes, "pages": pages, "times": times, "user": rng.choice(["a", "b"], 4000)}
        pq.write_table(pa.table(columns), folder / f"{month}.parquet")

    rows = ef.rows_from(folder, columns=["minutes", "pages"], weight="times")
    family = ef.families.Product([(ef.families.Gamma(), [0]), (ef.families.Poisson(), [1])])
    model = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(rows).reorder()
    model.predict(folder, out=folder.parent / "kinds.parquet")

    whole = pq.read_table(folder)
    X = np.column_stack([whole[name].to_numpy() for name in ("minutes", "pages")]).astype(float)
    labels = pq.read_table(folder.parent / "kinds.parquet")["label"].to_numpy()
    means = [[X[labels == k, 0].mean(), X[labels == k, 1].mean()] for k in range(2)]
    kinds = np.column_stack([model.weights_, means]).round(2).tolist()
    table(f"Visits of {len(labels)} rows in {len(list(folder.iterdir()))} files", ["share", "minutes", "pages"], kinds)

    again = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(X, sample_weight=whole["times"].to_numpy())
    assert again.lower_bound_ == model.lower_bound_  # the bits of the array


if __name__ == "__main__":
    main()
