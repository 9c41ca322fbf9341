"""Rows in files, frames and batches: the bits of the array, little memory, and errors that say what is wrong."""

import functools
import itertools
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone

import expfam_em as ef
from expfam_em.em import seeds, starts
from expfam_em.rows import grid, threads
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.source import RowSource
from expfam_em.sources.batches import Rooms

ROOT = Path(ef.__file__).parent.parent
RNG = np.random.default_rng(0)
N = 500
X = np.column_stack([RNG.poisson(4, N), RNG.gamma(2, 1, N), RNG.normal(3, 1, N)]).astype(np.float32)[:, 1:]
WEIGHT = RNG.uniform(0.5, 3, N)
NAMES = ["a", "b"]


@pytest.fixture(autouse=True)
def small_chunks(many_chunks):
    """Cut rows into chunks of 16."""


def table(weight=False):
    columns = {name: X[:, j].copy() for j, name in enumerate(NAMES)}
    return pa.table({"w": WEIGHT, **columns} if weight else columns)


def in_parquet(folder, **how):
    pq.write_table(table(), folder / "x.parquet", **how)
    return folder / "x.parquet"


def in_folder(folder):
    for number, (start, stop) in enumerate([(0, 7), (7, 300), (300, 300), (300, N)]):
        part = folder / "parts" / f"year={number}"
        part.mkdir(parents=True)
        pq.write_table(table().slice(start, stop - start), part / "x.parquet", row_group_size=33)
    return str(folder / "parts")


def in_npy(folder):
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def in_hdf5(folder, **how):
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("rows", data=X, **how)
        file["w"] = WEIGHT
    return folder / "x.h5"


def in_zarr(folder):
    array = zarr.open(str(folder / "x.zarr"), mode="w", shape=X.shape, chunks=(37, 2), dtype="f4")
    array[:] = X
    return folder / "x.zarr"


def columns_in_hdf5(folder):
    file = h5py.File(folder / "columns.h5", "w")
    for j, name in enumerate(NAMES):
        file[name] = X[:, j]
    return ef.rows_from(file, ["a", "b"])


def batches(sizes=(100, 1, 399), weights=None):
    ends = np.cumsum([0, *sizes])
    for start, stop in itertools.pairwise(ends):
        yield X[start:stop] if weights is None else (X[start:stop], weights[start:stop])


SOURCES = {
    "array": lambda folder: ef.rows_from(X),
    "columns first": lambda folder: ef.rows_from(np.asfortranarray(X)),
    "memory map": lambda folder: ef.rows_from(np.load(in_npy(folder), mmap_mode="r")),
    "npy": in_npy,
    "parquet": in_parquet,
    "plain": lambda folder: in_parquet(folder, compression="none", use_dictionary=False, row_group_size=57),
    "zstd": lambda folder: in_parquet(folder, compression="zstd", row_group_size=64),
    "folder": in_folder,
    "hdf5": in_hdf5,
    "hdf5 in pieces": lambda folder: in_hdf5(folder, chunks=(21, 1)),
    "hdf5 dataset": lambda folder: h5py.File(in_hdf5(folder), "r")["rows"],
    "hdf5 columns": columns_in_hdf5,
    "zarr": in_zarr,
    "zarr array": lambda folder: zarr.open(in_zarr(folder), mode="r"),
    "batches": lambda folder: batches,
    "record batches": lambda folder: lambda: table().to_batches(77),
    "frames": lambda folder: lambda: (pd.DataFrame(part, columns=NAMES) for part in batches()),
    "arrow table": lambda folder: table(),
    "frame": lambda folder: ef.rows_from(pd.DataFrame(X, columns=NAMES)),
    "dict": lambda folder: ef.rows_from({name: X[:, j] for j, name in enumerate(NAMES)}, n_jobs=1),
}

GAMMA_AND_NORMAL = ef.families.Product([(ef.families.Gamma(), [0]), (ef.families.Gaussian(), [1])])
MODELS = {
    "gaussian": ef.GaussianMixture(2, random_state=0, tol=0, max_iter=3),
    "product": ef.ExponentialFamilyMixture(GAMMA_AND_NORMAL, 2, guard=False, random_state=0, tol=0, max_iter=2),
}  # fmt: skip


COMPOSED = ("memory map", "folder", "hdf5 in pieces", "batches", "dict")


def fitted(name, rows, **how):
    return clone(MODELS[name]).fit(rows, **how)


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize(
    ("source", "model"), [*((s, "gaussian") for s in SOURCES), *((s, "product") for s in COMPOSED)]
)
def test_every_source_has_the_bits_of_the_array(source, model, tmp_path):
    rows, array = SOURCES[source](tmp_path), fitted(model, X)
    found = fitted(model, rows)
    assert np.array_equal(found.natural_parameters_, array.natural_parameters_)
    assert np.array_equal(found.weights_, array.weights_)
    assert found.lower_bounds_ == array.lower_bounds_
    assert np.array_equal(found.predict(rows), array.predict(X))
    assert np.array_equal(found.predict_proba(rows), array.predict_proba(X))
    assert np.array_equal(found.score_samples(rows), array.score_samples(X))
    assert found.predict_proba(rows).dtype == np.float32


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("model", MODELS)
def test_weights_are_a_column_or_an_array(model, tmp_path):
    pq.write_table(table(weight=True), tmp_path / "x.parquet")
    array, path = fitted(model, X, sample_weight=WEIGHT), tmp_path / "x.parquet"
    for rows in (
        ef.rows_from(path, weight="w"),
        ef.rows_from(path, ["a", "b"], "w", n_jobs=1),
        ef.rows_from(in_hdf5(tmp_path), weight="w"),
        ef.rows_from(np.load(in_npy(tmp_path)), weight=WEIGHT),
        ef.rows_from(table(weight=True), weight="w"),
        ef.rows_from(table(weight=True).to_pandas(), weight="w"),
        ef.rows_from(lambda: batches(weights=WEIGHT)),
        ef.rows_from(path, ["a", "b"], WEIGHT),
        ef.rows_from(batches, weight=WEIGHT),
    ):
        found = fitted(model, rows)
        assert np.array_equal(found.natural_parameters_, array.natural_parameters_)
        assert found.lower_bounds_ == array.lower_bounds_
        assert found.bic(rows) == pytest.approx(array.bic(X, WEIGHT), rel=1e-13)
    assert fitted(model, ef.rows_from(path, weight="w")).predict(path).shape == (N,)  # without the weights


@given(
    sizes=st.lists(st.integers(0, 120), max_size=12),
    group=st.integers(1, 200),
    piece=st.integers(1, 200),
    n_jobs=st.integers(1, 3),
)
def test_bits_do_not_depend_on_batches_and_row_groups(sizes, group, piece, n_jobs):
    ends = np.minimum(np.cumsum([0, *sizes]), N).tolist()
    sizes = np.diff([*ends, N]).tolist()
    start = ef.Mixture.of(ef.families.Gaussian(), [0.4, 0.6], means=[[1, 2], [2, 4]], covariances=[np.eye(2)] * 2)
    found = [ef.accumulate(start, X, WEIGHT)]
    buffer = pa.BufferOutputStream()
    pq.write_table(table(weight=True), buffer, row_group_size=group)
    whole = pq.ParquetFile(pa.BufferReader(buffer.getvalue()))
    columns = {name: whole.read().column(name).to_numpy() for name in ("w", *NAMES)}
    for rows in (
        ef.rows_from(lambda: batches(sizes, WEIGHT), n_jobs=n_jobs),
        ef.rows_from(lambda: whole.iter_batches(piece), weight="w", n_jobs=n_jobs),
        ef.rows_from(columns, weight="w", n_jobs=n_jobs),
    ):
        found.append(ef.accumulate(start, rows))
    for one in found[1:]:
        assert np.array_equal(one.sums, found[0].sums)
        assert one.bound == found[0].bound


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("source", ["parquet", "batches", "in memory"])
def test_predictions_are_written(source, suffix, tmp_path):
    rows = X if source == "in memory" else SOURCES[source](tmp_path)
    model, out = (
        ef.ExponentialFamilyMixture(ef.families.Gaussian(), 2, noise="uniform", random_state=0).fit(X),
        tmp_path,
    )
    for name in ("predict", "predict_proba", "score_samples"):
        path, expected = out / f"{name}{suffix}", getattr(model, name)(X)
        assert getattr(model, name)(rows, out=path) is None
        if suffix == ".npy":
            written = np.load(path)
        else:
            columns = pq.read_table(path)
            written = np.squeeze(np.column_stack([column.to_numpy() for column in columns.columns]))
        assert np.array_equal(written.astype(expected.dtype), expected)
    assert sorted(path.suffix for path in out.glob("*predict*")) == [suffix] * 2


def test_a_prediction_that_fails_leaves_no_file_behind(tmp_path):
    spoiled = X.copy()
    spoiled[400] = np.nan
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    (tmp_path / "labels.npy").write_bytes(b"before")
    with pytest.raises(ValueError, match="column 0 of row 400 is missing"):
        model.predict(ef.rows_from(spoiled), out=tmp_path / "labels.npy")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
    with pytest.raises(ValueError, match=r"its suffix must be .npy or .parquet"):
        model.predict(X, out=tmp_path / "labels.csv")


def changed(column, value):
    data = {name: X[:, j].copy() for j, name in enumerate(NAMES)}
    return data | {column: value}


class Forgetful:
    """Batches of fewer rows in each pass."""

    n = N + 1

    def __call__(self):
        self.n -= 1
        return iter([X[: self.n]])


NULL = pa.array([1.0] * 44 + [None] + [1.0] * (N - 45))

NONSENSE = {
    "a gap": (
        lambda p: {"a": np.where(np.arange(N) == 44, np.nan, 1), "b": X[:, 1]},
        r"column 'a' of row 44 is missing",
    ),
    "infinite": (lambda p: changed("b", np.where(np.arange(N) == 3, -np.inf, 1)), r"column 'b' of row 3 is -inf"),
    "a null": (lambda p: pa.table(changed("a", NULL)), "column 'a' of row 44 is missing"),
    "text": (lambda p: changed("a", np.full(N, "text")), "column 'a' holds <U4; numbers are needed"),
    "text in parquet": (lambda p: parquet_of(p, changed("a", ["text"] * N)), "column 'a' holds object; numbers"),
    "a null in parquet": (lambda p: parquet_of(p, changed("b", NULL)), r"x.parquet: column 'b' of row 44 is missing"),
    "lengths": (lambda p: changed("b", X[1:, 1]), r"column 'b' has shape \(499,\); all must be \(n,\)"),
    "no folder": (lambda p: p / "nothing", "nothing does not exist; give a file"),
    "an empty folder": (lambda p: p, "is a folder without a .parquet file"),
    "another kind": (lambda p: written(p / "x.csv"), "x.csv is no file of a known kind"),
    "no Parquet": (lambda p: written(p / "x.parquet"), "x.parquet is no Parquet file that can be read"),
    "no NumPy file": (lambda p: written(p / "x.npy"), "x.npy is not a NumPy file of numbers"),
    "one column": (lambda p: X[:, 0], r"the array has shape \(500,\); it must be \(n, d\)"),
    "no rows": (lambda p: X[:0], r"the array has shape \(0, 2\)"),
    "no batch": (lambda p: lambda: iter([]), "returned no batch of rows"),
    "empty batches": (lambda p: lambda: iter([X[:0]]), "has no rows: at least one is needed"),
    "an iterator": (lambda p: iter([X]), "an iterator, which can be read once only: give the function"),
    "a number": (lambda p: 3.0, "float is no such thing"),
    "widths": (
        lambda p: lambda: iter([X, X[:, :1]]),
        r"the batch at row 500 has shape \(500, 1\); all must be \(m, 2\)",
    ),
    "dtypes": (
        lambda p: lambda: iter([X, X.astype(float)]),
        "the batch at row 500 has dtype float64, and the first one",
    ),
    "some weights": (lambda p: lambda: iter([(X, WEIGHT), X]), "the batch at row 500 has no weights, unlike the first"),
    "bad weights": (lambda p: lambda: iter([(X, -WEIGHT)]), "500 finite numbers ≥ 0 are needed"),
    "names": (lambda p: lambda: iter([pd.DataFrame(X), X]), "the batch at row 500 is ndarray, without names"),
    "forgotten": (lambda p: Forgetful(), "498 rows have been read, and 499 before"),
    "other rows": (
        lambda p: functools.partial(drawn, np.random.default_rng(0)),
        "the first rows are not those that came",
    ),
    "one iterator": (lambda p: functools.partial(next, itertools.repeat(batches())), "the first rows are not those"),
    "no iterator": (lambda p: lambda: None, "returned NoneType; it must return an iterator of batches"),
    "three of a kind": (lambda p: lambda: iter([(X, WEIGHT, 1)]), "is a tuple of 3; it must be one of rows and their"),
    "a short column": (
        lambda p: lambda: iter([{"a": X[1:, 0], "b": X[:, 1]}]),
        r"columns of shapes \(499,\), \(500,\)",
    ),
    "names at last": (lambda p: lambda: iter([X, pd.DataFrame(X, columns=NAMES)]), "has the columns a, b, and those"),
    "text as weights": (lambda p: lambda: iter([(X, WEIGHT.astype(str))]), "weights of dtype <U32; numbers are needed"),
    "an archive": (lambda p: archive(p / "x.npy"), "x.npy is not a NumPy file of numbers"),
    "objects": (
        lambda p: np.save(p / "x.npy", X.astype(object)) or p / "x.npy",
        "not a NumPy file of numbers: .* objects",
    ),
    "no HDF5 file": (lambda p: written(p / "x.h5"), "x.h5 is no HDF5 file that can be read"),
    "a sparse matrix": (lambda p: sparse.csr_array(X), "a sparse matrix is in memory"),
    "a series": (lambda p: pd.Series(X[:, 0]), r"the array has shape \(500,\)"),
    "two matrices": (lambda p: hdf5_of(p, {"x": X, "y": X}), "has 2 matrices among x, y"),
}


def drawn(rng):
    return iter([rng.normal(size=(N, 2))])


def archive(path):
    with path.open("wb") as file:
        np.savez(file, X=X)
    return path


def written(path):
    path.write_bytes(b"no such file")
    return path


def parquet_of(folder, columns):
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


def hdf5_of(folder, arrays):
    with h5py.File(folder / "x.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return folder / "x.h5"


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused(name, tmp_path):
    make, told = NONSENSE[name]
    with pytest.raises(ValueError, match=told):
        ef.GaussianMixture(2, random_state=0).fit(ef.rows_from(make(tmp_path)))
    assert not readers()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"columns": ["a", "c"]}, "no column is named 'c'; the columns are a, b, w"),
        ({"weight": "v"}, "no column is named 'v'"),
        ({"columns": []}, "no column is left"),
        ({"columns": "ab"}, "columns is 'ab'; give a list of names"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "frame", "batches"])
def test_columns_that_are_not_there_are_refused(arguments, told, kind, tmp_path):
    frame = table(weight=True).select(["a", "b", "w"])
    source = {"frame": frame.to_pandas(), "batches": frame, "parquet": parquet_of(tmp_path, frame)}[kind]
    with pytest.raises(ValueError, match=told):
        ef.rows_from(source, **arguments)


def test_columns_are_those_of_the_fit(tmp_path):
    model = ef.GaussianMixture(2, random_state=0).fit(ef.rows_from(table(weight=True), ["b", "a"]))
    assert model.feature_names_in_.tolist() == ["b", "a"]
    frame = pd.DataFrame(X, columns=NAMES)[["b", "a"]]
    assert np.array_equal(model.predict(parquet_of(tmp_path, table(weight=True))), model.predict(frame))
    with pytest.raises(
        ValueError, match=r"the rows have the columns \['a', 'b'\]; the model was fitted to \['b', 'a'\]"
    ):
        model.predict(ef.rows_from(table()))


def test_weights_are_one_for_each_row():
    for source, weight, told in (
        (X, WEIGHT[1:], r"weight has shape \(499,\); it must be \(500,\)"),
        (lambda: batches(), np.append(WEIGHT, 1), "there are 501 weights, and 500 rows"),
        (lambda: batches(weights=WEIGHT), WEIGHT, "beside rows that have weights"),
        (batches, "w", r"is ndarray, without names of columns; \['w'\] are asked for"),
        (X, "w", "the columns of an array have no names: give the weights"),
    ):
        with pytest.raises(ValueError, match=told):
            fitted("gaussian", ef.rows_from(source, weight=weight))


def test_the_index_of_a_frame_is_no_column(tmp_path):
    frame = pd.DataFrame(X, columns=NAMES).query("a > 1")
    frame.to_parquet(tmp_path / "x.parquet")
    for source in (tmp_path / "x.parquet", pa.Table.from_pandas(frame)):
        assert ef.rows_from(source).columns == NAMES
    assert ef.rows_from(tmp_path / "x.parquet", ["a", "__index_level_0__"]).n_features == 2


def test_rows_without_names_are_taken_with_a_warning(tmp_path):
    model = ef.GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=NAMES))
    for source in (in_npy(tmp_path), batches):
        with pytest.warns(UserWarning, match="X has no names of columns; GaussianMixture was fitted to"):
            found = model.predict(source)
        assert np.array_equal(found, model.predict(pd.DataFrame(X, columns=NAMES)))


def test_rows_without_weights_are_not_read_to_be_counted(tmp_path):
    def reads(size):
        read.append(size)
        return batches_of(size)

    mixture = ef.GaussianMixture(2, random_state=0).fit(X).mixture_
    for source, n_reads in ((in_npy(tmp_path), 2), (batches, 3)):
        rows, read = ef.rows_from(source), []
        batches_of, rows._batches = rows._batches, reads
        assert np.array_equal(ef.accumulate(mixture, rows).counts, ef.accumulate(mixture, X).counts)
        assert rows.total_weights == len(X)
        assert len(read) == n_reads


@pytest.mark.parametrize("weight", [None, "w", WEIGHT], ids=["no weights", "a column", "an array"])
@pytest.mark.parametrize("kept", [0, 64, 448, N])
def test_rows_are_kept_as_far_as_there_is_room(kept, weight, tmp_path, monkeypatch):
    def reads(size, first=0):
        for batch in batches_of(size, first):
            read.append(len(batch))
            yield batch

    monkeypatch.setattr(grid, "MOST_ROWS", 64)
    monkeypatch.setattr("expfam_em.sources.parquet.DECODED_ROWS", 50)
    monkeypatch.setattr("expfam_em.sources.parquet.WHOLE_BYTES", 8 * 2 * 60)  # of some of the row groups
    monkeypatch.setattr("expfam_em.sources.batches.KEPT_BYTES", (kept + 9 * (kept < N)) * (8 if weight is None else 16))
    for number, (start, stop) in enumerate([(0, 0), (0, 45), (45, 400), (400, 400), (400, N)]):
        part = table(weight=True).slice(start, stop - start)
        pq.write_table(part, tmp_path / f"{number}.parquet", row_group_size=111)
    rows = ef.rows_from(tmp_path, NAMES, weight)
    batches_of, rows._batches = rows._batches, reads
    mixture = ef.GaussianMixture(2, random_state=0).fit(X).mixture_
    expected = ef.accumulate(mixture, X, None if weight is None else WEIGHT)
    for to_read in (None, 2 * (N - kept)):  # to look at them, and for the E-step
        read = []
        assert np.array_equal(ef.accumulate(mixture, rows).sums, expected.sums)
        assert to_read in (None, sum(read))
    part = table(weight=True).slice(45, 355)
    part = part.set_column(1, "a", pa.array(np.float32(2) * X[45:400, 0]))
    pq.write_table(part, tmp_path / "2.parquet", row_group_size=111)
    other = X.copy()
    other[45:400, 0] *= 2
    expected = ef.accumulate(mixture, other, None if weight is None else WEIGHT)
    assert np.array_equal(ef.accumulate(mixture, rows).sums, expected.sums)


class CountedRows(RowSource):
    """Rows that count how often they are read from the beginning."""

    def __init__(self, rows, weight=None):
        self.rows, self.weight, self.n_passes = rows, weight, 0

    def __len__(self):
        return len(self.rows)

    def read(self, first, stop):
        return Chunk(self.rows[first:stop], None if self.weight is None else self.weight[first:stop], first)

    def chunks(self, size):
        self.n_passes += size > 1  # and not for the first row, which says what columns there are
        return super().chunks(size)


FEW_STEPS = {"max_iter": 2, "tol": 0.0, "random_state": 0}
PASSES = {
    "seeds": (ef.ExponentialFamilyMixture(ef.families.Gaussian("diag"), 2, **FEW_STEPS), 0),
    "log h": (ef.ExponentialFamilyMixture(ef.families.Gamma(), 2, **FEW_STEPS), 0),
    "sums in common": (ef.GaussianMixture(2, covariance_type="tied", init_params="k-means++", **FEW_STEPS), 0),
    "the best of some": (ef.GaussianMixture(2, init="mixed", **FEW_STEPS), 0),
    # one hard step is two E-steps; one more gives the estimate from it, and another the first sums from its labels
    "k-means": (ef.GaussianMixture(2, **FEW_STEPS), 4),
    "k-means, diagonal": (ef.GaussianMixture(2, covariance_type="diag", **FEW_STEPS), 4),
}


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("weight", [None, np.arange(6000) % 3.0], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("name", PASSES)
def test_rows_are_read_three_times_before_the_first_step(name, weight, monkeypatch):
    """Once to look at them, and twice to draw some by rank; then once for each E-step."""
    model, of_start = PASSES[name]
    monkeypatch.setattr(starts, "HARD_STEPS", 1)
    monkeypatch.setattr(seeds, "SEEDING_ROWS", 1000)
    monkeypatch.setattr(starts, "SEEDING_ROWS", 1000)
    monkeypatch.setattr(seeds, "SEEDING_ROWS_NUMERIC", 1000)
    monkeypatch.setattr(grid, "FEWEST_ROWS", 512)
    rows = CountedRows(np.random.default_rng(3).gamma(np.repeat([[2.0, 5.0], [9.0, 2.0]], 3000, axis=0)), weight)
    found = clone(model).set_params(**({"guard": False} if "guard" in model.get_params() else {})).fit(rows)
    assert rows.n_passes == 3 + of_start + found.n_iter_ + 1


@pytest.mark.filterwarnings("ignore:Best performing")
def test_rows_that_are_fitted_and_labelled_are_opened_once():
    calls = []

    def called():
        calls.append(None)
        return batches()

    labels = clone(MODELS["product"]).fit_predict(called)
    n_calls, rows = len(calls), ef.rows_from(called)
    assert np.array_equal(labels, clone(MODELS["product"]).fit(rows).predict(rows))
    assert len(calls) == 2 * n_calls


def test_a_summary_opens_a_file_once(tmp_path):
    model, path = ef.GaussianMixture(2, random_state=0).fit(pd.DataFrame(X, columns=NAMES)), in_npy(tmp_path)
    for told in (model.summary, model.icl):
        with pytest.warns(UserWarning, match="X has no names of columns") as warned:
            told(path)
        assert len(warned) == 1


@pytest.mark.filterwarnings("ignore:Best performing")
def test_weights_of_a_frame_beside_it():
    parts = [(pd.DataFrame(X[:99], columns=NAMES), WEIGHT[:99]), (table().slice(99).select(["b", "a"]), WEIGHT[99:])]
    rows = ef.rows_from(lambda: iter(parts))
    assert rows.columns == NAMES
    assert np.array_equal(fitted("gaussian", rows).means_, fitted("gaussian", X, sample_weight=WEIGHT).means_)


def readers():
    """Return the threads that read ahead."""
    at = [frame.f_code for first in sys._current_frames().values() for frame, _ in traceback.walk_stack(first)]
    return [code for code in at if code is threads._Ahead.read.__code__]


def test_an_interruption_while_the_reader_begins_ends_it(monkeypatch):
    closed, begin = [], threads.Task.begin

    def endless():
        try:
            while True:
                yield X
        finally:
            closed.append(True)

    def interrupted(task):
        begin(task)
        while task.claims:  # until the thread has it
            time.sleep(0.001)
        raise KeyboardInterrupt

    rows = ef.rows_from(endless, n_jobs=2)
    closed.clear()
    monkeypatch.setattr(threads.Task, "begin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows.reduce(lambda chunk: 0.0, 1.0)
    assert closed == [True]
    assert not readers()


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_what_fails_closes_what_was_read(n_jobs):
    closed = []

    def endless():
        try:
            while True:
                yield X
        finally:
            closed.append(True)

    rows = ef.rows_from(endless, n_jobs=n_jobs)
    closed.clear()
    with pytest.raises(ZeroDivisionError):
        rows.reduce(lambda chunk: 1 // (chunk.first == 0), 1.0)
    assert closed == [True]
    assert not readers()


def test_steps_say_how_to_take_a_path(tmp_path):
    mixture = ef.GaussianMixture(2, random_state=0).fit(X).mixture_
    for source in (in_npy(tmp_path), batches):
        with pytest.raises(ValueError, match=r"not rows themselves: give expfam_em.rows_from\(X\)"):
            ef.fit(mixture, source)
        assert np.array_equal(ef.fit(mixture, ef.rows_from(source)).mixture.natural, ef.fit(mixture, X).mixture.natural)
    with pytest.raises(ValueError, match="an iterator, which can be read once only"):
        ef.GaussianMixture(2).fit(batches())


def test_a_prediction_needs_a_folder(tmp_path):
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="there is no such folder"):
        model.predict(X, out=tmp_path / "no" / "labels.npy")
    (tmp_path / "labels.npy").mkdir()
    with pytest.raises(ValueError, match="it is a folder"):
        model.predict(batches, out=tmp_path / "labels.npy")


LIMITED = """
import resource, sys, warnings, numpy as np, expfam_em as ef
from pathlib import Path
warnings.simplefilter("ignore")
n, block = 3_000_000, np.random.default_rng(0).normal(size=(100_000, 8)) + np.arange(100_000)[:, None] % 3 * 4
def batches():
    return (block + 1e-3 * i for i in range(n // len(block)))
model = ef.GaussianMixture(3, covariance_type="diag", random_state=0, tol=0, max_iter=1, init_params="k-means++")
model.fit(lambda: iter([block]))
[line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, ((int(line.split()[1]) << 10) + (128 << 20),) * 2)
try:
    np.ones((n, 8))
    sys.exit("the limit is none")
except MemoryError:
    pass
model.fit(batches)
assert model.converged_ is False and len(model.predict(batches)) == n
model.predict_proba(batches, out=sys.argv[1])
assert np.load(sys.argv[1], mmap_mode="r").shape == (n, 3)
"""


def test_a_fit_needs_little_memory_however_many_rows_there_are(tmp_path):
    run = [sys.executable, "-c", LIMITED, str(tmp_path / "out.npy")]
    environ = os.environ | {"MALLOC_ARENA_MAX": "1"}  # an arena that a thread reserves by chance counts as memory
    done = subprocess.run(run, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_missing_values_of_a_source_are_no_statistics():
    gap = X.copy()
    gap[7, 1] = np.nan
    mixture = ef.GaussianMixture(2, random_state=0).fit(X).mixture_
    with pytest.raises(ValueError, match=r"the bound is not a number: .* missing \(NaN\) and not in memory"):
        ef.accumulate(mixture, ef.rows_from(lambda: iter([gap])))


def test_memory_of_a_chunk_is_free_only_when_nobody_holds_a_view():
    rooms = Rooms()
    first = rooms.empty((4, 3), np.dtype("f4"))
    first[:] = 7
    address, held = first.ctypes.data, np.lib.stride_tricks.as_strided(first[:, :2].T[1:], (1, 2))
    del first
    other = rooms.empty((4, 3), np.dtype("f4"))
    other[:] = 1
    assert other.ctypes.data != address
    assert (held == 7).all()
    del held
    assert rooms.empty((4, 3), np.dtype("f4")).ctypes.data == address
    assert rooms.empty((5, 3), np.dtype("f8")).shape == (5, 3)
