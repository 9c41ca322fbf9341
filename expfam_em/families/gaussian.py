"""Multivariate normal densities, in a coordinate frame that keeps their natural parameters well conditioned."""

from __future__ import annotations

import functools

import numpy as np

from expfam_em.families import _covariance, _frames
from expfam_em.family import ExponentialFamily, Monomials

LOG_2PI = float(np.log(2 * np.pi))
CANCELLATION = 1e3
"""m²/C up to which a component stays in the shared frame: its variances then err by at most about 1e-13."""

LOST_IN_SCORES = 1e5
"""The same for the terms of its scores, which then err by about 1e-10."""

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical", "fixed")


class Gaussian(ExponentialFamily):
    """Normal density: T(x) = (z, z zᵀ), A(η) = −¼ η₁ᵀ η₂⁻¹ η₁ − ½ log |−2 η₂|, h(x) = (2π)^(−d/2).

    z = (x − shift) / scale is the observation in the family's frame. The frame is the identity until ``bind`` sets
    it to the mean and spread of the data: xxᵀ loses ε·κ² of its digits at κ standard deviations from the origin.
    ``parameters`` and ``sample`` speak of x, whatever the frame.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical", "fixed"}
        Free; one for all components; diagonal; a multiple of the identity; known to be ``variance`` · I.
    variance : float > 0
        The known variance ε of "fixed".
    variance_floor : float ≥ 0
        Smallest variance in any direction, as a multiple of the squared scale of the frame, which is the variance of
        the columns within a factor of two (so it acts once the family is bound). The M-step is the maximum under
        this constraint, so the bound still never falls.
    reg_covar : float ≥ 0
        Added to the diagonal of every covariance in the M-step (unit of x²).

    Raises
    ------
    ValueError
        For an unknown covariance type or a number out of its range.
    """

    def __init__(self, covariance_type="full", *, variance=1.0, variance_floor=1e-14, reg_covar=0.0):
        if covariance_type not in COVARIANCE_TYPES:
            raise ValueError(f"covariance_type is {covariance_type!r}; it must be one of {', '.join(COVARIANCE_TYPES)}")
        if not variance > 0:
            raise ValueError(f"variance is {variance!r}; it must be positive")
        if not (variance_floor >= 0 and reg_covar >= 0):
            raise ValueError(f"variance_floor={variance_floor!r}, reg_covar={reg_covar!r}: neither may be negative")
        self.covariance_type = covariance_type
        self.variance = float(variance)
        self.variance_floor = float(variance_floor)
        self.reg_covar = float(reg_covar)
        self.regularized = reg_covar > 0
        self.seed_smoothing = 0.0 if covariance_type == "fixed" else ExponentialFamily.seed_smoothing
        self.shift: np.ndarray | None = None
        self.scale: np.ndarray | None = None
        self.column_variance: np.ndarray | None = None
        self.own_frames: tuple | None = None

    @property
    def tied(self):
        """Whether all components share one covariance."""
        return self.covariance_type == "tied"

    @property
    def coupled(self):
        return self.tied

    @property
    def form(self):
        """How second-order statistics are packed, in the coordinates of the frame."""
        if self.covariance_type == "fixed":
            return _covariance.Constant(self.variance if self.scale is None else self.variance / self.scale[0] ** 2)
        return {
            "full": _covariance.Triangle,
            "tied": _covariance.Triangle,
            "diag": _covariance.Squares,
            "spherical": _covariance.Sphere,
        }[self.covariance_type]()

    @property
    def own(self) -> _frames.Own | None:
        """Frames of single components, if any has one; see `reframe`."""
        return None if self.own_frames is None else _frames.Own(*self.own_frames)

    # ---- the frame ------------------------------------------------------------------------------------------

    def bind(self, blocks):
        """Return a copy whose frame is about the weighted mean and standard deviation of the columns."""
        total, mean, scatter = 0.0, np.zeros(()), np.zeros(())
        for X, sample_weight in blocks:
            X = np.asarray(X, np.float64)
            weight = np.ones(len(X)) if sample_weight is None else sample_weight
            here = weight.sum()
            if here == 0:
                continue
            centre = weight @ X / here
            step = centre - mean
            with np.errstate(over="ignore"):
                scatter = scatter + weight @ (X - centre) ** 2 + step**2 * (total * here / (total + here))
            total += here
            mean = mean + step * (here / total)
        variance = scatter / total
        if not np.isfinite(variance).all():
            column = int(np.argmin(np.isfinite(variance)))
            raise ValueError(f"the variance of column {column} is beyond the range of float64: divide X by its size")
        spread = np.full_like(variance, variance.mean()) if self.form.isotropic else variance
        # a column without spread, up to the rounding of its mean, keeps its unit
        spread = np.where(spread > (4 * np.finfo(float).eps * np.abs(mean)) ** 2, np.sqrt(spread), 1.0)
        # A power of two scales without rounding, and a mean with few digits leaves whole numbers exact: rows that are
        # equally far from two means then have equal scores.
        scale = np.exp2(np.round(np.log2(spread)))
        return self.replace(shift=np.round(mean / scale * 64) / 64 * scale, scale=scale, column_variance=variance)

    def in_frame_units(self):
        """Return a copy of a bound "fixed" family whose ε is 1 in the frame, so that scores have no unit of x²."""
        scale = self.frame(1 if self.scale is None else len(self.scale))[1]
        return self.replace(variance=float(scale[0]) ** 2)

    def frame(self, n_features):
        """Return shift and scale, each (d,)."""
        if self.shift is None or self.scale is None:
            return np.zeros(n_features), np.ones(n_features)
        if len(self.shift) != n_features:
            raise ValueError(f"{n_features} columns; {self!r} is bound to rows of {len(self.shift)} columns")
        return self.shift, self.scale

    def shared(self):
        return self if self.own is None else self.replace(own_frames=None)

    def adopt(self, other):
        return self.replace(own_frames=other.own_frames)

    def components(self, index):
        if self.own is None:
            return self
        own = self.own.components(index)
        return self.replace(own_frames=tuple(own) if own.any else None)

    def _frames(self, n_components, n_features):
        """Return the frame of each component as shifts (K, d) and roots, in the form's shape."""
        shift, scale = self.frame(n_features)
        root = self.form.root_of_scale(scale)
        shifts = np.broadcast_to(shift, (n_components, n_features))
        roots = np.broadcast_to(root, (n_components, *root.shape))
        if self.own is None:
            return shifts, roots
        return self.own.spread(shifts, roots)

    def _transfer(self, mean, covariance, target):
        """Return means and covariances in the frames of this family as those in the frames of another."""
        if target is self or (self.own is None and target.own is None and _same_frame(self, target)):
            return mean, covariance
        if self.own is None and target.own is None:
            return target._into_frame(*self._out_of_frame(mean, covariance))
        shift, root = self._frames(*mean.shape)
        target_shift, target_root = target._frames(*mean.shape)
        step = self.form.divide(target_root, root)
        # the difference of the shifts first: both may be far from 0 and from where the data are
        offset = self.form.solve(target_root, shift - target_shift)
        return offset + self.form.times(step, mean), self.form.transform(covariance, step)

    def change_frame(self, natural, target):
        if target.covariance_type != self.covariance_type:
            raise ValueError(f"a mixture of {self!r} cannot be continued as one of {target!r}")
        mean, covariance = self._transfer(*self.form.moments(natural), target)
        return target.form.natural(mean, target._floored(covariance))

    def change_frame_of_expectation(self, expectation, target):
        if target is self or (self.own is None and target.own is None and _same_frame(self, target)):
            return expectation
        return target.form.expectation(*self._transfer(*self.form.central(expectation), target))

    def to_moments(self, natural):
        """Return means (K, d) and covariances, in the form of the covariance type, in the coordinates of x."""
        return self._out_of_frame(*self.form.moments(natural))

    def from_moments(self, means, covariances):
        """Return the natural parameters (K, p) of means and covariances in the coordinates of x; NaN if singular."""
        mean, covariance = self._into_frame(means, covariances)
        return self.form.natural(mean, self._floored(covariance))

    def _out_of_frame(self, mean, covariance):
        if self.own is not None:
            shift, root = self._frames(*mean.shape)
            return shift + self.form.times(root, mean), self.form.transform(covariance, root)
        shift, scale = self.frame(mean.shape[1])
        return mean * scale + shift, self.form.scale(covariance, scale)

    def _into_frame(self, means, covariances):
        shift, scale = self.frame(means.shape[1])
        return (means - shift) / scale, self.form.scale(covariances, 1 / scale)

    def refine(self, natural, expectation):
        """Return the family with frames about components whose moments, or later scores, lose digits in these.

        A variance C left over from a second moment C + m² has lost m²/C of its digits.
        """
        if self.covariance_type == "fixed":
            return None
        mean, variance = self.form.variances(expectation)
        cancelled, flat = self._losses(mean, variance, natural)
        if self.own is not None:
            flat = flat & ~self.own.which  # nothing suits it better than a frame of its own
        if not (cancelled | flat).any():
            return None
        shift, root = self._frames(*mean.shape)
        about = shift + self.form.times(root, mean)
        here = self.form.times_root(root, self._certain_roots(mean, variance, natural, cancelled))
        lost = np.ones_like(flat) if self.tied else cancelled | flat
        fresh = self.own is None or self.tied
        own = _frames.Own.of(lost, about, here) if fresh else self.own.updated(lost, about, here)
        return self.replace(own_frames=tuple(own))

    def _losses(self, mean, variance, natural):
        """Return which components lose too many digits in moments and in scores, each (K,).

        The terms of a score are as large as P_jj (m_j² + C_jj) for the precision P.
        """
        with np.errstate(all="ignore"):
            second = variance + mean**2
            moments = np.any(second > CANCELLATION * variance, axis=1)
            scores = np.any(self.form.precisions(natural) * second > LOST_IN_SCORES, axis=1)
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

    def reframe(self, natural, expectation):
        """Give a frame of its own to each component whose scores or moments lose digits in the shared one.

        It is there the standard normal density, up to what the mean in x has lost when it was rounded.
        """
        if self.covariance_type == "fixed":
            return self, natural
        wanted = self._wants_own_frame(natural, expectation)
        if not wanted.any():
            target = self.shared()
            return target, natural if target is self else self.change_frame(natural, target)
        mean, covariance = self.form.moments(natural)
        shift, root = self._frames(*mean.shape)
        step = self.form.times(root, mean)
        about = shift + step
        here = self.form.times_root(root, self.form.root(covariance))
        rest = self.form.solve(here, (shift - about) + step)
        target = self.replace(own_frames=tuple(_frames.Own.of(wanted, about, here)))
        standard = self.form.natural(rest, self.form.unit(covariance))
        if wanted.all():
            return target, standard
        return target, np.where(wanted[:, None], standard, self.change_frame(natural, target))

    def _wants_own_frame(self, natural, expectation):
        """Return which components to take out of the shared frame, (K,)."""
        mean, variance = self.form.variances(expectation)
        if self.own is not None:
            shared = self.shared()
            mean, covariance = self._transfer(*self.form.central(expectation), shared)
            variance = self.form.diagonal(covariance, mean.shape[1])
            natural = self.change_frame(natural, shared)
        moments, scores = self._losses(mean, variance, natural)
        wanted = moments | scores
        return np.broadcast_to(wanted.any(), wanted.shape) if self.tied else wanted

    # ---- the family -----------------------------------------------------------------------------------------

    def monomials(self, n_features):
        shift, scale = self.frame(n_features)
        own = None if self.own is None else self.own.whiteners()
        return Monomials(shift, 1 / scale, _products(type(self.form), n_features), own)

    @property
    def n_common(self):
        if not self.tied or self.own is not None or self.shift is None:
            return 0
        d = len(self.shift)
        return d * (d + 1) // 2

    def share_common(self, counts, sums, totals):
        """Return N_k (V + m_k m_kᵀ), packed, with V the pooled covariance: what the tied model says they are."""
        i, j = np.triu_indices(sums.shape[2])
        mean = sums / np.where(counts > 0, counts, 1.0)[:, :, None]
        outer = counts[:, :, None] * mean[:, :, i] * mean[:, :, j]
        pooled = (totals - outer.sum(axis=1)) / counts.sum(axis=1, keepdims=True)
        return counts[:, :, None] * pooled[:, None] + outer

    def sufficient_statistics(self, X):
        return self.monomials(X.shape[1]).evaluate(X)

    def log_partition(self, natural):
        value = self.form.log_partition(natural)
        return value if self.own is None else value + self._log_volumes(len(natural))

    def _log_volumes(self, n_components):
        """Return log |W_shared| − log |W_k|, what a component's frame adds to A, (K,)."""
        d = self.own.shift.shape[1]
        volume = np.zeros(n_components)
        volume[self.own.which] = self.form.log_volume(self.own.root, d) - np.log(self.frame(d)[1]).sum()
        return volume

    def log_base_measure(self, X):
        shift, scale = self.frame(X.shape[1])
        constant = -0.5 * X.shape[1] * LOG_2PI - np.log(scale).sum()
        if self.covariance_type != "fixed":
            return np.full(len(X), constant)
        variance = self.form.variance
        Z = (np.asarray(X, np.float64) - shift) / scale
        return constant - 0.5 * X.shape[1] * np.log(variance) - 0.5 * np.einsum("ij,ij->i", Z, Z) / variance

    def to_expectation(self, natural):
        return self.form.expectation(*self.form.moments(natural))

    def to_natural(self, expectation):
        mean, covariance = self.form.central(expectation)
        return self.form.natural(mean, self._floored(covariance))

    def maximize(self, counts, sums):
        mean, covariance = self.form.central(sums / counts[:, None])
        if self.tied:
            pooled = np.tensordot(counts, covariance, 1) / counts.sum()
            covariance = np.broadcast_to(pooled, covariance.shape)
        if self.reg_covar:
            covariance = self._regularised(covariance, mean.shape[1])
        return self.form.natural(mean, self._floored(covariance))

    def _regularised(self, covariance, d):
        if self.own is None:
            return self.form.add_diagonal(covariance, self.reg_covar / self.frame(d)[1] ** 2)
        roots = self._frames(len(covariance), d)[1]
        added = self.form.root_of_scale(np.full((len(covariance), d), np.sqrt(self.reg_covar)))
        step = self.form.divide(roots, added)
        return covariance + self.form.transform(self.form.unit(covariance), step)

    def _floored(self, covariance):
        # without a frame there is no scale that a variance could be small against
        if self.scale is None or self.variance_floor == 0:
            return covariance
        if self.own is None:
            return self.form.floor(covariance, self.variance_floor)
        d = len(self.scale)
        roots, shared = self._frames(len(covariance), d)[1], self.shared()._frames(len(covariance), d)[1]
        in_shared = self.form.transform(covariance, self.form.divide(shared, roots))
        floored = self.form.floor(in_shared, self.variance_floor)
        if floored is in_shared:
            return covariance
        same = (floored == in_shared).reshape(len(covariance), -1).all(axis=1)
        back = self.form.transform(floored, self.form.divide(roots, shared))
        return np.where(same.reshape(-1, *[1] * (covariance.ndim - 1)), covariance, back)

    def seed(self, expectation, mean):
        """Return components at the rows, with the variances of the columns and no correlation."""
        rows, _ = self.form.central(expectation)
        pooled = self.form.uncorrelated(self.form.central(mean)[1])
        return self.form.expectation(rows, np.broadcast_to(pooled, (len(rows), *pooled.shape[1:])))

    def parameters(self, natural):
        means, covariances = self.to_moments(natural)
        return {"means": means, "covariances": covariances[0] if self.tied else covariances}

    def sample(self, natural, n, rng):
        means, covariances = self.to_moments(natural[None])
        return means[0] + self.form.draw(covariances[0], rng.standard_normal((n, means.shape[1])))

    def check_support(self, X):
        return None  # every finite row is possible

    def n_parameters(self, n_components):
        if not self.tied:
            return None
        if self.shift is None:
            raise ValueError("a tied Gaussian counts its parameters once its dimension is known: call bind first")
        d = len(self.shift)
        return n_components * d + d * (d + 1) // 2

    # ---- parts of an observation ----------------------------------------------------------------------------

    def _part(self, columns):
        if self.shift is None or self.scale is None:
            return self
        variance = None if self.column_variance is None else self.column_variance[columns]
        return self.replace(shift=self.shift[columns], scale=self.scale[columns], column_variance=variance, own_frames=None)

    def marginal(self, natural, columns):
        means, covariances = self.to_moments(natural)
        part = self._part(columns)
        return part, part.from_moments(means[:, columns], self.form.marginal(covariances, columns))

    def conditional(self, natural, columns, values):
        means, covariances = self.to_moments(natural)
        rest = np.setdiff1d(np.arange(means.shape[1]), columns)
        part = self._part(rest)
        # only the covariances depend on the type, and those of x|y do not depend on y: a tied family stays tied
        return part, part.from_moments(*self.form.conditional(means, covariances, columns, rest, values))

    def __repr__(self):
        extra = [f"variance={self.variance:g}"] if self.covariance_type == "fixed" else []
        extra += [f"reg_covar={self.reg_covar:g}"] if self.reg_covar else []
        return f"Gaussian({', '.join([repr(self.covariance_type), *extra])})"


@functools.cache
def _products(form, n_features):
    """Products of a form as the kernel takes them: made once, for they are looked up at every step."""
    products = np.ascontiguousarray(form.products(n_features), np.int64)
    products.flags.writeable = False
    return products


def _same_frame(one, other) -> bool:
    if one.shift is None or other.shift is None:
        return one.shift is other.shift
    return np.array_equal(one.shift, other.shift) and np.array_equal(one.scale, other.scale)
