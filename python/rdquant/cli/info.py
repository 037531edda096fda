"""The command rdquant info: what a model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from .options import HELP, All, Command, Debug, Json, ModelFile
from .terminal import fact_rows, notable, print_json, print_table

__all__ = ["register"]

_HEAD = ["tensor", "coding", "shape", "bytes", "bits per value"]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant info squeezenet1.1-7.onnx --json",
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Models",
    )(info)


def info(model: ModelFile, everything: All = False, as_json: Json = False, debug: Debug = False) -> None:
    """Describe a model, .onnx or .rdq: size, share of weights (thesis Table 3.1), weights by role, operators."""
    from ..graph import load

    loaded = load(model)
    summary = loaded.summary()
    held = _compressed_rows(model) if _is_compressed(model) else {}
    if held:  # the weights are larger than the file
        del summary["weight_share"]
    if as_json:
        print_json({"model": loaded.name, **summary, **held})
        return
    print_table(loaded.name, ["figure", "value"], fact_rows(summary))
    if held:
        _print_compressed(held, everything)


def _is_compressed(path: Path) -> bool:
    """Whether the file begins as a compressed model does."""
    from ..codec.container import MAGIC

    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _compressed_rows(path: Path) -> dict[str, Any]:
    """What a compressed file holds: facts and sections, plain values."""
    from ..codec import CompressedFile
    from ..codec.container import TENSOR, naming
    from ..codec.sections import Tensor

    with naming(path):
        file = CompressedFile(path)
        opened = [(s, Tensor(data, s.name)) for s, data in file.stream() if s.kind == TENSOR]
        facts = file.facts()
    tensors = [
        {
            "name": section.name,
            "coding": tensor.coding,
            "trellis": tensor.trellis,
            "shape": list(tensor.shape),
            "bytes": section.length,
            "bits_per_value": 8 * section.length / tensor.size if tensor.size else 0.0,
        }
        for section, tensor in opened
    ]
    return {"facts": facts, "sections": len(file.sections), "coded_tensors": tensors}


def _print_compressed(held: dict[str, Any], everything: bool) -> None:
    """`_compressed_rows` as a table."""
    shown, notes = notable(held["coded_tensors"], lambda t: t["bytes"], everything, "tensors, smaller ones")
    rows = [
        [
            t["name"],
            f"{t['coding']}, trellis {t['trellis']}" if t["trellis"] else t["coding"],
            "×".join(map(str, t["shape"])),
            f"{t['bytes']:,}",
            f"{t['bits_per_value']:.3f}",
        ]
        for t in shown
    ]
    facts = ", ".join(f"{key} {value}" for key, value in held["facts"].items())
    print_table(f"{held['sections']} sections; {facts}", _HEAD, rows, left=3, notes=notes)
