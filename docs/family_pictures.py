"""The pictures of docs/families.md: densities of one column, samples of several."""

from __future__ import annotations

import io

import numpy as np
from family_examples import EXAMPLES
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

import expfam_em as ef
from expfam_em.families.gaussian.models import MODELS
from expfam_em.plots import FAINT, INK, component_colours

COLOURS = component_colours(3)
WIDTH, HEIGHT = 4.6, 2.1
STYLE = {"s": 9, "linewidths": 0, "alpha": 0.7}
APART = {False: 0.14, True: 0.19}
"""Share of the picture by which peaks have to be apart for words above them, of numbers and of whole numbers."""

DOTS_PER_INCH = 120
SHADES = 64
"""Colours of a picture: fewer make a smaller file, and these cannot be told from all of them."""


def draw_all(folder):
    """Write the picture of every family, and that of the covariance models."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXAMPLES:
        write(OWN.get(name, draw_densities)(name), folder / f"{name}.png")
    write(draw_covariance_models(), folder / "covariance_models.png")


def write(figure, path):
    """Save a figure with few colours."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DOTS_PER_INCH, facecolor="white")
    Image.open(buffer).convert("RGB").quantize(SHADES, dither=Image.Dither.NONE).save(path, optimize=True)


def panels(n=1, width=WIDTH, height=HEIGHT, rows=1, **more):
    """Return a figure and its axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = np.ravel(figure.subplots(rows, n, **more))
    for ax in axes:
        ax.tick_params(labelsize="x-small", colors=INK, length=2)
        for spine in ax.spines.values():
            spine.set_color(FAINT)
            spine.set_linewidth(0.6)
    return figure, axes


def bare(ax, limits=None):
    """Take the frame off, and give both directions one unit."""
    ax.set_axis_off()
    ax.set_aspect("equal")
    if limits is not None:
        ax.set_xlim(*limits[0])
        ax.set_ylim(*limits[1])


def ink(colour):
    """Return a darker form of a colour, for words."""
    return tuple(0.72 * np.asarray(colour))


def write_label(ax, text, where, colour, **more):
    """Write words that stay legible over lines."""
    halo = [withStroke(linewidth=2.5, foreground="white")]
    style = {"fontsize": "x-small", "ha": "center", "va": "bottom", "path_effects": halo} | more
    ax.text(*where, text, color=ink(colour), **style)


# ---- densities of one column ----------------------------------------------------------------------------------


def drawn(name):
    """Return families and natural parameters (1, p) of the densities to draw."""
    shown = EXAMPLES[name]
    pairs = [one if isinstance(one, tuple) else (shown.family, one) for one in shown.drawn]
    return [(eval(family, {"ef": ef}), np.array([natural], float)) for family, natural in pairs]


def words_of(pairs) -> list[str]:
    """Return the named parameters of densities, of which those that are the same are left out."""
    named = [{key: np.ravel(value) for key, value in family.parameters(natural).items()} for family, natural in pairs]
    telling = [key for key in named[0] if len({value[key].round(9).tobytes() for value in named}) > 1][:2]
    return ["\n".join(f"{singular(key)} {value[key][0]:.2g}" for key in telling) for value in named]


def singular(name) -> str:
    """Return "rate" for "rates" and "degrees of freedom" as it is."""
    if name.endswith("ies"):
        return f"{name[:-3]}y"
    return name.removesuffix("s").replace("_", " ")


def draw_densities(name):
    """Draw densities of one column, as dots where x is a whole number."""
    figure, (ax,) = panels()
    pairs, (low, high) = drawn(name), EXAMPLES[name].between
    grid = np.linspace(low, high, 1201)
    whole = not pairs[0][0].supports(grid[:, None] + 1e-4).any()
    if whole:
        grid = np.arange(low, high + 1.0)
    curves = [density(family, natural, grid) for family, natural in pairs]
    top = max(curve.max() for curve in curves)
    for k, curve in enumerate(curves):
        if whole:
            seen = curve > 0.004 * top
            shifted = (grid + (k - 1) * 0.12 * (high > 1))[seen]
            ax.vlines(shifted, 0, curve[seen], color=COLOURS[k], linewidth=1.6, alpha=0.35)
            ax.plot(shifted, curve[seen], "o", color=COLOURS[k], markersize=3.2, markeredgewidth=0)
        else:
            ax.fill_between(grid, curve, color=COLOURS[k], alpha=0.14, linewidth=0)
            ax.plot(grid, curve, color=COLOURS[k], linewidth=1.5)
    write_words(ax, words_of(pairs), grid, curves, APART[whole] * (high - low))
    ax.set_ylim(0, 1.32 * top)
    ax.set_xlim(low - 0.02 * (high - low) - 0.3 * whole, high + 0.02 * (high - low) + 0.3 * whole)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_yticks([])
    if whole:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def density(family, natural, grid):
    """Return p(x) on a grid, 0 where x is impossible."""
    possible = family.supports(grid[:, None])
    out = np.zeros(len(grid))
    out[possible] = np.exp(family.log_density(grid[possible, None], natural)[:, 0])
    return out


def write_words(ax, words, grid, curves, apart):
    """Write the parameters of densities above their peaks, or, where these are too close, in the corner."""
    peaks = [int(np.argmax(curve)) for curve in curves]
    if np.min(np.diff(np.sort(grid[peaks]))) < apart:
        for k, line in enumerate(words):
            where, text = (0.98, 0.95 - 0.11 * k), line.replace("\n", ", ")
            write_label(ax, text, where, COLOURS[k], ha="right", va="top", transform=ax.transAxes)
        return
    for k, peak in enumerate(peaks):
        height, first = max(curve.max() for curve in curves), peak == 0 and len(grid) > 2
        where = (grid[peak] + 0.02 * np.ptp(grid) * first, curves[k][peak] + 0.04 * height * (not first))
        write_label(ax, words[k], where, COLOURS[k], **({"ha": "left", "va": "center"} if first else {}))


# ---- samples --------------------------------------------------------------------------------------------------


def ellipse(mean, covariance, colour, deviations=2.0, **style):
    """Return the ellipse of a covariance matrix."""
    variances, axes = np.linalg.eigh(covariance)
    minor, major = 2 * deviations * np.sqrt(variances)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    return Ellipse(tuple(mean), major, minor, angle=angle, fill=False, edgecolor=ink(colour), **style)


def draw_gaussian(name):
    """Draw rows of three normal densities, with ellipses of 1 and 2 standard deviations."""
    figure, (ax,) = panels()
    family, rng = ef.families.Gaussian(), np.random.default_rng(1)
    means = np.array([[-4.0, 0.0], [0.5, 0.8], [5.0, -0.4]])
    covariances = np.array([[[1.0, 0.6], [0.6, 0.7]], [[0.3, 0.0], [0.0, 0.9]], [[2.0, -0.5], [-0.5, 0.3]]])
    for k, natural in enumerate(family.from_moments(means, covariances)):
        ax.scatter(*family.sample(natural, 150, rng).T, color=COLOURS[k], **STYLE)
        for deviations in (1, 2):
            ax.add_patch(ellipse(means[k], covariances[k], COLOURS[k], deviations, linewidth=1.5 - 0.4 * deviations))
    bare(ax)
    return figure


def draw_labels(name):
    """Draw the probabilities of the labels of one column, for two densities."""
    figure, axes = panels(2, sharey=True)
    family = ef.families.Categorical(4)
    for k, natural in enumerate([[0.0, -1.0, -2.0, -1.0], [0.0, 0.5, 1.5, 0.8]]):
        heights = family.parameters(np.array([natural]))["probabilities"][0, 0]
        axes[k].bar(np.arange(4), heights, 0.7, color=COLOURS[k], alpha=0.55)
        for label, height in enumerate(heights):
            write_label(axes[k], f"{height:.2f}", (label, height + 0.01), COLOURS[k])
        axes[k].set_xticks(range(4))
        axes[k].set_yticks([])
        axes[k].spines[["top", "right", "left"]].set_visible(False)
        axes[k].margins(y=0.15)
    return figure


def draw_indicators(name):
    """Draw rows of two densities as squares, a filled one for each 1."""
    figure, axes = panels(2)
    family, rng = ef.families.OneHot([3, 4]), np.random.default_rng(3)
    for k, natural in enumerate([[0, -2.0, -3.0, -3.0, -2.0, 0.0, -2.0], [-2.0, -1.0, 0.0, 0.0, -2.0, -3.0, -0.5]]):
        rows = family.sample(np.array(natural), 9, rng)
        for row, column in np.argwhere(rows >= 0):
            x, one = column + 0.6 * (column > 2), rows[row, column] == 1
            style = {"color": COLOURS[k]} if one else {"facecolor": "white", "edgecolor": FAINT}
            axes[k].add_patch(_square(x, -row, alpha=0.75 if one else 0.45, **style))
        bare(axes[k], ((-0.2, 7.8), (-8.2, 1.2)))
    return figure


def _square(x, y, **style):
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 0.86, 0.86, linewidth=0.5, **style)


def draw_shares(name):
    """Draw rows of three densities of three shares in a triangle."""
    figure, (ax,) = panels()
    rng = np.random.default_rng(0)
    corners = np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    ax.fill(*corners.T, facecolor="none", edgecolor=FAINT, linewidth=0.8)
    for j, (x, y) in enumerate(corners):
        where = {"ha": ("right", "left", "center")[j], "va": ("top", "top", "bottom")[j]}
        write_label(ax, f"x{'₁₂₃'[j]}", (x, y), np.zeros(3), **where)
    for k, (family, natural) in enumerate(drawn(name)):
        rows = family.sample(natural[0], 150, rng)
        ax.scatter(*(rows / rows.sum(axis=1, keepdims=True) @ corners).T, color=COLOURS[k], **STYLE)
    bare(ax, ((-0.5, 1.5), (-0.1, 0.98)))
    return figure


def draw_angles(name):
    """Draw densities of an angle around a circle."""
    figure, (ax,) = panels()
    angle = np.linspace(-np.pi, np.pi, 721)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    pairs = drawn(name)
    for k, ((family, natural), words) in enumerate(zip(pairs, words_of(pairs), strict=True)):
        height = density(family, natural, angle)
        outer = circle * (1 + height)[:, None]
        ax.fill(*np.concatenate([outer, circle[::-1]]).T, color=COLOURS[k], alpha=0.14, linewidth=0)
        ax.plot(*np.where(height[:, None] > 0.01, outer, np.nan).T, color=COLOURS[k], linewidth=1.5)
        peak = int(np.argmax(height))
        side = "left" if circle[peak, 0] > 0 else "right"
        write_label(ax, words, outer[peak] + 0.1 * circle[peak], COLOURS[k], ha=side, va="center")
    ax.plot(*circle.T, color=FAINT, linewidth=0.8)
    bare(ax, ((-5, 5), (-2.5, 2.2)))
    return figure


def draw_sphere(name):
    """Draw unit vectors of three densities on the near side of a sphere."""
    figure, (ax,) = panels()
    rng, turn = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 200)
    towards = np.array([[1, 0, 0], [0, 0.9, 0.44], [0, -0.44, 0.9]])  # seen from a little above
    ax.plot(np.cos(turn), np.sin(turn), color=FAINT, linewidth=0.8)
    for latitude in np.radians([-60, -30, 0, 30, 60]):
        ring = np.cos(latitude) * np.cos(turn), np.full(200, np.sin(latitude)), np.cos(latitude) * np.sin(turn)
        _arc(ax, np.column_stack(ring) @ towards.T)
    for longitude in np.radians(range(0, 180, 30)):
        ring = np.cos(turn) * np.cos(longitude), np.sin(turn), np.cos(turn) * np.sin(longitude)
        _arc(ax, np.column_stack(ring) @ towards.T)
    for k, (family, natural) in enumerate(drawn(name)):
        rows = family.sample(natural[0], 150, rng) @ towards.T
        ax.scatter(*rows[rows[:, 2] > 0, :2].T, color=COLOURS[k], **STYLE)
    bare(ax)
    return figure


def _arc(ax, points):
    near = np.where(points[:, 2:] > 0, points, np.nan)
    ax.plot(near[:, 0], near[:, 1], color=FAINT, linewidth=0.4, alpha=0.6)


def draw_matrices(name):
    """Draw matrices of two densities as ellipses, and their mean."""
    figure, axes = panels(2)
    rng = np.random.default_rng(2)
    for k, (family, natural) in enumerate(drawn(name)):
        for X in family.sample(natural[0], 12, rng).reshape(-1, 2, 2):
            axes[k].add_patch(ellipse([0, 0], X, COLOURS[k], 1, linewidth=0.7, alpha=0.55))
        named = family.parameters(natural)
        mean = named["degrees_of_freedom"][0] * named["scales"][0]
        axes[k].add_patch(ellipse([0, 0], mean, COLOURS[k], 1, linewidth=2.0))
        axes[k].autoscale_view()
        bare(axes[k])
    return figure


def draw_mixture(name):
    """Draw rows of a mixture fitted to the rows of the example, coloured by their component."""
    shown = EXAMPLES[name]
    names = {"np": np, "ef": ef, "rng": np.random.default_rng(0)}
    exec(f"X = {shown.rows}", names)
    model = ef.ExponentialFamilyMixture(eval(shown.family, names), shown.n_components, random_state=0).fit(names["X"])
    rows, labels = model.mixture_.sample(500, np.random.default_rng(0))
    figure, (ax,) = panels()
    if name == "Product":
        rows[:, 1] += np.random.default_rng(1).uniform(-0.2, 0.2, len(rows))  # counts would hide one another
    colours = COLOURS if shown.n_components < 3 else [*COLOURS[:2], np.full(3, 0.55)]
    ax.scatter(*rows.T, color=np.array(colours)[labels], **STYLE)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def labelled_rows(name):
    """Return the rows of the example and the components they most likely belong to."""
    shown = EXAMPLES[name]
    names = {"np": np, "ef": ef, "rng": np.random.default_rng(0)}
    exec(f"X = {shown.rows}", names)
    model = ef.ExponentialFamilyMixture(eval(shown.family, names), shown.n_components, random_state=0).fit(names["X"])
    return names["X"], model.predict(names["X"])


def draw_intervals(name):
    """Draw some rows of the example as points and as lines that end where the picture does."""
    X, labels = (each[::8] for each in labelled_rows(name))
    order = np.argsort(X[:, 0], kind="stable")
    figure, (ax,) = panels()
    end = 1.15 * X[:, 0].max()
    for i, ((low, high), k) in enumerate(zip(X[order], labels[order], strict=True)):
        ax.plot([low, min(high, end)], [i, i], color=COLOURS[k], linewidth=0.8)
        ax.plot([low], [i], ".", color=COLOURS[k], markersize=3)
    ax.set_xlim(0, end)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_yticks([])
    return figure


def draw_exposures(name):
    """Draw the counts of the example over their exposures, coloured by their component."""
    X, labels = labelled_rows(name)
    figure, (ax,) = panels()
    ax.scatter(X[:, 1], X[:, 0], color=np.array(COLOURS)[labels], **STYLE)
    ax.set_xlabel("exposure", fontsize="x-small", color=INK)
    ax.set_ylabel("count", fontsize="x-small", color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


OWN = {
    "Categorical": draw_labels,
    "OneHot": draw_indicators,
    "Multinomial": draw_shares,
    "Dirichlet": draw_shares,
    "Gaussian": draw_gaussian,
    "VonMises": draw_angles,
    "VonMisesFisher": draw_sphere,
    "Wishart": draw_matrices,
    "Product": draw_mixture,
    "Componentwise": draw_mixture,
    "Censored": draw_intervals,
    "Exposed": draw_exposures,
}
"""Pictures of families that have no density of one number on a line."""


# ---- covariance models ----------------------------------------------------------------------------------------


def draw_covariance_models():
    """Draw the ellipses of every model, fitted to the same three clusters."""
    names = list(dict.fromkeys(model.name for model in MODELS.values()))
    figure, axes = panels(7, 7.2, 2.2, rows=-(-len(names) // 7))
    rng = np.random.default_rng(5)
    roots = np.array([[[1.6, 0.0], [0.9, 0.45]], [[0.5, 0.0], [-0.3, 0.9]], [[0.9, 0.0], [-0.7, 0.25]]])
    centres = np.array([[-3.2, -1.4], [0.4, 2.3], [3.4, -1.6]])
    X = np.concatenate(
        [centre + rng.normal(size=(120, 2)) @ root.T for centre, root in zip(centres, roots, strict=True)]
    )
    for ax, name in zip(axes, names, strict=True):
        start = np.repeat(np.arange(3), 120)
        model = ef.GaussianMixture(3, covariance_type=name, init=start, max_iter=200).fit(X)
        covariances = model.covariances_
        if covariances.ndim == 1:
            covariances = covariances[:, None, None] * np.eye(2)
        elif name.endswith("I"):
            covariances = covariances[:, :, None] * np.eye(2)
        for k, covariance in enumerate(np.broadcast_to(covariances, (3, 2, 2))):
            ax.scatter(*X[start == k].T, color=COLOURS[k], s=1.6, linewidths=0, alpha=0.45)
            ax.add_patch(ellipse(model.means_[k], covariance, COLOURS[k], 2, linewidth=1.3))
        ax.set_title(name, fontsize="small", color=INK, pad=2)
        bare(ax, ((-6.6, 6.6), (-5.2, 5.2)))
    return figure
