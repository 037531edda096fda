"""Studies of quantizers that are objects or functions: names in tables, what tells them apart, and their files."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rdquant as rdq
from rdquant.demo import digits_model
from rdquant.report.rows import arrange

MODEL = rdq.load(digits_model())
DATA = rdq.Digits("test").head(60)
WEIGHTS = MODEL.weights()["dense.weight"]


def finer(bits: int) -> Any:
    """A function of a name that it shares with others."""

    def finer_for_small(name: str, tensor: np.ndarray) -> rdq.Quantizer:
        return rdq.Midtread.from_levels(8 if tensor.size < 1000 else bits, range="max", x=tensor)

    return finer_for_small


def studied(*quantizers: Any, **options: Any) -> pd.DataFrame:
    study = rdq.sweep(MODEL, DATA, list(quantizers), [4], metrics=["top1"], progress=False, **options)
    with study:
        return study.to_pandas().iloc[1:]


def books(count: int) -> list[rdq.Codebook]:
    """Codebooks of as many values, with the same ends."""
    even = np.linspace(-1, 1, count)
    return [rdq.Codebook(tuple(even)), rdq.Codebook(tuple(np.sign(even) * even**2))]


@pytest.mark.parametrize("count", [5, 31])
def test_objects_that_differ_are_called_differently_and_all_evaluated(count: int) -> None:
    table = studied(rdq.Midtread(0.1), rdq.Midtread(0.2), *books(count), "midtread")
    assert table["quantizer"].is_unique
    names = table["quantizer"].tolist()
    assert names[:3] == ["midtread, Δ=0.1", "midtread, Δ=0.2", f"codebook of {count} values"]
    assert names[3].startswith(f"codebook of {count} values #")
    assert names[4] == "midtread"
    assert table["entropy"].is_unique, "two objects share a point"


def test_a_function_is_studied_as_it_is_compressed(tmp_path: Path) -> None:
    table = studied(finer(5), rdq.Midtread)
    assert table["quantizer"].tolist() == ["finer_for_small", "midtread"]
    first = table.iloc[0]
    file = rdq.compress(MODEL, tmp_path / "m.rdq", finer(5), roles=("weight", "bias", "normalization"))
    assert first["file_bytes"] == file.bytes
    _, rate = rdq.requantize(MODEL.weights(), finer(5))
    assert first["entropy"] == pytest.approx(rate.entropy)


def test_two_functions_of_one_name_are_two_curves_now_and_later(tmp_path: Path) -> None:
    first = studied(finer(5), store=tmp_path)
    assert first["quantizer"].tolist() == ["finer_for_small"]
    both = studied(finer(4), finer(5), store=tmp_path)
    assert both["quantizer"].tolist()[0] == "finer_for_small"
    assert both["quantizer"].tolist()[1].startswith("finer_for_small #")
    assert both["entropy"].is_unique
    again = studied(finer(5), finer(4), store=tmp_path)
    assert again["quantizer"].tolist() == both["quantizer"].tolist()
    with rdq.Study.open(tmp_path) as study:
        labels = [series.label for series in arrange(study, 100).series]
        commands = study.best(100)["command"].tolist()
    assert labels == both["quantizer"].tolist()
    assert any(command.split(", ")[2] == "finer_for_small" for command in commands)


def test_a_function_is_studied_on_other_processes_too() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        table = studied(finer(5), executor=executor)
    assert table["entropy"].tolist() == studied(finer(5))["entropy"].tolist()


def test_a_function_that_gives_no_quantizer_is_named() -> None:
    with pytest.raises(
        rdq.InvalidArgument, match=r"quantizers: function gave None for tensor '.*'; expected a"
    ):
        studied(lambda name, tensor: None)
