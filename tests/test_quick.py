"""Plain files go straight into the engine: the same answers as `rdquant.load` gives, and no file is trusted."""

from __future__ import annotations

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
from onnx import TensorProto, helper

import models
import networks
import rdquant as rdq
from rdquant._core import program
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError
from rdquant.graph import read_quickly
from rdquant.graph.signatures import OPSETS, signatures
from rdquant.graph.wire import SELF, length_field, varint

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


def is_quick(session: rdq.Session) -> bool:
    """Whether the session still runs what the quick reader made."""
    return session._quick


def check_equal(path: Path, steps_equal: bool = True) -> None:
    """The session on the file itself against the one on the loaded model."""
    quick, full = rdq.Session(path, threads=1), rdq.Session(rdq.load(path), threads=1)
    feeds = feeds_of(quick)
    got, expected = quick.run(feeds), full.run(feeds)
    assert is_quick(quick)
    assert list(got) == list(expected)
    for name in expected:
        np.testing.assert_allclose(
            got[name], expected[name], rtol=0, atol=1e-6 * np.abs(expected[name]).max()
        )
    assert quick.inputs == full.inputs
    steps = [[(s["op"], s["kernel"], s["macs"]) for s in x.plan(feeds)] for x in (quick, full)]
    heavy = [[s for s in rows if s[2]] for rows in steps]
    assert heavy[0] == heavy[1]
    assert not steps_equal or steps[0] == steps[1]
    assert repr(quick) == repr(full)
    assert quick.outputs == full.outputs
    assert (quick.model.source, quick.model.name) == (full.model.source, full.model.name)
    assert quick.model.fingerprint == full.model.fingerprint
    assert quick.model.parameters == full.model.parameters


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
    assert is_quick(session)
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
    assert is_quick(session)
    np.testing.assert_allclose(y, x[..., 1:, 1:] + np.minimum(x[..., 1:, 1:], 0))


def test_signatures_are_those_of_onnx() -> None:
    for opset in OPSETS:
        for op, known in signatures(opset).items():
            schema = onnx.defs.get_schema(op, opset, "")
            assert not schema.deprecated
            assert (known.fewest, min(known.most, 2**31 - 1)) == (schema.min_input, schema.max_input)
            assert min(known.outputs, 2**31 - 1) == schema.max_output
            assert known.allowed == set(schema.attributes)
            assert known.required == {n for n, a in schema.attributes.items() if a.required}
            assert op in program.operators()


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
print(*sorted(found & {{"logging", "json", "tempfile", "pathlib", "difflib", "concurrent"}}))
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
    quick = read_quickly(path)
    assert quick is not None
    kept = quick._source._arrays.values()
    assert any(np.shares_memory(w, a) for w in quick.full().weights().values() for a in kept)


def _with_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("pds", [1, 1, 1, 1]))


def _unsorted(model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))


def _other_domain(model: onnx.ModelProto) -> None:
    model.graph.node[2].domain = "com.microsoft"
    model.opset_import.add(domain="com.microsoft", version=1)


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")


def _same_bytes_again(model: onnx.ModelProto) -> None:
    """Tensors that refer to the same bytes of the file, which in sum are more than it has."""
    for i in range(50):
        tensor = model.graph.initializer.add(name=f"more{i}", dims=[1500], data_type=TensorProto.UINT8)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", SELF), ("offset", "0"), ("length", "1500")):
            tensor.external_data.add(key=key, value=value)


UNUSUAL: dict[str, Callable[[onnx.ModelProto], Any]] = {
    "attribute": _with_attribute,
    "missing input": lambda m: m.graph.node[0].input.__setitem__(0, "nowhere"),
    "order": _unsorted,
    "domain": _other_domain,
    "external data": _external,
    "borrowed bytes": _same_bytes_again,
    "old opset": lambda m: m.opset_import[0].__setattr__("version", 6),
    "future opset": lambda m: m.opset_import[0].__setattr__("version", 1000),
    "second opset": lambda m: m.opset_import.add(domain="", version=13),
    "ir_version": lambda m: m.__setattr__("ir_version", 1000),
    "operator": lambda m: m.graph.node[0].__setattr__("op_type", "Convolution"),
    "double initializer": lambda m: m.graph.initializer.append(m.graph.initializer[0]),
    "double node": lambda m: m.graph.node.append(m.graph.node[0]),
    "double output": lambda m: m.graph.output.append(m.graph.output[0]),
    "no output": lambda m: m.graph.ClearField("output"),
    "short tensor": lambda m: m.graph.initializer[0].__setattr__("raw_data", b"1234"),
    "negative size": lambda m: m.graph.initializer[0].dims.__setitem__(0, -8),
    "element type": lambda m: m.graph.initializer[0].__setattr__("data_type", 16),
    "graph name": lambda m: m.graph.ClearField("name"),
    "function": lambda m: m.functions.add(name="f", domain="own"),
    "sparse": lambda m: m.graph.sparse_initializer.add(),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_the_unusual_is_left_to_the_loader(tmp_path: Path, name: str) -> None:
    model = models.cnn()
    path = tmp_path / "unusual.onnx"
    onnx.save(model, path)
    assert read_quickly(path) is not None
    UNUSUAL[name](model)
    path.write_bytes(model.SerializeToString())
    assert read_quickly(path) is None


BROKEN = {
    "length beyond the end": lambda data: data[:-1],
    "number of eleven bytes": lambda data: data + bytes([1 << 3]) + b"\x80" * 10 + b"\x01",
    "number beyond 64 bits": lambda data: data + bytes([1 << 3]) + b"\xff" * 9 + b"\x7f",
    "huge length": lambda data: data + length_field(2, 2**63),
    "unknown field": lambda data: data + varint(99 << 3) + b"\x01",
    "wire type": lambda data: data + bytes([1 << 3 | 3]),
    "no text": lambda data: data + length_field(3, 2) + b"\xff\xfe",
    "second graph": lambda data: data + length_field(7, 0),
    "nothing": lambda data: b"",
    "deep nesting": lambda data: (
        length_field(7, 40_000) + length_field(1, 39_000) + length_field(5, 2000) * 5000
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_bytes_are_left_to_the_loader(tmp_path: Path, name: str) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(BROKEN[name](models.cnn().SerializeToString()))
    assert read_quickly(path) is None


@pytest.mark.parametrize("path", ["nowhere.onnx", "", "zero\0byte", ".", b"bytes", 7])
def test_what_is_no_file_is_left_to_the_loader(path: Any) -> None:
    assert read_quickly(path) is None


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
        if read_quickly(path) is None:
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
