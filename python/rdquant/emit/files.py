"""The folder that `emit_c` writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._files import replacing

__all__ = ["SHARED", "SOURCES", "is_taken", "kernel_files", "kernel_text", "write_folder"]

SOURCES = {
    "rdq_conv": "rdq_conv.c",
    "rdq_conv_pair": "rdq_conv.c",
    "rdq_coded_conv": "rdq_conv.c",
    "rdq_dense": "rdq_dense.c",
    "rdq_coded_dense": "rdq_dense.c",
    "rdq_depthwise": "rdq_depthwise.c",
    "rdq_grouped": "rdq_grouped.c",
    "rdq_grouped_f32": "rdq_grouped.c",
    "rdq_add": "rdq_pair.c",
    "rdq_mul": "rdq_pair.c",
    "rdq_max_pool": "rdq_pool.c",
    "rdq_mean_pool": "rdq_pool.c",
    "rdq_mean_pool_f32": "rdq_pool.c",
    "rdq_lookup": "rdq_move.c",
    "rdq_move": "rdq_move.c",
    "rdq_fill": "rdq_move.c",
    "rdq_pick": "rdq_move.c",
    "rdq_bytes": "rdq_move.c",
    "rdq_quantize": "rdq_float.c",
    "rdq_dequantize": "rdq_float.c",
    "rdq_softmax": "rdq_float.c",
    "rdq_add_f32": "rdq_float.c",
    "rdq_add_mean_f32": "rdq_float.c",
    "rdq_mean_f32": "rdq_float.c",
}
"""Kernel → the file that it is in."""
SHARED = "rdq_finish.c"
"""What several of those files call."""
_HEADERS = ("rdq.h", "rdq_code.h", "rdq_round.h", "rdq_simd.h", "rdq_sums.h")


def is_taken(name: str) -> bool:
    """Whether NAME.c or NAME.h would replace another file of the folder."""
    others = {"host.c", "main.c", "sample.h", SHARED, *_HEADERS, *SOURCES.values()}
    return any(f"{name.lower()}.{end}" in others for end in ("c", "h"))


def kernel_files(kernels: Iterable[str]) -> list[str]:
    """The C files that have these kernels, and what they share, sorted."""
    return sorted({SHARED, *(SOURCES[kernel] for kernel in kernels)})


def kernel_text(name: str) -> str:
    """The text of a C file of the package."""
    return (resources.files(__package__) / "c" / name).read_text(encoding="utf-8")


def write_folder(
    folder: Path,
    made: Mapping[str, Any],
    name: str,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[NDArray[Any]],
) -> None:
    """All files of a network.

    made: what `_core.emit` gives. inputs, outputs: the stored input, of the model's dtypes and shapes, and its answer.
    Raises RdquantError where a file cannot be written.
    """
    files = kernel_files(made["kernels"])
    texts = {file: kernel_text(file) for file in (*_HEADERS, *files)}
    texts |= {f"{name}.c": made["source"], f"{name}.h": made["header"], "host.c": made["host"]}
    texts |= {"main.c": made["main"], "sample.h": _sample_text(inputs, outputs)}
    values = {
        "@NAME@": name,
        "@SOURCES@": " ".join([f"{name}.c", *files]),
        "@TAPS@": str(max(1, made["taps"])),
        "@KEPT@": " ".join(
            f"-Wl,-u,{name}_{verb}{i}"
            for verb, ports in (("write_input", made["inputs"]), ("read_output", made["outputs"]))
            for i in range(len(ports))
        ),
    }
    for file in ("Makefile", "CMakeLists.txt"):
        text = kernel_text(f"{file}.in")
        for key, value in values.items():
            text = text.replace(key, value)
        texts[file] = text
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from ..errors import RdquantError

        why = "it is a file, not a folder" if folder.is_file() else error.strerror or error
        raise RdquantError(f"{folder}: {why}") from error
    for file, text in texts.items():
        with replacing(folder / file) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _sample_text(inputs: Mapping[str, NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> str:
    """Bytes of the stored input and of its answer, in the model's order."""
    lines = [
        "/* One input, and what the network must answer: bytes of the model's types. */",
        '#include "rdq.h"',
        "",
    ]
    for kind, arrays in (("input", list(inputs.values())), ("output", outputs)):
        for i, array in enumerate(arrays):
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            lines.append(f"static const uint8_t {kind}{i}_sample[{len(data)}] RDQ_ALIGNED = {{")
            lines += [
                "    " + ", ".join(map(str, row)) + "," for row in np.array_split(data, -(-len(data) // 24))
            ]
            lines.append("};")
    return "\n".join(lines) + "\n"


def load_table(name: str) -> Any:
    """A JSON file of the package."""
    return json.loads((resources.files(__package__) / name).read_text(encoding="utf-8"))
