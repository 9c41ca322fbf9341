"""Fits as tables of text, as wide as the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from expfam_em.rows.columns import Column

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
    levels = each.pop("levels", shared.pop("levels", None))
    levels = None if levels is None else np.asarray(levels).reshape(-1, *np.shape(levels)[-2:])[0]
    lines = [["component", *map(str, range(mixture.n_components))], ["weight", *(f"{w:.4f}" for w in weights)]]
    columns, K = [Column(name) for name in names], mixture.n_components
    for name, values in each.items():
        of = mixture.family._entries(name, np.shape(values), columns, K)[0] if np.ndim(values) == 2 else None
        lines += _entries(name, np.asarray(values), names, levels, of)
    text = in_blocks(lines)
    for name, values in shared.items():
        text += "\n\n" + in_blocks(
            [[f"{name}, all components"], *_entries("", np.asarray(values)[None], names, levels)]
        )
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


def _entries(name, values, names, levels, of=None) -> Iterator[list[str]]:
    """Give the lines of a parameter, whose values are (K, …)."""
    if values.ndim == 1:
        yield [name, *map(shown, values)]
        return
    if name:
        yield [name]
    index = list(np.ndindex(values.shape[1:]))
    d, more = len(names), ""
    if values.shape[1:] == (d, d):
        index = [(i, j) for i, j in index if j <= i and (d <= MOST_COLUMNS or i == j)]
        more = "" if d <= MOST_COLUMNS else "  … the diagonal; the model file has all"
    if len(index) > MOST_ENTRIES:
        index, more = index[:MOST_ENTRIES], f"  … {len(index) - MOST_ENTRIES} more; the model file has all"
    for at in index:
        if levels is not None and np.shape(levels) == values.shape[1:] and levels[at] < 0 and not values[:, *at].any():
            continue  # a column with fewer levels than others
        known = "" if of is None else of[at].column  # of a family of some of the columns
        title = known if known and not of[at].level else _title(at, values.shape[1:], names, levels)
        yield [f"  {title}", *map(shown, values[:, *at])]
    if more:
        yield [more]


def _title(at, shape, names, levels) -> str:
    d = len(names)
    if shape == (d, d):
        return names[at[0]] if at[0] == at[1] else f"{names[at[0]]}, {names[at[1]]}"
    if shape[0] != d:
        return ", ".join(map(str, at))
    if len(at) == 2 and levels is not None and np.shape(levels) == shape:
        return f"{names[at[0]]} = {shown(levels[at])}"
    return ", ".join([names[at[0]], *map(str, at[1:])])


def shown(value: Any) -> str:
    """Return a number in a few characters."""
    value = np.asarray(value)
    return f"{value:.4g}" if value.dtype.kind in "biuf" else str(value)
