"""Pictures of mixtures: rows coloured by responsibility, bounds step by step, prototypes as images.

matplotlib is imported when a picture is drawn: ``pip install "expfam_em[plot]"``. Every function draws into the axes
it is given, or into a figure of its own, and returns the axes, so that titles and labels can be changed afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from expfam_em.em.loop import FitResult
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.rows.typing import Array, Block
from expfam_em.values.mixture import Mixture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from expfam_em.estimators.selection import Selection

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's colours that stand out on white, apart from one another under every colour blindness."""

E_STEP, M_STEP = PALETTE[:2]
INK, FAINT = "#222222", "#888888"
DRAWN_REACH = 3.0
"""How far above the best fit a picture of criteria goes, in units of the distance of the median fit."""

CERTAIN = 0.95
"""A row with a responsibility of at least this is said to belong to one component."""


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
        X, responsibilities, mixture, called = _of_model(X, responsibilities)
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
    ax = _axes(ax)
    part = None if mixture is None else _part(mixture, chosen, X.shape[1])
    draw = _histogram if len(chosen) == 1 else _scatter
    draw(ax, X[:, chosen], r, part, names)
    _title(ax, _certainty(r))
    return ax


def plot_bounds(result_or_estimator: Any, ax: Axes | None = None) -> Axes:
    """Draw what a fit climbed: the bound after each step, or for `KMeans` the distortion it went down.

    A `FitResult` and `KMeans` also know the value between the M-step and the next E-step; E-steps are then blue and
    M-steps red, unless `KMeans` had to move an empty cluster on its way.

    Parameters
    ----------
    result_or_estimator : FitResult, KMeans, or a fitted estimator of a mixture
        What has been fitted.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If there is no trace to draw.
    """
    fit = result_or_estimator
    if not isinstance(fit, FitResult) and not hasattr(fit, "distortions_") and not hasattr(fit, "lower_bounds_"):
        raise TypeError(f"{type(fit).__name__} has no trace to draw: give a FitResult or a fitted estimator")
    ax = _axes(ax)
    from matplotlib.ticker import MaxNLocator

    if isinstance(fit, FitResult):
        _half_steps(ax, fit.bounds, fit.half_bounds)
        ax.set_ylabel("bound, nats")
        _title_of_bounds(ax, fit.bounds, fit.n_iter, "nats")
    elif hasattr(fit, "distortions_"):
        trace = np.asarray(fit.distortions_)
        _half_steps(ax, trace[::2], trace[1::2])
        ax.set_ylabel("distortion J, squared units of X")
        _title(ax, f"J falls from {trace[0]:.5g} to {trace[-1]:.5g} in {_steps(fit.n_iter_)}")
    else:
        trace = np.asarray(fit.lower_bounds_)
        ax.plot(np.arange(1, len(trace) + 1), trace, color=INK, marker="o", markersize=3, linewidth=1)
        ax.set_ylabel("bound per row, nats")
        _title_of_bounds(ax, trace, len(trace), "nats per row")
    ax.set_xlabel("iteration")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


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


def plot_selection(selection: Selection, criterion: str | None = None, ax: Axes | None = None) -> Axes:
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
    ax = _axes(ax)
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
    _title(ax, f"Lowest for {selection.models[i]} with {K[j]} components: {values[i, j]:.2f}")
    return ax


# ---- clusters -----------------------------------------------------------------------------------------------


def component_colours(n_components: int) -> Array:
    """Return one colour for each component, (K, 3)."""
    _pyplot()
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if n_components <= len(PALETTE):
        return np.array([to_rgb(colour) for colour in PALETTE[:n_components]])
    return colormaps["viridis"](np.linspace(0, 0.95, n_components))[:, :3]


def _scatter(ax: Axes, X: Block, r: Array, part: Mixture | None, names: Sequence[str]) -> None:
    colours = component_colours(r.shape[1])
    mixed = np.clip(r @ colours, 0, 1)
    size = float(np.clip(6000 / max(len(X), 1), 4, 36))
    ax.scatter(X[:, 0], X[:, 1], c=mixed, s=size, linewidths=0, alpha=0.8, rasterized=len(X) > 5000)
    ax.set(xlabel=names[0], ylabel=names[1])
    if part is None or not isinstance(part.family, Gaussian):
        return
    ax.margins(0.08)  # room for the words below and above the ellipses
    means, covariances = part.parameters["means"], _full_covariances(part)
    for k in range(part.n_components):
        for deviations in (1, 2):
            _draw_ellipse(ax, means[k], covariances[k], deviations, _ink(colours[k]))
    to_top = covariances[:, :, 1] / np.sqrt(covariances[:, 1, 1, None])  # from a centre to its ellipse's highest point
    for k, lowest in enumerate(means - 2 * to_top if part.n_components > 1 else ()):
        _label(ax, f"π = {part.weights[k]:.2f}", lowest, _ink(colours[k]), va="top")
    on_line = {"fontsize": "x-small", "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.8}}
    for deviations in (1, 2):  # as on a map's contours
        _label(ax, f"{deviations} sd", means[0] + deviations * to_top[0], _ink(colours[0]), **on_line)


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
        ax.plot(grid, joint[:, k], color=_ink(colours[k]), **style)
        peak = int(np.argmax(joint[:, k]))
        _label(ax, f"π = {part.weights[k]:.2f}", (grid[peak], joint[peak, k] / 2), _ink(colours[k]))
    ax.plot(grid, joint.sum(axis=1), color=INK, **style)
    peak = int(np.argmax(joint.sum(axis=1)))
    _label(ax, "mixture", (grid[peak], joint[peak].sum()), INK, va="bottom")


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


# ---- bounds -------------------------------------------------------------------------------------------------


def _half_steps(ax: Axes, after_e: Array, after_m: Array) -> None:
    """E-steps at whole iterations, the M-step that follows half-way to the next."""
    n = len(after_m)
    at_e, at_m = np.arange(len(after_e)), np.arange(n) + 0.5
    trace = np.insert(np.asarray(after_e[: n + 1], np.float64), np.arange(1, n + 1), after_m)
    ax.plot(np.arange(2 * n + 1) / 2, trace, color=FAINT, linewidth=0.8, zorder=1)
    size = 5 if n <= 25 else 2.5
    for where, values, colour, name in ((at_e, after_e, E_STEP, "E-step"), (at_m, after_m, M_STEP, "M-step")):
        if len(values):
            ax.plot(where, values, color=colour, marker="o", markersize=size, linestyle="none", label=f"after {name}")
            # in the corner that a curve that soon levels off leaves empty
            line = 0.06 if name == "M-step" else 0.13
            height = line if trace[-1] >= trace[0] else 1.03 - line
            ax.text(0.98, height, f"● after {name}", color=colour, ha="right", va="center", transform=ax.transAxes)


def _title_of_bounds(ax: Axes, trace: Array, n_iter: int, unit: str) -> None:
    if not len(trace):
        return
    gain = trace[-1] - trace[0]
    verb = "rises" if gain >= 0 else "falls"  # at a falling temperature it may
    _title(ax, f"Bound {verb} by {abs(gain):.4g} {unit} in {_steps(n_iter)}")


def _steps(n: int) -> str:
    return f"{n} iteration" + ("" if n == 1 else "s")


# ---- shared -------------------------------------------------------------------------------------------------


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "expfam_em[plot]"') from error
    return plt


def _of_model(model: Any, X: Any) -> tuple[Any, Any, Mixture, Any]:
    """Return the rows as a fitted estimator sees them, their responsibilities, its mixture and the names of columns."""
    if hasattr(model, "predict_proba"):
        r = model.predict_proba(X)
    else:  # of k-means
        r = np.eye(model.mixture_.n_components)[model.predict(X)]
    return model._as_fitted(X), r, model.mixture_, getattr(model, "feature_names_in_", None)


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = _pyplot().subplots(figsize=(6, 4.2), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _title(ax: Axes, sentence: str) -> None:
    ax.set_title(sentence, loc="left", fontsize="medium")


def _image_grid(K: int, shape: tuple[int, int]) -> NDArray[Any]:
    columns = min(K, 10)
    rows = -(-K // columns)
    size = (1.1 * columns, 1.1 * rows * shape[0] / shape[1] + 0.3 * rows)
    _, axes = _pyplot().subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for unused in axes.flat[K:]:
        unused.set_axis_off()
    return axes.ravel()


def _ink(colour: Array) -> tuple[float, ...]:
    """A darker form of a colour, for lines and words over marks of that colour."""
    return tuple(0.72 * np.asarray(colour))


def _label(ax: Axes, text: str, where: Any, colour: Any, **style: Any) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=3, foreground="white")]
    style = {"fontsize": "small", "ha": "center", "va": "center", **style}
    ax.text(where[0], where[1], text, color=colour, path_effects=halo, clip_on=True, **style)
