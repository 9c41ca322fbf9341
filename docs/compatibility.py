"""The figures of docs/compatibility.md: run ``python docs/compatibility.py [folder]``.

Scikit-learn's own tests are copied from where it is installed to a folder, a temporary one by default. There
`GaussianMixture`, `BayesianGaussianMixture`, `KMeans` and `MiniBatchKMeans` are imported from this package instead.
pytest runs them with this file as a plugin. It counts the tests that make one of the four.
"""

import collections
import functools
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import sklearn

import expfam_em as ef

HERE, THERE = Path(__file__).parent, Path(sklearn.__file__).parent
FILES = (
    "mixture/tests/test_gaussian_mixture.py",
    "mixture/tests/test_bayesian_mixture.py",
    "mixture/tests/test_mixture.py",
    "cluster/tests/test_k_means.py",
)
SWAPPED = ("GaussianMixture", "BayesianGaussianMixture", "KMeans", "MiniBatchKMeans")

makers, outcomes = set(), {}


def swapped(source):
    """Return the source of a test with our classes in its imports."""
    lines = []
    for line in source.splitlines():
        found = re.fullmatch(r"from sklearn\.(?:cluster|mixture) import (.*)", line)
        names = found[1].split(", ") if found and "(" not in line else []
        for name in names:
            lines.append(f"from {'expfam_em' if name in SWAPPED else line.split()[1]} import {name}")
        lines += [] if names else [line]
    return "\n".join(lines) + "\n"


# ---- the plugin ----------------------------------------------------------------------------------------------------


def pytest_configure(config):
    for name in SWAPPED:
        kind = getattr(ef, name)
        kind.__init__ = noting(kind.__init__)


def noting(init):
    """Return a constructor that notes which test calls it."""

    @functools.wraps(init)
    def made(self, *args, **parameters):
        makers.add(os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0])
        init(self, *args, **parameters)

    return made


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        outcomes[report.nodeid] = report.outcome, "" if crash is None else crash.message.splitlines()[0]


def pytest_sessionfinish():
    for name in dict.fromkeys(nodeid.partition("::")[0] for nodeid in outcomes):
        own = {at: one for at, one in outcomes.items() if at in makers and at.startswith(name)}
        count = collections.Counter(outcome for outcome, _ in own.values())
        print(f"\n{name}: {count['passed']} of {count['passed'] + count['failed']} pass")
        for at, (outcome, message) in own.items():
            if outcome == "failed":
                print(f"  {at.partition('::')[2]}: {message[:150]}")


# ---- the run -------------------------------------------------------------------------------------------------------


def run(folder):
    """Copy the tests to a folder, swap the classes and run them."""
    for file in FILES:
        (folder / Path(file).name).write_text(swapped((THERE / file).read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "conftest.py").write_text((THERE / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "SKLEARN_RUN_FLOAT32_TESTS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "--no-summary", "--no-header", "-p", "compatibility"]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout
    print(said[said.find("\ntest_") :] if "\ntest_" in said else said)


def check():
    """Run scikit-learn's checks of every estimator."""
    from sklearn.utils.estimator_checks import check_estimator

    gaussian = ef.ExponentialFamilyMixture(ef.families.Gaussian())
    bayesian = ef.BayesianGaussianMixture()
    for estimator in (
        ef.GaussianMixture(),
        bayesian,
        ef.KMeans(),
        ef.MiniBatchKMeans(),
        ef.BernoulliMixture(),
        gaussian,
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(estimator, on_fail=None, on_skip=None)
        count = collections.Counter(result["status"] for result in results)
        print(f"check_estimator({type(estimator).__name__}): {dict(count)}")


if __name__ == "__main__":
    print(f"scikit-learn {sklearn.__version__}")
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            run(Path(folder))
    check()
