"""Drawings of the pages "how it works", as SVG whose colours are the theme's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH = 720
LINE = 17  # pixels between lines of text


def svg(width: float, height: float, body: str, title: str) -> str:
    arrow = (
        '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker>'
    )
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title><defs>{arrow}</defs>{body}</svg>'
    )


def words(x: float, y: float, lines: Sequence[str], style: str = "", anchor: str = "middle") -> str:
    spans = "".join(
        f'<tspan x="{x:g}" y="{y + LINE * i:g}">{escape(line)}</tspan>' for i, line in enumerate(lines)
    )
    return f'<text class="{style}" text-anchor="{anchor}">{spans}</text>'


def box(
    x: float, y: float, width: float, lines: Sequence[str], note: Sequence[str] = ()
) -> tuple[str, float]:
    """A box with a bold first line and what is inside; its height."""
    height = 16 + LINE * (len(lines) + len(note))
    shape = f'<rect class="box" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'
    middle = x + width / 2
    return (
        shape
        + words(middle, y + 21, lines, "head")
        + words(middle, y + 21 + LINE * len(lines), note, "note"),
        height,
    )


def line(x1: float, y1: float, x2: float, y2: float, style: str = "flow") -> str:
    end = ' marker-end="url(#arrow)"' if style == "flow" else ""
    return f'<line class="{style}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"{end}/>'


Stage = tuple[str, tuple[str, ...], str]  # title, what it does, what it gives to the next


def journey(title: str, stages: Sequence[Stage]) -> str:
    """Stages from top to bottom, each with the folder that holds it, what passes between them beside the arrows."""
    body, y, x, width = "", 8.0, 130.0, 460.0
    for number, (name, note, gives) in enumerate(stages):
        shape, height = box(x, y, width, [name], note)
        body += shape
        y += height
        if number + 1 < len(stages):
            body += line(x + width / 2, y, x + width / 2, y + 30)
            body += words(x + width / 2 + 12, y + 20, [gives], "note", "start")
            y += 34
    return svg(WIDTH, y + 10, body, title)


def model_to_answer() -> str:
    return journey(
        "From a model's file to its answer",
        [
            (
                "src/model · src/graph",
                ("reads the file, checks it, puts its nodes in order",),
                "Graph: nodes and weights",
            ),
            (
                "src/program/lower",
                ("one rule for each operator, for fixed input shapes",),
                "Program: values and steps",
            ),
            (
                "src/program/fuse",
                ("scales, activations and additions go into the layer before them",),
                "fewer steps",
            ),
            (
                "src/program/int8",
                ("between levels: Dequantize, layer, Quantize become one step",),
                "int8 steps",
            ),
            (
                "src/runtime/native",
                ("layouts, a place for each value, a supplier for each step",),
                "plan: operations on one arena",
            ),
            (
                "src/runtime/kernels",
                ("tiles of sums in registers, for the processor's instruction set",),
                "outputs",
            ),
            ("the caller's arrays", ("memory of the outputs, without a copy",), ""),
        ],
    )


def weights_to_file() -> str:
    return journey(
        "From weights to a .rdq file and back",
        [
            (
                "src/quant",
                ("weights → levels: midtread, dead zone, µ-law, minifloat, codebook",),
                "int32 levels",
            ),
            (
                "src/codec/rdo",
                ("or levels chosen by distortion and rate together, along a trellis",),
                "int32 levels",
            ),
            (
                "src/codec/fit · src/codec/model",
                ("the shortest description: shape, scales, prediction",),
                "a few bytes, sent first",
            ),
            (
                "src/codec/rans · mixing · sparse",
                ("levels → bytes by that model; the shortest method is kept",),
                "coded levels",
            ),
            ("src/codec/format", ("sections with checksums: graph, facts, tensors",), ".rdq file"),
            (
                "src/codec/format, back again",
                ("each section checked, parts decoded on all threads",),
                "the same levels, bit for bit",
            ),
            ("src/quant", ("levels → weights x̂",), ""),
        ],
    )


def qdq_to_kernel() -> str:
    return journey(
        "From a QDQ model to an int8 kernel",
        [
            (
                "src/program/lower",
                ("QuantizeLinear, DequantizeLinear, operators on levels become steps",),
                "Dequantize → layer → Quantize",
            ),
            (
                "src/program/int8",
                ("steps between levels are replaced; functions become tables of 256 bytes",),
                "int8 convolutions, sums, lookups",
            ),
            (
                "src/program/evaluate",
                ("the definition of each step in plain loops: what every kernel must equal",),
                "the numeric rule",
            ),
            (
                "src/runtime/native/int8",
                ("weights packed, what follows a layer put into its epilogue",),
                "packed weights, one table a layer",
            ),
            (
                "src/runtime/kernels/int8",
                ("four products of bytes at a time into int32; multiplier, rounding, clamp",),
                "",
            ),
        ],
    )


def int8_rule() -> str:
    """One output level from its sum of products, left to right."""
    steps = [
        (["Σ (x − z)·w"], ["levels, int32", "exact"]),
        (["float32"], ["one rounding"]),
        (["· multiplier"], ["sₓ·s_w / s_y", "float32"]),
        (["clamp"], ["low − z_y …", "high − z_y"]),
        (["round"], ["half to even"]),
        (["+ z_y"], ["level, 8 bits"]),
    ]
    body, x, width = "", 6.0, 104.0
    for number, (head, note) in enumerate(steps):
        shape, height = box(x, 10, width, head, [*note, *[""] * (2 - len(note))])
        body += shape
        if number + 1 < len(steps):
            body += line(x + width, 10 + height / 2, x + width + 17, 10 + height / 2)
        x += width + 17
    return svg(WIDTH + 10, 88, body, "The int8 rule: one output level from its sum of products")


def quantizers() -> str:
    """What midtread, midrise and a dead zone make of x, in steps."""
    rules: dict[str, Callable[[float], float]] = {
        "midtread": lambda x: math.floor(x + 0.5) if x >= 0 else -math.floor(-x + 0.5),
        "midrise": lambda x: math.copysign(math.ceil(abs(x)) - 0.5, x) if x else 0,
        "dead zone, δ = 0.7": lambda x: (
            0 if abs(x) < 0.7 else math.copysign(math.ceil(abs(x) - 0.7) + 0.2, x)
        ),
    }
    body, size, scale = "", 200, 28.0
    for column, (name, rule) in enumerate(rules.items()):
        left = 20 + column * (size + 40)
        middle_x, middle_y = left + size / 2, 20 + size / 2
        body += line(left, middle_y, left + size, middle_y, "axis")
        body += line(middle_x, 20, middle_x, 20 + size, "axis")
        points, before = [], None
        for i in range(-300, 301):
            x = i / 100
            y = rule(x)
            if before is not None and y != before:
                points.append(f"{middle_x + scale * x:.1f},{middle_y - scale * before:.1f}")
            points.append(f"{middle_x + scale * x:.1f},{middle_y - scale * y:.1f}")
            before = y
        body += f'<polyline class="curve" points="{" ".join(points)}"/>'
        body += words(middle_x, size + 44, [name], "head")
        body += words(left + size - 4, middle_y - 6, ["x/Δ"], "note", "end") + words(
            middle_x + 6, 30, ["x̂/Δ"], "note", "start"
        )
    return svg(WIDTH, size + 56, body, "x̂ against x for three uniform quantizers")


def density() -> str:
    """A level's probability is the mass of its interval under the tensor's density."""
    left, bottom, height, scale = 40.0, 200.0, 160.0, 80.0
    points = [
        f"{left + 320 + scale * x / 4:.1f},{bottom - height * math.exp(-abs(x) / 3.2):.1f}"
        for x in range(-16, 17)
    ]
    body = f'<polyline class="curve" points="{" ".join(points)}"/>' + line(
        left, bottom, left + 640, bottom, "axis"
    )
    for level in range(-4, 5):
        x = left + 320 + scale * level
        edge = x - scale / 2
        body += line(edge, bottom, edge, bottom - height * math.exp(-abs(4 * level - 2) / 3.2), "axis")
        body += words(x, bottom + 20, [str(level)], "note")
    mass = [
        f"{left + 320 + scale * x / 20:.1f},{bottom - height * math.exp(-abs(x / 5) / 3.2):.1f}"
        for x in range(10, 31)
    ]
    edges = (
        f"{left + 320 + 0.5 * scale:.1f},{bottom} "
        + " ".join(mass)
        + f" {left + 320 + 1.5 * scale:.1f},{bottom}"
    )
    body += f'<polygon class="mass" points="{edges}"/>'
    body += words(
        left + 320 + scale * 1.6,
        80,
        ["probability of level 1:", "the mass of its interval,", "a multiple of 1/65536"],
        "note",
        "start",
    )
    return svg(WIDTH, bottom + 32, body, "The probability of a level is the mass of its interval")


def rans() -> str:
    """Slots of a state: which symbol it holds, and how the state moves on."""
    body, x = "", 20.0
    shares = [("−2", 40), ("−1", 130), ("0", 300), ("1", 140), ("2", 50)]
    for symbol, width in shares:
        body += f'<rect class="box" x="{x}" y="20" width="{width}" height="36"/>' + words(
            x + width / 2, 43, [symbol], "head"
        )
        if symbol == "1":
            mark = x + 60
        x += width
    body += words(20, 76, ["slot 0"], "note", "start") + words(x, 76, ["65535"], "note", "end")
    body += line(mark, 104, mark, 60) + words(
        mark + 80, 122, ["x mod 2¹⁶ lies in the interval of level 1: that is the next level"], "note", "end"
    )
    body += words(
        20,
        160,
        ["then  x ← width · ⌊x / 2¹⁶⌋ + x mod 2¹⁶ − start;  below 2¹⁶:  x ← x · 2¹⁶ + next word"],
        "head",
        "start",
    )
    return svg(WIDTH, 176, body, "One step of an rANS decoder")


def file_layout() -> str:
    """The parts of a .rdq file in order."""
    parts = [
        ("head", ["20 bytes", "magic, version,", "length and CRC", "of the table"], 130),
        ("table", ["kind, name,", "length, CRC", "of each section"], 130),
        ("graph", ["ONNX ModelProto", "without tensors,", "LZMA"], 130),
        ("facts", ["JSON: who", "wrote it, how"], 100),
        ("tensor", ["a header and", "coded levels", "or floats"], 110),
        ("tensor", ["…"], 80),
    ]
    body, x = "", 10.0
    for name, note, width in parts:
        shape, _ = box(x, 10, width, [name], [*note, *[""] * (4 - len(note))])
        body += shape
        x += width + 4
    return svg(x + 10, 122, body, "The parts of a .rdq file, in order")


DRAWINGS: dict[str, Callable[[], str]] = {
    "model-to-answer": model_to_answer,
    "weights-to-file": weights_to_file,
    "qdq-to-kernel": qdq_to_kernel,
    "int8-rule": int8_rule,
    "quantizers": quantizers,
    "density": density,
    "rans": rans,
    "file-layout": file_layout,
}
