"""The README's table: scores of finished runs, mean and standard deviation over seeds.

Three seeds of the three recipes with `latentmix run mnist --recipe R --seed S`, and then:

    python benchmarks/recipes.py runs/mnist-* --csv benchmarks/results/recipes.csv

Minutes are those of the quickest run: the others may have shared the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

COLUMNS = {
    "hungarian_10": "Hungarian, 10 components",
    "named_10": "named, 10 components",
    "named_50": "named, 50 components",
    "elbo": "ELBO, N(0, I)",
    "elbo_mixture_prior": "ELBO, mixture prior",
    "active": "active dimensions",
    "minutes": "minutes",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--csv", type=Path, help="write a row a run there")
    options = parser.parse_args(arguments)
    rows = [row for run in sorted(options.runs) for row in scores(run)]
    if options.csv is not None:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for latents in ("z", "mean"):
        print(f"Mixtures fitted to {latents}:\n")
        print(table([row for row in rows if row["latents"] == latents]), end="\n\n")


def scores(run: Path) -> list[dict[str, object]]:
    """Return the test scores of a run: a row for mixtures of z, one for those of the means."""
    metrics, recipe, request = (
        json.loads((run / f"{name}.json").read_text()) for name in ("metrics", "recipe", "request")
    )
    test = metrics["test"]
    found = {(entry["n_components"], entry["latents"]): entry for entry in metrics["scores"]}
    # The ELBO's mixture prior is the run's own mixture, whatever the row.
    return [
        {
            "recipe": recipe["name"],
            "latents": latents,
            "seed": request["seed"],
            "hungarian_10": found[10, latents]["accuracy_hungarian"],
            "named_10": found[10, latents]["accuracy_named"],
            "named_50": found[50, latents]["accuracy_named"],
            "nmi_10": found[10, latents]["nmi"],
            "ari_10": found[10, latents]["ari"],
            "elbo": test["elbo"],
            "elbo_mixture_prior": test["elbo_mixture_prior"],
            "reconstruction": test["reconstruction"],
            "kl": test["kl"],
            "active": test["active_dimensions"],
            "minutes": metrics["wall_seconds"] / 60,
        }
        for latents in ("z", "mean")
    ]


def table(rows: Sequence[dict[str, object]]) -> str:
    groups: dict[object, list[dict[str, object]]] = {}
    for row in rows:
        groups.setdefault(row["recipe"], []).append(row)
    lines = [
        "| recipe | " + " | ".join(COLUMNS.values()) + " |",
        "| --- " + "| ---: " * len(COLUMNS) + "|",
    ]
    for recipe, group in groups.items():
        cells = [summary(name, [float(str(row[name])) for row in group]) for name in COLUMNS]
        lines.append(f"| `{recipe}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(name: str, values: Sequence[float]) -> str:
    if name == "minutes":
        return f"{min(values):.1f}"
    if name == "active":
        return " ".join(f"{value:.0f}" for value in values)
    digits = 1 if name.startswith("elbo") else 3
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


if __name__ == "__main__":
    main()
