from typing import Any

from numpy.typing import NDArray

def prune_quantize(
    weights: NDArray[Any], gamma: float, bits: int, out: NDArray[Any], threads: int = 1
) -> tuple[float, float, int]: ...
def prune_layers_f32(
    layers: list[tuple[Any, ...]], gamma: float, bits: int, threads: int
) -> list[tuple[float, float, int]]: ...
def prune_layers_f64(
    layers: list[tuple[Any, ...]], gamma: float, bits: int, threads: int
) -> list[tuple[float, float, int]]: ...
