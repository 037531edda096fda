"""A trained model as ONNX, its zeros and levels as they are."""

from __future__ import annotations

import os
import warnings
from typing import Any

from .._files import replacing
from ._torch import torch

__all__ = ["export_onnx"]


def export_onnx(
    model: torch.nn.Module, example: Any, path: str | os.PathLike[str], *, opset: int = 17
) -> None:
    """Write the model, as it works in evaluation, to an ONNX file with a free batch size.

    Batch norm is not folded into the convolution before it: folding multiplies each channel by a factor of its own, and
    weights that were multiples of one step would be so no longer. Initializers have the names of the parameters.

    Args:
        model: on any device; its mode (training or evaluation) stays as it is.
        example: a batch that the model takes, array or tensor; its values do not matter.
        path: where to write; whole or not at all.
        opset: version of ONNX's operators.

    Raises RdquantError where the file cannot be written; what PyTorch raises where it cannot export the model.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        with replacing(path) as partial, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, on its own future
            torch.onnx.export(
                model,
                (torch.as_tensor(example).to(device),),
                str(partial),
                input_names=["input"],
                output_names=["scores"],
                dynamic_axes={"input": {0: "N"}, "scores": {0: "N"}},
                opset_version=opset,
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
                dynamo=False,
            )
    finally:
        model.train(was_training)
