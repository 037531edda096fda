"""What a built site must keep: links lead somewhere, two clicks reach every page, nothing comes from elsewhere.

python docs/_ext/site_check.py build/docs
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

APART = {"search.html"}  # reached by its box, not by links


@dataclass
class Page(HTMLParser):
    """What a page links to, from its text and from anywhere; what it fetches; its anchors."""

    text: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)
    depth: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {key: value for key, value in attributes if value}
        self.depth += tag == "article"
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
            if self.depth:
                self.text.add(named["href"])
        elif tag == "link" and named.get("rel") in ("stylesheet", "icon", "preload") and "href" in named:
            self.fetched.append(named["href"])
        elif "src" in named:
            self.fetched.append(named["src"])

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "article"


def read(folder: Path) -> dict[str, Page]:
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        if not {"_static", "_downloads"} & set(path.relative_to(folder).parts):
            page = pages[path.relative_to(folder).as_posix()] = Page()
            page.feed(path.read_text(encoding="utf-8"))
    return pages


def target(folder: Path, page: str, link: str) -> tuple[str, str] | None:
    """(file within the site, anchor) that a link means; None for one to the web."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    path = (folder / page).parent / unquote(parts.path) if parts.path else folder / page
    return path.resolve().relative_to(folder.resolve()).as_posix(), unquote(parts.fragment)


def reached(folder: Path, pages: dict[str, Page], clicks: int) -> set[str]:
    """Pages that links in the text reach from the first one."""
    found = {"index.html"}
    for _ in range(clicks):
        links = [(page, link) for page in found & set(pages) for link in pages[page].text]
        found |= {to[0] for page, link in links if (to := target(folder, page, link))}
    return found


def offences(folder: Path) -> list[str]:
    pages = read(folder)
    first = ["index.html", *(name for name in pages if name != "index.html")]
    found = []
    for name in first:
        page = pages[name]
        found += [
            f"{name}: fetches {src}" for src in page.fetched if src.startswith(("http:", "https:", "//"))
        ]
        for link in page.links:
            to = target(folder, name, link)
            if to is None:
                continue
            file, anchor = to
            known = (folder / file).exists()
            if not known or (anchor and file in pages and anchor not in pages[file].anchors):
                found.append(f"{name}: {link} leads nowhere")
    near = reached(folder, pages, clicks=2)
    return found + [f"{name}: not reached in two clicks" for name in pages if name not in near | APART]


if __name__ == "__main__":
    faults = offences(Path(sys.argv[1]))
    print("\n".join(faults) or f"{sys.argv[1]}: links, clicks and sources are right")
    sys.exit(bool(faults))
