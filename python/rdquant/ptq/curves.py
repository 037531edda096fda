"""What becomes of a value where it is read: an error that a curve flattens is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .network import Network

__all__ = ["CURVES", "Curve", "curve_of"]

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def _silu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * _sigmoid(x)


def _hard_swish(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x * np.clip(x / 6 + 0.5, 0, 1)


CURVES: dict[str, Curve] = {"HardSwish": _hard_swish, "Sigmoid": _sigmoid, "Tanh": np.tanh}
"""Operators of one input that are flat somewhere; SiLU, in graphs x·Sigmoid(x), is known too."""


def curve_of(network: Network, value: str) -> tuple[Curve, str] | None:
    """(the function through which alone `value` is read, name of what it makes of it); None where it is read otherwise,
    too.
    """
    users = network.users(value)
    if value in network.outputs or not users:
        return None
    kinds = [network.nodes[user].op_type for user in users]
    if kinds[0] in CURVES and len(users) == 1:
        return CURVES[kinds[0]], network.given(users[0])[0]
    if sorted(kinds) != ["Mul", "Sigmoid"]:
        return None
    gate = network.given(users[kinds.index("Sigmoid")])[0]
    product = users[kinds.index("Mul")]
    alone = network.users(gate) == [product] and gate not in network.outputs
    if not alone or set(network.nodes[product].input) != {value, gate}:
        return None
    return _silu, network.given(product)[0]
