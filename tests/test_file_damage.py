"""Damaged files, and files written to do harm, are refused with a sentence."""

import json
import struct
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import expfam_em as ef
from expfam_em.saving import files
from tests.children import libraries
from tests.mutated_files import Mutated, saved_corpus, taken_apart, with_data, without_data, written


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.efm"


@pytest.fixture
def content(path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    ef.GaussianMixture(2, covariance_type="diag", max_iter=500, random_state=0).fit(X).save(path)
    return path.read_bytes()


# ---- damage -------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_noticed(content, path):
    positions = {*range(64), *range(0, len(content), 37), *range(len(content) - 40, len(content))}
    for position in sorted(positions):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=r"model\.efm (is|has|cannot)"):
                ef.load(path)


def test_every_truncation_is_noticed(content, path):
    for length in {*range(64), *range(64, len(content), 53), *range(len(content) - 40, len(content))}:
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.efm is (truncated|not a file)"):
            ef.load(path)


def test_bytes_at_the_end_are_noticed(content, path):
    for extra in (b"\0", content):
        path.write_bytes(content + extra)
        with pytest.raises(ValueError, match=rf"model\.efm is damaged: .* {len(extra)} more than it needs"):
            ef.load(path)


@pytest.mark.parametrize(("version", "advice"), [(1, "fit the model again"), (3, "install a newer one")])
def test_another_version_is_named(version, advice, content, path):
    path.write_bytes(content[:8] + struct.pack("<I", version) + content[12:])
    with pytest.raises(ValueError, match=rf"model\.efm has format version {version} .* reads version 2: {advice}"):
        ef.load(path)


@pytest.mark.parametrize("other", [b"", b"hello", b"\x80\x04\x95" * 50, b"PK\x03\x04" * 50])
def test_other_files(other, path):
    path.write_bytes(other)
    with pytest.raises(ValueError, match=r"model\.efm is not a file written by expfam_em"):
        ef.load(path)


def test_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match=r"model\.efm"):
        ef.load(path)


# ---- files written on purpose, with a right checksum --------------------------------------------------------


def test_the_format_is_as_documented(content):
    header, arrays = taken_apart(content)
    assert written(header, arrays) == content
    assert list(header) == ["estimator", "parameters", "fitted"]


def array(dtype="<f8", shape=(2,), order="C"):
    return {"type": "array", "dtype": dtype, "shape": list(shape), "order": order}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (array(shape=[10**15]), r"shape \[1000000000000000\], but 16 bytes"),
        (array(shape=[2**63, 2**63]), "but 16 bytes"),
        (array(shape=[-1, -2]), "shape"),
        (array(shape=[2.0]), "shape"),
        (array(shape=[0, 10**30]), ""),
        (array(shape=[3] * 100_000), "shape"),
        (array(shape=[10**4000] * 30), "shape"),
        (array(dtype="|O8"), "unknown dtype"),
        (array(dtype="<f8,<f8"), "unknown dtype"),
        (array(dtype="<f7"), ""),
        (array(dtype="|S0"), "shape"),
        (array(dtype="os.system"), "unknown dtype"),
        (array(order="X"), "order"),
        (array(shape=[1]), "8 bytes of its arrays belong to nothing"),
        ([array(), array()], "but 0 bytes"),
        ({"type": "eval", "value": "1"}, "unknown type 'eval'"),
        ({"type": "family", "name": "os.system", "state": {}}, "not registered"),
        ({"type": "Mixture", "fields": {"weights": [1.0]}}, ""),
        ({"type": "strings", "items": ["a"], "shape": [10**12]}, ""),
        ({"value": 1}, "lacks 'type'"),
        ({"type": "dict", "items": [[[1], 2]]}, "unhashable"),
    ],
)
def test_headers_that_make_no_sense(node, message, content, path):
    header, _ = taken_apart(content)
    path.write_bytes(written(header | {"fitted": {"extra_": node}}, bytes(16)))
    with pytest.raises(ValueError, match=rf"model\.efm cannot be loaded: .*{message}"):
        ef.load(path)


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"{}", b'{"estimator": []}',
        {"estimator": "os.system", "parameters": {}, "fitted": {}},
        {"estimator": "KMeans", "parameters": {"new": 1}, "fitted": {}},
        {"estimator": "KMeans", "parameters": {}, "fitted": {"predict": 1}},
        {"estimator": "KMeans", "parameters": {}, "fitted": {"__class__": 1}},
        {"estimator": "KMeans", "parameters": {}, "fitted": []},
        {"estimator": "KMeans", "parameters": {}, "fitted": {}},
        {"estimator": "KMeans", "parameters": {}, "fitted": {"mixture_": 1}},
        b'{"estimator": "KMeans", "estimator": "KMeans", "parameters": {}, "fitted": {}}',
        b'{"estimator": "KMeans", "parameters": {"tol": NaN}, "fitted": {}}',
        '{"estimator": "KMeans", "parameters": {}, "fitted": {}}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_other_headers_that_make_no_sense(header, path):
    path.write_bytes(written(header))
    with pytest.raises(ValueError, match=r"model\.efm cannot be loaded"):
        ef.load(path)


def test_a_header_names_each_key_once_and_only_numbers_of_json(content, path):
    header, arrays = taken_apart(content)
    text = json.dumps(header)
    for other, message in (
        (text.replace('"fitted": {', '"fitted": {"n_iter_": 1, ', 1), "names a key twice"),
        (text.replace('"max_iter": 500', '"max_iter": NaN'), "the number NaN, which JSON lacks"),
        (text.replace('"max_iter": 500', '"max_iter": 1e999'), "the number 1e999, which JSON lacks"),
        (text.replace('"max_iter": 500', '"max_iter": Infinity'), "the number Infinity, which JSON lacks"),
    ):
        assert other != text
        path.write_bytes(written(other.encode(), arrays))
        with pytest.raises(ValueError, match=message):
            ef.load(path)


def test_a_family_keeps_its_methods(content, path):
    header, arrays = taken_apart(content)
    for attribute in ("log_partition", "sufficient_statistics", "coupled", "__class__", "__dict__"):
        text = json.dumps(header).replace('"covariance_type": "diag"', f'"covariance_type": "diag", "{attribute}": 1')
        # the first is the parameter of the estimator, the second the state of the family
        head, _, tail = text.partition('"fitted"')
        plain = head.replace(f', "{attribute}": 1', "")
        path.write_bytes(written((plain + '"fitted"' + tail).encode(), arrays))
        with pytest.raises(ValueError, match=rf"the state of its family 'Gaussian' replaces {attribute}"):
            ef.load(path)


@pytest.mark.parametrize("change", ["fewer", "more columns", "not bool"])
def test_frames_that_are_not_there_are_refused(change, path, monkeypatch):
    X = np.concatenate([np.random.default_rng(0).normal(at, 1, (50, 2)) for at in (0, 1e6)])
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    frames = model.mixture_.family.frames.arrays
    if change == "fewer":
        frames["shift"] = frames["shift"][:1]
    elif change == "more columns":
        frames["whitener"] = np.ones((2, 5, 5))
    else:
        frames["own"] = np.array([7, 90_000])
    monkeypatch.setattr(files, "_check", lambda estimator, fitted: None)
    model.save(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"model\.efm cannot be loaded"):
        ef.load(path)


def test_the_reader_in_the_documentation(content, path, monkeypatch):
    page = (Path(__file__).parents[1] / "docs" / "file_format.md").read_text("utf-8")
    code = page.split("```python\n")[-1].split("```")[0]
    monkeypatch.chdir(path.parent)
    namespace = {}
    exec(code, namespace)
    assert (namespace["header"], namespace["arrays"]) == taken_apart(content)


# ---- files that a fitted estimator does not write -----------------------------------------------------------


def changed(header, *way, to=None):
    """Return a header with another value at the end of a way through it; without the value if it is None."""
    header = json.loads(json.dumps(header))
    *way, last = way
    node = header
    for key in way:
        node = node[key]
    if to is None:
        del node[last]
    else:
        node[last] = to
    return header


STATE = ("fitted", "mixture_", "fields", "family", "state")


@pytest.mark.parametrize(
    ("way", "to", "message"),
    [
        (["extra"], 1, "its header has extra besides estimator, parameters and fitted"),
        (["fitted", "n_features_in_"], None, "rows of 3 columns, and n_features_in_ is None"),
        (["fitted", "converged_"], None, "its converged_ is missing"),
        (["fitted", "n_features_in_"], 4, "rows of 3 columns, and n_features_in_ is 4"),
        (["fitted", "n_features_in_"], 3.0, "its n_features_in_ is 3.0"),
        (["fitted", "n_features_in_"], -3, "its n_features_in_ is -3"),
        (["fitted", "means_", "shape"], [3, 2], "its means_ is array"),
        (["fitted", "n_iter_"], "x", "its n_iter_ is 'x'"),
        (["parameters", "n_components"], 3, "n_components is 3"),
        (["parameters", "covariance_type"], "full", "this estimator is one of Gaussian"),
        (["parameters", "covariance_type"], "round", "covariance_type"),
        (["parameters", "n_jobs"], [2], "n_jobs"),
        ([*STATE, "shift"], 1, ""),
        ([*STATE, "scale"], None, ""),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(way, to, message, content, path):
    header, arrays = taken_apart(content)
    path.write_bytes(written(changed(header, *way, to=to), arrays))
    with pytest.raises(ValueError, match=rf"model\.efm cannot be loaded: .*{message}"):
        ef.load(path)


def test_labels_without_end_allocate_nothing(path):
    X = np.random.default_rng(0).integers(0, 3, (60, 1))
    ef.ExponentialFamilyMixture(ef.families.Categorical(), 2, random_state=0).fit(X).save(path)
    header, arrays = taken_apart(path.read_bytes())
    levels = {"type": "tuple", "items": [2**40]}
    path.write_bytes(written(changed(header, *STATE, "levels", to=levels), arrays))
    with pytest.raises(ValueError, match="column 0 has 1099511627776 levels"):
        ef.load(path)
    far = ef.ExponentialFamilyMixture(ef.families.Categorical(), 2).fit([[0.0], [2.0**40]])
    assert far.parameters_["probabilities"].shape == (2, 1, 2)  # only levels that occur are kept


def test_columns_without_end_allocate_nothing(path):
    family = ef.families.Product([(ef.families.Gaussian(), [0]), (ef.families.Laplace(), [29])])
    X = np.random.default_rng(0).normal(size=(60, 30))
    ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(X).save(path)
    header, arrays = taken_apart(path.read_bytes())
    there, far = (np.int64(column).tobytes() for column in (29, 2**40))
    assert there in arrays
    path.write_bytes(written(header, arrays.replace(there, far)))
    with pytest.raises(ValueError, match="rows of 1099511627777 columns, and n_features_in_ is 30"):
        ef.load(path)


@pytest.mark.parametrize(("factor", "change"), [(1e250, "off by"), (1 + 1e-5, "off by"), (np.nan, "off by nan")])
def test_attributes_that_contradict_the_mixture_are_refused(factor, change, content, path):
    header, arrays = taken_apart(content)
    tree = with_data(header, bytearray(arrays))
    node = tree["fitted"]["means_"]
    node["data"] = (factor * np.frombuffer(node["data"])).tobytes()
    path.write_bytes(written(without_data(tree, data := bytearray()), bytes(data)))
    with pytest.raises(ValueError, match=rf"model\.efm cannot be loaded: its means_ is {change}"):
        ef.load(path)


@pytest.mark.parametrize("scale", [-1.0, -1e308, 1e308, np.nan])
def test_a_frame_that_is_none_is_refused(scale, content, path):
    header, arrays = taken_apart(content)
    tree = with_data(header, bytearray(arrays))
    tree["fitted"]["mixture_"]["fields"]["family"]["state"]["scale"]["data"] = np.full(3, scale).tobytes()
    path.write_bytes(written(without_data(tree, data := bytearray()), bytes(data)))
    with pytest.raises(ValueError, match=r"model\.efm cannot be loaded"):
        ef.load(path)


def test_mutated_files_are_refused_or_work(path):
    """A sample of ``python -m tests.mutated_files``, of the models that are saved with the tests."""
    corpus, blas, kinds = saved_corpus(), libraries(), Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(200):
            case = Mutated(seed, corpus)
            kind, fault = case.fate(path, blas)
            assert not fault, f"{case.words}\n{fault}"
            kinds[kind] += 1
    assert kinds["refused"] > 80
    assert kinds["works"] > 20
