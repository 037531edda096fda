"""The command that quantizes a model for inference: rdquant quantize."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inputs import load_images
from .options import (
    HELP,
    All,
    Command,
    Debug,
    Json,
    ModelFile,
    Preprocess,
    Threads,
    given,
    parse_names,
    speaks_for,
)
from .terminal import keep_hint, log, notable, print_json, print_table, share_text

if TYPE_CHECKING:
    from ..ptq import DynamicReport, QuantizedModel, Report

__all__ = ["register"]

_EPILOG = (
    "\b\nExamples\n"
    "  rdquant quantize net.onnx --calibration photos/ --preprocess imagenet -o net.int8.onnx\n"
    "  rdquant quantize net.onnx --calibration photos/ --rounding nearest --equalize 0 -o quick.onnx\n"
    "  rdquant quantize net.onnx --mode dynamic -o net.int8.onnx\n\n"
    "Labels are not used. The file runs in ONNX Runtime, OpenVINO and rdquant. Layers whose quantization would damage the "
    "outputs too much stay in float and are listed with the reason."
)

Mode = Annotated[
    str,
    typer.Option(
        help="static: ranges of activations are found beforehand, from images. dynamic: they are found at run time; needs no "
        "images, runs more slowly."
    ),
]
Folder = Annotated[
    str | None,
    typer.Option(
        help="Images like those the network will see, 100 to 300 of them: folder, .npz, or digits. --mode dynamic needs "
        "none; with 16 to 64 it measures the loss and keeps the worst layers in float."
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(help="--mode dynamic: layers that stay in float, comma-separated names of nodes."),
]
_MODES = ("static", "dynamic")
_STATIC = {"activations", "symmetric", "ranges", "percentile", "equalize", "rounding", "no_bias_correction"}
Count = Annotated[
    int | None, typer.Option(help="How many of the images are used at most, spread over the classes.", min=1)
]
Activations = Annotated[
    str | None, typer.Option(help="Levels of activations: u8 (0 … 255) or s8 (-128 … 127).")
]
Symmetric = Annotated[
    bool, typer.Option("--symmetric", help="Let the middle level of activations stand for 0.")
]
PerTensor = Annotated[
    bool,
    typer.Option(
        "--per-tensor", help="One scale for all weights of a layer instead of one for each output channel."
    ),
]
Ranges = Annotated[
    str | None,
    typer.Option(
        help="How ranges of activations are chosen: minmax (all values seen), average (of the images' extremes), "
        "percentile, mse (least squared error), kl (least divergence of histograms)."
    ),
]
Percentile = Annotated[
    float | None,
    typer.Option(help="Share of values, in percent, that --ranges percentile keeps.", min=50, max=100),
]
Equalize = Annotated[
    float | None,
    typer.Option(help="Strength of cross-layer equalization of channels, 0 (none) to 1.", min=0, max=1),
]
Rounding = Annotated[
    str | None,
    typer.Option(
        help="How weights are rounded: nearest; feedback (preserves each layer's outputs); order (feedback, then layer by "
        "layer, each compensating for those before it)."
    ),
]
NoBias = Annotated[bool, typer.Option("--no-bias-correction", help="Leave the biases as they are.")]
MaxKl = Annotated[
    float | None,
    typer.Option(
        help="Classifiers: largest tolerated mean KL divergence from the float model's outputs, in nats."
    ),
]
MaxNoise = Annotated[
    float | None,
    typer.Option(
        help="Other networks: largest tolerated mean share of noise in an output's channels, 0 to 1."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command, epilog=_EPILOG, context_settings=HELP, no_args_is_help=True, rich_help_panel="Inference"
    )(quantize)


@speaks_for(
    "rdquant.ptq:quantize_static",
    "rdquant.ptq:quantize_dynamic",
    per_tensor="per_channel",
    no_bias_correction="correct_bias",
)
def quantize(
    context: typer.Context,
    model: ModelFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="ONNX file to write.", dir_okay=False)],
    mode: Mode = "static",
    calibration: Folder = None,
    preprocess: Preprocess = None,
    images: Count = None,
    keep: Keep = None,
    activations: Activations = None,
    symmetric: Symmetric = False,
    per_tensor: PerTensor = False,
    ranges: Ranges = None,
    percentile: Percentile = None,
    equalize: Equalize = None,
    rounding: Rounding = None,
    no_bias_correction: NoBias = False,
    max_kl: MaxKl = None,
    max_noise: MaxNoise = None,
    threads: Threads = None,
    everything: All = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Quantize activations and weights to 8 bits; the result is ONNX that other engines run too."""
    from .._files import target_of
    from ..graph import load
    from ..ptq import quantize_dynamic, quantize_static

    parse_names(mode, _MODES, "--mode")
    _check_mode(context, mode)
    target_of("output", output, model=model, calibration=calibration)
    loaded = load(model)
    data = None
    if calibration is not None:
        data = load_images(calibration, preprocess, loaded, labelled=False, option="--calibration")
    keep_hint(f"{output} was not written.")
    common = given(images=images, max_kl=max_kl, max_noise=max_noise, threads=threads, progress=True)
    if per_tensor:
        common["per_channel"] = False
    quantized: QuantizedModel[Report] | QuantizedModel[DynamicReport]
    if data is None or mode == "dynamic":
        names = None if keep is None else [name.strip() for name in keep.split(",")]
        quantized = quantize_dynamic(loaded, calibration=data, **common, **given(keep=names))
    else:
        static = given(
            activations=activations,
            symmetric=symmetric or None,
            ranges=ranges,
            percentile=percentile,
            equalize=equalize,
            rounding=rounding,
            correct_bias=False if no_bias_correction else None,
        )
        quantized = quantize_static(loaded, data, **common, **static)
    quantized.save(output)
    if as_json:
        print_json({"path": str(output), "bytes": output.stat().st_size, **quantized.report.to_dict()})
        return
    _print(quantized.report, everything)
    log(f"{output}: {output.stat().st_size:,} bytes; {_outcome(quantized.report)}")


def _check_mode(context: typer.Context, mode: str) -> None:
    """Raise typer.BadParameter for an option that the mode does not have, or one that it needs."""
    given: dict[str, str] = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            given[name] = parameter.opts[-1]
    if mode == "static" and "calibration" not in given:
        raise typer.BadParameter("--mode static needs images", param_hint="--calibration")
    if mode == "dynamic" and "calibration" not in given:
        lost = {"preprocess", "images", "max_kl", "max_noise"} & set(given)
        if lost:
            raise typer.BadParameter("it needs --calibration", param_hint=given[min(lost)])
    wrong = _STATIC & set(given) if mode == "dynamic" else {"keep"} & set(given)
    if wrong:
        raise typer.BadParameter(f"--mode {mode} does not take it", param_hint=given[min(wrong)])


def _outcome(report: Report | DynamicReport) -> str:
    """What the network in the file loses."""
    if report.damage is None or report.limit is None:
        return "what its outputs lose is unknown"
    what = "KL" if report.damage.kl is not None else "noise"
    images = getattr(report, "measured", report.images)
    compared = "within" if report.met else "more than"
    text = f"its {what} on {images} images is {report.damage.score:.4g}, {compared} the tolerated {report.limit:g}"
    undone = getattr(report, "undone", ())
    return text + (f"; undone, as worse: {', '.join(undone)}" if undone else "")


def _print(report: Report | DynamicReport, everything: bool) -> None:
    from ..ptq import Report

    if isinstance(report, Report):
        _print_static(report, everything)
    else:
        _print_dynamic(report, everything)


def _print_dynamic(report: DynamicReport, everything: bool) -> None:
    what = "noise" if report.damage is not None and report.damage.kl is None else "KL"
    shown, more = notable(
        report.layers,
        lambda layer: (layer.kept, layer.alone or 0.0, -(layer.weight_sqnr_db or 0.0)),
        everything,
        "layers, which are quantized with less loss or kept in float like these",
    )
    rows = [
        [
            layer.node,
            layer.op,
            "–" if layer.weight_sqnr_db is None else f"{layer.weight_sqnr_db:.1f}",
            "–" if layer.alone is None else f"{layer.alone:.2e}",
            layer.reason,
        ]
        for layer in shown
    ]
    notes = [*more, f"Layers kept in float: {len(report.kept)} of {len(report.layers)}"]
    if report.damage is None:
        notes.append("What the outputs lose is unknown; --calibration measures it")
    else:
        notes.append(f"{what} on {report.images} images: {report.damage.score:.4g}")
        if report.damage.agreement is not None:
            same = share_text(report.damage.agreement, report.images)
            notes.append(f"Top-1 agreement with the float model: {same}")
    if report.met is False:
        notes.append(f"The tolerated {report.limit:g} is not met")
    head = ["layer", "operator", "weights' SQNR dB", f"{what} alone", "kept in float because"]
    print_table("Layers", head, rows, left=2, notes=notes)


def _print_static(report: Report, everything: bool) -> None:
    what = "KL" if report.damage.kl is not None else "noise"
    shown, more = notable(
        report.layers,
        lambda layer: (layer.kept, layer.alone),
        everything,
        "layers, which cost less or are kept in float like these",
    )
    rows = [
        [
            layer.node,
            layer.op,
            f"{layer.alone:.2e}",
            "–" if layer.sqnr_db is None else f"{layer.sqnr_db:.1f}",
            layer.reason if layer.kept else "",
        ]
        for layer in shown
    ]
    steps = ", ".join(f"{step.step} {step.damage.score:.4g}" for step in report.steps)
    notes = [
        *more,
        f"{what} on {report.measured} of {report.images} calibration images, step by step: {steps}",
    ]
    if report.damage.agreement is not None:
        same = share_text(report.damage.agreement, report.measured)
        notes.append(f"Top-1 agreement with the float model: {same}")
    notes.append(f"Layers kept in float: {len(report.kept)} of {len(report.layers)}")
    if not report.met:
        notes.append(f"The tolerated {report.limit:g} is not met")
    head = ["layer, worst first", "operator", f"{what} alone", "SQNR dB", "kept in float because"]
    print_table("Damage by layer", head, rows, left=2, notes=notes)
