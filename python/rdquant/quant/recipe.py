"""A recipe: a family with its bits, its range and what shares one step. Studies and compressed files are made by the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidArgument, called, count, described, number, one_of
from .base import Quantizer
from .spec import QuantizerSpec, parse_quantizers

__all__ = ["SCOPES", "Recipe", "Scope", "is_class", "recipe_of", "scope_range"]

Scope = Literal["model", "tensor", "channel"]
"""What shares a step."""
SCOPES: tuple[Scope, ...] = ("model", "tensor", "channel")
"""All values of `Scope`."""


def scope_range(scope: Scope, range: float | str | None) -> float | Literal["max"]:
    """The `range` of a step 2·range/2^bits: what is given, else, by `scope`, 1 (thesis 004) for the model, max|w| otherwise.

    Raises InvalidArgument for anything but a number above 0 (in the weights' unit) and "max".

    Thesis 004: Tonin, “Codificação de redes neurais sem retreino”, 2021.
    """
    one_of("scope", scope, ("model", "tensor", "channel"))
    if range is None:
        return 1.0 if scope == "model" else "max"
    if not isinstance(range, str):
        return number("range", range, above=0)
    if range != "max":
        raise InvalidArgument(f"range: expected a number above 0 or 'max', got {range!r}")
    return "max"


@dataclass(frozen=True)
class Recipe:
    """Quantizers of all tensors of a model.

    Attributes:
        spec: the family.
        bits: None where the family takes none.
        scope: one step for the model, for each tensor, or for each output channel of each tensor.
        range: of the levels, ±range in the weights' unit; "max" is max|w| of what shares the step. Formats have none.
    """

    spec: QuantizerSpec
    bits: int | None
    scope: Scope = "model"
    range: float | Literal["max"] = 1.0

    @property
    def label(self) -> str:
        """What a file says about its levels: only what differs from one step for the model over ±1."""
        if self.spec.given is not None:
            return self.spec.given.label if isinstance(self.spec.given, Quantizer) else "one a tensor"
        bits = "" if self.bits is None else f" {self.bits} bits"
        scope = "" if self.scope == own_scope(self.spec) else f", per {self.scope}"
        span = "" if self.range == scope_range(self.scope, None) else f", range {self.range}"
        return f"{self.spec.text}{bits}{scope}{span if self.spec.has_range else ''}"

    def quantizers(
        self, weights: Mapping[str, ArrayLike], axes: Mapping[str, int]
    ) -> Quantizer | Callable[[str, NDArray[np.float32]], Quantizer]:
        """One quantizer for all `weights` (floats of any shape, by name), or a function of name and float32 tensor.

        axes: of the channels, by name.
        """
        if self.spec.given is not None:
            return self.spec.given
        if self.scope == "model":
            needs_weights = self.spec.needs_weights or (self.range == "max" and self.spec.has_range)
            everything = _concatenated(weights) if needs_weights else None
            return self.spec.build(self.bits, self.range, x=everything)

        apart = (
            self.scope == "channel" and self.range == "max"
        )  # a range that is given is the same for all channels

        def for_tensor(name: str, tensor: NDArray[np.float32]) -> Quantizer:
            axis = axes.get(name) if apart else None
            return self.spec.build(self.bits, self.range, axis, tensor)

        return for_tensor


def is_class(quantizer: Any) -> bool:
    """Whether it is a class of quantizers, which stands for its family's name."""
    return isinstance(quantizer, type) and issubclass(quantizer, Quantizer) and hasattr(quantizer, "family")


def recipe_of(
    quantizer: Any, bits: int | None = None, scope: Any = None, range: float | str | None = None
) -> Recipe | None:
    """From a user's arguments; None without loss, and for functions that give quantizers."""
    if bits is not None:
        bits = count("bits", bits, 1, 24)
    if scope is not None:
        one_of("scope", scope, SCOPES)
    if quantizer is None and bits is not None:
        quantizer = "midtread"
    if not isinstance(quantizer, str) and not is_class(quantizer):
        return _given(quantizer, bits, scope, range)
    with called("quantizers", "quantizer"):
        specs = parse_quantizers(quantizer)
    if len(specs) != 1:
        raise InvalidArgument(
            f"quantizer: expected one family, {_shown(quantizer)} stands for {len(specs)}; name one of them, such as "
            f"{specs[0].text!r}"
        )
    (spec,) = specs
    if spec.takes_bits and bits is None:
        raise InvalidArgument(f"bits: the quantizer {_shown(quantizer)} needs a number of them, got none")
    if bits is not None and not spec.takes_bits:
        raise InvalidArgument(
            f"quantizer, bits: {_shown(quantizer)} has a width that its name fixes and takes no bits, got bits={bits}; "
            "leave one of the two out"
        )
    if range is not None and not spec.has_range:
        raise InvalidArgument(f"range: the quantizer {_shown(quantizer)} has none; leave it out")
    used: Scope = own_scope(spec) if scope is None else scope
    return Recipe(spec, bits, used, scope_range(used, range))


def _shown(quantizer: Any) -> str:
    """As the caller wrote it."""
    return quantizer.__name__ if isinstance(quantizer, type) else described(quantizer)


def _given(quantizer: Any, bits: int | None, scope: Any, range: Any) -> Recipe | None:
    """Of quantizers, functions that give them, and none."""
    for name, value in (("bits", bits), ("scope", scope), ("range", range)):
        if value is not None and quantizer is None:
            raise InvalidArgument(f"{name}: it needs bits or a quantizer's name")
        if value is not None:
            raise InvalidArgument(
                f"{name}: a quantizer that is given brings its own; leave one of the two out"
            )
    if isinstance(quantizer, Quantizer):
        return Recipe(parse_quantizers(quantizer)[0], None)
    if quantizer is None or (callable(quantizer) and not isinstance(quantizer, type)):
        return None
    hint = f"; bits={quantizer} gives midtread" if isinstance(quantizer, int) else ""
    raise InvalidArgument(
        "quantizer: expected a Quantizer, a family's name such as 'midtread', or a function (name, tensor) -> "
        f"Quantizer, got {described(quantizer)}{hint}"
    )


def own_scope(spec: QuantizerSpec) -> Scope:
    """The scope of a file where none is given: what is designed for weights is designed for each tensor."""
    return "tensor" if spec.needs_weights else "model"


def _concatenated(weights: Mapping[str, Any]) -> NDArray[np.float32]:
    return np.concatenate([np.asarray(w, np.float32).reshape(-1) for w in weights.values()])
