"""The tables of a benchmark: a line a run in ``rows.csv``, and over seeds in ``summary.csv``."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from latentmix.errors import IntegrityError
from latentmix.storage.files import write_bytes, write_csv, write_json

UNSUPERVISED, TUNED = "unsupervised", "validation-tuned"

# What an asterisk at a method means.
MIXED: Final = "An asterisk: not all seeds ran with the same settings, versions and machine."


@dataclass(frozen=True)
class Row:
    """One run: what was run, how good it was, what it cost, and what proves it.

    Scores are those of the test rows, shares in [0, 1]; `nll` is in nats a row; `peak_memory` in
    bytes. Blank in the file where there is none. `chosen` is the method that was chosen where there
    were several, by `criterion`, with `tuning_labels` labels; the time is that of all of them.
    """

    group: str
    method: str
    data: str
    n_components: int
    seed: int
    accuracy: float
    nmi: float
    ari: float
    named_accuracy: float | None
    naming_labels: int
    chosen: str
    criterion: str
    tuning_labels: int
    nll: float | None
    density: str
    fit_seconds: float
    predict_seconds: float
    peak_memory: float | None
    predictions_sha256: str
    train_sha256: str
    test_sha256: str
    method_sha256: str
    request_sha256: str
    versions: str
    machine: str

    @property
    def key(self) -> tuple[str, str, str, int]:
        """The run's place in the table: a later run of the same takes it."""
        return (self.group, self.method, self.data, self.seed)


class RowFile:
    """``rows.csv``, written whole after every run, and ``methods.json`` beside it.

    A row has its method's hash; `methods` has, for each such hash, all settings or the recipe.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._path_of_methods = path, path.with_name("methods.json")
        self.rows = read_rows(path)
        self.methods = _read_methods(self._path_of_methods)

    def holds(self, request_sha256: str) -> bool:
        """Tell whether this very run is there."""
        return any(row.request_sha256 == request_sha256 for row in self.rows)

    def put(self, row: Row) -> None:
        """Add a run, in the place of one of the same method, data and seed."""
        self.rows = [other for other in self.rows if other.key != row.key] + [row]
        names = [one.name for one in fields(Row)]
        lines = (
            ["" if value is None else value for value in asdict(each).values()]
            for each in self.rows
        )
        write_csv(self.path, names, lines)

    def keep_methods(self, methods: Mapping[str, Mapping[str, Any]]) -> None:
        """Add methods by their hashes, and keep those that a row is of."""
        borne = {row.method_sha256 for row in self.rows}
        known = {**self.methods, **methods}
        kept = {sha256: known[sha256] for sha256 in known if sha256 in borne}
        if kept != self.methods:
            self.methods = kept
            write_json(self._path_of_methods, kept)


def read_rows(path: Path) -> list[Row]:
    """Return the runs in a ``rows.csv``; none if there is no such file.

    Raises
    ------
    IntegrityError
        If it is not what this version writes.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_row(record) for record in csv.DictReader(file)]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is no table of runs that this version reads ({error}). Choose another folder "
            "with --out, or remove that one."
        ) from error


def _read_methods(path: Path) -> dict[str, Mapping[str, Any]]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (TypeError, ValueError) as error:
        raise IntegrityError(
            f"{path} is no table of methods ({error}). Remove it: runs write it again."
        ) from error


def _row(record: dict[str, str]) -> Row:
    values: dict[str, Any] = {}
    for one in fields(Row):
        text = record[one.name]
        kind = str(one.type)
        if text == "" and kind.endswith("None"):
            values[one.name] = None
        elif kind.startswith("float"):
            values[one.name] = float(text)
        else:
            values[one.name] = int(text) if kind == "int" else text
    return Row(**values)


@dataclass(frozen=True)
class Score:
    """A column of the summary: what it is called, whether more is better, how it is shown.

    `ends` says whether its cells hold the worst and the best seed, too.
    """

    title: str
    highest_is_best: bool
    digits: int = 3
    scale: float = 1.0
    ends: bool = True


SCORES: Final[dict[str, Score]] = {
    "accuracy": Score("accuracy", highest_is_best=True),
    "nmi": Score("NMI", highest_is_best=True),
    "ari": Score("ARI", highest_is_best=True),
    "named_accuracy": Score("named", highest_is_best=True),
    "nll": Score("NLL", highest_is_best=False, digits=1),
    "fit_seconds": Score("seconds", highest_is_best=False, digits=2, ends=False),
    "peak_memory": Score("MB", highest_is_best=False, digits=0, scale=1e-6, ends=False),
}


@dataclass(frozen=True)
class Spread:
    """A score over seeds: mean, standard deviation (None of one seed), best and worst."""

    mean: float
    sd: float | None
    best: float
    worst: float


def spread_of(values: Sequence[float], *, highest_is_best: bool) -> Spread:
    """Return the spread of a score; the standard deviation is that of a sample (n - 1)."""
    ends = (max(values), min(values))
    best, worst = ends if highest_is_best else ends[::-1]
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.fmean(values), sd, best, worst)


@dataclass(frozen=True)
class Summary:
    """A method on a data set, over seeds; `scores` has None where a run lacks the score.

    `n_components` is a number, or where a choice was made "10 to 20". `mixed` says that not all
    seeds ran with the same settings, versions and machine.
    """

    group: str
    data: str
    method: str
    n_components: str
    seeds: int
    naming_labels: int
    tuning_labels: int
    density: str
    mixed: bool
    scores: dict[str, Spread | None]


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Return a line for each data set, group and method, in the order they first appear."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.data, row.group, row.method), []).append(row)
    order = {data: place for place, data in enumerate(dict.fromkeys(key[0] for key in groups))}
    keys = sorted(groups, key=lambda key: (order[key[0]], key[1] != UNSUPERVISED))
    return [_summary(groups[key]) for key in keys]


def _summary(rows: Sequence[Row]) -> Summary:
    first = rows[0]
    ends = sorted({row.n_components for row in rows})
    densities = {row.density for row in rows}
    scores: dict[str, Spread | None] = {}
    for name, score in SCORES.items():
        values = [getattr(row, name) for row in rows]
        # Nats of one kind and of another have no mean.
        known = None not in values and not (name == "nll" and len(densities) > 1)
        scores[name] = spread_of(values, highest_is_best=score.highest_is_best) if known else None
    return Summary(
        first.group,
        first.data,
        first.method,
        str(ends[0]) if len(ends) == 1 else f"{ends[0]} to {ends[-1]}",
        len(rows),
        max(row.naming_labels for row in rows),
        max(row.tuning_labels for row in rows),
        first.density if len(densities) == 1 else "",
        len({_conditions(row) for row in rows}) > 1,
        scores,
    )


def _conditions(row: Row) -> tuple[str, str, str]:
    """Return what should be the same for all seeds; a choice may differ between them."""
    return ("" if row.criterion else row.method_sha256, row.versions, row.machine)


def write_summary(rows: Iterable[Row], folder: Path) -> list[Summary]:
    """Write ``summary.csv`` and ``summary.md``, and return what they hold."""
    summaries = summarise(rows)
    about = ("group", "data", "method", "n_components", "seeds", "naming_labels", "tuning_labels")
    parts = ("mean", "sd", "best", "worst")
    header = [*about, "density", "mixed", *(f"{name}_{part}" for name in SCORES for part in parts)]
    lines = []
    for one in summaries:
        numbers = [
            "" if spread is None or getattr(spread, part) is None else getattr(spread, part)
            for spread in one.scores.values()
            for part in parts
        ]
        lines.append([*(getattr(one, name) for name in about), one.density, one.mixed, *numbers])
    write_csv(folder / "summary.csv", header, lines)
    write_bytes(folder / "summary.md", summary_markdown(summaries).encode())
    return summaries


def summary_markdown(summaries: Sequence[Summary]) -> str:
    """Return the summary as tables, one a data set and group."""
    text = io.StringIO()
    for data, group in dict.fromkeys((one.data, one.group) for one in summaries):
        chosen = [one for one in summaries if (one.data, one.group) == (data, group)]
        text.write(f"### {data}, {group}\n\n")
        if group == TUNED:
            labels = max(one.tuning_labels for one in chosen)
            text.write(f"Chosen for each seed by {labels:,} validation labels.\n\n")
        header, *body = cells_of(chosen)
        text.write(f"| {' | '.join(header)} |\n")
        text.write("| --- " + "| ---: " * (len(header) - 1) + "|\n")
        text.writelines(f"| {' | '.join(line)} |\n" for line in body)
        if any(one.mixed for one in chosen):
            text.write(f"\n{MIXED}\n")
        text.write("\n")
    return text.getvalue()


def cells_of(summaries: Sequence[Summary], *, ends: bool = True) -> list[list[str]]:
    """Return a table of a data set's methods, its header first: mean ± sd (worst to best).

    Without `ends` only the accuracy has these.
    """
    shown = [name for name in SCORES if any(one.scores[name] for one in summaries)]
    lines = [["method", "K", "seeds", *(SCORES[name].title for name in shown)]]
    for one in summaries:
        cells = [
            _cell(one.scores[name], SCORES[name], ends=ends or name == "accuracy") for name in shown
        ]
        name = f"{one.method} *" if one.mixed else one.method
        lines.append([name, one.n_components, str(one.seeds), *cells])
    return lines


def _cell(spread: Spread | None, score: Score, *, ends: bool) -> str:
    if spread is None:
        return ""
    mean, best, worst = (
        f"{value * score.scale:.{score.digits}f}"
        for value in (spread.mean, spread.best, spread.worst)
    )
    if spread.sd is None:
        return mean
    sd = f"{spread.sd * score.scale:.{score.digits}f}"
    return f"{mean} ± {sd} ({worst} to {best})" if ends and score.ends else f"{mean} ± {sd}"
