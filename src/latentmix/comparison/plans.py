"""What a method is, in full: its settings checked, its number of components known, and a record.

The record is what a method's process is told, and its hash what makes two runs the same method.
Three kinds: a class of `methods.METHODS`, a recipe, and a script that another interpreter runs.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from latentmix.comparison.methods import METHODS, Fitted, Method
from latentmix.comparison.protocol import Training
from latentmix.comparison.specs import Spec
from latentmix.data import Dataset
from latentmix.errors import (
    MissingError,
    ParameterError,
    did_you_mean,
    not_installed,
    unknown_name,
)
from latentmix.runs.recipe import Recipe, load_recipe, recipe_names, recipe_of

# Modules that some method needs and the base install lacks: their package, and what installs it.
_PACKAGES = {"umap": ("umap-learn", "latentmix[umap]")}


@dataclass(frozen=True)
class Plan:
    """A method, ready to be fitted to data with so many classes.

    Attributes
    ----------
    label : str
        As in tables.
    n_components : int or None
        K: the number of classes, unless a setting says otherwise; None where the method chooses.
    record : dict
        Plain values that say all that decides a fit but rows and seed.
    script : Path or None
        What another interpreter runs.
    """

    label: str
    n_components: int | None
    record: dict[str, Any]
    script: Path | None = None

    @property
    def sha256(self) -> str:
        """The hash of the record."""
        return sha256_of_record(self.record)


def sha256_of_record(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def plan_of(spec: Spec, n_classes: int, *, even_classes: bool = False) -> Plan:
    """Return what a method is, on data of so many classes, known to be equally frequent or not.

    Raises
    ------
    ParameterError
        For an unknown method or setting, a value that it does not accept, or a package that the
        method needs and that is not installed.
    MissingError
        If a recipe's or a script's file is not there.
    """
    if spec.name.endswith(".py"):
        return _plan_of_script(spec, n_classes)
    if spec.name in METHODS:
        return _plan_of_method(spec, n_classes)
    if spec.name in recipe_names() or spec.name.endswith((".toml", ".json")):
        return _plan_of_recipe(spec, n_classes, even_classes=even_classes)
    known = (*METHODS, *recipe_names())
    raise ParameterError(
        f"{unknown_name('method', spec.name, known)} A file ends in .toml (a recipe) or .py (a "
        "script of your own)."
    )


def method_of(record: Mapping[str, Any]) -> Method:
    """Return the method that a record describes, to be fitted in this process."""
    if record["kind"] == "recipe":
        return FromRecipe(recipe_of(record["recipe"]))
    return _checked(record["name"], record["settings"])


@dataclass(frozen=True)
class FromRecipe:
    """A recipe's `LatentMixture`, as `latentmix run` fits it."""

    recipe: Recipe
    needs: ClassVar[tuple[str, ...]] = ("latentmix.runs.execute",)

    def fit(self, training: Training) -> Fitted:
        """Fit to the training rows."""
        from latentmix.data import Split  # noqa: PLC0415
        from latentmix.models.likelihoods import LIKELIHOODS  # noqa: PLC0415
        from latentmix.runs.execute import fit_model  # noqa: PLC0415
        from latentmix.runs.parts import parts_of  # noqa: PLC0415
        from latentmix.runs.request import Request  # noqa: PLC0415
        from latentmix.training.events import nobody  # noqa: PLC0415

        rows = Dataset("training", "training rows", training.X, image_shape=training.image_shape)
        # Early stopping needs rows to judge by: they are training rows, which are in no order.
        held_out = self.recipe.vae.patience is not None
        n_train = len(training.X) - (len(training.X) // 10 if held_out else 0)
        train, judged = np.split(np.arange(len(training.X)), [n_train])
        data = replace(self.recipe.data, unit_interval=training.unit_interval)
        request = Request(replace(self.recipe, data=data), rows, Path(), training.seed)
        parts = parts_of(rows, Split(train, judged, judged[:0]))
        model = fit_model(request, parts, None, nobody)
        crossed = LIKELIHOODS[model.vae_.likelihood_].measure == "cross entropy"
        density = "cross entropy" if crossed else "bound"
        k = model.mixture_.n_components_
        return Fitted(model.predict, model.score_samples, density, k)


def _plan_of_recipe(spec: Spec, n_classes: int, *, even_classes: bool) -> Plan:
    recipe = load_recipe(spec.name, [f"{key}={value}" for key, value in spec.settings])
    recipe = recipe.knowing(even_classes=even_classes)
    asked = recipe.mixture.n_components
    record = {"kind": "recipe", "recipe": recipe.to_json()}
    if asked == "auto":  # the number of classes is not told
        return Plan(spec.label, None, record)
    given = "mixture.n_components" in dict(spec.settings)
    n_components = asked if given and asked != "classes" else n_classes
    recipe = replace(recipe, mixture=replace(recipe.mixture, n_components=n_components))
    record = {"kind": "recipe", "recipe": recipe.to_json()}
    return Plan(spec.label, n_components, record)


def _plan_of_method(spec: Spec, n_classes: int) -> Plan:
    settings, n_components = _settings(spec, n_classes)
    method = _checked(spec.name, settings)
    for module, (package, extra) in _PACKAGES.items():
        if module in method.needs and find_spec(module) is None:
            raise not_installed(spec.name, package, extra)
    every = {name: getattr(method, name) for name in _setting_names(spec.name)}
    record = {"kind": "method", "name": spec.name, "settings": every}
    return Plan(spec.label, n_components, record)


def _plan_of_script(spec: Spec, n_classes: int) -> Plan:
    path = Path(spec.name).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingError(
            f"{path} cannot be read as a script: {error.strerror}. Give the path of a file that "
            "exists; docs/benchmark.md says what it is to do."
        ) from error
    settings, n_components = _settings(spec, n_classes)
    record = {
        "kind": "script",
        "name": path.name,
        "script_sha256": hashlib.sha256(content).hexdigest(),
        "settings": settings,
    }
    # With its ending, so that a script is not taken for the method whose name it bears.
    label = replace(spec, name=path.name).label
    return Plan(label, n_components, record, path.absolute())


def _settings(spec: Spec, n_classes: int) -> tuple[dict[str, Any], int]:
    """Return the values of the settings, and K, which is one of them if it is given."""
    settings = {key: _value(text) for key, text in spec.settings}
    n_components = settings.pop("n_components", n_classes)
    if not isinstance(n_components, int) or n_components < 1:
        raise ParameterError(
            f"{spec.label}: n_components={n_components!r} is not accepted. Expected an integer of "
            "at least 1."
        )
    return settings, n_components


def _value(text: str) -> Any:
    """Return a value as TOML has it; bare words need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _setting_names(name: str) -> list[str]:
    kind: Any = METHODS[name]
    return [one.name for one in fields(kind)]


def _checked(name: str, settings: Mapping[str, Any]) -> Method:
    """Return a method with its settings, checked."""
    known = _setting_names(name)
    for key in settings:
        if key not in known:
            listed = ", ".join([*known, "n_components"])
            raise ParameterError(
                f"{name} has no setting {key!r}. Expected one of {listed}."
                f"{did_you_mean(key, [*known, 'n_components'])}"
            )
    try:
        method: Method = TypeAdapter(METHODS[name]).validate_json(json.dumps(dict(settings)))
    except ValidationError as error:
        problem = error.errors()[0]
        expected = problem["msg"].removeprefix("Input should be ")
        where = ".".join(str(part) for part in problem["loc"])
        raise ParameterError(
            f"{name}:{where}={problem['input']!r} is not accepted. Expected {expected}."
        ) from error
    return method
