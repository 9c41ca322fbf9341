"""A fit on a cluster of two processes has the bits of a fit in one. `python examples/dask_fit.py [rows]`"""

import logging
import sys

import dask.array as da
import distributed
import numpy as np

import expfam_em as ef


def rows_from(first, stop):
    """Return rows that depend on their numbers alone, as a file would hold them."""
    rng = np.random.Generator(np.random.Philox(key=0, counter=4 * first))
    return rng.normal(size=(stop - first, 2)) + 4 * rng.integers(0, 3, (stop - first, 1))


def made(block, block_info=None):
    """Return a chunk of the array; a worker that has lost it makes it again."""
    return rows_from(*block_info[None]["array-location"][0])


def main(n):
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.ERROR}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, **where) as cluster,
        distributed.Client(cluster),
    ):
        X = da.map_blocks(made, da.zeros((n, 2), chunks=(50_000, 2)), dtype=np.float64)
        model = ef.GaussianMixture(3, random_state=0).fit(X)  # the client that is active is found
    print(model.weights_, model.means_, sep="\n")
    again = ef.GaussianMixture(3, random_state=0).fit(X)  # no client any more: in this process
    assert np.array_equal(model.means_, again.means_)
    print("the same bits on two workers and in this process")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 300_000)
