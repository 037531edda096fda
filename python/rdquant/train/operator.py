"""The operator of paper 002, equations 1 to 4, on NumPy arrays and on PyTorch's CPU tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_floats
from .._core import train as _core
from ..errors import InvalidArgument, threads_of

__all__ = ["Layer", "Pruned", "check_bits", "check_gamma", "prune_layers", "prune_quantize"]

Array = TypeVar("Array")


class Pruned(NamedTuple):
    """What was done to a layer.

    Attributes:
        threshold: β, below which magnitudes became 0.
        step: q, of which all weights left are multiples; 0 where nothing was quantized.
        nonzero: number of weights other than 0 in the result.
    """

    threshold: float
    step: float
    nonzero: int


def prune_quantize(
    w: Any, gamma: float, bits: int, out: Array | None = None, threads: int | None = 1
) -> Array | NDArray[Any]:
    """Prunes, then quantizes the weights W of one layer (paper 002, equations 1 to 4).

        β = γ·std(W)    H = W where |W| ≥ β, else 0    q = (max|H| − β)/(2^(bits−1) − 1)    C = q·round(H/q)

    The scan of equation 4 has lost its brackets. Here it is rounding (ties to even), with an error of at most q/2 that
    is symmetric about zero; floor would send every negative weight to the level below it, −0.1·q to −q for instance,
    which shifts the weights by −q/2 on average at every step.

    q divides max|H| − β, but levels reach to max|H|/q: a little beyond ±(2^(bits−1) − 1), as the paper has it.

    Args:
        w: weights of any shape: an array of float32 or float64 (other numbers become float32), or a PyTorch tensor on the
            CPU, whose memory is read where it is. A tensor that is dense in memory but not row by row (channels last)
            is summed in the order of its memory where out is w, else row by row.
        gamma: γ ≥ 0, intensity of pruning, in standard deviations. 0 prunes nothing.
        bits: 2 to 32; 32 prunes only. 1 is refused: 2^0 − 1 levels are none.
        out: where to write, of the shape and dtype of w; w itself works in place. A new array or tensor by default.
        threads: up to this many threads; None or 0: all cores. The result does not depend on it.

    Returns:
        out, or the new array or tensor: C, of the dtype of w, without −0. Layers of which nothing survives, or of zeros,
        become zeros; one weight and constant layers have β = 0; where all that survive have magnitude β, q = 0 and
        C = H; an empty layer stays empty. std is that of the population (ddof = 0); its summation is defined to the bit
        in `cpp/include/rdquant/train/prune.hpp`.

    Raises:
        InvalidArgument: γ or bits out of range, a NaN or infinite weight, out of another shape or dtype, read-only or
            not dense, a tensor on another device.

    Paper 002: “Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown.
    """
    gamma, bits, threads = check_gamma(gamma), check_bits(bits), threads_of(threads)
    if out is None:
        source = _view(w)
        target = np.empty(source.shape, source.dtype)
        _core.prune_quantize(np.ascontiguousarray(source), gamma, bits, target, threads)
        return _torch_of(w).from_numpy(target) if _is_tensor(w) else target
    if out is w:
        prune_layers([Layer("w", w, w)], gamma, bits, threads)
        return out
    source, target = _view(w), _target(out)
    if source.shape != target.shape or source.dtype != target.dtype:
        raise InvalidArgument(
            f"out: expected {source.dtype} of shape {source.shape}, got {target.dtype} of {target.shape}"
        )
    if not target.flags.c_contiguous:
        raise InvalidArgument("out: expected memory row by row (C-contiguous)")
    whole = source.ctypes.data == target.ctypes.data and source.flags.c_contiguous
    if np.may_share_memory(source, target) and not whole:
        raise InvalidArgument("out: it overlaps w in part; expected memory of its own, or w itself")
    _core.prune_quantize(np.ascontiguousarray(source), gamma, bits, target, threads)
    return out


class Layer(NamedTuple):
    """The weights of one layer and where results go: writable arrays or CPU tensors of float32 or float64, dense in memory
    and all of one layout, which may be the same memory.

    Attributes:
        name: what error messages begin with.
        weights: W.
        out: where to write C.
        pruned: where to write H, the weights pruned but not quantized; None: nowhere.
    """

    name: str
    weights: Any
    out: Any
    pruned: Any = None


def prune_layers(layers: Sequence[Layer], gamma: float, bits: int, threads: int = 1) -> list[Pruned]:
    """`prune_quantize` of all layers at once: two passes over memory on `threads` threads, however many there are."""
    gamma, bits = check_gamma(gamma), check_bits(bits)
    rows = [_row(layer) for layer in layers]
    done: dict[int, Pruned] = {}
    for wide, prune in ((False, _core.prune_layers_f32), (True, _core.prune_layers_f64)):
        chosen = [i for i, row in enumerate(rows) if (row[1].dtype == np.float64) == wide]
        found = prune([rows[i] for i in chosen], gamma, bits, threads) if chosen else []
        done |= {i: Pruned(*values) for i, values in zip(chosen, found, strict=True)}
    return [done[i] for i in range(len(rows))]


def _row(layer: Layer) -> tuple[Any, ...]:
    """Name and arrays of a layer, its axes in the order of memory."""
    weights = _target(layer.weights)
    out = weights if layer.out is layer.weights else _target(layer.out)
    pruned = weights if layer.pruned is layer.weights else None
    if pruned is None and layer.pruned is not None:
        pruned = _target(layer.pruned)
    if not weights.flags.c_contiguous:
        order = sorted(range(weights.ndim), key=lambda axis: -weights.strides[axis])
        weights, out = weights.transpose(order), out.transpose(order)
        pruned = None if pruned is None else pruned.transpose(order)
        if not weights.flags.c_contiguous:
            raise InvalidArgument(f"{layer.name}: weights in place need an array without gaps in memory")
    return layer.name, weights, out, pruned


def check_gamma(gamma: float) -> float:
    """γ as a float; raises InvalidArgument unless it is finite and at least 0."""
    try:
        value = float(gamma)
    except (TypeError, ValueError):
        raise InvalidArgument(f"gamma: expected a number, got {gamma!r}") from None
    if not 0.0 <= value < math.inf:
        raise InvalidArgument(f"gamma: expected a finite number of at least 0, got {gamma!r}")
    return value


def check_bits(bits: float) -> int:
    """Bits as an int; raises InvalidArgument unless they are a whole number from 2 to 32."""
    whole = isinstance(bits, (int, float, np.integer, np.floating)) and not isinstance(bits, bool)
    if not whole or not 2 <= bits <= 32 or int(bits) != bits:
        raise InvalidArgument(f"bits: expected a whole number from 2 to 32 (32: prune only), got {bits!r}")
    return int(bits)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _torch_of(tensor: Any) -> Any:
    import torch

    return torch


def _view(value: Any) -> NDArray[Any]:
    """The array or tensor as a NumPy array, of float32 or float64; without copy where it is one already."""
    if not _is_tensor(value):
        return value if _is_float(value) else as_floats(value, "w")
    if value.device.type != "cpu":
        raise InvalidArgument(
            f"w: expected a tensor on the CPU, got one on {value.device}; PruneThenQuantize works there"
        )
    array: NDArray[Any] = (
        value.detach().numpy() if _is_real(value) else as_floats(value.detach().float().numpy())
    )
    return array


def _target(value: Any) -> NDArray[Any]:
    if not (_is_float(value) or (_is_tensor(value) and _is_real(value))):
        kind = getattr(value, "dtype", type(value).__name__)
        raise InvalidArgument(f"out: expected an array or tensor of float32 or float64, got {kind}")
    return _view(value)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)


def _is_real(tensor: Any) -> bool:
    return str(tensor.dtype) in ("torch.float32", "torch.float64")
