"""What a network of one input is fed with while it is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import is_floating
from ..data.checks import fits
from ..errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from ..graph import TensorInfo
    from ..runtime import Session

__all__ = ["fitted", "single_input"]


def single_input(session: Session) -> TensorInfo:
    """The network's input. Raises Unsupported where there are several."""
    if len(session.inputs) != 1:
        names = ", ".join(tensor.name for tensor in session.inputs)
        raise Unsupported(
            f"only networks with one input are evaluated, not with {len(session.inputs)}: {names}"
        )
    return session.inputs[0]


def fitted(tensor: TensorInfo, source: str, x: NDArray[np.float32]) -> NDArray[Any]:
    """`x` in the dtype of the network's input, its shape checked; `source` is what messages call the data."""
    wanted = tensor.shape[1:]
    if not fits(x.shape[1:], wanted):
        shape = ", ".join(str(want) if want is not None else "?" for want in wanted)
        raise InvalidArgument(
            f"data: {source}: items of shape {list(x.shape[1:])}, but input {tensor.name!r} expects [{shape}]; images get "
            "that from preprocess, size and layout, arrays without preprocess must have it already"
        )
    with np.errstate(invalid="ignore"):  # an integer type that cannot hold a value: reported below
        feed = x.astype(tensor.dtype, copy=False)
    if not is_floating(tensor.dtype) and not np.array_equal(feed, x):
        raise InvalidArgument(
            f"{source}: input {tensor.name!r} is {tensor.dtype}, which does not hold these values; "
            "preprocess='raw' gives 0..255"
        )
    return feed
