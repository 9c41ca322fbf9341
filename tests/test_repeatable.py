"""The same bits from the same call, nearly the same numbers from other blocks, and nothing of the caller's changed."""

import decimal
import os
import pickle
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import expfam_em as ef
from expfam_em.rows import grid
from tests.normals import KINDS, blurred, clusters
from tests.own_families import Rayleigh

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # a few steps are the question


def gaussian_rows(d, repeats=3):
    """Overlapping clusters, another far away and a tiny one, and responsibilities that blur the overlapping ones."""
    centres = np.zeros((4, d))
    centres[1:, :2] = [[3.0, 1.0], [1e5, -1e5], [5.0, -5.0]]
    parts = [clusters(centres, seed) for seed in range(repeats)]
    X, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    X[labels == 3] = (X[labels == 3] - centres[3]) * 1e-4 + centres[3]
    R = np.eye(4)[labels]
    R[labels < 2, :2] = blurred(labels[labels < 2])
    return X, R


X, R = gaussian_rows(2)
WIDE, WIDE_R = gaussian_rows(6)  # large enough for BLAS
BINARY = (np.random.default_rng(0).random((600, 30)) < 0.4 + 0.2 * R[:600, :1]).astype(np.uint8)
WIDE_BINARY = np.tile(BINARY, (1, 4))
COUNTS = np.random.default_rng(1).poisson(4 + 6 * R[:, :1], (len(R), 3)).astype(float)
WAVES = np.random.default_rng(2).rayleigh(1 + 5 * R[:, :1])
OPTIONS = {"tol": 0, "max_iter": 8, "random_state": 0}

MODELS = {
    **{
        f"Gaussian-{kind}": (lambda kind=kind: ef.GaussianMixture(4, covariance_type=kind, init=R, **OPTIONS), X)
        for kind in KINDS
    },
    "Gaussian-k-means": (lambda: ef.GaussianMixture(4, **OPTIONS), X),
    "Gaussian-wide": (lambda: ef.ExponentialFamilyMixture(ef.families.Gaussian(), 4, init=WIDE_R, **OPTIONS), WIDE),
    "Bernoulli": (lambda: ef.BernoulliMixture(3, **OPTIONS), BINARY),
    "Bernoulli-wide": (lambda: ef.BernoulliMixture(3, **OPTIONS), WIDE_BINARY),
    "Poisson": (lambda: ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, **OPTIONS), COUNTS),
    "Rayleigh": (lambda: ef.ExponentialFamilyMixture(Rayleigh(), 2, **OPTIONS), WAVES),
    "KMeans": (lambda: ef.KMeans(4, random_state=0), X),
}
each_model = pytest.mark.parametrize("name", MODELS)
each_mixture = pytest.mark.parametrize("name", [name for name in MODELS if name != "KMeans"])


def fitted(name):
    make, rows = MODELS[name]
    return make().fit(rows)


def state(model):
    """All numbers of a fitted model, as bytes."""
    if isinstance(model, ef.KMeans):
        return [model.cluster_centers_.tobytes(), model.labels_.tobytes(), model.inertia_]
    arrays = [model.weights_, model.natural_parameters_, model.expectation_parameters_, *model.parameters_.values()]
    return [*(array.tobytes() for array in arrays), model.lower_bounds_]


def assert_near(found, expected):
    """Equal to the twelfth digit, in units of each number, of the largest of its row, or of the two deviations."""
    if expected.ndim == 3:  # covariances: their columns may have different units
        deviation = np.sqrt(np.einsum("kii->ki", expected))
        scale = deviation[:, :, None] * deviation[:, None, :]
    else:
        scale = np.abs(expected) if expected.ndim == 1 else np.abs(expected).max(axis=-1, keepdims=True)
    assert (np.abs(found - expected) / scale).max() <= 1e-12


def replace_everywhere(monkeypatch, name, value):
    """Replace a name in every module of the package that uses it."""
    modules = [m for n, m in sys.modules.items() if n.startswith("expfam_em.") and hasattr(m, name)]
    assert modules, name
    for module in modules:
        monkeypatch.setattr(module, name, value)


def patch_block_rows(monkeypatch, rows):
    replace_everywhere(monkeypatch, "block_rows", lambda *_, **__: rows)


def patch_chunks(monkeypatch, rows):
    """Cut the rows into chunks of so many, or into one."""
    monkeypatch.setattr(grid, "CHUNK_WORK", 1 if rows else 1 << 60)
    monkeypatch.setattr(grid, "FEWEST_ROWS", rows or 1 << 20)


SIZES = {
    "block of 1": lambda patch: patch_block_rows(patch, 1),
    "block of 7": lambda patch: patch_block_rows(patch, 7),
    "block of 64": lambda patch: patch_block_rows(patch, 64),
    "one block": lambda patch: patch_block_rows(patch, 100_000),
    "many chunks": lambda patch: patch_chunks(patch, 16),
    "a chunk per row": lambda patch: patch_chunks(patch, 1),
    "one chunk": lambda patch: patch_chunks(patch, 0),
    "short blocks of T": lambda patch: replace_everywhere(patch, "STATISTICS_BLOCK", 1),
}


@each_mixture
@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_block_changes_digits_beyond_the_twelfth(name, size, monkeypatch):
    expected = fitted(name)
    SIZES[size](monkeypatch)
    found = fitted(name)
    assert_near(found.weights_, expected.weights_)
    for key, value in expected.parameters_.items():
        assert_near(found.parameters_[key], value)
    assert found.lower_bounds_ == pytest.approx(expected.lower_bounds_, rel=1e-12)
    rows = MODELS[name][1]
    np.testing.assert_allclose(found.predict_proba(rows), expected.predict_proba(rows), rtol=0, atol=1e-12)


@each_model
def test_twenty_fits_have_the_same_bits(name):
    first = state(fitted(name))
    assert all(state(fitted(name)) == first for _ in range(20))


@each_model
def test_fits_in_several_threads_have_the_bits_of_one(name, many_chunks):
    alone = state(fitted(name))
    with ThreadPoolExecutor(4) as pool:
        assert all(other == alone for other in pool.map(lambda _: state(fitted(name)), range(8)))


@each_mixture
def test_one_mixture_is_used_by_several_threads(name):
    model, rows = fitted(name), MODELS[name][1]
    density, r = model.mixture_.log_density(rows), model.mixture_.responsibilities(rows)
    fresh = pickle.loads(pickle.dumps(model.mixture_))  # nothing that is computed once has been
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: (fresh.log_density(rows), fresh.responsibilities(rows)), range(16)):
            assert np.array_equal(found[0], density)
            assert np.array_equal(found[1], r)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # which is the question
@pytest.mark.parametrize("name", ["Gaussian-full", "KMeans", "Rayleigh"])
def test_an_estimator_in_a_forked_child_has_the_bits_of_its_parent(name, many_chunks):
    before = state(fitted(name))  # the pool of threads exists from here on
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = state(fitted(name)) == before
        finally:
            os._exit(0 if same else 1)
    alarm = threading.Timer(60, os.kill, (child, 9))
    alarm.start()
    status = os.waitpid(child, 0)[1]
    alarm.cancel()
    assert os.waitstatus_to_exitcode(status) == 0


def settings():
    """What belongs to the caller and a library could change."""
    return {
        "numpy.errstate": np.geterr(),
        "numpy.random": [str(part) for part in np.random.get_state(legacy=True)],  # noqa: NPY002
        "print options": str(np.get_printoptions()),
        "numba threads": numba.get_num_threads(),
        "thread pools": sorted((info["filepath"], info["num_threads"]) for info in threadpool_info()),
        "decimal": str(decimal.getcontext()),
        "affinity": os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None,
        "environment": dict(os.environ),
        "default dtype of sums": np.ones(1, np.float32).sum().dtype,
        "subnormals": float(np.nextafter(0.0, 1.0) * np.float64(1.0)) > 0,  # a library may flush them to 0
    }


@each_model
@pytest.mark.parametrize("threads", [1, 2])
def test_settings_of_the_caller_are_what_they_were(name, threads):
    fitted(name)  # load every library first
    with threadpool_limits(threads), np.errstate(over="raise", under="ignore", invalid="warn"):
        before = settings()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted(name)
        assert settings() == before


def test_settings_are_what_they_were_after_an_error():
    before = settings()
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        ef.GaussianMixture(2, reg_covar=0.0, init=np.repeat([0, 1], 5)).fit(np.repeat([[0.0], [1.0]], 5, axis=0))
    assert settings() == before


def test_rows_responsibilities_and_weights_of_the_caller_stay_as_they_were():
    w = np.random.default_rng(5).uniform(0, 2, len(X))
    copies = X.copy(), R.copy(), w.copy()
    ef.GaussianMixture(4, init=R, **OPTIONS).fit(X, sample_weight=w)
    for array, copy in zip((X, R, w), copies, strict=True):
        assert np.array_equal(array, copy)
