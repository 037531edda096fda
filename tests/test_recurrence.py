"""RNN, GRU and LSTM beyond ONNX's own node tests: sizes, directions, states and options together, on both engines."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import rdquant as rdq
from rdquant._core import cpu_names
from rdquant.errors import InvalidArgument, Unsupported

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def layer(
    op: str,
    steps: int,
    batch: int,
    inputs: int,
    hidden: int,
    seed: int = 0,
    without: str = "",
    shortest: int = 1,
    **options: Any,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One layer with all of its inputs but those that `without` names by a letter: b, l(engths), h, c, p.

    Lengths are from `shortest` on.
    """
    rng = np.random.default_rng(seed)
    ways = 2 if options.get("direction") == "bidirectional" else 1
    rows = GATES[op] * hidden

    def noise(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[-1]))

    state = (batch, ways, hidden) if options.get("layout") else (ways, batch, hidden)
    tensors = {"w": noise(ways, rows, inputs), "r": noise(ways, rows, hidden), "b": noise(ways, 2 * rows)}
    tensors["l"] = rng.integers(shortest, steps + 1, batch).astype(np.int32)
    tensors["h"] = noise(*state)
    names = ["x", "w", "r", "b", "l", "h"]
    if op == "LSTM":
        tensors |= {"c": noise(*state), "p": noise(ways, 3 * hidden)}
        names += ["c", "p"]
    names = ["" if name in without else name for name in names]
    y = (batch, steps, ways, hidden) if options.get("layout") else (steps, ways, batch, hidden)
    outputs = {"y": y, "last_h": state} | ({"last_c": state} if op == "LSTM" else {})
    node = onnx.helper.make_node(op, names, list(outputs), hidden_size=hidden, **options)
    shape = (batch, steps, inputs) if options.get("layout") else (steps, batch, inputs)
    held = {name: tensors[name] for name in names if name in tensors}
    return models.build([node], held, {"x": shape}, outputs, opset=14), {"x": noise(*shape)}


def agree(model: onnx.ModelProto, feeds: dict[str, np.ndarray], threads: int = 1) -> None:
    expected = rdq.Session(model, backend="reference").run(feeds)
    found = rdq.Session(model, backend="native", threads=threads).run(feeds)
    assert list(found) == list(expected)
    for name, y in expected.items():
        assert np.abs(found[name] - y).max() <= 2e-6, name


@settings(max_examples=60, deadline=None)
@given(
    op=st.sampled_from(list(GATES)),
    steps=st.integers(1, 5),
    batch=st.integers(1, 4),
    hidden=st.integers(1, 37),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    without=st.sampled_from(["lp", "bhclp", "hlp", "blp", "", "l", "p", "hcp", "bp"]),
    layout=st.booleans(),
    linear=st.booleans(),
    clip=st.sampled_from([None, 0.3]),
)
def test_both_engines_agree(
    op: str,
    steps: int,
    batch: int,
    hidden: int,
    direction: str,
    without: str,
    layout: bool,
    linear: bool,
    clip: float | None,
) -> None:
    own = {"GRU": {"linear_before_reset": int(linear)}, "LSTM": {"input_forget": int(linear)}}
    options = {**own.get(op, {}), **({} if clip is None else {"clip": clip})}
    model, feeds = layer(
        op,
        steps,
        batch,
        7,
        hidden,
        without=without,
        shortest=0,
        direction=direction,
        layout=int(layout),
        **options,
    )
    agree(model, feeds)


@pytest.mark.parametrize("op", list(GATES))
def test_several_threads_agree_with_one(op: str) -> None:
    model, feeds = layer(op, 3, 8, 16, 200, without="lp")
    agree(model, feeds, threads=2)


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_the_same_as_onnxruntime(op: str, direction: str) -> None:
    pytest.importorskip("onnxruntime")
    own: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    forgetful = {"input_forget": 1} if op == "LSTM" else {}
    for without, more in (
        *(("lp", {}), ("p", {}), ("bhclp", {}), ("l", {})),
        *(("", {"clip": 0.4}), ("lp", forgetful), ("", forgetful)),
    ):
        options = {**own, **more}
        model, feeds = layer(op, 6, 3, 9, 33, without=without, direction=direction, **options)
        expected = rdq.Session(model, backend="onnxruntime").run(feeds)
        for name, y in rdq.Session(model).run(feeds).items():
            np.testing.assert_allclose(y, expected[name], atol=2e-6)


def test_the_kernels_take_all_layers() -> None:
    """PyTorch's exporters write no peepholes, and lengths of packed sequences; those of TensorFlow know the rest."""
    for op, without, clip in itertools.product(GATES, ("lp", "p", ""), (0.0, 3.0)):
        more: dict[str, Any] = {"input_forget": 1} if op == "LSTM" and clip else {}
        options = {**more, **({"clip": clip} if clip else {})}
        model, _ = layer(op, 4, 2, 5, 16, without=without, direction="bidirectional", **options)
        rows = [row for row in rdq.Session(model).plan() if row["op"] == "recurrence"]
        assert [row["supplier"] for row in rows] == ["native", "native"]


def lengths_fed(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with its lengths, a constant, as an input."""
    held = next(tensor for tensor in model.graph.initializer if tensor.name == "l")
    model.graph.input.append(onnx.helper.make_tensor_value_info("l", onnx.TensorProto.INT32, list(held.dims)))
    model.graph.initializer.remove(held)
    return model


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("linear", [0, 1])
@pytest.mark.parametrize("batch", [1, 5, 29])
def test_lengths_may_be_fed(op: str, linear: int, batch: int) -> None:
    """Longest first as PyTorch packs them, the other way round, and mixed; also beyond the steps, and none at all."""
    options = {"linear_before_reset": linear} if op == "GRU" else {}
    model, feeds = layer(op, 6, batch, 5, 19, without="p", direction="bidirectional", **options)
    model = lengths_fed(model)
    reference, native = (rdq.Session(model, backend=name) for name in ("reference", "native"))
    rng = np.random.default_rng(batch)
    falling = np.sort(rng.integers(0, 7, batch))[::-1]
    for lengths in (falling, falling[::-1], rng.integers(0, 9, batch), falling * 0, falling * 0 + 6):
        given = feeds | {"l": lengths.astype(np.int32)}
        expected = reference.run(given)
        for name, y in native.run(given).items():
            assert np.abs(y - expected[name]).max() <= 2e-6, name
        assert not expected["y"][lengths.max() :].any()


@pytest.mark.parametrize("length", [4, 3])
def test_constant_lengths(length: int) -> None:
    for op in GATES:
        model, feeds = layer(op, 4, 2, 5, 16, without="p", direction="bidirectional")
        held = next(tensor for tensor in model.graph.initializer if tensor.name == "l")
        held.CopyFrom(onnx.numpy_helper.from_array(np.array([4, length], np.int32), "l"))
        expected = rdq.Session(model, backend="onnxruntime").run(feeds)
        for name, y in rdq.Session(model).run(feeds).items():
            np.testing.assert_allclose(y, expected[name], atol=2e-6)


def with_levels(model: onnx.ModelProto, names: str = "wr", axis: int | None = 1) -> onnx.ModelProto:
    """`model` with the weights of these names as levels of 8 bits, with scales along `axis`; None: with one."""
    node = model.graph.node[0]
    for name in names:
        held = next(tensor for tensor in model.graph.initializer if tensor.name == name)
        values = onnx.numpy_helper.to_array(held)
        others = None if axis is None else tuple(i for i in range(3) if i != axis)
        scales = np.abs(values).max(others, keepdims=True) / np.float32(127)
        parts = {
            f"{name}_levels": np.rint(values / scales).astype(np.int8),
            f"{name}_scale": scales.squeeze(),
        }
        model.graph.initializer.remove(held)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in parts.items())
        options = {} if axis is None else {"axis": axis}
        made = onnx.helper.make_node("DequantizeLinear", list(parts), [name], **options)
        model.graph.node.insert(0, made)
        assert node.input[1:3] == ["w", "r"]
    return model


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("options", [{}, {"direction": "bidirectional"}, {"linear_before_reset": 1}])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize(("batch", "hidden"), [(1, 64), (3, 7), (2, 101), (1, 150)])
def test_states_meet_levels(
    op: str, options: dict[str, Any], axis: int | None, batch: int, hidden: int
) -> None:
    """Nearly as exact as float32."""
    if "linear_before_reset" in options and op != "GRU":
        pytest.skip("of GRU alone")
    for without in ("p", "bhclp"):
        made, feeds = layer(op, 6, batch, 9, hidden, without=without, shortest=0, **options)
        model = with_levels(made, axis=axis if axis != 0 or "direction" in options else 1)
        agree(model, feeds)
        rows = [row for row in rdq.Session(model).plan() if row["op"] == "recurrence"]
        assert {row["kernel"].rsplit(" ", 1)[0] for row in rows} == {"recurrence of levels"}


def test_states_of_any_size_meet_levels() -> None:
    made, feeds = layer("RNN", 3, 4, 5, 40, without="lp", activations=["Relu"])
    model = with_levels(made)
    first = next(tensor for tensor in model.graph.initializer if tensor.name == "h")
    states = onnx.numpy_helper.to_array(first) * np.float32([1e-38, 1e-20, 1e20, 0])[:, None]
    first.CopyFrom(onnx.numpy_helper.from_array(states, "h"))
    expected = rdq.Session(model, backend="reference").run(feeds)
    for name, y in rdq.Session(model, backend="native").run(feeds).items():
        size = np.abs(expected[name]).max(axis=-1, keepdims=True)
        assert (np.abs(y - expected[name]) <= 2e-6 * np.maximum(size, 1)).all(), name


PROBE = """
import numpy as np, rdquant as rdq, test_recurrence as t
made, feeds = t.layer("GRU", 5, 3, 9, 50, without="p", direction="bidirectional")
t.agree(t.with_levels(made), feeds)
print("agreed")
"""


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_states_meet_levels_by_every_instruction_set(isa: str) -> None:
    if isa not in cpu_names():
        pytest.skip(f"needs {isa}")
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "RDQUANT_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "agreed\n", run.stderr


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"activations": ["Sigmoid"]}, InvalidArgument, "activations: expected 3 names, found 1"),
        ({"activations": ["Sigmoid", "Tanh", "Affine"]}, Unsupported, "activation 'affine'"),
        ({"direction": "up"}, InvalidArgument, "direction: expected forward, reverse or bidirectional"),
    ],
)
def test_what_does_not_fit_is_said(options: dict[str, Any], error: type[Exception], message: str) -> None:
    model, feeds = layer("LSTM", 3, 1, 4, 5, without="lp", **options)
    with pytest.raises(error, match=message):
        rdq.Session(model, backend="native").run(feeds)


def test_weights_of_another_hidden_size_are_refused() -> None:
    model, feeds = layer("GRU", 3, 1, 4, 5, without="lp")
    model.graph.node[0].attribute[0].i = 6
    with pytest.raises(InvalidArgument, match="hidden_size differs from the last axis of R, 5"):
        rdq.Session(model, backend="native").run(feeds)
