"""Pictures of how a fit went: its bound step by step, and where each start ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from expfam_em.em.loop import FitResult
from expfam_em.plots.style import FAINT, INK, PALETTE, axes_or_new, steps, title
from expfam_em.rows.typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

E_STEP, M_STEP = PALETTE[:2]
NEAR = 1e-3
"""A start that ends this near to the best, in nats per row, is said to end there."""


def plot_bound(result_or_estimator: Any, ax: Axes | None = None) -> Axes:
    """Draw what a fit climbed: the bound after each step, or for `KMeans` the distortion it went down.

    A `FitResult` and `KMeans` also know the value between the M-step and the next E-step; E-steps are then blue and
    M-steps red, unless `KMeans` had to move an empty cluster on its way.

    Parameters
    ----------
    result_or_estimator : FitResult, KMeans, or a fitted estimator of a mixture
        What has been fitted.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If there is no trace to draw.
    """
    fit = result_or_estimator
    if not isinstance(fit, FitResult) and not hasattr(fit, "distortions_") and not hasattr(fit, "lower_bounds_"):
        raise TypeError(f"{type(fit).__name__} has no trace to draw: give a FitResult or a fitted estimator")
    ax = axes_or_new(ax)
    from matplotlib.ticker import MaxNLocator

    if isinstance(fit, FitResult):
        _half_steps(ax, fit.bounds, fit.half_bounds)
        ax.set_ylabel("bound, nats")
        _title_of_bounds(ax, fit.bounds, fit.n_iter, "nats")
    elif hasattr(fit, "distortions_"):
        trace = np.asarray(fit.distortions_)
        _half_steps(ax, trace[::2], trace[1::2])
        ax.set_ylabel("distortion J, squared units of X")
        title(ax, f"J falls from {trace[0]:.5g} to {trace[-1]:.5g} in {steps(fit.n_iter_)}")
    else:
        trace = np.asarray(fit.lower_bounds_)
        ax.plot(np.arange(1, len(trace) + 1), trace, color=INK, marker="o", markersize=3, linewidth=1)
        ax.set_ylabel("bound per row, nats")
        _title_of_bounds(ax, trace, len(trace), "nats per row")
    ax.set_xlabel("iteration")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _half_steps(ax: Axes, after_e: Array, after_m: Array) -> None:
    """E-steps at whole iterations, the M-step that follows half-way to the next."""
    n = len(after_m)
    at_e, at_m = np.arange(len(after_e)), np.arange(n) + 0.5
    trace = np.insert(np.asarray(after_e[: n + 1], np.float64), np.arange(1, n + 1), after_m)
    ax.plot(np.arange(2 * n + 1) / 2, trace, color=FAINT, linewidth=0.8, zorder=1)
    size = 5 if n <= 25 else 2.5
    for where, values, colour, name in ((at_e, after_e, E_STEP, "E-step"), (at_m, after_m, M_STEP, "M-step")):
        if len(values):
            ax.plot(where, values, color=colour, marker="o", markersize=size, linestyle="none", label=f"after {name}")
            # in the corner that a curve that soon levels off leaves empty
            line = 0.06 if name == "M-step" else 0.13
            height = line if trace[-1] >= trace[0] else 1.03 - line
            ax.text(0.98, height, f"● after {name}", color=colour, ha="right", va="center", transform=ax.transAxes)


def _title_of_bounds(ax: Axes, trace: Array, n_iter: int, unit: str) -> None:
    if not len(trace):
        return
    gain = trace[-1] - trace[0]
    verb = "rises" if gain >= 0 else "falls"  # at a falling temperature it may
    title(ax, f"Bound {verb} by {abs(gain):.4g} {unit} in {steps(n_iter)}")


def plot_restarts(estimator: Any, ax: Axes | None = None) -> Axes:
    """Draw how far below the best each start of a fit ended, in nats per row.

    Parameters
    ----------
    estimator : fitted estimator of a mixture
        One with ``start_bounds_``. A start that failed has none, and is counted in the title.
    ax : Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    ImportError
        Without matplotlib.
    TypeError
        If the estimator does not know where its starts ended.
    """
    if not hasattr(estimator, "start_bounds_"):
        raise TypeError(f"{type(estimator).__name__} does not know where its starts ended: give a fitted mixture")
    ends = np.sort(np.asarray(estimator.start_bounds_, np.float64))[::-1]
    reached = ends[np.isfinite(ends)]
    ax = axes_or_new(ax)
    from matplotlib.ticker import MaxNLocator

    behind = reached - reached[0]
    near = behind >= -NEAR
    for which, colour in ((near, PALETTE[0]), (~near, FAINT)):
        ax.plot(np.flatnonzero(which) + 1, behind[which], color=colour, marker="o", linestyle="none")
    ax.set(xlabel="start, best first", ylabel="bound per row less the best, nats")
    ax.set_ylim(min(1.1 * behind[-1], -3 * NEAR), max(-0.1 * behind[-1], NEAR))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    failed = "" if len(reached) == len(ends) else f"; {len(ends) - len(reached)} failed"
    title(ax, f"{near.sum()} of {len(ends)} starts end within {NEAR:g} nats per row of the best{failed}")
    return ax
