"""Every operator that the engine claims, against ONNX's own node tests, on every backend of the engine."""

from __future__ import annotations

from fnmatch import fnmatch

import numpy as np
import onnx
import pytest

import models
import node_cases
import rdquant as rdq
from rdquant._core import program
from rdquant.runtime.engine import engine_backends

STANDARD = [name for name in program.operators() if "." not in name]  # the others: test_int8_models.py
BACKENDS = [name for name, reason in engine_backends().items() if not reason]
# Tests of claimed operators that are left out: pattern → why. `test_what_is_left_out_fails` holds them to it.
LEFT_OUT = {
    **dict.fromkeys(
        ("test_cast*FLOAT8*", "test_cast*FLOAT4E2M1*", "test_cast*INT4*", "test_cast*INT2*"),
        "types of fewer than 8 bits, and float8",
    ),
    **dict.fromkeys(
        (
            "test_*quantizelinear_e4m3fn*",
            "test_*quantizelinear_e5m2*",
            "test_*quantizelinear_float4e2m1",
            "test_*quantizelinear_*int4",
            "test_*quantizelinear_*int2",
        ),
        "levels of fewer than 8 bits, and float8",
    ),
    "test_*quantizelinear_blocked*": "scales of blocks",
    "test_range_*float16_type_positive_delta*": "sizes computed in float16 or bfloat16",
    "test_dft_inverse*": "expected values with errors above their own bound, 2e-7 where the exact value is 0",
    "test_equal_string*": "strings",
    "test_identity_sequence": "sequences",
    "test_identity_opt": "optional values",
    "test_training_dropout*": "training",
    "test_blackmanwindow*_expanded": "sizes computed from data",
    "test_h*window*_expanded": "sizes computed from data",
    "test_center_crop_pad_*_expanded": "sizes computed from data",
}


def left_out(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in LEFT_OUT)


def check(operator: str, backend: str, everything: bool, public: bool = False) -> None:
    names = [n for n in node_cases.claimed().get(operator, ()) if not left_out(n)]
    found = node_cases.failures(names, backend, everything, public)
    assert not found, f"{len(found)} of {len(names)} tests fail:\n" + "\n".join(
        f"{name}: {why}" for name, why in found.items()
    )


@pytest.mark.parametrize("everything", [False, True], ids=["fed", "constants"])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", STANDARD)
def test_operator(operator: str, backend: str, everything: bool) -> None:
    """With all inputs fed, and with all but the first as constants."""
    check(operator, backend, everything)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operator", STANDARD)
def test_operator_in_a_simplified_model(operator: str, backend: str) -> None:
    """Through `rdquant.Session`, which upgrades the opset, infers shapes and folds constants first."""
    check(operator, backend, everything=True, public=True)


def test_every_claimed_operator_has_a_test() -> None:
    names = [n for group in node_cases.claimed().values() for n in group if not left_out(n)]
    tested: set[str] = set().union(*(node_cases.operators_of(n) for n in names))
    assert set(STANDARD) - tested == {"GlobalLpPool", "MaxRoiPool"}, "of these ONNX has none"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(backend: str, p: int) -> None:
    x = np.random.default_rng(p).standard_normal((2, 3, 5, 4)).astype(np.float32)
    node = onnx.helper.make_node("GlobalLpPool", ["x"], ["y"], p=p)
    model = models.build([node], {}, {"x": x.shape}, {"y": (2, 3, 1, 1)}, opset=13)
    expected = (np.abs(x.astype(np.float64)) ** p).sum((2, 3), keepdims=True) ** (1 / p)
    found = rdq.Session(model, backend=backend).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("opset", [9, 13])
def test_batch_normalization_in_training_before_opset_14(backend: str, opset: int) -> None:
    """Five outputs say so; PyTorch standardizes the weights of normalizer-free networks with it."""
    x = np.random.default_rng(opset).standard_normal((2, 3, 5, 4)).astype(np.float32)
    numbers = {"s": 2.0, "b": 1.0, "m": 5.0, "v": 4.0}
    weights = {name: np.full(3, number, np.float32) for name, number in numbers.items()}
    node = onnx.helper.make_node("BatchNormalization", ["x", *weights], ["y", "m1", "v1", "m2", "v2"])
    model = models.build([node], weights, {"x": x.shape}, {"y": x.shape}, opset=opset)
    mean, variance = (f(x.astype(np.float64), (0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    found = rdq.Session(model, backend=backend).run({"x": x})["y"]
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 1e-5) * 2 + 1, atol=1e-5)


@pytest.mark.parametrize("pattern", LEFT_OUT)
def test_what_is_left_out_fails(pattern: str) -> None:
    names = [n for group in node_cases.claimed().values() for n in group if fnmatch(n, pattern)]
    assert names, f"no test is called {pattern}"
    found = node_cases.failures(names, "reference", everything=False)
    assert set(names) - set(found) == set(), "these pass: leave them out no longer"
