"""Entropy of quantized weights, thesis 004 section 2.6 (equation 2.31), in bits per symbol.

Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _call_by_name
from ._arrays import as_float32, as_levels, tensors_of
from ._core import entropy as _core
from .errors import InvalidArgument, called, count, described, number, threads_of

__all__ = ["compression_ratio", "conditional_entropy", "entropy", "float_entropy", "reduction"]


def entropy(
    levels: ArrayLike | Mapping[str, ArrayLike],
    by: Literal["tensor", "channel"] | None = None,
    context: int | None = None,
    axis: int = 0,
    threads: int | None = 1,
) -> float:
    """Order-0 entropy H = −Σ p·log2 p of integer levels (thesis 004, equation 2.31).

    Args:
        levels: integers of any shape, or a dict of such: the tensors of a model.
        by: None: one table of probabilities for everything (the thesis); "tensor": one a tensor; "channel": one for each
            channel along `axis` of each tensor. The entropies are averaged, weighted by the number of levels.
        context: with an axis number, the entropy of a level given its predecessor along that axis, as
            `conditional_entropy`, averaged over tensors. Not together with `by`.
        axis: channel axis for by="channel".
        threads: up to this many threads count large tensors; None or 0: all cores.

    Returns:
        Bits per level. A table fitted to the levels themselves is free here: with few levels per table
        the figure is too low; `rdquant.rate` adds the tables' cost.

    Raises:
        InvalidArgument: levels are no integers, there are none at all, or an axis does not exist.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    tensors = {name: as_levels(value, name) for name, value in _tensors(levels).items()}
    threads, axis = threads_of(threads), axis_of(axis)
    if not any(tensor.size for tensor in tensors.values()):
        raise InvalidArgument("levels: expected at least one level, got none")
    context = None if context is None else axis_of(context, "context")
    if context is not None:
        if by is not None:
            raise InvalidArgument("entropy: context= and by= cannot be given together")
        return _mean([(_in_context(t, context), t.size) for t in tensors.values()])
    if by is None:
        return _together(tensors.values(), threads)
    if not isinstance(by, str) or by not in ("tensor", "channel"):
        raise InvalidArgument(f"by: expected None, 'tensor' or 'channel', got {described(by)}")
    parts = [
        part
        for tensor in tensors.values()
        for part in ([tensor] if by == "tensor" else _channels(tensor, axis))
    ]
    return _mean([(_together([as_levels(part)], threads), part.size) for part in parts])


def _together(tensors: Collection[NDArray[np.int32]], threads: int) -> float:
    """With one table of probabilities for all; 0 for no levels."""
    counter = _core.Counter(sum(t.size for t in tensors))
    for tensor in tensors:
        counter.add(tensor, threads)
    return float(counter.finish().entropy)


def conditional_entropy(levels: ArrayLike, axis: int = -1) -> float:
    """H(level | its predecessor along `axis`) in bits per level, from the counts of pairs.

    Levels without predecessor are left out; 0 where there is none with. With many distinct levels and few pairs the
    estimate is too low, since most pairs are then seen once: compare it with `entropy` at 6 bits and fewer.

    Args:
        levels: integers of any shape.
        axis: of the predecessor.

    Raises InvalidArgument where `axis` does not exist or levels are no integers.
    """
    array, axis = as_levels(levels), axis_of(axis)
    if not -array.ndim <= axis < array.ndim:
        raise InvalidArgument(f"axis: levels of shape {array.shape} have no axis {axis}")
    axis %= array.ndim
    shape = array.shape
    return float(
        _core.conditional_entropy(array, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    )


def _in_context(levels: NDArray[np.int32], context: int) -> float:
    with called("axis", "context"):
        return conditional_entropy(levels, context)


def float_entropy(tensors: Any) -> float:
    """Entropy of the distinct values of float weights, over all tensors together: the thesis' rate of the float model.

    tensors: real numbers of any shape, a dict of such, or a model: a `Model`, or what `rdquant.load`
    takes. float32 is counted by its bits (0 and −0 are two values);
    float16, float64 and integers as float32. Bits per weight, 0 for no weights. SqueezeNet 1.1: 20.22.

    Raises InvalidArgument where a tensor holds no real numbers, naming it.
    """
    arrays = [as_float32(t, name) for name, t in tensors_of(tensors, "tensors").items()]
    counter = _core.Counter(sum(a.size for a in arrays))
    for array in arrays:
        counter.add(array.view(np.int32) if array.ndim else array.reshape(1).view(np.int32))
    return float(counter.finish().entropy)


def compression_ratio(bits: float, original: float = 32.0) -> float:
    """CR = original/H for H `bits` per weight against `original` ones (thesis 004, equation 3.1); infinite for 0 bits.
    Raises InvalidArgument for anything else.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    bits, original = number("bits", bits, least=0), number("original", original, above=0)
    return math.inf if bits == 0 else original / bits


def reduction(bits: float, original: float = 32.0) -> float:
    """RE = (original − H)/original, the share of the size that is saved, for H `bits` per weight against `original` ones
    (thesis 004, equation 3.2). Raises InvalidArgument for anything else.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    bits, original = number("bits", bits, least=0), number("original", original, above=0)
    return (original - bits) / original


def axis_of(axis: object, name: str = "axis") -> int:
    """`axis` as an integer; InvalidArgument for anything else."""
    return count(name, axis, -(1 << 30), 1 << 30)


def _tensors(levels: Any) -> dict[str, Any]:
    return dict(levels) if isinstance(levels, Mapping) else {"levels": levels}


def _channels(tensor: NDArray[np.int32], axis: int) -> list[Any]:
    if tensor.ndim == 0:
        return [tensor]
    if not -tensor.ndim <= axis < tensor.ndim:
        raise InvalidArgument(f"axis: an array of shape {tensor.shape} has no axis {axis}")
    return list(np.moveaxis(tensor, axis, 0))


def _mean(parts: list[tuple[float, int]]) -> float:
    total = sum(size for _, size in parts)
    return sum(bits * size for bits, size in parts) / total if total else 0.0


_call_by_name(__name__)
