"""What a compressed network would take in a file."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..entropy import entropy
from .compress import PruneThenQuantize

__all__ = ["Coder", "coded_size", "lzma_coder"]

Levels = Mapping[str, tuple[NDArray[np.int32], float]]
Coder = Callable[[Levels], bytes]


def lzma_coder(levels: Levels) -> bytes:
    """Levels in the narrowest integers and steps in float32, one after the other, as LZMA. A stand-in: it knows no
    statistics of weights, and an entropy coder does better."""
    pieces = []
    for values, step in levels.values():
        most = int(np.abs(values).max(initial=0))
        narrow = next(t for t in (np.int8, np.int16, np.int32) if most <= np.iinfo(t).max)
        pieces += [np.float32(step).tobytes(), values.astype(narrow).tobytes()]
    return lzma.compress(b"".join(pieces), preset=1)


def coded_size(compression: PruneThenQuantize, coder: Coder = lzma_coder) -> dict[str, Any]:
    """Sizes of the compressed layers' weights as they are now, in bytes.

    Args:
        compression: of a model in training.
        coder: bytes of {name: (levels, step)}; LZMA by default.

    Returns:
        density (share of weights that are not 0), weights (their number), promised_bytes (density·bits per weight, the
        paper's RC_total, which counts no positions), entropy_bytes (order-0 entropy of the levels, a table for each
        layer, tables not counted), coded_bytes (what `coder` wrote) and coder (its name). Layers that are pruned only
        have no levels: entropy_bytes is then None, and their float32 values are coded.
    """
    count = sum(w.numel() for w in compression.weights.values())
    bits = compression.now[1]
    sizes = {
        "density": compression.density,
        "weights": count,
        "promised_bytes": compression.density * bits * count / 8,
        "entropy_bytes": None,
    }
    if bits == 32:
        values = [w.detach().cpu().float().numpy().tobytes() for w in compression.weights.values()]
        return sizes | {"coded_bytes": len(lzma.compress(b"".join(values), preset=1)), "coder": "lzma_coder"}
    levels = compression.levels()
    sizes["entropy_bytes"] = sum(entropy(values) * values.size for values, _ in levels.values()) / 8
    return sizes | {
        "coded_bytes": len(coder(levels)),
        "coder": getattr(coder, "__name__", type(coder).__name__),
    }
