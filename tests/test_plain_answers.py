"""What was wrong, ignored or said twice in other words, as a new user met it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
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
        (
            rdq.Minifloat,
            "^quantizer: expected one family, Minifloat stands for .*; name one of them, such as 'minifloat:",
        ),
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


def test_a_sweep_takes_some_of_the_images_as_its_command_does(tmp_path: Path) -> None:
    data = rdq.Digits()
    with rdq.sweep(digits_model(), data, "midtread", [4], images=40, progress=False) as study:
        table = study.to_pandas()
        assert set(table["images"]) == {40}
        wanted = rdq.evaluate(digits_model(), data.spread(40))["top1"]
        assert table[table["family"] == "float"]["top1"].item() == wanted
        chosen = study.info["data_fingerprint"]
    rdq.load(digits_model()).save(tmp_path / "digits.onnx")
    options = ("--quantizers", "midtread", "--bits", "4", "--images", "40", "-o", tmp_path / "s")
    assert run("sweep", tmp_path / "digits.onnx", "--data", "digits", *options).exit_code == 0
    with rdq.Study.open(tmp_path / "s") as study:
        assert study.info["data_fingerprint"] == chosen
    with pytest.raises(InvalidArgument, match=r"^images: "):
        rdq.sweep(digits_model(), data, "midtread", [4], images=0)


def test_verdicts_of_the_best_are_for_the_loss_that_is_given() -> None:
    with rdq.sweep(digits_model(), rdq.Digits(), "midtread", [2], max_loss=0, progress=False) as study:
        assert study.to_pandas()["verdict"].tolist()[-1] == "fail"
        assert study.best(100)["verdict"].tolist() == ["pass"]
        with pytest.warns(UserWarning, match="no finished point stays within 0 percentage points"):
            assert study.best().empty
        rdq.report.best_rows(study)  # which says so in its notes: no warning


def damages(*scores: float) -> list[rdq.ptq.StepReport]:
    steps = ("levels", "rounding", "bias", "order", "balance")
    return [
        rdq.ptq.StepReport(step, rdq.ptq.Damage(score, 1.0, score))
        for step, score in zip(steps, scores, strict=True)
    ]


@pytest.mark.parametrize(
    ("scores", "undone"),
    [
        ((5, 4, 3, 2, 1), ()),
        ((5, 4, 3, 3, 1), ("order",)),
        ((5, 4, 3, 2, 2.5), ("balance",)),
        ((5, 4, 3, 4, 3.5), ("order", "balance")),
        ((3, 4, 5, 4.5, 4), ()),  # rounding and biases stay whatever they do
    ],
)
def test_steps_that_were_undone_are_named(scores: tuple[float, ...], undone: tuple[str, ...]) -> None:
    steps = tuple(damages(*scores))
    report = rdq.ptq.Report(9, 9, steps, (), rdq.ptq.Damage(min(scores), 1.0, 0.0), 0.1, False)
    assert report.undone == undone
    assert str(report).count("undone") == len(undone)


def test_the_last_line_of_quantize_is_about_the_file(tmp_path: Path) -> None:
    rdq.load(digits_model()).save(tmp_path / "net.onnx")
    command = (
        "quantize",
        tmp_path / "net.onnx",
        "--calibration",
        "digits",
        "--images",
        32,
        "-o",
        tmp_path / "q",
    )
    facts = json.loads(run(*command, "--json").stdout)
    assert facts["undone"] == [] or set(facts["undone"]) <= {"order", "balance"}
    for options, compared in (
        ((), "within the tolerated 0.1"),
        (("--max-kl", 1e-9), "than the tolerated 1e-09"),
    ):
        result = run(*command, *options)
        last = " ".join(result.stderr.split()).rpartition("bytes; ")[2]
        assert last.startswith("its KL on 32 images is ")
        assert (compared in last) or ("within the tolerated 1e-09" in last and options)
    last = run("quantize", tmp_path / "net.onnx", "--mode", "dynamic", "-o", tmp_path / "q").stderr
    assert "what its outputs lose is unknown" in " ".join(last.split())


def test_interrupted_before_anything_is_said_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rdquant.compression.tolerance import Search

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "run", interrupted)
    rdq.load(digits_model()).save(tmp_path / "net.onnx")
    command = ("compress-within", tmp_path / "net.onnx", "-o", tmp_path / "a.rdq", "--data", "digits")
    result = run(*command, "--max-kl", 0.1)
    assert result.exit_code == 130
    for text in (result.stdout, result.stderr):
        assert "Nothing was measured: the file is without loss" in " ".join(text.split())
    assert "best file" not in result.output


def test_ctrl_c_while_the_command_loads() -> None:
    script = """if True:
        import sys
        class Pressed:
            def find_spec(self, name, path, target=None):
                if name == "typer":
                    raise KeyboardInterrupt
        sys.meta_path.insert(0, Pressed())
        from rdquant.__main__ import main
        main()
    """
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert found.returncode == 130
    assert "Traceback" not in found.stderr
    assert "Interrupted" in found.stderr


def test_passes_over_the_images_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rdquant.ptq import observe, static

    def one_by_one(model: rdq.Model, values: list[str]) -> list[list[str]]:
        return [[value] for value in values]

    for module in (observe, static):
        monkeypatch.setattr(module, "portions", one_by_one)
    rdq.quantize_static(digits_model(), images(), progress=True)
    text = capsys.readouterr().err
    assert re.search(r"ranges, \d+ passes", text)


def test_a_file_that_grew_does_not_call_itself_smaller(tmp_path: Path) -> None:
    result = rdq.compress(digits_model(), tmp_path / "a.rdq")
    assert f"{result.ratio:.2f} times smaller than {result.original_bytes:,}" in repr(result)
    from dataclasses import replace

    grown = replace(result, bytes=2 * result.original_bytes)
    assert f"2.00 times the size of {result.original_bytes:,}" in repr(grown)
    assert "smaller" not in repr(grown)
