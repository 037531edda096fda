"""The oneDNN backend on real models, against ONNX Runtime."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import rdquant

onnxruntime = pytest.importorskip("onnxruntime")
MODELS = ("squeezenet1.1-7", "mobilenet_v1_0.75", "efficientnet_lite0", "cifar10_resnet20", "yolox_nano")


def _peer(path: Path) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """Input name, a picture of seeded noise and ONNX Runtime's outputs for it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    sizes = [d if isinstance(d, int) else (1 if i == 0 else 224) for i, d in enumerate(port.shape)]
    x = np.random.default_rng(0).random(sizes, dtype=np.float32)
    x *= np.float32(255 if "yolox" in path.name else 1)
    return port.name, x, session.run(None, {port.name: x})


def _session(path: Path, threads: int) -> rdquant.Session:
    try:
        return rdquant.Session(path, backend="onednn", threads=threads)
    except rdquant.errors.BackendUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_onnxruntime(shared_data: Path, name: str, threads: int) -> None:
    path = shared_data / "models" / f"{name}.onnx"
    port, x, expected = _peer(path)
    session = _session(path, threads)
    for ours, theirs in zip(session.run({port: x}).values(), expected, strict=True):
        assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()


def test_threads_share_a_session(shared_data: Path) -> None:
    path = shared_data / "models" / "squeezenet1.1-7.onnx"
    port, x, expected = _peer(path)
    session = _session(path, 1)
    with ThreadPoolExecutor(4) as pool:
        for outputs in pool.map(lambda _: session.run({port: x}), range(12)):
            (ours,) = outputs.values()
            assert np.abs(ours - expected[0]).max() <= 2e-5 * np.abs(expected[0]).max()


def test_concatenations_cost_nothing(shared_data: Path) -> None:
    path = shared_data / "models" / "squeezenet1.1-7.onnx"
    port, x, _ = _peer(path)
    rows = _session(path, 1).plan({port: x})
    assert {row["kernel"] for row in rows if row["op"] == "concat"} == {"alias"}
    assert not [row for row in rows if row["op"] == "reorder"]
