"""Dense blocks, whose layers read all that those before them have made, behind a batch norm and an activation."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import networks
import rdquant as rdq


def block(net: networks.Net, x: str, channels: int, growth: int, layers: int, activation: str) -> str:
    parts = [x]
    for i in range(layers):
        joined = net.call("Concat", *parts, axis=1) if i else x
        wide = channels + i * growth
        active = net.norm(joined, wide)
        if activation:
            active = net.call(activation, active)
        parts.append(net.conv(active, growth, wide, bias=False))
    return net.call("Concat", *parts, axis=1)


def typed(net: networks.Net, out: str, batch: int | str) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(net.model(out, [batch, 4, 9, 7]))


def answers(
    model: onnx.ModelProto | rdq.Model, x: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Of the native and the reference backend, and the native kernels."""
    session = rdq.Session(model, backend="native", threads=threads)
    ((found,), (want,)) = (
        s.run({"x": x}).values() for s in (session, rdq.Session(model, backend="reference"))
    )
    return found, want, [f"{row['op']} {row['kernel']}" for row in session.plan()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("channels", "growth"), [(32, 16), (20, 12)])
def test_what_is_joined_already_is_not_copied_again(channels: int, growth: int, threads: int) -> None:
    net = networks.Net(3)
    inner = block(net, net.conv("x", channels, 4), channels, growth, 5, "Relu")
    model = typed(net, net.conv(inner, 8, channels + 5 * growth), 1)
    x = np.random.default_rng(4).normal(size=(1, 4, 9, 7)).astype(np.float32)
    found, want, kernels = answers(model, x, threads)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    if channels % 16 == 0:
        assert [k for k in kernels if k.startswith("concat")] == ["concat alias"] * 5


@pytest.mark.parametrize("activation", ["Relu", "", "HardSwish"])
@pytest.mark.parametrize(("channels", "growth", "batch"), [(32, 16, 1), (32, 16, 3), (20, 12, 2), (16, 8, 1)])
@pytest.mark.parametrize("signed", ["u8", "s8"])
def test_norms_become_levels_at_once(
    activation: str, channels: int, growth: int, batch: int, signed: str
) -> None:
    net = networks.Net(5)
    inner = block(net, net.conv("x", channels, 4), channels, growth, 4, activation)
    model = typed(net, net.conv(inner, 8, channels + 4 * growth), "n")
    x = np.random.default_rng(6).normal(size=(batch, 4, 9, 7)).astype(np.float32)
    quantized = rdq.quantize_static(model, x, activations=signed, max_noise=1)
    found, want, kernels = answers(quantized, x, 2)
    # norms in float may round a level the other way
    assert np.abs(found - want).mean() <= 0.002 * np.ptp(want)
    fused = sum("batch and quantize" in k for k in kernels)
    if activation == "HardSwish":
        assert fused == 0
    elif growth % 16 == 0:  # parts fill blocks
        assert fused == 4
    else:
        assert fused > 0
