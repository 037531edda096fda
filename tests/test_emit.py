"""Networks as C: the same bits as the reference backend, under sanitizers, with and without an FPU."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import emitted
import rdquant as rdq
from emitted import ROUNDINGS, answers, host_program, same_bits, small, whole
from int8_networks import NETS, layer, pair
from networks import Net
from rdquant.cli import app
from rdquant.data import ImageArray
from rdquant.emit import TARGETS
from rdquant.emit.files import SOURCES, kernel_text
from tflite_models import converted

Array = NDArray[Any]
pytestmark = pytest.mark.skipif(emitted.COMPILER is None, reason="needs gcc")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
# What tflite-micro's arena takes for activations (print_allocations of its PyPI wheel).
HEADS = {"ad01_int8": 768, "kws_ref_model": 16_000, "pretrainedResnet_quant": 49_152, "vww_96_int8": 73_728}

ROUNDING_CHECK = r"""
#include <math.h>
#include <stdio.h>
#include "rdq_round.h"
static uint64_t state = 1;
static uint32_t next(void) { state = state * 6364136223846793005u + 1442695040888963407u; return (uint32_t)(state >> 32); }
static int32_t sum(void) { const int32_t v = (int32_t)next(); return v >> (next() % 32); }
static float factor(void) {
  uint32_t bits = (next() & 0x7FFFFF) | ((next() % 60 + 80) << 23);
  if (next() % 4 == 0) bits &= 0x7FF00000; /* few bits: many ties */
  float f; memcpy(&f, &bits, sizeof f);
  return next() % 2 ? f : -f;
}
static int32_t wanted(float v) { v = v < -1000 ? -1000 : v > 1000 ? 1000 : v; return (int32_t)rintf(v); }
static int32_t found(rdq_number v) { const int32_t q = rdq_nearest(v); return q < -1000 ? -1000 : q > 1000 ? 1000 : q; }
int main(void) {
  for (uint32_t i = 0; i < 3000000; i++) {
    int32_t a = sum(), b = (int32_t)(next() % 511) - 255;
    float m = factor(), n = factor();
    if (i % 2) { /* a product that lies at a half, or next to it */
      const float half = (float)(int32_t)(next() % 512) + 0.5f;
      if (a != 0) { m = half / (float)a; uint32_t u; memcpy(&u, &m, 4); u += next() % 3 - 1; memcpy(&m, &u, 4); }
    }
    volatile float p = (float)a * m, r = (float)b * n, s, t;
    const float near = p < -255 ? -255 : p > 255 ? 255 : p; /* what lies beyond is known to */
    int32_t q = rdq_scaled(a, m);
    q = q < -255 ? -255 : q > 255 ? 255 : q;
    if (q != (int32_t)rintf(near)) { printf("scaled: %d * %a\n", a, m); return 1; }
    if (found(rdq_product(a, m)) != wanted(p)) { printf("%d * %a\n", a, m); return 1; }
    if (fabsf(n) > 1e6f || fabsf(r) > 1e6f) continue;
    s = p + n;
    if (found(rdq_sum(rdq_product(a, m), rdq_of(n))) != wanted(s)) { printf("%d * %a + %a\n", a, m, n); return 1; }
    t = p + r;
    if (found(rdq_sum(rdq_product(a, m), rdq_product(b, n))) != wanted(t)) { printf("%d * %a + %d * %a\n", a, m, b, n);
      return 1; }
  }
  return 0;
}
"""


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounding_is_that_of_floats_with_integers_too(rounding: str, tmp_path: Path) -> None:
    for file in emitted.HEADERS:
        (tmp_path / file).write_text(kernel_text(file), encoding="utf-8")
    (tmp_path / "check.c").write_text(ROUNDING_CHECK, encoding="utf-8")
    emitted.compile_c([*ROUNDINGS[rounding], "check.c", "-lm", "-o", "check"], tmp_path)
    done = subprocess.run([str(tmp_path / "check")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["u8", "s8"])
@pytest.mark.parametrize("name", [n for n in NETS if n != "silu between"])
def test_networks_of_every_kind(name: str, kind: str, tmp_path: Path) -> None:
    net = Net(7)
    x = pair(net, "x", -2, 2, kind)
    out = NETS[name][0](net, x, kind)
    same_bits(whole(net, out, (1, 3, 16, 16), "ab" if name == "classifier" else "abcd"), tmp_path)


def _convolution(net: Net, x: str, draw: Any, size: list[int], kind: str) -> str:
    """`size`: channels, rows and columns, which change."""
    channels, out = size[0], draw(st.integers(1, 9))
    kernel = draw(st.sampled_from([k for k in (1, 2, 3, 5) if k <= min(size[1:])]))
    grouped = draw(st.sampled_from(["dense", "dense", "depthwise", "halves"]))
    group = channels if grouped == "depthwise" else 2 if grouped == "halves" and channels % 2 == 0 else 1
    pads, stride = [draw(st.integers(0, kernel // 2)) for _ in range(4)], draw(st.integers(1, 2))
    size[0] = channels if group > 1 else out
    for axis in (0, 1):
        size[1 + axis] = (size[1 + axis] + pads[axis] + pads[axis + 2] - kernel) // stride + 1
    y = layer(net, x, size[0], channels, kernel, group=group, pads=pads, strides=[stride] * 2)
    return pair(net, net.call("Relu", y) if draw(st.booleans()) else y, -draw(st.integers(0, 3)), 3, kind)


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_networks(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    draw, net = data.draw, Net(data.draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["u8", "s8"]))
    size = [draw(st.integers(1, 6)), draw(st.integers(5, 11)), draw(st.integers(5, 11))]
    shape, x = (1, *size), pair(net, "x", -2, 2, kind)
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(["convolution", "convolution", "residual", "pool", "concat", "sigmoid"]))
        if what == "convolution":
            x = _convolution(net, x, draw, size, kind)
        elif what == "residual":
            y = pair(net, layer(net, x, size[0], size[0]), -3, 3, kind)
            x = pair(net, net.call("Add", x, y), -4, 4, kind)
        elif what == "pool":
            op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            x = pair(net, net.call(op, x, kernel_shape=[2, 2], pads=[1, 1, 1, 1]), -2, 2, kind)
            size[1:] = [n + 1 for n in size[1:]]
        elif what == "concat" and size[0] < 9:
            x, size[0] = net.call("Concat", x, x, axis=1), 2 * size[0]
        else:
            x = pair(net, net.call("Sigmoid", x), 0, 1, kind)
    ports = draw(st.sampled_from(["arena", "caller"]))
    same_bits(whole(net, x, shape), tmp_path_factory.mktemp("random"), runs=2, ports=ports)


@pytest.mark.parametrize("ports", ["arena", "caller"])
def test_digits(ports: str, tmp_path: Path) -> None:
    from rdquant.demo import digits_model

    model = rdq.quantize_static(digits_model(), "digits", images=32)
    path = tmp_path / "digits.int8.onnx"
    model.save(path)
    firmware = same_bits(path, tmp_path / "c", ports=ports)
    assert firmware.macs == 452_864
    assert firmware.path == tmp_path / "c"
    done = subprocess.run(
        ["make", "-C", str(firmware.path), "host", "check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("size", "stride", "ports"), [(3, 1, "arena"), (3, 2, "arena"), (5, 1, "caller"), (2, 1, "arena")]
)
def test_pairs_of_convolutions_run_row_by_row(size: int, stride: int, ports: str, tmp_path: Path) -> None:
    """A residual block: of the image between, only as many rows are kept as the second kernel has."""
    net = Net(size)
    x = pair(net, net.call("Relu", layer(net, pair(net, "x", -2, 2), 8, 3)), 0, 3)
    y = pair(net, net.call("Relu", layer(net, x, 8, 8, strides=[stride] * 2)), 0, 3)
    pads = [size // 2, size // 2, (size - 1) // 2, (size - 1) // 2]
    y = pair(net, layer(net, y, 8, 8, size, pads=pads), -3, 3)
    if stride == 1:
        y = pair(net, net.call("Add", x, y), -4, 4)
    firmware = same_bits(whole(net, y, (1, 3, 19, 16)), tmp_path, ports=ports)
    assert "rdq_conv_pair(" in (tmp_path / "model.c").read_text()
    image, patches = 8 * 19 * 16, 8 * 8 * size * size
    assert firmware.arena < 1.5 * image + patches


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the clone")
@pytest.mark.parametrize("name", HEADS)
def test_networks_of_mlperf_tiny(name: str, tmp_path: Path) -> None:
    model = converted(DATA / "tflite" / f"{name}.tflite")
    inside = same_bits(model, tmp_path / "arena", runs=1)
    alone = same_bits(model, tmp_path / "caller", runs=1, ports="caller")
    # The autoencoder's input and output are larger than the rest: they are all that its arena could lose.
    arena = alone.arena if name == "ad01_int8" else inside.arena
    assert arena <= 0.6 * HEADS[name]


@pytest.mark.parametrize("ports", ["arena", "caller"])
def test_concatenations_are_written_where_they_belong(ports: str, tmp_path: Path) -> None:
    """Branches of an inception block; a pool's output is copied, and so is what a second layer reads."""
    net = Net(5)
    x = pair(net, net.call("Relu", layer(net, pair(net, "x", -2, 2), 10, 3)), 0, 3)
    a = pair(net, layer(net, x, 6, 10), -3, 3)
    b = pair(net, net.call("Relu", layer(net, x, 7, 10, 1)), -3, 3)
    c = pair(net, layer(net, x, 10, 10, group=10), -3, 3)
    joined = net.call("Concat", a, b, c, axis=1)
    y = pair(net, layer(net, joined, 9, 23), -3, 3)
    twice = net.call("Concat", y, pair(net, net.call("Relu", layer(net, y, 3, 9)), -3, 3), axis=1)
    firmware = same_bits(whole(net, twice, (1, 3, 9, 7)), tmp_path, ports=ports)
    kernels = [row["kernel"] for row in firmware.layers]
    assert kernels.count("rdq_move") == 1
    assert "rdq_depthwise" in kernels


def _few_levels(net: Net, *shape: int) -> str:
    """Weights most of which are near 0, as numbers."""
    levels = np.clip(np.rint(net.random.laplace(0, 1, shape)), -127, 127).astype(np.int8)
    return net.call("DequantizeLinear", net.tensor(levels, np.int8), net.tensor(np.float32(0.02)))


@pytest.mark.parametrize("filters", [24, 25])
def test_weights_stay_coded(filters: int, tmp_path: Path) -> None:
    net = Net(filters)
    x = pair(net, net.call("Relu", layer(net, pair(net, "x", -2, 2), 18, 3)), 0, 3)
    x = pair(net, net.call("MaxPool", x, kernel_shape=[3, 3], strides=[3, 3]), 0, 3)
    x = net.call("Relu", net.call("Conv", x, _few_levels(net, filters, 18, 3, 3), pads=[1] * 4))
    x = pair(net, x, 0, 3)
    x = pair(net, net.call("Conv", x, _few_levels(net, 24, filters, 1, 1), strides=[2, 2]), -1, 1)
    x = net.call("Flatten", pair(net, net.call("GlobalAveragePool", x), 0, 1))
    y = pair(net, net.call("Gemm", x, _few_levels(net, 241, 24), transB=1), -3, 3)
    model = whole(net, y, (1, 3, 24, 21), "ab")
    plain = rdq.emit_c(model, tmp_path / "plain")
    coded = same_bits(model, tmp_path / "coded", compressed_weights=True)
    decoded = {row["kernel"]: row["decoded"] for row in coded.layers}
    assert decoded["rdq_coded_conv"] > 0
    assert decoded["rdq_coded_dense"] > 0
    assert coded.constants < 0.8 * plain.constants
    assert coded.arena <= plain.arena
    assert coded.cycles > plain.cycles


def test_coded_weights_may_take_the_ram_that_there_is(tmp_path: Path) -> None:
    net = Net(3)
    x = pair(net, net.call("Relu", layer(net, pair(net, "x", -2, 2), 24, 3)), 0, 3)
    y = pair(net, net.call("Conv", x, _few_levels(net, 24, 24, 3, 3), pads=[1] * 4), -3, 3)
    model = whole(net, y, (1, 3, 9, 9))
    within = rdq.emit_c(model, tmp_path / "c", compressed_weights=True)
    assert all(row["decoded"] == 0 for row in within.layers)
    more = same_bits(model, tmp_path / "more", runs=1, compressed_weights=True, max_ram=16_384)
    assert more.flash < within.flash
    assert within.ram < more.ram <= 16_384


@pytest.mark.parametrize("kind", ["u8", "s8"])
def test_inputs_that_no_level_stands_for(kind: str, tmp_path: Path) -> None:
    """Infinities and numbers beyond the levels give what the reference gives; NaN, which that refuses, the lowest level."""
    net = Net()
    model = whole(net, pair(net, net.call("Neg", pair(net, "x", -2, 2, kind)), -2, 2, kind), (1, 1, 2, 4))
    firmware = rdq.emit_c(model, tmp_path)
    header = " ".join((tmp_path / "model.h").read_text().replace("\n *", "").split())
    assert (
        "beyond its levels, infinities too, become the nearest of these. NaN, which the reference" in header
    )
    x = np.array([-np.inf, np.inf, -np.inf, 3e38, -3e38, 1e9, -1e9, 0.5], np.float32).reshape(1, 1, 2, 4)
    unknown = np.where(np.arange(8).reshape(x.shape) == 2, np.float32(np.nan), x)
    with rdq.Session(model, backend="reference") as session:
        expected = next(iter(session.run({"x": x}).values()))
        with pytest.raises(rdq.InvalidArgument, match="input 'x' contains NaN"):
            session.run({"x": unknown})
    assert expected.ravel()[0] == expected.max() > 1.9
    for rounding in ROUNDINGS:
        program = host_program(firmware, rounding)
        assert answers(program, {"x": x}) == answers(program, {"x": unknown}) == expected.tobytes()


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the clone")
def test_cifar10_resnet20(tmp_path: Path) -> None:
    """A network trained in float: what INT8 loses, and that C computes the same; no image of floats before its last mean."""
    before = DATA / "models" / "cifar10_resnet20.onnx"
    model = rdq.quantize_static(before, _cifar10("train", 64))
    images = _cifar10("test", 500)
    top1 = [rdq.evaluate(m, images)["top1"] for m in (before, model)]
    assert top1[0] - top1[1] <= 0.005, top1
    path = tmp_path / "model.onnx"
    model.save(path)
    firmware = same_bits(path, tmp_path / "c", runs=1)
    assert {"rdq_conv_pair", "rdq_add_mean_f32"} <= {row["kernel"] for row in firmware.layers}
    assert firmware.arena <= 2 * 16 * 32 * 32


def _cifar10(part: str, count: int) -> ImageArray:
    pixels = np.empty((count, 32, 32, 3), np.uint8)
    with np.load(DATA / "cifar10-jpeg.npz") as file:
        stream, places = file[f"{part}_jpeg"].tobytes(), file[f"{part}_offsets"]
        labels = file[f"{part}_labels"].astype(np.int64)
    chosen = np.arange(count) * (len(labels) // count)  # images may lie class by class
    for i, k in enumerate(chosen):
        with Image.open(io.BytesIO(stream[places[k] : places[k + 1]])) as image:
            pixels[i] = np.asarray(image.convert("RGB"))
    return ImageArray(pixels, labels[chosen], "cifar10", batch_size=100, classes=10)


def test_limits_name_the_layers_to_blame(tmp_path: Path) -> None:
    for limit in ("max_flash", "max_ram"):
        with pytest.raises(
            rdq.RdquantError, match=rf"{limit}: 100 bytes are allowed, model needs [\d,]+ on m4; .* 'conv\d+'"
        ):
            rdq.emit_c(small(), tmp_path / "c", **{limit: 100})
    assert not (tmp_path / "c").exists()
    firmware = rdq.emit_c(small(), tmp_path / "c", max_flash=20_000, max_ram=4000)
    assert firmware.flash <= 20_000
    assert firmware.ram <= 4000


def test_results_show_themselves(tmp_path: Path) -> None:
    firmware = rdq.emit_c(
        small(), tmp_path / "c", target="m0", name="net", sample=np.zeros((1, 3, 8, 8), np.float32)
    )
    assert firmware.macs == 8 * 27 * 64
    assert list(firmware.costs) == list(TARGETS) == ["m0", "m3", "m4", "m7", "m33", "m55"]
    assert firmware.cycles == sum(firmware.to_pandas()["cycles"]) > firmware.macs
    assert repr(firmware).startswith("<rdquant.Firmware ")
    assert "rdq_conv" in firmware._repr_html_()
    assert (firmware.path / "net.c").read_text().count("rdq_conv(") == 1
    with pytest.raises(
        rdq.InvalidArgument, match=r"sample: expected float32 \[1, 3, 8, 8\], got float64 \[3\]"
    ):
        rdq.emit_c(small(), tmp_path / "c", sample=np.zeros(3))
    with pytest.raises(rdq.InvalidArgument, match="'9x' is not a C identifier"):
        rdq.emit_c(small(), tmp_path / "c", name="9x")


def test_the_command_writes_and_refuses(tmp_path: Path) -> None:
    model = tmp_path / "small.int8.onnx"
    onnx.save(small(), str(model))
    arguments = ["emit-c", str(model), "-o", str(tmp_path / "c")]
    done = CliRunner().invoke(app, [*arguments, "--json", "--max-flash", "64K", "--target", "m3"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["flash"] == found["targets"]["m3"]["flash"] > found["constants"] > 8 * 27
    for target, costs in found["targets"].items():
        assert sum(row["cycles"][target] for row in found["layers"]) == costs["cycles"] > 0
    spaced = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "my firmware")])
    assert spaced.exit_code == 0
    assert "my firmware' host" in " ".join(spaced.stderr.split())
    refused = CliRunner().invoke(app, [*arguments, "--max-ram", "100"])
    assert refused.exit_code == 1
    assert "--max-ram: 100 bytes are allowed" in " ".join(refused.stderr.split())
    assert CliRunner().invoke(app, [*arguments, "--max-ram", "1Q"]).exit_code == 2
    unnamed = CliRunner().invoke(app, [*arguments, "--name", "9x"])
    assert unnamed.exit_code == 2
    assert "--name: '9x' is not a C identifier" in " ".join(unnamed.stderr.split())


def test_every_kernel_is_known() -> None:
    text = kernel_text("rdq.h")
    assert all(f"{kernel}(" in text for kernel in SOURCES)
    table = json.loads((Path(rdq.emit.__file__).parent / "targets.json").read_text(encoding="utf-8"))
    for row in table["targets"].values():
        assert set(row["kernels"]) == set(SOURCES)
