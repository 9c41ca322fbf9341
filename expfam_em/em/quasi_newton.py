"""Acceleration: a step of all runs that goes further than EM where their past steps tell that it will gain more.

L-BFGS on bound plus log-prior in θ = (log π, η). Its first estimate of the inverse curvature is EM's own: the step
f = θ′ − θ of EM is I⁻¹ g, where g is the gradient and I the information of the complete data (Louis 1982). Differences
of f are I⁻¹ y for differences y of g, so the recursion needs no matrix. As the information of the observed data is at
most I, the step of EM is never too long and needs no scaling.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
from scipy.special import softmax

from expfam_em.em.edges import at_ends
from expfam_em.em.state import Problem, State, chosen, either, em_step, improve, move
from expfam_em.em.steps import expected_gain, projected
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.frames import Frames
from expfam_em.family.optional import components, frames_of, is_coupled, is_incomplete
from expfam_em.kernels.recursion import two_loops
from expfam_em.rows.typing import Array, Integers, Mask
from expfam_em.values.mixture import Mixture

SLOW_RATIO = 0.3
"""Gain of a step, as a share of that of the step before, above which EM is slow; two in a row begin an acceleration."""

SMALL_GAIN = 4e-4
"""Gain of a step per unit of row weight below which an acceleration may begin: before, a run may go to any maximum."""

PAIRS = 10
"""Past steps that are remembered of each run."""

FEWEST_PAIRS = 3
MEMORY_ENTRIES = 1 << 24
"""Most numbers remembered of all runs together, unless `FEWEST_PAIRS` take more."""

CURVED = 1e-8
"""Least curvature along a step, as a share of that of the complete data; below it the curvature is rounding."""

SHORTENINGS = 5
"""How often a step that leaves the parameter space is halved before EM's own is taken instead."""

WAY_POINTS = 5
"""At how many points on the way to a quasi-Newton point A is looked at, both ends among them."""

LEAST_CONVEXITY = 1e-8
"""By how much rounding may make A less than convex there, as a share of A."""

LONGEST_PAUSE = 31
"""Most steps of EM that are made before a quasi-Newton step is tried again."""

DRIFT = 3.0
"""Divergence of a component from what it was when its coordinates were chosen, above which others are."""

ROUNDING = 1e-14
"""By how much a step may gain less than EM was certain to gain, as a share of the bound."""

UNDERESTIMATED = 5.0
"""How many times what its quadratic model says is left to gain may be."""


class Memory(NamedTuple):
    """What runs remember of their past, L of them, q = K + K p coordinates, m pairs, the newest first.

    Attributes
    ----------
    point, gradient, step : (L, q)
        θ, g and f before the last step.
    anchor : (L, K, p)
        Natural parameters when the coordinates of the components were chosen.
    begun : (L,) bool
        Whether EM has been slow, so that steps are accelerated since.
    moved : (L,) bool
        Whether the last step was kept, and was made since then.
    steps, gradients, em_steps : (L, m, q)
        Differences of θ, −g and −f between steps that were kept.
    curvature : (L, m)
        1/⟨step, gradient⟩ of a pair, 0 where there is none.
    pause, rest : (L,) int
        Steps of EM that were to be made after the last rejected step, and those of them that still are.
    """

    point: Array
    gradient: Array
    step: Array
    anchor: Array
    begun: Mask
    moved: Mask
    steps: Array
    gradients: Array
    em_steps: Array
    curvature: Array
    pause: Integers
    rest: Integers

    @classmethod
    def none(cls, point: Array, anchor: Array, n_runs: int) -> Memory:
        """Return the memory of L runs that have no past; all B runs share the room."""
        L, q = point.shape
        m = int(np.clip(MEMORY_ENTRIES // (3 * n_runs * q), FEWEST_PAIRS, PAIRS))
        nothing, pairs, none = np.zeros((L, q)), np.zeros((L, m, q)), np.zeros(L, bool)
        no_pause = np.zeros(L, np.int64)
        return cls(
            nothing, nothing, nothing, anchor, none, none, pairs, pairs, pairs, np.zeros((L, m)), no_pause, no_pause
        )

    def __getitem__(self, which: Any) -> Memory:  # type: ignore[override]  # runs, not fields
        return Memory(*(getattr(self, name)[which] for name in self._fields))

    def with_point(self, point: Array, gradient: Array, step: Array, ends: Mask | None) -> Memory:
        """Return the memory with the pair between the last point and this one, where it tells of curvature.

        A pair leaves out coordinates at an end of their range, a mask (L, q): their steps are rounding.

        ⟨s, y⟩ = ⟨s, I₀ s⟩ and ⟨y, I⁻¹ y⟩ for the information I₀ of the observed data: their ratio is the share of
        I that I₀ has along the step, in any coordinates.
        """
        s, y, e = point - self.point, self.gradient - gradient, self.step - step
        if ends is not None:
            s[ends] = y[ends] = e[ends] = 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number tells of no curvature
            product = np.sum(s * y, axis=1)
            told = self.moved & (product > 0) & (np.sum(y * e, axis=1) > CURVED * product)
        memory = self._replace(point=point, gradient=gradient, step=step)
        if not told.any():
            return memory
        inverse = 1 / np.where(told, product, 1.0)
        pairs = zip((s, y, e, inverse), (self.steps, self.gradients, self.em_steps, self.curvature), strict=True)
        steps, gradients, em_steps, curvature = (_pushed(new, old, told) for new, old in pairs)
        return memory._replace(steps=steps, gradients=gradients, em_steps=em_steps, curvature=curvature)

    def forgotten(self, which: Mask) -> Memory:
        """Return the memory of runs of which some, a mask (L,), have gone elsewhere since."""
        return self._replace(curvature=np.where(which[:, None], 0.0, self.curvature), moved=self.moved & ~which)

    def rested(self, tried: Mask, rejected: Mask) -> Memory:
        """Return the memory after a step: each rejected one doubles the pause, and one that is kept halves it."""
        pause = np.where(tried, self.pause // 2, self.pause)
        pause = np.where(rejected, np.minimum(2 * self.pause + 1, LONGEST_PAUSE), pause)
        return self._replace(pause=pause, rest=np.where(rejected, pause, np.maximum(self.rest - 1, 0)))

    def direction(self, ends: Mask | None) -> Array:
        """Return the quasi-Newton step, (L, q); that of EM in coordinates at an end of their range."""
        found = np.array(self.step)
        two_loops(
            self.steps, self.gradients, self.em_steps, self.curvature, np.array(self.gradient), found,
            np.empty(self.curvature.shape[1]),
        )  # fmt: skip
        return found if ends is None else np.where(ends, self.step, found)


def _along(step: Array, gradient: Array) -> Array:
    """Return what a step gains to first order, (L,); 0 where that is no number, as of rows of 1e150."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.sum(step * gradient, axis=1)
    return np.where(np.isnan(found), 0.0, found)


def _pushed(new: Array, old: Array, where: Mask) -> Array:
    """Return an array (L, m, ...) with one more entry in front, and without its last one, for some runs."""
    moved = np.concatenate([new[:, None], old[:, :-1]], axis=1)
    return np.where(where.reshape(-1, *[1] * (old.ndim - 1)), moved, old)


def quasi_newton_step(problem: Problem, state: State) -> State:
    """Return the state after one E-step of every run, at the quasi-Newton point or at that of EM.

    Steps are those of EM until EM is slow: a run that EM ends quickly costs no more, and where it goes at first is
    where EM goes. Then a run goes on from the quasi-Newton point only if it has gained as much as EM was certain to
    gain. Near the limit of a shape, where EM may not raise Q, it must not have lost. If not it is back where it was,
    without its memory, and its next steps are those of EM: twice as many as after the rejection before.
    """
    quick = state.memory is None and not _is_slow(problem, state).any()
    if quick or state.temperature == 0 or state.n_iter + 1 < len(problem.options.schedule):
        return em_step(problem, state)
    known, (state, after) = state, improve(problem, state)
    if not len(state.run):
        return state
    before, ends = state.mixture, _ends(state)
    memory = _remembered(problem, known, state, after, ends)
    half_bounds = state.bounds + expected_gain(state.statistics, before, after)
    direction = memory.direction(ends)
    promised, of_em = (_along(step, memory.gradient) for step in (direction, memory.step))
    used = memory.curvature.any(axis=1) & (memory.rest == 0) & (promised > of_em) & _same_support(before, after)
    trial, used = _trial(problem, state, after, memory, direction, used)
    left = UNDERESTIMATED / 2 * np.maximum(promised, of_em) * problem.totals(state.run)
    left = np.where(memory.begun, left, np.nan)
    moved = move(problem, state, trial, reframe=_needs_frames(after, memory), left=left)
    lost = _reframed(before, moved.mixture)
    certain = half_bounds + problem.log_prior(after, state.run)
    # where statistics go with the component, Q as A has it says nothing of the bound
    certain = np.maximum(certain, state.bounds + state.log_priors) - ROUNDING * np.abs(state.bounds)
    rejected = used & ~(moved.bounds + moved.log_priors >= certain)
    anchor = np.where(lost[:, None, None], moved.mixture.natural, memory.anchor)
    memory = memory._replace(moved=memory.begun & ~rejected, anchor=anchor).forgotten(rejected | lost)
    memory = memory.rested(used, rejected)
    moved = moved._replace(memory=memory, half_bounds=half_bounds)
    if not rejected.any():
        return moved
    none = np.zeros(len(rejected), bool)  # a run that is back where it was goes on
    return either(rejected, state._replace(done=none, fell=none, half_bounds=state.bounds), moved)


def _remembered(problem: Problem, known: State, state: State, after: Mixture, ends: Mask | None) -> Memory:
    """Return the memory with the step from the last point to where the runs stand now."""
    before, natural = state.mixture, state.mixture.natural
    point, alive = _point(before), before.weights > 0
    step = _point(after) - point
    memory = state.memory
    if memory is None:
        memory = Memory.none(point, natural, len(problem.data_set))
    else:
        was = known.mixture
        if len(state.run) < len(known.run):
            was = was[np.isin(known.run, state.run)]
        changed = _reframed(was, before)
        anchor = np.where(changed[:, None, None], natural, memory.anchor)
        memory = memory._replace(anchor=anchor).forgotten(changed)
    memory = memory._replace(begun=memory.begun | _is_slow(problem, state))
    return memory.with_point(point, _gradient(problem, state, alive), step, ends)


def _ends(state: State) -> Mask | None:
    """Return which coordinates are at an end of their range, (L, q); None if none is."""
    ends = at_ends(state.mixture, state.statistics)
    if ends is None or not ends.any():
        return None
    return np.concatenate([np.zeros(state.mixture.weights.shape, bool), ends.reshape(len(ends), -1)], axis=1)


def _is_slow(problem: Problem, state: State) -> Mask:
    """Return in which runs the last steps of EM have gained little, and hardly less from one to the next, (L,)."""
    gains = state.gains
    slow = (gains[:, :2] > SLOW_RATIO * np.maximum(gains[:, 1:], 0)).all(axis=1)
    return np.asarray(slow & (gains[:, 0] < SMALL_GAIN * problem.totals(state.run)))


def _point(mixture: Mixture) -> Array:
    """Return θ = (log π up to a constant, η) of every run, (L, q); 0 for the weight of a component that has none."""
    alive = mixture.weights > 0
    logs = np.where(alive, mixture.log_weights, 0.0)
    logs = np.where(alive, logs - logs.sum(axis=1, keepdims=True) / alive.sum(axis=1, keepdims=True), 0.0)
    return np.concatenate([logs, mixture.natural.reshape(len(logs), -1)], axis=1)


def _gradient(problem: Problem, state: State, alive: Mask) -> Array:
    """Return the gradient of bound plus log-prior per unit of row weight, (L, q).

    It is N_k + α_k − 1 − π_k Σ_j (N_j + α_j − 1) in log π_k and S_k + χ_k − (Σ r e + ν_k) ∇A(η_k) in η_k.
    """
    mixture, statistics, prior = state.mixture, state.statistics, problem.prior_of(state.run)
    full = statistics if prior is None else statistics + prior
    mass = np.where(alive, statistics.counts + (np.asarray(problem.options.concentration, np.float64) - 1), 0.0)
    of_weights = mass - mass.sum(axis=1, keepdims=True) * mixture.weights
    if problem.options.weights != "free":
        of_weights = np.zeros_like(of_weights)
    of_natural = full.sums - full.exposures[..., None] * mixture.expectation
    if (own := mixture.family._own_log_prior(mixture.flat_natural)) is not None:
        of_natural = of_natural + own[1].reshape(of_natural.shape)
    joined = np.concatenate([of_weights, of_natural.reshape(len(mass), -1)], axis=1)
    return joined / problem.totals(state.run)[:, None]


def _same_support(before: Mixture, after: Mixture) -> Mask:
    """Return in which runs no weight has become 0, (L,)."""
    return np.all((before.weights > 0) == (after.weights > 0), axis=1)


def _reframed(before: Mixture, after: Mixture) -> Mask:
    """Return in which runs a component has other coordinates than before, (L,)."""
    one, other = frames_of(before.family), frames_of(after.family)
    if one is other:
        return np.zeros(len(after.weights), bool)
    changed = cast(Frames, other).differ(one) if one is None else one.differ(other)
    return np.asarray(changed.reshape(after.weights.shape).any(axis=1))


def _needs_frames(after: Mixture, memory: Memory) -> Mask:
    """Return the runs whose components are to be given coordinates, (L,); that costs them their memory.

    They are those with a component far from what it was when it was given some, or without a memory to lose.
    """
    if frames_of(after.family) is None:
        return np.asarray(~memory.curvature.any(axis=1))
    anchor = memory.anchor.reshape(after.flat_natural.shape)
    with np.errstate(all="ignore"):
        far = after.family.divergence(after.flat_natural, anchor)
    return np.asarray(~memory.begun | ~(far.reshape(after.weights.shape) < DRIFT).all(axis=1))


def _on_the_way(family: ExponentialFamily, before: Mixture, natural: Array, which: Integers) -> tuple[Array, Mask]:
    """Return A at other natural parameters of some runs (m, K), and whether the way there is inside their space, (m,).

    A is finite and convex there. Where a family goes on with finite numbers beyond, as log |Γ| does beyond a pole, A
    has been higher on the way.
    """
    parts = np.linspace(0, 1, WAY_POINTS)[1:, None, None, None]
    of = np.arange(before.weights.size).reshape(before.weights.shape)[which]
    family, start, end = components(family, np.tile(of.ravel(), len(parts))), before.natural[which], natural[which]
    with np.errstate(all="ignore"):
        way = start + parts * (end - start)
        way[-1] = end
        partition = checked.log_partition(family, way.reshape(-1, way.shape[-1])).reshape(way.shape[:-1])
        values = np.concatenate([before.log_partition[which][None], partition])
        convex = np.diff(values, 2, axis=0) >= -LEAST_CONVEXITY * (1 + np.abs(values).max(axis=0))
    return partition[-1], np.asarray(convex.all(axis=(0, 2)) & np.isfinite(partition[-1]).all(axis=1))


def _trial(
    problem: Problem, state: State, after: Mixture, memory: Memory, direction: Array, used: Mask
) -> tuple[Mixture, Mask]:
    """Return the mixtures to go to, and which of them are at quasi-Newton points; the others are those of EM."""
    if not used.any():
        return after, used
    family, alive, shape = after.family, after.weights > 0, after.natural.shape
    length, free = used.astype(float), problem.options.weights == "free"
    theta, natural, partition = memory.point.copy(), after.natural.copy(), after.log_partition.copy()
    outside, at = used.copy(), np.flatnonzero(used)  # those whose way is still to be looked at
    for _ in range(SHORTENINGS):
        theta[at] = memory.point[at] + length[at, None] * direction[at]
        natural[at] = theta[at, shape[1] :].reshape(-1, *shape[1:])
        partition[at], stays = _on_the_way(family, state.mixture, natural, at)
        outside[at] = ~stays
        at = at[~stays]
        if not len(at):
            break
        length[at] /= 2
    used = used & ~outside
    weights = softmax(np.where(alive, theta[:, : shape[1]], -np.inf), axis=1) if free else after.weights
    natural[outside], partition[outside] = after.natural[outside], after.log_partition[outside]
    weights = np.where(used[:, None], weights, after.weights)
    trial = Mixture.unchecked(family, weights, natural, log_partition=partition)
    if not (used.any() and (is_coupled(family) or is_incomplete(family) or trial.edges)):
        return trial, used
    inside = projected(trial, problem.totals(state.run))
    used = used & np.isfinite(inside.log_partition).all(axis=1)
    return chosen(used, inside, after), used
