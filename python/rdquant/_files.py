"""Files written whole or not at all, and never over what they are made from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InvalidArgument, MissingFile, RdquantError, path_of

__all__ = ["replacing", "target_of"]


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


def target_of(name: str, path: Any, **inputs: Any) -> Path:
    """`path`, the argument `name`, as a path to write to.

    inputs: what the file is made from, by its argument's name: paths, other values, and objects whose `source` is a path.
    Raises InvalidArgument where one of them is the same file, by another name or a link too: it would be lost;
    MissingFile where there is no folder to write it to.
    """
    target = path_of(name, path)
    if not target.parent.exists():
        raise MissingFile(f"{name}: {str(target)!r}: there is no folder {target.parent}")
    for argument, value in inputs.items():
        source = getattr(value, "source", value)
        if not isinstance(source, (str, os.PathLike)) or not target.is_file() or not os.path.isfile(source):
            continue
        if os.path.samefile(target, source):
            raise InvalidArgument(
                f"{name}: {str(target)!r} is the file of {argument}, {os.fspath(source)!r}, which would be lost; "
                "choose another name"
            )
    return target
