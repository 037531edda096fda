"""ONNX models: loaded, checked, simplified, with their weights as arrays.

The parts that need the package onnx load when first used: a Session on a plain model needs none of them.

What stands here beside `load` and `Model` are steps of theirs: they take what other functions of the package give, and check no
more than their docstrings say.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .ports import TensorInfo, suggestion
from .roles import ROLES

if TYPE_CHECKING:
    from .engine_model import EngineModel, can_load, open_for_engine, why_not
    from .loader import AnyModel, load, read_structure
    from .model import Model
    from .native import build_graph, native_graph
    from .tensors import Parameter

__all__ = [
    "ROLES",
    "AnyModel",
    "EngineModel",
    "Model",
    "Parameter",
    "TensorInfo",
    "build_graph",
    "can_load",
    "load",
    "native_graph",
    "open_for_engine",
    "read_structure",
    "suggestion",
    "why_not",
]

_HOMES = {
    "AnyModel": "loader",
    "EngineModel": "engine_model",
    "Model": "model",
    "Parameter": "tensors",
    "build_graph": "native",
    "can_load": "engine_model",
    "load": "loader",
    "native_graph": "native",
    "open_for_engine": "engine_model",
    "read_structure": "loader",
    "why_not": "engine_model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
