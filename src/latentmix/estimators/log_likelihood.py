"""The `log_likelihood` of models with a network; the method is in `models.importance`."""

from __future__ import annotations

from abc import abstractmethod
from numbers import Integral
from typing import Any

from sklearn.utils.validation import check_is_fitted

from latentmix.estimators.validation import check_number, check_readable
from latentmix.models import importance

# The usual number of reported figures.
DRAWS = 5000


class LogLikelihoodMixin:
    """Adds `log_likelihood` to an estimator that says which VAE it has, and which prior."""

    @abstractmethod
    def _vae_and_prior(self) -> tuple[Any, importance.LogPrior]:
        """Return the fitted VAE, and log p(z)."""

    def log_likelihood(self, X: Any, n_draws: int = DRAWS) -> importance.LogLikelihood:
        """Return the importance-weighted estimate of log p(x) of each row, in nats.

        log of the mean of p(x|z) p(z) / q(z|x) over draws of q(z|x) (Burda, Grosse and
        Salakhutdinov 2016, equation 8). Its expectation is at least the ELBO's, rises with the
        number of draws, and is at most log p(x). The same row has the same answer: its values
        decide its draws, of which the first are the same however many there are. A draw costs
        half of `reconstruct`; memory is for a block of rows, however many draws.

        For grey images under a Bernoulli likelihood p(x|z) is exp(-cross entropy) and no density,
        and neither is this: give rows of 0 and 1 (or of 0 and 255, as bytes) for a likelihood.

        Parameters
        ----------
        X : (N, D)
        n_draws : int, default=5000
            Draws of z for each row, S.

        Returns
        -------
        LogLikelihood
            ``log_likelihood`` and ``standard_error``, (N,) each, in nats: the second is that of
            the first over other draws (delta method), NaN of one draw. Where it is not small, the
            estimate lies too low, by about half its square. Errors of different rows are
            independent: that of a mean over rows is the root of their mean square over root N.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ParameterError
            If `n_draws` is no integer of 1 or more.
        InputError
            As `score_samples` does.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import VAE
        >>> X = np.repeat(np.eye(2), 40, axis=0).repeat(8, axis=1).astype(np.uint8) * 255
        >>> vae = VAE(hidden_dims=[8], latent_dim=2, min_steps=0, max_epochs=80, learning_rate=0.01)
        >>> estimate = vae.fit(X).log_likelihood(X[[0, 79]], n_draws=32)
        >>> estimate.log_likelihood.shape, estimate.standard_error.shape
        ((2,), (2,))
        >>> bool((estimate.log_likelihood >= vae.score_samples(X[[0, 79]]) - 1).all())
        True
        """
        check_number("n_draws", n_draws, kind=Integral, least=1)
        check_is_fitted(self)
        X = check_readable(self, X, reset=False)
        vae, log_prior = self._vae_and_prior()
        rows = vae._validated(X)
        found = importance.log_likelihood(vae.network_, rows, int(n_draws), log_prior)
        return found._replace(log_likelihood=found.log_likelihood + vae.log_jacobian_)
