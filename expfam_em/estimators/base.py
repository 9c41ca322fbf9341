"""The fit, predict and score shared by the estimators of mixtures."""

from __future__ import annotations

import functools
import itertools
import os
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted

from expfam_em.analysis.criteria import Criteria, Sharpness, criteria
from expfam_em.analysis.effective import why_not_frequencies
from expfam_em.analysis.uncertainty import Fitted, standard_errors
from expfam_em.em.bayes import WEIGHTS, BayesResult, Model, WeightsPrior, check_proper, fit_bayes, weak_prior
from expfam_em.em.informed import check_known, is_known
from expfam_em.em.keeping import EVERY, drawn, has_ended, interruption, keeping
from expfam_em.em.known import ROWS_KNOWN, Given, Known, check_given, known_of, saying_known, warn_if_labels
from expfam_em.em.loop import fit_all
from expfam_em.em.named_priors import NAMES, named_prior
from expfam_em.em.options import Acceleration, Collapse, Options, Stop, Weights, check_prior
from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.starts import INITS, Starts, initialise_all
from expfam_em.em.state import State
from expfam_em.em.steps import accumulate, expected_statistics, with_missing
from expfam_em.em.watching import Callback, Fitting, watched
from expfam_em.estep.grouped import check_missing, with_groups
from expfam_em.estep.plan import Pass, plan, single_pass
from expfam_em.estep.reduce import check_support
from expfam_em.estimators.bases import DensityMixin, Transformer
from expfam_em.estimators.elsewhere import in_dtype, looked_at, set_or_check_columns, sharpness_chunk, weights_in
from expfam_em.estimators.guard import NO_OTHER, Guard, is_sound
from expfam_em.estimators.held import constrained_and_noise, starts_of, with_names_of_noise
from expfam_em.estimators.online import Streamed
from expfam_em.estimators.shell import (
    all_or_nothing,
    as_dtype,
    check_summarised,
    checked_weight,
    copied,
    fit_context,
    generator,
    refuse_rows,
    warn_caller,
)
from expfam_em.estimators.summary import Summary
from expfam_em.estimators.table import columns_of, entries_of_model, frame_of, records, with_names_of_levels
from expfam_em.family import checked
from expfam_em.family.alike import alike, fingerprint
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import bind
from expfam_em.family.conjugate import conjugate_of
from expfam_em.family.constraints import Bounds, Fixed, Tied
from expfam_em.family.kernel_form import form_of
from expfam_em.family.optional import label_columns, translate, translate_expectation
from expfam_em.progress import tell, with_bar
from expfam_em.rows import csr
from expfam_em.rows.distinct import distinct
from expfam_em.rows.memory import ArrayRows, check_total, count, of_data
from expfam_em.rows.protocol import Chunk, is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Floats, Integers, Mask, Observations
from expfam_em.sources.open import Source
from expfam_em.sources.writing import Out, write_by_row
from expfam_em.values.evaluate import Evaluated, evaluate, observed_rows, telling
from expfam_em.values.mixture import Mixture, mixture_of
from expfam_em.values.order import match, order
from expfam_em.values.statistics import ExpectedStatistics

Prior = ExpectedStatistics | Literal["weak", "mclust"] | None

NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)
NOT_FREQUENCIES = (
    "sample_weight does not say how often rows occur: {}. Criteria take log L and n = Σ w from weights as frequencies, "
    "so too small ones switch off BIC's penalty and let AIC choose one component. Give w * "
    "expfam_em.effective_sample_size(w) / w.sum() instead."
)
NOT_FINITE = (
    "the parameters of a component are not finite in the units of X: it has collapsed, or its numbers are beyond the "
    "range of float64; fit fewer components, add a prior or regularisation, or bring X to a scale near 1"
)
ANY_INIT = [StrOptions({"auto", *INITS}), Mixture, "array-like"]


def _named_parameters(stack: Mixture) -> dict[str, Any]:
    """Return the named parameters of each mixture of a stack, with a leading axis."""
    B, K = stack.weights.shape
    if B > 1 and not stack.family.coupled:
        together = checked.parameters(stack.family, stack.flat_natural)
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


def _misled(results: Sequence[Any], runs: Integers, guard: Guard) -> np.ndarray:
    """Return those of some runs that were dropped as behind another that failed or is spurious; they must be rerun."""
    leaders = guard.leaders(results, runs)
    followed = [at for at, run in leaders.items() if run not in guard.why]
    behind = np.array([is_sound(results[run]) and results[run].status is Status.BEHIND for run in runs], bool)
    return runs[behind & ~np.isin(guard.data_set[runs], followed)]


def _edge_sentences(stack: Mixture) -> list[list[str]]:
    """Return for each mixture a sentence for each edge of the parameter space that components are at."""
    found: list[list[str]] = [[] for _ in stack.weights]
    for edge, which in stack.edges.items():
        mixture, component = np.divmod(which, stack.n_components)
        for at in np.unique(mixture):
            here = component[mixture == at].tolist()
            verb = "are" if len(here) > 1 else "is"
            found[at].append(f"Component{'s' * (len(here) > 1)} {', '.join(map(str, here))} {verb} {edge}.")
    return found


def _of_same_constants(plain: ExponentialFamily, rows: ArrayRows) -> list[tuple[Integers, ExponentialFamily | None]]:
    """Return lots of data sets, by number, and the family with the constants of each; None where one is by itself."""
    if rows.n_data == 1:  # as all rows are that are not in memory
        return [(np.arange(1), None)]
    whole = bind(plain, rows)
    if fingerprint(whole) == fingerprint(plain):
        return [(np.arange(rows.n_data), whole)]
    families = [bind(plain, rows.of_data([at])) for at in range(rows.n_data)]
    lots: dict[Any, list[int]] = {}
    for at, family in enumerate(families):
        lots.setdefault(fingerprint(family), []).append(at)

    def family_of(key: Any, lot: list[int]) -> ExponentialFamily | None:
        if len(lot) == 1:
            return None
        together = bind(plain, rows.of_data(lot))  # in coordinates that suit all of them
        return together if fingerprint(together) == key else families[lot[0]]

    return [(np.array(lot), family_of(key, lot)) for key, lot in lots.items()]


def _ended_early(result: Any) -> bool:
    return isinstance(result, FitResult) and result.ended_early


def _tell_of_starts(callback: Callback, starts: Integers, state: State) -> object:
    """Call a callback with the numbers of the starts instead of those of the runs."""
    return callback(state._replace(run=starts[state.run]).frozen())


class BaseMixture(Transformer, DensityMixin, Streamed):
    """Estimators of mixtures: the subclass says which family and where to start, this class does the rest."""

    _finite = "allow-nan"
    _parameter_constraints: dict[str, Any] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="left"), "array-like"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init": ANY_INIT,
        "prior": [ExpectedStatistics, StrOptions(set(NAMES)), None],
        "fixed": [dict, None],
        "tied": [dict, str, "array-like"],  # of a string, `Constraint.of` says what to write
        "bounds": [dict, None],
        "noise": [StrOptions({"uniform"}), None],
        "concentration": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "weights": [StrOptions({"free", "equal", "fixed"})],
        "stop": [StrOptions({"maximum", "bound", "parameters"})],
        "acceleration": [StrOptions({"auto"}), None],
        "guard": ["boolean"],
        "collapse": [StrOptions({"error", "keep", "drop", "repair"})],
        "labelled": ["boolean"],
        "random_state": ["random_state", np.random.Generator],
        "n_jobs": [Integral, None],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "bayesian": ["boolean"],
        "weights_prior": [StrOptions(set(WEIGHTS))],
    }

    bayesian: bool = False
    weights_prior: WeightsPrior = "process"
    _merges = True  # whether components are merged where the bound rises by it

    n_components: int
    temperature: float | Sequence[float]
    tol: float
    max_iter: int
    n_init: int
    init: Any
    prior: Prior
    fixed: Fixed | None = None
    tied: Tied = ()
    bounds: Bounds | None = None
    noise: Literal["uniform"] | None = None
    concentration: ArrayLike
    weights: Weights
    stop: Stop
    acceleration: Acceleration
    guard: bool = False
    collapse: Collapse = "error"
    labelled: bool = False
    warm_start: bool
    verbose: int
    verbose_interval: int

    weights_: Floats
    natural_parameters_: Array
    expectation_parameters_: Array
    parameters_: dict[str, Floats] = copied()
    lower_bound_: float
    lower_bounds_: list[float] = copied()
    start_bounds_: Array
    support_: Array
    sound_: bool | None
    n_iter_: int
    converged_: bool
    status_: str
    posterior_: ExpectedStatistics

    @abstractmethod
    def _make_family(self) -> ExponentialFamily:
        """Return the family as the user knows it, not yet bound to data."""

    def _unfitted(self) -> Self:
        """Return a copy that is not fitted yet, of the same family where the rows of a fit have chosen it."""
        family = self.__dict__.get("family_")
        copy = clone(self)
        return copy if family is None else copy.set_params(family=family)

    def _whole(self, family: ExponentialFamily) -> ExponentialFamily:
        """Return a family under the constraints, and beside it that of the noise."""
        return constrained_and_noise(family, self)

    @property
    def _n_all(self) -> int:
        """Number of components, with that of the noise."""
        return self.n_components + (self.noise is not None)

    @property
    def _weights_rule(self) -> Weights:
        """How mixing weights are estimated."""
        return "fixed" if "weights" in (self.fixed or {}) else self.weights

    @property
    def _draws_components(self) -> bool:
        """Whether the components of a start come in any order."""
        return isinstance(self._init_in_use, str)

    def _starts(
        self, pass_: Pass, data_set: Integers, rng: np.random.Generator, prior: ExpectedStatistics | None
    ) -> Starts:
        """Return where runs on the data sets ``data_set`` (B,) start."""
        return initialise_all(
            pass_, data_set, self.n_components, self._init_in_use, rng, options=self._options(prior)
        )  # fmt: skip

    def _options(self, prior: ExpectedStatistics | None) -> Options:
        """Return what the user chooses of a fit; the prior has been checked."""
        return Options(
            self.max_iter, self.tol, self.temperature, prior, self.concentration, self._weights_rule, self.stop,
            self.acceleration, self.collapse,
        )  # fmt: skip

    @property
    def _init_in_use(self) -> Any:
        if isinstance(self.init, str) and self.init == "auto":
            return "mixed" if self.n_init > 1 else "k-means++"
        return self.init

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = self.labelled
        return tags

    def _validated(self, X: Any, reset: bool = True) -> Any:
        if sparse.issparse(X):
            checked.refuse_sparse(self._make_family())
        rows = super()._validated(X, reset)
        if not is_rows(rows):
            check_missing(self._make_family(), rows)
        return rows

    def _label_columns(self, n_columns: int) -> list[str | None]:
        return label_columns(self._make_family(), n_columns)

    def _checked_elsewhere(self, rows: Any, reset: bool) -> Any:
        set_or_check_columns(self, rows, reset)
        if rows.is_sparse:
            checked.refuse_sparse(self._make_family())
        return in_dtype(rows, self._dtypes)

    def _prepare(self, X: Any, fitting: bool = False) -> tuple[Any, dict[str, Any]]:
        """Return validated rows as the family takes them, and what is to be remembered of it."""
        return X, {}

    def _weights_of(self, X: Any, weight: Array | None) -> Array | None:
        """Return the weights of validated rows, 0 for those that a fit leaves out."""
        return weight

    def _prepare_each(self, X: Any, sizes: Sequence[int] | None) -> tuple[Any, tuple[dict[str, Any], ...]]:
        """Return the rows of data sets of so many rows as the family takes them, and what is to be kept of each."""
        if is_rows(X):
            rows, kept = self._prepare(X, fitting=True)
            return rows, (kept,)
        starts = np.cumsum([0, *([len(X)] if sizes is None else sizes)])
        pairs = [self._prepare(X[start:stop], fitting=True) for start, stop in itertools.pairwise(starts)]
        parts, remembered = zip(*pairs, strict=True)
        if len(parts) == 1:
            return parts[0], remembered
        as_given = isinstance(X, csr.CSRBlock) or all(np.may_share_memory(part, X) for part in parts)
        return X if as_given else np.concatenate(parts), remembered

    # ---- fitting --------------------------------------------------------------------------------------------

    @undisturbed
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None, *,
        allowed: ArrayLike | None = None, log_prior: ArrayLike | None = None, callbacks: Sequence[Callback] = (),
        checkpoint: str | os.PathLike[str] | None = None, checkpoint_every: float = EVERY,
    ) -> Self:  # fmt: skip
        """Fit the mixture to rows, of which the components may be known.

        What is fitted is Σ_n w_n log Σ_k π_k q_nk p(x_n|η_k): q is 1, or 0 for a component that a row cannot belong to
        by y or ``allowed``, times exp(``log_prior``) (Côme et al. 2009). Temperatures act on π q p.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d), or source
            Sparse where the family keeps zeros, as Bernoulli and Poisson do. A source is what `rows_from` takes and
            returns: a path, an HDF5 dataset, a function that returns batches. Its rows are read again in each step.
        y : (n,) int, optional
            With ``labelled``: k for a row of component k, −1 for one whose component is unknown. Otherwise ignored.
        sample_weight : array-like of shape (n,), optional
            Non-negative; a weight of 2 is the same as the row given twice, a weight of 0 as its absence.
        allowed : (n, K) bool, optional
            Components that each row may belong to.
        log_prior : (n, K), optional
            log q: what is known of each row besides X, as log-probabilities. Only differences within a row count for
            the fit. −∞ for a component that the row cannot belong to.
        callbacks : sequence of callable(State), optional
            Called after every step with where the runs stand: ``run`` (which of the starts), ``n_iter``, ``mixture``
            (a stack), ``bounds``, ``mean_bounds``. The fit ends if one of them returns True.
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
            For rows outside the family's support, fewer rows than components, or a component that collapses; for a row
            that may belong to no component, or a component to which no row may belong; if the checkpoint is that of
            another fit, or damaged.
        OSError
            If the checkpoint cannot be written when the fit begins.
        KeyboardInterrupt
            At Ctrl-C, once a step is finished: after the estimator has been given the last one. ``status_`` says so.

        Warns
        -----
        UserWarning
            If y looks like labels, some of them −1, and is ignored.
        """
        with keeping(checkpoint, checkpoint_every) as keeper, all_or_nothing(self), self._naming_columns():
            rows = self._validated(X)
            weight, K = checked_weight(sample_weight, rows), self._n_all
            if not self.labelled:
                warn_if_labels(y, K)
                y = None
            elif y is None:
                raise ValueError("labelled is True, which requires y to be passed, but the target y is None")
            known = known_of(Given(y, allowed, log_prior), rows, K, weight)
            keeper.open(lambda: self._belonging(rows, weight, allowed=known.allowed, log_prior=known.log_prior))
            callbacks = with_bar(callbacks, self.verbose)
            with watched(callbacks, lambda: Fitting.of(self, count(rows), weights_in(rows, weight))) as told:
                self._fit(rows, weight, told, known)
        return self

    def fit_predict(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None, *,
        allowed: ArrayLike | None = None, log_prior: ArrayLike | None = None, callbacks: Sequence[Callback] = (),
    ) -> Integers:  # fmt: skip
        """Fit the mixture and return what `predict` says of each row, (n,), without what is known of it; see `fit`."""
        given: Any = self._open(X, reset=True)
        fitted = self.fit(given, y, sample_weight, allowed=allowed, log_prior=log_prior, callbacks=callbacks)
        return fitted.predict(given)

    def _check_size(self, n: int) -> None:
        """Raise a ValueError for fewer rows than components."""
        if n < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {n}"
            )

    def _fit(
        self,
        X: Any,
        weight: Array | None,
        callbacks: Sequence[Callback],
        known: Known = Known(),  # noqa: B008 - a tuple
    ) -> None:
        if not is_rows(X):  # those are counted while they are read
            self._check_size(len(X))
        [fitted] = self._fit_each(X, weight, None, callbacks, known)
        has_ended()
        if isinstance(fitted, ValueError):
            raise interruption() or fitted
        if interruption() is not None and not fitted["status_"].startswith(ended := Status.INTERRUPTED.value):
            fitted |= {"status_": f"{ended} {fitted['status_']}", "converged_": False}
        if self._is_unfinished(fitted):
            warn_caller(NOT_CONVERGED)
        if fitted["sound_"] is False:
            warn_caller(NO_OTHER.format(fitted["status_"]))
        if not self.bayesian:
            self.__dict__.pop("posterior_", None)  # of a fit before this one
        self._set_fitted(saying_known(fitted, bool(known)))

    def _fit_each(
        self, X: Any, weight: Array | None, sizes: Sequence[int] | None, callbacks: Sequence[Callback],
        known: Known = Known(),  # noqa: B008 - a tuple
    ) -> list[dict[str, Any] | ValueError]:  # fmt: skip
        """Return the fitted attributes for each data set of so many rows, or the error in which its fit ends."""
        weight = weight if is_rows(X) else self._weights_of(X, weight)
        plain, prepared, remembered = self._make_family(), *self._prepare_each(X, sizes)
        offset: Any = known.log_prior
        if is_rows(X):
            rows = looked_at(prepared, plain, fitting=True)
            self._check_size(count(rows))
        else:
            rows = ArrayRows(prepared, weight, self.n_jobs, sizes, offset=offset)
        check_total(rows)
        rows = with_groups(plain, rows, allowed=known.allowed)
        check_support(plain, rows)
        found: list[Any] = [None] * rows.n_data
        for lot, family in _of_same_constants(plain, rows):
            numbers = np.add.outer(rows.n_data * np.arange(self.n_init), lot).ravel()  # of runs, among those of all
            told = [functools.partial(_tell_of_starts, callback, numbers) for callback in callbacks]
            results, of_starts = self._best_of_starts(plain, of_data(rows, lot), told, family)
            sound = [result for result in results if is_sound(result)]
            fitted = iter(self._fitted(plain, sound, X.dtype) if sound else [])
            for at, one, more in zip(lot, results, of_starts, strict=True):
                if not is_sound(one):
                    found[at] = self._error(plain, one)
                    continue
                found[at] = next(fitted) | remembered[at] | more
                found[at]["status_"] = " ".join([found[at]["status_"], *found[at].pop("why")])
        return found

    def _is_unfinished(self, fitted: dict[str, Any]) -> bool:
        """Whether a fit should have gone on: it has not converged, and nobody has ended it or asked for no step."""
        early = (Status.STOPPED.value, Status.INTERRUPTED.value)
        return self.max_iter > 0 and not fitted["converged_"] and not fitted["status_"].startswith(early)

    def _error(self, plain: ExponentialFamily, result: FitResult | CollapsedError) -> ValueError:
        error = self._failure(plain, result)
        error.__cause__ = result if isinstance(result, CollapsedError) else None
        return error

    def _best_of_starts(
        self, plain: ExponentialFamily, rows: Any, callbacks: Sequence[Callback], family: ExponentialFamily | None
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        """Return the best result for each data set, or the error of one where every start has collapsed.

        Beside it stand attributes that tell of the starts, and why it was chosen or not. The family is bound to the
        rows, unless it is given.
        """
        warm = self.warm_start and hasattr(self, "mixture_")
        rows = self._without_repetition(rows, warm)
        family = bind(plain, rows) if family is None else family
        check_known(family, rows)
        pass_ = plan(family, rows, self._n_all)
        data_set = np.tile(np.arange(rows.n_data), 1 if warm else self.n_init)
        pass_, prior, model = self._prior_and_model(plain, pass_, data_set)
        if warm:
            starts = initialise_all(pass_, data_set, self._n_all, self.mixture_)
        else:
            of_start = prior[0] if model is not None and prior is not None and prior.counts.ndim == 2 else prior
            rng = generator(self.random_state)
            found: Any = drawn(pass_.family, rng, lambda: tuple(starts_of(self, pass_, data_set, rng, of_start)))
            starts = Starts(*found)
        asked = self.guard and self.max_iter > 0 and model is None
        guard = Guard(rows, data_set[starts.runs], self._options(prior), asked)
        results = self._run(starts, pass_, guard, callbacks) if len(starts.runs) else []
        best: list = [starts.collapsed.get(at) for at in range(rows.n_data)]
        reached = np.full(len(data_set), -np.inf)
        for run, result in zip(starts.runs, results, strict=True):
            if is_sound(result):
                reached[run] = result.bound / result.total_weight
        more = [
            {"start_bounds_": bounds, "why": []} for bounds in np.ascontiguousarray(reached.reshape(-1, rows.n_data).T)
        ]
        for at, run in guard.chosen(results).items():
            best[at] = results[run]
            more[at] |= guard.attributes(results, run, starts.runs // rows.n_data)
        return best, more

    def _prior_and_model(
        self, plain: ExponentialFamily, pass_: Pass, data_set: Integers
    ) -> tuple[Pass, ExpectedStatistics | None, Model | None]:
        """Return the pass, of a family that heeds a prior by name, the prior, and what is known of a posterior."""
        model = self._model(pass_.family)
        pass_, prior = self._with_prior(plain, pass_, data_set)
        if model is not None:
            prior = self._default_prior(pass_, data_set) if prior is None else prior
            check_proper(prior, pass_.family, model)
        return pass_, prior, model

    def _without_repetition(self, rows: Any, warm: bool) -> Any:
        """Return the distinct rows with their weights, where that saves work and no start is drawn or given by row."""
        init = self._init_in_use
        by_row = not warm and (init == "random" if isinstance(init, str) else not isinstance(init, Mixture))
        if (
            by_row
            or not isinstance(rows, ArrayRows)
            or rows.n_data > 1
            or is_known(rows)
            or rows.groups is not None
            or rows.is_sparse
        ):
            return rows
        found = distinct(rows.X, rows.sample_weight)
        return rows if found is None else ArrayRows(*found, self.n_jobs)

    def _failure(self, plain: ExponentialFamily, result: FitResult | CollapsedError) -> ValueError:
        """Return the error for a fit in which every start has collapsed, or the bound of the best one fell."""
        if isinstance(result, CollapsedError):
            return ValueError(str(result))
        return ValueError(
            f"{result.status.value} It fell by {result.fall:.3g} from {result.bounds[-1]:.10g} at step "
            f"{result.n_iter + 1} ({plain!r})."
        )

    def _with_prior(
        self, plain: ExponentialFamily, pass_: Pass, data_set: Integers
    ) -> tuple[Pass, ExpectedStatistics | None]:
        """Return the pass, of a family that heeds a prior by name, and the prior, checked.

        A prior that has no family is in the coordinates of the observations.
        """
        if (prior := self.prior) is None:
            return pass_, None
        if isinstance(prior, str):
            if self.noise is not None:
                raise ValueError(f"prior={prior!r} is of components of one family, noise of another: give either")
            pass_, of_runs = named_prior(prior, pass_, data_set, self._n_all)
            return pass_, of_runs[0] if pass_.rows.n_data == 1 else of_runs
        if np.shape(prior.counts) != (self._n_all,):
            raise ValueError(f"prior has {len(prior.counts)} components; this mixture has {self._n_all}")
        check_prior(prior)
        form = form_of(pass_.family, self.n_features_in_)
        if form is not None and prior.sums.shape[1] != (p := form.monomials.n_statistics):
            raise ValueError(f"prior has sums of shape {prior.sums.shape}; this mixture needs {(self._n_all, p)}")
        return pass_, prior if prior.family is not None else replace(prior, family=plain)

    def _run(self, starts: Starts, pass_: Pass, guard: Guard, callbacks: Sequence[Callback]) -> list[Any]:
        """Return the result of every start; one dropped for another that failed or is spurious begins again."""
        options, data_set = guard.options, guard.data_set
        if options.prior is not None and options.prior.sums.shape[-2:] != starts.mixture.natural.shape[1:]:
            raise ValueError(
                f"prior has sums of shape {options.prior.sums.shape}; this mixture needs "
                f"{starts.mixture.natural.shape[1:]}"
            )
        model = self._model(pass_.family)
        callbacks = [*callbacks, self._tell] if self.verbose else list(callbacks)

        def followed(which: Integers) -> list[Any]:
            told = [functools.partial(_tell_of_starts, callback, starts.runs[which]) for callback in callbacks]
            start = starts.mixture if len(which) == len(data_set) else starts.mixture[which]
            if model is None:
                of_runs = options.prior
                of_runs = of_runs if of_runs is None or of_runs.counts.ndim == 1 else of_runs[starts.runs[which]]
                how = replace(options, prior=of_runs)
                return self._ranked(fit_all(start, pass_, data_set[which], how, callbacks=told, drop=True))
            return self._ranked(self._followed(start, pass_, starts.runs[which], data_set[which], options, told, model))

        which = np.arange(len(data_set))
        results = followed(which)
        while len(which := _misled(results, which, guard)) and not any(map(_ended_early, results)):
            for run, result in zip(which, followed(which), strict=True):
                results[run] = result
        return results

    # ---- variational Bayes ----------------------------------------------------------------------------------

    def _model(self, family: ExponentialFamily) -> Model | None:
        """Return what is known of a posterior before the rows; None if parameters are estimated by maxima."""
        if not self.bayesian:
            return None
        if self.weights != "free":
            raise ValueError(f"weights is {self.weights!r}; with bayesian=True they have a posterior: give 'free'")
        held = [name for name in ("fixed", "tied", "bounds", "noise") if getattr(self, name)]
        held = held or ["constraints of the family"] * bool(family._constraints())
        if held:
            raise ValueError(f"bayesian=True goes without {' and '.join(held)}: these hold estimates, not posteriors")
        conjugate_of(family)  # a family that has none says so before anything is computed
        return Model(WEIGHTS[self.weights_prior](self.concentration))

    def _default_prior(self, pass_: Pass, data_set: Integers) -> ExpectedStatistics:
        """Return the prior of runs on these data sets, (B, K)."""
        return weak_prior(pass_, data_set, self._n_all)

    def _followed(
        self, start: Mixture, pass_: Pass, runs: Integers, data_set: Integers, options: Options,
        callbacks: Sequence[Callback], model: Model,
    ) -> list[Any]:  # fmt: skip
        """Return the results of variational Bayes from some starts, or from the last posterior after a warm start."""
        prior, before = options.prior, self.__dict__.get("posterior_")
        if prior is not None and prior.counts.ndim == 2:
            options = replace(options, prior=prior[runs])
        if not self.warm_start or before is None or not np.isfinite(before.counts).all():
            return list(
                fit_bayes(start, pass_, data_set, options, model, callbacks=callbacks, drop=True, merge=self._merges)
            )
        posterior = before.repeated(len(data_set)).in_coordinates_of(start.family)
        return list(fit_bayes(start, pass_, data_set, options, model, posterior=posterior, callbacks=callbacks))

    def _of_posterior(self, result: Any) -> dict[str, Any]:
        """Return the fitted attributes of a posterior, if there is one; NaN for a mixture that was set."""
        if not self.bayesian:
            return {}
        if isinstance(result, BayesResult):
            return {"posterior_": result.posterior}
        unknown = np.full_like(result.mixture.natural, np.nan)
        return {"posterior_": ExpectedStatistics(unknown[:, 0], unknown, family=result.mixture.family)}

    # ---- the fitted state -----------------------------------------------------------------------------------

    def _ranked(self, results: list[Any]) -> list[Any]:
        """Return results fit to be compared: one whose attributes are not finite counts as collapsed."""
        sound = [at for at, result in enumerate(results) if is_sound(result)]
        if len(results) < 2 or not sound:
            return results  # a single one is refused by `_fitted`
        *_, finite = self._described(Mixture.stack([results[at].mixture for at in sound]))
        for at in (sound[i] for i in np.flatnonzero(~finite)):
            results[at] = CollapsedError(NOT_FINITE)
        return results

    def _tell(self, state: State) -> None:
        """Say where the runs stand, at the first step, at every interval and at the last step."""
        due = state.n_iter in (1, self.max_iter) or state.n_iter % self.verbose_interval == 0
        for run, bound, done in zip(state.run, state.mean_bounds, state.done, strict=True):
            if due or done:
                tell(f"start {run}, iteration {state.n_iter}: mean bound {bound:.8f}")

    def _made_of(self, mixture: Mixture) -> dict[str, Any]:
        plain, K = self._make_family(), self._n_all
        if not alike(plain, mixture.family):
            raise ValueError(f"mixture_ is set to a mixture of {mixture.family!r}; this estimator is one of {plain!r}")
        if mixture.n_components != K:
            raise ValueError(f"mixture_ is set to one of {mixture.n_components} components; n_components is {K}")
        old: Mixture | None = self.__dict__.get("mixture_")
        if old is not None and alike(old.family, mixture.family) and old.natural.shape[1] != mixture.natural.shape[1]:
            raise ValueError(
                f"mixture_ is set to one of {mixture.natural.shape[1]} natural parameters for each component, and had "
                f"{old.natural.shape[1]}: use a new estimator for rows of other columns"
            )
        unknown = FitResult(mixture, np.array([np.nan]), np.empty(0), np.zeros(1), Status.GIVEN, 0, 1.0)
        [fitted] = self._fitted(plain, [unknown], np.float64)
        return fitted

    def _fitted(self, plain: ExponentialFamily, results: list[Any], dtype: Any) -> list[dict[str, Any]]:
        """Return the fitted attributes of each result; they are set together, so that no fit is left half done."""
        as_given = np.float32 if dtype == np.float32 else np.float64
        as_rows_are = functools.partial(as_dtype, as_given)  # of copies: a slice would keep the stack
        stack = Mixture.stack([result.mixture for result in results])
        natural, named, arrays, finite = self._described(stack)
        if not finite.all():
            raise self._failure(plain, CollapsedError(NOT_FINITE))
        flat = (-1, natural.shape[2])
        expectation = translate_expectation(stack.family, stack.expectation.reshape(flat), plain).reshape(natural.shape)
        return [
            {
                "mixture_": result.mixture,
                "weights_": result.mixture.weights.astype(as_given),
                "natural_parameters_": natural[at],
                "expectation_parameters_": expectation[at],
                "parameters_": with_names_of_levels(
                    self, result.mixture, {name: as_rows_are(value[at].copy()) for name, value in named.items()}
                ),
                **{name: as_rows_are(value[at].copy()) for name, value in arrays.items()},
                "lower_bound_": result.bound / result.total_weight,
                "lower_bounds_": (result.bounds[1:] / result.total_weight).tolist(),
                "start_bounds_": np.array([result.bound / result.total_weight]),
                "n_iter_": result.n_iter,
                "converged_": result.converged,
                "status_": " ".join([result.status.value, *result.notes, *edges]),
                "support_": np.full(result.mixture.n_components, np.nan),
                "sound_": None,
                **self._of_posterior(result),
            }
            for at, (result, edges) in enumerate(zip(results, _edge_sentences(stack), strict=True))
        ]

    def _described(self, stack: Mixture) -> tuple[Array, dict[str, Any], dict[str, Any], Mask]:
        """Return η of x, the named parameters, what is made of them, and whether each mixture is finite, (B,)."""
        with np.errstate(all="ignore"):
            natural = translate(stack.family, stack.flat_natural, self._make_family()).reshape(stack.natural.shape)
        named = with_names_of_noise(_named_parameters(stack), stack.family, self.noise)
        arrays = self._attributes(named, stack)
        return natural, named, arrays, _finite_attributes({**arrays, "natural": natural}, len(natural))

    def _attributes(self, named: dict[str, Array], stack: Mixture) -> dict[str, Any]:
        """Return attributes made of the named parameters, or of the mixtures, as stacks over results."""
        return {}

    # ---- using ----------------------------------------------------------------------------------------------

    @undisturbed
    def _rows(self, X: Any) -> tuple[Any, Any]:
        """Return rows in groups by what is missing in them, once they are possible, and the dtype of answers."""
        complete = "mixture_" in self.__dict__ and self._needs_no_check(X)
        X = X if complete else self._checked_rows(X)
        return self._possible(X, complete)[1], np.float32 if X.dtype == np.float32 else np.float64

    @undisturbed
    def _possible(self, X: Any, complete: bool = False) -> tuple[Any, Any]:
        """Return validated rows as the family takes them, and in groups, once they are possible.

        ``complete`` says that no value is missing, so that nobody has to look.
        """
        X, _ = self._prepare(X)
        X = looked_at(X, self.mixture_.family) if is_rows(X) else X
        if complete:
            rows: Any = ArrayRows(X, None, self.n_jobs)
            rows.has_missing = False
        else:
            rows = observed_rows(self.mixture_.family, self.mixture_.natural, X, self.n_jobs)
        with self._naming_columns():
            check_support(self.mixture_.family, rows)
        return X, rows

    def _as_fitted(self, X: Any) -> Any:
        return self._prepare(super()._as_fitted(X))[0]

    def _evaluate(self, X: Any, **wanted: Any) -> Evaluated:
        mixture = self.mixture_
        return evaluate(mixture.family, mixture.scores, X, kept=mixture._prepared, **wanted)

    def _shown(self, labels: Integers) -> Integers:
        """Return labels with −1 for the noise, which is the last component."""
        return labels if self.noise is None else np.where(labels == self.n_components, -1, labels)

    @overload
    def predict(self, X: Observations | Source) -> Integers: ...
    @overload
    def predict(self, X: Observations | Source, *, out: Out) -> None: ...
    def predict(self, X: Observations | Source, *, out: Out | None = None) -> Integers | None:
        """Return the most probable component of each row, (n,); the lower index wins a tie, −1 is noise.

        Parameters
        ----------
        X : array-like, sparse matrix or source
            Rows.
        out : path, optional
            File to write them to instead, a part at a time: .npy, or .parquet with a column ``label``.
        """
        return self._said(X, "labels", ["label"], lambda labels, dtype: self._shown(labels), out)

    @overload
    def predict_proba(self, X: Observations | Source) -> Floats: ...
    @overload
    def predict_proba(self, X: Observations | Source, *, out: Out) -> None: ...
    def predict_proba(self, X: Observations | Source, *, out: Out | None = None) -> Floats | None:
        """Return the responsibilities p(k|x), (n, K).

        Parameters
        ----------
        X : array-like, sparse matrix or source
            Rows.
        out : path, optional
            File to write them to instead, a part at a time: .npy, or .parquet with columns ``component_0`` and so on.
        """
        names = [f"component_{k}" for k in range(self._n_all)]
        return self._said(X, "responsibilities", names, lambda r, dtype: r.astype(dtype, copy=False), out)

    @undisturbed
    def transform(self, X: Observations | Source) -> Floats:
        """Return the responsibilities p(k|x), (n, K), as a step of a pipeline; see `set_output` for frames.

        Parameters
        ----------
        X : array-like, sparse matrix or source
            Rows.
        """
        return self.predict_proba(X)

    @property
    def _n_features_out(self) -> int:
        return self._n_all

    @overload
    def score_samples(self, X: Observations | Source) -> Floats: ...
    @overload
    def score_samples(self, X: Observations | Source, *, out: Out) -> None: ...
    def score_samples(self, X: Observations | Source, *, out: Out | None = None) -> Floats | None:
        """Return log p(x) of each row, (n,).

        Parameters
        ----------
        X : array-like, sparse matrix or source
            Rows.
        out : path, optional
            File to write them to instead, as float64, a part at a time: .npy, or .parquet with a column
            ``log_density``.
        """
        names = ["log_density"]
        return self._said(X, "log_density", names, lambda v, dtype: v if out is not None else as_dtype(dtype, v), out)

    def _said(self, X: Any, what: str, names: list[str], shown: Callable[[Any, Any], Any], out: Out | None) -> Any:
        """Return what is said of each row, or write it to a file."""
        if out is None and self._are_few(X) and type(self)._prepare is BaseMixture._prepare:
            found = self.mixture_._told_of_few(X, what)
            if found is not None:
                return shown(found, X.dtype)
        return self._said_of_all(X, what, names, shown, out)

    @undisturbed
    def _said_of_all(
        self, X: Any, what: str, names: list[str], shown: Callable[[Any, Any], Any], out: Out | None
    ) -> Any:  # fmt: skip
        rows, dtype = self._rows(X)
        if out is None or isinstance(rows, ArrayRows):
            whole = shown(getattr(self._evaluate(rows, **{what: True}), what), dtype)
            if out is None:
                return whole
            return write_by_row(out, names, ArrayRows(whole), len(whole), lambda chunk: np.asarray(chunk.X), 1.0)
        wanted: Any = tuple(what == name for name in Evaluated._fields)
        tell = telling(self.mixture_.family, self.mixture_.scores, rows, 1.0, wanted)

        def of_chunk(chunk: Chunk) -> Any:
            [(_, found)] = tell(chunk).chunks
            return shown(found[wanted.index(True)], dtype)

        return write_by_row(out, names, rows, count(rows), of_chunk, tell.work)

    @undisturbed
    def score(self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-likelihood per row, or per unit of weight."""
        given: Any = self._open(X)
        weight = checked_weight(sample_weight, given)
        if is_rows(given):
            rows, _ = self._rows(given)
            return float(accumulate(self.mixture_, rows).bound / rows.total_weights[0])
        if weight is not None:
            given = given.tocsr() if sparse.issparse(given) else given
            given, weight = _safe_indexing(given, np.flatnonzero(weight > 0)), weight[weight > 0]  # weight 0 is absence
        rows, _ = self._rows(given)
        return float(np.average(self._evaluate(rows, log_density=True).log_density, weights=weight))

    @undisturbed
    def sample(self, n_samples: int = 1) -> tuple[Any, Integers]:
        """Return n rows drawn from the mixture, (n, d), and their components, (n,).

        If labels are coded (``levels_``), the rows are a frame with these labels; of which library, `to_frame` says.
        """
        check_is_fitted(self, "mixture_")
        if not isinstance(n_samples, Integral):
            raise TypeError(f"n_samples is {n_samples!r}; it must be a whole number from 1")
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        X, labels = self.mixture_.sample(n_samples, generator(self.random_state))
        checked.answer(self.mixture_.family, "sample", X, {"n": n_samples, "d": getattr(self, "n_features_in_", None)})
        return self._with_labels(X), self._shown(labels)

    def _with_labels(self, X: Any) -> Any:
        """Return rows as a frame with labels if these are coded, else as they are."""
        return frame_of(columns_of(X, self._columns()), self) if "levels_" in vars(self) else X

    @undisturbed
    def impute(self, X: Observations, method: Literal["mean", "draw"] = "mean") -> Any:
        """Return rows in which each missing value, NaN, is filled in given the values that are there, (n, d).

        If labels are coded (``levels_``), the rows are a frame with these labels, as in `sample`.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows.
        method : {"mean", "draw"}
            The mean of what is missing, or a draw of it. The mean of a label is that of its number; labels that are
            coded have none.
        """
        rows = self._with_gaps(X)
        for j, column in enumerate(self._columns() if "levels_" in vars(self) else ()):
            if method == "mean" and column.levels is not None and np.isnan(rows[:, j]).any():
                raise ValueError(f"column {column.name!r} has missing labels, which have no mean: give method='draw'")
        found = self.mixture_.impute(rows, method, generator(self.random_state))
        return self._with_labels(as_dtype(rows.dtype, found) if rows.dtype.kind == "f" else found)

    @undisturbed
    def sample_missing(self, X: Observations, n_samples: int = 1) -> Floats:
        """Return n times the rows, (n, rows, d), with draws of what is missing, NaN, given what is there."""
        rows = self._with_gaps(X)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples is {n_samples!r}; it must be a whole number from 1")
        return self.mixture_.sample_missing(rows, n_samples, generator(self.random_state))

    def _with_gaps(self, X: Any) -> Array:
        """Return rows as the family takes them, once they are possible."""
        refuse_rows(X, "the imputation of missing values")
        rows, _ = self._possible(self._checked_rows(X))
        if isinstance(rows, csr.CSRBlock):
            raise ValueError("X is sparse: nothing is missing in it that could be filled in")
        return rows

    # ---- criteria -------------------------------------------------------------------------------------------

    def _deviance(self, X: Observations | Source, sample_weight: ArrayLike | None) -> tuple[float, float]:
        """Return −2 log L and n, the total row weight; warn if weights do not count rows."""
        if self.bayesian:
            raise ValueError(
                "criteria count the parameters of a maximum of the likelihood, and a posterior has none: compare "
                "lower_bound_, which bounds the log evidence, or fit with bayesian=False"
            )
        given: Any = self._open(X)
        weight = checked_weight(sample_weight, given)
        score = self.score(given, sample_weight=sample_weight)
        if (why := why_not_frequencies(given if is_rows(given) else weight)) is not None:
            warn_caller(NOT_FREQUENCIES.format(why), UndefinedMetricWarning)
        if is_rows(given):
            n = float(given.total_weights[0])
        else:
            n = float(_num_samples(given) if weight is None else weight.sum())
        return -2 * n * score, n

    def _criteria(
        self,
        X: Observations | Source,
        sample_weight: ArrayLike | None,
        given: Given = Given(),  # noqa: B008 - a tuple
    ) -> tuple[float, float, Criteria]:
        """Return log L, n and the criteria, with what is known of the rows; warn if weights do not count rows."""
        X = self._open(X)
        deviance, n = self._deviance(X, sample_weight)
        if given:
            log_likelihood, sharpness = self._with_known(X, sample_weight, given)
        else:
            log_likelihood, sharpness = -deviance / 2, self._sharpness(X, sample_weight)
        return log_likelihood, n, criteria(log_likelihood, self._n_free, n, sharpness)

    def _with_known(self, X: Any, sample_weight: ArrayLike | None, given: Given) -> tuple[float, Sharpness]:
        """Return Σ w log Σ_k π_k q_nk p(x_n|η_k), and how sure the components of rows are, with what is known."""
        rows, weight = self._fitted_to(X, sample_weight, None, given).rows, checked_weight(sample_weight, X)
        bound = expected_statistics(plan(self.mixture_.family, rows, once=True), self.mixture_).bound
        R = self._evaluate(rows, responsibilities=True, far=True).responsibilities
        here = slice(None) if weight is None else weight > 0
        return float(bound), Sharpness.of(R[here], None if weight is None else weight[here])

    @property
    def _n_free(self) -> int:
        """Number of free parameters; mixing weights that are held are none."""
        return self.mixture_.n_parameters - (0 if self._weights_rule == "free" else self._n_all - 1)

    @undisturbed
    def aic(self, X: Observations | Source, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's criterion −2 log L + 2 m for m free parameters; lower is better.

        Weights are frequencies, n = Σ w: UndefinedMetricWarning if they cannot be (see `effective_sample_size`).
        """
        return self._deviance(X, sample_weight)[0] + 2 * self._n_free

    @undisturbed
    def bic(self, X: Observations | Source, sample_weight: ArrayLike | None = None) -> float:
        """Return Schwarz's criterion −2 log L + m log n; lower is better.

        Weights are frequencies, n = Σ w: UndefinedMetricWarning if they cannot be (see `effective_sample_size`).
        """
        deviance, n = self._deviance(X, sample_weight)
        return float(deviance + self._n_free * np.log(n))

    @undisturbed
    def icl(
        self,
        X: Observations | Source,
        sample_weight: ArrayLike | None = None,
        kind: Literal["entropy", "classification"] = "entropy",
    ) -> float:
        """Return the integrated completed likelihood; lower is better.

        Parameters
        ----------
        X : (n, d)
            Rows.
        sample_weight : (n,), optional
            Frequencies, as in `bic`.
        kind : {"entropy", "classification"}
            BIC + 2 Σ −r log r, or BIC − 2 Σ log max r with each row in its most probable component (Biernacki, Celeux
            and Govaert 2000). mclust prints the second one with the other sign.
        """
        if kind not in ("entropy", "classification"):
            raise ValueError(f"kind is {kind!r}; it must be 'entropy' or 'classification'")
        *_, found = self._criteria(X, sample_weight)
        return found.icl if kind == "entropy" else found.icl_classification

    def _sharpness(self, X: Any, sample_weight: ArrayLike | None) -> Sharpness:
        if not is_rows(X):
            return Sharpness.of(self.predict_proba(X), checked_weight(sample_weight, X))
        rows, _ = self._rows(X)
        tell = telling(self.mixture_.family, self.mixture_.scores, rows, 1.0, (False, True, False))
        entropy, classification = rows.reduce(functools.partial(sharpness_chunk, tell), tell.work)
        return Sharpness(float(entropy), float(classification), self._n_all)

    # ---- uncertainty and order ------------------------------------------------------------------------------

    def _fitted_to(
        self,
        X: Observations | Source,
        sample_weight: ArrayLike | None,
        n_jobs: int | None,
        given: Given = Given(),  # noqa: B008 - a tuple
    ) -> Fitted:
        """Return the mixture, checked rows, with what is known of their components, and how it was fitted."""
        if self.bayesian:
            raise ValueError(
                "standard errors are those of a maximum of the likelihood, and this is a posterior: posterior_ says "
                "how sure it is, or fit with bayesian=False"
            )
        X = self._open(X)
        rows, possible = self._possible(self._checked_rows(X))
        check_given(given, self.labelled, ROWS_KNOWN in self.status_)
        n_jobs, weight = self.n_jobs if n_jobs is None else n_jobs, checked_weight(sample_weight, X)
        known = known_of(given, rows, self._n_all, weight)
        kept = possible if is_rows(rows) else ArrayRows(rows, weight, n_jobs)
        check_total(kept)
        kept = with_missing(self.mixture_, kept, known)
        family = self.mixture_.family
        pass_ = Pass(family, kept, single_pass(family, kept), np.zeros(1))
        _, prior = self._with_prior(self._make_family(), pass_, np.zeros(1, np.int64))
        options = Options(
            temperature=self.temperature, prior=prior, concentration=self.concentration, weights=self._weights_rule
        )
        return Fitted(self.mixture_, kept, options)

    @undisturbed
    def summary(
        self, X: Observations | Source | None = None, sample_weight: ArrayLike | None = None, *, y: object = None,
        allowed: ArrayLike | None = None, log_prior: ArrayLike | None = None,
    ) -> Summary:  # fmt: skip
        """Return the fit in numbers, with standard errors where it has some; printed, it is a table.

        Parameters
        ----------
        X : (n, d)
            The rows of the fit, of which a model keeps none.
        sample_weight : (n,), optional
            Those of the fit; they are frequencies, as in `bic`.
        y, allowed, log_prior : optional
            Those of the fit, where it had some. The criteria are then those of the likelihood with them.

        Raises
        ------
        TypeError
            Without X.
        """
        of_rows = "the log-likelihood, the criteria and the standard errors"
        check_summarised(X, of_rows, instead="parameters_ and to_frame()")
        opened: Any = self._open(X)
        given = Given(y, allowed, log_prior)
        log_likelihood, n, found = self._criteria(opened, sample_weight, given)
        errors, why = None, ""
        try:
            errors = standard_errors(self, opened, sample_weight, y=y, allowed=allowed, log_prior=log_prior)
        except ValueError as error:
            why = str(error)
        return Summary(
            f"{type(self).__name__} of {self.n_components} × {self._make_family()!r}", self.status_, n,
            self.n_features_in_, self.n_components, self._n_free, log_likelihood,
            found.aic, found.bic, found.icl,
            {"weights": self.weights_, **self.parameters_}, errors, why, entries_of_model(self),
        )  # fmt: skip

    @undisturbed
    def to_frame(
        self, X: Observations | Source | None = None, sample_weight: ArrayLike | None = None, *, level: float = 0.95
    ) -> Any:
        """Return the estimates as a tidy table: parameter, component, column, level, estimate.

        Columns and levels have their names if the rows of the fit had some. What all components have in common is said
        of each; the noise is component −1. The frame is one of the library that ``set_output(transform=…)`` names, by
        default of pandas, or a list of dicts where that is not installed.

        Parameters
        ----------
        X : (n, d), optional
            The rows of the fit. With them the table also has standard_error, and lower and upper ends of intervals.
        sample_weight : (n,), optional
            Those of the fit.
        level : float in (0, 1)
            Probability with which an interval contains the parameter, for many rows.

        Raises
        ------
        ValueError
            If there are no standard errors; see `standard_errors`.
        """
        check_is_fitted(self, "mixture_")
        given: Any = X
        errors = None if X is None else standard_errors(self, given, sample_weight)
        return frame_of(records(self, errors, level), self)

    def _records(self) -> list[dict[str, Any]]:
        """Return the estimates, one dict for each; see `to_frame`."""
        return records(self, None, 0.95)

    @undisturbed
    def reorder(self, by: str | ArrayLike = "weights") -> Self:
        """Put the components in another order; labels and all attributes follow.

        A fit has its components in the order in which they come. The default gives fits with the same components the
        same order, unless weights are equal; `match` also serves fits that are only alike.

        Parameters
        ----------
        by : str, or (K,) int
            "weights": the largest first. The name of a parameter, such as "means": the smallest first, compared number
            by number. Whole numbers: the order itself. Components of a `Componentwise` keep the places of their family.

        Raises
        ------
        ValueError
            If ``by`` is none of these, or ``prior``, ``concentration`` or constraints differ between components.
        """
        check_is_fitted(self, "mixture_")
        return self._put_in_order(order(self.mixture_, by))

    @undisturbed
    def match(self, other: BaseMixture | Mixture) -> Self:
        """Put the components in the order of those of another mixture that they are most like.

        Parameters
        ----------
        other : fitted estimator or Mixture
            Of the same family and number of components.

        Raises
        ------
        ValueError
            If it is another one, or ``prior``, ``concentration`` or constraints differ between components.
        """
        check_is_fitted(self, "mixture_")
        return self._put_in_order(match(self.mixture_, mixture_of(other)))

    def _put_in_order(self, index: Integers) -> Self:
        if np.array_equal(index, np.arange(self._n_all)):
            return self
        if self.bayesian:
            raise ValueError(
                "posterior_ names components by number, and under a Dirichlet process their order matters: take "
                "mixture_.components(order) to have the mixture in another order"
            )
        concentration = np.asarray(self.concentration)
        by_number = any(each.tells_components for each in self.mixture_.family._constraints())
        if by_number or "weights" in (self.fixed or {}):
            raise ValueError(
                "constraints differ between components, which they name by number: the components cannot be put in "
                "another order"
            )
        given = None if isinstance(self.prior, str) else self.prior
        prior = [] if given is None else [given.counts, given.exposures, given.sums]
        if any(value.ndim and np.any(value != value[:1]) for value in (concentration, *prior)):
            raise ValueError(
                "prior or concentration differ between components, which they name by number: the components cannot "
                "be put in another order"
            )
        how = ("lower_bound_", "lower_bounds_", "start_bounds_", "n_iter_", "converged_")
        kept = {name: self.__dict__[name] for name in how}
        made = self._made_of(self.mixture_.components(index))
        ended = next(status.value for status in Status if self.status_.startswith(status.value))
        status = made["status_"].replace(Status.GIVEN.value, ended, 1)
        with all_or_nothing(self):
            self._set_fitted(saying_known(made | kept | {"status_": status}, ROWS_KNOWN in self.status_))
        return self
