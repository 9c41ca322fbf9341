"""The same protocol on Ray. Needs `pip install ray`."""

import os

import numpy as np

import expfam_em as ef
from expfam_em.rows.grid import rows_per_chunk
from expfam_em.rows.parts import part_bounds, sum_part
from expfam_em.rows.protocol import Chunk

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or Ray listens to other machines
import ray


def read(first, stop):
    number = np.arange(first, stop)[:, None]  # rows depend on their numbers alone, as those of a file do
    return Chunk(np.sin(number * [1.0, 1.7]) + 4 * (number % 3), None, first)


class RayRows:
    n_data, is_sparse, n_features, dtype, total_weights = 1, False, 2, np.dtype(float), np.array([300_000.0])

    def __init__(self, parts):
        self.parts = parts  # where Ray holds them, and makes them again where they are lost

    def reduce(self, function, work):
        of_part, function = ray.remote(sum_part), ray.put(function)
        trees = ray.get([of_part.remote(function, part, rows_per_chunk(work)) for part in self.parts])
        return sum(trees[1:], trees[0]).total()

    def derive(self, function, work):
        return RayRows([*map(ray.remote(lambda part: function(part)).remote, self.parts)])  # it may be a partial one


with ray.init(num_cpus=2, include_dashboard=False):
    ends = part_bounds(300_000, n_parts=2)
    model = ef.GaussianMixture(3, random_state=0).fit(RayRows([*map(ray.remote(read).remote, ends[:-1], ends[1:])]))
assert np.array_equal(model.means_, ef.GaussianMixture(3, random_state=0).fit(read(0, 300_000).X).means_)
print(model.weights_, "the same bits as in this process", sep="\n")
