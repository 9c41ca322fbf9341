"""Who watches a fit: callbacks, which may be told when it begins and ends, and logging."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.em.state import State

Callback = Callable[[State], object]

LOGGER = logging.getLogger("expfam_em")


class Fitting(NamedTuple):
    """What is known of a fit before its first step.

    Attributes
    ----------
    n_rows : int
        Of all data sets.
    total_weight : float
        Sum of the row weights of all data sets; n_rows without weights.
    max_iter : int
    tol : float
    stop : {"maximum", "bound", "parameters"}
    temperature : float
        The last one.
    accelerated : bool
    """

    n_rows: int
    total_weight: float
    max_iter: int
    tol: float
    stop: str = "parameters"
    temperature: float = 0.0
    accelerated: bool = False

    @classmethod
    def of(cls, settings: Any, n_rows: int, sample_weight: ArrayLike | None) -> Fitting:
        """Return what is known of a fit to so many rows with these weights.

        ``settings`` are an estimator or `Options`; k-means has no more of them than ``max_iter`` and ``tol``.
        """
        total = n_rows if sample_weight is None else float(np.sum(sample_weight))
        known = cls(n_rows, total, settings.max_iter, settings.tol)
        if not hasattr(settings, "stop"):
            return known
        last = float(np.ravel(settings.temperature)[-1])
        return known._replace(stop=settings.stop, temperature=last, accelerated=settings.acceleration is not None)


def checked_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return callbacks as a list, once each can be called."""
    if callable(callbacks) or not np.iterable(callbacks) or not all(map(callable, callbacks := list(callbacks))):
        raise TypeError(f"callbacks is {callbacks!r}; it must be a list of functions of one argument, the State")
    return list(callbacks)


def asks_to_stop(callbacks: Sequence[Callback], state: State) -> bool:
    """Call callbacks with a state; return whether one of them returns True."""
    answers = [callback(state) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)


@contextlib.contextmanager
def watched(callbacks: Sequence[Callback], fitting: Callable[[], Fitting]) -> Iterator[list[Callback]]:
    """Give callbacks as a list, and tell those with a method ``watch(fitting)`` when the fit begins and ends.

    ``watch`` returns a context manager, which is entered now and left with the fit, however it ends. If logging of
    "expfam_em" is on at the level INFO, it is one of the callbacks. ``fitting`` is asked only if somebody is told.
    """
    told = checked_callbacks(callbacks)
    if LOGGER.isEnabledFor(logging.INFO) and not any(isinstance(one, Log) for one in told):
        told.append(Log())
    with contextlib.ExitStack() as stack:
        for callback in told:
            if hasattr(callback, "watch"):
                stack.enter_context(callback.watch(fitting()))
        yield told


class Log:
    """A callback that logs every step at the level DEBUG, and the end of a fit at the level INFO."""

    state: State | None = None

    @contextlib.contextmanager
    def watch(self, fitting: Fitting) -> Iterator[None]:
        """Log the end of what is inside, unless it fails."""
        start, self.state = time.perf_counter(), None
        yield
        seconds, state = time.perf_counter() - start, self.state
        if state is not None and len(state.run):
            LOGGER.info(
                "%d rows fitted in %.3g s: step %d, mean bound %.8g", fitting.n_rows, seconds, state.n_iter,
                state.mean_bounds.max(),
            )  # fmt: skip

    def __call__(self, state: State) -> None:
        """Log where the runs stand."""
        self.state = state
        if LOGGER.isEnabledFor(logging.DEBUG):
            bounds = ", ".join(f"{run}: {bound:.8g}" for run, bound in zip(state.run, state.mean_bounds, strict=True))
            LOGGER.debug("step %d, mean bounds by start %s", state.n_iter, bounds)
