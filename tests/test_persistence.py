"""What is saved comes back exactly; what cannot be saved is refused."""

import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import expfam_em as ef
from expfam_em.family import registry
from expfam_em.saving import files
from tests import all_families
from tests.own_families import Rayleigh

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-2, 1, (60, 3)), RNG.normal(3, 2, (40, 3))])
COUNTS = np.concatenate([RNG.poisson(2, (60, 2)), RNG.poisson(15, (40, 2))])
BINARY = (RNG.random((80, 5)) < np.where(np.arange(80) < 40, 0.2, 0.8)[:, None]).astype(np.uint8)


class Waves(Rayleigh):
    """A family of one's own, with structural constants of every kind, and an __init__ that loading must not call."""

    def __init__(self, note):
        self.note = note
        self.levels = {"a": (1, 2.5, None), 3: [True, float("inf")]}
        self.grid = np.asfortranarray(np.arange(6.0).reshape(2, 3))
        self.inner = ef.families.Gaussian("diag", reg_covar=0.25)


def assert_same(a, b, where="estimator"):
    """Compare two values type by type and bit by bit."""
    assert type(a) is type(b), where
    if isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (p, q) in enumerate(zip(a, b, strict=True)):
            assert_same(p, q, f"{where}[{i}]")
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, np.ndarray) and a.dtype.kind != "O":
        assert a.dtype == b.dtype, where
        assert a.shape == b.shape, where
        assert a.tobytes() == b.tobytes(), where
    elif isinstance(a, np.ndarray):
        assert a.tolist() == b.tolist(), where
    elif isinstance(a, (ef.ExponentialFamily, ef.Mixture, ef.ExpectedStatistics)):
        caches = {"log_partition", "expectation", "log_weights", "_prepared"}
        keys = set(vars(a)) - caches
        assert keys == set(vars(b)) - caches, where
        for key in keys:
            assert_same(vars(a)[key], vars(b)[key], f"{where}.{key}")
    elif isinstance(a, float):
        assert struct.pack("d", a) == struct.pack("d", b), where
    else:
        assert a == b, where


def assert_round_trip(model, rows, path):
    model.save(path)
    loaded = ef.load(path)
    assert type(loaded) is type(model)
    for name in ("predict", "predict_proba", "score_samples", "transform"):
        if hasattr(model, name):
            assert_same(getattr(model, name)(rows), getattr(loaded, name)(rows), name)
    assert_same(model.get_params(deep=False), loaded.get_params(deep=False), "parameters")
    fitted = {key: value for key, value in vars(model).items() if key.endswith("_")}
    assert_same(fitted, {key: vars(loaded)[key] for key in fitted}, "fitted")
    assert not set(vars(loaded)) - set(vars(model))
    return loaded


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.efm"


@pytest.fixture
def content(path):
    ef.GaussianMixture(2, covariance_type="diag", random_state=0).fit(X).save(path)
    return path.read_bytes()


# ---- round trips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_gaussian(covariance_type, dtype, path):
    rows = (X + 1e3).astype(dtype)
    model = ef.GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(rows)
    assert_round_trip(model, rows, path)


@pytest.mark.parametrize("rows", [BINARY, BINARY.astype(bool), BINARY.astype(np.float32), BINARY - 0.5])
def test_bernoulli(rows, path):
    model = ef.BernoulliMixture(2, binarize=0.0 if rows.min() < 0 else "auto", random_state=0).fit(rows)
    assert_round_trip(model, rows, path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_kmeans(dtype, path):
    model = ef.KMeans(3, random_state=0).fit(X.astype(dtype))
    loaded = assert_round_trip(model, X.astype(dtype), path)
    assert loaded.score(X) == model.score(X)


def test_any_family_with_prior_and_weights(path):
    prior = ef.ExpectedStatistics([1.0, 2.0], [[3.0, 3.0], [20.0, 20.0]])
    model = ef.ExponentialFamilyMixture(
        ef.families.Poisson(), 2, prior=prior, concentration=[1.5, 2.0], temperature=(2.0, 1.0), random_state=0
    ).fit(COUNTS, sample_weight=RNG.random(len(COUNTS)))
    loaded = assert_round_trip(model, COUNTS, path)
    assert_same(model.prior, loaded.prior)
    assert loaded.bic(COUNTS) == model.bic(COUNTS)


def test_own_family(path):
    ef.register(Waves)
    rows = np.abs(X) + 0.1
    model = ef.ExponentialFamilyMixture(Waves("mine"), 2, random_state=0).fit(rows)
    loaded = assert_round_trip(model, rows, path)
    assert loaded.family.grid.flags.f_contiguous
    assert loaded.family.inner.reg_covar == 0.25


def test_a_mixture_as_init(path):
    first = ef.GaussianMixture(2, random_state=0).fit(X)
    model = ef.GaussianMixture(2, init=first.mixture_, random_state=0).fit(X)
    assert_round_trip(model, X, path)


def test_feature_names(path):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=["länge", "b", "c"])
    model = ef.GaussianMixture(2, random_state=0).fit(frame)
    loaded = assert_round_trip(model, frame, path)
    assert loaded.feature_names_in_.dtype == object
    assert loaded.feature_names_in_.tolist() == ["länge", "b", "c"]


def test_a_loaded_model_can_be_fitted_and_saved_again(path):
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    model.save(path)
    again = ef.load(path).fit(X)
    assert_same(again.means_, model.means_)
    before = path.read_bytes()
    ef.load(path).save(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", sorted(registry.registered()))
def test_families_that_come_with_the_package_are_registered(name):
    family = registry.registered()[name]
    assert ef.register(family) is family
    assert family.__name__ == name


def test_every_family_of_the_package_is_registered():
    classes = {getattr(ef.families, name) for name in all_families.NAMES}
    assert len(classes) > 30
    assert classes <= set(registry.registered().values())
    assert {"IndependentColumns", "Incomplete"}.isdisjoint(registry.registered())


VALUES = [
    None, True, 0, -(2**70), 0.1, -0.0, 5e-324, float("inf"), float("-inf"), float("nan"), "", "η\ud800\n", [], (), {},
    [1, (2, [3.5])], {"a": {1: None}}, np.float32(0.1), np.bool_(True), np.str_("s"), np.datetime64("2020-01-01"),
    np.array(3.5), np.zeros((0, 3)), np.zeros((2, 0, 3), bool), np.array([np.nan, -np.inf, -0.0]),
    np.arange(6, dtype=np.int16).reshape(2, 3).T, np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0),
    np.array([1 + 2j], np.complex64), np.array(["ab", "ü"]), np.array([b"ab"]), np.array(["1970"], "M8[ns]"),
    np.array(["a", "b"], object), np.array([1, 2], np.uint8)[::-1], np.array([True, False]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values(value, path):
    model = ef.KMeans(2, random_state=0).fit(X)
    model.extra_ = value
    model.save(path)
    assert_same(ef.load(path).extra_, value)


def test_byte_order_is_made_little_and_read_as_native(path):
    model = ef.KMeans(2, random_state=0).fit(X)
    model.extra_ = np.array([1.5, 2.5], ">f8")
    model.save(path)
    loaded = ef.load(path).extra_
    assert loaded.tolist() == [1.5, 2.5]
    assert loaded.dtype.isnative
    assert np.array([1.5, 2.5], "<f8").tobytes() in path.read_bytes()


def test_loaded_arrays_are_their_own(path):
    ef.KMeans(2, random_state=0).fit(X).save(path)
    assert not np.shares_memory(ef.load(path).cluster_centers_, ef.load(path).cluster_centers_)


@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState])
def test_a_random_generator_is_saved_as_none(make, path):
    model = ef.GaussianMixture(2, random_state=make(0)).fit(X)
    model.save(path)
    assert ef.load(path).random_state is None
    assert_same(ef.load(path).predict_proba(X), model.predict_proba(X))


# ---- what cannot be saved -----------------------------------------------------------------------------------


def test_not_fitted(path):
    for model in (ef.GaussianMixture(), ef.BernoulliMixture(), ef.KMeans()):
        with pytest.raises(NotFittedError):
            model.save(path)
    assert not path.exists()


def test_half_fitted(path):
    model = ef.GaussianMixture(5)
    with pytest.raises(ValueError, match="n_samples >= n_components"):
        model.fit(X[:2])
    with pytest.raises(NotFittedError):
        model.save(path)


def test_a_function_is_refused(path):
    model = ef.KMeans(2, init=lambda X, n_clusters, random_state: X[:n_clusters], n_init=1).fit(X)
    with pytest.raises(TypeError, match=r"init is a function.*set_params"):
        model.save(path)
    model.set_params(init="k-means++").save(path)
    assert_same(ef.load(path).cluster_centers_, model.cluster_centers_)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), r"extra_ is a object, which cannot be saved"),
        ([0, {1, 2}], r"extra_\[1\] is a set"),
        ({"a": 1j}, r"extra_\['a'\] is a complex"),
        (np.array([1, "a"], object), "extra_ is an array of objects"),
        (np.zeros(2, [("a", float)]), "extra_ is an array of"),
    ],
)
def test_other_values_are_refused_by_name(value, message, path):
    model = ef.KMeans(2, random_state=0).fit(X)
    model.extra_ = value
    with pytest.raises(TypeError, match=message):
        model.save(path)
    assert not path.exists()


def test_other_estimators_are_refused(path):
    class Mine(ef.KMeans):
        pass

    with pytest.raises(TypeError, match="Mine cannot be saved: it must be one of BayesianGaussianMixture"):
        Mine(2).fit(X).save(path)


# ---- registration -------------------------------------------------------------------------------------------


def test_saving_needs_registration(path):
    model = ef.ExponentialFamilyMixture(Waves("mine"), 2, random_state=0).fit(np.abs(X) + 0.1)
    with pytest.raises(ValueError, match=r"Waves is not registered: call expfam_em.register\(Waves\)"):
        model.save(path)
    assert not path.exists()


def test_loading_needs_registration(path, monkeypatch):
    before = registry.registered()
    ef.register(Waves)
    ef.ExponentialFamilyMixture(Waves("mine"), 2, random_state=0).fit(np.abs(X) + 0.1).save(path)
    monkeypatch.setattr(registry, "_families", before)
    with pytest.raises(ValueError, match=r"'Waves' is not registered: .* call expfam_em.register\(Waves\)"):
        ef.load(path)


def test_register_is_a_decorator():
    @ef.register
    class Mine(Waves):
        pass

    assert isinstance(Mine, type)
    assert registry.registered()["Mine"] is Mine
    assert ef.register(Mine) is Mine


def test_two_classes_of_one_name(path):
    for name in ("Waves", "Gaussian"):
        ef.register(Waves)
        other = type(name, (Waves,), {"__qualname__": name})
        with pytest.raises(ValueError, match=f"is registered as '{name}' already"):
            ef.register(other)
    model = ef.ExponentialFamilyMixture(type("Waves", (Waves,), {})("x"), 2).fit(np.abs(X) + 0.1)
    with pytest.raises(ValueError, match="is not the class registered as 'Waves'"):
        model.save(path)


def test_a_notebook_cell_may_be_run_again():
    make = lambda: type("Mine", (Waves,), {"__module__": "__main__", "__qualname__": "Mine"})  # noqa: E731
    ef.register(make())
    again = make()
    assert ef.register(again) is again
    assert registry.registered()["Mine"] is again


@pytest.mark.parametrize("wrong", [ef.families.Poisson(), int, "Poisson", None])
def test_register_takes_classes(wrong):
    with pytest.raises(TypeError, match="subclass of ExponentialFamily"):
        ef.register(wrong)


# ---- writing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failed_save_leaves_the_older_file(broken, content, path, monkeypatch):
    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="disk full"):
        ef.KMeans(2, random_state=0).fit(X).save(path)
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["model.efm"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        ef.KMeans(2, random_state=0).fit(X).save(tmp_path / "nowhere" / "model.efm")


def test_a_link_stays_a_link(tmp_path, content, path):
    link = tmp_path / "link.efm"
    link.symlink_to(path)
    model = ef.KMeans(2, random_state=0).fit(X)
    model.save(str(link))
    assert link.is_symlink()
    check_is_fitted(ef.load(path))
    assert isinstance(ef.load(path), ef.KMeans)


def test_permissions_are_those_of_any_new_file(path, content):
    other = path.parent / "plain"
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


# ---- where files are written ----------------------------------------------------------------------------------------


def test_permissions_of_an_older_file_stay(tmp_path):
    model = ef.GaussianMixture(1).fit(np.random.default_rng(0).normal(size=(30, 1)))
    path = tmp_path / "model"
    for mode in (0o600, 0o640, 0o444):
        path.unlink(missing_ok=True)
        path.write_bytes(b"old")
        path.chmod(mode)
        model.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert ef.load(path).score([[0.0]]) == model.score([[0.0]])


def test_names_as_long_as_the_system_allows(tmp_path):
    model = ef.GaussianMixture(1).fit(np.random.default_rng(0).normal(size=(30, 1)))
    path = tmp_path / ("m" * 255)
    model.save(path)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert ef.load(path).score([[0.0]]) == model.score([[0.0]])


def test_a_pipe_and_a_device_stay_what_they_are(tmp_path):
    model = ef.GaussianMixture(1).fit(np.random.default_rng(0).normal(size=(30, 1)))
    model.save(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    model.save(pipe)
    reader.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "copy").write_bytes(received[0])
    assert ef.load(tmp_path / "copy").score([[0.0]]) == model.score([[0.0]])


class Positive:
    """A number that is checked when it is set, and kept beside the methods."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner=None):
        return self if instance is None else instance.__dict__[self.name]

    def __set__(self, instance, value):
        instance.__dict__[self.name] = float(value)


def test_a_family_with_a_checked_number_comes_back(path):
    class Scaled(ef.families.Poisson):
        size = Positive()
        kind = float

        def __init__(self):
            self.size, self.kind = 2, "counts"

    ef.register(Scaled)
    model = ef.ExponentialFamilyMixture(Scaled(), 2, random_state=0).fit(np.abs(X).round())
    model.save(path)
    assert ef.load(path).mixture_.family.size == 2.0
    model.mixture_.family.log_partition = 3
    with pytest.raises(TypeError, match="log_partition stands in for a method of Scaled"):
        model.save(path)


KILLED = """
import os
import sys

import numpy as np

import expfam_em as ef
from expfam_em.saving import files

def killed(file, *parts):
    file.write(b"half")
    file.flush()
    os._exit(7)

files.write_parts = killed
ef.GaussianMixture(random_state=0).fit(np.arange(8.0)[:, None]).save(sys.argv[1])
"""


if hasattr(os, "O_TMPFILE"):  # elsewhere the half of a file stays, under another name

    def test_a_process_killed_while_saving_leaves_nothing_behind(path):
        path.write_bytes(b"older")
        done = subprocess.run([sys.executable, "-c", KILLED, path], timeout=300, capture_output=True, check=False)
        assert done.returncode == 7, done.stderr
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        assert path.read_bytes() == b"older"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_saving_leaves_what_was_there(path, times, monkeypatch):
    model = ef.GaussianMixture(random_state=0).fit(X)
    path.write_bytes(b"older")
    main, write, replace, ended, wanted = (
        threading.get_ident(),
        files.write_parts,
        files._replace,
        threading.Event(),
        [],
    )

    def interrupted(file, *parts):
        write(file, *parts)
        for _ in range(times):
            signal.pthread_kill(main, signal.SIGINT)
            while wanted[0]():
                time.sleep(0.001)

    def replaced(*given):
        wanted.append(given[-1])
        try:
            replace(*given)
        finally:
            ended.set()

    monkeypatch.setattr(files, "write_parts", interrupted)
    monkeypatch.setattr(files, "_replace", replaced)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell sets it aside in the background
    try:
        with pytest.raises(KeyboardInterrupt):
            model.save(path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.wait(20)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"older"


def test_a_model_is_read_from_a_pipe(path):
    model = ef.GaussianMixture(2, random_state=0).fit(X)
    model.save(path)
    pipe = path.with_name("pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[path.read_bytes()])
    writer.start()
    assert np.array_equal(ef.load(pipe).predict(X), model.predict(X))
    writer.join()


def test_what_could_not_be_loaded_is_not_saved(path, monkeypatch):
    model = ef.GaussianMixture(2, random_state=0, means_init=None).fit(X)
    with pytest.raises(ValueError, match=r"cannot be saved: .*n_components is 3; fit it again"):
        model.set_params(n_components=3).save(path)
    monkeypatch.setattr("expfam_em.saving.files.MOST_AXES", 31)  # of 32, the most of NumPy 1
    many = np.zeros((1,) * 32)
    model = ef.KMeans(2, n_init=1, random_state=0).fit(X).set_params(init=many)
    with pytest.raises(TypeError, match="init is an array of 32 axes: at most 31"):
        model.save(path)
    assert not path.exists()
