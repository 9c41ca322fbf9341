"""Families of z in a frame: the same for all components, or one of its own for a component that loses digits in it."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any, Self

import numpy as np

from expfam_em.families.gaussian.frames import for_kernel, frames_at, spread, updated
from expfam_em.family import checked
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import Monomials, OwnFrames
from expfam_em.family.optional import Framed
from expfam_em.rows.typing import Array, Block

CANCELLATION = 1e3
"""How much larger terms may be than their sum in the shared frame: moments and scores then err by about 1e-13."""


class FramedNormal(Framed):
    """Families whose parameters are a mean and a covariance of z = R⁻¹ (x − a), in the frame (a, R).

    ``form`` maps between packed parameters and (mean, covariance), and knows roots of covariances. ``shift`` and
    ``scale`` are the shared frame, the identity until ``bind`` sets them; ``frames`` those of single components.
    """

    sparse = "never"
    incidental = ("own_frames", "shift", "scale", "column_variance", "variance_floor", "reg_covar", "regularized")

    shift: np.ndarray | None
    scale: np.ndarray | None
    covariance_type: str

    @property
    @abstractmethod
    def tied(self) -> bool:
        """Whether all components share one covariance."""

    @property
    def constrained(self) -> bool:
        """Whether covariances have something in common but not all: a step may then change one beyond its rows."""
        return self.coupled and not self.tied

    _may_reframe = True
    """Whether the covariance is a parameter: otherwise z zᵀ is no statistic, and frames cannot differ."""

    @property
    @abstractmethod
    def form(self) -> Any:
        """How second-order statistics are packed: a form of `_covariance`."""

    @abstractmethod
    def _floored(self, covariance):
        """Return covariances kept away from 0."""

    own_frames: Frames | None = None

    @property
    def frames(self) -> Frames | None:
        return self.own_frames

    def with_frames(self, frames: Frames | None) -> Self:
        return self if frames is self.own_frames else self.replace(own_frames=frames)

    def kernel_frames(self) -> OwnFrames | None:
        return None if self.frames is None else for_kernel(self.frames)

    def _columns(self, X):
        """Return the columns that T is made of, (n, d)."""
        return X

    def frame(self, n_features: int) -> tuple[Array, Array]:
        """Return shift and scale, each (d,)."""
        if self.shift is None or self.scale is None:
            return np.zeros(n_features), np.ones(n_features)
        if len(self.shift) != n_features:
            raise ValueError(f"{n_features} columns; {self!r} is bound to rows of {len(self.shift)} columns")
        return self.shift, self.scale

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        if self.frames is None:
            return super().log_density(X, natural)
        frames, columns = self._frames_of(len(natural)), np.asarray(self._columns(X), np.float64)
        out = np.empty((len(X), len(natural)))
        shared = np.flatnonzero(~frames["own"])
        out[:, shared] = self.with_frames(None).log_density(X, natural[shared])
        partition, log_h = checked.log_partition(self, natural), checked.log_base_measure(self, X)
        d = X.shape[1]
        plain = Monomials(np.zeros(d), np.ones(d), products_of(self.form, d))
        for k in np.flatnonzero(frames["own"]):
            Z = self.form.solve_rows(frames["root"][k], columns - frames["shift"][k])
            out[:, k] = plain.evaluate(Z) @ natural[k] - partition[k] + log_h
        return out

    @property
    def score_rounding(self) -> float:
        if self.frames is None:
            return 0.0
        # a row of the size of the centre, rounded, and seen in units of the smallest width
        whitener, shift = np.abs(self.frames["whitener"]), np.abs(self.frames["shift"])
        diagonal = self.frames["root"].ndim == 2
        return float(np.max(whitener[:, 0] * shift if diagonal else whitener @ shift[:, :, None], initial=0.0))

    def _frames_of(self, n_components) -> Frames:
        """Return the frames of single components, checked to be those of as many."""
        if self.frames is None or len(self.frames) != n_components:
            raise ValueError(
                f"natural parameters of {n_components} components, but {self!r} has coordinates for "
                f"{0 if self.frames is None else len(self.frames)}, in order: take some components of the mixture with "
                "mixture.components(index)"
            )
        return self.frames

    def _frames(self, n_components, n_features):
        """Return the frame of each component as shifts (K, d) and roots, in the form's shape."""
        shift, scale = self.frame(n_features)
        root = self.form.root_of_scale(scale)
        shifts = np.broadcast_to(shift, (n_components, n_features))
        roots = np.broadcast_to(root, (n_components, *root.shape))
        if self.frames is None:
            return shifts, roots
        return spread(self._frames_of(n_components), shifts, roots)

    def _transfer(self, mean, covariance, target):
        """Return means and covariances in the frames of this family as those in the frames of another."""
        if target is self or (self.frames is None and target.frames is None and _same_frame(self, target)):
            return mean, covariance
        if self.frames is None and target.frames is None:
            return target._into_frame(*self._out_of_frame(mean, covariance))
        shift, root = self._frames(*mean.shape)
        target_shift, target_root = target._frames(*mean.shape)
        step = self.form.divide(target_root, root)
        # the difference of the shifts first: both may be far from 0 and from where the data are
        offset = self.form.solve(target_root, shift - target_shift)
        return offset + self.form.times(step, mean), self.form.transform(covariance, step)

    def translate(self, natural: Array, target: Any) -> Array:
        if target.covariance_type != self.covariance_type:
            raise ValueError(f"a mixture of {self!r} cannot be continued as one of {target!r}")
        mean, covariance = self.form.moments(natural)
        mean, covariance = self._transfer(mean, covariance, target)
        return target.form.natural(mean, target._floored(covariance))

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        if target is self or (self.frames is None and target.frames is None and _same_frame(self, target)):
            return expectation
        mean, covariance = self.form.central(expectation)
        return target.form.expectation(*self._transfer(mean, covariance, target))

    def to_moments(self, natural: Array) -> tuple[Array, Array]:
        """Return means (K, d) and covariances, in the form of the covariance type, in the coordinates of x."""
        return self._out_of_frame(*self.form.moments(natural))

    def from_moments(self, means: Array, covariances: Array) -> Array:
        """Return the natural parameters (K, p) of means and covariances in the coordinates of x; NaN if singular."""
        mean, covariance = self._into_frame(means, covariances)
        return self.form.natural(mean, self._floored(covariance))

    def _out_of_frame(self, mean, covariance):
        if self.frames is not None:
            shift, root = self._frames(*mean.shape)
            return shift + self.form.times(root, mean), self.form.transform(covariance, root)
        shift, scale = self.frame(mean.shape[1])
        return mean * scale + shift, self.form.scale(covariance, scale)

    def _into_frame(self, means, covariances):
        shift, scale = self.frame(means.shape[1])
        return (means - shift) / scale, self.form.scale(covariances, 1 / scale)

    def rescue_frames(self, natural: Array, expectation: Array) -> Frames | None:
        """Return frames about components whose moments, or later scores, lose digits in those that they have.

        A variance C left over from a second moment C + m² has lost m²/C of its digits.
        """
        if not self._may_reframe:
            return None
        mean, variance = self.form.variances(expectation)
        cancelled, flat = self._losses(mean, variance, natural)
        if self.frames is not None and not self.constrained:
            flat = flat & ~self.frames["own"]  # nothing suits it better than a frame of its own
        if not (cancelled | flat).any():
            return None
        shift, root = self._frames(*mean.shape)
        about = shift + self.form.times(root, mean)
        # a frame that is about the mean, up to rounding, cannot be bettered: then the rows are equal
        cancelled &= np.any(np.abs(about - shift) > 4 * np.finfo(float).eps * np.abs(about), axis=1)
        if not (cancelled | flat).any():
            return None
        here = self.form.times_root(root, self._certain_roots(mean, variance, natural, cancelled))
        lost = np.ones_like(flat) if self.tied else cancelled | flat
        better = frames_at(lost, about, here) if self.frames is None else updated(self.frames, lost, about, here)
        return better if self._takes_frames(mean.shape[1]) else None

    def _takes_frames(self, n_features) -> bool:
        """Whether the kernel makes T as this class does: a subclass may have another way."""
        form = self.kernel_form(n_features)
        return form is not None and form.monomials.products is products_of(self.form, n_features)

    def _losses(self, mean, variance, natural):
        """Return which components lose too many digits in moments and in scores, each (K,).

        The terms of a score are as large as P_jj (m_j² + C_jj) for the precision P.
        """
        with np.errstate(all="ignore"):
            second = variance + mean**2
            moments = np.any(second > CANCELLATION * variance, axis=1)
            scores = np.any(self.form.precisions(natural) * second > CANCELLATION, axis=1)
        return moments & np.isfinite(mean).all(axis=1), scores

    def _certain_roots(self, mean, variance, natural, cancelled):
        """Return roots of the covariances, of only what is certain of them where variances have cancelled."""
        certain = np.maximum(variance, np.finfo(float).eps * (variance + mean**2))
        certain = np.where(certain > 0, certain, 1.0)
        if self.form.isotropic:
            certain = np.broadcast_to(certain.max(axis=1, keepdims=True), certain.shape)
        if self.tied:
            certain = np.broadcast_to(certain.min(axis=0), certain.shape)
            cancelled = np.broadcast_to(cancelled.any(), cancelled.shape)
        diagonal = self.form.root_of_scale(np.sqrt(certain))
        if cancelled.all():
            return diagonal
        whole = self.form.root(self.form.moments(natural)[1])
        return np.where(cancelled.reshape(-1, *[1] * (diagonal.ndim - 1)), diagonal, whole)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        """Give a frame of its own to each component whose scores or moments lose digits in the shared one.

        It is there the standard normal density, up to what the mean in x has lost when it was rounded.
        """
        if not self._may_reframe:
            return None
        wanted = self._wants_own_frame(natural, expectation)
        if not wanted.any():
            return None if self.frames is None else (None, self.translate(natural, self.with_frames(None)))
        mean, covariance = self.form.moments(natural)
        shift, root = self._frames(*mean.shape)
        step = self.form.times(root, mean)
        about = shift + step
        here = self.form.times_root(root, self.form.root(covariance))
        rest = self.form.solve(here, (shift - about) + step)
        target = self.with_frames(frames_at(wanted, about, here))
        if not self._takes_frames(mean.shape[1]):
            return None
        standard = self.form.natural(rest, self.form.unit(covariance))
        if not wanted.all():
            standard = np.where(wanted[:, None], standard, self.translate(natural, target))
        return target.frames, standard

    def _wants_own_frame(self, natural, expectation):
        """Return which components to take out of the shared frame, (K,)."""
        mean, variance = self.form.variances(expectation)
        if not self.tied and mean.shape[1] > self.form.widest_shared:
            return np.ones(len(mean), bool)
        if self.frames is not None:
            shared = self.with_frames(None)
            mean, covariance = self._transfer(mean, self.form.central(expectation)[1], shared)
            variance = self.form.diagonal(covariance, mean.shape[1])
            natural = self.translate(natural, shared)
        moments, scores = self._losses(mean, variance, natural)
        wanted = moments | scores
        return np.broadcast_to(wanted.any(), wanted.shape) if self.tied else wanted

    def _log_volumes(self, n_components):
        """Return log |W_shared| − log |W_k|, what a component's frame adds to A, (K,)."""
        frames, volume = self._frames_of(n_components), np.zeros(n_components)
        own, d = frames["own"], frames["shift"].shape[1]
        volume[own] = self.form.log_volume(frames["root"][own], d) - np.log(self.frame(d)[1]).sum()
        return volume

    def fisher_information(self, natural: Array) -> Array:
        """Return ∇²A(η), (K, p) -> (K, p, p); frames add constants to A and nothing else."""
        return super(FramedNormal, self.with_frames(None)).fisher_information(natural)


def _same_frame(one, other) -> bool:
    if one.shift is None or other.shift is None:
        return one.shift is other.shift
    return np.array_equal(one.shift, other.shift) and np.array_equal(one.scale, other.scale)


def products_of(form, n_features) -> np.ndarray:
    """Return the products of a form as the kernel takes them."""
    return _products(type(form).products, n_features)


@functools.cache
def _products(make, n_features):
    products = np.ascontiguousarray(make(n_features), np.int64)
    products.flags.writeable = False
    return products
