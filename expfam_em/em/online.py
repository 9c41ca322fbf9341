"""EM over rows that come in batches: stepwise EM of a stream, and incremental EM over blocks."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.options import Collapse, Options, Weights
from expfam_em.em.result import FitResult, Status
from expfam_em.em.state import gain_rounding, left_to_gain
from expfam_em.em.steps import collapse, estimate, expected_gain, expected_statistics, kept, log_prior, with_family
from expfam_em.em.steps import with_missing as in_groups
from expfam_em.estep.plan import Pass, plan
from expfam_em.estep.reduce import check_support
from expfam_em.family.optional import shared
from expfam_em.rows.memory import ArrayRows, as_rows, count
from expfam_em.rows.protocol import Rows
from expfam_em.rows.threads import cached_property, undisturbed
from expfam_em.rows.typing import Observations
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

LATE = 2
"""Power of t by which the statistics after step t are weighted in their average: its mean is at 3/4 of the stream."""

SHARE_ROUNDED = 1e-9
"""By how much numbers of batches, of which pieces are shares, may miss a whole number."""


@dataclass(frozen=True)
class StepSize:
    """How much each batch of a stream counts: γ_t = (t + t0)^−κ for the t-th one.

    Parameters
    ----------
    kappa : float in [0, 1]
        κ. Larger values forget less, and leave a bad start later. From above 1/2 on, the estimates converge.
    t0 : float ≥ 0
        Batches that the first one counts as if they had come before it.
    warm_up : int ≥ 1
        Batches whose statistics are added up before the first M-step.
    batch_size : int ≥ 1
        Rows of a batch. A piece of m rows counts 1 − (1 − γ)^(m/batch_size).
    memory : float, optional
        Rows after which rows are forgotten, at least two batches: the mean age of what the estimates are made of does
        not grow beyond it. By default nothing is forgotten.

    Raises
    ------
    ValueError
        If a value is out of range.
    TypeError
        If ``warm_up`` or ``batch_size`` is no whole number.
    """

    kappa: float = 0.6
    t0: float = 2.0
    warm_up: int = 20
    batch_size: int = 1000
    memory: float | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.kappa <= 1 and 0 <= self.t0 < np.inf):
            raise ValueError(f"kappa is {self.kappa!r} and t0 {self.t0!r}; they must lie in [0, 1], and be ≥ 0")
        if not (operator.index(self.warm_up) >= 1 and operator.index(self.batch_size) >= 1):
            raise ValueError(f"warm_up is {self.warm_up!r} and batch_size {self.batch_size!r}; both must be at least 1")
        if self.memory is not None and not self.memory >= 2 * self.batch_size:
            raise ValueError(
                f"memory is {self.memory!r}; it must be None, or at least two batches, {2 * self.batch_size} rows"
            )

    @property
    def least(self) -> float:
        """Share of a batch that steps do not fall below; 0 if nothing is forgotten.

        Statistics and their average are each 1/least batches old, together ``memory`` rows.
        """
        return 0.0 if self.memory is None else 2 * self.batch_size / self.memory

    def of_batch(self, t: float) -> float:
        """Return γ_t, how much a whole batch counts in the statistics."""
        return min(1.0, max((t + self.t0) ** -self.kappa, self.least))

    def of_average(self, t: float) -> float:
        """Return how much the statistics after a whole batch count in their average, whose weights are ∝ t²."""
        return min(1.0, max((LATE + 1) / (t + LATE), self.least))


def checked_step(step: StepSize | None) -> StepSize | None:
    """Return a step size, or None, once it is one."""
    if step is not None and not isinstance(step, StepSize):
        raise TypeError(f"step is {step!r}; it must be a StepSize, such as StepSize(kappa=0.6), or None")
    return step


def part(whole: float, share: float) -> float:
    """Return how much a share of a batch counts: as many shares as make it whole leave of the past what it leaves."""
    return -np.expm1(share * np.log1p(-whole)) if whole < 1 else 1.0


@dataclass(frozen=True, eq=False)
class Stream:
    """Where EM over a stream of rows stands: s ← (1 − γ_t) s + γ_t E[T | batch t] (Cappé and Moulines 2009).

    Each batch is an E-step under the mixture that the batches before have led to. What is fitted, `mixture`, is the
    M-step of the average of s, in which later s count more (Polyak and Juditsky 1992).

    Attributes
    ----------
    running : Mixture
        The mixture under which the next batch is looked at.
    step : StepSize
        How much each batch counts.
    options : Options
        Temperature, prior, concentration, weights and collapse.
    statistics, average : ExpectedStatistics, optional
        s and its average, per row.
    n_rows : float
        Rows so far; of weight 0 they do not count.
    n_kept : float
        Rows that are not forgotten.
    """

    running: Mixture
    step: StepSize
    options: Options
    statistics: ExpectedStatistics | None = None
    average: ExpectedStatistics | None = None
    n_rows: float = 0.0
    n_kept: float = 0.0

    @classmethod
    def of(
        cls,
        mixture: Mixture,
        step: StepSize | None = None,
        *,
        temperature: float = 1.0,
        prior: ExpectedStatistics | None = None,
        concentration: ArrayLike = 1.0,
        weights: Weights = "free",
        collapse: Collapse = "error",
    ) -> Stream:
        """Return a stream that begins at a mixture, without rows.

        Parameters
        ----------
        mixture : Mixture
            Its family should be bound to some first rows.
        step : StepSize, optional
        temperature : float ≥ 0
        prior, concentration, weights
            See `maximize`.
        collapse : {"error", "keep"}
            What becomes of a component that collapses: an error, or it stays as it was.

        Raises
        ------
        ValueError
            If an argument is out of range, or ``mixture`` is a stack of several.
        TypeError
            If ``mixture`` is no Mixture, or ``step`` no StepSize.
        """
        if not isinstance(mixture, Mixture):
            raise TypeError(f"mixture is {mixture!r}; it must be a Mixture")
        if mixture.weights.ndim != 1:
            raise ValueError(f"mixture is a stack of {len(mixture.weights)} mixtures; it must be one")
        how = checked_collapse(collapse)
        options = Options(0, 0.0, temperature, prior, concentration, weights, collapse=how)
        return cls(mixture, checked_step(step) or StepSize(), options)

    @cached_property
    def mixture(self) -> Mixture:
        """The fitted mixture; the one it began with before the first M-step."""
        if self.average is None:
            return self.running
        return _maximum(self.average * self.n_kept, self.running, self.options)

    @property
    def mean_bound(self) -> float:
        """Mean bound of rows, per unit of weight, before they were learnt from; averaged as the statistics are."""
        about = self.statistics if self.average is None else self.average
        return np.nan if about is None else float(about.bound / about.counts.sum())

    @undisturbed
    def after(self, X: Observations, sample_weight: ArrayLike | None = None, *, n_jobs: int | None = None) -> Stream:
        """Return the stream after more rows, which are cut into batches.

        Parameters
        ----------
        X : (n, d) array or sparse matrix
            Rows.
        sample_weight : (n,), optional
            What rows count in the statistics. The size of a step comes from the number of rows of positive weight.
        n_jobs : int, optional
            Threads; all cores if None. The result does not depend on it.

        Raises
        ------
        ValueError
            If a row is outside the family's support, or a component collapses.
        """
        rows = as_rows(X, sample_weight, n_jobs)
        block, weight, stream = rows.X, rows.sample_weight, self
        if weight is not None and not weight.all():
            block, weight = block[weight > 0], weight[weight > 0]
        check_support(self.running.family, in_groups(self.running, ArrayRows(block, weight, n_jobs)))
        for first in range(0, len(block), self.step.batch_size):
            piece = slice(first, first + self.step.batch_size)
            batch = ArrayRows(block[piece], None if weight is None else weight[piece], n_jobs)
            family = stream.running.family
            stream = advanced(stream, plan(family, in_groups(stream.running, batch), once=True))
        return stream


def advanced(stream: Stream, pass_: Any) -> Stream:
    """Return a stream after the pass over a batch, or a part of one: rows that are possible, of positive weights."""
    step, before, size = stream.step, stream.running, float(count(pass_.rows))
    share, done, n_rows = size / step.batch_size, stream.n_rows / step.batch_size, stream.n_rows + size
    t, warm = done + share - step.warm_up, done < step.warm_up - SHARE_ROUNDED
    temperature = stream.options.temperature_at(int(done + SHARE_ROUNDED))
    s = expected_statistics(pass_, before, temperature) * (1 / size)
    if stream.statistics is not None:
        s = _mixed(s, stream.statistics, size / n_rows if warm else part(step.of_batch(t), share))
    n_kept = float(stream.n_kept * (1 - part(step.least, share)) + size)
    if t < -SHARE_ROUNDED:
        return replace(stream, statistics=s, n_rows=n_rows, n_kept=n_kept)
    after = _maximum(s * n_kept, before, stream.options).reframed(s.expectation)
    s = s.in_coordinates_of(after.family)
    rho = part(step.of_average(max(t, 1.0)), share)
    average = s if stream.average is None else _mixed(s, stream.average, rho)
    return replace(stream, running=after, statistics=s, average=average, n_rows=n_rows, n_kept=n_kept)


def _mixed(new: ExpectedStatistics, old: ExpectedStatistics, share: float) -> ExpectedStatistics:
    """Return (1 − share) · old + share · new in the coordinates of the new ones, which suit the rows to come."""
    return new * share + old * (1 - share)


def _maximum(statistics: ExpectedStatistics, before: Mixture, options: Options) -> Mixture:
    """Return the M-step; components that collapse stay as they were if the options say so."""
    statistics = statistics.in_coordinates_of(before.family)
    prior = with_family(options.prior, before.family)
    found = estimate(
        statistics, before, prior=prior, concentration=options.concentration, weights=options.weights, search=False
    )
    outside = ~np.isfinite(found.log_partition)
    if outside.any() and options.collapse == "keep":
        found = kept(before[None], found[None], outside[None])[0]
        outside = ~np.isfinite(found.log_partition)
    if outside.any():
        raise collapse(before, statistics, outside)
    return found


# ---- the same rows again and again ----------------------------------------------------------------------------------


@undisturbed
def fit_incremental(
    mixture: Mixture,
    blocks: Sequence[Observations | Rows],
    sample_weight: Sequence[ArrayLike | None] | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-8,
    temperature: float = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration: ArrayLike = 1.0,
    weights: Weights = "free",
    collapse: Collapse = "error",
    n_jobs: int | None = None,
) -> FitResult:
    """Run incremental EM: an M-step after the E-step of each block of rows (Neal and Hinton 1998).

    The statistics of the other blocks are those of their last visits. So a pass over all rows gains more than a step of
    EM does, and the fit ends where EM does.

    Parameters
    ----------
    mixture : Mixture
        Where to start; its family should be bound to the rows.
    blocks : sequence of (n, d) arrays, sparse matrices or rows
        Some ten blocks of a thousand rows or more; they should not differ in kind.
    sample_weight : sequence of (n,), optional
        Row weights of each block; None for one without.
    max_iter : int ≥ 0
        Passes over all blocks.
    tol : float ≥ 0
        What is left to gain of the bound plus log-prior, per unit of row weight; 0 makes exactly max_iter passes.
    temperature : float ≥ 0
        1 is EM, 0 hard assignment.
    prior, concentration, weights
        See `maximize`.
    collapse : {"error", "keep"}
        What becomes of a component that collapses: the fit ends, or the component stays as it was.
    n_jobs : int, optional
        Threads; all cores if None. The result does not depend on it.

    Returns
    -------
    FitResult
        Its bounds, one for each pass, hold for responsibilities that are each as old as the last visit of their block:
        they never fall, are never above the bound of `fit`, and meet it where the fit ends.

    Raises
    ------
    ValueError
        If a row is outside the family's support, a component collapses, or an argument is out of range.
    """
    options = Options(max_iter, tol, temperature, prior, concentration, weights, collapse=checked_collapse(collapse))
    passes = _passes(mixture, blocks, sample_weight, n_jobs)
    visits = [Visit(expected_statistics(each, mixture, temperature), mixture) for each in passes]
    bounds, priors = [_bound(visits, mixture)], [float(_log_prior(mixture, options))]
    total, status = float(sum(each.rows.total_weights[0] for each in passes)), Status.MAX_ITER
    gains = np.full((1, 3), np.inf)
    for _ in range(max_iter):
        mixture = _swept(passes, visits, mixture, options)
        bounds.append(_bound(visits, mixture))
        priors.append(float(_log_prior(mixture, options)))
        gains = np.column_stack([bounds[-1] + priors[-1] - bounds[-2] - priors[-2], gains[:, :-1]])
        left = left_to_gain(gains, gain_rounding(abs(bounds[-1]) + abs(priors[-1])))
        if np.maximum(np.abs(gains[:, 0]), left)[0] < tol * total:
            status = Status.CONVERGED
            break
    found = np.array(bounds)
    return FitResult(mixture, found, found[1:], np.array(priors), status, len(found) - 1, total)


@dataclass(frozen=True)
class Visit:
    """Statistics of a block, and the mixture under which they were found."""

    statistics: ExpectedStatistics
    mixture: Mixture


def checked_collapse(collapse: Collapse) -> Collapse:
    """Return what becomes of components that collapse, where a fit cannot begin again."""
    if collapse not in ("error", "keep"):
        raise ValueError(
            f"collapse is {collapse!r}, for which all rows would have to be seen again: give 'error' or 'keep'"
        )
    return collapse


def _passes(
    mixture: Mixture, blocks: Any, sample_weight: Sequence[ArrayLike | None] | None, n_jobs: int | None
) -> list[Pass]:  # fmt: skip
    """Return the passes over blocks, whose rows are possible."""
    blocks = list(blocks)
    given = [None] * len(blocks) if sample_weight is None else list(sample_weight)
    if not blocks or len(given) != len(blocks):
        raise ValueError(
            f"there are {len(blocks)} blocks and weights of {len(given)}: give at least one, and each its own"
        )
    passes = []
    for block, weight in zip(blocks, given, strict=True):
        rows = in_groups(mixture, as_rows(block, weight, n_jobs))
        check_support(mixture.family, rows)
        passes.append(plan(mixture.family, rows, mixture.n_components))
    return passes


def _swept(passes: list[Pass], visits: list[Visit], mixture: Mixture, options: Options) -> Mixture:
    """Return the mixture after a visit of every block; nothing is subtracted, so that no digits are lost."""
    waiting: list[ExpectedStatistics | None] = [None]  # sums over the blocks from one to the last
    for visit in reversed(visits[1:]):
        waiting.append(visit.statistics if waiting[-1] is None else visit.statistics + waiting[-1])
    seen = None
    for at, each in enumerate(passes):
        here = expected_statistics(each, mixture, options.temperature_at(0))
        visits[at] = Visit(here, mixture)
        seen, rest = here if seen is None else here + seen, waiting.pop()
        full = seen if rest is None else seen + rest
        mixture = _maximum(full, mixture, options).reframed(full.expectation)
    return mixture


def _bound(visits: list[Visit], mixture: Mixture) -> float:
    """Return Σ of the bounds of blocks at a mixture, with the responsibilities of their last visits."""
    found = 0.0
    for visit in visits:
        there = mixture.in_family(visit.mixture.family)
        found += float(visit.statistics.bound) + float(expected_gain(visit.statistics, visit.mixture, there))
    return found


def _log_prior(mixture: Mixture, options: Options) -> Any:
    return log_prior(mixture, with_family(options.prior, shared(mixture.family)), options.concentration)
