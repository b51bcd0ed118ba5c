"""The likelihood of tables whose columns differ: a sum over columns, each of its own kind.

Numbers have a Gaussian density with a learned variance, counts a negative binomial probability
with a learned dispersion, 0 and 1 a Bernoulli one, categories a softmax (the kinds of Nazabal,
Olmos, Ghahramani and Valera 2020, "Handling incomplete heterogeneous data using VAEs").
Outputs stand kind by kind: a number for each column, and for categories one for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.data.columns import Column
from latentmix.kernels.elbo import bernoulli_log_likelihood
from latentmix.models.likelihoods.counts import NegativeBinomial
from latentmix.models.likelihoods.gaussian import Gaussian

# A binary column that was always the same starts as if it were so in 99 of 100 rows.
NEAREST_TO_SURE = 0.01


class Mixed(eqx.Module):
    """Inputs are standardised numbers, counts, 0 or 1, and positions among a column's categories.

    Columns of as many categories share one softmax.
    """

    continuous: Gaussian
    counts: NegativeBinomial
    kinds: tuple[str, ...] = eqx.field(static=True)
    n_categories: tuple[int, ...] = eqx.field(static=True)

    domain = "columns"
    measure = "density"
    output_gain = 0.01

    def __init__(self, feature_means: Array, columns: Sequence[Column]) -> None:
        """Take what each column holds, (D,), beside the means."""
        self.kinds = tuple(column.kind for column in columns)
        self.n_categories = tuple(len(column.categories) for column in columns)
        self.continuous = Gaussian(feature_means[self._of("continuous")])
        self.counts = NegativeBinomial(feature_means[self._of("count")])

    def _of(self, kind: str) -> np.ndarray:
        """Return the numbers of the columns of a kind."""
        return np.flatnonzero(np.array(self.kinds) == kind)

    def _groups(self) -> list[tuple[int, np.ndarray]]:
        """Return numbers of categories, and the categorical columns that have so many."""
        categorical, n_categories = self._of("categorical"), np.array(self.n_categories)
        sizes = np.unique(n_categories[categorical]).tolist()
        return [(size, categorical[n_categories[categorical] == size]) for size in sizes]

    def encoded(self, x: Array) -> Array:
        """Return numbers, logarithms of counts, 0 or 1, and one-hot categories, (B, E)."""
        parts = [
            self.continuous.encoded(x[:, self._of("continuous")]),
            self.counts.encoded(x[:, self._of("count")]),
            x[:, self._of("binary")],
        ]
        for size, columns in self._groups():
            one_hot = jax.nn.one_hot(x[:, columns].astype(jnp.int32), size, dtype=x.dtype)
            parts.append(one_hot.reshape(len(x), -1))
        return jnp.concatenate(parts, axis=1)

    def initial_output_bias(self, feature_means: Array) -> Array:
        """Return each kind's own start: numbers and counts at their means, categories alike."""
        often = feature_means[self._of("binary")]
        often = jnp.clip(often, NEAREST_TO_SURE, 1 - NEAREST_TO_SURE)
        parts = [
            self.continuous.initial_output_bias(feature_means[self._of("continuous")]),
            self.counts.initial_output_bias(feature_means[self._of("count")]),
            jnp.log(often) - jnp.log1p(-often),
            jnp.zeros(sum(self.n_categories), feature_means.dtype),
        ]
        return jnp.concatenate(parts)

    def _parts(self, outputs: Array) -> tuple[Array, Array, Array, list[Array]]:
        """Return the outputs for numbers, counts and 0 or 1, and logits (B, columns, size)."""
        groups = self._groups()
        widths = [len(self._of(kind)) for kind in ("continuous", "count", "binary")]
        widths += [size * len(columns) for size, columns in groups]
        continuous, counts, binary, *rest = jnp.split(
            outputs, np.cumsum(widths)[:-1].tolist(), axis=1
        )
        logits = [
            part.reshape(len(outputs), len(columns), size)
            for part, (size, columns) in zip(rest, groups, strict=True)
        ]
        return continuous, counts, binary, logits

    def _joined(self, parts: Sequence[Array]) -> Array:
        """Return columns, kind by kind and group by group, in the table's order, (B, D)."""
        order = [self._of(kind) for kind in ("continuous", "count", "binary")]
        order += [columns for _, columns in self._groups()]
        joined = jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=1)
        return joined[:, np.argsort(np.concatenate(order))]

    def log_likelihood(self, x: Array, outputs: Array) -> Array:
        """Return the sum over columns: log densities of numbers, log-probabilities of the rest."""
        continuous, counts, binary, logits = self._parts(outputs)
        total = (
            self.continuous.log_likelihood(x[:, self._of("continuous")], continuous)
            + self.counts.log_likelihood(x[:, self._of("count")], counts)
            + bernoulli_log_likelihood(x[:, self._of("binary")], binary)
        )
        for (_, columns), part in zip(self._groups(), logits, strict=True):
            which = x[:, columns, None].astype(jnp.int32)
            log_p = jnp.take_along_axis(jax.nn.log_softmax(part), which, axis=2)
            total += jnp.sum(log_p, axis=(1, 2))
        return total

    def mean(self, outputs: Array) -> Array:
        """Return the means, and the most probable of categories."""
        continuous, counts, binary, logits = self._parts(outputs)
        parts = [self.continuous.mean(continuous), self.counts.mean(counts), jax.nn.sigmoid(binary)]
        return self._joined([*parts, *(jnp.argmax(part, axis=2) for part in logits)])

    def sample(self, outputs: Array, key: Array) -> Array:
        """Return a draw from p(x|z)."""
        continuous, counts, binary, logits = self._parts(outputs)
        keys = jax.random.split(key, 3 + len(logits))
        parts = [
            self.continuous.sample(continuous, keys[0]),
            self.counts.sample(counts, keys[1]),
            jax.random.bernoulli(keys[2], jax.nn.sigmoid(binary)),
        ]
        drawn = [
            jax.random.categorical(one, part, axis=2)
            for one, part in zip(keys[3:], logits, strict=True)
        ]
        return self._joined([*parts, *drawn])


class Categorical(Mixed):
    """`mixed` of tables whose columns are categorical, all of them: a probability."""

    measure = "mass"
