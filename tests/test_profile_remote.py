"""`rdquant profile --host`: over a real sshd on loopback, as the user who runs the tests."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import commands
import rdquant as rdq
from rdquant.demo import digits_model
from rdquant.errors import InvalidArgument, RdquantError
from rdquant.profile.remote import profile_on
from rdquant.profile.store import Stored

_SETTINGS = """ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """How ssh reaches the server of these tests."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here: apt-get install openssh-server")
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(_SETTINGS.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
    server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "config"], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if server.poll() is not None:
                pytest.fail(f"sshd: {server.stderr and server.stderr.read()}")
            time.sleep(0.05)
        options = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR"}
        settings = " ".join(f"-o {name}={value}" for name, value in options.items())
        command = f"ssh -F none -p {port} -i {folder / 'user'} {settings}"
        login = [*shlex.split(command), f"{getpass.getuser()}@127.0.0.1", "true"]
        tried = subprocess.run(login, capture_output=True, text=True, timeout=60, check=False)
        if tried.returncode:  # an account that is locked, say
            pytest.skip(f"sshd lets {getpass.getuser()} not in here: {tried.stderr.strip()}")
        yield command
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def host() -> str:
    return f"{getpass.getuser()}@127.0.0.1"


@pytest.fixture(scope="module")
def there() -> str:
    """How rdquant is called on the host, which knows nothing of this process's environment."""
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(filter(None, sys.path)))} {sys.executable} -m rdquant"


def test_models_go_there_and_the_result_comes_back(tmp_path: Path, ssh: str, host: str, there: str) -> None:
    model = rdq.load(digits_model())
    onnx.save(
        model.proto,
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.weights",
        size_threshold=0,
    )
    (tmp_path / "b").mkdir()
    shutil.copy(digits_model(), tmp_path / "b" / "net.onnx")  # of the same name
    x = np.random.default_rng(0).random((12, 1, 8, 8), np.float32)
    np.savez(tmp_path / "some data.npz", x=x, y=np.arange(12) % 10)
    options = [
        "--seconds",
        "0.02",
        "--processes",
        "1",
        "--threads",
        "1",
        "--data",
        tmp_path / "some data.npz",
    ]
    models = [tmp_path / "net.onnx", tmp_path / "b" / "net.onnx"]
    reach = ["--host", host, "--ssh", ssh, "--remote-rdquant", there]
    said = commands.run("profile", *models, "-o", tmp_path / "out", *options, *reach, "--json")
    kept = json.loads((tmp_path / "out" / "profile.json").read_text("utf-8"))
    assert len(kept["rows"]) == 2
    assert all(row["top1"] is not None and row["complete"] for row in kept["rows"])
    assert kept["rows"][1]["max_difference"] == 0
    assert kept["runs"][0]["host"] == host
    assert kept["runs"][0]["command"].startswith("rdquant profile ")
    assert "--host" in kept["runs"][0]["command"]
    assert json.loads(said.stdout)["rows"][0]["p50_ms"] > 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_what_is_there_goes_along(tmp_path: Path, ssh: str, host: str, there: str) -> None:
    words = ["digits.onnx", "--seconds", "0.02", "--processes", "1", "--mix"]
    calls = {"rdquant": there, "ssh": ssh}
    for threads in ("1", "2"):
        profile_on(
            host, {"digits.onnx": digits_model()}, [*words, "--threads", threads], tmp_path, threads, **calls
        )
    found = rdq.Profile.open(tmp_path, mix=True)
    assert [row["threads"] for row in found.rows] == [1, 2]
    assert [run["command"] for run in found.runs] == ["1", "2"]


def test_failures_are_told(tmp_path: Path, ssh: str, host: str, there: str) -> None:
    def run(words: list[str], rdquant: str = there, ssh: str = ssh) -> None:
        profile_on(host, {"digits.onnx": digits_model()}, words, tmp_path, "", rdquant=rdquant, ssh=ssh)

    with pytest.raises(RdquantError, match=r"no command 'no-rdquant'; install rdquant's wheel there"):
        run(["digits.onnx"], rdquant="no-rdquant")
    with pytest.raises(RdquantError, match=r"ended with 2"):
        run(["other.onnx"])
    with pytest.raises(RdquantError, match="ssh did not connect"):
        run([], ssh="ssh -F none -o BatchMode=yes -p 1")
    with pytest.raises(RdquantError, match="expected an archive of the result, got b'words"):
        run([], ssh="echo -n words")
    assert not (tmp_path / "profile.json").exists()


def test_without_a_connection(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="host: expected one as ssh takes it"):
        profile_on("-oProxyCommand=x", {}, [], tmp_path, "")
    found = rdq.profile(digits_model(), store=tmp_path / "other", seconds=0.02, processes=1)
    found.runs[0]["host"] = "pi@other"
    Stored(found.runs, found.rows, found.steps).write(tmp_path / "other")
    with pytest.raises(InvalidArgument, match="measured on pi@other, not on pi; choose another folder"):
        profile_on("pi", {}, [], tmp_path / "other", "")
    with pytest.raises(RdquantError, match="no-ssh: it does not start"):
        profile_on("pi", {}, [], tmp_path, "", ssh="no-ssh")
    told = commands.run("profile", digits_model(), "--ssh", "ssh -v", code=2)
    assert "--host, which is not given" in told.output
