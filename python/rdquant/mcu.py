"""The search for a version of a float network that fits a microcontroller: widths of weights, pruning, input size."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ._tables import html_table, label, short
from .emit import TARGETS, Firmware, emit_c
from .errors import InvalidArgument, RdquantError, count, flag, needed, one_of, path_of
from .graph import load
from .ptq import quantize_static
from .ptq.static import calibration_of
from .runtime import Session

if TYPE_CHECKING:
    import pandas as pd

    from .data import Data
    from .graph import AnyModel, Model

__all__ = ["McuFit", "fit_to_mcu"]

BITS = (8, 6, 5, 4, 3)
PRUNED = (0.0, 0.25, 0.5, 0.75)
SIZES = (1.0, 0.875, 0.75, 0.625, 0.5)
_LEAST_SIDE = 8
_MUCH, _NO_LIMIT = 1 << 40, 1e6

Array = NDArray[np.float32]


@dataclass(frozen=True, repr=False)
class McuFit:
    """A version of a network that fits. Made by `fit_to_mcu`.

    Attributes:
        firmware: what was written, with its flash and RAM.
        model: the quantized network, whose integers the firmware computes.
        bits: of weights; levels of 8 bits take 2^bits − 1 values in each output channel.
        pruned: share of each layer's weights, the smallest, that are 0.
        shape: of the input.
        noise: share of noise in the quantized network's outputs on the calibration images, the float network's being
            the signal.
        tried: a row for each candidate, in the order of predicted noise: bits, pruned, shape, predicted, and what came of it:
            flash, ram, outcome.
    """

    firmware: Firmware
    model: Model = field(repr=False)
    bits: int
    pruned: float
    shape: tuple[int, ...]
    noise: float
    tried: list[dict[str, Any]] = field(repr=False)

    def __repr__(self) -> str:
        what = f"{self.bits} bits, {self.pruned:.0%} pruned, input {list(self.shape)}, noise {self.noise:.2g}"
        return short(
            self,
            f"{label(self.firmware.path)}: {what}, flash {self.firmware.flash:,}, ram {self.firmware.ram:,}",
        )

    def _repr_html_(self) -> str:
        return html_table(self)

    def to_pandas(self) -> pd.DataFrame:
        """What was tried."""
        with needed():
            import pandas as pd

        return pd.DataFrame(self.tried)

    def to_dict(self) -> dict[str, Any]:
        """All figures, as JSON takes them."""
        found = {"bits": self.bits, "pruned": self.pruned, "shape": list(self.shape), "noise": self.noise}
        return {**found, "tried": self.tried, "firmware": self.firmware.to_dict()}


def fit_to_mcu(
    model: AnyModel,
    calibration: Data,
    folder: str | os.PathLike[str],
    *,
    max_flash: int | None = None,
    max_ram: int | None = None,
    target: str = "m4",
    name: str = "model",
    images: int = 64,
    progress: bool = False,
) -> McuFit:
    """The version of a float network that loses least among those that fit a microcontroller, quantized and written as C.

    Nothing is trained. Candidates are the network with weights of fewer bits and with its smallest weights at 0, where
    `max_flash` is given, and with a smaller input image, where `max_ram` is: flash depends on the former, with weights
    entropy coded (`emit_c`'s compressed_weights), RAM on the latter. Each is run in float on the calibration images, and its
    noise at the outputs predicts what it loses. In the order of that, candidates are quantized and emitted until one is
    within the limits.

    Args:
        model: what `rdquant.load` takes, in float32; one input.
        calibration: images like those the network will see: what `rdquant.data.open_dataset` takes; labels are not used.
        folder: for the firmware; made where there is none.
        max_flash: bytes of code and constants that there are.
        max_ram: bytes of arena and stack.
        target: core: "m0", "m3", "m4", "m7", "m33" or "m55".
        name: prefix of all names in C.
        images: how many of the calibration images are used at most.
        progress: show bars on stderr.

    Raises RdquantError where nothing fits, with what comes nearest; Unsupported for a network that cannot be emitted;
    InvalidArgument for a wrong argument or no limit; as `rdquant.load` does, too.
    """
    loaded = load(model)
    limits = {
        what: None if limit is None else count(f"max_{what}", limit)
        for what, limit in (("flash", max_flash), ("ram", max_ram))
    }
    if not any(limits.values()):
        raise InvalidArgument(
            "max_flash, max_ram: expected one of them at least, got None; rdquant.emit_c needs no limit"
        )
    one_of("target", target, TARGETS)
    path, shown = path_of("folder", folder), flag("progress", progress)
    used = calibration_of(calibration, loaded, count("images", images))
    x = np.concatenate([batch for batch, _ in used])
    return _Search(loaded, x, limits, {"target": target, "name": name}, shown).run(path)


def _resized(x: Array, height: int, width: int) -> Array:
    """Images [n, c, h, w] in another size, each pixel interpolated linearly."""

    def along(x: Array, axis: int, size: int) -> Array:
        at = (np.arange(size) + 0.5) * (x.shape[axis] / size) - 0.5
        first = np.clip(np.floor(at).astype(np.int64), 0, x.shape[axis] - 1)
        after = np.minimum(first + 1, x.shape[axis] - 1)
        share = np.clip(at - first, 0, 1).astype(np.float32)
        share = share.reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        made: Array = np.take(x, first, axis) * (1 - share) + np.take(x, after, axis) * share
        return made

    return x if x.shape[2:] == (height, width) else along(along(x, 2, height), 3, width)


def _output_axes(model: Model) -> dict[str, int]:
    """Axis of the output channels of each weight that a quantized layer has."""
    found = {}
    for node in model.skeleton.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1:
            turned = any(a.name == "transB" and a.i == 1 for a in node.attribute)
            found[node.input[1]] = 0 if node.op_type == "Conv" or turned else 1
    return {name: axis for name, axis in found.items() if name in model.weights(["weight"])}


def _thinned(w: Array, axis: int, bits: int, pruned: float) -> Array:
    """Weights of so many bits, one step for each output channel; the smallest of all at 0."""
    most = np.abs(w).max(tuple(a for a in range(w.ndim) if a != axis), keepdims=True)
    if pruned > 0:
        w = np.where(np.abs(w) < np.quantile(np.abs(w), pruned), np.float32(0), w)
    if bits == 8:
        return w
    step = np.maximum(most, np.finfo(np.float32).tiny) / np.float32(2 ** (bits - 1) - 1)
    made: Array = (np.rint(w / step) * step).astype(np.float32)
    return made


class _Search:
    def __init__(
        self,
        model: Model,
        x: Array,
        limits: Mapping[str, int | None],
        options: Mapping[str, Any],
        progress: bool,
    ) -> None:
        self._model, self._x, self._limits, self._options, self._progress = (
            model,
            x,
            limits,
            options,
            progress,
        )
        self._signal = self._outputs(model, x)

    def run(self, folder: Path) -> McuFit:
        rows = list(self._predicted())
        too_large: dict[tuple[int, ...], int] = {}  # input → its RAM, which no other weights change
        with tqdm(rows, desc="trying", unit="candidate", disable=not self._progress, leave=False) as bar:
            for row in bar:
                shape = tuple(row["shape"])
                if row["predicted"] is None or shape in too_large:
                    if shape in too_large:
                        row |= {"ram": too_large[shape], "outcome": "too much RAM at this input size"}
                    continue
                fit = self._tried(row, folder, rows)
                if fit is not None:
                    return fit
                limit = self._limits["ram"]
                if limit is not None and row["ram"] is not None and row["ram"] > limit:
                    too_large[shape] = row["ram"]
        raise RdquantError(self._failure(rows))

    def _outputs(self, model: Model, x: Array) -> list[Array]:
        with Session(model) as session:
            name = session.inputs[0].name
            runs = [list(session.run({name: image[np.newaxis]}).values()) for image in x]
        return [np.concatenate(parts) for parts in zip(*runs, strict=True)]

    def _noise(self, model: Model, x: Array) -> float:
        """Share of noise in the outputs. Raises RdquantError for outputs of other shapes."""
        wrong = power = 0.0
        for ours, theirs in zip(self._outputs(model, x), self._signal, strict=True):
            if ours.shape != theirs.shape:
                raise RdquantError(f"outputs become {list(ours.shape[1:])} from {list(theirs.shape[1:])}")
            wrong += float(np.square(ours - theirs, dtype=np.float64).sum())
            power += float(np.square(theirs - theirs.mean(0), dtype=np.float64).sum())
        return wrong / max(power, np.finfo(np.float64).tiny)

    def _candidates(self) -> list[dict[str, Any]]:
        flash, ram = self._limits["flash"] is not None, self._limits["ram"] is not None
        shape = self._x.shape[1:]
        sizes = SIZES if ram and len(shape) == 3 else SIZES[:1]
        shapes = {(1, *shape): None}
        for size in sizes[1:]:
            sides = [max(1, round(size * side)) for side in shape[1:]]
            if min(sides) >= _LEAST_SIDE:
                smaller = (1, shape[0], *sides)
                shapes[smaller] = None
        widths = product(BITS if flash else BITS[:1], PRUNED if flash else PRUNED[:1])
        return [
            {
                "bits": b,
                "pruned": p,
                "shape": list(s),
                "predicted": None,
                "flash": None,
                "ram": None,
                "outcome": "not tried",
            }
            for (b, p), s in product(widths, shapes)
        ]

    def _predicted(self) -> Iterator[dict[str, Any]]:
        """Candidates in the order of their noise; those that cannot run come last."""
        rows = self._candidates()
        for row in tqdm(rows, desc="predicting", unit="candidate", disable=not self._progress, leave=False):
            try:
                row["predicted"] = self._noise(*self._version(row))
            except RdquantError as error:
                row["outcome"] = f"cannot run: {error}"
        yield from sorted(rows, key=lambda row: np.inf if row["predicted"] is None else row["predicted"])

    def _version(self, row: Mapping[str, Any]) -> tuple[Model, Array]:
        """The float network of a candidate, and its images."""
        weights = self._model.weights(["weight"])
        thinned = {
            name: _thinned(weights[name], axis, row["bits"], row["pruned"])
            for name, axis in _output_axes(self._model).items()
        }
        model = self._model.replace_weights(thinned)
        shape = row["shape"]
        if tuple(shape[1:]) == self._x.shape[1:]:
            return model, self._x
        proto = model.proto
        del proto.graph.value_info[:]
        for axis, size in enumerate(shape[1:], 1):
            proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
        for output in proto.graph.output:
            for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
                dimension.dim_param = f"{output.name}.{axis}"
        return load(proto), _resized(self._x, shape[2], shape[3])

    def _tried(self, row: dict[str, Any], folder: Path, rows: list[dict[str, Any]]) -> McuFit | None:
        """The candidate quantized and emitted; None where it is too large."""
        model, x = self._version(row)
        exact = row["bits"] == 8 and row["pruned"] == 0
        rounding: dict[str, Any] = {} if exact else {"rounding": "nearest", "equalize": 0}
        quantized = quantize_static(
            model, x, images=len(x), max_kl=_NO_LIMIT, max_noise=_NO_LIMIT, **rounding
        )
        coded: dict[str, Any] = {"compressed_weights": True, "max_ram": self._limits["ram"] or _MUCH}
        for how in ({}, coded):
            with tempfile.TemporaryDirectory() as scratch:
                firmware = emit_c(quantized, scratch, **how, **self._options)
            row |= {"flash": firmware.flash, "ram": firmware.ram, "outcome": "too large"}
            if self._limits["ram"] is not None and firmware.ram > self._limits["ram"]:
                return None
            if self._limits["flash"] is None or firmware.flash <= self._limits["flash"]:
                firmware = emit_c(quantized, folder, **how, **self._options)
                row["outcome"] = "fits"
                noise = self._noise(quantized, x)
                return McuFit(
                    firmware, quantized, row["bits"], row["pruned"], tuple(row["shape"]), noise, rows
                )
        return None

    def _failure(self, rows: list[dict[str, Any]]) -> str:
        asked = ", ".join(
            f"max_{what} {limit:,}" for what, limit in self._limits.items() if limit is not None
        )
        emitted = [row for row in rows if row["ram"] is not None and row["flash"] is not None]
        if not emitted:
            return f"{self._model.name}: none of {len(rows)} candidates can be run; {rows[0]['outcome']}"
        least = [min(emitted, key=lambda row: row[what]) for what in ("flash", "ram")]
        nearest = "; ".join(
            f"least {what} {row[what]:,} bytes: {row['bits']} bits, {row['pruned']:.0%} pruned, input {row['shape']}"
            for what, row in zip(("flash", "RAM"), [dict(r, RAM=r["ram"]) for r in least], strict=True)
        )
        return (
            f"{asked}: none of {len(rows)} candidates fits on {self._options['target']}, {len(emitted)} emitted; {nearest}; "
            "a smaller network is needed"
        )
