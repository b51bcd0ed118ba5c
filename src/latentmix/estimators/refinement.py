"""How network and mixture are trained together: the parameters of a `LatentMixture`'s rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Final

from sklearn.base import BaseEstimator

from latentmix.errors import ParameterError
from latentmix.estimators.validation import check_choice, check_number
from latentmix.kernels.warp import Warps

# What a round may begin from, and how that is told.
GROUPS: Final = {"graph": "along a graph of neighbours", "mixture": "of a mixture"}


class Refinement(BaseEstimator):  # type: ignore[misc]  # scikit-learn carries no types
    """How a :class:`LatentMixture` trains its network and its mixture together.

    Parameters
    ----------
    n_rounds : int, default=5
        Graphs drawn, each followed by a training.
    epochs : int or pair of int, default=(4, 16)
        Passes over the rows in each; of a pair the second is for the last, whose network stays.
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
    input_weights : sequence of float, default=(0.0, 0.3, 3.0)
        Weights that are tried of neighbours in input space, along 50 principal components, beside
        those of the latents in the first round's graph, which is of a network that has seen no
        group yet. The groups that both graphs together speak for are taken. Where rows are no more
        numbers than the latents, those in input space count alone. Without any, (), input space is
        not looked at.
    n_walk_steps : sequence of int, default=(20, 5)
        Steps of the random walks on it that are tried: more of them see larger structure. The
        groups of largest modularity are taken.
    evenness : float, default=0.0
        For classes that are known to be about equally frequent: what the entropy of the groups'
        sizes along the graph weighs, beside squared distances of at most 4. 0.8 is a good value;
        of classes that are not, it halves the large ones.
    classifier_rounds : int, default=1
        In so many of the last rounds a classifier with convolutions is taught the groups, and
        overrules those that it does not believe. It looks at warped images, and is left out where
        rows are no images or `warps` is None.
    classifier_steps : int, default=6000
        Steps of its training.
    max_graph_rows : int, default=60_000
        Rows in the graph, drawn at random where there are more; the others are trained on without
        a group.
    warps : tuple of six floats, optional
        The most that an image is shifted (share of its side), turned (degrees), sheared, scaled
        (natural logarithm), its stroke changed ([0, 1]), and bent by half a wave (share of its
        side); None: images stay as they are.
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
        epochs: int | Sequence[int] = (4, 16),
        min_steps: int = 400,
        learning_rate: float = 1e-3,
        agreement_weight: float | str = "auto",
        sharpness_weight: float = 0.0,
        balance_weight: float = 0.0,
        kl_weight: float | None = None,
        groups: str = "graph",
        n_neighbors: int = 15,
        input_weights: Sequence[float] = (0.0, 0.3, 3.0),
        n_walk_steps: Sequence[int] = (20, 5),
        evenness: float = 0.0,
        classifier_rounds: int = 1,
        classifier_steps: int = 6000,
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
        self.input_weights = input_weights
        self.n_walk_steps = n_walk_steps
        self.evenness = evenness
        self.classifier_rounds = classifier_rounds
        self.classifier_steps = classifier_steps
        self.max_graph_rows = max_graph_rows
        self.warps = warps
        self.image_shape = image_shape

    def check_parameters(self) -> None:
        """Refuse a parameter outside its domain.

        Raises
        ------
        ParameterError
        """
        for name in ("n_rounds", "n_neighbors", "classifier_steps"):
            check_number(name, getattr(self, name), kind=Integral, least=1)
        self._epochs_before_and_in_the_last()
        check_walk_steps(self.n_walk_steps)
        for name in ("min_steps", "classifier_rounds"):
            check_number(name, getattr(self, name), kind=Integral, least=0)
        check_number("max_graph_rows", self.max_graph_rows, kind=Integral, least=100)
        check_number("learning_rate", self.learning_rate, above=0)
        if self.agreement_weight != "auto":
            check_number("agreement_weight", self.agreement_weight, least=0)
        for name in ("sharpness_weight", "balance_weight", "evenness"):
            check_number(name, getattr(self, name), least=0)
        if not isinstance(self.input_weights, list | tuple):
            raise ParameterError(
                f"input_weights={self.input_weights!r}. Expected a sequence of weights, such as "
                "(0, 0.3, 3), or an empty one."
            )
        for weight in self.input_weights:
            check_number("input_weights", weight, least=0)
        if self.kl_weight is not None:
            check_number("kl_weight", self.kl_weight, least=0)
        check_choice("groups", self.groups, GROUPS)
        if self.warps is not None and len(self.warps) != len(Warps._fields):
            raise ParameterError(
                f"warps={self.warps!r} holds {len(self.warps)} amounts. Expected "
                f"{len(Warps._fields)}: {', '.join(Warps._fields)}."
            )
        amounts = () if self.warps is None else self.warps
        for name, amount in zip(Warps._fields, amounts, strict=False):
            most = 1 if name == "stroke" else None
            check_number(f"warps' {name}", amount, least=0, most=most)
        if self.image_shape is not None and len(self.image_shape) not in (2, 3):
            raise ParameterError(
                f"image_shape={tuple(self.image_shape)} has {len(self.image_shape)} numbers. "
                "Expected (height, width) or (height, width, channels)."
            )

    def epochs_of_rounds(self, n_rows: int, batch_size: int) -> list[int]:
        """Return the passes over so many rows in each round."""
        n_batches = math.ceil(n_rows / min(batch_size, n_rows))
        least = math.ceil(self.min_steps / n_batches)
        each, last = self._epochs_before_and_in_the_last()
        return [max(epochs, least) for epochs in [each] * (self.n_rounds - 1) + [last]]

    def _epochs_before_and_in_the_last(self) -> tuple[int, int]:
        """Return the passes over the rows, or refuse what says none."""
        pair = self.epochs if isinstance(self.epochs, list | tuple) else (self.epochs, self.epochs)
        if len(pair) != 2:
            raise ParameterError(
                f"epochs={self.epochs!r} holds {len(pair)} numbers. Give one for all rounds, or "
                "two: of each round before the last, and of the last."
            )
        for epochs in pair:
            check_number("epochs", epochs, kind=Integral, least=1)
        return int(pair[0]), int(pair[1])


def check_walk_steps(n_walk_steps: Sequence[int]) -> None:
    """Refuse steps of walks that are no whole numbers above 0, and none at all.

    Raises
    ------
    ParameterError
    """
    if isinstance(n_walk_steps, Integral) or not len(n_walk_steps):
        raise ParameterError(
            f"n_walk_steps={n_walk_steps!r}. Expected the steps of one walk or more, such "
            "as (20, 5)."
        )
    for steps in n_walk_steps:
        check_number("n_walk_steps", steps, kind=Integral, least=1)
