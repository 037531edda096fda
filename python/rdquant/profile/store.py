"""Profiles in a folder: one JSON file of plain rows, and what may stand in it side by side."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .._files import replacing
from ..errors import CorruptFile, InvalidArgument

__all__ = ["CLOCK_TOLERANCE", "FILE", "SCHEMA", "Stored", "differences", "same_clock"]

#: Version of the rows. A change of them is a new version.
SCHEMA = 1
FILE = "profile.json"
CLOCK_TOLERANCE = 0.05
"""Share by which the time of `meters.clock` may differ: on one machine it stays within a hundredth."""

Row = dict[str, Any]
_KEY = ("model", "backend", "threads", "batch")
_OF_RUNS = frozenset(("machine", "clock", "created"))
_OF_ROWS = frozenset((*_KEY, "run", "steady", "complete", "compared_with", "p50_ms"))
_OF_STEPS = frozenset((*_KEY, "step", "op", "mean_us", "share"))


@dataclass
class Stored:
    """What a folder's profile holds.

    Attributes:
        runs: of the command, each with machine (as `rdquant.machine.describe` gives it), clock (as `meters.clock`),
            created (time, UTC, ISO 8601) and, in newer files, command.
        rows: one for each model, backend, threads and batch; `run` is an index into `runs`.
        steps: one for each step of a model's plan in those conditions.
    """

    runs: list[Row] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Stored:
        """The profile in `folder`; an empty one where there is none. Raises CorruptFile where it cannot be read."""
        path = folder / FILE
        if not path.exists():
            return cls()
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            schema = held["schema"]
            stored = cls(held["runs"], held["rows"], held["steps"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptFile(f"{path}: not a profile written by rdquant ({error!r})") from error
        if schema != SCHEMA:
            raise CorruptFile(f"{path}: schema {schema}; this version of rdquant reads {SCHEMA}")
        for part, needed in (("runs", _OF_RUNS), ("rows", _OF_ROWS), ("steps", _OF_STEPS)):
            found = getattr(stored, part)
            if not isinstance(found, list) or not all(
                isinstance(r, dict) and needed <= r.keys() for r in found
            ):
                raise CorruptFile(f"{path}: {part}: expected rows with {', '.join(sorted(needed))}")
        if not {row["run"] for row in stored.rows} <= set(range(len(stored.runs))):
            raise CorruptFile(f"{path}: a row names a run that is not there")
        return stored

    def write(self, folder: str | os.PathLike[str]) -> Path:
        """Write the file, whole or not at all; the folder is made where it is not there."""
        path = Path(folder) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(
                json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n", encoding="utf-8"
            )
        return path

    def check(self, run: Row, folder: Path) -> None:
        """InvalidArgument, saying what differs, unless all rows were measured on the machine and at the clock of `run`."""
        for index in sorted({row["run"] for row in self.rows}):
            different = differences(self.runs[index], run)
            if different:
                raise InvalidArgument(
                    f"{folder / FILE}: measured elsewhere, which makes no fair comparison: {'; '.join(different)}; choose "
                    "another folder, or allow it"
                )

    def put(self, row: Row, steps: list[Row]) -> None:
        """Add a row and its steps, in place of those of the same model, backend, threads and batch."""
        same = [old for old in self.rows if key(old) == key(row)]
        if same:
            self.rows[self.rows.index(same[0])] = row
        else:
            self.rows.append(row)
        self.steps = [step for step in self.steps if key(step) != key(row)] + steps

    def of(self, models: Sequence[str]) -> Stored:
        """The rows of these models, with their steps and runs."""
        rows = [row for row in self.rows if row["model"] in models]
        used = sorted({row["run"] for row in rows})
        return Stored(
            [self.runs[index] for index in used],
            [{**row, "run": used.index(row["run"])} for row in rows],
            [step for step in self.steps if step["model"] in models],
        )

    def find(self, wanted: Mapping[str, Any]) -> Row | None:
        """The row of the same model, backend, threads and batch."""
        return next((row for row in self.rows if key(row) == key(wanted)), None)


def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return tuple(row[name] for name in _KEY)


def differences(one: Row, other: Row) -> list[str]:
    """What differs in the machines and clocks of two runs, in words; none where they may be compared."""
    before, now = one["machine"], other["machine"]
    pairs = [(name, before.get(name), now.get(name)) for name in now if name != "packages"]
    versions = before.get("packages", {}), now.get("packages", {})
    pairs += [(name, *(held.get(name) for held in versions)) for name in {**versions[0], **versions[1]}]
    pairs.append(("governor", one["clock"]["governor"], other["clock"]["governor"]))
    found = [f"{name} was {was}, is {now}" for name, was, now in pairs if was != now]
    if not same_clock(one["clock"], other["clock"]):
        found.append(
            f"clock: a fixed loop took {one['clock']['spin_us']:.2f} µs, takes {other['clock']['spin_us']:.2f} µs"
        )
    return found


def same_clock(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two measurements of the clock agree within `CLOCK_TOLERANCE`."""
    return abs(one["spin_us"] / other["spin_us"] - 1) <= CLOCK_TOLERANCE
