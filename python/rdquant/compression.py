"""Models to compressed files and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from .codec.container import FACTS, GRAPH, TENSOR, CompressedFile, pack_graph, write_file
from .codec.lossless import DEFAULT_LIMIT, profile_of
from .codec.plan import Plan, goal_of, reach, uniform_family
from .codec.sections import pack_floats, pack_integers, pack_quantized, pack_raw
from .entropy import entropy
from .errors import InvalidArgument
from .graph import Model, load
from .graph.compressed import build
from .graph.tensors import Stored
from .quant import Midtread, Quantizer, QuantizerSpec, parse_quantizers

__all__ = ["CompressedTensor", "CompressionResult", "compress", "decompress"]

QuantizerOf = Quantizer | str | Callable[[str, NDArray[np.float32]], Quantizer]
Choose = Callable[[str, NDArray[np.float32]], Quantizer]
_BFLOAT16, _INT4 = 16, (21, 22)
_INTEGERS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 12: "uint32"}


@dataclass(frozen=True)
class CompressedTensor:
    """One tensor of a compressed file.

    Attributes:
        role: "weight", "bias" or "normalization"; "" for what is not learned.
        coding: "quantized", "floats" (without loss), "integers" or "raw".
        bytes: of its section, parameters of the quantizer included.
        entropy: order-0 entropy of its levels, bits each; NaN where there are none.
        squared_error: Σ(w − ŵ)².
        energy: Σw².
    """

    name: str
    role: str
    shape: tuple[int, ...]
    coding: str
    bytes: int
    entropy: float
    squared_error: float
    energy: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bits_per_weight(self) -> float:
        """Real bits an element, everything that belongs to the tensor counted."""
        return 8 * self.bytes / self.size if self.size else 0.0


@dataclass(frozen=True)
class CompressionResult:
    """What `compress` wrote."""

    path: str
    bytes: int
    """Size of the file."""
    graph_bytes: int
    original_bytes: int
    """Size of the model that was compressed, as its file was."""
    tensors: tuple[CompressedTensor, ...]

    @property
    def weights(self) -> int:
        """Number of learned values."""
        return sum(t.size for t in self.tensors if t.role)

    @property
    def bits_per_weight(self) -> float:
        """Real bits a learned value: their sections and nothing else. Beside it stands `file_bits_per_weight`."""
        return 8 * sum(t.bytes for t in self.tensors if t.role) / self.weights if self.weights else 0.0

    @property
    def file_bits_per_weight(self) -> float:
        """Bits of the whole file, graph included, a learned value."""
        return 8 * self.bytes / self.weights if self.weights else 0.0

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σw²/Σ(w − ŵ)²) over the learned values; infinite without loss."""
        error = sum(t.squared_error for t in self.tensors)
        energy = sum(t.energy for t in self.tensors)
        return 10 * float(np.log10(energy / error)) if error > 0 and energy > 0 else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "path": self.path,
            "bytes": self.bytes,
            "graph_bytes": self.graph_bytes,
            "original_bytes": self.original_bytes,
            "weights": self.weights,
            "bits_per_weight": self.bits_per_weight,
            "file_bits_per_weight": self.file_bits_per_weight,
            "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None,
            "tensors": [
                {
                    "name": t.name,
                    "role": t.role,
                    "shape": list(t.shape),
                    "coding": t.coding,
                    "bytes": t.bytes,
                    "bits_per_weight": t.bits_per_weight,
                    "entropy": None if np.isnan(t.entropy) else t.entropy,
                }
                for t in self.tensors
            ],
        }


Coded = dict[str, tuple[CompressedTensor, bytes]]


def compress(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Model,
    path: str | os.PathLike[str],
    quantizer: QuantizerOf | None = None,
    profile: str = "fast",
    bits: int | None = None,
    roles: Collection[str] = ("weight",),
    threads: int = 0,
    rdo: float | bool | None = None,
    trellis: int = 0,
    target_bits: float | None = None,
    target_mse: float | None = None,
) -> CompressionResult:
    """Write `model` as a compressed file, atomically.

    Args:
        model: what `rdquant.load` takes.
        path: the file to write, usually *.rdq.
        quantizer: None with no `bits`: without loss. A quantizer; a function (name, tensor) -> quantizer; or a
            family's name such as "midtread" or "deadzone:0.4", which needs `bits`.
        profile: "fast" (quick to decode) or "max" (smaller).
        bits: one step for the whole model, Δ = 2/2^bits as in thesis 004; by midtread unless `quantizer` names
            another family.
        roles: which learned tensors are quantized, out of "weight", "bias" and "normalization". All other
            tensors, integer ones included, are coded without loss.
        threads: up to this many threads; 0: all cores. The file does not depend on it.

        rdo: choose levels by rate and distortion: λ in steps² a bit; True, and with a trellis None: 0.08. Needs
            uniform quantizers, whose step it takes; reconstruction points are fitted and sent.
        trellis: states of a trellis-coded quantizer of these steps, 8 or 32: about 1 dB less error at the
            same rate; 0: scalar levels.
        target_bits: find one step for the model with which learned values take at most so many real bits each.
            `quantizer` then names a uniform family, midtread if it is None, and `bits` is left out.
        target_mse: find the step with which the mean squared error of what is quantized is at most this.

    Returns:
        Sizes and errors, for the file and tensor by tensor.

    Raises:
        InvalidArgument: arguments that do not fit each other, a weight that cannot be quantized (named).
        RdquantError: the file cannot be written.
    """
    loaded = load(model)
    known = ("weight", "bias", "normalization")
    if isinstance(roles, str) or not set(roles) <= set(known):
        raise InvalidArgument(f"roles: expected a list of some of {known}, got {roles!r}")
    profile_of(profile)  # checks it before anything is done
    plan = Plan.of(profile, threads, rdo, trellis)
    goal = goal_of(target_bits, target_mse)
    family = uniform_family(quantizer, bits) if goal is not None else None
    choose = _chooser(quantizer, bits) if goal is None else None
    graph, stored = loaded.parts()
    role_of = {p.name: p.role for p in loaded.parameters}
    quantized = {n for n, t in stored.items() if role_of.get(n, "") in roles and t.is_float}
    if choose is None and family is None:
        if plan.rdo is not None:
            raise InvalidArgument("rdo, trellis: expected bits, a quantizer or a target beside them")
        quantized = set()
    rows = {n: _lossless(n, role_of.get(n, ""), t, plan) for n, t in stored.items() if n not in quantized}

    def quantize(choose: Choose) -> Coded:
        return {n: _quantized(n, role_of.get(n, ""), stored[n], choose, plan) for n in quantized}

    label = _label(quantizer, bits)
    if goal is not None and family is not None:
        if not quantized:
            raise InvalidArgument(f"{goal.name}: the model has nothing to quantize (roles: {sorted(roles)})")
        learned = [row for row, _ in rows.values() if row.role]
        step, coded = reach(goal, lambda step: quantize(lambda name, x: family(step)), learned)
        rows |= coded
        label = family(step).label
    elif choose is not None:
        rows |= quantize(choose)
    facts: dict[str, Any] = {
        "name": loaded.name,
        "profile": profile,
        "quantizer": label,
        "roles": sorted(roles),
    }
    if plan.rdo is not None:
        facts |= {"rdo": plan.rdo, "trellis": plan.trellis}
    sections = [(GRAPH, "graph", pack_graph(graph)), (FACTS, "facts", json.dumps(facts).encode())]
    sections += [(TENSOR, name, rows[name][1]) for name in stored]
    size = write_file(path, sections)
    original = int(loaded.summary()["file_bytes"])
    tensors = tuple(rows[name][0] for name in stored)
    return CompressionResult(os.fspath(path), size, len(sections[0][2]), original, tensors)


def decompress(
    source: str | os.PathLike[str] | bytes | IO[bytes], threads: int = 0, memory_limit: int = DEFAULT_LIMIT
) -> Model:
    """The model in a compressed file: quantized tensors as x̂, all others bit for bit.

    Args:
        source: path, bytes, or a binary file object that is read once from front to back, such as a pipe.
        threads: tensors, and row groups of large ones, are decoded on up to this many threads; 0: all cores.
        memory_limit: bytes that decoded tensors may take, eight counted an element.

    Raises:
        CorruptFile: damage; names section and offset. Unsupported: a later version, or beyond the limit.
        InvalidArgument: the file cannot be read.
    """
    file = CompressedFile(source)
    name = Path(source).stem if isinstance(source, (str, os.PathLike)) else ""
    return build(file, name, threads or os.cpu_count() or 1, memory_limit)


def _label(quantizer: QuantizerOf | None, bits: int | None) -> str:
    if quantizer is None:
        return "none" if bits is None else f"midtread {bits} bits"
    if isinstance(quantizer, Quantizer):
        return quantizer.label
    return f"{quantizer} {bits} bits" if isinstance(quantizer, str) else "one a tensor"


def _chooser(quantizer: QuantizerOf | None, bits: int | None) -> Choose | None:
    """(name, tensor) -> quantizer; None for no loss."""
    if isinstance(quantizer, str):
        specs = parse_quantizers(quantizer)
        if len(specs) != 1:
            raise InvalidArgument(f"quantizer: expected one family, got {quantizer!r}")
        spec: QuantizerSpec = specs[0]
        if spec.takes_bits and bits is None:
            raise InvalidArgument(f"quantizer {quantizer!r} needs bits")
        return lambda name, x: spec.build(bits if spec.takes_bits else None, x=x)
    if quantizer is not None and bits is not None:
        raise InvalidArgument("bits: a quantizer that is given brings its own; leave one of the two out")
    if isinstance(quantizer, Quantizer):
        return lambda name, x: quantizer
    if quantizer is not None:
        return quantizer
    if bits is None:
        return None
    midtread = Midtread.from_levels(bits)
    return lambda name, x: midtread


def _quantized(
    name: str, role: str, tensor: Stored, choose: Choose, plan: Plan
) -> tuple[CompressedTensor, bytes]:
    values = tensor.array().astype(np.float32, copy=False)
    try:
        quantizer = choose(name, values)
        found = plan.levels(values, quantizer)
        restored = found.quantizer.dequantize(found.levels, threads=plan.threads)
    except InvalidArgument as failure:
        raise InvalidArgument(f"tensor {name!r}: {failure}") from None
    data = pack_quantized(
        found.levels, tensor.data_type, found.quantizer, plan.profile, plan.threads, found.trellis
    )
    wide = values.astype(np.float64)
    row = CompressedTensor(
        name,
        role,
        tensor.dims,
        "quantized",
        len(data),
        entropy(found.levels) if found.levels.size else 0.0,
        float(np.square(wide - restored).sum()),
        float(np.square(wide).sum()),
    )
    return row, data


def _lossless(name: str, role: str, tensor: Stored, plan: Plan) -> tuple[CompressedTensor, bytes]:
    profile, threads = plan.profile, plan.threads
    bits, energy = float("nan"), 0.0
    levels = _integers(tensor)
    dtype = _float_dtype(tensor)
    if dtype is not None:
        coding = "floats"
        if role:
            with np.errstate(over="ignore", invalid="ignore"):
                energy = float(np.square(tensor.array().astype(np.float64)).sum())
        data = pack_floats(tensor.data, tensor.dims, tensor.data_type, dtype, profile, threads)
    elif levels is not None:
        coding, bits = "integers", entropy(levels.astype(np.int32)) if levels.size else 0.0
        data = pack_integers(levels, tensor.data_type, profile, threads)
    else:
        coding, data = "raw", pack_raw(tensor.data, tensor.dims, tensor.data_type)
    return CompressedTensor(name, role, tensor.dims, coding, len(data), bits, 0.0, energy), data


def _float_dtype(tensor: Stored) -> Any:
    if tensor.is_float:
        return tensor.array().dtype
    if tensor.data_type != _BFLOAT16:
        return None
    import ml_dtypes

    return ml_dtypes.bfloat16


def _integers(tensor: Stored) -> NDArray[Any] | None:
    """Integer tensors whose values fit int32, as arrays; None for others."""
    if tensor.data_type in _INT4:
        proto = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=tensor.data.tobytes())
        return np.asarray(numpy_helper.to_array(proto))
    name = _INTEGERS.get(tensor.data_type)
    if name is None:
        return None
    array = tensor.data.view(name).reshape(tensor.dims)
    if (
        array.dtype.itemsize >= 4
        and array.size
        and (int(array.min()) < -(2**31) or int(array.max()) >= 2**31)
    ):
        return None
    return array
