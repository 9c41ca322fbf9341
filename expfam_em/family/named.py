"""Named parameters as users give them: names, shapes and values are checked here, for every family alike."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from expfam_em.family import checked
from expfam_em.rows.columns import did_you_mean
from expfam_em.rows.typing import Array

if TYPE_CHECKING:
    from expfam_em.family.base import ExponentialFamily

AGREE = 1e-6
"""Relative difference up to which a name that is not needed agrees with those that are."""

ROUNDED = 4 * float(np.finfo(float).eps)
"""By how much a probability may exceed 1, because a mean of ones may be rounded upwards."""

SYMBOLS = {"component": "K", "column": "d", "variable": "J", "level": "L", "statistic": "p"}
"""Size of each axis, as messages call it."""


class Parameter(NamedTuple):
    """What a named parameter has to be.

    Attributes
    ----------
    possible : function of an array, elementwise
        Which values are inside the parameter's space; false for NaN.
    must_be : str
        The same in words, as the end of "it must be …".
    axes : tuple of str
        Axes behind that of the components. Axes of the same name have the same size, in all parameters.
    shared : bool
        Whether one value stands for all components, so that there is no axis of components.
    low, high : float
        Ends between which each number lies.
    """

    possible: Callable[[np.ndarray], np.ndarray] = np.isfinite
    must_be: str = "finite"
    axes: tuple[str, ...] = ("column",)
    shared: bool = False
    low: float = -np.inf
    high: float = np.inf

    @property
    def is_matrix(self) -> bool:
        """Whether it is a symmetric positive definite matrix of each component, or of all."""
        return self.axes == ("column", "column")

    @property
    def all_axes(self) -> tuple[str, ...]:
        """The axes, with that of the components."""
        return self.axes if self.shared else ("component", *self.axes)

    @property
    def symbols(self) -> str:
        """The axes as messages call them, "(K, d)"."""
        return _tuple([SYMBOLS[axis] for axis in self.all_axes])


FINITE = Parameter()
MATRIX = Parameter(axes=("column", "column"))
"""That it is positive definite is seen later."""
POSITIVE = Parameter(lambda x: (x > 0) & (x < np.inf), "positive and finite", low=0.0)
FROM_0 = Parameter(lambda x: (x >= 0) & (x < np.inf), "0 or positive, and finite", low=0.0)
POSITIVE_OR_LIMIT = Parameter(lambda x: x > 0, "positive; inf is its limit", low=0.0)
PROBABILITY = Parameter(lambda x: (x >= 0) & (x <= 1 + ROUNDED), "from 0 to 1", low=0.0, high=1.0)
POSSIBLE_SUCCESS = Parameter(lambda x: (x > 0) & (x <= 1 + ROUNDED), "above 0 and at most 1", low=0.0, high=1.0)
SHARE = FROM_0._replace(high=1.0)
"""One of some that add up to 1, which is seen of all of them."""


def read(
    family: ExponentialFamily,
    given: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    sets: tuple[tuple[str, ...], ...],
    *,
    sizes: Mapping[str, int] | None = None,
    least: int = 1,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return named parameters as checked arrays, all of them and those that determine the density.

    The axis of components may be left out for one component where the shapes can be read in no other way. Single
    numbers are one component of one column.

    Parameters
    ----------
    family : ExponentialFamily
        Named in messages.
    given : mapping of str to array_like
    parameters : mapping of str to Parameter
        Every name that the family knows.
    sets : tuple of tuples of names
        Each set determines the density. The first that is given in full is used.
    sizes : mapping of str to int, optional
        Sizes of axes that the family knows already.
    least : int
        Smallest number of columns.

    Returns
    -------
    arrays, used : dict of str to float64 array
        All names, and those of the set that is used, (K, …) each; without K where the parameter is shared.

    Raises
    ------
    TypeError
        If a name is unknown or missing, or a value is no array of numbers.
    ValueError
        If a shape is wrong, or a value is outside its space.
    """
    chosen = _check_names(family, given, parameters, sets)
    arrays = {name: _numbers(name, value) for name, value in given.items()}
    known = {} if sizes is None else dict(sizes)
    whole = _with_components(arrays, parameters, [*known, *(["column"] if least > 1 else [])])
    why = {axis: f"{family!r} has {size} {'column' if axis == 'variable' else axis}s" for axis, size in known.items()}
    for name, array in whole.items():
        parameter, said = parameters[name], f"{name} has shape {arrays[name].shape}"
        for axis, size in zip(parameter.all_axes, array.shape, strict=True):
            if known.setdefault(axis, size) != size:
                expected = tuple(known.get(each, SYMBOLS[each]) for each in parameter.all_axes)
                raise ValueError(f"{said}; it must be {parameter.symbols} = {_tuple(expected)}, because {why[axis]}")
            why.setdefault(axis, said)
        if not array.size:
            raise ValueError(f"{said}; it must be {parameter.symbols} with some entries")
    if known.get("column", least) < least:
        raise ValueError(f"{why['column']}; {family!r} needs at least {least} columns")
    for name, array in whole.items():
        check_values(name, array, parameters[name].possible, parameters[name].must_be, parameters[name].all_axes)
    return whole, {name: whole[name] for name in chosen}


def finished(family: ExponentialFamily, natural: Array, arrays: dict[str, Array], used: dict[str, Array]) -> Array:
    """Return natural parameters (K, p) once they are seen to be finite and to agree with the names not used.

    Raises
    ------
    ValueError
        If they are not.
    """
    natural = np.asarray(natural, np.float64)
    fine = np.isfinite(natural).all(axis=1) & np.isfinite(checked.log_partition(family, natural))
    if not fine.all():
        k = int(np.argmin(fine))
        raise ValueError(
            f"{family!r} has no finite natural parameters for the {_listed(used)} of component {k}: they are too near "
            "to the end of their space, or too large or too small for float64"
        )
    rest = [name for name in arrays if name not in used]
    with np.errstate(all="ignore"):
        found = family.parameters(natural) if rest else {}
    for name in rest:
        value, expected = np.broadcast_arrays(arrays[name], found[name])
        with np.errstate(invalid="ignore"):
            agrees = (value == expected) | (np.abs(value - expected) <= AGREE * np.abs(expected))
        if not agrees.all():
            at = tuple(np.argwhere(~agrees)[0])
            source = f"{_listed(used)} and {family!r}" if used else repr(family)
            raise ValueError(
                f"{name} is {value[at]!s} for component {at[0]}; it must be {expected[at]:.9g}, which follows from "
                f"{source}, or be left out"
            )
    return natural


def expectation(family: ExponentialFamily, given: Mapping[str, Any]) -> Array:
    """Return expectation parameters (K, p), given by that name as (K, p), or as (p,) for one component."""
    _check_names(family, given, {"expectation": FINITE}, (("expectation",),))
    array = np.atleast_2d(_numbers("expectation", given["expectation"]))
    if array.ndim > 2 or not array.size:
        raise ValueError(f"expectation has shape {array.shape}; it must be (K, p)")
    check_values("expectation", array, np.isfinite, "finite", ("component", "statistic"))
    return array


def of_parts(family: ExponentialFamily, labels: Sequence[str], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the names given for each part, without its label in front.

    Raises
    ------
    TypeError
        If a name does not begin with the label of a part.
    """
    parts: list[dict[str, Any]] = [{} for _ in labels]
    for name, value in given.items():
        owners = [j for j, label in enumerate(labels) if name.startswith(f"{label}_")]
        if not owners:
            head, _, tail = name.partition("_")
            near = difflib.get_close_matches(head, labels, 1) if tail else []
            hint = f" (did you mean {f'{near[0]}_{tail}'!r}?)" if near else ""
            raise TypeError(
                f"{family!r} has no parameter {name!r}{hint}; names begin with the label of a part: "
                f"{', '.join(f'{label}_…' for label in labels)}"
            )
        owner = max(owners, key=lambda j: len(labels[j]))
        parts[owner][name.removeprefix(f"{labels[owner]}_")] = value
    return parts


def from_part(label: str, part: ExponentialFamily, given: Mapping[str, Any]) -> Array:
    """Return the natural parameters of a part, whose errors are told with its label."""
    try:
        return part.from_parameters(**given)
    except TypeError as error:
        raise TypeError(f"{label}_…: {error}") from error
    except ValueError as error:
        raise ValueError(f"{label}_…: {error}") from error


def check_values(name: str, array: Array, possible: Callable[[Array], Any], must_be: str, axes: Sequence[str]) -> None:
    """Raise a ValueError that names the first value outside its space, and where it stands."""
    with np.errstate(all="ignore"):
        fine = possible(array)
    if not np.all(fine):
        at = tuple(np.argwhere(~fine)[0])
        raise ValueError(f"{name} is {array[at]!s}{place(axes, at)}; it must be {must_be}")


def check_shares(name: str, shares: Array, axes: Sequence[str], tolerance: float) -> None:
    """Raise a ValueError unless shares (K, …, L) add up to 1 along the last axis, the others being ``axes``."""
    total = shares.sum(axis=-1)
    fine = np.abs(total - 1) <= tolerance
    if not fine.all():
        at = tuple(np.argwhere(~fine)[0])
        raise ValueError(f"{name} add up to {total[at]:.9g}{place(axes, at)}; they must add up to 1")


def place(axes: Sequence[str], at: Sequence[Any]) -> str:
    """Return " for component 1, column 0", or nothing where there are no axes."""
    words = ["row" if axis in axes[i + 1 :] else axis for i, axis in enumerate(axes)]
    words = ["column" if word == "variable" else word for word in words]
    shown = ", ".join(f"{word} {int(index)}" for word, index in zip(words, at, strict=True))
    return f" for {shown}" if shown else ""


# ---- the steps of reading ------------------------------------------------------------------------------------


def _listed(names: Iterable[str]) -> str:
    """Return "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _check_names(
    family: ExponentialFamily,
    given: Mapping[str, Any],
    parameters: Mapping[str, Parameter],
    sets: tuple[tuple[str, ...], ...],
) -> tuple[str, ...]:
    """Return the first set of names that is given in full."""
    needs = " or ".join(_listed(names) for names in sets if names) or "no names"
    shown = _listed(given) if given else "nothing"
    for name in given:
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            raise TypeError(f"{family!r} has no parameter {name!r}{hint}; it needs {needs}, and was given {shown}")
    for names in sets:
        if all(name in given for name in names):
            return names
    missing = min(([name for name in names if name not in given] for names in sets), key=len)
    raise TypeError(f"{family!r} needs {needs}; it was given {shown}, and {_listed(missing)} is missing")


def _numbers(name: str, value: ArrayLike) -> Array:
    """Return a new array of float64."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biufO" or any(entry is None for entry in array.flat):
            raise TypeError("no numbers")
        return np.array(array, np.float64)
    except (TypeError, ValueError) as error:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise TypeError(f"{name} is {shown}; it must be an array of numbers, with rows of the same length") from error


def _with_components(
    arrays: dict[str, Array], parameters: Mapping[str, Parameter], told: Sequence[str]
) -> dict[str, Array]:
    """Return the arrays with an axis of components, where it was left out and no other reading is possible.

    The sizes of axes that are ``told`` are known, or cannot be 1.
    """
    if all(array.ndim == 0 for array in arrays.values()):
        return {name: array.reshape((1,) * len(parameters[name].all_axes)) for name, array in arrays.items()}
    wrong = [name for name, array in arrays.items() if array.ndim != len(parameters[name].all_axes)]
    if not wrong:
        return arrays
    if any(array.ndim != len(parameters[name].axes) for name, array in arrays.items()):
        components = "one for all" if parameters[wrong[0]].shared else "with an entry for each of the K"
        raise ValueError(
            f"{wrong[0]} has shape {arrays[wrong[0]].shape}; it must be {parameters[wrong[0]].symbols}, {components} "
            "components"
        )

    def may_be_components(name: str) -> bool:  # of one column
        axes = parameters[name].axes
        distinct = bool(axes) and len(set(axes)) == len(axes)
        return distinct and axes[0] not in told and len(arrays[name]) > 1

    if all(map(may_be_components, arrays)):
        name, (n, *rest) = next((name, array.shape) for name, array in arrays.items())
        raise ValueError(
            f"{name} has shape {(n, *rest)}, which may be {n} components or {n} columns; it must be "
            f"{parameters[name].symbols}: {(n, 1, *rest)} for {n} components of one column, {(1, n, *rest)} for one "
            f"component of {n} columns"
        )
    return {name: array if parameters[name].shared else array[None] for name, array in arrays.items()}


def _tuple(entries: Sequence[Any]) -> str:
    """Return "(K, d)"."""
    return f"({', '.join(map(str, entries))}{',' if len(entries) == 1 else ''})"
