"""Models to compressed files and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from ..codec.container import FACTS, GRAPH, TENSOR, CompressedFile, naming, pack_graph, write_file
from ..codec.lossless import DEFAULT_LIMIT, profile_of
from ..codec.plan import Chosen, Goal, Plan, goal_of, reach, uniform_family
from ..codec.sections import pack_floats, pack_integers, pack_quantized, pack_raw
from ..entropy import entropy
from ..errors import InvalidArgument, RdquantError
from ..graph import Model, load
from ..graph.compressed import build
from ..graph.tensors import Stored
from ..quant import Midtread, Quantizer, QuantizerSpec, parse_quantizers
from .result import CompressedTensor, CompressionResult

if TYPE_CHECKING:
    from ..data import Dataset
    from .levels import Levels
    from .tolerance import Split, Tolerance

__all__ = ["CompressedTensor", "CompressionResult", "compress", "decompress"]

QuantizerOf = Quantizer | str | Callable[[str, NDArray[np.float32]], Quantizer]
Choose = Callable[[str, NDArray[np.float32]], Quantizer]
Coded = dict[str, tuple[CompressedTensor, bytes]]
_BFLOAT16, _INT4 = 16, (21, 22)
_STATES_WITH_DATA = 32
_SOON_WRITTEN = 1 << 18  # bytes of a model
_INTEGERS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 12: "uint32"}


def compress(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | Model,
    path: str | os.PathLike[str],
    quantizer: QuantizerOf | None = None,
    profile: str = "fast",
    bits: int | None = None,
    roles: Collection[str] | None = None,
    threads: int = 0,
    *,
    rdo: float | bool | None = None,
    trellis: int | None = None,
    target_bits: float | None = None,
    target_mse: float | None = None,
    max_loss: float | None = None,
    max_kl: float | None = None,
    data: Dataset | None = None,
    fit: Dataset | None = None,
    calibration: int = 300,
    seed: int = 0,
    progress: bool = False,
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
        roles: which learned tensors are quantized, out of "weight", "bias" and "normalization"; default: weights,
            with `data` biases as well. All other tensors, integer ones included, are coded without loss.
        threads: up to this many threads; 0: all cores. The file does not depend on it, but for `data`'s last digits.
        rdo: choose levels by rate and distortion: λ in steps² a bit; True, and with a trellis None: 0.08. Needs
            uniform quantizers, whose step it takes; reconstruction points are fitted and sent.
        trellis: states of a trellis-coded quantizer of these steps, 8 or 32: about 1 dB less error at the
            same rate; 0: scalar levels, half as large. None: 32 with `data`, else 0.
        target_bits: find one step for the model with which learned values take at most so many real bits each.
            `quantizer` then names a uniform family, midtread if it is None, and `bits` is left out.
        target_mse: find the step with which the mean squared error of what is quantized is at most this.
        max_loss, max_kl: with `data`: the smallest file is searched for that loses at most so many points of top-1
            (0.8), and whose outputs have at most this mean KL divergence to the float model's (nats); one or both.
        data: images for a classifier. Up to `calibration` of them, drawn by `seed`, serve the search, without their
            labels: two thirds, photos together with an enlarged part of each, half of these mirrored, show what each
            layer's inputs look like, and by gradients where its outputs matter, so that rounding keeps these;
            what is lost is measured on images that are not among them: for max_kl alone on the last third, labels
            untouched; for max_loss on all the others, where both the points lost by the labels and the points that the float
            model's probabilities tell of must be tolerated.
        fit: images that take the place of those two thirds; labels play no part. All of `data` then measures what is
            lost.
        calibration: number of images, 3 or more; 100 to 300 do.
        progress: show bars on stderr.

    With `data`, only "weight" tensors (and the biases beside them) change; Ctrl-C ends the search, and the best file
    so far is written, or, where none of them is tolerated yet, the candidate that lost least, with `met` False. Where
    a full search finds nothing that is tolerated (it warns), and where nothing was smaller: the model without loss.

    Returns:
        Sizes and errors, for the file and tensor by tensor; with `data` also what was lost.

    Raises:
        InvalidArgument: arguments that do not fit each other, a weight that cannot be quantized (named).
        RdquantError: the file cannot be written.
    """
    loaded = load(model)
    tolerated = max_loss is not None or max_kl is not None
    if tolerated != (data is not None):
        raise InvalidArgument(
            "max_loss or max_kl: expected together with data, neither goes without the other"
        )
    if fit is not None and data is None:
        raise InvalidArgument("fit: expected together with data, which measures what is lost")
    chosen = (quantizer, bits, rdo, target_bits, target_mse)
    if tolerated and any(value is not None for value in chosen):
        raise InvalidArgument(
            "quantizer, bits, rdo, target_bits, target_mse: max_loss and max_kl choose the steps; leave these out"
        )
    known = ("weight", "bias", "normalization")
    if roles is None:
        roles = ("weight", "bias") if tolerated else ("weight",)
    if isinstance(roles, str) or not set(roles) <= set(known):
        raise InvalidArgument(f"roles: expected a list of some of {known}, got {roles!r}")
    profile_of(profile)  # checks it before anything is done
    if trellis is None:
        trellis = _STATES_WITH_DATA if tolerated else 0
    plan = Plan.of(profile, threads, rdo, trellis)
    goal = goal_of(target_bits, target_mse)
    if data is not None:
        from .tolerance import Split, Tolerance

        tolerance = Tolerance(max_loss, max_kl)
        split = Split.of(data, tolerance, calibration, seed, fit)
        return _tolerated(loaded, path, plan, tolerance, split, roles, progress)
    if goal is not None:
        family = uniform_family(quantizer, bits)
        return _Writer(loaded, plan).reach(path, goal, family, roles)
    choose = _chooser(quantizer, bits)
    if choose is None and plan.rdo is not None:
        raise InvalidArgument("rdo, trellis: expected bits, a quantizer or a target beside them")
    return _Writer(loaded, plan).write(path, _Levels(choose, roles), _label(quantizer, bits))


def _tolerated(
    model: Model,
    path: str | os.PathLike[str],
    plan: Plan,
    tolerance: Tolerance,
    split: Split,
    roles: Collection[str],
    progress: bool,
) -> CompressionResult:
    """Write the smallest file that is tolerated."""
    from .tolerance import smallest

    folder = Path(path).absolute().parent
    if not folder.is_dir():  # now, not after a long search
        raise RdquantError(f"{path}: expected a file in a folder that exists, {folder} is none")
    best = smallest(model, tolerance, split, roles, plan.profile, plan.trellis, plan.threads, progress)
    result = write_levels(model, path, best.levels, plan.profile, plan.threads)
    # Perhaps nothing need be lost; where little is to be written, that is soon known.
    large = 2 * result.bytes > result.original_bytes or result.original_bytes < _SOON_WRITTEN
    if best.levels and large:
        exact = write_levels(model, path, {}, plan.profile, plan.threads)
        if exact.bytes <= result.bytes:
            none = best.measured.without_loss()
            return replace(exact, measured=none, met=True, interrupted=best.interrupted)
        result = write_levels(model, path, best.levels, plan.profile, plan.threads)
    return replace(result, measured=best.measured, met=best.met, interrupted=best.interrupted)


def write_levels(
    model: Model, path: str | os.PathLike[str], levels: Levels, profile: str = "fast", threads: int = 0
) -> CompressionResult:
    """Write `model` with the given levels in place of the tensors of these names, atomically; what has none is coded
    without loss.
    """
    roles = {p.role for p in model.parameters if p.name in levels}
    return _Writer(model, Plan(profile, threads)).write(
        path, _Levels(None, roles, levels), "midtread by data" if levels else "none"
    )


@dataclass(frozen=True)
class _Levels:
    """Quantizers, or levels that are known; what has neither is coded without loss."""

    choose: Choose | None
    roles: Collection[str]
    known: Mapping[str, Chosen] = field(default_factory=dict)

    def of(self, name: str, role: str, values: NDArray[np.float32], plan: Plan) -> Chosen | None:
        """A tensor's levels and quantizer; None for one that is to be coded without loss."""
        if name in self.known:
            return self.known[name]
        if self.choose is None or role not in self.roles:
            return None
        return plan.levels(values, self.choose(name, values))


class _Writer:
    """Codes a model's tensors and writes them, in the model's order."""

    def __init__(self, model: Model, plan: Plan) -> None:
        self._model, self._plan = model, plan
        self._graph, self._stored = model.parts()
        self._role_of = {p.name: p.role for p in model.parameters}

    def write(self, path: str | os.PathLike[str], levels: _Levels, label: str) -> CompressionResult:
        """With these levels."""
        return self._store(path, self._code(self._stored, levels), label, levels.roles)

    def reach(
        self,
        path: str | os.PathLike[str],
        goal: Goal,
        family: Callable[[float], Quantizer],
        roles: Collection[str],
    ) -> CompressionResult:
        """With the step that comes near `goal`; raises InvalidArgument where none does."""
        names = [n for n, t in self._stored.items() if t.is_float and self._role_of.get(n, "") in roles]
        if not names:
            raise InvalidArgument(f"{goal.name}: the model has nothing to quantize (roles: {sorted(roles)})")
        rest = self._code([n for n in self._stored if n not in names], _Levels(None, roles))
        learned = [row for row, _ in rest.values() if row.role]
        step, coded = reach(
            goal, lambda step: self._code(names, _Levels(lambda name, x: family(step), roles)), learned
        )
        return self._store(path, rest | coded, family(step).label, roles)

    def _code(self, names: Iterable[str], levels: _Levels) -> Coded:
        coded: Coded = {}
        for name in names:
            role, tensor = self._role_of.get(name, ""), self._stored[name]
            found = _quantized(name, role, tensor, levels, self._plan) if tensor.is_float else None
            coded[name] = found or _lossless(name, role, tensor, self._plan.profile, self._plan.threads)
        return coded

    def _store(
        self, path: str | os.PathLike[str], coded: Coded, label: str, roles: Collection[str]
    ) -> CompressionResult:
        plan = self._plan
        facts: dict[str, Any] = {
            "name": self._model.name,
            "profile": plan.profile,
            "quantizer": label,
            "roles": sorted(roles),
        }
        if plan.rdo is not None:
            facts |= {"rdo": plan.rdo, "trellis": plan.trellis}
        graph = pack_graph(self._graph)
        sections = [(GRAPH, "graph", graph), (FACTS, "facts", json.dumps(facts).encode())]
        sections += [(TENSOR, name, coded[name][1]) for name in self._stored]
        size = write_file(path, sections)
        original = int(self._model.summary()["file_bytes"])
        rows = tuple(coded[name][0] for name in self._stored)
        return CompressionResult(os.fspath(path), size, len(graph), original, rows)


def decompress(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    threads: int = 0,
    memory_limit: int = DEFAULT_LIMIT,
    levels: bool = False,
) -> Model:
    """The model in a compressed file: quantized tensors as x̂, all others bit for bit.

    Args:
        source: path, bytes, or a binary file object that is read once from front to back, such as a pipe.
        threads: tensors, and row groups of large ones, are decoded on up to this many threads; 0: all cores.
        memory_limit: bytes that decoded tensors may take, eight counted an element.
        levels: tensors quantized by midtread keep their levels, as int8 (int4 from opset 21 on) with a
            DequantizeLinear node each, where they fit; the values are then Δ·level in float32. Levels that the model
            itself had stay as they are in any case.

    Raises:
        CorruptFile: damage; names section and offset. Unsupported: a later version, or beyond the limit.
        InvalidArgument: the file cannot be read, or threads is no number of threads.
    """
    if not isinstance(threads, (int, np.integer)) or threads < 0:
        raise InvalidArgument(
            f"threads: expected an integer ≥ 0, got {threads!r}; a model is given back, whose save(path) writes a file"
        )
    name = Path(source).stem if isinstance(source, (str, os.PathLike)) else ""
    with naming(source):
        return build(CompressedFile(source), name, threads or os.cpu_count() or 1, memory_limit, levels)


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
    name: str, role: str, tensor: Stored, chosen: _Levels, plan: Plan
) -> tuple[CompressedTensor, bytes] | None:
    """None for a tensor that is to be coded without loss."""
    given = tensor.array()
    values = given.astype(np.float32, copy=False)
    try:
        found = chosen.of(name, role, values, plan)
        if found is None:
            return None
        restored = found.quantizer.dequantize(found.levels, threads=plan.threads)
        with np.errstate(over="ignore"):
            restored = restored.astype(given.dtype, copy=False)
    except InvalidArgument as failure:
        raise InvalidArgument(f"tensor {name!r}: {failure}") from None
    data = pack_quantized(
        found.levels, tensor.data_type, found.quantizer, plan.profile, plan.threads, found.trellis
    )
    wide = given.astype(np.float64)
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


def _lossless(
    name: str, role: str, tensor: Stored, profile: str, threads: int
) -> tuple[CompressedTensor, bytes]:
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
