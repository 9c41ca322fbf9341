"""Tests of a number of components, and of how a mixture of counts or labels fits a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.base import clone

from expfam_em.estimators.base import BaseMixture
from expfam_em.estimators.many import fits_or_none
from expfam_em.estimators.resampling import check_drawn_alike
from expfam_em.estimators.shell import checked_weight, generator, refuse_rows
from expfam_em.family.optional import bounded_natural
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Observations, RandomState

MOST_CELLS = 1_000_000
"""Cells of a table up to which the probabilities of all of them are added up."""

WHOLE = 1e-6
"""By how much the probabilities of all cells of a table may differ from 1."""


@dataclass(frozen=True)
class LikelihoodRatioTest:
    """Whether one number of components describes rows better than another by more than chance.

    Attributes
    ----------
    statistic : float
        2 (log L₁ − log L₀) on the rows.
    p_value : float
        (1 + number of drawn data sets with at least this statistic)/(1 + number of drawn data sets).
    replicates : (B,)
        The statistics of data sets drawn from the mixture with fewer components.
    null, alternative : fitted estimators
        With fewer and with more components.
    n_failed : int
        Drawn data sets that could not be fitted; they are not among the replicates.
    """

    statistic: float
    p_value: float
    replicates: Array = field(repr=False)
    null: BaseMixture = field(repr=False)
    alternative: BaseMixture = field(repr=False)
    n_failed: int = 0

    def __str__(self) -> str:
        K, more = (one.mixture_.n_components for one in (self.null, self.alternative))
        failed = f"; {self.n_failed} could not be fitted" if self.n_failed else ""
        return (
            f"{K} against {more} components: statistic {self.statistic:.6g}, p {self.p_value:.4g}\n"
            f"by {len(self.replicates)} drawn data sets{failed}"
        )

    __repr__ = __str__


@undisturbed
def likelihood_ratio_test(
    estimator: BaseMixture, X: Observations, sample_weight: ArrayLike | None = None, *, more: int = 1,
    n_replicates: int = 99, random_state: RandomState = None,
) -> LikelihoodRatioTest:  # fmt: skip
    """Test K components against more of them by the parametric bootstrap (McLachlan 1987).

    The statistic has no χ² distribution, as K components are at the edge of what more of them can be. Data sets are
    drawn from the fit with K components, and both mixtures are fitted to each of them, in lock step.

    Parameters
    ----------
    estimator : GaussianMixture, BernoulliMixture or ExponentialFamilyMixture
        With K components. It need not be fitted and is not changed; take several starts (``n_init``).
    X : (n, d)
        Rows.
    sample_weight : (n,), optional
        How often rows occur; their sum is a whole number.
    more : int ≥ 1
        By how many components the alternative has more.
    n_replicates : int ≥ 1
        Data sets to draw; the least p-value is 1/(1 + n_replicates).
    random_state : int, RandomState, Generator, optional
        What the data sets are drawn with; starts are drawn with that of the estimator.

    Returns
    -------
    LikelihoodRatioTest

    Raises
    ------
    ValueError
        If an argument is out of range, or starts are given; if drawn rows would not be seen as the rows of X are, for
        these have missing values or sizes of their own, or the family is `Censored` or `Exposed`; or if more than half
        of the drawn data sets cannot be fitted.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.random.default_rng(0).normal(size=(100, 1)) + np.repeat([-3.0, 3.0], 50)[:, None]
    >>> one = ef.ExponentialFamilyMixture(ef.families.Gaussian("EII"), 1, random_state=0)
    >>> ef.likelihood_ratio_test(one, X, n_replicates=19, random_state=0).p_value
    0.05
    """
    if not isinstance(estimator, BaseMixture) or estimator.bayesian:
        what = repr(estimator) if isinstance(estimator, BaseMixture) else f"of type {type(estimator).__name__}"
        raise ValueError(f"estimator is {what}; it must be a mixture that is fitted by maximum likelihood")
    if not isinstance(estimator.init, (str, type(None))):
        raise ValueError("init is given for K components, and more of them cannot start there: give the name of a kind")
    if more < 1 or n_replicates < 1:
        raise ValueError(f"more is {more!r} and n_replicates {n_replicates!r}; both must be at least 1")
    given: Any = X
    refuse_rows(X, "likelihood_ratio_test")
    weight = checked_weight(sample_weight, given)
    both = [clone(estimator), clone(estimator).set_params(n_components=estimator.n_components + more)]
    for one in both:
        one.fit(X, sample_weight=weight)
    unfitted = [one._unfitted() for one in both]
    n = float(given.shape[0] if hasattr(given, "shape") else len(given)) if weight is None else float(weight.sum())
    if abs(n - round(n)) > WHOLE:
        raise ValueError(f"sample_weight sums to {n}; it must say how often rows occur, and so sum to a whole number")
    mixture = both[0].mixture_
    rows = both[0]._prepare(both[0]._validated(X, reset=False))[0]
    check_drawn_alike(mixture, rows, "compare the fits by a criterion, as ef.select does")
    rng = generator(random_state)
    sets = [mixture.sample(round(n), rng)[0] for _ in range(n_replicates)]
    null, alternative = (_log_likelihoods(one, sets) for one in unfitted)
    statistic = 2 * n * max(both[1].lower_bound_ - both[0].lower_bound_, 0.0)
    found = 2 * n * np.maximum(alternative - null, 0.0)
    found = found[~np.isnan(found)]
    if len(found) < n_replicates / 2:
        raise ValueError(f"{n_replicates - len(found)} of {n_replicates} drawn data sets cannot be fitted")
    p_value = (1 + int(np.sum(found >= statistic))) / (1 + len(found))
    return LikelihoodRatioTest(float(statistic), p_value, found, both[0], both[1], n_replicates - len(found))


def _log_likelihoods(estimator: BaseMixture, sets: list[Any]) -> Array:
    """Return the log-likelihood per row of the fit of each data set, (B,); NaN where there is none."""
    fits = fits_or_none(clone(estimator), sets)
    return np.array([np.nan if one is None else one.lower_bound_ for one in fits])


@dataclass(frozen=True)
class GoodnessOfFit:
    """How the table of all rows differs from what a mixture expects.

    Attributes
    ----------
    g2 : float
        2 Σ O log(O/E) over the cells of the table, O observed and E expected rows.
    x2 : float
        Pearson's Σ (O − E)²/E.
    n_cells : int
        Cells of the table, observed or not.
    degrees_of_freedom : int
        The smaller one of ``n_cells`` − 1 and the number of rows, less the number of free parameters.
    p_g2, p_x2 : float
        Probability of at least so large a χ²; NaN without degrees of freedom. It means little where most cells expect
        less than one row.
    """

    g2: float
    x2: float
    n_cells: int
    degrees_of_freedom: int
    p_g2: float
    p_x2: float

    def __str__(self) -> str:
        ends = [f"p {'–' if np.isnan(p) else format(p, '.4g')}" for p in (self.p_g2, self.p_x2)]
        return (
            f"G² {self.g2:.6g}, {ends[0]}\nX² {self.x2:.6g}, {ends[1]}\n"
            f"{self.n_cells:,} cells, {self.degrees_of_freedom:,} degrees of freedom"
        )

    __repr__ = __str__


@undisturbed
def goodness_of_fit(
    model: BaseMixture, X: Observations, sample_weight: ArrayLike | None = None, *, n_cells: int | None = None
) -> GoodnessOfFit:
    """Compare the table of all rows with what a mixture of counts or labels expects.

    Parameters
    ----------
    model : fitted estimator of a mixture
        Of a family whose rows are counts or labels.
    X : (n, d)
        The rows of the fit, or the distinct ones with their frequencies as ``sample_weight``.
    sample_weight : (n,), optional
        How often rows occur.
    n_cells : int, optional
        How many different rows are possible. By default every combination of the values of the columns of X is; their
        probabilities must then add up to 1.

    Returns
    -------
    GoodnessOfFit

    Raises
    ------
    ValueError
        If the family has densities, values are missing, or other rows are possible than ``n_cells`` says.
    """
    mixture = getattr(model, "mixture_", None)
    if mixture is None or not bounded_natural(mixture.family, mixture.flat_natural).all():
        raise ValueError(f"model is {model!r}; a table needs a fitted mixture of counts or labels")
    given: Any = X
    refuse_rows(X, "goodness_of_fit")
    rows = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
    if rows.dtype.kind == "f" and np.isnan(rows).any():
        raise ValueError("X has missing values, NaN; a table needs complete rows")
    weight = checked_weight(sample_weight, rows)
    cells, which = np.unique(rows, axis=0, return_inverse=True)
    observed = np.bincount(np.ravel(which), weight, len(cells)).astype(float)
    cells, observed = cells[observed > 0], observed[observed > 0]
    n = float(observed.sum())
    if n_cells is None:
        n_cells = _counted(model, cells)
    elif n_cells < len(cells):
        raise ValueError(f"n_cells is {n_cells}, but X has {len(cells)} different rows")
    expected = n * np.exp(np.asarray(model.score_samples(cells), float))
    g2 = 2 * float(np.sum(observed * np.log(observed / expected)))
    x2 = float(np.sum((observed - expected) ** 2 / expected) + max(n - expected.sum(), 0.0))  # where none is observed
    freedom = int(min(n_cells - 1, n) - model._n_free)
    p_g2, p_x2 = (float(stats.chi2.sf(value, freedom)) if freedom > 0 else np.nan for value in (g2, x2))
    return GoodnessOfFit(g2, x2, n_cells, freedom, p_g2, p_x2)


def _counted(model: BaseMixture, cells: Array) -> int:
    """Return the number of combinations of the values of columns, once no other row is possible."""
    values = [np.unique(column) for column in cells.T]
    n_cells = int(np.prod([len(column) for column in values], dtype=float))
    if n_cells > MOST_CELLS:
        raise ValueError(f"the columns of X have {n_cells} combinations of values; give n_cells, as some may not occur")
    table = np.stack(np.meshgrid(*values, indexing="ij"), axis=-1).reshape(n_cells, -1)
    try:
        total = float(np.exp(np.asarray(model.score_samples(table), float)).sum())
    except ValueError as error:
        raise ValueError(
            f"not every combination of the values of the columns is possible; give n_cells ({error})"
        ) from None
    if abs(total - 1) > WHOLE:
        raise ValueError(
            f"the {n_cells} combinations of the values of the columns have a probability of {total:.6g} together, so "
            "other rows are possible, too: give n_cells, or join the rows beyond"
        )
    return n_cells
