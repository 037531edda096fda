"""RoiAlign and MaxRoiPool of many regions, against ONNX Runtime; Det against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

import rdquant as rdq

BACKENDS = ("native", "reference")
IMAGES = np.random.default_rng(0).normal(size=(3, 5, 13, 17)).astype(np.float32)


def model_of(op: str, feeds: dict[str, NDArray[Any]], opset: int = 16, **attributes: Any) -> onnx.ModelProto:
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    ports = [helper.make_tensor_value_info(k, kinds[v.dtype], v.shape) for k, v in feeds.items()]
    rank = feeds["x"].ndim - 2 if op == "Det" else 4
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["?"] * rank)
    graph = helper.make_graph(
        [helper.make_node(op, list(feeds), ["y"], "regions", **attributes)], "g", ports, [out]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def feeds_of(count: int, size: float = 20) -> dict[str, NDArray[Any]]:
    """Regions within images and beyond; none turned inside out, for which ONNX Runtime fails."""
    rng = np.random.default_rng(count)
    corners = rng.uniform(-size / 4, size, (count, 4)).astype(np.float32)
    corners[:, 2:] = corners[:, :2] + np.abs(corners[:, 2:]) / 3
    return {"x": IMAGES, "rois": corners, "images": rng.integers(0, 3, count)}


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("corners", ["half_pixel", "output_half_pixel", None])
@pytest.mark.parametrize(("samples", "scale"), [(0, 1.0), (2, 0.5), (3, 1.7), (0, 2.5)])
def test_aligned_regions(mode: str, corners: str | None, samples: int, scale: float) -> None:
    feeds, size = feeds_of(40), {"output_height": 3, "output_width": 4}
    how = {} if corners is None else {"coordinate_transformation_mode": corners}
    model = model_of(
        "RoiAlign",
        feeds,
        16 if how else 10,
        mode=mode,
        sampling_ratio=samples,
        spatial_scale=scale,
        **size,
        **how,
    )
    (want,) = rdq.Session(model, backend="onnxruntime").run(feeds).values()
    for backend in BACKENDS:
        for threads in (1, 2):
            (found,) = rdq.Session(model, backend=backend, threads=threads).run(feeds).values()
            np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.4, 3.0])
def test_the_largest_of_regions(scale: float) -> None:
    given = feeds_of(30)
    feeds = {
        "x": IMAGES,
        "rois": np.concatenate([given["images"][:, None].astype(np.float32), given["rois"]], 1),
    }
    model = model_of("MaxRoiPool", feeds, pooled_shape=[3, 2], spatial_scale=scale)
    (want,) = rdq.Session(model, backend="onnxruntime").run(feeds).values()
    for backend in BACKENDS:
        (found,) = rdq.Session(model, backend=backend).run(feeds).values()
        np.testing.assert_array_equal(found, want)


def test_no_regions() -> None:
    feeds = {"x": IMAGES, "rois": np.zeros((0, 4), np.float32), "images": np.zeros(0, np.int64)}
    model = model_of("RoiAlign", feeds, output_height=2, output_width=2)
    assert rdq.Session(model, backend="native").run(feeds)["y"].shape == (0, 5, 2, 2)


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_what_is_not_a_number_stays_so(mode: str) -> None:
    feeds = feeds_of(2)
    feeds["rois"] = np.array([[0, 0, 9, 9], [0, np.nan, 9, 9]], np.float32)
    feeds["images"][:] = 0
    feeds["x"] = IMAGES.copy()
    feeds["x"][0, 1, 4, 4] = np.nan
    model = model_of("RoiAlign", feeds, mode=mode, output_height=1, output_width=1, sampling_ratio=9)
    found = rdq.Session(model, backend="native").run(feeds)["y"]
    np.testing.assert_array_equal(np.isnan(found[0].ravel()), [False, True, False, False, False])
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"images": np.array([0, 3])}, "a region of image 3"),
        ({"images": np.array([0, -1])}, "a region of image -1"),
        ({"rois": np.array([[0, 0, 1e9, 5], [0, 0, 1, 1]], np.float32)}, "elements wide"),
    ],
)
def test_regions_that_cannot_be_are_refused(change: dict[str, NDArray[Any]], what: str) -> None:
    feeds = feeds_of(2)
    model = model_of("RoiAlign", feeds, output_height=2, output_width=2)
    for backend in BACKENDS:
        with pytest.raises(rdq.InvalidArgument, match=what):
            rdq.Session(model, backend=backend).run(feeds | change)


@pytest.mark.parametrize(
    ("op", "attributes", "what"),
    [
        ("RoiAlign", {"mode": "sum"}, "mode 'sum'"),
        ("RoiAlign", {"coordinate_transformation_mode": "corner"}, "coordinate_transformation_mode 'corner'"),
        ("RoiAlign", {"sampling_ratio": -1}, "sampling_ratio"),
        ("RoiAlign", {"output_height": 0}, "bins"),
    ],
)
def test_attributes_that_cannot_be_are_refused(op: str, attributes: dict[str, Any], what: str) -> None:
    feeds = feeds_of(2)
    with pytest.raises((rdq.Unsupported, rdq.InvalidArgument), match=what):
        rdq.Session(model_of(op, feeds, **attributes), backend="native").run(feeds)


@pytest.mark.parametrize("shape", [(1, 1), (4, 2, 2), (3, 2, 7, 7), (2, 0, 0), (0, 3, 3)])
def test_determinants(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    if x.size > 9:
        x.reshape(-1, *shape[-2:])[0, 1] = x.reshape(-1, *shape[-2:])[0, 0]  # singular
    model = model_of("Det", {"x": x})
    want = np.linalg.det(x.astype(np.float64))
    for backend in BACKENDS:
        found = rdq.Session(model, backend=backend).run({"x": x})["y"]
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-6)
