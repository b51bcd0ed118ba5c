"""What is exported of a model, said once: named arrays, and JSON that says what they are.

The pages `reader.py` and `anomaly.py` answer from these two with NumPy; the graphs of
`graphs.py` are the same pages, followed line by line.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from latentmix.errors import ParameterError
from latentmix.estimators import GaussianMixture, LatentMixture
from latentmix.models.convolution import Doubling, Halving
from latentmix.models.likelihoods import Likelihood
from latentmix.models.likelihoods.mixed import Mixed
from latentmix.models.mlp import Dense
from latentmix.models.vae import Network

Tensors = dict[str, np.ndarray]

# Nearer to 0 the formulas of a continuous Bernoulli lose more digits than they differ by.
NEAR_0: Final = 1e-6


class Description(NamedTuple):
    """What `model.json` and `weights.npz` hold."""

    about: dict[str, Any]
    tensors: Tensors


class Kind(NamedTuple):
    """How a likelihood is called in `reader.py`, and what it has learned of each column.

    Attributes
    ----------
    name : str
        A key of MEAN there, and of LOG_P in `anomaly.py`.
    own : callable
        Of a likelihood: the numbers s in MEAN, by column or one for all.
    spread : callable, optional
        Of a likelihood: what LOG_P takes besides, (D,).
    """

    name: str
    own: Callable[[Any], Any] = lambda _: 0.0
    spread: Callable[[Any], Any] | None = None


def _log_centre(likelihood: Any) -> Any:
    return likelihood.log_centre


def _dispersion(likelihood: Any) -> Any:
    return np.exp(np.clip(likelihood.log_dispersion, *likelihood.LOG_DISPERSIONS))


def _variance(likelihood: Any) -> Any:
    return np.exp(np.maximum(likelihood.log_variance, likelihood.SMALLEST_LOG_VARIANCE))


def _twice_scale(likelihood: Any) -> Any:
    return 2 * np.exp(np.maximum(likelihood.log_scale, likelihood.SMALLEST_LOG_SCALE))


KINDS: Final[dict[str, Kind]] = {
    "bernoulli": Kind("bit"),
    "relu-bernoulli": Kind("clipped"),
    "continuous-bernoulli": Kind("intensity", lambda _: NEAR_0),
    "discretised-logistic": Kind("level", _twice_scale),
    "gaussian": Kind("number", spread=_variance),
    "poisson": Kind("count", _log_centre),
    "negative-binomial": Kind("count", _log_centre, _dispersion),
}

# The kind of a mixed table's columns, in the order in which their outputs stand.
OF_COLUMNS: Final = {
    "continuous": KINDS["gaussian"],
    "count": KINDS["negative-binomial"],
    "binary": KINDS["bernoulli"],
}


def describe(model: LatentMixture) -> Description:
    """Return the description of a fitted model.

    Raises
    ------
    ParameterError
        For a likelihood or a layer that the pages have no formula for.
    """
    vae = model.vae_
    network, likelihood = vae.network_, vae.network_.likelihood
    columns = vae.columns_
    tensors: Tensors = {"shift": vae.shift_, "scale": vae.scale_}
    about: dict[str, Any] = {
        "n_features": vae.n_features_in_,
        "latent_dim": vae.architecture_.latent_dim,
        "likelihood": vae.likelihood_,
        "heads": vae.architecture_.heads,
        "grey": likelihood.domain in ("intensities", "levels"),
        "input": "uint8" if _takes_bytes(likelihood, vae.scale_) else "float64",
        "feature_names": [str(name) for name in getattr(model, "feature_names_in_", ())],
        "kinds": [column.kind for column in columns],
        "categories": _categories(model),
        "parts": _parts(vae.likelihood_, likelihood, len(vae.shift_), tensors),
        **_layers(network, vae.architecture_.heads, tensors),
    }
    in_units = likelihood.domain in ("numbers", "columns")
    ones = np.ones_like(vae.scale_)
    tensors["output.scale"] = vae.scale_ if in_units else ones
    tensors["output.shift"] = vae.shift_ if in_units else 0 * ones
    _describe_mixture(model.mixture_, "mixture", tensors)
    if hasattr(model, "classes_"):
        tensors["class_probs"] = model.class_probs_
        about["classes"] = model.classes_.tolist()
        about["temperature"] = float(model.temperature_)
    if hasattr(model, "usual_"):
        tensors["usual.shift"], tensors["usual.scale"] = model.usual_.shift, model.usual_.scale
        _describe_mixture(model.usual_.density, "usual", tensors)
    return Description(about, tensors)


def _takes_bytes(likelihood: Likelihood, scale: np.ndarray) -> bool:
    return likelihood.domain in ("intensities", "levels") and bool((scale == 255).all())


def _categories(model: LatentMixture) -> list[list[Any]]:
    """Return the categories of each column, (D,), or none where no column has any."""
    lists: list[list[Any]] = [list(column.categories) for column in model.vae_.columns_]
    return lists if any(lists) else []


def _parts(
    name: str, likelihood: Likelihood, n_features: int, tensors: Tensors
) -> list[dict[str, Any]]:
    """Return what stands where in prepared rows and outputs, and put what is learned by."""
    if isinstance(likelihood, Mixed):
        parts = _parts_of_columns(likelihood)
    elif name in KINDS:
        parts = [_Part(np.arange(n_features), n_features, likelihood, KINDS[name])]
    else:
        raise ParameterError(
            f"likelihood={name!r} cannot be exported: what is answered rests on draws of bits, or "
            f"on formulas of its own. Expected {', '.join(KINDS)}, mixed or categorical; fit "
            "with one of these, or serve the model with latentmix serve."
        )
    order = np.concatenate([part.columns for part in parts])
    tensors["order"], tensors["places"] = order, np.argsort(order)
    described, column, output = [], 0, 0
    for number, part in enumerate(parts):
        s, spread = f"parts.{number}.s", f"parts.{number}.spread"
        tensors[s] = np.asarray(part.kind.own(part.likelihood), np.float32)
        if part.kind.spread is not None:
            tensors[spread] = np.asarray(part.kind.spread(part.likelihood), np.float64)
        described.append(
            {
                "kind": part.kind.name,
                "x": [column, column := column + len(part.columns)],
                "o": [output, output := output + part.n_outputs],
                "s": s,
                "spread": spread if part.kind.spread is not None else None,
            }
        )
    return described


class _Part(NamedTuple):
    """Columns of a kind, how many outputs tell of them, and what has learned of them."""

    columns: np.ndarray
    n_outputs: int
    likelihood: Any
    kind: Kind


def _parts_of_columns(mixed: Mixed) -> list[_Part]:
    """Return a mixed table's parts: numbers, counts, bits, and each categorical column."""
    learned = {"continuous": mixed.continuous, "count": mixed.counts}
    parts = [
        _Part(mixed._of(kind), len(mixed._of(kind)), learned.get(kind), of)
        for kind, of in OF_COLUMNS.items()
        if len(mixed._of(kind))
    ]
    for size, columns in mixed._groups():
        category = Kind("category", _positions(size))
        parts += [_Part(columns[i : i + 1], size, None, category) for i in range(len(columns))]
    return parts


def _positions(size: int) -> Callable[[Any], Any]:
    return lambda _: np.arange(size)


def _layers(network: Network, heads: str, tensors: Tensors) -> dict[str, list[dict[str, Any]]]:
    """Return the layers of encoder and decoder, and put their weights by."""
    spread = network.heads.sigma if heads == "relu" else network.heads.log_variance  # type: ignore[union-attr]
    named = {
        **{f"encoder.{i}": layer for i, layer in enumerate(network.encoder.layers)},
        "heads.mean": network.heads.mean,
        "heads.spread": spread,
        **{f"decoder.{i}": layer for i, layer in enumerate(network.decoder.layers)},
        "output": network.output,
    }
    relu = {name: name not in ("output", "heads.mean", "heads.spread") for name in named}
    relu["heads.mean"] = relu["heads.spread"] = heads == "relu"
    described = {name: _layer(name, layer, tensors) for name, layer in named.items()}
    for name, layer in described.items():
        layer["relu"] = relu[name]
    trunk = [layer for name, layer in described.items() if name.startswith("encoder.")]
    back = [layer for name, layer in described.items() if name.startswith("decoder.")]
    return {
        "encoder": [*trunk, described["heads.mean"]],
        "spread": [*trunk, described["heads.spread"]],
        "decoder": [*back, described["output"]],
    }


def _layer(name: str, layer: Any, tensors: Tensors) -> dict[str, Any]:
    """Return what a layer is, and put its weights by."""
    weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)
    about: dict[str, Any] = {"name": name}
    if isinstance(layer, Dense):
        about |= {"kind": "dense", "shape": [weight.shape[0]], "outputs": weight.shape[1]}
    elif isinstance(layer, Halving):
        height, width, _ = layer.shape
        about |= {"kind": "convolution", "shape": [*layer.shape], "stride": 2}
        about["pad"] = [[0, 0], _ends(height), _ends(width), [0, 0]]
        about["outputs"] = -(-height // 2) * -(-width // 2) * weight.shape[3]
    elif isinstance(layer, Doubling):
        about |= {"kind": "doubling", "shape": [*layer.smaller], "larger": [*layer.larger]}
        about |= {"stride": 1, "pad": [[0, 0], [1, 1], [1, 1], [0, 0]], "outputs": len(bias)}
        bias = bias.reshape(layer.larger)
    else:
        raise ParameterError(
            f"A layer of the kind {type(layer).__name__} cannot be exported. Expected dense layers "
            "and convolutions; serve the model with latentmix serve."
        )
    tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
    return about


def _ends(side: int) -> list[int]:
    """Return how many lines of zeros stand before and after a side that is halved."""
    return [side % 2, 1]


def _describe_mixture(mixture: GaussianMixture, name: str, tensors: Tensors) -> None:
    """Put a mixture by, whatever its covariances: log p(z, k) = constant - |(z - mean) F|^2 / 2."""
    family, fitted = mixture._family(), mixture._mixture()
    with np.errstate(divide="ignore"):
        tensors[f"{name}.constants"] = np.log(fitted.weights) + family.constants(fitted)
    tensors[f"{name}.means"] = fitted.means
    n_components, n_features = fitted.means.shape
    factors = [
        _factor(partial(family.distance, mixture=fitted, k=k), n_features)
        for k in range(n_components)
    ]
    tensors[f"{name}.factors"] = np.stack(factors)


def _factor(distance: Callable[[np.ndarray], np.ndarray], n_features: int) -> np.ndarray:
    """Return F with d'FF'd the squared distance of a deviation d, asked at unit vectors alone."""
    i, j = np.triu_indices(n_features, 1)
    unit = np.eye(n_features)
    squares = distance(unit)
    precision = np.diag(squares)
    both = distance(np.ascontiguousarray((unit[i] + unit[j]).T)) if len(i) else np.zeros(0)
    precision[i, j] = precision[j, i] = (both - squares[i] - squares[j]) / 2
    factor: np.ndarray = np.linalg.cholesky(precision)
    return factor
