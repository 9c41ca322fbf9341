"""The picture that suits a fitted model, whatever its columns are: what `plot` of an estimator draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expfam_em.families.counts import Bernoulli
from expfam_em.plots.clusters import draw, seen_by
from expfam_em.plots.profiles import draw_profiles, levels_of
from expfam_em.plots.style import axes_or_new, plain, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PAIRS = 6
"""Columns of which every pair is drawn; more are drawn as profiles."""

NAME_WIDTH = 22
"""Characters of a name in a line beside a picture of a pair."""


def plot_model(
    estimator: Any, X: Any, *, columns: Sequence[int | str] | int | str | None = None, ax: Axes | None = None
) -> Axes | NDArray[Any]:
    """Draw what suits a fitted estimator: `model.plot(X)`.

    One column gives a histogram with densities, two a scatter plot with contours, up to six every pair of columns.
    More columns, labels and 0/1 columns are drawn as profiles.

    Parameters
    ----------
    estimator : fitted estimator
        Of a mixture, or k-means.
    X : (n, d)
        Rows.
    columns : names or numbers, or one of them, optional
        Those to draw, with a marginal density where the family has one.
    ax : Axes, optional
        Where to draw one picture; by default a figure of its own.

    Returns
    -------
    Axes, or an array (m, m) of them for pairs of m columns

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If a column is not there, or pairs of columns are to be drawn into one pair of axes.
    """
    seen = seen_by(estimator, X)
    labels = levels_of(estimator)
    binary = isinstance(getattr(estimator.mixture_, "family", None), Bernoulli)
    if columns is None and (labels or binary or len(seen.names) > MOST_PAIRS):
        return draw_profiles(seen, labels, ax)
    if columns is None:
        columns = range(len(seen.names))
    elif isinstance(columns, (str, Integral)):
        columns = [columns]
    elif not isinstance(columns, Iterable) or not len(columns := list(columns)):
        raise ValueError(f"columns is {columns!r}; it must be names or numbers of columns, as in [0, 1]")
    chosen = [_place(column, seen.names) for column in columns]
    names = [seen.names[j] for j in chosen]
    if len(chosen) <= 2:
        return draw(seen, chosen, list(map(plain, names)), axes_or_new(ax))
    if ax is not None:
        raise ValueError(f"{len(chosen)} columns are drawn in pairs, which need a figure of their own: leave out ax")
    return _pairs(seen, chosen, names)


def _place(column: int | str, names: Sequence[str]) -> int:
    """Return the number of a column."""
    if isinstance(column, str):
        if column not in names:
            raise ValueError(f"no column is named {column!r}; the columns are {', '.join(names)}")
        return list(names).index(column)
    if not isinstance(column, Integral):
        raise ValueError(f"columns has {column!r}; it must have names or numbers of columns, as in [0, 1]")
    if not 0 <= column < len(names):
        raise ValueError(f"column {column} is not there; X has {len(names)} columns")
    return int(column)


def _pairs(seen: Any, chosen: Sequence[int], names: Sequence[str]) -> NDArray[Any]:
    m = len(chosen)
    _, axes = pyplot().subplots(m, m, figsize=(2.1 * m + 0.6, 1.9 * m + 0.4), layout="constrained", sharex="col")
    for i, j in np.ndindex(m, m):
        ax = axes[i, j]
        if j > i:
            ax.set_axis_off()
            continue
        which = [chosen[i]] if i == j else [chosen[j], chosen[i]]
        draw(seen, which, [""] * len(which), axes_or_new(ax))
        ax.set_title("", loc="left")
        for text in list(ax.texts):
            text.remove()  # too small to be read
        ax.set_ylabel(plain(names[i], NAME_WIDTH) if j == 0 and i > 0 else "")
        ax.set_xlabel(plain(names[j], NAME_WIDTH) if i == m - 1 else "")
        if i == j:
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
    K = seen.r.shape[1] - seen.noise
    kind = "cluster" if seen.mixture is None else "component"  # of k-means there is no mixture
    words = f"{len(seen.r):,} rows, {K} {kind}{'s' * (K != 1)}{' and noise' * seen.noise}"
    axes[0, 0].set_title(words, loc="left", fontsize="medium")
    return axes
