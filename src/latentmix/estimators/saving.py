"""The `save` that every estimator has; the format is in `estimators.store`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class SaveMixin:
    """Adds `save` to an estimator that `estimators.store` knows how to write."""

    def save(self: Any, folder: str | Path) -> None:
        """Write the fitted model into a new folder: safetensors, JSON, a manifest of SHA-256.

        Parameters
        ----------
        folder : path
            New or empty. `latentmix.load` reads it back; the answers are the same bits.

        Raises
        ------
        NotFittedError
            Before `fit`.
        WriteError
            If the folder is not empty or cannot be written.

        Examples
        --------
        >>> import numpy as np
        >>> from latentmix import GaussianMixture, load
        >>> GaussianMixture(random_state=0).fit(np.arange(12.0).reshape(6, 2)).save("one-normal")
        >>> load("one-normal").means_
        array([[5., 6.]])
        """
        # The store knows every estimator, so it cannot be imported before they are defined.
        from sklearn.utils.validation import check_is_fitted  # noqa: PLC0415

        from latentmix.estimators.store import save  # noqa: PLC0415

        check_is_fitted(self)
        save(self, folder)
