"""What is said of a command line that is wrong: one line as of any other failure, and where help is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["help_line", "is_usage_error", "usage_text"]


def is_usage_error(error: BaseException) -> bool:
    """Whether `error` is one of typer's, or click's, for a wrong command line."""
    return any(base.__name__ == "ClickException" for base in type(error).__mro__)


def usage_text(error: Any, words: Sequence[str]) -> str:
    """What is wrong, beginning with the option. words: the command line, for the value that was given."""
    hint, option = getattr(error, "param_hint", None), getattr(error, "param", None)
    names = [n for n in type(error).__mro__ if n.__name__ == "BadParameter"]
    if not names or type(error).__name__ == "MissingParameter":
        return _decapitalised(error.format_message())
    if hint is not None:  # raised by us
        name = " / ".join(hint) if isinstance(hint, (list, tuple)) else hint
        return f"{name.replace(chr(39), '')}: {error.message}"
    if option is None:
        return _decapitalised(error.format_message())
    name = option.opts[-1] if option.param_type_name == "option" else option.metavar or option.name.upper()
    expected = _expected(option)
    if expected is None:
        return f"{name}: {error.message.rstrip('.')}"
    value = _value(option.opts, words)
    return f"{name}: expected {expected}" + ("" if value is None else f", got {value!r}")


def help_line(error: Any) -> str | None:
    """Where the command that was meant is explained; None where no command is known."""
    context = getattr(error, "ctx", None)
    return None if context is None else f"{context.command_path} -h explains what it takes."


def _decapitalised(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def _expected(option: Any) -> str | None:
    """What a numeric option takes, in words; None for others."""
    annotation = getattr(getattr(option, "type_descriptor", None), "annotation", None)
    kind = getattr(annotation, "__name__", None) or str(getattr(getattr(option, "type", None), "name", ""))
    what = "an integer" if kind.startswith("int") else "a number" if kind.startswith("float") else None
    if what is None:
        return None
    bounds = option if hasattr(option, "min") else getattr(option, "type", None)
    low, high = getattr(bounds, "min", None), getattr(bounds, "max", None)
    if low is not None and high is not None:
        return f"{what} from {low:g} to {high:g}"
    return f"{what} ≥ {low:g}" if low is not None else f"{what} ≤ {high:g}" if high is not None else what


def _value(names: Sequence[str], words: Sequence[str]) -> str | None:
    """The value that an option was given in `words`; None where it is not found."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else next(iter(words[place + 1 : place + 2]), None)
    return None
