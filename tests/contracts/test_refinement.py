"""Network and mixture trained together: what an estimator with rounds promises."""

import copy

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

import latentmix
from latentmix import VAE, GaussianMixture, LatentMixture, Refinement
from latentmix.errors import InputError, ParameterError
from latentmix.estimators import rounds
from latentmix.estimators.teacher import principal_inputs
from latentmix.training.events import EpochEnd, Stage, Steps, StopTraining

SHORT = {"n_rounds": 2, "epochs": 2, "min_steps": 0, "classifier_rounds": 0}
EPOCHS = 8


def images(n_rows=150, seed=0):
    """Return bytes of three kinds of 8x8 images, and which is which."""
    random, kinds = np.random.RandomState(seed), np.arange(n_rows) % 3
    bright = np.zeros((3, 8, 8), int)
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 220
    noise = random.randint(0, 30, (n_rows, 8, 8))
    return (bright[kinds] + noise).astype(np.uint8).reshape(n_rows, 64), kinds


def unfitted(seed=0, *, n_components=3, vae=None, **refinement):
    asked = {
        "hidden_dims": (16,),
        "latent_dim": 2,
        "batch_size": 32,
        "max_epochs": EPOCHS,
        "min_steps": 0,
        "learning_rate": 1e-2,
    }
    return LatentMixture(
        n_components,
        vae=VAE(**{**asked, **(vae or {})}),
        mixture=GaussianMixture(covariance_type="diag"),
        refinement=Refinement(**{**SHORT, "image_shape": (8, 8), **refinement}),
        random_state=seed,
    )


@pytest.fixture(scope="module")
def fitted():
    """Return a model, the events of its fit, and its rows with their kinds."""
    events = []
    X, kinds = images()
    return unfitted().fit(X, listener=events.append), events, X, kinds


def same(one, other):
    for name in ("labels_", "latents_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(one.mixture_, name), getattr(other.mixture_, name))


def test_kinds_are_found_and_new_rows_answered(fitted):
    model, _, X, kinds = fitted
    pairs = set(zip(model.labels_.tolist(), kinds.tolist(), strict=True))
    assert len(pairs) == 3
    new, new_kinds = images(31, seed=1)
    found = model.predict(new)
    assert set(zip(found.tolist(), new_kinds.tolist(), strict=True)) <= pairs
    np.testing.assert_allclose(model.predict_proba(new).sum(axis=1), 1)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    named = clone(model).set_params(vae=model.vae)
    assert named.refinement.get_params() == model.refinement.get_params()


def test_the_mixture_is_that_of_the_latents(fitted):
    """Learned with the network: not the likeliest, but more so than one component can be."""
    model, _, X, _ = fitted
    mixture = model.mixture_
    assert (mixture.covariance_type, mixture.n_iter_, mixture.converged_) == ("diag", 0, True)
    assert mixture.lower_bound_ == pytest.approx(mixture.score(model.latents_))
    assert mixture.weights_.sum() == pytest.approx(1)
    one, em = (GaussianMixture(k, random_state=0).fit(model.latents_) for k in (1, 3))
    assert one.lower_bound_ + 0.5 < mixture.lower_bound_ < em.lower_bound_
    assert np.isfinite(model.score_samples(X)).all()


def test_anomalies_score_lower_and_samples_are_images(fitted):
    model, _, X, _ = fitted
    anomalies = np.random.RandomState(0).randint(0, 256, (20, 64)).astype(np.uint8)
    assert model.score_samples(anomalies).max() < model.score_samples(X).min()
    drawn = model.sample(5)
    assert drawn.shape == (5, 64)
    assert drawn.min() >= 0 and drawn.max() <= 1
    for component in range(3):
        again = model.predict(model.sample(40, component=component))
        assert np.mean(again == component) >= 0.9


def test_all_epochs_are_counted_from_the_first_on(fitted):
    model, events, _, _ = fitted
    expected = [(n, EPOCHS + 4) for n in range(1, EPOCHS + 5)]
    assert [(e.epoch, e.n_epochs) for e in events if isinstance(e, EpochEnd)] == expected
    assert [(e.epoch, e.n_epochs) for e in model.vae_.history_] == expected
    steps = [e for e in events if isinstance(e, Steps)]
    assert {e.n_epochs for e in steps} == {EPOCHS + 4}
    seconds = [e.seconds for e in steps]
    assert seconds == sorted(seconds)
    assert model.vae_.best_epoch_ == EPOCHS + 4
    rounds = [e.message for e in events if isinstance(e, Stage)]
    assert [message.split(":")[0] for message in rounds] == ["Round 1 of 2", "Round 2 of 2"]


def test_epochs_of_rounds_say_how_components_are_used(fitted):
    told = [record.components for record in fitted[0].vae_.history_]
    assert told[:EPOCHS] == [None] * EPOCHS
    for components in told[EPOCHS:]:
        assert sum(components.shares) == pytest.approx(1, rel=1e-4)
        assert 1 <= components.n_effective <= 3.001
        assert 0 <= components.entropy <= np.log(3)


def test_sharpness_and_balance_reach_the_training():
    """Of rows without kinds, which leave doubt."""
    X = np.random.RandomState(0).randint(0, 256, (150, 64)).astype(np.uint8)
    plain, sharp, even = (
        unfitted(agreement_weight=0.0, epochs=20, **weights).fit(X).vae_.history_[-1].components
        for weights in ({}, {"sharpness_weight": 30.0}, {"balance_weight": 30.0})
    )
    assert sharp.entropy < plain.entropy
    assert even.n_effective > plain.n_effective


def test_verbose_prints_the_epochs_of_rounds_too(capsys):
    X, _ = images(60)
    assert unfitted().set_params(verbose=1).fit(X).vae_.verbose == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    used = ["of 3 components in use, entropy" in line for line in lines]
    assert used == [False] * EPOCHS + [True] * 4
    assert [line.split(":")[0] for line in lines] == [f"Epoch {n}/12" for n in range(1, 13)]


def test_same_seed_same_bits_other_seed_other_bits(fitted):
    model, _, X, _ = fitted
    same(unfitted().fit(X), model)
    other = unfitted(seed=1).fit(X)
    assert not np.array_equal(other.latents_, model.latents_)


def test_load_of_save_gives_the_same_bits(fitted, tmp_path):
    model, _, X, _ = fitted
    model.save(tmp_path / "model")
    loaded = latentmix.load(tmp_path / "model")
    for name in ("transform", "predict_proba", "score_samples", "reconstruct"):
        np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(model, name)(X))
    assert loaded.refinement.get_params() == model.refinement.get_params()
    mixture = loaded.mixture_
    assert (mixture.n_iter_, mixture.converged_) == (0, True)
    assert mixture.lower_bound_ == model.mixture_.lower_bound_
    # What was loaded can be fitted again, as it was.
    same(loaded.fit(X), model)


def test_another_mixture_on_the_same_network_is_none_of_the_rounds(fitted):
    model, _, _, _ = fitted
    other = model.with_mixture(GaussianMixture(5, random_state=0), model.latents_, "z")
    assert other.refinement is None
    assert model.refinement is not None
    assert other.mixture_.n_iter_ > 0


def test_rows_are_warped_where_they_have_a_shape_and_there_are_warps(fitted):
    model, _, X, _ = fitted
    shapeless = unfitted(image_shape=None).fit(X)
    assert not np.array_equal(model.latents_, shapeless.latents_)
    same(unfitted(warps=None).fit(X), shapeless)
    same(unfitted(warps=np.zeros(6)).fit(X), shapeless)


def test_a_refinement_alone_is_enough():
    """The mixture that nobody gave is one that a network can be trained with."""
    X, kinds = images()
    model = unfitted().set_params(mixture=None).fit(X)
    assert model.mixture_.covariance_type == "diag"
    assert len(set(zip(model.labels_.tolist(), kinds.tolist(), strict=True))) == 3


def test_tables_of_numbers_are_taken():
    random, kinds = np.random.RandomState(0), np.arange(120) % 3
    X = 100 * np.eye(3)[kinds] @ random.randn(3, 5) + random.randn(120, 5)
    model = unfitted(image_shape=None, vae={"max_epochs": 20}).fit(X)
    assert model.vae_.likelihood_ == "gaussian"
    assert len(set(zip(model.labels_.tolist(), kinds.tolist(), strict=True))) == 3
    assert np.isfinite(model.score_samples(X)).all()
    assert model.sample(4).shape == (4, 5)


def test_the_first_graph_alone_looks_at_inputs_unless_it_is_told_not_to(fitted, monkeypatch):
    seen = []

    def looked(network, rows, numbers, seed):
        seen.append(len(numbers))
        return principal_inputs(network, rows, numbers, seed)

    monkeypatch.setattr(rounds, "principal_inputs", looked)
    model, _, X, kinds = fitted
    told_not_to = unfitted(input_weights=()).fit(X)
    assert not seen
    assert adjusted_rand_score(kinds, told_not_to.labels_) > 0.9
    again = unfitted().fit(X)
    same(again, model)
    assert seen == [len(X)]
    again.refine(X)
    assert len(seen) == 1


def test_inputs_of_several_kinds_are_compared_as_the_encoder_sees_them():
    random, kinds = np.random.RandomState(0), np.arange(120) % 2
    X = np.empty((120, 2), object)
    X[:, 0] = random.poisson(2 + 20 * kinds)
    X[:, 1] = np.where(kinds, "red", "blue")
    vae = {"likelihood": "mixed", "columns": ["count", "categorical"], "max_epochs": 20}
    asked = {"vae": vae, "image_shape": None, "n_neighbors": 8, "input_weights": [0.3]}
    model = unfitted(n_components=2, **asked).fit(X)
    assert adjusted_rand_score(kinds, model.labels_) > 0.9
    found = principal_inputs(model.vae_.network_, model.vae_._validated(X), np.arange(120), 0)
    colour = np.where(np.equal.outer(kinds, kinds), 0.0, np.sqrt(2.0))
    visits = np.log1p(X[:, 0].astype(float))
    apart = np.hypot(np.subtract.outer(visits, visits), colour)
    np.testing.assert_allclose(squareform(pdist(found)), apart, atol=1e-4)


def test_groups_of_a_mixture_are_those_that_em_finds(fitted):
    """With no weight on them and no learning they are all that a round leaves."""
    _, _, X, kinds = fitted
    events = []
    still = {"groups": "mixture", "n_rounds": 1, "learning_rate": 1e-12, "agreement_weight": 0}
    model = unfitted(**still).fit(X, listener=events.append)
    assert [e.message for e in events if isinstance(e, Stage)] == [
        "Round 1 of 1: groups of a mixture"
    ]
    assert len(set(zip(model.labels_.tolist(), kinds.tolist(), strict=True))) == 3
    latents = model.transform(X)
    groups = GaussianMixture(3, covariance_type="diag", random_state=0).fit_predict(latents)
    pairs = sorted(set(zip(model.labels_.tolist(), groups.tolist(), strict=True)))
    assert len(pairs) == 3
    means = np.array([latents[groups == group].mean(axis=0) for _, group in pairs])
    # Targets are certain but for a hundredth.
    np.testing.assert_allclose(model.mixture_.means_, means, atol=0.05 * np.abs(means).max())


def test_the_weight_of_the_kl_term_may_be_the_rounds_own(fitted):
    _, _, X, _ = fitted
    heavy, light = (unfitted(kl_weight=weight).fit(X) for weight in (4.0, 0.01))
    assert heavy.vae_.history_[-1].train.kl < light.vae_.history_[-1].train.kl
    theirs = unfitted(vae={"kl_weight": 0.5}).fit(X)
    same(theirs, unfitted(vae={"kl_weight": 0.5}, kl_weight=0.5).fit(X))


def test_more_rows_than_the_graph_holds_are_trained_on_without_a_group(fitted):
    _, _, X, kinds = fitted
    few = unfitted(max_graph_rows=100).fit(X)
    assert len(set(zip(few.labels_.tolist(), kinds.tolist(), strict=True))) == 3
    # Where all fit into it, how many more would is of no consequence.
    same(unfitted(max_graph_rows=150).fit(X), unfitted(max_graph_rows=10_000).fit(X))


def test_validation_rows_are_judged_in_every_round(fitted):
    X, held_out = fitted[2], images(30, seed=1)[0]
    model = unfitted().fit(X, validation_data=held_out)
    assert all(record.validation is not None for record in model.vae_.history_)
    # They teach nothing.
    same(model, fitted[0])


def test_a_listener_ends_the_part_under_way(fitted):
    X, heard = fitted[2], []

    def stop(event):
        heard.append(event)
        if isinstance(event, EpochEnd) and event.epoch == 3:
            raise StopTraining

    model = unfitted().fit(X, listener=stop)
    # The first three of eight, and then the rounds as they were asked for.
    assert [record.epoch for record in model.vae_.history_] == [1, 2, 3, 4, 5, 6, 7]
    assert heard[-1].n_epochs == 7
    assert np.isfinite(model.score_samples(X)).all()


def test_as_many_rows_as_components_are_taken():
    X, _ = images(3)
    model = unfitted().fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    np.testing.assert_allclose(model.mixture_.weights_.sum(), 1)


# Labels, and rounds after the first ones


def test_labels_of_a_few_rows_name_the_components_and_new_rows(fitted):
    _, _, X, kinds = fitted
    labels = np.full(len(X), -1)
    labels[:6] = kinds[:6]
    model = unfitted().fit(X, labels=labels)
    new, new_kinds = images(31, seed=1)
    np.testing.assert_array_equal(model.predict_class(new), new_kinds)


def test_labels_decide_which_rows_belong_together():
    """Of six places that lie alike, labels join two and two, others than would have been joined."""
    random, places = np.random.RandomState(0), np.arange(240) % 6
    X = 12 * np.eye(6)[places] + random.randn(240, 6)
    asked = {
        "image_shape": None,
        "n_rounds": 3,
        "epochs": 40,
        "agreement_weight": 10.0,
        "vae": {"max_epochs": 40, "latent_dim": 5},
    }
    named = unfitted(**asked).fit(X)
    found = [np.bincount(named.labels_[places == place]).argmax() for place in range(6)]
    pairs = np.empty(6, int)
    pairs[np.argsort(found, kind="stable")] = [0, 1, 2, 0, 1, 2]
    classes = pairs[places]
    labels = np.where(np.arange(240) < 60, classes, -1)
    taught = unfitted(**asked).fit(X, labels=labels)
    assert np.mean(taught.predict_class(X) == classes) > 0.95
    # Labels that come afterwards can only name what was found.
    assert np.mean(named.label(X, labels).predict_class(X) == classes) < 0.7


def test_refine_goes_on_from_where_the_model_is(fitted):
    model, _, X, _ = fitted
    before = {name: model.__dict__[name] for name in ("vae_", "latents_", "mixture_")}
    latents = before["latents_"].copy()
    other = copy.copy(model)
    events = []
    assert other.refine(X, listener=events.append) is other
    assert len(other.vae_.history_) == EPOCHS + 8
    assert [e.epoch for e in events if isinstance(e, EpochEnd)] == [13, 14, 15, 16]
    assert not np.array_equal(other.latents_, latents)
    np.testing.assert_array_equal(other.labels_, model.labels_)
    # The model that the copy was made of is as it was.
    assert all(model.__dict__[name] is value for name, value in before.items())
    np.testing.assert_array_equal(model.latents_, latents)
    assert len(model.vae_.history_) == EPOCHS + 4


def test_refine_learns_labels_and_takes_other_rounds(fitted):
    model, _, X, kinds = fitted
    labels = np.where(np.arange(len(X)) < 9, kinds, -1)
    other = copy.copy(model).refine(X, labels=labels, refinement=Refinement(n_rounds=1, epochs=1))
    np.testing.assert_array_equal(other.predict_class(X), kinds)
    assert not hasattr(model, "classes_")
    again = copy.copy(model).refine(X, labels=labels, refinement=Refinement(n_rounds=1, epochs=1))
    same(again, other)


def test_refine_takes_a_model_whose_mixture_was_fitted_by_em():
    X, kinds = images()
    model = unfitted().set_params(refinement=None, mixture=GaussianMixture()).fit(X)
    model.refine(X, refinement=Refinement(**SHORT, image_shape=(8, 8)))
    assert model.mixture_.covariance_type == "diag"
    assert len(set(zip(model.labels_.tolist(), kinds.tolist(), strict=True))) == 3


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 1], "labels has shape (2,) but X has 150 rows"), ([-1] * 150, "None of the 150 labels")],
)
def test_labels_that_cannot_be_are_refused_before_any_training(fitted, labels, expected):
    model, _, X, _ = fitted
    events = []
    for call in (unfitted().fit, copy.copy(model).refine):
        with pytest.raises(InputError) as refused:
            call(X, labels=labels, listener=events.append)
        assert expected in str(refused.value)
    assert not events


def test_the_last_rounds_ask_a_classifier_of_images(fitted):
    """Of as many rounds as asked, if rows are images; labels stand whatever it says."""
    model, _, X, kinds = fitted
    labels = np.where(np.arange(len(X)) < 30, kinds, -1)

    def asked(n_rounds, **settings):
        events = []
        how = Refinement(**{**SHORT, "n_rounds": n_rounds, "classifier_steps": 20, **settings})
        other = copy.copy(model).refine(X, labels=labels, refinement=how, listener=events.append)
        assert (other.predict_class(X) == kinds).mean() > 0.95
        stages = [event.message for event in events if isinstance(event, Stage)]
        return ["opinion" in stage for stage in stages if "opinion" in stage or "Round" in stage]

    shape = {"image_shape": (8, 8)}
    assert asked(3, classifier_rounds=2, **shape) == [False, False, True, False, True]
    assert asked(1, classifier_rounds=2, **shape) == [False, True]
    assert asked(2, **shape) == [False, False]
    assert asked(1, classifier_rounds=1) == [False]  # no images
    assert asked(1, classifier_rounds=1, warps=None, **shape) == [False]


# What is refused


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"n_rounds": 0}, "n_rounds=0"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": (4, 0)}, "epochs=0"),
        ({"epochs": None}, "epochs=None"),
        ({"epochs": [4, 8, 16]}, "holds 3 numbers"),
        ({"epochs": 2.5}, "epochs=2.5"),
        ({"min_steps": -1}, "min_steps=-1"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"agreement_weight": -1}, "agreement_weight=-1"),
        ({"sharpness_weight": -1}, "sharpness_weight=-1"),
        ({"balance_weight": "much"}, "balance_weight='much'"),
        ({"classifier_rounds": -1}, "classifier_rounds=-1"),
        ({"classifier_steps": 0}, "classifier_steps=0"),
        ({"n_neighbors": 0}, "n_neighbors=0"),
        ({"kl_weight": -1}, "kl_weight=-1"),
        ({"groups": "forest"}, "groups='forest'"),
        ({"n_walk_steps": (20, 0)}, "n_walk_steps=0"),
        ({"n_walk_steps": ()}, "n_walk_steps=()"),
        ({"n_walk_steps": 20}, "n_walk_steps=20"),
        ({"input_weights": (0.3, -0.1)}, "input_weights=-0.1"),
        ({"input_weights": 0.3}, "input_weights=0.3"),
        ({"evenness": -0.1}, "evenness=-0.1"),
        ({"evenness": "auto"}, "evenness='auto'"),
        ({"max_graph_rows": 99}, "max_graph_rows=99"),
        ({"warps": (0.1, 0.2)}, "holds 2 amounts"),
        ({"warps": (0.1, 11.5, 0.2, -0.1, 0.5, 0.0)}, "warps' scale=-0.1"),
        ({"warps": (0.1, 11.5, 0.2, 0.1, 1.5, 0.0)}, "warps' stroke=1.5"),
        ({"image_shape": (8, 9)}, "has 72 values but X has 64 features"),
        ({"image_shape": (64,)}, "image_shape=(64,)"),
        ({"image_shape": (2, 2, 4, 4)}, "image_shape=(2, 2, 4, 4)"),
        ({"agreement_weight": "much"}, "agreement_weight='much'"),
    ],
)
def test_a_parameter_outside_its_domain_is_refused_before_any_training(parameters, expected):
    events = []
    with pytest.raises(ParameterError) as refused:
        unfitted(**parameters).fit(images(30)[0], listener=events.append)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not events


@pytest.mark.parametrize(
    "mixture",
    [GaussianMixture(3), GaussianMixture("auto", covariance_type="diag")],
    ids=["full", "auto"],
)
def test_a_mixture_that_no_network_is_trained_with_is_refused(mixture):
    model = LatentMixture(mixture=mixture, refinement=Refinement(**SHORT))
    with pytest.raises(ParameterError, match="Expected 'diag' and a number"):
        model.fit(images(30)[0])
