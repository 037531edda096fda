"""Models to compressed files and back."""

from __future__ import annotations

from .files import ROLES, compress, compress_to_size, compress_within, decompress
from .result import CompressedTensor, CompressionResult
from .writer import write_levels

__all__ = [
    "ROLES",
    "CompressedTensor",
    "CompressionResult",
    "compress",
    "compress_to_size",
    "compress_within",
    "decompress",
    "write_levels",
]
