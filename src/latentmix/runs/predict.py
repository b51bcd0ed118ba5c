"""What a finished run says of new rows: cluster, label, probability, and how strange they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentmix.data import Rows
from latentmix.errors import InputError, MissingError
from latentmix.estimators import LatentMixture
from latentmix.runs.opened import OpenRun, open_run, read_data, rows_for
from latentmix.runs.parts import answers_at
from latentmix.storage.files import write_csv
from latentmix.storage.journal import append_entry, read_journal

# What is done of a folder of parts.
DONE = "done.jsonl"

COLUMNS = ("row", "id", "cluster", "label", "probability", "anomaly_score", "p_value")


def predict_run(folder: Path, name_or_path: str, out: Path) -> int:
    """Write a line for each row of the data, and return how many.

    `label` and `probability` are the most probable class and p(y|x); before naming, `label` is
    blank and `probability` that of the cluster, p(k|x). `anomaly_score` is high for strange rows,
    and `p_value` the share of the run's validation rows that are at least as strange; both are
    blank where a run's model does not tell them, as those of earlier versions.

    Raises
    ------
    MissingError, IntegrityError, InputError
        If the run or the data cannot be used.
    WriteError
        If the file cannot be written.
    """
    return _predict(open_run(folder), name_or_path, out)


def _predict(run: OpenRun, name_or_path: str, out: Path) -> int:
    dataset = read_data(run, name_or_path)
    X = rows_for(run, dataset)
    answers = answers_at(run.model, run.model.transform(X))
    scores, p_values = _strangeness(run.model, X)
    ids = range(len(X)) if dataset.row_ids is None else dataset.row_ids
    write_csv(
        out,
        COLUMNS,
        (
            (row, *columns[:3], f"{columns[3]:.4f}", *columns[4:])
            for row, columns in enumerate(
                zip(
                    ids,
                    answers.components,
                    answers.classes,
                    answers.probabilities,
                    scores,
                    p_values,
                    strict=True,
                )
            )
        ),
    )
    return len(X)


class Shard(NamedTuple):
    """One of several shares of the files: `number` of `of`, counted from 1."""

    number: int
    of: int


ALL = Shard(1, 1)


def predict_parts(
    folder: Path,
    pattern: str,
    out: Path,
    shard: Shard = ALL,
    say: Callable[[str], object] = print,
) -> int:
    """Answer for each file that a pattern finds with a file of its own; return how many are there.

    A part is written at once, under a temporary name until it is whole, and then stands in
    ``done.jsonl`` with the run and the file that it is of: started again, what is done is not done
    again, unless either is another. Several shards may write into one folder.

    Parameters
    ----------
    folder : Path
        A finished run.
    pattern : str
        Of paths, with ``*``, ``?`` or ``[]``.
    out : Path
        A folder: ``NAME.csv`` for each file called NAME.
    shard : Shard
        Which share of the files, in their order.
    say : callable
        Told a line for each part.

    Raises
    ------
    MissingError
        If the pattern finds nothing; else as `predict_run`.
    """
    wanted = Path(pattern)
    begin = Path(wanted.anchor or ".")
    files = sorted(begin.glob(str(wanted.relative_to(wanted.anchor))))
    if not files:
        raise MissingError(f"{pattern} finds no file. Expected some; check the path.")
    names = [file.stem for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(
            f"{pattern} finds two files called {twice!r}, and parts are called like their files. "
            "Give files of different names."
        )
    run = open_run(folder)
    model = run.sealed.entries["model/model.json"].sha256
    marks = out / DONE
    done = {entry.get("part"): entry for entry in read_journal(marks).entries}
    mine = list(zip(files, names, strict=True))[shard.number - 1 :: shard.of]
    for number, (file, name) in enumerate(mine, start=1):
        part, size = out / f"{name}.csv", file.stat()
        mark = {"part": part.name, "run": model, "bytes": size.st_size, "time": size.st_mtime_ns}
        before = done.get(part.name, {})
        where = f"{number}/{len(mine)} {part}"
        if part.is_file() and all(before.get(key) == value for key, value in mark.items()):
            say(f"{where}: there already")
            continue
        n_rows = _predict(run, str(file), part)
        append_entry(marks, {**mark, "rows": n_rows})
        say(f"{where}: {n_rows:,} rows")
    return len(mine)


def _strangeness(model: LatentMixture, X: Rows) -> tuple[list[str], list[str]]:
    """Return anomaly scores and p-values as they are written, one of each a row."""
    scores, p_values = strangeness(model, X)
    blank = [""] * len(X)
    return (
        blank if scores is None else [f"{score:.4f}" for score in scores],
        blank if p_values is None else [f"{p:.6g}" for p in p_values],
    )


def strangeness(model: LatentMixture, X: Rows) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return anomaly scores and p-values of rows, None where the model does not tell them."""
    if not hasattr(model, "usual_"):
        return None, None
    scores = model.anomaly_scores(X)
    return scores, model.usual_.p_values(scores) if len(model.usual_.held_out) else None
