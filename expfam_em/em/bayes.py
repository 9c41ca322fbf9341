"""Variational Bayes: the step from a posterior of all parameters to a better one, in the loop of EM.

A posterior is q(π) Π_k q(η_k), with q(η_k) of the conjugate family. Its E-step is the kernel with E[η], E[A] and
E[log π] (Beal 2003); its M-step adds the statistics to (χ, ν). The bound of the log evidence is that of the kernel less
KL(q ‖ prior), which stands where the log-prior of EM stands.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, digamma, gammaln

from expfam_em.em.keeping import followed
from expfam_em.em.loop import run
from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError, FitResult
from expfam_em.em.state import Problem, State, move
from expfam_em.em.steps import collapse, of_all_rows
from expfam_em.em.watching import Callback
from expfam_em.estep.plan import Pass
from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.base import NATURAL_LIMIT, ExponentialFamily
from expfam_em.family.conjugate import Conjugate, conjugate_of
from expfam_em.family.optional import Framed, components, shared
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Mask
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

WeightsPrior = Literal["process", "dirichlet"]

ALIVE, MOST_MERGERS = 0.5, 5
"""Rows that a component must be expected to have to be merged, and mergers that are tried at a time."""

CUT_ROUNDING = 1e-9
"""By how much, as a share, η may be off the limit that it was cut to."""

# ---- mixing weights ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightsModel(ABC):
    """Prior of the mixing weights, and what follows from counts N_k, (…, K).

    Attributes
    ----------
    concentration : float or (K,)
        α.
    ordered : bool
        Whether it matters which component comes first.
    """

    concentration: ArrayLike
    ordered: ClassVar[bool] = False

    @abstractmethod
    def parameters(self, counts: Array) -> tuple[Array, ...]:
        """Return the parameters of the posterior, each (…, K)."""

    @abstractmethod
    def expected_log(self, counts: Array) -> Array:
        """Return E[log π], (…, K)."""

    @abstractmethod
    def mean(self, counts: Array) -> Array:
        """Return E[π], (…, K), scaled to a sum of 1."""

    @abstractmethod
    def divergence(self, counts: Array) -> Array:
        """Return KL(q(π) ‖ p(π)), (…)."""


class DirichletWeights(WeightsModel):
    """π has a Dirichlet density of parameters α, which become α + N."""

    def parameters(self, counts: Array) -> tuple[Array, ...]:
        return (counts + np.asarray(self.concentration, np.float64),)

    def expected_log(self, counts: Array) -> Array:
        (alpha,) = self.parameters(counts)
        return digamma(alpha) - digamma(alpha.sum(axis=-1, keepdims=True))

    def mean(self, counts: Array) -> Array:
        (alpha,) = self.parameters(counts)
        return alpha / alpha.sum(axis=-1, keepdims=True)

    def divergence(self, counts: Array) -> Array:
        ends = [self.parameters(each)[0] for each in (counts, np.zeros_like(counts))]
        after, before = (gammaln(alpha).sum(axis=-1) - gammaln(alpha.sum(axis=-1)) for alpha in ends)
        return np.sum(counts * self.expected_log(counts), axis=-1) - after + before


class ProcessWeights(WeightsModel):
    """Dirichlet process of concentration α, truncated: π_k = v_k Π_{j<k} (1 − v_j), and v_k is Beta(1, α) before.

    After, v_k is Beta(1 + N_k, α + Σ_{j>k} N_j) (Blei & Jordan 2006). The last v is not 1; what it leaves of the stick
    belongs to no component, and E[π] is scaled to a sum of 1.
    """

    ordered = True

    def parameters(self, counts: Array) -> tuple[Array, ...]:
        after = np.flip(np.cumsum(np.flip(counts, -1), axis=-1), -1) - counts
        return 1.0 + counts, np.asarray(self.concentration, np.float64) + np.maximum(after, 0.0)

    def expected_log(self, counts: Array) -> Array:
        a, b = self.parameters(counts)
        left = digamma(b) - digamma(a + b)
        return digamma(a) - digamma(a + b) + np.cumsum(left, axis=-1) - left

    def mean(self, counts: Array) -> Array:
        a, b = self.parameters(counts)
        left = np.cumprod(b / (a + b), axis=-1)
        mean = a / (a + b) * np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
        return mean / mean.sum(axis=-1, keepdims=True)

    def divergence(self, counts: Array) -> Array:
        a, b = self.parameters(counts)
        _, before = self.parameters(np.zeros_like(counts))
        of_a, of_b, of_sum = digamma(a), digamma(b), digamma(a + b)
        each = counts * (of_a - of_sum) + (b - before) * (of_b - of_sum) - betaln(a, b) + betaln(1.0, before)
        return each.sum(axis=-1)


WEIGHTS: dict[str, type[WeightsModel]] = {"process": ProcessWeights, "dirichlet": DirichletWeights}


# ---- the posterior -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Model:
    """What is known before the rows, but for (χ, ν).

    Attributes
    ----------
    weights : WeightsModel
    conjugate : callable(ExponentialFamily) -> Conjugate
        The conjugate prior of a family in the coordinates it has.
    """

    weights: WeightsModel
    conjugate: Callable[[ExponentialFamily], Conjugate] = conjugate_of

    def of(
        self, statistics: ExpectedStatistics, method: Literal["log_partition", "to_expectation", "point"],
        packed: Array | None = None,
    ) -> Array:  # fmt: skip
        """Return what a method of the conjugate prior says of (χ, ν): mixture by mixture if components are tied.

        Other (χ, ν) of as many components, (B·K, p + 1), may be given instead of those of the statistics.
        """
        family: Any = statistics.family
        prior: Any = self.conjugate(family)
        packed = _packed(statistics) if packed is None else packed
        if statistics.counts.ndim == 1 or not prior.coupled:
            return np.asarray(getattr(prior, method)(packed))
        of = np.arange(statistics.counts.size).reshape(statistics.counts.shape)
        return np.concatenate([getattr(self.conjugate(components(family, lot)), method)(packed[lot]) for lot in of])


class Posterior(Mixture):
    """A posterior as the driver takes it: a mixture whose parameters are expectations, or a stack of them.

    ``natural`` is E[η], ``log_partition`` E[A], ``log_weights`` E[log π] and ``weights`` E[π].

    Attributes
    ----------
    posterior : ExpectedStatistics
        The counts N are those of the rows; sums χ and exposures ν are those of the rows and the prior.
    model : Model
    """

    posterior: ExpectedStatistics
    model: Model

    @classmethod
    def from_statistics(cls, posterior: ExpectedStatistics, model: Model) -> Self:
        """Return the posterior of these statistics; E[A] is not finite for components that have none."""
        family: Any = posterior.family
        with np.errstate(all="ignore"):
            expected = model.of(posterior, "to_expectation")
            log_weights, weights = model.weights.expected_log(posterior.counts), model.weights.mean(posterior.counts)
        mixture = Mixture.unchecked(family, weights, expected[:, :-1].reshape(posterior.sums.shape))
        return cls._made(mixture, posterior, model, -expected[:, -1].reshape(weights.shape), log_weights)

    @classmethod
    def _made(
        cls, mixture: Mixture, posterior: ExpectedStatistics, model: Model, log_partition: Array, log_weights: Array
    ) -> Self:
        """Return a posterior of what is known of it."""
        found: Any = cls.unchecked(
            mixture.family, mixture.weights, mixture.natural, log_partition=log_partition, log_weights=log_weights
        )
        vars(found).update(posterior=posterior, model=model)
        return found

    def __getitem__(self, index: Any) -> Posterior:
        some = super().__getitem__(index)
        return self._made(some, self.posterior[index], self.model, some.log_partition, some.log_weights)

    def reframed(self, expectation: Array | None = None) -> Posterior:
        """Return the same posterior with its components in the frames that suit its `plug_in` best."""
        if self.family.coupled or not isinstance(self.family, Framed):
            return self
        moved = self.plug_in.reframed(self.posterior.expectation)
        if moved.family is self.family:
            return self
        found = Posterior.from_statistics(self.posterior.in_coordinates_of(moved.family), self.model)
        return found if np.isfinite(found.log_partition).all() else self

    @property
    def plug_in(self) -> Mixture:
        """The mixture of E[π] and of the parameters that stand for each posterior; see `Conjugate.point`."""
        with np.errstate(all="ignore"):
            natural = self.model.of(self.posterior, "point")
        return Mixture.unchecked(self.family, self.weights, natural.reshape(self.natural.shape))

    @property
    def scores(self) -> Scores:
        found = super().scores
        excess = self.log_partition - checked.log_partition(self.family, self.flat_natural).reshape(self.weights.shape)
        return found._replace(excess=excess.reshape(found.log_partition.shape))

    def divergence_from(self, prior: ExpectedStatistics) -> Array:
        """Return KL(q ‖ p) of all parameters, (…)."""
        prior = prior.in_coordinates_of(self.family)
        after, before = _packed(self.posterior), _packed(prior)
        expected = np.column_stack([self.flat_natural, -self.log_partition.ravel()])
        volumes = [self.model.of(self.posterior, "log_partition", packed) for packed in (after, before)]
        each = np.sum((after - before) * expected, axis=1) - volumes[0] + volumes[1]
        of_components = each.reshape(self.weights.shape).sum(axis=-1)
        return np.asarray(of_components + self.model.weights.divergence(self.posterior.counts))


def _packed(statistics: ExpectedStatistics) -> Array:
    """Return (χ, ν) of the components of all mixtures, (B·K, p + 1)."""
    return np.column_stack([statistics.sums.reshape(-1, statistics.sums.shape[-1]), statistics.exposures.ravel()])


# ---- the loop ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BayesProblem(Problem):
    """A problem whose mixtures are posteriors; its ``prior`` is (ν, χ) of every run."""

    model: Model

    def posterior(self, statistics: ExpectedStatistics, run: Any) -> Posterior:
        """Return the posteriors of some runs: their M-step."""
        full = statistics + self.prior_of(run)  # type: ignore[operator]
        return Posterior.from_statistics(replace(full, counts=statistics.counts), self.model)

    def of_start(self, start: Mixture, run: Any) -> ExpectedStatistics:
        """Return the posteriors of n π_k rows with the expectation of each component, and as many of the prior.

        A start that is the M-step of responsibilities and the prior has the posterior of these responsibilities. The
        prior is added where a start is on the boundary of the parameter space.
        """
        _, totals, exposures = mean_statistics(self.pass_)
        prior: Any = self.prior_of(run).in_coordinates_of(start.family)  # type: ignore[union-attr]
        counts = start.weights * totals[self.data_set[run], None]
        exposed = counts * (exposures / totals)[self.data_set[run], None]
        every = exposed + prior.exposures

        def posterior(sums: Array) -> ExpectedStatistics:
            return ExpectedStatistics(counts, sums, np.zeros(len(counts)), every, start.family)

        found = posterior(start.expectation * every[..., None])
        if (inside := is_proper(found, self.model)).all():
            return found
        within = start.expectation * exposed[..., None] + prior.sums
        return posterior(np.where(inside[..., None], found.sums, within))

    def log_prior(self, mixture: Any, run: Any) -> np.ndarray:
        """Return −KL(q ‖ p) of some runs, (L,)."""
        return -mixture.divergence_from(self.prior_of(run))


def bayes_step(problem: Any, state: State) -> State:
    """Return the state after every run has gone to a better posterior, and its E-step."""
    after = problem.posterior(state.statistics, state.run)
    outside = ~(np.isfinite(after.log_partition) & np.isfinite(after.natural).all(axis=-1))
    if (lost := outside.any(axis=1)).any():
        family, numbers = after.family, np.flatnonzero(lost)
        errors = {int(state.run[at]): collapse(family, state.statistics[int(at)], outside[at]) for at in numbers}
        state, after = state.with_results(errors), after[~lost]
    return move(problem, state, after) if len(state.run) else state


@dataclass(frozen=True)
class BayesResult(FitResult):
    """What variational Bayes returns: ``mixture`` is the plug-in one, and ``bounds`` are those of the log evidence.

    Attributes
    ----------
    posterior, prior : ExpectedStatistics
        See `Posterior`; the prior is in the coordinates that all components share.
    """

    posterior: Any = None
    prior: Any = None


@undisturbed
def fit_bayes(
    start: Mixture, pass_: Pass, data_set: ArrayLike, options: Options, model: Model, *,
    posterior: ExpectedStatistics | None = None, callbacks: Sequence[Callback] = (), drop: bool = False,
    merge: bool = False,
) -> list[FitResult | CollapsedError]:  # fmt: skip
    """Run variational Bayes from every mixture of a stack, in lock step; see `fit_all`.

    Parameters
    ----------
    start : Mixture
        A stack of B mixtures. The first posteriors are those of as many rows like each component as its weight says.
    pass_, data_set, callbacks, drop
        See `fit_all`.
    options : Options
        With a prior that is proper.
    model : Model
    posterior : ExpectedStatistics, optional
        A stack of posteriors to go on from instead.
    merge : bool
        Whether to try to merge components where a run has converged, and to put the largest one first where the order
        counts. Two components that share a cluster never become one by themselves if the steps have drawn them apart.
    """
    problem, runs = BayesProblem(pass_, np.asarray(data_set), options, model), np.arange(len(start.weights))
    first = Posterior.from_statistics(problem.of_start(start, runs) if posterior is None else posterior, model)
    results = followed(problem, first, functools.partial(run, problem, drop=drop, step=bayes_step), callbacks)
    found = [_as_result(problem, at, result) for at, result in enumerate(results)]
    return _merged(problem, found) if merge else found


def _as_result(problem: BayesProblem, run: int, result: Any) -> FitResult | CollapsedError:
    if not isinstance(result, FitResult):
        return result
    of: Any = result.mixture
    known = {field.name: getattr(result, field.name) for field in fields(FitResult)}
    known |= {
        "mixture": of.plug_in, "bounds": result.bounds + result.log_priors,
        "half_bounds": result.half_bounds + result.log_priors[1:], "log_priors": np.zeros_like(result.log_priors),
    }  # fmt: skip
    return BayesResult(**known, posterior=of.posterior, prior=problem.prior_of([run])[0])  # type: ignore[index]


def _merged(problem: BayesProblem, results: list[Any]) -> list[Any]:
    """Return results after components were merged or put in order as long as the bound rises by it."""
    going = [at for at, result in enumerate(results) if isinstance(result, BayesResult) and result.converged]
    while going:
        proposed = [(at, one) for at in going for one in _proposed(problem.model, results[at])]
        left = problem.options.max_iter - max((results[at].n_iter for at, _ in proposed), default=0)
        if not proposed or left < 1:
            break
        of, stack = np.array([at for at, _ in proposed]), ExpectedStatistics.concatenate([one for _, one in proposed])
        temperature = problem.options.schedule[-1]
        options = replace(problem.options, max_iter=left, temperature=temperature, prior=problem.prior_of(of))
        tried = BayesProblem(problem.pass_, problem.data_set[of], options, problem.model)
        merged = Posterior.from_statistics(stack, problem.model)
        found = followed(tried, merged, functools.partial(run, tried, step=bayes_step))
        going = []
        for at, result in zip(of.tolist(), (_as_result(tried, at, one) for at, one in enumerate(found)), strict=True):
            if isinstance(result, BayesResult) and result.converged and result.bound > results[at].bound:
                results[at] = _after(results[at], result)
                going.append(at)
        going = sorted(set(going))
    return results


def _after(before: BayesResult, after: BayesResult) -> BayesResult:
    """Return a result with the steps to another one; the bound of a step is the highest so far."""
    bounds = np.maximum.accumulate(np.concatenate([before.bounds, after.bounds[1:]]))
    return replace(
        after, bounds=bounds, half_bounds=bounds[1:], log_priors=np.zeros_like(bounds),
        n_iter=before.n_iter + after.n_iter,
    )  # fmt: skip


def _of_counts(model: Model, counts: Array) -> Array:
    """Return what the bound has of the counts of components if the responsibilities are given, (…)."""
    return np.sum(counts * model.weights.expected_log(counts), axis=-1) - model.weights.divergence(counts)


def _proposed(model: Model, result: BayesResult) -> list[ExpectedStatistics]:
    """Return posteriors, stacks of one, that may have a higher bound; each is to be tried.

    With given responsibilities the bound is Σ B(χ_k, ν_k), a term of the counts, and the entropy of the
    responsibilities.
    """
    family = shared(result.mixture.family)
    if family.coupled:
        return []
    posterior, prior = (each.in_coordinates_of(family) for each in (result.posterior, result.prior))
    return _in_order(model, posterior, prior) + _mergers(model, posterior, prior)


def _in_order(model: Model, posterior: ExpectedStatistics, prior: ExpectedStatistics) -> list[ExpectedStatistics]:
    """Return the posterior, in a list, with its largest component first if the bound is higher then.

    Sticks are broken in an order, so components that are alike have another prior weight elsewhere.
    """
    order = np.argsort(-posterior.counts, kind="stable")
    counts = posterior.counts[order]
    if not model.weights.ordered or _of_counts(model, counts) <= _of_counts(model, posterior.counts):
        return []
    sums = prior.sums + (posterior.sums - prior.sums)[order]
    exposures = prior.exposures + (posterior.exposures - prior.exposures)[order]
    return [ExpectedStatistics(counts, sums, 0.0, exposures, posterior.family)[None]]


def _mergers(model: Model, posterior: ExpectedStatistics, prior: ExpectedStatistics) -> list[ExpectedStatistics]:
    """Return the posteriors with two components merged that may have a higher bound, the best ones.

    A merger never raises the entropy, so the other terms must rise.
    """
    i, j = np.triu_indices(len(posterior.counts), 1)
    alive = posterior.counts > ALIVE
    i, j = i[alive[i] & alive[j]], j[alive[i] & alive[j]]
    if not len(i):
        return []
    conjugate: Any = model.conjugate(cast(Any, posterior.family))
    own, none, at = _packed(posterior), _packed(prior), np.arange(len(i))
    joined = own[i] + own[j] - none[j]
    counts = np.tile(posterior.counts, (len(i), 1))
    counts[at, i], counts[at, j] = counts[at, i] + counts[at, j], 0.0
    with np.errstate(all="ignore"):
        volumes, free = conjugate.log_partition(own), conjugate.log_partition(none)
        gain = conjugate.log_partition(joined) + free[j] - volumes[i] - volumes[j]
        gain += _of_counts(model, counts) - _of_counts(model, posterior.counts)
    best = np.flatnonzero(gain > 0)
    best = best[np.argsort(-gain[best])][:MOST_MERGERS]
    sums, exposures = np.tile(posterior.sums, (len(i), 1, 1)), np.tile(posterior.exposures, (len(i), 1))
    sums[at, i], exposures[at, i] = joined[:, :-1], joined[:, -1]
    sums[at, j], exposures[at, j] = prior.sums[j], prior.exposures[j]
    known = ExpectedStatistics(counts, sums, np.zeros(len(i)), exposures, posterior.family)
    return [known[[one]] for one in best]


# ---- the prior -----------------------------------------------------------------------------------------------


def mean_statistics(pass_: Pass) -> tuple[Array, Array, Array]:
    """Return the mean of T over each data set, (D, p), per unit of exposure; its row weight and exposure, (D,).

    A missing value stands for one from the middle of those observed.
    """
    found = of_all_rows(pass_)
    return found.expectation[:, 0], found.counts[:, 0], found.exposures[:, 0]


def weak_prior(pass_: Pass, data_set: ArrayLike, n_components: int) -> ExpectedStatistics:
    """Return the prior of one pseudo-observation like the mean of all rows, for every run, (B, K).

    Columns of a normal density have the variances of the rows and no correlation, so that no covariance is singular. A
    probability of 0, or what is a boundary like it, becomes that of half an observation in the row weight n: η is
    ± log(2n + 1) there.
    """
    family, K = shared(pass_.family), n_components
    mean, total, _ = mean_statistics(pass_)
    D, p = mean.shape
    mean, limit = np.repeat(mean, K, axis=0), np.repeat(np.log(2 * total + 1), K)[:, None]
    with np.errstate(all="ignore"):
        natural = checked.to_natural(family, checked.seeds(family, mean, mean))
        cut = np.abs(natural) >= NATURAL_LIMIT * (1 - CUT_ROUNDING)
        expectation = checked.to_expectation(family, np.where(cut, np.sign(natural) * limit, natural))
    prior = ExpectedStatistics(np.ones((D, K)), expectation.reshape(D, K, p), np.zeros(D), family=family)
    return prior[np.asarray(data_set)]


def is_proper(statistics: ExpectedStatistics, model: Model) -> Mask:
    """Return which (χ, ν) of components have a density, (…, K)."""
    with np.errstate(all="ignore"):
        values = model.of(statistics, "log_partition")
    return np.isfinite(values).reshape(statistics.counts.shape)


def check_proper(prior: ExpectedStatistics, family: ExponentialFamily, model: Model) -> None:
    """Raise a ValueError unless a prior, or a stack of them, is a density."""
    known = prior if prior.family is not None else replace(prior, family=shared(family))
    known = known.in_coordinates_of(shared(family))
    if not (fine := is_proper(known, model).ravel()).all():
        k = int(np.argmin(fine))
        raise ValueError(
            f"the prior of component {k % known.counts.shape[-1]}, of {known.exposures.ravel()[k]:g} "
            f"pseudo-observations, is no density under {family!r}: its sums must be those of rows that differ, such as "
            "prior=ExpectedStatistics(counts, sums) of 2 or more, and a column must not be constant"
        )
