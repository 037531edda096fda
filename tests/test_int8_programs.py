"""Integer programs: what QDQ and dynamic models become, and that both backends compute the same levels."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

import models
import rdquant as rdq
from int8_networks import NETS, layer, pair
from networks import Net
from rdquant._core import program, runtime
from rdquant.graph import native_graph

Array = NDArray[Any]
IMAGE = (2, 3, 16, 16)


def build(name: str, kind: str) -> onnx.ModelProto:
    net = Net(seed=len(name))
    out = NETS[name][0](net, pair(net, "x", -2, 2, kind), kind)
    return models.build(
        net.nodes, net.tensors, {"x": IMAGE}, {out: ["a", "b"] if name == "classifier" else list("abcd")}
    )


def noise(shape: tuple[int, ...] = IMAGE) -> Array:
    return np.random.default_rng(3).uniform(-2, 2, shape).astype(np.float32)


def operations(text: str) -> list[str]:
    return re.findall(r"^step .* = (\w+)\(", text, re.MULTILINE)


@pytest.mark.parametrize("kind", ["u8", "s8"])
@pytest.mark.parametrize("name", NETS)
def test_int8_programs_are_found_and_right(name: str, kind: str) -> None:
    model = rdq.load(build(name, kind))
    graph = native_graph(model)
    x = noise()
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    assert operations(program.dump(graph, {"x": IMAGE})) == NETS[name][1]
    spread = np.ptp(plain)
    # rounding an intermediate level the other way, now and then
    assert np.abs(fused - plain).max() <= 0.02 * spread
    assert np.mean(np.abs(fused - plain) > 1e-5 * spread) <= 0.02
    native = runtime.run_once(graph, "native", [x])[0] if "native" in runtime.backends() else fused
    if name == "silu between":  # kernels and definition compute the exponential apart
        assert np.mean(native != fused) <= 1e-3
    else:
        np.testing.assert_array_equal(native, fused)


@pytest.mark.parametrize("name", NETS)
def test_onnxruntime_agrees(name: str) -> None:
    pytest.importorskip("onnxruntime")
    model = rdq.load(build(name, "u8"))
    x = noise()
    ours = next(iter(rdq.Session(model).run({"x": x}).values()))
    theirs = next(iter(rdq.Session(model, backend="onnxruntime").run({"x": x}).values()))
    assert np.mean(np.abs(ours - theirs)) <= 5e-3 * np.ptp(theirs)


def test_weights_beyond_int32_stay_numbers() -> None:
    net = Net()
    flat = net.call("Flatten", pair(net, "x", -1, 1))
    levels = net.tensor(np.full((70000, 2), 127), np.int8)
    w = net.call("DequantizeLinear", levels, net.tensor(np.float32(1e-3)), net.tensor(0, np.int8))
    graph = native_graph(
        rdq.load(
            models.build(
                net.nodes, net.tensors, {"x": [1, 7, 100, 100]}, {net.call("MatMul", flat, w): [1, 2]}
            )
        )
    )
    steps = operations(program.dump(graph, {"x": (1, 7, 100, 100)}))
    assert "matmul" in steps
    assert "int8_convolution" not in steps


def _dynamic(net: Net, x: str, out: int, into: int, size: int = 3, **attributes: Any) -> str:
    """A layer whose range is found at run time, as ONNX Runtime's tool writes it."""
    levels, scale, zero = (f"d{len(net.nodes)}.{i}" for i in range(3))
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", [x], [levels, scale, zero], levels))
    w = net.tensor(net.random.integers(-127, 128, (out, into, size, size)), np.int8)
    sums = net.call("ConvInteger", levels, w, zero, pads=[size // 2] * 4, **attributes)
    scales = net.call("Mul", scale, net.tensor(net.random.uniform(0.001, 0.01, (1, out, 1, 1))))
    numbers = net.call("Mul", net.call("Cast", sums, to=onnx.TensorProto.FLOAT), scales)
    return net.call("Add", numbers, net.noise(1, out, 1, 1))


def test_dynamic_layers_are_fused() -> None:
    net = Net()
    a = net.call("Relu", _dynamic(net, "x", 10, 3, strides=[2, 2]))
    b = _dynamic(net, a, 10, 10)
    c = net.call("Relu", net.call("Add", b, a))
    flat = net.call("Flatten", net.call("GlobalAveragePool", c))
    levels, scale, zero = "f.y", "f.s", "f.z"
    net.nodes.append(helper.make_node("DynamicQuantizeLinear", [flat], [levels, scale, zero], "f"))
    product = net.call(
        "MatMulInteger", levels, net.tensor(net.random.integers(-127, 128, (10, 4)), np.int8), zero
    )
    numbers = net.call("Cast", product, to=onnx.TensorProto.FLOAT)
    out = net.call("Mul", numbers, net.call("Mul", scale, net.tensor(np.float32(0.01))))
    graph = native_graph(rdq.load(models.build(net.nodes, net.tensors, {"x": IMAGE}, {out: [2, 4]})))
    x = noise()
    steps = operations(program.dump(graph, {"x": IMAGE}))
    assert steps.count("int8_convolution") == 3
    assert steps.count("dynamic_quantize") == 3
    assert not {"convolution", "matmul", "binary", "cast"} & set(steps)
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    np.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-5 * np.ptp(plain))
    if "native" in runtime.backends():
        native = runtime.run_once(graph, "native", [x])[0]
        np.testing.assert_allclose(native, fused, rtol=1e-5, atol=1e-5 * np.ptp(plain))


def agree(proto: onnx.ModelProto, shape: tuple[int, ...]) -> list[str]:
    """Checks that both backends and the program before fusions say the same; gives the fused program's steps."""
    graph = native_graph(rdq.load(proto))
    x = noise(shape)
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    np.testing.assert_allclose(fused, plain, rtol=1e-5, atol=1e-5 * np.ptp(plain))
    if "native" in runtime.backends():
        for threads in (1, 2):
            session = rdq.Session(rdq.load(proto), backend="native", threads=threads)
            (native,) = session.run({"x": x}).values()
            np.testing.assert_allclose(native, fused, rtol=1e-5, atol=1e-5 * np.ptp(plain))
    return operations(program.dump(graph, {"x": shape}))


@pytest.mark.parametrize(
    ("before", "window", "swapped"),
    [
        ("Relu", {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, True),
        ("Relu", {"kernel_shape": [2, 2], "strides": [2, 2]}, True),
        ("Relu", {"kernel_shape": [2, 2], "strides": [3, 3]}, False),  # leaves pixels out
        ("Relu", {"kernel_shape": [3, 3], "strides": [3, 3]}, False),  # and here the last ones
        ("Identity", {"kernel_shape": [2, 2], "strides": [2, 2]}, False),  # maxima of what is negative
    ],
)
def test_levels_of_maxima_are_maxima_of_levels(before: str, window: dict[str, Any], swapped: bool) -> None:
    net = Net()
    parts = [net.call(before, _dynamic(net, "x", c, 3)) for c in (5, 8)]
    largest = net.call("MaxPool", net.call("Concat", *parts, axis=1), **window)
    y = _dynamic(net, largest, 4, 13)
    steps = agree(models.build(net.nodes, net.tensors, {"x": IMAGE}, {y: list("abcd")}), IMAGE)
    order = [step for step in steps if step in ("pool", "dynamic_quantize")]
    # the layers of the same image have a range each, as the file says
    assert order[-2:] == (["dynamic_quantize", "pool"] if swapped else ["pool", "dynamic_quantize"])


def test_ranges_of_parts_are_those_of_the_whole() -> None:
    net = Net()
    a = net.call("Relu", _dynamic(net, "x", 32, 3, strides=[2, 2]))
    b = net.call("Mul", a, net.call("Sigmoid", a))
    halves = [f"half{i}" for i in range(2)]
    net.nodes.append(helper.make_node("Split", [_dynamic(net, b, 32, 32)], halves, "split", axis=1))
    c = _dynamic(net, halves[1], 16, 16)
    small = _dynamic(net, c, 16, 16, strides=[2, 2])
    large = net.call("Resize", small, "", net.tensor([1.0, 1.0, 2.0, 2.0]), mode="nearest",
                     coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    most = net.call("MaxPool", c, kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    whole = net.call("Concat", *halves, c, large, most, axis=1)
    y = _dynamic(net, whole, 8, 80)
    proto = models.build(net.nodes, net.tensors, {"x": IMAGE}, {y: list("abcd")}, 13)
    assert agree(proto, IMAGE).count("dynamic_quantize") == 5
    if "native" in runtime.backends():
        plan = rdq.Session(rdq.load(proto), backend="native").plan()
        kernels = [row["kernel"] for row in plan if row["op"] == "dynamic_quantize"]
        assert kernels[-1].startswith("quantize ")
        assert kernels[0].startswith("range and quantize ")


def test_large_numbers_are_never_stored() -> None:
    """Results larger than a cache, of which only levels are read, are made twice in place of stored."""
    shape = (1, 3, 160, 160)
    net = Net()
    a = net.call("Relu", _dynamic(net, "x", 24, 3))
    b = net.call("Clip", _dynamic(net, a, 24, 1, group=24), net.tensor(0.0), net.tensor(0.5))
    c = _dynamic(net, b, 16, 24, size=1)
    y = _dynamic(net, c, 4, 16, strides=[4, 4])
    proto = models.build(net.nodes, net.tensors, {"x": shape}, {y: list("abcd")})
    agree(proto, shape)
    if "native" in runtime.backends():
        plan = rdq.Session(rdq.load(proto), backend="native").plan()
        layers = [row["kernel"] for row in plan if row["op"] == "int8_convolution"]
        assert ["range and quantize" in kernel for kernel in layers] == [True, True, True, False]


def test_levels_come_and_go_as_inputs_and_outputs() -> None:
    """Levels as a program's input and output, and what reads them in another layout."""
    net = Net()
    scale, zero = net.tensor(np.float32(0.02)), net.tensor(100, np.uint8)
    numbers = net.call("DequantizeLinear", "x", scale, zero)
    y = net.call("QuantizeLinear", net.call("Relu", layer(net, numbers, 6, 3)), scale, zero)
    turned = net.call("Transpose", y, perm=[0, 2, 3, 1])
    proto = models.build(net.nodes, net.tensors, {"x": IMAGE}, {y: list("abcd"), turned: list("efgh")}, 17)
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    for output in proto.graph.output:
        output.type.tensor_type.elem_type = onnx.TensorProto.UINT8
    x = np.random.default_rng(0).integers(0, 256, IMAGE).astype(np.uint8)
    graph = native_graph(rdq.load(proto))
    first = runtime.run_once(graph, "reference", [x])
    assert first[0].dtype == np.uint8
    np.testing.assert_array_equal(first[1], first[0].transpose(0, 2, 3, 1))
    if "native" in runtime.backends():
        for a, b in zip(first, runtime.run_once(graph, "native", [x]), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_bias_between_the_steps_of_sums_is_not_rounded() -> None:
    """One sum's step is 3 levels here: rounding the bias to it would be felt."""
    net = Net()
    x = net.call("DequantizeLinear", "x", net.tensor(np.float32(0.5)), net.tensor(0, np.uint8))
    w = net.call(
        "DequantizeLinear",
        net.tensor(np.ones((1, 1, 1, 1)), np.int8),
        net.tensor(np.float32(6)),
        net.tensor(0, np.int8),
    )
    scale, zero = net.tensor(np.float32(1)), net.tensor(0, np.uint8)
    y = net.call("QuantizeLinear", net.call("Conv", x, w, net.tensor([1.9])), scale, zero)
    proto = models.build(net.nodes, net.tensors, {"x": [1, 1, 1, 8]}, {y: list("abcd")})
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    graph = native_graph(rdq.load(proto))
    x_levels = np.arange(8, dtype=np.uint8).reshape(1, 1, 1, 8)
    for backend in [b for b in ("reference", "native") if b in runtime.backends()]:
        found = runtime.run_once(graph, backend, [x_levels])[0]
        np.testing.assert_array_equal(found, np.rint(3 * x_levels + 1.9))


@pytest.mark.parametrize("size", [(5, 7), (20, 24), (12, 17), (24, 24)])
@pytest.mark.parametrize("channels", [8, 10])
def test_nearest_pixels_of_levels(size: tuple[int, int], channels: int) -> None:
    """To any size, as of GhostNetV2's gates: smaller ones drop pixels, and with them perhaps the range."""
    net = Net()
    a = net.call("Relu", net.conv("x", channels, 3))
    b = net.call("Resize", a, "", "", net.integers(1, channels, *size), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    y = net.conv(b, 4, channels)
    model = models.build(net.nodes, net.tensors, {"x": (1, 3, 12, 12)}, {y: list("abcd")})
    x = noise((1, 3, 12, 12))
    for quantized in (rdq.quantize_static(model, x), rdq.quantize_dynamic(model)):
        native, reference = (rdq.Session(quantized, backend=b) for b in ("native", "reference"))
        np.testing.assert_allclose(
            *(next(iter(s.run({"x": x}).values())) for s in (native, reference)), rtol=1e-5, atol=1e-6
        )
        (kernel,) = [row["kernel"] for row in native.plan() if row["op"] == "resize"]
        assert kernel.startswith("nearest")
