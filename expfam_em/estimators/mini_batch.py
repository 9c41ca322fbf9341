"""k-means of rows that come in batches: stepwise EM at temperature 0."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import Interval

from expfam_em.em.keeping import EVERY
from expfam_em.em.loop import fit_all
from expfam_em.em.online import StepSize, Stream, advanced
from expfam_em.em.options import Options
from expfam_em.em.result import CollapsedError, Status
from expfam_em.em.watching import Callback, checked_callbacks
from expfam_em.estimators.elsewhere import ROWS_READ, read_once
from expfam_em.estimators.kmeans import KMeans, _centres, _step
from expfam_em.estimators.shell import (
    all_or_nothing,
    checked_weight,
    fit_context,
    generator,
    warn_caller,
)
from expfam_em.family.alike import alike
from expfam_em.progress import tell
from expfam_em.rows.memory import ArrayRows, check_total, not_in_memory
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array, Mask, Observations, RandomState
from expfam_em.saving.files import saved
from expfam_em.sources.open import Source, is_source
from expfam_em.values.mixture import Mixture

HEAD = 10
"""Batches of rows on which the centres are first moved by k-means, as those of other mixtures are by EM."""


class Smoothed(NamedTuple):
    """What tells when steps have stopped to help: the smoothed inertia of batches."""

    smoothed: float = np.inf
    least: float = np.inf
    in_vain: int = 0

    def after(self, inertia: float, share: float) -> Smoothed:
        """Return the same after a batch of this mean inertia, which is a share of all rows."""
        before = inertia if self.smoothed == np.inf else self.smoothed
        smoothed = before + min(2 * share, 1.0) * (inertia - before)
        better = smoothed < self.least
        return Smoothed(smoothed, min(smoothed, self.least), 0 if better else self.in_vain + 1)


@saved
class MiniBatchKMeans(KMeans):
    """k-means by steps of small batches of rows, with the parameters and attributes of scikit-learn's.

    Each batch moves the statistics of the clusters towards its own, by less and less, and the centres are made of their
    average over the later batches: stepwise EM (Cappé and Moulines 2009) at temperature 0.

    Parameters
    ----------
    n_clusters : int ≥ 1
        Number of clusters K.
    init : {"k-means++", "random"}, (K, d) centres, or callable(X, n_clusters, random_state)
        Centres to start from: rows far from one another, random rows, or the ones given.
    max_iter : int ≥ 1
        Most passes over the rows that `fit` makes.
    batch_size : int ≥ 1
        Rows of a batch, drawn without replacement until each row has been seen.
    verbose : int
        1 tells of the fit as it goes on.
    compute_labels : bool
        Whether a fit ends with the labels of all rows.
    random_state : int, RandomState, Generator, optional
        What starts and batches are drawn with; a number makes the fit repeatable.
    tol : float ≥ 0
        Largest squared movement of the centres in a step, relative to the mean variance of the columns, to stop at; 0
        to go on.
    max_no_improvement : int ≥ 0, optional
        Batches in a row that may fail to lower the smoothed inertia; None to go on.
    init_size : int ≥ 1, optional
        Rows that starts are drawn from; three batches by default, and at least three for each cluster.
    n_init : "auto" or int ≥ 1
        Starts, of which the one of least inertia is kept; "auto" is 3 for random or callable starts, else 1.
    reassignment_ratio : float ≥ 0
        A cluster with fewer rows than this share of the largest one begins again at a row of the batch; from 1 on all
        but the largest.
    n_jobs : int, optional
        Threads, all cores by default. Results do not depend on it.

    Attributes
    ----------
    cluster_centers_ : (K, d)
    labels_ : (n,)
        Of the rows of `fit`, or of the last `partial_fit`, if ``compute_labels``.
    inertia_ : float
        J = Σ w ‖x − μ_label‖² of these rows; without labels, estimated from the batches.
    n_iter_ : int
        Passes over the rows that were begun.
    n_steps_ : int
        Batches.
    mixture_ : Mixture
    status_ : str
        How the fit ended, as a sentence.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.repeat([[0.0], [1.0], [10.0], [11.0]], 250, axis=0)
    >>> ef.MiniBatchKMeans(2, random_state=0).fit(X).cluster_centers_.round(1).ravel().tolist()
    [0.5, 10.5]
    """

    _parameter_constraints: dict[str, Any] = {
        **{name: kinds for name, kinds in KMeans._parameter_constraints.items() if name not in ("copy_x", "algorithm")},
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "compute_labels": ["boolean"],
        "max_no_improvement": [Interval(Integral, 0, None, closed="left"), None],
        "init_size": [Interval(Integral, 1, None, closed="left"), None],
        "reassignment_ratio": [Interval(Real, 0, None, closed="left")],
    }
    _n_drawn = 3

    n_steps_: int

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | ArrayLike | Callable[..., ArrayLike] = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: RandomState = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: int | Literal["auto"] = "auto",
        reassignment_ratio: float = 0.01,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.n_jobs = n_jobs

    # ---- fitting --------------------------------------------------------------------------------------------

    @undisturbed
    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None, *,
        callbacks: Sequence[Callback] = (), checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = EVERY,
    ) -> Self:  # fmt: skip
        """Fit the centres to rows.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, d)
            Rows in memory: `KMeans` and `partial_fit` take other sources.
        y : ignored
        sample_weight : array-like of shape (n,), optional
            Non-negative; a weight of 0 is the same as the absence of the row.
        callbacks, checkpoint, checkpoint_every
            Those of other estimators; to watch or keep a fit, call `partial_fit` batch by batch instead.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For fewer rows than clusters, or if callbacks or a checkpoint are given.
        """
        if checkpoint is not None or checked_callbacks(callbacks):
            what = "callbacks" if checkpoint is None else "checkpoint"
            raise ValueError(f"a fit in small batches takes no {what}: call partial_fit, and look between the calls")
        with all_or_nothing(self):
            if is_rows(X) or is_source(X):  # batches are drawn from all rows
                raise ValueError(
                    f"{not_in_memory(f'fit of {type(self).__name__}')}. partial_fit and KMeans take rows from elsewhere"
                )
            rows = self._validated(X)
            self._fit(rows, checked_weight(sample_weight, rows), ())
        return self

    def _fit(self, X: Any, weight: Array | None, callbacks: Sequence[Callback]) -> None:
        total = self._total(X, weight)
        present = np.arange(len(X)) if weight is None else np.flatnonzero(weight > 0)
        n, rng = len(present), generator(self.random_state)
        size = min(self.batch_size, n)
        stream, spread = self._begun(X, weight, present, size, rng)
        progress, moved, n_steps = Smoothed(), np.inf, max(self.max_iter * n // size, 1)
        order, at, status = present, n if size < n else 0, Status.MAX_ITER
        for made in range(1, n_steps + 1):
            if at + size > n:
                order, at = rng.permutation(present), 0
            batch, at = order[at : at + size] if size < n else present, at + size * (size < n)
            before = stream
            stream, inertia = self._stepped(stream, X[batch], None if weight is None else weight[batch], rng)
            progress = progress.after(inertia, size / n)
            if self.verbose:
                tell(f"Minibatch step {made}/{n_steps}: mean batch inertia: {inertia}, smoothed: {progress.smoothed}")
            if self.tol:
                moved = float(np.sum((_centres(stream.mixture) - _centres(before.mixture)) ** 2))
            if why := self._why_stop(progress, moved, self.tol * spread):
                if self.verbose:
                    tell(f"Converged ({why}) at step {made}/{n_steps}")
                status = Status.CONVERGED
                break
        inertia, n_iter = progress.smoothed * total, -(-made * size // n)
        self._set_after(stream, rng, X.dtype, inertia_=inertia, n_steps_=made, n_iter_=n_iter, status_=status.value)
        self._set_labels(X, weight)

    @undisturbed
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: Observations | Source, y: object = None, sample_weight: ArrayLike | None = None
    ) -> Self:  # fmt: skip
        """Move the centres by a batch of rows, which is cut into several if it is larger than ``batch_size``.

        A start is drawn from the first rows, and moved by k-means of these. A batch smaller than the first moves the
        centres by less.

        Parameters
        ----------
        X : array-like, sparse matrix, file or other source of rows of shape (m, d)
            Rows. Those of a source are read once, in order, some 30,000 at a time, and get no labels.
        y : ignored
        sample_weight : array-like of shape (m,), optional
            Row weights, 1 by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the first rows are fewer than the clusters, or ``n_clusters`` is another number than when they came.
        """
        with all_or_nothing(self):
            rows = self._validated(X, reset=not hasattr(self, "n_features_in_"))
            weight = checked_weight(sample_weight, rows)
            if is_rows(rows):
                parts = read_once(rows, self.batch_size * -(-ROWS_READ // self.batch_size))
                weighty = (part for part in parts if part.weight is None or part.weight.any())
                if found := [self._moved(part.X, part.weight) for part in weighty]:
                    self._set_fitted({"inertia_": sum(found)})
            else:
                self._set_fitted({"inertia_": self._moved(rows, weight)})
                self._set_labels(rows, weight)
        return self

    def _moved(self, X: Any, weight: Array | None) -> float:
        """Move the centres by some rows; return the inertia of these before."""
        mixture, n_steps = self.__dict__.get("mixture_"), self.__dict__.get("n_steps_", 0)
        if mixture is not None and mixture.n_components != self.n_clusters:
            raise ValueError(
                f"n_clusters is {self.n_clusters}, and was {mixture.n_components} when the first rows came: take "
                "sklearn.base.clone(model)"
            )
        total = self._total(X, weight, first=mixture is None)
        present = np.arange(len(X)) if weight is None else np.flatnonzero(weight > 0)
        stream, fitted, rng = self.__dict__.get("_online", (None, None, None))
        if stream is None or mixture is not fitted:
            rng, size = generator(self.random_state), self.batch_size
            if mixture is None:
                stream, _ = self._begun(X, weight, present, min(size, len(present)), rng)
            else:  # it was set, and says nothing of how many rows it stands for
                stream = _stream(mixture, size)
        seen = 0.0
        for at in range(0, len(present), self.batch_size):
            batch = present[at : at + self.batch_size]
            stream, inertia = self._stepped(stream, X[batch], None if weight is None else weight[batch], rng)
            n_steps, seen = n_steps + 1, seen + inertia * len(batch) / len(present)
        self._set_after(stream, rng, X.dtype, n_steps_=n_steps, status_=Status.STREAM.value)
        return seen * total

    def _total(self, X: Any, weight: Array | None, first: bool = True) -> float:
        """Return the sum of the weights, once there are rows for all clusters."""
        if first:
            self._check_size(len(X))
        rows = ArrayRows(X, weight, self.n_jobs)
        check_total(rows)
        return float(rows.total_weights[0])

    def _begun(self, X: Any, weight: Array | None, present: Any, size: int, rng: Any) -> tuple[Stream, float]:
        """Return a stream that begins at the best of some starts, and the mean variance of the columns of some rows."""
        wanted = self.init_size or 3 * (size if 3 * size >= self.n_clusters else self.n_clusters)
        if wanted < self.n_clusters:
            warn_caller(
                f"init_size={wanted} should be larger than n_clusters={self.n_clusters}. Setting it to "
                "min(3*n_clusters, n_samples)",
                RuntimeWarning,
            )
            wanted = 3 * self.n_clusters
        n_head = max(wanted, HEAD * size)
        some = present if n_head >= len(present) else rng.choice(present, n_head, replace=False)
        rows = ArrayRows(X[some], None if weight is None else weight[some], self.n_jobs)
        few = (
            rows
            if wanted >= len(some)
            else ArrayRows(rows.X[:wanted], None if weight is None else weight[some[:wanted]], self.n_jobs)
        )
        pass_: Any = self._pass(few)
        found = []
        for _ in range(self._starts()):
            start = self._start(pass_, rng)
            found.append((pass_.inertia(_centres(start), pass_.labels(start.scores)), start))
        start = min(found, key=lambda pair: pair[0])[1]
        head: Any = pass_ if few is rows else self._pass(rows, family=pass_.family)
        stack = Mixture(start.family, start.weights[None], start.natural[None])
        options = Options(self.max_iter, 0.0, temperature=0.0, weights="equal", stop="parameters")
        [result] = fit_all(stack, head, options=options, step=_step)
        if isinstance(result, CollapsedError):
            raise result
        spread = head.column_variance() if rows.is_sparse else pass_.family.column_variance
        return _stream(result.mixture, size), float(np.mean(spread))

    def _stepped(self, stream: Stream, X: Any, weight: Array | None, rng: Any) -> tuple[Stream, float]:
        """Return the stream after a batch, and the mean inertia of the batch before."""
        pass_, running = self._pass_under(stream.running, X, weight, "rows")
        if stream.statistics is not None and not alike(stream.running.family, running.family):
            raise ValueError("the rows are sparse and those before were dense: give partial_fit rows of one kind")
        stream, scores = replace(stream, running=running), running.scores
        inertia = pass_.inertia(_centres(stream.running), pass_.labels(scores))
        after = advanced(stream, pass_)
        counts = after.statistics.counts  # type: ignore[union-attr]
        least = min(self.reassignment_ratio * counts.max(), counts.max())  # the largest cluster stays
        if (few := counts < least).any():
            after = _reassigned(after, few, X, weight, rng)
        return after, inertia / (len(X) if weight is None else weight.sum())

    def _why_stop(self, progress: Smoothed, moved: float, tolerance: float) -> str:
        """Return why no further step is made; nothing if one is."""
        if moved <= tolerance:
            return "small centers change"
        idle = self.max_no_improvement is not None and progress.in_vain >= max(self.max_no_improvement, 1)
        return "lack of improvement in inertia" if idle else ""

    def _set_after(self, stream: Stream, rng: Any, dtype: Any, **others: Any) -> None:
        """Set the fitted attributes of a stream, and others."""
        mixture = stream.mixture
        self._set_fitted({"mixture_": mixture, "cluster_centers_": _centres(mixture).astype(dtype)} | others)
        self.__dict__["_online"] = stream, mixture, rng
        self.__dict__.pop("labels_", None)  # of other rows

    def _set_labels(self, X: Any, weight: Array | None) -> None:
        """Set the labels of rows and their inertia, if labels are wanted."""
        if self.compute_labels:
            mixture = self.__dict__["mixture_"]
            pass_, there = self._pass_under(mixture, X, weight)
            labels = pass_.labels(there.scores)
            self._set_fitted({"labels_": labels, "inertia_": pass_.inertia(_centres(mixture), labels)})


def _stream(mixture: Mixture, size: int) -> Stream:
    return Stream.of(mixture, StepSize(warm_up=1, batch_size=size), temperature=0.0, weights="equal")


def _reassigned(stream: Stream, few: Mask, X: Any, weight: Array | None, rng: Any) -> Stream:
    """Return the stream with clusters of few rows, (K,), at rows of the batch, as large as the smallest other one."""
    running, s = stream.running, stream.statistics
    which = np.flatnonzero(few)[: max(len(X) // 2, 1)]
    chance = None if weight is None else weight / weight.sum()
    drawn = np.asarray(X[rng.choice(len(X), len(which), replace=False, p=chance)], np.float64)
    family: Any = running.family
    natural = np.array(running.natural)
    natural[which] = family.from_moments(drawn, np.ones(len(which)))
    after = Mixture(family, running.weights, natural)

    def again(old: Any) -> Any:
        counts, sums = np.array(old.counts), np.array(old.sums)
        counts[which] = old.counts[~few].min()
        sums[which] = counts[which, None] * after.expectation[which]
        return replace(old, counts=counts, sums=sums, exposures=counts)

    average = None if stream.average is None else again(stream.average)
    return replace(stream, running=after, statistics=again(s), average=average)
