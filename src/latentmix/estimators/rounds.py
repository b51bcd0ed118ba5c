"""Network and mixture trained together: a `LatentMixture`'s rounds.

A VAE keeps whatever tells images apart, how things are drawn as much as what. Each round asks the
latents which rows hang together, and trains the network so that the mixture sees it, too:

    graph      groups along the manifold of the latents (`kernels.diffusion`), from which the
               mixture begins: its weights, means and variances are those of the groups
    training   the ELBO with that mixture as prior (Jiang et al. 2017, VaDE), plus the cross
               entropy from each row's group to p(k|z); the encoder sees warped images, and the
               decoder tells the images as they were (as in IMSAT, Hu et al. 2017, and DynAE,
               Mrabah et al. 2020, for the clusters)

The next round's graph is drawn over latents in which the groups lie apart and warps no longer
count, and mends what the last one got wrong. What is left at the end is one model: the graph is
needed no more, and new rows are answered by encoder and mixture alone.

With groups from EM in place of the graph's, one round, and no weight on them beyond the start, this
is VaDE with its authors' settings: the recipe `vade`, which says what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Final, NamedTuple, Protocol, Self, TypeVar

import jax
import numpy as np

from latentmix.data import Rows, RowView
from latentmix.estimators.cluster_selection import ClusterSelection, settle_n_components
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.labels import KnownLabels
from latentmix.estimators.mixture import AUTO, STARTS
from latentmix.estimators.refinement import GROUPS, Refinement
from latentmix.estimators.teacher import (
    Grouped,
    groups_of,
    importance_of,
    moments_of,
    overruled,
    principal_inputs,
    targets_of,
)
from latentmix.estimators.vae import VAE, Keeper, nowhere
from latentmix.estimators.validation import check_image_shape
from latentmix.estimators.verbosity import print_epoch
from latentmix.kernels.warp import Warps
from latentmix.models.priors import MixturePrior, StandardNormal
from latentmix.training.classifier import Lessons, second_opinion
from latentmix.training.data_parallel import leads, of_first, said_by_first
from latentmix.training.events import EpochEnd, Event, Listener, Stage, Steps, all_of
from latentmix.training.shards import most_shard_rows
from latentmix.training.vae_loop import Save, Training, copied, run, start
from latentmix.training.vae_rule import Rule, named_keys

# Features for each nat of weight on the targets, under 'auto': 98 for MNIST's 784.
FEATURES_PER_AGREEMENT: Final = 8

Counted = TypeVar("Counted", bound=EpochEnd | Steps)


class RoundKeeper(Keeper, Protocol):
    """Keeps a training of several rounds on disk, each round's apart."""

    def of_round(self, number: int) -> Self:
        """Return the keeper of a round's training."""

    def opinion(self) -> np.ndarray | None:
        """Return the round's second opinion, if one is kept."""

    def save_opinion(self, proba: np.ndarray) -> None:
        """Keep it."""


class Course(NamedTuple):
    """Where a training stands among several, one after the other: the epochs of all are counted.

    Attributes
    ----------
    n_before, n_to_come : int
        Epochs of the trainings before it and after it.
    seconds_before : float
    """

    n_before: int = 0
    n_to_come: int = 0
    seconds_before: float = 0.0

    @classmethod
    def after(cls, history: Sequence[EpochEnd], n_to_come: int) -> Course:
        """Return the course of a training that goes on from a history."""
        return cls(len(history), n_to_come, history[-1].seconds if history else 0.0)

    def of(self, event: Counted) -> Counted:
        """Return an event of the training as one of the whole."""
        return replace(
            event,
            epoch=event.epoch + self.n_before,
            n_epochs=self.n_before + event.n_epochs + self.n_to_come,
            seconds=self.seconds_before + event.seconds,
        )

    def told(self, listener: Listener) -> Listener:
        """Return a listener to the training that tells another of the whole."""

        def tell(event: Event) -> None:
            listener(self.of(event) if isinstance(event, EpochEnd | Steps) else event)

        return tell


class Surroundings(NamedTuple):
    """What a training has besides its rows: rows to judge it by, who is told, who keeps it."""

    validation_data: Rows | None
    listener: Listener
    keeper: RoundKeeper | None


class Found(NamedTuple):
    """The mixture that the last round came to: weights (K,), means and variances (K, L).

    `selection` says how its number of components was chosen, None where that was given.
    """

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    selection: ClusterSelection | None

    @classmethod
    def of(cls, prior: MixturePrior, selection: ClusterSelection | None) -> Found:
        """Return a prior's mixture as NumPy has it, of weights that add up to 1."""
        weights = np.exp(np.asarray(prior.log_weights, np.float64))
        variances = np.exp(np.asarray(prior.log_variances, np.float64))
        means = np.asarray(prior.means, np.float64)
        return cls(weights / weights.sum(), means, variances, selection)

    def as_mixture(self, mixture: GaussianMixture, latents: np.ndarray) -> GaussianMixture:
        """Return this mixture as an estimator with another's parameters, fitted to latents (N, L).

        It was learned with the network, which EM on the finished latents knows nothing of: none of
        its iterations is taken.
        """
        start = dict(zip(STARTS, (self.weights, self.means, 1 / self.variances), strict=True))
        own = mixture.get_params()
        mixture.set_params(**start, max_iter=0).fit(latents)
        mixture.set_params(**own)
        mixture.lower_bound_ = mixture.score(latents)
        mixture.converged_ = True
        return mixture


def refined(
    vae: VAE,
    how: Refinement,
    X: Rows,
    mixture: GaussianMixture,
    seed: int,
    around: Surroundings,
    *,
    before: np.ndarray | None = None,
    known: KnownLabels | None = None,
) -> Found:
    """Train a VAE, then its network on with a mixture for its prior; return that mixture.

    Parameters
    ----------
    vae : VAE
        Not fitted yet, unless its rows have components. Its history is of all the trainings.
    how : Refinement
    X : (N, D)
        Rows as its `fit` takes them.
    mixture : GaussianMixture
        Not fitted: of so many diagonal components, and by such an EM where `how.groups` asks it.
        Of 'auto' components as many are chosen as the latents before the rounds have clusters.
    seed : int
    around : Surroundings
    before : (N,), optional
        The components of X's rows under a fitted VAE, from which the rounds go on.
    known : KnownLabels, optional
        Of rows of X: what their components are to be called.

    Raises
    ------
    InputError, ParameterError
        As :meth:`VAE.fit` does, and if `image_shape` is not that of a row.
    """
    if how.image_shape is not None:
        check_image_shape("warps need", how.image_shape, X.shape[1])
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=(how.n_rounds, 2))
    if vae.verbose:
        around = around._replace(listener=all_of(print_epoch, around.listener))
    epochs = how.epochs_of_rounds(len(X), int(vae.batch_size))
    if before is None:
        _fit_first(vae, X, around, Course(n_to_come=sum(epochs)))
    selection = None
    if mixture.n_components == AUTO:
        selection = _settled(mixture, vae, X, how, around.listener)
    rows = vae._prepared(X)
    held_out = around.validation_data
    held_out = None if held_out is None else vae._validated(held_out)
    group = partial(groups_of, how=how, mixture=mixture, known=known)
    inputs = None
    if len(how.input_weights) and before is None:
        inputs = partial(principal_inputs, vae.network_, rows, seed=seed)
    prior: MixturePrior | None = None
    for number, (graph_seed, training_seed) in enumerate(seeds.tolist(), start=1):
        around.listener(Stage(f"Round {number} of {how.n_rounds}: groups {GROUPS[how.groups]}"))
        within = around._replace(validation_data=held_out)
        if around.keeper is not None:
            within = within._replace(keeper=around.keeper.of_round(number))

        opinion = None
        if number > how.n_rounds - how.classifier_rounds:
            n_groups = int(mixture.n_components)
            opinion = partial(_after_second_opinion, rows, how, n_groups, training_seed, within)
        targets, mixture_now = _told(
            vae,
            X,
            partial(group, seed=graph_seed, inputs=inputs if number == 1 else None),
            int(mixture.n_components),
            before if prior is None else prior.most_probable,
            opinion,
        )
        training = _begun(vae, how, rows, epochs[number - 1], training_seed, mixture_now)
        training.targets = targets * importance_of(len(rows), known)[:, None]
        prior = _trained(
            vae,
            training,
            rows,
            within,
            Course.after(vae.history_, n_to_come=sum(epochs[number:])),
        )
    assert prior is not None  # there is one round or more
    return Found.of(prior, selection)


def _fit_first(vae: VAE, X: Rows, around: Surroundings, course: Course) -> None:
    """Fit the VAE, whose epochs are told and kept as the first of all."""
    verbose = vae.verbose
    told = around._replace(listener=course.told(around.listener))
    vae.set_params(verbose=0).fit(X, **told._asdict()).set_params(verbose=verbose)
    vae.history_ = [course.of(record) for record in vae.history_]


def _settled(
    mixture: GaussianMixture, vae: VAE, X: Rows, how: Refinement, listener: Listener
) -> ClusterSelection | None:
    """Choose the number of components for all processes; the first has the choice's record."""
    selection = settle_n_components(mixture, vae.transform(X), how, listener) if leads() else None
    n_components = of_first(np.int32(mixture.n_components if leads() else 0))
    mixture.set_params(n_components=int(n_components))
    return selection


def _told(
    vae: VAE,
    X: Rows,
    group: Callable[..., Grouped],
    n_groups: int,
    before: np.ndarray | Callable[[np.ndarray], np.ndarray] | None,
    opinion: Callable[[Grouped], Grouped] | None,
) -> tuple[np.ndarray, MixturePrior]:
    """Return what p(k|x) of the rows is to be, (N, K), and the mixture that a round begins with.

    Of several processes the first looks at the latents; all teach the classifier of an opinion.
    """
    latents = cache(lambda: vae.transform(X))

    def looked() -> dict[str, np.ndarray]:
        own = before(latents()) if callable(before) else before
        return group(latents(), before=own)._asdict()

    grouped = Grouped(**said_by_first(looked))
    if opinion is not None:
        grouped = opinion(grouped)
    targets = targets_of(grouped, len(X), n_groups)
    return targets, MixturePrior(**said_by_first(lambda: moments_of(latents(), targets)))


def _warps(how: Refinement) -> Warps | None:
    """Return how far images are warped; None: rows are no images, or no warps are asked for."""
    if how.image_shape is None or how.warps is None:
        return None
    return Warps(*map(float, how.warps))


def _after_second_opinion(
    rows: Rows, how: Refinement, n_groups: int, seed: int, around: Surroundings, grouped: Grouped
) -> Grouped:
    """Return groups as a classifier leaves them; those of what is no image, or stays as it is."""
    shape, warps, keeper = how.image_shape, _warps(how), around.keeper
    if shape is None or warps is None:
        return grouped
    kept = said_by_first(lambda: _opinion_kept(keeper))
    if kept:
        return overruled(grouped, kept["proba"])
    around.listener(Stage("A second opinion on the groups"))
    lessons = Lessons(tuple(map(int, shape)), n_groups, warps, int(how.classifier_steps))
    with jax.enable_x64(False):
        proba = second_opinion(
            RowView(rows, grouped.rows),
            grouped.groups,
            grouped.known,
            lessons,
            seed,
            around.listener,
        )
    if keeper is not None and leads():
        keeper.save_opinion(proba)
    return overruled(grouped, proba)


def _opinion_kept(keeper: RoundKeeper | None) -> dict[str, np.ndarray]:
    kept = None if keeper is None else keeper.opinion()
    return {} if kept is None else {"proba": kept}


def _begun(
    vae: VAE, how: Refinement, rows: Rows, n_epochs: int, seed: int, prior: MixturePrior
) -> Training:
    """Return a round's training before its first step, in memory of its own."""
    n_features, warps = rows.shape[1], _warps(how)
    weight = how.agreement_weight
    rule = Rule(
        batch_size=min(int(vae.batch_size), len(rows)),
        learning_rate=float(how.learning_rate),
        schedule="cosine",
        kl_weight=vae.kl_weight_ if how.kl_weight is None else float(how.kl_weight),
        kl_warmup=0.0,
        latent_dim=vae.architecture_.latent_dim,
        n_rows=len(rows),
        n_epochs=n_epochs,
        clip_norm=None if vae.clip_norm is None else float(vae.clip_norm),
        most_shard_rows=most_shard_rows(rows),
        binarise=vae._preparation.draws_anew,
        warps=warps if warps is not None and any(warps) else None,
        image_shape=None if how.image_shape is None else tuple(map(int, how.image_shape)),
        agreement_weight=n_features / FEATURES_PER_AGREEMENT if weight == "auto" else float(weight),
        sharpness_weight=float(how.sharpness_weight),
        balance_weight=float(how.balance_weight),
    )
    with jax.enable_x64(False):
        return start(rule, named_keys(seed), copied(vae.network_.with_prior(prior)))


def _trained(
    vae: VAE, training: Training, rows: Rows, around: Surroundings, course: Course
) -> MixturePrior:
    """Train for one round; the network and its history are the VAE's, the prior is returned."""
    save: Save = nowhere
    with jax.enable_x64(False):
        if around.keeper is not None:
            around.keeper.restore(training)
            save = around.keeper.save
        run(training, rows, around.validation_data, course.told(around.listener), save)
    prior = training.network.prior
    assert isinstance(prior, MixturePrior)
    vae.network_ = training.network.with_prior(StandardNormal())
    vae.history_ = [*vae.history_, *map(course.of, training.history)]
    vae.best_epoch_ = len(vae.history_)
    return prior
