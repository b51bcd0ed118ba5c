"""What the VAE makes of X: which likelihood, what each column holds, in which units."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from latentmix.data import Rows
from latentmix.data.columns import Column, has_categories
from latentmix.errors import ParameterError
from latentmix.estimators.preparation import preparation_class, refuse_text
from latentmix.estimators.schema import columns_of
from latentmix.estimators.units import Preparation
from latentmix.estimators.validation import check_image_shape, check_readable
from latentmix.models.likelihoods import LIKELIHOODS
from latentmix.models.vae import Architecture, default_widths


class VaeInputsMixin:
    """Adds the likelihood in use and the preparation of rows to the VAE."""

    architecture_: Architecture
    shift_: np.ndarray
    scale_: np.ndarray

    @property
    def likelihood_(self) -> str:
        """The likelihood in use, 'auto' resolved."""
        return self.architecture_.likelihood

    @property
    def columns_(self) -> tuple[Column, ...]:
        """What each column of a table holds; empty where the likelihood tells them all alike."""
        return self.architecture_.columns

    @property
    def log_jacobian_(self) -> float:
        """What turns a density of prepared inputs into one of X, in nats."""
        if LIKELIHOODS[self.likelihood_].measure != "density":
            return 0.0
        return -float(np.sum(np.log(self.scale_)))

    def in_output_units(self, X: np.ndarray) -> np.ndarray:
        """Return rows in the units of `inverse_transform`: to be shown beside reconstructions."""
        return self._preparation.shown(X)

    def _validated(self, X: Any) -> Rows:
        check_is_fitted(self, "architecture_")
        X = check_readable(self, X, reset=False)
        refuse_text(self.likelihood_, X)
        return self._preparation.asked(X)

    def _told_by(self: Any, X: Rows) -> tuple[str, tuple[Column, ...]]:
        """Return the likelihood for X, 'auto' resolved, and what each column of a table holds."""
        likelihood = self.likelihood
        if likelihood == "auto":
            likelihood = "bernoulli" if X.dtype == np.uint8 else "gaussian"
            if self.columns is not None or has_categories(X):
                likelihood = "mixed"
        if LIKELIHOODS[likelihood].domain != "columns":
            return likelihood, ()
        return likelihood, columns_of(self.columns, likelihood, X)

    def _learn_units(self, X: Rows, likelihood: str, columns: tuple[Column, ...]) -> None:
        """Settle the network's shape and the units of the prepared inputs."""
        refuse_text(likelihood, X)
        self.architecture_ = self._architecture(X.shape[1], likelihood, columns)
        learned = preparation_class(likelihood).learned(likelihood, X, columns)
        self.shift_, self.scale_ = learned.shift, learned.scale

    def _architecture(
        self: Any, n_features: int, likelihood: str, columns: tuple[Column, ...]
    ) -> Architecture:
        channels = () if self.channels is None else tuple(map(int, self.channels))
        shape = self.image_shape if channels else ()
        if channels and columns:
            raise ParameterError(
                f"channels={channels} need images, but likelihood={likelihood!r} tells of a "
                "table's columns. Leave channels out, or give another likelihood."
            )
        if channels:
            check_image_shape("channels need", shape, n_features)
        # The encoder sees a bit for each category.
        n_seen = sum(len(c.categories) or 1 for c in columns) if columns else n_features
        widths = self.hidden_dims
        return Architecture(
            n_features,
            tuple(map(int, default_widths(n_seen, channels) if widths is None else widths)),
            int(self.latent_dim),
            self.heads,
            likelihood,
            columns,
            channels,
            tuple(map(int, shape or ())),
        )

    @property
    def _preparation(self) -> Preparation:
        likelihood = self.likelihood_
        return preparation_class(likelihood)(likelihood, self.shift_, self.scale_, self.columns_)

    def _prepared(self, X: Rows) -> Rows:
        """Return what the network is trained on."""
        refuse_text(self.likelihood_, X)
        return self._preparation.rows(X)
