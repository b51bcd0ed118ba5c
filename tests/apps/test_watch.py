"""`latentmix watch RUN`: what a run leaves for others to follow, and what is made of it."""

import errno
import json
import os
import re
import shutil
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from latentmix.apps import progress, watch
from latentmix.apps.cli import cli, guarded
from latentmix.errors import WriteError
from latentmix.runs import event_log
from latentmix.runs.event_log import EVENTS, EventLog, Followed, LogReader
from latentmix.training.events import (
    Averages,
    ClassifierSteps,
    EmIteration,
    EpochEnd,
    Stage,
    Steps,
    StopTraining,
    Warned,
)

TITLE = "shapes, 120 rows, images of 8x8; recipe default, seed 0"


@pytest.fixture(autouse=True)
def each_event_is_written(monkeypatch):
    monkeypatch.setattr(event_log, "SECONDS_BETWEEN_WRITES", -1.0)


@pytest.fixture
def looked(capfd):
    """Return a function that watches a run once, and returns the code and the lines."""

    def look(folder, *options):
        capfd.readouterr()
        args = ["watch", str(folder), *options]
        code = guarded(lambda: cli.main(args, prog_name="latentmix", standalone_mode=False))
        out, err = capfd.readouterr()
        return code, out.splitlines(), err.splitlines()

    return look


def in_training(event):
    return isinstance(event, Steps) and (event.epoch, event.step) == (3, 3)


def in_em(event):
    return isinstance(event, EmIteration) and event.iteration == 2


def at_scoring(event):
    return isinstance(event, Stage) and event.message.startswith("Scoring")


def with_copies(tmp_path, moments):
    """Return a listener that copies the run's folder, as a kill would leave it, at each moment."""

    def listener(event):
        for name, moment in moments.items():
            if moment(event) and not (tmp_path / name).exists():
                shutil.copytree(tmp_path / "run", tmp_path / name)

    return listener


# What is seen


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        (
            in_training,
            r"epoch 3/30: objective \d+\.\d\d nats; [\d,]+ rows/s; \d+ s of training left$",
        ),
        (in_em, r"EM with 3 components, iteration 2: -?\d+\.\d{4} nats a row"),
        (at_scoring, r"At work; last heard of 0 s ago"),
    ],
)
def test_a_run_under_way_says_how_far_it_is(carry_out, tmp_path, looked, moment, last):
    found = []

    def listener(event):
        if moment(event) and not found:
            found.append(looked(tmp_path / "run", "--once"))

    carry_out(tmp_path / "run", listener=listener)
    code, out, err = found[0]
    assert (code, err) == (0, [])
    assert out[0] == f"{tmp_path / 'run'}: {TITLE}"
    assert out[1] == "Training on 84 rows"
    epochs = [line for line in out if line.startswith("epoch") and "left" not in line]
    n_epochs = 2 if moment is in_training else 30
    assert [line.split(":")[0] for line in epochs] == [f"epoch {n + 1}/30" for n in range(n_epochs)]
    assert all("validation" in line for line in epochs)
    assert re.match(last, out[-1]), out[-1]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_second_opinion_is_seen_while_it_is_formed(
    *, carry_out, tmp_path, looked, monkeypatch, capfd, terminal
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    monkeypatch.setattr(progress, "SECONDS_PER_LINE", -1.0)
    found = []

    def listener(event):
        shown(event)
        if isinstance(event, ClassifierSteps) and event.step == 20:
            found.append((capfd.readouterr(), looked(tmp_path / "run", "--once")[1][-1]))

    settings = ("n_rounds=1", "epochs=1", "min_steps=0", "classifier_steps=40")
    refinement = [f"refinement.{setting}" for setting in settings]
    with progress.progress() as shown:
        carry_out(tmp_path / "run", *refinement, "mixture.covariance_type=diag", listener=listener)
    ((out, err), watched) = found[0]
    line = r"second opinion, step 20 of 40; \d+ s left of it"
    assert re.fullmatch(line, watched)
    assert "A second opinion on the groups" in out + err
    if terminal:
        assert re.search(r"second opinion: .*/40 ", err)
    else:
        assert re.search(line, out)


def test_an_epoch_says_how_much_training_is_left_whatever_else_took_time(capsys):
    epoch = EpochEnd(
        epoch=4, n_epochs=10, train=Averages(9.0, 1.0, 10.0), validation=None, seconds=8
    )
    with progress.progress() as shown:
        shown(epoch)
        shown(Stage("A second opinion on the groups"))
        shown(replace(epoch, epoch=5, seconds=11))
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("; 12 s of training left")
    assert said[2].endswith("; 15 s of training left")


def test_a_finished_run_is_told_with_its_summary_and_keeps_no_log(finished, looked):
    code, out, err = looked(finished)
    assert (code, err) == (0, [])
    assert out[0] == f"{finished}: {TITLE}"
    assert out[1].startswith("Finished after ")
    assert any(line.startswith("ELBO") for line in out)
    assert not (finished / EVENTS).exists()


def stopped(event):
    if in_em(event):
        raise KeyboardInterrupt


def lost(event):
    if in_em(event):
        raise WriteError("The disk is full. Free some.")


@pytest.mark.parametrize(
    ("end", "said"),
    [(stopped, "Stopped."), (lost, "Ended by an error: The disk is full. Free some.")],
)
def test_a_run_that_ended_says_how_and_how_to_go_on(carry_out, tmp_path, looked, end, said):
    with pytest.raises((KeyboardInterrupt, WriteError)):
        carry_out(tmp_path / "run", listener=end)
    code, out, _ = looked(tmp_path / "run")
    assert code == 0
    assert out[-2:] == [
        said,
        f"What was done is kept. To go on: latentmix run --resume {tmp_path / 'run'}",
    ]


def test_a_run_that_died_is_told_from_one_that_lives(carry_out, tmp_path, looked):
    carry_out(tmp_path / "run", listener=with_copies(tmp_path, {"killed": in_training}))
    # A kill may cut a line short.
    with (tmp_path / "killed" / EVENTS).open("ab") as file:
        file.write(b'{"event": "EpochEnd", "at": 17')
    code, out, _ = looked(tmp_path / "killed")
    assert code == 0
    assert out[-2] == "Died: no process holds the folder, and it is not finished."
    assert out[-1].endswith(f"latentmix run --resume {tmp_path / 'killed'}")


def test_a_run_that_goes_on_tells_no_epoch_twice(carry_out, tmp_path, looked, finished, bytes_in):
    later = {"killed": lambda event: isinstance(event, EpochEnd) and event.epoch == 20}
    carry_out(tmp_path / "run", listener=with_copies(tmp_path, later))
    killed, found = tmp_path / "killed", []
    with (killed / EVENTS).open("ab") as file:
        file.write(b'{"event": "Steps", "at"')

    def listener(event):
        if in_em(event) and not found:
            found.append(looked(killed, "--once")[1])

    carry_out(killed, listener=listener)
    epochs = [line.split(":")[0] for line in found[0] if line.startswith("epoch")]
    assert epochs == [f"epoch {n + 1}/30" for n in range(30)]
    assert found[0].count("Training on 84 rows") == 1
    assert bytes_in(killed).keys() == bytes_in(finished).keys()


def test_what_is_no_run_is_refused(tmp_path, looked):
    for folder in (tmp_path, tmp_path / "nowhere"):
        code, _, err = looked(folder)
        assert code == 66
        assert len(err) == 1
        assert "no run began there" in err[0] or "is no folder" in err[0]
    (tmp_path / "request.json").write_text('{"seed": 0}')
    assert looked(tmp_path)[0] == 65


# Following


def test_a_run_is_followed_until_it_ends(carry_out, tmp_path, looked, monkeypatch):
    begun, seen, shown = threading.Event(), threading.Event(), []

    def listener(event):
        if in_training(event):
            begun.set()
        if at_scoring(event):
            assert seen.wait(30)

    def sleep(seconds):
        # Once the watcher has read all that is there, the run may go on to its end.
        if shown and shown[-1] == len(watch_of.followed.told) and len(shown) > 30:
            seen.set()
        threading.Event().wait(0.01)
        shown.append(len(watch_of.followed.told))

    class Seen(watch._Watched):
        def __init__(self, folder):
            nonlocal watch_of
            super().__init__(folder)
            watch_of = self

    watch_of = None
    monkeypatch.setattr(watch, "_Watched", Seen)
    monkeypatch.setattr(watch.time, "sleep", sleep)
    run = threading.Thread(
        target=carry_out, args=(tmp_path / "run",), kwargs={"listener": listener}
    )
    run.start()
    assert begun.wait(60)
    code, out, err = looked(tmp_path / "run")
    run.join()
    assert (code, err) == (0, [])
    epochs = [line.split(":")[0] for line in out if line.startswith("epoch")]
    assert epochs == [f"epoch {n + 1}/30" for n in range(30)]
    assert any(line.startswith("Finished after") for line in out)


def test_ctrl_c_leaves_and_is_no_error(carry_out, tmp_path, looked, monkeypatch):
    found = []

    def leave(seconds):
        raise KeyboardInterrupt

    def listener(event):
        if in_em(event) and not found:
            found.append(looked(tmp_path / "run"))

    monkeypatch.setattr(watch.time, "sleep", leave)
    carry_out(tmp_path / "run", listener=listener)
    assert (found[0][0], found[0][2]) == (0, [])


def test_a_terminal_is_drawn_over_and_no_line_is_broken(carry_out, tmp_path, monkeypatch, capsys):
    looks = []

    def listener(event):
        if in_training(event) and not looks:
            looks.append(event)
            with pytest.raises(StopTraining):
                watch.watch_run(tmp_path / "run", once=False)

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) > 2:
            raise StopTraining

    monkeypatch.setattr(watch.time, "sleep", sleep)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    carry_out(tmp_path / "run", listener=listener)
    first, second = capsys.readouterr().out.split("\x1b[5F\x1b[J")
    lines = second.splitlines()
    assert first.splitlines()[:-1] == lines[:-1]
    assert lines[-1].startswith("epoch 3/30:  10%|")
    assert "rows/s" in lines[-1]
    assert max(map(len, lines)) < 60


# The log


def log_of(path, *events):
    with EventLog(path, 100) as log:
        for event in events:
            log(event)
    return log


@pytest.mark.parametrize(
    "pause", [Stage("Round 2 of 5: groups along a graph"), ClassifierSteps(20, 40, 1.0)]
)
def test_what_is_no_training_does_not_slow_the_training_that_comes_after_it(pause):
    followed = Followed()

    def speed_after(*events):
        for at, event in enumerate(events):
            record = {"at": at, "event": type(event).__name__, **asdict(event)}
            followed.hear(json.dumps(record).encode())
        return followed.epochs_a_second

    steps = [Steps(epoch, 30, 1, 2, 5.0, 1.0) for epoch in range(1, 4)]
    assert speed_after(*steps) == 1.0
    assert speed_after(*steps, pause, Steps(4, 30, 1, 2, 5.0, 1.0)) is None


def test_passing_events_are_written_now_and_then_and_others_always(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "SECONDS_BETWEEN_WRITES", 1000.0)
    path = tmp_path / EVENTS
    steps = [Steps(1, 3, step, 9, 5.0, 0.1) for step in range(1, 10)]
    average = Averages(1.0, np.inf, np.nan)
    log_of(
        path, *steps, EpochEnd(1, 3, average, None, 0.1), *steps, Stage("EM"), Warned("x. Do y.")
    )
    names = [json.loads(line)["event"] for line in path.read_bytes().split(b"\n") if line]
    assert names == ["Begun", "EpochEnd", "Stage", "Warned"]
    reader = LogReader(path)
    assert reader.read()
    assert not reader.read()
    assert [line for _, line in reader.followed.told] == [
        "epoch 1/3: objective nan nats (reconstruction 1.00, KL inf)",
        "EM",
        "Warning: x. Do y.",
    ]


def failing(number):
    def append(path, content):
        raise WriteError("no. Do.") from OSError(number, os.strerror(number))

    return append


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_ends_the_run(carry_out, tmp_path, monkeypatch, number):
    monkeypatch.setattr(event_log, "append_bytes", failing(number))
    with pytest.raises(WriteError):
        carry_out(tmp_path / "run")


def test_a_log_that_cannot_be_written_is_given_up(carry_out, tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "append_bytes", failing(errno.EACCES))
    carry_out(tmp_path / "run")
    log_of(Path(tmp_path / "nowhere" / EVENTS), Stage("one"), Stage("two")).remove()
