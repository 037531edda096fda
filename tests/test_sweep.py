"""The study: its test for stopping, its store, its strategies, and what interrupts it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rdquant as rdq
from rdquant import CorruptFile, InvalidArgument, RdquantError, Study
from rdquant.codec import real_bits
from rdquant.data import Digits
from rdquant.demo import digits_model
from rdquant.report import summary
from rdquant.sweep.store import FILE, SCHEMA, Store
from rdquant.sweep.study import best_points

QUANTIZERS = "midtread,deadzone:0.7,minifloat:4/3"
BITS = (2, 3, 4, 5, 8)
SAME = ["quantizer", "bits", "scope", "entropy", "entropy_tables", "mse", "top1", "top5", "kl", "verdict"]


@pytest.fixture(scope="module")
def model() -> rdq.Model:
    return rdq.load(digits_model())


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits("test")


@pytest.fixture(scope="module")
def grid(model: rdq.Model, data: Digits) -> Study:
    return rdq.sweep(model, data, QUANTIZERS, BITS, progress=False)


def points(study: Study) -> pd.DataFrame:
    table = study.to_pandas()
    return table.sort_values(["quantizer", "bits", "scope"], ignore_index=True)


# Grid and adaptive.


def test_the_grid_holds_every_point_and_the_float_model(grid: Study, model: rdq.Model, data: Digits) -> None:
    table = grid.to_pandas()
    assert len(table) == 2 * len(BITS) + 1 + 1
    assert set(table["state"]) == {"done"}
    assert set(table["images"]) == {len(data)}
    base = table.iloc[0]
    assert (base["quantizer"], base["family"], base["kl"]) == ("float32", "float", 0.0)
    assert base["entropy"] == rdq.float_entropy(model.weights())
    assert base["top1"] == rdq.evaluate(model, data)["top1"]
    point = table[(table["quantizer"] == "midtread") & (table["bits"] == 4)].iloc[0]
    restored, rate = rdq.requantize(model.weights(), rdq.Midtread.from_levels(bits=4))
    assert point["entropy"] == rate.entropy
    assert point["mse"] == rate.mse
    assert point["cr"] == pytest.approx(32 / rate.entropy)
    assert point["top1"] == rdq.evaluate(model.replace_weights(restored), data)["top1"]
    assert point["real_bits"] == real_bits(model.weights(), rdq.Midtread.from_levels(bits=4))
    assert np.isnan(base["real_bits"])
    assert grid.info["model_summary"]["parameters"] == 15338
    assert len(grid.tensors()) == 8
    assert set(grid.fits()["tensor"]) == {"", *model.weights()}
    assert grid.histograms()[""][2].sum() == 15338


@pytest.mark.parametrize("max_loss", [0.0, 0.8, 5.0, 100.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_adaptive_gives_the_grids_answer_for_less(
    grid: Study, model: rdq.Model, data: Digits, max_loss: float, seed: int
) -> None:
    adaptive = rdq.sweep(
        model, data, QUANTIZERS, BITS, strategy="adaptive", max_loss=max_loss, seed=seed, progress=False
    )
    found, wanted = adaptive.best(), grid.best(max_loss)
    choice = ["quantizer", "bits", "entropy"]
    pd.testing.assert_frame_equal(found[choice], wanted[choice])
    # Sums are taken in another order in batches of another size: at two bits, where scores tie, a few images may flip.
    figures = ["top1", "loss_top1", "loss_top5"]
    pd.testing.assert_frame_equal(found[figures], wanted[figures], rtol=0, atol=6 / len(data))
    assert adaptive.to_pandas()["images"].sum() < 0.8 * grid.to_pandas()["images"].sum()


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize("strategy", ["grid", "adaptive"])
def test_executors_give_the_same_points(model, data, pool, strategy: str) -> None:
    arguments = {"quantizers": QUANTIZERS, "bits": BITS, "strategy": strategy, "progress": False}
    alone = points(rdq.sweep(model, data, **arguments))
    with pool(2) as executor:
        pooled = points(rdq.sweep(model, data, executor=executor, **arguments))
    pd.testing.assert_frame_equal(alone[SAME], pooled[SAME], rtol=1e-6)


def test_scopes_have_their_own_steps_and_tables(model: rdq.Model, data: Digits) -> None:
    study = rdq.sweep(model, data, "midtread,codebook", (3,), ["model", "tensor", "channel"], progress=False)
    table = study.to_pandas().set_index(["quantizer", "scope"])
    assert table.loc[("midtread", "model"), "range"] == 1.0
    assert table.loc[("midtread", "tensor"), "range"] == "max"
    weights = model.weights()
    by_hand = rdq.rate(weights, lambda name, w: rdq.Midtread.from_levels(3, "max", x=w), by="tensor")
    assert table.loc[("midtread", "tensor"), "entropy"] == by_hand.entropy
    axes = {p.name: p.axis for p in model.parameters}
    by_hand = rdq.rate(weights, lambda n, w: rdq.Midtread.from_levels(3, "max", axes[n], x=w), by="tensor")
    assert table.loc[("midtread", "channel"), "mse"] == by_hand.mse < table.loc[("midtread", "tensor"), "mse"]
    assert table.loc[("codebook", "tensor"), "mse"] < table.loc[("midtread", "tensor"), "mse"]


def test_levels_that_cost_nothing_have_an_infinite_ratio(data: Digits, model: rdq.Model) -> None:
    zeros = model.replace_weights({name: np.zeros_like(w) for name, w in model.weights().items()})
    table = rdq.sweep(zeros, data, "midtread", 4, range="max", progress=False).to_pandas()
    assert table.loc[1, ["entropy", "cr", "re", "mse", "sqnr_db"]].tolist() == [0.0, np.inf, 1.0, 0.0, np.inf]
    assert table.loc[0, ["cr", "re"]].isna().all()  # the float model


def test_given_quantizers_and_formats_are_points_without_bits(model: rdq.Model, data: Digits) -> None:
    given = [rdq.Midtread(0.07), rdq.Deadzone, "half", "minifloat:2/3:best"]
    table = rdq.sweep(model, data, given, (4,), progress=False).to_pandas()
    assert table["bits"].isna().tolist() == [True, True, False, True, True]
    assert table["family"].tolist() == ["float", "midtread", "deadzone", "half", "minifloat"]


# The store.


def test_a_second_run_evaluates_nothing_again(tmp_path: Path, model, data) -> None:
    arguments = {"store": tmp_path, "progress": False}
    first = rdq.sweep(model, data, "midtread", (2, 5), **arguments)
    ids = first._rows("SELECT id FROM points WHERE study_id = ? ORDER BY id")
    second = rdq.sweep(model, data, "midtread,midrise", (2, 3, 5), **arguments)
    again = second._rows("SELECT id FROM points WHERE study_id = ? ORDER BY id")
    assert again[: len(ids)] == ids
    assert len(again) == 1 + 6
    # A metric that was not asked for before needs the scores again.
    third = rdq.sweep(model, data, "midtread", (2, 5), metrics=("top1", "mrr"), **arguments).to_pandas()
    assert third.loc[third["quantizer"] == "midtread", "mrr"].notna().sum() == 2


def test_adaptive_and_grid_share_a_store(tmp_path: Path, model, data) -> None:
    arguments = {"store": tmp_path, "progress": False}
    adaptive = rdq.sweep(model, data, "midtread", BITS, strategy="adaptive", **arguments)
    assert "stopped" in set(adaptive.to_pandas()["state"])
    best = adaptive.best()
    grid = rdq.sweep(model, data, "midtread", BITS, **arguments)
    assert set(grid.to_pandas()["state"]) == {"done"}
    assert len(grid.to_pandas()) == len(BITS) + 1
    assert grid.best()["bits"].tolist() == best["bits"].tolist()


SWEEP = """
import sys, rdquant as rdq
from rdquant.data import Digits
from rdquant.demo import digits_model
rdq.sweep(digits_model(), Digits("test"), "midtread,midrise,deadzone:0.4,mulaw", range(2, 17), store=sys.argv[1])
"""


def start_sweep(folder: Path, wanted: int) -> subprocess.Popen:
    """A sweep in a process of its own, once it has stored `wanted` points."""
    run = subprocess.Popen([sys.executable, "-c", SWEEP, str(folder)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and run.poll() is None:
        if stored(folder) >= wanted:
            return run
        time.sleep(0.01)
    run.kill()
    raise AssertionError(f"no {wanted} points after a minute, or ended: {run.communicate()[1]}")


def stored(folder: Path) -> int:
    if not (folder / FILE).is_file():
        return 0
    try:
        with sqlite3.connect(f"{(folder / FILE).as_uri()}?mode=ro", uri=True) as db:
            return int(db.execute("SELECT count(*) FROM points").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from rdquant.sweep.point import begin_worker
if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), begin_worker) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    script.write_text(POOL, encoding="utf-8")
    run = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    # The worker has inherited the pipe: it is at its end when the worker is.
    worker = int(run.stdout.readline())
    os.kill(worker, 0)
    run.kill()
    assert run.communicate(timeout=30)[0] == ""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path: Path, model, data, end: signal.Signals) -> None:
    run = start_sweep(tmp_path, 10)
    os.kill(run.pid, end)
    run.communicate(timeout=60)
    assert run.returncode == (-9 if end == signal.SIGKILL else -2) or run.returncode == 130
    before = Study.open(tmp_path)._rows(
        "SELECT id, quantizer, bits FROM points WHERE study_id = ? ORDER BY id"
    )
    assert 10 <= len(before) < 61
    arguments = ("midtread,midrise,deadzone:0.4,mulaw", range(2, 17))
    study = rdq.sweep(model, data, *arguments, store=tmp_path, progress=False)
    after = study._rows("SELECT id, quantizer, bits FROM points WHERE study_id = ? ORDER BY id")
    assert after[: len(before)] == before
    assert len(after) == 61
    pd.testing.assert_frame_equal(
        points(study)[SAME], points(rdq.sweep(model, data, *arguments, progress=False))[SAME]
    )


def test_two_sweeps_on_one_file_do_not_mix(tmp_path: Path, model, data) -> None:
    with (
        Store(tmp_path, write=True),
        pytest.raises(InvalidArgument, match="another sweep is writing to this file"),
    ):
        rdq.sweep(model, data, "midtread", (2,), store=tmp_path, progress=False)
    rdq.sweep(model, data, "midtread", (2,), store=tmp_path, progress=False)


def test_a_study_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    run = start_sweep(tmp_path, 5)
    assert len(Study.open(tmp_path).to_pandas()) >= 5
    run.communicate(timeout=120)
    assert run.returncode == 0
    assert len(Study.open(tmp_path).to_pandas()) == 61


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, model, data, monkeypatch) -> None:
    rdq.sweep(model, data, "midtread", (2,), store=tmp_path, progress=False)
    real = sqlite3.connect

    def on_a_full_disk(*arguments, **options) -> sqlite3.Connection:
        db = real(*arguments, **options)
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {max(pages, 1)}")
        return db

    monkeypatch.setattr(sqlite3, "connect", on_a_full_disk)
    with pytest.raises(RdquantError, match=r"results.sqlite: no space left on the disk; all results"):
        rdq.sweep(
            model, data, "midtread,midrise,mulaw,deadzone:0.1", range(1, 20), store=tmp_path, progress=False
        )
    monkeypatch.undo()
    assert len(Study.open(tmp_path).to_pandas()) >= 2
    rdq.sweep(model, data, "midtread", (2, 3), store=tmp_path, progress=False)


def test_real_bits_are_those_of_a_compressed_file(tmp_path: Path, model: rdq.Model) -> None:
    learned = ("weight", "bias", "normalization")
    file = rdq.compress(model, tmp_path / "m.rdq", rdq.Midtread.from_levels(bits=5), roles=learned)
    real = real_bits(model.weights(), rdq.Midtread.from_levels(bits=5))
    assert real == file.bits_per_weight


@pytest.mark.parametrize("schema", [1, 2])
def test_results_of_older_schemas_are_continued(tmp_path: Path, model, data, schema: int) -> None:
    rdq.sweep(model, data, "midtread", [4], store=tmp_path, progress=False)
    missing = ["real_bits", "file_bytes"][schema - 1 :]
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        for column in missing:
            db.execute(f"ALTER TABLE points DROP COLUMN {column}")
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(schema),))
        db.commit()
    with Study.open(tmp_path) as study:
        assert study.to_pandas()[missing].isna().all(axis=None)
        assert study.best(100)["ratio"].isna().all()
        assert "at best" in summary(study, 100)["headline"]
    table = rdq.sweep(model, data, "midtread", [4, 5], store=tmp_path, progress=False).to_pandas()
    for column in missing:
        assert list(table[column].notna()) == [False, False, True]


def test_results_of_a_newer_schema_are_refused(tmp_path: Path, model, data) -> None:
    Store(tmp_path, write=True).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA + 1),))
    for call in (
        lambda: Study.open(tmp_path),
        lambda: rdq.sweep(model, data, "midtread", (2,), store=tmp_path),
    ):
        with pytest.raises(
            CorruptFile, match=f"schema {SCHEMA + 1}; this version of rdquant reads up to {SCHEMA}"
        ):
            call()


@pytest.mark.parametrize(
    "content", [b"", b"not a database, but long enough to look at" * 100, b"SQLite format 3\0" + b"\1" * 5000]
)
def test_files_that_are_no_results_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CorruptFile, match="results"):
        Study.open(tmp_path)


def test_another_database_is_refused(tmp_path: Path, model, data) -> None:
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("CREATE TABLE points(a)")
    with pytest.raises(CorruptFile, match="none of rdquant's results"):
        rdq.sweep(model, data, "midtread", (2,), store=tmp_path)


def test_nothing_there_is_said(tmp_path: Path, model, data) -> None:
    with pytest.raises(InvalidArgument, match="there is no results file"):
        Study.open(tmp_path)
    rdq.sweep(model, data, "midtread", (2,), store=tmp_path, progress=False)
    with pytest.raises(InvalidArgument, match="no study of 'alexnet'; it holds digits"):
        Study.open(tmp_path, model="alexnet")


def test_torn_scores_of_the_float_model_are_made_again(tmp_path: Path, model, data) -> None:
    rdq.sweep(model, data, "midtread", (2,), store=tmp_path, progress=False)
    (scores,) = tmp_path.glob("float-scores-*.npy")
    scores.write_bytes(scores.read_bytes()[:100])
    study = rdq.sweep(model, data, "midtread", (2, 3), store=tmp_path, progress=False)
    assert len(study.to_pandas()) == 3


# The rule for the best choice, and wrong arguments.


def test_best_takes_the_smallest_file_within_the_tolerance() -> None:
    table = pd.DataFrame(
        [
            ("float32", "float", None, "done", 20.0, 0.60, 0.80),
            ("a", "midtread", 8, "done", 5.0, 0.60, 0.80),
            ("a", "midtread", 7, "done", 4.0, 0.592, 0.80),  # loses 0.008 exactly
            ("a", "midtread", 6, "done", 3.0, 0.59, 0.80),
            ("a", "midtread", 5, "stopped", 2.0, 0.60, 0.80),
            ("b", "midrise", 7, "done", 1.0, 0.60, 0.79),  # top-5 loses too much
            ("b", "midrise", 8, "done", 6.0, 0.61, 0.80),
            ("c", "mulaw", 8, "done", 0.5, 0.10, 0.20),
        ],
        columns=["quantizer", "family", "bits", "state", "entropy", "top1", "top5"],
    )
    sizes = [None, 900, 950, 300, 200, 100, 800, 50]
    for known, wanted in (
        ([None] * 8, [("a", 7), ("b", 8)]),  # results of older versions: by entropy
        (sizes, [("b", 8), ("a", 8)]),
    ):
        table["file_bytes"] = pd.array(known, "Int64")
        best = best_points(table, 0.8, ["top1", "top5"])
        assert list(zip(best["quantizer"], best["bits"], strict=True)) == wanted
        assert best_points(table.iloc[1:], 0.8, ["top1"]).empty


def test_a_nan_weight_is_named(model: rdq.Model, data: Digits) -> None:
    weights = {name: w.copy() for name, w in model.weights().items()}
    name = next(iter(weights))
    weights[name].flat[5] = np.nan
    with pytest.raises(InvalidArgument, match=f"tensor '{name}'.* 5 is NaN"):
        rdq.sweep(model.replace_weights(weights), data, "midtread", (4,), progress=False)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"bits": (0,)}, "bits: expected an integer 1..24, got 0"),
        ({"bits": ()}, "none given"),
        ({"quantizers": "midtred"}, "'midtred' is not understood"),
        ({"scope": "layer"}, "scope: expected one of 'model', 'tensor', 'channel', got 'layer'"),
        ({"strategy": "best"}, "strategy: expected one of 'grid', 'adaptive', got 'best'"),
        ({"metrics": ("top3",)}, "metrics: expected one of .*got 'top3'"),
        ({"metrics": ("kl",), "strategy": "adaptive"}, "needs one of"),
        ({"max_loss": 101}, "max_loss: expected a finite number of at least 0 and of at most 100, got 101"),
        ({"range": -1.0}, "range: expected a finite number above 0, got -1"),
        ({"backend": "gpu"}, "gpu"),
    ],
)
def test_wrong_arguments_are_explained(model, data, arguments: dict, what: str) -> None:
    with pytest.raises(RdquantError, match=what):
        rdq.sweep(model, data, **({"quantizers": "midtread", "bits": (4,), "progress": False} | arguments))
