"""How long does one image take on two threads while another process keeps a core busy, beside the peers?

    python benchmarks/bench_busy.py [--nets squeezenet1.1-7 …] [--turns 12]

Each engine runs in a process of its own, so that no engine's idle threads disturb another; they take turns, while
one more process does nothing but count. Medians over all runs, and the same without that process. Ratio: our
time to the faster peer's. Writes results/busy.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench_latency import ENGINES, MODELS, NETS, mean_ratio, picture, prepare, shape_of

THREADS, RUNS = 2, 10  # a turn is so many runs, after one that is not counted


def serve(engine: str, net: str) -> None:
    """In a process of its own: for each line read, seconds of so many runs, as JSON."""
    path = MODELS / f"{net}.onnx"
    name, shape = shape_of(path, 1)
    run = prepare(engine, path.read_bytes(), name, picture(net, shape), THREADS)
    run()
    print("ready", flush=True)
    for line in sys.stdin:
        run()
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def turns(servers: dict[str, subprocess.Popen[str]], count: int) -> dict[str, float]:
    """Median milliseconds of each engine."""
    times: dict[str, list[float]] = {engine: [] for engine in servers}
    for _ in range(count):
        for engine, server in servers.items():
            assert server.stdin is not None
            assert server.stdout is not None
            time.sleep(0.02)  # until the idle threads of the one before sleep
            server.stdin.write(f"{RUNS}\n")
            server.stdin.flush()
            times[engine] += json.loads(server.stdout.readline())
    return {engine: median(seconds) * 1e3 for engine, seconds in times.items()}


def measure(net: str, count: int) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        servers = {e: stack.enter_context(process(__file__, "--serve", e, net)) for e in ENGINES}
        for server in servers.values():
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        quiet = turns(servers, max(2, count // 3))
        with process("-c", "while True: pass"):
            busy = turns(servers, count)
    ratio = busy["rdquant"] / min(ms for engine, ms in busy.items() if engine != "rdquant")
    print(
        net, *(f"{e} {ms:.2f} ({quiet[e]:.2f} quiet)" for e, ms in busy.items()), f"{ratio:.3f}", flush=True
    )
    return {"net": net, "ratio": ratio, "ms": busy, "quiet_ms": quiet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--no-write", action="store_true")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    rows = [measure(net, arguments.turns) for net in arguments.nets]
    print(f"geometric mean {mean_ratio(rows):.3f}")
    from store import Store  # here, for it imports the package, which the processes above bring themselves

    store = Store("busy", ["onnxruntime", "openvino"], write=not arguments.no_write)
    store.put("rows", rows)
    store.put("geometric_mean", mean_ratio(rows))


if __name__ == "__main__":
    main()
