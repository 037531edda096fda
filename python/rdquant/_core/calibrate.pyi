from typing import Any

from numpy.typing import NDArray

from .codec import ColumnQuantizer, LevelRates

class Covariance:
    def __init__(
        self,
        channels: int,
        groups: int,
        kernel: tuple[int, int],
        strides: tuple[int, int],
        dilations: tuple[int, int],
        pads: tuple[int, int, int, int],
        positions: int,
    ) -> None: ...
    def add(self, images: NDArray[Any], threads: int) -> None: ...
    @property
    def images(self) -> int: ...
    def mean(self) -> NDArray[Any]: ...
    def shrinkage(self, centred: bool) -> list[float]: ...
    def matrix(self, centred: bool, threads: int) -> NDArray[Any]: ...

class Feedback:
    def __init__(self, covariance: NDArray[Any], threads: int) -> None: ...
    @property
    def groups(self) -> int: ...
    @property
    def inputs(self) -> int: ...
    @property
    def mean_weight(self) -> float: ...
    def round(
        self,
        weights: NDArray[Any],
        step: float,
        lambda_: float,
        rates: LevelRates | None,
        row_stride: int,
        column_stride: int,
        levels: NDArray[Any],
        threads: int,
        largest: int = ...,
        outputs: Feedback | None = ...,
    ) -> float: ...
    def round_on_trellis(
        self,
        weights: NDArray[Any],
        step: float,
        lambda_: float,
        columns: ColumnQuantizer,
        levels: NDArray[Any],
        threads: int,
        outputs: Feedback | None = ...,
    ) -> float: ...
