"""Models to compressed files and back."""

from __future__ import annotations

from .files import compress, decompress, write_levels
from .result import CompressedTensor, CompressionResult

__all__ = ["CompressedTensor", "CompressionResult", "compress", "decompress", "write_levels"]
