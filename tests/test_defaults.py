"""The command line has no defaults of its own, and says what is wrong in its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from rdquant.cli import app, options
from rdquant.cli.options import api_defaults, default_text, signature_defaults

COMMANDS: dict[str, Any] = dict(get_command(app).commands)  # type: ignore[attr-defined]
SPEAKING = {name: command for name, command in COMMANDS.items() if hasattr(command.callback, "api")}
# Where a command writes when it is not told: the API writes nowhere, or always has to be told.
OWN = {("sweep", "output"), ("profile", "output")}


def test_commands_name_the_functions_they_call() -> None:
    assert set(COMMANDS) - set(SPEAKING) == {"info", "demo"}
    for command in SPEAKING.values():
        for function in command.callback.api[0]:
            assert signature_defaults(function)


@pytest.mark.parametrize("name", SPEAKING)
def test_defaults_are_those_of_the_api(name: str) -> None:
    """An option that is not given is not passed on: it has no default that could differ."""
    command = SPEAKING[name]
    shared = api_defaults(command)
    assert shared
    for option in command.params:
        if option.name in shared and (name, option.name) not in OWN:
            assert option.default in (None, False), f"{name} {option.opts[-1]}"


def test_functions_of_one_command_agree_on_defaults() -> None:
    for command in SPEAKING.values():
        known: dict[str, Any] = {}
        for function in command.callback.api[0]:
            for name, default in signature_defaults(function).items():
                if name not in ("data", "threads"):  # threads: of the operator, beside PyTorch's own
                    assert known.setdefault(name, default) == default


def test_defaults_are_read_without_pytorch_too() -> None:
    """From the source; where PyTorch is installed, they are those of the signature."""
    functions = SPEAKING["train"].callback.api[0]
    from_source = {}
    for function in functions:
        module, _, name = function.partition(":")
        from_source |= options._source_defaults(module, name)
    assert {"gamma", "bits", "keep", "epochs", "batch_size", "seed", "device"} <= set(from_source)
    signed = {k: v for function in functions for k, v in signature_defaults(function).items()}
    assert {name: signed[name] for name in from_source} == from_source


@pytest.mark.parametrize("name", SPEAKING)
def test_help_shows_the_defaults(name: str) -> None:
    shown = " ".join(CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300"}).output.split())
    for option, value in api_defaults(SPEAKING[name]).items():
        if default_text(value) and (name, option) not in OWN:
            assert "default: " + default_text(value) in shown or "(default" in shown, option


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compress", "{m}", "-o", "{o}", "--effort", "low"], "--effort: expected one of 'fast', 'max'"),
        (
            ["compress", "{m}", "-o", "{o}", "--quantizer", "midtread"],
            "--bits: the quantizer 'midtread' needs",
        ),
        (["compress", "{m}", "-o", "{o}", "--trellis", "8"], "--trellis: it needs bits or"),
        (["compress-to-size", "{m}", "-o", "{o}"], "--bits-per-weight / --bytes / --mse: expected one"),
        (["compress-to-size", "{m}", "-o", "{o}", "--bytes", "9"], "--bytes: 9 cannot be reached"),
        (["compress-within", "{m}", "-o", "{o}", "--data", "digits"], "--max-loss / --max-kl: expected"),
        (
            ["compress-within", "{m}", "-o", "{o}", "--data", "digits", "--max-loss", "0"],
            "--max-loss: expected a finite number above 0",
        ),
        (
            ["quantize", "{m}", "-o", "{o}", "--calibration", "digits", "--rounding", "up"],
            "--rounding: expected",
        ),
        (
            ["quantize", "{m}", "-o", "{o}", "--calibration", "digits", "--max-kl", "0"],
            "--max-kl: expected",
        ),
        (["quantize", "{m}", "-o", "{o}", "--mode", "dynamic", "--keep", "nothing"], "--keep: no layer"),
        (["run", "{m}", "--data", "https://example.org/photos"], "expected a folder of images"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_wrong_command_lines_exit_with_2_and_name_the_option(
    tmp_path: Path, words: list[str], said: str
) -> None:
    from rdquant.demo import digits_model

    places = {"m": digits_model(), "o": tmp_path / "o"}
    run = CliRunner().invoke(app, [word.format(**places) for word in words], env={"COLUMNS": "300"})
    assert run.exit_code == 2, run.output
    assert said in " ".join(run.output.split())
    assert not (tmp_path / "o").exists()
