"""`significance`: from a model and labelled images to a map."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..calibrate import Layer, layers_of
from ..data import Data, Dataset, open_dataset
from ..errors import (
    InvalidArgument,
    Unsupported,
    called,
    count,
    described,
    flag,
    one_of,
    path_of,
    several,
    threads_of,
)
from ..graph import Model, load
from ..metrics.feeding import fitted
from .channels import channel_weights, fisher_name, last_stage
from .classes import Group, confused_groups, groups_of
from .map import SignificanceMap
from .measure import chunks_of, fill
from .readers import Reader, reader_of
from .store import Store, open_store, read_arrays, write_arrays
from .widths import ALLOWED, ROUNDINGS, Rows, Unrounded, round_layers

if TYPE_CHECKING:
    from ..graph import AnyModel
    from .allocation import Allocation

__all__ = ["open_map", "significance"]

_FEW = 200  # critical images below which a map tells little
_FLOAT = 0  # stands for a width: the layer as it was
_CALIBRATION = 1000  # images that weights are rounded by, at most
_NETWORK, _WEIGHTS = "network.npz", "weights.npz"
_PARTS = ("levels", "scales", "bias", "loss", "square")


def significance(
    model: AnyModel,
    data: Data,
    classes: Any = None,
    bits: Sequence[int] | int = (2, 3, 4, 5),
    component: str = "layer",
    images: int | None = None,
    store: str | os.PathLike[str] | None = None,
    calibration: Data | None = None,
    rounding: str = "feedback",
    around: Allocation | None = None,
    output: str | None = None,
    threads: int | None = None,
    progress: bool = False,
) -> SignificanceMap:
    """What each layer of a classifier at a few bits costs the classes that matter, and all classes.

    S_c = E[L(M'_c(x), y)] − E[L(M(x), y)] over the images of the critical classes, where M'_c has the weights of layer c at
    a few bits and the rest in float. The scores of every layer and width are kept, so that any classes and losses are
    evaluated afterwards. For a detector: the classification loss of boxes that the float network found.

    Args:
        model: what `rdquant.load` takes, with one input; in float.
        data: labelled images that the map is measured on: what `rdquant.data.open_dataset` takes; a few thousand of them. For
            a detector photos with boxes.
        classes: critical classes: integers or names of one group, or a list of groups; None: up to four pairs that the
            float network mistakes for each other most (`confused_groups`).
        bits: widths measured, 2 to 8; wider ones follow, a quarter of the loss for each bit.
        component: "layer", or "channel": besides, shares of the output channels of the last stage (half of the weights) in
            what their layer costs, from gradients.
        images: how many of `data`, spread over the classes; None: all.
        store: a folder that keeps the map, and which a later call goes on with, for other classes too; None: memory only.
        calibration: images whose statistics weights are rounded by, labels unused; None: up to 1000 of `data`.
        rounding: one of `ROUNDINGS`: "feedback" (errors fed back by the statistics of a layer's inputs, mean errors taken
            up by its bias) or "nearest".
        around: an allocation of this network: all other layers have its widths, so that what layers cost together is seen;
            None: all other layers stay in float. Whether allocating by such a map gains is to be measured: it may lose.
        output: name of the output that holds the scores, for networks with several.
        threads: None or 0: all cores.
        progress: show a bar on stderr.

    Fewer than 200 images of a group give a warning, and so does a float network that only guesses, as with other
    preprocessing. Ctrl-C leaves what was measured in `store`.

    Raises InvalidArgument for arguments that do not fit, or a `store` with something else in it; Unsupported for a network
    without layers that can be rounded, or whose outputs are no scores. Source: paper 003, equation 2.
    Paper 003: Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025.
    """
    loaded, workers = load(model), threads_of(threads)
    chosen = open_dataset(data, model=loaded)
    widths = _widths(bits)
    one_of("component", component, ("layer", "channel"))
    one_of("rounding", rounding, ROUNDINGS)
    shown = flag("progress", progress)
    folder = None if store is None else path_of("store", store)
    if images is not None:
        chosen = chosen.calibration(count("images", images, 1, len(chosen)))
    if calibration is None:
        fit = chosen.calibration(min(_CALIBRATION, len(chosen)))
    else:
        fit = open_dataset(calibration, model=loaded, labelled=False, name="calibration")
        with called("data", "calibration"):
            fitted(loaded.inputs[0], fit.name, fit.get([0])[0])
    base = _base(loaded, around)
    layers = layers_of(loaded)
    if not layers:
        raise Unsupported(
            f"model: {loaded.name} has no convolution and no product whose weights can be rounded"
        )
    reader = reader_of(loaded, chosen, output, workers)
    if chosen.task != "detect":
        _check_answers(reader)
    groups = _groups(classes, reader, chosen)
    rows = last_stage(layers) if component == "channel" else []
    facts = {
        "model": loaded.name,
        "model_fingerprint": loaded.fingerprint,
        "data_fingerprint": chosen.fingerprint,
        "calibration_fingerprint": fit.fingerprint,
        "components": [layer.weight for layer in layers],
        "bits": list(widths),
        "rounding": rounding,
        "groups": [list(group) for group in groups],
        "class_names": None if chosen.class_names is None else list(chosen.class_names),
        "rows": [layers[i].weight for i in rows],
        "around": None if around is None else {n: np.asarray(b).tolist() for n, b in around.bits.items()},
    }
    return _made(loaded, base, chosen, fit, layers, reader, facts, folder, workers, shown)


def _base(model: Model, around: Any) -> Model:
    """The network whose layers are changed one at a time."""
    if around is None:
        return model
    from .allocation import Allocation

    if not isinstance(around, Allocation):
        raise InvalidArgument(f"around: expected an Allocation or None, got {described(around)}")
    if around.fingerprint != model.fingerprint:
        raise InvalidArgument(f"around: it is of another network than {model.name}")
    return around.apply()


def _made(
    model: Model,
    base: Model,
    data: Dataset,
    fit: Dataset,
    layers: Sequence[Layer],
    reader: Reader,
    facts: Mapping[str, Any],
    folder: Path | None,
    threads: int,
    shown: bool,
) -> SignificanceMap:
    cuts, chunks = chunks_of(model, layers, data, threads)
    widths = tuple(facts["bits"])
    columns = [*widths, _FLOAT] if facts["around"] else list(widths)
    shape = (len(layers), len(columns), *reader.scores.shape)
    facts = {**facts, "chunk": chunks[0].stop}
    kept = Store(folder, facts, shape, [reader.rows(c) for c in chunks])
    rounded, traces = _rounded(model, layers, fit, facts["rounding"], folder, threads, shown)
    arrays: dict[str, NDArray[Any]] = {
        "labels": reader.labels,
        "reference": reader.scores,
        "sizes": np.array([int(np.prod(layer.shape)) for layer in layers], np.int64),
        "traces": np.array(traces),
    }
    arrays |= _fisher(model, layers, fit, data, facts, folder, threads, shown)
    if folder is not None:
        write_arrays(folder / _NETWORK, arrays)
    with _bar("significance", "image", len(data) * shape[0] * shape[1], shown) as done:
        whole = Unrounded(model.weights())
        jobs: list[dict[int, Rows | Unrounded]] = [{**wide, _FLOAT: whole} for wide in rounded]
        fill(kept, base, cuts, chunks, layers, jobs, columns, data, reader.read, threads, done)
    return SignificanceMap(facts, kept.scores, arrays, rounded, folder)


def open_map(folder: str | os.PathLike[str]) -> SignificanceMap:
    """The complete map that `significance` left in `folder`.

    Raises MissingFile where there is none, InvalidArgument for one that is not complete, CorruptFile for what cannot be read.
    """
    path = path_of("folder", folder)
    facts, scores, complete = open_store(path)
    if not complete:
        raise InvalidArgument(
            f"folder: the map in {path} is not complete; call significance again with store={path}"
        )
    arrays = read_arrays(path / _NETWORK)
    return SignificanceMap(facts, scores, arrays, _from_arrays(read_arrays(path / _WEIGHTS))[0], path)


def _widths(bits: Any) -> tuple[int, ...]:
    widths = tuple(sorted({count("bits", b, 2, 8) for b in several(bits)}))
    if not widths or any(b not in ALLOWED for b in widths):
        raise InvalidArgument(f"bits: expected some of {[b for b in ALLOWED if b <= 8]}, got {list(widths)}")
    return widths


def _groups(classes: Any, reader: Reader, data: Dataset) -> list[Group]:
    """Critical classes, with a warning for each group of few images."""
    if classes is None:
        groups = confused_groups(reader.scores[:, : reader.classes], reader.labels)
        if not groups:
            raise InvalidArgument("classes: the network confuses no classes on these images; name them")
    else:
        groups = groups_of(classes, reader.classes, data.class_names)
    for group in groups:
        found = int(np.isin(reader.labels, group).sum())
        if not found:
            raise InvalidArgument(f"classes: the data have no image of {list(group)[:8]}")
        if found < _FEW:
            warnings.warn(
                f"classes {list(group)[:8]}: {found} image{'s' * (found != 1)}; "
                f"a map of fewer than {_FEW} critical images is mostly noise",
                stacklevel=4,
            )
    return groups


def _check_answers(reader: Reader) -> None:
    """A warning where the float network does no better than guessing, as on images that were prepared in another way."""
    right = reader.scores.argmax(axis=1) == reader.labels
    present = np.unique(reader.labels)
    if len(present) < 2:
        return
    share = float(np.mean([right[reader.labels == c].mean() for c in present]))
    guessing = 1 / len(present)
    if share <= guessing + 2 * np.sqrt(guessing / len(right)):
        warnings.warn(
            f"data: the float network answers {100 * right.mean():.0f} % of these images right, which is guessing; "
            "check preprocessing and labels",
            stacklevel=3,
        )


def _rounded(
    model: Model,
    layers: Sequence[Layer],
    fit: Dataset,
    rounding: str,
    folder: Path | None,
    threads: int,
    shown: bool,
) -> tuple[list[dict[int, Rows]], list[float]]:
    """All layers at all widths, from the store where it has them."""
    if folder is not None and (folder / _WEIGHTS).exists():
        return _from_arrays(read_arrays(folder / _WEIGHTS))

    def batches() -> Iterator[NDArray[np.float32]]:
        return (x for x, _ in fit)

    with _bar("rounding", "layer", len(layers), shown) as done:
        rounded, traces = round_layers(
            model, layers, batches, rounding=rounding, threads=threads, done=lambda n: done(1)
        )
    if folder is not None:
        write_arrays(folder / _WEIGHTS, _to_arrays(rounded, traces))
    return rounded, traces


def _to_arrays(rounded: Sequence[Mapping[int, Rows]], traces: Sequence[float]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {"traces": np.array(traces)}
    for i, wide in enumerate(rounded):
        for bits, rows in wide.items():
            arrays |= {f"{i}/{bits}/{p}": v for p in _PARTS if (v := getattr(rows, p)) is not None}
    return arrays


def _from_arrays(arrays: Mapping[str, NDArray[Any]]) -> tuple[list[dict[int, Rows]], list[float]]:
    traces = [float(t) for t in arrays["traces"]]
    rounded: list[dict[int, Rows]] = [{} for _ in traces]
    for name in arrays:
        place, _, rest = name.partition("/")
        bits, _, what = rest.partition("/")
        if what == "levels":
            parts = {p: arrays.get(f"{place}/{bits}/{p}") for p in _PARTS}
            rounded[int(place)][int(bits)] = Rows(**parts)  # type: ignore[arg-type]
    return [dict(sorted(wide.items())) for wide in rounded], traces


def _fisher(
    model: Model,
    layers: Sequence[Layer],
    fit: Dataset,
    data: Dataset,
    facts: Mapping[str, Any],
    folder: Path | None,
    threads: int,
    shown: bool,
) -> dict[str, NDArray[Any]]:
    """Second moments of gradients at outputs of layers, of all images and of each group's where channels are wanted."""
    if data.task == "detect":
        return {}
    known: dict[str, NDArray[Any]] = {}
    if folder is not None and (folder / _NETWORK).exists():
        stored = read_arrays(folder / _NETWORK)
        known = {name: value for name, value in stored.items() if name.startswith("fisher")}
    wanted: list[Group | None] = [None, *(tuple(g) for g in facts["groups"])] if facts["rows"] else [None]
    seen = {name.rpartition("/")[0] for name in known}
    lacking = [group for group in wanted if fisher_name(0, group).rpartition("/")[0] not in seen]
    with _bar("gradients", "pass", len(lacking), shown) as done:
        return known | channel_weights(model, layers, fit, data, lacking, threads, lambda: done(1))


@contextmanager
def _bar(title: str, unit: str, total: int, shown: bool) -> Iterator[Callable[[int], None]]:
    with tqdm(total=total, desc=title, unit=unit, disable=not shown, leave=False, unit_scale=True) as bar:

        def done(count: int) -> None:
            bar.update(count)

        yield done
