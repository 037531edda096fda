"""Feeds mutated .rdq files, whose checksums fit, to `rdquant.load`, `decompress` and `Session`: all they may do is run or
raise an rdquant error.

    python tests/fuzz_compressed.py --seconds 600 --crashes build/crashes

What mutates is the graph, as a model and as bytes, the LZMA stream around it, the facts, and the bytes, kinds, names and
number of sections. The file of a finding stays in the folder; so does the one that ends the process. Tensors mutate
more thoroughly in tests/cpp/test_codec_fuzz.cpp.

"""

from __future__ import annotations

import argparse
import io
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx

import fuzz_import
import models
import rdquant as rdq
from rdquant.codec import container
from rdquant.errors import RdquantError

try:
    import resource
except ImportError:  # not on this system
    resource = None  # type: ignore[assignment]

MEMORY = 512 << 20  # more than what the process has when it begins
SIZES = [0, 1, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
LENGTHS = [*SIZES, 2**40, 2**63 - 1, 2**64 - 1]
FACTS = [
    "[]",
    "{",
    '{"name": 1}',
    '{"name": null, "version": -1}',
    "9" * 5000,
    "[" * 2000,
    '{"name": "\\u0000"}',
    "\xff",
]

Sections = list[tuple[int, str, bytes]]


def seeds() -> list[Sections]:
    """Sections of small files of every kind of coding."""
    found = []
    quantizers = [None, rdq.Midtread.from_levels(bits=4), rdq.Codebook([-0.5, 0.0, 0.5])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.rdq"
        for quantizer in quantizers:
            for profile in ("fast", "max"):
                rdq.compress(rdq.load(models.cnn()), path, quantizer, effort=profile)
                file = container.CompressedFile(path)
                found.append([(s.kind, s.name, data) for s, data in file.stream()])
    return found


def _changed_stream(rng: random.Random, packed: bytes) -> bytes:
    """An LZMA_alone stream: a byte of properties, u32 of the dictionary's size, u64 of what it unpacks to."""
    properties, dictionary, length = struct.unpack("<BIQ", packed[:13])
    kind = rng.randrange(4)
    if kind == 0:
        properties = rng.randrange(256)
    elif kind == 1:
        dictionary = rng.choice(SIZES)
    elif kind == 2:
        length = rng.choice(LENGTHS)
    else:
        return fuzz_import.mutated_bytes(rng, packed)
    return struct.pack("<BIQ", properties, dictionary, length) + packed[13:]


def mutated(seed: int, files: list[Sections], pool: list[onnx.ModelProto]) -> bytes:
    """The file of a seed."""
    rng = random.Random(seed)
    sections = list(rng.choice(files))
    for _ in range(rng.choice([1, 1, 2])):
        i = rng.randrange(len(sections))
        graphs = [k for k, (kind, _, _) in enumerate(sections) if kind == container.GRAPH]
        if graphs and rng.random() < 0.5:
            i = rng.choice(graphs)
        kind, name, data = sections[i]
        choice = rng.randrange(10)
        if choice == 0:
            del sections[i]
        elif choice == 1:
            sections.insert(rng.randrange(len(sections) + 1), sections[i])
        elif choice == 2:
            sections[i] = rng.choice([0, 1, 2, 3, 4, 255]), name, data
        elif choice == 3:
            sections[i] = kind, rng.choice(["", "\0", "x" * 300, sections[0][1], "ü"]), data
        elif kind == container.GRAPH and choice < 6:
            sections[i] = kind, name, _changed_stream(rng, data)
        elif kind == container.GRAPH and choice < 8:
            graph = container.unpack_graph(data) if data[:1] == b"\x5d" else b""
            sections[i] = kind, name, container.pack_graph(fuzz_import.mutated_bytes(rng, graph))
        elif kind == container.GRAPH:
            model = fuzz_import.mutated(rng.randrange(1 << 30), [*pool, _skeleton(data)])
            sections[i] = kind, name, container.pack_graph(model)
        elif kind == container.FACTS:
            sections[i] = kind, name, rng.choice(FACTS).encode("latin-1")
        else:
            sections[i] = kind, name, fuzz_import.mutated_bytes(rng, data)
        if not sections:
            break
    return container.file_bytes(sections)


def _skeleton(packed: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(container.unpack_graph(packed))
    except Exception:  # mutated before
        return models.cnn()
    return model


def attempt(data: bytes, path: Path) -> str:
    """ "ran", the rdquant error's type, or what must not happen, as "!Type: message"."""
    outcome = fuzz_import.attempt(data)
    for read in (lambda: rdq.load(path), lambda: rdq.decompress(io.BytesIO(data))):
        try:
            read()
        except RdquantError:
            continue
        except Exception as error:
            return f"!{type(error).__name__}: {error}"
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--first", type=int, default=0, help="seed of the first file")
    parser.add_argument("--crashes", type=Path, required=True)
    options = parser.parse_args()
    options.crashes.mkdir(parents=True, exist_ok=True)
    files, pool = seeds(), fuzz_import.seeds()
    if resource is not None and sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    outcomes: Counter[str] = Counter()
    end, seed = time.monotonic() + options.seconds, options.first
    while time.monotonic() < end:
        data = mutated(seed, files, pool)
        path = options.crashes / f"{seed}.rdq"
        path.write_bytes(data)
        outcome = attempt(data, path)
        if outcome.startswith("!"):
            print(seed, outcome, flush=True)
        else:
            path.unlink()
        outcomes[outcome.split(":")[0]] += 1
        seed += 1
    print(json.dumps({"files": seed - options.first, **dict(outcomes.most_common())}))
    return 1 if any(outcome.startswith("!") for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
