"""What the command line shows and how it ends: tables, JSON, messages, exit codes."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["Group", "keep_hint", "log", "print_json", "print_table", "records", "set_debug"]

FAILED, INTERRUPTED = 1, 130
_hints: list[str] = []  # what to say when the running command is interrupted


class Group(TyperGroup):
    """Commands whose failures are one paragraph on stderr and exit code 1; --debug adds the traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors become messages and exit codes."""
        _hints.clear()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            log("[bold]Interrupted.[/] " + (_hints[-1] if _hints else "Nothing was written."))
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(
                os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
            )  # the reader has gone: say nothing more
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("click", "typer"):
                raise
            if ctx.find_root().meta.get("debug"):
                traceback.print_exc()
            _print_error(error)
            raise typer.Exit(FAILED) from error


def set_debug(ctx: typer.Context, value: bool) -> bool:
    """Callback of --debug: remembers it for `Group`."""
    if value:
        ctx.find_root().meta["debug"] = True
    return value


def keep_hint(text: str) -> None:
    """Say `text` if the user interrupts the command from now on."""
    _hints.append(text)


def _print_error(error: Exception) -> None:
    from rich.markup import escape

    from .errors import RdquantError

    expected = isinstance(error, RdquantError | OSError)
    name = "" if expected else f"{type(error).__name__}: "
    more = "" if expected else " (--debug shows where)"
    log(f"[bold red]Error:[/] {escape(name + ' '.join(str(error).split()))}{more}")


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=stderr)
    if not console.is_terminal and not stderr:
        console = Console(highlight=False, width=200)  # a file or a pipe has no edge to wrap at
    return console


def log(text: str) -> None:
    """A line of progress or news, Rich markup, on stderr."""
    _console(stderr=True).print(text)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of `frame` as plain values for JSON; NaN and infinity become None."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def print_json(value: Mapping[str, Any]) -> None:
    """`value` as JSON on stdout, and nothing else."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """A table on stdout; all columns but the first `left` are set flush right."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for i, name in enumerate(head):
        table.add_column(escape(name), justify="left" if i < left else "right", overflow="fold")
    if not rows:
        _console(stderr=False).print(escape(title))
        return
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    _console(stderr=False).print(table)
