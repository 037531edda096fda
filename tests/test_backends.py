"""The oneDNN backend on real models, against ONNX Runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

import models
import networks
import rdquant

onnxruntime = pytest.importorskip("onnxruntime")
MODELS = ("squeezenet1.1-7", "mobilenet_v1_0.75", "efficientnet_lite0", "cifar10_resnet20", "yolox_nano")


def _peer(path: Path) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """Input name, a picture of seeded noise and ONNX Runtime's outputs for it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    sizes = [d if isinstance(d, int) else (1 if i == 0 else 224) for i, d in enumerate(port.shape)]
    x = np.random.default_rng(0).random(sizes, dtype=np.float32)
    x *= np.float32(255 if "yolox" in path.name else 1)
    return port.name, x, session.run(None, {port.name: x})


def _session(path: Path, threads: int) -> rdquant.Session:
    try:
        return rdquant.Session(path, backend="native", threads=threads)
    except rdquant.errors.BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_onnxruntime(shared_data: Path, name: str, threads: int) -> None:
    path = shared_data / "models" / f"{name}.onnx"
    port, x, expected = _peer(path)
    session = _session(path, threads)
    for ours, theirs in zip(session.run({port: x}).values(), expected, strict=True):
        assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


def test_threads_share_a_session(shared_data: Path) -> None:
    path = shared_data / "models" / "squeezenet1.1-7.onnx"
    port, x, expected = _peer(path)
    session = _session(path, 1)
    with ThreadPoolExecutor(4) as pool:
        for outputs in pool.map(lambda _: session.run({port: x}), range(12)):
            (ours,) = outputs.values()
            assert np.abs(ours - expected[0]).max() <= 2e-5 * np.abs(expected[0]).max()


def test_concatenations_cost_nothing(shared_data: Path) -> None:
    path = shared_data / "models" / "squeezenet1.1-7.onnx"
    port, x, _ = _peer(path)
    rows = _session(path, 1).plan({port: x})
    assert {row["kernel"] for row in rows if row["op"] == "concat"} == {"alias"}
    assert not [row for row in rows if row["op"] == "reorder"]


POOLED = {
    "3×3": ({"strides": [2, 2], "pads": [0] * 4}, "Relu", {"kernel_shape": [3, 3], "strides": [2, 2]}),
    "7×7, padded": (
        {"size": 7, "strides": [2, 2]},
        "Relu",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4},
    ),
    "2×2, odd rows": ({}, "Sigmoid", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "far apart": ({}, None, {"kernel_shape": [2, 3], "strides": [5, 4]}),
    "close together": ({}, "Elu", {"kernel_shape": [5, 4], "pads": [2, 0, 1, 3]}),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("channels", "filters"), [(1, 5), (3, 64), (4, 40)])
@pytest.mark.parametrize("case", POOLED)
def test_maxima_are_taken_as_a_first_convolution_goes(
    case: str, channels: int, filters: int, threads: int
) -> None:
    convolution, activation, pool = POOLED[case]
    net = networks.Net()
    y = net.conv("x", filters, channels, **convolution)
    pooled = net.call("MaxPool", y if activation is None else net.call(activation, y), **pool)
    shape = (2, channels, 43, 38)
    model = rdquant.load(onnx.shape_inference.infer_shapes(net.model(pooled, shape)))
    feeds = {"x": np.random.default_rng(1).standard_normal(shape, dtype=np.float32)}
    (expected,) = rdquant.Session(model, backend="reference").run(feeds).values()
    try:
        session = rdquant.Session(model, backend="native", threads=threads)
    except rdquant.errors.BackendUnavailable as error:
        pytest.skip(str(error))
    rows = {row["op"]: row["kernel"] for row in session.plan(feeds)}
    assert rows["convolution"].startswith("few_channels with max")
    assert rows["pool"] == "fused"
    (found,) = session.run(feeds).values()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("also", ["output", "read"])
def test_a_convolution_that_others_read_is_stored(also: str) -> None:
    net = networks.Net()
    y = net.conv("x", 8, 3)
    pooled = net.call("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2])
    outputs = [pooled, y if also == "output" else net.call("Neg", y)]
    model = rdquant.load(onnx.shape_inference.infer_shapes(net.model(outputs, (1, 3, 20, 20))))
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 20, 20), dtype=np.float32)}
    expected = rdquant.Session(model, backend="reference").run(feeds)
    for name, found in rdquant.Session(model).run(feeds).items():
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax_in_the_place_of_what_dies_there(op: str, axis: int) -> None:
    net = networks.Net()
    y = net.call("Tanh", net.call(op, net.call("Mul", "x", net.tensor([3.0])), axis=axis))
    model = models.build(net.nodes, net.tensors, {"x": [5, 37, 19]}, {y: [5, 37, 19]})
    feeds = {"x": np.random.default_rng(0).standard_normal((5, 37, 19)).astype(np.float32)}
    expected = rdquant.Session(model, backend="reference").run(feeds)[y]
    np.testing.assert_allclose(rdquant.Session(model, backend="native").run(feeds)[y], expected, atol=1e-6)
