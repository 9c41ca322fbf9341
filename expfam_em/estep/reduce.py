"""Functions of chunks that rows add up, and the passes made of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from expfam_em.estep.grouped import log_base
from expfam_em.estep.scores import ByIndex, Outputs, Scores, Sums, cancels
from expfam_em.family import checked
from expfam_em.family.support import ImpossibleRowError, counted_from
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.threads import cached_property, run_in_order

MIXTURE_WORK = 4_000_000
"""Multiply-adds that mixtures of a stack are given to a thread with, where there are fewer chunks than threads."""


class Prepared:
    """A function of chunks that makes some things beforehand, once for all threads, which are not sent away with it."""

    def __init__(self, kernel, scores: Scores, temperature=1.0, given=False):
        self.kernel, self.scores, self._how = kernel, scores, (temperature, given)
        self._run = kernel.prepared(scores, *self._how)

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name not in ("_run", "_mixtures_of")}

    def __setstate__(self, state):
        vars(self).update(state)
        self._run = self.kernel.prepared(self.scores, *self._how)


class EStep(Prepared):
    """Adds up the expected statistics of a chunk under each mixture of a stack; bounds leave out log h.

    Parameters
    ----------
    kernel : Kernel
    scores : Scores
    temperature : float ≥ 0
    data_set : (B,) int, optional
        Data set of each mixture; all belong to the first by default.
    threads : int
        How many may share the mixtures of one chunk.
    """

    def __init__(self, kernel, scores: Scores, temperature=1.0, data_set=None, threads=1):
        super().__init__(kernel, scores, temperature)
        self.data_set, self.threads = data_set, threads

    @property
    def takes_any_order(self) -> bool:
        """Whether bits do not depend on the order in which the entries of a chunk lie in memory."""
        return self.kernel.takes_any_order and not cancels(self.kernel.family, self.scores)

    @cached_property
    def _mixtures_of(self):
        """Return the mixtures of each data set, in order, as they stand one after another, and where each begins."""
        data_set = np.zeros(len(self.scores.natural), np.int64) if self.data_set is None else np.asarray(self.data_set)
        order = np.argsort(data_set, kind="stable")
        return order, np.searchsorted(data_set[order], np.arange(data_set.max(initial=0) + 2))

    def items(self, chunk: Chunk) -> np.ndarray:
        """Return (start, stop, mixture, slot) for each mixture of each range of rows; slots in order of mixtures."""
        if chunk.ranges is None:  # one data set: every mixture is of all rows
            items = np.zeros((len(self.scores.natural), 4), np.int64)
            items[:, 1], items[:, 2:] = len(chunk.X), np.arange(len(items))[:, None]
            return items
        order, first = self._mixtures_of
        ranges = chunk.of_data()
        d = np.minimum(ranges[:, 2], len(first) - 1)
        sizes = np.append(np.diff(first), 0)[d]  # none, of data sets behind the last one that has mixtures
        which = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        mixtures = order[np.repeat(first[d], sizes) + which]
        rows = np.repeat(ranges[:, :2], sizes, axis=0)
        return np.column_stack([rows, mixtures, np.searchsorted(np.sort(mixtures), mixtures)])

    def __call__(self, chunk: Chunk) -> Sums:
        items = self.items(chunk)
        _, K, p = self.scores.natural.shape
        out = Outputs.of_sums(len(items), K, self.kernel.n_sums(p), self.kernel.by_statistic)
        if len(items):
            self._add(chunk, items, out)
        return Sums(np.sort(items[:, 2]), out.counts, out.sums, out.bounds, out.exposures)

    def _add(self, chunk, items, out):
        lots = 1
        if self.threads > 1:
            K, p = self.scores.natural.shape[1:]
            work = float(np.sum(items[:, 1] - items[:, 0])) * K * (p + 8)
            lots = min(len(items), 4 * self.threads, int(work // MIXTURE_WORK))
        if lots > 1:  # the slots of different lots are different
            run_in_order(lambda lot: self._run(chunk, lot, out), np.array_split(items, lots), self.threads)
        else:
            self._run(chunk, items, out)


class GivenStep(Prepared):
    """Adds up the statistics of a chunk under responsibilities that each group of runs gives.

    Parameters
    ----------
    kernel : Kernel
    scores : Scores
        Of 0, in the coordinates of the statistics; see `Scores.none`.
    given : list of functions of a chunk
        For each group of runs that take each data set once. They return the responsibilities of the rows of the chunk,
        (m, K), as an array of their own; see `rows_given`, `drawn` and `Labelled`.
    n_data : int
    """

    def __init__(self, kernel, scores: Scores, given, n_data):
        if (found := len(scores.natural)) != (needed := len(given) * n_data):  # the kernel trusts it
            raise ValueError(f"scores of {found} mixtures; {len(given)} groups of {n_data} need {needed}")
        super().__init__(kernel, scores, given=True)
        self.given, self.n_data = given, n_data

    def __call__(self, chunk: Chunk) -> Sums:
        ranges = chunk.of_data()
        _, K, p = self.scores.natural.shape
        which = np.concatenate([ranges[:, 2] + self.n_data * g for g in range(len(self.given))])
        out = Outputs.of_sums(len(which), K, p, self.kernel.by_statistic)
        for g, responsibilities in enumerate(self.given):
            slots = np.arange(g * len(ranges), (g + 1) * len(ranges))
            items = np.column_stack([ranges[:, :2], which[slots], slots])
            self._run(chunk, items, out._replace(responsibilities=responsibilities(chunk)))
        return Sums(which, out.counts, out.sums, out.bounds, out.exposures)


def rows_given(given, n_components, chunk: Chunk) -> np.ndarray:
    """Return the responsibilities of the rows of a chunk, (m, K), from those of all rows, (n, K), or labels, (n,)."""
    rows = given[chunk.first : chunk.first + len(chunk.X)]
    return np.eye(n_components)[rows] if given.ndim == 1 else np.array(rows, np.float64, order="C")


def drawn(seed, n_components, chunk: Chunk) -> np.ndarray:
    """Return random responsibilities of the rows of a chunk, (m, K), equally likely anywhere in the simplex.

    They depend on the seed and the numbers of the rows alone, so nobody needs those of all rows.
    """
    # the generator counts in fours; shares of independent waiting times are uniform
    counter, before = divmod(chunk.first * n_components, 4)
    numbers = np.random.Philox(key=seed, counter=counter).random_raw(before + len(chunk.X) * n_components)[before:]
    times = -np.log(((numbers >> 12) + 0.5) * 2.0**-52).reshape(-1, n_components)  # of numbers between 0 and 1
    return times / times.sum(axis=1, keepdims=True)


class ByRow(Prepared):
    """A function of chunks that looks at rows under the mixture of their data set, whatever they weigh."""

    @property
    def work(self) -> float:
        """Multiply-adds per row."""
        return self.kernel.work(*self.scores.natural.shape[1:])

    def fill(self, chunk: Chunk, out: Outputs) -> None:
        """Fill the outputs by row of a chunk."""
        ranges = np.array([[0, len(chunk.X), 0, 0]])
        if chunk.ranges is not None:
            ranges = np.column_stack([chunk.ranges, np.zeros(len(chunk.ranges), np.int64)])
        self._run(chunk if chunk.weight is None else chunk._replace(weight=None), ranges, out)

    def labels_of(self, chunk: Chunk) -> np.ndarray:
        """Return the component of the highest score of each row of a chunk, (m,)."""
        labels = np.zeros(len(chunk.X), np.int64)
        self.fill(chunk, Outputs(labels=labels))
        return labels

    def fill_checked(self, chunk: Chunk, out: Outputs) -> None:
        """Fill the outputs by row of a chunk.

        Raises
        ------
        ImpossibleRowError
            If the log-density of a row is no number, or −∞ under every component where they are to be compared.
        """
        total = np.zeros(1)
        self.fill(chunk, out._replace(bounds=total))
        if -np.inf < total[0] < np.inf:  # which no sum is with an infinite term, or one that is no number
            return
        compared = out.responsibilities.size > 0 or out.labels.size > 0
        evidence = out.evidence
        if not evidence.size:
            evidence = np.empty(len(chunk.X))
            self.fill(chunk, out._replace(evidence=evidence))
        unknown = ~np.isfinite(evidence) if compared else np.isnan(evidence)
        if unknown.any():
            raise ImpossibleRowError(
                f"row {{row}} is so far from every component of {self.kernel.family!r} that float64 cannot hold its "
                "log-density: leave it out",
                chunk.first + int(np.argmax(unknown)),
            )


class Labelled(ByRow):
    """Returns the responsibilities of the rows of a chunk, (m, K): 1 for the component of the highest score."""

    def __call__(self, chunk: Chunk) -> np.ndarray:
        return np.eye(self.scores.natural.shape[1])[self.labels_of(chunk)]


def write_chunk(fill, out: Outputs, chunk: Chunk) -> int:
    """Fill outputs by row where a chunk of rows in memory lies in them, by a method of `ByRow`."""
    fill(chunk, out.rows(slice(chunk.first, chunk.first + len(chunk.X))))
    return 0


@dataclass(frozen=True)
class Parts:
    """Arrays by row of some chunks, each with the number of its first row; ``+`` joins two lists."""

    chunks: tuple

    def __add__(self, other: Parts) -> Parts:
        return Parts(self.chunks + other.chunks)

    def joined(self) -> list[np.ndarray]:
        """Return one array of each kind, in the order of the rows."""
        in_order = (arrays for _, arrays in sorted(self.chunks, key=lambda chunk: chunk[0]))
        return [np.concatenate(parts) for parts in zip(*in_order, strict=True)]


class Tell(ByRow):
    """Returns what is asked for of the rows of a chunk, as `Parts` of log p, responsibilities and labels.

    Parameters
    ----------
    kernel, scores, temperature
        See `EStep`.
    wanted : tuple of bool
        Which of the three are asked for; the others have length 0.
    """

    def __init__(self, kernel, scores: Scores, temperature=1.0, wanted=(True, True, True)):
        super().__init__(kernel, scores, temperature)
        self.wanted = wanted

    def __call__(self, chunk: Chunk) -> Parts:
        density, responsibilities, labels = (len(chunk.X) if wanted else 0 for wanted in self.wanted)
        out = Outputs(
            evidence=np.empty(density), labels=np.empty(labels, np.int64),
            responsibilities=np.empty((responsibilities, self.scores.natural.shape[1])),
        )  # fmt: skip
        self.fill_checked(chunk, out)
        if density and not cancels(self.kernel.family, self.scores):
            out.evidence[:] += log_base(self.kernel.family, chunk)
        return Parts(((chunk.first, (out.evidence, out.responsibilities, out.labels)),))


@dataclass(frozen=True)
class OfData(ByIndex):
    """One value for each of some data sets."""

    values: np.ndarray


def log_base_chunk(family, chunk: Chunk) -> OfData:
    """Return Σ weight · log h of each data set of a chunk.

    Raises
    ------
    ValueError
        If a row that carries weight has density 0 under all parameters; see `as_given` for rows in groups.
    """
    log_h, ranges = log_base(family, chunk), chunk.of_data()
    present = True if chunk.weight is None else chunk.weight > 0
    if (unknown := np.isnan(log_h) & present).any():
        refused = refusal_chunk(family, chunk._replace(weight=unknown.astype(np.float64)))
        if refused.error is not None:
            raise refused.error
        checked.check_numbers(family, "log_base_measure", unknown, "x", chunk.first)
    impossible = (log_h == -np.inf) & present
    if impossible.any():
        raise ImpossibleRowError(
            f"log h of row {{row}} is −∞ under {family!r}, so its density is 0 whatever the parameters: leave the row "
            "out, or give the family a check_support that says which rows are possible",
            chunk.first + int(np.argmax(impossible)),
        )
    if chunk.weight is not None:
        log_h = chunk.weight * np.where(chunk.weight > 0, log_h, 0.0)  # an absent row may be impossible
    return OfData(ranges[:, 2], np.array([log_h[start:stop].sum() for start, stop in ranges[:, :2].tolist()]))


@dataclass(frozen=True)
class Refusal:
    """The first row that a family refuses, and its error; ``+`` keeps the earlier one."""

    row: float
    error: Any

    def __add__(self, other: Refusal) -> Refusal:
        return self if self.row <= other.row else other


def refusal_chunk(family, chunk: Chunk) -> Refusal:
    """Return the family's error for the first row of a chunk that carries weight and is impossible."""
    present = None if chunk.weight is None else chunk.weight > 0
    try:
        if present is None:
            checked.check_rows(family, chunk.X)
        else:
            checked.check_present(family, chunk.X, present)
    except ValueError as error:
        return Refusal(chunk.first, counted_from(error, chunk.first))
    return Refusal(np.inf, None)


def check_support(family, rows) -> None:
    """Raise the family's ValueError if a row that carries weight is outside its support."""
    found = rows.reduce(functools.partial(refusal_chunk, family), ENTRY_WORK * rows.n_features)
    if found.error is not None:
        raise as_given(found.error, rows)


def as_given(error: ValueError, rows: Any) -> ValueError:
    """Return an error whose row is counted in the order in which rows were given, not in that of their groups."""
    groups = getattr(rows, "groups", None)
    if groups is None or not isinstance(error, ImpossibleRowError):
        return error
    return error.counted_from(int(groups.order[error.row]) - error.row)
