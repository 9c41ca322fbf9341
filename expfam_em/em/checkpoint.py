"""Where a fit stands, in a file: the format of saved models, with states and results as values.

A checkpoint is a list of parts: what has been found so far, in order, and the state of the runs that go on. A family is
written as its difference from that of the rows, which whoever goes on has; so families need not be registered.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from expfam_em.em.belonging import Belonging, difference, digest
from expfam_em.em.quasi_newton import Memory
from expfam_em.em.result import CollapsedError, FitResult, Status
from expfam_em.em.state import State, Trace
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.frames import Frames
from expfam_em.family.optional import Framed, frames_of, in_order_of, shared
from expfam_em.rows.caller import warn_caller
from expfam_em.rows.helpers import away_from_signals
from expfam_em.saving.files import Reader, Writer, parsed, read, sync_folder, write_durably
from expfam_em.values.mixture import Mixture

RECORDS: dict[str, Any] = {kind.__name__: kind for kind in (State, Memory, FitResult)}
"""Values that are kept field by field, besides those of saved models."""

DERIVED = ("log_partition", "log_weights", "posterior")
"""What a mixture may know besides its fields: computed again, A could have other bits."""


class Part(NamedTuple):
    """A piece of a checkpoint: what it is, how its header says it, and the bytes of its arrays."""

    kind: str
    node: Any
    data: bytes


# ---- values ----------------------------------------------------------------------------------------------------------


class StateWriter(Writer):
    """Writes the values that a fit is made of.

    Families and frames that are one object stay one: where two are the same, nothing is translated between them.
    """

    def __init__(self, base: ExponentialFamily) -> None:
        super().__init__()
        self.base = base
        self.seen: list[Any] = []

    def encode(self, value: Any, where: str) -> Any:
        kind = type(value)
        if isinstance(value, Mixture):
            own = {name: vars(value)[name] for name in ("weights", "natural", *DERIVED) if name in vars(value)}
            return {"type": "mixture", "fields": self.encode_all({"family": value.family, **own}, f"{where}.")}
        if RECORDS.get(kind.__name__) is kind:
            names = kind._fields if hasattr(kind, "_fields") else [field.name for field in dataclasses.fields(kind)]
            fields = {name: getattr(value, name) for name in names}
            return {"type": kind.__name__, "fields": self.encode_all(fields, f"{where}.")}
        if kind is Trace:
            full, recent = list(value.full), np.array(value.recent)
            return {"type": "trace", "full": self.encode(full, where), "recent": self.encode(recent, where)}
        if isinstance(value, Status):
            return {"type": "status", "name": value.name}
        if isinstance(value, CollapsedError):
            of = {"before": value.before, "outside": value.outside}
            return {"type": "collapsed", "message": str(value), "fields": self.encode_all(of, f"{where}.")}
        if kind is Frames:
            return self._once(value, lambda: super(StateWriter, self).encode(value, where))
        return super().encode(value, where)

    def family(self, family: ExponentialFamily, where: str) -> dict[str, Any]:
        return self._once(family, lambda: self._family(family, where))

    def _family(self, family: ExponentialFamily, where: str) -> dict[str, Any]:
        if family is self.base:
            return {"type": "base"}
        plain = in_order_of(shared(family), self.base)
        if type(family) is not type(self.base) or digest(plain) != digest(shared(self.base)):
            return super().family(family, where)
        changed = {"frames": frames_of(family), "of_component": getattr(family, "of_component", None)}
        return {"type": "base", **self.encode_all(changed, f"{where}.")}

    def _once(self, value: Any, write: Any) -> dict[str, Any]:
        """Return the node of an object, or its number if it has been written."""
        number = next((at for at, other in enumerate(self.seen) if other is value), None)
        if number is not None:
            return {"type": "again", "number": number}
        self.seen.append(value)
        return {"type": "first", "number": len(self.seen) - 1, "value": write()}


class StateReader(Reader):
    """The inverse of `StateWriter`.

    Parameters
    ----------
    data : bytes
    base : ExponentialFamily
        That of the rows.
    like : Mixture, optional
        A mixture of the kind that states hold, such as the posteriors of variational Bayes.
    """

    def __init__(self, data: bytes, base: ExponentialFamily, like: Mixture | None = None) -> None:
        super().__init__(data)
        self.base, self.like = base, like
        self.seen: dict[int, Any] = {}
        self.kinds |= {
            "mixture": self.mixture,
            "trace": self.trace,
            "status": lambda node: Status[node["name"]],
            "collapsed": self.collapsed,
            "first": self.first,
            "again": lambda node: self.seen[node["number"]],
            "base": self.of_base,
            **dict.fromkeys(RECORDS, lambda node: RECORDS[node["type"]](**self.decode_all(node["fields"]))),
        }

    def first(self, node: dict[str, Any]) -> Any:
        """Return an object that may come again."""
        value = self.seen[node["number"]] = self.decode(node["value"])
        return value

    def of_base(self, node: dict[str, Any]) -> ExponentialFamily:
        """Return the family of the rows, perhaps with its components in coordinates of their own."""
        if "frames" not in node:
            return self.base
        frames, of_component = self.decode(node["frames"]), self.decode(node["of_component"])
        order = {} if of_component is None else {"of_component": of_component}
        family = shared(self.base).replace(**order)
        return family.with_frames(frames) if isinstance(family, Framed) else family

    def mixture(self, node: dict[str, Any]) -> Mixture:
        """Return a mixture; a posterior is one under the model of those that states hold."""
        fields = self.decode_all(node["fields"])
        posterior = fields.pop("posterior", None)
        kind: Any = Mixture if posterior is None else type(self.like)
        found = kind.unchecked(**fields)
        if posterior is not None:
            vars(found).update(posterior=posterior, model=vars(self.like)["model"])
        return found

    def trace(self, node: dict[str, Any]) -> Trace:
        """Return the trace of all runs."""
        full, recent = self.decode(node["full"]), self.decode(node["recent"])
        return Trace(tuple(full), tuple(recent))

    def collapsed(self, node: dict[str, Any]) -> CollapsedError:
        """Return the error in which a run has ended."""
        error = CollapsedError(node["message"])
        vars(error).update(self.decode_all(node["fields"]))
        return error


def encoded(kind: str, value: Any, base: ExponentialFamily) -> Part:
    """Return a value as a part of a checkpoint; ``base`` is the family of the rows."""
    writer = StateWriter(base)
    return Part(kind, writer.encode(value, kind), b"".join(writer.arrays))


def decoded(part: Part, base: ExponentialFamily, like: Mixture | None = None) -> Any:
    """Return the value of a part; see `StateReader`."""
    return StateReader(part.data, base, like).decode(part.node)


# ---- the file --------------------------------------------------------------------------------------------------------


class CheckpointFile:
    """The file of a fit, and the one that it was before: each is written beside, flushed to the disk and renamed.

    Parameters
    ----------
    path : str or path
    every : float ≥ 0
        Seconds between two times that it is written.

    Raises
    ------
    ValueError
        If ``every`` is no number of seconds.
    """

    def __init__(self, path: str | os.PathLike[str], every: float) -> None:
        if not every >= 0:
            raise ValueError(f"checkpoint_every is {every!r}; it must be a number of seconds, 0 for every step")
        self.path, self.every = Path(os.path.abspath(path)), every
        self.previous, self.new = (self.path.with_name(f"{self.path.name}.{end}") for end in ("previous", "new"))
        self.belongs: Belonging = {}
        self.written = -np.inf

    def open(self, belongs: Belonging) -> list[Part]:
        """Return the parts of the file of this fit; none if there is no file yet.

        Raises
        ------
        ValueError
            If the file is that of another fit, or no checkpoint, or damaged like the one before it.
        OSError
            If it cannot be read.
        """
        self.belongs = belongs
        found = self._newest()
        if found is None:
            return []
        path, of_fit, parts = found
        if differs := difference(of_fit, belongs):
            raise ValueError(
                f"{path} is the checkpoint of another fit: {differs}. Give what was given then to go on with that fit, "
                "or delete the file or give another name to begin a new one"
            )
        if path != self.path:  # what is damaged must not take the place of what is not
            self.path.unlink(missing_ok=True)
        return parts

    def _newest(self) -> tuple[Path, Belonging, list[Part]] | None:
        """Return what the newest file says that is not damaged."""
        errors = []
        for path in (self.path, self.previous):
            with contextlib.suppress(FileNotFoundError):
                try:
                    found = path, *_read(path)
                except ValueError as error:
                    errors.append(error)
                    continue
                if errors:
                    warn_caller(f"{errors[0]}; the fit goes on from {path.name}, written before it", RuntimeWarning)
                return found
        if errors:
            raise ValueError(f"{errors[0]}; give another name, or delete it to begin a new fit") from errors[0]
        return None

    @property
    def is_due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self.written >= self.every

    def write(self, parts: list[Part]) -> None:
        """Write the parts; where that fails, warn and leave the files as they were, unless there has been none.

        Raises
        ------
        OSError
            If the first one cannot be written.
        """
        nodes = [[part.kind, part.node, len(part.data)] for part in parts]
        header = json.dumps({"checkpoint": self.belongs, "parts": nodes}, allow_nan=False).encode()
        try:
            away_from_signals(functools.partial(self._replace, header, [part.data for part in parts]))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.new.unlink(missing_ok=True)
            if self.written == -np.inf and not (self.path.exists() or self.previous.exists()):
                why = f"the checkpoint cannot be written ({error.strerror}); give another name"
                raise type(error)(error.errno, why, str(self.path)) from error
            warn_caller(
                f"the checkpoint {self.path} cannot be written ({error}): the fit goes on, and the file is that of "
                "earlier steps",
                RuntimeWarning,
            )
        self.written = time.monotonic()

    def _replace(self, header: bytes, arrays: list[bytes], is_wanted: Callable[[], bool]) -> None:
        with open(self.new, "wb") as file:
            write_durably(file, None, header, arrays)
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path, self.previous)
        os.replace(self.new, self.path)
        sync_folder(self.path.parent)

    def remove(self) -> None:
        """Remove the files of a fit that has ended."""
        for path in (self.previous, self.path, self.new):
            path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[Belonging, list[Part]]:
    """Return what a checkpoint belongs to, and its parts."""
    header, arrays = read(path)
    values = parsed(header)
    if "checkpoint" not in values:
        raise ValueError(f"{path} is a saved {values.get('estimator', 'model')}, and no checkpoint")
    parts, first = [], 0
    for kind, node, size in values["parts"]:
        parts.append(Part(kind, node, arrays[first : first + size]))
        first += size
    return values["checkpoint"], parts
