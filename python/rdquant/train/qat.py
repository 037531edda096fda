"""`qat`: a network trained with its weights rounded to the widths of an allocation, by the straight-through estimator."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from .._files import target_of
from ..data import Data, open_dataset
from ..errors import InvalidArgument, count, described, flag, number
from ..graph import Model, load
from ..significance.allocation import Allocation, retrained
from ._torch import torch
from .fake import Fake
from .importer import TorchNetwork
from .straight import Prepare, Run

if TYPE_CHECKING:
    from ..graph import AnyModel

__all__ = ["qat"]


def qat(
    model: AnyModel,
    data: Data,
    allocation: Allocation | None = None,
    *,
    epochs: int = 3,
    learning_rate: float = 0.001,
    batch_size: int = 128,
    learn_steps: bool = True,
    prepare: Prepare | None = None,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Allocation | Model:
    """Train a network at the widths of an allocation for a few epochs, or in float for as many.

    Weights are rounded in every forward pass and gradients pass straight through; steps are learned with them (LSQ).
    Compare with the float network trained on the same images as long, never with the float network as it came: training on
    other images than its own changes a network by itself.

    Args:
        model: the float network, of the operators that `rdquant.train.importer` knows.
        data: labelled training images.
        allocation: from `rdquant.allocate`; None: train in float.
        epochs: passes over the images; the learning rate falls to 0 over them as a cosine.
        learning_rate: of SGD with momentum 0.9, a step per unit of the gradient.
        batch_size: images in a batch.
        learn_steps: train the steps too, or keep them.
        prepare: (batch, generator) -> what the network takes, for augmentation.
        seed: of the order of the images.
        device: "cpu", "cuda", …
        checkpoint: a file, written every minute, at Ctrl-C and at the end, from which the same call goes on (`prepare` is
            not compared); None: none.
        progress: show a bar on stderr.

    Returns an `Allocation` of the same widths with the trained network in it; a Model without `allocation`.

    Raises InvalidArgument for an allocation of another network, arguments out of range, a device that PyTorch does not find
    and a checkpoint of another call, CorruptFile for one that cannot be read, Unsupported for operators that training does
    not know. Source: LSQ (Esser et al., 2020).
    """
    loaded = load(model)
    if allocation is not None and not isinstance(allocation, Allocation):
        raise InvalidArgument(f"allocation: expected an Allocation or None, got {described(allocation)}")
    if allocation is not None and allocation.fingerprint != loaded.fingerprint:
        raise InvalidArgument(f"allocation: it is of another network than {loaded.name}")
    epochs, batch_size, seed = (
        count("epochs", epochs),
        count("batch_size", batch_size),
        count("seed", seed, 0),
    )
    rate = number("learning_rate", learning_rate, above=0)
    learn, shown = flag("learn_steps", learn_steps), flag("progress", progress)
    kept = None if checkpoint is None else target_of("checkpoint", checkpoint, model=loaded, data=data)
    images = open_dataset(data, model=loaded)
    network = TorchNetwork(loaded).to(_usable(device))
    fakes: dict[str, Fake] = {}
    if allocation is not None:
        for layer, rows in allocation.layers():
            fakes[layer.weight] = Fake(layer, rows, allocation.bits[layer.weight]).to(device)
        network.change = lambda name, weight: fakes[name](weight) if name in fakes else weight
    learned = list(network.parameters()) + [f.steps for f in fakes.values() if learn]
    facts = {
        "model": loaded.fingerprint,
        "allocation": _digest(allocation),
        "data": "" if kept is None else images.fingerprint,
        "epochs": epochs,
        "learning_rate": rate,
        "batch_size": batch_size,
        "learn_steps": learn,
        "seed": seed,
    }
    Run(network, learned, images, epochs, rate, batch_size, prepare, seed, device, facts, kept).train(shown)
    if allocation is None:
        return network.exported()
    weights = network.weights
    found = [
        fakes[layer.weight].rows(
            weights[layer.weight], None if layer.bias is None else weights[layer.bias], rows
        )
        for layer, rows in allocation.layers()
    ]
    return retrained(allocation, network.exported(), found)


def _usable(device: Any) -> Any:
    """A device that PyTorch knows and finds; InvalidArgument for others."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].removesuffix(".")
        raise InvalidArgument(f"device: {described(device)}: {reason[:1].lower()}{reason[1:]}") from None
    return device


def _digest(allocation: Allocation | None) -> str:
    """Of the widths and steps that training starts from."""
    digest = hashlib.sha256()
    if allocation is not None:
        for layer, rows in allocation.layers():
            digest.update(
                repr((layer.weight, allocation.bits[layer.weight])).encode() + rows.scales.tobytes()
            )
    return digest.hexdigest()
