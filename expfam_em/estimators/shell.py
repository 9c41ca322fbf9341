"""What mixtures and k-means have in common: checking rows, fitting all or nothing, saving."""

from __future__ import annotations

import contextlib
import functools
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from expfam_em.em.belonging import Belonging, belonging
from expfam_em.em.keeping import EVERY, keeping
from expfam_em.em.watching import Callback, Fitting, watched
from expfam_em.estimators.bases import BaseEstimator
from expfam_em.estimators.elsewhere import weights_in
from expfam_em.family.support import OutsideSupportError
from expfam_em.plots.whole import plot_model
from expfam_em.progress import with_bar
from expfam_em.rows import caller, csr
from expfam_em.rows.columns import (
    Column,
    check_table,
    codes_of,
    first_of,
    is_frame,
    levels_of,
    names_of,
    picked,
    values_of,
    with_labels,
)
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import ArrayRows, count, not_in_memory
from expfam_em.rows.protocol import Chunk, is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Floats, Observations, RandomState
from expfam_em.saving.files import save
from expfam_em.sources.arrays import UnnamedError
from expfam_em.sources.open import Source, is_source, rows_from
from expfam_em.values.mixture import Mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    F = TypeVar("F", bound=Callable[..., Any])

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]:
        """Return scikit-learn's decorator of ``fit``, which validates the parameters of the estimator first."""
else:
    from sklearn.base import _fit_context as fit_context


def generator(random_state: RandomState) -> np.random.Generator:
    """Return a Generator from a scikit-learn random state; None leaves NumPy's global state alone."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def checked_weight(sample_weight: ArrayLike | None, X: Any) -> Array | None:
    """Return row weights as float64, or None where there are none."""
    if sample_weight is None:
        return None
    if is_rows(X) or is_source(X):
        raise ValueError(
            "sample_weight is given beside rows that are not in memory, which have weights of their own: give "
            "rows_from(X, weight=...) the name of their column, or the weights"
        )
    csr.check_weight(sample_weight)
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if len(weight) and not weight.any():  # as newer versions of scikit-learn have it
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def check_summarised(X: Any, what: str, instead: str) -> None:
    """Raise the TypeError for a summary without rows: what of it is of rows, and what needs none."""
    if X is None:
        raise TypeError(
            f"summary needs X, the rows of the fit: {what} are of rows, and a model keeps none. {instead} need no rows"
        )


def refuse_rows(X: Any, what: str) -> None:
    """Raise a ValueError if X is rows from elsewhere, where ``what`` needs them in memory."""
    if is_rows(X) or is_source(X):
        raise not_in_memory(what)


def as_dtype(dtype: Any, value: Array) -> Floats:
    """Return numbers in a dtype that holds them, the diagonals of matrices; else as they are."""
    if dtype == np.float64:
        return value.astype(dtype, copy=False)
    size = np.abs(np.diagonal(value, axis1=-2, axis2=-1) if value.ndim > 2 else value)
    held = (size == 0) | ((size >= np.finfo(dtype).tiny) & (size <= np.finfo(dtype).max))
    return value.astype(dtype if held.all() else value.dtype)


def warn_caller(message: str, category: type[Warning] = ConvergenceWarning) -> None:
    """Warn at the line of the first caller outside this package and scikit-learn."""
    caller.warn_caller(message, category)


def output_kind(estimator: Any) -> str:
    """Return "pandas", "polars" or "default": what `set_output` of an estimator, or of scikit-learn, asks for."""
    return str(_get_output_config("transform", estimator)["dense"])


AT_ONCE_ROWS, AT_ONCE_WORK = 256, 1_000_000
"""Rows, and multiply-adds, up to which a kernel takes less time than it takes to hold BLAS and to see to threads."""

NO_MATTER = frozenset({"n_jobs", "verbose", "verbose_interval"})
"""Parameters that the result of a fit does not depend on."""


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Put every attribute back as it was if what is inside fails: nothing half fitted is left behind."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # at once: a second Ctrl-C may come between any two steps
        raise


IN_OUR_WORDS = {
    "contains NaN": (
        "Input X contains NaN, and {} needs complete rows. GaussianMixture and ExponentialFamilyMixture take NaN for a "
        "value that is missing (docs/missing.md); GaussianMixture(1).fit(X).impute(X) fills them in"
    ),
    "could not convert string to float": (
        "X holds text, {1}, where numbers are expected: give numbers, or a frame whose columns of text are labels to "
        "ExponentialFamilyMixture('auto')"
    ),
    "setting an array element with a sequence": (
        "X has rows of different lengths, or cells that hold more than a number: give a table of numbers, (n, d)"
    ),
}
"""What scikit-learn and NumPy say of rows that are no table of numbers, and what helps."""


@contextlib.contextmanager
def in_our_words(name: str) -> Iterator[None]:
    """Say how rows that are no table of numbers become one; ``name`` is the estimator."""
    try:
        yield
    except ValueError as error:
        for theirs, ours in IN_OUR_WORDS.items():
            if theirs in str(error):
                raise ValueError(ours.format(name, str(error).rpartition(": ")[2])) from None
        raise


def _sum_chunk(chunk: Chunk) -> Any:
    with np.errstate(all="ignore"):
        return chunk.X.sum()  # type: ignore[union-attr]


PLAIN = frozenset({float, int, bool, str, type(None)})
"""Types of fitted values that cannot be changed."""


def _freeze(value: Any, seen: set[int]) -> None:
    """Make arrays read-only, in values of this package too; what a user's own class holds is left as it is.

    ``seen`` are those of this package that have been looked at, by their ``id``.
    """
    kind = type(value)
    if kind in PLAIN:
        return
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, dict):
        for one in value.values():
            _freeze(one, seen)
    elif isinstance(value, (list, tuple)):
        for one in value:
            if type(one) not in PLAIN:
                _freeze(one, seen)
    elif id(value) not in seen and kind.__module__.startswith("expfam_em."):
        seen.add(id(value))
        _freeze(value.__getstate__(), seen)  # not what is derived, which kernels may write to


class _Copied:
    """A fitted dict or list, of which every access is a copy."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        if estimator is None:
            return self
        try:
            return estimator.__dict__[self.name].copy()
        except KeyError:
            raise AttributeError(f"this {owner.__name__} has no {self.name} yet: call fit first") from None

    def __set__(self, estimator: Any, value: object) -> None:
        raise AttributeError(f"{self.name} cannot be set")  # the estimator says so first, and what to do


def copied() -> Any:
    """Return what makes an attribute a fitted dict or list that a user may change without changing the estimator."""
    return _Copied()


class EMEstimator(BaseEstimator, metaclass=ABCMeta):
    """An estimator fitted by EM: the subclass says what is done with checked rows."""

    _dtypes: tuple[Any, ...] = (np.float64, np.float32)
    _finite: bool | str = True
    """What values have to be, in scikit-learn's words."""

    random_state: RandomState
    n_jobs: int | None

    # ---- one fitted state -----------------------------------------------------------------------------------

    @property
    def mixture_(self) -> Mixture:
        """The fitted mixture. Set it to give the estimator other parameters: all attributes then follow from it.

        ``model.mixture_ = ef.Mixture.of(family, weights, means=…, covariances=…)``
        """
        try:
            return self.__dict__["mixture_"]
        except KeyError:
            raise AttributeError(f"this {type(self).__name__} has no mixture_ yet: call fit first") from None

    @mixture_.setter
    @undisturbed
    def mixture_(self, mixture: Mixture) -> None:
        if not isinstance(mixture, Mixture):
            raise TypeError(f"mixture_ is set to {mixture!r}; it must be a Mixture, such as Mixture.of(family, ...)")
        if mixture.weights.ndim != 1:
            raise ValueError(f"mixture_ is set to a stack of {len(mixture.weights)} mixtures; it must be one")
        with all_or_nothing(self):
            self._set_fitted(self._made_of(mixture))
            if not hasattr(self, "n_features_in_"):
                with contextlib.suppress(NotImplementedError):  # a family that cannot be sampled
                    self.n_features_in_ = mixture.sample(1, 0)[0].shape[1]

    @abstractmethod
    def _made_of(self, mixture: Mixture) -> dict[str, Any]:
        """Return the fitted attributes of a mixture that nobody has fitted."""

    @classmethod
    @functools.cache
    def _of_fit(cls) -> frozenset[str]:
        """Return the names of the attributes that a fit sets: those that the classes of this package declare."""
        kinds = (kind for kind in cls.__mro__ if kind.__module__.startswith("expfam_em."))
        declared = {name for kind in kinds for name in vars(kind).get("__annotations__", {})}
        return frozenset(name for name in declared if name.endswith("_") and name != "n_features_in_")

    def _set_fitted(self, attributes: dict[str, Any], seen: set[int] | None = None) -> None:
        """Set fitted attributes, whose arrays become read-only: a change of one would leave the others behind.

        ``seen`` are values that others share; see `_freeze`.
        """
        seen = set() if seen is None else seen
        for name, value in attributes.items():
            if name != "labels_" and (name == "mixture_" or name in self._of_fit()):
                _freeze(value, seen)
        self.__dict__.update(attributes)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.endswith("_") and name in self._of_fit():
            raise AttributeError(
                f"{name} follows from mixture_ and cannot be set alone: set {type(self).__name__}.mixture_ to "
                "expfam_em.Mixture.of(family, weights, ...), from which every fitted attribute is made"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name == "mixture_" or (name in self._of_fit() and name != "labels_"):
            raise AttributeError(
                f"{name} cannot be deleted, for the other fitted attributes belong to it: fit again, set mixture_, or "
                "take sklearn.base.clone(model), which is not fitted"
            )
        super().__delattr__(name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._set_fitted(dict(vars(self)))

    # ---- fitting --------------------------------------------------------------------------------------------

    @undisturbed  # products outside the kernel: same bits everywhere
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Observations | Source,
        y: object = None,
        sample_weight: ArrayLike | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = EVERY,
    ) -> Self:
        """Fit the model to rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d), or source
            Sparse for k-means, and where the family keeps zeros, as Bernoulli and Poisson do. A source is what
            `rows_from` takes and returns.
        y : ignored
        sample_weight : array-like of shape (n,), optional
            Non-negative; a weight of 2 is the same as the row given twice, a weight of 0 as its absence.
        callbacks : sequence of callable(State), optional
            Called after every step with where the runs stand: ``run`` (which of the starts), ``n_iter``, ``mixture``
            (a stack), ``bounds``, ``mean_bounds``. The fit ends if one of them returns True. `KMeans` follows one start
            after another; ``run`` is then 0.
        checkpoint : str or path, optional
            A file that says where the fit stands, until it has ended. If it is there already the fit goes on from it,
            to the same bits. See docs/checkpoints.md.
        checkpoint_every : float ≥ 0
            Seconds between two times that the file is written; 0 writes it after every step.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For rows outside the family's support, fewer rows than components or clusters, or a component that
            collapses; if the checkpoint is that of another fit, or damaged.
        OSError
            If the checkpoint cannot be written when the fit begins.
        KeyboardInterrupt
            At Ctrl-C, once a step is finished: after the estimator has been given the last one.
        """
        with keeping(checkpoint, checkpoint_every) as keeper, all_or_nothing(self):
            rows = self._validated(X)
            weight = checked_weight(sample_weight, rows)
            keeper.open(lambda: self._belonging(rows, weight))
            callbacks = with_bar(callbacks, getattr(self, "verbose", 0))
            with watched(callbacks, lambda: Fitting.of(self, count(rows), weights_in(rows, weight))) as told:
                self._fit(rows, weight, told)
        return self

    def _belonging(self, rows: Any, weight: Array | None, **given: Any) -> Belonging:
        """Return what tells a fit from others; ``given`` is what else it has been given."""
        parameters = {name: value for name, value in self.get_params(deep=False).items() if name not in NO_MATTER}
        if isinstance(drawn := parameters["random_state"], (np.random.Generator, np.random.RandomState)):
            bits = drawn.bit_generator if isinstance(drawn, np.random.Generator) else drawn
            parameters["random_state"] = type(bits).__name__  # its state is in the file
        if getattr(self, "warm_start", False):
            parameters["the fit before"] = [self.__dict__.get("mixture_"), self.__dict__.get("posterior_")]
        found = rows if is_rows(rows) else ArrayRows(rows, weight, self.n_jobs)
        return belonging({"the estimator": type(self).__name__, **parameters, **given}, found)

    @abstractmethod
    def _fit(self, X: Any, weight: Array | None, callbacks: Sequence[Callback]) -> None:
        """Fit checked rows with their weights, and set the fitted attributes."""

    def _validated(self, X: Any, reset: bool = True) -> Any:
        """Return X as scikit-learn checks it, an array or a block of CSR rows; or rows from elsewhere."""
        X = csr.without_mask(X)
        if is_source(X) or is_rows(X):
            return self._checked_elsewhere(self._opened(X, reset), reset)
        if (names := self._names_of_columns()) is not None and is_frame(X):
            X = picked(X, names)
        check_table(X)
        if (coded := self._coded(X, reset)) is not None:
            return coded
        dtypes = list(self._dtypes)
        with in_our_words(type(self).__name__):
            found = validate_data(
                self, X, accept_sparse="csr", dtype=dtypes, order=None, ensure_all_finite=self._finite, reset=reset
            )
        return csr.observations(found)

    def _names_of_columns(self) -> tuple[str, ...] | None:
        """Return the names of the columns to take from a frame; None for all of them."""
        return None

    def _label_columns(self, n_columns: int) -> list[str | None]:
        """Return for each column None, or, of one that takes labels, what becomes of those that are not known."""
        return [None] * n_columns

    def _coded(self, X: Any, reset: bool) -> Array | None:
        """Return a frame some columns of which are labels as numbers; None of anything else.

        The codes of labels belong to the estimator: they are the numbers of the levels of `levels_`.
        """
        before: dict[str, Any] = {} if reset else self.__dict__.get("levels_", {})
        if reset:
            self.__dict__.pop("levels_", None)
        found, names = with_labels(X), names_of(X)
        labels = [name for name in names or () if name in before or name in found]
        if names is None or not labels:
            if found:
                raise ValueError(
                    f"column {found[0]!r} holds labels, and the columns are not called by text: give them names, as by "
                    "X.columns = map(str, X.columns)"
                )
            return None
        unseen = dict(zip(names, self._label_columns(len(names)), strict=True))
        levels = {name: before.get(name) or levels_of(X[name], name) for name in labels if unseen[name] is not None}
        if wrong := [name for name in labels if name not in levels or not (reset or name in before)]:
            raise ValueError(
                f"column {wrong[0]!r} holds labels, such as {first_of(X[wrong[0]])!r}, where numbers are expected: "
                "leave it out, or give it the family Categorical(), as family='auto' does"
            )
        validate_data(self, X, skip_check_array=True, reset=reset)  # names and number of columns
        parts = [
            codes_of(X[name], Column(name, levels[name]), unseen[name] or "error") if name in levels
            else values_of(X[name], name)[0]
            for name in names
        ]  # fmt: skip
        if reset:
            self.__dict__["levels_"] = levels
        return check_array(np.column_stack(parts), dtype=np.float64, ensure_all_finite=self._finite, estimator=self)

    def _columns(self) -> list[Column]:
        """Return the columns of the fit: their names, or numbers where they have none, and the levels of labels."""
        names = self.__dict__.get("feature_names_in_", range(self.__dict__.get("n_features_in_", 0)))
        levels = self.__dict__.get("levels_", {})
        return [Column(str(name), levels.get(name)) for name in names]

    @contextlib.contextmanager
    def _naming_columns(self) -> Iterator[None]:
        """Say of a value that is impossible how its column is called, if columns have names."""
        try:
            yield
        except OutsideSupportError as error:
            if not hasattr(self, "feature_names_in_"):
                raise
            raise error.called(self._columns()[error.column]) from error.__cause__

    def _open(self, X: Any, reset: bool = False) -> Any:
        """Return a source as rows, and anything else as it is."""
        return self._opened(X, reset) if is_source(X) else X

    def _opened(self, source: Any, reset: bool) -> Any:
        """Return a source as rows; of columns with names, those of the fit."""
        names = self._names_of_columns() if reset else getattr(self, "feature_names_in_", None)
        if names is None or is_rows(source):
            return rows_from(source, n_jobs=self.n_jobs)
        try:
            return rows_from(source, list(names), n_jobs=self.n_jobs)
        except UnnamedError:
            warn_caller(f"X has no names of columns; {type(self).__name__} was fitted to {list(names)}", UserWarning)
            return rows_from(source, n_jobs=self.n_jobs)

    def _checked_elsewhere(self, rows: Any, reset: bool) -> Any:
        """Return rows that are not in memory, once they are numbers in the columns of the fit."""
        raise ValueError(f"{not_in_memory(type(self).__name__)}. KMeans takes rows from elsewhere")

    @undisturbed
    def _checked_rows(self, X: Any) -> Any:
        """Return X checked against the rows of the fit."""
        if "mixture_" not in self.__dict__:
            check_is_fitted(self, "mixture_")
        return X if self._needs_no_check(X) else self._validated(X, reset=False)

    def _are_few(self, X: Any) -> bool:
        """Whether X is an array of few rows in which `_validated` would find nothing amiss: threads would not pay.

        Not with an ``n_jobs`` that makes no sense: who makes threads refuses it.
        """
        threads, mixture = self.n_jobs, self.__dict__.get("mixture_")
        if type(X) is not np.ndarray or X.ndim != 2 or len(X) > AT_ONCE_ROWS or mixture is None:
            return False
        if len(X) * mixture.natural.size > AT_ONCE_WORK:
            return False
        return (threads is None or (type(threads) is int and threads != 0)) and self._needs_no_check(X)

    def _needs_no_check(self, X: Any) -> bool:
        """Whether X is an array in which `_validated` would find nothing amiss, in a tenth of its time."""
        fitted = self.__dict__
        if type(X) is not np.ndarray or X.ndim != 2 or not X.size or X.dtype not in (np.float64, np.float32):
            return False
        if X.shape[1] != fitted.get("n_features_in_") or "feature_names_in_" in fitted or "levels_" in fitted:
            return False
        if len(X) <= AT_ONCE_ROWS:
            return bool(np.isfinite(X).all())
        total = ArrayRows(X, None, self.n_jobs or None).reduce(_sum_chunk, ENTRY_WORK * X.shape[1])
        return bool(np.isfinite(total))  # a sum that overflows is looked at again

    def _as_fitted(self, X: Any) -> Any:
        """Return rows, checked, as the family of the fit takes them."""
        return self._checked_rows(X)

    def plot(
        self, X: Observations | None = None, *, columns: Sequence[int | str] | int | str | None = None,
        ax: Axes | None = None,
    ) -> Axes | NDArray[Any]:  # fmt: skip
        """Draw rows and what was fitted to them, in the way that suits their columns.

        One column gives a histogram with densities, two a scatter plot with contours, up to six every pair of columns.
        More columns, labels and 0/1 columns are drawn as profiles. `expfam_em.plots` has each of these pictures, and
        those of bounds, starts, responsibilities and uncertainty.

        Parameters
        ----------
        X : (n, d)
            Rows to draw, of which a model keeps none.
        columns : names or numbers, or one of them, optional
            Those to draw.
        ax : Axes, optional
            Where to draw one picture; by default a figure of its own.

        Returns
        -------
        Axes, or an array (m, m) of them for pairs of m columns

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError
            Without X.
        ValueError
            If a column is not there, or pairs of columns are to be drawn into one pair of axes.
        """
        check_is_fitted(self, "mixture_")
        if X is None:
            raise TypeError("plot needs X, rows to draw the model with: a model keeps none")
        return plot_model(self, X, columns=columns, ax=ax)

    @undisturbed
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to one file without pickle; `expfam_em.load` reads it back."""
        check_is_fitted(self, "mixture_")
        save(self, path)
