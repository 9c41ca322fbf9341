"""Frames of Gaussian components: z = R⁻¹ (x − a), one for all components or one of its own for each.

The arrays of the `Frames` of single components are ``shift`` (C, d), ``root`` (C, d, d) lower triangular, or (C, d) for
diagonal ones, and ``whitener`` (C, d, d) or (C, 1, d), the inverses of the roots as the kernel takes them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from expfam_em.families.special.linalg import are_above, solve_lower
from expfam_em.family.frames import Frames
from expfam_em.rows.typing import Array, Mask


class Coordinates(NamedTuple):
    """The frames that the means (K, d) and covariances of K components are in.

    Attributes
    ----------
    family : ExponentialFamily
        Named in messages.
    form
        How covariances are packed, and what can be done with them: a class of `packing`.
    shift, scale : (d,)
        The frame that components share.
    frames : Frames, optional
        Those of components that have their own.
    floor : float
        Smallest variance in any direction, in units of the squared widths.
    width : (d,)
        Unit of the floor for each column, in units of x.
    """

    family: Any
    form: Any
    shift: Array
    scale: Array
    frames: Frames | None
    floor: float
    width: Array

    def of_each(self, n_components: int) -> tuple[Array, Array]:
        """Return the frame of each component as shifts (K, d) and roots, in the form's shape."""
        shifts = self.shift[None].repeat(n_components, axis=0)
        roots = self.form.root_of_scale(self.scale)[None].repeat(n_components, axis=0)
        if self.frames is not None:
            frames = self.own(n_components)
            own = frames["own"]
            shifts[own], roots[own] = frames["shift"][own], frames["root"][own]
        return shifts, roots

    def own(self, n_components: int) -> Frames:
        """Return the frames of single components, checked to be those of as many."""
        if self.frames is None or len(self.frames) != n_components:
            raise ValueError(
                f"natural parameters of {n_components} components, but {self.family!r} has coordinates for "
                f"{0 if self.frames is None else len(self.frames)}, in order: take some components of the mixture with "
                "mixture.components(index)"
            )
        return self.frames

    def out_of(self, mean: Array, covariance: Array) -> tuple[Array, Array]:
        """Return means and covariances of x from those in these frames."""
        if self.frames is None:
            return mean * self.scale + self.shift, self.form.scale(covariance, self.scale)
        shift, root = self.of_each(len(mean))
        return shift + self.form.times(root, mean), self.form.transform(covariance, root)

    def into_shared(self, means: Array, covariances: Array) -> tuple[Array, Array]:
        """Return means and covariances in the shared frame from those of x."""
        return (means - self.shift) / self.scale, self.form.scale(covariances, 1 / self.scale)

    def transfer(self, mean: Array, covariance: Array, target: Coordinates) -> tuple[Array, Array]:
        """Return means and covariances in the frames of ``target`` from those in these."""
        if self.same_as(target):
            return mean, covariance
        if self.frames is None and target.frames is None:
            return target.into_shared(*self.out_of(mean, covariance))
        (shift, root), (target_shift, target_root) = self.of_each(len(mean)), target.of_each(len(mean))
        step = self.form.divide(target_root, root)
        # the difference of the shifts first: both may be far from 0 and from where the data are
        offset = self.form.solve(target_root, shift - target_shift)
        return offset + self.form.times(step, mean), self.form.transform(covariance, step)

    def agree(self, target: Coordinates, n_components: int) -> Mask:
        """Return which components have the same frame here as there, (K,)."""
        pairs = zip(self.of_each(n_components), target.of_each(n_components), strict=True)
        same = [(one == other).reshape(n_components, -1).all(axis=1) for one, other in pairs]
        own = [np.zeros(n_components, bool) if it.frames is None else it.frames["own"] for it in (self, target)]
        return same[0] & same[1] & (own[0] == own[1])

    def same_as(self, other: Coordinates) -> bool:
        """Whether numbers mean the same here as there."""
        if self.frames is not other.frames:
            return False
        pairs = (self.shift, other.shift), (self.scale, other.scale)
        return all(one is two or np.array_equal(one, two) for one, two in pairs)

    def floored(self, covariance: Array) -> Array:
        """Return covariances with variances below the floor raised to it."""
        if self._is_above(covariance, self.floor):
            return covariance
        low, raised = self._raised(self.form.root(covariance), self.floor)
        if not low.any():
            return covariance
        result = np.array(covariance)
        result[low] = self.form.square(raised)
        return result

    def floored_roots(self, roots: Array) -> Array:
        """Return roots of covariances with variances below the floor raised to it."""
        if self.floor > 0:
            low, raised = self._raised(roots, self.floor)
            roots = np.array(roots)
            roots[low] = self.form.lower(raised)
        return roots

    def at_floor(self, covariance: Array) -> Mask:
        """Return which covariances have a variance at the floor, or within a factor of two of it, (K,)."""
        if self._is_above(covariance, 2 * self.floor):
            return np.zeros(len(covariance), bool)
        return self.below(self.form.root(covariance), 2 * self.floor)

    def below(self, roots: Array, floor: float) -> Mask:
        """Return which roots are those of covariances with a variance below a floor in some direction, (K,)."""
        return self._raised(roots, floor)[0]

    def _is_above(self, covariance, floor):
        """Whether all variances in all directions are certain to be above a floor."""
        if floor == 0:
            return True
        return self.frames is None and are_above(self.form.scale(covariance, self.scale / self.width), floor)

    def _raised(self, roots, floor):
        """Return which roots are those of covariances below a floor, (K,), and factors of these at the floor."""
        own = self.of_each(len(roots))[1]
        units = np.broadcast_to(self.form.root_of_scale(self.width), own.shape)
        return self.form.raised(self.form.divide(units, own), roots, floor)

    def log_volumes(self, n_components: int) -> Array:
        """Return log |W_shared| − log |W_k|, what a component's frame adds to A, (K,)."""
        frames, volume, d = self.own(n_components), np.zeros(n_components), len(self.shift)
        own = frames["own"]
        volume[own] = self.form.log_volume(frames["root"][own], d) - np.log(self.scale).sum()
        return volume


def frames_at(own, shifts, roots) -> Frames:
    """Return frames for the components in a mask (C,), from shifts (C, d) and roots over all components.

    A root that has no inverse in float64 becomes NaN, and with it the log-partition of the component there.
    """
    at, root = np.flatnonzero(own), np.ascontiguousarray(roots[own])
    whitener = 1 / root[:, None, :] if root.ndim == 2 else solve_lower(root, np.eye(root.shape[1]))
    root[~np.isfinite(whitener).reshape(len(at), -1).all(axis=1)] = np.nan
    arrays = {"own": np.ones(len(at), bool), "shift": shifts[own], "root": root, "whitener": whitener}
    return Frames(arrays).scattered(at, len(own))
