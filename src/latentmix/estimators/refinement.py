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
is VaDE as it was published: the recipe `vade`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Final, NamedTuple, Protocol, Self, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.base import BaseEstimator, clone

from latentmix.data import Rows
from latentmix.errors import ParameterError
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.mixture import STARTS
from latentmix.estimators.vae import VAE, Keeper, nowhere
from latentmix.estimators.validation import check_choice, check_number
from latentmix.estimators.verbosity import print_epoch
from latentmix.kernels.diffusion import diffusion_clusters
from latentmix.kernels.warp import Warps
from latentmix.models.priors import MixturePrior, StandardNormal
from latentmix.training.events import EpochEnd, Event, Listener, Stage, Steps, all_of
from latentmix.training.shards import most_shard_rows
from latentmix.training.vae_loop import Save, Training, copied, run, start
from latentmix.training.vae_rule import Rule, named_keys

# The share of a row's target that is spread over all components: p(k|x) need not be certain.
DOUBT: Final = 0.01

# Features for each nat of weight on the targets, under 'auto': 98 for MNIST's 784.
FEATURES_PER_AGREEMENT: Final = 8

# What a round may begin from, and how that is told.
GROUPS: Final = {"graph": "along a graph of neighbours", "mixture": "of a mixture"}

Counted = TypeVar("Counted", bound=EpochEnd | Steps)


class RoundKeeper(Keeper, Protocol):
    """Keeps a training of several rounds on disk, each round's apart."""

    def of_round(self, number: int) -> Self:
        """Return the keeper of a round's training."""


class Refinement(BaseEstimator):  # type: ignore[misc]  # scikit-learn carries no types
    """How a :class:`LatentMixture` trains its network and its mixture together.

    Parameters
    ----------
    n_rounds : int, default=5
        Graphs drawn, each followed by a training.
    epochs : int, default=4
        Passes over the rows in each.
    min_steps : int, default=400
        On small data, so many epochs more that a round has at least so many batches.
    learning_rate : float, default=1e-3
        Adam's; falls to 0 along a cosine in each round.
    agreement_weight : float or 'auto', default='auto'
        Weight of the cross entropy from a row's group to p(k|z), in nats, beside the ELBO. Auto:
        an eighth of the number of features, as the ELBO grows with them.
    sharpness_weight : float, default=0.0
        Weight of the entropy of p(k|z), in nats: rows are to be certain.
    balance_weight : float, default=0.0
        Weight of the entropy of a batch's mean p(k|z), in nats, which is to be large: all
        components are to be used alike.
    kl_weight : float, optional
        Weight of the KL term to the mixture in the rounds; None: the VAE's.
    groups : {'graph', 'mixture'}, default='graph'
        What a round begins from: groups along a graph of neighbours, or the components of the
        mixture fitted to the latents by EM.
    n_neighbors : int, default=15
        Neighbours of each row in the graph.
    n_walk_steps : sequence of int, default=(20, 5)
        Steps of the random walks on it that are tried: more of them see larger structure. The
        groups of largest modularity are taken.
    max_graph_rows : int, default=60_000
        Rows in the graph, drawn at random where there are more; the others are trained on without
        a group.
    warps : tuple of five floats, optional
        The most that an image is shifted (share of its side), turned (degrees), sheared, scaled
        (natural logarithm), and its stroke changed ([0, 1]); None: images stay as they are.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of the rows; without it nothing is warped.

    Examples
    --------
    >>> from latentmix import LatentMixture, Refinement
    >>> model = LatentMixture(10, refinement=Refinement(image_shape=(28, 28)))
    """

    def __init__(
        self,
        *,
        n_rounds: int = 5,
        epochs: int = 4,
        min_steps: int = 400,
        learning_rate: float = 1e-3,
        agreement_weight: float | str = "auto",
        sharpness_weight: float = 0.0,
        balance_weight: float = 0.0,
        kl_weight: float | None = None,
        groups: str = "graph",
        n_neighbors: int = 15,
        n_walk_steps: Sequence[int] = (20, 5),
        max_graph_rows: int = 60_000,
        warps: Sequence[float] | None = tuple(Warps()),
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.n_rounds = n_rounds
        self.epochs = epochs
        self.min_steps = min_steps
        self.learning_rate = learning_rate
        self.agreement_weight = agreement_weight
        self.sharpness_weight = sharpness_weight
        self.balance_weight = balance_weight
        self.kl_weight = kl_weight
        self.groups = groups
        self.n_neighbors = n_neighbors
        self.n_walk_steps = n_walk_steps
        self.max_graph_rows = max_graph_rows
        self.warps = warps
        self.image_shape = image_shape

    def check_parameters(self) -> None:
        """Refuse a parameter outside its domain.

        Raises
        ------
        ParameterError
        """
        for name in ("n_rounds", "epochs", "n_neighbors"):
            check_number(name, getattr(self, name), kind=Integral, least=1)
        if isinstance(self.n_walk_steps, Integral) or not len(self.n_walk_steps):
            raise ParameterError(
                f"n_walk_steps={self.n_walk_steps!r}. Expected the steps of one walk or more, such "
                "as (20, 5)."
            )
        for steps in self.n_walk_steps:
            check_number("n_walk_steps", steps, kind=Integral, least=1)
        check_number("min_steps", self.min_steps, kind=Integral, least=0)
        check_number("max_graph_rows", self.max_graph_rows, kind=Integral, least=100)
        check_number("learning_rate", self.learning_rate, above=0)
        if self.agreement_weight != "auto":
            check_number("agreement_weight", self.agreement_weight, least=0)
        for name in ("sharpness_weight", "balance_weight"):
            check_number(name, getattr(self, name), least=0)
        if self.kl_weight is not None:
            check_number("kl_weight", self.kl_weight, least=0)
        check_choice("groups", self.groups, GROUPS)
        if self.warps is not None and len(self.warps) != len(Warps._fields):
            raise ParameterError(
                f"warps={self.warps!r} holds {len(self.warps)} amounts. Expected "
                f"{len(Warps._fields)}: {', '.join(Warps._fields)}."
            )
        for name, amount in zip(Warps._fields, self.warps or (), strict=False):
            most = 1 if name == "stroke" else None
            check_number(f"warps' {name}", amount, least=0, most=most)
        if self.image_shape is not None and len(self.image_shape) not in (2, 3):
            raise ParameterError(
                f"image_shape={tuple(self.image_shape)} has {len(self.image_shape)} numbers. "
                "Expected (height, width) or (height, width, channels)."
            )

    def epochs_a_round(self, n_rows: int, batch_size: int) -> int:
        """Return the passes over so many rows in one round."""
        n_batches = math.ceil(n_rows / min(batch_size, n_rows))
        return max(int(self.epochs), math.ceil(self.min_steps / n_batches))


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
    """The mixture that the last round came to: weights (K,), means and variances (K, L)."""

    weights: np.ndarray
    means: np.ndarray
    variances: np.ndarray

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
    vae: VAE, how: Refinement, X: Rows, mixture: GaussianMixture, seed: int, around: Surroundings
) -> Found:
    """Train a VAE, then its network on with a mixture for its prior; return that mixture.

    Parameters
    ----------
    vae : VAE
        Not fitted yet. Its history is of all the trainings.
    how : Refinement
    X : (N, D)
        Rows as its `fit` takes them.
    mixture : GaussianMixture
        Not fitted: of so many diagonal components, and by such an EM where `how.groups` asks it.
    seed : int
    around : Surroundings

    Raises
    ------
    InputError, ParameterError
        As :meth:`VAE.fit` does, and if `image_shape` is not that of a row.
    """
    _check_image_shape(how, X.shape[1])
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=(how.n_rounds, 2))
    if vae.verbose:
        around = around._replace(listener=all_of(print_epoch, around.listener))
    a_round = how.epochs_a_round(len(X), int(vae.batch_size))
    _fit_first(vae, X, around, Course(n_to_come=a_round * how.n_rounds))
    rows = vae._prepared(X)
    held_out = around.validation_data
    held_out = None if held_out is None else vae._prepared(held_out)
    prior: MixturePrior | None = None
    for number, (graph_seed, training_seed) in enumerate(seeds.tolist(), start=1):
        around.listener(Stage(f"Round {number} of {how.n_rounds}: groups {GROUPS[how.groups]}"))
        latents = vae.transform(X)
        targets = groups_of(latents, how, mixture, graph_seed)
        training = _begun(vae, how, rows, training_seed, mixture_of(latents, targets))
        training.targets = targets
        keeper = None if around.keeper is None else around.keeper.of_round(number)
        prior = _trained(
            vae,
            training,
            rows,
            around._replace(validation_data=held_out, keeper=keeper),
            Course.after(vae.history_, n_to_come=a_round * (how.n_rounds - number)),
        )
    assert prior is not None  # there is one round or more
    weights = np.exp(np.asarray(prior.log_weights, np.float64))
    variances = np.exp(np.asarray(prior.log_variances, np.float64))
    return Found(weights / weights.sum(), np.asarray(prior.means, np.float64), variances)


def _fit_first(vae: VAE, X: Rows, around: Surroundings, course: Course) -> None:
    """Fit the VAE, whose epochs are told and kept as the first of all."""
    verbose = vae.verbose
    told = around._replace(listener=course.told(around.listener))
    vae.set_params(verbose=0).fit(X, **told._asdict()).set_params(verbose=verbose)
    vae.history_ = [course.of(record) for record in vae.history_]


def groups_of(
    latents: Float[np.ndarray, "N L"], how: Refinement, mixture: GaussianMixture, seed: int
) -> Float[np.ndarray, "N K"]:
    """Return what p(k|x) is to be, from as many groups as the mixture has components.

    Rows outside the graph have zeros.
    """
    n_components = int(mixture.n_components)
    if how.groups == "mixture":
        em = clone(mixture).set_params(random_state=seed)
        return targets_of(em.fit(latents).predict(latents), n_components)
    random = np.random.RandomState(seed)
    n_rows = len(latents)
    chosen = np.arange(n_rows)
    if n_rows > how.max_graph_rows:
        chosen = np.sort(random.permutation(n_rows)[: how.max_graph_rows])
    groups = diffusion_clusters(
        latents[chosen].astype(np.float64),
        n_components,
        int(random.randint(2**31 - 1)),
        int(how.n_neighbors),
        tuple(map(int, how.n_walk_steps)),
    )
    targets = np.zeros((n_rows, n_components), np.float32)
    targets[chosen] = targets_of(groups, n_components)
    return targets


def targets_of(groups: Int[np.ndarray, " N"], n_components: int) -> Float[np.ndarray, "N K"]:
    """Return what p(k|x) is to be: the row's group, certain but for a little doubt."""
    targets = np.full((len(groups), n_components), DOUBT / n_components, np.float32)
    targets[np.arange(len(groups)), groups] += 1 - DOUBT
    return targets


def mixture_of(
    latents: Float[np.ndarray, "N L"], targets: Float[np.ndarray, "N K"]
) -> MixturePrior:
    """Return the mixture whose components are the groups: EM's maximisation with these shares."""
    shares, z = targets.astype(np.float64), latents.astype(np.float64)
    counts = shares.sum(axis=0)
    means = shares.T @ z / counts[:, None]
    variances = shares.T @ z**2 / counts[:, None] - means**2
    return MixturePrior(counts / counts.sum(), means, np.maximum(variances, 0.0))


def _begun(vae: VAE, how: Refinement, rows: Rows, seed: int, prior: MixturePrior) -> Training:
    """Return a round's training before its first step, in memory of its own."""
    n_features = rows.shape[1]
    weight = how.agreement_weight
    warps = how.warps if how.image_shape is not None and how.warps else None
    rule = Rule(
        batch_size=min(int(vae.batch_size), len(rows)),
        learning_rate=float(how.learning_rate),
        schedule="cosine",
        kl_weight=vae.kl_weight_ if how.kl_weight is None else float(how.kl_weight),
        kl_warmup=0.0,
        latent_dim=vae.architecture_.latent_dim,
        n_rows=len(rows),
        n_epochs=how.epochs_a_round(len(rows), int(vae.batch_size)),
        clip_norm=None if vae.clip_norm is None else float(vae.clip_norm),
        most_shard_rows=most_shard_rows(rows),
        warps=None if warps is None else Warps(*(float(amount) for amount in warps)),
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


def _check_image_shape(how: Refinement, n_features: int) -> None:
    if how.image_shape is not None and math.prod(how.image_shape) != n_features:
        raise ParameterError(
            f"image_shape={tuple(how.image_shape)} has {math.prod(how.image_shape)} values but X "
            f"has {n_features} features. Give the shape of one row's image, or None for a table."
        )
