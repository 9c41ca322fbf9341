"""Compiled code is kept on disk; a missing, damaged or forbidden cache costs a compilation and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import expfam_em as ef
from tests.profiles import WHOLE, share

PACKAGE = Path(ef.__file__).parent

FIT = """
import json, warnings
import numpy as np
import expfam_em as ef
from expfam_em.kernels import em
from numba.core import event

class Compilations(event.Listener):
    names = []
    def on_start(self, compilation):
        self.names.append(compilation.data["dispatcher"].py_func.__qualname__)
    def on_end(self, compilation):
        pass

event.register("numba:compile", Compilations())
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Best performing initialization did not converge")
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2)) + 4 * rng.integers(0, 2, (60, 1))
fits = [
    ef.ExponentialFamilyMixture(family, 2, random_state=0, tol=0, max_iter=3).fit(x, sample_weight=rng.uniform(size=60))
    for family, x in ((ef.families.Gaussian(), X), (ef.families.Poisson(), np.floor(X**2)))
]  # one kernel, and not that of k-means: compiling takes its time
numbers = [value for fit in fits for value in (fit.lower_bounds_, fit.weights_, fit.natural_parameters_)]
numbers += [fits[0].predict_proba(X)]
kernel = em._em_rows.compiled
stats = getattr(kernel, "stats", None)
print(json.dumps({
    "numbers": [float(v) for value in numbers for v in np.ravel(value)],
    "hits": stats and sum(stats.cache_hits.values()), "misses": stats and sum(stats.cache_misses.values()),
    "compiled": Compilations.names,
}))
"""

LOSS = """
import json, warnings
import numpy as np
from expfam_em.kernels import clusters

warnings.simplefilter("error")
rng = np.random.default_rng(0)
X, centres, squares = rng.normal(size=(60, 5)), rng.normal(size=(3, 5)), np.empty(60)
kernel = clusters.loss.compiled
total = kernel(
    (X, np.empty((0, 0), np.float32)), rng.uniform(size=60), centres, np.arange(60, dtype=np.int32) % 3, 0, 60, squares
)
print(json.dumps({
    "numbers": [total, *squares],
    "hits": sum(kernel.stats.cache_hits.values()), "misses": sum(kernel.stats.cache_misses.values()),
}))
"""

DAMAGED = FIT if share(WHOLE) == WHOLE else LOSS
"""What runs beside a damaged cache, or none: all kernels have the same kind of cache; the loss compiles fastest."""


def run(cache, cwd=None, script=FIT, **environment):
    """Run a script in a new process with its cache in a folder; return its numbers and how often the cache was hit."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache), "NUMBA_DISABLE_JIT": "0"} | environment,
        capture_output=True, text=True, check=False, cwd=cwd or PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """The folder of a cache after one process, and what that process said."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, run(folder)


def test_the_second_process_compiles_nothing(cold):
    folder, first = cold
    assert (first["hits"], first["misses"], "_em_rows" in first["compiled"]) == (0, 1, True)
    assert {".nbi", ".nbc"} <= {path.suffix for path in folder.rglob("*")}
    second = run(folder)
    assert (second["hits"], second["misses"], second["compiled"]) == (1, 0, [])
    assert second["numbers"] == first["numbers"]


@pytest.fixture(scope="module")
def sound(request, tmp_path_factory):
    """The folder of a sound cache that is to be damaged, and what the process that wrote it said."""
    if DAMAGED is FIT:
        return request.getfixturevalue("cold")
    folder = tmp_path_factory.mktemp("sound")
    return folder, run(folder, script=DAMAGED)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path):
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "suffixes", "repaired"),
    [(truncate, ".nbi .nbc", True), (scramble, ".nbi .nbc", True), (make_folder, ".nbc", False)],
)
def test_a_damaged_cache_is_survived(sound, tmp_path, damage, suffixes, repaired):
    folder, first = sound
    shutil.copytree(folder, tmp_path / "copy")
    files = [path for path in (tmp_path / "copy").rglob("*") if path.suffix in suffixes.split()]
    assert files
    for path in files:
        damage(path)
    found = run(tmp_path / "copy", script=DAMAGED)
    assert found["numbers"] == first["numbers"]
    assert found["hits"] == 0
    if repaired:
        again = run(tmp_path / "copy", script=DAMAGED)
        assert again["numbers"] == first["numbers"]
        assert again["hits"] == 1


def test_no_folder_for_a_cache_is_survived(sound, tmp_path):
    """Neither the folder asked for, nor beside the source, nor in the home: files stand where folders should be."""
    shutil.copytree(PACKAGE, tmp_path / "expfam_em", ignore=shutil.ignore_patterns("__pycache__"))
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    (tmp_path / "expfam_em/kernels/__pycache__").write_text("")
    places = {"HOME": blocked, "XDG_CACHE_HOME": blocked, "PYTHONDONTWRITEBYTECODE": "1"}
    # the copy is found first, because it is in the current folder
    found = run(blocked / "cache", tmp_path, DAMAGED, **{name: str(value) for name, value in places.items()})
    assert found["numbers"] == sound[1]["numbers"]
    assert found["hits"] == 0
    assert not list(tmp_path.rglob("*.nb*"))


def test_the_kernel_is_right_without_the_compiler(tmp_path, capsys):
    exec(FIT, {})
    compiled = json.loads(capsys.readouterr().out)
    found = run(tmp_path, NUMBA_DISABLE_JIT="1")
    assert found["hits"] is None
    # sums are taken in another order: n · ε = 60 · 2e-16 per step, times the conditioning of the covariances
    np.testing.assert_allclose(found["numbers"], compiled["numbers"], rtol=1e-10, atol=1e-10)
    assert not list(tmp_path.iterdir())
