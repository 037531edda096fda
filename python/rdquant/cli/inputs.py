"""What several commands read alike: models with weights, and images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .options import AUTO, check_data, given
from .terminal import log, share_text

if TYPE_CHECKING:
    from ..data import Dataset
    from ..graph import EngineModel, Model

__all__ = ["find_preset", "load_images", "load_weights", "naming", "spread"]


def load_weights(path: Path) -> Model:
    """The model; InvalidArgument, naming its file, where it has no weights or one that is not finite."""
    from ..errors import InvalidArgument
    from ..graph import load
    from ..stats import moments

    model = load(path)
    if not any(values.size for values in model.weights().values()):
        raise InvalidArgument(f"{path}: this model holds no weights")
    with naming(model):
        moments(model)
    return model


@contextlib.contextmanager
def naming(model: Model) -> Iterator[None]:
    """Errors about weights name the model's file too."""
    from ..errors import InvalidArgument

    try:
        yield
    except InvalidArgument as error:
        if model.source in str(error):
            raise
        raise InvalidArgument(f"{model.source}: {error}") from error


def load_images(
    source: str,
    preprocess: str | None,
    model: Model | EngineModel,
    *,
    batch_size: int | None = None,
    images: int | None = None,
    labelled: bool = True,
    option: str = "--data",
) -> Dataset:
    """The data set that `option` means; `images` items of it, evenly spread."""
    from ..data import open_dataset

    check_data(source, preprocess, option)
    preprocess = find_preset(source, preprocess, model)
    size = given(batch_size=batch_size)
    found = open_dataset(source, preprocess, model=model, labelled=labelled, **size)
    return spread(found, images)


def spread(data: Dataset, images: int | None) -> Dataset:
    """`images` items of it, evenly spread; all where that is None, or more than there are."""
    return data if images is None or images >= len(data) else data.spread(images)


def find_preset(source: str, preprocess: str | None, model: Model | EngineModel) -> str | None:
    """--preprocess as it is; for "auto" the preset that fits the labels of `source` best, which is said."""
    if preprocess != AUTO:
        return preprocess
    from ..graph import EngineModel
    from ..metrics import best_preprocess

    check_data(source, preprocess)
    if isinstance(model, EngineModel):
        model = model.full()
    found = best_preprocess(model, source)
    figures = [
        f"{name} {loss:.2f} nats and {share_text(found.top1[name], found.images)}"
        for name, loss in found.log_loss.items()
    ]
    log(f"--preprocess {found.name}: log loss and top-1 on {found.images} images: {', '.join(figures)}.")
    return found.name
