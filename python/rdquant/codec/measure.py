"""What quantized weights cost: entropy, tables and distortion in one pass, without storing the levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import as_float32, tensors_of
from .._core import codec as _core
from .._core.entropy import Counter
from .._tables import Brief
from ..entropy import compression_ratio, reduction
from ..errors import InvalidArgument, described, flag, threads_of
from ..quant import Quantizer
from ..quant.recipe import is_class, recipe_of
from .sections import pack_quantized

__all__ = ["Rate", "rate", "real_bits", "requantize"]

_ONNX_FLOAT = 1  # TensorProto.FLOAT
QuantizerOf = Quantizer | type[Quantizer] | str | Callable[[str, NDArray[np.float32]], Quantizer]


@dataclass(frozen=True, repr=False)
class Rate(Brief):
    """Rate and distortion of quantized tensors.

    Attributes:
        entropy: bits per weight, −Σ p·log2 p (thesis 004, equation 2.31), tables free.
        entropy_tables: the same with the tables: counts of the levels, and 32 bits for each step or codebook value.
        count: number of weights.
        distinct: number of distinct levels (summed over tables).
        mse: mean of (w − ŵ)².
        sqnr_db: 10·log10(Σw²/Σ(w − ŵ)²); infinite without error. It and mse are NaN where no distortion was asked for.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """

    entropy: float
    entropy_tables: float
    count: int
    distinct: int
    mse: float
    sqnr_db: float

    @property
    def cr(self) -> float:
        """Compression ratio 32/H (equation 3.1)."""
        return compression_ratio(self.entropy)

    @property
    def re(self) -> float:
        """Reduction (32 − H)/32, the share of the size that is saved (equation 3.2)."""
        return reduction(self.entropy)


def rate(
    weights: Any,
    quantizer: QuantizerOf,
    by: str | None = None,
    distortion: bool = True,
    threads: int | None = 1,
    *,
    bits: int | None = None,
) -> Rate:
    """Rate and distortion of `weights` under `quantizer`.

    Args:
        weights: an array, a dict of named tensors, or a model: a `Model`, or what `rdquant.load` takes.
        quantizer: one for all tensors; a function (name, tensor) -> quantizer; or a family's class or name such as
            "midtread", which needs `bits`, or "half", which takes none: the levels are then those of `rdquant.compress`.
        by: None: one table of probabilities for all tensors (the thesis); "tensor": one a tensor.
        distortion: False: the rate alone, several times as fast; mse and sqnr_db are then NaN.
        threads: without distortion, up to this many threads quantize and count large tensors; None or
            0: all cores.
        bits: as for `rdquant.compress`, for a family alone.

    Raises:
        InvalidArgument: an argument outside the above; a NaN or infinite weight (the message names the tensor).
    """
    used = threads_of(threads)
    tensors = tensors_of(weights, "weights")
    quantizer = _quantizers(quantizer, bits, tensors)
    return _measure(tensors, quantizer, by, None, None if flag("distortion", distortion) else used)


def requantize(
    weights: Any, quantizer: QuantizerOf, by: str | None = None, *, bits: int | None = None
) -> tuple[dict[str, NDArray[np.float32]], Rate]:
    """Weights quantized and dequantized, with their rate.

    Args:
        weights, quantizer, by, bits: as for `rate`; errors as there.

    Returns:
        New float32 arrays by name, in the shapes of the weights; and the `Rate`.
    """
    tensors = {name: as_float32(value, name) for name, value in tensors_of(weights, "weights").items()}
    quantizer = _quantizers(quantizer, bits, tensors)
    restored = {name: np.empty(value.shape, np.float32) for name, value in tensors.items()}
    return restored, _measure(tensors, quantizer, by, restored)


def real_bits(
    weights: Any,
    quantizer: QuantizerOf,
    effort: str = "fast",
    threads: int | None = 1,
    *,
    bits: int | None = None,
) -> float:
    """Bits per weight that the quantized tensors take in a compressed file: levels, shapes and quantizers, whole bytes.

    Args:
        weights, quantizer, bits: as for `rate`.
        effort: "fast" or "max", as for `rdquant.compress`.
        threads: up to this many threads; None or 0: all cores.

    Raises:
        InvalidArgument: as `rate`.
    """
    count = total = 0
    threads = threads_of(threads)
    tensors = tensors_of(weights, "weights")
    quantizer = _quantizers(quantizer, bits, tensors)
    for name, value in tensors.items():
        tensor = as_float32(value, name)
        try:
            used = _quantizer(quantizer, name, tensor)
            levels = used.quantize(tensor, threads=threads)
        except InvalidArgument as failure:
            raise InvalidArgument(f"tensor {name!r}: {failure}") from None
        total += len(pack_quantized(levels, _ONNX_FLOAT, used, effort, threads))
        count += tensor.size
    return 8 * total / count if count else 0.0


def _quantizers(given: Any, bits: int | None, tensors: Mapping[str, Any]) -> Any:
    """What is given, a family as the quantizers that `rdquant.compress` would take for the tensors."""
    if bits is None and not isinstance(given, str) and not is_class(given):
        return given
    recipe = recipe_of(given, bits)
    return given if recipe is None else recipe.quantizers(tensors, {})


def _quantizer(given: Any, name: str, tensor: NDArray[np.float32]) -> Quantizer:
    """The quantizer of a tensor; InvalidArgument where none is given."""
    asked = callable(given) and not isinstance(given, (Quantizer, type))
    found = given(name, tensor) if asked else given
    if not isinstance(found, Quantizer):
        raise InvalidArgument(
            "quantizer: expected a Quantizer such as Midtread.from_levels(6), a family's name, or a function "
            f"(name, tensor) -> Quantizer, got {described(found)}"
        )
    return found


def _measure(
    weights: Any,
    quantizer: QuantizerOf,
    by: str | None,
    restored: dict[str, NDArray[np.float32]] | None,
    rate_threads: int | None = None,
) -> Rate:
    """Rate and, unless `rate_threads` is given (threads that work out the rate alone), distortion."""
    if by is not None and not (isinstance(by, str) and by == "tensor"):
        raise InvalidArgument(f"by: expected None or 'tensor', got {described(by)}")
    tensors = {name: as_float32(value, name) for name, value in tensors_of(weights, "weights").items()}
    total = sum(t.size for t in tensors.values())
    counters = [Counter(total)]
    error = energy = 0.0
    parameters: dict[Quantizer, int] = {}
    for name, tensor in tensors.items():
        try:
            used = _quantizer(quantizer, name, tensor)
            cores = used.core(False)
            if by == "tensor":
                counters.append(Counter(tensor.size))
            inner = used.inner(tensor.shape, len(cores))
            if rate_threads is None:
                out = None if restored is None else restored[name]
                error += _core.measure(cores, inner, tensor, counters[-1], out)
                energy += float(np.vdot(tensor, tensor))
            else:
                _core.count(cores, inner, tensor, counters[-1], rate_threads)
        except InvalidArgument as failure:
            raise InvalidArgument(f"tensor {name!r}: {failure}") from None
        parameters[used] = parameters.get(used, 0) + 1
    side = sum(q.parameter_count * (n if by == "tensor" else 1) for q, n in parameters.items()) * 32
    counts = [counter.finish() for counter in counters]
    bits = sum(c.entropy * c.total for c in counts)
    table_bits = sum(c.table_bits for c in counts if c.total) + side
    mse = error / total if total else 0.0
    sqnr_db = 10.0 * float(np.log10(energy / error)) if error > 0.0 and energy > 0.0 else math.inf
    return Rate(
        entropy=bits / total if total else 0.0,
        entropy_tables=(bits + table_bits) / total if total else 0.0,
        count=total,
        distinct=sum(c.distinct for c in counts),
        mse=mse if rate_threads is None else math.nan,
        sqnr_db=sqnr_db if rate_threads is None else math.nan,
    )
