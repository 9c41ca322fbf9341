"""The mappings η → ∇A(η) and back, from values of A alone."""

from __future__ import annotations

import numpy as np

LEVELS = 14  # step sizes of a difference table, each half the one before
COMPLEX_STEP = 1e-40
AGREEMENT = 1e-6  # relative: differences this close confirm the complex step
MAX_STEPS = 200
HALVINGS = 60
SEARCH_DRAWS = 64


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
    unit = np.eye(p)
    size = np.where(natural != 0, np.abs(natural), 1.0) * 0.125
    best, error = np.full((K, p), np.nan), np.full((K, p), np.inf)
    table: list[np.ndarray] = []
    for level in range(LEVELS):
        h = size / 2.0**level
        shift = h[:, :, None] * unit
        above = log_partition((natural[:, None, :] + shift).reshape(-1, p)).reshape(K, p)
        below = log_partition((natural[:, None, :] - shift).reshape(-1, p)).reshape(K, p)
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
        confirmed = np.abs(exact - best) <= 10 * error + AGREEMENT * np.abs(best)
    return np.where(confirmed, exact, best)


def complex_gradient(log_partition, natural) -> np.ndarray | None:
    """Return ∇A by the complex step, unconfirmed, (K, p); None if A does not accept complex numbers."""
    K, p = natural.shape
    try:
        values = log_partition((natural[:, None, :] + 1j * COMPLEX_STEP * np.eye(p)).reshape(-1, p))
    except Exception:  # A accepts real numbers only: whatever it raises, the differences stand
        return None
    if not np.iscomplexobj(values) or values.shape != (K * p,):
        return None
    return values.imag.reshape(K, p) / COMPLEX_STEP


def hessian(slope, natural) -> np.ndarray:
    """Return ∇²A (K, p, p) by central differences of the gradient ``slope``, (m, p) -> (m, p), made symmetric."""
    K, p = natural.shape
    h = np.where(natural != 0, np.abs(natural), 1.0) * 1e-5
    shift = h[:, :, None] * np.eye(p)
    above = slope((natural[:, None, :] + shift).reshape(-1, p)).reshape(K, p, p)
    below = slope((natural[:, None, :] - shift).reshape(-1, p)).reshape(K, p, p)
    with np.errstate(all="ignore"):
        H = (above - below) / (2 * h[:, :, None])
    return (H + H.transpose(0, 2, 1)) / 2


def inverse_gradient(log_partition, expectation, slope=None, start=None, limit=np.inf, name="the family"):
    """Solve ∇A(η) = m for each row by Newton's method on the concave ⟨η, m⟩ − A(η), staying where A is finite.

    Parameters
    ----------
    log_partition : callable, (m, p) -> (m,)
    expectation : (K, p)
    slope : callable, optional
        ∇A, (m, p) -> (m, p); differences of A otherwise.
    start : (K, p), optional
        Where to begin, if A is finite there.
    limit : float
        Largest |η|: an expectation on the boundary of its space has its solution at infinity.
    name : str
        Used in errors.

    Raises
    ------
    ValueError
        If A is finite at no point that was tried.
    """
    natural = _feasible_start(log_partition, expectation, start, name)
    if slope is not None:
        return _newton(log_partition, slope, natural, expectation, limit)

    def confirmed(at):
        return gradient(log_partition, at)

    def quick(at):
        return complex_gradient(log_partition, at)

    if np.array_equal(confirmed(natural), quick(natural)):
        solved = _newton(log_partition, quick, natural, expectation, limit)
        if np.array_equal(confirmed(solved), quick(solved)):
            return solved
    return _newton(log_partition, confirmed, natural, expectation, limit)


def _newton(log_partition, slope, start, expectation, limit):
    natural, active = start.copy(), np.arange(len(start))
    last = np.full(len(start), np.inf)
    value = np.sum(natural * expectation, axis=1) - log_partition(natural)
    for _ in range(MAX_STEPS):
        eta, m = natural[active], expectation[active]
        residual = m - slope(eta)
        step = _newton_step(hessian(slope, eta), residual)
        decrement = np.sum(step * residual, axis=1)
        eta, gain = _line_search(log_partition, eta, m, step, decrement, value[active], limit)
        change = np.max(np.abs(eta - natural[active]) / np.maximum(np.abs(eta), 1e-300), axis=1)
        natural[active] = eta
        value[active] += gain
        # Newton's steps shrink quadratically until they are the rounding of the gradient, and then no more
        drowned = (change < 1e-7) & (change > 0.25 * last[active])
        last[active] = change
        active = active[(change > 1e-14) & ~drowned]
        if not len(active):
            break
    return natural


def _newton_step(H, residual):
    """Solve H s = residual where H is safely positive definite; elsewhere damp it by what its eigenvalues lack."""
    diagonal = np.sqrt(np.clip(np.einsum("kii->ki", H), 0, None))
    scale = np.where(np.isfinite(diagonal) & (diagonal > 0), diagonal, 1.0)
    scaled = np.nan_to_num(H / (scale[:, :, None] * scale[:, None, :]), posinf=0.0, neginf=0.0)
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(values, 1e-10 * np.maximum(values[:, -1:], 1.0))
    along = np.einsum("kij,ki->kj", vectors, np.nan_to_num(residual / scale))
    return np.einsum("kij,kj->ki", vectors, along / values) / scale


def _line_search(log_partition, eta, m, step, decrement, value, limit):
    """Halve each row's step until ⟨η, m⟩ − A(η) is finite and does not fall; a row with no such step stays."""
    out, gain = eta.copy(), np.zeros(len(eta))
    pending = np.arange(len(eta))
    length = np.ones(len(eta))
    for _ in range(HALVINGS):
        here = eta[pending]
        trial = np.clip(here + length[pending, None] * step[pending], -limit, limit)
        partition = log_partition(trial)
        with np.errstate(all="ignore"):
            new = np.sum(trial * m[pending], axis=1) - partition
            # close to the maximum the gain drowns in rounding: a full Newton step is then taken on trust
            noise = 1e-14 * (np.abs(partition) + np.sum(np.abs(trial * m[pending]), axis=1))
            fine = np.isfinite(new) & (new - value[pending] >= 1e-4 * length[pending] * decrement[pending] - noise)
            fine &= _convex_between(
                log_partition, here, trial, np.sum(here * m[pending], axis=1) - value[pending], partition
            )
        accepted = pending[fine]
        out[accepted], gain[accepted] = trial[fine], new[fine] - value[accepted]
        pending = pending[~fine]
        if not len(pending):
            break
        length[pending] /= 2
    return out, gain


def _convex_between(log_partition, here, there, at_here, at_there):
    """Whether A is finite and convex half way: it is not where the step has crossed a pole into a false region.

    A formula may be finite where its integral diverges, as log|Γ| is for negative arguments.
    """
    middle = log_partition((here + there) / 2)
    return np.isfinite(middle) & (2 * middle <= at_here + at_there + 1e-12 * (np.abs(at_here) + np.abs(at_there)))


def _feasible_start(log_partition, expectation, start, name):
    """Return for each row a point with finite A, preferring the given start, then the best simple candidate."""
    p = expectation.shape[1]
    rng = np.random.default_rng(0)
    sizes = 10.0 ** np.array([0, -1, 1, -2, 2, -3, 3, -4, -6])
    directions = [np.zeros((1, p)), *(sign * size * np.ones((1, p)) for size in sizes for sign in (-1, 1))]
    directions += [size * rng.standard_normal((SEARCH_DRAWS, p)) for size in (1.0, 0.1, 10.0)]
    directions += [s * size * np.eye(p)[:, : p + 1] for size in (1.0, 0.01) for s in (-1, 1)]
    candidates = np.concatenate(directions)
    if start is not None and np.all(np.isfinite(log_partition(start))):
        return np.array(start, dtype=np.float64)
    partition = log_partition(candidates)
    finite = np.isfinite(partition)
    if not finite.any():
        raise ValueError(
            f"{name}: no natural parameter with a finite log_partition was found among {len(candidates)} candidates, "
            "so ∇A(η) = m cannot be solved: define to_natural(self, expectation)"
        )
    candidates, partition = candidates[finite], partition[finite]
    connected = _convex_between(log_partition, candidates[:1], candidates, partition[0], partition)
    connected[0] = True
    score = np.where(connected, expectation @ candidates.T - partition, -np.inf)
    return candidates[np.argmax(score, axis=1)]
