"""A sitting: what a person says of a run's rows and clusters, one action after the other.

    {"do": "name", "clusters": [3], "name": "7"}          every row of these clusters is of a class
    {"do": "label", "rows": [5, 8], "names": ["7", "1"]}  single rows are
    {"do": "merge", "clusters": [3, 5]}                   they are one cluster
    {"do": "split", "cluster": 3}                         it is two: EM inside it, or unmerged
    {"do": "forget"}                                      no name is given, the run's own neither
    {"do": "undo"}, {"do": "redo"}

A blank name takes one back. Actions make new states and change none, so that undoing is going back
one. Each stands in the journal, on disk, before it counts: reading it again comes to the same
state. The run itself stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from latentmix.errors import InputError, IntegrityError
from latentmix.runs.opened import OpenRun
from latentmix.runs.parts import evenly
from latentmix.runs.said import Rows, Said, State
from latentmix.storage.journal import append_entry, read_journal

JOURNAL: Final = "names.jsonl"
FORMAT: Final = 1

# Classes in all; lines left out of a journal that are told one by one; states of the curve.
MOST_CLASSES: Final = 1000
MOST_TOLD: Final = 10
MOST_OF_CURVE: Final = 40

# A label is called something that fits beside a point.
LONGEST_NAME: Final = 80


class Sitting:
    """The states that a journal comes to, and the one that counts now.

    Parameters
    ----------
    run : OpenRun
    folder : Path
        Where the journal is.

    Raises
    ------
    IntegrityError
        If the journal is another run's, or of a newer format.
    """

    def __init__(self, run: OpenRun, folder: Path) -> None:
        self.run, self.rows, self.path = run, Rows(run), folder / JOURNAL
        mixture = run.model.mixture_
        nothing = np.full(len(self.rows), -1, np.int32)
        first = Said(mixture, tuple(range(mixture.n_components_)), nothing)
        self._states, self._at = [State(run, self.rows, first)], 0
        self.n_done = 0
        entries, cut_short = read_journal(self.path)
        left_out = [f"line {number} was cut short" for number in cut_short]
        self._begin(entries[:1])
        for number, entry in enumerate(entries[1:], start=1):
            try:
                self._do(entry)
            except InputError as error:
                left_out.append(f"action {number} is none ({error})")
        self.left_out = left_out[:MOST_TOLD]
        if len(left_out) > MOST_TOLD:
            self.left_out.append(f"and so were {len(left_out) - MOST_TOLD:,} more")

    @property
    def state(self) -> State:
        """What counts now."""
        return self._states[self._at]

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was undone."""
        return self._at + 1 < len(self._states)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """How many names were given, and the accuracy with them: of some states so far."""
        some = [self._states[at] for at in evenly(self._at + 1, MOST_OF_CURVE)]
        figures = ((state.said.n_said, state.accuracy) for state in some)
        return [(n_said, accuracy) for n_said, accuracy in figures if accuracy is not None]

    def act(self, action: Mapping[str, Any]) -> State:
        """Do something, and return what counts from now on.

        Raises
        ------
        InputError
            If it is no action, or cannot be done here.
        WriteError
            If the journal cannot be written; nothing is done then.
        """
        at, states = self._at, list(self._states)
        try:
            self._do(action)
            # What cannot be worked out is not done: it would be met again at each start.
            _ = self.state.record
            append_entry(self.path, dict(action))
        except BaseException:
            self._at, self._states = at, states
            raise
        self.n_done += 1
        states[at].forget()
        return self.state

    def _begin(self, first: Sequence[Mapping[str, Any]]) -> None:
        """Check whose journal it is; begin it, if there is none yet."""
        sealed = self.run.sealed
        own = hashlib.sha256(
            sealed.read("latents.safetensors") + sealed.read("model/mixture.safetensors")
        ).hexdigest()
        header = {"format": FORMAT, "run": own}
        if not first:
            append_entry(self.path, header)
        elif first[0].get("format") != FORMAT:
            raise IntegrityError(
                f"{self.path} has format {first[0].get('format')!r}. Expected {FORMAT}; use the "
                "version of latentmix that wrote it, or move it away to begin anew."
            )
        elif first[0] != header:
            raise IntegrityError(
                f"{self.path} holds names for another run's clusters. Move it away to begin anew, "
                "or put the run back that it belongs to."
            )

    def _do(self, action: Mapping[str, Any]) -> None:
        what = action.get("do")
        if what == "undo" and self.can_undo:
            self._at -= 1
        elif what == "redo" and self.can_redo:
            self._at += 1
        elif what in ("undo", "redo"):
            raise InputError(f"There is nothing to {what}.")
        else:
            said = _after(self.state, action, self.rows)
            state = State(self.run, self.rows, said)
            self._states[self._at + 1 :] = [state]
            self._at += 1


def _after(state: State, action: Mapping[str, Any], rows: Rows) -> Said:
    """Return what was said once an action is done."""
    said = state.said
    match action:
        case {"do": "name", "clusters": [*clusters], "name": str(name)}:
            _check_clusters(said, clusters)
            kept = {k: old for k, old in said.names.items() if k not in clusters}
            called = _clean(name)
            new = dict.fromkeys(clusters, called) if called else {}
            return _checked(replace(said, names={**kept, **new}))
        case {"do": "label", "rows": [*numbers], "names": [*names]}:
            _check_rows(numbers, names, len(rows))
            return _checked(_labelled(said, numbers, names))
        case {"do": "merge", "clusters": [*clusters]}:
            _check_clusters(said, clusters)
            return _merged(said, clusters)
        case {"do": "split", "cluster": int(cluster)}:
            _check_clusters(said, [cluster])
            return _split(said, cluster, rows)
        case {"do": "forget"}:
            return replace(said, names={}, labels=np.full(len(rows), -1, np.int32), own=False)
    raise InputError(
        f"{str(dict(action))[:200]} is no action. Expected one of name, label, merge, split, "
        "forget, undo or redo, with what it asks for."
    )


def _merged(said: Said, clusters: list[int]) -> Said:
    if len(set(clusters)) < 2:
        raise InputError("One cluster alone cannot be merged. Give two at least.")
    into = min(clusters)
    called = [said.names[cluster] for cluster in clusters if cluster in said.names]
    names = {cluster: name for cluster, name in said.names.items() if cluster not in clusters}
    return replace(
        said,
        cluster_of=tuple(into if number in clusters else number for number in said.cluster_of),
        names={**names, into: called[0]} if called else names,
    )


def _split(said: Said, cluster: int, rows: Rows) -> Said:
    """Return a cluster's components on their own; of one alone the halves that EM finds in it."""
    members, cluster_of, mixture = said.members(cluster), list(said.cluster_of), said.mixture
    if len(members) == 1:
        try:
            mixture = mixture.split(members[0], rows.train)
        except InputError as error:
            raise InputError(
                f"Cluster {cluster} has too few different rows to be two. Split a larger one."
            ) from error
        members.append(len(cluster_of))
        cluster_of.append(len(cluster_of))
    for k in members:
        cluster_of[k] = k
    names = dict(said.names)
    if cluster in names:
        names.update(dict.fromkeys(members, names[cluster]))
    return replace(said, mixture=mixture, cluster_of=tuple(cluster_of), names=names)


def _labelled(said: Said, numbers: Sequence[int], names: Sequence[str]) -> Said:
    """Return what was said with some labels set, or taken back where they are blank."""
    clean = {name: _clean(name) for name in dict.fromkeys(names)}
    all_names = tuple(dict.fromkeys([*said.label_names, *filter(None, clean.values())]))
    place = {name: number for number, name in enumerate(all_names)} | {"": -1}
    labels = said.labels.copy()
    labels[np.asarray(numbers, np.int64)] = [place[clean[name]] for name in names]
    return replace(said, labels=labels, label_names=all_names)


def _clean(name: str) -> str:
    """Return a name as it is kept: spaces of all kinds are one kind, and none at the ends.

    Raises
    ------
    InputError
        If it is too long, or has a line break or another character that is not shown.
    """
    clean = " ".join(name.split())
    # Joiners belong to letters and pictures of several parts.
    shown = clean.replace("\u200c", "").replace("\u200d", "")
    if len(clean) > LONGEST_NAME or not shown.isprintable() or "\n" in name or "\r" in name:
        raise InputError(
            f"{name[:LONGEST_NAME]!r} is no name. Expected at most {LONGEST_NAME} characters on "
            "one line, all of which can be seen."
        )
    return clean


def _checked(said: Said) -> Said:
    """Refuse more classes than somebody can mean."""
    n_classes = len(said.classes)
    if n_classes > MOST_CLASSES:
        raise InputError(
            f"These would be {n_classes:,} classes. Expected at most {MOST_CLASSES:,}; is it the "
            "column of the labels that was read?"
        )
    return said


def _check_clusters(said: Said, clusters: Sequence[Any]) -> None:
    unknown = [k for k in clusters if type(k) is not int or k not in said.cluster_of]
    if unknown or not clusters:
        if not clusters:
            raise InputError("No cluster was given. Give one at least.")
        listed = ", ".join(map(str, said.clusters))
        raise InputError(f"There is no cluster {unknown[0]!r}. Choose of {listed}.")


def _check_rows(numbers: Sequence[Any], names: Sequence[Any], n_rows: int) -> None:
    if len(numbers) != len(names) or not numbers:
        raise InputError(
            f"{len(numbers)} rows and {len(names)} names were given. Expected a name for each row, "
            "and one row at least."
        )
    for number, name in zip(numbers, names, strict=True):
        if type(number) is not int or not 0 <= number < n_rows or type(name) is not str:
            raise InputError(
                f"Row {number!r} was called {name!r}. Expected a row number from 0 to "
                f"{n_rows - 1:,} and text; blank takes a label back."
            )
