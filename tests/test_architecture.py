"""The codebase as a test subject: an arrow of dependency that the tables do not draw does not exist."""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import rdquant
from rdquant import _core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "rdquant"
CPP = ROOT / "cpp"

# C++ part -> the parts whose headers it may include. A row names only rows above it: there can be no cycle.
CPP_PARTS = {
    "core": "",
    "linalg": "core",
    "stats": "core linalg",
    "quant": "core",
    "entropy": "core",
    "codec": "core linalg stats quant entropy",
    "graph": "core",
    "program": "core graph",
    "runtime": "core graph program",
    "train": "core",
    "calibrate": "core linalg codec",
}
# Python module or package -> those that it may import, by the same rule. A part may import its own submodule
# of _core and those of the parts it may import; `machine` asks _core for the instruction set.
PYTHON_PARTS = {
    "errors": "",
    "_arrays": "errors",
    "_files": "errors",
    "machine": "errors",
    "stats": "errors _arrays",
    "quant": "errors _arrays",
    "entropy": "errors _arrays",
    "codec": "errors _arrays _files quant entropy",
    "graph": "errors _arrays codec",
    "runtime": "errors _arrays graph",
    "data": "errors _arrays",
    "detection": "errors data",
    "metrics": "errors _arrays graph runtime data detection",
    "calibrate": "errors _arrays quant codec graph runtime",
    "ptq": "errors _arrays graph runtime data detection metrics calibrate",
    "compression": "errors _arrays quant entropy codec graph runtime data metrics calibrate",
    "report": "errors _arrays _files stats metrics",
    "profile": "errors _arrays _files machine graph runtime data report",
    "sweep": "errors _arrays machine stats quant entropy codec graph runtime data metrics report",
    "train": "errors _arrays _files quant entropy codec",
    "demo": "errors _arrays machine stats quant entropy codec graph runtime data metrics report sweep",
    "cli": "errors _arrays _files machine stats quant entropy codec graph runtime data metrics ptq compression report "
    "profile sweep train demo",
}
# A module that is run belongs to a part without being in its package.
PRIVATE = {"__main__": "cli"}
ISA_SUFFIXES = ("_avx2", "_avx512", "_avx512vpopcntdq", "_avx512vnni", "_avx512vbmi")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

CPP_SOURCES = sorted(p for p in CPP.rglob("*") if p.suffix in (".cpp", ".hpp", ".inl"))
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON_FILES = MODULES + [p for d in ("tests", "benchmarks") for p in sorted((ROOT / d).rglob("*.py"))]


def names(paths: list[Path]) -> list[str]:
    return [p.relative_to(ROOT).as_posix() for p in paths]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("table", [CPP_PARTS, PYTHON_PARTS], ids=["C++", "Python"])
def test_the_drawing_has_one_direction(table: dict[str, str]) -> None:
    above: set[str] = set()
    for part, allowed in table.items():
        assert set(allowed.split()) <= above, f"{part} may only point at rows above it"
        above.add(part)


def includes(path: Path) -> list[tuple[str, str]]:
    """(bracket, name) of every #include."""
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', path.read_text(encoding="utf-8"), re.MULTILINE)


def cpp_part(path: Path) -> str | None:
    """The part a C++ file belongs to; None for bindings, which may include every part."""
    where = path.relative_to(CPP).parts
    if where[0] == "include":
        return where[2]
    return where[1] if where[0] == "src" else None


@pytest.mark.parametrize("name", names(CPP_SOURCES))
def test_cpp_includes_follow_the_drawing(name: str) -> None:
    path = ROOT / name
    part = cpp_part(path)
    assert part is None or part in CPP_PARTS, f"{part} is not in the table: draw it"
    for bracket, target in includes(path):
        if bracket == "<":
            continue
        if not target.startswith("rdquant/"):
            here = path.parent if part is None else CPP / "src"
            assert (here / target).is_file(), f'"{target}" is not a file below {here.relative_to(ROOT)}'
            assert part is None or target.split("/")[0] == part, f'"{target}" is private to another part'
            continue
        other = target.split("/")[1]
        allowed = CPP_PARTS if part is None else {part, *CPP_PARTS[part].split()}
        assert other in allowed, f"{part} must not include {target}"


@pytest.mark.parametrize("name", names([p for p in CPP_SOURCES if cpp_part(p)]))
def test_third_party_headers_stay_in_cpp_files(name: str) -> None:
    path = ROOT / name
    brackets = {target for bracket, target in includes(path) if bracket == "<"}
    assert not {t for t in brackets if t.startswith(("pybind11/", "Python.h"))}, "the core knows no Python"
    if path.suffix != ".cpp":
        private = "src" in path.relative_to(CPP).parts
        foreign = {t for t in brackets if not re.fullmatch(r"[a-z0-9_]+", t)}
        foreign -= {t for t in foreign if private and t.endswith("intrin.h")}
        if path.parent == CPP / "src" / "runtime" / "native" / "onednn":
            foreign -= {t for t in foreign if t.startswith("oneapi/dnnl/")}
        assert not foreign, "only the standard library may be included here"


def test_onednn_is_known_to_its_folder_only() -> None:
    home = CPP / "src" / "runtime" / "native" / "onednn"
    foreign = [
        name
        for name in names([p for p in CPP_SOURCES if p.parent != home])
        if any("dnnl" in target for _, target in includes(ROOT / name))
    ]
    assert not foreign


@pytest.mark.parametrize("name", names([p for p in CPP_SOURCES if cpp_part(p)]))
def test_the_core_neither_prints_nor_aborts(name: str) -> None:
    code = re.sub(r'//[^\n]*|"(?:\\.|[^"\\])*"', "", (ROOT / name).read_text(encoding="utf-8"))
    found = re.findall(
        r"std::c(?:out|err|log)\b|\bf?printf\s*\(|\babort\s*\(|\bexit\s*\(|\bassert\s*\(", code
    )
    assert not found


@pytest.mark.parametrize("name", names([p for p in CPP_SOURCES if p.suffix == ".cpp"]))
def test_files_are_named_by_the_instructions_they_need(name: str) -> None:
    path = ROOT / name
    suffix = next((s for s in ISA_SUFFIXES if path.stem.endswith(s)), None)
    if suffix is None:
        wide = re.findall(r"\b(?:_mm256|_mm512|__m256|__m512)\w*", path.read_text(encoding="utf-8"))
        assert not wide, f"wide vectors belong in a file called *{' or *'.join(ISA_SUFFIXES)}.cpp"
    else:
        stem = path.stem.removesuffix(suffix)
        plain = [path.with_name(f"{stem}{end}.cpp") for end in ("", "_baseline")]
        assert any(p.is_file() for p in plain), "a kernel for one instruction set needs a plain one beside it"


def python_part(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return PRIVATE.get(first, first)


def imports(path: Path) -> Iterator[str]:
    """Dotted names below `rdquant` that a module imports, those inside functions included."""
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "rdquant":
                    yield alias.name.partition(".")[2]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                parts = [*base, *(node.module.split(".") if node.module else [])]
            elif node.module and node.module.split(".")[0] == "rdquant":
                parts = node.module.split(".")[1:]
            else:
                continue
            for alias in node.names:
                yield ".".join([*parts, alias.name])


@pytest.mark.parametrize("name", names([p for p in MODULES if p != PACKAGE / "__init__.py"]))
def test_python_imports_follow_the_drawing(name: str) -> None:
    path = ROOT / name
    part = python_part(path)
    assert part in PYTHON_PARTS, f"{part} is not in the table: draw it"
    allowed = {part, *PYTHON_PARTS[part].split()}
    modules = {python_part(p) for p in MODULES} | set(PRIVATE)
    for target in imports(path):
        first, _, rest = target.partition(".")
        if first == "_core":
            submodule = rest.split(".")[0]
            own = submodule in allowed or (part == "machine" and not submodule)
            assert own, f"{part} must not use _core.{submodule}"
        elif first in modules:  # else a name that the package itself defines, as __version__
            assert PRIVATE.get(first, first) in allowed, f"{part} must not import {target}"


def test_the_compiled_core_is_used_by_thin_modules_only() -> None:
    users = {python_part(p) for p in MODULES for t in imports(p) if t.split(".")[0] == "_core"}
    assert users <= {
        "machine",
        "stats",
        "quant",
        "entropy",
        "codec",
        "graph",
        "runtime",
        "train",
        "calibrate",
    }


@pytest.mark.parametrize("name", names(CPP_SOURCES + PYTHON_FILES))
def test_files_are_short(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_FILE_LINES


@pytest.mark.parametrize("name", names(PYTHON_FILES))
def test_functions_are_short(name: str) -> None:
    for node in ast.walk(tree(ROOT / name)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]  # a docstring may be as long as its subject needs
            described = ast.get_docstring(node) is not None
            lines = (node.end_lineno or 0) - node.lineno + 1
            lines -= (first.end_lineno or 0) - first.lineno + 1 if described else 0
            assert lines <= MAX_FUNCTION_LINES, f"{node.name} has {lines} lines"


def stub_names(path: Path) -> set[str]:
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname}
    return {n for n in found if not n.startswith("_")}


SUBMODULES = {n: m for n, m in vars(_core).items() if isinstance(m, types.ModuleType)}


@pytest.mark.parametrize("name", ["__init__", *sorted(SUBMODULES)])
def test_stubs_name_what_the_core_has(name: str) -> None:
    module = SUBMODULES.get(name, _core)
    public = {n for n in dir(module) if not n.startswith("_")}
    assert stub_names(PACKAGE / "_core" / f"{name}.pyi") == public


def test_every_stub_has_its_module() -> None:
    stubs = {p.stem for p in (PACKAGE / "_core").glob("*.pyi")} - {"__init__"}
    assert stubs == set(SUBMODULES)


def test_versions_agree() -> None:
    project = re.search(
        r'^version = "([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    cmake = re.search(
        r"project\(rdquant VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    )
    assert project is not None
    assert cmake is not None
    assert {project[1], cmake[1], rdquant.__version__} == {_core.version}


def test_public_names_exist_once() -> None:
    assert len(set(rdquant.__all__)) == len(rdquant.__all__)
    assert set(rdquant.__all__) <= set(dir(rdquant))


MACHINE_PATHS = re.compile(r"/(?:work|root|home|tmp)/[a-z]")


@pytest.mark.parametrize(
    "name", names(CPP_SOURCES + [p for p in PYTHON_FILES if p != Path(__file__).resolve()])
)
def test_no_path_of_one_machine(name: str) -> None:
    assert not MACHINE_PATHS.search((ROOT / name).read_text(encoding="utf-8"))
