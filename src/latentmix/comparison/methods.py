"""The methods that are compared, besides recipes: one class and one line of `METHODS` each.

A method's fields are its settings. `fit` gets training rows, a number of components and a
seed; what it returns answers for other rows. What a method needs is imported when it is fitted,
so that the peak memory of its process is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from latentmix.comparison.protocol import Training
from latentmix.data import Rows

if TYPE_CHECKING:
    from latentmix.estimators import VAE, GaussianMixture

_strict = ConfigDict(strict=True, extra="forbid")
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Covariance = Literal["full", "tied", "diag", "spherical", "factor"]


class Fitted(NamedTuple):
    """What a fitted method answers.

    Attributes
    ----------
    predict : callable
        The component of each of some rows, (n,), in [0, K).
    log_density : callable, optional
        log p(x) of each of some rows, (n,), in nats, or a lower bound on it.
    density : str
        Which: 'density', 'bound', or 'cross entropy' for a bound whose first term is one.
    n_components : int, optional
        K, where the method chose it.
    """

    predict: Callable[[Rows], np.ndarray]
    log_density: Callable[[Rows], np.ndarray] | None = None
    density: str = ""
    n_components: int | None = None


class Method(Protocol):
    """A way to cluster rows without labels."""

    needs: ClassVar[tuple[str, ...]]
    """The modules that `fit` imports: they must be there, and are loaded before the clock runs."""

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""


class _Units(NamedTuple):
    """What pixels and columns are divided by, so that distances mean something."""

    shift: np.ndarray
    scale: np.ndarray

    def of(self, X: Rows) -> np.ndarray:
        scaled: np.ndarray = ((np.asarray(X) - self.shift) / self.scale).astype(np.float32)
        return scaled


def _units(training: Training) -> _Units:
    """Return intensities in [0, 1], or columns of mean 0 and deviation 1 on the training rows."""
    X = training.X
    zero, one = np.zeros(X.shape[1], np.float32), np.ones(X.shape[1], np.float32)
    if training.bounded:
        return _Units(zero, one * 255 if X.dtype == np.uint8 else one)
    deviation = X.std(axis=0, dtype=np.float64)
    # A constant column has nothing to scale by.
    return _Units(X.mean(axis=0, dtype=np.float64), np.where(deviation > 0, deviation, 1.0))


@dataclass(frozen=True, config=_strict)
class KMeans:
    """k-means on the rows themselves, scikit-learn's."""

    n_init: Count = 10
    max_iter: Count = 300
    needs: ClassVar[tuple[str, ...]] = ("sklearn.cluster",)

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        units = _units(training)
        predict = _k_means(units.of(training.X), training, self.n_init, self.max_iter)
        return Fitted(lambda X: predict(units.of(X)))


@dataclass(frozen=True, config=_strict)
class Mixture:
    """A Gaussian mixture on the rows themselves.

    Pixels that are constant in a component would make it certain of everything: `reg_covar`, in
    squared intensities or deviations, keeps it from that.
    """

    covariance_type: Covariance = "diag"
    reg_covar: Positive = 1e-3
    n_init: Count = 10
    tol: Positive = 1e-4
    max_iter: Count = 1000
    needs: ClassVar[tuple[str, ...]] = ("latentmix.estimators.gaussian_mixture",)

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        units = _units(training)
        mixture = _mixture(
            units.of(training.X),
            training,
            covariance_type=self.covariance_type,
            reg_covar=self.reg_covar,
            n_init=self.n_init,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        if training.bounded:
            # Values at the ends of their range, as most pixels are, have no density to speak of.
            return Fitted(lambda X: mixture.predict(units.of(X)))
        log_jacobian = -float(np.log(units.scale).sum())
        return Fitted(
            lambda X: mixture.predict(units.of(X)),
            lambda X: mixture.score_samples(units.of(X)) + log_jacobian,
            "density",
        )


@dataclass(frozen=True, config=_strict)
class PcaMixture:
    """Principal components, then a Gaussian mixture."""

    dims: Count = 20
    n_init: Count = 10
    needs: ClassVar[tuple[str, ...]] = (
        "sklearn.decomposition",
        "latentmix.estimators.gaussian_mixture",
    )

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        from sklearn.decomposition import PCA  # noqa: PLC0415

        units = _units(training)
        dims = min(self.dims, *training.X.shape)
        pca = PCA(dims, random_state=training.seed).fit(units.of(training.X))
        mixture = _mixture(pca.transform(units.of(training.X)), training, n_init=self.n_init)
        return Fitted(lambda X: mixture.predict(pca.transform(units.of(X))))


@dataclass(frozen=True, config=_strict)
class _Autoencoding:
    """The settings of a method that begins with an autoencoder, and that autoencoder."""

    hidden_dims: list[Count] = field(default_factory=lambda: [500, 500, 2000])
    latent_dim: Count = 10
    epochs: Count = 50
    min_steps: Annotated[int, Field(ge=0)] = 4000
    batch_size: Count = 256
    learning_rate: Positive = 1e-3

    def encoder(self, training: Training) -> VAE:
        """Return a VAE trained on its reconstructions alone."""
        from latentmix.estimators import VAE  # noqa: PLC0415

        vae = VAE(
            hidden_dims=self.hidden_dims,
            latent_dim=self.latent_dim,
            likelihood="bernoulli" if training.bounded else "gaussian",
            kl_weight=0.0,
            batch_size=self.batch_size,
            max_epochs=self.epochs,
            min_steps=self.min_steps,
            learning_rate=self.learning_rate,
            random_state=training.seed,
        )
        return vae.fit(training.X)


@dataclass(frozen=True, config=_strict)
class AutoencoderKMeans(_Autoencoding):
    """An autoencoder (a VAE whose KL weight is 0), then k-means on what it encodes."""

    n_init: Count = 10
    needs: ClassVar[tuple[str, ...]] = ("sklearn.cluster", "latentmix.estimators.vae")

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        encoder = self.encoder(training)
        predict = _k_means(encoder.transform(training.X), training, self.n_init, 300)
        return Fitted(lambda X: predict(encoder.transform(X)))


@dataclass(frozen=True, config=_strict)
class N2D(_Autoencoding):
    """An autoencoder, UMAP of what it encodes to K dimensions, then a Gaussian mixture.

    Parameters are the paper's but for the epochs, 1000 there. Rows that were not fitted are
    placed by UMAP's `transform`, which the paper does without: it scores the rows it fits.

    References
    ----------
    McConville, Santos-Rodriguez, Piechocki and Craddock (2019), "N2D: (not too) deep clustering
    via clustering the local manifold of an autoencoded embedding".
    """

    n_neighbors: Annotated[int, Field(ge=2)] = 20
    min_dist: Annotated[float, Field(ge=0, le=1)] = 0.0
    n_init: Count = 10
    needs: ClassVar[tuple[str, ...]] = (
        "umap",
        "latentmix.estimators.vae",
        "latentmix.estimators.gaussian_mixture",
    )

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        from umap import UMAP  # noqa: PLC0415

        encoder = self.encoder(training)
        embedding = UMAP(
            n_neighbors=self.n_neighbors,
            n_components=training.n_components,
            min_dist=self.min_dist,
            random_state=training.seed,
            # With a seed it uses one thread, and warns where more are allowed.
            n_jobs=1,
        )
        embedded = embedding.fit_transform(encoder.transform(training.X))
        mixture = _mixture(embedded, training, n_init=self.n_init)
        return Fitted(lambda X: mixture.predict(embedding.transform(encoder.transform(X))))


def _k_means(
    X: np.ndarray, training: Training, n_init: int, max_iter: int
) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.cluster import KMeans  # noqa: PLC0415

    means = KMeans(
        training.n_components, n_init=n_init, max_iter=max_iter, random_state=training.seed
    ).fit(X)
    predict: Callable[[np.ndarray], np.ndarray] = means.predict
    return predict


def _mixture(X: np.ndarray, training: Training, **parameters: Any) -> GaussianMixture:
    """Return a mixture fitted to rows (N, L), with full covariances unless told otherwise."""
    from latentmix.estimators import GaussianMixture  # noqa: PLC0415

    asked: dict[str, Any] = {"n_components": training.n_components, "random_state": training.seed}
    defaults = {"covariance_type": "full", "tol": 1e-4, "max_iter": 1000}
    return GaussianMixture(**{**asked, **defaults, **parameters}).fit(X)


METHODS: Final[dict[str, type[Method]]] = {
    "kmeans": KMeans,
    "mixture": Mixture,
    "pca-mixture": PcaMixture,
    "autoencoder-kmeans": AutoencoderKMeans,
    "n2d": N2D,
}
