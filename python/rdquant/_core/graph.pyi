from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

class Graph:
    def __init__(self, name: str, opset: int) -> None: ...
    def add_node(
        self,
        op: str,
        domain: str,
        name: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        attributes: Mapping[str, object],
    ) -> None: ...
    def add_initializer(self, name: str, array: NDArray[Any], dtype: str, shape: Sequence[int]) -> None: ...
    def add_input(self, name: str, dtype: str, shape: Sequence[int | None]) -> None: ...
    def add_output(self, name: str) -> None: ...
