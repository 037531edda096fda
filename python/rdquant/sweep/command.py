"""The command that writes the file of a study's point."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidArgument
from ..graph import ROLES
from ..quant import parse_quantizers, scope_range
from ..quant.recipe import own_scope

__all__ = ["command_of"]


def command_of(path: str | None, name: str, row: Mapping[Any, Any]) -> str:
    """As it is typed in a shell; for quantizers that have no name there, the call in Python.

    Args:
        path: of the model; None where it came from no file.
        name: of the model.
        row: the point: options (as stored, a dict), scope, bits.
    """
    options = row["options"]
    model, target, roles = path or f"{name}.onnx", f"{name}.rdq", options.get("roles", ROLES)
    if "given" in options:
        made, known_by_name, _ = options["given"].partition(" #")
        quantizer = made if known_by_name else f"rdquant.{made}"  # a function, or too long to be written here
        return f"rdquant.compress({model!r}, {target!r}, {quantizer}, roles={tuple(roles)!r})"
    try:
        (spec,) = parse_quantizers(options["quantizer"])
    except (InvalidArgument, ValueError):
        return ""  # a quantizer object, from a store that did not describe it
    words = ["rdquant", "compress", model, "-o", target, "--quantizer", spec.text]
    if spec.takes_bits:
        words += ["--bits", str(row["bits"])]
    if row["scope"] != own_scope(spec):
        words += ["--scope", row["scope"]]
    if spec.has_range and options["range"] != scope_range(row["scope"], None):
        words += ["--range", f"{options['range']}"]
    return shlex.join([*words, "--roles", ",".join(roles)])
