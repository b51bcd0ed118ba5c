"""Metrics to TensorBoard, MLflow or Weights & Biases: listeners, each on a package of its own.

>>> from latentmix.apps.trackers import TensorBoard  # doctest: +SKIP
>>> VAE().fit(X, listener=TensorBoard("logs"))  # doctest: +SKIP

None of the packages is a dependency: one is imported when its listener is made.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from latentmix.errors import needing
from latentmix.training.events import EmIteration, EpochEnd, Event


def scalars_of(event: Event) -> tuple[int, dict[str, float]]:
    """Return an event's step and its numbers by name, in nats a row; none of most events.

    Of an epoch `train/objective`, `validation/kl` and so on, and of a mixture trained with the
    network `components/in_use` and `components/entropy`; of an EM iteration
    `em/10/0/log_likelihood`, after the number of components and the start's.
    """
    if isinstance(event, EpochEnd):
        parts = {"train": event.train, "validation": event.validation}
        scalars = {
            f"{part}/{name}": value
            for part, averages in parts.items()
            if averages is not None
            for name, value in asdict(averages).items()
        }
        if event.components is not None:
            scalars["components/in_use"] = event.components.n_effective
            scalars["components/entropy"] = event.components.entropy
        return event.epoch, scalars
    if isinstance(event, EmIteration):
        name = f"em/{event.n_components}/{event.start}/log_likelihood"
        return event.iteration, {name: event.log_likelihood}
    return 0, {}


class TensorBoard:
    """Writes TensorBoard's files.

    Parameters
    ----------
    log_dir : path
        Their folder, as `tensorboard --logdir` takes it.
    """

    def __init__(self, log_dir: str | Path) -> None:
        self._writer = _module("tensorboardX").SummaryWriter(str(log_dir))

    def __call__(self, event: Event) -> None:
        """Write the event's numbers."""
        step, scalars = scalars_of(event)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        if scalars:
            self._writer.flush()


class MLflow:
    """Logs to MLflow's active run, or to one that it begins."""

    def __init__(self) -> None:
        self._mlflow = _module("mlflow")

    def __call__(self, event: Event) -> None:
        """Log the event's numbers."""
        step, scalars = scalars_of(event)
        if scalars:
            self._mlflow.log_metrics(scalars, step=step)


class WeightsAndBiases:
    """Logs to a run of Weights & Biases.

    Parameters
    ----------
    **settings
        As `wandb.init` takes them: project, name and so on.
    """

    def __init__(self, **settings: Any) -> None:
        self._run = _module("wandb").init(**settings)

    def __call__(self, event: Event) -> None:
        """Log the event's numbers; its own step cannot go back, as EM's does after the epochs."""
        step, scalars = scalars_of(event)
        if scalars:
            counted = "epoch" if isinstance(event, EpochEnd) else "iteration"
            self._run.log({**scalars, counted: step})


def _module(name: str) -> Any:
    with needing("A tracker", name, name):
        return import_module(name)
