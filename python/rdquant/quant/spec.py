"""Quantizers by name, before bits, range and weights are known: what a sweep or a command line asks for."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InvalidArgument, described, several
from .base import Quantizer, Range, range_of
from .codebook import Codebook
from .given import given_label, name_of
from .minifloat import MINIFLOATS, Minifloat
from .uniform import Deadzone, Midrise, Midtread, MuLaw

__all__ = ["QuantizerSpec", "parse_quantizers"]

_HELP = (
    "allowed are midtread, midrise, deadzone:δ (0 ≤ δ < 1), mulaw[:µ], minifloat (all of Table 3.5), "
    "minifloat:exponent/mantissa[:best|:bias], half, bfloat16, codebook"
)


@dataclass(frozen=True)
class QuantizerSpec:
    """A family with its options, still without bits, range or weights; `build` makes the quantizer.

    Made by `parse_quantizers`.
    """

    text: str
    family: str
    options: tuple[tuple[str, Any], ...] = ()
    given: Quantizer | Callable[..., Quantizer] | None = None

    @property
    def takes_bits(self) -> bool:
        """Whether `build` needs bits; a format, or a given quantizer, stands for one point."""
        return self.family in ("midtread", "midrise", "deadzone", "mulaw", "codebook") and self.given is None

    @property
    def most_bits(self) -> int:
        """Greatest number of bits that `build` takes."""
        return 16 if self.family == "codebook" else 24

    @property
    def has_range(self) -> bool:
        """Whether its levels span a range that `build` takes."""
        return self.takes_bits and self.family != "codebook"

    @property
    def needs_weights(self) -> bool:
        """Whether `build` designs the quantizer for given weights."""
        return self.given is None and (self.family == "codebook" or dict(self.options).get("bias") == "best")

    @property
    def label(self) -> str:
        """Name for tables and plots, without the number of bits."""
        if self.given is not None:
            return self.text
        if self.family == "codebook":
            return "codebook"
        return self.build(8 if self.takes_bits else None, x=np.ones(1, np.float32)).label

    def build(
        self, bits: int | None = None, range: Range = 1.0, axis: int | None = None, x: ArrayLike | None = None
    ) -> Quantizer:
        """The quantizer for `bits` over ±`range`, with ranges a channel along `axis`.

        x: the weights, real numbers of any shape, for range="max", codebooks and fitted biases. Raises InvalidArgument where
        they are missing, or bits are out of range.
        """
        if isinstance(self.given, Quantizer):
            return self.given
        if self.given is not None:
            raise InvalidArgument(
                f"{self.text}: a function gives each tensor a quantizer of its own, none for all"
            )
        options = dict(self.options)
        if self.family in ("minifloat", "half", "bfloat16"):
            return self._format(options, x)
        if bits is None:
            raise InvalidArgument(f"{self.text}: needs a number of bits")
        if self.family == "codebook":
            if x is None:
                raise InvalidArgument("codebook: needs the weights to be designed for")
            return Codebook.from_levels(bits, x)
        limits = range_of(range, x, axis)
        if self.family == "deadzone":
            return Deadzone.from_levels(bits, limits, options["delta"], axis)
        if self.family == "mulaw":
            return MuLaw.from_levels(bits, limits, options["mu"], axis)
        if self.family == "midrise":
            return Midrise.from_levels(bits, limits, axis)
        return Midtread.from_levels(bits, limits, axis)

    def _format(self, options: dict[str, Any], x: ArrayLike | None) -> Quantizer:
        if self.family == "half":
            return Minifloat.half()
        if self.family == "bfloat16":
            return Minifloat.bfloat16()
        exponent, mantissa, bias = options["exponent"], options["mantissa"], options["bias"]
        if bias == "best":
            if x is None:
                raise InvalidArgument(f"{self.text}: needs the weights that the bias is to fit")
            return Minifloat.fitted(x, exponent, mantissa)
        return Minifloat(1 + exponent + mantissa, exponent, mantissa, bias)


def parse_quantizers(
    quantizers: str | type[Quantizer] | Quantizer | Callable[..., Quantizer] | QuantizerSpec | Iterable[Any],
) -> list[QuantizerSpec]:
    """Specs for what a user wrote as `quantizers`: "midtread, deadzone:0.4", a quantizer or its class, a function
    (name, tensor) -> quantizer, or a list of such.

    "deadzone" alone means δ = 0.4 (`Deadzone` itself: ½), "mulaw" µ = 255, "minifloat" all formats of Table 3.5.

    Raises InvalidArgument naming the part that is not understood and what is allowed. Repeated parts count once.
    """
    parts = quantizers.split(",") if isinstance(quantizers, str) else quantizers
    if isinstance(parts, (type, Quantizer, QuantizerSpec)):
        parts = [parts]
    specs: dict[QuantizerSpec, None] = {}
    for part in several(parts):
        if isinstance(part, QuantizerSpec):
            specs[part] = None
        elif isinstance(part, Quantizer):
            specs[QuantizerSpec(given_label(part), part.family, given=part)] = None
        elif isinstance(part, type) and issubclass(part, Quantizer) and hasattr(part, "family"):
            specs.update(dict.fromkeys(_parse(part.family)))
        elif isinstance(part, str):
            specs.update(
                dict.fromkeys(s for piece in part.split(",") if piece.strip() for s in _parse(piece.strip()))
            )
        elif isinstance(part, Hashable) and callable(part) and not isinstance(part, type):
            specs[QuantizerSpec(name_of(part), "function", given=part)] = None
        else:
            raise InvalidArgument(f"quantizers: {described(part)} is not a quantizer; {_HELP}")
    if not specs:
        raise InvalidArgument(f"quantizers: none given; {_HELP}")
    return list(specs)


_WITH_BITS = ("midtread", "midrise", "codebook")  # which take no argument


def _parse(text: str) -> list[QuantizerSpec]:
    name, *arguments = text.lower().split(":")
    try:
        if name in ("midtread", "midrise", "half", "bfloat16", "codebook") and not arguments:
            return [QuantizerSpec(text, name)]
        if name == "deadzone" and len(arguments) <= 1:
            delta = _parsed(float, arguments[0], "δ") if arguments else 0.4
            Deadzone(1.0, delta)
            return [QuantizerSpec(f"deadzone:{delta:g}", name, (("delta", delta),))]
        if name == "mulaw" and len(arguments) <= 1:
            mu = _parsed(float, arguments[0], "µ") if arguments else 255.0
            MuLaw(mu)
            return [QuantizerSpec(f"mulaw:{mu:g}", name, (("mu", mu),))]
        if name == "minifloat" and len(arguments) <= 2:
            return _parse_minifloats(arguments)
    except ValueError as error:
        raise InvalidArgument(f"quantizers: {text!r} is not understood ({error}); {_HELP}") from None
    width = f" (bits are given beside it, not as {text!r})" if name in _WITH_BITS and arguments else ""
    raise InvalidArgument(f"quantizers: {text!r} is not understood{width}; {_HELP}")


def _parse_minifloats(arguments: list[str]) -> list[QuantizerSpec]:
    widths: list[tuple[int, int]] = list(MINIFLOATS)
    if arguments and arguments[0] not in ("", "all"):
        exponent, slash, mantissa = arguments[0].partition("/")
        if not slash:
            raise InvalidArgument(
                f"expected exponent/mantissa, numbers of bits such as 4/3, got {arguments[0]!r}"
            )
        widths = [(_parsed(int, exponent, "exponent"), _parsed(int, mantissa, "mantissa"))]
    bias: Any = None
    if len(arguments) == 2:
        bias = "best" if arguments[1] == "best" else _parsed(int, arguments[1], "bias")
    specs = []
    for e, m in widths:
        Minifloat(1 + e + m, e, m, None if bias == "best" else bias)
        text = f"minifloat:{e}/{m}" + ("" if bias is None else f":{bias}")
        specs.append(QuantizerSpec(text, "minifloat", (("exponent", e), ("mantissa", m), ("bias", bias))))
    return specs


def _parsed(kind: type[Any], text: str, what: str) -> Any:
    """`text` as an int or float; InvalidArgument where it is none."""
    try:
        return kind(text)
    except ValueError:
        expected = "an integer" if kind is int else "a number"
        raise InvalidArgument(f"{what}: expected {expected}, got {text!r}") from None
