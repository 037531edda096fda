"""Quantized networks as plain C99 for microcontrollers, which give the same integers as `rdquant.Session`.

`emit_c` writes a folder: the network as constant arrays and calls of kernels, the kernels, and what builds and tests them. What
it costs in flash, memory and cycles is known before anything is flashed.
"""

from .costs import TARGETS
from .firmware import Firmware, emit_c

__all__ = ["TARGETS", "Firmware", "emit_c"]
