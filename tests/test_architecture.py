"""The codebase as a test subject: an arrow of dependency that the tables do not draw does not exist.

One test a rule, which lists all that break it.
"""

from __future__ import annotations

import ast
import re
import types
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import cpp_functions
import rdquant
from rdquant import _core

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "rdquant"
CPP = ROOT / "cpp"

# C++ part -> the parts whose headers it may include. A row names only rows above it: there can be no cycle.
CPP_PARTS = {
    "core": "",
    "simd": "core",
    "linalg": "core simd",
    "stats": "core simd linalg",
    "quant": "core simd",
    "entropy": "core simd",
    "codec": "core simd linalg stats quant entropy",
    "graph": "core",
    "program": "core graph",
    "emit": "core codec graph program",
    "runtime": "core simd graph program",
    "model": "core codec graph program runtime",
    "train": "core simd",
    "calibrate": "core linalg codec",
}
# Python module or package -> those that it may import, by the same rule. A part may import its own submodule
# of _core and those of the parts it may import; `machine` asks _core for the instruction set.
PYTHON_PARTS = {
    "errors": "",
    "_arrays": "errors",
    "_files": "errors",
    "_tables": "",
    "_cached": "",
    "machine": "errors",
    "stats": "errors _arrays _tables",
    "quant": "errors _arrays _cached _tables",
    "entropy": "errors _arrays",
    "codec": "errors _arrays _cached _files _tables quant entropy",
    "graph": "errors _arrays _cached _tables codec",
    "runtime": "errors _arrays _tables graph",
    "emit": "errors _files _tables graph runtime",
    "data": "errors _arrays _tables",
    "detection": "errors _arrays _tables data",
    "metrics": "errors _arrays _tables graph runtime data detection",
    "calibrate": "errors _arrays _tables quant codec graph runtime",
    "ptq": "errors _arrays _tables graph runtime data detection metrics calibrate",
    "compression": "errors _arrays _cached _files _tables quant entropy codec graph runtime data metrics calibrate",
    "report": "errors _arrays _files stats metrics",
    "profile": "errors _arrays _files _tables machine graph runtime data metrics report",
    "significance": "errors _arrays _files _tables quant codec graph runtime data detection metrics calibrate ptq compression "
    "report",
    "sweep": "errors _arrays _tables machine stats quant entropy codec graph runtime data metrics compression report",
    "train": "errors _arrays _files _tables quant entropy codec graph data calibrate significance",
    "demo": "errors _arrays _files machine stats quant entropy codec graph runtime data metrics compression report sweep",
    "mcu": "errors _tables graph runtime emit data ptq",
    "cli": "errors _arrays _files machine stats quant entropy codec graph runtime emit data metrics ptq mcu compression report "
    "profile significance sweep train demo",
}
# Submodules of _core without a Python part of their name → the part that they belong to.
CORE_HOMES = {"model": "graph", "program": "graph"}
# A module that is run belongs to a part without being in its package.
PRIVATE = {"__main__": "cli"}
ISA_SUFFIXES = (
    "_avx2",
    "_avx512",
    "_avx512vpopcntdq",
    "_avx512vnni",
    "_avx512vbmi",
    "_avx512amx",
    "_dotprod",
)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_FOLDER_FILES = 400, 60, 25

CPP_SOURCES = sorted(p for p in CPP.rglob("*") if p.suffix in (".cpp", ".hpp", ".inl"))
CPP_TESTS = sorted(p for p in (ROOT / "tests" / "cpp").iterdir() if p.suffix in (".cpp", ".hpp"))
MODULES = sorted(PACKAGE.rglob("*.py"))
PYTHON_FILES = MODULES + [p for d in ("tests", "benchmarks") for p in sorted((ROOT / d).rglob("*.py"))]


def refuse(offenders: Iterable[str]) -> None:
    """Fails with all of them, one a line."""
    found = list(offenders)
    assert not found, "\n".join([f"{len(found)} offenders:", *found])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def code(path: Path) -> str:
    """C++ without comments and literals."""
    return cpp_functions.code_only(read(path), directives=True)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(read(path))


@pytest.mark.parametrize("table", [CPP_PARTS, PYTHON_PARTS], ids=["C++", "Python"])
def test_the_drawing_has_one_direction(table: dict[str, str]) -> None:
    above: set[str] = set()
    for part, allowed in table.items():
        assert set(allowed.split()) <= above, f"{part} may only point at rows above it"
        above.add(part)


def includes(path: Path) -> list[tuple[str, str]]:
    """(bracket, name) of every #include."""
    return re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', read(path), re.MULTILINE)


def cpp_part(path: Path) -> str | None:
    """The part a C++ file belongs to; None for bindings, which may include every part."""
    where = path.relative_to(CPP).parts
    if where[0] == "include":
        return where[2]
    return where[1] if where[0] == "src" else None


def wrong_include(part: str | None, path: Path, target: str) -> str | None:
    """What is wrong with one #include "target"."""
    if not target.startswith("rdquant/"):
        here = path.parent if part is None else CPP / "src"
        if not (here / target).is_file():
            return f"not a file below {name(here)}"
        # simd is for our kernels alone: it has private headers only
        own = {part, "simd"} if part and "simd" in CPP_PARTS[part].split() else {part}
        return None if part is None or target.split("/")[0] in own else "private to another part"
    allowed = set(CPP_PARTS) if part is None else {part, *CPP_PARTS[part].split()}
    return None if target.split("/")[1] in allowed else f"not among the parts that {part} may use"


def test_cpp_includes_follow_the_drawing() -> None:
    refuse(
        f"{name(p)}: {part} is not in the table: draw it"
        for p in CPP_SOURCES
        if (part := cpp_part(p)) is not None and part not in CPP_PARTS
    )
    refuse(
        f'{name(path)}: "{target}" is {wrong}'
        for path in CPP_SOURCES
        for bracket, target in includes(path)
        if bracket == '"' and (wrong := wrong_include(cpp_part(path), path, target))
    )


def foreign_headers(path: Path) -> Iterator[str]:
    """Headers in <> that are not the standard library's and do not belong into this file."""
    folders = path.relative_to(CPP).parts
    for bracket, target in includes(path):
        if bracket == "<" and not re.fullmatch(r"[a-z0-9_]+", target):
            if target.startswith(("pybind11/", "Python.h")):  # the core knows no Python
                yield target
            elif target.startswith(("oneapi/", "dnnl")):
                if folders[:4] != ("src", "runtime", "native", "onednn"):
                    yield target
            elif path.suffix != ".cpp" and not (
                folders[0] == "src" and target.endswith(("intrin.h", "arm_neon.h"))
            ):
                yield target


def test_third_party_headers_stay_in_their_files() -> None:
    refuse(f"{name(p)}: <{header}>" for p in CPP_SOURCES if cpp_part(p) for header in foreign_headers(p))


# What only some files of the core may do: what it looks like, where it belongs.
RESERVED = {
    "printing and aborting": (r"std::c(?:out|err|log)\b|\b(?:f?printf|abort|exit|assert)\s*\(", ()),
    "looking for instruction sets": (
        r"__builtin_cpu_\w+|\b__?(?:get_)?cpuid\w*|\bgetauxval\b",
        ("src/core/cpu.cpp",),
    ),
    "choosing kernels by instruction set": (  # else simd/dispatch.hpp; oneDNN's are held to the same set
        r"\bselected_(?:isa|cpu)\b|\bFeature::\w+",
        ("*/core/cpu.?pp", "src/simd/*", "src/runtime/kernels/*/kernels.cpp", "src/*/onednn/memory.cpp"),
    ),
    "intrinsics": (  # but the pause of a waiting loop
        r"\b\w+intrin\.h|\barm_neon\.h|\b_mm\d*_\w+|\b__m(?:128|256|512|mask)\w*|\b__builtin_ia32_(?!pause)\w+"
        r"|\bv\w+_[fsup](?:8|16|32|64)\b|\b(?:float|u?int|poly)\d+x\d+(?:x\d)?_t\b|\bsimd::native::",
        ("src/simd/*.inl", *(f"src/*{suffix}.cpp" for suffix in ISA_SUFFIXES)),
    ),
    "starting threads": (r"\bstd::(?:j?thread\b(?!::)|async\b)|\bpthread_create\b", ("src/core/worker.cpp",)),
}


@pytest.mark.parametrize("what", RESERVED)
def test_what_is_reserved_happens_where_it_belongs(what: str) -> None:
    pattern, places = RESERVED[what]
    refuse(
        f"{name(path)}:{code(path).count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path in CPP_SOURCES
        if cpp_part(path) and not any(fnmatch(name(path), f"cpp/{place}") for place in places)
        for match in re.finditer(pattern, code(path))
    )


def test_every_kernel_for_an_instruction_set_has_a_plain_one() -> None:
    leaves = [(p, p.stem.removesuffix(s)) for p in CPP_SOURCES for s in ISA_SUFFIXES if p.stem.endswith(s)]
    refuse(
        f"{name(p)}: no plain kernel beside it"
        for p, stem in leaves
        if not any(p.with_name(f"{stem}{end}.cpp").is_file() for end in ("", "_baseline"))
    )


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


def wrong_import(part: str, target: str, modules: set[str]) -> bool:
    allowed = {part, *PYTHON_PARTS[part].split()}
    first, _, rest = target.partition(".")
    if first == "_core":
        submodule = rest.split(".")[0]
        return CORE_HOMES.get(submodule, submodule) not in allowed and not (
            part == "machine" and not submodule
        )
    # Else a name that the package itself defines, as __version__.
    return first in modules and PRIVATE.get(first, first) not in allowed


def test_python_imports_follow_the_drawing() -> None:
    modules = {python_part(p) for p in MODULES} | set(PRIVATE)
    users = [p for p in MODULES if p != PACKAGE / "__init__.py"]
    refuse(
        f"{name(p)}: {python_part(p)} is not in the table: draw it"
        for p in users
        if python_part(p) not in PYTHON_PARTS
    )
    refuse(
        f"{name(path)}: {target}"
        for path in users
        for target in imports(path)
        if wrong_import(python_part(path), target, modules)
    )


def test_the_compiled_core_is_used_by_thin_modules_only() -> None:
    modules = [
        p for p in MODULES if p != PACKAGE / "__init__.py"
    ]  # which says what to do where it does not load
    users = {python_part(p) for p in modules for t in imports(p) if t.split(".")[0] == "_core"}
    allowed = "machine stats quant entropy codec graph runtime emit train calibrate"
    assert users <= set(allowed.split())


def test_files_are_short() -> None:
    lines = {p: read(p).count("\n") for p in CPP_SOURCES + PYTHON_FILES}
    refuse(f"{name(p)}: {n} lines" for p, n in lines.items() if n > MAX_FILE_LINES)


def test_folders_are_small() -> None:
    files = Counter(p.parent for d in ("src", "include") for p in (CPP / d).rglob("*") if p.is_file())
    refuse(f"{name(folder)}: {n} files" for folder, n in files.items() if n > MAX_FOLDER_FILES)


def python_functions(path: Path) -> Iterator[cpp_functions.Function]:
    """A docstring may be as long as its subject needs: it does not count."""
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            lines = (node.end_lineno or 0) - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= (first.end_lineno or 0) - first.lineno + 1
            yield cpp_functions.Function(node.name, node.lineno, lines)


def test_functions_are_short() -> None:
    found = [(p, f) for p in PYTHON_FILES for f in python_functions(p)]
    found += [(p, f) for p in CPP_SOURCES + CPP_TESTS for f in cpp_functions.functions(read(p))]
    refuse(f"{name(p)}:{f.line} {f.name} {f.lines}" for p, f in found if f.lines > MAX_FUNCTION_LINES)


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


def test_stubs_name_what_the_core_has() -> None:
    for stub, module in {"__init__": _core, **SUBMODULES}.items():
        public = {n for n in dir(module) if not n.startswith("_")}
        differing = stub_names(PACKAGE / "_core" / f"{stub}.pyi") ^ public
        refuse(f"{stub}.pyi: {n} is in {'the core' if n in public else 'the stub'} only" for n in differing)


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


def test_no_path_of_one_machine() -> None:
    own = Path(__file__).resolve()
    refuse(
        f"{name(path)}: {found.group()}"
        for path in CPP_SOURCES + CPP_TESTS + PYTHON_FILES
        if path != own and (found := MACHINE_PATHS.search(read(path)))
    )


def section(title: str) -> str:
    """A section of cpp/README.md, up to the next heading of its depth."""
    depth = title.split(" ")[0]
    _, found, rest = read(CPP / "README.md").partition(f"\n{title}\n")
    assert found, f"cpp/README.md has no section {title}"
    return re.split(rf"^#{{2,{len(depth)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_journeys_name_files_that_exist_once() -> None:
    journeys = re.split(r"^### (.+)$", section("## Three journeys"), flags=re.MULTILINE)[1:]
    assert len(journeys) == 6
    for title, text in zip(journeys[::2], journeys[1::2], strict=True):
        lines = [line for line in text.splitlines() if line[:1].isdigit()]
        files = [found[2] for line in lines if (found := re.match(r"(\d+)\. `([^`]+)`: ", line))]
        numbers = [int(line.partition(".")[0]) for line in lines]
        assert numbers == list(range(1, len(files) + 1)), f"{title}: numbers or lines without a file"
        refuse(f"{title}: {file} does not exist" for file in files if not (CPP / file).is_file())
        refuse(f"{title}: {file} is named {n} times" for file, n in Counter(files).items() if n > 1)


def test_every_room_is_in_the_table() -> None:
    named = re.findall(r"^\| `([^`]+)` \| .", section("## Rooms"), re.MULTILINE)
    rooms = {p.parent.relative_to(CPP).as_posix() for p in (CPP / "src").rglob("*") if p.is_file()}
    refuse(f"{room} is in the {'table' if room in named else 'tree'} only" for room in {*named} ^ rooms)
