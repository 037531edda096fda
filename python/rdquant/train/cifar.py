"""CIFAR-10 as arrays: the original files, or a file of JPEG images. Needs no PyTorch."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, InvalidArgument, needed

__all__ = ["cifar10_jpeg", "cifar10_original"]

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]
_SHAPE = (3, 32, 32)


def cifar10_jpeg(path: str | os.PathLike[str]) -> tuple[Split, Split]:
    """(images, labels) to train with and to test with, from an .npz file of JPEG images.

    path: arrays `train_jpeg` and `test_jpeg` (uint8: files end to end), `train_offsets` and `test_offsets` (n + 1: image i
        is bytes offsets[i] to offsets[i + 1]), `train_labels` and `test_labels`.

    Images are uint8 of shape (n, 3, 32, 32), labels int64. Raises CorruptFile where an array is missing or an image is
    not 32 × 32, OSError where the file cannot be read.
    """
    with np.load(path) as file:
        missing = {f"{s}_{p}" for s in ("train", "test") for p in ("jpeg", "offsets", "labels")} - set(file)
        if missing:
            raise CorruptFile(f"{path}: no array {', '.join(sorted(missing))}")
        arrays = {name: file[name] for name in file.files}
    train, test = (
        _decoded(str(path), *(arrays[f"{split}_{part}"] for part in ("jpeg", "offsets", "labels")))
        for split in ("train", "test")
    )
    return train, test


def _decoded(path: str, jpeg: NDArray[np.uint8], offsets: NDArray[Any], labels: NDArray[Any]) -> Split:
    with needed():
        from PIL import Image, UnidentifiedImageError

    if len(offsets) != len(labels) + 1:
        raise CorruptFile(f"{path}: {len(offsets)} offsets for {len(labels)} labels; expected one more")
    data = jpeg.tobytes()
    images = np.empty((len(labels), *_SHAPE), np.uint8)
    for i in range(len(labels)):
        try:
            with Image.open(io.BytesIO(data[offsets[i] : offsets[i + 1]])) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise CorruptFile(f"{path}: image {i}: {error}") from None
        if pixels.shape != (32, 32, 3):
            raise CorruptFile(f"{path}: image {i} has shape {pixels.shape}; expected (32, 32, 3)")
        images[i] = pixels.transpose(2, 0, 1)
    return images, labels.astype(np.int64)


def cifar10_original(folder: str | os.PathLike[str]) -> tuple[Split, Split]:
    """(images, labels) to train with and to test with, from the files as CIFAR-10's authors give them.

    folder: cifar-10-batches-py (files data_batch_1 … data_batch_5 and test_batch) or cifar-10-batches-bin (the same with
        .bin). The first kind are pickles, which are read without running any code that they might hold.

    Images are uint8 of shape (n, 3, 32, 32), labels int64. Raises InvalidArgument where the folder holds neither,
    CorruptFile where a file does not follow its format.
    """
    root = Path(folder)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for suffix, read in (("", _read_pickle), (".bin", _read_binary)):
        if all((root / f"{name}{suffix}").is_file() for name in names):
            parts = [read(root / f"{name}{suffix}") for name in names]
            train = (np.concatenate([p[0] for p in parts[:5]]), np.concatenate([p[1] for p in parts[:5]]))
            return train, parts[5]
    raise InvalidArgument(
        f"{root}: expected data_batch_1 … data_batch_5 and test_batch, or the same with .bin"
    )


def _read_binary(path: Path) -> Split:
    """Records of a byte label and 3072 bytes of pixels, planes of red, green and blue."""
    data = np.fromfile(path, np.uint8)
    if data.size == 0 or data.size % 3073:
        raise CorruptFile(f"{path}: {data.size} bytes; expected a multiple of 3073")
    records = data.reshape(-1, 3073)
    return records[:, 1:].reshape(-1, *_SHAPE), records[:, 0].astype(np.int64)


class _ArraysOnly(pickle.Unpickler):
    """Loads what NumPy arrays are pickled as, and nothing else."""

    _ALLOWED = frozenset(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy", "_codecs")
        for name in ("_reconstruct", "ndarray", "dtype", "encode")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR-10 file needs")
        if name == "_reconstruct":
            return _reconstruct()
        return super().find_class(module, name)


def _reconstruct() -> Any:
    """NumPy's own function behind pickled arrays, wherever this version keeps it."""
    return np.zeros(0).__reduce__()[0]


def _read_pickle(path: Path) -> Split:
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        data, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError, AttributeError) as error:
        raise CorruptFile(f"{path}: not a batch of CIFAR-10: {error}") from None
    if data.dtype != np.uint8 or data.shape != (len(labels), 3072):
        raise CorruptFile(f"{path}: data is {data.dtype} of {data.shape}; expected uint8 of (n, 3072)")
    return data.reshape(-1, *_SHAPE), labels.astype(np.int64)
