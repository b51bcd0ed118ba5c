"""ClustPy's DEC and VaDE as methods of `latentmix benchmark`, in an environment of their own.

    latentmix benchmark benchmarks/clustpy_peer.py:algorithm=vade --data mnist \
        --peer-python clustpy/bin/python

Settings: `algorithm` (dec or vade), `pretrain_epochs`, `clustering_epochs`, `batch_size`; what is
not given is ClustPy's own. Rows are scaled as latentmix's own methods have them. DEC predicts by
the nearest centre, VaDE by the mixture of full covariances that ClustPy fits to the embedded
training rows at the end. docs/benchmark.md says what is read and written.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clustpy.deep import DEC, VaDE
from torch import nn

from reporting import processor

ALGORITHMS = {"dec": DEC, "vade": VaDE}
SETTINGS = ("algorithm", "pretrain_epochs", "clustering_epochs", "batch_size")


def main(path: Path) -> None:
    threading.Thread(target=end_with_driver, daemon=True).start()
    request = json.loads(path.read_text("utf-8"))
    settings = request["settings"]
    for name in settings:
        if name not in SETTINGS:
            sys.exit(f"clustpy_peer.py has no setting {name!r}. Expected one of {SETTINGS}.")
    algorithm = settings.pop("algorithm", "vade")
    if algorithm not in ALGORITHMS:
        sys.exit(f"algorithm={algorithm!r} is unknown. Choose 'dec' or 'vade'.")
    rows = {part: np.load(where) for part, where in request["rows"].items()}
    scaled, bounded = scaled_rows(rows, request)
    if algorithm == "vade" and not bounded:
        # Its default is a cross entropy, which needs values in [0, 1].
        settings["ssl_loss_fn"] = nn.MSELoss()
    began = time.perf_counter()
    model = ALGORITHMS[algorithm](request["n_components"], random_state=request["seed"], **settings)
    model.fit(scaled["train"])
    ended = time.perf_counter()
    answer = {part: model.predict(scaled[part]) for part in ("validation", "test")}
    answer["fit_seconds"] = ended - began
    answer["predict_seconds"] = time.perf_counter() - ended
    memory = peak_memory()
    if memory is not None:
        answer["peak_memory"] = memory
    np.savez(request["answer"], machine=machine(), versions=versions(), **answer)


def scaled_rows(
    rows: dict[str, np.ndarray], request: dict[str, Any]
) -> tuple[dict[str, np.ndarray], bool]:
    """Return intensities in [0, 1], or columns of mean 0 and deviation 1 on the training rows.

    And which of both: images of floats count as intensities if they lie in [0, 1].
    """
    train = rows["train"]
    image = request["image_shape"] is not None and train.min() >= 0 and train.max() <= 1
    if train.dtype == np.uint8:
        return {part: (X / 255).astype(np.float32) for part, X in rows.items()}, True
    if request["unit_interval"] or image:
        return {part: X.astype(np.float32) for part, X in rows.items()}, True
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return {part: ((X - mean) / scale).astype(np.float32) for part, X in rows.items()}, False


def peak_memory() -> int | None:
    """Return the most memory that this process has held, in bytes; None but on Linux."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def machine() -> str:
    parts = [platform.system(), processor(), f"{torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    return ", ".join(parts)


def versions() -> str:
    named = [f"{name} {version(name)}" for name in ("clustpy", "torch", "scikit-learn", "numpy")]
    return ", ".join([*named, f"python {platform.python_version()}"])


def end_with_driver() -> None:
    """End when the process that began this one does: it holds the other end of standard input."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
