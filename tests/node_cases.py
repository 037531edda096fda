"""ONNX's own node tests, which ship inside `onnx`: loaded once, run on the engine, compared."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

import rdquant as rdq
from rdquant._core import program
from rdquant._core import runtime as _runtime
from rdquant.graph import build_graph

Feeds = dict[str, NDArray[Any]]

BFLOAT16_RTOL = 2**-6  # as ONNX's own runner: two units in the last place
# Inputs that decide on shapes or steps. Our programs have fixed shapes: such inputs must be constants.
SHAPING = {
    "AffineGrid": {1},
    "BlackmanWindow": {0},
    "CenterCropPad": {1},
    "Clip": {1, 2},
    "Col2Im": {1, 2},
    "ConstantOfShape": {0},
    "CumProd": {1},
    "CumSum": {1},
    "DFT": {1, 2},
    "Dropout": {1, 2},
    "Expand": {1},
    "HammingWindow": {0},
    "HannWindow": {0},
    "MaxUnpool": {2},
    "MelWeightMatrix": {0, 1, 2, 3, 4},
    "OneHot": {1},
    "Pad": {1, 3},
    "Range": {0, 1, 2},
    "ReduceL1": {1},
    "ReduceL2": {1},
    "ReduceLogSum": {1},
    "ReduceLogSumExp": {1},
    "ReduceMax": {1},
    "ReduceMean": {1},
    "ReduceMin": {1},
    "ReduceProd": {1},
    "ReduceSum": {1},
    "ReduceSumSquare": {1},
    "Reshape": {1},
    "Resize": {1, 2, 3},
    "STFT": {1, 3},
    "Slice": {1, 2, 3, 4},
    "Split": {1},
    "Squeeze": {1},
    "Tile": {1},
    "TopK": {1},
    "Trilu": {1},
    "Unsqueeze": {1},
    "Upsample": {1},
}


@cache
def cases() -> dict[str, Any]:
    """Every node test by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # overflow and division by zero, which the cases mean to make
        return {case.name: case for case in load_model_tests(kind="node")}


@cache
def claimed() -> dict[str, list[str]]:
    """Operator → tests that end in it, of those whose operators we all claim."""
    ours = set(program.operators())
    groups: dict[str, list[str]] = defaultdict(list)
    for name, case in cases().items():
        nodes = case.model.graph.node
        if all(node.domain in ("", "ai.onnx") and node.op_type in ours for node in nodes):
            groups[nodes[-1].op_type].append(name)
    return groups


def operators_of(name: str) -> set[str]:
    """The operators in a test's model."""
    return {node.op_type for node in cases()[name].model.graph.node}


def _frozen(graph: onnx.GraphProto, everything: bool) -> set[str]:
    """Inputs that become constants: those that shape, or all but the first."""
    names = {
        node.input[i] for node in graph.node for i in SHAPING.get(node.op_type, ()) if i < len(node.input)
    }
    return names | {port.name for port in graph.input[1:]} if everything else names


def _array(value: Any) -> NDArray[Any]:
    """An array of what a test holds: arrays, NumPy's numbers, or tensors."""
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def prepared(case: Any, feeds: Sequence[Any], everything: bool) -> tuple[onnx.ModelProto, Feeds]:
    """The model with the frozen inputs as initializers, and the feeds of the others."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    frozen = _frozen(model.graph, everything)
    fed = {}
    for port, value in zip(list(model.graph.input), feeds, strict=True):
        array = _array(value)
        if port.name in frozen:
            model.graph.input.remove(port)
            model.graph.initializer.append(numpy_helper.from_array(array, port.name))
        else:
            fed[port.name] = array
    return model, fed


def _outputs(model: onnx.ModelProto, fed: Feeds, backend: str, public: bool) -> list[NDArray[Any]]:
    """Of the public Session, which simplifies the model first, or of the engine alone."""
    if public:
        session = rdq.Session(model, backend=backend, threads=1)
        assert session.backend == backend
        return list(session.run(fed).values())
    inner = _runtime.Session(build_graph("node", model, {}), backend, 1, 0)
    return inner.run([np.ascontiguousarray(a).reshape(a.shape) for a in fed.values()])


def run(name: str, backend: str, everything: bool, public: bool = False) -> None:
    """Run one test; whatever the session raises, or AssertionError for wrong outputs."""
    case = cases()[name]
    for feeds, expected in case.data_sets:
        model, fed = prepared(case, feeds, everything)
        _compare(_outputs(model, fed, backend, public), expected, case.rtol, case.atol)


def _compare(found: Sequence[NDArray[Any]], expected: Iterable[Any], rtol: float, atol: float) -> None:
    for i, (out, ref) in enumerate(zip(found, expected, strict=True)):
        ref = _array(ref)
        assert out.shape == ref.shape, f"output {i}: shape {out.shape}, expected {ref.shape}"
        assert out.dtype == ref.dtype, f"output {i}: {out.dtype}, expected {ref.dtype}"
        if ref.dtype.name == "bfloat16":
            out, ref, rtol = out.astype(np.float32), ref.astype(np.float32), max(rtol, BFLOAT16_RTOL)
        np.testing.assert_allclose(out, ref, rtol=rtol, atol=atol, err_msg=f"output {i}")


def failures(names: Iterable[str], backend: str, everything: bool, public: bool = False) -> Mapping[str, str]:
    """Test → how it failed, of those that do."""
    out = {}
    for name in names:
        try:
            run(name, backend, everything, public)
        except Exception as error:  # what goes wrong is the result
            out[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return out
