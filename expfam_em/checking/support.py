"""Where the density of a row may be above 0, found by asking the family."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from expfam_em.family import checked

LIMIT, LIMIT_AT_0 = 36.0, 600.0  # |u| at which x can no longer be told from a finite end; 0 can be approached closely
TINY = 1e-290
PERIODS = (1.0, 2 * np.pi, 24.0, 360.0)
ENDS = ((-np.inf, np.inf), (0.0, np.inf), (0.0, 1.0), (-1.0, 1.0), (-np.pi, np.pi), (0.0, 2 * np.pi), (1.0, np.inf))
"""Usual supports, tried where neither ``check_support`` nor the density tells the support."""


@dataclass(frozen=True)
class Axis:
    """The values of one column: an interval, or the whole numbers in it."""

    low: float
    high: float
    whole: bool

    @property
    def ends(self):
        """Whether there is an end below and above."""
        return np.isfinite(self.low), np.isfinite(self.high)

    def __str__(self):
        below, above = self.ends
        if not below and not above:
            return f"all {'whole' if self.whole else 'real'} x"
        kind, less = ("whole x", "≤") if self.whole else ("x", "<")
        return f"{f'{self.low:.6g} {less} ' if below else ''}{kind}{f' {less} {self.high:.6g}' if above else ''}"

    def limits(self) -> tuple[float, float]:
        """Return the u between which x can be told from its ends."""
        low, high = (LIMIT if end and np.isfinite(end) else LIMIT_AT_0 for end in (self.low, self.high))
        return -low, high

    def to_line(self, x, centre, scale):
        """Return u, any real number, of x."""
        below, above = self.ends
        if below and above:
            return logit((x - self.low) / (self.high - self.low))
        if below:
            return np.log((x - self.low) / scale)
        if above:
            return -np.log((self.high - x) / scale)
        return np.arcsinh((x - centre) / scale)

    def from_line(self, u, centre, scale):
        """Return x and log dx/du."""
        below, above = self.ends
        if below and above:
            width = self.high - self.low
            # from the nearer end, so that no digits are lost beside an end at 0
            x = np.where(u < 0, self.low + width * expit(u), self.high - width * expit(-u))
            return x, np.log(width) - np.logaddexp(0, u) - np.logaddexp(0, -u)
        if below:
            return self.low + scale * np.exp(u), np.log(scale) + u
        if above:
            return self.high - scale * np.exp(-u), np.log(scale) - u
        return centre + scale * np.sinh(u), np.log(scale) + np.logaddexp(u, -u) - np.log(2)


def possible(family, rows) -> np.ndarray:
    """Return which rows ``check_support`` accepts and the density is defined for; in few calls if they lie together."""
    if not len(rows):
        return np.zeros(0, bool)
    try:
        family.check_support(rows)
        T, _ = checked.statistics(family, rows)
        return ~(np.isnan(T).any(axis=1) | np.isnan(checked.log_base_measure(family, rows)))
    except Exception:  # a family without check_support may raise anything for an impossible row
        if len(rows) == 1:
            return np.zeros(1, bool)
        half = len(rows) // 2
        return np.concatenate([possible(family, rows[:half]), possible(family, rows[half:])])


def _end(accepts, start, direction, span, whole) -> float:
    """Return where the accepted values end, beyond ``start``; infinite if they do not."""
    steps = 2.0 ** (np.arange(41) if whole else np.arange(-20, 41))
    values = start + direction * steps * (1.0 if whole else span)
    bad = ~accepts(values)
    if not bad.any():
        return direction * np.inf
    first = int(np.argmax(bad))
    inside, outside = (values[first - 1] if first else start), values[first]
    if (
        not whole
        and inside * outside <= 0
        and accepts(np.array([-direction * TINY, direction * TINY])).tolist() == [True, False]
    ):
        return 0.0
    while abs(outside - inside) > max(float(whole), 4 * np.finfo(float).eps * max(abs(inside), abs(outside))):
        middle = np.floor((inside + outside) / 2) if whole else (inside + outside) / 2
        inside, outside = (middle, outside) if accepts(np.array([middle]))[0] else (inside, middle)
    for round_value in (round(inside, 9), round(inside / (np.pi / 2)) * np.pi / 2):
        if abs(round_value - inside) <= 1e-14 * abs(inside):
            return round_value + 0.0
    return float(inside)


def regions(family, X, row, free, in_plane=False):
    """Yield axes to integrate over, the most plausible ones first; none if the support has another shape."""
    if in_plane:
        yield from ((Axis(low, np.inf, True),) * len(free) for low in (0.0, -np.inf) if X.min() >= low)
        return
    whole = [bool(np.all(X[:, j] == np.floor(X[:, j]))) for j in free]
    choices = [whole]
    if any(whole):
        shifted = X.copy()
        shifted[:, free] = X[:, free] + 0.37 * np.array(whole)
        if possible(family, shifted).any():
            choices.append([False] * len(free))
    for kinds in choices:
        found = [_found_axis(family, X, row, column, kind) for column, kind in zip(free, kinds, strict=True)]
        if not _is_box(family, X, row, free, found):
            continue
        yield from dict.fromkeys(
            tuple(_narrowed(axis, X[:, j], *ends) for axis, j in zip(found, free, strict=True)) for ends in ENDS
        )


def _narrowed(axis, values, low, high):
    low, high = max(axis.low, low), min(axis.high, high)
    if axis.whole:
        low, high = np.ceil(low), np.floor(high)
    contained = low <= values.min() and values.max() <= high
    return Axis(low, high, axis.whole) if contained else axis


def _found_axis(family, X, row, column, whole):
    values = X[:, column]
    low, high = values.min(), values.max()
    span = float(high - low) or 1.0

    def accepts(at):
        rows = np.tile(row, (len(at), 1))
        rows[:, column] = at
        return possible(family, rows)

    ends = (_end(accepts, low, -1, span, whole), _end(accepts, high, 1, span, whole))
    if not whole and not np.isfinite(ends).any():
        T, log_h = checked.statistics(family, X)[0], checked.log_base_measure(family, X)
        for period in PERIODS:
            moved = X.copy()
            moved[:, column] += period
            again = checked.statistics(family, moved)[0], checked.log_base_measure(family, moved)
            if np.allclose(again[0], T, atol=1e-9) and np.allclose(again[1], log_h, atol=1e-9) and high - low <= period:
                middle = (low + high) / 2
                return Axis(middle - period / 2, middle + period / 2, False)
    return Axis(*ends, whole)


def _is_box(family, X, row, free, axes):
    """Whether rows anywhere between the ends are possible."""
    parts = []
    for axis, column in zip(axes, free, strict=True):
        low = axis.low if np.isfinite(axis.low) else X[:, column].min() - 1
        high = axis.high if np.isfinite(axis.high) else X[:, column].max() + 1
        parts.append(low + np.array([1e-4, 0.21, 0.4, 0.55, 0.83, 1 - 1e-4]) * (high - low))
        if axis.whole:
            parts[-1] = np.round(parts[-1])
    rows = np.tile(row, (len(parts[0]) ** min(len(free), 2), 1))
    if len(free) <= 2:
        rows[:, free] = list(itertools.product(*parts))
    else:
        for column, part in zip(free, parts, strict=True):
            rows[:, column] = np.resize(part, len(rows))
    return bool(possible(family, rows).all())
