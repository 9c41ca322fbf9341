"""scikit-learn's own conformance suite, all of it."""

import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import get_tags
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

OF_SPARSE_ROWS = {"check_sample_weight_equivalence_on_sparse_data"}
"""scikit-learn 1.6 runs it for estimators that do not say that they take sparse rows, too."""


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_every_check_of_scikit_learn_passes(estimator):
    with warnings.catch_warnings():
        # the checks fit constant data, few iterations and data that are not binary, on purpose
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "X is not binary", UserWarning)
        results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert len(results) > 40
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] != "passed"}
    not_ours = NOT_OURS if get_tags(estimator).input_tags.sparse else NOT_OURS | OF_SPARSE_ROWS
    assert failed.keys() <= not_ours, failed
    assert not any(result["expected_to_fail"] for result in results)
