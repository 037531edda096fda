"""`qat`: a network trained with its weights rounded to the widths of an allocation, by the straight-through estimator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from ..data import Data, Dataset, open_dataset
from ..errors import InvalidArgument, count, described, flag, number
from ..graph import Model, load
from ..significance.allocation import Allocation, retrained
from ..significance.widths import Rows
from ._torch import torch
from .importer import TorchNetwork

if TYPE_CHECKING:
    from ..calibrate import Layer
    from ..graph import AnyModel

__all__ = ["qat"]

Prepare = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
_MOMENTUM = 0.9


class _Rounded(torch.autograd.Function):  # type: ignore[misc]  # Any without PyTorch
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


class _Fake(torch.nn.Module):  # type: ignore[misc]
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
        rounded = _Rounded.apply(self.matrix(weight), self.steps.abs() + 1e-12, self.largest)
        return (rounded.T if self.layer.transposed else rounded).reshape(weight.shape)

    def rows(self, weight: Any, bias: Any, rows: Rows) -> Rows:
        """The levels as they are now."""
        with torch.no_grad():
            steps = (self.steps.abs() + 1e-12).float()
            over = (self.matrix(weight) / steps).clamp(-self.largest, self.largest)
            levels = over.round().cpu().numpy().astype(rows.levels.dtype)
        taken = None if bias is None else bias.detach().cpu().numpy().copy()
        return Rows(levels, steps[:, 0].cpu().numpy().copy(), taken, rows.loss, rows.square)


def qat(
    model: AnyModel,
    data: Data,
    allocation: Allocation | None = None,
    *,
    epochs: int = 3,
    learning_rate: float = 0.005,
    batch_size: int = 128,
    learn_steps: bool = True,
    prepare: Prepare | None = None,
    seed: int = 0,
    device: str = "cpu",
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
        progress: show a bar on stderr.

    Returns an `Allocation` of the same widths with the trained network in it; a Model without `allocation`.

    Raises InvalidArgument for an allocation of another network and arguments out of range, Unsupported for operators that
    training does not know. Source: LSQ (Esser et al., 2020).
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
    images = open_dataset(data, model=loaded)
    network = TorchNetwork(loaded).to(device)
    fakes: dict[str, _Fake] = {}
    if allocation is not None:
        for layer, rows in allocation.layers():
            fakes[layer.weight] = _Fake(layer, rows, allocation.bits[layer.weight]).to(device)
        network.change = lambda name, weight: fakes[name](weight) if name in fakes else weight
    learned = list(network.parameters()) + [f.steps for f in fakes.values() if learn]
    _train(network, learned, images, epochs, rate, batch_size, prepare, seed, device, shown)
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


def _train(
    network: TorchNetwork,
    learned: list[Any],
    images: Dataset,
    epochs: int,
    rate: float,
    batch_size: int,
    prepare: Prepare | None,
    seed: int,
    device: str,
    shown: bool,
) -> None:
    optimizer = torch.optim.SGD(learned, lr=rate, momentum=_MOMENTUM)
    steps = epochs * -(-len(images) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    with tqdm(total=steps, desc="training", unit="batch", disable=not shown, leave=False) as bar:
        for _ in range(epochs):
            order = random.permutation(len(images))
            for start in range(0, len(order), batch_size):
                x, y = images.get(order[start : start + batch_size])
                batch = torch.from_numpy(np.array(x))
                if prepare is not None:
                    batch = prepare(batch, generator)
                scores = network(batch.to(device))
                if int(y.max()) >= scores.shape[1]:
                    raise InvalidArgument(
                        f"data: label {y.max()}; the network has classes 0..{scores.shape[1] - 1}"
                    )
                loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y).to(device))
                if not torch.isfinite(loss.detach()):
                    raise InvalidArgument("learning_rate: the loss is not finite; choose a lower one")
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}")
