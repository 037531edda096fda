"""The charts in docs/charts, drawn from benchmarks/results. Each holds a digest of the numbers that it shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .cells import RESULTS, read

__all__ = ["CHARTS", "digest", "draw", "drawn_from"]

OURS, PEER, OTHER, PLAIN = "#0b6e99", "#c2571a", "#8a6fb0", "#6b6b6b"
NAMES = {
    "squeezenet1.1-7": "SqueezeNet 1.1",
    "mobilenet_v1_0.75": "MobileNetV1 0.75",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "cifar10_resnet20": "ResNet-20",
    "cifar10_resnet32": "ResNet-32",
    "yolox_nano": "YOLOX-Nano",
    "yolov8n_random": "YOLOv8n",
}
ENGINES = {
    "rdquant": ("rdquant", OURS),
    "onnxruntime": ("ONNX Runtime", PEER),
    "openvino": ("OpenVINO", OTHER),
}


def needed(name: str, folder: Path) -> dict[str, Any]:
    result = read(name, folder)
    assert result is not None, f"there is no {name}.json in {folder}"
    return result


# --- what charts show ----------------------------------------------------------------------------


def whole_files(folder: Path) -> Any:
    """By network: bytes and top-1 of the float file; by coder [bytes, top-1] of every file."""
    sizes = {row["net"]: row["float_bytes"] for row in needed("make", folder)["rows"]}
    shown = {}
    for net, found in needed("compress", folder)["nets"].items():
        top1 = 100 * found["top1"]
        files: dict[str, Any] = {"rdquant": [], "nncodec": []}
        for row in found["rows"]:
            files[row["codec"]].append([row["bytes"], top1 - row["lost_points"]])
        shown[net] = {"bytes": sizes[net], "top1": top1, **files}
    return shown


def decoding(folder: Path) -> Any:
    """By bits of entropy: how many times as fast as NNCodec, by network."""
    shown: dict[str, dict[str, float]] = {}
    for row in needed("codec", folder)["levels"]:
        ratio = row["fast_decode_mws"] / row["nncodec_decode_mws"]
        shown.setdefault(f"{row['target_bits']:g} bits", {})[NAMES[row["net"]]] = ratio
    return shown


def times(name: str, part: str) -> Callable[[Path], Any]:
    """By threads and engine: milliseconds by network."""

    def shown(folder: Path) -> Any:
        return {
            threads: {
                engine: {NAMES[row["net"]]: row["ms"][engine] for row in found["rows"]} for engine in ENGINES
            }
            for threads, found in needed(name, folder)[part].items()
        }

    return shown


def divergence(folder: Path) -> Any:
    """KL divergence by network, ours and the best peer's."""
    rows = [row for row in needed("ptq", folder)["rows"] if "peer_kl" in row]
    return {
        "rdquant": {NAMES[row["net"]]: row["kl"] for row in rows},
        "best of four peers": {NAMES[row["net"]]: row["peer_kl"] for row in rows},
    }


def training(folder: Path) -> Any:
    """Accuracy without compression; bytes and accuracy by what is pruned."""
    shown: dict[str, Any] = {"single weights": [], "rows and columns": []}
    for run in needed("train", folder)["runs"]:
        best, point = run["best"], run["point"]
        if "density" not in best:
            shown["float32"] = max(100 * best["accuracy"], shown.get("float32", 0))
        else:
            kind = "rows and columns" if point.get("rows", 1) < 1 else "single weights"
            shown[kind].append([best["max_bytes"], 100 * best["accuracy"]])
    return shown


def critical(folder: Path) -> Any:
    """Significances by group and layer, and bytes, F1 and accuracy of allocations by method."""
    return needed("significance", folder)["picture"]


# --- how they are drawn --------------------------------------------------------------------------


def draw_whole_files(shown: Any, plt: Any) -> Any:
    figure, axes = plt.subplots(1, len(shown), figsize=(10, 3.8), layout="constrained")
    for axis, (net, found) in zip(axes, shown.items(), strict=True):
        top1 = found["top1"]
        for coder, label, colour, marker in (
            ("rdquant", "rdquant: whole .rdq files", OURS, "o"),
            ("nncodec", "NNCodec: weights alone", PEER, "s"),
        ):
            sizes, kept = zip(*found[coder], strict=True)
            axis.plot([size / 1e6 for size in sizes], kept, marker, color=colour, label=label, alpha=0.85)
        axis.axhline(top1, color=PLAIN, ls="--", lw=1, label="float32")
        axis.set_title(
            f"{NAMES[net]}\nfloat32 file: {found['bytes'] / 1e6:.2f} MB, {top1:.1f} %", fontsize=10
        )
        axis.set(xlabel="file, MB", ylim=(top1 - 16, top1 + 2))
        axis.set_xlim(0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("top-1 of 1000 photos, %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def bars(axis: Any, groups: dict[str, dict[str, float]], colours: list[str], form: str) -> None:
    """Groups of horizontal bars with their values: one group for each inner name."""
    names = list(next(iter(groups.values())))
    height = 0.8 / len(groups)
    for i, ((label, found), colour) in enumerate(zip(groups.items(), colours, strict=True)):
        places = [place + (i - (len(groups) - 1) / 2) * height for place in range(len(names))]
        container = axis.barh(places, [found[name] for name in names], height, color=colour, label=label)
        axis.bar_label(container, [form.format(found[name]) for name in names], padding=2, fontsize=8)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.grid(alpha=0.3, axis="x")
    axis.set_axisbelow(True)


def draw_decoding(shown: Any, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    bars(axis, shown, ["#7fb8d1", "#3f92b5", OURS], "{:.0f} ×")
    axis.set_xlabel("decoding speed, NNCodec = 1")
    axis.legend(frameon=False, title="entropy")
    return figure


def draw_times(shown: Any, plt: Any) -> Any:
    figure, axes = plt.subplots(1, len(shown), figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, (threads, found) in zip(axes, shown.items(), strict=True):
        relative = {
            ENGINES[engine][0]: {net: ms / found["rdquant"][net] for net, ms in times.items()}
            for engine, times in found.items()
        }
        bars(axis, relative, [colour for _, colour in ENGINES.values()], "{:.2f}")
        axis.set(title=f"{threads} thread{'s' * (threads != '1')}", xlabel="time of one image, rdquant = 1")
    axes[1].invert_yaxis()  # shared, so inverted twice
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_divergence(shown: Any, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
    bars(axis, shown, [OURS, PEER], "{:.4f}")
    axis.set_xlabel("KL divergence to the float network, nats")
    axis.legend(frameon=False, loc="lower right")
    return figure


def draw_training(shown: Any, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for kind, colour, marker in (("rows and columns", OURS, "o"), ("single weights", OTHER, "s")):
        size, accuracy = zip(*sorted(shown[kind]), strict=True)
        axis.plot([s / 1e3 for s in size], accuracy, marker, ls="-", color=colour, label=f"{kind} pruned")
    axis.axhline(
        shown["float32"], color=PLAIN, ls="--", lw=1, label=f"uncompressed: {shown['float32']:.1f} %"
    )
    axis.set(xlabel="file of the compressed layers, kB", ylabel="accuracy, %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    return figure


_METHODS = {
    "uniform": ("one width", PLAIN, "s"),
    "hawq": ("HAWQ-V2", "#b0a13c", "v"),
    "search": ("search", "#5f8a4e", "^"),
    "all": ("all classes", PEER, "D"),
    "kl": ("all classes, KL", "#d99a6c", "D"),
    "paper": ("bare significance (paper 003)", OTHER, "X"),
    "priority": ("priority form", OURS, "o"),
    "channels": ("priority form, channels", "#3f92b5", "P"),
}


def draw_critical(shown: Any, plt: Any) -> Any:
    from matplotlib.colors import SymLogNorm

    figure, axes = plt.subplot_mosaic("AA;BC", figsize=(8.4, 6.6), layout="constrained")
    top, left, right = axes.values()
    table = list(shown["strips"].values())
    most = max(abs(value) for row in table for value in row)
    norm = SymLogNorm(0.05 * most, vmin=-most, vmax=most)
    image = top.imshow(table, aspect="auto", cmap="RdBu_r", norm=norm)
    top.set_yticks(range(len(table)), list(shown["strips"]))
    names = [name.removesuffix(".weight") for name in shown["components"]]
    top.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    top.set_title(f"{NAMES[shown['net']]}: rise of the cross-entropy with one layer at 3 bits", fontsize=10)
    figure.colorbar(image, ax=top, label="nats")
    for axis, place, title in (
        (left, 1, "F1 of the critical classes, %"),
        (right, 2, "accuracy on all classes, %"),
    ):
        for method, (label, colour, marker) in _METHODS.items():
            points = shown["fronts"].get(method)
            if not points:
                continue
            size = [point[0] / 1e3 for point in points]
            axis.plot(size, [point[place] for point in points], marker=marker, color=colour, label=label)
        axis.set(xlabel="file, kB", ylabel=title)
        axis.grid(alpha=0.3)
    left.set_title("means over four groups of classes, 20,000 fresh images", fontsize=10)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


CHARTS: dict[str, tuple[Callable[[Path], Any], Callable[[Any, Any], Any]]] = {
    "compressed-files": (whole_files, draw_whole_files),
    "decoding": (decoding, draw_decoding),
    "int8-latency": (times("int8", "static"), draw_times),
    "float32-latency": (times("latency", "latency"), draw_times),
    "int8-accuracy": (divergence, draw_divergence),
    "training": (training, draw_training),
    "critical-classes": (critical, draw_critical),
}


def digest(name: str, folder: Path = RESULTS) -> str:
    """Of the numbers that a chart shows; drawn charts hold it."""
    return hashlib.sha256(json.dumps(CHARTS[name][0](folder)).encode()).hexdigest()


def drawn_from(path: Path) -> str:
    """The digest of the numbers that a picture was drawn from."""
    from PIL import Image

    with Image.open(path) as picture:
        return str(picture.info.get("rdquant:numbers", ""))


def draw(to: Path) -> Iterator[Path]:
    """Draw the charts whose numbers have changed; their paths."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    to.mkdir(parents=True, exist_ok=True)
    for name, (numbers, picture) in CHARTS.items():
        path = to / f"{name}.png"
        if path.is_file() and drawn_from(path) == digest(name):
            continue
        figure = picture(numbers(RESULTS), plt)
        figure.savefig(path, dpi=120, metadata={"rdquant:numbers": digest(name), "Software": None})
        plt.close(figure)
        yield path
