"""Writes docs/api.md from the code and its docstrings: ``python docs/api.py``.

With ``--check`` nothing is written, and the exit code is 1 if the page is out of date.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import inspect
import re
import sys
import textwrap
from pathlib import Path

from generated import write_or_check

import expfam_em as ef
from expfam_em import plots
from expfam_em.cli import commands
from expfam_em.families import Centred, CentredColumns, Incomplete, IndependentColumns, KernelForm, Monomials, row_sums

PAGE = Path(__file__).parent / "api.md"
WIDTH = 120

INTRODUCTION = """\
# API

<!-- made from the code by docs/api.py: edit the docstrings, or that script -->

What is public, and nothing else: the names below are promised, with their arguments and attributes. Everything else is
private, by its place (a module that this page does not name) or by an underscore, and may change in any version.
Shapes are those of [Notation](notation.md): n rows, d columns, K components, p statistics per row.

The names of the first five sections are those of `expfam_em`, as in `import expfam_em as ef`.
"""

EXTENDING = """\
## For code that extends the package

Some pages import from modules of the package. Their names may move before the first release:

- `expfam_em.rows`: `source.RowSource`, `protocol.Rows`, `protocol.Chunk`, `grid.Tree`, `grid.rows_per_chunk`, for a
  source of rows ([Rows of your own](rows.md)); `parts.part_bounds`, `parts.sum_part`, for another cluster
  ([Clusters](scaling.md#other-engines)).
- `expfam_em.em`: `loop.run`, `options.Options`, `state.Problem`, `state.State`, `state.begin`, `state.improve`,
  `state.move`, for steps of your own ([Between two steps](steps.md)).
"""

FOR_THE_DRIVER = {
    "Mixture": {"flat_natural", "in_family_if_finite", "log_weights", "reframed", "scores", "unchecked"},
    "ExpectedStatistics": {"concatenate", "repeated"},
    "ExponentialFamily": {"conditionals", "replace"},
}  # fmt: skip
"""Members without an underscore that are there for the steps of a fit, and are not promised."""

OF_FAMILIES = {"Gaussian": ("from_moments", "to_moments"), "Product": ("split", "combine")}
"""Methods of single families that others do not have."""

REPORT = """\
`check_family` returns a report. Its `checked` is a dict that says of each law by how much it holds, `left_out` one that
says of each other law why it was not checked.
"""


# ---- what the code says ---------------------------------------------------------------------------------------


def summary(text) -> str:
    """Return the first sentence of a docstring, in Markdown, fit for a cell of a table."""
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split()).replace("``", "`")
    return re.split(r"(?<=[^.\s]\.) (?=[A-Z`\"])", paragraph)[0].replace("|", r"\|")


def call(function, name, *, bound=False) -> str:
    """Return a call with the arguments and defaults of a function, without annotations."""
    plain = [each.replace(annotation=each.empty) for each in inspect.signature(function).parameters.values()]
    return name + str(inspect.Signature(plain[1:] if bound else plain))


def entries(kind, title) -> list[tuple[str, str, str]]:
    """Return name, type and first sentence of the entries of a section of a docstring."""
    found = re.search(rf"\n\n{title}\n-+\n(.*?)(?:\n\n(?=\S)|$)", inspect.getdoc(kind) or "", re.DOTALL)
    lines = re.sub(r",\n(?=\S)", ", ", found[1] if found else "")
    parts = re.findall(r"^(\S.*?)(?: : (.*))?(?:\n|$)((?:    .*(?:\n|$))*)", lines, re.MULTILINE)
    return [(name, what, _to_the_end(text)) for name, what, text in parts]


def _to_the_end(text) -> str:
    return summary(text) if text.strip() else ""


@functools.cache
def attributes_with_words(kind) -> dict[str, tuple[str, str]]:
    """Return the default and the first sentence of each class attribute that a string stands below."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    found = {}
    for statement, following in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)):
            continue
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else getattr(statement, "targets", [])
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                found[target.id] = ast.unparse(statement.value), summary(str(following.value.value))
    return found


def members(kind) -> list[str]:
    """Return the names of the public methods and properties that this package defines, in the order of the code."""
    bases = [base for base in reversed(kind.__mro__) if base.__module__.startswith("expfam_em")]
    names = dict.fromkeys(name for base in bases for name in vars(base) if not name.startswith("_"))
    hidden = FOR_THE_DRIVER.get(kind.__name__, set())
    missing = hidden - set(names)
    assert not missing, f"FOR_THE_DRIVER names {missing}, which {kind.__name__} does not have"
    return [name for name in names if name not in hidden]


def member_row(kind, name) -> list[str] | None:
    """Return the row of a member in the table of its class; None for what is no method or property."""
    value = inspect.getattr_static(kind, name)
    if isinstance(value, (property, functools.cached_property)):
        return [f"`{name}`", summary(value.__doc__)]
    if isinstance(value, classmethod):
        return [f"`{call(getattr(kind, name), f'{kind.__name__}.{name}')}`", summary(inspect.getdoc(value))]
    if inspect.isfunction(value):
        return [f"`{call(value, name, bound=True)}`", summary(inspect.getdoc(getattr(kind, name)))]
    return None


# ---- the page -------------------------------------------------------------------------------------------------


def text(words) -> str:
    """Return a paragraph in lines."""
    return textwrap.fill(words, WIDTH, break_on_hyphens=False)


def table(headers, rows) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [headers, ["---"] * len(headers), *rows])


def constructor(kind) -> str:
    """Return a block with the call that makes an object, wrapped."""
    lines = textwrap.fill(call(kind, kind.__name__), WIDTH, subsequent_indent=" " * 4, break_on_hyphens=False)
    return f"```text\n{lines}\n```"


def fields(kind) -> list[list[str]]:
    """Return rows for the attributes that docstrings tell of."""
    told = entries(kind, "Attributes")
    if dataclasses.is_dataclass(kind):
        told = entries(kind, "Parameters") + told
    rows = [[f"`{name}`" if what or " " not in name else name, ". ".join(filter(None, (what, words)))]
            for name, what, words in told]  # fmt: skip
    return [[_quoted(name), words.replace("|", r"\|")] for name, words in rows]


def _quoted(name) -> str:
    return ", ".join(f"`{part}`" for part in name.replace("`", "").split(", "))


def of_class(kind, known=()) -> str:
    """Return the section of a class; ``known`` are members that another section has told of."""
    base = [] if inspect.isabstract(kind) else [constructor(kind)]
    rows = fields(kind)
    told = {part.strip("` ") for row in rows for part in row[0].split(",")}
    for name, (default, words) in attributes_with_words(kind).items():
        rows.append([f"`{name} = {default}`", words])
    found = (member_row(kind, name) for name in members(kind) if name not in known and name not in told)
    rows += [row for row in found if row is not None]
    return "\n\n".join([f"### {kind.__name__}", summary(kind.__doc__), *base, table(["", ""], rows)])


def of_status() -> str:
    """Return the section of how a fit may end."""
    rows = [[f"`Status.{one.name}`", one.value] for one in ef.Status]
    return "\n\n".join(["### Status", summary(ef.Status.__doc__), table(["", "`value`"], rows)])


def of_error(kind) -> str:
    """Return the section of an error."""
    return "\n\n".join([f"### {kind.__name__}", summary(kind.__doc__), table(["", ""], fields(kind))])


def functions(named) -> str:
    """Return the table of some functions."""
    return table(["", ""], [[f"`{call(one, name)}`", summary(one.__doc__)] for name, one in named.items()])


def by_kind() -> dict[str, dict]:
    """Return the names of the package: estimators, values, errors, functions, the abstract class; none is left out."""
    groups: dict[str, dict] = {"estimators": {}, "values": {}, "errors": {}, "functions": {}, "family": {}}
    for name in ef.__all__:
        value = getattr(ef, name)
        if name == "families":
            continue
        if not inspect.isclass(value):
            groups["functions"][name] = value
        elif issubclass(value, ef.ExponentialFamily):
            groups["family"][name] = value
        elif issubclass(value, Exception):
            groups["errors"][name] = value
        elif hasattr(value, "get_params"):
            groups["estimators"][name] = value
        else:
            groups["values"][name] = value
    return groups


def of_families() -> str:
    """Return the table of all families, and what some of them have beyond the others."""
    kinds = {name: getattr(ef.families, name) for name in ef.families.__all__}
    kinds = {name: kind for name, kind in kinds.items() if is_family(kind)}
    rows = [
        [f"[{name}](families.md#{name.lower()})", f"`{call(kind, name)}`", summary(kind.__doc__)]
        for name, kind in kinds.items()
    ]
    more = [(name, getattr(kinds[name], method)) for name, methods in OF_FAMILIES.items() for method in methods]
    return "\n\n".join([
        text(
            "The classes of `expfam_em.families`. Each has the methods of `ExponentialFamily`. [Families](families.md) "
            "has T, A, parameters and an example of each."
        ),
        table(["", "made by", ""], rows),
        "These have further methods; `LogNormal` has those of `Gaussian`:",
        table(
            ["", ""],
            [[f"`{call(method, f'{name}.{method.__name__}', bound=True)}`", summary(method.__doc__)]
             for name, method in more],
        ),
    ])  # fmt: skip


def is_family(kind) -> bool:
    """Return whether a name of `expfam_em.families` is a family, and not something that families are made from."""
    return inspect.isclass(kind) and issubclass(kind, ef.ExponentialFamily) and not inspect.isabstract(kind)


def of_makings() -> str:
    """Return the sections of what families are made from."""
    return "\n\n".join([
        text(
            "These names of `expfam_em.families` are no families. Families of your own are made from them: see "
            "[Add a family](add_a_family.md), and [Sparse rows](sparse.md) for `row_sums`."
        ),
        functions({"row_sums": row_sums}),
        of_class(IndependentColumns, dir(ef.ExponentialFamily)),
        of_class(Incomplete, dir(ef.ExponentialFamily)),
        of_class(Centred, dir(Centred.__base__)),
        of_class(CentredColumns, {*dir(Centred), *dir(IndependentColumns)}),
        of_class(KernelForm),
        of_class(Monomials),
    ])  # fmt: skip


def of_commands() -> str:
    """Return the table of the commands with their options."""
    rows = []
    for command in commands.app.registered_commands:
        told = inspect.get_annotations(command.callback, eval_str=True)
        options = []
        for name, annotation in told.items():
            if name == "return":
                continue
            [about] = annotation.__metadata__
            is_option = type(about).__name__ == "OptionInfo"
            words = (about.default, *(about.param_decls or ()))  # typer keeps the first one as a default
            declared = [word for word in words if isinstance(word, str) and word.startswith("--")]
            spelled = declared[0] if declared else f"--{name.replace('_', '-')}"
            options.append(f"`{spelled}`" if is_option else f"`{name.upper()}`")
        called = command.name or command.callback.__name__
        rows.append([f"`expfam-em {called}`", " ".join(options), summary(command.callback.__doc__)])
    return table(["", "arguments", ""], rows)


def page() -> str:
    """Return the page."""
    groups = by_kind()
    estimators, values = groups["estimators"], groups["values"]
    of_scikit_learn = text(
        "Estimators are scikit-learn's: `get_params`, `set_params` and the like come with `BaseEstimator`. Arguments "
        "of the constructors are attributes of the same names."
    )
    parts = [
        INTRODUCTION.strip(),
        "## Estimators", of_scikit_learn, *map(of_class, estimators.values()),
        "## Functions", functions(groups["functions"]), REPORT.strip(),
        "## Values",
        *(of_status() if issubclass(kind, enum.Enum) else of_class(kind) for kind in values.values()),
        "## Errors", *map(of_error, groups["errors"].values()),
        "## A family", *map(of_class, groups["family"].values()),
        "## Families", of_families(),
        "## What families are made from", of_makings(),
        "## Plots", "The functions of `expfam_em.plots`; they need the extra `plot`.",
        functions(public_functions(plots)),
        "## Command line", "[Command line](command_line.md) describes each option.", of_commands(),
        EXTENDING.strip(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def public_functions(module) -> dict:
    """Return the functions of a module that are for its users."""
    return {name: value for name, value in vars(module).items() if inspect.isfunction(value) and name in module.__all__}


def main(arguments) -> int:
    """Write the page, or check it."""
    return write_or_check(PAGE, page(), "api.py", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
