"""What a cluster costs and survives here: ``python docs/cluster.py [kills|overhead|idle|model] [how many]``.

All workers are processes of this machine, on loopback, so no network is measured.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import warnings

import dask
import dask.array as da
import distributed
import numpy as np
from scipy.optimize import nnls

import expfam_em as ef
from expfam_em.rows.parts import part_bounds
from expfam_em.rows.protocol import Chunk

D, K = 8, 8


class KilledCluster(distributed.LocalCluster):
    """A cluster that does not stumble over workers that are lost before it has heard of them."""

    def _update_worker_status(self, op, msg):
        with contextlib.suppress(KeyError):
            super()._update_worker_status(op, msg)


def cluster(n_workers):
    """Return a cluster of processes on loopback, with one thread each."""
    dask.config.set({"distributed.deploy.lost-worker-timeout": "600 s"})  # a busy machine starts workers slowly
    return KilledCluster(
        n_workers=n_workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs=logging.CRITICAL,
    )  # fmt: skip


def block(first, n):
    """Return rows of eight clusters, float32, that depend on their numbers alone."""
    rng = np.random.default_rng(first)
    return (rng.normal(size=(n, D)) + 3 * rng.integers(0, K, n)[:, None] * np.sin(1 + np.arange(D))).astype(np.float32)


def collection(n, step=190_000):
    """Return such rows as an array whose chunks are tasks."""
    chunks = tuple(min(step, n - first) for first in range(0, n, step))

    def made(like, block_info=None):
        first, stop = block_info[None]["array-location"][0]
        return block(first, stop - first)

    like = da.zeros((n, D), np.float32, chunks=(chunks, (D,)))
    return da.map_blocks(made, like, dtype=np.float32, name=f"made-{time.monotonic_ns()}")  # tasks of their own


def in_memory(n, step=190_000):
    """Return the same rows as an array."""
    return np.concatenate([block(first, min(step, n - first)) for first in range(0, n, step)])


def start(n_components=K, d=D):
    """Return a mixture to start at."""
    means = 3 * np.arange(n_components)[:, None] * np.sin(1 + np.arange(d))
    family = ef.families.Gaussian("diag")
    weights = np.full(n_components, 1 / n_components)
    return ef.Mixture.of(family, weights, means=means, covariances=np.ones((n_components, d)))


def kills(runs):
    """Kill one worker, or in each fifth run both, in the middle of each fit; print how many fits kept their bits."""
    n, steps = 400_000, 20
    with cluster(2) as here, distributed.Client(here) as client:
        mixture, plain = start(), ef.fit(start(), in_memory(n), max_iter=steps, tol=0.0)
        begun = time.monotonic()
        ef.fit(mixture, ef.DaskRows(collection(n), client), max_iter=steps, tol=0.0)
        undisturbed, same, times = time.monotonic() - begun, 0, []
        for run in range(runs):
            while len(pids := sorted(set(client.run(os.getpid, on_error="ignore").values()))) < 2:
                time.sleep(0.1)
            hit = pids if run % 5 == 4 else pids[run % 2 :][:1]
            timers = []

            def at_step(state, hit=hit, timers=timers, run=run):
                if state.n_iter == 3 + run % 10 and not timers:
                    delay = np.random.default_rng(run).random(len(hit)) * 0.05
                    timers += [
                        threading.Timer(t, os.kill, (pid, signal.SIGKILL)) for t, pid in zip(delay, hit, strict=True)
                    ]
                    for timer in timers:
                        timer.start()

            rows = ef.DaskRows(collection(n), client)  # Dask counts the deaths that a task has seen as long as it lives
            begun = time.monotonic()
            found = ef.fit(mixture, rows, max_iter=steps, tol=0.0, callbacks=[at_step])
            times.append(time.monotonic() - begun)
            kept = np.array_equal(found.mixture.natural, plain.mixture.natural)
            same += kept and np.array_equal(found.bounds, plain.bounds)
            print(
                f"run {run + 1:3}: {len(hit)} killed, {times[-1]:5.1f} s, {same} of {run + 1} the same bits", flush=True
            )
    left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    print(
        f"\n{same} of {runs} fits with the bits of the array, {undisturbed:.1f} s undisturbed, {np.median(times):.1f} s"
    )
    print(f"in the median and {max(times):.1f} s at most with workers killed; {len(left)} workers left behind")


QUIET = {
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.enabled": False,
    "distributed.worker.memory.monitor-interval": "1s",
}
"""Settings with which a cluster looks at itself less often."""


SETTINGS = {"as Dask has it": {}, "quiet": QUIET}


def both():
    """Return the seconds of the processor so far, of this process and of the thread that asks."""
    return time.process_time(), time.thread_time()


async def both_in_loop():
    return both()


def spent(client):
    """Return CPU seconds so far: here, in the loop of client and scheduler, in tasks, in workers' loops."""
    here, loop = client.sync(both_in_loop)
    there, loops = np.sum(list(client.run(both).values()), axis=0)  # the loop of each worker asks
    return np.array([here - loop, loop, there - loops, loops])


def overhead(n, times=7):
    """Print the CPU of fits to n rows by two workers, as shares of that by two threads, and the wall time of a step."""
    steps, mixture, X = 6, start(), in_memory(n)
    print(f"\n{n:,} × {D} float32, {K} components, diagonal: fits of {steps} steps, median of {times} (least, most)")
    titles = ["CPU, two threads = 1", "caller", "scheduler and what watches workers", "tasks", "the rest of workers"]
    titles += ["together", "s CPU of a step, threads", "s wall, threads", "s wall, workers"]
    print(f"\n| {' | '.join(titles)} |\n|{'-|' * len(titles)}")
    for setting, settings in SETTINGS.items():
        with dask.config.set(settings), cluster(2) as here, distributed.Client(here) as client:
            rows, found = ef.DaskRows(collection(n), client), []
            ef.accumulate(mixture, rows)  # workers load their compiled code
            for turn in range(times + 1):
                used, bits, walls = [], [], []
                for data, jobs in ((X, 2), (rows, None)):
                    before, begun = spent(client), time.monotonic()
                    bits.append(ef.fit(mixture, data, max_iter=steps, tol=0.0, n_jobs=jobs).mixture.natural)
                    walls.append((time.monotonic() - begun) / steps)
                    used.append(spent(client) - before)
                assert np.array_equal(*bits)
                threads = used[0][0]  # but for the loops of a cluster that has nothing to do
                shares = used[1] / threads
                if turn:  # the first look at where parts are is not counted
                    found.append([*shares, shares.sum(), threads / steps, *walls])
        mean, least, most = (np.round(f(found, axis=0), 3) for f in (np.median, np.min, np.max))
        parts = " | ".join(f"{share:.3f}" for share in mean[:4])
        together = f"{mean[4]:.2f} ({least[4]:.2f}, {most[4]:.2f})"
        print(f"| {setting} | {parts} | {together} | {mean[5]:.3f} | {mean[6]:.2f} | {mean[7]:.2f} |", flush=True)


def idle(seconds):
    """Print what a cluster of two workers takes that has nothing to do."""
    print("\n| s CPU a second | scheduler and what watches workers | both workers |\n|-|-|-|")
    for name, settings in SETTINGS.items():
        with dask.config.set(settings), cluster(2) as here, distributed.Client(here) as client:
            time.sleep(1)
            before = spent(client)
            time.sleep(seconds)
            used = (spent(client) - before) / seconds
            print(f"| {name} | {sum(used[:2]):.4f} | {sum(used[2:]):.4f} |", flush=True)


def least(function, times=5, clock=time.monotonic):
    """Return the least time of some calls."""
    found = []
    for _ in range(times):
        begun = clock()
        function()
        found.append(clock() - begun)
    return min(found)


class Blob:
    """Returns an array of some size for each chunk."""

    def __init__(self, size):
        self.size = size

    def __call__(self, chunk):
        return np.zeros(self.size)


def model(times):
    """Fit T = q t_task + depth (t_msg + 8 · 8Kp/BW) to passes that do no work, and print it and what it predicts."""
    print("\n| tasks | bytes of a sum | ms, least |\n|-|-|-|")
    with cluster(2) as here, distributed.Client(here) as client:
        design, seen = [], []
        for parts, size in ((1, 1), (8, 1), (64, 1), (512, 1), (8, 100_000), (64, 100_000)):
            rows = ef.DaskRows(da.zeros((64, 1)), client)
            rows._parts = client.map(_small, range(parts))  # as many as of a cluster with many threads
            rows._n = parts << 40  # so many that no two are one task
            seen.append(least(lambda rows=rows, size=size: rows.reduce(Blob(size), 1.0), times))
            depth = max(1, int(np.ceil(np.log(parts) / np.log(8))))
            design.append([parts, depth, depth * 64 * size])
            print(f"| {parts} | {8 * size:,} | {1e3 * seen[-1]:.0f} |", flush=True)
    relative = np.array(design) / np.array(seen)[:, None]
    (t_task, t_msg, per_byte), _ = nnls(relative, np.ones(len(seen)))
    fitted, bandwidth = relative @ [t_task, t_msg, per_byte], 1e-6 / max(per_byte, 1e-12)
    print(f"\nt_task = {1e3 * t_task:.2f} ms, t_msg = {1e3 * t_msg:.1f} ms, BW = {bandwidth:.0f} MB/s;")
    print(f"predicted over measured: {fitted.min():.2f} to {fitted.max():.2f}")
    predict(t_task, t_msg)


def predict(t_task, t_msg, n=10**11, w=1000, bandwidth=1.25e9):
    """Print what the model says of a step over n rows by w workers, in a network of so many bytes a second."""
    q = len(part_bounds(n, 4 * w)) - 1
    depth = int(np.ceil(np.log(q) / np.log(8)))
    print(f"\n{n:.0e} rows, {w:,} workers, {q:,} tasks, 10 Gb/s: seconds of a step\n")
    print("| K × d, diagonal | K p | c, ns | n c/w | q t_task | sums | sums if flat | M-step | T | w* |")
    print("|-" * 10 + "|")
    for K_, d, rows in ((8, 8, 500_000), (100, 50, 20_000), (1000, 500, 500)):
        X, mixture = np.random.default_rng(0).normal(size=(rows, d)).astype(np.float32), start(K_, d)
        statistics = ef.accumulate(mixture, X, n_jobs=1)
        c = least(lambda X=X, mixture=mixture: ef.accumulate(mixture, X, n_jobs=1), 5, time.process_time) / rows
        t_m = least(lambda s=statistics, mixture=mixture: ef.maximize(s, mixture), 5, time.process_time)
        size = 8 * K_ * (2 * d + 1)
        seconds = n * c / w, q * t_task, depth * (t_msg + 8 * size / bandwidth), t_m
        flat, most = t_msg + q * size / bandwidth, np.sqrt(n * c / (q / w * t_task))
        told = [f"{one:.2g}" for one in (*seconds[:3], flat, t_m, sum(seconds))]
        print(f"| {K_} × {d} | {K_ * 2 * d:,} | {1e9 * c:.0f} | {' | '.join(told)} | {most:,.0f} |", flush=True)


def _small(number):
    return Chunk(np.zeros((64, 1)), None, number << 17)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, how_many = ([*sys.argv[1:], None, None])[:2]
    for name, function, number in (
        ("kills", kills, 50),
        ("overhead", overhead, 10_000_000),
        ("idle", idle, 10),
        ("model", model, 5),
    ):
        if what in (None, name):
            function(int(how_many or number))
