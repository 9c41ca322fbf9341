"""The jit policy of the package, in one place."""

import contextlib
import functools
import hashlib
import logging
import os
import sys
import threading
from pathlib import Path

from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

# No flag that assumes the absence of NaN or infinity: an infinite score is meaningful here.
EXACT = {"contract"}  # a·b + c may be fused; nothing is reordered, for bits would then depend on the machine


_compiling = threading.RLock()
"""No fork happens while a kernel is compiled: the child would wait for ever for locks of numba."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_compiling.release, after_in_child=_compiling.release
    )


@functools.cache
def _source_stamp():
    """Return a digest of all kernels: one may call functions of another file, which numba would not look at."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def target() -> str:
    """Return what kernels are compiled for, in a few words: the processor, and a digest of their code."""
    _, processor, features = cpu_target.target_context.codegen().magic_tuple()
    of_features = hashlib.sha256(features.encode()).hexdigest()
    return f"{processor} (features {of_features[:8]}, kernels {_source_stamp()[:8]})"


def somebody_looks() -> bool:
    """Return whether what is written to the standard error is seen while it is written: a terminal, or a notebook."""
    return sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules)


@functools.cache
def say_that_it_compiles() -> None:
    """Say once in a process why its first fit takes long: to whoever looks, or to the log at the level INFO.

    It is no warning, for nothing is wrong, and whoever turns warnings into errors must not lose a fit.
    """
    sentence = "expfam_em compiles its kernels, once after an installation: see `python -m expfam_em.warm`"
    logger = logging.getLogger("expfam_em")
    if logger.isEnabledFor(logging.INFO):
        logger.info(sentence)
    elif logger.level == logging.NOTSET and somebody_looks():
        print(sentence, file=sys.stderr)


class _ForgivingCache(FunctionCache):
    """Disk cache whose absence, corruption or lack of permission costs a compilation, never an error."""

    def __init__(self, function):
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, _source_stamp())

    def load_overload(self, sig, target_context):
        try:
            rtsys.initialize(target_context)  # all that kernels need to run; what compiling needs takes longer to load
            found = self._load_overload(sig, target_context)
        except Exception:  # a damaged file may raise anything when it is unpickled
            found = None
        if found is None:
            say_that_it_compiles()
        return found

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception:  # a damaged index: start it afresh; a read-only folder: do without
            with contextlib.suppress(Exception):
                self.flush()
                super().save_overload(sig, data)


def inner(fastmath):
    """Compile a function that is only called by other kernels, as part of them."""
    return njit(nogil=True, error_model="numpy", fastmath=fastmath)


def array(ndim, element=types.float64, writable=False, layout="C"):
    """Return the type of an array argument."""
    return types.Array(element, ndim, layout, readonly=not writable)


class Entry:
    """A kernel that Python calls: compiled at its first call, without the GIL, and cached on disk if possible.

    It has one signature only, because every other layout or writability of an array would cost a compilation of its
    own, and be refused by nothing.
    """

    every: list["Entry"] = []
    """All of them, once their modules have been imported."""

    def __init__(self, function, signature):
        self.function, self.signature = function, signature
        self.every.append(self)

    @functools.cached_property
    def compiled(self):
        """What numba makes of the function; the function itself where the jit is disabled."""
        dispatcher = inner(EXACT)(self.function)
        if not hasattr(dispatcher, "compile"):
            return dispatcher
        try:
            dispatcher._cache = _ForgivingCache(self.function)
        except RuntimeError:  # no folder for a cache: every process compiles again
            say_that_it_compiles()
        dispatcher.compile(self.signature)
        dispatcher.disable_compile()
        return dispatcher

    def __call__(self, *arguments):
        if (compiled := vars(self).get("compiled")) is None:
            with _compiling:  # threads that arrive together wait for one compilation
                compiled = self.compiled
        return compiled(*arguments)


def entry(result, *signature):
    """Make a function a kernel that Python calls, given the types of its result and its arguments; see `Entry`."""
    return lambda function: Entry(function, result(*signature))
