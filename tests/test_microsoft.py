"""Operators that ONNX Runtime's optimizer writes, against ONNX Runtime itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import rdquant as rdq
from rdquant.errors import InvalidArgument, Unsupported

onnxruntime = pytest.importorskip("onnxruntime")

MS = "com.microsoft"
Arrays = dict[str, NDArray[Any]]
RNG = np.random.default_rng(7)


def noise(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(values: Any) -> NDArray[np.int32]:
    return np.asarray(values, np.int32)


def model_of(
    op: str,
    feeds: Arrays,
    constants: Arrays,
    order: str,
    outputs: int = 1,
    opset: int = 17,
    domain: str = MS,
    **attributes: Any,
) -> onnx.ModelProto:
    """One node; `order` names its inputs, "-" one that is left out."""
    names = ["" if name == "-" else name for name in order.split()]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, "it", domain=domain, **attributes)
    info = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in feeds.items()
    ]
    given = [numpy_helper.from_array(x, n) for n, x in constants.items()]
    out = [onnx.ValueInfoProto(name=n) for n in results]
    graph = helper.make_graph([node], "graph", info, out, given)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def theirs(model: onnx.ModelProto | bytes, feeds: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def check(model: onnx.ModelProto, feeds: Arrays, path: Path, rtol: float = 2e-5) -> rdq.Session:
    """The file, run by the core as it is, on both backends of ours."""
    path = path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    expected = theirs(model, feeds)
    for backend in ("reference", "native"):
        session = rdq.Session(path, backend=backend)
        found = session.run(feeds)
        assert session._direct
        assert list(found) == list(expected)
        for name, y in expected.items():
            assert found[name].shape == y.shape
            assert found[name].dtype == y.dtype
            np.testing.assert_allclose(found[name], y, rtol=rtol, atol=rtol * np.abs(y).max())
    return session


X = noise(2, 5, 24)
# name: operator, feeds, constants, order of inputs, attributes
PLAIN: dict[str, tuple[str, Arrays, Arrays, str, dict[str, Any]]] = {
    "Gelu": ("Gelu", {"x": X}, {}, "x", {}),
    "BiasGelu": ("BiasGelu", {"x": X}, {"b": noise(24)}, "x b", {}),
    "FastGelu": ("FastGelu", {"x": X}, {}, "x", {}),
    "FastGelu, bias": ("FastGelu", {"x": X}, {"b": noise(24)}, "x b", {}),
    "QuickGelu": ("QuickGelu", {"x": X}, {}, "x", {}),
    "QuickGelu, alpha": ("QuickGelu", {"x": X}, {}, "x", {"alpha": 1.2}),
    "FusedMatMul": ("FusedMatMul", {"x": X}, {"w": noise(24, 7)}, "x w", {"alpha": 0.3}),
    "FusedMatMul, across": (
        "FusedMatMul",
        {"x": noise(2, 24, 5), "w": noise(2, 7, 24)},
        {},
        "x w",
        {"transA": 1, "transB": 1, "alpha": 0.125},
    ),
    "FusedMatMul, batches": (
        "FusedMatMul",
        {"x": noise(5, 2, 3, 24), "w": noise(24, 2, 3, 7)},
        {},
        "x w",
        {"transBatchA": 1, "transBatchB": 1},
    ),
    "FusedMatMul, batches across": (
        "FusedMatMul",
        {"x": noise(24, 2, 3, 5), "w": noise(7, 2, 3, 24)},
        {},
        "x w",
        {"transBatchA": 1, "transA": 1, "transBatchB": 1, "transB": 1},
    ),
    "FusedGemm": (
        "FusedGemm",
        {"x": noise(3, 24)},
        {"w": noise(8, 24), "c": noise(8)},
        "x w c",
        {"transB": 1, "alpha": 0.5, "beta": 2.0, "activation": "LeakyRelu", "activation_alpha": 0.2},
    ),
    "FusedGemm, Relu": ("FusedGemm", {"x": noise(3, 24)}, {"w": noise(24, 8)}, "x w", {"activation": "Relu"}),
    "LayerNormalization": ("LayerNormalization", {"x": X}, {"s": noise(24), "b": noise(24)}, "x s b", {}),
    "SimplifiedLayerNormalization": (
        "SimplifiedLayerNormalization",
        {"x": X},
        {"s": noise(24)},
        "x s",
        {"epsilon": 1e-3},
    ),
}
# All that the engine takes of the domain, but for those on levels: test_int8_models.py.
TRIED = {case[0] for case in PLAIN.values()} - {"LayerNormalization"} | {
    *("FusedConv", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "EmbedLayerNormalization"),
    *("Attention", "MultiHeadAttention", "RotaryEmbedding"),
    *("MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
}
IMAGE = noise(2, 4, 9, 9)
for name, extra in {
    "Relu": {"activation": "Relu"},
    "LeakyRelu": {"activation": "LeakyRelu", "activation_params": [0.3]},
    "Clip": {"activation": "Clip", "activation_params": [0.0, 0.9]},
    "HardSigmoid": {"activation": "HardSigmoid", "activation_params": [0.3, 0.4]},
    "Tanh": {"activation": "Tanh"},
}.items():
    weights = {"w": noise(6, 4, 3, 3), "b": noise(6)}
    PLAIN[f"FusedConv, {name}"] = (
        "FusedConv",
        {"x": IMAGE},
        weights,
        "x w b",
        {"pads": [1] * 4, **extra},
    )
PLAIN["FusedConv, sum"] = (
    "FusedConv",
    {"x": IMAGE, "z": noise(2, 6, 9, 9)},
    {"w": noise(6, 4, 3, 3), "b": noise(6)},
    "x w b z",
    {"pads": [1] * 4, "activation": "Relu"},
)


@pytest.mark.parametrize("name", PLAIN)
def test_activations_and_products(name: str, tmp_path: Path) -> None:
    op, feeds, constants, order, attributes = PLAIN[name]
    standard = op in ("LayerNormalization", "SimplifiedLayerNormalization")
    domain, opset = ("", 14) if standard else (MS, 17)
    model = model_of(op, feeds, constants, order, opset=opset, domain=domain, **attributes)
    session = check(model, feeds, tmp_path)
    assert not [row for row in session.plan(feeds) if row["supplier"] == "reference"]
    if standard:  # which `load` spells out
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        loaded = rdq.load(model)
        (expected,) = theirs(model, feeds).values()
        (found,) = rdq.Session(loaded, backend="native").run(feeds).values()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("simplified", [False, True])
def test_sums_are_normalized(simplified: bool, bias: bool, outputs: int, tmp_path: Path) -> None:
    op = "SkipSimplifiedLayerNormalization" if simplified else "SkipLayerNormalization"
    feeds = {"x": X, "z": noise(2, 5, 24)}
    constants = {"s": noise(24), "b": noise(24), "c": noise(24)}
    order = "x z s" + ("" if simplified else " b") + (" c" if bias else "")
    used = {n: constants[n] for n in order.split() if n in constants}
    model = model_of(op, feeds, used, order, outputs, epsilon=1e-6)
    if outputs == 4:  # means and deviations are for training
        model.graph.node[0].output[1:3] = ["", ""]
        del model.graph.output[1:3]
    check(model, feeds, tmp_path)


@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_embeddings(segments: bool, mask: bool, tmp_path: Path) -> None:
    feeds: Arrays = {"ids": whole(RNG.integers(0, 11, (2, 5)))}
    if segments:
        feeds["kind"] = whole(RNG.integers(0, 2, (2, 5)))
    if mask:
        feeds["mask"] = whole([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    constants: Arrays = {"word": noise(11, 24), "place": noise(8, 24), "s": noise(24), "b": noise(24)}
    if segments:
        constants["segment"] = noise(2, 24)
    kind, table = ("kind", "segment") if segments else ("-", "-")
    order = f"ids {kind} word place {table} s b" + (" mask" if mask else "")
    check(model_of("EmbedLayerNormalization", feeds, constants, order, 2), feeds, tmp_path)


MASKS: dict[str, NDArray[np.int32] | None] = {
    "none": None,
    "keys": whole([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
    "lengths": whole([3, 5]),
    "ends and starts": whole([3, 5, 0, 2]),
    "queries": whole(RNG.integers(0, 2, (2, 5, 5)) | np.eye(5, dtype=np.int64)),
}


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_on_packed_weights(mask: str, causal: int, tmp_path: Path) -> None:
    feeds: Arrays = {"x": X}
    given = MASKS[mask]
    if given is not None:
        feeds["mask"] = given
    order = "x w b" + ("" if given is None else " mask")
    constants = {"w": noise(24, 72) / 5, "b": noise(72)}
    model = model_of("Attention", feeds, constants, order, num_heads=3, unidirectional=causal)
    session = check(model, feeds, tmp_path)
    assert "softmax" in {row["op"] for row in session.plan(feeds)}


def test_attention_with_a_past_and_sizes_of_its_own(tmp_path: Path) -> None:
    constants = {"w": noise(24, 72) / 5, "b": noise(72)}
    feeds = {"x": X, "past": noise(2, 2, 3, 4, 8)}
    model = model_of("Attention", feeds, constants, "x w b - past", 2, num_heads=3, unidirectional=1)
    check(model, feeds, tmp_path)
    feeds = {"x": X, "bias": noise(1, 3, 5, 5)}
    model = model_of("Attention", feeds, constants, "x w b - - bias", num_heads=3)
    check(model, feeds, tmp_path)
    constants = {"w": noise(24, 24 + 24 + 36) / 5, "b": noise(84)}
    sizes = [24, 24, 36]
    model = model_of(
        "Attention", {"x": X}, constants, "x w b", num_heads=3, qkv_hidden_sizes=sizes, scale=0.4
    )
    check(model, {"x": X}, tmp_path)


HEADS: dict[str, tuple[Arrays, Arrays, str, int]] = {
    "plain": ({"q": X, "k": noise(2, 7, 24), "v": noise(2, 7, 24)}, {}, "q k v", 1),
    "bias": ({"q": X, "k": noise(2, 7, 24), "v": noise(2, 7, 36)}, {"b": noise(84)}, "q k v b", 1),
    "mask": (
        {"q": X, "k": noise(2, 7, 24), "v": noise(2, 7, 24), "m": whole([[1] * 7, [1] * 4 + [0] * 3])},
        {},
        "q k v - m",
        1,
    ),
    "mask and bias of scores": (
        {
            "q": X,
            "k": noise(2, 7, 24),
            "v": noise(2, 7, 24),
            "m": whole([[1] * 7, [1] * 4 + [0] * 3]),
            "s": noise(2, 3, 5, 7),
        },
        {},
        "q k v - m s",
        1,
    ),
    "past": (
        {"q": X, "k": X * 2, "v": X + 1, "pk": noise(2, 3, 4, 8), "pv": noise(2, 3, 4, 8)},
        {},
        "q k v - - - pk pv",
        3,
    ),
    "keys with heads": ({"q": X, "k": noise(2, 3, 7, 8), "v": noise(2, 3, 7, 8)}, {}, "q k v", 1),
}


@pytest.mark.parametrize("case", HEADS)
def test_attention_of_several_heads(case: str, tmp_path: Path) -> None:
    feeds, constants, order, outputs = HEADS[case]
    check(model_of("MultiHeadAttention", feeds, constants, order, outputs, num_heads=3), feeds, tmp_path)


def test_queries_keys_and_values_in_one_input(tmp_path: Path) -> None:
    """ONNX Runtime has this form on GPUs alone: what it stands for is run there."""
    q, k, v = noise(2, 5, 24), noise(2, 5, 24), noise(2, 5, 24)
    apart = {"q": q, "k": k, "v": v}
    expected = theirs(model_of("MultiHeadAttention", apart, {}, "q k v", num_heads=3), apart)["y0"]
    heads = [x.reshape(2, 5, 3, 8) for x in (q, k, v)]
    cases: list[Arrays] = [{"q": np.stack(heads, 3)}, {"q": q, "k": np.stack(heads[1:], 3)}]
    for feeds in cases:
        model = model_of("MultiHeadAttention", feeds, {}, " ".join(feeds), num_heads=3)
        path = tmp_path / "packed.onnx"
        onnx.save(model, path)
        np.testing.assert_allclose(rdq.Session(path).run(feeds)["y0"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("shape", [(2, 5, 24), (2, 3, 5, 8)])
@pytest.mark.parametrize("places", ["first", "each"])
@pytest.mark.parametrize("part", [0, 4])
def test_rotary_embedding(
    shape: tuple[int, ...], interleaved: int, places: str, part: int, tmp_path: Path
) -> None:
    where = np.array([3]) if places == "first" else RNG.integers(0, 9, (2, 5))
    half = (part or 8) // 2
    feeds = {"x": noise(*shape), "at": where.astype(np.int64)}
    tables = {"c": noise(9, half), "s": noise(9, half)}
    more = {"num_heads": 3, "rotary_embedding_dim": part} if part else {}
    model = model_of("RotaryEmbedding", feeds, tables, "x at c s", interleaved=interleaved, **more)
    check(model, feeds, tmp_path)


def test_levels(tmp_path: Path) -> None:
    constants: Arrays = {"s": np.float32(0.05).reshape(()), "z": np.uint8(120).reshape(())}
    feeds: Arrays = {"x": X}
    check(model_of("QuantizeLinear", feeds, constants, "x s z"), feeds, tmp_path)
    feeds = {"x": RNG.integers(0, 255, (3, 4)).astype(np.uint8)}
    check(model_of("DequantizeLinear", feeds, constants, "x s z"), feeds, tmp_path)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
def test_products_of_levels(op: str, bias: bool, columns: bool, tmp_path: Path) -> None:
    shape = (7,) if columns else ()
    constants: Arrays = {
        "w": RNG.integers(-90, 90, (24, 7)).astype(np.int8),
        "ws": np.full(shape, 0.02, np.float32),
        "wz": np.full(shape, 3, np.int8),
        "b": noise(7),
    }
    if op == "DynamicQuantizeMatMul":
        feeds: Arrays = {"x": X}
        order = "x w ws wz" + " b" * bias
    else:
        feeds = {"x": RNG.integers(0, 255, (5, 24)).astype(np.uint8)}
        constants |= {"s": np.float32(0.03).reshape(()), "z": np.uint8(120).reshape(())}
        order = "x w s ws z wz" + " b" * bias
    used = {name: x for name, x in constants.items() if name in order.split()}
    check(model_of(op, feeds, used, order), feeds, tmp_path, rtol=1e-5)


@pytest.mark.parametrize(("ways", "rows"), [(1, False), (1, True), (2, False)])
def test_recurrence_with_weights_of_levels(ways: int, rows: bool, tmp_path: Path) -> None:
    """ONNX Runtime rounds inputs and states to levels as well: within a step of these."""
    hidden, feeds = 6, {"x": noise(5, 2, 4)}
    scales = (ways, 4 * hidden) if rows else (ways,)
    constants: Arrays = {
        "w": RNG.integers(-90, 90, (ways, 4, 4 * hidden)).astype(np.int8),
        "r": RNG.integers(-90, 90, (ways, hidden, 4 * hidden)).astype(np.int8),
        "b": noise(ways, 8 * hidden),
        "ws": RNG.uniform(0.004, 0.006, scales).astype(np.float32),
        "rs": RNG.uniform(0.004, 0.006, scales).astype(np.float32),
        "z": np.zeros(scales, np.int8),
    }
    order = "x w r b - - - - ws z rs z"
    attributes = {"hidden_size": hidden, "direction": "bidirectional" if ways == 2 else "forward"}
    model = model_of("DynamicQuantizeLSTM", feeds, constants, order, 3, **attributes)
    check(model, feeds, tmp_path, rtol=0.02)


def test_what_is_not_taken_is_named(tmp_path: Path) -> None:
    def refused(model: onnx.ModelProto, feeds: Arrays) -> str:
        for output in model.graph.output:
            output.CopyFrom(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, [None] * 3))
        path = tmp_path / "refused.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises((Unsupported, InvalidArgument)) as caught:
            rdq.Session(path, backend="native").run(feeds)
        return str(caught.value)

    said = refused(model_of("Unheard", {"x": X}, {}, "x"), {"x": X})
    assert (
        "Unheard node 'it': the operator is not supported; those of its domain that are: Attention, " in said
    )
    model = model_of("ReorderInput", {"x": X}, {}, "x", domain="com.microsoft.nchwc")
    model.opset_import.add(domain="com.microsoft.nchwc", version=1)
    assert "save it at the level ORT_ENABLE_EXTENDED" in refused(model, {"x": X})
    model = model_of("FusedConv", {"x": IMAGE}, {"w": noise(6, 4, 3, 3)}, "x w", activation="Gelu")
    assert "FusedConv node 'it': activation 'Gelu' (known are Relu" in refused(model, {"x": IMAGE})
    feeds: Arrays = {"x": X, "mask": whole(np.ones((3, 5)))}
    model = model_of("Attention", feeds, {"w": noise(24, 72), "b": noise(72)}, "x w b mask", num_heads=3)
    said = refused(model, feeds)
    assert "Attention node 'it': a mask of shape [3, 5] (allowed are [batch, keys]" in said
    model = model_of("Attention", {"x": X}, {"w": noise(24, 72), "b": noise(72)}, "x w b", num_heads=0)
    assert "Attention node 'it': num_heads must be at least 1, it is 0" in refused(model, {"x": X})
    model = model_of("Attention", {"x": X}, {"w": noise(24, 72)}, "x w", num_heads=3, do_rotary=1)
    assert "Attention node 'it': do_rotary is not supported" in refused(model, {"x": X})
