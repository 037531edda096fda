"""Scores of every component at every width, in memory or in a folder that a later run goes on with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .._files import replacing
from ..errors import CorruptFile, InvalidArgument, MissingFile

__all__ = ["SCHEMA", "Store", "open_store", "read_arrays", "write_arrays"]

SCHEMA = 1
_FACTS, _SCORES, _DONE = "map.json", "scores.npy", "done.npy"
_FREE = "groups"  # a fact that scores do not depend on: the last call's
_WORDS = {
    "model_fingerprint": "model",
    "components": "model",
    "data_fingerprint": "data",
    "chunk": "data",
    "calibration_fingerprint": "calibration",
    "class_names": "data",
    "rows": "component",
}  # facts by the argument that they come from
_SINGLE = 1 << 28  # bytes of scores beyond which they are kept in float16


class Store:
    """Scores [components, widths, images, classes], filled a chunk of images of one component and width at a time.

    Args:
        folder: where they are kept; None: in memory.
        facts: what the scores depend on, plain values, and "groups"; a folder with others is refused, but for the groups.
        shape: of the scores.
        chunks: rows of each chunk of images.

    Raises InvalidArgument for a folder that holds something else, CorruptFile for one that cannot be read.
    """

    def __init__(
        self, folder: Path | None, facts: Mapping[str, Any], shape: Sequence[int], chunks: Sequence[slice]
    ) -> None:
        self.folder = folder
        size = 4 * int(np.prod(shape, dtype=np.int64))
        self._dtype = np.dtype(np.float32 if size <= _SINGLE else np.float16)
        counts = (shape[0], shape[1], len(chunks))
        self._chunks = chunks
        if folder is None:
            self.scores: NDArray[Any] = np.zeros(shape, self._dtype)
            self._done = np.zeros(counts, bool)
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = "is a file" if folder.is_file() else error.strerror or error
            raise InvalidArgument(f"store: {folder}: {what}; expected a folder, or a new name") from None
        facts = json.loads(json.dumps({"schema": SCHEMA, **facts}))
        if not (folder / _FACTS).exists():
            if any(folder.iterdir()):
                raise InvalidArgument(f"store: {folder} is neither empty nor a significance map")
            self._create(folder, facts, shape, counts)
        _compare(folder, facts)
        if _read_facts(folder).get(_FREE) != facts.get(_FREE):
            _write_facts(folder, facts)
        self.scores, self._done = _read(folder / _SCORES, "r+"), _read(folder / _DONE)
        if self.scores.shape != tuple(shape) or self._done.shape != counts:
            raise CorruptFile(f"{folder}: scores {list(self.scores.shape)}, expected {list(shape)}")

    def _create(self, folder: Path, facts: Any, shape: Sequence[int], counts: tuple[int, ...]) -> None:
        np.lib.format.open_memmap(folder / _SCORES, "w+", self._dtype, tuple(shape)).flush()
        np.save(folder / _DONE, np.zeros(counts, bool))
        _write_facts(folder, facts)  # last: without it the folder counts for nothing

    def has(self, component: int, width: int, chunk: int) -> bool:
        """Whether these scores are there."""
        return bool(self._done[component, width, chunk])

    def put(self, component: int, width: int, chunk: int, scores: NDArray[np.float32]) -> None:
        """Keep the `scores` of a chunk, float32 [rows, classes]."""
        self.scores[component, width, self._chunks[chunk]] = scores
        self._done[component, width, chunk] = True

    def flush(self) -> None:
        """Write what has been put, the scores before the marks that say so."""
        if self.folder is not None and isinstance(self.scores, np.memmap):
            self.scores.flush()
            with replacing(self.folder / _DONE) as path:
                np.save(path, self._done)


def open_store(folder: Path) -> tuple[dict[str, Any], NDArray[Any], bool]:
    """(facts, scores read-only, whether all are there) of a folder. Errors as `Store`, MissingFile where there is no map."""
    facts = _read_facts(folder)
    scores, done = _read(folder / _SCORES, "r"), _read(folder / _DONE)
    return facts, scores, bool(done.all())


def _read(path: Path, mode: Literal["r", "r+"] | None = None) -> NDArray[Any]:
    """An array, mapped to memory in a mode. Raises CorruptFile where it cannot be read."""
    try:
        found: NDArray[Any] = np.load(path, mmap_mode=mode)
    except (OSError, ValueError, EOFError) as error:
        raise _corrupt(path, error) from None
    return found


def _corrupt(path: Path, error: Exception) -> CorruptFile:
    """NumPy's own words are about pickles, whatever is wrong."""
    if isinstance(error, FileNotFoundError):
        return CorruptFile(f"{path}: it is missing; expected all files of the map")
    reason = error.strerror if isinstance(error, OSError) else None
    return CorruptFile(f"{path}: {reason or 'not an array of a map, or cut short'}")


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / _FACTS).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFile(f"store: no significance map in {folder}") from None
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{folder / _FACTS}: {error}") from None
    if not isinstance(facts, dict) or facts.get("schema") != SCHEMA:
        raise CorruptFile(f"{folder / _FACTS}: not a map of schema {SCHEMA}")
    return facts


def _write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    with replacing(folder / _FACTS) as path:
        path.write_text(json.dumps(facts, indent=1))


def _compare(folder: Path, facts: Mapping[str, Any]) -> None:
    """InvalidArgument where the folder's facts are others than `facts`, naming them."""
    known = _read_facts(folder)
    other = [name for name in facts if name != _FREE and known.get(name) != facts[name]]
    if other:
        words = dict.fromkeys(_WORDS.get(name, name) for name in other)
        raise InvalidArgument(
            f"store: {folder} holds the map of another call, different in {', '.join(words)}; choose another folder, or the "
            "same arguments"
        )


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Arrays by name to a file .npz, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # names are texts


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote. Raises CorruptFile for anything else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, AttributeError) as error:
        raise _corrupt(path, error) from None
