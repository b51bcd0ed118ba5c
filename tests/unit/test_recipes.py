"""Recipes: shipped, from a file, with overrides; what is wrong with one is said in one line."""

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from latentmix import VAE, Refinement
from latentmix.errors import MissingError, RecipeError
from latentmix.estimators.latent_mixture import LATENTS
from latentmix.estimators.refinement import GROUPS
from latentmix.kernels.families import GAUSSIAN
from latentmix.kernels.warp import Warps
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.models.posteriors import HEADS
from latentmix.runs.recipe import (
    EVENNESS,
    Recipe,
    default_out,
    load_recipe,
    recipe_names,
    recipe_of,
)
from latentmix.training.em_start import INITIALISATIONS
from latentmix.training.schedules import SCHEDULES

*ALL_BUT_ONE, LAST = "auto", *LIKELIHOODS


def refusal(name_or_path, *overrides):
    """Return what is said of a recipe that is refused: one line that ends in a stop."""
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(name_or_path), overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    return message


def changed(recipe, other):
    """Return the dotted keys in which two recipes differ."""
    one, two = asdict(recipe), asdict(other)
    return {
        f"{section}.{key}"
        for section, values in one.items()
        if isinstance(values, dict)
        for key in values
        if values[key] != two[section][key]
    }


# Shipped recipes


def test_the_default_recipe_stands_first_among_the_shipped():
    assert recipe_names() == ("default", "few-labels", "quick", "seed", "seed-literal", "vade")


def test_auto_evenness_is_for_data_known_to_have_even_classes():
    recipe = load_recipe("default")
    assert recipe.refinement.evenness == "auto"
    assert recipe.knowing(even_classes=True).refinement.evenness == EVENNESS > 0
    assert recipe.knowing(even_classes=False).refinement.evenness == 0
    given = load_recipe("default", ["refinement.evenness=0.3"])
    for even_classes in (True, False):
        assert given.knowing(even_classes=even_classes) == given


def test_a_recipe_kept_before_there_were_settings_is_read_as_it_was():
    values = load_recipe("default").to_json()
    del values["refinement"]["evenness"], values["refinement"]["input_weights"]
    read = recipe_of(values).refinement
    assert (read.evenness, read.input_weights) == (0, [])


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_has_its_own_name_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description
    assert len({load_recipe(other).description for other in recipe_names()}) == len(recipe_names())


def test_the_seed_is_as_it_was_specified():
    vae = load_recipe("seed").vae
    assert (vae.latent_dim, vae.batch_size, vae.max_epochs) == (8, 32, 100)
    assert (vae.learning_rate, vae.kl_weight, vae.schedule) == (5e-4, 3.0, "constant")
    assert vae.min_steps == 0
    assert vae.hidden_dims == "auto"
    assert load_recipe("seed").mixture.n_components == 10
    assert load_recipe("seed").latent_mixture.latents == "z"


def test_the_literal_seed_keeps_architecture_and_loss_and_takes_relu_at_its_word():
    seed, literal = load_recipe("seed"), load_recipe("seed-literal")
    assert (literal.vae.heads, literal.vae.likelihood) == ("relu", "relu-bernoulli")
    kept = {"latent_dim", "hidden_dims", "kl_weight", "batch_size", "max_epochs", "learning_rate"}
    assert changed(seed, literal).isdisjoint(f"vae.{key}" for key in kept)
    assert literal.mixture.n_components == 10


def test_vade_is_as_its_authors_published_it():
    vade = load_recipe("vade")
    assert (vade.vae.hidden_dims, vade.vae.latent_dim) == ([500, 500, 2000], 10)
    assert (vade.vae.kl_weight, vade.vae.batch_size) == (0.0, 100)
    how = vade.refinement
    assert (how.n_rounds, how.epochs, how.learning_rate) == (1, 300, 2e-3)
    assert (how.groups, how.kl_weight, how.agreement_weight) == ("mixture", 1.0, 0.0)
    assert not any(asdict(vade.warps).values())
    assert vade.mixture.covariance_type == "diag"


def test_a_recipe_cannot_be_changed_in_place():
    recipe = load_recipe("default")
    with pytest.raises(FrozenInstanceError):
        recipe.vae.latent_dim = 3


# Overrides


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("vae.latent_dim=3", "vae", "latent_dim", 3),
        ("vae.latent_dim = 3", "vae", "latent_dim", 3),
        ("vae.kl_weight=2", "vae", "kl_weight", 2.0),
        ("vae.learning_rate=1e-4", "vae", "learning_rate", 1e-4),
        ("vae.hidden_dims=[64, 32]", "vae", "hidden_dims", [64, 32]),
        ("vae.likelihood=gaussian", "vae", "likelihood", "gaussian"),
        ('vae.likelihood="gaussian"', "vae", "likelihood", "gaussian"),
        ("vae.likelihood=relu-bernoulli", "vae", "likelihood", "relu-bernoulli"),
        ("mixture.init_params=k-means++", "mixture", "init_params", "k-means++"),
        ("data.label_column=a=b, c", "data", "label_column", "a=b, c"),
        ("data.unit_interval=true", "data", "unit_interval", True),
        ("data.channels=3", "data", "channels", 3),
        ("report.n_components=[7]", "report", "n_components", [7]),
        ("vae.hidden_dims=auto", "vae", "hidden_dims", "auto"),
        ("mixture.n_components=7", "mixture", "n_components", 7),
        ("refinement.n_rounds=0", "refinement", "n_rounds", 0),
        ("refinement.agreement_weight=3", "refinement", "agreement_weight", 3.0),
        ("warps.rotation=0", "warps", "rotation", 0.0),
        ("latent_mixture.latents=mean", "latent_mixture", "latents", "mean"),
    ],
)
def test_an_override_changes_one_value(override, section, key, value):
    plain, recipe = load_recipe("default"), load_recipe("default", [override])
    found = getattr(getattr(recipe, section), key)
    assert (found, type(found)) == (value, type(value))
    assert changed(plain, recipe) == {f"{section}.{key}"}


def test_of_two_overrides_the_later_one_holds():
    recipe = load_recipe("seed", ["vae.latent_dim=3", "mixture.tol=0", "vae.latent_dim=4"])
    assert (recipe.vae.latent_dim, recipe.mixture.tol) == (4, 0.0)
    assert recipe.vae.batch_size == 32


def test_name_and_description_are_keys_without_a_section():
    recipe = load_recipe("default", ["name=mine", "description=my own words"])
    assert (recipe.name, recipe.description) == ("mine", "my own words")


@pytest.mark.parametrize("override", ["vae.latent_dim", "latent dim", "=3", "vae.=3", "a.b.c=1"])
def test_an_override_that_assigns_nothing_shows_how(override):
    message = refusal("default", override)
    assert repr(override) in message
    assert "Expected section.key=value" in message


# What is wrong


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    message = refusal("seed-litteral")
    assert "recipe='seed-litteral' is unknown" in message
    assert all(repr(name) in message for name in recipe_names())
    assert "Did you mean 'seed-literal'?" in message
    assert "Did you mean" not in refusal("elephant")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("vae.latent_dims=3", "vae.latent_dim"),
        ("vae.covariance_type=diag", "mixture.covariance_type"),
        ("data.sise=28", "data.size"),
        ("descripton=x", "description"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(override, meant):
    message = refusal("default", override)
    assert f"the recipe key {override.partition('=')[0]!r} is unknown" in message
    assert message.endswith(f"Did you mean {meant!r}?")


def test_an_unknown_section_is_answered_with_the_nearest():
    message = refusal("default", "mixtures.tol=1")
    assert "the recipe key 'mixtures' is unknown" in message
    assert message.endswith("Did you mean 'mixture'?")


def test_an_unknown_key_in_a_file_names_file_and_key(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[mixture]\nn_component = 3\n")
    message = refusal(path)
    assert message.startswith(str(path))
    assert "'mixture.n_component' is unknown" in message
    assert message.endswith("Did you mean 'mixture.n_components'?")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("vae.likelihood=gausian", f"{', '.join(map(repr, ALL_BUT_ONE))} or {LAST!r}"),
        ("mixture.covariance_type=digonal", "'full', 'tied', 'diag', 'spherical' or 'factor'"),
        ("data.channels=2", "1 or 3"),
        ("vae.latent_dim=0", "greater than or equal to 1"),
        ("vae.latent_dim=1.5", "a valid integer"),
        ("vae.latent_dim=1e1", "a valid integer"),
        ('vae.latent_dim="8"', "a valid integer"),
        ("vae.latent_dim=true", "a valid integer"),
        ("vae.latent_dim=", "a valid integer"),
        ("vae.kl_weight=-1", "greater than or equal to 0"),
        ("vae.kl_weight=nan", "a finite number"),
        ("vae.kl_weight=inf", "a finite number"),
        ("vae.learning_rate=0", "greater than 0"),
        ("vae.hidden_dims=64", "a valid array"),
        ("report.n_components=[10, 0]", "greater than or equal to 1"),
        ("data.unit_interval=yes", "a valid boolean"),
        ("refinement.n_rounds=-1", "greater than or equal to 0"),
        ("refinement.max_graph_rows=99", "greater than or equal to 100"),
        ("warps.shift=-0.1", "greater than or equal to 0"),
        ("warps.stroke=1.5", "less than or equal to 1"),
        ("name=5", "a valid string"),
    ],
)
def test_a_value_that_a_key_does_not_accept_is_answered_with_what_it_does(override, expected):
    message = refusal("default", override)
    assert message.startswith(f"default: {override.partition('=')[0]}")
    assert "is not accepted" in message
    assert message.endswith(f"Expected {expected}.")


def test_no_empty_list_of_widths():
    assert "vae.hidden_dims=[] is not accepted" in refusal("default", "vae.hidden_dims=[]")


def test_a_value_in_the_place_of_a_section_is_refused():
    assert "vae is a section" in refusal("default", "vae=3")


# Files


def test_a_file_says_what_differs_and_is_named_after_itself(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("[vae]\nlatent_dim = 2\nlikelihood = 'gaussian'\n[mixture]\nn_components = 4\n")
    recipe = load_recipe(str(path), ["mixture.n_components=5"])
    assert recipe.name == "small"
    assert changed(load_recipe("default"), recipe) == {
        "vae.latent_dim",
        "vae.likelihood",
        "mixture.n_components",
    }
    assert recipe.mixture.n_components == 5


def test_a_name_in_the_file_is_kept(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text("name = 'tiny'\n")
    assert load_recipe(str(path)).name == "tiny"


@pytest.mark.parametrize("name", recipe_names())
def test_what_a_run_keeps_is_a_recipe_again(tmp_path, name):
    recipe = load_recipe(name, ["data.size=28", "vae.hidden_dims=[20, 10]"])
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert load_recipe(str(path)) == recipe
    assert recipe_of(json.loads(path.read_text())) == recipe


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingError, match=r"none\.toml cannot be read as a recipe: No such file"):
        load_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(MissingError, match="cannot be read as a recipe"):
        load_recipe(str(tmp_path / "folder.toml"))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.toml", b"[vae\n", "is no valid TOML"),
        ("a.toml", b"[vae]\nlatent_dim = 1\nlatent_dim = 2\n", "is no valid TOML"),
        ("a.toml", b"\xff\xfe", "is no valid TOML"),
        ("a.json", b"{", "is no valid JSON"),
        ("a.json", b"[1]", "holds a list. Expected sections of keys"),
        ("a.yaml", b"vae: {}", "A file ends in .toml or .json"),
    ],
)
def test_a_file_that_is_no_recipe_says_so(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path)
    assert str(path) in message
    assert expected in message


def test_a_kept_recipe_with_a_part_missing_is_refused():
    values = load_recipe("default").to_json()
    for section in [field.name for field in fields(Recipe)]:
        incomplete = {key: value for key, value in values.items() if key != section}
        with pytest.raises(RecipeError, match=rf"^recipe\.json: {section}"):
            recipe_of(incomplete)


@pytest.mark.parametrize("section", [None, "vae"])
def test_a_kept_recipe_with_a_key_of_another_version_is_refused(section):
    values = load_recipe("default").to_json()
    (values if section is None else values[section])["dropout"] = 0.5
    with pytest.raises(RecipeError, match=r"^recipe\.json: .*dropout"):
        recipe_of(values)


# Where a run goes


def test_a_run_gets_a_folder_that_is_not_taken(tmp_path):
    recipe = load_recipe("seed")
    expected = ["mnist-seed-seed3", "mnist-seed-seed3-2", "mnist-seed-seed3-3"]
    for name in expected:
        out = default_out(recipe, "mnist", 3, tmp_path)
        assert out == tmp_path / name
        assert not out.exists()
        out.mkdir()
    assert default_out(recipe, "mnist", 4, tmp_path) == tmp_path / "mnist-seed-seed4"


def test_a_runs_folder_stays_inside_runs_whatever_the_names():
    recipe = replace(load_recipe("default"), name="../my own/recipe")
    out = default_out(recipe, "a/../b c", 0)
    assert out.parent.parts == ("runs",)
    assert out.name == "a-..-b-c-..-my-own-recipe-seed0"


def test_the_quick_recipe_trains_as_the_vae_does_by_default():
    ours = asdict(load_recipe("quick").vae)
    assert ours["hidden_dims"] == "auto"
    ours["hidden_dims"] = None  # the estimator's word for it
    theirs = VAE().get_params()
    # A run has its own seed, validation rows and progress, and its data say what rows are.
    for name in ("random_state", "validation_fraction", "verbose", "columns", "image_shape"):
        del theirs[name]
    assert ours == theirs


def test_the_default_recipe_refines_as_the_estimator_does_by_default():
    recipe = load_recipe("default").knowing(even_classes=False)
    theirs = Refinement().get_params()
    assert Warps(**asdict(recipe.warps)) == Warps(*theirs.pop("warps")) == Warps()
    del theirs["image_shape"]  # the data's
    for name in ("epochs", "input_weights", "n_walk_steps"):
        theirs[name] = list(theirs[name])
    assert asdict(recipe.refinement) == theirs
    assert recipe.mixture.covariance_type == "diag"


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_the_same_after_a_round_through_json(name):
    """As what a run was asked for is kept, and compared when it is resumed."""
    recipe = asdict(load_recipe(name))
    assert json.loads(json.dumps(recipe)) == recipe


@pytest.mark.parametrize("name", ["quick", "seed", "seed-literal"])
def test_the_other_recipes_fit_the_mixture_after_the_network(name):
    recipe = load_recipe(name)
    assert recipe.refinement.n_rounds == 0
    assert recipe.mixture.covariance_type == "full"


@pytest.mark.parametrize(
    ("section", "key", "registry"),
    [
        ("vae", "likelihood", ["auto", *LIKELIHOODS]),
        ("vae", "heads", HEADS),
        ("vae", "schedule", SCHEDULES),
        ("mixture", "covariance_type", GAUSSIAN),
        ("mixture", "init_params", [name for name in INITIALISATIONS if name != "labels"]),
        ("latent_mixture", "latents", LATENTS),
        ("refinement", "groups", GROUPS),
    ],
)
def test_recipes_take_every_registered_name_and_no_other(section, key, registry):
    for name in registry:
        recipe = load_recipe("default", [f"{section}.{key}={name}"])
        assert asdict(recipe)[section][key] == name
    with pytest.raises(RecipeError):
        load_recipe("default", [f"{section}.{key}=nothing-so-called"])


def test_labels_teach_rounds_alone():
    assert load_recipe("few-labels").labels.teach
    said = refusal("few-labels", "refinement.n_rounds=0")
    assert "labels.teach=true but refinement.n_rounds=0" in said
