"""Emitted C compiled on this machine: what the tests of `rdquant.emit` share."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

import models
import rdquant as rdq
from int8_networks import layer, pair
from networks import Net
from rdquant.emit.files import SHARED, SOURCES, kernel_text

Array = NDArray[Any]
COMPILER = shutil.which("gcc")
FLAGS = [
    "-std=c99",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]
ROUNDINGS = {"float": [], "integers": ["-DRDQ_FLOAT=0", "-DRDQ_DOUBLE=0"]}
HEADERS = ("rdq.h", "rdq_code.h", "rdq_round.h", "rdq_simd.h", "rdq_sums.h")


@functools.cache
def kernels(rounding: str) -> Path:
    """A folder with the object files of all kernels, compiled once."""
    folder = Path(tempfile.mkdtemp(prefix="rdq-"))
    for file in {SHARED, *SOURCES.values(), *HEADERS}:
        (folder / file).write_text(kernel_text(file), encoding="utf-8")
    for file in {SHARED, *SOURCES.values()}:
        compile_c([*ROUNDINGS[rounding], "-c", file, "-o", file.replace(".c", ".o")], folder)
    return folder


def compile_c(arguments: list[str], folder: Path) -> None:
    assert COMPILER is not None
    done = subprocess.run(
        [COMPILER, *FLAGS, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def host_program(firmware: rdq.Firmware, rounding: str) -> Path:
    """host.c of an emitted network, with sanitizers."""
    folder = kernels(rounding)
    program = firmware.path / f"host_{rounding}"
    objects = sorted(str(p) for p in folder.glob("*.o"))
    compile_c([f"{firmware.name}.c", "host.c", *objects, "-o", str(program)], firmware.path)
    return program


def answers(program: Path, inputs: Mapping[str, Array]) -> bytes:
    """Bytes of the outputs for bytes of the inputs."""
    data = b"".join(np.ascontiguousarray(a).tobytes() for a in inputs.values())
    done = subprocess.run([str(program)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def noise(port: rdq.graph.TensorInfo, seed: int) -> Array:
    """An input of a model, an open batch taken as 1."""
    random = np.random.default_rng(seed)
    shape = [s if isinstance(s, int) else 1 for s in port.shape]
    if np.issubdtype(port.dtype, np.integer):
        limits = np.iinfo(port.dtype)
        return random.integers(limits.min, limits.max + 1, shape).astype(port.dtype)
    return (random.standard_normal(shape) * (1 + seed)).astype(port.dtype)


def same_bits(model: onnx.ModelProto | Path, folder: Path, runs: int = 3, **options: Any) -> rdq.Firmware:
    """Emits, compiles and runs `model` with both ways of rounding: all bytes are those of the reference."""
    firmware = rdq.emit_c(model, folder, **options)
    programs = [host_program(firmware, rounding) for rounding in ROUNDINGS]
    with rdq.Session(model, backend="reference") as session:
        for seed in range(runs):
            inputs = {port.name: noise(port, seed) for port in session.inputs}
            expected = b"".join(np.ascontiguousarray(a).tobytes() for a in session.run(inputs).values())
            for program in programs:
                assert answers(program, inputs) == expected, f"{program.name}, seed {seed}"
    return firmware


def whole(net: Net, out: str, shape: Sequence[int | str], axes: str = "abcd") -> onnx.ModelProto:
    return models.build(net.nodes, net.tensors, {"x": shape}, {out: list(axes)})


def small() -> onnx.ModelProto:
    net = Net()
    return whole(net, pair(net, layer(net, pair(net, "x", -2, 2), 8, 3), -3, 3), ("n", 3, 8, 8))
