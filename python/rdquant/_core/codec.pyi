from typing import Any

import numpy as np
from numpy.typing import NDArray

from .entropy import Counter

def measure(
    quantizers: list[Any],
    inner: int,
    x: NDArray[np.float32],
    counter: Counter,
    restored: NDArray[np.float32] | None = None,
) -> float: ...
def count(
    quantizers: list[Any], inner: int, x: NDArray[np.float32], counter: Counter, threads: int = 1
) -> None: ...
