"""Families by name: those of this package, those registered in the running process, those of installed packages.

An installed package adds families by entry points of the group ``expfam_em.families``, named as the classes are. They
are imported when their name is asked for and not known yet, or when all families are listed.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from expfam_em.family.base import ExponentialFamily
from expfam_em.rows.columns import did_you_mean

Kind = TypeVar("Kind", bound=type[ExponentialFamily])

ENTRY_POINT_GROUP = "expfam_em.families"

_families: dict[str, type[ExponentialFamily]] = {}


def register(family: Kind) -> Kind:
    """Make a family class known by its name, so that files with it can be saved and loaded.

    Parameters
    ----------
    family : subclass of ExponentialFamily
        The class itself.

    Returns
    -------
    The class, so that ``@register`` works as a decorator.

    Raises
    ------
    TypeError
        If it is no subclass of ExponentialFamily.
    ValueError
        If another class is registered under the same name.
    """
    if not (isinstance(family, type) and issubclass(family, ExponentialFamily)):
        raise TypeError(f"register takes a subclass of ExponentialFamily, not {family!r}: give the class itself")
    known = _families.get(family.__name__, family)
    # a notebook cell that defines a class makes a new class each time it is run
    run_again = known.__module__ == family.__module__ == "__main__" and known.__qualname__ == family.__qualname__
    if known is not family and not run_again:
        raise ValueError(
            f"{known.__module__}.{known.__qualname__} is registered as {family.__name__!r} already: give "
            f"{family.__module__}.{family.__qualname__} another name, or files could not tell them apart"
        )
    _families[family.__name__] = family
    return family


# ---- as users spell them --------------------------------------------------------------------------------------


def dashed(name: str) -> str:
    """Return "gamma-poisson" for "GammaPoisson"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _letters(name: str) -> str:
    """Return what all spellings of a name have in common: "gammapoisson"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _spelled(name: str, known: list[str]) -> str | None:
    """Return the one of some names that a name is a spelling of; None if there is none."""
    letters = _letters(name)
    return name if name in known else next((one for one in known if _letters(one) == letters), None)


def by_name(name: str, more: Iterable[str] = ()) -> type[ExponentialFamily]:
    """Return the family of a name in any spelling: "GammaPoisson", "gamma-poisson", "gamma_poisson", "gammapoisson".

    Parameters
    ----------
    name : str
    more : names that are possible where it is given, too, and are none of families

    Raises
    ------
    ValueError
        If there is no such family; it says which are, and which one may be meant.
    """
    found = _spelled(name, list(_families)) or _spelled(name, names())  # to look at all packages takes milliseconds
    if found is None or (kind := find(found)) is None:
        listed = list(dict.fromkeys([*more, *map(dashed, sorted(names()))]))
        hint = did_you_mean(dashed(name).replace("_", "-"), listed)
        raise ValueError(f"there is no family {name!r}{hint}; the families are {', '.join(listed)}")
    return kind


def constants_of(family: type[ExponentialFamily]) -> dict[str, bool]:
    """Return the names of what the constructor of a family takes, and whether it has to be given."""
    parameters = inspect.signature(family).parameters.values()
    return {p.name: p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def _call_of(kind: type[ExponentialFamily]) -> str:
    """Return how an instance of a family is made, "Gamma()" or "Binomial(n=…)"."""
    return f"{kind.__name__}({', '.join(f'{name}=…' for name, is_needed in constants_of(kind).items() if is_needed)})"


def family_of(family: Any, what: str = "family") -> Any:
    """Return a family, or that of a name with its defaults.

    Parameters
    ----------
    family : ExponentialFamily or str
    what : str
        What it is called where it is given, for errors.

    Raises
    ------
    ValueError
        If there is no family of the name, or it needs constants.
    TypeError
        If it is neither a family nor a name, such as a class of families.
    """
    if isinstance(family, ExponentialFamily):
        return family
    if isinstance(family, type) and issubclass(family, ExponentialFamily):
        raise TypeError(f"{what} is the class {family.__name__}: give an instance of it, {_call_of(family)}")
    if not isinstance(family, str):
        raise TypeError(
            f"{what} is {family!r}; it must be an ExponentialFamily, such as families.Gaussian('full'), or the name of "
            "one, such as 'poisson'"
        )
    kind = by_name(family)
    if needed := [name for name, is_needed in constants_of(kind).items() if is_needed]:
        raise ValueError(
            f"the family {family!r} needs {', '.join(needed)}: give families.{_call_of(kind)} instead of a name"
        )
    return kind()


# ---- families of installed packages ---------------------------------------------------------------------------


def names() -> list[str]:
    """Return the names of all families, without importing anything."""
    return [*_families, *(name for name in _declared() if name not in _families)]


def find(name: str) -> type[ExponentialFamily] | None:
    """Return the family of a name, from an installed package if it is not registered; None if there is none.

    Raises
    ------
    ValueError
        If the package that has it cannot be imported, has something else under that name, or is not the only one.
    """
    if name not in _families and (found := _declared().get(name)):
        _add(name, found)
    return _families.get(name)


def registered() -> dict[str, type[ExponentialFamily]]:
    """Return all families by name; one that cannot be had from its package is left out, with a warning."""
    for name, found in _declared().items():
        try:
            _add(name, found)
        except ValueError as error:
            warnings.warn(str(error), stacklevel=2)
    return dict(_families)


def _declared() -> dict[str, list[EntryPoint]]:
    """Return the entry points by name: usually one each."""
    found: dict[str, list[EntryPoint]] = {}
    for declared in entry_points(group=ENTRY_POINT_GROUP):
        found.setdefault(declared.name, []).append(declared)
    return found


def _add(name: str, found: list[EntryPoint]) -> None:
    """Register the family of a name that has these entry points."""
    packages = " and ".join(repr("?" if declared.dist is None else declared.dist.name) for declared in found)
    if len(found) > 1:
        raise ValueError(f"the packages {packages} have a family {name!r} each: files could not tell them apart")
    try:
        family = found[0].load()
        if getattr(family, "__name__", name) != name:
            raise ValueError(f"it is a {family.__name__}, and both must have the same name")
        register(family)
    except Exception as error:  # a module may raise anything when it is imported
        raise ValueError(
            f"the family {name!r} of the package {packages}, {found[0].value}, cannot be used: "
            f"{type(error).__name__}: {error}"
        ) from error
