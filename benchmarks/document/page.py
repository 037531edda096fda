"""Markdown of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cells import RESULTS, parts, read
from .topics import TOPICS, Section

__all__ = ["page"]

_HEAD = ("what", "rdquant", "compared with", "outcome", "processor")
_INTRODUCTION = """\
# Benchmarks

<!-- Generated from benchmarks/results: python benchmarks/table.py --write -->

Every row below is read from a file in [benchmarks/results](../benchmarks/results), which the benchmark named above its table
writes. Peers run on the same machine in the same run, and answers are compared before anything is timed. Times and
ratios hold for the processor named in the row. Peers come with `pip install '.[bench]'`; the `--help` of a
benchmark says which models and images it reads.
"""


def page(folder: Path = RESULTS) -> str:
    """The whole document. A benchmark without results has no section."""
    lines = [_INTRODUCTION]
    for topic in TOPICS:
        found = [(section, read(section.name, folder)) for section in topic.sections]
        shown = [_section(section, result) for section, result in found if result is not None]
        if shown:
            lines += [f"## {topic.title}\n", *shown]
    return "\n".join(lines)


def _section(section: Section, result: dict[str, Any]) -> str:
    file = f"bench_{section.name}"
    lines = [f"### {section.title}\n", f"{section.how} Measured by [{file}](../benchmarks/{file}.py).\n"]
    if section.chart:
        lines.append(f"![{section.title}: the rows below as a chart](charts/{section.chart}.png)\n")
    rows: list[tuple[str, ...]] = [_HEAD, ("---",) * len(_HEAD)]
    machines: dict[str, None] = {}
    for machine, part in parts(result):
        rows += [(*row, machine["cpu"]) for row in section.rows(part)]
        machines[_described(machine)] = None
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", f"Machine: {'; '.join(machines)}.\n"])


def _described(machine: dict[str, Any]) -> str:
    words = [machine["cpu"], f"{machine['cores']} cores"]
    if "isa" in machine:
        words.append(machine["isa"])
    words.append(f"Python {machine['python']}")
    packages = machine.get("packages", {})
    peers = ("onnxruntime", "openvino", "fitter", "torch")
    words += [f"{name} {packages[name]}" for name in peers if name in packages]
    if commit := machine.get("commit"):
        words.append(f"commit {commit}")
    return ", ".join(words)
