"""What a study promises of a file is what its command writes, to the byte."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rdquant as rdq
from classifier import classifier
from rdquant.demo import digits_model
from rdquant.sweep.command import command_of

SCOPES = ["model", "tensor", "channel"]
MANY = "midtread,midrise,deadzone:0.4,mulaw,codebook,half,minifloat:4/3,minifloat:4/3:best"


def written(command: str, folder: Path) -> int:
    """Bytes of the file that the command line writes, run in `folder`."""
    words = shlex.split(command)
    assert words[0] == "rdquant"
    subprocess.run([sys.executable, "-m", *words], cwd=folder, check=True, capture_output=True)
    return (folder / words[words.index("-o") + 1]).stat().st_size


def test_the_command_of_a_best_choice_writes_the_promised_bytes(tmp_path: Path) -> None:
    model = tmp_path / "a net.onnx"
    model.write_bytes(digits_model().read_bytes())
    with rdq.sweep(model, "digits", "midtread,minifloat:4/3", [4, 5], progress=False) as study:
        best = study.best(5)
        for row in best.to_dict("records"):
            assert written(row["command"], tmp_path) == row["file_bytes"]
            assert row["ratio"] == model.stat().st_size / row["file_bytes"]
    assert len(best) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"scope": SCOPES},
        {"scope": SCOPES, "range": 0.5, "roles": ["weight"]},
        {"range": "max", "roles": ["bias", "weight"]},
    ],
    ids=["scopes", "range", "max"],
)
def test_every_point_is_the_file_that_compress_writes(tmp_path: Path, options: dict[str, Any]) -> None:
    model, target = rdq.load(digits_model()), tmp_path / "digits.rdq"
    with rdq.sweep(model, rdq.Digits("test").head(8), MANY, [3], **options, progress=False) as study:
        points = study._points()
        shown = study.to_pandas()
    assert len(points) == len(shown) > 8
    for row in points[points["family"] != "float"].to_dict("records"):
        words = shlex.split(command_of(str(digits_model()), model.name, row))
        said = dict(zip(words[3::2], words[4::2], strict=True))
        span = said.get("--range")
        packed = rdq.compress(
            words[2],
            target,
            said["--quantizer"],
            bits=int(said["--bits"]) if "--bits" in said else None,
            scope=said.get("--scope"),
            range=span if span in (None, "max") else float(span),
            roles=said["--roles"].split(","),
        )
        assert packed.bytes == row["file_bytes"]
        assert packed.ratio == row["ratio"]
        if "roles" not in options:
            assert packed.bits_per_weight == row["real_bits"]


def test_given_quantizers_are_told_as_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = classifier()
    model.save("net.onnx")
    data = rdq.Digits("test").head(8)
    with rdq.sweep("net.onnx", data, rdq.Deadzone(0.07, 0.4), progress=False) as study:
        best = study.best(100).iloc[0]
    assert best["command"].startswith("rdquant.compress(")
    result = eval(best["command"], {"rdquant": rdq})
    assert (result.bytes, Path(result.path).name) == (best["file_bytes"], "net.rdq")


def test_scope_and_range_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    model, path = classifier(), tmp_path / "m.rdq"
    for wrong, words in (
        ({"scope": "tensor"}, "scope: it needs bits or a quantizer's name"),
        ({"range": 1.0}, "range: it needs bits or a quantizer's name"),
        (
            {"quantizer": rdq.Midtread(0.1), "scope": "model"},
            "scope: a quantizer that is given brings its own",
        ),
        ({"quantizer": "half", "range": "max"}, "range: the quantizer 'half' has none"),
        ({"bits": 4, "range": "most"}, "range: expected a number above 0 or 'max', got 'most'"),
        ({"bits": 4, "scope": "row"}, "scope: expected one of 'model', 'tensor', 'channel', got 'row'"),
    ):
        with pytest.raises(rdq.InvalidArgument, match=words):
            rdq.compress(model, path, **wrong)
    assert not path.exists()
