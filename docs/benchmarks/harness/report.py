"""Results as Markdown: what was measured, the table, and every target with what was found."""

from harness.store import missed_by

FORMATS = {
    "text": str,
    "seconds": lambda v: f"{v:.3g}" if v < 100 else f"{v:,.0f}",
    "ratio": lambda v: f"{v:.2f} ×" if v < 10 else f"{v:.1f} ×" if v < 100 else f"{v:,.0f} ×",
    "share": lambda v: f"{v:.0%}",
    "power": lambda v: f"{v:.0e}",
    "number": lambda v: f"{v:,.4g}",
    "count": lambda v: f"{v:,.0f}",
}


def cell(value, unit):
    """Return a value as text; a dash for what does not exist."""
    return "–" if value is None else FORMATS[unit](value)


def table(columns, rows):
    """Return rows as a Markdown table; numbers are aligned right."""
    heads = [head for _, head, _ in columns]
    rules = ["---" if unit == "text" else "---:" for _, _, unit in columns]
    body = [[cell(row.get(key), unit) for key, _, unit in columns] for row in rows]
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


def paragraphs(text):
    """Return the paragraphs of a text, each on one line."""
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def section(result, picture=None):
    """Return one section of the page."""
    parts = [f"## {result['title']}", *paragraphs(result["how"])]
    if result.get("rows"):
        parts.append(table(result["columns"], result["rows"]))
    parts += result.get("after", ())
    parts.append(targets(result))
    if picture is not None:
        parts.append(f"![{result['title']}]({picture})")
    busy = cell(result.get("busy"), "share")
    parts.append(f"Measured on {result['date']} in {result['duration']:.0f} s; cores busy just before: {busy}.")
    return "\n\n".join(part for part in parts if part)


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
        "A ratio is the peer's time over ours: larger is better for us. A dash: the peer cannot do it.",
        summary(results),
        *(section(result, pictures.get(name)) for name, result in results.items()),
    ]
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8").strip())
    return "\n\n".join(parts) + "\n"


def summary(results):
    """Return how many targets are met, and a list of those that are not."""
    every = [(result["title"], target) for result in results.values() for target in result.get("targets", ())]
    missed = [(title, target) for title, target in every if not target["met"]]
    lines = [f"{len(every) - len(missed)} of {len(every)} targets are met" + ("; not these:" if missed else ".")]
    for title, t in missed:
        found = cell(t["value"], "number")
        lines.append(f"- {title}: {t['what']}: {found}, wanted {t['sense']} {t['bound']:g}: {missed_by(t)}")
    return "\n".join(lines[:1] + ([""] if missed else []) + lines[1:])
