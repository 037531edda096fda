"""Exceptions of rdquant, one per kind, and the checks of plain arguments that raise them.

Every exception is also the built-in that a caller expects: a ValueError, RuntimeError or FileNotFoundError. Messages about
an argument begin with its name.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BackendUnavailable",
    "CorruptFile",
    "InvalidArgument",
    "MissingFile",
    "MissingPackage",
    "RdquantError",
    "Unsupported",
]


class RdquantError(Exception):
    """Base of all errors that rdquant raises on purpose."""


class InvalidArgument(RdquantError, ValueError):
    """An argument is outside what the function allows."""


class MissingFile(InvalidArgument, FileNotFoundError):
    """There is no file or folder of this name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CorruptFile(RdquantError, ValueError):
    """A file or byte string does not follow its format."""


class Unsupported(RdquantError, RuntimeError):
    """A valid request that this version cannot serve; the message names what is missing."""


class BackendUnavailable(RdquantError, RuntimeError):
    """The requested inference backend is not installed or does not run on this machine."""


class MissingPackage(RdquantError, ImportError):
    """A package that only some functions need is not installed; the message gives the command that installs it."""


EXTRAS = {
    "onnx": "compress",
    "onnxslim": "compress",
    "ml_dtypes": "compress",
    "PIL": "pictures",
    "matplotlib": "pictures",
    "pandas": "pictures",
    "pyarrow": "study",
    "scipy": "study",
    "sklearn": "study",
}
"""Modules of other packages, and the extra of rdquant that brings each."""


class needed:  # reads as a word: `with needed(): import pandas`
    """Around imports of what only some functions need: MissingPackage, with the command that installs it, where it is
    not installed. An error of any other kind stays as it is."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if name in EXTRAS:
            raise _missing(name, EXTRAS[name]) from None


def require(extra: str) -> None:
    """MissingPackage unless all that `extra` brings is installed: before long work that needs some of it at its end."""
    from importlib.util import find_spec

    for name in EXTRAS:
        if extra in ("study", EXTRAS[name]) and find_spec(name) is None:
            raise _missing(name, extra)


def _missing(name: str, extra: str) -> MissingPackage:
    return MissingPackage(
        f"this needs the package {name}, which is not installed: pip install 'rdquant[{extra}]', or 'rdquant[all]' for "
        f"all commands (in a clone of rdquant: pip install '.[{extra}]')",
        name=name,
    )


_MOST = (1 << 62) - 1
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/{1,2}[^/\\]", re.IGNORECASE)


def described(value: object) -> str:
    """What a message calls a value: short ones as they are written, others by their type."""
    if isinstance(value, (str, bytes)) and len(value) > 60:
        return f"{value[:57]!r}…"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value)
    if isinstance(value, Integral | Real):
        return str(value)
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"an array {dtype} {list(shape)}"
    if isinstance(value, (list, tuple, range)) and len(value) <= 6:
        text = repr(value)
        return text if len(text) <= 60 else f"a {type(value).__name__}"
    return f"an object of type {type(value).__name__}"


def count(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value`, an integer (NumPy's too) from `least` to `most`; InvalidArgument for anything else."""
    good = isinstance(value, Integral) and not isinstance(value, bool)
    if not good or not least <= int(value) <= (_MOST if most is None else most):  # type: ignore[call-overload]
        allowed = f"≥ {least}" if most is None else f"{least}..{most}"
        raise InvalidArgument(f"{name}: expected an integer {allowed}, got {described(value)}")
    return int(value)  # type: ignore[call-overload]


def threads_of(value: object, name: str = "threads") -> int:
    """Number of threads: 0 for None and 0, all cores; InvalidArgument for anything but a number of threads."""
    if value is None:
        return 0
    good = isinstance(value, Integral) and not isinstance(value, bool)
    if not good or not 0 <= int(value) <= 1 << 16:  # type: ignore[call-overload]
        raise InvalidArgument(
            f"{name}: expected an integer 0..{1 << 16} (None or 0: all cores), got {described(value)}"
        )
    return int(value)  # type: ignore[call-overload]


def number(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
) -> float:
    """`value`, a finite real number within the limits; InvalidArgument for anything else."""
    found = math.nan
    if type(value) is not bool and isinstance(value, Real):
        with contextlib.suppress(OverflowError):
            found = float(value)
    if not math.isfinite(found) or found < least or found <= above or found > most:
        limits = [f"above {above:g}"] if above > -math.inf else []
        if least > -math.inf:
            limits += [f"of at least {least:g}"]
        if most < math.inf:
            limits += [f"of at most {most:g}"]
        words = " and ".join(limits)
        raise InvalidArgument(
            f"{name}: expected a finite number{' ' * bool(words)}{words}, got {described(value)}"
        )
    return found


def one_of(name: str, value: object, allowed: Collection[str]) -> str:
    """`value`, one of the words that are allowed; InvalidArgument for anything else."""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise InvalidArgument(f"{name}: expected one of {words}, got {described(value)}")
    return value


def some_of(name: str, value: object, allowed: Collection[str]) -> tuple[str, ...]:
    """`value`, a word or several that are allowed, each once; InvalidArgument for anything else."""
    several = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    words = tuple(dict.fromkeys(one_of(name, word, allowed) for word in several))
    if not words:
        raise InvalidArgument(f"{name}: expected at least one of {', '.join(map(repr, allowed))}, got none")
    return words


def several(value: Any) -> list[Any]:
    """What a list, set, array or other iterable holds; a text, a number or anything else alone."""
    alone = (
        isinstance(value, (str, bytes)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    )
    return [value] if alone else list(value)


def flag(name: str, value: object) -> bool:
    """`value`, True or False (NumPy's too); InvalidArgument for anything else."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
        raise InvalidArgument(f"{name}: expected True or False, got {described(value)}")
    return bool(value)


def axes_or_none(ax: Any) -> Any:
    """Matplotlib axes to draw on, or None; InvalidArgument for anything else."""
    if ax is not None:
        with needed():
            from matplotlib.axes import Axes

        if not isinstance(ax, Axes):
            raise InvalidArgument(f"ax: expected Matplotlib axes, got {described(ax)}")
    return ax


@contextlib.contextmanager
def called(before: str, after: str) -> Iterator[None]:
    """Messages of InvalidArgument that begin with the argument `before` begin with `after`, as the caller knows it."""
    try:
        yield
    except InvalidArgument as error:
        text = str(error)
        if before == after or not text.startswith(f"{before}:"):
            raise
        raise type(error)(f"{after}:{text.removeprefix(f'{before}:')}") from None


def path_of(name: str, value: object) -> Path:
    """`value` as a path; InvalidArgument for what is none, and for addresses of the web, which nothing downloads."""
    if not isinstance(value, (str, os.PathLike)):
        raise InvalidArgument(f"{name}: expected a path, got {described(value)}")
    text = os.fspath(value)
    if not text:
        raise InvalidArgument(f"{name}: expected a path, got {text!r}")
    if not isinstance(text, str) or "\0" in text:
        raise InvalidArgument(f"{name}: a path holds no zero byte, got {described(text)}")
    if _URL.match(text) and not os.path.exists(text):
        raise InvalidArgument(f"{name}: expected a path, got the address {text!r}; download it first")
    from pathlib import Path  # costs a few milliseconds, and not every process has paths

    return Path(text)


def arguments_of(message: Any) -> tuple[str, ...]:
    """Names of the arguments that the message of an InvalidArgument begins with; () where it names none."""
    found = re.match(r"([a-z_]+(?:(?:, | or | and )[a-z_]+)*): ", str(message))
    return tuple(re.split(r", | or | and ", found[1])) if found else ()
