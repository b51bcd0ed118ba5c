"""Trackers: a training's numbers arrive under their names; a missing package says how to get it."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from latentmix import VAE, GaussianMixture
from latentmix.apps.trackers import MLflow, TensorBoard, WeightsAndBiases, scalars_of
from latentmix.errors import ParameterError
from latentmix.training.events import Averages, Components, EpochEnd


@pytest.fixture
def logged(monkeypatch):
    """Put stand-ins in the packages' places, and return what they are told: (name, value, step)."""
    told = []

    def log_metrics(values, step):
        told.extend((name, value, step) for name, value in values.items())

    def log(values):
        values = dict(values)
        step = values.pop("epoch", None) or values.pop("iteration")
        log_metrics(values, step)

    writer = SimpleNamespace(add_scalar=lambda *entry: told.append(entry), flush=lambda: None)
    stand_ins = {
        "tensorboardX": SimpleNamespace(SummaryWriter=lambda log_dir: writer),
        "mlflow": SimpleNamespace(log_metrics=log_metrics),
        "wandb": SimpleNamespace(init=lambda **settings: SimpleNamespace(log=log)),
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    return told


MAKERS = {
    "tensorboardX": lambda: TensorBoard("logs"),
    "mlflow": MLflow,
    "wandb": lambda: WeightsAndBiases(project="mine"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_trainings_numbers_arrive(logged, name):
    X = np.random.RandomState(0).randn(60, 3)
    tracker = MAKERS[name]()
    vae = VAE(hidden_dims=(8,), latent_dim=2, max_epochs=2, min_steps=0, random_state=0)
    vae.fit(X, validation_data=X[:10], listener=tracker)
    mixture = GaussianMixture(2, random_state=0).fit(X, listener=tracker)
    found = {(name, step): value for name, value, step in logged}
    for record in vae.history_:
        assert found["train/objective", record.epoch] == record.train.objective
        assert found["validation/kl", record.epoch] == record.validation.kl
    for iteration, bound in enumerate(mixture.lower_bounds_, 1):
        assert found["em/2/0/log_likelihood", iteration] == bound
    assert len(found) == len(logged) == 2 * 6 + mixture.n_iter_


def test_the_use_of_components_is_told_by_name():
    averages = Averages(1.0, 2.0, 3.0)
    plain = EpochEnd(4, 9, averages, None, 1.0)
    assert not any(name.startswith("components") for name in scalars_of(plain)[1])
    step, scalars = scalars_of(replace(plain, components=Components((0.5, 0.5, 0.0), 0.25)))
    assert (step, scalars["components/entropy"]) == (4, 0.25)
    assert scalars["components/in_use"] == pytest.approx(2.0)


@pytest.mark.parametrize("name", MAKERS)
def test_a_missing_package_says_how_to_get_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ParameterError, match=f"Install it: pip install '{name}'"):
        MAKERS[name]()
