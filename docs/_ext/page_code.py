"""The code in the site's pages: blocks that run, in order, and blocks that only name what must exist.

```python  and  ```sh      run, one page in one process: python docs/_ext/page_code.py docs/quick-start.md
```py      and  ```shell   need models or images of the reader's own: their names and options are looked up
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```(python|sh|py|shell)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int  # of the page


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in BLOCK.finditer(text)]


def commands(code: str) -> list[list[str]]:
    """The command lines of a block, as words."""
    joined = code.replace("\\\n", " ")
    return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def run(page: Path) -> None:
    """Run what runs, in the current folder; the first failure is raised."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            shifted = "\n" * (block.line - 1) + block.code
            exec(compile(shifted, str(page), "exec"), names)
        elif block.language == "sh":
            for words in commands(block.code):
                run_command(words)


def run_command(words: list[str]) -> None:
    from typer.testing import CliRunner

    from rdquant.cli import app

    assert words[0] == "rdquant", f"only rdquant's commands run here, not {words[0]}"
    result = CliRunner().invoke(app, words[1:])
    print(result.output)
    assert result.exit_code == 0, f"{shlex.join(words)}: exit code {result.exit_code}"


def unknown_options(words: list[str]) -> list[str]:
    """What a command line of ours has that the program does not know."""
    import typer.main

    from rdquant.cli import app

    if words[0] != "rdquant":
        return []
    known: Any = typer.main.get_command(app)
    command = known.commands.get(words[1])
    if command is None:
        return [words[1]]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    return [word for word in words[2:] if word.startswith("-") and word.partition("=")[0] not in options]


def unknown_names(code: str) -> list[str]:
    """Names of the package that do not exist, and arguments that its functions do not have."""
    import rdquant

    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rdquant"):
            module = __import__(node.module or "", fromlist=["_"])
            found += [f"{node.module}.{a.name}" for a in node.names if not hasattr(module, a.name)]
        if isinstance(node, ast.Call) and re.fullmatch(r"rdq(\.\w+)+", ast.unparse(node.func)):
            value: Any = rdquant
            for part in ast.unparse(node.func).split(".")[1:]:
                value = getattr(value, part, None)
            if value is None:
                found.append(ast.unparse(node.func))
                continue
            if not (inspect.isclass(value) or hasattr(value, "__wrapped__") or inspect.isfunction(value)):
                continue
            known = inspect.signature(value).parameters
            found += [f"{ast.unparse(node.func)}({k.arg}=…)" for k in node.keywords if k.arg not in known]
    return found


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve())
