from typing import Any

import numpy as np
from numpy.typing import NDArray

class Uniform:
    step: float
    delta: float
    def __init__(self, step: float, delta: float, limit: int = 0) -> None: ...

class MuLaw:
    def __init__(self, mu: float, range: float, step: float, limit: int = 0) -> None: ...

class Minifloat:
    def __init__(self, exponent: int, mantissa: int, bias: int, ieee: bool) -> None: ...

class Codebook:
    def __init__(self, values: list[float]) -> None: ...

def quantize(
    quantizers: list[Any],
    inner: int,
    x: NDArray[np.float32],
    out: NDArray[np.int32],
    threads: int,
    reused: bool,
) -> None: ...
def dequantize(
    quantizers: list[Any], inner: int, levels: NDArray[np.int32], out: NDArray[np.float32], threads: int
) -> None: ...
def lloyd_max(x: NDArray[np.float32], count: int, rounds: int = 200) -> list[float]: ...
def best_bias(x: NDArray[np.float32], exponent: int, mantissa: int) -> int: ...
