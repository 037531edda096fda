"""The worked example of the page on the file format: a tiny .rdq file, written now, with every byte explained.

The reader here follows the page, not the package: python docs/_ext/file_example.py --write puts its table into the
page, and tests/test_docs.py compares the two.
"""

from __future__ import annotations

import lzma
import re
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PAGE = Path(__file__).resolve().parents[1] / "reference" / "file-format.md"
BEGIN, END = "<!-- file_example.py: begin -->\n", "<!-- file_example.py: end -->\n"

W = np.array([[0.50, -0.25, 0.00, 0.26], [0.12, 0.00, -0.13, 0.24], [-0.51, 0.12, 0.25, 0.00]], np.float32)
B = np.array([0.5, -1.0, 0.25], np.float32)

Row = tuple[int, bytes, str]


def model() -> onnx.ModelProto:
    """y = x·Wᵀ + b, four inputs, three outputs."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    weights = [numpy_helper.from_array(W, "w"), numpy_helper.from_array(B, "b")]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    graph = helper.make_graph([node], "tiny", [given], [made], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(path: Path) -> bytes:
    import rdquant

    rdquant.compress(model(), path, bits=4, threads=1)
    return path.read_bytes()


class Reader:
    """Takes bytes from the front and notes what they mean."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at, self.rows = data, at, list[Row]()

    def take(self, count: int, meaning: str) -> bytes:
        part = self.data[self.at : self.at + count]
        assert len(part) == count, f"{meaning}: {count} bytes expected at {self.at}, {len(part)} left"
        self.rows.append((self.at, part, meaning))
        self.at += count
        return part

    def number(self, meaning: str) -> int:
        """A varint; {} in the meaning becomes its value."""
        end = self.at
        while self.data[end] >= 128:
            end += 1
        part = self.data[self.at : end + 1]
        value = sum((byte & 127) << (7 * i) for i, byte in enumerate(part))
        self.take(len(part), meaning.replace("{}", str(value)))
        return value

    def signed(self, meaning: str) -> int:
        """A zigzag."""
        end = self.at
        while self.data[end] >= 128:
            end += 1
        u = sum((byte & 127) << (7 * i) for i, byte in enumerate(self.data[self.at : end + 1]))
        value = (u >> 1) ^ -(u & 1)
        self.take(end + 1 - self.at, meaning.replace("{}", str(value)))
        return value


def bits(data: bytes, width: int, count: int) -> list[int]:
    held = int.from_bytes(data, "little")
    return [held >> (width * i) & ((1 << width) - 1) for i in range(count)]


def levels(read: Reader) -> list[int]:
    """Coded levels of method 1, packed."""
    method = read.take(1, "method 1 (packed) · 16 + type 0 (int32)")[0]
    assert method == 0x10, f"the example has packed levels, not {method:#x}"
    rank = read.number("rank {}")
    shape = [read.number("dimension {}") for _ in range(rank)]
    least = read.signed("least level {} (zigzag)")
    width = read.take(1, f"width: {read.data[read.at]} bits per level")[0]
    count = int(np.prod(shape))
    found = [least + v for v in bits(read.data[read.at :], width, count)]
    read.take(-(-count * width // 8), f"level − least, {width} bits each, low bits first: levels {found}")
    return found


def tensor(read: Reader) -> np.ndarray:
    coding = read.take(1, f"coding {read.data[read.at]}: {('floats', 'quantized')[read.data[read.at]]}")[0]
    element = read.number("element type {}: FLOAT")
    assert element == TensorProto.FLOAT
    shape = [read.number("dimension {}") for _ in range(read.number("rank {}"))]
    return quantized(read, shape) if coding == 1 else floats(read, shape)


def quantized(read: Reader, shape: list[int]) -> np.ndarray:
    assert read.number("{} quantizer") == 1
    read.number("{} elements between neighbours along the channel axis (one quantizer: no matter)")
    assert read.take(1, "family 0: uniform")[0] == 0
    step, delta = struct.unpack("<dd", read.data[read.at : read.at + 16])
    read.take(8, f"step Δ = {step:g}")
    read.take(8, f"δ = {delta:g}: midtread")
    read.number("block of {} bytes: the coded levels")
    v = np.array(levels(read))
    return (np.sign(v) * step * (abs(v) + delta - 0.5)).astype(np.float32).reshape(shape)


def floats(read: Reader, shape: list[int]) -> np.ndarray:
    assert read.take(1, "method 1 (split) · 16 + type 0 (float32)")[0] == 0x10
    top = read.take(
        1, f"exponent field K = {read.data[read.at]}: Δ = 2^(K − 127) = {2.0 ** (read.data[read.at] - 127):g}"
    )[0]
    zeros = read.take(1, f"z = {read.data[read.at]} zero bits at the end of all significands")[0]
    read.number("block of {} bytes: the coded levels ⌊|x|/Δ⌋ with their signs")
    v = levels(read)
    assert all(v), "no level is 0 here, so that there are no exponents"
    assert read.number("block of {} bytes: exponents of values with level 0; there are none") == 0
    widths = [23 - zeros - (abs(level).bit_length() - 1) for level in v]
    rest = read.data[read.at : read.at + -(-sum(widths) // 8)]
    read.take(
        len(rest),
        f"significand bits below Δ, {' + '.join(map(str, widths))} bits, all 0; filled up to a byte",
    )
    assert not any(rest)
    return (np.array(v) * 2.0 ** (top - 127)).astype(np.float32).reshape(shape)


def explain(data: bytes) -> tuple[list[Row], dict[str, np.ndarray]]:
    """What each byte of the example means, and the tensors in it."""
    read = Reader(data)
    read.take(8, 'magic: "\\x89RDQ\\r\\n\\x1a\\n"')
    read.take(4, "version 1")
    length = struct.unpack("<I", read.take(4, f"the table has {data[12]} bytes"))[0]
    crc = struct.unpack("<I", read.take(4, "CRC-32 of the table"))[0]
    assert crc == zlib.crc32(data[read.at : read.at + length])
    sections = []
    for _ in range(read.number("{} sections")):
        kind = read.take(1, f"kind {data[read.at]}: {('', 'graph', 'facts', 'tensor')[data[read.at]]}")[0]
        size = read.number("name of {} bytes")
        name = read.take(size, f'"{data[read.at : read.at + size].decode()}"').decode()
        bytes_ = read.number("the section has {} bytes")
        sections.append((kind, name, bytes_, struct.unpack("<I", read.take(4, "its CRC-32"))[0]))
    found = {}
    for kind, name, size, crc in sections:
        end = read.at + size
        assert crc == zlib.crc32(data[read.at : end])
        if kind == 1:
            raw = lzma.decompress(data[read.at : end], lzma.FORMAT_ALONE)
            read.take(1, "graph: LZMA_alone; lc 3, lp 0, pb 0")
            read.take(4, "dictionary of 4 MiB")
            read.take(8, "size unknown: an end marker follows")
            read.take(end - read.at, f"the ModelProto without tensors, {len(raw)} bytes unpacked")
            assert onnx.ModelProto.FromString(raw).graph.name == "tiny"
        elif kind == 2:
            read.take(size, "facts: " + data[read.at : end].decode())
        else:
            first = len(read.rows)
            found[name] = tensor(read)
            at, part, meaning = read.rows[first]
            read.rows[first] = (at, part, f'tensor "{name}": {meaning}')
        assert read.at == end
    assert read.at == len(data)
    return read.rows, found


def table(rows: list[Row]) -> str:
    lines = ["| offset | bytes | meaning |", "|---:|---|---|"]
    for at, part, meaning in rows:
        lines.append(f"| {at} | `{part.hex(' ')}` | {meaning.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def bytes_of(page: str) -> bytes:
    """The bytes in the page's table; offsets must be gapless."""
    found = b""
    for at, part in re.findall(r"^\| (\d+) \| `([0-9a-f ]+)` \|", page, re.MULTILINE):
        assert int(at) == len(found), f"row at {at}: {len(found)} bytes stand before it"
        found += bytes.fromhex(part)
    return found


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        shown = table(explain(write(Path(folder) / "tiny.rdq"))[0])
    if sys.argv[1:] == ["--write"]:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(before + BEGIN + shown + END + rest.partition(END)[2], encoding="utf-8")
    else:
        sys.stdout.write(shown)
