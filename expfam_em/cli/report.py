"""Fits as tables of text, as wide as the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from expfam_em.family.entries import entries_of

MOST_ENTRIES, MOST_COLUMNS = 60, 4
"""Entries of a parameter that are shown, and columns of matrices of which all entries are."""

UNLIMITED = 100_000
"""Characters of a line where there is no terminal."""


def in_blocks(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, the first of which are headings, as text; columns that find no room go below the others.

    The first column is repeated, and flush left; a row with one cell is a heading of those below it.
    """
    width = shutil.get_terminal_size((UNLIMITED, 24)).columns
    titles, n = max(len(line[0]) for line in lines), max(map(len, lines))
    sizes = [max(len(line[j]) for line in lines if len(line) > j) for j in range(1, n)]
    blocks: list[list[int]] = [[]]
    for j, size in enumerate(sizes, 1):
        used = titles + sum(2 + sizes[i - 1] for i in blocks[-1])
        if blocks[-1] and used + 2 + size > width:
            blocks.append([])
        blocks[-1].append(j)
    texts = []
    for block in blocks:
        cells = [
            [line[0].ljust(titles), *(line[j].rjust(sizes[j - 1]) for j in block if j < len(line))] for line in lines
        ]
        texts.append("\n".join("  ".join(row).rstrip() for row in cells))
    return "\n\n".join(texts)


def of_components(estimator: Any, weights: Any, names: Sequence[str]) -> str:
    """Return the parameters of a mixture as a table: a row for each entry, a column for each component."""
    mixture = estimator.mixture_
    each, shared = _by_component(mixture)
    if hasattr(estimator, "cluster_centers_"):  # its variances are equal by decree
        each, shared = {"means": estimator.cluster_centers_}, {}
    lines = [["component", *map(str, range(mixture.n_components))], ["weight", *(f"{w:.4f}" for w in weights)]]
    columns = [column._replace(name=name) for column, name in zip(estimator._columns(), names, strict=True)]
    of = entries_of(mixture.family, {**each, **shared}, columns, mixture.n_components)
    for name, values in each.items():
        lines += _entries(name, values, of[name][0], names)
    text = in_blocks(lines)
    for name, values in shared.items():
        found = [*_entries("", values[None], of[name], names)]
        text += "\n\n" + in_blocks([[f"{name}, all components"], *found]) if found else ""
    return text


def of_pairs(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and what they are, one in a line."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in pairs)


def of_selection(found: Any) -> str:
    """Return the criterion of each model and number of components as a table."""
    digits = 4 if found.criterion == "nec" else 2
    lines = [["components", *map(str, found.n_components)]]
    for name, line in zip(found.models, found.values(), strict=True):
        lines.append([name, *("–" if np.isnan(value) else f"{value:.{digits}f}" for value in line)])
    return in_blocks(lines)


def _by_component(mixture) -> tuple[dict, dict]:
    """Split the named parameters into those of each component and those that all share."""
    once, twice = (mixture.components([0] * n).parameters for n in (1, 2))
    named = {name: np.asarray(value) for name, value in mixture.parameters.items()}
    shared = {name: value for name, value in named.items() if np.shape(once[name]) == np.shape(twice[name])}
    return {name: value for name, value in named.items() if name not in shared}, shared


def _entries(name: str, values: Any, of: Any, names: Sequence[str]) -> Iterator[list[str]]:
    """Give the lines of a parameter, whose values are (K, …), and what one component's are of, (…)."""
    if values.ndim == 1:
        yield [name, *map(shown, values)]
        return
    index = [at for at in np.ndindex(of.shape) if of[at] is not None]
    if not index:  # constants, such as labels
        return
    if name:
        yield [name]
    is_matrix = of.shape == (len(names), len(names)) and not any(of[at].level for at in index)
    more = ""
    if is_matrix and len(names) > MOST_COLUMNS:
        index, more = [(i, i) for i in range(len(names))], "  … the diagonal; the model file has all"
    if len(index) > MOST_ENTRIES:
        index, more = index[:MOST_ENTRIES], f"  … {len(index) - MOST_ENTRIES} more; the model file has all"
    for at in index:
        title = names[at[0]] if is_matrix and at[0] == at[1] else " = ".join(filter(None, of[at][1:3]))
        yield [f"  {title}", *map(shown, values[:, *at])]
    if more:
        yield [more]


def shown(value: Any) -> str:
    """Return a number in a few characters."""
    value = np.asarray(value)
    return f"{value:.4g}" if value.dtype.kind in "biuf" else str(value)
