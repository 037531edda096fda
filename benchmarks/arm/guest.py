"""One network by one engine, on one thread, inside QEMU: python guest.py ENGINE MODEL INPUTS RUNS [OUTPUTS.npz]

INPUTS: an .npz, or an .npy called after the only input. RUNS runs are marked by getppid(), after two that are not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, Any]


def rdquant(model: str, inputs: Arrays) -> Callable[[], Arrays]:
    import rdquant as rdq

    session = rdq.Session(model, threads=1)
    return lambda: session.run(inputs)


def onnxruntime(model: str, inputs: Arrays) -> Callable[[], Arrays]:
    import onnxruntime as ort

    ort.set_default_logger_severity(3)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda: dict(zip(names, session.run(None, inputs), strict=True))


def ncnn(model: str, inputs: Arrays) -> Callable[[], Arrays]:
    """MODEL: NAME.param, beside NAME.bin."""
    import ncnn as engine

    net = engine.Net()
    net.opt.num_threads = 1
    net.load_param(model)
    net.load_model(model.removesuffix(".param") + ".bin")
    (image,) = inputs.values()
    array = np.ascontiguousarray(image[0])
    held = (engine.Mat(array), array)  # a Mat does not own its array

    def run() -> Arrays:
        extractor = net.create_extractor()
        extractor.input("in0", held[0])
        return {"out0": extractor.extract("out0")[1]}

    return run


def nothing(_model: str, inputs: Arrays) -> Callable[[], Arrays]:
    """What every process needs: Python, NumPy and the inputs."""
    return lambda: inputs


ENGINES = {"rdquant": rdquant, "onnxruntime": onnxruntime, "ncnn": ncnn, "nothing": nothing}


def main() -> None:
    engine, model, inputs, runs = sys.argv[1:5]
    given = np.load(inputs)
    run = ENGINES[engine](model, {Path(inputs).stem: given} if inputs.endswith(".npy") else dict(given))
    for _ in range(2):
        outputs = run()
    os.getppid()
    for _ in range(int(runs)):
        outputs = run()
        os.getppid()
    if len(sys.argv) > 5:
        np.savez(sys.argv[5], **outputs)


if __name__ == "__main__":
    main()
