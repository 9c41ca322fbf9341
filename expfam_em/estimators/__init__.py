"""What scikit-learn users type."""

from expfam_em.estimators.bernoulli import BernoulliMixture
from expfam_em.estimators.gaussian import GaussianMixture
from expfam_em.estimators.generic import ExponentialFamilyMixture
from expfam_em.estimators.kmeans import KMeans

__all__ = ["BernoulliMixture", "ExponentialFamilyMixture", "GaussianMixture", "KMeans"]
