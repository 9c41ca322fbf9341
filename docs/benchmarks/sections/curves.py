"""Cost of an iteration against the number of rows, columns and components."""

from dataclasses import replace

import numpy as np
from harness.timing import compared, seconds
from harness.workers import Libraries

from sections.gaussian import per_iteration
from sections.gaussian_fits import Case, parameters
from sections.settings import SETTINGS

BASE = {"n": 50_000, "d": 8, "K": 8}
VALUES = {
    "n": (1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000), "d": (1, 2, 4, 8, 16, 32, 64),
    "K": (1, 2, 4, 8, 16, 32, 64, 128),
}  # fmt: skip
QUICK = {"n": (1_000, 4_000, 16_000, 64_000), "d": (1, 2, 4, 8, 16), "K": (1, 2, 4, 8, 16)}
NAMES = {"ours": "ours", "sklearn": "scikit-learn"}
SHORT, ITERATIONS, ITERATIONS_OF_SHORT = 2e7, (1, 3), (2, 12)
"""Multiply-adds of an iteration up to which it is short, and the numbers of iterations whose difference is timed."""


HOW = f"""
Seconds per EM iteration of full-covariance Gaussian mixtures, measured as above in both settings (1 and 3 iterations,
2 and 12 where they are short), along three lines through n = {BASE["n"]:,}, d = {BASE["d"]}, K = {BASE["K"]}. A slope
is the exponent of a power law, by least squares on log axes over the last four points of a line: where the arithmetic
dominates, 1 is linear. No target.
"""


def run(quick):
    tables, slopes, said = [], {}, []
    with Libraries() as libraries:
        for setting, head in SETTINGS.items():
            shapes = [(axis, value) for axis, values in (QUICK if quick else VALUES).items() for value in values]
            rows = [measured(libraries, axis, value, setting) for axis, value in shapes]
            tables.append({"head": head, "setting": setting, "columns": COLUMNS, "rows": rows})
            slopes[setting] = {axis: {name: slope(rows, axis, name) for name in NAMES} for axis in VALUES}
    for setting, of_axes in slopes.items():
        in_axes = "; ".join(
            f"in {axis}: " + ", ".join(f"{NAMES[name]} {value:.2f}" for name, value in found.items())
            for axis, found in of_axes.items()
        )
        said.append(f"Slopes, {setting}, {in_axes}.")
    return {"title": "Cost curves", "how": HOW, "tables": tables, "targets": [], "slopes": slopes, "after": said}


COLUMNS = [
    ("case", "along", "text"), ("ours", "ours, s", "seconds"), ("sklearn", "scikit-learn, s", "seconds"),
    ("ratio", "scikit-learn", "ratio"),
]  # fmt: skip


def measured(libraries, axis, value, setting):
    """Return the row of one point of a line."""
    case = shaped(**(BASE | {axis: value}), setting=setting)
    for name in NAMES:
        libraries.call(name, parameters, case, 1)
    found = per_iteration(libraries, case, NAMES)
    row = {"case": f"{axis} = {value:,}", "axis": axis, "value": value, "setting": setting}
    row |= {name: seconds(timing) for name, timing in found.items()}
    return row | compared("ratio", found["sklearn"], found["ours"])


def shaped(n, d, K, setting):
    short = Case(n, d, K, iterations=ITERATIONS_OF_SHORT, setting=setting)
    return short if n * K * short.statistics <= SHORT else replace(short, iterations=ITERATIONS)


def slope(lines, axis, name, last=4):
    """Return the exponent of the cost along an axis over its last points; NaN if noise has left fewer than two."""
    points = [(line["value"], line[name]) for line in lines if line["axis"] == axis and line[name]][-last:]
    if len(points) < 2:
        return float("nan")
    x, y = np.log(points).T
    return float(np.polyfit(x, y, 1)[0])
