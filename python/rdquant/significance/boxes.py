"""What a detector's map keeps: the answers at those anchors whose boxes matched objects when the network was in float."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Dataset, Scene, input_geometry
from ..detection import Decoded, decode, paired_overlaps, recognise
from ..errors import InvalidArgument
from ..graph import Model
from ..metrics.feeding import fitted, single_input
from ..runtime import Session

__all__ = ["BoxReader"]

_OVERLAP = 0.5  # of a box with an object that it matches
_LEAST = 1e-6  # confidence

Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # anchors, objects' classes, scores


class BoxReader:
    """Scores of matched boxes: logarithms of the confidences of all classes and, last, of there being nothing.

    An object's box is that of the anchor with the highest confidence × overlap among those of at least half an overlap; the
    anchors are those of the float network, whatever is read later. Objects that it misses are left out.

    Raises InvalidArgument where no object is matched, Unsupported for a network that is no known detector.
    """

    def __init__(self, model: Model, data: Dataset, threads: int) -> None:
        session = Session(model, threads=threads or None)
        port = single_input(session)
        self._head = self._output = ""
        self._size = (0, 0)
        matched: list[Found] = []
        for x, _ in data:
            size = input_geometry(x.shape)[1]
            if size is None:
                raise InvalidArgument(f"data: expected photos, got items of shape {list(x.shape[1:])}")
            outputs = session.run({port.name: fitted(port, data.name, x)})
            if not self._head:
                self._size = size
                self._output, self._head = recognise({n: a.shape for n, a in outputs.items()}, size)
            decoded = decode(self._head, outputs[self._output], size)
            for i in range(len(x)):
                matched.append(_matched(decoded, i, data.scene(len(matched))))
        if not any(len(anchors) for anchors, _, _ in matched):
            raise InvalidArgument(f"data: the float network finds no object of {data.name}")
        self._anchors = [anchors for anchors, _, _ in matched]
        self._starts = np.concatenate([[0], np.cumsum([len(anchors) for anchors in self._anchors])])
        self.labels = np.concatenate([classes for _, classes, _ in matched])
        self.scores = np.concatenate([scores for _, _, scores in matched])
        self.classes = self.scores.shape[1] - 1

    def read(self, outputs: Mapping[str, NDArray[Any]], images: slice) -> NDArray[np.float32]:
        """float32 [boxes, classes + 1] of a slice of the photos."""
        decoded = decode(self._head, outputs[self._output], self._size)
        own = self._anchors[images]
        return np.concatenate([_scores(decoded.confidences[i, anchors]) for i, anchors in enumerate(own)])

    def rows(self, images: slice) -> slice:
        """The boxes of a slice of the photos."""
        return slice(int(self._starts[images.start]), int(self._starts[images.stop]))


def _matched(decoded: Decoded, image: int, scene: Scene) -> Found:
    boxes, confidences = decoded.boxes[image], decoded.confidences[image]
    wanted = scene.frame.to_input(scene.boxes)
    found = []
    for box, c in zip(wanted, scene.classes, strict=True):
        overlap = paired_overlaps(boxes, box[np.newaxis])
        worth = np.where(overlap >= _OVERLAP, overlap * confidences[:, c], -1.0)
        if worth.max() > 0:
            found.append((int(worth.argmax()), int(c)))
    anchors, classes = (np.array([f[k] for f in found], np.int64) for k in (0, 1))
    return anchors, classes, _scores(confidences[anchors])


def _scores(confidences: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [boxes, classes + 1], the largest of each row 0."""
    nothing = 1 - confidences.max(axis=1, keepdims=True)
    z = np.log(np.maximum(np.concatenate([confidences, nothing], axis=1), np.float32(_LEAST)))
    return np.asarray(z - z.max(axis=1, keepdims=True), np.float32) if len(z) else z
