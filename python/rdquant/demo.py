"""The demonstration: a whole study of a small network on digits, all of it in the package or scikit-learn."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .sweep import Study

__all__ = ["BITS", "MAX_LOSS", "digits_model", "run_demo"]

BITS = range(2, 13)
"""Bits that `run_demo` studies."""
MAX_LOSS = 0.8
"""Loss that its choices may have, percentage points, as in thesis 004."""


def digits_model() -> Path:
    """File of the small network for 8×8 digits that the package carries; tools/train_digits.py made it."""
    return Path(str(files(__package__) / "assets" / "digits.onnx"))


def run_demo(folder: str | os.PathLike[str], progress: bool = True) -> Study:
    """Study the package's digits network on the 599 test digits; it and the results are kept in `folder`.

    A run that was interrupted is resumed. Takes less than a minute on two cores. `progress` shows a bar on
    stderr. Raises RdquantError where the folder cannot be written.
    """
    from .errors import path_of, require

    require("study")
    from ._files import replacing
    from .data import Digits
    from .graph import load
    from .sweep import sweep

    model = path_of("folder", folder) / "digits.onnx"  # beside the results, so that their commands run
    model.parent.mkdir(parents=True, exist_ok=True)
    with replacing(model) as partial:
        partial.write_bytes(digits_model().read_bytes())
    return sweep(
        load(model),
        Digits("test"),
        bits=BITS,
        metrics=("top1", "kl"),
        max_loss=MAX_LOSS,
        store=folder,
        progress=progress,
    )
