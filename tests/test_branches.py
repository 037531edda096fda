"""If nodes whose condition follows from shapes, and operators that ONNX defines by others."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import node_cases
import rdquant as rdq
from rdquant._core import program

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "operators.md"
# Operators that the engine has no rule for: it runs what ONNX defines them by.
DEFINED = (
    "CausalConvWithState",
    "NegativeLogLikelihoodLoss",
    "SoftmaxCrossEntropyLoss",
    "SwiGLU",
)


def squeezing(size: int | None) -> onnx.ModelProto:
    """Drops axis 1 where it has one element, as PyTorch exports `squeeze`; both branches use the same names."""
    port = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    scaled = helper.make_node("Mul", ["x", "w"], ["scaled"])
    then = helper.make_graph(
        [scaled, helper.make_node("Squeeze", ["scaled", "one"], ["inner"])], "then", [], [port]
    )
    kept = helper.make_graph(
        [scaled, helper.make_node("ReduceSum", ["scaled", "one"], ["inner"], keepdims=0)], "else", [], [port]
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"], axis=0),
        helper.make_node("Equal", ["size", "one"], ["alone"]),
        helper.make_node("If", ["alone"], ["branch"], then_branch=then, else_branch=kept),
        helper.make_node("If", ["alone"], ["again"], then_branch=then, else_branch=kept),
        helper.make_node("Add", ["branch", "again"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array([1]), "one"),
        numpy_helper.from_array(np.array([1, 2, 3], np.float32), "w"),
    ]
    graph = helper.make_graph(
        nodes,
        "squeezing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, size if size is not None else "n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("size", [1, 4])
def test_the_branch_that_shapes_decide_on_is_taken(size: int) -> None:
    model = rdq.load(squeezing(size))
    assert "If" not in model.summary()["operators"]
    assert list(model.weights()) == ["w"]
    x = np.random.default_rng(size).standard_normal((2, size, 3)).astype(np.float32)
    found = rdq.Session(squeezing(size), backend="native").run({"x": x})["y"]
    np.testing.assert_allclose(found, 2 * (x * [1, 2, 3]).sum(1), rtol=1e-5)


def test_a_branch_that_data_decide_on_is_refused_with_its_name() -> None:
    with pytest.raises(rdq.errors.Unsupported, match=r"If node.*is a graph within"):
        rdq.Session(squeezing(None), backend="native")


@pytest.mark.parametrize("operator", DEFINED)
def test_operators_that_onnx_defines_by_others(operator: str) -> None:
    models = {name: case.model.graph.node for name, case in node_cases.cases().items()}
    names = [name for name, nodes in models.items() if {node.op_type for node in nodes} == {operator}]
    found = node_cases.failures(names, "native", everything=False)
    assert not found, "\n".join(f"{name}: {why}" for name, why in found.items())
    assert names


def test_center_crop_pad_with_constant_sizes() -> None:
    names = [n for n in node_cases.cases() if fnmatch(n, "test_center_crop_pad_*") and "expanded" not in n]
    assert len(names) == 6
    assert not node_cases.failures(names, "native", everything=True)


def test_the_page_on_operators_says_what_runs() -> None:
    """Every operator of ONNX's default domain is claimed, runs by its definition, or is on the page with a reason."""
    text = PAGE.read_text(encoding="utf-8")
    _, running, microsoft, lacking = (
        {name for row in re.findall(r"^\| (`.*?) \|", part, re.M) for name in re.findall(r"`(\w+)`", row)}
        for part in re.split(r"Some run by|## Operators of ONNX Runtime|## What does not run", text)
    )
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    claimed = {name for name in program.operators() if "." not in name}
    assert running == {*DEFINED, "CenterCropPad"}
    assert not claimed & (running | lacking), "these are claimed: take them off the page"
    assert not running & lacking
    assert known - claimed - running - lacking == set(), "these are missing on the page"
    assert microsoft == {name.rpartition(".")[2] for name in program.operators() if "." in name}
