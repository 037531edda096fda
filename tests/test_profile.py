"""Profiles: figures that make sense, fair comparisons only, nothing measured twice or lost."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from onnx import helper
from typer.testing import CliRunner

import models
import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import CorruptFile, InvalidArgument, RdquantError
from rdquant.profile import driver, fresh, meters
from rdquant.profile.inputs import feeds_of
from rdquant.profile.store import FILE, Stored
from rdquant.runtime import Session

STEADY = {"spin_us": 50.0, "max_mhz": None, "governor": None}
QUICK: dict[str, Any] = {"threads": 1, "repeat": 5, "seconds": 0.02, "processes": 1}
PROCESS = {
    "import_s": 0.2,
    "load_s": 0.01,
    "first_run_s": 0.02,
    "rss_import": 40_000_000,
    "rss_growth": 5_000_000,
    "rss_mean": 44e6,
    "rss_peak": 46_000_000,
    "cpu_percent": 90.0,
    "joules_per_run": None,
    "celsius_before": None,
    "celsius_after": None,
    "throttled": None,
}


@pytest.fixture(autouse=True, scope="module")
def _steady() -> Iterator[None]:
    """A clock that does not depend on what else this machine does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters, "clock", lambda: dict(STEADY))
        yield


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Canned figures of new processes."""
    monkeypatch.setattr(driver, "in_new_process", lambda order: dict(PROCESS))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package's network, and one whose weights differ a little."""
    folder = tmp_path_factory.mktemp("models")
    model = rdq.load(digits_model())
    changed = {name: np.round(w, 2) for name, w in model.weights().items()}
    paths = {name: folder / f"{name}.onnx" for name in ("float", "rounded")}
    model.save(paths["float"])
    model.replace_weights(changed).save(paths["rounded"])
    return paths


@pytest.fixture(scope="module")
def profiled(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> rdq.Profile:
    """Both side by side, new processes and all."""
    return rdq.profile(files, batch=[1, 4], store=tmp_path_factory.mktemp("profile"), **QUICK)


# --- figures -------------------------------------------------------------------------------------


def test_figures_make_sense(profiled: rdq.Profile) -> None:
    table = profiled.to_pandas()
    assert list(table["model"]) == ["float", "rounded"] * 2
    assert list(table["batch"]) == list(table["rows"]) == [1, 1, 4, 4]
    assert (table["runs"] == 5).all()
    assert (table["best_ms"] > 0).all()
    for low, high in (("best_ms", "p50_ms"), ("p50_ms", "p90_ms"), ("p90_ms", "p99_ms")):
        assert (table[low] <= table[high]).all()
    np.testing.assert_allclose(table["throughput"], 1e3 * table["rows"] / table["mean_ms"])
    assert (table["first_ms"] >= table["load_ms"]).all()
    assert (table[["import_ms", "load_ms", "first_run_ms", "cpu_percent"]] > 0).all(axis=None)
    assert (table["rss_import_mb"] > 10).all()  # Python and NumPy
    assert (table["rss_growth_mb"] > 0).all()
    assert (table["rss_peak_mb"] >= table["rss_mean_mb"]).all()
    assert (table["rss_peak_mb"] >= table["rss_import_mb"] + table["rss_growth_mb"]).all()
    assert table["complete"].all()
    assert not profiled.interrupted


def test_ratios_are_to_the_first_model(profiled: rdq.Profile) -> None:
    table = profiled.to_pandas().set_index(["model", "batch"])
    for name, ratio in (("p50_ms", "latency_ratio"), ("rss_growth_mb", "growth_ratio")):
        for batch in (1, 4):
            first, second = table.loc[("float", batch)], table.loc[("rounded", batch)]
            assert first[ratio] == 1
            assert second[ratio] == pytest.approx(second[name] / first[name])


def test_outputs_are_compared(profiled: rdq.Profile, files: dict[str, Path]) -> None:
    feeds = feeds_of(Session(files["float"]).inputs, 4, {}, None, 0)
    y, z = (next(iter(Session(files[n], threads=1).run(feeds).values())) for n in ("float", "rounded"))
    first, second = (row for row in profiled.rows if row["batch"] == 4)
    assert first["max_difference"] == 0
    assert first["sqnr_db"] is None
    assert second["max_difference"] == pytest.approx(np.abs(z - y).max() / np.abs(y).max(), rel=1e-3)
    assert second["sqnr_db"] == pytest.approx(10 * np.log10((y**2).sum() / ((z - y) ** 2).sum()), rel=1e-3)
    assert second["agreement"] == np.mean(y.argmax(1) == z.argmax(1))
    assert first["finite"]


def test_steps_are_grouped_by_operation(profiled: rdq.Profile) -> None:
    operations = profiled.operations()
    shares = operations.groupby(["model", "batch"])["share"].sum()
    np.testing.assert_allclose(shares, 1)
    counted = operations[(operations["model"] == "float") & (operations["batch"] == 1)]
    assert counted.set_index("op")["steps"]["convolution"] == 3
    assert counted["steps"].sum() == len([s for s in profiled.steps if s["model"] == "float"]) / 2


@pytest.mark.usefixtures("no_process")
def test_outputs_that_are_not_finite_are_named(tmp_path: Path) -> None:
    node = helper.make_node("Div", ["x", "zero"], ["y"], "div")
    broken = models.build([node], {"zero": np.zeros(4, np.float32)}, {"x": ["N", 4]}, {"y": ["N", 4]})
    found = rdq.profile({"broken": broken}, **QUICK)
    assert found.rows[0]["finite"] is False
    assert "broken" in found.notes[0]
    assert "not finite" in found.notes[0]


def test_a_process_that_fails_says_why(tmp_path: Path, files: dict[str, Path]) -> None:
    np.savez(tmp_path / "x.npz", np.zeros((1, 1, 8, 8), np.float32))
    order = {
        "feeds": str(tmp_path / "x.npz"),
        "inputs": ["image"],
        "backend": "auto",
        "threads": 1,
        "batch": 1,
        "seconds": 0.01,
    }
    with pytest.raises(RdquantError, match=r"missing\.onnx"):
        fresh.in_new_process({**order, "model": str(tmp_path / "missing.onnx")})


# --- resuming, fairness --------------------------------------------------------------------------


@pytest.mark.usefixtures("no_process")
def test_what_is_there_is_not_measured_again(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rdq.profile(files, store=tmp_path, **QUICK)
    before = (tmp_path / FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(driver, "interleaved", None)
        again = rdq.profile(files, store=tmp_path, **QUICK)
    assert (tmp_path / FILE).read_bytes() == before
    assert again.models == ["float", "rounded"]
    more = rdq.profile({"third": files["rounded"]}, store=tmp_path, **QUICK)
    assert more.models == ["third"]
    assert more.notes == [
        "2 more models in the folder (float, rounded): name them, too, to have them in this comparison."
    ]
    every = rdq.Profile.open(tmp_path)
    assert every.models == ["float", "rounded", "third"]
    assert every.to_pandas()["latency_ratio"].notna().all()
    assert list(every.to_pandas()["max_difference"].isna()) == [False, False, True]
    assert every.notes == [
        "third (threads 1, batch 1): not measured together with float, so outputs are not compared."
    ]
    assert every.rows[:2] == again.rows


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("change", ["weights", "input", "effort"])
def test_what_has_changed_is_measured_again(files: dict[str, Path], tmp_path: Path, change: str) -> None:
    first = rdq.profile({"a": files["float"]}, store=tmp_path, **QUICK).rows[0]
    options = {**QUICK, "seed": 1} if change == "input" else QUICK
    options = {**options, "repeat": 6} if change == "effort" else options
    path = files["rounded" if change == "weights" else "float"]
    (second,) = rdq.profile({"a": path}, store=tmp_path, **options).rows
    assert second["run"] == first["run"] + 1


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("part", "name", "value", "said"),
    [
        ("machine", "cpu", "Abacus", "cpu was Abacus, is"),
        ("machine", "memory_gb", 1.0, "memory_gb was 1.0"),
        ("machine", "os", "Linux-0.1", "os was Linux-0.1"),
        ("machine", "packages", {"numpy": "0.1"}, "numpy was 0.1"),
        ("clock", "governor", "powersave", "governor was powersave"),
        ("clock", "spin_us", 55.0, "clock: a fixed loop took 55.00 µs, takes 50.00 µs"),
    ],
)
def test_other_machines_and_clocks_are_refused(
    files: dict[str, Path], tmp_path: Path, part: str, name: str, value: object, said: str
) -> None:
    rdq.profile({"float": files["float"]}, store=tmp_path, **QUICK)
    held = json.loads((tmp_path / FILE).read_text())
    held["runs"][0][part][name] = value
    (tmp_path / FILE).write_text(json.dumps(held))
    with pytest.raises(InvalidArgument) as refusal:
        rdq.profile({"rounded": files["rounded"]}, store=tmp_path, **QUICK)
    assert said in str(refusal.value)
    assert "allow it" in str(refusal.value)
    rdq.profile({"rounded": files["rounded"]}, store=tmp_path, mix=True, **QUICK)
    mixed = rdq.Profile.open(tmp_path, mix=True)
    assert mixed.to_pandas()["latency_ratio"].notna().all()
    assert any(said in note for note in mixed.notes)
    with pytest.raises(InvalidArgument, match="measured elsewhere"):
        rdq.Profile.open(tmp_path)


@pytest.mark.usefixtures("no_process")
def test_a_clock_that_changes_meanwhile_makes_no_ratios(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([50.0, 50.0, 60.0])  # of the run, before and after the condition
    with monkeypatch.context() as patch:
        patch.setattr(meters, "clock", lambda: {**STEADY, "spin_us": next(times)})
        found = rdq.profile(files, store=tmp_path, **QUICK)
    assert found.to_pandas()["latency_ratio"].isna().all()
    assert all("clock changed" in note for note in found.notes)
    again = rdq.profile(files, store=tmp_path, **QUICK)
    assert again.to_pandas()["latency_ratio"].notna().all()
    assert again.notes == []


# --- Ctrl-C --------------------------------------------------------------------------------------


def test_interrupting_keeps_what_was_measured(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [dict(PROCESS)]

    def pressed(order: object) -> dict[str, Any]:
        if not left:
            raise KeyboardInterrupt
        return left.pop()

    monkeypatch.setattr(driver, "in_new_process", pressed)
    found = rdq.profile(files, batch=[1, 4], store=tmp_path, **QUICK)
    assert found.interrupted
    assert [row["rss_growth_mb"] for row in found.rows] == [5.0, None]
    assert all(row["p50_ms"] > 0 and not row["complete"] for row in found.rows)
    assert found.report().is_file()
    assert Stored.read(tmp_path).rows == found.rows
    monkeypatch.setattr(driver, "in_new_process", lambda order: dict(PROCESS))
    again = rdq.profile(files, batch=[1, 4], store=tmp_path, **QUICK)
    assert [row["complete"] for row in again.rows] == [True] * 4
    assert not again.interrupted


def test_interrupting_before_there_is_anything(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "interleaved", pressed)
    with pytest.raises(KeyboardInterrupt):
        rdq.profile(files, **QUICK)


@pytest.mark.usefixtures("no_process")
def test_a_fixed_batch_runs_in_slices() -> None:
    found = rdq.profile({"cnn": models.cnn(batch=2)}, batch=3, **QUICK)
    assert found.rows[0]["rows"] == 4
    assert found.steps


def test_inputs_may_have_any_name() -> None:
    node = helper.make_node("Add", ["file", "a/b:0"], ["y"], "add")
    shapes = {"file": ["N", 4], "a/b:0": ["N", 4]}
    (row,) = rdq.profile({"two": models.build([node], {}, shapes, {"y": ["N", 4]})}, batch=2, **QUICK).rows
    assert row["rows"] == 2
    assert row["first_ms"] > 0


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"repeat": 0}, "repeat"),
        ({"seconds": 0}, "seconds"),
        ({"threads": [1, -1]}, "threads"),
        ({"batch": "4"}, "batch"),
        ({"models": []}, "models"),
    ],
)
def test_wrong_arguments_are_named(argument: dict[str, Any], said: str) -> None:
    options = {"models": digits_model(), **argument}
    with pytest.raises(InvalidArgument, match=f"^{said}"):
        rdq.profile(**options)


# --- results -------------------------------------------------------------------------------------


def test_report_shows_all_rows(profiled: rdq.Profile, tmp_path: Path) -> None:
    path = profiled.report(tmp_path / "new")
    page = path.read_text(encoding="utf-8")
    assert all(
        f"figure-{name}" in page for name in ("latency-batch-1", "latency-batch-4", "memory", "operations")
    )
    assert page.count("</i>rounded</th>") >= 2 * 3
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    table = pd.read_csv(path.parent / "profile.csv")
    np.testing.assert_allclose(table["p50_ms"], profiled.to_pandas()["p50_ms"])
    assert rdq.Profile.open(path.parent).rows == profiled.rows
    for link in ("profile.json", "steps.csv", "operations.csv", "memory.png"):
        assert (path.parent / link).is_file()
        assert f'href="{link}"' in page


@pytest.mark.usefixtures("no_process")
def test_hostile_names_are_shown_as_they_are(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>$\\frac{$"
    path = rdq.profile({name: digits_model()}, **QUICK).report(tmp_path)
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_headline_has_its_interval(profiled: rdq.Profile) -> None:
    rows = profiled.to_pandas().to_dict("records")
    first, other = rows[:2]
    assert other["speedup_low"] <= other["speedup"] <= other["speedup_high"]
    assert np.isnan(first["speedup_low"])
    ends = f"{other['speedup_low']:.2f}–{other['speedup_high']:.2f}"
    assert f"(95 % interval {ends} × as fast)" in profiled.headlines[0].replace("\u00a0", " ")


@pytest.mark.usefixtures("no_process")
def test_the_command_is_kept_and_shown(files: dict[str, Path], tmp_path: Path) -> None:
    words = ["profile", *map(str, files.values()), "-o", str(tmp_path / "one folder")]
    words += ["--threads", "1", "--repeat", "3", "--seconds", "0.02", "--processes", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "one folder" / FILE).read_text())
    assert [run["command"] for run in stored["runs"]] == [shlex.join(["rdquant", *words])]
    assert json.loads(done.stdout)["runs"] == stored["runs"]
    page = (tmp_path / "one folder" / "report.html").read_text()
    assert f"<code>{html.escape(shlex.join(['rdquant', *words]))}</code>" in page
    called = rdq.profile(list(files.values()), **QUICK).runs[0]["command"]
    again = CliRunner().invoke(app, [*shlex.split(called)[1:], "-o", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    with pytest.raises(InvalidArgument, match="command: expected a text"):
        rdq.profile(digits_model(), command=3, **QUICK)  # type: ignore[arg-type]


def test_plot_and_words(profiled: rdq.Profile) -> None:
    assert isinstance(profiled.plot(), Figure)
    assert repr(profiled) == "<rdquant.Profile of float, rounded: 4 rows>"
    json.dumps(profiled.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("no_process")
def test_results_in_memory_need_a_folder_to_be_reported() -> None:
    found = rdq.profile([digits_model(), rdq.load(digits_model())], **QUICK)
    assert found.models == ["digits.onnx", "digits"]
    with pytest.raises(InvalidArgument, match="folder"):
        found.report()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"schema": 99, "runs": [], "rows": [], "steps": []}',
        '{"schema": 1, "runs": 1, "rows": [], "steps": []}',
        '{"schema": 1, "runs": [], "rows": [{"model": "a"}], "steps": []}',
        '{"schema": 1, "runs": [], "steps": [], "rows": [{"model": "a", "backend": "auto", "threads": 1, "batch": 1, '
        '"run": 0, "steady": true, "complete": true}]}',
    ],
)
def test_files_that_are_no_profiles(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidArgument, match="makes one"):
        rdq.Profile.open(tmp_path)
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CorruptFile, match=FILE):
        rdq.Profile.open(tmp_path)
