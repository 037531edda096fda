"""The preset that fits a network, found on labelled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from PIL import Image
from typer.testing import CliRunner

import models
import rdquant as rdq
from rdquant.cli import app
from rdquant.data import PRESETS, Digits

SHADES = np.array([60.0, 110.0, 160.0, 210.0])


def network(preset: str, channels: int = 3) -> rdq.Model:
    """The nearest of four shades, as `preset` has them."""
    chosen = PRESETS[preset]
    mean, std = np.array(chosen.mean), np.array(chosen.std)
    centres = (SHADES[:, None] - mean) / std
    spread = np.square(centres[1:] - centres[:-1]).mean()
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    tensors = {
        "w": (8 * centres / spread).astype(np.float32),
        "b": (-4 * np.square(centres).sum(axis=1) / spread).astype(np.float32),
    }
    return rdq.load(models.build(nodes, tensors, {"x": ["N", channels, 16, 16]}, {"y": ["N", 4]}))


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """Four classes of ten images of their shade."""
    random = np.random.default_rng(0)
    for label, shade in enumerate(SHADES):
        for i in range(10):
            place = tmp_path / "shades" / f"{label}" / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.normal(shade + random.normal(0, 8), 4, (16, 16, 3)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    return tmp_path / "shades"


@pytest.mark.parametrize("preset", ["imagenet", "tf", "caffe", "unit"])
def test_the_preset_that_a_network_was_made_for_is_found(shades: Path, preset: str) -> None:
    found = rdq.best_preprocess(network(preset), shades, images=20, threads=1)
    alike = {"tf": "efficientnet-lite", "imagenet": "cifar10"}  # another crop, or half a shade beside
    assert found.name in (preset, alike.get(preset))
    assert found.images == 20
    table = found.to_pandas()
    assert list(table["preprocess"]) == list(found.log_loss)
    assert table["log_loss"].is_monotonic_increasing
    assert set(table["preprocess"]) == {n for n, p in PRESETS.items() if p.order != "L"} - {"yolox", "yolov8"}
    assert repr(found).startswith(f"<rdquant.BestPreset {found.name}, on 20 images: ")
    assert "<table" in found._repr_html_()


def test_arrays_and_grey_networks_are_tried_too() -> None:
    labels = np.arange(20) % 4
    pixels = np.broadcast_to(SHADES[labels].astype(np.uint8)[:, None, None], (20, 16, 16))
    found = rdq.best_preprocess(network("mnist", 1), (pixels, labels))
    assert list(found.log_loss) == ["mnist"]
    assert found.top1 == {"mnist": 1.0}


def test_what_has_no_preprocessing_to_find_is_refused(shades: Path, photos: Path) -> None:
    model = network("tf")
    with pytest.raises(rdq.InvalidArgument, match="data: expected images without preprocessing"):
        rdq.best_preprocess(model, Digits("test"))
    with pytest.raises(rdq.InvalidArgument, match="photos with boxes"):
        rdq.best_preprocess(model, photos)
    (shades / "labels.csv").write_text("file,label\n", encoding="utf-8")
    with pytest.raises(rdq.RdquantError, match=r"labels\.csv"):
        rdq.best_preprocess(model, shades)


def test_the_command_line_finds_it_when_told_auto(shades: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    network("caffe").save(path)
    words = ["run", str(path), "--data", str(shades), "--metrics", "top1", "--json"]
    found = CliRunner().invoke(app, [*words, "--preprocess", "auto"])
    assert found.exit_code == 0, found.output
    assert "--preprocess caffe: log loss and top-1 on 40 images" in " ".join(found.stderr.split())
    assert '"top1": 1.0' in found.stdout
    unasked = CliRunner().invoke(app, words)
    assert "'imagenet' is assumed" in " ".join(unasked.stderr.split())


@pytest.mark.parametrize(
    ("net", "wanted"),
    [
        ("squeezenet1.1-7", {"imagenet"}),
        ("mobilenet_v1_0.75", {"tf", "efficientnet-lite"}),
        ("efficientnet_lite0", {"tf", "efficientnet-lite"}),
    ],
)
def test_known_networks_get_theirs(shared_data: Path, net: str, wanted: set[str]) -> None:
    model = shared_data / "models" / f"{net}.onnx"
    found = rdq.best_preprocess(model, shared_data / "images" / "imagenet-sample", images=64)
    assert found.name in wanted
