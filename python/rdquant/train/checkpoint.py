"""Checkpoints: written whole or not at all, with the state of every source of random numbers."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np

from .._files import replacing
from ..errors import CorruptFile
from ._torch import torch

__all__ = ["load_checkpoint", "random_state", "save_checkpoint", "set_random_state"]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` to `path`: after a crash at any moment, the file is the old one or the new one.

    Raises RdquantError where the file cannot be written.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The state in `path`, its tensors on the CPU; None where there is no file.

    Only tensors and plain values are loaded: a file cannot run code. Raises CorruptFile where it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptFile(f"{path}: not a checkpoint of rdquant: {reason}") from None
    return state


def random_state() -> dict[str, Any]:
    """State of PyTorch's (all devices), NumPy's and Python's global random numbers, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the global one is meant
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on with the random numbers of `random_state()`."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
