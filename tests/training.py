"""A training whose process can be killed in the middle of an epoch: training.py FOLDER KILL_AT (see test_train.py)."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rdquant.train import PruneThenQuantize, fit


def network(seed: int = 0) -> Any:
    """A small network for `digits()`, always with the same weights."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3, padding=1, bias=False),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 64, 10),
    )


def digits() -> Any:
    """(x, y) to train with and to validate with: ten classes, 8×8, easily told apart."""
    x, y = np.random.default_rng(0).random((200, 1, 8, 8)).astype(np.float32), np.arange(200) % 10
    x[np.arange(200), 0, 0, y % 8] += 3 + y // 8
    return (x[:150], y[:150]), (x[150:], y[150:])


def run(folder: Path, kill_at: int = -1) -> dict[str, Any]:
    """Three epochs of 12 batches with dropout, noise and a scheduler; SIGKILL before batch `kill_at`. Final weights."""
    torch.set_num_threads(1)
    torch.manual_seed(5)
    random = np.random.default_rng(0)
    x, y = random.standard_normal((600, 12)).astype(np.float32), random.integers(0, 4, 600)
    nn = torch.nn
    net = nn.Sequential(nn.Linear(12, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Dropout(0.3), nn.Linear(40, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    seen = 0

    def prepare(batch: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        nonlocal seen
        if generator is None:
            return batch
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)

    fit(
        net,
        (x, y),
        (x, y),
        optimizer,
        epochs=3,
        folder=folder,
        compression=PruneThenQuantize(net, 0.5, 4, keep="all"),
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=200),
        prepare=prepare,
        batch_size=50,
    )
    return {name: values.numpy().copy() for name, values in net.state_dict().items()}


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
