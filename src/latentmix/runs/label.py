"""Naming later: a label file for a finished run, whose components then get new names.

Nothing is trained. The folder is copied, changed, sealed and put in the old one's place, so
that a reader finds the run before or after, never between.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from latentmix.data import read_label_rows
from latentmix.errors import InputError, WriteError
from latentmix.estimators.store import write_model
from latentmix.runs.opened import OpenRun, open_run
from latentmix.runs.parts import Latents, Parts, name_components, read_latents
from latentmix.runs.scores import SCORES_OF_LABELS, naming_record, scores_of
from latentmix.runs.tables import write_named_tables
from latentmix.runs.trust import calibrate, trust_of
from latentmix.storage.files import alone_in, replace_folder, write_json
from latentmix.storage.manifest import MANIFEST, seal


def label_run(folder: Path, label_file: Path, *, draw: Callable[[Path], object]) -> dict[str, Any]:
    """Name a run's components by a label file, in place of any names they had.

    Parameters
    ----------
    folder : Path
        A finished run.
    label_file : Path
        Row number, file name or id, and label; blank is unknown. Labelled test rows are scored
        and name nothing, as in the run itself.
    draw : callable
        Draws the pictures of a run folder.

    Returns
    -------
    dict
        What ``metrics.json`` holds now.

    Raises
    ------
    MissingError, IntegrityError
        As `open_run`.
    InputError, FormatError
        If the label file cannot be used; the run is left as it was.
    WriteError
        If the folder is in use or cannot be written; the run is left as it was.
    """
    # A link to a run stays a link, and '.' cannot be renamed.
    folder = folder.resolve()
    if not folder.is_dir():
        open_run(folder)  # which says what is missing
    with alone_in(folder):
        return _label(folder, label_file, draw)


def _label(folder: Path, label_file: Path, draw: Callable[[Path], object]) -> dict[str, Any]:
    """Name the components of a run whose folder is held; as `label_run`."""
    run = open_run(folder)
    latents, split = read_latents(run.sealed)
    row_ids = _row_ids(run)
    parts = Parts(
        split, read_label_rows(label_file, row_ids, run.request["data"]["shape"][0]), row_ids
    )
    if not parts.n_naming():
        raise InputError(
            f"{label_file} labels test rows only, which are kept for scoring. Expected a label for "
            f"some other row; {run.path / 'rows.csv'} says which part each belongs to."
        )
    name_components(run.model, latents, parts)
    calibrate(run.model, latents, parts)
    metrics = _renamed_metrics(run, latents, parts)
    _replace(run, latents, parts, metrics, draw)
    return metrics


def _row_ids(run: OpenRun) -> list[str] | None:
    """Return what the rows are called, None where by their numbers."""
    data = run.request["data"]
    if not data["has_ids"]:
        return None
    ids = [str(number) for number in range(data["shape"][0])]
    for row in run.sealed.csv("rows.csv"):
        ids[int(row["row"])] = row["id"]
    return ids


def _renamed_metrics(run: OpenRun, latents: Latents, parts: Parts) -> dict[str, Any]:
    """Return the run's metrics with the scores of its own mixture under the new names.

    The other mixtures of the table are not kept, so they keep only what no label decides.
    """
    metrics: dict[str, Any] = run.sealed.json("metrics.json")
    metrics["naming"] = naming_record(parts)
    for name, part in (("scores", "test"), ("validation_scores", "validation")):
        others = [
            {key: value for key, value in entry.items() if key not in SCORES_OF_LABELS}
            for entry in metrics[name][1:]
        ]
        metrics[name] = [scores_of(run.model, latents, parts, part), *others]
    metrics["trust"] = trust_of(run.model, latents, parts, taught=run.recipe.labels.teach)
    return metrics


def _replace(
    run: OpenRun,
    latents: Latents,
    parts: Parts,
    metrics: dict[str, Any],
    draw: Callable[[Path], object],
) -> None:
    """Write the renamed run beside the old one, then put it in its place."""
    old = run.path
    try:
        parent = Path(tempfile.mkdtemp(prefix=f".{old.name}.", dir=old.parent))
    except OSError as error:
        raise WriteError(
            f"{old.parent} cannot be written: {error.strerror or error}. Expected room for a copy "
            "of the run beside it; free some or change its rights."
        ) from error
    try:
        new = parent / old.name
        _copy(run.path, new, (*run.sealed.names, MANIFEST))
        write_model(run.model, new / "model")
        write_named_tables(run.model, latents, parts, new)
        draw(new)
        write_json(new / "metrics.json", metrics)
        seal(new, "run", exclude=_copy_others(run, new))
        replace_folder(old, new)
    finally:
        # Should the old run not be back in its place, what is left of it is kept.
        if old.exists():
            shutil.rmtree(parent, ignore_errors=True)


def _copy_others(run: OpenRun, new: Path) -> list[str]:
    """Copy what people keep in the run folder besides, and return its names."""
    ours = {*run.sealed.names, MANIFEST}
    others = [path for path in run.path.rglob("*") if path.is_symlink() or path.is_file()]
    names = [path.relative_to(run.path).as_posix() for path in others]
    found = [name for name in names if name not in ours and not (new / name).exists()]
    _copy(run.path, new, found)
    return found


def _copy(old: Path, new: Path, names: Iterable[str]) -> None:
    """Copy the named files of a folder, links as links."""
    try:
        for name in names:
            target = new / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(old / name, target, follow_symlinks=False)
    except OSError as error:
        raise WriteError(
            f"{new} cannot be written: {error.strerror or error}. Expected room for a copy of the "
            "run; free some."
        ) from error
