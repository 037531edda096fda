"""Labelled images, photos with boxes and arrays in the form a network takes: folders, .npz files, scikit-learn's digits."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, InvalidArgument
from .boxes import CocoFolder, holds_boxes
from .dataset import ArrayDataset, Dataset, Digits
from .images import ImageArray, ImageFolder
from .preprocess import PRESETS, Layout, Letterbox, Preprocess, Preset, Size
from .scene import Frame, Scene

__all__ = [
    "PRESETS",
    "ArrayDataset",
    "CocoFolder",
    "Dataset",
    "Digits",
    "Frame",
    "ImageArray",
    "ImageFolder",
    "Letterbox",
    "Preset",
    "Scene",
    "input_geometry",
    "open_dataset",
]

_KEYS = (("x", "y"), ("images", "labels"))


class _Tensor(Protocol):
    @property
    def shape(self) -> tuple[int | str | None, ...]: ...


class _Network(Protocol):
    @property
    def inputs(self) -> Sequence[_Tensor]: ...


def open_dataset(
    source: str | os.PathLike[str] | Dataset,
    preprocess: Preprocess | None = None,
    *,
    size: Size = None,
    layout: Layout | None = None,
    batch_size: int = 32,
    labels: str | os.PathLike[str] | None = None,
    model: _Network | None = None,
    labelled: bool = True,
) -> Dataset:
    """The dataset that a user's words mean, as the command line takes them.

    `source` is a Dataset (returned as it is), "digits" (scikit-learn's test split; a folder of that name
    wins), a folder (with images/ and labels/ in it `CocoFolder`, which needs a `preprocess`; else `ImageFolder`,
    preprocess "imagenet" unless given) or a file .npz with arrays x and y,
    or images and labels. An .npz without `preprocess` holds tensors ready for the network; with it, uint8
    images [n, height, width, 3] or [n, height, width]. `size` and `layout` default to what the input of
    `model` asks for (`input_geometry`), then to the preset's size and NCHW.
    `labelled` False: loose images in a folder will do, and a file without labels, which nobody looks at then.

    Raises InvalidArgument where `source` or an option does not fit, CorruptFile where a file cannot be read.
    """
    if isinstance(source, Dataset):
        return source
    path = Path(source)
    if labels is not None and not path.is_dir():
        raise InvalidArgument(f"labels: only a folder of images takes a labels file, not {path}")
    crop = size
    if model is not None:
        wanted_layout, wanted_size = input_geometry(model.inputs[0].shape)
        layout = layout or wanted_layout
        if size is None and (preprocess is None or isinstance(preprocess, str | Preset)):
            crop = wanted_size
    layout = layout or "NCHW"
    if holds_boxes(path):
        if labels is not None:
            raise InvalidArgument(f"labels: {path} has files of boxes in labels/; it takes no labels file")
        if preprocess is None:
            raise InvalidArgument(
                f"preprocess: for the photos with boxes in {path}, name one: yolox or yolov8"
            )
        return CocoFolder(path, preprocess, crop, batch_size, layout=layout)
    if path.is_dir():
        return ImageFolder(
            path, preprocess or "imagenet", crop, batch_size, labels, layout=layout, labelled=labelled
        )
    if path.suffix == ".npz":
        x, y = _read_npz(path, labelled)
        if preprocess is None:
            if size is not None:
                raise InvalidArgument(
                    f"size: {path} holds tensors ready for the network unless preprocess is given"
                )
            return ArrayDataset(x, y, batch_size=batch_size, name=path.stem)
        return ImageArray(x, y, preprocess, crop, batch_size, layout=layout, name=path.stem)
    if str(source) == "digits":
        if preprocess is not None or size is not None:
            raise InvalidArgument("digits: ready for the network, 8 × 8; they take no preprocess and no size")
        return Digits("test", batch_size=batch_size)
    raise InvalidArgument(f"{path}: expected a folder of images, an existing file .npz, or the word digits")


def input_geometry(shape: Sequence[int | str | None]) -> tuple[Layout, tuple[int, int] | None]:
    """(layout, (height, width)) that a network's input shape asks for; None where height or width are free.

    NHWC is recognised by a last dimension of 1 or 3 where the second is neither.
    """
    if len(shape) != 4:
        return "NCHW", None
    layout: Layout = "NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    height, width = shape[1:3] if layout == "NHWC" else shape[2:4]
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return layout, (height, width)
    return layout, None


def _read_npz(path: Path, labelled: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for names in _KEYS:
                if not labelled and names[0] in archive.files:
                    return archive[names[0]], np.zeros(len(archive[names[0]]), np.int64)
                if set(names) <= set(archive.files):
                    return archive[names[0]], archive[names[1]]
            found = ", ".join(archive.files) or "nothing"
    except FileNotFoundError as error:
        raise InvalidArgument(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptFile(f"{path}: not a readable .npz file: {error}") from error
    raise InvalidArgument(f"{path}: expected arrays x and y, or images and labels; found {found}")
