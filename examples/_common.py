"""What the examples share: where pictures go, tables, and data that come with installed packages."""

import sys
from importlib.metadata import distribution
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")  # pictures go to files
matplotlib.rcParams.update({"figure.dpi": 110, "savefig.dpi": 160, "font.size": 10})

MINUTES = ("eruption, minutes", "waiting time, minutes")


def output_folder():
    """The folder named on the command line, ``out`` by default; created."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def side_by_side(n, height=4.0, width=10.0, rows=1, **shared):
    """A figure and its axes, n in a row, without repeating the names of an axis they share."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.ravel(figure.subplots(rows, n, **shared))


def save(figure, name, folder=None):
    """Write a picture to a folder, that of the command line by default, and say so."""
    folder = output_folder() if folder is None else folder
    for ax in figure.axes:
        if len(ax.get_shared_y_axes().get_siblings(ax)) > 1:
            ax.label_outer()
    path = folder / f"{name}.png"
    figure.savefig(path)
    print(f"\nwrote {path}")
    return path


def table(title, headers, rows):
    """Print a title and rows under their headers; numbers are aligned right, words left."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    words = [not any(character.isdigit() for cell in column[1:] for character in cell[:3]) for column in columns]

    def line(row):
        padded = (c.ljust(w) if left else c.rjust(w) for c, w, left in zip(row, widths, words, strict=True))
        return "  " + "   ".join(padded).rstrip()

    print(f"\n{title}", line(headers), "  " + "   ".join("-" * w for w in widths), *map(line, cells), sep="\n")


def trace_table(title, bounds):
    """Print the log-likelihood per row after some of the iterations: the first ones, then ever fewer, and the last."""
    n = len(bounds)
    shown = sorted({i for i in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, n) if i <= n})
    table(title, ["iterations", "log-likelihood per row"], [[i, f"{bounds[i - 1]:.6f}"] for i in shown])


def never_falls(bounds, rounding=1e-9):
    """Whether the smallest change from one bound to the next is no fall, up to rounding."""
    return np.diff(bounds).min(initial=0.0) >= -rounding * np.abs(bounds).max()


def faithful(standardised=False):
    """Old Faithful: eruption time and waiting time, both in minutes, (272, 2); from plotnine's package."""
    path = distribution("plotnine").locate_file("plotnine/data/faithful.csv")
    X = np.loadtxt(path, delimiter=",", skiprows=1)
    return (X - X.mean(axis=0)) / X.std(axis=0) if standardised else X


def binary_digits():
    """8×8 handwritten digits, 1 where there is ink in at least half of the pixel, and what they show."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return (digits.data >= 8).astype(np.uint8), digits.target


def photograph():
    """A photograph of 640×427 pixels, red, green and blue from 0 to 255, (427, 640, 3)."""
    from sklearn.datasets import load_sample_image

    return load_sample_image("china.jpg")
