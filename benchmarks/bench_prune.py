"""Prune then quantize against the same in PyTorch's operations, and as a share of a training step of paper 002's network.

    python benchmarks/bench_prune.py

Results are compared with PyTorch's before anything is timed: they may differ only where a weight lies next to a border.
Times are medians over repeats, in the same run; both use as many threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rdquant as rdq
from machine import describe
from rdquant.train import GroupDecay, PruneThenQuantize, paper_network

RESULTS = Path(__file__).parent / "results" / "prune.json"
GAMMA, BITS, BATCH = 0.375, 8, 128


def median(call: Callable[[], Any], repeats: int) -> float:
    """Median time of a call, in milliseconds, after three that do not count."""
    times = []
    for i in range(repeats + 3):
        start = time.perf_counter()
        call()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


@torch.no_grad()
def torch_operations(w: torch.Tensor) -> None:
    """Equations 1 to 4 in place, as one writes them in PyTorch; no value leaves the device."""
    magnitude = w.abs()
    threshold = GAMMA * w.std(correction=0)
    kept = torch.where(magnitude >= threshold, w, 0.0)
    step = (magnitude.max() - threshold) / (2 ** (BITS - 1) - 1)
    torch.mul(torch.round(kept / step), step, out=w)


def check(weights: list[torch.Tensor]) -> float:
    """Share of weights on which both agree."""
    same = total = 0
    for w in weights:
        ours, theirs = w.clone(), w.clone()
        rdq.prune_quantize(ours, GAMMA, BITS, out=ours)
        torch_operations(theirs)
        same += int(torch.isclose(ours, theirs, rtol=1e-4, atol=1e-7).sum())
        total += w.numel()
    if same < 0.9999 * total:
        raise SystemExit(f"only {same} of {total} weights agree with PyTorch's")
    return same / total


def whole_hook(network: torch.nn.Module, threads: int, decay: GroupDecay | None = None) -> Callable[[], Any]:
    """Both halves of the hook that keeps the floats of weights that survive, around a step that changes nothing."""
    idle = torch.optim.SGD([next(network.parameters())], lr=0.0)
    PruneThenQuantize(network, GAMMA, BITS, threads=threads, keep="survivors", decay=decay).attach(idle)
    return idle.step


def measure(threads: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = paper_network().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    hook = PruneThenQuantize(network, GAMMA, BITS, threads=threads)
    weights = [w.detach() for w in hook.weights.values()]
    agree = check(weights)
    original = [w.clone() for w in weights]

    def ours() -> None:
        for w in weights:
            rdq.prune_quantize(w, GAMMA, BITS, out=w, threads=threads)

    def theirs() -> None:
        for w in weights:
            torch_operations(w)

    x = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(np.arange(BATCH) % 10)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    row = {"threads": threads, "weights": sum(w.numel() for w in weights), "agree": agree}
    for name, call in {"operator_ms": ours, "torch_ms": theirs, "hook_ms": hook.step}.items():
        for w, first in zip(weights, original, strict=True):
            w.copy_(first)
        row[name] = median(call, repeats)
    row["hook_survivors_ms"] = median(whole_hook(network, threads), repeats)
    decay = GroupDecay(0.05)
    cycle = whole_hook(network, threads, decay)
    # It acts once in a cycle of steps: the whole cycle counts.
    row["hook_decay_ms"] = median(lambda: [cycle() for _ in range(decay.every)], repeats // 5) / decay.every
    row["step_ms"] = median(step, max(5, repeats // 5))
    row["ratio"] = row["torch_ms"] / row["operator_ms"]
    row["share"] = row["hook_ms"] / (row["hook_ms"] + row["step_ms"])
    for kind in ("survivors", "decay"):
        row[f"share_{kind}"] = row[f"hook_{kind}_ms"] / (row[f"hook_{kind}_ms"] + row["step_ms"])
    print({key: round(value, 4) for key, value in row.items()})
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=60)
    repeats = parser.parse_args().repeats
    rows = [measure(threads, repeats) for threads in (1, 2)]
    found = {"machine": describe(["torch"]), "gamma": GAMMA, "bits": BITS, "batch": BATCH, "rows": rows}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
