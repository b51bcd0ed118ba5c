"""Several VAEs fitted to the same rows at once: other seeds, other settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from latentmix.data.views import Rows
from latentmix.errors import InputError, ParameterError
from latentmix.estimators.diagnosis import warn_of_network
from latentmix.estimators.vae import VAE, nowhere
from latentmix.estimators.validation import check_flag
from latentmix.training.events import nobody
from latentmix.training.vae_loop import Training, run
from latentmix.training.vae_together import TRACED, run_together

# Beyond so many parameters a network's steps are bound by its matrix products, which train no
# faster side by side (docs/log.md, "several VAEs at once").
MOST_PARAMETERS = 200_000

# What estimators trained together may differ in; what is printed is not printed here.
MAY_DIFFER = {*TRACED, "random_state", "verbose"}


def fit_together(vaes: Sequence[VAE], X: Any, *, vmap: bool | str = "auto") -> list[VAE]:
    """Fit several VAEs to the same rows, each as its own `fit` would, to rounding.

    They may differ in `random_state`, `learning_rate`, `kl_weight` and `clip_norm`. Each keeps
    its own weights, order of rows and noise. Nothing is printed, and no validation rows, patience,
    listener or checkpoint is taken; `seconds` in `history_` are those of all together.

    Parameters
    ----------
    vaes : sequence of VAE
        Changed in place.
    X : (N, D)
        Rows, as `VAE.fit` takes them; where they are trained side by side, they are held in memory.
    vmap : bool or 'auto', default='auto'
        Train all side by side in the same compiled steps, or one after another. Auto: side by
        side for networks of up to 200,000 parameters, for which that is faster.

    Returns
    -------
    list of VAE
        The estimators given, fitted.

    Raises
    ------
    InputError
        As `VAE.fit`, and if the estimators cannot be trained together.
    ParameterError
        As `VAE.fit`. If some of the trainings diverge, the others are fitted all the same.

    Warns
    -----
    TrainingWarning
        As `VAE.fit`, for each.

    Examples
    --------
    >>> import numpy as np
    >>> from latentmix import VAE, fit_together
    >>> X = np.random.RandomState(0).randint(0, 256, (64, 16), np.uint8)
    >>> vaes = [VAE(latent_dim=2, max_epochs=1, min_steps=0, random_state=s) for s in range(3)]
    >>> [vae.transform(X).shape for vae in fit_together(vaes, X)]
    [(64, 2), (64, 2), (64, 2)]
    """
    if vmap != "auto":
        check_flag("vmap", vmap)
    vaes = list(vaes)
    _refuse_unlike(vaes)
    with jax.enable_x64(False):
        trainings = []
        for vae in vaes:
            rows, training = _begun(vae, X)
            trainings.append(training)
        side_by_side = _is_small(trainings[0]) if vmap == "auto" else vmap
        if side_by_side:
            diverged = run_together(trainings, rows[:])
        else:
            diverged = _run_in_turn(trainings, rows)
    for number, (vae, training) in enumerate(zip(vaes, trainings, strict=True)):
        if number not in diverged:
            vae._keep(training)
            warn_of_network(vae, rows)
    if diverged:
        raise ParameterError(
            f"Training diverged for {_named(vaes, diverged)}. Expected finite numbers; lower "
            "learning_rate, set clip_norm, or rescale X. The others are fitted."
        )
    return vaes


def _begun(vae: VAE, X: Any) -> tuple[Rows, Training]:
    """Return the rows in the network's units, and a training before its first step."""
    X, seed = vae._checked(X)
    vae._learn_units(X, *vae._told_by(X))
    rows = vae._prepared(X)
    return rows, vae._start(rows, seed)


def _is_small(training: Training) -> bool:
    leaves = jax.tree.leaves(training.state.network)
    return int(sum(leaf.size for leaf in leaves)) <= MOST_PARAMETERS


def _run_in_turn(trainings: Sequence[Training], rows: Rows) -> list[int]:
    """Train one after another, and return the numbers of those that diverged."""
    diverged = []
    for number, training in enumerate(trainings):
        try:
            run(training, rows, None, nobody, nowhere)
        except ParameterError:
            diverged.append(number)
    return diverged


def _named(vaes: Sequence[VAE], numbers: Sequence[int]) -> str:
    return ", ".join(f"vaes[{n}] (learning_rate={vaes[n].learning_rate})" for n in numbers)


def _refuse_unlike(vaes: Sequence[Any]) -> None:
    """Refuse estimators that cannot share their compiled steps."""
    if not vaes or not all(isinstance(vae, VAE) for vae in vaes):
        kinds = ", ".join(sorted({type(vae).__name__ for vae in vaes})) or "nothing"
        raise InputError(f"vaes holds {kinds}. Expected one VAE or more, as [VAE(), VAE()].")
    if len({id(vae) for vae in vaes}) < len(vaes):
        raise InputError(
            "vaes holds the same estimator twice. Expected different ones: take a clone "
            "(sklearn.base.clone)."
        )
    for name in ("patience", "validation_fraction"):
        if getattr(vaes[0], name) is not None:
            raise InputError(
                f"{name}={getattr(vaes[0], name)} needs validation rows, which VAEs trained "
                f"together have none of. Set {name}=None, or fit each by itself."
            )
    for number, vae in enumerate(vaes[1:], 1):
        for name, value in vaes[0].get_params().items():
            other = getattr(vae, name)
            if name not in MAY_DIFFER and _comparable(other) != _comparable(value):
                raise InputError(
                    f"vaes[0] has {name}={value!r}, but vaes[{number}] has {other!r}. VAEs trained "
                    "together may differ in random_state, learning_rate, kl_weight and clip_norm; "
                    "make them equal otherwise, or fit each by itself."
                )


def _comparable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _comparable(one) for name, one in value.items()}
    return value if value is None or np.isscalar(value) else tuple(value)
