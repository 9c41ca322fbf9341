"""Kills fits at random moments and goes on with them: ``python docs/checkpoints.py [kills] [seed]``.

A process that has compiled everything forks a child, which fits with a checkpoint after every step. The child gets
SIGKILL at a random moment, the next child goes on from its file and is killed as well, and then this process goes on to
the end. All fitted attributes are compared, bit by bit, with those of a fit that nobody has disturbed.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import expfam_em as ef
from expfam_em import families as f

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""Where files are written: a disk would take most of the time, and a kill loses nothing that is written to it."""

KILLS_EACH = 2
"""Times that a fit is killed before it is let go on to its end."""

RNG = np.random.default_rng(0)
CLUSTERS = np.concatenate([RNG.normal(3 * k % 7, 1, (150, 2)) for k in range(4)])
FAR = np.concatenate([RNG.normal(0, 1, (150, 2)), RNG.normal(1e6, 1e-2, (150, 2)), RNG.normal(4, 1, (100, 2))])
COUNTS = np.concatenate([RNG.poisson(rate, (150, 3)) for rate in (1, 3, 6)]).astype(float)
WEIGHTS = RNG.integers(0, 3, len(CLUSTERS)) * 0.75
GAPS = np.where(RNG.random(CLUSTERS.shape) < 0.1, np.nan, CLUSTERS)
STUCK = np.concatenate([CLUSTERS[:200], np.zeros((30, 2))])

SHARED = {"random_state": 0, "tol": 0, "n_jobs": 1}
START = ef.Mixture.of(f.Poisson(), [0.5, 0.5], rates=[[1.0, 2.0, 1.0], [4.0, 5.0, 6.0]])

FITS = {
    "four starts": lambda how: ef.GaussianMixture(
        4, n_init=4, init_params="random", max_iter=60, **SHARED).fit(CLUSTERS, **how),
    "a temperature schedule, a dropped start": lambda how: ef.GaussianMixture(
        4, n_init=2, temperature=list(np.linspace(4, 1, 20)), max_iter=60, **SHARED).fit(CLUSTERS, **how),
    "acceleration, row weights, dropped starts": lambda how: ef.ExponentialFamilyMixture(
        f.Gamma(), 3, n_init=4, max_iter=40, **SHARED).fit(CLUSTERS + 9, sample_weight=WEIGHTS, **how),
    "coordinates of their own": lambda how: ef.GaussianMixture(
        3, n_init=3, reg_covar=0, max_iter=40, **SHARED).fit(FAR, **how),
    "collapsed components dropped": lambda how: ef.GaussianMixture(
        5, n_init=4, reg_covar=0, collapse="drop", max_iter=30, **SHARED).fit(STUCK, **how),
    "collapsed components repaired": lambda how: ef.GaussianMixture(
        5, n_init=4, reg_covar=0, collapse="repair", max_iter=30, **SHARED).fit(STUCK, **how),
    "missing values": lambda how: ef.GaussianMixture(3, n_init=2, max_iter=30, **SHARED).fit(GAPS, **how),
    "variational Bayes, merges": lambda how: ef.ExponentialFamilyMixture(
        f.Gaussian(), 8, bayesian=True, **SHARED | {"tol": 1e-4}).fit(CLUSTERS, **how),
    "k-means, five starts": lambda how: ef.KMeans(9, n_init=5, tol=0, random_state=0, n_jobs=1).fit(CLUSTERS, **how),
    "ef.fit": lambda how: ef.fit(START, COUNTS, tol=0, max_iter=60, n_jobs=1, **how),
}  # fmt: skip
"""Fits by name, functions of further arguments of ``fit``."""


def bits(fitted) -> dict[str, bytes]:
    """Return what a fitted estimator, or a result, says, byte by byte."""
    found = {}
    for name, value in vars(fitted).items():
        if isinstance(value, dict):
            found |= {f"{name}/{key}": np.asarray(one).tobytes() for key, one in value.items()}
        elif isinstance(value, ef.Mixture):
            found |= {f"{name}/{key}": getattr(value, key).tobytes() for key in ("weights", "natural", "log_partition")}
        elif name.endswith("_") or isinstance(fitted, ef.FitResult):
            found[name] = np.asarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value).encode()
    return found


def quietly(fit, how):
    """Return a fit without its warnings about convergence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit(how)


def killed(fit, how, seconds) -> bool:
    """Fit in a child and kill it after so many seconds; return whether it was still alive."""
    child = os.fork()
    if child == 0:
        try:
            quietly(fit, how)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def where(path) -> str:
    """Return which files a killed fit has left."""
    beside = [end for end in ("previous", "new") if path.with_name(f"{path.name}.{end}").exists()]
    if not path.exists():
        return "between the two renames" if beside else "before the first file"
    return "while a file was written" if "new" in beside else "between two files"


def main(kills, seed=0):
    """Kill so many fits and print what became of them."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder) / "fit.ckpt"
        how = {"checkpoint": path, "checkpoint_every": 0}
        whole, spent, left = {}, {}, Counter()
        for name, fit in FITS.items():
            whole[name] = bits(quietly(fit, {}))
            begun = time.perf_counter()
            assert bits(quietly(fit, how)) == whole[name], name
            spent[name] = time.perf_counter() - begun
        done, fits, same = Counter(), 0, 0
        while done.total() < kills:
            name = list(FITS)[fits % len(FITS)]
            times = 0
            while times < KILLS_EACH and done.total() < kills:
                if not killed(FITS[name], how, rng.uniform(0, spent[name])):
                    break  # it had come to its end
                times += 1
                done[name] += 1
                left[where(path)] += 1
            fits += 1
            same += bits(quietly(FITS[name], how)) == whole[name]
            assert not os.listdir(folder), "files stay behind"
    print("| fit | kills |\n|---|---|")
    print("\n".join(f"| {name} | {done[name]} |" for name in FITS))
    print("\n| killed | kills |\n|---|---|")
    print("\n".join(f"| {place} | {count} |" for place, count in left.most_common()))
    print(f"\n{done.total()} kills of {fits} fits: {same} have the bits of a fit that was not killed")
    assert same == fits


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or [300]))
