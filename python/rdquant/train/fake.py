"""Weights rounded in the forward pass of training, with learned steps (LSQ)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..significance.widths import Rows
from ._torch import torch

if TYPE_CHECKING:
    from ..calibrate import Layer

__all__ = ["Fake", "Rounded"]


class Rounded(torch.autograd.Function):  # type: ignore[misc]  # Any without PyTorch
    """Rows of weights at steps of their own; gradients of the steps as LSQ has them."""

    @staticmethod
    def forward(context: Any, rows: Any, steps: Any, largest: Any) -> Any:
        over = rows / steps
        levels = over.clamp(-largest, largest).round()
        context.save_for_backward(over, levels, largest)
        return levels * steps

    @staticmethod
    def backward(context: Any, gradient: Any) -> Any:
        over, levels, largest = context.saved_tensors
        inside = over.abs() <= largest
        slope = torch.where(inside, levels - over, levels)
        scale = (over.shape[1] * largest).rsqrt()
        return gradient * inside, (gradient * slope).sum(dim=1, keepdim=True) * scale, None


class Fake(torch.nn.Module):  # type: ignore[misc]
    """The rounding of one layer: steps, and the largest level of each row."""

    def __init__(self, layer: Layer, rows: Rows, widths: Any) -> None:
        super().__init__()
        self.layer = layer
        bits = np.broadcast_to(np.asarray(widths), (layer.rows,))
        self.steps = torch.nn.Parameter(torch.from_numpy(rows.scales.copy())[:, None])
        self.register_buffer("largest", torch.from_numpy((2.0 ** (bits - 1) - 1).astype(np.float32))[:, None])

    def matrix(self, weight: Any) -> Any:
        return weight.T if self.layer.transposed else weight.reshape(self.layer.rows, -1)

    def forward(self, weight: Any) -> Any:
        rounded = Rounded.apply(self.matrix(weight), self.steps.abs() + 1e-12, self.largest)
        return (rounded.T if self.layer.transposed else rounded).reshape(weight.shape)

    def rows(self, weight: Any, bias: Any, rows: Rows) -> Rows:
        """The levels as they are now."""
        with torch.no_grad():
            steps = (self.steps.abs() + 1e-12).float()
            over = (self.matrix(weight) / steps).clamp(-self.largest, self.largest)
            levels = over.round().cpu().numpy().astype(rows.levels.dtype)
        taken = None if bias is None else bias.detach().cpu().numpy().copy()
        return Rows(levels, steps[:, 0].cpu().numpy().copy(), taken, rows.loss, rows.square)
