"""Where levels stand in for numbers: which nodes compute with them, which values become levels, which share a grid."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from .network import Network

__all__ = ["Placement", "place"]

_WEIGHTED = ("layer", "recurrence")
_SOFTMAXES = frozenset(("LogSoftmax", "Softmax"))


@dataclass(frozen=True)
class Placement:
    """What is quantized of a network.

    Attributes:
        nodes: indices of the nodes that compute with levels, ascending.
        roots: value that becomes levels → value whose range it takes: itself, or for what only moves levels, the value
            that they come from, and for the parts of a concatenation, the whole.
    """

    nodes: tuple[int, ...]
    roots: dict[str, str]

    @property
    def values(self) -> list[str]:
        """Values whose ranges are needed."""
        return list(dict.fromkeys(self.roots.values()))


def place(network: Network, layers: Collection[int], exact: bool = False) -> Placement:
    """The placement in which the nodes `layers` compute with levels, and with them all nodes between two of them that
    can.

    The output of a convolution becomes levels whoever reads it, unless `exact` or the network's scores are these very
    numbers; that of a product with a matrix or of a recurrent layer, and with `exact` of any convolution, only where
    something with levels reads it: so the scores of a classifier stay as exact as the last layer gives them, and boxes and
    confidences of a detector as its last convolutions do. What follows the last layer stays in float: it costs little time,
    and decoding boxes is where one scale for all wrecks detectors.
    """
    useful = _useful(network, _able(network, set(layers)))
    values: dict[str, None] = {}
    for i in sorted(useful):
        source = i
        if _is_taken_in(network, i, useful):
            source = network.maker(network.data(i)[0]) or 0
        else:
            values.update(dict.fromkeys(network.data(i)))
        layer = network.layers.get(source)
        for value in network.given(i):
            loose = layer is not None and (exact or layer.kind == "product" or _is_score(network, value))
            loose = loose or source in network.recurrent
            reader = network.next_activation(value)
            passed_on = reader is not None and _is_taken_in(network, reader, useful)
            read = any(user in useful for user in network.users(value))
            if not passed_on and (read or not loose):
                values[value] = None
    return Placement(tuple(sorted(useful)), _roots(network, useful, values))


def _is_score(network: Network, value: str) -> bool:
    """Whether `value` is what the network says, moved at most and put through a softmax."""
    users = network.users(value)
    if value in network.outputs or not users:
        return value in network.outputs
    return all(
        (network.kind(user) == "mover" or network.nodes[user].op_type in _SOFTMAXES)
        and all(_is_score(network, out) for out in network.given(user))
        for user in users
    )


def _able(network: Network, layers: set[int]) -> set[int]:
    """Nodes that could compute with levels: `layers`, and what reads nothing but what such nodes make.

    An image that is given, and is resized by weighted sums before anything else, becomes levels behind that: levels would
    be made for a node that turns them back into numbers.
    """
    able: set[int] = set()
    values = {network.input}
    given = {network.input}  # moved at most
    for i in range(len(network.nodes)):
        kind = network.kind(i)
        fits = (
            i in layers
            if kind in _WEIGHTED
            else kind != "" and all(name in values for name in network.data(i))
        )
        if kind == "other" and network.nodes[i].op_type == "Resize" and network.data(i)[0] in given:
            fits = False
        if fits:
            able.add(i)
            values.update(network.given(i))
        if kind == "mover" and network.data(i)[0] in given:
            given.update(network.given(i))
    return able


def _useful(network: Network, able: set[int]) -> set[int]:
    """Those of `able` that lead to a layer among them, or are taken in by one."""
    useful: set[int] = set()
    for i in sorted(able, reverse=True):
        leads = any(user in useful for value in network.given(i) for user in network.users(value))
        if network.kind(i) in _WEIGHTED or leads:
            useful.add(i)
    for i in sorted(able):
        maker = network.maker(network.data(i)[0]) if network.kind(i) == "activation" else None
        if maker in useful and network.kind(maker) == "layer" and _is_taken_in(network, i, useful | {i}):
            useful.add(i)
    return useful


def _is_taken_in(network: Network, i: int, useful: Collection[int]) -> bool:
    """Whether node `i` is an activation that the layer or sum before it takes in."""
    if i not in useful or network.kind(i) != "activation":
        return False
    value = network.data(i)[0]
    maker = network.maker(value)
    if maker is None or maker not in useful or network.next_activation(value) != i:
        return False
    return network.kind(maker) == "layer" or network.nodes[maker].op_type == "Add"


def _roots(network: Network, useful: set[int], values: dict[str, None]) -> dict[str, str]:
    above: dict[str, str] = {}

    def root(value: str) -> str:
        while value in above:
            value = above[value]
        return value

    for i in sorted(useful):
        if network.kind(i) == "mover":
            above.update((out, network.data(i)[0]) for out in network.given(i))
    for i in sorted(useful):
        if network.nodes[i].op_type == "Concat":
            whole = network.given(i)[0]
            for part in network.data(i):
                source = root(part)
                if source != root(whole) and _leads_only_to(network, source, i, useful):
                    above[source] = whole
    return {value: root(value) for value in values}


def _leads_only_to(network: Network, value: str, concat: int, useful: set[int]) -> bool:
    """Whether `value` goes nowhere but into node `concat`, through nodes that move it at most."""
    if value in network.outputs:
        return False
    return all(
        user == concat
        or (
            user in useful
            and network.kind(user) == "mover"
            and all(_leads_only_to(network, out, concat, useful) for out in network.given(user))
        )
        for user in network.users(value)
    )
