"""Views of photos: parts of them, enlarged and mirrored, as more images of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, digest

__all__ = ["Views", "enlarged", "has_photos"]

_LEAST_AREA = 0.4  # of a photo that a view shows
_MOST_NARROW = 0.8  # height over width of a view, over the photo's; or the other way round
_LEAST_SIDE = 64  # pixels of a photo; in smaller pictures every pixel counts


def has_photos(data: Dataset) -> bool:
    """Whether tensors of a data set are photos: [n, 3, height, width], not too small."""
    shape = data.get(0)[0].shape[1:]
    return len(shape) == 3 and shape[0] == 3 and min(shape[1:]) >= _LEAST_SIDE


class Views(Dataset):
    """A data set of photos, and behind them as many views: of each a part of at least 40 % of its area, as large as the
    whole, half of them mirrored. They depend on `seed` and the position of the photo only.
    """

    def __init__(self, whole: Dataset, seed: int = 0) -> None:
        labels = np.concatenate([whole.labels, whole.labels])
        super().__init__(whole.name, labels, whole.classes, whole.batch_size, whole.class_names)
        self._whole, self._seed, self._finite = whole, seed, whole._finite
        self.fingerprint = digest("views", whole.fingerprint, seed)

    def stream(self, chunks: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        photos, todo = len(self._whole), list(chunks)
        for chunk, tensor in zip(todo, self._whole.stream(c % photos for c in todo), strict=True):
            if chunk.max() < photos:
                yield tensor
                continue
            out = tensor.copy()
            for k in np.flatnonzero(chunk >= photos):
                out[k] = _view(tensor[k], np.random.default_rng([self._seed, int(chunk[k])]))
            yield out

    def item_name(self, index: int) -> str:
        photos = len(self._whole)
        name = self._whole.item_name(index % photos)
        return name if index < photos else f"a view of {name}"


def _view(photo: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    high, wide = photo.shape[1:]
    area = random.uniform(_LEAST_AREA, 1.0)
    narrow = np.exp(random.uniform(np.log(_MOST_NARROW), -np.log(_MOST_NARROW)))
    height = min(1.0, float(np.sqrt(area * narrow))) * high
    width = min(1.0, float(np.sqrt(area / narrow))) * wide
    top, left = random.uniform(0, high - height), random.uniform(0, wide - width)
    part = enlarged(photo, (top, height), (left, width))
    return part[:, :, ::-1] if random.random() < 0.5 else part


def enlarged(
    photo: NDArray[np.float32], rows: tuple[float, float], columns: tuple[float, float]
) -> NDArray[np.float32]:
    """A part of `photo` [channels, height, width] in the size of the whole, pixels interpolated linearly.

    rows, columns: where the part begins and how long it is, in pixels and their fractions; the whole: (0, height).
    """
    above, below, down = _between(photo.shape[1], *rows)
    lines = photo[:, above] * (1 - down)[:, np.newaxis] + photo[:, below] * down[:, np.newaxis]
    before, after, across = _between(photo.shape[2], *columns)
    part = lines[:, :, before] * (1 - across) + lines[:, :, after] * across
    return part.astype(np.float32, copy=False)


def _between(
    count: int, start: float, length: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each of `count` pixels of a part: its neighbours in the whole, and how far from the first it lies."""
    at = start + (np.arange(count) + 0.5) * (length / count) - 0.5
    first = np.floor(at).astype(np.int64)
    last = count - 1
    share = (at - first).astype(np.float32)
    return np.clip(first, 0, last), np.clip(first + 1, 0, last), share
