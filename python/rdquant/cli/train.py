"""The command `rdquant train`: the loop of `rdquant.train.fit` for a model and data that a script of the user's gives."""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .._files import replacing
from .options import HELP, Command, Debug, Json, given, signature_defaults, speaks_for
from .terminal import keep_hint, log, print_json, print_table

__all__ = ["register"]


class Kept(str, Enum):
    """What is remembered of the float weights between steps."""

    none = "none"
    survivors = "survivors"
    all = "all"


Script = Annotated[
    Path,
    typer.Argument(
        help="Python file with functions model() -> torch.nn.Module and data() -> (train, validation), each a pair (x, y) "
        "of arrays or an iterable of batches; optionally prepare(x, generator) -> input of the network.",
        exists=True,
        dir_okay=False,
        metavar="SCRIPT",
    ),
]
Keep = Annotated[
    Kept | None,
    typer.Option(
        help="Float weights that are remembered between steps: none (the paper's scheme), those that survive pruning, or "
        "all (straight-through)."
    ),
]

Gamma = Annotated[float | None, typer.Option(help="γ: weights below γ standard deviations become 0.", min=0)]
Decay = Annotated[
    float,
    typer.Option(
        "--group-decay",
        help="How strongly weak rows and columns of the weights decay as a whole, which makes the file smaller; "
        "start with 0.002: more costs accuracy.",
        min=0,
    ),
]

Bits = Annotated[
    int | None,
    typer.Option(
        help="Bits per weight: up to 2^bits + 1 values a layer; 32 only prunes (with --gamma 0: no compression).",
        min=2,
        max=32,
    ),
]
Rate = Annotated[
    float,
    typer.Option("--lr", help="Highest learning rate of AdamW, one cycle over all epochs.", min=1e-12),
]
Rows = Annotated[
    str,
    typer.Option(
        metavar="LAYER=SHARE,…",
        help="Share of the rows (outputs) that stay, for layers with far more than they need: the weakest are removed in the "
        "first 30 % of training, which makes the file much smaller. Example: --rows fc1.weight=0.1",
    ),
]
Columns = Annotated[str, typer.Option(metavar="LAYER=SHARE,…", help="The same for columns (inputs).")]
GammaRamp = Annotated[
    float,
    typer.Option(
        help="Let γ rise from 0 over this share of training: better accuracy, more weights left.",
        min=0,
        max=1,
    ),
]


#: Settings of the API that a folder keeps: a run goes on with the same.
_STORED = ("gamma", "bits", "keep", "skip", "epochs", "batch_size", "seed")
_FIT, _COMPRESSION = "rdquant.train.loop:fit", "rdquant.train.compress:PruneThenQuantize"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(
        cls=Command,
        epilog="Example: rdquant train mine.py --gamma 0.625 --bits 4 --epochs 20 -o run/ --onnx small.onnx\n\n"
        "Run again, the same command resumes where it stopped.",
        context_settings=HELP,
        no_args_is_help=True,
        rich_help_panel="Training",
    )(train)


@speaks_for(_FIT, _COMPRESSION)
def train(
    script: Script,
    gamma: Gamma = None,
    gamma_ramp: GammaRamp = 0.0,
    bits: Bits = None,
    keep: Keep = None,
    group_decay: Decay = 0.0,
    rows: Rows = "",
    columns: Columns = "",
    skip: Annotated[
        str | None, typer.Option(help="Parameters to leave as they are, comma-separated; * matches anything.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs.", min=1)] = None,
    rate: Rate = 1e-3,
    batch_size: Annotated[int | None, typer.Option(help="Samples in a batch.", min=1)] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after this many epochs without a better validation accuracy.", min=1),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.", min=0)] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …")] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write the best epoch's model as ONNX.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder of the run.", file_okay=False)
    ] = Path("run"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a network whose weights are pruned and quantized after every step.

    As in paper 002 (“Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown).
    """
    setting, device = _setting(
        gamma=gamma,
        bits=bits,
        keep=keep and keep.value,
        skip=None if skip is None else skip.split(","),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        device=device,
    )
    setting |= {"gamma_ramp": gamma_ramp, "group_decay": group_decay, "rows": rows, "columns": columns}
    setting["lr"] = rate
    _check(setting["gamma"], device, onnx)
    network, data, prepare = _from_script(script, setting["seed"])
    _check_setting(output, setting)
    keep_hint(f"Every finished epoch is kept in {output}; run the same command again to resume.")
    history = _run(network, data, prepare, setting, patience, device, output)
    best = next(row for row in reversed(history) if row["best"])
    if onnx is not None:
        _export(network, data, prepare, onnx, output, device)
    if as_json:
        print_json({"folder": str(output), "best": best, "epochs": history})
        return
    print_table(f"{script.stem}: best epoch {best['epoch']} of {len(history)}", *_table(history))
    size = f", {best['max_bytes']:,} bytes with effort max" if best.get("max_bytes") else ""
    log(f"Best model: {(output / 'best.pt').resolve()}{size}")


def _setting(**options: Any) -> tuple[dict[str, Any], str]:
    """(what the folder keeps, device): the options that are given, else the defaults of the API."""
    chosen = signature_defaults(_COMPRESSION) | signature_defaults(_FIT) | given(**options)
    setting = {name: chosen[name] for name in _STORED}
    return setting | {"skip": [name for name in setting["skip"] if name]}, chosen["device"]


def _from_script(script: Path, seed: int) -> tuple[Any, tuple[Any, Any], Any]:
    import runpy

    from ..errors import InvalidArgument
    from ..train._torch import torch

    torch.manual_seed(seed)  # the model's first weights
    with _named(script):
        names = runpy.run_path(str(script))
    for name in ("model", "data"):
        if not callable(names.get(name)):
            raise InvalidArgument(f"{script}: it has no function {name}(); expected model() and data()")
    with _named(script):
        network, data = names["model"](), names["data"]()
    if not isinstance(network, torch.nn.Module):
        raise InvalidArgument(f"{script}: model() gave {type(network).__name__}; expected a torch.nn.Module")
    if not isinstance(data, tuple) or len(data) != 2:
        raise InvalidArgument(f"{script}: data() gave no pair (train, validation)")
    if not isinstance(data[0], tuple) and not hasattr(data[0], "__len__"):
        raise InvalidArgument(
            f"{script}: data() gave batches whose number is not known; expected arrays or a DataLoader"
        )
    return network, data, names.get("prepare")


@contextlib.contextmanager
def _named(script: Path) -> Iterator[None]:
    """What goes wrong in the user's script becomes an InvalidArgument with its line."""
    from ..errors import InvalidArgument, RdquantError

    try:
        yield
    except RdquantError:
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(script)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f"{script}, line {line}" if line else str(script)
        raise InvalidArgument(f"{where}: {type(error).__name__}: {error}") from error


def _check(gamma: float, device: str, onnx: Path | None) -> None:
    """What is wrong before anything has been done: typer.BadParameter says it."""
    from ..train._torch import torch
    from ..train.operator import check_gamma

    check_gamma(gamma)
    if onnx is not None and not onnx.absolute().parent.is_dir():
        raise typer.BadParameter(f"{onnx}: there is no folder {onnx.parent}", param_hint="--onnx")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise typer.BadParameter(f"{device!r} cannot be used: {reason}", param_hint="--device") from None


def _check_setting(folder: Path, setting: dict[str, Any]) -> None:
    """A folder goes on with the settings it began with: InvalidArgument names those that differ."""
    from ..errors import InvalidArgument

    path = folder / "setting.json"
    if not path.is_file():
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    differ = [f"{k} {stored.get(k)!r} there, {v!r} here" for k, v in setting.items() if stored.get(k) != v]
    if differ:
        raise InvalidArgument(f"{folder} holds a run with other settings: {'; '.join(differ)}")


def _keep_setting(folder: Path, setting: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "setting.json") as partial:
        partial.write_text(json.dumps(setting, indent=1) + "\n", encoding="utf-8")


def _compression(network: Any, setting: dict[str, Any], steps: int) -> Any:
    """What the options ask for; None where that is nothing."""
    from ..errors import InvalidArgument
    from ..train import GroupDecay, GroupPruning, PruneThenQuantize, Ramp

    groups = []
    for axis, option in enumerate(("rows", "columns")):
        for name, share in _shares(setting[option], option).items():
            try:
                groups.append(GroupPruning(Ramp(1.0, share, 0.0, 0.3), name, axis))
            except InvalidArgument as error:
                text = str(error).removeprefix("GroupPruning: ")
                raise typer.BadParameter(text, param_hint=f"--{option}") from None
    if setting["gamma"] == 0 and setting["bits"] == 32 and not groups:
        return None
    ramp = setting["gamma_ramp"]
    return PruneThenQuantize(
        network,
        Ramp(0.0, setting["gamma"], 0.0, ramp, 1.0) if ramp else setting["gamma"],
        setting["bits"],
        setting["skip"],
        keep=setting["keep"],
        decay=GroupDecay(setting["group_decay"]) if setting["group_decay"] else None,
        groups=groups,
        total_steps=steps,
    )


def _shares(text: str, option: str) -> dict[str, float]:
    """ "a=0.1,b=0.5" as a dictionary; raises typer.BadParameter for anything else."""
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, share = part.rpartition("=")
        try:
            found[name] = float(share)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise typer.BadParameter(
                f"expected LAYER=SHARE, as in fc1.weight=0.1, got {part!r}", param_hint=f"--{option}"
            )
    return found


def _run(
    network: Any,
    data: tuple[Any, Any],
    prepare: Any,
    setting: dict[str, Any],
    patience: int | None,
    device: str,
    folder: Path,
) -> list[dict[str, Any]]:
    from ..train import fit
    from ..train._torch import torch

    epochs, size = setting["epochs"], setting["batch_size"]
    batches = -(-len(data[0][0]) // size) if isinstance(data[0], tuple) else len(data[0])
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting["lr"])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, setting["lr"], total_steps=epochs * batches + 1, pct_start=0.25
    )
    compression = _compression(network, setting, epochs * batches)

    def say(row: dict[str, Any]) -> None:
        size = (
            f", density {100 * row['density']:.2f} %, {row['coded_bytes']:,} bytes"
            if "density" in row
            else ""
        )
        log(
            f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, accuracy {100 * row['accuracy']:.2f} %{size}"
        )

    _keep_setting(folder, setting)
    return fit(
        network,
        *data,
        optimizer,
        epochs=epochs,
        folder=folder,
        compression=compression,
        scheduler=scheduler,
        prepare=prepare,
        batch_size=size,
        patience=patience,
        seed=setting["seed"],
        device=device,
        progress=say,
    )


def _export(network: Any, data: tuple[Any, Any], prepare: Any, path: Path, folder: Path, device: str) -> None:
    from ..train import export_onnx, load_best
    from ..train._torch import torch

    load_best(network, folder)
    validation = data[1]
    x = torch.as_tensor(validation[0][:2]) if isinstance(validation, tuple) else next(iter(validation))[0][:2]
    x = x.to(device)
    export_onnx(network, prepare(x, None) if prepare is not None else x.float(), path)
    log(f"ONNX model: {path.resolve()}")


def _table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    compressed = "density" in rows[0]
    head = ["epoch", "loss", "train %", "validation %"]
    head += ["density %", "bytes coded"] * compressed
    body = []
    for row in rows:
        cells = [f"{row['epoch']}{' *' if row['best'] else ''}", f"{row['loss']:.4f}"]
        cells += [f"{100 * row[key]:.2f}" for key in ("train_accuracy", "accuracy")]
        cells += [f"{100 * row['density']:.2f}", f"{row['coded_bytes']:,}"] if compressed else []
        body.append(cells)
    return head, body
