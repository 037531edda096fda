"""rdquant.data: what presets and callables make of images, bad ones included."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pictures import half, picture, write_csv
from rdquant.data import (
    PRESETS,
    ImageFolder,
    open_dataset,
)
from rdquant.errors import CorruptFile, InvalidArgument

# --- presets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("imagenet", [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]),
        ("cifar10", [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]),
        ("caffe", [50 - 103.939, 100 - 116.779, 200 - 123.68]),
        ("tf", [200 / 127.5 - 1, 100 / 127.5 - 1, 50 / 127.5 - 1]),
        ("efficientnet-lite", [73 / 128, -27 / 128, -77 / 128]),
        ("unit", [200 / 255, 100 / 255, 50 / 255]),
        ("raw", [200, 100, 50]),
        ("mnist", [(200 * 299 + 100 * 587 + 50 * 114) / 1000]),
    ],
)
def test_preset_values(preset, expected):
    """A plain colour stays plain through resize and crop, so that only order and scale show."""
    tensor = PRESETS[preset](Image.new("RGB", (300, 260), (200, 100, 50)))
    size = PRESETS[preset].size or (260, 300)
    assert tensor.shape == (len(expected), *size)
    assert tensor.dtype == np.float32
    tolerance = 0.51 if preset == "mnist" else 1e-5  # Pillow rounds grey to whole numbers
    np.testing.assert_allclose(tensor.mean(axis=(1, 2)), expected, atol=tolerance, rtol=1e-6)
    assert np.ptp(tensor, axis=(1, 2)).max() < 1e-6


def test_every_preset_is_tested():
    assert set(PRESETS) == {
        "imagenet", "caffe", "tf", "efficientnet-lite", "cifar10", "unit", "raw", "mnist",
        "yolox", "yolov8",  # by tests/test_photos.py
    }  # fmt: skip


def test_crop_is_the_centre_of_the_resized_short_side():
    image = picture(0, 300, 400)
    expected = image.resize((256, 341), Image.Resampling.BILINEAR).crop((16, 58, 240, 282))
    tensor = PRESETS["imagenet"](image)
    assert (PRESETS["imagenet"].pixels(image) == np.asarray(expected).transpose(2, 0, 1)).all()
    assert tensor.shape == (3, 224, 224)


def test_without_margin_the_size_of_the_image_is_kept():
    image = picture(1, 32, 32)
    assert (PRESETS["cifar10"].pixels(image) == np.asarray(image).transpose(2, 0, 1)).all()


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 90)] * 4, st.sampled_from(["imagenet", "unit"]))
def test_any_image_fills_any_crop(width, height, crop_height, crop_width, preset):
    """No border is invented: white stays white."""
    image = Image.new("RGB", (width, height), (255, 255, 255))
    pixels = PRESETS[preset].with_size((crop_height, crop_width)).pixels(image)
    assert pixels.shape == (3, crop_height, crop_width)
    assert (pixels == 255).all()


# --- images ----------------------------------------------------------------------------------------


def spoil(content: bytes, how: str) -> bytes:
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "text": b"this is no image",
        "header only": content[:40],
    }[how]


@pytest.mark.filterwarnings("ignore:.*(EXIF|Truncated|tag).*:UserWarning")
@pytest.mark.parametrize("how", ["empty", "cut", "text", "header only"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "tif"])
def test_corrupt_image_is_named(folder, how, suffix):
    name = f"bad.{suffix}"
    picture(9).save(folder / name)
    (folder / name).write_bytes(spoil((folder / name).read_bytes(), how))
    write_csv(folder, ["0.png,0", f"{name},1"])
    data = ImageFolder(folder, size=32)
    with pytest.raises(CorruptFile, match=rf"bad\.{suffix}: not a readable image"):
        list(data)
    assert data.get([0])[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_modes_become_rgb(tmp_path, mode):
    """A grey of 120 (257 · 120 in 16 bits) comes out as grey whatever the mode."""
    grey = Image.new("L", (20, 20), 120)
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), 120 * 257, np.uint16))
    elif mode == "P":
        image = grey.convert("RGB").quantize(2)
    else:
        image = grey.convert("RGB").convert(mode)
    suffix = {"CMYK": "jpg", "YCbCr": "jpg"}.get(mode, "png")
    image.save(tmp_path / f"image.{suffix}")
    write_csv(tmp_path, [f"image.{suffix},0"])
    x, _ = ImageFolder(tmp_path, "raw").get([0])
    assert x.shape == (1, 3, 20, 20)
    if mode != "1":
        np.testing.assert_allclose(x, 120, atol=2)


def test_transparent_palette_raises_no_warning(tmp_path):
    image = picture(0).quantize(8)
    image.save(tmp_path / "image.png", transparency=b"\0\x80\xff")
    write_csv(tmp_path, ["image.png,0"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(tmp_path, "raw").get([0])


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "image.tif")
    write_csv(tmp_path, ["image.tif,0"])
    with pytest.raises(CorruptFile, match=r"image\.tif.*mode F"):
        ImageFolder(tmp_path, "raw").get([0])


def test_long_strip_is_refused(tmp_path):
    Image.new("L", (60000, 1)).save(tmp_path / "strip.png")
    write_csv(tmp_path, ["strip.png,0"])
    with pytest.raises(CorruptFile, match=r"strip\.png.*too long a strip"):
        ImageFolder(tmp_path, size=2000).get([0])


def test_mixed_sizes(folder):
    picture(9, 30, 40).save(folder / "0.png")
    with pytest.raises(InvalidArgument, match=r"0\.png gives \[3, 40, 30\].*1\.png gives \[3, 40, 40\]"):
        next(iter(ImageFolder(folder, "raw")))
    assert next(iter(ImageFolder(folder, "raw", size=24)))[0].shape == (7, 3, 24, 24)


def test_callable(folder):
    data = ImageFolder(folder, half)
    x, _ = data.get([2])
    assert x.dtype == np.float32
    assert (x[0] == np.asarray(picture(2), np.float32).transpose(2, 0, 1) / 2).all()
    quarter = functools.partial(half, factor=0.25)
    assert (ImageFolder(folder, quarter).get([2])[0] == x / 2).all()
    assert len({ImageFolder(folder, f).fingerprint for f in (half, quarter, functools.partial(half))}) == 3
    assert ImageFolder(folder, half).fingerprint == data.fingerprint
    with pytest.raises(InvalidArgument, match=r"float32 \[40, 40\].*0\.png"):
        ImageFolder(folder, lambda image: np.zeros((40, 40), np.float32)).get([0])
    with pytest.raises(ZeroDivisionError):
        ImageFolder(folder, lambda image: 1 / 0).get([0])


def test_loose_images_do_for_what_looks_at_no_labels(folder):
    (folder / "labels.csv").unlink()
    (folder / "notes.txt").write_text("no image")
    for found in (ImageFolder(folder, labelled=False), open_dataset(folder, "imagenet", labelled=False)):
        assert found.files == tuple(f"{i}.png" for i in range(7))
        assert not found.labels.any()
    (folder / "cats").mkdir()
    with pytest.raises(InvalidArgument, match="no image"):
        ImageFolder(folder, labelled=False)
    (folder / "cats").rmdir()
    for i in range(7):
        (folder / f"{i}.png").unlink()
    with pytest.raises(InvalidArgument, match="no image; expected a suffix"):
        ImageFolder(folder, labelled=False)
