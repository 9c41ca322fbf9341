"""What scikit-learn users type."""

from expfam_em.estimators.bayesian import BayesianGaussianMixture
from expfam_em.estimators.bernoulli import BernoulliMixture
from expfam_em.estimators.gaussian import GaussianMixture
from expfam_em.estimators.generic import ExponentialFamilyMixture
from expfam_em.estimators.kmeans import KMeans
from expfam_em.estimators.many import FitManyError, fit_many
from expfam_em.estimators.mini_batch import MiniBatchKMeans
from expfam_em.estimators.model_tests import (
    GoodnessOfFit,
    LikelihoodRatioTest,
    goodness_of_fit,
    likelihood_ratio_test,
)
from expfam_em.estimators.multinomial import MultinomialMixture
from expfam_em.estimators.resampling import Bootstrap, bootstrap
from expfam_em.estimators.selection import Selection, select
from expfam_em.estimators.summary import ClusterSummary, Summary
from expfam_em.saving.files import load

__all__ = [
    "BayesianGaussianMixture",
    "BernoulliMixture",
    "Bootstrap",
    "ClusterSummary",
    "ExponentialFamilyMixture",
    "FitManyError",
    "GaussianMixture",
    "GoodnessOfFit",
    "KMeans",
    "LikelihoodRatioTest",
    "MiniBatchKMeans",
    "MultinomialMixture",
    "Selection",
    "Summary",
    "bootstrap",
    "fit_many",
    "goodness_of_fit",
    "likelihood_ratio_test",
    "load",
    "select",
]
