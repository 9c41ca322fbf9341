"""Random numbers from a density of one column that is only known up to its formula."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.integrate import cumulative_trapezoid
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
CELLS = 1 << 14
"""Cells of the same length, and then of the same mass, into which the line is cut.

With so many the distribution function is inverted with an error below 1e-6 for every law of the tests.
"""

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
    """Return n numbers, or None if the density does not integrate to 1 over the domain.

    The distribution function is tabulated and inverted. SciPy's NumericalInversePolynomial asks for the density of one
    number at a time, some 7,000 times, which takes ten times as long as the tables.
    """

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
    for _ in range(3):
        with np.errstate(all="ignore"):
            cumulative = cumulative_trapezoid(np.exp(of_u(edges)), edges, initial=0.0)
        if not 0 < cumulative[-1] < np.inf:
            return None
        inverse = partial(np.interp, xp=cumulative, fp=edges)
        # where the mass is, cells of the same mass are shorter than those of the same length
        edges = np.union1d(edges, inverse(np.linspace(0, cumulative[-1], CELLS + 1)))
    return domain.x(inverse(rng.random(n) * cumulative[-1])) if abs(cumulative[-1] - 1) <= 1e-6 else None


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
    least = of_u([centre])[0] + NEGLIGIBLE
    trials = centre + sign * max(abs(centre), 1.0) * 1e-6 * 2.0 ** np.arange(SEARCH_STEPS)
    beyond = ~(of_u(trials) > least)
    if not beyond.any():
        return sign * np.inf
    first = np.argmax(beyond)
    inside, outside = trials[first - 1] if first else centre, trials[first]
    while (middle := 0.5 * (inside + outside)) not in (inside, outside):
        inside, outside = (middle, outside) if of_u([middle])[0] > least else (inside, middle)
    return inside


def _discrete(safe, domain, n, rng):
    """Return n whole numbers, or None if the density does not sum to 1 over those of the domain."""
    radius, found = 1 << 10, 0.0
    while radius <= LATTICE:
        values = np.arange(max(-radius, domain.low), min(radius, domain.high) + 1.0)
        with np.errstate(over="ignore"):
            mass = np.exp(safe(values))
            total = mass.sum()
        if abs(total - 1) <= 1e-9:
            return rng.choice(values, n, p=mass / total)
        if not total <= 1 or 0 < total == found:  # too much, or no more to be found
            return None
        found = total
        radius *= 8
    return None
