"""How often the right number of components is found, on mixtures whose K is known.

K in {3, 10, 30}, D in {2, 8, 32}, ten seeds each: clusters of 200 to 400 rows, no two centres
nearer than 6 sigma, once with unit variances and once with a covariance matrix of their own
(variances between 0.05 and 1 along random axes). K is asked of `GaussianMixture("auto")`.

    python benchmarks/choosing_k.py --out benchmarks/results/choosing_k.md
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from latentmix import GaussianMixture

SIZES = (3, 10, 30)
FEATURES = (2, 8, 32)
SEPARATION = 6.0
KINDS = ("unit variances", "own matrices")


def clusters(n_components: int, n_features: int, seed: int, kind: str) -> np.ndarray:
    """Return the rows of separated clusters."""
    rng = np.random.RandomState(seed)
    centres: list[np.ndarray] = []
    box = SEPARATION
    while len(centres) < n_components:
        for _ in range(200):
            place = rng.uniform(-box, box, n_features)
            if all(np.linalg.norm(place - other) >= SEPARATION for other in centres):
                centres.append(place)
            if len(centres) == n_components:
                break
        box *= 1.15
    rows = []
    for centre in centres:
        noise = rng.randn(200 + rng.randint(200), n_features)
        if kind == KINDS[1]:
            axes = np.linalg.qr(rng.randn(n_features, n_features))[0]
            noise = noise @ (axes * np.sqrt(rng.uniform(0.05, 1, n_features))).T
        rows.append(centre + noise)
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "# The number of components, found",
        "",
        f"`GaussianMixture('auto')`, {options.seeds} seeds for each line; see "
        "`benchmarks/choosing_k.py`.",
        "",
        "| clusters | K | D | right | found otherwise | seconds a fit (min, median, max) |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
    ]
    n_right = n_runs = 0
    for kind in KINDS:
        for size in SIZES:
            for n_features in FEATURES:
                found, seconds = [], []
                for seed in range(options.seeds):
                    X = clusters(size, n_features, seed, kind)
                    began = time.perf_counter()
                    mixture = GaussianMixture("auto", random_state=seed).fit(X)
                    seconds.append(time.perf_counter() - began)
                    found.append(mixture.n_components_)
                right = sum(k == size for k in found)
                n_right, n_runs = n_right + right, n_runs + len(found)
                others = ", ".join(str(k) for k in found if k != size) or "-"
                spread = f"{min(seconds):.1f}, {float(np.median(seconds)):.1f}, {max(seconds):.1f}"
                lines.append(
                    f"| {kind} | {size} | {n_features} | {right} of {len(found)} | {others} "
                    f"| {spread} |"
                )
                print(lines[-1], flush=True)
    lines += ["", f"Right in {n_right} of {n_runs} runs, {n_right / n_runs:.1%}."]
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
