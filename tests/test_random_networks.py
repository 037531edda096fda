"""Networks made at random, on both backends, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import rdquant
from random_networks import CHANNELS, SIDE, RandomNetwork
from rdquant.runtime.engine import engine_backends

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("seed", range(60))
def test_both_backends_answer_what_onnxruntime_answers(seed: int) -> None:
    model = RandomNetwork(seed).model()
    loaded = rdquant.load(model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    peer = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for backend in (name for name, missing in engine_backends().items() if not missing):
        session = rdquant.Session(loaded, backend=backend, threads=1 + seed % 2)
        for batch in (1, 3):
            size = (batch, CHANNELS, SIDE, SIDE)
            x = {"x": np.random.default_rng(seed).uniform(-1, 1, size).astype(np.float32)}
            found = session.run(x)
            for port, expected in zip(peer.get_outputs(), peer.run(None, x), strict=True):
                bound = 1e-4 * max(float(np.abs(expected).max()), 1e-3)
                np.testing.assert_allclose(
                    found[port.name], expected, rtol=0, atol=bound, err_msg=f"{backend} {port.name}"
                )
