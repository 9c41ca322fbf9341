"""Who watches a fit: frozen states, the bar, logging and verbose."""

import io
import logging
import os
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import expfam_em as ef
from expfam_em import progress as progress_module
from expfam_em import warm
from expfam_em.kernels import jit

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (300, 2)), RNG.normal(2.5, 1, (200, 2))])
START = ef.Mixture.of(ef.families.Gaussian("full"), [0.5, 0.5], means=[[0, 0], [1, 1]], covariances=[np.eye(2)] * 2)


def gaussian(**options):
    return ef.GaussianMixture(2, random_state=0, **options)


FITS = {
    "GaussianMixture": lambda callbacks: gaussian(tol=1e-6).fit(X, callbacks=callbacks),
    "n_init": lambda callbacks: gaussian(tol=1e-6, n_init=3).fit(X, callbacks=callbacks),
    "weights": lambda callbacks: gaussian(tol=1e-6).fit(X, sample_weight=np.full(500, 2.5), callbacks=callbacks),
    "BayesianGaussianMixture": lambda callbacks: ef.BayesianGaussianMixture(2, random_state=0, tol=1e-6).fit(
        X, callbacks=callbacks
    ),
    "fit_many": lambda callbacks: ef.fit_many(gaussian(), [X[:250], X], callbacks=callbacks),
    "KMeans": lambda callbacks: ef.KMeans(3, random_state=0, n_init=2).fit(X, callbacks=callbacks),
    "fit": lambda callbacks: ef.fit(START, X, max_iter=30, callbacks=callbacks),
}


class Recorder(io.StringIO):
    """A file that remembers what a bar has shown."""

    @property
    def shown(self):
        return [line.strip() for line in self.getvalue().replace("\n", "\r").split("\r") if line.strip()]


def bar(**options):
    file = Recorder()
    return ef.Progress(file=file, mininterval=0, **({"ncols": 120, "dynamic_ncols": False} | options)), file


# ---- callbacks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_state_cannot_be_written_to(fit):
    seen = []

    def look(state):
        arrays = [value for value in state if isinstance(value, np.ndarray)]
        arrays += [value for part in (state.mixture, state.statistics) for value in vars(part).values()]
        seen.extend(value.flags.writeable for value in arrays if isinstance(value, np.ndarray))

    fit([look])
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@pytest.mark.parametrize("failure", [None, RuntimeError, KeyboardInterrupt])
def test_a_watching_callback_is_told_when_a_fit_begins_and_ends(fit, failure):
    told = []

    class Watcher:
        def watch(self, fitting):
            told.append(fitting)
            return self

        def __enter__(self):
            told.append("begins")

        def __exit__(self, kind, *_):
            told.append(kind)

        def __call__(self, state):
            told.append("step")
            if failure:
                raise failure

    if failure:
        with pytest.raises(failure):
            fit([Watcher()])
    else:
        fit([Watcher()])
    (fitting, begins, *steps), end = told[:-1], told[-1]
    assert begins == "begins"
    assert set(steps) == {"step"}
    # at Ctrl-C an estimator is given the last step first, and the error comes after that
    assert end is failure or (failure is KeyboardInterrupt and end is None)
    assert fitting.n_rows in (500, 750)
    assert fitting.total_weight in (500, 750, 1250)


# ---- the bar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_the_bar_shows_step_bound_time_left_and_rows(fit):
    progress, file = bar()
    steps = []
    fit([lambda state: steps.append((state.n_iter, state.mean_bounds.max())), progress])
    first, *shown, last = file.shown
    assert first.endswith("| starting")
    assert {line.split("|")[0] for line in shown} >= {
        f"step {n}/{first.split('/')[1].split()[0]} " for n, _ in steps[:-1]
    }
    assert any(f"bound {bound:.6g}" in shown[0] for _, bound in steps)
    later = [line for line in shown if "rows/s" in line]
    assert all("left" in line for line in later)
    n = steps[-1][0]
    assert last.startswith(f"step {n}/{n} |")
    assert "left" not in last
    assert last.endswith("in all")
    assert file.getvalue().endswith("\n")


def test_the_bar_of_a_notebook_is_full_where_a_fit_has_ended():
    """The widget of tqdm knows how long it is from when it begins."""
    progress, _ = bar()
    middle = types.SimpleNamespace(max=300)
    progress._kind.container = types.SimpleNamespace(children=(None, middle, None))
    model = gaussian(tol=1e-6, max_iter=300).fit(X, callbacks=[progress])
    assert middle.max == model.n_iter_


def test_the_rest_is_told_by_the_rate_of_convergence_or_as_the_most_that_it_can_be():
    # one slow direction: each step gains the same share of the one before
    progress, file = bar()
    model = gaussian(tol=1e-9, max_iter=5000).fit(X, callbacks=[progress])
    assert model.converged_
    about = [(int(line[5:].split("/")[0]), line) for line in file.shown if "about" in line]
    assert "at most" in file.shown[2]  # two steps tell nothing
    assert len(about) > model.n_iter_ / 3
    exact, most = bar(), bar()
    gaussian(tol=0, max_iter=20).fit(X, callbacks=[exact[0], lambda state: state.n_iter == 19])
    ef.KMeans(3, random_state=0, n_init=1).fit(X, callbacks=[most[0]])
    assert not any("about" in line for line in (*exact[1].shown, *most[1].shown))


def test_predicted_steps_are_those_that_a_fit_makes():
    predicted = []

    class Watcher(ef.Progress):
        def __call__(self, state):
            super().__call__(state)
            steps, told = self._steps_left(state)
            predicted.append((state.n_iter, steps, told))

    model = gaussian(tol=1e-9, max_iter=5000).fit(X, callbacks=[Watcher(disable=True)])
    late = [(n, steps) for n, steps, told in predicted if told and n > model.n_iter_ / 2]
    assert late
    # a rate of convergence still moves in the second half of a fit, by less than what it has left
    assert all(n + 0.5 * steps <= model.n_iter_ <= n + 2 * steps + 2 for n, steps in late)


def test_rounds_are_counted_where_a_start_follows_another():
    progress, file = bar()
    ef.KMeans(3, random_state=0, n_init=3, init="random").fit(X, callbacks=[progress])
    assert "round 3" in file.shown[-1]
    assert not any("round 1" in line for line in file.shown)


def test_a_narrow_terminal_shows_the_bound_on_one_line():
    progress, file = bar(ncols=40)
    FITS["GaussianMixture"]([progress])
    assert all(len(line) <= 40 for line in file.shown)
    assert all("bound -" in line for line in file.shown[1:])


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_the_bar_is_closed_where_a_fit_fails_and_serves_the_next_one(failure):
    def fail(state):
        if state.n_iter == 3:
            raise failure

    progress, file = bar()
    with pytest.raises(failure):
        gaussian(tol=0, max_iter=9).fit(X, callbacks=[progress, fail])
    assert file.shown[-1].startswith("step 3/")
    assert file.getvalue().endswith("\n")
    gaussian(tol=0, max_iter=5).fit(X, callbacks=[progress, lambda state: state.n_iter == 5])
    assert file.shown[-1].startswith("step 5/5")


def test_a_bar_is_of_one_thread():
    """The other fit begins while the first has the bar, and ends after it."""
    progress, file = bar()
    begun, ended = threading.Event(), threading.Event()

    def other():
        def wait(state):
            begun.set()
            ended.wait()

        return gaussian(tol=0, max_iter=3).fit(X, callbacks=[progress, wait]).n_iter_

    def first(pool):
        found = []

        def start(state):
            if not found:
                found.append(pool.submit(other))
                begun.wait()

        gaussian(tol=0, max_iter=5).fit(X, callbacks=[progress, start])
        ended.set()
        return found[0].result()

    with ThreadPoolExecutor(1) as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        assert first(pool) == 3
    assert file.shown[-1].startswith("step 5/5")
    gaussian(tol=1e-6).fit(X, callbacks=[progress])
    assert not file.shown[-1].startswith("step 5/5")


@pytest.mark.parametrize("fit", [FITS["KMeans"], FITS["n_init"]], ids=["KMeans", "n_init"])
def test_no_step_follows_one_at_which_a_callback_has_ended_the_fit(fit):
    """Not even where a start reaches tol at that step."""
    steps = []
    fit([lambda state: steps.append(state.n_iter)])
    for n in range(1, len(steps) + 1):
        made = []

        def last(state, made=made, n=n):
            made.append(state.n_iter)
            return len(made) == n

        fit([last])
        assert made == steps[:n]


def test_a_bar_changes_nothing_and_says_where_it_belongs():
    plain, watched = gaussian().fit(X), gaussian().fit(X, callbacks=[bar()[0]])
    np.testing.assert_array_equal(plain.means_, watched.means_)
    with pytest.raises(RuntimeError, match=r"callbacks=\[Progress\(\)\]"):
        ef.Progress()(None)


# ---- logging and verbose -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_steps_and_ends_are_logged_and_nothing_is_by_default(fit, caplog, capsys):
    fit([])
    assert not caplog.records
    with caplog.at_level(logging.DEBUG, "expfam_em"):
        fit([])
    steps = [record for record in caplog.records if record.levelname == "DEBUG"]
    [end] = [record for record in caplog.records if record.levelname == "INFO"]
    assert steps
    assert all(record.name == "expfam_em" and record.getMessage().startswith("step ") for record in steps)
    assert "rows fitted in" in end.getMessage()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("model", [gaussian(verbose=1, verbose_interval=1), ef.KMeans(2, verbose=1, random_state=0)])
def test_verbose_prints_unless_logging_takes_what_it_says(model, caplog, capsys):
    model.fit(X)
    printed = capsys.readouterr().out.splitlines()
    assert printed
    assert not caplog.records
    with caplog.at_level(logging.INFO, "expfam_em"):
        model.fit(X)
    assert [record.getMessage() for record in caplog.records][:-1] == printed
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("interval", [7, 1000])
@pytest.mark.parametrize("end", [{"tol": 1e-6}, {"tol": 0, "max_iter": 20}])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_verbose_says_the_first_step_the_last_and_those_between_at_every_interval(interval, end, capsys):
    model = gaussian(verbose=1, verbose_interval=interval, **end).fit(X)
    said = [int(line.split("iteration ")[1].split(":")[0]) for line in capsys.readouterr().out.splitlines()]
    assert said == sorted({1, *range(interval, model.n_iter_, interval), model.n_iter_})
    assert model.n_iter_ > 7


class Terminal(Recorder):
    """A standard error that somebody looks at."""

    def isatty(self):
        return True


@pytest.mark.parametrize("fit", ["GaussianMixture", "KMeans"])
@pytest.mark.parametrize(("verbose", "patience", "shown"), [(1, 0.0, True), (1, 60.0, False), (0, 0.0, False)])
def test_a_verbose_fit_that_takes_long_shows_a_bar_to_whoever_looks(fit, verbose, patience, shown, monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "SECONDS_WITHOUT_BAR", patience)
    model = {"GaussianMixture": gaussian(verbose=verbose), "KMeans": ef.KMeans(3, random_state=0, verbose=verbose)}[fit]
    model.fit(X)
    plain, err = capsys.readouterr()
    assert err == ""  # nobody looks at a file
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    model.fit(X)
    assert any("step" in line for line in terminal.shown) == shown
    assert not shown or terminal.getvalue().split("\r")[-2].strip() == ""  # erased
    assert capsys.readouterr().out == plain  # the same lines, whole
    assert not ef.Progress._opened


# ---- the first fit -------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_said():
    """Let it be said again that kernels are compiled."""
    jit.say_that_it_compiles.cache_clear()
    yield
    jit.say_that_it_compiles.cache_clear()


def test_compiling_is_said_once_to_whoever_looks(nothing_said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for _ in range(2):
        jit.say_that_it_compiles()
    [said] = terminal.shown
    assert "python -m expfam_em.warm" in said
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_compiling_is_logged_where_logging_is_on_and_nothing_is_said_where_it_is_off(
    level, nothing_said, monkeypatch, caplog
):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with caplog.at_level(level, "expfam_em"):
        jit.say_that_it_compiles()
    assert len(caplog.records) == (level == logging.INFO)
    assert terminal.shown == []


def test_nobody_looks_at_a_file_or_where_there_is_none(nothing_said, monkeypatch, capsys):
    jit.say_that_it_compiles()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert not jit.somebody_looks()


def test_the_first_compilation_is_the_one_that_is_said(tmp_path):
    """With a folder for compiled code that is empty, and with the same folder once it is not."""
    code = (
        "import logging, expfam_em as ef; logging.basicConfig(level=20); "
        "from expfam_em.kernels import axes; import numpy as np; axes.equal_volumes.compiled"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        ).stderr
        for _ in range(2)
    ]  # fmt: skip
    assert run[0].count("compiles its kernels") == 1
    assert run[1] == ""


def test_warming_compiles_every_kernel(monkeypatch, capsys):
    made = []
    monkeypatch.setattr(jit.Entry, "compiled", property(lambda entry: made.append(entry.function.__name__)))
    warm.main()
    out = capsys.readouterr().out
    assert {"_em_rows", "_em_sparse", "_em_patterns", "search_rows", "follow", "marginals", "common_axes"} <= set(made)
    assert f"{len(made)} kernels in " in out
    assert all(words in out for words in warm.USES.values())
