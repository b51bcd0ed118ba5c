"""A model as two ONNX graphs: what is said of rows, and what they look like given z."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import ModelProto, checker, helper

from latentmix.apps.export.anomaly import anomaly_scores
from latentmix.apps.export.reader import Model
from latentmix.apps.export.traced import BATCH, Graph, Traced

# Of onnxruntime 1.14 and later.
OPSET: Final = 18
IR_VERSION: Final = 8

# What `model.json` says that stands in a graph's metadata: text as it is, the rest as JSON.
TOLD: Final = (
    *("latentmix", "data", "recipe", "seed", "sha256", "likelihood", "image_shape"),
    *("classes", "feature_names", "kinds", "categories"),
)


def model_graph(folder: Path) -> ModelProto:
    """Return the graph from rows to z, p(k|x), p(y|x) and scores, of a folder's model."""
    model = Model(folder)
    graph = Graph(model.t)
    x = graph.given("x", model.about["input"], model.about["n_features"])
    answers: dict[str, Traced] = model.answers(x)
    if "usual.shift" in model.t:
        answers["anomaly_score"] = anomaly_scores(model, x)
    return _finished(graph, x, answers, model.about)


def decoder_graph(folder: Path) -> ModelProto:
    """Return the graph from z to E[x|z], of a folder's model."""
    model = Model(folder)
    graph = Graph(model.t)
    z = graph.given("z", np.float32, model.about["latent_dim"])
    return _finished(graph, z, {"x": model.decode(z)}, model.about)


def _finished(
    graph: Graph, given: Traced, answers: Mapping[str, Traced], about: Mapping[str, Any]
) -> ModelProto:
    """Return a graph that was followed to its end, with what is told of the model."""
    outputs = [graph.end(answer, name) for name, answer in answers.items()]
    made = helper.make_graph(
        graph.nodes,
        "latentmix",
        [_value(given)],
        [_value(output) for output in outputs],
        list(graph.constants.values()),
    )
    model = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="latentmix",
        producer_version=about["latentmix"],
    )
    told = {name: about[name] for name in TOLD if name in about}
    helper.set_model_props(
        model,
        {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in told.items()
        },
    )
    checker.check_model(model, full_check=True)
    return model


def _value(traced: Traced) -> Any:
    shape = ["rows" if n == BATCH else n for n in traced.shape]
    kind = helper.np_dtype_to_tensor_dtype(traced.dtype)
    return helper.make_tensor_value_info(traced.name, kind, shape)
