"""Families of z in a frame: the same for all components, or one of its own for a component that loses digits in it."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from expfam_em.families.gaussian import packing
from expfam_em.families.gaussian.coordinates import Coordinates, frames_at
from expfam_em.families.gaussian.models import MODELS, Model
from expfam_em.family import checked
from expfam_em.family.frames import Frames
from expfam_em.family.kernel_form import Monomials, OwnFrames
from expfam_em.family.optional import Framed
from expfam_em.rows.typing import Array, Block, Mask

CANCELLATION = 1e3
"""How much larger terms may be than their sum in the shared frame: moments and scores then err by about 1e-13."""

WARPED = 1e6
"""The same in a frame of its own, at which a component has changed so much that it is given another one."""

BARELY = 100.0
"""Variance of a component that counts as flat, as a multiple of the floor: few digits of it are left."""

FLAT_IN_X = 1e-12
"""Least standard deviation in units of x, as a share of the largest, of a component that is not flat in these units."""


class FramedNormal(Framed):
    """Families whose parameters are a mean and a covariance of z = R⁻¹ (x − a), in the frame (a, R).

    ``shift`` and ``scale`` are the shared frame, the identity until ``bind`` sets them; ``frames`` those of single
    components.
    """

    sparse = "never"
    incidental = (
        "own_frames", "shift", "scale", "width", "column_variance", "variance_floor", "reg_covar", "regularized",
        "prior_rows",
    )  # fmt: skip

    coordinates = ("own_frames", "shift", "scale", "column_variance")

    covariance_type: str
    variance_floor: float
    shift: np.ndarray | None
    scale: np.ndarray | None
    width: np.ndarray | None

    @property
    def _model(self) -> Model:
        """The covariance model."""
        return MODELS[self.covariance_type]

    @property
    def _form(self) -> Any:
        """How second-order statistics are packed, in the coordinates of the frame: a class of `packing`."""
        return self._model.form

    @property
    def coupled(self) -> bool:
        return self._model.tied or self._model.constrain is not None

    def _columns(self, X):
        """Return the columns that T is made of, (n, d)."""
        return X

    def _frame(self, n_features: int) -> tuple[Array, Array]:
        """Return shift and scale, each (d,)."""
        if self.shift is None or self.scale is None:
            return np.zeros(n_features), np.ones(n_features)
        if len(self.shift) != n_features:
            raise ValueError(f"{n_features} columns; {self!r} is bound to rows of {len(self.shift)} columns")
        return self.shift, self.scale

    def _coordinates(self, n_features: int) -> Coordinates:
        shift, scale = self._frame(n_features)
        # before `bind` there is no width that a variance could be small against
        floor, width = (0.0, scale) if self.width is None else (self.variance_floor, self.width)
        return Coordinates(self, self._form, shift, scale, self.frames, floor, width)

    def _natural(self, mean, covariance) -> np.ndarray:
        """Return the natural parameters of means and covariances in the frame, with variances raised to the floor."""
        return self._form.natural(mean, self._coordinates(mean.shape[1]).floored(covariance))

    def edges(self, natural: Array) -> dict[str, Mask]:
        covariance = self._form.moments(natural)[1]
        return {"at variance_floor": self._coordinates(self._form.n_features(natural.shape[1])).at_floor(covariance)}

    # ---- the coordinates of x ---------------------------------------------------------------------------------

    def to_moments(self, natural: Array) -> tuple[Array, Array]:
        """Return means (K, d) and covariances, in the form of the covariance type, in the coordinates of x."""
        mean, covariance = self._form.moments(natural)
        means, covariances = self._coordinates(mean.shape[1]).out_of(mean, covariance)
        return means, self._form.shown(covariances)

    def to_roots(self, natural: Array) -> Array:
        """Return lower triangular roots R of the covariances R Rᵀ in the coordinates of x, (K, d, d) or (K, d).

        They have digits that a covariance of columns nearly dependent on one another has lost.
        """
        form, roots = self._form, self._form.root(self._form.moments(natural)[1])
        return np.asarray(
            form.times_root(self._coordinates(form.n_features(natural.shape[1])).of_each(len(roots))[1], roots)
        )

    def from_moments(self, means: Array, covariances: Array) -> Array:
        """Return the natural parameters (K, p) of means and covariances in the coordinates of x; NaN if singular."""
        shared = self._coordinates(means.shape[1])
        return self._natural(*shared.into_shared(means, self._form.given(covariances)))

    def log_density(self, X: Block, natural: Array) -> Array:
        natural = np.atleast_2d(natural)
        if self.frames is None:
            return super().log_density(X, natural)
        d, form = X.shape[1], self._form
        frames, columns = self._coordinates(d).own(len(natural)), np.asarray(self._columns(X), np.float64)
        out = np.empty((len(X), len(natural)))
        shared = np.flatnonzero(~frames["own"])
        out[:, shared] = self.with_frames(None).log_density(X, natural[shared])
        partition, log_h = checked.log_partition(self, natural), checked.log_base_measure(self, X)
        for k in np.flatnonzero(frames["own"]):
            Z = form.solve_rows(frames["root"][k], columns - frames["shift"][k])
            out[:, k] = plain(form, d).evaluate(Z) @ natural[k] - partition[k] + log_h
        return out

    def sums(self, X: Block, responsibilities: Array) -> Array:
        if self.frames is None:
            return responsibilities.T @ self.sufficient_statistics(np.asarray(X))
        form, d, columns = self._form, np.shape(X)[1], np.asarray(self._columns(X), np.float64)
        T, frames = plain(form, d), zip(*self._coordinates(d).of_each(responsibilities.shape[1]), strict=True)
        places = zip(frames, responsibilities.T, strict=True)
        return np.stack([r @ T.evaluate(form.solve_rows(root, columns - shift)) for (shift, root), r in places])

    def fisher_information(self, natural: Array) -> Array:
        """Return ∇²A(η), (K, p) -> (K, p, p); frames add constants to A and nothing else."""
        return super(FramedNormal, self.with_frames(None)).fisher_information(natural)

    # ---- frames of single components --------------------------------------------------------------------------

    @property
    def frames(self) -> Frames | None:
        return vars(self).get("own_frames")  # most families have no such attribute

    def with_frames(self, frames: Frames | None) -> Self:
        return self if frames is self.frames else self.replace(own_frames=frames)

    def flat(self, natural: Array) -> Mask:
        form, coordinates = self._form, self._coordinates(self._form.n_features(natural.shape[1]))
        with np.errstate(all="ignore"):
            roots = form.root(form.moments(natural)[1])
            found = coordinates.below(roots, BARELY * max(self.variance_floor, np.finfo(float).eps))
            if self._model.constrain is None or roots.ndim == 2:
                return found
            # constraints between components are met in units of x, whatever the scales of the columns
            deviations = np.linalg.svd(form.times_root(coordinates.of_each(len(roots))[1], roots), compute_uv=False)
            return found | ~(deviations[:, -1] > FLAT_IN_X * deviations[:, 0])

    def kernel_frames(self) -> OwnFrames | None:
        if self.frames is None:
            return None
        own = self.frames["own"]
        shift, whitener = (np.ascontiguousarray(self.frames[name][own]) for name in ("shift", "whitener"))
        return OwnFrames(np.where(own, np.cumsum(own) - 1, -1), shift, whitener)

    @property
    def score_rounding(self) -> float:
        if self.frames is None:
            return 0.0
        # a row of the size of the centre, rounded, and seen in units of the smallest width
        whitener, shift = np.abs(self.frames["whitener"]), np.abs(self.frames["shift"])
        diagonal = self.frames["root"].ndim == 2
        return float(np.max(whitener[:, 0] * shift if diagonal else whitener @ shift[:, :, None], initial=0.0))

    def _transferred(self, target, mean, covariance):
        """Return means and covariances in the frames of another family."""
        d = mean.shape[1]
        return self._coordinates(d).transfer(mean, covariance, target._coordinates(d))

    def translate(self, natural: Array, target: Any) -> Array:
        if target.covariance_type != self.covariance_type:
            raise ValueError(f"a mixture of {self!r} cannot be continued as one of {target!r}")
        mean, covariance = self._transferred(target, *self._form.moments(natural))
        if self._model.constrain is not None and (self.frames is not None or target.frames is not None):
            own, there = (coordinates_of(family, mean.shape[1]).of_each(len(mean))[1] for family in (self, target))
            step = self._form.divide(there, own)
            covariance = self._form.square(self._form.times_root(step, packing.root_of(self._form, natural)))
        moved = target._natural(mean, covariance)
        if (lost := ~np.isfinite(moved).all(axis=1)).any():  # a covariance that cannot be inverted there
            mean = self.mean_in(natural, target)
            own, there = (coordinates_of(family, mean.shape[1]).of_each(len(mean))[1] for family in (self, target))
            moved[lost] = self._form.carried(natural, self._form.divide(own, there), mean)[lost]
        return self._kept(natural, moved, target, mean.shape[1])

    def mean_in(self, natural: Array, target: Any) -> Array:
        """Return the means (K, d) in the frames of ``target``, the same family in other coordinates."""
        return self._transferred(target, *self._form.moments(natural))[0]

    def translate_expectation(self, expectation: Array, target: Any) -> Array:
        d = self._form.n_features(expectation.shape[1])
        if self._coordinates(d).same_as(target._coordinates(d)):
            return expectation
        moved = target._form.expectation(*self._transferred(target, *self._form.central(expectation)))
        return self._kept(expectation, moved, target, d)

    def _kept(self, here, there, target, n_features):
        """Return numbers in the frames of ``target``: components whose frame stays the same keep every bit."""
        if self.frames is None and target.frames is None:
            return there
        stays = self._coordinates(n_features).agree(target._coordinates(n_features), len(here))
        return np.where(stays[:, None], here, there)

    def _takes_frames(self, n_features) -> bool:
        """Whether the kernel makes T as this class does: a subclass may have another way."""
        form = self.kernel_form(n_features)
        return form is not None and form.monomials.products is self._form.products(n_features)

    def choose_frames(self, natural: Array, expectation: Array) -> tuple[Frames | None, Array] | None:
        """Give a frame of its own to each component whose scores or moments lose digits in the shared one.

        It is there the standard normal density, up to what the mean in x has lost when it was rounded.
        """
        wanted = self._wants_own_frame(natural, expectation)
        if not wanted.any():
            return None if self.frames is None else (None, self.translate(natural, self.with_frames(None)))
        form = self._form
        mean, covariance = form.moments(natural)
        shift, root = self._coordinates(mean.shape[1]).of_each(len(mean))
        step = form.times(root, mean)
        about = shift + step
        inside = form.root(covariance) if self._model.constrain is None else packing.root_of(form, natural)
        here = form.times_root(root, inside)
        rest = form.solve(here, (shift - about) + step)
        target = self.with_frames(frames_at(wanted, about, here))
        if not self._takes_frames(mean.shape[1]):
            return None
        standard = form.natural(rest)
        if not wanted.all():
            standard = np.where(wanted[:, None], standard, self.translate(natural, target))
        return target.frames, standard

    def _wants_own_frame(self, natural, expectation):
        """Return which components to take out of the shared frame, (K,)."""
        form = self._form
        if not self._model.tied and form.n_features(expectation.shape[1]) > form.widest_shared:
            return np.ones(len(expectation), bool)
        if self.frames is None and packing.keeps_digits(form, expectation, natural, CANCELLATION):
            return np.zeros(len(expectation), bool)
        (mean, variance), lost = form.variances(expectation), False
        if self.frames is not None:
            shared = self.with_frames(None)
            mean, covariance = self._transferred(shared, mean, form.central(expectation)[1])
            variance, natural = form.diagonal(covariance), self.translate(natural, shared)
            lost = ~np.isfinite(form.log_partition(natural))
        wanted = np.logical_or(*self._losses(mean, variance, natural, lost))
        return np.broadcast_to(wanted.any(), wanted.shape) if self._model.tied else wanted

    def rescue_frames(self, natural: Array, expectation: Array, proper: Mask) -> Frames | None:
        """Return frames about components whose moments, or later scores, lose digits in those that they have.

        A variance C left over from a second moment C + m² has lost m²/C of its digits.
        """
        form, plain = self._form, not self.coupled and bool(proper.all())
        if plain and packing.keeps_digits(form, expectation, natural, CANCELLATION):  # as it is nearly always
            return None
        mean, variance = form.variances(expectation)
        if self._model.tied:  # a component of equal rows does not make the common covariance smaller
            pooled = form.diagonal(form.moments(natural)[1])
            variance = np.where(pooled > 0, pooled, variance)
        cancelled, flat = self._losses(mean, variance, natural, ~proper)
        if self._model.constrain is not None:  # what others say of a component may be thinner, askew, than its rows are
            spread = form.diagonal(form.moments(natural)[1])
            flat |= self._losses(np.zeros_like(mean), spread, natural, ~proper)[1]
        if self.frames is not None and self._model.constrain is None:
            # a frame of its own suits it, unless the component has become far flatter, or thicker, than it was
            flat &= ~self.frames["own"] | self._losses(mean, variance, natural, ~proper, WARPED)[1]
        if not (cancelled | flat).any():
            return None
        shift, root = self._coordinates(mean.shape[1]).of_each(len(mean))
        about = shift + form.times(root, mean)
        # a frame that is about the mean, up to rounding, cannot be bettered: then the rows are equal
        cancelled &= np.any(np.abs(about - shift) > 4 * np.finfo(float).eps * np.abs(about), axis=1)
        lost = cancelled | flat
        if not (lost.any() and self._takes_frames(mean.shape[1])):
            return None
        here = form.times_root(root, self._certain_roots(expectation, natural, cancelled, ~proper))
        lost = np.ones_like(lost) if self._model.tied else lost
        if self.frames is not None:  # those that are not replaced stay
            kept = self.frames["own"] & ~lost
            about = np.where(kept[:, None], self.frames["shift"], about)
            here = np.where(kept.reshape(-1, *[1] * (here.ndim - 1)), self.frames["root"], here)
            lost = lost | kept
        return frames_at(lost, about, here)

    def _losses(self, mean, variance, natural, lost, limit=CANCELLATION):
        """Return which components lose too many digits in moments and in scores, each (K,).

        The terms of a score are as large as P_jj (m_j² + C_jj) for the precision P. All digits are ``lost`` where A is
        not finite.
        """
        with np.errstate(all="ignore"):
            second, precision = variance + mean**2, self._form.precisions(natural)
            kept = (second <= limit * variance).all() and (precision * second <= limit).all()
            if kept and not np.any(lost):
                return np.zeros((2, len(mean)), bool)  # as it is nearly always
            moments = np.any(second > limit * variance, axis=1)
            scores = ~np.all(precision * second <= limit, axis=1)
        known = np.isfinite(second).all(axis=1)  # nothing is known of a component without rows
        return moments & known, (scores | lost) & known

    def _certain_roots(self, expectation, natural, cancelled, lost):
        """Return roots of the covariances, of only what is certain of them where variances have cancelled."""
        form = self._form
        mean, variance = form.variances(expectation)
        certain = np.maximum(variance, np.finfo(float).eps * (variance + mean**2))
        certain = np.where(certain > 0, certain, 1.0)
        if form.isotropic:
            certain = np.broadcast_to(certain.max(axis=1, keepdims=True), certain.shape)
        if self._model.tied:
            certain = np.broadcast_to(certain.min(axis=0), certain.shape)
            cancelled = np.broadcast_to(cancelled.any(), cancelled.shape)
        if self._model.constrain is not None:  # what others say of a component is certain whatever its rows have lost
            cancelled = cancelled & lost
        diagonal = form.root_of_scale(np.sqrt(certain))
        of_each, roots = (-1, *[1] * (diagonal.ndim - 1)), diagonal
        if not cancelled.all():
            whole = form.root(form.moments(natural)[1]) if not self.coupled else packing.root_of(form, natural)
            if not self.coupled and (warped := self._losses(mean, variance, natural, lost, WARPED)[1]).any():
                # the precisions have lost the digits that are wanted
                whole = np.where(warped.reshape(of_each), form.root(form.central(expectation)[1]), whole)
            elif self._model.tied and not np.isfinite(whole).all():  # that of the rows will do to see more
                inside = form.central(expectation)[1]
                inside = np.broadcast_to(inside.mean(axis=0), inside.shape)
                whole = np.where(np.isfinite(whole), whole, form.root(inside))
            roots = np.where(cancelled.reshape(of_each), diagonal, whole)
        return self._coordinates(mean.shape[1]).floored_roots(roots)


def coordinates_of(family: FramedNormal, n_features: int) -> Coordinates:
    """Return the frames that the components of a family are in."""
    return family._coordinates(n_features)


def plain(form, n_features) -> Monomials:
    """Return T of rows that are in a frame already."""
    return Monomials(np.zeros(n_features), np.ones(n_features), form.products(n_features))
