"""What the profiler reads of a machine, on a simulated Raspberry Pi 5 and on this one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rdquant as rdq
from boards import PMIC_WATTS, raspberry
from rdquant.demo import digits_model
from rdquant.profile import board as boards
from rdquant.profile import roofline
from rdquant.profile.board import LIMITS, Board, Watch, limits_of
from rdquant.profile.roofline import bandwidth, placed


def profiled(root: Path, monkeypatch: pytest.MonkeyPatch, models: int = 1, **options: object) -> rdq.Profile:
    monkeypatch.setattr(boards, "ROOT", root)
    monkeypatch.setattr(roofline, "_BYTES", 1 << 20)
    return rdq.profile([digits_model()] * models, seconds=0.02, processes=1, **options)  # type: ignore[arg-type]


def test_a_healthy_pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiled(raspberry(tmp_path), monkeypatch, models=2)
    facts, row = found.runs[0]["board"], found.rows[0]
    assert facts["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts["system"] == "Debian GNU/Linux 12 (bookworm)"
    assert facts["governor"] == "ondemand"
    assert facts["mhz"] == [2400] * 4
    assert facts["limits_now"] == facts["limits_since_boot"] == facts["offline"] == row["limits"] == []
    assert row["throttled"] == row["paused_s"] == 0
    assert row["celsius_most"] == 50
    assert row["mhz_least"] == row["mhz_most"] == 2400
    assert row["watts"] == pytest.approx(PMIC_WATTS)
    assert row["energy_of"] == "board (PMIC)"
    assert row["joules_per_run"] > 0
    assert row["bandwidth_gb_s"] > 0
    assert len(row["core_load"]) == 4
    assert found.notes == [
        "The clock's governor is 'ondemand', which may change it while networks are measured."
    ]
    assert found.to_dict()["rows"][0]["bandwidth_gb_s"] == row["bandwidth_gb_s"]


@pytest.mark.parametrize(
    ("bits", "named"), [(0x50005, {0, 2}), (0x20002, {1}), (0x80008, {3}), (0x10001, {0}), (0x4, {2})]
)
def test_limits_are_decoded(tmp_path: Path, bits: int, named: set[int]) -> None:
    facts = Board(raspberry(tmp_path, throttled=bits)).facts()
    assert facts == Board(
        raspberry(tmp_path / "kernel", throttled=bits, vcgencmd=False, sysfs=True)
    ).facts() | {"vcgencmd": True}
    wanted = [LIMITS[i] for i in sorted(named)]
    assert facts["limits_now"] == wanted
    assert facts["limits_since_boot"] == (wanted if bits >> 16 else [])
    assert limits_of(0xF) == list(LIMITS)


def test_a_throttled_run_is_flagged_and_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = raspberry(tmp_path / "pi", throttled=0x50005)
    found = profiled(tree, monkeypatch, models=2, store=tmp_path / "kept")
    assert [row["limits"] for row in found.rows] == [["undervoltage", "throttled"]] * 2
    assert all(row["throttled"] for row in found.rows)
    assert [row["speedup"] for row in found.table()] == [None, None]
    assert found.headlines == []
    text = " ".join(found.notes)
    assert "slowed down while it was measured (undervoltage, throttled); it is not compared" in text
    assert "Limits that have held since the machine started: undervoltage, throttled." in text
    page = found.report().read_text("utf-8")
    assert "slowed down while it was measured" in page
    assert "Raspberry Pi 5 Model B" in page
    assert rdq.Profile.open(tmp_path / "kept", mix=True).table()[1]["speedup"]  # where the caller allows it


def test_what_comes_up_meanwhile_is_seen(tmp_path: Path) -> None:
    board = Board(raspberry(tmp_path, throttled=0x10000))
    with Watch(board, interval=60) as watch:
        raspberry(tmp_path, throttled=0x90000, celsius=86)  # hot for a moment, and over again
    figures = watch.figures(1)
    assert figures["limits"] == ["soft temperature limit"]
    assert figures["celsius_most"] == 86


def test_a_hot_machine_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = raspberry(tmp_path, celsius=84)
    monkeypatch.setattr(boards, "_WAIT", 0.001)
    monkeypatch.setattr(boards.time, "sleep", lambda seconds: raspberry(tree, celsius=55))
    assert Board(tree).cooled(60) > 0
    assert Board(tree).cooled(60) == 0  # cool already
    monkeypatch.setattr(boards.time, "sleep", lambda seconds: None)
    raspberry(tree, celsius=84)
    assert Board(tree).cooled(60, most=0.01) >= 0.01  # gives up
    monkeypatch.undo()
    monkeypatch.setattr(Board, "cooled", lambda self, celsius: float(celsius))
    found = profiled(raspberry(tree, throttled=0x50000), monkeypatch, cool_below=70)
    assert found.rows[0]["throttled"] == 0  # only before the run, which does not count
    assert found.rows[0]["limits"] == []
    assert "Limits that have held since the machine started: undervoltage, throttled." in found.notes
    assert found.rows[0]["paused_s"] == 140  # before the latency, and before the process
    assert "140 s of pauses let the machine cool down" in found.notes[0]
    assert "--cool-below 70" in found.runs[0]["command"]


def test_without_vcgencmd_and_with_a_core_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = profiled(raspberry(tmp_path, vcgencmd=False, offline=(2,)), monkeypatch)
    row, facts = found.rows[0], found.runs[0]["board"]
    assert row["limits"] is row["throttled"] is row["watts"] is row["joules_per_run"] is None
    assert not facts["vcgencmd"]
    assert facts["offline"] == [2]
    assert facts["mhz"] == [2400, 2400, None, 2400]
    assert row["core_load"][2] is None
    assert found.notes[0] == "Cores that are offline: 2."
    assert "Neither vcgencmd nor the kernel says" in found.notes[2]


def test_a_clock_that_varies_is_named_and_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = profiled(raspberry(tmp_path), monkeypatch, models=2)
    assert found.table()[1]["speedup"]
    found.rows[1]["mhz_least"] = 1500.0
    assert found.table()[1]["speedup"] is None
    assert "the clock went between 1500 and 2400 MHz while it was measured" in " ".join(found.notes)


def test_what_makes_no_sense_is_left_out(tmp_path: Path) -> None:
    tree = raspberry(tmp_path, throttled=0x5, sysfs=True)
    flags = tree / "sys/devices/platform/soc/soc:firmware/get_throttled"
    for nonsense in ("garbage", "-1", "0x"):
        flags.write_text(nonsense)
        assert Board(tree).flags() == 5  # what vcgencmd says
    (tree / "usr/bin/get_throttled").write_bytes(b"\xda\xff\n")
    assert Board(tree).flags() is None
    assert Board(tree).facts()["limits_now"] is None


def test_clocks_of_a_pc(tmp_path: Path) -> None:
    tree = raspberry(tmp_path, offline=(1,))
    for file in tree.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"):
        file.unlink()
    assert Board(tree).clocks() == [None] * 4
    (tree / "proc/cpuinfo").write_text(
        "".join(f"processor: {i}\ncpu MHz\t\t: {2000 + i}.5\n" for i in (0, 2, 3))
    )
    assert Board(tree).clocks() == [2000.5, None, 2002.5, 2003.5]


def test_a_vcgencmd_that_fails(tmp_path: Path) -> None:
    tree = raspberry(tmp_path)
    for answer in ("usr/bin/get_throttled", "usr/bin/pmic_read_adc"):
        (tree / answer).unlink()
    assert Board(tree).flags() is Board(tree).watts() is None
    raspberry(tree)
    (tree / "usr/bin/get_throttled").write_text("VCHI initialization failed\n")
    assert Board(tree).flags() is None


def test_loads_are_of_the_time_in_between(tmp_path: Path) -> None:
    with Watch(Board(raspberry(tmp_path)), interval=60) as watch:
        text = "".join(f"cpu{i} {100 + i + 30 * i} 0 50 {900 - 30 * i} 50 0 0 0 0 0\n" for i in range(4))
        (tmp_path / "proc/stat").write_text(text)
    assert watch.figures(1)["core_load"] == [0, 30, 60, 90]


def test_this_machine_reports_what_it_has() -> None:
    with Watch(Board(Path("/"))) as watch:
        np.ones(1000).sum()
    figures = watch.figures(2)
    assert all(load is None or 0 <= load <= 100 for load in figures["core_load"])
    assert Board(Path("/")).facts()["system"]


def test_nothing_is_there(tmp_path: Path) -> None:
    with Watch(Board(tmp_path)) as watch:
        pass
    assert {name: value for name, value in watch.figures(1).items() if value} == {}
    assert not any(Board(tmp_path).facts().values())


def test_steps_lie_under_the_roofline() -> None:
    steps = [
        {"op": "convolution", "macs": 8_000_000, "bytes": 1_000, "best_us": 1000.0},
        {"op": "dense", "macs": 1_000, "bytes": 1_000_000, "best_us": 1000.0},
        {"op": "relu", "macs": 0, "bytes": 500_000, "best_us": 1000.0},
        {"op": "Relu", "best_us": 10.0},  # of a backend that counts nothing
    ]
    found = placed(steps, 2e9)
    assert [row["bound"] for row in found] == ["compute", "memory", "memory", None]
    assert [row["of_roof"] for row in found[:3]] == pytest.approx([1.0, 0.5, 0.25])
    assert found[0]["gmac_s"] == pytest.approx(8)
    assert bandwidth(2) > 0
