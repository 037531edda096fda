"""Does our engine answer what ONNX Runtime answers?

    python benchmarks/bench_answers.py [--data ../shared/data] [--only outputs …]

outputs: every model there is, on photographs prepared as the model wants them, on both backends: the largest
difference to ONNX Runtime as a share of the output's largest magnitude; beside it that of ONNX Runtime to itself
without graph optimization, and that of ONNX Runtime to `reference`, whose sums are in double precision.
predictions: top-1 of three ImageNet networks on two folders of photos, image by image.
Exit status 1 where an output differs by more than 1e-4, or fewer than 99.9 % of predictions are the same.
Writes results/answers.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import rdquant
from bench_accuracy import IMAGENET
from machine import describe
from rdquant.data import ImageFolder
from rdquant.data.preprocess import PRESETS

BOUND, SAME = 1e-4, 0.999
PHOTOS = 3
Outputs = list[np.ndarray]

# Preset of each network beside the three of bench_accuracy.py; others take pixels as they are, grey ones "mnist".
PRESET = {model: preset for model, (preset, _) in IMAGENET.items()} | {
    "cifar10_resnet20": "cifar10",
    "cifar10_resnet32": "cifar10",
    "ultraface_rfb_320": "efficientnet-lite",
    "yolov8n_random": "unit",
}


def peer(model: Path | bytes, optimized: bool = True) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def photograph(data: Path, model: str, shape: list[Any], index: int) -> np.ndarray:
    """A photo of the ImageNet folder as the model's input of `shape` (batch, channels, height, width)."""
    file = sorted((data / "images/imagenet-sample").rglob("*.jpg"))[index]
    height, width = (side if isinstance(side, int) and side > 0 else 224 for side in shape[2:])
    preset = PRESETS[PRESET.get(model, "mnist" if shape[1] == 1 else "raw")].with_size((height, width))
    with Image.open(file) as image:
        return preset(image)[None]


def difference(a: Outputs, b: Outputs) -> float:
    """Largest difference as a share of the output's largest magnitude in `b`, the worst output's."""
    return max(float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-9)) for x, y in zip(a, b, strict=True))


def outputs(data: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((data / "models").glob("*.onnx")):
        model, usual, plain = rdquant.load(path), peer(path), peer(path, optimized=False)
        (port,) = usual.get_inputs()
        ours = {name: rdquant.Session(model, backend=name) for name in ("reference", "native")}
        worst: dict[str, float] = {}
        for index in range(PHOTOS):
            x = {port.name: photograph(data, path.stem, port.shape, index)}
            expected = usual.run(None, x)
            found = {name: list(session.run(x).values()) for name, session in ours.items()}
            found["onnxruntime, not optimized"] = plain.run(None, x)
            shares = {name: difference(answer, expected) for name, answer in found.items()}
            shares["onnxruntime to reference"] = difference(expected, found["reference"])
            worst = {name: max(share, worst.get(name, 0.0)) for name, share in shares.items()}
        rows.append({"model": path.stem, "difference": worst})
        print(f"{path.stem:>20}", *(f"{name} {share:.1e}" for name, share in worst.items()), flush=True)
    return rows


def predictions(data: Path) -> list[dict[str, Any]]:
    rows = []
    for model, (preset, folders) in IMAGENET.items():
        path = data / "models" / f"{model}.onnx"
        session, usual = rdquant.Session(path, backend="native"), peer(path)
        name = usual.get_inputs()[0].name
        for folder in folders:
            photos = ImageFolder(data / "images" / folder, preset)
            same = 0
            for x, _ in photos:
                (ours,), (theirs,) = session.run({name: x}).values(), usual.run(None, {name: x})
                same += int((ours.argmax(1) == theirs.argmax(1)).sum())
            rows.append({"model": model, "data": folder, "images": len(photos), "same": same})
            print(f"{model:>20} {folder:>16} {same} of {len(photos)} the same", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument(
        "--only", nargs="+", choices=("outputs", "predictions"), default=("outputs", "predictions")
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "answers.json")
    arguments = parser.parse_args()
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    if "outputs" in arguments.only:
        result["outputs"] = outputs(arguments.data)
    if "predictions" in arguments.only:
        result["predictions"] = predictions(arguments.data)
    result["machine"] = describe(("onnxruntime",))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    far = [
        row
        for row in result.get("outputs", [])
        if max(row["difference"][name] for name in ("reference", "native")) > BOUND
    ]
    few = [row for row in result.get("predictions", []) if row["same"] < SAME * row["images"]]
    return int(bool(far or few))


if __name__ == "__main__":
    sys.exit(main())
