"""The layers of docs/design.md: imports go downwards, and what is heavy is loaded only where it is used."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import expfam_em as ef

PACKAGE = Path(ef.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NUMBERS = {"numpy", "scipy"}

LAYERS = [
    # module or package, what it may import from outside, by layer and upwards
    ("kernels", {"numpy", "numba"}),
    ("support", NUMBERS),
    ("csr", NUMBERS),
    ("chord", NUMBERS),
    ("legendre", NUMBERS),
    ("monomials", NUMBERS),
    ("sampling", NUMBERS),
    ("family", NUMBERS),
    ("families", NUMBERS),
    ("statistics", NUMBERS),
    ("passes", NUMBERS),
    ("mixture", NUMBERS),
    ("distinct", NUMBERS),
    ("blocks", NUMBERS),
    ("nearest", NUMBERS),
    ("patterns", NUMBERS),
    ("steps", NUMBERS),
    ("em", NUMBERS),
    ("seeding", NUMBERS),
    ("initialisation", NUMBERS),
    ("variational", NUMBERS),
    ("information", NUMBERS),
    ("merging", NUMBERS),
]
EDGES = {
    "checking": NUMBERS,
    "estimators": NUMBERS | {"sklearn"},
    "registry": NUMBERS,
    "persistence": NUMBERS | {"sklearn"},
    "plots": NUMBERS | {"matplotlib"},
    "tables": NUMBERS | {"pyarrow"},
    "choices": NUMBERS,
    "cli": NUMBERS | {"matplotlib", "rich", "typer"},
}
"""Edges import each other and everything below."""

ORDER = [name for name, _ in LAYERS]
UP_TO_FAMILIES = ("kernels", "support", "csr", "chord", "legendre", "monomials", "sampling", "family", "families")
WITHOUT_CONCRETE_FAMILIES = {name for name, _ in LAYERS if name not in UP_TO_FAMILIES}


def layer_of(path):
    """kernels for kernels/em.py, em for em.py, None for the package itself."""
    name = path.relative_to(PACKAGE).with_suffix("").parts[0]
    return None if name == "__init__" else name


def imports_of(path):
    """Every module imported anywhere in a file, in functions and blocks too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "expfam_em":
                yield from (f"expfam_em.{alias.name}" for alias in node.names)
            else:
                yield node.module


def split(path):
    """Return the layers of this package and the outside packages that a file imports."""
    names = [name.split(".") for name in imports_of(path)]
    inside = {parts[1] for parts in names if parts[0] == "expfam_em" and len(parts) > 1}
    outside = {parts[0] for parts in names} - sys.stdlib_module_names - {"expfam_em"}
    return inside, outside


def named(path):
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", [path for path in FILES if layer_of(path)], ids=named)
def test_imports_go_downwards(path):
    layer = layer_of(path)
    assert layer in {*ORDER, *EDGES}, f"{layer} has no place among the layers yet: give it one"
    inside, outside = split(path)
    if layer in EDGES:
        assert outside <= EDGES[layer]
        return
    below = set(ORDER[: ORDER.index(layer) + 1])
    assert inside <= below, f"{path.name} imports {inside - below}"
    assert outside <= dict(LAYERS)[layer], f"{path.name} imports {outside}"
    if layer in WITHOUT_CONCRETE_FAMILIES:
        assert "families" not in inside


def test_kernels_import_kernels_only():
    # compiled code on disk is stamped with a digest of all kernel files, and of no others
    for path in (PACKAGE / "kernels").glob("*.py"):
        inside = {name for name in imports_of(path) if name.startswith("expfam_em")}
        assert all(name.startswith("expfam_em.kernels.") for name in inside)


def test_the_package_itself_loads_nothing_heavy():
    check = (
        "import sys, expfam_em; import expfam_em.plots; "
        "print([name for name in ('sklearn', 'matplotlib', 'pandas', 'typer', 'pyarrow') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_name_that_is_promised_exists():
    modules = [ef, *(importlib.import_module(name) for name in ("expfam_em.families", "expfam_em.estimators"))]
    for module in modules:
        for name in module.__all__:
            assert getattr(module, name) is not None
            assert name in dir(module)
        assert len(set(module.__all__)) == len(module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        ef.nonsense  # noqa: B018 - the access is the question
    for name in (
        "GaussianMixture", "BernoulliMixture", "KMeans", "ExponentialFamily", "ExponentialFamilyMixture", "Mixture",
        "ExpectedStatistics", "FitResult", "accumulate", "maximize", "fit", "load", "register", "families",
    ):  # fmt: skip
        assert name in ef.__all__


@pytest.mark.parametrize("path", FILES, ids=named)
def test_files_are_short_and_public_names_documented(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare, f"{path.name}: {bare} have no docstring"


def test_public_methods_are_documented_by_themselves_or_by_what_they_override():
    public = [getattr(ef, name) for name in ef.__all__] + [getattr(ef.families, name) for name in ef.families.__all__]
    bare = []
    for kind in filter(inspect.isclass, public):
        for name, value in vars(kind).items():
            if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                documented = (getattr(base.__dict__.get(name), "__doc__", None) for base in kind.__mro__)
                bare += [] if any(documented) else [f"{kind.__name__}.{name}"]
    assert not bare


def test_every_module_imports():
    for module in pkgutil.walk_packages([str(PACKAGE)], "expfam_em."):
        importlib.import_module(module.name)


def test_the_whole_package_is_shipped():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES}
    assert set(listed) == found
