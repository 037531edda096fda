"""Labelled images, photos with boxes and arrays in the form a network takes: folders, .npz files, scikit-learn's digits."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of
from ..errors import (
    CorruptFile,
    InvalidArgument,
    MissingFile,
    called,
    count,
    described,
    flag,
    one_of,
    path_of,
)
from .boxes import CocoFolder, holds_boxes
from .checks import fits
from .dataset import ArrayDataset, Dataset, Digits
from .images import ImageArray, ImageFolder
from .preprocess import PRESETS, Layout, Letterbox, Preprocess, Preset, Size, resolve
from .scene import Frame, Scene

__all__ = [
    "PRESETS",
    "ArrayDataset",
    "CocoFolder",
    "Data",
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
    "preset_for",
]

Data: TypeAlias = Dataset | str | os.PathLike[str] | ArrayLike | tuple[ArrayLike, ArrayLike]
"""What a data argument may be; `open_dataset` turns it into a dataset."""

_KEYS = (("x", "y"), ("images", "labels"))
#: Preprocessing by parts of model names; the first match counts.
_FAMILIES = (
    ("yolox", "yolox"),
    ("yolo", "yolov8"),
    ("cifar", "cifar10"),
    ("mnist", "mnist"),
    ("efficientnet[-_]?lite", "efficientnet-lite"),
    ("mobilenet[-_]?v1|xception|nasnet|inception[-_]?resnet", "tf"),
    ("bvlc|caffe", "caffe"),
    (
        "squeezenet|shufflenet|densenet|resnet|resnext|vgg|mobilenet[-_]?v?[23]|efficientnet|regnet|convnext",
        "imagenet",
    ),
)


class _Tensor(Protocol):
    @property
    def shape(self) -> tuple[int | str | None, ...]: ...


class _Network(Protocol):
    @property
    def inputs(self) -> Sequence[_Tensor]: ...


def open_dataset(
    data: Data,
    preprocess: Preprocess | None = None,
    *,
    size: Size = None,
    layout: Layout | None = None,
    batch_size: int = 32,
    labels: str | os.PathLike[str] | None = None,
    model: _Network | None = None,
    labelled: bool = True,
    name: str = "data",
) -> Dataset:
    """The dataset that a data argument means: the one coercion, which every function of the package uses.

    Args:
        data: one of
            a `Dataset`, returned as it is;
            "digits": scikit-learn's test split (a folder of that name wins);
            a folder: with images/ and labels/ in it a `CocoFolder`, else an `ImageFolder`;
            a file .npz with arrays x and y, or images and labels: without `preprocess` tensors ready for the network;
            with it, uint8 images [n, height, width, 3] or [n, height, width];
            a pair (x, y), a tuple of such arrays; or x alone where labels are not used.
        preprocess: a name in `PRESETS`, a `Preset` or a callable. Folders: by default that of the family that `model`'s
            name implies (`preset_for`); where it implies none, "imagenet", with a warning. Photos with boxes need one.
        size, layout: default to what the input of `model` asks for (`input_geometry`), then to the preset's size and NCHW.
        batch_size: images in a batch.
        labels: of a folder of images: the file to use for labels.csv.
        model: the network that the images are for.
        labelled: False: labels are not used: loose images in a folder are accepted, and arrays without labels.
        name: what messages call `data`.

    Raises:
        InvalidArgument: `data` or an option does not fit. MissingFile: there is no such file or folder.
        CorruptFile: a file cannot be read.
    """
    if isinstance(data, Dataset):
        return data
    if not isinstance(name, str):
        raise InvalidArgument(f"name: expected a text, got {described(name)}")
    batch_size, labelled = count("batch_size", batch_size), flag("labelled", labelled)
    _check_options(preprocess, size, layout, labels, model)
    if not isinstance(data, (str, os.PathLike)):
        return _from_arrays(data, preprocess, size, layout, batch_size, model, labelled, name)
    path = path_of(name, data)
    if labels is not None and not path.is_dir():
        raise InvalidArgument(f"labels: only a folder of images takes a labels file, not {path}")
    layout, crop = _geometry(model, preprocess, size, layout)
    known = preset_for(getattr(model, "name", ""))
    if holds_boxes(path):
        if labels is not None:
            raise InvalidArgument(f"labels: {path} has files of boxes in labels/; it takes no labels file")
        boxed = preprocess or (known if known and isinstance(PRESETS[known], Letterbox) else None)
        if boxed is None:
            raise InvalidArgument(
                f"preprocess: for the photos with boxes in {path}, name one: yolox or yolov8"
            )
        return CocoFolder(path, boxed, crop, batch_size, layout=layout)
    if path.is_dir():
        preset = preprocess or known or _assumed(path)
        return ImageFolder(path, preset, crop, batch_size, labels, layout=layout, labelled=labelled)
    if path.suffix == ".npz":
        x, y = _read_npz(path, labelled)
        if preprocess is None:
            if size is not None:
                raise InvalidArgument(
                    f"size: {path} holds tensors ready for the network unless preprocess is given"
                )
            _refuse_pixels(x, model, str(path))
            with called("x", str(path)):
                return ArrayDataset(x, y, batch_size=batch_size, name=path.stem)
        return ImageArray(x, y, preprocess, crop, batch_size, layout=layout, name=path.stem)
    if str(data) == "digits":
        if preprocess is not None or size is not None:
            raise InvalidArgument(
                "preprocess: digits are ready for the network, 8 × 8; they take no preprocess and no size"
            )
        return Digits("test", batch_size=batch_size)
    expected = "expected a folder of images, an existing .npz file, or the word digits"
    if not path.exists():
        raise MissingFile(f"{name}: {str(path)!r} does not exist; {expected}")
    raise InvalidArgument(f"{name}: {expected}, got {str(path)!r}")


def _check_options(preprocess: Any, size: Any, layout: Any, labels: Any, model: Any) -> None:
    """Options that not every kind of data needs: InvalidArgument where one could never be right."""
    if preprocess is not None:
        resolve(preprocess)
    if size is not None:
        PRESETS["imagenet"].with_size(size)
    if layout is not None:
        one_of("layout", layout, ("NCHW", "NHWC"))
    if labels is not None:
        path_of("labels", labels)
    if model is not None and not hasattr(model, "inputs"):
        raise InvalidArgument(f"model: expected a Model, got {described(model)}")


def preset_for(model: str) -> str | None:
    """Name of the preset that networks of a well-known family take, by the name of the `model`; None for others.

    Raises InvalidArgument for anything else.
    """
    if not isinstance(model, str):
        raise InvalidArgument(f"model: expected a name, got {described(model)}")
    return next((preset for pattern, preset in _FAMILIES if re.search(pattern, model.lower())), None)


def _assumed(path: Path) -> str:
    """The preset of a folder of which nothing is known, with a warning."""
    warnings.warn(
        f"preprocess: none was given for the images in {path}, and the model's name implies none: 'imagenet' is assumed. "
        f"Another one may be right: best_preprocess (on the command line, auto) finds it on labelled images; allowed are "
        f"{', '.join(PRESETS)}",
        stacklevel=4,
    )
    return "imagenet"


def _geometry(
    model: _Network | None, preprocess: Preprocess | None, size: Size, layout: Layout | None
) -> tuple[Layout, Size]:
    """Layout and crop: what is given, else what the network asks for."""
    if model is None or not model.inputs:
        return layout or "NCHW", size
    wanted_layout, wanted_size = input_geometry(model.inputs[0].shape)
    if size is None and (preprocess is None or isinstance(preprocess, str | Preset)):
        size = wanted_size
    return layout or wanted_layout, size


def _refuse_pixels(x: NDArray[Any], model: _Network | None, what: str) -> None:
    """InvalidArgument where 8-bit images come without a preprocess and are not tensors that `model` takes."""
    if model is None or len(model.inputs) != 1 or x.dtype != np.uint8:
        return
    wanted = model.inputs[0].shape[1:]
    if (x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 3)) and not fits(x.shape[1:], wanted):
        raise InvalidArgument(
            f"preprocess: {what} holds 8-bit images {list(x.shape[1:])}, which are not tensors ready for the network, whose "
            f"input is {[size if size is not None else '?' for size in wanted]}; name what makes them so: "
            f"{', '.join(name for name, preset in PRESETS.items() if not isinstance(preset, Letterbox))}"
        )


def _from_arrays(
    data: Any,
    preprocess: Preprocess | None,
    size: Size,
    layout: Layout | None,
    batch_size: int,
    model: _Network | None,
    labelled: bool,
    name: str,
) -> Dataset:
    """Of an array, or a pair (x, y) of arrays."""
    pair = isinstance(data, tuple) and len(data) == 2
    x = array_of(data[0] if pair else data, name)
    if x.ndim < 2 or x.dtype.kind not in "fiub" or len(x) == 0:
        found = described(x if x.ndim else data)
        raise InvalidArgument(
            f"{name}: expected a Dataset, a path, 'digits', an array [n, …] of real numbers, n ≥ 1, or a pair (x, y), "
            f"got {found}"
        )
    y = data[1] if pair else None
    if y is None and labelled:
        raise InvalidArgument(
            f"{name}: labels are needed here, and an array has none; expected a pair (x, y)"
        )
    y = np.zeros(len(x), np.int64) if y is None else array_of(y, name)
    if preprocess is None and size is None:
        _refuse_pixels(x, model, name)
        with called("x", name):
            return ArrayDataset(x, y, batch_size=batch_size, name="array")
    layout, crop = _geometry(model, preprocess, size, layout)
    return ImageArray(x, y, preprocess or "imagenet", crop, batch_size, layout=layout)


def input_geometry(shape: Sequence[int | str | None]) -> tuple[Layout, tuple[int, int] | None]:
    """(layout, (height, width)) that the `shape` of a network's input asks for, in pixels; None where height or width are
    free.

    NHWC is recognised by a last dimension of 1 or 3 where the second is neither.
    Raises InvalidArgument for anything else.
    """
    if not isinstance(shape, Sequence) or isinstance(shape, (str, bytes)):
        raise InvalidArgument(f"shape: expected sizes of dimensions, got {described(shape)}")
    if len(shape) != 4:
        return "NCHW", None
    layout: Layout = "NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    height, width = shape[1:3] if layout == "NHWC" else shape[2:4]
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return layout, (height, width)
    return layout, None


def _paired(
    path: Path, names: tuple[str, str], x: NDArray[Any], y: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both; InvalidArgument where they are not of one length."""
    if x.ndim and y.ndim and len(x) != len(y):
        raise InvalidArgument(
            f"{path}: array {names[0]!r} has {len(x):,} items but {names[1]!r} has {len(y):,}; expected a label for each item"
        )
    return x, y


def _read_npz(path: Path, labelled: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for names in _KEYS:
                if not labelled and names[0] in archive.files:
                    return archive[names[0]], np.zeros(len(archive[names[0]]), np.int64)
                if set(names) <= set(archive.files):
                    return _paired(path, names, archive[names[0]], archive[names[1]])
            found = ", ".join(archive.files) or "nothing"
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: no such file") from error
    except InvalidArgument:
        raise
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CorruptFile(f"{path}: not a readable .npz file: {error}") from error
    wanted = "arrays x and y, or images and labels" if labelled else "an array x, or images"
    raise InvalidArgument(f"{path}: expected {wanted}; found {found}")
