"""Many independent fits in one call."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import clone
from sklearn.utils.validation import _get_feature_names

from expfam_em.em.known import Given
from expfam_em.em.watching import Callback, Fitting, watched
from expfam_em.estimators.base import BaseMixture
from expfam_em.estimators.shell import checked_weight, refuse_rows, warn_caller
from expfam_em.rows.columns import with_labels
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Block, Integers, Observations
from expfam_em.values.mixture import Mixture

M = TypeVar("M", bound=BaseMixture)
NARROW = 1e-3
"""Width relative to that of all data sets together below which they are fitted one by one."""


class FitManyError(ValueError):
    """Some of many data sets could not be fitted; the fits of the others are kept.

    Attributes
    ----------
    fitted : list
        The fitted estimators in the order of the data sets, None for those that could not be fitted.
    errors : dict of int to ValueError
        By the number of the data set, why it could not be fitted.
    """

    def __init__(self, fitted: list[Any], errors: dict[int, ValueError]) -> None:
        super().__init__(fitted, errors)
        self.fitted: list[Any] = fitted
        self.errors: dict[int, ValueError] = errors

    def __str__(self) -> str:
        (first, error), n, left = next(iter(self.errors.items())), len(self.fitted), len(self.errors)
        others = f" ({left} of {n} cannot be fitted: {', '.join(map(str, [*self.errors][:20]))})" if left > 1 else ""
        kept = f". The others are fitted: see `fitted` of this {type(self).__name__}" if left < n else ""
        return f"data set {first}: {error}{others}{kept}"


@undisturbed
def fit_many(
    estimator: M,
    datasets: Sequence[Observations] | Block,
    sample_weight: Sequence[ArrayLike] | None = None,
    *,
    callbacks: Sequence[Callback] = (),
) -> list[M]:
    """Fit a mixture to each of many data sets, in lock step: far less is then paid for a step than its arithmetic.

    Parameters
    ----------
    estimator : GaussianMixture, BernoulliMixture or ExponentialFamilyMixture
        Its parameters serve every data set; it is not changed itself. Starts are drawn with one random stream.
    datasets : sequence of (n_i, d) arrays, or one (D, n, d) array
        All with the same columns, in one order; or all sparse matrices, where the family keeps zeros.
    sample_weight : sequence of (n_i,) arrays, optional
        Row weights of each data set.
    callbacks : sequence of callable(State), optional
        Called after every step of the fits that are in lock step; see `fit` of the estimators.

    Returns
    -------
    fitted : list
        One fitted estimator for each data set, in order.

    Notes
    -----
    Constants that a family finds in the rows, such as the box of `Uniform` and the levels of `Categorical`, are those
    of each data set, as in ``fit``. The data sets that have the same ones are fitted in lock step.

    Raises
    ------
    FitManyError
        A ValueError, if some data sets cannot be fitted. It says which and why, and has the fits of the others.
    ValueError, TypeError
        If the estimator is another one, or the data sets do not have the same columns.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> many = np.random.default_rng(0).normal(size=(50, 40, 2)) + np.repeat([-4.0, 4.0], 20)[:, None]
    >>> fits = ef.fit_many(ef.GaussianMixture(2, random_state=0), many)
    >>> len(fits), round(float(np.mean([np.abs(m.means_).mean() for m in fits])))
    (50, 4)
    """
    if not isinstance(estimator, BaseMixture):
        raise TypeError(f"estimator is {estimator!r}; it must be a mixture, such as GaussianMixture(2)")
    if not isinstance(estimator.init, (str, Mixture, type(None))):
        raise ValueError(
            "init holds labels or responsibilities, which belong to one data set: give a name or a Mixture"
        )
    if estimator.labelled:
        raise ValueError("labelled is True, but the data sets come without labels: fit them one by one")
    datasets = list(datasets)  # of a generator, too
    for at, X in enumerate(cast(list[Any], datasets)):
        refuse_rows(X, "fit_many")
        if with_labels(X):
            raise ValueError(f"data set {at} has a column of labels; fit_many takes numbers: give codes from 0")
    names = _common_names(datasets)
    are_sparse = [sparse.issparse(X) for X in datasets]
    if any(are_sparse) and not all(are_sparse):
        raise TypeError(
            f"data set {np.argmax(are_sparse)} is sparse and data set {np.argmin(are_sparse)} is not; give all of "
            "them sparse, or none"
        )
    arrays = [
        sparse.csr_array(X) if is_sparse else np.asarray(X) for X, is_sparse in zip(datasets, are_sparse, strict=True)
    ]
    _check_shapes(arrays)
    weights = None if sample_weight is None else [np.asarray(w, np.float64) for w in sample_weight]
    _check_weights(arrays, weights)
    estimator._validate_params()
    n_rows, totals = sum(array.shape[0] for array in arrays), None if weights is None else [w.sum() for w in weights]
    with watched(callbacks, lambda: Fitting.of(estimator, n_rows, totals)) as told:
        found = _fit_or_halve(estimator, arrays, weights, told)
    sound = [one for one in found if not isinstance(one, ValueError)]
    for one in sound if names is not None else []:
        one.feature_names_in_ = names.copy()
    if errors := {at: one for at, one in enumerate(found) if isinstance(one, ValueError)}:
        fits = [None if at in errors else one for at, one in enumerate(found)]
        raise FitManyError(fits, errors) from next(iter(errors.values()))
    return sound


def fits_or_none(
    estimator: M,
    datasets: Sequence[Any],
    sample_weight: Sequence[ArrayLike] | None = None,
    given: Given = Given(),  # noqa: B008 - a tuple
) -> list[M | None]:
    """Return one fitted estimator for each data set of rows as the family takes them, None where there is no fit.

    What is ``given`` of the components of rows is the same in each data set; they are then fitted one by one.
    """
    if "binarize" in estimator.get_params(deep=False):  # they are binary
        estimator = clone(estimator).set_params(binarize=None)
    if given:
        weights = [None] * len(datasets) if sample_weight is None else sample_weight
        found = (_alone(clone(estimator), *one, (), given) for one in zip(datasets, weights, strict=True))
        return [None if isinstance(one, ValueError) else one for one in found]
    try:
        return [*fit_many(estimator, datasets, sample_weight)]
    except FitManyError as error:
        return error.fitted


def _fit_or_halve(
    estimator: M, arrays: list[Any], weights: list[Array] | None, callbacks: Sequence[Callback]
) -> list[M | ValueError]:
    """Return the fits of data sets or their errors; where they are refused together, the halves are fitted."""
    try:
        return _fit(clone(estimator), arrays, weights, callbacks)
    except ValueError as error:
        if len(arrays) == 1:
            return [error]
        found, half = [], len(arrays) // 2
        for part in (slice(half), slice(half, None)):
            found += _fit_or_halve(estimator, arrays[part], None if weights is None else weights[part], callbacks)
        return found


def _fit(
    template: M, arrays: list[Any], weights: list[Array] | None, callbacks: Sequence[Callback]
) -> list[M | ValueError]:
    for array in arrays:
        template._check_size(array.shape[0])
    X = template._validated((sparse.vstack if sparse.issparse(arrays[0]) else np.concatenate)(arrays))
    sizes = [array.shape[0] for array in arrays]
    weight = checked_weight(None if weights is None else np.concatenate(weights), X)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    if _differ_much(X, starts):
        of_each = [None] * len(arrays) if weights is None else weights
        return [_alone(clone(template), *one, callbacks) for one in zip(arrays, of_each, strict=True)]
    fitted = template._fit_each(X, weight, sizes, callbacks)
    unfinished = sum(isinstance(one, dict) and template._is_unfinished(one) for one in fitted)
    if unfinished:
        warn_caller(f"{unfinished} of {len(fitted)} fits did not converge; raise max_iter or tol")
    spurious = sum(isinstance(one, dict) and one["sound_"] is False for one in fitted)
    if spurious:
        warn_caller(
            f"{spurious} of {len(fitted)} fits have a spurious component, and no start has ended without one: their "
            "sound_ is False, and their status_ says more; take more starts (n_init) or fewer components"
        )
    found: list[M | ValueError] = []
    seen: set[int] = set()  # fits share their family
    for at, attributes in enumerate(fitted):
        one = object.__new__(type(template))
        one.__dict__.update(template.__dict__)
        if isinstance(attributes, dict):
            one._set_fitted(attributes, seen)
            found.append(one)
        else:
            rows = slice(starts[at], starts[at + 1])
            part = X[rows].matrix if isinstance(X, CSRBlock) else X[rows]
            found.append(_alone(one, part, None if weight is None else weight[rows], callbacks))
    return found


def _common_names(datasets: list[Any]) -> Any:
    """Return the names of the columns, which all data sets have in the same order; None if they have none."""
    first = _column_names(datasets[0]) if datasets else None
    for at, here in enumerate(map(_column_names, datasets)):
        if here == first:
            continue
        if here is not None and first is not None and len(here) == len(first):  # show those that differ
            here, first = ([a for a, b in zip(x, y, strict=True) if a != b] for x, y in ((here, first), (first, here)))
        raise ValueError(
            f"data set {at} has the columns {reprlib.repr(here)} and data set 0 {reprlib.repr(first)}; all must have "
            "the same, in one order"
        )
    return None if first is None else _get_feature_names(datasets[0])


def _column_names(X: Any) -> list[Any] | None:
    """Return the names of columns; None if there are none, or if they only count the columns."""
    names = None if isinstance(X, np.ndarray) else _get_feature_names(X)
    if names is None:
        names = getattr(X, "columns", None)  # scikit-learn ignores names that are no text
    return None if names is None or list(names) == list(range(len(names))) else list(names)


def _alone(
    estimator: M,
    X: Any,
    weight: ArrayLike | None,
    callbacks: Sequence[Callback],
    given: Given = Given(),  # noqa: B008 - a tuple
) -> M | ValueError:
    """Fit a data set by itself: in coordinates of its own it may succeed where it has failed among the others."""
    y, allowed, log_prior = given
    try:
        return estimator.fit(X, y, sample_weight=weight, allowed=allowed, log_prior=log_prior, callbacks=callbacks)
    except ValueError as error:
        return error


def _differ_much(X: Any, starts: Integers) -> bool:
    """Whether a data set is so much narrower than all together that its starts would be drawn without digits."""
    if isinstance(X, CSRBlock):
        return False  # zeros are in the support, and nothing is shifted
    sizes = np.diff(starts)[:, None]
    mean = np.add.reduceat(X, starts[:-1], dtype=np.float64) / sizes
    width = np.sqrt(np.add.reduceat((X - np.repeat(mean, sizes[:, 0], axis=0)) ** 2, starts[:-1]) / sizes)
    return bool(np.any((width > 0) & (width < NARROW * np.std(X, axis=0, dtype=np.float64))))


def _check_weights(arrays: list[Any], weights: list[Array] | None) -> None:
    if weights is None:
        return
    if len(weights) != len(arrays):
        raise ValueError(f"sample_weight has {len(weights)} arrays for {len(arrays)} data sets")
    for at, (X, weight) in enumerate(zip(arrays, weights, strict=True)):
        if weight.shape != X.shape[:1]:
            raise ValueError(f"data set {at} has {X.shape[0]} rows, but its weights have shape {weight.shape}")


def _check_shapes(arrays: list[Any]) -> None:
    if not arrays:
        raise ValueError("datasets is empty; give at least one array of rows")
    columns = arrays[0].shape[-1] if arrays[0].ndim == 2 else None
    for at, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != columns:
            raise ValueError(
                f"data set {at} has shape {array.shape} and data set 0 {arrays[0].shape}; each must be (n, d), with "
                "the same d"
            )
