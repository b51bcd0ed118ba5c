"""A run, from data to a sealed folder: what it leaves, that it repeats, that it can be stopped."""

import csv
import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as peer

import latentmix
from latentmix.data import split
from latentmix.errors import InputError, NotNamedError, ParameterError, WriteError
from latentmix.storage.manifest import open_sealed
from latentmix.training import vae_loop
from latentmix.training.events import EmIteration, Stage, Steps

FIGURES = (
    *("clusters", "ellipses", "em", "gallery", "interpolation", "kl", "latent_space", "loss"),
    *("reconstructions", "samples", "strange", "traversals"),
)
OF_NAMES = (
    *("class_samples", "confusion", "labels_spent", "mistakes", "reliability", "risk_coverage"),
)
FILES = {
    "environment.json",
    "history.jsonl",
    "latents.safetensors",
    "metrics.json",
    "model/mixture.safetensors",
    "model/model.json",
    "model/usual.safetensors",
    "model/vae.safetensors",
    "recipe.json",
    "request.json",
    "rows.csv",
    "figures/figures.json",
    *(f"figures/{name}.csv" for name in FIGURES),
}
OF_LABELS = {"accuracy_hungarian", "nmi", "ari", "purity", "accuracy_named"}


def json_of(path):
    return json.loads(path.read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name, kind=str):
    return np.array([kind(row[name]) for row in rows])


def rows_of(folder, part):
    return [row for row in table(folder / "rows.csv") if row["part"] == part]


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for inner in value for number in numbers_in(inner)]
    return [value] if isinstance(value, float) else []


# What it leaves


def test_a_run_leaves_its_files_and_no_other_and_all_are_sealed(finished, bytes_in):
    expected = FILES | {f"figures/{name}.csv" for name in OF_NAMES}
    assert set(open_sealed(finished, "run").names) == expected
    assert bytes_in(finished).keys() == expected | {"manifest.json"}


def test_pictures_are_drawn_from_a_whole_folder_and_sealed_with_it(carry_out, tmp_path):
    found = []

    def draw(folder):
        found.append({path.relative_to(folder).as_posix() for path in folder.rglob("*.*")})
        (folder / "figures" / "loss.png").write_bytes(b"a picture")

    carry_out(tmp_path / "run", draw=draw)
    assert len(found) == 1
    assert found[0] >= FILES - {"metrics.json"}
    assert "manifest.json" not in found[0]
    assert open_sealed(tmp_path / "run", "run").read("figures/loss.png") == b"a picture"


def test_metrics_are_finite_and_returned_as_they_are_written(shapes, carry_out, tmp_path):
    metrics = carry_out(tmp_path / "run")
    assert json_of(tmp_path / "run" / "metrics.json") == metrics
    numbers = numbers_in(metrics)
    assert len(numbers) > 30
    assert all(math.isfinite(number) for number in numbers)
    assert metrics["data"] == {
        "name": "shapes",
        "rows": {"train": 84, "validation": 18, "test": 18},
    }
    assert metrics["naming"] == {
        "rows": 18,
        "parts": ["validation"],
        "classes": ["bar", "pillar", "square"],
    }
    assert 0 < metrics["training_seconds"] <= metrics["wall_seconds"]


def test_three_shapes_are_found_and_named(finished):
    for entry in json_of(finished / "metrics.json")["scores"]:
        assert {name: entry[name] for name in OF_LABELS} == pytest.approx(
            dict.fromkeys(OF_LABELS, 1.0)
        )


def test_no_further_mixture_is_fitted_where_none_is_asked_for(carry_out, tmp_path):
    metrics = carry_out(tmp_path / "run", "report.n_components=[]")
    assert [(score["n_components"], score["latents"]) for score in metrics["scores"]] == [
        (3, "z"),
        (3, "mean"),
    ]


def test_every_mixture_of_the_report_is_scored(carry_out, tmp_path):
    metrics = carry_out(tmp_path / "run", "report.n_components=[2, 3]")
    for part in ("scores", "validation_scores"):
        fitted = [(entry["n_components"], entry["latents"]) for entry in metrics[part]]
        assert fitted == [(3, "z"), (2, "z"), (2, "mean"), (3, "mean")]


def test_the_scores_are_those_of_rows_csv(finished):
    metrics = json_of(finished / "metrics.json")
    for part, key in (("test", "scores"), ("validation", "validation_scores")):
        rows, own = rows_of(finished, part), metrics[key][0]
        true, clusters = column(rows, "known_label"), column(rows, "cluster", int)
        assert own["labelled_rows"] == len(rows) == 18
        assert own["nmi"] == pytest.approx(peer.normalized_mutual_info_score(true, clusters))
        assert own["ari"] == pytest.approx(peer.adjusted_rand_score(true, clusters))
        named = peer.accuracy_score(true, column(rows, "label"))
        assert own["accuracy_named"] == pytest.approx(named)


def test_the_terms_of_the_density_add_up(carry_out, tmp_path):
    test = carry_out(tmp_path / "run", "vae.kl_weight=2.5", "vae.max_epochs=3")["test"]
    assert test["rows"] == 18
    assert test["draws"] == 2
    assert len(test["kl_per_dimension"]) == 2
    assert test["kl"] == pytest.approx(sum(test["kl_per_dimension"]))
    assert test["active_dimensions"] == sum(kl > 0.01 for kl in test["kl_per_dimension"])
    assert test["elbo"] == pytest.approx(-test["reconstruction"] - test["kl"])
    assert test["elbo_mixture_prior"] == pytest.approx(
        -test["reconstruction"] - test["kl_mixture_prior"]
    )
    assert test["objective"] == pytest.approx(test["reconstruction"] + 2.5 * test["kl"])


def test_the_kept_model_answers_as_rows_csv_says(finished, shapes):
    model, rows = latentmix.load(finished), table(finished / "rows.csv")
    assert column(rows, "row", int).tolist() == column(rows, "id", int).tolist() == [*range(120)]
    np.testing.assert_array_equal(model.predict(shapes.X), column(rows, "cluster", int))
    np.testing.assert_array_equal(model.predict_class(shapes.X), column(rows, "label"))
    np.testing.assert_allclose(
        model.predict_class_proba(shapes.X).max(axis=1),
        column(rows, "probability", float),
        atol=1e-4,
    )
    assert model.classes_.tolist() == ["bar", "pillar", "square"]


def test_rows_and_latents_are_in_the_parts_of_the_split(finished, shapes):
    model, rows = latentmix.load(finished), table(finished / "rows.csv")
    tensors = open_sealed(finished, "run").tensors("latents.safetensors")
    parts = split(shapes, seed=0)
    known = np.asarray(shapes.class_names)[shapes.labels]
    np.testing.assert_array_equal(column(rows, "known_label"), known)
    for part in ("train", "validation", "test"):
        numbers = getattr(parts, part)
        assert {rows[number]["part"] for number in numbers} == {part}
        np.testing.assert_array_equal(tensors[f"{part}_rows"], numbers)
        means = model.transform(shapes.X[numbers])
        np.testing.assert_allclose(tensors[f"{part}_mean"], means, atol=1e-5)
    # z is a draw around the mean, not the mean.
    shift = tensors["train_z"] - tensors["train_mean"]
    assert 0.01 < shift.std() < 1.5
    assert abs(shift.mean()) < 0.5


def test_tables_say_the_same_as_rows_and_metrics(finished, shapes):
    metrics, figures = json_of(finished / "metrics.json"), finished / "figures"
    train, test = rows_of(finished, "train"), rows_of(finished, "test")
    clusters = table(figures / "clusters.csv")
    for k, row in enumerate(clusters):
        assert int(row["component"]) == k
        assert int(row["train_rows"]) == (column(train, "cluster", int) == k).sum()
        assert int(row["labelled_rows"]) == (column(test, "cluster", int) == k).sum()
    assert {row["class"] for row in clusters} == set(shapes.class_names)
    assert column(clusters, "weight", float).sum() == pytest.approx(1, abs=1e-5)
    for row in table(figures / "confusion.csv"):
        matching = [
            r for r in test if (r["known_label"], r["label"]) == (row["true"], row["predicted"])
        ]
        assert int(row["count"]) == len(matching)
    points = table(figures / "latent_space.csv")
    np.testing.assert_array_equal(column(points, "cluster"), column(test, "cluster"))
    np.testing.assert_array_equal(column(points, "predicted"), column(test, "label"))
    np.testing.assert_array_equal(column(points, "true"), column(test, "known_label"))
    own = [row for row in table(figures / "em.csv") if row["latents"] == "z"]
    assert float(own[-1]["log_likelihood"]) == metrics["scores"][0]["log_likelihood"]
    assert len(own) == metrics["scores"][0]["n_iter"]
    samples = table(figures / "samples.csv")
    assert column(samples, "component", int).tolist() == [0] * 8 + [1] * 8 + [2] * 8


def test_reconstructions_show_inputs_beside_what_the_model_makes_of_them(finished, shapes):
    rows = table(finished / "figures" / "reconstructions.csv")
    numbers = split(shapes, seed=0).test[:3]
    assert [(int(row["row"]), row["kind"]) for row in rows] == [
        (number, kind) for number in numbers for kind in ("input", "output")
    ]
    values = np.array([[float(row[f"v{i}"]) for i in range(64)] for row in rows])
    np.testing.assert_allclose(values[::2], shapes.X[numbers] / 255, rtol=1e-3)
    outputs = latentmix.load(finished).reconstruct(shapes.X[numbers])
    np.testing.assert_allclose(values[1::2], outputs, rtol=2e-3)


def test_history_has_a_line_an_epoch_and_the_loss_falls(finished):
    lines = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [*range(1, 31)]
    for part in ("train", "validation"):
        assert lines[-1][part]["objective"] < lines[0][part]["objective"] - 10
        losses = [row for row in table(finished / "figures" / "loss.csv") if row["split"] == part]
        for line, row in zip(lines, losses, strict=True):
            assert line[part] == {name: float(row[name]) for name in line[part]}


# That it repeats


def bits(contents):
    """Return what may not differ between two runs of one seed: all but times and the command."""
    metrics = json.loads(contents["metrics.json"])
    environment = json.loads(contents["environment.json"])
    manifest = json.loads(contents["manifest.json"])
    del metrics["wall_seconds"], metrics["training_seconds"], metrics["peak_memory_bytes"]
    del environment["command"]
    for name in ("metrics.json", "environment.json"):
        del manifest["files"][name]
    parsed = {"metrics.json": metrics, "environment.json": environment, "manifest.json": manifest}
    return {**contents, **parsed}


def assert_same_bits(one, other):
    one, other = bits(one), bits(other)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_same_seed_same_bits(finished, shapes, carry_out, tmp_path, bytes_in):
    carry_out(tmp_path / "again", command=("latentmix", "run", "shapes.npz"))
    assert_same_bits(bytes_in(finished), bytes_in(tmp_path / "again"))
    assert json_of(tmp_path / "again" / "environment.json")["command"][1] == "run"


def test_another_seed_other_bits(finished, carry_out, tmp_path, bytes_in):
    carry_out(tmp_path / "other", seed=1)
    one, other = bytes_in(finished), bytes_in(tmp_path / "other")
    for name in ("model/vae.safetensors", "model/mixture.safetensors", "latents.safetensors"):
        assert one[name] != other[name]
    assert json_of(tmp_path / "other" / "environment.json")["seed"] == 1


def at_step(event):
    return isinstance(event, Steps) and (event.epoch, event.step) == (7, 2)


def in_em(event):
    return isinstance(event, EmIteration) and event.iteration == 2


def at_scoring(event):
    return isinstance(event, Stage) and "Scoring" in event.message


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _ctrl_c():
    """Let SIGINT raise KeyboardInterrupt, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def step_by_step(monkeypatch):
    """Make every compiled call one step, so that an epoch can be stopped in its midst."""
    with monkeypatch.context() as patch:
        patch.setattr(vae_loop._Pace, "learn", lambda self, seconds: None)
        patch.setattr(vae_loop._Pace, "__init__", lambda self, limit: setattr(self, "steps", 1))
        yield patch


@pytest.mark.parametrize(
    ("moment", "stop", "first_step"),
    [
        (at_step, lambda: signal.raise_signal(signal.SIGINT), (7, 3)),
        # Without a signal nothing is saved in an epoch's midst; it begins again.
        (at_step, raise_interrupt, (1, 3)),
        (in_em, lambda: signal.raise_signal(signal.SIGINT), None),
        (at_scoring, raise_interrupt, None),
    ],
    ids=["signal in training", "listener in training", "signal in EM", "listener at scoring"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    *, finished, carry_out, tmp_path, bytes_in, step_by_step, moment, stop, first_step
):
    def listener(event):
        if moment(event):
            stop()

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", listener=listener)
    assert not (tmp_path / "run" / "manifest.json").exists()
    step_by_step.undo()
    heard = []
    carry_out(tmp_path / "run", listener=heard.append)
    steps = [(event.epoch, event.step) for event in heard if isinstance(event, Steps)]
    assert (steps[0] if steps else None) == first_step
    assert_same_bits(bytes_in(finished), bytes_in(tmp_path / "run"))


def test_a_run_stopped_while_it_writes_goes_on_to_the_same_bits(
    finished, carry_out, tmp_path, bytes_in
):
    def draw(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", draw=draw)
    assert (tmp_path / "run" / "model" / "model.json").exists()
    carry_out(tmp_path / "run")
    assert_same_bits(bytes_in(finished), bytes_in(tmp_path / "run"))


def test_what_a_power_cut_left_half_written_is_no_part_of_the_run(
    finished, carry_out, tmp_path, bytes_in
):
    def stop(event):
        if at_scoring(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", listener=stop)
    (tmp_path / "run" / ".rows.csv.k3j2h1").write_bytes(b"row,id,pa")
    carry_out(tmp_path / "run")
    (tmp_path / "run" / ".rows.csv.k3j2h1").unlink()
    assert_same_bits(bytes_in(finished), bytes_in(tmp_path / "run"))
    assert latentmix.load(tmp_path / "run").classes_.tolist() == ["bar", "pillar", "square"]


def test_going_on_with_other_cores_or_versions_says_so(carry_out, tmp_path):
    def stop(event):
        if at_scoring(event):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", listener=stop)
    path = tmp_path / "run" / "environment.json"
    environment = json_of(path)
    environment["cores"] += 1
    path.write_text(json.dumps(environment))
    heard = []
    carry_out(tmp_path / "run", listener=heard.append)
    said = [event.message for event in heard if isinstance(event, Stage)]
    assert any("began with other cores" in message for message in said)
    assert json_of(path)["cores"] == environment["cores"] - 1


# Labels


def fitted(contents):
    """Return the bits that no label may change: what was trained, and where rows lie."""
    return {name: contents[name] for name in ("model/vae.safetensors", "latents.safetensors")}


def test_without_labels_everything_but_naming_and_accuracy_runs(unnamed, split_shapes, bytes_in):
    assert bytes_in(unnamed).keys() == FILES | {"manifest.json"}
    metrics = json_of(unnamed / "metrics.json")
    assert metrics["naming"] == {"rows": 0, "parts": [], "classes": []}
    for entry in metrics["scores"] + metrics["validation_scores"]:
        assert entry["labelled_rows"] == 0
        assert OF_LABELS.isdisjoint(entry)
    assert math.isfinite(metrics["test"]["elbo_mixture_prior"])
    rows, model = table(unnamed / "rows.csv"), latentmix.load(unnamed)
    assert {(row["label"], row["known_label"]) for row in rows} == {("", "")}
    np.testing.assert_array_equal(model.predict(split_shapes.X), column(rows, "cluster", int))
    np.testing.assert_allclose(
        model.predict_proba(split_shapes.X).max(axis=1),
        column(rows, "probability", float),
        atol=1e-4,
    )
    assert {row["class"] for row in table(unnamed / "figures" / "clusters.csv")} == {""}
    with pytest.raises(NotNamedError, match="latentmix label RUN"):
        model.predict_class(split_shapes.X)


def test_no_label_is_seen_by_the_fit(unnamed, split_shapes, carry_out, tmp_path, bytes_in):
    carry_out(tmp_path / "labelled", dataset=split_shapes)
    named = latentmix.load(tmp_path / "labelled")
    assert fitted(bytes_in(tmp_path / "labelled")) == fitted(bytes_in(unnamed))
    np.testing.assert_array_equal(named.mixture_.means_, latentmix.load(unnamed).mixture_.means_)
    assert named.classes_.tolist() == ["bar", "pillar", "square"]


def test_no_label_of_a_test_row_names_anything(split_shapes, carry_out, tmp_path, bytes_in):
    wrong = split_shapes.labels.copy()
    wrong[split_shapes.fixed_split.test] = (wrong[split_shapes.fixed_split.test] + 1) % 3
    right = carry_out(tmp_path / "right", dataset=split_shapes)
    other = carry_out(tmp_path / "wrong", dataset=replace(split_shapes, labels=wrong))
    for name in ("model/model.json", "model/mixture.safetensors"):
        assert bytes_in(tmp_path / "right")[name] == bytes_in(tmp_path / "wrong")[name]
    assert right["scores"][0]["accuracy_named"] == 1
    assert other["scores"][0]["accuracy_named"] == 0


def test_partly_labelled_rows_name_from_training_and_validation(split_shapes, carry_out, tmp_path):
    labels = np.full(120, -1)
    chosen = [0, 1, 2, 3, 84, 85, 102, 103, 104, 105, 106]
    labels[chosen] = split_shapes.labels[chosen]
    metrics = carry_out(tmp_path / "run", dataset=replace(split_shapes, labels=labels))
    assert metrics["naming"]["parts"] == ["train", "validation"]
    assert metrics["naming"]["rows"] == 6
    assert metrics["scores"][0]["labelled_rows"] == 5
    assert metrics["scores"][0]["accuracy_named"] == 1
    model = latentmix.load(tmp_path / "run")
    assert model.labelled_rows_.sum() == pytest.approx(6)
    named = model.predict_class(split_shapes.X)
    true = np.asarray(split_shapes.class_names)[split_shapes.labels]
    assert (named == true).mean() > 0.95
    known = column(table(tmp_path / "run" / "rows.csv"), "known_label")
    assert np.flatnonzero(known != "").tolist() == chosen


# What is refused


def test_a_finished_run_is_not_written_over(finished, carry_out, bytes_in):
    before = bytes_in(finished)
    with pytest.raises(WriteError, match="is not empty"):
        carry_out(finished)
    assert bytes_in(finished) == before


@pytest.mark.parametrize("other", ["seed", "recipe", "data", "labels"])
def test_another_run_is_not_mixed_with_one_that_was_stopped(
    shapes, carry_out, tmp_path, bytes_in, other
):
    def listener(event):
        if isinstance(event, Steps) and event.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        carry_out(tmp_path / "run", listener=listener)
    before = bytes_in(tmp_path)
    assert any(name.startswith("run/checkpoint-") for name in before)
    changed = shapes.X.copy()
    changed[0, 0] ^= 1
    dataset = {
        "data": replace(shapes, X=changed),
        "labels": replace(shapes, labels=(shapes.labels + 1) % 3),
    }.get(other, shapes)
    settings = ("mixture.tol=1e-3",) if other == "recipe" else ()
    with pytest.raises(WriteError, match="holds another run that did not end"):
        carry_out(tmp_path / "run", *settings, dataset=dataset, seed=int(other == "seed"))
    assert bytes_in(tmp_path) == before


BAD = {
    "too few rows": (
        lambda shapes: replace(shapes, X=shapes.X[:19], labels=None),
        (),
        (InputError, "holds 19 rows. Expected at least 20"),
    ),
    "more components than rows": (
        lambda shapes: shapes,
        ("mixture.n_components=85",),
        (InputError, r"n_components=85 is above the 84 training rows.*--set mixture\.n_compon"),
    ),
    "more reported components than rows": (
        lambda shapes: shapes,
        ("report.n_components=[3, 100]",),
        (InputError, "n_components=100 is above the 84 training rows"),
    ),
    "values outside the unit interval": (
        lambda shapes: replace(shapes, X=shapes.X.astype(np.float32)),
        ("vae.likelihood=bernoulli",),
        (InputError, r"needs \[0, 1\]. Rescale X"),
    ),
    "NaN": (
        lambda shapes: replace(shapes, X=np.full((120, 64), np.nan, np.float32)),
        ("vae.likelihood=gaussian",),
        (InputError, "NaN"),
    ),
    "a training that diverges": (
        lambda shapes: shapes,
        ("vae.learning_rate=1e30", "vae.schedule=constant"),
        (ParameterError, "lower learning_rate"),
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_leaves_no_folder_behind(shapes, carry_out, tmp_path, kind):
    change, settings, (error, match) = BAD[kind]
    with pytest.raises(error, match=match):
        carry_out(tmp_path / "run", *settings, dataset=change(shapes))
    assert list(tmp_path.iterdir()) == []


def test_bad_input_leaves_the_files_of_others(shapes, carry_out, tmp_path, bytes_in):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(WriteError, match=r"it holds 'thesis\.txt'"):
        carry_out(tmp_path, dataset=replace(shapes, X=shapes.X.astype(np.float32)))
    assert bytes_in(tmp_path) == {"thesis.txt": b"precious"}


def test_a_folder_that_cannot_be_made_is_said_before_any_training(carry_out, tmp_path):
    (tmp_path / "file").write_text("no folder")
    heard = []
    with pytest.raises(WriteError, match="cannot be made"):
        carry_out(tmp_path / "file" / "run", listener=heard.append)
    assert heard == []
