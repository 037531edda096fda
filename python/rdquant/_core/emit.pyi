from collections.abc import Mapping, Sequence
from typing import Any

from .graph import Graph

def emit(
    graph: Graph,
    shapes: Mapping[str, Sequence[int]],
    name: str = "model",
    caller: bool = False,
    coded: bool = False,
    room: int = 0,
) -> dict[str, Any]: ...
