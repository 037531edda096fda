"""The commands that write and read compressed files: rdquant compress and decompress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import HELP, Command, Debug, Json, ModelFile, Preprocess, check_data, parse_names
from .terminal import INTERRUPTED, log, print_json, print_table

if TYPE_CHECKING:
    from ..compression import CompressionResult
    from ..data import Dataset
    from ..graph import Model

__all__ = ["register"]

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
    int | None,
    typer.Option(
        help="States of a trellis-coded quantizer, 8 or 32; 0: scalar levels. Default: 32 with --data, else 0.",
        min=0,
    ),
]
TargetBits = Annotated[
    float | None, typer.Option(help="Find the step for so many real bits a weight.", min=0)
]
TargetMse = Annotated[
    float | None, typer.Option(help="Find the step for this mean squared error of the weights.", min=0)
]

Bits = Annotated[
    int | None,
    typer.Option(
        help="Quantize with one step for the model, 2/2^bits (default: without loss).", min=1, max=24
    ),
]
Family = Annotated[
    str | None, typer.Option(help="midtread, midrise, deadzone:δ, mulaw:µ, codebook, minifloat:e/m, half.")
]
ProfileName = Annotated[
    str, typer.Option(help="fast to decode, or max: smaller, but decoded a hundred times more slowly.")
]
Roles = Annotated[
    str | None,
    typer.Option(
        help="What is quantized: weight, bias, normalization, comma-separated "
        "(default: weight; with --data weight,bias)."
    ),
]
MaxLoss = Annotated[
    float | None,
    typer.Option(help="With --data: the smallest file that loses at most so many points of top-1."),
]
MaxKl = Annotated[
    float | None,
    typer.Option(
        help="With --data: the same by the outputs' mean KL divergence, nats; alone it needs no labels."
    ),
]
Images = Annotated[
    str | None, typer.Option(help="Images that calibrate and measure: folder, .npz file, or digits.")
]
Calibration = Annotated[
    int, typer.Option(help="How many of the images serve the search, without their labels.", min=3)
]
Fitted = Annotated[
    str | None,
    typer.Option(help="Images that calibrate in place of some of --data, which then only measures."),
]
Drawn = Annotated[int, typer.Option(help="Which images are drawn.", min=0)]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant compress squeezenet1.1-7.onnx -o squeezenet.rdq --max-loss 0.8 --data photos/",
        context_settings=HELP,
        no_args_is_help=True,
    )(compress)
    app.command(
        epilog="Example: rdquant decompress squeezenet.rdq -o squeezenet.onnx",
        context_settings=HELP,
        no_args_is_help=True,
    )(decompress)


def compress(
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.", dir_okay=False)],
    bits: Bits = None,
    quantizer: Family = None,
    profile: ProfileName = "fast",
    roles: Roles = None,
    rdo: Rdo = None,
    trellis: States = None,
    target_bits: TargetBits = None,
    target_mse: TargetMse = None,
    max_loss: MaxLoss = None,
    max_kl: MaxKl = None,
    data: Images = None,
    preprocess: Preprocess = None,
    fit: Fitted = None,
    calibration: Calibration = 300,
    seed: Drawn = 0,
    threads: ThreadCount = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a model as one compressed file: within a tolerated loss with --max-loss or --max-kl and --data; quantized
    with --bits, --quantizer or a target; else without loss. Ctrl-C ends a search with the best file so far.
    """
    from ..compression import compress as run
    from ..graph import load

    parse_names(profile, ("fast", "max"), "--profile")
    chosen = parse_names(roles, ("weight", "bias", "normalization"), "--roles") if roles is not None else None
    loaded = load(model)
    images, fitted = _images(loaded, data, fit, preprocess, labelled=max_loss is not None)
    result = run(
        loaded,
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
        max_loss=max_loss,
        max_kl=max_kl,
        data=images,
        fit=fitted,
        calibration=calibration,
        seed=seed,
        progress=True,
    )
    if as_json:
        print_json(result.to_dict())
    else:
        _print_result(result)
    if result.interrupted:
        log("[bold]Interrupted.[/] The best file so far is written.")
        raise typer.Exit(INTERRUPTED)


def _images(
    model: Model, data: str | None, fit: str | None, preprocess: str | None, labelled: bool
) -> tuple[Dataset | None, Dataset | None]:
    """What --data and --fit mean; raises typer.BadParameter where they do not go together."""
    if data is None:
        for value, option, why in (
            (preprocess, "--preprocess", "says what --data becomes, which is not given"),
            (fit, "--fit", "needs --data, which measures what is lost"),
        ):
            if value is not None:
                raise typer.BadParameter(why, param_hint=option)
        return None, None
    from ..data import open_dataset

    check_data(data, preprocess)
    if fit is None:
        return open_dataset(data, preprocess, model=model, labelled=labelled), None
    check_data(fit, preprocess, "--fit")
    return (
        open_dataset(data, preprocess, model=model, labelled=labelled),
        open_dataset(fit, preprocess, model=model, labelled=False),
    )


def _print_result(result: CompressionResult) -> None:
    rows = [
        [t.name, t.coding, "×".join(map(str, t.shape)), f"{t.bytes:,}", f"{t.bits_per_weight:.3f}"]
        for t in result.tensors
    ]
    ratio = result.original_bytes / result.bytes
    compared = f"{ratio:.2f} times smaller than" if ratio >= 1 else f"{1 / ratio:.2f} times the size of"
    title = f"{result.bytes:,} bytes, {compared} {result.original_bytes:,}"
    bits = (
        f"Bits a weight: {result.bits_per_weight:.4f} (whole file {result.file_bits_per_weight:.4f}); "
        if result.weights
        else "No learned floats; "
    )
    notes = [f"{bits}graph {result.graph_bytes:,} bytes; SQNR {result.sqnr_db:.2f} dB"]
    notes += _loss_notes(result)
    print_table(title, _HEAD, rows, left=3, notes=notes)


def _loss_notes(result: CompressionResult) -> list[str]:
    """What a search measured, in words."""
    m = result.measured
    if m is None:
        return []
    if m.images == 0:
        return ["Nothing was measured: the file is without loss"]
    labelled = (
        "" if m.loss != m.loss else f"points of top-1 lost {m.loss:.2f} (± {m.loss_error:.2f} at most); "
    )
    notes = [
        f"On {m.images} images that were not fitted to: {labelled}expected from the float model's probabilities "
        f"{m.expected_loss:.2f}; KL {m.kl:.3g} nats; same first class {100 * m.agreement:.1f} %"
    ]
    if result.interrupted:
        notes.append("The search was interrupted: this is the best file so far")
    elif math.isinf(result.sqnr_db):
        notes.append("Nothing smaller is within the tolerated loss: the file is without loss")
    if not result.met:
        notes.append("No file within the tolerated loss had been found: this is the one that loses least")
    return notes


def decompress(
    model: Coded,
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", dir_okay=False)],
    levels: Annotated[
        bool, typer.Option("--levels", help="Keep levels as int8 or int4 with DequantizeLinear nodes.")
    ] = False,
    threads: ThreadCount = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the model in a compressed file as plain ONNX: quantized weights as their values, all other tensors bit for
    bit. From a pipe the file is read from front to back.
    """
    from ..compression import decompress as run

    restored = run(model, threads=threads, levels=levels)
    restored.save(output)
    size = output.stat().st_size if output.is_file() else 0
    if as_json:
        print_json({"path": str(output), "bytes": size, "tensors": len(restored.tensors())})
    else:
        log(f"{output}: {size:,} bytes" if output.is_file() else f"{output}: written")
