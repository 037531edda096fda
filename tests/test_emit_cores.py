"""Emitted C on microcontrollers under QEMU: bits, flash and stack as promised."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import onnx
import pytest

import models
import rdquant as rdq
from int8_networks import NETS, pair
from networks import Net
from rdquant.emit import TARGETS
from tflite_models import converted

HERE = Path(__file__).resolve().parent / "mcu"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tflite"
# Machine of QEMU, linker's symbols.
MACHINES = {
    "m0": ("microbit", ["RAMSIZE=16K", "ROMSIZE=256K"]),
    "m3": ("mps2-an385", []),
    "m4": ("mps2-an386", []),
    "m7": ("mps2-an500", []),
    "m33": ("mps2-an505", ["ROM0=0x10000000", "RAM0=0x38000000"]),
    "m55": ("mps3-an547", []),
}
NETWORKS = ("ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8")
# What every run of the tests has of the four networks on six cores: all kernels of each core.
EACH = [
    *((target, name) for target in ("m4", "m55") for name in NETWORKS),
    *(("m0", name) for name in NETWORKS[:2]),
    *(("m3", name) for name in NETWORKS[2:]),
    ("m7", "kws_ref_model"),
    ("m33", "kws_ref_model"),
]
MORE = [(target, name) for target in TARGETS for name in NETWORKS if (target, name) not in EACH]
MISSING = [tool for tool in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")


def build(firmware: rdq.Firmware, target: str, machine: str | None = None) -> None:
    symbols = [f"-Wl,--defsym={symbol}" for symbol in MACHINES[machine or target][1]]
    flags = " ".join(["-nostartfiles", "--specs=nosys.specs", *symbols])
    make = ["make", "-B", "-C", str(firmware.path), "firmware.elf", "size", f"TARGET={target}"]
    values = [f"START={HERE / 'start.c'}", f"SCRIPT={HERE / 'core.ld'}", f"LINK_FLAGS={flags}"]
    done = subprocess.run([*make, *values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.findall(
        r"warning: (?!.*_(?:close|fstat|isatty|lseek|read|write|exit|getpid|kill))", done.stderr
    )


def run(firmware: rdq.Firmware, machine: str) -> int:
    """Bytes of stack that main took on the board of `machine`. The answer is right, or the test fails."""
    semihosting = ["-semihosting-config", "enable=on,target=native"]
    command = [
        "qemu-system-arm",
        "-M",
        MACHINES[machine][0],
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "none",
    ]
    elf = ["-kernel", str(firmware.path / "firmware.elf")]
    done = subprocess.run(
        [*command, *semihosting, *elf], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, f"wrong bytes (1) or a fault (2): {done.returncode}, {done.stderr}"
    return int(re.findall(r"\d+", done.stdout + done.stderr)[-1])


def check(model: Path, folder: Path, target: str, machine: str | None = None, **options: Any) -> rdq.Firmware:
    firmware = rdq.emit_c(model, folder, target=target, **options)
    build(firmware, target, machine)
    used = run(firmware, machine or target)
    sizes = subprocess.run(
        ["arm-none-eabi-size", str(folder / "network.elf")], capture_output=True, text=True, check=True
    ).stdout.split()
    text, bss = int(sizes[6]), int(sizes[8])
    costs = firmware.costs[target]
    assert abs(text - costs.flash) <= 0.005 * text
    assert used <= costs.stack + 64  # main and what converts inputs and outputs
    assert bss <= firmware.arena + 64
    return firmware


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rdquant.demo import digits_model

    path = tmp_path_factory.mktemp("digits") / "digits.int8.onnx"
    rdq.quantize_static(digits_model(), "digits", images=32).save(path)
    return path


@pytest.mark.parametrize("target", TARGETS)
def test_digits_on_every_core(target: str, digits: Path, tmp_path: Path) -> None:
    check(digits, tmp_path / "c", target)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["m0", "m4"])
@pytest.mark.parametrize("name", ["differences", "reductions", "frames", "blocks"])
def test_operators_of_others_models(name: str, target: str, tmp_path: Path) -> None:
    """With and without an FPU: main fails where a byte differs."""
    net = Net(7)
    out = NETS[name][0](net, pair(net, "x", -2, 2, "u8"), "u8")
    model = models.build(net.nodes, net.tensors, {"x": (1, 3, 16, 16)}, {out: list("abcd")})
    firmware = rdq.emit_c(model, tmp_path, target=target)
    machine = "m3" if target == "m0" else target  # the board with an M0 has too little memory
    build(firmware, target, machine)
    assert run(firmware, machine) <= firmware.costs[target].stack + 64


def with_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """The levels that go into its softmax are an output, too: they differ, where probabilities are a 1 and zeros."""
    for node in model.graph.node:
        if node.op_type == "Softmax":
            levels = next(n.input[0] for n in model.graph.node if node.input[0] in n.output)
            shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(levels, onnx.TensorProto.INT8, shape)
            )
    return model


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the clone")
@pytest.mark.parametrize(
    ("target", "name"), [*EACH, *(pytest.param(*c, marks=pytest.mark.slow) for c in MORE)]
)
def test_networks_of_mlperf_tiny(target: str, name: str, tmp_path: Path) -> None:
    """QEMU's only board with an M0 has 16 KB of RAM, 256 KB of flash: what does not fit runs, as code for an M0, on an M3."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(with_logits(converted(DATA / f"{name}.tflite")).SerializeToString())
    coded = (target, name) == ("m0", "ad01_int8")
    machine = "m3" if target == "m0" and name in ("pretrainedResnet_quant", "vww_96_int8") else target
    check(path, tmp_path / "c", target, machine, compressed_weights=coded)


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the clone")
@pytest.mark.parametrize(
    ("target", "name", "flash"),
    [("m3", "ad01_int8", 0.7), ("m4", "vww_96_int8", 0.24), ("m55", "vww_96_int8", 0.24)],
)
def test_coded_weights(target: str, name: str, flash: float, tmp_path: Path) -> None:
    """`flash`: of the size of the .tflite file."""
    path, source = tmp_path / f"{name}.onnx", DATA / f"{name}.tflite"
    path.write_bytes(converted(source).SerializeToString())
    firmware = check(path, tmp_path / "c", target, compressed_weights=True)
    assert firmware.flash <= flash * source.stat().st_size
    assert firmware.arena == rdq.emit_c(path, tmp_path / "plain").arena


@pytest.mark.skipif(not DATA.is_dir(), reason="no shared data beside the clone")
@pytest.mark.parametrize(
    ("target", "name", "most"),
    [
        ("m4", "kws_ref_model", 1.6),
        ("m4", "pretrainedResnet_quant", 1.3),
        ("m3", "kws_ref_model", 4.5),
        ("m55", "kws_ref_model", 1.0),
    ],
)
def test_instructions_for_each_multiply_accumulate(
    target: str, name: str, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the whole network, with the Makefile's own flags; counts are the same on every run."""
    monkeypatch.syspath_prepend(str(HERE.parents[1] / "benchmarks"))
    import count_instructions

    model = tmp_path / "model.onnx"
    model.write_bytes(converted(DATA / f"{name}.tflite").SerializeToString())
    plugin = tmp_path / "icount.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", str(HERE / "icount.c"), "-o", str(plugin)], check=True)
    firmware = rdq.emit_c(model, tmp_path / "c", target=target)
    found = count_instructions.executed(firmware.path, target, "-Os", plugin)
    network = sum(n for source, n in found.items() if source not in ("start.c", "main.c"))
    assert network <= most * firmware.macs
