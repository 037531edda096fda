"""The command line as tests call it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from typer.testing import CliRunner

from rdquant.cli import app

__all__ = ["RDQUANT", "run"]

RDQUANT = [sys.executable, "-m", "rdquant"]
"""In a process of its own."""


def run(*arguments: object, code: int = 0, env: Mapping[str, str] | None = None) -> Any:
    """The result of a command in this process, which must end with `code`."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
    assert result.exit_code == code, result.output
    return result
