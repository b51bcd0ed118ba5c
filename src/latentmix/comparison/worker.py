"""A method's own process: ``python -m latentmix.comparison.worker REQUEST.json``.

It is told where rows lie, fits one method to the training rows, and writes what that says of
the others. A script of another interpreter does the same by the same files (docs/benchmark.md).
No label is in this process, nor in any file it is told of.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from latentmix import __version__
from latentmix.comparison.methods import Method
from latentmix.comparison.plans import method_of
from latentmix.comparison.protocol import Training
from latentmix.data import Rows
from latentmix.errors import LatentmixError
from latentmix.runs.environment import peak_memory

# Rows of so many bytes and more are mapped, as `latentmix.data.load` has it.
_LARGE = 1 << 28

_NAMED_VERSIONS = ("numpy", "scipy", "sklearn", "jax", "umap")


def main(path: Path) -> int:
    """Carry out the request in a file, unless whoever asked ends; return the exit code."""
    threading.Thread(target=_end_with_driver, daemon=True).start()
    return carry_out_request(path)


def carry_out_request(path: Path) -> int:
    """Carry out the request in a file; return the exit code."""
    request = json.loads(path.read_text("utf-8"))
    rows = {part: _read(Path(where)) for part, where in request["rows"].items()}
    image_shape = request["image_shape"]
    training = Training(
        rows["train"],
        request["n_components"],
        request["seed"],
        None if image_shape is None else tuple(image_shape),
        request["unit_interval"],
    )
    try:
        method = method_of(request["method"])
        answer = answers(method, training, rows["validation"], rows["test"])
    except LatentmixError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    np.savez(request["answer"], allow_pickle=False, **answer)
    return 0


def answers(
    method: Method, training: Training, validation: Rows, test: Rows
) -> dict[str, np.ndarray]:
    """Fit a method, and return what goes into its answer file.

    Returns
    -------
    dict
        ``validation`` (M,) and ``test`` (n,), components; ``nll`` (), nats a test row,
        ``validation_nll`` (), and ``density``, what they are of; ``n_components``, K, of methods
        that may choose it; ``fit_seconds``, ``predict_seconds``; ``peak_memory`` in bytes;
        ``machine``, ``versions``.
    """
    for module in method.needs:
        import_module(module)
    began = time.perf_counter()
    fitted = method.fit(training)
    ended = time.perf_counter()
    answer: dict[str, Any] = {
        # A set that was split by its owner may have no validation rows.
        "validation": fitted.predict(validation) if len(validation) else np.zeros(0, np.int64),
        "test": fitted.predict(test),
        "fit_seconds": ended - began,
        "predict_seconds": time.perf_counter() - ended,
    }
    if fitted.n_components is not None:
        answer["n_components"] = fitted.n_components
    if fitted.log_density is not None:
        answer |= {"nll": -fitted.log_density(test).mean(), "density": fitted.density}
        if len(validation):
            answer["validation_nll"] = -fitted.log_density(validation).mean()
    memory = peak_memory()
    if memory is not None:
        answer["peak_memory"] = memory
    answer |= {"machine": _machine(), "versions": _versions()}
    return {name: np.asarray(value) for name, value in answer.items()}


def _read(path: Path) -> np.ndarray:
    mapped = path.stat().st_size >= _LARGE
    rows: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return rows


def _machine() -> str:
    """Return system, processor and cores, and the device of the networks if it is another."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [platform.system(), _processor(), f"{cores} cores"]
    jax: Any = sys.modules.get("jax")
    if jax is not None and jax.default_backend() != "cpu":
        parts.append(jax.devices()[0].device_kind)
    return ", ".join(parts)


def _processor() -> str:
    """Return the processor's name, or where nobody tells it its kind."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> str:
    """Return the versions of what was used."""
    loaded = [(name, sys.modules.get(name)) for name in _NAMED_VERSIONS]
    others = [f"{name} {module.__version__}" for name, module in loaded if module is not None]
    return ", ".join([f"latentmix {__version__}", f"python {platform.python_version()}", *others])


def _end_with_driver() -> None:
    """End when the process that began this one does: it holds the other end of standard input."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
