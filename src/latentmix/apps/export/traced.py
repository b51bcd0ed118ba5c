"""NumPy's functions, followed: called with a `Traced` array they add nodes to an ONNX graph.

So `reader.py` and `anomaly.py` are the only place where a model's formulas stand, and a graph is
what they do with a batch of rows whose number is left open. What depends on no row is worked out
at once and becomes a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from onnx import NodeProto, TensorProto, helper, numpy_helper

# The first dimension of what depends on rows: as many as are given.
BATCH: Final = -1

# A node each, of operands of one type.
OPERATORS: Final[dict[np.ufunc, str]] = {
    np.add: "Add",
    np.subtract: "Sub",
    np.multiply: "Mul",
    np.true_divide: "Div",
    np.maximum: "Max",
    np.minimum: "Min",
    np.matmul: "MatMul",
    np.negative: "Neg",
    np.absolute: "Abs",
    np.exp: "Exp",
    np.log: "Log",
    np.tanh: "Tanh",
    np.rint: "Round",
    np.isnan: "IsNaN",
    np.equal: "Equal",
    np.less: "Less",
    np.less_equal: "LessOrEqual",
    np.greater_equal: "GreaterOrEqual",
}
TELLING: Final = (np.isnan, np.equal, np.less, np.less_equal, np.greater_equal)


class Graph:
    """Nodes and constants as they come; what was asked for before is not made again."""

    def __init__(self, named: Mapping[str, np.ndarray]) -> None:
        """Take arrays that constants are called after."""
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._names = {_key(array): name for name, array in named.items()}
        self._made: dict[tuple[Any, ...], Traced] = {}

    def given(self, name: str, dtype: Any, n_columns: int) -> Traced:
        """Return what stands for an input of so many columns."""
        return Traced(self, name, np.dtype(dtype), (BATCH, n_columns))

    def node(
        self, kind: str, inputs: Sequence[str], dtype: Any, shape: Sequence[int], **said: Any
    ) -> Traced:
        """Return what a node makes of its inputs."""
        key = (kind, *inputs, np.dtype(dtype), *sorted(said.items()))
        if key not in self._made:
            name = f"{kind}.{len(self.nodes)}"
            self.nodes.append(helper.make_node(kind, list(inputs), [name], name, **said))
            self._made[key] = Traced(self, name, np.dtype(dtype), tuple(shape))
        return self._made[key]

    def constant(self, array: np.ndarray) -> str:
        """Return the name of a constant, its own if it has one."""
        name = self._names.setdefault(_key(array), f"constant.{len(self._names)}")
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def numbers(self, *values: int) -> str:
        """Return the name of some whole numbers, as nodes take shapes and axes."""
        return self.constant(np.array(values, np.int64))

    def end(self, traced: Traced, name: str) -> Traced:
        """Return the same as float32 under a name of its own: an output."""
        last = traced.astype(np.float32)
        self.nodes.append(helper.make_node("Identity", [last.name], [name], f"output.{name}"))
        return Traced(self, name, last.dtype, last.shape)


class Traced(NDArrayOperatorsMixin):
    """An array that is not there yet: a name in a graph, its type and its shape."""

    def __init__(
        self, graph: Graph, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        self.graph, self.name, self.dtype, self.shape = graph, name, dtype, shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def astype(self, dtype: Any) -> Traced:
        """Return the same of another type."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        to = helper.np_dtype_to_tensor_dtype(dtype)
        return self.graph.node("Cast", [self.name], dtype, self.shape, to=to)

    def reshape(self, *shape: int) -> Traced:
        """Return the same numbers in another shape, whose first dimension is that of rows."""
        if shape == self.shape:
            return self
        inputs = [self.name, self.graph.numbers(*shape)]
        return self.graph.node("Reshape", inputs, self.dtype, shape)

    def transpose(self, *axes: int) -> Traced:
        """Return the axes in another order."""
        shape = [self.shape[axis] for axis in axes]
        return self.graph.node("Transpose", [self.name], self.dtype, shape, perm=axes)

    def sum(self, axis: int, *, keepdims: bool = False) -> Traced:
        """Return sums along an axis."""
        return self._reduced("ReduceSum", axis, keepdims=keepdims)

    def __getitem__(self, which: tuple[Any, ...]) -> Traced:
        if isinstance(which[1], np.ndarray):
            inputs = [self.name, self.graph.constant(which[1])]
            shape = (self.shape[0], len(which[1]), *self.shape[2:])
            return self.graph.node("Gather", inputs, self.dtype, shape, axis=1)
        cuts = [each.indices(n) for each, n in zip(which[1:], self.shape[1:], strict=False)]
        axes = range(1, 1 + len(cuts))
        starts, stops, steps = zip(*cuts, strict=True)
        sizes = [len(range(*cut)) for cut in cuts]
        inputs = [self.name, *(self.graph.numbers(*each) for each in (starts, stops, axes, steps))]
        shape = (self.shape[0], *sizes, *self.shape[1 + len(cuts) :])
        return self.graph.node("Slice", inputs, self.dtype, shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **said: Any) -> Traced:
        if (ufunc, method) == (np.logaddexp, "reduce"):
            return self._reduced("ReduceLogSumExp", **said)
        if method != "__call__" or said:
            raise NotImplementedError(f"{ufunc.__name__}.{method} is not followed.")
        if ufunc in BY_OTHERS:
            answer: Traced = BY_OTHERS[ufunc](*inputs)
            return answer
        dtype = np.result_type(
            *(each.dtype if isinstance(each, Traced) else each for each in inputs)
        )
        if ufunc == np.true_divide or ufunc in (np.exp, np.log):
            dtype = np.result_type(dtype, np.float16)
        names = [_operand(self.graph, each, dtype) for each in inputs]
        shapes = [np.shape(each) for each in inputs]
        shape = _of_product(*shapes) if ufunc == np.matmul else _broadcast(shapes)
        told = np.dtype(bool) if ufunc in TELLING else dtype
        return self.graph.node(OPERATORS[ufunc], names, told, shape)

    def __array_function__(
        self, function: Callable[..., Any], _: Any, args: tuple[Any, ...], said: dict[str, Any]
    ) -> Any:
        return FUNCTIONS[function](self.graph, *args, **said)

    def _reduced(self, kind: str, axis: int, *, keepdims: bool = False) -> Traced:
        kept = [1] if keepdims else []
        shape = (*self.shape[:axis], *kept, *self.shape[axis + 1 :])
        inputs = [self.name, self.graph.numbers(axis)]
        return self.graph.node(kind, inputs, self.dtype, shape, keepdims=int(keepdims))


def _key(array: np.ndarray) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.tobytes()


def _operand(graph: Graph, operand: Any, dtype: np.dtype[Any]) -> str:
    if isinstance(operand, Traced):
        return operand.astype(dtype).name
    return graph.constant(np.asarray(operand, dtype))


def _broadcast(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of operands together; the batch is as long as it is."""
    as_if = [tuple(1 if n == BATCH else n for n in shape) for shape in shapes]
    shape = np.broadcast_shapes(*as_if)
    batched = any(BATCH in each and len(each) == len(shape) for each in shapes)
    return (BATCH, *shape[1:]) if batched else shape


def _of_product(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    return (*left[:-1], right[-1])


def _concatenate(graph: Graph, arrays: Sequence[Traced], *, axis: int) -> Traced:
    dtype = np.result_type(*(array.dtype for array in arrays))
    if len(arrays) == 1:
        return arrays[0]
    shape = list(arrays[0].shape)
    shape[axis] = sum(array.shape[axis] for array in arrays)
    names = [array.astype(dtype).name for array in arrays]
    return graph.node("Concat", names, dtype, shape, axis=axis)


def _where(graph: Graph, condition: Traced, one: Any, other: Any) -> Traced:
    dtype = np.result_type(
        *(each.dtype if isinstance(each, Traced) else each for each in (one, other))
    )
    names = [condition.name, _operand(graph, one, dtype), _operand(graph, other, dtype)]
    shapes = [np.shape(each) for each in (condition, one, other)]
    return graph.node("Where", names, dtype, _broadcast(shapes))


def _pad(graph: Graph, array: Traced, ends: Sequence[Sequence[int]]) -> Traced:
    before, after = zip(*ends, strict=True)
    sizes = [n + sum(end) for n, end in zip(array.shape[1:], ends[1:], strict=True)]
    inputs = [array.name, graph.numbers(*before, *after)]
    return graph.node("Pad", inputs, array.dtype, (array.shape[0], *sizes))


def _argmax(graph: Graph, array: Traced, *, axis: int, keepdims: bool) -> Traced:
    shape = (*array.shape[:axis], 1)
    return graph.node("ArgMax", [array.name], np.int64, shape, axis=axis, keepdims=int(keepdims))


def _log_add_exp(one: Any, other: Any) -> Any:
    return np.maximum(one, other) + np.log(1 + np.exp(-np.absolute(one - other)))


def _squared(x: Traced, exponent: int) -> Any:
    if exponent != 2:
        raise NotImplementedError(f"The power {exponent} is not followed.")
    return x * x


# Those that ONNX has no node for, by those that it has.
BY_OTHERS: Final[dict[np.ufunc, Callable[..., Any]]] = {
    np.logaddexp: _log_add_exp,
    np.log1p: lambda x: np.log(x + 1),
    np.power: _squared,
}


FUNCTIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    np.concatenate: _concatenate,
    np.where: _where,
    np.pad: _pad,
    np.argmax: _argmax,
    np.sum: lambda _, array, **said: array.sum(**said),
    np.shape: lambda _, array: array.shape,
}
