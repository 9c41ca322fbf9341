"""Fits of several families and numbers of components, compared in one call."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _num_samples

from expfam_em.analysis.criteria import Criteria, Sharpness, criteria
from expfam_em.analysis.effective import why_not_frequencies
from expfam_em.em import labels
from expfam_em.em.labels import Axes
from expfam_em.em.starts import BY_NAME, Source, Starts, best_after_few_steps, from_responsibilities
from expfam_em.estep.plan import Pass
from expfam_em.estep.reduce import rows_given
from expfam_em.estimators.base import NOT_CONVERGED, NOT_FREQUENCIES
from expfam_em.estimators.generic import ExponentialFamilyMixture
from expfam_em.estimators.shell import checked_weight, generator, refuse_rows, warn_caller
from expfam_em.estimators.table import frame_of
from expfam_em.families.gaussian.gaussian import COVARIANCE_TYPES, Gaussian
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.registry import family_of
from expfam_em.plots import plot_criteria
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Integers, Observations, RandomState
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Picture

Criterion = Literal["bic", "aic", "sabic", "icl", "icl_classification", "nec"]
Models = str | ExponentialFamily | Sequence[str | ExponentialFamily] | Mapping[str, str | ExponentialFamily]

FOURTEEN = tuple(name for name in COVARIANCE_TYPES if name.isupper())

LABELS: tuple[tuple[Any, str], ...] = (
    (labels.hierarchical, "whitened"), (labels.hierarchical, "scaled"), (labels.hierarchical, "raw"),
    (labels.k_means, "whitened"), (labels.k_means, "scaled"), (labels.k_means, "raw"), (labels.k_means, "whitened"),
    (labels.k_means, "scaled"), (labels.unequal, "scaled"), (labels.unequal, "scaled"),
)  # fmt: skip
"""How rows are labelled, and in which coordinates, for starts that all models have in common."""

ROWS_AS_COMPONENTS = 4
"""Starts of each cell at random rows."""

MORE = 4
"""How many times as many starts are followed where all that were are spurious."""

NOT_GAINED = 1e-3
"""What may be left to gain of the log-likelihood of all rows, unless ``tol`` is given: criteria are good to 0.002."""

NEVER = ("family", "n_components", "init", "n_init", "random_state", "n_jobs", "warm_start", "bayesian")
"""Arguments of the mixture that belong to `select` or make no sense there."""


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """Fits of several models with several numbers of components; printed, it is a table of the criterion.

    Attributes
    ----------
    table : pandas.DataFrame, or list of dict without pandas
        A row for each fit: "model", "n_components", "log_likelihood", "n_parameters", the criteria "bic", "aic",
        "sabic", "icl", "icl_classification", "nec" and "relative_entropy", "converged", "sound" and "status". Criteria
        are NaN where there is no fit, or only a spurious one.
    criterion : str
        What the best fit has least of.
    models : tuple of str
        Their names.
    n_components : tuple of int
        In ascending order.
    best_ : ExponentialFamilyMixture
        The fit with the lowest criterion among those that are not spurious.
    best_model_ : str
        Its name among the models.
    fits : dict of (str, int) to estimator or ValueError
        All fits, or the errors in which they have ended, by model and number of components.
    records : tuple of dict
        The rows of the table.
    """

    table: Any
    criterion: Criterion
    models: tuple[str, ...]
    n_components: tuple[int, ...]
    best_: ExponentialFamilyMixture
    best_model_: str
    fits: Mapping[tuple[str, int], ExponentialFamilyMixture | ValueError]
    records: tuple[dict[str, Any], ...]

    def plot(self, criterion: Criterion | None = None, ax: Picture | None = None) -> Picture:
        """Draw a criterion against the number of components, one line for each model; the best fit has a ring.

        Parameters
        ----------
        criterion : str, optional
            That of the selection by default.
        ax : Axes, optional
            Where to draw; by default a figure of its own.

        Returns
        -------
        Axes

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If there is no such criterion.
        """
        return plot_criteria(self, criterion, ax)

    def __getitem__(self, cell: tuple[str, int]) -> ExponentialFamilyMixture:
        """Return the fit of a model with K components, spurious ones too: ``selection["VEV", 2]``."""
        if cell not in self.fits:
            raise KeyError(f"{cell!r} is none of the fits; models are {self.models}, n_components {self.n_components}")
        found = self.fits[cell]
        if isinstance(found, ValueError):
            raise found
        return found

    def values(self, criterion: str | None = None) -> Array:
        """Return a column of the table, models × numbers of components; NaN where it says NA.

        Parameters
        ----------
        criterion : str, optional
            The name of the column, that of ``criterion`` by default.
        """
        name = criterion or self.criterion
        if name not in self.records[0] or isinstance(self.records[0][name], str):
            raise ValueError(f"criterion is {name!r}; it must be one of {', '.join(Criteria._fields)}")
        return np.array([one[name] for one in self.records], float).reshape(len(self.models), len(self.n_components))

    def __str__(self) -> str:
        digits = 4 if self.criterion == "nec" else 2
        shown = [["NA" if np.isnan(v) else f"{v:.{digits}f}" for v in line] for line in self.values()]
        rows = [
            ["", *map(str, self.n_components)],
            *([name, *line] for name, line in zip(self.models, shown, strict=True)),
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        body = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
        best = f"best: {self.best_model_}, {self.best_.n_components} components"
        return "\n".join(
            [f"{self.criterion.upper()} of models and numbers of components; lower is better", *body, best]
        )

    __repr__ = __str__


@undisturbed
def select(
    X: Observations,
    models: Models | None = None,
    n_components: int | Iterable[int] = range(1, 10),
    *,
    criterion: Criterion = "bic",
    n_init: int = 5,
    sample_weight: ArrayLike | None = None,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    **fit: Any,
) -> Selection:
    """Fit several models with several numbers of components, and return which of them describes the rows best.

    All fits start from the same labels of rows, by hierarchical clustering and k-means in several coordinates, from
    the fit with one component less, one component of which is split, and from the fits of the models before. Fits
    with a spurious component are not compared; see ``sound_`` of `ExponentialFamilyMixture`.

    Parameters
    ----------
    X : (n, d)
        Sparse where all families keep zeros.
    models : str, family, sequence of these, or dict of them by name, optional
        Covariance types of `Gaussian`, such as "VEV" or "full", and families, or their names. The fourteen models by
        default. Their likelihoods must be comparable: densities of the same rows, or probabilities.
    n_components : int or iterable of int
        Number of components K.
    criterion : {"bic", "aic", "sabic", "icl", "icl_classification", "nec"}
        What the best fit has least of; all of them are in the table. mclust's BIC and ICL have the other sign.
    n_init : int ≥ 1
        Starts of each fit that are followed to the end; they are the best of more after a few steps of EM.
    sample_weight : (n,), optional
        How often rows occur.
    random_state : int, RandomState, Generator, optional
        What starts are drawn with; a number makes the fit repeatable.
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.
    **fit
        Further arguments of `ExponentialFamilyMixture`, such as ``prior``, ``noise``, ``max_iter``.

    Returns
    -------
    Selection

    Raises
    ------
    ValueError
        If an argument is out of range, a row is outside the support of a family, or no fit is sound.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.random.default_rng(0).normal(size=(200, 1)) + np.repeat([-4.0, 4.0], 100)[:, None]
    >>> found = ef.select(X, ["EII", "VII"], range(1, 4), random_state=0)
    >>> found.best_model_, found.best_.n_components
    ('EII', 2)
    """
    if criterion not in get_args(Criterion):
        raise ValueError(f"criterion is {criterion!r}; it must be one of {', '.join(map(repr, get_args(Criterion)))}")
    if wrong := sorted(set(fit) & set(NEVER)):
        raise ValueError(f"{wrong[0]} is given to select, which chooses it; leave it out")
    families, numbers = _families(models), _numbers(n_components)
    given: Any = X
    weight = checked_weight(sample_weight, given)
    if weight is not None and (why := why_not_frequencies(weight)):
        raise ValueError(NOT_FREQUENCIES.format(why))
    refuse_rows(X, "select")
    n = float(_num_samples(X) if weight is None else weight.sum())
    shared = Shared(int(generator(random_state).integers(2**63)))
    fits: dict[tuple[str, int], Any] = {}
    for K in sorted({1, *numbers}):
        for name, family in families.items():
            before = [other for (_, k), other in fits.items() if k == K] + [fits.get((name, K - 1))]
            cell = _Cell(family, K, n_init=n_init, n_jobs=n_jobs, **{"tol": NOT_GAINED / n, **fit})
            cell._shared, cell._before = shared, [one for one in before if isinstance(one, _Cell)]
            fits[name, K] = cell.fitted(X, weight)
    return _compared(X, weight, n, criterion, tuple(families), numbers, fits)


def _families(models: Models | None) -> dict[str, ExponentialFamily]:
    """Return families by name."""
    given: Any = FOURTEEN if models is None else [models] if isinstance(models, (str, ExponentialFamily)) else models
    pairs = list(given.items()) if isinstance(given, Mapping) else [(str(one), one) for one in given]
    found = {name: _family_of(one) for name, one in pairs}
    if not found or not all(isinstance(one, ExponentialFamily) for one in found.values()):
        raise ValueError(f"models is {models!r}; it must be covariance types such as 'VEV', families, or both")
    if len(found) < len(pairs):
        raise ValueError(f"models is {models!r}, of which two have the same name; give a dict of names and families")
    return found


def _family_of(model: Any) -> Any:
    if not isinstance(model, str):
        return model
    if model in COVARIANCE_TYPES:
        return Gaussian(model)
    try:
        return family_of(model)
    except ValueError as error:
        known = f"is no covariance type; these are {', '.join(COVARIANCE_TYPES)}"
        raise ValueError(f"{model!r} {known}. As the name of a family: {error}") from None


def _numbers(n_components: int | Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of components, in ascending order."""
    found = sorted({int(K) for K in ([n_components] if isinstance(n_components, int) else n_components)})
    if not found or found[0] < 1:
        raise ValueError(f"n_components is {n_components!r}; it must be numbers from 1")
    return tuple(found)


# ---- one fit --------------------------------------------------------------------------------------------------------


class Shared:
    """What all fits have in common: a seed, and labels of rows in the same columns."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.known: list[tuple[Axes, dict[int, list[Integers]]]] = []

    def labels(self, axes: Axes, n_components: int) -> list[Integers]:
        """Return labels (m,) of rows, found once for families that see the same columns of them."""
        known = (
            found for same, found in self.known
            if np.array_equal(same.raw, axes.raw) and np.array_equal(same.weight, axes.weight)
        )  # fmt: skip
        if (found := next(known, None)) is None:
            found = {}
            self.known.append((axes, found))
        if n_components not in found:
            rng = np.random.default_rng([self.seed, n_components])
            found[n_components] = [
                label(axes.in_coordinates(name), axes.weight, n_components, rng) for label, name in LABELS
            ]
        return found[n_components]


class _Cell(ExponentialFamilyMixture):
    """One fit of several, which starts where others have ended, too."""

    _shared: Shared
    _before: list[_Cell]

    def fitted(self, X: Any, weight: Array | None) -> Any:
        """Return the fit, or the ValueError in which it has ended."""
        self._validate_params()
        rows = self._validated(X)
        if self.n_components > 1:
            try:
                self._check_size(len(rows))
            except ValueError as error:
                return error
        [found] = self._fit_each(rows, weight, None, ())
        if self.n_components > 1 and (isinstance(found, ValueError) or found["sound_"] is False):
            given = self.n_init
            self.n_init = MORE * given
            try:
                [again] = self._fit_each(rows, weight, None, ())
            finally:
                self.n_init = given
            found = found if isinstance(again, ValueError) else again
        if isinstance(found, ValueError):
            return found
        self._set_fitted(found)
        return self

    def plain(self) -> ExponentialFamilyMixture:
        """Return the estimator without what it started from."""
        one = object.__new__(ExponentialFamilyMixture)
        one.__dict__.update({name: value for name, value in vars(self).items() if name not in ("_shared", "_before")})
        return one

    def _starts(
        self, pass_: Pass, data_set: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        K, options = self.n_components, self._options(prior)
        source = Source(pass_, K, np.random.default_rng(self._shared.seed)).sampled()
        if K == 1:
            return self._from([np.zeros(len(source.pass_.rows), np.int64)], source, prior)
        axes = source.axes[0]
        found = self._shared.labels(axes, K)
        smoothing = source.seeds.prior(np.zeros(len(found), np.int64)) if prior is None else prior
        random = BY_NAME["random_from_data"](source, np.zeros(ROWS_AS_COMPONENTS, np.int64), options)
        lots = [self._from(found, source, smoothing), random]
        if warm := self._warm(source.pass_.rows, axes):
            lots.append(self._from(warm, source, prior))
        return best_after_few_steps(lots, pass_, options, self.n_init)

    def _from(self, given: list[Any], source: Any, prior: ExpectedStatistics | None) -> Starts:
        """Return the M-step of labels or responsibilities of the rows of a source."""
        K = self.n_components
        each = [functools.partial(rows_given, one, K) for one in given]
        return from_responsibilities(source.pass_, each, K, self._weights_rule, prior)

    def _warm(self, rows: Any, axes: Axes) -> list[Array]:
        """Return responsibilities of rows that fits before have ended with, (m, K)."""
        found: list[Array] = []
        for fit in self._before:
            mixture: Mixture = fit.mixture_
            R = evaluate(mixture.family, mixture.scores, rows, responsibilities=True).responsibilities
            R = R if rows.groups is None else R[rows.groups.order]
            R = R[:, : fit.n_components] + np.finfo(float).tiny  # without the noise
            R = R / R.sum(axis=1, keepdims=True)
            found += [R] if fit.n_components == self.n_components else _splits(R, axes)
        return found


def _splits(R: Array, axes: Axes) -> list[Array]:
    """Return responsibilities in which one component is split across the direction in which it is longest."""
    found: list[Array] = []
    Z = axes.in_coordinates("scaled")
    for k in range(R.shape[1]):
        share = R[:, k] * axes.weight
        share = share / share.sum()
        centred = Z - share @ Z
        direction = np.linalg.svd(np.sqrt(share)[:, None] * centred, full_matrices=False)[2][0]
        upper = R[:, k] * (centred @ direction > 0)
        found.append(np.column_stack([np.delete(R, k, axis=1), upper, R[:, k] - upper]))
    return found


# ---- the comparison -------------------------------------------------------------------------------------------------


def _compared(
    X: Any, weight: Array | None, n: float, criterion: Criterion, names: tuple[str, ...], numbers: tuple[int, ...],
    fits: dict[tuple[str, int], Any],
) -> Selection:  # fmt: skip
    records = []
    for name in names:
        one = fits[name, 1]
        of_one = n * one.lower_bound_ if isinstance(one, _Cell) else np.nan
        records += [_record(name, K, fits[name, K], X, weight, n, of_one) for K in numbers]
    values = np.array([record[criterion] for record in records])
    if np.isnan(values).all():
        raise ValueError(f"no fit is sound; that of {names[0]} with {numbers[0]} components: {records[0]['status']}")
    best = records[int(np.nanargmin(values))]
    if not best["converged"]:
        warn_caller(NOT_CONVERGED)
    asked = {
        (name, K): fit.plain() if isinstance(fit, _Cell) else fit for (name, K), fit in fits.items() if K in numbers
    }
    chosen = cast(ExponentialFamilyMixture, asked[best["model"], best["n_components"]])
    return Selection(frame_of(records), criterion, names, numbers, chosen, best["model"], asked, tuple(records))


def _record(name: str, K: int, fit: Any, X: Any, weight: Array | None, n: float, of_one: float) -> dict[str, Any]:
    """Return the row of the table of a fit."""
    head = {"model": name, "n_components": K}
    missing = dict.fromkeys(Criteria._fields, np.nan)
    if not isinstance(fit, _Cell):
        none = {"log_likelihood": np.nan, "n_parameters": np.nan}
        return {**head, **none, **missing, "converged": False, "sound": False, "status": str(fit)}
    log_likelihood, m = n * fit.lower_bound_, fit._n_free
    sound = fit.sound_ is not False
    of_fit = missing
    if sound:
        found = criteria(log_likelihood, m, n, Sharpness.of(fit.predict_proba(X), weight), of_one)
        of_fit = found._asdict()
    told = {"converged": fit.converged_, "sound": sound, "status": fit.status_}
    return {**head, "log_likelihood": log_likelihood, "n_parameters": m, **of_fit, **told}
