"""What the command line can fit, by name: estimators with a name of their own, and every family."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from typing import Any

from expfam_em.estimators import BernoulliMixture, ExponentialFamilyMixture, GaussianMixture, KMeans
from expfam_em.estimators.generic import AUTO
from expfam_em.families import Componentwise, Product
from expfam_em.family import registry
from expfam_em.family.base import ExponentialFamily

COMPOSED = (Product, Componentwise)
"""Families made of families, which no option can say."""

OWN = {"gaussian": GaussianMixture, "bernoulli": BernoulliMixture, "kmeans": KMeans}
"""Estimators with a name of their own."""


def describe() -> dict[str, str]:
    """Return what each name stands for, in a few words; every family is imported."""
    found = registry.registered().items()
    families = {registry.dashed(name): family for name, family in found if not inspect.isabstract(family)}
    choices = OWN | {name: families[name] for name in sorted(families) if name not in OWN}
    said = {name: _sentence(choice) + _note(choice) for name, choice in choices.items()}
    return said | {AUTO: "A family for each column, by its values"}


def _sentence(choice) -> str:
    """Return what a docstring says first, before any formula."""
    return " ".join(re.split(r"[.:]\s|\.?\s*(?:\n\s*\n|$)", inspect.getdoc(choice) or "")[0].split())


def _note(choice) -> str:
    if not issubclass(choice, ExponentialFamily):
        return ""
    if issubclass(choice, COMPOSED):
        return " (in Python only)"
    known = registry.constants_of(choice)
    needed, free = (", ".join(name for name in known if known[name] is wanted) for wanted in (True, False))
    says = ([f"needs {needed}"] if needed else []) + ([f"{free} may be given"] if free else [])
    return f" ({'; '.join(says)})" if says else ""


def _choice(name: str) -> Any:
    """Return the estimator or family of a name; only the package that has it is imported."""
    return OWN.get(registry.dashed(name)) or registry.by_name(name, OWN)


def spellings(incomplete: str) -> list[str]:
    """Return the names that begin so, as a shell completes them."""
    return sorted(name for name in {AUTO, *OWN, *map(registry.dashed, registry.names())} if name.startswith(incomplete))


# ---- making them ----------------------------------------------------------------------------------------------


def make_estimator(name: str, components: int, options: dict[str, Any], constants: dict[str, Any]):
    """Return the estimator of a name, with those of its options that are not None.

    Raises
    ------
    ValueError
        If there is no such name, option or constant, or a constant is missing or wrong.
    """
    if name == AUTO:
        choice: Any = ExponentialFamilyMixture
        options = options | {"family": AUTO}
    else:
        choice = _choice(name)
    wrapped = issubclass(choice, ExponentialFamily)
    kind: Any = ExponentialFamilyMixture if wrapped else choice
    accepted = inspect.signature(kind).parameters
    given = {option: value for option, value in options.items() if value is not None}
    if wrapped:  # --covariance-type may be a constant of the family
        mine = [option for option in given if option not in accepted and option in registry.constants_of(choice)]
        constants = constants | {option: given.pop(option) for option in mine}
    elif constants:
        raise ValueError(f"the family {name} has no constants, but options: see `expfam-em fit --help`")
    if unfit := [f"--{option.replace('_', '-')}" for option in given if option not in accepted]:
        raise ValueError(f"the family {name} has no option {', '.join(unfit)}")
    if "n_clusters" in accepted:
        return kind(n_clusters=components, **given)
    if wrapped:
        return kind(_make_family(name, choice, constants), components, **given)
    return kind(n_components=components, **given)


def family_of(name: str, constants: dict[str, Any]) -> Any:
    """Return the family of a name, or of module:Class, with its constants.

    Raises
    ------
    ValueError
        If there is no such family or constant, or a constant is missing or wrong.
    """
    module, colon, kind = name.partition(":")
    if not colon:
        choice: Any = registry.by_name(name, OWN)
    else:
        sys.path.insert(0, os.getcwd())
        choice = getattr(importlib.import_module(module), kind, None)
    if not (isinstance(choice, type) and issubclass(choice, ExponentialFamily)):
        raise ValueError(f"{name} is no family of distributions")
    return _make_family(name, choice, constants)


def _make_family(name, family, constants):
    if issubclass(family, COMPOSED):
        raise ValueError(f"the family {name} is made of other families, which can only be given in Python")
    known = registry.constants_of(family)
    if unknown := [constant for constant in constants if constant not in known]:
        raise ValueError(f"the family {name} has no constant {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    if missing := [constant for constant, needed in known.items() if needed and constant not in constants]:
        raise ValueError(f"the family {name} needs {', '.join(missing)}: give --constant {missing[0]}=VALUE")
    try:
        return family(**constants)
    except TypeError as error:  # of a value of another type than the family expects
        raise ValueError(f"the family {name} cannot be made with {constants}: {error}") from error


def parse_column_families(pairs: list[str] | None, family: str) -> dict[str, str | None]:
    """Return {"age": "gaussian", "name": None} for "age=gaussian" and "name=none".

    Raises
    ------
    ValueError
        If one has no column or no family, or families of columns are not chosen by their values.
    """
    if pairs and family != AUTO:
        raise ValueError(f"--column-family is for --family auto, and the family is {family}")
    found: dict[str, str | None] = {}
    for pair in pairs or []:
        column, equals, name = (part.strip() for part in pair.rpartition("="))
        if not (column and equals and name):
            raise ValueError(f"--column-family takes COLUMN=FAMILY, as in age=gaussian, not {pair!r}")
        found[column] = None if name == "none" else name
    return found


def parse_constants(constants: list[str] | None) -> dict[str, Any]:
    """Return {"shape": 2} for "shape=2", {"n": (3, 5)} for "n=3,5" and {"kind": "diag"} for "kind=diag".

    Raises
    ------
    ValueError
        If one has no name or no value.
    """
    values = {}
    for constant in constants or []:
        name, equals, text = (part.strip() for part in constant.partition("="))
        if not (name and equals and text):
            raise ValueError(f"--constant takes NAME=VALUE, as in shape=2, not {constant!r}")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values
