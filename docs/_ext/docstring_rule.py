"""What the docstring of a public name must say: its arguments, shapes, dtypes, units, errors and source."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import textwrap
from collections.abc import Callable, Collection
from typing import Any

from public_names import Name, defined_in, is_made, members
from rdquant import errors

ERRORS = set(errors.__all__)
ARRAY = re.compile(r"NDArray|ArrayLike|\bFloats\b|\bScores\b|\bIndices\b|torch\.Tensor")
SHAPE = re.compile(r"\[[^\]]*\]|\bshapes?\b")
DTYPE = re.compile(r"float(?:16|32|64)|u?int(?:8|16|32|64)|\bbool|integers|numbers|dtypes?\b|\bfloats?\b")
NUMBER = re.compile(r"\bfloat\b")
UNIT = re.compile(
    r"\bbits?\b|\bnats\b|\bpoints\b|\bper ?cent|\bmilliseconds?\b|\bmicroseconds?\b|\bseconds?\b|\bbytes?\b|\bdB\b"
    r"|\bdecibels?\b|\bsteps?\b|\bshares?\b|\bunits?\b|\bfraction\b|\bpixels?\b|\bratio\b|\bstandard deviations\b"
    r"|how many times|\bdegrees\b|0 ?(?:\.\.|…) ?1|λ in|\[0, 1\)|> 0|\bsquare\b|²",
    re.IGNORECASE,
)
CITED = re.compile(r"thesis|[Pp]aper \d|\(?(?:19|20)\d\d\)?|COCO|GPTQ|IEEE 754|UCI")

#: Functions and classes whose formulas come from a publication, which their docstrings must name.
WITH_SOURCE = {
    "rdquant.Codebook.from_levels",
    "rdquant.Deadzone",
    "rdquant.Digits",
    "rdquant.Midrise",
    "rdquant.Midtread",
    "rdquant.Minifloat",
    "rdquant.MuLaw",
    "rdquant.Rate",
    "rdquant.autocovariance",
    "rdquant.calibrate.LayerRounder",
    "rdquant.calibrate.following",
    "rdquant.calibrate.sensitivities",
    "rdquant.codec.optimise",
    "rdquant.compress",
    "rdquant.detection.decode",
    "rdquant.efficiency_score",
    "rdquant.entropy.compression_ratio",
    "rdquant.entropy.entropy",
    "rdquant.entropy.reduction",
    "rdquant.fit",
    "rdquant.float_entropy",
    "rdquant.mutual_information",
    "rdquant.profile.profile",
    "rdquant.prune_quantize",
    "rdquant.ptq.Grid",
    "rdquant.quantize_static",
    "rdquant.sweep.sweep",
    "rdquant.allocate",
    "rdquant.significance.significance",
    "rdquant.train.GroupDecay",
    "rdquant.train.PruneThenQuantize",
    "rdquant.train.Ramp",
    "rdquant.train.paper_network",
    *(
        f"rdquant.metrics.{name}"
        for name in [
            "accuracy",
            "class_accuracy",
            "coco_statistics",
            "confusion_matrix",
            "cumulative_gain",
            "dcg",
            "f1",
            "kl_divergence",
            "mae",
            "mean_reciprocal_rank",
            "mse",
            "ndcg",
            "precision",
            "recall",
            "rmse",
            "sae",
            "sse",
            "top_k_accuracy",
            "top_k_error",
        ]
    ),
}


def _raised_in(function: Any) -> set[str]:
    """Our exceptions that the text of `function` raises itself."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    return {ast.unparse(c.func).rpartition(".")[2] for c in calls if isinstance(c, ast.Call)} & ERRORS


def raised(value: Any, refusing: Collection[Any]) -> set[str]:
    """What must stand in the docstring: what the function raises, and InvalidArgument where it refuses wrong arguments."""
    found = {"InvalidArgument"} if value in refusing else set()
    if inspect.isclass(value):
        own = [vars(value)[m] for m in ("__init__", "__post_init__") if m in vars(value)]
        return found.union(*map(_raised_in, own))
    return found | _raised_in(value)


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        found = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        return []
    return [p for p in found if p.name not in ("self", "cls") and not p.name.startswith("_")]


def _unnamed(function: Any, text: str) -> list[str]:
    """Parameters that the text does not describe: `name`, or an entry "name:" or "other, name:"."""
    return [
        p.name for p in _parameters(function) if not re.search(rf"`{p.name}`|\b{p.name}(?:, \w+)*:", text)
    ]


def lacks(function: Any, text: str, refusing: Collection[Any]) -> list[str]:
    """What the docstring `text` of a function or class lacks, as a list of complaints."""
    if not text.strip() or text.startswith(f"{getattr(function, '__name__', '')}("):
        return ["a docstring"]
    found = []
    constructed = not (inspect.isclass(function) and is_made(text))
    if constructed and not getattr(function, "_is_protocol", False) and (names := _unnamed(function, text)):
        found.append(f"arguments {', '.join(names)}")
    if not re.search(r"[Ee]rrors as|[Rr]aises as", text):
        found += [f"error {name}" for name in sorted(raised(function, refusing)) if name not in text]
    hints = " ".join(str(p.annotation) for p in _parameters(function)) if constructed else ""
    with contextlib.suppress(ValueError, TypeError):
        hints += f" -> {inspect.signature(function).return_annotation}"
    if ARRAY.search(hints):
        found += [word for word, rule in (("shapes", SHAPE), ("dtypes", DTYPE)) if not rule.search(text)]
    if NUMBER.search(hints) and not UNIT.search(text):
        found.append("units")
    return found


def offences(name: Name, refusing: Collection[Callable[..., Any]]) -> list[str]:
    """Complaints on a public name and on its public members, as lines of text."""
    if name.kind == "data":
        return []
    own = inspect.cleandoc(vars(name.value).get("__doc__") or "") if name.kind != "function" else ""
    texts = {name.dotted: (name.value, own if name.kind != "function" else inspect.getdoc(name.value) or "")}
    if name.kind == "class":
        for member, function, _ in members(name.value):
            if defined_in(function, name):
                text = inspect.getdoc(getattr(name.value, member)) or ""
                texts[f"{name.dotted}.{member}"] = (function, text)
    found = [
        f"{dotted} lacks {what}" for dotted, (f, text) in texts.items() for what in lacks(f, text, refusing)
    ]
    return found + [
        f"{dotted} lacks its source"
        for dotted, (_, text) in texts.items()
        if dotted in WITH_SOURCE and not CITED.search(text)
    ]
