"""What an installation without extras can do, and its messages for the rest: functions and commands in a process that finds
none of the optional packages."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import rdquant as rdq
from rdquant.cli import app
from rdquant.demo import digits_model
from rdquant.errors import EXTRAS

WORKS = [
    "assert (rdq.Session(onnx).run({'image': np.zeros((2, 1, 8, 8), np.float32)})['logits'].shape) == (2, 10)",
    "rdq.Session(rdq_file).run({'image': np.zeros((1, 1, 8, 8), np.float32)})",
    "rdq.Session(onnx).plan(); rdq.Session(onnx).profile()",
    "assert rdq.evaluate(onnx, npz)['images'] == 20",
    "rdq.metrics.precision([0, 1, 1], [0, 1, 0], 2)",
    "found = rdq.profile([onnx, rdq_file], npz, seconds=0.02, processes=1, store=folder); found.lines(); found.to_dict()",
    "rdq.open_dataset(npz)",
    "rdq.CompressedFile(rdq_file)",
    "q = rdq.Midtread.from_levels(bits=4); q.dequantize(q.quantize(np.linspace(-1, 1, 9)))",
    "rdq.parse_quantizers('midtread,deadzone:0.4,mulaw,minifloat:4/3')",
    "rdq.requantize({'w': np.linspace(-1, 1, 9, dtype=np.float32)}, rdq.Midtread.from_levels(bits=4))",
    "rdq.entropy([1, 1, 2]), rdq.conditional_entropy([1, 2, 1, 2]), rdq.float_entropy(np.ones(3, np.float32))",
    "rdq.moments(np.arange(9.0)), rdq.autocovariance(np.arange(9.0), 0, 2)",
    "rdq.fit(np.random.default_rng(0).normal(size=500), ['gaussian'])",
    "rdq.mutual_information(np.arange(64).reshape(8, 8).astype(np.float32))",
    "rdq.efficiency_score(0.8, 0.87, 0.1, 4)",
]
NEED = {
    "rdq.load(onnx)": "compress",
    "rdq.Session(onnx).model": "compress",
    "rdq.Session(text)": "compress",
    "rdq.fit(onnx)": "compress",
    "rdq.compress(onnx, out)": "compress",
    "rdq.compress_to_size(onnx, out, bits_per_weight=3)": "compress",
    "rdq.compress_within(onnx, out, 'digits')": "compress",
    "rdq.decompress(rdq_file)": "compress",
    "rdq.rate(onnx, 'midtread')": "compress",
    "rdq.quantize_static(onnx, npz)": "compress",
    "rdq.quantize_dynamic(onnx)": "compress",
    "rdq.emit_c(onnx, out)": "compress",
    "rdq.fit_to_mcu(onnx, npz, out, max_flash=9)": "compress",
    "rdq.significance(onnx, npz)": "compress",
    "rdq.allocate": "compress",
    "rdq.calibrate": "compress",
    "rdq.best_preprocess(onnx, pictures)": "pictures",
    "rdq.ImageFolder(pictures, 'imagenet', 8).get([0])": "pictures",
    "rdq.fit(np.arange(99.0), ['gaussian']).to_pandas()": "pictures",
    "rdq.profile.Profile.open(folder).to_pandas()": "pictures",
    "rdq.profile.Profile.open(folder).report(out)": "pictures",
    "rdq.profile.Profile.open(folder).plot()": "pictures",
    "from rdquant.report import write_report": "pictures",
    "rdq.Digits('test')": "study",
    "rdq.sweep(onnx, npz)": "study",
    "rdq.demo.run_demo(out)": "study",
}
COMMANDS = {
    "--help": "",
    "run {onnx} --data {npz}": "",
    "run {rdq_file} --data {npz} --json": "",
    "profile {onnx} {rdq_file} -o {folder}/p --seconds 0.02 --processes 1": "",
    "profile {onnx} -o {folder}/q --seconds 0.02 --processes 1 --json": "",
    "info {onnx}": "compress",
    "fit {onnx}": "compress",
    "compress {onnx} -o {out}": "compress",
    "compress-to-size {onnx} -o {out} --bits-per-weight 3": "compress",
    "compress-within {onnx} -o {out} --data {npz}": "compress",
    "decompress {rdq_file} -o {out}": "compress",
    "quantize {onnx} --mode dynamic -o {out}": "compress",
    "emit-c {onnx} -o {out}": "compress",
    "fit-to-mcu {onnx} --calibration {npz} --max-flash 9K -o {out}": "compress",
    "significance {onnx} --data {npz} --store {out}": "compress",
    "allocate {onnx} {folder} --mean-bits 3": "compress",
    "qat {onnx} {folder} --mean-bits 3 --data {npz} -o {out}": "compress",
    "train {script} -o {out}": "train",
    "run {onnx} --data {pictures}": "pictures",
    "run {onnx} --data digits": "study",
    "sweep {onnx} --data {npz} -o {out}": "study",
    "demo -o {out}": "study",
    "report {folder}": "study",
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each said, and the names used in it."""
    folder = tmp_path_factory.mktemp("lean")
    names = {name: str(folder / file) for name, file in _FILES.items()} | {"folder": str(folder)}
    names["onnx"] = str(digits_model())
    rdq.compress(digits_model(), names["rdq_file"], bits=6)
    random = np.random.default_rng(0)
    np.savez(names["npz"], x=random.random((20, 1, 8, 8), np.float32), y=np.arange(20) % 10)
    Path(names["text"]).write_text("no model")
    Path(names["script"]).write_text("")
    for label in "ab":
        (folder / "pictures" / label).mkdir(parents=True)
        (folder / "pictures" / label / "one.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    commands = [line.format(**names).split() for line in COMMANDS]
    order = {"names": names, "calls": [*WORKS, *NEED], "commands": commands}
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("without_packages.py"))],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout.splitlines()[-1])
    return found | {line: found[" ".join(words)] for line, words in zip(COMMANDS, commands, strict=True)}


_FILES = {
    "rdq_file": "a.rdq",
    "npz": "d.npz",
    "text": "t.onnx",
    "script": "s.py",
    "pictures": "pictures",
    "out": "out",
}


def test_numpy_alone_opens_runs_and_profiles(outcome: dict[str, str]) -> None:
    assert {line: outcome[line] for line in WORKS} == dict.fromkeys(WORKS, "done")
    working = [line for line, extra in COMMANDS.items() if not extra]
    assert {line: outcome[line] for line in working} == dict.fromkeys(working, "done")
    assert outcome["loaded"] == ""


@pytest.mark.parametrize("call", [*NEED, *(line for line, extra in COMMANDS.items() if extra)])
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    outcome: dict[str, str], call: str
) -> None:
    extra, said = {**NEED, **COMMANDS}[call], " ".join(outcome[call].split())
    wanted = {"train": "pip install '.[train]'"}.get(extra, f"pip install 'rdquant[{extra}]'")
    assert wanted in said
    assert "Traceback" not in said
    if call in NEED:
        assert said.startswith("MissingPackage: ")


def test_the_tables_name_every_function_and_command() -> None:
    named = " ".join([*WORKS, *NEED])
    functions = [name for name in rdq.__all__ if name[0].islower()]
    assert [name for name in functions if f"rdq.{name}" not in named] == ["prune_quantize"]  # needs PyTorch
    commands = {
        (command.name or command.callback.__name__).replace("_", "-") for command in app.registered_commands
    }  # type: ignore[union-attr]
    assert commands - {line.split()[0] for line in COMMANDS} == set()


def test_every_optional_package_has_its_extra(root: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    brought = {"PIL": "pillow", "sklearn": "scikit-learn"}
    for module, extra in EXTRAS.items():
        assert any(line.startswith(f"{brought.get(module, module)}>=") for line in extras[extra])
    assert {line.partition(">=")[0] for line in project["dependencies"]} == {"numpy", "tqdm"}


def test_optional_packages_are_imported_where_their_lack_is_told(root: Path) -> None:
    def bare(node: ast.AST) -> Iterator[int]:
        for child in ast.iter_child_nodes(node):
            told = isinstance(child, ast.With) and ast.unparse(child.items[0]) == "needed()"
            if told or (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
                continue
            names = [alias.name for alias in child.names] if isinstance(child, ast.Import) else []
            names += [child.module or ""] if isinstance(child, ast.ImportFrom) and not child.level else []
            yield from (child.lineno for name in names if name.partition(".")[0] in EXTRAS)  # type: ignore[attr-defined]
            yield from bare(child)

    files = sorted((root / "python" / "rdquant").rglob("*.py"))
    found = [f"{path}:{line}" for path in files for line in bare(ast.parse(path.read_text("utf-8")))]
    assert not found


def test_the_command_profile_needs_numpy_alone(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['typer'] = sys.modules['rich'] = sys.modules['pandas'] = sys.modules['onnx'] = None\n"
        "from rdquant.__main__ import main; main()"
    )

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    short = ["--seconds", "0.02", "--processes", "1", "--threads", "1"]
    done = run("profile", digits_model(), "-o", tmp_path, *short)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("digits.onnx  1 thread, batch 1 ")
    assert "pip install 'rdquant[" in done.stderr
    assert rdq.Profile.open(tmp_path).rows[0]["complete"]
    again = run("profile", digits_model(), "-o", tmp_path, *short, "--json", "--mix")
    assert json.loads(again.stdout)["models"] == ["digits.onnx"]
    other = run("compress", digits_model())
    assert other.returncode == 2
    assert "pip install 'rdquant[cli]'" in other.stderr
    missing = run("profile", tmp_path / "no.onnx")
    assert (missing.returncode, "there is no such file" in missing.stderr) == (1, True)
