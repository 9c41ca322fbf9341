"""The jit policy of the package, in one place."""

import contextlib

from numba import njit
from numba.core.caching import FunctionCache

# No flag that assumes the absence of NaN or infinity: an infinite score is meaningful here.
EXACT = {"contract"}  # a·b + c may be fused; nothing is reordered
SUMS = {"contract", "reassoc"}  # sums may be reordered, so that they vectorise


class _ForgivingCache(FunctionCache):
    """Disk cache whose absence, corruption or lack of permission costs a compilation, never an error."""

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever a damaged file raises when it is unpickled
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception:  # a damaged index: start it afresh; a read-only folder: do without
            with contextlib.suppress(Exception):
                self.flush()
                super().save_overload(sig, data)


def jit(fastmath):
    """Compile without the GIL, with division by zero as in NumPy, cached on disk if a folder allows it."""

    def decorate(function):
        dispatcher = njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
        if hasattr(dispatcher, "_cache"):  # a plain function when the jit is disabled
            # no folder for the cache: every process compiles anew
            with contextlib.suppress(RuntimeError):
                dispatcher._cache = _ForgivingCache(function)
        return dispatcher

    return decorate
