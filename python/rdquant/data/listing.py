"""Which images a folder holds and how they are labelled: labels.csv, or one folder per class."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import CorruptFile, InvalidArgument, MissingFile, path_of

__all__ = ["IMAGE_SUFFIXES", "Listing", "folder_of", "list_classes", "list_csv", "list_loose"]

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)


def folder_of(name: str, value: object) -> Path:
    """`value` as a folder that exists; InvalidArgument or MissingFile for anything else."""
    path = path_of(name, value)
    if not path.exists():
        raise MissingFile(f"{name}: {str(path)!r}: no such folder")
    if not path.is_dir():
        raise InvalidArgument(f"{name}: {str(path)!r}: not a folder")
    return path


@dataclass(frozen=True)
class Listing:
    """Files relative to the folder, with '/' between parts, and the label of each."""

    files: list[str]
    labels: list[int]
    class_names: list[str] | None


def list_csv(root: Path, path: Path, classes: int | None) -> Listing:
    """The images named by the CSV file `path`, whose header names the columns file and label (others are
    left).

    Files are relative to `root`. Raises CorruptFile, naming the line, for a missing column, a label that is
    no integer or lies outside 0..classes − 1, a file named twice, outside `root` or missing.
    """
    files: dict[str, int] = {}
    labels: list[int] = []
    for line, file, text in _read_rows(path):
        where = f"{path}: line {line}"
        if file in files:
            raise CorruptFile(f"{where}: {file!r} stands on line {files[file]} already")
        _check_inside(where, root, file)
        files[file] = line
        labels.append(_label(where, text, classes))
    if not labels:
        raise CorruptFile(f"{path}: no rows after the header; expected at least one image")
    return Listing(list(files), labels, None)


def list_loose(root: Path) -> Listing:
    """The images in a folder itself, of which nobody says what they show: all of class 0.

    Raises InvalidArgument where there is none.
    """
    files = _images_in(root, root.iterdir())
    if not files:
        raise InvalidArgument(f"{root}: no image; expected a suffix of {' '.join(sorted(IMAGE_SUFFIXES))}")
    return Listing(files, [0] * len(files), None)


def _images_in(root: Path, entries: Iterable[Path]) -> list[str]:
    return [
        file.relative_to(root).as_posix()
        for file in sorted(entries)
        if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "." and file.is_file()
    ]


def list_classes(root: Path, order: Sequence[str] | None) -> Listing:
    """The images of one folder per class: labels 0, 1, … by the sorted names of the folders, or by `order`.

    Names are sorted as text ("10" before "2"), as torchvision does. Hidden folders and files that are no
    images by their suffix are passed over. Raises InvalidArgument where there is no folder, one has no
    image, or the folders are not those of `order`.
    """
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not folders:
        raise InvalidArgument(f"{root}: found neither labels.csv nor one folder per class")
    if order is not None and sorted(order) != folders:
        odd = sorted(set(order) ^ set(folders)) or "a class named twice"
        raise InvalidArgument(f"classes: the names given and the folders of {root} differ in {odd}")
    names = list(order) if order is not None else folders
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        found = _images_in(root, (root / name).rglob("*"))
        if not found:
            raise InvalidArgument(
                f"{root / name}: no image; expected a suffix of {' '.join(sorted(IMAGE_SUFFIXES))}"
            )
        files += found
        labels += [label] * len(found)
    return Listing(files, labels, names)


def _read_rows(path: Path) -> list[tuple[int, str, str]]:
    """(line, file, label) of every row that is not blank."""
    rows = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            missing = {"file", "label"} - set(header)
            if missing:
                absent = f"column{'s' * (len(missing) > 1)} {' and '.join(sorted(missing))}"
                raise CorruptFile(
                    f"{path}: the header has no {absent}; expected file,label, "
                    f"found {','.join(header) or 'an empty file'}"
                )
            reader.fieldnames = header
            for row in reader:
                file, label = row["file"], row["label"]
                if not file or label is None:
                    raise CorruptFile(f"{path}: line {reader.line_num}: expected a file and a label")
                rows.append((reader.line_num, file.strip(), label.strip()))
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptFile(f"{path}: not a CSV file in UTF-8: {error}") from error
    except OSError as error:
        kind = MissingFile if isinstance(error, FileNotFoundError) else InvalidArgument
        raise kind(f"{path}: cannot be read: {error.strerror}") from error
    return rows


def _check_inside(where: str, root: Path, file: str) -> None:
    parts = (*PurePosixPath(file).parts, *PureWindowsPath(file).parts)
    if ".." in parts or PurePosixPath(file).is_absolute() or PureWindowsPath(file).anchor:
        raise CorruptFile(f"{where}: {file!r} leads out of {root}; expected a path inside the folder")
    try:
        exists = (root / file).is_file()
    except (OSError, ValueError):  # a name that no file can have: too long, a zero byte
        exists = False
    if not exists:
        raise CorruptFile(f"{where}: no file {file!r} in {root}")


def _label(where: str, text: str, classes: int | None) -> int:
    allowed = "0 or more" if classes is None else f"0..{classes - 1}"
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise CorruptFile(f"{where}: label {text!r} is not an integer; expected {allowed}")
    value = int(text)
    if value < 0 or (classes is not None and value >= classes):
        raise CorruptFile(f"{where}: label {value} is out of range; expected {allowed}")
    return value
