"""Rows, a start and comparisons for the laws of the driver."""

import functools

import numpy as np

import expfam_em as ef
from tests.cases import CASES

PI = np.array([0.5, 0.3, 0.2])
BY_NAME = {case.name: case for case in CASES}


class Problem:
    """Rows of three components, row weights, and a start that is neither the truth nor far from it."""

    def __init__(self, case, weights="none", sizes=(90, 60, 40), seed=3):
        rng = np.random.default_rng(seed)
        rows = [case.draw(theta, size, rng) for theta, size in zip(case.components, sizes, strict=True)]
        label = np.repeat(np.arange(3), sizes)
        order = rng.permutation(len(label))
        self.case, self.X, label = case, np.concatenate(rows)[order], label[order]
        n = len(label)
        self.w = {"none": None, "random": rng.uniform(0.1, 3, n), "whole": rng.integers(0, 4, n).astype(float)}[weights]
        self.thetas = case.estimate_all(self.X, 0.75 * np.eye(3)[label] + 0.25 * rng.dirichlet(np.ones(3), n))
        self.start = ef.Mixture(case.family, PI, case.naturals(self.thetas))
        self.pseudo = (self.X[:6], np.full(6, 0.5))

        for array in filter(lambda array: array is not None, (self.X, self.w)):
            array.flags.writeable = False

    def prior(self):
        """The pseudo-rows as a prior of each component."""
        X0, w0 = self.pseudo
        T, e = self.case.family.sufficient_statistics(X0), self.case.exposures(X0)
        return ef.ExpectedStatistics(np.full(3, w0.sum()), np.tile(w0 @ T, (3, 1)), exposures=np.full(3, w0 @ e))


@functools.cache
def _problem(name, weights, sizes):
    return Problem(BY_NAME[name], weights, sizes)


def problem_of(case, weights="none", sizes=(90, 60, 40)):
    """Return the problem of a case, the same one to every test that asks."""
    return _problem(case.name, weights, sizes)


def assert_close(found, expected, relative):
    """Close in units of the largest entry of each row: small entries are differences of large ones."""
    size = np.abs(expected).max(axis=-1, keepdims=True) + 1
    assert np.all(np.abs(found - expected) <= relative * size)


def same(found, expected, relative=1e-12):
    found = found.in_family(expected.family)  # components may have been given frames of their own
    assert_close(found.weights[None], expected.weights[None], relative)
    assert_close(found.natural, expected.natural, relative)
