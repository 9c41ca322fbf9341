"""Peers that are no Python packages: a C++ program of Armadillo's, and R. Data goes to them in files of raw numbers."""

import functools
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from harness.timing import Time

SOURCES = Path(__file__).resolve().parent.parent / "programs"
COMPILE = ("g++", "-O3", "-march=native", "-fopenmp", "-DARMA_NO_DEBUG")


@functools.cache
def version(name):
    """Return the version of Armadillo or of a package of R, or None where it, or what it needs, is not installed."""
    try:
        if name == "armadillo":
            macros = _output("g++", "-dM", "-E", "-x", "c++", "-include", "armadillo", os.devnull)
            found = dict(re.findall(r"ARMA_VERSION_(\w+) (\d+)", macros))
            return f"{found['MAJOR']}.{found['MINOR']}.{found['PATCH']}"
        return _output("Rscript", "-e", f"suppressMessages(library({name})); cat(format(packageVersion('{name}')))")
    except (OSError, subprocess.CalledProcessError):
        return None


def _output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def _folder():
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="benchmark-")


@functools.cache
def _compiled():
    """Return the path of the compiled program of Armadillo's."""
    path = Path(_folder().name) / "armadillo"
    subprocess.run([*COMPILE, SOURCES / "armadillo.cpp", "-o", path, "-larmadillo"], capture_output=True, check=True)
    return path


@functools.lru_cache(maxsize=1)
def stored(problem, case):
    """Return the folder, after writing the rows of a case, problem(case)[0], into it as float64."""
    folder = Path(_folder().name)
    problem(case)[0].astype(np.float64).tofile(folder / "rows")
    return folder


def run(program, folder, start, *arguments):
    """Return the Time of a fit and the numbers fitted.

    ``start``, arrays, is written to the folder first. The program is called with the folder and the arguments.
    """
    np.concatenate([[], *map(np.ravel, start)]).astype(np.float64).tofile(folder / "start")
    command = [_compiled()] if program == "armadillo" else ["Rscript", SOURCES / "peers.R"]
    done = subprocess.run([*command, folder, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "the program failed")
    numbers = np.fromfile(folder / "fitted")
    return Time(float(numbers[0]), float(numbers[1])), numbers[2:]
