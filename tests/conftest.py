"""Fixtures that all tests share."""

from __future__ import annotations

import signal
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import models
import pictures

if TYPE_CHECKING:
    from rdquant.sweep import Study

ROOT = Path(__file__).resolve().parents[1]

# A shell that starts something in the background lets it ignore Ctrl-C, which tests send to processes of theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that need minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs minutes; give --slow"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that the package carries, in a folder of its own."""
    path = tmp_path_factory.mktemp("model") / "digits.onnx"
    path.write_bytes((files("rdquant") / "assets" / "digits.onnx").read_bytes())
    return path


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


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of 96 × 64: two objects, none (without a file of labels), one."""
    root = tmp_path / "coco"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for i in range(3):
        pictures.picture(i, 96, 64).save(root / "images" / f"{i}.png")
    (root / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5\n\n2 0.125 0.25 0.25 0.5\n")
    (root / "labels" / "2.txt").write_text("1 0.5 0.5 1 1\n")
    (root / "classes.txt").write_text("cat\ndog\ncar\n\n")
    return root


@pytest.fixture(scope="session")
def squeezenet(shared_data: Path) -> dict[str, np.ndarray]:
    """SqueezeNet 1.1's weights and biases by name, read without rdquant; nobody writes to them."""
    import onnx
    from onnx import numpy_helper

    initializers = onnx.load(shared_data / "models" / "squeezenet1.1-7.onnx").graph.initializer
    arrays = {i.name: numpy_helper.to_array(i) for i in initializers}
    return {name: a for name, a in arrays.items() if a.dtype.kind == "f"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A made-up study of a model with four layers, two of which have hostile names."""
    import synthetic_study
    from rdquant.sweep import Study

    results = tmp_path_factory.mktemp("study")
    return Study.open(synthetic_study.write_study(results, layers=4, rename=synthetic_study.HOSTILE))


@pytest.fixture(scope="module")
def page(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That study's report.html, in a new folder."""
    from rdquant.report import write_report

    return write_report(study, tmp_path_factory.mktemp("report") / "new" / "folder")
