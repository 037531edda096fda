"""The measuring itself: condition by condition, all models of one in turns, each result kept as soon as it is there."""

from __future__ import annotations

import contextlib
import datetime
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..data import Dataset
from ..data.dataset import digest
from ..errors import BackendUnavailable, InvalidArgument, Unsupported
from ..graph import EngineModel
from ..machine import describe
from ..metrics import evaluate
from ..runtime import Session
from . import meters
from .board import Board, limits_of
from .confidence import confidences
from .fresh import figures, in_new_process
from .inputs import Shapes, check_sizes, feeds_of
from .roofline import bandwidth, placed
from .store import Row, Stored, same_clock
from .timing import compared, interleaved, latency

if TYPE_CHECKING:
    from ..graph import Model

__all__ = ["Condition", "Driver", "Effort", "Subject"]

_PROFILED = 10  # runs that the times of steps are taken from
_UNMEASURED = (
    *("runs", "best_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "throughput", "processes", "import_ms"),
    *("load_ms", "first_run_ms", "first_ms", "cpu_percent", "rss_import_mb", "rss_growth_mb", "rss_mean_mb"),
    *("rss_peak_mb", "joules_per_run", "celsius_before", "celsius_after", "throttled", "limits", "core_load"),
    *("mhz_least", "mhz_most", "celsius_most", "watts", "energy_of"),
)


@dataclass(frozen=True)
class Subject:
    """A model under its name in the tables; path: its file, None for a model in memory."""

    name: str
    model: Model | EngineModel
    path: Path | None

    @property
    def file_bytes(self) -> int:
        """Size of its file, or of the model in memory."""
        model = self.model
        return model.file_bytes if isinstance(model, EngineModel) else model.summary()["file_bytes"]


@dataclass(frozen=True)
class Condition:
    """What models are measured under."""

    backend: str
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.backend}, threads {self.threads}, batch {self.batch}"


@dataclass(frozen=True)
class Effort:
    """How long: runs of each model (None: as many as fit into `seconds`), seconds for each model, new processes; degrees
    Celsius below which the machine must be before each measurement, None: any."""

    repeat: int | None
    seconds: float
    processes: int
    cool_below: float | None = None


Feeds = dict[str, NDArray[Any]]


class Driver:
    """Measures `subjects`; `keep` is called whenever the stored rows have changed."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        data: Dataset | None,
        shapes: Shapes,
        seed: int,
        effort: Effort,
        stored: Stored,
        keep: Callable[[], None],
        progress: bool,
    ) -> None:
        self._subjects, self._data, self._shapes, self._seed = subjects, data, shapes, seed
        self._effort, self._stored, self._keep = effort, stored, keep
        self._progress = progress
        self._board = Board()
        self._bandwidths: dict[int, float] = {}
        self._paused = 0.0
        self._run: int | None = None
        self._scores: dict[tuple[str, str], Row] = {}
        self._prints = {subject.name: subject.model.fingerprint for subject in subjects}
        self.facts: Row = this_run()

    def measure(self, conditions: Sequence[Condition]) -> None:
        """All conditions whose rows are not there yet, in order."""
        if self._data is None:
            for subject in self._subjects:  # before the bar is shown
                check_sizes(subject.model.inputs, self._shapes)
        todo = [condition for condition in conditions if not self._known(condition)]
        bar = tqdm(
            total=len(todo) * len(self._subjects) * (1 + self._effort.processes),
            disable=not self._progress,
            leave=False,
            unit="part",
        )
        with contextlib.closing(bar):
            for condition in todo:
                self._condition(condition, bar)

    def _known(self, condition: Condition) -> bool:
        """Whether every model has a whole row, measured in the same way."""
        for subject in self._subjects:
            row = self._stored.find({"model": subject.name, **vars(condition)})
            if row is None or not (row["complete"] and row["steady"]):
                return False
            way = self._way(subject, self._feeds(subject, condition))
            if any(row.get(name) != value for name, value in way.items()):
                return False
        return True

    def _way(self, subject: Subject, feeds: Feeds) -> Row:
        """What a row was measured by, beside the condition."""
        return {
            "fingerprint": self._prints[subject.name],
            "input": digest(*(part for item in feeds.items() for part in item)),
            "effort": f"{self._effort.repeat or 'as many runs as fit'}, {self._effort.seconds:g} s, "
            f"{self._effort.processes} processes"
            + ("" if self._effort.cool_below is None else f", below {self._effort.cool_below:g} °C"),
            "scored_on": self._test_data(),
        }

    def _test_data(self) -> str | None:
        """What accuracies are of; None where nobody knows what the images show."""
        data = self._data
        if data is None or (data.task == "classify" and not data.labels.any()):
            return None
        return f"{data.name}, {len(data)} images, {data.fingerprint}"

    def _score(self, subject: Subject, condition: Condition) -> Row:
        """Accuracy of a model on the labelled images; once for each backend, as threads and batch do not change it."""
        if self._data is None or self._test_data() is None:
            return {}
        place = subject.name, condition.backend
        if place not in self._scores:
            names = ("map50",) if self._data.task == "detect" else ("top1", "scores")
            session = Session(subject.path or subject.model, condition.backend, condition.threads)
            try:
                found = evaluate(None, self._data, metrics=names, session=session)
                self._scores[place] = {
                    names[0]: found[names[0]],
                    "images": found["images"],
                    **confidences(found),
                }
            except (BackendUnavailable, InvalidArgument, Unsupported) as error:
                self._scores[place] = {"unscored": f"{error}"}
        return self._scores[place]

    def _feeds(self, subject: Subject, condition: Condition) -> Feeds:
        return feeds_of(subject.model.inputs, condition.batch, self._shapes, self._data, self._seed)

    def _condition(self, condition: Condition, bar: Any) -> None:
        self._paused = 0.0
        self._cool()
        before = meters.clock()
        limits = meters.Throttling(self._board.sys), self._board.flags()
        if self._run is None:
            self._run = len(self._stored.runs)
            self._stored.runs.append(self.facts)
        feeds = {subject.name: self._feeds(subject, condition) for subject in self._subjects}
        sessions = {
            s.name: Session(s.path or s.model, condition.backend, condition.threads, condition.batch)
            for s in self._subjects
        }
        rows = self._rows(condition, sessions, feeds)
        samples: dict[str, list[float]] = {name: [] for name in rows}
        found: dict[str, list[Row]] = {name: [] for name in rows}
        try:
            bar.set_description(f"latency, {condition}")
            runs = {name: _bound(session, feeds[name]) for name, session in sessions.items()}
            interleaved(runs, samples, self._effort.repeat, self._effort.seconds)
            slowed = self._slowed(*limits)
            bar.update(len(rows))
            steps = {name: self._steps(sessions[name], feeds[name], condition) for name in rows}
            sessions.clear()  # their threads and memory, before other processes want the machine
            self._in_processes(condition, feeds, found, bar)
        except KeyboardInterrupt:
            self._finish(rows, samples, found, {}, before, self._slowed(*limits), False)
            raise
        self._finish(rows, samples, found, steps, before, slowed, True)

    def _cool(self) -> None:
        if self._effort.cool_below is not None:
            self._paused += self._board.cooled(self._effort.cool_below)

    def _slowed(self, throttling: meters.Throttling, flags: int | None) -> list[str]:
        """What limited the processor since `flags` were read: names of `LIMITS`, "throttled" by the cores' counters."""
        now = self._board.flags()
        if now is not None and flags is not None:
            return limits_of((now & 0xF) | (now & ~flags) >> 16)
        return ["throttled"] if throttling.events() else []

    def _rows(
        self, condition: Condition, sessions: Mapping[str, Session], feeds: Mapping[str, Feeds]
    ) -> dict[str, Row]:
        """The rows before anything is timed: what is measured, and how the outputs compare."""
        reference: dict[str, NDArray[Any]] | None = None
        rows = {}
        for subject in self._subjects:
            session = sessions[subject.name]
            outputs = session.run(feeds[subject.name])
            reference = outputs if reference is None else reference
            rows[subject.name] = {
                "model": subject.name,
                **vars(condition),
                "backend_used": session.backend,
                "rows": max((len(x) for x in feeds[subject.name].values() if x.ndim), default=1),
                "file_bytes": subject.file_bytes,
                "compared_with": self._subjects[0].name,
                **compared(outputs, reference),
                **self._score(subject, condition),
                **self._way(subject, feeds[subject.name]),
                "run": self._run,
            }
        return rows

    def _steps(self, session: Session, feeds: Feeds, condition: Condition) -> list[Row]:
        """Times of the steps and their places under the roofline; of one slice where the model fixes its batch and the feeds
        hold more.
        """
        fixed = {port.name: port.shape[0] for port in session.inputs if port.shape}
        part = {n: x[: fixed[n]] if isinstance(fixed.get(n), int) else x for n, x in feeds.items()}
        if condition.threads not in self._bandwidths:
            self._bandwidths[condition.threads] = bandwidth(condition.threads)
        return placed(session.profile(part, _PROFILED), self._bandwidths[condition.threads])

    def _in_processes(
        self,
        condition: Condition,
        feeds: Mapping[str, Feeds],
        found: Mapping[str, list[Row]],
        bar: Any,
    ) -> None:
        """New processes, the models in turns."""
        with tempfile.TemporaryDirectory(prefix="rdquant-") as folder:
            orders = {}
            for i, subject in enumerate(self._subjects):
                path = subject.path or Path(folder) / f"{i}.onnx"
                if subject.path is None and not isinstance(subject.model, EngineModel):
                    subject.model.save(path)
                np.savez(Path(folder) / f"{i}.npz", *feeds[subject.name].values())
                orders[subject.name] = {
                    "model": str(path.absolute()),
                    "feeds": str(Path(folder) / f"{i}.npz"),
                    "inputs": list(feeds[subject.name]),
                    **vars(condition),
                    "seconds": self._effort.seconds / self._effort.processes,
                    "root": str(self._board.root),
                }
            for _ in range(self._effort.processes):
                for name, order in orders.items():
                    self._cool()
                    bar.set_description(f"new process, {condition}")
                    found[name].append(in_new_process(order))
                    bar.update()

    def _finish(
        self,
        rows: Mapping[str, Row],
        samples: Mapping[str, Sequence[float]],
        found: Mapping[str, Sequence[Row]],
        steps: Mapping[str, list[Row]],
        before: Row,
        slowed: Sequence[str],
        complete: bool,
    ) -> None:
        """Store what has been measured of a condition."""
        after = meters.clock()
        steady = same_clock(before, after) and same_clock(self.facts["clock"], after)
        for name, row in rows.items():
            if not samples[name]:
                continue
            row |= {"spin_us": after["spin_us"], "steady": steady, "complete": complete}
            row |= dict.fromkeys(_UNMEASURED)
            row |= latency(samples[name], row["rows"])
            row |= figures(found[name]) if found[name] else {}
            row |= limited(row, slowed, self._board.flags())
            row["bandwidth_gb_s"] = self._bandwidths.get(row["threads"], 0.0) / 1e9 or None
            row["paused_s"] = self._paused
            row["samples_ms"] = [round(1e3 * sample, 4) for sample in samples[name]]
            about = {k: row[k] for k in ("model", "backend", "threads", "batch")}
            # A step's own "backend" is the one in use, which the row says too.
            self._stored.put(row, [{**step, **about} for step in steps.get(name, ())])
        self._keep()


def limited(row: Row, slowed: Sequence[str], flags: int | None) -> Row:
    """Columns throttled and limits of a row, with what slowed its latency; limits is None where nobody knows."""
    names = list(dict.fromkeys([*slowed, *(row["limits"] or ())]))
    known = flags is not None or bool(names)
    throttled = row["throttled"] if row["throttled"] is not None or not known else 0
    return {
        "limits": names if known else None,
        "throttled": max(throttled, len(names)) if throttled is not None else None,
    }


def this_run() -> Row:
    """Machine, clock, board and time of now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "machine": describe(),
        "clock": meters.clock(),
        "board": Board().facts(),
        "created": now.isoformat(timespec="seconds"),
    }


def _bound(session: Session, feeds: Feeds) -> Callable[[], object]:
    return lambda: session.run(feeds)


def named(models: Sequence[tuple[str, Model | EngineModel, Path | None]]) -> Iterator[Subject]:
    """Subjects under names that differ: a name that comes again gets a number."""
    seen: dict[str, int] = {}
    for name, model, path in models:
        seen[name] = seen.get(name, 0) + 1
        yield Subject(name if seen[name] == 1 else f"{name} ({seen[name]})", model, path)
