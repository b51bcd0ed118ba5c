"""What a person has said of a run's rows and clusters, and what follows from it.

All that is said goes into p(y|k): a label is a labelled row, the name of a cluster is that of all
its rows. A cluster is one component or, merged, several: p of it is the sum of theirs. So a name
changes no density, no draw and no other cluster, and what follows is two matrix products away.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from latentmix.data.labels import Labels, encode_names
from latentmix.estimators import GaussianMixture, LatentMixture
from latentmix.estimators.naming import REACHED, Evidence
from latentmix.metrics import contingency_table, purity_per_component
from latentmix.models.blocks import blocks
from latentmix.runs.opened import OpenRun
from latentmix.runs.parts import PARTS, ROWS_PER_ANSWER, Parts, read_latents
from latentmix.storage.files import null_where_not_finite

# So many mixtures and groupings are kept worked out.
KEPT: Final = 3

# An answer of such a probability is called sure.
SURE: Final = 0.9


class Rows:
    """All rows of a run in their order: where they lie, their part, and what was known of them.

    Attributes
    ----------
    means : (N, L)
        Posterior means.
    train : (n, L)
        What the mixture was fitted to.
    part : (N,) of int
        Which of `PARTS` each belongs to.
    known : Labels
        What the data call them.
    naming : (M,) of int
        The rows whose known label named the run's components.
    ids : list of str, or None
        What they are called, where that is no number.
    """

    def __init__(self, run: OpenRun) -> None:
        latents, split = read_latents(run.sealed)
        n_rows = run.request["data"]["shape"][0]
        names, ids = [""] * n_rows, [""] * n_rows
        for row in run.sealed.csv("rows.csv"):
            names[int(row["row"])], ids[int(row["row"])] = row["known_label"], row["id"]
        self.known = encode_names(names)
        self.ids = ids if run.request["data"]["has_ids"] else None
        self.means = np.zeros((n_rows, latents.z.shape[1]), np.float32)
        self.part = np.zeros(n_rows, np.uint8)
        parts = _as_named(run, Parts(split, self.known, self.ids))
        for number, part in enumerate(PARTS):
            self.means[parts.numbers(part)] = latents.means[part]
            self.part[parts.numbers(part)] = number
        self.train = latents.train(run.model.latents)
        self.naming = _naming_rows(parts)

        # Names leave both as they are; a step back and forth meets what was worked out before.
        self.seen = lru_cache(KEPT)(lambda mixture: _seen(mixture, self.means))
        self.grouped = lru_cache(KEPT)(
            lambda mixture, cluster_of: _grouped(self.seen(mixture), cluster_of, self.known)
        )

    def __len__(self) -> int:
        return len(self.means)


def _as_named(run: OpenRun, parts: Parts) -> Parts:
    """Return the parts with those labels shown that the run was named by."""
    named_by = run.sealed.json("metrics.json")["naming"]["rows"]
    if parts.n_naming() != named_by and run.recipe.labels.n_rows is not None:
        return parts.showing(run.recipe.labels.n_rows, run.request["seed"])
    return parts


def _naming_rows(parts: Parts) -> np.ndarray:
    rows = [parts.numbers(part)[parts.shown_names(part) != ""] for part in parts.naming_parts()]
    return np.concatenate(rows)


class Seen(NamedTuple):
    """What a mixture says of all rows: p(k|x), (N, K), and log p(z), (N,).

    `ranks`, (N,), is the share of rows that are less dense, and `sizes`, (K,), how many rows each
    component is most probable for.
    """

    responsibilities: np.ndarray
    log_density: np.ndarray
    ranks: np.ndarray
    sizes: np.ndarray


class Grouped(NamedTuple):
    """Which cluster each row is in.

    Attributes
    ----------
    number : int
        Of this grouping: others have other numbers.
    clusters : (G,) of int
        The clusters' numbers.
    places : (N,) of int
        Of each row's cluster among them.
    probabilities : (N,)
        p of that cluster.
    sizes, confidences, purities : (G,)
        Of each cluster the number of rows, the mean probability, and the share of its known labels
        that are of one class; NaN of no rows or labels.
    """

    number: int
    clusters: np.ndarray
    places: np.ndarray
    probabilities: np.ndarray
    sizes: np.ndarray
    confidences: np.ndarray
    purities: np.ndarray


@dataclass(frozen=True, eq=False)
class Said:
    """All that was said so far.

    Attributes
    ----------
    mixture : GaussianMixture
    cluster_of : tuple of int
        The cluster of each component: the lowest component in it gives the number.
    names : mapping
        Of clusters.
    labels : (N,) of int, and label_names : tuple of str
        Of each row the place of its label among the names, -1 without one.
    own : bool
        Whether the labels that the run was named by count.
    """

    mixture: GaussianMixture
    cluster_of: tuple[int, ...]
    labels: np.ndarray
    label_names: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    own: bool = True

    @property
    def clusters(self) -> list[int]:
        """The clusters there are."""
        return sorted(set(self.cluster_of))

    @property
    def n_said(self) -> int:
        """How many names were given, of rows and of clusters."""
        return len(self.names) + int((self.labels >= 0).sum())

    @property
    def classes(self) -> set[str]:
        """All names that were given."""
        n_rows = np.bincount(self.labels + 1, minlength=len(self.label_names) + 1)[1:]
        given = {name for name, n in zip(self.label_names, n_rows, strict=True) if n}
        return given | {*self.names.values()}

    def label_of(self, row: int) -> str | None:
        """Return the label that a row was given."""
        return None if self.labels[row] < 0 else self.label_names[self.labels[row]]

    def members(self, cluster: int) -> list[int]:
        """Return a cluster's components."""
        return [k for k, number in enumerate(self.cluster_of) if number == cluster]


class Found(NamedTuple):
    """What follows for every row.

    Attributes
    ----------
    clusters : (N,) of int
    cluster_probabilities : (N,)
        p of the row's own cluster.
    classes : (N,) of int
        Index into `names`, -1 if the cluster has no name; of rows labelled here their label.
    probabilities : (N,)
        p(y|x) of the most probable class, 0 without a name, 1 of rows labelled here.
    names : list of str
        The classes.
    """

    clusters: np.ndarray
    cluster_probabilities: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    names: list[str]


class State:
    """What was said, and what follows from it: worked out when it is asked for, and kept."""

    def __init__(self, run: OpenRun, rows: Rows, said: Said) -> None:
        self.said, self._run, self._rows = said, run, rows

    @property
    def seen(self) -> Seen:
        """What the mixture says of all rows."""
        return self._rows.seen(self.said.mixture)

    @property
    def grouped(self) -> Grouped:
        """Which cluster each row is in."""
        return self._rows.grouped(self.said.mixture, self.said.cluster_of)

    @cached_property
    def model(self) -> LatentMixture:
        """The run's model with this mixture and these names."""
        model = self._run.model.of_mixture(self.said.mixture)
        evidence = self._evidence()
        if evidence is None:
            return model
        with warnings.catch_warnings():
            # Components that no label reached are shown as such.
            warnings.simplefilter("ignore", UserWarning)
            model.name_by(evidence)
        if self.said.own:
            # Names given here are few beside those that it was calibrated with.
            model.temperature_ = getattr(self._run.model, "temperature_", 1.0)
        return model

    @cached_property
    def found(self) -> Found:
        """What follows for every row."""
        model, said, grouped = self.model, self.said, self.grouped
        names = [str(name) for name in getattr(model, "classes_", [])]
        n_rows = len(self._rows)
        classes, probabilities = np.full(n_rows, -1, np.int32), np.zeros(n_rows, np.float32)
        for block in blocks(n_rows, ROWS_PER_ANSWER):
            classes[block], probabilities[block] = self._answered(block)
        labelled = np.flatnonzero(said.labels >= 0)
        classes[labelled] = _places(said.label_names, names)[said.labels[labelled]]
        probabilities[labelled] = 1.0
        clusters = grouped.clusters[grouped.places]
        return Found(clusters, grouped.probabilities, classes, probabilities, names)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The figures: clusters, accuracy on labelled test rows, share of rows with a name."""
        found, said = self.found, self.said
        return {
            "clusters": self._lines(),
            "grouping": self.grouped.number,
            "classes": found.names,
            "n_said": said.n_said,
            "own": said.own,
            "named": float((found.classes >= 0).mean()),
            "sure": float((found.probabilities >= SURE).mean()),
            "accuracy": self.accuracy,
            "judged": int(self._judged.sum()),
        }

    @cached_property
    def accuracy(self) -> float | None:
        """Share of labelled test rows whose class is right; none is right without a name.

        None if there are no such rows.
        """
        known, judged = self._rows.known, self._judged
        if not judged.any():
            return None
        classes, _ = self._answered(judged)
        true = np.array(known.class_names)[known.labels[judged]]
        names = np.array([*map(str, getattr(self.model, "classes_", [])), ""])
        return float(np.mean(names[classes] == true))

    def forget(self) -> None:
        """Let go of what is large, and is worked out anew when it is asked for."""
        for name in ("found", "record"):
            self.__dict__.pop(name, None)

    @property
    def _judged(self) -> np.ndarray:
        """Labelled test rows, but for those that were labelled here, (N,) of bool."""
        is_test = self._rows.part == PARTS.index("test")
        judged: np.ndarray = is_test & (self._rows.known.labels >= 0) & (self.said.labels < 0)
        return judged

    def _evidence(self) -> Evidence | None:
        """Return all that names components: known labels, labels given, and clusters' names."""
        said, known, naming = self.said, self._rows.known, self._rows.naming
        labelled = np.flatnonzero(said.labels >= 0)
        own = naming[said.labels[naming] < 0] if said.own else naming[:0]
        if not (len(labelled) or len(own) or said.names):
            return None
        of_data = {known.class_names[k] for k in np.unique(known.labels[own])}
        classes = encode_names([*of_data, *said.classes]).class_names
        counts = np.zeros((len(said.cluster_of), len(classes)))
        for cluster, name in said.names.items():
            members = said.members(cluster)
            # One row at least: a component that is nowhere first has its name all the same.
            counts[members, classes.index(name)] = np.maximum(self.seen.sizes[members], 1)
        rows = np.concatenate([own, labelled])
        indices = np.concatenate(
            [
                _places(known.class_names, classes)[known.labels[own]],
                _places(said.label_names, classes)[said.labels[labelled]],
            ]
        )
        order = np.argsort(rows, kind="stable")
        responsibilities = self.seen.responsibilities[rows[order]]
        return Evidence(responsibilities, indices[order], np.array(classes), rows[order], counts)

    @cached_property
    def _named(self) -> set[int]:
        """The clusters that some label reached."""
        if not hasattr(self.model, "classes_"):
            return set()
        labelled, said = self.model.labelled_rows_, self.said
        return {k for k in said.clusters if labelled[said.members(k)].sum() >= REACHED}

    def _answered(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return class and probability of some rows, -1 and 0 where the cluster has no name."""
        responsibilities = self.seen.responsibilities[rows]
        classes = np.full(len(responsibilities), -1)
        probabilities = np.zeros(len(responsibilities), np.float32)
        if not self._named:
            return classes, probabilities
        named = np.isin(self.grouped.clusters, list(self._named))[self.grouped.places[rows]]
        proba = self.model.class_proba_of(responsibilities)
        np.copyto(classes, proba.argmax(axis=1), where=named)
        np.copyto(probabilities, proba.max(axis=1), where=named, casting="same_kind")
        return classes, probabilities

    def _lines(self) -> list[dict[str, Any]]:
        """Return the list of clusters, the largest first."""
        grouped, said = self.grouped, self.said
        lines = []
        for at in np.argsort(-grouped.sizes, kind="stable"):
            cluster = int(grouped.clusters[at])
            members, name = said.members(cluster), ""
            if cluster in self._named:
                shares = said.mixture.weights_[members] @ self.model.class_probs_[members]
                name = str(self.model.classes_[int(np.argmax(shares))])
            line = {
                "cluster": cluster,
                "components": members,
                "rows": int(grouped.sizes[at]),
                "confidence": float(grouped.confidences[at]),
                "purity": float(grouped.purities[at]),
                "name": name,
                "given": cluster in said.names,
            }
            lines.append(null_where_not_finite(line))
        return lines


def _places(names: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """Return where each of some names stands among others, -1 where it does not."""
    index = {name: place for place, name in enumerate(among)}
    return np.array([index.get(name, -1) for name in names], np.int64)


def _seen(mixture: GaussianMixture, means: np.ndarray) -> Seen:
    responsibilities = np.empty((len(means), mixture.n_components_), np.float32)
    log_density = np.empty(len(means), np.float32)
    for block in blocks(len(means), ROWS_PER_ANSWER):
        responsibilities[block] = mixture.predict_proba(means[block])
        log_density[block] = mixture.score_samples(means[block])
    ranks = np.empty(len(means), np.float32)
    order = np.argsort(log_density, kind="stable")
    ranks[order] = np.linspace(0, 1, len(means), dtype=np.float32)
    sizes = np.bincount(responsibilities.argmax(axis=1), minlength=mixture.n_components_)
    return Seen(responsibilities, log_density, ranks, sizes)


def _grouped(seen: Seen, cluster_of: Sequence[int], known: Labels) -> Grouped:
    clusters = np.unique(cluster_of)
    of_components = (np.array(cluster_of)[:, None] == clusters).astype(np.float32)
    n_rows, n_clusters = len(seen.responsibilities), len(clusters)
    places, own = np.empty(n_rows, np.int32), np.empty(n_rows, np.float32)
    for block in blocks(n_rows, ROWS_PER_ANSWER):
        of_clusters = seen.responsibilities[block] @ of_components
        places[block], own[block] = of_clusters.argmax(axis=1), of_clusters.max(axis=1)
    sizes = np.bincount(places, minlength=n_clusters)
    n_classes = max(1, len(known.class_names))
    table = contingency_table(places, known.labels, n_clusters, n_classes)
    with np.errstate(invalid="ignore"):
        confidences = np.bincount(places, own, n_clusters) / sizes
    number = zlib.crc32(places.tobytes() + repr(clusters).encode())
    return Grouped(number, clusters, places, own, sizes, confidences, purity_per_component(table))
