"""Pictures of mixtures: rows, components, bounds, choices.

matplotlib is imported when a picture is drawn: ``pip install "expfam_em[plot]"``. Every function draws into the axes
it is given, or into a figure of its own, and returns the axes, so that titles and labels can be changed afterwards.
"""

from expfam_em.plots.clusters import plot_clusters
from expfam_em.plots.criteria import plot_criteria
from expfam_em.plots.doubt import plot_responsibilities, plot_uncertainty
from expfam_em.plots.profiles import plot_profiles, plot_prototypes
from expfam_em.plots.style import FAINT, INK, PALETTE, component_colours
from expfam_em.plots.traces import E_STEP, M_STEP, plot_bound, plot_restarts

__all__ = [
    "E_STEP",
    "FAINT",
    "INK",
    "M_STEP",
    "PALETTE",
    "component_colours",
    "plot_bound",
    "plot_clusters",
    "plot_criteria",
    "plot_profiles",
    "plot_prototypes",
    "plot_responsibilities",
    "plot_restarts",
    "plot_uncertainty",
]
