"""The training loop for users: progress, early stopping, checkpoints, resuming bit for bit."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .._files import replacing
from ..errors import InvalidArgument
from ._torch import torch
from .checkpoint import load_checkpoint, random_state, save_checkpoint, set_random_state
from .compress import PruneThenQuantize
from .size import Coder, coded_size, coder_name

__all__ = ["accuracy", "fit", "load_best"]

Data = tuple[Any, Any] | Iterable[tuple[torch.Tensor, torch.Tensor]]
Prepare = Callable[[torch.Tensor, torch.Generator | None], torch.Tensor]
Row = dict[str, Any]


def fit(
    model: torch.nn.Module,
    train: Data,
    validation: Data,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int = 10,
    folder: str | os.PathLike[str],
    compression: PruneThenQuantize | None = None,
    scheduler: Any = None,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.nn.functional.cross_entropy,
    prepare: Prepare | None = None,
    batch_size: int = 128,
    patience: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    coder: Coder = "fast",
    progress: Callable[[Row], None] | None = None,
) -> list[Row]:
    """Train a classifier, with compression or without; called again with the same folder, resume.

    A run that was killed and goes on ends with the same weights, to the bit, as one that was not, on the same machine
    with the same number of threads: state of model, optimizer, scheduler, compression and random numbers is written
    after each epoch, whole or not at all; going on, learning rates are those of the checkpoint. While it runs, denormal
    numbers count as 0 on the CPU.

    Args:
        model: torch.nn.Module; is moved to `device`.
        train, validation: (x, y), arrays or tensors of shapes [n, …] and [n] (integer labels), or an iterable of
            such batches (a DataLoader; its order must come from PyTorch's, NumPy's or Python's global random numbers).
            Arrays are shuffled anew each epoch.
        optimizer: of the model's parameters.
        epochs: epochs in all, those of earlier calls included.
        folder: made where missing. checkpoint.pt (the last epoch), best.pt (the model of the best epoch; see
            `load_best`) and history.json (the rows) are kept there.
        compression: of the model; fit attaches it to the optimizer.
        scheduler: a PyTorch scheduler of the learning rate; stepped after each batch.
        loss: of (scores, labels).
        prepare: (batch x, generator) -> what the network takes, for instance scaling and augmentation; the
            generator is None in validation. The default converts to float32.
        batch_size: samples in a batch, for arrays; the last batch of an epoch may be smaller.
        patience: stop after this many epochs without a better validation accuracy; None: never.
        seed: of the order of samples and of all random numbers.
        device: "cpu", "cuda", …
        coder: writes the compressed file whose size is logged, as for `coded_size`. With "fast", epochs that are the best so
            far, and the last, are also coded with "max".
        progress: called with each row.

    Returns:
        One row an epoch: epoch (from 1), loss, train_accuracy, accuracy (validation, 0..1), learning_rate, seconds, best
        (whether it is the best so far; epochs in which a schedule of `compression` still runs do not count), settled (whether
        none does) and, with compression, gamma, bits, the figures of `coded_size` and max_bytes (the file with "max", None
        where not asked for).

    Raises:
        InvalidArgument: arguments out of range, no samples, a batch that model or loss refuse, labels that are no integers,
            a loss that is not finite, an optimizer or compression of another model, a run in the folder that began with other
            γ, bits, seed or batch size. CorruptFile: a checkpoint that cannot be read.
    """
    for name, value in {"epochs": epochs, "batch_size": batch_size, "patience": patience}.items():
        if value is not None and value < 1:
            raise InvalidArgument(f"{name}: expected at least 1, got {value!r}")
    coder_name(coder)  # checks it
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - users' loaders may draw from it
    run = _Run(
        model.to(device), optimizer, scheduler, compression, loss, prepare or _to_float, batch_size, seed
    )
    _check_optimizer(model, optimizer, compression)
    if compression is not None:
        compression.attach(optimizer)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    run.resume(place / "checkpoint.pt")
    with _no_denormals():
        while len(run.rows) < epochs and not run.stalled(patience):
            last = len(run.rows) + 1 == epochs
            data = (_Batches(train, batch_size, device), _Batches(validation, batch_size, device))
            run.rows.append(row := run.epoch(*data, coder, last))
            run.save(place)
            if progress is not None:
                progress(row)
    return run.rows


def _check_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, compression: PruneThenQuantize | None
) -> None:
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise InvalidArgument("optimizer: it trains none of the model's parameters")
    for name, w in ({} if compression is None else compression.weights).items():
        if id(w) not in own:
            raise InvalidArgument(f"compression: {name} is the weight of another model")


@contextmanager
def _no_denormals() -> Iterator[None]:
    """Denormal numbers count as 0 on the CPU, as they did before afterwards.

    An optimizer's moments of weights that get no gradient any more fade into them within an epoch, and a step on them
    takes five times as long.
    """
    flushed = not (torch.full((1,), 1e-30) * 1e-10).any()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(bool(flushed))


def load_best(
    model: torch.nn.Module,
    folder: str | os.PathLike[str],
    compression: PruneThenQuantize | None = None,
) -> Row:
    """Load the weights of the best epoch that `fit` kept in `folder` into `model`; the row of that epoch.

    Args:
        model: the network.
        folder: as for `fit`.
        compression: of this model; its steps and density become those of that epoch, so that `compression.levels()` and
            `coded_size(compression)` are about the best model.

    Raises CorruptFile where the file cannot be read, InvalidArgument where there is none, or none with a compression of the
    same layers.
    """
    state = load_checkpoint(Path(folder) / "best.pt")
    if state is None:
        raise InvalidArgument(f"{folder}: no best.pt; no epoch has been finished there")
    model.load_state_dict(state["model"])
    if compression is not None:
        if "compression" not in state:
            raise InvalidArgument(f"{folder}: best.pt holds no steps: the run was without compression")
        compression.load_state_dict(state["compression"])
    row: Row = state["row"]
    return row


def accuracy(
    model: torch.nn.Module,
    data: Data,
    prepare: Prepare | None = None,
    batch_size: int = 500,
    device: str = "cpu",
) -> float:
    """Share of samples whose greatest score is that of their label, 0..1.

    Args:
        model, prepare, batch_size, device: as for `fit`.
        data: as `validation` of `fit`.

    Raises InvalidArgument where there are no samples, and as `fit` does.
    """
    model.eval()
    right = count = 0
    with torch.no_grad():
        for x, y in _Batches(data, batch_size, device).each(None):
            scores = model((prepare or _to_float)(x, None))
            if len(y) and not 0 <= int(y.min()) <= int(y.max()) < scores.shape[1]:
                raise InvalidArgument(
                    f"labels {int(y.min())} to {int(y.max())}: the model tells classes 0 to {scores.shape[1] - 1} apart"
                )
            right += int((scores.argmax(dim=1) == y).sum())
            count += len(y)
    if count == 0:
        raise InvalidArgument("accuracy: there are no samples")
    return right / count


def _to_float(x: torch.Tensor, _: torch.Generator | None) -> torch.Tensor:
    return x.float()


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    try:
        x, y = value
    except (TypeError, ValueError):
        raise InvalidArgument(f"{what}: expected a pair (x, y), got {type(value).__name__}") from None
    return x, y


def _labels(y: torch.Tensor) -> torch.Tensor:
    if y.is_floating_point() or y.ndim != 1:
        shape = tuple(y.shape)
        raise InvalidArgument(f"labels: expected one whole number a sample, got {y.dtype} of shape {shape}")
    return y.long()


@dataclass
class _Batches:
    data: Data
    size: int
    device: str

    def each(self, generator: torch.Generator | None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches on the device; arrays are shuffled where there is a generator."""
        if not isinstance(self.data, tuple):
            for batch in self.data:
                x, y = _pair(batch, "a batch")
                yield torch.as_tensor(x).to(self.device), _labels(torch.as_tensor(y)).to(self.device)
            return
        x, y = (torch.as_tensor(part) for part in _pair(self.data, "data"))
        if len(x) != len(y):
            raise InvalidArgument(f"data: {len(x)} samples and {len(y)} labels")
        y = _labels(y)
        order = torch.arange(len(x)) if generator is None else torch.randperm(len(x), generator=generator)
        for chosen in order.split(self.size):
            yield x[chosen].to(self.device), y[chosen].to(self.device)


@dataclass
class _Run:
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    compression: PruneThenQuantize | None
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    prepare: Prepare
    batch_size: int
    seed: int
    rows: list[Row] = field(default_factory=list)

    def epoch(self, train: _Batches, validation: _Batches, coder: Coder, last: bool) -> Row:
        start = time.perf_counter()
        # Order and augmentation depend on seed and epoch alone: nothing to store.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + len(self.rows))
        self.model.train()
        total, right, count = 0.0, 0, 0
        for x, y in train.each(generator):
            batch_loss, hits = self._step(self.prepare(x, generator), y)
            total, right, count = total + batch_loss * len(y), right + hits, count + len(y)
        if count == 0:
            raise InvalidArgument("train: there are no samples (an iterator gives its batches only once)")
        if not np.isfinite(total):
            raise InvalidArgument(
                f"epoch {len(self.rows) + 1}: the loss is {total / count}; try a smaller learning rate"
            )
        row: Row = {
            "epoch": len(self.rows) + 1,
            "loss": total / count,
            "train_accuracy": right / count,
            "accuracy": accuracy(
                self.model, validation.data, self.prepare, max(500, self.batch_size), validation.device
            ),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        settled = self.compression is None or self.compression.settled
        best = max((r["accuracy"] for r in self.rows if r["settled"]), default=-1.0)
        row |= {"settled": settled, "best": settled and row["accuracy"] > best}
        if self.compression is not None:
            gamma, bits = self.compression.now
            row |= {"gamma": gamma, "bits": bits} | coded_size(self.compression, coder)
            smallest = coder == "fast" and (row["best"] or last)
            row["max_bytes"] = coded_size(self.compression, "max")["coded_bytes"] if smallest else None
        return row | {"seconds": time.perf_counter() - start}

    def _step(self, x: torch.Tensor, y: torch.Tensor) -> tuple[float, int]:
        try:
            scores = self.model(x)
            batch_loss = self.loss(scores, y)
        except (IndexError, RuntimeError, TypeError) as error:
            what = f"samples {x.dtype} of {tuple(x.shape)}, labels {int(y.min())} to {int(y.max())}"
            reason = f"{type(error).__name__}: {error}"
            raise InvalidArgument(f"model and loss cannot take this batch ({what}): {reason}") from error
        self.optimizer.zero_grad()
        batch_loss.backward()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return float(batch_loss.detach()), int((scores.detach().argmax(dim=1) == y).sum())

    def stalled(self, patience: int | None) -> bool:
        if patience is None or not any(row["best"] for row in self.rows):
            return False
        return len(self.rows) - max(row["epoch"] for row in self.rows if row["best"]) >= patience

    def save(self, folder: Path) -> None:
        """best.pt and history.json first: if all ends here, the epoch is done again and writes them again."""
        row = self.rows[-1]
        if row["best"] or not any(r["best"] for r in self.rows):
            state = {"model": self.model.state_dict(), "row": row}
            if self.compression is not None:
                state["compression"] = self.compression.state_dict() | {"floats": {}}
            save_checkpoint(state, folder / "best.pt")
        with replacing(folder / "history.json") as path:
            path.write_text(json.dumps(self.rows, indent=1) + "\n", encoding="utf-8")
        save_checkpoint(
            self._state() | {"rows": self.rows, "random": random_state(), "setting": self._setting()},
            folder / "checkpoint.pt",
        )

    def resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        if state is None:
            return
        for name, part in self._parts().items():
            if state.get(name) is None:
                raise InvalidArgument(f"{path}: the run in this folder was without {name}")
            part.load_state_dict(state[name])
        extra = [
            n for n in ("scheduler", "compression") if state.get(n) is not None and n not in self._parts()
        ]
        if extra:
            raise InvalidArgument(f"{path}: the run in this folder was with {' and '.join(extra)}")
        before, now = state.get("setting", {}), self._setting()
        differ = [f"{k} {before[k]} there, {v} here" for k, v in now.items() if before.get(k, v) != v]
        if differ:
            raise InvalidArgument(f"{path}: the run in this folder has other settings: {'; '.join(differ)}")
        self.rows = state["rows"]
        set_random_state(state["random"])

    def _setting(self) -> dict[str, str]:
        setting = {"seed": str(self.seed), "batch_size": str(self.batch_size)}
        if self.compression is not None:
            setting |= {"γ": str(self.compression.gamma), "bits": str(self.compression.bits)}
        return setting

    def _parts(self) -> dict[str, Any]:
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "scheduler": self.scheduler,
            "compression": self.compression,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _state(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self._parts().items()}
