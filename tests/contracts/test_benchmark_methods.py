"""What every method of a comparison does: it answers for rows it was not fitted to."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest

from latentmix.comparison import worker
from latentmix.comparison.methods import METHODS
from latentmix.comparison.plans import method_of, plan_of
from latentmix.comparison.protocol import Training, sealed
from latentmix.comparison.specs import read_specs
from latentmix.runs.execute import fit_model
from latentmix.runs.recipe import recipe_names

NETWORK = ":hidden_dims=[16]:latent_dim=2:epochs=2:min_steps=0:batch_size=32"
# Each method, small enough for 84 rows; a recipe's settings are the small recipe's.
SMALL = {
    "kmeans": "kmeans:n_init=2",
    "mixture": "mixture:n_init=1",
    "pca-mixture": "pca-mixture:dims=3:n_init=1",
    "autoencoder-kmeans": f"autoencoder-kmeans{NETWORK}",
    "n2d": f"n2d{NETWORK}:n_neighbors=5",
}


def small_spec(name, small_settings):
    if name in METHODS:
        return read_specs([SMALL[name]])[0]
    changed = [setting for setting in small_settings if not setting.startswith("mixture.n_comp")]
    # The small settings have no rounds, which labels could teach.
    return read_specs([":".join([name, *changed, "labels.teach=false", "vae.max_epochs=2"])])[0]


def fake_umap():
    """Return a module like umap, whose embedding keeps the first columns."""

    class Embedding:
        def __init__(self, *, n_neighbors, n_components, min_dist, random_state, n_jobs):
            assert (n_neighbors, n_components, min_dist, random_state) == (5, 3, 0.0, 0)
            self.n_components = n_components

        def transform(self, X):
            return np.asarray(X)[:, : self.n_components]

        fit_transform = transform

    module = ModuleType("umap")
    module.__spec__ = ModuleSpec("umap", None)
    module.__version__ = "0"
    module.UMAP = Embedding
    return module


def training_of(dataset, rows=84, n_components=3):
    return Training(dataset.X[:rows], n_components, 0, dataset.image_shape)


# A recipe of another network warns, of two epochs, that it has learned little.
@pytest.mark.filterwarnings("ignore::latentmix.errors.TrainingWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", [*METHODS, *recipe_names()])
def test_every_method_answers_for_rows_it_was_not_fitted_to(
    name, shapes, small_settings, monkeypatch
):
    if name == "n2d":
        # UMAP compiles itself for 10 seconds: tests/peers has the real one.
        monkeypatch.setitem(sys.modules, "umap", fake_umap())
    plan = plan_of(small_spec(name, small_settings), 3)
    found = worker.answers(
        method_of(plan.record), training_of(shapes), shapes.X[84:102], shapes.X[102:]
    )
    kept = sealed(found["validation"], found["test"], plan.n_components)
    assert (len(kept.validation), len(kept.test)) == (18, 18)
    assert found["fit_seconds"] > 0
    assert ("nll" in found) == (name in recipe_names()), "bytes have no density"
    if "nll" in found:
        assert found["density"] == "cross entropy"
        assert 0 < found["nll"] < 64


# So few epochs teach little.
@pytest.mark.filterwarnings("ignore::latentmix.errors.TrainingWarning")
def test_a_recipe_that_stops_early_judges_by_training_rows(shapes, small_settings, monkeypatch):
    judged_by = []

    def watched(request, parts, checkpoint, listener):
        judged_by.append((len(parts.split.train), len(parts.split.validation)))
        return fit_model(request, parts, checkpoint, listener)

    monkeypatch.setattr("latentmix.runs.execute.fit_model", watched)
    settings = [setting for setting in small_settings if "max_epochs" not in setting]
    for more in ([], ["vae.patience=1"]):
        spec = read_specs([":".join(["default", *settings, "vae.max_epochs=3", *more])])[0]
        method_of(plan_of(spec, 3).record).fit(training_of(shapes))
    assert judged_by == [(84, 0), (76, 8)]


def test_a_table_has_a_density_in_its_own_units():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 3)) * [1.0, 10.0, 100.0] + 5
    training = Training(X[:300], 1, 0)
    plan = plan_of(read_specs(["mixture:reg_covar=1e-9"])[0], 1)
    found = worker.answers(method_of(plan.record), training, X[300:350], X[350:])
    # The entropy of the rows' distribution.
    expected = 1.5 * np.log(2 * np.pi * np.e) + np.log(1000)
    assert found["nll"] == pytest.approx(expected, abs=0.5)
    assert found["density"] == "density"
