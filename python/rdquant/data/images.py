"""Datasets of images: decoded and resized once, by two threads ahead of the caller, then kept in memory."""

from __future__ import annotations

import os
import struct
import threading
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of
from ..errors import CorruptFile, InvalidArgument, described, flag, one_of, path_of
from ..errors import count as whole
from .checks import check_finite
from .dataset import Dataset, Indices, Tensor, digest
from .listing import folder_of, list_classes, list_csv, list_loose
from .preprocess import Layout, Preprocess, Preset, Size, describe, pillow, resolve

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["GIBIBYTE", "ImageArray", "ImageDataset", "ImageFolder"]

_DECODERS = 2
GIBIBYTE = 1 << 30


class _Cache:
    """Arrays by index, up to a number of bytes; what no longer fits is not kept. A pickled copy is empty."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._arrays: dict[int, NDArray[Any]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[_Cache], tuple[int]]:
        return _Cache, (self._limit,)

    def get(self, index: int) -> NDArray[Any] | None:
        return self._arrays.get(index)

    def put(self, index: int, array: NDArray[Any]) -> None:
        with self._lock:
            if index not in self._arrays and self._bytes + array.nbytes <= self._limit:
                self._arrays[index] = array
                self._bytes += array.nbytes


class ImageDataset(Dataset):
    """Images behind a preset or a callable; a subclass says where image `index` comes from.

    Under a preset the cache holds 8-bit pixels after resize and crop, a quarter of the tensors' size.
    """

    _finite = True  # 8-bit pixels under a preset; what a callable makes of an image is checked

    def __init__(
        self,
        name: str,
        labels: ArrayLike,
        *,
        preprocess: Preprocess,
        size: Size,
        layout: Layout,
        batch_size: int,
        classes: int | None,
        class_names: Sequence[str] | None,
        cache_bytes: int,
    ) -> None:
        super().__init__(name, labels, classes, batch_size, class_names)
        one_of("layout", layout, ("NCHW", "NHWC"))
        whole("cache_bytes", cache_bytes, 0)
        self.preprocess = resolve(preprocess, size)
        self.layout = layout
        self._cache = _Cache(cache_bytes)

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Image `index` as stored, decoded, before preprocessing."""

    def stream(self, chunks: Iterable[Indices]) -> Iterator[Tensor]:
        pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="rdquant-decode")
        ahead: deque[tuple[Indices, list[NDArray[Any] | Future[NDArray[Any]]]]] = deque()
        try:
            for chunk in chunks:
                ahead.append((chunk, [self._request(pool, int(index)) for index in chunk]))
                if len(ahead) > 1:
                    yield self._finish(*ahead.popleft())
            while ahead:
                yield self._finish(*ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _request(self, pool: ThreadPoolExecutor, index: int) -> NDArray[Any] | Future[NDArray[Any]]:
        cached = self._cache.get(index)
        return cached if cached is not None else pool.submit(self._prepare, index)

    def _prepare(self, index: int) -> NDArray[Any]:
        try:
            image = self.image(index)
            # A callable's own errors are the caller's to see; a preset fails only on what the image holds.
            array = self.preprocess.pixels(image) if isinstance(self.preprocess, Preset) else None
        except _decode_errors() as error:
            raise CorruptFile(f"{self.item_name(index)}: not a readable image: {error}") from error
        if array is None:
            array = self._called(index, image)
        self._cache.put(index, array)
        return array

    def _called(self, index: int, image: Image.Image) -> NDArray[Any]:
        assert not isinstance(self.preprocess, Preset)
        array = np.asarray(self.preprocess(image))
        if array.ndim != 3 or array.dtype.kind not in "fiub":
            raise InvalidArgument(
                f"preprocess: expected real numbers [channels, height, width], got {array.dtype} "
                f"{list(array.shape)} for {self.item_name(index)}"
            )
        tensor = array.astype(np.float32)
        check_finite(tensor[np.newaxis], f"preprocess: what it makes of {self.item_name(index)}")
        return tensor

    def _finish(self, chunk: Indices, pending: list[NDArray[Any] | Future[NDArray[Any]]]) -> Tensor:
        arrays = [part.result() if isinstance(part, Future) else part for part in pending]
        for index, array in zip(chunk, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise InvalidArgument(
                    f"{self.name}: {self.item_name(int(chunk[0]))} gives {list(arrays[0].shape)} but "
                    f"{self.item_name(int(index))} gives {list(array.shape)}; set size= to make them equal"
                )
        batch = np.stack(arrays)
        tensor: Tensor = self.preprocess.scale(batch) if isinstance(self.preprocess, Preset) else batch
        return np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)) if self.layout == "NHWC" else tensor


def _class_names(classes: Any) -> list[str] | None:
    """The names where `classes` are names; None for a number, and for nothing."""
    if classes is None:
        return None
    if isinstance(classes, (tuple, list)):
        if not classes or not all(isinstance(name, str) for name in classes):
            raise InvalidArgument(f"classes: expected names of classes, got {described(classes)}")
        return list(classes)
    whole("classes", classes)
    return None


class ImageFolder(ImageDataset):
    """Labelled images of a folder: with a file labels.csv (header file,label), or one folder per class.

    With labels.csv, labels are its integers; with folders, the position of the folder's name among the sorted
    names (`class_names`). Images are read with Pillow, converted to RGB (grey repeated, transparency dropped,
    16-bit grey cut to 8), EXIF orientation ignored. Tensors are float32 [n, 3, height, width], or NHWC.

    The fingerprint knows a file by its name and size, not by its content.

    Args:
        dir: the folder.
        preprocess: a name in `PRESETS`, a `Preset`, or a callable PIL.Image → real numbers [channels,
            height, width].
        size: crop in pixels, one number or (height, width); default: the preset's.
        batch_size: images per batch.
        labels: CSV file to use instead of labels.csv in the folder; its files are relative to the folder
            all the same.
        layout: "NCHW" or "NHWC".
        classes: number of classes, or, for one folder per class, their names in label order; default: what
            is found.
        cache_bytes: memory that decoded images may take, bytes.
        labelled: False takes images that lie in the folder itself, too, where it has neither labels.csv nor
            folders: all of class 0, for what looks at no labels (calibration).

    Raises InvalidArgument for a folder or an argument that does not fit, CorruptFile for a bad labels.csv
    and, on access, for an image that cannot be decoded.
    """

    def __init__(
        self,
        dir: str | os.PathLike[str],
        preprocess: Preprocess = "imagenet",
        size: Size = None,
        batch_size: int = 32,
        labels: str | os.PathLike[str] | None = None,
        *,
        layout: Layout = "NCHW",
        classes: int | Sequence[str] | None = None,
        cache_bytes: int = GIBIBYTE,
        labelled: bool = True,
    ) -> None:
        root = folder_of("dir", dir)
        named = _class_names(classes)
        count = len(named) if named is not None else classes if classes is None else int(classes)  # type: ignore[arg-type]
        labelled = flag("labelled", labelled)
        table = path_of("labels", labels) if labels is not None else root / "labels.csv"
        if labels is not None or table.is_file():
            listing = list_csv(root, table, count)
        elif not labelled and not any(entry.is_dir() for entry in root.iterdir()):
            listing = list_loose(root)
        else:
            listing = list_classes(root, named)
            count = max(count or 0, len(listing.class_names or ()))
        names = listing.class_names if named is None else named
        super().__init__(
            root.resolve().name,
            listing.labels,
            preprocess=preprocess,
            size=size,
            layout=layout,
            batch_size=batch_size,
            classes=count,
            class_names=names,
            cache_bytes=cache_bytes,
        )
        self.root = root
        self.files = tuple(listing.files)
        sizes = [(root / file).stat().st_size for file in self.files]
        self.fingerprint = digest(
            "folder", self.files, sizes, self.labels, self.classes, describe(self.preprocess), layout
        )

    def item_name(self, index: int) -> str:
        return str(self.root / self.files[index])

    def image(self, index: int) -> Image.Image:
        image: Image.Image
        with pillow().open(self.root / self.files[index]) as image:
            image.load()
        return image


def _decode_errors() -> tuple[type[Exception], ...]:
    return (OSError, SyntaxError, ValueError, EOFError, struct.error, pillow().DecompressionBombError)


class ImageArray(ImageDataset):
    """Labelled 8-bit images in memory, preprocessed as files would be.

    Args:
        x: uint8 [n, height, width, 3] (RGB) or [n, height, width] (grey), n ≥ 1; not copied.
        y: integers [n], the labels.
        preprocess, size, batch_size, layout, classes, cache_bytes: as for `ImageFolder`.
        class_names: names of the classes.
        name: for tables.

    Raises InvalidArgument where shapes, dtypes or labels do not fit.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        preprocess: Preprocess = "imagenet",
        size: Size = None,
        batch_size: int = 32,
        *,
        layout: Layout = "NCHW",
        classes: int | None = None,
        class_names: Sequence[str] | None = None,
        cache_bytes: int = GIBIBYTE,
        name: str = "images",
    ) -> None:
        pixels = array_of(x, "x")
        if pixels.dtype != np.uint8 or not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
            raise InvalidArgument(
                f"{name}: presets and callables take uint8 [n, height, width, 3] or [n, height, width], got "
                f"{pixels.dtype} {list(pixels.shape)}; arrays ready for the network go without preprocess"
            )
        super().__init__(
            name,
            y,
            preprocess=preprocess,
            size=size,
            layout=layout,
            batch_size=batch_size,
            classes=classes,
            class_names=class_names,
            cache_bytes=cache_bytes,
        )
        if len(pixels) != len(self):
            raise InvalidArgument(f"{name}: {len(pixels)} images but {len(self)} labels")
        self._x = pixels
        self.fingerprint = digest(
            "images", pixels, self.labels, self.classes, describe(self.preprocess), layout
        )

    def image(self, index: int) -> Image.Image:
        return pillow().fromarray(self._x[index])
