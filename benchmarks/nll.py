"""Negative log-likelihood of binarised test rows, by importance weighting, in nats.

    python benchmarks/nll.py --fits runs/nll --csv benchmarks/results/nll.csv

A network with few latents is fitted to training rows whose pixels are drawn black or white anew
each time (`likelihood="binarised"`, KL weight 1). The table has a row for each of its `PRIORS`.
What there is to choose is chosen by validation rows; test rows decide nothing, and are scored once,
under one fixed binarisation, drawn by a seed. Fits go on where they were stopped, and so does the
scoring, block by block; a row that stands in the table is not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from latentmix import VAE, GaussianMixture, LatentMixture, Refinement
from latentmix import load as load_model
from latentmix.data import load as load_data
from latentmix.data import split
from latentmix.estimators.validation import draw_seeds
from latentmix.runs.environment import environment
from latentmix.storage.files import write_json, write_tensors
from latentmix.training.checkpoint import Checkpoint
from reporting import add_row, table_rows

BINARISATION_SEED: Final = 0
ROWS_PER_BLOCK: Final = 250

# Validation rows by which priors are chosen, and for the table: drawn black and white, too.
VALIDATION_ROWS: Final = 1000
VALIDATION_DRAWS: Final = 200

# A mixture is fitted to so many draws of q(z|x) of each training row, with each of these numbers of
# components: that which gives the validation rows' draws the largest likelihood is taken.
DRAWS_OF_Z: Final = 3
COMPONENTS: Final = (100, 300)

COLUMNS: Final = (
    *("data", "prior", "seed", "latent_dim", "hidden_dims", "epochs", "n_components"),
    *("validation_nll", "test_nll", "standard_error", "standard_error_of_rows"),
    *("test_rows", "draws", "bits_sha256", "training_seconds", "scoring_seconds", "versions"),
)
# What tells rows of the table from each other.
KEY: Final = ("data", "prior", "seed", "latent_dim", "hidden_dims", "epochs", "test_rows", "draws")


class Rows(NamedTuple):
    """Rows to train on, as they are; rows to choose by and rows to score, as bits of 0 and 255."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--priors", nargs="+", choices=PRIORS, default=list(PRIORS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latent-dim", type=int, default=8)
    parser.add_argument("--hidden-dims", type=int, nargs="+", default=[784, 512, 512, 512])
    parser.add_argument("--epochs", type=int, nargs=2, default=[40, 12], help="before, together")
    parser.add_argument("--together", type=int, default=100, help="components trained together")
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--rows", type=int, help="score so many test rows, not all")
    parser.add_argument("--fits", type=Path, default=Path("runs/nll"), help="where fits are kept")
    parser.add_argument("--csv", type=Path, required=True, help="the table")
    options = parser.parse_args(arguments)
    rows = rows_of(options.data, options.rows)
    for prior in options.priors:
        begun = settings_of(options, prior, rows)
        made = [tuple(row[name] for name in KEY) for row in table_rows(options.csv)]
        if tuple(begun[name] for name in KEY) not in made:
            add_row(options.csv, COLUMNS, {**begun, **made_row(options, prior, rows)})
    print(table(table_rows(options.csv)))


def rows_of(data: str, n_test: int | None) -> Rows:
    """Return the rows; validation and test rows are drawn black and white by one seed."""
    dataset = load_data(data)
    parts = split(dataset, seed=0)
    # All rows are drawn, so that a row has its bits however many are scored.
    random = np.random.RandomState(BINARISATION_SEED)
    bits = np.where(
        random.random_sample(dataset.X.shape) < dataset.X / 255, np.uint8(255), np.uint8(0)
    )
    # Some are a random sample: MNIST's first test rows are the more legible ones.
    test = random.permutation(parts.test)[:n_test]
    return Rows(dataset.X[parts.train], bits[parts.validation], bits[test])


def settings_of(options: argparse.Namespace, prior: str, rows: Rows) -> dict[str, str]:
    """Return the cells that say what is asked for."""
    before, together = options.epochs
    return {
        "data": options.data,
        "prior": prior,
        "seed": str(options.seed),
        "latent_dim": str(options.latent_dim),
        "hidden_dims": " ".join(map(str, options.hidden_dims)),
        "epochs": f"{before} + {together}" if prior == "together" else str(before),
        "test_rows": str(len(rows.test)),
        "draws": str(options.draws),
    }


def folder_of(options: argparse.Namespace, what: str) -> Path:
    """Return where something of these settings is kept, and of no others."""
    widths, epochs = ("_".join(map(str, each)) for each in (options.hidden_dims, options.epochs))
    of_prior = (options.latent_dim, options.together, options.seed)
    name = "-".join(map(str, (options.data, what, widths, epochs, *of_prior)))
    folder: Path = options.fits / name
    return folder


def made_row(options: argparse.Namespace, prior: str, rows: Rows) -> dict[str, object]:
    """Fit, choose, score the test rows, and return the other cells."""
    folder = folder_of(options, prior)
    if not (folder / "fit.json").exists():
        keep(PRIORS[prior](options, rows), rows, folder)
    fit, model = json.loads((folder / "fit.json").read_text()), load_model(folder / "model")
    found = np.concatenate(
        [
            scored(model, rows.test, first, options.draws, folder)
            for first in range(0, len(rows.test), ROWS_PER_BLOCK)
        ],
        axis=1,
    )
    log_likelihood, error, seconds = found
    versions = environment(options.seed, [])["versions"]
    return {
        "n_components": fit["n_components"],
        "validation_nll": f"{fit['validation_nll']:.3f}",
        "test_nll": f"{-log_likelihood.mean():.3f}",
        "standard_error": f"{np.sqrt(np.mean(error**2) / len(error)):.4f}",
        "standard_error_of_rows": f"{log_likelihood.std() / np.sqrt(len(error)):.3f}",
        "bits_sha256": hashlib.sha256(np.packbits(rows.test > 0).tobytes()).hexdigest(),
        "training_seconds": round(fit["training_seconds"]),
        "scoring_seconds": round(seconds.sum()),
        "versions": " ".join(f"{name}={version}" for name, version in versions.items()),
    }


def scored(model: Any, X: np.ndarray, first: int, n_draws: int, folder: Path) -> np.ndarray:
    """Return log p(x), its standard error and its seconds for each row of a block, (3, B)."""
    block = X[first : first + ROWS_PER_BLOCK]
    path = folder / f"test-{n_draws}-{first}-{len(block)}.safetensors"
    if not path.exists():
        began = time.perf_counter()
        found = model.log_likelihood(block, n_draws)
        seconds = np.full(len(block), (time.perf_counter() - began) / len(block))
        write_tensors(path, {"scores": np.stack([*found, seconds])})
    scores: np.ndarray = load_file(path)["scores"]
    return scores


def keep(fitted: VAE | LatentMixture, rows: Rows, folder: Path) -> None:
    """Keep a fit, and how well it tells validation rows."""
    vae = fitted.vae_ if isinstance(fitted, LatentMixture) else fitted
    chosen = rows.validation[:VALIDATION_ROWS]
    validation = fitted.log_likelihood(chosen, VALIDATION_DRAWS).log_likelihood
    shutil.rmtree(folder / "model", ignore_errors=True)  # of a fit that was cut off here
    fitted.save(folder / "model")
    about = {
        "n_components": getattr(getattr(fitted, "mixture_", None), "n_components_", 1),
        "validation_nll": -float(validation.mean()),
        "training_seconds": vae.history_[-1].seconds,
    }
    write_json(folder / "fit.json", about)


def standard(options: argparse.Namespace, rows: Rows) -> VAE:
    """Return a VAE under N(0, I)."""
    return network(options, rows, None).vae_


def afterwards(options: argparse.Namespace, rows: Rows) -> LatentMixture:
    """Return the same network with a mixture for its prior, fitted to what it makes of the rows."""
    return best_mixture(network(options, rows, None), rows, options.seed)


def together(options: argparse.Namespace, rows: Rows) -> LatentMixture:
    """Return the same network trained on with a mixture for its prior, or with a better one."""
    rounds = Refinement(
        n_rounds=1,
        epochs=options.epochs[1],
        min_steps=0,
        agreement_weight=0.0,
        groups="mixture",
        warps=None,
    )
    return best_mixture(network(options, rows, rounds), rows, options.seed)


def network(options: argparse.Namespace, rows: Rows, rounds: Refinement | None) -> LatentMixture:
    """Return a model whose network is trained: before the rounds it is the same for every prior."""
    vae = VAE(
        hidden_dims=options.hidden_dims,
        latent_dim=options.latent_dim,
        likelihood="binarised",
        kl_weight=1.0,
        max_epochs=options.epochs[0],
        min_steps=0,
    )
    shape = "full" if rounds is None else "diag"
    mixture = GaussianMixture(options.together, covariance_type=shape)
    model = LatentMixture(vae=vae, mixture=mixture, refinement=rounds, random_state=options.seed)
    folder = folder_of(options, "training")
    folder.mkdir(parents=True, exist_ok=True)
    return model.fit(rows.train, validation_data=rows.validation, keeper=Checkpoint(folder))


def best_mixture(model: LatentMixture, rows: Rows, seed: int) -> LatentMixture:
    """Return the model with that mixture which likes the validation rows' draws of z best."""
    seeds = draw_seeds(seed, DRAWS_OF_Z + 1)
    z = np.concatenate([model.vae_.sample_posterior(rows.train, each) for each in seeds[1:]])
    held_out = model.vae_.sample_posterior(rows.validation, seeds[0])
    candidates = [model]
    for n_components in COMPONENTS:
        mixture = GaussianMixture(n_components, random_state=seed)
        candidates.append(model.with_mixture(mixture, z, "z"))
    scores = [each.mixture_.score(held_out) for each in candidates]
    print("log p(z) of validation rows:", [round(float(score), 3) for score in scores], flush=True)
    return candidates[int(np.argmax(scores))]


PRIORS: Final[dict[str, Callable[[argparse.Namespace, Rows], VAE | LatentMixture]]] = {
    "standard": standard,
    "afterwards": afterwards,
    "together": together,
}


def table(rows: Sequence[dict[str, str]]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| prior | components | validation | test | of the draws | of the rows | test rows |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        names = ("prior", "n_components", "validation_nll", "test_nll", "standard_error")
        cells = [row[name] for name in (*names, "standard_error_of_rows", "test_rows")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
