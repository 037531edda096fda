"""Training with compression: the loop, resuming, export. Needs PyTorch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rdquant as rdq
from rdquant.codec import CompressedFile
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError

torch = pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")

import training  # noqa: E402
from rdquant import train  # noqa: E402 - after the skip
from rdquant.train.prepare import cifar_batch  # noqa: E402
from training import digits, network  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # small networks: more would only wait for each other


# --- the loop ------------------------------------------------------------------------------------


def run(folder: Path, epochs: int = 3, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    hook = train.PruneThenQuantize(net, **options.pop("compression", {"gamma": 0.5, "bits": 4}))
    rows = train.fit(net, *digits(), optimizer, epochs=epochs, folder=folder, compression=hook, **options)
    return net, rows


def test_rows_files_and_best(tmp_path: Path) -> None:
    seen: list[Any] = []
    net, rows = run(tmp_path, 5, progress=seen.append)
    assert rows == seen == json.loads((tmp_path / "history.json").read_text())
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[-1]["accuracy"] > rows[0]["accuracy"] > 0
    assert rows[-1]["loss"] < rows[0]["loss"]
    for row in rows:
        assert row["weights"] == 6 * 9 + 3840
        assert row["promised_bytes"] == pytest.approx(row["density"] * 4 * row["weights"] / 8)
        assert 0.8 * row["entropy_bytes"] < row["coded_bytes"] < row["entropy_bytes"] + 400
        assert row["coder"] == "fast"
        assert (row["max_bytes"] is not None) == (row["best"] or row["epoch"] == 5)
    best = [row for row in rows if row["best"]][-1]
    assert best["accuracy"] == max(row["accuracy"] for row in rows)
    hook = train.PruneThenQuantize(net, 0.5, 4)
    assert train.load_best(net, tmp_path, hook) == best
    assert train.coded_size(hook, "max")["coded_bytes"] == best["max_bytes"]
    assert train.accuracy(net, digits()[1]) == best["accuracy"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "checkpoint.pt", "history.json"]
    assert run(tmp_path, 5)[1] == rows, "nothing was left to do"


def test_early_stopping_and_schedules(tmp_path: Path) -> None:
    _, rows = run(tmp_path / "a", 50, patience=3, coder=lambda levels: b"x" * len(levels))
    last_best = max(row["epoch"] for row in rows if row["best"])
    assert len(rows) in (50, last_best + 3)
    assert (rows[0]["coded_bytes"], rows[0]["coder"], rows[0]["max_bytes"]) == (2, "<lambda>", None)
    compression = {"gamma": train.Ramp(0.0, 0.9, 0.0, 0.7), "bits": 4, "total_steps": 4 * 2}
    _, rows = run(tmp_path / "b", 4, compression=compression)
    assert [row["settled"] for row in rows] == [False, False, True, True]
    assert not any(row["best"] for row in rows[:2])
    assert rows[2]["best"]
    assert rows[0]["gamma"] < rows[-1]["gamma"] == 0.9


def test_killed_and_resumed_gives_the_same_weights(tmp_path: Path) -> None:
    command = [sys.executable, training.__file__, str(tmp_path / "killed"), "19"]  # of 12 batches an epoch
    killed = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(json.loads((tmp_path / "killed" / "history.json").read_text())) == 1
    resumed, whole = training.run(tmp_path / "killed"), training.run(tmp_path / "whole")
    assert {n: w.tobytes() for n, w in resumed.items()} == {n: w.tobytes() for n, w in whole.items()}
    assert len(json.loads((tmp_path / "killed" / "history.json").read_text())) == 3


def test_a_failed_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, 1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RdquantError, match="no space left"):
            run(tmp_path, 2)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    assert len(run(tmp_path, 2)[1]) == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x02cos\nsystem\nq\x00."])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(CorruptFile, match=r"checkpoint\.pt"):
        run(tmp_path)


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 1)
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    with pytest.raises(InvalidArgument, match="was with compression"):
        train.fit(net, *digits(), optimizer, epochs=2, folder=tmp_path)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(InvalidArgument, match="was without scheduler"):
        run(tmp_path, 2, scheduler=scheduler)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"patience": 0}, "patience"),
        ({"train": (np.zeros((0, 1, 8, 8), np.float32), np.zeros(0, int))}, "no samples"),
        ({"train": (np.zeros((2, 1, 8, 8), np.float32), np.zeros(3, int))}, "2 samples and 3 labels"),
        ({"loss": lambda scores, _: scores.sum() * float("nan")}, "loss is nan"),
        ({"train": iter(())}, "no samples"),
        ({"train": [np.zeros(3)]}, r"a batch: expected a pair \(x, y\), got ndarray"),
        (
            {"train": (np.zeros((2, 1, 8, 8), np.float32), np.zeros(2))},
            "whole number a sample, got torch.float64",
        ),
        ({"train": (np.zeros((2, 1, 8, 8), np.float32), np.array([0, 10]))}, "labels 0 to 10.*out of bounds"),
        ({"train": (np.zeros((2, 2, 8, 8), np.float32), np.zeros(2, int))}, r"of \(2, 2, 8, 8\)"),
        ({"coder": "zip"}, "coder: expected"),
    ],
)
def test_errors_of_the_loop(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    net = network()
    training, validation = digits()
    arguments: dict[str, Any] = {"train": training, "validation": validation, "epochs": 1} | options
    with pytest.raises(InvalidArgument, match=words):
        train.fit(net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), folder=tmp_path, **arguments)
    with pytest.raises(InvalidArgument, match=r"no best\.pt"):
        train.load_best(net, tmp_path)


def test_labels_of_any_integers(tmp_path: Path) -> None:
    weights = []
    for i, dtype in enumerate((np.int64, np.uint8)):
        net = network()
        pairs = [(x, y.astype(dtype)) for x, y in digits()]
        train.fit(net, *pairs, torch.optim.SGD(net.parameters(), lr=0.1), epochs=1, folder=tmp_path / str(i))
        weights.append(net[4].weight.detach())
    assert torch.equal(*weights)


def test_interrupted_between_epochs_it_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in the second epoch: the first is kept, and the rest gives the same weights."""
    (x, y), validation = digits()
    left = 7  # batches of 50 until the interrupt: three an epoch

    def prepare(batch: Any, generator: Any) -> Any:
        nonlocal left
        left -= generator is not None
        if left == 0:
            raise KeyboardInterrupt
        return batch.float()

    def start(folder: str) -> Any:
        net = network()
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        hook = train.PruneThenQuantize(net, 0.5, 4, keep="survivors", decay=train.GroupDecay(0.02, every=2))
        options: dict[str, Any] = {"epochs": 3, "compression": hook, "batch_size": 50, "prepare": prepare}
        rows = train.fit(net, (x, y), validation, optimizer, folder=tmp_path / folder, **options)
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows], net[4].weight.detach()

    with pytest.raises(KeyboardInterrupt):
        start("cut")
    assert len(json.loads((tmp_path / "cut" / "history.json").read_text())) == 2
    (rows, resumed), (wanted_rows, wanted) = start("cut"), start("whole")
    assert torch.equal(resumed, wanted)
    assert rows == wanted_rows


def test_what_belongs_to_another_model_is_refused(tmp_path: Path) -> None:
    net, other = network(), network()
    options: dict[str, Any] = {"epochs": 1, "folder": tmp_path}
    with pytest.raises(InvalidArgument, match="trains none of the model's parameters"):
        train.fit(net, *digits(), torch.optim.Adam(other.parameters()), **options)
    hook = train.PruneThenQuantize(other, 0.3, 4)
    with pytest.raises(InvalidArgument, match=r"0\.weight is the weight of another model"):
        train.fit(net, *digits(), torch.optim.Adam(net.parameters()), compression=hook, **options)
    (x, y), (xv, yv) = digits()
    with pytest.raises(InvalidArgument, match="labels 50 to 59: the model tells classes 0 to 9 apart"):
        train.fit(net, (x, y), (xv, yv + 50), torch.optim.Adam(net.parameters()), **options)


def test_a_folder_goes_on_with_its_settings(tmp_path: Path) -> None:
    def go(epochs: int, gamma: float, batch_size: int) -> None:
        net = network()
        hook = train.PruneThenQuantize(net, gamma, 4)
        optimizer = torch.optim.Adam(net.parameters())
        options: dict[str, Any] = {"epochs": epochs, "folder": tmp_path, "batch_size": batch_size}
        train.fit(net, *digits(), optimizer, compression=hook, **options)

    go(1, 0.4, 100)
    with pytest.raises(InvalidArgument, match=r"batch_size 100 there, 50 here; γ 0\.4 there, 0\.8 here"):
        go(2, 0.8, 50)
    go(2, 0.4, 100)


def test_batches_may_be_arrays(tmp_path: Path) -> None:
    (x, y), validation = digits()
    batches = [(x[i : i + 50], y[i : i + 50]) for i in range(0, 150, 50)]
    net = network()
    assert train.fit(net, batches, validation, torch.optim.Adam(net.parameters()), epochs=1, folder=tmp_path)


@pytest.mark.parametrize("flushed", [True, False])
def test_denormals_are_flushed_meanwhile_only(tmp_path: Path, flushed: bool) -> None:
    def denormal() -> bool:
        return bool((torch.full((1,), 1e-30) * 1e-10).any())

    net = network()
    seen = []
    torch.set_flush_denormal(flushed)
    try:
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        train.fit(
            net, *digits(), optimizer, epochs=1, folder=tmp_path, progress=lambda _: seen.append(denormal())
        )
        assert seen == [False]
        assert denormal() == (not flushed)
    finally:
        torch.set_flush_denormal(False)


def test_loaders_are_taken(tmp_path: Path) -> None:
    (x, y), (xv, yv) = ([torch.from_numpy(a) for a in pair] for pair in digits())
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=40, shuffle=True)
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    rows = train.fit(net, loader, [(xv, yv)], optimizer, epochs=2, folder=tmp_path)
    assert len(rows) == 2
    assert "density" not in rows[0]
    with pytest.raises(InvalidArgument, match="holds no steps"):
        train.load_best(net, tmp_path, train.PruneThenQuantize(net, 0.5, 4))


# --- export, network, batches --------------------------------------------------------------------


def test_zeros_and_levels_survive_onnx(tmp_path: Path) -> None:
    net = network()
    hook = train.PruneThenQuantize(net, 0.625, 4)
    train.fit(net, *digits(), torch.optim.Adam(net.parameters()), epochs=1, folder=tmp_path, compression=hook)
    train.export_onnx(net, np.zeros((2, 1, 8, 8), np.float32), tmp_path / "net.onnx")
    model = rdq.load(tmp_path / "net.onnx")
    for name, (levels, step) in hook.levels().items():
        stored = model.weights()[name]
        assert stored.tobytes() == hook.weights[name].detach().numpy().tobytes()
        assert stored.tobytes() == (levels * np.float32(step)).astype(np.float32).tobytes()
        assert np.mean(stored == 0) > 0.1
    x = np.random.default_rng(1).random((7, 1, 8, 8)).astype(np.float32)
    net.eval()
    scores = rdq.Session(model).run({"input": x})["scores"]
    assert np.allclose(scores, net(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


def test_weights_without_levels() -> None:
    net = network()
    hook = train.PruneThenQuantize(net, 0.5, 32)
    hook.step()
    with pytest.raises(InvalidArgument, match="not quantized"):
        hook.levels()
    size = train.coded_size(hook)
    assert size["entropy_bytes"] is None
    assert 0 < size["coded_bytes"] < 4 * size["weights"]
    with pytest.raises(InvalidArgument, match="'fast', 'max' or a function, got 'zip'"):
        train.coded_size(hook, "zip")  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", ["fast", "max"])
def test_the_coded_file_gives_the_weights_back(profile: str) -> None:
    net = network()
    hook = train.PruneThenQuantize(net, 0.5, 5)
    with torch.no_grad():
        net[0].weight.zero_()
    hook.step()
    data = train.level_file(hook.levels(), profile)
    assert len(data) == train.coded_size(hook, profile)["coded_bytes"]  # type: ignore[arg-type]
    file = CompressedFile(data)
    assert file.tensor_names == list(hook.weights)
    for name, w in hook.weights.items():
        assert file.tensor(name).tobytes() == w.detach().numpy().tobytes()


def test_the_papers_network() -> None:
    net = train.paper_network().eval()
    kinds = [type(layer).__name__ for layer in net]
    assert [kinds.count(k) for k in ("Conv2d", "BatchNorm2d", "MaxPool2d", "Linear")] == [5, 5, 2, 4]
    assert "Dropout" in kinds
    assert sum(p.numel() for p in net.parameters()) == 2_018_346
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_batches_of_cifar() -> None:
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), np.uint8))
    plain = cifar_batch(x, None)
    assert plain.is_contiguous(memory_format=torch.channels_last)
    back = plain * torch.tensor([63.0, 62.1, 66.7]).view(1, 3, 1, 1)
    back += torch.tensor([125.3, 123.0, 113.9]).view(1, 3, 1, 1)
    assert torch.equal(back.round().to(torch.uint8), x)
    moved = cifar_batch(x, torch.Generator().manual_seed(0))
    assert torch.equal(moved, cifar_batch(x, torch.Generator().manual_seed(0)))
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4))
    for image, big in zip(moved, padded, strict=True):
        found = False
        for mirror in (False, True):
            source = cifar_batch((big.flip(2) if mirror else big)[None], None)[0]
            windows = source.unfold(1, 32, 1).unfold(2, 32, 1).permute(1, 2, 0, 3, 4)
            found |= bool((windows == image).flatten(2).all(dim=2).any())
        assert found
