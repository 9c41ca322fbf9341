"""Standard errors of fitted mixtures, from what EM does already: its E-step and its M-step, each differenced once.

At a fit, the M-step θ(S) maximises Q = ⟨η, S⟩ − Σ e A(η) over all parameters that are allowed, so its derivative
J = ∂η/∂S is the inverse of the information that complete data would have, however the parameters are constrained
(J is the second derivative of max Q). The derivative D = ∂(S − e m)/∂η of the E-step, with e and m = ∇A(η) as
weights, is the information that is missing. Together they give the inverse of the observed information,

    I⁻¹ = (1 − J D)⁻¹ J,

which is Louis' formula (1982) where T is complete, and SEM (Meng and Rubin 1991) for any family. J maps to the free
directions of η only, so nothing else has to say which parameters are free, shared or redundant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import block_diag, null_space
from scipy.special import expit, softmax

from expfam_em.em.known import Given, Known, known_of
from expfam_em.em.options import Options
from expfam_em.em.steps import expected_statistics, with_family, with_missing
from expfam_em.estep.plan import Pass, plan
from expfam_em.family import checked
from expfam_em.family.entries import entries_of, numbered
from expfam_em.family.optional import components, is_coupled, is_incomplete
from expfam_em.rows.caller import warn_caller
from expfam_em.rows.columns import Column
from expfam_em.rows.groups import with_gaps
from expfam_em.rows.memory import ArrayRows, as_rows
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.rows.threads import cached_property, undisturbed
from expfam_em.rows.typing import Array, Integers, Mask, Observations
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

Kind = Literal["information", "scores", "robust", "survey"]

STEP_LENGTH = 0.01
"""Steps of the differences, in standard errors that complete data would have."""

FREE = 1e-3
"""Share of a move of the statistics that a free direction of the M-step follows at least; others follow rounding."""

LEFT, LEFT_AT_EDGE = 1e-5, 1e-3
"""Share of the complete information that must be left in every direction; less may be rounding, sooner so in the limit
of a shape, where unobserved variables are known."""

BENT = 0.5
"""By which share a hundredth of a standard error changes an expectation by more or less than its slope says, where the
parameter is at the edge of its space: a probability of 0 or 1, a rate of 0."""

NOTHING = 1e-6
"""Standard error, as a share of an estimate at the edge of its space, that is rounding."""

DISTANT, TOO_DISTANT = 0.1, 1.0
"""Standard errors from the estimates to the maximum from which a warning is due, and an error."""

CLOSE: dict[str, Any] = {"stop": "maximum", "tol": 1e-8, "acceleration": "auto"}
"""Settings of a fit that ends at a maximum: the defaults of `ExponentialFamilyMixture`."""

PRINTED = 100
"""Numbers that are printed."""

AT_ONCE = 1 << 22
"""Entries of expected statistics that are computed at a time."""


class Fitted(NamedTuple):
    """A mixture, the rows it was fitted to, and how.

    Attributes
    ----------
    mixture : Mixture
    rows : Rows
    options : Options
    """

    mixture: Mixture
    rows: Rows
    options: Options


@dataclass(frozen=True, eq=False)
class StandardErrors(Mapping[str, Array]):
    """Estimates of a mixture and their standard errors; ``errors["means"]`` has the shape of the estimated means.

    Attributes
    ----------
    estimates : dict of str to array
        The mixing weights, ``weights`` (K,), and the named parameters of the components.
    factor : (P, q)
        F with F Fᵀ the covariance of all P numbers of the estimates, NaN for those that have none.
    left_out : tuple of str
        Sentences that say which parameters have no standard error, NaN, and why; empty if all have one.
    distance : float
        How far the maximum is from the estimates, in standard errors (that of the likelihood-ratio ellipsoid).
    missing : float
        Largest share of information that is missing because components are not observed; EM's rate of convergence.
    entries : dict of str to array of Entry
        What each number is of, by names of columns and levels, and between which ends it lies; None for what is no
        estimate, or stands elsewhere, too.
    """

    estimates: dict[str, Array]
    factor: Array
    left_out: tuple[str, ...] = ()
    distance: float = 0.0
    missing: float = 0.0
    entries: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        return self.errors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def _shaped(self, values: Array) -> dict[str, Array]:
        """Return numbers (P,) under the names, in the shapes, of the estimates."""
        ends = np.cumsum([value.size for value in self.estimates.values()])[:-1]
        parts = zip(self.estimates.items(), np.split(values, ends), strict=True)
        return {name: part.reshape(value.shape) for (name, value), part in parts}

    @cached_property
    def _flat_errors(self) -> Array:
        return np.sqrt(np.sum(self.factor**2, axis=1))

    @cached_property
    def _ends(self) -> tuple[Array, Array]:
        """Between what the numbers lie, (P,) each; −∞ and ∞ of those that stand elsewhere, too."""
        every = [entry for name in self.estimates for entry in np.ravel(self.entries[name])] if self.entries else []
        ends = [(-np.inf, np.inf) if entry is None else (entry.low, entry.high) for entry in every]
        low, high = np.array(ends or np.tile([-np.inf, np.inf], (len(self.factor), 1))).T
        return low, high

    @property
    def errors(self) -> dict[str, Array]:
        """Standard errors by name; 0 for constants, NaN for parameters that have none."""
        return self._shaped(self._flat_errors)

    @property
    def covariance(self) -> Array:
        """Covariance of all numbers of the estimates, name after name, (P, P)."""
        return self.factor @ self.factor.T

    def intervals(self, level: float = 0.95) -> dict[str, tuple[Array, Array]]:
        """Return the lower and upper ends of intervals, by name; they lie where the parameters do.

        They are estimate ± z · standard error. Of a positive number they are those of its logarithm, and of a
        probability those of its logit, both by the delta method, turned back.

        Parameters
        ----------
        level : float in (0, 1)
            Probability with which an interval contains the parameter, for many rows.

        Raises
        ------
        ValueError
            If the level is no such probability.
        """
        if not 0 < level < 1:
            raise ValueError(f"level is {level!r}; it must be between 0 and 1, such as 0.95")
        z = NormalDist().inv_cdf(0.5 + level / 2)
        ends = _within(flattened(self.estimates), z * self._flat_errors, *self._ends)
        lower, upper = map(self._shaped, ends)
        return {name: (lower[name], upper[name]) for name in lower}

    def rows(self, level: float = 0.95) -> list[dict[str, Any]]:
        """Return one dict for each number: parameter, index, estimate, standard_error, lower, upper.

        Numbers of symmetric matrices are listed once. ``pandas.DataFrame(errors.rows())`` is a table of them.
        """
        ends = self.intervals(level)
        return [
            {
                "parameter": name, "index": at, "estimate": float(value[at]), "standard_error": float(self[name][at]),
                "lower": float(ends[name][0][at]), "upper": float(ends[name][1][at]),
            }
            for name, at in listed(self.estimates, self.entries) for value in [self.estimates[name]]
        ]  # fmt: skip

    def __str__(self) -> str:
        cells: list[tuple[str, ...]] = [("parameter", "estimate", "standard error", "2.5 %", "97.5 %")]
        rows = [row for row in self.rows() if row["parameter"] == "weights" or row["standard_error"] != 0]
        for row in rows[:PRINTED]:
            numbers = [f"{row[key]:.6g}" for key in ("estimate", "standard_error", "lower", "upper")]
            cells.append(
                (
                    called(row["parameter"], row["index"], self.entries),
                    *("–" if text == "nan" else text for text in numbers),
                )
            )
        more = [f"… and {len(rows) - PRINTED} more"] if len(rows) > PRINTED else []
        return "\n".join([*aligned(cells), *more, *self.left_out])

    __repr__ = __str__


def aligned(cells: list[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines of text, the first cell of each flush left."""
    width, *widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join([name.ljust(width), *(text.rjust(size) for text, size in zip(numbers, widths, strict=True))])
        for name, *numbers in cells
    ]


def listed(estimates: Mapping[str, Array], entries: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give the name and the index of each number, once."""
    for name, value in estimates.items():
        of = entries.get(name)
        yield from ((name, at) for at in np.ndindex(np.shape(value)) if of is None or of[at] is not None)


def called(name: str, at: tuple[int, ...], entries: Mapping[str, Any]) -> str:
    """Return what a number is called, "means[0, height]"."""
    return f"{name}[{entries[name][at] if entries else ', '.join(map(str, at))}]"


def _within(value: Array, half: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Return value ± half, (P,) each; where there are ends, on the scale of the logarithm or logit, and turned back."""
    positive, share = np.isfinite(low) & ~np.isfinite(high), np.isfinite(low) & np.isfinite(high)
    with np.errstate(all="ignore"):
        above = value - low
        logit, slope = np.log(above / (high - value)), (high - low) / (above * (high - value))
        found = []
        for side in (-half, half):
            of_share = low + (high - low) * expit(logit + side * slope)
            end = np.select([positive, share], [low + above * np.exp(side / above), of_share], value + side)
            # at an end there is no slope
            end = np.where(np.isfinite(value + side) & np.isnan(end), np.clip(value + side, low, high), end)
            found.append(np.where(half == 0, value, end))
    return found[0], found[1]


@undisturbed
def standard_errors(
    model: Any, X: Observations | Rows, sample_weight: ArrayLike | None = None, *, kind: Kind = "information",
    n_jobs: int | None = None, y: object = None, allowed: ArrayLike | None = None, log_prior: ArrayLike | None = None,
) -> StandardErrors:  # fmt: skip
    """Return standard errors of the parameters of a fitted mixture, of every family that has an information.

    Without an information: `FreeLaplace`, whose median has no second derivative; `FreeWeibull`, whose statistics go
    with the component; counts of `GammaPoisson` in the Poisson limit: take `bootstrap`.

    They are those of an estimate at a maximum, where ``stop="maximum", tol=1e-8, acceleration="auto"`` end. With a
    prior they are those of the posterior density in its normal approximation.

    Parameters
    ----------
    model : fitted estimator, or Mixture
        An estimator also says which prior it was fitted with, and whether the mixing weights were free.
    X : (n, d) array, sparse matrix or rows
        The rows it was fitted to.
    sample_weight : (n,), optional
        Those of the fit. A weight of 2 is the row given twice; only "survey" takes weights for something else.
    kind : {"information", "scores", "robust", "survey"}
        "information": the inverse I⁻¹ of the observed information, −∇² log p(X|θ). "scores": the inverse of the
        information M = Σ w s sᵀ of the scores s = ∇ log p(x|θ). "robust": I⁻¹ M I⁻¹, also right where the rows do not
        follow the model (White 1982). "survey": the same with M = Σ w² s sᵀ, for rows of one observation each whose
        weights say how many others they stand for.
    n_jobs : int, optional
        Threads; those of an estimator by default.
    y, allowed, log_prior : optional
        What is known of the components of the rows, where the mixture was fitted with it; see ``fit`` of the
        estimators. The likelihood is then Σ w log Σ_k π_k q_nk p(x_n|η_k).

    Returns
    -------
    StandardErrors
        A mapping of names to arrays like ``parameters``, and ``weights``.

    Raises
    ------
    ValueError
        If the family has no information; if a direction of the parameters cannot be told from the rows, as where two
        components coincide; if the estimates are not near a maximum, or not of a likelihood; if something is known of
        the rows that the fit was not given, or the other way round.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> deaths, days = np.arange(10.0)[:, None], np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1])
    >>> model = ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, tol=1e-13, acceleration="auto", random_state=0)
    >>> found = ef.standard_errors(model.fit(deaths, sample_weight=days), deaths, days)
    >>> sorted(found["rates"].ravel().round(5).tolist())
    [0.25048, 0.35003]
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(map(repr, get_args(Kind)))}")
    given = Given(y, allowed, log_prior)
    if isinstance(model, Mixture):
        rows = as_rows(X, sample_weight, n_jobs)
        known = known_of(given, rows, model.n_components, getattr(rows, "sample_weight", None))
        fitted = Fitted(model, with_missing(model, rows, known), Options())
    elif hasattr(model, "_fitted_to"):
        fitted = model._fitted_to(X, sample_weight, n_jobs, given)
    else:
        raise TypeError(f"model is {model!r}; it must be a Mixture, or a fitted estimator of one")
    return _of_fit(fitted, kind, columns_of(model, fitted.rows.n_features), _to_the_maximum(model))


class _Directions(NamedTuple):
    """Moves of the parameters of one mixture, in standard errors that complete data would have.

    Attributes
    ----------
    log_weights : (q, K)
    natural : (q, K, p)
    """

    log_weights: Array
    natural: Array

    @classmethod
    def joined(cls, log_weights: Array, natural: Array) -> _Directions:
        """Return directions of the mixing weights and those of the components."""
        n, m, (K, p) = len(log_weights), len(natural), natural.shape[1:]
        return cls(np.concatenate([log_weights, np.zeros((m, K))]), np.concatenate([np.zeros((n, K, p)), natural]))

    def moved(self, mixture: Mixture, which: Integers, by: float) -> Mixture:
        """Return a stack of the mixture moved by so many standard errors in some directions."""
        B, K = len(which), mixture.n_components
        weights = softmax(mixture.log_weights + by * self.log_weights[which], axis=1)
        family = components(mixture.family, np.tile(np.arange(K), B))
        return Mixture.unchecked(family, weights, mixture.natural + by * self.natural[which])


def columns_of(model: Any, n_columns: int) -> list[Column]:
    """Return the columns of the rows that a model was fitted to, with their names if it knows some."""
    return model._columns() if hasattr(model, "_columns") else numbered(n_columns)


def _to_the_maximum(model: Any) -> str:
    """Return how to fit a mixture so that it ends at its maximum: the settings that are missing, or what is left."""
    if isinstance(model, Mixture):
        return f"give ef.fit {_settings(CLOSE)}"
    close = CLOSE | {"tol": min(model.tol, CLOSE["tol"])}
    if other := {name: value for name, value in close.items() if getattr(model, name) != value}:
        how = _settings(other)
    else:
        how = f"a smaller tol than {model.tol:g}" if model.converged_ else f"a larger max_iter than {model.max_iter}"
    return f"fit with {how}; with warm_start=True, too, it goes on from here"


def _settings(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())


def _of_fit(fitted: Fitted, kind: Kind, columns: list[Column], to_the_maximum: str) -> StandardErrors:
    mixture, rows, options = fitted
    temperature = options.schedule[-1]
    if temperature != 1:
        raise ValueError(
            f"the mixture was fitted at temperature {temperature:g}, where the bound is no log-likelihood: its "
            "curvature says nothing of standard errors; let the temperatures end at 1"
        )
    pass_ = plan(mixture.family, rows, once=True)
    statistics = expected_statistics(pass_, mixture)
    prior = with_family(options.prior, mixture.family)
    full = statistics if prior is None else statistics + prior
    fisher = _fisher_information(mixture)
    held, information = _held(mixture, fisher, full.exposures), full.exposures[:, None, None] * fisher
    log_weights, of_weights = _free_weights(mixture, statistics.counts, options)
    natural, of_components = _free_components(mixture, full, information, held)
    directions = _Directions.joined(log_weights, natural)
    ahead = np.concatenate([of_weights, of_components])
    missing = _missing(mixture, pass_, directions)
    least = LEFT_AT_EDGE if mixture.edges else LEFT
    root, share = _root_of_inverse(missing, least, lambda along: _who(mixture, directions, information, along))
    distance = _checked_distance(float(np.linalg.norm(root.T @ ahead)), to_the_maximum)
    if kind != "information":
        scores = _score_products(mixture, rows, directions, squared=kind == "survey")
        root = _inverse_root(scores) if kind == "scores" else root @ root.T @ _root(scores)
    entries = entries_of(mixture.family, mixture.parameters, columns, mixture.n_components)
    return _named(mixture, directions, root, held, distance, share, len(log_weights), entries)


def _checked_distance(distance: float, to_the_maximum: str) -> float:
    """Return how far the maximum is, in standard errors; warn or raise a ValueError if it is far."""
    message = (
        f"the estimates are {distance:.2g} standard errors away from the maximum, whose curvature standard errors are: "
        f"{to_the_maximum}"
    )
    if not distance <= TOO_DISTANT:
        raise ValueError(message)
    if distance > DISTANT:
        warn_caller(message, UserWarning)
    return distance


def _derivatives(function: Callable[[Integers, float], Array], n: int, at_a_time: int) -> Array:
    """Return the derivatives of values at 0 along n directions, (n, ...), from central differences of two lengths.

    ``function(which, by)`` returns the values (b, ...) after moves by ``by`` in the directions ``which`` (b,).
    """
    found = []
    for first in range(0, n, at_a_time):
        which = np.arange(first, min(n, first + at_a_time))
        up, down, half_up, half_down = (function(which, by * STEP_LENGTH) for by in (1.0, -1.0, 0.5, -0.5))
        found.append((8 * (half_up - half_down) - (up - down)) / (6 * STEP_LENGTH))
    return np.concatenate(found)


def _fisher_information(mixture: Mixture) -> Array:
    """Return ∇²A of each component, (K, p, p)."""
    try:
        return checked.told(mixture.family, "fisher_information", mixture.natural)
    except NotImplementedError as error:
        raise ValueError(
            f"{mixture.family!r} has no information of complete data ({error}): take ef.bootstrap instead"
        ) from error


def _held(mixture: Mixture, fisher: Array, exposures: Array) -> Mask:
    """Return which natural parameters are at the edge of their space, or mean nothing, (K, p), given ∇²A."""
    family, natural, mean = mixture.family, mixture.natural, mixture.expectation
    variance = np.diagonal(fisher, axis1=1, axis2=2)
    with np.errstate(all="ignore"):
        by = STEP_LENGTH / np.sqrt(exposures[:, None] * variance)
    none = ~np.isfinite(by)
    held = none & (not is_incomplete(family))  # elsewhere, it is a parameter that follows from others
    by = np.where(none, 0.0, by)
    slope = by * variance
    for j in range(natural.shape[1]):
        for sign in (1.0, -1.0):
            moved = natural.copy()
            moved[:, j] += sign * by[:, j]
            with np.errstate(all="ignore"):
                change = checked.to_expectation(family, moved)[:, j] - mean[:, j]
            held[:, j] |= ~none[:, j] & ~(np.abs(change - sign * slope[:, j]) <= BENT * slope[:, j])
    return held


def _free_components(mixture: Mixture, full: ExpectedStatistics, information: Array, held: Mask) -> tuple[Array, Array]:
    """Return the free directions of the natural parameters, (q, K, p), and the next step of EM in them, (q,)."""
    K, p = mixture.natural.shape
    here = full.exposures > 0
    exposures = np.where(here, full.exposures, 1.0)
    sums = np.where(here[:, None], full.sums, mixture.expectation)
    moves = block_diag(
        *map(_whitened, information, held, exposures[:, None] * np.abs(np.nan_to_num(mixture.expectation)))
    )
    moves = moves.T.reshape(-1, K, p)

    def estimates(which: Integers, by: float) -> Array:
        return _estimates(mixture, exposures, sums + by * moves[which])

    found = np.where(held, 0.0, _derivatives(estimates, len(moves), max(1, AT_ONCE // (K * p))))
    if not np.isfinite(found).all():
        k = int(np.argmax(~np.isfinite(found).all(axis=(0, 2))))
        raise ValueError(
            f"component {k} has too few rows, or is at an edge, where its M-step has no slope "
            f"({_edges(mixture) or repr(mixture.family)}); fit fewer components, or take ef.bootstrap"
        )
    followed = np.einsum("ikp,jkp->ij", moves, found)
    values, vectors = np.linalg.eigh((followed + followed.T) / 2)
    vectors = vectors[:, values > FREE] / np.sqrt(values[values > FREE])
    natural = np.tensordot(vectors.T, found, axes=1)
    step = np.where(held | ~here[:, None], 0.0, estimates(np.zeros(1, int), 0.0)[0] - mixture.natural)
    ahead = vectors.T @ np.einsum("ikp,kp->i", moves, step)
    return natural, ahead


def _whitened(information: Array, held: Mask, size: Array) -> Array:
    """Return R with R Rᵀ the information of one component, (p, p), and a move of its own for what has none.

    Such a parameter follows from the others where it is not held. ``size`` is that of the statistics, (p,).
    """
    variance = np.diagonal(information)
    none = ~(variance > 0)
    scale = np.sqrt(np.where(none, size, variance))
    alone = none | held
    unit = np.where(alone, 1.0, scale)
    scaled = np.where(alone[:, None] | alone, np.eye(len(scale)), information / np.outer(unit, unit))
    values, vectors = np.linalg.eigh(scaled)
    return np.where(held, 0.0, scale)[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))


def _estimates(mixture: Mixture, exposures: Array, sums: Array) -> Array:
    """Return the M-step's natural parameters of a stack of sums, (B, K, p)."""
    B, K, p = sums.shape
    family = mixture.family
    if is_coupled(family):
        previous = mixture.natural if family._constraints() else None  # a search under constraints begins there
        return np.array([checked.next_natural(family, exposures, one, previous) for one in sums])
    stacked = components(family, np.tile(np.arange(K), B))
    return checked.next_natural(stacked, np.tile(exposures, B), sums.reshape(-1, p)).reshape(sums.shape)


def _free_weights(mixture: Mixture, counts: Array, options: Options) -> tuple[Array, Array]:
    """Return the free directions of log π, (q, K), and the next step of EM in them, (q,)."""
    K = mixture.n_components
    if options.weights != "free":
        return np.zeros((0, K)), np.zeros(0)
    pull = np.broadcast_to(np.asarray(options.concentration, np.float64) - 1, (K,))
    total, here = counts.sum() + pull.sum(), mixture.weights > 0
    root = np.sqrt(mixture.weights[here])
    found = np.zeros((here.sum() - 1, K))
    found[:, here] = null_space(root[None]).T / (root * np.sqrt(total))
    return found, found @ (counts + pull - total * mixture.weights)


def _missing(mixture: Mixture, pass_: Pass, directions: _Directions) -> Array:
    """Return the information that is missing as a share of the complete one, (q, q)."""
    K, p = mixture.natural.shape

    def sums(which: Integers, by: float) -> Array:
        found = expected_statistics(pass_, directions.moved(mixture, which, by))
        about = found.sums - found.exposures[..., None] * np.nan_to_num(mixture.expectation)
        return np.concatenate([found.counts, about.reshape(-1, K * p)], axis=1)

    q = len(directions.natural)
    moves = np.concatenate([directions.log_weights, directions.natural.reshape(q, K * p)], axis=1)
    return _derivatives(sums, q, max(1, AT_ONCE // (K * p))) @ moves.T


def _root_of_inverse(missing: Array, least: float, who: Callable[[Array], str]) -> tuple[Array, float]:
    """Return a root of (1 − M)⁻¹ for the missing information M, and the largest share that is missing."""
    values, vectors = np.linalg.eigh((missing + missing.T) / 2)
    if len(values) and not 1 - values[-1] > least:
        raise ValueError(
            f"the likelihood is flat, or rises, in some direction of the parameters of {who(vectors[:, -1])}, as where "
            "components coincide: the rows do not tell them; fit fewer components or a simpler family, or from other "
            "starts to convergence"
        )
    return vectors / np.sqrt(1 - values), float(values[-1]) if len(values) else 0.0


def _who(mixture: Mixture, directions: _Directions, information: Array, along: Array) -> str:
    """Return which components a direction, (q,), moves, and at which edges they are."""
    move = np.tensordot(along, directions.natural, axes=1) * np.sqrt(np.diagonal(information, axis1=1, axis2=2))
    size = np.abs(move).sum(axis=1) + np.abs(along @ directions.log_weights)
    which = np.flatnonzero(size > 0.1 * size.max())
    edges = _edges(mixture)
    return f"component{'s' * (len(which) > 1)} {', '.join(map(str, which))}" + (
        f" (at an edge: {edges})" if edges else ""
    )


def _edges(mixture: Mixture) -> str:
    return "; ".join(f"{', '.join(map(str, which))} {name}" for name, which in mixture.edges.items())


def _score_products(mixture: Mixture, rows: Rows, directions: _Directions, squared: bool) -> Array:
    """Return Σ w s sᵀ of the scores of the rows along the directions, or Σ w² s sᵀ, (q, q)."""
    work = 4.0 * directions.natural.size * max(1, len(directions.natural))
    return rows.reduce(functools.partial(_products, mixture, directions, squared), work)


def _products(mixture: Mixture, directions: _Directions, squared: bool, chunk: Chunk) -> Array:
    allowed = None if chunk.groups is None else chunk.groups.allowed_of_rows()
    rows = with_missing(mixture, ArrayRows(with_gaps(chunk), None, 1), Known(allowed, chunk.offset))

    def log_densities(which: Integers, by: float) -> Array:
        stack = directions.moved(mixture, which, by)
        ones = (stack[at] for at in range(len(which)))
        return np.array([evaluate(one.family, one.scores, rows, log_density=True).log_density for one in ones])

    q = len(directions.natural)
    if not q:
        return np.zeros((0, 0))
    with np.errstate(invalid="ignore"):
        scores = _derivatives(log_densities, q, q)
    weight = np.ones(len(chunk.X)) if chunk.weight is None else chunk.weight
    scores = np.where(weight > 0, scores, 0.0)
    return (scores * (weight**2 if squared else weight)) @ scores.T


def _root(matrix: Array) -> Array:
    """Return R with R Rᵀ a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _inverse_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    if len(values) and not values[0] > LEFT**2 * values[-1]:
        raise ValueError(
            "the scores of the rows do not span the parameters: there are too few different rows for kind='scores'"
        )
    return vectors / np.sqrt(values)


def flattened(named: Mapping[str, Any]) -> Array:
    """Return all numbers of estimates, name after name, (P,)."""
    return np.concatenate([np.ravel(value) for value in named.values()])


def _named(
    mixture: Mixture,
    directions: _Directions,
    root: Array,
    held: Mask,
    distance: float,
    share: float,
    n_weights: int,
    entries: Mapping[str, Any],
) -> StandardErrors:
    """Return the standard errors of the named parameters, by the delta method."""

    def numbers(which: Integers, by: float) -> Array:
        stack = directions.moved(mixture, which, by)
        there = (stack[at] for at in range(len(which)))
        return np.array([flattened({"weights": one.weights, **one.parameters}) for one in there])

    estimates = {"weights": mixture.weights, **mixture.parameters}
    q, P = len(directions.natural), sum(value.size for value in estimates.values())
    with np.errstate(all="ignore"):
        slopes = _derivatives(numbers, q, q).T if q else np.zeros((P, 0))
    factor = slopes @ root
    unknown = ~np.isfinite(factor).all(axis=1) | _at_edges(mixture, estimates, held, factor)
    factor[unknown] = np.nan
    found = StandardErrors(
        {name: np.asarray(value, np.float64) for name, value in estimates.items()}, factor, distance=distance,
        missing=share, entries=entries,
    )  # fmt: skip
    return replace(found, left_out=_left_out(found, mixture, q, n_weights))


def _at_edges(mixture: Mixture, estimates: dict[str, Array], held: Mask, factor: Array) -> Mask:
    """Return which numbers of the estimates, (P,), are at the edge of what is possible, and so have no error."""
    K = mixture.n_components
    flat = flattened(estimates)
    still = np.linalg.norm(np.nan_to_num(factor), axis=1) <= NOTHING * np.abs(flat)

    def change(natural: Array) -> Array:
        """Return by which share the numbers change, (P,)."""
        with np.errstate(all="ignore"):
            named = checked.parameters(mixture.family, natural)
            moved = flattened({"weights": mixture.weights, **named})
            share = np.abs(moved - flat) / np.where(flat == 0, np.abs(moved), np.abs(flat))
        return np.where(moved == flat, 0.0, share)

    found = (flat == 0) & (np.arange(len(flat)) < K)  # mixing weights
    if held.any():  # what follows such a parameter is at the edge with it; constants follow none
        found |= still & (change(np.where(held, 0.0, mixture.natural)) > 0)
        for j in np.flatnonzero(held.any(axis=0)):
            found |= ~(change(mixture.natural + held * (np.arange(held.shape[1]) == j)) <= BENT)
    at_edge = np.isin(np.arange(K), [k for which in mixture.edges.values() for k in which])
    of_each = [
        np.repeat(at_edge, value.size // K) if len(value) == K else np.full(value.size, at_edge.any())
        for value in map(np.atleast_1d, estimates.values())
    ]
    return found | (still & np.concatenate(of_each) & (np.arange(len(flat)) >= K))


def _left_out(found: StandardErrors, mixture: Mixture, n_free: int, n_weights: int) -> tuple[str, ...]:
    """Return sentences about the parameters that have no standard error."""
    rows = [row for row in found.rows() if np.isnan(row["standard_error"])]
    lost = mixture.n_parameters - (mixture.n_components - 1 - n_weights) - n_free
    sentences = []
    if rows:
        names = [called(row["parameter"], row["index"], found.entries) for row in rows]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        sentences.append(f"Without a standard error, at the edge of what is possible: {', '.join(names[:20])}{more}.")
    if lost > 0:
        sentences.append(f"Left out as if they were known: {lost} of {n_free + lost} free parameters.")
    edges = _edges(mixture)
    return (*sentences, f"Components at an edge: {edges}.") if edges else tuple(sentences)
