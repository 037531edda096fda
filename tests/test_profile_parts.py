"""What profiles are made of: inputs, turns and comparisons, meters of the machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import models
import rdquant as rdq
from rdquant.demo import digits_model
from rdquant.errors import InvalidArgument
from rdquant.profile import meters
from rdquant.profile.inputs import feeds_of, parse_shape
from rdquant.profile.timing import compared, interleaved, latency, speed_interval

# --- timing --------------------------------------------------------------------------------------


def test_quantiles_and_throughput() -> None:
    found = latency([0.001 * i for i in range(1, 102)], rows=2)
    assert found["p50_ms"] == pytest.approx(51)
    assert found["p90_ms"] == pytest.approx(91)
    assert found["p99_ms"] == pytest.approx(100)
    assert found["throughput"] == pytest.approx(2 / 0.051)


def test_the_interval_of_a_speed_holds_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):  # times as they are: a floor, and now and then something else that runs
        first, other = (1 + random.gamma(0.5, 0.2, 60) + 5 * (random.random(60) < 0.05) for _ in range(2))
        low, high = speed_interval(first, other / 3)  # type: ignore[arg-type]
        held += low <= 3 <= high
    assert held >= 0.95 * 400
    low, high = speed_interval(first, other / 3)  # type: ignore[arg-type]
    assert 1.5 < low < high < 6
    assert speed_interval([2.0], [1.0]) == (2.0, 2.0)


def test_models_take_turns() -> None:
    called: list[str] = []
    samples: dict[str, list[float]] = {"a": [], "b": []}
    interleaved({name: lambda name=name: called.append(name) for name in samples}, samples, 50, 1.0)  # type: ignore[misc]
    assert {name: len(values) for name, values in samples.items()} == {"a": 50, "b": 50}
    turns = [name for i, name in enumerate(called) if i == 0 or called[i - 1] != name]
    assert turns == ["a", "b", "a"]  # a, b; then b, a: the one that ends a round begins the next


def test_comparison_where_there_is_none() -> None:
    y = np.ones((2, 3), np.float32)
    assert compared({"y": y[:, :2]}, {"y": y}) == {
        "finite": True,
        "max_difference": None,
        "sqnr_db": None,
        "agreement": None,
    }
    assert compared({"y": y}, {"y": y})["agreement"] == 1
    assert compared({"y": y.reshape(2, 3, 1, 1)}, {"y": y.reshape(2, 3, 1, 1)})["agreement"] == 1
    boxes = np.ones((2, 4, 3), np.float32)  # as a detector's: there are no classes to be first
    assert compared({"y": boxes}, {"y": boxes})["agreement"] is None
    assert not compared({"y": y * np.inf}, {"y": y})["finite"]
    assert compared({"y": 0 * y}, {"y": 0 * y})["max_difference"] == 0


# --- inputs --------------------------------------------------------------------------------------


def test_noise_is_seeded_and_alike() -> None:
    inputs = rdq.load(digits_model()).inputs
    one, two, other = (feeds_of(inputs, 2, {}, None, seed)["image"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert one.shape == (2, 1, 8, 8)
    assert one.min() >= 0
    assert one.max() < 1


def test_open_sizes_must_be_given() -> None:
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    inputs = rdq.load(models.build([node], {}, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})).inputs
    with pytest.raises(InvalidArgument, match=r"shapes: input 'x' .* for example --shape x=1,3,224,224 "):
        feeds_of(inputs, 1, {}, None, 0)
    assert feeds_of(inputs, 2, {"x": (1, 3, 5, 6)}, None, 0)["x"].shape == (2, 3, 5, 6)
    for wrong in ((1, 3, 5), (1, 4, 5, 6)):
        with pytest.raises(InvalidArgument, match="shapes: 'x'"):
            feeds_of(inputs, 1, {"x": wrong}, None, 0)


def test_open_sizes_are_refused_before_the_bar(capfd: pytest.CaptureFixture[str]) -> None:
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    model = models.build([node], {}, {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})
    with pytest.raises(InvalidArgument, match=r"--shape x=1,3,224,224"):
        rdq.profile(model, progress=True)
    assert "part" not in capfd.readouterr().err


@pytest.mark.parametrize("text", ["x", "x=", "=1,2", "x=1,a", "x=1,0"])
def test_shapes_are_parsed(text: str) -> None:
    assert parse_shape("a=b=1,2") == ("a=b", (1, 2))
    with pytest.raises(InvalidArgument, match="expected NAME=SIZE"):
        parse_shape(text)


def test_images_are_fed() -> None:
    inputs = rdq.load(digits_model()).inputs
    data = rdq.Digits("test")
    fed = feeds_of(inputs, 3, {}, data, 0)["image"]
    np.testing.assert_array_equal(fed, data.get([0, 1, 2])[0])
    few = feeds_of(inputs, 3, {}, data.head(2), 0)["image"]
    np.testing.assert_array_equal(few, fed[[0, 1, 0]])
    with pytest.raises(InvalidArgument, match="one input, found 2"):
        feeds_of([*inputs, *inputs], 1, {}, data, 0)


# --- meters --------------------------------------------------------------------------------------


def write(root: Path, files: dict[str, object]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_sensors_are_read(tmp_path: Path) -> None:
    assert meters.temperature(tmp_path) is None
    assert meters.Throttling(tmp_path).events() is None
    assert meters.Energy(tmp_path).joules() is None
    zone = "class/thermal/thermal_zone"
    write(tmp_path, {f"{zone}0/type": "acpitz", f"{zone}0/temp": 80_000})
    assert meters.temperature(tmp_path) == 80
    write(tmp_path, {f"{zone}1/type": "x86_pkg_temp", f"{zone}1/temp": 45_500})
    assert meters.temperature(tmp_path) == 45.5  # the processor's, though it is not the hottest


def test_throttling_is_noticed(tmp_path: Path) -> None:
    cpu = "devices/system/cpu/cpu"
    write(tmp_path, {f"{cpu}{i}/thermal_throttle/core_throttle_count": 2 + i for i in range(2)})
    throttling = meters.Throttling(tmp_path)
    assert throttling.events() == 0
    write(tmp_path, {f"{cpu}1/thermal_throttle/core_throttle_count": 7})
    assert throttling.events() == 4


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [("0", "0", 0), ("50000", "50000", 0), ("50000", "50005", 1), ("0", "40000", 1)],
)
def test_firmware_flags(tmp_path: Path, before: str, after: str, events: int) -> None:
    flags = "devices/platform/soc/soc:firmware/get_throttled"
    write(tmp_path, {flags: before})
    throttling = meters.Throttling(tmp_path)
    write(tmp_path, {flags: after})
    assert throttling.events() == events


def test_energy_counters_wrap(tmp_path: Path) -> None:
    domain = "class/powercap/intel-rapl:0"
    write(tmp_path, {f"{domain}/energy_uj": 9_000_000, f"{domain}/max_energy_range_uj": 10_000_000})
    write(
        tmp_path, {"class/powercap/intel-rapl:0:0/energy_uj": 1}
    )  # a part of the package, not counted twice
    energy = meters.Energy(tmp_path)
    write(tmp_path, {f"{domain}/energy_uj": 9_500_000})
    assert energy.joules() == pytest.approx(0.5)
    write(tmp_path, {f"{domain}/energy_uj": 1_000_000})
    assert energy.joules() == pytest.approx(2)


def test_memory_is_sampled_while_the_block_runs() -> None:
    sizes = iter([1, *[5] * 100_000])
    with meters.MemorySampler(lambda: next(sizes), interval=0.001) as memory:
        pass
    assert memory.peak == 5
    assert 1 < memory.mean < 5
    own = meters.peak_rss()
    assert own is None or own > 10_000_000


def test_the_real_clock(tmp_path: Path) -> None:
    write(
        tmp_path / "devices/system/cpu/cpu0/cpufreq",
        {"scaling_max_freq": 2_400_000, "scaling_governor": "ondemand"},
    )
    found = meters.clock(0.02, tmp_path)
    assert found["max_mhz"] == 2400
    assert found["governor"] == "ondemand"
    assert 5 < found["spin_us"] < 5000
