"""``python -m expfam_em.warm``: compile ahead all that fits use, so that no first fit has to wait for it."""

from __future__ import annotations

import importlib
import itertools
import logging
import pkgutil
import time

from expfam_em import kernels
from expfam_em.kernels.jit import Entry

USES = {
    "em": "mixtures of dense rows, float64, float32 and whole numbers",
    "few": "Gaussian mixtures of many rows and columns whose components lie apart",
    "patterns": "Bernoulli mixtures",
    "sparse": "mixtures of sparse rows",
    "nearest": "k-means",
    "clusters": "k-means of few columns",
    "marginals": "Gaussians with missing values",
    "axes": "covariance models with common axes or volumes",
}
"""What the kernels of a module serve."""


def main() -> None:
    """Compile every kernel that is not on the disk yet, and say how long each takes."""
    for module in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        importlib.import_module(module.name)
    logging.getLogger("expfam_em").setLevel(logging.WARNING)  # said here already, kernel by kernel
    print("compiling what fits use, which takes about a minute once after an installation", flush=True)
    start, folder = time.perf_counter(), None
    for module, entries in itertools.groupby(Entry.every, lambda entry: entry.function.__module__.rpartition(".")[2]):
        begin = time.perf_counter()
        stats = [getattr(entry.compiled, "stats", None) for entry in entries]
        ready = all(each is not None and each.cache_hits for each in stats)
        folder = folder or getattr(stats[0], "cache_path", None)
        how = "was there" if ready else f"{time.perf_counter() - begin:7.1f} s"
        print(f"{how}  {USES.get(module, module)}", flush=True)
    where = f"kept in {folder}" if folder else "kept nowhere: there is no folder that could be written to"
    print(f"{len(Entry.every)} kernels in {time.perf_counter() - start:.1f} s, {where}")


if __name__ == "__main__":
    main()
