"""The same code on an accelerator gives the processor's answers.

Tests that need a GPU are skipped where JAX has none. To run them where there is one:

    pip install ".[cuda,test]" && pytest tests/peers/test_accelerator_agrees.py

The processor against itself is the same code, so that the comparison itself is tried anywhere.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from latentmix import VAE
from latentmix.models import inference
from latentmix.models.vae import Architecture, Network
from latentmix.training import vae_rule
from latentmix.training.events import StopTraining
from latentmix.training.vae_rule import Rule, Shard, named_keys

# Hardly trained networks have learned little.
pytestmark = pytest.mark.filterwarnings("ignore::latentmix.errors.TrainingWarning")

SETTINGS = {"hidden_dims": (64, 32, 16), "latent_dim": 4, "batch_size": 32, "random_state": 0}


def device_of(kind):
    """Return JAX's first device of a kind, or skip the test."""
    try:
        return jax.devices(kind)[0]
    except RuntimeError:
        pytest.skip(f"JAX has no {kind} here: run it on a machine with one, with latentmix[cuda].")


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def other(request):
    return device_of(request.param)


@pytest.fixture(scope="module")
def digits():
    """Return 1,797 images of 8 x 8 pixels as bytes."""
    return (load_digits().data * 255 / 16).astype(np.uint8)


def fitted(device, rows, **settings):
    """Return a VAE fitted on a device."""
    with jax.default_device(device):
        return VAE(**{**SETTINGS, **settings}).fit(rows)


def stopped_after(device, rows, n_steps):
    """Return a VAE that was trained so many steps on a device: one epoch of so many batches."""
    n_rows = n_steps * SETTINGS["batch_size"]
    some = np.resize(rows, (n_rows, rows.shape[1]))
    return fitted(device, some, max_epochs=1, min_steps=0)


def answers(device, vae, rows):
    """Return what a network says of rows, computed on the device it was trained on."""
    with jax.default_device(device):
        return {
            "transform": vae.transform(rows),
            "reconstruct": vae.reconstruct(rows),
            "score_samples": vae.score_samples(rows),
            "objective": np.array([vae.history_[-1].train.objective]),
        }


def relative_differences(one, another):
    return {
        name: np.linalg.norm(one[name] - another[name]) / np.linalg.norm(one[name]) for name in one
    }


@pytest.mark.parametrize(("n_steps", "tolerance"), [(1, 1e-5), (100, 1e-3)])
def test_answers_after_some_steps_are_the_processors(other, digits, n_steps, tolerance):
    found = [
        answers(device, stopped_after(device, digits, n_steps), digits[:200])
        for device in (device_of("cpu"), other)
    ]
    differences = relative_differences(*found)
    assert max(differences.values()) < tolerance, differences


def test_a_training_ends_at_the_processors_elbo(other, digits):
    settings = {"max_epochs": 40, "min_steps": 0, "kl_weight": 1.0}
    elbos = []
    for device in (device_of("cpu"), other):
        vae = fitted(device, digits, **settings)
        with jax.default_device(device):
            elbos.append(vae.score(digits))
    assert abs(elbos[0] - elbos[1]) < 0.3, elbos


def test_training_and_answers_are_where_they_were_asked_for(other, digits):
    seen = []

    def watch(event):
        seen.extend(array.devices() for array in jax.live_arrays() if array.shape == (64, 32))
        raise StopTraining

    with jax.default_device(other):
        VAE(**SETTINGS, max_epochs=1, min_steps=0).fit(digits, listener=watch)
    assert {other} in seen


def lowered(function, *arguments):
    """Return what XLA is given for a GPU, on a machine without one."""
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture(scope="module")
def network():
    return Network(Architecture(8, (6, 4), 2, "linear", "bernoulli"), np.full(8, 0.5), KEYS.init)


KEYS = named_keys(0)


def test_gpus_are_asked_for_all_of_float32s_digits(network):
    rule = Rule(4, 1e-3, "cosine", 1.0, 0.0, 2, 16, 1)
    state = vae_rule.init(rule, network)
    shard = Shard(jnp.zeros((4, 4, 8), jnp.uint8), jnp.ones((4, 4)), jnp.zeros((4, 4, 2)))
    span = jnp.zeros(3, jnp.int32)
    step = lowered(lambda *fixed: vae_rule.take_steps(fixed, rule, state).totals, shard, span)
    rows = jnp.zeros((4, 8), jnp.uint8)
    answer = lowered(lambda x: inference._reconstruction(network, x), rows)
    for text, least in ((step, 18), (answer, 5)):
        products = re.findall(r"dot_general.*", text)
        assert len(products) >= least
        assert all("precision = [HIGHEST, HIGHEST]" in product for product in products)
