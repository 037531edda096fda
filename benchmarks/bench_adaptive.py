"""strategy="adaptive" against the full grid: the same best choices, for which share of the image evaluations?

python benchmarks/bench_adaptive.py --models ../shared/data/models --images ../shared/data/images/imagenet-sample

The grid (5 quantizers × bits 2..16 on SqueezeNet 1.1) is kept in --store and continued when run again. The seed steers the
order in which "adaptive" visits images; several are run, since its cost depends on it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import rdquant as rdq
from machine import describe

QUANTIZERS = "midtread,midrise,deadzone:0.25,deadzone:0.7,mulaw:255"
RESULTS = Path(__file__).parent / "results" / "adaptive.json"


def choices(study: rdq.Study) -> dict[str, int]:
    """Quantizer -> bits of its best choice."""
    best = study.best()
    return dict(zip(best["quantizer"], best["bits"].astype(int).tolist(), strict=True))


def cost(study: rdq.Study) -> int:
    """Image evaluations, the float model's included."""
    return int(study.to_pandas()["images"].sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--model", default="squeezenet1.1-7.onnx")
    parser.add_argument("--preprocess", default="imagenet")
    parser.add_argument(
        "--store", type=Path, default=None, help="folder that keeps the grid; default: a temporary one"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-loss", type=float, default=0.8)
    options = parser.parse_args()

    model = rdq.load(options.models / options.model)
    data = rdq.ImageFolder(options.images, preprocess=options.preprocess)
    arguments = {"quantizers": QUANTIZERS, "bits": range(2, 17), "max_loss": options.max_loss}
    with tempfile.TemporaryDirectory() as scratch:
        grid = rdq.sweep(model, data, store=options.store or scratch, **arguments)
        wanted, full = choices(grid), cost(grid)
        print(f"grid: {full} image evaluations, best choices {wanted}")
        runs = []
        for seed in range(options.seeds):
            adaptive = rdq.sweep(model, data, strategy="adaptive", seed=seed, **arguments)
            found, used = choices(adaptive), cost(adaptive)
            same = found == wanted
            runs.append({"seed": seed, "images": used, "share": used / full, "same": same})
            print(
                f"adaptive, seed {seed}: {used} ({used / full:.1%}), {'same choices' if same else f'OTHER: {found}'}"
            )
    result = {
        "machine": describe(),
        "model": options.model,
        "data": data.name,
        "grid_images": full,
        "best_bits": wanted,
        "runs": runs,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
