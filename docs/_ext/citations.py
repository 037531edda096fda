"""Studies that texts cite by a key, such as "thesis 004": named in full, with a link to the bibliography."""

from __future__ import annotations

import re

#: Key → how a text names it. docs/bibliography.md has an entry of the same key for each.
TITLES = {
    "paper 000": "Abreu, Kikuchi and Viana, “Quantization strategies for low-resource hardware”, 2025",
    "paper 001": "Martins and Lima, “Técnicas de otimização de redes neurais profundas”, undated",
    "paper 002": "“Prune then quantize at every iteration”, a CIFAR-10 study in Portuguese, authors and year unknown",
    "paper 003": "Khrupin and Shaptsev, “Quantization method for detection neural networks”, 2025",
    "thesis 004": "Tonin, “Codificação de redes neurais sem retreino”, 2021",
}
KEY = re.compile(r"\b(paper|thesis|Paper|Thesis) (\d{3})\b")
NOTE = re.compile(r"^ *((?:Paper|Thesis) \d{3}): (.+)\.$", re.MULTILINE)
"""The line of a docstring that names a study in full."""


def unnamed(text: str) -> list[str]:
    """Keys of studies that a text cites and does not name in full, in parentheses behind it or in a line of its own."""
    notes = {m[1].lower(): m[2] for m in NOTE.finditer(text)}
    keys = dict.fromkeys(m[0].lower() for m in KEY.finditer(text))
    flat = " ".join(text.split())
    return [k for k in keys if notes.get(k) != TITLES.get(k) and f"{k[1:]} ({TITLES.get(k)})" not in flat]


def anchor(key: str) -> str:
    return key.replace(" ", "-")


def cite(text: str, link: str, seen: set[str] | None = None) -> str:
    """`text` with every key as a link, and the title before its first mention; not behind it, where `text` may have it.

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

    for key, title in TITLES.items():
        text = re.sub(rf"({key}) \({re.escape(title)}\)", r"\1", text, flags=re.IGNORECASE)
    return KEY.sub(replaced, text)
