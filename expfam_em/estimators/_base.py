"""The fit, predict and score shared by the estimators of mixtures."""

from __future__ import annotations

import contextlib
import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
from scipy.special import entr
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from expfam_em import em, initialisation
from expfam_em.blocks import ArrayRows, single_threaded_blas
from expfam_em.mixture import Mixture
from expfam_em.statistics import ExpectedStatistics

ANY_INIT = [StrOptions(set(initialisation.INITS)), Mixture, "array-like"]


def generator(random_state) -> np.random.Generator:
    """Return a Generator from whatever scikit-learn calls a random state; None leaves NumPy's global state alone."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def checked_weight(sample_weight, X):
    """Return row weights as float64, or None where there are none."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


@contextlib.contextmanager
def all_or_nothing(estimator):
    """Put every attribute back as it was if what is inside fails: nothing half fitted is left behind."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


class BaseMixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """Estimators of mixtures: the subclass says which family and where to start, this class does the rest."""

    _dtypes: tuple = (np.float64, np.float32)
    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="left"), "array-like"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init": ANY_INIT,
        "prior": [ExpectedStatistics, None],
        "concentration": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "weights": [StrOptions({"free", "equal", "fixed"})],
        "stop": [StrOptions({"bound", "parameters"})],
        "acceleration": [None],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": [Integral, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
    }

    @abstractmethod
    def _make_family(self):
        """Return the family as the user knows it, not yet bound to data."""

    def _start(self, family, rows, rng, prior) -> Mixture:
        return initialisation.initialise(
            family, rows, self.n_components, self.init, rng, weights=self.weights, prior=prior
        )  # fmt: skip

    def _prepare(self, X, fitting=False):
        """Return validated rows as the family takes them, and what is to be remembered of it."""
        return X, {}

    # ---- fitting --------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the mixture to rows.

        Parameters
        ----------
        X : array-like of shape (n, d)
        y : ignored
        sample_weight : array-like of shape (n,), optional
            Non-negative; a weight of 2 is the same as the row given twice, a weight of 0 as its absence.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For rows outside the family's support, fewer rows than components, or a component that collapses.
        """
        with all_or_nothing(self), single_threaded_blas():  # products outside the kernel: same bits everywhere
            X = validate_data(self, X, dtype=list(self._dtypes), order=None)
            self._fit(X, checked_weight(sample_weight, X))
        return self

    def fit_predict(self, X, y=None, sample_weight=None):
        """Fit the mixture and return the label of each row, (n,)."""
        return self.fit(X, y, sample_weight).predict(X)

    def _fit(self, X, weight):
        if len(X) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(X)}"
            )
        prepared, remembered = self._prepare(X, fitting=True)
        rows = ArrayRows(prepared, weight, self.n_jobs)
        rows.check_total()
        plain = self._make_family()
        initialisation.check(plain, rows)
        family = plain.bind(rows)
        rng = generator(self.random_state)
        prior = self._prior_of(plain, family)
        warm = self.warm_start and hasattr(self, "mixture_")

        collapsed: list[em.CollapsedError] = []
        results = []
        for number in range(1 if warm else self.n_init):
            try:
                if warm:
                    start = initialisation.initialise(family, rows, self.n_components, self.mixture_)
                else:
                    start = self._start(family, rows, rng, prior)
                results.append(self._run(start, rows, prior, number))
            except em.CollapsedError as error:  # the other starts may do better
                collapsed.append(error)
        if not results:
            raise self._refusal(collapsed[0]) from collapsed[0]
        best = max(results, key=lambda result: result.bounds[-1] + result.log_priors[-1])
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase "
                "max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.__dict__.update(self._fitted(plain, best, X.dtype) | remembered)

    def _refusal(self, error):
        """Return the error for a fit of which every start has collapsed."""
        return ValueError(str(error))

    def _prior_of(self, plain, family):
        """Return the prior, given in the coordinates of the observations, in those of the bound family."""
        if (prior := self.prior) is None:
            return None
        if np.shape(prior.counts) != (self.n_components,):
            raise ValueError(f"prior has {len(prior.counts)} components; this mixture has {self.n_components}")
        if not (np.all(prior.exposures >= 0) and np.all(np.isfinite(prior.sums))):
            raise ValueError(f"prior has counts {prior.exposures}, sums {prior.sums}; they must be ≥ 0 and finite")
        monomials = plain.monomials(self.n_features_in_)
        if monomials is not None and prior.sums.shape[1] != monomials.n_statistics:
            raise ValueError(
                f"prior has sums of shape {prior.sums.shape}; this mixture needs "
                f"{(self.n_components, monomials.n_statistics)}"
            )
        present = np.where(prior.exposures > 0, prior.exposures, 1.0)[:, None]
        expectation = plain.change_frame_of_expectation(prior.sums / present, family)
        return ExpectedStatistics(
            prior.counts, expectation * prior.exposures[:, None], prior.bound, prior.exposures
        )  # fmt: skip

    def _run(self, start, rows, prior, attempt):
        if prior is not None and prior.sums.shape != start.natural.shape:
            raise ValueError(f"prior has sums of shape {prior.sums.shape}; this mixture needs {start.natural.shape}")
        result = em.fit(
            start, rows, max_iter=self.max_iter, tol=self.tol, temperature=self.temperature, prior=prior,
            concentration=self.concentration, weights=self.weights, stop=self.stop,
            callback=self._report(attempt, rows.total_weight),
        )  # fmt: skip
        if result.status is em.Status.BOUND_FELL:
            raise ValueError(
                f"{result.status.value} It fell by {result.fall:.3g} from {result.bounds[-1]:.10g} at step "
                f"{result.n_iter + 1} ({start.family!r})."
            )
        return result

    def _report(self, attempt, total):
        """Return what to call after every step of a start: the command line sets ``_progress``."""
        if (progress := getattr(self, "_progress", None)) is not None:
            return progress(attempt, total)
        if not self.verbose:
            return None

        def callback(step, mixture, bound):
            if step % self.verbose_interval == 0:
                print(f"start {attempt}, iteration {step}: mean bound {bound / total:.8f}")

        return callback

    def _fitted(self, plain, result, dtype) -> dict:
        """Return the fitted attributes; they are set together, so that no fit is ever left half done."""
        mixture = result.mixture
        natural = mixture.family.change_frame(mixture.natural, plain)
        as_given = dtype if dtype == np.float32 else np.float64
        return {
            "mixture_": mixture,
            "weights_": mixture.weights.astype(as_given),
            "natural_parameters_": natural,
            "expectation_parameters_": mixture.family.change_frame_of_expectation(mixture.expectation, plain),
            "parameters_": {name: value.astype(as_given) for name, value in mixture.parameters.items()},
            "lower_bound_": result.bound / result.total_weight,
            "lower_bounds_": (result.bounds[1:] / result.total_weight).tolist(),
            "n_iter_": result.n_iter,
            "converged_": result.converged,
            "status_": result.status.value,
        }

    # ---- using ----------------------------------------------------------------------------------------------

    def _rows(self, X):
        check_is_fitted(self, "mixture_")
        X = validate_data(self, X, dtype=list(self._dtypes), order=None, reset=False)
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        X, _ = self._prepare(X)
        self.mixture_.family.check_support(X)
        return X, dtype

    def _evaluate(self, X, **wanted):
        return em.evaluate(self.mixture_, X, n_jobs=self.n_jobs, **wanted)

    def predict(self, X):
        """Return the most probable component of each row, (n,); the lower index wins a tie."""
        X, _ = self._rows(X)
        return self._evaluate(X, log_density=False, labels=True)[0]

    def predict_proba(self, X):
        """Return the responsibilities p(k|x), (n, K)."""
        X, dtype = self._rows(X)
        return self._evaluate(X, log_density=False, responsibilities=True)[0].astype(dtype, copy=False)

    def score_samples(self, X):
        """Return log p(x) of each row, (n,)."""
        X, dtype = self._rows(X)
        return self._evaluate(X)[0].astype(dtype, copy=False)

    def score(self, X, y=None, sample_weight=None):
        """Return the mean log-likelihood per row, or per unit of weight."""
        weight = None if sample_weight is None else checked_weight(sample_weight, X)
        if weight is not None:
            X, weight = np.asarray(X)[weight > 0], weight[weight > 0]  # a row of weight 0 is absent
        X, _ = self._rows(X)
        return float(np.average(self._evaluate(X)[0], weights=weight))

    def sample(self, n_samples=1):
        """Return n rows drawn from the mixture, (n, d), and their components, (n,)."""
        check_is_fitted(self, "mixture_")
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        return self.mixture_.sample(n_samples, generator(self.random_state))

    # ---- criteria -------------------------------------------------------------------------------------------

    def _deviance(self, X, sample_weight):
        """Return −2 log L and n, the total row weight."""
        score = self.score(X, sample_weight=sample_weight)
        n = float(len(X) if sample_weight is None else checked_weight(sample_weight, X).sum())
        return -2 * n * score, n

    def aic(self, X, sample_weight=None):
        """Return Akaike's criterion −2 log L + 2 m for m free parameters; lower is better."""
        return self._deviance(X, sample_weight)[0] + 2 * self.mixture_.n_parameters

    def bic(self, X, sample_weight=None):
        """Return Schwarz's criterion −2 log L + m log n; lower is better."""
        deviance, n = self._deviance(X, sample_weight)
        return float(deviance + self.mixture_.n_parameters * np.log(n))

    def icl(self, X, sample_weight=None):
        """Return the integrated completed likelihood, BIC + 2 Σ −r log r (Biernacki et al. 2000); lower is better."""
        entropy = entr(self.predict_proba(X)).sum(axis=1)
        weight = checked_weight(sample_weight, X)
        return self.bic(X, sample_weight) + 2 * float(entropy.sum() if weight is None else weight @ entropy)

    def save(self, path):
        """Write the estimator to one file without pickle; `expfam_em.load` reads it back."""
        from expfam_em.persistence import save

        save(self, path)
