"""What can be wrong with a training that ended: said in a warning, with what usually mends it."""

from __future__ import annotations

import warnings
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from latentmix.data import Rows
from latentmix.errors import TrainingWarning
from latentmix.metrics import active_dimensions
from latentmix.models import inference
from latentmix.models.mlp import Dense, Trunk
from latentmix.models.posteriors import Posterior
from latentmix.models.vae import Network, prepare

# So many rows tell a unit that sleeps for some from one that is dead; fewer tell nothing.
MOST_ROWS, FEWEST_ROWS = 1000, 100

# A layer of which a smaller share is ever active passes next to nothing on.
LEAST_LIVE: Final = 0.05

# Of the dimensions that the data could fill, a smaller share that carries anything is a collapse.
LEAST_ACTIVE: Final = 0.25


def warn_of_network(vae: Any, rows: Rows) -> None:
    """Warn of a dead layer, or else of a collapsed posterior; `rows` are prepared, (N, D)."""
    if len(rows) < FEWEST_ROWS:
        return
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)]
    if not (some != some[0]).any():
        return
    posterior = inference.posterior(vae.network_, some)
    problem = _dead_layer(vae, some, posterior) or _collapse(vae, posterior)
    if problem is not None:
        warnings.warn(problem, TrainingWarning, stacklevel=3)


def warn_of_one_cluster(components: np.ndarray, n_components: int) -> None:
    """Warn if a mixture of several components puts all rows, (N,), into one."""
    if n_components > 1 and len(components) >= FEWEST_ROWS and np.all(components == components[0]):
        warnings.warn(
            f"All {len(components)} rows are in one of n_components={n_components} components: the "
            "latents have no clusters. Lower the VAE's kl_weight, train longer (max_epochs, "
            "min_steps), or set the mixture's n_init=10.",
            TrainingWarning,
            stacklevel=3,
        )


def _dead_layer(vae: Any, rows: np.ndarray, posterior: Posterior[np.ndarray]) -> str | None:
    network: Network = vae.network_
    x = np.asarray(network.likelihood.encoded(prepare(jnp.asarray(rows))))
    for name, trunk, inputs in (
        ("encoder", network.encoder, x),
        ("decoder", network.decoder, posterior.mean),
    ):
        for number, share in enumerate(_live_shares(trunk, inputs), 1):
            if share < LEAST_LIVE:
                return (
                    f"Hidden layer {number} of the {name} is dead: {share:.0%} of its units are "
                    "ever active. Lower learning_rate="
                    f"{vae.learning_rate}, let it rise first (learning_rate_warmup=0.05), or set "
                    "clip_norm."
                )
    return None


def _live_shares(trunk: Trunk, x: np.ndarray) -> list[float]:
    """Return the share of each layer's units that are active for some row.

    Dense layers are taken in NumPy, which compiles nothing.
    """
    shares = []
    for layer in trunk.layers:
        if isinstance(layer, Dense):
            x = np.maximum(x @ np.asarray(layer.weight) + np.asarray(layer.bias), 0.0)
        else:
            x = np.maximum(np.asarray(layer(jnp.asarray(x))), 0.0)
        shares.append(float((x > 0).any(axis=0).mean()))
    return shares


def _collapse(vae: Any, posterior: Posterior[np.ndarray]) -> str | None:
    mean, log_variance = posterior
    kl = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).mean(axis=0, dtype=np.float64)
    n_active = active_dimensions(kl, mean.var(axis=0))
    shape = vae.architecture_
    if n_active and n_active > LEAST_ACTIVE * min(shape.latent_dim, shape.n_features):
        return None
    listed = ", ".join(f"{value:.2g}" for value in np.sort(kl)[::-1])
    return (
        f"The posterior has collapsed: {n_active} of latent_dim={shape.latent_dim} dimensions are "
        f"active (KL of each: {listed} nats). Lower kl_weight={vae.kl_weight_:.3g}, let it rise "
        "slowly (kl_warmup=0.3), or, if the data have no more to tell, lower latent_dim."
    )
