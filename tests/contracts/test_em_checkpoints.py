"""A fit that keeps itself in a folder: killed, it goes on to the same bits; nothing else does."""

import json
import os
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

import latentmix.estimators.mixture
from latentmix import BernoulliMixture, GaussianMixture
from latentmix.errors import InputError, IntegrityError, WriteError
from latentmix.training import em_checkpoint, em_loop, sources
from latentmix.training.em_ascent import SquaredAscent
from latentmix.training.em_checkpoint import FolderKeeper

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(3)
X = np.concatenate([rng.randn(150, 2), rng.randn(150, 2) + 1.5])
LABELS = np.where(np.arange(300) % 5 == 0, np.arange(300) // 150, -1)
LONG = {"n_components": 3, "random_state": 0, "tol": 0, "max_iter": 80}


class EagerKeeper(FolderKeeper):
    """Saves after every pass, not every few seconds."""

    def __init__(self, folder, **how):
        super().__init__(folder, seconds=0.0, **how)


class StopNowError(Exception):
    """What a listener raises in mid-fit."""


@pytest.fixture(autouse=True)
def unflushed(monkeypatch):
    """Spare the disk: what a process has written outlives the process, if not the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def eager(monkeypatch):
    monkeypatch.setattr(latentmix.estimators.mixture, "FolderKeeper", EagerKeeper)


@pytest.fixture
def interrupt(eager):
    """Return a function that begins a fit in a folder and interrupts it after some events."""

    def begin(folder, parameters=LONG, rows=X, events=30, kind=GaussianMixture, **asked):
        heard = []

        def listen(event):
            heard.append(event)
            if len(heard) == events:
                raise StopNowError

        with pytest.raises(StopNowError):
            kind(**parameters).fit(rows, checkpoint=folder, listener=listen, **asked)
        assert (folder / "em.json").is_file()

    return begin


def fitted(mixture):
    names = (
        "weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bounds_", "n_iter_",
        "converged_", "n_reborn_", "n_falls_", "class_probs_",
    )  # fmt: skip
    return {name: getattr(mixture, name) for name in names if hasattr(mixture, name)}


def assert_same_bits(mixture, other):
    for name, value in fitted(other).items():
        np.testing.assert_array_equal(getattr(mixture, name), value, err_msg=name)


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


# --- killed

KILLS = """
import json, os, random, signal, sys, time, warnings
import numpy as np
from latentmix import GaussianMixture
from latentmix.training.em_checkpoint import FolderKeeper

FolderKeeper.__init__.__defaults__ = (0.0,)
os.fsync = lambda descriptor: None
warnings.simplefilter("ignore")
folder, rows, parameters = sys.argv[1:]
mixture, rows = GaussianMixture(**json.loads(parameters)), np.load(rows)
for _ in range(4):
    child = os.fork()
    if child == 0:
        mixture.fit(rows, checkpoint=folder)
        os._exit(0)
    deadline = time.monotonic() + 30
    while not os.path.exists(os.path.join(folder, "em.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
@pytest.mark.parametrize(("acceleration", "n_init"), [(None, 1), ("squarem", 3)])
def test_a_fit_killed_at_random_moments_goes_on_to_the_same_bits(acceleration, n_init, tmp_path):
    folder, rows = tmp_path / "kept", tmp_path / "rows.npy"
    parameters = {**LONG, "acceleration": acceleration, "n_init": n_init, "max_iter": 400}
    np.save(rows, X)
    command = [sys.executable, "-c", KILLS, folder, rows, json.dumps(parameters)]
    subprocess.run(command, check=True, timeout=120)
    assert (folder / "em.json").is_file()
    heard = []
    mixture = GaussianMixture(**parameters).fit(X, checkpoint=folder, listener=heard.append)
    assert heard[0].iteration > 1  # it has gone on
    assert_same_bits(mixture, GaussianMixture(**parameters).fit(X))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("acceleration", [None, "squarem"])
@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "factor"])
def test_an_interrupted_fit_goes_on_to_the_same_bits(
    family, acceleration, n_init, interrupt, tmp_path
):
    parameters = {
        **LONG, "covariance_type": family, "n_factors": 1, "acceleration": acceleration,
        "n_init": n_init, "max_iter": 60,
    }  # fmt: skip
    interrupt(tmp_path, parameters, events=35)
    mixture = GaussianMixture(**parameters).fit(X, checkpoint=tmp_path)
    assert_same_bits(mixture, GaussianMixture(**parameters).fit(X))
    assert visible(tmp_path) == []


@pytest.mark.parametrize("asked", ["labels", "sample_weight", "missing", "float32"])
def test_whatever_was_asked_goes_on(asked, interrupt, tmp_path):
    more, rows = {}, X
    if asked == "labels":
        more = {"labels": LABELS}
    elif asked == "sample_weight":
        more = {"sample_weight": np.arange(300) % 3}
    elif asked == "missing":
        rows = np.where(np.random.RandomState(0).uniform(size=X.shape) < 0.1, np.nan, X)
    else:
        rows = X.astype(np.float32)
    interrupt(tmp_path, rows=rows, **more)
    mixture = GaussianMixture(**LONG).fit(rows, checkpoint=tmp_path, **more)
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(rows, **more))


def test_a_stream_and_another_family_go_on(interrupt, tmp_path):
    class Blocks:
        def __iter__(self):
            return iter((X[:100], X[100:]))

    interrupt(tmp_path / "stream", rows=Blocks())
    mixture = GaussianMixture(**LONG).fit(Blocks(), checkpoint=tmp_path / "stream")
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(Blocks()))
    flags = (X > 0.7) * 1.0
    interrupt(tmp_path / "flags", rows=flags, kind=BernoulliMixture)
    mixture = BernoulliMixture(**LONG).fit(flags, checkpoint=tmp_path / "flags")
    assert_same_bits(mixture, BernoulliMixture(**LONG).fit(flags))


def test_interrupted_again_and_again(interrupt, tmp_path):
    for _ in range(4):
        interrupt(tmp_path, events=20)
    mixture = GaussianMixture(**LONG).fit(X, checkpoint=str(tmp_path))
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(X))


def test_a_finished_fit_leaves_the_folder_empty_and_free(eager, tmp_path):
    folder = tmp_path / "new" / "folder"
    mixture = GaussianMixture(**LONG).fit(X, checkpoint=folder)
    assert list(folder.iterdir()) == []
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(X))
    GaussianMixture(2, random_state=1).fit(X + 1, checkpoint=folder)


def test_runs_out_of_step_are_saved_after_every_pass(monkeypatch, tmp_path):
    saves = []

    class Noting(EagerKeeper):
        def save(self, ascents, **how):
            super().save(ascents, **how)
            name = json.loads(self.index.read_text())["tensors"]
            saves.append((name, [ascent.finished for ascent in ascents]))

    monkeypatch.setattr(latentmix.estimators.mixture, "FolderKeeper", Noting)
    parameters = {**LONG, "acceleration": "squarem", "n_init": 4, "tol": 1e-5}
    GaussianMixture(**{**parameters, "init_params": "random_from_data"}).fit(X, checkpoint=tmp_path)
    assert [name for name, _ in saves] == [f"em-{i + 1}.safetensors" for i in range(len(saves))]
    assert any(any(finished) and not all(finished) for _, finished in saves)


def test_everything_that_passes_change_is_kept(monkeypatch, tmp_path):
    kept = set()

    class Noting(FolderKeeper):
        def save(self, ascents, **how):
            kept.update(name.partition(".")[0] for ascent in ascents for name in ascent.state())

    monkeypatch.setattr(latentmix.estimators.mixture, "FolderKeeper", Noting)
    GaussianMixture(**LONG, acceleration="squarem").fit(X, checkpoint=tmp_path)
    # The rest is the same for the same rows and parameters.
    given = {"tol", "max_iter", "improve", "offset", "smoothing"}
    assert kept | given == {field.name for field in fields(SquaredAscent)}


def test_restarts_that_were_compared_on_a_part_of_the_rows_go_on(monkeypatch, interrupt, tmp_path):
    monkeypatch.setattr(em_loop, "ROWS_FOR_RESTARTS", 100)
    parameters = {**LONG, "n_init": 4, "init_params": "random_from_data", "max_iter": 100}
    # The comparison tells of 50 iterations of each start, before anything is kept.
    interrupt(tmp_path, parameters, events=210)
    mixture = GaussianMixture(**parameters).fit(X, checkpoint=tmp_path)
    assert_same_bits(mixture, GaussianMixture(**parameters).fit(X))


def test_components_far_apart_go_on(interrupt, tmp_path):
    parameters, rows = {**LONG, "acceleration": "squarem"}, X + (np.arange(300) % 2)[:, None] * 1e7
    interrupt(tmp_path, parameters, rows)
    mixture = GaussianMixture(**parameters).fit(rows, checkpoint=tmp_path)
    assert_same_bits(mixture, GaussianMixture(**parameters).fit(rows))


class InterruptedBlocks:
    """A stream that is interrupted in the middle of one pass."""

    def __init__(self, number):
        self.number, self.passes = number, 0

    def __iter__(self):
        self.passes += 1
        yield X[:100]
        if self.passes == self.number:
            raise KeyboardInterrupt
        yield X[100:]


def test_an_interrupt_loses_nothing_but_its_pass(tmp_path):
    heard, blocks = [], InterruptedBlocks(20)
    with pytest.raises(KeyboardInterrupt):
        GaussianMixture(**LONG).fit(blocks, checkpoint=tmp_path, listener=heard.append)
    before = len(heard)
    mixture = GaussianMixture(**LONG).fit(blocks, checkpoint=tmp_path, listener=heard.append)
    assert before > 10
    assert [event.iteration for event in heard] == [*range(1, LONG["max_iter"] + 1)]
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(blocks))


def test_saves_that_take_long_are_made_less_often(monkeypatch, tmp_path):
    clock, saves, write = [0.0], [], em_checkpoint.write_bytes
    monkeypatch.setattr(em_checkpoint.time, "monotonic", lambda: clock[0])

    def write_slowly(path, content):
        write(path, content)
        saves.append(clock[0])
        clock[0] += 2

    def listen(event):
        clock[0] += 10

    monkeypatch.setattr(em_checkpoint, "write_bytes", write_slowly)
    GaussianMixture(**LONG).fit(X, checkpoint=tmp_path, listener=listen)
    assert len(saves) > 5
    assert np.diff(saves).min() > 100


# --- another fit

CHANGES = {
    "n_components": {"n_components": 2},
    "covariance_type": {"covariance_type": "diag"},
    "tol": {"tol": 1e-9},
    "max_iter": {"max_iter": 121},
    "reg_covar": {"reg_covar": 1e-5},
    "relative_reg_covar": {"relative_reg_covar": True},
    "init_params": {"init_params": "random"},
    "means_init": {"means_init": X[:3]},
    "acceleration": {"acceleration": "squarem"},
    "random_state": {"random_state": 1},
    "n_init": {"n_init": 2},
    "weights_init": {"weights_init": [0.2, 0.3, 0.5]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_parameters_are_refused(change, interrupt, tmp_path):
    interrupt(tmp_path)
    with pytest.raises(InputError, match="other rows or with other parameters"):
        GaussianMixture(**{**LONG, **CHANGES[change]}).fit(X, checkpoint=tmp_path)
    # What was kept is still there for whoever has the right ones.
    mixture = GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(X))


def test_another_number_of_factors_is_refused(interrupt, tmp_path):
    parameters = {**LONG, "covariance_type": "factor", "n_factors": 1}
    interrupt(tmp_path, parameters)
    with pytest.raises(InputError, match="other rows or with other parameters"):
        GaussianMixture(**{**parameters, "n_factors": 2}).fit(X, checkpoint=tmp_path)


@pytest.mark.parametrize("change", ["one value", "order", "fewer", "weights"])
def test_other_rows_are_refused(change, interrupt, tmp_path):
    interrupt(tmp_path)
    other, more = X.copy(), {}
    if change == "one value":
        other[200, 1] += 1e-12
    elif change == "order":
        other = other[::-1]
    elif change == "fewer":
        other = other[:-1]
    else:
        more["sample_weight"] = np.full(300, 2.0)
    with pytest.raises(InputError, match="other rows or with other parameters"):
        GaussianMixture(**LONG).fit(other, checkpoint=tmp_path, **more)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (LABELS, None),
        (None, LABELS),
        (LABELS, np.where(LABELS < 0, -1, 1 - LABELS)),
        (LABELS, np.where(np.arange(300) == 295, 0, LABELS)),
        (LABELS, np.where(np.arange(300) == 295, 2, LABELS)),
    ],
    ids=["dropped", "added", "swapped", "one", "one of a class of its own"],
)
def test_other_labels_are_refused(before, after, interrupt, tmp_path):
    interrupt(tmp_path, labels=before)
    with pytest.raises(InputError, match="other rows or with other parameters"):
        GaussianMixture(**LONG).fit(X, labels=after, checkpoint=tmp_path)


def test_another_prior_of_the_labels_is_refused(interrupt, tmp_path):
    interrupt(tmp_path, labels=LABELS)
    with pytest.raises(InputError, match="other rows or with other parameters"):
        GaussianMixture(**LONG, smoothing=2).fit(X, labels=LABELS, checkpoint=tmp_path)


@pytest.mark.parametrize("change", ["labels", "weights"])
def test_every_rows_label_and_weight_counts(change, interrupt, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROWS_FOR_START", 1)  # of 3000 rows, the start sees 1000
    given = {"labels": np.tile(LABELS, 10), "sample_weight": np.ones(3000)}
    rows = np.tile(X[:150], (20, 1))
    interrupt(tmp_path, {**LONG, "max_iter": 100}, rows, **given)
    for i in range(5, 55, 10):
        changed = {name: value.copy() for name, value in given.items()}
        # Equal rows, so that no sum tells.
        if change == "labels":
            changed["labels"][[i, i + 150]] = changed["labels"][[i + 150, i]]
        else:
            changed["sample_weight"][[i, i + 300]] = 0, 2
        with pytest.raises(InputError, match="other rows or with other parameters"):
            GaussianMixture(**{**LONG, "max_iter": 100}).fit(rows, checkpoint=tmp_path, **changed)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=["None", "state"])
def test_without_a_seed_the_same_call_goes_on(random_state, interrupt, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "ROWS_FOR_START", 1)
    rows = np.tile(X, (5, 1))  # of which the start sees 1000, drawn by the seed
    parameters = {**LONG, "random_state": random_state, "n_init": 2, "max_iter": 100}
    interrupt(tmp_path, parameters, rows)
    seeds = json.loads((tmp_path / "em.json").read_text())["seeds"]
    with pytest.raises(InputError, match="other parameters"):
        GaussianMixture(**{**parameters, "n_init": 3}).fit(rows, checkpoint=tmp_path)
    heard = []
    mixture = GaussianMixture(**parameters)
    mixture.fit(rows, checkpoint=tmp_path, listener=heard.append)
    assert heard[0].iteration >= 14
    monkeypatch.setattr(latentmix.estimators.mixture, "draw_seeds", lambda *_: seeds)
    assert_same_bits(mixture, GaussianMixture(**parameters).fit(rows))


def test_without_a_seed_a_number_of_components_that_was_chosen_goes_on(interrupt, tmp_path):
    parameters = {**LONG, "n_components": "auto", "random_state": None}
    interrupt(tmp_path, parameters, rows=X + (np.arange(300) % 3)[:, None] * 9, events=5)
    heard = []
    mixture = GaussianMixture(**parameters)
    mixture.fit(X + (np.arange(300) % 3)[:, None] * 9, checkpoint=tmp_path, listener=heard.append)
    assert heard[0].iteration >= 4


# --- damage


def flip(path, where):
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)


def rewrite(folder, change):
    record = json.loads((folder / "em.json").read_text())
    change(record)
    (folder / "em.json").write_text(json.dumps(record))


def tensors(folder):
    (path,) = folder.glob("em-*.safetensors")
    return path


DAMAGE = {
    "tensors: cut short": lambda f: tensors(f).write_bytes(tensors(f).read_bytes()[:-7]),
    "tensors: gone": lambda f: tensors(f).unlink(),
    "tensors: empty": lambda f: tensors(f).write_bytes(b""),
    "tensors: header": lambda f: flip(tensors(f), 20),
    "tensors: length": lambda f: flip(tensors(f), 3),
    "index: empty": lambda f: (f / "em.json").write_text(""),
    "index: list": lambda f: (f / "em.json").write_text("[]"),
    "index: no text": lambda f: (f / "em.json").write_bytes(b"\xff\xfe\x00"),
    "index: no tensors": lambda f: rewrite(f, lambda r: r.pop("tensors")),
    "tensors: last bit": lambda f: flip(tensors(f), -8),
    "tensors: a number": lambda f: flip(tensors(f), -30),
    "index: record of nothing": lambda f: (f / "em.json").write_text("{}"),
    "index: cut short": lambda f: (f / "em.json").write_text("{"),
    "index: deep": lambda f: (f / "em.json").write_text("[" * 100_000),
    "index: a folder": lambda f: [(f / "em.json").unlink(), (f / "em.json").mkdir()],
    "index: no fingerprint": lambda f: rewrite(f, lambda r: r.pop("fingerprint")),
    "index: no seed": lambda f: rewrite(f, lambda r: r.update(seeds=[])),
    "index: another file": lambda f: rewrite(f, lambda r: r.update(tensors="../em-1.safetensors")),
    "index: no number": lambda f: rewrite(f, lambda r: r.update(tensors="em-.safetensors")),
    "index: more": lambda f: rewrite(f, lambda r: r.update(runs=[])),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(damage, interrupt, tmp_path):
    interrupt(tmp_path)
    DAMAGE[damage](tmp_path)
    with pytest.raises(IntegrityError, match=r"em.json is no readable checkpoint.*another folder"):
        GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)


@pytest.mark.parametrize("name", em_checkpoint._Index._fields)
def test_an_index_with_values_of_another_kind_is_refused(name, interrupt, tmp_path):
    interrupt(tmp_path, events=2)
    for value in (None, 7.5, [], {}, "x", ["x"], [True], [-1]):
        rewrite(tmp_path, lambda record, value=value: record.update({name: value}))
        with pytest.raises(IntegrityError, match=r"no readable checkpoint.*another folder"):
            GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)


@pytest.mark.parametrize("below", [".", "deeper"])
def test_a_file_in_the_folders_place_is_refused_in_our_words(below, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match=r"file.*cannot be made or read as a folder.*another"):
        GaussianMixture(**LONG).fit(X, checkpoint=tmp_path / "file" / below)
    assert (tmp_path / "file").read_text() == "mine"


def test_other_peoples_files_stay(eager, tmp_path):
    names = {
        "notes.txt",
        "em-mine.safetensors",
        "em-.safetensors",
        "em-1.safetensors.bak",
        "my-em-1.safetensors",
        "em.json.bak",
        ".em.json.swp",
        ".em-mine.safetensors.abcd1234",
    }
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / "em-777.safetensors").mkdir()
    GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*names, "em-777.safetensors"}


def test_a_write_cut_off_between_the_files_leaves_the_last_checkpoint(
    monkeypatch, interrupt, tmp_path
):
    interrupt(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(em_checkpoint, "write_json", lambda *_: 1 / 0)
        GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)
    mixture = GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)
    assert_same_bits(mixture, GaussianMixture(**LONG).fit(X))


def test_half_a_file_that_a_kill_left_goes_with_the_rest(interrupt, tmp_path):
    interrupt(tmp_path)
    # As `storage.files.write_bytes` names them until they are whole.
    (tmp_path / ".em.json.a1b2c3d4").write_bytes(b"{")
    (tmp_path / ".em-61.safetensors.x9y_z7w6").write_bytes(b"\x00")
    (tmp_path / "em-61.safetensors").write_bytes(b"\x00")
    GaussianMixture(**LONG).fit(X, checkpoint=tmp_path)
    assert list(tmp_path.iterdir()) == []
