"""Small pictures and tables of labels for the tests of rdquant.data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, width: int = 40, height: int = 40) -> Image.Image:
    """Noise in RGB, the same for the same seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def write_csv(folder: Path, rows: list[str], header: str = "file,label", name: str = "labels.csv") -> Path:
    """A table of labels in the folder; returns its path."""
    (folder / name).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder / name


def half(image: Image.Image, factor: float = 0.5) -> np.ndarray:
    """A preprocessing of one's own: the pixels, channels first, times a factor."""
    return np.asarray(image, np.float64).transpose(2, 0, 1) * factor
