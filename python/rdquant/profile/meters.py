"""What a process and its machine can be asked while a network runs: memory, energy, temperature, throttling, clock."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["Energy", "MemorySampler", "Throttling", "clock", "peak_rss", "rss", "temperature"]

_SYS = Path("/sys")
_BLOCK = bytes(1 << 16)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CPU_SENSORS = ("cpu", "pkg", "core", "soc", "k10temp")


def clock(seconds: float = 0.2, sys: Path = _SYS) -> dict[str, Any]:
    """How fast the processor's clock goes.

    Keys: spin_us, the least time in microseconds, of many in `seconds`, that one thread needs for the SHA-256 of
    65,536 zero bytes: a chain of dependent instructions that needs no memory, so that one undisturbed pass among
    thousands is enough on a busy machine; max_mhz and governor, as cpufreq says them, None where it is not readable.
    """
    end = time.perf_counter() + seconds
    least = float("inf")
    while time.perf_counter() < end:
        start = time.perf_counter()
        hashlib.sha256(_BLOCK).digest()
        least = min(least, time.perf_counter() - start)
    frequency = sys / "devices/system/cpu/cpu0/cpufreq"
    khz = _number(frequency / "scaling_max_freq")
    return {
        "spin_us": 1e6 * least,
        "max_mhz": None if khz is None else khz / 1000,
        "governor": _text(frequency / "scaling_governor"),
    }


def temperature(sys: Path = _SYS) -> float | None:
    """Degrees Celsius of the hottest sensor of the processor, of all sensors where none says that it is one; None
    without any."""
    found: list[tuple[bool, float]] = []
    for zone in sorted((sys / "class/thermal").glob("thermal_zone*")):
        found += _reading(_text(zone / "type"), zone / "temp")
    for chip in sorted((sys / "class/hwmon").glob("hwmon*")):
        for sensor in sorted(chip.glob("temp*_input")):
            found += _reading(_text(chip / "name"), sensor)
    own = [degrees for is_cpu, degrees in found if is_cpu] or [degrees for _, degrees in found]
    return max(own, default=None)


class Throttling:
    """Whether the processor is slowed down, for its heat or for want of power, from the making of this object on."""

    def __init__(self, sys: Path = _SYS) -> None:
        self._sys = sys
        self._counts = self._counted()
        self._flags = self._firmware()

    def events(self) -> int | None:
        """How often since then, summed over the cores' counters; from a Raspberry Pi's firmware 1 where it is slowed down
        now or has been since, else 0; None where neither can be read.
        """
        flags = self._firmware()
        if flags is not None and self._flags is not None:
            now, since = flags & 0xF, (flags & ~self._flags) >> 16
            return int(bool(now or since))
        counts = self._counted()
        if counts is None or self._counts is None:
            return None
        return counts - self._counts

    def _counted(self) -> int | None:
        files = (self._sys / "devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_count")
        counts = [count for file in sorted(files) if (count := _number(file)) is not None]
        return int(sum(counts)) if counts else None

    def _firmware(self) -> int | None:
        """Bits 0 to 3: what holds now; 16 to 19: what has held since the machine started."""
        text = _text(self._sys / "devices/platform/soc/soc:firmware/get_throttled")
        try:
            return None if text is None else int(text, 16)
        except ValueError:
            return None


class Energy:
    """Joules that the processor's packages take, by the counters of RAPL, from the making of this object on."""

    def __init__(self, sys: Path = _SYS) -> None:
        self._before = {
            domain: count
            for domain in sorted((sys / "class/powercap").glob("intel-rapl:[0-9]*"))
            if domain.name.count(":") == 1 and (count := _number(domain / "energy_uj")) is not None
        }

    def joules(self) -> float | None:
        """Since then; None where no counter can be read. A counter may have begun anew once."""
        total = 0.0
        for domain, before in self._before.items():
            now = _number(domain / "energy_uj")
            if now is None:
                return None
            around = (_number(domain / "max_energy_range_uj") or 0.0) if now < before else 0.0
            total += now - before + around
        return total / 1e6 if self._before else None


class Periodic:
    """Calls `look` every `interval` seconds, in a thread of its own, from `start` to `stop`."""

    def __init__(self, look: Callable[[], None], interval: float) -> None:
        self._look, self._interval = look, interval
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the last call has."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._interval):
            self._look()


class MemorySampler:
    """Samples `rss()` in a thread of its own, every `interval` seconds, while the block runs."""

    def __init__(self, rss: Callable[[], int], interval: float = 0.005) -> None:
        self._rss = rss
        self._samples: list[int] = []
        self._looks = Periodic(self._sample, interval)

    def __enter__(self) -> MemorySampler:
        self._sample()
        self._looks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._looks.stop()
        self._sample()

    @property
    def mean(self) -> float:
        """Bytes."""
        return sum(self._samples) / len(self._samples)

    @property
    def peak(self) -> int:
        """Bytes."""
        return max(self._samples)

    def _sample(self) -> None:
        self._samples.append(self._rss())


def rss() -> int:
    """The resident set of this process, bytes; where the system does not say it, the largest that it has had."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        import resource

        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_rss(status: Path = Path("/proc/self/status")) -> int | None:
    """The largest resident set that this process has had, bytes; None where the system does not tell."""
    for line in (_text(status) or "").splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return None


def _reading(name: str | None, file: Path) -> list[tuple[bool, float]]:
    """(whether it is of the processor, degrees) of a sensor in thousandths of a degree; none where it cannot be read."""
    millidegrees = _number(file)
    if millidegrees is None or not 0 < millidegrees < 200_000:
        return []
    return [(any(word in (name or "").lower() for word in _CPU_SENSORS), millidegrees / 1000)]


def _number(file: Path) -> float | None:
    text = _text(file)
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
