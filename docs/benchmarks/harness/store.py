"""Results as JSON, and targets: what was promised, what was found, and whether that is enough."""

import json
import math

import numpy as np


def load(folder):
    """Return the stored results, {section: result}."""
    path = folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(folder, results):
    text = json.dumps(results, indent=1, sort_keys=False, default=_plain)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")


def _plain(value):
    return value.item() if isinstance(value, np.generic) else str(value)


def at_least(what, value, bound):
    """Return a target that asks for large values; a value of None was not measured."""
    return _target(what, value, bound, "≥", value is not None and bool(value >= bound))


def at_most(what, value, bound):
    """Return a target that asks for small values."""
    return _target(what, value, bound, "≤", value is not None and bool(value <= bound))


def _target(what, value, bound, sense, met):
    return {"what": what, "value": value, "bound": bound, "sense": sense, "met": met}


def missed_by(target):
    """Return in words by how much a target is missed."""
    value, bound = target["value"], target["bound"]
    if value is None or not math.isfinite(value):
        return "not measured"
    if bound == 0:
        return f"missed by {value:.3g}"
    off = max(value / bound, bound / value) if value * bound > 0 else math.inf
    return f"missed by a factor of {off:.2g}" if off >= 2 else f"missed by {abs(value - bound) / abs(bound):.0%}"


def below_half(result):
    """Return the targets of a section that are missed by more than a factor of 2; what was not measured is left out."""
    bad = []
    for target in result.get("targets", ()):
        value, bound = target["value"], target["bound"]
        if value is None:
            continue
        if not (value >= bound / 2 if target["sense"] == "≥" else value <= 2 * bound):
            bad.append(target)
    return bad


def lowest(values):
    """Return the smallest of the values that are there, or None."""
    present = [value for value in values if value is not None]
    return min(present) if present else None


def largest(values):
    """Return the largest of the values that are there, or None."""
    present = [value for value in values if value is not None]
    return max(present) if present else None


def geometric_mean(values):
    """Return the geometric mean of the values that are there, or None."""
    present = [value for value in values if value is not None]
    return math.exp(sum(map(math.log, present)) / len(present)) if present else None


def judged(rows, bounds):
    """Add to each row whether its ratios, {key: smallest}, are met where they could be measured."""
    for row in rows:
        short = [key for key, bound in bounds.items() if row.get(key) is not None and row[key] < bound]
        row["met"] = "no" if short else "yes"
    return rows
