"""Lowering and fusion: the same answers before and after, the steps that are expected, plans that fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import models
import networks
import rdquant
from rdquant._core import program, runtime
from rdquant.errors import InvalidArgument, Unsupported
from rdquant.graph import build_graph, native_graph

VECTORS = Path(__file__).parent / "vectors"


def graph_of(proto: onnx.ModelProto):  # type: ignore[no-untyped-def]
    """The graph as it stands, of any opset, without what `rdquant.load` does."""
    return build_graph("graph", proto, {})


def operations(text: str) -> list[str]:
    return re.findall(r"^step .* = (\w+)\(", text, re.MULTILINE)


def noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32)


@pytest.mark.parametrize("name", networks.FUSIONS)
def test_fusion_keeps_the_answer(name: str) -> None:
    build, steps = networks.FUSIONS[name]
    net = networks.Net(seed=len(name))
    graph = graph_of(net.model(build(net), networks.IMAGE))
    x = noise(networks.IMAGE)
    plain = runtime.run_once(graph, "reference", [x], fuse=False)[0]
    fused = runtime.run_once(graph, "reference", [x])[0]
    bound = 2e-4 if "half" in name else 2e-5  # constants rounded to half become what they stand for
    np.testing.assert_allclose(fused, plain, rtol=bound, atol=bound)
    assert operations(program.dump(graph, {"x": networks.IMAGE})) == steps
    assert len(operations(program.dump(graph, {"x": networks.IMAGE}, fuse=False))) >= len(steps)


@pytest.mark.parametrize("name", networks.FUSIONS)
def test_weights_reach_through_fusion(name: str) -> None:
    build, _ = networks.FUSIONS[name]
    net, other = networks.Net(seed=1), networks.Net(seed=2)
    before = graph_of(net.model(build(net), networks.IMAGE))
    after = graph_of(other.model(build(other), networks.IMAGE))
    x = noise(networks.IMAGE)
    session = runtime.Session(before, "reference", 1, 0)
    first = session.run([x])[0]
    session.set_weights({n: t for n, t in other.tensors.items() if t.dtype == np.float32})
    np.testing.assert_array_equal(session.run([x])[0], runtime.run_once(after, "reference", [x])[0])
    session.set_weights({n: t for n, t in net.tensors.items() if t.dtype == np.float32})
    np.testing.assert_array_equal(session.run([x])[0], first)


@pytest.mark.parametrize(
    ("opset", "nodes", "want"),
    [
        (9, [("Softmax", {"axis": 1})], lambda x: _softmax(x.reshape(2, -1)).reshape(x.shape)),
        (13, [("Softmax", {"axis": 1})], lambda x: _softmax(x, 1)),
        (6, [("Clip", {"min": -0.5, "max": 0.5})], lambda x: x.clip(-0.5, 0.5)),
        (
            9,
            [("Slice", {"starts": [1, -2], "ends": [9, 2**31 - 1], "axes": [1, 2]})],
            lambda x: x[:, 1:, -2:],
        ),
        (9, [("Unsqueeze", {"axes": [0, 5]})], lambda x: x[None, ..., None]),
        (9, [("Pad", {"pads": [0, 0, 1, 0, 0, 0, 0, -1], "value": 2.0})], lambda x: _padded(x)),
        (9, [("Upsample", {"scales": [1.0, 1.0, 2.0, 2.0]})], lambda x: x.repeat(2, 2).repeat(2, 3)),
        (11, [("ReduceSum", {"axes": [1, 3], "keepdims": 0})], lambda x: x.sum((1, 3))),
        (9, [("Split", {"axis": 2, "split": [2, 4]})], lambda x: x[:, :, :2]),
        (9, [("Dropout", {"ratio": 0.5}), ("Neg", {})], lambda x: -x),
        (9, [("Flatten", {"axis": 2})], lambda x: x.reshape(8, 36)),
    ],
)
def test_old_opsets_keep_their_meaning(opset: int, nodes: list, want) -> None:  # type: ignore[no-untyped-def, type-arg]
    made, last = [], "x"
    for i, (op, attributes) in enumerate(nodes):
        outputs = [f"y{i}", f"rest{i}"] if op == "Split" else [f"y{i}"]
        made.append(helper.make_node(op, [last], outputs, **attributes))
        last = f"y{i}"
    graph = graph_of(models.build(made, {}, {"x": networks.IMAGE}, {last: None}, opset))
    x = noise(networks.IMAGE)
    np.testing.assert_allclose(runtime.run_once(graph, "reference", [x])[0], want(x), rtol=1e-5, atol=1e-6)


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _padded(x: np.ndarray) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)), constant_values=2)[..., :-1]


def test_shapes_are_folded() -> None:
    net = networks.Net()
    size = net.call("Gather", net.call("Shape", "x"), net.integers(0), axis=0)
    flat = net.call("Reshape", "x", net.call("Concat", size, net.integers(-1), axis=0))
    graph = graph_of(net.model(net.call("Relu", flat), ["N", 4, 6, 6]))
    assert operations(program.dump(graph, {"x": [3, 4, 6, 6]})) == ["reshape", "unary"]


GOLDEN = {
    "cnn": (models.cnn, {"x": [2, 3, 8, 8]}),
    "dense": (models.dense, {"x": [3, 16]}),
    "settings": (models.with_settings, {"x": [1, 1, 4, 4]}),
}


def check_golden(name: str, text: str) -> None:
    """A difference is a change of the program: look at it, then write the new text by hand or by REPL."""
    assert text == (VECTORS / f"program-{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GOLDEN)
def test_dumps_are_as_they_were(name: str) -> None:
    build, shapes = GOLDEN[name]
    check_golden(name, program.dump(native_graph(rdquant.load(build())), shapes))


def test_the_dump_of_squeezenet_is_as_it_was(shared_data: Path) -> None:
    graph = native_graph(rdquant.load(shared_data / "models" / "squeezenet1.1-7.onnx"))
    text = program.dump(graph, {"data": [1, 3, 224, 224]})
    check_golden("squeezenet", text)
    assert operations(text).count("convolution") == 26
    assert "unary" not in text


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 12)), min_size=0, max_size=40)
)
@settings(deadline=None)
def test_buffers_that_live_at_once_do_not_overlap(sizes: list[tuple[int, int, int]]) -> None:
    buffers = [(size, first, first + length) for size, first, length in sizes]
    offsets, total, least = program.plan_memory(buffers)
    assert least <= total <= sum(-(-b // 64) * 64 for b, _, _ in buffers)
    for i, (a, first, last) in enumerate(buffers):
        assert offsets[i] % 64 == 0
        assert offsets[i] + a <= total
        for j, (b, start, end) in enumerate(buffers[:i]):
            if first <= end and start <= last and a and b:
                assert offsets[i] + a <= offsets[j] or offsets[j] + b <= offsets[i]


def test_a_chain_needs_no_more_than_lives_at_once() -> None:
    chain = [(4096 * (1 + i % 5), i, i + 1) for i in range(50)]
    _, total, least = program.plan_memory(chain)
    assert total <= 1.15 * least


def indices(net: networks.Net, pooled: str) -> str:
    """The other output of the pool that gives `pooled`: places, counted from the first row on."""
    net.nodes[-1].output.append(f"{pooled}.indices")
    return f"{pooled}.indices"


@pytest.mark.parametrize(
    ("build", "independent"),
    [
        (lambda n: n.call("Relu", n.conv("x", 4, 4)), True),
        (lambda n: n.call("Softmax", n.call("Flatten", "x"), axis=1), True),
        (lambda n: n.call("Softmax", "x", axis=0), False),
        (lambda n: n.call("ReduceMean", "x", axes=[0]), False),
        (lambda n: n.call("Add", "x", n.noise(2, 4, 6, 6)), False),
        (lambda n: n.call("Add", "x", n.noise(1, 4, 1, 1)), True),
        (lambda n: n.call("Transpose", "x", perm=[1, 0, 2, 3]), False),
        (lambda n: n.call("Reshape", "x", n.integers(4, 2, 6, 6)), False),
        (lambda n: n.call("MatMul", n.noise(2, 2), n.call("Flatten", "x")), False),
        (lambda n: n.call("Gemm", n.call("Flatten", "x"), n.noise(144, 3), n.noise(3)), True),
        (lambda n: n.call("Gemm", n.call("Flatten", "x"), n.noise(144, 3), n.noise(2, 3)), False),
        (lambda n: n.call("MatMul", "x", n.noise(6, 5)), True),
        (lambda n: n.call("CumSum", "x", n.integers(0)), False),
        (lambda n: n.call("MaxPool", "x", kernel_shape=[2, 2]), True),
        (lambda n: indices(n, n.call("MaxPool", "x", kernel_shape=[2, 2])), False),
    ],
)
def test_rows_that_depend_on_each_other_are_seen(build, independent: bool) -> None:  # type: ignore[no-untyped-def]
    net = networks.Net()
    graph = graph_of(net.model(build(net), networks.IMAGE))
    assert program.rows_are_independent(graph, {"x": networks.IMAGE}) is independent


def one_node(op: str, *inputs: str, opset: int = 17, **attributes: object) -> onnx.ModelProto:
    node = helper.make_node(op, ["x", *inputs], ["y"], "it", **attributes)
    tensors = {"two": np.array([2], np.int64), "w": np.zeros((3, 5, 1, 1), np.float32)}
    kept = {k: v for k, v in tensors.items() if k in inputs}
    return models.build([node], kept, {"x": networks.IMAGE}, {"y": None}, opset)


@pytest.mark.parametrize(
    ("proto", "kind", "words"),
    [
        (one_node("NonZero"), Unsupported, r"NonZero node 'it': the operator is not supported"),
        (one_node("Conv", "w"), InvalidArgument, r"Conv node 'it': input \[2, 4, 6, 6\] and weights"),
        (one_node("Concat", "two", axis=7), InvalidArgument, r"axis 7 is outside a tensor of rank 4"),
        (one_node("Reshape", "two"), InvalidArgument, r"cannot view \[2, 4, 6, 6\] as \[2\]"),
        (one_node("Pad", "two"), InvalidArgument, r"pads must hold two numbers per axis"),
        (one_node("DepthToSpace", blocksize=2, mode="XYZ"), Unsupported, r"mode 'XYZ'"),
    ],
)
def test_what_cannot_be_lowered_names_the_node(
    proto: onnx.ModelProto, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        program.dump(graph_of(proto), {"x": networks.IMAGE})


def test_shapes_computed_from_data_are_unsupported() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], "cast", to=onnx.TensorProto.INT64),
        helper.make_node("Reshape", ["x", "shape"], ["y"], "reshape"),
    ]
    graph = graph_of(models.build(nodes, {}, {"x": [2]}, {"y": None}))
    with pytest.raises(Unsupported, match=r"Reshape node 'reshape': input 'shape' must be a constant"):
        program.dump(graph, {"x": [2]})


def test_operators_are_sorted_names() -> None:
    names = program.operators()
    assert names == sorted(set(names))
    assert {"Conv", "MatMul", "Einsum", "GridSample", "Loop"} - set(names) == {"Loop"}


def test_layer_normalization_runs_on_our_kernel() -> None:
    n = networks.Net()
    y = n.call("LayerNormalization", "x", n.noise(48), n.noise(48), axis=-1)
    model = models.build(n.nodes, n.tensors, {"x": ["N", 7, 48]}, {y: ["N", 7, 48]}, 17)
    session = rdquant.Session(model, backend="native")
    assert [row["supplier"] for row in session.plan()] == ["native"]
    x = np.random.default_rng(3).standard_normal((2, 7, 48)).astype(np.float32)
    (found,) = session.run({"x": x}).values()
    (expected,) = rdquant.Session(model, backend="reference").run({"x": x}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("heads", [6, 2])
def test_attention_is_two_products_and_a_softmax(heads: int, causal: int) -> None:
    """Scale and mask go into the first product; heads that share keys are one with more queries, masked apart."""
    q = helper.make_node("Transpose", ["x"], ["q"], perm=[0, 2, 1, 3])
    node = helper.make_node("Attention", ["q", "k", "k"], ["y"], is_causal=causal)
    keys = np.random.default_rng(heads).standard_normal((2, heads, 7, 8)).astype(np.float32)
    model = models.build([q, node], {"k": keys}, {"x": [2, 5, 6, 8]}, {"y": [2, 6, 5, 8]}, 23)
    text = program.dump(native_graph(rdquant.load(model)), {"x": [2, 5, 6, 8]})
    left = [name for name in operations(text) if name not in ("reshape", "transpose")]
    mask = ["binary"] if heads < 6 and causal else []
    assert left == ["matmul", *mask, "softmax", "matmul"]
