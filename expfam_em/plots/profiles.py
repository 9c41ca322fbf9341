"""Pictures of what components are like: a table in colours, or images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expfam_em.plots.clusters import Seen, centres_of, seen_by
from expfam_em.plots.style import FAINT, INK, axes_or_new, plain, pyplot, title
from expfam_em.rows.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PROFILED = 40
"""Columns, or levels of them, of a picture of profiles; of more, those are drawn in which components differ most."""

MOST_ACROSS, LONGEST_ACROSS = 12, 20
"""Columns that stand beside one another, and characters of their names; more, and longer ones, go down."""

Levels = dict[int, dict[str, list[float]]]

WRITTEN = 400
"""Cells of a picture of profiles in which numbers can still be read."""

FULL_COLOUR = 2.0
"""Standard deviations from the mean of all rows at which the colour of a profile is full."""


def plot_prototypes(
    probabilities: ArrayLike, shape: tuple[int, int], weights: ArrayLike | None = None, axes: ArrayLike | None = None
) -> NDArray[Any]:
    """Draw the probabilities of each component of a Bernoulli mixture as an image, black for 1.

    Parameters
    ----------
    probabilities : (K, d)
        Of a 1 in each pixel.
    shape : (rows, columns)
        Of the image, with product d.
    weights : (K,), optional
        Mixing weights, written above the images.
    axes : array of at least K Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    (K,) array of Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        If the shapes disagree.
    """
    probabilities = np.atleast_2d(np.asarray(probabilities, np.float64))
    K, d = probabilities.shape
    if d != np.prod(shape):
        raise ValueError(f"an image of shape {tuple(shape)} has {np.prod(shape)} pixels; probabilities has {d} columns")
    shares: Any = weights
    if shares is not None and len(shares) != K:
        raise ValueError(f"{len(shares)} weights are given for {K} prototypes")
    images: Any = _image_grid(K, shape) if axes is None else np.ravel(np.asarray(axes, object))
    if len(images) < K:
        raise ValueError(f"{len(images)} axes are given for {K} prototypes")
    for k, ax in enumerate(images[:K]):
        ax.imshow(probabilities[k].reshape(shape), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color(FAINT)
        if shares is not None:
            ax.set_title(f"π = {shares[k]:.3f}", fontsize="small", pad=3)
    return images[:K]


def _image_grid(K: int, shape: tuple[int, int]) -> NDArray[Any]:
    columns = min(K, 10)
    rows = -(-K // columns)
    size = (1.1 * columns, 1.1 * rows * shape[0] / shape[1] + 0.3 * rows)
    _, axes = pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for unused in axes.flat[K:]:
        unused.set_axis_off()
    return axes.ravel()


class Cells(NamedTuple):
    """A column of a picture of profiles, or several: one for each level."""

    names: list[str]
    values: Array
    """(K, m). What is written."""
    colour: Array
    """(K, m). From −1 to 1."""


def plot_profiles(estimator: Any, X: Any, ax: Axes | None = None) -> Axes:
    """Draw what each component is like as a table in colours, whatever the columns are.

    Numbers are the mean of the rows of a component, weighted by the responsibilities. Their colour says how many
    standard deviations it is above (red) or below (blue) the mean of all rows. Labels have a cell for each level, with
    its probability as the mean. Missing values do not count. Of more than 40 columns, those are drawn in which the
    components differ most.

    Parameters
    ----------
    estimator : fitted estimator
        Of a mixture, or k-means.
    X : (n, d)
        The rows of the fit.
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
    return draw_profiles(seen_by(estimator, X), levels_of(estimator), ax)


def draw_profiles(seen: Seen, levels: Levels, ax: Axes | None) -> Axes:
    """Draw profiles of rows, some columns of which have levels."""
    groups = _cells(seen, levels)
    names = [plain(name) for group in groups for name in group.names]
    values, colour = (np.concatenate([group[i] for group in groups], axis=1) for i in (1, 2))
    share = seen.r.mean(axis=0)
    said = "Means by component; red is above all rows"
    if (m := len(names)) > MOST_PROFILED:
        differ = np.argsort(-(share @ np.nan_to_num(colour) ** 2), kind="stable")[:MOST_PROFILED]
        kept = np.sort(differ)
        names, values, colour = [names[j] for j in kept], values[:, kept], colour[:, kept]
        said += f";\nthe {MOST_PROFILED} of {m:,} columns that differ most"
    order = np.argsort(-share)
    called = ["noise" if seen.noise and k == len(share) - 1 else f"{k}" for k in order]
    components = [f"{name} ({share[k]:.0%})" for name, k in zip(called, order, strict=True)]
    down = len(names) > MOST_ACROSS or max(map(len, names)) > LONGEST_ACROSS
    ax = axes_or_new(ax, _size(len(components), names, down))
    _table(ax, values[order], colour[order], names, components, down)
    title(ax, said)
    return ax


def _size(K: int, names: Sequence[str], down: bool) -> tuple[float, float]:
    if down:
        return 0.5 + 0.08 * min(max(map(len, names)), 40) + max(4.2, 0.75 * K), 1.4 + 0.24 * len(names)
    return max(5.0, 1.2 + 0.62 * len(names)), 2.0 + 0.42 * K


def _table(ax: Axes, values: Array, colour: Array, names: Sequence[str], components: Sequence[str], down: bool) -> None:
    """Draw cells, components below one another, or beside one another where columns go ``down``."""
    if down:
        values, colour = values.T, colour.T
    ax.imshow(colour, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    across, beside = (components, names) if down else (names, components)
    turned: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(len(across)), across, **({} if down and len(across) <= 8 else turned))
    ax.set_yticks(range(len(beside)), beside)
    ax.set(**{"xlabel" if down else "ylabel": "component"})
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    for i, j in np.ndindex(values.shape) if values.size <= WRITTEN else ():
        white = abs(colour[i, j]) > 0.7
        ax.text(j, i, _short(float(values[i, j])), ha="center", va="center", fontsize="small",
                color="white" if white else INK)  # fmt: skip


def _cells(seen: Seen, levels: Levels) -> list[Cells]:
    """Return the cells of each column of the rows, in their order."""
    means, found = centres_of(seen.X, seen.r), []
    for j, name in enumerate(seen.names):
        if of := levels.get(j):
            shares = np.array(list(of.values())).T
            whole = seen.r.mean(axis=0) @ shares
            deviation = np.sqrt(whole * (1 - whole))
            found.append(Cells([f"{name}: {level}" for level in of], shares, _from_mean(shares, whole, deviation)))
            continue
        x, of_components = seen.X[:, j], means[:, [j]]
        found.append(Cells([name], of_components, _from_mean(of_components, np.nanmean(x), np.nanstd(x))))
    return found


def _from_mean(values: Array, mean: Any, deviation: Any) -> Array:
    """Return how far values are from a mean, 1 or −1 at FULL_COLOUR standard deviations."""
    return np.clip((values - mean) / np.where(deviation > 0, FULL_COLOUR * deviation, 1.0), -1, 1)


def _short(value: float) -> str:
    """Return a number in few digits: 7,340, 61.6, 0.083, 0."""
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2g}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{round(value, 3):g}"


def levels_of(estimator: Any) -> Levels:
    """Return the probabilities of levels under each component, by level, of each column of labels, by its number."""
    names, found = [str(name) for name in getattr(estimator, "feature_names_in_", ())], Levels()
    for record in estimator._records() if hasattr(estimator, "_records") else ():
        if record["level"] and record["parameter"].endswith("probabilities"):
            column = names.index(record["column"]) if names else int(record["column"])
            found.setdefault(column, {}).setdefault(record["level"], []).append(record["estimate"])
    return found
