"""The commands that write C for microcontrollers: rdquant emit-c, rdquant fit-to-mcu."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inputs import load_images
from .options import HELP, Command, Debug, Json, ModelFile, Preprocess, given, speaks_for
from .terminal import keep_hint, log, print_json, print_table

if TYPE_CHECKING:
    from ..emit import Firmware
    from ..mcu import McuFit

__all__ = ["register"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant quantize net.onnx --calibration photos/ -o net.int8.onnx\n"
    "  rdquant emit-c net.int8.onnx -o firmware/ --target m4 --max-flash 64K --max-ram 16K\n"
    "  make -C firmware host && firmware/host < input.bin > output.bin\n\n"
    "Kernels: convolutions and fully connected layers (dense, depthwise, grouped); sums, differences and products, also "
    "with constant levels; tables; maxima, means and sums under windows or along axes; concatenations, pads "
    "(constant, edge, reflect), slices, splits, reshapes, transposes, DepthToSpace, SpaceToDepth, Gather at even places, "
    "nearest resizing; softmax over the last axis or an image's channels."
)

_FIT_EPILOG = (
    "\b\nExamples\n"
    "  rdquant fit-to-mcu net.onnx --calibration photos/ --max-flash 64K --max-ram 16K -o firmware/\n\n"
    "Tried are weights of 8 to 3 bits, up to 75 % of them pruned, and input images down to half the size, in the order of what "
    "they do to the float network's outputs. Nothing is trained."
)
Calibration = Annotated[
    str,
    typer.Option(help="Images like those the network will see: folder, .npz, or digits.", show_default=False),
]
Count = Annotated[int | None, typer.Option(help="How many of the images are used at most.", min=1)]

Folder = Annotated[
    Path,
    typer.Option("-o", "--output", help="Folder to write into; made where there is none.", file_okay=False),
]
Name = Annotated[str | None, typer.Option(help="Prefix of all names in C.")]
Ports = Annotated[
    str | None,
    typer.Option(help="Who owns inputs and outputs: arena (parts of it) or caller (pointers)."),
]
Coded = Annotated[
    bool,
    typer.Option(
        "--compressed-weights",
        help="Keep weights entropy coded in flash where that is smaller; layers decode them as they run.",
    ),
]
TargetName = Annotated[
    str | None, typer.Option(help="Core whose costs come first: m0, m3, m4, m7, m33 or m55.")
]
MaxFlash = Annotated[
    str | None,
    typer.Option(
        help="Bytes of flash that there are on --target: 65536, 64K or 1M; fails with the layers to blame."
    ),
]
MaxRam = Annotated[str | None, typer.Option(help="Bytes of memory that there are on --target; likewise.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        "emit-c",
        cls=Command,
        epilog=_EPILOG,
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Inference",
    )(emit_c)
    app.command(
        "fit-to-mcu",
        cls=Command,
        epilog=_FIT_EPILOG,
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Inference",
    )(fit_to_mcu)


@speaks_for("rdquant.emit:emit_c", output="folder")
def emit_c(
    model: ModelFile,
    output: Folder,
    name: Name = None,
    ports: Ports = None,
    compressed_weights: Coded = False,
    target: TargetName = None,
    max_flash: MaxFlash = None,
    max_ram: MaxRam = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a quantized model as C99 for microcontrollers, which computes the same integers; say what it costs."""
    from ..emit import emit_c as emit

    keep_hint(f"{output} may be incomplete.")
    limits = {
        "max_flash": None if max_flash is None else _bytes(max_flash, "--max-flash"),
        "max_ram": None if max_ram is None else _bytes(max_ram, "--max-ram"),
    }
    firmware = emit(
        model,
        output,
        **given(
            name=name, ports=ports, compressed_weights=compressed_weights or None, target=target, **limits
        ),
    )
    if as_json:
        print_json(firmware.to_dict())
    else:
        _print(firmware)


@speaks_for("rdquant.mcu:fit_to_mcu", output="folder")
def fit_to_mcu(
    model: ModelFile,
    output: Folder,
    calibration: Calibration,
    preprocess: Preprocess = None,
    max_flash: MaxFlash = None,
    max_ram: MaxRam = None,
    target: TargetName = None,
    name: Name = None,
    images: Count = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the version of a float model that fits a microcontroller and loses least; write it as C."""
    from ..graph import load
    from ..mcu import fit_to_mcu as search

    limits = {
        "max_flash": None if max_flash is None else _bytes(max_flash, "--max-flash"),
        "max_ram": None if max_ram is None else _bytes(max_ram, "--max-ram"),
    }
    if not any(limits.values()):
        raise typer.BadParameter("one of them is needed", param_hint="--max-flash, --max-ram")
    loaded = load(model)
    data = load_images(calibration, preprocess, loaded, labelled=False, option="--calibration")
    keep_hint(f"{output} may be incomplete.")
    found = search(
        loaded, data, output, progress=True, **given(**limits, target=target, name=name, images=images)
    )
    if as_json:
        print_json(found.to_dict())
    else:
        _print_fit(found)


def _bytes(text: str, option: str) -> int:
    """65536 of "64K". Raises typer.BadParameter."""
    units = {"K": 1 << 10, "M": 1 << 20}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    if not number.isdigit() or int(number) == 0:
        raise typer.BadParameter(f"{text!r}: expected bytes, such as 65536, 64K or 1M", param_hint=option)
    return int(number) * unit


def _print(firmware: Firmware) -> None:
    frame = firmware.to_pandas()
    head = ["node", "kernel", "MACs", "constants", "arena in use", f"cycles, {firmware.target}"]
    columns = ("node", "kernel", "macs", "constants", "live", "cycles")
    rows = [
        [str(v) if isinstance(v, str) else f"{v:,}" for v in row]
        for row in frame[list(columns)].values.tolist()
    ]
    print_table("Calls of kernels", head, rows, left=2)
    rows = [
        [name, f"{c.flash:,}", f"{c.code:,}", f"{c.ram:,}", f"{c.stack:,}", f"{c.cycles:,}"]
        for name, c in firmware.costs.items()
    ]
    notes = [
        f"Arena {firmware.arena:,} bytes, constants {firmware.constants:,} bytes, {firmware.macs:,} MACs",
        "Flash without start-up code; code and stack as GCC 12 -Os makes them; cycles are estimated",
    ]
    print_table(
        "Costs", ["core", "flash", "of which code", "RAM", "of which stack", "cycles"], rows, notes=notes
    )
    log(f"{firmware.path}: make -C {shlex.quote(str(firmware.path))} host")


def _print_fit(fit: McuFit) -> None:
    head = ["bits", "pruned", "input", "predicted noise", "flash", "RAM", "outcome"]
    rows = [
        [
            str(row["bits"]),
            f"{row['pruned']:.0%}",
            "×".join(map(str, row["shape"][1:])),
            "" if row["predicted"] is None else f"{row['predicted']:.2g}",
            "" if row["flash"] is None else f"{row['flash']:,}",
            "" if row["ram"] is None else f"{row['ram']:,}",
            row["outcome"],
        ]
        for row in fit.tried
        if row["outcome"] != "not tried"
    ]
    print_table(
        "Candidates", head, rows, notes=[f"Noise of the quantized network's outputs: {fit.noise:.2g}"]
    )
    _print(fit.firmware)
