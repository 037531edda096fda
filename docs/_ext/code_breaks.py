"""Code in running text and tables may break after its dots, underscores and slashes, never within a word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r'(?<=<span class="pre">)[^<]+(?=</span>)')
_SIGNS = re.compile(r"(?<=\w)[._/,:=|-]+(?=\w)")
_NUMBER = re.compile(r"\d\.\d")
_DASH = re.compile(r"(</(?:strong|em|code|a)>\)?) -- ")


def breakable(body: str) -> str:
    """`body`, the HTML of a page, with `<wbr>` after the signs in its code; numbers and the hyphens of options stay whole.

    The two hyphens that Sphinx puts behind an argument's name become a dash.
    """
    return _DASH.sub("\\1 \N{EN DASH} ", _CODE.sub(lambda code: _broken(code[0]), body))


def _broken(code: str) -> str:
    parts = _SIGNS.sub(_after, code).split("<wbr>")
    if code.startswith("-"):
        parts = [f'<span class="whole">{part}</span>' for part in parts]
    return "<wbr>".join(parts)


def _after(sign: re.Match[str]) -> str:
    around = sign.string[sign.start() - 1 : sign.end() + 1]
    return sign[0] if _NUMBER.fullmatch(around) else f"{sign[0]}<wbr>"


def change(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
    if "body" in context:
        context["body"] = breakable(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", change)
    return {"parallel_read_safe": True}
