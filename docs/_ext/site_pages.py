"""The site's generated parts: reference of the API and the command line, notebooks, citations, drawings."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import citations
import drawings
import public_names
from rdquant.cli import app as command_line
from rdquant.cli.options import Command

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")
ERRORS = "BackendUnavailable|CorruptFile|InvalidArgument|MissingFile|RdquantError|Unsupported"


def write_changed(path: Path, text: str) -> None:
    """Leave a file that is right as it is, so that nothing is built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# --- docstrings ----------------------------------------------------------------------------------


def known_names() -> dict[str, str]:
    """What docstrings write in backticks → the name that the reference has."""
    found: dict[str, str] = {}
    for name in public_names.names():
        spellings = {
            name.dotted,
            name.dotted.rpartition(".")[2],
            f"rdquant.{name.home}.{name.dotted.rpartition('.')[2]}",
        }
        if name.dotted in ("rdquant.entropy.entropy", "rdquant.profile.profile", "rdquant.sweep.sweep"):
            spellings.add(f"rdquant.{name.home}")
        for spelling in spellings:
            found.setdefault(spelling, name.dotted)
        if name.kind == "class":
            for member, function, _ in public_names.members(name.value):
                if public_names.defined_in(function, name):
                    found.setdefault(f"{name.value.__name__}.{member}", f"{name.dotted}.{member}")
    return found


class Docstrings:
    """Makes reStructuredText of docstrings, which are plain text with names in backticks."""

    def __init__(self) -> None:
        self._names = known_names()

    def __call__(self, app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
        text = self._entries(citations.NOTE.sub("", "\n".join(lines))).split("\n")
        shown: list[str] = []
        section, literal, seen = False, False, set[str]()
        for number, line in enumerate(text):
            plain = line.strip()
            indented = line.startswith("    ")
            if plain and not indented:
                section, literal = plain in SECTIONS, False
            if indented and not section and not literal and number and not text[number - 1].strip():
                literal = True
                shown += ["::", ""]
            keep = literal or plain in SECTIONS
            shown.append(
                (line if keep else self._line(line, seen)).replace(
                    "Attributes:", "Fields:", plain in SECTIONS
                )
            )
        lines[:] = shown

    def _entries(self, text: str) -> str:
        """One entry for each error: "InvalidArgument: … . Unsupported: …" are two."""
        return re.sub(rf"(?<=[.;]) ({ERRORS}): ", r"\n    \1: ", text) if "\nRaises:\n" in text else text

    def _line(self, line: str, seen: set[str]) -> str:
        parts = re.split(r"(`[^`]+`)", line)
        shown = ""
        for part in parts:
            if part.startswith("`") and len(part) > 1:
                shown += self._code(part[1:-1])
            else:  # a role ends where a word does
                apart = "\\ " if shown and part[:1].isalnum() else ""
                shown += apart + self._prose(part, seen)
        return shown

    def _code(self, code: str) -> str:
        target = self._names.get(re.sub(r"\(.*\)$", "", code))
        return f":py:obj:`{code} <{target}>`" if target else f"``{code}``"

    def _prose(self, text: str, seen: set[str]) -> str:
        text = re.sub(r"([\\*|])", r"\\\1", text)
        text = re.sub(r"_(?=\W|$)", r"\\_", text)
        return citations.cite(text, ":ref:`{text} <{key}>`", seen)


def linked(annotations: str, home: str) -> str:
    """Names of ours in annotations as the reference has them, those of the function's own module first."""
    names = {n.dotted.rpartition(".")[2]: n.dotted for n in public_names.names()}
    names |= {n.dotted.rpartition(".")[2]: n.dotted for n in public_names.names() if n.home == home}
    names = {short: dotted for short, dotted in names.items() if short[0].isupper()}
    return re.sub(r"(?<![.\w\"])[A-Z]\w+\b(?!\")", lambda m: names.get(m[0], m[0]), annotations)


def signature(app: Sphinx, what: str, name: str, value: Any, *_: Any) -> tuple[str, str] | None:
    """As the source has it: annotations by their names."""
    if what not in ("function", "method", "class"):
        return None
    if (
        what == "class"
        and not hasattr(value, "__dataclass_fields__")
        and public_names.is_made(value.__doc__ or "")
    ):
        return "", ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return None
    kept = [p for p in found.parameters.values() if p.name != "self" and not p.name.startswith("_")]
    shown = [p if p.default is p.empty else p.replace(default=_Shown(p.default)) for p in kept]
    shown = [p.replace(annotation=_Written(p.annotation)) for p in shown]
    hidden = found.replace(parameters=shown, return_annotation=_Written(found.return_annotation))
    home = value.__module__.split(".")[1]
    text, _, result = linked(str(hidden), home).rpartition(" -> ")
    return (text, result if what != "class" else "") if text else (result, "")


class _Shown:
    """A default as readers know it."""

    def __init__(self, value: Any) -> None:
        self.text = f"<{value.__name__}>" if inspect.isroutine(value) else repr(value).replace("'", '"')

    def __repr__(self) -> str:
        return self.text


class _Written:
    """An annotation without the quotes around it."""

    def __new__(cls, value: Any) -> Any:
        return super().__new__(cls) if isinstance(value, str) else value

    def __init__(self, value: str) -> None:
        self.text = value.strip("\"'")

    def __repr__(self) -> str:
        return self.text


# --- generated pages -----------------------------------------------------------------------------


def own_doc(module: ModuleType) -> str:
    """The docstring of a module's file: a module that can be called shows its function's."""
    return str(vars(module).get("__doc__") or "")


def api_page(home: str, names: list[public_names.Name]) -> str:
    """The page of one module, in reStructuredText."""
    module = public_names.modules()[home]
    title = f"rdquant.{home}"
    lines = [f"``{title}``", "=" * (len(title) + 4), ""]
    about = inspect.cleandoc(own_doc(module))
    lines += [Docstrings()._line(line, set()) for line in about.split("\n")] + [""]
    if home in public_names.CALLABLE:
        lines += [f"The function ``rdquant.{home}.{home}`` is called as ``rdquant.{home}(…)``.", ""]
    for kind, heading in (
        ("function", "Functions"),
        ("class", "Classes"),
        ("exception", "Exceptions"),
        ("data", "Constants"),
    ):
        of_kind = sorted((n for n in names if n.kind == kind), key=lambda n: n.dotted.lower())
        if not of_kind:
            continue
        lines += [heading, "-" * len(heading), ""]
        for name in of_kind:
            lines += constant(name) if kind == "data" else [f".. auto{kind}:: {name.dotted}"]
            lines += ["   :members:"] if kind == "class" else []
            lines += [""]
    return "\n".join(lines)


def constant(name: public_names.Name) -> list[str]:
    value = f"{{{', '.join(map(repr, name.value))}}}" if isinstance(name.value, dict) else repr(name.value)
    about = public_names.about_data(name)
    shown = [] if len(value) > 300 else [f"   :value: {value}"]
    lines = [Docstrings()._line(line, set()) for line in about.split("\n")]
    return [f".. py:data:: {name.dotted}", *shown, "", *(f"   {line}" for line in lines)]


def write_api(folder: Path) -> None:
    by_home: dict[str, list[public_names.Name]] = {}
    for name in public_names.names():
        by_home.setdefault(name.home, []).append(name)
    for home, names in by_home.items():
        write_changed(folder / f"{home}.rst", api_page(home, names))
    summary = []
    for home, names in by_home.items():
        links = ", ".join(f"{{py:obj}}`~{n.dotted}`" for n in names if n.dotted.count(".") == 1)
        about = own_doc(public_names.modules()[home]).strip().split("\n")[0]
        summary += [f"[`rdquant.{home}`](api/{home}.rst)", f": {about} {links}", ""]
    write_changed(folder / "summary.txt", "\n".join(summary))


def write_command_line(path: Path) -> None:
    """One section for each command, from what the command line itself knows."""
    root: Any = typer.main.get_command(command_line)
    lines = [
        "# Command line",
        "",
        f"{root.help} Exit codes: 0 done, 1 the work failed, 2 the command line is wrong, 130 interrupted.",
        "",
    ]
    lines += ["| command | does |", "|---|---|"]
    for name, command in root.commands.items():
        lines.append(f"| [`rdquant {name}`](#{name}) | {first_sentence(coded(command.help))} |")
    for name, command in root.commands.items():
        if isinstance(command, Command):
            command.complete()
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [
            "",
            f"({name})=",
            f"## {name}",
            "",
            "```text",
            f"rdquant {name} {usage}",
            "```",
            "",
            coded(command.help),
            "",
        ]
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record:
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for group, records in groups.items():
            lines += [
                f"| {group} | |",
                "|---|---|",
                *(f"| `{cell(n)}` | {cell(coded(t))} |" for n, t in records),
                "",
            ]
        example = (
            plain(getattr(command, "epilog", "") or "").removeprefix("Example: ").removeprefix("Example:")
        )
        if example:
            lines += ["```text", *(line.strip() for line in example.split("\n") if line.strip()), "```"]
    write_changed(path, "\n".join(lines) + "\n")


def plain(text: str | None) -> str:
    """Help without the terminal's markup."""
    return re.sub(r"\[/?[a-z ]+\]|\x08", "", inspect.cleandoc(text or "")).strip()


def coded(text: str | None) -> str:
    """`plain`, with options as code, which breaks no hyphens and turns none into dashes."""
    return re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"`\g<0>`", plain(text))


def first_sentence(text: str) -> str:
    """Without its full stop; a name such as `report.html` does not end it."""
    return cell(re.split(r"\.(?=\s|$)", text, maxsplit=1)[0])


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def copy_notebooks(folder: Path) -> None:
    """The notebooks as tutorials; studies that they cite are named in full."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        seen: set[str] = set()
        for part in notebook["cells"]:
            if part["cell_type"] == "markdown":
                text = citations.cite("".join(part["source"]), "[{text}](../bibliography.md#{key})", seen)
                part["source"] = text.splitlines(keepends=True)
        write_changed(folder / path.name, json.dumps(notebook, ensure_ascii=False, indent=1) + "\n")


def generate(app: Sphinx) -> None:
    docs = Path(app.srcdir)
    write_api(docs / "reference" / "api")
    write_command_line(docs / "reference" / "command-line.md")
    copy_notebooks(docs / "tutorials")


def name_studies(app: Sphinx, page: str, content: list[str]) -> None:
    """Studies that a page of ours cites are named in full where they are first mentioned."""
    if page == "bibliography" or page.startswith(("tutorials/0", "reference/api")):
        return
    up = "../" * page.count("/")
    if page == "benchmarks":  # what lies outside the site is named, not linked
        content[0] = re.sub(r"\[([^]]+)\]\(\.\./([^)]+)\)", r"`\2`", content[0])
    blocks = re.split(r"(^```.*?^```$)", content[0], flags=re.MULTILINE | re.DOTALL)
    seen: set[str] = set()
    link = f"[{{text}}]({up}bibliography.md#{{key}})"
    content[0] = "".join(b if b.startswith("```") else citations.cite(b, link, seen) for b in blocks)


# --- directives ----------------------------------------------------------------------------------


class HeaderText(SphinxDirective):
    """The text of a C++ header: the block of `///` lines before its namespace, paragraphs and laid out parts."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        path = ROOT / "cpp" / self.arguments[0]
        self.env.note_dependency(str(path))
        lines = header_text(path)
        found: list[nodes.Node] = []
        for block in re.split(r"\n\s*\n", "\n".join(lines)):
            if block.startswith("    "):
                if found and isinstance(found[-1], nodes.literal_block):
                    text = found.pop().astext() + "\n\n" + inspect.cleandoc(block)
                else:
                    text = inspect.cleandoc("\n" + block)
                found.append(nodes.literal_block(text, text, language="text"))
            else:
                words = re.split(r"`([^`]+)`", " ".join(block.split()))
                parts = [nodes.literal(w, w) if i % 2 else nodes.Text(w) for i, w in enumerate(words)]
                found.append(nodes.paragraph("", "", *parts))
        return found


def header_text(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    blocks = re.findall(r"((?:^///.*\n)+)(?=namespace )", text, re.MULTILINE)
    if not blocks:
        raise ValueError(f"{path}: no /// text before a namespace")
    return [line.removeprefix("///").removeprefix(" ") for line in blocks[0].splitlines()]


class Drawing(SphinxDirective):
    """A drawing of `drawings` by name, as SVG within the page, so that it follows the theme's colours."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(drawings.__file__)
        svg = drawings.DRAWINGS[self.arguments[0]]()
        return [nodes.raw("", f'<figure class="drawing">{svg}</figure>', format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", generate)
    app.connect("source-read", name_studies)
    app.connect("autodoc-process-docstring", Docstrings(), priority=100)
    app.connect("autodoc-process-signature", signature)
    app.add_directive("header-text", HeaderText)
    app.add_directive("drawing", Drawing)
    return {"parallel_read_safe": True}
