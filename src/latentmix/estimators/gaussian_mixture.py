"""The Gaussian mixture as a scikit-learn estimator; the method itself is in `kernels.mixture`."""

from __future__ import annotations

import logging
import warnings
from numbers import Integral
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import InputError, ParameterError
from latentmix.estimators.given_start import given_start
from latentmix.estimators.saving import SaveMixin
from latentmix.estimators.validation import (
    check_choice,
    check_flag,
    check_number,
    check_rows,
    draw_seeds,
)
from latentmix.estimators.verbosity import EmPrinter
from latentmix.kernels.families import FAMILIES
from latentmix.kernels.mixture import (
    EXPANDED_FORM_LIMIT,
    Mixture,
    largest_centre_distance,
    log_joint,
    log_responsibilities,
)
from latentmix.models.blocks import map_blocks
from latentmix.training.em_loop import (
    INITIALISATIONS,
    EmFit,
    EmRule,
    Start,
    fit_best,
    n_free_parameters,
)
from latentmix.training.events import Listener, nobody

log = logging.getLogger(__name__)


# scikit-learn carries no types, so its classes are Any.
class GaussianMixture(SaveMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Mixture of Gaussians, fitted by expectation-maximisation on sufficient statistics.

    Parameters and attributes are those of :class:`sklearn.mixture.GaussianMixture`. Sums are
    accumulated in float64 over blocks of rows; answers come back in X's dtype.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        One matrix a component, one for all, one variance a feature, one variance a component.
    tol : float, default=1e-3
        EM stops when the mean log-likelihood per row (nats) changes by less.
    reg_covar : float, default=1e-6
        Added to every variance, in X's squared units.
    max_iter : int, default=100
        The most EM iterations; 0 leaves the mixture as it starts.
    n_init : int, default=1
        Number of starts; the one with the highest log-likelihood is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where the first responsibilities come from.
    weights_init : (K,) array, optional
        Starting weights.
    means_init : (K, D) array, optional
        Starting means.
    precisions_init : array, optional
        Starting precisions, in the covariances' shape.
    random_state : int, RandomState or None
        Seed of the starts and of `sample`.
    warm_start : bool, default=False
        Start from the last fit's solution.
    verbose : int, default=0
        1 prints each start and some of its iterations, 2 their times and log-likelihoods too.
    verbose_interval : int, default=10
        Iterations between two of those lines.

    Attributes
    ----------
    weights_ : (K,)
        Mixing weights, summing to 1.
    means_ : (K, D)
        Component means.
    covariances_, precisions_, precisions_cholesky_ : array
        Full (K, D, D), tied (D, D), diag (K, D) or spherical (K,).
    converged_ : bool
        Whether the kept start converged.
    n_iter_ : int
        EM iterations of the kept start.
    lower_bound_ : float
        Its last mean log-likelihood per row, in nats; minus infinity without an iteration.
    lower_bounds_ : list of float
        One for each of its iterations, before the maximisation that ends it.
    n_features_in_ : int
        Features of the rows, D.
    feature_names_in_ : (D,) of str
        Their names, where X has any.

    References
    ----------
    Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM
    algorithm".

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import GaussianMixture
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> np.sort(mixture.means_[:, 0])
    array([ 1., 10.])
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, *, listener: Listener = nobody) -> Self:
        """Fit by EM from `n_init` starts, and keep the best.

        Parameters
        ----------
        X : (N, D)
            Rows.
        y : ignored
        listener : callable, optional
            Told of every :class:`~latentmix.training.events.EmIteration`.

        Raises
        ------
        InputError
            For NaN or infinity, fewer rows than components, or a singular covariance.
        ParameterError
            For a parameter outside its domain.
        """
        self._check_parameters()
        X = check_rows(self, X, dtypes=(np.float64, np.float32), reset=True, min_rows=2)
        if len(X) < self.n_components:
            raise InputError(
                "Expected n_samples >= n_components but got n_components = "
                f"{self.n_components}, n_samples = {len(X)}. Give more rows or ask for fewer "
                "components."
            )
        given = given_start(
            self.covariance_type,
            (self.n_components, X.shape[1]),
            self.weights_init,
            self.means_init,
            self.precisions_init,
        )
        continuing = self.warm_start and hasattr(self, "converged_")
        rule = EmRule(
            self.covariance_type,
            self.n_components,
            self.init_params,
            self.tol,
            self.reg_covar,
            self.max_iter,
            self._previous(X.shape[1]) if continuing else given,
        )
        seeds = draw_seeds(self.random_state, 1 if continuing else self.n_init)
        rows = X.astype(np.float64, copy=False)
        if self.verbose:
            listener = EmPrinter(rule, self.verbose, self.verbose_interval, listener)
        fit = fit_best(rows, np.ones(len(X)), rule, seeds, listener)
        self._keep(fit, X.dtype)
        return self

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and return the component of each row, (N,)."""
        return self.fit(X).predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable component of each row, (N,)."""
        components: np.ndarray = self._answers(X)[1].argmax(axis=1)
        return components

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return p(k|x), (N, K)."""
        responsibilities: np.ndarray = np.exp(self._answers(X)[1])
        return responsibilities.astype(self.means_.dtype, copy=False)

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of each row, (N,), in nats."""
        return self._answers(X)[0].astype(self.means_.dtype, copy=False)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of log p(x) over the rows, in nats."""
        return float(self._answers(X)[0].mean())

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows, (n_samples, D), and the components they come from, in component order."""
        check_is_fitted(self)
        try:
            check_number("n_samples", n_samples, kind=Integral, least=1)
        except ParameterError as error:
            raise ParameterError(f"Invalid value for 'n_samples': {error}") from None
        random = check_random_state(self.random_state)
        weights = self.weights_.astype(np.float64)
        counts = random.multinomial(n_samples, weights / weights.sum())
        components = np.repeat(np.arange(len(counts)), counts)
        noise = random.standard_normal((n_samples, self.means_.shape[1]))
        with jax.enable_x64(True):
            covariances = jnp.asarray(self.covariances_, jnp.float64)
            deviations = map_blocks(_draw[self.covariance_type], covariances, noise, components)
        rows: np.ndarray = self.means_[components] + deviations
        return rows.astype(self.means_.dtype), components

    def bic(self, X: Any) -> float:
        """Return the Bayesian information criterion, in nats doubled; lower is better."""
        n_rows: int = np.shape(X)[0]
        return -2 * self.score(X) * n_rows + self._n_parameters() * float(np.log(n_rows))

    def aic(self, X: Any) -> float:
        """Return the Akaike information criterion, in nats doubled; lower is better."""
        n_rows: int = np.shape(X)[0]
        return -2 * self.score(X) * n_rows + 2 * self._n_parameters()

    def _n_parameters(self) -> int:
        return n_free_parameters(self.covariance_type, *self.means_.shape)

    def _answers(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x), (N,), and log p(k|x), (N, K), in float64."""
        check_is_fitted(self)
        X = check_rows(self, X, dtypes=(np.float64, np.float32), reset=False)
        # Centred on the mixture's own mean, the expanded quadratic keeps its digits.
        shift = np.average(self.means_.astype(np.float64), axis=0, weights=self.weights_)
        with jax.enable_x64(True):
            mixture = Mixture(
                *(
                    jnp.asarray(array, jnp.float64)
                    for array in (
                        self.weights_,
                        self.means_ - shift,
                        self.covariances_,
                        self.precisions_cholesky_,
                    )
                )
            )
            distance = largest_centre_distance(self.covariance_type, mixture)
            answer = _answer_centred if not distance < EXPANDED_FORM_LIMIT else _answer_expanded
            answers: tuple[np.ndarray, np.ndarray] = map_blocks(
                answer[self.covariance_type], mixture, X.astype(np.float64) - shift
            )
            return answers

    def _check_parameters(self) -> None:
        check_choice("covariance_type", self.covariance_type, FAMILIES)
        check_choice("init_params", self.init_params, INITIALISATIONS)
        check_number("n_components", self.n_components, kind=Integral, least=1)
        check_number("n_init", self.n_init, kind=Integral, least=1)
        check_number("max_iter", self.max_iter, kind=Integral, least=0)
        check_number("tol", self.tol, least=0)
        check_number("reg_covar", self.reg_covar, least=0)
        check_flag("warm_start", self.warm_start)
        if not isinstance(self.verbose, bool | np.bool_):
            check_number("verbose", self.verbose, kind=Integral, least=0)
        check_number("verbose_interval", self.verbose_interval, kind=Integral, least=1)

    def _previous(self, n_features: int) -> Start:
        """Return the last fit's solution to go on from."""
        shape = (self.n_components, n_features)
        fitted = FAMILIES[self.covariance_type].shape(*shape)
        if self.means_.shape != shape or self.covariances_.shape != fitted:
            raise InputError(
                f"warm_start=True goes on from means_ of shape {self.means_.shape} and "
                f"covariances_ of shape {self.covariances_.shape}, but the parameters and X need "
                f"{shape} and {fitted}. Set warm_start=False to start again."
            )
        weights, means, covariances = (
            array.astype(np.float64) for array in (self.weights_, self.means_, self.covariances_)
        )
        return Start(weights, means, covariances, self.lower_bound_)

    def _keep(self, fit: EmFit, dtype: np.dtype) -> None:
        """Set the fitted attributes, and warn of what the user can act on."""
        weights, means, covariances, factors = fit.mixture
        self.weights_ = weights.astype(dtype)
        self.means_ = means.astype(dtype)
        self.covariances_ = covariances.astype(dtype)
        self.precisions_cholesky_ = factors.astype(dtype)
        with jax.enable_x64(True):
            precisions = FAMILIES[self.covariance_type].precisions(jnp.asarray(factors))
            self.precisions_ = np.asarray(precisions).astype(dtype)
        self.lower_bounds_ = fit.lower_bounds
        self.lower_bound_ = fit.lower_bounds[-1] if fit.lower_bounds else -np.inf
        self.n_iter_ = len(fit.lower_bounds)
        self.converged_ = fit.converged
        if fit.n_reborn:
            log.info("%d components lost all rows and were started again", fit.n_reborn)
        # Who asks for no iteration wants the start, and has nothing to act on.
        if not fit.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data. The log-likelihood "
                f"still changed by tol={self.tol} or more after max_iter={self.max_iter} "
                "iterations.",
                ConvergenceWarning,
                stacklevel=3,
            )


def _compiled_draw(family: str) -> Any:
    @jax.jit
    def draw(covariances: Array, noise: Array, components: Array) -> Array:
        return FAMILIES[family].draw(noise, covariances, components)

    return draw


def _compiled(family: str, *, centred: bool) -> Any:
    @jax.jit
    def answer(mixture: Mixture[Array], x: Array) -> tuple[Array, Array]:
        return log_responsibilities(log_joint(family, mixture, x, centred=centred))

    return answer


_answer_expanded = {family: _compiled(family, centred=False) for family in FAMILIES}
_answer_centred = {family: _compiled(family, centred=True) for family in FAMILIES}
_draw = {family: _compiled_draw(family) for family in FAMILIES}
