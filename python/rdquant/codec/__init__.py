"""What quantized weights cost, lossless coding of levels and floats, and the compressed model file."""

from __future__ import annotations

from .container import CompressedFile, Section, write_file
from .lossless import decode_floats, decode_levels, encode_floats, encode_levels
from .measure import Rate, rate, real_bits, requantize
from .rdo import ColumnQuantizer, Optimised, optimise

__all__ = [
    "ColumnQuantizer",
    "CompressedFile",
    "Optimised",
    "Rate",
    "Section",
    "decode_floats",
    "decode_levels",
    "encode_floats",
    "encode_levels",
    "optimise",
    "rate",
    "real_bits",
    "requantize",
    "write_file",
]
