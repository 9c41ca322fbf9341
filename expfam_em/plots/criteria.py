"""Pictures of a choice among models and numbers of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.plots.style import FAINT, INK, PALETTE, axes_or_new, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN_REACH = 3.0
"""How far above the best fit a picture of criteria goes, in units of the distance of the median fit."""


def plot_criteria(selection: Any, criterion: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw a criterion against the number of components, one line for each model; the best fit has a ring.

    Parameters
    ----------
    selection : Selection
        What `select` has returned.
    criterion : str, optional
        That of the selection by default.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If there is no such criterion.
    """
    name = criterion or selection.criterion
    if name in ("log_likelihood", "n_parameters", "relative_entropy"):
        raise ValueError(f"criterion is {name!r}; it must be one of which less is better, such as 'bic'")
    values = selection.values(name)
    ax = axes_or_new(ax)
    from matplotlib.ticker import MaxNLocator

    K, best = np.array(selection.n_components), np.nanmin(values, axis=1)
    order = np.argsort(best)  # NaN comes last
    coloured = order[: len(PALETTE)] if len(order) > len(PALETTE) else np.arange(len(order))
    for i in order[::-1]:
        at = np.flatnonzero(i == coloured)
        style: Any = {"color": PALETTE[at[0]], "linewidth": 1.4} if at.size else {"color": FAINT, "linewidth": 0.6}
        ax.plot(K, values[i], marker="o", markersize=3.5 if at.size else 2, **style)
    i, j = np.unravel_index(np.nanargmin(values), values.shape)
    ax.plot(K[j], values[i, j], "o", markersize=10, markerfacecolor="none", markeredgecolor=INK)
    handles = [ax.plot([], [], color=PALETTE[at], marker="o", markersize=3.5)[0] for at in range(len(coloured))]
    names = [selection.models[i] for i in coloured]
    if len(order) > len(coloured):
        handles, names = [*handles, ax.plot([], [], color=FAINT, linewidth=0.6)[0]], [*names, "others"]
    ax.legend(handles, names, frameon=False, fontsize="small", ncols=2)
    near = values[coloured][np.isfinite(values[coloured])]
    reach = max(DRAWN_REACH * (np.median(near) - near.min()), 1e-6 * abs(near.min()))
    ax.set_ylim(near.min() - 0.1 * reach, min(near.min() + reach, near.max()) + 0.3 * reach)
    ax.set(xlabel="number of components K", ylabel=f"{name.upper().replace('_', ' ')}, lower is better")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    title(ax, f"Lowest for {selection.models[i]} with {K[j]} components: {values[i, j]:.2f}")
    return ax
