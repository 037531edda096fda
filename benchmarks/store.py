"""Results files that are written part by part: each part with the machine that it was measured on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from machine import describe

__all__ = ["Store"]

RESULTS = Path(__file__).resolve().parent / "results"
SAME = ("cpu", "cores", "isa")  # what two measurements that stand in one table have in common


class Store:
    """results/NAME.json. With `write=False` nothing is written."""

    def __init__(self, name: str, peers: Iterable[str] = (), write: bool = True) -> None:
        self._path, self._write, self._machine = RESULTS / f"{name}.json", write, describe(peers)

    def part(self, name: str) -> Any:
        """What is stored of a part, where that was measured on a machine like this one; else nothing: {}."""
        result = self._read()
        machine = result.get("machines", {}).get(name, result.get("machine", {}))
        alike = all(machine.get(fact) == self._machine[fact] for fact in SAME)
        return result.get(name, {}) if alike else {}

    def put(self, name: str, value: Any) -> None:
        """Store a part, and where it was measured."""
        result = self._read()
        result[name] = value
        result.setdefault("machine", self._machine)
        result.setdefault("machines", {})[name] = self._machine
        if self._write:
            self._path.write_text(json.dumps(result, indent=1) + "\n")

    def _read(self) -> dict[str, Any]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}
