"""Flash, memory and cycles of a network on a core, from what was measured of each kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._tables import Brief
from .files import load_table

__all__ = ["TARGETS", "Costs", "Target", "costs_of", "most_stack"]


@dataclass(frozen=True, repr=False)
class Costs(Brief):
    """What a network costs on one core.

    Attributes:
        flash: bytes of code and constants.
        code: bytes of kernels, of what they need of the compiler's library, and of the calls.
        ram: bytes of arena and stack.
        stack: bytes below `NAME_run` at most.
        cycles: of one run, estimated.
    """

    flash: int
    code: int
    ram: int
    stack: int
    cycles: int

    def to_dict(self) -> dict[str, int]:
        """The same, as JSON takes it."""
        return {
            "flash": self.flash,
            "code": self.code,
            "ram": self.ram,
            "stack": self.stack,
            "cycles": self.cycles,
        }


@dataclass(frozen=True, repr=False)
class Target(Brief):
    """A core, and the model of its cycles: for each kernel a·macs + b·outputs + c·decoded, the sum over all calls.

    Attributes:
        title: as it is sold.
        per_mac: instructions for each multiply–accumulate, by kernel; measured under QEMU, with GCC 12 and -O2.
        per_output: the same for each element written.
        per_level: the same for each level of coded weights that is decoded.
        cycles_per_instruction: mean over such loops; 1 to 1.5 on these cores, stated here, not measured: no board was used.
    """

    title: str
    per_mac: Mapping[str, float]
    per_output: Mapping[str, float]
    per_level: float
    cycles_per_instruction: float

    def cycles_of(self, layers: Sequence[Mapping[str, Any]]) -> list[int]:
        """Estimated cycles of each call."""
        return [
            round(
                self.cycles_per_instruction
                * (
                    self.per_mac.get(layer["kernel"], 0.0) * layer["macs"]
                    + self.per_output.get(layer["kernel"], _COPY) * layer["outputs"]
                    + self.per_level * layer["decoded"]
                )
            )
            for layer in layers
        ]


_MOST_TAPS = 64  # of a depthwise window
_COPY = 8.0  # instructions for each element of kernels that were not measured apart: they move or look up
_TABLE: dict[str, Any] = load_table("targets.json")
_NAMES = ("m0", "m3", "m4", "m7", "m33", "m55")
TARGETS: dict[str, Target] = {
    name: Target(
        row["title"], row["per_mac"], row["per_output"], row["per_level"], row["cycles_per_instruction"]
    )
    for name in _NAMES
    for row in (_TABLE["targets"][name],)
}
"""The cores whose costs are known: m0, m3, m4, m7, m33, m55."""


def costs_of(made: Mapping[str, Any]) -> dict[str, Costs]:
    """By target, for what `_core.emit` gives."""
    return {name: _costs(made, name) for name in TARGETS}


def most_stack(target: str) -> int:
    """Bytes below `NAME_run` that no network exceeds."""
    row = _TABLE["targets"][target]
    return int(max(kernel["stack"] for kernel in row["kernels"].values()) + row["run_stack"] + 4 * _MOST_TAPS)


def _costs(made: Mapping[str, Any], target: str) -> Costs:
    row = _TABLE["targets"][target]
    sections = {s for kernel in made["kernels"] for s in row["kernels"][kernel]["sections"]}
    calls = len(made["layers"]) + len(made["inputs"]) + len(made["outputs"])
    code = sum(row["sections"][s] for s in sections) + row["per_call"] * calls + row["per_model"]
    deepest = max((row["kernels"][layer["kernel"]]["stack"] for layer in made["layers"]), default=0)
    stack = deepest + row["run_stack"]
    if any(layer["kernel"] == "rdq_depthwise" for layer in made["layers"]):
        stack += 4 * made["taps"]
    cycles = sum(TARGETS[target].cycles_of(made["layers"]))
    flash = code + made["constants"]
    return Costs(flash, code, made["arena"] + stack, stack, cycles)
