"""One number of which only a part is seen: rows in a window, and rows that are known up to an interval."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.families.categorical import Categorical
from expfam_em.families.composed.parts import OfAnother, family_argument
from expfam_em.families.directional import VonMises
from expfam_em.families.uniform import Uniform
from expfam_em.family import checked, intervals
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.binding import Composed
from expfam_em.family.frames import Frames
from expfam_em.family.intervals import Line, Nodes
from expfam_em.family.kernel_form import KernelForm, OwnFrames
from expfam_em.family.optional import (
    Cancelling,
    Framed,
    FramedBy,
    Incomplete,
    Seeded,
    cancels,
    components,
    edge_sums_of,
    is_incomplete,
    kernel_frames,
    sums_of,
    translate,
    translate_expectation,
)
from expfam_em.family.support import require, require_rows
from expfam_em.rows.typing import Array, Block, Floats, Integers, Mask

WITHOUT_INTERVALS = {
    Uniform: "nothing is estimated, so that a window or an interval only changes its box",
    VonMises: "angles lie on a circle, and not on a line",
    Categorical: "labels have no order",
}
"""Families of one column without intervals, and why."""

UNBOUNDED = float(np.finfo(np.float32).max)
"""The end of an interval from which it is infinite: the largest number of float32, 3.4e38."""

WINDOW_STEPS, LONGEST_HALVING = 25, 20

NEWTON_SOLVED = 1e-7
"""Length of a Newton step, in standard deviations of one row, after which the next is rounding."""

ROUNDING_OF_VALUE = 1e-14
"""Rounding of ⟨η, m⟩ − A(η), as a share of its terms."""

STEPS_WITH_UNSEEN_ROWS = 20
"""EM steps about the rows outside a window, where Newton's method finds no maximum inside the parameter space."""


class OfOneColumn(OfAnother, FramedBy, Seeded):
    """What is known of one number that follows a family; natural parameters, their names and T are its own."""

    sparse, framed_by, its_natural = "never", "family", slice(None)

    def _take(self, family: Any) -> None:
        """Take the family, once it is one of a single number with parameters."""
        family = family_argument(family)
        if isinstance(family, Composed):
            raise ValueError(f"{family!r} is made of others: put each of its parts that needs it into intervals")
        for kind, reason in WITHOUT_INTERVALS.items():
            if isinstance(family, kind):
                raise ValueError(f"{family!r} has no use for intervals: {reason}")
        Line.of(family)
        if np.any(checked.exposure(family, np.ones((1, 1))) is not None):
            raise ValueError(f"{family!r} has an exposure, which intervals of one number have not")
        self.family = family
        self.seed_smoothing, self.regularized = family.seed_smoothing, family.regularized

    def _alone(self, n: int) -> list[ExponentialFamily]:
        """Return the family of each of n components."""
        if self.frames is None:
            return [self.family] * n
        return [components(self.family, np.array([k])) for k in range(n)]

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        return self.family.choose_frames(natural, expectation) if isinstance(self.family, Framed) else None

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        its = self.family
        return its.rescue_frames(natural, expectation, proper) if isinstance(its, Framed) else None

    def translate(self, natural: Array, target: Any) -> Array:
        return translate(self.family, natural, target.family)

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        return translate_expectation(self.family, expectation, target.family)

    @abstractmethod
    def for_seeds(self) -> ExponentialFamily:
        """Return the family of the same parameters that seeds are drawn from."""


class Truncated(OfOneColumn, Cancelling):
    """Rows that are only seen from low to high: p(x) = p₀(x)/P(low ≤ X ≤ high) there, and 0 elsewhere.

    T, η and their names are those of the family, which is that of all rows, seen and unseen: `parameters` tells of
    these. A(η) = A₀(η) + log P_η(low ≤ X ≤ high), and ∇A(η) = E[T | low ≤ X ≤ high]. The M-step solves ∇A(η) = m with
    Newton's method. Where no η does, because the density becomes ever flatter or steeper, it takes EM steps about the
    unseen rows instead (Dempster, Laird & Rubin 1977, section 4.2); the bound never falls.

    Ends are counted in: of counts, ``low=1`` leaves out zeros.

    Parameters
    ----------
    family : ExponentialFamily
        Of one column, such as ``Gaussian()`` or ``Poisson()``.
    low, high : float, optional
        Ends of the window; None where there is none.

    Raises
    ------
    TypeError, ValueError
        If it is no family of one number with fixed statistics, or no number of the family lies in the window.
    """

    def __init__(self, family: ExponentialFamily | str, *, low: float | None = None, high: float | None = None) -> None:
        self._take(family)
        made = self.family
        if is_incomplete(made):
            raise ValueError(f"{made!r} has unobserved parts, so that a window has no M-step: no T tells of all rows")
        if made.coupled or made.regularized:
            raise ValueError(
                f"{made!r} adds something to the M-step, or shares parameters among components, which has no meaning "
                "for rows in a window: take another covariance type, and reg_covar=0"
            )
        self.low, self.high = (None if end is None else float(end) for end in (low, high))
        line, (start, stop) = Line.of(made), self._window
        start, stop = max(start, line.low), min(stop, line.high)
        if not (np.floor(stop) >= np.ceil(start) if line.is_whole else stop > start):
            raise ValueError(f"no number that {made!r} accepts lies between low = {low} and high = {high}")

    @property
    def _window(self) -> tuple[float, float]:
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(self.family, lambda X, weight: (X, weight))]

    def for_seeds(self) -> ExponentialFamily:
        return self.family

    def _nodes(self, family: ExponentialFamily, natural: Array) -> Nodes:
        return intervals.nodes(family, natural, *(np.array([end]) for end in self._window))

    def _log_mass(self, natural: Array) -> Floats:
        """Return log P(low ≤ X ≤ high), (K,); NaN outside the natural-parameter space."""
        if self.low is None and self.high is None:
            return np.zeros(len(natural))
        inside = np.isfinite(checked.log_partition(self.family, natural))
        out, alone = np.full(len(natural), np.nan), self._alone(len(natural))
        for k in np.flatnonzero(inside):
            out[k] = self._nodes(alone[k], natural[k]).log_mass[0]
        return out

    def sufficient_statistics(self, X: Block) -> Array:
        return checked.statistics(self.family, X)[0]

    def log_base_measure(self, X: Block) -> Array:
        return np.where(self._seen(X), checked.log_base_measure(self.family, X), -np.inf)

    def log_partition(self, natural: Array) -> Array:
        found = checked.log_partition(self.family, natural) + self._log_mass(natural)
        return np.where(np.isfinite(found), found, np.inf)

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return self._means(natural, lambda family, x: checked.log_base_measure(family, x)[:, None])[:, 0]

    def to_expectation(self, natural: Array) -> Array:
        flat = natural.reshape(-1, natural.shape[-1])
        if self.low is None and self.high is None:
            return checked.to_expectation(self.family, natural)
        out = np.full(flat.shape, np.nan)
        for k, family in enumerate(self._alone(len(flat))):
            if np.isfinite(checked.log_partition(family, flat[k : k + 1])[0]):
                out[k] = _mean_of_statistics(family, self._nodes(family, flat[k]))
        return out.reshape(natural.shape)

    def _means(self, natural: Array, of_rows: Callable) -> Array:
        """Return E[f(X) | low ≤ X ≤ high] of each component, (K, ·)."""
        found = []
        for family, eta in zip(self._alone(len(natural)), natural, strict=True):
            [x], [weight], _ = self._nodes(family, eta)
            found.append(weight[weight != 0] @ of_rows(family, x[weight != 0, None]))
        return np.array(found)

    def to_natural(self, expectation: Array) -> Array:
        """Return η with ∇A(η) = m, (K, p), NaN where there is none."""
        return self._solved(expectation, checked.to_natural(self.family, expectation), np.nan)

    def maximize(self, counts: Array, sums: Array, previous: Array | None = None) -> Array:
        mean = sums / counts[:, None]
        return self._solved(mean, checked.to_natural(self.family, mean) if previous is None else previous)

    def _solved(self, expectation: Array, start: Array, otherwise: float | None = None) -> Array:
        """Return η with ∇A(η) = m, (K, p); where there is none, one that is likelier than the start, or a value."""
        if self.low is None and self.high is None:
            return checked.to_natural(self.family, expectation)
        out = np.full(expectation.shape, np.nan)
        for k, family in enumerate(self._alone(len(expectation))):
            if not np.isfinite([expectation[k], start[k]]).all():
                continue
            alone, m = self.replace(family=family), expectation[k]
            found, is_solved = alone._newton(m, start[k])
            if not is_solved and np.array_equal(found, start[k]):
                found, is_solved = alone._newton(m, alone._with_unseen_rows(m, found))
            out[k] = found if is_solved or otherwise is None else otherwise
        return out

    def _newton(self, expectation: Array, natural: Array) -> tuple[Array, bool]:
        """Return η of one component, (p,), after steps of Newton's method to ∇A(η) = m, and whether that is solved."""
        found = self._nodes(self.family, natural)
        value = expectation @ natural - self._partition_of(natural, found)
        for _ in range(WINDOW_STEPS):
            residual = expectation - _mean_of_statistics(self.family, found)
            step = _solved_with(_covariance_of_statistics(self.family, found), residual)
            decrement = step @ residual
            if not decrement >= 0:
                break
            for halving in range(LONGEST_HALVING):
                trial = natural + step / 2**halving
                its = self._nodes(self.family, trial)
                new = expectation @ trial - self._partition_of(trial, its)
                rounding = ROUNDING_OF_VALUE * (np.abs(expectation) @ np.abs(trial) + np.abs(new))
                if np.isfinite(new) and new >= value + 1e-4 * decrement / 2**halving - rounding:
                    break
            else:
                break
            natural, found, value = trial, its, new
            if decrement < NEWTON_SOLVED**2:  # the step after this one is rounding
                return natural, True
        return natural, False

    def _partition_of(self, natural: Array, found: Nodes) -> float:
        with np.errstate(invalid="ignore"):
            value = checked.log_partition(self.family, natural[None])[0] + found.log_mass[0]
        return float(value) if np.isfinite(value) else np.inf

    def _with_unseen_rows(self, expectation: Array, natural: Array) -> Array:
        """Return η of one component, (p,), after EM steps: the mean over all rows is ∇A₀(η) + P (m − E[T | seen])."""
        for _ in range(STEPS_WITH_UNSEEN_ROWS):
            found = self._nodes(self.family, natural)
            unexplained = expectation - _mean_of_statistics(self.family, found)
            of_all = checked.to_expectation(self.family, natural[None])[0] + np.exp(found.log_mass[0]) * unexplained
            [step] = checked.to_natural(self.family, of_all[None])
            if not np.isfinite(self.log_partition(step[None])).all():
                break
            natural = step
        return natural

    # ---- rows ------------------------------------------------------------------------------------------------

    def kernel_form(self, n_features: int) -> KernelForm | None:
        return self.family.kernel_form(n_features)

    def kernel_frames(self) -> OwnFrames | None:
        return kernel_frames(self.family)

    def cancels(self, natural: Array) -> bool:
        return cancels(self.family, natural)

    def sums(self, X: Block, responsibilities: Array) -> Array:
        return sums_of(self.family, X, responsibilities)

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        found = checked.log_density(self.family, X, natural) - self._log_mass(natural)
        return np.where(self._seen(X)[:, None], found, -np.inf)

    def _seen(self, X: Block) -> Mask:
        low, high = self._window
        return np.all((np.asarray(X) >= low) & (np.asarray(X) <= high), axis=1)

    def supports(self, X: Block) -> Mask:
        return self._seen(X) & checked.supports(self.family, X)

    def check_support(self, X: Block) -> None:
        _require_columns(self, X, 1, "the number")
        checked.check_rows(self.family, X)
        low, high = self._window
        needs = f"{type(self).__name__} needs numbers from low = {self.low} to high = {self.high}"
        require((np.asarray(X) >= low) & (np.asarray(X) <= high), X, needs)

    def mean(self, natural: Array) -> Array:
        return self._means(natural, lambda family, x: x)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        family = self._alone(1)[0] if self.frames is not None else self.family
        return intervals.draw(family, natural, *self._window, n, rng)[:, None]

    def __repr__(self) -> str:
        ends = (f", {name}={end:g}" for name, end in (("low", self.low), ("high", self.high)) if end is not None)
        return f"Truncated({self.family!r}{''.join(ends)})"


class Censored(OfOneColumn, Incomplete):
    """One number in two columns (low, high): observed where they are equal, otherwise only known to lie between them.

    The density of an interval is log P_η(low ≤ X ≤ high), and the E-step takes E[T | low ≤ X ≤ high] (Dempster, Laird &
    Rubin 1977, section 4.2). T, A, the M-step and named parameters are those of the family. Ends are counted in: of
    counts, (3, 5) stands for 3, 4 or 5.

    An interval without a lower or upper end has ∓3.4028235e38 there, the largest number of float32, because
    scikit-learn refuses infinite entries: `Censored.rows` writes infinite ends so. Intervals may reach beyond the
    numbers that the family accepts: of waiting times, 0 is as good as no lower end.

    Starts take the middle of an interval, or its end where it has only one. Sampled rows are observed exactly.

    Parameters
    ----------
    family : ExponentialFamily
        Of one column, such as ``FreeWeibull()`` or ``Gaussian()``.

    Raises
    ------
    TypeError, ValueError
        If it is no family of one number.
    """

    samples_alike = False

    def __init__(self, family: ExponentialFamily | str) -> None:
        self._take(family)
        if is_incomplete(self.family):
            self.family = self.family.for_intervals()
        self.as_points = False

    @staticmethod
    def rows(low: ArrayLike, high: ArrayLike) -> Array:
        """Return the two columns of a censored number, (n, 2), from ends that may be infinite.

        Parameters
        ----------
        low, high : (n,)
            Ends of each interval; equal where the number was observed.

        Returns
        -------
        X : (n, 2) array
            The ends, ±3.4028235e38 in the place of infinite ones.
        """
        ends = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
        return np.clip(np.column_stack([end.ravel() for end in ends]), -UNBOUNDED, UNBOUNDED)

    @property
    def incomplete(self) -> bool:  # type: ignore[override]
        return not self.as_points or is_incomplete(self.family)

    def _views(self) -> list[tuple[ExponentialFamily, Callable]]:
        return [(self.family, lambda X, weight: (self._points(X), weight))]

    def for_seeds(self) -> ExponentialFamily:
        return self.replace(as_points=True)

    def _ends(self, X: Block) -> tuple[Array, Array, Mask]:
        """Return the ends of the intervals, maybe infinite, and which rows are observed, each (n,)."""
        low, high = np.asarray(X, np.float64).T
        exact = low == high
        unbounded = UNBOUNDED * (1 - 1e-7)
        low = np.where(~exact & (low <= -unbounded), -np.inf, low)
        return low, np.where(~exact & (high >= unbounded), np.inf, high), exact

    def _points(self, X: Block) -> Array:
        """Return one number for each row that the family accepts, if there is one, (n, 1)."""
        low, high, exact = self._ends(X)
        line = Line.of(self.family)
        if abs(line.low) < UNBOUNDED:
            low = np.where(exact, low, np.maximum(low, line.low))
        if abs(line.high) < UNBOUNDED:
            high = np.where(exact, high, np.minimum(high, line.high))
        with np.errstate(invalid="ignore", over="ignore"):
            middle = low + 0.5 * (high - low)
        bounded = np.isfinite(low) & np.isfinite(high)
        one = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 1.0))
        x = np.where(bounded, middle, one)
        x = np.where(exact, low, np.floor(x) if line.is_whole else x)
        wrong = ~exact & ~checked.supports(self.family, x[:, None])
        if wrong.any():  # an end that the family just does not reach, such as 0
            beside = np.stack([np.nextafter(x, np.inf), x + 1, x - 1, np.ones_like(x)])
            fine = [checked.supports(self.family, row[:, None]) & (row >= low) & (row <= high) for row in beside]
            best = np.argmax(fine[1:] + fine[:1], axis=0)
            x = np.where(wrong, np.concatenate([beside[1:], beside[:1]])[best, np.arange(len(x))], x)
        return np.asarray(x[:, None])

    def sufficient_statistics(self, X: Block) -> Array:
        return checked.statistics(self.family, self._points(X))[0]

    def log_base_measure(self, X: Block) -> Array:
        return checked.log_base_measure(self.family, self._points(X)) if self.as_points else np.zeros(len(X))

    def expected_log_base_measure(self, natural: Array) -> Array | None:
        return None  # that of the numbers themselves would say nothing about intervals

    # ---- the E-step ------------------------------------------------------------------------------------------

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        if self.as_points:
            return checked.log_density(self.family, self._points(X), natural)
        low, high, exact = self._ends(X)
        out = np.empty((len(low), len(natural)))
        if exact.any():
            out[exact] = checked.log_density(self.family, low[exact, None], natural)
        if not exact.all():
            ends, which = _distinct(low[~exact], high[~exact])
            for k, (family, eta) in enumerate(zip(self._alone(len(natural)), natural, strict=True)):
                out[~exact, k] = intervals.nodes(family, eta, *ends).log_mass[which]
        return out

    def paired_log_density(self, X: Block, natural: Array) -> Array:
        return self.family.paired_log_density(self._points(X), natural)  # of seeds, which are points

    def complete(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self._summed(sums_of, X, natural, responsibilities)

    def guess(self, X: Block, responsibilities: Array) -> Array:
        return sums_of(self.family, self._points(X), responsibilities)

    def _summed(self, of_rows: Callable, X: Block, natural: Array, responsibilities: Array) -> Array:
        """Return sums over rows, (K, p), in which each interval stands for the numbers in it."""
        if self.as_points:
            return of_rows(self.family, self._points(X), responsibilities, natural)
        low, high, exact = self._ends(X)
        out = np.zeros(natural.shape)
        if exact.any():
            out += of_rows(self.family, low[exact, None], responsibilities[exact], natural)
        if exact.all():
            return out
        ends, which = _distinct(low[~exact], high[~exact])
        for k, (family, eta) in enumerate(zip(self._alone(len(natural)), natural, strict=True)):
            found = intervals.nodes(family, eta, *ends)
            of_interval = np.bincount(which, responsibilities[~exact, k], len(ends[0]))
            weight = of_interval[:, None] * found.weight
            used = weight != 0
            if used.any():
                out[k] += of_rows(family, found.x[used][:, None], weight[used][:, None], eta[None])[0]
        return out

    @property
    def has_limits(self) -> bool:  # type: ignore[override]
        return is_incomplete(self.family) and self.family.has_limits

    def edge_sums(self, X: Block, natural: Array, responsibilities: Array) -> Array:
        return self._summed(edge_sums_of, X, natural, responsibilities)

    def at_edges(self, natural: Array, counts: Array, sums: Array) -> Array:
        return self.family.at_edges(natural, counts, sums) if self.has_limits else natural

    def typical(self, mean: Array) -> Array:
        return self.family.typical(mean) if is_incomplete(self.family) else mean

    # ---- rows ------------------------------------------------------------------------------------------------

    def _possible(self, X: Block) -> Mask:
        """Return which rows are intervals, or numbers, that the family may have produced, (n,)."""
        low, high, exact = self._ends(X)
        line = Line.of(self.family)
        low, high = np.maximum(low, line.low), np.minimum(high, line.high)
        between = np.ceil(low) <= np.floor(high) if line.is_whole else low < high
        return np.where(exact, checked.supports(self.family, np.where(exact, low, 0.0)[:, None]), between)

    def supports(self, X: Block) -> Mask:
        return self._possible(X) if np.shape(X)[1] == 2 else np.zeros(len(X), bool)

    def check_support(self, X: Block) -> None:
        _require_columns(self, X, 2, "low and high")
        low, high = np.asarray(X, np.float64).T
        name = type(self).__name__
        require_rows(low <= high, f"{name} needs rows (low, high) with low ≤ high; low is {{value}} (row {{row}})", low)
        checked.check_present(self.family, np.where(low == high, low, 1.0)[:, None], low == high)
        sentence = f"no number that {self.family!r} accepts lies in the interval from {{value}} (row {{row}})"
        require_rows(self._possible(X), sentence, low)

    def mean(self, natural: Array) -> Array:
        return np.repeat(self.family.mean(natural), 2, axis=1)

    def sample(self, natural: Array, n: int, rng: np.random.Generator) -> Array:
        return np.repeat(checked.sample(self.family, natural, n, rng, 1), 2, axis=1)

    def __repr__(self) -> str:
        return f"Censored({self.family!r})"


def _distinct(low: Array, high: Array) -> tuple[tuple[Array, Array], Integers]:
    """Return the ends of the distinct intervals, and which of them each row has."""
    ends, which = np.unique(np.column_stack([low, high]), axis=0, return_inverse=True)
    return (ends[:, 0], ends[:, 1]), which.ravel()


def _mean_of_statistics(family: ExponentialFamily, found: Nodes) -> Array:
    """Return E[T | interval], (p,), in the coordinates of the one component."""
    [x], [weight], _ = found
    used = weight != 0
    return sums_of(family, x[used, None], weight[used, None])[0]


def _covariance_of_statistics(family: Any, found: Nodes) -> Array:
    """Return Cov[T | interval], (p, p), in the coordinates of the one component."""
    [x], [weight], _ = found
    used = weight != 0
    framed = isinstance(family, Framed) and family.frames is not None
    shared = family.with_frames(None) if framed else family
    T = checked.statistics(shared, x[used, None])[0]
    if framed:
        T = shared.translate_expectation(T, family.with_frames(family.frames.take(np.zeros(len(T), int))))
    centred = T - weight[used] @ T
    return np.asarray((weight[used, None] * centred).T @ centred)


def _solved_with(covariance: Array, residual: Array) -> Array:
    """Return C⁻¹ r; along what hardly varies there is no step."""
    size = np.sqrt(np.diagonal(covariance))
    size = np.where(size > 0, size, 1.0)
    return np.linalg.pinv(covariance / np.outer(size, size), rcond=1e-13, hermitian=True) @ (residual / size) / size


def _require_columns(family: ExponentialFamily, X: Block, n: int, what: str) -> None:
    if np.shape(X)[1] != n:
        raise ValueError(f"{family!r} needs {n} column{'s' * (n > 1)}, {what}; X has {np.shape(X)[1]}")
