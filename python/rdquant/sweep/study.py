"""A finished or running study, as tables."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._tables import html_table, label, short
from ..errors import InvalidArgument, described, needed, number, path_of, some_of
from ..graph import ROLES
from .command import command_of
from .store import Store

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Study", "best_points"]

_POINT = (
    "quantizer",
    "family",
    "bits",
    "scope",
    "range",
    "state",
    "images",
    "entropy",
    "entropy_tables",
    "real_bits",
    "file_bytes",
    "ratio",
    "cr",
    "re",
    "mse",
    "sqnr_db",
)
_FIT = ("tensor", "rank", "criterion", "family", "parameters", "kl", "sse", "aic", "bic", "ks")
_TENSOR = ("position", "name", "role", "shape", "count", "mean", "std", "min", "max", "kurtosis")
#: Fractions of images, the higher the better: the metrics to which a tolerated loss applies.
RATES = ("top1", "top5", "accuracy")


class Study:
    """Results of `rdquant.sweep`, read from its store; rows only, nothing is computed again. Made by `rdquant.sweep`.

    Attributes:
        folder: the store's folder, or None for a study in memory.
        info: dict of model, data, model_summary, machine, options, created.
    """

    def __init__(self, store: Store, study_id: int) -> None:
        self._store = store
        self._id = study_id
        self.folder = store.folder

    @classmethod
    def open(cls, path: str | os.PathLike[str], model: str | None = None, data: str | None = None) -> Study:
        """The study in folder `path` (or of the results file itself).

        Args:
            model, data: names of the model and of the data set, where the store holds several studies; of those that
                fit, the one that was swept last.

        Raises:
            InvalidArgument: no results there, or none of that model and data.
            CorruptFile: not a results file, or of a newer schema.
        """
        folder = path_of("path", path)
        store = Store(folder.parent if folder.suffix == ".sqlite" else folder)
        fitting = {}
        rows = store.rows("SELECT id, model, data FROM studies ORDER BY id")
        for name, value in (("model", model), ("data", data)):
            fitting[name] = [row for row in rows if value in (None, row[name])]
            if value is not None and not fitting[name]:
                store.close()
                held = ", ".join(dict.fromkeys(row[name] for row in rows)) or "no study yet"
                raise InvalidArgument(
                    f"{name}: {store.path}: no study of {described(value)}; it holds {held}"
                )
        ids = [row["id"] for row in fitting["model"] if row in fitting["data"]]
        if not ids:
            store.close()
            if not rows:
                raise InvalidArgument(f"{store.path}: it holds no study yet")
            held = ", ".join(f"{row['model']} on {row['data']}" for row in rows)
            raise InvalidArgument(
                f"model, data: {store.path}: no study of {model} on {data}; it holds {held}"
            )
        return cls(store, latest if (latest := store.latest()) in ids and latest is not None else ids[-1])

    @property
    def others(self) -> list[tuple[str, str]]:
        """(model, data) of the other studies in the same results file, oldest first."""
        rows = self._rows("SELECT model, data FROM studies WHERE id != ? ORDER BY id")
        return [(row["model"], row["data"]) for row in rows]

    @property
    def info(self) -> dict[str, Any]:
        """What was studied, where and how: model, data, their fingerprints, model_summary, machine, options, created."""
        row = self._rows("SELECT * FROM studies WHERE id = ?")[0]
        found = row | {key: json.loads(row[key]) for key in ("model_summary", "machine", "options")}
        if "tolerance" in found["options"]:  # schema 2 at first: a fraction
            found["options"]["max_loss"] = 100 * found["options"].pop("tolerance")
        return found

    def to_pandas(self) -> pd.DataFrame:
        """One row per point; the float model is the quantizer "float32".

        Columns: quantizer, family, bits, scope, range, state ("done" or "stopped": given up early as beyond the
        tolerance, its metrics then belong to the images seen), images, entropy and entropy_tables (bits per weight,
        without and with tables: ideal), real_bits (bits per quantized weight in the file that `rdquant.compress` writes,
        effort "fast"), file_bytes (of that file) and ratio (how many times smaller than the model's file it is; these three
        are unknown for points given up), cr and re (by the entropy, to 32 bits: ideal; none for the float model), mse,
        sqnr_db, each metric, verdict ("pass", "fail" or None), seconds, roles of what is quantized.
        """
        return self._points().drop(columns="options")

    def _points(self) -> pd.DataFrame:
        """With what identifies each point, a dict, in the column options."""
        with needed():
            import pandas as pd

        rows = self._rows("SELECT * FROM points WHERE study_id = ? ORDER BY id")
        metrics = [json.loads(row["metrics"]) for row in rows]
        names = list(dict.fromkeys(name for point in metrics for name in point))
        original = self.info["model_summary"].get("file_bytes")
        for row in rows:
            options = row["options"] = json.loads(row["options"])
            row["range"], row["roles"] = options.get("range"), ",".join(options.get("roles", ROLES))
            size = row.get("file_bytes")
            row["ratio"] = original / size if original and size else None
            row.update((name, json.loads(row["metrics"]).get(name, np.nan)) for name in names)
        table = pd.DataFrame(rows).reindex(
            columns=[*_POINT, *names, "verdict", "seconds", "roles", "options"]
        )
        table["bits"] = table["bits"].astype("Int64")
        table["file_bytes"] = table["file_bytes"].astype("Int64")
        floats = ["real_bits", "ratio", "cr", "re", "sqnr_db"]
        table[floats] = table[floats].astype(float)
        # SQLite keeps no infinity: 32/0 bits, and a signal without error.
        quantized = table["family"] != "float"
        table.loc[quantized & (table["entropy"] == 0), "cr"] = np.inf
        table.loc[quantized & (table["mse"] == 0), "sqnr_db"] = np.inf
        return table

    def best(self, max_loss: float | None = None, metrics: Sequence[str] | None = None) -> pd.DataFrame:
        """For each quantizer the point with the smallest file that loses at most `max_loss` in every metric.

        Args:
            max_loss: greatest loss against the float model, percentage points (0.8: the thesis' rule); by default that of
                the sweep.
            metrics: names of the metrics it applies to; by default those of the sweep that are shares of images.

        Returns:
            The points' rows with columns loss_<metric> and `command`, which writes that file, to the byte; smallest
            first. By entropy where the results of an older version know no files. Quantizers without such a point are left
            out, and where none is left it warns; `verdict` is for the loss and metrics given here. As Tables
            3.9 and 3.10 of thesis 004.

        Raises:
            InvalidArgument: a loss out of range, or a metric that the sweep did not measure.

        Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
        """
        options = self.info["options"]
        limit = options["max_loss"] if max_loss is None else max_loss
        limit = number("max_loss", limit, least=0, most=100)
        names = options["metrics"] if metrics is None else some_of("metrics", metrics, options["metrics"])
        info = self.info
        points, rates = self._points(), [m for m in names if m in RATES]
        best = best_points(points, limit, rates)
        best["verdict"] = "pass"  # the stored one is for the limit and the metrics of the sweep
        if best.empty:
            warnings.warn(_nothing_within(points, limit, rates), stacklevel=2)
        best["command"] = [
            command_of(info["options"].get("path"), info["model"], row) for row in best.to_dict("records")
        ]
        return best.drop(columns="options")

    def fits(self) -> pd.DataFrame:
        """Fitted families: tensor ("" is the whole model), rank, criterion, family, parameters, kl, sse, aic, bic, ks."""
        with needed():
            import pandas as pd

        rows = self._rows("SELECT * FROM fits WHERE study_id = ? ORDER BY rowid")
        for row in rows:
            row["parameters"] = json.loads(row["parameters"])
        return pd.DataFrame(rows).reindex(columns=list(_FIT))

    def histograms(self) -> dict[str, tuple[float, float, np.ndarray]]:
        """Tensor ("" is the whole model) -> (low, high, int64 counts of equal bins [bins]), bounds in the weights' unit."""
        rows = self._rows("SELECT * FROM histograms WHERE study_id = ?")
        return {
            row["tensor"]: (row["low"], row["high"], np.array(json.loads(row["counts"]), np.int64))
            for row in rows
        }

    def tensors(self) -> pd.DataFrame:
        """The model's tensors: position, name, role, shape, count, mean, std, min, max, kurtosis."""
        with needed():
            import pandas as pd

        rows = self._rows("SELECT * FROM tensors WHERE study_id = ? ORDER BY position")
        for row in rows:
            row["shape"] = tuple(json.loads(row["shape"]))
        return pd.DataFrame(rows).reindex(columns=list(_TENSOR))

    def plot(self, metric: str = "top1", ax: Axes | None = None) -> Figure:
        """Rate–distortion curves: `metric` against the size of the compressed file, one line per quantizer.

        ax: axes to draw on, whose figure is returned; new ones by default. Raises InvalidArgument for anything else.
        """
        from ..report import plot_curves

        return plot_curves(self, metric, ax)

    def report(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Writes report.html, plots and tables into `folder` (by default the study's own); returns the page's path.

        Raises InvalidArgument where neither is known.
        """
        from ..report import write_report

        target = folder if folder is not None else self.folder
        if target is None:
            raise InvalidArgument("report: this study is in memory; give the folder to write to")
        return write_report(self, target)

    def close(self) -> None:
        """Closes the results file; the study gives no more tables."""
        self._store.close()

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _repr_html_(self) -> str:
        return html_table(self)

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return self._store.rows(query, (self._id,))

    def __repr__(self) -> str:
        if self._store.closed:
            return short(self, "closed")
        info = self.info
        points = self._rows("SELECT count(*) AS n FROM points WHERE study_id = ?")[0]["n"]
        where = self.folder or "in memory"
        return short(
            self, f"of {label(info['model'])} on {label(info['data'])}: {points} points, {label(where)}"
        )


def _nothing_within(points: pd.DataFrame, max_loss: float, metrics: Sequence[str]) -> str:
    """Why `best_points` gives none."""
    if (points["family"] == "float").all():
        return "no quantizer has been evaluated yet: there is no best point"
    return (
        f"no finished point stays within {max_loss:g} percentage points of the float model in {' and '.join(metrics)}; "
        "more bits, other quantizers or a wider tolerance may"
    )


def best_points(points: pd.DataFrame, max_loss: float, metrics: Sequence[str]) -> pd.DataFrame:
    """The rule behind `Study.best`, on its table."""
    base = points[points["family"] == "float"]
    done = points[(points["family"] != "float") & (points["state"] == "done")].copy()
    if base.empty or done.empty:
        return done.head(0)
    for metric in metrics:
        done[f"loss_{metric}"] = float(base.iloc[0][metric]) - done[metric]
    # Losses are multiples of 1/images: the small term only absorbs the rounding of the subtraction.
    within = np.ones(len(done), bool)
    for metric in metrics:
        within &= (done[f"loss_{metric}"] <= max_loss / 100 + 1e-9).to_numpy()
    known = done[within]
    by = ["file_bytes"] if len(known) and known["file_bytes"].notna().all() else []
    order = known.sort_values([*by, "entropy", "bits"], kind="stable")
    return order.groupby("quantizer", sort=False).head(1).reset_index(drop=True)
