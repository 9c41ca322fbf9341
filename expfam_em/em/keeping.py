"""What a fit keeps of itself while it runs: in memory for Ctrl-C, and in a file for whoever goes on with it.

A fit may run EM several times, one after another: for collapsed runs that begin again, for runs that were dropped too
early, for merged components. It draws its starts before. All of that follows from what it was given, so a fit that goes
on makes the same calls in the same order, and is told the results that are known (`followed`, `drawn`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

import numpy as np

from expfam_em.em.belonging import Belonging
from expfam_em.em.checkpoint import CheckpointFile, Part, decoded, encoded
from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.state import Problem, State, begin, end
from expfam_em.em.watching import Callback, asks_to_stop
from expfam_em.family.base import ExponentialFamily
from expfam_em.values.mixture import Mixture

Results = list[FitResult | CollapsedError]
T = TypeVar("T")

EVERY = 30.0
"""Seconds between two times that a checkpoint is written, unless the user says otherwise."""

OF_STARTS, OF_RESULTS, OF_STATE, OF_DRAWS = "starts", "results", "state", "draws"
"""What the parts of a checkpoint are."""

_keeper: ContextVar[Keeper | None] = ContextVar("_keeper", default=None)


@contextlib.contextmanager
def keeping(checkpoint: str | os.PathLike[str] | None = None, every: float = EVERY) -> Iterator[Keeper]:
    """Give the fit inside something that keeps it; raise the KeyboardInterrupt that ended it only at the end.

    Parameters
    ----------
    checkpoint : str or path, optional
        The file; in memory alone by default.
    every : float ≥ 0
        Seconds between two times that it is written.
    """
    keeper = Keeper(None if checkpoint is None else CheckpointFile(checkpoint, every))
    before = _keeper.get()
    _keeper.set(keeper)
    try:
        yield keeper
    except Exception:
        keeper.has_ended |= not keeper.has_steps  # nothing is lost
        keeper.close()
        raise
    finally:
        _keeper.set(before)  # a token is refused where an interruption has ended the context
    if keeper.interruption is not None:
        raise keeper.interruption
    keeper.close()


class Keeper:
    """The last state of a fit, and in its file all that has been found."""

    def __init__(self, file: CheckpointFile | None) -> None:
        self.file = file
        self.parts: list[Part] = []
        self.n_told = 0
        """How many of the parts the fit has been told, or has found itself."""
        self.going: Part | None = None
        """The state in the file of the run that comes after them."""
        self.draws: Part | None = None
        """State of the generator that starts are drawn with."""
        self.interruption: KeyboardInterrupt | None = None
        self.is_open = self.has_steps = self.has_ended = False

    def open(self, belongs: Callable[[], Belonging]) -> None:
        """Read the file, or begin one; without a file nothing is asked what the fit belongs to."""
        if self.file is None:
            return
        kept = self.file.open(belongs())
        by_kind = {part.kind: part for part in kept}
        self.going, self.draws = by_kind.get(OF_STATE), by_kind.get(OF_DRAWS)
        self.parts = [part for part in kept if part.kind in (OF_STARTS, OF_RESULTS)]
        self.has_steps = bool({OF_RESULTS, OF_STATE} & by_kind.keys())
        if not kept:
            self.write()
        self.is_open = True

    def write(self, state: Part | None = None) -> None:
        """Write the file."""
        if self.file is not None:
            self.file.write([part for part in (self.draws, *self.parts, state) if part is not None])

    def close(self) -> None:
        """Remove the file of a fit that has ended."""
        if self.file is not None and self.is_open and self.has_ended:
            self.file.remove()

    def told(self, kind: str) -> Part | None:
        """Return the next part, if it is known already."""
        if self.n_told == len(self.parts):
            return None
        part = self.parts[self.n_told]
        if part.kind != kind:
            raise ValueError(f"the checkpoint has {part.kind} where this fit has {kind}: delete it to begin a new fit")
        self.n_told += 1
        return part

    def add(self, kind: str, value: Any, base: ExponentialFamily) -> None:
        """Take something that has been found for the next part."""
        if self.file is not None:
            self.parts.append(encoded(kind, value, base))
            self.n_told += 1
            if self.file.is_due:
                self.write()

    # ---- the starts -------------------------------------------------------------------------------------------------

    def drawn(self, base: ExponentialFamily, rng: np.random.Generator, make: Callable[[], T]) -> T:
        """Return what ``make`` draws with a generator, which is left as drawing it leaves it."""
        if self.file is None:
            return make()
        if self.draws is not None:  # of the file, or of this generator before
            rng.bit_generator.state = decoded(self.draws, base)
        if (part := self.told(OF_STARTS)) is not None:
            return decoded(part, base)
        self.draws = encoded(OF_DRAWS, rng.bit_generator.state, base)
        self.write()
        found = make()
        self.draws = encoded(OF_DRAWS, rng.bit_generator.state, base)
        self.add(OF_STARTS, found, base)
        return found

    # ---- the runs ---------------------------------------------------------------------------------------------------

    def followed(
        self, problem: Problem, start: Mixture, go: Callable[..., Results], callbacks: Sequence[Callback]
    ) -> Results:  # fmt: skip
        """Return the results of runs, from their start or from where the file has them; see `followed`."""
        base = problem.pass_.family
        if (part := self.told(OF_RESULTS)) is not None:
            results, memory = decoded(part, base, start)
            _remember(problem, memory)
            return results
        state: State | None = None

        def keep(now: State) -> bool:
            nonlocal state
            state, self.has_steps = now, True
            stops = asks_to_stop(callbacks, now)
            if not stops and self.file is not None and self.file.is_due:  # a stop is not in the file
                self.write(_state_part(problem, now))
            return stops

        try:
            if self.interruption is None:
                state = self._begun(problem, start)
                results = go(state, callbacks=[keep])
                self.add(OF_RESULTS, (results, problem.pass_.memory), base)
                return results
        except BaseException as error:
            if state is not None and state.n_iter:
                self.write(_state_part(problem, state))
            if not (isinstance(error, KeyboardInterrupt) and self.has_steps):
                raise
            self.interruption = error
        _remember(problem, None)  # a step that was broken off may have left anything there
        state = begin(problem, start) if state is None else end(problem, state, state.done, Status.CONVERGED)
        return list(end(problem, state, np.ones(len(state.run), bool), Status.INTERRUPTED).results)  # type: ignore[arg-type]

    def _begun(self, problem: Problem, start: Mixture) -> State:
        """Return the state that the file has, or that of the start."""
        if self.going is None:
            return begin(problem, start)
        state, memory = decoded(self.going, problem.pass_.family, start)
        self.going = None
        _remember(problem, memory)
        return state


def _state_part(problem: Problem, state: State) -> Part:
    return encoded(OF_STATE, (state, problem.pass_.memory), problem.pass_.family)


def _remember(problem: Problem, memory: Any) -> None:
    """Let a pass that remembers earlier E-steps remember these."""
    if memory is not None or problem.pass_.memory is not None:
        problem.pass_.memory = memory


# ---- for those who are kept ------------------------------------------------------------------------------------------


def _aside(inside: Callable[[Keeper | None], T]) -> T:
    """Give a function the keeper of the fit, hidden from fits made inside, which are not parts of this one."""
    keeper, context = _keeper.get(), copy_context()
    context.run(_keeper.set, None)
    return context.run(inside, keeper)


def followed(
    problem: Problem, start: Mixture, go: Callable[..., Results], callbacks: Sequence[Callback] = ()
) -> Results:
    """Return the results of runs from a stack of mixtures, and keep where they stand if somebody wants to.

    Parameters
    ----------
    problem : Problem
    start : Mixture
    go : callable(state, callbacks=...) -> results
        `run` of this problem.
    callbacks : sequence of callable(State)
    """

    def inside(keeper: Keeper | None) -> Results:
        if keeper is None:
            return go(begin(problem, start), callbacks=callbacks)
        return keeper.followed(problem, start, go, callbacks)

    return _aside(inside)


def drawn(base: ExponentialFamily, rng: np.random.Generator, make: Callable[[], T]) -> T:
    """Return the starts that ``make`` draws with a generator, or those that are kept.

    They may be what checkpoints can hold: tuples, dicts, arrays, mixtures of the family ``base``, collapsed ones.
    """
    return _aside(lambda keeper: make() if keeper is None else keeper.drawn(base, rng, make))


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C break off what is inside, which a fit can do without, and no more, once it has made a step."""
    keeper = _keeper.get()
    try:
        yield
    except KeyboardInterrupt as error:
        if keeper is None or not keeper.has_steps:
            raise
        keeper.interruption = error


def interruption() -> KeyboardInterrupt | None:
    """Return what has ended the fit early, if something has."""
    keeper = _keeper.get()
    return None if keeper is None else keeper.interruption


def has_ended() -> None:
    """Say that the fit has come to its end: its checkpoint is not needed any more."""
    if (keeper := _keeper.get()) is not None and keeper.interruption is None:
        keeper.has_ended = True
