"""PyTorch, where it is installed: the only place that looks for it."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from ..errors import BackendUnavailable

if TYPE_CHECKING:
    import torch
else:
    if importlib.util.find_spec("torch") is None:
        raise BackendUnavailable(
            "training needs PyTorch, which is not installed. It comes with the extra 'train': "
            "pip install '.[train]' in a clone of rdquant, or pip install torch"
        )
    import torch

__all__ = ["named_weights", "torch"]


def named_weights(model: Any) -> dict[str, torch.nn.Parameter]:
    """The weights of convolutions and linear layers by name: all parameters with two dimensions or more."""
    return {name: p for name, p in model.named_parameters() if p.ndim > 1}
