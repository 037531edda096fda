"""A study's rows arranged for showing: which metrics, which series, what is missing. Nothing is computed."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import needed
from ..metrics import COUNTED, DETECTION_METRICS, METRICS, wilson
from .svg import SERIES

with needed():
    import pandas as pd

__all__ = [
    "KEPT",
    "Metric",
    "Scale",
    "Series",
    "StudyLike",
    "View",
    "arrange",
    "family_name",
    "loss_text",
    "metric_of",
    "points_text",
]

KEPT = "the results in results.sqlite are kept"  # said where a file of the report cannot be written
_POINT_COLUMNS = frozenset(
    (
        *("id", "study_id", "quantizer", "family", "options", "bits", "scope", "state", "images", "entropy"),
        *(
            "entropy_tables",
            "real_bits",
            "file_bytes",
            "ratio",
            "roles",
            "command",
            "cr",
            "re",
            "mse",
            "sqnr_db",
            "verdict",
            "seconds",
            "range",
            "tolerance",
        ),
    )
)
_FAMILIES = {
    "gaussian": "Gaussian",
    "cauchy": "Cauchy",
    "laplace": "Laplace",
    "student_t": "Student t",
    "generalized_gaussian": "generalized Gaussian",
    "spike_laplace": "Laplace with a spike at 0",
    "spike_gaussian": "Gaussian with a spike at 0",
}
_SHORT = {"kl": "KL to float", "f1": "F1", "mrr": "MRR", "ndcg": "NDCG"}


class StudyLike(Protocol):
    """What the report reads of a study; `rdquant.sweep.Study` is one."""

    @property
    def info(self) -> Mapping[str, Any]:
        """Names of model and data, machine, model_summary, created."""

    def to_pandas(self) -> pd.DataFrame:
        """One row per point, metrics as columns."""

    def best(self, max_loss: float | None = None) -> pd.DataFrame:
        """Per quantizer the point of the smallest file within the tolerance, the overall best first."""

    def fits(self) -> pd.DataFrame:
        """One row per tensor and family; tensor "" is the whole model."""

    def histograms(self) -> Mapping[str, tuple[float, float, Any]]:
        """Tensor name -> (low, high, counts)."""

    def tensors(self) -> pd.DataFrame:
        """One row per tensor: name, role, shape and moments."""


@dataclass(frozen=True)
class Metric:
    """How a column of the points is named and shown."""

    name: str
    label: str
    axis: str  # the same with its unit, for an axis
    share: bool  # a fraction in 0..1, shown in per cent, whose loss is in points
    sign: int  # 1 where more is better, else −1
    counted: bool  # a share of images, which has a confidence interval

    def text(self, value: float | None) -> str:
        """`value` with its unit; a dash where there is none."""
        if value is None or not math.isfinite(value):
            return "–"
        return f"{100 * value:.2f} %" if self.share else f"{value:.4g}"

    def interval(self, row: Mapping[Any, Any]) -> tuple[float, float] | None:
        """95 % interval of a point's share of images; None where it is none."""
        value = row.get(self.name)
        if not self.counted or value is None or not math.isfinite(value) or not row.get("images"):
            return None
        return wilson(value, int(row["images"]))

    def interval_text(self, row: Mapping[Any, Any]) -> str:
        """The same in per cent, "97.4–99.3"; a dash where there is none."""
        found = self.interval(row)
        return "–" if found is None else f"{100 * found[0]:.1f}–{100 * found[1]:.1f}"

    def shown(self, rows: pd.DataFrame) -> pd.Series[float]:
        """Values of the points as an axis has them: shares in per cent."""
        return (100 if self.share else 1) * rows[self.name].astype(float)


@dataclass(frozen=True)
class Scale:
    """What the curves are drawn against: bytes of the files, or the entropy where not all of them are known."""

    column: str
    name: str
    label: str
    ratio_label: str
    unit: float  # what a value of the column is divided by
    whole: float  # the float model's size in that unit
    least: float  # where the axis may begin

    def of(self, rows: pd.DataFrame) -> pd.Series[float]:
        """Sizes of the points."""
        return rows[self.column].astype(float) / self.unit


_ENTROPY = Scale("entropy", "entropy", "entropy (bits per weight)", "ideal ratio, 32/entropy", 1, 32, 0.4)


@dataclass(frozen=True)
class Series:
    """One line of the rate–distortion curves: a quantizer in a scope."""

    slot: int  # place in the palette
    label: str
    joined: bool  # points form one curve over bits; formats of minifloats do not
    points: pd.DataFrame


@dataclass(frozen=True)
class View:
    """Everything the report shows of one study. Frames are empty where the study has no such rows."""

    info: Mapping[str, Any]
    max_loss: float  # percentage points
    points: pd.DataFrame
    reference: dict[str, Any] | None  # the float model's point
    metrics: list[Metric]
    series: list[Series]
    best: pd.DataFrame
    fits: pd.DataFrame
    histograms: Mapping[str, tuple[float, float, Any]]
    tensors: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    @property
    def knows_files(self) -> bool:
        """Whether the sizes of the best choices' files are known: not in results of older versions."""
        return len(self.best) > 0 and "ratio" in self.best and bool(self.best["ratio"].notna().all())

    @property
    def scale(self) -> Scale:
        """Bytes, where those of every point and of the model are known."""
        drawn = self.points[self.points["family"] != "float"]
        if "ratio" not in drawn or drawn["ratio"].isna().any() or not len(drawn):
            return _ENTROPY
        original = float(self.info["model_summary"]["file_bytes"])
        unit, word = (1e6, "MB") if original > 3e6 else (1e3, "kB")
        label = f"compressed file ({word})"
        return Scale("file_bytes", "file size", label, "times smaller", unit, original / unit, 0.0)

    def size_text(self, row: Mapping[Any, Any]) -> str:
        """Size of a point in words: of its file where that is known, and its entropy."""
        entropy = f"entropy {row['entropy']:.3f} bits per weight"
        ratio = row.get("ratio")
        if ratio is None or not math.isfinite(ratio):
            return f"{entropy}, at best {row['cr']:.1f} × smaller"
        return f"{int(row['file_bytes']):,} bytes, {ratio:.1f} × smaller, {entropy}"

    @property
    def family_colours(self) -> dict[str, str]:
        """One colour for each fitted family, the same all over the page."""
        if not len(self.fits):
            return {}
        whole = self.fits[self.fits["tensor"] == ""].sort_values("kl")["family"]
        names = dict.fromkeys([*whole, *self.fits["family"]])
        return {name: SERIES[place % len(SERIES)] for place, name in enumerate(names)}

    @property
    def tolerance(self) -> float:
        """`max_loss` as a fraction of the metric."""
        return self.max_loss / 100

    def spreads(self, tensor: str) -> bool:
        """Whether the histogram of `tensor` ("" is the whole model) has a width and counts to draw."""
        low, high, counts = self.histograms.get(tensor, (0.0, 0.0, ()))
        return high > low and sum(counts) > 0

    @property
    def drawn_tensors(self) -> list[str]:
        """Tensors whose histogram can be drawn, in the study's order."""
        return [name for name in self.histograms if name and self.spreads(name)]

    @property
    def losses(self) -> list[Metric]:
        """Metrics whose loss against the float model is stored with the best choices."""
        return [metric for metric in self.metrics if f"loss_{metric.name}" in self.best]


def family_name(family: str) -> str:
    """Name of a distribution family as it is written in running text."""
    return _FAMILIES.get(family, family.replace("_", " "))


def points_text(fraction: float) -> str:
    """A difference of fractions, 0 or more, as percentage points: 0.008 is "0.8"."""
    text = f"{100 * fraction:.2f}"
    return text[:-1] if text.endswith("0") else text


def loss_text(loss: float) -> str:
    """A loss, as a fraction, in words: "loses 0.6 points", "gains 0.6 points", "loses nothing"."""
    points = points_text(abs(loss))
    if float(points) == 0:
        return "loses nothing"
    return f"{'loses' if loss > 0 else 'gains'} {points} points"


def arrange(study: StudyLike, max_loss: float) -> View:
    """Read `study` once and put its rows in the report's order."""
    points = _plain_bits(study.to_pandas())
    is_float = points["family"] == "float" if len(points) else pd.Series(dtype=bool)
    done = points[is_float & (points["state"] == "done")] if len(points) else points
    reference = dict(done.iloc[0]) if len(done) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is none, a note says so
        best = _plain_bits(study.best(max_loss)) if reference is not None else pd.DataFrame()
    fits = study.fits()
    if len(fits):
        fits = fits.assign(parameters=pd.Series([_parameters(v) for v in fits["parameters"]], fits.index))
    view = View(
        info=study.info,
        max_loss=max_loss,
        points=points,
        reference=reference,
        metrics=_metrics(points),
        series=_series(points[~is_float]) if len(points) else [],
        best=best,
        fits=_one_criterion(fits),
        histograms=study.histograms(),
        tensors=study.tensors(),
    )
    view.notes.extend(_notes(view))
    return view


def _plain_bits(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with bits as float64, NaN where a quantizer has none."""
    plain: pd.DataFrame = rows.assign(bits=rows["bits"].astype("float64"))
    return plain


def _parameters(value: Any) -> dict[str, float]:
    return dict(json.loads(value) if isinstance(value, str) else value)


def _one_criterion(fits: pd.DataFrame) -> pd.DataFrame:
    """Rows of one estimation criterion: maximum likelihood (the thesis') where there is more than one."""
    if not len(fits):
        return fits
    criteria = list(dict.fromkeys(fits["criterion"]))
    kept: pd.DataFrame = fits[fits["criterion"] == ("mle" if "mle" in criteria else criteria[0])]
    return kept


def _metrics(points: pd.DataFrame) -> list[Metric]:
    return [metric_of(c) for c in points.columns if c not in _POINT_COLUMNS and points[c].notna().any()]


def metric_of(name: str) -> Metric:
    """How the metric `name` is shown; by its name where it is of another version."""
    if name in DETECTION_METRICS:
        title = DETECTION_METRICS[name].title
        return Metric(name, title, f"{title} (%)", share=True, sign=1, counted=False)
    known = METRICS.get(name)
    if known is None:
        return Metric(name, name, name, share=False, sign=1, counted=False)
    match = re.fullmatch(r"top(\d+)(_error)?", name)
    label = f"top-{match[1]}{(match[2] or '').replace('_', ' ')}" if match else name.replace("_", " ")
    unit = {"fraction": " (%)", "": ""}.get(known.unit, f" ({known.unit})")
    share = known.unit == "fraction"
    sign = 1 if known.higher_is_better else -1
    return Metric(name, _SHORT.get(name, label), known.title + unit, share, sign, name in COUNTED)


def _series(points: pd.DataFrame) -> list[Series]:
    if not len(points):
        return []
    shown = [key for key in ("scope", "range", "roles") if key in points and points[key].nunique() > 1]
    words = {"scope": "per {}", "range": "range {}", "roles": "of {}"}
    keys = []
    for row in points.to_dict("records"):
        name = "minifloats" if row["family"] == "minifloat" else row["quantizer"]
        keys.append(", ".join([name, *(words[key].format(row[key]) for key in shown)]))
    groups = points.assign(_key=keys).groupby("_key", sort=False)
    return [
        Series(
            slot,
            str(key),
            rows["family"].iloc[0] != "minifloat",
            rows.drop(columns="_key").sort_values("entropy"),
        )
        for slot, (key, rows) in enumerate(groups)
    ]


def _notes(view: View) -> list[str]:
    """What is missing, in words."""
    notes = []
    if not len(view.points):
        notes.append("The study has no points yet: no quantizer has been evaluated.")
    elif view.reference is None:
        notes.append("The float model has not been evaluated yet, so losses and best choices are not known.")
    elif not view.series:
        notes.append("Only the float model has been evaluated so far.")
    elif not len(view.best):
        notes.append(
            f"No finished point stays within {points_text(view.tolerance)} percentage points of the float "
            "model in every metric. More bits, other quantizers or a wider tolerance may."
        )
    if not len(view.fits):
        notes.append("No distributions were fitted in this study.")
    if not view.histograms:
        notes.append("The study holds no histograms.")
    flat = [name or "the whole model" for name in view.histograms if not view.spreads(name)]
    if flat:
        notes.append(f"No histogram is drawn where all weights are equal: {', '.join(flat)}.")
    stopped = int((view.points["state"] == "stopped").sum()) if len(view.points) else 0
    if stopped:
        notes.append(
            f"{stopped} of {len(view.points)} points were stopped early by the adaptive strategy, as soon as "
            "it was clear on which side of the tolerance they lie: their metrics come from fewer images, and "
            "they are drawn hollow."
        )
    images = 0 if view.reference is None else int(view.reference["images"])
    if images and 1 / images > view.tolerance and any(metric.share for metric in view.metrics):
        notes.append(
            f"{images} images: one image is {points_text(1 / images)} points, more than the tolerance of "
            f"{points_text(view.tolerance)} points; a point passes only if it gets as many right as the float "
            "model. Take more images, or a wider tolerance."
        )
    return notes
