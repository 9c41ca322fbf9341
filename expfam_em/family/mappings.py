"""The mappings η → ∇A(η) and back, from values of A alone."""

from __future__ import annotations

import functools
import warnings

import numpy as np

from expfam_em.family import newton
from expfam_em.rows.threads import settings_lock

LEVELS = 10  # step sizes of a difference table, each half the one before
SEARCH = 4.0 ** np.arange(6, -23, -1)  # step sizes tried for the scale of a coordinate, in units of max(1, |η|)
CURVATURE = 0.1  # second difference of A over a step that is neither rounding nor another landscape
COMPLEX_STEP = 1e-40
AGREEMENT = 1e-6  # relative: differences this close to it confirm the complex step
MAX_STEPS = 200
STEP_SOLVED = 1e-5  # length, in standard deviations of one row, of a last step after which the next one is rounding
STARTS = 40
HALVINGS = 60
SEARCH_DRAWS = 64
FAR = 0.01  # squared length, in standard deviations, of a step that might leave the space
INSIDE = np.arange(1, 8) / 8  # where on the way between two points A is checked to be convex


def scales(log_partition, natural) -> np.ndarray:
    """Return for each coordinate a step over which A bends by about CURVATURE, staying finite, (K, p)."""
    size, found = _scales_near(log_partition, natural, np.maximum(1.0, np.abs(natural)))
    if found.all():
        return size
    # a scale much below 1, as of a rate 1e-15: η itself tells it
    smaller, _ = _scales_near(log_partition, natural, np.where(natural != 0, np.abs(natural), SEARCH[-1]))
    return np.where(found, size, smaller)


def _scales_near(log_partition, natural, unit):
    steps = SEARCH[:, None, None] * unit
    shift = steps[..., None] * np.eye(natural.shape[1])
    above, below = (_at_points(log_partition, natural[:, None, :] + sign * shift) for sign in (1, -1))
    with np.errstate(all="ignore"):
        bend = above + below - 2 * log_partition(natural)[:, None]
        # a step that leaves the space has an infinite or undefined bend; further out, A may be finite again
        fine = np.isfinite(bend) & (np.abs(bend) <= CURVATURE)
    smaller_too = np.flip(np.logical_and.accumulate(np.flip(fine, 0), 0), 0)
    largest = np.argmax(smaller_too, axis=0)
    return np.take_along_axis(steps, largest[None], axis=0)[0], smaller_too.any(axis=0)


def _at_points(function, points):
    """Return values of a function of (m, p) at points (..., p)."""
    values = function(points.reshape(-1, points.shape[-1]))
    return values.reshape(*points.shape[:-1], *values.shape[1:])


def gradient(log_partition, natural) -> np.ndarray:
    """Return ∇A by central differences with error control, or by the complex step where that agrees with them.

    Ridders' table (Ridders 1982) extrapolates the differences to step 0; the entry with the smallest estimated
    error is taken. The complex step Im A(η + ih)/h has no cancellation at all, but is only right where A is
    analytic and written so that it accepts complex numbers.

    Parameters
    ----------
    log_partition : callable, (m, p) -> (m,)
    natural : (K, p)

    Returns
    -------
    (K, p); NaN where A is not finite on both sides at every step size.
    """
    K, p = natural.shape
    size = scales(log_partition, natural)
    best, error = np.full((K, p), np.nan), np.full((K, p), np.inf)
    table: list[np.ndarray] = []
    for level in range(LEVELS):
        h = size / 2.0**level
        h = (natural + h) - natural  # the step that is really made
        shift = h[:, :, None] * np.eye(p)
        above, below = (_at_points(log_partition, natural[:, None, :] + sign * shift) for sign in (1, -1))
        with np.errstate(all="ignore"):
            row = [np.where(np.isfinite(above) & np.isfinite(below), (above - below) / (2 * h), np.nan)]
            for order, previous in enumerate(table):
                factor = 4.0 ** (order + 1)
                row.append((factor * row[order] - previous) / (factor - 1))
                doubt = np.maximum(np.abs(row[-1] - row[-2]), np.abs(row[-1] - previous))
                better = doubt < error
                best, error = np.where(better, row[-1], best), np.where(better, doubt, error)
        table = row
    exact = complex_gradient(log_partition, natural)
    if exact is None:
        return best
    with np.errstate(all="ignore"):
        # ∇A of an unskewed statistic may be 0: differences are then judged by its standard deviation, √A″
        deviation = np.sqrt(CURVATURE) / size
        confirmed = np.abs(exact - best) <= AGREEMENT * (np.abs(best) + deviation)
    return np.where(confirmed, exact, best)


def complex_gradient(log_partition, natural) -> np.ndarray | None:
    """Return ∇A by the complex step, unconfirmed, (K, p); None if A does not accept complex numbers."""
    try:
        with settings_lock, warnings.catch_warnings():  # or two threads would put back the filter of each other
            warnings.simplefilter("error", np.exceptions.ComplexWarning)  # it would lose the imaginary part
            found = _complex_slope(log_partition, natural)
    except Exception:  # A accepts real numbers only and may raise anything; the differences stand
        return None
    return None if np.isnan(found).all() else found


def _complex_slope(log_partition, natural) -> np.ndarray:
    """Return ∇A by the complex step, (K, p), all NaN if A is real, as it may be where it is ∞ for every row."""
    K, p = natural.shape
    values = log_partition((natural[:, None, :] + 1j * COMPLEX_STEP * np.eye(p)).reshape(-1, p))
    if not np.iscomplexobj(values) or values.shape != (K * p,):
        return np.full(natural.shape, np.nan)
    return values.imag.reshape(K, p) / COMPLEX_STEP


def hessian(slope, natural, size) -> np.ndarray:
    """Return ∇²A (K, p, p), symmetric, by five-point differences of the gradient, given the scales (K, p).

    Two-point differences would do for Newton's method, were statistics not often nearly collinear: x and x² of data
    far from the origin multiply every relative error by the condition number.
    """
    h = (natural + 0.02 * size) - natural
    shift = h[:, :, None] * np.eye(natural.shape[1])
    with np.errstate(all="ignore"):
        at = {times: _at_points(slope, natural[:, None, :] + times * shift) for times in (1, -1, 2, -2)}
        H = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h[:, :, None])
    return (H + H.transpose(0, 2, 1)) / 2


def inverse_gradient(log_partition, expectation, slope=None, start=None, name="the family", *, lenient=False):
    """Solve ∇A(η) = m for each row by Newton's method on the concave ⟨η, m⟩ − A(η), staying where A is finite.

    An expectation on the boundary of its space has its solution at infinity; η then goes only as far as ∇A(η) can
    be told from m.

    Parameters
    ----------
    log_partition : callable, (m, p) -> (m,)
    expectation : (K, p)
    slope : callable, optional
        ∇A, (m, p) -> (m, p); differences of A otherwise.
    start : (K, p), optional
        Where to begin, if A is finite there.
    name : str
        Used in errors.
    lenient : bool
        Whether rows without a solution near the given start are NaN, instead of looked for from elsewhere.

    Raises
    ------
    ValueError
        If A is finite at no point that was tried, or no start leads to a solution.
    """
    if not np.all(known := np.isfinite(expectation).all(axis=1)):
        raise ValueError(
            f"{name}: the mean of T is {expectation[np.argmin(known)]} (row {np.argmin(known)}), so T of some x is not "
            "finite: let check_support refuse such rows"
        )
    natural, unsolved = np.empty_like(expectation), np.arange(len(expectation))
    if start is not None:
        natural, solved = _solve_nearby(log_partition, slope, start, expectation)
        unsolved = np.flatnonzero(~solved)
        if not len(unsolved):
            return natural
    for begin in _starts(log_partition, expectation.shape, start, name):
        natural[unsolved], length = _solve_from(log_partition, slope, begin[unsolved], expectation[unsolved])
        unsolved = unsolved[~(length <= STEP_SOLVED)]
        if not len(unsolved):
            return natural
        if lenient:
            natural[unsolved] = np.nan
            return natural
    k = unsolved[0]
    raise ValueError(
        f"{name}: ∇A(η) = m has no solution that was found for m = {expectation[k]} (row {k}, the last of up to "
        f"{STARTS} starts ending at η = {natural[k]}): m may be on the boundary, as where all rows of a component are "
        "equal, or so close together that their T is the same (see families.Centred); or check the sign and the domain "
        "of log_partition, which must be convex, and not finite outside the natural-parameter space (as log|Γ| is), or "
        "define to_natural(self, expectation)"
    )


def _solve_nearby(log_partition, slope, start, expectation):
    """Return η and which rows are solved, (K,), where ∇A is cheap: if it is given, or A takes complex numbers."""
    none = start.copy(), np.zeros(len(start), bool)
    if slope is None and complex_gradient(log_partition, start) is None:
        return none
    quick = functools.partial(_complex_slope, log_partition) if slope is None else slope

    def leaves(here, there):
        at_here, at_there = log_partition(here), log_partition(there)
        return ~(np.isfinite(at_there) & _convex_between(log_partition, here, there, at_here, at_there))

    with np.errstate(all="ignore"):
        groups = newton.groups_of(quick, start[0])
        natural, solved, deviation = newton.solve(quick, expectation, start, groups, leaves)
        if slope is None and not _agrees(log_partition, quick, natural[solved], deviation[solved]):
            return none
    return natural, solved


def _agrees(log_partition, slope, natural, deviation) -> bool:
    """Whether the slope is that of differences of A, in a direction that mixes all parameters, of the given size."""
    p = natural.shape[1]
    along = np.random.default_rng(0).choice([-1.0, 1.0], p) / np.sqrt(p) * deviation
    steps = np.array([0.0, 0.1, -0.1, 0.05, -0.05])[:, None, None]
    here, far, far_back, near, near_back = _at_points(log_partition, natural + steps * along)
    found = (4 * (near - near_back) / 0.1 - (far - far_back) / 0.2) / 3
    exact = np.sum(slope(natural) * along, axis=1)
    rounding = 1e2 * np.finfo(float).eps * np.abs(here)
    return bool(np.all(np.abs(found - exact) <= 1e-6 * np.abs(exact) + 1e-3 + rounding))


def _solve_from(log_partition, slope, start, expectation):
    """Return η and the length, in standard deviations, of the last Newton step of each row."""
    if slope is not None:
        return _newton(log_partition, slope, start, expectation)

    def confirmed(at):
        return gradient(log_partition, at)

    quick = functools.partial(_complex_slope, log_partition)
    exact = complex_gradient(log_partition, start)
    if exact is not None and np.array_equal(confirmed(start), exact):
        solved = _newton(log_partition, quick, start, expectation)
        if np.array_equal(confirmed(solved[0]), quick(solved[0])):
            return solved
    return _newton(log_partition, confirmed, start, expectation)


def _newton(log_partition, slope, start, expectation):
    natural, active = start.copy(), np.arange(len(start))
    last = np.full(len(start), np.inf)
    value = np.sum(natural * expectation, axis=1) - log_partition(natural)
    for _ in range(MAX_STEPS):
        eta, m = natural[active], expectation[active]
        residual = m - slope(eta)
        H = hessian(slope, eta, scales(log_partition, eta))
        step = _newton_step(H, residual)
        decrement = np.sum(step * residual, axis=1)
        natural[active], gain = _line_search(log_partition, eta, m, step, decrement, value[active])
        value[active] += gain
        # the length of a step in standard deviations shrinks until it is rounding, and then no more
        length = np.sqrt(np.where(decrement >= 0, decrement, np.nan))
        length[~(np.einsum("kii->ki", H).min(axis=1) >= 0)] = np.nan  # A is not convex here: a false region
        drowned = (length < 1e-6) & (length > 0.9 * last[active])
        stuck = np.all(natural[active] == eta, axis=1)
        last[active] = length
        active = active[(length > 1e-12) & ~drowned & ~stuck]
        if not len(active):
            break
    return natural, last


def _newton_step(H, residual):
    """Solve H s = residual where H is safely positive definite; elsewhere damp it by what its eigenvalues lack."""
    diagonal = np.sqrt(np.clip(np.einsum("kii->ki", H), 0, None))
    scale = np.where(np.isfinite(diagonal) & (diagonal > 0), diagonal, 1.0)
    scaled = np.nan_to_num(H / (scale[:, :, None] * scale[:, None, :]), posinf=0.0, neginf=0.0)
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(values, 1e-12 * np.maximum(values[:, -1:], 1.0))
    along = np.einsum("kij,ki->kj", vectors, np.nan_to_num(residual / scale))
    return np.einsum("kij,kj->ki", vectors, along / values) / scale


def _line_search(log_partition, eta, m, step, decrement, value):
    """Halve each row's step until ⟨η, m⟩ − A(η) is finite and does not fall; a row with no such step stays."""
    out, gain = eta.copy(), np.zeros(len(eta))
    pending = np.arange(len(eta))
    length = np.ones(len(eta))
    for _ in range(HALVINGS):
        here = eta[pending]
        trial = here + length[pending, None] * step[pending]
        partition = log_partition(trial)
        with np.errstate(all="ignore"):
            new = np.sum(trial * m[pending], axis=1) - partition
            # close to the maximum the gain drowns in rounding: a full Newton step is then taken on trust
            noise = 1e-14 * (np.abs(partition) + np.sum(np.abs(trial * m[pending]), axis=1))
            fine = np.isfinite(new) & (new - value[pending] >= 1e-4 * length[pending] * decrement[pending] - noise)
        far = np.flatnonzero(fine & (length[pending] ** 2 * decrement[pending] > FAR))
        if len(far):
            before = np.sum(here * m[pending], axis=1) - value[pending]
            fine[far] = _convex_between(log_partition, here[far], trial[far], before[far], partition[far])
        accepted = pending[fine]
        out[accepted], gain[accepted] = trial[fine], new[fine] - value[accepted]
        pending = pending[~fine]
        if not len(pending):
            break
        length[pending] /= 2
    return out, gain


def _convex_between(log_partition, here, there, at_here, at_there):
    """Whether A is finite and convex on the way: it is not where the way crosses a pole into a false region.

    A formula may be finite where its integral diverges, as log|Γ| is for negative arguments.
    """
    inside = INSIDE[:, None, None]
    points = (1 - inside) * here + inside * there
    values = _at_points(log_partition, points)
    with np.errstate(all="ignore"):
        chord = (1 - INSIDE[:, None]) * at_here + INSIDE[:, None] * at_there
        slack = 1e-12 * (1 + np.abs(at_here) + np.abs(at_there))
        return np.all(np.isfinite(values) & (values <= chord + slack), axis=0)


def _starts(log_partition, shape, start, name):
    """Yield the given start if A is finite there, then simple candidates, which are only looked for if it fails."""
    if start is not None and np.all(np.isfinite(log_partition(start))):
        yield np.array(start, np.float64)
    # The first candidates, not the best: where A is log|Γ| of something, it is finite outside the space as well, and
    # points near the origin are the ones to trust.
    for candidate in candidates(log_partition, shape[1], name)[:STARTS]:
        yield np.broadcast_to(candidate, shape)


def candidates(log_partition, p, name):
    """Return simple points with finite A, those near the origin first, (·, p)."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.array([0, -1, 1, -2, 2, -3, 3, -4, -6])
    points = [np.zeros((1, p)), *(sign * size * np.ones((1, p)) for size in sizes for sign in (-1, 1))]
    points += [sign * size * np.eye(p) for size in (1.0, 0.01) for sign in (-1, 1)]
    points += [size * rng.standard_normal((SEARCH_DRAWS, p)) for size in (1.0, 0.1, 10.0)]
    candidates = np.concatenate(points)
    finite = np.isfinite(log_partition(candidates))
    if not finite.any():
        raise ValueError(
            f"{name}: no natural parameter with a finite log_partition was found among {len(candidates)} candidates, "
            "so ∇A(η) = m cannot be solved: define to_natural(self, expectation)"
        )
    return candidates[finite]
