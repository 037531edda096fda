"""From a detector and photos with boxes to detections, mean average precision and confidences."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .._tables import Brief, html_table
from ..data import Data, Dataset, input_geometry, open_dataset
from ..detection import HEADS, Detections, Detector, recognise
from ..errors import InvalidArgument, count, described, needed
from .coco import coco_statistics
from .feeding import fitted, single_input

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import AnyModel
    from ..runtime import Session

__all__ = ["Confidences", "average_precision", "compare_confidences", "detections"]


def detections(
    session: Session,
    data: Dataset,
    detector: Detector | str | None = None,
    *,
    progress: bool = False,
    output: str | None = None,
) -> list[Detections]:
    """What a network sees on each photo of `data`, in order, boxes in pixels of the photo.

    Args:
        session: an open session of the network.
        data: photos with boxes.
        detector: how outputs become detections, or the name of a head; default: `Detector()`, which finds the head by the
            shapes of the outputs.
        progress: show a bar on stderr.
        output: name of the output to read, for networks with several.

    Raises InvalidArgument for data without boxes, inputs that do not fit the network, or a name that is unknown;
    Unsupported for networks that are no known detectors.
    """
    settings = detector if isinstance(detector, Detector) else Detector(detector)
    tensor = single_input(session)
    found: list[Detections] = []
    broken, heads = 0, set()
    with tqdm(total=len(data), unit="photo", disable=not progress, leave=False) as bar:
        for x, _ in data:
            _, size = input_geometry(x.shape)
            if size is None:
                raise InvalidArgument(f"{data.name}: expected images, got items of shape {list(x.shape[1:])}")
            results = session.run({tensor.name: fitted(tensor, data.name, x)})
            if output is not None and output not in results:
                raise InvalidArgument(f"output: no {output!r} among {', '.join(results)}")
            shapes = {name: a.shape for name, a in results.items() if output in (None, name)}
            name, head = recognise(shapes, size, settings.head)
            heads.add(head)
            broken += int(np.isnan(results[name]).any(axis=tuple(range(1, results[name].ndim))).sum())
            for seen in settings.detect(head, results[name], size):
                found.append(seen.on_photo(data.scene(len(found))))
            bar.update(len(x))
    _warn(data, heads, broken)
    return found


def _warn(data: Dataset, heads: Collection[str], broken: int) -> None:
    """Both look like a poor network: NaN, and photos prepared for detectors of another family."""
    if broken:
        warnings.warn(
            f"{data.name}: the network's outputs for {broken} of {len(data)} photos hold NaN, which detects nothing",
            stacklevel=3,
        )
    for head in sorted(heads):
        if data.family in HEADS and data.family != head:
            warnings.warn(
                f"{data.name}: photos prepared as for {data.family}, but the network's outputs are those of {head}: "
                f"with preprocess={head!r} it may see more",
                stacklevel=3,
            )


def average_precision(data: Dataset, found: Sequence[Detections]) -> dict[str, float]:
    """`rdquant.metrics.STATISTICS` by name, fractions 0..1, of the detections `found` on each photo of `data`; see
    `coco_statistics`.

    Raises InvalidArgument for data without boxes, and as `coco_statistics` does.
    """
    if len(found) != len(data):
        raise InvalidArgument(f"found: expected detections on {len(data)} photos, got {len(found)}")
    return coco_statistics((data.scene(i) for i in range(len(data))), found, data.classes)


@dataclass(frozen=True, repr=False)
class Confidences(Brief):
    """How confident several networks are of what they see on the same photos.

    Attributes:
        edges: float64 [bins + 1], ascending, confidences 0..1.
        counts: network's name → int64 [bins], detections by confidence.
        mean: network's name → mean confidence, 0..1; NaN without detections.
        photos: number of them.
    """

    edges: NDArray[np.float64]
    counts: dict[str, NDArray[np.int64]]
    mean: dict[str, float]
    photos: int

    def to_pandas(self) -> pd.DataFrame:
        """`rows` as a table."""
        with needed():
            import pandas as pd

        table: pd.DataFrame = pd.DataFrame(self.rows())
        return table

    def _repr_html_(self) -> str:
        return html_table(self)

    def rows(self) -> list[dict[str, str | float | int]]:
        """A row for each network and bin: network, low, high (confidences, 0..1), count."""
        return [
            {"network": name, "low": float(low), "high": float(high), "count": int(count)}
            for name, counts in self.counts.items()
            for low, high, count in zip(self.edges[:-1], self.edges[1:], counts, strict=True)
        ]


def compare_confidences(
    models: Mapping[str, AnyModel | Session],
    data: Data,
    detector: Detector | str | None = None,
    *,
    bins: int = 20,
    backend: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Confidences:
    """Confidences of several networks' detections side by side, such as float, static and dynamic (paper 000).

    Args:
        models: by the name that tables and plots call them; sessions are used as they are.
        data: photos with boxes: what `rdquant.data.open_dataset` takes.
        detector: as for `detections`; unless it is a `Detector`, detections count from a confidence of 0.25, where
            detectors usually begin to report.
        bins: of equal width from the detector's least confidence to 1.
        backend, threads: as for `rdquant.Session`.
        progress: show a bar on stderr.

    Raises InvalidArgument where there is no model or bin, and as `detections` does.

    Paper 000: Abreu, Kikuchi and Viana, “Quantization strategies for low-resource hardware”, 2025.
    """
    from ..runtime import Session

    if not isinstance(models, Mapping) or not models:
        raise InvalidArgument(f"models: expected at least one by name, got {described(models)}")
    bins = count("bins", bins)
    settings = detector if isinstance(detector, Detector) else Detector(detector, confidence=0.25)
    edges = np.linspace(settings.confidence, 1.0, bins + 1)
    counts: dict[str, NDArray[np.int64]] = {}
    mean: dict[str, float] = {}
    for name, model in models.items():
        session = model if isinstance(model, Session) else Session(model, backend=backend, threads=threads)
        photos = open_dataset(data, model=session)
        found = detections(session, photos, settings, progress=progress)
        values = np.concatenate([seen.confidences for seen in found])
        counts[name] = np.histogram(np.clip(values, edges[0], 1.0), edges)[0].astype(np.int64)
        mean[name] = float(values.mean()) if values.size else float("nan")
    return Confidences(edges, counts, mean, len(photos))
