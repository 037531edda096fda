"""rdquant significance, allocate and qat: what is said of wrong options, and figures of a single image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import CorruptFile, InvalidArgument
from rdquant.significance import open_map
from rdquant.significance.classes import groups_of


def run(*words: object, code: int = 0) -> tuple[str, str]:
    """Standard output, and all that is printed with spaces for line breaks."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout, " ".join(result.output.split())


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and the store of its map by one image of class 3 among 40."""
    folder = tmp_path_factory.mktemp("commands")
    rdq.load(digits_model()).save(folder / "d.onnx")
    x, y = rdq.Digits("train").get(np.arange(200))
    chosen = np.r_[np.flatnonzero(y == 3)[:1], np.flatnonzero(y != 3)[:39]]
    with pytest.warns(UserWarning, match="1 image;"):
        rdq.significance(
            folder / "d.onnx",
            (x[chosen], y[chosen]),
            [3],
            bits=2,
            rounding="nearest",
            store=folder / "map",
        )
    np.savez(folder / "few.npz", x=x[chosen], y=y[chosen])
    return folder / "d.onnx", folder / "map"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("", "--mean-bits / --bytes / --milliseconds: expected one of them, got none"),
        ("--mean-bits 3 --bytes 9000", "--mean-bits / --bytes / --milliseconds: expected one of them"),
        ("--bytes 10", "--bytes: expected at least"),
        ("--mean-bits 3 --method search", "--method: 'search' runs the network on images"),
        ("--mean-bits 3 --classes ²", "--classes: expected integers in 0..9"),
    ],
)
def test_wrong_options_of_allocate_are_named(paths: tuple[Path, Path], options: str, text: str) -> None:
    assert text in run("allocate", *paths, *options.split(), code=2)[1]


def test_qat_names_its_only_budget(paths: tuple[Path, Path], tmp_path: Path) -> None:
    found = run("qat", *paths, "--data", "digits", "-o", tmp_path / "a.rdq", code=2)[1]
    assert "--mean-bits" in found
    assert "--bytes" not in found
    assert "bytes," not in found


def test_help_says_what_a_command_takes_without_classes() -> None:
    for command in ("allocate", "qat"):
        words = run(command, "--help")[1].replace("│", "")
        assert "groups apart" not in words
        assert "one group" in " ".join(words.split())


@pytest.mark.filterwarnings("default:classes")
def test_a_single_image_has_no_standard_error_in_tables_and_json(
    paths: tuple[Path, Path], tmp_path: Path
) -> None:
    model, store = paths
    made = ["significance", model, "--data", store.parent / "few.npz", "--classes", "3", "--bits", "2"]
    made += ["--rounding", "nearest"]
    text = run(*made, "--json")[0]
    assert "NaN" not in text
    assert {row["standard_error"] for row in json.loads(text)["rows"]} == {None}
    shown = run(*made)[1]
    assert " nan" not in shown
    assert "allocate needs its --store" in shown
    more = ("--images", 1000, "--store", tmp_path / "map")  # at most: there are 40
    assert "allocate needs its --store" not in run(*made, *more)[1]
    assert len(open_map(tmp_path / "map").labels) == 40


def test_a_mask_of_images_is_refused(paths: tuple[Path, Path]) -> None:
    found = open_map(paths[1])
    assert repr(found).endswith("1 group>")
    with pytest.raises(InvalidArgument, match="images: expected integers"):
        found.take(found.labels == 3)


def test_a_group_given_twice_is_one() -> None:
    assert groups_of([[1, 8], [8, 1], [3, 9]], 10, None) == [(1, 8), (3, 9)]


@pytest.mark.filterwarnings("default:")
def test_images_prepared_in_another_way_give_a_warning(paths: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = rdq.Digits("train").get(np.arange(200))
    for scale, expected in ((1, False), (0, True)):
        np.savez(tmp_path / "x.npz", x=(x * scale).astype(np.float32), y=y)
        made = ["significance", paths[0], "--data", tmp_path / "x.npz", "--classes", "3", "--bits", "2"]
        made += ["--rounding", "nearest"]
        assert ("which is guessing" in run(*made)[1]) == expected


@pytest.mark.parametrize("name", ["weights.npz", "network.npz", "scores.npy", "done.npy", "map.json"])
def test_a_broken_store_is_named(paths: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    store = tmp_path / "map"
    shutil.copytree(paths[1], store)
    file = store / name
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"x", b""):
        file.write_bytes(content)
        with pytest.raises(CorruptFile, match=name) as error:
            open_map(store)
        assert "pickle" not in str(error.value)
    if name != "map.json":  # without it there is no map
        file.unlink()
        with pytest.raises(CorruptFile, match="it is missing"):
            open_map(store)
