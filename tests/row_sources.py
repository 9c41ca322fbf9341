"""Rows that are nowhere in one piece, made from what `Rows` says alone."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import Tree, rows_per_chunk
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.source import RowSource


class ListRows:
    """The rows of a list of arrays, or of blocks of CSR rows, joined to chunks and never to a whole."""

    n_data = 1

    def __init__(self, parts, weights=None, functions=()):
        self.parts, self.weights, self.functions = parts, weights, functions
        self.is_sparse = isinstance(parts[0], CSRBlock)
        head = self._chunk(0, 1)
        self.n_features, self.dtype = head.X.shape[1], head.X.dtype

    @classmethod
    def of(cls, X, weight, ends):
        """Return rows that are cut at some places."""
        pieces = list(itertools.pairwise([0, *ends, len(X)]))
        weights = None if weight is None else [weight[a:b] for a, b in pieces]
        return cls([X[a:b] for a, b in pieces], weights)

    @property
    def total_weights(self):
        return np.array([float(self.reduce(_weight, 1.0))])

    def _chunk(self, first, stop) -> Chunk:
        ends = np.cumsum([len(part) for part in self.parts])
        cut = [
            slice(max(first - e + len(p), 0), max(stop - e + len(p), 0)) for p, e in zip(self.parts, ends, strict=True)
        ]
        pieces = [part[where] for part, where in zip(self.parts, cut, strict=True)]
        X = CSRBlock.concatenate(pieces) if self.is_sparse else np.concatenate(pieces)
        weight = self.weights and np.concatenate([w[where] for w, where in zip(self.weights, cut, strict=True)])
        chunk = Chunk(X, weight, first)
        for function in self.functions:
            chunk = function(chunk)
        return chunk

    def tasks(self, work):
        """Return the number, first and last row of every chunk."""
        size, n = rows_per_chunk(work), sum(map(len, self.parts))
        return [(number, first, min(first + size, n)) for number, first in enumerate(range(0, n, size))]

    def reduce(self, function, work):
        tree = Tree()
        for number, first, stop in self.tasks(work):
            tree.put(0, number, function(self._chunk(first, stop)))
        return tree.total()

    def derive(self, function, work):
        return type(self)(self.parts, self.weights, (*self.functions, function))


class ShuffledRows(ListRows):
    """The same, but chunks come from three threads in an order that nobody can foresee."""

    def reduce(self, function, work):
        tree, tasks = Tree(), self.tasks(work)
        random.shuffle(tasks)
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(lambda n, a, b: tree.put(0, n, function(self._chunk(a, b))), *t) for t in tasks]:
                done.result()
        return tree.total()


class ReadRows(RowSource):
    """The same, read range by range by two threads."""

    n_jobs = 2

    def __init__(self, rows):
        self.rows = rows

    @classmethod
    def of(cls, X, weight, ends):
        """Return rows that are cut at some places."""
        return cls(ListRows.of(X, weight, ends))

    def __len__(self):
        return sum(map(len, self.rows.parts))

    def read(self, first, stop):
        return self.rows._chunk(first, stop)


def _weight(chunk):
    return len(chunk.X) if chunk.weight is None else chunk.weight.sum()
