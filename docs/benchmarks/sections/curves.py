"""Cost of an iteration against the number of rows, columns and components."""

import numpy as np
from harness.store import ratio
from harness.workers import Libraries

from sections.gaussian import per_iteration
from sections.gaussian_fits import Case, parameters

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
Seconds per EM iteration of full-covariance Gaussian mixtures, measured as above (1 and 3
iterations, 2 and 12 where they are short), along three
lines through n = {BASE["n"]:,}, d = {BASE["d"]}, K = {BASE["K"]}. A slope is the exponent of a power law, by least
squares on log axes over the last four points of a line: where the arithmetic dominates, 1 is linear. No target.
"""


def run(quick):
    lines = []
    with Libraries() as libraries:
        for axis, values in (QUICK if quick else VALUES).items():
            for value in values:
                case = shaped(**(BASE | {axis: value}))
                for name in NAMES:
                    libraries.call(name, parameters, case, 1)
                best = per_iteration(libraries, case, NAMES)
                lines.append({"axis": axis, "value": value, **best, "ratio": ratio(best["sklearn"], best["ours"])})
    slopes = {axis: {name: slope(lines, axis, name) for name in NAMES} for axis in VALUES}
    rows = [{"case": f"{line['axis']} = {line['value']:,}"} | line for line in lines]
    columns = [
        ("case", "along", "text"), ("ours", "ours, s", "seconds"), ("sklearn", "scikit-learn, s", "seconds"),
        ("ratio", "ratio", "ratio"),
    ]  # fmt: skip
    said = "; ".join(
        f"in {axis}: " + ", ".join(f"{label} {found[name]:.2f}" for name, label in NAMES.items())
        for axis, found in slopes.items()
    )
    return {
        "title": "Cost curves", "how": HOW, "columns": columns, "rows": rows, "targets": [], "slopes": slopes,
        "after": [f"Slopes {said}."],
    }  # fmt: skip


def shaped(n, d, K):
    short = Case(n, d, K, iterations=ITERATIONS_OF_SHORT)
    return short if n * K * short.statistics <= SHORT else Case(n, d, K, iterations=ITERATIONS)


def slope(lines, axis, name, last=4):
    """Return the exponent of the cost along an axis over its last points."""
    points = [(line["value"], line[name]) for line in lines if line["axis"] == axis and line[name]][-last:]
    x, y = np.log(points).T
    return float(np.polyfit(x, y, 1)[0])
