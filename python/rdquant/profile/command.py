"""`rdquant profile` where the command line's packages are missing: the same options, NumPy alone, plain text."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingPackage, RdquantError

__all__ = ["main"]

_FAILED, _WRONG, _INTERRUPTED = 1, 2, 130
_NEEDED = (
    "rdquant: this command needs the packages typer and rich, which are not installed: pip install 'rdquant[cli]' (in a "
    "clone of rdquant: pip install '.[cli]'). Without them there is rdquant profile; rdquant profile -h explains it.\n"
)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line `words`, by default the process's; its exit code."""
    given = list(sys.argv[1:] if words is None else words)
    if given == ["--version"]:
        from .. import __version__

        print(__version__)
        return 0
    if given[:1] != ["profile"]:
        sys.stderr.write(_NEEDED)
        return _WRONG
    options = _parser().parse_args(given[1:])
    try:
        return _profile(options, shlex.join(["rdquant", *given]))
    except RdquantError as error:
        sys.stderr.write(f"Error: {error}\n")
        return _FAILED


def _profile(options: argparse.Namespace, command: str) -> int:
    from . import profile
    from .inputs import parse_shape

    chosen = {name: value for name, value in vars(options).items() if value is not None}
    paths, output, as_json = chosen.pop("models"), chosen.pop("output"), chosen.pop("json")
    names = [path.name for path in paths]
    models = {path.name if names.count(path.name) == 1 else str(path): path for path in paths}
    chosen["shapes"] = dict(map(parse_shape, chosen.pop("shape", [])))
    data, preprocess = chosen.pop("data", None), chosen.pop("preprocess", None)
    if preprocess is not None:
        from ..data import open_dataset
        from ..runtime.session import open_model

        data = open_dataset(data, preprocess, model=open_model(paths[0]), labelled=False)
    found = profile(models, data, store=output, command=command, **chosen)
    try:
        said = f"Report: {found.report()}"
    except MissingPackage as lacking:
        said = f"No page with plots: {lacking}. The results are kept in {output / 'profile.json'}."
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        head, rows = found.lines()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = zip("<<" + ">" * len(row), widths, row, strict=False)
            print("  ".join(f"{cell:{side}{width}}" for side, width, cell in cells).rstrip())
        print(*found.headlines, *found.notes, sep="\n")
    sys.stderr.write(f"{said}\n")
    return _INTERRUPTED if found.interrupted else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rdquant profile",
        description="Compare models: the first is the baseline. See rdquant.profile for the options.",
    )
    add: Any = parser.add_argument
    add("models", nargs="+", type=Path, metavar="MODEL")
    add("-o", "--output", type=Path, default=Path("profile"), help="folder of results")
    for option in ("--threads", "--batch"):
        add(option, type=_numbers, help="such as 1,2")
    add("--backend", type=lambda text: text.split(","), help="comma-separated")
    for option in ("--repeat", "--processes", "--seed"):
        add(option, type=int)
    for option in ("--seconds", "--cool-below"):
        add(option, type=float)
    add("--shape", action="append", help="such as x=1,3,224,224")
    add("--data", help="folder or .npz file")
    add("--preprocess")
    add("--mix", action="store_true")
    add("--json", action="store_true")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]
