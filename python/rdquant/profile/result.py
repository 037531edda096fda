"""What `rdquant.profile` gives: rows, ratios to the first model, tables, plots, a page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._tables import html_table, label, short
from ..errors import InvalidArgument, MissingFile, MissingPackage, needed, path_of, some_of
from .lines import cells, grouped
from .store import CLOCK_TOLERANCE, FILE, Row, Stored, differences, same_clock
from .timing import COMPARISONS, speed_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RATIOS", "Profile"]

RATIOS = {
    "p50_ms": "latency_ratio",
    "throughput": "throughput_ratio",
    "first_ms": "first_ratio",
    "rss_growth_mb": "growth_ratio",
    "rss_peak_mb": "peak_ratio",
    "joules_per_run": "energy_ratio",
}
"""Columns, and what their ratios to the first model are called."""


class Profile:
    """Measurements of models side by side, made by `rdquant.profile`. The others are compared with the first model.

    Attributes:
        rows: one for each model, backend, threads and batch, as plain values. Times in milliseconds, memory in 10^6
            bytes, temperatures in degrees Celsius, energy in joules a run, throughput in rows (images) a second; None
            for what this machine does not report. samples_ms holds the single runs. Where labelled images were given: top1
            or map50 (fractions) on `images` of them, or why there is none (unscored).
        steps: one for each step of a model's plan in those conditions; mean_us and best_us in microseconds.
        runs: machine, board, clock, time and command of the calls that measured them; a row's `run` is an index into them.
        interrupted: whether Ctrl-C has stopped the measurement: the last row may then lack figures.
        mixed: whether rows of different machines or clocks are compared because the caller allowed it.
    """

    def __init__(
        self, stored: Stored, folder: Path | None = None, mixed: bool = False, interrupted: bool = False
    ) -> None:
        self._stored = stored
        self._order: list[str] = []
        self._others: list[str] = []
        self._folder = folder
        self.mixed = mixed
        self.interrupted = interrupted

    @classmethod
    def open(cls, folder: str | os.PathLike[str], mix: bool = False) -> Profile:
        """The profile in `folder`.

        Raises MissingFile where there is none, InvalidArgument where its rows come of different machines or clocks and `mix`
        does not allow it; CorruptFile where it cannot be read.
        """
        stored = Stored.read(path_of("folder", folder))
        if not stored.rows:
            raise MissingFile(
                f"{folder}: no {FILE} there; rdquant.profile(…, store={str(folder)!r}) makes one"
            )
        if not mix:
            stored.check(stored.runs[stored.rows[0]["run"]], Path(folder))
        return cls(stored, Path(folder), mix)

    def only(self, models: Sequence[str]) -> Profile:
        """The profile of some of its models, in this order: the others are compared with the first.

        models: names out of `models`. Raises InvalidArgument for other names, and for none.
        """
        chosen = some_of("models", models, self.models)
        others = [name for name in self.models if name not in chosen]
        stored = self._stored.of(chosen) if others else self._stored
        one = Profile(stored, self._folder, self.mixed, self.interrupted)
        one._order, one._others = list(chosen), others
        return one

    @property
    def rows(self) -> list[Row]:
        """See above."""
        return self._stored.rows

    @property
    def steps(self) -> list[Row]:
        """See above."""
        return self._stored.steps

    @property
    def runs(self) -> list[Row]:
        """See above."""
        return self._stored.runs

    @property
    def models(self) -> list[str]:
        """Names; the first is the one that the others are compared with."""
        return self._order or list(dict.fromkeys(row["model"] for row in self.rows))

    def to_pandas(self) -> pd.DataFrame:
        """The rows without single runs, and their ratios to the first model under the same conditions; `speedup` is how many
        times as fast a model is, `speedup_low` and `speedup_high` its 95 % interval (of the medians of the single runs).

        A ratio is missing where one of both figures is, or where the clock changed while one was measured; what compares
        outputs, where a model was not measured in one call with the first.
        """
        with needed():
            import pandas as pd

        table: pd.DataFrame = pd.DataFrame(self.table())
        return table

    def table(self) -> list[Row]:
        """What `to_pandas` gives as plain dictionaries; it needs no pandas."""
        base = {_condition(row): row for row in self.rows if row["model"] == self.models[0]}
        rows = []
        for row in self.rows:
            first = base.get(_condition(row))
            plain = {name: value for name, value in row.items() if name != "samples_ms"}
            if row["compared_with"] != self.models[0]:
                plain |= dict.fromkeys(COMPARISONS)
            plain |= {RATIOS[name]: self._ratio(row, first, name) for name in RATIOS}
            ratio = plain["latency_ratio"]
            ends: tuple[float | None, float | None] = (None, None)
            if (
                ratio
                and first is not None
                and first is not row
                and row.get("samples_ms")
                and first.get("samples_ms")
            ):
                ends = speed_interval(first["samples_ms"], row["samples_ms"])
            rows.append(
                {**plain, "speedup": ratio and 1 / ratio, "speedup_low": ends[0], "speedup_high": ends[1]}
            )
        return rows

    def lines(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table that the command line prints; it needs no pandas."""
        try:
            from ..report.performance import performance_rows
        except MissingPackage:
            return cells(self.table())
        return performance_rows(self)

    def operations(self) -> pd.DataFrame:
        """Time by kind of step: model, backend, threads, batch, op, steps (how many), mean_us (their sum), share."""
        with needed():
            import pandas as pd

        columns = ["model", "backend", "threads", "batch", "op", "steps", "mean_us", "share"]
        table: pd.DataFrame = pd.DataFrame(grouped(self.steps), columns=columns)
        return table

    @property
    def headlines(self) -> list[str]:
        """A sentence for each model but the first: how many times as fast as the first it is and, where labelled images were
        given, how accurate; under the first conditions. None without what the report needs, `rdquant[pictures]`.
        """
        try:
            from ..report.performance import headlines
        except MissingPackage:
            return []
        return headlines(self)

    @property
    def notes(self) -> list[str]:
        """What a reader must know, as sentences."""
        out = ["The measuring was interrupted: some figures are missing."] if self.interrupted else []
        for row in self.rows:
            where = f"{row['model']} (threads {row['threads']}, batch {row['batch']})"
            if row.get("finite") is False:
                out.append(f"{where}: some outputs are not finite, so its figures mean little.")
            if row.get("unscored"):
                out.append(f"{where}: no accuracy: {row['unscored']}")
            if row["steady"] is False:
                out.append(f"{where}: the clock changed while it was measured; it is not compared.")
            elif self._clock_varied(row):
                low, high = row["mhz_least"], row["mhz_most"]
                out.append(
                    f"{where}: the clock went between {low:.0f} and {high:.0f} MHz while it was measured; it is not compared."
                )
            if row.get("throttled"):
                by = f" ({', '.join(row['limits'])})" if row.get("limits") else ""
                out.append(
                    f"{where}: the processor was slowed down while it was measured{by}; it is not compared."
                )
            if row.get("paused_s"):
                out.append(
                    f"{where}: {row['paused_s']:.0f} s of pauses let the machine cool down before it ran."
                )
            if row["compared_with"] != self.models[0]:
                out.append(
                    f"{where}: not measured together with {self.models[0]}, so outputs are not compared."
                )
        if self._others:
            held = f"{len(self._others)} more models" if len(self._others) > 1 else "One more model"
            out.append(
                f"{held} in the folder ({', '.join(self._others)}): name them, too, to have them in this comparison."
            )
        out += [note for run in self.runs for note in _of_board(run.get("board") or {})]
        elsewhere = [d for run in self.runs[1:] for d in differences(self.runs[0], run)] if self.mixed else []
        if elsewhere:
            out.append(f"Measured on different machines or at different clocks: {'; '.join(elsewhere)}.")
        return out

    def plot(self, ax: Axes | None = None) -> Figure:
        """Latency of the models: the middle run of each, up to the slowest tenth and hundredth, as a Matplotlib figure.

        ax: axes to draw on, whose figure is returned; new ones by default. Raises InvalidArgument for anything but axes.
        """
        from ..report.performance import latency_figure

        return latency_figure(self, ax)

    def report(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write `report.html` with plots (PNG, SVG), tables (CSV) and `profile.json` into `folder`, by default that of
        the results; its path.

        Raises InvalidArgument where neither is known.
        """
        from ..report.performance import write_performance

        target = folder or self._folder
        if target is None:
            raise InvalidArgument("folder: expected one, as the results are not kept in a folder")
        if self._folder is None or Path(target).absolute() != self._folder.absolute():
            self._stored.write(target)
        return write_performance(self, target)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON: models, headlines, rows, operations, runs, notes, interrupted."""
        return {
            "models": self.models,
            "headlines": self.headlines,
            "rows": [{n: _plain(v) for n, v in row.items()} for row in self.table()],
            "operations": grouped(self.steps),
            "runs": self.runs,
            "notes": self.notes,
            "interrupted": self.interrupted,
        }

    def __repr__(self) -> str:
        return short(
            self,
            f"of {', '.join(map(label, self.models[:3]))}{', …' * (len(self.models) > 3)}: {len(self.rows)} rows",
        )

    def _repr_html_(self) -> str:
        return html_table(self)

    def _clock_varied(self, row: Row) -> bool:
        """Whether a board's clock, which all cores share, was not one and the same while the row was measured."""
        board = self.runs[row["run"]].get("board") or {}
        low, high = row.get("mhz_least"), row.get("mhz_most")
        return bool(board.get("model") and low and high and low < (1 - CLOCK_TOLERANCE) * high)

    def _ratio(self, row: Row, first: Row | None, name: str) -> float | None:
        if first is None or not row.get(name) or not first.get(name):
            return None
        clocks = [self.runs[r["run"]]["clock"] for r in (row, first)]
        slowed = row.get("throttled") or first.get("throttled")
        steady = all(r["steady"] and not self._clock_varied(r) for r in (row, first))
        fair = steady and not slowed and same_clock(*clocks)
        return row[name] / first[name] if fair or self.mixed else None


def _of_board(board: Mapping[str, Any]) -> list[str]:
    """What a reader must know of the machine when a measurement began."""
    out = []
    if board.get("offline"):
        out.append(f"Cores that are offline: {', '.join(map(str, board['offline']))}.")
    if board.get("model") and board.get("governor") not in (None, "performance"):
        out.append(
            f"The clock's governor is {board['governor']!r}, which may change it while networks are measured."
        )
    if board.get("limits_now"):
        out.append(f"Limits that held when the measurement began: {', '.join(board['limits_now'])}.")
    if board.get("limits_since_boot"):
        out.append(
            f"Limits that have held since the machine started: {', '.join(board['limits_since_boot'])}."
        )
    if "Raspberry" in (board.get("model") or "") and board.get("limits_now") is None:
        out.append("Neither vcgencmd nor the kernel says whether the processor is throttled or lacks power.")
    return list(dict.fromkeys(out))


def _plain(value: Any) -> Any:
    """For JSON, which has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _condition(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("backend", "threads", "batch"))
