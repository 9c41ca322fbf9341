"""Constraints on named parameters, as a value: what is fixed, what components have in common, what has bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.rows.columns import did_you_mean
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Array

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily

    F = TypeVar("F", bound=ExponentialFamily)

Fixed = Mapping[str, ArrayLike]
Tied = Sequence[str] | Mapping[str, ArrayLike]
Bounds = Mapping[str, tuple[ArrayLike | None, ArrayLike | None]]


class Entries(NamedTuple):
    """The constraints on one named parameter, arrays of its shape (K, …).

    Attributes
    ----------
    fixed : values, NaN where it is free
    factor : what the common value is multiplied by, NaN where nothing is in common
    low, high : −∞ and ∞ where there is no bound
    """

    fixed: Array
    factor: Array
    low: Array
    high: Array

    @property
    def held(self) -> np.ndarray:
        """Where there is a constraint."""
        return np.isfinite(self.fixed) | np.isfinite(self.factor) | np.isfinite(self.low) | np.isfinite(self.high)


@dataclass(frozen=True, eq=False)
class Constraint:
    """What named parameters of K components have to be; see `constrain`."""

    fixed: dict[str, Any] = field(default_factory=dict)
    tied: dict[str, Any] = field(default_factory=dict)
    bounds: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fixed: Fixed | None = None, tied: Tied = (), bounds: Bounds | None = None) -> Constraint | None:
        """Return a constraint as users write it, or None if there is none.

        Raises
        ------
        ValueError
            If a value is no number, a factor is not positive, or a lower bound is above the upper one.
        """
        if isinstance(tied, str):
            raise ValueError(f"tied is {tied!r}; it must be a tuple of names, as in tied=({tied!r},)")
        factors = dict(tied) if isinstance(tied, Mapping) else dict.fromkeys(tied)
        values = {name: _numbers(f"fixed {name}", value) for name, value in (fixed or {}).items()}
        for name, value in factors.items():
            if value is not None:
                factors[name] = array = _numbers(f"factors of tied {name}", value)
                if array.ndim != 1 or not np.all((array > 0) | np.isnan(array)):
                    raise ValueError(f"tied {name} has factors {value!r}; they must be K positive numbers, NaN: free")
        limits = {}
        for name, pair in (bounds or {}).items():
            if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
                raise ValueError(f"bounds of {name} are {pair!r}; they must be a pair (low, high), None: no bound")
            ends = (-np.inf if pair[0] is None else pair[0], np.inf if pair[1] is None else pair[1])
            low, high = (_numbers(f"bounds of {name}", end) for end in ends)
            if not np.all(low <= high):
                raise ValueError(f"bounds of {name} are {pair!r}; the lower one must not be above the upper one")
            limits[name] = (low, high)
        return cls(values, factors, limits) if values or factors or limits else None

    @property
    def names(self) -> list[str]:
        """The parameters that have constraints."""
        return list(dict.fromkeys([*self.fixed, *self.tied, *self.bounds]))

    @property
    def tells_components(self) -> bool:
        """Whether it says something else of one component than of another."""
        ends = [end for pair in self.bounds.values() for end in pair]
        return bool(self.fixed or any(f is not None for f in self.tied.values()) or any(map(np.ndim, ends)))

    def some(self, names: Mapping[str, str]) -> Constraint | None:
        """Return the constraints on some parameters under other names, {here: there}; None if there are none."""
        lots = [{names[name]: v for name, v in lot.items() if name in names} for lot in self._lots]
        return Constraint(*lots) if any(lots) else None

    @property
    def _lots(self) -> tuple[dict[str, Any], ...]:
        return self.fixed, self.tied, self.bounds

    def entries(self, family: object, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Entries]:
        """Return the constraints on each named parameter that has some, given the shapes (K, …) of all of them.

        Raises
        ------
        ValueError
            If a name is unknown, a shape does not fit, or constraints contradict one another.
        """
        found = {}
        for name in self.names:
            if name not in shapes:
                raise ValueError(
                    f"{family!r} has no parameter {name!r} to constrain{did_you_mean(name, shapes)}; it has "
                    f"{', '.join(shapes) or 'none'}"
                )
            shape = shapes[name]
            fixed = _shaped(f"fixed {name}", self.fixed.get(name, np.nan), shape)
            if np.isinf(fixed).any():
                raise ValueError(f"fixed {name} is infinite; it must be finite, NaN: free")
            low, high = (_shaped(f"bounds of {name}", end, shape) for end in self.bounds.get(name, (-np.inf, np.inf)))
            factor = np.full(shape, np.nan)
            if name in self.tied:
                given = np.ones(shape[0]) if self.tied[name] is None else self.tied[name]
                if len(given) != shape[0]:
                    raise ValueError(f"tied {name} has {len(given)} factors; there are {shape[0]} components")
                factor = np.broadcast_to(np.reshape(given, (-1, *[1] * (len(shape) - 1))), shape)
            if np.any(np.isfinite(fixed) & np.isfinite(factor)):
                raise ValueError(f"{name} is both fixed and tied; give it one of the two in each component")
            if np.any((fixed < low) | (fixed > high)):
                raise ValueError(f"fixed {name} is outside its bounds")
            found[name] = Entries(fixed, factor, low, high)
        return found


@undisturbed
def constrain(
    family: F | str, *, fixed: Fixed | None = None, tied: Tied = (), bounds: Bounds | None = None
) -> F:  # fmt: skip
    """Return a family whose M-step keeps named parameters of K components as they have to be.

    Names are those of ``family.parameters``; in a `Product` or `Componentwise` they begin with the label of a part,
    such as "gaussian_means". The M-step is the maximum of the expected log-likelihood under the constraints, or a step
    towards it that never lowers it, so the bound of a fit does not fall.

    Parameters
    ----------
    family : ExponentialFamily, or the name of one
        Your own, or one of `expfam_em.families`.
    fixed : dict of str to (K, …) array, optional
        Values by name; NaN is free. Component k of the array is component k of the mixture.
    tied : sequence of str, or dict of str to (K,) array
        Names that all components have in common, or, with factors f, up to these: θ_k = f_k θ. NaN is free.
    bounds : dict of str to (low, high), optional
        By name, each a number or a (K, …) array; None is no bound.

    Raises
    ------
    TypeError, ValueError
        If there is no such family, or a value makes no sense; unknown names and wrong shapes are found when an M-step
        is made.

    Examples
    --------
    >>> import numpy as np, expfam_em as ef
    >>> family = ef.constrain("poisson", tied={"rates": [1.0, 2.0]})
    >>> start = ef.Mixture.of(family, [0.5, 0.5], rates=[[1.0], [2.0]])
    >>> rates = ef.fit(start, np.array([[1.0], [2.0], [2.0], [5.0], [6.0], [7.0]])).mixture.parameters["rates"]
    >>> round(float(rates[1, 0] / rates[0, 0]), 12)
    2.0
    """
    from expfam_em.family.registry import family_of  # it knows the class of families, which knows this file

    return family_of(family)._under(Constraint.of(fixed, tied, bounds))


def _numbers(name: str, value: Any) -> Array:
    try:
        array = np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}; it must be an array of numbers, NaN: free") from error
    array.flags.writeable = False
    return array


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return an array of a shape, from a number or from one whose axes may have length 1."""
    array = np.asarray(value, np.float64)
    fits = array.ndim in (0, len(shape)) and all(a in (1, b) for a, b in zip(array.shape, shape, strict=False))
    if not fits:
        raise ValueError(f"{name} has shape {array.shape}; it must be {shape}, an entry for each of the components")
    return np.broadcast_to(array, shape)
