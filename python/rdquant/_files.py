"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .errors import RdquantError

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], note: str = "") -> Iterator[Path]:
    """Gives a path beside `path`, with its suffix, to write to; at the end it takes the place of `path`.

    Whatever fails, `path` stays as it was, and nothing is left beside it. A device or a pipe is written to
    directly. Raises RdquantError for an OSError: `path`, the system's words, then `note`.
    """
    target = Path(path)
    direct = target.exists() and not target.is_file()
    partial = target if direct else target.with_name(f".{os.getpid()}-{target.name}")
    try:
        yield partial
        if not direct:
            os.replace(partial, target)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{target}: {reason[:1].lower()}{reason[1:]}" + (f"; {note}" if note else "")
        raise RdquantError(message) from error
    finally:
        if not direct:
            with contextlib.suppress(OSError):
                partial.unlink()
