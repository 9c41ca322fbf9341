"""A bar that shows how far a fit has come, and the lines that ``verbose`` asks for."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from expfam_em.em.state import State, left_to_gain
from expfam_em.em.watching import LOGGER, Callback, Fitting
from expfam_em.kernels.jit import somebody_looks

SECONDS_WITHOUT_BAR = 5.0
"""How long a fit may take before a bar appears that nobody has asked for by `Progress`."""

ENDS_ALIKE = 1.25
"""By which factor the last steps that were predicted since half as many steps may differ, if one is to be shown."""


class Progress:
    """A callback that shows a bar: step, bound per row, remaining time and rows per second.

    The time is "about" what the rate of convergence tells, where it has told nearly the same since half as many steps,
    else "at most" what is left up to ``max_iter``. The bar is closed when the fit ends, fails or is interrupted. In a
    notebook it is a widget if ipywidgets is installed.

    Parameters
    ----------
    **options
        Of `tqdm.auto.tqdm`, such as ``leave=False``, ``delay=1`` (seconds before the bar appears), ``ncols=80`` or
        ``file``.

    Raises
    ------
    ImportError
        If tqdm is missing.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = ef.GaussianMixture(2, random_state=0).fit(X, callbacks=[ef.Progress(disable=True)])
    """

    _opened: set[Progress] = set()
    """Those that have a bar."""

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError:
            raise ImportError('Progress needs tqdm: pip install "expfam_em[progress]"') from None
        # without the thread of tqdm that looks after slow bars: every step is shown here
        self._kind: Any = type("Bar", (tqdm,), {"monitor_interval": 0})
        self._options = {"dynamic_ncols": True, "miniters": 1} | options
        self._bar: Any = None
        self._owner: dict[str, int] = {}
        self._n_without = 0

    @contextlib.contextmanager
    def watch(self, fitting: Fitting) -> Iterator[None]:
        """Open the bar for a fit, and close it afterwards; a fit within a fit goes on with the same bar.

        A fit in another thread, while one has the bar, shows nothing.
        """
        if self._owner.setdefault("thread", threading.get_ident()) != threading.get_ident() or self._bar is not None:
            self._n_without += 1
            try:
                yield
            finally:
                self._n_without -= 1
            return
        start = time.perf_counter()
        self._fitting, self._round, self._rows, self._seconds = fitting, 1, 0.0, 0.0
        self._seen: tuple[int, float] | None = None
        self._words: list[str] = []
        self._ends: list[float] = []
        self._start = start
        self._opened.add(self)
        try:
            self._bar = self._kind(total=fitting.max_iter, bar_format=_format(["starting"]), **self._options)
            yield
            self._bar.total = self._bar.n  # a fit that has ended is no bar that was left half way
            if (widget := getattr(self._bar, "container", None)) is not None:
                widget.children[1].max = self._bar.n  # in a notebook, tqdm looks at the total when the bar begins only
            self._bar.bar_format = _format([*self._words, f"{self._time(time.perf_counter() - start)} in all"])
        finally:
            if self._bar is not None:
                self._bar.close()
            self._bar = None
            self._opened.discard(self)
            self._owner.clear()

    @property
    def _has_appeared(self) -> bool:
        """Whether the bar is on the screen by now."""
        return time.perf_counter() - self._start > self._options.get("delay", 0.0)

    def __call__(self, state: State) -> None:
        """Show where the runs stand."""
        if self._n_without and self._owner.get("thread") != threading.get_ident():
            return
        if self._bar is None:
            raise RuntimeError("Progress has no bar: give it to a fit as callbacks=[Progress()], or enter its `watch`")
        now = time.perf_counter()
        weight = float(state.statistics.counts.sum())
        rows = weight / self._fitting.total_weight * self._fitting.n_rows
        if self._seen is not None and state.n_iter > self._seen[0]:
            self._rows += rows * (state.n_iter - self._seen[0])
            self._seconds += now - self._seen[1]
        elif self._seen is not None:
            self._round, self._ends = self._round + 1, []
        self._seen = state.n_iter, now
        self._words, left = [f"bound {state.mean_bounds.max():.6g}"], []
        if self._seconds > 0:
            steps, told = self._steps_left(state)
            seconds = steps * rows * self._seconds / self._rows
            left = [f"{'about' if told else 'at most'} {self._time(seconds)} left"]
            self._words.append(f"{self._kind.format_sizeof(self._rows / self._seconds)} rows/s")
        if len(state.run) > 1:
            self._words.append(f"{len(state.run)} runs")
        if self._round > 1:
            self._words.append(f"round {self._round}")
        self._bar.bar_format = _format([*self._words[:1], *left, *self._words[1:]])
        self._bar.update(state.n_iter - self._bar.n)

    def _steps_left(self, state: State) -> tuple[float, bool]:
        """Return how many steps are left, and whether the rate of convergence has told so for some time."""
        most = self._fitting.max_iter - state.n_iter
        steps = predicted_steps(state, self._fitting)
        self._ends.append(state.n_iter + steps)
        since = self._ends[len(self._ends) // 2 :]
        told = len(since) > 1 and steps <= most and max(since) <= ENDS_ALIKE * min(since)
        return (steps, True) if told else (most, False)

    def _time(self, seconds: float) -> str:
        return f"{seconds:.2g} s" if seconds < 10 else self._kind.format_interval(seconds)


def _format(words: list[str]) -> str:
    """Return tqdm's format of a bar with words after it: the last ones are cut off by a narrow terminal."""
    return f"step {{n_fmt}}/{{total_fmt}} |{{bar}}| {', '.join(words)}"


def predicted_steps(state: State, fitting: Fitting) -> float:
    """Return how many steps a fit has left by its rate of convergence; ∞ if that does not tell.

    EM gains ρ times as much in each step as in the one before, so what ``tol`` is compared with falls to it after
    log(tol/left)/log(ρ) more steps. The slowest run counts.
    """
    told = fitting.stop != "parameters" and fitting.tol > 0 and not fitting.accelerated
    if not told or state.temperature != fitting.temperature:
        return math.inf
    left = left_to_gain(state.gains) if fitting.stop == "maximum" else state.gains[:, 0]
    with np.errstate(all="ignore"):
        rate = state.gains[:, 0] / state.gains[:, 1]
        share = fitting.tol * state.statistics.counts.sum(axis=1) / left
        steps = np.where((rate > 0) & (rate < 1), np.maximum(np.log(share) / np.log(rate), 0.0), np.inf)
    return float(np.nan_to_num(steps, nan=np.inf, posinf=np.inf).max())


def with_bar(callbacks: Sequence[Callback], wanted: object = True) -> Sequence[Callback]:
    """Return callbacks, and a bar that appears where a fit takes long, if one is wanted and somebody looks."""
    wanted = wanted and somebody_looks() and importlib.util.find_spec("tqdm")
    if not wanted or any(isinstance(one, Progress) for one in callbacks):
        return callbacks
    return [*callbacks, Progress(delay=SECONDS_WITHOUT_BAR, leave=False)]


def tell(sentence: str) -> None:
    """Say what a user has asked for by ``verbose``: log it at the level INFO if that is on, else print it."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info("%s", sentence)
    elif any(bar._has_appeared for bar in tuple(Progress._opened)):  # the line goes above it
        from tqdm import tqdm

        tqdm.write(sentence)
    else:
        print(sentence)
