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


FIXED = ("half", "bfloat16", "minifloat:4/3", "minifloat:4/3:best")


@pytest.mark.parametrize("quantizer", FIXED)
def test_bits_beside_a_format_are_refused(quantizer: str, tmp_path: Path) -> None:
    target = tmp_path / "z.rdq"
    with pytest.raises(InvalidArgument, match=f"^quantizer, bits: '{quantizer}'.*bits=4"):
        rdq.compress(digits_model(), target, quantizer, bits=4)
    with pytest.raises(InvalidArgument, match=f"^quantizer, bits: '{quantizer}'.*bits=4"):
        rdq.rate(rdq.load(digits_model()), quantizer, bits=4)
    rdq.load(digits_model()).save(tmp_path / "net.onnx")
    result = run("compress", tmp_path / "net.onnx", "-o", target, "--quantizer", quantizer, "--bits", 4)
    assert result.exit_code == 2
    assert "--quantizer" in result.output
    assert "--bits" in result.output
    assert not target.exists()


W = {"w": np.random.default_rng(0).normal(0, 0.1, (8, 9)).astype(np.float32)}


@pytest.mark.parametrize(
    ("quantizer", "bits", "same"),
    [
        ("midtread", 5, rdq.Midtread.from_levels(5)),
        (rdq.Midtread, 5, rdq.Midtread.from_levels(5)),
        ("deadzone:0.4", 5, rdq.Deadzone.from_levels(5, 1.0, 0.4)),
        ("half", None, rdq.Minifloat.half()),
        (rdq.Codebook, 2, rdq.Codebook.from_levels(2, W["w"])),
    ],
)
def test_quantizers_are_written_alike_everywhere(
    quantizer: Any, bits: int | None, same: rdq.Quantizer, tmp_path: Path
) -> None:
    assert rdq.rate(W, quantizer, bits=bits) == rdq.rate(W, same)
    np.testing.assert_array_equal(
        rdq.requantize(W, quantizer, bits=bits)[0]["w"], rdq.requantize(W, same)[0]["w"]
    )
    assert rdq.codec.measure.real_bits(W, quantizer, bits=bits) == rdq.codec.measure.real_bits(W, same)
    assert rdq.compress(digits_model(), tmp_path / "a.rdq", quantizer, bits=bits).bytes > 0


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        ("midtread", "^bits: the quantizer 'midtread' needs"),
        (rdq.Midtread, "^bits: the quantizer Midtread needs"),
        (rdq.Minifloat, "^quantizer: expected one family, got Minifloat"),
        (rdq.Quantizer, "quantizer: expected a Quantizer"),
        ("foo", "^quantizer: 'foo' is not understood"),
        (int, "quantizer: expected a Quantizer"),
    ],
)
def test_what_is_no_quantizer_is_named_alike(quantizer: Any, message: str, tmp_path: Path) -> None:
    for call in (
        lambda: rdq.rate(W, quantizer),
        lambda: rdq.requantize(W, quantizer),
        lambda: rdq.codec.measure.real_bits(W, quantizer),
        lambda: rdq.compress(digits_model(), tmp_path / "a.rdq", quantizer),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()


def test_a_class_is_a_family_for_a_size_too(tmp_path: Path) -> None:
    found = [
        rdq.compress_to_size(digits_model(), tmp_path / "a.rdq", bits_per_weight=4, quantizer=q).bytes  # type: ignore[arg-type]
        for q in ("midtread", rdq.Midtread)
    ]
    assert found[0] == found[1]
