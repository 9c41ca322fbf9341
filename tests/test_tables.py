"""Files of rows that the command line reads, and what it says of bad ones."""

import bz2
import gzip
import lzma
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from expfam_em import rows_from
from expfam_em.cli import files, tables


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def write(name, text):
    Path(name).write_text(text, encoding="utf-8")


def open_table(path, **options):
    return tables.open_table(files.open_file(path), **options)


def columns(table, names, missing=False):
    return table.in_memory(table.rows(names, None, missing), names, missing)[0]


def read(name, names=None, missing=False, **options):
    table = open_table(Path(name), **options)
    return columns(table, names or table.names, missing)


def fails(name, names=None, kind=ValueError, **options):
    with pytest.raises(kind) as caught:
        read(name, names, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "names", "expected"),
    [
        ("a,b\n1,2\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("1,2.5\n3,4\n", ["1", "2"], [[1, 2.5], [3, 4]]),
        ("1,2.5\n3,4", ["1", "2"], [[1, 2.5], [3, 4]]),
        ("# a,b\n1,2\n", ["a", "b"], [[1, 2]]),
        ("\n a , b \r\n\r\n 1 , -2e3 \r\n", ["a", "b"], [[1, -2000]]),
        ('"a, b";c\n"1";2\n', ["a, b", "c"], [[1, 2]]),
        ("a\tb\n1\t2\n", ["a", "b"], [[1, 2]]),
        ("\ufeffa,b\n1,2\n", ["a", "b"], [[1, 2]]),
        ("a,,b\n1,2,3\n", ["a", "2", "b"], [[1, 2, 3]]),
        ("a|b\n1|2\n", ["a", "b"], [[1, 2]]),
        ("# made by hand, once\n#\na b\n1 2\n", ["a", "b"], [[1, 2]]),
        ("   a    b\n 1.5   -2\n\t3\t 4 \n", ["a", "b"], [[1.5, -2], [3, 4]]),
        ("a\tb c\n1\t2\n", ["a", "b c"], [[1, 2]]),
        ("a, b\n1, 2\n", ["a", "b"], [[1, 2]]),
        ("a,b\r1,2\r3,4\r", ["a", "b"], [[1, 2], [3, 4]]),
        ('"a\nx",b\n1,2\n', ["a\nx", "b"], [[1, 2]]),
        ("x\n1\n\n2\n", ["x"], [[1], [2]]),
        ("a\n1\n١\n", ["a"], [[1], [1]]),  # Python alone reads these digits
    ],
)
def test_csv(text, names, expected):
    write("good.csv", text)
    assert open_table(Path("good.csv")).names == names
    assert read("good.csv").tolist() == expected


def test_a_line_longer_than_what_is_read_at_once():
    write("long.csv", ",".join(["0." + "1" * 40] * 30_000) + "\n")
    assert read("long.csv").shape == (1, 30_000)


@pytest.mark.parametrize(
    ("coding", "name"), [("utf-8", "a.csv"), ("utf-8-sig", "a.txt"), ("utf-16", "a.csv"), ("utf-32", "a.csv")]
)
def test_codings(coding, name):
    Path(name).write_bytes("é,b\n1,2\n".encode(coding))
    assert open_table(Path(name)).names == ["é", "b"]
    assert read(name).tolist() == [[1, 2]]


def test_latin_1_is_said():
    Path("a.csv").write_bytes("é,b\n1,2\n".encode("latin-1"))
    with pytest.warns(UserWarning, match="a.csv is not in UTF-8; the names of columns, and labels, are read as"):
        assert open_table(Path("a.csv")).names == ["é", "b"]


@pytest.mark.parametrize("package", [gzip, bz2, lzma])
def test_packed_files(package):
    name = "a.csv" + {gzip: ".gz", bz2: ".bz2", lzma: ".xz"}[package]
    with package.open(name, "wt") as file:
        file.write("a,b\n1,2\n")
    assert read(name).tolist() == [[1, 2]]
    Path("bad.csv.gz").write_bytes(b"no")
    assert "bad.csv.gz cannot be unpacked" in fails("bad.csv.gz")


@pytest.mark.parametrize("package", [gzip, bz2, lzma])
@pytest.mark.parametrize("at", [10, 1000])  # where the first block begins in a .gz, and in the middle of the data
def test_packed_files_that_are_damaged(package, at):
    name = "bad.csv" + {gzip: ".gz", bz2: ".bz2", lzma: ".xz"}[package]
    whole = package.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(1000)))
    for damaged in (whole[:at], whole[:at] + b"\xff\xff" + whole[at + 2 :]):
        Path(name).write_bytes(damaged)
        assert f"{name} cannot be unpacked" in fails(name)


# ---- decimal marks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1,5;2\n-3,25e1;4\n",
        "a\tb\n1,5\t2\n-3,25e1\t4\n",
        "a b\n1,5   2\n-3,25e1 4\n",
        'a,b\n"1,5",2\n"-3,25e1",4\n',
        'n;a;b\n"x, y";1,5;2\n"z";-3,25e1;4\n',
        "a;b\n" + "1;2\n" * 100 + "1,5;2\n-3,25e1;4\n",
    ],
)
def test_decimal_commas_are_said(text):
    write("good.csv", text)
    with pytest.warns(UserWarning, match=r"good.csv: commas are read as decimal marks"):
        assert read("good.csv", ["a", "b"])[-2:].tolist() == [[1.5, 2], [-32.5, 4]]


def test_what_cannot_be_told_is_refused():
    write("bad.csv", "x\n1,5\n2,5\n")
    assert "cannot tell whether commas separate cells or are decimal marks; give --separator ','" in fails("bad.csv")
    with pytest.warns(UserWarning, match="decimal marks"):
        assert columns(open_table(Path("bad.csv"), separator=";"), ["x"]).tolist() == [[1.5], [2.5]]
    assert columns(open_table(Path("bad.csv"), separator=","), ["x"]).tolist() == [[5], [5]]
    for text in ('a,b\n"1,234",2\n', "a;b\n1,234;2\n12,345;6\n"):
        write("bad.csv", text)
        assert "cannot tell whether commas are decimal marks or group digits" in fails("bad.csv")
    assert "the separator is 'xy'; it must be one character" in fails("bad.csv", separator="xy")
    np.save("bad.npy", np.ones((2, 2)))
    assert "leave out --separator and --header" in fails("bad.npy", separator=",")


# ---- headers and row names ----------------------------------------------------------------------------------


FRAME = pd.DataFrame({"a": np.linspace(-1, 1, 12), "b": np.linspace(3, 2, 12) ** 2})


@pytest.mark.parametrize(
    ("text", "row_names"),
    [
        (FRAME.to_csv(), ["row_names"]),
        (FRAME.sample(frac=1, random_state=0).to_csv(sep="\t"), ["row_names"]),
        (FRAME.set_index([FRAME.index, FRAME.index]).to_csv(), ["row_names", "row_names_2"]),
        (FRAME.rename_axis("Unnamed: 0").to_csv(), ["Unnamed: 0"]),
        (FRAME.rename_axis("__index_level_0__").to_csv(), ["__index_level_0__"]),
        ('"","a","b"\n"1",2.5,3\n"2",3,4\n', ["row_names"]),  # R's write.csv
        ('"a" "b"\n"1" 2.5 3\n"2" 3 4\n', ["row_names"]),  # R's write.table
        ('"a","b"\n"Mazda RX4",2.5,3\n"Fiat",3,4\n', ["row_names"]),
        ("#,a,b\n1,2.5,3\n2,3,4\n", ["row_names"]),
    ],
)
def test_row_names_are_no_data(text, row_names):
    write("good.csv", text)
    table = open_table(Path("good.csv"))
    assert (table.row_names, table.data_names) == (row_names, ["a", "b"])
    assert columns(table, ["a", "b"]).shape == (len(text.splitlines()) - 1, 2)


def test_row_names_of_parquet():
    for frame in (
        FRAME[::-1].sample(frac=1, random_state=0),
        FRAME.set_index(pd.Index(list("abcdefghijkl"), name="k")),
    ):
        frame.to_parquet("good.parquet")
        table = open_table(Path("good.parquet"))
        assert table.row_names == [frame.index.name or "__index_level_0__"]
        np.testing.assert_array_equal(columns(table, table.data_names), frame)


def test_a_table_of_row_names_alone_is_data():
    write("good.csv", "Unnamed: 0\n1\n")
    assert open_table(Path("good.csv")).data_names == ["Unnamed: 0"]


def test_headers_that_count_the_columns():
    write("good.csv", pd.DataFrame(FRAME.to_numpy()).to_csv())
    assert open_table(Path("good.csv")).data_names == ["0", "1"]
    write("good.csv", pd.DataFrame(FRAME.to_numpy()).to_csv(index=False))
    with pytest.warns(UserWarning, match="read as the names of the columns; else give --no-header"):
        assert read("good.csv").shape == (12, 2)
    assert read("good.csv", header=False).shape == (13, 2)
    write("good.csv", "0,1\n1,1.0\n")
    with pytest.warns(UserWarning, match="read as a row; else give --header"):
        assert read("good.csv").tolist() == [[0, 1], [1, 1]]
    assert read("good.csv", header=True).tolist() == [[1, 1]]


def test_columns_that_count_the_rows(monkeypatch):
    X = np.column_stack([np.arange(12.0), np.arange(1, 13), np.arange(12.0)[::-1], np.arange(2, 14), np.arange(12) * 2])

    def counting(X):
        return tables.counting_columns(rows_from(X))

    assert counting(X) == [0, 1]
    assert counting(X[:9]) == []
    assert counting(X.astype(np.uint8)) == [0, 1]
    X[5, 0] = 0
    assert counting(X) == [1]
    monkeypatch.setattr(tables, "READ_ROWS", 5)
    assert counting(X) == [1]
    X[7, 1] = 0
    assert counting(X) == []


# ---- cells --------------------------------------------------------------------------------------------------


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
        ("a,b\n1,2\n3,abc\n", "bad.csv, line 3: row 2, column 'b' holds 'abc', which is not a number"),
        ("1,2\n3,x y\n", "bad.csv, line 2: row 2, column '2' holds 'x y', which is not a number"),
        (
            "1,abc\n3,4\n",
            "bad.csv, line 1: row 1, column '2' holds 'abc', which is not a number; change it, or leave the "
            "column out with --columns; give --header if these are names",
        ),
        ("a,b\n1,2\n,4\n", "bad.csv, line 3: row 2, column 'a' is missing"),
        ("a,b\n1,2\n1,NaN\n", "bad.csv, line 3: row 2, column 'b' ('NaN') is missing"),
        ("a\tb\n1\t2\n1\t\n", "bad.csv, line 3: row 2, column 'b' is missing"),
        ("a b\n1 2\n1 .\n", "bad.csv, line 3: row 2, column 'b' ('.') is missing"),
        ("a,b\n1,2\n1,#N/A\n", "bad.csv, line 3: row 2, column 'b' ('#N/A') is missing; remove such rows"),
        (
            "a,b\n1,2\n-inf,2\n",
            "bad.csv, line 3: row 2, column 'a' holds '-inf', which is not finite; remove such rows",
        ),
        ("a,b\n1,2\n1,1e400\n", "bad.csv, line 3: row 2, column 'b' holds '1e400', which is not finite"),
        ("a,b\n1,True\n2,3\n", "bad.csv, line 3: row 2, column 'b' holds '3', which is not a number"),
        ("a,b\n" + "1,2\n" * 60 + "1,True\n", "line 62: row 61, column 'b' holds 'True', which is not a number"),
        ("a,b\n1,2020-01-31\n", "bad.csv, line 2: row 1, column 'b' holds '2020-01-31', which is not a number"),
        ('a,n\n"1\n2",3\n', r"bad.csv, line 2: row 1, column 'a' holds '1\n2', which is not a number"),
        ('"a\nx",b\n1,2\n\n3,z\n', "bad.csv, line 5: row 2, column 'b' holds 'z'"),
        ("a,b\n1,2\n3\n", "bad.csv, line 3: row 2 has 1 cells; the first line has 2"),
        ("a,b\n1,2\n3,4,5\n", "bad.csv, line 3: row 2 has 3 cells; the first line has 2"),
        ("1,2\n3,4,5\n6,7,8\n", "bad.csv, line 2: row 2 has 3 cells; the first line has 2"),
        ("x,y\n1.5,2,3\n2.5,4,5\n", "bad.csv, line 2: row 1 has 3 cells; the first line has 2"),
        ("\n\n# a,b\n\n1,2\n\n3,4,5\n", "bad.csv, line 7: row 2 has 3 cells; the first line has 2"),
        (
            "a,b\n" + "1.0000000000,2\n" * 100_000 + "3\n",
            "bad.csv, line 100002: row 100001 has 1 cells; the first line has 2",
        ),
        ("a,b\n" + "1.0000000000,2\n" * 100_000 + "3,x\n", "bad.csv, line 100002: row 100001, column 'b' holds 'x'"),
        ("a;b\n1,5;2.5\n", "bad.csv, line 2: row 1: the file mixes decimal marks, '2.5' and '1,5'"),
        ("a;b\n1.234,5;2,5\n", "bad.csv, line 2: row 1, column 'a' holds '1.234,5', which is not a number"),
        ("a,b\n1_0,2\n", "holds '1_0'"),
        ("a,b\n1," + "z" * 200_000 + "\n", "z" * 40 + "…"),
        ("a,b\n1,2\x00\n", "bad.csv is no text: it has zero bytes"),
        ("a,b\n" + "1,2\n" * 20_000 + "1,2\x00\n", "bad.csv, line 20002: row 20001, column 'b' holds '2\\x00'"),
        ('a,n\n1,"x\n2,y\n', "bad.csv, below line 1: a quote is not closed, or text follows it"),
        ('n,a\n"x,1\ny,2\n"z,3\n', "bad.csv, below line 1: a quote is not closed, or text follows it"),
        ("a,b\n", "bad.csv has no rows below its header"),
        ("# a,b", "bad.csv has no rows below its header"),
        ("", "bad.csv is empty"),
        ("\ufeff", "bad.csv is empty"),
        ("\n \n", "bad.csv is empty"),
    ],
)
def test_bad_cells(text, message):
    write("bad.csv", text)
    assert message in fails("bad.csv")


def test_bytes_that_are_no_text():
    Path("bad.csv").write_bytes(b"a,b\n1,2\n3,\xff\xfe\n")
    with pytest.warns(UserWarning, match="not in UTF-8"):
        assert "line 3: row 2, column 'b' holds 'ÿþ'" in fails("bad.csv")
    Path("bad.csv").write_bytes(b"\xff\xfea\x00\x00\xd8b\x00")
    assert "bad.csv is no text: it begins as utf-16, but" in fails("bad.csv")
    Path("bad.csv").write_bytes("a,b\n1,2\n".encode("utf-16-le"))
    assert "bad.csv is no text: it has zero bytes; give text in UTF-8, .npy or .parquet" in fails("bad.csv")


def test_bad_arrays():
    np.save("bad.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    assert "bad.npy: row 2, column '2' is missing" in fails("bad.npy")
    np.save("bad.npy", np.array([[1.0, 2.0], [3.0, -np.inf]]))
    assert "bad.npy: row 2, column '2' holds '-inf', which is not finite" in fails("bad.npy")
    np.save("bad.npy", np.zeros((0, 2)))
    assert fails("bad.npy") == "bad.npy has no rows"
    np.save("bad.npy", np.array([{}], object), allow_pickle=True)
    assert "bad.npy is not a NumPy file of numbers: " in fails("bad.npy")
    np.save("bad.npy", np.zeros((2, 2, 2)))
    assert "does not hold a table of numbers" in fails("bad.npy")
    for text in ("", "text", "x" * 1000):
        write("bad.npy", text)
        assert "bad.npy is not a NumPy file of numbers" in fails("bad.npy")


def test_bad_parquet():
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"a": [1.0, None], "b": ["x", "y"], "c": [1, 2], "d": [True, False]}), "bad.parquet")
    assert "bad.parquet: row 2, column 'a' is missing" in fails("bad.parquet", ["a", "c"])
    assert "row 1, column 'b' holds 'x', which is not a number" in fails("bad.parquet", ["b"])
    assert read("bad.parquet", ["c", "d"]).tolist() == [[1, 1], [2, 0]]
    parquet.write_table(pa.table({"a": pa.array([], pa.string()), "b": pa.array([], pa.float64())}), "bad.parquet")
    for names in (["a", "b"], ["a"], ["b"]):
        assert fails("bad.parquet", names) == "bad.parquet has no rows below its header"
    late = pa.table({"a": pa.array([1.0] * 100_000 + [None])})
    parquet.write_table(late, "bad.parquet", row_group_size=30_000)
    assert "bad.parquet: row 100001, column 'a' is missing" in fails("bad.parquet")
    for text in ("", "text"):
        write("bad.parquet", text)
        assert "bad.parquet is not a Parquet file" in fails("bad.parquet")


@pytest.mark.parametrize("name", ["data.parquet", "data.csv"])
def test_without_pyarrow(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    write(name, "a\n1\n")
    assert 'pip install "expfam_em[cli]"' in fails(name, kind=ImportError)


def test_many_columns():
    X = np.random.default_rng(0).normal(size=(5, 3000)).round(3)
    frame = pd.DataFrame(X).add_prefix("x")
    frame.to_csv("wide.csv", index=False)
    frame.to_parquet("wide.parquet")
    np.testing.assert_array_equal(read("wide.csv"), X)
    np.testing.assert_array_equal(read("wide.parquet"), X)
    np.testing.assert_array_equal(read("wide.parquet", ["x7", "x2"]), X[:, [7, 2]])
    assert fails("wide.csv", ["y"]).endswith("x18, x19, … (3000)")


def test_two_columns_of_one_name():
    write("twice.csv", "a,a,b\n1,2,3\n4,5,6\n")
    assert "names must differ, but several columns are named 'a'; the columns are a, a, b" in fails("twice.csv")
    assert read("twice.csv", ["b"]).tolist() == [[3], [6]]
