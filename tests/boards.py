"""A simulated Raspberry Pi 5: the files of its /sys and /proc below a folder, and a vcgencmd that answers from files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PMIC_WATTS", "raspberry"]

_PMIC = """   3V3_SYS_A current(1)=0.20000000A
   VDD_CORE_A current(7)=1.50000000A
   3V3_SYS_V volt(9)=3.30000000V
   VDD_CORE_V volt(15)=0.80000000V
     EXT5V_V volt(24)=5.10000000V
"""
PMIC_WATTS = 0.2 * 3.3 + 1.5 * 0.8
_ANSWERS = """#!/bin/sh
cat "$(dirname "$0")/$1"
"""


def raspberry(
    root: Path,
    throttled: int = 0,
    celsius: float = 50.0,
    offline: tuple[int, ...] = (),
    vcgencmd: bool = True,
    sysfs: bool = False,
) -> Path:
    """A tree in `root` of a machine in that state; a second call changes the state."""
    files = {
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/stat": "cpu  9 0 9 9 0 0 0 0\n"
        + "".join(f"cpu{i} {100 + i} 0 50 800 50 0 0 0 0 0\n" for i in range(4) if i not in offline),
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": f"{round(1000 * celsius)}",
        "sys/devices/system/cpu/offline": ",".join(map(str, offline)),
    }
    for i in range(4):
        frequency = f"sys/devices/system/cpu/cpu{i}/cpufreq"
        files |= {f"{frequency}/scaling_cur_freq": "1500000" if throttled & 2 else "2400000"}
        files |= {f"{frequency}/scaling_max_freq": "2400000", f"{frequency}/scaling_governor": "ondemand"}
    if vcgencmd:
        files |= {"usr/bin/vcgencmd": _ANSWERS, "usr/bin/get_throttled": f"throttled={throttled:#x}\n"}
        files |= {"usr/bin/pmic_read_adc": _PMIC}
    if sysfs:
        files |= {"sys/devices/platform/soc/soc:firmware/get_throttled": f"{throttled:x}"}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if vcgencmd:
        (root / "usr/bin/vcgencmd").chmod(0o755)
    return root
