"""Whether two families are the same up to their coordinates."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Hashable
from numbers import Number, Real
from typing import Any

import numpy as np

from expfam_em.family.base import ExponentialFamily
from expfam_em.family.optional import Framed, same_order


def constants(family: ExponentialFamily) -> dict[str, Any]:
    """Return the structural constants of a family by name, without what it has computed from them."""
    kind = type(family)
    return {
        name: value
        for name, value in vars(family).items()
        if not isinstance(getattr(kind, name, None), functools.cached_property)
    }


def snapshot(family: ExponentialFamily) -> dict[str, Any]:
    """Return copies of the structural constants, which later changes in place do not reach."""
    found = constants(family)
    for name, value in found.items():
        with contextlib.suppress(Exception):  # a lock or an open file may raise anything; it is compared by identity
            found[name] = copy.deepcopy(value)
    return found


def alike(one: ExponentialFamily, other: ExponentialFamily) -> bool:
    """Return whether two families have the same statistics and densities; their coordinates may differ.

    A constant that is None has not been found yet, by ``bind``: it agrees with any. A number stands for all columns.
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    mine, its = constants(one), constants(other)
    names = (mine.keys() | its.keys()) - {*one.incidental, "constraint"}
    if not same_order(one, other):
        return False
    pairs = ((mine.get(name), its.get(name)) for name in names)
    return all(a is None or b is None or equal(a, b) or _one_for_all(a, b) or _one_for_all(b, a) for a, b in pairs)


def _one_for_all(one: Any, other: Any) -> bool:
    """Whether one constant is a number, and the other the same number for each column."""
    if not _is_number(one) or _is_number(other) or not isinstance(other, (tuple, np.ndarray)):
        return False
    return len(other) > 0 and all(isinstance(each, Real) and bool(each == one) for each in other)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0)


def equal(one: Any, other: Any) -> bool:
    """Return whether two constants are the same: numbers, arrays, families, or lists, tuples and dicts of them."""
    if one is other:
        return True
    if isinstance(one, ExponentialFamily) and isinstance(other, ExponentialFamily):
        return alike(one, other)
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        one, other = np.asarray(one), np.asarray(other)
        kind = one.dtype.kind
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=kind in "fc")
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if type(one).__eq__ is object.__eq__ and hasattr(one, "__dict__") and not callable(one):
        return equal(vars(one), vars(other))
    return bool(one == other)


def fingerprint(value: Any) -> Hashable:
    """Return a value that is equal for families whose fits to the same rows are the same, up to rounding."""
    if isinstance(value, ExponentialFamily):
        skipped = value.coordinates if isinstance(value, Framed) else ()
        return type(value), fingerprint({name: it for name, it in constants(value).items() if name not in skipped})
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, (list, tuple)):
        return type(value), *map(fingerprint, value)
    if isinstance(value, dict):
        return tuple(sorted(((repr(key), fingerprint(it)) for key, it in value.items()), key=lambda pair: pair[0]))
    return value if isinstance(value, (str, Number, type(None))) else id(value)
