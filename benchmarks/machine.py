"""What machine and software a benchmark ran on, as a plain dict for its results file."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe"]

_PACKAGES = ("rdquant", "numpy", "scipy", "onnx", "onnxruntime", "pandas")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _commit() -> str:
    """The commit that is checked out, with "+" where files differ from it; "" outside a clone."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
        return result.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def describe(packages: Iterable[str] = ()) -> dict[str, Any]:
    """cpu, cores (that this process may use), isa (of rdquant's kernels), os, python, versions, commit.

    packages: distributions whose versions to add, e.g. the peers of a benchmark.
    """
    from rdquant import _core

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _processor(),
        "cores": cores,
        "isa": _core.isa(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in (*_PACKAGES, *packages)},
        "commit": _commit(),
    }
