"""What the profiled models are fed with: seeded noise, or images of a data set, in the sizes their inputs ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import is_floating
from ..data import Dataset
from ..errors import InvalidArgument, count
from ..graph import TensorInfo

__all__ = ["Shapes", "check_fit", "check_sizes", "feeds_of", "parse_shape"]

Shapes = Mapping[str, Sequence[int]]


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """(name of an input, its sizes) from "name=1,3,224,224"; InvalidArgument for anything else."""
    name, equals, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not (name and equals and shape and min(shape) >= 1):
        raise InvalidArgument(f"shape {text!r}: expected NAME=SIZE,SIZE,… with sizes ≥ 1, as x=1,3,224,224")
    return name, shape


def feeds_of(
    inputs: Sequence[TensorInfo],
    batch: int,
    shapes: Shapes,
    data: Dataset | None,
    seed: int,
) -> dict[str, NDArray[Any]]:
    """One run's feeds for `inputs`: `batch` rows, or the next multiple of the rows that an input fixes.

    shapes: for sizes that inputs leave open; axis 0 becomes the batch. data: images for the only input, the first ones,
    again from the start where there are too few. seed: of the noise; equal inputs of two models get equal noise.

    Raises InvalidArgument where a size stays open, a shape does not fit, or data come for several inputs.
    """
    random = np.random.default_rng(seed)
    if data is not None:
        if len(inputs) != 1:
            raise InvalidArgument(f"data: expected a model with one input, found {len(inputs)}")
        rows = _shape(inputs[0], batch, shapes, open_too=True)[0]
        return {inputs[0].name: _images(inputs[0], data, rows or batch)}
    return {info.name: _noise(info, _closed(info, batch, shapes), random) for info in inputs}


def _shape(info: TensorInfo, batch: int, shapes: Shapes, open_too: bool = False) -> list[int]:
    """Sizes for `info`; 0 for one that stays open, where `open_too`."""
    given = shapes.get(info.name)
    if given is not None:
        given = [count("shapes", size) for size in (given if isinstance(given, Sequence) else [given])]
    if given is not None and len(given) != len(info.shape):
        raise InvalidArgument(f"shapes: {_port(info)}: expected {len(info.shape)} sizes, got {list(given)}")
    out = []
    for axis, size in enumerate(info.shape):
        wanted = None if given is None else given[axis]
        if axis == 0:
            out.append(size * -(-batch // size) if isinstance(size, int) and size > 0 else batch)
        elif not isinstance(size, int):
            out.append(wanted or 0)
        elif wanted is not None and wanted != size:
            raise InvalidArgument(f"shapes: {_port(info)}: got {list(given or ())}, which does not fit")
        else:
            out.append(size)
    return out


def _closed(info: TensorInfo, batch: int, shapes: Shapes) -> list[int]:
    shape = _shape(info, batch, shapes)
    if any(size == 0 for size, known in zip(shape, info.shape, strict=True) if not isinstance(known, int)):
        sizes = [size or default for size, default in zip(shape, _usual(info), strict=True)]
        raise InvalidArgument(
            f"shapes: input {_port(info)} leaves sizes open; give them, for example --shape "
            f"{info.name}={','.join(map(str, sizes))} (from Python shapes={{{info.name!r}: {tuple(sizes)}}}), or data"
        )
    return shape


def check_sizes(inputs: Sequence[TensorInfo], shapes: Shapes) -> None:
    """InvalidArgument where sizes of `inputs` stay open with these shapes, or a shape does not fit."""
    for info in inputs:
        _closed(info, 1, shapes)


def _usual(info: TensorInfo) -> list[int]:
    """Sizes for an example: those of an image of 224 × 224 pixels for four dimensions, else 1."""
    if len(info.shape) != 4:
        return [1] * len(info.shape)
    return [1, 224, 224, 3] if info.shape[3] in (1, 3) and info.shape[1] not in (1, 3) else [1, 3, 224, 224]


def check_fit(info: TensorInfo, data: Dataset) -> None:
    """InvalidArgument where images have not the shape of the input."""
    shape = data.get([0])[0].shape[1:]
    wanted = info.shape[1:]
    if len(shape) != len(wanted) or any(
        isinstance(w, int) and w != s for w, s in zip(wanted, shape, strict=True)
    ):
        raise InvalidArgument(f"data: items of shape {list(shape)}, but the input is {_port(info)}")


def _noise(info: TensorInfo, shape: list[int], random: np.random.Generator) -> NDArray[Any]:
    """From [0, 1) for real numbers; 0 … 255 for bytes of an image; 0 and 1 for other integers, which may be indices."""
    if info.dtype == np.uint8:
        return random.integers(0, 256, shape, np.uint8)
    if info.dtype.kind in "iub":
        return random.integers(0, 2, shape).astype(info.dtype)
    if not is_floating(info.dtype):
        raise InvalidArgument(f"input {_port(info)}: expected numbers")
    return random.random(shape).astype(info.dtype)


def _images(info: TensorInfo, data: Dataset, rows: int) -> NDArray[Any]:
    x: NDArray[Any] = data.get(np.arange(rows) % len(data))[0]
    return x.astype(info.dtype, copy=False)


def _port(info: TensorInfo) -> str:
    sizes = ", ".join("?" if size is None else str(size) for size in info.shape)
    return f"{info.name!r} ({info.dtype} [{sizes}])"
