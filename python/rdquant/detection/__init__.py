"""Detectors' outputs as boxes: heads of YOLOX and YOLOv8, and which of their boxes say the same."""

from __future__ import annotations

from .boxes import Detections, Detector, overlaps, paired_overlaps, suppress
from .heads import HEADS, STRIDES, Decoded, decode, recognise

__all__ = [
    "HEADS",
    "STRIDES",
    "Decoded",
    "Detections",
    "Detector",
    "decode",
    "overlaps",
    "paired_overlaps",
    "recognise",
    "suppress",
]
