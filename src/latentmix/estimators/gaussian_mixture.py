"""The Gaussian mixture, with the parameters and attributes of scikit-learn's, and more."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import InputError, IntegrityError, ParameterError
from latentmix.estimators.given_start import given_start
from latentmix.estimators.mixture import STARTS, MixtureEstimator
from latentmix.estimators.validation import as_floats, check_choice, check_flag, check_number
from latentmix.kernels import completion
from latentmix.kernels.crew import Crew
from latentmix.kernels.expectation import Model
from latentmix.kernels.families import GAUSSIAN, Gaussian, Mixture, gaussian_family
from latentmix.kernels.rescaling import refuse_overflow
from latentmix.training.em_loop import EmFit
from latentmix.training.em_start import Start
from latentmix.training.sources import Source


class GaussianMixture(MixtureEstimator):
    """Mixture of Gaussians, fitted by expectation-maximisation on sufficient statistics.

    Parameters and attributes are those of :class:`sklearn.mixture.GaussianMixture`, and more.
    Sums are accumulated in float64 over blocks of rows, so that memory does not grow with the
    rows; answers come back in X's dtype.

    Rows may be a matrix, in memory or on disk, a .npy or Parquet file, or any object that yields
    blocks whenever it is iterated over; `partial_fit` takes blocks that are seen once. Entries may
    be missing (NaN), in `fit` and in every answer. Rows may have weights. Labels of some rows,
    given to `fit`, are fitted with the rest; given to `label`, they name the components of a
    finished fit. Either way `predict_class` tells classes.

    Parameters
    ----------
    n_components : int or 'auto', default=1
        Number of components, K; 'auto' takes as many as the rows call for, by BIC.
    covariance_type : {'full', 'tied', 'diag', 'spherical', 'factor'}, default='full'
        One matrix a component, one for all, one variance a feature, one variance a component, or
        low rank plus diagonal: `n_factors` loadings and one noise variance a feature.
    tol : float, default=1e-3
        EM stops when the mean log-likelihood per row (nats) changes by less.
    reg_covar : float, default=1e-6
        Added to every variance, in X's squared units.
    max_iter : int, default=100
        The most EM iterations; 0 leaves the mixture as it starts.
    n_init : int, default=1
        Number of starts; the one with the highest log-likelihood is kept. They share every pass
        over the rows; beyond 20,000 rows they are compared on so many, and the best two go on.
        A warm start, or n_components='auto', is one start whatever this says.
    init_params : {'kmeans', 'k-means++', 'k-means||', 'labels', 'random', 'random_from_data'}
        Where the first responsibilities come from (default 'kmeans'). The starts of k-means are
        chosen one by one ('kmeans') or, for many components, many at a time ('k-means||');
        'k-means++' leaves out the iterations. 'labels' begins, and with labels so do 'kmeans'
        and 'k-means||', at the means of the classes; further components begin elsewhere.
    weights_init : (K,) array, optional
        Starting weights.
    means_init : (K, D) array, optional
        Starting means.
    precisions_init : array, optional
        Starting precisions, in the shape of `precisions_`. Those of components go with
        `means_init` by index. Without it, drawn components have no order to know: they are
        paired with the precisions (and `weights_init`, where given) that explain their rows best.
    random_state : int, RandomState or None
        Seed of the starts and of `sample`.
    warm_start : bool, default=False
        Start from the last fit's solution.
    verbose : int, default=0
        1 prints each start and some of its iterations, 2 their times and log-likelihoods too.
    verbose_interval : int, default=10
        Iterations between two of those lines.
    relative_reg_covar : bool, default=False
        Whether `reg_covar` is a share of each feature's variance instead.
    n_factors : int, default=2
        Factors of each component where covariance_type='factor'.
    acceleration : {None, 'squarem'}, default=None
        'squarem' leaps along EM's steps, where that raises the log-likelihood: fewer iterations
        where components overlap.
    smoothing : float, default=1.0
        Weight, in rows, of the prior on p(y|k), centred on the class frequencies.
    missing_label : default=-1
        What marks an unknown label, besides None, NaN and blanks.

    Attributes
    ----------
    n_components_ : int
        K: what 'auto' found.
    weights_ : (K,)
        Mixing weights, summing to 1.
    means_ : (K, D)
        Component means.
    covariances_, precisions_, precisions_cholesky_ : array
        Full (K, D, D), tied (D, D), diag (K, D), spherical (K,), or factor (K, D, 1 + n_factors).
        The last hold side by side: noise variances psi, then loadings Lambda, the covariance
        being Lambda Lambda' + diag(psi); 1 / psi, then W', the precision being
        diag(1 / psi) - W' W; and 1 / sqrt(psi), then W'.
    converged_ : bool
        Whether the kept start converged.
    n_iter_ : int
        EM iterations of the kept start; after `partial_fit` the blocks so far.
    lower_bound_ : float
        Its last mean log-likelihood per row, in nats; minus infinity without an iteration. After
        a fit with labels it includes theirs, and the log prior density of `class_probs_` (see
        `smoothing`, and divided by the rows, too): the sum is what EM never lets fall.
    lower_bounds_ : list of float
        One for each of its iterations, before the maximisation that ends it; iterations that
        'squarem' took back have none.
    n_reborn_ : int
        Components that lost their rows or collapsed during it, and were started again.
    n_falls_ : int
        Its iterations after which the log-likelihood had fallen: by `reg_covar`, or rounding.
    classes_ : (C,)
        Classes, sorted, once labels were seen.
    class_probs_ : (K, C)
        p(y|k), rows summing to 1.
    labelled_rows_ : (K,)
        How many labelled rows (a sum of shares) each component rests its name on.
    unnamed_components_ : (U,) of int
        Components that no labelled row reached.
    temperature_ : float
        Of p(y|x), 1 until `calibrate`.
    n_features_in_ : int
        Features of the rows, D.
    feature_names_in_ : (D,) of str
        Their names, where X has any.

    Notes
    -----
    With ``n_components='auto'`` K grows by splits and shrinks by merges, and the BIC of
    `covariance_type` and of the types nested in it is compared; labels have no say in it.
    :func:`~latentmix.select_n_components` shows the table.

    References
    ----------
    - Dempster, Laird and Rubin (1977), "Maximum likelihood from incomplete data via the EM
      algorithm".
    - Ghahramani and Jordan (1994), "Supervised learning from incomplete data via an EM approach":
      missing entries.
    - Ghahramani and Hinton (1996), "The EM algorithm for mixtures of factor analyzers".
    - Varadhan and Roland (2008), "Simple and globally convergent methods for accelerating the
      convergence of any EM algorithm": 'squarem'.
    - Cappe and Moulines (2009), "On-line expectation-maximization algorithm for latent data
      models": `partial_fit`.

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
        n_components: int | str = 1,
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
            Fitted; 'full' unless features are independent given the component. It has the
            parameters of this one but for a start, which is one of all features.

        Raises
        ------
        InputError
            If `given` names an unknown feature, has another width or an infinite value, or gives no
            feature or every one.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 12], [10, 14], [10, 10]])
        >>> given = GaussianMixture(2, random_state=0).fit(X).conditional({0: 10})
        >>> (given.weights_ @ given.means_).round(2)
        array([12.])
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
        answer.set_params(covariance_type=family.name, **dict.fromkeys(STARTS))
        fit = EmFit(
            mixture,
            class_probs=None,
            lower_bounds=[],
            n_iter=0,
            converged=self.converged_,
            n_reborn=0,
            n_falls=0,
        )
        answer._keep(fit, self._dtype)
        answer.n_features_in_ = int((~seen).sum())
        if hasattr(self, "feature_names_in_"):
            answer.feature_names_in_ = self.feature_names_in_[~seen]
        if hasattr(self, "classes_"):
            answer.keep_names(self.classes_, self.class_probs_, self.labelled_rows_)
        return answer

    def split(self, component: int, X: Any) -> GaussianMixture:
        """Return the mixture with one component in two, fitted by EM to the rows that are its own.

        Parameters
        ----------
        component : int
        X : (N, D)
            Rows as `fit` takes them; those count that the component is most probable for.

        Returns
        -------
        GaussianMixture
            Fitted, of K + 1 components: the larger half keeps the component's number, the other is
            the last, and all others stay as they are, as does a 'tied' covariance. Names are to be
            given anew.

        Raises
        ------
        ParameterError
            If there is no such component.
        InputError
            If fewer than two different rows are its own.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0], [2], [10], [11]])
        >>> whole = GaussianMixture(1, random_state=0).fit(X)
        >>> np.sort(whole.split(0, X).means_.ravel()).round(2)
        array([ 1.5, 10.5])
        """
        check_is_fitted(self)
        if component not in range(self.n_components_):
            raise ParameterError(
                f"component={component!r} is unknown. Choose one of 0 to {self.n_components_ - 1}."
            )
        X = self._checked(X)
        own = X[self.predict(X) == component]
        if len(np.unique(own, axis=0)) < 2:
            raise InputError(
                f"Component {component} has {len(own)} rows of its own, or all of them alike. "
                "Expected two different ones at least; split another."
            )
        alone = dict.fromkeys(STARTS)
        halves = clone(self).set_params(**alone, n_components=2, random_state=0).fit(own)
        first, last = np.argsort(-halves.weights_, kind="stable")
        weights = np.append(self.weights_, self.weights_[component] * halves.weights_[last])
        weights[component] *= halves.weights_[first]
        start = {"weights_init": weights / weights.sum()}
        for name in ("means", "precisions"):
            whole, of_halves = getattr(self, f"{name}_"), getattr(halves, f"{name}_")
            if name == "precisions" and self.covariance_type == "tied":
                start["precisions_init"] = whole
                continue
            start[f"{name}_init"] = np.concatenate([whole, of_halves[last][None]])
            start[f"{name}_init"][component] = of_halves[first]
        answer: GaussianMixture = clone(self)
        answer.set_params(**start, n_components=self.n_components_ + 1, max_iter=0)
        answer.fit(X).set_params(**alone, max_iter=self.max_iter)
        return answer

    def _row(self, given: Any) -> np.ndarray:
        """Return what is given as a row with NaN elsewhere."""
        n_features = self.means_.shape[1]
        if not isinstance(given, dict):
            try:
                row = as_floats(given)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"given is no row of numbers ({error}). Give a row with NaN where a feature is "
                    "not given, or a dict."
                ) from error
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
                column = names.index(feature)
            elif isinstance(feature, int | np.integer) and 0 <= feature < n_features:
                column = int(feature)
            else:
                raise InputError(
                    f"given names the feature {feature!r}, which is unknown. Expected numbers from "
                    f"0 to {n_features - 1}{' or ' + ', '.join(names) if names else ''}."
                )
            try:
                row[column] = value
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"given holds {value!r} for the feature {feature!r}. Expected a number; leave "
                    "the feature out where it is unknown."
                ) from error
        return row

    def _family(self) -> Gaussian:
        return gaussian_family(self.covariance_type, self.n_factors)

    def _regularisation(self) -> tuple[float, bool]:
        return self.reg_covar, self.relative_reg_covar

    def _given(self, n_features: int) -> Start:
        return given_start(
            self._family(),
            (int(self.n_components), n_features),
            self.weights_init,
            self.means_init,
            self.precisions_init,
        )

    def _start(self, source: Source, seed: int) -> Start:
        if self.covariance_type == "factor" and self.n_factors > source.n_features:
            raise ParameterError(
                f"n_factors={self.n_factors} is more than the features of X: n_features="
                f"{source.n_features}. Expected at most as many factors as features; decrease "
                "n_factors."
            )
        return super()._start(source, seed)

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
        self.precisions_ = self._precisions(self.precisions_cholesky_)

    def _keep_mixture(self, mixture: Mixture, dtype: np.dtype) -> None:
        with np.errstate(over="ignore"):
            # In C order, as they are read from files: products of another order round otherwise.
            kept = Mixture(*(array.astype(dtype, order="C") for array in mixture))
            precisions = self._precisions(kept.factors)
        if np.isfinite(mixture.factors).all():
            refuse_overflow(kept.covariances, kept.factors, precisions)
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = kept
        self.precisions_ = precisions

    def _precisions(self, factors: np.ndarray) -> np.ndarray:
        """Return the precisions of the factors as they are kept: a file holds no others."""
        precisions = self._family().precisions(factors.astype(np.float64))
        return precisions.astype(factors.dtype, order="C")

    def _check_parameters(self) -> None:
        check_choice("covariance_type", self.covariance_type, GAUSSIAN)
        check_number("reg_covar", self.reg_covar, least=0)
        check_flag("relative_reg_covar", self.relative_reg_covar)
        check_number("n_factors", self.n_factors, kind=Integral, least=1)
        super()._check_parameters()
