"""Plain compressed files, read straight into the engine's graph: the tensors are decoded while the graph is parsed."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._core.graph import Graph
from ..codec.container import GRAPH, CompressedFile, unpack_graph
from ..codec.lossless import DEFAULT_LIMIT
from ..codec.sections import decode_opened
from .files import KeptSource
from .ports import ELEMENT_TYPES
from .quick import QuickModel, demand, parse

if TYPE_CHECKING:
    from .model import Model

__all__ = ["read_compressed"]


class QuickCompressed(QuickModel):
    """A plain model from a compressed file."""

    def __init__(
        self, graph: Graph, name: str, file: CompressedFile, packed: bytes, values: Mapping[str, NDArray[Any]]
    ) -> None:
        super().__init__(graph, KeptSource(file.name, file.size, packed, {}), name)
        self._file = file
        self._packed = packed
        self._values = values

    def full(self) -> Model:
        """The Model; it shares the weights, and the file is not read again."""
        from .compressed import rebuild

        return rebuild(self._file, self.name, self._packed, self._values)


def read_compressed(data: bytes, path: str) -> QuickModel:
    """The model in the bytes of the file at `path`.

    Raises RdquantError for damage, and what `parse` raises.
    """
    file = CompressedFile(data)
    file.name = path
    tensors = file.opened()
    with ThreadPoolExecutor(1) as pool:
        decoded = pool.submit(decode_opened, tensors, os.cpu_count() or 1, DEFAULT_LIMIT)
        sections = [s for s in file.sections if s.kind == GRAPH]
        demand(len(sections) == 1)
        packed = unpack_graph(file.section(sections[0]))
        title = str(file.facts().get("name", Path(path).stem))
        entries = tensors.entries()
        stored = {tensor: (_type_of(element_type), shape) for tensor, element_type, shape in entries}
        demand(len(stored) == len(entries))
        source = KeptSource(path, 0, packed, {})
        graph, inputs, outputs = parse(packed, source, title, stored)
        values = decoded.result()
    for tensor, kind in stored.items():
        _add(graph, tensor, *kind, values[tensor])
    quick = QuickCompressed(graph, title, file, packed, values)
    quick.inputs, quick.outputs = inputs, outputs
    return quick


def _type_of(element_type: int) -> str:
    dtype = ELEMENT_TYPES.get(element_type, "")
    demand(bool(dtype))
    return dtype


def _add(graph: Graph, name: str, dtype: str, shape: list[int], values: NDArray[Any]) -> None:
    demand(values.nbytes == math.prod(shape) * np.dtype(dtype).itemsize)
    graph.add_initializer(name, np.ascontiguousarray(values).reshape(-1).view(np.uint8), dtype, shape)
