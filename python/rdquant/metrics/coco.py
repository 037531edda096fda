"""COCO's measure of detections, computed by its own evaluator (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..data import Scene
from ..detection import Detections
from ..errors import BackendUnavailable, InvalidArgument

__all__ = ["STATISTICS", "coco_statistics", "require_evaluator"]

STATISTICS = (
    "map",
    "map50",
    "map75",
    "map_small",
    "map_medium",
    "map_large",
    "mar1",
    "mar10",
    "mar100",
    "mar_small",
    "mar_medium",
    "mar_large",
)
"""What `coco_statistics` gives, in the evaluator's order: mean average precision over overlaps 0.50 … 0.95, at 0.50, at
0.75, of objects below 32² pixels, up to 96² and above; mean recall with 1, 10 and 100 detections an image, and of those
sizes."""


def require_evaluator() -> None:
    """Raise BackendUnavailable where pycocotools is not installed."""
    try:
        import pycocotools.cocoeval  # noqa: F401
    except ImportError as error:
        raise BackendUnavailable(
            "mAP is measured by pycocotools, which is not installed. It comes with the extra 'detection': "
            "pip install '.[detection]' in a clone of rdquant, or pip install pycocotools"
        ) from error


def coco_statistics(scenes: Iterable[Scene], found: Iterable[Detections], classes: int) -> dict[str, float]:
    """`STATISTICS` by name, fractions 0..1, as COCO's own evaluator gives them (Lin et al., 2014); NaN where no object has
    the size that is asked for.

    Args:
        scenes: photos with their boxes.
        found: detections on each, in pixels of the photo.
        classes: number of classes.

    Raises InvalidArgument where a detection's class is not below `classes` or the numbers of photos differ;
    BackendUnavailable without pycocotools.
    """
    require_evaluator()
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    given: list[dict[str, Any]] = []
    pairs = list(zip(scenes, found, strict=True))
    for i, (scene, seen) in enumerate(pairs):
        if len(seen) and not 0 <= seen.classes.min() <= seen.classes.max() < classes:
            raise InvalidArgument(
                f"photo {i}: detections of classes {seen.classes.min()}..{seen.classes.max()}; the data have "
                f"0..{classes - 1}"
            )
        images.append({"id": i, "width": scene.width, "height": scene.height})
        for box, kind in zip(scene.boxes, scene.classes, strict=True):
            truth.append(_annotation(len(truth) + 1, i, int(kind), box))
        for box, kind, score in zip(seen.boxes, seen.classes, seen.confidences, strict=True):
            given.append(_annotation(len(given) + 1, i, int(kind), box) | {"score": float(score)})
    kinds = [{"id": k, "name": str(k)} for k in range(classes)]
    with contextlib.redirect_stdout(io.StringIO()):  # the evaluator prints as it goes
        tables = []
        for annotations in (truth, given):
            table = COCO()
            table.dataset = {"images": images, "categories": kinds, "annotations": annotations}
            table.createIndex()
            tables.append(table)
        judge = COCOeval(*tables, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    values = [float(v) if v >= 0 else float("nan") for v in np.asarray(judge.stats)]
    return dict(zip(STATISTICS, values, strict=True))


def _annotation(number: int, image: int, kind: int, box: Any) -> dict[str, Any]:
    left, top, right, bottom = (float(v) for v in box)
    width, height = right - left, bottom - top
    return {
        "id": number,  # from 1: the evaluator takes 0 for no match
        "image_id": image,
        "category_id": kind,
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
    }
