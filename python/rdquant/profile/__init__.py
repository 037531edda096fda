"""Models side by side on this machine: latency, throughput, first inference, processor, memory, energy, steps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import _call_by_name
from ..errors import (
    InvalidArgument,
    called,
    count,
    described,
    flag,
    number,
    path_of,
    several,
    some_of,
    threads_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..data import Data, Dataset
    from ..graph import AnyModel, EngineModel, Model
    from .driver import Condition, Effort, Subject
    from .result import Profile

__all__ = ["Profile", "profile"]


def __getattr__(name: str) -> Any:
    if name != "Profile":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .result import Profile

    return Profile


def profile(
    models: AnyModel | Sequence[AnyModel] | Mapping[str, AnyModel],
    data: Data | None = None,
    *,
    threads: int | Sequence[int | None] | None = None,
    batch: int | Sequence[int] = 1,
    backend: str | Sequence[str] = "auto",
    repeat: int | None = None,
    seconds: float = 2.0,
    processes: int = 3,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    store: str | os.PathLike[str] | None = None,
    mix: bool = False,
    cool_below: float | None = None,
    progress: bool = False,
    command: str | None = None,
) -> Profile:
    """Measure models side by side: paper 000's comparison of float, static and dynamic networks, on any machine.

    For each backend, number of threads and batch: every model's outputs are looked at and compared with the first one's;
    then the models take turns, a few runs each, so that whatever disturbs the machine affects all alike; then each runs in
    new processes of its own, which see no other model's memory; and the time of its steps is taken.

    Args:
        models: what `rdquant.load` takes, one or several, or a mapping of names to them. The others are compared with the
            first.
        data: images to run: what `rdquant.data.open_dataset` takes; the first `batch` images are timed. Where they have
            labels or boxes, every model is evaluated on all of them too, before anything is timed. By default seeded noise.
        threads: threads within a run, one number or several; None or 0: all cores.
        batch: rows in a run, one number or several. A model that fixes its own batch runs on slices.
        backend: as for `rdquant.Session`, one or several.
        repeat: runs of each model; by default as many as fit into `seconds`, at least 12.
        seconds: for each model and condition, once for its latency and once for its processes.
        processes: new processes for each model and condition; figures are medians over them.
        shapes: sizes of inputs that leave them open, by name; axis 0 becomes the batch.
        seed: of the noise.
        store: folder whose `profile.json` keeps every finished condition. Models already there stay, those that were
            measured in the same way are not measured again. The result has those of this call, `Profile.open` all.
        mix: compare with stored results of another machine or another clock all the same.
        cool_below: before each measurement wait, 5 minutes at most, until the processor is cooler than so many degrees Celsius;
            None: never.
        progress: show a bar on stderr.
        command: what is kept with the results, and shown in their report, as the command that measured them; by default
            `rdquant profile` with these arguments.

    Ctrl-C stops the measurement: what is known by then is returned, with `interrupted` set; where nothing is,
    KeyboardInterrupt is raised.

    Raises:
        InvalidArgument: an argument that is not allowed; sizes that stay open; stored results of another machine or clock,
            saying what differs. Unsupported, BackendUnavailable: as `rdquant.Session`. CorruptFile: as `rdquant.load`, and
            for stored results that cannot be read.

    Paper 000: Abreu, Kikuchi and Viana, “Quantization strategies for low-resource hardware”, 2025.
    """
    from itertools import product

    from ..runtime import BACKENDS
    from .driver import Condition, Driver, Effort
    from .result import Profile
    from .store import Stored

    folder = None if store is None else path_of("store", store)
    effort = Effort(
        None if repeat is None else count("repeat", repeat),
        number("seconds", seconds, above=0),
        count("processes", processes),
        None if cool_below is None else number("cool_below", cool_below, above=0),
    )
    _check_command(command)
    seed, mix, progress = count("seed", seed, 0), flag("mix", mix), flag("progress", progress)
    cores = os.cpu_count() or 1
    conditions = [
        Condition(name, threads_of(used) or cores, count("batch", rows))
        for name, used, rows in product(
            some_of("backend", backend, BACKENDS), _several(threads), _several(batch)
        )
    ]
    subjects = _subjects(models)
    images = None if data is None else _images(data, subjects[0].model)
    stored = Stored() if folder is None else Stored.read(folder)

    def keep() -> None:
        if folder is not None:
            stored.write(folder)

    driver = Driver(subjects, images, _shapes(shapes), seed, effort, stored, keep, progress)
    driver.facts["command"] = command or _command(subjects, data, conditions, effort, shapes, seed)
    if folder is not None and not mix:
        stored.check(driver.facts, folder)
    try:
        driver.measure(conditions)
    except KeyboardInterrupt:
        if not any(stored.of([s.name]).rows for s in subjects):
            raise
        return _of_call(Profile(stored, folder, mix, interrupted=True), subjects)
    return _of_call(Profile(stored, folder, mix), subjects)


def _of_call(found: Profile, subjects: Sequence[Subject]) -> Profile:
    """What the folder holds of these models, as far as they have been measured."""
    names = [s.name for s in subjects if s.name in found.models]
    return found.only(names) if names else found


def _check_command(command: object) -> None:
    if command is not None and not isinstance(command, str):
        raise InvalidArgument(f"command: expected a text, got {described(command)}")


def _command(
    subjects: Sequence[Subject],
    data: Any,
    conditions: Sequence[Condition],
    effort: Effort,
    shapes: Mapping[str, Sequence[int]] | None,
    seed: int,
) -> str:
    """The command line that measures the same; models and data that are no files stand in it by name."""
    import shlex

    words = ["rdquant", "profile", *(str(s.path or s.name) for s in subjects)]
    for option in ("backend", "threads", "batch"):
        values = dict.fromkeys(str(getattr(condition, option)) for condition in conditions)
        words += [f"--{option}", ",".join(values)]
    if data is not None:
        words += [
            "--data",
            str(data) if isinstance(data, (str, os.PathLike)) else getattr(data, "name", "data"),
        ]
    for name, sizes in (shapes or {}).items():
        words += ["--shape", f"{name}={','.join(map(str, several(sizes)))}"]
    words += [] if effort.repeat is None else ["--repeat", str(effort.repeat)]
    words += ["--seconds", f"{effort.seconds:g}", "--processes", str(effort.processes), "--seed", str(seed)]
    words += [] if effort.cool_below is None else ["--cool-below", f"{effort.cool_below:g}"]
    return shlex.join(words)


def _subjects(models: AnyModel | Sequence[AnyModel] | Mapping[str, AnyModel]) -> list[Subject]:
    from pathlib import Path

    from ..runtime.session import open_model
    from .driver import named

    if isinstance(models, Mapping):
        items = list(models.items())
    elif isinstance(models, Sequence) and not isinstance(models, (str, bytes)):
        items = [("", model) for model in models]
    else:
        items = [("", models)]
    if not items:
        raise InvalidArgument("models: expected at least one, got none")
    found: list[tuple[str, Model | EngineModel, Path | None]] = []
    for name, source in items:
        if not isinstance(name, str):
            raise InvalidArgument(f"models: expected models by name, got the key {described(name)}")
        path = Path(source) if isinstance(source, (str, os.PathLike)) else None
        with called("model", "models"):
            loaded = open_model(source)
        found.append((name or (path.name if path else loaded.name), loaded, path))
    return list(named(found))


def _images(data: Data, model: Model | EngineModel) -> Dataset:
    from ..data import open_dataset
    from .inputs import check_fit

    try:
        images = open_dataset(data, model=model)
    except InvalidArgument:  # without labels it will do, too
        images = open_dataset(data, model=model, labelled=False)
    if len(model.inputs) == 1:
        check_fit(model.inputs[0], images)
    return images


def _shapes(shapes: Mapping[str, Sequence[int]] | None) -> Mapping[str, Sequence[int]]:
    if shapes is not None and not isinstance(shapes, Mapping):
        raise InvalidArgument(f"shapes: expected sizes by the names of inputs, got {described(shapes)}")
    return shapes or {}


def _several(value: Any) -> list[Any]:
    """A list of one or more values."""
    return (
        list(value)
        if isinstance(value, (Sequence, range)) and not isinstance(value, (str, bytes))
        else [value]
    )


_call_by_name(__name__)
