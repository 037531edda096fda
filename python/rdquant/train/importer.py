"""A network of ONNX as a PyTorch module: its weights are parameters under the names of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..errors import Unsupported, needed
from ..graph import Model
from ._torch import torch

with needed():
    import onnx
    from onnx import numpy_helper

__all__ = ["TorchNetwork"]

Tensor: TypeAlias = "torch.Tensor"
Attributes = Mapping[str, Any]
Change = Callable[[str, Tensor], Tensor]
F = torch.nn.functional


class TorchNetwork(torch.nn.Module):  # type: ignore[misc]  # Any without PyTorch
    """`model`, an ONNX network with one input, in PyTorch; it gives the scores before a closing softmax.

    Attributes:
        weights: parameters by the names of the learned float tensors.
        change: called with a weight's name and value before a node uses it; None: as it is.

    Raises Unsupported for a network of several inputs, and for operators that training does not know: it names the node.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        if len(model.inputs) != 1:
            raise Unsupported(
                f"training: expected a network with one input, {model.name} has {len(model.inputs)}"
            )
        self._model = model
        graph = model.proto.graph
        self._nodes = list(graph.node)
        for node in self._nodes:
            if node.op_type not in _RULES or node.domain not in ("", "ai.onnx"):
                known = ", ".join(sorted(_RULES))
                raise Unsupported(f"training: node {node.name!r} ({node.op_type}); known operators: {known}")
        learned = model.weights()
        self.change: Change | None = None
        self._names = {name: f"p{i}" for i, name in enumerate(learned)}
        for name, place in self._names.items():
            value = torch.from_numpy(np.array(learned[name], np.float32))
            self.register_parameter(place, torch.nn.Parameter(value))
        self._constants = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name not in learned
        }
        self._input, self._output = model.inputs[0].name, graph.output[0].name
        last = next((n for n in self._nodes if self._output in n.output), None)
        if last is not None and last.op_type in ("Softmax", "LogSoftmax"):
            self._output = last.input[0]

    @property
    def weights(self) -> dict[str, torch.nn.Parameter]:
        """Parameters by the names of the learned tensors."""
        return {name: getattr(self, place) for name, place in self._names.items()}

    def forward(self, x: Tensor) -> Tensor:
        """Scores [n, classes] of a batch, float32 [n, …]."""
        values: dict[str, Any] = {**self._constants, self._input: x}
        for name, parameter in self.weights.items():
            values[name] = parameter if self.change is None else self.change(name, parameter)
        for node in self._nodes:
            given = [values[name] if name else None for name in node.input]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = _RULES[node.op_type](given, attributes)
        found = values[self._output]
        return found.reshape(len(found), -1)

    def exported(self) -> Model:
        """The ONNX network with the parameters as they are now."""
        return self._model.replace_weights({n: p.detach().cpu().numpy() for n, p in self.weights.items()})


def _numbers(value: Any) -> list[int]:
    return [int(v) for v in np.asarray(value).ravel()]


def _padded(x: Tensor, a: Attributes, rank: int, fill: float = 0.0) -> Tensor:
    """Zeros, or `fill`, around pixels."""
    auto = a.get("auto_pad", b"NOTSET")
    if auto not in (b"NOTSET", b"VALID"):
        raise Unsupported(f"training: auto_pad {auto.decode()} is unknown; give pads")
    pads = list(a.get("pads", [0] * (2 * rank)))
    if not any(pads):
        return x
    order = [p for d in reversed(range(rank)) for p in (pads[d], pads[d + rank])]
    return F.pad(x, order, value=fill)


def _convolution(given: list[Any], a: Attributes) -> Tensor:
    x, w = given[0], given[1]
    rank = w.ndim - 2
    run = {1: F.conv1d, 2: F.conv2d}[rank]
    ones = [1] * rank
    options = {
        "stride": a.get("strides", ones),
        "dilation": a.get("dilations", ones),
        "groups": a.get("group", 1),
    }
    return run(_padded(x, a, rank), w, given[2] if len(given) > 2 else None, **options)


def _gemm(given: list[Any], a: Attributes) -> Tensor:
    x, w = given[0], given[1]
    x = x.T if a.get("transA", 0) else x
    out = a.get("alpha", 1.0) * (x @ (w.T if a.get("transB", 0) else w))
    return out + a.get("beta", 1.0) * given[2] if len(given) > 2 and given[2] is not None else out


def _max_pool(given: list[Any], a: Attributes) -> Tensor:
    x = _padded(given[0], a, 2, -float("inf"))
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _average_pool(given: list[Any], a: Attributes) -> Tensor:
    if any(a.get("pads", [])) and not a.get("count_include_pad", 0):
        raise Unsupported("training: an average that leaves its padding out is unknown")
    x = _padded(given[0], a, 2)
    return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", [1, 1]), ceil_mode=bool(a.get("ceil_mode", 0)))


def _clip(given: list[Any], a: Attributes) -> Tensor:
    low, high = ([*given[1:], None, None])[:2]
    limits = [None if v is None else float(np.asarray(v)) for v in (low, high)]
    return given[0].clamp(*limits)


def _slice(given: list[Any], a: Attributes) -> Tensor:
    starts, ends = _numbers(given[1]), _numbers(given[2])
    axes = _numbers(given[3]) if len(given) > 3 and given[3] is not None else list(range(len(starts)))
    steps = _numbers(given[4]) if len(given) > 4 and given[4] is not None else [1] * len(starts)
    x = given[0]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise Unsupported("training: slices backwards are unknown")
        place = [slice(None)] * x.ndim
        place[axis] = slice(start, end, step)
        x = x[tuple(place)]
    return x


def _pad(given: list[Any], a: Attributes) -> Tensor:
    if a.get("mode", b"constant") != b"constant" or len(given) > 3:
        raise Unsupported("training: only constant padding of all axes is known")
    x, pads = given[0], _numbers(given[1])
    fill = float(np.asarray(given[2])) if len(given) > 2 and given[2] is not None else 0.0
    order = [p for d in reversed(range(x.ndim)) for p in (pads[d], pads[d + x.ndim])]
    return F.pad(x, order, value=fill)


def _reshape(given: list[Any], a: Attributes) -> Tensor:
    x, shape = given[0], _numbers(given[1])
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _normalized(given: list[Any], a: Attributes) -> Tensor:
    x, scale, shift, mean, variance = given
    return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=a.get("epsilon", 1e-5))


def _tensor(value: Any, like: Tensor) -> Tensor:
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(np.array(value), device=like.device)


def _binary(run: Callable[[Tensor, Tensor], Tensor]) -> Callable[[list[Any], Attributes], Tensor]:
    def both(given: list[Any], a: Attributes) -> Tensor:
        like = next(v for v in given if isinstance(v, torch.Tensor))
        return run(_tensor(given[0], like), _tensor(given[1], like))

    return both


_RULES: dict[str, Callable[[list[Any], Attributes], Any]] = {
    "Add": _binary(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _normalized,
    "Clip": _clip,
    "Concat": lambda given, a: torch.cat(given, a["axis"]),
    "Conv": _convolution,
    "Div": _binary(torch.div),
    "Dropout": lambda given, a: given[0],
    "Flatten": lambda given, a: given[0].flatten(a.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda given, a: given[0].mean(list(range(2, given[0].ndim)), keepdim=True),
    "HardSwish": lambda given, a: F.hardswish(given[0]),
    "Identity": lambda given, a: given[0],
    "LeakyRelu": lambda given, a: F.leaky_relu(given[0], a.get("alpha", 0.01)),
    "LogSoftmax": lambda given, a: given[0].log_softmax(a.get("axis", -1)),
    "MatMul": _binary(torch.matmul),
    "MaxPool": _max_pool,
    "Mul": _binary(torch.mul),
    "Pad": _pad,
    "Relu": lambda given, a: given[0].relu(),
    "Reshape": _reshape,
    "Sigmoid": lambda given, a: given[0].sigmoid(),
    "Slice": _slice,
    "Softmax": lambda given, a: given[0].softmax(a.get("axis", -1)),
    "Sub": _binary(torch.sub),
    "Transpose": lambda given, a: given[0].permute(a["perm"]),
}
