"""Rows of allocations by significance: what critical classes gain on fresh images, the time of a map, photos, training."""

from __future__ import annotations

import itertools
from statistics import mean
from typing import Any

from .cells import Row

__all__ = ["checks", "loss", "photos", "qat", "significance"]

_SHOWN = {
    "priority": "priority form, by layer",
    "priority cross-entropy": "priority form by cross-entropy",
    "channels": "priority form, output channels of the last stage too",
    "channels cross-entropy": "priority form by cross-entropy, output channels too",
    "paper": "paper 003's bare significance",
    "search": "search, as many runs of the network as the map",
    "hawq": "HAWQ-V2",
}
_MEASURES = {
    ("equal false positives", "recall"): "recall at the float network's rate of false positives",
    ("as is", "f1"): "F1 of the critical classes",
    ("as is", "all_classes"): "accuracy on all classes",
}


def significance(result: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    if "time" in result:
        ratio = f"{result['time']['ratio']:.2f} of the time"
        what = "map of cifar10_resnet20: all layers, 2 widths, 2000 images, 2 threads"
        peer = f"a session of ONNX Runtime each {result['time']['loop']:.1f} s"
        rows.append((what, f"{result['time']['map']:.1f} s", peer, ratio))
    for model in ("cifar10_resnet20", "cifar10_resnet32"):
        for found in result.get(model, ()):
            if found["method"] not in _SHOWN or found["against"] not in ("all", "uniform"):
                continue
            for (variant, measure), title in _MEASURES.items():
                if found["variant"] == variant:
                    value, gap, low, high = found[measure].split()
                    what = f"{model}, {found['bits']:g} bits per weight, {_SHOWN[found['method']]}: {title}"
                    peer = {"all": "all classes alike", "uniform": "one width"}[found["against"]]
                    rows.append((what, f"{value} %", peer, f"{gap} points ({low} to {high})"))
    return rows


_NETS = {"squeezenet": "SqueezeNet, three groups of 60 classes", "yolox": "YOLOX-nano, vehicles"}
_FORMS = {
    "priority": "priority form",
    "priority cross-entropy": "priority form by cross-entropy",
    "priority kl": "priority form by KL",
    "paper": "paper 003's bare significance",
}


def photos(result: dict[str, Any]) -> list[Row]:
    """Loss and divergence of critical images, all groups together, against what looks at no class."""
    rows: list[Row] = []
    for net, title in _NETS.items():
        for found in result.get(net, ()):
            if found["method"] not in _FORMS or found["classes"]:
                continue
            for loss, name in (("loss", "rise of the loss"), ("kl", "KL divergence")):
                for other, peer in (("all", "all classes alike"), ("kl", "all classes alike, by KL")):
                    gap, low, high = found[f"critical {loss} above {other}"]
                    what = f"{title}, {found['bits']:g} bits per weight, {_FORMS[found['method']]}: {name}"
                    value = f"{found[f'critical {loss}']:.3f} nats"
                    rows.append((what, value, peer, f"{gap:+.3f} nats ({low:+.3f} to {high:+.3f})"))
    return rows


def loss(result: dict[str, Any]) -> list[Row]:
    """The loss between cross-entropy and divergence against cross-entropy, on the parts that its rule was applied to."""
    rows: list[Row] = []
    for part, found in result.items():
        for row in found if part.endswith(" second") else ():
            what = f"{row['model']}, {row['bits']:g} bits per weight"
            if row["regime"] == "few":
                gap, low, high = row["loss of shrunk above cross-entropy"]
                best = min(row[f"loss of {m}"] for m in ("uniform", "all", "all kl"))
                images = sum(row["map"]) // len(row["map"]) if "map" in row else 100
                what += f", {images} critical images a map: rise of the loss"
                peer = f"cross-entropy {row['loss of cross-entropy']:.3f}, best baseline {best:.3f}"
                text = f"{gap:+.3f} nats ({low:+.3f} to {high:+.3f})"
                rows.append((what, f"{row['loss of shrunk']:.3f} nats", peer, text))
                continue
            for name, title in (("f1", "F1"), ("recall", "recall at equal false positives")):
                value, gap, low, high = row[f"{name} of shrunk"].split()
                peer = f"cross-entropy {row[f'{name} of cross-entropy'].split()[0]} %"
                text = f"{gap} points ({low} to {high})"
                rows.append((f"{what}, 2000 critical images a map: {title}", f"{value} %", peer, text))
    return rows


_CHECKS = {"nearest": "plain rounding", "around": "{images} images"}
_CHECKED = {
    "priority": "priority form",
    "paper": "paper 003's bare significance",
    "all": "all classes alike",
    "kl": "all classes alike, by KL",
    "uniform": "one width",
    "priority corrected": "priority form by a second map around its widths",
    "all corrected": "all classes alike by a second map around its widths",
}
_COMPARED = (("as is", "f1", "F1"), ("equal false positives", "recall", "recall at equal false positives"))


def checks(result: dict[str, Any]) -> list[Row]:
    """How far figures depend on rounding, on the images of the map, on float32, on a second pass."""
    rows: list[Row] = []
    for part, found in result.items():
        stage, _, net = part.partition(" ")
        if stage == "float64":
            worst, largest = found["largest difference, nats"], found["largest significance, nats"]
            for name in worst:
                what = f"{net}: largest error of a significance ({name}), {found['images']} images"
                peer = f"float64; largest significance {largest[name]:.2f} nats"
                rows.append((what, f"{worst[name]:.1e} nats", peer, ""))
        elif stage == "hutchinson":
            apart = max(v["most bits apart"] for v in found["allocations"].values())
            what = f"{net}: rank correlation of HAWQ's traces with exact ones, {found['images']} images"
            rows.append(
                (
                    what,
                    f"{found['rank correlation']:.3f}",
                    "exact traces",
                    f"widths at most {apart} bits apart",
                )
            )
        elif stage == "seeds":
            rows += _draws(net, found)
        elif stage in _CHECKS:
            rows += _compared(net, _CHECKS[stage], found)
    return rows


def _compared(net: str, how: str, found: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for row in found:
        for variant, measure, title in _COMPARED:
            if row["method"] in _CHECKED and row["variant"] == variant:
                value, gap, low, high = row[measure].split()
                what = f"{net}, {row['bits']:g} bits per weight, {how.format(**row)}, {_CHECKED[row['method']]}: {title}"
                rows.append((what, f"{value} %", _CHECKED[row["against"]], f"{gap} points ({low} to {high})"))
    return rows


def _draws(net: str, found: list[dict[str, Any]]) -> list[Row]:
    """Means over the draws, and the range of differences."""
    rows = []
    cells = dict.fromkeys((row["bits"], row["against"]) for row in found)
    for (bits, against), (variant, measure, title) in itertools.product(cells, _COMPARED):
        own = [
            row[measure].split()
            for row in found
            if (row["bits"], row["against"], row["method"], row["variant"])
            == (bits, against, "priority", variant)
        ]
        values, gaps = ([float(r[k]) for r in own] for k in (0, 1))
        what = f"{net}, {bits:g} bits per weight, {len(own)} maps of 2500 other images each, priority form: {title}"
        text = f"{mean(gaps):+.2f} points ({min(gaps):+.2f} to {max(gaps):+.2f} by map)"
        rows.append((what, f"{mean(values):.2f} %", _CHECKED[against], text))
    return rows


_TRAINED = {
    "uniform": "one width",
    "all": "all classes alike",
    "kl": "all classes alike, by KL",
    "hawq": "HAWQ-V2",
    "search": "search",
    "priority cross-entropy": "priority form by cross-entropy",
    "paper": "paper 003's bare significance",
    "priority": "priority form",
    "priority kl": "priority form by KL",
    "channels all": "all classes alike, output channels of the last stage too",
    "channels": "priority form, output channels of the last stage too",
}
_OF_TRAINED = {"all_classes": "accuracy on all classes", "f1": "F1 of the critical classes"}


def qat(result: dict[str, Any]) -> list[Row]:
    """Networks trained at the widths of allocations against float trained as long."""
    rows: list[Row] = []
    for model in ("cifar10_resnet20", "cifar10_resnet32"):
        for found in result.get(f"{model} explained", ()):
            what = f"{model}, {found['bits']:g} bits per weight, {found['allocations']} allocations: rank correlation of the"
            ranks, gains = found["ranks"], found["refit gains"]
            peer = f"accuracy before {ranks['accuracy']:+.2f}, cross-entropy {ranks['cross-entropy']:+.2f}"
            what += " accuracy after training with the divergence before it"
            rows.append((what, f"{ranks['KL divergence']:+.2f}", peer, ""))
            what = (
                f"{model}, {found['bits']:g} bits per weight: what refitting ten biases gains after training"
            )
            text = [f"{low:.2f} to {high:.2f} points" for low, high in (gains["after"], gains["before"])]
            rows.append((what, text[0], "before training", text[1]))
        for found in result.get(model, ()):
            if found["method"] not in _TRAINED or found["variant"] != "as is":
                continue
            for measure, title in _OF_TRAINED.items():
                value, gap, low, high = found[measure].split()
                of = f" ({', '.join(found['groups'])})" if measure == "f1" else ""
                what = f"{model}, {found['bits']:g} bits per weight, {_TRAINED[found['method']]}: {title}{of}"
                rows.append((what, f"{value} %", "float, trained as long", f"{gap} points ({low} to {high})"))
    return rows
