"""What every results file says about where its numbers come from."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import rdquant.machine

__all__ = ["describe"]


def describe(peers: Iterable[str] = ()) -> dict[str, Any]:
    """`rdquant.machine.describe()` with the versions of `peers`, and this checkout's commit ("+": with changes)."""
    facts = rdquant.machine.describe()
    facts["packages"] |= {peer: version(peer) for peer in peers}
    commit = _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    return facts | {"commit": commit}


def _git(*arguments: str) -> str:
    run = subprocess.run(
        ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return run.stdout.strip()
