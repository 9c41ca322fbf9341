"""Whether E-steps have the same bits on processors of different kinds: ``python docs/bits.py`` prints a table.

In each column kernels are compiled for one processor, while NumPy and BLAS are those of this machine. In the last two
it is NumPy, or OpenBLAS, that works as on a machine without AVX-512. A word says whether a result has the bits of the
first column, a dash that this machine lacks instructions of that processor.
``python docs/bits.py --here`` prints digests of all results for this process, as JSON. ``--only "axes, EVE"`` makes
some of the passes.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from scipy import sparse

import expfam_em as ef

AVX2, AVX512 = "+avx2,+fma", "+avx512f"


def compiling(name, features):
    """Return the environment in which kernels are compiled for a processor, as LLVM names it and what it can do."""
    return {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}


TARGETS = {
    "this machine": {},
    "haswell": compiling("haswell", AVX2),
    "x86-64-v3": compiling("x86-64-v3", AVX2),
    "znver2": compiling("znver2", AVX2),
    "skylake-avx512": compiling("skylake-avx512", AVX512),
    "sapphirerapids": compiling("sapphirerapids", AVX512),
    "znver4": compiling("znver4", AVX512),
    "NumPy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR"},
    "OpenBLAS for haswell": {"OPENBLAS_CORETYPE": "Haswell"},
}
"""Environments by name."""

RNG = np.random.default_rng(0)
ROWS = 6007  # several blocks and chunks, and a rest
STEPS = {"tol": 0, "max_iter": 3, "random_state": 0}


def clusters(n, d, K, spread=3.0):
    """Return rows of K overlapping clusters."""
    return spread * RNG.normal(size=(K, d))[RNG.integers(K, size=n)] + RNG.normal(size=(n, d))


def sums(mixture, X, weight=None, steps=3, **options):
    """Return counts, sums and bounds of some steps, and what the last mixture says of the rows."""
    states = []
    result = ef.fit(mixture, X, weight, tol=0, max_iter=steps, callbacks=[states.append], **options)
    numbers = [array for state in states for array in (state.statistics.counts, state.statistics.sums, state.bounds)]
    return [*numbers, result.mixture.responsibilities(X), result.mixture.log_density(X)]


def start(family, X, K):
    """Return a mixture whose components are about some of the rows."""
    nearest = np.argmin(((X[:, None] - X[None, 7 : 7 + K]) ** 2).sum(axis=2), axis=1)
    model = ef.ExponentialFamilyMixture(family, K, init=0.9 * np.eye(K)[nearest] + 0.1 / K, tol=0, max_iter=1)
    return model.fit(X).mixture_


def gaussian(kind, d, K, *, weighted=False, far=False, **options):
    """Return what three steps of a Gaussian mixture say."""
    X = clusters(ROWS, d, K)
    if far:  # so that components have frames of their own
        X[::3] = 1e6 + 1e-3 * X[::3]
    weight = RNG.integers(0, 3, ROWS) * 0.7 if weighted else None
    return sums(start(ef.families.Gaussian(kind), X, K), X, weight, **options)


def apart(n, d, K):
    """Return what some steps say of clusters so far apart, and rows so many, that few components matter to a row."""
    means = 6.0 * RNG.normal(size=(K, d))
    X = means[RNG.integers(K, size=n)] + RNG.normal(size=(n, d))
    found = ef.GaussianMixture(K, means_init=means + 0.5, **STEPS).fit(X)
    return [found.means_, found.covariances_, np.array(found.lower_bounds_)]


def bernoulli(d, K, as_rows):
    """Return what three steps say of rows of 0s and 1s."""
    X = (RNG.random((20_011, d)) < RNG.uniform(0.1, 0.9, (K, d))[RNG.integers(K, size=20_011)]).astype(np.uint8)
    mixture = ef.Mixture.of(ef.families.Bernoulli(), np.full(K, 1 / K), probabilities=RNG.uniform(0.2, 0.8, (K, d)))
    return sums(mixture, as_rows(X))


def counts(family, d, K):
    """Return what three steps say of sparse counts."""
    X = RNG.poisson(RNG.gamma(0.3, 1, (K, d))[RNG.integers(K, size=ROWS)]).astype(float)
    model = ef.ExponentialFamilyMixture(family, K, **STEPS).fit(sparse.csr_array(X))
    return [model.natural_parameters_, np.array(model.lower_bounds_), model.predict_proba(sparse.csr_array(X))]


def centres(n, d, K, as_rows=np.asarray, dtype=np.float64):
    """Return what k-means says."""
    X = as_rows(clusters(n, d, K).astype(dtype))
    model = ef.KMeans(K, random_state=0, max_iter=20, init="random").fit(X)
    return [model.cluster_centers_, model.labels_, np.array(model.inertia_)]


def model(kind, d=4, K=3, **options):
    """Return what some steps of a covariance model say."""
    X = clusters(ROWS, d, K)
    found = ef.GaussianMixture(K, covariance_type=kind, **(STEPS | options)).fit(X)
    return [found.means_, found.covariances_, np.array(found.lower_bounds_)]


def missing(kind):
    """Return what some steps say of rows with missing values."""
    X = clusters(ROWS, 5, 3)
    X[RNG.random(X.shape) < 0.2] = np.nan
    found = ef.GaussianMixture(3, covariance_type=kind, **STEPS).fit(X)
    return [found.means_, found.covariances_, np.array(found.lower_bounds_), found.predict_proba(X)]


def gamma():
    """Return what some steps say of statistics that NumPy makes."""
    X = RNG.gamma(RNG.choice([2.0, 9.0], (ROWS, 1)), size=(ROWS, 3))
    found = ef.ExponentialFamilyMixture(ef.families.Gamma(), 2, **STEPS).fit(X)
    return [found.natural_parameters_, np.array(found.lower_bounds_)]


PASSES = {
    "dense, full, 2 columns": lambda: gaussian("full", 2, 3),
    "dense, full, 16 columns": lambda: gaussian("full", 16, 16),
    "dense, few components matter": lambda: apart(50_000, 24, 16),
    "dense, diag, weights": lambda: gaussian("diag", 5, 7, weighted=True),
    "dense, spherical": lambda: gaussian("spherical", 5, 4),
    "dense, tied": lambda: gaussian("tied", 5, 4),
    "dense, hard": lambda: gaussian("full", 3, 5, temperature=0),
    "own frames, full": lambda: gaussian("full", 6, 4, far=True),
    "own frames, full, weights": lambda: gaussian("full", 4, 4, far=True, weighted=True),
    "own frames, diag": lambda: gaussian("diag", 6, 4, far=True),
    "T made by NumPy": gamma,
    "bits, 3 components": lambda: bernoulli(20, 3, np.asarray),
    "bits, 20 components": lambda: bernoulli(30, 20, np.asarray),
    "sparse, bits": lambda: bernoulli(20, 5, sparse.csr_array),
    "sparse, Poisson": lambda: counts(ef.families.Poisson(), 50, 4),
    "sparse, Multinomial": lambda: counts(ef.families.Multinomial(), 50, 9),
    "k-means, panels": lambda: centres(20_011, 2, 6),
    "k-means, rows": lambda: centres(20_011, 19, 13),
    "k-means, rows, float32": lambda: centres(20_011, 19, 13, dtype=np.float32),
    "k-means, fast centres": lambda: centres(ROWS, 130, 260),
    "k-means, sparse": lambda: centres(ROWS, 10, 5, lambda X: sparse.csr_array(np.where(X > 1, X, 0))),
    "missing values, full": lambda: missing("full"),
    "missing values, diag": lambda: missing("diag"),
    "axes, EVE": lambda: model("EVE", 12),
    "axes, VVE": lambda: model("VVE"),
    "volumes, EVV": lambda: model("EVV"),
}


def digests(only=None):
    """Return {pass: digest of all its results}, each of rows of its own."""
    found = {}
    for name, run in PASSES.items():
        if only is None or name in only:
            RNG.bit_generator.state = np.random.default_rng(len(name)).bit_generator.state
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a few steps are the question
                arrays = [np.ascontiguousarray(array) for array in run()]
            found[name] = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]
    return found


def elsewhere(environment, only=None):
    """Return the digests of a process in another environment; none if this machine lacks instructions that it needs."""
    with tempfile.TemporaryDirectory() as folder:
        kernels = {"NUMBA_CACHE_DIR": folder} if "NUMBA_CPU_NAME" in environment else {}
        command = [sys.executable, __file__, "--here", *(["--only", *only] if only else [])]
        run = subprocess.run(command, env=os.environ | environment | kernels, stdout=subprocess.PIPE, text=True)
        if run.returncode == -signal.SIGILL:
            return {}
        run.check_returncode()
        return json.loads(run.stdout)


def main():
    """Print the digests of this process, or the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PASSES)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(digests(arguments.only)))
        return
    found = {name: elsewhere(environment, arguments.only) for name, environment in TARGETS.items()}
    first = found["this machine"]
    print("| pass | " + " | ".join(found) + " |")
    print("|-" * (len(found) + 1) + "|")
    for name, digest in first.items():
        said = ("–" if not it else "same" if it[name] == digest else "other" for it in found.values())
        print(f"| {name} | " + " | ".join(said) + " |")


if __name__ == "__main__":
    main()
