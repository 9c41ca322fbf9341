"""The E-step and the M-step, of one mixture or of a stack of them."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.known import Known
from expfam_em.em.result import CollapsedError
from expfam_em.estep.grouped import possible_row, with_groups
from expfam_em.estep.plan import n_statistics, plan, single_pass
from expfam_em.estep.reduce import GivenStep
from expfam_em.estep.scores import Scores
from expfam_em.family import checked
from expfam_em.family.optional import Framed, InStacks, components, is_coupled, shared
from expfam_em.rows.memory import ArrayRows, as_rows
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Mask, Observations
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

EMPTY = 1e-200
"""Pseudo-count given to an empty component, as a share of all rows, so that its M-step is not 0/0."""

REFINEMENTS = 3
"""Frames tried for one E-step: the first may still be off by the digits that were lost, the next is not."""


@undisturbed
def accumulate(
    mixture: Mixture,
    X: Observations | Rows,
    sample_weight: ArrayLike | None = None,
    *,
    temperature: float = 1.0,
    n_jobs: int | None = None,
) -> ExpectedStatistics:
    """Return the expected statistics of rows under a mixture: the E-step.

    Parameters
    ----------
    mixture : Mixture
        The mixture, as in ``model.mixture_``.
    X : (n, d) array, sparse matrix or rows
        Rows.
    sample_weight : (n,), optional
        Row weights, 1 by default.
    temperature : float ≥ 0
        1 soft, 0 hard; r = softmax((⟨η_k, T⟩ − e A(η_k) + log π_k)/τ).
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.

    Returns
    -------
    ExpectedStatistics
        In the coordinates of the mixture's components.

    Raises
    ------
    ValueError
        If the bound is not a number.
    """
    rows = with_missing(mixture, as_rows(X, sample_weight, n_jobs))
    found = expected_statistics(plan(mixture.family, rows, once=True), mixture, temperature)
    if np.isnan(found.bound).any():
        raise no_bound(mixture.family)
    return found


def no_bound(family) -> ValueError:
    """Return the error for a bound that is not a number."""
    return ValueError(
        f"the bound is not a number: is a row outside the support of {shared(family)!r} (it may define check_support) "
        "or missing (NaN) and not in memory, or is its log_partition or log_base_measure wrong?"
    )


def with_missing(mixture, rows, known=Known()):  # noqa: B008 - a tuple
    """Return rows in groups by which values are missing in them, filled with what a mixture may have.

    They are also in groups by what is ``known`` of their components, and have its log-probabilities beside them.
    """
    if known.log_prior is not None:
        rows = ArrayRows(rows.X, rows.sample_weight, rows.n_jobs, offset=known.log_prior)
    fill = functools.partial(possible_row, mixture.family, mixture.natural)
    return with_groups(mixture.family, rows, fill, known.allowed)


def expected_statistics(pass_, mixture, temperature=1.0, data_set=None) -> ExpectedStatistics:
    """Return the expected statistics of the rows of a pass under a mixture, or a stack of them on their data sets."""
    _, counts, sums, bounds, exposures = pass_.sums(mixture.scores, temperature, data_set)
    stack = ExpectedStatistics(counts, sums, bounds, exposures, mixture.family)
    return stack if mixture.weights.ndim == 2 else stack[0]


def of_all_rows(pass_) -> ExpectedStatistics:
    """Return the statistics of all rows of each data set as one component, (D, 1), (D, 1, p), without log h.

    They are in the coordinates that all components share.
    """
    rows, family = pass_.rows, shared(pass_.family)
    p, kernel = n_statistics(family, rows), single_pass(family, rows)
    step = GivenStep(kernel, Scores.none(rows.n_data, 1, p, family), [_all_alike], rows.n_data)
    _, counts, sums, bounds, exposures = rows.reduce(step, kernel.work(1, p))
    return ExpectedStatistics(counts, sums, bounds, exposures if exposures.any() else counts, family)


def _all_alike(chunk: Chunk):
    """Return the responsibilities of a single component."""
    return np.ones((len(chunk.X), 1))


@undisturbed
def maximize(
    statistics: ExpectedStatistics,
    previous: Mixture,
    *,
    prior: ExpectedStatistics | None = None,
    concentration: ArrayLike = 1.0,
    weights: Literal["free", "equal", "fixed"] = "free",
) -> Mixture:
    """Return the mixture that maximises the expected log-likelihood plus log-prior: the M-step.

    ∇A(η_k) = (S_k + χ_k)/(Σ r e + ν_k) and π_k ∝ N_k + α_k − 1.

    Parameters
    ----------
    statistics : ExpectedStatistics
        What `accumulate` has returned, or a sum of such.
    previous : Mixture
        Gives the family, the fixed weights, the parameters of components without observations, and a start where
        the mapping is solved numerically.
    prior : ExpectedStatistics, optional
        Pseudo-observations (ν, χ) of each component. Without a family of their own they are in the coordinates that
        all components of ``previous`` share.
    concentration : float or (K,)
        α of the Dirichlet prior on the mixing weights; 1 is flat.
    weights : {"free", "equal", "fixed"}
        Mixing weights: estimated, all 1/K, or those of ``previous``.

    Raises
    ------
    CollapsedError
        If a component leaves the natural-parameter space.
    """
    statistics = statistics.in_coordinates_of(previous.family)
    prior = with_family(prior, previous.family)
    found = estimate(statistics, previous, prior=prior, concentration=concentration, weights=weights)
    if (outside := ~np.isfinite(found.log_partition)).any():
        raise collapse(previous, statistics, outside)
    return found


def estimate_refined(statistics, previous, again, *, prior=None, **how):
    """Return the statistics and the mixture before, and the `estimate`, in frames that keep their digits.

    A component may come to lie, or to shrink, where the frame it was given is of no use; nobody can tell before its
    statistics are known. They are then computed again, by ``again(mixture)``, in the frames they suggest.
    """
    shape = previous.flat_natural.shape
    for _ in range(REFINEMENTS):
        found = estimate(statistics, previous, prior=prior, **how)
        moved = _rescued(previous, found, statistics.expectation.reshape(shape))
        if moved is None:
            return statistics, previous, found
        previous, statistics = moved, again(moved)
    return statistics, previous, estimate(statistics, previous, prior=prior, **how)


def _rescued(previous, found, expectation) -> Mixture | None:
    """Return the mixture before in frames in which its statistics keep their digits; None if they do already."""
    family = previous.family
    if not isinstance(family, Framed):
        return None
    finite = np.isfinite(expectation)
    if not finite.all():  # components without rows are where they were
        known = finite.all(axis=1, keepdims=True)
        expectation = np.where(known, expectation, previous.expectation.reshape(expectation.shape))
    with np.errstate(all="ignore"):  # a component may be about to collapse
        better = family.rescue_frames(found.flat_natural, expectation, np.isfinite(found.log_partition).ravel())
    return None if better is None else previous.in_family_if_finite(family.with_frames(better))


def with_family(prior, family) -> ExpectedStatistics | None:
    """Return a prior that says in which coordinates it is: if not, in those all components of a family share."""
    return prior if prior is None or prior.family is not None else replace(prior, family=shared(family))


def collapse(before, statistics, outside) -> CollapsedError:
    """Return the error for a mixture in which some components, a mask (K,), have no finite natural parameters."""
    k = int(np.argmax(outside))
    error = CollapsedError(
        f"component {k} has collapsed: its {statistics.counts[k]:.3g} observations give no finite natural "
        f"parameters of {before.family!r}; fit fewer components, start elsewhere, or add a prior or regularisation"
    )
    error.before, error.outside = before, outside
    return error


def kept(before: Mixture, after: Mixture, outside: Mask) -> Mixture:
    """Return a stack of M-steps in which components that have collapsed, a mask (L, K), stay as they were before.

    A run of which all components have collapsed is left as it is.
    """
    stay = outside & ~outside.all(axis=1, keepdims=True)
    natural = np.where(stay[..., None], before.natural, after.natural)
    partition = np.where(stay, before.log_partition, after.log_partition)
    return Mixture.unchecked(after.family, after.weights, natural, log_partition=partition)


def too_flat(family, statistics, thin) -> CollapsedError:
    """Return the error for a mixture whose bound fell by rounding, because some components, a mask (K,), are flat."""
    k = int(np.argmax(thin))
    return CollapsedError(
        f"component {k} has collapsed: in some direction its {statistics.counts[k]:.3g} observations vary so little, "
        f"or not at all, that rounding in {family!r} outweighs what a step gains; fit fewer components, leave out "
        "columns that depend on others, bring columns to one scale, or set reg_covar or a larger variance_floor"
    )


def estimate(statistics, previous, *, prior=None, concentration=1.0, weights="free", search=True) -> Mixture:
    """Return the mixture of the M-step, or a stack; A is not finite for components without finite parameters.

    See `maximize`. Without ``search``, a family whose M-step has several maxima goes on from the previous parameters.
    """
    family, full = previous.family, statistics if prior is None else statistics + prior
    exposures, sums = full.exposures, full.sums
    empty = exposures <= 0
    if some_empty := empty.any():
        nearly_none = EMPTY * np.maximum(exposures.sum(axis=-1, keepdims=True), 1.0)
        exposures = np.where(empty, nearly_none, exposures)
        sums = np.where(empty[..., None], previous.expectation * nearly_none[..., None], sums)
    with np.errstate(all="ignore"):
        natural = _mapped(family, exposures, sums, previous, search)
    if some_empty and not is_coupled(family):
        natural = np.where(empty[..., None], previous.natural, natural)
    log_partition = checked.log_partition(family, natural.reshape(previous.flat_natural.shape)).reshape(empty.shape)
    mass = _mixing_weights(statistics.counts, previous, concentration, weights)
    return Mixture.unchecked(family, mass, natural, log_partition=log_partition)


def projected(mixture, totals) -> Mixture:
    """Return the M-step of what a stack expects of as many rows, (L,): back into the model, and above floors.

    A prior that the family has of its own is left out; it would count twice.
    """
    plain, counts = mixture.family._without_own_prior(), mixture.weights * totals[:, None]
    own = ExpectedStatistics(counts, mixture.expectation * counts[..., None], np.zeros(len(counts)), family=plain)
    previous = Mixture.unchecked(plain, mixture.weights, mixture.natural)
    found = estimate(own, previous, weights="fixed", search=False)
    return Mixture.unchecked(mixture.family, found.weights, found.natural, log_partition=found.log_partition)


def _mapped(family, exposures, sums, previous, search):
    """Return the natural parameters of statistics; NaN for mixtures of a stack that the family refuses, unless all."""
    try:
        return _mapped_together(family, exposures, sums, previous, search)
    except ValueError:
        if sums.ndim == 2 or len(sums) == 1:
            raise
        natural = np.full(sums.shape, np.nan)
        for at in range(len(sums)):
            with contextlib.suppress(ValueError):
                lot = exposures[at], sums[at], previous[at]
                natural[at] = _mapped_together(previous[at].family, *lot, search)
        if np.isnan(natural).all():
            raise
        return natural


def _mapped_together(family, exposures, sums, previous, search):
    """Return the natural parameters of statistics: all components at once, or mixture by mixture if they interact."""
    p = sums.shape[-1]
    if family.coupled and isinstance(family, InStacks) and family.constraint is None:
        stack = (-1, *sums.shape[-2:])
        natural = checked.next_natural_of_stack(
            family, exposures.reshape(stack[:2]), sums.reshape(stack), previous.natural.reshape(stack), search
        )
    elif sums.ndim == 3 and is_coupled(family):
        of = np.arange(exposures.size).reshape(exposures.shape)
        lots = zip(of, exposures, sums, previous.natural, strict=True)
        natural = np.array([checked.next_natural(components(family, of_lot), *lot) for of_lot, *lot in lots])
    else:
        natural = checked.next_natural(family, exposures.ravel(), sums.reshape(-1, p), previous.flat_natural)
    return natural.reshape(sums.shape)


def _mixing_weights(counts, previous, concentration, weights):
    if weights == "equal":
        return np.full(counts.shape, 1 / counts.shape[-1])
    if weights == "fixed":
        return previous.weights
    if weights != "free":
        raise ValueError(f"weights is {weights!r}; it must be 'free', 'equal' or 'fixed'")
    mass = np.maximum(counts + (np.asarray(concentration, np.float64) - 1), 0.0)  # counts may be tiny
    return mass / mass.sum(axis=-1, keepdims=True)


def expected_gain(statistics, before, after):
    """Return Q(θ′, θ) − Q(θ, θ) = Σ_k ⟨η′_k − η_k, S_k⟩ − (A(η′_k) − A(η_k)) Σ r e + N_k (log π′_k − log π_k).

    Q is the expected complete-data log-likelihood under the responsibilities that gave ``statistics``; one number, or
    one for each mixture of a stack.
    """
    counts, present = statistics.counts, statistics.counts > 0
    if present.all():
        weights = counts * (after.log_weights - before.log_weights)
    else:
        with np.errstate(invalid="ignore"):
            weights = np.where(present, counts * (after.log_weights - before.log_weights), 0.0)
    components = np.sum((after.natural - before.natural) * statistics.sums, axis=(-2, -1))
    partition = np.sum(statistics.exposures * (after.log_partition - before.log_partition), axis=-1)
    return components - partition + weights.sum(axis=-1)


def log_prior(mixture, prior=None, concentration=1.0):
    """Return Σ_k ⟨χ_k, η_k⟩ − ν_k A(η_k) + (α_k − 1) log π_k, up to a constant; one for each mixture of a stack."""
    value = np.zeros(mixture.weights.shape[:-1])
    if prior is not None:
        prior = prior.in_coordinates_of(mixture.family)
        value = np.sum(prior.sums * mixture.natural, axis=(-2, -1))
        value = value - np.sum(prior.exposures * mixture.log_partition, axis=-1)
    if (own := mixture.family._own_log_prior(mixture.flat_natural)) is not None:
        value = value + own[0].reshape(mixture.weights.shape).sum(axis=-1)
    pull = np.asarray(concentration, np.float64) - 1
    if not pull.any():
        return value
    # α < 1 lets weights reach 0, where the density of the prior has a pole; such a component is out of the model
    return value + np.sum(pull * np.where(mixture.weights > 0, mixture.log_weights, 0.0), axis=-1)
