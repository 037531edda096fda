"""Runs the notebooks and stores their outputs, after a change of their code: `python notebooks/run_notebooks.py [02 04 …]`.

What is stored is what a reader sees, and no more: no counts, times or other traces of the run, pictures without metadata.
`metadata.rdquant.code` is a digest of the code that the outputs are of; a test compares it. A cell with the tag `machine`
shows figures measured on the machine that ran it, which another run gives differently.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).resolve().parent


def digest(notebook: Any) -> str:
    """SHA-256 over the code of all cells in order."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def execute(notebook: Any, place: Path, timeout: int = 180) -> Any:
    """`notebook` with the outputs of this very Python, whatever kernels are installed; run in `place`, where all files go."""
    spec = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "rdquant",
        "language": "python",
    }
    kernel = place / "jupyter" / "kernels" / "rdquant-notebooks"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps(spec))
    settings = {"JUPYTER_PATH": str(place / "jupyter")}
    for variable in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR", "TMPDIR"):
        (place / variable).mkdir()
        settings[variable] = str(place / variable)
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name=kernel.name,
            resources={"metadata": {"path": str(place)}},
            record_timing=False,
        )
        return client.execute()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def strip(notebook: Any) -> None:
    """Leave of the outputs what a reader sees, and the digest of their code."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
            if "metadata" in output:
                output.metadata = {}
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = small(data["image/png"])
    kept = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = {
        "kernelspec": kept,
        "language_info": {"name": "python"},
        "rdquant": {"code": digest(notebook)},
    }


def small(picture: str) -> str:
    """A PNG in base64 with a palette of 256 colours and no metadata: less than half the size."""
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    packed = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return base64.b64encode(packed.getvalue()).decode()


def main(chosen: list[str]) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        if chosen and path.name[:2] not in chosen:
            continue
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as place:
            execute(notebook, Path(place))
        strip(notebook)
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
