"""Every instruction set gives the same levels; `RDQUANT_ISA` forces one."""

from __future__ import annotations

import os
import subprocess
import sys

from rdquant._core import cpu_names

PROBE = """
import hashlib, numpy as np, rdquant as rdq
from rdquant._core import cpu
x = np.random.default_rng(0).laplace(size=100_003).astype(np.float32) * 0.3
x[::97] = 0
digest = hashlib.sha256()
quantizers = [rdq.Deadzone(s, d) for s in (2 / 256, 0.0123, 3e-7, 1.7) for d in (0, 0.1, 0.5, 0.7)]
quantizers += [rdq.MuLaw(255, 8), rdq.MuLaw(3, 14, 0.5), rdq.Minifloat(8, 4, 3), rdq.Minifloat(4, 0, 3)]
for q in quantizers:
    levels = q.quantize(x)
    digest.update(levels.tobytes() + q.dequantize(levels).tobytes())
grid = rdq.Midtread(0.125).dequantize(np.arange(-1000, 1000))  # every one a tie or next to it
for q in quantizers:
    digest.update(q.quantize(grid).tobytes())
print(cpu(), digest.hexdigest())
"""


def test_every_instruction_set_gives_the_same_levels() -> None:
    printed = {}
    for name in cpu_names():
        run = subprocess.run(
            [sys.executable, "-c", PROBE],
            env={**os.environ, "RDQUANT_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        )
        used, printed[name] = run.stdout.split()
        assert used == name or (name == "avx512vnni" and used.startswith("avx512+vnni"))
    assert len(set(printed.values())) == 1, printed


def test_a_forced_instruction_set_that_is_not_there_is_an_error() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "RDQUANT_ISA": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "this processor offers " + ", ".join(cpu_names()) in run.stderr
    assert "allowed are baseline, avx2, avx512, avx512vnni" in run.stderr
