"""What the explorer shows of a run: places on the map, rows as they look, and what is drawn.

Rows are asked for by number. Images go out as bytes, a table's rows as the values they hold.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from latentmix.data.pixels import read_pixels
from latentmix.errors import InputError
from latentmix.estimators import LatentMixture
from latentmix.runs.galleries import KINDS, Members
from latentmix.runs.opened import OpenRun, own_data
from latentmix.runs.parts import PARTS
from latentmix.runs.predict import strangeness
from latentmix.runs.said import State
from latentmix.runs.sitting import Sitting
from latentmix.runs.tables import map_of

# Rows of each kind in a cluster's gallery, and draws beside them.
SHOWN: Final = 12
NEIGHBOURS: Final = 12

# Columns of a table that are shown of a row.
MOST_COLUMNS: Final = 200


class Views:
    """A run's rows, and what its model makes of them.

    Parameters
    ----------
    run : OpenRun
    sitting : Sitting

    Attributes
    ----------
    shown : {'data', 'decoded'}
        What rows look like: as they are, or where the data are gone as the model decodes them.
    """

    def __init__(self, run: OpenRun, sitting: Sitting) -> None:
        self.run, self.sitting, self.rows = run, sitting, sitting.rows
        self.vae, self.image_shape = run.model.vae_, run.image_shape
        dataset = own_data(run)
        self.shown = "decoded" if dataset is None else "data"
        self._data = None if dataset is None else dataset.rows
        self._map = map_of(self.rows.train)
        self._umap = _Embedding(self.rows.means)
        self._spread = self.rows.means.std(axis=0)

    def about(self) -> dict[str, Any]:
        """Return what stays as it is while one looks."""
        known = self.rows.known
        return {
            "title": f"{self.run.request['data']['name']}, {self.run.recipe.name}",
            "rows": len(self.rows),
            "parts": list(PARTS),
            "latent_dim": self.rows.means.shape[1],
            "low": np.percentile(self.rows.means, 0.5, axis=0).tolist(),
            "high": np.percentile(self.rows.means, 99.5, axis=0).tolist(),
            "centre": self.rows.means.mean(axis=0).tolist(),
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "columns": self._columns(),
            "shown": self.shown,
            "known": list(known.class_names),
            "umap": self._umap.is_possible,
            "left_out": self.sitting.left_out,
        }

    def fixed(self) -> bytes:
        """Return of all rows the known class, uint16 with 65535 for none, then the part, uint8."""
        return _numbers(self.rows.known.labels) + self.rows.part.tobytes()

    def clusters(self) -> bytes:
        """Return of all rows the cluster, uint16, then the rank of log p(z), uint8 for 0 to 1."""
        state = self.sitting.state
        return _numbers(state.found.clusters) + _bytes(state.seen.ranks)

    def classes(self) -> bytes:
        """Return of all rows the class, uint16 with 65535 for none, then p of it, uint8 for 0 to 1.

        Without a name it is p of the cluster.
        """
        found = self.sitting.state.found
        sure = np.where(found.classes >= 0, found.probabilities, found.cluster_probabilities)
        return _numbers(found.classes) + _bytes(sure)

    def points(self, axes: str) -> bytes | None:
        """Return where rows lie: x of all, then y, float32; None while that is worked out.

        Raises
        ------
        InputError
            If there are no such axes.
        """
        means = self.rows.means
        if axes == "pca":
            places = self._map.transform(means)
            places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
        elif axes == "umap" and self._umap.is_possible:
            places = self._umap.places()
            if places is None:
                return None
        else:
            places = means[:, self._dimensions(axes)]
        return np.ascontiguousarray(places.T, dtype="<f4").tobytes()

    def place(self, means: np.ndarray, axes: str) -> list[float] | None:
        """Return where one posterior mean, (L,), lies on axes; None on those of UMAP."""
        if axes == "umap":
            return None
        if axes == "pca":
            place: list[float] = self._map.transform(means[None])[0].tolist()
            return [*place, 0.0][:2]
        chosen: list[float] = means[self._dimensions(axes)].tolist()
        return chosen

    def looks(self, numbers: Sequence[int]) -> np.ndarray:
        """Return rows as they look, (n, D) in the units of the model's own.

        Raises
        ------
        InputError
            If there is no such row.
        """
        rows = self._checked(numbers)
        if self._data is None:
            return self.decoded(self.rows.means[rows])
        shown: np.ndarray = self.vae.in_output_units(self._data[rows])
        return shown

    def decoded(self, z: np.ndarray) -> np.ndarray:
        """Return E[x|z], (n, D)."""
        decoded: np.ndarray = self.run.model.inverse_transform(z)
        return decoded

    def reconstructions(self, numbers: Sequence[int]) -> np.ndarray:
        """Return what is left of rows after latent space, (n, D)."""
        return self.decoded(self.rows.means[self._checked(numbers)])

    def row(self, number: int) -> dict[str, Any]:
        """Return what is known and said of one row."""
        (row,) = self._checked([number])
        state, rows = self.sitting.state, self.rows
        found, label = state.found, rows.known.labels[row]
        away = np.sum(((rows.means - rows.means[row]) / self._safe_spread) ** 2, axis=1)
        near = np.argpartition(away, min(NEIGHBOURS, len(away) - 1))[: NEIGHBOURS + 1]
        near = near[np.argsort(away[near], kind="stable")]
        return {
            "row": int(row),
            "id": None if rows.ids is None else rows.ids[row],
            "part": PARTS[rows.part[row]],
            "cluster": int(found.clusters[row]),
            "known": rows.known.class_names[label] if label >= 0 else None,
            "given": state.said.label_of(int(row)),
            "density": float(state.seen.ranks[row]),
            "latents": [round(float(value), 4) for value in rows.means[row]],
            "neighbours": [int(other) for other in near if other != row][:NEIGHBOURS],
            **self._answers(state, state.seen.responsibilities[row]),
        }

    def gallery(self, cluster: int) -> dict[str, list[int]]:
        """Return rows of a cluster, of each of `KINDS`.

        Raises
        ------
        InputError
            If there is no such cluster.
        """
        state = self.sitting.state
        self._check_cluster(cluster)
        sure = state.found.cluster_probabilities
        members = Members(state.found.clusters, sure, np.log(sure) + state.seen.log_density)
        return dict(
            zip(KINDS, (rows.tolist() for rows in members.chosen(cluster, SHOWN)), strict=True)
        )

    def draws(
        self, n: int, seed: int, cluster: int | None = None, label: str | None = None
    ) -> np.ndarray:
        """Return new rows (n, D): of a cluster, of a class, or of all.

        Raises
        ------
        InputError, ParameterError, NotNamedError
            If there is no such cluster or class.
        """
        said = self.sitting.state.said
        if cluster is None:
            model: LatentMixture = copy.copy(self.sitting.state.model)
            model.set_params(random_state=seed)
            return model.sample(n, label=label)
        self._check_cluster(cluster)
        members, random = said.members(cluster), np.random.RandomState(seed)
        weights = said.mixture.weights_[members].astype(np.float64)
        chosen = random.choice(members, n, p=weights / weights.sum())
        z = said.mixture.draw(chosen, random)
        drawn: np.ndarray = self.vae.sample_given(z, seed)
        return drawn

    def query(self, n: int) -> list[int]:
        """Return the rows whose labels would teach most, test rows apart.

        Raises
        ------
        InputError
            If fewer rows are without a label.
        """
        state, rows = self.sitting.state, self.rows
        candidates = np.flatnonzero(rows.part != PARTS.index("test"))
        labelled = state.said.labels >= 0
        if state.said.own:
            labelled[rows.naming] = True
        free = int((~labelled[candidates]).sum())
        if n > free:
            raise InputError(f"{n} rows are asked for, and {free} are without a label.")
        data = self._data
        read = None if data is None else lambda rows: data[candidates[rows]]
        landscape = state.model.landscape_at(rows.means[candidates], read)
        asked = state.model.query_in(landscape, labelled[candidates], n)
        chosen: list[int] = candidates[asked].tolist()
        return chosen

    def dropped(self, content: bytes, name: str, axes: str, *, inverted: bool) -> dict[str, Any]:
        """Return what the model says of an image file, and where it lies on axes.

        Raises
        ------
        InputError
            If the run is of no images, or the file is none.
        """
        if self.image_shape is None:
            raise InputError("This run was trained on a table. Give images to one of images.")
        channels = 1 if len(self.image_shape) == 2 else 3
        height, width = self.image_shape[:2]
        size = height if height == width else None
        pixels = read_pixels(Path(name), size=size, channels=channels, content=content)
        if pixels.shape[:2] != (height, width):
            raise InputError(
                f"{name} is {pixels.shape[0]}x{pixels.shape[1]}. Expected {height}x{width}, as the "
                "run's images are; resize it."
            )
        pixels = 255 - pixels if inverted else pixels
        X = pixels.reshape(1, -1)
        dtype = self.run.request["data"]["dtype"]
        X = X if dtype == "uint8" else (X / 255).astype(dtype)
        state, means = self.sitting.state, self.run.model.transform(X)
        scores, p_values = strangeness(self.run.model, X)
        found = self._answers(state, state.said.mixture.predict_proba(means)[0])
        return {
            **found,
            "cluster": found["clusters"][0][0],
            "image": self.as_bytes(self.vae.in_output_units(X))[0].tolist(),
            "reconstruction": self.as_bytes(self.decoded(means))[0].tolist(),
            "anomaly_score": None if scores is None else float(scores[0]),
            "p_value": None if p_values is None else float(p_values[0]),
            "place": self.place(means[0], axes),
        }

    def as_bytes(self, values: np.ndarray) -> np.ndarray:
        """Return intensities as bytes, black to white: of [0, 1], or of the data's own range."""
        low, high = self._range
        return np.rint(255 * np.clip((values - low) / (high - low), 0, 1)).astype(np.uint8)

    def as_cells(self, values: np.ndarray) -> list[list[float | str]]:
        """Return a table's rows as they are shown."""
        cells = values[:, :MOST_COLUMNS].tolist()
        return [
            [value if isinstance(value, str) else float(f"{value:.5g}") for value in row]
            for row in cells
        ]

    def _answers(self, state: State, responsibilities: np.ndarray) -> dict[str, Any]:
        """Return p of clusters and of classes of one row, the most probable first."""
        said = state.said
        of_cluster = {
            cluster: float(responsibilities[said.members(cluster)].sum())
            for cluster in said.clusters
        }
        classes = []
        if hasattr(state.model, "classes_"):
            proba = state.model.class_proba_of(responsibilities[None])[0]
            names = [str(name) for name in state.model.classes_]
            classes = sorted(zip(names, proba.tolist(), strict=True), key=lambda pair: -pair[1])
        return {
            "clusters": sorted(of_cluster.items(), key=lambda pair: -pair[1])[:10],
            "classes": classes[:10],
        }

    def _columns(self) -> list[str] | None:
        if self.image_shape is not None:
            return None
        n_features = self.run.model.n_features_in_
        return (self.run.feature_names or [f"v{i}" for i in range(n_features)])[:MOST_COLUMNS]

    def _dimensions(self, axes: str) -> list[int]:
        """Return the two dimensions that axes such as '0,3' name."""
        latent_dim = self.rows.means.shape[1]
        parts = axes.split(",")
        if len(parts) == 2 and all(part.isdecimal() and int(part) < latent_dim for part in parts):
            return [int(part) for part in parts]
        also = ", umap" if self._umap.is_possible else ""
        raise InputError(
            f"{axes!r} are no axes. Expected pca{also}, or two of the latent dimensions 0 to "
            f"{latent_dim - 1}, as in 0,1."
        )

    def _check_cluster(self, cluster: int) -> None:
        if cluster not in self.sitting.state.said.cluster_of:
            raise InputError(f"There is no cluster {cluster}. Look at the list of clusters.")

    def _checked(self, numbers: Sequence[int]) -> np.ndarray:
        rows = np.asarray(numbers, np.int64).reshape(-1)
        if not ((rows >= 0) & (rows < len(self.rows))).all():
            raise InputError(
                f"There is no such row among {', '.join(map(str, rows[:5]))}. Expected numbers "
                f"from 0 to {len(self.rows) - 1:,}."
            )
        return rows

    @property
    def _safe_spread(self) -> np.ndarray:
        return np.where(self._spread > 0, self._spread, 1.0)

    @property
    def _range(self) -> tuple[float, float]:
        """The intensities that are shown black and white."""
        if not hasattr(self, "_low_high"):
            some = self.looks(list(range(min(len(self.rows), 256))))
            low, high = float(some.min()), float(some.max())
            inside = low >= 0 and high <= 1
            self._low_high = (0.0, 1.0) if inside or high <= low else (low, high)
        return self._low_high


class _Embedding:
    """UMAP of all latents, worked out once, beside everything else."""

    def __init__(self, means: np.ndarray) -> None:
        self._means, self._places = means, None
        self._failed: Exception | None = None
        self._work: threading.Thread | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the extra `umap` is installed."""
        from importlib.util import find_spec  # noqa: PLC0415

        return find_spec("umap") is not None

    def places(self) -> np.ndarray | None:
        """Return (N, 2), None while it is worked out.

        Raises
        ------
        InputError
            If UMAP cannot place these rows.
        """
        if self._failed is not None:
            raise InputError(f"UMAP failed: {self._failed}. Choose other axes.")
        if self._work is None:
            self._work = threading.Thread(target=self._embed, daemon=True)
            self._work.start()
        return self._places

    def _embed(self) -> None:
        try:
            import umap  # noqa: PLC0415  # slow to import, and an extra

            self._places = umap.UMAP(n_components=2).fit_transform(self._means)
        except Exception as error:  # of whatever kind, the page is waiting for an answer
            self._failed = error


def _numbers(values: np.ndarray) -> bytes:
    numbers: bytes = np.where(values < 0, 65535, values).astype("<u2").tobytes()
    return numbers


def _bytes(shares: np.ndarray) -> bytes:
    steps: np.ndarray = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
    return steps.tobytes()
