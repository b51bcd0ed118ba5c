"""The arithmetic of a benchmark's tables, and how methods are written and read."""

import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from latentmix.comparison.methods import METHODS
from latentmix.comparison.plans import method_of, plan_of
from latentmix.comparison.protocol import ValidationLabels, class_of_components
from latentmix.comparison.specs import Spec, read_choice, read_specs, separated
from latentmix.comparison.table import (
    TUNED,
    UNSUPERVISED,
    Row,
    RowFile,
    read_rows,
    spread_of,
    summarise,
    summary_markdown,
    write_summary,
)
from latentmix.errors import IntegrityError, LatentmixError, MissingError, ParameterError
from latentmix.runs.recipe import EVENNESS, recipe_names

ROW = Row(
    group=UNSUPERVISED,
    method="kmeans",
    data="digits",
    n_components=10,
    seed=0,
    accuracy=0.5,
    nmi=0.6,
    ari=0.4,
    named_accuracy=None,
    naming_labels=0,
    chosen="",
    criterion="",
    tuning_labels=0,
    nll=None,
    density="",
    fit_seconds=0.1,
    predict_seconds=0.01,
    peak_memory=1.5e8,
    predictions_sha256="p",
    train_sha256="t",
    test_sha256="u",
    method_sha256="m",
    request_sha256="r",
    versions="latentmix 0.1.0, python 3.11",
    machine="Linux",
)
METHOD = {"kind": "method", "name": "kmeans", "settings": {"n_init": 10}}


def test_a_spread_is_that_of_a_sample_and_its_ends_go_by_what_is_better():
    high = spread_of([0.1, 0.2, 0.6], highest_is_best=True)
    assert (high.best, high.worst) == (0.6, 0.1)
    assert high.mean == pytest.approx(0.3)
    assert high.sd == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))
    low = spread_of([0.1, 0.2, 0.6], highest_is_best=False)
    assert (low.best, low.worst) == (0.1, 0.6)
    assert spread_of([0.3], highest_is_best=True).sd is None


def test_rows_come_back_as_they_were_written(tmp_path):
    file = RowFile(tmp_path / "rows.csv")
    rows = [
        ROW,
        replace(ROW, seed=1, nll=math.pi, density="bound", named_accuracy=0.1 + 0.2),
        replace(ROW, group=TUNED, chosen='a "b", c', peak_memory=None),
    ]
    for row in rows:
        file.put(row)
    assert read_rows(tmp_path / "rows.csv") == rows
    assert RowFile(tmp_path / "rows.csv").holds("r")
    assert not file.holds("another")


def test_a_later_run_takes_the_place_of_the_same_method_data_and_seed(tmp_path):
    file = RowFile(tmp_path / "rows.csv")
    later = replace(ROW, accuracy=0.9, request_sha256="later")
    for row in (ROW, replace(ROW, seed=1), later):
        file.put(row)
    assert sorted(file.rows, key=lambda row: row.seed) == [later, replace(ROW, seed=1)]


def test_methods_are_kept_as_long_as_a_row_is_of_them(tmp_path):
    for method_sha256 in ("old", "new"):
        file = RowFile(tmp_path / "rows.csv")
        file.put(replace(ROW, method_sha256=method_sha256))
        file.keep_methods({method_sha256: METHOD, "not chosen": METHOD})
        assert RowFile(tmp_path / "rows.csv").methods == {method_sha256: METHOD}


def test_a_table_of_something_else_is_refused(tmp_path):
    (tmp_path / "methods.json").write_text("[1]")
    with pytest.raises(IntegrityError, match="no table of methods"):
        RowFile(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(IntegrityError, match="no table of runs"):
        read_rows(tmp_path / "rows.csv")


def test_a_summary_has_a_line_a_method_and_keeps_the_groups_apart(tmp_path):
    rows = [
        replace(ROW, method="tuned", group=TUNED, seed=0, accuracy=0.9, tuning_labels=270),
        replace(ROW, seed=0, accuracy=0.5, nll=10.0),
        replace(ROW, seed=1, accuracy=0.7, nll=12.0),
        replace(ROW, method="seed", seed=0, nll=3.0),
        replace(ROW, method="seed", seed=1, nll=None),
    ]
    found = write_summary(rows, tmp_path)
    assert [(one.group, one.method, one.seeds) for one in found] == [
        (UNSUPERVISED, "kmeans", 2),
        (UNSUPERVISED, "seed", 2),
        (TUNED, "tuned", 1),
    ]
    accuracy, nll = found[0].scores["accuracy"], found[0].scores["nll"]
    assert (accuracy.mean, accuracy.best, accuracy.worst) == (pytest.approx(0.6), 0.7, 0.5)
    assert (nll.best, nll.worst) == (10.0, 12.0)
    assert found[1].scores["nll"] is None, "a mean over some seeds would be one of others"
    text = (tmp_path / "summary.md").read_text()
    assert "| kmeans | 10 | 2 | 0.600 ± 0.141 (0.500 to 0.700) |" in text
    assert text.index("unsupervised") < text.index("validation-tuned")
    assert "by 270 validation labels" in text
    assert len((tmp_path / "summary.csv").read_text().splitlines()) == 4


def test_nats_of_two_kinds_have_no_mean():
    rows = [
        replace(ROW, nll=10.0, density="bound"),
        replace(ROW, seed=1, nll=100.0, density="cross entropy"),
    ]
    (found,) = summarise(rows)
    assert (found.scores["nll"], found.density) == (None, "")


def test_seeds_under_other_conditions_are_marked(tmp_path):
    rows = [
        ROW,
        replace(ROW, seed=1, versions="latentmix 0.2.0"),
        replace(ROW, method="seed"),
        replace(ROW, method="seed", seed=1),
        replace(ROW, group=TUNED, criterion="validation labels"),
        replace(ROW, group=TUNED, criterion="validation labels", seed=1, method_sha256="other"),
    ]
    assert [one.mixed for one in write_summary(rows, tmp_path)] == [True, False, False]
    text = (tmp_path / "summary.md").read_text()
    assert text.count("| kmeans * |") == 1
    assert text.count("An asterisk: not all seeds ran with the same") == 1


def test_components_that_differ_between_seeds_are_said_to():
    rows = [replace(ROW, n_components=10), replace(ROW, seed=1, n_components=20)]
    assert [one.n_components for one in summarise(rows)] == ["10 to 20"]
    assert "| 10 to 20 |" in summary_markdown(summarise(rows))


def test_methods_are_read_with_their_settings():
    assert read_specs(["kmeans, n2d:epochs=3", "seed", "kmeans"]) == (
        Spec("kmeans"),
        Spec("n2d", (("epochs", "3"),)),
        Spec("seed"),
    )
    (spec,) = read_specs(["default:vae.hidden_dims=[64,32]:vae.latent_dim=4"])
    assert spec.settings == (("vae.hidden_dims", "[64,32]"), ("vae.latent_dim", "4"))
    assert spec.label == "default:vae.hidden_dims=[64,32]:vae.latent_dim=4"
    assert read_specs(["C:/peer.py:epochs=1"])[0] == Spec("C:/peer.py", (("epochs", "1"),))
    assert separated(["digits,mnist", "digits"]) == ("digits", "mnist")


def test_a_choice_is_a_grid_or_several_methods():
    grid = read_choice("default:vae.latent_dim=8,12:vae.learning_rate=1e+3,1")
    assert [spec.label for spec in grid.alternatives] == [
        "default:vae.latent_dim=8:vae.learning_rate=1e+3",
        "default:vae.latent_dim=8:vae.learning_rate=1",
        "default:vae.latent_dim=12:vae.learning_rate=1e+3",
        "default:vae.latent_dim=12:vae.learning_rate=1",
    ]
    several = read_choice("default+seed:vae.latent_dim=4,8")
    assert [spec.name for spec in several.alternatives] == ["default", "seed", "seed"]
    for one in ("default", "default:vae.latent_dim=8", "default+default"):
        with pytest.raises(ParameterError, match="names one method"):
            read_choice(one)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("kmean", ParameterError, "Did you mean 'kmeans'"),
        ("sead", ParameterError, "Did you mean 'seed'"),
        ("kmeans:n_inits=3", ParameterError, "Did you mean 'n_init'"),
        ("kmeans:n_init=0", ParameterError, "kmeans:n_init=0 is not accepted"),
        ("kmeans:n_init=", ParameterError, "is not accepted"),
        ("kmeans:n_components=0", ParameterError, "n_components=0 is not accepted"),
        ("mixture:covariance_type=diagonal", ParameterError, "'diag'"),
        ("default:vae.latent_dims=3", ParameterError, "vae.latent_dim"),
        ("nowhere.py", MissingError, "cannot be read as a script"),
        ("nowhere.toml", MissingError, "cannot be read as a recipe"),
    ],
)
def test_what_is_unknown_is_said_in_a_sentence(text, error, said):
    with pytest.raises(error) as raised:
        plan_of(read_specs([text])[0], 10)
    assert isinstance(raised.value, LatentmixError)
    assert said in str(raised.value)


@pytest.mark.parametrize("name", [*METHODS, *recipe_names()])
def test_every_method_and_recipe_takes_the_number_of_classes(name, monkeypatch):
    monkeypatch.setattr("latentmix.comparison.plans.find_spec", lambda module: object())
    plan = plan_of(Spec(name), 7)
    assert plan.n_components == 7
    again = plan_of(Spec(name), 7)
    assert (plan.sha256, plan.record) == (again.sha256, again.record)
    key = "n_components" if name in METHODS else "mixture.n_components"
    assert plan_of(Spec(name, ((key, "20"),)), 7).n_components == 20
    assert method_of(plan.record) == method_of(again.record)


def test_a_recipe_is_told_whether_classes_are_even_and_says_so():
    even, free = (plan_of(Spec("default"), 7, even_classes=known) for known in (True, False))
    assert even.record["recipe"]["refinement"].pop("evenness") == EVENNESS
    assert free.record["recipe"]["refinement"].pop("evenness") == 0
    assert even.record == free.record


def test_a_method_whose_package_is_absent_says_what_to_install(monkeypatch):
    monkeypatch.setattr("latentmix.comparison.plans.find_spec", lambda module: None)
    with pytest.raises(ParameterError, match=r"pip install 'latentmix\[umap\]'"):
        plan_of(Spec("n2d"), 10)
    assert plan_of(Spec("kmeans"), 10).n_components == 10


def test_the_page_of_the_protocol_has_every_method_setting_and_column():
    text = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text(encoding="utf-8")
    for name, method in METHODS.items():
        assert f"| `{name}` |" in text
        for one in fields(method):
            assert f"`{one.name}=" in text, (name, one.name)
    for one in fields(Row):
        assert f"`{one.name}`" in text, one.name


def test_components_are_named_by_the_labels_of_validation_rows():
    found = np.array([0, 0, 0, 1, 1, 2])
    labels = ValidationLabels(np.array([1, 1, 0, 0, -1, -1]), 2)
    assert labels.n_known == 4
    # Component 2 has no labelled row, and gets the more frequent class: there are two of each.
    assert class_of_components(found, 4, labels)[:2].tolist() == [1, 0]
