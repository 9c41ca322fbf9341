"""Where the measurements were made: processor, memory, versions; no names of machines or folders."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path

import numpy as np  # noqa: F401, loads the BLAS that is reported
from threadpoolctl import threadpool_info

from harness import programs

PACKAGES = (
    "expfam_em", "numpy", "scipy", "numba", "scikit-learn", "scikit-learn-intelex", "faiss-cpu", "tgmm", "pomegranate",
    "torch", "stepmix", "mlpack", "mixle",
)  # fmt: skip
PROGRAMS = {"Armadillo": "armadillo", "mclust": "mclust", "flexmix": "flexmix"}
NEWER = ("SkylakeX", "Cooperlake", "SapphireRapids")
BEST = {"avx512f": NEWER, "avx2": (*NEWER, "Haswell", "Zen", "Excavator")}
"""OpenBLAS's kernels for a processor with such a flag: all others are slower there."""
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))


def state():
    """Return the machine, the versions, the date and how busy the machine was."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory, {platform.system()}",
        "threads": THREADS,
        "busy": _busy_share(),
        "versions": {
            "Python": platform.python_version(), **{name: _version(name) for name in PACKAGES},
            **{label: programs.version(name) or "not installed" for label, name in PROGRAMS.items()},
        },
        **_blas(),
    }  # fmt: skip


class Watch:
    """Measures the share of the cores that others keep busy, from its making on."""

    def __init__(self):
        self.start = time.perf_counter(), _ticks(), sum(os.times()[:4])

    def busy_share(self):
        """Return the share so far; None if nothing tells. Time of processes that have not ended counts as others'."""
        (start, before, own), now = self.start, _ticks()
        if not before:
            return None
        busy = (now[1] - before[1] - (now[0] - before[0])) / os.sysconf("SC_CLK_TCK")
        share = (busy - (sum(os.times()[:4]) - own)) / ((time.perf_counter() - start) * (os.cpu_count() or 1))
        return round(max(share, 0.0), 2)


def _blas():
    """Return which kernels NumPy's BLAS has chosen, and what to say if the processor has better ones."""
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    said = ", ".join(sorted({f"{info['internal_api']} {info.get('architecture', '')}".strip() for info in found}))
    kernels = [info.get("architecture", "") for info in found if info["internal_api"] == "openblas"]
    flag = next((flag for flag in BEST if flag in _flags()), None)
    slow = [name for name in kernels if flag and name not in BEST[flag]]
    held = f"BLAS is held back: it runs the kernels of {slow[0]} on a processor with {flag}" if slow else None
    return {"blas": said or "unknown", "held_back": held}


def _busy_share(seconds=1.0):
    """Return the share of the cores that others keep busy while this process sleeps, or None if nothing tells."""
    first = _ticks()
    time.sleep(seconds)
    second = _ticks()
    if not first:
        return None
    idle, total = second[0] - first[0], second[1] - first[1]
    return round(1 - idle / max(total, 1), 2)


def _ticks():
    """Return idle and all ticks of the cores so far."""
    line = next((line for line in _lines("/proc/stat") if line.startswith("cpu ")), None)
    if line is None:
        return None
    ticks = [int(value) for value in line.split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor():
    lines = _lines("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.machine()
    widest = [label for flag, label in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in _flags()]
    return f"{name} with {widest[0]}" if widest else name


def _flags():
    return next((line.split() for line in _lines("/proc/cpuinfo") if line.startswith("flags")), ())


def _memory_gib():
    kib = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    return kib[0] / 2**20 if kib else float("nan")


def resident_mib(peak=False):
    """Return the resident memory of this process, or its highest so far, in MiB.

    Not ``ru_maxrss``: a process started by a large one inherits its peak.
    """
    wanted = "VmHWM" if peak else "VmRSS"
    values = [int(line.split()[1]) for line in _lines("/proc/self/status") if line.startswith(wanted)]
    return values[0] / 1024 if values else float("nan")


def _lines(path):
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
