"""How a mixture is fitted, as a scikit-learn estimator; the method is in `training`."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from contextlib import closing
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from latentmix.errors import InputError, ParameterError
from latentmix.estimators.answers import AnswersMixin
from latentmix.estimators.dask_rows import DaskRows, dask_rows, here, is_dask, source_of
from latentmix.estimators.labels import KnownLabels, known_labels
from latentmix.estimators.naming import NamedComponentsMixin
from latentmix.estimators.online import OnlineMixin
from latentmix.estimators.querying import QueryMixin, landscape_of
from latentmix.estimators.row_sources import (
    check_matrix,
    float_type,
    is_stream,
    matrix_of,
    refuse_stream,
    stream_of,
)
from latentmix.estimators.saving import SaveMixin
from latentmix.estimators.validation import (
    check_choice,
    check_flag,
    check_number,
    check_verbosity,
    check_weights,
    draw_seeds,
)
from latentmix.estimators.verbosity import EmPrinter
from latentmix.kernels.families import Mixture
from latentmix.kernels.queries import Landscape
from latentmix.kernels.rows import refuse_infinite
from latentmix.training.em_ascent import ACCELERATIONS
from latentmix.training.em_checkpoint import EmKeeper, FolderKeeper
from latentmix.training.em_loop import EmFit, EmRule, fit_em
from latentmix.training.em_selection import grown_start
from latentmix.training.em_start import INITIALISATIONS, Start
from latentmix.training.events import Listener, nobody
from latentmix.training.sources import Source

# In place of a number of components: as many as the rows call for.
AUTO: Final = "auto"

# Parameters that give a start.
STARTS = ("weights_init", "means_init", "precisions_init")


class _Rows(NamedTuple):
    """What `fit` is given: a source, and the matrix and its known labels, where there are any."""

    source: Source
    dtype: np.dtype
    matrix: np.ndarray | DaskRows | None
    known: KnownLabels | None


# scikit-learn carries no types, so its classes are Any.
class MixtureEstimator(
    AnswersMixin,
    NamedComponentsMixin,
    OnlineMixin,
    QueryMixin,
    SaveMixin,
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    DensityMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Any mixture: how it is fitted, and what that leaves. A subclass says which family.

    Subclasses have the parameters `n_components`, `tol`, `max_iter`, `n_init`, `init_params`,
    `random_state`, `warm_start`, `verbose`, `verbose_interval`, `acceleration`, `smoothing` and
    `missing_label`.
    """

    @abstractmethod
    def _given(self, n_features: int) -> Start:
        """Return what the parameters give of the start, checked."""

    @abstractmethod
    def keep_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Set the fitted arrays, by attribute, as they were stored."""

    @abstractmethod
    def _keep_mixture(self, mixture: Mixture, dtype: np.dtype) -> None:
        """Set the fitted attributes."""

    def _regularisation(self) -> tuple[float, bool]:
        """Return reg_covar, and whether it is a share of the variances."""
        return 0.0, False

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        labels: Any = None,
        checkpoint: str | PathLike[str] | None = None,
        listener: Listener = nobody,
    ) -> Self:
        """Fit by EM from `n_init` starts, and keep the best.

        Parameters
        ----------
        X : (N, D) matrix, path of a .npy or Parquet file, collection of Dask, or blocks
            Rows, in memory or memory-mapped; NaN where an entry is missing. Blocks of a Dask array
            or data frame are worked on where they are. Any other object that can be iterated over
            again and yields 2-D blocks is read block by block, once for each iteration, to the
            same answer.
        y : ignored
        sample_weight : (N,), optional
            Weights of the rows; a weight of 2 is the row given twice: from the same start, which
            is drawn on a sample beyond 100,000 rows, and of several chosen on one beyond 20,000.
        labels : (N,), optional
            Classes of the rows, `missing_label` or None where unknown: p(y|k) is fitted with the
            rest, and components keep to rows of their classes.
        checkpoint : path, optional
            A folder to keep an unfinished fit in, every few seconds and at Ctrl-C. The same call
            goes on with it, to the same bits; at the end its files are deleted. Where
            `random_state` is no integer, the fit goes on with the random numbers it began with.
        listener : callable, optional
            Told of every :class:`~latentmix.training.events.EmIteration`.

        Raises
        ------
        InputError
            For infinite values, blocks of unequal width or that can be read once only, fewer rows
            than components, a singular covariance, weights or labels that do not fit the rows, or
            if another fit uses `checkpoint`.
        MissingError
            If X is a path at which there is no file.
        ParameterError
            For a parameter outside its domain.
        IntegrityError
            If the files in `checkpoint` were changed.
        WriteError
            If `checkpoint` is no folder, or cannot be written.
        ClusterError
            If X is a collection of Dask whose cluster cannot finish a pass.

        Examples
        --------
        The third row counts twice; the fifth has lost an entry.

        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, np.nan], [10, 0]])
        >>> mixture = GaussianMixture(2, random_state=0)
        >>> mixture = mixture.fit(X, sample_weight=[1, 1, 2, 1, 1, 1])
        >>> np.sort(mixture.weights_).round(2)
        array([0.43, 0.57])
        """
        self._check_parameters()
        rows = self._rows(X, sample_weight, labels)
        with closing(self._keeper(checkpoint)) as keeper:
            fit = self._fit(rows, keeper, listener)
            keeper.remove()
        self._keep(fit, rows.dtype)
        self._forget_names()
        if rows.matrix is not None and rows.known is not None:
            self._keep_classes(rows.matrix, rows.known, fit)
        self._warn_unless_converged()
        return self

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit, and return the component of each row, (N,).

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> X = np.array([[1.0], [2], [10], [11]])
        >>> np.bincount(GaussianMixture(2, random_state=0).fit_predict(X))
        array([2, 2])
        """
        refuse_stream(X)  # before a fit that could not be told about
        return self.fit(X).predict(X)

    def transform(self, X: Any) -> np.ndarray:
        """Return p(k|x), (N, K), as features for what comes next in a pipeline."""
        return self.predict_proba(X)

    def keep_names(
        self, classes: np.ndarray, class_probs: np.ndarray, labelled_rows: np.ndarray
    ) -> None:
        """Set what labels teach, in the dtype of all that is fitted."""
        kept = (array.astype(self._dtype) for array in (class_probs, labelled_rows))
        super().keep_names(classes, *kept)

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows: np.ndarray = check_matrix(self, X, reset=False)
        self._check_values(rows)
        if rows.dtype.kind == "f":
            refuse_infinite(rows, slice(0, len(rows)))
        return rows

    def _landscape(self, X: np.ndarray) -> Landscape:
        seen = X.dtype.kind != "f" or not np.isnan(X).any()
        return landscape_of(self._answers(X), X if seen else self.impute(X))

    def _responsibilities(self, X: np.ndarray) -> np.ndarray:
        return self._answers(X).responsibilities

    def _rows(self, X: Any, sample_weight: Any, labels: Any) -> _Rows:
        """Return what `fit` is given, checked."""
        if is_dask(X):
            return self._dask_rows(X, sample_weight, labels)
        X = matrix_of(X)
        if is_stream(X):
            if sample_weight is not None or labels is not None:
                raise InputError(
                    "sample_weight and labels go with a matrix, but X is a stream of blocks. Give "
                    "the rows as an array, in memory or memory-mapped."
                )
            return _Rows(*stream_of(self, X, self._check_values), None, None)
        X = check_matrix(self, X, reset=True)
        self._check_values(X)
        weights = None if sample_weight is None else check_weights(sample_weight, len(X))
        known = None if labels is None else self._known(labels, len(X), weights)
        numbers = None if known is None else _numbers(known, len(X))
        source = source_of(X, weights, numbers, self._check_values)
        return _Rows(source, float_type(X), X, known)

    def _dask_rows(self, X: Any, sample_weight: Any, labels: Any) -> _Rows:
        """Return a collection of Dask, checked; labels come here, and with them the weights."""
        if labels is not None:
            labels, sample_weight = here(labels), here(sample_weight)
        given, known = dask_rows(self, X, sample_weight), None
        if labels is not None:
            weights = None if sample_weight is None else check_weights(sample_weight, len(given))
            known = self._known(labels, len(given), weights)
        numbers = None if known is None else _numbers(known, len(given))
        source = given.source(
            numbers, 0 if known is None else len(known.classes), self._check_values
        )
        return _Rows(source, given.dtype, given, known)

    def _fit(self, rows: _Rows, keeper: EmKeeper, listener: Listener) -> EmFit:
        """Return the best fit of all starts."""
        source = rows.source
        continuing = self.warm_start and hasattr(self, "converged_")
        once = continuing or self.n_components == AUTO
        seeds = keeper.begin(draw_seeds(self.random_state, 1 if once else self.n_init))
        if continuing:
            start = self._previous(source.n_features, rows.known)
        else:
            start = self._start(source, seeds[0])
        rule = self._rule(start)
        printer = EmPrinter(start.lower_bound, self.verbose, self.verbose_interval, listener)
        fit = fit_em(source, rule, seeds, printer if self.verbose else listener, keeper)
        printer.end_round()
        return fit

    def _start(self, source: Source, seed: int) -> Start:
        """Return what the parameters give of the start, or a grown one where they leave K open."""
        if self.n_components != AUTO:
            return self._given(source.n_features)
        given = [name for name in STARTS if getattr(self, name, None) is not None]
        if given:
            raise ParameterError(
                f"{given[0]} is given for components whose number is open (n_components='auto'). "
                "Give n_components as an integer, or leave the start out."
            )
        return grown_start(source, self._rule(Start()), seed)

    def _keeper(self, checkpoint: str | PathLike[str] | None) -> EmKeeper:
        if checkpoint is None:
            return EmKeeper()
        if not isinstance(checkpoint, str | PathLike) or not str(checkpoint):
            raise ParameterError(
                f"checkpoint={checkpoint!r} is no folder. Expected the path of a folder to keep an "
                "unfinished fit in, or None."
            )
        # Only an integer gives the next call the same seeds.
        return FolderKeeper(Path(checkpoint), seeds_given=isinstance(self.random_state, Integral))

    def _rule(self, start: Start) -> EmRule:
        reg_covar, relative = self._regularisation()
        n_components = self.n_components
        if n_components == AUTO:
            n_components = 1 if start.weights is None else len(start.weights)
        return EmRule(
            self._family(),
            n_components,
            init_params=self.init_params,
            tol=self.tol,
            reg_covar=reg_covar,
            relative_reg_covar=relative,
            max_iter=self.max_iter,
            acceleration=self.acceleration,
            smoothing=self.smoothing,
            start=start,
        )

    def _known(self, labels: Any, n_rows: int, weights: np.ndarray | None) -> KnownLabels:
        """Return the labels of rows with any weight."""
        known = known_labels(labels, n_rows, self.missing_label)
        if weights is not None:
            known = known.among(weights > 0)
        if not len(known.classes):
            raise InputError(
                "sample_weight is 0 for every row with a label. Expected some labelled rows with "
                "a weight above 0; leave labels out, or call label(X, labels) after fit."
            )
        if len(known.classes) < 2:
            raise InputError(
                f"labels holds one class alone, {known.classes.tolist()[0]!r}, which teaches "
                "nothing. Expected labels of at least two classes; leave labels out, or name "
                "components with label(X, labels) after fit."
            )
        return known

    def _check_parameters(self) -> None:
        check_choice("init_params", self.init_params, INITIALISATIONS)
        if self.n_components != AUTO:
            if isinstance(self.n_components, str):
                raise ParameterError(
                    f"n_components={self.n_components!r} is unknown. Expected an integer >= 1, or "
                    "'auto' for as many as the rows call for."
                )
            check_number("n_components", self.n_components, kind=Integral, least=1)
        check_number("n_init", self.n_init, kind=Integral, least=1)
        check_number("max_iter", self.max_iter, kind=Integral, least=0)
        check_number("tol", self.tol, least=0)
        check_number("smoothing", self.smoothing, least=0)
        check_flag("warm_start", self.warm_start)
        if self.acceleration is not None:
            check_choice("acceleration", self.acceleration, [k for k in ACCELERATIONS if k])
        check_verbosity(self.verbose)
        check_number("verbose_interval", self.verbose_interval, kind=Integral, least=1)

    def _previous(self, n_features: int, known: KnownLabels | None) -> Start:
        """Return the last fit's solution to go on from."""
        mixture = self._mixture()
        n_components = len(mixture.means) if self.n_components == AUTO else self.n_components
        shape = (n_components, n_features)
        fitted = self._family().shape(*shape)
        if mixture.means.shape != shape or mixture.covariances.shape != fitted:
            raise InputError(
                f"warm_start=True goes on from means_ of shape {mixture.means.shape} and "
                f"covariances_ of shape {mixture.covariances.shape}, but the parameters and X need "
                f"{shape} and {fitted}. Set warm_start=False to start again."
            )
        classes = getattr(self, "classes_", np.zeros(0))
        same = known is not None and np.array_equal(known.classes, classes)
        names = self.class_probs_.astype(np.float64) if same else None
        return Start(*mixture[:3], names, self.lower_bound_)

    def _keep(self, fit: EmFit, dtype: np.dtype) -> None:
        """Set the fitted attributes."""
        self._online = None
        self._keep_mixture(fit.mixture, dtype)
        self.lower_bounds_ = fit.lower_bounds
        self.lower_bound_ = fit.lower_bounds[-1] if fit.lower_bounds else -np.inf
        self.n_iter_ = fit.n_iter
        self.converged_ = fit.converged
        self.n_reborn_ = fit.n_reborn
        self.n_falls_ = fit.n_falls

    def _keep_classes(self, X: np.ndarray | DaskRows, known: KnownLabels, fit: EmFit) -> None:
        assert fit.class_probs is not None
        shares = self._answers(X[known.rows]).responsibilities * fit.class_probs[:, known.indices].T
        total = shares.sum(axis=1, keepdims=True)
        shares /= np.where(total > 0, total, 1.0)
        self.keep_names(known.classes, fit.class_probs, shares.sum(axis=0))

    def _warn_unless_converged(self) -> None:
        # Who asks for no iteration wants the start, and has nothing to act on.
        if self.converged_ or self.max_iter == 0:
            return
        if self.n_iter_ < self.max_iter:
            why = (
                f"EM ended after {self.n_iter_} iterations, as components went on collapsing onto "
                f"single rows: {self.n_reborn_} were started again. Increase reg_covar, or ask for "
                "fewer components."
            )
        else:
            why = (
                f"The log-likelihood still changed by tol={self.tol} or more after "
                f"max_iter={self.max_iter} iterations."
            )
        warnings.warn(
            "Best performing initialization did not converge. Try different init parameters, "
            f"or increase max_iter, tol, or check for degenerate data. {why}",
            ConvergenceWarning,
            stacklevel=3,
        )

    @property
    def _n_features_out(self) -> int:
        return int(self.n_components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _numbers(known: KnownLabels, n_rows: int) -> np.ndarray:
    """Return each row's class number, -1 where unknown."""
    numbers = np.full(n_rows, -1)
    numbers[known.rows] = known.indices
    return numbers
