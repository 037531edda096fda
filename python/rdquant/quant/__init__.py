"""Scalar quantizers of thesis 004, chapter 2: plain frozen values with `quantize` and `dequantize`.

Levels are int32 arrays of the shape of the weights. Arithmetic is in double precision; the restored weights are
float32. float64 and float16 weights are taken as float32. A NaN or infinite weight raises InvalidArgument.

Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
"""

from .base import Quantizer
from .codebook import Codebook
from .minifloat import MINIFLOATS, Minifloat
from .recipe import SCOPES, Recipe, Scope, scope_range
from .spec import QuantizerSpec, parse_quantizers
from .uniform import Deadzone, Midrise, Midtread, MuLaw

__all__ = [
    "MINIFLOATS",
    "SCOPES",
    "Codebook",
    "Deadzone",
    "Midrise",
    "Midtread",
    "Minifloat",
    "MuLaw",
    "Quantizer",
    "QuantizerSpec",
    "Recipe",
    "Scope",
    "parse_quantizers",
    "scope_range",
]
