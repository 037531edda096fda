"""Sessions used by several threads at once, and in children of a fork."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import models
import rdquant
from networks import Net
from rdquant._cached import cached
from rdquant.graph import native_graph
from rdquant.runtime.engine import EngineSession

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
TIMEOUT = 60


def in_child(work: Callable[[], bool]) -> int:
    """Exit status of a forked child that runs `work`: 0 where it gives True, −SIGALRM where it hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(TIMEOUT)
        status = 1
        try:
            status = 0 if work() else 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def net() -> bytes:
    """Convolutions of both suppliers, pooling, a product and a softmax."""
    n = Net()
    y = n.call("Relu", n.conv("x", 32, 16))
    y = n.call("Relu", n.conv(y, 64, 32, size=1))
    y = n.conv(n.conv(y, 64, 64, group=64), 96, 64, size=1)
    y = n.call("Flatten", n.call("GlobalAveragePool", y))
    y = n.call("Softmax", n.call("MatMul", y, n.noise(96, 48)))
    model = models.build(n.nodes, n.tensors, {"x": ["N", 16, "H", "W"]}, {y: ["N", 48]}, 17)
    return model.SerializeToString()


def image(rows: int = 1, side: int = 24) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (rows, 16, side, side)).astype(np.float32)


def outputs(session: rdquant.Session, x: np.ndarray) -> np.ndarray:
    (y,) = session.run({"x": x}).values()
    return y


@pytest.fixture(params=["native", "reference"])
def session(request: pytest.FixtureRequest) -> rdquant.Session:
    return rdquant.Session(net(), backend=request.param, threads=2)


def test_a_child_runs_the_session_that_it_inherits(session: rdquant.Session) -> None:
    x, many = image(), image(rows=5)
    expected, several = outputs(session, x), outputs(session, many)

    def works() -> bool:
        return all(
            np.array_equal(found, wanted)
            for _ in range(3)
            for found, wanted in (
                (outputs(session, x), expected),
                (outputs(session, many), several),
                (outputs(rdquant.Session(net(), backend=session.backend, threads=2), x), expected),
            )
        )

    assert in_child(works) == 0
    assert in_child(lambda: works() and in_child(works) == 0) == 0, "a child of a child"
    assert works(), "the parent goes on"


def test_a_child_takes_new_sizes_and_weights(session: rdquant.Session) -> None:
    outputs(session, image())
    weights = {name: 2 * w for name, w in rdquant.load(net()).weights().items()}
    fresh = rdquant.Session(net(), backend=session.backend, threads=2)
    fresh.set_weights(weights)
    x = image(side=17)
    expected = outputs(fresh, x)

    def works() -> bool:
        session.set_weights(weights)
        return bool(np.array_equal(outputs(session, x), expected))

    assert in_child(works) == 0


class Slow:
    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    @cached
    def value(self) -> int:
        self.begun.set()
        assert self.go_on.wait(TIMEOUT)
        return 5


def test_a_child_computes_a_property_that_another_thread_was_computing() -> None:
    slow = Slow()
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    try:
        assert slow.begun.wait(TIMEOUT)

        def works() -> bool:
            other = Slow()
            other.go_on.set()
            return other.value == 5 and other.__dict__["value"] == 5

        assert in_child(works) == 0
    finally:
        slow.go_on.set()
        thread.join()
    assert slow.value == 5


def test_a_pool_of_forked_processes_shares_a_session(session: rdquant.Session) -> None:
    x = image()
    expected = outputs(session, x)
    globals()["_inherited"] = (session, x)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map_async(_run_inherited, range(6)).get(TIMEOUT):
            np.testing.assert_array_equal(found, expected)


def _run_inherited(_: int) -> np.ndarray:
    session, x = globals()["_inherited"]
    return outputs(session, x)


def test_runs_that_follow_one_another_do_not_starve_new_weights(session: rdquant.Session) -> None:
    """Counted over many calls: how many runs slip in around one call depends on who gets the interpreter."""
    x, weights = image(side=64), rdquant.load(net()).weights()
    stop, begun, calls = threading.Event(), [0] * 4, 100

    def run(i: int) -> None:
        while not stop.is_set():
            begun[i] += 1
            session.run({"x": x})

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        meanwhile = 0
        for _ in range(calls):
            before = sum(begun)
            session.set_weights(weights)
            meanwhile += sum(begun) - before
        assert meanwhile <= 50 * calls  # about 1 a call; hundreds where runs overtake new weights
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_fork_in_the_middle_of_other_threads_runs(backend: str) -> None:
    model = rdquant.load(net())
    session = EngineSession(native_graph(model), ["y"], backend, 2, 0)
    sizes = [
        image(side=side) for side in (9, 12, 16, 20, 24, 28)
    ]  # more than are kept: plans are made all the time
    expected = [session.run({"x": x})["y"] for x in sizes]
    weights = dict(model.weights())
    stop = threading.Event()

    def run(start: int) -> None:
        i = start
        while not stop.is_set():
            session.run({"x": sizes[i % len(sizes)]})
            session.set_weights({name: w.copy() for name, w in weights.items()})
            session.dump([sizes[0].shape])
            i += 1

    def works() -> bool:
        found = [session.run({"x": x})["y"] for x in sizes]
        session.set_weights(weights)
        return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 3)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(works) for _ in range(15)] == [0] * 15
    finally:
        stop.set()
        for thread in threads:
            thread.join()


SWAP_AND_DUMP = """
import threading, sys
import numpy as np
import rdquant
from rdquant.graph import native_graph
from rdquant.runtime.engine import EngineSession
from test_concurrency import net

model = rdquant.load(net())
session = EngineSession(native_graph(model), ["y"], sys.argv[1], 2, 0)
x = np.zeros((1, 16, 12, 12), np.float32)
session.run({"x": x})
weights = dict(model.weights())

def swap():
    for _ in range(300):  # arrays of its own, whose last owner is the session
        session.set_weights({name: w.copy() for name, w in weights.items()})

def read(work):
    for _ in range(300):
        work()

works = (
    swap,
    lambda: read(lambda: session.dump([x.shape])),
    lambda: read(lambda: session.plan([x.shape])),
    lambda: read(lambda: session.run({"x": x})),
)
threads = [threading.Thread(target=work) for work in works]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_weights_are_swapped_while_others_dump_plan_and_run(backend: str) -> None:
    subprocess.run(
        [sys.executable, "-c", SWAP_AND_DUMP, backend],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        check=True,
        timeout=TIMEOUT,
    )


_INTERRUPTED = """
import os, signal, sys, threading, time
import numpy as np
import rdquant
session = rdquant.Session(sys.argv[1], backend="reference", threads=2)
def run(rows):
    begin = time.monotonic()
    found = session.run({"x": np.ones((rows, 16, 48, 48), np.float32)})["y"]
    return time.monotonic() - begin, found
run(1)
one, expected = run(2)
rows = 2 * max(4, round(6 / one))
def press():
    global pressed
    pressed = time.monotonic()
    os.kill(os.getpid(), signal.SIGINT)
threading.Timer(1, press).start()
try:
    run(rows)
    print("ran to its end")
except KeyboardInterrupt:
    print(time.monotonic() - pressed)
assert (run(2)[1] == expected).all(), "the session is of no use afterwards"
"""


def test_ctrl_c_ends_a_run_of_the_reference_at_its_next_step(tmp_path: Path) -> None:
    weights = np.ones((16, 16, 3, 3), np.float32)
    names = ["x", *(f"v{i}" for i in range(7)), "y"]
    nodes = [helper.make_node("Conv", [a, "w"], [b], pads=[1] * 4) for a, b in itertools.pairwise(names)]
    path = tmp_path / "slow.onnx"
    model = models.build(nodes, {"w": weights}, {"x": ["N", 16, 48, 48]}, {"y": ["N", 16, 48, 48]})
    path.write_bytes(model.SerializeToString())
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(path)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2, "some seconds of work were left"
