"""What type checkers see of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

USER = """
import rdquant as rdq

study: rdq.Study = rdq.sweep("m.onnx", "digits")
study = rdq.sweep.Study.open("study")
text: str = rdq.sweep.QUANTIZERS
profile: rdq.Profile = rdq.profile("m.onnx")
profile = rdq.profile.Profile.open("profile")
bits: float = rdq.entropy([1, 2]) + rdq.entropy.reduction(3.0)
rdq.sweep("m.onnx")
rdq.sweep("m.onnx", "digits", bit=4)
rdq.profile.nothing
"""


def test_modules_that_are_called_have_types(tmp_path: Path) -> None:
    """As functions and as modules; the last three lines are wrong."""
    api = pytest.importorskip("mypy.api", reason="no mypy here: pip install 'rdquant[dev]'")
    (tmp_path / "user.py").write_text(USER)
    options = [
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(tmp_path),
        "--no-error-summary",
    ]
    said, errors, _ = api.run([*options, str(tmp_path / "user.py")])
    wrong = [line.split("user.py:")[1].split(":")[0] for line in said.splitlines() if "user.py:" in line]
    assert wrong == ["10", "11", "12"], said + errors
