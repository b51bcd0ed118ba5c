"""A network as plain named arrays and back: what the files hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentmix.errors import IntegrityError

Tree = TypeVar("Tree")


def _name(path: tuple[object, ...]) -> str:
    """Return ``encoder.layers.0.weight`` for the path of a leaf."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def to_tensors(tree: object) -> dict[str, np.ndarray]:
    """Return every array of a pytree under its path's name."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {_name(path): np.asarray(leaf) for path, leaf in leaves}


def _is_array_or_shape(leaf: object) -> bool:
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def from_tensors(template: Tree, tensors: Mapping[str, np.ndarray]) -> Tree:
    """Return `template` with its arrays, or their shapes alone, replaced by the named ones.

    Raises
    ------
    IntegrityError
        If a name is missing or left over, or a shape or dtype differs.
    """
    arrays, rest = eqx.partition(template, _is_array_or_shape)
    expected = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}
    differing = sorted(expected.keys() ^ tensors.keys())
    if differing:
        raise IntegrityError(
            f"The stored tensors differ from the model's: {differing[0]!r} stands on one side "
            "only. Expected the files of one model; save it again."
        )
    for name, leaf in expected.items():
        stored = tensors[name]
        if stored.shape != leaf.shape or stored.dtype != leaf.dtype:
            raise IntegrityError(
                f"The stored tensor {name!r} is {stored.dtype}{stored.shape}, but the model "
                f"needs {leaf.dtype}{leaf.shape}. Save the model again."
            )
    filled: Tree = eqx.combine(
        jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(tensors[_name(path)]), arrays),
        rest,
    )
    return filled
