"""What a Linux machine reports about itself: clocks, loads, heat, power and limits, from sysfs, procfs and vcgencmd.

All of it is read below one folder, so that tests put a simulated machine there. What a machine does not report is None.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from .meters import Energy, Periodic, temperature

__all__ = ["LIMITS", "Board", "Watch", "limits_of"]

ROOT = Path("/")
LIMITS = ("undervoltage", "clock capped", "throttled", "soft temperature limit")
"""Bits 0 to 3 of a Raspberry Pi's get_throttled: what holds now; bits 16 to 19: what has held since the machine started."""

_VCGENCMD = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")
_FIRMWARE = "devices/platform/*/*firmware/get_throttled"
_RAIL = re.compile(r"^\s*(\w+)_([AV])\s+\w+\(\d+\)=([0-9.]+)[AV]", re.MULTILINE)
_FLAGS = re.compile(r"(0x)?[0-9a-fA-F]{1,8}")
_CLOCK = re.compile(r"^cpu MHz\s*: ([0-9.]+)", re.MULTILINE)
_WAIT = 1.0  # seconds between looks at a machine that cools down


class Board:
    """The machine below `root`."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = ROOT if root is None else root
        self.sys = self.root / "sys"
        self._cpus = self.sys / "devices/system/cpu"

    def facts(self) -> dict[str, Any]:
        """For a report: model (of the board), system (name of the distribution), governor, mhz (now, a core; None for one
        that is offline), offline (cores), celsius, limits_now and limits_since_boot (of `LIMITS`; None where the firmware says
        nothing), vcgencmd (whether it is there).
        """
        flags = self.flags()
        return {
            "model": (self._text("proc/device-tree/model") or "").strip("\0 ") or None,
            "system": self._system(),
            "governor": self._text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            "mhz": self.clocks(),
            "offline": self.offline(),
            "celsius": temperature(self.sys),
            "limits_now": None if flags is None else limits_of(flags),
            "limits_since_boot": None if flags is None else limits_of(flags >> 16),
            "vcgencmd": self._tool() is not None,
        }

    def clocks(self) -> list[float | None]:
        """Megahertz of each core now, of cpufreq or, where that says nothing, /proc/cpuinfo, which lists cores online."""
        found: list[float | None] = []
        for core in range(self._cores()):
            khz = self._text(f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")
            offline = core in self.offline()
            found.append(int(khz) / 1000 if khz and khz.isdigit() and not offline else None)
        if any(clock is not None for clock in found):
            return found
        listed = iter(_CLOCK.findall(self._text("proc/cpuinfo") or ""))
        return [
            None if core in self.offline() or (clock := next(listed, None)) is None else float(clock)
            for core in range(len(found))
        ]

    def offline(self) -> list[int]:
        """Cores that are switched off."""
        return _listed(self._text("sys/devices/system/cpu/offline"))

    def busy(self) -> dict[int, tuple[int, int]]:
        """Ticks of each core that is online since the start: (busy, all)."""
        found = {}
        for line in (self._text("proc/stat") or "").splitlines():
            name, *ticks = line.split()
            if re.fullmatch(r"cpu\d+", name):
                counts = [int(tick) for tick in ticks[:8]]
                found[int(name[3:])] = sum(counts) - sum(counts[3:5]), sum(counts)
        return found

    def flags(self) -> int | None:
        """get_throttled, of sysfs or vcgencmd."""
        files = sorted(self.sys.glob(_FIRMWARE))
        text = (_read(files[0]) if files else None) or ""
        if not _FLAGS.fullmatch(text):
            text = (self._asked("get_throttled") or "").partition("=")[2].strip()
        return int(text, 16) if _FLAGS.fullmatch(text) else None

    def watts(self) -> float | None:
        """Power over all rails of the power controller (Raspberry Pi 5), their voltages times their currents."""
        rails: dict[str, dict[str, float]] = {}
        for name, kind, value in _RAIL.findall(self._asked("pmic_read_adc") or ""):
            rails.setdefault(name, {})[kind] = float(value)
        powers = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
        return sum(powers) if powers else None

    def cooled(self, celsius: float, most: float = 300.0) -> float:
        """Wait until the machine is cooler than `celsius`, at most `most` seconds; the seconds waited."""
        start = time.perf_counter()
        while (now := temperature(self.sys)) is not None and now >= celsius:
            if time.perf_counter() - start >= most:
                break
            time.sleep(_WAIT)
        waited = time.perf_counter() - start
        return waited if waited >= _WAIT else 0.0

    def _cores(self) -> int:
        return max([*self.busy(), *self.offline(), -1]) + 1

    def _system(self) -> str | None:
        found = re.search(r'^PRETTY_NAME="?([^"\n]*)', self._text("etc/os-release") or "", re.MULTILINE)
        return found[1] if found else None

    def _tool(self) -> Path | None:
        return next((self.root / tool for tool in _VCGENCMD if (self.root / tool).is_file()), None)

    def _asked(self, *words: str) -> str | None:
        """vcgencmd's answer; None where it is missing, fails or hangs."""
        tool = self._tool()
        if tool is None:
            return None
        import subprocess  # where there is something to call: it would count as time to start

        try:
            run = subprocess.run([str(tool), *words], capture_output=True, timeout=2, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return run.stdout.decode(errors="replace")

    def _text(self, name: str) -> str | None:
        return _read(self.root / name)


class Watch:
    """Looks at the machine in a thread of its own, every `interval` seconds, while the block runs."""

    def __init__(self, board: Board, interval: float = 0.2) -> None:
        self._board = board
        self._looks = Periodic(self._look, interval)
        self._watts: list[float] = []
        self._celsius: list[float] = []
        self._mhz: list[float] = []
        self._now = 0
        self._loads: list[float | None] = []

    def __enter__(self) -> Watch:
        self._energy, self._start = Energy(self._board.sys), time.perf_counter()
        self._before, self._flags = self._board.busy(), self._board.flags()
        self._look()
        self._looks.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._looks.stop()
        self._joules, self._seconds = self._energy.joules(), time.perf_counter() - self._start
        self._look()
        after = self._board.busy()
        for core in range(max([*self._before, *after, -1]) + 1):
            busy, every = (
                after[core][i] - self._before[core][i] if core in after and core in self._before else 0
                for i in (0, 1)
            )
            self._loads.append(100 * busy / every if every > 0 else None)

    def figures(self, runs: int) -> dict[str, Any]:
        """core_load (per cent, a list), mhz_least and mhz_most (of all cores and looks), celsius_most, watts (mean; of the
        power controller), joules_per_run and energy_of (what it was taken from: "processor (RAPL)" or "board (PMIC)"),
        limits (of `LIMITS`, that held or came up meanwhile; None where the firmware says nothing).
        """
        watts = sum(self._watts) / len(self._watts) if self._watts else None
        joules, source = self._joules, "processor (RAPL)"
        if joules is None and watts is not None:
            joules, source = watts * self._seconds, "board (PMIC)"
        return {
            "core_load": self._loads,
            "mhz_least": min(self._mhz, default=None),
            "mhz_most": max(self._mhz, default=None),
            "celsius_most": max(self._celsius, default=None),
            "watts": watts,
            "joules_per_run": None if joules is None else joules / runs,
            "energy_of": None if joules is None else source,
            "limits": None if self._flags is None else limits_of(self._now),
        }

    def _look(self) -> None:
        flags, watts, celsius = self._board.flags(), self._board.watts(), temperature(self._board.sys)
        if flags is not None and self._flags is not None:
            self._now |= (flags & 0xF) | ((flags & ~self._flags) >> 16 & 0xF)
        self._watts += [] if watts is None else [watts]
        self._celsius += [] if celsius is None else [celsius]
        self._mhz += [mhz for mhz in self._board.clocks() if mhz is not None]


def limits_of(bits: int) -> list[str]:
    """Names of the limits whose bits, 0 to 3, are set."""
    return [name for i, name in enumerate(LIMITS) if bits >> i & 1]


def _listed(text: str | None) -> list[int]:
    """Numbers of a list as the kernel writes it: "0-1,3"."""
    found: list[int] = []
    for part in (text or "").split(","):
        ends: Sequence[str] = part.split("-")
        if all(end.strip().isdigit() for end in ends):
            found += range(int(ends[0]), int(ends[-1]) + 1)
    return found


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
