"""rdquant.Session: the file's own outputs, weights that can be swapped, clear refusals, on every backend."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import models
import networks
import rdquant
from rdquant.errors import BackendUnavailable, InvalidArgument, Unsupported
from rdquant.graph import native_graph
from rdquant.runtime.engine import EngineSession, engine_backends


def images(rows: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, 3, 8, 8)).astype(dtype)


ENGINE = [name for name, reason in engine_backends().items() if not reason]


@pytest.fixture(scope="module", params=[*ENGINE, "onnxruntime"])
def session(request: pytest.FixtureRequest) -> rdquant.Session:
    return rdquant.Session(rdquant.load(models.cnn()), backend=request.param, threads=1)


def expected(x: np.ndarray) -> np.ndarray:
    """The small CNN in NumPy."""
    w = rdquant.load(models.cnn()).weights()

    def convolve(a: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(a, kernel.shape[2:], axis=(2, 3))
        return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], kernel)

    def channel(name: str) -> np.ndarray:
        return w[name][:, None, None]

    a = convolve(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), w["conv1.w"], 1) + channel("conv1.b")
    a = (a - channel("bn.m")) / np.sqrt(channel("bn.v") + 1e-5) * channel("bn.s") + channel("bn.b")
    a = convolve(np.maximum(a, 0), w["conv2.w"], 2).mean(axis=(2, 3))
    return a @ w["fc.w"].T + w["fc.b"]


def test_run_gives_what_the_formulas_give(session: rdquant.Session) -> None:
    x = images(3)
    out = session.run({"x": x})
    assert list(out) == ["y"]
    np.testing.assert_allclose(out["y"], expected(x), rtol=1e-4, atol=1e-6)


def real_feeds(session: rdquant.Session) -> dict[str, np.ndarray]:
    return {
        i.name: np.random.default_rng(0)
        .random([d if isinstance(d, int) else 1 if k == 0 else 224 for k, d in enumerate(i.shape)])
        .astype(i.dtype)
        for i in session.inputs
    }


QUICK = ["cifar10_resnet20", "mnist-8", "mobilenet_v1_0.75", "squeezenet1.1-7", "ultraface_rfb_320"]
LONG = ["cifar10_resnet32", "efficientnet_lite0", "yolov8n_random", "yolox_nano"]


@pytest.mark.parametrize("backend", ENGINE)
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in LONG)])
def test_real_models_give_the_files_outputs(shared_data: Path, name: str, backend: str) -> None:
    path = shared_data / "models" / f"{name}.onnx"
    session = rdquant.Session(path, backend=backend)
    feeds = real_feeds(session)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    optimised = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(
        None, feeds
    )
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    assert session.backend == backend
    for got, want, other in zip(session.run(feeds).values(), plain, optimised, strict=True):
        spread = float(want.max() - want.min()) or 1.0
        assert got.shape == want.shape
        rounding = float(np.abs(other - want).max())  # yolov8n_random's weights make much of it
        assert np.abs(got - want).max() <= max(1e-4 * spread, 2 * rounding)


@pytest.mark.parametrize("backend", [*ENGINE, "onnxruntime"])
def test_set_weights_equals_a_new_session(backend: str) -> None:
    model = rdquant.load(models.cnn())
    session = rdquant.Session(model, backend)
    x = images(2)
    before = session.run({"x": x})["y"]
    rounded = {name: np.round(w * 16) / 16 for name, w in model.weights().items()}
    session.set_weights(rounded)
    after = session.run({"x": x})["y"]
    anew = rdquant.Session(model.replace_weights(rounded), backend)
    np.testing.assert_array_equal(after, anew.run({"x": x})["y"])
    assert np.abs(after - before).max() > 1e-3
    session.set_weights({"fc.b": rounded["fc.b"] + 1})  # the others stay as they were set
    np.testing.assert_allclose(session.run({"x": x})["y"], after + 1, rtol=1e-5)
    with pytest.raises(InvalidArgument, match=r"no weight 'fc\.c'"):
        session.set_weights({"fc.c": rounded["fc.b"]})
    np.testing.assert_allclose(session.run({"x": x})["y"], after + 1, rtol=1e-5)
    session.set_weights(model.weights())
    np.testing.assert_array_equal(session.run({"x": x})["y"], before)
    assert session.model.weights()["fc.b"] is not rounded["fc.b"]


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_fixed_batch_is_fed_in_slices(session: rdquant.Session, batch: int, rows: int) -> None:
    fixed = rdquant.Session(rdquant.load(models.cnn(batch=batch)))
    x = images(rows)
    out = fixed.run({"x": x})["y"]
    assert out.shape == (rows, 10)
    np.testing.assert_allclose(out, session.run({"x": x})["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_are_converted(session: rdquant.Session, dtype: type) -> None:
    x = images(1).astype(dtype)
    np.testing.assert_array_equal(session.run({"x": x})["y"], session.run({"x": x.astype(np.float32)})["y"])
    np.testing.assert_array_equal(session.run({"x": x.tolist()})["y"], session.run({"x": x})["y"])


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, r"'x' is not fed; .* needs 'x' \(float32 \[N, 3, 8, 8\]\)"),
        ({"xx": images(1), "x": images(1)}, "no input 'xx'; did you mean 'x'"),
        ({"x": images(1).astype(np.uint8)}, "got dtype uint8"),
        ({"x": [["a"]]}, "got dtype <U1"),
        ({"x": images(1)[0]}, r"got shape \[3, 8, 8\]"),
        ({"x": images(1)[:, :, :7]}, r"\[N, 3, 8, 8\]\): got shape \[1, 3, 7, 8\]"),
    ],
)
def test_wrong_feeds_are_refused(session: rdquant.Session, feeds: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        session.run(feeds)  # type: ignore[arg-type]


def test_a_fixed_batch_refuses_rows_that_do_not_fit() -> None:
    fixed = rdquant.Session(rdquant.load(models.cnn(batch=2)))
    with pytest.raises(InvalidArgument, match="got shape"):
        fixed.run({"x": images(3)[:, :2]})
    with pytest.raises(InvalidArgument, match="got shape"):
        fixed.run({"x": images(0)})


def test_an_unknown_backend_lists_the_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = "allowed are 'auto', 'native', 'reference', 'onnxruntime'"
    with pytest.raises(BackendUnavailable, match=f"'tensorrt' is unknown; {allowed}"):
        rdquant.Session(rdquant.load(models.cnn()), backend="tensorrt")
    monkeypatch.setenv("RDQUANT_BACKEND", "abacus")
    with pytest.raises(BackendUnavailable, match=f"RDQUANT_BACKEND = 'abacus' is unknown; {allowed}"):
        rdquant.Session(rdquant.load(models.cnn()))


def test_the_environment_chooses_where_the_caller_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDQUANT_BACKEND", "reference")
    assert rdquant.Session(rdquant.load(models.cnn())).backend == "reference"
    assert rdquant.Session(rdquant.load(models.cnn()), backend="onnxruntime").backend == "onnxruntime"


def test_a_missing_backend_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rdquant.load(models.cnn())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendUnavailable, match="pip install onnxruntime"):
        rdquant.Session(model, backend="onnxruntime")
    assert rdquant.Session(model).backend in ENGINE


def test_what_the_engine_lacks_runs_on_onnx_runtime(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = models.helper.make_node("Compress", ["x", "kept"], ["y"], "part", axis=1)
    kept = {"kept": np.array([False, True])}
    model = rdquant.load(models.build([node], kept, {"x": ["N", 2]}, {"y": ["N", "M"]}))
    monkeypatch.setattr("rdquant.runtime.session.engine_backends", lambda: {"native": "", "reference": ""})
    session = rdquant.Session(model)
    assert "Compress node 'part'" in caplog.text
    assert session.backend == "onnxruntime"
    assert {row["backend"] for row in session.plan()} == {"onnxruntime"}
    x = np.array([[1, 2], [3, 4]], np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], [[2], [4]])
    with pytest.raises(Unsupported, match=r"Compress node 'part': the operator is not supported"):
        rdquant.Session(model, backend="reference")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Unsupported, match=r"Compress node 'part': the operator is not supported"):
        rdquant.Session(model)


def test_integer_tensors_reach_onnx_runtime_in_their_shape() -> None:
    levels = np.random.default_rng(0).integers(-128, 128, (64, 3, 8, 8)).astype(np.int8)
    proto = models.build(
        [
            models.helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["weights"]),
            models.helper.make_node("Conv", ["x", "weights"], ["y"]),
        ],
        {"w": levels, "scale": np.float32(0.1), "zero": np.int8(0)},
        {"x": ["N", 3, 8, 8]},
        {"y": ["N", 64, 1, 1]},
    )
    found = rdquant.Session(rdquant.load(proto), backend="onnxruntime").run({"x": images(2)})["y"]
    wanted = np.einsum("nchw,ochw->no", images(2), levels.astype(np.float32)) * np.float32(0.1)
    np.testing.assert_allclose(found[..., 0, 0], wanted, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("feeds", [images(1), {"x": [[1.0], [2.0, 3.0]]}])
def test_feeds_that_are_no_arrays_by_name_are_refused(session: rdquant.Session, feeds: object) -> None:
    with pytest.raises(InvalidArgument, match="'x'"):
        session.run(feeds)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ENGINE)
def test_a_plan_beyond_the_memory_limit_is_refused(backend: str) -> None:
    session = rdquant.Session(rdquant.load(models.cnn()), backend=backend, memory_limit=100)
    with pytest.raises(InvalidArgument, match="memory limit is 100"):
        session.run({"x": images(1)})
    session = rdquant.Session(rdquant.load(models.cnn()), backend=backend, memory_limit=1 << 20)
    assert session.run({"x": images(1)})["y"].shape == (1, 10)


@pytest.mark.parametrize("backend", ENGINE)
def test_a_batch_gives_what_its_rows_give(backend: str) -> None:
    session = rdquant.Session(rdquant.load(models.cnn()), backend=backend, threads=2)
    x = images(9)
    rows = [session.run({"x": x[i : i + 1]})["y"] for i in range(9)]
    np.testing.assert_allclose(session.run({"x": x})["y"], np.concatenate(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("backend", ENGINE)
def test_a_batch_without_a_good_divisor_runs_in_few_pieces(backend: str, threads: int) -> None:
    """31 rows are neither one piece a row nor one for all; new weights reach the plan of the rest, too."""
    net = networks.Net()
    y = net.call("Relu", net.conv(net.conv("x", 32, 4), 64, 32))
    proto = net.model(net.call("Flatten", net.call("GlobalAveragePool", y)), ("N", 4, 6, 6))
    proto.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info(proto.graph.output[0].name, 1, ("N", 64))
    )
    model = rdquant.load(proto)
    engine = EngineSession(native_graph(model), [model.outputs[0].name], backend, threads, 0)
    x = np.random.default_rng(0).standard_normal((31, 4, 6, 6), dtype=np.float32)
    assert 1 < engine._inner.plan([x.shape], False)["pieces"] < 8
    for factor in (1.0, 0.5):
        changed = {name: np.float32(factor) * w for name, w in model.weights().items()}
        engine.set_weights(changed)
        (found,) = engine.run({"x": x}).values()
        reference = rdquant.Session(model.replace_weights(changed), backend="reference")
        wanted = np.concatenate(
            [reference.run({"x": x[i : i + 1]})[model.outputs[0].name] for i in range(31)]
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_outputs_belong_to_the_caller(session: rdquant.Session) -> None:
    first = session.run({"x": images(1)})["y"]
    kept = first.copy()
    session.run({"x": images(2)})
    np.testing.assert_array_equal(first, kept)
    first += 1
    assert first.flags.writeable


def test_weights_change_between_runs_not_within(session: rdquant.Session) -> None:
    model = session.model
    x = images(1)
    before = session.run({"x": x})["y"]
    other = {"fc.b": model.weights()["fc.b"] + np.float32(1)}
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(lambda: session.run({"x": x})["y"]) for _ in range(40)]
        swap = pool.submit(session.set_weights, other)
        runs += [pool.submit(lambda: session.run({"x": x})["y"]) for _ in range(40)]
    swap.result()
    session.set_weights(model.weights())
    for run in runs:
        step = np.round((run.result() - before).mean())
        np.testing.assert_allclose(run.result(), before + step, rtol=1e-5, atol=1e-5)
        assert step in (0, 1)


@pytest.mark.parametrize("options", [{"threads": -1}, {"threads": 1.5}, {"batch": 0}, {"batch": True}])
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match=f"{next(iter(options))}: expected an integer (≥|0\\.\\.)"):
        rdquant.Session(rdquant.load(models.cnn()), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [None, 0, 2, np.int64(2)])
def test_one_rule_for_threads(threads: int | None) -> None:
    model = rdquant.load(models.cnn())
    shown = threads or "all"
    assert f"threads {shown}>" in repr(rdquant.Session(model, threads=threads))
    assert rdquant.entropy(np.arange(8), threads=threads) == 3
    assert rdquant.moments(model, threads=threads).count == model.summary()["parameters"]


def test_threads_may_share_a_session(session: rdquant.Session) -> None:
    batches = [images(n) for n in range(1, 9)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: session.run({"x": x})["y"], batches * 4))
    for x, got in zip(batches * 4, together, strict=True):
        np.testing.assert_allclose(got, session.run({"x": x})["y"], rtol=1e-5, atol=1e-6)


def test_plan_and_profile_tell_the_steps(session: rdquant.Session) -> None:
    plan = session.plan()
    assert [row["step"] for row in plan] == list(range(len(plan)))
    own = session.backend != "onnxruntime"
    assert sum(row["op"] == "convolution" if own else row["op"].endswith("Conv") for row in plan) == 2
    assert {row["backend"] for row in plan} == {session.backend}

    rows = session.profile(runs=3)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert all(0 <= row["best_us"] <= row["mean_us"] for row in rows)
    names = {row["op"].removeprefix("Fused") for row in rows}
    assert ({"convolution", "matmul"} if own else {"Conv", "Gemm"}) <= names
    assert len(session.profile({"x": images(2)}, runs=1)) == len(rows)
    with pytest.raises(InvalidArgument, match="runs"):
        session.profile(runs=0)
    with pytest.raises(InvalidArgument, match="not fed"):
        session.profile({})


@pytest.mark.parametrize("backend", ENGINE)
@pytest.mark.parametrize("onednn", ["0", ""])
def test_nan_in_is_nan_out(backend: str, onednn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RDQUANT_ONEDNN", onednn)
    x = images(2)
    x[1, 0, 3, 3] = np.nan
    (y,) = rdquant.Session(rdquant.load(models.cnn()), backend=backend).run({"x": x}).values()
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).all()


@pytest.mark.parametrize("backend", ENGINE)
def test_the_engine_counts_work(backend: str) -> None:
    session = rdquant.Session(rdquant.load(models.cnn()), backend=backend)
    for rows, times in ((session.plan(), 1), (session.profile({"x": images(3)}, runs=1), 3)):
        macs = [row["macs"] for row in rows if row["macs"]]
        assert sum(macs) == times * (8 * 8 * 8 * 27 + 3 * 3 * 8 * 72 + 80)
        assert all(row["kernel"] and row["layout"] and row["bytes"] >= 0 for row in rows)
        assert {row["supplier"] for row in rows} <= {"native", "onednn", "reference"}


def test_plan_and_profile_leave_no_files(
    session: rdquant.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    session.plan()
    session.profile(runs=1)
    assert not list(tmp_path.iterdir())


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    proto = models.dense()
    proto.graph.initializer.append(proto.graph.initializer[0])
    proto.graph.initializer[-1].name = "unused"  # ONNX Runtime warns of it
    session = rdquant.Session(rdquant.load(proto))
    session.run({"x": np.zeros((1, 16), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_float16_models_run() -> None:
    out = rdquant.Session(rdquant.load(models.cnn(np.float16))).run({"x": images(2, np.float16)})["y"]
    assert out.dtype == np.float16
    np.testing.assert_allclose(out, expected(images(2)), atol=2e-2)


def test_what_the_backend_lacks_is_unsupported() -> None:
    # ONNX Runtime has no float64 convolution.
    with pytest.raises(Unsupported, match=r"ONNX Runtime refuses the model.*conv1"):
        rdquant.Session(rdquant.load(models.cnn(np.float64)), backend="onnxruntime")


def test_weights_reach_every_size_that_was_run_before() -> None:
    """More sizes than plans are kept for: what a dropped plan leaves behind must not answer with old weights."""
    from rdquant.demo import digits_model

    model = rdquant.load(digits_model())
    name = model.inputs[0].name
    x = np.random.default_rng(0).random((128, 1, 8, 8), np.float32)
    backend = next(iter(engine_backends()))
    session = rdquant.Session(model, backend=backend)
    sizes = (128, 87, 64, 16, 8, 2, 1)
    for n in sizes:
        session.run({name: x[:n]})
    halved = {key: value / 2 for key, value in model.weights().items()}
    session.set_weights(halved)
    wanted = rdquant.Session(model.replace_weights(halved), backend=backend)
    for n in sizes:
        (found,), (expected,) = (s.run({name: x[:n]}).values() for s in (session, wanted))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
