"""∇A(η) = m from a start close by, as an M-step has it: Newton's method with few Hessians, each of few differences."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csgraph

FEW, TOO_MANY = 8, 256
"""Up to FEW natural parameters it is not worth while to find out which are combined; beyond TOO_MANY a matrix of second
derivatives costs too much."""

REFRESHES, CHORDS = 6, 12
"""Hessians, and steps with each, at most."""

SLOW = 0.25
"""A step that leaves more than this of the distance asks for a new Hessian."""

DIFFERENCE, LONGEST_DIFFERENCE, SHORTEST_DIFFERENCE = 1e-6, 1e-3, 1e-9
"""Length, in standard deviations, of the differences that Hessians are made of; outside the bounds it is made again."""

STAYS_INSIDE = 0.1
"""Length below which a step does not leave the natural-parameter space."""

CHORD_SOLVED, CHORD_DROWNED = 1e-13, 1e-9
"""A step shorter than CHORD_SOLVED ends the search. One shorter than CHORD_DROWNED also ends it if the next step is no
shorter: only rounding is left."""


def solve(slope, expectation, start, groups, leaves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return η (K, p) with ∇A(η) = m, which rows are solved, (K,), and the sizes of one standard deviation, (K, p).

    Parameters
    ----------
    slope : callable, (K, p) -> (K, p)
        ∇A.
    expectation : (K, p)
        m.
    start : (K, p)
    groups : list of (g,) int
        Parameters that A combines with one another; it is a sum over groups.
    leaves : callable, (here, there) -> (K,) bool
        Whether the way between two points leaves the natural-parameter space.
    """
    natural, residual = start.copy(), expectation - slope(start)
    solved, active = np.zeros(len(start), bool), np.flatnonzero(np.isfinite(residual).all(axis=1))
    size = np.where(start != 0, np.abs(start), 1.0) * DIFFERENCE
    for _ in range(REFRESHES):
        H, size[active] = _hessian(slope, natural[active], expectation[active] - residual[active], size[active], groups)
        fine = np.isfinite(H).all(axis=(1, 2))
        inverse, active = np.linalg.pinv(H[fine], hermitian=True), active[fine]
        fresh = True
        for _ in range(CHORDS):
            step, length = _step(inverse, residual[active])
            trial = natural[active] + step
            after = expectation[active] - slope(trial)
            _, left = _step(inverse, after)
            closer = (left < length) | (length <= CHORD_SOLVED)
            far = np.flatnonzero(closer & ~(length < STAYS_INSIDE))
            if len(far):
                closer[far] = ~leaves(natural[active[far]], trial[far])
            moved = active[closer]
            natural[moved], residual[moved] = trial[closer], after[closer]
            done = (closer & (left <= CHORD_SOLVED)) | ((length <= CHORD_DROWNED) & ~(left < SLOW * length))
            solved[active[done]] = True
            # a step that does not come closer with a Hessian of this very place is for a method that searches
            going = ~done & (closer | (not fresh))
            quick = bool(np.all(left[going] <= SLOW * length[going]))
            active, inverse, fresh = active[going], inverse[going], False
            if not len(active):
                return natural, solved, size / DIFFERENCE
            if not quick:
                break
    return natural, solved, size / DIFFERENCE


def _step(inverse, residual):
    """Return H⁻¹ r and its length in standard deviations of one row, NaN where H is not positive along it."""
    step = np.einsum("kij,kj->ki", inverse, residual)
    with np.errstate(invalid="ignore"):
        return step, np.sqrt(np.sum(step * residual, axis=1))


def _hessian(slope, natural, gradient, size, groups):
    """Return ∇²A (K, p, p) from differences of ∇A, and the sizes of a good difference (K, p).

    The first parameters of all groups are moved together, then the second ones: they do not mix.
    """
    K, p = natural.shape
    width = max(map(len, groups))
    # of each parameter, which move it belongs to, and which parameters its difference is of
    move, same = np.empty(p, np.int64), np.zeros((p, p), bool)
    for group in groups:
        move[group] = np.arange(len(group))
        same[group[:, None], group] = True
    for _ in range(3):
        step = (natural + size) - natural  # the step that is really made
        along = np.where(move == np.arange(width)[:, None, None], step, 0.0)
        change = slope((natural + along).reshape(-1, p)).reshape(width, K, p) - gradient
        H = np.where(same, change[move].transpose(1, 2, 0) / step[:, None, :], 0.0)
        diagonal = np.einsum("kii->ki", H)
        with np.errstate(all="ignore"):
            length = size * np.sqrt(diagonal)
            wrong = ~((length < LONGEST_DIFFERENCE) & (length > SHORTEST_DIFFERENCE))
            better = np.where(diagonal > 0, DIFFERENCE / np.sqrt(diagonal), size * 1e3)
        if not wrong.any():
            break
        size = np.where(wrong, better, size)
    H[wrong.any(axis=1)] = np.nan
    return (H + H.transpose(0, 2, 1)) / 2, size


def groups_of(slope, point, few=FEW) -> list[np.ndarray]:
    """Return the groups of parameters that A combines with one another, judged at one point (p,).

    A parameter that is moved changes the slope along those it is combined with, and no bit of the others. Up to ``few``
    parameters are one group.
    """
    p = len(point)
    if p <= few or p > TOO_MANY:
        return [np.arange(p)]
    moved = np.where(point != 0, point * (1 + 1e-3), 1e-3)
    rows = np.where(np.eye(p, dtype=bool), moved, point)
    changed = slope(rows) != slope(point[None])
    n_groups, group = csgraph.connected_components(changed, directed=False)
    return [np.flatnonzero(group == g) for g in range(n_groups)]
