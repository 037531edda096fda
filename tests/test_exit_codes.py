"""Exit codes: 2 where the command line names what does not exist or is not allowed, 1 where the work fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from rdquant.cli import app
from rdquant.demo import digits_model

MODEL = str(digits_model())


def ran(*words: str) -> tuple[int, str]:
    """Exit code, and what is said, in one line."""
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "400"})
    return done.exit_code, " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "{t}/nope.onnx"], "MODEL: file"),
        (
            ["compress", MODEL, "-o", "{t}/a.rdq", "--quantizer", "foo"],
            "--quantizer: 'foo' is not understood",
        ),
        (
            ["compress-to-size", MODEL, "-o", "{t}/a.rdq", "--bytes", "9999", "--quantizer", "foo"],
            "--quantizer: 'foo' is not understood",
        ),
        (["compress-to-size", MODEL, "-o", "{t}/a.rdq", "--bytes", "10"], "--bytes: 10 cannot be reached"),
        (["compress", MODEL, "-o", "{t}/none/a.rdq"], "--output"),
        (["quantize", MODEL, "--mode", "dynamic", "-o", "{t}/none/a.onnx"], "--output"),
        (["run", MODEL, "--data", "{t}/none"], "--data: '{t}/none' does not exist; expected a folder"),
    ],
)
def test_2_for_what_the_command_line_names_wrongly(words: list[str], said: str, tmp_path: Path) -> None:
    code, text = ran(*(word.format(t=tmp_path) for word in words))
    assert said.format(t=tmp_path) in text
    assert code == 2
    assert not list(tmp_path.iterdir())


def test_1_for_a_damaged_file_and_for_outputs_that_cannot_be_written(tmp_path: Path) -> None:
    text, file = tmp_path / "text.onnx", tmp_path / "file"
    text.write_text("hello world")
    file.write_text("in the way")
    code, said = ran("info", str(text))
    assert (code, "not an ONNX file" in said) == (1, True)
    for words in (["sweep", MODEL, "--data", "digits"], ["compress", MODEL]):
        code, said = ran(*words, "-o", str(file / "below"))
        assert "file" in said
        assert code == 1, said


def test_a_file_that_is_cut_short_is_called_so(tmp_path: Path) -> None:
    whole = tmp_path / "m.rdq"
    assert ran("compress", MODEL, "-o", str(whole))[0] == 0
    whole.write_bytes(whole.read_bytes()[:-100])
    for words in (["info"], ["decompress", "-o", str(tmp_path / "m.onnx")], ["run", "--data", "digits"]):
        code, said = ran(words[0], str(whole), *words[1:])
        assert "the file is cut short: " in said
        assert " bytes expected from here, " in said
        assert code == 1


def test_a_classifier_on_photos_with_boxes_is_called_one(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "labels" / "1.txt").write_text("0 0.5 0.5 0.5 0.5")
    code, said = ran("run", MODEL, "--data", str(tmp_path))
    assert "holds photos with boxes, but digits is a classifier by its outputs" in said
    assert code == 2


def test_a_size_above_that_without_loss_gives_the_file_without_loss(tmp_path: Path) -> None:
    exact, sized = tmp_path / "exact.rdq", tmp_path / "sized.rdq"
    assert ran("compress", MODEL, "-o", str(exact))[0] == 0
    assert ran("compress-to-size", MODEL, "-o", str(sized), "--bits-per-weight", "40")[0] == 0
    assert sized.stat().st_size <= exact.stat().st_size + 16
