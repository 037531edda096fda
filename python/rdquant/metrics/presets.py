"""The preprocessing that fits a network, found on labelled images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from .._tables import html_table, short
from ..data import PRESETS, Data, Dataset, Letterbox, Preset, input_geometry, open_dataset
from ..data.boxes import holds_boxes
from ..data.checks import warn_of_one_class
from ..errors import InvalidArgument, count, described, flag, needed, path_of
from .evaluation import outputs
from .feeding import single_input
from .formulas import distributions, ranks, wilson

if TYPE_CHECKING:
    import pandas as pd

    from ..graph import AnyModel, TensorInfo

__all__ = ["BestPreset", "best_preprocess"]

_SIZE = (224, 224)  # where neither the network nor the preset has one


@dataclass(frozen=True, repr=False)
class BestPreset:
    """What `best_preprocess` found.

    Attributes:
        name: the preset that fits best: for `preprocess=`.
        images: number of images that it was found on.
        log_loss: preset → mean −ln p of the true class, nats; the best first.
        top1: preset → share of images that are right.
    """

    name: str
    images: int
    log_loss: dict[str, float]
    top1: dict[str, float]

    def to_pandas(self) -> pd.DataFrame:
        """One row per preset, the best first: preprocess, log_loss, top1 and its 95 % interval, top1_low to top1_high."""
        with needed():
            import pandas as pd

        rows = [
            (name, loss, self.top1[name], *wilson(self.top1[name], self.images))
            for name, loss in self.log_loss.items()
        ]
        columns = ["preprocess", "log_loss", "top1", "top1_low", "top1_high"]
        table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return table

    def __repr__(self) -> str:
        shown = [
            f"{name} {loss:.2f} nats, {100 * self.top1[name]:.1f} %"
            for name, loss in list(self.log_loss.items())[:3]
        ]
        return short(self, f"{self.name}, on {self.images} images: {'; '.join(shown)}")

    def _repr_html_(self) -> str:
        return html_table(self)


def best_preprocess(
    model: AnyModel,
    data: Data,
    *,
    images: int = 128,
    backend: str = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> BestPreset:
    """The preset of least log loss on labelled images: which preprocessing a classifier was trained with.

    Args:
        model: a classifier: what `rdquant.load` takes.
        data: labelled images, not yet preprocessed: a folder, an .npz file or a pair of uint8 images and labels.
        images: number of images, evenly spread over all; 64 to 128 are enough to tell apart presets that matter.
        backend, threads: as for `rdquant.Session`.
        progress: show a bar on stderr.

    Returns:
        The name of the best in `rdquant.data.PRESETS`, and the figures of all that fit the network's channels. Presets that
        differ by little, such as "tf" and "efficientnet-lite", may take each other's place.

    Raises:
        InvalidArgument: an argument outside the above, images without labels. Unsupported: no classifier of images.
    """
    from ..runtime import Session

    count("images", images)
    flag("progress", progress)
    if isinstance(data, Dataset):
        raise InvalidArgument(
            f"data: expected images without preprocessing (a folder, an .npz file, a pair), got {described(data)}"
        )
    if isinstance(data, (str, os.PathLike)) and holds_boxes(path_of("data", data)):
        raise InvalidArgument(f"data: expected images with labels, got photos with boxes: {data}")
    session = Session(model, backend=backend, threads=threads)
    found: list[tuple[float, str, float, int]] = []
    for preset in tqdm(_fitting(single_input(session)), unit="preset", disable=not progress, leave=False):
        opened = open_dataset(data, preset, model=session)
        used = opened.spread(min(int(images), len(opened)))
        if not found:
            warn_of_one_class(used)
        scores, labels = outputs(session, used), used.labels
        likely = distributions(np.nan_to_num(scores))[np.arange(len(labels)), labels]
        loss = float(-np.log(np.maximum(likely, np.finfo(np.float32).tiny)).mean())
        found.append((loss, preset.name, float(np.mean(ranks(scores, labels) <= 1)), len(used)))
    found.sort(key=lambda row: row[0])
    return BestPreset(
        found[0][1],
        found[0][3],
        {name: loss for loss, name, _, _ in found},
        {name: top1 for _, name, top1, _ in found},
    )


def _fitting(tensor: TensorInfo) -> list[Preset]:
    """Presets whose channels the network takes, each with a size."""
    layout, size = input_geometry(tensor.shape)
    channels = tensor.shape[3 if layout == "NHWC" else 1] if len(tensor.shape) == 4 else None
    return [
        preset.with_size(size or preset.size or _SIZE)
        for preset in PRESETS.values()
        if not isinstance(preset, Letterbox) and channels in (None, 1 if preset.order == "L" else 3)
    ]
