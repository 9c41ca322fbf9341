"""Fits of several families and numbers of components, compared in one call."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _num_samples

from expfam_em.analysis.criteria import Criteria, Sharpness, criteria
from expfam_em.analysis.effective import why_not_frequencies
from expfam_em.analysis.uncertainty import aligned
from expfam_em.em import labels
from expfam_em.em.labels import Axes
from expfam_em.em.result import FitResult
from expfam_em.em.starts import BY_NAME, Source, Starts, best_after_few_steps, from_responsibilities
from expfam_em.estep.plan import Pass
from expfam_em.estep.reduce import rows_given
from expfam_em.estimators.base import NOT_CONVERGED, NOT_FREQUENCIES
from expfam_em.estimators.generic import AUTO, ExponentialFamilyMixture, inferred_family
from expfam_em.estimators.shell import checked_weight, generator, refuse_rows, warn_caller
from expfam_em.estimators.table import frame_of
from expfam_em.families.gaussian.gaussian import COVARIANCE_TYPES, Gaussian
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import OfComponents
from expfam_em.family.registry import family_of
from expfam_em.plots import plot_criteria
from expfam_em.rows.memory import of_data
from expfam_em.rows.threads import cached_property, undisturbed
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
    (labels.hierarchical, "whitened"), (labels.hierarchical, "scaled"), (labels.k_means, "whitened"),
    (labels.k_means, "scaled"), (labels.unequal, "scaled"),
)  # fmt: skip
"""How rows are labelled, and in which coordinates, for starts that all models have in common."""

ROWS_AS_COMPONENTS = 4
"""Starts of each cell at random rows."""

SHORT_RUNS = ((1, 4), (4, 2), (5, 1))
"""Steps of EM that starts make, and how many of the best for each run go on after them."""

MORE = 4
"""How many times as many starts are followed where all that were are spurious."""

NOT_GAINED = 1e-4
"""What may be left to gain of the log-likelihood of all rows, unless ``tol`` is given: criteria are good to 0.0002."""

LOCK_STEP_ENTRIES = 1 << 17
"""Entries of the rows, times components, up to which all numbers of components are fitted in lock step."""

OF_A_NUMBER = ("prior", "concentration", "weights", "fixed", "tied", "bounds", "noise")
"""Arguments that say something of a number of components."""

NEVER = ("family", "n_components", "init", "n_init", "random_state", "n_jobs", "warm_start", "bayesian")
"""Arguments of the mixture that belong to `select` or make no sense there."""

OF_ONE_FIT = ("labelled", "y", "allowed", "log_prior", "checkpoint", "checkpoint_every", "callbacks")
"""Arguments that are of a single fit, or of its components one by one."""


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
        rows: list[tuple[str, ...]] = [
            ("", *map(str, self.n_components)),
            *((name, *line) for name, line in zip(self.models, shown, strict=True)),
        ]
        best = f"best: {self.best_model_}, {self.best_.n_components} components"
        return "\n".join(
            [f"{self.criterion.upper()} of models and numbers of components; lower is better", *aligned(rows), best]
        )

    __repr__ = __str__


@undisturbed
def select(
    X: Observations,
    models: Models | None = None,
    n_components: int | Iterable[int] = range(1, 10),
    *,
    criterion: Criterion = "bic",
    n_init: int | None = None,
    sample_weight: ArrayLike | None = None,
    random_state: RandomState = None,
    n_jobs: int | None = None,
    **fit: Any,
) -> Selection:
    """Fit several models with several numbers of components, and return which of them describes the rows best.

    The first start of all fits is from the same labels of rows, by hierarchical clustering as in mclust. The others are
    by k-means and Ward's method in several coordinates, from the fit with one component less, one component of which is
    split, and from the fits of the models before. Where a fit ends with a spurious component, four times as many are
    followed; if that is of no use, it is not compared: see ``sound_`` of `ExponentialFamilyMixture`. For few rows, fits
    with all numbers of components are made in lock step.

    Parameters
    ----------
    X : (n, d)
        Sparse where all families keep zeros.
    models : str, family, sequence of these, or dict of them by name, optional
        Covariance types of `Gaussian`, such as "VEV" or "full", and families, or their names; "auto" is what
        `Product.infer` chooses. The fourteen models by default. Their likelihoods must be comparable: densities of the
        same rows, or probabilities.
    n_components : int or iterable of int
        Number of components K.
    criterion : {"bic", "aic", "sabic", "icl", "icl_classification", "nec"}
        What the best fit has least of; all of them are in the table. mclust's BIC and ICL have the other sign.
    n_init : int ≥ 1, optional
        Starts of each fit that are followed to the end: the one by hierarchical clustering, and the best of many others
        after a few steps of EM. By default 3 for `Gaussian`, and 5 for other families.
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
    if wrong := sorted(set(fit) & set(OF_ONE_FIT)):
        raise ValueError(
            f"{wrong[0]} is given to select, but belongs to a single fit; fit each mixture by itself with it, and "
            "compare them by their bic"
        )
    families, numbers = _families(models, X), _numbers(n_components)
    given: Any = X
    weight = checked_weight(sample_weight, given)
    if weight is not None and (why := why_not_frequencies(weight)):
        raise ValueError(NOT_FREQUENCIES.format(why))
    refuse_rows(X, "select")
    n = float(_num_samples(X) if weight is None else weight.sum())
    shared = Shared(int(generator(random_state).integers(2**63)))
    fits: dict[tuple[str, int], Any] = {}
    for lot in _in_lots(sorted({1, *numbers}), given, families, fit):
        for name, family in families.items():
            starts = (3 if isinstance(family, Gaussian) else 5) if n_init is None else n_init
            how = {"n_init": starts, "n_jobs": n_jobs, "tol": NOT_GAINED / n, **fit}
            _fit_lot(X, weight, shared, name, family, lot, fits, how)
    return _compared(X, weight, n, criterion, tuple(families), numbers, fits)


def _in_lots(numbers: list[int], X: Any, families: Mapping[str, Any], fit: Mapping[str, Any]) -> list[list[int]]:
    """Return the numbers of components in lots that are fitted together: all, where a step is mostly overhead."""
    plain = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiu" and np.isfinite(X).all()
    small = plain and X.size * numbers[-1] <= LOCK_STEP_ENTRIES and len(X) >= numbers[-1]
    alone = set(fit) & set(OF_A_NUMBER) or any(isinstance(one, OfComponents) for one in families.values())
    return [numbers] if small and not alone else [[K] for K in numbers]


def _fit_lot(
    X: Any, weight: Array | None, shared: Shared, name: str, family: ExponentialFamily, lot: list[int],
    fits: dict[tuple[str, int], Any], how: dict[str, Any],
) -> None:  # fmt: skip
    """Add the fits of a model with some numbers of components to all fits."""
    together = _Fits(family, lot[-1], **how)
    cells = {K: ExponentialFamilyMixture(family, K, **how) for K in lot}
    cells[lot[-1]]._validate_params()
    rows = together._validated(X)
    for K, cell in cells.items():
        try:
            if K > 1:
                cell._check_size(len(rows))
        except ValueError as error:
            fits[name, K] = error
    numbers = [K for K in lot if (name, K) not in fits]
    if not numbers:
        return
    there = {key: one for key, one in fits.items() if not isinstance(one, ValueError)}
    models = list(dict.fromkeys(model for model, _ in fits if model != name))
    together._shared = shared
    together._alike = {K: [there[model, K] for model in models if (model, K) in there] for K in numbers}
    smaller = [name, *models[-1:]] if len(lot) > 1 else [name]
    together._smaller = {K: [there[model, K - 1] for model in smaller if (model, K - 1) in there] for K in numbers}
    of_rows = {key: value for key, value in vars(together).items() if key.endswith("_in_") or key == "levels_"}
    for K, found in together.fitted(rows, weight, numbers).items():
        fits[name, K] = found
        if not isinstance(found, ValueError):
            cells[K]._set_fitted(of_rows | found)
            fits[name, K] = cells[K]


def _families(models: Models | None, X: Any) -> dict[str, ExponentialFamily]:
    """Return families by name."""
    given: Any = FOURTEEN if models is None else models
    given = given if isinstance(given, Iterable) and not isinstance(given, (str, type)) else [given]
    pairs = list(given.items()) if isinstance(given, Mapping) else [(str(one), one) for one in given]
    found = {name: _family_of(one, X) for name, one in pairs}
    if not found:
        raise ValueError(f"models is {models!r}; it must be covariance types such as 'VEV', families, or both")
    if len(found) < len(pairs):
        raise ValueError(f"models is {models!r}, of which two have the same name; give a dict of names and families")
    return found


def _family_of(model: Any, X: Any) -> Any:
    if isinstance(model, str) and model in COVARIANCE_TYPES:
        return Gaussian(model)
    if isinstance(model, str) and model == AUTO:
        return inferred_family(X)
    try:
        return family_of(model, "a model")
    except ValueError as error:
        known = f"is no covariance type; these are {', '.join(COVARIANCE_TYPES)}"
        raise ValueError(f"{model!r} {known}. As the name of a family: {error}") from None


def _numbers(n_components: int | Iterable[int]) -> tuple[int, ...]:
    """Return the numbers of components, in ascending order."""
    try:
        given = [n_components] if isinstance(n_components, Integral) else n_components
        found = sorted({operator.index(K) for K in given})  # type: ignore[union-attr]
    except TypeError:
        found = []
    if not found or found[0] < 1:
        raise ValueError(f"n_components is {n_components!r}; it must be whole numbers from 1")
    return tuple(found)


# ---- fits of one model ----------------------------------------------------------------------------------------------


class Shared:
    """What all fits have in common: a seed, and labels and responsibilities of rows in the same columns."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.known: list[OfRows] = []

    def of(self, axes: Axes) -> OfRows:
        """Return what is known of rows, found once for families that see the same columns of them."""
        for one in self.known:
            if np.array_equal(one.axes.raw, axes.raw) and np.array_equal(one.axes.weight, axes.weight):
                return one
        self.known.append(OfRows(axes, self.seed))
        return self.known[-1]


class OfRows:
    """Labels of some rows, and responsibilities of fits for them.

    Parameters
    ----------
    axes : Axes
    seed : int
    """

    def __init__(self, axes: Axes, seed: int) -> None:
        self.axes, self.seed = axes, seed
        self._labels: dict[int, list[Integers]] = {}
        self._split: dict[Any, list[Array]] = {}
        self._responsibilities: dict[Any, Array] = {}

    @cached_property
    def tree(self) -> labels.Tree:
        """Clusters of the rows."""
        return labels.Tree(self.axes.in_coordinates("between"), self.axes.weight, np.random.default_rng(self.seed))

    def labels(self, n_components: int) -> list[Integers]:
        """Return labels (m,) of several kinds."""
        if n_components not in self._labels:
            rng = np.random.default_rng([self.seed, n_components])
            self._labels[n_components] = [self.tree.cut(n_components)] + [
                label(self.axes.in_coordinates(name), self.axes.weight, n_components, rng) for label, name in LABELS
            ]
        return self._labels[n_components]

    def responsibilities(self, fit: Any, rows: Any) -> Array:
        """Return the responsibilities of a fit for the rows, (m, K)."""
        if fit not in self._responsibilities:
            mixture: Mixture = fit.mixture_
            R = evaluate(mixture.family, mixture.scores, rows, responsibilities=True).responsibilities
            R = R if rows.groups is None else R[rows.groups.order]
            R = R[:, : fit.n_components] + np.finfo(float).tiny  # without the noise
            self._responsibilities[fit] = R / R.sum(axis=1, keepdims=True)
        return self._responsibilities[fit]

    def split(self, fit: Any, rows: Any) -> list[Array]:
        """Return responsibilities in which one component of a fit is split, each of them, (m, K + 1)."""
        if fit not in self._split:
            self._split[fit] = _splits(self.responsibilities(fit, rows), self.axes)
        return self._split[fit]


class _Fits(ExponentialFamilyMixture):
    """Fits of one model with several numbers of components, in lock step.

    For each of the numbers the rows are a data set of their own. All runs have as many components as the largest of
    them; those that are too many have weight 0 from the start.
    """

    _shared: Shared
    _numbers: Sequence[int]
    _alike: Mapping[int, Sequence[ExponentialFamilyMixture]]
    _smaller: Mapping[int, Sequence[ExponentialFamilyMixture]]

    def fitted(self, X: Any, weight: Array | None, numbers: Sequence[int]) -> dict[int, Any]:
        """Return the attributes of the fit with each number of components, or the ValueError in which it has ended."""
        found = self._together(X, weight, numbers, self.n_init)
        again = [K for K, one in found.items() if K > 1 and (isinstance(one, ValueError) or one["sound_"] is False)]
        if again:
            more = self._together(X, weight, again, MORE * self.n_init)
            found |= {K: one for K, one in more.items() if not isinstance(one, ValueError)}
        return found

    def _together(self, X: Any, weight: Array | None, numbers: Sequence[int], n_init: int) -> dict[int, Any]:
        kept, D, self._numbers = (self.n_components, self.n_init), len(numbers), numbers
        self.n_components, self.n_init = max(numbers), n_init
        try:
            if D == 1:
                return {numbers[0]: self._fit_each(X, weight, None, ())[0]}
            tiled = None if weight is None else np.tile(weight, D)
            return dict(zip(numbers, self._fit_each(np.tile(X, (D, 1)), tiled, [len(X)] * D, ()), strict=True))
        finally:
            self.n_components, self.n_init = kept

    def _best_of_starts(
        self, plain: ExponentialFamily, rows: Any, callbacks: Any, family: Any
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        best, more = super()._best_of_starts(plain, rows, callbacks, family)
        if len(self._numbers) == 1:
            return best, more
        for at, K in enumerate(self._numbers):
            if isinstance(best[at], FitResult):
                best[at] = replace(best[at], mixture=best[at].mixture.components(np.arange(K)))
            if "support_" in more[at]:
                more[at]["support_"] = np.full(1, np.inf) if K == 1 else more[at]["support_"][:K]
        return best, more

    def _fitted(self, plain: ExponentialFamily, results: list[Any], dtype: Any) -> list[dict[str, Any]]:
        return [one for result in results for one in super(_Fits, self)._fitted(plain, [result], dtype)]

    def _starts(
        self, pass_: Pass, data_set: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        D, options = pass_.rows.n_data, self._options(prior)
        source = Source(pass_, self.n_components, np.random.default_rng(self._shared.seed))
        source = source.sampled() if D == 1 else source
        rows = of_data(source.pass_.rows, [0])
        if self._numbers == [1]:
            return self._from([[np.zeros(len(rows), np.int64)]], source, prior)
        of_rows = self._shared.of(source.axes[0])
        found = [of_rows.labels(K) if K > 1 else [np.zeros(len(rows), np.int64)] for K in self._numbers]
        smoothing = prior
        if prior is None and (of_seeds := source.seeds.prior(np.zeros(1, np.int64))) is not None:
            smoothing = of_seeds[0]
        # EM cannot leave an edge of the parameter space, which densities have none of
        of_labels = prior if isinstance(pass_.family, Gaussian) else smoothing
        first = self._from([lot[:1] for lot in found], source, of_labels)
        if self.n_init == 1:
            return first
        lots = [self._from([lot[1:] for lot in found], source, smoothing)]
        if D == 1:
            lots.append(BY_NAME["random_from_data"](source, np.zeros(ROWS_AS_COMPONENTS, np.int64), options))
        warm = [
            [of_rows.responsibilities(fit, rows) for fit in self._alike[K]]
            + [split for fit in self._smaller[K] for split in of_rows.split(fit, rows)]
            for K in self._numbers
        ]
        if any(warm):
            lots.append(self._from(warm, source, prior))
        rest = best_after_few_steps(lots, pass_, options, self.n_init - 1, SHORT_RUNS)
        return _one_after_the_other(first, rest, D)

    def _from(self, given: list[list[Any]], source: Source, prior: ExpectedStatistics | None) -> Starts:
        """Return the M-step of labels or responsibilities of the rows of a source, some for each data set."""
        K, D, most = self.n_components, len(given), max(map(len, given))
        nothing = np.zeros(len(source.pass_.rows) // D, np.int64)
        lots = ([lot[at] if at < len(lot) else nothing for lot in given] for at in range(most))
        each = [functools.partial(rows_given, np.concatenate([_wide(one, K) for one in lot]), K) for lot in lots]
        found = from_responsibilities(source.pass_, each, K, self._weights_rule, prior)
        there = np.array([run // D < len(given[run % D]) for run in found.runs], bool)
        collapsed = {run: one for run, one in found.collapsed.items() if run // D < len(given[run % D])}
        return Starts(found.mixture[there], found.runs[there], collapsed)


def _one_after_the_other(one: Starts, other: Starts, n_data: int) -> Starts:
    """Return starts of as many data sets together."""
    mixtures = [lot.mixture[at] for lot in (one, other) for at in range(len(lot.runs))]
    runs = np.concatenate([one.runs, other.runs + n_data])
    collapsed = {**one.collapsed, **{run + n_data: error for run, error in other.collapsed.items()}}
    return Starts(Mixture.stack(mixtures) if mixtures else one.mixture, runs, collapsed)


def _wide(given: Any, n_components: int) -> Array:
    """Return responsibilities (m, K) from labels (m,), or from those of fewer components."""
    if given.ndim == 1:
        return np.eye(n_components)[given]
    return np.pad(given, ((0, 0), (0, n_components - given.shape[1])))


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
        of_one = n * one.lower_bound_ if not isinstance(one, ValueError) else np.nan
        records += [_record(name, K, fits[name, K], X, weight, n, of_one) for K in numbers]
    values = np.array([record[criterion] for record in records])
    if np.isnan(values).all():
        raise ValueError(f"no fit is sound; that of {names[0]} with {numbers[0]} components: {records[0]['status']}")
    best = records[int(np.nanargmin(values))]
    if not best["converged"]:
        warn_caller(NOT_CONVERGED)
    asked = {(name, K): fit for (name, K), fit in fits.items() if K in numbers}
    chosen = cast(ExponentialFamilyMixture, asked[best["model"], best["n_components"]])
    return Selection(frame_of(records), criterion, names, numbers, chosen, best["model"], asked, tuple(records))


def _record(name: str, K: int, fit: Any, X: Any, weight: Array | None, n: float, of_one: float) -> dict[str, Any]:
    """Return the row of the table of a fit."""
    head = {"model": name, "n_components": K}
    missing = dict.fromkeys(Criteria._fields, np.nan)
    if isinstance(fit, ValueError):
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
