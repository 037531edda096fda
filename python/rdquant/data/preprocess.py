"""From a decoded image to a network's input tensor: presets, and any callable."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidArgument, count, described, needed
from .scene import Frame

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PRESETS", "Layout", "Letterbox", "Preprocess", "Preset", "describe", "pillow", "resolve"]

Layout: TypeAlias = Literal["NCHW", "NHWC"]
Size: TypeAlias = "int | tuple[int, int] | None"

_MODES = {"RGB": "RGB", "BGR": "RGB", "L": "L"}
_MAX_PIXELS = 2**27  # of a resized image: a strip one pixel high must not ask for gigabytes


@dataclass(frozen=True)
class Preset:
    """Resize, centre crop and scaling of one family of networks.

    The image is resized (with anti-aliasing, as Pillow does) so that it just covers `margin` times the
    crop: for a square crop, its short side becomes round(margin · crop). The centre is then cropped,
    offsets rounded as torchvision does. Every channel becomes (x − mean) / std with x in 0..255.

    Attributes:
        name: the preset's key in `PRESETS`.
        order: channels of the tensor: "RGB", "BGR" or "L" (grey).
        mean, std: one value per channel, in that order, on the scale 0..255.
        size: crop as (height, width) in pixels; None keeps the image's own size.
        margin: resized size over crop size, ≥ 1.
        interpolation: "bilinear" or "bicubic".
    """

    name: str
    order: Literal["RGB", "BGR", "L"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None
    margin: float
    interpolation: Literal["bilinear", "bicubic"]

    def with_size(self, size: Size) -> Preset:
        """The preset with crop `size`: pixels of a square, or (height, width); None changes nothing. Raises InvalidArgument for
        anything else.
        """
        if size is None:
            return self
        both = size if isinstance(size, (tuple, list)) else (size, size)
        if len(both) != 2:
            raise InvalidArgument(f"size: expected pixels, or (height, width), got {described(size)}")
        height, width = (count("size", side) for side in both)
        return replace(self, size=(height, width))

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 array [channels, height, width] of `image`, resized and cropped but not yet scaled."""
        image = _with_mode(image, _MODES[self.order])
        if self.size is not None:
            image = _cover_and_crop(image, self.size, self.margin, _filter(self.interpolation))
        pixels = np.atleast_3d(np.asarray(image, np.uint8))
        if self.order == "BGR":
            pixels = pixels[..., ::-1]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 array of the shape of `pixels` [n, channels, height, width]: (x − mean) / std."""
        mean, std = np.array([self.mean, self.std], np.float32)[:, :, np.newaxis, np.newaxis]
        tensor = np.empty(pixels.shape, np.float32)
        np.subtract(pixels, mean, out=tensor)
        tensor /= std
        return tensor

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """float32 tensor [channels, height, width] of `image`."""
        tensor: NDArray[np.float32] = self.scale(self.pixels(image)[np.newaxis])[0]
        return tensor


@dataclass(frozen=True)
class Letterbox(Preset):
    """Scales an image to fit the size without distortion and fills the rest with grey, as detectors expect.

    Attributes:
        name, order, mean, std, size, interpolation: as for `Preset`.
        margin: not used.
        centred: the image lies in the middle, its sides rounded (YOLOv8); else at the top left, its sides cut to whole
            pixels (YOLOX).
        grey: of what is around it, 0..255.
    """

    centred: bool = False
    grey: int = 114

    def frame(self, width: int, height: int) -> Frame:
        """Where an image of `width` × `height` pixels lies in the tensor."""
        scale, left, top, _ = self._place(width, height)
        return Frame(scale, left, top)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """uint8 array [channels, height, width] of `image`, letterboxed but not yet scaled."""
        image = _with_mode(image, _MODES[self.order])
        _, left, top, sides = self._place(image.width, image.height)
        height, width = self._size()
        if sides != image.size:
            image = image.resize(sides, _filter(self.interpolation))
        pixels = np.full((len(self.mean), height, width), self.grey, np.uint8)
        inner = np.atleast_3d(np.asarray(image, np.uint8)).transpose(2, 0, 1)
        pixels[:, top : top + image.height, left : left + image.width] = (
            inner[::-1] if self.order == "BGR" else inner
        )
        return pixels

    def _size(self) -> tuple[int, int]:
        if self.size is None:
            raise InvalidArgument(f"preprocess: letterbox {self.name!r} needs a size")
        return self.size

    def _place(self, image_width: int, image_height: int) -> tuple[float, int, int, tuple[int, int]]:
        """(scale, left, top, (width, height) of the resized image)."""
        height, width = self._size()
        scale = min(height / image_height, width / image_width)
        whole = round if self.centred else int
        across, down = (max(1, whole(side * scale)) for side in (image_width, image_height))
        if not self.centred:
            return scale, 0, 0, (across, down)
        return scale, (width - across) // 2, (height - down) // 2, (across, down)


Preprocess: TypeAlias = "str | Preset | Callable[[Image.Image], ArrayLike]"


def _preset(
    name: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    order: Literal["RGB", "BGR", "L"] = "RGB",
    size: int | None = 224,
    margin: float = 256 / 224,
    interpolation: Literal["bilinear", "bicubic"] = "bilinear",
) -> Preset:
    square = None if size is None else (size, size)
    return Preset(name, order, mean, std, square, margin, interpolation)


_IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
_IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
_ONES = (1.0, 1.0, 1.0)
_ZEROS = (0.0, 0.0, 0.0)

#: The presets by name. The first four crop 224 of a short side of 256 unless `size` says otherwise; the
#: others resize straight to their size, and "unit" and "raw" keep the images' own size unless one is given. The last two
#: put the whole image into a letterbox.
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        _preset("imagenet", _IMAGENET_MEAN, _IMAGENET_STD),
        _preset("caffe", (103.939, 116.779, 123.68), _ONES, order="BGR"),
        _preset("tf", (127.5,) * 3, (127.5,) * 3),
        _preset("efficientnet-lite", (127.0,) * 3, (128.0,) * 3, interpolation="bicubic"),
        _preset("cifar10", _IMAGENET_MEAN, _IMAGENET_STD, size=32, margin=1.0),
        _preset("unit", _ZEROS, (255.0,) * 3, size=None, margin=1.0),
        _preset("raw", _ZEROS, _ONES, size=None, margin=1.0),
        _preset("mnist", (0.0,), (1.0,), order="L", size=28, margin=1.0),
        Letterbox("yolox", "BGR", _ZEROS, _ONES, (416, 416), 1.0, "bilinear"),
        Letterbox("yolov8", "RGB", _ZEROS, (255.0,) * 3, (640, 640), 1.0, "bilinear", centred=True),
    )
}
"""Ways to make tensors of images, by the name that `preprocess` takes."""


def resolve(preprocess: Preprocess, size: Size = None) -> Preset | Callable[[Image.Image], ArrayLike]:
    """The preset named or given, with crop `size`; a callable stays as it is.

    Raises InvalidArgument for an unknown name, and for a size beside a callable, which decides its own.
    """
    if isinstance(preprocess, str):
        if preprocess not in PRESETS:
            raise InvalidArgument(
                f"preprocess: no preset {preprocess!r}; allowed: {', '.join(PRESETS)}, or a callable"
            )
        preprocess = PRESETS[preprocess]
    if isinstance(preprocess, Preset):
        return preprocess.with_size(size)
    if not callable(preprocess):
        raise InvalidArgument(f"preprocess: expected a preset or a callable, got {type(preprocess).__name__}")
    if size is not None:
        raise InvalidArgument(f"size: {size} given beside a callable, which decides the size itself")
    return preprocess


def describe(preprocess: Preset | Callable[[Image.Image], ArrayLike]) -> str:
    """Text that identifies `preprocess` across runs, for fingerprints.

    A callable is known by its module and name, and by its attribute `fingerprint` where it has one; two
    versions of one function differ in that attribute only.
    """
    if isinstance(preprocess, Preset):
        return repr(preprocess)
    named = preprocess
    while isinstance(named, partial):
        named = named.func
    owner = named if hasattr(named, "__qualname__") else type(named)
    arguments = _arguments(preprocess) if isinstance(preprocess, partial) else ""
    return f"{owner.__module__}.{owner.__qualname__}{arguments} {getattr(preprocess, 'fingerprint', '')}"


def _arguments(call: partial[ArrayLike]) -> str:
    text = f"{call.args}{sorted(call.keywords.items())}"
    return re.sub(r" at 0x[0-9a-f]+", "", text)  # addresses differ from run to run


def pillow() -> Any:
    """Pillow's module Image. Arrays need none of it: it loads when the first image is opened."""
    with needed():
        from PIL import Image
    return Image


def _filter(name: str) -> Image.Resampling:
    return pillow().Resampling[name.upper()]


def _with_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` as 8-bit RGB or L. Transparency is dropped; 16-bit grey keeps its upper 8 bits."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = np.asarray(image).astype(np.int64) >> 8
        image = pillow().fromarray(grey.clip(0, 255).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no agreed range; allowed: 8 and 16 bits")
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert(mode)


def _cover_and_crop(
    image: Image.Image, size: tuple[int, int], margin: float, resample: Image.Resampling
) -> Image.Image:
    height, width = size
    cover_height, cover_width = round(height * margin), round(width * margin)
    if image.width * cover_height >= image.height * cover_width:
        resized = (image.width * cover_height // image.height, cover_height)
    else:
        resized = (cover_width, image.height * cover_width // image.width)
    if resized[0] * resized[1] > _MAX_PIXELS:
        raise ValueError(
            f"{image.width} × {image.height} pixels are too long a strip to resize to {height} × {width}"
        )
    if resized != image.size:
        image = image.resize(resized, resample)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
