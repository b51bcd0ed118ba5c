"""Kill `latentmix run` (SIGKILL) at random instants and resume it until it ends: the same bits.

    python tests/apps/killed_runs.py                 200 kills, a quarter of an hour
    python tests/apps/killed_runs.py --kills 4
    python tests/apps/killed_runs.py --signal TERM   stopped, not killed: ends within 10 s, with 143
    python tests/apps/killed_runs.py --rounds        network and mixture trained together, in rounds
    python tests/apps/killed_runs.py --data mnist --settings      the default recipe as it is

Half the sittings are killed at an instant between their start and the time that an undisturbed
run takes, half soon after a random line of what they print, most of which are of the training,
short as it is here. Some sittings end first.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from latentmix.storage.manifest import open_sealed

# A checkpoint after every epoch, where a run as short as this one would keep but the last; and
# two pictures in place of all.
RUN = """
from latentmix.apps import figures
figures.FIGURES = dict(list(figures.FIGURES.items())[:2])
from latentmix.training import checkpoint
checkpoint.SECONDS_BETWEEN_SAVES = -1.0
from latentmix.apps.cli import main
main()
"""
EPOCHS = 20
# From SIGTERM to the end of the process.
MOST_SECONDS = 10.0
SETTINGS = (
    *("vae.hidden_dims=[64]", "vae.latent_dim=4", f"vae.max_epochs={EPOCHS}", "vae.min_steps=0"),
    *("mixture.n_components=10", "mixture.n_init=5", "report.n_components=[10]", "report.draws=4"),
    *("vae.kl_weight=auto", "vae.batch_size=128", "mixture.covariance_type=full"),
    "refinement.n_rounds=0",
)
# The same number of epochs, most of them in rounds.
ROUNDS = (
    *("vae.hidden_dims=[64]", "vae.latent_dim=4", "vae.max_epochs=8", "vae.min_steps=0"),
    *(
        "refinement.n_rounds=3",
        "refinement.epochs=4",
        "refinement.min_steps=0",
        "refinement.classifier_rounds=0",
    ),
    *("mixture.n_components=10", "report.n_components=[10]", "report.draws=4"),
)


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@dataclass
class Sittings:
    """Sittings of runs of one data set, cut off by one signal; what became of them."""

    data: str
    settings: tuple[str, ...]
    number: signal.Signals
    seconds: float = 0.0
    n_cut_off: int = 0
    stages: Counter[str] = field(default_factory=Counter)
    waits: dict[str, float] = field(default_factory=dict)

    def begin(self, folder: Path) -> subprocess.Popen[str]:
        settings = [word for setting in self.settings for word in ("--set", setting)]
        return start("run", self.data, "--out", folder, *settings)

    def go_on(self, folder: Path) -> subprocess.Popen[str]:
        """Resume the run, or begin it where it was cut off before its first file."""
        if (folder / "request.json").exists():
            return start("run", "--resume", folder)
        return self.begin(folder)

    def cut_off_until_done(self, folder: Path, left: int) -> None:
        """Sit, be cut off, resume, until the run ends; then, at the latest, after so many."""
        first = self.n_cut_off
        while not (folder / "manifest.json").exists():
            process = self.go_on(folder)
            if self.n_cut_off - first == left:
                assert wait(process, 0, 900), f"{folder}: the run did not end"
            elif not wait(process, *random_instant(self.seconds)):
                self.cut_off(process, folder)

    def cut_off(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Send the signal and see what it does."""
        sent = time.monotonic()
        process.send_signal(self.number)
        _, err = process.communicate()
        waited, stage = time.monotonic() - sent, where(folder)
        self.n_cut_off += 1
        self.stages[stage] += 1
        self.waits[stage] = max(waited, self.waits.get(stage, 0.0))
        if self.number == signal.SIGTERM:
            # Before the command has begun, Python ends as every program does; and a run may just
            # have ended by itself.
            began = process.returncode != -signal.SIGTERM
            assert not began or process.returncode in (0, 143), (process.returncode, err)
            assert waited < MOST_SECONDS, f"{waited:.1f} s, {stage}: {err}"
            assert "Traceback" not in err or not began, err


def result(folder: Path) -> dict[str, object]:
    """Return every sealed file of a run, wall times and the command aside."""
    sealed = open_sealed(folder, "run")
    found: dict[str, object] = {name: sealed.read(name) for name in sealed.names}
    for name, times in (
        ("metrics.json", ("wall_seconds", "training_seconds", "peak_memory_bytes")),
        ("environment.json", ("command",)),
    ):
        record = sealed.json(name)
        found[name] = json.dumps({key: record[key] for key in record if key not in times})
    return found


def where(folder: Path) -> str:
    """Tell how far a killed run had come."""
    for name, stage in (
        ("manifest.json", "sealed"),
        ("figures", "writing results"),
        ("model", "writing results"),
    ):
        if (folder / name).exists():
            return stage
    kept = [path.name.split("-") for path in folder.glob("checkpoint-*")]
    if not kept:
        return "before a checkpoint" if (folder / "request.json").exists() else "before a request"
    rounds = [words[1].removeprefix("round") for words in kept if words[1].startswith("round")]
    if rounds:
        return f"round {max(rounds)}"
    return "training" if max(int(words[1]) for words in kept) < EPOCHS else "EM and scoring"


def wait(process: subprocess.Popen[str], lines: int, seconds: float) -> bool:
    """Wait for so many lines, and then so long; tell whether the process ended by itself."""
    assert process.stdout is not None
    for _ in zip(range(lines), process.stdout, strict=False):
        pass
    try:
        _, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    assert process.returncode == 0, f"ended with {process.returncode}: {err}"
    return True


def random_instant(seconds: float) -> tuple[int, float]:
    """Return how many lines, and how many seconds after them, a sitting lasts."""
    if random.random() < 0.5:
        return 0, random.uniform(0, seconds)
    # What is read, the training, each epoch, two fits of EM, the scoring.
    return random.randint(1, EPOCHS + 6), random.uniform(0, 0.2)


def main() -> None:
    """Kill runs until the number is reached; stop at the first that ends otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--settings", nargs="*", default=SETTINGS, metavar="A.B=C")
    parser.add_argument("--rounds", dest="settings", action="store_const", const=ROUNDS)
    options = parser.parse_args()
    random.seed(options.seed)
    number = signal.Signals[f"SIG{options.signal}"]
    sittings = Sittings(options.data, tuple(options.settings), number)
    with tempfile.TemporaryDirectory() as place:
        undisturbed = Path(place) / "undisturbed"
        began = time.monotonic()
        assert wait(sittings.begin(undisturbed), 0, 900), "the undisturbed run did not end"
        sittings.seconds = time.monotonic() - began
        wanted, runs = result(undisturbed), 0
        while sittings.n_cut_off < options.kills:
            folder = Path(place) / f"run-{runs}"
            sittings.cut_off_until_done(folder, options.kills - sittings.n_cut_off)
            runs += 1
            found = result(folder)
            differing = [n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n)]
            assert not differing, f"run {runs}, {dict(sittings.stages)}: {sorted(differing)} differ"
            shutil.rmtree(folder)
            print(
                f"run {runs} the same after {sittings.n_cut_off} {dict(sittings.stages)}",
                flush=True,
            )
    for stage, times in sittings.stages.most_common():
        print(f"{stage:<20}{times:>5} cut off, at most {sittings.waits[stage]:.2f} s until the end")
    print(
        f"{sittings.n_cut_off} times {number.name} in {runs} runs of {sittings.seconds:.1f} s: "
        f"all to the same bits; at most {max(sittings.waits.values()):.2f} s until the end"
    )


if __name__ == "__main__":
    sys.exit(main())
