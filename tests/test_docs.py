"""The documentation: docstrings of every public name say what they must; the site is whole and its code runs."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

import citations
import code_breaks
import docstring_rule
import drawings
import file_example
import page_code
import public_names
import rdquant
import site_check
import site_pages
import test_arguments
from rdquant.cli import app

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

# --- docstrings ----------------------------------------------------------------------------------


def refusing() -> set[Callable[..., Any]]:
    """Functions and classes that `test_arguments` calls with wrong arguments: they all raise InvalidArgument."""
    called = [function for function, _ in test_arguments.cases().values()]
    plain = [getattr(f, "__func__", f) for f in called]
    return {f if hasattr(f, "__qualname__") else f.__wrapped__ for f in plain}


def test_docstrings_give_arguments_shapes_units_errors_and_source() -> None:
    functions = refusing()
    names = public_names.names()
    assert len(names) > 150
    offences = [line for name in names for line in docstring_rule.offences(name, functions)]
    assert not offences, f"{len(offences)} offences:\n" + "\n".join(offences)


def test_all_names_that_need_a_source_exist() -> None:
    known = {name.dotted for name in public_names.names()}
    missing = [
        dotted
        for dotted in docstring_rule.WITH_SOURCE
        if dotted not in known and dotted.rpartition(".")[0] not in known
    ]
    if "rdquant.train.PruneThenQuantize" not in known:  # without PyTorch
        missing = [dotted for dotted in missing if not dotted.startswith("rdquant.train.")]
    assert missing == []


def undescribed(x: float, counts: list[int]) -> float:
    """A number."""
    if x < 0:
        raise test_arguments.RdquantError("x: expected 0 or more")
    return x


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("", ["a docstring"]),
        ("A number.", ["arguments x, counts", "error RdquantError", "units"]),
        ("`x` for `counts`, in nats. Raises RdquantError.", []),
    ],
)
def test_the_rule_finds_what_is_missing(text: str, complaints: list[str]) -> None:
    assert docstring_rule.lacks(undescribed, text, set()) == complaints


def test_constants_are_described() -> None:
    data = [name for name in public_names.names() if name.kind == "data"]
    assert data
    assert [name.dotted for name in data if not public_names.about_data(name)] == []


# --- code in the pages ---------------------------------------------------------------------------

PAGES = sorted(p for p in DOCS.rglob("*.md") if page_code.blocks(p))
RUN = [p for p in PAGES if {b.language for b in page_code.blocks(p)} & {"python", "sh"}]


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def needs_torch(page: Path) -> None:
    if "import torch" in page.read_text(encoding="utf-8"):
        pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")


@pytest.mark.parametrize("page", RUN, ids=name)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    needs_torch(page)
    command = [sys.executable, "-W", "error::FutureWarning", page_code.__file__, str(page)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_that_does_not_run_names_what_exists(page: Path) -> None:
    needs_torch(page)
    unknown = []
    for block in page_code.blocks(page):
        if block.language in ("py", "python"):
            unknown += page_code.unknown_names(block.code)
        else:
            for words in page_code.commands(block.code):
                unknown += page_code.unknown_options(words)
    assert unknown == []


def test_no_code_is_passed_over() -> None:
    """All code is in blocks that run or are looked up; what else stands in blocks is no code of ours."""
    passed = []
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        if (
            page.parent.name == "api" or page.name == "command-line.md"
        ):  # written by the build from the program
            continue
        text = page.read_text(encoding="utf-8")
        for language, body in re.findall(r"^```([^\s`]*)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            looks_like_code = re.search(
                r"^(?:import |from \w+ import |rdquant [a-z]|pip |rdq\.)", body, re.MULTILINE
            )
            if language not in ("python", "py", "sh", "shell") and (language.isalpha() or looks_like_code):
                passed.append(f"{page.relative_to(ROOT)}: {language or 'no language'}: {body[:40]!r}")
    assert passed == []


def test_unknown_names_and_options_are_found() -> None:
    code = (
        "import rdquant as rdq\nfrom rdquant.train import nothing\nrdq.compres(1)\nrdq.compress(1, level=3)"
    )
    assert page_code.unknown_names(code) == ["rdquant.train.nothing", "rdq.compres", "rdq.compress(level=…)"]
    assert page_code.unknown_options(["rdquant", "info", "m.onnx", "--jsn"]) == ["--jsn"]
    assert page_code.unknown_options(["rdquant", "compres"]) == ["compres"]


def test_extras_and_presets_named_in_pages_exist() -> None:
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    presets = {p["name"] for p in json.loads((ROOT / "CMakePresets.json").read_text())["configurePresets"]}
    text = "\n".join(p.read_text(encoding="utf-8") for p in DOCS.rglob("*.md"))
    assert set(re.findall(r"'\.\[(\w+)\]'", text)) <= extras
    assert set(re.findall(r"--preset (\w+)", text)) <= presets


# --- the file format -----------------------------------------------------------------------------


def test_the_command_line_page_names_choices_and_defaults(tmp_path: Path) -> None:
    page = tmp_path / "command-line.md"
    site_pages.write_command_line(page)
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"\{(?:presets|metrics|families|backends)\}", text) == []
    for choice in (*rdquant.data.PRESETS, *rdquant.runtime.BACKENDS):
        assert choice in text
    assert "(default:" in text
    overview = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("| [")]
    assert len(overview) == len(get_command(app).commands)  # type: ignore[attr-defined]
    assert all(re.search(r"\w \|$", line) for line in overview)
    assert "report.html from the stored results of a study |" in text


def test_the_example_of_the_format_is_the_file_that_is_written(tmp_path: Path) -> None:
    page = file_example.PAGE.read_text(encoding="utf-8")
    data = file_example.write(tmp_path / "tiny.rdq")
    assert file_example.bytes_of(page) == data, "run: python docs/_ext/file_example.py --write"
    rows, tensors = file_example.explain(data)
    assert file_example.table(rows) in page, "run: python docs/_ext/file_example.py --write"
    file = rdquant.CompressedFile(data)
    assert set(tensors) == {"w", "b"}
    for tensor, values in tensors.items():
        np.testing.assert_array_equal(file.tensor(tensor), values)


def test_numbers_of_the_format_page_are_those_of_the_file() -> None:
    page = file_example.PAGE.read_text(encoding="utf-8")
    shown = page.partition("Decoded, W is")[2].partition("```\n")[2].partition("```")[0]
    matrix = np.array([[float(v) for v in line.split()] for line in shown.strip().splitlines()], np.float32)
    _, tensors = file_example.explain(file_example.bytes_of(page))
    np.testing.assert_array_equal(matrix, tensors["w"])


# --- the site ------------------------------------------------------------------------------------


def test_the_site_is_whole(tmp_path: Path) -> None:
    """Built without a warning, notebooks aside; links lead somewhere, two clicks reach every page, nothing is fetched."""
    pytest.importorskip("sphinx", reason="no Sphinx here: pip install 'rdquant[docs]'")
    pytest.importorskip("myst_nb", reason="no myst-nb here: pip install 'rdquant[docs]'")
    out = tmp_path / "site"
    options = ["-W", "--keep-going", "-q", "-E", "-b", "html", "-D", "nb_execution_mode=off"]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    assert site_check.offences(out) == []


def test_the_check_of_the_site_finds_faults(tmp_path: Path) -> None:
    pages = {
        "index.html": '<article><a href="a.html">a</a><script src="https://example.org/x.js"></script></article>',
        "a.html": '<article><a href="b.html#no">b</a><a href="gone.html">gone</a></article>',
        "b.html": '<article><a href="c.html">c</a></article>',
        "c.html": "<article></article>",
    }
    for page, text in pages.items():
        (tmp_path / page).write_text(text)
    assert site_check.offences(tmp_path) == [
        "index.html: fetches https://example.org/x.js",
        "a.html: b.html#no leads nowhere",
        "a.html: gone.html leads nowhere",
        "c.html: not reached in two clicks",
    ]


def test_signatures_have_the_choices_of_arguments() -> None:
    shown = site_pages.signature(None, "function", "rdquant.compress", rdquant.compress)  # type: ignore[arg-type]
    assert shown is not None
    assert "range: float | Literal['max'] | None = None" in shown[0]
    assert shown[1].endswith("CompressionResult")


def test_code_may_break_after_its_signs_and_nowhere_else() -> None:
    page = '<p>a.b <span class="pre">rdquant.compress_to_size(bits=0.5,</span> <span class="pre">--max-loss</span></p>'
    page += "<strong>values</strong> -- an array"
    assert code_breaks.breakable(page) == (
        '<p>a.b <span class="pre">rdquant.<wbr>compress_<wbr>to_<wbr>size(bits=<wbr>0.5,</span> '
        '<span class="pre"><span class="whole">--max-</span><wbr><span class="whole">loss</span></span></p>'
        "<strong>values</strong> \N{EN DASH} an array"
    )


def test_drawings_name_folders_that_exist() -> None:
    text = "".join(draw() for draw in drawings.DRAWINGS.values())
    folders = set(re.findall(r"src/[\w/]+", text))
    assert len(folders) > 10
    assert [folder for folder in folders if not (ROOT / "cpp" / folder).is_dir()] == []


def texts_of_users() -> dict[str, str]:
    """What users read where no link leads to the bibliography: docstrings, help of commands, notebooks."""
    found = {f"module {name}": module.__doc__ or "" for name, module in public_names.modules().items()}
    for name in public_names.names():
        if name.kind == "data":  # which help() does not show
            continue
        found[name.dotted] = name.value.__doc__ or ""
        if inspect.isclass(name.value):
            for member, function, _ in public_names.members(name.value):
                found[f"{name.dotted}.{member}"] = function.__doc__ or ""
    for command in get_command(app).commands.values():  # type: ignore[attr-defined]
        options = [getattr(option, "help", None) or "" for option in command.params]
        found[f"rdquant {command.name}"] = "\n".join([command.help or "", *options])
    for path in ROOT.glob("notebooks/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return found


def test_studies_are_named_in_full_where_users_read_of_them() -> None:
    texts = texts_of_users()
    assert len([text for text in texts.values() if citations.KEY.search(text)]) > 40
    wrong = [f"{place}: {key}" for place, text in texts.items() for key in citations.unnamed(text)]
    assert wrong == []


def test_studies_without_a_name_are_found() -> None:
    title = citations.TITLES["thesis 004"]
    assert citations.unnamed("As in thesis 004 and Paper 003.") == ["thesis 004", "paper 003"]
    assert citations.unnamed(f"As in thesis 004.\n\n    Thesis 004: {title}.\n") == []
    assert citations.unnamed(f"Thesis 004 ({title}) has it.") == []
    assert citations.cite(f"Thesis 004 ({title}) has it.", "<{text}>") == f"<{title} (thesis 004)> has it."


def test_every_study_that_is_cited_has_an_entry() -> None:
    bibliography = (DOCS / "bibliography.md").read_text(encoding="utf-8")
    files = [
        *ROOT.glob("python/**/*.py"),
        *ROOT.glob("cpp/**/*.[hc]pp"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("notebooks/*.*"),
    ]
    cited = {
        m.lower()
        for f in files
        for m in re.findall(r"\b(?:[Pp]aper|[Tt]hesis) \d{3}\b", f.read_text("utf-8"))
    }
    assert cited
    assert cited <= set(citations.TITLES)
    assert all(f"({citations.anchor(key)})=" in bibliography for key in citations.TITLES)
