"""Pictures of rows in the colours of their components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expfam_em.plots.style import INK, PALETTE, axes_or_new, component_colours, ink, label, title
from expfam_em.rows.typing import Array, Block
from expfam_em.values.mixture import Mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CERTAIN = 0.95
"""A row with a responsibility of at least this is said to belong to one component."""

SHARES_HELD = (0.393, 0.865)
"""Shares of a component within its contours: those within one and two standard deviations of a normal density."""

LEAST_POSSIBLE = 0.05
"""Share of the places in a picture that must be possible for contours to be drawn."""

GRID = 120
"""Places along each axis at which a density is evaluated for its contours."""


def plot_clusters(
    X: Any,
    responsibilities: Any,
    *,
    mixture: Mixture | None = None,
    columns: Sequence[int] = (0, 1),
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw rows in the colours of their components, mixed by the responsibilities.

    Two columns give a scatter plot, with ellipses at 1 and 2 standard deviations if their marginal under ``mixture``
    is Gaussian. One column gives a histogram, with the densities of ``mixture`` and of its components.
    ``plot_clusters(model, X)`` draws the rows as a fitted estimator sees them.

    Parameters
    ----------
    X : (n, d) or (n,), or fitted estimator
        Rows.
    responsibilities : (n, K), or the rows (n, d) beside an estimator
        Rows non-negative with sum 1; ``np.eye(K)[labels]`` for hard labels.
    mixture : Mixture, optional
        ``estimator.mixture_``.
    columns : one or two column numbers
        Those to draw.
    names : as many strings as columns, optional
        What the columns are and in which unit, as in "waiting time, minutes".
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
        If the shapes disagree.
    """
    called: Any = None
    if hasattr(X, "mixture_"):
        X, responsibilities, mixture, called = seen_by(X, responsibilities)
    X = np.asarray(X)
    X = X[:, None] if X.ndim == 1 else X
    r = np.asarray(responsibilities, np.float64)
    if X.ndim != 2 or r.ndim != 2 or len(r) != len(X):
        raise ValueError(f"X has shape {X.shape} and responsibilities {r.shape}: they must be (n, d) and (n, K)")
    if mixture is not None and mixture.n_components != r.shape[1]:
        raise ValueError(f"mixture has {mixture.n_components} components and responsibilities {r.shape[1]} columns")
    chosen = [0] if X.shape[1] == 1 else list(columns)
    if len(chosen) not in (1, 2) or not all(0 <= column < X.shape[1] for column in chosen):
        raise ValueError(f"columns is {columns!r}; it must name one or two of the {X.shape[1]} columns of X")
    by_default = [f"column {column}" if called is None else str(called[column]) for column in chosen]
    names = by_default if names is None else list(names)
    if len(names) != len(chosen):
        raise ValueError(f"{len(names)} names are given for {len(chosen)} columns")
    ax = axes_or_new(ax)
    part = None if mixture is None else _part(mixture, chosen, X.shape[1])
    draw = _histogram if len(chosen) == 1 else _scatter
    draw(ax, X[:, chosen], r, part, names)
    title(ax, _certainty(r))
    return ax


class Seen(NamedTuple):
    """Rows as a fitted estimator sees them."""

    X: Array
    r: Array
    mixture: Mixture | None
    names: list[str]


def seen_by(model: Any, X: Any) -> Seen:
    """Return rows as a fitted estimator sees them, their responsibilities, and what its columns are called.

    Of k-means there is no mixture: its clusters have no width.
    """
    rows = np.asarray(model._as_fitted(X))
    names = [str(name) for name in getattr(model, "feature_names_in_", map("column {}".format, range(rows.shape[1])))]
    if hasattr(model, "predict_proba"):
        return Seen(rows, model.predict_proba(X), model.mixture_, names)
    return Seen(rows, np.eye(model.mixture_.n_components)[model.predict(X)], None, names)


def _scatter(ax: Axes, X: Block, r: Array, part: Mixture | None, names: Sequence[str]) -> None:
    colours = component_colours(r.shape[1])
    mixed = np.clip(r @ colours, 0, 1)
    size = float(np.clip(6000 / max(len(X), 1), 4, 36))
    ax.scatter(X[:, 0], X[:, 1], c=mixed, s=size, linewidths=0, alpha=0.8, rasterized=len(X) > 5000)
    ax.set(xlabel=names[0], ylabel=names[1])
    if part is None:
        _mark_centres(ax, X, r, colours)
    elif {"means", "covariances"} <= set(part.parameters):
        _draw_gaussians(ax, part, colours)
    else:
        _draw_contours(ax, X, part, colours)
        if len(colours) > len(PALETTE):
            _number(ax, centres_of(X, r), colours)


def centres_of(X: Block, r: Array) -> Array:
    """Return the mean of the rows of each component, (K, d); NaN for one without rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return r.T @ X / r.sum(axis=0)[:, None]


def _number(ax: Axes, places: Array, colours: Array) -> None:
    for k, place in enumerate(places):
        if np.isfinite(place).all():
            label(ax, str(k), place, ink(colours[k]), weight="bold")


def _mark_centres(ax: Axes, X: Block, r: Array, colours: Array) -> None:
    """Number the clusters where there are many of them; a hard clustering has no widths to draw."""
    if len(colours) > len(PALETTE):
        _number(ax, centres_of(X, r), colours)


def _draw_gaussians(ax: Axes, part: Mixture, colours: Array) -> None:
    ax.margins(0.08)  # room for the words below and above the ellipses
    means, covariances = part.parameters["means"], _full_covariances(part)
    for k in range(part.n_components):
        for deviations in (1, 2):
            _draw_ellipse(ax, means[k], covariances[k], deviations, ink(colours[k]))
    if part.n_components > len(PALETTE):
        return _number(ax, means, colours)
    to_top = covariances[:, :, 1] / np.sqrt(covariances[:, 1, 1, None])  # from a centre to its ellipse's highest point
    for k, lowest in enumerate(means - 2 * to_top if part.n_components > 1 else ()):
        label(ax, f"π = {part.weights[k]:.2f}", lowest, ink(colours[k]), va="top")
    on_line = {"fontsize": "x-small", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8}}
    for deviations in (1, 2):  # as on a map's contours
        label(ax, f"{deviations} sd", means[0] + deviations * to_top[0], ink(colours[0]), **on_line)
    return None


def _draw_contours(ax: Axes, X: Block, part: Mixture, colours: Array) -> None:
    """Draw the least regions that hold shares SHARES_HELD of each component, as far as they are in the picture."""
    grids, shape = _plane(X, part)
    possible = part.family.supports(grids)
    if min(shape) < 3 or possible.mean() < LEAST_POSSIBLE:  # two labels, or rows on a line
        return
    density = np.full((len(grids), part.n_components), -np.inf)
    density[possible] = part.family.log_density(grids[possible], part.natural)
    x, y = (grids[:, i].reshape(shape) for i in (0, 1))
    for k in range(part.n_components):
        values = np.exp(density[:, k] - density[:, k].max())
        falling = np.sort(values)[::-1]
        held = np.cumsum(falling) / falling.sum()
        levels = sorted({float(falling[np.searchsorted(held, share)]) for share in SHARES_HELD})
        if values.min() < levels[-1]:
            widths = [0.8, 1.4][-len(levels) :]
            ax.contour(x, y, values.reshape(shape), levels, colors=[ink(colours[k])], linewidths=widths)


def _plane(X: Block, part: Mixture) -> tuple[Array, tuple[int, int]]:
    """Return places in the plane, (m, 2), and how many are above and beside one another; whole numbers for counts."""
    axes = []
    for x in X.T:
        low, high = np.nanmin(x), np.nanmax(x)
        margin = 0.05 * (high - low) or 1.0
        axes.append(np.linspace(low - margin, high + margin, GRID))
    grids = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    if part.family.supports(grids).any():
        return grids, (GRID, GRID)
    axes = [np.unique(np.round(axis)) for axis in axes]
    return np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2), (len(axes[1]), len(axes[0]))


def _histogram(ax: Axes, x: Block, r: Array, part: Mixture | None, names: Sequence[str]) -> None:
    x = x[:, 0]
    colours = component_colours(r.shape[1])
    edges: Any = _edges(x)
    share = r / (len(x) * (edges[1] - edges[0]))
    ax.hist([x] * r.shape[1], edges, weights=list(share.T), stacked=True, color=list(colours), alpha=0.35, linewidth=0)
    ax.margins(x=0.02, y=0.1)
    unit = f", per {names[0].rpartition(', ')[2]}" if ", " in names[0] else ""
    ax.set(xlabel=names[0], ylabel=f"density{unit}")
    if part is None:
        return
    grid, whole = _grid(part, edges)
    style = {"marker": "o", "markersize": 3, "linestyle": "none"} if whole else {"linewidth": 1.2}
    joint = np.exp(part.log_weights + part.family.log_density(grid[:, None], part.natural))
    for k in range(part.n_components if part.n_components > 1 else 0):
        ax.plot(grid, joint[:, k], color=ink(colours[k]), **style)
        peak = int(np.argmax(joint[:, k]))
        label(ax, f"π = {part.weights[k]:.2f}", (grid[peak], joint[peak, k] / 2), ink(colours[k]))
    ax.plot(grid, joint.sum(axis=1), color=INK, **style)
    peak = int(np.argmax(joint.sum(axis=1)))
    label(ax, "mixture", (grid[peak], joint[peak].sum()), INK, va="bottom")


def _part(mixture: Mixture, columns: Sequence[int], d: int) -> Mixture | None:
    """The mixture of the columns drawn, or None if its family cannot say."""
    if d == len(columns) and list(columns) == sorted(columns):
        return mixture
    try:
        return mixture.marginal(columns)
    except NotImplementedError:
        return None


def _full_covariances(mixture: Mixture) -> Array:
    """Covariance matrices (K, d, d) of every covariance type."""
    family: Any = mixture.family
    means, covariances = mixture.parameters["means"], mixture.parameters["covariances"]
    K, d = means.shape
    if covariances.ndim == 1:
        return covariances[:, None, None] * np.eye(d)
    if covariances.shape == (K, d) and family.covariance_type not in ("tied", "EEE"):
        return covariances[:, :, None] * np.eye(d)
    return np.broadcast_to(covariances, (K, d, d))


def _draw_ellipse(ax: Axes, mean: Array, covariance: Array, deviations: int, colour: tuple[float, ...]) -> None:
    from matplotlib.patches import Ellipse

    variances, axes = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    minor, major = 2 * deviations * np.sqrt(np.maximum(variances, 0))
    style = {"fill": False, "edgecolor": colour, "linewidth": 1.4 if deviations == 1 else 0.8}
    ax.add_patch(Ellipse(tuple(mean), major, minor, angle=angle, **style))


def _edges(x: Block) -> Array:
    """Bins of equal width; one for each whole number where the values are few whole numbers."""
    if np.all(x == np.floor(x)) and np.ptp(x) <= 60:
        return np.arange(x.min() - 0.5, x.max() + 1)
    return np.histogram_bin_edges(x, int(np.clip(2 * np.sqrt(len(x)), 10, 80)))


def _grid(part: Mixture, edges: Array) -> tuple[Array, bool]:
    """Values to draw a density at, and whether the family knows whole numbers only."""
    grid = np.linspace(edges[0], edges[-1], 600)
    for values, whole in ((grid, False), (np.arange(np.ceil(edges[0]), edges[-1]), True)):
        try:
            part.family.check_support(values[:, None])
        except ValueError:
            continue
        return values, whole
    return grid[grid > 0], False


def _certainty(r: Array) -> str:
    largest = r.max(axis=1)
    if np.all(largest == 1):
        sizes = r.sum(axis=0).astype(int)
        few = f": {' + '.join(f'{size:,}' for size in sizes)}" if len(sizes) <= len(PALETTE) else ""
        return f"{len(r):,} rows in {len(sizes)} clusters{few}" if len(sizes) > 1 else f"{len(r):,} rows"
    return f"{np.sum(largest >= CERTAIN):,} of {len(r):,} rows have a responsibility of at least {CERTAIN:g}"
