"""The commands of paper 003: rdquant significance, rdquant allocate, rdquant qat."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .inputs import load_images
from .options import (
    HELP,
    Command,
    DataSource,
    Debug,
    Images,
    Json,
    ModelFile,
    Preprocess,
    Threads,
    check_picture,
    given,
    parse_bits,
    speaks_for,
)
from .terminal import keep_hint, log, print_json, print_table, records

if TYPE_CHECKING:
    from ..significance import Allocation, Comparison, SignificanceMap

__all__ = ["register"]

_MAP_EPILOG = (
    "\b\nExamples\n"
    "  rdquant significance net.onnx --data photos/ --classes 1,9 --store map/\n"
    "  rdquant significance net.onnx --data photos/ --component channel --store map/ --plot map.png\n\n"
    "Ctrl-C leaves what was measured in the store; the same command goes on with it."
)
_ALLOCATE_EPILOG = (
    "\b\nExamples\n"
    "  rdquant allocate net.onnx map/ --mean-bits 3 -o net.rdq\n"
    "  rdquant allocate net.onnx map/ --bytes 100000 --classes cat,dog --data fresh/ -o net.rdq\n\n"
    "With --data the allocation is compared with the all-class one on these images, which should be fresh."
)
_QAT_EPILOG = (
    "\b\nExamples\n"
    "  rdquant qat net.onnx map/ --mean-bits 3 --data train/ -o net.rdq\n"
    "  rdquant qat net.onnx map/ --mean-bits 4 --data train/ --epochs 5 --checkpoint run.pt -o net.onnx\n\n"
    "A file .onnx holds levels (QDQ); with --int8 activations too.\n\n"
    "Compare with the float network trained on the same images as long. Needs PyTorch: pip install 'rdquant\\[train]'."
)

Store = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps the map; a later call goes on with it.", file_okay=False),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="Critical classes, comma-separated numbers or names; groups apart by a slash: 1,9/3,5. None given: those that "
        "the network mistakes for each other most."
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        help="The critical classes: one group, comma-separated numbers or names. None given: the map's, where it has one group."
    ),
]
Widths = Annotated[str | None, typer.Option(help="Widths measured, such as 2-5 or 2,3.")]
Component = Annotated[
    str | None, typer.Option(help="layer; channel: output channels of the last stage besides.")
]
Rounding = Annotated[str | None, typer.Option(help="feedback (by the layers' inputs) or nearest.")]
Picture = Annotated[Path | None, typer.Option("--plot", help="Picture of the map to write.", dir_okay=False)]
Fresh = Annotated[
    str | None, typer.Option("--data", help="Fresh labelled images to compare on: folder, .npz, or digits.")
]
Method = Annotated[
    str | None,
    typer.Option(
        help="priority (least critical loss, all classes kept), paper (critical loss alone), all, uniform, hawq, weights."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    look: dict[str, Any] = {"cls": Command, "context_settings": HELP, "no_args_is_help": True}
    app.command(epilog=_MAP_EPILOG, rich_help_panel="Compression", **look)(significance)
    app.command(epilog=_ALLOCATE_EPILOG, rich_help_panel="Compression", **look)(allocate)
    app.command(epilog=_QAT_EPILOG, rich_help_panel="Training", **look)(qat)


@speaks_for("rdquant.significance:significance")
def significance(
    model: ModelFile,
    data: DataSource,
    preprocess: Preprocess = None,
    classes: Classes = None,
    bits: Widths = None,
    component: Component = None,
    images: Images = None,
    store: Store = None,
    rounding: Rounding = None,
    plot: Picture = None,
    threads: Threads = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure what each layer at a few bits costs critical classes, and all classes."""
    from ..graph import load
    from ..significance import significance as measure

    if plot is not None:
        check_picture(plot)
    loaded = load(model)
    dataset = load_images(data, preprocess, loaded)
    keep_hint("What was measured is in the store." if store else "No --store was given: nothing was kept.")
    found = measure(
        loaded,
        dataset,
        **given(
            classes=_classes(classes),
            bits=None if bits is None else parse_bits(bits),
            component=component,
            images=None if images is None else min(images, len(dataset)),
            store=store,
            rounding=rounding,
            threads=threads,
        ),
        progress=True,
    )
    if plot is not None:
        from .._files import replacing

        figure = found.plot()
        with replacing(plot) as path:
            figure.savefig(path, dpi=200)
    _print_map(found, as_json)
    if store is None:
        log("The map was not kept; rdquant allocate needs its --store.")


@speaks_for("rdquant.significance:allocate", bytes_="bytes")
def allocate(
    model: ModelFile,
    store: Annotated[Path, typer.Argument(help="Folder of the map.", metavar="STORE", file_okay=False)],
    mean_bits: Annotated[float | None, typer.Option(help="Budget: bits per weight on average.")] = None,
    bytes_: Annotated[
        int | None, typer.Option("--bytes", help="Budget: size of the compressed file.")
    ] = None,
    milliseconds: Annotated[
        float | None, typer.Option(help="Budget: predicted time of an inference.")
    ] = None,
    keep_all: Annotated[
        float | None, typer.Option(help="Times the least all-class loss that is allowed, at least 1.")
    ] = None,
    classes: Group = None,
    method: Method = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="cross-entropy, kl, or shrunk: between them (default: shrunk for priority, else cross-entropy)."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write: .rdq or .onnx.", dir_okay=False)
    ] = None,
    data: Fresh = None,
    preprocess: Preprocess = None,
    threads: Threads = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Give layers widths under a budget, by a map of significance."""
    from .._files import target_of
    from ..graph import load
    from ..significance import allocate as choose
    from ..significance import compare, open_map

    loaded, found = load(model), open_map(store)
    target = None if output is None else target_of("output", output, model=model)
    if target is not None and target.suffix not in (".rdq", ".onnx"):
        raise typer.BadParameter(f"{str(target)!r}: expected a file .rdq or .onnx", param_hint="--output")
    budget = given(mean_bits=mean_bits, bytes=bytes_, milliseconds=milliseconds)
    group = _classes(classes)
    options = given(keep_all=keep_all, method=_method(method), loss=loss, classes=group, threads=threads)
    allocation = choose(loaded, found, **budget, **options)
    if target is not None and target.suffix == ".rdq":
        allocation.save(target)
    elif target is not None:
        allocation.qdq().save(target)
    compared = None
    if data is not None:
        other = choose(loaded, found, **budget, **(options | {"method": "all"}))
        dataset = load_images(data, preprocess, loaded)
        named = {"all classes": other, allocation.method: allocation}
        compared = compare(loaded, named, dataset, group or [list(g) for g in found.groups], threads=threads)
    _print_allocation(allocation, compared, target, as_json)


@speaks_for("rdquant.train.qat:qat", "rdquant.significance:allocate")
def qat(
    model: ModelFile,
    store: Annotated[Path, typer.Argument(help="Folder of the map.", metavar="STORE", file_okay=False)],
    data: Annotated[str, typer.Option(help="Labelled images to train on: folder, .npz, or digits.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: .rdq or .onnx.", dir_okay=False)
    ],
    mean_bits: Annotated[float, typer.Option(help="Budget: bits per weight on average.")],
    classes: Group = None,
    method: Method = None,
    preprocess: Preprocess = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the images.", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of SGD at the beginning.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images in a batch.", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, …")] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File that keeps the training; the same command goes on with it.", dir_okay=False),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Give activations 8 bits too, for integer engines: a file .onnx.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network for a few epochs at the widths of an allocation."""
    from .._files import target_of
    from ..graph import load
    from ..significance import allocate as choose
    from ..significance import open_map
    from ..train.qat import qat as train

    loaded, found = load(model), open_map(store)
    target = target_of("output", output, model=model, data=data)
    if target.suffix not in (".rdq", ".onnx"):
        raise typer.BadParameter(f"{str(target)!r}: expected a file .rdq or .onnx", param_hint="--output")
    if int8 and target.suffix != ".onnx":
        raise typer.BadParameter(f"{str(target)!r}: with --int8 expected a file .onnx", param_hint="--output")
    options = given(mean_bits=mean_bits, classes=_classes(classes), method=_method(method))
    allocation = choose(loaded, found, **options)
    dataset = load_images(data, preprocess, loaded)
    left = (
        "Nothing was kept: no --checkpoint was given."
        if checkpoint is None
        else f"It goes on from {checkpoint}."
    )
    keep_hint(f"{target} was not written. {left}")
    training = given(
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        device=device,
        checkpoint=checkpoint,
    )
    trained: Any = train(loaded, dataset, allocation, progress=True, **training)
    if target.suffix == ".rdq":
        trained.save(target)
    else:
        (trained.int8(dataset, progress=True) if int8 else trained.qdq()).save(target)
    _print_allocation(trained, None, target, as_json)


def _method(name: str | None) -> str | None:
    """A method of allocation that needs nothing but the map."""
    if name == "search":
        raise typer.BadParameter(
            "'search' runs the network on images: call rdquant.allocate from Python, with data=…",
            param_hint="--method",
        )
    return name


def _classes(text: str | None) -> list[Any] | None:
    """Groups of numbers and names from "1,9/3,5"; None for None."""
    if text is None:
        return None
    groups = [[part.strip() for part in group.split(",") if part.strip()] for group in text.split("/")]
    found = [[int(part) if part.isdecimal() else part for part in group] for group in groups]
    if not all(found):
        raise typer.BadParameter(
            f"{text!r}: expected classes, comma-separated, in every group", param_hint="--classes"
        )
    return found[0] if len(found) == 1 else found


def _print_map(found: SignificanceMap, as_json: bool) -> None:
    table = found.to_pandas()
    if as_json:
        print_json({"model": found.model, "images": len(found.labels), "rows": records(table)})
        return
    rows = [
        [
            r["classes"],
            r["component"],
            str(r["bits"]),
            _with_error(r["significance"], r["standard_error"]),
            f"{r['all_classes']:+.4f}",
        ]
        for r in records(table)
    ]
    head = ["critical classes", "component", "bits", "significance, nats", "all classes, nats"]
    print_table(f"{found.model} on {len(found.labels):,} images", head, rows)


def _with_error(value: float, error: float | None) -> str:
    """One image has no standard error."""
    return f"{value:+.4f}" if error is None else f"{value:+.4f} ± {error:.4f}"


def _print_allocation(
    allocation: Allocation, compared: Comparison | None, target: Path | None, as_json: bool
) -> None:
    table = allocation.to_pandas()
    facts = {
        "method": allocation.method,
        "mean_bits": allocation.mean_bits,
        "bytes": allocation.bytes,
        "milliseconds": allocation.milliseconds,
        "path": None if target is None else str(target),
    }
    effects = None if compared is None else records(compared.to_pandas())
    if as_json:
        classes = None if compared is None else records(compared.per_class())
        print_json({**facts, "components": records(table), "effects": effects, "classes": classes})
        return
    rows = [[r["component"], f"{r['weights']:,}", f"{r['bits']:.4g}"] for r in records(table)]
    title = f"{allocation.method}: {allocation.mean_bits:.3f} bits per weight, {allocation.bytes:,} bytes"
    print_table(title, ["component", "weights", "bits"], rows)
    if effects is not None:
        lines = [
            [
                *(r[name] for name in ("method", "classes", "variant", "measure")),
                f"{r['value']:.2f}",
                f"{r['difference']:+.2f} [{r['low']:+.2f} {r['high']:+.2f}]",
            ]
            for r in effects
        ]
        head = ["method", "classes", "variant", "measure", "percent", "points more than all-class"]
        print_table("on fresh images, 95 % intervals", head, lines)
    if compared is not None:
        per_class = compared.per_class()
        body = [
            [f"{v:.2f}" if isinstance(v, float) else str(v) for v in r.values()] for r in records(per_class)
        ]
        print_table("F1 by class, percent", [str(name) for name in per_class], body)
    if target is not None:
        log(f"{target}: {target.stat().st_size:,} bytes")
