"""What quantization did to a network, in plain figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .._tables import Brief, html_table, short
from ..errors import needed
from ..graph import Model
from ..graph.halves import has_halves, with_ports_of
from ..graph.model import Origin
from .damage import Damage
from .fold import merged

with needed():
    import onnx

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "DynamicLayer",
    "DynamicReport",
    "LayerReport",
    "QuantizedModel",
    "Report",
    "StepReport",
    "for_ports_of",
]

_UNDOABLE = ("order", "balance")


@dataclass(frozen=True)
class StepReport:
    """What the outputs lose once a step has been done, with those before it.

    Attributes:
        step: "levels" (activations, and weights to the nearest level), "equalize", "rounding", "bias", "keep",
            "order" or "balance". "order" and "balance" are undone where they made it worse; "equalize" is left out where
            levels of activations do not cost a tenth less by it, on images that ranges were not taken from.
        damage: on the calibration images.
    """

    step: str
    damage: Damage


@dataclass(frozen=True, repr=False)
class LayerReport(Brief):
    """One layer, and what it costs to quantize it.

    Attributes:
        node, op: of the graph.
        alone: what the outputs lose where this layer alone is quantized: KL divergence in nats, or share of noise.
        sqnr_db: of its output in the quantized network, decibels, behind its activation (SiLU too); None where it is not
            compared.
        kept: whether it stays in float.
        reason: why, "" where it does not.
    """

    node: str
    op: str
    alone: float
    sqnr_db: float | None
    kept: bool
    reason: str


class _Shown:
    """How both reports show themselves: in a line, as their text, as a table of layers."""

    layers: tuple[Any, ...]
    damage: Damage | None

    @property
    def kept(self) -> tuple[Any, ...]:
        """Layers that stay in float."""
        return tuple(layer for layer in self.layers if layer.kept)

    def to_pandas(self) -> pd.DataFrame:
        """One row per layer."""
        with needed():
            import pandas as pd

        frame: pd.DataFrame = pd.DataFrame([asdict(layer) for layer in self.layers])
        return frame

    def __repr__(self) -> str:
        lost = "unknown"
        if self.damage is not None:
            lost = f"{'noise' if self.damage.kl is None else 'KL'} {self.damage.score:.4g}"
        kept = f"{len(self.kept)} of {len(self.layers)} layers in float"
        return short(self, f"{kept}, loss of the outputs {lost}")

    def _repr_html_(self) -> str:
        return html_table(self)


@dataclass(frozen=True, repr=False)
class Report(_Shown):
    """What `quantize_static` measured; nothing of it needs labels.

    Attributes:
        images: number of calibration images.
        measured: of them, those on which the losses below were measured.
        steps: in order, each with what is left to lose.
        layers: the one that does most damage first.
        damage: of the network that is returned.
        limit: what was tolerated, in the unit of `Damage.score`: nats, or a share of noise.
        met: whether the damage is within it.
    """

    images: int
    measured: int
    steps: tuple[StepReport, ...]
    layers: tuple[LayerReport, ...]
    damage: Damage
    limit: float
    met: bool

    @property
    def undone(self) -> tuple[str, ...]:
        """Steps that made it worse: the network that is returned is without them."""
        found, left = [], float("inf")
        for step in self.steps:
            if step.step in _UNDOABLE and step.damage.score >= left:
                found.append(step.step)
            else:
                left = step.damage.score
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {**asdict(self), "kept": [layer.node for layer in self.kept], "undone": list(self.undone)}

    def __str__(self) -> str:
        what = "KL" if self.damage.kl is not None else "noise"
        lines = [f"{what} of the outputs on {self.measured} calibration images, after each step"]
        undone = self.undone
        lines += [f"  {s.step:<9} {s.damage.score:.5f}{', undone' * (s.step in undone)}" for s in self.steps]
        lines += [f"kept in float: {layer.node} ({layer.op}): {layer.reason}" for layer in self.kept]
        if not self.met:
            lines.append(f"the tolerated {self.limit:g} is not met")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class DynamicLayer(Brief):
    """One layer of a network with dynamic ranges.

    Attributes:
        node, op: of the graph.
        weight_sqnr_db: weights over the rounding error of their levels, decibels; None where it has no levels.
        alone: what the outputs lose where this layer alone is quantized: KL divergence in nats, or share of noise; None
            where it was not measured.
        kept: whether it stays in float.
        reason: why, "" where it does not.
    """

    node: str
    op: str
    weight_sqnr_db: float | None
    alone: float | None
    kept: bool
    reason: str


@dataclass(frozen=True, repr=False)
class DynamicReport(_Shown):
    """What `quantize_dynamic` did; what the outputs lose is known only where it was given images.

    Attributes:
        images: on which the losses were measured; 0: none, and they are unknown.
        layers: the one that does most damage first, or without images in the graph's order.
        damage: of the network that is returned; None: unknown.
        limit: what was tolerated, in the unit of `Damage.score`: nats, or a share of noise.
        met: whether the damage is within it; None: unknown.
    """

    images: int
    layers: tuple[DynamicLayer, ...]
    damage: Damage | None
    limit: float | None
    met: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {**asdict(self), "kept": [layer.node for layer in self.kept]}

    def __str__(self) -> str:
        lines = [f"layers with levels: {len(self.layers) - len(self.kept)} of {len(self.layers)}"]
        if self.damage is None:
            lines.append("what the outputs lose is unknown: no images were given")
        else:
            what = "KL" if self.damage.kl is not None else "noise"
            lines.append(f"{what} of the outputs on {self.images} images: {self.damage.score:.5f}")
        lines += [f"kept in float: {layer.node} ({layer.op}): {layer.reason}" for layer in self.kept]
        if self.met is False:
            lines.append(f"the tolerated {self.limit:g} is not met")
        return "\n".join(lines)


AnyReport = TypeVar("AnyReport", Report, DynamicReport)


class QuantizedModel(Model, Generic[AnyReport]):
    """A quantized `Model`, and what was measured on the way to it. Made by `quantize_static` and `quantize_dynamic`.

    Attributes:
        report: see `Report` and `DynamicReport`.
        original_bytes: of the file of the model that was quantized.
        ratio: how many times smaller the file is now.
    """

    def __init__(self, model: Model, report: AnyReport, original_bytes: int) -> None:
        graph, tensors = model.parts()
        facts = model.summary()
        origin = Origin(model.source, model.name, facts["file_bytes"], facts["opset"], facts["nodes"])
        super().__init__(onnx.ModelProto.FromString(graph), tensors, model.parameters, origin)
        self._origin = replace(origin, file_bytes=self.proto.ByteSize())  # as `save` writes it
        self.report: AnyReport = report
        self.original_bytes = original_bytes
        self.ratio = original_bytes / self._origin.file_bytes


def for_ports_of(original: Model, found: QuantizedModel[AnyReport]) -> QuantizedModel[AnyReport]:
    """`found` with inputs and outputs of the element types of `original`, which may be float16 or bfloat16, and with one
    of tensors that hold the same."""
    once = merged(found)
    if not has_halves(original):
        return found if once is found else QuantizedModel(once, found.report, found.original_bytes)
    return QuantizedModel(with_ports_of(once, original), found.report, found.original_bytes)
