"""Cold starts: import and first fit in a fresh process, with the kernels cached on disk and without."""

import json
import os
import subprocess
import sys
import tempfile

from harness.store import at_most

WARM, EVER = 1.5, 20

HOW = """
Fresh processes, timed from their first statement (before NumPy) to the end of a fit of 1,000 × 2 rows; least of
three. `first ever` starts from an empty folder of kernels (NUMBA_CACHE_DIR) and fits, one after another, what is
listed; each time contains what the ones before it have not compiled yet.
"""

FIRST_FIT = """
import time; start = time.perf_counter()
import numpy as np
{imports}
X = np.random.default_rng(0).normal(size=(1000, 2))
imported = time.perf_counter() - start
{fit}
print(json.dumps([imported, time.perf_counter() - start]))
"""
OURS = ("import json, expfam_em as ef", "ef.GaussianMixture(3, random_state=0).fit(X)")
SKLEARN = ("import json; from sklearn.mixture import GaussianMixture", "GaussianMixture(3, random_state=0).fit(X)")

EVERYTHING = """
import json, time, warnings; warnings.simplefilter("ignore")
times, clock = {}, [time.perf_counter()]
def lap(name):
    now = time.perf_counter(); times[name] = now - clock[0]; clock[0] = now
import numpy as np, expfam_em as ef
lap("import")
rng = np.random.default_rng(0)
X = rng.normal(size=(1000, 3)); bits = (X > 0).astype(np.uint8)
for kind in ("full", "tied", "diag", "spherical"):
    ef.GaussianMixture(3, covariance_type=kind, random_state=0).fit(X).predict_proba(X)
    lap(f"GaussianMixture, {kind}")
ef.GaussianMixture(3, random_state=0).fit(X.astype(np.float32)).predict(X.astype(np.float32)); lap("float32")
ef.GaussianMixture(3, random_state=0).fit(X + 1e6 * (X[:, :1] > 0)); lap("clusters far apart")
ef.BernoulliMixture(2, random_state=0).fit(bits).predict(bits); lap("BernoulliMixture, uint8")
ef.KMeans(3, random_state=0).fit(X).predict(X); lap("KMeans, float64")
ef.KMeans(3, random_state=0).fit(X.astype(np.float32)); lap("KMeans, float32")
wide = rng.normal(size=(4000, 32))
for X in (wide, wide.astype(np.float32)):
    ef.KMeans(40, random_state=0).fit(X)
lap("KMeans, K = 40, both")
import scipy.sparse
ef.BernoulliMixture(2, random_state=0).fit(scipy.sparse.csr_array(bits)); lap("BernoulliMixture, CSR")
print(json.dumps(times))
"""


def _output(program, **environment):
    """Return what a fresh process prints last, as JSON."""
    environment = os.environ | environment
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installation has the bytecode of its modules
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(quick):
    programs = {name: FIRST_FIT.format(imports=a, fit=b) for name, (a, b) in {"ours": OURS, "sklearn": SKLEARN}.items()}
    runs = {name: [_output(program) for _ in range(4)][1:] for name, program in programs.items()}
    rows = [
        {"case": f"import and first fit, {name}", "seconds": min(run[1] for run in runs[key]), "of": "warm cache"}
        for key, name in (("ours", "ours"), ("sklearn", "scikit-learn"))
    ]
    with tempfile.TemporaryDirectory() as folder:
        steps = _output(EVERYTHING, NUMBA_CACHE_DIR=folder)
        again = _output(EVERYTHING, NUMBA_CACHE_DIR=folder)
    total, total_again = (sum(seconds or 0.0 for seconds in times.values()) for times in (steps, again))
    lines = steps | {"everything above": total}, again | {"everything above": total_again}
    rows += [{"case": k, "seconds": v, "of": "first ever", "again": lines[1][k]} for k, v in lines[0].items()]
    columns = [
        ("case", "what", "text"), ("of", "kernels", "text"), ("seconds", "seconds", "seconds"),
        ("again", "second process, s", "seconds"),
    ]  # fmt: skip
    goals = [
        at_most("import and first fit, warm cache, seconds", rows[0]["seconds"], WARM),
        at_most("first compilation of everything, seconds", total, EVER),
    ]
    return {"title": "Cold starts", "how": HOW, "columns": columns, "rows": rows, "targets": goals}
