"""The plots of the page: cost curves, and ratios on a log axis."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

matplotlib.use("Agg")

INK, GREY, GRID = "#222222", "#777777", "#e3e3e3"
COLOURS = {
    "ours": "#0072b2", "sklearn": "#d55e00", "tgmm": "#009e73", "pomegranate": "#cc79a7", "lloyd": "#d55e00",
    "elkan": "#e69f00", "sklearnex": "#56b4e9", "faiss": "#009e73", "armadillo": "#000000", "mlpack": "#999933",
}  # fmt: skip
MARKERS = {
    "ours": "o", "sklearn": "s", "tgmm": "^", "pomegranate": "D", "lloyd": "s", "elkan": "v", "sklearnex": "P",
    "faiss": "^", "armadillo": "X", "mlpack": "<",
}  # fmt: skip
LABELS = {
    "ours": "expfam_em", "sklearn": "scikit-learn", "lloyd": "scikit-learn, lloyd", "elkan": "scikit-learn, elkan",
    "armadillo": "Armadillo",
}  # fmt: skip
AXES = {"n": "rows n", "d": "columns d", "K": "components K"}
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.labelcolor": INK, "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "savefig.dpi": 130,
}  # fmt: skip


DASHES = {"separated": "-", "overlapping": (0, (4, 2))}


def draw(folder, results):
    """Write the plots of the sections there are; return {section: file name}."""
    drawn = {}
    with matplotlib.rc_context(STYLE):
        for section, function in (("curves", curves), ("gaussian", gaussian), ("kmeans", kmeans)):
            if "tables" in results.get(section, {}):
                drawn[section] = f"{section}.png"
                function(results[section]).savefig(folder / drawn[section])
    return drawn


def curves(result):
    """Return seconds per iteration against n, d and K in both settings, with the slopes in the legends."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for ax, axis in zip(panels, AXES, strict=True):
        for name in ("sklearn", "ours"):
            for part in result["tables"]:
                lines = [row for row in part["rows"] if row["axis"] == axis]
                x, y = [line["value"] for line in lines], np.array([line[name] for line in lines], float)
                slope = result["slopes"][part["setting"]][axis][name]
                ax.loglog(
                    x, y, MARKERS[name], linestyle=DASHES[part["setting"]], color=COLOURS[name], markersize=4,
                    linewidth=1.5, label=f"{LABELS[name]}, {part['setting']}: slope {slope:.2f}",
                )  # fmt: skip
        ax.set_xlabel(AXES[axis])
        ax.grid(color=GRID, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.legend(frameon=False, fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), handlelength=3)
        if axis != "n":
            ax.xaxis.set_major_locator(FixedLocator(x))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panels[0].set_ylabel("seconds per EM iteration")
    return figure


def ratios(tables, peers, title, least, label):
    """Return dots of the ratios of each table in a panel, a line for each row, and a line at the least wanted there."""
    figure = Figure(figsize=(10.4, 1.7 + 0.34 * len(tables[0]["rows"])), layout="constrained")
    panels = figure.subplots(1, len(tables), sharex=True, squeeze=False)[0]
    for ax, part, at in zip(panels, tables, least, strict=True):
        _dots(ax, part["rows"], peers, (at, label))
        ax.set_xlabel("peer's seconds over ours, log axis (right of 1: ours is faster)", fontsize=8)
        ax.set_title(part["head"], loc="left", fontsize=9, pad=16)
    for ax in panels[1:]:
        ax.set_yticklabels([])
    figure.suptitle(title, fontsize=10)
    handles = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _dots(ax, rows, peers, least):
    for peer in peers:
        points = [(row[f"x_{peer}"], i) for i, row in enumerate(rows) if row.get(f"x_{peer}") is not None]
        if points:
            ax.plot(
                *zip(*points, strict=True), MARKERS[peer], color=COLOURS[peer], markersize=6.5,
                label=LABELS.get(peer, peer), markeredgecolor="white", markeredgewidth=0.6, zorder=3, linestyle="none",
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


def gaussian(result):
    """Return the peers' seconds per iteration over ours, for each shape."""
    title = "Gaussian mixtures: how many times longer a peer's EM iteration takes"
    return ratios(
        result["tables"][:2], ("sklearn", "tgmm", "pomegranate"), title, (6, 4), "least wanted of scikit-learn"
    )


def kmeans(result):
    """Return the peers' seconds over ours for whole fits, for each shape."""
    title = "k-means to convergence: how many times longer a peer takes"
    tables = [part for part in result["tables"] if part["columns"][-1][0] == "met" and part["rows"][0].get("best")]
    return ratios(
        tables,
        ("lloyd", "elkan", "sklearnex", "faiss", "armadillo", "mlpack"),
        title,
        (2.5, 2.5),
        "least wanted of the best peer",
    )
