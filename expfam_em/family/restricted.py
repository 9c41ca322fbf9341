"""The M-step under constraints on named parameters, of any family, from its mappings and `parameters` alone.

Q(η) = Σ_k ⟨η_k, S_k⟩ − N_k A(η_k) is concave, with gradient g = S_k − N_k ∇A(η_k) and curvature H = N_k ∇²A(η_k). A
step d = H⁻¹(g + Cᵀλ) with C d = 0 is Newton's along what the constraints c(η) = 0 leave, C = ∂c/∂η (Nocedal & Wright
2006, eq. 18.9, with the curvature of Q for that of the Lagrangian). Each point is then put back into the constraints,
by Newton's method as well, and counts only if Q has grown. Bounds that are reached are
constraints until their λ says otherwise.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np

from expfam_em.family import checked, mappings
from expfam_em.family.optional import components
from expfam_em.rows.typing import Array

STEPS, RETURNS, SHORTER = 50, 30, 10
"""Most Newton steps, steps back into the constraints, and halvings of each."""

CRAWLING = 1e-2
"""Share of what a step promises that it must gain; else the next M-step goes on, with other statistics."""

STALLS = 4
"""Steps back that do not halve what is missing, after which there is no way from here."""

GAINED_BY_NEWTON = 1e-12
"""Gain of a step, per row, after which the next one is rounding, or nearly so."""

KEPT = 1e-9
"""Relative size of what may be left of a constraint where rounding lets it become no smaller."""

SINGULAR = 1e-12
"""Share of the largest curvature below which a direction is one that says nothing."""

SLOPE_DIFFERENCE = 2e-3
"""Length of the differences for slopes, in standard deviations of one row."""

STENCIL = np.array([1.0, -1.0, 2.0, -2.0])
STENCIL_WEIGHTS = np.array([8.0, -8.0, -1.0, 1.0]) / 12


class Point(NamedTuple):
    """A place in the parameter space: η as it is moved and as it is meant, (K, p), Q, and names (G, K q)."""

    moved: Array
    natural: Array
    value: float
    named: Array


class Slopes(NamedTuple):
    """Of G groups: Q's gradient (G, K w), H⁻¹ (G, K w, K w) by components, and the names' slopes (G, K q, K w)."""

    gradient: Array
    inverse: Array
    names: Array


def maximize(family: Any, counts: Array, sums: Array, previous: Array | None) -> Array:
    """Return the natural parameters of largest Q under the family's constraint, (K, p).

    Raises
    ------
    ValueError
        If a name or a shape is wrong, or no parameters are found that satisfy the constraint.
    """
    return _Search(family, counts, sums, previous).result()


def n_removed(family: Any, natural: Array) -> int:
    """Return how many free parameters the constraint takes away: the rank of what it holds in each component."""
    if family.constraint is None:
        return 0
    expectation = np.asarray(checked.to_expectation(family._under(None), natural))
    search = _Search(family, np.ones(len(natural)), expectation, natural)  # statistics whose maximum they are
    names = search.slopes(search.at(natural)).names
    G, K = len(names), len(natural)
    at = np.arange(K)
    of_own = names.reshape(G, K, -1, K, names.shape[2] // K)[:, at, :, at].swapaxes(0, 1)
    fixed, tied = (held.reshape(G, K, -1) for held in (search.fixed, search.tied))
    total = 0
    for slopes, is_fixed, is_tied in zip(of_own, fixed, tied, strict=True):
        by_fixed = [_rank(one[held]) for one, held in zip(slopes, is_fixed, strict=True)]
        by_both = [_rank(one[held]) for one, held in zip(slopes, is_fixed | is_tied, strict=True)]
        shares = [both - alone for both, alone in zip(by_both, by_fixed, strict=True)]
        total += sum(by_both) - max(shares, default=0)
    return total


def _rank(slopes: Array) -> int:
    """Return the rank of some rows; one without a slope, as at the edge of the space, counts by itself."""
    size = np.linalg.norm(slopes, axis=1)
    return int(np.sum(size == 0)) + (int(np.linalg.matrix_rank(_unit(slopes, size), tol=1e-6)) if size.any() else 0)


def _unit(slopes: Array, size: Array) -> Array:
    return slopes[size > 0] / size[size > 0, None]


class _Search:
    """What stays the same in one M-step, and the constraints as equations for each group of parameters."""

    def __init__(self, family: Any, counts: Array, sums: Array, previous: Array | None) -> None:
        self.constrained, self.free = family, family._under(None)
        self.counts, self.sums, self.previous = counts, sums, previous
        self.n_components, p = sums.shape
        self.blocks = family._blocks(p)
        self.refusal: ValueError | None = None  # of named parameters
        self.is_quick: bool | None = None  # whether A takes complex numbers, once that is known
        with np.errstate(all="ignore"):
            try:
                self.start = checked.next_natural(self.free, counts, sums, previous)
            except ValueError:
                self.start = np.full_like(sums, np.nan)
            self.all = self._all_names()
        self._take_constraint()

    def _all_names(self) -> dict[str, Array]:
        """Return all named parameters at the free maximum, or at the previous parameters where there is none."""
        fine = np.isfinite(self.start).all(axis=1, keepdims=True)
        likely = self.start if self.previous is None else np.where(fine, self.start, self.previous)
        named = checked.parameters(self.free, likely)
        return {name: value for name, value in named.items() if np.shape(value)[:1] == (self.n_components,)}

    def _take_constraint(self) -> None:
        G, K = len(self.blocks), self.n_components
        entries = self.constrained.constraint.entries(self.constrained, {n: v.shape for n, v in self.all.items()})
        self.entries = entries
        if G > 1 and any(self.all[name][0].size != G for name in entries):
            self.blocks, G = self.blocks.T.reshape(1, -1), 1

        def stacked(values: list) -> Array:
            return np.concatenate([np.reshape(value, (K, -1, G)) for value in values], axis=1).transpose(2, 0, 1)

        # a parameter that is positive is looked at by its logarithm, which is often linear in η
        self.logs = {
            name: bool(np.all(self.all[name] > 0) and np.all(~(e.fixed <= 0)) and np.all(~(e.high <= 0)))
            for name, e in entries.items()
        }
        fixed, factor, low, high = map(list, zip(*entries.values(), strict=True))
        with np.errstate(all="ignore"):
            logs = [*self.logs.values()]
            of_log = [np.log(np.maximum(v, 0)) if log else v for v, log in zip(low, logs, strict=True)]
            self.low = stacked(of_log)
            self.high, self.target = (
                stacked([np.log(v) if log else v for v, log in zip(values, logs, strict=True)])
                for values in (high, fixed)
            )
        self.factor, self.is_log = stacked(factor), np.repeat(logs, [v[0].size // G for v in factor])
        self.fixed, self.tied = np.isfinite(self.target), np.isfinite(self.factor)
        self.equations = [self._equations(g) for g in range(G)]

    def _equations(self, g: int) -> tuple[Array, Array]:
        """Return L (m, K q) and v with L θ = v for the names θ of a group."""
        K, q = self.fixed.shape[1:]
        rows, values = [], []

        def add(at: dict, value: float) -> None:
            row = np.zeros((K, q))
            for place, number in at.items():
                row[place] = number
            rows.append(row.ravel())
            values.append(value)

        for k, j in zip(*np.nonzero(self.fixed[g]), strict=True):
            add({(k, j): 1.0}, self.target[g, k, j])
        for j in np.flatnonzero(self.tied[g].any(axis=0)):
            first, *others = np.flatnonzero(self.tied[g][:, j])
            factor = self.factor[g][:, j]
            for k in others:
                if self.is_log[j]:
                    add({(k, j): 1.0, (first, j): -1.0}, float(np.log(factor[k] / factor[first])))
                else:
                    add({(k, j): 1 / factor[k], (first, j): -1 / factor[first]}, 0.0)
        return np.array(rows).reshape(-1, K * q), np.array(values)

    # ---- points and their slopes ------------------------------------------------------------------------------

    def at(self, moved: Array) -> Point:
        """Return a point; its Q is −∞ outside the space."""
        natural = self._meant(self.free, moved)
        with np.errstate(all="ignore"):
            partition = checked.log_partition(self.free, natural)
            value = np.sum(natural * self.sums) - self.counts @ partition
        named = self._named(self.free, natural[None])[0]
        fine = np.isfinite(partition).all() and np.isfinite(named).all()
        return Point(moved, natural, float(value) if fine and np.isfinite(value) else -np.inf, named)

    def expectation(self, family: Any, natural: Array) -> Array:
        """Return ∇A(η): by the complex step, where the family has no formula and differences agree with it once."""
        if not checked.is_default(family.to_expectation) or self.is_quick is False:
            return checked.to_expectation(family, natural)
        quick = mappings.complex_gradient(functools.partial(checked.log_partition, family), natural)
        if self.is_quick is None:
            slow = checked.to_expectation(family, natural)
            self.is_quick = quick is not None and bool(np.array_equal(quick, slow, equal_nan=True))
            return slow
        return np.full_like(natural, np.nan) if quick is None else quick

    def parameters(self, family: Any, natural: Array) -> dict[str, Array]:
        """Return the named parameters."""
        is_default = checked.is_default(family.parameters) and checked.is_default(family.to_expectation)
        return {"expectation": self.expectation(family, natural)} if is_default else checked.parameters(family, natural)

    def _meant(self, family: Any, moved: Array) -> Array:
        """Return η in that part of the space which a curved family has."""
        if not (family._curved and np.isfinite(checked.log_partition(family, moved)).all()):
            return moved
        try:
            return np.asarray(family.from_parameters(**checked.parameters(family, moved)), np.float64)
        except (ValueError, TypeError):
            return np.full_like(moved, np.nan)

    def _named(self, family: Any, natural: Array) -> Array:
        """Return the constrained names, (V, K, p) -> (V, G, K q), by their logarithms where these are used."""
        V, K, p = natural.shape
        with np.errstate(all="ignore"):
            named = self.parameters(family, natural.reshape(V * K, p))
            lots = [
                (np.log(value) if log else value).reshape(V, K, -1, len(self.blocks))
                for value, log in ((named[name], log) for name, log in self.logs.items())
            ]
        return np.concatenate(lots, axis=2).transpose(0, 3, 1, 2).reshape(V, len(self.blocks), -1)

    def slopes(self, point: Point) -> Slopes:
        """Return the slopes at a point, by differences of four points of ``to_expectation`` and ``parameters``."""
        (K, p), (G, w) = point.moved.shape, self.blocks.shape
        size = SLOPE_DIFFERENCE * 0.1 * np.maximum(np.abs(point.moved), np.where(point.moved == 0, 1.0, 1e-8))
        many = components(self.free, np.tile(np.arange(K), 4 * w))
        for _ in range(5):
            shift = np.zeros((w, K, p))
            for i in range(w):
                shift[i][:, self.blocks[:, i]] = size[:, self.blocks[:, i]]
            U = (point.moved + STENCIL[:, None, None, None] * shift).reshape(-1, p)
            with np.errstate(all="ignore"):
                there = self._meant(many, U)
                slope = self.expectation(many, there)
            natural, expectation = there.reshape(4 * w, K, p), slope.reshape(4, w, K, p)
            curvature = np.einsum("s,swkp->wkp", STENCIL_WEIGHTS, expectation)
            own = np.empty((K, p))  # of each parameter, its own second derivative
            for i in range(w):
                at = self.blocks[:, i]
                own[:, at] = curvature[i][:, at] / size[:, at]
            with np.errstate(all="ignore"):
                better = np.where(own > 0, SLOPE_DIFFERENCE / np.sqrt(own), size)
            better = np.where(np.isfinite(expectation).all(axis=(0, 1)), np.minimum(better, 1e6 * size), size / 64)
            wrong = ~((better < 8 * size) & (better > size / 8))
            if not wrong.any():
                break
            size = np.where(wrong, better, size)
        named = np.einsum("s,swgr->wgr", STENCIL_WEIGHTS, self._named(many, natural).reshape(4, w, G, -1))
        jacobian = np.einsum("s,swkp->wkp", STENCIL_WEIGHTS, natural.reshape(4, w, K, p))
        return self._of_groups(point, shift, named, jacobian, curvature)

    def _of_groups(self, point: Point, shift: Array, named: Array, jacobian: Array, curvature: Array) -> Slopes:
        (G, w), K = self.blocks.shape, self.n_components
        q = named.shape[2] // K
        residual = self.sums - self.counts[:, None] * self.expectation(self.free, point.natural)
        gradient, inverse = np.empty((G, K, w)), np.zeros((G, K, w, K, w))
        names = np.zeros((G, K, q, K, w))
        named = np.where(np.isfinite(named), named, 0.0)  # as the logarithm of a free parameter that may be negative
        for g, block in enumerate(self.blocks):
            length = np.stack([shift[i][:, block[i]] for i in range(w)], axis=1)  # (K, w)
            J = jacobian[:, :, block].transpose(1, 2, 0) / length[:, None, :]
            D = curvature[:, :, block].transpose(1, 2, 0) / length[:, None, :]
            H = J.swapaxes(1, 2) @ D * self.counts[:, None, None]
            gradient[g] = np.einsum("kpw,kp->kw", J, residual[:, block])
            for k in range(K):
                inverse[g, k, :, k] = _inverse(H[k])
                names[g, k, :, k] = named[:, g].reshape(w, K, q)[:, k].T / length[k]
        return Slopes(gradient.reshape(G, -1), inverse.reshape(G, K * w, K * w), names.reshape(G, K * q, K * w))

    # ---- steps ------------------------------------------------------------------------------------------------

    def _held(self, g: int, reached: Array) -> tuple[Array, Array]:
        """Return L and v of the equations and of the bounds that are reached, (K q,) in −1, 0, 1."""
        L, v = self.equations[g]
        at = np.flatnonzero(reached[g])
        ends = np.where(reached[g, at] < 0, self.low[g].ravel()[at], self.high[g].ravel()[at])
        return np.concatenate([L, np.eye(reached.shape[1])[at]]), np.concatenate([v, ends])

    def _missed(self, point: Point, reached: Array) -> tuple[Array, float]:
        """Return the bounds reached, with those that are passed, and the largest relative residual."""
        low, high = (end.reshape(point.named.shape) for end in (self.low, self.high))
        reached = np.where(point.named < low, -1, np.where(point.named > high, 1, reached))
        worst = 0.0
        for g in range(len(self.blocks)):
            L, v = self._held(g, reached)
            if len(v):
                scale = 1 + np.abs(L) @ np.abs(point.named[g]) + np.abs(v)
                worst = max(worst, float(np.max(np.abs(L @ point.named[g] - v) / scale)))
        return reached, worst

    def restored(self, point: Point, reached: Array, slopes: Slopes | None = None) -> tuple[Point, Array] | None:
        """Return a point near this one that satisfies the constraints, and the bounds it reaches; None if none is.

        Slopes of a point nearby are used for as long as they lead on.
        """
        last, stalls = np.inf, 0
        for _ in range(RETURNS):
            if point.value == -np.inf or stalls > STALLS:
                return None
            reached, worst = self._missed(point, reached)
            if worst <= 4 * np.finfo(float).eps or (worst <= KEPT and worst > 0.5 * last):
                return point, reached
            slopes = self.slopes(point) if slopes is None or worst > 0.1 * last < np.inf else slopes
            stalls, last = stalls + (worst > 0.5 * last), worst
            step = np.zeros_like(slopes.gradient)
            for g in range(len(self.blocks)):
                L, v = self._held(g, reached)
                if len(v):
                    step[g] = _least_change(L @ slopes.names[g], slopes.inverse[g], v - L @ point.named[g])
            point = self._inside(point, step)
        return None

    def _inside(self, point: Point, step: Array) -> Point:
        """Return the point after a step, halved until it is inside the space."""
        for i in range(SHORTER):
            there = self.at(point.moved + self._spread(step) / 2.0**i)
            if there.value > -np.inf:
                break
        return there

    def _spread(self, step: Array) -> Array:
        """Return a step of each group, (G, K w), as one of all parameters, (K, p)."""
        (G, w), K = self.blocks.shape, self.n_components
        out = np.empty((K, G * w))
        out[:, self.blocks.ravel()] = step.reshape(G, K, w).transpose(1, 0, 2).reshape(K, -1)
        return out

    def _newton(self, point: Point, slopes: Slopes, reached: Array) -> tuple[Array, Array]:
        """Return the step of each group, (G, K w), and the bounds that hold it."""
        step, reached = np.empty_like(slopes.gradient), reached.copy()
        for g, (gradient, inverse) in enumerate(zip(slopes.gradient, slopes.inverse, strict=True)):
            for _ in range(2 + np.count_nonzero(reached[g])):
                L, _ = self._held(g, reached)
                C = L @ slopes.names[g]
                multipliers = _multipliers(C, inverse, -C @ (inverse @ gradient))
                at, of_bounds = np.flatnonzero(reached[g]), multipliers[len(self.equations[g][1]) :]
                wrong = of_bounds * reached[g, at] > 0
                step[g] = inverse @ (gradient + C.T @ multipliers)
                if not wrong.any():
                    break
                reached[g, at[np.argmax(np.where(wrong, np.abs(of_bounds), -1))]] = 0
        return step, reached

    def result(self) -> Array:
        """Return η of the largest Q that is found."""
        best = self._begin()
        for _ in range(STEPS):
            point, reached = best
            slopes = self.slopes(point)
            step, reached = self._newton(point, slopes, reached)
            gain = float(np.sum(step * slopes.gradient))
            if not gain > 0:
                break
            noise = 4 * np.finfo(float).eps * (np.abs(point.natural * self.sums).sum() + abs(point.value))
            for i in range(SHORTER):
                trial = self.restored(self.at(point.moved + self._spread(step) / 2.0**i), reached, slopes)
                if trial is not None and trial[0].value >= point.value + 1e-4 * gain / 2.0**i - noise:
                    break
            else:
                break  # only rounding is left, or the constraints are too curved here
            best = trial
            if gain <= GAINED_BY_NEWTON * self.counts.sum() or trial[0].value - point.value < CRAWLING * gain:
                break
        return best[0].natural

    def _begin(self) -> tuple[Point, Array]:
        """Return the best of some points that satisfy the constraints, near the free maximum or the last parameters."""
        previous, free = self.previous, self.start
        starts, none = [free], np.zeros((len(self.blocks), self.fixed[0].size), int)
        if previous is not None:  # what no constraint touches is at its maximum already
            held = np.isfinite(self.low) | np.isfinite(self.high) | self.fixed | self.tied
            touched = self._spread(np.repeat(held.any(axis=2), self.blocks.shape[1], axis=1).astype(float)) > 0
            partly = np.where(touched | ~np.isfinite(free), previous, free)
            starts = [free, previous]
            if (point := self.at(partly)).value > -np.inf:
                starts = [free, partly]
                if self._missed(point, none)[1] <= KEPT and (inside := self.restored(point, none)) is not None:
                    return inside
        found = []
        for start in starts:
            for natural in (start, *self._named_start(start)):
                if (at := self.restored(self.at(natural), none)) is not None:
                    found.append(at)
                    break
        if not found:
            why = self.refusal or "they contradict one another, or lie at the end of their space"
            raise ValueError(
                f"no parameters of {self.free!r} were found that satisfy the constraints on {', '.join(self.logs)}: "
                f"{why}"
            ) from self.refusal
        return max(found, key=lambda one: one[0].value)

    def _named_start(self, near: Array) -> list[Array]:
        """Return natural parameters made of named ones, fixed and bounded ones as they have to be; maybe none."""
        with np.errstate(all="ignore"):
            named = {name: np.array(value) for name, value in checked.parameters(self.free, near).items()}
        for name, e in self.entries.items():
            value = np.clip(np.where(np.isfinite(e.fixed), e.fixed, named[name]), e.low, e.high)
            weight = np.where(np.isfinite(e.factor), self.counts.reshape(-1, *[1] * (value.ndim - 1)), 0.0)
            with np.errstate(all="ignore"):
                common = np.sum(weight * value / e.factor, axis=0, where=weight > 0) / weight.sum(axis=0)
            named[name] = np.where(np.isfinite(e.factor), e.factor * common, value)
        others = [name for name in named if name not in self.entries]
        for size in range(len(others), -1, -1):
            for more in itertools.combinations(others, size):
                try:
                    return [self.free.from_parameters(**{name: named[name] for name in (*self.entries, *more)})]
                except (TypeError, NotImplementedError):  # these names are too few, or there is no way back
                    continue
                except ValueError as error:
                    self.refusal = error
        return []


def _inverse(H: Array) -> Array:
    """Return the inverse of a curvature, 0 in directions that say nothing."""
    if not np.isfinite(H).all():
        return np.zeros_like(H)
    H = (H + H.T) / 2
    size = np.sqrt(np.clip(np.diag(H), 0, None))
    scale = np.where(size > 1e-150, size, np.inf)
    return np.linalg.pinv(H / scale[:, None] / scale, rcond=SINGULAR, hermitian=True) / scale[:, None] / scale


def _multipliers(C: Array, inverse: Array, wanted: Array) -> Array:
    """Return the λ for which C H⁻¹ Cᵀ λ = ``wanted``, as nearly as there are some."""
    if not len(C):
        return np.zeros(0)
    M = C @ inverse @ C.T
    size = np.sqrt(np.clip(np.diag(M), 0, None))
    scale = np.where(size > 0, size, 1.0)
    return np.linalg.lstsq(M / scale[:, None] / scale, wanted / scale, rcond=SINGULAR)[0] / scale


def _least_change(C: Array, inverse: Array, wanted: Array) -> Array:
    """Return the step d that costs least of Q with C d = ``wanted``."""
    return inverse @ (C.T @ _multipliers(C, inverse, wanted))
