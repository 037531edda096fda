"""A network written as C, with what it costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._core import emit as _core
from .._tables import html_table, label, short
from ..errors import InvalidArgument, RdquantError, count, flag, needed, one_of, path_of
from .costs import TARGETS, Costs, costs_of, most_stack
from .files import is_taken, write_folder

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import AnyModel, Model

__all__ = ["Firmware", "emit_c"]

PORTS = ("arena", "caller")


@dataclass(frozen=True, repr=False)
class Firmware:
    """A network as C in a folder. Made by `emit_c`.

    Attributes:
        path: the folder.
        name: prefix of the C functions: `name_run`, `name_write_input0`, `name_read_output0`, ….
        target: of `flash`, `ram` and `cycles`: a key of `costs`.
        arena: bytes of the one static array that holds all activations.
        constants: bytes of weights, biases, multipliers and tables.
        macs: multiply–accumulates of one run.
        costs: of every target by its name.
        layers: a row for each call of a kernel, in the order of execution: node (of the model), kernel (C function), macs,
            outputs (elements), constants (bytes), decoded (levels of coded weights), live (bytes of the arena in use
            meanwhile).
        inputs: name, dtype and shape in the model; bytes in C; scale and zero of its levels.
        outputs: likewise.
    """

    path: Path
    name: str
    target: str
    arena: int
    constants: int
    macs: int
    costs: Mapping[str, Costs]
    layers: list[dict[str, Any]] = field(repr=False)
    inputs: list[dict[str, Any]] = field(repr=False)
    outputs: list[dict[str, Any]] = field(repr=False)

    @property
    def flash(self) -> int:
        """Bytes of code and constants on `target`, the start-up code left out."""
        return self.costs[self.target].flash

    @property
    def ram(self) -> int:
        """Bytes of the arena and of the stack below `name_run`, at most, on `target`."""
        return self.costs[self.target].ram

    @property
    def cycles(self) -> int:
        """Estimated cycles of one run on `target`, by the model that `rdquant.emit.TARGETS` states."""
        return self.costs[self.target].cycles

    def __repr__(self) -> str:
        what = f"flash {self.flash:,}, ram {self.ram:,}, {self.macs:,} MACs, {self.cycles:,} cycles"
        return short(self, f"{label(self.path)}: on {self.target} {what}")

    def _repr_html_(self) -> str:
        return html_table(self)

    def to_pandas(self) -> pd.DataFrame:
        """The layers: node, kernel, macs, outputs, constants, live and, of `target`, cycles."""
        with needed():
            import pandas as pd

        frame = pd.DataFrame(self.layers)
        frame["cycles"] = TARGETS[self.target].cycles_of(self.layers)
        return frame

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON takes them: path, target, flash, ram, arena, constants, macs, cycles, targets, layers, ….

        Each layer has its cycles by target.
        """
        cycles = {name: target.cycles_of(self.layers) for name, target in TARGETS.items()}
        return {
            "path": str(self.path),
            "name": self.name,
            "target": self.target,
            "flash": self.flash,
            "ram": self.ram,
            "arena": self.arena,
            "constants": self.constants,
            "macs": self.macs,
            "cycles": self.cycles,
            "targets": {name: costs.to_dict() for name, costs in self.costs.items()},
            "layers": [
                row | {"cycles": dict(zip(cycles, each, strict=True))}
                for row, *each in zip(self.layers, *cycles.values(), strict=True)
            ],
            "inputs": self.inputs,
            "outputs": self.outputs,
        }


def emit_c(
    model: AnyModel,
    folder: str | os.PathLike[str],
    *,
    name: str = "model",
    ports: str = "arena",
    compressed_weights: bool = False,
    target: str = "m4",
    max_flash: int | None = None,
    max_ram: int | None = None,
    sample: ArrayLike | None = None,
) -> Firmware:
    """Write a quantized network as C99 that computes the same integers as `rdquant.Session`, on any core.

    The folder gets NAME.c and NAME.h (weights, one static arena, `NAME_run`), the kernels that it calls, main.c with one stored
    input and what the network must answer (sample.h), host.c, a Makefile and a CMakeLists.txt. Neither malloc, nor recursion,
    nor libm; sums are int32, and no float is computed between quantized input and output unless the core has an FPU, which
    gives the same bits. Images lie with their channels last; `NAME_write_input0` and `NAME_read_output0` take them as the
    model has them.

    Args:
        model: what `rdquant.load` takes, with activations of 8 bits whose ranges are constants: made by
            `rdquant.quantize_static`, or a QDQ or QOperator model of others. An open batch size is taken as 1.
        folder: to write into; made where there is none. Files of the same names are replaced.
        name: prefix of all names in C.
        ports: "arena": inputs and outputs are parts of the arena, whose bytes serve other values meanwhile. "caller": the
            caller owns them, and inputs are only read.
        compressed_weights: weights of dense convolutions and fully connected layers stay entropy coded in flash where that is
            smaller, and are decoded while the layer runs, up to four filters at a time: less flash, more cycles. RAM grows up
            to `max_ram` for it, without that not at all.
        target: whose costs `Firmware` puts first: "m0", "m3", "m4", "m7", "m33" or "m55".
        max_flash: bytes of code and constants that there are on `target`.
        max_ram: bytes of arena and stack.
        sample: the stored input, in the model's dtype and shape; None: noise from seed 0.

    Raises Unsupported for what cannot be emitted, with the node's name; RdquantError where a limit is exceeded, with the layers
    to blame, and nothing is written; InvalidArgument for a wrong argument; as `rdquant.load` does, too.
    """
    from ..graph import load, native_graph

    loaded = load(model)
    path = path_of("folder", folder)
    caller = one_of("ports", ports, PORTS) == "caller"
    one_of("target", target, TARGETS)
    if not isinstance(name, str):
        raise InvalidArgument(f"name: expected a string, got {type(name).__name__}")
    if is_taken(name):
        raise InvalidArgument(
            f"name: {name!r} is that of another file in the folder; expected a name of the network's own"
        )
    limits = {
        "flash": None if max_flash is None else count("max_flash", max_flash),
        "ram": None if max_ram is None else count("max_ram", max_ram),
    }
    shapes = {port.name: _fixed(port.name, port.shape) for port in loaded.inputs}
    made = _core.emit(
        native_graph(loaded),
        shapes,
        name,
        caller,
        flag("compressed_weights", compressed_weights),
        _room(target, limits["ram"]),
    )
    firmware = Firmware(
        path,
        name,
        target,
        made["arena"],
        made["constants"],
        sum(layer["macs"] for layer in made["layers"]),
        costs_of(made),
        made["layers"],
        made["inputs"],
        made["outputs"],
    )
    _check(firmware, limits)
    inputs = _samples(loaded, shapes, sample)
    write_folder(path, made, name, inputs, _answers(loaded, inputs))
    return firmware


def _room(target: str, max_ram: int | None) -> int:
    """Bytes of the arena that `max_ram` leaves."""
    return 0 if max_ram is None else max(0, min(max_ram, 1 << 40) - most_stack(target))


def _fixed(name: str, shape: tuple[int | str | None, ...]) -> list[int]:
    """Sizes with 1 for an open batch. Raises InvalidArgument for another open size."""
    sizes = [size if isinstance(size, int) else 1 for size in shape]
    loose = [axis for axis, size in enumerate(shape) if axis > 0 and not isinstance(size, int)]
    if loose:
        raise InvalidArgument(
            f"model: its input {name!r} leaves the size of axis {loose[0]} open, shape {list(shape)}; only the batch may be "
            "open, since memory is planned ahead; write that size into the file"
        )
    return sizes


def _check(firmware: Firmware, limits: Mapping[str, int | None]) -> None:
    """Raise RdquantError where a limit is exceeded."""
    for what, limit in limits.items():
        needed = firmware.flash if what == "flash" else firmware.ram
        if limit is None or needed <= limit:
            continue
        field_of = "constants" if what == "flash" else "live"
        worst = sorted(firmware.layers, key=lambda layer: -int(layer[field_of]))[:3]
        blame = ", ".join(f"{layer['node']!r} ({layer[field_of]:,} bytes)" for layer in worst)
        unit = "of weights" if what == "flash" else "of the arena in use"
        raise RdquantError(
            f"max_{what}: {limit:,} bytes are allowed, {firmware.name} needs {needed:,} on {firmware.target}; most "
            f"{unit} have the layers {blame}"
        )


def _samples(
    model: Model, shapes: Mapping[str, list[int]], sample: ArrayLike | None
) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {}
    for port in model.inputs:
        shape = shapes[port.name]
        if sample is not None and len(model.inputs) == 1:
            array = np.ascontiguousarray(sample)
            if array.shape != tuple(shape) or array.dtype != port.dtype:
                raise InvalidArgument(
                    f"sample: expected {port.dtype} {shape}, got {array.dtype} {list(array.shape)}"
                )
            found[port.name] = array
        elif np.issubdtype(port.dtype, np.integer):
            limits = np.iinfo(port.dtype)
            found[port.name] = random.integers(limits.min, limits.max + 1, shape).astype(port.dtype)
        else:
            found[port.name] = random.standard_normal(shape).astype(port.dtype)
    return found


def _answers(model: Model, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What the reference gives, output by output."""
    from ..runtime import Session

    with Session(model, backend="reference", threads=1) as session:
        return list(session.run(inputs).values())
