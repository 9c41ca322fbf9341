"""Rows for k-means that are read again in each step: nothing is kept of a row, and every one is scored."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from expfam_em.estep.dense import Dense
from expfam_em.estep.nearest import INDISTINCT_SQUARES, NearestPass, Told
from expfam_em.estep.plan import Pass
from expfam_em.estep.reduce import ByRow, GivenStep, Labelled, Parts, Tell
from expfam_em.estep.scores import Scores, Sums
from expfam_em.family.kernel_form import form_of
from expfam_em.rows.protocol import Chunk

LOSS_WORK = 16
"""Multiply-adds that a difference and its square are taken to cost."""


class StreamedNearestPass(NearestPass):
    """What `NearestPass` says of rows and their nearest centres, of rows that are not in memory.

    Parameters
    ----------
    family : ExponentialFamily
        Bound to the rows, with T(x) = z: a Gaussian of known covariance.
    rows : Rows
        Dense rows of float64 or float32.
    """

    def __init__(self, family, rows: Any):
        self.family, self.rows = family, rows
        self.kernel = Dense(family, form=form_of(family, rows.n_features))

    def sums(self, scores: Scores, temperature=1.0, data_set=None) -> Sums:
        """Return counts, sums and bounds, without log h; see `Pass.sums`."""
        return Pass(self.family, self.rows, self.kernel, np.zeros(1)).sums(scores, temperature, data_set)

    def labels(self, scores: Scores) -> np.ndarray:
        """Return the index of the nearest centre of each row, the lower one of two equally near, (n,) int32."""
        tell = Tell(self.kernel, scores, 1.0, (False, False, True))
        return self.rows.reduce(tell, tell.work).joined()[2].astype(np.int32)

    def told(self, centres, scores: Scores) -> Told:
        """Return the inertia and the number of clusters, and no labels."""
        loss = Loss(self.kernel, scores, centres)
        inertia, counts = self.rows.reduce(loss, LOSS_WORK * self.rows.n_features).total()
        return Told(None, inertia, int(np.count_nonzero(counts)))

    def fill(self, counts, sums, scores: Scores):
        """Return counts (K,), sums (K, d) and centres with rows in the empty clusters; see `NearestPass.fill`."""
        if counts.all():
            return None
        centres, empty = scores.natural[0].copy(), np.flatnonzero(counts == 0)
        K, d = centres.shape
        found = self.rows.reduce(Farthest(self.kernel, scores, self.frame, len(empty)), self.rows.n_features)
        if not len(found.X):
            return None
        shift, inverse_scale = self.frame
        alone = empty[: len(found.X)]
        centres[alone] = (found.X.astype(np.float64) - shift) * inverse_scale
        moved = functools.partial(_moved, Labelled(self.kernel, scores), found.X, alone)
        step = GivenStep(self.kernel, Scores.none(1, K, d, self.family), [moved], 1)
        after = self.rows.reduce(step, self.kernel.work(K, d))
        return after.counts[0], after.sums[0], centres, 0.5 * found.weight @ found.squares

    def distances(self, centres) -> np.ndarray:
        """Return the distance of each row to each centre, (n, K)."""
        [found] = self.rows.reduce(functools.partial(_distances, centres), LOSS_WORK * centres.size).joined()
        return found


def _distances(centres, chunk: Chunk) -> Parts:
    """Return distances from differences, in which nothing cancels."""
    return Parts(((chunk.first, (cdist(chunk.X, centres),)),))


def _moved(labelled: Labelled, values, clusters, chunk: Chunk) -> np.ndarray:
    """Return the responsibilities of the rows of a chunk, (m, K), once rows that equal some values are in clusters."""
    responsibilities = labelled(chunk)
    for value, cluster in zip(values, clusters, strict=True):
        responsibilities[(chunk.X == value).all(axis=1)] = np.eye(responsibilities.shape[1])[cluster]
    return responsibilities


@dataclass(frozen=True)
class Losses:
    """Losses of some chunks, which are added up exactly, and the rows of each cluster."""

    losses: tuple
    counts: np.ndarray

    def __add__(self, other: Losses) -> Losses:
        return Losses(self.losses + other.losses, self.counts + other.counts)

    def total(self) -> tuple[float, np.ndarray]:
        """Return the sum of the losses, ∞ beyond the range of float64, and the counts."""
        try:
            return math.fsum(self.losses), self.counts
        except OverflowError:
            return math.inf, self.counts


class Loss(ByRow):
    """Returns Σ w ‖x − centre‖² of a chunk, from the differences; centres are in the units of x."""

    def __init__(self, kernel, scores: Scores, centres):
        super().__init__(kernel, scores)
        self.centres = centres

    def __call__(self, chunk: Chunk) -> Losses:
        labels = self.labels_of(chunk)
        with np.errstate(over="ignore"):  # here, for threads have a state of their own
            squares = np.sum((np.asarray(chunk.X, np.float64) - self.centres[labels]) ** 2, axis=1)
            loss = squares.sum() if chunk.weight is None else chunk.weight @ squares
        return Losses((float(loss),), np.bincount(labels, minlength=len(self.centres)))


@dataclass(frozen=True)
class Far:
    """The distinct rows that are farthest from their centres, the farthest first; ``+`` keeps as many of both.

    Attributes
    ----------
    X : (m, d)
    squares : (m,)
        Squared distances in the frame.
    weight : (m,)
        Of all rows equal to them.
    most : int
    """

    X: Any
    squares: np.ndarray
    weight: np.ndarray
    most: int

    def __add__(self, other: Far) -> Far:
        X, squares = np.concatenate([self.X, other.X]), np.concatenate([self.squares, other.squares])
        return Far(X, squares, np.concatenate([self.weight, other.weight]), self.most).thinned()

    def thinned(self) -> Far:
        """Return the same with equal rows as one, and no more of them than are wanted."""
        if not len(self.X):
            return self
        values, first, of = np.unique(self.X, axis=0, return_index=True, return_inverse=True)
        weight, squares = np.bincount(of.ravel(), self.weight), self.squares[first]
        order = np.argsort(-squares, kind="stable")[: self.most]
        return Far(values[order], squares[order], weight[order], self.most)


class Farthest(ByRow):
    """Returns the rows of a chunk that are farthest from their centres, but for those that may be no further than 0."""

    def __init__(self, kernel, scores: Scores, frame, most: int):
        super().__init__(kernel, scores)
        self.frame, self.most = frame, most

    def __call__(self, chunk: Chunk) -> Far:
        shift, inverse_scale = self.frame
        Z = (np.asarray(chunk.X, np.float64) - shift) * inverse_scale
        squares = np.sum((Z - self.scores.natural[0][self.labels_of(chunk)]) ** 2, axis=1)
        weight = np.ones(len(Z)) if chunk.weight is None else chunk.weight
        apart = np.flatnonzero((weight > 0) & (squares > INDISTINCT_SQUARES * np.sum(Z**2, axis=1)))
        few = min(self.most, len(apart))
        while True:  # until there are as many distinct ones, with all rows that are as far as the nearest of them
            least = np.partition(squares[apart], len(apart) - few)[len(apart) - few] if few else np.inf
            which = apart[squares[apart] >= least]
            found = Far(np.array(chunk.X[which]), squares[which], weight[which], self.most).thinned()
            if len(found.X) == self.most or few == len(apart):
                return found
            few = min(4 * few, len(apart))
