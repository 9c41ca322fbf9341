"""Child processes that go through numbered cases, and a parent that counts what becomes of them."""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter

import numpy as np
from threadpoolctl import ThreadpoolController

SILENCE = 60.0
"""A case that takes more seconds counts as a hang."""

TOLD = 4
"""Cases of one fault that are printed."""


def say(kind, number, words="", fault=""):
    """Tell the parent what became of a case; "begins" before it."""
    faulthandler.dump_traceback_later(0.9 * SILENCE)  # where it hangs, if it does
    print("\t".join([kind, str(number), words, " ".join(fault.split())]), flush=True)


def go_through(module, arguments, seconds, first, each):
    """Run children ``python -m module child arguments first last`` one after the other, and print what they found.

    A case in which a child dies, or says nothing for long, is a fault; the next child goes on behind it.
    """
    kinds, faults, end, at = Counter(), Counter(), time.monotonic() + seconds, first
    while time.monotonic() < end:
        command = [sys.executable, "-m", module, "child", *arguments, str(at), str(at + each)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        at, hangs = at - 1, True
        for kind, number, words, fault in lines_of(child):
            hangs, at = kind == "", int(number or at)
            kinds[kind] += kind not in ("begins", "")
            if fault:
                faults[fault[:60]] += 1
                if faults[fault[:60]] <= TOLD:
                    print(f"{words or number}\n    {fault[:300]}", flush=True)
        code = None if hangs else exit_code(child)
        if code is None:
            hangs = True
            faults["hangs"] += 1
            print(f"{at}: hangs", flush=True)
        elif code:
            faults[f"ends with {code}"] += 1
            print(f"{at}: ends with {code}", flush=True)
        faults["leaves processes behind"] += ended(child, hangs)
        at += 1
    faults = +faults
    print(f"{sum(kinds.values())} cases from {first}: {dict(kinds)}; {sum(faults.values())} faults")
    for fault, number in faults.most_common():
        print(f"{number:6d}  {fault}")


def lines_of(child):
    """Yield what a child says; four empty words, at the end, where it says nothing for long."""
    rest = b""
    while select.select([child.stdout], [], [], SILENCE)[0]:
        if not (more := os.read(child.stdout.fileno(), 1 << 16)):
            return
        *lines, rest = (rest + more).split(b"\n")
        yield from (line.decode().split("\t") for line in lines)
    yield ["", "", "", ""]


def exit_code(child):
    """Return the exit code of a child that has said its last; None if it does not end."""
    try:
        return child.wait(SILENCE)
    except subprocess.TimeoutExpired:
        return None


def ended(child, hangs):
    """End a child and whatever it started; return whether there was something besides it."""
    if hangs:
        child.kill()
    child.wait()
    try:
        os.killpg(child.pid, signal.SIGKILL)  # its own session
    except ProcessLookupError:
        return False
    return not hangs


def settings(controller):
    """Return the settings of this process that a call could change."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002 - what others may use
    return {
        "the threads of BLAS": [each.get_num_threads() for each in controller.lib_controllers],
        "how NumPy treats floating-point errors": (np.geterr(), np.geterrcall()),
        "the filters of warnings": (list(warnings.filters), warnings.showwarning),
        "what handles signals": [signal.getsignal(it) for it in signal.valid_signals()],
        "what signals are blocked": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "callbacks": (gc.callbacks[:], sys.gettrace(), sys.getprofile(), sys.excepthook, threading.excepthook),
        "the working directory": os.getcwd(),
        "the environment": dict(os.environ),
        "how arrays are printed": np.get_printoptions(),
        "how deep calls may be": sys.getrecursionlimit(),
        "whether garbage is collected": gc.isenabled(),
        "NumPy's random numbers": state["state"]["key"].tobytes(),
    }


def libraries():
    """Return every BLAS that is loaded."""
    return ThreadpoolController().select(user_api="blas")


def changed(before, after):
    """Return which settings are others, "" if none is."""
    names = [name for name in before if before[name] != after[name]]
    return f"changes {', '.join(names)}" if names else ""
