"""Tensors coded, and models written as compressed files."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._cached import cached
from ..codec.container import FACTS, GRAPH, TENSOR, pack_graph, sections_size, write_file
from ..codec.plan import Chosen, Goal, Plan, reach
from ..codec.sections import pack_floats, pack_integers, pack_quantized, pack_raw
from ..entropy import entropy
from ..errors import InvalidArgument, needed
from ..graph import Model
from ..graph.tensors import Stored
from ..quant import Quantizer
from .result import CompressedTensor, CompressionResult

with needed():
    import onnx
    from onnx import numpy_helper

if TYPE_CHECKING:
    from .levels import Levels

__all__ = ["Choose", "ChosenLevels", "Writer", "write_levels"]

Choose = Callable[[str, NDArray[np.float32]], Quantizer]
Coded = dict[str, tuple[CompressedTensor, bytes]]
_FINE = 12  # bits per value
_INT4 = (21, 22)
_INTEGERS = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 12: "uint32"}


def write_levels(
    model: Model, path: str | os.PathLike[str], levels: Levels, effort: str = "fast", threads: int = 0
) -> CompressionResult:
    """Write `model` with the given levels in place of some tensors, atomically.

    Args:
        model: a `Model`.
        path: where to write.
        levels: by a tensor's name the levels that take its place; all others are coded without loss.
        effort: "fast" or "max", as for `compress`.
        threads: up to this many threads; 0: all cores.

    Raises RdquantError where the file cannot be written.
    """
    roles = {p.role for p in model.parameters if p.name in levels}
    return Writer(model, Plan(effort, threads)).write(
        path, ChosenLevels(None, roles, levels), "midtread by data" if levels else "none"
    )


@dataclass(frozen=True)
class ChosenLevels:
    """Quantizers, or levels that are known; what has neither is coded without loss."""

    choose: Choose | None
    roles: Collection[str]
    known: Mapping[str, Chosen] = field(default_factory=dict)

    @classmethod
    def by(cls, quantizer: Quantizer | Choose, roles: Collection[str]) -> ChosenLevels:
        """Of all tensors in these roles, by one quantizer or a function that gives it."""
        choose = (lambda name, x: quantizer) if isinstance(quantizer, Quantizer) else quantizer
        return cls(choose, roles)

    def has(self, name: str) -> bool:
        """Whether a tensor in these roles has levels."""
        return self.choose is not None or name in self.known

    def of(self, name: str, role: str, values: NDArray[np.float32], plan: Plan) -> Chosen | None:
        """A tensor's levels and quantizer; None for one that is to be coded without loss."""
        if name in self.known:
            return self.known[name]
        if self.choose is None or role not in self.roles:
            return None
        return plan.levels(values, self.choose(name, values))


class Writer:
    """Codes a model's tensors and writes them, in the model's order."""

    def __init__(self, model: Model, plan: Plan) -> None:
        self._model, self._plan = model, plan
        self._graph, self._stored = model.parts()
        self._kept: dict[frozenset[str], dict[str, bytes]] = {}
        self._role_of = {p.name: p.role for p in model.parameters} | dict.fromkeys(model.levels, "weight")

    def write(self, path: str | os.PathLike[str], levels: ChosenLevels, label: str) -> CompressionResult:
        """With these levels."""
        return self._store(path, self._code(self._stored, levels), label, levels.roles)

    def size(self, levels: ChosenLevels, label: str) -> tuple[int, int]:
        """Bytes of the file that `write` would write, and of the quantized tensors in it."""
        roles = frozenset(levels.roles)
        rest = self._kept.get(roles)
        if rest is None:
            chosen = {n for n, t in self._stored.items() if self._is_chosen(n, t, roles) and levels.has(n)}
            names = [n for n in self._stored if n not in chosen]
            rest = self._kept[roles] = {n: data for n, (_, data) in self._code(names, levels).items()}
        packed = dict(rest)
        for name, tensor in self._stored.items():
            if name not in rest:
                found = _chosen(name, self._role_of[name], tensor, levels, self._plan)
                assert found is not None
                packed[name] = _packed(tensor, found, self._plan)
        quantized = sum(len(data) for name, data in packed.items() if name not in rest)
        return sections_size(self._sections(packed, label, roles)), quantized

    def section_size(self, name: str, chosen: Chosen) -> int:
        """Bytes of the section of tensor `name` with these levels."""
        return len(_packed(self._stored[name], chosen, self._plan))

    def _is_chosen(self, name: str, tensor: Stored, roles: Collection[str]) -> bool:
        return tensor.is_float and self._role_of.get(name, "") in roles

    def reach(
        self,
        path: str | os.PathLike[str],
        goal: Goal,
        family: Callable[[float], Quantizer],
        roles: Collection[str],
    ) -> CompressionResult:
        """With the step that comes near `goal`; raises InvalidArgument where none does."""
        names = [n for n, t in self._stored.items() if self._is_chosen(n, t, roles)]
        if not names:
            raise InvalidArgument(f"{goal.name}: the model has nothing to quantize (roles: {sorted(roles)})")
        rest = self._code([n for n in self._stored if n not in names], ChosenLevels(None, roles))
        learned = [row for row, _ in rest.values() if row.role]
        label = family(1.0).label
        step, coded = reach(
            goal,
            lambda step: self._code(names, ChosenLevels(lambda name, x: family(step), roles)),
            learned,
            lambda found: sections_size(self._sections(_bytes({**rest, **found}), label, roles)),
        )
        label = family(step).label
        values = sum(math.prod(row.shape) for row, _ in coded.values())
        if 8 * _size(coded) > _FINE * values:  # steps so fine that the floats themselves may take less
            exact = self._code(names, ChosenLevels(None, roles))
            if _size(exact) <= _size(coded):
                coded, label = exact, "none"
        return self._store(path, rest | coded, label, roles)

    def _code(self, names: Iterable[str], levels: ChosenLevels) -> Coded:
        coded: Coded = {}
        for name in names:
            role, tensor = self._role_of.get(name, ""), self._stored[name]
            found = _quantized(name, role, tensor, levels, self._plan) if tensor.is_float else None
            coded[name] = found or _lossless(name, role, tensor, self._plan.effort, self._plan.threads)
        return coded

    def _store(
        self, path: str | os.PathLike[str], coded: Coded, label: str, roles: Collection[str]
    ) -> CompressionResult:
        sections = self._sections(_bytes(coded), label, roles)
        size = write_file(path, sections)
        original = int(self._model.summary()["file_bytes"])
        rows = tuple(coded[name][0] for name in self._stored)
        return CompressionResult(os.fspath(path), size, len(self._packed), original, rows)

    @cached
    def _packed(self) -> bytes:
        return pack_graph(self._graph)

    def _sections(
        self, packed: Mapping[str, bytes], label: str, roles: Collection[str]
    ) -> list[tuple[int, str, bytes]]:
        plan = self._plan
        facts: dict[str, Any] = {
            "name": self._model.name,
            "profile": plan.effort,
            "quantizer": label,
            "roles": sorted(roles),
        }
        if plan.rdo is not None:
            facts |= {"rdo": plan.rdo, "trellis": plan.trellis}
        sections = [(GRAPH, "graph", self._packed), (FACTS, "facts", json.dumps(facts).encode())]
        return sections + [(TENSOR, name, packed[name]) for name in self._stored]


def _quantized(
    name: str, role: str, tensor: Stored, chosen: ChosenLevels, plan: Plan
) -> tuple[CompressedTensor, bytes] | None:
    """None for a tensor that is to be coded without loss."""
    found = _chosen(name, role, tensor, chosen, plan)
    if found is None:
        return None
    given = tensor.array()
    with _naming(name), np.errstate(over="ignore"):
        restored = found.quantizer.dequantize(found.levels, threads=plan.threads)
        restored = restored.astype(given.dtype, copy=False)
    data = _packed(tensor, found, plan)
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


def _chosen(name: str, role: str, tensor: Stored, levels: ChosenLevels, plan: Plan) -> Chosen | None:
    with _naming(name):
        return levels.of(name, role, tensor.array().astype(np.float32, copy=False), plan)


def _packed(tensor: Stored, found: Chosen, plan: Plan) -> bytes:
    return pack_quantized(
        found.levels, tensor.data_type, found.quantizer, plan.effort, plan.threads, found.trellis
    )


@contextlib.contextmanager
def _naming(tensor: str) -> Iterator[None]:
    """What is wrong with a tensor is said with its name."""
    try:
        yield
    except InvalidArgument as failure:
        raise InvalidArgument(f"tensor {tensor!r}: {failure}") from None


def _size(coded: Coded) -> int:
    return sum(row.bytes for row, _ in coded.values())


def _bytes(coded: Coded) -> dict[str, bytes]:
    return {name: data for name, (_, data) in coded.items()}


def _lossless(
    name: str, role: str, tensor: Stored, effort: str, threads: int
) -> tuple[CompressedTensor, bytes]:
    bits, energy = float("nan"), 0.0
    levels = _integers(tensor)
    dtype = _float_dtype(tensor)
    if dtype is not None:
        coding = "floats"
        if role:
            with np.errstate(over="ignore", invalid="ignore"):
                energy = float(np.square(tensor.array().astype(np.float64)).sum())
        data = pack_floats(tensor.data, tensor.dims, tensor.data_type, dtype, effort, threads)
    elif levels is not None:
        coding, bits = "integers", entropy(levels.astype(np.int32)) if levels.size else 0.0
        data = pack_integers(levels, tensor.data_type, effort, threads)
    else:
        coding, data = "raw", pack_raw(tensor.data, tensor.dims, tensor.data_type)
    return CompressedTensor(name, role, tensor.dims, coding, len(data), bits, 0.0, energy), data


def _float_dtype(tensor: Stored) -> Any:
    return tensor.array().dtype if tensor.is_float else None


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
