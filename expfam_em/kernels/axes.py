"""Variances of components with constraints between them, and axes that they have in common.

A row of G is an axis times the root of a covariance, so that its squared length is the variance along it: these keep
their relative precision, which products of matrices would not. The loss is Σ_k n_k Σ_j (log v_kj + s_kj/v_kj), for
squares s and variances v.
"""

import numpy as np
from numba import types

from expfam_em.kernels.jit import EXACT, array, entry, inner
from expfam_em.kernels.sums import product

NO_SQUARE = 1e-300  # stands for a square of 0, which has no inverse
ROUNDED_TOTAL = 1e-14  # relative step of a total that is rounding
MEMORY = 8  # steps from which the curvature of a search is learnt
LARGEST_TURN = 0.5  # largest angle of a step, in any plane: beyond, the curvature says little
LEAST_CURVATURE = 1e-8  # where components are round in a plane
HALVED = 1e-10  # length of a step below which a search ends


@inner(EXACT)
def add_multiple(x, factor, out):
    """out += factor x."""
    for i in range(out.shape[0]):
        out[i] += factor * x[i]


@inner(EXACT)
def put_multiple(x, factor, out):
    """out = factor x."""
    for i in range(out.shape[0]):
        out[i] = factor * x[i]


@inner(EXACT)
def lifted_to(logarithms, total, log_floor):
    """Return t with Σ_j max(l_j + t, log floor) = total, and how many l_j + t are above the floor.

    By Newton's method on a convex function, from above.
    """
    d = logarithms.shape[0]
    t, free = total, d
    for j in range(d):
        t -= logarithms[j]
    t /= d
    for _ in range(d + 1):
        reached, free = 0.0, 0
        for j in range(d):
            here = logarithms[j] + t
            reached += max(here, log_floor)
            free += here > log_floor
        if free == 0 or free == d:
            break
        t -= (reached - total) / free
    return t, free


@inner(EXACT)
def lift(logarithms, shares, log_floor, lifts):
    """Write by how much the logarithms of each component are raised where all have the best volume.

    Without a floor this is log Σ_k n_k exp(mean_k) − mean_k. With one, Newton's method solves log Σ_k n_k exp(−t_k) = 0
    for the volume; the left side is convex in it and falls.
    """
    K, d = logarithms.shape
    top, mass, least = -np.inf, 0.0, d * log_floor
    for k in range(K):
        lifts[k] = -lifted_to(logarithms[k], 0.0, -np.inf)[0]
        top = max(top, lifts[k])
    for k in range(K):
        mass += shares[k] * np.exp(lifts[k] - top)
    total = d * (top + np.log(mass))
    for _ in range(100):
        total = max(total, least)
        highest, bounded, value, slope = -np.inf, False, 0.0, 0.0
        for k in range(K):
            lifts[k], free = lifted_to(logarithms[k], total, log_floor)
            highest = max(highest, -lifts[k])
            bounded |= free < d
        if not bounded:
            break
        for k in range(K):
            free = lifted_to(logarithms[k], total, log_floor)[1]
            mass = shares[k] * np.exp(-lifts[k] - highest)
            value += mass
            slope += mass / max(free, 1)
        step = (np.log(value) + highest) * value / slope
        if not abs(step) > ROUNDED_TOTAL * (1.0 + abs(total)) or (total <= least and step < 0):
            break
        total += step


@inner(EXACT)
def best_variances(squares, shares, floor, equal, lifts, variances):
    """Write the variances (K, d) of least loss that are not below a floor, and return the loss.

    ``equal`` says that their products are the same for all components.
    """
    K, d = squares.shape
    loss, log_floor = 0.0, np.log(floor)  # −∞ without one
    for k in range(K):
        lifts[k] = 0.0
        for j in range(d):
            variances[k, j] = np.log(max(squares[k, j], NO_SQUARE))
    if equal:
        lift(variances, shares, log_floor, lifts)
    for k in range(K):
        for j in range(d):
            logarithm = max(variances[k, j] + lifts[k], log_floor)
            variances[k, j] = np.exp(logarithm) if equal else max(squares[k, j], max(floor, NO_SQUARE))
            loss += shares[k] * (logarithm + squares[k, j] / variances[k, j])
    return loss


@inner(EXACT)
def slopes(G, n_turned, squares, variances, shares, gradient, curvature):
    """Write the slope of the loss for a turn of every two axes, and about its curvature.

    The slope is 2 Σ_k n_k m_kij (1/v_ki − 1/v_kj) for the products m of rows of G. Where these are nearly 0 the
    curvature is 2 Σ_k n_k (s_ki − s_kj)(1/v_kj − 1/v_ki) in each plane and nothing between planes (Pham 2001).
    """
    K, at = len(squares), 0
    for i in range(n_turned - 1):
        for j in range(i + 1, n_turned):
            slope, bend = 0.0, 0.0
            for k in range(K):
                difference = 2 * shares[k] * (1 / variances[k, i] - 1 / variances[k, j])
                slope += difference * product(G[k, i], G[k, j])
                bend -= difference * (squares[k, i] - squares[k, j])
            gradient[at], curvature[at] = slope, max(bend, LEAST_CURVATURE)
            at += 1


@inner(EXACT)
def find_direction(gradient, curvature, steps, changes, n_known, step):
    """Write minus the gradient over the curvature, corrected by the steps and changes of the gradient known (Nocedal).

    The last of them are in rows (n_known − 1) mod MEMORY and before.
    """
    known, along = min(n_known, MEMORY), np.empty(MEMORY)
    put_multiple(gradient, 1.0, step)
    for back in range(1, known + 1):
        at = (n_known - back) % MEMORY
        along[at] = product(steps[at], step) / product(steps[at], changes[at])
        add_multiple(changes[at], -along[at], step)
    for i in range(step.shape[0]):
        step[i] /= curvature[i]
    for back in range(known, 0, -1):
        at = (n_known - back) % MEMORY
        factor = along[at] - product(changes[at], step) / product(steps[at], changes[at])
        add_multiple(steps[at], factor, step)
    put_multiple(step, -1.0, step)


@inner(EXACT)
def turn(rows, n_turned, angles):
    """Turn every two of the first rows, one pair after the other."""
    at = 0
    for i in range(n_turned - 1):
        for j in range(i + 1, n_turned):
            cosine, sine = np.cos(angles[at]), np.sin(angles[at])
            at += 1
            for m in range(rows.shape[1]):
                x, y = rows[i, m], rows[j, m]
                rows[i, m], rows[j, m] = cosine * x + sine * y, cosine * y - sine * x


@inner(EXACT)
def squares_of(G, squares):
    """Write the squared lengths of the rows of G (K, d, r), (K, d)."""
    for k in range(G.shape[0]):
        for j in range(G.shape[1]):
            squares[k, j] = product(G[k, j], G[k, j])


@inner(EXACT)
def search_axes(G, axes, n_turned, shares, floor, equal, most, settled, fraction, variances):
    """Turn axes in place to where the loss is least nearby, write the variances, and return the loss."""
    K, d, r = G.shape
    q = n_turned * (n_turned - 1) // 2
    squares, lifts, turned = np.empty((K, d)), np.empty(K), np.empty((K, d, r))
    gradient, last, curvature, step, angles = np.empty(q), np.zeros(q), np.empty(q), np.empty(q), np.empty(q)
    steps, changes = np.empty((MEMORY, q)), np.empty((MEMORY, q))
    n_known, gained = 0, 0.0
    squares_of(G, squares)
    loss = best_variances(squares, shares, floor, equal, lifts, variances)
    for turns in range(most if q else 0):
        slopes(G, n_turned, squares, variances, shares, gradient, curvature)
        if turns:
            at = n_known % MEMORY
            put_multiple(angles, 1.0, steps[at])
            put_multiple(gradient, 1.0, changes[at])
            add_multiple(last, -1.0, changes[at])
            size = np.sqrt(product(steps[at], steps[at]) * product(changes[at], changes[at]))
            n_known += product(steps[at], changes[at]) > 1e-10 * size
        find_direction(gradient, curvature, steps, changes, n_known, step)
        if not product(gradient, step) < 0:
            find_direction(gradient, curvature, steps, changes, 0, step)
            n_known = 0
        if not -product(gradient, step) > max(settled, fraction * gained):
            break
        largest = 0.0
        for i in range(q):
            largest = max(largest, abs(step[i]))
        length, lower, new = min(1.0, LARGEST_TURN / largest), False, loss
        gain = -product(gradient, step)
        while length > HALVED and not lower:
            put_multiple(step, length, angles)
            for k in range(K):
                for j in range(d):
                    put_multiple(G[k, j], 1.0, turned[k, j])
                turn(turned[k], n_turned, angles)
            squares_of(turned, squares)
            new = best_variances(squares, shares, floor, equal, lifts, variances)
            lower = new <= loss - 1e-4 * length * gain + 4e-16 * (abs(loss) + d)
            length *= 0.5
        if not lower:  # rounding
            squares_of(G, squares)
            return best_variances(squares, shares, floor, equal, lifts, variances)
        turn(axes, n_turned, angles)
        for k in range(K):
            for j in range(d):
                put_multiple(turned[k, j], 1.0, G[k, j])
        put_multiple(gradient, 1.0, last)
        gained += loss - new
        loss = new
    return loss


@entry(
    types.void, array(4, writable=True), array(3, writable=True), types.int64, array(2), types.float64, types.boolean,
    types.int64, types.float64, types.float64, array(3, writable=True), array(1, writable=True),
)  # fmt: skip
def common_axes(G, axes, n_turned, shares, floor, equal, most, settled, fraction, variances, losses):
    """Turn the axes of each of P problems, in place, to where the loss is least nearby, and write variances and losses.

    Parameters
    ----------
    G : (P, K, d, r)
        Axes times the roots of the covariances; turned with them.
    axes : (P, d, d)
        In rows.
    n_turned : int
        How many of the first axes are turned; the others stay.
    shares : (P, K)
    floor : float ≥ 0
        Smallest variance.
    equal : bool
        Whether the volumes of components are equal.
    most : int
        Most steps, each of which turns every two axes.
    settled, fraction : float ≥ 0
        The search ends where a step is expected to gain no more than ``settled``, or no more than this fraction of what
        was gained so far.
    variances : (P, K, d)
    losses : (P,)
    """
    for p in range(G.shape[0]):
        losses[p] = search_axes(G[p], axes[p], n_turned, shares[p], floor, equal, most, settled, fraction, variances[p])


@entry(types.void, array(3), array(2), types.float64, array(3, writable=True))
def equal_volumes(squares, shares, floor, variances):
    """Write the variances (P, K, d) of least loss, not below a floor, whose products are equal within a problem."""
    lifts = np.empty(squares.shape[1])
    for p in range(squares.shape[0]):
        best_variances(squares[p], shares[p], floor, True, lifts, variances[p])
