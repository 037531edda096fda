"""`rdquant profile` on another machine, over one connection of ssh: models go there, the result comes back."""

from __future__ import annotations

import io
import shlex
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import InvalidArgument, RdquantError
from .store import FILE, Stored

__all__ = ["profile_on"]

_FOLDER = "result"
_MISSING = 127  # a shell's exit code for a missing command
_LOST = 255  # ssh's exit code for a failed connection
# Models come as a tar archive on standard input, the result goes as one to standard output; all words go to standard error.
_SCRIPT = """d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT && tar -xf - -C "$d" && cd "$d" || exit 3
{command} </dev/null >&2
code=$?
if [ -f {folder}/{file} ]; then tar -cf - {folder}/{file}; fi
exit $code"""


def profile_on(
    host: str,
    files: Mapping[str, Path],
    words: Sequence[str],
    folder: Path,
    command: str,
    *,
    rdquant: str = "rdquant",
    ssh: str = "ssh",
) -> None:
    """Run `rdquant profile` on `host` and keep its results in `folder`, as if it had been measured there.

    Args:
        host: what ssh takes: user@name, ssh://user@name:port, or a name in its configuration.
        files: models and data by the names that they have there, folders whole; they are copied to a new folder of the host,
            which is removed afterwards.
        words: arguments of the command; they name files as `files` does.
        folder: what is there already goes along, so that only what is missing is measured.
        command: what is kept with the new results as the command that measured them.
        rdquant: how the command is called there, in words of its shell.
        ssh: how ssh is called here, with options.

    Raises InvalidArgument for a host that ssh would take for an option; RdquantError where the connection or the command
    fails; errors of stored results as `rdquant.profile`.
    """
    if not host or host.startswith("-"):
        raise InvalidArgument(f"host: expected one as ssh takes it, such as pi@raspberrypi, got {host!r}")
    before = Stored.read(folder).runs
    others = sorted({str(facts["host"]) for facts in before if facts.get("host") not in (None, host)})
    if others and "--mix" not in words:
        raise InvalidArgument(
            f"{folder / FILE}: measured on {', '.join(others)}, not on {host}; choose another folder, or allow it (--mix)"
        )
    known = len(before)
    order = f"{rdquant} {shlex.join(['profile', *words, '-o', _FOLDER])}"
    script = _SCRIPT.format(command=order, folder=_FOLDER, file=FILE)
    try:
        run = subprocess.run(
            [*shlex.split(ssh), "-T", "--", host, script],
            input=_packed(files, folder / FILE),
            stdout=subprocess.PIPE,
            check=False,
        )
    except OSError as error:
        raise RdquantError(f"{ssh}: it does not start: {error}") from error
    if not run.stdout:
        raise RdquantError(_failure(host, run.returncode, rdquant))
    folder.mkdir(parents=True, exist_ok=True)
    _unpack(host, run.stdout, folder)
    stored = Stored.read(folder)
    for facts in stored.runs[known:]:
        facts["command"], facts["host"] = command, host
    stored.write(folder)
    if run.returncode:
        raise RdquantError(
            f"{_failure(host, run.returncode, rdquant)}; what it had measured is kept in {folder}"
        )


def _failure(host: str, code: int, rdquant: str) -> str:
    if code == _LOST:
        return f"{host}: ssh did not connect, for the reason that it has given"
    if code == _MISSING:
        return (
            f"{host}: there is no command {rdquant!r}; install rdquant's wheel there, or say how it is called, such as "
            "--remote-rdquant venv/bin/rdquant (from the home folder: '~/venv/bin/rdquant')"
        )
    return f"{host}: rdquant profile ended with {code}, for the reason that it has given"


def _packed(files: Mapping[str, Path], result: Path) -> bytes:
    """Files and folders in one archive, and the result that is there."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in files.items():
            tar.add(path.resolve(), name)
            for part in _external(path):
                tar.add(path.parent / part, str(Path(name).parent / part))
        if result.is_file():
            tar.add(result, f"{_FOLDER}/{FILE}")
    return archive.getvalue()


def _external(path: Path) -> Iterator[str]:
    """Files that hold tensors of an ONNX model beside it."""
    if path.suffix != ".onnx":
        return
    from ..graph import can_load

    if can_load():
        from ..graph import read_structure

        tensors = read_structure(path).graph.initializer
        named = {e.value for tensor in tensors for e in tensor.external_data if e.key == "location"}
        yield from (
            name for name in sorted(named) if (path.parent / name).is_file()
        )  # not those within the file itself


def _unpack(host: str, archive: bytes, folder: Path) -> None:
    """Only the result is taken, whatever else the archive holds."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            held = tar.extractfile(f"{_FOLDER}/{FILE}")
            text = held.read() if held else b""
    except (tarfile.TarError, KeyError) as error:
        start = archive[:60]
        raise RdquantError(f"{host}: expected an archive of the result, got {start!r}") from error
    (folder / FILE).write_bytes(text)
