"""Small networks with random branches: what no hand-written test thinks of."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, MOST = 9, 8, 64


class RandomNetwork:
    """A graph of convolutions, concatenations, splits, sums and activations on images [n, 8, 9, 9], from a seed."""

    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)
        self._values = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, NDArray[np.generic]] = {}
        self._channels = {"x": CHANNELS}
        steps: list[Callable[[str], None]] = [
            self._convolve,
            self._convolve,
            self._convolve_depthwise,
            self._convolve_and_add,
            self._combine,
            self._concatenate,
            self._concatenate,
            self._activate,
            self._normalise,
            self._split,
            self._scale,
            self._pool,
            self._transpose,
        ]
        for _ in range(self._choose.randrange(3, 11)):
            self._choose.choice(steps)(self._any())
        if not self._nodes:
            self._activate("x")

    def model(self) -> onnx.ModelProto:
        made = [name for name in self._channels if name != "x"]
        outputs = {made[-1], self._choose.choice(made), self._choose.choice(made)}
        graph = helper.make_graph(
            self._nodes,
            "random",
            [_port("x")],
            [_port(name) for name in sorted(outputs)],
            [numpy_helper.from_array(value, name) for name, value in self._weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)

    def _any(self, channels: int | None = None) -> str:
        return self._choose.choice([n for n, c in self._channels.items() if channels in (None, c)])

    def _weight(self, *shape: int, low: float = -1.0) -> str:
        name = f"w{len(self._weights)}"
        self._weights[name] = self._values.uniform(low, 1, shape).astype(np.float32)
        return name

    def _add(self, kind: str, inputs: list[str], channels: int, **attributes: object) -> str:
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        self._channels[name] = channels
        return name

    def _convolve(self, x: str, channels: int | None = None, groups: int | None = None) -> str:
        given, side = self._channels[x], self._choose.choice([1, 3, 5])
        groups = groups or (self._choose.choice([1, 1, 2]) if given % 2 == 0 else 1)
        made = channels or self._choose.choice([8, 12, 16] if groups == 2 else [7, 8, 12, 16])
        if made % groups != 0:
            groups = 1
        inputs = [x, self._weight(made, given // groups, side, side), self._weight(made)]
        return self._add("Conv", inputs, made, pads=[side // 2] * 4, group=groups)

    def _convolve_depthwise(self, x: str) -> None:
        self._convolve(x, self._channels[x], self._channels[x])

    def _convolve_and_add(self, x: str) -> None:
        channels = self._channels[x]
        pair = [self._convolve(x, channels), self._any(channels)]
        self._choose.shuffle(pair)
        self._add(self._choose.choice(["Add", "Mul", "Sub"]), pair, channels)

    def _combine(self, x: str) -> None:
        channels = self._channels[x]
        self._add(self._choose.choice(["Add", "Mul"]), [x, self._any(channels)], channels)

    def _concatenate(self, x: str) -> None:
        parts = [x, *(self._any() for _ in range(self._choose.randrange(3)))]
        self._choose.shuffle(parts)
        channels = sum(self._channels[part] for part in parts)
        if channels <= MOST:
            self._add("Concat", parts, channels, axis=1)

    def _split(self, x: str) -> None:
        channels = self._channels[x]
        if channels < 4:
            return
        sizes = f"w{len(self._weights)}"
        self._weights[sizes] = np.array([channels // 3, channels - channels // 3])
        first = self._add("Split", [x, sizes], channels // 3, axis=1)
        rest = first + "_rest"
        self._nodes[-1].output.append(rest)
        self._channels[rest] = channels - channels // 3

    def _normalise(self, x: str) -> None:
        channels = self._channels[x]
        weights = [self._weight(channels) for _ in range(3)]
        self._add("BatchNormalization", [x, *weights, self._weight(channels, low=0.3)], channels)

    def _scale(self, x: str) -> None:
        channels = self._channels[x]
        self._add(self._choose.choice(["Mul", "Add"]), [x, self._weight(channels, 1, 1)], channels)

    def _pool(self, x: str) -> None:
        self._add("MaxPool", [x], self._channels[x], kernel_shape=[3, 3], pads=[1] * 4)

    def _transpose(self, x: str) -> None:
        self._add("Transpose", [x], self._channels[x], perm=[0, 1, 3, 2])

    def _activate(self, x: str) -> None:
        kinds = ["Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Softplus", "Elu", "Mish"]
        self._add(self._choose.choice(kinds), [x], self._channels[x])


def _port(name: str) -> onnx.ValueInfoProto:
    shape = ["n", CHANNELS, SIDE, SIDE] if name == "x" else [f"{name}_{i}" for i in range(4)]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
