"""Photos with boxes: a folder of images, and beside it one of text files in YOLO's format."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFile, InvalidArgument
from .dataset import digest
from .images import GIBIBYTE, ImageDataset
from .listing import IMAGE_SUFFIXES, folder_of
from .preprocess import Layout, Letterbox, Preprocess, Size, describe, pillow, resolve
from .scene import Scene

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["CocoFolder", "holds_boxes"]

_FIELDS = 5  # class, middle of the box in x and y, its width and height


def holds_boxes(root: Path) -> bool:
    """Whether a folder is one of photos with boxes: it has images/ and labels/."""
    return (root / "images").is_dir() and (root / "labels").is_dir()


class CocoFolder(ImageDataset):
    """Photos with boxes: images/, labels/ with a text file for each photo, and classes.txt, as COCO is often kept.

    A line of labels/NAME.txt is one object of images/NAME.jpg: its class (0 …), the middle of its box in x and y, its
    width and height, the last four as shares 0..1 of the photo's width and height. A photo without such a file has no
    objects. A line of classes.txt is the name of a class; without that file there are as many classes as occur.

    Tensors are float32 [n, 3, height, width], or NHWC: the photos in a letterbox. `labels` are all 0.

    Args:
        dir: the folder.
        preprocess: "yolox" (BGR, 0..255, top left), "yolov8" (RGB, 0..1, centred), or a `Letterbox`.
        size: of the letterbox in pixels, one number or (height, width); default: the preset's (416, 640).
        batch_size: photos per batch.
        layout: "NCHW" or "NHWC".
        cache_bytes: memory that decoded photos may take, bytes.

    Raises InvalidArgument for a folder or an argument that does not fit; CorruptFile, naming file and line, for labels
    that are not as described, and on access for a photo that cannot be decoded.
    """

    task = "detect"

    def __init__(
        self,
        dir: str | os.PathLike[str],
        preprocess: Preprocess,
        size: Size = None,
        batch_size: int = 32,
        *,
        layout: Layout = "NCHW",
        cache_bytes: int = GIBIBYTE,
    ) -> None:
        root = folder_of("dir", dir)
        if not holds_boxes(root):
            raise InvalidArgument(f"{root}: expected folders images and labels in it")
        letterbox = resolve(preprocess, size)
        if not isinstance(letterbox, Letterbox):
            raise InvalidArgument(
                f"preprocess: boxes need a letterbox: expected 'yolox', 'yolov8' or a Letterbox, got {preprocess!r}"
            )
        self.root = root
        self.files = tuple(
            file.relative_to(root).as_posix()
            for file in sorted((root / "images").rglob("*"))
            if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "." and file.is_file()
        )
        if not self.files:
            raise InvalidArgument(
                f"{root / 'images'}: no image; expected a suffix of {' '.join(sorted(IMAGE_SUFFIXES))}"
            )
        names = _read_names(root / "classes.txt")
        limit = None if names is None else len(names)
        self._objects = [_read_objects(_label_file(root, file), limit) for file in self.files]
        most = max((int(rows[:, 0].max()) for rows in self._objects if len(rows)), default=0)
        super().__init__(
            root.resolve().name,
            np.zeros(len(self.files), np.int64),
            preprocess=letterbox,
            size=None,
            layout=layout,
            batch_size=batch_size,
            classes=most + 1 if names is None else len(names),
            class_names=names,
            cache_bytes=cache_bytes,
        )
        self._letterbox, self.family = letterbox, letterbox.name
        sizes = [(root / file).stat().st_size for file in self.files]
        self.fingerprint = digest(
            "boxes", self.files, sizes, *self._objects, self.classes, describe(letterbox), layout
        )

    def item_name(self, index: int) -> str:
        return str(self.root / self.files[index])

    def image(self, index: int) -> Image.Image:
        image: Image.Image
        with pillow().open(self.root / self.files[index]) as image:
            image.load()
        return image

    def scene(self, index: int) -> Scene:
        try:
            with pillow().open(self.root / self.files[index]) as image:
                width, height = image.size  # of the header: nothing is decoded
        except (OSError, ValueError, SyntaxError) as error:
            raise CorruptFile(f"{self.item_name(index)}: not a readable image: {error}") from error
        rows = self._objects[index]
        middle, sides = rows[:, 1:3], rows[:, 3:5]
        boxes = np.concatenate([middle - sides / 2, middle + sides / 2], axis=1)
        boxes *= np.array([width, height, width, height], np.float64)
        return Scene(width, height, boxes, rows[:, 0].astype(np.int64), self._letterbox.frame(width, height))


def _label_file(root: Path, image: str) -> Path:
    return (root / "labels" / Path(image).relative_to("images")).with_suffix(".txt")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptFile(f"{path}: not a text file in UTF-8: {error}") from error


def _read_names(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    names = [line.strip() for line in _read_text(path).splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise CorruptFile(f"{path}: no names; expected one class a line")
    return names


def _read_objects(path: Path, classes: int | None) -> NDArray[np.float64]:
    """float64 [objects, 5]: class, x, y, width, height."""
    rows = []
    if path.is_file():
        for number, line in enumerate(_read_text(path).splitlines(), 1):
            if line.strip():
                rows.append(_read_object(f"{path}: line {number}", line.split(), classes))
    return np.array(rows, np.float64).reshape(-1, _FIELDS)


def _read_object(where: str, fields: list[str], classes: int | None) -> list[float]:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = []
    if len(values) != _FIELDS or not all(math.isfinite(v) for v in values):
        raise CorruptFile(
            f"{where}: expected five numbers (class, x, y, width, height), found {' '.join(fields)[:80]!r}"
        )
    kind = values[0]
    if kind != int(kind) or kind < 0 or (classes is not None and kind >= classes):
        allowed = "0 or more" if classes is None else f"0..{classes - 1}"
        raise CorruptFile(f"{where}: class {fields[0]} is out of range; expected an integer {allowed}")
    if not all(0 <= v <= 1 for v in values[1:]):
        raise CorruptFile(f"{where}: box {' '.join(fields[1:])}: expected shares 0..1 of the photo's sides")
    return values
