"""The families that come with the package, and what families of your own are made from.

Each family is T, A and the mappings between their parameters.
"""

import inspect

from expfam_em.families.categorical import Categorical, Multinomial, OneHot
from expfam_em.families.columns import CentredColumns, IndependentColumns
from expfam_em.families.composed.componentwise import Componentwise
from expfam_em.families.composed.exposed import Exposed
from expfam_em.families.composed.of_intervals import Censored, Truncated
from expfam_em.families.composed.product import Product
from expfam_em.families.composed.zero_inflated import ZeroInflated
from expfam_em.families.continuous import (
    Beta,
    Exponential,
    Gamma,
    HalfNormal,
    InverseGamma,
    InverseGaussian,
    Laplace,
    Maxwell,
    Pareto,
    Rayleigh,
    Weibull,
)
from expfam_em.families.counts import Bernoulli, Binomial, GammaPoisson, Geometric, NegativeBinomial, Poisson
from expfam_em.families.directional import VonMises, VonMisesFisher
from expfam_em.families.dirichlet import Dirichlet
from expfam_em.families.free_laplace import FreeLaplace
from expfam_em.families.free_weibull import FreeWeibull
from expfam_em.families.gaussian.gaussian import Gaussian
from expfam_em.families.gaussian.known import KnownCovariance
from expfam_em.families.gaussian.lognormal import LogNormal
from expfam_em.families.gaussian.student import StudentT
from expfam_em.families.uniform import Uniform
from expfam_em.families.wishart import Wishart
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.centred import Centred
from expfam_em.family.kernel_form import KernelForm, Monomials
from expfam_em.family.optional import Incomplete
from expfam_em.family.registry import register
from expfam_em.rows.csr import row_sums

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Censored",
    "Centred",
    "CentredColumns",
    "Componentwise",
    "Dirichlet",
    "Exponential",
    "Exposed",
    "FreeLaplace",
    "FreeWeibull",
    "Gamma",
    "GammaPoisson",
    "Gaussian",
    "Geometric",
    "HalfNormal",
    "Incomplete",
    "IndependentColumns",
    "InverseGamma",
    "InverseGaussian",
    "KernelForm",
    "KnownCovariance",
    "Laplace",
    "LogNormal",
    "Maxwell",
    "Monomials",
    "Multinomial",
    "NegativeBinomial",
    "OneHot",
    "Pareto",
    "Poisson",
    "Product",
    "Rayleigh",
    "StudentT",
    "Truncated",
    "Uniform",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "Wishart",
    "ZeroInflated",
    "row_sums",
]

for _name in __all__:
    _member = globals()[_name]
    if isinstance(_member, type) and issubclass(_member, ExponentialFamily) and not inspect.isabstract(_member):
        register(_member)


def __dir__() -> list[str]:
    return [*__all__, "__doc__", "__file__", "__name__"]
