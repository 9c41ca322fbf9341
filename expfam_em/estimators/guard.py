"""Which of several fits is kept: the best one in which no component is spurious."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from expfam_em.em.keeping import interruptible, interruption
from expfam_em.em.options import Options
from expfam_em.em.result import FitResult, Status
from expfam_em.em.support import support
from expfam_em.rows.memory import of_data
from expfam_em.rows.protocol import Rows
from expfam_em.rows.typing import Array, Integers
from expfam_em.values.mixture import Mixture

NO_OTHER = (
    "A component is spurious, and no start has ended without one: {} Take more starts (n_init) or fewer components, or "
    "add a prior or regularisation; guard=False leaves this out."
)


def is_sound(result: Any) -> bool:
    """Whether a run has come to parameters: it has not collapsed, and its bound has not fallen."""
    return isinstance(result, FitResult) and result.status is not Status.BOUND_FELL


def rank(result: Any) -> tuple[int, float]:
    """Return what makes one result better than another: first how it ended, then its bound."""
    if not isinstance(result, FitResult):
        return (0, 0.0)
    return (2 if is_sound(result) else 1, result.objective)


class Guard:
    """What components of runs add to unseen rows; nobody asks about runs that are not to be chosen anyway.

    Parameters
    ----------
    rows : Rows
    data_set : (B,) int
        Data set of each run.
    options : Options
    on : bool
        Whether anything is asked at all; no run has a spurious component otherwise.
    """

    def __init__(self, rows: Rows, data_set: Integers, options: Options, on: bool) -> None:
        self.rows, self.data_set, self.options, self.on = rows, data_set, options, on
        self.gains: dict[int, Array] = {}
        self.why: dict[int, str] = {}
        """Of each run with spurious components, which they are, as a sentence."""

    def ask(self, results: Sequence[Any], runs: Iterable[int]) -> None:
        """Find out about some runs, no two of one data set."""
        runs = sorted((r for r in runs if self.on and is_sound(results[r])), key=lambda r: self.data_set[r])
        if not runs or interruption() is not None:
            return
        with interruptible():
            self._ask(results, runs)

    def _ask(self, results: Sequence[Any], runs: Sequence[int]) -> None:
        stack = Mixture.stack([results[run].mixture for run in runs])
        found = support(stack, of_data(self.rows, self.data_set[runs]), self.options)
        for at, run in enumerate(runs):
            self.gains[run] = found.unseen[at]
            if (which := np.flatnonzero(found.spurious[at])).size:
                counts = stack.weights[at] * results[run].total_weight
                self.why[run] = " ".join(
                    f"Component {k}, of {counts[k]:.1f} rows, does not predict rows that it has not seen: by it they "
                    f"gain {found.unseen[at, k]:.1f}, and more than log n = {found.log_n[at]:.1f} is needed."
                    for k in which
                )

    def leaders(self, results: Sequence[Any], runs: Iterable[int]) -> dict[int, int]:
        """Return the best of some runs, by data set; those left behind are not among them, nor those that failed."""
        finished = (run for run in runs if is_sound(results[run]) and results[run].status is not Status.BEHIND)
        found = {int(self.data_set[run]): int(run) for run in sorted(finished, key=lambda r: rank(results[r]))}
        self.ask(results, [run for run in found.values() if run not in self.gains])
        return found

    def chosen(self, results: Sequence[Any]) -> dict[int, int]:
        """Return the best run without a spurious component, by data set; the best of all if there is none."""
        order = sorted(range(len(results)), key=lambda run: rank(results[run]), reverse=True)
        waiting: dict[int, list[int]] = {int(at): [] for at in np.unique(self.data_set)}
        for run in order:
            waiting[int(self.data_set[run])].append(run)
        best: dict[int, int] = {}
        while waiting:
            first = {at: runs.pop(0) for at, runs in waiting.items()}
            self.ask(results, [run for run in first.values() if run not in self.gains])
            for at, run in first.items():
                best.setdefault(at, run)
                if run not in self.why:
                    best[at] = run if is_sound(results[run]) else best[at]
                    del waiting[at]
                elif not waiting[at]:
                    del waiting[at]
        return best

    def attributes(self, results: Sequence[Any], run: int, starts: Integers) -> dict[str, Any]:
        """Return what a fitted estimator says of the run that was chosen, by the numbers of the starts (B,)."""
        why = [self.why[run]] if run in self.why else []
        alike = sorted(other for other in self.why if self.data_set[other] == self.data_set[run])
        over = [other for other in alike if not why and rank(results[other]) > rank(results[run])]
        if over:
            numbers = ", ".join(str(starts[other]) for other in over)
            begin = f"Start {numbers} has" if len(over) == 1 else f"Starts {numbers} have"
            why.append(f"{begin} a higher bound, but a spurious component, such as this. {self.why[over[0]]}")
        known = {"support_": self.gains[run], "sound_": run not in self.why} if run in self.gains else {}
        return known | {"why": why}
