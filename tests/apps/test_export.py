"""A run carried away: ONNX and the NumPy pages answer as the model does, and stand as a whole."""

import json
import subprocess
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest

from latentmix import VAE, GaussianMixture, LatentMixture
from latentmix import load as load_model
from latentmix.apps.export import FORMATS, anomaly, export_run, files, graphs, reader
from latentmix.apps.export.description import KINDS, Description, describe
from latentmix.apps.export.hub import card_of
from latentmix.data import load
from latentmix.errors import ParameterError, WriteError
from latentmix.kernels.families import GAUSSIAN
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.runs.opened import open_run
from latentmix.storage.manifest import open_sealed

PAGES = Path(reader.__file__).parent
ROWS, KINDS_OF_ROWS = 120, np.arange(120) % 3
NAMES = np.array(["bar", "pillar", "square"])[KINDS_OF_ROWS]
RANDOM = np.random.RandomState(0)

# Of a model in float32: what it says of places and probabilities, and of scores (anomaly.TIE).
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
TIED = {"rtol": 1e-4, "atol": 1e-4}

IMAGES = np.zeros((ROWS, 7, 9), np.uint8)
IMAGES[KINDS_OF_ROWS == 0, :3] = IMAGES[KINDS_OF_ROWS == 1, :, :4] = 200
IMAGES[KINDS_OF_ROWS == 2, 2:5, 3:6] = 200
IMAGES = (IMAGES + RANDOM.randint(0, 40, IMAGES.shape)).astype(np.uint8).reshape(ROWS, -1)
NUMBERS = (RANDOM.randn(ROWS, 4) + 5 * KINDS_OF_ROWS[:, None]) * [1, 20, 0.01, 1] + [0, 1e5, 0, 3]
COUNTS = RANDOM.poisson(3 + 9 * (np.arange(6) // 2 == KINDS_OF_ROWS[:, None])).astype(float)
TABLE = pd.DataFrame(
    {
        "size": NUMBERS[:, 1],
        "visits": COUNTS[:, 0],
        "colour": np.array(["red", "lime", "blue"])[KINDS_OF_ROWS],
        "open": (KINDS_OF_ROWS == 1).astype(float),
        "side": np.array(["left", "right"])[RANDOM.randint(0, 2, ROWS)],
        "depth": NUMBERS[:, 0],
    }
)
OF_TABLE = {"visits": "count", "open": "binary"}

CASES = {
    "bernoulli": (IMAGES, {"image_shape": (7, 9), "channels": (4, 6)}),
    "relu-bernoulli": (IMAGES, {"heads": "relu"}),
    "continuous-bernoulli": (IMAGES / 255.0, {}),
    "discretised-logistic": (IMAGES, {}),
    "gaussian": (NUMBERS, {}),
    "poisson": (COUNTS, {}),
    "negative-binomial": (COUNTS, {}),
    "categorical": (TABLE[["colour", "side"]].assign(form=NAMES), {"kl_weight": 0.2}),
    "mixed": (TABLE, {"columns": OF_TABLE}),
}


def fitted(X, likelihood, options, mixture=None):
    vae = VAE(
        likelihood=likelihood,
        latent_dim=2,
        hidden_dims=[16],
        max_epochs=20,
        min_steps=0,
        learning_rate=1e-2,
        batch_size=32,
        **options,
    )
    model = LatentMixture(3, vae=vae, mixture=mixture, random_state=0).fit(X)
    with warnings.catch_warnings():
        # That a component has no name is no matter here.
        warnings.simplefilter("ignore", UserWarning)
        return model.label(X[:60], NAMES[:60]).calibrate(X[:60], NAMES[:60])


class Carried:
    """A model, its folder of pages, and its two graphs in onnxruntime."""

    def __init__(self, model, folder):
        self.model, self.folder = model, folder
        about, tensors = describe(model)
        files.write_description(Description({**about, "latentmix": "0"}, tensors), folder)
        self.pages = reader.Model(folder)

    def asked(self, graph, given):
        made = getattr(graphs, f"{graph}_graph")(self.folder)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, given), strict=True))


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """Return what fits and carries away a model of a likelihood, once."""
    made = {}

    def of(likelihood):
        if likelihood not in made:
            X, options = CASES[likelihood]
            folder = tmp_path_factory.mktemp(likelihood)
            made[likelihood] = Carried(fitted(X, likelihood, options), folder)
        return made[likelihood], CASES[likelihood][0]

    return of


def test_every_likelihood_is_tried_or_refused():
    assert set(CASES) | {"binarised"} == set(LIKELIHOODS)
    assert set(KINDS) <= set(CASES)


@pytest.mark.parametrize("likelihood", CASES)
def test_the_numpy_pages_answer_as_the_model_does(carried, likelihood):
    one, X = carried(likelihood)
    rows = one.pages.rows(X)
    answers = one.pages.answers(rows)
    np.testing.assert_allclose(answers["latent_mean"], one.model.transform(X), **CLOSE)
    np.testing.assert_allclose(answers["component_proba"], one.model.predict_proba(X), **CLOSE)
    np.testing.assert_allclose(answers["class_proba"], one.model.predict_class_proba(X), **CLOSE)
    scores = one.model.anomaly_scores(X)
    np.testing.assert_allclose(anomaly.anomaly_scores(one.pages, rows), scores, **TIED)
    assert np.ptp(scores) > 1, "rows differ, or any constant would do"


@pytest.mark.parametrize("likelihood", CASES)
def test_the_graphs_say_what_the_pages_say(carried, likelihood):
    one, X = carried(likelihood)
    rows = one.pages.rows(X)
    expected = one.pages.answers(rows)
    expected["anomaly_score"] = anomaly.anomaly_scores(one.pages, rows)
    for n_rows in (1, 7, len(rows)):
        found = one.asked("model", {"x": rows[:n_rows]})
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], values[:n_rows], **CLOSE, err_msg=name)


@pytest.mark.parametrize("likelihood", CASES)
def test_the_decoders_show_what_the_model_shows(carried, likelihood):
    one, X = carried(likelihood)
    z = one.model.transform(X)
    shown = one.pages.decode(z)
    np.testing.assert_allclose(one.asked("decoder", {"z": z})["x"], shown, rtol=1e-5, atol=1e-5)
    expected = np.array(one.model.inverse_transform(z), dtype=object)
    for column, names in enumerate(one.pages.about["categories"]):
        if names:
            shown = shown.astype(object)
            shown[:, column] = [names[int(position)] for position in shown[:, column]]
            assert (shown[:, column] == expected[:, column]).all()
            shown[:, column] = expected[:, column] = 0
    np.testing.assert_allclose(shown.astype(float), expected.astype(float), **CLOSE)


@pytest.mark.parametrize("shape", GAUSSIAN)
def test_every_covariance_type_is_one_formula(carried, shape, tmp_path):
    base, X = carried("gaussian")
    mixture = GaussianMixture(3, covariance_type=shape, n_factors=1, random_state=0)
    model = base.model.of_mixture(mixture.fit(base.model.latents_))
    model._forget_usual()
    pages = Carried(model, tmp_path).pages
    found = pages.answers(X)["component_proba"]
    np.testing.assert_allclose(found, model.predict_proba(X), **CLOSE)
    assert "anomaly_score" not in Carried(model, tmp_path).asked("model", {"x": X})


def test_classes_of_ten_thousand_rows_are_the_same(tmp_path):
    digits = load("digits")
    vae = VAE(latent_dim=6, max_epochs=10, min_steps=0)
    model = LatentMixture(20, vae=vae, random_state=0).fit(digits.X[:1000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.label(digits.X[1000:1400], digits.labels[1000:1400])
    one = Carried(model, tmp_path)
    rows = digits.X[RANDOM.randint(0, len(digits.X), 10_000)]
    rows = np.clip(rows + RANDOM.randint(-20, 20, rows.shape), 0, 255).astype(np.uint8)
    classes = model.predict_class(rows)
    assert len(np.unique(classes)) > 5
    of_pages = one.pages.answers(one.pages.rows(rows))["class_proba"].argmax(axis=1)
    of_graph = one.asked("model", {"x": rows})["class_proba"].argmax(axis=1)
    names = np.array(one.pages.about["classes"])
    np.testing.assert_array_equal(names[of_pages], classes)
    np.testing.assert_array_equal(names[of_graph], classes)


def test_what_overflows_is_infinitely_strange(carried):
    one, X = carried("gaussian")
    rows = np.vstack([X[:1], X[:1] + 1e300])
    with np.errstate(all="ignore"):
        answers = (
            one.model.anomaly_scores(rows),
            anomaly.anomaly_scores(one.pages, rows),
            one.asked("model", {"x": rows})["anomaly_score"],
        )
    for scores in answers:
        assert np.isfinite(scores[0]) and np.isposinf(scores[1])


def test_draws_of_bits_are_refused_in_a_sentence():
    model = fitted(IMAGES, "binarised", {})
    with pytest.raises(ParameterError, match=r"binarised.*cannot be exported.*Expected bernoulli"):
        describe(model)


def test_the_reader_is_a_page_of_a_hundred_lines_and_numpy_alone(run_folder, tmp_path):
    export_run(run_folder, "numpy", tmp_path / "out")
    page = (tmp_path / "out" / "reader.py").read_text()
    assert page == (PAGES / "reader.py").read_text()
    assert len(page.splitlines()) <= 100
    assert page.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    code = (
        "import sys, numpy as np; sys.path.insert(0, '.'); from reader import Model;"
        "from anomaly import anomaly_scores; model = Model('.');"
        "x = model.rows(np.zeros((3, 64), np.uint8)); print(model.answers(x)['class_proba'].shape,"
        "anomaly_scores(model, x).shape, model.decode(np.zeros((2, 2), np.float32)).shape);"
        "print({name.partition('.')[0] for name in sys.modules} & {'jax', 'scipy', 'latentmix',"
        "'sklearn', 'equinox', 'safetensors'})"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == ["(3, 3) (3,) (2, 64)", "set()"]
    with pytest.raises(TypeError, match="Cannot cast"):
        reader.Model(tmp_path / "out").rows(np.ones((1, 64)) / 2)


def test_a_graph_says_what_it_was_made_from(latentmix, run_folder, tmp_path):
    code, out, err = latentmix("export", run_folder, "--format", "onnx", "-o", tmp_path / "out")
    assert (code, err) == (0, [])
    assert out == [
        f"Reading {run_folder}, writing to {tmp_path / 'out'}",
        f"Wrote {tmp_path / 'out' / 'decoder.onnx'}",
        f"Wrote {tmp_path / 'out' / 'model.onnx'}",
    ]
    graph = onnx.load(tmp_path / "out" / "model.onnx")
    said = {each.key: each.value for each in graph.metadata_props}
    assert json.loads(said["classes"]) == ["bar", "pillar", "square"]
    assert said["data"] == "shapes" and json.loads(said["image_shape"]) == [8, 8]
    entries = open_sealed(run_folder, "run").entries
    digests = json.loads(said["sha256"])
    assert digests["model/vae.safetensors"] == entries["model/vae.safetensors"].sha256
    assert [output.name for output in graph.graph.output] == [
        *("latent_mean", "component_proba", "class_proba", "anomaly_score")
    ]
    assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_the_same_run_gives_the_same_bytes(run_folder, tmp_path, bytes_in):
    for kind in ("onnx", "numpy"):
        for name in ("one", "other"):
            export_run(run_folder, kind, tmp_path / kind / name)
        assert bytes_in(tmp_path / kind / "one") == bytes_in(tmp_path / kind / "other")


def test_the_hubs_folder_holds_a_card_and_a_model_that_loads(run_folder, shapes, tmp_path):
    export_run(run_folder, "hub", tmp_path / "hub")
    names = {
        path.relative_to(tmp_path / "hub").as_posix() for path in (tmp_path / "hub").rglob("*.*")
    }
    assert {"README.md", "metrics.json", "onnx/model.onnx", "numpy/reader.py"} <= names
    model = load_model(tmp_path / "hub" / "model")
    expected = load_model(run_folder).predict_class(shapes.X)
    np.testing.assert_array_equal(model.predict_class(shapes.X), expected)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: latentmix\n")
    scores = json.loads((run_folder / "metrics.json").read_text())["scores"][0]
    assert f"| accuracy_named | {scores['accuracy_named']:.4f} |" in card


def test_the_hubs_own_client_reads_the_card(finished):
    hub = pytest.importorskip("huggingface_hub", reason="extra [hub]")
    read = hub.ModelCard(card_of(open_run(finished))).data
    assert read.library_name == "latentmix" and "clustering" in read.tags
    scores = json.loads((finished / "metrics.json").read_text())["scores"][0]
    found = {each.metric_name: each.metric_value for each in read.eval_results}
    assert found.keys() == {"accuracy_named", "accuracy_hungarian", "nmi", "ari"}
    for name, value in found.items():
        assert value == pytest.approx(scores[name], abs=1e-4)


@pytest.fixture
def client(monkeypatch):
    """Return what a client of the hub was asked for; nothing leaves this machine."""
    asked = []

    class HfApi:
        def create_repo(self, name, **said):
            asked.append(("create", name))

        def upload_folder(self, *, repo_id, folder_path, repo_type):
            asked.append(
                ("upload", repo_id, sorted(path.name for path in Path(folder_path).iterdir()))
            )

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(HfApi=HfApi))
    return asked


def test_a_folder_is_pushed_by_the_hubs_client(latentmix, run_folder, tmp_path, client):
    words = ("export", run_folder, "--format", "hub", "-o", tmp_path / "hub", "--push", "me/shapes")
    assert latentmix(*words)[0] == 0
    (create, upload) = client
    assert create == ("create", "me/shapes") and upload[:2] == ("upload", "me/shapes")
    assert {"README.md", "model", "numpy", "onnx"} <= set(upload[2])


def test_embeddings_are_a_table_for_an_atlas(latentmix, run_folder, shapes, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    words = ("export", run_folder, "--format", "parquet", "-o", tmp_path / "out")
    assert latentmix(*words)[0] == 0
    table = parquet.read_table(tmp_path / "out" / "embeddings.parquet")
    model = load_model(run_folder)
    means = np.stack(table["embedding"].to_numpy())
    np.testing.assert_allclose(means, model.transform(shapes.X), atol=1e-5)
    assert table.schema.field("embedding").type.list_size == 2
    np.testing.assert_array_equal(table["cluster"].to_numpy(), model.predict(shapes.X))
    assert table["label"].to_pylist() == model.predict_class(shapes.X).tolist()
    scores = table["anomaly_score"].to_numpy()
    np.testing.assert_allclose(scores, model.anomaly_scores(shapes.X), **TIED)
    # Of two latent dimensions the map is a turn: distances stay.
    places = np.column_stack([table[f"projection_{axis}"].to_numpy() for axis in "xy"])
    lengths = [np.linalg.norm(each[1:] - each[:-1], axis=1) for each in (places, means)]
    np.testing.assert_allclose(*lengths, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_with_anything_in_it_is_left_alone(run_folder, tmp_path, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"not empty: it holds 'mine\.txt'"):
        export_run(run_folder, kind, tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_an_export_that_fails_leaves_nothing(run_folder, tmp_path, monkeypatch):
    def fail(run, out):
        (out / "half").write_text("half")
        raise ParameterError("It failed. Expected more.")

    monkeypatch.setitem(FORMATS, "onnx", fail)
    with pytest.raises(ParameterError):
        export_run(run_folder, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--format", "onx"), 2, "Did you mean 'onnx'?"),
        (("--format", "numpy", "--push", "a/b"), 2, "Expected 'hub'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    latentmix, run_folder, tmp_path, words, code, said
):
    found, _, err = latentmix("export", run_folder, *words, "-o", tmp_path / "out")
    assert found == code and said in err[0] and len(err) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "package"), [("onnx", "onnx"), ("parquet", "pyarrow"), ("hub", "huggingface_hub")]
)
def test_a_package_that_is_missing_is_named(
    latentmix, run_folder, tmp_path, monkeypatch, kind, package
):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "latentmix.apps.export.graphs", raising=False)
    monkeypatch.delitem(sys.modules, "latentmix.apps.export.traced", raising=False)
    push = ("--push", "me/shapes") if kind == "hub" else ()
    code, _, err = latentmix("export", run_folder, "--format", kind, "-o", tmp_path / "out", *push)
    assert code == 2 and package in err[0] and "pip install 'latentmix[" in err[0]
