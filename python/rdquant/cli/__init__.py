"""The command `rdquant`: a thin skin over the Python API, one module a command."""

from __future__ import annotations

from .app import app, main

__all__ = ["app", "main"]
