"""Files that earlier versions wrote are loaded, and say what they said; a process killed while saving harms no file."""

import json
import subprocess
import sys

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.saving import files
from tests.saved_models import FOLDER, said

MODELS = sorted(FOLDER.glob("*/*.efm"))
ROUNDING = 1e-11
"""Relative: log-densities of other processors and versions of NumPy differ by some hundred roundings."""


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_saved_model_says_what_it_said(path):
    expected = json.loads((path.parent / "expected.json").read_text(encoding="utf-8"))[path.stem]
    model = ef.load(path)
    assert type(model).__name__ == expected.pop("estimator")
    found = said(model, np.array(expected.pop("X")))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert found[name] == value
        else:
            size = np.nanmax(np.abs(value))
            np.testing.assert_allclose(found[name], value, rtol=ROUNDING, atol=ROUNDING * size, err_msg=name)


def test_every_format_and_every_estimator_is_among_them():
    formats = {path.parent.name for path in MODELS}
    assert formats == {f"format_{version}" for version in range(2, files.VERSION + 1)}, (
        "run python -m tests.saved_models"
    )
    for folder in FOLDER.iterdir():
        expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        assert {one["estimator"] for one in expected.values()} == set(files._estimators)
        assert {path.stem for path in folder.glob("*.efm")} == expected.keys()


SAVING = """
import os, pathlib, signal, sys, time

import numpy as np

import expfam_em as ef

path, rng, seen = pathlib.Path(sys.argv[1]), np.random.default_rng(0), set()
models = [ef.KMeans(K, random_state=0, n_jobs=1).fit(np.arange(3000.0).reshape(-1, 3)) for K in (2, 300)]
models[0].save(path)
for _ in range(12):
    if not (child := os.fork()):
        while True:
            for model in models:
                model.save(path)
    time.sleep(rng.uniform(0.01, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    seen.add(ef.load(path).n_clusters)
assert seen <= {2, 300}, seen
"""


def test_a_process_killed_while_saving_leaves_a_whole_file(tmp_path):
    command = [sys.executable, "-c", SAVING, tmp_path / "model"]
    done = subprocess.run(command, timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ef.load(tmp_path / "model").n_clusters in (2, 300)
