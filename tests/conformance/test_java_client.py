"""The Channel Access library of Phoebus and other Java programs, org.epics:jca, as a client."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.debian import CACHE
from tests.softioc import ServerProcess

JCA = "2.4.11"
"""That of current Phoebus."""

_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
_HERE = Path(__file__).parent


def _run(*command: str, seconds: float = 120.0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


@pytest.fixture(scope="session")
def java_put() -> str:
    """Class path of the program that puts, built once on this computer for every Java that runs here later."""
    missing = [tool for tool in ("java", "javac", "mvn") if shutil.which(tool) is None]
    if missing:
        unavailable(f"no {', '.join(missing)} here: the Java client is not tested")
    source = _HERE / "JavaPut.java"
    folder = CACHE / f"jca-{JCA}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    library = folder / f"jca-{JCA}.jar"
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "jca.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "JavaPut.class").exists():
            try:
                _run("mvn", "-q", "-B", _COPY, f"-Dartifact=org.epics:jca:{JCA}", f"-DoutputDirectory={folder}")
                _run("javac", "--release", "11", "-cp", str(library), "-d", str(folder), str(source))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                unavailable(f"the Java client cannot be built: {error}")
    return os.pathsep.join((str(folder), str(library)))


@pytest.mark.timeout(200)
def test_GIVEN_the_java_client_WHEN_a_put_with_completion_is_refused_THEN_its_listener_is_called_at_once(
    server: ServerProcess, java_put: str
) -> None:
    host, _, port = server.address.partition(":")
    options = {"addr_list": host, "auto_addr_list": "false", "server_port": port or str(server.port)}
    outcomes = _run(
        "java",
        *(f"-Dcom.cosylab.epics.caj.CAJContext.{name}={value}" for name, value in options.items()),
        *("-cp", java_put, "JavaPut"),
        *("T:AO", "1.5", "T:AO", "abc", "T:MBBI", "NO SUCH STATE", "T:AO", "2.5"),
        seconds=60.0,
    )
    assert outcomes.split() == ["NORMAL", "PUTFAIL", "PUTFAIL", "NORMAL"]
