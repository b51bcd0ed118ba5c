"""The whole model p(x, z, k, y): a VAE, a mixture over its latents, and names for components.

k ~ Categorical(weights)            which component
z | k ~ Normal(mean_k, cov_k)       where in latent space
x | z ~ Likelihood(decoder(z))      what it looks like
y | k ~ Categorical(class_probs_k)  what people call it
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral
from typing import Any, Self, TypeVar

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows
from latentmix.errors import InputError, ParameterError
from latentmix.estimators.anomaly import AnomalyMixin
from latentmix.estimators.cluster_selection import settle_n_components
from latentmix.estimators.dask_rows import by_blocks
from latentmix.estimators.diagnosis import warn_of_one_cluster
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.labels import known_labels, labelled_rows
from latentmix.estimators.log_likelihood import LogLikelihoodMixin
from latentmix.estimators.mixture import AUTO
from latentmix.estimators.naming import Evidence, NamedComponentsMixin
from latentmix.estimators.querying import QueryMixin, landscape_of
from latentmix.estimators.refinement import Refinement
from latentmix.estimators.rounds import Found, RoundKeeper, Surroundings, refined
from latentmix.estimators.saving import SaveMixin
from latentmix.estimators.vae import SCORE_DRAWS, VAE
from latentmix.estimators.validation import (
    check_choice,
    check_number,
    check_readable,
    check_verbosity,
    draw_seeds,
    random_of,
)
from latentmix.kernels.queries import Landscape
from latentmix.models.importance import LogPrior
from latentmix.models.inference import Draws
from latentmix.training.events import Listener, nobody

LATENTS = ("z", "mean")


# scikit-learn carries no types, so its classes are Any.
class LatentMixture(
    AnomalyMixin,
    LogLikelihoodMixin,
    NamedComponentsMixin,
    QueryMixin,
    SaveMixin,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    ClusterMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """VAE, then a Gaussian mixture over its latents, whose components can be given names.

    Parameters
    ----------
    n_components : int or 'auto', optional
        Number of components, K; None takes the mixture's own. 'auto' takes as many as the VAE's
        latents have clusters that halves of the rows agree on (`select_n_clusters`).
    vae : VAE, optional
        The representation to train; None is ``VAE()``.
    mixture : GaussianMixture, optional
        The mixture to fit; None is 10 components, full or with a refinement diagonal ones, EM to a
        change below 1e-4 nats.
    refinement : Refinement, optional
        How to train network and mixture together once the VAE is trained; None is not to, and the
        mixture is fitted to whatever latents the VAE has. With it, the mixture's covariances are
        'diag', and it is the one that the network was trained with.
    latents : {'z', 'mean'}, default='z'
        What the mixture is fitted to: one draw of q(z|x) for each row, or its mean. Answers
        are always given at the mean.
    smoothing : float, default=1.0
        Weight, in rows, of the prior on p(y|k), centred on the class frequencies.
    random_state : int, RandomState or None
        Seed of everything; parts with a random_state of their own keep it.
    verbose : int, default=0
        1 prints a line an epoch, then what the mixture prints; parts with their own keep it.

    Attributes
    ----------
    vae_, mixture_ : VAE, GaussianMixture
    selection_ : ClusterSelection or None
        With 'auto': what was tried, and how sure the choice is.
    latents_ : (N, L)
        What the mixture was fitted to.
    labels_ : (N,)
        The component of each row of X (scikit-learn's name; nothing to do with classes).
    classes_ : (C,)
        After `label`: the classes.
    class_probs_ : (K, C)
        After `label`: p(y|k).
    labelled_rows_ : (K,)
        After `label`: how many labelled rows (a sum of shares) each component rests on.
    unnamed_components_ : (U,)
        After `label`: those that no labelled row reached; class frequencies are their names.
    usual_ : latentmix.estimators.anomaly.Usual
        What anomalies are told from.
    temperature_ : float
        After `label`: of p(y|x), 1 until `calibrate`.
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import VAE, LatentMixture
    >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
    >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
    >>> model = LatentMixture(2, vae=vae, random_state=0).fit(X)
    >>> model.label(X[::40], ["left", "right"]).predict_class(X[[3, 70]]).tolist()
    ['left', 'right']
    """

    def __init__(
        self,
        n_components: int | str | None = None,
        *,
        vae: VAE | None = None,
        mixture: GaussianMixture | None = None,
        refinement: Refinement | None = None,
        latents: str = "z",
        smoothing: float = 1.0,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.n_components = n_components
        self.vae = vae
        self.mixture = mixture
        self.refinement = refinement
        self.latents = latents
        self.smoothing = smoothing
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        labels: Any = None,
        validation_data: Any = None,
        listener: Listener = nobody,
        keeper: RoundKeeper | None = None,
    ) -> Self:
        """Train the VAE on X and fit the mixture to its latents; no label is needed.

        Parameters
        ----------
        X : (N, D)
            Rows: bytes (images), or floats.
        y : ignored
        labels : (N,), optional
            Classes of the rows, -1 or None where unknown. The mixture is fitted with them, its
            log-likelihood that of z and y together; with a refinement its rounds put labelled rows
            among the components of their classes. Then they name the components, as in `label`.
        validation_data : (M, D), optional
            Rows whose averages are recorded after each epoch, and among which
            `anomaly_p_values` counts.
        listener : callable, optional
            Told of events (:mod:`latentmix.training.events`). By raising ``StopTraining`` it ends
            the part under way, the VAE or the mixture.
        keeper : RoundKeeper, optional
            What keeps the training on disk; `latentmix run` has one.

        Raises
        ------
        InputError, ParameterError
            As :class:`VAE` and :class:`GaussianMixture` do.

        Warns
        -----
        TrainingWarning
            As :class:`VAE` does, and if all rows are in one of several components.
        """
        self._check_parameters()
        seeds = draw_seeds(self.random_state, 5)
        vae_seed, draw_seed, mixture_seed, refinement_seed, usual_seed = seeds
        vae = _prepared(VAE() if self.vae is None else self.vae, vae_seed, self.verbose)
        mixture = _prepared(self._mixture(), mixture_seed, self.verbose)
        X = check_readable(self, X, reset=True)
        if isinstance(mixture.n_components, Integral) and len(X) < mixture.n_components:
            raise InputError(
                f"X has n_samples={len(X)} rows but n_components={mixture.n_components}. Expected "
                "at least as many rows as components; give more rows or ask for fewer components."
            )
        around = Surroundings(validation_data, listener, keeper)
        if self.refinement is None:
            self.vae_ = vae.fit(X, **around._asdict())
            self.selection_ = None
            if self.n_components == AUTO:
                means = self.vae_.transform(X)
                self.selection_ = settle_n_components(mixture, means, Refinement(), listener)
            self.latents_ = self._latents(X, draw_seed)
            self.mixture_ = mixture.fit(self.latents_, labels=labels, listener=listener)
        else:
            known = None if labels is None else known_labels(labels, len(X))
            found = refined(vae, self.refinement, X, mixture, refinement_seed, around, known=known)
            self._take_over(vae, found, mixture, X, draw_seed)
            self.selection_ = found.selection
        self._learn_answers(X, validation_data, usual_seed)
        warn_of_one_cluster(self.labels_, self.mixture_.n_components_)
        return self if labels is None else self.label(X, labels)

    def refine(
        self,
        X: Any,
        *,
        labels: Any = None,
        refinement: Refinement | None = None,
        validation_data: Any = None,
        listener: Listener = nobody,
    ) -> Self:
        """Train network and mixture further, from where they are, in rounds of their own.

        So one training without labels can be taught several sets of labels, each on a copy.

        Parameters
        ----------
        X : (N, D)
            Rows: those of `fit`, or others like them.
        labels : (N,), optional
            Classes of the rows, -1 or None where unknown. Labelled rows are put among the
            components of their classes, and name the components afterwards.
        refinement : Refinement, optional
            The rounds; None is the model's own.
        validation_data, listener
            As in `fit`.

        Raises
        ------
        InputError, ParameterError
            As `fit` does.
        """
        check_is_fitted(self, "mixture_")
        X = self._checked(X)
        how = refinement or self.refinement or Refinement()
        how.check_parameters()
        known = None if labels is None else known_labels(labels, len(X))
        _, draw_seed, _, seed, usual_seed = draw_seeds(self.random_state, 5)
        vae, mixture = copy.copy(self.vae_), clone(self.mixture_)
        mixture.set_params(covariance_type="diag", n_components=self.mixture_.n_components_)
        around = Surroundings(validation_data, listener, None)
        before = self.predict(X)
        found = refined(vae, how, X, mixture, seed, around, before=before, known=known)
        self._take_over(vae, found, mixture, X, draw_seed)
        self._learn_answers(X, validation_data, usual_seed)
        return self if labels is None else self.label(X, labels)

    def _take_over(
        self, vae: VAE, found: Found, mixture: GaussianMixture, X: Rows, draw_seed: int
    ) -> None:
        """Take over what rounds have come to."""
        self.vae_ = vae
        self.latents_ = self._latents(X, draw_seed)
        self.mixture_ = found.as_mixture(mixture, self.latents_)

    def _learn_answers(self, X: Rows, held_out: Any, usual_seed: int) -> None:
        """Learn what follows from VAE and mixture: components and what is usual; no names yet."""
        self.labels_ = self.predict(X)
        self._learn_usual(X, held_out, usual_seed)
        self._forget_names()

    def with_mixture(
        self,
        mixture: GaussianMixture,
        latents: np.ndarray,
        kind: str,
        listener: Listener = nobody,
    ) -> LatentMixture:
        """Return a model with the same VAE and another mixture, fitted to latents (N, L).

        The VAE is shared, not trained again; the new model has no names yet, and what is usual is
        to be learned (`learn_usual`). `kind` says what the latents are: 'z' or 'mean'.
        """
        other = self.of_mixture(clone(mixture).fit(latents, listener=listener))
        other._forget_usual()
        other.mixture, other.n_components, other.latents = clone(mixture), None, kind
        other.refinement = other.selection_ = None  # of its own mixture alone
        other.latents_ = latents
        return other

    def of_mixture(self, mixture: GaussianMixture) -> LatentMixture:
        """Return a model with the same VAE and a mixture that is fitted; it has no names yet."""
        check_is_fitted(self, "mixture_")
        other = copy.copy(self)
        other._forget_names()
        other.mixture_ = mixture
        return other

    def evidence_at(self, means: np.ndarray, labels: Any) -> Evidence:
        """Return labelled rows as naming sees them, from posterior means (M, L): `transform`'s."""
        check_is_fitted(self, "mixture_")
        known = labelled_rows(means, labels)
        return Evidence(self.mixture_.predict_proba(known.rows), *known[1:])

    @by_blocks
    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable component of each row, (N,)."""
        X = self._checked(X)
        return self.vae_.of_means(X, self.mixture_.predict)

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and return the component of each row, (N,)."""
        return self.fit(X).predict(X)

    @by_blocks
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return p(k|x) of the components, (N, K)."""
        X = self._checked(X)
        return self.vae_.of_means(X, self.mixture_.predict_proba)

    @by_blocks
    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior means E_q[z|x], (N, L)."""
        X = self._checked(X)
        return self.vae_.transform(X)

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Return E[x|z], (N, D), as :meth:`VAE.inverse_transform` does."""
        check_is_fitted(self, "mixture_")
        return self.vae_.inverse_transform(Z)

    @by_blocks
    def reconstruct(self, X: Any) -> np.ndarray:
        """Return E[x|z] at the posterior means of X, (N, D)."""
        X = self._checked(X)
        return self.vae_.reconstruct(X)

    @by_blocks
    def score_samples(self, X: Any) -> np.ndarray:
        """Return a lower bound on log p(x) of each row, (N,), in nats.

        The ELBO with the mixture as prior: E_q[log p(x|z) + log p(z) - log q(z|x)], averaged over
        8 draws shared by all rows. For grey images its first term is minus the cross entropy.
        """

        def elbo(bound: Draws[np.ndarray]) -> np.ndarray:
            n_rows, n_draws, latent_dim = bound.z.shape
            log_prior = self.mixture_.score_samples(bound.z.reshape(-1, latent_dim))
            gap = bound.log_posterior - log_prior.reshape(n_rows, n_draws)
            score: np.ndarray = self.vae_.log_jacobian_ - bound.reconstruction - gap.mean(axis=1)
            return score

        X = self._checked(X)
        scores: np.ndarray = self.vae_.of_draws(X, SCORE_DRAWS, elbo)
        return scores

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples` over the rows, in nats."""
        return float(self.score_samples(X).mean())

    def sample(
        self, n_samples: int = 1, label: Any = None, *, component: int | None = None
    ) -> np.ndarray:
        """Draw from the model: k, then z given k, then x given z.

        Parameters
        ----------
        n_samples : int
        label : a class, optional
            Draw k from p(k|y) instead of the weights.
        component : int, optional
            Draw from this component alone.

        Returns
        -------
        (n_samples, D) array
            As :meth:`VAE.sample` shows them.

        Raises
        ------
        NotNamedError
            If a label is asked for before `label`.
        ParameterError
            If there is no such label or component, or both are given.
        """
        check_is_fitted(self, "mixture_")
        check_number("n_samples", n_samples, kind=Integral, least=1)
        random = random_of(self.random_state)
        weights = self._component_weights(label, component)
        components = random.choice(len(weights), size=n_samples, p=weights / weights.sum())
        z = self.mixture_.draw(components, random)
        return self.vae_.sample_given(z, int(random.randint(2**31 - 1)))

    def _vae_and_prior(self) -> tuple[VAE, LogPrior]:
        return self.vae_, self.mixture_.score_samples

    def _component_weights(self, label: Any, component: int | None) -> np.ndarray:
        weights: np.ndarray = self.mixture_.weights_.astype(np.float64)
        if component is not None:
            if label is not None:
                raise ParameterError("label and component exclude each other. Give one of them.")
            if component not in range(len(weights)):
                raise ParameterError(
                    f"component={component!r} is unknown. Choose one of 0 to {len(weights) - 1}."
                )
            alone: np.ndarray = np.arange(len(weights)) == component
            return alone.astype(np.float64)
        if label is None:
            return weights
        self._check_named()
        chosen = np.flatnonzero(self.classes_.astype(str) == str(label))
        if not len(chosen):
            listed = ", ".join(str(name) for name in self.classes_)
            raise ParameterError(f"label={label!r} is unknown. Choose one of {listed}.")
        joint: np.ndarray = weights * self.class_probs_[:, chosen[0]]
        return joint

    def _latents(self, X: Rows, seed: int) -> np.ndarray:
        """Return what the mixture is fitted to, (N, L)."""
        if self.latents == "z":
            return self.vae_.sample_posterior(X, seed)
        return self.vae_.transform(X)

    def landscape_at(
        self, means: np.ndarray, read: Callable[[np.ndarray], Rows] | None = None
    ) -> Landscape:
        """Return what the mixture says of rows, from means (N, L); `read` gives some rows of X."""
        check_is_fitted(self, "mixture_")
        answers, vae = self.mixture_._answers(means), self.vae_
        if read is None or vae.columns_:  # codes of categories look like nothing
            return landscape_of(answers, means)
        return landscape_of(answers, means, lambda rows: vae._validated(read(rows))[:])

    def _landscape(self, X: Rows) -> Landscape:
        return self.landscape_at(self.vae_.transform(X), X.__getitem__)

    def _responsibilities(self, X: np.ndarray) -> np.ndarray:
        return self.vae_.of_means(X, self.mixture_.predict_proba)

    def _checked(self, X: Any) -> Rows:
        check_is_fitted(self, "mixture_")
        return check_readable(self, X, reset=False)

    def _check_parameters(self) -> None:
        check_choice("latents", self.latents, LATENTS)
        check_number("smoothing", self.smoothing, least=0)
        if self.n_components not in (None, AUTO):
            check_number("n_components", self.n_components, kind=Integral, least=1)
        check_verbosity(self.verbose)
        if self.refinement is not None:
            self.refinement.check_parameters()
            mixture = self._mixture()
            by_likelihood = mixture.n_components == AUTO != self.n_components
            if mixture.covariance_type != "diag" or by_likelihood:
                raise ParameterError(
                    f"refinement was given with a mixture of covariance_type="
                    f"{mixture.covariance_type!r} and n_components={mixture.n_components!r}. "
                    "Expected 'diag' and a number: the network is trained with such a mixture; "
                    "LatentMixture(n_components='auto') chooses the number before."
                )

    def _mixture(self) -> GaussianMixture:
        shape = "full" if self.refinement is None else "diag"
        mixture = GaussianMixture(10, covariance_type=shape, tol=1e-4, max_iter=1000)
        if self.mixture is not None:
            mixture = clone(self.mixture)
        if self.n_components is not None:
            mixture.set_params(n_components=self.n_components)
        return mixture

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # As the VAE's: latents are float32.
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.vae_.architecture_.latent_dim


_Part = TypeVar("_Part", bound=VAE | GaussianMixture)


def _prepared(part: _Part, seed: int, verbose: int) -> _Part:
    """Return a copy of a part, with a seed and a verbosity if it has none of its own."""
    copied: _Part = clone(part)
    if copied.random_state is None:
        copied.set_params(random_state=seed)
    if not copied.verbose:
        copied.set_params(verbose=verbose)
    return copied
