"""The fit, predict and score shared by the estimators of mixtures."""

from __future__ import annotations

import contextlib
import os
import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import entr
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, _num_samples, check_is_fitted, validate_data

from expfam_em.em import loop
from expfam_em.em.starts import INITS, Starts, initialise_all
from expfam_em.estep.plan import Pass, plan
from expfam_em.estep.reduce import check_support
from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import bind
from expfam_em.family.optional import translate, translate_expectation
from expfam_em.rows import csr
from expfam_em.rows.distinct import distinct
from expfam_em.rows.memory import ArrayRows, check_total
from expfam_em.rows.threads import single_threaded_blas
from expfam_em.rows.typing import Array, Block, Floats, Integers, Observations, RandomState
from expfam_em.saving.files import save
from expfam_em.values.evaluate import Evaluated, evaluate
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

if TYPE_CHECKING:
    F = TypeVar("F", bound=Callable[..., Any])

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]:
        """Return scikit-learn's decorator of ``fit``, which validates the parameters of the estimator first."""
else:
    from sklearn.base import _fit_context as fit_context

NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)
ANY_INIT = [StrOptions(set(INITS)), Mixture, "array-like"]


def generator(random_state: RandomState) -> np.random.Generator:
    """Return a Generator from a scikit-learn random state; None leaves NumPy's global state alone."""
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def checked_weight(sample_weight: ArrayLike | None, X: Any) -> Array | None:
    """Return row weights as float64, or None where there are none."""
    if sample_weight is None:
        return None
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


def _named_parameters(stack: Mixture) -> dict[str, Any]:
    """Return the named parameters of each mixture of a stack, with a leading axis."""
    B, K = stack.weights.shape
    if B > 1 and not stack.family.coupled:
        together = stack.family.parameters(stack.flat_natural)
        if all(len(value) == B * K for value in together.values()):
            return {name: value.reshape(B, K, *value.shape[1:]) for name, value in together.items()}
    apart = [stack[at].parameters for at in range(B)]
    return {name: np.stack([one[name] for one in apart]) for name in apart[0]}


def _finite_attributes(arrays: dict[str, Array], n_results: int) -> np.ndarray:
    """Return for each result whether all of its attributes are finite, (B,)."""
    finite = np.ones(n_results, bool)
    for value in arrays.values():
        finite &= np.isfinite(value.reshape(n_results, -1)).all(axis=1)
    return finite


def is_sound(result: Any) -> bool:
    """Whether a run has come to parameters: it has not collapsed, and its bound has not fallen."""
    return isinstance(result, loop.FitResult) and result.status is not loop.Status.BOUND_FELL


def _rank(result: Any) -> tuple[int, float]:
    """Return what makes one result better than another: first how it ended, then its bound."""
    if not isinstance(result, loop.FitResult):
        return (0, 0.0)
    return (2 if is_sound(result) else 1, result.bounds[-1] + result.log_priors[-1])


def _misled(results: Sequence[Any], data: Integers) -> np.ndarray:
    """Return the runs left behind on data sets where all that were ahead came to nothing: they have to begin again."""
    sound = np.array([is_sound(result) for result in results])
    behind = np.array([is_sound(result) and result.status is loop.Status.BEHIND for result in results])
    return np.flatnonzero(behind & ~np.isin(data, data[sound & ~behind]))


@contextlib.contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
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

    _dtypes: tuple[Any, ...] = (np.float64, np.float32)
    _parameter_constraints: dict[str, Any] = {
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

    n_components: int
    temperature: float | Sequence[float]
    tol: float
    max_iter: int
    n_init: int
    init: Any
    prior: ExpectedStatistics | None
    concentration: ArrayLike
    weights: Literal["free", "equal", "fixed"]
    stop: Literal["bound", "parameters"]
    acceleration: None
    random_state: RandomState
    n_jobs: int | None
    warm_start: bool
    verbose: int
    verbose_interval: int

    mixture_: Mixture
    weights_: Floats
    natural_parameters_: Array
    expectation_parameters_: Array
    parameters_: dict[str, Floats]
    lower_bound_: float
    lower_bounds_: list[float]
    n_iter_: int
    converged_: bool
    status_: str
    n_features_in_: int

    @abstractmethod
    def _make_family(self) -> ExponentialFamily:
        """Return the family as the user knows it, not yet bound to data."""

    def _starts(
        self, pass_: Pass, data: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        """Return where runs on the data sets ``data`` (B,) start."""
        return initialise_all(pass_, data, self.n_components, self.init, rng, weights=self.weights, prior=prior)

    @property
    def _init_in_use(self) -> Any:
        return self.init

    def _validated(self, X: Observations, reset: bool = True) -> Any:
        """Return X as scikit-learn checks it, an array or a block of CSR rows."""
        if sparse.issparse(X):
            checked.refuse_sparse(self._make_family())
        dtypes = list(self._dtypes)
        return csr.observations(validate_data(self, X, accept_sparse="csr", dtype=dtypes, order=None, reset=reset))

    def _prepare(self, X: Any, fitting: bool = False) -> tuple[Any, dict[str, Any]]:
        """Return validated rows as the family takes them, and what is to be remembered of it."""
        return X, {}

    # ---- fitting --------------------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Observations, y: object = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture to rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Sparse where the family keeps zeros, as Bernoulli and Poisson do.
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
            X = self._validated(X)
            self._fit(X, checked_weight(sample_weight, X))
        return self

    def fit_predict(self, X: Observations, y: object = None, sample_weight: ArrayLike | None = None) -> Integers:
        """Fit the mixture and return the label of each row, (n,)."""
        return self.fit(X, y, sample_weight).predict(X)

    def _fit(self, X: Any, weight: Array | None) -> None:
        if len(X) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(X)}"
            )
        prepared, remembered = self._prepare(X, fitting=True)
        rows = ArrayRows(prepared, weight, self.n_jobs)
        plain, [best] = self._followed(rows)
        if isinstance(best, loop.CollapsedError):
            raise self._refusal(best) from best
        if best.status is loop.Status.BOUND_FELL:
            raise self._fall(plain, best)
        if not best.converged and self.max_iter > 0:
            warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=4)
        [fitted] = self._fitted(plain, [best], X.dtype)
        self.__dict__.update(fitted | remembered)

    def _followed(self, rows: ArrayRows) -> tuple[ExponentialFamily, list[Any]]:
        """Return the family and the best result for each data set, or the error of one where every start collapsed."""
        check_total(rows)
        plain = self._make_family()
        check_support(plain, rows)
        warm = self.warm_start and hasattr(self, "mixture_")
        rows = self._without_repetition(rows, warm)
        family = bind(plain, rows)
        pass_ = plan(family, rows, self.n_components)
        prior = self._prior_of(plain, family)
        if warm:
            data, rng, init = np.zeros(1, np.int64), None, self.mixture_
            starts = initialise_all(pass_, data, self.n_components, init, rng)
        else:
            data, rng = np.tile(np.arange(rows.n_data), self.n_init), generator(self.random_state)
            starts = self._starts(pass_, data, rng, prior)
        results = self._run(starts.mixture, pass_, data[starts.runs], prior) if len(starts.runs) else []
        best: list = [starts.collapsed.get(at) for at in range(rows.n_data)]
        for run, result in zip(starts.runs, results, strict=True):
            if best[data[run]] is None or _rank(result) > _rank(best[data[run]]):
                best[data[run]] = result
        return plain, best

    def _without_repetition(self, rows: ArrayRows, warm: bool) -> ArrayRows:
        """Return the distinct rows with their weights, where that saves work and no start is drawn or given by row."""
        init = self._init_in_use
        by_row = not warm and (init == "random" if isinstance(init, str) else not isinstance(init, Mixture))
        if by_row or rows.n_data > 1 or isinstance(rows.X, csr.CSRBlock):
            return rows
        found = distinct(rows.X, rows.sample_weight)
        return rows if found is None else ArrayRows(*found, self.n_jobs)

    def _fall(self, plain: ExponentialFamily, result: loop.FitResult) -> ValueError:
        """Return the error for a fit whose bound fell."""
        return ValueError(
            f"{result.status.value} It fell by {result.fall:.3g} from {result.bounds[-1]:.10g} at step "
            f"{result.n_iter + 1} ({plain!r})."
        )

    def _refusal(self, error: ValueError) -> ValueError:
        """Return the error for a fit in which every start has collapsed."""
        return ValueError(str(error))

    def _prior_of(self, plain: ExponentialFamily, family: ExponentialFamily) -> ExpectedStatistics | None:
        """Return the prior, checked; one that has no family is in the coordinates of the observations."""
        if (prior := self.prior) is None:
            return None
        if np.shape(prior.counts) != (self.n_components,):
            raise ValueError(f"prior has {len(prior.counts)} components; this mixture has {self.n_components}")
        if not (np.all(prior.exposures >= 0) and np.all(np.isfinite(prior.sums))):
            raise ValueError(f"prior has counts {prior.exposures}, sums {prior.sums}; they must be ≥ 0 and finite")
        form = family.kernel_form(self.n_features_in_)
        if form is not None and prior.sums.shape[1] != (p := form.monomials.n_statistics):
            raise ValueError(f"prior has sums of shape {prior.sums.shape}; this mixture needs {(self.n_components, p)}")
        return prior if prior.family is not None else replace(prior, family=plain)

    def _run(self, start: Mixture, pass_: Pass, data: Integers, prior: ExpectedStatistics | None) -> list[Any]:
        if prior is not None and prior.sums.shape != start.natural.shape[1:]:
            raise ValueError(
                f"prior has sums of shape {prior.sums.shape}; this mixture needs {start.natural.shape[1:]}"
            )
        how: dict[str, Any] = {
            "max_iter": self.max_iter, "tol": self.tol, "temperature": self.temperature, "prior": prior,
            "concentration": self.concentration, "weights": self.weights, "stop": self.stop, "drop": True,
            "callback": self._report(len(data), pass_.rows.total_weights[data]),
        }  # fmt: skip
        results = self._ranked(loop.fit_all(start, pass_, data, **how))
        while len(again := _misled(results, data)):
            once_more = self._ranked(loop.fit_all(start[again], pass_, data[again], **how))
            for run, result in zip(again, once_more, strict=True):
                results[run] = result
        return results

    def _ranked(self, results: list[Any]) -> list[Any]:
        """Return results fit to be compared: one whose attributes are not finite counts as collapsed."""
        sound = [at for at, result in enumerate(results) if is_sound(result)]
        if len(results) < 2 or not sound:
            return results  # a single one is refused by `_fitted`
        stack = Mixture.stack([results[at].mixture for at in sound])
        finite = _finite_attributes(self._attributes(_named_parameters(stack)), len(sound))
        for at in (sound[i] for i in np.flatnonzero(~finite)):
            results[at] = loop.CollapsedError("the parameters of a component are not finite in the units of X")
        return results

    def _report(self, n_runs: int, totals: Array) -> Callable[[int, int, Mixture, float], None] | None:
        """Return what to call after every step of a run: the command line sets ``_progress``."""
        if (progress := getattr(self, "_progress", None)) is not None:
            of_run = [progress(run, totals[run]) for run in range(n_runs)]
            return lambda run, step, mixture, bound: of_run[run](step, mixture, bound)
        if not self.verbose:
            return None

        def callback(run: int, step: int, mixture: Mixture, bound: float) -> None:
            if step % self.verbose_interval == 0:
                print(f"start {run}, iteration {step}: mean bound {bound / totals[run]:.8f}")

        return callback

    def _fitted(self, plain: ExponentialFamily, results: list[Any], dtype: Any) -> list[dict[str, Any]]:
        """Return the fitted attributes of each result; they are set together, so that no fit is left half done."""
        stack = Mixture.stack([result.mixture for result in results])
        as_given = dtype if dtype == np.float32 else np.float64
        shape, flat = stack.natural.shape, (-1, stack.natural.shape[2])
        natural = translate(stack.family, stack.flat_natural, plain).reshape(shape)
        expectation = translate_expectation(stack.family, stack.expectation.reshape(flat), plain).reshape(shape)
        named = _named_parameters(stack)
        arrays = self._attributes(named)
        if not _finite_attributes(arrays, len(results)).all():
            raise self._refusal(loop.CollapsedError("the parameters of a component are not finite in the units of X"))
        return [
            {
                "mixture_": result.mixture,
                "weights_": result.mixture.weights.astype(as_given),
                "natural_parameters_": natural[at],
                "expectation_parameters_": expectation[at],
                "parameters_": {name: value[at].astype(as_given) for name, value in named.items()},
                **{name: value[at].astype(as_given) for name, value in arrays.items()},
                "lower_bound_": result.bound / result.total_weight,
                "lower_bounds_": (result.bounds[1:] / result.total_weight).tolist(),
                "n_iter_": result.n_iter,
                "converged_": result.converged,
                "status_": result.status.value,
            }
            for at, result in enumerate(results)
        ]

    def _attributes(self, named: dict[str, Array]) -> dict[str, Any]:
        """Return attributes made of the named parameters, as stacks over results."""
        return {}

    # ---- using ----------------------------------------------------------------------------------------------

    def _rows(self, X: Any) -> tuple[Any, Any]:
        check_is_fitted(self, "mixture_")
        X = self._validated(X, reset=False)
        dtype = np.float32 if X.dtype == np.float32 else np.float64
        X, _ = self._prepare(X)
        checked.check_rows(self.mixture_.family, X)
        return X, dtype

    def _evaluate(self, X: Any, **wanted: Any) -> Evaluated:
        return evaluate(self.mixture_.family, self.mixture_.scores, X, n_jobs=self.n_jobs, **wanted)

    def predict(self, X: Observations) -> Integers:
        """Return the most probable component of each row, (n,); the lower index wins a tie."""
        rows, _ = self._rows(X)
        return self._evaluate(rows, labels=True).labels

    def predict_proba(self, X: Observations) -> Floats:
        """Return the responsibilities p(k|x), (n, K)."""
        rows, dtype = self._rows(X)
        return self._evaluate(rows, responsibilities=True).responsibilities.astype(dtype, copy=False)

    def score_samples(self, X: Observations) -> Floats:
        """Return log p(x) of each row, (n,)."""
        rows, dtype = self._rows(X)
        return self._evaluate(rows, log_density=True).log_density.astype(dtype, copy=False)

    def score(self, X: Observations, y: object = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-likelihood per row, or per unit of weight."""
        given: Any = X
        weight = None if sample_weight is None else checked_weight(sample_weight, given)
        if weight is not None:
            given = given.tocsr() if sparse.issparse(given) else given
            given, weight = _safe_indexing(given, np.flatnonzero(weight > 0)), weight[weight > 0]  # weight 0 is absence
        rows, _ = self._rows(given)
        return float(np.average(self._evaluate(rows, log_density=True).log_density, weights=weight))

    def sample(self, n_samples: int = 1) -> tuple[Block, Integers]:
        """Return n rows drawn from the mixture, (n, d), and their components, (n,)."""
        check_is_fitted(self, "mixture_")
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        return self.mixture_.sample(n_samples, generator(self.random_state))

    # ---- criteria -------------------------------------------------------------------------------------------

    def _deviance(self, X: Observations, sample_weight: ArrayLike | None) -> tuple[float, float]:
        """Return −2 log L and n, the total row weight."""
        score = self.score(X, sample_weight=sample_weight)
        weight = checked_weight(sample_weight, X)
        n = float(_num_samples(X) if weight is None else weight.sum())
        return -2 * n * score, n

    def aic(self, X: Observations, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's criterion −2 log L + 2 m for m free parameters; lower is better."""
        return self._deviance(X, sample_weight)[0] + 2 * self.mixture_.n_parameters

    def bic(self, X: Observations, sample_weight: ArrayLike | None = None) -> float:
        """Return Schwarz's criterion −2 log L + m log n; lower is better."""
        deviance, n = self._deviance(X, sample_weight)
        return float(deviance + self.mixture_.n_parameters * np.log(n))

    def icl(self, X: Observations, sample_weight: ArrayLike | None = None) -> float:
        """Return the integrated completed likelihood, BIC + 2 Σ −r log r (Biernacki et al. 2000); lower is better."""
        entropy = entr(self.predict_proba(X)).sum(axis=1)
        weight = checked_weight(sample_weight, X)
        return self.bic(X, sample_weight) + 2 * float(entropy.sum() if weight is None else weight @ entropy)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the estimator to one file without pickle; `expfam_em.load` reads it back."""
        check_is_fitted(self, "mixture_")
        save(self, path)
