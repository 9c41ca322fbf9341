"""scikit-learn's own conformance suite, all of it."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import check_estimator

import expfam_em as ef

ESTIMATORS = [
    ef.GaussianMixture(),
    ef.GaussianMixture(2),
    ef.BernoulliMixture(),
    ef.BernoulliMixture(3, binarize=0.5),
    ef.BayesianGaussianMixture(2),
    ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, bayesian=True),
    ef.KMeans(),
    ef.KMeans(3),
    ef.MiniBatchKMeans(),
    ef.ExponentialFamilyMixture(ef.families.Gaussian()),
    ef.ExponentialFamilyMixture(ef.families.Gaussian("diag"), 2),
]

NOT_OURS = {"check_array_api_input"}
"""Runs only where SCIPY_ARRAY_API is set for the whole process."""


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_every_check_of_scikit_learn_passes(estimator):
    with warnings.catch_warnings():
        # the checks fit constant data, few iterations and data that are not binary, on purpose
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "X is not binary", UserWarning)
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 40
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] != "passed"}
    assert failed.keys() <= NOT_OURS, failed
    assert not any(result["expected_to_fail"] for result in results)
