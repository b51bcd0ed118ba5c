"""Anomaly scores: how rare is what a fitted model has to say of a row.

log p(x) alone is no such score: a model finds plain images of a kind that it never saw likelier
than those it learned from (Nalisnick et al. 2019). So a row is summed up in six numbers, all at
the posterior mean z of q(z|x), and its score is minus the log density that these have among the
training rows' (Morningstar et al. 2021): far too likely is as strange as far too unlikely.

    -log p(x|z)       what the decoder does not tell of the row, in nats
    H[x]              what no decoder tells: the entropy of grey pixels; 0 for other rows
    |x - E[x|z]|^2    how far off the decoder is
    log p(z)          how usual the place in latent space is
    log |Sigma|       how sure the encoder is of it: the log determinant of q(z|x)'s covariance
    H[p(k|z)]         how far it lies between the components
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from scipy.special import entr
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows, RowView
from latentmix.estimators.dask_rows import by_blocks
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.vae import VAE
from latentmix.estimators.validation import draw_seeds
from latentmix.models import inference

# The statistics' density is learned from so many rows at most, drawn at random: in six dimensions
# more rows tell little more.
MOST_ROWS: Final = 10_000

# It is a mixture of one component for so many rows: one has 27 parameters.
ROWS_PER_COMPONENT: Final = 500

# Added to the variances of standardised statistics: that of the components' entropy is 0 for rows
# that lie in one of them, which is most rows.
LEAST_VARIANCE: Final = 1e-3

# Statistics are standardised by so much at least, in nats or squared units. Of components far apart
# every entropy is 0 but for 1e-36 nats: standardised by their deviation, rounding would be news.
LEAST_DEVIATION: Final = 1e-3

# Scores that differ by a smaller share are one.
TIE: Final = 1e-4


class Usual(NamedTuple):
    """What is usual of rows.

    Attributes
    ----------
    shift, scale : (6,)
        The training rows' statistics are standardised by (statistics - shift) / scale.
    density : GaussianMixture
        Of these.
    held_out : (M,)
        Scores of rows that nothing was learned from, ascending; none where there are no such rows.
    """

    shift: Float[np.ndarray, " T"]
    scale: Float[np.ndarray, " T"]
    density: GaussianMixture
    held_out: Float[np.ndarray, " M"]

    def scores(self, statistics: Float[np.ndarray, "N T"]) -> Float[np.ndarray, " N"]:
        """Return minus the log density of statistics, in nats of the standardised ones."""
        scores = np.full(len(statistics), np.inf)
        # A row so far out that a statistic overflows is as strange as can be.
        finite = np.isfinite(statistics).all(axis=1)
        if finite.any():
            standardised = (statistics[finite] - self.shift) / self.scale
            scores[finite] = -self.density.score_samples(standardised)
        return scores

    def p_values(self, scores: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
        """Return the share of rows at least as strange, each counted with the held-out ones."""
        finite = np.isfinite(scores)
        # A row's last digits depend on the rows it is asked with, and these make no difference.
        tied = scores.copy()
        tied[finite] -= TIE * np.maximum(np.abs(scores[finite]), 1.0)
        n_below = np.searchsorted(self.held_out, tied, side="left")
        n_held_out = len(self.held_out)
        p_values: np.ndarray = (1 + n_held_out - n_below) / (1 + n_held_out)
        return p_values


def usual_of(statistics: Float[np.ndarray, "N T"], seed: int) -> Usual:
    """Return what is usual by the statistics of training rows."""
    statistics = statistics[np.isfinite(statistics).all(axis=1)]
    shift, deviation = statistics.mean(axis=0), statistics.std(axis=0)
    scale = np.maximum(deviation, LEAST_DEVIATION)
    density = density_of(max(1, len(statistics) // ROWS_PER_COMPONENT), seed)
    return Usual(shift, scale, density.fit((statistics - shift) / scale), np.zeros(0))


def density_of(n_components: int, seed: int | None = None) -> GaussianMixture:
    """Return the mixture of so many components that tells the statistics' density, not fitted."""
    return GaussianMixture(n_components, reg_covar=LEAST_VARIANCE, max_iter=1000, random_state=seed)


def statistics_of(vae: VAE, mixture: GaussianMixture, X: Rows) -> Float[np.ndarray, "N T"]:
    """Return the six statistics of each row, (N, 6): the lines at the head of this file."""

    def summed_up(at: inference.AtMean[np.ndarray]) -> np.ndarray:
        answers = mixture._answers(at.posterior.mean)
        return np.column_stack(
            [
                at.reconstruction,
                at.grey,
                at.squared_error,
                answers.log_density,
                at.posterior.log_variance.sum(axis=1),
                entr(answers.responsibilities).sum(axis=1),
            ]
        ).astype(np.float64)

    statistics: np.ndarray = inference.at_means(vae.network_, vae._validated(X), summed_up)
    return statistics


class AnomalyMixin:
    """Adds anomaly scores to an estimator with a fitted VAE and a mixture over its latents."""

    vae_: VAE
    mixture_: GaussianMixture
    usual_: Usual
    random_state: Any

    @abstractmethod
    def _checked(self, X: Any) -> Rows:
        """Return X as rows that a fitted estimator can answer about."""

    def learn_usual(self, X: Any, held_out: Any = None) -> Self:
        """Learn what is usual from rows; `fit` has done so with its own.

        Network, mixture and names stay as they are. So a model can be told what is usual
        elsewhere, or now, or for a model saved before there were anomaly scores.

        Parameters
        ----------
        X : (N, D)
            Usual rows. A few strange ones among them change little of what is learned.
        held_out : (M, D), optional
            Usual rows that the fit has not seen, for `anomaly_p_values`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        InputError
            As `score_samples` does.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import VAE, LatentMixture
        >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
        >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
        >>> model = LatentMixture(2, vae=vae, random_state=0).fit(X[::2])
        >>> model = model.learn_usual(X[::2], held_out=X[1::2])
        >>> (model.anomaly_p_values(X[:2]) > 0.05).tolist()
        [True, True]
        """
        X = self._checked(X)
        self._learn_usual(X, held_out, draw_seeds(self.random_state, 5)[4])
        return self

    @by_blocks
    def anomaly_scores(self, X: Any) -> np.ndarray:
        """Return how strange each row is, (N,): the larger, the stranger.

        Minus the log density of six statistics of the row (:mod:`latentmix.estimators.anomaly`)
        among the training rows' own, in nats; a density of standardised statistics, so that only
        differences mean something, and only under the same model. Infinite where a statistic
        overflows.

        Raises
        ------
        NotFittedError
            Before `fit`, and before `learn_usual` for models of earlier versions.
        InputError
            As `score_samples` does.

        References
        ----------
        Morningstar et al. (2021), "Density of states estimation for out-of-distribution
        detection", AISTATS; there with other statistics.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import VAE, LatentMixture
        >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
        >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
        >>> model = LatentMixture(2, vae=vae, random_state=0).fit(X)
        >>> strange = np.full((1, 16), 255, np.uint8)
        >>> scores = model.anomaly_scores(np.vstack([X, strange]))
        >>> int(scores.argmax())
        80
        """
        X = self._checked(X)
        check_is_fitted(self, "usual_", msg=_NOTHING_USUAL)
        return self.usual_.scores(statistics_of(self.vae_, self.mixture_, X))

    @by_blocks
    def anomaly_p_values(self, X: Any) -> np.ndarray:
        """Return the share of usual rows that are at least as strange, (N,), in (0, 1].

        Counted among the held-out rows and the row itself. Of rows drawn as those were, a share of
        alpha at most has a p-value of alpha or less, whatever the model: the conformal p-value
        (Bates et al. 2023, "Testing for outliers with conformal p-values", equation 2). With M
        held-out rows the least is 1 / (M + 1), so rank very strange rows by `anomaly_scores`.

        Raises
        ------
        NotFittedError
            Before `fit`, and where neither `fit` nor `learn_usual` was given held-out rows.
        InputError
            As `score_samples` does.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import VAE, LatentMixture
        >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
        >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
        >>> model = LatentMixture(2, vae=vae, random_state=0).fit(X[::2], validation_data=X[1::2])
        >>> strange = np.full((1, 16), 255, np.uint8)
        >>> model.anomaly_p_values(strange).round(3)  # 1 / 41: stranger than all that are held out
        array([0.024])
        """
        scores = self.anomaly_scores(X)
        if not len(self.usual_.held_out):
            raise NotFittedError(_NOTHING_HELD_OUT)
        return self.usual_.p_values(scores)

    def _learn_usual(self, X: Rows, held_out: Any, seed: int) -> None:
        """Learn it from checked rows."""
        chosen = np.random.RandomState(seed).permutation(len(X))[:MOST_ROWS]
        some = RowView(X, np.sort(chosen))
        self.usual_ = usual_of(statistics_of(self.vae_, self.mixture_, some), seed)
        if held_out is not None and len(held_out):
            self.usual_ = self.usual_._replace(held_out=np.sort(self.anomaly_scores(held_out)))

    def _forget_usual(self) -> None:
        if hasattr(self, "usual_"):
            del self.usual_


_NOTHING_USUAL: Final = (
    "This %(name)s does not know what is usual. Call learn_usual(X) with rows like those it was "
    "fitted to."
)
_NOTHING_HELD_OUT: Final = (
    "There are no held-out rows to count strange ones among. Give fit validation_data, or call "
    "learn_usual(X, held_out) with usual rows that the fit has not seen."
)
