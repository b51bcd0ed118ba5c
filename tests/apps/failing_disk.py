"""Let each write, flush and rename of a command fail once, with the disk full and with an I/O
error, then give the command again: it ends as if nothing had happened.

    python tests/apps/failing_disk.py                every one, some minutes
    python tests/apps/failing_disk.py --sample 5     so many of each command

The failures are made inside this process; no disk is harmed.
"""

import argparse
import contextlib
import errno
import hashlib
import io
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from latentmix import GaussianMixture
from latentmix.apps import cli, figures
from latentmix.errors import WriteError
from latentmix.estimators import mixture as mixture_module
from latentmix.storage import files
from latentmix.storage.manifest import open_sealed
from latentmix.training import checkpoint, em_checkpoint

ERRORS = (errno.ENOSPC, errno.EIO)
SETTINGS = (
    *("vae.hidden_dims=[16]", "vae.latent_dim=2", "vae.batch_size=32", "vae.max_epochs=3"),
    *("vae.min_steps=0", "mixture.n_components=3", "mixture.n_init=1", "mixture.max_iter=5"),
    *("report.n_components=[3]", "report.draws=2", "report.images=3"),
    *("vae.kl_weight=auto", "refinement.n_rounds=0", "mixture.covariance_type=full"),
)


class Disk:
    """Counts writes, flushes and renames; the one of a given number fails."""

    def __init__(self, failing: int = 0, error: int = 0) -> None:
        self.calls, self._failing, self._error = 0, failing, error

    def fails(self) -> bool:
        self.calls += 1
        return self.calls == self._failing

    def raise_error(self) -> None:
        raise OSError(self._error, os.strerror(self._error))

    def use(self) -> None:
        if self.fails():
            self.raise_error()


class FailingFile:
    """A file whose writes and flushes go to the disk's count; a failed write leaves half."""

    def __init__(self, file: Any, disk: Disk) -> None:
        self._file, self._disk = file, disk

    def __enter__(self) -> "FailingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        if self._disk.fails():
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            self._disk.raise_error()
        self._file.write(content)

    def flush(self) -> None:
        self._disk.use()
        self._file.flush()

    def fileno(self) -> int:
        return int(self._file.fileno())


class FailingOs:
    """The module `os` as `storage.files` sees it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fdopen(self, handle: int, mode: str) -> FailingFile:
        return FailingFile(os.fdopen(handle, mode), self._disk)

    def fsync(self, descriptor: int) -> None:
        self._disk.use()
        os.fsync(descriptor)


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[None]:
    """Let all files be written to this disk."""
    replace, rename = Path.replace, Path.rename

    def counted(change: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def call(path: Path, target: Path) -> Path:
            disk.use()
            return change(path, target)

        return call

    with (
        mock.patch.object(files, "os", FailingOs(disk)),
        mock.patch.object(Path, "replace", counted(replace)),
        mock.patch.object(Path, "rename", counted(rename)),
    ):
        yield


@dataclass
class Command:
    """What is done in a folder, how its state is looked at after a failure, and what it leaves."""

    name: str
    do: Callable[[Path], None]
    check: Callable[[Path], None]
    result: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda folder: None
    # Whether, after a failure so late that all was done, there is nothing to go on with.
    is_done: Callable[[Path], bool] = lambda folder: False


def told(*words: object) -> None:
    """Give a command; where it fails, raise its one line, if it is one and the code is right."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        args = [str(word) for word in words]
        code = cli.guarded(lambda: cli.cli.main(args, standalone_mode=False))
    if code:
        lines = err.getvalue().splitlines()
        assert code == 74, (code, lines)
        assert len(lines) == 1, lines
        raise WriteError(lines[0])


def contents(folder: Path) -> dict[str, object]:
    """Return every sealed file of a run, times and the command aside."""
    sealed = open_sealed(folder, "run")
    found: dict[str, object] = {name: sealed.read(name) for name in sealed.names}
    del found["environment.json"]
    metrics = sealed.json("metrics.json")
    del metrics["wall_seconds"], metrics["training_seconds"], metrics["peak_memory_bytes"]
    return {**found, "metrics.json": metrics}


def check_run(folder: Path) -> None:
    """See that what is whole by its name is whole: the seal, and each checkpoint."""
    run = folder / "run"
    if (run / "manifest.json").exists():
        open_sealed(run, "run")
    for path in run.glob("checkpoint-*"):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.stem.endswith(digest[:16]), f"{path.name} is not whole"
    # None but the first can have failed with nothing before it.
    saved = sorted(int(path.name.split("-")[1]) for path in run.glob("checkpoint-*"))
    assert saved == [*range(max(saved, default=0) - len(saved) + 1, max(saved, default=0) + 1)]
    assert len(saved) == min(2, max(saved, default=0)) or (len(saved) == 3), saved


def nothing_half(path: Path, before: bytes, after: bytes) -> None:
    assert path.read_bytes() in (before, after), f"{path} is neither old nor new"


def commands(place: Path) -> list[Command]:
    """Return the commands, with the data, the finished run and the files they need."""
    data, whole, labels = place / "shapes.npz", place / "whole", place / "labels.csv"
    write_data(data, labels)
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    told("run", data, "--out", whole, *settings)

    def answer(name: str, *words: object) -> Command:
        """Return a command that writes one file over an older one."""
        told(*words, "-o", place / name)
        after = (place / name).read_bytes()
        return Command(
            words[0] if isinstance(words[0], str) else name,
            lambda folder: told(*words, "-o", folder / name),
            lambda folder: nothing_half(folder / name, b"old", after),
            lambda folder: (folder / name).read_bytes(),
            lambda folder: (folder / name).write_bytes(b"old"),
        )

    return [
        Command(
            "run",
            lambda folder: told("run", data, "--out", folder / "run", *settings),
            check_run,
            lambda folder: contents(folder / "run"),
            is_done=lambda folder: (folder / "run" / "manifest.json").exists(),
        ),
        Command(
            "label",
            lambda folder: told("label", folder / "run", labels),
            check_run,
            lambda folder: contents(folder / "run"),
            lambda folder: shutil.copytree(whole, folder / "run"),
        ),
        Command("EM", fit, lambda folder: None, lambda folder: (folder / "means").read_bytes()),
        answer("rows.csv", "predict", whole, data),
        answer("scores.json", "evaluate", whole, data),
        answer("sheet.png", "sample", whole),
    ]


def write_data(data: Path, labels: Path) -> None:
    """Write 120 images of 8x8 pixels of three kinds, and other names for these."""
    kinds = np.arange(120) % 3
    bright = np.zeros((3, 8, 8), int)
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 220
    noise = np.random.RandomState(0).randint(0, 30, (120, 8, 8))
    np.savez(data, X=(bright[kinds] + noise).astype(np.uint8), y=kinds)
    labels.write_text("row,label\n" + "".join(f"{row},kind {kinds[row]}\n" for row in range(120)))


def fit(folder: Path) -> None:
    """Fit a mixture that keeps itself after every pass."""
    X = np.random.RandomState(1).randn(300, 2)
    fitted = GaussianMixture(3, n_init=2, max_iter=6, tol=0, random_state=0)
    fitted.fit(X, checkpoint=folder / "kept")
    (folder / "means").write_bytes(fitted.means_.tobytes())
    assert list((folder / "kept").iterdir()) == []


def fail_each(command: Command, place: Path, sample: int | None) -> int:
    """Let each use of the disk fail, or a sample of them; return how many were tried."""
    undisturbed = place / f"{command.name}-undisturbed"
    undisturbed.mkdir()
    command.prepare(undisturbed)
    disk = Disk()
    with on(disk):
        command.do(undisturbed)
    wanted = command.result(undisturbed)
    every = [(number, error) for number in range(1, disk.calls + 1) for error in ERRORS]
    chosen = every if sample is None else random.sample(every, min(sample, len(every)))
    for number, error in chosen:
        folder = Path(tempfile.mkdtemp(dir=place))
        command.prepare(folder)
        what = f"{command.name}, use {number} of {disk.calls}, {os.strerror(error)}"
        with on(Disk(number, error)):
            try:
                command.do(folder)
            except WriteError:
                pass
            else:
                raise AssertionError(f"{what}: nothing was said")
        try:
            command.check(folder)
            if not command.is_done(folder):
                command.do(folder)
            found = command.result(folder)
        except (AssertionError, WriteError) as problem:
            raise AssertionError(f"{what}: {problem}") from problem
        assert found == wanted, f"{what}: another result"
        shutil.rmtree(folder)
    print(f"{command.name}: {len(chosen)} failures of {len(every)} tried", flush=True)
    return len(chosen)


class EagerKeeper(em_checkpoint.FolderKeeper):
    """Keeps a fit after every pass."""

    def __init__(self, folder: Path, **how: bool) -> None:
        super().__init__(folder, seconds=0.0, **how)


def main() -> None:
    """Fail all or a sample, of every command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sample", type=int, help="failures of each command  [default: all]")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    warnings.simplefilter("ignore")
    a_picture = dict(list(figures.FIGURES.items())[:1])
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.object(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0),
        mock.patch.object(mixture_module, "FolderKeeper", EagerKeeper),
        mock.patch.object(figures, "FIGURES", a_picture),
        mock.patch.object(cli, "_compiled_kept", return_value=contextlib.nullcontext()),
    ):
        for command in commands(Path(place)):
            fail_each(command, Path(place), options.sample)


if __name__ == "__main__":
    sys.exit(main())
