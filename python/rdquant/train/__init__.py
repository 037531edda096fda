"""Training with compression: prune, then quantize the weights after every step (paper 002).

`prune_quantize`, `efficiency_score` and the loaders of CIFAR-10 need no PyTorch; all else asks for it when it is used
(from a clone: `pip install '.[train]'`) and raises BackendUnavailable where it is missing.

Paper 002: “Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .operator import prune_quantize
from .schedules import Ramp, Stages
from .score import efficiency_score

__all__ = [
    "GroupDecay",
    "GroupPruning",
    "PruneThenQuantize",
    "Ramp",
    "Stages",
    "accuracy",
    "cifar10_jpeg",
    "cifar10_original",
    "coded_size",
    "efficiency_score",
    "export_onnx",
    "figures",
    "fit",
    "level_file",
    "load_best",
    "paper_network",
    "prune_quantize",
    "qat",
]

if TYPE_CHECKING:
    from . import figures
    from .cifar import cifar10_jpeg, cifar10_original
    from .compress import PruneThenQuantize
    from .decay import GroupDecay
    from .export import export_onnx
    from .groups import GroupPruning
    from .loop import accuracy, fit, load_best
    from .network import paper_network
    from .qat import qat
    from .size import coded_size, level_file

_HOMES = {
    "GroupDecay": "decay",
    "GroupPruning": "groups",
    "PruneThenQuantize": "compress",
    "accuracy": "loop",
    "cifar10_jpeg": "cifar",
    "cifar10_original": "cifar",
    "coded_size": "size",
    "export_onnx": "export",
    "fit": "loop",
    "level_file": "size",
    "load_best": "loop",
    "paper_network": "network",
    "qat": "qat",
}


def __getattr__(name: str) -> Any:
    if name == "figures":
        return importlib.import_module(".figures", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'rdquant.train' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
