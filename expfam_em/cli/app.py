"""The command line: fit a mixture to a file of rows, apply it to another, list the families."""

from __future__ import annotations

import csv
import sys
import threading
import warnings
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np

from expfam_em.cli.names import describe, make_estimator, parse_constants
from expfam_em.cli.tables import open_table
from expfam_em.estimators import load
from expfam_em.plots import plot_clusters

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table
except ImportError:  # the extra is missing; `main` says so
    typer = None  # type: ignore[assignment]

SECONDS_WITHOUT_BAR = 1.0
"""How long a fit may take before a progress bar appears."""

SHOWN, MATRIX = 6, 4
"""Numbers shown of a longer vector; rows and columns of the largest matrix that is shown."""


def _is_kmeans(estimator) -> bool:
    return hasattr(estimator, "cluster_centers_")


# ---- commands -----------------------------------------------------------------------------------------------


def fit(
    data: Annotated[Path, typer.Argument(help="Rows to fit: .csv (with or without a header), .npy or .parquet.")],
    family: Annotated[str, typer.Option("--family", "-f", help="A name that `expfam-em families` lists.")] = "gaussian",
    constant: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="As in shape=2; repeat it.")] = None,
    components: Annotated[int, typer.Option("--components", "-k", help="Number of components.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the model to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the clusters into this file (.png, .pdf, .svg).")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to use, as in a,b,c; all by default.")] = None,
    weights_column: Annotated[str | None, typer.Option(help="Column with the weights of the rows.")] = None,
    covariance_type: Annotated[str | None, typer.Option(help="full, tied, diag, spherical, or a model: VEV.")] = None,
    init: Annotated[str | None, typer.Option(help="k-means++, kmeans, random or random_from_data.")] = None,
    n_init: Annotated[int | None, typer.Option(help="Starts; the best fit is kept.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Most steps of a start.")] = None,
    tol: Annotated[float | None, typer.Option(help="Change per step at which to stop; 0 makes all steps.")] = None,
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
        for file in filter(None, (output, plot)):
            if not file.absolute().parent.is_dir():  # said before a long fit, not after it
                raise ValueError(f"cannot write {file}: there is no folder {file.parent}")
        if plot is not None:
            _use_matplotlib()
        table = open_table(data)
        weight = None if weights_column is None else table.columns([weights_column])[:, 0]
        names = _split(columns) or [name for name in table.names if name != weights_column]
        X = table.columns(names)
        _fit(estimator, X, weight, quiet)
        estimator.column_names_ = names  # saved with the model, for `predict`
        if output is not None:
            estimator.save(output)
        if plot is not None:
            _draw(estimator, X, names, plot)
        if not quiet:
            _print_model(estimator, X, weight)


def predict(
    model: Annotated[Path, typer.Argument(help="A file that `expfam-em fit --output` wrote.")],
    data: Annotated[Path, typer.Argument(help="Rows: .csv (with or without a header), .npy or .parquet.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write CSV to this file.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to use; those of the fit by default.")] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the responsibilities.")] = False,
) -> None:
    """Write the component of each row of a file as CSV."""
    with _errors_in_one_sentence(), warnings.catch_warnings():
        estimator = load(model)
        table = open_table(data)
        X = table.columns(_split(columns) or _names_for(estimator, table))
        # the columns are known by name here; to scikit-learn an array has none
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        header, written = ["label"], [estimator.predict(X).tolist()]
        if proba:
            if _is_kmeans(estimator):
                raise ValueError(f"{model} is a k-means model, which has labels only: leave out --proba")
            responsibilities = estimator.predict_proba(X)
            header += [f"responsibility_{k}" for k in range(responsibilities.shape[1])]
            written += responsibilities.T.tolist()
        _write_csv(output, header, zip(*written, strict=True))


def families() -> None:
    """List the names that --family takes."""
    with _errors_in_one_sentence():
        with _warnings_said():
            described = describe()
        width = max(map(len, described))
        for name, words in described.items():
            print(f"{name:<{width}}  {words}")


def _names_for(estimator, table) -> list[str]:
    """Return the columns of the fit if the table has them, or if the names on both sides must mean something."""
    fitted = list(getattr(estimator, "column_names_", getattr(estimator, "feature_names_in_", table.names)))
    if set(fitted) <= set(table.names):
        return fitted
    return table.names if not table.named or all(name.isdigit() for name in fitted) else fitted


def _split(columns: str | None) -> list[str]:
    return [] if columns is None else [name.strip() for name in columns.split(",")]


def _write_csv(path, header, rows):
    with nullcontext(sys.stdout) if path is None else open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


# ---- fitting, with a bar when it takes long -----------------------------------------------------------------


def _fit(estimator, X, weight, quiet):
    console = Console(stderr=True)
    bar = _bar(estimator.max_iter, console) if console.is_terminal and not quiet else nullcontext()
    with _warnings_said(quiet), bar as show:
        estimator.fit(X, sample_weight=weight, callbacks=[show] if show else [])


@contextmanager
def _warnings_said(quiet=False):
    """Print warnings as sentences, once the block is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in [] if quiet else caught:
        _say(f"warning: {warning.message}")


@contextmanager
def _bar(max_iter, console):
    """Give a callback that shows step and best mean bound, once the fit has taken SECONDS_WITHOUT_BAR seconds."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    progress = Progress(*columns, console=console, transient=True)
    task = progress.add_task("fitting", total=None)

    def show(state):
        words = f"step {state.n_iter} of at most {max_iter}, mean bound {state.mean_bounds.max():.6g}"
        progress.update(task, total=max_iter, completed=state.n_iter, description=words)

    timer = threading.Timer(SECONDS_WITHOUT_BAR, progress.start)
    timer.start()
    try:
        yield show
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


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


def _use_matplotlib():
    try:
        import matplotlib
    except ImportError:
        raise ImportError('--plot needs matplotlib: pip install "expfam_em[plot]"') from None
    matplotlib.use("Agg")


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
        _stop(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), 1)
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
    except typer.Abort:
        _stop("stopped", 1)
    except Exception as error:
        # the base class of what typer raises about its arguments is not exported by every version
        if not hasattr(error, "format_message"):
            raise
        if not (sentence := error.format_message()):
            raise SystemExit(2) from None  # the help was printed instead
        _stop(sentence, 1 if type(error) is typer.BadParameter else 2)
    raise SystemExit(code if isinstance(code, int) else 0)
