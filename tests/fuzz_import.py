"""Feeds mutated ONNX models to `rdquant.load` and `Session`: all they may do is run or raise an rdquant error.

    python tests/fuzz_import.py --seconds 600 --crashes build/crashes
    python tests/fuzz_import.py --seconds 600 --crashes build/crashes --direct

`--direct` hands them to the engine without `rdquant.load`, whose checks would stop most.

Models mutate in a child process, which writes each to a file first: what kills or hangs the child is kept, and
a new child goes on with the next seed. Under sanitizers: build with `-C cmake.define.RDQUANT_SANITIZE=address,undefined`
and set LD_PRELOAD to the compiler's libasan.so.
"""

from __future__ import annotations

import argparse
import random
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

import models
import node_cases
import rdquant as rdq
from rdquant._core import program
from rdquant._core import runtime as core_runtime
from rdquant.errors import RdquantError
from rdquant.graph import build_graph
from rdquant.graph.checks import check_text
from rdquant.runtime.engine import engine_backends

INTEGERS = [0, 1, -1, 2, -2, 3, 7, 64, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan")]
MEMORY_LIMIT = 256 << 20
MOST_FED = 1 << 20  # elements of one input
HANG = 60.0  # seconds

Mutation = Callable[[random.Random, onnx.ModelProto], None]


def _integer(rng: random.Random) -> int:
    return rng.choice(INTEGERS) if rng.random() < 0.6 else rng.randint(-5, 40)


def _numbers(rng: random.Random, field: Any, value: Callable[[], Any]) -> None:
    """Changes, drops or adds an entry of a repeated field."""
    kind = rng.randrange(3)
    if kind == 0 or not field:
        field.append(value())
    elif kind == 1:
        del field[rng.randrange(len(field))]
    else:
        field[rng.randrange(len(field))] = value()


def change_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    attributes = [a for node in model.graph.node for a in node.attribute]
    if not attributes:
        return
    a = rng.choice(attributes)
    if a.type == onnx.AttributeProto.INT:
        a.i = _integer(rng)
    elif a.type == onnx.AttributeProto.FLOAT:
        a.f = rng.choice(FLOATS)
    elif a.type == onnx.AttributeProto.INTS:
        _numbers(rng, a.ints, lambda: _integer(rng))
    elif a.type == onnx.AttributeProto.FLOATS:
        _numbers(rng, a.floats, lambda: rng.choice(FLOATS))
    elif a.type == onnx.AttributeProto.STRING:
        a.s = rng.choice(
            [b"", b"linear", b"cubic", b"SAME_UPPER", b"VALID", b"reflect", b"\xff\xfe", b"x" * 300]
        )
    elif a.type == onnx.AttributeProto.TENSOR:
        _change_tensor(rng, a.t)


def drop_attribute(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    if nodes:
        node = rng.choice(nodes)
        del node.attribute[rng.randrange(len(node.attribute))]


def _change_tensor(rng: random.Random, tensor: TensorProto) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        _numbers(rng, tensor.dims, lambda: _integer(rng))
    elif kind == 1:
        tensor.data_type = rng.randrange(0, 26)
    elif kind == 2 and tensor.raw_data:
        data = bytearray(tensor.raw_data)
        data[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        tensor.raw_data = bytes(data)
    else:
        data = bytearray(tensor.raw_data)
        tensor.raw_data = bytes(data[: rng.randint(0, len(data))]) + rng.randbytes(rng.randrange(9))


def change_initializer(rng: random.Random, model: onnx.ModelProto) -> None:
    if model.graph.initializer:
        _change_tensor(rng, rng.choice(model.graph.initializer))


def change_integers(rng: random.Random, model: onnx.ModelProto) -> None:
    """Well-formed tensors of shapes, axes and indices with values that are not."""
    found = [t for t in model.graph.initializer if t.data_type in (TensorProto.INT64, TensorProto.INT32)]
    if not found:
        return
    tensor = rng.choice(found)
    values = onnx.numpy_helper.to_array(tensor).copy()
    if values.size:
        limits = np.iinfo(values.dtype)
        values.flat[rng.randrange(values.size)] = min(max(_integer(rng), int(limits.min)), int(limits.max))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def change_input(rng: random.Random, model: onnx.ModelProto) -> None:
    ports = [*model.graph.input, *model.graph.output]
    kind = rng.choice(ports).type.tensor_type
    if rng.random() < 0.3:
        kind.elem_type = rng.randrange(0, 26)
    elif kind.shape.dim and rng.random() < 0.7:
        dim = rng.choice(kind.shape.dim)
        if rng.random() < 0.2:
            dim.dim_param = "N"
        else:
            dim.dim_value = _integer(rng)
    elif rng.random() < 0.5:
        kind.shape.dim.add().dim_value = rng.randint(0, 4)
    elif kind.shape.dim:
        del kind.shape.dim[rng.randrange(len(kind.shape.dim))]


def rewire(rng: random.Random, model: onnx.ModelProto) -> None:
    """Names used elsewhere, names that nobody makes, cycles, duplicates, left-out inputs."""
    node = rng.choice(model.graph.node)
    names = ["", "nowhere", *(x for n in model.graph.node for x in (*n.input, *n.output))]
    names += [t.name for t in model.graph.initializer] + [p.name for p in model.graph.input]
    field = node.input if rng.random() < 0.7 else node.output
    _numbers(rng, field, lambda: rng.choice(names))


def change_operator(rng: random.Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    node.op_type = rng.choice(program.operators())


def shuffle_nodes(rng: random.Random, model: onnx.ModelProto) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    if rng.random() < 0.5:
        nodes.append(rng.choice(nodes))
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def change_opset(rng: random.Random, model: onnx.ModelProto) -> None:
    model.opset_import[0].version = rng.choice([0, 1, 6, 7, 9, 10, 11, 12, 13, 14, 17, 18, 20, 23, 99, -1])


MUTATIONS: list[Mutation] = [
    change_attribute,
    change_attribute,
    drop_attribute,
    change_initializer,
    change_integers,
    change_integers,
    change_input,
    rewire,
    change_operator,
    shuffle_nodes,
    change_opset,
]


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(4)
        if kind == 0 and out:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del out[place : place + rng.randint(1, 16)]
        else:
            out[place:place] = out[place : place + rng.randint(1, 16)]
    return bytes(out)


def seeds() -> list[onnx.ModelProto]:
    """The models that mutate: each operator's node tests, and a small network."""
    out = [models.cnn(), models.cnn(batch=2)]
    for names in node_cases.claimed().values():
        for name in names[:12]:
            case = node_cases.cases()[name]
            feeds = case.data_sets[0][0]
            if all(isinstance(f, np.ndarray) for f in feeds):
                out.extend(node_cases.prepared(case, feeds, everything)[0] for everything in (False, True))
    return out


def mutated(seed: int, pool: list[onnx.ModelProto]) -> bytes:
    """The model of a seed, as bytes."""
    rng = random.Random(seed)
    model = onnx.ModelProto()
    model.CopyFrom(rng.choice(pool))
    if rng.random() < 0.15:
        return mutated_bytes(rng, model.SerializeToString())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if model.graph.node:
            try:
                rng.choice(MUTATIONS)(rng, model)
            except (ValueError, TypeError):  # a number that the field cannot hold
                continue
    return bytes(model.SerializeToString())


def attempt(data: bytes) -> str:
    """ "ran", the rdquant error's type, or what must not happen, as "!Type: message"."""
    random_values = np.random.default_rng(0)
    try:
        model = rdq.load(data)
        for backend in (name for name, reason in engine_backends().items() if not reason):
            session = rdq.Session(model, backend=backend, threads=1, memory_limit=MEMORY_LIMIT)
            feeds = {}
            for port in session.inputs:
                shape = tuple(d if isinstance(d, int) else 2 for d in port.shape)
                if any(d < 0 for d in shape) or np.prod([float(d) for d in shape]) > MOST_FED:
                    return "too large to feed"
                feeds[port.name] = (random_values.standard_normal(shape) * 3).astype(port.dtype)
            session.run(feeds)
    except RdquantError as error:
        return type(error).__name__
    except Exception as error:
        return f"!{type(error).__name__}: {error}"
    return "ran"


def _fed(port: onnx.ValueInfoProto, rng: np.random.Generator) -> np.ndarray[Any, Any] | None:
    """Noise for an input; None where it would be too large, or is no tensor of numbers."""
    kind = port.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else 2 for d in kind.shape.dim]
    if any(d < 0 for d in shape) or np.prod([float(d) for d in shape]) > MOST_FED or not kind.elem_type:
        return None
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return None if dtype.hasobject else np.asarray(rng.standard_normal(shape) * 3).astype(dtype)


def attempt_direct(data: bytes) -> str:
    """The same without `rdquant.load`: lowering and the steps themselves."""
    model = onnx.ModelProto()
    rng = np.random.default_rng(0)
    try:
        model.ParseFromString(data)
        check_text(model, "fuzzed")
        graph = build_graph("fuzzed", model, {})
        feeds = [_fed(port, rng) for port in model.graph.input]
    except Exception:  # onnx's own Python code on what `load` would have refused
        return "not built"
    fed = [f for f in feeds if f is not None]
    if len(fed) < len(feeds):
        return "too large to feed"
    try:
        for backend in (name for name, reason in engine_backends().items() if not reason):
            session = core_runtime.Session(graph, backend, 1, MEMORY_LIMIT)
            session.run(fed)
            session.plan([f.shape for f in fed], whole=True)
    except RdquantError as error:
        return type(error).__name__
    except Exception as error:
        return f"!{type(error).__name__}: {error}"
    return "ran"


def work(first: int, crashes: Path, direct: bool) -> None:
    """Tries seeds from `first` on for ever; a line per seed. The file of a finding stays."""
    pool = seeds()
    for seed in range(first, sys.maxsize):
        data = mutated(seed, pool)
        path = crashes / f"{seed}.onnx"
        path.write_bytes(data)
        outcome = (attempt_direct if direct else attempt)(data).replace("\n", " ")
        if not outcome.startswith("!"):
            path.unlink()
        print(seed, outcome, flush=True)


def _start(first: int, crashes: Path, direct: bool) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--work", str(first), str(crashes)] + ["--direct"] * direct
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def drive(seconds: float, first: int, crashes: Path, direct: bool) -> int:
    """Runs children until the time is over; the number of findings, which lie in `crashes`."""
    crashes.mkdir(parents=True, exist_ok=True)
    tally: Counter[str] = Counter()
    end, seed, findings = time.monotonic() + seconds, first, 0
    child, started = _start(seed, crashes, direct), False
    while time.monotonic() < end:
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], HANG if started else 10 * HANG)
        line = child.stdout.readline() if ready else ""
        if line:
            number, _, outcome = line.rstrip().partition(" ")
            if number != str(seed):  # something else that a library prints
                continue
            started = True
        else:
            outcome = "!hang" if not ready else f"!killed, exit status {child.wait()}"
            child.kill()
            child.wait()
            child, started = _start(seed + 1, crashes, direct), False
        tally[outcome.split(":")[0]] += 1
        if outcome.startswith("!"):
            findings += 1
            print(f"seed {seed}: {outcome[1:]}", flush=True)
        seed += 1
    child.kill()
    child.wait()
    (crashes / f"{seed}.onnx").unlink(missing_ok=True)  # was under way
    print(f"{seed - first} models, {findings} findings; {dict(tally)}")
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--crashes", type=Path, default=Path("build/crashes"), help="where findings are kept")
    parser.add_argument("--direct", action="store_true", help="without rdquant.load")
    parser.add_argument("--work", nargs=2, metavar=("SEED", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(int(arguments.work[0]), Path(arguments.work[1]), arguments.direct)
        return 0
    found = drive(arguments.seconds, arguments.seed, arguments.crashes, arguments.direct)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
