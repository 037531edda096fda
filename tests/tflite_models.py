"""Quantized .tflite files as ONNX models with the same integers: the few operators that MLPerf Tiny's networks have."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
DTYPES = {0: np.float32, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}
ADD, MEAN_POOL, CONV, DEPTHWISE, DENSE, RESHAPE, SOFTMAX = 0, 1, 3, 4, 9, 22, 25


class Table:
    """A table of a flatbuffer: fields by their numbers."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - struct.unpack_from("<i", data, at)[0]

    def place(self, field: int) -> int:
        """Where the field lies, 0 where it is left out."""
        size = struct.unpack_from("<H", self.data, self.fields)[0]
        offset = 4 + 2 * field
        inside = struct.unpack_from("<H", self.data, self.fields + offset)[0] if offset < size else 0
        return self.at + inside if inside else 0

    def number(self, field: int, kind: str = "<i") -> Any:
        place = self.place(field)
        return struct.unpack_from(kind, self.data, place)[0] if place else 0

    def table(self, field: int) -> Table:
        place = self.place(field)
        return Table(self.data, place + struct.unpack_from("<I", self.data, place)[0])

    def vector(self, field: int, dtype: Any = np.int32) -> Array:
        place = self.place(field)
        if not place:
            return np.zeros(0, dtype)
        place += struct.unpack_from("<I", self.data, place)[0]
        count = struct.unpack_from("<I", self.data, place)[0]
        return np.frombuffer(self.data, dtype, count, place + 4)

    def tables(self, field: int) -> list[Table]:
        offsets = self.vector(field, np.uint32)
        start = self.place(field)
        start += struct.unpack_from("<I", self.data, start)[0] + 4
        return [Table(self.data, start + 4 * i + int(o)) for i, o in enumerate(offsets)]


class Converter:
    """One file's graph, written node by node; images are NHWC in the file and NCHW between our nodes."""

    def __init__(self, path: Path) -> None:
        model = Table(path.read_bytes(), 0)
        model = Table(model.data, struct.unpack_from("<I", model.data, 0)[0])
        self.codes = [max(c.number(0, "<b"), c.number(3)) for c in model.tables(1)]
        self.buffers = model.tables(4)
        self.graph = model.tables(2)[0]
        self.tensors = self.graph.tables(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.images: set[int] = set()  # tensors that our nodes hold as NCHW

    def shape(self, tensor: int) -> list[int]:
        return [int(n) for n in self.tensors[tensor].vector(0)]

    def data(self, tensor: int) -> Array:
        table = self.tensors[tensor]
        raw = self.buffers[table.number(2, "<I")].vector(0, np.uint8)
        return raw.view(DTYPES[table.number(1, "<b")]).reshape(self.shape(tensor))

    def grid(self, tensor: int) -> tuple[Array, Array]:
        """Scales and zero points."""
        table = self.tensors[tensor].table(4)
        return table.vector(2, np.float32), table.vector(3, np.int64)

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output + "_node", **attributes))
        return output

    def constant(self, name: str, values: Array) -> str:
        self.constants[name] = np.ascontiguousarray(values)
        return name

    def number(self, tensor: int) -> str:
        """The value of activations as floats."""
        scale, zero = self.grid(tensor)
        s, z = self.constant(f"s{tensor}", scale[0]), self.constant(f"z{tensor}", zero[0].astype(np.int8))
        return self.node("DequantizeLinear", [f"t{tensor}", s, z], f"f{tensor}_{len(self.nodes)}")

    def level(self, value: str, tensor: int) -> None:
        scale, zero = self.grid(tensor)
        s, z = self.constant(f"s{tensor}", scale[0]), self.constant(f"z{tensor}", zero[0].astype(np.int8))
        self.node("QuantizeLinear", [value, s, z], f"t{tensor}")

    def weights(self, tensor: int, order: tuple[int, ...], axis: int) -> str:
        scale, _ = self.grid(tensor)
        w = self.constant(f"w{tensor}", self.data(tensor).transpose(order))
        s = self.constant(f"ws{tensor}", scale if len(scale) > 1 else scale[0])
        return self.node(
            "DequantizeLinear", [w, s], f"fw{tensor}", **({"axis": axis} if len(scale) > 1 else {})
        )

    def bias(self, tensor: int, x: int, w: int) -> str:
        scale = self.grid(x)[0][0] * self.grid(w)[0]
        b, s = self.constant(f"b{tensor}", self.data(tensor)), self.constant(f"bs{tensor}", scale)
        if len(scale) == 1:
            self.constants[s] = np.full(len(self.constants[b]), scale[0], np.float32)
        return self.node("DequantizeLinear", [b, s], f"fb{tensor}", axis=0)

    def activated(self, value: str, kind: int) -> str:
        if kind == 0:
            return value
        if kind == 1:
            return self.node("Relu", [value], value + "r")
        limit = [self.constant("zero", np.float32(0)), self.constant("six", np.float32(6))]
        return self.node("Clip", [value, *limit], value + "r")  # ReLU6

    def image(self, tensor: int) -> None:
        """The tensor as NCHW from here on."""
        if tensor not in self.images:
            self.images.add(tensor)
            for node in self.nodes:
                node.output[:] = [n if n != f"t{tensor}" else f"n{tensor}" for n in node.output]
            self.node("Transpose", [f"n{tensor}"], f"t{tensor}", perm=[0, 3, 1, 2])

    def pads(self, x: int, y: int, kernel: list[int], strides: list[int], same: bool) -> list[int]:
        before, after = [], []
        for axis in range(2):
            size, out = self.shape(x)[1 + axis], self.shape(y)[1 + axis]
            total = max(0, (out - 1) * strides[axis] + kernel[axis] - size) if same else 0
            before.append(total // 2)
            after.append(total - total // 2)
        return before + after

    def convolution(self, inputs: list[int], y: int, options: Table, depthwise: bool) -> None:
        x, w, b = inputs
        self.image(x)
        shape, strides = self.shape(w), [options.number(2), options.number(1)]
        pads = self.pads(x, y, shape[1:3], strides, options.number(0, "<b") == 0)
        order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        parts = [self.number(x), self.weights(w, order, 0), self.bias(b, x, w)]
        groups = self.shape(x)[3] if depthwise else 1
        made = self.node("Conv", parts, f"c{y}", strides=strides, pads=pads, group=groups)
        self.level(self.activated(made, options.number(4 if depthwise else 3, "<b")), y)
        self.images.add(y)

    def step(self, code: int, inputs: list[int], y: int, options: Table) -> None:
        x = inputs[0]
        if code in (CONV, DEPTHWISE):
            self.convolution(inputs, y, options, code == DEPTHWISE)
        elif code == DENSE:
            w, b = inputs[1:]
            parts = [self.number(x), self.weights(w, (0, 1), 0), self.bias(b, x, w)]
            made = self.node("Gemm", parts, f"c{y}", transB=1)
            self.level(self.activated(made, options.number(0, "<b")), y)
        elif code == ADD:
            made = self.node("Add", [self.number(i) for i in inputs], f"c{y}")
            self.level(self.activated(made, options.number(0, "<b")), y)
            self.images.add(y)
        elif code == MEAN_POOL:
            kernel, strides = [options.number(4), options.number(3)], [options.number(2), options.number(1)]
            pads = self.pads(x, y, kernel, strides, options.number(0, "<b") == 0)
            made = self.node(
                "AveragePool", [self.number(x)], f"c{y}", kernel_shape=kernel, strides=strides, pads=pads
            )
            self.level(made, y)
            self.images.add(y)
        elif code == RESHAPE:
            if x in self.images and self.shape(x)[1:3] != [1, 1]:
                raise NotImplementedError("a reshape of an image to a vector")
            self.node("Reshape", [f"t{x}", self.constant(f"to{y}", np.array(self.shape(y)))], f"t{y}")
        elif code == SOFTMAX:
            self.level(self.node("Softmax", [self.number(x)], f"c{y}", axis=-1), y)
        else:
            raise NotImplementedError(f"operator {code} of TensorFlow Lite")

    def convert(self, name: str) -> onnx.ModelProto:
        inputs, outputs = self.graph.vector(1), self.graph.vector(2)
        for operator in self.graph.tables(3):
            code = self.codes[operator.number(0, "<I")]
            options = operator.table(4) if operator.place(4) else Table(b"\4\0\4\0" + b"\4\0\0\0", 4)
            self.step(code, [int(i) for i in operator.vector(1)], int(operator.vector(2)[0]), options)

        def port(tensor: int) -> onnx.ValueInfoProto:
            prefix = "n" if tensor in self.images and tensor in inputs else "t"
            return helper.make_tensor_value_info(f"{prefix}{tensor}", TensorProto.INT8, self.shape(tensor))

        graph = helper.make_graph(
            self.nodes,
            name,
            [port(int(i)) for i in inputs],
            [port(int(i)) for i in outputs],
            [numpy_helper.from_array(np.asarray(a), n) for n, a in self.constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def converted(path: Path) -> onnx.ModelProto:
    """The network in the file `path` in ONNX: inputs and outputs int8 in the file's shapes (images NHWC)."""
    return Converter(path).convert(path.stem)


__all__ = ["converted"]
