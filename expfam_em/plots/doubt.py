"""Pictures of how sure it is where rows belong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.plots.clusters import seen_by
from expfam_em.plots.style import axes_or_new, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIPS = 1000
"""Strips of a picture of responsibilities at the most: of more rows, each strip is the mean of some."""

NAMED = 0.03
"""Share of the rows from which on a component has its number above its strips."""

DOUBTFUL = 0.1
"""An uncertainty above this is counted in the title."""


def plot_responsibilities(estimator: Any, X: Any, ax: Axes | None = None) -> Axes:
    """Draw the responsibilities of each row as a strip in the colours of the components.

    Rows are sorted by their most probable component, and within it by how probable that is.

    Parameters
    ----------
    estimator : fitted estimator
        Of a mixture, or k-means.
    X : (n, d)
        Rows.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    seen = seen_by(estimator, X)
    r = seen.r
    labels, largest = r.argmax(axis=1), r.max(axis=1)
    r = r[np.lexsort((-largest, labels))]
    edges = np.unique(np.linspace(0, len(r), min(len(r), STRIPS) + 1).astype(int))
    strips = np.add.reduceat(r, edges[:-1]) / np.diff(edges)[:, None]
    ax = axes_or_new(ax, (7, 3.2))
    base, colours = np.zeros(len(strips)), seen.colours
    for k, colour in enumerate(colours):
        ax.bar(edges[:-1], strips[:, k], np.diff(edges), base, align="edge", color=colour, linewidth=0, rasterized=True)
        base = base + strips[:, k]
    ax.set(xlim=(0, len(r)), ylim=(0, 1), xlabel="rows, by component", ylabel="responsibility")
    inside = np.bincount(labels, minlength=r.shape[1])
    middle = np.cumsum(inside) - inside / 2
    for i in np.flatnonzero(inside >= NAMED * len(r)):
        name = "noise" if seen.noise and i == r.shape[1] - 1 else f"{i}"
        ax.text(middle[i], 1.02, name, ha="center", va="bottom", color=colours[i], weight="bold")
    title(ax, f"The largest responsibility is {np.mean(largest):.1%} on average", pad=18)
    return ax


def plot_uncertainty(estimator: Any, X: Any, ax: Axes | None = None) -> Axes:
    """Draw the uncertainty 1 − max_k r_nk of each row, sorted, in the colours of the components.

    Parameters
    ----------
    estimator : fitted estimator of a mixture
        One with ``predict_proba``.
    X : (n, d)
        Rows.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    seen = seen_by(estimator, X)
    r = seen.r
    uncertainty = 1 - r.max(axis=1)
    order = np.argsort(uncertainty)
    ax = axes_or_new(ax, (6, 3.6))
    colours = seen.colours[r.argmax(axis=1)]
    ax.scatter(np.arange(len(r)) + 1, uncertainty[order], c=colours[order], s=9, linewidths=0, rasterized=len(r) > 5000)
    ax.set(xlabel="rows, most certain first", ylabel="uncertainty, 1 − largest responsibility", ylim=(0, None))
    title(ax, f"{np.sum(uncertainty > DOUBTFUL):,} of {len(r):,} rows have an uncertainty above {DOUBTFUL:g}")
    return ax
