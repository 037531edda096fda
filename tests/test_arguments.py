"""Every public function × wrong values of every argument: always our exception, and it names the argument."""

from __future__ import annotations

import fnmatch
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import public_names
import rdquant as rdq
from argument_measures import (
    of_detectors,
    of_distributions,
    of_firmware,
    of_formulas,
    of_reports,
    of_significance,
)
from classifier import classifier
from rdquant import CorruptFile, MissingFile, RdquantError

pytestmark = pytest.mark.filterwarnings("ignore")


class Odd:
    """What no argument can be."""

    def __repr__(self) -> str:
        return "<an odd object>"


#: Each is either taken or refused in our words; an `Odd` is refused everywhere.
VALUES: list[Any] = [
    Odd(),
    None,
    True,
    -1,
    10**30,
    0.5,
    float("nan"),
    "nonsense",
    "",
    b"nonsense",
    "https://example.org/x.onnx",
    [],
    [Odd()],
    ["a", 1],
    {},
    {1: 2},
    ("x",),
    np.array(["a"]),
    np.array([[np.nan]], np.float32),
    np.zeros((0, 3), np.float32),
    lambda *_: None,
    1 + 2j,
    -0.5,
    float("inf"),
    -(10**30),
    np.array([None, 1.0], object),
    np.array(0.25),
    np.array([-1, 5]),
    np.array([], np.int64),
    np.full((4, 6), np.inf, np.float32),
    np.array(["2020-01-01"], "M8[D]"),
    np.linspace(-1, 1, 48, dtype=np.float32).reshape(4, 12)[:, ::2],  # not contiguous
    range(3),
    {"a"},
]

WEIGHTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
LEVELS = np.arange(24).reshape(4, 6) % 5


Cases = dict[Callable[..., Any], dict[str, Any]]


def of_tensors() -> Cases:
    """What reads weights and levels."""
    midtread, histogram = rdq.Midtread(0.1), rdq.Histogram(-1.0, 1.0, 4)
    return {
        rdq.fit: {"values": WEIGHTS, "families": "laplace"},
        rdq.moments: {"values": WEIGHTS},
        rdq.autocovariance: {"tensor": WEIGHTS},
        rdq.mutual_information: {"tensor": WEIGHTS, "bins": 2},
        rdq.stats.dependence: {"weights": WEIGHTS},
        rdq.Histogram: {"low": -1.0, "high": 1.0},
        rdq.Histogram.of: {"values": WEIGHTS},
        histogram.add: {"values": WEIGHTS},
        histogram.merge: {"other": rdq.Histogram(-1.0, 1.0, 4)},
        rdq.entropy: {"levels": LEVELS},
        rdq.conditional_entropy: {"levels": LEVELS},
        rdq.float_entropy: {"tensors": WEIGHTS},
        rdq.rate: {"weights": WEIGHTS, "quantizer": midtread},
        rdq.requantize: {"weights": {"w": WEIGHTS}, "quantizer": midtread},
        rdq.codec.real_bits: {"weights": {"w": WEIGHTS}, "quantizer": midtread},
        rdq.codec.encode_levels: {"levels": LEVELS},
        rdq.codec.decode_levels: {"coded": rdq.codec.encode_levels(LEVELS)},
        rdq.codec.encode_floats: {"values": WEIGHTS},
        rdq.codec.decode_floats: {
            "coded": rdq.codec.encode_floats(WEIGHTS),
            "dtype": np.float32,
            "shape": WEIGHTS.shape,
        },
        rdq.codec.optimise: {"x": WEIGHTS, "step": 0.1},
        rdq.parse_quantizers: {"quantizers": "midtread"},
    }


def of_quantizers() -> Cases:
    """Quantizers and what they do."""
    midtread = rdq.Midtread(0.1)
    return {
        rdq.Midtread: {"step": 0.1},
        rdq.Midrise: {"step": 0.1},
        rdq.Deadzone: {"step": 0.1},
        rdq.MuLaw: {},
        rdq.Minifloat: {},
        rdq.Codebook: {"levels": (0.0, 1.0)},
        rdq.Midtread.from_levels: {"bits": 4, "x": WEIGHTS, "range": "max"},
        rdq.Midrise.from_levels: {"bits": 4, "x": WEIGHTS, "range": "max"},
        rdq.Deadzone.from_levels: {"bits": 4, "x": WEIGHTS, "range": "max"},
        rdq.MuLaw.from_levels: {"bits": 4, "x": WEIGHTS, "range": "max"},
        rdq.Minifloat.from_levels: {"bits": 8, "exponent": 4},
        rdq.Minifloat.fitted: {"x": WEIGHTS, "exponent": 4, "mantissa": 3},
        rdq.Codebook.from_levels: {"bits": 2, "x": WEIGHTS},
        midtread.quantize: {"x": WEIGHTS},
        midtread.dequantize: {"levels": LEVELS},
    }


def of_models() -> Cases:
    """Models, files and sessions."""
    model, data = classifier(), rdq.Digits("test").head(6)
    few = {"data": data, "max_kl": 10.0, "images": 6, "trellis": 0, "roles": ["bias"]}
    session = rdq.Session(model)
    coded = rdq.CompressedFile(Path(__file__).parent / "vectors" / "version-1.rdq")
    feeds = {session.inputs[0].name: data.get([0])[0]}
    return {
        rdq.load: {"model": model},
        rdq.compress: {"model": model, "path": "m.rdq"},
        rdq.compress_to_size: {"model": model, "path": "m.rdq", "bits_per_weight": 6.0},
        rdq.compress_within: {"model": model, "path": "m.rdq", **few},
        rdq.decompress: {"source": "there.rdq"},
        rdq.CompressedFile: {"source": "there.rdq"},
        coded.tensor: {"name": "fc.w"},
        coded.values: {},
        rdq.Session: {"model": model},
        session.run: {"feeds": feeds},
        session.plan: {"feeds": feeds},
        session.profile: {"feeds": feeds, "runs": 1},
        session.set_weights: {"tensors": {}},
        model.weights: {"roles": ["weight"]},
        model.replace_weights: {"tensors": {}},
        model.with_outputs: {"names": [model.outputs[0].name]},
        model.save: {"path": "m.onnx"},
    }


def of_data() -> Cases:
    """Data sets."""
    data = rdq.Digits("test").head(40)
    x, y = data.get(np.arange(6))
    return {
        rdq.open_dataset: {"data": (x, y)},
        rdq.ArrayDataset: {"x": x, "y": y},
        rdq.Digits: {},
        rdq.ImageFolder: {"dir": "photos"},
        rdq.CocoFolder: {"dir": "boxes", "preprocess": "yolox"},
        data.take: {"indices": [0]},
        data.get: {"indices": [0]},
        data.head: {"n": 1},
        data.spread: {"n": 1},
        data.calibration: {"n": 1},
        data.held: {"limit": 100},
    }


def of_work() -> Cases:
    """What measures, quantizes and studies."""
    model, data = classifier(), rdq.Digits("test").head(40)
    study = rdq.sweep(model, data, "midtread", [4], progress=False)
    return {
        rdq.evaluate: {"model": model, "data": data},
        rdq.best_preprocess: {"model": model, "data": (np.zeros((3, 8, 8), np.uint8), np.arange(3))},
        rdq.metrics.wilson: {"share": 0.5, "count": 10},
        rdq.quantize_static: {
            "model": model,
            "calibration": data.head(4),
            "rounding": "nearest",
            "equalize": 0.0,
        },
        rdq.quantize_dynamic: {"model": model, "calibration": data.head(4)},
        rdq.profile.profile: {"models": model, "repeat": 1, "seconds": 0.01, "processes": 1},
        rdq.Profile.open: {"folder": "nowhere"},
        rdq.sweep.sweep: {
            "model": model,
            "data": data,
            "quantizers": "midtread",
            "bits": 4,
            "progress": False,
        },
        rdq.Study.open: {"path": "nowhere"},
        study.best: {},
        rdq.efficiency_score: {"acc": 0.9, "base_acc": 0.9, "density": 0.5, "bits": 4},
        rdq.prune_quantize: {"w": WEIGHTS, "gamma": 0.5, "bits": 4},
    }


def cases() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions, constructors and methods by name, with arguments that are right: quick where they are taken."""
    every = of_tensors() | of_quantizers() | of_models() | of_data() | of_work()
    every |= of_formulas() | of_detectors() | of_distributions() | of_reports() | of_significance()
    every |= of_firmware()
    found = {f"{getattr(f, '__qualname__', f)}": (f, a) for f, a in every.items()}
    assert len(found) == len(every), "two cases of one name"
    return found


def places() -> None:
    from PIL import Image

    classifier_path = Path("there.rdq")
    rdq.compress(classifier(), classifier_path)
    for folder in ("photos/a", "boxes/images", "boxes/labels"):
        Path(folder).mkdir(parents=True)
    for file in ("photos/a/1.png", "boxes/images/1.png"):
        Image.new("RGB", (8, 8)).save(file)


def clear(written: str) -> None:
    """Remove what a call before wrote: to the next, it would be a file that is there."""
    if Path(written).is_dir():
        shutil.rmtree(written)
    else:
        Path(written).unlink(missing_ok=True)


def test_wrong_arguments_are_refused_in_our_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "rdquant.profile.driver.Driver.measure", lambda *_: None
    )  # what is taken is measured elsewhere
    places()
    wrong = []
    for name, (function, right) in cases().items():
        for parameter in inspect.signature(function).parameters:
            for value in VALUES:
                clear("nonsense")
                try:
                    function(**(right | {parameter: value}))
                    if isinstance(value, Odd):
                        wrong.append(f"{name}({parameter}={value!r}) is taken")
                except (CorruptFile, MissingFile):
                    continue  # these name the file, or what in it is damaged
                except RdquantError as error:
                    if parameter not in str(error):
                        wrong.append(f"{name}({parameter}={value!r}) does not name it: {error}")
                except Exception as error:
                    wrong.append(f"{name}({parameter}={value!r}): {type(error).__name__}: {error}")
    assert not wrong, f"{len(wrong)} offenders:\n" + "\n".join(wrong)


#: Public names that `cases` leaves out, as patterns, by reason.
EXCLUDED = {
    "results and records, which functions of ours make": """
        calibrate.Layer calibrate.Rounded calibrate.Sensitivity calibrate.Moments codec.Optimised Rate Moments codec.Section
        compression.CompressedTensor CompressionResult data.Frame data.Scene data.Letterbox data.Preset detection.Decoded
        Detections graph.Parameter graph.TensorInfo BestPreset metrics.Confidences metrics.DetectionMetric metrics.Metric
        ptq.Damage ptq.DynamicLayer ptq.DynamicReport ptq.LayerReport ptq.Report ptq.StepReport stats.Fit quant.Recipe""",
    "steps between modules of the package, which take what others of them give": """
        calibrate.* codec.ColumnQuantizer* codec.Optimised.* codec.write_file compression.write_levels *.core *.inner *.stream
        *.scene *.image *.item_name data.Frame.* data.Letterbox.* data.Preset.* Detections.on_photo detection.paired_overlaps
        *.with_graph graph.* quant.QuantizerSpec.build quant.Recipe.* stats.distances metrics.detections ptq.range_of
        CompressedFile.section train.level_file""",
    "abstract": "Dataset Quantizer",
    "photos with boxes: tests/test_detection.py and tests/test_photos.py have wrong arguments of theirs": """
        metrics.average_precision metrics.coco_statistics metrics.compare_confidences data.ImageArray""",
    "needs PyTorch: tests/test_train.py, tests/test_train_hook.py and tests/test_qat.py have wrong arguments of theirs": """
        train.GroupDecay* train.GroupPruning* train.PruneThenQuantize* train.accuracy train.coded_size train.export_onnx
        train.fit train.load_best train.paper_network train.qat""",
    "of a whole run or a download of CIFAR-10": "demo.run_demo train.cifar10_jpeg train.cifar10_original",
    "of measurements that a test has none of: tests/test_profile.py": "Profile.only Profile.plot Profile.report",
    "take what functions of ours make, or its names": """
        SignificanceMap.array SignificanceMap.title significance.Refit.apply""",
    "of the result of fitting or comparing, tested beside it": "report.plot_confidences",
}


def test_modules_left_out_as_a_whole_say_so_in_the_reference() -> None:
    whole = {p.removesuffix(".*") for text in EXCLUDED.values() for p in text.split() if p.endswith(".*")}
    modules = public_names.modules()
    assert whole & set(modules) == {"calibrate", "graph"}
    for name in whole & set(modules):
        said = " ".join((modules[name].__doc__ or "").split())
        assert (
            "they take what other functions of the package give, and check no more than their docstrings say"
            in said
        )


def callables() -> set[str]:
    """Public functions, and constructors and methods with arguments, as users write them without the package's name."""
    found = set()
    for name in public_names.names():
        dotted = name.dotted.removeprefix("rdquant.")
        if name.kind == "function" and inspect.signature(name.value).parameters:
            found.add(dotted)
        if name.kind == "class":
            if not public_names.is_made(name.value.__doc__ or ""):
                found.add(dotted)
            for member, function, kind in public_names.members(name.value):
                arguments = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
                if kind == "method" and arguments:
                    found.add(f"{dotted}.{member}")
    return found


def called() -> set[str]:
    """The same of what `cases` has; a method counts for all classes that have it from one."""
    plain = [getattr(f, "__func__", f) for f, _ in cases().values()]
    have = {f if hasattr(f, "__qualname__") else f.__wrapped__ for f in plain}
    found = set()
    for name in public_names.names():
        dotted = name.dotted.removeprefix("rdquant.")
        if name.kind in ("function", "class") and name.value in have:
            found.add(dotted)
        if name.kind == "class":
            of_class = public_names.members(name.value)
            found |= {
                f"{dotted}.{m}" for m, f, _ in of_class if f in have or overridden(name.value, m) & have
            }
    return found


def overridden(owner: type, member: str) -> set[Any]:
    """What the classes above have under the name of a member, which keeps to the same arguments."""
    raw = [vars(c)[member] for c in owner.__mro__ if member in vars(c)]
    return {getattr(f, "__func__", f) for f in raw}


def test_no_public_function_is_left_out_without_a_reason() -> None:
    patterns = [pattern for text in EXCLUDED.values() for pattern in text.split()]
    public, have = callables(), called()
    out = {name for name in public - have for pattern in patterns if fnmatch.fnmatchcase(name, pattern)}
    assert public - have - out == set()
    unused = [p for p in patterns if not any(fnmatch.fnmatchcase(n, p) for n in public - have)]
    assert [p for p in unused if not p.startswith("train.")] == [], "nothing is left out by these"
    assert len(have & public) > 110
