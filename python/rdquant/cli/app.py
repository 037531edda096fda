"""The command `rdquant`: a thin skin over the Python API."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from . import compress, emit, fit, info, profile, quantize, run, significance, study, train
from .options import HELP
from .terminal import Group

__all__ = ["app", "main"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant demo --open\n"
    "  rdquant fit model.onnx --criterion kl\n"
    "  rdquant sweep model.onnx --data images/ -o study/\n\n"
    "Exit codes: 0 done, 1 the work failed, 2 the command line is wrong, 130 interrupted."
)

app = typer.Typer(
    name="rdquant",
    cls=Group,
    epilog=_EPILOG,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings=HELP,
    no_args_is_help=True,
)


def _print_version(value: bool) -> None:
    if value:
        from .. import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Make trained neural networks small and fast, and show what every bit costs."""


for command in (info, fit, study, compress, significance, quantize, run, emit, profile, train):
    command.register(app)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(app())
