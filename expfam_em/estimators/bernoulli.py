"""Mixtures of products of Bernoulli distributions: latent classes of binary data."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval, StrOptions

from expfam_em.em.bayes import WeightsPrior
from expfam_em.em.options import Acceleration, Stop
from expfam_em.estimators.base import BaseMixture, Prior
from expfam_em.estimators.elsewhere import refuse_not_finite
from expfam_em.estimators.shell import warn_caller
from expfam_em.families.counts import Bernoulli
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import Chunk, is_rows
from expfam_em.rows.typing import Array, Floats, Integers, RandomState
from expfam_em.saving.files import saved
from expfam_em.values.mixture import Mixture

BINARY_SHARE = 0.8
"""Data with a binary column, or at least this share of 0s and 1s, are taken for binary data with mistakes."""


@saved
class BernoulliMixture(BaseMixture):
    """Mixture of products of Bernoulli distributions, for 0/1 data.

    Parameters
    ----------
    n_components : int ≥ 1
        Number of components K.
    binarize : "auto", float or None
        A float makes x > binarize a 1, as in scikit-learn's BernoulliNB. None refuses everything but 0 and 1. "auto"
        refuses other values where a column or most of the data are 0 or 1, for they are mistakes then; otherwise it
        takes values above 0 as 1, and warns. Sparse rows must be binary already.
    temperature, tol, max_iter, n_init, init, prior, concentration, weights, stop, acceleration, labelled,
    random_state, n_jobs, warm_start, verbose, verbose_interval, bayesian, weights_prior
        See `ExponentialFamilyMixture`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, d)
    threshold_ : float or None
        The threshold in use.
    mixture_, parameters_, natural_parameters_, expectation_parameters_, lower_bound_, lower_bounds_, start_bounds_,
    n_iter_, converged_
        See `ExponentialFamilyMixture`.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    >>> ef.BernoulliMixture(2, random_state=0).fit(X).weights_.round(3).tolist()
    [0.5, 0.5]
    """

    _dtypes = (np.float64, np.float32, np.uint8, np.bool_)
    _parameter_constraints: dict[str, Any] = {
        **BaseMixture._parameter_constraints,
        "binarize": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither"), None],
    }

    probabilities_: Floats
    threshold_: float | None

    def __init__(
        self,
        n_components: int = 1,
        *,
        binarize: float | Literal["auto"] | None = "auto",
        temperature: float | Sequence[float] = 1.0,
        tol: float = 1e-8,
        max_iter: int = 500,
        n_init: int = 1,
        init: str | Mixture | ArrayLike = "auto",
        prior: Prior = None,
        concentration: ArrayLike = 1.0,
        weights: Literal["free", "equal", "fixed"] = "free",
        stop: Stop = "maximum",
        acceleration: Acceleration = "auto",
        labelled: bool = False,
        random_state: RandomState = None,
        n_jobs: int | None = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        bayesian: bool = False,
        weights_prior: WeightsPrior = "process",
    ) -> None:
        self.n_components = n_components
        self.binarize = binarize
        self.temperature = temperature
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init = init
        self.prior = prior
        self.concentration = concentration
        self.weights = weights
        self.stop = stop
        self.acceleration = acceleration
        self.labelled = labelled
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.bayesian = bayesian
        self.weights_prior = weights_prior

    def _make_family(self) -> Bernoulli:
        return Bernoulli()

    def _made_of(self, mixture: Mixture) -> dict[str, Any]:
        threshold = self.binarize if isinstance(self.binarize, Real) else None
        return super()._made_of(mixture) | {"threshold_": self.__dict__.get("threshold_", threshold)}

    def _prepare(self, X: Any, fitting: bool = False) -> tuple[Any, dict[str, Any]]:
        rows = X if is_rows(X) else ArrayRows(X, None, self.n_jobs)
        if rows.is_sparse:
            rows.reduce(_require_binary, ENTRY_WORK * rows.n_features)
            threshold = self.threshold_ if not fitting else None if self.binarize == "auto" else self.binarize
            if threshold is not None and not 0 <= threshold < 1:
                raise ValueError(
                    f"X is sparse and the threshold {threshold!r}: all values would become the same. Give one from 0 "
                    "and below 1, which leaves 0 and 1 as they are"
                )
            return X, {"threshold_": threshold}
        threshold = self._choose_threshold(rows) if fitting else self.threshold_
        if threshold is not None and is_rows(X):
            X = X.derive(functools.partial(_above, threshold, getattr(X, "columns", None)), X.n_features)
        elif threshold is not None:
            missing = np.isnan(X)
            X = np.where(missing, np.nan, X > threshold) if missing.any() else X > threshold
        return X, {"threshold_": threshold}

    def _choose_threshold(self, rows: Any) -> float | None:
        if self.binarize != "auto":
            return self.binarize
        *binary, n = rows.reduce(_binary_or_missing, ENTRY_WORK * rows.n_features)
        if max(binary) == n or np.mean(binary) >= BINARY_SHARE * n:
            return None
        warn_caller(
            "X is not binary: values above 0 are taken as 1. Give binarize=threshold to choose, or binarize=None to "
            "have such data refused.",
            UserWarning,
        )
        return 0.0

    def _attributes(self, named: dict[str, Array], stack: Mixture) -> dict[str, Array]:
        return {"probabilities_": named["probabilities"]}


def _above(threshold: float, names: Any, chunk: Chunk) -> Chunk:
    refuse_not_finite(names, chunk)  # a missing value is not above the threshold, nor is it below
    return chunk._replace(X=np.asarray(chunk.X) > threshold)


def _binary_or_missing(chunk: Chunk) -> Integers:
    """Return how many rows of a chunk hold 0, 1 or nothing in each column, and how many rows there are, (d + 1,)."""
    X = chunk.X
    return np.append(np.count_nonzero((X == 0) | (X == 1) | np.isnan(X), axis=0), len(X))


def _require_binary(chunk: Chunk) -> int:
    """Raise a ValueError unless sparse rows hold 0 and 1 only: a threshold could turn all their zeros into ones."""
    X: Any = chunk.X
    others = (X.values != 0) & (X.values != 1)
    if others.any():
        entry = int(np.argmax(others))
        row, column = X.place(entry)
        raise ValueError(
            f"sparse rows must hold 0 and 1; column {column} holds {X.values[entry]!s} (row {chunk.first + row}). "
            "Compare the stored values with a threshold first, as in X.data = X.data > 0.5"
        )
    return 0
