"""The README's numbers: which value of which results file each is, and the rows that they stand in.

A path leads through a results file: names and positions between slashes, `?key=value` chooses the row of a list in which
`key` has that value, `*` takes all of its rows that have what follows. Several values become one by `pick`; `per` divides
each by another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .cells import RESULTS, read
from .topics import TOPICS

__all__ = ["HEADLINES", "NUMBERS", "Number", "headlines", "values"]


class Number(NamedTuple):
    file: str  # results/FILE.json
    path: str
    form: str  # how the README writes it
    pick: Callable[[list[Any]], float] = max
    per: str | None = None  # path of what each value is divided by, in the same file

    def value(self, folder: Path = RESULTS) -> float:
        """The number, not rounded; LookupError where the results do not hold it."""
        result = read(self.file, folder)
        if result is None:
            raise LookupError(f"there is no {self.file}.json in {folder}")
        found = list(values(result, self.path))
        if self.per is not None:
            found = [a / b for a, b in zip(found, values(result, self.per), strict=True)]
        return self.pick(found)

    def text(self, folder: Path = RESULTS) -> str:
        return self.form.format(self.value(folder))


def values(node: Any, path: str) -> Iterator[Any]:
    """All values that a path leads to; LookupError where it leads nowhere."""
    head, _, rest = path.partition("/")
    if not path:
        yield node
    elif head == "*":
        for item in node.values() if isinstance(node, dict) else node:
            if not isinstance(item, dict) or rest.partition("/")[0] in item:
                yield from values(item, rest)
    elif head.startswith("?"):
        key, _, wanted = head[1:].partition("=")
        found = [item for item in node if str(item.get(key)) == wanted]
        if len(found) != 1:
            raise LookupError(f"{len(found)} rows with {key} = {wanted}; expected one")
        yield from values(found[0], rest)
    else:
        yield from values(node[int(head)] if isinstance(node, list) else node[head], rest)


_FILE = "nets/squeezenet1.1-7/rows/?limit_loss=0.8"
_DECODED = ("codec", "levels/*/fast_decode_mws", "{:.0f}")
_NNCODEC = "levels/*/nncodec_decode_mws"
_YOLOX = "rows/?net=yolox_nano"

NUMBERS = {
    "bytes": Number("compress", f"{_FILE}/bytes", "{:,.0f}"),
    "bits": Number("compress", f"{_FILE}/bits", "{:.2f}"),
    "lost": Number("compress", f"{_FILE}/lost_points", "{:.1f}"),
    "onnx_bytes": Number("make", "rows/?net=squeezenet1.1-7/float_bytes", "{:,.0f}"),
    "saving_least": Number("compress", "nets/*/equal_kl/*/saving", "{:.0%}", min),
    "saving_most": Number("compress", "nets/*/equal_kl/*/saving", "{:.0%}", max),
    "decoded_least": Number(*_DECODED, min),
    "decoded_most": Number(*_DECODED, max),
    "decoding_least": Number("codec", "levels/*/fast_decode_mws", "{:.1f}", min, _NNCODEC),
    "decoding_most": Number("codec", "levels/*/fast_decode_mws", "{:.1f}", max, _NNCODEC),
    "int8_one": Number("int8", "static/1/ratio", "{:.2f}"),
    "int8_two": Number("int8", "static/2/ratio", "{:.2f}"),
    "int8_gain": Number("int8", "static/1/gain", "{:.1f}"),
    "int8_gain_least": Number("int8", "static/1/rows/*/gain", "{:.1f}", min),
    "int8_gain_most": Number("int8", "static/1/rows/*/gain", "{:.1f}", max),
    "yolox_gain": Number("int8", f"static/1/{_YOLOX}/gain", "{:.1f}"),
    "yolox_kept": Number("detect", f"{_YOLOX}/kept/*", "{}", len),
    "yolox_layers": Number("detect", f"{_YOLOX}/layers", "{:.0f}"),
    "kl_least": Number("ptq", "rows/*/of_peer", "{:.2f}", min),
    "kl_most": Number("ptq", "rows/*/of_peer", "{:.2f}", max),
    "int8_changed_least": Number("ptq", "rows/*/lost_points", "{:+.1f}", lambda lost: -max(lost)),
    "int8_changed_most": Number("ptq", "rows/*/lost_points", "{:+.1f}", lambda lost: -min(lost)),
    "map_float": Number("detect", f"{_YOLOX}/float/all/map50", "{:.1%}"),
    "map_int8": Number("detect", f"{_YOLOX}/rdquant/all/map50", "{:.1%}"),
    "float_one": Number("latency", "latency/1/geometric_mean", "{:.2f}"),
    "float_two": Number("latency", "latency/2/geometric_mean", "{:.2f}"),
    "zoo_nets": Number("zoo", "threads 1/summary/networks", "{}"),
    "zoo_convnets": Number("zoo", "threads 1/summary/convnet/geometric_mean", "{:.2f}"),
    "zoo_transformers": Number("zoo", "threads 1/summary/transformer/geometric_mean", "{:.2f}"),
    "zoo_others": Number("zoo", "threads 1/summary/other/geometric_mean", "{:.2f}"),
    "zoo_int8_convnets": Number("zoo", "int8 threads 1/summary/convnet/geometric_mean", "{:.2f}"),
    "zoo_int8_transformers": Number("zoo", "int8 threads 1/summary/transformer/geometric_mean", "{:.2f}"),
    "zoo_int8_others": Number("zoo", "int8 threads 1/summary/other/geometric_mean", "{:.2f}"),
    "imagenet_nets": Number("compress", "nets/*/top1", "{}", len),
    "int8_nets": Number("int8", "static/1/rows/*/ratio", "{}", len),
    "ptq_nets": Number("ptq", "rows/*/of_peer", "{}", len),
    "float_nets": Number("latency", "latency/1/rows/*/ratio", "{}", len),
    "families": Number("fit", "quality/*/kl", "{}", len),
    "weights": Number("fit", "weights", "{:,.0f}"),
    "fit_ms": Number("fit", "seconds/three calls", "{:.0f}", lambda found: 1e3 * found[0]),
    "fit_ratio": Number("fit", "ratio/three calls", "{:,.0f}"),
}

HEADLINES = (  # what, result, results file whose section says how it was measured
    (
        "Small files",
        "SqueezeNet 1.1 in **{bytes} bytes** instead of {onnx_bytes}: {bits} bits per weight, {lost} points of top-1 lost, "
        "no training. {saving_least} to {saving_most} smaller than NNCodec at equal KL divergence, on {imagenet_nets} networks",
        "compress",
    ),
    (
        "Fast decoding",
        "{decoded_least} to {decoded_most} million weights per second on one thread, **{decoding_least} to {decoding_most} ×** "
        "as fast as NNCodec",
        "codec",
    ),
    (
        "INT8 speed",
        "**{int8_one}** of the time of the faster of ONNX Runtime and OpenVINO on the same file (two threads: {int8_two}); "
        "{int8_gain} × as fast as our float32 ({int8_gain_least} to {int8_gain_most} ×); geometric means of {int8_nets} "
        "networks",
        "int8",
    ),
    (
        "INT8 accuracy",
        "**{kl_least} to {kl_most}** of the KL divergence of the best of four peers on {ptq_nets} ImageNet networks; "
        "top-1 changes by {int8_changed_least} to {int8_changed_most} points on them and one CIFAR-10 network",
        "ptq",
    ),
    (
        "INT8 detectors",
        "YOLOX-Nano, {yolox_kept} of {yolox_layers} layers in float: mAP50 **{map_int8}** instead of {map_float}, "
        "**{yolox_gain} ×** as fast as our float32",
        "detect",
    ),
    (
        "Float32 speed",
        "**{float_one}** of the time of the faster of ONNX Runtime and OpenVINO (two threads: {float_two}); geometric means of "
        "{float_nets} networks",
        "latency",
    ),
    (
        "Many architectures",
        "{zoo_nets} networks with random weights, one thread, of the time of the faster of ONNX Runtime and OpenVINO: "
        "convolutional networks **{zoo_convnets}** (INT8 {zoo_int8_convnets}), transformers **{zoo_transformers}** (INT8 "
        "{zoo_int8_transformers}), others **{zoo_others}** (INT8 {zoo_int8_others}); geometric means",
        "zoo",
    ),
    (
        "Distribution fits",
        "{families} families fitted to {weights} weights by three criteria in {fit_ms} ms, **{fit_ratio} ×** as fast as fitter",
        "fit",
    ),
)


def headlines(folder: Path = RESULTS) -> str:
    """The README's table, in Markdown."""
    titles = {section.name: section.title for topic in TOPICS for section in topic.sections}
    numbers = {name: number.text(folder) for name, number in NUMBERS.items()}
    lines = ["| | measured | how, and on which processor |", "|---|---|---|"]
    for what, result, name in HEADLINES:
        title = titles[name]
        link = f"[{title}](docs/benchmarks.md#{title.lower().replace(' ', '-')})"
        lines.append(f"| {what} | {result.format_map(numbers)} | {link}, {processors(result, folder)} |")
    return "\n".join(lines) + "\n"


def processors(template: str, folder: Path = RESULTS) -> str:
    """What the numbers of a row were measured on, in short."""
    found: dict[str, None] = {}
    for name in re.findall(r"\{(\w+)\}", template):
        number = NUMBERS[name]
        result = read(number.file, folder) or {}
        machine = result.get("machines", {}).get(number.path.split("/")[0], result["machine"])
        found[machine["cpu"].replace("(R)", "").removesuffix(" Processor")] = None
    return " and ".join(found)
