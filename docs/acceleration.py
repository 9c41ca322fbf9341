"""Passes that EM and its acceleration take, and how near to a maximum they end.

``python docs/acceleration.py [problems problems_of_ten_starts]``, by default 200 and 30.
"""

from __future__ import annotations

import sys
import time
import warnings
from itertools import islice, product

import numpy as np
from sklearn import datasets

import expfam_em as ef
from expfam_em import families as f
from expfam_em.em.loop import fit_all
from expfam_em.em.options import Options
from expfam_em.em.starts import initialise_all
from expfam_em.estep.plan import plan
from expfam_em.family.binding import bind
from expfam_em.rows.memory import ArrayRows

NEAR = 1e-9  # per unit of row weight: how near to where EM ends counts as there
MOST_PASSES = 2000
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
    """Return the results and the CPU seconds of EM and of its acceleration from the same starts."""
    rows = ArrayRows(np.asarray(X, float), None, 1)
    pass_ = plan(bind(family, rows), rows, K)
    starts = initialise_all(pass_, np.zeros(n_starts, int), K, "k-means++", np.random.default_rng(seed))
    found = []
    for acceleration, tol in ((None, 1e-12), ("auto", 1e-11)):
        began = time.process_time()
        options = Options(max_iter=MOST_PASSES, tol=tol, acceleration=acceleration)
        found.append((fit_all(starts.mixture, pass_, options=options), time.process_time() - began))
    return found


def passes_to(result, target):
    """Return after how many passes the bound is near a target."""
    return int(np.argmax(result.bounds >= target)) if result.bounds[-1] >= target else len(result.bounds) - 1


def verdict(em, fast, n):
    """Return "worse" or "better" for an acceleration that ends at another maximum than EM, else None."""
    gap = (fast.bound - em.bound) / n
    return None if abs(gap) <= OTHER or (gap > 0 and not em.converged) else "better" if gap > 0 else "worse"


def single_starts(n_problems):
    """Print how many fewer passes the acceleration takes, and how often it ends elsewhere."""
    lots, tally, least = {}, {"worse": 0, "better": 0, "failed": 0}, 0.0
    for number, (name, family, X, K) in enumerate(islice(problems(np.random.default_rng(0)), n_problems)):
        ([em], em_time), ([fast], fast_time) = compared(family, X, K, number)
        if not (isinstance(em, ef.FitResult) and isinstance(fast, ef.FitResult)):
            tally["failed"] += 1
            continue
        least = min(least, float(np.min(np.diff(fast.bounds + fast.log_priors), initial=0.0)))
        if other := verdict(em, fast, len(X)):
            tally[other] += 1
            continue
        there = min(em.bound, fast.bound) - NEAR * len(X)
        passes = passes_to(em, there), passes_to(fast, there)
        if passes[1] > passes[0] + 2:
            print(f"slower: problem {number}, {name}, K = {K}: {passes[1]} passes for {passes[0]}", flush=True)
        lots.setdefault(name.split()[0], []).append((*passes, passes[0] / max(passes[1], 1), em_time, fast_time))
    lots = {name: np.array(lot) for name, lot in lots.items()}
    every = np.concatenate(list(lots.values()))
    slow = every[every[:, 0] >= 100]
    print(
        f"{len(every)} problems of {n_problems} at the same maximum: median ratio of passes "
        f"{np.median(every[:, 2]):.1f}; {np.median(slow[:, 2]):.1f} over the {len(slow)} in which EM takes 100 or more"
    )
    print(f"other maxima {tally}; least gain of a step {least:.2g}")
    for name, lot in lots.items():
        print(
            f"{name:16} {len(lot):3d} problems, passes {lot[:, 0].sum():7.0f} and {lot[:, 1].sum():6.0f}, "
            f"CPU seconds {lot[:, 3].sum():6.1f} and {lot[:, 4].sum():5.1f}, median ratio {np.median(lot[:, 2]):.1f}",
            flush=True,
        )


def best_of_ten(n_problems, seed):
    """Print how often single starts, and the best of ten, end at another maximum than EM's."""
    single, best = {"worse": 0, "better": 0}, {"worse": 0, "better": 0}
    for number, (name, family, X, K) in enumerate(islice(problems(np.random.default_rng(seed)), n_problems)):
        (em, _), (fast, _) = compared(family, X, K, number, 10)
        pairs = [pair for pair in zip(em, fast, strict=True) if all(isinstance(one, ef.FitResult) for one in pair)]
        verdicts = [verdict(*pair, len(X)) for pair in pairs]
        top = [max(side, key=lambda result: result.bound) for side in zip(*pairs, strict=True)]
        if verdict(*top, len(X)) == "worse":
            low = top[0].bound - top[1].bound
            print(f"worse: problem {number}, {name}, K = {K}: the best of ten is {low:.2g} lower", flush=True)
        for tally, found in ((single, verdicts), (best, [verdict(*top, len(X))])):
            for one in filter(None, found):
                tally[one] += 1
    print(f"{n_problems} problems of ten starts, seed {seed}: starts {single}, best of ten {best}", flush=True)


def ends():
    """Print how far below the maximum they are in fits end at the defaults, in log-likelihood."""
    rng = np.random.default_rng(0)
    table = datasets.load_iris().data, datasets.load_wine().data, datasets.load_breast_cancer().data[:, :3]
    angles = np.concatenate([rng.vonmises(0, 3, (150, 1)), rng.vonmises(2, 1, (150, 1))])
    codes = (rng.random((400, 6, 1)) > np.cumsum(rng.dirichlet(np.ones(3), (3, 6)), axis=2)[np.arange(400) % 3]).sum(2)
    counts = rng.negative_binomial(1, np.where(np.arange(900) % 3, 0.2, 0.5)[:, None])
    mixed = np.column_stack([table[2][:, 0], rng.poisson(table[2][:, 1] / 5)])
    models = [(f.Gaussian(kind), X) for kind in ("VVV", "VEE", "EEE", "VVI", "VII") for X in table]
    models += [(f.StudentT(), X) for X in table] + [(f.Gamma(), X) for X in table]
    models += [(f.Poisson(), counts), (f.GammaPoisson(), counts), (f.VonMises(), angles)]
    models += [(f.Categorical(), np.minimum(codes, 2)), (f.Product([(f.Gaussian(), [0]), (f.Poisson(), [1])]), mixed)]
    for acceleration in ("auto", None):
        gaps, steps = [], []
        for (family, X), K in product(models, (1, 2, 3)):
            how = {"random_state": 0, "acceleration": acceleration, "n_jobs": 1, "max_iter": 20_000}
            model = ef.ExponentialFamilyMixture(family, K, **how).fit(X)
            end = ef.fit(model.mixture_, X, tol=1e-14, max_iter=3000, acceleration="auto", n_jobs=1)
            gaps.append(end.bound - model.lower_bound_ * len(X))
            steps.append(model.n_iter_)
        print(
            f"defaults, acceleration={acceleration}: {len(gaps)} fits, {np.sum(steps)} steps, at most {max(gaps):.1g} "
            "below their maximum",
            flush=True,
        )


def digits():
    """Print the steps of fits of black and white digits, of which many pixels of a class are always or never black."""
    grey, fits = datasets.load_digits().data, {None: [], "auto": []}
    for (n, black, K), seed in product(((300, 8, 5), (300, 8, 8), (600, 8, 10), (500, 4, 8), (1000, 8, 15)), range(8)):
        for acceleration, found in fits.items():
            how = {"random_state": seed, "acceleration": acceleration, "tol": 1e-8, "max_iter": 3000, "n_jobs": 1}
            fit = ef.BernoulliMixture(K, **how).fit(grey[:n] >= black)
            found.append((fit.n_iter_, fit.lower_bound_))
    (em, bounds), (fast, others) = (np.array(found).T for found in fits.values())
    print(
        f"digits: {len(em)} fits, {em.sum():.0f} steps of EM, {fast.sum():.0f} accelerated; more than two more in "
        f"{np.sum(fast > em + 2)}, at most {np.max(fast - em):.0f}; a lower maximum in "
        f"{np.sum(others < bounds - OTHER)}, a higher one in {np.sum(others > bounds + OTHER)}",
        flush=True,
    )


def main(n_problems, n_tens):
    print("Hasselblad: passes", hasselblad())
    digits()
    ends()
    for seed in (1, 3):
        best_of_ten(n_tens, seed)
    single_starts(n_problems)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of columns that are constant within a component
    main(*map(int, sys.argv[1:] or ("200", "30")))
