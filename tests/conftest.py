"""What tests share: data that come with installed packages, read-only, and a registry of families that is restored."""

from importlib.metadata import distribution

import numpy as np
import pytest
from hypothesis import settings
from numba import config
from scipy import sparse
from sklearn import datasets

import expfam_em as ef
from expfam_em.family import registry
from expfam_em.rows import grid
from tests import profiles

settings.load_profile(profiles.SHORT)  # before pytest loads the profile of its command line, if there is one


def pytest_sessionstart(session):
    """Compile a share of the kernels in each process that runs tests: none runs one before all have."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or config.DISABLE_JIT:
        return
    number = int(worker["workerid"].removeprefix("gw"))
    for use in KERNELS[number :: worker["workercount"]]:
        use()


def of_numbers():
    ef.accumulate(ef.Mixture(ef.families.Poisson(), [1.0], [[0.0]]), [[1.0]])


def of_clusters():
    for d in (2, 20):
        ef.KMeans(3, random_state=0).fit(np.random.default_rng(0).normal(size=(500, d)))


def of_bits():
    X = np.random.default_rng(0).integers(0, 2, (5000, 40), np.uint8)
    ef.fit(ef.Mixture(ef.families.Bernoulli(), [0.5, 0.5], np.zeros((2, 40))), X, max_iter=1)


def of_sparse_rows():
    for dtype in (np.float64, np.float32, np.uint8, np.bool_):
        ef.accumulate(ef.Mixture(ef.families.Poisson(), [1.0], [[0.0]]), sparse.csr_array(np.ones((9, 1), dtype)))


KERNELS = [of_numbers, of_clusters, of_bits, of_sparse_rows]
"""Uses of all kernels, in an order that two processes compile in equal shares; compiled code is kept on disk."""


def frozen(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


@pytest.fixture
def many_chunks(monkeypatch):
    """Cut rows into chunks of 16."""
    monkeypatch.setattr(grid, "CHUNK_WORK", 1)
    monkeypatch.setattr(grid, "FEWEST_ROWS", 16)


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """Undo registrations after each test."""
    monkeypatch.setattr(registry, "_families", dict(registry._families))


@pytest.fixture(scope="session")
def faithful():
    """Old Faithful: minutes of eruption and of waiting, (272, 2)."""
    path = distribution("plotnine").locate_file("plotnine/data/faithful.csv")
    return frozen(np.loadtxt(path, delimiter=",", skiprows=1))


@pytest.fixture(scope="session")
def iris():
    """Petals and sepals of 150 irises, (150, 4)."""
    return frozen(datasets.load_iris().data)


@pytest.fixture(scope="session")
def digits():
    """Handwritten digits as 8 × 8 binary pixels, (1797, 64), and which digit each is, (1797,)."""
    data = datasets.load_digits()
    return frozen((data.data > 8).astype(np.uint8)), frozen(data.target)


@pytest.fixture(scope="session")
def blobs():
    """Three clusters of different shape that overlap a little, (400, 3)."""
    rng = np.random.default_rng(1)
    parts = [
        rng.normal([0, 0, 0], [1.0, 2.0, 0.5], (150, 3)),
        rng.normal([4, 1, 2], [0.7, 0.7, 1.5], (150, 3)),
        rng.normal([-3, 5, 1], [1.5, 1.0, 1.0], (100, 3)) @ np.array([[1, 0.4, 0], [0, 1, 0.3], [0, 0, 1]]),
    ]
    return frozen(np.concatenate(parts))
