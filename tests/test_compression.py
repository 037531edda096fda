"""Compressed model files: round trips, random access, pipes, damage, and the command line."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from typer.testing import CliRunner

import rdquant as rdq
from rdquant import CorruptFile, InvalidArgument, Unsupported
from rdquant.cli import app
from rdquant.codec.container import GRAPH, TENSOR, pack_graph, write_file
from rdquant.codec.sections import Tensor
from rdquant.graph import writer

VECTOR = Path(__file__).parent / "vectors" / "version-1.rdq"


def arrays(model: rdq.Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, (_, array) in model.tensors().items()}


@pytest.mark.parametrize("effort", ["fast", "max"])
def test_without_loss_the_model_comes_back(cnn_path: Path, tmp_path: Path, effort: str) -> None:
    model = rdq.load(cnn_path)
    result = rdq.compress(cnn_path, tmp_path / "m.rdq", effort=effort)
    back = rdq.load(tmp_path / "m.rdq")
    assert back.fingerprint == model.fingerprint
    assert arrays(back) == arrays(model)
    assert [p.name for p in back.parameters] == [p.name for p in model.parameters]
    assert result.bytes == (tmp_path / "m.rdq").stat().st_size
    assert result.sqnr_db == float("inf")
    assert result.weights == sum(w.size for w in model.weights().values())
    assert back.name == model.name


@pytest.mark.parametrize(
    "quantizer",
    [
        rdq.Midtread(0.01),
        rdq.Deadzone(0.02, 0.7),
        rdq.MuLaw(255, 6),
        rdq.Minifloat(8, 4, 3),
        rdq.Codebook((-0.2, 0.0, 0.1)),
        lambda name, x: rdq.Midtread.from_levels(4, "max", 0, x),
    ],
    ids=["midtread", "deadzone", "mulaw", "minifloat", "codebook", "per channel"],
)
def test_quantized_weights_are_what_the_quantizer_gives(
    cnn_bytes: bytes, tmp_path: Path, quantizer: rdq.Quantizer
) -> None:
    model = rdq.load(cnn_bytes)
    result = rdq.compress(model, tmp_path / "m.rdq", quantizer)
    back = rdq.load(tmp_path / "m.rdq").weights()
    roles = {p.name: p.role for p in model.parameters}
    for name, w in model.weights().items():
        if roles[name] == "weight":
            used = quantizer if isinstance(quantizer, rdq.Quantizer) else quantizer(name, w)
            np.testing.assert_array_equal(back[name], used.dequantize(used.quantize(w)))
        else:
            np.testing.assert_array_equal(back[name], w)
    coded = {t.name: t for t in result.tensors}
    assert all((coded[n].coding == "quantized") == (r == "weight") for n, r in roles.items())
    assert np.isfinite(result.sqnr_db)


def test_bits_mean_the_steps_of_the_thesis(cnn_bytes: bytes, tmp_path: Path) -> None:
    model = rdq.load(cnn_bytes)
    rdq.compress(model, tmp_path / "m.rdq", bits=8, roles=("weight", "bias", "normalization"))
    wanted = rdq.requantize(model.weights(), rdq.Midtread(2 / 256))[0]
    back = rdq.load(tmp_path / "m.rdq").weights()
    for name, values in wanted.items():
        np.testing.assert_array_equal(back[name], values)


def test_bytes_pipes_and_single_tensors(cnn_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rdq"
    rdq.compress(cnn_path, path, bits=6)
    data = path.read_bytes()
    model = rdq.load(path)
    assert arrays(rdq.load(data)) == arrays(model)

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            return self.rest.read(size)

    assert arrays(rdq.decompress(Pipe())) == arrays(model)  # type: ignore[arg-type]
    file = rdq.CompressedFile(path)
    for name, values in model.weights().items():
        np.testing.assert_array_equal(file.tensor(name), values)
    with pytest.raises(InvalidArgument, match="has no tensor 'w'"):
        file.tensor("w")


def test_integer_tensors_of_others_come_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (64, 32, 3, 3), dtype=np.int8)
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["w"], axis=0),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        "qdq",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 6, 6])],
        [
            onnx.numpy_helper.from_array(weight, "wq"),
            onnx.numpy_helper.from_array(np.full(64, 0.01, np.float32), "s"),
            onnx.numpy_helper.from_array(np.zeros(64, np.int8), "z"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    model = rdq.load(proto)
    rdq.compress(model, tmp_path / "m.rdq")
    back = rdq.load(tmp_path / "m.rdq")
    assert back.fingerprint == model.fingerprint
    back.save(tmp_path / "back.onnx")
    stored = {t.name: t for t in onnx.load(tmp_path / "back.onnx").graph.initializer}
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored["wq"]), weight)


@pytest.mark.parametrize(("bits", "opset", "kind"), [(7, 17, "INT8"), (3, 21, "INT4")])
@pytest.mark.parametrize("axis", [None, 0])
def test_levels_are_kept_when_asked_for(
    cnn_bytes: bytes, tmp_path: Path, bits: int, opset: int, kind: str, axis: int | None
) -> None:
    proto = onnx.version_converter.convert_version(onnx.load_model_from_string(cnn_bytes), opset)
    model = rdq.load(proto)
    path = tmp_path / "m.rdq"
    rdq.compress(model, path, lambda name, x: rdq.Midtread.from_levels(bits, "max", axis, x))
    plain, kept = rdq.decompress(path), rdq.decompress(path, levels=True)
    kept.save(tmp_path / "levels.onnx")
    graph = onnx.load(tmp_path / "levels.onnx").graph
    stored = {t.name: t for t in graph.initializer}
    nodes = [n for n in graph.node if n.op_type == "DequantizeLinear"]
    assert {n.output[0] for n in nodes} == {p.name for p in model.parameters if p.role == "weight"}
    for node in nodes:
        levels, steps = (stored[name] for name in node.input)
        assert levels.data_type == getattr(TensorProto, kind)
        wanted = Tensor(section_of(path, node.output[0]), node.output[0]).levels()
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(levels).astype(np.int32), wanted)
        assert list(steps.dims) == ([] if axis is None else [wanted.shape[0]])
        scale = onnx.numpy_helper.to_array(steps).reshape(-1, *[1] * (wanted.ndim - 1))
        np.testing.assert_allclose(
            scale * wanted, plain.weights()[node.output[0]].reshape(wanted.shape), rtol=1e-6
        )
    plain.save(tmp_path / "plain.onnx")
    feeds = {model.inputs[0].name: np.ones((2, *model.inputs[0].shape[1:]), np.float32)}
    runtime = pytest.importorskip("onnxruntime")
    outputs = [
        runtime.InferenceSession(tmp_path / f"{n}.onnx").run(None, feeds)[0] for n in ("plain", "levels")
    ]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)


def section_of(path: Path, name: str) -> bytes:
    file = rdq.CompressedFile(path)
    return next(file.section(s) for s in file.sections if s.name == name)


def test_levels_that_do_not_fit_become_floats(cnn_bytes: bytes, tmp_path: Path) -> None:
    for quantizer in (rdq.Midtread(0.0001), rdq.Deadzone(0.02, 0.7), None):
        rdq.compress(cnn_bytes, tmp_path / "m.rdq", quantizer)
        kept = rdq.decompress(tmp_path / "m.rdq", levels=True)
        assert arrays(kept) == arrays(rdq.load(tmp_path / "m.rdq"))


def test_the_released_version_is_still_read() -> None:
    model = rdq.load(VECTOR)
    expected = json.loads(VECTOR.with_suffix(".json").read_text())
    sums = {name: zlib.crc32(array.tobytes()) for name, (_, array) in model.tensors().items()}
    assert sums == expected["crc32"]
    assert {t: rdq.CompressedFile(VECTOR).tensor(t).dtype.name for t in sums} == expected["dtypes"]


def test_damage_is_reported_with_its_place(cnn_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rdq"
    rdq.compress(cnn_path, path, bits=6)
    data = path.read_bytes()
    section = rdq.CompressedFile(path).sections[-1]
    damaged = bytearray(data)
    damaged[section.offset + section.length // 2] ^= 1
    with pytest.raises(CorruptFile, match=f"section '{section.name}', offset {section.offset}: the checksum"):
        rdq.load(bytes(damaged))
    with pytest.raises(CorruptFile, match=r"bytes expected|checksum differs"):
        rdq.load(data[:-3])
    with pytest.raises(CorruptFile, match="1 bytes too many"):
        rdq.load(data + b"\0")
    with pytest.raises(CorruptFile, match=r"section table|table's checksum"):
        rdq.load(data[:24] + b"\xff" + data[25:])
    later = data[:8] + struct.pack("<I", 2) + data[12:]
    with pytest.raises(Unsupported, match="has version 2"):
        rdq.load(later)
    path.with_name("later.rdq").write_bytes(later)
    with pytest.raises(Unsupported, match=r"later\.rdq: .* has version 2"):
        rdq.load(path.with_name("later.rdq"))
    with pytest.raises(Unsupported, match="memory_limit"):
        rdq.decompress(path, memory_limit=100)


def test_mutated_files_give_clean_errors_only(cnn_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.rdq"
    rdq.compress(cnn_path, path, bits=4)
    data = path.read_bytes()
    rng = np.random.default_rng(7)
    for _ in range(300):
        mutated = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            mutated[at] = rng.integers(256)
        with contextlib.suppress(CorruptFile, Unsupported):  # any other exception fails the test
            rdq.load(bytes(mutated))


def test_wrong_arguments_are_named(cnn_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.rdq"
    with pytest.raises(InvalidArgument, match="bits: the quantizer 'midtread' needs"):
        rdq.compress(cnn_path, out, "midtread")
    with pytest.raises(InvalidArgument, match="brings its own"):
        rdq.compress(cnn_path, out, rdq.Midtread(0.1), bits=3)
    with pytest.raises(InvalidArgument, match="roles: expected"):
        rdq.compress(cnn_path, out, bits=3, roles=("kernel",))
    with pytest.raises(InvalidArgument, match="effort"):
        rdq.compress(cnn_path, out, effort="small")
    assert not out.exists()


@pytest.mark.parametrize("alias", ["itself", "symlink", "hardlink"])
def test_the_model_itself_is_never_written_over(cnn_path: Path, tmp_path: Path, alias: str) -> None:
    out = tmp_path / "link.rdq"
    if alias == "symlink":
        out.symlink_to(cnn_path)
    elif alias == "hardlink":
        out.hardlink_to(cnn_path)
    else:
        out = cnn_path
    images = np.zeros((8, 3, 8, 8), np.float32)
    before = cnn_path.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # refused before the warning of a name that promises ONNX
        for given in (cnn_path, rdq.load(cnn_path)):
            with pytest.raises(
                InvalidArgument, match=r"path: .*is the file of model.*another name"
            ) as caught:
                rdq.compress(given, out, bits=4)
            assert str(out) in str(caught.value)
            assert str(cnn_path) in str(caught.value)
            with pytest.raises(InvalidArgument, match="is the file of model"):
                rdq.compress_to_size(given, out, bits_per_weight=4)
            with pytest.raises(InvalidArgument, match="is the file of model"):
                rdq.compress_within(given, out, images, max_kl=0.1)
    for command in (["compress"], ["compress-to-size", "--mse", "1"]):
        refused = CliRunner().invoke(app, [*command, str(cnn_path), "-o", str(out)])
        assert refused.exit_code == 2
        assert "--output: " in refused.stderr
    assert cnn_path.read_bytes() == before


@pytest.mark.parametrize(
    "command",
    [
        ["decompress", "{packed}", "-o", "{packed}"],
        ["quantize", "{model}", "-o", "{model}", "--mode", "dynamic"],
        ["compress-within", "{model}", "-o", "{model}", "--data", "digits", "--max-kl", "1"],
        ["fit", "{model}", "--csv", "{model}"],
    ],
)
def test_commands_never_write_over_their_input(cnn_path: Path, tmp_path: Path, command: list[str]) -> None:
    packed = tmp_path / "m.rdq"
    rdq.compress(cnn_path, packed)
    before = cnn_path.read_bytes(), packed.read_bytes()
    refused = CliRunner().invoke(app, [part.format(packed=packed, model=cnn_path) for part in command])
    assert refused.exit_code == 2, refused.output
    assert "is the file of model" in " ".join(refused.stderr.replace("│", " ").split())
    assert (cnn_path.read_bytes(), packed.read_bytes()) == before


@pytest.mark.filterwarnings("always")
def test_a_compressed_file_named_like_onnx_is_warned_of(cnn_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    with pytest.warns(UserWarning, match=r"small.onnx' will hold a compressed file"):
        rdq.compress(cnn_path, out, bits=4)
    done = CliRunner().invoke(app, ["compress", str(cnn_path), "-o", str(out), "--bits", "4"])
    assert done.exit_code == 0
    assert "Warning: path: " in done.stderr


def test_the_command_line_goes_there_and_back(cnn_path: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    packed, back = tmp_path / "m.rdq", tmp_path / "back.onnx"
    done = run(app, ["compress", str(cnn_path), "-o", str(packed), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["bytes"] == packed.stat().st_size
    assert run(app, ["compress", str(cnn_path), "-o", str(packed), "--bits", "6"]).exit_code == 0
    held = json.loads(run(app, ["info", str(packed), "--json"]).stdout)
    assert {t["coding"] for t in held["coded_tensors"]} == {"quantized", "floats"}
    assert held["facts"]["quantizer"] == "midtread 6 bits"
    assert run(app, ["info", str(packed)]).exit_code == 0
    assert run(app, ["decompress", str(packed), "-o", str(back), "--json"]).exit_code == 0
    assert arrays(rdq.load(back)) == arrays(rdq.load(packed))
    assert run(app, ["compress", str(cnn_path), "-o", str(packed), "--effort", "small"]).exit_code == 2


def varint(value: int) -> bytes:
    return bytes([value % 128 | 128]) + varint(value // 128) if value > 127 else bytes([value])


def halves(size: int) -> bytes:
    """Section of a float32 vector of `size` times 0.5: level 1 under the step 0.5, in a few bytes."""
    levels = bytes([0, 1]) + varint(size) + bytes([2])
    quantizer = varint(1) + varint(1) + bytes([0]) + struct.pack("<dd", 0.5, 0.5)
    return bytes([1, 1, 1]) + varint(size) + quantizer + varint(len(levels)) + levels


def file_of_halves(path: Path, tensors: int, size: int) -> None:
    """A compressed model that adds `tensors` vectors of `size` halves to its input."""
    names = [f"w{i}" for i in range(tensors)]
    steps = ["x", *(f"y{i}" for i in range(tensors))]
    nodes = [helper.make_node("Add", [steps[i], name], [steps[i + 1]]) for i, name in enumerate(names)]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [size]) for n in ("x", steps[-1])]
    graph = helper.make_graph(nodes, "halves", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    sections = [(TENSOR, name, halves(size)) for name in names]
    write_file(path, [(GRAPH, "", pack_graph(model.SerializeToString())), *sections])


@pytest.mark.parametrize(
    ("tensors", "size"), [(3, 50), pytest.param(33, 1 << 24, marks=pytest.mark.slow, id="2.2 GB")]
)
def test_what_is_too_large_for_one_file_gets_external_data(
    tensors: int, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if size < 1 << 20:
        monkeypatch.setattr(writer, "PROTOBUF_LIMIT", 4 * tensors * size - 1)
    file_of_halves(tmp_path / "m.rdq", tensors, size)
    assert (tmp_path / "m.rdq").stat().st_size < 5000
    rdq.decompress(tmp_path / "m.rdq", threads=2).save(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 20000
    data = np.memmap(tmp_path / "m.onnx.data", np.float32, "r")
    assert data.nbytes >= 4 * tensors * size
    entries = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer
    assert [(e.name, list(e.dims)) for e in entries] == [(f"w{i}", [size]) for i in range(tensors)]
    for entry in entries:
        place = {e.key: int(e.value) for e in entry.external_data if e.key != "location"}
        assert place["length"] == 4 * size
        first = place["offset"] // 4
        assert data[first] == data[first + size // 2] == data[first + size - 1] == 0.5
    del data
    (tmp_path / "m.onnx.data").unlink()  # the folder outlives the test


@pytest.mark.parametrize(("threads", "hint"), [("out.onnx", r".*save\(path\)"), (-1, "-1"), (1.5, "1.5")])
def test_a_wrong_number_of_threads_is_refused(
    cnn_path: Path, tmp_path: Path, threads: int, hint: str
) -> None:
    rdq.compress(cnn_path, tmp_path / "m.rdq")
    with pytest.raises(InvalidArgument, match=rf"threads: expected an integer .* got {hint}"):
        rdq.decompress(tmp_path / "m.rdq", threads)
