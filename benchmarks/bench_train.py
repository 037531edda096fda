"""Paper 002's experiment: its network on CIFAR-10, trained with prune then quantize, over γ × bits × learning rate.

    python benchmarks/bench_train.py --data ../shared/data/cifar10-jpeg.npz --runs build/train
    python benchmarks/bench_train.py --data cifar-10-batches-py --points grid --epochs 200 --device cuda

Every run is a folder below --runs with a checkpoint of each epoch: the same command again goes on where it stopped. After
each run results/train.json is written anew from all runs that are there, finished or not; --collect only does that.
--select takes the points whose names contain one of the given words; --figures FOLDER draws the paper's figures 2 to 7 from
results/train.json. As in the paper, the best epoch is that of the highest accuracy on the test images.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from machine import describe
from rdquant.train import efficiency_score
from rdquant.train.cifar import cifar10_jpeg, cifar10_original
from rdquant.train.figures import draw

RESULTS = Path(__file__).parent / "results" / "train.json"
WEIGHT_DECAY, BATCH = 0.1, 128
FIRST_LINEAR = "18.weight"  # holds 93 % of the network's weights


@dataclass(frozen=True)
class Point:
    """One training: the paper's γ and bits, a peak learning rate, what the operator keeps of the floats, the shares of
    the first linear layer's rows and columns that stay, and the share of training over which γ rises from 0."""

    gamma: float
    bits: int
    learning_rate: float = 3e-3
    keep: str = "survivors"
    rows: float = 1.0
    columns: float = 1.0
    ramp: float = 0.0

    @property
    def name(self) -> str:
        if self.gamma == 0 and self.bits == 32:
            return f"baseline-lr{self.learning_rate:g}"
        ours = f"-rows{self.rows:g}-columns{self.columns:g}-ramp{self.ramp:g}" if self.rows < 1 else ""
        return f"gamma{self.gamma:g}-bits{self.bits}-lr{self.learning_rate:g}-{self.keep}{ours}"


def points(which: str) -> list[Point]:
    """`few`: the baseline and four pairs of the paper; `groups`: three of them by schedules of our own, in which 32 of the
    first linear layer's 304 rows stay and half its columns; `grid`: the whole of the paper's grid, with its own scheme."""
    if which == "few":
        pairs = [(0, 32), (0.375, 8), (0.625, 4), (0.625, 16), (0.75, 3)]
        return [*(Point(g, b) for g, b in pairs), Point(0.375, 8, keep="none")]
    if which == "groups":
        return [
            Point(g, b, keep="all", rows=0.105, columns=0.5, ramp=0.5)
            for g, b in [(0.375, 8), (0.625, 4), (0.625, 16)]
        ]
    gammas = [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75]
    rates = [1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1]
    return [Point(g, b, lr, "none") for lr in rates for b in (32, 16, 8, 4, 3) for g in gammas]


@cache
def data(path: str) -> Any:
    """(images, labels) to train with and to test with."""
    return cifar10_original(path) if Path(path).is_dir() else cifar10_jpeg(path)


def train(point: Point, path: str, runs: str, epochs: int, device: str, threads: int) -> str:
    """One run, to its end; in a process of its own where an executor wants that."""
    import torch

    from rdquant.train import fit, paper_network
    from rdquant.train.prepare import cifar_batch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    training, test = data(path)
    network = paper_network().to(memory_format=torch.channels_last)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=point.learning_rate, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-len(training[0]) // BATCH)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, point.learning_rate, total_steps=steps + 1, pct_start=0.25
    )
    folder = Path(runs) / point.name
    folder.mkdir(parents=True, exist_ok=True)
    setting = {"point": asdict(point), "epochs": epochs, "data": Path(path).name, "device": device}
    (folder / "setting.json").write_text(json.dumps(setting) + "\n", encoding="utf-8")

    def say(row: dict[str, Any]) -> None:
        density = f", density {100 * row['density']:.2f} %" if "density" in row else ""
        accuracy = f"accuracy {100 * row['accuracy']:.2f} %"
        print(
            f"{point.name} {row['epoch']}/{epochs}: {accuracy}{density}, {row['seconds']:.0f} s", flush=True
        )

    fit(
        network,
        training,
        test,
        optimizer,
        epochs=epochs,
        folder=folder,
        compression=compression_of(point, network, steps),
        scheduler=scheduler,
        prepare=cifar_batch,
        batch_size=BATCH,
        device=device,
        progress=say,
    )
    return point.name


def compression_of(point: Point, network: Any, steps: int) -> Any:
    """What a run does to the weights; None for the baseline."""
    from rdquant.train import GroupPruning, PruneThenQuantize, Ramp

    if point.gamma == 0 and point.bits == 32:
        return None
    gamma = Ramp(0.0, point.gamma, 0.0, point.ramp, 1.0) if point.ramp else point.gamma
    shares = [(axis, share) for axis, share in enumerate((point.rows, point.columns)) if share < 1]
    groups = [GroupPruning(Ramp(1.0, share, 0.0, 0.4), FIRST_LINEAR, axis) for axis, share in shares]
    return PruneThenQuantize(network, gamma, point.bits, keep=point.keep, groups=groups, total_steps=steps)


def sizes(folder: Path, point: dict[str, Any]) -> dict[str, Any]:
    """What the best model of a run takes with today's coder, its slower profile; nothing for a run without compression."""
    from rdquant.train import PruneThenQuantize, coded_size, load_best, paper_network

    if point["gamma"] == 0 and point["bits"] == 32:
        return {}
    network = paper_network()
    compression = PruneThenQuantize(network, point["gamma"], point["bits"], keep=point["keep"])
    load_best(network, folder, compression)
    found = coded_size(compression, "max")
    return {"max_bytes": found["coded_bytes"], "of_promised": found["coded_bytes"] / found["promised_bytes"]}


def collect(runs: Path) -> dict[str, Any]:
    """All runs as plain rows: setting, history, best epoch with its file, efficiency scores against the baseline."""
    found = []
    for path in sorted(runs.glob("*/history.json")):
        setting = json.loads((path.parent / "setting.json").read_text(encoding="utf-8"))
        history = json.loads(path.read_text(encoding="utf-8"))
        best = max((row for row in history if row["settled"]), key=lambda row: row["accuracy"])
        best |= sizes(path.parent, setting["point"])
        found.append({"name": path.parent.name, **setting, "best": best, "history": history})
    baselines = [run["best"]["accuracy"] for run in found if run["name"].startswith("baseline")]
    for run in found if baselines else []:
        best, bits = run["best"], run["point"]["bits"]
        run["loss_points"] = 100 * (max(baselines) - best["accuracy"])
        run["efficiency"] = {
            str(rho): efficiency_score(
                best["accuracy"], max(baselines), best.get("density", 1.0), bits, rho=rho
            )
            for rho in (1, 2, 3)
        }
    return {"machine": describe(["torch"]), "batch": BATCH, "weight_decay": WEIGHT_DECAY, "runs": found}


@contextmanager
def executor(jobs: int) -> Iterator[Executor | None]:
    if jobs == 1:
        yield None
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield pool


def sweep(chosen: list[Point], arguments: argparse.Namespace) -> None:
    """Every point, here or on an executor; results are written after each."""
    threads = arguments.threads or max(1, (os.cpu_count() or 1) // arguments.jobs)
    rest = (arguments.data, str(arguments.runs), arguments.epochs, arguments.device, threads)
    with executor(arguments.jobs) as pool:
        if pool is None:
            for point in chosen:
                train(point, *rest)
                write(arguments)
            return
        for done in [pool.submit(train, point, *rest) for point in chosen]:
            done.result()
            write(arguments)


def write(arguments: argparse.Namespace) -> None:
    arguments.results.write_text(json.dumps(collect(arguments.runs), indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="cifar10-jpeg.npz, or the folder of the original files")
    parser.add_argument("--runs", type=Path, default=Path("build/train"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--points", choices=("few", "groups", "grid"), default="few")
    parser.add_argument("--select", nargs="*", default=[""])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--threads", type=int, help="of each process (default: cores / jobs)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--figures", type=Path, help="draw the paper's figures from results/train.json here")
    parser.add_argument("--bits", type=int, default=16, help="of the runs in figures 6 and 7")
    arguments = parser.parse_args()
    if arguments.figures is not None:
        print(
            *draw(
                json.loads(arguments.results.read_text(encoding="utf-8"))["runs"],
                arguments.figures,
                arguments.bits,
            ),
            sep="\n",
        )
        return
    if arguments.collect:
        write(arguments)
        return
    if arguments.data is None:
        parser.error("--data is needed")
    sweep([p for p in points(arguments.points) if any(s in p.name for s in arguments.select)], arguments)


if __name__ == "__main__":
    main()
