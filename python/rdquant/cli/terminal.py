"""What the command line shows and how it ends: tables, JSON, messages, exit codes."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperGroup

from .usage import help_line, is_usage_error, usage_text

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = [
    "INTERRUPTED",
    "Group",
    "command_line",
    "fact_rows",
    "keep_hint",
    "log",
    "notable",
    "print_json",
    "print_table",
    "records",
    "set_debug",
    "share_text",
]

FAILED, INTERRUPTED = 1, 130
_WORDS = "rdquant.words"
MOST_ROWS = 24
"""Rows of a table that are all printed unasked; of more, the notable ones."""
_NOTABLE = 12
Row = TypeVar("Row")
_hints: list[str] = []  # what to say when the running command is interrupted


class Group(TyperGroup):
    """Commands whose failures are one paragraph on stderr and exit code 1, or 2 for a wrong command line; --debug adds the
    traceback.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """As typer's; what is wrong with a command line is said in the style of all other failures."""
        run = functools.partial(super().main, args, prog_name, complete_var, False, windows_expand_args)
        if not standalone_mode:
            return run(**extra)
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = run(**extra)
        except typer.Abort:
            code = FAILED
        except Exception as error:
            if not is_usage_error(error):
                raise
            _print_usage(error, words)
            code = int(error.exit_code)  # type: ignore[attr-defined]  # every ClickException has one
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words of the command line for `command_line`."""
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors become messages and exit codes."""
        _hints.clear()
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _print_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            log("[bold]Interrupted.[/] " + (_hints[-1] if _hints else "Nothing was written."))
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _forget_stdout()  # the reader has gone: say nothing more
            raise typer.Exit(FAILED) from None
        except Exception as error:
            if type(error).__module__.split(".")[0] in ("click", "typer"):
                raise
            if ctx.find_root().meta.get("debug"):
                traceback.print_exc()
            self._blame_option(ctx, error)
            _print_error(error, _options_of(self.get_command(ctx, ctx.invoked_subcommand or "")))
            raise typer.Exit(FAILED) from error

    def _blame_option(self, ctx: Any, error: Exception) -> None:
        """Raise typer.BadParameter, and so exit with 2, where an argument that an option has set is wrong."""
        from ..errors import InvalidArgument, arguments_of

        options = _options_of(self.get_command(ctx, ctx.invoked_subcommand or ""))
        wrong = arguments_of(error) if isinstance(error, InvalidArgument) else ()
        named = [options[name] for name in wrong if name in options]
        if named and len(named) == len(wrong):
            text = _with_options(str(error).partition(": ")[2], options)
            raise typer.BadParameter(text, param_hint=" / ".join(f"'{o}'" for o in named)) from error


def _options_of(command: Any) -> dict[str, str]:
    """By the arguments of the API that they set, the options of a command."""
    names: dict[str, str] = getattr(getattr(command, "callback", None), "api", ((), {}))[1]
    return {
        names.get(p.name, p.name): p.opts[-1]
        for p in getattr(command, "params", ())
        if p.param_type_name == "option"
    }


def _with_options(text: str, options: Mapping[str, str]) -> str:
    """A message of the API as the command line says it: --max-ram in place of max_ram, but in names of files and tensors."""
    for name, option in options.items():
        if "_" in name:
            text = re.sub(rf"(?<![\w./\\'\"-]){name}(?!\.?[\w/\\'\"(-])", option, text)
    return text


def command_line(ctx: Any) -> str:
    """The running command as it was typed."""
    return shlex.join(["rdquant", *ctx.find_root().meta.get(_WORDS, [])])


def set_debug(ctx: typer.Context, value: bool) -> bool:
    """Callback of --debug: remembers it for `Group`."""
    if value:
        ctx.find_root().meta["debug"] = True
    return value


def keep_hint(text: str) -> None:
    """Say `text` if the user interrupts the command from now on."""
    _hints.append(text)


def _print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    from rich.markup import escape

    log(f"[bold yellow]Warning:[/] {escape(' '.join(str(message).split()))}")


def _print_error(error: Exception, options: Mapping[str, str]) -> None:
    from rich.markup import escape

    from ..errors import RdquantError

    expected = isinstance(error, RdquantError | OSError)
    name = "" if expected else f"{type(error).__name__}: "
    text = _with_options(str(error), options) if expected else str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    more = "" if expected else " (--debug shows where)"
    log(f"[bold red]Error:[/] {escape(name + ' '.join(text.split()))}{more}")


def _print_usage(error: Any, words: Sequence[str]) -> None:
    """Describe what is wrong with a command line; where only help was requested, it has been printed."""
    from rich.markup import escape

    if type(error).__name__ == "NoArgsIsHelpError":
        if error.message:
            typer.echo(error.message, err=True)
        return
    log(f"[bold red]Error:[/] {escape(' '.join(usage_text(error, words).split()))}")
    where = help_line(error)
    if where:
        log(f"[dim]{escape(where)}[/]")


def _console(stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=stderr, emoji=False)
    if not console.is_terminal and not stderr:
        console = Console(highlight=False, width=200, emoji=False)  # a file or a pipe has no edge to wrap at
    return console


def log(text: str) -> None:
    """A line of progress or news, Rich markup, on stderr."""
    _console(stderr=True).print(text)


@contextlib.contextmanager
def _stdout() -> Iterator[None]:
    """Writes out all that is printed inside; RdquantError where standard output takes no more."""
    from ..errors import RdquantError

    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _forget_stdout()
        reason = error.strerror or str(error)
        raise RdquantError(f"standard output: {reason[:1].lower()}{reason[1:]}") from error


def _forget_stdout() -> None:
    """Send what is still to be printed nowhere: Python would fail on it again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of `frame` as plain values for JSON; NaN and infinity become None."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def print_json(value: Mapping[str, Any]) -> None:
    """`value` as JSON on stdout, and nothing else."""
    with _stdout():
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    left: int = 1,
    notes: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> None:
    """A table on stdout, `notes` and `commands`, to be copied in one piece, below it; all columns but the first `left` are
    set flush right.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for i, name in enumerate(head):
        table.add_column(escape(name), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    console = _console(stderr=False)
    with _stdout():
        console.print(table if rows else escape(title))
        for note in notes:
            console.print(escape(note))
        for command in commands:
            console.print(f"To write the first: [bold]{escape(command)}[/]", soft_wrap=True)


def notable(
    rows: Sequence[Row], rank: Callable[[Row], Any], everything: bool, what: str
) -> tuple[list[Row], list[str]]:
    """The rows of a table that are worth a line, in their order, and a note on the others; all where `everything` is set,
    or there are few. rank: the higher, the more notable.
    """
    if everything or len(rows) <= MOST_ROWS:
        return list(rows), []
    chosen = set(sorted(range(len(rows)), key=lambda i: rank(rows[i]), reverse=True)[:_NOTABLE])
    left = len(rows) - len(chosen)
    return [rows[i] for i in sorted(chosen)], [f"{left} more {what}; --all lists every one"]


def fact_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """`Model.summary()` as rows of a label and a value, for a reader."""
    return [
        [_LABELS.get(key, key.replace("_", " ")), _fact(key, value)]
        for key, value in summary.items()
        if key != "file_mib"  # beside the bytes
    ]


_LABELS = {
    "file_bytes": "file size",
    "weight_bytes": "size of the weights",
    "weight_share": "share of weights in the file",
    "parameters": "weights and biases",
    "tensors": "tensors of weights",
    "roles": "weights by role",
    "dtypes": "weights by type",
    "nodes": "nodes, as loaded",
    "file_nodes": "nodes in the file",
    "opset": "opset, as loaded",
    "file_opset": "opset of the file",
    "opset_note": "note on the opset",
}


def share_text(share: float, images: int, places: int = 1) -> str:
    """A share of so many images with its 95 % interval: "84.8 % (95 % interval 77.6–90.0)"."""
    from ..metrics import wilson

    low, high = wilson(share, images)
    return f"{100 * share:.{places}f} % (95 % interval {100 * low:.1f}–{100 * high:.1f})"


def _fact(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return f"{value / 2**20:.3f} MiB ({value:,} bytes)"
    if key == "weight_share":
        return f"{100 * value:.3f} %"
    if isinstance(value, dict):
        return ", ".join(f"{key} {count:,}" for key, count in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
