"""What the documents say is run, counted and followed: a document that is not true does not pass."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import typer.main

import rdquant
import run_notebooks
import test_architecture
from rdquant.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted(
    p
    for p in [*ROOT.glob("*.md"), *ROOT.glob("[a-z]*/**/*.md")]
    if p.relative_to(ROOT).parts[0] not in ("build", "dist")
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COMMAND: Any = typer.main.get_command(app)


def names(paths: list[Path]) -> list[str]:
    return [p.relative_to(ROOT).as_posix() for p in paths]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# --- README --------------------------------------------------------------------------------------


def test_the_readme_has_code() -> None:
    assert blocks("python")
    assert len(blocks("sh")) == 2, "two commands: one for the demo, one for the tests"


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_the_readmes_python_runs(code: str, tmp_path: Path) -> None:
    """And every file that it names is there afterwards."""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert run.returncode == 0, run.stderr
    named = re.findall(r"[\w./]+\.(?:rdq|onnx|html)\b", code)
    assert named
    assert [name for name in named if not (tmp_path / name).is_file()] == []


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def subcommands() -> dict[str, Any]:
    return dict(COMMAND.commands)


def written_commands() -> list[list[str]]:
    """Every `rdquant …` of the README, from code blocks and from running text, as words."""
    found = re.findall(r"`(rdquant [^`\n]+)`", README)
    found += [
        part
        for block in blocks("sh")
        for part in re.split(r"&&|\n", block)
        if part.strip().startswith("rdquant ")
    ]
    return [shlex.split(text)[1:] for text in found]


def test_the_readme_names_every_command() -> None:
    assert {words[0] for words in written_commands()} - {"COMMAND"} == set(subcommands())


@pytest.mark.parametrize("words", [w for w in written_commands() if w[0] != "COMMAND"], ids=" ".join)
def test_written_options_exist(words: list[str]) -> None:
    known = {option for parameter in subcommands()[words[0]].params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known


def test_json_is_offered_by_every_command() -> None:
    for command in subcommands().values():
        assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_exit_codes_are_those_of_the_help() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "rdquant", "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    said = re.search(r"Exit codes: [\w ,]+", " ".join(run.stdout.split()))
    assert said is not None
    assert said[0] in " ".join(README.split())


@pytest.mark.parametrize("isa", ["baseline", "nonsense"])
def test_the_variable_for_kernels_is_read(isa: str) -> None:
    code = "from rdquant import _core; print(_core.isa())"
    environment = os.environ | {"RDQUANT_ISA": isa}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    if isa == "nonsense":
        assert "allowed are baseline, avx2, avx512" in run.stderr
        assert "(`baseline`, `avx2`, `avx512`)" in README
    else:
        assert run.stdout.strip() == isa


def test_ci_runs_the_readmes_tests() -> None:
    """Options that only change what pytest prints are free; further calls run some files in another environment."""
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip("no .ci/run here")
    (wanted,) = [b.split("&&")[1].strip() for b in blocks("sh") if "pytest" in b]
    lines = [re.sub(r"(?:^|\s)#.*", "", line) for line in script.read_text(encoding="utf-8").splitlines()]
    calls = [m[1] for line in lines if (m := re.search(r"(?:^|[\s/\"'])(pytest\b[^&|;>\"']*)", line))]
    calls = [call for call in calls if not re.match(r"pytest[-=\[.]", call)]
    assert calls, "it never calls pytest"
    printing = ("-q", "-v", "--quiet", "--verbose")
    runs = [[w for w in c.split() if w not in printing and not w.startswith("--durations")] for c in calls]
    assert wanted.split() in runs
    others = [word for run in runs if run != wanted.split() for word in run if word not in wanted.split()]
    assert [word for word in others if not (ROOT / word).is_file()] == []


# --- notebooks -----------------------------------------------------------------------------------


def read(path: str) -> Any:
    return nbformat.read(ROOT / path, as_version=4)


def of_code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[tuple[list[str], list[str]]]:
    """Of each output its kinds and, without the figures, the words of its text; kinds alone where the machine decides."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {"text": output.get("text", "")})
        text = "" if "machine" in cell.metadata.get("tags", []) else data.get("text/plain", "")
        found.append((sorted(data), sorted(set(re.findall(r"[^\W\d]{2,}", text)))))
    return found


@pytest.mark.parametrize("name", names(NOTEBOOKS))
def test_notebooks_show_what_they_give(name: str, tmp_path: Path) -> None:
    notebook = read(name)
    if any("import torch" in cell.source for cell in notebook.cells):
        pytest.importorskip("torch", reason="no PyTorch here: pip install 'rdquant[train]'")
    stored = {cell.id: shown(cell) for cell in of_code(notebook)}
    given = {cell.id: shown(cell) for cell in of_code(run_notebooks.execute(notebook, tmp_path, timeout=120))}
    assert stored == given


@pytest.mark.parametrize("name", names(NOTEBOOKS))
def test_stored_outputs_are_of_the_code_that_stands_there(name: str) -> None:
    """Whole, small, and without traces of the run or of the machine, which `MACHINE_PATHS` looks for below."""
    notebook = read(name)
    assert notebook.metadata.rdquant.code == run_notebooks.digest(notebook), "run notebooks/run_notebooks.py"
    assert (ROOT / name).stat().st_size < 300_000
    outputs = [output for cell in of_code(notebook) for output in cell.outputs]
    assert [o for o in outputs if "image/png" in o.get("data", {})], "no figure is shown"
    assert not [o for o in outputs if o.output_type in ("stream", "error")]
    assert not [o for o in outputs if re.search(r"\b0x[0-9a-f]{6}", str(o.get("data", {}).get("text/plain")))]
    assert all(cell.execution_count is None for cell in of_code(notebook))


def test_a_changed_notebook_is_found() -> None:
    notebook = read(names(NOTEBOOKS)[0])
    stored = run_notebooks.digest(notebook)
    notebook.cells[0].source += " Words are free to change."
    assert run_notebooks.digest(notebook) == stored
    of_code(notebook)[-1].source += "  # so is nothing else"
    assert run_notebooks.digest(notebook) != stored


@pytest.mark.parametrize("name", names(NOTEBOOKS))
def test_notebooks_hold_no_logic(name: str) -> None:
    logic = (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Try)
    for cell in of_code(read(name)):
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, logic)]


def test_notebooks_are_numbered() -> None:
    numbers = [int(p.name[:2]) for p in NOTEBOOKS if p.name[2] == "-"]
    assert len(set(numbers)) == len(NOTEBOOKS)
    assert numbers[0] == 1
    assert len(NOTEBOOKS) >= 2
    for path in NOTEBOOKS:
        first = read(f"notebooks/{path.name}").cells[0].source.splitlines()[0]
        assert re.fullmatch(rf"# {path.name[:2]} · .*\?", first), "each asks one question"


# --- all documents -------------------------------------------------------------------------------


WHEN_BUILT = re.compile(
    r"docs/reference/(api/.*|command-line\.md)"
)  # the site's; test_docs follows links to it


def leads_somewhere(target: Path) -> bool:
    path = Path(os.path.normpath(target))
    if path.is_relative_to(ROOT / "docs" / "tutorials") and path.suffix == ".ipynb":
        path = ROOT / "notebooks" / path.name  # which the build of the site copies
    return path.exists() or bool(WHEN_BUILT.fullmatch(os.path.relpath(path, ROOT)))


@pytest.mark.parametrize("name", names(DOCUMENTS))
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = [t.partition("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    assert [t for t in targets if t and not leads_somewhere((ROOT / name).parent / t)] == []


@pytest.mark.parametrize("name", names(DOCUMENTS + NOTEBOOKS))
def test_no_path_of_one_machine(name: str) -> None:
    assert not test_architecture.MACHINE_PATHS.search((ROOT / name).read_text(encoding="utf-8"))


def test_files_named_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    touched = re.findall(r"`((?:python|cpp|tests|benchmarks|tools)/[\w./-]+)`", text)
    assert touched
    assert [path for path in touched if not (ROOT / path).exists()] == []


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert next(name for name in sections if name != "Unreleased") == rdquant.__version__


@pytest.mark.parametrize(
    ("title", "drawn"),
    [("C++ part", test_architecture.CPP_PARTS), ("Python module", test_architecture.PYTHON_PARTS)],
)
def test_the_map_shows_the_arrows_that_are_enforced(title: str, drawn: dict[str, str]) -> None:
    text = (ROOT / "cpp" / "README.md").read_text(encoding="utf-8")
    table = re.search(rf"^\| {re.escape(title)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None
    rows = [
        [cell.strip().replace("`", "") for cell in line.split("|")[1:3]] for line in table[1].splitlines()
    ]
    assert {part: set(uses.replace(",", "").split()) - {"–"} for part, uses in rows} == {
        part: set(uses.split()) for part, uses in drawn.items()
    }


@pytest.mark.parametrize("name", rdquant.__all__)
def test_public_names_are_described(name: str) -> None:
    value = getattr(rdquant, name)
    described = (value.__doc__ or "").strip()
    assert described
    assert not described.startswith(f"{name}("), "dataclasses' own text describes nothing"
