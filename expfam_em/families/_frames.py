"""Frames of single Gaussian components: z = R⁻¹ (x − a) with a about the mean and R a root of the covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from expfam_em.family import OwnFrames


class Own(NamedTuple):
    """Frames of those components that the shared frame does not suit.

    Attributes
    ----------
    frame : (K,) int64
        Row of ``shift`` and ``root`` of each component; −1 for the shared frame.
    shift : (F, d)
    root : (F, d, d) lower triangular, or (F, d), the diagonals of diagonal ones
    """

    frame: np.ndarray
    shift: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, which, shifts, roots) -> Own:
        """Return frames for the components in a mask (K,), from arrays over all components."""
        frame = np.where(which, np.cumsum(which) - 1, -1)
        return cls(frame, np.ascontiguousarray(shifts[which]), np.ascontiguousarray(roots[which]))

    @classmethod
    def joined(cls, owns, n_components) -> Own:
        """Return the frames of several lots of components, one after another; None has no frames."""
        present = [own for own in owns if own is not None]
        frames, offset = [], 0
        for own in owns:
            frame = np.full(n_components, -1) if own is None else np.where(own.which, own.frame + offset, -1)
            offset += 0 if own is None else len(own.shift)
            frames.append(frame)
        shift, root = (np.concatenate([getattr(own, name) for own in present]) for name in ("shift", "root"))
        return cls(np.concatenate(frames), shift, root)

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
        return Own(np.where(own, np.cumsum(own) - 1, -1), self.shift[chosen[own]], self.root[chosen[own]])

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

    def whiteners(self) -> OwnFrames:
        """Return the frames as the kernel takes them."""
        if self.root.ndim == 2:
            return OwnFrames(self.frame, self.shift, np.ascontiguousarray(1 / self.root[:, None, :]))
        return OwnFrames(self.frame, self.shift, np.ascontiguousarray(np.linalg.inv(self.root)))
