"""The Gaussian mixture, with the parameters and attributes of scikit-learn's, and more."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import InputError, IntegrityError
from latentmix.estimators.given_start import given_start
from latentmix.estimators.mixture import MixtureEstimator
from latentmix.estimators.validation import check_choice, check_flag, check_number
from latentmix.kernels import completion
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model
from latentmix.kernels.families import GAUSSIAN, Gaussian, Mixture
from latentmix.kernels.families.factor_analytic import FactorAnalytic
from latentmix.training.em_start import Start


class GaussianMixture(MixtureEstimator):
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
        relative_reg_covar: bool = False,
        n_factors: int = 2,
        acceleration: str | None = None,
        smoothing: float = 1.0,
        missing_label: Any = -1,
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
        self.relative_reg_covar = relative_reg_covar
        self.n_factors = n_factors
        self.acceleration = acceleration
        self.smoothing = smoothing
        self.missing_label = missing_label

    def conditional(self, given: Any) -> GaussianMixture:
        """Return the mixture of the other features, given the values of some.

        Parameters
        ----------
        given : dict, or (D,) array
            Values by feature number or name; or a row that is NaN where a feature is not given.

        Returns
        -------
        GaussianMixture
            Fitted; 'full' unless features are independent given the component.
        """
        check_is_fitted(self)
        row = self._row(given)
        seen = ~np.isnan(row)
        if not 0 < seen.sum() < len(row):
            raise InputError(
                f"given holds {int(seen.sum())} of {len(row)} features. Expected at least one, and "
                "at least one left to be conditional on it."
            )
        with Crew() as crew:
            model = Model(self._family(), self._mixture())
            family, mixture = completion.condition(model, seen, row[seen], crew)
        answer = GaussianMixture(**self.get_params())
        answer.set_params(covariance_type=family.name)
        answer._keep_mixture(mixture, self._dtype)
        answer.n_features_in_ = int((~seen).sum())
        if hasattr(self, "feature_names_in_"):
            answer.feature_names_in_ = self.feature_names_in_[~seen]
        answer.lower_bounds_, answer.lower_bound_ = [], -np.inf
        answer.n_iter_, answer.converged_ = 0, self.converged_
        answer.n_reborn_ = answer.n_falls_ = 0
        if hasattr(self, "classes_"):
            answer.keep_names(self.classes_, self.class_probs_, self.labelled_rows_)
        return answer

    def _row(self, given: Any) -> np.ndarray:
        """Return what is given as a row with NaN elsewhere."""
        n_features = self.means_.shape[1]
        if not isinstance(given, dict):
            row = np.asarray(given, np.float64)
            if row.shape != (n_features,):
                raise InputError(
                    f"given has shape {row.shape} but the mixture has {n_features} features. Give "
                    "a row with NaN where a feature is not given, or a dict."
                )
            return row
        row = np.full(n_features, np.nan)
        names = [str(name) for name in getattr(self, "feature_names_in_", [])]
        for feature, value in given.items():
            if isinstance(feature, str) and feature in names:
                row[names.index(feature)] = value
            elif isinstance(feature, Integral) and 0 <= feature < n_features:
                row[feature] = value
            else:
                raise InputError(
                    f"given names the feature {feature!r}, which is unknown. Expected numbers from "
                    f"0 to {n_features - 1}{' or ' + ', '.join(names) if names else ''}."
                )
        return row

    def _family(self) -> Gaussian:
        if self.covariance_type == "factor":
            return FactorAnalytic(self.n_factors)
        return GAUSSIAN[self.covariance_type]

    def _regularisation(self) -> tuple[float, bool]:
        return self.reg_covar, self.relative_reg_covar

    def _given(self, n_features: int) -> Start:
        return given_start(
            self._family(),
            (self.n_components, n_features),
            self.weights_init,
            self.means_init,
            self.precisions_init,
        )

    def _mixture(self) -> Mixture:
        weights, means, covariances = (
            np.asarray(array, np.float64)
            for array in (self.weights_, self.means_, self.covariances_)
        )
        # Whoever sets the parameters by hand need not factor them.
        factors = getattr(self, "precisions_cholesky_", None)
        if factors is None:
            return Mixture(weights, means, covariances, self._family().factors(covariances))
        return Mixture(weights, means, covariances, np.asarray(factors, np.float64))

    def keep_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Set the fitted arrays, as they were stored.

        Raises
        ------
        IntegrityError
            If their shapes are not those of one mixture.
        """
        covariances, means = tensors["covariances_"], tensors["means_"]
        if covariances.shape != self._family().shape(*means.shape):
            raise IntegrityError(
                f"A stored mixture holds covariances of shape {covariances.shape} for means of "
                f"shape {means.shape} and type '{self.covariance_type}'. Save the model again."
            )
        self.weights_, self.means_, self.covariances_ = tensors["weights_"], means, covariances
        self.precisions_cholesky_ = tensors["precisions_cholesky_"]
        factors = self.precisions_cholesky_.astype(np.float64)
        self.precisions_ = self._family().precisions(factors).astype(means.dtype)

    def _keep_mixture(self, mixture: Mixture, dtype: np.dtype) -> None:
        weights, means, covariances, factors = mixture
        self.weights_ = weights.astype(dtype)
        self.means_ = means.astype(dtype)
        self.covariances_ = covariances.astype(dtype)
        self.precisions_cholesky_ = factors.astype(dtype)
        self.precisions_ = self._family().precisions(factors).astype(dtype)

    def _check_parameters(self) -> None:
        check_choice("covariance_type", self.covariance_type, GAUSSIAN)
        check_number("reg_covar", self.reg_covar, least=0)
        check_flag("relative_reg_covar", self.relative_reg_covar)
        check_number("n_factors", self.n_factors, kind=Integral, least=1)
        super()._check_parameters()
