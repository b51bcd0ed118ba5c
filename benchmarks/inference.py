"""A trained network's answers, rows in memory and rows on the disk: speed, and memory held.

    python benchmarks/inference.py --out benchmarks/results/inference.md

Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from latentmix import VAE, GaussianMixture, LatentMixture
from latentmix.estimators.vae import SCORE_DRAWS
from latentmix.models.blocks import N_UNDER_WAY, ROWS_PER_BLOCK
from latentmix.runs.recipe import load_recipe
from memory import INTERVAL, Sampled
from reporting import deliver, processor, spread
from training_step_ours import best_products

N_FEATURES, N_COMPONENTS = 784, 10

# The products reached at least, of what the machine can do, and memory beyond the answer.
TARGET = 0.8

# Square products whose best rate is the machine's: a second of them around each call.
SIZES = (1024, 2048)

# Rows written at a time.
BLOCK = 50_000

# Blocks whose products alone are timed.
N_BLOCKS = 24


class Question(NamedTuple):
    """One of the model's methods, and the layers whose products it needs: (inputs, outputs) each.

    With `at_hand`, memory for the answer is touched and let go right before: a virtual machine
    may have given it back to its host, and then each page's first touch is slow.
    """

    name: str
    encoder: tuple[tuple[int, int], ...]
    decoder: tuple[tuple[int, int], ...] = ()
    n_heads: int = 1
    n_draws: int = 1
    at_hand: bool = False

    @property
    def flops(self) -> int:
        """Of a row's products."""
        heads = (self.n_heads - 1) * self.encoder[-1:]
        layers = (*self.encoder, *heads, *(self.n_draws * self.decoder))
        return sum(2 * inputs * outputs for inputs, outputs in layers)


class Asked(NamedTuple):
    """What one call took, and the two limits beside it: rows a second."""

    seconds: float
    square: float
    own: float
    most: int


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    busy = os.getloadavg()[0]
    model = trained()
    questions = questions_of(model)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder, "rows.npy")
        write(path, options.mapped_rows)
        mapped = np.load(path, mmap_mode="r")
        sections = [
            section(model, questions, np.array(mapped[: options.rows]), "in memory", options),
            section(model, questions, mapped, "of a memory map", options),
        ]
    report = "\n\n".join(["# What a trained network answers", conditions(options, busy), *sections])
    deliver(report, options.out)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=55_000, help="rows in memory")
    parser.add_argument("--mapped-rows", type=int, default=1_000_000, help="rows on the disk")
    parser.add_argument("--folder", type=Path, help="where their file goes, gone afterwards")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7 or more to report)")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    return parser.parse_args(arguments)


def trained() -> LatentMixture:
    """Return the `seed` recipe's network, hardly trained: answers take as long as a good one's."""
    recipe = load_recipe("seed").vae
    vae = VAE(
        hidden_dims=recipe.parameters()["hidden_dims"],
        latent_dim=recipe.latent_dim,
        max_epochs=1,
        min_steps=0,
    )
    rows = random_rows(2_000, 0)
    model = LatentMixture(mixture=GaussianMixture(N_COMPONENTS), vae=vae, random_state=0)
    return model.fit(rows)


def random_rows(n_rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n_rows, N_FEATURES), np.uint8)


def write(path: Path, n_rows: int) -> None:
    """Draw random bytes into a .npy file."""
    rows = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, N_FEATURES))
    for first in range(0, n_rows, BLOCK):
        rows[first : first + BLOCK] = random_rows(min(BLOCK, n_rows - first), first)
    rows.flush()


def questions_of(model: LatentMixture) -> list[Question]:
    """Return what is asked, with the layers of the encoder and the decoder that it needs."""
    shape = model.vae_.architecture_
    widths, latent = shape.hidden_dims, shape.latent_dim
    encoder = tuple(pairwise((shape.n_features, *widths, latent)))
    decoder = tuple(pairwise((latent, *widths[:0:-1], shape.n_features)))
    return [
        Question("transform", encoder),
        Question("predict_proba", encoder),
        Question("reconstruct", encoder, decoder),
        Question("reconstruct", encoder, decoder, at_hand=True),
        Question("score_samples", encoder, decoder, n_heads=2, n_draws=SCORE_DRAWS),
    ]


def own_products(question: Question) -> Callable[[], float]:
    """Return what measures the rows a second of nothing but a question's products.

    Compiled as one function, on rows of float32 that are there already, three blocks at a time
    as the model has them: no activation, no conversion, no answer.
    """
    key = jax.random.key(0)
    encoder, decoder = (
        [jax.random.normal(key, layer) / np.sqrt(layer[0]) for layer in layers]
        for layers in (question.encoder, question.decoder)
    )
    x = jax.random.normal(key, (ROWS_PER_BLOCK, question.encoder[0][0]))

    @jax.jit
    def products(x: jax.Array, encoder: list[jax.Array], decoder: list[jax.Array]) -> object:
        hidden = reduce(jnp.matmul, encoder[:-1], x)
        heads = [hidden @ (encoder[-1] + head) for head in range(question.n_heads)]
        draws = sum(heads) + jnp.arange(question.n_draws)[:, None, None]
        return heads, jax.lax.map(lambda z: reduce(jnp.matmul, decoder, z)[:, :1], draws)

    def block(_: int) -> object:
        return jax.block_until_ready(products(x, encoder, decoder))

    def rate() -> float:
        with ThreadPoolExecutor(N_UNDER_WAY) as threads:
            deque(threads.map(block, range(N_UNDER_WAY)), maxlen=0)
            began = time.perf_counter()
            deque(threads.map(block, range(N_BLOCKS)), maxlen=0)
            return N_BLOCKS * ROWS_PER_BLOCK / (time.perf_counter() - began)

    return rate


def section(
    model: LatentMixture,
    questions: Sequence[Question],
    rows: np.ndarray,
    where: str,
    options: argparse.Namespace,
) -> str:
    """Ask everything by turns, and return the table."""
    own = {question: own_products(question) for question in questions}
    calls = {question: getattr(model, question.name) for question in questions}
    sizes = {question: call(rows[: options.rows]).nbytes for question, call in calls.items()}
    share = len(rows) / len(rows[: options.rows])
    found: dict[Question, list[Asked]] = {question: [] for question in questions}
    for _ in range(options.rounds):
        for question, call in calls.items():
            touched = round(share * sizes[question]) if question.at_hand else 0
            found[question].append(asked(question, call, own[question], rows, touched))
    lines = [
        f"## {len(rows):,} rows {where}",
        "",
        "| | % of its own products' rate, min | median | max | % of square products' rate, min | "
        "median | max | images a second | most memory beyond the answer, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for question, turns in found.items():
        rates = np.array([len(rows) / turn.seconds for turn in turns])
        limits = np.array([[turn.own, turn.square] for turn in turns])
        name = question.name + ", memory at hand" * question.at_hand
        own_share, square_share = (spread(100 * rates / limit) for limit in limits.T)
        lines.append(
            f"| {name} | {own_share} | {square_share} | {np.median(rates):,.0f} | "
            f"{max(turn.most for turn in turns) / 1e6:.0f} |"
        )
    return "\n".join(lines)


def asked(
    question: Question,
    call: Callable[[np.ndarray], np.ndarray],
    own: Callable[[], float],
    rows: np.ndarray,
    touched: int,
) -> Asked:
    """Ask once, with the rates of products measured right before and after.

    So many bytes of memory are touched just before.
    """
    square, alone = best_products(SIZES), own()
    np.empty(touched, np.uint8).fill(0)
    memory = Sampled(os.getpid())
    held = memory.most
    with memory:
        began = time.perf_counter()
        answer = call(rows)
        seconds = time.perf_counter() - began
    beside = max(0, memory.most - held - answer.nbytes)
    square, alone = max(square, best_products(SIZES)), max(alone, own())
    return Asked(seconds, square / question.flops, alone, beside)


def conditions(options: argparse.Namespace, busy: float) -> str:
    return (
        f"latentmix {version('latentmix')} (JAX {jax.__version__}); Python "
        f"{platform.python_version()}, {platform.system()}, {os.cpu_count()} cores, {processor()}, "
        f"load average at the start {busy:.1f}. The `seed` recipe's network, random bytes of "
        f"{N_FEATURES} features, {N_COMPONENTS} components; {options.rounds} rounds by turns. "
        "The limit is that of the answer's matrix products (of the mixture's none): alone, as one "
        f"compiled function on blocks of {ROWS_PER_BLOCK:,} rows of float32, {N_UNDER_WAY} at a "
        "time; and as fast as the machine's best square float32 product. Both are measured anew "
        f"before and after each call; the target is {TARGET:.0%} of the products alone. Memory is "
        "the most anonymous memory (RssAnon) during a call beyond the answer, sampled every "
        f"{1e3 * INTERVAL:.0f} ms. Memory at hand: as much as the answer takes was touched and let "
        "go right before, which a virtual machine may else have to ask of its host."
    )


if __name__ == "__main__":
    main()
