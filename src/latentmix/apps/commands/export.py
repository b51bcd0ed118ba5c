"""`latentmix export`: a run in a form that others read."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_folder", metavar="RUN", type=Path)
@click.option("--format", "kind", required=True, metavar="onnx|numpy|hub|parquet")
@click.option("-o", "--out", type=Path, required=True, metavar="DIR", help="New or empty.")
@click.option("--push", metavar="OWNER/NAME", help="Of --format hub: send it there.")
def export(run_folder: Path, kind: str, out: Path, push: str | None) -> None:
    """Write RUN's model for others: ONNX, NumPy alone, Hugging Face's hub; or its embeddings."""
    click.echo(f"Reading {run_folder}, writing to {out}")
    from latentmix.apps.export import export_run  # noqa: PLC0415

    for name in export_run(run_folder, kind, out, push):
        click.echo(f"Wrote {out / name}")
