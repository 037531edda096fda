"""Photos with boxes: letterboxes, folders in the form of COCO, and what they make of bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import rdquant as rdq
from detectors import ANCHORS, SIZE, detector
from pictures import picture
from rdquant.data import PRESETS, Frame, Letterbox, open_dataset
from rdquant.errors import CorruptFile, InvalidArgument

# --- letterboxes -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["yolox", "yolov8"]), st.integers(1, 900), st.integers(1, 900), st.integers(0, 2**32 - 1)
)
def test_boxes_come_back_from_a_letterbox(name: str, width: int, height: int, seed: int) -> None:
    letterbox = PRESETS[name]
    assert isinstance(letterbox, Letterbox)
    frame = letterbox.frame(width, height)
    boxes = np.random.default_rng(seed).random((5, 4)) * [width, height, width, height]
    placed = frame.to_input(boxes)
    np.testing.assert_allclose(frame.to_photo(placed), boxes, atol=1e-6)
    assert letterbox.size is not None
    whole = frame.to_input(np.array([0.0, 0.0, width, height]))
    assert whole.min() >= 0
    assert whole[2] <= letterbox.size[1] + 1
    assert whole[3] <= letterbox.size[0] + 1
    assert max(whole[2] - whole[0], whole[3] - whole[1]) == pytest.approx(letterbox.size[0])


def test_yolox_letterbox_by_hand() -> None:
    image = Image.fromarray(np.full((10, 20, 3), (10, 20, 30), np.uint8))
    tensor = PRESETS["yolox"].with_size(40)(image)
    assert tensor.shape == (3, 40, 40)
    assert tensor.dtype == np.float32
    for channel, value in enumerate((30, 20, 10)):  # blue first
        assert (tensor[channel, :20] == value).all()
    assert (tensor[:, 20:] == 114).all()


def test_yolov8_letterbox_by_hand() -> None:
    image = Image.fromarray(np.full((10, 20, 3), (10, 20, 30), np.uint8))
    tensor = PRESETS["yolov8"].with_size(40)(image)
    for channel, value in enumerate((10, 20, 30)):
        np.testing.assert_allclose(tensor[channel, 10:30], value / 255, rtol=1e-6)
    np.testing.assert_allclose(tensor[:, :10], 114 / 255, rtol=1e-6)
    np.testing.assert_allclose(tensor[:, 30:], 114 / 255, rtol=1e-6)
    strip = PRESETS["yolov8"].with_size(32)(picture(0, 3000, 1))
    assert strip.shape == (3, 32, 32)


# --- folders ---------------------------------------------------------------------------------------


def test_a_folder_of_photos_with_boxes(photos: Path) -> None:
    data = rdq.CocoFolder(photos, "yolox", size=SIZE, batch_size=2)
    assert (len(data), data.classes, data.class_names, data.task) == (3, 3, ("cat", "dog", "car"), "detect")
    assert [x.shape for x, _ in data] == [(2, 3, 64, 96), (1, 3, 64, 96)]
    scene = data.scene(0)
    assert (scene.width, scene.height, scene.frame) == (96, 64, Frame(1.0, 0, 0))
    assert scene.boxes.tolist() == [[24, 16, 72, 48], [0, 0, 24, 32]]
    assert scene.classes.tolist() == [0, 2]
    assert data.scene(1).boxes.shape == (0, 4)
    part = data.take([2, 0]).held(1 << 20)
    assert part.task == "detect"
    assert part.scene(0).classes.tolist() == [1]
    assert part.scene(1).classes.tolist() == [0, 2]
    assert data.calibration(2).task == "detect"
    assert (data.get([2])[0] == data.take([2]).get([0])[0]).all()


def test_the_fingerprint_knows_boxes_and_letterbox(photos: Path) -> None:
    prints = {
        rdq.CocoFolder(photos, name, size).fingerprint for name in ("yolox", "yolov8") for size in (64, 96)
    }
    assert rdq.CocoFolder(photos, "yolox", 64).fingerprint in prints
    (photos / "labels" / "1.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    assert len(prints | {rdq.CocoFolder(photos, "yolox", 64).fingerprint}) == 5


def test_words_of_the_command_line_mean_photos_with_boxes(photos: Path) -> None:
    data = open_dataset(photos, "yolox", model=rdq.load(detector(np.zeros((1, ANCHORS, 8), np.float32))))
    assert isinstance(data, rdq.CocoFolder)
    assert data.get([0])[0].shape == (1, 3, *SIZE)
    with pytest.raises(InvalidArgument, match="name one: yolox or yolov8"):
        open_dataset(photos)
    with pytest.raises(InvalidArgument, match="takes no labels file"):
        open_dataset(photos, "yolox", labels="labels.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 0.5 0.5 0.5", "line 1: expected five numbers"),
        ("0 0.5 0.5 0.5 x", "line 1: expected five numbers"),
        ("0 0.5 0.5 0.5 nan", "line 1: expected five numbers"),
        (
            "0 0.1 0.1 0.1 0.1\n3 0.5 0.5 0.5 0.5",
            r"line 2: class 3 is out of range; expected an integer 0\.\.2",
        ),
        ("0.5 0.5 0.5 0.5 0.5", "line 1: class 0.5 is out of range"),
        ("-1 0.5 0.5 0.5 0.5", "line 1: class -1 is out of range"),
        ("0 0.5 0.5 1.5 0.5", "shares 0..1 of the photo's sides"),
    ],
)
def test_bad_boxes(photos: Path, text: str, message: str) -> None:
    (photos / "labels" / "1.txt").write_text(text)
    with pytest.raises(CorruptFile, match=message):
        rdq.CocoFolder(photos, "yolox")


def test_bad_folders(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="folders images and labels"):
        rdq.CocoFolder(tmp_path, "yolox")
    with pytest.raises(InvalidArgument, match="need a letterbox"):
        rdq.CocoFolder(photos, "imagenet")
    for path, content in ((photos / "classes.txt", b"\n"), (photos / "labels" / "1.txt", b"\xff\xfe0")):
        before = path.read_bytes() if path.exists() else b""
        path.write_bytes(content)
        with pytest.raises(CorruptFile, match=path.name):
            rdq.CocoFolder(photos, "yolox")
        path.write_bytes(before)
    (photos / "images" / "1.png").write_bytes(b"no image")
    data = rdq.CocoFolder(photos, "yolox")
    with pytest.raises(CorruptFile, match=r"1\.png"):
        data.scene(1)
    with pytest.raises(InvalidArgument, match="no boxes"):
        rdq.Digits().scene(0)
    for image in (photos / "images").iterdir():
        image.unlink()
    with pytest.raises(InvalidArgument, match="no image"):
        rdq.CocoFolder(photos, "yolox")
