"""Each template of CONTRIBUTING.md is registered as it stands there, and a small model fitted."""

import re
from pathlib import Path

import numpy as np
import pytest

from latentmix import VAE, GaussianMixture, metrics
from latentmix.apps.export.description import describe
from latentmix.data import load, split
from latentmix.data.datasets import DATASETS
from latentmix.estimators import LatentMixture
from latentmix.kernels.families import FAMILIES, GAUSSIAN
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.runs.execute import Request, execute
from latentmix.runs.recipe import load_recipe

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
TEXT = PAGE.read_text(encoding="utf-8")
TEMPLATES = dict(
    re.findall(
        r"^### (.*?)\n.*?^```(?:python|toml)\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE
    )
)


@pytest.fixture
def registered(monkeypatch):
    """Return what runs a template; the registries are as they were afterwards."""
    for registry in (GAUSSIAN, FAMILIES, LIKELIHOODS, DATASETS):
        for name in list(registry):
            monkeypatch.setitem(registry, name, registry[name])
    before = [dict(registry) for registry in (GAUSSIAN, FAMILIES, LIKELIHOODS, DATASETS)]

    def run(title):
        scope = {"__name__": "template"}
        exec(compile(TEMPLATES[title], f"{PAGE.name}, {title}", "exec"), scope)
        return scope

    yield run
    for registry, kept in zip((GAUSSIAN, FAMILIES, LIKELIHOODS, DATASETS), before, strict=True):
        registry.clear()
        registry.update(kept)
    if hasattr(metrics, "balanced_accuracy"):
        del metrics.balanced_accuracy


@pytest.fixture(scope="module")
def heaps():
    kinds = np.arange(240) % 3
    return np.random.RandomState(0).randn(240, 3) + 6 * np.eye(3)[kinds], kinds


def test_there_is_a_template_for_each_kind_of_addition():
    assert list(TEMPLATES) == [
        *("A covariance type", "A likelihood", "A data set", "A metric", "A recipe")
    ]


def test_the_covariance_type_is_fitted_and_exported(registered, heaps):
    registered("A covariance type")
    X, kinds = heaps
    mixture = GaussianMixture(3, covariance_type="shared-spherical", random_state=0).fit(X)
    assert np.ptp(mixture.covariances_) == 0
    deviations = X - mixture.means_[mixture.predict(X)]
    np.testing.assert_allclose(mixture.covariances_[0], np.mean(deviations**2), rtol=1e-3)
    table = metrics.contingency_table(mixture.predict(X), kinds, 3, 3)
    assert metrics.hungarian_accuracy(table) == 1
    plain = GaussianMixture(3, covariance_type="spherical", random_state=0).fit(X)
    assert mixture.bic(X) < plain.bic(X), "these heaps are alike: fewer parameters do"


def test_the_likelihood_is_trained(registered, heaps):
    registered("A likelihood")
    X, _ = heaps
    quick = {"latent_dim": 2, "hidden_dims": [16], "max_epochs": 60, "min_steps": 600}
    vae = VAE(likelihood="laplace", learning_rate=1e-2, random_state=0, **quick)
    model = LatentMixture(3, vae=vae, random_state=0).fit(X)
    spread = float(np.mean(np.abs(X - model.reconstruct(X))))
    assert spread < 0.6 * np.mean(np.abs(X - X.mean(axis=0)))
    assert np.isfinite(model.score(X)) and model.sample(5).shape == (5, 3)
    with pytest.raises(ValueError, match=r"laplace.*cannot be exported"):
        describe(model)


def test_the_data_set_is_read_by_its_name_and_the_recipe_runs_on_it(registered, tmp_path):
    registered("A data set")
    (tmp_path / "tiny.toml").write_text(TEMPLATES["A recipe"])
    recipe = load_recipe(str(tmp_path / "tiny.toml"))
    assert (recipe.name, recipe.vae.hidden_dims) == ("tiny", [16])
    bars = load("bars")
    assert len(split(bars, seed=0).test) > 10
    request = Request(recipe, bars, tmp_path / "run", 0, ())
    found = execute(request, listener=lambda event: None, draw=lambda folder: None)
    assert found["data"]["name"] == "bars"
    assert found["scores"][0]["accuracy_named"] == 1


def test_the_metric_counts_every_class_alike(registered):
    registered("A metric")
    labels, predicted = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 0, 0, 1])
    assert metrics.balanced_accuracy(labels, predicted, 2) == 0.5
    assert np.isnan(metrics.balanced_accuracy(labels[4:], predicted[4:], 2))


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", (PAGE.parent / page).read_text()):
        assert "://" in target or (PAGE.parent / target).exists()
