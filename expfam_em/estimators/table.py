"""Estimates of a mixture as a tidy table, with columns and levels by name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.analysis.uncertainty import StandardErrors
from expfam_em.estimators.held import with_names_of_noise
from expfam_em.estimators.shell import output_kind
from expfam_em.family.entries import Entry, entries_of
from expfam_em.rows.columns import Column, decoded

if TYPE_CHECKING:
    from expfam_em.estimators.base import BaseMixture
    from expfam_em.values.mixture import Mixture


def entries_of_model(model: BaseMixture) -> dict[str, Any]:
    """Return what each number of the estimates is of, under the names that the estimator has for them."""
    mixture = model.mixture_
    of = entries_of(mixture.family, mixture.parameters, model._columns(), mixture.n_components)
    return _called(of, mixture.family, model.noise)


def records(model: BaseMixture, errors: StandardErrors | None, level: float) -> list[dict[str, Any]]:
    """Return a dict for each number of the estimates; with standard errors and intervals where there are some."""
    mixture = model.mixture_
    noise, family = model.noise, mixture.family
    tables = [{"weights": mixture.weights, **mixture.parameters}]
    if errors is not None:
        ends = errors.intervals(level)
        tables += [errors.errors, *({name: end[i] for name, end in ends.items()} for i in (0, 1))]
    tables = [_called(one, family, noise) for one in tables]
    entries = entries_of_model(model)
    titles = ("estimate", "standard_error", "lower", "upper")[: len(tables)]
    found = []
    for name, of in entries.items():
        for at in np.ndindex(of.shape):
            if (entry := of[at]) is None:
                continue
            numbers = {title: float(table[name][at]) for title, table in zip(titles, tables, strict=True)}
            for k in range(mixture.n_components) if entry.component is None else [entry.component]:
                component = int(model._shown(np.array([k]))[0])
                head = {"parameter": name, "component": component, "column": entry.column, "level": entry.level}
                found.append(head | numbers)
    return found


def _called(named: dict[str, Any], family: Any, noise: str | None) -> dict[str, Any]:
    """Return weights and named parameters as the estimator calls them."""
    parameters = {name: value for name, value in named.items() if name != "weights"}
    return {"weights": named["weights"], **with_names_of_noise(parameters, family, noise)}


def with_names_of_levels(model: BaseMixture, mixture: Mixture, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return named parameters with the labels themselves as the levels of columns whose labels are coded."""
    if "levels_" not in vars(model):
        return parameters
    entries, columns, K = {}, model._columns(), mixture.n_components
    for name, value in mixture.parameters.items():
        if name.endswith("probabilities"):
            of = mixture.family._entries(name, np.shape(value), columns, K)
            entries[name.removesuffix("probabilities") + "levels"] = np.vectorize(_level, otypes=[object])(of)
    found = with_names_of_noise(entries, mixture.family, model.noise)
    return parameters | {name: value for name, value in found.items() if name in parameters}


def _level(entry: Entry | None) -> str:
    return "" if entry is None else entry.level


def frame_of(values: Any, model: Any = None) -> Any:
    """Return records, or columns by name, as a frame of the library that `set_output` names.

    By default it is one of pandas if that is installed, or else what was given.
    """
    kind = output_kind(model)
    try:
        library = importlib.import_module("pandas" if kind == "default" else kind)
    except ImportError:
        if kind != "default":
            raise
        return values
    return library.DataFrame(values)


def columns_of(X: Any, columns: list[Column]) -> dict[str, Any]:
    """Return rows as columns by name, with labels where they are codes."""
    return {column.name: decoded(X[:, j], column) for j, column in enumerate(columns)}
