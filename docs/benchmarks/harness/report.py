"""Results as Markdown: what was measured, the table, and every target with what was found."""

from harness.store import missed_by

BUSY = 0.1
"""Share of the cores from which on times are not to be trusted."""


def _times(value):
    """Return a ratio as text."""
    return f"{value:.2f} ×" if value < 10 else f"{value:.1f} ×" if value < 100 else f"{value:,.0f} ×"


FORMATS = {
    "text": str,
    "seconds": lambda v: f"{v:.3g}" if v < 100 else f"{v:,.0f}",
    "times": _times,
    "ratio": _times,  # a peer's time over ours, with the least and the largest of the turns
    "cpu": _times,  # the same, with the ratio of CPU seconds
    "share": lambda v: f"{v:.0%}",
    "power": lambda v: f"{v:.0e}",
    "number": lambda v: f"{v:,.4g}",
    "count": lambda v: f"{v:,.0f}",
}


def cell(value, unit):
    """Return a value as text; a dash for what does not exist."""
    return "–" if value is None else FORMATS[unit](value)


def _spread(row, key, unit):
    """Return what stands behind a ratio, in parentheses."""
    turns, cpu = row.get(f"{key}_turns"), row.get(f"{key}_cpu")
    parts = [f"{turns[0]:.3g}–{turns[-1]:.3g}"] if turns else []
    parts += [f"CPU {cpu:.3g}"] if cpu and unit == "cpu" else []
    return f" ({'; '.join(parts)})" if parts and unit in ("ratio", "cpu") else ""


def table(columns, rows):
    """Return rows as a Markdown table; numbers are aligned right."""
    heads = [head for _, head, _ in columns]
    rules = ["---" if unit == "text" else "---:" for _, _, unit in columns]
    body = [[cell(row.get(key), unit) + _spread(row, key, unit) for key, _, unit in columns] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heads, rules, *body))


def targets(result):
    """Return the targets of a section as a Markdown table."""
    if not result.get("targets"):
        return ""
    columns = [(head, head, "text") for head in ("target", "wanted", "found", "met")]
    return table(columns, [_target_row(target) for target in result["targets"]])


def _target_row(target):
    return {
        "target": target["what"], "wanted": f"{target['sense']} {target['bound']:g}",
        "found": cell(target["value"], "number"), "met": "yes" if target["met"] else f"**{missed_by(target)}**",
    }  # fmt: skip


def wins(result):
    """Return the ratios below 1, each as a text: where a peer is faster; None if nothing is compared with peers."""
    compared = [
        (row, key, head)
        for part in tables(result)
        for row in part["rows"]
        for key, head, unit in part["columns"]
        if unit in ("ratio", "cpu") and row.get(key) is not None
    ]
    if not compared:
        return None
    return [
        ", ".join(filter(None, (f"{row.get(f'{key}_of', head)} at {row['case']}", row.get("setting"))))
        + f" ({_times(row[key])})"
        for row, key, head in compared
        if row[key] < 1
    ]


def tables(result):
    """Return the tables of a section, each with columns, rows and what is said before it."""
    return result.get("tables") or (
        [{"columns": result["columns"], "rows": result["rows"]}] if result.get("rows") else []
    )


def _before(part):
    """Return what stands before a table."""
    return [text for how in part.get("how", ()) for text in paragraphs(how)] + (
        [f"**{part['head']}**"] if part.get("head") else []
    )


def paragraphs(text):
    """Return the paragraphs of a text, each on one line."""
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def section(result, picture=None):
    """Return one section of the page."""
    parts = [f"## {result['title']}", *paragraphs(result["how"])]
    for part in tables(result):
        parts += [*_before(part), table(part["columns"], part["rows"])]
    parts += result.get("after", ())
    faster = wins(result)
    if faster is not None:
        parts.append(f"Where a peer wins: {'; '.join(faster) or 'nowhere in these tables'}.")
    parts.append(targets(result))
    if picture is not None:
        parts.append(f"![{result['title']}]({picture})")
    parts.append(conditions(result))
    return "\n\n".join(part for part in parts if part)


def conditions(result):
    """Return when a section was measured, and whether the machine was free and its BLAS the best that it has."""
    before, during = result.get("busy"), result.get("busy_during")
    said = (
        f"Measured on {result['date']} in {result['duration']:.0f} s; cores busy just before: {cell(before, 'share')}, "
        f"kept busy by others meanwhile: {cell(during, 'share')}."
    )
    if max(before or 0, during or 0) > BUSY:
        said += " **The machine was busy: these times are to be measured again.**"
    if result.get("held_back"):
        said += f" **{result['held_back']}.**"
    return said


def page(results, pictures, notes):
    """Return the whole page."""
    newest = max(results.values(), key=lambda result: result["date"])
    versions = ", ".join(f"{name} {version}" for name, version in newest["versions"].items())
    parts = [
        "# Benchmarks",
        "Written by `docs/benchmarks/run.py`: `make bench` installs the peers and measures everything again, "
        "`python docs/benchmarks/run.py --only gaussian,kmeans` some sections, `--quick` checks on small sizes that no "
        "ratio has fallen below half of its target. All numbers are in [results.json](results.json).",
        f"Machine: {newest['machine']}; {newest['threads']} threads for every library.",
        f"Versions: {versions}.",
        f"Products of NumPy: {newest.get('blas', 'unknown')}. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are unset for all "
        f"processes{_were_set(results)}.",
        "A ratio is the peer's time over ours: larger is better for us. A dash: the peer cannot do it, or is not "
        "installed. R's packages and Armadillo come from Debian: `apt-get install libarmadillo-dev g++ r-base-core "
        "r-cran-mclust r-cran-flexmix r-cran-mvtnorm`.",
        summary(results),
        *(section(result, pictures.get(name)) for name, result in results.items()),
    ]
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def _were_set(results):
    names = sorted({name for result in results.values() for name in result.get("unset", ())})
    return f" ({' and '.join(names)} had been set)" if names else ""


def summary(results):
    """Return how many targets are met, and a list of those that are not."""
    every = [(result["title"], target) for result in results.values() for target in result.get("targets", ())]
    missed = [(title, target) for title, target in every if not target["met"]]
    lines = [f"{len(every) - len(missed)} of {len(every)} targets are met" + ("; not these:" if missed else ".")]
    for title, t in missed:
        found = cell(t["value"], "number")
        lines.append(f"- {title}: {t['what']}: {found}, wanted {t['sense']} {t['bound']:g}: {missed_by(t)}")
    count = sum(len(wins(result) or ()) for result in results.values())
    lines = lines[:1] + ([""] if missed else []) + lines[1:]
    return "\n".join([*lines, "", f"A peer wins in {count} comparisons, which the sections name."])
