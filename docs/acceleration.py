"""Passes over the rows that EM and its acceleration take: ``python docs/acceleration.py [problems]``."""

from __future__ import annotations

import sys
import time
from itertools import islice

import numpy as np

import expfam_em as ef
from expfam_em import families as f
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.estep.plan import plan
from expfam_em.family.binding import bind
from expfam_em.rows.memory import ArrayRows

NEAR = 1e-9  # per unit of row weight: how near to where EM ends counts as there
OTHER = 1e-6  # per unit of row weight: what tells two maxima apart


def hasselblad():
    """Return the passes of EM and of its acceleration from (0.5, 1, 3) to a step of 1e-7 in π₁ and the rates."""
    deaths = np.array([162, 267, 271, 185, 111, 61, 27, 8, 3, 1.0])
    start = ef.Mixture.of(f.Poisson(), [0.5, 0.5], rates=[[1.0], [3.0]])
    passes = {}
    for acceleration in (None, "auto"):
        watch = Watch()
        ef.fit(
            start, np.arange(10.0)[:, None], deaths, max_iter=5000, tol=0, acceleration=acceleration, callbacks=[watch]
        )
        passes[acceleration] = len(watch.points)
    return passes


class Watch:
    """Remembers π₁ and the rates of a run, and ends it once they move by less than 1e-7."""

    def __init__(self):
        self.points = []

    def __call__(self, state):
        self.points.append(np.append(state.mixture.weights[0, 0], np.exp(state.mixture.natural.ravel())))
        return len(self.points) > 1 and 0 < np.linalg.norm(self.points[-1] - self.points[-2]) < 1e-7


def problems(rng):
    """Yield names, families, rows and numbers of components."""
    kinds = ["full", "diag", "tied", "spherical", "VEE", "VVV", "EEI"]
    while True:
        n, d, K = int(rng.choice([200, 400])), int(rng.choice([2, 3, 5])), int(rng.integers(2, 6))
        labels, kind, few = rng.integers(0, K, n), kinds[rng.integers(len(kinds))], min(K, 3)
        near = rng.normal(size=(n, d)) + rng.normal(scale=1.5, size=(K, d))[labels]
        bits = rng.random((n, 2 * d + 4)) < rng.beta(1, 1, (K, 2 * d + 4))[labels]
        codes = (rng.random((n, 5, 1)) > np.cumsum(rng.dirichlet(np.ones(3), (K, 5)), axis=2)[labels]).sum(axis=2)
        yield f"Gaussian {kind}", f.Gaussian(kind), near, K
        yield "Bernoulli", f.Bernoulli(), bits, K
        yield "Poisson", f.Poisson(), rng.poisson(rng.gamma(2, 2, (K, d))[labels]), K
        yield "Gamma", f.Gamma(), rng.gamma(*rng.uniform(1, 5, (2, K, 1))[:, labels]), few
        yield "StudentT", f.StudentT(), near[:, :2] + rng.standard_t(3, (n, 2)), few
        yield "GammaPoisson", f.GammaPoisson(), rng.negative_binomial(3, rng.uniform(0.2, 0.7, (K, 2))[labels]), few
        of_angles = rng.uniform([[-3], [1]], [[3], [8]], (2, K))[:, labels, None]
        yield "VonMises", f.VonMises(), rng.vonmises(*of_angles), few
        yield "Categorical", f.Categorical(3), np.minimum(codes, 2), K
        mixed = np.column_stack([near[:, 0], rng.poisson(3 + 2 * labels)])
        yield "Product", f.Product([(f.Gaussian(), [0]), (f.Poisson(), [1])]), mixed, few
        yield "far apart", f.Gaussian(), np.concatenate([near, 1e6 + near[: n // 2]]), K


def compared(family, X, K, seed, n_starts=1):
    """Return passes, final bounds per row, seconds and the least gain of EM and of its acceleration."""
    rows = ArrayRows(np.asarray(X, float), None, 1)
    bound = bind(family, rows)
    pass_ = plan(bound, rows, K)
    starts = initialise_all(pass_, np.zeros(n_starts, int), K, "k-means++", np.random.default_rng(seed))
    found = []
    for acceleration in (None, "auto"):
        began = time.process_time()
        options = Options(max_iter=4000, tol=1e-12 if acceleration is None else 1e-11, acceleration=acceleration)
        found.append((fit_all(starts.mixture, pass_, options=options), time.process_time() - began))
    return found


def passes_to(result, target):
    """Return after how many passes the bound is near a target."""
    return int(np.argmax(result.bounds >= target)) if result.bounds[-1] >= target else len(result.bounds) - 1


def main(n_problems):
    print("Hasselblad: passes", hasselblad())
    rng, lines, tally, least = np.random.default_rng(0), {}, {"worse": 0, "better": 0, "failed": 0}, 0.0
    for number, (name, family, X, K) in enumerate(islice(problems(rng), n_problems)):
        ([em], em_time), ([fast], fast_time) = compared(family, X, K, number)
        if not (isinstance(em, ef.FitResult) and isinstance(fast, ef.FitResult)):
            tally["failed"] += 1
            continue
        gap = (fast.bound - em.bound) / len(X)
        least = min(least, float(np.min(np.diff(fast.bounds + fast.log_priors), initial=0.0)))
        if abs(gap) > OTHER and (em.converged or gap < 0):
            tally["better" if gap > 0 else "worse"] += 1
            continue
        there = min(em.bound, fast.bound) - NEAR * len(X)
        passes = passes_to(em, there), passes_to(fast, there)
        lines.setdefault(name, []).append((*passes, passes[0] / max(passes[1], 1), em_time, fast_time))
    lots = {name: np.array(lot) for name, lot in lines.items()}
    every = np.concatenate(list(lots.values()))
    slow = every[every[:, 0] >= 100]
    print(
        f"{len(every)} problems: median ratio of passes {np.median(every[:, 2]):.1f}; "
        f"{np.median(slow[:, 2]):.1f} over the {len(slow)} in which EM takes 100 or more; "
        f"at most {int(np.max(every[:, 1] - every[:, 0]))} passes more"
    )
    print(f"other maxima {tally}; least gain of a step {least:.2g}")
    for name, lot in lots.items():
        print(
            f"{name:16} {len(lot):3d} problems, passes {lot[:, 0].sum():7.0f} and {lot[:, 1].sum():6.0f}, "
            f"CPU seconds {lot[:, 3].sum():6.1f} and {lot[:, 4].sum():5.1f}, median ratio {np.median(lot[:, 2]):.1f}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
