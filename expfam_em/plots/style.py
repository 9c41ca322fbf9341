"""What all pictures share: colours, axes, titles and words."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.rows.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours that stand out on white, apart from one another under every colour blindness."""

MORE_COLOURS = ("#882255", "#8C6D31", "#B8B800", "#332288", "#F08080", "#117733", "#9467BD", "#4D4D4D", "#2ED9C3")
"""Further colours for more components. They have numbers too, for no fifteen colours are told apart by everybody."""

INK, FAINT = "#222222", "#888888"


def component_colours(n_components: int, *, noise: bool = False) -> Array:
    """Return one colour for each component, (K, 3), and with ``noise`` grey behind them.

    Parameters
    ----------
    n_components : int
        Number of components K.
    noise : bool
        Whether a component of noise follows them.
    """
    pyplot()
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    known = np.array([to_rgb(colour) for colour in PALETTE + MORE_COLOURS])
    further = colormaps["viridis"](np.linspace(0, 0.95, max(n_components - len(known), 0)))[:, :3]
    grey = np.array([to_rgb(FAINT)] * noise).reshape(-1, 3)
    return np.concatenate([known[:n_components], further, grey])


def pyplot() -> Any:
    """Return matplotlib.pyplot, or say how it is installed."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "expfam_em[plot]"') from error
    return plt


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6, 4.2)) -> Axes:
    """Return the axes without the lines at the top and on the right; those of a new figure where none are given."""
    if ax is None:
        _, ax = pyplot().subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def title(ax: Axes, sentence: str, **style: Any) -> None:
    """Say above a picture what it shows."""
    ax.set_title(sentence, loc="left", fontsize="medium", **style)


def plain(name: str, width: int = 40) -> str:
    """Return a name as it is, in lines of at most ``width`` characters: its dollars begin no formula."""
    return textwrap.fill(name, width).replace("$", r"\$")


def ink(colour: Array) -> tuple[float, ...]:
    """Return a darker form of a colour, for lines and words over marks of that colour."""
    return tuple(0.72 * np.asarray(colour))


def label(ax: Axes, text: str, where: Any, colour: Any, **style: Any) -> None:
    """Write words at a place, with a white border so that they can be read over marks."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    style = {"fontsize": "small", "ha": "center", "va": "center", **style}
    ax.annotate(text, where, color=colour, path_effects=halo, annotation_clip=False, **style)


def steps(n: int) -> str:
    """Return a number of iterations in words."""
    return f"{n} iteration" + ("" if n == 1 else "s")
