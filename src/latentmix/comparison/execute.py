"""A benchmark from request to table: every method on every data set with every seed.

Each fit is a process of its own, and each run's row is written as soon as it is scored, so that
a stop at any moment loses at most the fit under way. The same request, or a larger one, goes on
in the same folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentmix import __version__
from latentmix.comparison.fits import Answer, Fit, carry_out, remove_cut_off_fits
from latentmix.comparison.plans import Plan, plan_of, sha256_of_record
from latentmix.comparison.protocol import RowFiles, Scorer, ValidationLabels, separate, write_rows
from latentmix.comparison.request import Request, check
from latentmix.comparison.specs import Spec
from latentmix.comparison.table import TUNED, UNSUPERVISED, Row, RowFile
from latentmix.comparison.tuning import choose, choose_by_likelihood
from latentmix.data import Dataset, split
from latentmix.errors import InputError, RunFailedError
from latentmix.runs.request import Source, sha256_of
from latentmix.storage.files import alone_in, claim_folder, remove_cut_off, write_json

# What tells a benchmark's folder from any other.
BENCHMARK = "benchmark.json"

# What chooses where a row has several methods.
BY_LABELS, BY_LIKELIHOOD = "validation labels", "validation likelihood"


@dataclass
class Outcome:
    """Every run in the folder, and what became of those that failed just now."""

    rows: list[Row]
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Run:
    """One row to be: a label, the fits that it rests on, and what chooses if they are several."""

    label: str
    criterion: str
    fits: tuple[Fit, ...]
    seed: int
    labels_sha256: str

    def name(self) -> str:
        return f"{self.label} on {self.fits[0].rows.name}, seed {self.seed}"

    @property
    def sha256(self) -> str:
        """The hash of all that decides the row."""
        fits = [fit.identity() for fit in self.fits]
        return sha256_of_record(
            {
                "label": self.label,
                "criterion": self.criterion,
                "fits": fits,
                "labels": self.labels_sha256,
            }
        )


def execute(request: Request, say: Callable[[str], None]) -> Outcome:
    """Run what of a benchmark is not there yet, and return all rows of its folder.

    Parameters
    ----------
    request : Request
    say : callable
        Told in a line what was run.

    Raises
    ------
    ParameterError, MissingError
        For an unknown method, setting or data set, before anything is run.
    InputError
        If a data set cannot be used.
    WriteError
        If the folder is taken, in use, or cannot be written.
    KeyboardInterrupt
        On Ctrl-C or SIGTERM; what was done is kept.
    """
    check(request)
    with alone_in(request.out):
        _claim(request)
        file = RowFile(request.out / "rows.csv")
        outcome = Outcome(file.rows)
        total, done = request.n_seeds * len(_asked(request)) * len(request.data), 0
        try:
            for data in request.data:
                for run, scorer in _runs(request, data):
                    done += 1
                    say(f"{done}/{total} {run.name()}")
                    say(f"    {_carried_out(run, scorer, request, outcome, file)}")
        finally:
            shutil.rmtree(_row_folder(request), ignore_errors=True)
        outcome.rows = file.rows
    return outcome


def _claim(request: Request) -> None:
    """Make a new folder a benchmark's, or go on in one that is."""
    out = request.out
    if not (out / BENCHMARK).is_file():
        claim_folder(out)
    remove_cut_off(out)
    remove_cut_off_fits(_fit_folder(request))
    shutil.rmtree(_row_folder(request), ignore_errors=True)
    write_json(
        out / BENCHMARK,
        {
            "latentmix": __version__,
            "methods": [spec.label for spec in request.methods],
            "tune": [choice.label for choice in request.tuned],
            "select": [choice.label for choice in request.selected],
            "data": list(request.data),
            "seeds": request.n_seeds,
        },
    )


def _runs(request: Request, data: str) -> Iterator[tuple[_Run, Scorer]]:
    """Yield the runs on a data set, seed by seed, with who scores them."""
    dataset = Source(data).read(request.reading)
    n_classes = max(1, len(dataset.class_names))
    for seed in range(request.n_seeds):
        rows, scorer = _separated(request, dataset, seed)
        for criterion, label, specs in _asked(request):
            plans = [plan_of(spec, n_classes, even_classes=dataset.even_classes) for spec in specs]
            fits = tuple(_fit(plan, rows, seed, request) for plan in plans)
            shown = label if criterion else plans[0].label
            yield _Run(shown, criterion, fits, seed, _labels_sha256(dataset)), scorer


def _asked(request: Request) -> list[tuple[str, str, tuple[Spec, ...]]]:
    """Return the rows of one seed: what chooses ('' of one method), a label, and the methods."""
    return [
        *(("", spec.label, (spec,)) for spec in request.methods),
        *((BY_LIKELIHOOD, choice.label, choice.alternatives) for choice in request.selected),
        *((BY_LABELS, choice.label, choice.alternatives) for choice in request.tuned),
    ]


def _carried_out(
    run: _Run, scorer: Scorer, request: Request, outcome: Outcome, file: RowFile
) -> str:
    """Carry out a run if it is not there, keep its row, and return what became of it."""
    methods = {fit.plan.sha256: fit.plan.record for fit in run.fits}
    if file.holds(run.sha256):
        file.keep_methods(methods)
        return "there already"
    try:
        row = _row(run, scorer, request)
    except RunFailedError as error:
        where = f"{run.fits[0].rows.name}, seed {run.seed}"
        outcome.failures.append(f"{str(error).rstrip('.')} (on {where})")
        return f"failed: {error}"
    file.put(row)
    file.keep_methods(methods)
    chosen = f"{row.chosen}, " if row.chosen else ""
    return f"{chosen}accuracy {row.accuracy:.3f}, {row.fit_seconds:.1f} s"


def _separated(request: Request, dataset: Dataset, seed: int) -> tuple[RowFiles, Scorer]:
    """Take a data set apart by a seed, and write its rows where methods find them."""
    rows, scorer = separate(dataset, split(dataset, seed=seed))
    return write_rows(rows, _row_folder(request)), scorer


def _labels_sha256(dataset: Dataset) -> str:
    # `separate` has refused data without labels.
    return "" if dataset.labels is None else sha256_of(dataset.labels)


def _fit(plan: Plan, rows: RowFiles, seed: int, request: Request) -> Fit:
    """Return what is to be fitted, if there are rows enough for its components."""
    n_rows, n_components = rows.n_rows["train"], plan.n_components
    if n_components is not None and n_rows < n_components:
        raise InputError(
            f"{rows.name} has {n_rows} training rows for {n_components} components. Expected at "
            "least as many rows as components; give more rows."
        )
    return Fit(plan, rows, seed, request.reading.data.unit_interval)


def _row(run: _Run, scorer: Scorer, request: Request) -> Row:
    """Carry out a run's fits, choose among them if there are several, and score one.

    Every prediction is made and hashed before a label is looked at; the choice is given the
    validation labels alone; one fit's test rows are scored, once.
    """
    answers = [carry_out(fit, _fit_folder(request), request.peer_python) for fit in run.fits]
    at, tuned = _chosen(run, answers, scorer.validation), run.criterion == BY_LABELS
    fit, answer = run.fits[at], answers[at]
    scores = scorer.score(run.sha256, answer.predictions)
    return Row(
        group=TUNED if tuned else UNSUPERVISED,
        method=run.label,
        data=fit.rows.name,
        n_components=answer.predictions.n_components,
        seed=run.seed,
        accuracy=scores.accuracy,
        nmi=scores.nmi,
        ari=scores.ari,
        named_accuracy=scores.named_accuracy,
        naming_labels=scores.naming_labels,
        chosen=fit.plan.label if run.criterion else "",
        criterion=run.criterion,
        tuning_labels=scorer.validation.n_known if tuned else 0,
        nll=answer.nll,
        density=answer.density,
        predictions_sha256=answer.predictions.sha256,
        train_sha256=fit.rows.sha256["train"],
        test_sha256=fit.rows.sha256["test"],
        method_sha256=fit.plan.sha256,
        request_sha256=run.sha256,
        versions=answer.versions,
        machine=answer.machine,
        **_cost(answers),
    )


def _chosen(run: _Run, answers: Sequence[Answer], labels: ValidationLabels) -> int:
    """Return which of a run's fits is its row's."""
    if run.criterion == BY_LABELS:
        return choose([one.predictions.validation for one in answers], labels)
    if run.criterion == BY_LIKELIHOOD:
        nlls = [one.validation_nll for one in answers]
        return choose_by_likelihood(nlls, [one.density for one in answers])
    return 0


def _cost(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return what a row's fits took together: the sum of times, the highest peak of memory."""
    peaks = [one.peak_memory for one in answers]
    return {
        "fit_seconds": round(sum(one.fit_seconds for one in answers), 3),
        "predict_seconds": round(sum(one.predict_seconds for one in answers), 3),
        "peak_memory": None if None in peaks else max(peak for peak in peaks if peak is not None),
    }


def _fit_folder(request: Request) -> Path:
    return request.out / "fits"


def _row_folder(request: Request) -> Path:
    return request.out / ".rows"
