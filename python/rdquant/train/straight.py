"""The loop behind `qat`: SGD at a falling learning rate, with a checkpoint that a later call goes on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from .._tables import Brief
from ..data import Dataset
from ..errors import CorruptFile, InvalidArgument
from ._torch import torch
from .checkpoint import load_checkpoint, save_checkpoint
from .importer import TorchNetwork

__all__ = ["Prepare", "Run"]

Prepare = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
_MOMENTUM = 0.9
_SECONDS = 60.0  # between checkpoints
_SCHEMA = 1


@dataclass(repr=False)
class Run(Brief):
    """One training of a network.

    Attributes:
        network: what is trained, on its device.
        learned: its parameters, and others that are learned with them.
        facts: what the outcome depends on, plain values; a checkpoint of others is refused.
        checkpoint: the file; None: none is kept.
    """

    network: TorchNetwork
    learned: Sequence[Any]
    data: Dataset
    epochs: int
    rate: float
    batch_size: int
    prepare: Prepare | None
    seed: int
    device: str
    facts: Mapping[str, Any]
    checkpoint: Path | None

    def __post_init__(self) -> None:
        self._optimizer = torch.optim.SGD(self.learned, lr=self.rate, momentum=_MOMENTUM)
        self._generator = torch.Generator().manual_seed(self.seed)
        self._before = self._generator.get_state()  # of the batch that is next
        self._step, self._whole = 0, True
        self._classes = 0
        self._losses: list[float] = []  # of the first batch, and a running mean

    def train(self, shown: bool) -> None:
        """To the end, from the checkpoint where there is one; Ctrl-C leaves one.

        Raises InvalidArgument for a checkpoint of another training, labels that the network has no score for and a loss that
        is not finite, or at the end no better than guessing where it was at first; CorruptFile for a checkpoint that cannot be
        read.
        """
        self._resume()
        each = -(-len(self.data) // self.batch_size)
        total, saved = self.epochs * each, time.monotonic()
        random, first = np.random.default_rng(self.seed), self._step
        bar = tqdm(total=total, initial=first, desc="training", unit="batch", disable=not shown, leave=False)
        try:
            with bar:
                for epoch in range(self.epochs):
                    order = random.permutation(len(self.data))
                    for k in range(max(0, first - epoch * each), each):
                        start = k * self.batch_size
                        loss = self._batch(order[start : start + self.batch_size], total)
                        bar.update()
                        bar.set_postfix(loss=f"{loss:.3f}")
                        if time.monotonic() - saved > _SECONDS:
                            self._save()
                            saved = time.monotonic()
        except KeyboardInterrupt:
            if self._whole:
                self._save()
            raise
        self._save()
        early, late = self._losses
        guessing = math.log(max(2, self._classes))
        if early < 0.9 * guessing < 0.98 * guessing < late:
            raise InvalidArgument(
                f"learning_rate: the loss rose from {early:.3g} to {late:.3g} nats, which is guessing; choose a lower one"
            )

    def _batch(self, places: Any, total: int) -> float:
        x, y = self.data.get(places)
        batch = torch.from_numpy(np.array(x))
        if self.prepare is not None:
            batch = self.prepare(batch, self._generator)
        scores = self.network(batch.to(self.device))
        if int(y.max()) >= scores.shape[1]:
            raise InvalidArgument(f"data: label {y.max()}; the network has classes 0..{scores.shape[1] - 1}")
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y).to(self.device))
        if not torch.isfinite(loss.detach()):
            raise InvalidArgument("learning_rate: the loss is not finite; choose a lower one")
        self._classes = scores.shape[1]
        self._optimizer.zero_grad()
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * self._step / total))
        self._whole = False  # an interrupt from here on leaves some parameters a step ahead
        self._optimizer.step()
        self._step += 1
        self._before = self._generator.get_state()
        found = float(loss.item())
        self._losses = (
            [found, found] if not self._losses else [self._losses[0], _mean(self._losses[1], found)]
        )
        self._whole = True
        return found

    def _save(self) -> None:
        if self.checkpoint is None or self._step == 0:
            return
        state = {
            "schema": _SCHEMA,
            "facts": dict(self.facts),
            "step": self._step,
            "learned": [p.detach() for p in self.learned],
            "optimizer": self._optimizer.state_dict(),
            "generator": self._before,
            "losses": list(self._losses),
            "classes": self._classes,
        }
        save_checkpoint(state, self.checkpoint)

    def _resume(self) -> None:
        state = None if self.checkpoint is None else load_checkpoint(self.checkpoint)
        if state is None:
            return
        if not isinstance(state, dict) or state.get("schema") != _SCHEMA:
            raise CorruptFile(f"{self.checkpoint}: not a checkpoint of qat")
        other = [name for name, value in self.facts.items() if state["facts"].get(name) != value]
        if other:
            raise InvalidArgument(
                f"checkpoint: {self.checkpoint} is of another training, different in {', '.join(other)}; choose another file, "
                "or the same arguments"
            )
        with torch.no_grad():
            for own, value in zip(self.learned, state["learned"], strict=True):
                own.copy_(value)
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._before, self._step = state["generator"], int(state["step"])
        self._losses, self._classes = list(state["losses"]), int(state["classes"])


def _mean(known: float, new: float) -> float:
    """Of about the last ten."""
    return 0.9 * known + 0.1 * new
