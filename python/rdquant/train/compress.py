"""`PruneThenQuantize`: the operator as a hook on an optimizer's steps (paper 002, figure 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from .._tables import short
from ..errors import InvalidArgument
from ._torch import named_weights, torch
from .decay import GroupDecay
from .groups import GroupPruning
from .operator import Layer, Pruned, check_bits, check_gamma, prune_layers
from .patterns import fitting
from .schedules import Ramp, Schedule, Stages, bounds, last_value, settled_at, value_at

__all__ = ["Keep", "PruneThenQuantize", "prune_tensor"]

Keep = Literal["none", "survivors", "all"]
_KEEP = ("none", "survivors", "all")
_ATTACHED: WeakSet[PruneThenQuantize] = WeakSet()
"""Those that follow an optimizer; a compression keeps its optimizer alive, so nobody else may keep the compression."""


def prune_tensor(w: torch.Tensor, gamma: float, bits: int) -> Pruned:
    """The operator in place, in PyTorch's own operations: for devices other than the CPU.

    The same formulas as `prune_quantize`, but σ is PyTorch's (float64), so results may differ in the last bits.
    """
    if w.numel() == 0:
        return Pruned(0.0, 0.0, 0)
    magnitude = w.detach().abs()
    most = float(magnitude.max())
    if not np.isfinite(most):
        raise InvalidArgument("weights hold NaN or infinity; all weights must be finite")
    threshold = float((gamma * w.detach().double().std(correction=0)).to(w.dtype))
    step = 0.0
    if bits < 32 and most > threshold:
        step = float(torch.tensor((most - threshold) / (2 ** (bits - 1) - 1), dtype=w.dtype))
    with torch.no_grad():
        w.masked_fill_(magnitude < threshold, 0.0)
        if step > 0:
            w.div_(step).round_().mul_(step)
        w.add_(0.0)
    return Pruned(threshold, step, int(torch.count_nonzero(w)))


class PruneThenQuantize:
    """Prunes, then quantizes a model's weights after every step of an optimizer (paper 002, equations 1 to 4).

        compression = PruneThenQuantize(model, gamma=0.375, bits=8).attach(optimizer)
        ...  # train as ever: the model always holds compressed weights

    Args:
        model: a torch.nn.Module, on any device. The weights of layers (parameters with two dimensions or more) are
            compressed, each with its own β and q; biases and batch norm are not.
        gamma: γ ≥ 0, or a `Ramp` or `Stages` of it.
        bits: 2 to 32 (32: prune only), or `Stages` of them.
        skip: names of parameters that stay as they are; * and ? stand for any characters ("head.*").
        keep: what is remembered of the float weights from one step to the next.
            "none": nothing; the next step starts from the compressed weights. This is the paper's scheme. A step that
            moves a weight by less than q/2 is lost, so that few bits need a high learning rate.
            "survivors" (default): weights that were pruned restart from 0, the others from their float value: pruning
            is the paper's, quantizing is straight-through.
            "all": every float value; the step applies the gradient of the compressed weights to them (straight-through
            estimator). Pruned weights come back easily, so density falls less.
        decay: a `GroupDecay`, applied to the float weights before they are pruned.
        groups: `GroupPruning`s: whole rows or columns of some layers are emptied, before γ's threshold is found.
        total_steps: steps that training will take, for schedules; with plain numbers it may be left out.
        threads: threads of the operator on the CPU; 0: all cores.

    Raises:
        InvalidArgument: γ, bits or keep out of range, a name in `skip` that fits nothing, no weights left, a schedule
            without total_steps. While training: a weight that became NaN or infinite, naming it.

    Paper 002: “Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        gamma: Schedule = 0.375,
        bits: int | Stages = 8,
        skip: Iterable[str] = (),
        *,
        keep: Keep = "survivors",
        decay: GroupDecay | None = None,
        groups: GroupPruning | Iterable[GroupPruning] = (),
        total_steps: int | None = None,
        threads: int = 1,
    ) -> None:
        if keep not in _KEEP:
            raise InvalidArgument(f"keep: expected one of {', '.join(_KEEP)}, got {keep!r}")
        for value in bounds(gamma):
            check_gamma(value)
        for value in bounds(bits) if isinstance(bits, Stages) else [bits]:
            check_bits(value)
        self.groups = (groups,) if isinstance(groups, GroupPruning) else tuple(groups)
        schedules = [gamma, bits, *(pruning.share for pruning in self.groups)]
        if total_steps is None and any(isinstance(value, Ramp | Stages) for value in schedules):
            raise InvalidArgument("total_steps: a schedule of γ, bits or groups needs the number of steps")
        if total_steps is not None and total_steps < 1:
            raise InvalidArgument(f"total_steps: expected at least 1, got {total_steps!r}")
        self.gamma, self.bits, self.keep, self.decay = gamma, bits, keep, decay
        self.total_steps, self.threads = total_steps, threads
        self.weights = _chosen(named_weights(model), skip)
        for pruning in self.groups:
            pruning.chosen(self.weights)
        self.steps = 0
        self.layers: dict[str, Pruned] = {}
        self._floats: dict[str, torch.Tensor] = {}
        self._compressed: dict[str, torch.Tensor] = {}  # while an optimizer's step works on the floats
        self._optimizer: torch.optim.Optimizer | None = None

    def __repr__(self) -> str:
        scheme = f"gamma={self.gamma}, bits={self.bits}, keep={self.keep!r}"
        return short(self, f"of {len(self.weights)} weights: {scheme}, step {self.steps}")

    def attach(self, optimizer: torch.optim.Optimizer) -> PruneThenQuantize:
        """Compress the weights now and after each step of `optimizer` from now on; returns itself.

        Does nothing where it is attached to this optimizer already. Raises InvalidArgument where to another one, where the
        optimizer does not train these weights, or another compression follows it with some of them.
        """
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InvalidArgument(f"attach: expected an optimizer, got {type(optimizer).__name__}")
        if self._optimizer is optimizer:
            return self
        if self._optimizer is not None:
            raise InvalidArgument("attach: this compression follows another optimizer already")
        trained = {id(w) for group in optimizer.param_groups for w in group["params"]}
        if not any(id(w) in trained for w in self.weights.values()):
            raise InvalidArgument(
                "attach: the optimizer trains none of the weights that are to be compressed"
            )
        others = [other for other in _ATTACHED if other._optimizer is optimizer]
        taken = {id(w) for other in others for w in other.weights.values()}
        for name, w in self.weights.items():
            if id(w) in taken:
                raise InvalidArgument(f"attach: {name} is compressed after this optimizer's steps already")
        _ATTACHED.add(self)
        self._optimizer = optimizer
        if self.keep != "none":
            optimizer.register_step_pre_hook(lambda *_: self._give_floats())
        optimizer.register_step_post_hook(lambda *_: self.step())
        self._prune_groups()
        self._compress()
        return self

    @property
    def progress(self) -> float:
        """The share of all steps that is done, 0 to 1; 1 where the number of steps is not known."""
        return 1.0 if self.total_steps is None else min(1.0, self.steps / self.total_steps)

    @property
    def settled(self) -> bool:
        """Whether γ, bits and groups have reached their last values."""
        schedules = [self.gamma, self.bits, *(pruning.share for pruning in self.groups)]
        return self.progress >= max(settled_at(schedule) for schedule in schedules)

    @property
    def now(self) -> tuple[float, int]:
        """γ and bits of this moment."""
        return value_at(self.gamma, self.progress), int(value_at(self.bits, self.progress))

    @property
    def last(self) -> tuple[float, int]:
        """γ and bits that the schedules end with."""
        return last_value(self.gamma), int(last_value(self.bits))

    @property
    def density(self) -> float:
        """Share of the compressed layers' weights that are not 0, 0..1. Raises InvalidArgument before they are compressed."""
        self._check_compressed()
        total = sum(w.numel() for w in self.weights.values())
        return sum(layer.nonzero for layer in self.layers.values()) / total

    def step(self) -> None:
        """Compress the weights as an optimizer's step left them; `attach` calls it after every step."""
        self.steps += 1
        if self.decay is not None and self.steps % self.decay.every == 0:
            self.decay.apply(self.weights, self._rates())
        self._prune_groups()
        self._compress()

    def levels(self) -> dict[str, tuple[NDArray[np.int32], float]]:
        """Levels (int32, shape of the layer) and step q of each layer: weights are levels·q. Needs fewer than 32 bits.

        Raises InvalidArgument where a layer was pruned only, and before anything was compressed. They are of the weights as
        the last step left them.
        """
        self._check_compressed()
        found = {}
        for name, w in self.weights.items():
            values, step = w.detach().cpu().numpy(), self.layers[name].step
            if step == 0.0 and np.any(values):
                raise InvalidArgument(f"{name}: these weights are not quantized and have no levels")
            levels = np.rint(values / step) if step else np.zeros(values.shape)
            found[name] = (np.ascontiguousarray(levels, np.int32), step)
        return found

    def _check_compressed(self) -> None:
        if not self.layers:
            raise InvalidArgument("nothing is compressed yet: attach it to an optimizer, or call step()")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold, beside the model, for training to go on bit for bit."""
        return {
            "steps": self.steps,
            "keep": self.keep,
            "layers": {name: tuple(layer) for name, layer in self.layers.items()},
            "floats": {name: values.clone() for name, values in self._floats.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state`, what `state_dict()` gave; the model's own weights are loaded by the model.

        Raises InvalidArgument where the state is that of other layers or of another `keep`.
        """
        if state["keep"] != self.keep:
            raise InvalidArgument(f"keep: the checkpoint has {state['keep']!r}, this is {self.keep!r}")
        if set(state["layers"]) != set(self.weights):
            raise InvalidArgument(f"the checkpoint compresses other layers: {', '.join(state['layers'])}")
        self.steps = state["steps"]
        self.layers = {name: Pruned(*layer) for name, layer in state["layers"].items()}
        self._compressed = {}
        self._floats = {name: _like(v.clone(), self.weights[name]) for name, v in state["floats"].items()}

    def _prune_groups(self) -> None:
        for pruning in self.groups:
            pruning.apply(self.weights, self.progress)

    def _rates(self) -> dict[str, float]:
        """The learning rate of each layer; 0 for layers that are not the optimizer's."""
        groups = [] if self._optimizer is None else self._optimizer.param_groups
        found = {id(w): float(group["lr"]) for group in groups for w in group["params"]}
        return {name: found.get(id(w), 0.0) for name, w in self.weights.items()}

    def _give_floats(self) -> None:
        """Let the optimizer's step work on the floats: parameters change their memory, nothing is copied."""
        for name, w in self.weights.items():
            if name not in self._compressed:
                held, floats = w.data, self._floats.get(name)
                w.data = held.clone() if floats is None else _like(floats, w)
                self._compressed[name] = held

    def _take_back(self) -> None:
        """Give the parameters the memory of the compressed weights again; the floats stay as the step left them."""
        for name, w in self.weights.items():
            held = self._compressed.pop(name, None)
            if held is not None:
                self._floats[name], w.data = w.data, held
            else:  # at first, and where `step` is called without an optimizer
                self._floats[name] = w.detach().clone()

    def _compress(self) -> None:
        gamma, bits = self.now
        if self.keep != "none":
            self._take_back()
        layers = [self._layer(name, w.data) for name, w in self.weights.items()]
        try:
            if all(_is_ours(layer.out) for layer in layers):
                done = prune_layers([_arrays(layer) for layer in layers], gamma, bits, self.threads)
            else:
                done = [_prune_anywhere(layer, gamma, bits) for layer in layers]
        except InvalidArgument as error:
            raise InvalidArgument(f"after {self.steps} steps: {error}") from None
        self.layers = dict(zip(self.weights, done, strict=True))

    def _layer(self, name: str, w: torch.Tensor) -> Layer:
        floats = self._floats.get(name, w)
        return Layer(name, floats, w, floats if self.keep == "survivors" else None)


def _is_ours(w: torch.Tensor) -> bool:
    return w.device.type == "cpu" and w.dtype in (torch.float32, torch.float64)


def _arrays(layer: Layer) -> Layer:
    """The same memory as NumPy arrays, which costs less to look at."""
    out, weights = layer.out.numpy(), layer.weights
    weights = out if weights is layer.out else weights.numpy()
    return Layer(layer.name, weights, out, None if layer.pruned is None else weights)


def _like(values: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """`values` with the device, dtype and layout of w: themselves where they have them."""
    same = values.device == w.device and values.dtype == w.dtype and values.stride() == w.stride()
    return values if same else torch.empty_like(w.data).copy_(values)


def _prune_anywhere(layer: Layer, gamma: float, bits: int) -> Pruned:
    layer.out.copy_(layer.weights)
    try:
        if layer.pruned is not None:
            prune_tensor(layer.pruned, gamma, 32)
        return prune_tensor(layer.out, gamma, bits)
    except InvalidArgument as error:
        raise InvalidArgument(f"{layer.name}: {error}") from None


def _chosen(weights: dict[str, Any], skip: Iterable[str]) -> dict[str, Any]:
    skipped = fitting(skip, weights, "skip")
    kept = {name: w for name, w in weights.items() if name not in skipped}
    if not kept:
        raise InvalidArgument("the model has no weights to compress: no parameter of two dimensions is left")
    return kept
