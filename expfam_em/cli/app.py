"""The command line: fit a mixture to a file of rows, apply it to another, list the families."""

from __future__ import annotations

import csv
import os
import re
import sys
import warnings
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np

from expfam_em.cli.names import describe, make_estimator, parse_constants
from expfam_em.cli.tables import counting_columns, open_table
from expfam_em.cost import DRAWN_ROWS, estimated_cost
from expfam_em.estimators import load
from expfam_em.family.support import ImpossibleRowError, OutsideSupportError
from expfam_em.plots import plot_clusters
from expfam_em.progress import Progress

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError:  # the extra is missing; `main` says so
    typer = None  # type: ignore[assignment]

SECONDS_WITHOUT_BAR = 1.0
"""How long a fit may take before a progress bar appears."""

LARGE_ENTRIES = 10_000_000
"""Rows times columns from which the cost of a fit is said before it begins."""

SHOWN, MATRIX = 6, 4
"""Numbers shown of a longer vector; rows and columns of the largest matrix that is shown."""


def _is_kmeans(estimator) -> bool:
    return hasattr(estimator, "cluster_centers_")


# ---- commands -----------------------------------------------------------------------------------------------


def fit(
    data: Annotated[Path, typer.Argument(help="Rows to fit: text (with or without a header), .npy or .parquet.")],
    family: Annotated[str, typer.Option("--family", "-f", help="A name that `expfam-em families` lists.")] = "gaussian",
    constant: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="As in shape=2; repeat it.")] = None,
    components: Annotated[int, typer.Option("--components", "-k", help="Number of components.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the model to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the clusters into this file (.png, .pdf, .svg).")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to use, as in a,b,c; all by default.")] = None,
    weights_column: Annotated[str | None, typer.Option(help="Column with the weights of the rows.")] = None,
    keep_row_names: Annotated[bool, typer.Option("--keep-row-names", help="Row names are data, too.")] = False,
    separator: Annotated[str | None, typer.Option(help="What is between cells: a character, tab or blank.")] = None,
    header: Annotated[bool | None, typer.Option(help="Whether the first line holds names.")] = None,
    covariance_type: Annotated[str | None, typer.Option(help="full, tied, diag, spherical, or a model: VEV.")] = None,
    init: Annotated[
        str | None, typer.Option(help="mixed, k-means++, kmeans, random, random_from_data or another name.")
    ] = None,
    n_init: Annotated[int | None, typer.Option(help="Starts; the best fit is kept.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Most steps of a start.")] = None,
    tol: Annotated[
        float | None, typer.Option(help="What may be left to gain per row, or the change per step; 0 makes all steps.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="1 is EM, 0 hard assignment.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes the fit repeatable.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Fit a mixture to the rows of a file and print it."""
    with _errors_in_one_sentence():
        options = {
            "covariance_type": covariance_type, "init": init, "n_init": n_init, "max_iter": max_iter, "tol": tol,
            "temperature": temperature, "random_state": seed,
        }  # fmt: skip
        estimator = make_estimator(family, components, options, parse_constants(constant))
        _check_outputs((output, plot), (data,))
        if plot is not None:
            _use_matplotlib(plot)
        with _warnings_said(quiet):
            table = open_table(data, separator, header)
            names, X, weight = _rows(table, _split(columns), weights_column, keep_row_names, bool(columns))
        with _rows_named(table, names):
            _fit(estimator, X, weight, quiet)
        estimator.column_names_ = names  # saved with the model, for `predict`
        if output is not None:
            estimator.save(output)
        if plot is not None:
            _draw(estimator, X, names, plot)
        if not quiet:
            with _warnings_said():
                _print_model(estimator, X, weight)


def predict(
    model: Annotated[Path, typer.Argument(help="A file that `expfam-em fit --output` wrote.")],
    data: Annotated[Path, typer.Argument(help="Rows: text (with or without a header), .npy or .parquet.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write CSV to this file.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to use; those of the fit by default.")] = None,
    separator: Annotated[str | None, typer.Option(help="What is between cells: a character, tab or blank.")] = None,
    header: Annotated[bool | None, typer.Option(help="Whether the first line holds names.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the responsibilities.")] = False,
) -> None:
    """Write the component of each row of a file as CSV."""
    with _errors_in_one_sentence(), _warnings_said():
        _check_outputs((output,), (model, data))
        estimator = load(model)
        table = open_table(data, separator, header)
        names, X, _ = _rows(table, _split(columns) or _names_for(estimator, table), sure=bool(columns))
        # the columns are known by name here; to scikit-learn an array has none
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        with _rows_named(table, names):
            titles, written = ["label"], [estimator.predict(X).tolist()]
        if proba:
            if _is_kmeans(estimator):
                raise ValueError(f"{model} is a k-means model, which has labels only: leave out --proba")
            responsibilities = estimator.predict_proba(X)
            titles += [f"responsibility_{k}" for k in range(responsibilities.shape[1])]
            written += responsibilities.T.tolist()
        _write_csv(output, titles, zip(*written, strict=True))


def families() -> None:
    """List the names that --family takes."""
    with _errors_in_one_sentence():
        with _warnings_said():
            described = describe()
        width = max(map(len, described))
        for name, words in described.items():
            print(f"{name:<{width}}  {words}")


def _check_outputs(outputs, inputs):
    """Say before a long fit, not after it, that a file cannot be written or would replace another of the command."""
    taken = list(inputs)
    for file in filter(None, outputs):
        if not file.absolute().parent.is_dir():
            raise ValueError(f"cannot write {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise ValueError(f"cannot write {file}: it is a folder")
        for other in taken:
            if file == other or (file.exists() and other.exists() and file.samefile(other)):
                raise ValueError(f"cannot write {file}: it is also {other}, which would be replaced; give another file")
        taken.append(file)


def _rows(table, names, weights_column=None, keep_row_names=False, sure=False):
    """Return names of columns, their numbers (n, d), and the weights of the rows.

    Without ``names`` these are all columns but the weights and the row names; if nobody is ``sure`` that row numbers
    are data, a column that counts the rows is said, or left out if the file has no names.
    """
    every = not names
    if every:
        names = [name for name in (table.names if keep_row_names else table.data_names) if name != weights_column]
    # read together, because all have the same decimal mark
    X = table.columns([*names, *([] if weights_column is None else [weights_column])])
    weight = None
    if weights_column is not None:
        X, weight = np.ascontiguousarray(X[:, :-1]), X[:, -1]
        if (weight < 0).any():
            place = table.place(int(np.argmax(weight < 0)))
            raise ValueError(f"{place}, column {weights_column!r} holds a negative weight; leave such rows out")
        if not weight.any():
            raise ValueError(f"{table.path}: no weight in column {weights_column!r} is above 0")
    if sure or keep_row_names:
        return names, X, weight
    for name in table.row_names if every else []:
        _warn(f"{table.path}: column {name!r} holds row names and is left out; --keep-row-names keeps it")
    for j in reversed(counting_columns(X)):
        if j == 0 and every and not table.named and len(names) > 1:
            _warn(f"{table.path}: column {names[0]!r} counts the rows and is left out; --keep-row-names keeps it")
            names, X = names[1:], np.ascontiguousarray(X[:, 1:])
        else:
            _warn(f"{table.path}: column {names[j]!r} counts the rows, but is used; --columns can leave it out")
    return names, X, weight


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


@contextmanager
def _rows_named(table, names):
    """Say of rows and columns that cannot be fitted where they are in their file."""
    try:
        yield
    except OutsideSupportError as error:
        place = f"{table.place(error.row)}, column {names[error.column]!r}"
        raise ValueError(f"{place} holds {error.value}; {error.needs}") from error
    except ImpossibleRowError as error:
        raise ValueError(f"{table.place(error.row)}: {error.counted_from(1)}") from error
    except ValueError as error:
        called = {str(number): repr(name) for number, name in enumerate(names)}
        named = re.sub(r"\bcolumn (\d+)", lambda found: f"column {called.get(found[1], found[1])}", str(error))
        if named == str(error):
            raise
        raise ValueError(f"{table.path}: {named}") from error


def _names_for(estimator, table) -> list[str]:
    """Return the columns of the fit if the table has them, or if the names on both sides must mean something."""
    fitted = list(getattr(estimator, "column_names_", getattr(estimator, "feature_names_in_", table.data_names)))
    if set(fitted) <= set(table.names):
        return fitted
    return [] if not table.named or all(name.isdigit() for name in fitted) else fitted


def _split(columns: str | None) -> list[str]:
    """Return the names in a,b,"c, d"."""
    if columns is None:
        return []
    return [name.strip() for name in next(csv.reader([columns], skipinitialspace=True))] or [""]


def _write_csv(path, header, rows):
    if path is None and sys.stdout is None:
        raise ValueError("the standard output is closed; give --output")
    with nullcontext(sys.stdout) if path is None else open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


# ---- fitting, with a bar when it takes long -----------------------------------------------------------------


def _fit(estimator, X, weight, quiet):
    shown = Console(stderr=True).is_terminal and not quiet
    with _warnings_said(quiet):
        if X.size >= LARGE_ENTRIES and not quiet:
            _say_cost(estimator, X)
        bar = [Progress(delay=SECONDS_WITHOUT_BAR, leave=False)] if shown else []
        estimator.fit(X, sample_weight=weight, callbacks=bar)


def _say_cost(estimator, X):
    """Say what a fit of a mixture will cost; nothing of k-means, whose steps become cheaper and cheaper."""
    if not hasattr(estimator, "n_components"):
        return
    with suppress(ValueError):  # of rows that cannot be fitted, which the fit itself says
        some, _ = estimator._prepare(X[:: -(-len(X) // DRAWN_ROWS)], fitting=True)
        family, (n, d) = estimator._make_family(), X.shape
        cost = estimated_cost(
            family, n, d, estimator.n_components, X=some, n_init=estimator.n_init, n_steps=estimator.max_iter
        )
        _say(f"{n:,} rows of {d} columns: {cost}")


@contextmanager
def _warnings_said(quiet=False):
    """Print warnings as sentences, once the block is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in [] if quiet else dict.fromkeys(str(warning.message) for warning in caught):
        _say(f"warning: {message}")


# ---- what a fit looks like ----------------------------------------------------------------------------------


def _print_model(estimator, X, weight):
    console, mixture = Console(), estimator.mixture_
    each, shared = _by_component(mixture)
    weights = mixture.weights
    if _is_kmeans(estimator):  # its weights and variances are equal by decree: the shares of the clusters say more
        counts = np.bincount(estimator.labels_, weight, mixture.n_components)
        each, weights = {"means": estimator.cluster_centers_}, counts / counts.sum()
    table = Table(header_style="bold", show_lines=any(np.ndim(values) > 2 for values in each.values()))
    table.add_column("component", justify="right")
    table.add_column("weight", justify="right")
    for name in each:
        table.add_column(escape(name))
    for k in range(mixture.n_components):
        table.add_row(str(k), f"{weights[k]:.4f}", *(compact(values[k]) for values in each.values()))
    console.print(table)
    facts = Table(box=None, show_header=False, pad_edge=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in shared.items():
        facts.add_row(f"{name}, all components", compact(value))
    for name, value in _facts(estimator, X, weight):
        facts.add_row(name, value)
    console.print(facts)


def _facts(estimator, X, weight) -> list[tuple[str, str]]:
    if _is_kmeans(estimator):
        return [("inertia", f"{estimator.inertia_:.8g}"), ("iterations", str(estimator.n_iter_))]
    total = len(X) if weight is None else weight.sum()
    mean = estimator.score(X, sample_weight=weight)
    return [
        ("log-likelihood", f"{mean:.6f} per row, {mean * total:.8g} in all"),
        ("iterations", str(estimator.n_iter_)),
        ("status", estimator.status_),
        *((name.upper(), f"{getattr(estimator, name)(X, weight):.8g}") for name in ("aic", "bic", "icl")),
    ]


def _by_component(mixture) -> tuple[dict, dict]:
    """Split the named parameters into those of each component and those that all share."""
    once, twice = (mixture.components([0] * n).parameters for n in (1, 2))
    named = {name: np.asarray(value) for name, value in mixture.parameters.items()}
    shared = {name: value for name, value in named.items() if np.shape(once[name]) == np.shape(twice[name])}
    return {name: value for name, value in named.items() if name not in shared}, shared


def compact(value) -> str:
    """Return a number, vector or matrix in a few characters."""
    value = np.asarray(value)
    if value.ndim == 0:
        return f"{value:.4g}" if value.dtype.kind in "biuf" else escape(str(value))
    if value.ndim == 1:
        shown = ", ".join(compact(item) for item in value[:SHOWN])
        return shown if len(value) <= SHOWN else f"{shown}, … ({len(value)})"
    if value.ndim == 2 and max(value.shape) <= MATRIX:
        cells = [[compact(item) for item in row] for row in value]
        width = max(len(cell) for row in cells for cell in row)
        return "\n".join("  ".join(cell.rjust(width) for cell in row) for row in cells)
    shape = " × ".join(map(str, value.shape))
    if value.ndim == 2 and value.shape[0] == value.shape[1]:
        return f"{shape}, diagonal {compact(np.diag(value))}"
    return shape


def _use_matplotlib(path):
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ImportError('--plot needs matplotlib: pip install "expfam_em[plot]"') from None
    matplotlib.use("Agg")
    known = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise ValueError(f"cannot draw into {path}: its name must end in one of .{', .'.join(known)}")


def _draw(estimator, X, names, path):
    from matplotlib import pyplot

    mixture = estimator.mixture_
    if _is_kmeans(estimator):
        responsibilities = np.eye(mixture.n_components)[estimator.labels_]
    else:
        responsibilities = estimator.predict_proba(X)
    chosen = tuple(range(min(2, X.shape[1])))
    figure, axes = pyplot.subplots(layout="constrained")
    plot_clusters(X, responsibilities, mixture=mixture, columns=chosen, names=[names[i] for i in chosen], ax=axes)
    figure.savefig(path)
    pyplot.close(figure)


# ---- errors and the entry -----------------------------------------------------------------------------------


def _say(sentence: str) -> None:
    print(" ".join(str(sentence).split()), file=sys.stderr)


def _stop(sentence: str, code: int) -> NoReturn:
    _say(f"error: {sentence}")
    raise SystemExit(code)


@contextmanager
def _errors_in_one_sentence():
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _stop(": ".join(str(part) for part in (error.filename, error.strerror) if part) or str(error), 1)
    except (ValueError, ImportError, NotImplementedError, MemoryError, csv.Error) as error:
        _stop(str(error) or type(error).__name__, 1)


app = None
if typer is not None:
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
    for command in (fit, predict, families):
        app.command()(command)


def main() -> None:
    """Run the command line: exit code 0, 1 for bad input, 2 for a command that cannot be understood."""
    if app is None:
        _stop('the command line needs typer and rich: pip install "expfam_em[cli]"', 2)
    try:
        code = app(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where an error has a sentence, not as the interpreter ends
    except typer.Abort:
        _stop("stopped", 1)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail again at the end
        if isinstance(error, BrokenPipeError):
            raise SystemExit(1) from None  # as of `| head -1`, which has what it wants
        _stop(f"the standard output: {error.strerror}", 1)
    except Exception as error:
        # the base class of what typer raises about its arguments is not exported by every version
        if not hasattr(error, "format_message"):
            raise
        if not (sentence := error.format_message()):
            raise SystemExit(2) from None  # the help was printed instead
        _stop(sentence, 1 if type(error) is typer.BadParameter else 2)
    raise SystemExit(code if isinstance(code, int) else 0)
