"""Windows larger than the image they meet, and batches without images: as ONNX Runtime has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import networks
import rdquant
from rdquant.errors import InvalidArgument


def answers(model: onnx.ModelProto, feeds: dict[str, NDArray[Any]], backend: str) -> list[NDArray[Any]]:
    return list(rdquant.Session(model, backend=backend).run(feeds).values())


def check_same(model: onnx.ModelProto, x: NDArray[Any], backend: str) -> Sequence[tuple[int, ...]]:
    pytest.importorskip("onnxruntime")
    found, expected = (answers(model, {"x": x}, b) for b in (backend, "onnxruntime"))
    assert [y.shape for y in found] == [y.shape for y in expected]
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-5)
    return [y.shape for y in found]


# Attributes, and what is left of 3 × 3 pixels.
LARGE = {
    "no place": ({"kernel_shape": [4, 4]}, 0),
    "one place": ({"kernel_shape": [4, 4], "strides": [2, 2]}, 1),
    "one place, far beyond": ({"kernel_shape": [5, 5], "strides": [3, 3]}, 1),
    "no place, rounded up": ({"kernel_shape": [5, 5], "strides": [2, 2], "ceil_mode": 1}, 0),
    "one place, rounded up": ({"kernel_shape": [5, 5], "strides": [3, 3], "ceil_mode": 1}, 1),
    "padded": ({"kernel_shape": [6, 6], "strides": [3, 3], "pads": [1, 0, 0, 1]}, 1),
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("channels", [2, 16])
@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool", "AveragePool with pads"])
def test_windows_larger_than_the_image(operator: str, case: str, channels: int, backend: str) -> None:
    attributes, size = LARGE[case]
    if operator.endswith("pads"):
        attributes = {**attributes, "count_include_pad": 1}
    net = networks.Net()
    shape = (2, channels, 3, 3)
    model = net.model(net.call(operator.partition(" ")[0], "x", **attributes), shape)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    if size == 0:  # ONNX Runtime says so too, but dies of it where channels fill its blocks
        assert [y.shape for y in answers(model, {"x": x}, backend)] == [(2, channels, 0, 0)]
        return
    assert check_same(model, x, backend) == [(2, channels, size, size)]


@pytest.mark.parametrize(
    ("operator", "attributes", "shape", "words"),
    [
        ("MaxPool", {"kernel_shape": [5, 5]}, (1, 2, 3, 3), "a window over 5 does not fit axis 2 of"),
        (
            "AveragePool",
            {"kernel_shape": [7, 3], "pads": [1, 0, 1, 0]},
            (1, 2, 3, 3),
            r"axis 2 of \[1, 2, 3, 3\], 5 with its padding",
        ),
        ("GlobalMaxPool", {}, (1, 2, 0, 3), "no axis but the first may be of size 0"),
        ("AveragePool", {"kernel_shape": [1, 1]}, (1, 0, 3, 3), "no axis but the first may be of size 0"),
    ],
)
def test_what_has_no_answer_is_refused(
    operator: str, attributes: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    net = networks.Net()
    model = net.model(net.call(operator, "x", **attributes), shape)
    with pytest.raises(InvalidArgument, match=rf"^graph: {operator} node .*{words}"):
        answers(model, {"x": np.zeros(shape, np.float32)}, "native")


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_a_batch_without_images_is_resized(mode: str, rows: int, backend: str) -> None:
    """Sizes come from Shape: those of a batch without rows are 0."""
    net = networks.Net()
    feature = net.conv("x", 4, 4, strides=[2, 2])
    small = net.call("MaxPool", feature, kernel_shape=[2, 2], strides=[2, 2])
    large = net.call("Resize", small, "", "", net.call("Shape", feature), mode=mode)
    pooled = net.call("GlobalAveragePool", net.call("Concat", large, feature, axis=1))
    shape = (rows, 4, 9, 9)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    model = net.model([large, pooled], ("N", 4, 9, 9))
    assert check_same(model, x, backend)[1] == (rows, 8, 1, 1)
