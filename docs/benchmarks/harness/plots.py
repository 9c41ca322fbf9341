"""The plots of the page: cost curves, and ratios on a log axis."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

matplotlib.use("Agg")

INK, GREY, GRID = "#222222", "#777777", "#e3e3e3"
COLOURS = {
    "ours": "#0072b2", "sklearn": "#d55e00", "tgmm": "#009e73", "pomegranate": "#cc79a7", "lloyd": "#d55e00",
    "elkan": "#e69f00", "sklearnex": "#56b4e9", "faiss": "#009e73",
}  # fmt: skip
MARKERS = {
    "ours": "o", "sklearn": "s", "tgmm": "^", "pomegranate": "D", "lloyd": "s", "elkan": "v", "sklearnex": "P",
    "faiss": "^",
}  # fmt: skip
LABELS = {
    "ours": "expfam_em", "sklearn": "scikit-learn", "lloyd": "scikit-learn, lloyd", "elkan": "scikit-learn, elkan",
}  # fmt: skip
AXES = {"n": "rows n", "d": "columns d", "K": "components K"}
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.labelcolor": INK, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "savefig.dpi": 130,
}  # fmt: skip


def draw(folder, results):
    """Write the plots of the sections there are; return {section: file name}."""
    drawn = {}
    with matplotlib.rc_context(STYLE):
        for section, function in (("curves", curves), ("gaussian", gaussian), ("kmeans", kmeans)):
            if section in results:
                drawn[section] = f"{section}.png"
                function(results[section]).savefig(folder / drawn[section])
    return drawn


def curves(result):
    """Return seconds per iteration against n, d and K, with the slope of each line at its end."""
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for ax, axis in zip(panels, AXES, strict=True):
        lines = [row for row in result["rows"] if row["axis"] == axis]
        x = [line["value"] for line in lines]
        for name in ("sklearn", "ours"):
            y = np.array([line[name] for line in lines], float)
            ax.loglog(x, y, MARKERS[name] + "-", color=COLOURS[name], markersize=4, linewidth=1.5, label=LABELS[name])
            ax.annotate(
                f"slope {result['slopes'][axis][name]:.2f}", (x[-1], np.nanmax(y)), (-4, 7), textcoords="offset points",
                ha="right", va="bottom", color=COLOURS[name],
            )  # fmt: skip
        ax.set_xlabel(AXES[axis])
        ax.grid(color=GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        if axis != "n":
            ax.xaxis.set_major_locator(FixedLocator(x))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0].margins(y=0.12)
    panels[0].set_ylabel("seconds per EM iteration")
    panels[0].legend(frameon=False, loc="upper left")
    return figure


def ratios(rows, series, title, least):
    """Return dots of ratios, one line of the plot for each row, with a vertical line at the least wanted."""
    figure = Figure(figsize=(8.6, 1.5 + 0.34 * len(rows)), layout="constrained")
    ax = figure.subplots()
    for peer, value_of in series.items():
        points = [(value_of(row), i) for i, row in enumerate(rows) if value_of(row) is not None]
        if points:
            ax.plot(
                *zip(*points, strict=True), MARKERS[peer], color=COLOURS[peer], markersize=6.5,
                label=LABELS.get(peer, peer), markeredgecolor="white", markeredgewidth=0.6, zorder=3,
            )  # fmt: skip
    ax.set_xscale("log")
    ax.axvline(1, color=INK, linewidth=1, zorder=1)
    at, label = least
    ax.axvline(at, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    ax.annotate(label, (at, 1), (3, 2), xycoords=("data", "axes fraction"), textcoords="offset points", color=GREY)
    ax.set_yticks(range(len(rows)), [row["case"] for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    low, high = ax.get_xlim()
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= t <= high]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel("peer's seconds over ours, log axis (right of 1: ours is faster)")
    ax.set_title(title, loc="left", fontsize=10, pad=18)
    figure.legend(loc="outside lower center", ncols=len(series), frameon=False)
    return figure


def gaussian(result):
    """Return the peers' seconds per iteration over ours, for each shape."""
    series = {peer: lambda row, key=f"x_{peer}": row[key] for peer in ("sklearn", "tgmm", "pomegranate")}
    title = "Gaussian mixtures: how many times longer a peer's EM iteration takes"
    return ratios(result["rows"], series, title, (3, "least wanted"))


def kmeans(result):
    """Return the peers' seconds over ours for whole fits, for each shape."""
    peers = ("lloyd", "elkan", "sklearnex", "faiss")
    series = {peer: lambda row, key=peer: None if row[key] is None else row[key] / row["ours"] for peer in peers}
    title = "k-means to convergence: how many times longer a peer takes"
    return ratios(result["rows"], series, title, (1.8, "least wanted"))
