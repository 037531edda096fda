"""How the command line speaks: one style of errors, plain usage, tables of large networks, stages of long work."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import commands
import models
import rdquant as rdq
from rdquant.demo import digits_model

DEEP = 40


run = partial(commands.run, env={"COLUMNS": "240"})


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of 40 layers, the last of which has the most weights."""
    random, tensors, nodes = np.random.default_rng(0), {}, []
    for i in range(DEEP):
        width = 20 if i == DEEP - 1 else 8
        tensors[f"w{i}"] = random.standard_normal((8, width)).astype(np.float32)
        nodes.append(helper.make_node("MatMul", [f"v{i}", f"w{i}"], [f"v{i + 1}"], f"layer{i}"))
    path = tmp_path_factory.mktemp("deep") / "deep.onnx"
    model = models.build(nodes, tensors, {"v0": ["N", 8]}, {f"v{DEEP}": ["N", 20]})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compress", "{model}", "-o", "x.rdq", "--bits", "0"],
            "--bits: expected an integer from 1 to 24, got '0'",
        ),
        (
            ["run", "{model}", "--data", "digits", "--threads=-1"],
            "--threads: expected an integer ≥ 0, got '-1'",
        ),
        (
            ["run", "{model}", "--data", "digits", "--threads", "x"],
            "--threads: expected an integer ≥ 0, got 'x'",
        ),
        (["sweep", "{model}", "--data", "digits", "--bits", "0"], "--bits: '0': expected bits from 1 to 24"),
        (
            ["sweep", "{model}", "--data", "digits", "--quantizers", "minifloat:9"],
            "--quantizers: 'minifloat:9' is not understood (expected exponent/mantissa",
        ),
        (["run", "{model}"], "missing option '--data'"),
        (["run", "nowhere.onnx", "--data", "digits"], "MODEL: "),
        (["nothing"], "no such command 'nothing'"),
        (["run", "{model}", "--nothing", "4"], "no such option: --nothing"),
        (
            ["compress-within", "{model}", "-o", "x.rdq", "--data", "digits", "--max-kl", "-1"],
            "--max-kl: expected a finite number above 0, got -1",
        ),
    ],
)
def test_wrong_command_lines_read_as_all_other_errors(arguments: list[str], message: str) -> None:
    result = run(*(argument.format(model=digits_model()) for argument in arguments), code=2)
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"Error: {message}")
    assert lines[1:] in ([], [re.sub(r" -h .*", "", lines[-1]) + " -h explains what it takes."])
    assert result.stdout == ""


@pytest.mark.parametrize(
    "command", ["sweep", "info", "compress", "decompress", "quantize", "profile", "report"]
)
def test_usage_is_plain(command: str) -> None:
    text = run(command, "--help").stdout
    (usage,) = re.findall(r"Usage: .*", text)
    assert not re.search(r"[{}]|\.onnx|\.rdq", usage)


def names(text: str) -> list[str]:
    """The layers or tensors that a table has a line for."""
    return re.findall(r"^\s*((?:w|layer)\d+)\b", text, re.MULTILINE)


def test_tables_of_large_networks_have_the_notable_lines(deep: Path, tmp_path: Path) -> None:
    images = tmp_path / "images.npz"
    np.savez(images, x=np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32), y=np.arange(20))
    packed = tmp_path / "deep.rdq"
    quantize = ["quantize", deep, "--calibration", images, "-o", tmp_path / "q.onnx", "--rounding", "nearest"]
    for command in (["compress", deep, "-o", packed, "--bits", 6], ["info", packed], quantize):
        short, full = run(*command), run(*command, "--all")
        assert len(names(short.stdout)) == 12
        assert re.search(r"28 more (tensors|layers), .*; --all lists every one", short.stdout)
        assert len(names(full.stdout)) == DEEP
        assert "--all" not in full.stdout
        if command is not quantize:
            assert f"w{DEEP - 1}" in names(short.stdout), "the largest"
    for stage in ("ranges, stage 1 of 4", "ranking, stage 3 of 4", "balance, stage 4 of 4"):
        assert stage in short.stderr


def test_what_is_lost_is_said_as_the_result_says_it(tmp_path: Path) -> None:
    data = rdq.Digits("test").head(200)
    result = rdq.compress_within(digits_model(), tmp_path / "a.rdq", data, max_loss=3, trellis=0)
    assert result.measured is not None
    low, high = result.measured.loss_interval
    assert low <= result.measured.loss <= high
    assert high - low == pytest.approx(2 * 1.96 * result.measured.loss_error)
    words = str(result.measured)
    assert re.fullmatch(r"top-1 accuracy \S+ points \(95 % interval \S+ to \S+\)", words)
    assert words in repr(result)
    command = [
        "compress-within",
        digits_model(),
        "-o",
        tmp_path / "b.rdq",
        "--data",
        "digits",
        "--images",
        300,
    ]
    text = " ".join(run(*command, "--max-loss", 3, "--trellis", 0).stdout.split())
    assert re.search(
        r"nothing was fitted to: top-1 accuracy \S+ points \(95 % interval \S+ to \S+\); top-1 accuracy \S+ points as "
        r"expected from the float model's probabilities; KL divergence \S+ nats; top-1 agreement with the float model",
        text,
    )


def test_too_many_threads_are_told_the_limit() -> None:
    with pytest.raises(
        rdq.InvalidArgument, match=r"threads: expected an integer 0\.\.65536 .*, got 1000000000"
    ):
        rdq.Session(digits_model(), threads=10**9)


def test_words_between_colons_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_text("root:x:0:0")
    assert "which begins b'root:x:0:0'" in run("info", tmp_path / "net.onnx", code=1).stderr
