"""Whether two fits are the same one: digests of what they were given, and of what computes them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import sys
import zlib
from collections.abc import Callable
from importlib.metadata import version
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from expfam_em.family.alike import constants
from expfam_em.family.base import ExponentialFamily
from expfam_em.kernels.jit import target
from expfam_em.rows.csr import CSRBlock
from expfam_em.rows.grid import ENTRY_WORK
from expfam_em.rows.protocol import Chunk, Rows
from expfam_em.values.mixture import Mixture

Belonging = dict[str, list[str]]
"""By the name of what a fit was given: what it is in a few words, and its digest."""

PACKAGES = ("numpy", "scipy", "numba")

FEW_WORDS = 60
"""Characters of a value that are shown."""


def belonging(given: dict[str, Any], rows: Rows) -> Belonging:
    """Return what tells a fit from others: what it was given, its rows, the versions and the processor it runs on.

    Parameters
    ----------
    given : dict
        By name.
    rows : Rows
        Read once.
    """
    found = described(given)
    kind = "sparse " if rows.is_sparse else ""
    sums = rows.reduce(_row_sums, ENTRY_WORK * rows.n_features)
    found["X"] = [f"{kind}{rows.dtype} of {rows.n_features} columns", digest((str(rows.dtype), rows.n_features, sums))]
    found["the version of expfam_em"] = [sys.modules["expfam_em"].__version__, ""]
    for name in PACKAGES:
        found[f"the version of {name}"] = [version(name), ""]
    found["the processor"] = [target(), ""]
    return found


def described(given: dict[str, Any]) -> Belonging:
    """Return values by name in a few words, with their digests."""
    return {name: [_shown(value), digest(value)] for name, value in given.items()}


def difference(one: Belonging, other: Belonging) -> str:
    """Return how one fit differs from another, in words; empty if they are the same."""
    nothing = ["nothing", ""]
    found = []
    for name in {**one, **other}:
        was, now = (each.get(name, nothing) for each in (one, other))
        if was[1] == now[1] and (now[1] or was[0] == now[0]):
            continue
        same_words = f"{name}, {now[0]}, is another one"
        found.append(same_words if was[0] == now[0] else f"{name} was {was[0]} and is {now[0]}")
    return "; ".join(found)


def digest(value: Any) -> str:
    """Return a digest that two values share if they are the same, in whichever process they were made."""
    found = hashlib.sha256()
    _feed(found.update, value, [])
    return found.hexdigest()


def _feed(write: Callable[[bytes], Any], value: Any, inside: list[int]) -> None:
    """Write the bytes that say what a value is; ``inside`` are the objects that it is a part of."""
    kind = type(value)
    write(f"{kind.__module__}.{kind.__qualname__}:".encode())
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        write(repr(value).encode())
    elif hasattr(value, "__array__"):
        array = np.asarray(value)
        write(f"{array.dtype.str}{array.shape}".encode())
        write(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    elif isinstance(value, CSRBlock):
        _feed(write, [value.values, value.columns, np.diff(value.indptr)], inside)
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            _feed(write, (key, value[key]), inside)
    elif isinstance(value, (list, tuple)):
        write(str(len(value)).encode())
        for item in value:
            _feed(write, item, inside)
    elif callable(value) and hasattr(value, "__qualname__"):
        write(f"{value.__module__}.{value.__qualname__}".encode())
        if id(value) not in inside:
            _feed(write, _behaviour(value), [*inside, id(value)])
    elif isinstance(value, CodeType):
        _feed(write, [value.co_code, value.co_names, value.co_consts], inside)
    elif isinstance(value, (set, frozenset)):
        write("".join(sorted(map(digest, value))).encode())
    elif id(value) not in inside:
        _feed(write, _contents(value), [*inside, id(value)])


def _behaviour(function: Any) -> list[Any]:
    """Return what tells a function from others of its name: its code, and values that it has been given."""
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    own = [getattr(function, name, None) for name in ("__code__", "__defaults__", "__kwdefaults__", "__self__")]
    return [part for part in (*own, *cells) if not isinstance(part, ModuleType)]


def _contents(value: Any) -> Any:
    """Return what an object is made of."""
    if isinstance(value, ExponentialFamily):
        return constants(value)
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    return vars(value) if hasattr(value, "__dict__") else _words(value)


def _words(value: Any) -> str:
    """Return what a value says of itself, without its address, which is another one in each process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(repr(value).split()))


def _shown(value: Any) -> str:
    """Return a value in a few words."""
    if isinstance(value, Mixture):
        return f"a mixture of {value.n_components} {value.family!r}"
    if (array := value if hasattr(value, "__array__") else None) is not None and np.size(array) > 4:
        return f"an array of shape {np.shape(array)}"
    words = _words(value)
    return words if len(words) <= FEW_WORDS else f"{words[:FEW_WORDS]}…"


def _row_sums(chunk: Chunk) -> int:
    """Return a number that tells the rows of a chunk and their weights from others; sums are those of all rows."""
    X = chunk.X
    parts = [X.values, X.columns, np.diff(X.indptr)] if isinstance(X, CSRBlock) else [X]
    parts += [part for part in (chunk.weight, chunk.offset) if part is not None]
    sums = [zlib.crc32(np.ascontiguousarray(part).tobytes()) for part in parts]
    return int(digest([chunk.first, len(X), *sums])[:16], 16)
