"""Mutated model files: each is refused with a sentence, or gives a model that works.

``python -m tests.mutated_files SECONDS [SEED]`` makes the files SEED, SEED + 1, ... from the saved models and freshly
fitted ones, reads each in a child process of little memory, and prints what went wrong and how often.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pickle
import struct
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import expfam_em as ef
from expfam_em.saving import files
from tests.awkward import COVARIANCES, DOMAINS, FAMILIES
from tests.children import changed, go_through, libraries, say, settings
from tests.saved_models import FOLDER

SLOW = 1.0
"""A file that takes more seconds of the processor is a fault, too: those made here have 5,000 bytes."""

MEMORY = 1 << 28
"""Bytes that a child may ask for beside what it has once everything is loaded."""

FILES_EACH = 2000
"""Files that a child reads before the next one begins."""

VALUES = (
    None, True, False, -1, 0, 1, 2, 3, 7, 1000, 10**6, 2**31, 2**62, 2**63, 10**30, 0.0, -0.0, 0.5, -1.5, 1e-320,
    1e-12, 1e12, 1e300, "", "x", "full", "tied", "diag", "spherical", "VEV", "EVE", "poisson", "auto", "mean_", "é",
    [], [0], [1.5, -2.0], {}, {"type": "tuple", "items": []}, {"type": "tuple", "items": [1.0, 0.0]},
    {"type": "dict", "items": []}, {"type": "float", "value": "nan"}, {"type": "float", "value": "inf"},
    {"type": "float", "value": "-inf"}, {"type": "strings", "shape": [2], "items": ["a", "b"]},
)  # fmt: skip
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-308, 5e-324, 1e15, -700.0, 1e-15)
DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<u8", "|i1", "|b1", "<c16", "<U1", "|S8", "<m8[ns]", "<M8[D]", "|O8")


# ---- files taken apart and put together -----------------------------------------------------------------------


def written(header, arrays=b"") -> bytes:
    """Return a file with a right checksum, whatever its header is."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = files.PREAMBLE.pack(files.MAGIC, files.VERSION, len(header), len(arrays)) + header + arrays
    return body + hashlib.sha256(body).digest()


def taken_apart(content):
    """Return the header and the bytes of the arrays of a file."""
    *_, header_length, arrays_length = files.PREAMBLE.unpack_from(content)
    start = files.PREAMBLE.size
    return json.loads(content[start : start + header_length]), content[start + header_length :][:arrays_length]


def is_array(node):
    return isinstance(node, dict) and node.get("type") in ("array", "scalar") and "dtype" in node


def with_data(node, data):
    """Return a header whose arrays hold their bytes, which are taken from ``data`` in the order of the file."""
    if is_array(node):
        size = int(np.prod(node["shape"])) * np.dtype(node["dtype"]).itemsize
        node = node | {"data": bytes(data[:size])}
        del data[:size]
        return node
    if isinstance(node, dict):
        return {key: with_data(value, data) for key, value in node.items()}
    return [with_data(value, data) for value in node] if isinstance(node, list) else node


def without_data(node, data):
    """Return a header whose arrays do not hold their bytes, which are added to ``data``."""
    if isinstance(node, dict):
        data += node.get("data", b"")
        return {key: without_data(value, data) for key, value in node.items() if key != "data"}
    return [without_data(value, data) for value in node] if isinstance(node, list) else node


def places(node, found=None):
    """Return all (container, key) of a header; bytes of arrays are none."""
    found = [] if found is None else found
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        if isinstance(node[key], bytes):
            continue
        found.append((node, key))
        if isinstance(node[key], (dict, list)):
            places(node[key], found)
    return found


def arrays_of(tree):
    """Return the arrays of a header that are still whole."""
    return [at[key] for at, key in places(tree) if is_array(at[key]) and array_of(at[key]) is not None]


def array_of(node):
    """Return an array of a header; None if it is none any more."""
    try:
        return np.frombuffer(node["data"], node["dtype"]).reshape(node["shape"], order=node["order"])
    except (ValueError, TypeError, KeyError):
        return None


# ---- mutations of a header with its arrays --------------------------------------------------------------------


def another_value(tree, g, corpus):
    at, key = pick(g, places(tree))
    value = at[key]
    if type(value) in (int, float) and g.random() < 0.5:
        value = pick(g, [value + 1, value - 1, -value, 2 * value, 1e-9 * value, 0.999 * value, str(value)])
        at[key] = value
    else:
        at[key] = copy.deepcopy(pick(g, VALUES))


def left_out(tree, g, corpus):
    at, key = pick(g, places(tree))
    if at is not tree:  # without one of its three parts a header says nothing
        del at[key]


def twice(tree, g, corpus):
    lists = [at[key] for at, key in places(tree) if isinstance(at[key], list) and at[key]]
    if lists:
        some = pick(g, lists)
        some.insert(int(g.integers(len(some) + 1)), copy.deepcopy(pick(g, some)))


def exchanged(tree, g, corpus):
    """Put a part of this file in the place of another one, or of one of the same name in another file."""
    at, key = pick(g, places(tree))
    other = tree if g.random() < 0.5 else corpus[pick(g, sorted(corpus))][0]
    there = places(other)
    alike = [(a, k) for a, k in there if k == key] if g.random() < 0.7 else there
    if alike:
        source, name = pick(g, alike)
        at[key] = copy.deepcopy(source[name])


def another_class(tree, g, corpus):
    named = [at for at, key in places(tree) if key == "name" and isinstance(at[key], str)]
    names = [name for name in ef.families.__all__ if name[0].isupper()]
    if named and g.random() < 0.7:
        pick(g, named)["name"] = pick(g, names)
    else:
        tree["estimator"] = pick(g, sorted(files._estimators))


def other_numbers(tree, g, corpus):
    """Change some entries of an array, of any kind."""
    if not (arrays := arrays_of(tree)):
        return
    node = pick(g, arrays)
    kind = np.dtype(node["dtype"])
    if kind.kind != "f" or not node["data"]:
        node["data"] = flipped(node["data"], g)
        return
    x = np.frombuffer(node["data"], kind).copy()
    some = g.random(len(x)) < pick(g, [0.2, 0.5, 1.0])
    some[g.integers(len(x))] = True
    change = int(g.integers(7))
    with np.errstate(all="ignore"):
        if change == 0:
            x[some] = pick(g, NUMBERS)
        elif change == 1:
            x[some] = g.choice(NUMBERS, some.sum())
        elif change == 2:
            x[some] *= kind.type(10.0 ** g.integers(-300, 300))
        elif change == 3:
            x[some] *= (1 + 10.0 ** g.integers(-16, 2) * g.normal(size=some.sum())).astype(kind)
        elif change == 4:
            x = x[g.permutation(len(x))]
        elif change == 5:
            x[some] = -x[some]
        else:
            node["data"] = flipped(node["data"], g)
            return
    node["data"] = x.tobytes()


def another_shape(tree, g, corpus):
    if not (arrays := arrays_of(tree)):
        return
    node = pick(g, arrays)
    shape, change = list(array_of(node).shape), int(g.integers(6))
    if change == 0:
        node["dtype"] = pick(g, DTYPES)
    elif change == 1:
        node["order"] = pick(g, ["F", "C", "A"])
    elif change == 2:
        node["shape"] = shape[::-1]
    elif change == 3:
        node["shape"] = [1, *shape] if g.random() < 0.5 else [int(np.prod(shape))]
    elif change == 4:
        node["shape"] = [pick(g, [0, 1, 2, 5, 10**9, 2**62]) for _ in shape]
    else:
        node["type"] = pick(g, ["array", "scalar", "strings"])


def another_size(tree, g, corpus):
    """Give all arrays whose axes have one length another one: more or fewer components, or columns."""
    lengths = sorted({length for node in arrays_of(tree) for length in array_of(node).shape})
    if not lengths:
        return
    old, new = pick(g, lengths), int(pick(g, [1, 2, 3, 4, 5, 40]))
    for node in arrays_of(tree):
        x = array_of(node)
        for axis, length in enumerate(x.shape):
            if length == old and x.size and g.random() < 0.97:
                x = np.take(x, np.arange(new) % old, axis=axis)
        node.update(shape=list(x.shape), data=x.tobytes(node["order"]))
    for at, key in places(tree):
        if key in ("n_components", "n_clusters", "n_features_in_") and at[key] == old:
            at[key] = new


MUTATIONS = (
    another_value, another_value, left_out, twice, exchanged, exchanged, another_class, other_numbers, other_numbers,
    other_numbers, another_shape, another_size,
)  # fmt: skip


def pick(g, some):
    return some[int(g.integers(len(some)))]


def flipped(data, g):
    data = bytearray(data)
    for at in g.integers(0, max(len(data), 1), 1 + g.integers(3)) if data else ():
        data[at] ^= 1 << int(g.integers(8))
    return bytes(data)


# ---- mutations of bytes ---------------------------------------------------------------------------------------


def mutated_bytes(content, g):
    """Return a file with other bytes, of which a third keep the checksum, and the others get a right one."""
    kind = int(g.integers(6))
    if kind == 0:
        return flipped(content, g)
    if kind == 1:
        return content[: g.integers(len(content))]
    body, size = bytearray(content[: -files.CHECKSUM_SIZE]), files.PREAMBLE.size
    if kind == 2:
        form = pick(g, ["<I", "<Q", "<Q"])
        struct.pack_into(form, body, pick(g, [8, 12, 20]), pick(g, [0, 1, 2, 3, 100, 2**31, 2**32 - 1]))
    elif kind == 3:
        first = int(g.integers(size, len(body)))
        del body[first : first + int(g.integers(1, 20))]
    elif kind == 4:
        body[size:] = flipped(bytes(body[size:]), g)
    else:
        first = int(g.integers(size, len(body)))
        body[first:first] = bytes(body[first : first + int(g.integers(1, 40))])
    if kind in (3, 5):  # the lengths of the preamble are those of what is there
        magic, version, header, _ = files.PREAMBLE.unpack_from(body)
        header = min(header, len(body) - size)
        files.PREAMBLE.pack_into(body, 0, magic, version, header, len(body) - size - header)
    return bytes(body) + hashlib.sha256(body).digest()


# ---- models to mutate -----------------------------------------------------------------------------------------


def saved_corpus():
    """Return the models that are saved with the tests: (header with arrays, rows) by name."""
    found = {}
    for folder in sorted(FOLDER.iterdir()):
        rows = json.loads((folder / "expected.json").read_text("utf-8"))
        for path in sorted(folder.glob("*.efm")):
            found[path.stem] = part(path), np.array(rows[path.stem]["X"])
    return found


def fresh_corpus(folder):
    """Return models of every family and covariance model, fitted now."""
    rng, found = np.random.default_rng(0), {}
    Z = np.concatenate([rng.normal(size=(40, 2)), rng.normal(3, 0.5, (40, 2))])
    makers = {name: (make, DOMAINS[domain](Z)) for name, (make, domain) in FAMILIES.items()}
    makers |= {kind: (lambda kind=kind: ef.families.Gaussian(kind), Z) for kind in COVARIANCES}
    for name, (make, X) in makers.items():
        model = ef.ExponentialFamilyMixture(make(), 2, random_state=0, max_iter=5, guard=False, n_jobs=2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # five steps are few
            model.fit(X).save(folder / "model")
        found[f"fresh {name}"] = part(folder / "model"), X[::8]
    return found


def part(path):
    header, data = taken_apart(path.read_bytes())
    return with_data(header, bytearray(data))


class Mutated:
    """The file of a seed, and rows to ask its model about."""

    def __init__(self, seed, corpus):
        g = np.random.default_rng(seed)
        name = pick(g, sorted(corpus))
        tree, self.X = corpus[name]
        if g.random() < 0.1:
            data, how = bytearray(), ["bytes"]
            header = without_data(tree, data)
            self.content = mutated_bytes(written(header, bytes(data)), g)
        else:
            tree, how = copy.deepcopy(tree), []
            for _ in range(int(g.choice([1, 1, 1, 2, 3]))):
                change = pick(g, MUTATIONS)
                how.append(change.__name__)
                change(tree, g, corpus)
            data = bytearray()
            header = without_data(tree, data)
            self.content = written(header, bytes(data))
        self.words = f"{seed}: {name}, {', '.join(how)}"

    def fate(self, path, blas):
        """Return "refused" or "works", and what is wrong with that, "" if nothing is."""
        path.write_bytes(self.content)
        before = settings(blas)
        try:
            kind, fault = self.loaded(path)
        except Exception as error:
            kind, fault = "fails", f"{type(error).__name__}: {error}"
        return kind, fault or changed(before, settings(blas))

    def loaded(self, path):
        try:
            model = ef.load(path)
        except ValueError as error:
            text = str(error)
            if not text.startswith(str(path)) or len(text) < len(str(path)) + 15:
                return "refused", f"not in words: {text}"
            return "refused", out_of_memory(error)
        try:
            return "works", wrong(model, self.X)
        except (ValueError, TypeError) as error:
            if isinstance(error, np.linalg.LinAlgError) or len(str(error)) < 20 or "broadcast" in str(error):
                return "works", f"after loading, {type(error).__name__}: {error}"
            return "answers in words", out_of_memory(error)


def out_of_memory(error):
    """Return what was to be allocated, where an error comes from that."""
    while error is not None:
        if isinstance(error, MemoryError):
            return f"MemoryError: {error}"
        error = error.__cause__ or error.__context__
    return ""


def wrong(model, X):
    """Return what is wrong with what a model says of rows."""
    if model.n_features_in_ != X.shape[1]:
        X = np.resize(X, (len(X), int(model.n_features_in_)))
    K, labels = model.mixture_.n_components, model.predict(X)
    if labels.shape != (len(X),) or not np.all((labels >= -1) & (labels < K)):  # -1 is noise
        return "labels outside -1, ..., K - 1"
    if not hasattr(model, "score_samples"):
        return "" if np.isfinite(model.transform(X)).all() else "distances are not finite"
    scores = model.score_samples(X)
    if np.isnan(scores).any() or np.isposinf(scores).any():
        return "scores of rows are not finite"
    drawn, origin = model.sample(5)
    if not np.all((origin >= -1) & (origin < K)) or len(drawn) != 5:
        return "samples of other components"
    return "samples are not numbers" if np.isnan(np.asarray(drawn, float)).any() else ""


# ---- children of little memory --------------------------------------------------------------------------------


def read_some(folder, first, last):
    """Read files one after the other, telling the parent by lines on the standard output."""
    import resource

    blas = libraries()
    corpus = pickle.loads((folder / "corpus").read_bytes())
    for tree, X in corpus.values():  # everything is loaded, and works
        data = bytearray()
        (folder / "file").write_bytes(written(without_data(tree, data), bytes(data)))
        if fault := wrong(ef.load(folder / "file"), X):
            say("fault", first, "not mutated", fault)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(first, last):
            say("begins", seed)
            case = Mutated(seed, corpus)
            begun = time.process_time()
            kind, fault = case.fate(folder / "file", blas)
            took = time.process_time() - begun
            fault = fault or (f"{kind} after {took:.1f} s" if took > SLOW else "")
            say(kind, seed, case.words, fault)


def main(seconds, first):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").write_bytes(pickle.dumps(saved_corpus() | fresh_corpus(folder)))
        os.environ["MALLOC_ARENA_MAX"] = "2"  # every one more is address space that nothing is in
        go_through("tests.mutated_files", [name], seconds, first, FILES_EACH)


if __name__ == "__main__":
    if sys.argv[1] == "child":
        read_some(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
