"""Train on all devices of all processes that a launcher started; the first keeps what it finds.

python trained_by_several.py OUT.npz     alone, or one of several by JAX's variables
"""

import sys
import warnings

import jax
import numpy as np

from latentmix import VAE, LatentMixture, Refinement
from latentmix.apps.launch import join, part

SMALL = {"hidden_dims": (32, 16), "latent_dim": 3, "min_steps": 0, "random_state": 0}
# 50 rows are dealt out unevenly to 4.
BATCH = 50
ROUNDS = {"n_rounds": 2, "epochs": 4, "min_steps": 0, "classifier_steps": 20, "n_neighbors": 8}


def images(n_rows=200):
    random, kinds = np.random.RandomState(0), np.arange(n_rows) % 3
    bright = np.zeros((3, 8, 8), int)
    bright[0, :4] = bright[1, :, :4] = bright[2, 2:6, 2:6] = 200
    noise = random.randint(0, 50, (n_rows, 8, 8))
    return (bright[kinds] + noise).astype(np.uint8).reshape(n_rows, 64)


def weights(vae):
    leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(vae.network_)]
    return np.concatenate([leaf for leaf in leaves if leaf.dtype == np.float32])


def dense(X):
    """Return the weights after 1 and 100 steps, and the objective of each."""
    one, hundred = (
        VAE(batch_size=BATCH, max_epochs=n_steps, **SMALL).fit(X[:BATCH]) for n_steps in (1, 100)
    )
    return {
        "n_devices": np.array(jax.device_count()),
        "one": weights(one),
        "hundred": weights(hundred),
        "objective": np.array([record.train.objective for record in hundred.history_]),
        "elbo": np.array(hundred.score(X)),
    }


def others(X):
    """Return ELBOs of drawn pixels and of rounds, and the weights of convolutions."""
    held_out = {"validation_data": X[150:]}
    drawn = VAE(likelihood="binarised", batch_size=BATCH, max_epochs=30, patience=5, **SMALL)
    drawn.fit(X[:150], **held_out)
    shapes = {"channels": (4,), "image_shape": (8, 8)}
    convolved = VAE(**shapes, **{**SMALL, "hidden_dims": (16,)}, max_epochs=2).fit(X)
    rounds = Refinement(image_shape=(8, 8), **ROUNDS)
    vae = VAE(batch_size=32, max_epochs=8, **SMALL)
    mixture = LatentMixture(3, vae=vae, refinement=rounds, random_state=0).fit(X, **held_out)
    return {
        "drawn": np.array(drawn.score(X)),
        "best_epoch": np.array(drawn.best_epoch_),
        "convolved": weights(convolved),
        "rounds": np.array(mixture.score(X)),
        "components": mixture.predict(X),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    join()
    found = dense(images())
    if "--dense" not in sys.argv:
        found |= others(images())
    if jax.process_index() == 0:
        np.savez(sys.argv[1], **found)
    part()
