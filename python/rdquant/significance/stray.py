"""What HiGHS prints whatever its options say, kept from standard output: a program's own output, JSON perhaps, stays whole."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["without_stray_lines"]

_MARKS = (b"HighsMipSolverData",)
_ONE_AT_A_TIME = threading.Lock()  # two redirections at once would restore each other's


@contextlib.contextmanager
def without_stray_lines() -> Iterator[None]:
    """While it lasts, standard output goes to a file; at the end all of it is passed on but for HiGHS' debugging lines.

    Only where the C library can be told to flush (not on Windows) and standard output is open; elsewhere nothing is done.
    """
    flush = None if os.name == "nt" else getattr(ctypes.CDLL(None), "fflush", None)
    with _ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        try:
            saved = None if flush is None else os.dup(1)
        except OSError:  # closed
            saved = None
        if flush is None or saved is None:
            yield
            return
        stack.callback(os.close, saved)
        held = stack.enter_context(tempfile.TemporaryFile())
        _flush(flush)
        os.dup2(held.fileno(), 1)
        try:
            yield
        finally:
            _flush(flush)
            os.dup2(saved, 1)
            held.seek(0)
            lines = held.read().splitlines(keepends=True)
            kept = b"".join(line for line in lines if not line.startswith(_MARKS))
            while kept:
                kept = kept[os.write(1, kept) :]


def _flush(flush: Any) -> None:
    with contextlib.suppress(ValueError, AttributeError, OSError):  # a closed or absent sys.stdout
        sys.stdout.flush()
    flush(None)
