"""Servers under test as processes of their own; the C softIoc of epicscorelibs is the oracle.

``start_softioc`` runs it (without QSRV and pvAccess) on a free port of the loopback interface. The same
handle serves any other server that prints ``ready PORT`` and ends when its standard input is closed.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.machines import needs

ROOT = Path(__file__).resolve().parents[1]

Databases = Sequence[tuple[Path, Mapping[str, str]]]

# Reads iocsh commands from standard input until it is closed.
_SOFTIOC = """
import json, sys
from epicscorelibs.ioc import dbCore, ioc, start_ioc
port, databases, acf = json.loads(sys.argv[1])
if acf:
    dbCore.asSetFilename(acf.encode())
start_ioc(dbs=[tuple(one) for one in databases])
print("ready", port, flush=True)
for line in sys.stdin:
    ioc(line.strip())
    print("done", flush=True)
"""


class ServerProcess:
    """A running server; ``address`` is host:port for UDP searches and TCP alike."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], deadline: float) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._collect, name=f"output of {name}", daemon=True)
        self._reader.start()
        try:
            self.port = int(self.wait_line("ready ", deadline).split()[1])
        except BaseException:
            self.kill()
            raise

    def _collect(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output.append(line.rstrip("\n"))
            self._lines.put(line)
        self._lines.put(None)

    def wait_line(self, start: str, deadline: float = 5.0) -> str:
        """The next line of output that begins with start."""
        while True:
            try:
                line = self._lines.get(timeout=deadline)
            except queue.Empty:
                raise TimeoutError(f"{self.name}: no line {start!r} in {deadline} s: {self.output}") from None
            if line is None:
                raise RuntimeError(f"{self.name} ended: {self.output}")
            if line.startswith(start):
                return line

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def ask(self, line: str, deadline: float = 5.0) -> list[str]:
        """Send one line (an iocsh command for the softIoc) and wait until it is done; what it says then."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.wait_line("done", deadline).split()

    def running(self) -> bool:
        """Whether the process still lives."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._process.send_signal(signal.SIGKILL)
        self._finish()

    def stop(self) -> None:
        """Close its standard input, which ends it; kill it when that takes more than 5 s. Again is harmless."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._finish()

    def _finish(self) -> None:
        self._process.wait(5)
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


# Each worker of pytest-xdist has a range of its own: between finding a port free and listening at it lies a while.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_HOW_MANY = 8_000 // _WORKERS
_LOWEST = 20_000 + _HOW_MANY * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = itertools.count(random.randrange(_HOW_MANY))


def free_port() -> int:
    """A port that is free for TCP and UDP on the loopback interface, and stays so until it is asked for by number.

    It lies below those that systems hand out by themselves (from 32768 on): one of these, free now, may be the
    near end of another connection before the server that it was meant for has started.
    """
    for number in itertools.islice(_PORTS, _HOW_MANY):
        port = _LOWEST + number % _HOW_MANY
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no port from {_LOWEST} on is free")


def start_softioc(
    databases: Databases, deadline: float = 60.0, port: int = 0, acf: Path | None = None
) -> ServerProcess:
    """Run the C softIoc with database files, each with its macros, and access security; port 0 takes a free one."""
    needs("epicscorelibs")
    port = port or free_port()
    dbs = [(str(path), ",".join(f"{k}={v}" for k, v in macros.items())) for path, macros in databases]
    environment = {
        "EPICS_CA_SERVER_PORT": str(port),
        "EPICS_CAS_INTF_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_BEACON_ADDR_LIST": "127.0.0.1",
        "EPICS_CAS_AUTO_BEACON_ADDR_LIST": "NO",
        "EPICS_CA_ADDR_LIST": "127.0.0.1",
        "EPICS_CA_AUTO_ADDR_LIST": "NO",
    }
    command = [sys.executable, "-c", _SOFTIOC, json.dumps([port, dbs, str(acf or "")])]
    return ServerProcess("softioc", command, environment, deadline)
