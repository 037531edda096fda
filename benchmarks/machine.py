"""What every results file says about where its numbers come from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import rdquant.machine


def describe() -> dict[str, Any]:
    """`rdquant.machine.describe()` and the commit of this checkout ("+" where it has changes)."""

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return run.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    return rdquant.machine.describe() | {"commit": commit}
