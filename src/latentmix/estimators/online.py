"""The `partial_fit` of the mixtures, for rows that are seen once; the method is in `training`."""

from __future__ import annotations

from typing import Any, NamedTuple

from sklearn.utils.metaestimators import available_if

from latentmix.errors import InputError
from latentmix.estimators.row_sources import check_matrix, float_type
from latentmix.estimators.validation import check_weights, draw_seeds
from latentmix.training.em_online import OnlineMixture
from latentmix.training.sources import ArraySource

# What the running statistics are of, and in which units: no block can change them.
SETTLED = ("n_components", "covariance_type", "reg_covar", "relative_reg_covar")


class Online(NamedTuple):
    """A mixture between two blocks, and the parameters that its first block settled."""

    mixture: OnlineMixture
    settled: dict[str, Any]


def _learns_online(estimator: Any) -> bool:
    """Return True, or say why not: scikit-learn shows it as the cause of an AttributeError."""
    if getattr(estimator, "covariance_type", None) == "factor":
        raise InputError(
            "partial_fit is not available for covariance_type='factor'. Give fit the blocks as an "
            "iterable that can be read again, or choose 'full', 'tied', 'diag' or 'spherical'."
        )
    return True


class OnlineMixin:
    """Adds `partial_fit` to a mixture estimator."""

    _online: Online | None = None

    @available_if(_learns_online)  # type: ignore[untyped-decorator]
    def partial_fit(self: Any, X: Any, y: Any = None, *, sample_weight: Any = None) -> Any:
        """Take in a block of rows that is seen once (stepwise online EM).

        The first block gives the start, and needs at least as many rows as components. The first
        after `fit`, or of a mixture that was loaded from a folder, begins anew as well: nothing of
        the mixture before is kept, unless it is given as `means_init` and so on. `lower_bound_`
        is a running mean over the blocks, `n_iter_` their number, and `converged_` False. Not for
        covariance_type='factor'.

        Parameters
        ----------
        X : (B, D)
            Rows; NaN where an entry is missing.
        y : ignored
        sample_weight : (B,), optional
            Weights of the rows.

        Raises
        ------
        InputError
            As `fit` does, and for a block of another width, or if `n_components`,
            `covariance_type`, `reg_covar` or `relative_reg_covar` were changed since the first
            block.
        ParameterError
            For a parameter outside its domain.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture
        >>> random = np.random.RandomState(0)
        >>> mixture = GaussianMixture(2, random_state=0)
        >>> for _ in range(20):
        ...     block = random.randn(100, 1) + np.repeat([[0], [9]], 50, axis=0)
        ...     mixture = mixture.partial_fit(block)
        >>> abs(np.sort(mixture.means_.ravel()) - [0, 9]) < 0.1
        array([ True,  True])
        """
        self._check_parameters()
        begun = self._online
        settled = {name: getattr(self, name) for name in SETTLED if hasattr(self, name)}
        if begun is not None:
            _refuse_changes(begun.settled, settled)
        X = check_matrix(self, X, reset=begun is None)
        self._check_values(X)
        weights = None if sample_weight is None else check_weights(sample_weight, len(X))
        source = ArraySource(X, weights)
        if begun is None:
            seed = draw_seeds(self.random_state, 1)[0]
            rule = self._rule(self._start(source, seed))
            begun = Online(OnlineMixture.begin(source, rule, seed), settled)
            self._forget_names()
        else:
            begun.mixture.add(source)
        self._keep(begun.mixture.fit(), float_type(X))
        self._online = begun
        return self


def _refuse_changes(settled: dict[str, Any], asked: dict[str, Any]) -> None:
    for name, value in settled.items():
        if asked[name] != value:
            raise InputError(
                f"{name} was changed from {value!r} to {asked[name]!r} between two blocks of "
                "partial_fit, which goes on with a mixture of the former. Set it back, or begin "
                "anew with a clone (sklearn.base.clone)."
            )
