"""Every public name of the package: what the reference lists, and what tests/test_docs.py holds to its rule."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import rdquant
from rdquant._cached import cached

# Modules that can be called as the function of the same name: rdquant.sweep(…), rdquant.sweep.Study.
CALLABLE = ("entropy", "profile", "significance", "sweep")


@dataclass(frozen=True)
class Name:
    """One public function, class or constant.

    `dotted` is the shortest way to write it; `home` the module whose page lists it.
    """

    dotted: str
    home: str
    value: Any

    @property
    def kind(self) -> str:
        if inspect.isclass(self.value):
            return "exception" if issubclass(self.value, BaseException) else "class"
        return "function" if inspect.isroutine(self.value) else "data"


def modules() -> dict[str, ModuleType]:
    """Public modules by name, without the package's."""
    names = sorted({*rdquant._MODULES, *CALLABLE})
    return {name: importlib.import_module(f"rdquant.{name}") for name in names}


def names() -> list[Name]:
    """All public names, each once, by module and then as its `__all__` has them."""
    found: dict[str, Name] = {}
    for home, module in modules().items():
        for name in module.__all__:
            try:
                value = getattr(module, name)
            except rdquant.BackendUnavailable:  # training, without PyTorch
                continue
            if inspect.ismodule(value):
                continue
            short = name in rdquant.__all__ and name not in CALLABLE and getattr(rdquant, name) is value
            dotted = f"rdquant.{name}" if short else f"rdquant.{home}.{name}"
            if short and home != rdquant._HOME_OF[name]:
                continue
            found[dotted] = Name(dotted, home, value)
    return list(found.values())


def members(owner: type) -> Iterator[tuple[str, Callable[..., Any], str]]:
    """(name, function, kind) of public methods and properties that a class of ours defines or gets from one."""
    for name in dir(owner):
        if name.startswith("_"):
            continue
        home = next((c for c in owner.__mro__ if name in vars(c)), None)
        if home is None or not home.__module__.startswith("rdquant.") or "._core" in home.__module__:
            continue
        raw = vars(home)[name]
        if isinstance(raw, property):
            yield name, raw.fget, "property"  # type: ignore[misc]
        elif isinstance(raw, cached):
            yield name, raw.function, "property"
        elif isinstance(raw, (staticmethod, classmethod)):
            yield name, raw.__func__, "method"
        elif inspect.isfunction(raw):
            yield name, raw, "method"


def defined_in(function: Callable[..., Any], name: Name) -> bool:
    """Whether a member is the class' own rather than inherited from another public class."""
    return function.__qualname__.startswith(f"{name.value.__name__}.")


def is_made(docstring: str) -> bool:
    """Whether a class says that functions make it: its constructor is then not for users."""
    return bool(re.search(r"[Mm]ade by `|make one with `", docstring))


def about_data(name: Name) -> str:
    """The text under a constant's definition; "" where there is none."""
    package = Path(rdquant.__file__).parent
    files = [
        package / f"{name.home}.py",
        *sorted((package / name.home).glob("*.py")),
        *sorted(package.glob("*/*.py")),
    ]
    wanted = name.dotted.rpartition(".")[2]
    for file in filter(Path.is_file, files):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, after in itertools.pairwise(body):
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if getattr(target, "id", None) == wanted and isinstance(after, ast.Expr):
                return inspect.cleandoc(ast.literal_eval(after.value))
    return ""
