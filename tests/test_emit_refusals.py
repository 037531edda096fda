"""What cannot be written as C: errors that name the node, and say what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emitted
import rdquant as rdq
from emitted import same_bits, small, whole
from int8_networks import layer, pair
from networks import Net

pytestmark = pytest.mark.skipif(emitted.COMPILER is None, reason="needs gcc")


def _broken(net: Net) -> str:
    x = pair(net, "x", -2, 2)
    return pair(net, net.call("Softmax", layer(net, x, 4, 3), axis=1), 0, 1)


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    net = Net()
    with pytest.raises(rdq.Unsupported, match=r"node 'softmax\d+' \(softmax\) cannot be emitted as C"):
        rdq.emit_c(whole(net, _broken(net), (1, 3, 8, 8)), tmp_path / "c")
    assert not (tmp_path / "c").exists()
    net = Net()
    with pytest.raises(
        rdq.Unsupported,
        match=r"input 'x' holds float32 and is not quantized .* `rdquant quantize --mode static` makes",
    ):
        rdq.emit_c(whole(net, net.conv("x", 4, 3), (1, 3, 8, 8)), tmp_path / "c")
    net = Net()
    model = whole(net, pair(net, layer(net, pair(net, "x", -2, 2), 4, 3), -3, 3), (1, 3, "h", 8))
    with pytest.raises(rdq.InvalidArgument, match=r"input 'x' leaves the size of axis 2 open"):
        rdq.emit_c(model, tmp_path / "c")


def test_what_runs_in_float_is_said_to_be(tmp_path: Path) -> None:
    """Constants that are added after a layer's levels, as in mnist-8."""
    net = Net()
    x = pair(net, layer(net, pair(net, "x", -2, 2), 4, 3), -3, 3)
    x = net.call("Relu", net.call("Add", x, net.tensor(net.random.normal(size=(4, 1, 1)))))
    y = pair(net, layer(net, pair(net, x, 0, 3), 4, 4), -3, 3)
    with pytest.raises(
        rdq.Unsupported, match=r"node 'add\d+' \(binary\) .* is quantized, but it is computed in float32"
    ):
        rdq.emit_c(whole(net, y, (1, 3, 8, 8)), tmp_path / "c")


def _unquantized(net: Net, x: str) -> str:
    return net.call("Mul", x, net.noise(4, 1, 1))


def _turned(net: Net, x: str) -> str:
    return net.call("Transpose", x, perm=[0, 1, 3, 2])


def _without_form(net: Net, x: str) -> str:
    return net.call("Max", x, _turned(net, x))


def _in_floats(net: Net, x: str) -> str:
    return net.call("Sin", net.call("Sigmoid", layer(net, x, 4, 4)))


@pytest.mark.parametrize(
    ("operator", "why"),
    [
        (_unquantized, r"'mul\d+' .* its input 't\d+' is a constant of floats; quantize that with one scale"),
        (_without_form, r"'max\d+' .* it has no integer form here; let the model end before it"),
        (
            _in_floats,
            r"ends in floats with the activation sigmoid; quantize what it gives, or let the model end",
        ),
        (lambda net, x: net.call("Tile", x, net.integers(1, 1, 2, 2)), r"'tile\d+' .* no kernel for it"),
        (lambda net, x: net.call("Gather", x, net.integers(3, 1, 0), axis=1), "do not lie evenly along"),
        (
            lambda net, x: net.call("Pad", x, net.integers(0, 1, 0, 0, 0, 0, 0, 0), mode="edge"),
            "edge and reflect around the rows and columns of one image can be emitted",
        ),
    ],
)
def test_operators_that_are_refused_say_what_to_do(operator: Any, why: str, tmp_path: Path) -> None:
    net = Net()
    x = pair(net, layer(net, pair(net, "x", -2, 2), 4, 3), -3, 3)
    with pytest.raises(rdq.Unsupported, match=why):
        rdq.emit_c(whole(net, pair(net, operator(net, x), -3, 3), (1, 3, 8, 8)), tmp_path / "c")


@pytest.mark.parametrize("mean", [False, True])
def test_three_axes_are_refused(mean: bool, tmp_path: Path) -> None:
    net = Net()
    x = pair(net, "x", -2, 2)
    if mean:
        y = net.call("GlobalAveragePool", x)
    else:
        w = net.call(
            "DequantizeLinear", net.tensor(net.random.integers(-99, 99, (4, 3, 3, 3, 3)), np.int8), "s"
        )
        net.tensors["s"] = np.float32(0.01)
        y = net.call("Conv", x, w)
    with pytest.raises(rdq.Unsupported, match=r"extends along three axes"):
        rdq.emit_c(whole(net, pair(net, y, -3, 3), (1, 3, 4, 4, 4)), tmp_path / "c")


@pytest.mark.parametrize(
    ("name", "operator", "found", "most"),
    [
        (
            "conv",
            lambda net, x: layer(net, x, 4, 4),
            r"multiplier, .* weights .*, is -?[\d.]+e\+30",
            r"1e\+30",
        ),
        ("average", lambda net, x: net.call("GlobalAveragePool", x), r"multiplier, .*, is 3e\+33", r"1e\+30"),
        ("mul", lambda net, x: net.call("Mul", x, x), None, ""),
        ("add", lambda net, x: net.call("Add", x, _turned(net, x)), r"scale of output is 3e\+33", "4096"),
    ],
)
def test_ratios_out_of_range(name: str, operator: Any, found: str | None, most: str, tmp_path: Path) -> None:
    """Of an output whose scale is tiny: refused with the node, the ratio and the range."""
    net = Net()
    x = pair(net, layer(net, pair(net, "x", -2, 2), 4, 3), -3, 3)
    model = whole(net, pair(net, operator(net, x), -1e-33, 1e-33, "s8"), (1, 3, 8, 8))
    if found is None:  # a table: any scale
        same_bits(model, tmp_path / "c", runs=1)
        return
    with pytest.raises(
        rdq.Unsupported, match=rf"node '\w*{name}\w*\d+' .*{found}, and .* below {most} can be"
    ):
        rdq.emit_c(model, tmp_path / "c")


@pytest.mark.parametrize("name", ["rdq", "main", "host", "sample", "rdq_conv", "RDQ"])
def test_names_of_other_files_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(rdq.InvalidArgument, match=f"name: '{name}' is that of another file"):
        rdq.emit_c(small(), tmp_path / "c", name=name)
    assert not (tmp_path / "c").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("")
    with pytest.raises(rdq.RdquantError, match="c: it is a file, not a folder"):
        rdq.emit_c(small(), tmp_path / "c")
