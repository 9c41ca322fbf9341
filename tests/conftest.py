"""What tests share: data that come with installed packages, read-only, and a registry of families that is restored."""

from importlib.metadata import distribution

import numpy as np
import pytest
from hypothesis import settings
from sklearn import datasets

from expfam_em.saving import registry
from tests import profiles

settings.load_profile(profiles.SHORT)  # before pytest loads the profile of its command line, if there is one


def frozen(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


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
