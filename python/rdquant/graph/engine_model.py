"""Models read by the C++ core, straight into the engine's graph: neither the package onnx nor surgery."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .._cached import cached
from .._core import model as _core
from .._core.graph import Graph
from .._tables import label, short
from ..errors import RdquantError
from .ports import TensorInfo, dtype_named

if TYPE_CHECKING:
    from .model import Model

__all__ = ["EngineModel", "can_load", "open_for_engine", "why_not"]

_BLOCK = 1 << 20
_MEMORY_LIMIT = 1 << 34  # bytes of decoded tensors, as for `codec.CompressedFile.values`


class EngineModel:
    """A model ready for the engine; `full` gives the Model that `load` would have made of its file.

    Made by `open_for_engine`.
    """

    def __init__(self, opened: _core.Opened, path: str) -> None:
        self._opened = opened
        self._path = path
        self.inputs = [TensorInfo(n, dtype_named(t), s) for n, t, s in opened.inputs]
        """What the model must be fed with, as `Model.inputs`."""
        self.outputs = [TensorInfo(n, dtype_named(t), s) for n, t, s in opened.outputs]
        """The outputs as the file declares them. `Model.outputs` may know more: it infers shapes."""
        self.graph: Graph = opened.graph
        if opened.facts:
            from ..codec.container import parse_facts

            self.graph.name = str(parse_facts(opened.facts).get("name", self.graph.name))
        self.name = self.graph.name

    def __repr__(self) -> str:
        return short(self, f"{label(self.name)}: inputs {', '.join(port.name for port in self.inputs)}")

    @property
    def outputs_are_fixed(self) -> bool:
        """Whether the file gives every size of the outputs, so that inference has nothing to add."""
        return all(isinstance(size, int) for o in self.outputs for size in o.shape)

    @property
    def batch_is_known(self) -> bool:
        """Whether inference can add nothing that decides on whether the batch is fixed."""
        fixed = all(i.shape and isinstance(i.shape[0], int) for i in self.inputs)
        return not fixed or all(o.shape and isinstance(o.shape[0], int) for o in self.outputs)

    @cached
    def file_bytes(self) -> int:
        """Size of the model's file."""
        return os.stat(self._path).st_size

    @cached
    def fingerprint(self) -> str:
        """Hex SHA-256 of the file's bytes; `Model.fingerprint`, which needs the package onnx, is another."""
        import hashlib  # where it is used: it loads OpenSSL, 3.5 MB that opening and running do without

        digest = hashlib.sha256()
        with open(self._path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def full(self) -> Model:
        """The Model; it shares the weights, and the file is not read again."""
        opened = self._opened
        if opened.compressed:
            from .compressed import rebuild

            return rebuild(opened.skeleton, dict(opened.stored), self._path, opened.size, self.name)
        from .loader import load_kept
        from .sources import KeptSource

        return load_kept(KeptSource(self._path, opened.size, opened.skeleton, opened.payloads), self.name)


def open_for_engine(path: str | os.PathLike[str]) -> EngineModel | None:
    """The model in the file `path`; None where `load` has to look at it, or to tell what is wrong with it."""
    try:
        path = os.fspath(path)
        return EngineModel(_core.open(os.fsencode(path), 0, _MEMORY_LIMIT), path)
    except (RdquantError, ValueError, TypeError):
        return None


def can_load() -> bool:
    """Whether the package onnx is there, which `load` needs."""
    from importlib.util import find_spec

    return find_spec("onnx") is not None


def why_not(path: str | os.PathLike[str]) -> str:
    """The core's error for the model in the file `path`; "" where it reads it."""
    try:
        _core.open(os.fsencode(path), 0, _MEMORY_LIMIT)
    except (RdquantError, ValueError, TypeError) as error:
        return str(error)
    return ""
