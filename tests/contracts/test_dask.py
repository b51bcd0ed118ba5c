"""Mixtures fitted to collections of Dask, and asked about them: the one process's answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("dask.array", reason="extra [dask]")
pytest.importorskip("dask.dataframe", reason="extra [dask]")
pytest.importorskip("distributed", reason="extra [dask]")

import dask
import dask.array as da
import dask.dataframe as dd
import distributed

from latentmix import (
    VAE,
    BernoulliMixture,
    GaussianMixture,
    LatentMixture,
    PoissonMixture,
)
from latentmix.errors import ClusterError, InputError
from latentmix.estimators import dask_rows
from latentmix.training import cluster as clusters
from latentmix.training.elsewhere import on_cluster

N, D = 6000, 4
rng = np.random.RandomState(0)
KIND = rng.randint(3, size=N)
ROWS = rng.randn(N, D) + 4 * np.eye(3, D)[KIND]
HOLES = np.where(rng.random_sample((N, D)) < 0.1, np.nan, ROWS)
WEIGHTS = rng.randint(0, 3, N).astype(float)
LABELS = np.where(rng.random_sample(N) < 0.05, np.array(["ash", "birch", "cedar"])[KIND], "")
SETTINGS = {"random_state": 0, "tol": 1e-6, "max_iter": 300}
FITTED = ("weights_", "means_", "covariances_", "lower_bounds_")


def in_chunks(X, n_rows, n_columns=None):
    return da.from_array(X, chunks=(n_rows, n_columns or X.shape[1]))


def assert_alike(one, other, exactly=False):
    assert one.n_iter_ == other.n_iter_
    for name in FITTED:
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        if exactly:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "factor"])
@pytest.mark.parametrize("n_rows", [6000, 1999, 250])
def test_any_chunks_give_the_answer_of_one_process(kind, n_rows):
    shape = {"covariance_type": kind, "n_factors": 1, **SETTINGS}
    here = GaussianMixture(3, **shape).fit(ROWS)
    there = GaussianMixture(3, **shape).fit(in_chunks(ROWS, n_rows, 3))
    assert_alike(here, there)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random", "random_from_data"])
def test_starts_are_those_of_one_process(init):
    here = GaussianMixture(3, init_params=init, n_init=2, **SETTINGS).fit(ROWS)
    assert_alike(
        here, GaussianMixture(3, init_params=init, n_init=2, **SETTINGS).fit(in_chunks(ROWS, 1000))
    )


def test_given_means_look_at_all_rows():
    means = ROWS[[0, 1, 2]]
    here = GaussianMixture(3, means_init=means, **SETTINGS).fit(ROWS)
    assert_alike(here, GaussianMixture(3, means_init=means, **SETTINGS).fit(in_chunks(ROWS, 999)))


@pytest.mark.parametrize("as_collection", [True, False])
def test_weights_labels_and_missing_entries_are_in_the_fit(as_collection):
    given = {"sample_weight": WEIGHTS, "labels": LABELS}
    here = GaussianMixture(3, **SETTINGS).fit(HOLES, **given)
    if as_collection:
        given = {
            "sample_weight": da.from_array(WEIGHTS, chunks=700),
            "labels": da.from_array(LABELS, chunks=1100),
        }
    there = GaussianMixture(3, **SETTINGS).fit(in_chunks(HOLES, 1000), **given)
    assert_alike(here, there)
    np.testing.assert_allclose(here.class_probs_, there.class_probs_, rtol=1e-9)
    np.testing.assert_allclose(here.labelled_rows_, there.labelled_rows_, rtol=1e-9)
    assert there.classes_.tolist() == ["ash", "birch", "cedar"]


def test_the_number_of_components_is_chosen():
    there = GaussianMixture("auto", random_state=0).fit(in_chunks(ROWS, 1500))
    assert there.n_components_ == GaussianMixture("auto", random_state=0).fit(ROWS).n_components_


@pytest.mark.parametrize("kind", [BernoulliMixture, PoissonMixture])
def test_other_families_too(kind):
    X = (ROWS > 1).astype(float) if kind is BernoulliMixture else np.floor(np.abs(ROWS))
    here = kind(3, random_state=0).fit(X)
    there = kind(3, random_state=0).fit(in_chunks(X, 1300))
    np.testing.assert_allclose(here.means_, there.means_, rtol=1e-9)
    with pytest.raises(InputError):
        kind(3, random_state=0).fit(in_chunks(X - 2, 1300))


def test_a_data_frame_is_counted_and_its_columns_are_remembered():
    frame = dd.from_pandas(pd.DataFrame(ROWS, columns=list("abcd")), npartitions=5)
    # An empty partition counts for nothing.
    frame = dd.concat([frame, frame[frame["a"] > 1e9]])
    there = GaussianMixture(3, **SETTINGS).fit(frame)
    assert_alike(GaussianMixture(3, **SETTINGS).fit(ROWS), there)
    assert there.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(there.predict(frame).compute(), there.predict(frame.compute()))
    with pytest.raises(InputError, match="Expected those of the fit, in their order: a, b, c, d"):
        there.predict(frame[["b", "a", "c", "d"]])


def test_answers_are_lazy_and_the_same():
    mixture = GaussianMixture(3, **SETTINGS).fit(ROWS, labels=LABELS)
    X = in_chunks(ROWS, 1700, 2)
    for name in ("predict", "predict_proba", "score_samples", "transform", "predict_class"):
        lazy = getattr(mixture, name)(X)
        assert isinstance(lazy, da.Array), name
        here = getattr(mixture, name)(ROWS)
        assert (lazy.shape, lazy.dtype.kind) == (here.shape, here.dtype.kind)
        np.testing.assert_array_equal(lazy.compute(), here)
    sure = mixture.predict_class(X, reject_below=0.99).compute()
    np.testing.assert_array_equal(sure, mixture.predict_class(ROWS, reject_below=0.99))


def test_a_network_answers_by_blocks():
    vae = VAE(hidden_dims=(8,), latent_dim=2, max_epochs=2, min_steps=0)
    model = LatentMixture(3, vae=vae, random_state=0).fit(ROWS[:600].astype(np.float32))
    model.label(ROWS[:600].astype(np.float32), LABELS[:600])
    X = ROWS.astype(np.float32)
    for name in ("predict", "predict_proba", "transform", "score_samples", "predict_class"):
        lazy = getattr(model, name)(in_chunks(X, 2000))
        assert isinstance(lazy, da.Array), name
        here = getattr(model, name)(X)
        if here.dtype.kind == "f":
            np.testing.assert_allclose(lazy.compute(), here, rtol=1e-4, atol=1e-5)
        else:
            assert (lazy.compute() == here).mean() > 0.999


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (in_chunks(ROWS, 999)[in_chunks(ROWS, 999)[:, 0] > 0], "chunks of unknown sizes"),
        (da.from_array(ROWS[:, 0]), r"Expected numbers, \(N, D\)"),
        (in_chunks(ROWS.astype(str), 999), "collection of <U"),
        (in_chunks(np.where(ROWS > 6, np.inf, ROWS), 999), "infinity: inf at row"),
        (in_chunks(ROWS[:0], 1), "holds no row"),
    ],
)
def test_collections_that_cannot_be_used_say_so(X, said):
    with pytest.raises(InputError, match=said):
        GaussianMixture(3).fit(X)


def test_blocks_that_are_not_what_they_claim_say_which():
    def other(block, block_info=None):
        return block[:, :3] if block_info[0]["chunk-location"][0] == 2 else block

    X = in_chunks(ROWS, 1000).map_blocks(other, dtype=float, chunks=(1000, D))
    with pytest.raises(
        InputError, match=r"begins with row 2000 holds float64 of shape \(1000, 3\)"
    ):
        GaussianMixture(3).fit(X)


def test_weights_of_another_length_say_so():
    with pytest.raises(InputError, match="weight for each of the 6000 rows"):
        GaussianMixture(3).fit(in_chunks(ROWS, 999), sample_weight=da.ones(7))
    with pytest.raises(InputError):
        GaussianMixture(3).fit(in_chunks(ROWS, 999), sample_weight=np.ones(7))
    with pytest.raises(InputError):
        GaussianMixture(3).fit(in_chunks(ROWS, 999), sample_weight=-da.ones(N, chunks=999))


@pytest.fixture
def cluster():
    """Return what starts a cluster of processes with a client."""
    open_ones = []

    def start(n_workers):
        cluster = distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=None
        )
        client = distributed.Client(cluster)
        open_ones.extend([client, cluster])
        return client

    yield start
    for one in open_ones:
        one.close()


def processes(client):
    return list(client.run(os.getpid).values())


@pytest.mark.filterwarnings("ignore")  # of Dask's own, at start and end
def test_however_many_workers_give_the_same_bits(cluster):
    X = in_chunks(HOLES, 500)
    found = [GaussianMixture(3, **SETTINGS).fit(X)]
    for n_workers in (1, 2):
        with cluster(n_workers):
            found.append(GaussianMixture(3, **SETTINGS).fit(X))
    for other in found[1:]:
        assert_alike(found[0], other, exactly=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_matrix_is_fitted_by_a_cluster_in_use(cluster, monkeypatch, n_workers):
    monkeypatch.setattr(dask_rows, "ROWS_PER_BLOCK", 700)
    given = {"sample_weight": WEIGHTS, "labels": LABELS}
    here = GaussianMixture(3, **SETTINGS).fit(HOLES, **given)
    with cluster(n_workers) as client:
        beside = GaussianMixture(3, **SETTINGS).fit(HOLES, **given)
        with on_cluster(client):
            there = GaussianMixture(3, **SETTINGS).fit(HOLES, **given)
    assert_alike(here, beside, exactly=True)
    assert_alike(here, there)
    np.testing.assert_allclose(here.class_probs_, there.class_probs_, rtol=1e-9)
    # In blocks of the same rows, sums are added as they are of a collection.
    blocks = GaussianMixture(3, **SETTINGS).fit(in_chunks(HOLES, 700), **given)
    assert_alike(blocks, there, exactly=True)


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_is_killed_is_made_up_for(cluster):
    X = in_chunks(ROWS, 500)
    alone = GaussianMixture(3, **SETTINGS).fit(X)
    killed = []
    with cluster(2) as client:

        def kill(event):
            # One alone: a fit waits as long as there is no worker at all.
            if event.iteration == 2:
                pid = processes(client)[0]
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        there = GaussianMixture(3, **SETTINGS).fit(X.persist(), listener=kill)
    assert len(killed) == 1
    assert_alike(alone, there, exactly=True)


@pytest.mark.filterwarnings("ignore")
def test_workers_of_another_version_are_refused(cluster, monkeypatch):
    with cluster(1):
        monkeypatch.setattr(clusters, "version", lambda name: "0.0.1")
        # What a worker runs is sent by name, and is its own.
        with pytest.raises(ClusterError, match=r"has latentmix .*, and this process 0\.0\.1"):
            GaussianMixture(3).fit(in_chunks(ROWS, 999))


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_killed_is_one_sentence(tmp_path):
    where = str(tmp_path / "scheduler.json")
    dask.config.set({"distributed.comm.timeouts.connect": "3s"})
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    scheduler = subprocess.Popen([*command, "--port", "0", "--scheduler-file", where])
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard"]
    worker = subprocess.Popen([*command, "--nthreads", "1", "--scheduler-file", where])
    try:
        with distributed.Client(scheduler_file=where, timeout=60) as client:
            client.wait_for_workers(1, timeout=60)

            def kill(event):
                scheduler.kill()
                scheduler.wait()

            with pytest.raises(ClusterError, match="could not finish a pass over the rows"):
                GaussianMixture(3, **SETTINGS).fit(in_chunks(ROWS, 999), listener=kill)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
