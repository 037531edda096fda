"""The documentation: docstrings of every public name say what they must; the site is whole and its code runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import docstring_rule
import public_names
import test_arguments

ROOT = Path(__file__).resolve().parents[1]

# --- docstrings ----------------------------------------------------------------------------------


def refusing() -> set[Callable[..., Any]]:
    """Functions and classes that `test_arguments` calls with wrong arguments: they all raise InvalidArgument."""
    called = [function for function, _ in test_arguments.cases().values()]
    plain = [getattr(f, "__func__", f) for f in called]
    return {f if hasattr(f, "__qualname__") else f.__wrapped__ for f in plain}


def test_docstrings_give_arguments_shapes_units_errors_and_source() -> None:
    functions = refusing()
    names = public_names.names()
    assert len(names) > 150
    offences = [line for name in names for line in docstring_rule.offences(name, functions)]
    assert not offences, f"{len(offences)} offences:\n" + "\n".join(offences)


def test_all_names_that_need_a_source_exist() -> None:
    known = {name.dotted for name in public_names.names()}
    missing = [
        dotted
        for dotted in docstring_rule.WITH_SOURCE
        if dotted not in known and dotted.rpartition(".")[0] not in known
    ]
    if "rdquant.train.PruneThenQuantize" not in known:  # without PyTorch
        missing = [dotted for dotted in missing if not dotted.startswith("rdquant.train.")]
    assert missing == []


def undescribed(x: float, counts: list[int]) -> float:
    """A number."""
    if x < 0:
        raise test_arguments.RdquantError("x: expected 0 or more")
    return x


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("", ["a docstring"]),
        ("A number.", ["arguments x, counts", "error RdquantError", "units"]),
        ("`x` for `counts`, in nats. Raises RdquantError.", []),
    ],
)
def test_the_rule_finds_what_is_missing(text: str, complaints: list[str]) -> None:
    assert docstring_rule.lacks(undescribed, text, set()) == complaints
