"""Bodies of control flow put into the main graph, under names that nothing else has."""

from __future__ import annotations

from collections import Counter
from typing import Any

from numpy.typing import NDArray

from ..errors import needed
from .checks import subgraphs
from .known import Known

with needed():
    import onnx
    from onnx import helper, numpy_helper

__all__ = ["Scope"]


class Scope:
    """The main graph while bodies are put into it: the names that are taken, and the values that are known."""

    def __init__(self, graph: onnx.GraphProto, opset: int) -> None:
        self.known = Known(graph, opset)
        self.opset = opset
        self._graph = graph
        self._taken: Counter[str] = Counter(_names(graph))
        self._tried: Counter[str] = Counter()

    def fresh(self, stem: str) -> str:
        """`stem`, or with a number behind it where that name is taken; taken from now on."""
        name = stem
        while self._taken[name]:
            self._tried[stem] += 1
            name = f"{stem}_{self._tried[stem]}"
        self._taken[name] += 1
        return name

    def release(self, node: onnx.NodeProto) -> None:
        """Frees the names of the bodies of `node`, which is about to go."""
        for body in subgraphs(node):
            self._taken.subtract(_names(body))

    def constant(self, stem: str, value: NDArray[Any]) -> str:
        """The name of a new initializer."""
        tensor = numpy_helper.from_array(value, self.fresh(stem))
        self._keep(tensor)
        return tensor.name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
        """A new node that gives `output`."""
        node = helper.make_node(operator, inputs, [output], name=self.fresh(output), **attributes)
        self.known.add_node(node)
        return node

    def mark(self) -> int:
        """Where the graph stands, for `undo`."""
        return len(self._graph.initializer)

    def undo(self, mark: int) -> None:
        """Takes back the initializers added since `mark`."""
        del self._graph.initializer[mark:]

    def inline(self, body: onnx.GraphProto, names: dict[str, str]) -> list[onnx.NodeProto]:
        """The nodes of `body`, its inputs named by `names`, which then also names what the body makes."""
        for tensor in body.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = names[tensor.name] = self.fresh(tensor.name)
            self._keep(copy)
        for node in body.node:
            names.update((name, self.fresh(name)) for name in node.output if name)
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in body.node]
        for node in nodes:
            _rename(node, names)
            if node.name:
                node.name = self.fresh(node.name)
            self.known.add_node(node)
        return nodes

    def _keep(self, tensor: onnx.TensorProto) -> None:
        self._graph.initializer.add().CopyFrom(tensor)
        self.known.add_tensor(tensor)


def _names(graph: onnx.GraphProto) -> list[str]:
    """Every name that `graph` and the graphs within it define, those of nodes included."""
    found = [t.name for t in graph.initializer] + [port.name for port in graph.input]
    for node in graph.node:
        found += [name for name in (node.name, *node.output) if name]
        for body in subgraphs(node):
            found += _names(body)
    return found


def _rename(node: onnx.NodeProto, names: dict[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for inner in subgraphs(node):
        own = {name for child in inner.node for name in child.output} | {t.name for t in inner.initializer}
        own |= {port.name for port in inner.input}
        visible = {old: new for old, new in names.items() if old not in own}
        for child in inner.node:
            _rename(child, visible)
        for port in inner.output:
            port.name = visible.get(port.name, port.name)
