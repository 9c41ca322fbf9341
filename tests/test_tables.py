"""Files of rows that the command line reads, and what it says of bad ones."""

import sys
from pathlib import Path

import numpy as np
import pytest

from expfam_em.cli.tables import open_table


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).write_text(text, encoding="utf-8")


def read(name, names=None):
    table = open_table(Path(name))
    return table.columns(names or table.names)


def fails(name, names=None, kind=ValueError):
    with pytest.raises(kind) as caught:
        read(name, names)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("1,2\n3,4\n", ["1", "2"], [[1, 2], [3, 4]]),
        ("1,2\n3,4", ["1", "2"], [[1, 2], [3, 4]]),
        ("# a,b\n1,2\n", ["a", "b"], [[1, 2]]),
        ("\n a , b \r\n\r\n 1 , -2e3 \r\n", ["a", "b"], [[1, -2000]]),
        ('"a, b";c\n"1";2\n', ["a, b", "c"], [[1, 2]]),
        ("a\tb\n1\t2\n", ["a", "b"], [[1, 2]]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [[1, 2]]),
        (",b\n1,2\n", ["1", "b"], [[1, 2]]),
        ("x\n1\n\n2\n", ["x"], [[1], [2]]),
        ("a,b\n1,inf\n", ["a", "b"], [[1, float("inf")]]),
        ("a\n1\n١\n", ["a"], [[1], [1]]),  # Python alone reads these digits
        ("a,b", ["a", "b"], []),
    ],
)
def test_csv(text, names, expected):
    write("good.csv", text)
    assert open_table(Path("good.csv")).names == names
    assert read("good.csv").tolist() == expected


def test_a_line_longer_than_what_is_read_at_once():
    write("long.csv", ",".join(["0." + "1" * 40] * 30_000) + "\n")
    assert read("long.csv").shape == (1, 30_000)


def test_a_header_alone_has_no_rows():
    write("good.csv", "a,b\n")
    assert read("good.csv").shape == (0, 2)


def test_columns_are_chosen_in_order_and_text_is_left_out():
    write("good.csv", "a,note,b\n1,x,2\n3,,4\n")
    assert read("good.csv", ["b", "a"]).tolist() == [[2, 1], [4, 3]]
    assert "column 'note' holds 'x'" in fails("good.csv")
    assert "no column is named 'c'; the columns are a, note, b" in fails("good.csv", ["c"])


def test_numbers_are_read_exactly():
    values = np.random.default_rng(0).normal(size=(50, 2))
    write("fast.csv", "".join(f"{a!r},{b!r}\n" for a, b in values.tolist()))
    write("slow.csv", "".join(f"{a!r},{b!r},text\n" for a, b in values.tolist()))
    np.testing.assert_array_equal(read("fast.csv"), values)
    np.testing.assert_array_equal(read("slow.csv", ["1", "2"]), values)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, bool])
def test_arrays(dtype):
    X = np.array([[0, 1], [1, 1]], dtype)
    np.save("good.npy", X)
    assert read("good.npy").dtype == dtype
    np.testing.assert_array_equal(read("good.npy", ["2"]), X[:, 1:])
    np.save("good.npy", X[:, 1])
    np.testing.assert_array_equal(read("good.npy"), X[:, 1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,abc\n", "bad.csv: row 2, column 'b' holds 'abc', which is not a number"),
        ("1,2\n3,x y\n", "bad.csv: row 2, column '2' holds 'x y', which is not a number"),
        ("1,abc\n3,4\n", "bad.csv: row 1, column '2' holds 'abc'"),
        ("a,b\n1,2\n,4\n", "bad.csv: row 2, column 'a' is missing"),
        ("a,b\n1,2\n1,NaN\n", "bad.csv: row 2, column 'b' ('NaN') is missing"),
        ("a,b\n1,2\n1,NA\n", "bad.csv: row 2, column 'b' ('NA') is missing"),
        ("a,b\n1,2\n3\n", "bad.csv: row 2 has 1 cells; the first line has 2"),
        ("a,b\n1,2\n3,4,5\n", "bad.csv: row 2 has 3 cells; the first line has 2"),
        ("\n\n# a,b\n\n1,2\n\n3,4,5\n", "bad.csv: row 2 has 3 cells; the first line has 2"),
        ("a,b\n" + "1,2\n" * 400_000 + "3\n", "bad.csv: row 400001 has 1 cells; the first line has 2"),
        ("a,b\n" + "1,2\n" * 400_000 + "3,x\n", "bad.csv: row 400001, column 'b' holds 'x'"),
        ("a,b\n1_0,2\n", "holds '1_0'"),
        ("a,b\n1," + "z" * 100 + "\n", "z" * 40 + "…"),
        ("", "bad.csv is empty"),
        ("\n\n", "bad.csv is empty"),
    ],
)
def test_bad_cells(text, message):
    write("bad.csv", text)
    assert message in fails("bad.csv")


def test_bytes_that_are_no_text():
    with open("bad.csv", "wb") as file:
        file.write(b"a,b\n1,2\n3,\xff\xfe\n")
    assert "row 2, column 'b' holds" in fails("bad.csv")


def test_bad_arrays():
    np.save("bad.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert "bad.npy: row 2, column '2' is missing" in fails("bad.npy")
    np.save("bad.npy", np.array([{}], object), allow_pickle=True)
    assert "bad.npy is not a NumPy file of numbers: Object arrays cannot be loaded" in fails("bad.npy")
    np.save("bad.npy", np.zeros((2, 2, 2)))
    assert "does not hold a table of numbers" in fails("bad.npy")
    for text in ("", "text", "x" * 1000):
        write("bad.npy", text)
        assert "bad.npy is not a NumPy file of numbers" in fails("bad.npy")


def test_bad_parquet():
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"a": [1.0, None], "b": ["x", "y"], "c": [1, 2], "d": [True, False]}), "bad.parquet")
    assert "bad.parquet: row 2, column 'a' is missing" in fails("bad.parquet")
    assert "row 1, column 'b' holds 'x', which is not a number" in fails("bad.parquet", ["b"])
    assert read("bad.parquet", ["c", "d"]).tolist() == [[1, 1], [2, 0]]
    for text in ("", "text"):
        write("bad.parquet", text)
        assert "bad.parquet is not a Parquet file" in fails("bad.parquet")


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_without_pyarrow(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(name, "a\n1\n")
    assert 'pip install "expfam_em[cli]"' in fails(name, kind=ImportError)


def test_two_columns_of_one_name():
    write("twice.csv", "a,a,b\n1,2,3\n4,5,6\n")
    assert "several columns are named 'a'" in fails("twice.csv")
    assert read("twice.csv", ["b"]).tolist() == [[3], [6]]
