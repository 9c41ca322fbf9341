"""The same protocol on Spark. Needs `pip install pyspark`, and Java."""

import itertools

import numpy as np
from pyspark import SparkConf, SparkContext

import expfam_em as ef
from expfam_em.rows.grid import rows_per_chunk
from expfam_em.rows.parts import part_bounds, sum_part
from expfam_em.rows.protocol import Chunk


def read(first, stop):
    number = np.arange(first, stop)[:, None]  # rows depend on their numbers alone, as those of a file do
    return Chunk(np.sin(number * [1.0, 1.7]) + 4 * (number % 3), None, first)


class SparkRows:
    n_data, is_sparse, n_features, dtype, total_weights = 1, False, 2, np.dtype(float), np.array([300_000.0])

    def __init__(self, parts):
        self.parts = parts.cache()

    def reduce(self, function, work):
        size = rows_per_chunk(work)
        trees = self.parts.map(lambda part: sum_part(function, part, size))
        return trees.treeReduce(lambda one, other: one + other).total()

    def derive(self, function, work):
        return SparkRows(self.parts.map(function))


loopback = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.ui.enabled": "false"}
with SparkContext("local[2]", conf=SparkConf().setAll(loopback.items())) as spark:
    ends = part_bounds(300_000, n_parts=2)
    parts = spark.parallelize([*itertools.pairwise(ends)], len(ends) - 1).map(lambda ends: read(*ends))
    model = ef.GaussianMixture(3, random_state=0).fit(SparkRows(parts))
assert np.array_equal(model.means_, ef.GaussianMixture(3, random_state=0).fit(read(0, 300_000).X).means_)
print(model.weights_, "the same bits as in this process", sep="\n")
