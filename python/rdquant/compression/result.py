"""What compressing a model gave: sizes and errors, tensor by tensor."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._tables import Brief, html_table, label, short
from ..errors import needed

if TYPE_CHECKING:
    import pandas as pd

    from .tolerance import Measured

__all__ = ["CompressedTensor", "CompressionResult"]


@dataclass(frozen=True, repr=False)
class CompressedTensor(Brief):
    """One tensor of a compressed file.

    Attributes:
        name, shape: as in the model.
        role: "weight", "bias" or "normalization"; "" for what is not learned.
        coding: "quantized", "floats" (without loss), "integers" or "raw".
        bytes: of its section, parameters of the quantizer included.
        entropy: order-0 entropy of its levels, bits each; NaN where there are none.
        squared_error: Σ(w − ŵ)².
        energy: Σw².
    """

    name: str
    role: str
    shape: tuple[int, ...]
    coding: str
    bytes: int
    entropy: float
    squared_error: float
    energy: float

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bits_per_weight(self) -> float:
        """Real bits per element, everything that belongs to the tensor counted."""
        return 8 * self.bytes / self.size if self.size else 0.0


@dataclass(frozen=True, repr=False)
class CompressionResult:
    """What `compress`, `compress_to_size` and `compress_within` wrote.

    Attributes:
        path: the file.
        bytes, graph_bytes: of the file; of its section with the graph.
        original_bytes: of the model's file.
        tensors: a `CompressedTensor` for each tensor, in the file's order.
        measured: what the model lost on images (see `compress_within`); None where it was not measured.
        met: whether that is within the tolerance.
        interrupted: whether Ctrl-C ended the search.
    """

    path: str
    bytes: int
    """Size of the file."""
    graph_bytes: int
    original_bytes: int
    """Size of the model that was compressed, as its file was."""
    tensors: tuple[CompressedTensor, ...]
    measured: Measured | None = None
    """What was lost on held-out images; None where no data were given."""
    met: bool = True
    """Whether that is within what was tolerated."""
    interrupted: bool = False
    """Whether the search was ended before it had come to its own end."""

    @property
    def ratio(self) -> float:
        """`original_bytes` / `bytes`: how many times smaller the whole file is than that of the model."""
        return self.original_bytes / self.bytes

    @property
    def weights(self) -> int:
        """Number of learned values."""
        return sum(t.size for t in self.tensors if t.role)

    @property
    def bits_per_weight(self) -> float:
        """Real bits per learned value: their sections and nothing else; NaN without learned values. Beside it stands
        `file_bits_per_weight`.
        """
        return 8 * sum(t.bytes for t in self.tensors if t.role) / self.weights if self.weights else math.nan

    @property
    def file_bits_per_weight(self) -> float:
        """Bits of the whole file, graph included, per learned value; NaN without any."""
        return 8 * self.bytes / self.weights if self.weights else math.nan

    @property
    def sqnr_db(self) -> float:
        """10·log10(Σw²/Σ(w − ŵ)²) over the learned values; infinite without loss."""
        error = sum(t.squared_error for t in self.tensors)
        energy = sum(t.energy for t in self.tensors)
        return 10 * float(np.log10(energy / error)) if error > 0 and energy > 0 else float("inf")

    def to_pandas(self) -> pd.DataFrame:
        """One row per tensor: name, role, shape, coding, bytes, bits_per_weight, entropy, squared_error, energy."""
        with needed():
            import pandas as pd

        names = [
            "name",
            "role",
            "shape",
            "coding",
            "bytes",
            "bits_per_weight",
            "entropy",
            "squared_error",
            "energy",
        ]
        rows = [{name: getattr(t, name) for name in names} for t in self.tensors]
        frame: pd.DataFrame = pd.DataFrame(rows, columns=names)
        return frame

    @property
    def compared(self) -> str:
        """How the file's size compares with that of the model, in words that go before it."""
        if self.ratio >= 1:
            return f"{self.ratio:.2f} times smaller than"
        return f"{1 / self.ratio:.2f} times the size of"

    def __repr__(self) -> str:
        bits = f", {self.bits_per_weight:.4g} bits per weight" if self.weights else ""
        lost = "" if self.measured is None else f", {self.measured}"
        lost += "" if self.met else ", more than tolerated"
        found = f"{self.bytes:,} bytes, {self.compared} {self.original_bytes:,}{bits}{lost}"
        return short(self, f"{label(os.path.basename(self.path))}: {found}")

    def _repr_html_(self) -> str:
        return html_table(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "path": self.path,
            "bytes": self.bytes,
            "graph_bytes": self.graph_bytes,
            "original_bytes": self.original_bytes,
            "weights": self.weights,
            "bits_per_weight": self.bits_per_weight if self.weights else None,
            "file_bits_per_weight": self.file_bits_per_weight if self.weights else None,
            "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None,
            "measured": None
            if self.measured is None
            else {k: None if np.isnan(v) else v for k, v in asdict(self.measured).items()},
            "met": self.met,
            "interrupted": self.interrupted,
            "tensors": [
                {
                    "name": t.name,
                    "role": t.role,
                    "shape": list(t.shape),
                    "coding": t.coding,
                    "bytes": t.bytes,
                    "bits_per_weight": t.bits_per_weight,
                    "entropy": None if np.isnan(t.entropy) else t.entropy,
                }
                for t in self.tensors
            ],
        }
