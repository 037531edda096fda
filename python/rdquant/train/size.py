"""What a compressed network takes in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..codec.container import TENSOR, file_bytes
from ..codec.sections import pack_floats, pack_quantized
from ..entropy import entropy
from ..errors import InvalidArgument
from ..quant import Midtread
from .compress import PruneThenQuantize

__all__ = ["Coder", "Levels", "coded_size", "coder_name", "level_file"]

Levels = Mapping[str, tuple[NDArray[np.int32], float]]
Coder = Literal["fast", "max"] | Callable[[Levels], bytes]
_FLOAT = 1  # ONNX's TensorProto.DataType


def level_file(levels: Levels, effort: str = "fast", threads: int = 1) -> bytes:
    """A compressed file (.rdq) of layers' weights: all that is needed to get them back, bit for bit.

    Args:
        levels: {name: (levels, step)}, as `PruneThenQuantize.levels()` gives them.
        effort: "fast" or "max" (smaller, slower), as for `rdquant.compress`.
        threads: up to this many threads; 0: all cores.

    Returns:
        The file; `rdquant.codec.CompressedFile(...).tensor(name)` is the layer's weights in float32. Biases and batch norm
        are not in it.

    Raises InvalidArgument for a step that is negative or not finite.
    """
    sections = []
    for name, (values, step) in levels.items():
        if not 0 <= step < math.inf:
            raise InvalidArgument(f"{name}: expected a finite step of at least 0, got {step!r}")
        if step > 0:
            data = pack_quantized(values, _FLOAT, Midtread(step), effort, threads)
        else:  # nothing survived
            data = _floats(np.zeros(values.shape, np.float32), effort)
        sections.append((TENSOR, name, data))
    return file_bytes(sections)


def coded_size(compression: PruneThenQuantize, coder: Coder = "fast") -> dict[str, Any]:
    """Sizes of the compressed layers' weights as they are now, in bytes.

    Args:
        compression: of a model in training.
        coder: effort of `level_file`, "fast" or "max"; or a function that gives the bytes of {name: (levels, step)}.

    Returns:
        density (share of weights that are not 0), weights (their number), promised_bytes (density·bits per weight, the
        paper's RC_total, which counts no positions), entropy_bytes (order-0 entropy of the levels, a table for each
        layer, tables not counted), coded_bytes (the file that `coder` wrote) and coder (its name). Layers that are pruned
        only have no levels: entropy_bytes is then None, and the file holds their float32 values.

    Raises InvalidArgument for another coder.
    """
    name, (_, bits) = coder_name(coder), compression.now
    count = sum(w.numel() for w in compression.weights.values())
    sizes = {
        "density": compression.density,
        "weights": count,
        "promised_bytes": compression.density * bits * count / 8,
        "entropy_bytes": None,
        "coder": name,
    }
    if bits == 32:
        effort = coder if isinstance(coder, str) else "fast"
        floats = {n: w.detach().cpu().float().numpy() for n, w in compression.weights.items()}
        data = file_bytes([(TENSOR, n, _floats(w, effort)) for n, w in floats.items()])
        return sizes | {"coded_bytes": len(data), "coder": effort}
    levels = compression.levels()
    sizes["entropy_bytes"] = (
        sum(entropy(values) * values.size for values, _ in levels.values() if values.size) / 8
    )
    data = level_file(levels, coder) if isinstance(coder, str) else coder(levels)
    return sizes | {"coded_bytes": len(data)}


def coder_name(coder: Coder) -> str:
    """The effort, or the function's name; raises InvalidArgument for what is neither."""
    if callable(coder):
        return getattr(coder, "__name__", type(coder).__name__)
    if coder not in ("fast", "max"):
        raise InvalidArgument(f"coder: expected 'fast', 'max' or a function, got {coder!r}")
    return coder


def _floats(values: NDArray[np.float32], effort: str) -> bytes:
    data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    return pack_floats(data, values.shape, _FLOAT, np.float32, effort, 1)
