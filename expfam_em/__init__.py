"""Mixtures of any exponential family: one jitted EM driver, your own family in ten lines."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from expfam_em import families
from expfam_em.analysis.bound import expected_log_likelihood, gap, lower_bound
from expfam_em.analysis.divergences import component_divergences, component_entropies, divergence, entropy
from expfam_em.analysis.effective import effective_sample_size
from expfam_em.analysis.merging import merge_components
from expfam_em.analysis.uncertainty import StandardErrors, standard_errors
from expfam_em.em.loop import CollapsedError, FitResult, Status, accumulate, fit, maximize
from expfam_em.em.online import StepSize, Stream, fit_incremental
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.constraints import constrain
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

if TYPE_CHECKING:
    from expfam_em.checking import FamilyError, check_family
    from expfam_em.cost import Cost, estimated_cost
    from expfam_em.estimators import (
        BayesianGaussianMixture,
        BernoulliMixture,
        Bootstrap,
        ClusterSummary,
        ExponentialFamilyMixture,
        FitManyError,
        GaussianMixture,
        GoodnessOfFit,
        KMeans,
        LikelihoodRatioTest,
        MiniBatchKMeans,
        MultinomialMixture,
        Selection,
        Summary,
        bootstrap,
        fit_many,
        goodness_of_fit,
        likelihood_ratio_test,
        load,
        select,
    )
    from expfam_em.family.registry import register
    from expfam_em.progress import Progress
    from expfam_em.sources import ClusterLostError, DaskRows, rows_from

__version__ = "0.1.0"

_LAZY = {
    "BayesianGaussianMixture": "expfam_em.estimators",
    "BernoulliMixture": "expfam_em.estimators",
    "Bootstrap": "expfam_em.estimators",
    "ClusterLostError": "expfam_em.sources",
    "ClusterSummary": "expfam_em.estimators",
    "Cost": "expfam_em.cost",
    "DaskRows": "expfam_em.sources",
    "ExponentialFamilyMixture": "expfam_em.estimators",
    "FamilyError": "expfam_em.checking",
    "FitManyError": "expfam_em.estimators",
    "GaussianMixture": "expfam_em.estimators",
    "GoodnessOfFit": "expfam_em.estimators",
    "KMeans": "expfam_em.estimators",
    "LikelihoodRatioTest": "expfam_em.estimators",
    "MiniBatchKMeans": "expfam_em.estimators",
    "MultinomialMixture": "expfam_em.estimators",
    "Progress": "expfam_em.progress",
    "Selection": "expfam_em.estimators",
    "Summary": "expfam_em.estimators",
    "bootstrap": "expfam_em.estimators",
    "check_family": "expfam_em.checking",
    "estimated_cost": "expfam_em.cost",
    "fit_many": "expfam_em.estimators",
    "goodness_of_fit": "expfam_em.estimators",
    "likelihood_ratio_test": "expfam_em.estimators",
    "load": "expfam_em.estimators",
    "register": "expfam_em.family.registry",
    "rows_from": "expfam_em.sources",
    "select": "expfam_em.estimators",
}
"""Names whose modules need more than NumPy, SciPy and numba: imported when first used."""

__all__ = [
    "BayesianGaussianMixture",
    "BernoulliMixture",
    "Bootstrap",
    "ClusterLostError",
    "ClusterSummary",
    "CollapsedError",
    "Cost",
    "DaskRows",
    "ExpectedStatistics",
    "ExponentialFamily",
    "ExponentialFamilyMixture",
    "FamilyError",
    "FitManyError",
    "FitResult",
    "GaussianMixture",
    "GoodnessOfFit",
    "KMeans",
    "LikelihoodRatioTest",
    "MiniBatchKMeans",
    "Mixture",
    "MultinomialMixture",
    "Progress",
    "Selection",
    "StandardErrors",
    "Status",
    "StepSize",
    "Stream",
    "Summary",
    "accumulate",
    "bootstrap",
    "check_family",
    "component_divergences",
    "component_entropies",
    "constrain",
    "divergence",
    "effective_sample_size",
    "entropy",
    "estimated_cost",
    "expected_log_likelihood",
    "families",
    "fit",
    "fit_incremental",
    "fit_many",
    "gap",
    "goodness_of_fit",
    "likelihood_ratio_test",
    "load",
    "lower_bound",
    "maximize",
    "merge_components",
    "register",
    "rows_from",
    "select",
    "standard_errors",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]
