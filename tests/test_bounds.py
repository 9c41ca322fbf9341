"""Kernels with every index checked: a fit by each of them, in a process of its own."""

import os
import subprocess
import sys

SCRIPT = """
import warnings

import numpy as np
from scipy import sparse

import expfam_em as ef

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
f = ef.families


def mixture(family, X, K=3, **how):
    model = ef.ExponentialFamilyMixture(family, K, random_state=0, **{"max_iter": 3, "n_jobs": 2, **how})
    model.fit(X, sample_weight=(np.arange(X.shape[0]) + 1) % 3)
    model.predict(X)
    model.predict_proba(X)
    model.score_samples(X)


for n, d in ((1, 1), (7, 3), (700, 5), (900, 30)):
    X = rng.normal(size=(n, d)) + np.where(np.arange(n) % 2, 1e5, 0)[:, None]  # frames of their own
    for form in ("full", "diag", "tied", "spherical"):
        mixture(f.Gaussian(form, reg_covar=1e-3), X, min(n, 3))
    mixture(f.Gaussian("full", reg_covar=1e-3), X.astype(np.float32), min(n, 3))
    mixture(f.Gaussian("full", reg_covar=1e-3), np.asfortranarray(X), 1, temperature=0)
    ef.fit_many(ef.GaussianMixture(1, reg_covar=1e-3, max_iter=2), [X, X + 1, X[: n // 2 + 1]])
X = rng.normal(size=(300, 4))
mixture(f.Product([(f.Gaussian("full"), [0, 2]), (f.Laplace([0, 0]), [1, 3])]), X)
mixture(f.Gaussian("full", reg_covar=1e-3), rng.normal(size=(400, 100)), 2)
mixture(f.Categorical(), rng.integers(0, 4, (300, 3)).astype(float))
counts = rng.poisson(1, (600, 37))
for dtype in (np.float64, np.float32, np.uint8):
    mixture(f.Poisson(), counts.astype(dtype))
    mixture(f.Poisson(), sparse.csr_array(counts.astype(dtype)))
for columns in (8, 9, 41):
    bits = rng.integers(0, 2, (9000, columns), np.uint8)
    for K in (2, 9):
        mixture(f.Bernoulli(), bits, K)
mixture(f.Bernoulli(), sparse.csr_array(bits.astype(bool)))
for d in (1, 2, 3, 20, 70):
    X = rng.normal(size=(1500, d))
    for K in (1, 3, 40):
        for rows in (X, X.astype(np.float32), sparse.csr_array(np.where(X > 1, X, 0))):
            ef.KMeans(K, random_state=0, max_iter=5, n_init=1).fit(rows).predict(rows)
print("within bounds")
"""


def test_no_kernel_reads_or_writes_outside_an_array(pytestconfig):
    # compiled once for each change of a kernel, which takes half a minute
    folder = pytestconfig.cache.mkdir("checked_kernels")
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "within bounds\n", done.stderr
