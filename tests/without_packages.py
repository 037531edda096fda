"""Run by test_lean in a process of its own, where nothing but the required packages can be imported: what each function and
command says. Reads {"models": …, "calls": {name: expression}, "commands": {name: words}}, writes {name: outcome}."""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import sys
from typing import Any

OPTIONAL = (
    *("onnx", "onnxslim", "scipy", "pandas", "pyarrow", "matplotlib", "sklearn", "PIL", "psutil"),
    *("torch", "pycocotools", "onnxruntime", "google", "ml_dtypes"),
)


class Missing(importlib.abc.MetaPathFinder):
    """Finds none of them."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """As the import system asks."""
        if name.partition(".")[0] in OPTIONAL:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def main() -> None:
    """Do what standard input orders."""
    sys.meta_path.insert(0, Missing())
    known = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: (
        None if name.partition(".")[0] in OPTIONAL else known(name, package)
    )
    order = json.load(sys.stdin)
    outcome: dict[str, str] = {}
    import numpy as np

    import rdquant as rdq

    space = {"np": np, "rdq": rdq, **order["names"]}
    for expression in order["calls"]:
        try:
            exec(expression, dict(space))
            outcome[expression] = "done"
        except Exception as error:
            outcome[expression] = f"{type(error).__name__}: {error}"
    from typer.testing import CliRunner

    from rdquant.cli import app

    for words in order["commands"]:
        result = CliRunner().invoke(app, words)
        outcome[" ".join(words)] = "done" if result.exit_code == 0 else f"{result.exit_code}: {result.output}"
    outcome["loaded"] = " ".join(sorted({name.partition(".")[0] for name in sys.modules} & set(OPTIONAL)))
    json.dump(outcome, sys.stdout)


if __name__ == "__main__":
    main()
