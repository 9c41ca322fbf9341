"""Times of calls, by the wall's clock and the processor's, and how many times longer a peer takes."""

import math
import statistics
import time
from dataclasses import dataclass
from typing import Any, NamedTuple


class Time(NamedTuple):
    """Seconds of a call, and CPU seconds of all threads of its process."""

    wall: float
    cpu: float


class Fit(NamedTuple):
    """What a library fitted; the time of a fit in another program is what that program says."""

    parameters: Any
    model: Any = None
    time: Time | None = None


def best_of(function, at_least=0.2):
    """Return the Time of the fastest of calls, one or more, repeated until ``at_least`` seconds have gone."""
    best, total = Time(math.inf, math.inf), 0.0
    while best.wall == math.inf or total < at_least:
        wall, cpu = time.perf_counter(), time.process_time()
        result = function()
        spent = Time(time.perf_counter() - wall, time.process_time() - cpu)
        if isinstance(result, Fit) and result.time is not None:
            return result.time
        best, total = min(best, spent), total + spent.wall
    return best


@dataclass(frozen=True)
class Timing:
    """The least seconds and CPU seconds of several turns, and the seconds of each turn (None: drowned in noise)."""

    seconds: float
    cpu: float
    turns: tuple

    @classmethod
    def least(cls, times):
        """Return the timing of the Times of several turns; None without any."""
        if not times:
            return None
        return cls(min(t.wall for t in times), min(t.cpu for t in times), tuple(t.wall for t in times))

    @classmethod
    def per_step(cls, few, many, steps):
        """Return the timing of one step from fits that differ by so many; None if the longer fit was not slower."""
        if few is None or many is None or many.seconds <= few.seconds:
            return None
        each = [(b - a) / steps if b > a else None for a, b in zip(few.turns, many.turns, strict=False)]
        return cls((many.seconds - few.seconds) / steps, max(many.cpu - few.cpu, 0.0) / steps, tuple(each))

    def scaled(self, factor):
        """Return the timing of so many times the work."""
        turns = tuple(turn and turn * factor for turn in self.turns)
        return Timing(self.seconds * factor, self.cpu * factor, turns)


def compared(key, peer, ours):
    """Return {key: ratio} of a peer's least seconds over ours, its spread over the turns, and that of CPU seconds.

    ``key_turns`` is the least, the median and the largest ratio of any turn, ``key_cpu`` the ratio of CPU seconds.
    """
    if peer is None or ours is None:
        return {key: None}
    turns = [theirs / own for theirs, own in zip(peer.turns, ours.turns, strict=False) if theirs and own]
    spread = [min(turns), statistics.median(turns), max(turns)] if turns else None
    cpu = peer.cpu / ours.cpu if ours.cpu and peer.cpu else None
    return {key: peer.seconds / ours.seconds, f"{key}_turns": spread, f"{key}_cpu": cpu}


def seconds(timing):
    """Return the least seconds, None of what was not measured."""
    return None if timing is None else timing.seconds
