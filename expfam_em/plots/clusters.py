"""Pictures of rows in the colours of their components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expfam_em.plots.style import INK, PALETTE, axes_or_new, component_colours, ink, label, plain, title
from expfam_em.rows.typing import Array, Block, Mask
from expfam_em.values.mixture import Mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CERTAIN = 0.95
"""A row with a responsibility of at least this is said to belong to one component."""

SHARES_HELD = (0.393, 0.865)
"""Shares of a component within its contours: those within one and two standard deviations of a normal density."""

LEAST_POSSIBLE = 0.05
"""Share of the places in a picture that must be possible for contours to be drawn."""

MOST_REPEATED = 3
"""Rows in one place, on average, from which on a place has one mark, whose area says how many rows are there."""

LARGEST_MARK = 250.0
"""Area of the mark of the place with the most rows, in square points."""

SHIFT = 0.25
"""By how much marks of equal labels are moved apart, at most."""

UNSEEN_ROWS, LITTLE_WEIGHT = 0.5, 0.01
"""A component with less than both, in rows of the picture and in mixing weight, is not drawn: nothing is there."""

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
    seen = seen_by(X, responsibilities) if hasattr(X, "mixture_") else _given(X, responsibilities, mixture)
    d = seen.X.shape[1]
    chosen = [0] if d == 1 else list(columns)
    if len(chosen) not in (1, 2) or not all(0 <= column < d for column in chosen):
        raise ValueError(f"columns is {columns!r}; it must name one or two of the {d} columns of X")
    names = [plain(seen.names[column]) for column in chosen] if names is None else list(names)
    if len(names) != len(chosen):
        raise ValueError(f"{len(names)} names are given for {len(chosen)} columns")
    return draw(seen, chosen, names, axes_or_new(ax))


def _given(X: Any, responsibilities: Any, mixture: Mixture | None) -> Seen:
    X = np.asarray(X)
    X = X[:, None] if X.ndim == 1 else X
    r = np.asarray(responsibilities, np.float64)
    if X.ndim != 2 or r.ndim != 2 or len(r) != len(X):
        raise ValueError(f"X has shape {X.shape} and responsibilities {r.shape}: they must be (n, d) and (n, K)")
    if mixture is not None and mixture.n_components != r.shape[1]:
        raise ValueError(f"mixture has {mixture.n_components} components and responsibilities {r.shape[1]} columns")
    return Seen(X, r, mixture, [f"column {column}" for column in range(X.shape[1])])


def draw(seen: Seen, chosen: Sequence[int], names: Sequence[str], ax: Axes) -> Axes:
    """Draw one or two columns of rows, with names as they are to be written."""
    X = seen.X[:, list(chosen)].astype(np.float64, copy=False)
    there = ~np.isnan(X).any(axis=1)
    X, r = X[there], seen.r[there]
    levels = [seen.levels[column] if seen.levels else None for column in chosen]
    part = None if seen.mixture is None else _part(seen.mixture, chosen, seen.X.shape[1])
    drawn = np.ones(r.shape[1], bool)
    if part is not None:
        drawn = (r.sum(axis=0) >= UNSEEN_ROWS) | (part.weights >= LITTLE_WEIGHT)
    components = Components(part, drawn, seen.colours, seen.noise)
    if len(chosen) == 2:
        _scatter(ax, X, r, components, names, levels)
    elif len(X):
        _histogram(ax, X, r, components, names)
    for axis, known in zip((ax.xaxis, ax.yaxis), levels, strict=False):
        if known:
            turned: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if axis is ax.xaxis else {}
            axis.set_ticks(range(len(known)), list(map(plain, known)), **(turned if len(known) > 6 else {}))
    notes = [_certainty(seen.r)]
    if gaps := np.sum(~there):
        notes.append(f"{gaps:,} with gaps {'is' if gaps == 1 else 'are'} not drawn")
    if lost := np.sum(~drawn):
        notes.append(f"{lost} component{'s' * int(lost > 1)} without rows {'is' if lost == 1 else 'are'} not drawn")
    title(ax, ";\n".join(notes))
    return ax


class Components(NamedTuple):
    """What is to be drawn of the components."""

    mixture: Mixture | None
    """Of the columns that are drawn."""
    drawn: Mask
    colours: Array
    noise: bool
    """Whether the last component is noise."""

    def said(self, k: Any, words: str) -> str:
        """Return words about a component, or that it is the noise."""
        return "noise" if self.noise and k == len(self.colours) - 1 else words


class Seen(NamedTuple):
    """Rows as a fitted estimator sees them."""

    X: Array
    r: Array
    mixture: Mixture | None
    names: list[str]
    levels: Sequence[Sequence[str] | None] = ()
    """Of each column what its codes stand for, or None; empty where nothing is coded."""
    noise: bool = False
    """Whether the last component is noise."""

    @property
    def colours(self) -> Array:
        """One colour for each component, (K, 3); grey for noise."""
        return component_colours(self.r.shape[1] - self.noise, noise=self.noise)


def seen_by(model: Any, X: Any) -> Seen:
    """Return rows as a fitted estimator sees them, their responsibilities, and what its columns are called.

    Of k-means there is no mixture: its clusters have no width.
    """
    rows = np.asarray(model._as_fitted(X))
    called = getattr(model, "column_names_", range(rows.shape[1]))  # those of a file without names
    names = [str(name) for name in getattr(model, "feature_names_in_", map("column {}".format, called))]
    if not hasattr(model, "predict_proba"):
        return Seen(rows, np.eye(model.mixture_.n_components)[model.predict(X)], None, names)
    coded = getattr(model, "levels_", {})
    levels = [list(map(str, coded[name])) if name in coded else None for name in names]
    noise = getattr(model, "noise", None) is not None
    return Seen(rows, model.predict_proba(X), model.mixture_, names, levels, noise)


def _scatter(ax: Axes, X: Block, r: Array, components: Components, names: Sequence[str], levels: Sequence[Any]) -> None:
    colours, part = components.colours, components.mixture
    size = float(np.clip(6000 / max(len(X), 1), 4, 36))
    places, mixed, sizes = _marks(X, np.clip(r @ colours, 0, 1), size, levels)
    ax.scatter(places[:, 0], places[:, 1], c=mixed, s=sizes, linewidths=0, alpha=0.8, rasterized=len(places) > 5000)
    ax.set(xlabel=names[0], ylabel=names[1])
    if part is not None and {"means", "covariances"} <= set(part.parameters):
        _draw_gaussians(ax, components)
        return
    if part is not None:
        if not len(X) or any(levels):
            return
        _draw_contours(ax, X, components)
    if len(colours) > len(PALETTE):  # those of k-means, too, whose clusters have no widths to draw
        _number(ax, centres_of(X, r), components)


def _marks(X: Block, colours: Array, size: float, levels: Sequence[Any]) -> tuple[Array, Array, Any]:
    """Return places, colours and areas of marks: one for each row, or for each place where many rows are."""
    places, which, counts = np.unique(X, axis=0, return_inverse=True, return_counts=True)
    if len(X) >= MOST_REPEATED * len(places) and len(places) > 1:
        which = np.ravel(which)
        means = np.stack([np.bincount(which, colour) for colour in colours.T], axis=1) / counts[:, None]
        return places, np.clip(means, 0, 1), counts * min(size, LARGEST_MARK / counts.max())
    if any(levels):
        apart = SHIFT * (2 * np.modf(np.arange(1, len(X) + 1) * 0.618034)[0] - 1)  # evenly, without a pattern
        X = X + apart[:, None] * [bool(known) for known in levels]
    return X, colours, size


def centres_of(X: Block, r: Array) -> Array:
    """Return the mean of the values that are there in each component, (K, d); NaN for one without any."""
    there = ~np.isnan(X)
    with np.errstate(invalid="ignore", divide="ignore"):
        return r.T @ np.where(there, X, 0.0) / (r.T @ there)


def _number(ax: Axes, places: Array, components: Components) -> None:
    for k in np.flatnonzero(components.drawn & np.isfinite(places).all(axis=1)):
        label(ax, components.said(k, str(k)), places[k], ink(components.colours[k]), weight="bold")


def _draw_gaussians(ax: Axes, components: Components) -> None:
    part, drawn, colours, _ = components
    if part is None or not drawn.any():
        return None
    ax.margins(0.08)  # room for the words below and above the ellipses
    means, covariances = part.parameters["means"], _full_covariances(part)
    for k in np.flatnonzero(drawn):
        for deviations in (1, 2):
            _draw_ellipse(ax, means[k], covariances[k], deviations, ink(colours[k]))
    if part.n_components > len(PALETTE):
        return _number(ax, means, components)
    to_top = covariances[:, :, 1] / np.sqrt(covariances[:, 1, 1, None])  # from a centre to its ellipse's highest point
    for k in np.flatnonzero(drawn) if part.n_components > 1 else ():
        label(ax, f"π = {part.weights[k]:.2f}", means[k] - 2 * to_top[k], ink(colours[k]), va="top")
    on_line = {"fontsize": "x-small", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8}}
    first = int(np.argmax(drawn))
    for deviations in (1, 2):  # as on a map's contours
        label(ax, f"{deviations} sd", means[first] + deviations * to_top[first], ink(colours[first]), **on_line)
    return None


def _draw_contours(ax: Axes, X: Block, components: Components) -> None:
    """Draw the least regions that hold shares SHARES_HELD of each component, as far as they are in the picture."""
    part, drawn, colours, _ = components
    if part is None:
        return
    grids, shape = _plane(X, part)
    density = _log_densities(part, grids)
    if min(shape) < 3 or np.isfinite(density).any(axis=1).mean() < LEAST_POSSIBLE:  # two labels, or rows on a line
        return
    limits = ax.axis()
    x, y = (grids[:, i].reshape(shape) for i in (0, 1))
    for k in np.flatnonzero(drawn & np.isfinite(density).any(axis=0)):
        values = np.exp(density[:, k] - density[:, k].max())
        falling = np.sort(values)[::-1]
        held = np.cumsum(falling) / falling.sum()
        levels = sorted({float(falling[np.searchsorted(held, share)]) for share in SHARES_HELD})
        if values.min() < levels[-1]:
            widths = [0.8, 1.4][-len(levels) :]
            ax.contour(x, y, values.reshape(shape), levels, colors=[ink(colours[k])], linewidths=widths)
    ax.axis(limits)  # contours would end the picture in the middle of marks


def _log_densities(part: Mixture, places: Array) -> Array:
    """Return the log-density of places under each component, (m, K); −∞ where no row is possible or there is none."""
    found = np.full((len(places), part.n_components), -np.inf)
    possible = part.family.supports(places)
    if possible.any():
        with np.errstate(all="ignore"):  # a family may not say where it lives
            found[possible] = part.family.log_density(places[possible], part.natural)
    return np.where(np.isnan(found) | (found == np.inf), -np.inf, found)


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


def _histogram(ax: Axes, X: Block, r: Array, components: Components, names: Sequence[str]) -> None:
    x, (part, drawn, colours, _) = X[:, 0], components
    edges: Any = _edges(x)
    share = r / (len(x) * (edges[1] - edges[0]))
    ax.hist([x] * r.shape[1], edges, weights=list(share.T), stacked=True, color=list(colours), alpha=0.35, linewidth=0)
    ax.margins(x=0.02, y=0.1)
    unit = f", per {names[0].rpartition(', ')[2]}" if ", " in names[0] else ""
    ax.set(xlabel=names[0], ylabel=f"density{unit}")
    if part is None:
        return
    grid, whole = _grid(part, edges)
    if not len(grid):
        return
    style = {"marker": "o", "markersize": 3, "linestyle": "none"} if whole else {"linewidth": 1.2}
    joint = np.exp(part.log_weights + _log_densities(part, grid[:, None]))
    many, ends = part.n_components > len(PALETTE), (grid[0], grid[-1])
    for k in np.flatnonzero(drawn) if part.n_components > 1 else ():
        ax.plot(grid, joint[:, k], color=ink(colours[k]), **style)
        peak = int(np.argmax(joint[:, k]))
        place, words = (grid[peak], joint[peak, k] / 2), str(k) if many else f"π = {part.weights[k]:.2f}"
        label(ax, components.said(k, words), place, ink(colours[k]), ha=_side(grid[peak], ends))
    ax.plot(grid, joint.sum(axis=1), color=INK, **style)
    peak = int(np.argmax(joint.sum(axis=1)))
    label(ax, "mixture", (grid[peak], joint[peak].sum()), INK, va="bottom", ha=_side(grid[peak], ends))


def _side(x: float, ends: tuple[float, float]) -> str:
    """Return where words stand at x so that they do not leave the picture."""
    at = (x - ends[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.5
    return "left" if at < 0.08 else "right" if at > 0.92 else "center"


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
    """Draw the ellipse of the correlations, and stretch it: so it is right for columns in quite other units."""
    from matplotlib.patches import Ellipse
    from matplotlib.transforms import Affine2D

    size = np.sqrt(np.diagonal(covariance))
    unit = np.where(size > 0, size, 1.0)
    variances, axes = np.linalg.eigh(covariance / np.outer(unit, unit))
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    minor, major = 2 * deviations * np.sqrt(np.maximum(variances, 0))
    stretched = Affine2D().scale(*unit).translate(*mean) + ax.transData
    style = {"fill": False, "edgecolor": colour, "linewidth": 1.4 if deviations == 1 else 0.8}
    ax.add_patch(Ellipse((0, 0), major, minor, angle=angle, transform=stretched, **style))


def _edges(x: Block) -> Array:
    """Bins of equal width; one for each whole number where the values are few whole numbers."""
    if np.all(x == np.floor(x)) and np.ptp(x) <= 60:
        return np.arange(x.min() - 0.5, x.max() + 1)
    return np.histogram_bin_edges(x, int(np.clip(2 * np.sqrt(len(x)), 10, 80)))


def _grid(part: Mixture, edges: Array) -> tuple[Array, bool]:
    """Values to draw a density at, and whether the family knows whole numbers only."""
    grid: Array = np.linspace(edges[0], edges[-1], 600)
    possible: Any = part.family.supports(grid[:, None])
    if possible.all():
        return grid, False
    whole: Array = np.unique(np.round(np.linspace(np.ceil(edges[0]), np.floor(edges[-1]), 600)))
    if part.family.supports(whole[:, None]).all():
        return whole, True
    return grid[possible], False


def _certainty(r: Array) -> str:
    largest, rows = r.max(axis=1), f"{len(r):,} row{'' if len(r) == 1 else 's'}"
    if np.all(largest == 1):
        sizes = r.sum(axis=0).astype(int)
        few = f": {' + '.join(f'{size:,}' for size in sizes)}" if len(sizes) <= len(PALETTE) else ""
        return f"{rows} in {len(sizes)} clusters{few}" if len(sizes) > 1 else rows
    return f"{np.sum(largest >= CERTAIN):,} of {rows} have a responsibility of at least {CERTAIN:g}"
