"""Rows that remember their nearest centre: the E-step of k-means that looks only where something may have changed."""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np

from expfam_em.estep.dense import Dense
from expfam_em.estep.plan import Pass
from expfam_em.estep.scores import Scores, Sums
from expfam_em.family.kernel_form import form_of
from expfam_em.kernels import clusters, padded, rank_block, rank_rows, rows_of
from expfam_em.kernels import nearest as kernel
from expfam_em.kernels.tiles import GROUP_CENTRES, WIDTH
from expfam_em.rows.csr import project
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.threads import run_in_order

STRATEGIES = ("auto", "panels", "rows", "once")
PANEL_COLUMNS, PANEL_CENTRES = 3, 16
"""Up to this many columns neighbours in space share their fate, and one gap for each panel of them is enough.

With more centres it costs too much that a panel is searched whole."""

SERIAL_WORK = 15_000_000
"""Multiply-adds, some 0.15 ms, below which a second thread costs more than it saves."""

LABEL_WORK = 30
"""What it costs in multiply-adds to label a row, besides its scores, when nothing is kept of it."""

ROW_WORK, CHECK_WORK, MOVE_WORK, COPY_WORK = 300, 60, 1000, 100
"""What a row costs besides its scores, and to see that it need not be searched, to change its cluster, to copy it."""

FAST_WORK, FAST_SHARE, FAST_STEP = 32_000, 16, 8
"""From this K · d on, one centre in 16, those that moved most, is looked at apart from the others; eight at least."""

DOUBLE_COLUMNS, DOUBLE_CENTRES = 3, 64
"""Up to this many columns and centres labels that nobody remembers are found in float64 at once, without a proof.

`rank_exactly` adds up scores in the same order. For more columns it does not, and could decide a tie in another way."""

INDISTINCT_SQUARES = 16 * 2.0**-52
"""Squared distance, in units of |z|², that scores may not tell from 0: a centre there might not get the row."""

NO_WEIGHT = np.empty(0)
NO_DOUBLES, NO_SINGLES = np.empty((0, 0)), np.empty((0, 0), np.float32)


class Told(NamedTuple):
    """What there is to say of rows and their nearest centres.

    Attributes
    ----------
    labels : (n,) int32, or None
        Of rows in memory.
    inertia : float
        Σ w ‖x − centre of its label‖².
    n_clusters : int
        Clusters that have rows.
    """

    labels: Any
    inertia: float
    n_clusters: int


class NearestPass:
    """The E-step of k-means: the hard assignment to equally weighted centres is updated, not made from the start.

    For other scores, or a temperature above 0, it is a pass like any other.

    Parameters
    ----------
    family : ExponentialFamily
        Bound to the rows, with T(x) = z: a Gaussian of known covariance.
    rows : ArrayRows
        Dense rows of float64 or float32.
    strategy : {"auto", "panels", "rows", "once"}
        Whether to look at rows one by one, or at a copy of them in float32, some neighbours in space at a time; "auto"
        decides by the numbers of columns and centres. "once" is for labels that are asked for a single time: nothing is
        kept for a next one. All give the same labels.
    """

    _search: _Search | None = None

    def __init__(self, family, rows: ArrayRows, strategy="auto"):
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy is {strategy!r}; it must be one of {', '.join(STRATEGIES)}")
        self.family, self.rows, self.strategy = family, adjacent(rows), strategy
        self.kernel: Any = Dense(family, form=form_of(family, rows.n_features))

    @property
    def frame(self) -> tuple[np.ndarray, np.ndarray]:
        """Shift and inverse scale of z, each (d,)."""
        return self.kernel.form.monomials[:2]

    @property
    def memory(self) -> tuple[np.ndarray, ...] | None:
        """Centres of the last E-step, −½|c|², and the counts and sums of their rows; set it to go on from there."""
        search = self._search
        return None if search is None else (search.centres, search.offset, search.counts, search.sums)

    @memory.setter
    def memory(self, memory: tuple[np.ndarray, ...] | None) -> None:
        self._search = None
        if memory is not None:
            centres, offset, counts, sums = memory
            search = self._follow(centres, offset)
            search.counts[:], search.sums[:] = counts, sums  # they depend on earlier centres, in the last digits

    def sums(self, scores: Scores, temperature=1.0, data_set=None) -> Sums:
        """Return counts, sums and bounds, without log h, which does not depend on the centres; see `Pass.sums`."""
        if temperature > 0 or not is_nearest_centre(scores, self.rows):
            return Pass(self.family, self.rows, self.kernel, np.zeros(1)).sums(scores, temperature, data_set)
        search = self._searched(scores)
        search.update_sums()
        counts, sums = search.counts[:2].sum(axis=0), search.sums.sum(axis=0)
        offset = (scores.log_weights - scores.log_partition).ravel()
        # not through BLAS, whose threads would compete with ours
        bound = np.einsum("kj,kj->", scores.natural[0], sums) + np.einsum("k,k->", counts, offset)
        return Sums(np.zeros(1, np.int64), counts[None], sums[None], np.array([bound]), counts[None])

    def labels(self, scores: Scores) -> np.ndarray:
        """Return the index of the nearest centre of each row, the lower one of two equally near, (n,) int32.

        The scores must be some for which `is_nearest_centre`.
        """
        if self.strategy == "once":
            label, once = np.empty(len(self.rows), np.int32), NearestLabels(self.frame, scores)
            self.rows.reduce(functools.partial(_label, once, label), once.work)
            return label
        return self._searched(scores).labels()

    def inertia(self, centres, labels) -> float:
        """Return Σ w ‖x − centre of its label‖², computed from the differences; ∞ beyond the range of float64."""
        return self._loss(centres, labels, NO_WEIGHT)

    def told(self, centres, scores: Scores) -> Told:
        """Return labels, inertia and the number of clusters, given centres in the units of x, and their scores."""
        labels = self.labels(scores)
        return Told(labels, self.inertia(centres, labels), int(np.count_nonzero(np.bincount(labels))))

    def fill(self, counts, sums, scores: Scores):
        """Return counts (K,), sums (K, d) and centres with rows in the empty clusters, and by how much the bound rises.

        The rows farthest from their centres are alone in these clusters, and their centres; rows equal to one of them
        are with it, as one row of their weight would be. That raises the bound by w ½|z − c|² each. A cluster for which
        there is no row, or that has lost its last one, stays where it is and empty. None if nothing changes.
        """
        if counts.all() or not is_nearest_centre(scores, self.rows):
            return None
        counts, sums, centres = counts.copy(), sums.copy(), scores.natural[0].copy()
        labels, empty = self.labels(scores), np.flatnonzero(counts == 0)
        far, group, Z, gain = self._farthest(centres, labels, len(empty))
        if not len(far):
            return None
        alone = empty[: len(Z)]
        left, labels[far], centres[alone] = labels[far], alone[group], Z
        for k in np.union1d(left, alone):  # from the start: a difference would leave rounding where no row is left
            counts[k], sums[k] = self._sums_of(np.flatnonzero((labels == k) & self._present))
        return counts, sums, centres, gain

    @property
    def _present(self):
        weight = self.rows.sample_weight
        return np.broadcast_to(True, len(self.rows)) if weight is None else weight > 0

    def _in_frame(self, which):
        shift, inverse_scale = self.frame
        return (self.rows.X[which].astype(np.float64) - shift) * inverse_scale

    def _weight_of(self, which):
        weight = self.rows.sample_weight
        return np.ones(len(which)) if weight is None else weight[which]

    def _sums_of(self, which):
        weight = self._weight_of(which)
        return weight.sum(), weight @ self._in_frame(which)

    def _farthest(self, centres, labels, at_most):
        """Return the rows farthest from their centres, of ``at_most`` values, and the number of the value of each.

        Also the values in the frame, the farthest first, (g, d), and Σ w ½|z − c|².
        """
        shift, inverse_scale = self.frame
        squares = np.empty(len(self.rows))
        self._loss(centres / inverse_scale + shift, labels, squares)
        squares = np.where(self._present, squares, -1.0)
        far, group, firsts = self._ranked(squares, at_most)
        Z = self._in_frame(firsts)
        distance = np.sum((Z - centres[labels[firsts]]) ** 2, axis=1)
        apart = (squares[firsts] > 0) & (distance > INDISTINCT_SQUARES * np.sum(Z**2, axis=1))
        far, group = far[apart[group]], (np.cumsum(apart) - 1)[group[apart[group]]]
        return far, group, Z[apart], 0.5 * self._weight_of(far) @ distance[apart][group]

    def _ranked(self, squares, at_most):
        """Return the rows of the ``at_most`` largest distinct values, their group (m,), and the first row of each.

        Equal rows are one group, so that a row of weight 2 and the row given twice are the same thing.
        """
        n, taken, d = len(squares), at_most, self.rows.n_features
        direction = np.random.default_rng(0).uniform(1, 2, d) / (2 * d)  # any: equal rows get equal keys
        while True:
            taken = min(4 * taken, n)
            least = np.partition(squares, n - taken)[n - taken]
            far = np.flatnonzero(squares >= least)
            key = project(self.rows.X[far], direction)
            order = np.lexsort((key, -squares[far]))
            far, key = far[order], key[order]
            new = np.append(True, (squares[far[1:]] != squares[far[:-1]]) | (key[1:] != key[:-1]))
            group = np.cumsum(new) - 1
            if group[-1] >= at_most or taken == n:
                chosen = group < at_most
                return far[chosen], group[chosen], far[new & chosen]

    def _loss(self, centres, labels, squares):
        """Return Σ w ‖x − centre‖², and write the squares unless there is no place for them."""

        def chunk(chunk):
            rows = slice(chunk.first, chunk.first + len(chunk.X))
            loss = clusters.loss(
                _typed(chunk.X), _or_empty(chunk.weight), centres, labels[rows], 0, len(chunk.X), squares[rows]
            )  # fmt: skip
            return [loss]

        try:
            return math.fsum(self.rows.reduce(chunk, 16 * self.rows.n_features))
        except OverflowError:
            return math.inf

    def _searched(self, scores: Scores):
        return self._follow(scores.natural[0], -scores.log_partition[0])

    def _follow(self, centres, offset):
        K, d = centres.shape
        if self._search is None or K != len(self._search.centres):
            few = d <= PANEL_COLUMNS and K <= PANEL_CENTRES
            panels = few if self.strategy == "auto" else self.strategy == "panels"
            self._search = (_PanelSearch if panels else _RowSearch)(self.rows, self.frame, K)
        self._search.follow(centres, offset)
        return self._search


class NearestLabels:
    """Finds the nearest centre of rows in one pass that remembers nothing.

    Parameters
    ----------
    frame : shift and inverse scale of z, each (d,)
    scores : Scores
        Some for which `is_nearest_centre`.
    """

    def __init__(self, frame: tuple[np.ndarray, np.ndarray], scores: Scores) -> None:
        centres, offset = scores.natural[0], -scores.log_partition[0]
        K, d = centres.shape
        self.about: tuple[Any, ...] = ()
        self.in_double = d <= DOUBLE_COLUMNS and K <= DOUBLE_CENTRES
        self.work = K * (d + 5) + LABEL_WORK
        if self.in_double:
            no_products, level = np.empty((0, 3), np.int64), np.zeros(1)
            self.about = *frame, no_products, padded(centres[None]), offset[None], level, rank_block(d, K)
            return
        grouped, offsets = _groups(K, d)
        places = np.unravel_index(np.arange(K), offsets.shape)
        with np.errstate(over="ignore"):  # ∞ is never proven to be near
            grouped[places[0], :, places[1]], offsets[places] = centres, offset
        exact, single = _errors(d, np.einsum("kj,kj->k", centres, centres).max())
        self.about = frame, (centres, offset, exact), (grouped, offsets, single)

    def write(self, X, label: np.ndarray) -> None:
        """Write the labels of rows whose columns lie beside one another, (n,) int32."""
        if not self.in_double:
            kernel.label_rows(_typed(X), *self.about, 0, len(X), label)
            return
        found, item = np.empty(len(X), np.int64), np.array([[0, len(X), 0, 0]])
        rank_rows(rows_of(X), item, *self.about, NO_WEIGHT, NO_WEIGHT, found)
        label[:] = found


def _label(once: NearestLabels, label: np.ndarray, chunk: Chunk) -> int:
    once.write(chunk.X, label[chunk.first : chunk.first + len(chunk.X)])
    return 0


def adjacent(rows: ArrayRows) -> ArrayRows:
    """Return rows whose columns lie beside one another in memory."""
    X = rows.X
    if X.shape[1] == 1 or X.strides[1] == X.itemsize:
        return rows
    return ArrayRows(np.ascontiguousarray(X), rows.sample_weight, rows.n_jobs)


def is_nearest_centre(scores: Scores, rows) -> bool:
    """Whether the highest score of the one mixture belongs to the nearest of its natural parameters."""
    if len(scores.natural) > 1 or rows.dtype not in (np.float64, np.float32) or len(rows) >= 2**31:
        return False
    natural, weights = scores.natural[0], scores.log_weights[0]
    if natural.shape[1] != rows.n_features:
        return False
    half_squares = 0.5 * np.einsum("kj,kj->k", natural, natural)
    off = np.abs(scores.log_partition[0] - half_squares)
    return bool((weights == weights[0]).all() and (off <= 1e-13 * half_squares).all())


def _typed(X) -> tuple[np.ndarray, np.ndarray]:
    """Return X as the kernels take it: an array of float64 and one of float32; the one of the other type is empty."""
    return (X, NO_SINGLES) if X.dtype == np.float64 else (NO_DOUBLES, X)


def _or_empty(weight) -> np.ndarray:
    return NO_WEIGHT if weight is None else weight


def _gamma(operations, unit) -> float:
    return operations * unit / (1 - operations * unit)


def _error(d, largest, unit, smallest) -> np.ndarray:
    """Return slope and level of the error of a score; the derivation is in `kernels.nearest`."""
    slope = _gamma(d + 3, unit) * (1 + _gamma(d + 8, unit))
    level = slope * largest + 3 * d * smallest * (1 + largest)
    return np.array([0.5 * slope, level]) * (1 + 2.0**-20)  # for the roundings here and in what uses them


def _errors(d, largest) -> tuple[np.ndarray, np.ndarray]:
    """Return slope and level of the errors of scores in float64 and in float32, rounded up; ``largest`` is max |c|²."""
    with np.errstate(all="ignore"):  # with an error of ∞ nothing is proven
        single = _error(d, largest, 2.0**-24, 2.0**-149).astype(np.float32)
        return _error(d, largest, 2.0**-53, 2.0**-1074), np.nextafter(single, np.float32(np.inf))


class _Search(ABC):
    """Labels, gaps and sums of the rows, and the centres that they belong to."""

    unit_rows: int
    """Rows that share a gap."""

    @abstractmethod
    def _search(self, about, start, stop):
        """Search a range of units; return how many rows changed their label and how many were searched."""

    @abstractmethod
    def labels(self):
        """Return the labels in the order of the rows."""

    def __init__(self, rows: ArrayRows, frame, n_centres):
        n, d, K = len(rows), rows.n_features, n_centres
        self.rows, self.frame, self.X = rows, frame, _typed(rows.X)
        self.weight = _or_empty(rows.sample_weight)
        self.centres, self.offset = np.zeros((K, d)), np.zeros(K)
        self.n_fast = -(-K // (FAST_SHARE * FAST_STEP)) * FAST_STEP if K * d >= FAST_WORK else 0
        self.groups, self.fast = _groups(K, d), (*_groups(self.n_fast, d), *_others(K, d, self.n_fast))
        self.accumulated, self.drift = np.zeros(K + 1), np.zeros(K + 1, np.float32)
        self.counts, self.sums = np.zeros((3, K)), np.zeros((2, K, d))
        self.fresh, self.busy = True, n
        self.pending: list[tuple[int, int]] = []
        self.units = -(-n // self.unit_rows)
        size = self.units * self.unit_rows
        self.gap = np.full(self.units, -np.inf, np.float32)
        self.label, self.changed, self.before = (np.zeros(size, np.int32) for _ in range(3))

    def follow(self, centres, offset):
        """Find the labels for other centres."""
        largest, moved = clusters.follow(
            centres, offset, self.centres, self.fresh, self.n_fast, self.accumulated, self.drift, self.groups, self.fast
        )
        if not moved and not self.fresh:
            return
        self.update_sums()
        self.centres, self.offset = centres, offset
        K, d = centres.shape
        exact, single = _errors(d, largest)
        about = self.frame, (centres, offset, exact), (*self.groups, single)
        pieces = self._pieces(self.units, self.busy * (K * (d + 5) + ROW_WORK) + self.units * CHECK_WORK)
        found = self._run(lambda piece: self._search(about, *piece), pieces)
        self.busy = sum(searched for _, searched in found)
        self.pending = [
            (start * self.unit_rows, start * self.unit_rows + n)
            for (start, _), (n, _) in zip(pieces, found, strict=True)
            if n
        ]
        if self.fresh:
            self._move([(0, len(self.rows))])
        self.fresh = False

    def update_sums(self):
        """Bring counts and sums up to date with the labels."""
        if self.pending:
            self._move(self.pending)
            self.pending = []

    def _move(self, segments):
        K, d = self.centres.shape
        moved = sum(stop - start for start, stop in segments)
        parts = np.array(segments, np.int64)
        self._run(lambda which: clusters.move(
            self.X, self.weight, *self.frame, self.fresh, self.label, self.changed, self.before,
            parts, *which, self.counts, self.sums,
        ), self._pieces(K, moved * (MOVE_WORK + 100 * d), 2))  # fmt: skip

    def _pieces(self, units, work, for_each_thread=4):
        """Return ranges of units, for the threads to share; the result does not depend on where they are cut."""
        n = 1 if work < SERIAL_WORK or self.rows.n_jobs == 1 else min(for_each_thread * self.rows.n_jobs, units)
        cuts = [units * i // n for i in range(n + 1)]
        return list(itertools.pairwise(cuts))

    def _run(self, function, pieces):
        if len(pieces) == 1:
            return [function(pieces[0])]
        return run_in_order(function, pieces, self.rows.n_jobs)


class _RowSearch(_Search):
    """A gap for each row."""

    unit_rows = 1

    def _search(self, about, start, stop):
        return kernel.search_rows(
            self.X, *about, self.fast, self.drift, self.fresh, start, stop, self.gap, self.label,
            self.changed, self.before,
        )  # fmt: skip

    def labels(self):
        return self.label.copy()


class _PanelSearch(_Search):
    """A gap for each panel of rows that are neighbours on a Morton curve.

    X and the weights are copies in that order: to read the rows that change their label where they lie, all over X,
    took most of the time.
    """

    unit_rows = WIDTH

    def __init__(self, rows: ArrayRows, frame, n_centres):
        super().__init__(rows, frame, n_centres)
        n, d = rows.X.shape
        self.panel_label = np.zeros(self.units, np.int32)
        self.order = np.empty(n, np.int32)
        clusters.arrange(self.X, *frame, self.order)
        self.X = _typed(rows.X.take(self.order, axis=0))
        self.weight = self.weight if rows.sample_weight is None else self.weight[self.order]
        self.Z = np.empty((self.units * d, WIDTH), np.float32)
        places = self.units * WIDTH
        self._run(
            lambda piece: clusters.copy(self.X, *frame, *piece, self.Z),
            self._pieces(places, places * (COPY_WORK + 50 * d)),
        )

    def _search(self, about, start, stop):
        return kernel.search_panels(
            self.X, self.Z, *about, self.drift, self.fresh, start, stop, self.gap, self.panel_label,
            self.label, self.changed, self.before,
        )  # fmt: skip

    def labels(self):
        out = np.empty(len(self.rows), np.int32)
        out[self.order] = self.label[: len(out)]
        return out


def _groups(n_centres, d):
    """Centres in groups and their offsets, −∞ for those that complete the last group."""
    groups = -(-n_centres // GROUP_CENTRES)
    return np.zeros((groups, d, GROUP_CENTRES), np.float32), np.full((groups, GROUP_CENTRES), -np.inf, np.float32)


def _others(K, d, n_fast):
    """What is kept of the fast centres besides: see `kernels.nearest`."""
    return (
        np.zeros(n_fast, np.int32), np.zeros(K, np.float32), np.zeros((K, d), np.float32), np.zeros(K, np.float32),
        np.ones(K, np.bool_),
    )  # fmt: skip
