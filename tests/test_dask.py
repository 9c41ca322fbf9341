"""Rows in Dask collections: the bits of the array, in threads, on workers, and when workers are killed."""

import contextlib
import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker

import cloudpickle
import dask
import dask.array as da
import dask.dataframe as dd
import distributed
import numpy as np
import pandas as pd
import psutil
import pytest
from scipy import sparse
from sklearn.base import clone

import expfam_em as ef
from expfam_em.rows import grid
from expfam_em.rows.protocol import Chunk
from expfam_em.rows.source import RowSource
from tests.own_families import Rayleigh

pytestmark = pytest.mark.usefixtures("small_parts", "many_chunks")

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(0, 1, (150, 3)), RNG.normal(4, 1.5, (110, 3)), RNG.normal(-5, 0.5, (43, 3))])
X = X[RNG.permutation(303)]
WEIGHT = np.random.default_rng(1).integers(0, 3, 303) * 0.75
COUNTS = RNG.poisson(1.0, (303, 5)).astype(np.uint8)
BITS = np.repeat((X > 0).astype(np.uint8), 8, axis=1)
NAMES = ["a", "b", "c"]

SECONDS = 600
"""After which a test has come to hang: ten times what a fit may take, since the machine may have other work."""


@pytest.fixture
def small_parts(monkeypatch):
    """Cut rows into parts of 64."""
    monkeypatch.setattr(grid, "MOST_ROWS", 64)


def frame(data=X, weight=WEIGHT):
    return dd.from_pandas(pd.DataFrame(data, columns=NAMES).assign(w=weight), npartitions=7)


def same_fits(one, other):
    """Assert that two fitted mixtures have the same bits."""
    assert one.lower_bound_ == other.lower_bound_
    assert one.n_iter_ == other.n_iter_
    assert np.array_equal(one.weights_, other.weights_)
    assert np.array_equal(one.mixture_.natural, other.mixture_.natural)


class Read(RowSource):
    """Rows of which any range can be read."""

    def __init__(self, X, weight=None):
        self.X, self.weight = X, weight

    def __len__(self):
        return len(self.X)

    def read(self, first, stop):
        return Chunk(self.X[first:stop], None if self.weight is None else self.weight[first:stop], first)


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers need not find the tests

NORMAL = ef.GaussianMixture(3, random_state=0)
COLLECTIONS = {
    "array": (NORMAL, lambda: ef.DaskRows(da.from_array(X, chunks=(100, 2)), weight=da.from_array(WEIGHT, chunks=71))),
    "weights in memory": (NORMAL, lambda: ef.DaskRows(da.from_array(X, chunks=(303, 3)), weight=WEIGHT)),
    "frame": (NORMAL, lambda: ef.rows_from(frame(), weight="w")),
    "source": (NORMAL, lambda: ef.DaskRows(Read(X, WEIGHT))),
    "codes": (
        ef.BernoulliMixture(2, random_state=0),
        lambda: ef.DaskRows(da.from_array(BITS, chunks=50), weight=WEIGHT),
    ),
    "derived": (
        ef.BernoulliMixture(2, binarize=0.0, random_state=0),
        lambda: ef.DaskRows(da.from_array(X, chunks=50), weight=WEIGHT),
    ),
    "sparse": (
        ef.ExponentialFamilyMixture(ef.families.Poisson(), 2, random_state=0),
        lambda: ef.DaskRows(da.from_array(COUNTS, chunks=50).map_blocks(sparse.csr_array), weight=WEIGHT),
    ),
    "float32": (
        ef.GaussianMixture(2, covariance_type="diag", n_init=2, random_state=0),
        lambda: ef.DaskRows(da.from_array(X.astype(np.float32), chunks=50), weight=WEIGHT),
    ),
    "own": (
        ef.ExponentialFamilyMixture(Rayleigh(), 2, temperature=[2.0, 1.0], random_state=0),
        lambda: ef.DaskRows(da.from_array(np.exp(X), chunks=90), weight=WEIGHT),
    ),
}  # fmt: skip
MEMORY = {
    "codes": BITS, "sparse": sparse.csr_array(COUNTS), "float32": X.astype(np.float32), "own": np.exp(X),
}  # fmt: skip


@functools.cache
def fit_in_memory(name):
    model, _ = COLLECTIONS[name]
    return clone(model).fit(MEMORY.get(name, X), sample_weight=WEIGHT)


def check(name):
    model, rows = COLLECTIONS[name]
    same_fits(clone(model).fit(rows()), fit_in_memory(name))


@pytest.mark.parametrize("name", COLLECTIONS)
def test_without_a_cluster_a_fit_has_the_bits_of_the_array(name):
    check(name)


def test_estimators_take_collections_and_know_the_names_of_their_columns():
    plain, model = clone(NORMAL).fit(X), clone(NORMAL).fit(frame()[NAMES])
    same_fits(model, plain)
    same_fits(clone(NORMAL).fit(da.from_array(X, chunks=100)), plain)
    assert model.feature_names_in_.tolist() == NAMES
    assert np.array_equal(model.predict(frame()[["w", "c", "b", "a"]]), plain.predict(X))
    assert np.array_equal(plain.score_samples(da.from_array(X, chunks=33)), plain.score_samples(X))
    with dask.config.set(scheduler="synchronous"):
        same_fits(clone(NORMAL).fit(frame()[NAMES]), plain)


def test_an_array_without_names_is_taken_as_the_columns_of_the_fit():
    model = clone(NORMAL).fit(frame()[NAMES])
    with pytest.warns(UserWarning, match="X has no names of columns; GaussianMixture was fitted to"):
        assert np.array_equal(model.predict(da.from_array(X, chunks=100)), model.predict(frame()))


def spoiled(array, entry, value):
    out = np.array(array)
    out[entry] = value
    return out


WRONG = {
    "an array in memory": (lambda: ef.DaskRows(X), r"ndarray is no Dask array or frame.*from_array"),
    "no rows": (lambda: ef.DaskRows(da.zeros((0, 3))), r"shape \(0, 3\)"),
    "a vector": (lambda: ef.DaskRows(da.zeros(9)), r"shape \(9,\)"),
    "unknown chunks": (
        lambda: (lambda a: ef.DaskRows(a[a[:, 0] > 0]))(da.from_array(X, chunks=99)),
        r"call compute_chunk_sizes\(\)",
    ),
    "a column of an array": (lambda: ef.DaskRows(da.zeros((9, 2)), columns=[2]), r"numbers 0 to 1"),
    "a name of a column of an array": (lambda: ef.DaskRows(da.zeros((9, 2)), weight="w"), r"have no names: give the w"),
    "a column of a frame": (lambda: ef.DaskRows(frame(), columns=["d"]), r"no column is named 'd'"),
    "text": (lambda: ef.DaskRows(frame().assign(t="x")), r"column 't' holds"),
    "weights of a frame": (lambda: ef.DaskRows(frame(), weight=WEIGHT), r"must be the name of a column"),
    "a column beside a frame": (lambda: ef.DaskRows(frame()["a"]), r"Series is a column.*frame\[\['a'\]\]"),
    "one name": (lambda: ef.DaskRows(frame(), columns="ab"), r"columns is 'ab'; give a list"),
    "weights that are text": (lambda: ef.DaskRows(frame().assign(t="x"), weight="t"), r"weight holds (str|object)"),
    "weights that are times": (
        lambda: ef.DaskRows(da.zeros((9, 2)), weight=np.zeros(9, "m8[s]")),
        r"weight holds timedelta64\[s\]",
    ),
    "codes that the meta cannot hold": (
        lambda: NORMAL.fit(da.from_array(X, chunks=99).map_blocks(np.copy, meta=np.empty((0, 0), np.uint8))),
        r"says that it holds uint8, and rows from \d+ on are float64",
    ),
    "digits that the meta cannot hold": (
        lambda: NORMAL.fit(da.from_array(X, chunks=99).map_blocks(np.copy, meta=np.empty((0, 0), np.float32))),
        r"says that it holds float32, and rows from \d+ on are float64",
    ),
    "other columns": (
        lambda: NORMAL.fit(
            da.from_array(X, chunks=(99, 3)).map_blocks(
                lambda b: b[:, 1:], chunks=((99, 99, 99, 6), (3,)), meta=np.empty((0, 0))
            )
        ),
        r"rows \d+ to \d+, returned dense rows of 2 columns, and says that it has dense rows of 3 columns",
    ),
    "sparse rows that should be dense": (
        lambda: NORMAL.fit(da.from_array(X, chunks=99).map_blocks(sparse.csr_array, meta=np.empty((0, 0)))),
        r"returned sparse rows of 3 columns, and says that it has dense rows",
    ),
    "a mask": (
        lambda: NORMAL.fit(da.ma.masked_array(da.from_array(X, chunks=99), da.from_array(X > 1, chunks=99))),
        r"the array is masked: fill it",
    ),
    "masked weights": (
        lambda: NORMAL.fit(ef.DaskRows(da.from_array(X, chunks=99), weight=da.ma.masked_less(da.ones(303), 0))),
        r"the array is masked: fill it",
    ),
    "a missing code": (
        lambda: ef.BernoulliMixture(2).fit(
            dd.from_pandas(
                pd.DataFrame({"p": pd.array([1, 0] * 80, "UInt8"), "q": pd.array([1] * 150 + [None] * 10, "UInt8")}),
                npartitions=3,
            )
        ),
        r"column 'q' of row 150 is missing",
    ),
    "too few weights": (lambda: ef.DaskRows(da.zeros((9, 2)), weight=np.ones(8)), r"must be \(9,\)"),
    "weights beside rows": (lambda: ef.DaskRows(Read(X), weight=WEIGHT), r"beside rows"),
    "a negative weight": (
        lambda: NORMAL.fit(ef.DaskRows(frame(weight=spoiled(WEIGHT, 99, -1.0)), weight="w")),
        r"rows 64 to 128.*least of them -1",
    ),
    "a missing value": (
        lambda: NORMAL.fit(frame(spoiled(X, (200, 1), np.nan))),
        r"column 'b' of row 200 is missing",
    ),
    "other lengths": (
        lambda: NORMAL.fit(da.map_blocks(lambda b: b[1:], da.from_array(X, chunks=99), chunks=((99, 99, 99, 6), (3,)))),
        r"asked for rows \d+ to \d+, returned \d+: its chunks have other lengths",
    ),
    "an empty frame": (lambda: ef.DaskRows(frame().partitions[:1].query("a > 1e9")), r"there are no rows"),
    "no such row": (
        lambda: COLLECTIONS["own"][0].fit(da.from_array(spoiled(np.exp(X), (77, 1), -1.0), chunks=99)),
        r"column 1 holds -1.0 \(row 13\) \[rows counted from 64 on",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_collection_is_named(name):
    build, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        build()


def test_empty_partitions_and_missing_values_that_a_column_may_have_are_no_rows():
    rows = dd.concat([frame()[NAMES], frame()[NAMES].query("a > 1e9"), frame()[NAMES]])
    same_fits(clone(NORMAL).fit(rows), clone(NORMAL).fit(np.concatenate([X, X])))
    same_fits(clone(NORMAL).fit(frame()[NAMES].astype("Float64")), clone(NORMAL).fit(X))


# ---- on workers --------------------------------------------------------------------------------------------------


def in_time(function):
    """Return what a function returns, unless it hangs."""
    found = []

    def run():
        try:
            found.append((function(), None))
        except Exception as error:
            found.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, f"no answer within {SECONDS} s"
    [(value, error)] = found
    if error is not None:
        raise error
    return value


def until(true):
    """Wait for something to become true."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


LOOPBACK = {"host": "127.0.0.1", "dashboard_address": None, "scheduler_kwargs": {"dashboard_address": "127.0.0.1:0"}}


def pids(cluster, client):
    """Return the processes of the workers that live and that the scheduler knows."""
    known = client.nthreads()  # their nannies are asked for the rest: a worker that is dead does not answer for long
    return {nanny.pid for nanny in tuple(cluster.workers.values()) if nanny.worker_address in known} - {None}


def has_ended(process):
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class KilledCluster(distributed.LocalCluster):
    """A cluster that does not stumble over workers that are lost before it has heard of them."""

    def _update_worker_status(self, op, msg):
        with contextlib.suppress(KeyError):
            super()._update_worker_status(op, msg)


@pytest.fixture(scope="module")
def cluster():
    """One worker, each of which is a process; more when tests ask for more. None is left behind."""
    resource_tracker.ensure_running()  # a child that stays
    before = set(psutil.Process().children(recursive=True))
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "600 s"}),  # a busy machine starts workers slowly
        KilledCluster(n_workers=1, threads_per_worker=1, processes=True, **LOOPBACK) as found,
    ):
        yield found
        ever = set(psutil.Process().children(recursive=True)) - before
    until(lambda: all(map(has_ended, ever)))


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as found:
        yield found


def shuffled(function, chunk):
    """Return what a function returns of a chunk, sooner or later."""
    time.sleep(0.01 * random.random())
    return function(chunk)


class ShuffledRows(ef.DaskRows):
    """Rows whose parts answer in an order that nobody can foresee."""

    def reduce(self, function, work):
        return super().reduce(functools.partial(shuffled, function), work)


def test_the_number_of_workers_and_their_order_do_not_change_bits(cluster, client, tmp_path):
    for n, names in enumerate([["array", "frame", "codes"], ["source", "sparse"], ["derived", "own"]], 1):
        cluster.scale(n)
        until(lambda n=n: len(client.nthreads()) == n)
        for name in names:
            in_time(functools.partial(check, name))
    rows, model = ShuffledRows(da.from_array(X, chunks=41), client, weight=WEIGHT), fit_in_memory("array")
    same_fits(in_time(lambda: clone(NORMAL).fit(rows)), model)
    assert np.array_equal(model.predict_proba(rows), model.predict_proba(X))
    model.predict_proba(rows, out=tmp_path / "r.npy")
    assert np.array_equal(np.load(tmp_path / "r.npy"), model.predict_proba(X))


def test_a_family_of_a_notebook_goes_along(client):
    namespace = {"ef": ef, "np": np, "__name__": "__main__"}
    source = "class Mine(ef.ExponentialFamily):\n    sufficient_statistics = lambda self, X: X\n"
    exec(source + "    log_partition = lambda self, natural: np.exp(natural).sum(axis=1)\n", namespace)
    model = ef.ExponentialFamilyMixture(namespace["Mine"](), 2, random_state=0)
    same_fits(clone(model).fit(ef.DaskRows(da.from_array(COUNTS, chunks=60), client)), clone(model).fit(COUNTS))


def test_an_error_of_a_worker_is_that_of_the_array(client):
    data = spoiled(np.exp(X), (77, 1), -1.0)
    with pytest.raises(ValueError, match=r"column 1 holds -1.0 \(row 13\) \[rows counted from 64 on"):
        COLLECTIONS["own"][0].fit(ef.DaskRows(da.from_array(data, chunks=99), client))


class Late(Read):
    """Rows of which some come too late."""

    def read(self, first, stop):
        if first >= 128:
            raise TimeoutError("the disk does not answer")
        return super().read(first, stop)


def test_an_error_of_a_task_about_time_is_not_taken_for_one_of_waiting(client):
    with pytest.raises(TimeoutError, match="the disk does not answer"):
        in_time(lambda: ef.DaskRows(Late(X), client).reduce(len, 1.0))


def test_rows_that_a_cluster_has_forgotten_are_an_error_with_a_name(client):
    rows = ef.DaskRows(da.from_array(X, chunks=41), client)
    client.cancel(rows._parts)
    with pytest.raises(ef.ClusterLostError, match="was cancelled: make the rows again"):
        in_time(lambda: clone(NORMAL).fit(rows))


def test_nothing_is_kept_on_a_cluster_that_nobody_refers_to(client):
    rows = ef.DaskRows(da.from_array(X, chunks=41), client)
    n_parts = len(rows._parts)
    until(lambda: len(client.futures) == n_parts)  # pieces of the collection are gone
    for _ in range(3):
        rows.reduce(len, 1.0)
    until(lambda: len(client.futures) == n_parts)
    del rows
    until(lambda: not client.futures and not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


def rows_in(chunk):
    return len(chunk.X)


def test_parts_of_a_worker_are_a_task_for_each_thread_unless_they_are_dear(cluster, client, monkeypatch):
    cluster.scale(2)
    until(lambda: len(client.nthreads()) == 2)
    rows, asked = ef.DaskRows(da.from_array(X, chunks=41), client), []
    parts, begin = rows._parts, rows._engine.map
    distributed.wait(parts)
    monkeypatch.setattr(rows._engine, "map", lambda *what, **more: asked.append(what) or begin(*what, **more))
    assert rows.reduce(rows_in, 1.0) == 303
    monkeypatch.setattr("expfam_em.sources.dask.TASK_WORK", 64 * 99)  # a part has 64 rows
    assert rows.reduce(rows_in, 99.0) == 303
    (_, cheap, _), (_, dear, _) = asked
    where = client.who_has(parts)
    held = [[part for part in parts if where[part.key][0] == worker] for worker in client.nthreads()]
    assert sorted(map(id, itertools.chain(*cheap))) == sorted(map(id, parts)) == sorted(map(id, itertools.chain(*dear)))
    assert all(one in cheap for one in held if one)
    assert max(map(len, dear)) == 1
    for threads, most in itertools.product((1, 2, 3), (1, 2, 99)):
        rows._engine._threads_of = dict.fromkeys(client.nthreads(), threads)
        lists = rows._engine.lists(parts, most)
        of_one = [[one for one in lists if one[0] in each] for each in held if each]
        assert [list(itertools.chain(*one)) for one in of_one] == [each for each in held if each]
        assert max(map(len, lists)) <= most
        assert all(len(one) % threads == 0 or len(one) == sum(map(len, one)) for one in of_one)
    rows._engine._where = dict.fromkeys(where, ("nobody",))  # as after the loss of a worker
    monkeypatch.setattr("expfam_em.sources.dask.GLANCE", 0.0)
    assert all(one in rows._engine.lists(parts, 99) for one in held if one)


def test_a_large_function_is_sent_once_to_all_tasks(client, monkeypatch):
    monkeypatch.setattr("expfam_em.sources.dask.SENT_BYTES", 0)
    same_fits(in_time(lambda: clone(NORMAL).fit(ef.DaskRows(da.from_array(X, chunks=41), client))), NORMAL.fit(X))


def test_a_fit_within_a_task_of_the_only_thread_does_not_wait_for_itself(client):
    def task():
        distributed.get_client()  # is then the one that is active
        return clone(NORMAL).fit(da.from_array(X, chunks=100)).lower_bound_, clone(NORMAL).fit(X).lower_bound_

    found, expected = in_time(lambda: client.submit(task, pure=False).result())
    assert found == expected


def test_a_client_that_is_none_is_refused(client):
    with pytest.raises(TypeError, match=r"client is .tcp.*; it must be a distributed\.Client"):
        ef.DaskRows(da.from_array(X, chunks=41), client="tcp://127.0.0.1:1")

    async def fit():
        return ef.DaskRows(da.from_array(X, chunks=41), client)

    with pytest.raises(ValueError, match="the client is asynchronous"):
        client.sync(fit)


LONG = ef.GaussianMixture(3, init_params="random_from_data", tol=0.0, max_iter=12, random_state=0)


@pytest.mark.filterwarnings("ignore:Best performing")
@pytest.mark.parametrize("kill", [1, 2, 3, 4, "both"])
def test_killed_workers_do_not_change_bits(cluster, client, kill):
    cluster.scale(2)
    until(lambda: len(pids(cluster, client)) == len(client.nthreads()) == 2)
    expected = clone(LONG).fit(X, sample_weight=WEIGHT)
    rows, alive = ShuffledRows(da.from_array(X, chunks=41), client, weight=WEIGHT), pids(cluster, client)
    hit = sorted(alive)[: 2 if kill == "both" else 1]
    timers = [threading.Timer(0.02 * random.random(), os.kill, (pid, signal.SIGKILL)) for pid in hit]

    def at_step(state):
        if state.n_iter == 5:  # tasks of the next step will be running
            for timer in timers:
                timer.start()

    found = in_time(lambda: clone(LONG).fit(rows, callbacks=[at_step]))
    same_fits(found, expected)
    for timer in timers:
        timer.join()
    # others come for those killed
    until(lambda: len(now := pids(cluster, client)) == 2 and alive - now == set(hit))


ELSEWHERE = """
import distributed, time
if __name__ == "__main__":
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    )
    print(cluster.scheduler_address, flush=True)
    time.sleep(600)
"""


@pytest.mark.filterwarnings("ignore:Best performing")
def test_a_lost_scheduler_is_an_error_with_a_name_and_leaves_no_workers(tmp_path, monkeypatch):
    script = tmp_path / "elsewhere.py"
    script.write_text(ELSEWHERE)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        try:
            client = distributed.Client(process.stdout.readline().strip(), set_as_default=False)
            rows = ef.DaskRows(da.from_array(X, chunks=41), client)
            [worker] = map(psutil.Process, client.run(os.getpid).values())
            steps = itertools.count()

            def at_step(state):
                if next(steps) == 3:
                    process.kill()

            monkeypatch.setattr("expfam_em.sources.dask.GLANCE", 0.2)
            hasty = ef.DaskRows(Read(X), client)
            hasty._engine.patience = 0.5  # a busy machine may need more than that to connect
            process.send_signal(signal.SIGSTOP)
            with pytest.raises(ef.ClusterLostError, match=r"has not answered for 0\.5 s"):
                in_time(lambda: hasty.reduce(len, 1.0))
            process.send_signal(signal.SIGCONT)
            with pytest.raises(ef.ClusterLostError, match="scheduler does not answer"):
                in_time(lambda: clone(LONG).fit(rows, callbacks=[at_step]))
            with pytest.raises(ef.ClusterLostError, match="scheduler does not answer"):
                in_time(lambda: rows.reduce(len, 1.0))
            client.close(timeout=1)
        finally:
            process.kill()
    until(lambda: has_ended(worker))


def test_a_cluster_without_workers_is_an_error_with_a_name():
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
        pytest.raises(ef.ClusterLostError, match="no workers for 0"),
    ):
        ef.DaskRows(da.from_array(X, chunks=41), client, patience=0.1)


def test_a_cluster_that_adapts_gets_workers_for_a_fit(monkeypatch):
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=1, interval="50 ms")
        rows = in_time(lambda: ef.DaskRows(da.from_array(X, chunks=41), client, patience=SECONDS))
        same_fits(in_time(lambda: clone(NORMAL).fit(rows)), NORMAL.fit(X))


def test_a_delayed_value_is_refused_in_a_sentence():
    with pytest.raises(TypeError, match=r"dask\.array\.from_delayed"):
        ef.GaussianMixture(2).fit(dask.delayed(np.zeros((5, 2))))
