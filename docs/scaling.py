"""CPU and memory of fits to files: ``python docs/scaling.py [folder] [rows]``; 20,000,000 × 8 numbers by default.

Each measurement is a process of its own. Fits to files may not have more than 600 MB of data (RLIMIT_DATA).
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import expfam_em as ef

D, K, FILES, GROUP = 8, 8, 8, 190_000
LIMIT = 600 << 20


def block(first, n):
    """Return rows of eight clusters, float32, that depend on their numbers alone."""
    rng = np.random.default_rng([first, n])
    return (rng.normal(size=(n, D)) + 3 * rng.integers(0, K, n)[:, None] * np.sin(1 + np.arange(D))).astype(np.float32)


def write(folder, n):
    """Write the same rows in all formats, a block at a time."""
    import h5py
    import pyarrow as pa
    import pyarrow.parquet as pq
    import zarr

    step = n // (4 * FILES)
    raw = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float32, (n, D))
    flat = h5py.File(folder / "flat.h5", "w").create_dataset("rows", (n, D), "f4")
    pieces = h5py.File(folder / "chunked.h5", "w").create_dataset("rows", (n, D), "f4", chunks=(1 << 14, D))
    store = zarr.create_array(folder / "rows.zarr", shape=(n, D), chunks=(1 << 17, D), dtype="f4", compressors=None)
    kinds = {
        "plain": {"compression": "none", "use_dictionary": False},
        "snappy": {},
        "zstd": {"compression": "zstd", "use_dictionary": False},
    }
    for kind in kinds:
        (folder / kind).mkdir()
    for number in range(4 * FILES):
        first = number * step
        X = block(first, step)
        raw[first : first + step] = flat[first : first + step] = pieces[first : first + step] = X
        store[first : first + step] = X
        table = pa.table({f"x{j}": X[:, j].copy() for j in range(D)})
        for kind, how in kinds.items():
            pq.write_table(table, folder / kind / f"{number:03d}.parquet", row_group_size=GROUP, **how)


def opened(folder, kind):
    """Return the rows of a kind as a user gives them."""
    if kind == "array":
        return np.load(folder / "raw.npy")
    if kind == "memory map":
        return np.load(folder / "raw.npy", mmap_mode="r")
    if kind == ".npy":
        return str(folder / "raw.npy")
    if kind.startswith("HDF5"):
        return str(folder / f"{kind.rpartition(' ')[2]}.h5")
    return str(folder / {"Zarr": "rows.zarr"}.get(kind, kind.rpartition(" ")[2]))


def digest(*arrays):
    """Return a short name for bits."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:10]


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def anonymous():
    """Return the memory of this process that no file backs, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def measured(folder, kind, what):
    """Measure E-steps or a whole fit in this process, and print what was found as JSON."""
    X = opened(folder, kind)
    warnings.simplefilter("ignore")
    if kind != "array":
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    peak = [0.0]

    def seen(_):
        peak[0] = max(peak[0], anonymous())

    if what == "pass":
        family = ef.families.Gaussian("diag")
        means = np.array([3 * k * np.sin(1 + np.arange(D)) for k in range(K)])
        start = ef.Mixture.of(family, np.full(K, 1 / K), means=means, covariances=np.ones((K, D)))
        times = []

        def tick(state):
            times.append((cpu(), time.perf_counter()))
            seen(state)

        mixture = ef.fit(start, X if kind == "array" else ef.rows_from(X), max_iter=7, tol=0, callbacks=[tick]).mixture
        bits = digest(mixture.weights, mixture.natural)
        took, wall = np.diff(times, axis=0).min(axis=0).tolist()
    else:
        model = ef.GaussianMixture(K, covariance_type="diag", random_state=0, tol=0.0, max_iter=20)
        begun, wall = cpu(), time.perf_counter()
        model.fit(X, callbacks=[seen])
        took, wall = cpu() - begun, time.perf_counter() - wall
        bits = digest(model.weights_, model.means_, model.covariances_, model.lower_bound_)
    seen(None)
    print(json.dumps([took, wall, peak[0], bits]))


def main(folder, n):
    """Print two tables."""
    if not (folder / "zstd").exists():
        write(folder, n)
    passes = ["array", "memory map", ".npy", "HDF5 flat", "HDF5 chunked", "Zarr",
              "Parquet plain", "Parquet snappy", "Parquet zstd"]  # fmt: skip
    for what, kinds in (("pass", passes), ("fit", ["array", "memory map", "Parquet plain"])):
        title = "source" if what == "pass" else "whole fit"
        print(
            f"\n| {title} | CPU, array = 1 | wall, array = 1 | MB that no file backs | bits |\n|-|-|-|-|-|", flush=True
        )
        base = None
        for kind in kinds:
            child = [sys.executable, __file__, str(folder), str(n), kind, what]
            told = subprocess.run(child, capture_output=True, text=True)
            if told.returncode:
                print(f"| {kind} | failed: {told.stderr.strip().splitlines()[-1]} |", flush=True)
                continue
            took, wall, peak, bits = json.loads(told.stdout)
            base = base or (took, wall)
            print(f"| {kind} | {took / base[0]:.2f} | {wall / base[1]:.2f} | {peak:.0f} | {bits} |", flush=True)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000_000
    if len(sys.argv) > 3:
        measured(where, sys.argv[3], sys.argv[4])
    else:
        main(where, rows)
