"""Whether each component predicts rows that it has not seen, at the resolution in which rows are recorded.

A likelihood without a maximum has spurious ones: a component about a few rows, or about one recorded value, that says
nothing of any other row. No count of rows and no ratio of variances tells them from small or flat clusters that are
there. What does is this: θ₋ᵥ = M(S − S_v) has not seen the rows of fold v, and is asked about them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from expfam_em.em.options import Options
from expfam_em.em.ranks import row_keys
from expfam_em.em.steps import estimate, with_family
from expfam_em.estep.grouped import possible_row, refilled, with_groups
from expfam_em.estep.plan import single_pass
from expfam_em.estep.reduce import ByRow, EStep
from expfam_em.estep.scores import Outputs, Sums
from expfam_em.family import checked
from expfam_em.family.optional import bounded_natural, shared
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.groups import with_gaps
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.typing import Array, Block, Integers, Mask
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

FOLDS = 20
ROWS_EACH = 1000
"""Rows of each component that are asked about; all of them where there are fewer."""

SHIFTS = 8
"""Points of the cell that a recorded value stands for, at which densities are averaged."""

ROUNDED_FROM = 10.0
"""n² times the smallest gap between n values of a column, as a share of their range, above which they are rounded.

The gap of a continuous column exceeds it with a probability below e^−10, if its density is uniform, and less if not."""

FLOAT_GAP = 16.0
"""Gap, in units of ε times the values or the median of the column, below which values differ by their arithmetic."""

PROBED_ROWS = 16
"""Rows that show whether the family takes the other values of a cell."""

MOST = 700.0
"""What one row may gain at most: log p of the other components may be −∞."""

FORBIDDEN = 1e3
"""What the score of a component to which a row cannot belong is lowered by: more than it may gain."""

SPENT = 1e-9
"""Share of a component's rows below which nothing is left of it outside a fold."""


class Support(NamedTuple):
    """What components add to the log-likelihood of rows, beyond what the other components say of them.

    Attributes
    ----------
    seen : (B, K)
        Of the rows, with the parameters that were fitted to them.
    unseen : (B, K)
        G: of each row with parameters that have not seen it, at the resolution of the rows.
    log_n : (B,)
        Logarithm of the number of rows, Σ of the row weights.
    """

    seen: Array
    unseen: Array
    log_n: Array

    @property
    def spurious(self) -> Mask:
        """Which components add more than log n to the rows they were fitted to, and no more to unseen ones, (B, K)."""
        return (self.unseen <= self.log_n[:, None]) & (self.log_n[:, None] < self.seen)


def support(stack: Mixture, rows: Rows, options: Options = Options()) -> Support:  # noqa: B008 - frozen
    """Return what the components of mixtures add to the log-likelihood of their rows, seen and unseen.

    G_k = Σ_n w_n [log(π_k p(x_n|θ₋ᵥ,k) + (1 − π_k) p_rest(x_n)) − log p_rest(x_n)], where the rows of each component
    are dealt to 20 folds, v is that of row n, and θ₋ᵥ is the M-step without it. If columns are rounded, densities are
    means over the cell that a row stands for. A row of weight w is w rows.

    Parameters
    ----------
    stack : Mixture
        B mixtures, each of the data set of its number.
    rows : Rows
        Of B data sets.
    options : Options
        With which the mixtures were fitted: those of the M-step, and the last temperature.
    """
    B, K = stack.weights.shape
    log_n = np.log(rows.total_weights)
    if K == 1 or not (free := ~bounded_natural(stack.family, stack.flat_natural)).any():
        return Support(np.full((B, K), np.inf), np.full((B, K), np.inf), log_n)
    rows, temperature = refilled(stack.family, rows), float(options.schedule[-1])
    kernel = single_pass(stack.family, rows)
    begins = rows.starts[:-1] if isinstance(rows, ArrayRows) else np.zeros(B, np.int64)
    gather = Gather(kernel, stack.scores, temperature, begins)
    found = rows.reduce(gather, kernel.work(K, stack.natural.shape[2]))
    dealt = _dealt(found.sample, B, K, getattr(rows, "n_jobs", 1))
    with np.errstate(all="ignore"):  # a component may have nothing left outside a fold
        seen, unseen = _gains(stack, _without(stack, found, dealt, options, free), dealt)
    return Support(seen, unseen, log_n)


# ---- rows of every component ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """At most `ROWS_EACH` rows of every stratum, a component of a data set; ``+`` keeps those of the lowest keys.

    Attributes
    ----------
    X : (m, d) array or CSRBlock
    columns : (m, 3 or more)
        Stratum, number in the data set, row weight, and offsets where there are some.
    totals : (strata, 2)
        Σ w and Σ w² of all their rows.
    """

    X: Any
    columns: Array
    totals: Array

    def __add__(self, other: Sample) -> Sample:
        X = [self.X, other.X]
        joined = CSRBlock.concatenate(X) if isinstance(self.X, CSRBlock) else np.concatenate(X)
        return Sample(
            joined, np.concatenate([self.columns, other.columns]), self.totals + other.totals
        ).thinned()  # fmt: skip

    def thinned(self) -> Sample:
        """Return the sample with no more rows of a stratum than are wanted."""
        stratum = self.columns[:, 0].astype(np.int64)
        if np.bincount(stratum, minlength=1).max() <= ROWS_EACH:
            return self
        order = np.lexsort((row_keys(self.columns[:, 1]), stratum))
        first = np.searchsorted(stratum[order], stratum[order])
        kept = np.sort(order[np.arange(len(order)) - first < ROWS_EACH])
        return Sample(self.X[kept], self.columns[kept], self.totals)


@dataclass(frozen=True)
class Gathered:
    """The expected statistics of all rows, and a sample of them."""

    sums: Sums
    sample: Sample

    def __add__(self, other: Gathered) -> Gathered:
        return Gathered(self.sums + other.sums, self.sample + other.sample)


class Gather(ByRow):
    """A function of chunks that returns their expected statistics, and rows of every component, by one pass."""

    def __init__(self, kernel: Any, scores: Any, temperature: float, begins: Integers) -> None:
        super().__init__(kernel, scores, temperature)
        self.begins = begins

    def __call__(self, chunk: Chunk) -> Gathered:
        chunk, ranges = chunk._replace(table=None), chunk.of_data()
        B, K, p = self.scores.natural.shape
        labels, slots = np.zeros(len(chunk.X), np.int64), np.arange(len(ranges))
        out = Outputs.of_sums(len(ranges), K, p, self.kernel.by_statistic)._replace(labels=labels)
        self._run(chunk, np.column_stack([ranges, slots]), out)
        data = np.repeat(ranges[:, 2], ranges[:, 1] - ranges[:, 0])
        weight = np.ones(len(labels)) if chunk.weight is None else chunk.weight
        stratum = data * K + labels
        number = chunk.first + np.arange(len(labels)) - self.begins[data]
        totals = np.column_stack([np.bincount(stratum, weight**power, minlength=B * K) for power in (1.0, 2.0)]).astype(
            float
        )
        known = _known(chunk)
        columns = [stratum, number, weight, *(() if known is None else known.T)]
        present = slice(None) if chunk.weight is None else np.flatnonzero(weight > 0)
        sample = Sample(with_gaps(chunk)[present], np.column_stack(columns)[present].astype(np.float64), totals)
        return Gathered(Sums(ranges[:, 2], out.counts, out.sums, out.bounds, out.exposures), sample.thinned())


def _known(chunk: Chunk) -> Array | None:
    """Return what is known of the components of rows as offsets, (m, K), finite: a fold may lose a component."""
    allowed = None if chunk.groups is None else chunk.groups.allowed_of_rows()
    if allowed is None:
        return chunk.offset
    return np.asarray(np.where(allowed, 0.0 if chunk.offset is None else chunk.offset, -FORBIDDEN), np.float64)


# ---- folds ---------------------------------------------------------------------------------------------------------


class Dealt(NamedTuple):
    """Rows in folds, those of a data set one after another; rows of weight above 1 are in several.

    Attributes
    ----------
    rows : ArrayRows
        A data set for each fold of each data set, B · V.
    fold : (m,) int64
        Which of them a row is in.
    rank : (m,) int64
        Its place among the rows of its data set.
    stands_for : (m,)
        Row weight of all rows that it stands for.
    """

    rows: ArrayRows
    fold: Integers
    rank: Integers
    stands_for: Array


def _dealt(sample: Sample, B: int, K: int, n_jobs: Any) -> Dealt:
    """Return the rows of a sample dealt to folds, those of each component evenly; a row of weight w as w rows.

    If weights are so small that rows are less than one, a row is the mean weight of a unit of it, Σ w²/Σ w.
    """
    order = np.lexsort((sample.columns[:, 1], sample.columns[:, 0]))
    stratum, _, weight, *offset = sample.columns[order].T
    stratum = stratum.astype(np.int64)
    of_data = sample.totals.reshape(B, K, 2).sum(axis=1)
    unit = np.minimum(of_data[:, 1] / of_data[:, 0], 1.0)[stratum // K]
    total = np.cumsum(weight / unit)
    first = np.searchsorted(stratum, stratum)
    before = (total - weight / unit)[first]  # of the strata before
    share = _in_folds(total - before) - _in_folds(total - before - weight / unit)
    at, fold = np.nonzero(share > SPENT * (weight / unit)[:, None])
    data = stratum[at] // K
    order2 = np.lexsort((at, data * FOLDS + fold))
    at, fold, data = at[order2], fold[order2], data[order2]
    of_piece = (share[at, fold] * unit[at]).astype(np.float64)
    sampled = np.bincount(stratum, weight, minlength=B * K)
    scale = np.divide(sample.totals[:, 0], sampled, out=np.ones(B * K), where=sampled > 0)
    X, offsets = sample.X[order[at]], np.column_stack(offset)[at] if offset else None
    sizes = np.bincount(data * FOLDS + fold, minlength=B * FOLDS)
    rows = ArrayRows(X, of_piece, n_jobs, sizes, offset=offsets)
    rank = np.arange(len(at)) - np.searchsorted(data, data)
    return Dealt(rows, data * FOLDS + fold, rank, of_piece * scale[stratum[at]])


def _in_folds(amount: Array) -> Array:
    """Return how much of the first units of a pile each fold gets if they are dealt one by one, (m,) -> (m, V)."""
    rounds = np.floor(amount / FOLDS)
    return rounds[:, None] + np.clip((amount - rounds * FOLDS)[:, None] - np.arange(FOLDS), 0.0, 1.0)


def _without(stack: Mixture, found: Gathered, dealt: Dealt, options: Options, free: Mask) -> Mixture:
    """Return M(S − S_v) of every fold, a stack of B · V; a component without rows elsewhere has weight 0."""
    (B, K), p = stack.weights.shape, stack.natural.shape[2]
    repeated = stack[np.repeat(np.arange(B), FOLDS)]
    rows = refilled(stack.family, _in_groups(stack, dealt.rows))
    kernel = single_pass(stack.family, rows)
    step = EStep(kernel, repeated.scores, float(options.schedule[-1]), np.arange(B * FOLDS))
    _, *of_fold, _, exposures = rows.reduce(step, kernel.work(K, p))
    parts = [np.asarray(part).reshape(B, FOLDS, *part.shape[1:]) for part in (*of_fold, exposures)]
    whole = [found.sums.counts, found.sums.sums, found.sums.exposures]
    few = len(found.sample.columns) == 0 or np.all(found.sample.totals[:, 0] <= _weights_of(found.sample))
    left = [_others(part) if few else all_[:, None] - part for part, all_ in zip(parts, whole, strict=True)]
    counts, sums, exposures = (part.reshape(B * FOLDS, *part.shape[2:]) for part in left)
    exposures = exposures if exposures.any() else counts
    spent = counts <= SPENT * np.repeat(found.sums.counts, FOLDS, axis=0)
    statistics = ExpectedStatistics(
        np.where(spent, 0.0, counts), np.where(spent[..., None], 0.0, sums), np.zeros(B * FOLDS),
        np.where(spent, 0.0, exposures), repeated.family,
    )  # fmt: skip
    prior = options.prior
    if prior is not None:
        prior = prior.repeated(B * FOLDS)
        spent = spent & ~(prior.exposures > 0)
        prior = with_family(prior, shared(stack.family))
    how = {"prior": prior, "concentration": options.concentration, "weights": options.weights}
    try:
        after = estimate(statistics, repeated, **how, search=False)
    except ValueError:  # the family refuses what is left in every fold
        after, spent = repeated, np.ones_like(spent)
    held_out = np.tile(free.reshape(B, 1, K, p), (1, FOLDS, 1, 1)).reshape(repeated.natural.shape)
    gone = spent | ~np.isfinite(after.log_partition)
    natural = np.where(held_out & ~gone[..., None], after.natural, repeated.natural)
    return Mixture.unchecked(repeated.family, np.where(gone, 0.0, repeated.weights), natural)


def _in_groups(stack: Mixture, rows: ArrayRows) -> Any:
    """Return rows in groups by what is missing in them, with possible values in its place; as they are if none is."""
    return with_groups(stack.family, rows, functools.partial(_possible, stack, rows.X))


def _possible(stack: Mixture, X: Array) -> Array:
    """Return the first value of each column that is not missing, (d,): columns that go together are of one row.

    A column of which the sample has no value gets one that the first mixture may have.
    """
    first = X[np.argmax(~np.isnan(X), axis=0), np.arange(X.shape[1])]
    if (unseen := np.isnan(first)).any():
        first[unseen] = possible_row(stack[0].family, stack[0].natural)[unseen]
    return first


def _without_gaps(stack: Mixture, values: Array, X: Array) -> Array:
    """Return rows like those of X with possible values in place of missing ones."""
    return np.where(gaps, _possible(stack, X), values) if (gaps := np.isnan(values)).any() else values


def _weights_of(sample: Sample) -> Array:
    """Return Σ w of the rows of every stratum in a sample, a little rounded up."""
    stratum, _, weight, *_ = sample.columns.T
    total = np.bincount(stratum.astype(np.int64), weight, minlength=len(sample.totals)).astype(np.float64)
    return total * (1 + SPENT)


def _others(of_fold: Array) -> Array:
    """Return the sum over all folds but each, (B, V, ...), without subtractions."""
    return np.asarray(np.einsum("uv,bv...->bu...", 1 - np.eye(FOLDS), of_fold), np.float64)


# ---- gains ---------------------------------------------------------------------------------------------------------


def _gains(stack: Mixture, without: Mixture, dealt: Dealt) -> tuple[Array, Array]:
    """Return what each component adds to the rows, and to rows that it has not seen, (B, K)."""
    B, K = stack.weights.shape
    X, n_cells, inside = _cells(stack, dealt)
    sizes = np.diff(dealt.rows.starts) * n_cells
    offset = None if dealt.rows.offset is None else np.repeat(dealt.rows.offset, n_cells, axis=0)
    rows = _in_groups(stack, ArrayRows(X, None, dealt.rows.n_jobs, sizes, offset=offset))
    joint = functools.partial(_log_joint, rows=rows, shape=(-1, n_cells, K))
    own, rest = joint(stack[np.repeat(np.arange(B), FOLDS)])
    unseen, _ = joint(without)
    data = dealt.fold // FOLDS
    log_others = np.log(1 - stack.weights)[data]
    seen_gain = _gain(own[:, 0], rest[:, 0], log_others)
    unseen, rest = _mean(unseen, inside), _mean(rest, inside)
    weighted = dealt.stands_for[:, None] * np.concatenate([seen_gain, _gain(unseen, rest, log_others)], axis=1)
    total = np.zeros((B, 2 * K))
    np.add.at(total, data, weighted)
    return total[:, :K], total[:, K:]


def _log_joint(mixtures: Mixture, rows: ArrayRows, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return log π_k p_k(x) and log Σ_{j≠k} π_j p_j(x) of rows under the mixture of their fold."""
    found = evaluate(mixtures.family, mixtures.scores, rows, log_density=True, responsibilities=True, far=True)
    R = found.responsibilities
    own, rest = (found.log_density[:, None] + np.log(part) for part in (R, R @ (1 - np.eye(R.shape[1]))))
    return own.reshape(shape), rest.reshape(shape)


def _gain(own: Array, rest: Array, log_others: Array) -> Array:
    """Return log(own + rest) − log(rest/(1 − π)), 0 where nothing is possible."""
    gain = np.logaddexp(own, rest) - (rest - log_others)
    return np.minimum(np.where(np.isnan(gain), 0.0, gain), MOST)


def _mean(values: Array, inside: Mask) -> Array:
    """Return the logarithm of the mean density over the points of each cell that are possible, (m, c, K) -> (m, K)."""
    if values.shape[1] == 1:
        return values[:, 0]
    values = np.where(inside[..., None], values, -np.inf)
    top = np.maximum(values.max(axis=1), -np.finfo(float).max)
    total: Array = np.exp(values - top[:, None]).sum(axis=1)
    return top + np.log(total / inside.sum(axis=1)[:, None])


def _cells(stack: Mixture, dealt: Dealt) -> tuple[Block, int, Mask]:
    """Return rows and points of the cells they stand for, each row first, how many, and which are possible, (m, c)."""
    X, m = dealt.rows.X, len(dealt.rows)
    begins = np.searchsorted(dealt.fold // FOLDS, np.arange(len(stack.weights)))
    widths = None if isinstance(X, CSRBlock) else resolution(stack, X, begins)
    if widths is None or not widths.any():
        return X, 1, np.ones((m, 1), bool)
    d = X.shape[1]
    rng = np.random.default_rng(0)
    most = int(dealt.rank.max()) + 1
    place = np.argsort(rng.random((most, SHIFTS, d)), axis=1) + rng.random((most, SHIFTS, d))
    shift = (place / SHIFTS - 0.5)[dealt.rank] * widths[dealt.fold // FOLDS][:, None]
    points = np.concatenate([X[:, None], X[:, None] + shift.astype(X.dtype)], axis=1).reshape(-1, d)
    possible = checked.supports(stack.family, _without_gaps(stack, points, X)).reshape(m, 1 + SHIFTS)
    if not possible.all():
        points = np.where(possible.reshape(-1, 1), points, np.repeat(X, 1 + SHIFTS, axis=0))
    possible[:, 0] = ~possible[:, 1:].any(axis=1)
    return points, 1 + SHIFTS, possible


def resolution(stack: Mixture, X: Block, begins: Integers) -> Array:
    """Return the width of the cell that values of each column are rounded to, of each data set, (B, d); 0 if none.

    It is the smallest gap between two values, if no continuous column has so large a smallest gap, and if the family
    takes other values of the cell than the one recorded.
    """
    ends, (_, d) = [*begins[1:], len(X)], X.shape
    widths = np.zeros((len(begins), d))
    if X.dtype.kind != "f":
        return widths
    for data, (start, stop) in enumerate(zip(begins, ends, strict=True)):
        if stop - start < 2:
            continue
        values = np.sort(X[start:stop], axis=0).astype(np.float64)  # what is missing comes last
        n_seen = np.maximum((~np.isnan(values)).sum(axis=0), 1)
        span, middle = (values[at, np.arange(d)] for at in (n_seen - 1, n_seen // 2))
        span, gaps, size = span - values[0], np.diff(values, axis=0), np.abs(values)
        size = np.maximum(np.maximum(size[1:], size[:-1]), np.abs(middle))
        gap = np.where(gaps > FLOAT_GAP * np.finfo(X.dtype).eps * size, gaps, np.inf).min(axis=0)
        coarse = n_seen**2 * gap > ROUNDED_FROM * span
        widths[data] = np.where(coarse & np.isfinite(gap), gap, 0.0)
    probes = X[np.unique(np.linspace(0, len(X) - 1, PROBED_ROWS).astype(np.int64))]
    probes = _without_gaps(stack, probes, X)
    for j in np.flatnonzero(widths.any(axis=0)):
        step = 0.4 * widths[:, j].max() * (np.arange(X.shape[1]) == j)
        moved = ((probes + sign * step).astype(X.dtype) for sign in (1, -1))
        if not any(checked.supports(stack.family, rows).mean() >= 0.5 for rows in moved):
            widths[:, j] = 0.0
    return widths
