"""What surrounds the training and needs no PyTorch, or only calls it: CIFAR-10, figures, command, absence of PyTorch."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rdquant.cli import app
from rdquant.errors import CorruptFile, InvalidArgument
from rdquant.train import cifar10_jpeg, cifar10_original, figures

USERS_SCRIPT = """
import numpy as np, torch
def model():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 4))
def data():
    y = np.arange(120) % 4
    x = np.eye(4, dtype=np.float32)[y].repeat(4, axis=1)
    return (x, y), (x, y)
"""


def images(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 3, 32, 32)).astype(np.uint8)


# --- CIFAR-10 ------------------------------------------------------------------------------------


def jpeg_arrays(count: int = 3, size: int = 32) -> dict[str, Any]:
    arrays: dict[str, Any] = {"classes": np.array(["a"])}
    for split in ("train", "test"):
        files = []
        for i in range(count):
            stream = io.BytesIO()
            Image.new("RGB", (size, size), (10 * i, 100, 200)).save(stream, "jpeg", quality=95)
            files.append(stream.getvalue())
        arrays[f"{split}_jpeg"] = np.frombuffer(b"".join(files), np.uint8)
        arrays[f"{split}_offsets"] = np.cumsum([0, *map(len, files)])
        arrays[f"{split}_labels"] = np.arange(count) % 10
    return arrays


def test_jpeg_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", **jpeg_arrays())
    (x, y), _ = cifar10_jpeg(tmp_path / "c.npz")
    assert x.shape == (3, 3, 32, 32)
    assert (x.dtype, y.dtype) == (np.uint8, np.int64)
    assert np.abs(x[2, :, 5, 5].astype(int) - [20, 100, 200]).max() <= 3
    assert list(y) == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": np.arange(5)}, "4 offsets for 5 labels"),
        ({"test_jpeg": np.zeros(5000, np.uint8)}, "image 0"),
        (jpeg_arrays(size=16), r"shape \(16, 16, 3\)"),
        ({"train_labels": None}, "no array train_labels"),
    ],
    ids=["labels", "bytes", "size", "missing"],
)
def test_damaged_jpeg_files(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    arrays = {name: a for name, a in (jpeg_arrays() | changes).items() if a is not None}
    np.savez(tmp_path / "c.npz", **arrays)
    with pytest.raises(CorruptFile, match=words):
        cifar10_jpeg(tmp_path / "c.npz")


def batches(n: int = 2) -> dict[str, tuple[np.ndarray, list[int]]]:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    return {name: (images(n + i), [(i + k) % 10 for k in range(n + i)]) for i, name in enumerate(names)}


@pytest.mark.parametrize("kind", ["python", "bin"])
def test_original_files(tmp_path: Path, kind: str) -> None:
    for name, (x, y) in batches().items():
        flat = x.reshape(len(x), -1)
        if kind == "python":
            content = pickle.dumps({b"data": flat, b"labels": y, b"batch_label": b"x"}, protocol=2)
            (tmp_path / name).write_bytes(content)
        else:
            records = np.concatenate([np.array(y, np.uint8)[:, None], flat], axis=1)
            records.tofile(tmp_path / f"{name}.bin")
    (x, y), (xt, yt) = cifar10_original(tmp_path)
    wanted = list(batches().values())
    assert np.array_equal(x, np.concatenate([b[0] for b in wanted[:5]]))
    assert list(y) == [label for b in wanted[:5] for label in b[1]]
    assert np.array_equal(xt, wanted[5][0])
    assert list(yt) == wanted[5][1]


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("code of the file ran",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({b"data": Evil()}), "builtins.print"),
        (b"not a pickle", "not a batch"),
        (pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}, protocol=2), "3072"),
        (pickle.dumps({}), "not a batch"),
    ],
)
def test_damaged_original_files(
    tmp_path: Path, content: bytes, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in batches():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CorruptFile, match=words):
        cifar10_original(tmp_path)
    assert capsys.readouterr().out == ""


def test_folders_without_cifar(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="data_batch_1"):
        cifar10_original(tmp_path)
    for name in batches():
        (tmp_path / f"{name}.bin").write_bytes(b"x" * 100)
    with pytest.raises(CorruptFile, match="multiple of 3073"):
        cifar10_original(tmp_path)


@pytest.mark.slow
def test_the_papers_experiment_goes_on_where_it_stopped(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")
    np.savez(tmp_path / "c.npz", **jpeg_arrays(40))
    command = [sys.executable, str(root / "benchmarks" / "bench_train.py"), "--data", str(tmp_path / "c.npz")]
    command += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "train.json"), "--epochs", "1"]
    command += ["--select", "baseline", "bits8-lr0.003-none", "--jobs", "2"]
    for lines in (2, 0):
        run = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("1/1: accuracy") == lines, "finished runs are not done again"
    runs = json.loads((tmp_path / "train.json").read_text())["runs"]
    assert [run["point"]["bits"] for run in runs] == [32, 8]
    base, compressed = (run["best"] for run in runs)
    wanted = (compressed["accuracy"] / base["accuracy"]) ** 2 / (compressed["density"] * 8 / 32)
    assert runs[1]["efficiency"]["2"] == pytest.approx(wanted)


# --- figures -------------------------------------------------------------------------------------


def test_figures_from_stored_runs(tmp_path: Path) -> None:
    runs = figures.paper_runs()
    assert len(runs) == 35
    paths = figures.draw(runs, tmp_path / "paper", suffixes=[".png"])
    assert [p.name for p in paths] == [f"figure-{i}.png" for i in (2, 3, 4, 5)], "the tables hold no epochs"
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
    for run in runs:
        run["history"] = [{"epoch": e, "accuracy": 0.1 * e, "train_accuracy": 0.2 * e} for e in (1, 2, 3)]
    assert len(figures.draw(runs, tmp_path / "all", suffixes=[".svg"])) == 6
    (lines,) = figures.accuracy_over_epochs(runs, bits=16).axes
    assert len(lines.lines) == 8, "seven with 16 bits and the baseline"
    assert list(lines.lines[1].get_ydata()) == pytest.approx([10, 20, 30])
    (lines,) = figures.density_over_bits(runs).axes
    assert list(lines.lines[3].get_ydata()) == pytest.approx([25.05, 12.53, 8.68, 6.56, 6.58])
    with pytest.raises(InvalidArgument, match="no runs"):
        figures.draw([], tmp_path)


def test_the_stored_results_can_be_drawn(root: Path, tmp_path: Path) -> None:
    stored = json.loads((root / "benchmarks" / "results" / "train.json").read_text())
    assert any(run["name"].startswith("baseline") for run in stored["runs"])
    assert figures.draw(stored["runs"], tmp_path, suffixes=[".png"])


# --- the command, and the package without PyTorch ------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")
    (tmp_path / "mine.py").write_text(USERS_SCRIPT)
    arguments = [
        "train",
        str(tmp_path / "mine.py"),
        "-o",
        str(tmp_path / "run"),
        "--epochs",
        "2",
        "--lr",
        "0.1",
        "--group-decay",
        "0.01",
        "--gamma-ramp",
        "0.3",
        "--rows",
        "1.weight=0.9",
        "--columns",
        "1.weight=0.8",
    ]
    done = CliRunner().invoke(app, [*arguments, "--json", "--onnx", str(tmp_path / "mine.onnx")])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert [row["epoch"] for row in printed["epochs"]] == [1, 2]
    assert printed["best"]["accuracy"] > 0.5
    assert (tmp_path / "mine.onnx").is_file()
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    assert "density %" in shown.stdout
    other = CliRunner().invoke(app, [*arguments, "--bits", "4"])
    assert other.exit_code == 1
    assert "bits 8 there, 4 here" in " ".join(other.output.split())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("x = 1", "no function model()"),
        ("def model(): return 1\ndef data(): return 1, 2", "model() gave int"),
        ("import torch\ndef model(): return torch.nn.Linear(1, 1)\ndef data(): return 1", "no pair"),
        ("def model(: pass", "mine.py, line 1: SyntaxError"),
        ("import torch\ndef model():\n    return 1 / 0\ndef data(): return 1", "line 3: ZeroDivisionError"),
        (
            "import torch\ndef model(): return torch.nn.Linear(1, 1)\ndef data(): return iter([1]), 2",
            "whose number is not known",
        ),
    ],
)
def test_scripts_that_give_nothing(tmp_path: Path, script: str, words: str) -> None:
    pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")
    (tmp_path / "mine.py").write_text(script)
    done = CliRunner().invoke(app, ["train", str(tmp_path / "mine.py"), "-o", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert words in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--gamma", "nan"], 2, "gamma"),
        (["--rows", "1.weight"], 2, "expected LAYER=SHARE"),
        (["--rows", "1.weight=2"], 2, "a share above 0 and at most 1"),
        (["--columns", "1.weight:0.5"], 2, "--columns: expected LAYER=SHARE"),
        (["--rows", "nothing=0.5"], 1, "'nothing' fits none of"),
        (["--bits", "1"], 2, "bits"),
        (["--device", "nowhere"], 2, "'nowhere' cannot be used"),
        (["--onnx", "missing/net.onnx"], 2, "there is no folder missing"),
        (["--skip", "head.*"], 2, "'head.*' fits none of 1.weight"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], code: int, words: str) -> None:
    pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")
    (tmp_path / "mine.py").write_text(USERS_SCRIPT)
    done = CliRunner().invoke(
        app, ["train", str(tmp_path / "mine.py"), "-o", str(tmp_path / "run"), *options]
    )
    assert done.exit_code == code, done.output
    assert words in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()


def test_without_pytorch() -> None:
    """The package and all that needs no PyTorch work where it is missing; the rest says what to install."""
    code = """
import sys
sys.modules["torch"] = None
import rdquant as rdq, rdquant.train as train
from rdquant.train import figures, cifar10_jpeg
assert rdq.prune_quantize([1.0, 0.1], 0.5, 8)[1] == 0
for name in ("fit", "PruneThenQuantize", "paper_network", "export_onnx", "coded_size", "load_best"):
    try:
        getattr(train, name)
    except rdq.BackendUnavailable as error:
        assert "pip install '.[train]'" in str(error)
    else:
        raise SystemExit(name)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr


def test_nothing_loads_pytorch_unasked() -> None:
    code = "import sys, rdquant, rdquant.cli, rdquant.train as t; t.efficiency_score; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0
