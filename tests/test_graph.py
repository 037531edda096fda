"""rdquant.graph on models that are right: what counts as a weight, what surgery may change, saving."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import models
import rdquant
from rdquant.errors import InvalidArgument
from rdquant.graph import Model, load, writer

# Values per model of ../shared/data/models, from its README and, where that rounds, counted by hand: all
# floats but Clip's bounds, Resize's scales and scalar factors.
COUNTS = {
    "cifar10_resnet20": 269_034,
    "cifar10_resnet32": 463_018,
    "efficientnet_lite0": 4_631_000,
    "mnist-8": 5_994,
    "mobilenet_v1_0.75": 2_577_352,
    "squeezenet1.1-7": 1_235_496,
    "ultraface_rfb_320": 300_408,
    "yolov8n_random": 3_193_904,
    "yolox_nano": 904_463,
}


def reference(model: onnx.ModelProto | str, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def noise(model: Model, rows: int = 2) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        i.name: random.standard_normal(
            [d if isinstance(d, int) else rows if k == 0 else 224 for k, d in enumerate(i.shape)]
        ).astype(i.dtype)
        for i in model.inputs
    }


@pytest.mark.parametrize("name", COUNTS)
def test_real_models_keep_their_weights_and_outputs(shared_data: Path, name: str, tmp_path: Path) -> None:
    path = shared_data / "models" / f"{name}.onnx"
    model = load(path)
    weights = model.weights()
    assert sum(w.size for w in weights.values()) == COUNTS[name] == model.summary()["parameters"]

    source = onnx.load(path)
    stored = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer}
    stored |= {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t)
        for n in source.graph.node
        if n.op_type == "Constant"
    }
    for key, weight in weights.items():
        np.testing.assert_array_equal(weight, stored[key], strict=True)

    feeds = noise(model)
    for got, want in zip(reference(model.proto, feeds), reference(str(path), feeds), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)

    model.save(tmp_path / "copy.onnx")
    copy = load(tmp_path / "copy.onnx")
    assert copy.fingerprint == model.fingerprint
    assert list(copy.weights()) == list(weights)
    assert not [key for key in model.summary() if key.endswith("_note")]


def test_squeezenet_summary_is_table_3_1(shared_data: Path) -> None:
    facts = load(shared_data / "models" / "squeezenet1.1-7.onnx").summary()
    assert facts["weight_bytes"] == 4 * 1_235_496
    assert facts["weight_share"] == pytest.approx(4 * 1_235_496 / 4_949_829, abs=1e-12)
    assert facts["file_mib"] == pytest.approx(4.72, abs=0.005)
    # The thesis' own file, the zoo's, has 4,956,208 bytes: 4.73 MiB, which Table 3.1 calls MB, and 99.713 %.
    assert round(100 * facts["weight_bytes"] / 4_956_208, 3) == 99.713
    json.dumps(facts)


def test_order_and_roles_follow_the_graph() -> None:
    model = load(models.cnn())
    assert list(model.weights()) == models.CNN_ORDER
    roles = ["weight", "bias"] + ["normalization"] * 4 + ["weight", "weight", "bias"]
    assert [p.role for p in model.parameters] == roles
    assert model.summary()["parameters"] == models.CNN_COUNT
    assert list(model.weights(roles=["bias"])) == ["conv1.b", "fc.b"]
    assert [p.op for p in model.parameters][:3] == ["Conv", "Conv", "BatchNormalization"]
    with pytest.raises(InvalidArgument, match="roles"):
        model.weights(roles=["biases"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_kept(dtype: type) -> None:
    proto = models.cnn(dtype)
    model = load(proto)
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for name, weight in model.weights().items():
        assert weight.dtype == dtype
        np.testing.assert_array_equal(weight, stored[name])
    assert model.inputs[0].dtype == dtype


@pytest.mark.parametrize("form", ["path", "str", "bytes", "proto", "model"])
def test_every_kind_of_source_gives_the_same_model(cnn_path: Path, form: str) -> None:
    source = {
        "path": lambda: cnn_path,
        "str": lambda: str(cnn_path),
        "bytes": cnn_path.read_bytes,
        "proto": lambda: onnx.load(cnn_path),
        "model": lambda: load(cnn_path),
    }[form]()
    model = rdquant.load(source)
    assert model.fingerprint == load(cnn_path).fingerprint
    assert model.name in ("cnn", "graph")


def test_the_callers_proto_stays_as_it_is() -> None:
    proto = models.in_constant_nodes()
    before = proto.SerializeToString(deterministic=True)
    load(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_views_are_read_only_and_aligned(cnn_path: Path) -> None:
    for weight in load(cnn_path).weights().values():
        assert weight.flags.aligned
        assert weight.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            weight[...] = 0


@pytest.mark.parametrize("field", ["float_data", "raw_data"])
def test_typed_fields_count_like_raw_data(field: str, tmp_path: Path) -> None:
    proto = models.dense()
    stored = {t.name: numpy_helper.to_array(t).copy() for t in proto.graph.initializer}
    for tensor in proto.graph.initializer:
        if field == "float_data":
            tensor.ClearField("raw_data")
            tensor.float_data.extend(stored[tensor.name].ravel().tolist())
    onnx.save(proto, tmp_path / "m.onnx")
    for source in (proto, tmp_path / "m.onnx"):
        weights = load(source).weights()
        assert list(weights) == ["w1", "b1", "w2", "b2"]
        for name, weight in weights.items():
            np.testing.assert_array_equal(weight, stored[name])


def test_weights_in_constant_nodes_count() -> None:
    model = load(models.in_constant_nodes())
    assert list(model.weights()) == ["w1", "b1", "w2", "b2"]
    assert [p.role for p in model.parameters] == ["weight", "bias", "weight", "bias"]
    feeds = noise(model)
    np.testing.assert_array_equal(
        reference(model.proto, feeds)[0], reference(models.in_constant_nodes(), feeds)[0]
    )


def test_shared_and_forwarded_weights_count_once() -> None:
    model = load(models.shared_and_forwarded())
    assert list(model.weights()) == ["w"]
    feeds = noise(model)
    np.testing.assert_allclose(
        reference(model.proto, feeds)[0], reference(models.shared_and_forwarded(), feeds)[0], rtol=1e-6
    )


def test_settings_and_scalars_do_not_count() -> None:
    assert list(load(models.with_settings()).weights()) == ["slope"]


def test_constants_fold_and_weights_do_not() -> None:
    model = load(models.foldable())
    assert model.summary()["operators"] == {"Reshape": 1, "MatMul": 1}
    assert model.summary()["file_nodes"] == 5
    assert list(model.weights()) == ["w"]


def test_batch_normalization_is_not_folded() -> None:
    assert load(models.cnn()).summary()["operators"]["BatchNormalization"] == 1


def test_subgraphs_lend_their_weights() -> None:
    model = load(models.branching())
    assert list(model.weights()) == ["inner", "w"]  # else_branch comes first among the attributes
    for sign in (1, -1):
        feeds = {"x": np.full((2, 16), sign, np.float32)}
        np.testing.assert_allclose(
            reference(model.proto, feeds)[0], reference(models.branching(), feeds)[0], rtol=1e-6
        )


def test_functions_of_the_model_are_inlined() -> None:
    body = [helper.make_node("MatMul", ["a", "b"], ["m"]), helper.make_node("Relu", ["m"], ["c"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Layer", ["a", "b"], ["c"], body, opsets[:1])
    proto = models.build(
        [helper.make_node("Layer", ["x", "w"], ["y"], "layer", domain="own")],
        {"w": np.ones((4, 4), np.float32)},
        {"x": ["N", 4]},
        {"y": ["N", 4]},
    )
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)
    proto.functions.append(function)
    model = load(proto)
    assert model.summary()["operators"] == {"MatMul": 1, "Relu": 1}
    assert list(model.weights()) == ["w"]


@pytest.mark.parametrize("opset", [7, 9, 11, 12])
def test_old_opsets_are_upgraded(opset: int) -> None:
    proto = models.dense(opset)
    proto.ir_version = 3
    for tensor in proto.graph.initializer:  # IR 3 wants initializers among the inputs
        proto.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    model = load(proto)
    facts = model.summary()
    assert (facts["opset"], facts["file_opset"]) == (13, opset)
    assert "opset_note" not in facts
    assert [i.name for i in model.inputs] == ["x"]
    feeds = noise(model)
    np.testing.assert_allclose(reference(model.proto, feeds)[0], reference(proto, feeds)[0], rtol=1e-6)


def test_an_upgrade_that_fails_leaves_the_opset_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no adapter")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    model = load(models.dense(11))
    assert model.summary()["opset"] == 11
    assert "no adapter" in model.summary()["opset_note"]
    assert len(model.weights()) == 4


def test_shapes_are_inferred() -> None:
    proto = models.dense()
    model = load(proto)
    known = {v.name: v for v in model.proto.graph.value_info}
    assert [d.dim_value for d in known["r1"].type.tensor_type.shape.dim][1] == 64


def test_unsorted_nodes_are_sorted() -> None:
    proto = models.dense()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert load(proto).fingerprint == load(models.dense()).fingerprint


def test_external_data_loads_like_inline(tmp_path: Path) -> None:
    path = models.save_external(models.cnn(), tmp_path)
    model = load(path)
    assert model.fingerprint == load(models.cnn()).fingerprint
    assert model.summary()["file_bytes"] == path.stat().st_size + sum(
        w.nbytes for w in model.weights().values()
    )


def test_unused_initializers_do_not_count_but_stay() -> None:
    proto = models.dense()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((64, 64), np.float32), "unused"))
    model = load(proto)
    assert "unused" not in model.weights()
    assert "unused" in [t.name for t in model.proto.graph.initializer]


def test_replace_weights_shares_the_graph_and_casts() -> None:
    model = load(models.cnn(np.float16))
    new = np.linspace(-1, 1, 10)
    other = model.replace_weights({"fc.b": new})
    np.testing.assert_array_equal(other.weights()["fc.b"], new.astype(np.float16))
    np.testing.assert_array_equal(other.weights()["fc.w"], model.weights()["fc.w"])
    assert model.weights()["fc.b"][0] != -1
    assert other.fingerprint != model.fingerprint
    assert load(other.proto).fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"fc.weigth": np.zeros((10, 8))}, "fc.weigth"),
        ({"fc.w2": np.zeros((10, 8))}, "did you mean 'fc.w'"),
        ({"fc.w": np.zeros((8, 10))}, r"expected shape \(10, 8\), got \(8, 10\)"),
        ({"fc.w": np.zeros((10, 8), complex)}, "complex"),
        ({"fc.w": [["a"]]}, "real numbers"),
    ],
)
def test_replace_weights_refuses(tensors: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        load(models.cnn()).replace_weights(tensors)


def test_save_over_its_own_source(cnn_path: Path) -> None:
    model = load(cnn_path)
    scaled = model.replace_weights({k: w * 2 for k, w in model.weights().items()})
    scaled.save(cnn_path)
    assert load(cnn_path).fingerprint == scaled.fingerprint
    np.testing.assert_array_equal(model.weights()["fc.w"] * 2, scaled.weights()["fc.w"])
    onnx.checker.check_model(str(cnn_path))
    assert [p.name for p in cnn_path.parent.iterdir()] == ["cnn.onnx"]


def test_a_failed_save_leaves_the_old_file(cnn_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cnn_path.read_bytes()
    model = load(cnn_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write_inline", fail)
    with pytest.raises(InvalidArgument, match="No space left"):
        model.save(cnn_path)
    assert cnn_path.read_bytes() == before
    assert [p.name for p in cnn_path.parent.iterdir()] == ["cnn.onnx"]


def test_save_beyond_the_protobuf_limit_uses_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(models.cnn())
    path = tmp_path / "big.onnx"
    monkeypatch.setattr(writer, "PROTOBUF_LIMIT", 100)
    model.save(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    assert load(path).fingerprint == model.fingerprint
    onnx.checker.check_model(str(path))


def test_save_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="cannot be written"):
        load(models.cnn()).save(tmp_path / "no" / "m.onnx")


def test_a_model_loaded_is_independent_of_its_file(cnn_path: Path) -> None:
    model = load(cnn_path)
    before = {k: w.copy() for k, w in model.weights().items()}
    with cnn_path.open("r+b") as file:
        file.write(b"\0" * cnn_path.stat().st_size)
        file.truncate(10)
    for key, weight in model.weights().items():
        np.testing.assert_array_equal(weight, before[key])


@pytest.mark.parametrize("make", [models.cnn, models.dense, models.branching])
def test_descriptions(make: Callable[[], onnx.ModelProto]) -> None:
    model = load(make())
    assert f"{model.summary()['parameters']:,} weights" in repr(model)
    page = model._repr_html_()
    assert page.startswith("<table>")
    assert "MiB" in page


def test_a_graph_of_references_is_taken_over_once() -> None:
    """The same tensors twice: ONNX Runtime refused such models, where our engine lacks an operator."""
    model = load(models.cnn())
    again = model.with_graph(model.skeleton)
    names = [t.name for t in again.skeleton.graph.initializer]
    assert len(names) == len(set(names))
    assert again.fingerprint == model.fingerprint
