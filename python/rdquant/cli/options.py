"""What the commands take: types of options, and parsers that name what is wrong and what is allowed."""

from __future__ import annotations

import ast
import enum
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from .._files import target_of
from ..errors import needed
from .terminal import set_debug

if TYPE_CHECKING:
    from ..quant.spec import QuantizerSpec


class Criterion(str, enum.Enum):
    """How a family's parameters are found."""

    mle = "mle"
    kl = "kl"
    sse = "sse"


class Per(str, enum.Enum):
    """What is fitted at once."""

    model = "model"
    tensor = "tensor"


class Strategy(str, enum.Enum):
    """Which points are evaluated."""

    grid = "grid"
    adaptive = "adaptive"


AUTO = "auto"
"""The value of --preprocess that has the preset found on labelled images."""
HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Settings of every command."""

ModelFile = Annotated[
    Path, typer.Argument(help="Model: .onnx or .rdq.", exists=True, dir_okay=False, metavar="MODEL")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")]
All = Annotated[bool, typer.Option("--all", help="List every tensor or layer, not only the notable ones.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in the browser.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Print the traceback of an error.", callback=set_debug, expose_value=False),
]
Families = Annotated[str | None, typer.Option(help="Comma-separated, out of: {families} (default: all).")]
Interval = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW,HIGH",
        help="Range of the histogram (default: from the smallest weight to the largest).",
    ),
]
Preprocess = Annotated[
    str | None,
    typer.Option(
        help="How images become inputs: {presets}; auto: whichever gives the best accuracy on the labels (default: what the "
        "model's name implies, else imagenet, with a warning)."
    ),
]
BatchSize = Annotated[int | None, typer.Option(help="Images per run of the network.", min=1)]
Scopes = Annotated[
    str | None,
    typer.Option(
        help="What has a step of its own: the model, each tensor or each channel: model, tensor, channel, comma-separated."
    ),
]
QuantizedRoles = Annotated[
    str | None,
    typer.Option(help="Which tensors are quantized: weight, bias, normalization, comma-separated."),
]
Jobs = Annotated[int, typer.Option(help="Evaluate points in this many processes.", min=1)]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the order in which --strategy adaptive takes the images.", min=0)
]
Backend = Annotated[str | None, typer.Option(help="Backend that runs the network: {backends}.")]
DataSource = Annotated[
    str, typer.Option(help="Folder of images (labels.csv, or a folder per class), .npz file, or digits.")
]
Quantizers = Annotated[
    str | None,
    typer.Option(
        help="Comma-separated: midtread, midrise, deadzone:δ (0 to 1; alone: 0.4), mulaw:µ (alone: 255), minifloat "
        "(Table 3.5) or minifloat:exponent/mantissa, half, bfloat16, codebook (default: those of Tonin's thesis, 2021)."
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        help="Range of the levels: 1 for ±1, max for ±max|w| (default: 1 for --scope model, as in "
        "Tonin's thesis, 2021, else max).",
    ),
]
Images = Annotated[
    int | None, typer.Option(help="Use at most this many images, evenly spread (default: all).", min=1)
]
Threads = Annotated[int | None, typer.Option(help="Threads (default, and 0: all cores).", min=0)]
StudyFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder of the study.", file_okay=False)]


def parse_bits(text: str) -> list[int]:
    """Bits from "2-16", "4,6,8" or a mixture, ascending and without repeats; each within 1..24.

    Raises typer.BadParameter, which names the part that is wrong.
    """
    bits: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low, high = int(first), int(last if dash else first)
        except ValueError:
            message = f"{part.strip()!r}: expected a number or a range such as 2-16"
            raise typer.BadParameter(message, param_hint="--bits") from None
        if not 1 <= low <= high <= 24:
            order = ", the lower number first" if low > high else ""
            message = f"{part.strip()!r}: expected bits from 1 to 24{order}"
            raise typer.BadParameter(message, param_hint="--bits")
        bits.update(range(low, high + 1))
    return sorted(bits)


def parse_quantizers(text: str) -> list[QuantizerSpec]:
    """Quantizers from a comma-separated list such as "midtread,deadzone:0.4,minifloat:4/3".

    Raises typer.BadParameter, which names the part that is wrong and what is allowed.
    """
    from ..errors import InvalidArgument
    from ..quant.spec import parse_quantizers as parse

    try:
        return parse(text)
    except InvalidArgument as error:
        raise typer.BadParameter(str(error).removeprefix("quantizers: "), param_hint="--quantizers") from None


def parse_range(text: str | None) -> str | float | None:
    """A number above 0, or "max"; raises typer.BadParameter for anything else."""
    if text is None or text == "max":
        return text
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r}: expected a number above 0, or max", param_hint="--range")
    return value


def parse_interval(text: str | None) -> tuple[float, float] | None:
    """(low, high) from "LOW,HIGH"; raises typer.BadParameter for anything else."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise typer.BadParameter(f"{text!r}: expected LOW,HIGH, the lower first", param_hint="--range")
    return low, high


def parse_names(text: str, allowed: Iterable[str], option: str) -> list[str]:
    """Names from a comma-separated list, without repeats.

    Raises typer.BadParameter where there is none, or one that is not among `allowed`.
    """
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = list(allowed)
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None or not names:
        found = "none given" if wrong is None else f"{wrong!r} is unknown"
        raise typer.BadParameter(f"{found}; allowed: {', '.join(known)}", param_hint=option)
    return names


def check_data(source: str, preprocess: str | None, option: str = "--data") -> None:
    """Raise typer.BadParameter where the source of images, `option`, or --preprocess cannot be meant."""
    from ..data import PRESETS

    path = Path(source)
    if preprocess is not None:
        parse_names(preprocess, (*PRESETS, AUTO), "--preprocess")
    if not (path.is_dir() or source == "digits" or (path.suffix == ".npz" and path.is_file())):
        fault = "is not a data set" if path.exists() else "does not exist"
        message = (
            f"{source!r} {fault}; expected a folder of images, an existing .npz file, or the word digits"
        )
        raise typer.BadParameter(message, param_hint=option)
    if source == "digits" and preprocess is not None and not path.is_dir():
        raise typer.BadParameter(
            "digits take none: they are ready for the network", param_hint="--preprocess"
        )


def check_picture(path: Path) -> None:
    """Raise typer.BadParameter where no picture can be written to `path`, MissingFile where its folder is missing."""
    with needed():
        from matplotlib.figure import Figure

    target_of("plot", path)
    formats = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix[1:].lower() not in formats:
        message = f"{str(path)!r}: unknown format; allowed: {', '.join('.' + name for name in formats)}"
        raise typer.BadParameter(message, param_hint="--plot")


class Command(TyperCommand):
    """A command whose help names what the libraries offer, and the defaults of the functions that it calls.

    The functions are named by `speaks_for`; an option of theirs has no default of its own, and what is not given is not
    passed on. Libraries are loaded only when help is requested.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Complete the options' help, then print all."""
        self.complete()
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Of the line of usage; newer typers put braces round what is required."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def complete(self) -> None:
        """Fill {presets}, {metrics}, {families} and {backends} in, and add defaults."""
        from ..data import PRESETS
        from ..metrics import METRICS
        from ..runtime import BACKENDS
        from ..stats import FAMILIES

        known: dict[str, Iterable[str]] = {
            "presets": PRESETS,
            "metrics": METRICS,
            "families": FAMILIES,
            "backends": BACKENDS,
        }
        defaults = api_defaults(self)
        for option in self.params:
            if isinstance(option, TyperOption) and option.help:
                for mark, names in known.items():
                    option.help = option.help.replace(f"{{{mark}}}", ", ".join(names))
                text = default_text(defaults.get(option.name or ""))
                if text and "default" not in option.help:
                    option.help = f"{option.help.removesuffix('.')} (default: {text})."


def speaks_for(*functions: str, **names: str) -> Callable[[Any], Any]:
    """Say which functions of the API a command calls ("rdquant.ptq:quantize_static"), and which of their arguments an
    option sets where it has another name (shape="shapes").
    """

    def mark(command: Any) -> Any:
        command.api = functions, names
        return command

    return mark


def api_defaults(command: Any) -> dict[str, Any]:
    """By the names of a command's options, the defaults of the arguments that they set."""
    functions, names = getattr(command.callback, "api", ((), {}))
    found: dict[str, Any] = {}
    for function in functions:
        for name, default in signature_defaults(function).items():
            found.setdefault(name, default)
    options = {option.name: names.get(option.name, option.name) for option in command.params}
    return {option: found[name] for option, name in options.items() if name in found}


def signature_defaults(function: str) -> dict[str, Any]:
    """Arguments with a default of a function or class "module:name", and these."""
    from ..errors import BackendUnavailable

    module, _, name = function.partition(":")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    except BackendUnavailable:  # training, without PyTorch
        return _source_defaults(module, name)
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _source_defaults(module: str, name: str) -> dict[str, Any]:
    """The same from the source of a module that cannot be imported; those that are plain numbers, words or None."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    node = next(n for n in body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name)
    if isinstance(node, ast.ClassDef):
        node = next(n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    arguments = node.args
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    found = [
        *zip(positional, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {a.arg: ast.literal_eval(d) for a, d in found if isinstance(d, (ast.Constant, ast.Tuple))}


def default_text(value: Any) -> str:
    """A default as it would be given on the command line; "" for none, and for switches."""
    if value is None or isinstance(value, bool) or value == ():
        return ""
    if isinstance(value, range):
        return f"{value[0]}-{value[-1]}"
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def given(**options: Any) -> dict[str, Any]:
    """The options that the user has given: the others are left to the function that is called."""
    return {name: value for name, value in options.items() if value is not None}
