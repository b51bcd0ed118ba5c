"""Models as folders: JSON for what describes them, safetensors for what was learned.

model.json            what it is: class, parameters, architecture, classes
vae.safetensors       the network's arrays, shift and scale
mixture.safetensors   weights, means, covariances, precision factors, p(y|k)
usual.safetensors     what anomalies are told from; absent in models of earlier versions
manifest.json         size and SHA-256 of each
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from latentmix.data.columns import KINDS, Column
from latentmix.errors import IntegrityError
from latentmix.estimators.anomaly import Usual, density_of
from latentmix.estimators.cluster_selection import ClusterSelection
from latentmix.estimators.discrete_mixtures import BernoulliMixture, PoissonMixture
from latentmix.estimators.gaussian_mixture import GaussianMixture
from latentmix.estimators.latent_mixture import LatentMixture
from latentmix.estimators.mixture import AUTO, STARTS, MixtureEstimator
from latentmix.estimators.refinement import Refinement
from latentmix.estimators.vae import VAE
from latentmix.models.named_tensors import from_tensors, to_tensors
from latentmix.models.vae import Architecture, Network
from latentmix.storage.files import claim_folder, write_json, write_tensors
from latentmix.storage.manifest import Sealed, open_sealed, seal

# More hidden layers than anybody trains here are a damaged or hostile file.
MOST_LAYERS = 64

# Parameters of a VAE that are several whole numbers.
_TUPLES = ("hidden_dims", "channels", "image_shape")

_MIXTURES: Final[dict[str, type[MixtureEstimator]]] = {
    kind.__name__: kind for kind in (GaussianMixture, BernoulliMixture, PoissonMixture)
}

# Attributes of a mixture, and their names in its file.
_TENSORS: Final[dict[str, str]] = {
    "weights_": "weights",
    "means_": "means",
    "covariances_": "covariances",
    "precisions_cholesky_": "precision_factors",
}

Model = VAE | MixtureEstimator | LatentMixture


def save(model: Model, folder: str | Path) -> None:
    """Write a fitted model into a new or empty folder.

    Raises
    ------
    WriteError
        If the folder is not empty or cannot be written.
    """
    path = Path(folder)
    claim_folder(path)
    write_model(model, path)
    seal(path, "model")


def write_model(model: Model, path: Path) -> None:
    """Write a model's files, without a manifest (a run's own covers them)."""
    names = getattr(model, "feature_names_in_", None)
    record: dict[str, Any] = {
        "class": type(model).__name__,
        "feature_names": None if names is None else [str(name) for name in names],
    }
    if isinstance(model, VAE):
        _write_vae(model, path, record)
    elif isinstance(model, MixtureEstimator):
        _write_mixture(model, path, record, _names(model, record))
    else:
        record["latents"], record["smoothing"] = model.latents, model.smoothing
        record["random_state"] = _plain(model)["random_state"]
        record["refinement"] = _plain_refinement(model.refinement)
        selection = getattr(model, "selection_", None)
        record["selection"] = None if selection is None else selection.to_json()
        _write_vae(model.vae_, path, record)
        _write_mixture(model.mixture_, path, record, _names(model, record))
        _write_usual(model, path)
    write_json(path / "model.json", record)


def load(folder: str | Path) -> Any:
    """Return the model kept in a model folder or a run folder.

    Raises
    ------
    MissingError
        If there is no such folder.
    IntegrityError
        If a file was changed, or its manifest is unsafe.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from latentmix import GaussianMixture, load
    >>> X = np.arange(12.0).reshape(6, 2)
    >>> folder = tempfile.mkdtemp()
    >>> GaussianMixture(random_state=0).fit(X).save(folder)
    >>> load(folder).means_
    array([[5., 6.]])
    """
    sealed = open_sealed(Path(folder), ("model", "run"))
    return read_model(sealed, "" if sealed.kind == "model" else "model/")


def read_model(sealed: Sealed, prefix: str) -> Any:
    """Return the model whose files stand under `prefix` in a sealed folder."""
    record = sealed.json(f"{prefix}model.json")
    kind = record.get("class") if isinstance(record, dict) else None
    if kind not in _READERS:
        raise IntegrityError(
            f"{sealed.path}/{prefix}model.json names the class {kind!r}. Expected one of "
            f"{', '.join(_READERS)}; it was written by another version or changed."
        )
    try:
        return _READERS[kind](sealed, prefix, record)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(
            f"{sealed.path}/{prefix}model.json is incomplete ({error!r}). Save the model again."
        ) from error


def _write_vae(vae: VAE, path: Path, record: dict[str, Any]) -> None:
    record["vae"] = {
        "parameters": _plain(vae),
        "architecture": vae.architecture_._asdict(),
    }
    units = {"units.shift": vae.shift_, "units.scale": vae.scale_}
    write_tensors(path / "vae.safetensors", {**to_tensors(vae.network_), **units})


def _write_mixture(
    mixture: MixtureEstimator, path: Path, record: dict[str, Any], names: dict[str, np.ndarray]
) -> None:
    parameters = _plain(mixture)
    # JSON has no NaN.
    marked_by_nan = isinstance(mixture.missing_label, Real) and math.isnan(mixture.missing_label)
    if marked_by_nan:
        parameters["missing_label"] = None
    # Parameters set by hand may have none, and a start without an iteration has no finite one.
    last = mixture.lower_bounds_[-1] if mixture.lower_bounds_ else -np.inf
    bound = float(getattr(mixture, "lower_bound_", last))
    record["mixture"] = {
        "parameters": parameters,
        "missing_label_is_nan": marked_by_nan,
        "converged": bool(mixture.converged_),
        "lower_bounds": [float(bound) for bound in mixture.lower_bounds_],
        "lower_bound": bound if np.isfinite(bound) else None,
        "n_iter": int(mixture.n_iter_),
        "n_reborn": int(getattr(mixture, "n_reborn_", 0)),
        "n_falls": int(getattr(mixture, "n_falls_", 0)),
    }
    tensors = {
        key: getattr(mixture, name) for name, key in _TENSORS.items() if hasattr(mixture, name)
    }
    write_tensors(path / "mixture.safetensors", {**tensors, **names})


def _write_usual(model: LatentMixture, path: Path) -> None:
    if not hasattr(model, "usual_"):
        return
    usual = model.usual_
    density = {f"density.{key}": getattr(usual.density, name) for name, key in _TENSORS.items()}
    own = {"shift": usual.shift, "scale": usual.scale, "held_out": usual.held_out}
    write_tensors(path / "usual.safetensors", {**own, **density})


def _names(
    model: MixtureEstimator | LatentMixture, record: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Put the classes into the record, and return what else labels taught."""
    if not hasattr(model, "classes_"):
        return {}
    record["classes"] = model.classes_.tolist()
    record["temperature"] = float(model.temperature_)
    return {"class_probabilities": model.class_probs_, "labelled_rows": model.labelled_rows_}


def _plain(model: Model) -> dict[str, Any]:
    """Return the constructor's parameters that JSON can hold.

    Where a fit was to start from is left out: what it found is kept.
    """
    parameters: dict[str, Any] = model.get_params(deep=False)
    for name, value in parameters.items():
        if name in STARTS or isinstance(value, np.random.RandomState | np.random.Generator):
            parameters[name] = None
        elif isinstance(value, np.generic):
            parameters[name] = value.item()
        elif name in _TUPLES and value is not None:
            parameters[name] = [int(number) for number in value]
        elif name == "columns" and value is not None:
            parameters[name] = _plain_columns(value)
    return parameters


def _plain_columns(declared: Any) -> list[Any] | dict[str, list[Any]]:
    """Return what is declared of columns as JSON has it, whose keys are text alone."""

    def plain(said: Any) -> Any:
        if said is None or isinstance(said, str):
            return said
        return [one if isinstance(one, str) else int(one) for one in said]

    if not isinstance(declared, Mapping):
        return [plain(said) for said in declared]
    names = [name if isinstance(name, str) else int(name) for name in declared]
    return {"of": names, "are": [plain(said) for said in declared.values()]}


def _read_columns(stored: Any) -> Any:
    """Return what is declared of columns again."""
    if isinstance(stored, dict):
        return dict(zip(stored["of"], stored["are"], strict=True))
    return stored


def _plain_refinement(refinement: Refinement | None) -> dict[str, Any] | None:
    """Return its parameters as JSON has them."""
    if refinement is None:
        return None
    parameters: dict[str, Any] = refinement.get_params()
    for name, value in parameters.items():
        if isinstance(value, np.generic):
            parameters[name] = value.item()
        elif isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
            parameters[name] = np.asarray(value).tolist()
    return parameters


def _read_refinement(stored: dict[str, Any] | None) -> Refinement | None:
    """Return it again; models of earlier versions have none."""
    if stored is None:
        return None
    return Refinement(**_with_tuples(stored, stored))


def _read_vae(sealed: Sealed, prefix: str, record: dict[str, Any]) -> VAE:
    stored = record["vae"]
    vae = VAE(**_with_tuples(stored["parameters"], _TUPLES))
    vae.columns = _read_columns(vae.columns)
    shape = _with_tuples(stored["architecture"], _TUPLES)
    # Models of earlier versions tell all columns alike.
    columns = tuple(Column(kind, tuple(names)) for kind, names in shape.get("columns", ()))
    architecture = Architecture(**{**shape, "columns": columns})
    _check_columns(architecture)
    tensors = sealed.tensors(f"{prefix}vae.safetensors")
    vae.shift_, vae.scale_ = tensors.pop("units.shift"), tensors.pop("units.scale")
    vae.network_ = from_tensors(_shapes_of(architecture), tensors)
    vae.architecture_ = architecture
    vae.history_ = []
    _set_features(vae, architecture.n_features, record)
    return vae


def _with_tuples(values: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return values with some lists, JSON's, as tuples."""
    tuples = {name: tuple(values[name]) for name in names if isinstance(values.get(name), list)}
    return {**values, **tuples}


def _shapes_of(architecture: Architecture) -> Network:
    """Return a network of shapes without values: a false architecture takes no memory."""
    if not (architecture.hidden_dims and len(architecture.hidden_dims) <= MOST_LAYERS):
        raise IntegrityError(
            f"A stored network has {len(architecture.hidden_dims)} hidden layers. Expected 1 to "
            f"{MOST_LAYERS}. Save the model again."
        )

    def build(key: Array) -> Network:
        return Network(architecture, jnp.zeros(architecture.n_features), key)

    network: Network = eqx.filter_eval_shape(build, jax.random.key(0))
    return network


def _check_columns(architecture: Architecture) -> None:
    """Refuse columns that are not those of the rows, or of no kind."""
    kinds = {column.kind for column in architecture.columns}
    if architecture.columns and len(architecture.columns) != architecture.n_features:
        raise IntegrityError(
            f"A stored network has {len(architecture.columns)} columns for "
            f"{architecture.n_features} features. Expected one each; save the model again."
        )
    if not kinds <= set(KINDS):
        raise IntegrityError(
            f"A stored network has columns of the kinds {sorted(map(str, kinds))}. Expected "
            f"{', '.join(KINDS)}; it was written by another version or changed."
        )


def _read_mixture(sealed: Sealed, prefix: str, record: dict[str, Any]) -> Any:
    stored = record["mixture"]
    # A latent mixture's own is Gaussian.
    mixture = _MIXTURES.get(record["class"], GaussianMixture)(**stored["parameters"])
    if stored.get("missing_label_is_nan", False):
        mixture.missing_label = math.nan
    tensors = sealed.tensors(f"{prefix}mixture.safetensors")
    mixture.keep_tensors({name: tensors[key] for name, key in _TENSORS.items() if key in tensors})
    bounds = stored["lower_bounds"]
    mixture.converged_, mixture.lower_bounds_ = stored["converged"], bounds
    bound = stored.get("lower_bound", bounds[-1] if bounds else None)
    mixture.lower_bound_ = -np.inf if bound is None else bound
    mixture.n_iter_ = stored.get("n_iter", len(bounds))
    mixture.n_reborn_, mixture.n_falls_ = stored.get("n_reborn", 0), stored.get("n_falls", 0)
    _set_features(mixture, mixture.means_.shape[1], record)
    return mixture


def _read_named_mixture(sealed: Sealed, prefix: str, record: dict[str, Any]) -> Any:
    mixture = _read_mixture(sealed, prefix, record)
    _read_names(mixture, sealed, prefix, record)
    return mixture


def _read_names(model: Any, sealed: Sealed, prefix: str, record: dict[str, Any]) -> None:
    if "classes" in record:
        names = sealed.tensors(f"{prefix}mixture.safetensors")
        model.keep_names(
            np.asarray(record["classes"]), names["class_probabilities"], names["labelled_rows"]
        )
        # Models of earlier versions have none.
        model.temperature_ = record.get("temperature", 1.0)


def _read_latent_mixture(sealed: Sealed, prefix: str, record: dict[str, Any]) -> LatentMixture:
    parts = {**record, "feature_names": None}
    vae, mixture = _read_vae(sealed, prefix, parts), _read_mixture(sealed, prefix, parts)
    selection = record.get("selection")  # models of earlier versions have none
    model = LatentMixture(
        None if selection is None else AUTO,
        vae=VAE(**vae.get_params()),
        mixture=GaussianMixture(**mixture.get_params()),
        latents=record["latents"],
        smoothing=record["smoothing"],
        refinement=_read_refinement(record.get("refinement")),
        random_state=record["random_state"],
    )
    model.vae_, model.mixture_ = vae, mixture
    model.selection_ = None if selection is None else ClusterSelection.from_json(selection)
    _set_features(model, vae.n_features_in_, record)
    _read_names(model, sealed, prefix, record)
    if f"{prefix}usual.safetensors" in sealed.names:
        model.usual_ = _read_usual(sealed.tensors(f"{prefix}usual.safetensors"))
    return model


def _read_usual(tensors: dict[str, np.ndarray]) -> Usual:
    means = tensors["density.means"]
    density = density_of(len(means))
    density.keep_tensors({name: tensors[f"density.{key}"] for name, key in _TENSORS.items()})
    density.n_features_in_ = means.shape[1]
    return Usual(tensors["shift"], tensors["scale"], density, tensors["held_out"])


def _set_features(model: Any, n_features: int, record: dict[str, Any]) -> None:
    model.n_features_in_ = n_features
    if record["feature_names"] is not None:
        model.feature_names_in_ = np.asarray(record["feature_names"], dtype=object)


_READERS: Final[dict[str, Callable[[Sealed, str, dict[str, Any]], Model]]] = {
    "VAE": _read_vae,
    **dict.fromkeys(_MIXTURES, _read_named_mixture),
    "LatentMixture": _read_latent_mixture,
}
