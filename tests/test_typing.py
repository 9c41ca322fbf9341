"""Public signatures are annotated, so that mypy and pyright, both strict, have nothing to say of a user's script."""

import functools
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import expfam_em as ef
from expfam_em import plots

ROOT = Path(ef.__file__).parent.parent
SCRIPT = ROOT / "tests" / "user_script.py"

MISTAKES = {
    'ef.GaussianMixture(n_components="three")': 'Argument "n_components" to "GaussianMixture" has incompatible type',
    "ef.KMeans(8).fit(X).predict(X).bic(X)": 'has no attribute "bic"',
    "ef.GaussianMixture(2).fit(X).mean_": '"GaussianMixture" has no attribute "mean_"',
    'ef.KMeans(2).set_output(transform="csv")': '"set_output" of "Transformer" has incompatible type',
    "ef.families.Gaussian(3)": 'Argument 1 to "Gaussian" has incompatible type "int"',
    "ef.ExponentialFamilyMixture(ef.families.Poisson, 2)": 'Argument 1 to "ExponentialFamilyMixture" has incompatible',
    'ef.fit(mixture, X, weights="same")': 'Argument "weights" to "fit" has incompatible type',
    "ef.accumulate(mixture, X).bounds": '"ExpectedStatistics" has no attribute "bounds"',
    "ef.fit(mixture, X).log_density(X)": '"FitResult" has no attribute "log_density"',
    "ef.families.IndependentColumns()": 'Cannot instantiate abstract class "IndependentColumns"',
    "ef.load(3)": 'Argument 1 to "load" has incompatible type "int"',
}
"""Lines of a script with a mistake each, and what mypy says of it."""


def functions_of(kind):
    """Return the public methods of a class and its constructor, by name, with those that it inherits from here."""
    for base in kind.__mro__:
        for name, value in vars(base).items() if base.__module__.startswith("expfam_em") else ():
            value = getattr(value, "__func__", value)
            value = value.fget if isinstance(value, property) else value
            value = value.func if isinstance(value, functools.cached_property) else value
            if inspect.isfunction(value) and (name == "__init__" or not name.startswith("_")):
                yield f"{base.__name__}.{name}", value


def public_functions():
    """Return the functions and methods that users call or override, by name."""
    found = {}
    for module in (ef, ef.families):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value):
                found.update(functions_of(value))
            elif inspect.isfunction(value):
                found[name] = value
    pictures = {name: value for name, value in vars(plots).items() if name.startswith("plot_")}
    return {name: value for name, value in (found | pictures).items() if not in_standard_library(value)}


def in_standard_library(function):
    return not function.__module__.startswith("expfam_em")


def unannotated(function):
    """Return the arguments that have no annotation, and "return" if the result has none."""
    signature = inspect.signature(function)
    arguments = [
        name
        for name, argument in signature.parameters.items()
        if argument.annotation is argument.empty and name not in ("self", "cls")
    ]
    return arguments + ["return"] * (signature.return_annotation is signature.empty)


def test_every_public_signature_is_annotated():
    functions = public_functions()
    assert len(functions) > 400
    assert {name: lacking for name, function in functions.items() if (lacking := unannotated(function))} == {}


def test_names_that_are_imported_when_first_used_are_promised():
    assert set(ef._LAZY) <= set(ef.__all__)
    text = (Path(ef.__file__)).read_text(encoding="utf-8")
    seen_by_mypy = text.partition("if TYPE_CHECKING:")[2].partition("__version__")[0]
    assert [name for name in ef._LAZY if name not in seen_by_mypy] == []


@pytest.fixture(scope="module")
def checked_by(tmp_path_factory):
    """Return a function that has a checker look at a script as a user does, with the package as an installed one."""
    folder = tmp_path_factory.mktemp("checked")
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    environment["PYTHONPATH"] = str(ROOT)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}', encoding="utf-8")

    def check(text, *command):
        (folder / "script.py").write_text(text, encoding="utf-8")
        return subprocess.run(
            [sys.executable, "-m", *command, "script.py"],
            capture_output=True, text=True, check=False, cwd=folder, env=environment,
        )  # fmt: skip

    return check


@pytest.fixture(scope="module")
def mypy(checked_by):
    return lambda text: checked_by(text, "mypy", "--strict", "--config-file=", "--cache-dir=cache")


def test_pyright_accepts_a_users_script(checked_by):
    run = checked_by(SCRIPT.read_text(encoding="utf-8"), "basedpyright", "--pythonpath", sys.executable)
    assert run.returncode == 0, run.stdout + run.stderr


def test_mypy_accepts_a_users_script(mypy):
    run = mypy(SCRIPT.read_text(encoding="utf-8"))
    assert (run.stdout, run.stderr, run.returncode) == ("Success: no issues found in 1 source file\n", "", 0)


def test_mypy_finds_mistakes(mypy):
    start = "import numpy as np\n\nimport expfam_em as ef\n\nX = np.ones((9, 2))\n"
    start += "mixture = ef.Mixture(ef.families.Poisson(), [1.0], [[0.0, 0.0]])\n"
    run = mypy(start + "\n".join(MISTAKES) + "\n")
    first, lines = start.count("\n") + 1, run.stdout.splitlines()
    for number, (line, expected) in enumerate(MISTAKES.items(), first):
        [found] = [told for told in lines if told.startswith(f"script.py:{number}: error: ")]
        assert expected in found, line
    assert run.returncode == 1


def test_the_users_script_runs():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    run = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT)], capture_output=True, text=True, check=False, env=environment
    )
    assert (run.stderr, run.returncode) == ("", 0)
    assert run.stdout.endswith("[[1.]\n [6.]]\n")
