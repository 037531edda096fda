"""rdquant: makes trained neural networks small and fast, and shows the price of every bit."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
from typing import TYPE_CHECKING, Any

# Module -> public names that it defines. Modules load when first used, so that `import rdquant` is quick.
_HOMES = {
    "errors": (
        "BackendUnavailable",
        "CorruptFile",
        "InvalidArgument",
        "MissingFile",
        "MissingPackage",
        "RdquantError",
        "Unsupported",
    ),
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
    "compression": ("CompressionResult", "compress", "compress_to_size", "compress_within", "decompress"),
    "graph": ("Model", "load"),
    "runtime": ("Session",),
    "significance": ("Allocation", "SignificanceMap", "allocate"),
    "emit": ("Firmware", "emit_c"),
    "mcu": ("McuFit", "fit_to_mcu"),
    "data": ("ArrayDataset", "CocoFolder", "Dataset", "Digits", "ImageFolder", "open_dataset"),
    "detection": ("Detections", "Detector"),
    "metrics": ("BestPreset", "best_preprocess", "evaluate"),
    "profile": ("Profile", "profile"),
    "sweep": ("Study", "sweep"),
    "train": ("efficiency_score", "prune_quantize"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = (
    "calibrate",
    "codec",
    "compression",
    "data",
    "demo",
    "detection",
    "emit",
    "entropy",
    "errors",
    "graph",
    "mcu",
    "metrics",
    "profile",
    "ptq",
    "quant",
    "report",
    "runtime",
    "significance",
    "stats",
    "sweep",
    "train",
)

__version__ = "0.1.0"
__all__ = [
    "Allocation",
    "ArrayDataset",
    "BackendUnavailable",
    "BestPreset",
    "CocoFolder",
    "Codebook",
    "CompressedFile",
    "CompressionResult",
    "CorruptFile",
    "Dataset",
    "Deadzone",
    "Detections",
    "Detector",
    "Digits",
    "Firmware",
    "FitTable",
    "Histogram",
    "ImageFolder",
    "InvalidArgument",
    "McuFit",
    "Midrise",
    "Midtread",
    "Minifloat",
    "MissingFile",
    "MissingPackage",
    "Model",
    "Moments",
    "MuLaw",
    "Profile",
    "QuantizedModel",
    "Quantizer",
    "Rate",
    "RdquantError",
    "Session",
    "SignificanceMap",
    "Study",
    "Unsupported",
    "allocate",
    "autocovariance",
    "best_preprocess",
    "compress",
    "compress_to_size",
    "compress_within",
    "conditional_entropy",
    "decompress",
    "efficiency_score",
    "emit_c",
    "entropy",
    "evaluate",
    "fit",
    "fit_to_mcu",
    "float_entropy",
    "load",
    "moments",
    "mutual_information",
    "open_dataset",
    "parse_quantizers",
    "profile",
    "prune_quantize",
    "quantize_dynamic",
    "quantize_static",
    "rate",
    "requantize",
    "significance",
    "sweep",
]

if TYPE_CHECKING:
    from . import calibrate as calibrate
    from . import codec as codec
    from . import compression as compression
    from . import data as data
    from . import demo as demo
    from . import detection as detection
    from . import emit as emit
    from . import errors as errors
    from . import graph as graph
    from . import mcu as mcu
    from . import metrics as metrics
    from . import ptq as ptq
    from . import quant as quant
    from . import report as report
    from . import runtime as runtime
    from . import stats as stats
    from . import train as train
    from .codec import CompressedFile, Rate, rate, requantize
    from .compression import CompressionResult, compress, compress_to_size, compress_within, decompress
    from .data import ArrayDataset, CocoFolder, Dataset, Digits, ImageFolder, open_dataset
    from .detection import Detections, Detector
    from .emit import Firmware, emit_c
    from .entropy import compression_ratio as _compression_ratio
    from .entropy import conditional_entropy, float_entropy
    from .entropy import entropy as _entropy
    from .entropy import reduction as _reduction
    from .errors import (
        BackendUnavailable,
        CorruptFile,
        InvalidArgument,
        MissingFile,
        MissingPackage,
        RdquantError,
        Unsupported,
    )
    from .graph import Model, load
    from .mcu import McuFit, fit_to_mcu
    from .metrics import BestPreset, best_preprocess, evaluate
    from .profile import Profile
    from .profile import profile as _profile
    from .ptq import QuantizedModel, quantize_dynamic, quantize_static
    from .quant import Codebook, Deadzone, Midrise, Midtread, Minifloat, MuLaw, Quantizer, parse_quantizers
    from .runtime import Session
    from .significance import Allocation, SignificanceMap, allocate
    from .significance import significance as _significance
    from .stats import FitTable, Histogram, Moments, autocovariance, fit, moments, mutual_information
    from .sweep import QUANTIZERS as _QUANTIZERS
    from .sweep import Study
    from .sweep import sweep as _sweep
    from .train import efficiency_score, prune_quantize

    class _Entropy:
        __call__ = staticmethod(_entropy)
        entropy = staticmethod(_entropy)
        compression_ratio = staticmethod(_compression_ratio)
        conditional_entropy = staticmethod(conditional_entropy)
        float_entropy = staticmethod(float_entropy)
        reduction = staticmethod(_reduction)

    class _Profiles:
        __call__ = staticmethod(_profile)
        profile = staticmethod(_profile)
        Profile = Profile

    class _Significance:
        __call__ = staticmethod(_significance)
        significance = staticmethod(_significance)
        Allocation = Allocation
        SignificanceMap = SignificanceMap
        allocate = staticmethod(allocate)

    class _Sweep:
        __call__ = staticmethod(_sweep)
        sweep = staticmethod(_sweep)
        Study = Study
        QUANTIZERS = _QUANTIZERS

    entropy: _Entropy
    profile: _Profiles
    significance: _Significance
    sweep: _Sweep


try:
    from . import _core as _core
except ImportError as error:
    raise ImportError(
        f"rdquant's compiled core did not load ({error}). From a clone, build it with 'pip install .' and run "
        "Python outside the folder python/, whose sources have no compiled part beside them."
    ) from error


def _call_by_name(module: str) -> None:
    """Let a module be called as the function of the same name in it: `rdquant.sweep(…)`, `rdquant.sweep.Study`.

    It says so at its own end, whoever imports it first.
    """
    function = getattr(sys.modules[module], module.rpartition(".")[2])

    class Callable(types.ModuleType):
        __wrapped__ = staticmethod(function)
        __signature__ = property(lambda self: inspect.signature(function))
        __doc__ = property(lambda self: function.__doc__)

        def __call__(self, *args: Any, **options: Any) -> Any:
            return function(*args, **options)

    sys.modules[module].__class__ = Callable


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'rdquant' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__"})
