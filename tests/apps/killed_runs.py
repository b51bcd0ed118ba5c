"""Kill `latentmix run` (SIGKILL) at random instants and resume it until it ends: the same bits.

    python tests/apps/killed_runs.py                 200 kills, a quarter of an hour
    python tests/apps/killed_runs.py --kills 4

Half the sittings are killed at an instant between their start and the time that an undisturbed
run takes, half soon after a random line of what they print, most of which are of the training,
short as it is here. Some sittings end first.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
SETTINGS = (
    *("vae.hidden_dims=[64]", "vae.latent_dim=4", f"vae.max_epochs={EPOCHS}", "vae.min_steps=0"),
    *("mixture.n_components=10", "mixture.n_init=5", "report.n_components=[10]", "report.draws=4"),
)


def start(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begin(folder: Path) -> subprocess.Popen[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return start("run", "digits", "--out", folder, *settings)


def go_on(folder: Path) -> subprocess.Popen[str]:
    """Resume the run, or begin it where it was killed before its first file."""
    if (folder / "request.json").exists():
        return start("run", "--resume", folder)
    return begin(folder)


def result(folder: Path) -> dict[str, object]:
    """Return every sealed file of a run, wall times and the command aside."""
    sealed = open_sealed(folder, "run")
    found: dict[str, object] = {name: sealed.read(name) for name in sealed.names}
    for name, times in (
        ("metrics.json", ("wall_seconds", "training_seconds")),
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
    epochs = [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")]
    if not epochs:
        return "before a checkpoint" if (folder / "request.json").exists() else "before a request"
    return "training" if max(epochs) < EPOCHS else "EM and scoring"


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


def kill_until_done(folder: Path, seconds: float, stages: Counter[str], left: int) -> int:
    """Sit, be killed, resume, until the run ends; return how many kills that took."""
    kills = 0
    while not (folder / "manifest.json").exists():
        process = go_on(folder)
        if kills == left:
            assert wait(process, 0, 300), f"{folder}: the run did not end"
        elif not wait(process, *random_instant(seconds)):
            process.kill()
            process.communicate()
            kills += 1
            stages[where(folder)] += 1
    return kills


def main() -> None:
    """Kill runs until the number is reached; stop at the first that ends otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    stages: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        undisturbed = Path(place) / "undisturbed"
        began = time.monotonic()
        assert wait(begin(undisturbed), 0, 300), "the undisturbed run did not end"
        seconds = time.monotonic() - began
        wanted, done, runs = result(undisturbed), 0, 0
        while done < options.kills:
            folder = Path(place) / f"run-{runs}"
            done += kill_until_done(folder, seconds, stages, options.kills - done)
            runs += 1
            found = result(folder)
            differing = [n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n)]
            assert not differing, f"run {runs}, after {dict(stages)}: {sorted(differing)} differ"
    said = ", ".join(f"{number} {stage}" for stage, number in stages.most_common())
    print(f"{done} kills of {runs} runs of {seconds:.1f} s each ({said}): all to the same bits")


if __name__ == "__main__":
    sys.exit(main())
