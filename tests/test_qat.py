"""Training at the widths of an allocation: the module computes what the network does, and files hold what was trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import InvalidArgument, Unsupported
from rdquant.significance import significance

torch = pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")

from rdquant.train.importer import TorchNetwork  # noqa: E402
from rdquant.train.qat import _Rounded, qat  # noqa: E402

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
    out = _Rounded.apply(rows, steps, largest)
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
    }
    for name, value in wrong.items():
        with pytest.raises(InvalidArgument, match=name):
            qat(digits, data, **{"allocation": chosen, name: value})
    with pytest.raises(InvalidArgument, match="learning_rate"):
        qat(digits, data, chosen, learning_rate=1e30)
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
