"""Fits that Ctrl-C interrupts, or beside which another thread forks: afterwards the process is as it was.

``python -m tests.signalled_fits SECONDS [SEED]`` makes the fits SEED, SEED + 1, ... in child processes, interrupts each
at a random moment, fits again, and prints what went wrong and how often.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

import expfam_em as ef
from expfam_em import families as f
from expfam_em.rows import grid, helpers
from tests.children import changed, go_through, libraries, say, settings

FITS_EACH = 2000
"""Fits that a child makes before the next one begins."""

FORKS = 0.1
"""Share of the fits beside which another thread forks."""

CHECKED = 0.2
"""Share of the fits after which the same fit is made again, besides a quick one."""

AGAIN = 0.3
"""Share of the signals after which another one follows at once."""

LATE = 1.2
"""Latest moment of a signal, as a multiple of what the fit takes."""


THREADS = 40
"""Threads of a process in order: the pool has 32."""

QUICK = "KMeans, 2 threads"
"""A job that takes little time."""

PATIENCE = 40.0
"""A forked child that takes more seconds counts as one that hangs."""


def jobs(folder):
    """Return what is interrupted, by name: functions without arguments that return numbers."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 2)), rng.normal(4, 1, (60, 2))])
    rare, near = np.abs(X[:, :1]) + 0.1, np.concatenate([X, X * 1e-3 + 1e3])
    np.save(folder / "rows.npy", X)
    how = {"random_state": 0, "guard": False}

    def mixture(family, K=2, **more):
        return ef.ExponentialFamilyMixture(family, K, max_iter=5, tol=1e-3, **how | more)

    def numbers(model):
        return [model.mixture_.weights, model.mixture_.natural]

    def fit(model, X=X, **more):
        return lambda: numbers(model.fit(X, **more))

    def predict(model, X=X):
        model.fit(X)
        return lambda: [model.predict(X), model.score_samples(X), model.sample(5)[0]]

    def save():
        saved.save(folder / "model.efm")
        return numbers(ef.load(folder / "model.efm"))

    def checkpoint():
        model = mixture(f.Gamma(), n_jobs=1)
        return numbers(model.fit(rare, checkpoint=folder / "fit.checkpoint", checkpoint_every=0))

    def callback(state):
        np.linalg.norm(state.bounds)

    def partial():
        return numbers(mixture(f.Gaussian()).partial_fit(X[::2]).partial_fit(X[1::2]))

    def many():
        return [one for m in ef.fit_many(mixture(f.Gaussian("diag")), [X, X[:50], X[9:]]) for one in numbers(m)]

    saved = ef.GaussianMixture(2, random_state=0).fit(X)
    return {
        "GaussianMixture": fit(ef.GaussianMixture(2, random_state=0, n_init=2, n_jobs=1)),
        "GaussianMixture, 2 threads": fit(ef.GaussianMixture(3, random_state=0, n_jobs=2, tol=1e-2)),
        "far clusters": fit(ef.GaussianMixture(2, random_state=0, n_jobs=2), near),
        "guarded": fit(mixture(f.Gaussian(), guard=True)),
        "VEV": fit(mixture(f.Gaussian("VEV"))),
        "StudentT": fit(mixture(f.StudentT(), n_jobs=2)),
        "Gamma": fit(mixture(f.Gamma(), acceleration="auto"), rare),
        "Product": fit(mixture(f.Product([(f.Gaussian(), [0]), (f.Laplace(), [1])]), n_jobs=2)),
        "KMeans": fit(ef.KMeans(4, random_state=0, n_init=2, n_jobs=1)),
        "KMeans, 2 threads": fit(ef.KMeans(4, random_state=0, n_jobs=2)),
        "MiniBatchKMeans": fit(ef.MiniBatchKMeans(3, random_state=0, n_init=1, batch_size=64)),
        "BayesianGaussianMixture": fit(ef.BayesianGaussianMixture(3, random_state=0, max_iter=5, tol=1.0)),
        "missing values": fit(mixture(f.Gaussian(), n_jobs=2), np.where(rng.random(X.shape) < 0.1, np.nan, X)),
        "fit_many": many,
        "select": lambda: numbers(ef.select(X, models=("EII", "VVV"), n_components=(1, 2), random_state=0).best_),
        "a file": fit(mixture(f.Gaussian(), n_jobs=2), folder / "rows.npy"),
        "callbacks": fit(mixture(f.Gaussian(), n_jobs=2), callbacks=[callback]),
        "partial_fit": partial,
        "predict": predict(ef.GaussianMixture(2, random_state=0, n_jobs=2)),
        "save": save,
        "checkpoint": checkpoint,
    }


class Interrupts:
    """Signals at moments of their own, while a job runs and at no other time."""

    def __init__(self):
        self.left, self.again = 0, 0.0
        signal.signal(signal.SIGALRM, self.handle)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell sets aside in the background

    def handle(self, number, frame):
        """Do as a terminal does on Ctrl-C: SIGINT, whose handler is Python's own."""
        if self.left:
            self.left -= 1
            if self.left:
                signal.setitimer(signal.ITIMER_REAL, self.again)
            signal.raise_signal(signal.SIGINT)

    def during(self, job, delay, again):
        """Run a job; return whether a signal, or a second one ``again`` seconds after it, interrupted it."""
        self.left, self.again, interrupted = 1 + (again > 0), again, True
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                job()
                interrupted = False
            finally:
                self.left = 0
        except KeyboardInterrupt:
            self.left = 0
        return interrupted


class Forks(threading.Thread):
    """Forks after some seconds; the child fits once and says whether all is well."""

    def __init__(self, delay, check):
        super().__init__(daemon=True)
        self.delay, self.check, self.fault = delay, check, ""

    def run(self):
        time.sleep(self.delay)
        if child := os.fork():
            self.fault = fault_of(child)
            return
        code = 1
        try:
            fault = self.check()
            if fault:
                os.write(2, f"in a forked child: {fault}\n".encode())
            code = int(fault != "")
        finally:
            os._exit(code)


def fault_of(child):
    """Wait for a child, and return what was wrong with it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return f"a forked child ends with {code}" if code else ""
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "a forked child hangs"


class Signalled:
    """A process whose fits are interrupted: what each of them gives, how long it takes, and the settings before."""

    def __init__(self, folder):
        grid.CHUNK_WORK, grid.FEWEST_ROWS = 500, 1  # several chunks, so that threads have something to do
        self.folder, self.jobs, self.expected, self.took = folder, jobs(folder), {}, {}
        for name, job in self.jobs.items():
            job()  # compiles and loads what is needed
            begun = time.perf_counter()
            self.expected[name] = job()
            self.took[name] = time.perf_counter() - begun
        self.interrupts = Interrupts()
        self.blas = libraries()
        self.blas.limit(limits=2)
        self.before, self.files = settings(self.blas), self.present()

    def present(self):
        """Return the files of the folders that fits write to, and how many are open."""
        names = {path.name for path in self.folder.rglob("*") if not path.name.startswith("fit.checkpoint")}
        return names - {"model.efm"}, len(os.listdir("/proc/self/fd"))

    def changed(self):
        """Return which settings are others, once helper threads had time to end."""
        end = time.monotonic() + 2.0
        while (fault := changed(self.before, settings(self.blas))) and time.monotonic() < end:
            time.sleep(0.01)
        return fault

    def left(self):
        """Return what has been left behind, "" if nothing is, once a thread that writes had time to end."""
        end = time.monotonic() + 20.0
        while (helpers._away or self.present() != self.files) and time.monotonic() < end:
            gc.collect()
            time.sleep(0.01)
        names, open_files = self.present()
        if names != self.files[0]:
            return f"leaves {sorted(names - self.files[0])}"
        if open_files > self.files[1]:
            return f"leaves {open_files - self.files[1]} files open"
        return "leaves threads" if threading.active_count() > THREADS else ""

    def another(self, name):
        """Return what is wrong with the same job made now, "" if nothing is."""
        found = self.jobs[name]()
        same = all(np.array_equal(one, other) for one, other in zip(found, self.expected[name], strict=True))
        kept = [path.name for path in self.folder.glob("fit.checkpoint*")] if name == "checkpoint" else []
        return f"leaves {kept}" if kept else "" if same else "the fit afterwards is another one"

    def wrong(self, name):
        """Return what is wrong with the process, "" if nothing is; the job of a name is done again."""
        return self.changed() or self.left() or self.another(QUICK) or self.another(name) or self.changed()

    def wrong_in_child(self):
        """Return what is wrong with a forked child, in which files of the parent may be open."""
        return self.changed() or self.another(QUICK) or self.changed()

    def fate(self, seed):
        """Return the name of the job of a seed, "interrupted" or "ends", and what is wrong afterwards."""
        g = np.random.default_rng(seed)
        often = 1 / np.array(list(self.took.values()))  # each takes its share of the time
        name = list(self.jobs)[g.choice(len(often), p=often / often.sum())]
        delay = max(1e-6, g.uniform(0, LATE) * self.took[name])
        again = float(10.0 ** g.uniform(-5, -3)) if g.random() < AGAIN else 0.0
        fork = Forks(g.uniform(0, 1) * self.took[name], self.wrong_in_child) if g.random() < FORKS else None
        if fork:
            fork.start()
        kind = "interrupted" if self.interrupts.during(self.jobs[name], delay, again) else "ends"
        if fork:
            fork.join()
        kind = f"{kind} twice" if again and kind == "interrupted" else kind
        fault = self.wrong(name if g.random() < CHECKED else QUICK)
        return name, f"{kind}, fork" if fork else kind, fault or (fork.fault if fork else "")


def fit_some(folder, first, last):
    """Make fits one after the other, telling the parent by lines on the standard output."""
    (folder / "temporary").mkdir(exist_ok=True)
    tempfile.tempdir = str(folder / "temporary")
    warnings.simplefilter("ignore")
    state = Signalled(folder)
    for seed in range(first, last):
        say("begins", seed)
        name, kind, fault = state.fate(seed)
        say(kind, seed, f"{seed}: {name}, {kind}", fault)
        if fault:  # the next ones would have it, too
            break


def main(seconds, first):
    with tempfile.TemporaryDirectory() as name:
        go_through("tests.signalled_fits", [name], seconds, first, FITS_EACH)


if __name__ == "__main__":
    if sys.argv[1] == "child":
        with contextlib.suppress(BrokenPipeError):
            fit_some(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
