"""Training at the widths of an allocation: the module computes what the network does, and files hold what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import models
import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import CorruptFile, InvalidArgument, Unsupported
from rdquant.significance import significance

torch = pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")

from rdquant.train.fake import Rounded  # noqa: E402
from rdquant.train.importer import TorchNetwork  # noqa: E402
from rdquant.train.qat import qat  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def digits() -> rdq.Model:
    return rdq.load(digits_model())


@pytest.fixture(scope="module")
def found(digits: rdq.Model) -> rdq.SignificanceMap:
    return significance(digits, rdq.Digits("train"), [[1, 8]], bits=(2, 3), rounding="nearest")


@pytest.mark.parametrize("name", ["digits", "cifar10_resnet20", "squeezenet1.1-7", "mobilenet_v1_0.75"])
def test_the_module_gives_what_the_network_gives(name: str, digits: rdq.Model) -> None:
    if name != "digits" and not SHARED.exists():
        pytest.skip("no shared/data beside the clone")
    model = digits if name == "digits" else rdq.load(SHARED / "models" / f"{name}.onnx")
    shape = [d if isinstance(d, int) else (64 if i else 2) for i, d in enumerate(model.inputs[0].shape)]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    out = model.outputs[0].name
    wanted = rdq.Session(model).run({model.inputs[0].name: x})[out].reshape(shape[0], -1)
    with torch.no_grad():
        got = TorchNetwork(model)(torch.from_numpy(x)).numpy()
    if rdq.metrics.are_probabilities(wanted):
        got = torch.from_numpy(got).softmax(1).numpy()
    assert got == pytest.approx(wanted, abs=1e-4 * max(1.0, float(np.abs(wanted).max())))


def test_gradients_of_rounding_are_those_of_lsq() -> None:
    rows = torch.tensor([[0.2, -0.9, 3.0], [0.6, 0.1, -0.4]], requires_grad=True)
    steps = torch.tensor([[0.5], [0.25]], requires_grad=True)
    largest = torch.tensor([[1.0], [3.0]])
    out = Rounded.apply(rows, steps, largest)
    assert out.tolist() == [[0.0, -0.5, 0.5], [0.5, 0.0, -0.5]]
    out.sum().backward()
    assert rows.grad.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    # inside: level − w/s; beyond: ± the largest level; times 1/√(weights of a row · largest)
    first = ((0 - 0.4) + (-1) + 1) / np.sqrt(3 * 1)
    second = ((2 - 2.4) + (0 - 0.4) + (-2 + 1.6)) / np.sqrt(3 * 3)
    assert steps.grad.ravel().tolist() == pytest.approx([first, second], abs=1e-6)


def test_training_at_few_bits_repairs_the_network(
    digits: rdq.Model, found: rdq.SignificanceMap, tmp_path: Path
) -> None:
    rough = rdq.allocate(digits, found, mean_bits=2, method="uniform")
    trained = qat(digits, rdq.Digits("train"), rough, epochs=4, batch_size=64)
    before, after = (rdq.evaluate(a.apply(), "digits")["top1"] for a in (rough, trained))
    assert after > before + 0.05
    assert trained.bits == rough.bits
    assert trained.save(tmp_path / "a.rdq").bytes == trained.bytes
    back = rdq.load(tmp_path / "a.rdq").weights()
    for name, weight in trained.apply().weights().items():
        assert np.array_equal(back[name], weight)
    for layer, rows in trained.layers():
        assert np.abs(rows.levels).max() <= 1
        assert len(np.unique(rows.levels)) <= 3
        assert trained.apply().weights()[layer.weight].shape == layer.shape


def test_float_is_trained_as_long_and_a_seed_repeats(digits: rdq.Model) -> None:
    data = rdq.Digits("train").head(256)
    one, two = (qat(digits, data, epochs=1, seed=3) for _ in range(2))
    assert isinstance(one, rdq.Model)
    assert one.fingerprint == two.fingerprint != digits.fingerprint
    other = qat(digits, data, epochs=1, seed=4)
    assert other.fingerprint != one.fingerprint


def test_what_cannot_be_trained_is_refused(digits: rdq.Model, found: rdq.SignificanceMap) -> None:
    chosen = rdq.allocate(digits, found, mean_bits=3)
    data = rdq.Digits("train").head(64)
    wrong = {
        "epochs": 0,
        "batch_size": 0,
        "learning_rate": -1.0,
        "seed": -1,
        "learn_steps": 2,
        "allocation": 3,
        "device": "cudaa",
    }
    for name, value in wrong.items():
        with pytest.raises(InvalidArgument, match=name):
            qat(digits, data, **{"allocation": chosen, name: value})
    with pytest.raises(InvalidArgument, match="learning_rate"):
        qat(digits, data, chosen, learning_rate=1e30)
    with pytest.raises(InvalidArgument, match="guessing"):
        qat(digits, rdq.Digits("train").head(512), epochs=3, learning_rate=1.5)
    with pytest.raises(InvalidArgument, match="another network"):
        qat(qat(digits, data, epochs=1), data, chosen)
    if SHARED.exists():
        with pytest.raises(Unsupported, match="Resize"):
            qat(SHARED / "models" / "yolox_nano.onnx", data)


def test_the_command_writes_what_was_trained(digits: rdq.Model, tmp_path: Path) -> None:
    digits.save(tmp_path / "d.onnx")
    x, y = rdq.Digits("train").get(np.arange(640))
    np.savez(tmp_path / "train.npz", x=x, y=y)
    model = rdq.load(tmp_path / "d.onnx")
    with pytest.warns(UserWarning, match="fewer than 200"):
        significance(model, (x, y), [1, 8], bits=2, rounding="nearest", store=tmp_path / "map")
    words = [
        "qat",
        "d.onnx",
        "map",
        "--data",
        "train.npz",
        "--mean-bits",
        "3",
        "--epochs",
        "1",
        "-o",
        "a.rdq",
        "--json",
    ]
    paths = {"d.onnx", "map", "train.npz", "a.rdq"}
    result = CliRunner().invoke(app, [str(tmp_path / w) if w in paths else w for w in words])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bytes"] == (tmp_path / "a.rdq").stat().st_size
    for extra, kinds in (([], {"int8"}), (["--int8"], {"int8", "int32", "uint8"})):
        more = [str(tmp_path / w) if w in paths else w for w in [*words[:-2], "q.onnx", *extra]]
        result = CliRunner().invoke(app, [w.replace("q.onnx", str(tmp_path / "q.onnx")) for w in more])
        assert result.exit_code == 0, result.output
        held = onnx.load(tmp_path / "q.onnx").graph.initializer
        integers = {onnx.helper.tensor_dtype_to_np_dtype(t.data_type).name for t in held} - {
            "float32",
            "int64",
        }
        assert integers == kinds
    refused = CliRunner().invoke(app, [str(tmp_path / w) if w in paths else w for w in [*words, "--int8"]])
    assert refused.exit_code == 2


# --- export --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(digits: rdq.Model, found: rdq.SignificanceMap) -> rdq.Allocation:
    chosen = rdq.allocate(digits, found, mean_bits=3.5)
    result = qat(digits, rdq.Digits("train").head(512), chosen, epochs=1, batch_size=64)
    assert isinstance(result, rdq.Allocation)
    return result


def answers(model: rdq.Model, backend: str) -> np.ndarray:
    session = rdq.Session(model, backend=backend)
    x = rdq.Digits("test").get(np.arange(64))[0]
    return session.run({session.inputs[0].name: x})[session.outputs[0].name]


def as_trained(digits: rdq.Model, trained: rdq.Allocation) -> np.ndarray:
    """Scores of the module in PyTorch, its weights the levels that training left."""
    network = TorchNetwork(trained.apply())
    with torch.no_grad():
        return network(torch.from_numpy(np.array(rdq.Digits("test").get(np.arange(64))[0]))).numpy()


@pytest.mark.parametrize("opset", [None, 21])
def test_levels_in_onnx_answer_as_the_trained_module(
    digits: rdq.Model, trained: rdq.Allocation, opset: int | None, tmp_path: Path
) -> None:
    wanted = as_trained(digits, trained)
    trained.qdq(opset).save(tmp_path / "q.onnx")
    proto = onnx.load(tmp_path / "q.onnx")
    kinds = {t.name: t.data_type for t in proto.graph.initializer if t.name.endswith("_levels")}
    small = onnx.TensorProto.INT4 if opset else onnx.TensorProto.INT8
    assert {trained.bits[name.removesuffix("_levels")] <= 4 for name in kinds} == {True, False}
    for name, kind in kinds.items():
        few = trained.bits[name.removesuffix("_levels")] <= 4
        assert kind == (small if few else onnx.TensorProto.INT8)
    peer = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "q.onnx")
    x = rdq.Digits("test").get(np.arange(64))[0]
    assert peer.run(None, {peer.get_inputs()[0].name: x})[0] == pytest.approx(wanted, abs=1e-4)
    if opset is None:
        assert answers(rdq.load(tmp_path / "q.onnx"), "native") == pytest.approx(wanted, abs=1e-4)


def test_an_opset_that_onnx_does_not_know_is_refused(trained: rdq.Allocation) -> None:
    for opset in (7, 1000, "new"):
        with pytest.raises(InvalidArgument, match="opset"):
            trained.qdq(opset)  # type: ignore[arg-type]


def test_eight_bit_activations_keep_the_trained_levels(digits: rdq.Model, trained: rdq.Allocation) -> None:
    made = trained.int8(rdq.Digits("train"), images=64)
    held = made.tensors()
    for layer, rows in trained.layers():
        levels = held[f"{layer.weight}_levels"][1].view(np.int8).reshape(layer.shape)
        assert np.array_equal(levels, layer.tensor(rows.levels))
    wanted, session = as_trained(digits, trained), rdq.Session(made)
    got = answers(made, "native")
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max()
    assert (got.argmax(1) == wanted.argmax(1)).mean() > 0.95
    assert answers(made, "onnxruntime") == pytest.approx(got, abs=0.05 * float(np.abs(got).max()))
    assert session.backend == "native"
    assert made.report.damage.kl is not None
    assert made.report.damage.kl < 0.01


@pytest.mark.filterwarnings("ignore:data")  # random weights only guess
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_batch_normalization_leaves_levels_as_they_are(sign: float) -> None:
    random = np.random.default_rng(0)
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3]),
        onnx.helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["n"]),
        onnx.helper.make_node("Relu", ["n"], ["r"]),
        onnx.helper.make_node("GlobalAveragePool", ["r"], ["a"]),
        onnx.helper.make_node("Flatten", ["a"], ["y"]),
    ]
    tensors = {
        "w": random.standard_normal((4, 3, 3, 3)),
        "g": sign * random.uniform(0.5, 2, 4),
        "b": random.standard_normal(4),
        "m": random.standard_normal(4),
        "v": random.uniform(0.5, 2, 4),
    }
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    model = rdq.load(models.build(nodes, tensors, {"x": ["N", 3, 8, 8]}, {"y": ["N", 4]}))
    x = random.standard_normal((440, 3, 8, 8)).astype(np.float32)
    data = rdq.ArrayDataset(x, np.arange(440) % 4)
    table = significance(model, data, [0, 1], bits=(2, 3), rounding="nearest")
    rough = rdq.allocate(model, table, mean_bits=4, method="uniform")
    made = rough.int8(data, images=64, correct_bias=False)
    ((layer, rows),) = rough.layers()
    levels = made.tensors()[f"{layer.weight}_levels"][1].view(np.int8).reshape(layer.shape)
    assert np.array_equal(levels, sign * layer.tensor(rows.levels))
    wanted = rdq.Session(rough.apply()).run({"x": x[:8]})["y"]
    assert rdq.Session(made).run({"x": x[:8]})["y"] == pytest.approx(wanted, abs=0.03)


# --- checkpoints ---------------------------------------------------------------------------------


def test_an_interrupted_training_goes_on_to_the_same_network(
    digits: rdq.Model, found: rdq.SignificanceMap, tmp_path: Path
) -> None:
    chosen, data = rdq.allocate(digits, found, mean_bits=3), rdq.Digits("train").head(300)

    def noisy(x: Any, generator: Any) -> Any:
        return x + 0.01 * torch.rand(x.shape, generator=generator)

    calls = 0

    def stopping(x: Any, generator: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return noisy(x, generator)

    options: dict[str, Any] = {"epochs": 2, "batch_size": 64}
    whole = qat(digits, data, chosen, prepare=noisy, **options)
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        qat(digits, data, chosen, prepare=stopping, checkpoint=path, **options)
    calls = -100
    resumed = qat(digits, data, chosen, prepare=stopping, checkpoint=path, **options)
    assert calls == -97, "7 of 10 batches were done"
    assert resumed.apply().fingerprint == whole.apply().fingerprint
    with pytest.raises(InvalidArgument, match="different in epochs"):
        qat(digits, data, chosen, checkpoint=path, **(options | {"epochs": 3}))
    with pytest.raises(InvalidArgument, match="different in allocation"):
        qat(digits, data, rdq.allocate(digits, found, mean_bits=2), checkpoint=path, **options)
    path.write_bytes(b"nothing")
    with pytest.raises(CorruptFile):
        qat(digits, data, chosen, checkpoint=path, **options)
