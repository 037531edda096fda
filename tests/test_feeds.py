"""What sessions are fed with."""

from __future__ import annotations

import numpy as np
import pytest

from rdquant.graph import TensorInfo
from rdquant.runtime.feeds import fits_as_it_is


@pytest.mark.parametrize(
    ("shape", "wanted", "fits"),
    [
        ((3, 4), ("N", 4), True),
        ((3, 4), (None, 4), True),
        ((3, 4), (3, 4), True),
        ((3, 4), ("N", 5), False),
        ((3, 4), (2, 4), False),
        ((4,), ("N", 4), False),
    ],
)
def test_open_axes_take_any_size_without_conversion(
    shape: tuple[int, ...], wanted: tuple[int | str | None, ...], fits: bool
) -> None:
    info = TensorInfo("x", np.dtype(np.float32), wanted)
    assert fits_as_it_is({"x": np.zeros(shape, np.float32)}, [info]) is fits
