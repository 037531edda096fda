"""Quantizers that a user gives as objects or functions: what they are called in tables, and what tells them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidArgument, described
from .base import Quantizer

if TYPE_CHECKING:
    from .spec import QuantizerSpec

__all__ = ["Assigned", "assigned", "given_label", "identity", "name_of", "told_apart"]

QuantizerOf = Callable[[str, NDArray[np.float32]], Quantizer]


@dataclass(frozen=True)
class Assigned:
    """What a function of name and tensor gave each tensor of a model. It travels to other processes, as functions may not.

    Attributes:
        name: of the function.
        by_tensor: quantizers by the tensors' names.
    """

    name: str
    by_tensor: tuple[tuple[str, Quantizer], ...]

    def __call__(self, name: str, tensor: NDArray[np.float32]) -> Quantizer:
        return dict(self.by_tensor)[name]


def assigned(specs: Sequence[QuantizerSpec], weights: Mapping[str, NDArray[Any]]) -> list[QuantizerSpec]:
    """The specs with every function replaced by the quantizers that it gives for these weights; each is called once.

    Raises InvalidArgument where one gives no quantizer.
    """
    return [
        spec
        if spec.given is None or isinstance(spec.given, (Quantizer, Assigned))
        else replace(spec, given=_asked(spec.given, weights))
        for spec in specs
    ]


def _asked(function: QuantizerOf, weights: Mapping[str, NDArray[Any]]) -> Assigned:
    found = []
    for name, tensor in weights.items():
        quantizer = function(name, tensor)
        if not isinstance(quantizer, Quantizer):
            raise InvalidArgument(
                f"quantizers: {name_of(function)} gave {described(quantizer)} for tensor {name!r}; expected a Quantizer"
            )
        found.append((name, quantizer))
    return Assigned(name_of(function), tuple(found))


def name_of(function: Any) -> str:
    """What tables call a function: its name."""
    name = getattr(function, "__name__", type(function).__name__)
    return "function" if name == "<lambda>" else str(name)


def given_label(quantizer: Quantizer) -> str:
    """What tables call a quantizer that is an object: its label, and what else it was made with."""
    label, step, levels = quantizer.label, *(getattr(quantizer, name, None) for name in ("step", "levels"))
    if isinstance(step, (float, tuple)):
        return f"{label}, {f'{len(step)} steps' if isinstance(step, tuple) else f'Δ={step:.5g}'}"
    if isinstance(levels, tuple):
        return f"{label} of {len(levels)} values"
    if label.startswith("µ-law"):
        return f"{label}, {getattr(quantizer, 'bits', '?')} bits"
    return label


def identity(given: Any) -> str:
    """Of a Quantizer or Assigned: text that is the same for equal quantizers only; for short ones the call that makes them."""
    if isinstance(given, Assigned):
        return f"{given.name} #{_digest(*(f'{name} {_complete(q)}' for name, q in given.by_tensor))}"
    complete = _complete(given)
    return complete if len(complete) <= 400 else f"{type(given).__name__.lower()} #{_digest(complete)}"


def told_apart(specs: Sequence[QuantizerSpec], known: Mapping[str, str]) -> list[QuantizerSpec]:
    """The specs, those of objects and functions with texts (labels) of which no two that differ have the same.

    known: labels by `identity` that are in use already; they stay.
    """
    owner = {label: key for key, label in known.items()}
    found = []
    for spec in specs:
        if spec.given is not None:
            key = identity(spec.given)
            text = known.get(key, spec.text)
            if owner.setdefault(text, key) != key and key not in known:
                text = f"{text} #{_digest(key)[:4]}"
                owner[text] = key
            spec = replace(spec, text=text)
        found.append(spec)
    return found


def _complete(quantizer: Quantizer) -> str:
    values = (f"{f.name}={getattr(quantizer, f.name)!r}" for f in fields(quantizer))
    return f"{type(quantizer).__qualname__}({', '.join(values)})"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
