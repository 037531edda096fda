"""Facts about the machine and the software that results belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

__all__ = ["describe"]

_PACKAGES = ("rdquant", "numpy", "onnx", "onnxruntime", "scipy", "scikit-learn")


def describe() -> dict[str, Any]:
    """cpu (model name), cores, isa (that our kernels use), memory_gb, os, python, and the versions of packages."""
    from . import _core

    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "isa": _core.isa(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
    }


def _cpu_name() -> str:
    """Name of the processor; on boards where Linux gives none, that of the board."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model") and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
