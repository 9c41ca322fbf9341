"""The covariance models Σ_k = λ_k D_k A_k D_kᵀ with |A_k| = 1 (Banfield & Raftery 1993; Celeux & Govaert 1995).

A name says of volume λ, shape A and orientation D, in this order, whether components have them in common (E), each
its own (V), or, of shape and orientation, that they are those of the identity (I).

A constraint takes, for a stack of B mixtures, shares n_k of the rows with Σ n_k = 1 and roots R_k of covariances
S_k = R_k R_kᵀ, all in the same units. It returns roots of the Σ_k of the model that minimise
Σ_k n_k (log |Σ_k| + tr Σ_k⁻¹ S_k), where no variance in any direction may be below a floor. It works on roots because
their condition is the square root of a covariance's. Roots are lower triangular (B, K, d, d), or (B, K, d), the
diagonals of diagonal ones; those returned may be any B_k with B_k B_kᵀ = Σ_k.

With the floor, too, this is the maximum and not nearly so. Given axes, the loss is convex in the logarithms of the
variances, in which the floor is a bound, equal volumes are equal sums, and equal shapes are sums of two terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from expfam_em.families.gaussian import packing
from expfam_em.families.special.linalg import check_positive_definite, cholesky, solve_lower
from expfam_em.family import named
from expfam_em.kernels import volumes
from expfam_em.kernels.axes import NO_SQUARE, common_axes, equal_volumes
from expfam_em.rows.threads import cached_property

TURNS = 500
"""Most steps of a search; it ends long before unless components contradict the model."""

COMPARABLE = 1e-5
"""Gain of a step, per row, below which searches from several starts are compared, and the best goes on."""

ENOUGH = 0.01
"""Gain of a step, as a share of what the search has gained, at which one ends that need not reach the maximum."""

ALIKE_VARIANCES = 1e-6
"""Differences of variances, as a share of them, that make no directions."""

FORMS = {"spherical": packing.Sphere(), "diag": packing.Squares(), "full": packing.Triangle()}
"""How covariances are packed, by the covariance type of free components."""


@dataclass(frozen=True, eq=False)
class Model:
    """A covariance model.

    Attributes
    ----------
    name : str
        Letters for volume, shape and orientation.
    constrain : callable(shares, roots, floor, previous, search), optional
        Its constraint, with the roots of members of the model to start from, or None, and whether to look for the best
        maximum or only for one that is no worse than these; none if components are free.
    continues : bool
        Whether the constraint has several maxima, so that the search has to begin at the previous parameters.
    """

    name: str
    constrain: Callable[..., np.ndarray] | None = None
    continues: bool = False

    @cached_property
    def tied(self) -> bool:
        """Whether all components share one covariance."""
        return self.name == "EEE"

    @cached_property
    def free(self) -> str:
        """The covariance type whose matrices are packed alike, without a constraint between components."""
        return "spherical" if self.name[1] == "I" else "diag" if self.name[2] == "I" else "full"

    @cached_property
    def form(self) -> Any:
        """How covariances are packed."""
        return FORMS[self.free]

    def n_parameters(self, n_components, n_features) -> int:
        """Return the number of free parameters of K covariances."""
        each = {"I": 0, "E": 1, "V": n_components}
        volume, shape, orientation = (each[letter] for letter in self.name)
        return volume + shape * (n_features - 1) + orientation * (n_features * (n_features - 1) // 2)

    @cached_property
    def of_one_unit(self) -> bool:
        """Whether shapes or axes are compared, so that the model is another one in other units of some columns."""
        return self.name in ("EVE", "VVE", "EEV", "VEV")

    def nearest(self, counts, roots, floor=0.0, previous=None, search=True) -> np.ndarray:
        """Return roots of the covariances of largest likelihood, given those of the free ones; NaN if not finite.

        Parameters
        ----------
        counts : (B, K)
        roots : (B, K, d, d), (B, K, d) or (B, K)
        floor : float ≥ 0
            Smallest variance in any direction.
        previous : like roots, optional
            Roots of members of the model.
        search : bool
            Whether to look for the best maximum if there are several, or only for one no worse than ``previous``.
        """
        if self.constrain is None:
            return roots
        fine = np.isfinite(roots).reshape(len(roots), -1).all(axis=1)
        if not fine.all():
            found = np.full_like(roots, np.nan)
            if fine.any():
                previous = None if previous is None else previous[fine]
                found[fine] = self.nearest(counts[fine], roots[fine], floor, previous, search)
            return found
        with np.errstate(all="ignore"):
            if previous is not None:  # a component may have collapsed before
                known = np.isfinite(previous).all(axis=tuple(range(1, previous.ndim)), keepdims=True)
                previous = np.where(known, previous, roots)
            return self.constrain(counts / counts.sum(axis=1, keepdims=True), roots, floor, previous, search)

    def nearest_to(self, counts, covariances, *, members=False) -> np.ndarray:
        """Return the covariances of the model that are nearest to these, which may be of the model but for rounding."""
        if self.constrain is None:
            return covariances
        roots = self.form.root(self.form.given(covariances))[None]
        [found] = self.nearest(np.asarray(counts)[None], roots, previous=roots if members else None)
        return self.form.shown(self.form.square(found))

    def parameter(self) -> named.Parameter:
        """Return what given covariances have to be; that matrices are positive definite is seen later."""
        if self.free == "full":
            return named.MATRIX._replace(shared=self.tied)
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


def _pooled(mass, values):
    """Return Σ_k m_k of values (B, K, ...), (B, ...)."""
    return np.matmul(mass[:, None], values.reshape(*mass.shape, -1)).reshape(len(mass), *values.shape[2:])


def _equal(shares, roots, floor, previous, search):
    """EII, EEI: Σ = Σ_k n_k S_k."""
    return np.broadcast_to(np.sqrt(np.maximum(_pooled(shares, roots**2), floor))[:, None], roots.shape)


def _equal_shape(shares, roots, floor, previous, search):
    """VEI: Σ_k = λ_k C."""
    squares = roots**2
    scale = np.maximum(_pooled(shares, squares), floor)  # of its own for each column: none vanishes beside the others
    relative = squares / scale[:, None]

    log_volumes = _log_volumes(shares, np.sqrt(relative)[..., None, None])
    common = _pooled(shares * np.exp(-log_volumes), relative) * scale
    variances = np.exp(log_volumes)[:, :, None] * common[:, None]
    for b in _below(variances.min(axis=(1, 2)), variances, floor):

        def above_floor(mass, squares=squares[b]):
            common = mass @ squares
            raised = np.maximum(common, floor)
            return np.sum(np.log(raised) + common / raised), mass * (squares @ (1 / raised)), raised

        log_volumes, common = _log_volumes_above(shares[b], squares[b].mean(axis=1), roots.shape[2], floor, above_floor)
        variances[b] = np.exp(log_volumes)[:, None] * common
    return np.sqrt(variances)


def _below(least, found, floor):
    """Return the mixtures whose least variance (B,) is below the floor, or in which not all numbers are finite."""
    return np.flatnonzero(~((least >= floor) & np.isfinite(found.reshape(len(found), -1)).all(axis=1) | (floor == 0)))


def _equal_volume(shares, roots, floor, previous, search):
    """EVI, EVV: Σ_k = λ S_k / |S_k|^(1/d) with λ = Σ_k n_k |S_k|^(1/d)."""
    if floor == 0:
        diagonals = roots if roots.ndim == 3 else np.einsum("bkii->bki", roots)
        log_volumes = 2 * np.log(np.abs(diagonals)).mean(axis=2)
        change = np.exp((_log_mean(shares, log_volumes) - log_volumes) / 2)
        return roots * change.reshape(*change.shape, *[1] * (roots.ndim - 2))
    if roots.ndim == 4:
        return _along_axes(_equal_volume)(shares, roots, floor, previous, search)
    variances = np.empty(roots.shape)
    equal_volumes(np.ascontiguousarray(roots**2), np.ascontiguousarray(shares), float(floor), variances)
    return np.sqrt(variances)


# ---- orientations of their own: the same of the variances along principal axes ----------------------------------


def _along_axes(constraint):
    """Return EEV or VEV, given the constraint on variances in descending order: aligned axes have least trace."""

    def constrain(shares, roots, floor, previous, search):
        axes, deviations, _ = np.linalg.svd(roots)
        return axes * constraint(shares, deviations, floor, previous, search)[:, :, None, :]

    return constrain


# ---- one orientation ------------------------------------------------------------------------------------------


def _proportional(shares, roots, floor, previous, search):
    """VEE: Σ_k = λ_k C."""
    (B, K), d = shares.shape, roots.shape[2]
    weighted = np.sqrt(shares)[:, :, None, None] * np.swapaxes(roots, 2, 3)
    pooled = np.swapaxes(np.linalg.qr(weighted.reshape(B, K * d, d))[1], 1, 2)
    white = solve_lower(np.repeat(pooled, K, axis=0), roots.reshape(-1, d, d)).reshape(roots.shape)
    squares = white @ np.swapaxes(white, 2, 3)

    log_volumes = _log_volumes(shares, white[:, :, None])
    common = pooled @ cholesky(_pooled(shares * np.exp(-log_volumes), squares))
    found = np.exp(log_volumes / 2)[:, :, None, None] * common[:, None]
    if floor == 0:
        return found
    with_numbers = np.where(np.isfinite(common).all(axis=(1, 2)), common.T, 0.0).T
    least = np.linalg.svd(with_numbers, compute_uv=False)[:, -1] ** 2 * np.exp(log_volumes.min(axis=1))
    for b in _below(least, found, floor):

        def above_floor(mass, roots=roots[b]):
            axes, deviations = _principal(mass, roots)
            raised = np.maximum(deviations**2, floor)
            seen = np.sum((np.swapaxes(roots, 1, 2) @ (axes / np.sqrt(raised))) ** 2, axis=(1, 2))
            return np.sum(np.log(raised) + deviations**2 / raised), mass * seen, axes * np.sqrt(raised)

        sizes = _total_variances(roots[b]) / d
        log_volumes_of_one, common_of_one = _log_volumes_above(shares[b], sizes, d, floor, above_floor)
        found[b] = np.exp(log_volumes_of_one / 2)[:, None, None] * common_of_one
    return found


def _log_volumes(shares, roots):
    """Return the log λ (B, K) that minimise log |Σ_k n_k S_k/λ_k| + d Σ_k n_k log λ_k, given roots (B, K, m, b, b)."""
    out = np.empty(shares.shape)
    volumes.log_volumes(np.ascontiguousarray(shares), np.ascontiguousarray(roots), out)
    return out


def _log_volumes_above(shares, sizes, d, floor, above_floor):
    """Return the log λ ≥ 0 (K,) of one mixture and the C of least loss that has no variance below the floor.

    All Σ_k = λ_k C are then above the floor, and all that are can be written so: the least λ is 1. ``sizes`` (K,) are
    mean variances. ``above_floor(m)`` returns the least log |C| + tr C⁻¹ Σ_k m_k S_k, the m_k tr C⁻¹ S_k, and C.
    """
    sizes, root = np.maximum(sizes, floor), np.sqrt(shares)

    def loss(scaled):
        log_volumes = scaled / root
        value, traces, _ = above_floor(shares * np.exp(-log_volumes))
        return value + d * shares @ log_volumes, (d * shares - traces) / root

    start = np.log(sizes / sizes.min()) * root
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(root),
        options={"ftol": 0.0, "gtol": 1e-13, "maxiter": TURNS, "maxcor": 20},
    )  # fmt: skip
    log_volumes = found.x / root
    for _ in range(3):  # components of few rows, whose volume the loss hardly sees; each of these steps lowers it
        traces = above_floor(mass := shares * np.exp(-log_volumes))[1]
        log_volumes = np.maximum(np.log(traces / (d * mass)), 0.0)
    return log_volumes, above_floor(shares * np.exp(-log_volumes))[2]


def _common_axes(equal):
    """Return EVE or VVE, whose axes D are common principal components (Flury 1984; Browne & McNicholas 2014).

    Given D, the variances along the axes are those of VVI or EVI, so D alone is searched for. There may be several
    minima: the best one that is reached from the axes of the previous parameters, of the pooled covariance and of
    each component is taken, so that the result is never worse than the previous parameters. Without ``search`` only the
    first of these axes are turned, until it gains little more: a generalised EM step (Dempster et al. 1977).
    """

    def constrain(shares, roots, floor, previous, search):
        axes, rank = _spanned(shares, roots, floor)
        found = np.empty(roots.shape)
        for r in np.unique(rank):
            of = rank == r
            before = None if previous is None else previous[of]
            found[of] = turned(shares[of], roots[of], axes[of][:, :, :r], axes[of][:, :, r:], floor, before, search)
        return found

    def turned(shares, roots, span, rest, floor, previous, search):
        odd = np.broadcast_to(np.exp(np.cos(np.arange(shares.shape[1]))), shares.shape)  # variances then differ
        seen = np.swapaxes(span, 1, 2)[:, None] @ roots
        before = [] if previous is None else [_axes(odd, np.swapaxes(span, 1, 2)[:, None] @ previous)]
        if search or previous is None:
            own = np.linalg.svd(seen, full_matrices=False)[0]
            starts = np.stack([*before, _axes(shares, seen), *np.swapaxes(own, 0, 1)], axis=1)
            (B, S, r, _), d = starts.shape, roots.shape[2]
            starts = np.concatenate([span[:, None] @ starts, np.repeat(rest[:, None], S, axis=1)], axis=3)
            many = np.repeat(roots, S, axis=0), np.repeat(shares, S, axis=0)
            found, _, losses = _turned(many[0], starts.reshape(-1, d, d), r, many[1], floor, equal, COMPARABLE)
            best = np.argmin(losses.reshape(B, S), axis=1)
            start = found.reshape(B, S, d, d)[np.arange(B), best]
        else:
            start = np.concatenate([span @ before[0], rest], axis=2)
        fraction = 0.0 if search or previous is None else ENOUGH
        axes, variances, _ = _turned(roots, start, span.shape[2], shares, floor, equal, fraction=fraction)
        variances = np.where(variances > NO_SQUARE, variances, 0.0)
        return axes[:, None] * np.sqrt(variances)[:, :, None, :]

    return constrain


def _turned(roots, axes, n_turned, shares, floor, equal, settled=volumes.SETTLED, fraction=0.0):
    """Return axes of least loss near others, (P, d, d) in columns, variances along them (P, K, d), and losses (P,)."""
    axes = np.array(np.swapaxes(axes, 1, 2), order="C")
    G = np.ascontiguousarray(axes[:, None] @ roots)
    variances, losses = np.empty(G.shape[:3]), np.empty(len(G))
    common_axes(
        G, axes, n_turned, np.ascontiguousarray(shares), float(floor), equal, TURNS, settled, fraction, variances,
        losses,
    )  # fmt: skip
    return np.swapaxes(axes, 1, 2), variances, losses


def _spanned(shares, roots, floor):
    """Return axes (B, d, d) and a number r (B,): in the first r components differ, in the others each of them is round.

    Turns of the others say nothing. There are some where rows span fewer dimensions than there are columns; otherwise
    axes are those of the columns, so that no bit depends on the others, and r is d.
    """
    d = roots.shape[2]
    axes, deviations = _principal(shares, roots)
    least = np.maximum(deviations[:, -1:], np.sqrt(floor))
    rank = np.maximum(1, np.sum(deviations > (1 + ALIKE_VARIANCES) * least, axis=1))
    rest = np.arange(d) >= rank[:, None, None]
    squares = np.sum((np.swapaxes(axes, 1, 2)[:, None] @ roots) ** 2, axis=3)
    mean = np.sum(squares * rest, axis=2, keepdims=True) / np.maximum(d - rank, 1)[:, None, None]
    alike = (np.abs(squares - mean) <= ALIKE_VARIANCES * mean) | (squares <= floor) | ~rest
    few = (rank + 1 < d) & alike.all(axis=(1, 2))
    return np.where(few[:, None, None], axes, np.eye(d)), np.where(few, rank, d)


def _axes(weights, roots):
    """Return the principal axes of Σ_k w_k S_k/tr S_k, (B, d, d)."""
    return _principal(weights / np.maximum(_total_variances(roots), NO_SQUARE), roots)[0]


def _total_variances(roots):
    """Return tr R Rᵀ of each root, (..., d, r) -> (...), with bits that do not depend on how they lie in memory."""
    entries = np.ascontiguousarray(roots).reshape(*roots.shape[:-2], -1)
    return np.einsum("...i,...i->...", entries, entries)


def _principal(weights, roots):
    """Return the principal axes of Σ_k w_k S_k, and the standard deviations along them."""
    weighted = np.moveaxis(roots * np.sqrt(weights)[..., None, None], -3, -2)
    return np.linalg.svd(weighted.reshape(*weighted.shape[:-2], -1), full_matrices=False)[:2]


def _log_mean(shares, logarithms):
    """Return log Σ_k n_k exp(l_k), (B, 1)."""
    top = logarithms.max(axis=1, keepdims=True)
    return top + np.log(np.sum(shares * np.exp(logarithms - top), axis=1, keepdims=True))


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
