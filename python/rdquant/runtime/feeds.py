"""What a Session is fed with: names, dtypes and sizes checked, batches sliced, noise made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import is_floating
from ..errors import InvalidArgument
from ..graph import TensorInfo, suggestion

__all__ = ["check_shape", "fed", "noise", "slices"]

Arrays = Mapping[str, NDArray[Any]]


def fed(feeds: Mapping[str, ArrayLike], inputs: Sequence[TensorInfo], model: str) -> dict[str, NDArray[Any]]:
    """The feeds as C-contiguous arrays of the inputs' dtypes, in their order; InvalidArgument for missing and
    unknown names.
    """
    infos = {i.name: i for i in inputs}
    if not isinstance(feeds, Mapping):
        raise InvalidArgument(
            f"feeds: expected arrays by input's name, got {type(feeds).__name__}; inputs: {_list(infos)}"
        )
    for name in feeds:
        if not isinstance(name, str) or name not in infos:
            raise InvalidArgument(
                f"feeds: {model} has no input {name!r}{suggestion(str(name), infos)} (inputs: {_list(infos)})"
            )
    missing = [name for name in infos if name not in feeds]
    if missing:
        raise InvalidArgument(f"feeds: input {missing[0]!r} is not fed; {model} needs {_list(infos)}")
    return {name: _converted(info, feeds[name]) for name, info in infos.items()}


def fits_as_it_is(feeds: dict[str, Any], inputs: Sequence[TensorInfo]) -> bool:
    """Whether `fed`, `slices` and `check_shape` would change and refuse nothing: small networks take no longer than
    they do. Open axes take any size; fixed sizes that are met leave nothing to slice.
    """
    if len(feeds) != len(inputs):
        return False
    for info, (name, array) in zip(inputs, feeds.items(), strict=True):
        if name != info.name or type(array) is not np.ndarray or not _meets(array.shape, info.shape):
            return False
        if array.dtype != info.dtype or not array.flags.c_contiguous:
            return False
    return True


def _meets(shape: tuple[int, ...], wanted: tuple[Any, ...]) -> bool:
    """Whether `shape` has the sizes of `wanted` where it has any."""
    if shape == wanted:
        return True
    if len(shape) != len(wanted):
        return False
    for size, want in zip(shape, wanted, strict=True):  # noqa: SIM110 - a generator takes longer
        if size != want and type(want) is int:
            return False
    return True


def check_shape(info: TensorInfo, shape: tuple[int, ...], sliced: bool) -> None:
    """InvalidArgument unless `shape` fits; where `sliced`, axis 0 is free."""
    wanted = info.shape[1:] if sliced else info.shape
    given = shape[1:] if sliced else shape
    if len(shape) != len(info.shape) or not _meets(given, wanted):
        raise InvalidArgument(f"input {_port(info)}: got shape {list(shape)}")


def slices(ports: Sequence[TensorInfo], arrays: Arrays) -> tuple[int, int] | None:
    """(rows of the feeds, rows of a slice) where a model of inputs and outputs `ports` must be fed in slices,
    else None.
    """
    sizes = {p.shape[0] if p.shape else None for p in ports}
    given = {a.shape[0] if a.ndim else None for a in arrays.values()}
    size, rows = next(iter(sizes), None), next(iter(given), None)
    if len(sizes) != 1 or len(given) != 1 or not isinstance(size, int) or not rows or rows == size:
        return None
    return rows, size


def noise(inputs: Sequence[TensorInfo], batch: int) -> dict[str, NDArray[Any]]:
    """Seeded noise for inputs whose sizes are fixed but for axis 0; InvalidArgument for others."""
    random = np.random.default_rng(0)
    out = {}
    for info in inputs:
        shape = tuple(batch if i == 0 and not isinstance(d, int) else d for i, d in enumerate(info.shape))
        if not all(isinstance(d, int) for d in shape) or not (
            info.dtype.kind in "iub" or is_floating(info.dtype)
        ):
            raise InvalidArgument(f"input {_port(info)} leaves sizes open; feeds are needed")
        out[info.name] = random.random(shape).astype(info.dtype)  # type: ignore[arg-type]
    return out


def _port(info: TensorInfo) -> str:
    shape = ", ".join("?" if d is None else str(d) for d in info.shape)
    return f"{info.name!r} ({info.dtype} [{shape}])"


def _list(infos: Mapping[str, TensorInfo]) -> str:
    return ", ".join(_port(i) for i in infos.values())


def _converted(info: TensorInfo, values: ArrayLike) -> NDArray[Any]:
    """`values` in the input's dtype, C-contiguous."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidArgument(f"input {_port(info)}: {error}") from None
    if array.dtype != info.dtype and not (is_floating(array.dtype) and is_floating(info.dtype)):
        raise InvalidArgument(f"input {_port(info)}: got dtype {array.dtype}; convert it first")
    return np.ascontiguousarray(array, info.dtype).reshape(array.shape)
