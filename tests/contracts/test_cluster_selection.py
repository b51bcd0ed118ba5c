"""The number of components, chosen: what estimators, runs and the benchmark say of it."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

import latentmix
from latentmix import (
    VAE,
    ClusterSelection,
    GaussianMixture,
    LatentMixture,
    Refinement,
    select_n_clusters,
)
from latentmix.apps.figures import draw_figures
from latentmix.apps.summary import summary_of
from latentmix.comparison import worker
from latentmix.comparison.plans import method_of, plan_of
from latentmix.comparison.protocol import Training
from latentmix.comparison.specs import read_specs
from latentmix.errors import InputError, ParameterError
from latentmix.estimators.cluster_selection import ClusterRow
from latentmix.runs.label import label_run
from latentmix.training.events import Stage

NETWORK = {
    "hidden_dims": (16,),
    "latent_dim": 2,
    "batch_size": 32,
    "max_epochs": 30,
    "min_steps": 0,
    "learning_rate": 1e-2,
    "kl_weight": 0.1,
}
ROUNDS = Refinement(n_rounds=1, epochs=1, min_steps=0, classifier_rounds=0, image_shape=(8, 8))
CHOOSE = ("mixture.n_components=auto",)


def model_of(refinement=None, **parameters):
    kind = "full" if refinement is None else "diag"
    mixture = GaussianMixture(covariance_type=kind)
    return LatentMixture(
        "auto",
        vae=VAE(**NETWORK),
        mixture=mixture,
        refinement=refinement,
        random_state=0,
        **parameters,
    )


@pytest.fixture(scope="module", params=[None, ROUNDS], ids=["EM", "rounds"])
def fitted(request, shapes):
    heard = []
    model = model_of(request.param).fit(shapes.X, listener=heard.append)
    return model, heard


def test_three_shapes_are_three_components_and_it_is_said(fitted, shapes):
    model, heard = fitted
    selection = model.selection_
    assert selection.n_components == model.mixture_.n_components_ == 3
    assert selection.table[1].stability > 0.9
    said = [event.message for event in heard if isinstance(event, Stage)]
    assert said[said.index("Choosing the number of components") + 1] == selection.sentence
    assert selection.sentence.startswith("Chose 3 components (tried 2 to ")
    assert len(np.unique(model.predict(shapes.X))) == 3
    assert model.n_components == "auto", "parameters stay as given"


def test_the_choice_is_kept_with_the_model(fitted, shapes, tmp_path):
    model, _ = fitted
    model.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    assert loaded.selection_ == model.selection_
    assert loaded.n_components == "auto"
    np.testing.assert_array_equal(loaded.predict(shapes.X), model.predict(shapes.X))


def test_a_number_that_is_given_leaves_no_selection(fitted, shapes):
    model, _ = fitted
    # And the fit is that of the chosen number: nothing else was drawn.
    given = clone(model).set_params(n_components=3).fit(shapes.X)
    assert given.selection_ is None
    np.testing.assert_array_equal(given.mixture_.means_, model.mixture_.means_)
    other = model.with_mixture(GaussianMixture(2), model.latents_, "z")
    assert other.selection_ is None
    assert model.selection_ is not None


def test_verbose_prints_the_choice(shapes, capsys):
    model = model_of(verbose=1).fit(shapes.X)
    assert model.selection_.sentence in capsys.readouterr().out.splitlines()


def test_rounds_refuse_a_mixture_that_counts_by_likelihood(shapes):
    model = LatentMixture(
        mixture=GaussianMixture("auto", covariance_type="diag"), refinement=ROUNDS
    )
    with pytest.raises(ParameterError, match=r"LatentMixture\(n_components='auto'\)"):
        model.fit(shapes.X)


@pytest.mark.parametrize("n_components", ["many", 0, 2.5, "classes"])
def test_what_is_no_number_is_refused(shapes, n_components):
    with pytest.raises(ParameterError, match="n_components="):
        LatentMixture(n_components).fit(shapes.X)


@pytest.mark.parametrize(
    "wrong", [{"most": 0}, {"n_neighbors": 0}, {"n_walk_steps": ()}, {"n_walk_steps": (0,)}]
)
def test_parameters_out_of_their_domain_are_refused(wrong):
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        select_n_clusters(np.random.RandomState(0).randn(40, 2), **wrong)


def test_rows_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="NaN"):
        select_n_clusters(np.full((40, 2), np.nan))


def test_too_few_rows_are_one_component():
    selection = select_n_clusters(np.zeros((3, 2)))
    assert (selection.n_components, selection.table, selection.agreement) == (1, (), 1.0)
    assert "too few rows" in selection.sentence
    assert ClusterSelection.from_json(json.loads(json.dumps(selection.to_json()))) == selection


def test_the_sentence_says_how_sure_it_is():
    table = tuple(
        ClusterRow(k, stability, 0.0, modularity, chosen_by)
        for k, stability, modularity, chosen_by in ((2, 0.91, 0.5, 1), (3, 0.97, 0.6, 3))
    )
    selection = ClusterSelection(3, 2, 4, table)
    assert selection.agreement == 0.75
    assert selection.sentence == (
        "Chose 3 components (tried 2 to 3): halves of the rows agree on them to 0.97 (adjusted "
        "Rand index), and 3 of 4 choose 3 by themselves; next best 2, to 0.91; more were not tried"
    )
    assert str(selection).splitlines()[2].endswith("<-")


# Runs


@pytest.fixture(scope="module")
def run(carry_out, shapes, tmp_path_factory):
    """Return the folder of a run of the shapes without labels, its pictures drawn, and its news."""
    folder, heard = tmp_path_factory.mktemp("runs") / "chosen", []
    dataset = replace(shapes, labels=None, class_names=())
    carry_out(
        folder,
        "mixture.n_components=classes",
        "vae.kl_weight=0.1",
        dataset=dataset,
        listener=heard.append,
        draw=draw_figures,
    )
    return folder, heard


def test_a_run_without_classes_chooses_and_keeps_what_it_saw(run):
    folder, heard = run
    metrics = json.loads((folder / "metrics.json").read_text())
    selection = metrics["selection"]
    assert metrics["scores"][0]["n_components"] == selection["n_components"] == 3
    assert selection["sentence"] in [each.message for each in heard if isinstance(each, Stage)]
    assert selection["sentence"] in summary_of(metrics, folder).splitlines()
    assert ClusterSelection.from_json(selection) == latentmix.load(folder).selection_
    with (folder / "figures" / "selection.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n_components"]) for row in rows if row["chosen"] == "1"] == [3]
    assert [float(row["stability"]) for row in rows] == [
        row["stability"] for row in selection["table"]
    ]
    assert (folder / "figures" / "selection.png").stat().st_size > 5000


def test_names_given_later_leave_the_choice(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    before = json.loads((folder / "metrics.json").read_text())["selection"]
    labels = tmp_path / "labels.csv"
    labels.write_text("row,label\n0,bar\n1,pillar\n2,square\n")
    after = label_run(folder, labels, draw=lambda folder: None)
    assert after["selection"] == before
    assert latentmix.load(folder).selection_.to_json() == before


def test_classes_with_names_are_counted_unless_asked_otherwise(finished, carry_out, tmp_path):
    assert json.loads((finished / "metrics.json").read_text())["selection"] is None
    assert not (finished / "figures" / "selection.csv").exists()
    metrics = carry_out(tmp_path / "run", *CHOOSE, "vae.kl_weight=0.1")
    assert metrics["selection"]["n_components"] == 3
    assert metrics["scores"][0]["accuracy_hungarian"] == 1


# The benchmark


def test_the_benchmark_tells_no_method_how_many_classes_there_are(shapes, small_settings):
    settings = [each for each in small_settings if "mixture.n_components" not in each]
    spec = read_specs([":".join(["default", *settings, *CHOOSE, "vae.kl_weight=0.1"])])[0]
    plans = [plan_of(spec, n_classes) for n_classes in (3, 7)]
    assert plans[0] == plans[1]
    assert plans[0].n_components is None
    training = Training(shapes.X[:84], None, 0, shapes.image_shape)
    found = worker.answers(method_of(plans[0].record), training, shapes.X[84:102], shapes.X[102:])
    assert found["n_components"] == 3
    assert len(np.unique(found["test"])) == 3
