"""Paper 003: the figures that critical classes were to reach, from benchmarks/results alone. Run from the repository root:

python benchmarks/bars_significance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
NETS = ("cifar10_resnet20", "cifar10_resnet32")
BASELINES = ("uniform", "all", "kl")
MEASURES = (
    ("F1", "as is", "f1", -0.3),
    ("recall at equal false positives", "equal false positives", "recall", -0.3),
    ("all classes", "as is", "all_classes", -0.5),
)

Line = tuple[str, str, str, bool | None]


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def gap(rows: list[dict[str, Any]], measure: str, **facts: Any) -> tuple[float, str]:
    """Points of the one row with these facts, and them with their interval."""
    (row,) = [r for r in rows if all(r[name] == value for name, value in facts.items())]
    _, difference, low, high = row[measure].split()
    return float(difference), f"{difference} ({low} to {high})"


def networks() -> list[Line]:
    """The priority form against the best of the baselines, output channels against layers."""
    found: list[Line] = []
    for net in NETS:
        rows = read("significance")[net]
        for bits in (3.0, 4.0):
            for title, variant, measure, bar in MEASURES:
                facts = {"bits": bits, "method": "priority", "variant": variant}
                worst = min((gap(rows, measure, against=b, **facts), b) for b in BASELINES)
                (points, text), other = worst
                what = f"{net}, {bits:g} bits, priority form: {title}"
                found.append((what, f"≥ {bar} against the best baseline", f"{text} ({other})", points >= bar))
        for bits in (2.5, 3.0):
            facts = {"bits": bits, "method": "channels", "against": "priority"}
            for title, variant, measure, _ in MEASURES[:2]:
                points, text = gap(rows, measure, variant=variant, **facts)
                low = float(text.split("(")[1].split(" to ")[0])
                met = low > 0 if bits == 2.5 else None
                bar_text = "interval above 0 against layers alone" if bits == 2.5 else "aim: above 0"
                found.append(
                    (f"{net}, {bits:g} bits, channels of the last stage: {title}", bar_text, text, met)
                )
    return found


def photos() -> list[Line]:
    """Critical loss or divergence not above those of the baselines."""
    found: list[Line] = []
    for net, rows in read("significance_photos").items():
        for row in rows if isinstance(rows, list) else ():
            if row["method"] != "priority" or row["classes"]:
                continue
            worst = {
                name: max(
                    (row[f"critical {name} above {b}"], b)
                    for b in BASELINES
                    if f"critical {name} above {b}" in row
                )
                for name in ("loss", "kl")
            }
            text = "; ".join(
                f"{name} {v[0]:+.3f} ({v[1]:+.3f} to {v[2]:+.3f}) ({b})" for name, (v, b) in worst.items()
            )
            met = min(v[0] for v, _ in worst.values()) <= 0
            what = f"{net}, {row['bits']:g} bits, priority form"
            found.append((what, "loss or divergence ≤ the best baseline's", f"{text} nats", met))
    return found


def trained() -> list[Line]:
    """Accuracy on all classes after training, against float trained as long."""
    rows = [r for r in read("qat")["cifar10_resnet20"] if r["variant"] == "as is"]
    found: list[Line] = []
    for row in rows:
        if "untrained" in row["method"] or row["method"] == "float":
            continue
        _, points, low, high = row["all_classes"].split()
        bar = "≥ -1 point against float trained as long" if row["bits"] == 4 else "reported"
        met = float(points) >= -1 if row["bits"] == 4 else None
        what = f"cifar10_resnet20 trained, {row['bits']:g} bits, {row['method']}"
        found.append((what, bar, f"{points} ({low} to {high})", met))
    return found


def main() -> None:
    time = read("significance")["time"]["ratio"]
    timed: Line = (
        "map against a loop over sessions",
        "≤ 0.4 of the time",
        f"{time:.2f}",
        time <= 0.4,
    )
    for what, bar, text, met in [*networks(), *photos(), *trained(), timed]:
        print(what, bar, text, {True: "met", False: "NOT met", None: ""}[met], sep=" | ")


if __name__ == "__main__":
    main()
