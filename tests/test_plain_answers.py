"""What was wrong, ignored or said twice in other words, as a new user met it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import rdquant as rdq
from rdquant import InvalidArgument
from rdquant.cli import app
from rdquant.demo import digits_model


def spoilt(value: float) -> tuple[str, rdq.Model]:
    """The digits' network with `value` for one weight, and the name of its tensor."""
    model = rdq.load(digits_model())
    name, weight = next((n, w.copy()) for n, w in model.weights().items() if w.ndim > 1)
    weight.flat[3] = value
    return name, model.replace_weights({name: weight})


def images() -> NDArray[np.float32]:
    found: NDArray[np.float32] = rdq.Digits().get(range(8))[0]
    return found


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "quantize",
    [
        rdq.quantize_dynamic,
        lambda model: rdq.quantize_dynamic(model, calibration=images()),
        lambda model: rdq.quantize_static(model, images()),
    ],
)
def test_weights_that_are_not_finite_are_not_quantized(
    quantize: Callable[[rdq.Model], Any], value: float
) -> None:
    name, model = spoilt(value)
    with pytest.raises(InvalidArgument, match=f"tensor '{name}': value at index 3 is (NaN|infinite)"):
        quantize(model)


def test_the_command_refuses_them_too(tmp_path: Path) -> None:
    name, model = spoilt(np.nan)
    model.save(tmp_path / "net.onnx")
    result = run("quantize", tmp_path / "net.onnx", "--mode", "dynamic", "-o", tmp_path / "q.onnx")
    assert result.exit_code == 1
    assert name in result.output
    assert not (tmp_path / "q.onnx").exists()


def test_outputs_that_are_nan_are_counted() -> None:
    _, model = spoilt(np.nan)
    data = rdq.Digits()
    with pytest.warns(UserWarning, match=rf"scores of {len(data)} of {len(data)} images hold NaN") as warned:
        rdq.evaluate(model, data)
    assert len(warned) == 1
