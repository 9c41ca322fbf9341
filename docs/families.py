"""Writes docs/families.md and its pictures from the code: ``python docs/families.py``.

With ``--check`` nothing is written, and the exit code is 1 if the page is out of date.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
from family_examples import EXAMPLES, KINDS
from generated import write_or_check

import expfam_em as ef
from expfam_em import estimators
from expfam_em.cli.names import COMPOSED
from expfam_em.families.composed.parts import OfAnother
from expfam_em.families.gaussian.models import MODELS
from expfam_em.family import checked, intervals
from expfam_em.family.optional import is_incomplete

HERE = Path(__file__).parent
WIDTH = 120
PAGE = HERE / "families.md"
PICTURES = HERE / "images" / "families"
SYMBOL = r"(?:T|A|h|e|η)(?:\(\w\))? [=∝] "
SIZES = ((3, 2), (3, 10))
"""K and d for which parameters of covariances are counted."""

NEEDS = {
    **dict.fromkeys(COMPOSED, "what the families need"),
    ef.families.Truncated: "numbers of the family, from low to high",
    ef.families.Censored: "low and high, with a number of the family from one to the other",
    ef.families.Exposed: "counts of the family, and a positive exposure in the last column",
}
"""What rows of families that are made of others have to be."""

INTRODUCTION = """\
# Families

<!-- made from the code by docs/families.py: edit the docstrings, or that script -->

The families that come with the package, each with its statistics T, log-partition A, base measure h and natural
parameters η ([Notation](notation.md)). All are fitted by the same driver and have what it has: row weights, conjugate
priors, restarts, temperatures, threads, saving, samples. The rest is said for each: an entropy by a formula or by
quadrature, marginals and conditionals of some columns, sparse rows, and whether η is found from E[T] by a formula or by
iteration.
[Add a family](add_a_family.md) has the way to one of your own.

```python
import numpy as np
import expfam_em as ef

rng = np.random.default_rng(0)
```
"""


# ---- what the code says ---------------------------------------------------------------------------------------


def description(kind) -> list[str]:
    """Return the paragraphs of a docstring before its sections, in Markdown."""
    before = re.split(r"\n\n(?:Parameters|Raises|Examples|Attributes)\n-", inspect.getdoc(kind))[0]
    return [_prose(paragraph) for paragraph in before.split("\n\n")]


def _prose(text) -> str:
    return " ".join(text.split()).replace("``", "`")


def statistics(kind) -> str:
    """Return what T is, in the words of the docstring."""
    words = " ".join(description(kind))
    found = re.search(
        rf"T(?:\([^)]+\))?(?:, (?:A and η|[\w, -]+?))? (?:=|is|are) "
        rf"(.+?)(?:, (?:and )?(?:{SYMBOL}|η_k is)|, which | with |\.(?: |$))",
        words,
    )
    if not found:
        raise ValueError(f"the docstring of {kind.__name__} does not say what T is")
    return found[1]


def constants(kind) -> list[tuple[str, str, str]]:
    """Return name, type and meaning of what the class is made with."""
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    section = re.search(r"\n\nParameters\n-+\n(.*?)(?:\n\n(?=\S)|$)", inspect.getdoc(owner) or "", re.DOTALL)
    entries = re.findall(r"^(\S.*?) : (.*)\n((?:    .*(?:\n|$))+)", section[1] if section else "", re.MULTILINE)
    return [(name, what, _prose(meaning)) for name, what, meaning in entries]


def overrides(kind, method) -> bool:
    """Whether a family has a method of its own."""
    return method_of(kind, method) is not getattr(ef.ExponentialFamily, method)


def method_of(kind, method):
    """Return a method of a family itself, and not the one that asks it about an origin."""
    bases = (base for base in kind.__mro__ if base is not ef.families.Centred)
    return next(vars(base)[method] for base in bases if method in vars(base))


def called(function, kind, seen=None) -> set:
    """Return a function and all functions of the package that it calls: of modules, and of a family itself."""
    seen = set() if seen is None else seen
    if not inspect.isfunction(function) or function in seen or not function.__module__.startswith("expfam_em"):
        return seen
    seen.add(function)
    names, known = function.__code__.co_names, function.__globals__
    places = [known, *(vars(known[name]) for name in names if inspect.ismodule(known.get(name)))]
    own = re.findall(r"\bself\.(\w+)\(", inspect.getsource(function))
    found = [place.get(name) for name in names for place in places]
    for each in [*found, *(getattr(kind, name, None) for name in own)]:
        called(inspect.unwrap(each), kind, seen)
    return seen


def iterates(function, kind) -> bool:
    """Whether a function of the package, or one that it calls, has a loop."""
    loop = re.compile(r"^\s*(?:for|while) ", re.MULTILINE)
    return any(loop.search(inspect.getsource(each)) for each in called(function, kind))


def inverse(kind) -> str:
    """Return how η is found from E[T]."""
    if issubclass(kind, COMPOSED):
        return "those of the families"
    if method_of(kind, "to_natural") is OfAnother.to_natural:
        return "that of the family"
    own = getattr(kind, "natural_of", method_of(kind, "to_natural"))
    return "by iteration" if iterates(own, kind) or not overrides(kind, "to_natural") else "by a formula"


def is_quadrature(kind) -> bool:
    """Whether E[log h] is a sum over nodes in an interval."""
    return intervals.nodes in called(method_of(kind, "expected_log_base_measure"), kind)


def estimator_of(name) -> str:
    """Return the estimator of a family that has one of its own, or else the one for all."""
    return f"{name}Mixture" if f"{name}Mixture" in estimators.__all__ else "ExponentialFamilyMixture"


class Subject:
    """A family of the page: its class, its example, and natural parameters estimated from the rows of that."""

    def __init__(self, name):
        self.name, self.kind, self.example = name, getattr(ef.families, name), EXAMPLES[name]
        names = {"np": np, "ef": ef, "rng": np.random.default_rng(0)}
        exec(f"X = {self.example.rows}", names)
        self.X, self.made = np.asarray(names["X"], float), eval(self.example.family, names)
        self.family, self.natural = self.estimated(self.made)
        fit = self.estimated(eval(self.example.fit, names)) if self.example.fit else (self.family, self.natural)
        self.printed = list(fit[0].parameters(fit[1]))[:3]

    def estimated(self, family):
        """Return a family bound to the rows, and the same natural parameters for all components."""
        family = family.bind([(self.X, None)])
        T, exposure = checked.statistics(family, self.X)
        mean = T.sum(axis=0) / (len(T) if exposure is None else exposure.sum())
        return family, family.to_natural(np.tile(mean, (self.example.n_components, 1)))

    @property
    def support(self) -> str:
        """What rows have to be: as the class says it, or its errors about impossible rows."""
        if needs := NEEDS.get(self.kind) or getattr(self.kind, "needs", ""):
            return needs
        found = []
        for value in (np.nan, -1.5, 0.25, 1.0):
            rows = np.full((1, self.X.shape[1]), value)
            rows[0, 1:2] += value == 0.25
            try:
                self.made.check_support(rows)
            except ValueError as error:
                found += re.findall(r" needs (.+?)(?:; | \(|$)", str(error))
        return ", ".join(dict.fromkeys(found)) or "finite numbers"

    @property
    def sparse(self) -> bool:
        """Whether sparse rows are taken."""
        return self.made.sparse in ("entries", "rows")

    @property
    def entropy(self) -> str:
        """How the entropy is found."""
        if self.family.entropy(self.natural) is None:
            return "from samples"
        return "by quadrature" if is_quadrature(self.kind) else "by a formula"

    @property
    def code(self) -> str:
        """Python that fits the family."""
        estimator, components = estimator_of(self.name), f"{self.example.n_components}, random_state=0"
        family = self.example.fit or self.example.family
        line = f"model = ef.{estimator}({family}, {components}).fit(X)"
        if estimator != "ExponentialFamilyMixture":
            line = f"model = ef.{estimator}({components}).fit(X)"
        elif len(line) > WIDTH:
            line = f"family = {family}\n{line.replace(family, 'family')}"
        values = [f'print(model.parameters_["{parameter}"])' for parameter in self.printed]
        return "\n".join([f"X = {self.example.rows}", line, *values])


# ---- the page -------------------------------------------------------------------------------------------------


def table(headers, rows) -> str:
    """Return a table in Markdown."""
    lines = [headers, ["---"] * len(headers), *([text.replace("|", r"\|") for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def overview(subjects) -> str:
    """Return the table of all families."""
    rows = []
    for title, names in KINDS.items():
        rows.append([f"**{title}**", "", "", "", ""])
        for name in names:
            one = subjects[name]
            notes = [f"`{estimator_of(name)}`"] if estimator_of(name) != "ExponentialFamilyMixture" else []
            notes += ["sparse rows"] if one.sparse else []
            notes += ["incomplete"] if is_incomplete(one.made) else []
            known = ", ".join(f"`{constant}`" for constant, _, _ in constants(one.kind))
            rows.append([f"[{name}](#{name.lower()})", one.support, statistics(one.kind), known, ", ".join(notes)])
    return table(["family", "x", "T", "constants", "notes"], rows)


def section(one) -> str:
    """Return the section of a family."""
    first, *paragraphs = description(one.kind)
    words, _, formulas = first.partition(": ")
    if re.match(SYMBOL, formulas):
        lines = re.split(rf", (?={SYMBOL})", formulas.rstrip("."))
        paragraphs = [
            words if words.endswith("…") else f"{words}.",
            "\n".join(f"    {line}" for line in lines),
            *paragraphs,
        ]
    else:
        paragraphs = [first, *paragraphs]
    text = [p if p.startswith("    ") else textwrap.fill(p, WIDTH, break_long_words=False) for p in paragraphs]
    told = constants(one.kind) if "__init__" in vars(one.kind) else []  # those of a base are told there
    facts = [
        ["x", one.support],
        *([f"`{constant}`", f"{what}. {meaning}"] for constant, what, meaning in told),
        ["parameters", ", ".join(f"`{parameter}`" for parameter in one.family.parameters(one.natural))],
        ["η from E[T]", inverse(one.kind)],
        ["entropy", one.entropy],
        ["parts of a row", parts_of_rows(one.kind)],
        ["sparse rows", "yes" if one.sparse else "no"],
    ]
    what = "samples" if one.example.between is None else "densities"
    picture = f"![{one.name}: {what}](images/families/{one.name}.png)"
    more = covariance_models() if one.kind is ef.families.Gaussian else []
    return "\n\n".join([f"## {one.name}", *text, picture, table(["", ""], facts), python(one.code), *more])


def python(code) -> str:
    """Return a block of Python."""
    return f"```python\n{code}\n```"


def parts_of_rows(kind) -> str:
    """Return whether a family has marginals and conditionals."""
    if issubclass(kind, COMPOSED):
        return "as the families have them"
    methods = {"marginals": "marginal", "conditionals": "conditionals"}
    return " and ".join(what for what, method in methods.items() if overrides(kind, method)) or "none"


def covariance_models() -> list[str]:
    """Return what there is to say about covariance models."""
    models = {model.name: model for model in MODELS.values()}
    others = {
        name: [other for other, model in MODELS.items() if model is models[name] and other != name] for name in models
    }
    rows = [
        [
            f"`{name}`", covariance(name), ", ".join(f"`{other}`" for other in others[name]),
            *(str(model.n_parameters(*size)) for size in SIZES), "yes" if model.continues else "",
        ]
        for name, model in models.items()
    ]  # fmt: skip
    counted = [f"K = {K}, d = {d}" for K, d in SIZES]
    return [
        "### Covariance models",
        textwrap.fill(
            "Covariances Σₖ = λₖ Dₖ Aₖ Dₖᵀ have a volume λ, a shape A with |A| = 1, and an orientation D. The letters "
            "of a model say of each, in this order, whether components have it in common (E), each its own (V), or "
            "that of the identity (I). The numbers are those of free parameters of K covariances in d columns. Where "
            "there is a search, the M-step has several maxima and goes on from the previous parameters; it looks for "
            "better ones at the start, after 4, 8, 16, … steps and where a run ends.",
            WIDTH,
        ),
        "![The models, fitted to the same three clusters](images/families/covariance_models.png)",
        table(["model", "Σₖ", "also", *counted, "search"], rows),
        python(
            'model = ef.GaussianMixture(2, covariance_type="VEV", random_state=0).fit(X)\nprint(model.covariances_)'
        ),
    ]


def covariance(name) -> str:
    """Return Σₖ of a model, spelt out."""
    volume, shape, orientation = (
        f"{symbol}{'ₖ' * (letter == 'V')}" for symbol, letter in zip("λAD", name, strict=True)
    )
    if name.endswith("II"):
        return f"{volume} I"
    return f"{volume} {shape}" if name.endswith("I") else f"{volume} {orientation} {shape} {orientation}ᵀ"


def page() -> str:
    """Return the page."""
    subjects = {name: Subject(name) for names in KINDS.values() for name in names}
    sections = [section(one) for one in subjects.values()]
    return "\n\n".join([INTRODUCTION.strip(), overview(subjects), *sections]) + "\n"


def main(arguments) -> int:
    """Write the page and the pictures, or check the page."""
    if "--check" not in arguments:
        import family_pictures

        family_pictures.draw_all(PICTURES)
    return write_or_check(PAGE, page(), "families.py", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
