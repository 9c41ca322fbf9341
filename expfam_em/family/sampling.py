"""Random numbers from a density of one column that is only known up to its formula."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit, logit

PROBES = np.unique(np.concatenate([np.arange(-10, 10.25, 0.25), *(
    s * np.arange(1, 10) * 10.0**e for s in (1, -1) for e in range(-3, 7)
)]))  # fmt: skip
"""Where a density is looked for first."""


class Domain(NamedTuple):
    """Numbers between two limits as a function x(u) of all real u, with log dx/du and u(x)."""

    low: float
    high: float
    x: object
    log_slope: object
    u: object


DOMAINS = (
    Domain(-np.inf, np.inf, lambda u: u, lambda u: 0.0 * u, lambda x: x),
    Domain(0.0, np.inf, np.exp, lambda u: u, np.log),
    Domain(0.0, 1.0, expit, lambda u: log_expit(u) + log_expit(-u), logit),
)

SEARCH_STEPS = 200
CELLS, NODES = 1024, 6
"""Parts of the line in which a density is integrated, and points of each."""

LATTICE = 1 << 22
"""Whole numbers that are looked at on either side of the mode, at most."""

NEGLIGIBLE = -40.0
"""Logarithm of the density, relative to the largest, from which a value counts as impossible: e⁻⁴⁰ is 4e-18."""


def draw(log_density, accepts, n, rng, name="the family") -> np.ndarray:
    """Return n numbers from exp(log_density), (n,).

    Whether x is discrete is what ``accepts`` says of numbers between whole ones; if it says nothing, whether the
    density sums to 1 over whole numbers or integrates to 1, over all numbers, those above 0, or those from 0 to 1. A
    continuous x is drawn by inverting the distribution function numerically.

    Parameters
    ----------
    log_density : callable, (m,) -> (m,)
    accepts : callable, (m,) -> (m,) bool
        Whether numbers are possible.
    n : int
    rng : numpy Generator
    name : str
        Used in errors.

    Raises
    ------
    NotImplementedError
        If the density neither sums nor integrates to 1 on any of these.
    """

    def safe(x):
        """Log-density, −∞ where there is none."""
        out, possible = np.full(x.shape, -np.inf), accepts(x)
        with np.errstate(all="ignore"):
            out[possible] = log_density(x[possible])
        out[~(out < np.inf)] = -np.inf
        return out

    between = PROBES + 0.25 * (PROBES == np.round(PROBES))
    whole = np.isfinite(safe(np.round(PROBES))).any() and not np.isfinite(safe(between)).any()
    for domain in DOMAINS:
        for attempt in (_discrete,) if whole else (_continuous, _discrete):
            drawn = attempt(safe, domain, n, rng)
            if drawn is not None:
                return drawn
    raise NotImplementedError(
        f"{name} cannot be sampled: its density was not found to sum or to integrate to 1. Let check_support refuse "
        "what is impossible, define sample(self, natural, n, rng), or ask check_family what is wrong"
    )


def _continuous(safe, domain, n, rng):
    """Return n numbers, or None if the density does not integrate to 1 over the domain."""

    def of_u(u):
        u = np.asarray(u, np.float64)
        with np.errstate(all="ignore"):
            return safe(domain.x(u)) + domain.log_slope(u)

    centre = _mode(of_u, domain)
    if centre is None:
        return None
    low, high = (_edge(of_u, centre, sign) for sign in (-1, 1))
    if not np.isfinite([low, high]).all():
        return None
    edges = np.linspace(low, high, CELLS + 1)
    for _ in range(2):  # cells of the same mass beside those of the same length
        cumulative = np.cumsum(_masses(of_u, edges))
        if not 0 < cumulative[-1] < np.inf:
            return None
        level = np.linspace(0, cumulative[-1], CELLS + 1)
        edges = np.union1d(edges, np.interp(level, np.append(0.0, cumulative), edges))
    mass = _masses(of_u, edges)
    if not abs(mass.sum() - 1) <= 1e-6:
        return None
    return domain.x(_within_cells(np.exp(of_u(edges)), edges, mass, rng.random(n)))


def _masses(of_u, edges):
    """Return the integral of the density over each cell, by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    width = np.diff(edges)
    u = edges[:-1, None] + width[:, None] * (nodes + 1) / 2
    with np.errstate(all="ignore"):
        return np.exp(of_u(u.ravel())).reshape(u.shape) @ weights * width / 2


def _within_cells(density, edges, mass, level):
    """Return where the distribution function has some levels; in a cell the density is taken as linear."""
    cumulative = np.append(0.0, np.cumsum(mass))
    level = level * cumulative[-1]
    cell = np.minimum(np.searchsorted(cumulative, level, side="right") - 1, len(mass) - 1)
    left, right = density[cell], density[cell + 1]
    with np.errstate(all="ignore"):
        share = np.clip((level - cumulative[cell]) / mass[cell], 0.0, 1.0)
        # ∫₀ᵗ (l + (r − l) s) ds = share · (l + r)/2, solved for t without cancellation
        total = share * (left + right)
        t = total / (left + np.sqrt(left**2 + (right - left) * total))
    t = np.where(np.isfinite(t), np.clip(t, 0.0, 1.0), share)
    return edges[cell] + t * (edges[cell + 1] - edges[cell])


def _mode(of_u, domain) -> float | None:
    """Return about where the density is largest: climb from the best probe with steps that grow and shrink."""
    inside = PROBES[(PROBES > domain.low) & (PROBES < domain.high)]
    probes = domain.u(inside)
    values = of_u(probes)
    if not np.isfinite(values).any():
        return None
    u, best = probes[np.argmax(values)], values.max()
    step = max(abs(u), 1.0) / 2
    for _ in range(SEARCH_STEPS):
        trial = u + step * np.array([-2.0, -1.0, 1.0, 2.0])
        found = of_u(trial)
        if found.max() > best:
            u, best = trial[np.argmax(found)], found.max()
            step *= 1.5
        elif step <= 1e-9 * abs(u) or step < 1e-200:
            break
        else:
            step /= 2
    return float(u)


def _edge(of_u, centre, sign) -> float:
    """Return where the density becomes negligible on one side, or its support ends; infinite if it never does."""
    least = of_u(np.array([centre]))[0] + NEGLIGIBLE
    inside, step = centre, max(abs(centre), 1.0) * 1e-6
    for _ in range(SEARCH_STEPS):
        outside = centre + sign * step
        if not of_u(np.array([outside]))[0] > least:
            break
        inside, step = outside, step * 2
    else:
        return sign * np.inf
    for _ in range(SEARCH_STEPS):
        middle = 0.5 * (inside + outside)
        if middle in (inside, outside):
            break
        if of_u(np.array([middle]))[0] > least:
            inside = middle
        else:
            outside = middle
    return inside


def _discrete(safe, domain, n, rng):
    """Return n whole numbers, or None if the density does not sum to 1 over those of the domain."""
    radius = 1 << 10
    while radius <= LATTICE:
        values = np.arange(max(-radius, domain.low), min(radius, domain.high) + 1.0)
        with np.errstate(over="ignore"):
            mass = np.exp(safe(values))
            total = mass.sum()
        if abs(total - 1) <= 1e-9:
            cumulative = np.cumsum(mass)
            return values[np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")]
        if not total <= 1:
            return None
        radius *= 8
    return None
