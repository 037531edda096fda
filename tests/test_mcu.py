"""The search for a version of a network that fits a microcontroller."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

import models
import rdquant as rdq
from networks import Net
from rdquant.cli import app
from rdquant.demo import digits_model


def _pooled(side: int) -> onnx.ModelProto:
    """A float network that takes images of any size, exported for one."""
    net = Net(5)
    x = net.call("Relu", net.conv("x", 12, 3))
    x = net.call("Relu", net.conv(x, 12, 12, strides=[2, 2]))
    x = net.call("Flatten", net.call("GlobalAveragePool", x))
    out = net.call("Gemm", x, net.noise(12, 5))
    return models.build(net.nodes, net.tensors, {"x": (1, 3, side, side)}, {out: ["n", 5]})


def test_fewer_bits_take_less_flash(tmp_path: Path) -> None:
    fit = rdq.fit_to_mcu(digits_model(), "digits", tmp_path / "c", max_flash=17_000, images=8)
    assert fit.firmware.flash <= 17_000
    assert fit.bits < 8 or fit.pruned > 0
    assert 0 < fit.noise < 0.2
    assert (tmp_path / "c" / "model.c").exists()
    tried = [row for row in fit.tried if row["outcome"] != "not tried"]
    assert [row["outcome"] for row in tried] == ["too large"] * (len(tried) - 1) + ["fits"]
    predicted = [row["predicted"] for row in fit.tried]
    assert predicted == sorted(predicted)
    assert fit.to_pandas()["bits"].iloc[0] == 8
    assert repr(fit).startswith("<rdquant.McuFit ")
    assert len(repr(fit)) <= 200
    assert "bits" in fit._repr_html_()


def test_a_smaller_input_takes_less_ram(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((12, 3, 32, 32)).astype(np.float32)
    whole = rdq.emit_c(rdq.quantize_static(_pooled(32), images), tmp_path / "whole")
    fit = rdq.fit_to_mcu(_pooled(32), images, tmp_path / "c", max_ram=whole.ram * 2 // 3)
    assert fit.firmware.ram <= whole.ram * 2 // 3
    assert fit.shape in ((1, 3, 24, 24), (1, 3, 20, 20))
    assert fit.bits == 8
    assert fit.model.inputs[0].shape == fit.shape
    large = [row for row in fit.tried if row["shape"] == [1, 3, 32, 32]]
    assert [row["ram"] for row in large] == [whole.ram]


def test_a_network_of_one_size_keeps_it(tmp_path: Path) -> None:
    with pytest.raises(
        rdq.RdquantError, match=r"max_ram 1,500: none of 1 candidates fits on m0, 1 emitted; least flash"
    ):
        rdq.fit_to_mcu(digits_model(), "digits", tmp_path / "c", max_ram=1500, target="m0", images=8)
    assert not (tmp_path / "c").exists()


def test_a_limit_is_needed(tmp_path: Path) -> None:
    with pytest.raises(rdq.InvalidArgument, match="max_flash, max_ram: expected one of them at least"):
        rdq.fit_to_mcu(digits_model(), "digits", tmp_path / "c")


def test_the_command(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(_pooled(16), str(model))
    images = np.random.default_rng(0).standard_normal((6, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x=images)
    arguments = [
        "fit-to-mcu",
        str(model),
        "--calibration",
        str(tmp_path / "images.npz"),
        "-o",
        str(tmp_path / "c"),
    ]
    done = CliRunner().invoke(app, [*arguments, "--max-flash", "64K", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tried"][0]["outcome"] == "fits"
    assert CliRunner().invoke(app, arguments).exit_code == 2
    done = CliRunner().invoke(app, [*arguments, "--max-flash", "1K"])
    assert done.exit_code == 1
    assert "a smaller network is needed" in done.output
