"""A loaded model: its graph, and its weights as arrays beside it."""

from __future__ import annotations

import hashlib
import html
import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import numbers_of
from .._cached import cached
from .._tables import label, short
from ..errors import InvalidArgument, described, needed, path_of, several
from .ports import TensorInfo, suggestion
from .roles import ROLES
from .tensors import Parameter, Stored, captured
from .writer import complete, referring, save

with needed():
    import onnx

__all__ = ["Model", "Origin", "rebuilt"]

#: Operator → places of inputs that are weights or biases where they are integers that the file holds.
_INTEGER_WEIGHTS = {
    "DequantizeLinear": (0,),
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
}
_MIB = 1 << 20


@dataclass(frozen=True)
class Origin:
    """What is known about the file before surgery; bytes include external data."""

    source: str
    name: str
    file_bytes: int
    opset: int | None
    nodes: int
    notes: Mapping[str, str] = field(default_factory=dict)


class Model:
    """An immutable ONNX model; make one with `rdquant.load`.

    The graph has been checked, upgraded to opset ≥ 13, its shapes inferred and its constants folded. The
    learned tensors have not been touched: names, values, dtypes and order are the file's.
    """

    def __init__(
        self,
        skeleton: onnx.ModelProto,
        tensors: Mapping[str, Stored],
        parameters: list[Parameter],
        origin: Origin,
    ) -> None:
        self._skeleton = skeleton
        self._tensors = dict(tensors)
        self._parameters = tuple(parameters)
        self._origin = origin

    @property
    def source(self) -> str:
        """The path that was loaded, "<bytes>" or "<ModelProto>"."""
        return self._origin.source

    @property
    def name(self) -> str:
        """Stem of the file's name, or the graph's name."""
        return self._origin.name

    @property
    def parameters(self) -> list[Parameter]:
        """The learned tensors, in the order in which the graph first uses them."""
        return list(self._parameters)

    @cached
    def inputs(self) -> list[TensorInfo]:
        """The inputs that must be given to the model; initializers are not among them."""
        return [TensorInfo.of(i) for i in self._skeleton.graph.input]

    @cached
    def outputs(self) -> list[TensorInfo]:
        """The outputs of the model."""
        return [TensorInfo.of(o) for o in self._skeleton.graph.output]

    @property
    def proto(self) -> onnx.ModelProto:
        """The complete model, weights included: a copy for the caller. Models beyond 2 GB cannot be
        serialised.
        """
        return complete(self._skeleton, self._tensors)

    @property
    def skeleton(self) -> onnx.ModelProto:
        """The graph with `tensors()` as external data in a file that does not exist: a copy.

        For backends that take the tensors as arrays.
        """
        return referring(self._skeleton, self._used, "weights")

    def tensors(self) -> dict[str, tuple[int, NDArray[Any]]]:
        """All tensors that `skeleton` refers to: ONNX element type and array; those that no node uses are
        left out.

        Floating-point tensors come in their shape and dtype, others as bytes (uint8); read-only views.
        """
        return {name: (t.data_type, t.array() if t.is_float else t.data) for name, t in self._used.items()}

    def parts(self) -> tuple[bytes, dict[str, Stored]]:
        """The graph without `tensors()`, serialised, and these tensors as they are stored."""
        return self._skeleton.SerializeToString(), dict(self._used)

    @cached
    def _used(self) -> dict[str, Stored]:
        names = captured(self._skeleton.graph)
        return {name: t for name, t in self._tensors.items() if name in names}

    def weights(self, roles: Collection[str] = ROLES) -> dict[str, NDArray[Any]]:
        """The learned tensors by name: read-only views in the file's dtype (float16, float32, float64) and
        shape.

        roles: which of "weight", "bias" and "normalization" to give; all by default; else InvalidArgument. Graph order. The
        arrays are aligned to their dtype and C-contiguous.
        """
        wanted = [] if isinstance(roles, str) else several(roles)
        good = isinstance(roles, Collection) and not isinstance(roles, str)
        if not good or not all(isinstance(role, str) and role in ROLES for role in wanted):
            raise InvalidArgument(f"roles: expected a list of some of {ROLES}, got {described(roles)}")
        return {p.name: self._tensors[p.name].array() for p in self._parameters if p.role in wanted}

    @cached
    def levels(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that hold weights and biases as integers, by name: of quantized networks."""
        found = {}
        for node in self._skeleton.graph.node:
            places = _INTEGER_WEIGHTS.get(node.op_type, ())
            for name in (node.input[i] for i in places if i < len(node.input)):
                stored = self._tensors.get(name)
                if stored is not None and not stored.is_float:
                    found[name] = tuple(stored.dims)
        return found

    def replace_weights(self, tensors: Mapping[str, ArrayLike]) -> Model:
        """A model with the same graph and `tensors` in place of the learned tensors of the same names.

        Values are rounded to the stored dtype. Raises InvalidArgument for unknown names, other shapes and
        values that are not real numbers. Float arrays of the stored dtype are not copied: do not change them
        later.
        """
        return Model(
            self._skeleton,
            {**self._tensors, **self._converted(tensors)},
            list(self._parameters),
            self._origin,
        )

    def _converted(self, tensors: Mapping[str, ArrayLike]) -> dict[str, Stored]:
        known = {p.name: p for p in self._parameters}
        out = {}
        if not isinstance(tensors, Mapping):
            raise InvalidArgument(
                f"tensors: expected arrays by the names of weights, got {described(tensors)}"
            )
        for name, values in tensors.items():
            parameter = known.get(name)
            if parameter is None:
                raise InvalidArgument(
                    f"tensors: {self.name} has no weight {name!r}{suggestion(str(name), known)} "
                    f"(it has {len(known)} weights)"
                )
            array = numbers_of(values, f"weight {name!r}")
            if array.dtype.kind not in "fiu":
                raise InvalidArgument(f"weight {name!r}: expected real numbers, got dtype {array.dtype}")
            if array.shape != parameter.shape:
                raise InvalidArgument(f"weight {name!r}: expected shape {parameter.shape}, got {array.shape}")
            data = np.ascontiguousarray(array, parameter.dtype).reshape(-1).view(np.uint8)
            out[name] = Stored(self._tensors[name].data_type, parameter.shape, data)
        return out

    def with_outputs(self, names: Collection[str]) -> Model:
        """The same model that gives the values `names` of its graph instead of its own outputs, in this order.

        Raises InvalidArgument for no name at all, or one that no node of the main graph gives.
        """
        skeleton = onnx.ModelProto()
        skeleton.CopyFrom(self._skeleton)
        graph = skeleton.graph
        given = {name for node in graph.node for name in node.output if name}
        known = {value.name: value for value in (*graph.value_info, *graph.output)}
        outputs = []
        if not isinstance(names, Collection) or isinstance(names, (str, bytes)):
            raise InvalidArgument(f"names: expected a list of values of the graph, got {described(names)}")
        for name in dict.fromkeys(map(str, several(names))):
            if name not in given:
                raise InvalidArgument(f"names: {self.name}: no node gives {name!r}{suggestion(name, given)}")
            blank = onnx.helper.make_empty_tensor_value_info(name)
            blank.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            outputs.append(known.get(name, blank))
        if not outputs:
            raise InvalidArgument(f"names: expected at least one value of {self.name}, got none")
        del graph.output[:]
        graph.output.extend(outputs)
        return self.with_graph(skeleton)

    def with_graph(self, skeleton: onnx.ModelProto, more: Mapping[str, Stored] | None = None) -> Model:
        """The graph `skeleton` around the same tensors, and `more`.

        It is taken over unchecked: what `parts` or `skeleton` gives, changed with care.
        """
        tensors = {**self._tensors, **(more or {})}
        stated = [
            t for t in skeleton.graph.initializer if t.name not in tensors
        ]  # others are references to tensors
        if len(stated) < len(skeleton.graph.initializer):
            del skeleton.graph.initializer[:]
            skeleton.graph.initializer.extend(stated)
        return Model(skeleton, tensors, list(self._parameters), self._origin)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ONNX file, atomically; also over the file that was loaded.

        A model of more than 2 GB keeps its tensors in a second file, `path` + ".data". Raises InvalidArgument
        where the file cannot be written.
        """
        save(self._skeleton, self._tensors, path_of("path", path))

    @cached
    def fingerprint(self) -> str:
        """Hex SHA-256 of graph and weights: equal for the same model from a file, bytes or a saved copy.

        Names of nodes, shapes that were inferred and the producer's name have no part in it.
        """
        digest = hashlib.sha256()
        graph = self._skeleton.graph
        pieces = [*self._skeleton.opset_import, *graph.input, *graph.output]
        pieces += sorted(graph.initializer, key=lambda t: t.name)
        for message in [*pieces, *graph.node]:
            copy = type(message)()
            copy.CopyFrom(message)
            if isinstance(copy, onnx.NodeProto):
                copy.name = copy.doc_string = ""
            data = copy.SerializeToString(deterministic=True)
            digest.update(len(data).to_bytes(8, "little") + data)
        for name, stored in sorted(self._tensors.items()):
            digest.update(f"{name}\0{stored.data_type}\0{stored.dims}\0".encode())
            digest.update(stored.data.data)
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """The figures of thesis 004, Table 3.1, and more; plain values, fit for JSON.

        file_bytes (external data included), file_mib (file_bytes / 2^20, the table's "MB"), weight_bytes,
        weight_share (weight_bytes / file_bytes, a fraction), parameters (number of values), tensors (number
        of learned tensors), roles (values per role; "levels": weights and biases that are integers), dtypes
        (values per dtype), nodes and opset after
        surgery, file_nodes and file_opset before, operators (op → count), and, only where surgery was not
        possible, opset_note, fold_note or shape_note.

        Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
        """
        weight_bytes = sum(p.size * p.dtype.itemsize for p in self._parameters)
        roles: Counter[str] = Counter()
        dtypes: Counter[str] = Counter()
        for p in self._parameters:
            roles[p.role] += p.size
            dtypes[p.dtype.name] += p.size
        for name, shape in self.levels.items():
            stored = self._tensors[name]
            size = int(np.prod(shape, dtype=np.int64))
            weight_bytes += stored.data.nbytes
            roles["levels"] += size
            dtypes[onnx.TensorProto.DataType.Name(stored.data_type).lower()] += size
        opset = {o.domain: o.version for o in self._skeleton.opset_import}
        return {
            "file_bytes": self._origin.file_bytes,
            "file_mib": self._origin.file_bytes / _MIB,
            "weight_bytes": weight_bytes,
            "weight_share": weight_bytes / self._origin.file_bytes,
            "parameters": roles.total(),
            "tensors": len(self._parameters) + len(self.levels),
            "roles": dict(roles),
            "dtypes": dict(dtypes),
            "nodes": len(self._skeleton.graph.node),
            "file_nodes": self._origin.nodes,
            "opset": opset.get("", opset.get("ai.onnx")),
            "file_opset": self._origin.opset,
            "operators": dict(Counter(n.op_type for n in self._skeleton.graph.node).most_common()),
            **self._origin.notes,
        }

    def __repr__(self) -> str:
        count = sum(p.size for p in self._parameters)
        count += sum(int(np.prod(shape, dtype=np.int64)) for shape in self.levels.values())
        ports = ", ".join(f"{t.name}{_shape(t.shape)}" for t in self.inputs)
        tensors, nodes = len(self._parameters) + len(self.levels), len(self._skeleton.graph.node)
        return short(
            self, f"{label(self.name)}: {count:,} weights in {tensors} tensors, {nodes} nodes, inputs {ports}"
        )

    def _repr_html_(self) -> str:
        facts = self.summary()
        rows = {
            "weights": f"{facts['parameters']:,} in {facts['tensors']} tensors",
            "file": f"{facts['file_mib']:.2f} MiB, {100 * facts['weight_share']:.3f} % of it weights",
            "inputs": ", ".join(f"{t.name} {_shape(t.shape)} {t.dtype}" for t in self.inputs),
            "outputs": ", ".join(f"{t.name} {_shape(t.shape)} {t.dtype}" for t in self.outputs),
            "graph": f"{facts['nodes']} nodes, opset {facts['opset']}",
        }
        body = "".join(f"<tr><th>{k}</th><td>{html.escape(v)}</td></tr>" for k, v in rows.items())
        return f"<table><caption>{html.escape(self.name)}</caption>{body}</table>"


def rebuilt(
    model: Model, skeleton: onnx.ModelProto, tensors: Mapping[str, Stored], parameters: list[Parameter]
) -> Model:
    """Another graph with other tensors, learned `parameters` among them, of the file of `model`; taken over unchecked."""
    return Model(skeleton, tensors, parameters, model._origin)


def _shape(shape: tuple[int | str | None, ...]) -> str:
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"
