"""Detectors: heads against plain loops, boxes that say the same, mAP, evaluation, confidences."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import rdquant as rdq
from detectors import ANCHORS, SIZE, detector, right_on_the_last
from rdquant.data import Frame, Scene
from rdquant.detection import Detections, Detector, decode, overlaps, recognise, suppress
from rdquant.errors import BackendUnavailable, InvalidArgument, Unsupported
from rdquant.metrics import coco_statistics, compare_confidences
from rdquant.report import plot_confidences

# --- heads -----------------------------------------------------------------------------------------


def yolox_by_loops(output: NDArray[np.float32], size: tuple[int, int]) -> tuple[list[Any], list[Any]]:
    """Boxes and confidences of one image, anchor by anchor."""
    boxes, confidences = [], []
    row = 0
    for stride in (8, 16, 32):
        for y in range(size[0] // stride):
            for x in range(size[1] // stride):
                a, b, w, h, sure, *classes = output[row].tolist()
                cx, cy = (a + x) * stride, (b + y) * stride
                w, h = math.exp(w) * stride, math.exp(h) * stride
                boxes.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                confidences.append([sure * c for c in classes])
                row += 1
    return boxes, confidences


def test_yolox_is_decoded_as_by_plain_loops() -> None:
    output = np.random.default_rng(0).random((2, ANCHORS, 5 + 3)).astype(np.float32)
    found = decode("yolox", output, SIZE)
    for i in range(2):
        boxes, confidences = yolox_by_loops(output[i], SIZE)
        np.testing.assert_allclose(found.boxes[i], boxes, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found.confidences[i], confidences, rtol=1e-6)


def test_yolov8_gives_middles_and_sides() -> None:
    output = np.random.default_rng(1).random((2, 4 + 3, ANCHORS)).astype(np.float32) * 50
    found = decode("yolov8", output, SIZE)
    for n in range(2):
        for a in range(ANCHORS):
            x, y, w, h = output[n, :4, a]
            np.testing.assert_allclose(
                found.boxes[n, a], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], atol=1e-4
            )
            assert (found.confidences[n, a] == output[n, 4:, a]).all()


def test_heads_are_found_by_their_shapes() -> None:
    assert recognise({"o": (1, ANCHORS, 8)}, SIZE) == ("o", "yolox")
    assert recognise({"features": (1, 5), "o": (1, 8, ANCHORS)}, SIZE) == ("o", "yolov8")
    assert recognise({"a": (1, ANCHORS, ANCHORS)}, SIZE, "yolov8") == ("a", "yolov8")
    with pytest.raises(InvalidArgument, match="name one"):
        recognise({"a": (1, ANCHORS, ANCHORS)}, SIZE)
    with pytest.raises(Unsupported, match=r"yolox \[n, 126, 5 \+ classes\].*found shapes o \[1, 1000\]"):
        recognise({"o": (1, 1000)}, SIZE)
    with pytest.raises(Unsupported, match="expected yolov8"):
        recognise({"o": (1, ANCHORS, 8)}, SIZE, "yolov8")
    for call in (lambda: recognise({}, SIZE, "ssd"), lambda: decode("ssd", np.zeros(3), SIZE)):
        with pytest.raises(InvalidArgument, match="expected one of 'yolox', 'yolov8'"):
            call()
    with pytest.raises(InvalidArgument, match="got float32 \\[1, 3, 8\\]"):
        decode("yolox", np.zeros((1, 3, 8), np.float32), SIZE)


# --- boxes -----------------------------------------------------------------------------------------


def test_overlaps_by_hand() -> None:
    boxes = [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]]
    found = overlaps(boxes[:1], boxes)
    np.testing.assert_allclose(found, [[1, 1 / 3, 0, 0]])
    assert overlaps(boxes[3:], boxes[3:]) == 0  # nothing in common with nothing
    with pytest.raises(InvalidArgument, match=r"others: expected numbers \[n, 4\]"):
        overlaps(boxes, [1, 2, 3])


def test_suppression_by_hand() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [0, 0, 10, 10], [1, 0, 11, 10]]
    classes = [0, 0, 0, 1, 0]
    confidences = [0.8, 0.9, 0.7, 0.1, 0.85]
    # 1 is the surest; it drops 0 (0.9 of it shared) and 4 (81/109 = 0.743); 3 is of another class.
    assert suppress(boxes, classes, confidences, 0.7).tolist() == [1, 2, 3]
    # 4 shares less than 0.8 with 1 and stays; it drops 0 (90/110 = 0.818).
    assert suppress(boxes, classes, confidences, 0.8).tolist() == [1, 4, 2, 3]
    assert suppress(boxes, classes, confidences, 1.0).tolist() == [1, 4, 0, 2, 3]
    assert suppress(boxes, classes, confidences, 0.7, most=2).tolist() == [1, 2]
    assert suppress(np.zeros((0, 4)), [], []).tolist() == []
    with pytest.raises(InvalidArgument, match="classes, confidences"):
        suppress(boxes, classes, [0.5])


@st.composite
def crowds(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    count = draw(st.integers(1, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 15, (count, 2))], axis=1)
    return boxes.astype(np.float64), rng.integers(0, 3, count), rng.integers(0, 8, count) / 8


@settings(max_examples=60, deadline=None)
@given(crowds(), st.sampled_from([0.0, 0.3, 0.65, 1.0]))
def test_suppression_keeps_what_no_surer_box_covers(crowd: Any, overlap: float) -> None:
    boxes, classes, confidences = crowd
    kept = suppress(boxes, classes, confidences, overlap)
    shared = overlaps(boxes, boxes)
    order = sorted(range(len(boxes)), key=lambda i: (-confidences[i], i))
    expected: list[int] = []
    for i in order:
        if all(classes[i] != classes[k] or shared[i, k] <= overlap for k in expected):
            expected.append(i)
    assert kept.tolist() == expected


def test_detections_are_the_most_likely_class_of_each_anchor() -> None:
    output = np.zeros((1, 4 + 3, ANCHORS), np.float32)
    output[0, :4, 5] = 20, 20, 8, 8
    output[0, 4:, 5] = 0.2, 0.7, 0.3
    output[0, :4, 9] = 50, 30, 10, 4
    output[0, 4:, 9] = 0.9, 0.1, 0.1
    output[0, :4, 11] = np.nan
    output[0, 4:, 11] = 1.0
    output[0, 4, 12] = np.nan
    (found,) = Detector(confidence=0.25).detect("yolov8", output, SIZE)
    assert found.classes.tolist() == [0, 1]
    np.testing.assert_allclose(found.confidences, [0.9, 0.7], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[45, 28, 55, 32], [16, 16, 24, 24]])
    assert len(Detector(confidence=0.25, most=1).detect("yolov8", output, SIZE)[0]) == 1
    for name, value in (("confidence", 1.5), ("overlap", -1), ("most", 0)):
        with pytest.raises(InvalidArgument, match=name):
            Detector(**{name: value})


def test_a_side_beyond_all_numbers_is_cut_to_the_photo() -> None:
    output = np.zeros((1, ANCHORS, 6), np.float32)
    output[0, 0] = [0, 0, 1000, 1000, 1, 1]
    (found,) = Detector().detect("yolox", output, SIZE)
    scene = Scene(50, 40, np.zeros((0, 4)), np.zeros(0, np.int64), Frame(1.0, 0, 0))
    assert found.on_photo(scene).boxes.tolist() == [[0, 0, 50, 40]]


# --- mAP -------------------------------------------------------------------------------------------


def scenes(count: int = 4) -> list[Scene]:
    """Photos of 400 × 300 with three objects each, of two classes."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        corner = rng.integers(0, 150, (3, 2))
        boxes = np.concatenate([corner, corner + rng.integers(20, 150, (3, 2))], axis=1)
        found.append(Scene(400, 300, boxes.astype(np.float64), np.array([0, 1, 0]), Frame(1.0, 0, 0)))
    return found


def seen(scene: Scene, shift: float = 0.0) -> Detections:
    return Detections(scene.boxes + shift, scene.classes, np.array([0.9, 0.8, 0.7]))


NOTHING = Detections(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


def test_perfect_and_empty_detections() -> None:
    photos = scenes()
    best = coco_statistics(photos, [seen(s) for s in photos], 2)
    assert [best[name] for name in ("map50", "map", "mar100")] == pytest.approx([1, 1, 1])
    worst = coco_statistics(photos, [NOTHING] * 4, 2)
    assert worst["map50"] == worst["map"] == worst["mar100"] == 0
    large = Scene(400, 300, np.array([[0.0, 0, 100, 100]]), np.array([0]), Frame(1.0, 0, 0))
    assert math.isnan(coco_statistics([large], [NOTHING], 1)["map_small"])


def test_half_of_the_photos_seen_is_half_of_the_recall() -> None:
    photos = scenes()
    found = coco_statistics(photos, [seen(s) if i < 2 else NOTHING for i, s in enumerate(photos)], 2)
    assert found["mar100"] == pytest.approx(0.5)
    assert found["map50"] == pytest.approx(51 / 101)  # precision 1 at recalls 0, 0.01 … 0.50
    apart = coco_statistics(photos, [seen(s, 1000) for s in photos], 2)
    assert apart["map50"] == 0


def test_boxes_that_are_a_little_off_count_at_low_overlaps_only() -> None:
    scene = Scene(400, 300, np.array([[0.0, 0, 100, 100]]), np.array([0]), Frame(1.0, 0, 0))
    off = Detections(np.array([[0.0, 0, 100, 72]]), np.array([0]), np.array([0.5]))  # overlap 0.72
    found = coco_statistics([scene], [off], 1)
    assert found["map50"] == pytest.approx(1)
    assert found["map75"] == 0
    assert found["map"] == pytest.approx(0.5)  # 0.50, 0.55, 0.60, 0.65 and 0.70 of ten


def test_classes_beyond_the_data_are_named() -> None:
    scene = scenes(1)[0]
    with pytest.raises(InvalidArgument, match=r"classes 0\.\.1; the data have 0\.\.0"):
        coco_statistics([scene], [seen(scene)], 1)


def test_without_the_evaluator(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    model = detector(np.zeros((1, ANCHORS, 8), np.float32))
    with pytest.raises(BackendUnavailable, match=r"extra 'detection': pip install '\.\[detection\]'"):
        rdq.evaluate(model, rdq.CocoFolder(photos, "yolox", SIZE))


# --- evaluate --------------------------------------------------------------------------------------


def test_a_detector_is_evaluated(photos: Path) -> None:
    data = rdq.CocoFolder(photos, "yolox", SIZE)
    model = detector(right_on_the_last())
    found = rdq.evaluate(model, data)
    assert set(found) == {"images", "predictions", "map50", "map"}
    assert found["images"] == 3
    (box,) = found["predictions"][0].boxes
    np.testing.assert_allclose(box, [0, 0, 96, 64], atol=1e-4)
    # Three classes occur; the only detections are of class 1: right on photo 2, wrong on two with equal confidence.
    assert found["map50"] == pytest.approx(1 / 9, abs=1e-6)
    last = rdq.evaluate(model, data.take([2]), metrics="map", detector="yolox")
    assert last["map"] == pytest.approx(1)
    assert rdq.evaluate(model, data.take([2]), metrics="map", detector=Detector(confidence=0.95))["map"] == 0


def test_photos_for_detectors_of_another_family_and_nan_are_said(photos: Path) -> None:
    broken = right_on_the_last()
    broken[0, 3, 2] = np.nan
    for data in (other := rdq.CocoFolder(photos, "yolov8", SIZE), other.head(2)):
        with pytest.warns(
            UserWarning, match="prepared as for yolov8, but the network's outputs are those of yolox"
        ):
            rdq.evaluate(detector(right_on_the_last()), data)
    with pytest.warns(UserWarning, match="outputs for 3 of 3 photos hold NaN"):
        rdq.evaluate(detector(broken), rdq.CocoFolder(photos, "yolox", SIZE))


def test_evaluate_says_what_does_not_fit(photos: Path) -> None:
    data = rdq.CocoFolder(photos, "yolox", SIZE)
    model = detector(right_on_the_last())
    with pytest.raises(InvalidArgument, match="no metric 'top1' for photos with boxes; allowed: map50"):
        rdq.evaluate(model, data, metrics="top1")
    with pytest.raises(InvalidArgument, match="no metric 'map' for labelled images; allowed: top1"):
        rdq.evaluate(model, rdq.Digits(), metrics="map")
    with pytest.raises(InvalidArgument, match="no boxes to detect"):
        rdq.evaluate(model, rdq.Digits(), detector="yolox")
    with pytest.raises(Unsupported, match="expected yolov8"):
        rdq.evaluate(model, data, detector="yolov8")
    with pytest.raises(InvalidArgument, match="no 'p' among o"):
        rdq.evaluate(model, data, output="p")
    with pytest.raises(InvalidArgument, match="images get that from preprocess, size and layout"):
        rdq.evaluate(model, rdq.CocoFolder(photos, "yolox", 32))


def test_confidences_side_by_side(photos: Path, tmp_path: Path) -> None:
    data = rdq.CocoFolder(photos, "yolox", SIZE)
    models = {"float": detector(right_on_the_last()), "nothing": detector(0 * right_on_the_last())}
    found = compare_confidences(models, data, bins=3)
    np.testing.assert_allclose(found.edges, [0.25, 0.5, 0.75, 1.0])
    assert found.counts["float"].tolist() == [0, 0, 3]
    assert found.counts["nothing"].tolist() == [0, 0, 0]
    assert found.mean["float"] == pytest.approx(0.9)
    assert math.isnan(found.mean["nothing"])
    assert found.rows()[2] == {"network": "float", "low": 0.75, "high": 1.0, "count": 3}
    figure = plot_confidences(found, tmp_path / "confidences.png")
    assert (tmp_path / "confidences.png").stat().st_size > 1000
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "float, 3 detections, mean 0.900",
        "nothing, no detections",
    ]
    with pytest.raises(InvalidArgument, match="models: expected at least one"):
        compare_confidences({}, data)


# --- a real detector -------------------------------------------------------------------------------


@pytest.mark.slow
def test_yolox_nano_sees_what_it_should(shared_data: Path) -> None:
    data = rdq.CocoFolder(shared_data / "images" / "coco-val2017", "yolox")
    found = rdq.evaluate(shared_data / "models" / "yolox_nano.onnx", data)
    assert found["map50"] == pytest.approx(0.4966, abs=0.002)  # as the data's description has it: 49.6
    assert found["map"] == pytest.approx(0.3388, abs=0.002)


def test_yolox_nano_sees_a_few_photos_alike_on_both_engines(shared_data: Path) -> None:
    data = rdq.CocoFolder(shared_data / "images" / "coco-val2017", "yolox").take([0, 3])
    model = rdq.load(shared_data / "models" / "yolox_nano.onnx")
    ours, theirs = (rdq.evaluate(model, data, backend)["predictions"] for backend in ("auto", "onnxruntime"))
    for one, other in zip(ours, theirs, strict=True):
        sure = one.confidences > 0.3
        assert sure.any()
        assert one.classes[sure].tolist() == other.classes[: sure.sum()].tolist()
        np.testing.assert_allclose(one.boxes[sure], other.boxes[: sure.sum()], atol=0.05)
