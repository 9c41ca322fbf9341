"""The command line: fit mixtures to files of rows, compare them, and apply them to others."""

from __future__ import annotations

import csv
import itertools
import logging
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
import typer

import expfam_em
from expfam_em.checking import check_family as check
from expfam_em.cli import report
from expfam_em.cli.files import STANDARD, open_file, written
from expfam_em.cli.names import (
    AUTO,
    describe,
    family_of,
    make_estimator,
    parse_column_families,
    parse_constants,
    spellings,
)
from expfam_em.cli.tables import READ_ROWS, MissingError, Table, counting_columns, import_pandas, open_table
from expfam_em.cli.text import TextCellError, import_pyarrow
from expfam_em.cost import DRAWN_ROWS, estimated_cost
from expfam_em.estimators import load
from expfam_em.estimators import select as compare
from expfam_em.families.composed.inferred import UntoldFamilyError
from expfam_em.families.composed.product import Product
from expfam_em.families.gaussian.gaussian import COVARIANCE_TYPES
from expfam_em.family.optional import OfLabels
from expfam_em.family.support import ImpossibleRowError, OutsideSupportError
from expfam_em.progress import with_bar
from expfam_em.rows.columns import UnseenLabelError, listed

LARGE_ENTRIES = 10_000_000
"""Rows times columns from which rows are not held in memory, and the cost of a fit is said before it begins."""

DRAWN = 20_000
"""Rows of a picture; of more, so many at equal distances."""

# ---- what commands have in common ---------------------------------------------------------------------------

Rows = Annotated[Path, typer.Argument(help="Rows: text, also packed, .npy or .parquet; - is the standard input.")]
Model = Annotated[Path, typer.Argument(help="A file that `expfam-em fit --output` wrote; - is the standard input.")]
Family = Annotated[
    str,
    typer.Option(
        "--family",
        "-f",
        autocompletion=spellings,
        help="A name that `expfam-em families` lists. auto: one for each column, labels of text among them.",
    ),
]
Constants = Annotated[list[str] | None, typer.Option("--constant", metavar="NAME=VALUE", help="As in shape=2.")]
Columns = Annotated[str | None, typer.Option(help="Columns to use, as in a,b,c; those of the model or all by default.")]
Weights = Annotated[str | None, typer.Option("--weights-column", help="Column with the weights of the rows.")]
RowNames = Annotated[bool, typer.Option("--keep-row-names", help="Row names are data, too.")]
Separator = Annotated[str | None, typer.Option(help="What is between cells: a character, tab or blank.")]
Header = Annotated[bool | None, typer.Option(help="Whether the first line holds names.")]
Missing = Annotated[bool, typer.Option("--missing", help="Cells may be missing, at random.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file: .csv or .parquet.")]
Picture = Annotated[Path | None, typer.Option("--plot", help="Draw into this file: .png, .pdf, .svg.")]
Seed = Annotated[int | None, typer.Option(help="Makes the result repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


class Given(NamedTuple):
    """Rows that a command was given."""

    table: Table
    names: list[str]
    missing: bool
    model: Any
    rows: Any
    labels: Mapping[str, Any] = MappingProxyType({})
    """The categories of columns that hold codes of labels, by name."""
    framed: bool = False
    """Whether estimators are given a frame in any case."""

    @property
    def is_large(self) -> bool:
        """Whether the rows are not to be held in memory."""
        return len(self.rows) * len(self.names) >= LARGE_ENTRIES and not self.missing and not self.labels

    def loaded(self, whole: bool) -> tuple[Any, Any]:
        """Return rows and weights for an estimator: in memory, unless they are many and it can do without."""
        if self.is_large and not whole:
            return self.rows, None
        X, weight = self.table.in_memory(self.rows, self.names, self.missing)
        return self.shown(X), weight

    def shown(self, X: np.ndarray) -> Any:
        """Return rows as an estimator takes them: a frame where labels are among them, with the names of the fit."""
        if not self.labels and not self.framed:
            return X
        pandas, columns = import_pandas(), {}
        fitted = _names_of(self.model) or []
        for j, name in enumerate(self.names):
            called, column = fitted[j] if len(fitted) == len(self.names) else name, X[:, j]
            if name in self.labels:
                codes = np.where(np.isnan(column), -1, column).astype(int)
                column = pandas.Categorical.from_codes(codes, dtype=self.labels[name])
                if self.model is not None:
                    as_fitted = _as_fitted(self.model.levels_.get(called, ()))
                    column = pandas.Categorical(column.map(as_fitted, na_action="ignore"))
            columns[called] = column
        return pandas.DataFrame(columns)

    def say_missing(self) -> None:
        """Say how many cells of which columns are missing."""
        counts = sum(np.isnan(chunk.X).sum(axis=0) for chunk in self.rows.chunks(READ_ROWS))
        if found := [f"{name!r} ({n})" for name, n in zip(self.names, counts, strict=True) if n]:
            _warn(f"{self.table.name}: cells are missing, and rows count by what is there: columns {listed(found)}")

    def name_columns(self, estimator: Any) -> None:
        """Give a fitted estimator the names of the columns, which are saved with it: `_names_of` returns them."""
        if self.table.named:
            estimator.feature_names_in_ = np.array(self.names, object)
        else:
            estimator.column_names_ = self.names

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say of rows and columns that cannot be used where they are in their file."""
        try:
            yield
        except MissingError as error:
            raise self.table.missing(error) from None
        except OutsideSupportError as error:
            place = f"{self.table.place(error.row)}, column {self.names[error.column]!r}"
            raise ValueError(f"{place} holds {error.value}; {error.needs}") from error
        except ImpossibleRowError as error:
            raise ValueError(f"{self.table.place(error.row)}: {error.counted_from(1)}") from error
        except UnseenLabelError as error:
            raise ValueError(f"{self.table.place(error.row)}, {error.what()}. Leave such rows out") from error
        except UntoldFamilyError as error:
            out = " ".join(f"--column-family {shlex.quote(f'{name}=none')}" for name in error.columns)
            raise ValueError(
                f"{self.table.name}: {error.what}, which tells no family; give {out} to leave such columns out, or "
                "another family than none, such as categorical"
            ) from error
        except ValueError as error:
            called = {str(number): repr(name) for number, name in enumerate(self.names)}
            said = re.sub(r"\bcolumn (\d+)", lambda found: f"column {called.get(found[1], found[1])}", str(error))
            if said == str(error):
                raise
            raise ValueError(f"{self.table.name}: {said}") from error

    def told(self, tell: Any) -> Iterator[list[np.ndarray]]:
        """Give what is said of the rows, columns side by side, some rows at a time."""
        with self.named():
            for chunk in self.rows.chunks(READ_ROWS):
                X = np.ascontiguousarray(chunk.X)
                if not self.missing and X.dtype.kind == "f" and not np.isfinite(X).all():
                    self.table.in_memory(self.rows, self.names)  # which says where
                try:
                    yield tell(self.shown(X))
                except (ImpossibleRowError, UnseenLabelError) as error:
                    raise error.counted_from(chunk.first) from None


def _as_fitted(levels: Iterable[Any]) -> Callable[[Any], Any]:
    """Return what gives the level of a fit that a label of a file stands for; 1, 1.0 and "1" are the same.

    A number is text in a file of text, and a column of whole numbers some of which are missing is one of floats.
    """
    by_text = {str(level): level for level in levels}
    by_value: dict[Decimal | None, list[Any]] = {}
    for text, level in by_text.items():
        by_value.setdefault(_value(text), []).append(level)
    by_value.pop(None, None)

    def found(label: Any) -> Any:
        text = str(label)
        alike = by_value.get(_value(text), ())
        return by_text[text] if text in by_text else alike[0] if len(alike) == 1 else label

    return found


def _value(text: str) -> Decimal | None:
    """Return the number that a text is, with all its digits; None if it is none."""
    with suppress(ArithmeticError):
        value = Decimal(text)
        return value if value.is_finite() and "_" not in text else None
    return None


def open_rows(
    path: Path, columns: str | None, weight: str | None, separator: str | None, header: bool | None,
    missing: bool = False, keep_row_names: bool = False, model: Any = None, labels: bool = False,
    without: Collection[str] = (),
) -> Given:  # fmt: skip
    """Return the rows of a file.

    Columns are those of ``columns`` or of the model, else all but the weights and the row names; unless they have been
    chosen, one that counts the rows is said, or left out if the file has no names. Text is read as labels in the
    columns where the model has some, or in all columns.
    """
    table, sure = open_table(open_file(path), separator, header), bool(columns) or keep_row_names
    names = _split(columns) or ([] if model is None else _names_for(model, table))
    if every := not names:
        names = [name for name in (table.names if keep_row_names else table.data_names) if name != weight]
    for name in without:
        if name not in names:
            raise ValueError(f"{table.name}: no column is named {name!r}; the columns are {listed(names)}")
    names = [name for name in names if name not in without]
    if weight is not None:
        _check_weights(table, weight)
    missing = missing or (model is not None and _is_product(model))

    def given() -> Given:
        if not labels and not hasattr(model, "levels_"):
            try:
                return Given(table, names, missing, model, table.rows(names, weight, missing))
            except TextCellError as error:
                raise ValueError(f"{error}; the family auto takes text as labels" if model is None else error) from None
        pairs = zip(names, _names_of(model) or [], strict=False)
        chosen = None if model is None else [name for name, fitted in pairs if fitted in model.levels_]
        return Given(table, names, missing, model, *table.mixed_rows(names, weight, missing, chosen))

    found = given()
    if sure:
        return found
    for name in table.row_names if every else []:
        _warn(f"{table.name}: column {name!r} holds row names and is left out; --keep-row-names keeps it")
    for j in reversed(counting_columns(found.rows)):
        if names[j] in found.labels:  # codes, by the order of what they stand for
            continue
        if j == 0 and every and not table.named and len(names) > 1:
            _warn(f"{table.name}: column {names[0]!r} counts the rows and is left out; --keep-row-names keeps it")
            names = names[1:]
            found = given()
        else:
            _warn(f"{table.name}: column {names[j]!r} counts the rows, but is used; --columns can leave it out")
    return found


def _check_weights(table: Table, name: str) -> None:
    """Raise a ValueError unless weights are numbers from 0, and one is above."""
    w, _ = table.in_memory(table.rows([name]), [name])
    if (w < 0).any():
        place = table.place(int(np.argmax(w < 0)))
        raise ValueError(f"{place}, column {name!r} holds a negative weight; leave such rows out")
    if not w.any():
        raise ValueError(f"{table.name}: no weight in column {name!r} is above 0")


def _names_for(model: Any, table: Table) -> list[str]:
    """Return the columns of the fit if the table has them, or if the names on both sides must mean something."""
    fitted = list(_names_of(model) or table.data_names)
    if set(fitted) <= set(table.names):
        return fitted
    return [] if not table.named or all(name.isdigit() for name in fitted) else fitted


def _names_of(model: Any) -> list[str] | None:
    found = getattr(model, "feature_names_in_", getattr(model, "column_names_", None))
    return None if found is None else list(found)


def _split(columns: str | None) -> list[str]:
    """Return the names in a,b,"c, d"."""
    if columns is None:
        return []
    return [name.strip() for name in next(csv.reader([columns], skipinitialspace=True))] or [""]


def _open_model(path: Path) -> Any:
    file = open_file(path)
    try:
        return load(file.path)
    except ValueError as error:
        raise ValueError(str(error).replace(str(file.path), file.name)) from None


def _check_paths(outputs: Iterable[Path | None], inputs: Iterable[Path]) -> None:
    """Say before a long fit, not after it, that a file cannot be written or would replace another of the command."""
    if (inputs := list(inputs)).count(STANDARD) > 1:
        raise ValueError("two files are to come from the standard input; give one of them by name")
    taken = [path for path in inputs if path != STANDARD]
    for file in filter(None, outputs):
        if file == STANDARD:
            continue
        if not file.absolute().parent.is_dir():
            raise ValueError(f"cannot write {file}: there is no folder {file.parent}")
        if file.is_dir():
            raise ValueError(f"cannot write {file}: it is a folder")
        for other in taken:
            if file == other or (file.exists() and other.exists() and file.samefile(other)):
                raise ValueError(f"cannot write {file}: it is also {other}, which would be replaced; give another file")
        taken.append(file)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


def _say(sentence: str) -> None:
    print(" ".join(str(sentence).split()), file=sys.stderr)


@contextmanager
def _warnings_said(quiet: bool = False) -> Iterator[None]:
    """Print warnings as sentences, once the block is done; if quiet, let nothing be said but errors."""
    logger, level = logging.getLogger("expfam_em"), logging.getLogger("expfam_em").level
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", "X does not have valid feature names")  # columns are known by name here
            if quiet:
                logger.setLevel(logging.WARNING)
            yield
    finally:
        logger.setLevel(level)
    for message in [] if quiet else dict.fromkeys(str(warning.message) for warning in caught):
        _say(f"warning: {message}")


def _write(path: Path | None, titles: Sequence[str], parts: Iterable[list[np.ndarray]]) -> None:
    """Write columns, some rows at a time, as .parquet or CSV."""
    parts = iter(parts)
    parts = itertools.chain([next(parts)], parts)  # the first is there before anything is written
    if path is not None and path.suffix == ".parquet":
        arrow, file = import_pyarrow(), cast(Any, None)
        with written(path) as whole:
            for part in parts:
                table = arrow.table(dict(zip(titles, part, strict=True)))
                file = file or arrow.parquet.ParquetWriter(whole, table.schema)
                file.write_table(table)
            file.close()
        return
    if path in (None, STANDARD):
        if sys.stdout is None:
            raise ValueError("the standard output is closed; give --output")
        _write_csv(sys.stdout, titles, parts)
        return
    with written(path) as whole, open(whole, "w", newline="", encoding="utf-8") as file:
        _write_csv(file, titles, parts)


def _write_csv(file: Any, titles: Sequence[str], parts: Iterable[list[np.ndarray]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(titles)
    for part in parts:
        writer.writerows(zip(*(column.tolist() for column in part), strict=True))


# ---- pictures -----------------------------------------------------------------------------------------------


def _save_picture(axes: Any, path: Path) -> None:
    """Write the figure that axes, or an array of them, belong to, and close it."""
    from matplotlib import pyplot

    figure = np.ravel(np.asarray(axes, object))[0].figure
    try:
        with written(path) as whole:
            figure.savefig(whole, format=path.suffix[1:].lower() or "png")
    finally:
        pyplot.close(figure)


def _check_picture(path: Path | None) -> None:
    """Say before a fit that a picture cannot be drawn."""
    if path is None:
        return
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "expfam_em[plot]"') from None
    matplotlib.use("Agg")
    known = FigureCanvasAgg.get_supported_filetypes()
    if path != STANDARD and path.suffix[1:].lower() not in known:
        raise ValueError(f"cannot draw into {path}: its name must end in one of .{', .'.join(known)}")


def _draw(estimator: Any, given: Given, shown: Sequence[str], path: Path) -> None:
    """Draw some of the rows as `plot` of the estimator does: all columns, or those that are named."""
    step = -(-len(given.rows) // DRAWN)
    X = np.concatenate([chunk.X[-chunk.first % step :: step] for chunk in given.rows.chunks(READ_ROWS)])
    at = [given.names.index(name) for name in shown]
    _save_picture(estimator.plot(given.shown(X), columns=at or None), path)


# ---- commands -----------------------------------------------------------------------------------------------

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(expfam_em.__version__)
        raise typer.Exit


@app.callback()
def _before(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    pass


def _is_kmeans(estimator: Any) -> bool:
    return hasattr(estimator, "cluster_centers_") or not hasattr(estimator, "n_components")


def _is_product(model: Any) -> bool:
    """Whether each column has a family of its own: cells may then be missing without --missing, as in Python."""
    return isinstance(model.mixture_.family, Product)


@app.command()
def fit(
    data: Rows,
    family: Family = "gaussian",
    constant: Constants = None,
    components: Annotated[int, typer.Option("--components", "-k", help="Number of components.")] = 1,
    column_family: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=FAMILY", help="With --family auto: of a column; none leaves it out."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the model to this file.")] = None,
    plot: Picture = None,
    columns: Columns = None,
    weights_column: Weights = None,
    keep_row_names: RowNames = False,
    missing: Missing = False,
    separator: Separator = None,
    header: Header = None,
    covariance_type: Annotated[str | None, typer.Option(help="full, tied, diag, spherical, or a model: VEV.")] = None,
    init: Annotated[
        str | None, typer.Option(help="mixed, k-means++, kmeans, random, random_from_data or another name.")
    ] = None,
    n_init: Annotated[int | None, typer.Option(help="Starts; the best fit is kept.")] = None,
    max_iter: Annotated[int | None, typer.Option(help="Most steps of a start.")] = None,
    tol: Annotated[
        float | None, typer.Option(help="What may be left to gain per row, or the change per step; 0 makes all steps.")
    ] = None,
    stop: Annotated[str | None, typer.Option(help="What --tol is compared with: maximum, bound or parameters.")] = None,
    acceleration: Annotated[str | None, typer.Option(help="auto goes further than EM where it gains more.")] = None,
    temperature: Annotated[float | None, typer.Option(help="1 is EM, 0 hard assignment.")] = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture to the rows of a file and print it."""
    options = {
        "covariance_type": covariance_type, "init": init, "n_init": n_init, "max_iter": max_iter, "tol": tol,
        "stop": stop, "acceleration": acceleration, "temperature": temperature, "random_state": seed,
    }  # fmt: skip
    estimator = make_estimator(family, components, options, parse_constants(constant))
    families = parse_column_families(column_family, family)
    _check_paths((output, plot), (data,))
    _check_picture(plot)
    with _warnings_said(quiet):
        auto = family == AUTO
        given = open_rows(
            data, columns, weights_column, separator, header, missing or auto, keep_row_names,
            labels=auto or any(estimator._label_columns(1)),
            without=[name for name, chosen in families.items() if chosen is None],
        )  # fmt: skip
        given = given._replace(framed=auto and (given.table.named or bool(families)))
    with _warnings_said(quiet), given.named():
        X, weight = given.loaded(whole=_is_kmeans(estimator) or auto)
        if auto and not missing:
            given.say_missing()
        if families:
            of_columns = {name: chosen for name, chosen in families.items() if chosen is not None}
            estimator.set_params(family=Product.infer(X, of_columns))
        if len(given.rows) * len(given.names) >= LARGE_ENTRIES and not quiet and not auto:
            _say_cost(estimator, given)
        estimator.fit(X, sample_weight=weight, callbacks=with_bar([], not quiet))
    given.name_columns(estimator)
    if output is not None:
        with written(output) as whole:
            estimator.save(whole)
    with _warnings_said(quiet):
        if plot is not None:
            _draw(estimator, given, [], plot)
        if not quiet:
            _print_model(estimator, given.names, X, weight, sys.stderr if output == STANDARD else sys.stdout)


def _print_model(estimator: Any, names: list[str], X: Any, weight: Any, file: Any) -> None:
    if _is_kmeans(estimator):  # the shares of the clusters say more than its weights, which are equal by decree
        counts = np.bincount(estimator.labels_, weight, estimator.n_clusters)
        weights = counts / counts.sum()
        facts = [("inertia", f"{estimator.inertia_:.8g}"), ("iterations", str(estimator.n_iter_))]
    else:
        weights, of_fit = estimator.weights_, estimator._criteria(X, weight)
        total, n, criteria = of_fit
        facts = [("family", repr(estimator._make_family()))] if _is_product(estimator) else []
        facts += [
            ("log-likelihood", f"{total / n:.6f} per row, {total:.8g} in all"),
            ("iterations", str(estimator.n_iter_)),
            ("status", estimator.status_),
            *((name.upper(), f"{getattr(criteria, name):.8g}") for name in ("aic", "bic", "icl")),
        ]
    print(report.of_components(estimator, weights, names), report.of_pairs(facts), sep="\n\n", file=file)


def _say_cost(estimator: Any, given: Given) -> None:
    """Say what a fit of a mixture will cost; nothing of k-means, whose steps become cheaper and cheaper."""
    if _is_kmeans(estimator):
        return
    with suppress(ValueError):  # of rows that cannot be fitted, which the fit itself says
        some = next(iter(given.rows.chunks(DRAWN_ROWS))).X
        some, _ = estimator._prepare(np.ascontiguousarray(some), fitting=True)
        family, n, d = estimator._make_family(), len(given.rows), len(given.names)
        cost = estimated_cost(
            family, n, d, estimator.n_components, X=some, n_init=estimator.n_init, n_steps=estimator.max_iter
        )
        _say(f"{n:,} rows of {d} columns: {cost}")


@app.command()
def predict(
    model: Model, data: Rows, output: Output = None,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the responsibilities.")] = False,
    columns: Columns = None, missing: Missing = False, separator: Separator = None, header: Header = None,
) -> None:  # fmt: skip
    """Write the component of each row of a file as CSV."""
    _check_paths((output,), (model, data))
    with _warnings_said():
        estimator = _open_model(model)
        given = open_rows(data, columns, None, separator, header, missing, model=estimator)
    titles = ["label"]
    if proba:
        if _is_kmeans(estimator):
            raise ValueError(f"{model} is a k-means model, which has labels only: leave out --proba")
        titles += [f"responsibility_{k}" for k in range(estimator.mixture_.n_components)]

    def tell(X: np.ndarray) -> list[np.ndarray]:
        return [estimator.predict(X), *(estimator.predict_proba(X).T if proba else ())]

    with _warnings_said():
        _write(output, titles, given.told(tell))


@app.command()
def score(
    model: Model, data: Rows, output: Output = None,
    each: Annotated[bool, typer.Option("--each", help="Write the log-density of each row instead, as CSV.")] = False,
    columns: Columns = None, weights_column: Weights = None, missing: Missing = False, separator: Separator = None,
    header: Header = None,
) -> None:  # fmt: skip
    """Print the log-likelihood of the rows of a file, or write that of each row."""
    _check_paths((output,), (model, data))
    with _warnings_said():
        estimator = _open_model(model)
        given = open_rows(data, columns, weights_column, separator, header, missing, model=estimator)
    kmeans = _is_kmeans(estimator)
    with _warnings_said():
        if each or output is not None:
            if kmeans:
                raise ValueError(f"{model} is a k-means model, which has no densities: leave out --each and --output")
            _write(output, ["log_density"], given.told(lambda X: [estimator.score_samples(X)]))
            return
        with given.named():
            X, weight = given.loaded(whole=kmeans)
            value = estimator.score(X, sample_weight=weight)
        n = given.rows.total_weights[0]
        facts = [("inertia", f"{-value:.8g}")] if kmeans else [
            ("log-likelihood per row", f"{value:.8g}"), ("log-likelihood", f"{value * n:.8g}"),
        ]  # fmt: skip
        print(report.of_pairs([*facts, ("rows", f"{n:g}")]))


@app.command()
def sample(
    model: Model,
    n: Annotated[int, typer.Option("--rows", "-n", min=1, help="Number of rows.")] = 100,
    output: Output = None,
    labels: Annotated[bool, typer.Option("--labels", help="Also write the component of each row.")] = False,
    seed: Seed = None,
) -> None:
    """Write rows drawn from a model as CSV."""
    _check_paths((output,), (model,))
    estimator = _open_model(model)
    if _is_kmeans(estimator):
        raise ValueError(f"{model} is a k-means model, from which no rows can be drawn")
    estimator.random_state = seed
    X, component = estimator.sample(n)
    titles = _names_of(estimator) or [str(j + 1) for j in range(X.shape[1])]
    columns = [np.asarray(X[name]) for name in titles] if hasattr(estimator, "levels_") else [*X.T]
    _write(output, [*titles, *["component"] * labels], [[*columns, *[component] * labels]])


@app.command("select")
def select_(
    data: Rows,
    models: Annotated[
        str | None,
        typer.Option("--models", "-m", help="Covariance types or families, as in VVV,EEE; by default all 14."),
    ] = None,
    components: Annotated[str, typer.Option("--components", "-k", help="As in 1-9 or 2,3,5.")] = "1-9",
    criterion: Annotated[str, typer.Option(help="bic, aic, sabic, icl, icl_classification or nec.")] = "bic",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the best model to this file.")] = None,
    table: Annotated[Path | None, typer.Option(help="Write all criteria to this file: .csv or .parquet.")] = None,
    plot: Picture = None,
    columns: Columns = None,
    weights_column: Weights = None,
    keep_row_names: RowNames = False,
    missing: Missing = False,
    separator: Separator = None,
    header: Header = None,
    n_init: Annotated[int | None, typer.Option(help="Starts of each fit that are followed to the end.")] = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Fit several models with several numbers of components, and print which of them describes the rows best."""
    _check_paths((output, table, plot), (data,))
    _check_picture(plot)
    chosen = None if models is None else {name: _model_of(name) for name in _split(models)}
    with _warnings_said(quiet):
        families = [] if chosen is None else list(chosen.values())
        auto, labels = AUTO in families, any(isinstance(family, OfLabels) for family in families)
        given = open_rows(
            data, columns, weights_column, separator, header, missing or auto, keep_row_names, labels=labels or auto
        )
    with _warnings_said(quiet), given.named():
        X, weight = given.loaded(whole=True)
        found = compare(
            X, chosen, _numbers(components), criterion=cast(Any, criterion), n_init=n_init,
            sample_weight=weight, random_state=seed,
        )  # fmt: skip
    given.name_columns(found.best_)
    if output is not None:
        with written(output) as whole:
            found.best_.save(whole)
    if table is not None:
        _write(
            table, list(found.records[0]), [[np.array(c) for c in zip(*map(dict.values, found.records), strict=True)]]
        )
    if plot is not None:
        from matplotlib import pyplot

        _save_picture(found.plot(ax=pyplot.subplots(layout="constrained")[1]), plot)
    if not quiet:
        file = sys.stderr if STANDARD in (output, table) else sys.stdout
        print(f"{found.criterion.upper()}, lower is better", report.of_selection(found), sep="\n\n", file=file)
        print(f"\nbest: {found.best_model_}, {found.best_.n_components} components", file=file)


def _model_of(name: str) -> Any:
    return name if name in (*COVARIANCE_TYPES, AUTO) else family_of(name, {})


def _numbers(text: str) -> list[int]:
    """Return the numbers in 1-3,5."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"--components is {text!r}; give numbers, as in 1-9 or 2,3,5")
    ends = [part.partition("-")[::2] for part in text.split(",")]
    return [number for low, high in ends for number in range(int(low), int(high or low) + 1)]


@app.command()
def plot(
    model: Model, data: Rows,
    output: Annotated[Path, typer.Option("--output", "-o", help="Draw into this file: .png, .pdf, .svg.")],
    columns: Annotated[str | None, typer.Option(help="Columns to draw; all by default.")] = None,
    missing: Missing = False, separator: Separator = None, header: Header = None,
) -> None:  # fmt: skip
    """Draw the rows of a file in the colours of their components."""
    _check_paths((output,), (model, data))
    _check_picture(output)
    with _warnings_said():
        estimator = _open_model(model)
        given = open_rows(data, None, None, separator, header, missing, model=estimator)
        shown = _split(columns)
        if unknown := [name for name in shown if name not in given.names]:
            raise ValueError(
                f"no column of the model is named {unknown[0]!r}; the columns are {', '.join(given.names)}"
            )
        with given.named():
            _draw(estimator, given, shown, output)


@app.command()
def summary(
    model: Model, data: Rows, columns: Columns = None, weights_column: Weights = None, missing: Missing = False,
    separator: Separator = None, header: Header = None,
) -> None:  # fmt: skip
    """Print a model with the standard errors of its parameters, given the rows that it was fitted to.

    K-means has none: it has the sizes of the clusters, their inertia and their centres.
    """
    _check_paths((), (model, data))
    with _warnings_said():
        estimator = _open_model(model)
        given = open_rows(data, columns, weights_column, separator, header, missing, model=estimator)
        with given.named():
            X, weight = given.loaded(whole=False)
            print(estimator.summary(X, weight))


@app.command()
def families() -> None:
    """List the names that --family takes."""
    with _warnings_said():
        described = describe()
    print(report.of_pairs(list(described.items())))


@app.command("check-family")
def check_family(
    family: Annotated[str, typer.Argument(help="A name, or module:Class of your own.", autocompletion=spellings)],
    data: Rows,
    constant: Constants = None,
    columns: Columns = None,
    separator: Separator = None,
    header: Header = None,
    seed: Seed = 0,
) -> None:
    """Check the laws of a family on the rows of a file: for whoever has written one."""
    with _warnings_said():
        checked = family_of(family, parse_constants(constant))
        given = open_rows(data, columns, None, separator, header)
        with given.named():
            X, _ = given.loaded(whole=True)
            checked.check_support(X)  # which says where a row is that is none of the family's
            try:
                print(check(checked, X, random_state=0 if seed is None else seed))
            except TypeError as error:  # of a family that has no laws of its own
                raise ValueError(str(error)) from error
