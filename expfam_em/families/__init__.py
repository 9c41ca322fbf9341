"""The families that come with the package; each is T, A and the mappings between their parameters."""

from expfam_em.families.bernoulli import Bernoulli
from expfam_em.families.gaussian import Gaussian
from expfam_em.families.poisson import Poisson

__all__ = ["Bernoulli", "Gaussian", "Poisson"]
