"""What a finished run says of new rows: cluster, label, probability, and how strange they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from latentmix.data import Rows
from latentmix.data.columns import part_of
from latentmix.errors import ClusterError, InputError, MissingError
from latentmix.estimators import LatentMixture
from latentmix.models.blocks import pieces
from latentmix.runs.opened import OpenRun, open_run, read_data, rows_for
from latentmix.runs.outlets import outlet_at
from latentmix.runs.parts import answers_at
from latentmix.storage.files import csv_bytes
from latentmix.storage.remote import StoredFile, find_remote, is_remote, joined, write_anywhere

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

COLUMNS = ("row", "id", "cluster", "label", "probability", "anomaly_score", "p_value")


class Deal(Protocol):
    """Who does a task with each item: yields the item and what it came to, as they end."""

    def __call__(
        self, task: Callable[[S, T], R], shared: S, items: Iterable[T], /
    ) -> Iterator[tuple[T, R]]:
        """Yield each item with what ``task(shared, item)`` gives."""


def one_by_one(
    task: Callable[[S, T], R], shared: S, items: Iterable[T], /
) -> Iterator[tuple[T, R]]:
    """Do them in this process, in their order."""
    for item in items:
        yield item, task(shared, item)


def predict_run(folder: Path, name_or_path: str, out: str | Path, deal: Deal | None = None) -> int:
    """Write a line for each row of the data, and return how many.

    `label` and `probability` are the most probable class and p(y|x); before naming, `label` is
    blank and `probability` that of the cluster, p(k|x). `anomaly_score` is high for strange rows,
    and `p_value` the share of the run's validation rows that are at least as strange; both are
    blank where a run's model does not tell them, as those of earlier versions.

    Parameters
    ----------
    folder : Path
        A finished run.
    name_or_path : str
        What `load` reads.
    out : str or Path
        A file, or an object's address.
    deal : callable, optional
        Who answers for pieces of the rows, cut as they would be here.

    Raises
    ------
    MissingError, IntegrityError, InputError
        If the run or the data cannot be used.
    WriteError
        If the file cannot be written.
    ClusterError
        If a server, or the cluster, does not answer.
    """
    run = open_run(folder)
    if deal is None:
        return _answer_file(run, (name_or_path, str(out)))
    dataset = read_data(run, name_or_path)
    X, found = rows_for(run, dataset), {}
    for piece, lines in deal(_answer_piece, run.model, _pieces(X, dataset.row_ids)):
        found[piece.first] = lines
    _write(str(out), (found[first] for first in sorted(found)))
    return len(X)


class Shard(NamedTuple):
    """One of several shares of the files: `number` of `of`, counted from 1."""

    number: int
    of: int


ALL = Shard(1, 1)


class PartsBegin(NamedTuple):
    """What there is to do: so many parts, of which so many are there already."""

    n_there: int
    n_parts: int


class PartDone(NamedTuple):
    """How far many files are: so many of all, of which the last has so many rows."""

    n_done: int
    n_parts: int
    part: str
    n_rows: int


def predict_parts(
    folder: Path,
    pattern: str,
    out: str | Path,
    shard: Shard = ALL,
    listener: Callable[[PartsBegin | PartDone], object] = lambda event: None,
    deal: Deal = one_by_one,
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
        Of paths, or of objects' addresses, with ``*``, ``?`` or ``[]``.
    out : str or Path
        A folder: ``NAME.csv`` for each file called NAME. Or a prefix, ``s3://bucket/out/``, where
        a small object under ``done/`` takes the place of a line of ``done.jsonl``.
    shard : Shard
        Which share of the files, in their order.
    listener : callable
        Told at the beginning, and of each part.
    deal : callable
        Who answers for a file and writes its part; marks are made here.

    Raises
    ------
    MissingError
        If the pattern finds nothing; else as `predict_run`.
    """
    run = open_run(folder)
    parts = _parts(pattern, run)[shard.number - 1 :: shard.of]
    outlet = outlet_at(str(out))
    done = outlet.done()
    to_do = [part for part in parts if not part.is_done(done.get(part.name, {}))]
    n_done = len(parts) - len(to_do)
    listener(PartsBegin(n_done, len(parts)))
    targets = {_from_anywhere(joined(str(out), part.name)): part for part in to_do}
    items = [(_from_anywhere(part.source), target) for target, part in targets.items()]
    for (_, target), n_rows in deal(_answer_file, run, items):
        part = targets[target]
        if not outlet.has(part.name):
            raise ClusterError(
                f"{target} was written by a worker and is not here: its disk is not this one's. "
                "Give a folder that all machines share, or s3://BUCKET/NAME/."
            )
        outlet.mark({**part.mark, "rows": n_rows})
        n_done += 1
        listener(PartDone(n_done, len(parts), joined(str(out), part.name), n_rows))
    return len(parts)


class _Part(NamedTuple):
    """Where a part's rows are, what it is called, and what it is of: version and run."""

    source: str
    name: str
    mark: dict[str, Any]

    def is_done(self, before: dict[str, Any]) -> bool:
        return all(before.get(key) == value for key, value in self.mark.items())


def _parts(pattern: str, run: OpenRun) -> list[_Part]:
    """Return the files that a pattern finds with what their parts are called, no two alike."""
    files = _files(pattern)
    stems = [Path(file.address).stem for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise InputError(
            f"{pattern} finds two files called {twice!r}, and parts are called like their files. "
            "Give files of different names."
        )
    model = run.sealed.entries["model/model.json"].sha256
    parts = []
    for file, stem in zip(files, stems, strict=True):
        name = f"{stem}.csv"
        mark = {"part": name, "run": model, "bytes": file.size, "time": file.version}
        parts.append(_Part(file.address, name, mark))
    return parts


def _files(pattern: str) -> list[StoredFile]:
    """Return the files that a pattern finds, local or remote, in their order."""
    if is_remote(pattern):
        files = find_remote(pattern)
    else:
        wanted = Path(pattern)
        begin = Path(wanted.anchor or ".")
        paths = sorted(begin.glob(str(wanted.relative_to(wanted.anchor))))
        about = ((path, path.stat()) for path in paths)
        files = [StoredFile(str(path), at.st_size, at.st_mtime_ns) for path, at in about]
    if not files:
        raise MissingError(f"{pattern} finds no file. Expected some; check the path.")
    return files


def _from_anywhere(where: str) -> str:
    """Return a path that leads there from any folder: workers may stand in others."""
    return where if is_remote(where) else str(Path(where).absolute())


class _Piece(NamedTuple):
    """Some rows of a file, with their ids, and the number of the first."""

    first: int
    rows: Rows
    ids: Sequence[object]


def _pieces(X: Rows, row_ids: Sequence[str] | None) -> Iterator[_Piece]:
    for cut in pieces(X):
        yield _Piece(cut.start, part_of(X, cut), _ids(row_ids, len(X))[cut])


def _answer_file(run: OpenRun, item: tuple[str, str]) -> int:
    """Answer for all rows of a file, write them to another, and return how many there are."""
    name_or_path, out = item
    dataset = read_data(run, name_or_path)
    X = rows_for(run, dataset)
    ids = _ids(dataset.row_ids, len(X))
    _write(out, [_answer_piece(run.model, _Piece(0, X, ids))])
    return len(X)


def _answer_piece(model: LatentMixture, piece: _Piece) -> bytes:
    """Return what is written of some rows: text, as that is quickly sent."""
    answers = answers_at(model, model.transform(piece.rows))
    probabilities = (f"{probability:.4f}" for probability in answers.probabilities)
    numbers = range(piece.first, piece.first + len(piece.rows))
    columns = numbers, piece.ids, answers.components, answers.classes, probabilities
    return csv_bytes(None, zip(*columns, *_strangeness(model, piece.rows), strict=True))


def _ids(row_ids: Sequence[str] | None, n_rows: int) -> Sequence[object]:
    return range(n_rows) if row_ids is None else row_ids


def _write(out: str, pieces: Iterable[bytes]) -> None:
    write_anywhere(out, b"".join([csv_bytes(COLUMNS, ()), *pieces]))


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
