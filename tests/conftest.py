"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

import models
import pictures

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that need minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs minutes; give --slow"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root; tests that read sources need one."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and images beside the repository."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no ../shared/data: the real models and images are not here")
    return path


@pytest.fixture(scope="session")
def cnn_bytes() -> bytes:
    """The serialised small CNN of tests/models.py."""
    return bytes(models.cnn().SerializeToString())


@pytest.fixture
def cnn_path(tmp_path: Path, cnn_bytes: bytes) -> Path:
    """The small CNN as a file in a folder of its own."""
    path = tmp_path / "cnn.onnx"
    path.write_bytes(cnn_bytes)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven PNG files 0.png … 6.png, 40 × 40, labels 0 1 2 0 1 2 0 in labels.csv."""
    root = tmp_path / "images"
    root.mkdir()
    for i in range(7):
        pictures.picture(i).save(root / f"{i}.png")
    pictures.write_csv(root, [f"{i}.png,{i % 3}" for i in range(7)])
    return root
