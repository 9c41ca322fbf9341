"""Forms of a Gaussian's second-order statistics: how a covariance is packed behind the mean in T, η and ∇A.

A form maps between packed parameters and (mean, covariance). Shapes: ``mean`` (K, d); ``covariance`` (K, d, d) for
Triangle, (K, d) for Squares, (K, 1) for Sphere; roots have the same shape, or (K, d) for Sphere. Everything is in the
coordinates z of the family's frame. Users have the covariances of Sphere as (K,): ``given`` and ``shown`` translate.
"""

import functools
import math

import numpy as np

from expfam_em.families.special.linalg import apply, cholesky, eigh, solve_lower
from expfam_em.kernels import matrices as kernels

THIN = 1e-12
"""Variance of a direction that is barely seen beside those of the columns it is made of."""

NO_NUMBERS, NO_MATRICES = np.empty(0), np.empty((0, 0, 0))
"""What a kernel is told to leave out."""


@functools.cache
def pairs(d) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the upper triangle, in the order in which second moments are packed."""
    i, j = np.triu_indices(d)
    i.flags.writeable = j.flags.writeable = False
    return i, j


@functools.cache
def _factors(d, off_diagonal):
    """What the entries of the upper triangle are multiplied by, those off the diagonal by a number."""
    i, j = pairs(d)
    return np.where(i == j, 1.0, off_diagonal)


@functools.cache
def _diagonal(d):
    """Return where packed statistics have the squares of the columns, (d,)."""
    i, j = pairs(d)
    return d + np.flatnonzero(i == j)


@functools.cache
def _places(d):
    """Return where packed statistics have the products of two columns, (d, d)."""
    i, j = pairs(d)
    places = np.empty((d, d), np.int64)
    places[i, j] = places[j, i] = d + np.arange(len(i))
    return places


@functools.cache
def _behind(d):
    """Return where packed statistics have the squares if no product of different columns is among them, (d,)."""
    return d + np.arange(d)


def _read_only(*columns):
    """Return products as the kernel takes them, which are kept."""
    products = np.ascontiguousarray(np.column_stack(columns), np.int64)
    products.flags.writeable = False
    return products


def representable(factor) -> np.ndarray:
    """F Fᵀ (K, d, d), made thicker where it has no inverse in float64: that leads to a frame in which it has one."""
    covariance = factor @ np.swapaxes(factor, 1, 2)
    pivots, variances = np.einsum("kii->ki", cholesky(covariance)) ** 2, np.einsum("kii->ki", covariance)
    known = np.isfinite(covariance).all(axis=(1, 2)) & (variances > 0).all(axis=1)
    low = ~np.all(pivots > THIN * variances, axis=1) & known
    if low.any():
        size = np.sqrt(variances[low])[:, :, None]
        axes, deviations, _ = np.linalg.svd(factor[low] / size)
        thicker = size * axes * np.maximum(deviations, np.sqrt(THIN))[:, None, :]
        covariance[low] = thicker @ np.swapaxes(thicker, 1, 2)
    return covariance


def root_of(form, natural) -> np.ndarray:
    """Roots of the covariances, from the precisions: the covariances themselves would lose half of the digits."""
    covariance = form.moments(natural)[1]
    if covariance.ndim == 2 or not np.isfinite(covariance).all():
        return form.root(covariance)
    # factored from the last column on, L⁻ᵀ becomes lower triangular
    half = cholesky((-2 * form._unpack(natural, 0.5)[1])[:, ::-1, ::-1])
    return np.ascontiguousarray(np.swapaxes(solve_lower(half, np.eye(half.shape[-1])), 1, 2)[:, ::-1, ::-1])


def keeps_digits(form, expectation, natural, limit) -> bool:
    """Whether means and precisions are certain to be small beside the variances, so that nothing cancels.

    The terms of moments and of scores are then at most ``limit`` times as large as their sum.
    """
    squares = form._squares(form.n_features(expectation.shape[1]))
    if squares is None:  # not looked at
        return False
    arrays = (np.ascontiguousarray(array, np.float64) for array in (expectation, natural))
    return bool(kernels.keeps_digits(*arrays, squares, limit))


class Triangle:
    """T(z) = (z, z_i z_j for i ≤ j): any covariance."""

    isotropic = False
    widest_shared = 95.0
    """Columns; beyond, z zᵀ of each component in its own z costs less than one packed T for all."""

    @staticmethod
    @functools.cache
    def products(d):
        i, j = pairs(d)
        return _read_only(i, j, d + np.arange(len(i)))

    def n_features(self, n_statistics):
        return (math.isqrt(9 + 8 * n_statistics) - 3) // 2

    def _unpack(self, packed, off_diagonal):
        d = self.n_features(packed.shape[1])
        i, j = pairs(d)
        values = packed[:, d:] * _factors(d, off_diagonal)
        matrix = np.empty((len(packed), d, d))
        matrix[:, i, j] = matrix[:, j, i] = values
        return packed[:, :d], matrix

    def _pack(self, linear, matrix, off_diagonal):
        i, j = pairs(linear.shape[1])
        return np.concatenate([linear, matrix[:, i, j] * _factors(linear.shape[1], off_diagonal)], axis=1)

    def log_partition(self, natural):
        out, d = np.empty(len(natural)), self.n_features(natural.shape[1])
        kernels.from_natural(np.ascontiguousarray(natural, np.float64), out, np.empty((0, d)), NO_MATRICES)
        return out

    def moments(self, natural):
        d = self.n_features(natural.shape[1])
        mean, covariance = np.empty((len(natural), d)), np.empty((len(natural), d, d))
        kernels.from_natural(np.ascontiguousarray(natural, np.float64), NO_NUMBERS, mean, covariance)
        return mean, covariance

    def natural(self, mean, covariance=None):
        """Natural parameters of means (K, d) and covariances, by default those of uncorrelated variances of 1."""
        if covariance is None:
            return self._pack(mean, np.broadcast_to(-0.5 * np.eye(mean.shape[1]), (*mean.shape, mean.shape[1])), 2.0)
        out = np.empty((len(mean), mean.shape[1] + len(pairs(mean.shape[1])[0])))
        kernels.to_natural(np.ascontiguousarray(mean), np.ascontiguousarray(covariance), out)
        return out

    def carried(self, natural, root, mean):
        """Natural parameters where z = R z′, through precisions Rᵀ Λ R, and the means z′."""
        precision = np.swapaxes(root, 1, 2) @ (-2 * self._unpack(natural, 0.5)[1]) @ root
        return self._pack(apply(precision, mean), -0.5 * precision, 2.0)

    def expectation(self, mean, covariance):
        return self._pack(mean, covariance + mean[:, :, None] * mean[:, None, :], 1.0)

    def central(self, expectation):
        d = self.n_features(expectation.shape[1])
        mean, second = expectation[:, :d], expectation[:, _places(d)]
        return mean, second - mean[:, :, None] * mean[:, None, :]

    def _squares(self, d):
        """Return where packed statistics have the squares of the columns, if they have them."""
        return _diagonal(d)

    def _split(self, packed):
        """Columns (K, d) of z, and of z², or of the one ‖z‖²."""
        d = self.n_features(packed.shape[1])
        return packed[:, :d], packed[:, self._squares(d)]

    def variances(self, expectation):
        """Means (K, d) and variances (K, d), or (K, 1), of the columns, from expectation parameters."""
        mean, second = self._split(expectation)
        return mean, second - mean**2

    def precisions(self, natural):
        """Diagonals of the precision matrices, (K, d) or (K, 1)."""
        return -2 * self._split(natural)[1]

    def diagonal(self, covariance):
        """Variances of the columns, (K, d) or (K, 1)."""
        return np.einsum("kii->ki", covariance)

    def given(self, covariances):
        """Covariances as users have them, in the shape of this form."""
        return covariances

    def shown(self, covariance):
        """Covariances as users have them."""
        return covariance

    # ---- roots of covariances: of the same shape, and lower triangular ------------------------------------------

    def root(self, covariance):
        """R with R Rᵀ = covariance, or nearly so where rounding has left it no longer positive definite."""
        root = cholesky(covariance)
        failed = np.isnan(root).any(axis=(1, 2)) & np.isfinite(covariance).all(axis=(1, 2))
        if failed.any():
            largest = np.einsum("kii->ki", covariance[failed]).max(axis=1)[:, None]
            values, vectors = eigh(covariance[failed])
            least = np.maximum(np.finfo(float).eps * largest, 1e-300)
            root[failed] = self.lower(vectors * np.sqrt(np.maximum(values, least))[:, None, :])
        return root

    def root_of_scale(self, scale):
        """The root that multiplies each column by a number, (..., d)."""
        return scale[..., None] * np.eye(scale.shape[-1])

    def times(self, root, mean):
        """R m."""
        return apply(root, mean)

    def times_root(self, root, other):
        """R R′."""
        return root @ other

    def solve(self, root, mean):
        """R⁻¹ m."""
        return solve_lower(root, mean[:, :, None])[:, :, 0]

    def solve_rows(self, root, rows):
        """R⁻¹ x of each row, for one root."""
        return solve_lower(root[None], rows.T[None])[0].T

    def divide(self, root, other):
        """R⁻¹ R′."""
        return solve_lower(root, other)

    def transform(self, covariance, root):
        """R C Rᵀ."""
        return root @ covariance @ np.swapaxes(root, -1, -2)

    def square(self, root):
        """R Rᵀ."""
        return self.transform(np.eye(root.shape[-1]), root)

    def log_volume(self, root, d):
        """log |R|."""
        return np.log(np.einsum("kii->ki", root)).sum(axis=1)

    def raised(self, into, root, floor):
        """Return which covariances have eigenvalues below the floor, (K,), and factors of these, raised to it.

        ``root`` is that of covariances in other coordinates, in which the factors are as well; ``into`` R leads from
        there to where the floor is. Singular values of R R′ have an error of ε κ where those of a covariance have ε κ².
        """
        factor = into @ root
        try:
            low = ~(np.sum(solve_lower(factor, np.eye(root.shape[-1])) ** 2, axis=(1, 2)) < 1 / floor)
        except np.linalg.LinAlgError:  # one is singular
            low = np.ones(len(factor), bool)
        low &= np.isfinite(factor).all(axis=(1, 2))
        if not low.any():
            return low, factor[low]
        axes, deviations, _ = np.linalg.svd(factor[low])
        return low, solve_lower(into[low], axes * np.maximum(deviations, np.sqrt(floor))[:, None, :])

    def lower(self, factor):
        """The root of F Fᵀ."""
        upper = np.linalg.qr(np.swapaxes(factor, -1, -2))[1]
        sign = np.where(np.einsum("kii->ki", upper) < 0, -1.0, 1.0)
        return np.swapaxes(upper * sign[:, :, None], 1, 2)

    def scale(self, covariance, scale):
        return covariance * (scale[:, None] * scale)

    def uncorrelated(self, covariance):
        return covariance * np.eye(covariance.shape[-1])

    def draw(self, covariance, noise):
        return noise @ cholesky(covariance[None])[0].T

    def marginal(self, covariance, columns):
        return covariance[:, columns[:, None], columns]

    def regression(self, covariance, given, rest):
        """Coefficients (K, g, r) of the columns ``rest`` on the columns ``given``, and their covariance then."""
        cross = covariance[:, given[:, None], rest]
        gain = np.linalg.solve(self.marginal(covariance, given), cross)
        return gain, self.marginal(covariance, rest) - gain.transpose(0, 2, 1) @ cross


class Squares(Triangle):
    """T(z) = (z, z²): a diagonal covariance."""

    widest_shared = np.inf

    @staticmethod
    @functools.cache
    def products(d):
        j = np.arange(d)
        return _read_only(j, j, d + j)

    def _squares(self, d):
        return _behind(d)

    def n_features(self, n_statistics):
        return n_statistics // 2

    def _split(self, packed):
        d = self.n_features(packed.shape[1])
        return packed[:, :d], packed[:, d:]

    def log_partition(self, natural):
        linear, second = self._split(natural)
        precision = np.where(second < 0, -2 * second, np.nan)
        return 0.5 * (linear**2 / precision - np.log(precision)).sum(axis=1)

    def moments(self, natural):
        linear, second = self._split(natural)
        covariance = -0.5 / second
        return covariance * linear, covariance

    def natural(self, mean, covariance=None):
        covariance = self.square(self.root_of_scale(np.ones_like(mean))) if covariance is None else covariance
        precision = 1 / np.where(covariance > 0, covariance, np.nan)
        return np.concatenate([precision * mean, -0.5 * precision], axis=1)

    def carried(self, natural, root, mean):
        precision = self.precisions(natural) * self.square(root)
        return np.concatenate([precision * mean, -0.5 * precision], axis=1)

    def expectation(self, mean, covariance):
        return np.concatenate([mean, covariance + mean**2], axis=1)

    def central(self, expectation):
        return self.variances(expectation)

    def diagonal(self, covariance):
        return covariance

    def root(self, covariance):
        return np.sqrt(np.maximum(covariance, 0.0))  # rounding may have left less than nothing

    def root_of_scale(self, scale):
        return scale

    def times(self, root, mean):
        return root * mean

    def solve(self, root, mean):
        return mean / root

    times_root, solve_rows, divide = times, solve, solve

    def transform(self, covariance, root):
        return covariance * self.square(root)

    def square(self, root):
        return root**2

    def log_volume(self, root, d):
        return np.log(root).sum(axis=1)

    def raised(self, into, root, floor):
        factor = into * root
        low = (factor**2 < floor).any(axis=1)
        return low, np.maximum(factor[low], np.sqrt(floor)) / into[low]

    def lower(self, factor):
        return factor

    def scale(self, covariance, scale):
        return self.transform(covariance, self.root_of_scale(scale))

    def uncorrelated(self, covariance):
        return covariance

    def draw(self, covariance, noise):
        return noise * np.sqrt(covariance)

    def marginal(self, covariance, columns):
        return covariance[:, columns]

    def regression(self, covariance, given, rest):
        return np.zeros((len(covariance), len(given), len(rest))), self.marginal(covariance, rest)


class Sphere(Squares):
    """T(z) = (z, ‖z‖²): one variance for all columns; the frame must scale all columns alike."""

    isotropic = True

    @staticmethod
    @functools.cache
    def products(d):
        j = np.arange(d)
        return _read_only(j, j, np.full(d, d))

    def n_features(self, n_statistics):
        return n_statistics - 1

    def log_partition(self, natural):
        linear, second = self._split(natural)
        precision = np.where(second[:, 0] < 0, -2 * second[:, 0], np.nan)
        return 0.5 * (np.sum(linear**2, axis=1) / precision - linear.shape[1] * np.log(precision))

    def _squares(self, d):
        return None

    def expectation(self, mean, covariance):
        second = mean.shape[1] * covariance + np.sum(mean**2, axis=1, keepdims=True)
        return np.concatenate([mean, second], axis=1)

    def variances(self, expectation):
        mean, second = self._split(expectation)
        return mean, (second - np.sum(mean**2, axis=1, keepdims=True)) / mean.shape[1]

    def given(self, covariances):
        return covariances[:, None]

    def shown(self, covariance):
        return covariance[:, 0]

    def square(self, root):
        return root[..., :1] ** 2

    def log_volume(self, root, d):
        return d * np.log(root[:, 0])

    def marginal(self, covariance, columns):
        return covariance


class Constant(Sphere):
    """T(z) = z: the covariance is a known multiple of the identity and not a parameter."""

    def __init__(self, variance):
        self.variance = variance

    @staticmethod
    @functools.cache
    def products(d):
        return np.empty((0, 3), np.int64)

    def n_features(self, n_statistics):
        return n_statistics

    def log_partition(self, natural):
        return 0.5 * self.variance * np.sum(natural**2, axis=1)

    def moments(self, natural):
        return self.variance * natural, np.full((len(natural), 1), self.variance)

    def natural(self, mean, covariance=None):
        return mean / self.variance

    def expectation(self, mean, covariance):
        return mean

    def variances(self, expectation):
        return expectation, np.full((len(expectation), 1), self.variance)
