"""Studies that texts cite by a key, such as "thesis 004": named in full, with a link to the bibliography."""

from __future__ import annotations

import re

#: Key → how a text names it. docs/bibliography.md has an entry of the same key for each.
TITLES = {
    "paper 000": "Abreu, Kikuchi and Viana, “Quantization strategies for low-resource hardware”, 2025",
    "paper 001": "Martins and Lima, “Técnicas de otimização de redes neurais profundas”",
    "paper 002": "“Prune then quantize at every iteration”, CIFAR-10 study in Portuguese",
    "paper 003": "Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025",
    "thesis 004": "Tonin, “Codificação de redes neurais sem retreino”, thesis",
}
KEY = re.compile(r"\b(paper|thesis|Paper|Thesis) (\d{3})\b")


def anchor(key: str) -> str:
    return key.replace(" ", "-")


def cite(text: str, link: str, seen: set[str] | None = None) -> str:
    """`text` with every key as a link, and the title before its first mention.

    link: how the markup writes a link, with {text} and {key}. seen: keys that were named before.
    """
    seen = set() if seen is None else seen

    def replaced(match: re.Match[str]) -> str:
        key = match[0].lower()
        if key not in TITLES:
            return match[0]
        first = key not in seen
        seen.add(key)
        shown = f"{TITLES[key]} ({key})" if first else match[0]
        return link.format(text=shown, key=anchor(key))

    return KEY.sub(replaced, text)
