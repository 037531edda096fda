from collections.abc import Sequence
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

class LevelRates:
    def __init__(self, levels: NDArray[np.int32], shape: list[int]) -> None: ...

class _Enum:
    name: str
    value: int

class Profile(_Enum):
    __members__: dict[str, Profile]
    fast: Profile
    max: Profile

class LevelType(_Enum):
    __members__: dict[str, LevelType]
    int32: LevelType
    def __init__(self, value: int) -> None: ...
    def __int__(self) -> int: ...

class FloatType(_Enum):
    __members__: dict[str, FloatType]

class Coding(_Enum):
    __members__: dict[str, Coding]

class Section:
    kind: int
    name: str
    offset: int
    length: int

class Table:
    sections: list[Section]
    end: int

class Tensors:
    def __init__(self, file: Any, table: Table) -> None: ...
    def entries(self) -> list[tuple[str, int, list[int]]]: ...
    def decode(
        self, threads: int, memory_limit: int
    ) -> tuple[dict[str, NDArray[Any]], list[tuple[str, Coding, int, LevelType]]]: ...

HEAD_BYTES: int
VERSION: int

class Trellis:
    def __init__(self, states: int = 0, chains: int = 0) -> None: ...
    @property
    def states(self) -> int: ...
    @property
    def chains(self) -> int: ...

def quantize_rdo(
    x: NDArray[np.float32],
    shape: list[int],
    states: int,
    step: float,
    lam: float,
    rounds: int,
    refine: bool,
    threads: int,
    weights: NDArray[np.float32] | None,
    out: NDArray[np.int32],
) -> tuple[float, float, Trellis]: ...

class ColumnQuantizer:
    def __init__(self, levels: NDArray[np.int32], shape: list[int], states: int, fed: bool = ...) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def trellis(self) -> Trellis: ...
    def quantize(
        self,
        column: int,
        targets: NDArray[np.float32],
        delta: float,
        weight: float,
        lam: float,
        levels: NDArray[np.int32],
    ) -> None: ...

def encode_levels(
    levels: NDArray[np.int32],
    shape: list[int],
    type: LevelType,
    profile: Profile,
    threads: int,
    trellis: Trellis = ...,
) -> bytes: ...
def levels_trellis(coded: Any) -> Trellis: ...
def decode_levels(coded: Any, threads: int, memory_limit: int) -> tuple[int, NDArray[np.int32]]: ...
def encode_floats(
    values: NDArray[np.uint8], shape: list[int], type: FloatType, profile: Profile, threads: int
) -> bytes: ...
def decode_floats(coded: Any, type: FloatType, out: NDArray[np.uint8], threads: int) -> None: ...
def encode_quantized(
    levels: NDArray[np.int32],
    shape: list[int],
    element_type: int,
    quantizers: list[Any],
    inner: int,
    profile: Profile,
    threads: int,
    trellis: Trellis = ...,
) -> bytes: ...
def encode_float_tensor(
    values: NDArray[np.uint8],
    shape: list[int],
    element_type: int,
    type: FloatType,
    profile: Profile,
    threads: int,
) -> bytes: ...
def encode_integers(
    levels: NDArray[np.int32],
    shape: list[int],
    element_type: int,
    type: LevelType,
    profile: Profile,
    threads: int,
) -> bytes: ...
def encode_raw(values: NDArray[np.uint8], shape: list[int], element_type: int) -> bytes: ...
def tensor_header(
    section: Any, name: str
) -> tuple[Coding, int, list[int], LevelType, list[Any], int, int]: ...
def decode_tensors(
    tensors: Sequence[tuple[Section | None, Any, str, NDArray[Any]]], threads: int
) -> None: ...
def table_length(head: Any) -> int: ...
def read_table(head: Any) -> Table: ...
def check_section(bytes: Any, section: Section) -> None: ...
def file_head(sections: list[tuple[int, str, bytes]]) -> bytes: ...
