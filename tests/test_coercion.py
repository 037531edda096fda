"""What a model argument and a data argument may be, the same in every function that takes one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import rdquant as rdq
from classifier import classifier
from rdquant import InvalidArgument, MissingFile
from rdquant.data import input_geometry, preset_for


@pytest.fixture
def models(tmp_path: Path) -> list[Any]:
    """One model in every form that a model argument takes."""
    path = tmp_path / "m.onnx"
    classifier().save(path)
    return [classifier(), path, str(path), path.read_bytes(), onnx.load(path)]


def test_models_come_in_every_form(models: list[Any], tmp_path: Path) -> None:
    data, out = rdq.Digits("test").head(40), tmp_path / "m.rdq"
    quantizer = rdq.Midtread(0.1)
    for model in models:
        assert rdq.load(model).fingerprint == classifier().fingerprint
        assert rdq.fit(model, "laplace").moments[""].count == rdq.moments(model).count
        assert rdq.rate(model, quantizer) == rdq.rate(classifier().weights(), quantizer)
        assert rdq.float_entropy(model) == rdq.float_entropy(classifier().weights())
        assert len(rdq.stats.dependence(model)) > 0
        assert rdq.Session(model).run({"x": data.get([0])[0]})["y"].shape == (1, 10)
        assert rdq.evaluate(model, data)["images"] == 40
        assert rdq.compress(model, out, bits=6).bytes == out.stat().st_size
        assert rdq.compress_to_size(model, out, bits_per_weight=6).bits_per_weight <= 6
        assert rdq.quantize_dynamic(model).report.images == 0


def test_data_come_in_every_form(tmp_path: Path) -> None:
    x, y = rdq.Digits("test").get(np.arange(599))
    np.savez(tmp_path / "d.npz", x=x, y=y)
    model = classifier()
    wanted = rdq.evaluate(model, rdq.Digits("test"))["top1"]
    for data in (
        "digits",
        rdq.Digits("test"),
        tmp_path / "d.npz",
        str(tmp_path / "d.npz"),
        (x, y),
        (x.tolist(), y),
    ):
        assert rdq.evaluate(model, data)["top1"] == wanted
        assert len(rdq.open_dataset(data)) == 599
    calls = [
        lambda data: rdq.quantize_dynamic(model, calibration=data).report.images,
        lambda data: rdq.quantize_static(model, data, rounding="nearest", equalize=0).report.images,
    ]
    for data in ("digits", x, (x, y), rdq.Digits("test")):
        assert [call(data) for call in calls] == [128, 128]
    result = rdq.compress_within(model, tmp_path / "m.rdq", (x, y), max_kl=0.5, images=30, trellis=0)
    assert result.measured is not None


def test_arrays_have_no_labels() -> None:
    x = rdq.Digits("test").get(np.arange(5))[0]
    with pytest.raises(InvalidArgument, match=r"data: labels are needed here, .* pair \(x, y\)"):
        rdq.evaluate(classifier(), x)
    assert not rdq.open_dataset(x, labelled=False).labels.any()


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("squeezenet1.1-7.int8", "imagenet"),
        ("mobilenet_v1_0.75", "tf"),
        ("mobilenetv2-12", "imagenet"),
        ("efficientnet_lite0", "efficientnet-lite"),
        ("efficientnet-lite4-11", "efficientnet-lite"),
        ("cifar10_resnet20", "cifar10"),
        ("mnist-8", "mnist"),
        ("yolox_nano", "yolox"),
        ("yolov8n", "yolov8"),
        ("bvlcalexnet-12", "caffe"),
        ("mine", None),
        ("", None),
    ],
)
def test_names_of_models_tell_presets(name: str, preset: str | None) -> None:
    assert preset_for(name) == preset


def test_known_models_get_their_preset_and_others_a_warning(tmp_path: Path) -> None:
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    Image.new("RGB", (40, 40), (10, 200, 30)).save(tmp_path / "photos" / "cat" / "1.png")
    model = classifier()
    for name, preset in (("mobilenet_v1", "tf"), ("mine", None)):
        model.save(tmp_path / f"{name}.onnx")
        named = rdq.load(tmp_path / f"{name}.onnx")
        if preset is None:
            with pytest.warns(UserWarning, match="'imagenet' is assumed.*allowed are imagenet, caffe, tf"):
                found = rdq.open_dataset(tmp_path / "photos", model=named)
        else:
            found = rdq.open_dataset(tmp_path / "photos", model=named)
        wanted = rdq.ImageFolder(tmp_path / "photos", preset or "imagenet", 8)
        np.testing.assert_array_equal(found.get([0])[0], wanted.get([0])[0])


def test_a_number_takes_no_images() -> None:
    data = rdq.Digits("test")
    for number in (16, np.int64(16)):
        with pytest.raises(InvalidArgument, match=r"indices: expected a list of integers, got 16; head\(n\)"):
            data.take(number)
    np.testing.assert_array_equal(data.head(16).labels, data.labels[:16])
    assert len(data.spread(16)) == 16
    assert list(data.spread(599).labels) == list(data.labels)
    with pytest.raises(InvalidArgument, match=r"n: expected an integer 1\.\.599, got 600"):
        data.head(600)
    assert repr(data.head(16)) == "<rdquant.Dataset digits-test: 16 items, 10 classes>"


def test_missing_files_and_addresses() -> None:
    for call in (
        lambda path: rdq.load(path),
        lambda path: rdq.Session(path),
        lambda path: rdq.decompress(path),
        lambda path: rdq.CompressedFile(path),
        lambda path: rdq.open_dataset(path),
        lambda path: rdq.ImageFolder(path),
        lambda path: rdq.fit(path),
    ):
        with pytest.raises(FileNotFoundError) as missing:
            call("nowhere/m.onnx")
        assert isinstance(missing.value, MissingFile | InvalidArgument)
        assert "nowhere" in str(missing.value)
        with pytest.raises(
            InvalidArgument, match=r"got the address 'https://example.org/m.onnx'; download it"
        ):
            call("https://example.org/m.onnx")
    for opened in (rdq.Study.open, rdq.Profile.open):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            opened("nowhere")
    with pytest.raises(InvalidArgument, match="source: expected a path, bytes or an open binary file, got 7"):
        rdq.decompress(7)  # type: ignore[arg-type]
    assert rdq.decompress(io.BytesIO(_packed())).fingerprint == classifier().fingerprint


def _packed() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rdq.compress(classifier(), Path(folder) / "m.rdq")
        return (Path(folder) / "m.rdq").read_bytes()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("N", 3, 224, 224), ("NCHW", (224, 224))),
        ((1, 96, 128, 3), ("NHWC", (96, 128))),
        (("N", 3, "H", "W"), ("NCHW", None)),
        (("N", None, None, 3), ("NHWC", None)),
        ((1, 1, 28, 28), ("NCHW", (28, 28))),
        ((1, 3, 3, 3), ("NCHW", (3, 3))),
        (("N", 784), ("NCHW", None)),
    ],
)
def test_input_geometry(shape, expected):
    assert input_geometry(shape) == expected
