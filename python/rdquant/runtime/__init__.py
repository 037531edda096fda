"""Inference: a Session runs a model on our own engine, or on ONNX Runtime."""

from __future__ import annotations

from .session import BACKENDS, Session

__all__ = ["BACKENDS", "Session"]
