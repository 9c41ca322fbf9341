"""Probabilities of intervals, and expectations given an interval, of any family of one column.

They are quadratures: an interval becomes nodes xⱼ with weights wⱼ, so that E[f(X) | a ≤ X ≤ b] = Σ wⱼ f(xⱼ).
Log-densities are taken relative to the largest in the interval, so that intervals far out in a tail keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.special import expit, log_expit, logit

from expfam_em.family import checked
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import cancels, frames_of, is_incomplete
from expfam_em.family.sampling import CELLS, PROBES
from expfam_em.rows.typing import Array, Floats, Mask

FAR_PROBES = np.unique(
    np.concatenate([PROBES, PROBES + 0.25, *(s * 10.0 ** np.arange(-300, 301, 4.0) for s in (1, -1))])
)
FAR_PROBES.flags.writeable = False
"""Where a density is looked for."""

NEGLIGIBLE_DROP = 42.0
"""By how much the logarithm of a density falls from its largest in an interval to where the rest is left out: e⁻⁴² is
6e-19."""

WIDTH_DROP = 2.0
"""By how much the logarithm of a density falls within the width by which the whole line is bent: the peak of a normal
density stays a peak."""

HALVED_PANELS, NODES_EACH = 8, 18
"""Panels on each side of the largest density, each twice as long as the one before, and the nodes in one."""

TRIED_REACHES = 4.0 ** -np.arange(1, 27)
TRIED_REACHES.flags.writeable = False
"""How far a density reaches, as tried first, in units of the interval."""


def _panels() -> tuple[Array, Array]:
    """Return the nodes and weights of all panels between 0 and 1 (Gauss-Legendre)."""
    abscissae, weights = np.polynomial.legendre.leggauss(NODES_EACH)
    ends = np.concatenate([[0.0], 2.0 ** np.arange(1 - HALVED_PANELS, 1)])
    half = 0.5 * np.diff(ends)[:, None]
    return (ends[:-1, None] + half * (1 + abscissae)).ravel(), (half * weights).ravel()


PLACES, LENGTHS = _panels()
PLACES.flags.writeable = LENGTHS.flags.writeable = False

STRAIGHT = 0.5
"""Length up to which an interval is not bent, in units of the bent line."""

MOST_TERMS = 1 << 16
"""Whole numbers that are added up one by one for each interval. Of more, lots of neighbours stand for each other; where
the interval ends within the bulk, that costs about 1e-9 of its probability."""

LEAST_KEPT = 0.02
"""Probability of an interval from which draws of the whole line are kept where they lie in it."""

CLIMBS = 200
HALVINGS_OF_LINE = 2.0 ** -np.arange(0, 54)
HALVINGS_OF_LINE.flags.writeable = False


SIZES = np.unique([sign * 2.0 ** np.arange(-1074, 1024, 16.0) for sign in (-1, 0, 1)])
SIZES.flags.writeable = False
"""Numbers of all orders of magnitude."""


class Nodes(NamedTuple):
    """Quadratures over intervals.

    Attributes
    ----------
    x, weight : (m, J)
        Nodes, and their weights, which sum to 1 in each row; 0 in an interval of probability 0.
    log_mass : (m,)
        Logarithms of the probabilities of the intervals.
    """

    x: Array
    weight: Array
    log_mass: Floats


class Line(NamedTuple):
    """The numbers that a family of one column accepts: those from low to high, or the whole ones among them."""

    low: float
    high: float
    is_whole: bool

    @classmethod
    def of(cls, family: ExponentialFamily) -> Line:
        """Find the numbers by asking `supports`.

        Raises
        ------
        ValueError
            If the family needs more columns than one, or accepts no number that is tried.
        """

        def accepts(x: Array) -> Mask:
            return checked.supports(family, x[:, None])

        try:
            possible, whole = accepts(FAR_PROBES), accepts(np.round(PROBES))
        except (ValueError, IndexError) as error:
            raise ValueError(f"{family!r} is not a family of one column, which intervals need: {error}") from error
        is_whole = bool(whole.any()) and not bool((possible & (FAR_PROBES != np.round(FAR_PROBES))).any())
        found = np.round(PROBES)[whole] if is_whole else FAR_PROBES[possible]
        if not len(found):
            raise ValueError(f"{family!r} accepts none of the numbers that were tried, so that it has no intervals")
        return cls(_end(accepts, found.min(), -1, is_whole), _end(accepts, found.max(), 1, is_whole), is_whole)


def _end(accepts: Callable, inside: float, sign: int, is_whole: bool) -> float:
    """Return where the numbers that a family accepts end on one side; infinite if they do not."""
    outside = sign * (2.0**53 if is_whole else float(np.finfo(float).max))
    if accepts(np.array([outside]))[0]:
        return sign * np.inf

    def between(trials: Array) -> Array:
        """Return those between the two ends, in the order from the inside to the outside."""
        trials = np.unique(np.round(trials) if is_whole else trials)
        return trials[(sign * trials > sign * inside) & (sign * trials < sign * outside)][::sign]

    is_far = sign * inside <= 0  # the signs differ: first look for the order of magnitude
    for _ in range(40):
        trials = between(SIZES) if is_far or abs(outside) > 4 * abs(inside) > 0 else SIZES[:0]
        trials = trials if len(trials) else between(np.linspace(inside, outside, 66))
        if not len(trials):
            break
        is_far = False
        fine = accepts(trials)
        last = int(np.argmin(fine)) if not fine.all() else len(fine)
        inside = trials[last - 1] if last else inside
        outside = trials[last] if last < len(trials) else outside
    return float(inside)


class _Bent(NamedTuple):
    """A component's line in a coordinate u in which its density has tails that fall at least exponentially."""

    x: Callable  # of u
    u: Callable  # of x
    log_slope: Callable  # log dx/du, of u
    beyond: Callable  # (x₀, u₀, v) -> x(u₀ + v), with the digits of x − x₀
    low: float
    high: float


NOT_BENT = _Bent(lambda u: u, lambda x: x, np.zeros_like, lambda x, u, v: x + v, -np.inf, np.inf)


def _bent(line: Line, centre: float = 0.0, width: float = 1.0) -> _Bent:
    if line.low < 0:
        return _Bent(
            lambda u: centre + width * np.sinh(u),
            lambda x: np.arcsinh((x - centre) / width),
            lambda u: np.log(width) + np.logaddexp(u, -u) - np.log(2),
            lambda x, u, v: x + 2 * width * np.cosh(u + 0.5 * v) * np.sinh(0.5 * v),
            -650.0,
            650.0,
        )
    if line.high <= 1:
        return _Bent(expit, logit, lambda u: log_expit(u) + log_expit(-u), lambda x, u, v: expit(u + v), -700.0, 20.0)
    return _Bent(np.exp, np.log, lambda u: u, lambda x, u, v: x * np.exp(v), -707.0, 709.0)


def nodes(family: ExponentialFamily, natural: Array, low: Array, high: Array) -> Nodes:
    """Return quadratures over intervals, (m,), of one component, (p,); ends may be infinite.

    The density must have one peak, along the line that is bent so that tails are exponential.
    """
    line = Line.of(family)
    natural = np.asarray(natural, np.float64)[None]

    log_density = _log_density_of(family, natural)
    low, high = np.maximum(low, line.low), np.minimum(high, line.high)
    peak = _peak(log_density, line, _hint(family, natural))
    with np.errstate(all="ignore"):
        if line.is_whole:
            return _terms(log_density, np.ceil(low), np.floor(high), peak)
        bent = _bent(line, peak, _width(log_density, peak)) if line.low < 0 else _bent(line)
        return _quadrature(log_density, bent, low, high, peak)


def _log_density_of(family: ExponentialFamily, natural: Array) -> Callable:
    """Return the log-density of one component, (1, p), as a function of arrays of x; −∞ where there is none."""
    plain = not (is_incomplete(family) or cancels(family, natural) or frames_of(family) is not None)
    partition = checked.log_partition(family, natural)[0] if plain else 0.0

    def log_density(x: Array) -> Array:
        rows = x.reshape(-1, 1)
        with np.errstate(all="ignore"):
            if plain:  # as `ExponentialFamily.log_density` has it, with A once for all
                found = checked.statistics(family, rows)[0] @ natural[0] - partition
                found = found + checked.log_base_measure(family, rows)
            else:
                found = checked.log_density(family, rows, natural)[:, 0]
        return np.where(np.isnan(found), -np.inf, found).reshape(x.shape)

    return log_density


def _hint(family: ExponentialFamily, natural: Array) -> list[float]:
    """Return E[x], if the family has a formula for it: a place to look for the peak."""
    try:
        return [float(checked.answer(family, "mean", family.mean(natural), {"K": 1, "d": 1})[0, 0])]
    except (NotImplementedError, ValueError):
        return []


def _peak(log_density: Callable, line: Line, hint: list[float]) -> float:
    """Return where the density along the bent line is largest, as x."""
    # the whole line is bent about the peak, which is looked for without
    bent = NOT_BENT if line.is_whole or line.low < 0 else _bent(line)
    probes = np.concatenate([FAR_PROBES, hint, np.nextafter([line.low, line.high], 0.0)])
    probes = probes[np.isfinite(probes) & (probes >= line.low) & (probes <= line.high)]
    probes = np.round(probes) if line.is_whole else probes

    def g(u: Array) -> Array:
        x = np.clip(bent.x(u), line.low, line.high)
        return log_density(np.round(x) if line.is_whole else x) + bent.log_slope(u)

    with np.errstate(all="ignore"):
        starts = np.clip(bent.u(probes), bent.low, bent.high)
        values = g(starts)
        u, best = starts[np.argmax(values)], values.max()
        for _ in range(CLIMBS):
            steps = max(abs(u), 1.0) * HALVINGS_OF_LINE
            trials = np.clip(np.concatenate([u - steps, u + steps]), bent.low, bent.high)
            values = g(trials)
            if not values.max() > best:
                break
            u, best = trials[np.argmax(values)], values.max()
        x = float(np.clip(bent.x(u), line.low, line.high))
    return float(np.round(x)) if line.is_whole else x


def _width(log_density: Callable, peak: float) -> float:
    """Return how far from the peak the density has fallen by `WIDTH_DROP` on both sides."""
    sizes = max(abs(peak), 1.0) * np.concatenate([2.0 ** np.arange(60, 0, -0.5), 2.0 ** -np.arange(0, 120, 0.5)])
    top = log_density(np.array([peak]))
    fallen = np.maximum(log_density(peak + sizes), log_density(peak - sizes)) < top - WIDTH_DROP
    return float(sizes[fallen].min(initial=sizes.max()))


class _Ways(NamedTuple):
    """Ways from where the density of each interval is largest, along the bent line, or straight if it is short."""

    log_density: Callable
    bent: _Bent
    x: Array
    u: Array
    straight: Mask
    low: Array
    high: Array

    def take(self, which: Mask) -> _Ways:
        x, u, straight, low, high = self.x, self.u, self.straight, self.low, self.high
        return _Ways(self.log_density, self.bent, x[which], u[which], straight[which], low[which], high[which])

    def at(self, v: Array) -> Array:
        """Return x after steps v, (m, ·) -> (m, ·)."""
        x, u, straight, low, high = (values[:, None] for values in self[2:])
        there = np.where(straight, x + v, self.bent.beyond(x, u, np.where(straight, 0.0, v)))
        return np.clip(there, low, high)

    def log_values(self, v: Array) -> Array:
        """Return the logarithm of the density of v, (m, ·) -> (m, ·)."""
        slope = self.bent.log_slope(self.u[:, None] + np.where(self.straight[:, None], 0.0, v))
        return self.log_density(self.at(v)) + np.where(self.straight[:, None], 0.0, slope)


def _quadrature(log_density: Callable, bent: _Bent, low: Array, high: Array, peak: float) -> Nodes:
    empty = ~(low < high)
    low, high = np.where(empty, peak, low), np.where(empty, peak, high)
    middle = np.clip(peak, low, high)
    first, here, last = np.clip(bent.u(np.stack([low, middle, high])), bent.low, bent.high)
    straight = (last - first < STRAIGHT) & np.isfinite(low) & np.isfinite(high)
    start = np.where(np.isfinite(middle) & (middle != 0), middle, bent.x(here))
    ways = _Ways(log_density, bent, np.clip(start, low, high), here, straight, low, high)
    top = ways.log_values(np.zeros((len(low), 1)))[:, 0]
    below, above = (
        np.where(straight, middle - low, here - first),
        np.where(straight, high - middle, last - here),
    )
    cut = ~straight & (first <= bent.low), ~straight & (last >= bent.high)
    x = np.tile(ways.x[:, None], (1, 2 * len(PLACES) + 4))
    weight = np.zeros_like(x)
    half = len(PLACES) + 2
    for sign, span, is_cut, columns in (
        (-1.0, below, cut[0], slice(0, half)),
        (1.0, above, cut[1], slice(half, 2 * half)),
    ):
        if (on := (span > 0) & np.isfinite(top)).any():
            x[on, columns], weight[on, columns] = _side(ways.take(on), top[on], sign, span[on], is_cut[on])
    total = weight.sum(axis=1)
    none = empty | ~np.isfinite(top) | (total == 0)
    weight = np.where(none[:, None], 0.0, weight / np.where(none, 1.0, total)[:, None])
    x = np.where(weight != 0, x, ways.x[:, None])
    return Nodes(x, weight, np.where(none, -np.inf, top + np.log(total)))


def _side(ways: _Ways, top: Array, sign: float, span: Array, cut: Mask) -> tuple[Array, Array]:
    """Return nodes, and their weights in units of the largest density, on one side of where that is, (m, ·)."""
    reach = _reach(lambda v: ways.log_values(sign * v), top, span)
    v = sign * reach[:, None] * PLACES
    weight = reach[:, None] * LENGTHS * np.exp(ways.log_values(v) - top[:, None])
    # Beyond the range of float64 log-densities and statistics are linear in u: with slope s of the former,
    # ∫ e^(−s v) (T + T′ v) dv = (T + T′/s)/s, and T′ is the difference of T over the last unit.
    ends = sign * np.stack([span, span - 1], axis=1)
    of_ends = ways.log_values(ends)
    cut = cut & (of_ends[:, 0] - top > -NEGLIGIBLE_DROP)
    slope = np.where(cut, of_ends[:, 1] - of_ends[:, 0], 1.0)
    mass = np.where(cut, np.exp(of_ends[:, 0] - top) / np.where(slope > 0, slope, np.nan), 0.0)
    beyond = np.stack([mass * (1 + 1 / slope), -mass / slope], axis=1)
    return np.concatenate([ways.at(v), ways.at(ends)], axis=1), np.concatenate([weight, beyond], axis=1)


def _reach(log_values: Callable, top: Array, span: Array) -> Array:
    """Return how far from the top, (m,), the density is not negligible; no more than the span."""
    least = (top - NEGLIGIBLE_DROP)[:, None]
    pending = ~(log_values(span[:, None]) >= least)[:, 0]
    if not pending.any():
        return span
    trials = span[:, None] * TRIED_REACHES
    within = log_values(trials) >= least
    rows, first = np.arange(len(span)), np.where(within.any(axis=1), np.argmax(within, axis=1), -1)
    inside, outside = trials[rows, first], np.where(first > 0, trials[rows, np.maximum(first - 1, 0)], span)
    for _ in range(3):
        between = np.sqrt(inside * outside)
        fine = (log_values(between[:, None]) >= least)[:, 0]
        inside, outside = np.where(fine, between, inside), np.where(fine, outside, between)
    return np.where(pending, outside, span)


def _terms(log_density: Callable, low: Array, high: Array, peak: float) -> Nodes:
    empty = ~(low <= high)
    low, high = np.where(empty, peak, low), np.where(empty, peak, high)
    middle = np.clip(peak, low, high)
    top = log_density(middle)
    ends = []
    for sign, end in ((-1.0, low), (1.0, high)):
        span = np.minimum(np.abs(end - middle), 2.0**53)

        def g(v: Array, sign: float = sign) -> Array:
            return log_density(middle[:, None] + sign * np.ceil(v))

        ends.append(middle + sign * np.ceil(_reach(g, top, span)))
    first, count = ends[0], ends[1] - ends[0] + 1
    # lots of an odd number of terms, each by the one in its middle, and what remains behind them
    size = 2 * np.ceil((count - MOST_TERMS) / (2 * MOST_TERMS)).clip(0) + 1
    lots = np.floor(count / size)
    j = np.arange(int(lots.max(initial=1)) + 1)
    held = np.where(j < lots[:, None], size[:, None], np.where(j == lots[:, None], (count - lots * size)[:, None], 0.0))
    held[empty] = 0.0
    x = np.where(held > 0, first[:, None] + size[:, None] * j + np.floor((held - 1) / 2), middle[:, None])
    weight = np.where(held > 0, held * np.exp(log_density(x) - top[:, None]), 0.0)
    total = weight.sum(axis=1)
    none = empty | ~np.isfinite(top) | ~(total > 0)
    weight = np.where(none[:, None], 0.0, weight / np.where(none, 1.0, total)[:, None])
    return Nodes(x, weight, np.where(none, -np.inf, top + np.log(total)))


def draw(family: Any, natural: Array, low: float, high: float, n: int, rng: np.random.Generator) -> Array:
    """Return n numbers of one component, (p,) -> (n,), from low to high.

    Draws of the family are kept where the interval has a good part of the probability. Elsewhere the distribution
    function is tabulated and inverted.
    """
    found = nodes(family, natural, np.array([low]), np.array([high]))
    [x], [weight], [log_mass] = found
    if log_mass > np.log(LEAST_KEPT):
        kept: list[Array] = [np.empty(0)]
        while sum(map(len, kept)) < n:
            rows = checked.sample(family, natural, int(2 * n / np.exp(log_mass)) + 1, rng, 1)[:, 0]
            kept.append(rows[(rows >= low) & (rows <= high)])
        return np.concatenate(kept)[:n].astype(np.float64)
    used = weight > 0
    x, weight = x[used], weight[used]
    if Line.of(family).is_whole:
        return rng.choice(x, n, p=weight / weight.sum())
    cells = np.linspace(x.min(), x.max(), CELLS + 1)
    with np.errstate(all="ignore"):
        log_density = checked.log_density(family, cells[:, None], np.asarray(natural)[None])[:, 0]
        mass = np.exp(log_density - np.max(log_density[np.isfinite(log_density)]))
    cumulative = cumulative_trapezoid(np.where(np.isfinite(mass), mass, 0.0), cells, initial=0.0)
    return np.interp(rng.random(n) * cumulative[-1], cumulative, cells)
