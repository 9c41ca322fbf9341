"""The driver: expected statistics over rows, the M-step, and the loop. It knows iteration and no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from expfam_em.blocks import as_rows
from expfam_em.family import ExponentialFamily
from expfam_em.mixture import Mixture, run_rows
from expfam_em.statistics import ExpectedStatistics

EMPTY = 1e-200
"""Share of the rows that a component without any is given, lest its M-step be 0/0."""


class Status(Enum):
    """How a fit ended; the value is the sentence for the user."""

    CONVERGED = "The last step changed the bound, or the parameters, by less than tol."
    MAX_ITER = "max_iter steps were made without reaching tol: raise max_iter, or tol, or start elsewhere."
    BOUND_FELL = (
        "The bound fell although an EM step cannot lower it: the mappings, log_partition and sufficient_statistics "
        "of the family contradict one another."
    )


class CollapsedError(ValueError):
    """A component has too few or too equal observations to have finite natural parameters."""


@dataclass(frozen=True)
class FitResult:
    """What a fit returns.

    Attributes
    ----------
    mixture : Mixture
        The last parameters (the last good ones after BOUND_FELL).
    bounds : (n_iter + 1,)
        The bound at the start and after each step; ``bounds[-1]`` belongs to ``mixture``.
    half_bounds : (n_iter,)
        The bound after each M-step and before the next E-step, with the responsibilities still the old ones: between
        ``bounds[i]`` and ``bounds[i + 1]`` by Jensen's inequality.
    log_priors : (n_iter + 1,)
        Log-prior at the same parameters; 0 without one. ``bounds + log_priors`` never falls at constant temperature.
    status : Status
    n_iter : int
        Steps made, each an E-step and an M-step.
    total_weight : float
        Σ of the row weights.
    fall : float
        By how much the bound fell; 0 unless the status is BOUND_FELL.
    """

    mixture: Mixture
    bounds: np.ndarray
    half_bounds: np.ndarray
    log_priors: np.ndarray
    status: Status
    n_iter: int
    total_weight: float
    fall: float = 0.0

    @property
    def bound(self) -> float:
        """The bound at the parameters returned."""
        return float(self.bounds[-1])

    @property
    def converged(self) -> bool:
        """Whether tol was reached."""
        return self.status is Status.CONVERGED


def accumulate(mixture, X, sample_weight=None, *, temperature=1.0, n_jobs=None, log_base=None) -> ExpectedStatistics:
    """Return the expected statistics of rows under a mixture: the E-step.

    Parameters
    ----------
    mixture : Mixture
    X : (n, d) array or rows
    sample_weight : (n,), optional
    temperature : float ≥ 0
        1 soft, 0 hard; r = softmax((⟨η_k, T⟩ − e A(η_k) + log π_k)/τ).
    n_jobs : int, optional
    log_base : float, optional
        Σ sample_weight · log h if known, so that it is not computed again.
    """
    rows = as_rows(X, sample_weight, n_jobs)
    statistics = rows.expected_statistics(mixture, temperature)
    if log_base is None:
        log_base = total_log_base(mixture.family, rows)
    return ExpectedStatistics(statistics.counts, statistics.sums, statistics.bound + log_base, statistics.exposures)


def total_log_base(family, rows) -> float:
    """Return Σ sample_weight · log h(x)."""

    def chunk(X, weight):
        log_h = family.checked_log_base_measure(X)
        if weight is None:
            return log_h.sum()
        return np.sum(weight * np.where(weight > 0, log_h, 0.0))  # an absent row may be impossible

    return float(rows.reduce(chunk, 64))


def evaluate(mixture, X, *, temperature=1.0, n_jobs=None, log_density=True, responsibilities=False, labels=False):
    """Return what is asked for of log p(x) (n,), responsibilities (n, K) and labels (n,), in this order."""
    rows = as_rows(X, None, n_jobs)
    n, K = len(rows), mixture.n_components
    outputs = {
        "evidence": np.empty(n if log_density else 0),
        "responsibilities": np.empty((n if responsibilities else 0, K)),
        "labels": np.empty(n if labels else 0, np.int64),
    }

    def chunk(X, weight, where):
        here = {name: array[where] for name, array in outputs.items() if len(array)}
        run_rows(mixture, X, None, temperature, **here)
        if log_density:
            here["evidence"] += mixture.family.checked_log_base_measure(X)

    rows.map(chunk, K * (mixture.natural.shape[1] + 8))
    wanted = (log_density, responsibilities, labels)
    return tuple(array for array, asked in zip(outputs.values(), wanted, strict=True) if asked)


def maximize(statistics, previous, *, prior=None, concentration=1.0, weights="free") -> Mixture:
    """Return the mixture that maximises the expected log-likelihood plus log-prior: the M-step.

    ∇A(η_k) = (S_k + χ_k)/(Σ r e + ν_k) and π_k ∝ N_k + α_k − 1.

    Parameters
    ----------
    statistics : ExpectedStatistics
    previous : Mixture
        Gives the family, the fixed weights, the parameters of components without observations, and a start where
        the mapping is solved numerically.
    prior : ExpectedStatistics, optional
        Pseudo-observations (ν, χ) of each component.
    concentration : float or (K,)
        α of the Dirichlet prior on the mixing weights; 1 is flat.
    weights : {"free", "equal", "fixed"}
        Mixing weights: estimated, all 1/K, or those of ``previous``.

    Raises
    ------
    CollapsedError
        If a component leaves the natural-parameter space.
    """
    family, full = previous.family, statistics if prior is None else statistics + prior
    exposures, sums = full.exposures, full.sums
    empty = exposures <= 0
    if empty.any():
        nearly_none = EMPTY * max(exposures.sum(), 1.0)
        exposures = np.where(empty, nearly_none, exposures)
        sums = np.where(empty[:, None], previous.expectation * nearly_none, sums)
    with np.errstate(all="ignore"):
        if _mapping_is_numeric(family):
            natural = family.solve_natural(sums / exposures[:, None], previous.natural)
        else:
            natural = np.asarray(family.maximize(exposures, sums))
    if natural.shape != sums.shape:
        raise ValueError(f"the M-step of {family!r} returned shape {natural.shape} for statistics {sums.shape}")
    if empty.any() and not family.coupled:
        natural = np.where(empty[:, None], previous.natural, natural)
    outside = ~np.isfinite(family.evaluate_log_partition(natural))
    if outside.any():
        k = int(np.argmax(outside))
        raise CollapsedError(
            f"component {k} has collapsed: its {statistics.counts[k]:.3g} observations give no finite natural "
            f"parameters of {family!r}; fit fewer components, start elsewhere, or add a prior or regularisation"
        )
    return Mixture(family, _mixing_weights(statistics.counts, previous, concentration, weights), natural)


def _mapping_is_numeric(family) -> bool:
    kind = type(family)
    return (
        kind.to_natural is ExponentialFamily.to_natural and kind.maximize is ExponentialFamily.maximize
    )  # fmt: skip


def _mixing_weights(counts, previous, concentration, weights):
    K = len(counts)
    if weights == "equal":
        return np.full(K, 1 / K)
    if weights == "fixed":
        return previous.weights
    if weights != "free":
        raise ValueError(f"weights is {weights!r}; it must be 'free', 'equal' or 'fixed'")
    mass = np.maximum(counts + np.asarray(concentration, np.float64) - 1, 0.0)
    return mass / mass.sum()


def expected_gain(statistics, before, after) -> float:
    """Return Q(θ′, θ) − Q(θ, θ) = Σ_k ⟨η′_k − η_k, S_k⟩ − (A(η′_k) − A(η_k)) Σ r e + N_k (log π′_k − log π_k).

    Q is the expected complete-data log-likelihood under the responsibilities that gave ``statistics``.
    """
    counts = statistics.counts
    with np.errstate(invalid="ignore"):
        weights = np.where(counts > 0, counts * (after.log_weights - before.log_weights), 0.0)
    components = np.sum((after.natural - before.natural) * statistics.sums)
    return float(components - statistics.exposures @ (after.log_partition - before.log_partition) + weights.sum())


def check_concentration(concentration, n_components) -> None:
    """Raise a ValueError unless the Dirichlet parameter is one positive number, or one for each component."""
    alpha = np.asarray(concentration, np.float64)
    if alpha.shape not in ((), (n_components,)) or not np.all(alpha > 0):
        raise ValueError(
            f"concentration is {concentration!r}; it must be a positive number or {n_components} of them, one for "
            "each component"
        )


def log_prior(mixture, prior=None, concentration=1.0) -> float:
    """Return Σ_k ⟨χ_k, η_k⟩ − ν_k A(η_k) + (α_k − 1) log π_k, up to a constant."""
    value = 0.0
    if prior is not None:
        value += np.sum(prior.sums * mixture.natural) - prior.exposures @ mixture.log_partition
    pull = np.asarray(concentration, np.float64) - 1
    # α < 1 lets weights reach 0, where the density of the prior has a pole; such a component is out of the model
    return float(value + np.sum(pull * np.where(mixture.weights > 0, mixture.log_weights, 0.0)))


def fit(
    mixture: Mixture,
    X,
    sample_weight=None,
    *,
    max_iter: int = 100,
    tol: float = 1e-6,
    temperature: float | Sequence[float] = 1.0,
    prior: ExpectedStatistics | None = None,
    concentration=1.0,
    weights: str = "free",
    stop: str = "bound",
    n_jobs: int | None = None,
    callback: Callable[[int, Mixture, float], None] | None = None,
) -> FitResult:
    """Run EM from a mixture until it converges or max_iter steps are made.

    Parameters
    ----------
    mixture : Mixture
        Where to start; its family should be bound to the rows.
    X : (n, d) array or rows
    sample_weight : (n,), optional
    max_iter : int ≥ 0
    tol : float ≥ 0
        For stop="bound": change of bound plus log-prior per unit of row weight; 0 makes exactly max_iter steps.
        For stop="parameters": Euclidean norm of the change of the weights and expectation parameters; 0 stops when
        nothing changes at all.
    temperature : float ≥ 0, or a sequence of them
        One per step, the last one staying; convergence is tested once it is reached.
    prior, concentration, weights
        See `maximize`.
    stop : {"bound", "parameters"}
    n_jobs : int, optional
        Threads; all cores if None. The result does not depend on it.
    callback : callable(step, mixture, bound), optional

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        If a component collapses, an argument is out of range, or the bound is not a number.
    """
    rows = as_rows(X, sample_weight, n_jobs)
    schedule = _schedule(temperature)
    check_concentration(concentration, mixture.n_components)
    if not (max_iter >= 0 and tol >= 0):
        raise ValueError(f"max_iter is {max_iter!r} and tol {tol!r}; neither may be negative")
    if prior is not None and np.any(prior.exposures < 0):
        raise ValueError(f"prior has counts {prior.exposures}; pseudo-observations cannot be fewer than none")
    if stop not in ("bound", "parameters"):
        raise ValueError(f"stop is {stop!r}; it must be 'bound' or 'parameters'")
    log_base = total_log_base(mixture.family, rows)
    total = rows.total_weight
    if weights == "equal":
        mixture = Mixture(mixture.family, np.full(mixture.n_components, 1 / mixture.n_components), mixture.natural)

    def step_to(mixture, step):
        here = schedule[min(step, len(schedule) - 1)]
        return accumulate(mixture, rows, temperature=here, log_base=log_base), here

    statistics, now = step_to(mixture, 0)
    bounds, priors = [_checked(statistics.bound, mixture)], [log_prior(mixture, prior, concentration)]
    halves: list[float] = []
    status, done, fall = Status.MAX_ITER, 0, 0.0
    while done < max_iter and status is Status.MAX_ITER:
        before, was, rounding = mixture, now, _rounding(statistics, mixture, prior)
        mixture = maximize(statistics, before, prior=prior, concentration=concentration, weights=weights)
        half = bounds[-1] + expected_gain(statistics, before, mixture)
        statistics, now = step_to(mixture, done + 1)
        bound, log_p = _checked(statistics.bound, mixture), log_prior(mixture, prior, concentration)
        gain = bound + log_p - bounds[-1] - priors[-1]
        same_model = now == was and np.array_equal(mixture.weights > 0, before.weights > 0)
        if same_model and gain < -rounding and not mixture.family.regularized:
            mixture, status, fall = before, Status.BOUND_FELL, -gain
            break
        done += 1
        bounds.append(bound)
        halves.append(half)
        priors.append(log_p)
        if callback is not None:
            callback(done, mixture, bound)
        settled = now == was and done + 1 >= len(schedule)
        if settled and (abs(gain) < tol * total if stop == "bound" else _distance(mixture, before) <= tol):
            status = Status.CONVERGED
    return FitResult(mixture, np.array(bounds), np.array(halves), np.array(priors), status, done, total, fall)


def _schedule(temperature) -> list[float]:
    schedule = [float(value) for value in np.atleast_1d(temperature)]
    if not schedule or not all(value >= 0 and np.isfinite(value) for value in schedule):
        raise ValueError(f"temperature is {temperature!r}; it must be one or more finite numbers ≥ 0")
    return schedule


def _checked(bound, mixture) -> float:
    if np.isnan(bound):
        raise ValueError(
            f"the bound is not a number: is a row outside the support of {mixture.family!r} (it may define "
            "check_support), or is its log_partition or log_base_measure wrong?"
        )
    return bound


def _rounding(statistics, mixture, prior) -> float:
    """Return how far rounding may move the bound: the terms ⟨η, S⟩ cancel, and each carries its own error."""
    statistics = statistics if prior is None else statistics + prior
    terms = np.abs(statistics.sums * mixture.natural).sum() + np.abs(statistics.exposures @ mixture.log_partition)
    return 1e-10 * abs(statistics.bound) + 64 * np.finfo(float).eps * (terms + statistics.counts.sum())


def _distance(mixture, before) -> float:
    """Return the norm of the change; ½ Σ Δπ² is Δπ₁² for two components, whose weights are one free parameter."""
    weights, expectation = mixture.weights - before.weights, mixture.expectation - before.expectation
    return float(np.sqrt(0.5 * np.sum(weights**2) + np.sum(expectation**2)))
