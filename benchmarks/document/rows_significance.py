"""Rows of allocations by significance: what critical classes gain on fresh images, the time of a map, photos, training."""

from __future__ import annotations

from typing import Any

from .cells import Row

__all__ = ["photos", "qat", "significance"]

_SHOWN = {
    "priority": "priority form, by layer",
    "channels": "priority form, output channels of the last stage too",
    "paper": "paper 003's bare significance",
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


_TRAINED = {
    "uniform": "one width",
    "all": "all classes alike",
    "kl": "all classes alike, by KL",
    "hawq": "HAWQ-V2",
    "search": "search",
    "priority": "priority form",
    "paper": "paper 003's bare significance",
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
