"""The layers of docs/design.md: imports go downwards, and what is heavy is loaded only where it is used."""

import ast
import collections
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import expfam_em as ef
from expfam_em import estimators, plots

PACKAGE = Path(ef.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NUMBERS = {"numpy", "scipy"}

OUTSIDE = {
    "kernels": {"numpy", "numba"},
    "rows": NUMBERS | {"threadpoolctl"},
    "sources": NUMBERS | {"cloudpickle", "dask", "distributed", "h5py", "pyarrow", "zarr"},
    "estimators": NUMBERS | {"matplotlib", "sklearn"},  # of matplotlib types alone
    "plots": NUMBERS | {"matplotlib"},
    "progress": NUMBERS | {"tqdm"},
    "cli": NUMBERS | {"matplotlib", "pyarrow", "pandas", "typer"},
}
"""What layers may import from outside, if not just NumPy and SciPy."""

PUBLIC = {
    "expfam_em": {*ef.__all__, "estimators", "plots"},
    "expfam_em.estimators": set(estimators.__all__),
    "expfam_em.families": set(ef.families.__all__),
    "expfam_em.plots": set(plots.__all__),
}
"""The modules that users import, and the names that they import from them."""

ROWS = "rows, as families and steps take them"
KERNEL = "the kernel itself"
REGISTRY = "the table of families that files know"

INTERNALS = {
    "conftest.py": f"{REGISTRY}; the size of chunks",
    "awkward.py": "the error of a row outside the support",
    "test_agglomerate.py": "the tree itself",
    "test_acceleration.py": "a fit that is kept between two steps",
    "mutated_files.py": "the version of the format, and which estimators can be saved",
    "signalled_fits.py": "the size of chunks",
    "passes.py": "the passes of the E-step themselves",
    "test_row_offsets.py": "offsets of scores, which no public name takes yet",
    "test_bayesian.py": "conjugate priors themselves",
    "test_checkpoints.py": "files of checkpoints, byte by byte",
    "test_check_family.py": "the laws and the integrals themselves",
    "test_cli.py": "the program in this process",
    "test_constraints.py": "the search under constraints itself",
    "test_cost.py": "how much is measured",
    "test_convergence.py": "the estimate of what is left to gain",
    "test_covariance_model_fits.py": "runs in lock step",
    "test_select.py": "up to how many rows fits are made in lock step",
    "test_concurrency.py": "chunks and threads",
    "test_dask.py": "the size of chunks; rows of which ranges are read",
    "test_distinct.py": "equal rows themselves, and where they are looked for",
    "test_em.py": "the size of chunks",
    "test_intervals.py": "quadratures over intervals",
    "test_estimators.py": f"{ROWS}; starts",
    "test_exp_log.py": KERNEL,
    "test_file_damage.py": "files of estimators that are not saved otherwise",
    "test_guard.py": f"{ROWS}; runs in lock step; what components add to rows from anywhere",
    "test_fit_many.py": f"{ROWS}; runs in lock step",
    "test_kept_table.py": "the memory for tables of T",
    "test_few.py": "sums that leave out what does not matter, against those that do not",
    "test_found_forms.py": "which kernel a plan has chosen",
    "test_k_means.py": "distances that are remembered; the k-means hook",
    "test_kernels.py": KERNEL,
    "test_legendre.py": "the solver of mappings itself",
    "test_missing.py": "the kinds of starts",
    "test_model_kernels.py": KERNEL,
    "test_monotone.py": f"{ROWS}; runs in lock step",
    "test_nearest.py": KERNEL,
    "test_pages.py": "the table of covariance models",
    "test_patterns.py": KERNEL,
    "test_persistence.py": REGISTRY,
    "row_sources.py": "rows that are nowhere in one piece",
    "test_sources.py": "threads that read ahead; the size of chunks, and how many rows starts are drawn from",
    "test_registry.py": REGISTRY,
    "test_progress.py": "how long a fit may take without a bar; what is said of compiling",
    "test_repeatable.py": "the size of chunks",
    "test_same_bits.py": "fits of a given start in a stack, and sums of the kernels",
    "test_rows.py": "rows, chunks and what is made of them",
    "saved_models.py": "the version of the format",
    "test_saved_models.py": "the version of the format, and which estimators can be saved",
    "test_sparse.py": f"{ROWS}; CSR rows, and predictions in one pass",
    "test_sparse_k_means.py": "CSR rows and distances that are remembered",
    "test_sparse_kernel.py": KERNEL,
    "test_sparse_whole_rows.py": "CSR rows, and predictions in one pass",
    "test_special_functions.py": "the special functions themselves",
    "test_starts.py": f"{ROWS}; starts, and the labels they begin at",
    "test_state.py": "states and steps",
    "test_tables.py": "the reader of tables itself",
}
"""The test files that import what is not public, and what they need it for."""


def layers():
    """Return the layers of docs/design.md, each a set of names beside one another, from below upwards."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    [line] = [line for line in text.splitlines() if line.strip().startswith("kernels, rows <")]
    return [{name.strip() for name in names.split(",")} for names in line.split("<")]


def level_of(layer):
    """Return how high a layer lies."""
    [level] = [level for level, names in enumerate(layers()) if layer in names]
    return level


def layer_of(path):
    """kernels for kernels/em.py, em for em/loop.py, None for the package itself."""
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


def internals_of(path):
    """Return what a file of the tests imports from the package that is not public."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name not in PUBLIC]
        elif isinstance(node, ast.ImportFrom):
            public = PUBLIC.get(node.module, ())
            found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name not in public]
    return [name for name in found if name.startswith("expfam_em")]


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
    inside, outside = split(path)
    beside_or_above = {name for name in inside - {layer} if level_of(name) >= level_of(layer)}
    assert not beside_or_above, f"{path.name} imports {beside_or_above}"
    assert outside <= OUTSIDE.get(layer, NUMBERS), f"{path.name} imports {outside}"
    if level_of("families") < level_of(layer) < level_of("estimators") and layer not in ("saving", "plots"):
        assert "families" not in inside, "what iterates knows no concrete family"


def test_every_layer_of_the_list_exists():
    assert set.union(*layers()) == {layer_of(path) for path in FILES} - {None}


def test_kernels_import_kernels_only():
    # compiled code on disk is stamped with a digest of all kernel files, and of no others
    for path in (PACKAGE / "kernels").glob("*.py"):
        inside = {name for name in imports_of(path) if name.startswith("expfam_em")}
        assert all(name.startswith("expfam_em.kernels.") for name in inside)


def test_tests_use_public_names_but_for_a_reason():
    internal = {path.name: internals_of(path) for path in (ROOT / "tests").glob("*.py")}
    unexplained = {name: names for name, names in internal.items() if names and name not in INTERNALS}
    assert not unexplained, "import the public names, or say in INTERNALS what the others are for"
    outdated = [name for name in INTERNALS if not internal.get(name)]
    assert not outdated, "these files import public names only"


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


LONGEST_BODY, LONGEST_KERNEL, MOST_PUBLIC_METHODS = 45, 70, 30
"""Lines of a function without its signature and docstring, which should be read without scrolling; own methods."""


@pytest.mark.parametrize("path", FILES, ids=named)
def test_functions_are_short_and_public_names_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{path.name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
            longest = LONGEST_KERNEL if layer_of(path) == "kernels" else LONGEST_BODY
            assert node.end_lineno - first.lineno < longest, f"{path.name}: {node.name} is long"
        if isinstance(node, ast.ClassDef):
            public = [each.name for each in node.body if isinstance(each, ast.FunctionDef) and each.name[0] != "_"]
            assert len(public) <= MOST_PUBLIC_METHODS, f"{node.name} has {len(public)} public methods"
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare, f"{path.name}: {bare} have no docstring"


def test_a_constant_has_a_name_of_its_own():
    defined = collections.defaultdict(set)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)]
            for name in names:
                if name.isupper() and name[0] != "_":
                    defined[name].add(named(path))
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}


def test_public_methods_are_documented_by_themselves_or_by_what_they_override():
    public = [getattr(ef, name) for name in ef.__all__] + [getattr(ef.families, name) for name in ef.families.__all__]
    bare = []
    for kind in filter(inspect.isclass, public):
        for name, value in vars(kind).items():
            if not name.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
                documented = (getattr(base.__dict__.get(name), "__doc__", None) for base in kind.__mro__)
                bare += [] if any(documented) else [f"{kind.__name__}.{name}"]
    assert not bare


def described(doc):
    """Return the names of parameters and attributes that a docstring says something of, beyond their types."""
    found, names, inside, lines = set(), [], False, inspect.cleandoc(doc or "").splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", below):
            inside, names = line in ("Parameters", "Attributes"), []
        elif inside and line and not line[0].isspace():
            more = re.findall(r"\w+", line.split(" : ")[0])
            names = names + more if names[-1:] == [","] else more
            names += [","] * line.endswith(",")
        elif inside and line.strip():
            found |= set(names)
    return found


PUBLIC_CALLS = [
    *(getattr(ef, name) for name in ef.__all__ if name not in ("families", "Status") and name[-5:] != "Error"),
    *(kind for name in ef.families.__all__ if inspect.isclass(kind := getattr(ef.families, name))),
    *(getattr(plots, name) for name in plots.__all__ if callable(getattr(plots, name))),
]


@pytest.mark.parametrize("call", PUBLIC_CALLS, ids=lambda call: call.__name__)
def test_every_parameter_of_what_is_public_is_described(call):
    bare = set(inspect.signature(call).parameters) - described(call.__doc__)
    assert not bare


def test_a_parameter_without_a_description_is_found():
    doc = """Add.

    Parameters
    ----------
    first : float
    second, third : float,
    fourth
        Something.
    """
    assert described(doc) == {"second", "third", "fourth", ","}


def test_every_module_imports():
    for module in pkgutil.walk_packages([str(PACKAGE)], "expfam_em."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
