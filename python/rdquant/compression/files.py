"""Models to compressed files, in three ways, and back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._files import target_of
from ..codec.container import CompressedFile, naming
from ..codec.lossless import DEFAULT_LIMIT
from ..codec.plan import Plan, goal_of, uniform_family
from ..errors import (
    InvalidArgument,
    RdquantError,
    called,
    count,
    described,
    flag,
    path_of,
    some_of,
    threads_of,
)
from ..graph import ROLES, AnyModel, Model, load
from ..graph.compressed import build
from ..quant import Quantizer, Recipe, Scope
from ..quant.recipe import recipe_of
from .result import CompressionResult
from .writer import Choose, ChosenLevels, Writer, write_levels

if TYPE_CHECKING:
    from ..data import Data
    from .tolerance import Split, Tolerance

__all__ = ["ROLES", "compress", "compress_to_size", "compress_within", "decompress"]

QuantizerOf = Quantizer | type[Quantizer] | str | Callable[[str, NDArray[np.float32]], Quantizer]
_SOON_WRITTEN = 1 << 18  # bytes of a model


def compress(
    model: AnyModel,
    path: str | os.PathLike[str],
    quantizer: QuantizerOf | None = None,
    *,
    bits: int | None = None,
    scope: Scope | None = None,
    range: float | Literal["max"] | None = None,
    roles: Collection[str] = ("weight",),
    effort: str = "fast",
    rdo: float | bool | None = None,
    trellis: int = 0,
    threads: int | None = None,
) -> CompressionResult:
    """Write `model` as a compressed file, atomically: without loss, or with the quantizer that is given.

    `compress_to_size` finds the quantizer for a size, `compress_within` the smallest file within a tolerated loss.

    Args:
        model: what `rdquant.load` takes.
        path: the file to write, usually *.rdq; not the model's own.
        quantizer: None with no `bits`: without loss. A quantizer; a function (name, tensor) -> quantizer; or a
            family's class or name such as "midtread" or "deadzone:0.4", which needs `bits`, or "half", which takes none.
        bits: steps of 2·range/2^bits, or codebooks of 2^bits values; 1..24 (codebooks: ..16); by midtread unless
            `quantizer` names another family.
        scope: one step for the "model" (the default, as in thesis 004), for each "tensor", or for each output "channel" of
            each tensor. Codebooks and fitted minifloats are designed for each tensor unless "model" is given.
        range: of the levels, ±range; "max" is max|w| of what shares a step. By default 1 for the model, else "max".
        roles: which learned tensors are quantized, out of "weight", "bias" and "normalization". All other tensors,
            integer ones included, are coded without loss.
        effort: of the encoder: "fast" (quick to decode) or "max" (smaller).
        rdo: choose levels by rate and distortion: λ in steps² a bit; True, and with a trellis None: 0.08. Needs
            uniform quantizers, whose step it takes; reconstruction points are fitted and sent.
        trellis: states of a trellis-coded quantizer of these steps, 8 or 32: about 1 dB less error at the
            same rate; 0: scalar levels.
        threads: up to this many threads; None or 0: all cores. The file does not depend on it.

    Returns:
        Sizes and errors, for the file and tensor by tensor.

    Raises:
        InvalidArgument: an argument outside the above, arguments that do not fit each other, a weight that cannot be
            quantized (named).
        RdquantError: the file cannot be written.

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    plan = Plan.of(effort, threads, rdo, trellis)
    target, chosen = _target(path, model=model), some_of("roles", roles, ROLES)
    recipe = recipe_of(quantizer, bits, scope, range)
    if quantizer is None and recipe is None and plan.rdo is not None:
        raise InvalidArgument(f"{plan.choice}: it needs bits or a quantizer, whose levels it chooses")
    uniform = recipe is not None and recipe.spec.family in ("midtread", "deadzone")
    if recipe is not None and uniform and recipe.scope == "channel" and plan.rdo is not None:
        raise InvalidArgument(plan.per_channel)
    loaded = load(model)
    if recipe is not None:
        levels, label = recipe_levels(recipe, loaded, chosen), recipe.label
    elif callable(quantizer):
        levels, label = ChosenLevels(_checked(quantizer), chosen), "one a tensor"
    else:
        levels, label = ChosenLevels(None, chosen), "none"
    return Writer(loaded, plan).write(target, levels, label)


def compress_to_size(
    model: AnyModel,
    path: str | os.PathLike[str],
    *,
    bits_per_weight: float | None = None,
    bytes: int | None = None,
    mse: float | None = None,
    quantizer: str = "midtread",
    roles: Collection[str] = ("weight",),
    effort: str = "fast",
    rdo: float | bool | None = None,
    trellis: int = 0,
    threads: int | None = None,
) -> CompressionResult:
    """Write `model` as a compressed file of at most a given size, or error of its weights, with one step for all.

    What the network loses is not measured and may be all of its accuracy: see `rdquant.evaluate`. Where the file without
    loss is no larger than the quantized one of that size, it is written.

    Args:
        model, path: as for `compress`.
        bits_per_weight: learned values take at most so many real bits each.
        bytes: the whole file takes at most so many.
        mse: the mean squared error of what is quantized is at most this. One of the three is needed.
        quantizer: a uniform family: "midtread" or "deadzone:δ".
        roles, effort, rdo, trellis, threads: as for `compress`.

    Returns:
        As `compress`.

    Raises:
        InvalidArgument: none or several of bits_per_weight, bytes and mse, or one that no step reaches (the message says
            what is nearest); other arguments outside the above.
        RdquantError: the file cannot be written.
    """
    plan = Plan.of(effort, threads, rdo, trellis)
    goal, family = goal_of(bits_per_weight, bytes, mse), uniform_family(quantizer)
    target, chosen = _target(path, model=model), some_of("roles", roles, ROLES)
    return Writer(load(model), plan).reach(target, goal, family, chosen)


def compress_within(
    model: AnyModel,
    path: str | os.PathLike[str],
    data: Data,
    *,
    max_loss: float | None = None,
    max_kl: float | None = None,
    calibration: Data | None = None,
    images: int = 300,
    roles: Collection[str] = ("weight", "bias"),
    effort: str = "fast",
    trellis: int = 32,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> CompressionResult:
    """Write the smallest compressed file found that loses no more than is tolerated, without training.

    Args:
        model: a classifier: what `rdquant.load` takes.
        path: the file to write, usually *.rdq; not the model's own.
        data: images: a dataset, or what `rdquant.data.open_dataset` takes. The search draws up to `images` of them by
            `seed` and does not use their labels. Two thirds show what each layer's inputs look like and, by gradients,
            where its outputs matter, so that rounding preserves these (of photos, an enlarged part of each too, half of
            them mirrored). What is lost is measured on the others: for max_kl alone on the last third, without labels;
            for max_loss on all images that are not among the two thirds, where both the points lost by the labels and
            the points that the float model's probabilities predict must be tolerated.
        max_loss: loses at most so many percentage points of top-1 (0.8), by the labels; or `max_kl`, or both.
        max_kl: the outputs' mean KL divergence to the float model's, nats.
        calibration: images that take the place of those two thirds; labels play no part. All of `data` then measures
            what is lost.
        images: number of images, 3 or more; 100 to 300 are enough.
        roles: as for `compress`; only "weight" tensors, and the biases beside them, change.
        effort: as for `compress`.
        trellis: states, 8 or 32; 0: scalar levels.
        seed: of the draw of images.
        threads: up to this many threads; None or 0: all cores. The file depends on it in last digits only.
        progress: show bars on stderr.

    Ctrl-C ends the search, and the best file so far is written, or, where none of them is tolerated yet, the candidate
    that lost least, with `met` False. Where a full search finds nothing that is tolerated (it warns), and where nothing was
    smaller: the model without loss.

    Returns:
        As `compress`, and what was lost.

    Raises:
        InvalidArgument: an argument outside the above, images that do not fit, a weight that is not finite (named).
        RdquantError: the file cannot be written.
    """
    from ..data import open_dataset
    from ..data.checks import warn_of_one_class
    from ..metrics.feeding import fitted
    from .tolerance import Split, Tolerance

    plan = Plan.of(effort, threads, None, trellis)
    tolerance = Tolerance(max_loss, max_kl)
    chosen = some_of("roles", roles, ROLES)
    target = _target(path, model=model, data=data, calibration=calibration)
    count("images", images, 3)
    count("seed", seed, 0)
    flag("progress", progress)
    loaded = load(model)
    labelled = max_loss is not None
    measuring = open_dataset(data, model=loaded, labelled=labelled)
    if labelled:
        warn_of_one_class(measuring)
    fitting = None
    if calibration is not None:
        fitting = open_dataset(calibration, model=loaded, labelled=False, name="calibration")
        if len(loaded.inputs) == 1:
            with called("data", "calibration"):
                fitted(loaded.inputs[0], fitting.name, fitting.get([0])[0])
    split = Split.of(measuring, tolerance, int(images), int(seed), fitting)
    return _tolerated(loaded, target, plan, tolerance, split, chosen, progress)


def _target(path: Any, **inputs: Any) -> Path:
    """Where to write a compressed file; a name that promises ONNX is warned of."""
    target = target_of("path", path, **inputs)
    if target.suffix.lower() == ".onnx":
        warnings.warn(
            f"path: {str(target)!r} will hold a compressed file, usually named *.rdq, which other programs cannot read as "
            "ONNX; rdquant decompress makes an ONNX file of it",
            stacklevel=3,
        )
    return target


def _tolerated(
    model: Model,
    path: Path,
    plan: Plan,
    tolerance: Tolerance,
    split: Split,
    roles: Collection[str],
    progress: bool,
) -> CompressionResult:
    """Write the smallest file that is tolerated."""
    from .tolerance import smallest

    folder = path.absolute().parent
    if not folder.is_dir():  # now, not after a long search
        raise RdquantError(f"{path}: expected a file in a folder that exists, {folder} is none")
    best = smallest(model, tolerance, split, roles, plan.effort, plan.trellis, plan.threads, progress)
    result = write_levels(model, path, best.levels, plan.effort, plan.threads)
    # Perhaps nothing need be lost; where little is to be written, that is soon known.
    large = 2 * result.bytes > result.original_bytes or result.original_bytes < _SOON_WRITTEN
    if best.levels and large:
        exact = write_levels(model, path, {}, plan.effort, plan.threads)
        if exact.bytes <= result.bytes:
            none = best.measured.without_loss()
            return replace(exact, measured=none, met=True, interrupted=best.interrupted)
        result = write_levels(model, path, best.levels, plan.effort, plan.threads)
    return replace(result, measured=best.measured, met=best.met, interrupted=best.interrupted)


def decompress(
    source: str | os.PathLike[str] | bytes | IO[bytes],
    threads: int | None = None,
    memory_limit: int = DEFAULT_LIMIT,
    levels: bool = False,
) -> Model:
    """The model in a compressed file: quantized tensors as x̂, all others bit for bit.

    Args:
        source: path, bytes, or a binary file object that is read once from front to back, such as a pipe.
        threads: tensors, and row groups of large ones, are decoded on up to this many threads; None or 0: all cores.
        memory_limit: bytes that decoded tensors may take, eight per element.
        levels: tensors quantized by midtread keep their levels, as int8 (int4 from opset 21 on) with a
            DequantizeLinear node each, where they fit; the values are then Δ·level in float32. Levels that the model
            itself had stay as they are in any case.

    Raises:
        CorruptFile: damage; names section and offset. Unsupported: a later version, or beyond the limit.
        InvalidArgument: an argument outside the above; MissingFile: there is no such file.
    """
    if isinstance(threads, (str, os.PathLike)):
        raise InvalidArgument(
            f"threads: expected an integer ≥ 0, got {described(threads)}; a model is given back, whose save(path) "
            "writes a file"
        )
    used = threads_of(threads) or os.cpu_count() or 1
    count("memory_limit", memory_limit, 0)
    flag("levels", levels)
    if isinstance(source, (str, os.PathLike)):
        source = path_of("source", source)
    elif not isinstance(source, (bytes, bytearray, memoryview)) and not hasattr(source, "read"):
        raise InvalidArgument(
            f"source: expected a path, bytes or an open binary file, got {described(source)}"
        )
    name = source.stem if isinstance(source, Path) else ""
    with naming(source):
        return build(CompressedFile(source), name, used, int(memory_limit), levels)


def recipe_levels(recipe: Recipe, model: Model, roles: Collection[str]) -> ChosenLevels:
    """Levels of the tensors in these roles, by one recipe."""
    axes = {p.name: p.axis for p in model.parameters if p.axis is not None}
    return ChosenLevels.by(recipe.quantizers(model.weights(roles), axes), roles)


def _checked(quantizer: Callable[[str, NDArray[np.float32]], Any]) -> Choose:
    def choose(name: str, x: NDArray[np.float32]) -> Quantizer:
        found = quantizer(name, x)
        if not isinstance(found, Quantizer):
            raise InvalidArgument(
                f"quantizer: expected a function that gives a Quantizer, it gave {described(found)}"
            )
        return found

    return choose
