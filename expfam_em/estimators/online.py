"""Fitting mixtures to rows that come in batches."""

from __future__ import annotations

import copy
import functools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if

from expfam_em.em.belonging import Belonging, described, difference
from expfam_em.em.known import UNKNOWN, Given, allowed_by, checked_labels, known_rows, saying_known
from expfam_em.em.online import StepSize, Stream, advanced, checked_collapse, checked_step
from expfam_em.em.options import Options
from expfam_em.em.result import FitResult, Status
from expfam_em.estep.grouped import possible_row, with_groups
from expfam_em.estep.plan import Pass, plan, single_pass
from expfam_em.estep.reduce import check_support
from expfam_em.estimators.elsewhere import read_once
from expfam_em.estimators.shell import EMEstimator, all_or_nothing, checked_weight, fit_context, refuse_rows
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.memory import ArrayRows
from expfam_em.rows.protocol import is_rows
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Integers, Observations
from expfam_em.values.mixture import Mixture


class Batch(NamedTuple):
    """Some rows, their weights and their labels."""

    X: Any
    weight: Any = None
    y: Any = None

    def of(self, which: Any) -> Batch:
        """Return some of the rows, by a slice or a mask."""
        return Batch(*(None if part is None else part[which] for part in self))

    def kept(self) -> Batch:
        """Return copies, which later changes of the rows do not reach."""
        X = CSRBlock.concatenate([self.X]) if isinstance(self.X, CSRBlock) else np.array(self.X)
        return Batch(X, *(None if part is None else part.copy() for part in self[1:]))

    def then(self, other: Batch) -> Batch:
        """Return the rows and those of another batch after them."""
        if not len(other.X) or not len(self.X):
            return self if len(self.X) else other
        if isinstance(self.X, CSRBlock) != isinstance(other.X, CSRBlock):
            raise ValueError("some rows are sparse and some are dense: give partial_fit rows of one kind")
        weights = [np.ones(len(each.X)) if each.weight is None else each.weight for each in (self, other)]
        weight = None if self.weight is other.weight is None else np.concatenate(weights)
        join = CSRBlock.concatenate if isinstance(self.X, CSRBlock) else np.concatenate
        y = None if self.y is None or other.y is None else np.concatenate([self.y, other.y])
        return Batch(join([self.X, other.X]), weight, y)


class Online(NamedTuple):
    """Where an estimator stands between two calls.

    Attributes
    ----------
    waiting : Batch, optional
        Rows that are not in the stream yet: at first all, later fewer than a batch.
    stream : Stream, optional
        None until the first rows are enough to start from.
    fitted : Mixture, optional
        The mixture that the estimator had after the last call: if it has another one, the stream begins there.
    step : StepSize, optional
        As given last.
    n_drawn : int
        Rows when starts were last drawn.
    labelled : bool
        Whether the component of some row was given.
    chosen : Belonging
        The parameters of the estimator that the stream depends on.
    """

    waiting: Batch | None = None
    stream: Stream | None = None
    fitted: Mixture | None = None
    step: StepSize | None = None
    n_drawn: int = 0
    labelled: bool = False
    chosen: Belonging = {}


OF_STREAM = (
    "prior", "fixed", "tied", "bounds", "concentration", "weights", "temperature", "collapse", "labelled", "binarize",
)  # fmt: skip
"""Parameters that a stream depends on, besides those of the family."""


def _can_stream(estimator: Any) -> bool:
    if estimator.bayesian:
        raise AttributeError("partial_fit estimates parameters, and this estimator a posterior: give bayesian=False")
    return True


class Streamed(EMEstimator):
    """Estimators of mixtures that also take rows batch by batch."""

    @abstractmethod
    def _weights_of(self, X: Any, weight: Any) -> Any:
        """Return the weights of validated rows, 0 for those that a fit leaves out."""

    @available_if(_can_stream)
    @undisturbed
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: Observations, y: object = None, sample_weight: ArrayLike | None = None, *, step: StepSize | None = None
    ) -> Self:  # fmt: skip
        """Fit the mixture to more rows, by stepwise EM.

        The first ``step.warm_up`` batches, 20,000 rows, are kept and fitted as `fit` does; each call fits all of them.
        From then on each row is seen once. Every ``step.batch_size`` rows, 1,000, are one step, and rows that do not
        fill a batch wait for the next call, so it does not matter how rows are cut into calls. After `fit`, or after
        ``mixture_`` has been set, the stream begins at that mixture, whatever ``warm_start`` says.

        ``lower_bound_`` is the mean bound of rows before they were learnt from, ``n_iter_`` the number of batches.

        Parameters
        ----------
        X : array-like, sparse matrix, file or other source of rows of shape (m, d)
            Rows in an order that has nothing to do with the components. Those of a source are read once, in order.
        y : (m,) int, optional
            With ``labelled``: k for a row of component k, −1 for one whose component is unknown. Otherwise ignored.
        sample_weight : array-like of shape (m,), optional
            Non-negative: what rows count in the statistics. Step sizes come from the number of rows of positive weight.
        step : StepSize, optional
            As in ``StepSize(memory=50_000)``. It holds from this call on; by default that of the last one.

        Returns
        -------
        self
            Not fitted as long as there are fewer rows than components.

        Raises
        ------
        ValueError
            For rows outside the family's support, a component that collapses, ``noise``, or a ``collapse`` that needs
            all rows; if a parameter that the stream depends on is another one than when it began. The estimator is
            then as it was before the call.
        """
        with all_or_nothing(self):
            _check_can_stream(self)
            checked_step(step)
            for batch in _batches(self, self._validated(X, not hasattr(self, "n_features_in_")), sample_weight, y):
                batch = batch._replace(weight=self._weights_of(batch.X, batch.weight))
                given = batch if batch.weight is None else batch.of(batch.weight > 0)
                if len(given.X):
                    online = _after(self, given, step)
                    self.__dict__["_online"] = online._replace(fitted=self.__dict__.get("mixture_"))
        return self


def _check_can_stream(model: Any) -> None:
    checked_collapse(model.collapse)
    if model.noise is not None:
        raise ValueError("noise is uniform on the box of all rows, which partial_fit cannot know: give noise=None")


def _batches(model: Any, rows: Any, sample_weight: Any, y: Any) -> Iterator[Batch]:
    """Yield checked rows with their weights and labels: those in memory at once, those of a source as they are read."""
    weight = checked_weight(sample_weight, rows)
    if not is_rows(rows):
        yield Batch(rows, weight, _labels_of(model, y, len(rows)))
        return
    if model.labelled:
        refuse_rows(rows, "partial_fit with labels")
    for chunk in read_once(rows):
        yield Batch(chunk.X, chunk.weight)


def _labels_of(model: Any, y: Any, n: int) -> Integers | None:
    """Return the component of each row, (n,), −1 where it is unknown; None if y is ignored."""
    if not model.labelled:
        return None
    if y is None:
        raise ValueError("labelled is True, which requires y to be passed, but the target y is None")
    return checked_labels(y, n, model.n_components)


def _after(model: Any, batch: Batch, step: StepSize | None) -> Online:
    """Return where an estimator stands after more rows, once its fitted attributes are set."""
    online: Online = vars(model).get("_online", Online())
    if (mixture := vars(model).get("mixture_")) is not online.fitted:  # fitted, or set, since the last call
        online = Online()
    waiting, stream = batch if online.waiting is None else online.waiting.then(batch), online.stream
    labelled = online.labelled or (batch.y is not None and bool((batch.y != UNKNOWN).any()))
    step = step or online.step or StepSize()
    if stream is None and mixture is not None and online.waiting is None:
        stream = Stream(mixture, step, _options(model, mixture, batch))
    elif stream is None:
        head = max(step.warm_up * step.batch_size, model.n_components)
        first, waiting = waiting.of(slice(head)), waiting.of(slice(head, None))
        if len(first.X) < head:
            return Online(first.kept(), None, None, step, _fit_first(model, first, online.n_drawn), labelled)
        _fit_first(model, first, 0)
        mixture = vars(model)["mixture_"]
        stream = _advanced(model, Stream(mixture, step, _options(model, mixture, first)), first)
    if stream.running.n_components != model.n_components:
        raise ValueError(
            f"n_components is {model.n_components}, and was {stream.running.n_components} when the stream began: take "
            "sklearn.base.clone(model)"
        )
    chosen = described({name: getattr(model, name, None) for name in OF_STREAM} | {"the family": model._make_family()})
    if online.stream is not None and (differs := difference(online.chosen, chosen)):
        raise ValueError(
            f"{differs}; the stream began so: set it back, or begin another with sklearn.base.clone(model)"
        )
    check_support(stream.running.family, _rows(model, stream.running, batch))
    stream, size = replace(stream, step=step), step.batch_size
    n_taken = len(waiting.X) // size * size
    for at in range(0, n_taken, size):
        stream = _advanced(model, stream, waiting.of(slice(at, at + size)))
    if stream.average is not None and (n_taken or online.stream is None):
        _describe(model, stream, labelled, batch.X.dtype)
    return Online(waiting.of(slice(n_taken, None)).kept(), stream, None, step, 0, labelled, chosen)


def _fit_first(model: Any, rows: Batch, n_drawn: int) -> int:
    """Fit the first rows, and return of how many rows the start was drawn: going on from the last fit saves time."""
    n = len(rows.X)
    if n < model.n_components:
        X, _ = model._prepare(rows.X, fitting=True)
        check_support(model._make_family(), with_groups(model._make_family(), ArrayRows(X, rows.weight, model.n_jobs)))
        return 0
    again, whole = n < 2 * n_drawn, copy.copy(model)
    vars(whole).update(warm_start=again, guard=False)
    known = known_rows(Given(rows.y), model.n_components, n, rows.weight)
    [fitted] = whole._fit_each(rows.X, rows.weight, None, (), known)
    if isinstance(fitted, ValueError):
        raise fitted
    model._set_fitted(saying_known(fitted, bool(known)))
    return n_drawn if again else n


def _options(model: Any, mixture: Mixture, batch: Batch) -> Options:
    """Return what the user chooses of a fit; a prior by name is that of some first rows."""
    rows = _rows(model, mixture, batch)
    pass_ = Pass(mixture.family, rows, single_pass(mixture.family, rows), np.zeros(1))
    _, prior = model._with_prior(model._make_family(), pass_, np.zeros(1, np.int64))
    options: Options = model._options(prior)
    return replace(options, temperature=float(options.schedule[-1]))


def _rows(model: Any, mixture: Mixture, batch: Batch) -> ArrayRows:
    """Return rows as the family takes them, in groups by what is missing in them and what is known of them."""
    X, _ = model._prepare(batch.X)
    allowed = None if batch.y is None else allowed_by(batch.y, model.n_components)
    fill = functools.partial(possible_row, mixture.family, mixture.natural)
    rows: ArrayRows = with_groups(mixture.family, ArrayRows(X, batch.weight, model.n_jobs), fill, allowed)
    return rows


def _advanced(model: Any, stream: Stream, batch: Batch) -> Stream:
    """Return a stream after a batch."""
    return advanced(stream, plan(stream.running.family, _rows(model, stream.running, batch), once=True))


def _describe(model: Any, stream: Stream, labelled: bool, dtype: Any) -> None:
    """Set the fitted attributes of a stream."""
    bounds, n_steps = np.full(2, stream.mean_bound), round(stream.n_rows / stream.step.batch_size)
    result = FitResult(stream.mixture, bounds, bounds[1:], np.zeros(2), Status.STREAM, n_steps, 1.0)
    [fitted] = model._fitted(model._make_family(), [result], dtype)
    model._set_fitted(saying_known(fitted, labelled))
