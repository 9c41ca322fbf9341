"""A fit that was broken off goes on to the same bits; Ctrl-C leaves a whole estimator; files are damaged by nobody."""

import functools
import os
import resource
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

import expfam_em as ef
from expfam_em.em.belonging import digest
from expfam_em.em.checkpoint import CheckpointFile, Part
from tests.cases import CASES
from tests.row_sources import ListRows

F = ef.families
RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (60, 2)), RNG.normal(4, 2, (40, 2)), RNG.normal([8, -3], 1, (30, 2))])
COUNTS = np.concatenate([RNG.poisson(1, (60, 4)), RNG.poisson(6, (40, 4))]).astype(float)
WEIGHTS = RNG.integers(0, 3, len(X)) * 0.75
FAR = np.concatenate([X[:60], 1e6 + 1e-2 * X[60:]])
FLAT = np.concatenate([X, np.zeros((9, 2))])
LABELS = np.where(np.arange(len(X)) % 3, -1, np.repeat([0, 1, 2], [60, 40, 30]))
HOW = {"max_iter": 12, "tol": 0, "random_state": 0}


class Stop(Exception):
    """A fit is broken off."""


def after(n, what=Stop):
    """Return a callback that raises once n steps have been made."""
    left = [n]

    def halt(state):
        left[0] -= 1
        if not left[0]:
            raise what

    return halt


def said(fitted):
    """Return what a fitted estimator or a result says, byte by byte."""
    found = {}
    for name, value in vars(fitted).items():
        if name.endswith("_") or isinstance(fitted, ef.FitResult):
            parts = value if isinstance(value, dict) else {"": value}
            parts = vars(value) if isinstance(value, (ef.Mixture, ef.ExpectedStatistics)) else parts
            for key, part in parts.items():
                if key not in ("family", "expectation", "log_weights"):
                    array = np.asarray(part)
                    found[f"{name} {key}"] = repr(part) if array.dtype.hasobject else (array.dtype, array.tobytes())
    return found


def assert_goes_on(fit, path, at=(1, 3)):
    """Break a fit off after so many steps, each time, and compare it with one that nobody has disturbed."""
    whole = said(fit())
    for steps in at:
        try:
            fit(checkpoint=path, checkpoint_every=0, callbacks=[after(steps)])
        except Stop:
            assert path.exists()
    assert said(fit(checkpoint=path, checkpoint_every=0)) == whole
    assert not list(path.parent.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.ckpt"


@pytest.fixture(autouse=True)
def no_advice():
    """Let fits of few steps be."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        yield


# ---- the same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_fit_of_every_family_goes_on_to_the_same_bits(case, path):
    rows = np.concatenate([case.draw(theta, 25, np.random.default_rng(3)) for theta in case.components])
    weight = np.random.default_rng(1).integers(1, 3, len(rows))
    K = len(getattr(case.family, "of_component", (0, 1)))
    model = ef.ExponentialFamilyMixture(
        case.family, K, n_init=2, init="k-means++", temperature=[2.0, 1.0], guard=False, max_iter=5, tol=0,
        random_state=0,
    )  # fmt: skip
    assert_goes_on(lambda **how: model.fit(rows, sample_weight=weight, **how), path, at=[2])


def gaussian(K=3, **how):
    return ef.GaussianMixture(K, **HOW | how)


def mixture(family, K=2, **how):
    return ef.ExponentialFamilyMixture(family, K, **HOW | how)


NORMAL = F.Gaussian()
STARTED = ef.Mixture.of(F.Poisson(), [0.5, 0.5], rates=[[1.0] * 4, [4.0] * 4])

FITS = {
    "eight starts, some dropped": lambda **how: gaussian(n_init=8, max_iter=40).fit(X, **how),
    "own frames": lambda **how: gaussian(n_init=2, reg_covar=0).fit(FAR, **how),
    "tied": lambda **how: gaussian(covariance_type="tied").fit(X, **how),
    "VVE": lambda **how: gaussian(covariance_type="VVE", n_init=2).fit(X, **how),
    "float32": lambda **how: gaussian().fit(X.astype(np.float32), **how),
    "missing": lambda **how: gaussian().fit(np.where(RNG_MASK, np.nan, X), **how),
    "labelled": lambda **how: gaussian(labelled=True).fit(X, LABELS, **how),
    "keep": lambda **how: gaussian(6, n_init=4, reg_covar=0, collapse="keep").fit(FLAT, **how),
    "drop": lambda **how: gaussian(6, n_init=4, reg_covar=0, collapse="drop").fit(FLAT, **how),
    "repair": lambda **how: gaussian(6, n_init=4, reg_covar=0, collapse="repair").fit(FLAT, **how),
    "accelerated": lambda **how: mixture(F.Gamma(), n_init=3).fit(np.abs(X) + 0.1, **how),
    "guarded": lambda **how: mixture(NORMAL, 5, n_init=4, tol=1e-6, max_iter=40).fit(X, **how),
    "weak prior": lambda **how: mixture(NORMAL, 3, prior="weak", n_init=2).fit(X, **how),
    "mclust's prior": lambda **how: mixture(NORMAL, 3, prior="mclust").fit(X, **how),
    "noise": lambda **how: mixture(NORMAL, 2, noise="uniform", n_init=2).fit(X, **how),
    "constrained": lambda **how: mixture(F.Gaussian("diag"), fixed={"means": [[0, 0], [4, np.nan]]}).fit(X, **how),
    "sparse": lambda **how: mixture(F.Poisson(), n_init=2).fit(sparse.csr_array(COUNTS), **how),
    "bits": lambda **how: ef.BernoulliMixture(2, n_init=2, **HOW).fit(COUNTS > 2, **how),
    "variational": lambda **how: mixture(NORMAL, 6, bayesian=True, tol=1e-3, max_iter=99).fit(X, **how),
    "process": lambda **how: ef.BayesianGaussianMixture(4, n_init=2, **HOW).fit(X, **how),
    "k-means": lambda **how: ef.KMeans(7, n_init=5, tol=0, random_state=1).fit(X, sample_weight=WEIGHTS, **how),
    "k-means by rows": lambda **how: ef.KMeans(7, copy_x=False, n_init=3, random_state=1).fit(FAR, **how),
    "sparse k-means": lambda **how: ef.KMeans(4, n_init=3, random_state=1).fit(sparse.csr_array(COUNTS), **how),
    "a seeded generator": lambda **how: gaussian(n_init=3, random_state=np.random.default_rng(5)).fit(X, **how),
    "another generator": lambda **how: gaussian(n_init=3, random_state=np.random.RandomState(5)).fit(X, **how),
    "k-means, a generator": lambda **how: ef.KMeans(
        5, n_init=4, random_state=np.random.Generator(np.random.MT19937(3))).fit(X, **how),
    "ef.fit": lambda **how: ef.fit(STARTED, COUNTS, tol=0, max_iter=9, temperature=[2, 1.5, 1], **how),
    "ef.fit of pieces": lambda **how: ef.fit(STARTED, ListRows.of(COUNTS, None, [30, 50]), tol=0, max_iter=9, **how),
}  # fmt: skip
RNG_MASK = RNG.random(X.shape) < 0.1


@pytest.mark.parametrize("name", FITS)
def test_fits_of_every_kind_go_on_to_the_same_bits(name, path):
    assert_goes_on(FITS[name], path, at=(2, 1, 5, 13))


def test_the_draws_without_a_seed_are_in_the_file(path):
    with pytest.raises(Stop):
        gaussian(n_init=3, random_state=None).fit(X, checkpoint=path, checkpoint_every=0, callbacks=[after(2)])
    found = []
    for again in range(2):
        shutil.copy(path, copy := path.with_name(f"copy{again}"))
        found.append(said(gaussian(n_init=3, random_state=None).fit(X, checkpoint=copy)))
    assert found[0] == found[1]


def test_a_generator_ends_where_it_would_have(path):
    def drawn(**how):
        rng = np.random.default_rng(4)
        try:
            gaussian(n_init=3, random_state=rng).fit(X, **how)
        except Stop:
            return None
        return rng.random()

    whole = drawn()
    assert drawn(checkpoint=path, checkpoint_every=0, callbacks=[after(3)]) is None
    assert drawn(checkpoint=path) == whole


def test_no_step_that_is_in_the_file_is_made_again(path):
    steps = []
    with pytest.raises(Stop):
        gaussian(n_init=3).fit(X, checkpoint=path, checkpoint_every=0, callbacks=[after(4)])
    gaussian(n_init=3).fit(X, checkpoint=path, callbacks=[lambda state: steps.append(state.n_iter)])
    assert steps == list(range(5, 13))


def test_fits_that_callbacks_make_are_their_own(path):
    def inner(state):
        gaussian().fit(X)
        ef.fit(STARTED, COUNTS, max_iter=2)

    def fit(**how):
        how["callbacks"] = [inner, *how.get("callbacks", [])]
        return gaussian(n_init=2, max_iter=5).fit(X, **how)

    assert_goes_on(fit, path)


def test_a_fit_that_a_callback_ends_is_ended(path):
    model = gaussian().fit(X, checkpoint=path, checkpoint_every=0, callbacks=[lambda state: state.n_iter == 3])
    assert (model.n_iter_, model.status_) == (3, ef.Status.STOPPED.value)
    assert not path.exists()


def test_the_file_of_a_fit_that_ends_in_an_error_is_removed(path):
    constant, apart = np.repeat(X[:1], 9, axis=0), np.concatenate([X, np.full((9, 2), 50)])
    model = gaussian(2, reg_covar=0, means_init=[[50, 50], [1, 1]])
    for rows, error in ((apart, "collapsed samples"), (constant, "is a column constant")):
        with pytest.raises(ValueError, match=error):
            model.fit(rows, checkpoint=path, checkpoint_every=0)
        assert not path.exists()


KILLS = 20


def test_fits_killed_at_random_moments_go_on_to_the_same_bits():
    root = Path(__file__).parent.parent
    command = [sys.executable, root / "docs" / "checkpoints.py", str(KILLS), "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": root})
    assert run.returncode == 0, run.stderr
    fits = run.stdout.split(" fits: ")[0].split()[-1]
    assert f"{KILLS} kills of {fits} fits: {fits} have the bits of a fit that was not killed" in run.stdout


# ---- whose file it is ------------------------------------------------------------------------------------------------


OTHERS = {
    "n_components was 3 and is 4": lambda **how: gaussian(4).fit(X, **how),
    "max_iter was 12 and is 13": lambda **how: gaussian(max_iter=13).fit(X, **how),
    "random_state was 0 and is 1": lambda **how: gaussian(random_state=1).fit(X, **how),
    r"X, float64 of 2 columns, is another one": lambda **how: gaussian().fit(np.concatenate([X[1:], X[:1]]), **how),
    "X was float64 of 2 columns and is float32 of 2 columns": lambda **how: gaussian().fit(X.astype("f4"), **how),
    "another one.": lambda **how: gaussian().fit(X, sample_weight=WEIGHTS, **how),
    "allowed was None and is an array": lambda **how: gaussian().fit(
        X, allowed=np.arange(len(X) * 3).reshape(-1, 3) % 5 > 0, **how),
    "the estimator was 'GaussianMixture' and is 'KMeans'": lambda **how: ef.KMeans(3).fit(X, **how),
    "the estimator was 'GaussianMixture' and is nothing; ": lambda **how: ef.fit(STARTED, COUNTS, **how),
}  # fmt: skip


@pytest.fixture
def broken_off(path):
    """The file of a fit after three steps."""
    with pytest.raises(Stop):
        gaussian().fit(X, checkpoint=path, checkpoint_every=0, callbacks=[after(3)])
    return path


@pytest.mark.parametrize("what", OTHERS)
def test_the_file_of_another_fit_is_left_alone(what, broken_off):
    before = broken_off.read_bytes()
    with pytest.raises(ValueError, match=rf"fit.ckpt is the checkpoint of another fit: .*{what}") as caught:
        OTHERS[what](checkpoint=broken_off)
    assert "delete the file or give another name" in str(caught.value)
    assert broken_off.read_bytes() == before


def rows_from(first):
    return lambda X, n_clusters, random_state: X[first : first + n_clusters]


def first_rows(X, n_clusters, random_state, first=0):
    return X[first : first + n_clusters]


FUNCTIONS = {
    "closure": (rows_from(0), rows_from(0), rows_from(5)),
    "partial": (functools.partial(first_rows, first=0), functools.partial(first_rows, first=0),
                functools.partial(first_rows, first=5)),
    "code": (lambda X, n_clusters, random_state: X[:3], lambda X, n_clusters, random_state: X[:3],
             lambda X, n_clusters, random_state: X[4:7]),
}  # fmt: skip
"""A function, one that does the same, as another process would have it, and one that does not."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_told_by_what_they_do(name, path):
    init, same, other = FUNCTIONS[name]

    def fit(init, **how):
        return ef.KMeans(3, init=init, n_init=2, random_state=0, tol=0).fit(X, **how)

    with pytest.raises(Stop):
        fit(init, checkpoint=path, checkpoint_every=0, callbacks=[after(2)])
    with pytest.raises(ValueError, match="another fit: init"):
        fit(other, checkpoint=path)
    assert said(fit(same, checkpoint=path)) == said(fit(init))


def test_a_function_that_calls_itself_has_a_digest():
    def count(n):
        return n and count(n - 1)

    assert digest(count) == digest(count)
    assert digest({"b", "a"}) == digest({"a", "b"}) != digest({"a"})


def test_files_that_are_taken_away_while_a_fit_runs_do_not_end_it(path, monkeypatch):
    """As another process does that goes on with the same file, and has ended."""
    replace = CheckpointFile._replace

    def taken_away(file, *content):
        replace(file, *content)
        for each in (file.path, file.previous):
            each.unlink(missing_ok=True)
        if np.isfinite(file.written):
            raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(CheckpointFile, "_replace", taken_away)
    with pytest.warns(RuntimeWarning, match="cannot be written"):
        found = gaussian().fit(X, checkpoint=path, checkpoint_every=0)
    assert said(found) == said(gaussian().fit(X))


def test_threads_and_words_may_differ(broken_off, capsys):
    model = gaussian().fit(X)
    assert said(gaussian(n_jobs=1, verbose=1).fit(X, checkpoint=broken_off)) == said(model)


@pytest.mark.parametrize("name", ["version", "target"])
def test_other_versions_and_processors_are_refused(name, broken_off, monkeypatch):
    monkeypatch.setattr(f"expfam_em.em.belonging.{name}", lambda *of: "another")
    with pytest.raises(ValueError, match=r"the (version of numpy|processor) was .* and is another"):
        gaussian().fit(X, checkpoint=broken_off)


def test_a_saved_model_is_no_checkpoint_and_the_other_way_round(broken_off, tmp_path):
    gaussian().fit(X).save(model := tmp_path / "model")
    with pytest.raises(ValueError, match="model is a saved GaussianMixture, and no checkpoint"):
        gaussian().fit(X, checkpoint=model)
    assert ef.load(model).n_components == 3
    with pytest.raises(ValueError, match=r"cannot be loaded: it is the checkpoint of a fit that has not ended"):
        ef.load(broken_off)


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_and_every_truncation_is_noticed(path):
    file, part = CheckpointFile(path, 0), Part("state", {"n": [1, None]}, b"12345678")
    file.write([part])
    assert file.open({}) == [part]
    content = path.read_bytes()
    damaged = [content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :] for at in range(len(content))]
    for one in [*damaged, *(content[:at] for at in range(len(content))), content + b"?"]:
        path.write_bytes(one)
        with pytest.raises(ValueError, match=r"fit.ckpt (is|has) .*give another name, or delete it"):
            file.open({})


def test_a_damaged_file_leaves_the_one_before_it(broken_off):
    whole, content = said(gaussian().fit(X)), broken_off.read_bytes()
    before = broken_off.with_name("fit.ckpt.previous").read_bytes()
    for damaged in (content[:-9], b"", content[:40] + b"?" + content[41:]):
        broken_off.with_name("fit.ckpt.previous").write_bytes(before)
        broken_off.write_bytes(damaged)
        with pytest.warns(RuntimeWarning, match=r"fit.ckpt is .*; the fit goes on from fit.ckpt.previous") as caught:
            assert said(gaussian().fit(X, checkpoint=broken_off)) == whole
        assert caught[0].filename == __file__
    for damaged in (broken_off, broken_off.with_name("fit.ckpt.previous")):
        damaged.write_bytes(content[:-9])
    with pytest.raises(ValueError, match=r"fit.ckpt is truncated: .*delete it"):
        gaussian().fit(X, checkpoint=broken_off)


def test_without_the_newest_file_the_one_before_it_serves(broken_off):
    broken_off.unlink()
    assert said(gaussian().fit(X, checkpoint=broken_off)) == said(gaussian().fit(X))
    assert not list(broken_off.parent.iterdir())


@pytest.mark.parametrize("where", ["nowhere/fit.ckpt", "file/fit.ckpt", "folder"])
def test_a_file_that_cannot_be_written_is_named_before_any_step(where, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=rf"{where}'?$"):
        gaussian().fit(X, checkpoint=tmp_path / where, callbacks=[after(1, AssertionError)])


def test_a_full_disk_leaves_the_fit_and_the_files(path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(state):
        if state.n_iter == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, limit[1]))

    stopping = [fill, after(9, KeyboardInterrupt)]
    try:
        with pytest.warns(RuntimeWarning, match=r"cannot be written .*File too large.*: the fit goes on") as caught:
            gaussian().fit(X, checkpoint=path, checkpoint_every=0, callbacks=stopping)
    except KeyboardInterrupt:
        pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert {one.filename for one in caught} == {__file__}
    assert not path.with_name("fit.ckpt.new").exists()
    steps = []
    model = gaussian().fit(X, checkpoint=path, callbacks=[lambda state: steps.append(state.n_iter)])
    assert steps[0] == 4
    assert said(model) == said(gaussian().fit(X))


@pytest.mark.parametrize("every", [-1, np.nan])
def test_seconds_are_checked(every, path):
    with pytest.raises(ValueError, match=r"checkpoint_every is .* it must be a number of seconds"):
        gaussian().fit(X, checkpoint=path, checkpoint_every=every)


def test_the_file_is_written_as_often_as_said(path):
    times = []
    look = [lambda state: times.append(path.stat().st_mtime_ns)]
    gaussian().fit(X, checkpoint=path, checkpoint_every=1e9, callbacks=look)
    assert len(set(times)) == 1


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


KINDS = {
    "full": lambda: gaussian(n_init=3),
    "guarded": lambda: mixture(NORMAL, n_init=3, max_iter=30),
    "k-means": lambda: ef.KMeans(5, n_init=3, tol=0, random_state=0),
    "repaired": lambda: gaussian(6, n_init=4, reg_covar=0, collapse="repair"),
    "variational": lambda: mixture(NORMAL, 5, bayesian=True),
}


def assert_whole(model, rows):
    """The attributes of an interrupted estimator belong together, and its status says what happened."""
    assert model.status_.startswith(ef.Status.INTERRUPTED.value)
    labels = model.predict(rows)
    if isinstance(model, ef.KMeans):
        assert np.array_equal(labels, model.labels_)
        assert model.inertia_ == pytest.approx(-model.score(rows), rel=1e-12)
    else:
        assert not model.converged_
        assert len(model.lower_bounds_) == model.n_iter_ >= 1
        if not model.bayesian:
            assert model.score(rows) == pytest.approx(model.lower_bound_, rel=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_ctrl_c_leaves_the_last_finished_step(name, tmp_path):
    model, stopped, rows = KINDS[name](), KINDS[name](), FLAT if name == "repaired" else X
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, callbacks=[after(3, KeyboardInterrupt)])
    assert_whole(model, rows)
    model.save(tmp_path / "model")
    assert ef.load(tmp_path / "model").status_ == model.status_
    told = []
    stopped.fit(rows, callbacks=[told.append, lambda state: len(told) == 3])
    assert np.array_equal(stopped.mixture_.natural, model.mixture_.natural)


@pytest.mark.parametrize("name", KINDS)
def test_ctrl_c_anywhere_leaves_an_estimator_as_it_was_or_whole(name):
    seen = set()
    for n in range(40, 100_000, 1597):
        model, rows = KINDS[name](), FLAT if name == "repaired" else X
        before = dict(vars(model))
        try:
            with Interruption(n):
                model.fit(rows)
        except KeyboardInterrupt:
            if hasattr(model, "mixture_"):
                assert_whole(model, rows)
                seen.add("whole")
            else:
                assert vars(model) == before
                seen.add("as it was")
        else:
            break
    assert seen == {"whole", "as it was"}


class Interruption:
    """Raises KeyboardInterrupt when the n-th function of the package begins, as Ctrl-C may."""

    def __init__(self, n):
        self.left = n

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *error):
        sys.settrace(self.before)

    def trace(self, frame, event, argument):
        """Count the functions of the package."""
        code = frame.f_code  # an expression that is closed early is called by Python, and nobody gets its error
        if "expfam_em" in code.co_filename and code.co_name != "<genexpr>":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def test_a_signal_is_an_interruption():
    model = gaussian()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell sets it aside in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, callbacks=[lambda state: state.n_iter == 2 and signal.raise_signal(signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert (model.n_iter_, model.status_) == (2, ef.Status.INTERRUPTED.value)


def test_before_the_first_step_nothing_changes():
    model = gaussian().fit(X)
    before = said(model)
    with pytest.raises(KeyboardInterrupt), Interruption(60):
        model.fit(X[:50])
    assert said(model) == before
    blank = gaussian()
    with pytest.raises(KeyboardInterrupt), Interruption(60):
        blank.fit(X)
    with pytest.raises(NotFittedError):
        blank.predict(X)


def test_after_ctrl_c_the_file_goes_on(path):
    model = gaussian(n_init=3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, checkpoint=path, callbacks=[after(5, KeyboardInterrupt)])
    assert model.n_iter_ == 5
    steps = []
    model.fit(X, checkpoint=path, callbacks=[lambda state: steps.append(state.n_iter)])
    assert steps[0] == 6
    assert said(model) == said(gaussian(n_init=3).fit(X))
