"""The command line: what it prints, writes, refuses, and which exit code it ends with."""

import ast
import contextlib
import gc
import gzip
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("typer")

import expfam_em as ef
from expfam_em import progress
from expfam_em.cli import app, commands, report, tables
from tests import all_families

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (60, 2)), RNG.normal(8, 1, (40, 2))])
FRAME = pd.DataFrame(X, columns=["a", "b"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, on a terminal 100 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.fixture
def csv():
    np.savetxt("data.csv", X, delimiter=",", header="a,b", comments="")
    return "data.csv"


class Result(NamedTuple):
    """How a command has ended, and what it has written."""

    exit_code: int
    raw: bytes
    stderr: str

    @property
    def stdout(self):
        return self.raw.decode()


class Written(io.TextIOWrapper):
    """A standard output or standard error."""

    looked_at = False

    def __init__(self):
        super().__init__(io.BytesIO(), "utf-8", newline="", write_through=True)

    def isatty(self):
        return self.looked_at


def run(*arguments, stdin=b""):
    out, err = Written(), Written()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["expfam-em", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        with pytest.raises(SystemExit) as ended:
            app.main()
    return Result(ended.value.code, out.buffer.getvalue(), err.buffer.getvalue().decode())


def succeeds(*arguments, stdin=b"") -> str:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def fails(*arguments) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)
    return name


# ---- fit ----------------------------------------------------------------------------------------------------


def test_fit_prints_saves_and_draws(csv):
    pytest.importorskip("matplotlib")
    out = succeeds("fit", csv, "--family", "gaussian", "-k", 2, "--seed", 0, "--output", "m.efm", "--plot", "out.png")
    model = ef.load("m.efm")
    expected = ef.GaussianMixture(2, random_state=0).fit(X)
    np.testing.assert_array_equal(model.means_, expected.means_)
    for name in ("component", "weight", "means", "covariances", "log-likelihood", "iterations", "status"):
        assert name in out
    assert f"{expected.score(X):.6f} per row, {expected.score(X) * 100:.8g} in all" in out
    for name in ("aic", "bic", "icl"):
        assert f"{name.upper()}  " in out
        assert f"{getattr(expected, name)(X):.8g}" in out
    assert "0.6000" in out
    assert "0.4000" in out
    assert f"{expected.means_[0, 0]:.4g}" in out
    with open("out.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_fit_reads_all_formats_alike(csv):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    np.save("data.npy", X)
    parquet.write_table(pa.table({"a": X[:, 0], "b": X[:, 1]}), "data.parquet")
    np.savetxt("bare.csv", X, delimiter=",")
    np.savetxt("semicolon.csv", X, delimiter=";", header="a;b")
    np.savetxt("tab.tsv", X, delimiter="\t", header="a\tb", comments="")
    write("mark.csv", "\ufeff" + '"a","b"\r\n' + "".join(f'"{a!r}",{b!r}\r\n' for a, b in X.tolist()))
    expected = ef.GaussianMixture(2, random_state=0).fit(X).means_
    for name in (csv, "data.npy", "data.parquet", "bare.csv", "semicolon.csv", "tab.tsv", "mark.csv"):
        succeeds("fit", name, "-k", 2, "--seed", 0, "-o", "m.efm")
        np.testing.assert_array_equal(ef.load("m.efm").means_, expected)


def test_fit_passes_its_options_on(csv):
    succeeds(
        "fit", csv, "-k", 3, "--covariance-type", "diag", "--tol", 0.01, "--max-iter", 7, "--n-init", 2, "--seed", 5,
        "--temperature", 1.5, "--init", "random_from_data", "-o", "m.efm", "--quiet",
    )  # fmt: skip
    model = ef.load("m.efm")
    expected = {
        "n_components": 3, "covariance_type": "diag", "tol": 0.01, "max_iter": 7, "n_init": 2, "random_state": 5,
        "temperature": 1.5, "init": "random_from_data",
    }  # fmt: skip
    assert {name: model.get_params()[name] for name in expected} == expected


def test_weights_that_count_no_rows_are_said_once(csv):
    np.save("data.npy", np.column_stack([X, np.full(len(X), 1 / len(X))]))
    result = run("fit", "data.npy", "-k", 2, "--seed", 0, "--weights-column", 3)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: sample_weight does not say how often rows occur: the weights of 100 rows")
    assert result.stderr.count("warning") == 1


def test_weights_column_and_columns():
    weight = RNG.integers(0, 3, len(X)).astype(float)
    names = np.full((len(X), 1), "text")
    rows = np.column_stack([X, weight.astype(str), names])
    np.savetxt("data.csv", rows, delimiter=",", header="a,b,w,note", comments="", fmt="%s")
    succeeds("fit", "data.csv", "-k", 2, "--seed", 0, "--weights-column", "w", "--columns", "b,a", "-o", "m.efm")
    expected = ef.GaussianMixture(2, random_state=0).fit(X[:, ::-1], sample_weight=weight)
    np.testing.assert_allclose(ef.load("m.efm").means_, expected.means_)
    np.save("data.npy", np.column_stack([X, weight]))
    out = succeeds("fit", "data.npy", "-k", 2, "--seed", 0, "--weights-column", 3, "-o", "n.efm")
    expected = ef.GaussianMixture(2, random_state=0).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(ef.load("n.efm").means_, expected.means_)
    assert f"{expected.bic(X, weight):.8g}" in out
    # predict takes the columns of the fit out of a file that has more
    assert succeeds("predict", "n.efm", "data.npy") == succeeds("predict", "m.efm", "data.csv").translate(
        {} if (ef.load("m.efm").means_[0, 0] < 4) == (expected.means_[0, 0] < 4) else {48: "1", 49: "0"}
    )


def test_row_numbers_are_left_out_and_said(csv):
    frame = pd.DataFrame(X, columns=["a", "b"])
    expected = ef.GaussianMixture(2, random_state=0).fit(X).means_
    frame.to_csv("pandas.csv")
    frame.to_csv("bare.csv", header=False)
    frame.sort_values("a").to_parquet("index.parquet")
    frame.set_axis(range(1, len(X) + 1)).to_csv("r.txt", sep=" ", index_label=False)  # as R's write.table
    np.save("bare.npy", np.column_stack([np.arange(len(X)), X]))
    left_out = {
        "pandas.csv": "row_names", "bare.csv": "1", "index.parquet": "__index_level_0__", "r.txt": "row_names",
        "bare.npy": "1",
    }  # fmt: skip
    for name, column in left_out.items():
        result = run("fit", name, "-k", 2, "--seed", 0, "-o", "m.efm")
        assert result.exit_code == 0
        assert result.stderr.startswith(f"warning: {name}: column {column!r} ")
        assert result.stderr.endswith("is left out; --keep-row-names keeps it\n")
        np.testing.assert_allclose(np.sort(ef.load("m.efm").means_, axis=0), np.sort(expected, axis=0))
        assert len(succeeds("predict", "m.efm", name).splitlines()) == len(X) + 1
        assert succeeds("fit", name, "-k", 2, "--keep-row-names", "-o", "k.efm").count("means") == 1
        assert ef.load("k.efm").means_.shape == (2, 3)
        assert succeeds("predict", "k.efm", name)
    assert run("fit", "pandas.csv", "--columns", "row_names,a", "-o", "m.efm").stderr == ""
    assert ef.load("m.efm").means_.shape == (1, 2)


def test_columns_that_count_are_said():
    pd.DataFrame(X, columns=["a", "b"]).rename_axis("id").to_csv("id.csv")
    said = run("fit", "id.csv").stderr
    assert said == "warning: id.csv: column 'id' counts the rows, but is used; --columns can leave it out\n"
    assert run("fit", "id.csv", "--columns", "id,a").stderr == ""
    assert run("fit", "id.csv", "--quiet")[1:] == (b"", "")
    # a model of the first two columns, and a file that has row numbers there
    np.save("two.npy", X)
    succeeds("fit", "two.npy", "-o", "m.efm")
    np.save("three.npy", np.column_stack([np.arange(len(X)), X]))
    assert "column '1' counts the rows" in run("predict", "m.efm", "three.npy").stderr


def test_separator_header_and_quoted_columns():
    write("data.txt", '"a, b"$c\n' + "".join(f"{a}${b}\n" for a, b in X.tolist()))
    options = "--separator", "$", "-o", "m.efm"
    succeeds("fit", "data.txt", *options)
    assert len(succeeds("predict", "m.efm", "data.txt", "--separator", "$").splitlines()) == len(X) + 1
    succeeds("fit", "data.txt", *options, "--columns", 'c,"a, b"')
    np.testing.assert_allclose(ef.load("m.efm").means_, [X[:, ::-1].mean(axis=0)])
    assert "line 1: row 1, column '1' holds 'a, b'" in fails("fit", "data.txt", *options, "--no-header")


def test_other_families():
    np.savetxt("counts.csv", np.concatenate([RNG.poisson(2, 50), RNG.poisson(20, 50)]), fmt="%d")
    assert "rates" in succeeds("fit", "counts.csv", "-f", "poisson", "-k", 2, "-o", "p.efm")
    assert isinstance(ef.load("p.efm"), ef.ExponentialFamilyMixture)
    np.save("binary.npy", RNG.random((50, 9)) < 0.5)
    out = succeeds("fit", "binary.npy", "--family", "bernoulli", "-k", 2, "-o", "b.efm", "--seed", 1)
    assert "probabilities" in out
    assert "\n  9 " in out
    assert isinstance(ef.load("b.efm"), ef.BernoulliMixture)


def test_kmeans(csv):
    pytest.importorskip("matplotlib")
    out = succeeds("fit", csv, "-f", "kmeans", "-k", 2, "--seed", 0, "-o", "k.efm", "--plot", "k.svg")
    model = ef.load("k.efm")
    assert isinstance(model, ef.KMeans)
    assert f"{model.inertia_:.8g}" in out
    assert "covariances" not in out
    assert "0.6000" in out
    assert "k-means model, which has labels only" in fails("predict", "k.efm", csv, "--proba")
    assert "has no option --temperature" in fails("fit", csv, "-f", "kmeans", "--temperature", 1)


def test_tied_covariances_are_shown_once(csv):
    out = succeeds("fit", csv, "-k", 2, "--covariance-type", "tied")
    assert out.count("covariances") == 1
    assert "covariances, all components" in out


def test_quiet_prints_nothing(csv):
    result = run("fit", csv, "-k", 2, "--quiet", "--max-iter", 1, "--tol", 0)
    assert result == (0, b"", "")


def test_a_fit_that_did_not_converge_says_so(csv):
    result = run("fit", csv, "-k", 2, "--max-iter", 1, "--tol", 0)
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")
    assert "max_iter steps were made" in result.stdout


def test_a_registered_family_can_be_fitted(csv, monkeypatch):
    class WaveHeights(ef.ExponentialFamily):
        """Heights [bold]of waves[/bold]: T(x) = x². More."""

        def sufficient_statistics(self, X):
            return X**2

        def log_partition(self, natural):
            return -0.5 * np.log(-natural).sum(axis=1)

        def to_natural(self, expectation):
            return -0.5 / expectation

    ef.register(WaveHeights)
    out = succeeds("families")
    assert "\nwave-heights       Heights [bold]of waves[/bold]\n" in out
    for name in ("wave-heights", "WaveHeights"):
        assert "expectation" in succeeds("fit", csv, "-f", name, "-k", 2)


@pytest.mark.parametrize(("patience", "shown"), [(60.0, False), (0.0, True)])
def test_a_terminal_shows_a_bar_of_a_fit_that_takes_long_and_nothing_of_it_stays(patience, shown, monkeypatch, csv):
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_BAR", patience)
    monkeypatch.setattr(Written, "looked_at", True)
    done = run("fit", csv, "-k", 2, "--seed", 0)
    assert ("starting" in done.stderr) == shown
    if shown:
        assert done.stderr.split("\r")[-2].strip() == ""  # erased


@pytest.mark.parametrize(("family", "said"), [("gaussian", True), ("bernoulli", True), ("kmeans", False)])
def test_the_cost_of_a_fit_to_a_large_file_is_said_before_it(family, said, monkeypatch):
    monkeypatch.setattr(commands, "LARGE_ENTRIES", 200)
    np.savetxt("bits.csv", RNG.integers(2, size=(100, 2)), delimiter=",", header="a,b", comments="")
    line = r"100 rows of 2 columns: about [\d.]+ \S+ a step, [\d.]+ \S+ for \d+ steps, [\d.]+ \S+ beyond the data\n"
    fit = "fit", "bits.csv", "-f", family, "-k", 2, "--seed", 0
    assert bool(re.match(line, run(*fit).stderr)) == said
    assert not re.search("a step", run(*fit, "--quiet").stderr)
    monkeypatch.setattr(commands, "LARGE_ENTRIES", 201)
    assert not re.search("a step", run(*fit).stderr)


def test_tables_are_as_wide_as_the_terminal(monkeypatch):
    lines = [["component", "0", "1", "22"], ["means"], ["  x", "1.25", "-3", "1"]]
    assert report.in_blocks(lines) == "component     0   1  22\nmeans\n  x        1.25  -3   1"
    monkeypatch.setenv("COLUMNS", "20")
    first, second = report.in_blocks(lines).split("\n\n")
    assert first == "component     0   1\nmeans\n  x        1.25  -3"
    assert second == "component  22\nmeans\n  x         1"
    monkeypatch.setenv("COLUMNS", "1")
    assert report.in_blocks(lines).count("component") == 3


def test_entries_have_the_names_of_their_columns():
    rng = np.random.default_rng(0)
    pd.DataFrame({"age": rng.normal(size=50), "weight, kg": rng.normal(size=50)}).to_csv("two.csv", index=False)
    out = succeeds("fit", "two.csv")
    assert re.search(r"^means\n  age +\S+\n  weight, kg +\S+\ncovariances\n  age +\S+\n  weight, kg, age ", out, re.M)
    pd.DataFrame(rng.normal(size=(50, 70))).add_prefix("x").to_csv("many.csv", index=False)
    out = succeeds("fit", "many.csv", "--covariance-type", "diag")
    assert re.search(r"^  x59 .*\n  … 10 more; the model file has all$", out, re.M)
    pd.DataFrame(rng.normal(size=(50, 5))).add_prefix("x").to_csv("five.csv", index=False)
    assert re.search(
        r"^covariances\n  x0 .*\n  x1 .*\n.*\n.*\n  x4 .*\n  … the diagonal; ", succeeds("fit", "five.csv"), re.M
    )


# ---- predict and families -----------------------------------------------------------------------------------


def test_predict(csv):
    succeeds("fit", csv, "-k", 2, "--seed", 0, "-o", "m.efm", "-q")
    model = ef.load("m.efm")
    lines = succeeds("predict", "m.efm", csv).split("\n")
    assert lines[0] == "label"
    assert lines[-1] == ""
    assert [int(line) for line in lines[1:-1]] == model.predict(FRAME).tolist()
    assert succeeds("predict", "m.efm", csv, "--proba", "--output", "labels.csv") == ""
    with open("labels.csv", encoding="utf-8") as file:
        assert file.readline() == "label,responsibility_0,responsibility_1\n"
    table = np.loadtxt("labels.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(table[:, 0], model.predict(FRAME))
    np.testing.assert_array_equal(table[:, 1:], model.predict_proba(FRAME))


def test_predict_finds_the_columns(csv):
    succeeds("fit", csv, "-k", 2, "--seed", 0, "-o", "m.efm", "-q")
    expected = succeeds("predict", "m.efm", csv)
    np.savetxt("more.csv", np.column_stack([X[:, 1], X[:, 0] * 0, X[:, 0]]), delimiter=",", header="b,x,a", comments="")
    assert succeeds("predict", "m.efm", "more.csv") == expected
    np.savetxt("other.csv", X, delimiter=",", header="u,v", comments="")
    assert "no column is named 'a'; the columns are u, v" in fails("predict", "m.efm", "other.csv")
    assert succeeds("predict", "m.efm", "other.csv", "--columns", "u,v") == expected
    np.save("bare.npy", X)
    assert succeeds("predict", "m.efm", "bare.npy") == expected
    np.save("bare.npy", X[:, :1])
    assert "2 features" in fails("predict", "m.efm", "bare.npy")


def test_predict_with_a_model_fitted_on_a_data_frame(csv):
    ef.GaussianMixture(2, random_state=0).fit(pd.read_csv(csv)).save("m.efm")
    np.savetxt("more.csv", np.column_stack([X[:, 1], X[:, 0] * 0, X[:, 0]]), delimiter=",", header="b,x,a", comments="")
    assert succeeds("predict", "m.efm", "more.csv") == succeeds("predict", "m.efm", csv)


def test_families_are_listed_in_one_line_each():
    lines = succeeds("families").splitlines()
    listed = dict(line.split(maxsplit=1) for line in lines)
    assert len(listed) == len(lines)
    assert {name.replace("-", "") for name in listed} == {"auto", "kmeans", *map(str.lower, all_families.NAMES)}
    assert listed["bernoulli"] == "Mixture of products of Bernoulli distributions, for 0/1 data"
    assert listed["poisson"] == "Product of Poisson columns"
    assert listed["weibull"] == "Product of Weibull columns of shape k (needs shape)"
    assert listed["uniform"] == "Constant density on a box (low, high may be given)"
    assert listed["product"].endswith("(in Python only)")


def test_families_of_other_packages(folder, csv, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    write("ocean_shapes.py", "import expfam_em as ef\nclass SeaWaves(ef.families.Weibull):\n    'Waves.'\n")
    (folder / "ocean-1.dist-info").mkdir()
    write("ocean-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ocean\nVersion: 1\n")
    group = "[expfam_em.families]\nSeaWaves = ocean_shapes:SeaWaves\nTide = nowhere_at_all:Tide\n"
    write("ocean-1.dist-info/entry_points.txt", group)
    np.savetxt("waves.csv", np.abs(X) + 0.1, delimiter=",")
    succeeds("fit", "waves.csv", "-q")
    assert "ocean_shapes" not in sys.modules
    succeeds("fit", "waves.csv", "-f", "sea-waves", "--constant", "shape=2", "-o", "m.efm", "-q")
    family = ef.load("m.efm").family
    assert (type(family).__module__, family.shape) == ("ocean_shapes", 2.0)
    assert "the family 'Tide' of the package 'ocean', nowhere_at_all:Tide, cannot" in fails("fit", csv, "-f", "tide")
    listing = run("families")
    assert listing.exit_code == 0
    assert listing.stderr.startswith("warning: the family 'Tide' of the package 'ocean'")
    assert [line.split(maxsplit=1)[1] for line in listing.stdout.splitlines() if line.startswith("sea")] == [
        "Waves (needs shape)"
    ]
    assert "tide" not in listing.stdout
    del sys.modules["ocean_shapes"]


CHOICES = {  # rows of a family, and its constants
    "bernoulli": (RNG.random((60, 4)) < 0.5, []),
    "beta": (RNG.beta(2, 5, (60, 1)), []),
    "binomial": (RNG.binomial([3, 5], 0.4, (60, 2)), ["n=3,5"]),
    "categorical": (RNG.integers(0, 3, (60, 2)), ["levels=3"]),
    "dirichlet": (RNG.dirichlet([1, 2, 3], 60), []),
    "exponential": (RNG.exponential(2, (60, 1)), []),
    "free-laplace": (X, []),
    "free-weibull": (np.exp(X), []),
    "gamma": (RNG.gamma(2, 1, (60, 1)), []),
    "gamma-poisson": (RNG.negative_binomial(2, 0.2, (60, 1)), []),
    "gaussian": (X, []),
    "geometric": (RNG.geometric(0.3, (60, 1)) - 1, []),
    "half-normal": (np.abs(X), []),
    "inverse-gamma": (1 / RNG.gamma(2, 1, (60, 1)), []),
    "inverse-gaussian": (RNG.wald(2, 3, (60, 1)), []),
    "kmeans": (X, []),
    "known-covariance": (X, ["variance=2"]),
    "laplace": (X, ["location=-2.5"]),
    "log-normal": (RNG.lognormal(0, 1, (60, 2)), ["covariance_type=diag"]),
    "maxwell": (np.abs(X) + 0.1, []),
    "multinomial": (RNG.multinomial(9, [0.2, 0.3, 0.5], 60), []),
    "negative-binomial": (RNG.negative_binomial(3, 0.2, (60, 1)), ["r=3"]),
    "one-hot": (np.eye(3)[RNG.integers(0, 3, 60)], ["levels=3"]),
    "pareto": (1 + RNG.pareto(3, (60, 1)), ["minimum=1"]),
    "poisson": (RNG.poisson(4, (60, 2)), []),
    "rayleigh": (RNG.rayleigh(2, (60, 1)), []),
    "student-t": (X, ["covariance_type=diag", "degrees_of_freedom=5"]),
    "uniform": (X, []),
    "von-mises": (RNG.vonmises(0, 2, (60, 2)), []),
    "von-mises-fisher": (X / np.linalg.norm(X, axis=1, keepdims=True), []),
    "weibull": (RNG.weibull(2, (60, 1)), ["shape=2"]),
    "wishart": (np.array([(A @ A.T).ravel() for A in RNG.standard_normal((60, 2, 5))]), []),
}


def test_every_family_is_tried():
    only_in_python = {"product", "componentwise", "zero-inflated", "truncated", "censored", "exposed"}
    assert {line.split()[0] for line in succeeds("families").splitlines()} == {"auto", *CHOICES, *only_in_python}


@pytest.mark.parametrize("name", CHOICES)
def test_every_family_can_be_fitted_saved_and_applied(name):
    rows, constants = CHOICES[name]
    np.savetxt("rows.csv", rows, delimiter=",")
    given = [word for constant in constants for word in ("--constant", constant)]
    out = succeeds("fit", "rows.csv", "-f", name, *given, "-o", "m.efm", "--seed", 0)
    model = ef.load("m.efm")
    if isinstance(model, ef.ExponentialFamilyMixture):
        assert type(model.family).__name__.lower() == name.replace("-", "")
        for constant in constants:
            key, value = constant.split("=")
            held = vars(model.family).get(key, value)  # a family may keep it in another form
            assert held == value if isinstance(held, str) else np.array_equal(held, ast.literal_eval(value))
        assert all(parameter in out for parameter in set(model.parameters_) - {"levels"})
    assert succeeds("predict", "m.efm", "rows.csv").count("0\n") == len(rows)


def test_codes_of_labels_are_kept_and_named():
    np.savetxt("rows.csv", [[10, 0], [20, 99], [30, 0], [10, 99]] * 9, delimiter=",", fmt="%d")
    np.savetxt("new.csv", [[10, 0], [11, 0]], delimiter=",", fmt="%d")
    out = succeeds("fit", "rows.csv", "-f", "categorical", "-o", "m.efm", "--seed", 0)
    assert re.findall(r"^  . = \d+", out, re.M) == ["  1 = 10", "  1 = 20", "  1 = 30", "  2 = 0", "  2 = 99"]
    assert ef.load("m.efm").mixture_.n_parameters == 2 + 1
    assert "row 2, column '1' holds 11.0; Categorical needs one of the labels 10, 20, 30" in fails(
        "predict", "m.efm", "new.csv", "--separator", ","
    )
    given = ["--constant", "levels=[[10,20,30],[0,99]]", "--constant", "unseen=zero"]
    succeeds("fit", "rows.csv", "-f", "categorical", *given, "-o", "m.efm", "--seed", 0)
    assert succeeds("predict", "m.efm", "new.csv").split() == ["label", "0", "0"]


def test_as_many_levels_as_columns_are_no_matrix():
    np.savetxt("rows.csv", np.column_stack([np.arange(12) % 2, np.arange(12) % 3 == 0]), delimiter=",", fmt="%d")
    out = succeeds("fit", "rows.csv", "-f", "categorical", "-k", 1, "--no-header")
    shares = dict(re.findall(r"^  (. = \d)  +(\S+)$", out, re.M))
    assert shares == {"1 = 0": "0.5", "1 = 1": "0.5", "2 = 0": "0.6667", "2 = 1": "0.3333"}


def test_the_covariance_type_of_a_t_density(csv):
    out = succeeds("fit", csv, "-f", "student-t", "-k", 2, "--covariance-type", "spherical", "-o", "m.efm")
    assert ef.load("m.efm").family.normal.covariance_type == "spherical"
    assert "degrees_of_freedom" in out
    assert "covariance_type is 'round'" in fails("fit", csv, "-f", "student-t", "--covariance-type", "round")


# ---- bad input: one sentence, exit code 1 -------------------------------------------------------------------


def test_plot_without_matplotlib(csv, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'pip install "expfam_em[plot]"' in fails("fit", csv, "--plot", "out.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "missing.csv: No such file or directory"),
        (["missing.parquet"], "missing.parquet: No such file or directory"),
        (["."], "Is a directory"),
        (["data.csv", "--family", "cauchy"], "there is no family 'cauchy'; the families are gaussian, bernoulli"),
        (["data.csv", "-k", 0], "n_components"),
        (["data.csv", "-k", 1000], "n_samples"),
        (["data.csv", "--tol", -1], "'tol'"),
        (["data.csv", "--covariance-type", "round"], "covariance_type"),
        (["data.csv", "--init", "magic"], "'init'"),
        (["data.csv", "-f", "poisson"], "data.csv, line 2: row 1, column 'a' holds 0."),
        (["data.csv", "-f", "poisson"], "; Poisson needs whole numbers"),
        (
            ["data.csv", "-f", "von-mises-fisher"],
            "data.csv, line 2: row 1: VonMisesFisher needs rows of length 1; row 1",
        ),
        (["huge.csv"], "huge.csv: the variance of column 'a' is beyond the range of float64"),
        (["data.csv", "-f", "poisson", "--covariance-type", "full"], "poisson has no option --covariance-type"),
        (["data.csv", "-f", "weibull"], "the family weibull needs shape: give --constant shape=VALUE"),
        (["data.csv", "-f", "weibull", "--constant", "k=2"], "weibull has no constant k; it has shape"),
        (["data.csv", "-f", "beta", "--constant", "k=2"], "beta has no constant k; it has none"),
        (["data.csv", "-f", "weibull", "--constant", "shape"], "takes NAME=VALUE, as in shape=2, not 'shape'"),
        (["data.csv", "-f", "weibull", "--constant", "shape=-1"], "shape is -1; it must be positive"),
        (
            ["data.csv", "-f", "weibull", "--constant", "shape={}"],
            "shape is {}; it must be positive",
        ),
        (
            ["data.csv", "-f", "bernoulli", "--constant", "shape=2"],
            "the family bernoulli has no constants, but options",
        ),
        (["data.csv", "-f", "product"], "made of other families, which can only be given in Python"),
        (["data.csv", "--columns", "a,z"], "no column is named 'z'; the columns are a, b"),
        (["data.csv", "--weights-column", "w"], "no column is named 'w'"),
        (["weights.csv", "--weights-column", "w"], "weights.csv, line 3: row 2, column 'w' holds a negative weight"),
        (["weights.csv", "--weights-column", "z"], "weights.csv: no weight in column 'z' is above 0"),
        (["data.csv", "--columns", ""], "no column is named ''"),
        (["data.csv", "-o", "data.csv"], "cannot write data.csv: it is also data.csv, which would be replaced"),
        (["data.csv", "-o", "link.csv"], "cannot write link.csv: it is also data.csv"),
        (["data.csv", "--plot", "data.csv"], "cannot write data.csv: it is also data.csv"),
        (["data.csv", "-o", "m.png", "--plot", "m.png"], "cannot write m.png: it is also m.png"),
        (["data.csv", "-o", "."], "cannot write .: it is a folder"),
        (["data.csv", "--plot", "out.xyz"], "cannot draw into out.xyz: its name must end in one of"),
        (["data.csv", "-o", "nowhere/m.efm"], "cannot write nowhere/m.efm: there is no folder nowhere"),
        (["data.csv", "--plot", "nowhere/m.png"], "there is no folder nowhere"),
    ],
)
def test_bad_arguments_of_fit(csv, arguments, message):
    write("weights.csv", "a,w,z\n1,2,0\n2,-1,0\n3,4,0\n")
    write("huge.csv", "a\n1e300\n-1e300\n")
    os.symlink(csv, "link.csv")
    with open(csv, "rb") as file:
        before = file.read()
    assert message in fails("fit", *arguments)
    with open(csv, "rb") as file:
        assert file.read() == before


def test_predict_replaces_neither_model_nor_rows(csv):
    succeeds("fit", csv, "-o", "m.efm", "-q")
    for name in ("m.efm", csv):
        assert f"cannot write {name}: it is also {name}" in fails("predict", "m.efm", csv, "-o", name)
    write("counts.csv", "a\n1\n\n2\n")
    succeeds("fit", "counts.csv", "-f", "poisson", "-o", "p.efm", "-q")
    write("counts.csv", "a\n1\n\n2.5\n")
    expected = "error: counts.csv, line 4: row 2, column 'a' holds 2.5; Poisson needs whole numbers from 0\n"
    assert fails("predict", "p.efm", "counts.csv") == expected


def test_bad_models(csv):
    assert "is not a file written by expfam_em" in fails("predict", csv, csv)
    assert "No such file" in fails("predict", "missing.efm", csv)
    succeeds("fit", csv, "-o", "m.efm", "-q")
    with open("m.efm", "r+b") as file:
        file.truncate(100)
    assert "truncated" in fails("predict", "m.efm", csv)


# ---- as a program -------------------------------------------------------------------------------------------


def program(*arguments, code=None):
    start = ["-c", code] if code else ["-m", "expfam_em.cli"]
    return subprocess.run(
        [sys.executable, *start, *arguments], capture_output=True, text=True, encoding="utf-8", timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"}, check=False,
    )  # fmt: skip


def test_program(csv):
    done = program("fit", csv, "-k", "2", "--seed", "0", "--output", "m.efm")
    assert (done.returncode, done.stderr) == (0, "")
    assert "log-likelihood" in done.stdout
    assert len(succeeds("predict", "m.efm", csv).splitlines()) == 101
    done = program("fit", "missing.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: missing.csv: No such file or directory\n"


def test_a_closed_output_is_no_error():
    start = [sys.executable, "-m", "expfam_em.cli", "families"]
    with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(120) == 1


def test_a_full_disk_is_said(csv):
    start = [sys.executable, "-m", "expfam_em.cli", "families"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(start, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (1, "error: writing: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["fit"], 2), (["fit", "data.csv", "--unknown"], 2), (["unknown"], 2), (["fit", "data.csv", "-k", "two"], 1)],
)
def test_commands_that_cannot_be_understood(arguments, code, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["expfam-em", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--help"], 0), (["families"], 0)])
def test_help(arguments, code, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["expfam-em", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == code
    assert "error" not in capsys.readouterr().err


def test_program_without_its_extra():
    hide = "import sys; sys.modules['typer'] = None; from expfam_em.cli import app; app.main()"
    done = program("families", code=hide)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'error: the command line needs typer: pip install "expfam_em[cli]"\n'


# ---- pipes --------------------------------------------------------------------------------------------------


def saved(*arguments, **options):
    """Return the model that a fit writes."""
    assert succeeds("fit", *arguments, "-k", 2, "--seed", 0, "-o", "saved.efm", "-q", **options) == ""
    return ef.load("saved.efm")


KINDS = {"text": "data.csv", "npy": "data.npy", "parquet": "data.parquet", "packed": "data.csv.gz", "xz": "data.csv.xz"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_is_read_once_whatever_comes_through_it(kind, csv):
    FRAME.to_csv("data.csv.gz", index=False)
    FRAME.to_csv("data.csv.xz", index=False)
    FRAME.to_parquet("data.parquet")
    np.save("data.npy", X)
    expected = ef.GaussianMixture(2, random_state=0).fit(X).means_
    content = Path(KINDS[kind]).read_bytes()
    np.testing.assert_array_equal(saved("-", stdin=content).means_, expected)
    os.mkfifo("pipe")  # as <(command) and /dev/stdin are
    with ThreadPoolExecutor(1) as pool:
        pool.submit(Path("pipe").write_bytes, content)
        np.testing.assert_array_equal(saved("pipe").means_, expected)


def test_800_rows_through_a_pipe_are_800(csv):
    """A text of which a first look takes some, so that a second one would begin below them."""
    rows = RNG.normal(size=(800, 2))
    text = pd.DataFrame(rows, columns=["age", "fare"]).to_csv(index=False).encode()
    np.testing.assert_array_equal(saved("-", stdin=text).means_, ef.GaussianMixture(2, random_state=0).fit(rows).means_)


def test_models_and_rows_go_through_pipes(csv):
    done = run("fit", csv, "-k", 2, "--seed", 0, "-o", "-")
    assert "log-likelihood" in done.stderr
    succeeds("fit", csv, "-k", 2, "--seed", 0, "-o", "m.efm")
    expected = succeeds("predict", "m.efm", csv)
    assert run("predict", "-", csv, stdin=done.raw).stdout == expected
    assert run("predict", "m.efm", "-", "-o", "-", stdin=Path(csv).read_bytes()).stdout == expected
    drawn = run("sample", "m.efm", "-n", 50, "--seed", 0)
    assert drawn.stdout.splitlines()[0] == "a,b"
    assert saved("-", stdin=drawn.raw).feature_names_in_.tolist() == ["a", "b"]
    assert fails("predict", "-", "-") == (
        "error: two files are to come from the standard input; give one of them by name\n"
    )
    assert fails("fit", "-") == "error: the standard input is empty\n"
    bad = run("fit", "-", stdin=b"a\n1\nx\n")
    assert bad.stderr.startswith("error: the standard input, line 3: row 2, column 'a' holds 'x'")


def test_no_temporary_file_is_left(csv, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert (
        saved(
            "-",
            stdin=gzip.compress(b"a b\n" + b"1   2.5\n2  4\n" * 20),
        ).n_features_in_
        == 2
    )
    assert succeeds("predict", "saved.efm", csv, "--columns", "a,b", "-o", "labels.parquet") == ""
    gc.collect()
    assert {path.name for path in tmp_path.iterdir()} == {"data.csv", "saved.efm", "labels.parquet"}


def test_an_output_takes_its_place_once_it_is_complete(monkeypatch):
    monkeypatch.setattr(commands, "READ_ROWS", 10)
    np.savetxt("counts.csv", RNG.poisson(3, 30), header="n", comments="")
    saved("counts.csv", "-f", "poisson")
    write("new.csv", "n\n" + "1\n" * 25 + "1.5\n")
    write("labels.csv", "before")
    expected = "error: new.csv, line 27: row 26, column 'n' holds 1.5; Poisson needs whole numbers from 0\n"
    for name in ("labels.csv", "labels.parquet"):
        assert fails("predict", "saved.efm", "new.csv", "-o", name) == expected
    assert Path("labels.csv").read_text() == "before"
    assert not Path("labels.parquet").exists()
    assert not list(Path().glob(".*"))
    write("new.csv", "n\n" + "1\n" * 25)
    for name in ("labels.csv", "labels.parquet"):
        succeeds("predict", "saved.efm", "new.csv", "-o", name)
    assert pd.read_csv("labels.csv").equals(pd.read_parquet("labels.parquet"))
    assert len(pd.read_csv("labels.csv")) == 25


@pytest.mark.parametrize("name", ["large.csv", "large.npy", "large.parquet"])
def test_large_files_are_not_held_in_memory_and_make_no_difference(name, monkeypatch):
    frame = FRAME.assign(w=RNG.integers(1, 4, len(X)).astype(float))
    frame.to_csv("large.csv", index=False)
    frame.to_parquet("large.parquet")
    np.save("large.npy", frame.to_numpy())
    weights = "3" if name == "large.npy" else "w"
    small = saved(name, "--weights-column", weights)
    table = succeeds("score", "saved.efm", name, "--weights-column", weights)
    monkeypatch.setattr(commands, "LARGE_ENTRIES", 1)
    monkeypatch.setattr(tables.Table, "in_memory", only_weights(tables.Table.in_memory))
    large = saved(name, "--weights-column", weights, "--plot", "large.png")
    np.testing.assert_array_equal(small.means_, large.means_)
    assert succeeds("score", "saved.efm", name, "--weights-column", weights) == table
    assert "standard error" in succeeds("summary", "saved.efm", name, "--weights-column", weights)
    with pytest.raises(AssertionError, match="all rows"):
        run("fit", name, "-f", "kmeans")


def only_weights(in_memory):
    """Refuse to hold rows; a column of weights is looked at as a whole."""

    def refused(table, rows, names, missing=False):
        assert names in (["w"], ["3"]), "all rows are read into memory"
        return in_memory(table, rows, names, missing)

    return refused


# ---- the other commands -------------------------------------------------------------------------------------


def test_scores(csv):
    model = saved(csv)
    each = np.array(succeeds("score", "saved.efm", csv, "--each").split()[1:], float)
    np.testing.assert_array_equal(each, model.score_samples(FRAME))
    assert succeeds("score", "saved.efm", csv).split() == [
        "log-likelihood", "per", "row", f"{each.mean():.8g}", "log-likelihood", f"{each.sum():.8g}", "rows", "100",
    ]  # fmt: skip
    inertia = saved(csv, "-f", "kmeans").inertia_
    assert succeeds("score", "saved.efm", csv).split() == ["inertia", f"{inertia:.8g}", "rows", "100"]
    assert "has no densities" in fails("score", "saved.efm", csv, "--each")
    assert "saved.efm is a k-means model" in fails("sample", "saved.efm")
    assert "of the variance explained\n" in succeeds("summary", "saved.efm", csv)


def test_samples_are_those_of_the_model(csv):
    model = saved(csv).set_params(random_state=3)
    drawn, labels = model.sample(20)
    head, *lines = succeeds("sample", "saved.efm", "-n", 20, "--seed", 3, "--labels").splitlines()
    assert head == "a,b,component"
    found = [[float(cell) for cell in line.split(",")] for line in lines]
    np.testing.assert_array_equal(found, np.column_stack([drawn, labels]))
    assert "-n" in run("sample", "saved.efm", "-n", 0).stderr


def test_the_best_of_several_models_is_found_and_written(csv):
    pytest.importorskip("matplotlib")
    expected = ef.select(X, ["EII", "VVV"], [1, 2, 3], random_state=0)
    options = (
        "--models",
        "EII,VVV",
        "-k",
        "1-2,3",
        "--seed",
        0,
        "-o",
        "best.efm",
        "--table",
        "all.csv",
        "--plot",
        "s.png",
    )
    out = succeeds("select", csv, *options)
    assert out.startswith("BIC, lower is better\n\ncomponents ")
    assert out.endswith(f"\nbest: {expected.best_model_}, {expected.best_.n_components} components\n")
    for name, line in zip(expected.models, expected.values(), strict=True):
        assert re.search(rf"^{name} +" + " +".join(f"{value:.2f}" for value in line), out, re.M)
    np.testing.assert_array_equal(ef.load("best.efm").parameters_["means"], expected.best_.parameters_["means"])
    written = pd.read_csv("all.csv")
    assert written["bic"].to_numpy() == pytest.approx(expected.values().ravel(), rel=1e-12)
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")
    assert len(succeeds("predict", "best.efm", csv).splitlines()) == len(X) + 1
    np.savetxt("counts.csv", RNG.poisson(3, 60), header="n", comments="")
    assert "\npoisson " in succeeds("select", "counts.csv", "-m", "poisson,geometric", "-k", "1", "--criterion", "aic")
    assert "--components is '1-'; give numbers" in fails("select", csv, "-k", "1-")
    assert "criterion is 'best'" in fails("select", csv, "--criterion", "best", "-k", 1)


def test_a_model_is_drawn(csv):
    pytest.importorskip("matplotlib")
    saved(csv)
    for name, mark in (("m.png", b"\x89PNG"), ("m.pdf", b"%PDF")):
        succeeds("plot", "saved.efm", csv, "-o", name)
        assert Path(name).read_bytes().startswith(mark)
    assert run("plot", "saved.efm", csv, "-o", "-", "--columns", "b").raw.startswith(b"\x89PNG")
    assert "no column of the model is named 'c'; the columns are a, b" in fails(
        "plot", "saved.efm", csv, "-o", "m.png", "--columns", "c"
    )


def test_a_family_for_each_column_keeps_the_names(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.gamma(2.0, 1.0, 80), rng.poisson(3.0, 80)])
    np.savetxt("mixed.csv", rows, delimiter=",", header="amount,visits", comments="")
    out = succeeds("fit", "mixed.csv", "-f", "auto", "--seed", 0, "-o", "auto.efm")
    assert "lognormal_log_means\n  amount " in out
    assert "poisson_rates\n  visits " in out
    assert str(ef.load("auto.efm").family_) == "Product([(LogNormal('diag'), ['amount']), (Poisson(), ['visits'])])"
    assert len(succeeds("predict", "auto.efm", "mixed.csv").splitlines()) == 81


def test_a_summary_is_that_of_the_model(csv):
    model = saved(csv, "--tol", 1e-9)
    assert succeeds("summary", "saved.efm", csv) == f"{model.summary(FRAME)}\n"


def test_a_family_is_checked(csv, monkeypatch, folder):
    np.savetxt("positive.csv", RNG.gamma(2, 1, (60, 1)), header="x", comments="")
    assert succeeds("check-family", "gamma", "positive.csv").startswith("Gamma() obeys ")
    assert fails("check-family", "poisson", "positive.csv").startswith("error: positive.csv, line 2: row 1, column 'x'")
    monkeypatch.setattr(sys, "path", list(sys.path))
    write(
        "waves_of_mine.py",
        "import numpy as np, expfam_em as ef\nclass Waves(ef.ExponentialFamily):\n"
        "    def sufficient_statistics(self, X): return X**2\n"
        "    def log_partition(self, natural): return -np.log(-2 * natural).sum(axis=1)\n"
        "    def to_natural(self, expectation): return -2 / expectation\n",
    )
    assert "Waves() breaks a law" in fails("check-family", "waves_of_mine:Waves", "positive.csv")
    assert "waves_of_mine:Sea is no family" in fails("check-family", "waves_of_mine:Sea", "positive.csv")
    del sys.modules["waves_of_mine"]


# ---- mixed tables -------------------------------------------------------------------------------------------


def ferry(n=120):
    """Passengers of a ferry: numbers, counts, True and False, and two columns of labels, with gaps."""
    rng = np.random.default_rng(5)
    tourist = rng.random(n) < 0.4
    frame = pd.DataFrame(
        {
            "age": np.where(tourist, rng.normal(45, 6, n), rng.normal(25, 4, n)).round(1),
            "bags": rng.poisson(np.where(tourist, 4, 1)),
            "returns": rng.random(n) < np.where(tourist, 0.9, 0.4),
            "port": rng.choice(["Cork", "Brest", "São Tomé, left"], n),
            "cabin": np.where(tourist, rng.choice(["sea", "none"], n), rng.choice(["none", "12"], n)),
        }
    )
    frame.loc[7, "age"], frame.loc[11, "port"] = np.nan, None
    return frame


WRITERS = {
    "plain.csv": lambda frame, name: frame.to_csv(name, index=False, na_rep="NA"),
    "packed.csv.gz": lambda frame, name: frame.to_csv(name),  # with row numbers in front
    "r.txt": lambda frame, name: frame.set_axis(range(1, len(frame) + 1)).to_csv(
        name, sep="\t", index_label=False, na_rep="NA", quoting=2
    ),
    "comma.csv": lambda frame, name: frame.to_csv(name, index=False, sep=";", decimal=","),
    "text.parquet": lambda frame, name: frame.to_parquet(name),
    "categories.parquet": lambda frame, name: frame.astype({"cabin": "category"}).to_parquet(name),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_mixed_table_is_fitted_and_used_as_its_frame_is(name):
    frame = ferry()
    WRITERS[name](frame, name)
    expected = ef.ExponentialFamilyMixture("auto", 2, random_state=0).fit(frame)
    done = run("fit", name, "-f", "auto", "-k", 2, "--seed", 0, "-o", "m.efm")
    assert done.exit_code == 0, done.stderr
    assert "cells are missing, and rows count by what is there: columns 'age' (1), 'port' (1)" in done.stderr
    assert f"family          {expected.family_!r}" in done.stdout
    assert "cabin = none" in done.stdout
    assert f"BIC             {expected.bic(frame):.8g}" in done.stdout
    model = ef.load("m.efm")
    assert model.levels_ == {"port": ("Brest", "Cork", "São Tomé, left"), "cabin": ("12", "none", "sea")}
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(frame))
    through_a_pipe = run("predict", "m.efm", "-", "--proba", stdin=Path(name).read_bytes())
    found = np.loadtxt(through_a_pipe.stdout.splitlines(), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(found, np.column_stack([expected.predict(frame), expected.predict_proba(frame)]))
    assert succeeds("summary", "m.efm", name) == f"{expected.summary(frame)}\n"
    assert f"{expected.score(frame):.8g}\n" in succeeds("score", "m.efm", name)


def fitted_ferry(*arguments):
    ferry().to_csv("ferry.csv", index=False)
    succeeds("fit", "ferry.csv", "-f", "auto", "-k", 2, "--seed", 0, "-q", "-o", "m.efm", *arguments)
    return ef.load("m.efm")


def test_labels_that_the_fit_has_not_seen_are_named_with_their_line(monkeypatch):
    fitted_ferry()
    monkeypatch.setattr(commands, "READ_ROWS", 16)
    ferry().assign(port=["Cork"] * 50 + ["Ostend"] + ["Cork"] * 69).to_csv("new.csv", index=False)
    for command in ("predict", "score"):
        assert run(command, "m.efm", "new.csv").stderr == (
            "error: new.csv, line 52: row 51, column 'port' holds 'Ostend', which no row of the fit has; its levels "
            "are 'Brest', 'Cork', 'São Tomé, left'. Leave such rows out\n"
        )
    ferry().astype({"bags": str}).replace({"bags": {"0": "zero"}}).to_csv("text.csv", index=False)
    write("empty.csv", "age,bags,returns,port,cabin\n")
    assert "empty.csv has no rows below its header" in fails("predict", "m.efm", "empty.csv")
    assert re.search(
        r"text\.csv, line \d+: row \d+, column 'bags' holds 'zero', which is not a n",
        fails("predict", "m.efm", "text.csv"),
    )


def test_what_looks_like_a_number_is_a_label_where_the_fit_has_labels():
    model = fitted_ferry()
    only = ferry().query("cabin == '12'")
    only.to_csv("only.csv", index=False)
    only.to_csv("bare.csv", index=False, header=False)  # by position
    only.assign(cabin=12).to_parquet("numbers.parquet")
    for name in ("only.csv", "bare.csv", "numbers.parquet"):
        assert [*map(int, succeeds("predict", "m.efm", name).split()[1:])] == model.predict(only).tolist()


def test_levels_that_are_numbers_are_found_in_text():
    frame = pd.DataFrame({"grade": pd.Categorical(RNG.choice([1, 2, 3], 60)), "sex": RNG.choice(["f", "m"], 60)})
    model = ef.ExponentialFamilyMixture("categorical", 2, random_state=0).fit(frame)
    model.save("m.efm")
    frame.to_csv("grades.csv", index=False)
    frame.astype({"grade": float}).to_parquet("grades.parquet")
    for name in ("grades.csv", "grades.parquet"):
        assert [*map(int, succeeds("predict", "m.efm", name).split()[1:])] == model.predict(frame).tolist(), name


def test_text_is_found_in_levels_that_are_numbers_or_spelled_otherwise():
    frame = pd.DataFrame({"grade": RNG.choice(["1", "2", "03", "3"], 60), "sex": RNG.choice(["f", "m"], 60)})
    model = ef.ExponentialFamilyMixture("categorical", 2, random_state=0).fit(frame)
    model.save("m.efm")
    few = frame[frame.grade.isin(["1", "2"])]
    few.assign(grade=few.grade.replace("1", "1.0")).to_csv("text.csv", index=False)
    few.assign(grade=few.grade.astype(float)).to_parquet("floats.parquet")
    for name in ("text.csv", "floats.parquet"):
        assert [*map(int, succeeds("predict", "m.efm", name).split()[1:])] == model.predict(few).tolist(), name
    frame.assign(grade=3.0).to_parquet("floats.parquet")  # "03" or "3"
    assert "3.0" in fails("predict", "m.efm", "floats.parquet")


@pytest.mark.parametrize("other", ["9007199254740993", "1_0"])
def test_labels_that_are_nearly_a_level_are_none(other):
    frame = pd.DataFrame({"grade": RNG.choice([10, 2**53], 60), "sex": RNG.choice(["f", "m"], 60)})
    frame = frame.astype({"grade": "category"})
    ef.ExponentialFamilyMixture("categorical", 2, random_state=0).fit(frame).save("m.efm")
    frame.assign(grade=other).to_csv("text.csv", index=False)
    assert other in fails("predict", "m.efm", "text.csv")


def test_families_of_labels_take_text_and_others_name_the_one_that_does():
    frame = ferry()[["port", "cabin"]].fillna("?")
    frame.to_csv("labels.csv", index=False)
    expected = ef.ExponentialFamilyMixture("categorical", 2, random_state=0).fit(frame)
    np.testing.assert_array_equal(
        saved("labels.csv", "-f", "categorical").predict_proba(frame), expected.predict_proba(frame)
    )
    assert "\nauto " in succeeds("select", "labels.csv", "-m", "auto", "-k", "1-2", "--seed", 0)
    assert fails("fit", "labels.csv").endswith(
        "leave the column out with --columns; the family auto takes text as labels\n"
    )


def test_families_of_columns_can_be_chosen():
    frame, choices = ferry(), {"age": "gaussian", "cabin": None}
    model = fitted_ferry("--column-family", "age=gaussian", "--column-family", "cabin=none")
    family = ef.families.Product.infer(frame, choices)
    expected = ef.ExponentialFamilyMixture(family, 2, random_state=0).fit(frame)
    assert repr(model.family) == repr(family)
    np.testing.assert_array_equal(model.predict_proba(frame), expected.predict_proba(frame))
    assert len(succeeds("predict", "m.efm", "ferry.csv").split()) == 121
    for choice, said in {
        "agee=gaussian": "did you mean 'age'?", "agee=none": "ferry.csv: no column is named 'agee'",
        "age=gausian": "did you mean 'gaussian'?", "age": "--column-family takes COLUMN=FAMILY",
    }.items():  # fmt: skip
        assert said in fails("fit", "ferry.csv", "-f", "auto", "--column-family", choice)
    assert "is for --family auto" in fails("fit", "ferry.csv", "--column-family", "age=gaussian")


def test_columns_that_tell_no_family_are_said_in_words_of_the_command_line():
    ferry().assign(**{"full name": [f"passenger {i}" for i in range(120)]}, one=1).to_csv("names.csv", index=False)
    assert fails("fit", "names.csv", "-f", "auto") == (
        "error: names.csv: column 'full name' has 120 different labels in 120 rows, which name rows; column 'one' has "
        "1 in every row, which tells no family; give --column-family 'full name=none' --column-family one=none to "
        "leave such columns out, or another family than none, such as categorical\n"
    )
    out = "--column-family", "full name=none", "--column-family", "one=none"
    assert run("fit", "names.csv", "-f", "auto", *out).exit_code == 0


def test_a_mixed_model_is_drawn_and_sampled(monkeypatch):
    pytest.importorskip("matplotlib")
    model = fitted_ferry("--plot", "all.png")
    succeeds("plot", "m.efm", "ferry.csv", "-o", "some.png", "--columns", "age,cabin")
    Path("drawn.csv").write_text(succeeds("sample", "m.efm", "-n", 30, "--seed", 4), encoding="utf-8")
    drawn, _ = model.set_params(random_state=4).sample(30)
    assert pd.read_csv("drawn.csv")["port"].tolist() == drawn["port"].tolist()
    assert len(succeeds("predict", "m.efm", "drawn.csv").split()) == 31


def test_labels_in_their_order_do_not_count_the_rows():
    pd.DataFrame({"letter": list("abcdefghijkl"), "x": RNG.normal(size=12)}).to_csv("letters.csv", index=False)
    assert run("fit", "letters.csv", "-f", "auto").stderr == ""


def test_weights_beside_labels():
    frame, w = ferry().drop(columns=["age", "bags", "returns"]).fillna("none"), RNG.integers(1, 4, 120)
    frame.assign(w=w).to_csv("weighted.csv", index=False)
    expected = ef.ExponentialFamilyMixture("auto", 2, random_state=0).fit(frame, sample_weight=w)
    model = saved("weighted.csv", "-f", "auto", "--weights-column", "w")
    np.testing.assert_array_equal(model.weights_, expected.weights_)


# ---- cells --------------------------------------------------------------------------------------------------


def test_missing_cells_are_an_error_or_are_fitted_by_what_is_there(csv):
    gaps = FRAME.mask(RNG.random(FRAME.shape) < 0.1)
    gaps.to_csv("gaps.csv", index=False, na_rep="NA")
    gaps.to_parquet("gaps.parquet")
    np.save("gaps.npy", gaps.to_numpy())
    expected = ef.GaussianMixture(2, random_state=0).fit(gaps)
    for name in ("gaps.csv", "gaps.parquet", "gaps.npy"):
        assert re.search(r"gaps\.\w+(, line \d+)?: row \d+, column '\w' .*is missing; .*--missing", fails("fit", name))
        np.testing.assert_array_equal(saved(name, "--missing").means_, expected.means_)
        labels = np.array(succeeds("predict", "saved.efm", name, "--missing").split()[1:], int)
        np.testing.assert_array_equal(labels, expected.predict(gaps))
        assert "is missing" in fails("predict", "saved.efm", name)
    write("infinite.csv", "a,b\n1,2\n,inf\n3,4\n")
    assert "line 3: row 2, column 'b' holds 'inf', which is not finite" in fails("fit", "infinite.csv", "--missing")


def test_true_and_false_are_one_and_zero():
    frame = pd.DataFrame({"visits": RNG.poisson(3, 50), "smoker": RNG.random(50) < 0.3})
    frame.to_csv("data.csv", index=False)
    frame.astype({"smoker": str}).apply(lambda column: column.astype(str).str.upper()).to_csv("upper.csv", index=False)
    for name in ("data.csv", "upper.csv"):
        np.testing.assert_array_equal(saved(name).means_, ef.GaussianMixture(2, random_state=0).fit(frame * 1.0).means_)
    write("bare.csv", "True,1.5\nfalse,2\n")
    succeeds("fit", "bare.csv", "-o", "m.efm", "--covariance-type", "diag")
    np.testing.assert_array_equal(ef.load("m.efm").means_, [[0.5, 1.75]])


def test_decimal_commas_without_a_header_are_said(csv):
    write("d.csv", "1,5\n2,75\n3,25\n")
    assert run("fit", "d.csv").stderr == (
        "warning: d.csv: 1,5 is read as two cells; give --separator ';' if commas are decimal marks, or ',' if not\n"
    )
    assert run("fit", "d.csv", "--separator", ",").stderr == ""
    assert saved("d.csv", "--separator", ";").n_features_in_ == 1


def test_version_and_completion(monkeypatch):
    assert succeeds("--version") == f"{ef.__version__}\n"
    monkeypatch.setenv("_EXPFAM_EM_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "expfam-em fit --family ga")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert succeeds().split() == ["gamma", "gamma-poisson", "gaussian"]


# ---- the page -----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text(encoding="utf-8")


def piped(line):
    """Return what a line of the page prints: commands of this program, cat and head, with pipes between them."""
    data, said = b"", ""
    for part in line.split(" | "):
        program, *words = shlex.split(part)
        if program == "cat":
            data = Path(words[0]).read_bytes()
        elif program == "head":
            data = b"".join(data.splitlines(keepends=True)[: int(words[0][1:])])
        else:
            assert program == "expfam-em"
            result = run(*words, stdin=data)
            assert result.exit_code == 0, (line, result.stderr)
            data, said = result.raw, result.stderr
    return said + data.decode()


def shown_on_page(page):
    """The commands of a page, each with what it shows below."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for text in block.split("$ ")[1:]:
            yield text.partition("\n")[::2]


def test_the_page_shows_what_its_commands_print(faithful):
    pytest.importorskip("matplotlib")
    np.savetxt("faithful.csv", faithful, delimiter=",", header="eruptions,waiting", comments="", fmt="%g")
    ferry().to_csv("ferry.csv", index=False)
    shown = list(shown_on_page(PAGE))
    assert {line.split()[1] for line, _ in shown} >= {"fit", "select", "check-family", "sample", "plot", "families"}
    number = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]\d+)?")
    for line, expected in shown:
        printed = piped(line)
        assert number.sub("", printed).split() == number.sub("", expected).split(), line
        # four digits are shown at least, and on another machine the last may be one more or less: 1e-3 of 1.000
        found, wanted = ([float(text) for text in number.findall(each)] for each in (printed, expected))
        np.testing.assert_allclose(found, wanted, rtol=1e-3, err_msg=line)
