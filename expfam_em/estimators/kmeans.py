"""k-means: hard assignment of the driver under Gaussians with one known covariance and equal weights."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from expfam_em.em.keeping import drawn, has_ended, interruptible, interruption
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError, Status
from expfam_em.em.starts import initialise_all
from expfam_em.em.state import Problem, State, em_step
from expfam_em.em.watching import Callback
from expfam_em.estep.nearest import NearestLabels, NearestPass
from expfam_em.estep.nearest_sparse import SparseNearestPass
from expfam_em.estep.nearest_streamed import StreamedNearestPass
from expfam_em.estimators.bases import ClusterMixin, Transformer
from expfam_em.estimators.elsewhere import in_dtype, looked_at, set_or_check_columns
from expfam_em.estimators.shell import (
    EMEstimator,
    as_dtype,
    check_summarised,
    checked_weight,
    copied,
    generator,
    warn_caller,
)
from expfam_em.estimators.summary import ClusterSummary, clusters_of
from expfam_em.estimators.table import frame_of
from expfam_em.families.gaussian.gaussian import checked_variance
from expfam_em.families.gaussian.known import KnownCovariance, in_frame_units
from expfam_em.family.binding import bind
from expfam_em.progress import tell
from expfam_em.rows import csr
from expfam_em.rows.memory import ArrayRows, check_total, count
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Floats, Integers, Observations, RandomState
from expfam_em.saving.files import saved
from expfam_em.sources.open import Source
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics


@saved
class KMeans(Transformer, ClusterMixin, EMEstimator):
    """k-means with the parameters and attributes of scikit-learn's.

    The model is Σ_k (1/K) N(μ_k, εI) at temperature 0, the limit ε → 0 of EM. A row at the same distance from two
    centres belongs to the one with the lower index. A cluster left without rows gets, in the same step, the row that
    is farthest from its centre.

    Parameters
    ----------
    n_clusters : int ≥ 1
        Number of clusters K.
    init : {"k-means++", "random"}, (K, d) centres, or callable(X, n_clusters, random_state)
        Rows are drawn by weight, from an order in which equal rows are neighbours: a row of weight 2 and the same
        row given twice lead to the same fit.
    n_init : "auto" or int ≥ 1
        Starts; "auto" is 10 for random or callable starts, else 1.
    max_iter : int ≥ 1
        Most steps of EM of a start.
    tol : float ≥ 0
        Largest squared movement of the centres, relative to the mean variance of the columns, to stop at.
    verbose : int
        1 tells of the fit as it goes on.
    random_state : int, RandomState, Generator, optional
        What starts are drawn with; a number makes the fit repeatable.
    copy_x : bool
        For at most 3 columns and 16 clusters, keep copies of X, one of them in float32, sorted along a space-filling
        curve; this is faster. X itself is never modified, and else copied only if its columns are not adjacent.
    algorithm : {"lloyd", "elkan"}
        For scikit-learn's sake; both find the same clusters.
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.

    Attributes
    ----------
    cluster_centers_ : (K, d)
    labels_ : (n,)
        Of rows in memory; those of other rows are what ``predict`` returns.
    inertia_ : float
        J = Σ w ‖x − μ_label‖².
    n_iter_ : int
    distortions_ : list of float
        J after every E-step and every M-step in turn.
    mixture_ : Mixture
    status_ : str
        How the best start ended, as a sentence.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> ef.KMeans(2, random_state=0).fit(np.array([[0.0], [1.0], [10.0], [11.0]])).inertia_
    1.0
    """

    _parameter_constraints: dict[str, Any] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state", np.random.Generator],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "n_jobs": [Integral, None],
    }

    _n_drawn = 10
    """Starts by default, where they are drawn at random."""

    cluster_centers_: Floats
    labels_: Integers
    inertia_: float
    n_iter_: int
    distortions_: list[float] = copied()
    status_: str

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | ArrayLike | Callable[..., ArrayLike] = "k-means++",
        n_init: int | Literal["auto"] = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: RandomState = None,
        copy_x: bool = True,
        algorithm: Literal["lloyd", "elkan"] = "lloyd",
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.sparse = True
        return tags

    # ---- fitting --------------------------------------------------------------------------------------------

    def _checked_elsewhere(self, rows: Any, reset: bool) -> Any:
        if rows.is_sparse:
            raise ValueError("KMeans needs sparse rows in memory, as a sparse matrix")
        set_or_check_columns(self, rows, reset)
        return in_dtype(rows, self._dtypes)

    def _fit(self, X: Any, weight: Array | None, callbacks: Sequence[Callback]) -> None:
        rows = looked_at(X, KnownCovariance(), fitting=True) if is_rows(X) else ArrayRows(X, weight, self.n_jobs)
        self._check_size(count(rows))
        if self.algorithm == "elkan" and self.n_clusters == 1:
            warn_caller(
                "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.", RuntimeWarning
            )
        check_total(rows)
        pass_: Any = self._pass(rows, "auto" if self.copy_x else "rows")
        variance = checked_variance(pass_.column_variance()) if rows.is_sparse else pass_.family.column_variance
        rng = generator(self.random_state)
        found: list[dict[str, Any]] = []
        ended_early = False
        for _ in range(self._starts()):
            with interruptible():
                start = drawn(pass_.family, rng, lambda: self._start(pass_, rng))
                with np.errstate(over="ignore", invalid="ignore"):  # J may be beyond the range of float64
                    one, ended_early = self._followed(pass_, start, variance.mean(), callbacks)
                found = [min([*found, one], key=operator.itemgetter("inertia_"))]  # no more than one is held
            if ended_early or interruption() is not None:
                break
        if not found:
            raise cast(KeyboardInterrupt, interruption())
        [best] = found
        has_ended()
        status = best["status_"] if interruption() is None else Status.INTERRUPTED.value
        best |= {"cluster_centers_": best["cluster_centers_"].astype(X.dtype), "status_": status}
        distinct, labels = best.pop("n_clusters"), best.pop("labels_")
        self.__dict__.pop("labels_", None)
        self._set_fitted(best if labels is None else best | {"labels_": labels})
        if distinct < self.n_clusters:
            warn_caller(
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). Possibly "
                "due to duplicate points in X."
            )

    def _check_size(self, n: int) -> None:
        """Raise a ValueError for fewer rows than clusters."""
        if n < self.n_clusters:
            raise ValueError(f"n_samples={n} should be >= n_clusters={self.n_clusters}.")

    def _made_of(self, mixture: Mixture) -> dict[str, Any]:
        centres = mixture.parameters.get("means")
        if not isinstance(mixture.family, KnownCovariance) or centres is None or len(centres) != self.n_clusters:
            raise ValueError(
                f"mixture_ is set to a mixture of {mixture.n_components} {mixture.family!r}; it must be one of "
                f"{self.n_clusters} KnownCovariance(), whose means are the centres"
            )
        if self.__dict__.get("n_features_in_", centres.shape[1]) != centres.shape[1]:
            raise ValueError(
                f"mixture_ is set to centres of {centres.shape[1]} columns; the estimator was fitted with "
                f"{self.n_features_in_}: use a new one for rows of other columns"
            )
        for of_rows in ("labels_", "inertia_", "n_iter_", "n_steps_", "distortions_", "status_"):
            self.__dict__.pop(of_rows, None)
        bound: Any = KnownCovariance().bind([(centres, None)])
        return {
            "mixture_": _mixture_of(in_frame_units(bound), centres),
            "cluster_centers_": np.array(centres),
            "n_features_in_": centres.shape[1],
        }

    def _pass(self, rows: Any, strategy: str = "rows", family: Any = None) -> NearestPass:
        """Return rows with their nearest centres, in the coordinates of a family, or in those that suit them best."""
        if rows.is_sparse:
            return SparseNearestPass(_of_zeros(rows.n_features), rows)
        family = in_frame_units(bind(KnownCovariance(), rows)) if family is None else family
        if not isinstance(rows, ArrayRows):
            return StreamedNearestPass(family, rows)
        return NearestPass(family, rows, strategy)

    def _pass_under(
        self, mixture: Mixture, X: Any, weight: Array | None, strategy: str = "once"
    ) -> tuple[NearestPass, Mixture]:
        """Return the pass over rows, and a mixture in its coordinates: of sparse rows, those of x."""
        rows = looked_at(X, mixture.family) if is_rows(X) else ArrayRows(X, weight, self.n_jobs)
        pass_ = self._pass(rows, strategy, mixture.family)
        return pass_, _mixture_of(pass_.family, _centres(mixture)) if pass_.rows.is_sparse else mixture

    def _followed(
        self, pass_: Any, start: Mixture, spread: float, callbacks: Sequence[Callback]
    ) -> tuple[dict[str, Any], bool]:
        """Return the fitted attributes that a start leads to, and whether it ended early: EM at temperature 0.

        ``spread`` is the mean variance of the columns.
        """
        family: Any = start.family
        scale = 1.0 if pass_.rows.is_sparse else family.scale[0]
        movement = spread / scale**2  # parameters move in the frame
        options = Options(
            max_iter=self.max_iter, tol=np.sqrt(self.tol * movement), temperature=0.0, weights="equal",
            stop="parameters",
        )  # fmt: skip
        stack = Mixture(family, start.weights[None], start.natural[None])
        if self.verbose:
            tell("Initialization complete")
            callbacks = [*callbacks, _teller(pass_, _centres(start), self.tol * spread)]
        [result] = fit_all(stack, pass_, options=options, callbacks=callbacks, step=_step)
        if isinstance(result, CollapsedError):
            raise result
        centres = _centres(result.mixture)
        labels, inertia, n_clusters = pass_.told(centres, result.mixture.scores)
        trace = np.empty(2 * result.n_iter + 1)  # J + 2ε · bound is the same number after each half of a step
        trace[::2], trace[1::2] = result.bounds, result.half_bounds
        distortions = np.maximum(inertia + 2 * family.variance * (result.bound - trace), 0.0)
        found = {
            "mixture_": result.mixture,
            "cluster_centers_": centres,
            "labels_": labels,
            "n_clusters": n_clusters,
            "inertia_": inertia,
            "n_iter_": result.n_iter,
            "distortions_": np.where(np.isnan(distortions), np.inf, distortions).tolist(),
            "status_": result.status.value,
        }
        return found, result.ended_early

    def _starts(self) -> int:
        if self.n_init == "auto":
            drawn = callable(self.init) or (isinstance(self.init, str) and self.init == "random")
            return self._n_drawn if drawn else 1
        if isinstance(self.init, str) or callable(self.init):
            return self.n_init
        if self.n_init != 1:
            warn_caller(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self.n_init}.",
                RuntimeWarning,
            )
        return 1

    def _start(self, pass_: NearestPass, rng: np.random.Generator) -> Mixture:
        K, rows = self.n_clusters, pass_.rows
        if isinstance(self.init, str):
            name = {"k-means++": "k-means++", "random": "random_from_data"}[self.init]
            return initialise_all(pass_, np.zeros(1, np.int64), K, name, rng).mixture[0]
        centres: Any = self.init
        if callable(self.init):
            if not isinstance(rows, ArrayRows):
                raise ValueError("a function as init needs all rows in memory: give 'k-means++', 'random' or centres")
            X = (rows.X.matrix if rows.is_sparse else rows.X).copy()  # it may shuffle its rows
            centres = self.init(X, K, random_state=np.random.RandomState(rng.bit_generator))
        centres = check_array(centres, dtype=np.float64)
        if len(centres) != K:
            raise ValueError(
                f"The shape of the initial centers {centres.shape} does not match the number of clusters {K}."
            )
        if centres.shape[1] != rows.n_features:
            raise ValueError(
                f"The shape of the initial centers {centres.shape} does not match the number of features of the data "
                f"{rows.n_features}."
            )
        return _mixture_of(pass_.family, centres)

    def fit_predict(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None, *,
        callbacks: Sequence[Callback] = (),
    ) -> Integers:  # fmt: skip
        """Fit and return the label of each row, (n,)."""
        given: Any = self._open(X, reset=True)
        fitted = self.fit(given, sample_weight=sample_weight, callbacks=callbacks)
        return fitted.predict(given) if is_rows(given) else fitted.labels_.copy()

    def fit_transform(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None, *,
        callbacks: Sequence[Callback] = (),
    ) -> Floats:  # fmt: skip
        """Fit and return the distance of each row to each centre, (n, K)."""
        given: Any = self._open(X, reset=True)
        return self.fit(given, sample_weight=sample_weight, callbacks=callbacks).transform(given)

    # ---- using ----------------------------------------------------------------------------------------------

    def predict(self, X: Observations | Source) -> Integers:
        """Return the label of the closest centre of each row, (n,)."""
        return self._labels_of_few(X) if self._are_few(X) else self._predicted(X)

    def _labels_of_few(self, X: Any) -> Any:
        kept, key = self.mixture_._prepared, (X.shape[1], "nearest")
        if key not in kept:
            kept[key] = self._nearest(X)
        labels = np.empty(len(X), np.int32)
        kept[key].write(X if X.strides[1] == X.itemsize else np.ascontiguousarray(X), labels)
        return labels

    @undisturbed
    def _nearest(self, X: Any) -> NearestLabels:
        pass_, mixture = self._pass_under(self.mixture_, X, None)
        return NearestLabels(pass_.frame, mixture.scores)

    @undisturbed
    def _predicted(self, X: Any) -> Integers:
        rows = self._checked_rows(X)
        pass_, mixture = self._pass_under(self.mixture_, rows, None)
        return pass_.labels(mixture.scores)

    @undisturbed
    def transform(self, X: Observations | Source) -> Floats:
        """Return the distance of each row to each centre, (n, K)."""
        rows = self._checked_rows(X)
        if is_rows(rows):
            pass_: Any = self._pass_under(self.mixture_, rows, None)[0]
            return as_dtype(rows.dtype, pass_.distances(self.cluster_centers_))
        if isinstance(rows, csr.CSRBlock):
            pass_ = SparseNearestPass(_of_zeros(rows.shape[1]), ArrayRows(rows, None, self.n_jobs))
            return as_dtype(rows.dtype, pass_.distances(self.cluster_centers_.astype(np.float64)))
        return as_dtype(rows.dtype, cdist(rows, self.cluster_centers_))  # from differences: nothing cancels

    @undisturbed
    def score(self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None) -> float:
        """Return −J = −Σ w ‖x − μ_label‖² of the rows."""
        rows = self._checked_rows(X)
        pass_, mixture = self._pass_under(self.mixture_, rows, checked_weight(sample_weight, rows))
        return -pass_.told(_centres(self.mixture_), mixture.scores).inertia

    @undisturbed
    def summary(self, X: Observations | Source | None = None, sample_weight: ArrayLike | None = None) -> ClusterSummary:
        """Return the clusters in numbers: sizes, inertia and centres; printed, they are tables.

        There are no standard errors: the inertia is no likelihood, and the centres are no estimates of the means of
        components that overlap. A `GaussianMixture` has both.

        Parameters
        ----------
        X : (n, d)
            The rows of the fit, of which the estimator keeps none, or others.
        sample_weight : (n,), optional
            Those of the fit.

        Raises
        ------
        TypeError
            Without X.
        """
        check_summarised(X, "sizes and inertia", instead="cluster_centers_ and to_frame()")
        sizes, inertias, total = self._clusters(X, sample_weight)
        names = tuple(column.name for column in self._columns())
        status = self.__dict__.get("status_", "")
        return ClusterSummary(
            repr(self), status, float(sizes.sum()), names, self.cluster_centers_, sizes, inertias, total
        )

    @undisturbed
    def to_frame(self, X: Observations | Source | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Return the centres as a tidy table: parameter, component, column, level, estimate, as that of mixtures.

        The component is the number of the cluster. With rows, each cluster also has "sizes", its row weight, and
        "inertias", its share of J. Of which library the frame is, `ExponentialFamilyMixture.to_frame` says.

        Parameters
        ----------
        X : (n, d), optional
            The rows of the fit, or others.
        sample_weight : (n,), optional
            Those of the fit.
        """
        check_is_fitted(self, "mixture_")
        parts: list[tuple[str, Any, list[str]]] = []
        if X is not None:
            sizes, inertias, _ = self._clusters(X, sample_weight)
            parts = [("sizes", sizes[:, None], [""]), ("inertias", inertias[:, None], [""])]
        parts.append(("centers", self.cluster_centers_, [column.name for column in self._columns()]))
        return frame_of(
            [
                {"parameter": name, "component": k, "column": column, "level": "", "estimate": float(value)}
                for name, values, columns in parts
                for k, line in enumerate(values)
                for column, value in zip(columns, line, strict=True)
            ],
            self,
        )

    def _clusters(self, X: Any, sample_weight: ArrayLike | None) -> tuple[Array, Array, float]:
        rows = self._checked_rows(X)
        weight = checked_weight(sample_weight, rows)
        there = looked_at(rows, self.mixture_.family) if is_rows(rows) else ArrayRows(rows, weight, self.n_jobs)
        return clusters_of(there, self.cluster_centers_.astype(np.float64))

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)


def _of_zeros(n_features: int) -> KnownCovariance:
    """Return the family of centres in the coordinates of x, in which zeros stay zeros."""
    return KnownCovariance().replace(shift=np.zeros(n_features), scale=np.ones(n_features))


def _step(problem: Problem, state: State) -> State:
    """Return the state after a step of EM, for which clusters without rows first get some."""
    statistics, mixture = _filled(problem.pass_, state.statistics, state.mixture)
    after = em_step(problem, state._replace(statistics=statistics, mixture=mixture))
    return after if mixture is state.mixture else after._replace(done=np.zeros_like(after.done))


def _filled(pass_: NearestPass, statistics: ExpectedStatistics, mixture: Mixture) -> tuple[ExpectedStatistics, Mixture]:
    """Return statistics and mixture with rows in the clusters that have lost theirs; see `NearestPass.fill`."""
    found = pass_.fill(statistics.counts[0], statistics.sums[0], mixture.scores)
    if found is None:
        return statistics, mixture
    counts, sums, centres, gain = found
    filled = ExpectedStatistics(counts[None], sums[None], statistics.bound + gain, family=statistics.family)
    return filled, Mixture(mixture.family, mixture.weights, centres[None])


def _teller(pass_: NearestPass, centres: Array, tolerance: float) -> Callback:
    """Return a callback that says the inertia after every step, and how far the centres moved in the last one."""

    def say(state: State) -> None:
        nonlocal centres
        mixture, before = state.mixture[0], centres
        centres = _centres(mixture)
        tell(f"Iteration {state.n_iter}, inertia {pass_.told(centres, mixture.scores).inertia:.8g}.")
        if state.done.all():
            shift = np.sum((centres - before) ** 2)
            how = f"center shift {shift:.3g} within tolerance {tolerance:.3g}" if shift else "strict convergence"
            tell(f"Converged at iteration {state.n_iter}: {how}.")

    return say


def _mixture_of(family: Any, centres: Array) -> Mixture:
    K = len(centres)
    return Mixture(family, np.full(K, 1 / K), family.from_moments(centres, np.ones(K)))


def _centres(mixture: Mixture) -> Array:
    return mixture.parameters["means"]
