"""rdquant: makes trained neural networks small and fast, and shows the price of every bit."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# Public name -> module that defines it. Modules load when first used, so that `import rdquant` is quick.
_HOMES = {
    "errors": ("BackendUnavailable", "CorruptFile", "InvalidArgument", "RdquantError", "Unsupported"),
    "stats": ("FitTable", "Histogram", "Moments", "autocovariance", "fit", "moments", "mutual_information"),
    "quant": (
        "Codebook",
        "Deadzone",
        "Midrise",
        "Midtread",
        "Minifloat",
        "MuLaw",
        "Quantizer",
        "parse_quantizers",
    ),
    "entropy": ("conditional_entropy", "entropy", "float_entropy"),
    "codec": ("CompressedFile", "Rate", "rate", "requantize"),
    "ptq": ("QuantizedModel", "quantize_dynamic", "quantize_static"),
    "compression": ("CompressionResult", "compress", "decompress"),
    "graph": ("Model", "load"),
    "runtime": ("Session",),
    "data": ("ArrayDataset", "CocoFolder", "Dataset", "Digits", "ImageFolder"),
    "detection": ("Detections", "Detector"),
    "metrics": ("evaluate",),
    "profile": ("Profile", "profile"),
    "sweep": ("Study", "sweep"),
    "train": ("efficiency_score", "prune_quantize"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = (
    "stats",
    "quant",
    "codec",
    "graph",
    "runtime",
    "data",
    "detection",
    "metrics",
    "calibrate",
    "ptq",
    "report",
    "train",
    "errors",
)

__version__ = "0.1.0"
__all__ = sorted(_HOME_OF)

if TYPE_CHECKING:
    from .codec import CompressedFile, Rate, rate, requantize
    from .compression import CompressionResult, compress, decompress
    from .data import ArrayDataset, CocoFolder, Dataset, Digits, ImageFolder
    from .detection import Detections, Detector
    from .entropy import conditional_entropy, float_entropy
    from .errors import BackendUnavailable, CorruptFile, InvalidArgument, RdquantError, Unsupported
    from .graph import Model, load
    from .metrics import evaluate
    from .profile import Profile
    from .ptq import QuantizedModel, quantize_dynamic, quantize_static
    from .quant import Codebook, Deadzone, Midrise, Midtread, Minifloat, MuLaw, Quantizer, parse_quantizers
    from .runtime import Session
    from .stats import FitTable, Histogram, Moments, autocovariance, fit, moments, mutual_information
    from .sweep import Study
    from .train import efficiency_score, prune_quantize


# OpenMP's idle threads spin before they sleep, by default for over 10 ms: on a busy machine each then keeps from its core
# the very thread it waits for, and inference takes up to fifty times as long. Half a millisecond is as fast on an
# idle machine. The library reads the setting when the core loads it; it is taken back for child processes.
_SPIN = "GOMP_SPINCOUNT"
_spin_is_ours = not {_SPIN, "OMP_WAIT_POLICY"} & os.environ.keys()
if _spin_is_ours:
    os.environ[_SPIN] = "10000"

# A function that shares its module's name is bound now: importing the submodule later, for the first time, would
# put the module in the function's place. These modules import little.
try:
    from .entropy import entropy
    from .profile import profile
    from .sweep import sweep
except ImportError as error:
    raise ImportError(
        f"rdquant's compiled core did not load ({error}). From a clone, build it with 'pip install .' and run "
        "Python outside the folder python/, whose sources have no compiled part beside them."
    ) from error
finally:
    if _spin_is_ours:
        del os.environ[_SPIN]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        if name in _MODULES:
            return importlib.import_module(f".{name}", __name__)
        raise AttributeError(f"module 'rdquant' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
