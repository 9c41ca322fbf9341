"""Mixtures of products of Bernoulli distributions: latent classes of binary data."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from expfam_em.csr import CSRBlock
from expfam_em.estimators._base import BaseMixture
from expfam_em.families.bernoulli import Bernoulli

BINARY_SHARE = 0.8
"""Data with a binary column, or at least this share of 0s and 1s, are taken for binary data with mistakes."""


class BernoulliMixture(BaseMixture):
    """Mixture of products of Bernoulli distributions, for 0/1 data.

    Parameters
    ----------
    n_components : int ≥ 1
    binarize : "auto", float or None
        A float makes x > binarize a 1, as in scikit-learn's BernoulliNB. None refuses everything but 0 and 1. "auto"
        refuses other values where a column or most of the data are 0 or 1, for they are mistakes then; otherwise it
        takes values above 0 as 1, and warns.
    temperature, tol, max_iter, n_init, init, prior, concentration, weights, stop, acceleration, random_state,
    n_jobs, warm_start, verbose, verbose_interval
        See `ExponentialFamilyMixture`.

    Attributes
    ----------
    weights_ : (K,)
    probabilities_ : (K, d)
    threshold_ : float or None
        The threshold in use.
    mixture_, parameters_, natural_parameters_, expectation_parameters_, lower_bound_, lower_bounds_, n_iter_,
    converged_
        See `ExponentialFamilyMixture`.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    >>> ef.BernoulliMixture(2, random_state=0).fit(X).weights_.round(3).tolist()
    [0.5, 0.5]
    """

    _dtypes = (np.float64, np.float32, np.uint8, np.bool_)
    _parameter_constraints: dict = {
        **BaseMixture._parameter_constraints,
        "binarize": [StrOptions({"auto"}), Interval(Real, None, None, closed="neither"), None],
    }

    def __init__(
        self,
        n_components=1,
        *,
        binarize="auto",
        temperature=1.0,
        tol=1e-6,
        max_iter=500,
        n_init=1,
        init="k-means++",
        prior=None,
        concentration=1.0,
        weights="free",
        stop="bound",
        acceleration=None,
        random_state=None,
        n_jobs=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
    ):
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
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _make_family(self):
        return Bernoulli()

    def _prepare(self, X, fitting=False):
        threshold = self._choose_threshold(X) if fitting else self.threshold_
        return (X if threshold is None else _above(threshold, X)), {"threshold_": threshold}

    def _choose_threshold(self, X):
        if self.binarize != "auto":
            return self.binarize
        binary = _binary_share(X)
        if binary.max() == 1 or binary.mean() >= BINARY_SHARE:
            return None
        warnings.warn(
            "X is not binary: values above 0 are taken as 1. Give binarize=threshold to choose, or binarize=None to "
            "have such data refused.",
            UserWarning,
            stacklevel=5,
        )
        return 0.0

    def _attributes(self, named):
        return {"probabilities_": named["probabilities"]}


def _above(threshold, X):
    if not isinstance(X, CSRBlock):
        return X > threshold
    if threshold < 0:
        raise ValueError(
            f"binarize is {threshold!r} and X sparse: every zero would be a 1. Give a threshold from 0, or X.toarray()"
        )
    return X.with_values(X.values > threshold)


def _binary_share(X) -> np.ndarray:
    """Return the share of 0s and 1s in each column."""
    if not isinstance(X, CSRBlock):
        return np.mean((X == 0) | (X == 1), axis=0)
    others = (X.values != 0) & (X.values != 1)
    return 1 - np.bincount(X.columns, others, minlength=X.shape[1]) / len(X)
