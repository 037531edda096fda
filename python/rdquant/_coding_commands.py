"""The commands that write and read compressed files: compress, decompress, and info's part about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._arguments import Debug, Json, ModelFile, parse_names
from ._terminal import log, print_json, print_table

__all__ = ["compressed_rows", "is_compressed", "print_compressed", "register"]

_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
_HEAD = ["tensor", "coding", "shape", "bytes", "bits a value"]

Coded = Annotated[
    Path, typer.Argument(help="Compressed model.", exists=True, dir_okay=False, metavar="MODEL.rdq")
]
ThreadCount = Annotated[int, typer.Option(help="Threads (0: all cores).", min=0)]

Rdo = Annotated[
    float | None,
    typer.Option(help="Choose levels by rate and distortion: steps² a bit, such as 0.08.", min=0),
]
States = Annotated[
    int, typer.Option(help="States of a trellis-coded quantizer, 8 or 32; 0: scalar levels.", min=0)
]
TargetBits = Annotated[
    float | None, typer.Option(help="Find the step for so many real bits a weight.", min=0)
]
TargetMse = Annotated[
    float | None, typer.Option(help="Find the step for this mean squared error of the weights.", min=0)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        epilog="Example: rdquant compress squeezenet1.1-7.onnx -o squeezenet.rdq --bits 8 --profile max",
        context_settings=_HELP,
        no_args_is_help=True,
    )(compress)
    app.command(
        epilog="Example: rdquant decompress squeezenet.rdq -o squeezenet.onnx",
        context_settings=_HELP,
        no_args_is_help=True,
    )(decompress)


def compress(
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", dir_okay=False)],
    bits: Annotated[
        int | None,
        typer.Option(
            help="Quantize with one step for the model, 2/2^bits (default: without loss).", min=1, max=24
        ),
    ] = None,
    quantizer: Annotated[
        str | None,
        typer.Option(help="midtread, midrise, deadzone:δ, mulaw:µ, codebook, minifloat:e/m, half."),
    ] = None,
    profile: Annotated[str, typer.Option(help="fast to decode, or max: smaller.")] = "fast",
    roles: Annotated[
        str, typer.Option(help="What is quantized: weight, bias, normalization, comma-separated.")
    ] = "weight",
    rdo: Rdo = None,
    trellis: States = 0,
    target_bits: TargetBits = None,
    target_mse: TargetMse = None,
    threads: ThreadCount = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model as one compressed file: quantized with --bits, --quantizer or a target, else without loss."""
    from .compression import compress as run

    parse_names(profile, ("fast", "max"), "--profile")
    chosen = parse_names(roles, ("weight", "bias", "normalization"), "--roles")
    result = run(
        model,
        output,
        quantizer=quantizer,
        profile=profile,
        bits=bits,
        roles=chosen,
        threads=threads,
        rdo=rdo,
        trellis=trellis,
        target_bits=target_bits,
        target_mse=target_mse,
    )
    if as_json:
        print_json(result.to_dict())
        return
    rows = [
        [t.name, t.coding, "×".join(map(str, t.shape)), f"{t.bytes:,}", f"{t.bits_per_weight:.3f}"]
        for t in result.tensors
    ]
    ratio = result.original_bytes / result.bytes
    title = f"{result.bytes:,} bytes, {ratio:.2f} times smaller than {result.original_bytes:,}"
    notes = [
        f"Bits a weight: {result.bits_per_weight:.4f} (whole file {result.file_bits_per_weight:.4f}); "
        f"graph {result.graph_bytes:,} bytes; SQNR {result.sqnr_db:.2f} dB"
    ]
    print_table(title, _HEAD, rows, left=3, notes=notes)


def decompress(
    model: Coded,
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", dir_okay=False)],
    threads: ThreadCount = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the model in a compressed file as plain ONNX: quantized weights as their values, all else bit for bit."""
    from .compression import decompress as run

    restored = run(model, threads=threads)
    restored.save(output)
    size = output.stat().st_size
    if as_json:
        print_json({"path": str(output), "bytes": size, "tensors": len(restored.tensors())})
    else:
        log(f"{output}: {size:,} bytes")


def is_compressed(path: Path) -> bool:
    """Whether the file begins as a compressed model does."""
    from .codec.container import MAGIC

    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def compressed_rows(path: Path) -> dict[str, Any]:
    """What a compressed file holds: facts and sections, plain values."""
    from .codec import CompressedFile
    from .codec.container import TENSOR
    from .codec.sections import Tensor

    file = CompressedFile(path)
    tensors = []
    for section, data in file.stream():
        if section.kind == TENSOR:
            tensor = Tensor(data, section.name)
            tensors.append(
                {
                    "name": section.name,
                    "coding": tensor.coding,
                    "trellis": tensor.trellis,
                    "shape": list(tensor.shape),
                    "bytes": section.length,
                    "bits_per_value": 8 * section.length / tensor.size if tensor.size else 0.0,
                }
            )
    return {"facts": file.facts(), "sections": len(file.sections), "coded_tensors": tensors}


def print_compressed(held: dict[str, Any]) -> None:
    """`compressed_rows` as a table."""
    rows = [
        [
            t["name"],
            f"{t['coding']}, trellis {t['trellis']}" if t["trellis"] else t["coding"],
            "×".join(map(str, t["shape"])),
            f"{t['bytes']:,}",
            f"{t['bits_per_value']:.3f}",
        ]
        for t in held["coded_tensors"]
    ]
    facts = ", ".join(f"{key} {value}" for key, value in held["facts"].items())
    print_table(f"{held['sections']} sections; {facts}", _HEAD, rows, left=3)
