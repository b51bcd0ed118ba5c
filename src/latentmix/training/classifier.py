"""A classifier of images with convolutions: a second opinion on what a round's groups say of rows.

Groups of latents are wrong where the latents are. A network of another kind, taught the same
groups, errs elsewhere (co-training, Blum and Mitchell 1998), if it can leave those it does not
believe. So each step shows it rows under wide warps, with their groups:

    at first    all of them
    then        those that it answers so itself under gentle warps, about as confidently as rows
                of that group on average (two warps as in FixMatch, Sohn et al. 2020; what it doubts
                left out as in co-teaching, Han et al. 2018; a measure for each group, so that those
                it learns late are not left out for good, as in FlexMatch, Zhang et al. 2021)

and beside them rows whose group is known, of which a step has a fifth. Its answers are the second
opinion, which the round's network learns; the classifier itself is needed no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, Shaped

from latentmix.data import Rows
from latentmix.kernels import consistency
from latentmix.kernels.warp import N_AMOUNTS, Warps, warped
from latentmix.models.blocks import map_blocks
from latentmix.models.convolution import convolutional_trunks
from latentmix.models.mlp import Dense, Trunk
from latentmix.models.vae import prepare
from latentmix.training.adam import scale_by_adam
from latentmix.training.data_parallel import Replicas, all_there, most, said_by_first
from latentmix.training.events import ClassifierSteps, Listener, StopTraining, nobody
from latentmix.training.schedules import learning_rate

# Its layers: two convolutions, and one dense.
CHANNELS: Final = (16, 32)
WIDTH: Final = 256

LEARNING_RATE: Final = 1e-3
ROWS_PER_STEP: Final = 256
KNOWN_ROWS_PER_STEP: Final = 64

# After so many steps listeners are told.
STEPS_TOLD: Final = 20

# The share of the steps in which it believes all that it is told. Then it believes rows whose group
# it gives so much, at least, of what it gives a step's rows of that group on average.
BELIEVING: Final = 0.3
CONFIDENCE: Final = 0.95

# How far images are warped, as multiples of a round's warps.
GENTLE: Final = 0.5
WIDE: Final = 1.5


@dataclass(frozen=True)
class Lessons:
    """What is taught how: images of a shape, so many groups, warps, and the number of steps."""

    image_shape: tuple[int, ...]
    n_groups: int
    warps: Warps
    n_steps: int

    def times(self, factor: float) -> Warps:
        """Return wider warps, or gentler; a stroke goes no further than all the way."""
        warps = Warps(*(factor * amount for amount in self.warps))
        return warps._replace(stroke=min(1.0, warps.stroke))


class Classifier(eqx.Module):
    """Convolutions, a dense layer, and the logarithms of p(k|x)."""

    trunk: Trunk
    head: Dense

    def __init__(self, lessons: Lessons, key: Array) -> None:
        """Draw its weights."""
        *keys, head_key = jax.random.split(key, 4)
        trunks = convolutional_trunks(
            lessons.image_shape, CHANNELS, (WIDTH,), 1, jnp.stack(keys), gain=1.0
        )
        self.trunk = trunks.encoder
        self.head = Dense(WIDTH, lessons.n_groups, head_key, gain=1.0)

    def __call__(self, x: Float[Array, "B D"]) -> Float[Array, "B K"]:
        """Return log p(k|x)."""
        return jax.nn.log_softmax(self.head(self.trunk(x)))


# The classifier and Adam's state.
Learned = tuple[Classifier, optax.OptState]


class Batch(NamedTuple):
    """A step's rows and the groups they are said to be in, and rows whose group is known."""

    rows: Shaped[Array, "B D"]
    groups: Int[Array, " B"]
    known_rows: Shaped[Array, "M D"]
    known_groups: Int[Array, " M"]


class Images(NamedTuple):
    """A batch's images under gentle and under wide warps, and known ones under wide warps."""

    gentle: Float[Array, "B D"]
    wide: Float[Array, "B D"]
    known: Float[Array, "M D"]


def second_opinion(
    rows: Rows,
    groups: Int[np.ndarray, " N"],
    known: Int[np.ndarray, " M"],
    lessons: Lessons,
    seed: int,
    listener: Listener = nobody,
) -> Float[np.ndarray, "N K"]:
    """Teach a classifier groups of rows, and return its own p(k|x) of them.

    Parameters
    ----------
    rows : (N, D)
        Images in the network's units, or bytes.
    groups : (N,)
    known : (M,)
        The numbers of rows whose group is beyond doubt, which it is shown more often; or none.
    lessons : Lessons
    seed : int
    listener : callable
        Told of `ClassifierSteps`; ends the lessons by raising `StopTraining`.
    """
    random, key, replicas = np.random.RandomState(seed), jax.random.key(seed), Replicas()
    classifier = Classifier(lessons, jax.random.fold_in(key, lessons.n_steps))
    state = _adam(lessons).init(eqx.filter(classifier, eqx.is_inexact_array))
    learned = replicas.everywhere((classifier, state))
    n_rows, n_known = min(ROWS_PER_STEP, len(rows)), min(KNOWN_ROWS_PER_STEP, len(known))
    began = time.perf_counter()
    for step in range(lessons.n_steps):
        # In ascending order, as rows on the disk are read best.
        chosen = np.sort(random.randint(len(rows), size=n_rows))
        shown = known[random.randint(len(known), size=n_known)] if n_known else known
        batch = Batch(
            replicas.rows(rows, chosen),
            replicas.rows(groups, chosen),
            replicas.rows(rows, shown),
            replicas.rows(groups, shown),
        )
        believing = step < BELIEVING * lessons.n_steps
        warp_key = replicas.everywhere(jax.random.fold_in(key, step))
        with all_there():
            images = _images(lessons, batch, warp_key)
            believed = None if believing else _believed(learned[0], images.gentle, batch.groups)
            learned = _step(replicas.alike)(lessons, learned, images, batch, believed)
        done = step + 1
        if done % STEPS_TOLD == 0 or done == lessons.n_steps:
            stop = False
            try:
                listener(ClassifierSteps(done, lessons.n_steps, time.perf_counter() - began))
            except StopTraining:
                stop = True
            if most(stop):
                break
    classifier, _ = replicas.here(learned)
    return said_by_first(lambda: {"proba": map_blocks(_answers, classifier, rows)})["proba"]


def _adam(lessons: Lessons) -> optax.GradientTransformation:
    rate = learning_rate("cosine", LEARNING_RATE, 0.0, lessons.n_steps)
    return optax.chain(scale_by_adam(), optax.scale_by_learning_rate(rate))


@partial(jax.jit, static_argnums=0)
def _images(lessons: Lessons, batch: Batch, key: Array) -> Images:
    """Warp a batch's images."""

    def shown(rows: Array, factor: float, key: Array) -> Array:
        if not len(rows):
            return prepare(rows)
        amounts = jax.random.uniform(key, (len(rows), N_AMOUNTS), jnp.float32, -1, 1)
        return warped(prepare(rows), amounts, lessons.times(factor), lessons.image_shape)

    keys = jax.random.split(key, 3)
    return Images(
        shown(batch.rows, GENTLE, keys[0]),
        shown(batch.rows, WIDE, keys[1]),
        shown(batch.known_rows, WIDE, keys[2]),
    )


@jax.jit
def _believed(
    classifier: Classifier, x: Float[Array, "B D"], groups: Int[Array, " B"]
) -> Bool[Array, " B"]:
    """Return which rows' groups it answers so itself."""
    return _agrees(jnp.exp(classifier(x)), groups)


@cache
def _step(alike: NamedSharding | None) -> Callable[..., Learned]:
    """Return a step compiled, for all devices that hold the classifier alike.

    One step a call, of images that are warped already: XLA for processors takes ten times as long
    over a convolution's derivatives within a loop, and half as long again beside warps.
    """
    return jax.jit(_stepped, static_argnums=0, donate_argnums=1, out_shardings=alike)


def _stepped(
    lessons: Lessons,
    learned: Learned,
    images: Images,
    batch: Batch,
    believed: Bool[Array, " B"] | None,
) -> Learned:
    """Take a step with the rows that are believed; None: with all of them."""
    classifier, state = learned
    parameters, rest = eqx.partition(classifier, eqx.is_inexact_array)

    def loss(parameters: Classifier) -> Array:
        """Return the mean cross entropy of believed rows, and that of known ones, in nats."""
        classifier = eqx.combine(parameters, rest)

        def losses(x: Array, groups: Array) -> Array:
            targets = jax.nn.one_hot(groups, lessons.n_groups)
            return consistency.cross_entropy(targets, classifier(x))

        of_rows = losses(images.wide, batch.groups)
        total = jnp.mean(of_rows if believed is None else believed * of_rows)
        if len(images.known):
            total += jnp.mean(losses(images.known, batch.known_groups))
        return total

    updates, state = _adam(lessons).update(jax.grad(loss)(parameters), state)
    return eqx.combine(optax.apply_updates(parameters, updates), rest), state


def _agrees(proba: Float[Array, "B K"], groups: Int[Array, " B"]) -> Bool[Array, " B"]:
    """Return which rows' groups are about as probable as those of their groups' rows are."""
    of_group = jax.nn.one_hot(groups, proba.shape[1])
    given = jnp.sum(of_group * proba, axis=1)
    average = given @ of_group / jnp.maximum(jnp.sum(of_group, axis=0), 1.0)
    return given > CONFIDENCE * average[groups]


@jax.jit
def _answers(classifier: Classifier, rows: Array) -> Float[Array, "B K"]:
    return jnp.exp(classifier(prepare(rows)))
