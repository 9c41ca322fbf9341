"""The conjugate prior of a family, which is an exponential family itself: its natural parameters are (χ, ν)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from expfam_em.family import checked, newton
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import components, is_incomplete
from expfam_em.rows.typing import Array, Block, Integers

ASIDE, TIMES = 0.001, np.array([1.0, -1.0, 2.0, -2.0])
"""Length of a step of a difference, in standard deviations of one row, and the steps of a five-point difference."""

SCALINGS = 4
"""How often the standard deviation is told again from differences over a share of it."""


class Conjugate(ExponentialFamily):
    """Density of natural parameters, exp(⟨χ, η⟩ − ν A(η) − B(χ, ν)) b(η), for a family of log-partition A.

    Its own natural parameters are (χ, ν), (K, p + 1), its statistics (η, −A(η)), and its log-partition is B. So
    ``to_expectation`` returns (E[η], −E[A]) (Diaconis & Ylvisaker 1979). ν pseudo-observations have statistics whose
    sum is χ, and observations are added to both. B, and b, are known up to a factor that does not depend on (χ, ν).

    Parameters
    ----------
    family : ExponentialFamily
    """

    def __init__(self, family: ExponentialFamily) -> None:
        self.family = family

    def sufficient_statistics(self, X: Block) -> Array:
        return np.column_stack([X, -checked.log_partition(self.family, X)])

    def to_natural(self, expectation: Array) -> Array:
        raise NotImplementedError(f"{self!r} is not estimated: (χ, ν) come from a prior and the statistics of rows")

    def point(self, natural: Array) -> Array:
        """Return the natural parameters (K, p) that stand for the posterior: those of the expectation χ/ν."""
        chi, nu = split(natural)
        return checked.to_natural(self.family, chi / nu)

    def __repr__(self) -> str:
        return f"the conjugate prior of {self.family!r}"


class Conjugated(ExponentialFamily):
    """Families whose conjugate prior has a log-partition in closed form."""

    @abstractmethod
    def conjugate(self) -> Conjugate:
        """Return the conjugate prior."""


def split(natural: Array) -> tuple[Array, Array]:
    """Return χ (K, p) and ν (K, 1)."""
    return natural[:, :-1], natural[:, -1:]


def conjugate_of(family: ExponentialFamily) -> Conjugate:
    """Return the conjugate prior of a family: in closed form where it has one, else by Laplace's method.

    Raises
    ------
    ValueError
        If the family is incomplete or its components are estimated together, so that none is known.
    """
    if is_incomplete(family):
        raise ValueError(
            f"{family!r} observes only a part of each observation, and has no conjugate prior of what it observes: fit "
            "it without bayesian=True, and choose K by a criterion"
        )
    if isinstance(family, Conjugated):
        return family.conjugate()
    if family.coupled:
        raise ValueError(
            f"{family!r} estimates its components together, and has no conjugate prior: fit it without bayesian=True, "
            "or take a family of free components"
        )
    return LaplaceConjugate(family)


class LaplaceConjugate(Conjugate):
    """The conjugate prior of any family, with B by Laplace's method (Tierney & Kadane 1986).

    B ≈ ⟨χ, η̂⟩ − ν A(η̂) + p/2 log(2π/ν) − ½ log |∇²A(η̂)| at the mode η̂, where ∇A(η̂) = χ/ν. Expectations are the
    exact derivatives of this B, so that its bound does not fall; it errs by 1/(12 ν) and the like.
    """

    def _at_mode(self, natural: Array) -> _Mode:
        """Return what is known at the mode, NaN where there is none."""
        chi, nu = split(natural)
        with np.errstate(all="ignore"):
            at = np.array(checked.to_natural(self.family, chi / nu))
            partition = checked.log_partition(self.family, at)
            fine = (nu[:, 0] > 0) & np.isfinite(partition)
            at[~fine] = np.nan
            known = at[fine][0] if fine.any() else at[0]
            groups = newton.groups_of(self._slope_of(np.zeros(1, np.int64)), known, few=1)
            if len({len(group) for group in groups}) > 1:
                groups = [np.arange(at.shape[1])]
            of = np.arange(len(at))
            size = self._deviations(of, at)
            return _Mode(at, partition, size, np.array(groups), self._curvature(of, at, size, np.array(groups)))

    def _slope_of(self, of: Integers) -> Callable[[Array], Array]:
        """Return ∇A of rows of parameters, of which those of the components ``of`` come again and again."""

        def slope(natural: Array) -> Array:
            here = components(self.family, np.resize(of, len(natural)))
            with np.errstate(all="ignore"):
                return checked.to_expectation(here, natural)

        return slope

    def _deviations(self, of: Integers, at: Array) -> Array:
        """Return 1/√A″ along each parameter, (K, p): the standard deviation of its estimate from one row."""
        (K, p), slope = at.shape, self._slope_of(of)
        size = np.where(at != 0, np.abs(at), 1.0)
        for _ in range(SCALINGS):
            step = (at + ASIDE * size) - at
            along = np.eye(p)[:, None] * step
            change = slope((at + along).reshape(-1, p)) - slope((at - along).reshape(-1, p))
            bend: Any = np.einsum("jkj->kj", change.reshape(p, K, p)) / (2 * step)
            size = np.where(bend > 0, 1 / np.sqrt(bend), size / 100)
        return size

    def _curvature(self, of: Integers, at: Array, size: Array, groups: Integers) -> Array:
        """Return the blocks of ∇²A, (m, G, w, w), by five-point differences of ∇A; all groups are moved at once."""
        m, p, w = *at.shape, groups.shape[1]
        step = (at + ASIDE * size) - at
        along = np.zeros((w, m, p))
        for j in range(w):
            along[j][:, groups[:, j]] = step[:, groups[:, j]]
        slopes = self._slope_of(of)((at + TIMES[:, None, None, None] * along).reshape(-1, p))
        change = _derivative(slopes.reshape(len(TIMES), w, m, p))[:, :, groups]  # (moved, m, G, w)
        H = change.transpose(1, 2, 3, 0) / step[:, groups][:, :, None, :]
        return (H + H.swapaxes(2, 3)) / 2

    def log_partition(self, natural: Array) -> Array:
        (chi, nu), p, mode = split(natural), natural.shape[1] - 1, self._at_mode(natural)
        with np.errstate(all="ignore"):
            volume = 0.5 * (p * np.log(2 * math.pi / nu[:, 0]) - mode.log_dets.sum(axis=1))
            value = np.sum(chi * mode.at, axis=1) - nu[:, 0] * mode.partition + volume
        return np.where(np.isfinite(value), value, np.inf)

    def to_expectation(self, natural: Array) -> Array:
        (chi, nu), p, mode = split(natural), natural.shape[1] - 1, self._at_mode(natural)
        groups = mode.groups
        fine: Any = np.isfinite(mode.log_dets).all(axis=1)
        H = np.where(fine[:, None, None, None], mode.curvature, np.eye(groups.shape[1]))
        pull = np.empty_like(mode.at)
        with np.errstate(all="ignore"):
            slope = self._slope_of_log_det(mode)
            pull[:, groups] = np.linalg.solve(H, slope[:, groups][..., None])[..., 0] / (2 * nu[:, :, None])
            partition = mode.partition + 0.5 * p / nu[:, 0] - np.sum(pull * chi / nu, axis=1)
        return np.where(fine[:, None], np.column_stack([mode.at - pull, -partition]), np.nan)

    def _slope_of_log_det(self, mode: _Mode) -> Array:
        """Return the gradient of log |∇²A|, (K, p)."""
        (K, p), out = mode.at.shape, np.empty_like(mode.at)
        step = (mode.at + ASIDE * mode.size) - mode.at
        of, size = np.tile(np.arange(K), len(TIMES)), np.tile(mode.size, (len(TIMES), 1))
        for moved in mode.groups.T:
            along = np.zeros((K, p))
            along[:, moved] = step[:, moved]
            points = (mode.at + TIMES[:, None, None] * along).reshape(-1, p)
            log_dets = _log_dets(self._curvature(of, points, size, mode.groups)).reshape(len(TIMES), K, -1)
            out[:, moved] = _derivative(log_dets) / step[:, moved]
        return out


class _Mode(NamedTuple):
    """The mode η̂ (K, p) of each density, A (K,), the deviations (K, p), groups (G, w) and blocks of ∇²A there."""

    at: Array
    partition: Array
    size: Array
    groups: Integers
    curvature: Array

    @property
    def log_dets(self) -> Array:
        """Log-determinants of the blocks, (K, G)."""
        return _log_dets(self.curvature)


def _log_dets(blocks: Array) -> Array:
    """Return log-determinants, NaN where they are not positive, (…, w, w) -> (…)."""
    sign, value = np.linalg.slogdet(blocks)
    return np.where(sign > 0, value, np.nan)


def _derivative(values: Array) -> Any:
    """Return the derivative by the number of steps, at 0, of values at `TIMES` steps."""
    near, near_back, far, far_back = values
    return (8 * (near - near_back) - (far - far_back)) / 12
