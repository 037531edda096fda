"""Files that the C++ core reads go straight into the engine: the same answers as `rdquant.load` gives, and no file is
trusted.
"""

from __future__ import annotations

import contextlib
import functools
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
import pytest
from numpy.typing import NDArray
from onnx import helper

import models
import networks
import rdquant as rdq
from rdquant._core import graph as core_graph
from rdquant._core import program
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError
from rdquant.graph import open_for_engine
from rdquant.graph.writer import _length_field as length_field

NETS = (
    "cifar10_resnet20",
    "efficientnet_lite0",
    "mnist-8",
    "mobilenet_v1_0.75",
    "squeezenet1.1-7",
    "ultraface_rfb_320",
    "yolov8n_random",
    "yolox_nano",
)


@functools.cache
def quantized() -> onnx.ModelProto:
    """The small CNN with levels of 8 bits, in the form QDQ."""
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    return rdq.quantize_static(models.cnn(), images).proto


PLAIN: dict[str, Callable[[], onnx.ModelProto]] = {
    "cnn": models.cnn,
    "cnn of two rows": lambda: models.cnn(batch=2),
    "half precision": lambda: models.cnn(np.float16),
    "dense": models.dense,
    "constant nodes": models.in_constant_nodes,
    "shared": models.shared_and_forwarded,
    "settings": models.with_settings,
    "quantized": quantized,
}


def feeds_of(session: rdq.Session, side: int = 64) -> dict[str, NDArray[Any]]:
    noise = np.random.default_rng(0)
    return {
        port.name: noise.standard_normal(
            [d if isinstance(d, int) else 2 if axis == 0 else side for axis, d in enumerate(port.shape)]
        ).astype(port.dtype)
        for port in session.inputs
    }


def save(
    net: networks.Net, out: str, shape: Sequence[int | str], gives: Sequence[int | str], path: Path
) -> None:
    """A model of input x with `shape` whose file says that the output has the shape `gives`."""
    path.write_bytes(models.build(net.nodes, net.tensors, {"x": shape}, {out: gives}).SerializeToString())


def is_direct(session: rdq.Session) -> bool:
    """Whether the session still runs what the core read."""
    return session._direct


def check_equal(path: Path, steps_equal: bool = True) -> None:
    """The session on the file itself against the one on the loaded model."""
    direct, full = rdq.Session(path, threads=1), rdq.Session(rdq.load(path), threads=1)
    feeds = feeds_of(direct)
    got, expected = direct.run(feeds), full.run(feeds)
    assert is_direct(direct)
    assert list(got) == list(expected)
    for name in expected:
        np.testing.assert_allclose(
            got[name], expected[name], rtol=0, atol=1e-6 * np.abs(expected[name]).max()
        )
    assert direct.inputs == full.inputs
    steps = [[(s["op"], s["kernel"], s["macs"]) for s in x.plan(feeds)] for x in (direct, full)]
    heavy = [[s for s in rows if s[2]] for rows in steps]
    assert heavy[0] == heavy[1]
    assert not steps_equal or steps[0] == steps[1]
    assert repr(direct) == repr(full)
    assert direct.outputs == full.outputs
    assert (direct.model.source, direct.model.name) == (full.model.source, full.model.name)
    assert direct.model.fingerprint == full.model.fingerprint
    assert direct.model.parameters == full.model.parameters


@pytest.mark.parametrize("name", NETS)
def test_real_models_are_the_same_either_way(shared_data: Path, name: str) -> None:
    # onnxslim folds one scalar product of ultraface's that the engine computes.
    check_equal(shared_data / f"models/{name}.onnx", steps_equal=name != "ultraface_rfb_320")


@pytest.mark.parametrize("name", PLAIN)
def test_small_models_are_the_same_either_way(tmp_path: Path, name: str) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(PLAIN[name](), path)
    check_equal(path, steps_equal=False)


def test_what_is_computed_twice_runs_once(tmp_path: Path) -> None:
    net = networks.Net()
    left = net.call("Relu", net.call("Exp", "x"))
    right = net.call("Relu", net.call("Exp", "x"))
    path = tmp_path / "twice.onnx"
    save(net, net.call("Mul", left, right), [2, 8], [2, 8], path)
    session = rdq.Session(path)
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    (y,) = session.run({"x": x}).values()
    np.testing.assert_allclose(y, np.exp(x) ** 2, rtol=1e-5)
    assert is_direct(session)
    assert len(session.plan()) < 5


def test_an_output_left_out_stands_for_nothing(tmp_path: Path) -> None:
    net = networks.Net()
    pool = {"kernel_shape": [2, 2]}
    for outputs in (["a", "where"], ["b", ""]):
        net.nodes.append(helper.make_node("MaxPool", ["x"], outputs, **pool))
    net.nodes.append(helper.make_node("Clip", ["b", "", net.tensor(0.0)], ["c"]))
    path = tmp_path / "pools.onnx"
    save(net, net.call("Add", "a", "c"), [1, 1, 4, 4], [1, 1, 3, 3], path)
    session = rdq.Session(path, backend="reference")
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    (y,) = session.run({"x": x}).values()
    assert is_direct(session)
    np.testing.assert_allclose(y, x[..., 1:, 1:] + np.minimum(x[..., 1:, 1:], 0))


@pytest.mark.parametrize("part", ["shape", "type"])
@pytest.mark.parametrize("batch", [2, "N"])
def test_what_the_file_leaves_out_of_outputs_is_inferred(tmp_path: Path, part: str, batch: int | str) -> None:
    path, cut = tmp_path / "whole.onnx", tmp_path / "cut.onnx"
    model = models.cnn(batch=batch)
    onnx.save(model, path)
    output = model.graph.output[0]
    (output.type.tensor_type if part == "shape" else output).ClearField(part)
    onnx.save(model, cut)
    check_equal(cut, steps_equal=False)
    assert rdq.Session(cut).outputs == rdq.load(cut).outputs == rdq.load(path).outputs
    core = open_for_engine(cut)
    assert core is not None
    assert core.outputs[0].dtype == np.float32
    assert core.outputs[0].shape == ((2, 10) if batch == 2 else (None, None))


OPSETS = range(7, 25)
ANY = 2**31 - 1


def test_signatures_are_those_of_onnx() -> None:
    known = program.operators()
    covered: set[tuple[str, int]] = set()
    for op, first, last, fewest, most, outputs, names in core_graph.signatures():
        for opset in range(first, last + 1):
            schema = onnx.defs.get_schema(op, opset, "")
            assert not schema.deprecated
            assert (fewest, most) == (schema.min_input, min(schema.max_input, ANY)), (op, opset)
            assert outputs == min(schema.max_output, ANY)
            attributes = [n + "!" * a.required for n, a in sorted(schema.attributes.items())]
            assert names.split() == attributes, (op, opset)
            assert (op, opset) not in covered
            covered.add((op, opset))
        assert first >= 13 or op in known, f"below opset 13 the engine has not been compared with {op}"
    assert {opset for _, opset in covered} == set(OPSETS)
    standard = {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    missing = []
    for op in standard:
        for opset in range(13, 25):
            if (op, opset) not in covered:
                with contextlib.suppress(onnx.defs.SchemaError):
                    if not onnx.defs.get_schema(op, opset, "").deprecated:
                        missing.append((op, opset))
    assert not missing


def test_no_other_package_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "cnn.onnx"
    onnx.save(models.cnn(batch=2), path)
    code = f"""
import sys
import numpy as np
before = set(sys.modules)
import rdquant
rdquant.Session({str(path)!r}, backend="reference").run({{"x": np.zeros((2, 3, 8, 8), np.float32)}})
found = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(found - set(sys.stdlib_module_names) - {{"numpy"}}))
print(*sorted(found & {{"logging", "json", "tempfile", "pathlib", "difflib", "concurrent", "hashlib"}}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["rdquant"]


def test_weights_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "cnn.onnx"
    onnx.save(models.cnn(batch=2), path)
    session, model = rdq.Session(path), rdq.load(path)
    feeds = feeds_of(session)
    session.run(feeds)
    halved = {name: w / 2 for name, w in model.weights().items()}
    session.set_weights(halved)
    (got,), (expected,) = (
        s.run(feeds).values() for s in (session, rdq.Session(model.replace_weights(halved)))
    )
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)
    assert session.model.fingerprint == model.replace_weights(halved).fingerprint


def test_a_session_is_independent_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "cnn.onnx"
    onnx.save(models.cnn(batch=2), path)
    before = rdq.load(path).fingerprint
    session = rdq.Session(path)
    expected = session.run(feeds_of(session))
    path.write_bytes(b"overwritten")
    assert session.model.fingerprint == before
    for name, values in session.run(feeds_of(session)).items():
        assert np.array_equal(values, expected[name])


def test_the_weights_are_held_once(tmp_path: Path) -> None:
    path = tmp_path / "cnn.onnx"
    onnx.save(models.dense(hidden=64), path)
    direct = open_for_engine(path)
    assert direct is not None
    kept = [array for _, array in direct._opened.payloads]
    assert kept
    weights = direct.full().weights().values()
    assert all(any(np.shares_memory(w, a) for w in weights) for a in kept)


def test_nodes_are_put_in_order(tmp_path: Path) -> None:
    model = models.cnn()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    path = tmp_path / "reversed.onnx"
    path.write_bytes(model.SerializeToString())
    check_equal(path, steps_equal=False)


def test_unknown_fields_are_skipped(tmp_path: Path) -> None:
    """As protobuf asks: they are those of a later version, which must mean no harm."""
    path = tmp_path / "later.onnx"
    path.write_bytes(models.cnn().SerializeToString() + b"\x98\x06\x01" + length_field(99, 3) + b"abc")
    check_equal(path, steps_equal=False)


def test_errors_are_those_of_the_loader(tmp_path: Path) -> None:
    net = networks.Net()
    path = tmp_path / "contradiction.onnx"
    save(net, net.call("MatMul", "x", net.noise(50, 10)), ["N", 64], ["N", 10], path)
    session = rdq.Session(path)
    with pytest.raises(CorruptFile, match=r"matmul0.*shapes contradict"):
        session.run({"x": np.zeros((1, 64), np.float32)})
    onnx.save(models.cnn(batch=2), path)
    session = rdq.Session(path, memory_limit=100)
    with pytest.raises(InvalidArgument, match="memory limit is 100"):
        session.run(feeds_of(session))


def _mutated(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out))
        change = rng.randrange(4)
        if change == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif change == 1:
            out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif change == 2:
            del out[at : at + rng.randint(1, 16)]
        else:
            out[at:at] = out[at : at + rng.randint(1, 16)]
    return bytes(out)


@pytest.mark.parametrize("seed", range(8))
def test_mutants_run_as_the_loader_would_run_them_or_are_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    samples = [build().SerializeToString() for build in PLAIN.values()]
    path = tmp_path / "mutant.onnx"
    accepted = 0
    for _ in range(60):
        path.write_bytes(_mutated(rng, rng.choice(samples)))
        if open_for_engine(path) is None:
            continue
        try:
            session = rdq.Session(path, threads=1, memory_limit=1 << 28, backend="reference")
            feeds = feeds_of(session, 8)
            got = session.run(feeds)
        except (RdquantError, MemoryError):
            continue
        accepted += 1
        model = rdq.load(path)
        expected = rdq.Session(model, threads=1, memory_limit=1 << 28, backend="reference").run(feeds)
        for name, values in expected.items():
            np.testing.assert_allclose(got[name], values, rtol=1e-4, atol=1e-6)
    assert accepted
