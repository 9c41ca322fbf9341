"""Frames of single Gaussian components: z = R⁻¹ (x − a) with a about the mean and R a root of the covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_em.families.special.linalg import solve_lower
from expfam_em.family.kernel_form import OwnFrames


class Own(NamedTuple):
    """Frames of those components that the shared frame does not suit.

    Attributes
    ----------
    frame : (K,) int64
        Row of ``shift`` and ``root`` of each component; −1 for the shared frame.
    shift : (F, d)
    root : (F, d, d) lower triangular, or (F, d), the diagonals of diagonal ones
    whitener : (F, d, d) or (F, 1, d)
        Inverses of the roots, as the kernel takes them.
    """

    frame: np.ndarray
    shift: np.ndarray
    root: np.ndarray
    whitener: np.ndarray

    @classmethod
    def of(cls, which, shifts, roots) -> Own:
        """Return frames for the components in a mask (K,), from arrays over all components."""
        frame = np.where(which, np.cumsum(which) - 1, -1)
        root = np.ascontiguousarray(roots[which])
        whitener = 1 / root[:, None, :] if root.ndim == 2 else solve_lower(root, np.eye(root.shape[1]))
        return cls(frame, np.ascontiguousarray(shifts[which]), root, np.ascontiguousarray(whitener))

    @classmethod
    def joined(cls, owns, n_components) -> Own:
        """Return the frames of several lots of components, one after another; None has no frames."""
        present = [own for own in owns if own is not None]
        frames, offset = [], 0
        for own in owns:
            frame = np.full(n_components, -1) if own is None else np.where(own.which, own.frame + offset, -1)
            offset += 0 if own is None else len(own.shift)
            frames.append(frame)
        rest = (np.concatenate(arrays) for arrays in zip(*(own[1:] for own in present), strict=True))
        return cls(np.concatenate(frames), *rest)

    @property
    def which(self) -> np.ndarray:
        """Mask of the components with a frame of their own, (K,)."""
        return self.frame >= 0

    @property
    def any(self) -> bool:
        """Whether a component has one."""
        return bool(self.which.any())

    def components(self, index) -> Own:
        """Return the frames of some components."""
        chosen = self.frame[index]
        own = chosen >= 0
        kept = chosen[own]
        return Own(np.where(own, np.cumsum(own) - 1, -1), self.shift[kept], self.root[kept], self.whitener[kept])

    def spread(self, shifts, roots) -> tuple[np.ndarray, np.ndarray]:
        """Return shifts and roots over all components, these in place of those in the mask."""
        shifts, roots = np.array(shifts), np.array(roots)
        shifts[self.which], roots[self.which] = self.shift, self.root
        return shifts, roots

    def updated(self, which, shifts, roots) -> Own:
        """Return these frames with those in a mask (K,) replaced or added."""
        return Own.of(self.which | which, *(
            np.where(which.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip((shifts, roots), self.spread(shifts, roots), strict=True)
        ))  # fmt: skip

    def for_kernel(self) -> OwnFrames:
        """Return the frames as the kernel takes them."""
        return OwnFrames(self.frame, self.shift, self.whitener)
