"""The commands that write and read compressed files: rdquant compress, compress-to-size, compress-within, decompress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inputs import find_preset, load_images
from .options import HELP, All, Command, Debug, Json, ModelFile, given, parse_names, parse_range, speaks_for
from .terminal import INTERRUPTED, log, notable, print_json, print_table, share_text

if TYPE_CHECKING:
    from ..compression import CompressionResult

__all__ = ["register"]

_HEAD = ["tensor", "coding", "shape", "bytes", "bits per value"]
_LEVELS, _TARGET, _IMAGES, _ENCODER = "Levels", "Target (one of them)", "Images", "Encoder"

Coded = Annotated[
    Path, typer.Argument(help="Compressed model.", exists=True, dir_okay=False, metavar="MODEL")
]
Output = Annotated[Path, typer.Option("-o", "--output", help="File to write.", dir_okay=False)]

Bits = Annotated[
    int | None,
    typer.Option(
        help="Bits per level: the step is 2·range/2^bits; a codebook has 2^bits values (default: without loss).",
        min=1,
        max=24,
        rich_help_panel=_LEVELS,
    ),
]
Family = Annotated[
    str | None,
    typer.Option(
        help="midtread, midrise, deadzone:δ (alone: 0.4), mulaw:µ (alone: 255), codebook: with --bits; minifloat:e/m, "
        "half, bfloat16.",
        rich_help_panel=_LEVELS,
    ),
]
Shared = Annotated[
    str | None,
    typer.Option(
        help="What has a step of its own: the model, each tensor or each channel (default: model; codebook: tensor).",
        rich_help_panel=_LEVELS,
    ),
]
Span = Annotated[
    str | None,
    typer.Option(
        "--range",
        help="Range of the levels: 1 for ±1, max for ±max|w| (default: 1 for --scope model, else max).",
        rich_help_panel=_LEVELS,
    ),
]
Uniform = Annotated[str | None, typer.Option(help="midtread or deadzone:δ.", rich_help_panel=_LEVELS)]
Roles = Annotated[
    str | None,
    typer.Option(
        help="Which tensors are quantized: weight, bias, normalization, comma-separated.",
        rich_help_panel=_LEVELS,
    ),
]
Rdo = Annotated[
    float | None,
    typer.Option(
        help="Choose levels by rate and distortion: λ in steps² per bit, such as 0.08.",
        min=0,
        rich_help_panel=_LEVELS,
    ),
]
States = Annotated[
    int | None,
    typer.Option(
        help="States of a trellis-coded quantizer, 8 or 32; 0: scalar levels.", min=0, rich_help_panel=_LEVELS
    ),
]
BitsPerWeight = Annotated[
    float | None, typer.Option(help="At most this many bits per weight, as stored.", rich_help_panel=_TARGET)
]
Bytes = Annotated[
    int | None,
    typer.Option("--bytes", help="At most this many bytes for the whole file.", rich_help_panel=_TARGET),
]
Mse = Annotated[
    float | None,
    typer.Option(help="At most this mean squared error of the weights.", rich_help_panel=_TARGET),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(
        help="Percentage points of top-1 accuracy that may be lost on --data, which needs labels.",
        rich_help_panel="Tolerated loss (one of them, or both)",
    ),
]
MaxKl = Annotated[
    float | None,
    typer.Option(
        help="Largest mean KL divergence of the outputs, in nats; given alone, it needs no labels.",
        rich_help_panel="Tolerated loss (one of them, or both)",
    ),
]
Images = Annotated[
    str,
    typer.Option(
        help="Images for calibration and measurement: folder, .npz file, or digits.", rich_help_panel=_IMAGES
    ),
]
Fitted = Annotated[
    str | None,
    typer.Option(
        help="Images for calibration; --data is then used for measurement only.",
        rich_help_panel=_IMAGES,
    ),
]
Number = Annotated[
    int | None,
    typer.Option(
        help="How many images the search uses at most, without their labels.", min=3, rich_help_panel=_IMAGES
    ),
]
Drawn = Annotated[
    int | None, typer.Option(help="Seed by which images are drawn.", min=0, rich_help_panel=_IMAGES)
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        help="How images become inputs: {presets}; auto: whichever gives the best accuracy on the labels (default: what the "
        "model's name implies, else imagenet, with a warning).",
        rich_help_panel=_IMAGES,
    ),
]
Effort = Annotated[
    str | None,
    typer.Option(
        help="fast, or max: smaller, but takes 50 to 190 times as long to decode.",
        rich_help_panel=_ENCODER,
    ),
]
ThreadCount = Annotated[
    int | None, typer.Option(help="Threads (default, and 0: all cores).", min=0, rich_help_panel=_ENCODER)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command, example in (
        (compress, "rdquant compress squeezenet1.1-7.onnx -o squeezenet.rdq --bits 6"),
        (
            compress_to_size,
            "rdquant compress-to-size squeezenet1.1-7.onnx -o squeezenet.rdq --bits-per-weight 3 --trellis 8",
        ),
        (
            compress_within,
            "rdquant compress-within squeezenet1.1-7.onnx -o squeezenet.rdq --max-loss 0.8 --data photos/",
        ),
        (decompress, "rdquant decompress squeezenet.rdq -o squeezenet.onnx"),
    ):
        app.command(
            cls=Command,
            epilog=f"Example: {example}",
            context_settings=HELP,
            no_args_is_help=True,
            rich_help_panel="Compressed files",
        )(command)


@speaks_for("rdquant.compression:compress", output="path", range_="range")
def compress(
    model: ModelFile,
    output: Output,
    bits: Bits = None,
    quantizer: Family = None,
    scope: Shared = None,
    range_: Span = None,
    roles: Roles = None,
    rdo: Rdo = None,
    trellis: States = None,
    effort: Effort = None,
    threads: ThreadCount = None,
    everything: All = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compress a model into one file: without loss, or quantized with --bits, --quantizer or both."""
    from ..compression import compress as run

    settings = given(
        quantizer=quantizer,
        bits=bits,
        scope=scope,
        range=parse_range(range_),
        roles=_roles(roles),
        rdo=rdo,
        trellis=trellis,
        effort=effort,
        threads=threads,
    )
    _finish(run(model, output, **settings), as_json, everything)


@speaks_for("rdquant.compression:compress_to_size", output="path", size="bytes")
def compress_to_size(
    model: ModelFile,
    output: Output,
    bits_per_weight: BitsPerWeight = None,
    size: Bytes = None,
    mse: Mse = None,
    quantizer: Uniform = None,
    roles: Roles = None,
    rdo: Rdo = None,
    trellis: States = None,
    effort: Effort = None,
    threads: ThreadCount = None,
    everything: All = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compress a model to a given size, or to a given error of its weights, with one step for all of them.
    What the network loses is not measured and may be everything: check the file with rdquant run.
    """
    from ..compression import compress_to_size as run

    settings = given(
        bits_per_weight=bits_per_weight,
        bytes=size,
        mse=mse,
        quantizer=quantizer,
        roles=_roles(roles),
        rdo=rdo,
        trellis=trellis,
        effort=effort,
        threads=threads,
    )
    _finish(run(model, output, **settings), as_json, everything)


@speaks_for("rdquant.compression:compress_within", output="path")
def compress_within(
    model: ModelFile,
    output: Output,
    data: Images,
    max_loss: MaxLoss = None,
    max_kl: MaxKl = None,
    calibration: Fitted = None,
    preprocess: Preprocess = None,
    images: Number = None,
    seed: Drawn = None,
    roles: Roles = None,
    trellis: States = None,
    effort: Effort = None,
    threads: ThreadCount = None,
    everything: All = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compress a classifier into the smallest file that loses no more than you tolerate, without training it.
    Ctrl-C ends the search and keeps the best file so far. For a detector: rdquant compress --bits 8 --scope channel, then
    rdquant run to see its mAP.
    """
    from .._files import target_of
    from ..compression import compress_within as run
    from ..graph import load

    target_of("path", output, model=model, data=data, calibration=calibration)
    loaded = load(model)
    preprocess = find_preset(data, preprocess, loaded)
    fitting = None
    if calibration is not None:
        fitting = load_images(calibration, preprocess, loaded, labelled=False, option="--calibration")
    settings = given(
        max_loss=max_loss,
        max_kl=max_kl,
        calibration=fitting,
        images=images,
        seed=seed,
        roles=_roles(roles),
        trellis=trellis,
        effort=effort,
        threads=threads,
    )
    measuring = load_images(data, preprocess, loaded, labelled=max_loss is not None)
    _finish(run(loaded, output, measuring, progress=True, **settings), as_json, everything)


def _roles(roles: str | None) -> list[str] | None:
    from ..graph import ROLES

    return None if roles is None else parse_names(roles, ROLES, "--roles")


def _finish(result: CompressionResult, as_json: bool, everything: bool) -> None:
    if as_json:
        print_json(result.to_dict())
    else:
        _print_result(result, everything)
    if result.interrupted:
        nothing = result.measured is not None and result.measured.images == 0
        written = (
            "Nothing was measured: the file is without loss."
            if nothing
            else "The best file so far is written."
        )
        log(f"[bold]Interrupted.[/] {written}")
        raise typer.Exit(INTERRUPTED)


def _print_result(result: CompressionResult, everything: bool) -> None:
    shown, notes_on_others = notable(result.tensors, lambda t: t.bytes, everything, "tensors, smaller ones")
    rows = [
        [t.name, t.coding, "×".join(map(str, t.shape)), f"{t.bytes:,}", f"{t.bits_per_weight:.3f}"]
        for t in shown
    ]
    title = f"{result.bytes:,} bytes, {result.compared} {result.original_bytes:,}"
    bits = (
        f"Bits per weight: {result.bits_per_weight:.4f} (whole file {result.file_bits_per_weight:.4f}); "
        if result.weights
        else "No learned floats; "
    )
    notes = [*notes_on_others, f"{bits}graph {result.graph_bytes:,} bytes; SQNR {result.sqnr_db:.2f} dB"]
    notes += _loss_notes(result)
    print_table(title, _HEAD, rows, left=3, notes=notes)


def _loss_notes(result: CompressionResult) -> list[str]:
    """What a search measured, in words."""
    from ..compression.tolerance import signed

    m = result.measured
    if m is None:
        return []
    if m.images == 0:
        return ["Nothing was measured: the file is without loss"]
    expected = signed(-m.expected_loss)
    divergence = "" if m.loss != m.loss else f"; KL divergence {m.kl:.3g} nats"
    notes = [
        f"On {m.images} images that nothing was fitted to: {m}; top-1 accuracy {expected} points as expected from the float "
        f"model's probabilities{divergence}; top-1 agreement with the float model {share_text(m.agreement, m.images)}"
    ]
    if result.interrupted:
        notes.append("The search was interrupted: this is the best file so far")
    elif math.isinf(result.sqnr_db):
        notes.append("Nothing smaller is within the tolerated loss: the file is without loss")
    if not result.met:
        notes.append("No file within the tolerated loss had been found: this is the one that loses least")
    return notes


@speaks_for("rdquant.compression:decompress", model="source")
def decompress(
    model: Coded,
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", dir_okay=False)],
    levels: Annotated[
        bool, typer.Option("--levels", help="Keep levels as int8 or int4 with DequantizeLinear nodes.")
    ] = False,
    threads: ThreadCount = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the model in a compressed file as plain ONNX: quantized weights as their values, all other tensors bit for
    bit. From a pipe the file is read from front to back.
    """
    from .._files import target_of
    from ..compression import decompress as run

    target_of("output", output, model=model)
    restored = run(model, levels=levels, **given(threads=threads))
    restored.save(output)
    size = output.stat().st_size if output.is_file() else 0
    if as_json:
        print_json({"path": str(output), "bytes": size, "tensors": len(restored.tensors())})
    else:
        log(f"{output}: {size:,} bytes" if output.is_file() else f"{output}: written")
