"""Recipes: everything that decides a run besides data and seed, in one frozen record.

A recipe is TOML. ``default.toml`` is complete, and the only place where defaults stand; every
other recipe says what differs from it. ``--set a.b=c`` changes one value.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from latentmix.errors import MissingError, RecipeError, did_you_mean, unknown_name

# What 'auto' is for classes that are known to be equally frequent.
EVENNESS: Final = 0.8

_strict = ConfigDict(strict=True, extra="forbid")
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Kind = Literal["continuous", "count", "binary", "categorical"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=_strict)
class DataSection:
    """How files are read; None leaves the data as they are."""

    size: Count | None = None
    channels: Literal[1, 3] | None = None
    unit_interval: bool = False
    id_column: str | None = None
    label_column: str | None = None
    columns: dict[str, Kind | Annotated[list[str], Field(min_length=1)]] | None = None


@dataclass(frozen=True, config=_strict)
class VaeSection:
    """Parameters of :class:`latentmix.VAE`."""

    latent_dim: Count
    likelihood: Literal[
        "auto",
        "bernoulli",
        "binarised",
        "relu-bernoulli",
        "continuous-bernoulli",
        "discretised-logistic",
        "gaussian",
        "poisson",
        "negative-binomial",
        "categorical",
        "mixed",
    ]
    heads: Literal["linear", "relu"]
    kl_weight: NotNegative | Literal["auto"]
    kl_warmup: Annotated[float, Field(ge=0, le=1)]
    batch_size: Count
    max_epochs: Count
    min_steps: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    schedule: Literal["cosine", "constant", "linear"]
    learning_rate_warmup: Annotated[float, Field(ge=0, le=1)]
    clip_norm: Positive | None = None
    patience: Count | None = None
    hidden_dims: Annotated[list[Count], Field(min_length=1)] | Literal["auto"] = "auto"
    channels: Annotated[list[Count], Field(min_length=1)] | None = None

    def parameters(self) -> dict[str, Any]:
        """Return them as the estimator takes them."""
        widths = None if self.hidden_dims == "auto" else self.hidden_dims
        return {**asdict(self), "hidden_dims": widths}


@dataclass(frozen=True, config=_strict)
class RefinementSection:
    """Parameters of :class:`latentmix.Refinement`; without rounds there is none."""

    n_rounds: Annotated[int, Field(ge=0)]
    epochs: Count | Annotated[list[Count], Field(min_length=2, max_length=2)]
    min_steps: Annotated[int, Field(ge=0)]
    learning_rate: Positive
    agreement_weight: NotNegative | Literal["auto"]
    sharpness_weight: NotNegative
    balance_weight: NotNegative
    groups: Literal["graph", "mixture"]
    n_neighbors: Count
    n_walk_steps: Annotated[list[Count], Field(min_length=1)]
    classifier_rounds: Annotated[int, Field(ge=0)]
    classifier_steps: Count
    max_graph_rows: Annotated[int, Field(ge=100)]
    kl_weight: NotNegative | None = None
    # Recipes kept before there were these had none.
    evenness: NotNegative | Literal["auto"] = 0.0
    input_weights: list[NotNegative] = Field(default_factory=list)


@dataclass(frozen=True, config=_strict)
class WarpsSection:
    """The most that images are warped (:class:`latentmix.kernels.warp.Warps`); tables are not."""

    shift: NotNegative
    rotation: NotNegative
    shear: NotNegative
    scale: NotNegative
    stroke: Annotated[float, Field(ge=0, le=1)]
    bend: NotNegative


@dataclass(frozen=True, config=_strict)
class MixtureSection:
    """Parameters of :class:`latentmix.GaussianMixture`."""

    n_components: Count | Literal["classes", "auto"]
    covariance_type: Literal["full", "tied", "diag", "spherical", "factor"]
    init_params: Literal["kmeans", "k-means++", "k-means||", "random", "random_from_data"]
    n_init: Count
    tol: NotNegative
    max_iter: Count
    reg_covar: NotNegative


@dataclass(frozen=True, config=_strict)
class LatentMixtureSection:
    """Parameters of :class:`latentmix.LatentMixture`."""

    latents: Literal["z", "mean"]
    smoothing: NotNegative


@dataclass(frozen=True, config=_strict)
class LabelsSection:
    """Which labels are used, and for what; those of test rows never are."""

    teach: bool
    n_rows: Count | None = None


@dataclass(frozen=True, config=_strict)
class ReportSection:
    """What is scored and shown besides."""

    n_components: list[Count]
    draws: Count
    images: Count


@dataclass(frozen=True, config=_strict)
class Recipe:
    """A complete recipe."""

    name: str
    description: str
    data: DataSection
    vae: VaeSection
    refinement: RefinementSection
    warps: WarpsSection
    mixture: MixtureSection
    latent_mixture: LatentMixtureSection
    labels: LabelsSection
    report: ReportSection

    def to_json(self) -> dict[str, Any]:
        """Return plain values, readable by `load_recipe` when kept as JSON."""
        return asdict(self)

    def knowing(self, *, even_classes: bool) -> Recipe:
        """Return the recipe for data whose classes are known to be equally frequent, or not."""
        if self.refinement.evenness != "auto":
            return self
        evenness = EVENNESS if even_classes else 0.0
        return replace(self, refinement=replace(self.refinement, evenness=evenness))


def recipe_names() -> tuple[str, ...]:
    """Return the names of the shipped recipes, `default` first."""
    folder = files("latentmix") / "recipes"
    names = {path.name.removesuffix(".toml") for path in folder.iterdir()}
    return ("default", *sorted(name for name in names if not name.startswith(("default", "_"))))


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return a shipped recipe or one in a file, with overrides such as ``vae.latent_dim=10``.

    Raises
    ------
    RecipeError
        For an unknown recipe, an unknown key, or a value that the key does not accept.
    MissingError
        For a file that is not there.
    """
    values = _shipped("default")
    if name_or_path != "default":
        values = _layered(values, _values_of(name_or_path), name_or_path)
    for override in overrides:
        values = _layered(values, _parsed_override(override), "--set")
    return recipe_of(values, name_or_path)


def recipe_of(values: Mapping[str, Any], source: str = "recipe.json") -> Recipe:
    """Return the recipe that a complete set of values describes, checked.

    Raises
    ------
    RecipeError
        As `load_recipe`.
    """
    try:
        # Strict in JSON's types: a number for a number, never a string for it.
        recipe = TypeAdapter(Recipe).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise RecipeError(_first_problem(error, source)) from error
    if recipe.labels.teach and not recipe.refinement.n_rounds:
        raise RecipeError(
            f"{source}: labels.teach=true but refinement.n_rounds=0, and labels teach rounds "
            "alone. Ask for a round or more, or set labels.teach=false."
        )
    return recipe


def default_out(recipe: Recipe, data_name: str, seed: int, parent: Path = Path("runs")) -> Path:
    """Return a folder that is not taken: ``runs/mnist-default-seed0``, then ``...-2``, ``-3``."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data_name}-{recipe.name}-seed{seed}")
    out, number = parent / stem, 1
    while out.exists():
        number += 1
        out = parent / f"{stem}-{number}"
    return out


def _values_of(name_or_path: str) -> dict[str, Any]:
    if name_or_path in recipe_names():
        return _shipped(name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".toml", ".json"):
        raise RecipeError(
            f"{unknown_name('recipe', name_or_path, recipe_names())} A file ends in .toml or .json."
        )
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise MissingError(
            f"{path} cannot be read as a recipe: {error.strerror}. Give a shipped recipe's name or "
            "a file that exists."
        ) from error
    except ValueError as error:
        raise RecipeError(f"{path} is no valid {path.suffix[1:].upper()}: {error}.") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} holds a {type(values).__name__}. Expected sections of keys.")
    # A recipe without a name is known by its file's.
    return {"name": path.stem, **values}


def _shipped(name: str) -> dict[str, Any]:
    return tomllib.loads((files("latentmix") / "recipes" / f"{name}.toml").read_text("utf-8"))


def _layered(below: Mapping[str, Any], above: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return `below` with the keys of `above` in their place; unknown keys are refused."""
    merged = dict(below)
    for key, value in above.items():
        section = _SECTIONS.get(key)
        if section is None:
            if key not in _TOP:
                raise RecipeError(_unknown_key(key, [*_TOP, *_SECTIONS], source))
            merged[key] = value
            continue
        if not isinstance(value, Mapping):
            raise RecipeError(f"{source}: {key} is a section. Expected keys in it, as in [{key}].")
        known = [field.name for field in fields(section)]
        for name in value:
            if name not in known:
                dotted = [f"{key}.{other}" for other in known]
                raise RecipeError(_unknown_key(f"{key}.{name}", dotted, source))
        merged[key] = {**merged.get(key, {}), **value}
    return merged


def _unknown_key(key: str, known: Sequence[str], source: str) -> str:
    """Return the sentence for an unknown key, naming its section's keys."""
    last = key.rpartition(".")[2]
    elsewhere = [dotted for dotted in _all_keys() if dotted.endswith(f".{last}")]
    hint = f" Did you mean {elsewhere[0]!r}?" if elsewhere else did_you_mean(key, known)
    return f"{source}: the recipe key {key!r} is unknown. Known are {', '.join(known)}.{hint}"


def _parsed_override(override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys) or len(keys) > 2:
        raise RecipeError(
            f"--set {override!r} is no assignment. Expected section.key=value, such as "
            "vae.latent_dim=10."
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        # Bare words need no quotes on the command line.
        value = text.strip()
    return {keys[0]: value} if len(keys) == 1 else {keys[0]: {keys[1]: value}}


def _first_problem(error: ValidationError, source: str) -> str:
    """Return pydantic's first complaint as one sentence of ours."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"][:2])
    expected = problem["msg"].removeprefix("Input should be ")
    return f"{source}: {where}={problem['input']!r} is not accepted. Expected {expected}."


_SECTIONS: Final = {
    "data": DataSection,
    "vae": VaeSection,
    "refinement": RefinementSection,
    "warps": WarpsSection,
    "mixture": MixtureSection,
    "latent_mixture": LatentMixtureSection,
    "labels": LabelsSection,
    "report": ReportSection,
}
_TOP = ("name", "description")


def _all_keys() -> list[str]:
    return [f"{name}.{field.name}" for name, kind in _SECTIONS.items() for field in fields(kind)]
