"""What newcomers get wrong, and the words in which they learn so: images, labels, files, names of quantizers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import rdquant as rdq
from rdquant import CorruptFile, InvalidArgument
from rdquant.cli import app
from rdquant.demo import digits_model

MODEL = digits_model()
X, Y = rdq.Digits("test").get(np.arange(40))


def broken(values: int = 3) -> NDArray[np.float32]:
    """Images of which the one at 7 holds so many values that are no finite numbers."""
    x = X.copy()
    x[7, 0, 0, :values] = [np.nan, np.inf, -np.inf][:values]
    return x


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(InvalidArgument) as error:
        call()
    return str(error.value)


COUNTED = "3 of 2,560 values are NaN or infinite, the first of them in item 7"
WORK: dict[str, Callable[[Any, Path], Any]] = {
    "evaluate": lambda data, _: rdq.evaluate(MODEL, data),
    "sweep": lambda data, _: rdq.sweep(MODEL, data, "midtread", [4], progress=False),
    "compress": lambda data, folder: rdq.compress_within(MODEL, folder / "m.rdq", data, max_kl=0.1),
    "quantize": lambda data, _: rdq.quantize_static(MODEL, data, rounding="nearest", equalize=0.0),
    "quantize, dynamic": lambda data, _: rdq.quantize_dynamic(MODEL, calibration=data),
}


@pytest.mark.parametrize("work", WORK)
def test_images_that_are_no_numbers_are_refused_and_counted(work: str, tmp_path: Path) -> None:
    argument = "calibration" if work.startswith("quantize") else "data"
    assert refusal(lambda: WORK[work]((broken(), Y), tmp_path)).startswith(f"{argument}: {COUNTED}")
    np.savez(tmp_path / "digits.npz", x=broken(), y=Y)
    file = tmp_path / "digits.npz"
    assert refusal(lambda: WORK[work](file, tmp_path)).startswith(f"{file}: {COUNTED}")
    assert refusal(lambda: WORK[work](_Own(broken()), tmp_path)).startswith("data: own, ")


class _Own(rdq.Dataset):
    """A data set of a user's: nothing is known of its tensors."""

    fingerprint = "own"

    def __init__(self, x: NDArray[np.float32]) -> None:
        super().__init__("own", Y, 10, 16)
        self._x = x

    def stream(self, chunks: Iterable[NDArray[np.int64]]) -> Iterator[NDArray[np.float32]]:
        return (self._x[chunk] for chunk in chunks)


def test_large_numbers_are_finite() -> None:
    assert rdq.ArrayDataset(X * np.float32(3e38), Y).get([0])[0].max() > 1e38


def test_what_a_callable_makes_of_an_image_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "1.png")
    data = rdq.ImageFolder(tmp_path, lambda image: np.full((1, 8, 8), np.nan, np.float32))
    said = refusal(lambda: data.get([0]))
    assert re.match(r"preprocess: what it makes of \S*a\S1\.png: 64 of 64 values are NaN", said)


@pytest.mark.parametrize("work", ["evaluate", "sweep", "loss"])
def test_labels_of_one_class_are_warned_of(work: str, tmp_path: Path) -> None:
    calls = WORK | {
        "loss": lambda data, f: rdq.compress_within(MODEL, f / "m.rdq", data, max_loss=50, trellis=0)
    }
    with pytest.warns(UserWarning, match="all 40 labels of array are 4: a network that always answers 4"):
        calls[work]((X, np.full(40, 4)), tmp_path)


def test_where_labels_play_no_part_one_class_is_nothing_to_warn_of(tmp_path: Path) -> None:
    data = (X, np.zeros(40, np.int64))
    for work in ("compress", "quantize"):
        WORK[work](data, tmp_path)
    rdq.evaluate(MODEL, (X[:1], Y[:1]))  # a single image has one class


def test_8_bit_images_without_preprocess_are_told_what_to_give(tmp_path: Path) -> None:
    file = tmp_path / "grey.npz"
    np.savez(file, images=np.zeros((40, 8, 8), np.uint8), labels=Y)
    for data in (file, (np.zeros((40, 8, 8), np.uint8), Y)):
        said = refusal(lambda data=data: rdq.evaluate(MODEL, data))
        assert said.startswith("preprocess: ")
        assert "holds 8-bit images [8, 8]" in said
        assert "[1, 8, 8]; name what makes them so: imagenet, " in said
    result = CliRunner().invoke(
        app, ["sweep", str(MODEL), "--data", str(file), "-o", str(tmp_path / "study")]
    )
    assert result.exit_code == 2
    assert "--preprocess" in result.stderr
    assert not (tmp_path / "study").exists()


def test_a_sweep_that_fails_before_its_first_result_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = rdq.load(MODEL)

    def sweep(folder: Path, weights: float) -> rdq.Study:
        changed = model.replace_weights({"dense.bias": model.weights()["dense.bias"] + np.float32(weights)})
        return rdq.sweep(changed, (X, Y), "midtread", [4], store=folder, progress=False)

    def failing(*_: Any, **__: Any) -> Any:
        raise rdq.RdquantError("the session fails")

    with monkeypatch.context() as patch:
        patch.setattr("rdquant.sweep.point.outputs", failing)
        with pytest.raises(rdq.RdquantError, match="the session fails"):
            sweep(tmp_path / "study", 0)
    assert not (tmp_path / "study").exists()
    first = sweep(tmp_path / "study", 0).info["model_fingerprint"]
    with monkeypatch.context() as patch:  # beside a study that has results, which stays
        patch.setattr("rdquant.sweep.point.outputs", failing)
        with pytest.raises(rdq.RdquantError, match="the session fails"):
            sweep(tmp_path / "study", 1)
    with rdq.Study.open(tmp_path / "study") as study:
        assert study.info["model_fingerprint"] == first
        assert study.others == []
        assert len(study.to_pandas()) == 2


def test_lengths_of_images_and_labels_are_named(tmp_path: Path) -> None:
    file = tmp_path / "short.npz"
    np.savez(file, images=X, labels=Y[:30])
    said = refusal(lambda: rdq.evaluate(MODEL, file))
    assert said == f"{file}: array 'images' has 40 items but 'labels' has 30; expected a label for each item"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("minifloat:9", "expected exponent/mantissa, numbers of bits such as 4/3, got '9'"),
        ("minifloat:a/3", "exponent: expected an integer, got 'a'"),
        ("minifloat:4/3:x", "bias: expected an integer, got 'x'"),
        ("deadzone:x", "δ: expected a number, got 'x'"),
        ("mulaw:x", "µ: expected a number, got 'x'"),
    ],
)
def test_names_of_quantizers_are_explained(text: str, message: str) -> None:
    assert f"{text!r} is not understood ({message})" in refusal(lambda: rdq.parse_quantizers(text))


def test_what_is_no_number_or_nothing_at_all_is_named() -> None:
    assert refusal(lambda: rdq.Midtread("0.1")).endswith("got the text '0.1'")  # type: ignore[arg-type]
    assert refusal(lambda: rdq.moments([])) == "values: expected at least one number, got none"
    assert refusal(lambda: rdq.entropy([])) == "levels: expected at least one level, got none"
    assert rdq.entropy({"empty": np.zeros(0, np.int32), "full": np.arange(4)}, by="tensor") == 2.0


def test_other_files_than_compressed_ones_are_named(tmp_path: Path) -> None:
    for content, what in (
        (MODEL.read_bytes(), "begins as an ONNX model does"),
        (b"other" * 99, "not an \\.rdq file"),
    ):
        file = tmp_path / "own.file"
        file.write_bytes(content)
        with pytest.raises(CorruptFile, match=what) as error:
            rdq.CompressedFile(file)
        assert str(error.value).startswith(f"{file}: ")
