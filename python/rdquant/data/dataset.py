"""Labelled inputs in a fixed order: the base class, arrays and scikit-learn's digits."""

from __future__ import annotations

import hashlib
import math
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arrays import array_of
from .._tables import label, short
from ..errors import InvalidArgument, count, described, needed, one_of
from .checks import check_finite
from .scene import Scene

__all__ = ["ArrayDataset", "Dataset", "Digits", "digest"]

Indices = NDArray[np.int64]
Tensor = NDArray[np.float32]


class Dataset(ABC):
    """Labelled inputs of a classifier, or photos with boxes for a detector, in a fixed order.

    Iterating gives batches (x, labels): x float32 [n, …] with n ≤ `batch_size`, labels int64 [n]. Two
    iterations give the same batches.

    Attributes:
        name: for tables.
        labels: int64 [len], all labels in order, each in 0..classes − 1; read-only.
        classes: number of classes.
        class_names: their names, where known.
        batch_size: items per batch of an iteration.
        fingerprint: hex digest that identifies items, labels and preprocessing.
        task: "classify", or "detect" where `scene` gives boxes; labels are 0 there.
        family: of detectors that photos with boxes are prepared for: the name of their letterbox; else None.

    Raises InvalidArgument where labels, classes or batch size do not fit each other.
    """

    fingerprint: str
    task: Literal["classify", "detect"] = "classify"
    family: str | None = None
    _finite = (
        False  # whether tensors are known to hold finite numbers only; else they are looked at as they come
    )

    def __init__(
        self,
        name: str,
        labels: ArrayLike,
        classes: int | None,
        batch_size: int,
        class_names: Sequence[str] | None = None,
    ) -> None:
        batch_size = count("batch_size", batch_size)
        if not isinstance(name, str):
            raise InvalidArgument(f"name: expected a text, got {described(name)}")
        if class_names is not None and not all(
            isinstance(n, str) for n in _listed("class_names", class_names)
        ):
            raise InvalidArgument(f"class_names: expected texts, got {described(class_names)}")
        self.name = name
        self.labels = _checked_labels(name, labels, classes)
        self.labels.flags.writeable = False
        self.classes = int(self.labels.max()) + 1 if classes is None else classes
        self.class_names = tuple(class_names) if class_names is not None else None
        self.batch_size = batch_size

    def __repr__(self) -> str:
        what = "photos with boxes" if self.task == "detect" else "items"
        return short(self, f"{label(self.name)}: {len(self):,} {what}, {self.classes:,} classes")

    @abstractmethod
    def stream(self, chunks: Iterable[Indices]) -> Iterator[Tensor]:
        """A float32 tensor [len(chunk), …] for each of `chunks` of indices, in order; may work ahead of the caller."""

    def item_name(self, index: int) -> str:
        """What messages call item `index`: its file, or its position."""
        return f"item {index}"

    def scene(self, index: int) -> Scene:
        """Photo `index` with its boxes.

        Raises InvalidArgument for data that have labels only, CorruptFile for a photo that cannot be decoded.
        """
        raise InvalidArgument(f"{self.name}: {self.item_name(index)} has a label, but no boxes")

    def __len__(self) -> int:
        return self.labels.size

    def __iter__(self) -> Iterator[tuple[Tensor, Indices]]:
        starts = range(0, len(self), self.batch_size)
        chunks = [np.arange(start, min(start + self.batch_size, len(self))) for start in starts]
        for chunk, tensor in zip(chunks, self.stream(chunks), strict=True):
            yield self._checked(chunk, tensor), self.labels[chunk]

    def get(self, indices: ArrayLike) -> tuple[Tensor, Indices]:
        """(x, labels) of the items at `indices` (integers [n], any order): float32 [n, …], int64 [n].

        Raises InvalidArgument for other indices.
        """
        chosen = self._indices(indices)
        (tensor,) = self.stream([chosen])
        return self._checked(chosen, tensor), self.labels[chosen]

    def _checked(self, chunk: Indices, tensor: Tensor) -> Tensor:
        if not self._finite:
            check_finite(
                tensor, f"data: {self.name}, {len(chunk)} items from {self.item_name(int(chunk[0]))} on"
            )
        return tensor

    def take(self, indices: ArrayLike) -> Dataset:
        """The items at `indices` (integers [n], n ≥ 1) as a dataset of their own that shares this one's
        cache; `head` takes a number of items. Raises InvalidArgument for anything else.
        """
        if np.ndim(indices) == 0:
            raise InvalidArgument(
                f"indices: expected a list of integers, got {described(indices)}; head(n) gives the first n items"
            )
        return _Subset(self, self._indices(indices))

    def head(self, n: int) -> Dataset:
        """The first `n` items, 1 ≤ n ≤ len; else InvalidArgument."""
        return self.take(np.arange(count("n", n, 1, len(self))))

    def spread(self, n: int) -> Dataset:
        """`n` items, evenly spread over all, 1 ≤ n ≤ len; else InvalidArgument."""
        size = len(self)
        return self.take([i * size // n for i in range(count("n", n, 1, size))])

    def held(self, limit: int) -> Dataset:
        """The same items, whose float32 tensors stay in memory once they have been made: at most `limit` bytes.

        Where they need more, nothing is held. The first pass over the items fills the memory while it works ahead as
        this data set does; contiguous batches of later passes are read-only views, without a copy. A pickled copy is
        empty. Raises InvalidArgument for a `limit` that is no number of bytes.
        """
        return _Held(self, limit) if count("limit", limit, 0) else self

    def calibration(self, n: int, seed: int = 0) -> Dataset:
        """`n` items spread over the classes, for calibration, which must not look at their labels.

        Every class gives one item before any gives a second, and so on; which class and which item comes
        first is decided by `seed`. Raises InvalidArgument unless 1 ≤ n ≤ len.
        """
        n, seed = count("n", n, 1, len(self)), count("seed", seed, 0)
        order = np.array(_shuffled(len(self), seed))
        _, class_of, sizes = np.unique(self.labels[order], return_inverse=True, return_counts=True)
        by_class = np.argsort(class_of, kind="stable")
        turn = np.empty(len(self), np.int64)  # how many items of its class come before each
        turn[by_class] = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.take(order[np.argsort(turn, kind="stable")[:n]])

    def _indices(self, indices: ArrayLike) -> Indices:
        chosen = np.atleast_1d(array_of(indices, "indices"))
        if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
            raise InvalidArgument(
                f"indices: expected integers [n], n ≥ 1, got {chosen.dtype} {list(chosen.shape)}"
            )
        if chosen.min() < 0 or chosen.max() >= len(self):
            raise InvalidArgument(
                f"indices: expected 0..{len(self) - 1} in {self.name}, got {chosen.min()}..{chosen.max()}"
            )
        return chosen.astype(np.int64)


class _Subset(Dataset):
    def __init__(self, whole: Dataset, indices: Indices) -> None:
        super().__init__(
            whole.name, whole.labels[indices], whole.classes, whole.batch_size, whole.class_names
        )
        self._whole = whole
        self._chosen = indices
        self.task, self.family, self._finite = whole.task, whole.family, whole._finite
        self.fingerprint = digest(whole.fingerprint, indices)

    def stream(self, chunks: Iterable[Indices]) -> Iterator[Tensor]:
        return self._whole.stream(self._chosen[chunk] for chunk in chunks)

    def item_name(self, index: int) -> str:
        return self._whole.item_name(int(self._chosen[index]))

    def scene(self, index: int) -> Scene:
        return self._whole.scene(int(self._chosen[index]))


class _Held(Dataset):
    def __init__(self, whole: Dataset, limit: int) -> None:
        super().__init__(whole.name, whole.labels, whole.classes, whole.batch_size, whole.class_names)
        self.fingerprint = whole.fingerprint
        self.task, self.family, self._finite = whole.task, whole.family, whole._finite
        self._whole = whole
        self._limit = limit
        self._lock = threading.Lock()
        self._tensors: Tensor | None = None
        self._missing = len(self)
        self._known = np.zeros(len(self), bool)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Held, (self._whole, self._limit)

    def stream(self, chunks: Iterable[Indices]) -> Iterator[Tensor]:
        if self._limit == 0:
            yield from self._whole.stream(chunks)
        elif self._missing == 0:
            yield from map(self._held, chunks)
        else:
            todo = list(chunks)
            for chunk, tensor in zip(todo, self._whole.stream(todo), strict=True):
                self._keep(chunk, tensor)
                yield tensor

    def item_name(self, index: int) -> str:
        return self._whole.item_name(index)

    def scene(self, index: int) -> Scene:
        return self._whole.scene(index)

    def _keep(self, chunk: Indices, tensor: Tensor) -> None:
        with self._lock:
            if self._tensors is None:
                if len(self) * math.prod(tensor.shape[1:]) * tensor.itemsize > self._limit:
                    self._limit = 0  # they do not fit: nothing is held
                    return
                self._tensors = np.empty((len(self), *tensor.shape[1:]), np.float32)
            if self._limit and tensor.shape[1:] == self._tensors.shape[1:]:
                self._tensors[chunk] = tensor
                self._known[chunk] = True
                self._missing = len(self) - int(np.count_nonzero(self._known))

    def _held(self, chunk: Indices) -> Tensor:
        assert self._tensors is not None
        return _read_only(self._tensors[_as_slice(chunk)])


class ArrayDataset(Dataset):
    """Inputs that are arrays already, ready for the network.

    Args:
        x: finite real numbers [n, …], n ≥ 1; float32 is used without a copy, other dtypes are converted batch by
            batch.
        y: integers [n], the labels, ≥ 0.
        batch_size: items per batch.
        classes: number of classes; default: the largest label + 1.
        class_names: their names.
        name: for tables.

    Raises InvalidArgument where shapes, dtypes or labels do not fit, and for NaN or infinity.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        batch_size: int = 32,
        classes: int | None = None,
        class_names: Sequence[str] | None = None,
        name: str = "array",
    ) -> None:
        array = array_of(x, "x")
        if array.ndim < 2 or array.dtype.kind not in "fiub":
            raise InvalidArgument(f"x: expected real numbers [n, …], got {array.dtype} {list(array.shape)}")
        super().__init__(name, y, classes, batch_size, class_names)
        if len(array) != len(self):
            raise InvalidArgument(f"x, y: {len(array)} inputs but {len(self)} labels")
        check_finite(array, "x")
        self._x, self._finite = array, True
        self.fingerprint = digest("array", array, self.labels, self.classes)

    def stream(self, chunks: Iterable[Indices]) -> Iterator[Tensor]:
        for chunk in chunks:
            yield _read_only(self._x[_as_slice(chunk)].astype(np.float32, copy=False))

    def held(self, limit: int) -> Dataset:
        return self if self._x.dtype == np.float32 else super().held(limit)


class Digits(ArrayDataset):
    """scikit-learn's handwritten digits: 1797 grey images, x float32 [n, 1, 8, 8] in 0..1, ten classes.

    Args:
        split: a shuffle by `seed` (the order of that many `random.Random(seed).random()` numbers, which Python keeps
            from version to version) puts a third, 599 images, in "test" and 1198 in "train"; "all" is both, in
            scikit-learn's order.
        batch_size: items per batch.
        seed: of the shuffle.

    Source: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998). Raises InvalidArgument for another
    split.
    """

    def __init__(self, split: str = "test", *, batch_size: int = 128, seed: int = 0) -> None:
        one_of("split", split, ("train", "test", "all"))
        count("seed", seed, 0)
        with needed():
            from sklearn.datasets import load_digits  # a second to import: only where it is used

        bunch = load_digits()
        size = len(bunch.target)
        order = _shuffled(size, seed)
        parts = {
            "test": sorted(order[: size // 3]),
            "train": sorted(order[size // 3 :]),
            "all": range(size),
        }
        chosen = np.array(parts[split])
        super().__init__(
            (bunch.images[chosen, np.newaxis] / 16).astype(np.float32),
            bunch.target[chosen],
            batch_size=batch_size,
            classes=10,
            class_names=[str(digit) for digit in range(10)],
            name=f"digits-{split}",
        )


def _listed(name: str, value: Any) -> list[Any]:
    """`value` as a list; InvalidArgument for what is none, and for a text."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise InvalidArgument(f"{name}: expected a list, got {described(value)}")
    return list(value)


def digest(*parts: Any) -> str:
    """Hex digest of texts, numbers and arrays: 32 characters of their SHA-256."""
    state = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype.str}{part.shape}".encode())
            state.update(np.ascontiguousarray(part).data)
        else:
            state.update(f"{part!r}\0".encode())
    return state.hexdigest()[:32]


def _as_slice(chunk: Indices) -> Indices | slice:
    """The same items as a slice, which NumPy need not copy, where they follow each other."""
    first, count = int(chunk[0]), len(chunk)
    contiguous = int(chunk[-1]) == first + count - 1 and bool(np.all(np.diff(chunk) == 1))
    return slice(first, first + count) if contiguous else chunk


def _read_only(tensor: Tensor) -> Tensor:
    view = tensor.view()
    view.flags.writeable = False
    return view


def _shuffled(count: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    keys = [generator.random() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)


def _checked_labels(name: str, labels: ArrayLike, classes: int | None) -> Indices:
    array = array_of(labels, "y")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgument(
            f"{name}: expected labels as integers [n], got {array.dtype} {list(array.shape)}"
        )
    if array.size == 0:
        raise InvalidArgument(f"{name}: no items; expected at least 1")
    if classes is not None:
        classes = count("classes", classes)
    limit = np.iinfo(np.int64).max if classes is None else classes - 1
    wrong = np.flatnonzero((array < 0) | (array > limit))
    if wrong.size:
        allowed = "0 or more" if classes is None else f"0..{limit}"
        raise InvalidArgument(f"{name}: item {wrong[0]} has label {array[wrong[0]]}; expected {allowed}")
    return array.astype(np.int64)
