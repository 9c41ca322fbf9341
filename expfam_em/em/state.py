"""Where runs of EM stand, as a value, and the step from one state to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.steps import (
    collapse,
    estimate_refined,
    expected_gain,
    expected_statistics,
    kept,
    log_prior,
    no_bound,
    projected,
    too_flat,
    with_family,
)
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import flat, score_rounding, shared, stacked, translate_expectation
from expfam_em.rows.threads import cached_property
from expfam_em.rows.typing import Array, Integers, Mask
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

TRACE_BLOCK = 256
"""Steps of which a trace is kept in one array, so that one more step does not copy those before."""

TOLD = 1e-6
"""Fall of the bound, as a share of its size and of the row weight, that is never taken for rounding without a word."""

GAIN_ULPS = 64
"""Ulps of the bound up to which a gain may be rounding alone."""


class Trace(NamedTuple):
    """The bounds, the bounds after the M-step and the log-priors of all B runs at every step.

    A value: what was recorded up to a step stays as it is, whichever way the runs take from there.

    Attributes
    ----------
    full : tuple of (TRACE_BLOCK, 3, B) arrays
        Blocks of steps.
    recent : tuple of (3, B) arrays
        The steps since.
    """

    full: tuple[np.ndarray, ...] = ()
    recent: tuple[np.ndarray, ...] = ()

    def with_step(self, numbers: np.ndarray) -> Trace:
        """Return the trace with one more step."""
        recent = (*self.recent, numbers)
        return Trace(self.full, recent) if len(recent) < TRACE_BLOCK else Trace((*self.full, np.array(recent)))

    def of(self, run: int) -> np.ndarray:
        """Return the numbers of one run, (3, n_iter + 1)."""
        recent = np.array([numbers[:, run] for numbers in self.recent]).reshape(-1, 3)
        return np.concatenate([*(block[:, :, run] for block in self.full), recent]).T


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same through all steps of a fit.

    Attributes
    ----------
    pass_ : Pass
        Of the family over the rows.
    data_set : (B,) int
        Data set of each run.
    options : Options
    """

    pass_: Any
    data_set: np.ndarray
    options: Options

    @cached_property
    def prior(self) -> ExpectedStatistics | None:
        """The prior of every run, a stack that says in which coordinates it is."""
        prior = self.options.prior
        if prior is not None and prior.counts.ndim == 1:
            prior = prior.repeated(len(self.data_set))
        return with_family(prior, shared(self.pass_.family))

    def prior_of(self, run: Any) -> ExpectedStatistics | None:
        """Return the prior of some runs."""
        return None if self.prior is None else self.prior[run]

    @cached_property
    def _totals(self) -> np.ndarray:
        return np.asarray(self.pass_.rows.total_weights[self.data_set])

    def totals(self, run: Any) -> np.ndarray:
        """Return the row weight of the data set of some runs, (L,)."""
        return np.asarray(self._totals[run])

    def accumulate(self, mixture: Mixture, run: Any, temperature: float) -> ExpectedStatistics:
        """Return the expected statistics of some runs: their E-step."""
        return expected_statistics(self.pass_, mixture, temperature, self.data_set[run])

    def log_prior(self, mixture: Mixture, run: Any) -> np.ndarray:
        """Return the log-prior of some runs, (L,)."""
        return log_prior(mixture, self.prior_of(run), self.options.concentration)


class State(NamedTuple):
    """The runs that go on, L of B, and the results of those that have ended.

    Attributes
    ----------
    run : (L,) int
        Their places among all B runs.
    mixture : Mixture
        A stack of theirs.
    statistics : ExpectedStatistics
        Under these mixtures, at this temperature.
    bounds, log_priors : (L,)
        Bound and log-prior of these mixtures.
    half_bounds : (L,)
        Bound after the last M-step, with the responsibilities of before; NaN at the start.
    gains : (L, 3)
        What the last three steps have gained, the last one first.
    best : (L,)
        Highest bound plus log-prior so far.
    done, fell : (L,) bool
        Whether the last step reached ``tol``, and whether it lowered the bound by more than rounding.
    temperature : float
    n_iter : int
        Steps made.
    trace : Trace
    lead : (D,)
        Highest bound plus log-prior of all runs on each data set, after the first step.
    results : tuple of FitResult, CollapsedError or None
        One for each of the B runs; None for a run that goes on.
    memory : optional
        What an acceleration keeps of earlier steps; ``memory[which]`` is that of some runs.
    """

    run: np.ndarray
    mixture: Mixture
    statistics: ExpectedStatistics
    bounds: np.ndarray
    log_priors: np.ndarray
    half_bounds: np.ndarray
    gains: np.ndarray
    best: np.ndarray
    done: np.ndarray
    fell: np.ndarray
    temperature: float
    n_iter: int
    trace: Trace
    lead: np.ndarray
    results: tuple[FitResult | CollapsedError | None, ...]
    memory: Any = None

    @property
    def mean_bounds(self) -> np.ndarray:
        """Bound per unit of row weight, (L,)."""
        return self.bounds / self.statistics.counts.sum(axis=1)

    def frozen(self) -> State:
        """Return the state, in which no array can be written to any more."""
        own = [getattr(self, name) for name in PER_RUN if name not in ("mixture", "statistics")]
        statistics = self.statistics
        for array in (*own, statistics.counts, statistics.sums, statistics.bound, statistics.exposures, self.lead):
            array.flags.writeable = False
        return self

    def take(self, which: Any) -> State:
        """Return the state of some of the runs, by a mask or an index array."""
        if np.asarray(which).dtype == np.bool_ and which.all():
            return self
        memory = None if self.memory is None else self.memory[which]
        return self._replace(memory=memory, **{name: getattr(self, name)[which] for name in PER_RUN})

    def with_results(self, found: Mapping[int, FitResult | CollapsedError]) -> State:
        """Return the state without some runs, which have ended with these results."""
        results = list(self.results)
        for run, result in found.items():
            results[run] = result
        return self.take(~np.isin(self.run, list(found)))._replace(results=tuple(results))


PER_RUN = State._fields[: State._fields.index("temperature")]
"""The fields of a state that have an entry for each run that goes on."""


def begin(problem: Problem, start: Mixture) -> State:
    """Return the state of runs that begin at a stack of mixtures: their first E-step."""
    options, B = problem.options, len(start.weights)
    _check_concentration(options.concentration, start.n_components)
    if options.weights == "equal":
        start = Mixture(start.family, np.full(start.weights.shape, 1 / start.n_components), start.natural)
    run, mixture, temperature = np.arange(B), into_model(start.reframed()), options.temperature_at(0)
    statistics, bounds, log_priors = _evaluated(problem, mixture, run, temperature)
    state = State(
        run, mixture, statistics, bounds, log_priors, half_bounds=np.full(B, np.nan), gains=np.full((B, 3), np.inf),
        best=bounds + log_priors, done=np.zeros(B, bool), fell=np.zeros(B, bool), temperature=temperature, n_iter=0,
        trace=Trace(), lead=np.full(problem.pass_.rows.n_data, -np.inf), results=(None,) * B,
    )  # fmt: skip
    return recorded(problem, state)


def into_model(mixture: Mixture) -> Mixture:
    """Return a stack with its components under the constraints of their family: the M-step of what they expect."""
    if not mixture.family._constraints():
        return mixture
    inside = projected(mixture, np.ones(len(mixture.weights)))
    fine = np.asarray(np.isfinite(inside.log_partition).all(axis=1))
    return chosen(fine, inside, mixture)


def em_step(problem: Problem, state: State) -> State:
    """Return the state after an M-step and an E-step of every run."""
    state, after = improve(problem, state)
    return move(problem, state, after) if len(state.run) else state


def improve(problem: Problem, state: State) -> tuple[State, Mixture]:
    """Return the runs that do not collapse in the M-step, in the frames it was made in, and their new mixtures."""
    options, run, temperature = problem.options, state.run, state.temperature
    statistics, before, after = estimate_refined(
        state.statistics, state.mixture, lambda mixture: problem.accumulate(mixture, run, temperature),
        prior=problem.prior_of(run), concentration=options.concentration, weights=options.weights, search=False,
    )  # fmt: skip
    state, inside = state._replace(mixture=before, statistics=statistics), np.isfinite(after.log_partition)
    if not inside.all() and options.collapse == "keep":
        after = kept(before, after, ~inside)
        inside = np.isfinite(after.log_partition)
    if inside.all():
        return state, after
    outside, lost = ~inside, ~inside.all(axis=1)
    errors = {int(run[at]): collapse(before[int(at)], statistics[int(at)], outside[at]) for at in np.flatnonzero(lost)}
    return state.with_results(errors), after[~lost]


def move(
    problem: Problem, state: State, after: Mixture, reframe: Mask | None = None, left: Array | None = None
) -> State:
    """Return the state after every run has gone to another mixture, in frames that suit it: the E-step there.

    No run ends here: ``fell`` says where the bound is lower than rounding allows, ``gains`` what was gained.

    Parameters
    ----------
    problem : Problem
    state : State
        As `improve` returns it.
    after : Mixture
        A stack in the frames of ``state.mixture``: the M-step, or what an acceleration makes of it.
    reframe : (L,) bool, optional
        Runs whose components are given frames that suit them; the others keep those they have. All by default.
    left : (L,), optional
        What was left to gain before the step. By default, and where it is NaN, that is estimated from what the last
        steps have gained.
    """
    run, was, before = state.run, state.temperature, state.mixture
    half_bounds = state.statistics.bound + expected_gain(state.statistics, before, after)
    prior = problem.prior_of(run)
    near = state.statistics if prior is None else state.statistics + prior
    mixture, temperature = after, problem.options.temperature_at(state.n_iter + 1)
    if reframe is None or reframe.any():
        mixture = after.reframed(near.expectation)
        mixture = mixture if reframe is None or reframe.all() else chosen(reframe, mixture, after)
    statistics, bounds, log_priors = _evaluated(problem, mixture, run, temperature)
    gain, size = bounds + log_priors - state.bounds - state.log_priors, np.abs(bounds) + np.abs(log_priors)
    gains = np.empty_like(state.gains)
    gains[:, 0], gains[:, 1:] = gain, state.gains[:, :-1]
    settled = temperature == was and state.n_iter + 2 >= len(problem.options.schedule)
    return State(
        run, mixture, statistics, bounds, log_priors, half_bounds,
        gains=gains, best=np.maximum(state.best, bounds + log_priors),
        done=_done(problem, run, gains, left, size, before, after) if settled else np.zeros(len(run), bool),
        fell=_fallen(problem, gain, temperature == was, near, before, after),
        temperature=temperature, n_iter=state.n_iter + 1, trace=state.trace, lead=state.lead, results=state.results,
        memory=state.memory,
    )  # fmt: skip


def either(which: Mask, one: State, other: State) -> State:
    """Return the state in which some runs, a mask (L,), are as in one state, and the rest as in another one.

    What does not belong to single runs is that of the other.
    """

    def pick(name: str) -> Array:
        mine, its = getattr(one, name), getattr(other, name)
        return np.where(which.reshape(-1, *[1] * (its.ndim - 1)), mine, its)

    picked: dict[str, Any] = {name: pick(name) for name in PER_RUN if name not in ("mixture", "statistics")}
    statistics = ExpectedStatistics.concatenate([one.statistics, other.statistics])[_places(which)]
    return other._replace(mixture=chosen(which, one.mixture, other.mixture), statistics=statistics, **picked)


def put(which: Mask, some: State, state: State) -> State:
    """Return the state in which some runs, a mask (L,), are as in a state of them alone.

    An acceleration forgets what it knows of those that have another bound there.
    """
    found = either(which, some.take(np.maximum(np.cumsum(which) - 1, 0)), state)
    if state.memory is None:
        return found
    return found._replace(memory=state.memory.forgotten(found.bounds != state.bounds))


def chosen(which: Mask, one: Mixture, other: Mixture) -> Mixture:
    """Return a stack that takes some runs, a mask (L,), from one stack and the rest from another."""
    joined, places = (one, other), _places(which)
    weights, natural, partition = (
        np.concatenate([getattr(stack, name) for stack in joined]) for name in ("weights", "natural", "log_partition")
    )
    family = stacked([stack.family for stack in joined], one.weights.size)
    return Mixture.unchecked(family, weights, natural, log_partition=partition)[places]


def _places(which: Mask) -> Integers:
    """Return the places, in two stacks one after the other, of the runs of the first in a mask, else of the second."""
    return np.where(which, 0, len(which)) + np.arange(len(which))


def end(problem: Problem, state: State, which: np.ndarray, status: Status, fall: Any = 0.0) -> State:
    """Return the state after some runs, a mask (L,), have ended where they stand."""
    if not which.any():
        return state
    falls = np.broadcast_to(fall, which.shape)
    found = {int(state.run[at]): _result(problem, state, int(at), status, falls[at]) for at in np.flatnonzero(which)}
    return state.with_results(found)


def end_fallen(problem: Problem, before: State, after: State) -> State:
    """Return the state after a step without the runs whose bound fell in it: they end where they stood before."""
    if not after.fell.any():
        return after
    fallen = np.isin(before.run, after.run[after.fell])
    stood = before.take(fallen)
    ended = end(problem, stood, np.ones(fallen.sum(), bool), Status.BOUND_FELL, -after.gains[after.fell, 0])
    found = {int(run): ended.results[run] for run in after.run[after.fell]}
    thin = _thin(after.mixture)
    thin[after.fell] |= _thin(stood.mixture)  # a step from there may have lost all digits, and with them its flatness
    for at in np.flatnonzero(after.fell & thin.any(axis=1)):  # rounding, and no contradiction in the family
        found[int(after.run[at])] = too_flat(after.mixture.family, after.statistics[int(at)], thin[at])
    return after.with_results(found)


def _thin(mixture: Mixture) -> Mask:
    """Return which components of a stack are flat, (B, K)."""
    return flat(mixture.family, mixture.flat_natural).reshape(mixture.weights.shape)


def recorded(problem: Problem, state: State) -> State:
    """Return the state with its own bounds in the trace, and in the lead unless its bound fell."""
    numbers, lead, kept = np.full((3, len(state.results)), np.nan), state.lead, ~state.fell
    numbers[:, state.run] = state.bounds, state.half_bounds, state.log_priors
    if state.n_iter:
        lead = lead.copy()
        np.maximum.at(lead, problem.data_set[state.run[kept]], state.best[kept])
    return state._replace(trace=state.trace.with_step(numbers), lead=lead)


def _result(problem: Problem, state: State, at: int, status: Status, fall: float) -> FitResult:
    """Return the result of a run, by its place in the state, that ends where it stands."""
    bounds, half_bounds, log_priors = state.trace.of(int(state.run[at]))
    total = float(problem.totals(state.run[at]))
    return FitResult(
        state.mixture[at], bounds, half_bounds[1:], log_priors, status, state.n_iter, total, float(fall)
    )  # fmt: skip


def _evaluated(
    problem: Problem, mixture: Mixture, run: Integers, temperature: float
) -> tuple[ExpectedStatistics, np.ndarray, np.ndarray]:
    """Return the statistics, the bounds and the log-priors of runs at a stack of mixtures: the E-step."""
    statistics = problem.accumulate(mixture, run, temperature)
    return statistics, _numbers(statistics, mixture, problem), problem.log_prior(mixture, run)


def _check_concentration(concentration: ArrayLike, n_components: int) -> None:
    """Raise a ValueError unless the Dirichlet parameter is one positive number, or one for each component."""
    alpha = np.asarray(concentration, np.float64)
    if alpha.shape not in ((), (n_components,)) or not np.all(alpha > 0):
        raise ValueError(
            f"concentration is {concentration!r}; it must be a positive number or {n_components} of them, one for "
            "each component"
        )


def _fallen(
    problem: Problem, gain: Array, same_temperature: bool, statistics: ExpectedStatistics, before: Mixture,
    after: Mixture,
) -> Mask:  # fmt: skip
    """Return which bounds have fallen by more than rounding, though nothing but the parameters has changed, (L,)."""
    fell = np.asarray(gain < 0)
    if not fell.any():  # as it is nearly always
        return fell
    if before.family.regularized or not same_temperature:
        return np.zeros_like(fell)
    if np.any(np.asarray(problem.options.concentration) != 1):  # a weight that becomes 0 leaves the log-prior
        fell = fell & np.all((after.weights > 0) == (before.weights > 0), axis=1)
    return fell & (gain < -_rounding(statistics, before))


def _done(
    problem: Problem, run: Integers, gains: Array, left: Array | None, size: Array, before: Mixture, after: Mixture
) -> Mask:  # fmt: skip
    """Return which runs have reached tol, (L,), whose bounds and log-priors are of a size (L,)."""
    options, gained = problem.options, np.abs(gains[:, 0])
    if options.stop == "parameters":
        return _distance(before, after, shared(before.family)) <= options.tol
    least = options.tol * problem.totals(run)
    if options.stop == "maximum" and np.any(gained < least):
        of_gains = left_to_gain(gains, gain_rounding(size))
        gained = np.maximum(gained, of_gains if left is None else np.where(np.isnan(left), of_gains, left))
    return gained < least


def gain_rounding(size: Array | float) -> Array:
    """Return up to which size gains may be rounding alone, given that of bound and log-prior."""
    return np.asarray(GAIN_ULPS * np.finfo(float).eps * size)


def left_to_gain(gains: Array, rounding: Array | float = 0.0) -> Array:
    """Return what EM has left to gain, (L,), of the gains of its last three steps, (L, 3); ∞ as long as they grow.

    Near a maximum each step gains ρ times what the last one has, so that the rest is g ρ/(1 − ρ) (Aitken 1926). Of the
    two ratios the greater one counts: at first a fit gains fast along some directions, and slow ones do not show. Gains
    up to ``rounding`` (L,) count as none, for they may have any sign and any order; but not where they grow steadily,
    as those of a fit that leaves a saddle do.
    """
    sizes = np.abs(gains)
    grows = (gains[:, 0] > gains[:, 1]) & (gains[:, 1] > gains[:, 2]) & (gains[:, 2] > 0)
    sizes = np.where((sizes <= np.reshape(rounding, (-1, 1))) & ~grows[:, None], 0.0, sizes)
    with np.errstate(all="ignore"):
        rate = np.nan_to_num(sizes[:, :2] / sizes[:, 1:], nan=0.0).max(axis=1)
        return np.where((rate < 1) & np.isfinite(sizes[:, 1]), sizes[:, 0] * rate / (1 - rate), np.inf)


def _distance(before: Mixture, after: Mixture, base: ExponentialFamily) -> Array:
    """Return the norm of the change; ½ Σ Δπ² is Δπ₁² for two components, whose weights are one free parameter."""
    shape = (-1, after.natural.shape[2])
    old, new = (translate_expectation(m.family, m.expectation.reshape(shape), base) for m in (before, after))
    moved = np.sum((new - old).reshape(after.natural.shape) ** 2, axis=(1, 2))
    return np.sqrt(0.5 * np.sum((after.weights - before.weights) ** 2, axis=1) + moved)


def _numbers(statistics: ExpectedStatistics, mixture: Mixture, problem: Problem) -> Array:
    """Return the bounds, −∞ for one that is not a number.

    Raises
    ------
    ValueError
        If none is.
    """
    bounds = np.asarray(statistics.bound)
    unknown = np.isnan(bounds)
    if not unknown.any():
        return bounds
    if unknown.all():
        if (thin := flat(mixture.family, mixture.flat_natural).reshape(mixture.weights.shape)[0]).any():
            raise too_flat(mixture.family, statistics[0], thin)
        raise no_bound(problem.pass_.family)
    return np.where(unknown, -np.inf, bounds)


def _rounding(statistics: ExpectedStatistics, mixture: Mixture) -> Array:
    """Return how far rounding may move the bound: the terms ⟨η, S⟩ cancel, and each carries its own error."""
    terms = np.abs(statistics.sums * mixture.natural).sum(axis=(-2, -1))
    terms += np.abs(statistics.exposures * mixture.log_partition).sum(axis=-1) + statistics.counts.sum(axis=-1)
    terms += statistics.counts.sum(axis=-1) * score_rounding(mixture.family)
    size = np.abs(statistics.bound)
    return np.minimum(1e-10 * size + 64 * np.finfo(float).eps * terms, TOLD * (size + statistics.counts.sum(axis=-1)))
