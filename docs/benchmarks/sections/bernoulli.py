"""Latent classes of binary data: seconds per EM iteration against StepMix and pomegranate."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from harness import programs
from harness.machine import THREADS
from harness.store import at_least, at_most, judged, lowest
from harness.timing import Fit, Timing, best_of, compared, seconds
from harness.workers import Libraries
from scipy.special import logsumexp, softmax


@dataclass(frozen=True)
class Case:
    n: int
    d: int
    K: int
    iterations: tuple = (5, 15)

    def __str__(self):
        return f"{self.n:,} × {self.d}, K = {self.K}"


CASES = (Case(100_000, 20, 5), Case(50_000, 100, 10), Case(5_000, 784, 20))
SMALLER = (Case(5_000, 20, 5), Case(1_000, 784, 20, iterations=(2, 6)))
QUICK, QUICK_SMALLER = (Case(50_000, 20, 5),), (Case(500, 20, 3),)
PEERS = {"stepmix": "StepMix", "pomegranate": "pomegranate"}
OTHERS = {"flexmix": "flexmix"}
LEAST = {"stepmix": 10, "pomegranate": 20}
AGREE = 1e-9

HOW = """
Seconds per EM iteration: the difference of fits of 5 and 15 iterations from the same weights and probabilities,
divided by 10; nothing stops early. Least of three turns, in parentheses the least and the largest ratio of any turn.
Ours reads uint8, the peers get the float64 they work in, made beforehand; pomegranate is spared its checks of the
data. `agree` is the largest difference of the mean log-likelihood per row after 5 iterations. Rows: K classes with
probabilities drawn from Beta(1, 1).
"""
HOW_OTHERS = """
R's flexmix (`FLXMCmvbinary`, from responsibilities) in R on one thread, at smaller sizes; after the semicolon the
ratio of CPU seconds. Its probabilities are ours; its weights are those of the next step.
"""


@functools.lru_cache(maxsize=1)
def problem(case):
    """Return 0/1 rows as uint8, and weights and probabilities to start from."""
    rng = np.random.default_rng(1)
    classes = rng.random((case.K, case.d))
    X = (rng.random((case.n, case.d)) < classes[rng.integers(case.K, size=case.n)]).astype(np.uint8)
    return X, np.full(case.K, 1 / case.K), 0.25 + 0.5 * rng.random((case.K, case.d))


@functools.lru_cache(maxsize=1)
def as_float(case):
    return problem(case)[0].astype(np.float64)


def ours(case, iterations):
    import expfam_em as ef

    X, weights, start = problem(case)
    mixture = ef.Mixture(ef.families.Bernoulli(), weights, np.log(start) - np.log1p(-start))
    model = ef.BernoulliMixture(case.K, init=mixture, tol=0, max_iter=iterations, n_jobs=THREADS).fit(X)
    return Fit((model.weights_, model.probabilities_))


@functools.cache
def _stepmix():
    from stepmix import StepMix

    class Started(StepMix):
        """StepMix with a start of one's own, which its constructor cannot be given."""

        def _initialize_parameters(self, X, random_state):
            super()._initialize_parameters(X, random_state)
            self.weights_, self._mm.parameters["pis"] = self.own_start

    return Started


def stepmix(case, iterations):
    _, weights, start = problem(case)
    model = _stepmix()(case.K, abs_tol=0, rel_tol=0, max_iter=iterations, progress_bar=0, random_state=0)
    model.own_start = weights.copy(), start.copy()
    model.fit(as_float(case))
    return Fit((model.weights_, model.get_parameters()["measurement"]["pis"]))


def pomegranate(case, iterations):
    import torch
    from pomegranate.distributions import Bernoulli
    from pomegranate.gmm import GeneralMixtureModel

    torch.set_num_threads(THREADS)
    torch.set_default_dtype(torch.float64)
    _, weights, start = problem(case)
    parts = [Bernoulli(torch.from_numpy(p.copy()), check_data=False) for p in start]
    priors = torch.from_numpy(weights.copy())
    model = GeneralMixtureModel(parts, priors, max_iter=iterations, tol=-math.inf, check_data=False)
    model.fit(torch.from_numpy(as_float(case)))
    return Fit((model.priors.numpy(), np.array([part.probs.numpy() for part in parts])))


@functools.lru_cache(maxsize=1)
def responsibilities(case):
    """Return the responsibilities at the start, which are what flexmix can be given."""
    return softmax(scores(case, problem(case)[1:]), axis=1)


def flexmix(case, iterations):
    folder, more = programs.stored(problem, case), (case.n, case.d, case.K, "bits", iterations)
    time, numbers = programs.run("flexmix", folder, (responsibilities(case),), "flexmix_binary", *more)
    return Fit((numbers[: case.K], numbers[case.K :].reshape(case.K, case.d)), None, time)


FITS = {"ours": ours, "stepmix": stepmix, "pomegranate": pomegranate, "flexmix": flexmix}


def timed(library, case, iterations):
    return best_of(lambda: FITS[library](case, iterations))


def parameters(library, case, iterations):
    return tuple(np.array(value) for value in FITS[library](case, iterations).parameters)


def scores(case, fitted):
    """Return log(weight × probability) of rows and components."""
    weights, probabilities = fitted
    X = problem(case)[0].astype(np.float64)
    p = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return X @ np.log(p).T + (1 - X) @ np.log1p(-p).T + np.log(weights)


def log_likelihood(case, fitted):
    return float(logsumexp(scores(case, fitted), axis=1).mean())


def run(quick):
    with Libraries() as libraries:
        tables = [
            {
                "how": how, "columns": columns(peers, unit),
                "rows": judged([measured(libraries, case, peers) for case in cases], wanted),
            }
            for peers, cases, unit, how, wanted in (
                (PEERS, QUICK if quick else CASES, "ratio", (), {f"x_{peer}": least for peer, least in LEAST.items()}),
                (OTHERS, QUICK_SMALLER if quick else SMALLER, "cpu", [HOW_OTHERS], {}),
            )
        ]  # fmt: skip
    main = tables[0]["rows"]
    goals = [
        at_least(f"{name}: least ratio", lowest(row[f"x_{peer}"] for row in main), LEAST[peer])
        for peer, name in PEERS.items()
    ]
    agree = max(row["agree"] for row in main)
    goals.append(at_most("difference of the mean log-likelihood", agree, AGREE))
    return {"title": "Latent classes of binary data", "how": HOW, "tables": tables, "targets": goals}


def columns(peers, unit):
    return [
        ("case", "rows × columns", "text"), ("ours", "ours, s", "seconds"),
        *(
            column
            for peer, name in peers.items()
            for column in ((peer, f"{name}, s", "seconds"), (f"x_{peer}", name, unit))
        ),
        *([("agree", "agree", "power"), ("met", "met", "text")] if peers is PEERS else []),
    ]  # fmt: skip


def measured(libraries, case, peers):
    """Return the row of one case: a ratio for each of the peers."""
    few, many = case.iterations
    fitted = {name: libraries.attempt(name, parameters, case, few) for name in ("ours", *peers)}
    able = [name for name, value in fitted.items() if value is not None]
    best = libraries.take_turns({(name, c): (name, timed, case, c) for name in able for c in (few, many)})
    found = {name: Timing.per_step(best[name, few], best[name, many], many - few) for name in able}
    row = {"case": str(case), "ours": seconds(found["ours"])}
    for peer in peers:
        row[peer] = seconds(found.get(peer))
        row |= compared(f"x_{peer}", found.get(peer), found["ours"])
    values = {name: log_likelihood(case, fitted[name]) for name in able}
    row["agree"] = max(abs(value - values["ours"]) for value in values.values())
    return row
