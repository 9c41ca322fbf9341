"""Frames of single Gaussian components: z = R⁻¹ (x − a) with a about the mean and R a root of the covariance.

The arrays of these `Frames` are ``shift`` (C, d), ``root`` (C, d, d) lower triangular, or (C, d) for diagonal ones,
and ``whitener`` (C, d, d) or (C, 1, d), the inverses of the roots as the kernel takes them.
"""

from __future__ import annotations

import numpy as np

from expfam_em.families.special.linalg import solve_lower
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import OwnFrames


def frames_at(own, shifts, roots) -> Frames:
    """Return frames for the components in a mask (C,), from shifts (C, d) and roots over all components."""
    root = np.ascontiguousarray(roots[own])
    whitener = 1 / root[:, None, :] if root.ndim == 2 else solve_lower(root, np.eye(root.shape[1]))
    at = np.flatnonzero(own)
    return Frames({"own": np.ones(len(at), bool), "shift": shifts[own], "root": root, "whitener": whitener}).scattered(
        at, len(own)
    )


def spread(frames: Frames, shifts, roots) -> tuple[np.ndarray, np.ndarray]:
    """Return shifts and roots over all components, those of the frames in place of these where there are some."""
    shifts, roots, own = np.array(shifts), np.array(roots), frames["own"]
    shifts[own], roots[own] = frames["shift"][own], frames["root"][own]
    return shifts, roots


def updated(frames: Frames, which, shifts, roots) -> Frames:
    """Return the frames with those in a mask (C,) replaced or added."""
    old_shifts, old_roots = spread(frames, shifts, roots)
    shifts = np.where(which[:, None], shifts, old_shifts)
    roots = np.where(which.reshape(-1, *[1] * (roots.ndim - 1)), roots, old_roots)
    return frames_at(frames["own"] | which, shifts, roots)


def for_kernel(frames: Frames) -> OwnFrames:
    """Return the frames as the kernel takes them."""
    own = frames["own"]
    shift, whitener = (np.ascontiguousarray(frames[name][own]) for name in ("shift", "whitener"))
    return OwnFrames(np.where(own, np.cumsum(own) - 1, -1), shift, whitener)
