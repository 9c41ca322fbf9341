"""The covariance models Σ_k = λ_k D_k A_k D_kᵀ with |A_k| = 1 (Banfield & Raftery 1993; Celeux & Govaert 1995).

A name says of volume λ, shape A and orientation D, in this order, whether components have them in common (E), each
its own (V), or, of shape and orientation, that they are those of the identity (I).

A constraint takes shares n_k of the rows with Σ n_k = 1 and roots R_k of covariances S_k = R_k R_kᵀ, all in the same
units, and returns roots of the Σ_k of the model that minimise Σ_k n_k (log |Σ_k| + tr Σ_k⁻¹ S_k). It works on roots
because their condition is the square root of a covariance's. Roots are lower triangular (K, d, d), or (K, d), the
diagonals of diagonal ones; those returned may be any B_k with B_k B_kᵀ = Σ_k.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expfam_em.families.gaussian import packing
from expfam_em.families.special.linalg import check_positive_definite, cholesky, solve_lower
from expfam_em.family import named

NEWTON_STEPS = 100
TURNS = 500
"""Most steps of a search; it ends long before unless components contradict the model."""

SETTLED = 1e-26
"""Expected gain of a step, per row, at which to stop: parameters are then good to its square root."""

COMPARABLE = 1e-5
"""Expected gain of a step, per row, below which searches from several starts are compared, and the best goes on."""

MEMORY = 8
"""Steps from which the curvature of a search is learnt."""

FLAT = 1e-6
"""Standard deviation, relative to the largest, of a direction that has no variance in any component."""

LARGEST_TURN = 0.5
"""Largest angle of a step, in any plane: beyond, the curvature says little."""


FORMS = {"spherical": packing.Sphere(), "diag": packing.Squares(), "full": packing.Triangle()}
"""How covariances are packed, by the covariance type of free components."""


class Model(NamedTuple):
    """A covariance model.

    Attributes
    ----------
    name : str
        Letters for volume, shape and orientation.
    constrain : callable(shares, roots, previous), optional
        Its constraint, with the roots of a member of the model to start from, or None; none if components are free.
    continues : bool
        Whether the constraint has several maxima, so that the search has to begin at the previous parameters.
    """

    name: str
    constrain: Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray] | None = None
    continues: bool = False

    @property
    def tied(self) -> bool:
        """Whether all components share one covariance."""
        return self.name == "EEE"

    @property
    def free(self) -> str:
        """The covariance type whose matrices are packed alike, without a constraint between components."""
        return "spherical" if self.name[1] == "I" else "diag" if self.name[2] == "I" else "full"

    @property
    def form(self) -> Any:
        """How covariances are packed."""
        return FORMS[self.free]

    def n_parameters(self, n_components, n_features) -> int:
        """Return the number of free parameters of K covariances."""
        each = {"I": 0, "E": 1, "V": n_components}
        volume, shape, orientation = (each[letter] for letter in self.name)
        return volume + shape * (n_features - 1) + orientation * (n_features * (n_features - 1) // 2)

    def nearest(self, counts, roots, previous=None) -> np.ndarray:
        """Return roots of the covariances of largest likelihood, given those of the free ones; NaN if not finite."""
        if self.constrain is None:
            return roots
        nothing = np.full_like(roots, np.nan)
        if not np.isfinite(roots).all():
            return nothing
        try:
            with np.errstate(all="ignore"):
                return self.constrain(counts / counts.sum(), roots, previous)
        except np.linalg.LinAlgError:  # a covariance of 0 leaves numbers that are none
            return nothing

    def nearest_to(self, counts, covariances, *, members=False) -> np.ndarray:
        """Return the covariances of the model that are nearest to these, which may be of the model but for rounding."""
        if self.constrain is None:
            return covariances
        roots = self.form.root(self.form.given(covariances))
        return self.form.shown(self.form.square(self.nearest(counts, roots, roots if members else None)))

    def parameter(self) -> named.Parameter:
        """Return what given covariances have to be; that matrices are positive definite is seen later."""
        if self.free == "full":
            return named.Parameter(axes=("column", "column"), shared=self.tied)
        return named.POSITIVE._replace(axes=("column",) if self.free == "diag" else ())

    def checked(self, name, covariances, n_components, slack) -> np.ndarray:
        """Return given covariances, one of each component, once they are positive definite and of the model.

        They may be off by ``slack`` beside rounding.
        """
        if self.tied:
            [one] = check_positive_definite(name, covariances[None], shared=True)
            return np.broadcast_to(one, (n_components, *one.shape))
        if covariances.ndim == 3:
            covariances = check_positive_definite(name, covariances)
        difference = np.abs(covariances - self.nearest_to(np.ones(len(covariances)), covariances, members=True))
        # an entry is measured by the deviations of its columns
        deviations = np.sqrt(np.einsum("kii->ki", covariances)) if covariances.ndim == 3 else None
        sizes = covariances if deviations is None else deviations[:, :, None] * deviations[:, None, :]
        off = difference - slack > named.AGREE * sizes
        if off.any() or not np.isfinite(difference).all():
            k = int(np.argmax(off.reshape(len(off), -1).any(axis=1)))
            worst = np.max(difference[k] / sizes[k])
            raise ValueError(
                f"{name} must be as the model {self.name} has them; that of component {k} differs from the nearest one "
                f"of the model by {worst:.3g} of its size"
            )
        return covariances


# ---- diagonal covariances -------------------------------------------------------------------------------------


def _equal(shares, roots, previous):
    """EII, EEI: Σ = Σ_k n_k S_k."""
    return np.broadcast_to(np.sqrt(shares @ roots**2), roots.shape)


def _equal_shape(shares, roots, previous):
    """VEI: Σ_k = λ_k C."""
    squares = roots**2
    scale = shares @ squares  # of its own for each column, so that none vanishes beside the others
    squares = squares / scale

    def parts(mass):
        common = mass @ squares
        share = mass[:, None] * squares / common
        return np.log(common).sum(), share.sum(axis=1), share

    log_volumes = _log_volumes(shares, roots.shape[1], parts)
    common = (shares * np.exp(-log_volumes)) @ squares
    return np.exp(log_volumes / 2)[:, None] * np.sqrt(common * scale)


def _equal_volume(shares, roots, previous):
    """EVI, EVV: Σ_k = λ S_k / |S_k|^(1/d) with λ = Σ_k n_k |S_k|^(1/d)."""
    diagonals = roots if roots.ndim == 2 else np.einsum("kii->ki", roots)
    log_volumes = 2 * np.log(np.abs(diagonals)).mean(axis=1)
    change = np.exp((_log_mean(shares, log_volumes) - log_volumes) / 2)
    return roots * change.reshape(-1, *[1] * (roots.ndim - 1))


# ---- orientations of their own: the same of the variances along principal axes ----------------------------------


def _along_axes(constraint):
    """Return EEV or VEV, given the constraint on variances in descending order: aligned axes have least trace."""

    def constrain(shares, roots, previous):
        axes, deviations, _ = np.linalg.svd(roots)
        return axes * constraint(shares, deviations, previous)[:, None, :]

    return constrain


# ---- one orientation ------------------------------------------------------------------------------------------


def _proportional(shares, roots, previous):
    """VEE: Σ_k = λ_k C."""
    d = roots.shape[1]
    weighted = np.sqrt(shares)[:, None, None] * np.swapaxes(roots, 1, 2)
    pooled = np.linalg.qr(weighted.reshape(-1, d))[1].T
    white = solve_lower(np.broadcast_to(pooled, roots.shape), roots)
    squares = white @ np.swapaxes(white, 1, 2)

    def parts(mass):
        factor = cholesky(np.tensordot(mass, squares, 1)[None])
        half = solve_lower(np.broadcast_to(factor[0], white.shape), np.sqrt(mass)[:, None, None] * white)
        share = half @ np.swapaxes(half, 1, 2)
        return 2 * np.log(np.diag(factor[0])).sum(), np.einsum("kii->k", share), share.reshape(len(share), -1)

    log_volumes = _log_volumes(shares, d, parts)
    common = cholesky(np.tensordot(shares * np.exp(-log_volumes), squares, 1)[None])[0]
    return np.exp(log_volumes / 2)[:, None, None] * (pooled @ common)


def _log_volumes(shares, d, parts):
    """Return the log λ (K,) that minimise log |C(λ)| + d Σ_k n_k log λ_k with C(λ) = Σ_k n_k S_k/λ_k.

    This is convex in log λ, so Newton's method finds the minimum wherever it starts. ``parts(m)`` returns, of
    C = Σ_k m_k S_k and P_k = C^(−½) m_k S_k C^(−½): log |C|, tr P_k and all P_k as rows.
    """
    _, traces, _ = parts(shares)
    log_volumes = np.log(traces / (d * shares))
    root = np.sqrt(shares)  # components of few rows have as much to say about their own volume as others
    value, traces, share = parts(shares * np.exp(-log_volumes))
    value += d * shares @ log_volumes
    for _ in range(NEWTON_STEPS):
        gradient = (d * shares - traces) / root
        rows = share / root[:, None]
        # λ is free up to a factor that C takes back; the ridge is for components that share no direction at all
        curvature = np.diag(traces / shares) - rows @ rows.T + np.outer(root, root) + 1e-14 * d * np.eye(len(root))
        step = -np.linalg.solve(curvature, gradient)
        gain = -gradient @ step
        if not gain > SETTLED:
            break
        length = 1.0
        while True:
            there = log_volumes + length * step / root
            new, traces, share = parts(shares * np.exp(-there))
            new += d * shares @ there
            if not new > value - 0.1 * length * gain + _rounding(value, d) or length < 1e-6:
                break
            length /= 2
        log_volumes, value = there, new
    return log_volumes


def _common_axes(equal_volume):
    """Return EVE or VVE, whose axes D are common principal components (Flury 1984; Browne & McNicholas 2014).

    Given D, the variances along the axes are those of VVI or EVI, so D alone is searched for. There may be several
    minima: the best one that is reached from the axes of the previous parameters, of the pooled covariance and of
    each component is taken, so that the result is never worse than the previous parameters. Directions without
    variance, up to the floor, keep out of the search but for its last steps: they would make it slow and say nothing.
    """

    def objective(shares, squares):
        """The logarithm of the volume to minimise, and the weight of each component in its gradient."""
        log_volumes = np.log(squares).sum(axis=1)
        if not equal_volume:
            return shares @ log_volumes, shares
        d = squares.shape[1]
        mean = _log_mean(shares, log_volumes / d)
        return d * mean, shares * np.exp(log_volumes / d - mean)

    def constrain(shares, roots, previous):
        span, rest = _spanned(shares, roots)
        there = span.T @ roots
        starts = [span @ axes for axes in (_axes(shares, there), *np.linalg.svd(there)[0])]
        odd = np.exp(np.cos(np.arange(len(shares))))  # with odd weights variances differ
        if previous is not None:
            starts.append(span @ _axes(odd, span.T @ previous))
        others = _squares(roots, rest)

        def with_others(shares, squares):
            return objective(shares, np.concatenate([squares, others], axis=1))

        found = [_turned(axes, shares, roots, with_others, COMPARABLE) for axes in starts]
        value, best = found[int(np.argmin([value for value, _ in found]))]
        best = np.concatenate([best, rest], axis=1)
        if previous is not None and rest.size:
            before = _axes(odd, previous)
            best = before if objective(shares, _squares(roots, before))[0] < value else best
        axes = _turned(best, shares, roots, objective, SETTLED)[1]
        deviations = np.linalg.norm(np.swapaxes(roots, 1, 2) @ axes, axis=1)
        if equal_volume:
            deviations = _equal_volume(shares, deviations, None)
        return axes * deviations[:, None, :]

    return constrain


def _axes(weights, roots):
    """Return the principal axes of Σ_k w_k S_k/tr S_k, (d, d)."""
    return _principal(weights / np.einsum("kij,kij->k", roots, roots), roots)[0]


def _principal(weights, roots):
    """Return the principal axes of Σ_k w_k S_k, and the standard deviations along them."""
    side_by_side = (roots * np.sqrt(weights)[:, None, None]).transpose(1, 0, 2).reshape(roots.shape[1], -1)
    return np.linalg.svd(side_by_side, full_matrices=False)[:2]


def _spanned(shares, roots):
    """Return the directions (d, r) in which components have variances, and the others (d, d − r)."""
    axes, deviations = _principal(shares, roots)
    rank = int(np.sum(deviations > FLAT * deviations[0]))
    # without others, the axes as they are: then no bit depends on these
    return (axes[:, :rank], axes[:, rank:]) if rank < len(axes) else (np.eye(rank), np.empty((rank, 0)))


def _squares(roots, axes):
    """Return the variances along some axes, (K, d, d), (d, r) -> (K, r)."""
    seen = np.swapaxes(roots, 1, 2) @ axes
    return np.einsum("kij,kij->kj", seen, seen)


def _turned(axes, shares, roots, objective, settled):
    """Return the least objective near some axes, and the axes D, by quasi-Newton steps D ← D exp(Ω), Ω skew.

    With M_k = Dᵀ S_k D, the gradient is g_ij = 2 Σ_k w_k M_kij (1/M_kjj − 1/M_kii). Where the M_k are nearly diagonal
    the curvature is 2 Σ_k w_k (M_kii − M_kjj)²/(M_kii M_kjj) in each plane and nothing between planes (Pham 2001);
    limited memory adds what is missing (Nocedal 1980).
    """
    d = axes.shape[1]
    i, j = np.triu_indices(d, 1)
    seen = np.swapaxes(roots, 1, 2) @ axes
    squares = np.einsum("kij,kij->kj", seen, seen)
    value, weights = objective(shares, squares)
    history: list[tuple[np.ndarray, np.ndarray]] = []
    before = None
    for _ in range(TURNS):
        cross = np.einsum("kij,kil->kjl", seen, seen)[:, i, j]
        gradient = 2 * weights @ (cross * (1 / squares[:, j] - 1 / squares[:, i]))
        curvature = 2 * weights @ ((squares[:, i] - squares[:, j]) ** 2 / (squares[:, i] * squares[:, j]))
        curvature = np.maximum(curvature, 1e-8 * weights.sum())
        if before is not None:
            history = [*history, (before[0], gradient - before[1])][-MEMORY:]
            history = [(s, y) for s, y in history if s @ y > 1e-10 * np.sqrt(s @ s * (y @ y))]
        step = _direction(gradient, curvature, history)
        if not gradient @ step < 0:
            step, history = -gradient / curvature, []
        gain = -gradient @ step
        if not gain > settled:
            break
        step *= min(1.0, LARGEST_TURN / np.abs(step).max())
        gain = -gradient @ step
        length = 1.0
        while True:
            skew = np.zeros((d, d))
            skew[i, j] = length * step / 2
            skew -= skew.T
            turn = np.linalg.solve(np.eye(d) - skew, np.eye(d) + skew)  # Cayley's, orthogonal as exp(Ω) is
            there = seen @ turn
            new_squares = np.einsum("kij,kij->kj", there, there)
            new, new_weights = objective(shares, new_squares)
            if new <= value - 1e-4 * length * gain + _rounding(value, d):
                break
            length /= 2
            if length < 1e-12:
                return value, axes
        before = (length * step, gradient)
        axes, seen, squares, value, weights = axes @ turn, there, new_squares, new, new_weights
    return value, axes


def _direction(gradient, curvature, history):
    """Return minus the gradient over the curvature, corrected by (step, change of the gradient) of the last steps."""
    rest, along = gradient, []
    for s, y in reversed(history):
        along.append((s @ rest) / (s @ y))
        rest = rest - along[-1] * y
    step = rest / curvature
    for (s, y), a in zip(history, reversed(along), strict=True):
        step = step + (a - (y @ step) / (s @ y)) * s
    return -step


def _log_mean(shares, logarithms):
    """Return log Σ_k n_k exp(l_k)."""
    top = logarithms.max()
    return top + np.log(shares @ np.exp(logarithms - top))


def _rounding(value, d):
    """Return what of a difference of values may be rounding."""
    return 4 * np.finfo(float).eps * (abs(value) + d)


# ---- the table ------------------------------------------------------------------------------------------------

MODELS = {
    model.name: model
    for model in (
        Model("EII", _equal),
        Model("VII"),
        Model("EEI", _equal),
        Model("VEI", _equal_shape),
        Model("EVI", _equal_volume),
        Model("VVI"),
        Model("EEE"),  # one covariance: pooled before anything else, in the one frame that its components have
        Model("VEE", _proportional),
        Model("EVE", _common_axes(True), continues=True),
        Model("VVE", _common_axes(False), continues=True),
        Model("EEV", _along_axes(_equal)),
        Model("VEV", _along_axes(_equal_shape)),
        Model("EVV", _equal_volume),
        Model("VVV"),
    )
}
"""Models by name; those that scikit-learn has go by its names too."""

MODELS |= {"full": MODELS["VVV"], "tied": MODELS["EEE"], "diag": MODELS["VVI"], "spherical": MODELS["VII"]}
