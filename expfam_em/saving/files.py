"""Fitted estimators in one file: a JSON header and raw arrays, without pickle (docs/file_format.md).

The file holds values, never code. Classes are found in two tables: the estimators of this package, and the families
that are registered in the running process or declared by an installed package (`registry`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import re
import secrets
import stat
import struct
import types
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import numpy as np

from expfam_em.family import registry
from expfam_em.family.alike import constants
from expfam_em.family.base import ExponentialFamily
from expfam_em.family.constraints import Constraint
from expfam_em.family.frames import Frames
from expfam_em.rows.helpers import away_from_signals
from expfam_em.rows.threads import undisturbed
from expfam_em.rows.typing import Block
from expfam_em.values.evaluate import evaluate
from expfam_em.values.mixture import Mixture
from expfam_em.values.statistics import ExpectedStatistics

MAGIC = b"\x89EFM\r\n\x1a\n"
"""As in PNG: a byte that is no text and line ends that a transfer as text would change."""

VERSION = 2
PREAMBLE = struct.Struct("<8sIQQ")
"""Magic, version, length of the header, length of the arrays."""

CHECKSUM_SIZE = hashlib.sha256().digest_size
VALUES: dict[str, type] = {kind.__name__: kind for kind in (Mixture, ExpectedStatistics, Frames, Constraint)}
"""Frozen values that are saved field by field."""

RAW_DTYPE = re.compile(r"[<|][biufcSUmM]\d+(\[\w+\])?")
"""Dtypes that are stored as bytes: everything but objects and records."""


MOST_AXES = 32
"""Axes of an array: more would only take time to multiply."""

OF_ANY_LENGTH = {"start_bounds_"}
"""Fitted attributes whose length does not follow from the parameters: a warm start is one start."""

FROM_ROWS = ("family_", "levels_", "feature_names_in_", "n_features_in_")
"""Fitted attributes that do not follow from the mixture, and that others follow from."""

OTHER_ROUNDING = 1e-6
"""Share of the largest number of a fitted attribute by which another processor, or float32, may round the others."""

INVERTED = ("natural_parameters_", "precision")
"""Fitted attributes that rounding changes by more, where variances are small."""

E = TypeVar("E", bound=type)

_estimators: dict[str, Any] = {}


def saved(estimator: E) -> E:
    """Make an estimator known by its name, so that `load` finds it: a decorator of its class."""
    _estimators[estimator.__name__] = estimator
    return estimator


# ---- saving -------------------------------------------------------------------------------------------------


@undisturbed
def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to one file, at once or not at all.

    Parameters
    ----------
    estimator : GaussianMixture, BernoulliMixture, KMeans or ExponentialFamilyMixture
    path : str or path
        The file.

    Raises
    ------
    TypeError
        If it is another class, or holds a value that cannot be saved (a function, an object of your own).
    ValueError
        If its family is not registered.
    OSError
        If the file cannot be written; an older file is then left as it was.
    """
    name = type(estimator).__name__
    if _estimators.get(name) is not type(estimator):
        raise TypeError(f"{name} cannot be saved: it must be one of {', '.join(sorted(_estimators))}")
    writer, parameters = Writer(), estimator.get_params(deep=False)
    fitted = {key: value for key, value in vars(estimator).items() if _is_fitted(key)}
    if isinstance(parameters.get("random_state"), (np.random.RandomState, np.random.Generator)):
        parameters["random_state"] = None  # the state of a generator is no result of the fit
    header = {
        "estimator": name,
        "parameters": writer.encode_all(parameters),
        "fitted": writer.encode_all(fitted),
    }
    try:
        _check(estimator, fitted)
    except Exception as error:
        raise ValueError(f"{name} cannot be saved: {error}; fit it again, or put its parameters back") from error
    _write(Path(path), json.dumps(header, allow_nan=False).encode(), writer.arrays)


def _is_fitted(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _write(path: Path, header: bytes, arrays: list[bytes]) -> None:
    if path.exists() and not path.is_file():  # a device or a pipe takes the bytes, and stays what it is
        with open(path, "wb") as file:
            write_parts(file, header, arrays)
        return
    path = Path(os.path.realpath(path))  # a link stays a link
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot save to {path}: there is no folder {path.parent}")
    away_from_signals(functools.partial(_replace, path, header, arrays))


def _replace(path: Path, header: bytes, arrays: list[bytes], is_wanted: Callable[[], bool]) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # names may be as long as the system allows
    older = path.stat() if path.exists() else None
    mode = 0o666 if older is None else 0o600
    try:
        # a file without a name is gone if the process is killed
        with contextlib.suppress(OSError), _opened(path.parent, _nameless(), mode) as file:
            write_durably(file, older, header, arrays)
            os.link(f"/proc/self/fd/{file.fileno()}", temporary, src_dir_fd=file.fileno())  # follows the link
        if not temporary.exists():
            with _opened(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode) as file:
                write_durably(file, older, header, arrays)
        if is_wanted():
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def _opened(path: Path, flags: int, mode: int) -> IO[bytes]:
    """Open a file to be written."""
    return open(os.open(path, flags, mode), "wb")


def sync_folder(folder: Path) -> None:
    """Write the names of a folder to the disk, where the system can: a file renamed there then survives a power cut."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _nameless() -> int:
    """Return the flags of a file without a name; an OSError where the system has none."""
    if not (flag := getattr(os, "O_TMPFILE", 0)):
        raise OSError("this system has no files without a name")
    return int(flag) | os.O_WRONLY


def write_durably(file: IO[bytes], older: os.stat_result | None, *content: Any) -> None:
    """Write a file to the disk, and let those read it who might read an older one, as far as the system allows."""
    write_parts(file, *content)
    file.flush()
    os.fsync(file.fileno())
    if older is None:
        return
    mode = stat.S_IMODE(older.st_mode)
    try:
        os.chown(file.fileno(), older.st_uid, older.st_gid)
    except OSError:
        mode &= ~stat.S_IRWXG if os.fstat(file.fileno()).st_gid != older.st_gid else mode
    with contextlib.suppress(OSError):
        os.chmod(file.fileno(), mode)


def write_parts(file: IO[bytes], header: bytes, arrays: list[bytes]) -> None:
    """Write preamble, header and arrays, and their checksum."""
    checksum, preamble = hashlib.sha256(), PREAMBLE.pack(MAGIC, VERSION, len(header), sum(map(len, arrays)))
    for part in (preamble, header, *arrays):
        file.write(part)
        checksum.update(part)
    file.write(checksum.digest())


class Writer:
    """Turns values into what JSON can say, and collects the bytes of the arrays in the order they are met."""

    def __init__(self) -> None:
        self.arrays: list[bytes] = []

    def encode_all(self, values: dict[str, Any], where: str = "") -> dict[str, Any]:
        """Return the nodes of named values, which are attributes of ``where``."""
        return {name: self.encode(value, f"{where}{name}") for name, value in values.items()}

    def encode(self, value: Any, where: str) -> Any:
        """Return the node of a value; ``where`` names it in errors."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"type": "float", "value": repr(value)}
        if kind is list:
            return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if kind is tuple:
            return {"type": "tuple", "items": self.encode(list(value), where)}
        if kind is dict:
            items = [[self.encode(k, f"a key of {where}"), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
            return {"type": "dict", "items": items}
        if VALUES.get(kind.__name__) is kind:
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
            return {"type": kind.__name__, "fields": self.encode_all(fields, f"{where}.")}
        if isinstance(value, ExponentialFamily):
            return self.family(value, where)
        if isinstance(value, np.generic):
            return self.array(np.asarray(value), where) | {"type": "scalar"}
        if hasattr(value, "__array__"):
            return self.array(np.asarray(value), where)
        if callable(value):
            raise TypeError(
                f"{where} is a function, which cannot be saved without pickle: replace it by a value before saving "
                "(set_params changes a parameter)"
            )
        raise TypeError(
            f"{where} is a {kind.__name__}, which cannot be saved: only numbers, strings, lists, tuples, dicts, "
            "arrays, mixtures, expected statistics and families can"
        )

    def family(self, family: ExponentialFamily, where: str) -> dict[str, Any]:
        name = type(family).__name__
        if (known := registry.find(name)) is not type(family):
            why = "is not registered" if known is None else f"is not the class registered as {name!r}"
            raise ValueError(f"the family {name} {why}: call expfam_em.register({name}) before saving or loading it")
        state = constants(family)
        if unreadable := [attribute for attribute in state if _replaces(type(family), attribute)]:
            raise TypeError(
                f"{where}.{unreadable[0]} stands in for a method of {name}, so that no file can hold it: call the "
                "attribute something else"
            )
        return {"type": "family", "name": name, "state": self.encode_all(state, f"{where}.")}

    def array(self, array: Block, where: str) -> dict:
        if array.dtype.kind == "O":
            items = array.ravel().tolist()
            if not all(isinstance(item, str) for item in items):
                raise TypeError(f"{where} is an array of objects: only numbers, dates and strings can be saved")
            return {"type": "strings", "shape": list(array.shape), "items": [str(item) for item in items]}
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        if not RAW_DTYPE.fullmatch(array.dtype.str):
            raise TypeError(f"{where} is an array of {array.dtype}: only numbers, dates and strings can be saved")
        if array.ndim > MOST_AXES:
            raise TypeError(f"{where} is an array of {array.ndim} axes: at most {MOST_AXES} can be saved")
        order: Literal["C", "F"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        self.arrays.append(array.tobytes(order))
        return {"type": "array", "dtype": array.dtype.str, "shape": list(array.shape), "order": order}


# ---- loading ------------------------------------------------------------------------------------------------


@undisturbed
def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    estimator
        Fitted, with the same parameters and attributes; its predictions are the same bit by bit.

    Raises
    ------
    ValueError
        If the file is no such file, is damaged, has another format version, or has a family that is not registered.
    OSError
        If the file cannot be read.
    """
    header, arrays = read(path)
    try:
        return _estimator(parsed(header), Reader(arrays))
    except Exception as error:  # a family made of other attributes than its own may raise anything
        reason = f"its header lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} cannot be loaded: {reason}") from error


def read(path: str | os.PathLike[str]) -> tuple[bytes, bytes]:
    """Return header and arrays of a file whose lengths and checksum are right."""
    file: IO[bytes]
    with open(os.fspath(path), "rb") as file:  # a number would be an open file's
        size = os.fstat(file.fileno()).st_size
        preamble = file.read(PREAMBLE.size)
        if preamble[: len(MAGIC)] != MAGIC[: len(preamble)] or not preamble:
            raise ValueError(f"{path} is not a file written by expfam_em: it does not begin as one")
        if len(preamble) < PREAMBLE.size:
            raise ValueError(f"{path} is truncated: it ends after {size} bytes")
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
            file = io.BytesIO(file.read())
            size = PREAMBLE.size + len(file.getbuffer())
        _, version, header_length, arrays_length = PREAMBLE.unpack(preamble)
        if version != VERSION:
            what = "install a newer one" if version > VERSION else "fit the model again, or load it with an older one"
            raise ValueError(f"{path} has format version {version} and this expfam_em reads version {VERSION}: {what}")
        # lengths are compared with the file before anything is read, so that wrong ones allocate nothing
        expected = PREAMBLE.size + header_length + arrays_length + CHECKSUM_SIZE
        if size < expected:
            raise ValueError(f"{path} is truncated: it has {size} bytes and needs {expected}")
        if size > expected:
            raise ValueError(f"{path} is damaged: it has {size} bytes, {size - expected} more than it needs")
        header, arrays, digest = file.read(header_length), file.read(arrays_length), file.read()
    checksum = hashlib.sha256(preamble)
    checksum.update(header)
    checksum.update(arrays)
    if checksum.digest() != digest:
        raise ValueError(f"{path} is damaged: its checksum is not that of its content")
    return header, arrays


def parsed(header: bytes) -> Any:
    """Return the values of a header, which is UTF-8, names every key once and has no number that JSON lacks."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError(f"its header names a key twice among {', '.join(key for key, _ in pairs)}")
        return found

    def unknown(number: str) -> float:
        raise ValueError(f"its header has the number {number}, which JSON lacks")

    def finite(number: str) -> float:
        return float(number) if math.isfinite(float(number)) else unknown(number)

    return json.loads(header.decode("utf-8"), object_pairs_hook=unique, parse_constant=unknown, parse_float=finite)


def _estimator(header: dict[str, Any], reader: Reader) -> Any:
    if "checkpoint" in header:
        raise ValueError("it is the checkpoint of a fit that has not ended: give it to fit(..., checkpoint=...)")
    if unknown := [key for key in header if key not in ("estimator", "parameters", "fitted")]:
        raise ValueError(f"its header has {', '.join(unknown)} besides estimator, parameters and fitted")
    if (name := header["estimator"]) not in _estimators:
        raise ValueError(f"it holds a {name!r}; this version knows {', '.join(sorted(_estimators))}")
    parameters, fitted = reader.decode_all(header["parameters"]), reader.decode_all(header["fitted"])
    if reader.position != len(reader.data):
        raise ValueError(f"{len(reader.data) - reader.position} bytes of its arrays belong to nothing")
    if not all(map(_is_fitted, fitted)):
        raise ValueError(f"its fitted attributes {', '.join(fitted)} do not all end with an underscore")
    if not isinstance(fitted.get("mixture_"), Mixture):
        raise ValueError("it holds no fitted mixture_")
    estimator = _estimators[name](**parameters)
    with np.errstate(all="ignore"):  # it may hold anything
        _check(estimator, fitted)
        estimator.__setstate__(vars(estimator) | fitted)
        if reader.only_ours:  # a family of the user's may take long to be sampled; what it returns is checked when used
            _try_out(estimator.mixture_, fitted.get("n_features_in_"))
    return estimator


def _check(estimator: Any, fitted: dict[str, Any]) -> None:
    """Raise a ValueError or a TypeError unless fitted attributes are those of an estimator with these parameters."""
    estimator._validate_params()
    blank = type(estimator)(**estimator.get_params(deep=False))
    vars(blank).update({name: fitted[name] for name in FROM_ROWS if name in fitted})
    # rows of a family of the user's are known by their columns only if it can be fitted or sampled
    known = {"n_features_in_": 1} if "n_features_in_" in fitted else {}
    for name, wanted in (known | blank._made_of(fitted["mixture_"])).items():
        if name not in fitted:
            raise ValueError(f"its {name} is missing")
        if name in OF_ANY_LENGTH:
            wanted = np.resize(wanted, np.size(fitted[name]))
        _check_alike(name, fitted[name], wanted)
    if known and fitted["n_features_in_"] < 1:
        raise ValueError(f"its n_features_in_ is {fitted['n_features_in_']}")


def _check_alike(name: str, found: Any, wanted: Any) -> None:
    """Raise a ValueError unless a value is one of the kind and shape of another, and near it if that is known."""
    if isinstance(wanted, np.ndarray):
        alike = isinstance(found, np.ndarray) and (found.shape, found.dtype.kind) == (wanted.shape, wanted.dtype.kind)
        if alike and wanted.dtype.kind == "f" and not name.startswith(INVERTED) and np.isfinite(wanted).all():
            off = np.abs(found - wanted).max(initial=0.0)
            if not off <= OTHER_ROUNDING * np.abs(wanted).max(initial=0.0):
                raise ValueError(f"its {name} is off by {off:.3g} from that of its mixture_")
    elif isinstance(wanted, dict):
        alike = isinstance(found, dict) and found.keys() == wanted.keys()
        for key in wanted if alike else ():
            _check_alike(f"{name}[{key!r}]", found[key], wanted[key])
    else:
        number = (float, int, np.number, type(None))
        alike = isinstance(found, number if isinstance(wanted, number) and name != "n_features_in_" else type(wanted))
    if not alike:
        shape = f" of {np.shape(wanted)}" if isinstance(wanted, np.ndarray) else ""
        raise ValueError(
            f"its {name} is {found!r:.100}, where its mixture_ and parameters need {type(wanted).__name__}{shape}"
        )


def _try_out(mixture: Mixture, n_features: int | None) -> None:
    """Raise an error if a mixture cannot say anything of rows drawn from it."""
    width = mixture.sample(0, 0)[0].shape[1]  # of no rows, which take no memory
    if width != n_features:
        raise ValueError(f"its mixture_ is one of rows of {width} columns, and n_features_in_ is {n_features}")
    X, _ = mixture.sample(2 * mixture.n_components, 0)
    if not np.isfinite(X).any(axis=0).all():
        raise ValueError("rows drawn from its mixture_ are not finite")
    X = X[np.isfinite(X).all(axis=1)]
    if not len(X):
        return
    found = evaluate(mixture.family, mixture.scores, X, log_density=True, responsibilities=True)
    told = np.isfinite(found.log_density) & np.isfinite(found.responsibilities).all(axis=1)
    if not told[mixture.family.supports(X)].all():
        raise ValueError("its mixture_ gives no densities or responsibilities of rows drawn from it")


class Reader:
    """The inverse of `Writer`: arrays are taken from the bytes one after the other, each byte once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.only_ours = True
        self.kinds: dict[str, Callable[[dict], Any]] = {
            "float": lambda node: float(node["value"]),
            "tuple": lambda node: tuple(self.decode(node["items"])),
            "dict": lambda node: {self.decode(key): self.decode(value) for key, value in node["items"]},
            "strings": lambda node: np.array([str(item) for item in node["items"]], object).reshape(node["shape"]),
            "array": self.array,
            "scalar": lambda node: self.array(node)[()],
            "family": self.family,
        }

    def decode_all(self, nodes: dict[str, Any]) -> dict[str, Any]:
        """Return the values of named nodes."""
        return {name: self.decode(node) for name, node in nodes.items()}

    def decode(self, node: Any) -> Any:
        """Return the value of a node."""
        if isinstance(node, list):
            return [self.decode(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node["type"]
        if kind in VALUES:
            return VALUES[kind](**self.decode_all(node["fields"]))
        if kind not in self.kinds:
            raise ValueError(f"its header has a value of the unknown type {kind!r}")
        return self.kinds[kind](node)

    def family(self, node: dict[str, Any]) -> ExponentialFamily:
        if (kind := registry.find(name := node["name"])) is None:
            raise ValueError(
                f"its family {name!r} is not registered: define the class and call expfam_em.register({name}) first, "
                "or install the package that has it"
            )
        self.only_ours &= kind.__module__.startswith("expfam_em.")
        family = object.__new__(kind)  # without running its __init__
        for attribute in node["state"]:
            if _replaces(kind, attribute):
                raise ValueError(f"the state of its family {name!r} replaces {attribute}, which the class defines")
        vars(family).update(self.decode_all(node["state"]))
        return family

    def array(self, node: dict[str, Any]) -> Block:
        shape, order = node["shape"], node["order"]
        if not RAW_DTYPE.fullmatch(node["dtype"]) or order not in ("C", "F"):
            raise ValueError(f"its header has an array of the unknown dtype {node['dtype']!r} or order {order!r}")
        dtype = np.dtype(node["dtype"])
        lengths = all(type(length) is int and length >= 0 for length in shape)
        if not lengths or len(shape) > MOST_AXES or not dtype.itemsize:
            raise ValueError(f"its header has an array of {dtype} with shape {_shortly(shape)}")
        length, left = math.prod(shape) * dtype.itemsize, len(self.data) - self.position
        if length > left:
            raise ValueError(
                f"its header has an array of {dtype} with shape {_shortly(shape)}, but {left} bytes of arrays are left"
            )
        flat = np.frombuffer(self.data, dtype, math.prod(shape), self.position) if length else np.empty(0, dtype)
        self.position += length
        return flat.astype(dtype.newbyteorder("=")).reshape(shape, order=order)


def _replaces(kind: type[ExponentialFamily], attribute: str) -> bool:
    """Whether an attribute in the state of a family would stand in for a method, or for what every family has."""
    known = getattr(ExponentialFamily, attribute, None)
    method = isinstance(getattr(kind, attribute, None), types.FunctionType)
    return (
        method or attribute in dir(object) or attribute == "__dict__" or callable(known) or isinstance(known, property)
    )


def _shortly(shape: Any) -> str:
    return str(shape) if len(str(shape)) < 200 else f"{str(shape)[:200]}…"
