"""``labioc run`` as a process, for measurements of a whole server: start, health, what it holds, end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ioc.services.supervision import address_file
from ioc.site.config import load_site
from labioc_pages.page import NotRunning, fetch
from tests.softioc import free_port

ROOT = Path(__file__).resolve().parents[1]
SUPPLY = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "simulated": True}
"""A simulated supply, as a device of a site file."""
COMMAND = (sys.executable, "-c", "from ioc.cli import main; raise SystemExit(main())")


def toml(value: Any) -> str:
    """Write a value of a site file; a table becomes an inline one."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def write_site(folder: Path, state: Path | None = None, **sections: Any) -> Path:
    """Write a site file for a server on the loopback interface that keeps its state in a folder."""
    path = folder / "site.toml"
    server = {"interfaces": ["127.0.0.1"], "state_dir": str(state or folder / "state")}
    whole = {"site": {"prefix": "LAB"}, "server": server} | sections
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in whole.items()))
    return path


@dataclass
class Served:
    """One server; ``log`` gets its JSON lines, ``before`` are words in front of the command."""

    site: Path
    log: Path
    port: int = field(default_factory=free_port)
    before: Sequence[str] = ()
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process; it may not serve yet."""
        with self.log.open("ab") as log:
            words = [*self.before, *COMMAND, "run", str(self.site), "--port", str(self.port), "--log", "json"]
            self.process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stderr=log)

    async def stop(self) -> None:
        """End it."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
            await self.process.wait()

    def page(self, path: str) -> str:
        """Return one of its pages. Raises NotRunning."""
        site = load_site(self.site)
        return fetch(address_file(site, Path(site.server.state_dir or "")), path, "IOC")[1].decode()

    async def health(self) -> str:
        """Return what it says of itself; a server that does not answer is none."""
        try:
            return await asyncio.to_thread(self.page, "/healthz")
        except NotRunning:
            return "not running"

    async def answers(self) -> None:
        """Wait until it serves its pages; it serves its PVs then."""
        while await self.health() == "not running":  # noqa: ASYNC110  another process raises no event
            await asyncio.sleep(0.05)

    async def until(self, wanted: str, seconds: float) -> float:
        """Wait until its health has these words, and return how long that took. Raises TimeoutError."""
        begun = time.monotonic()
        while wanted not in await self.health():
            if time.monotonic() - begun > seconds:
                raise TimeoutError(f"no {wanted!r} in {seconds:g} s: {await self.health()}")
            await asyncio.sleep(0.05)
        return time.monotonic() - begun

    async def metric(self, name: str) -> float:
        """Return the value of a metric, given without its prefix and with its labels."""
        start = f"labioc_ioc_{name} "
        page = await asyncio.to_thread(self.page, "/metrics")
        return float(next(line for line in page.splitlines() if line.startswith(start)).removeprefix(start))

    @property
    def proc(self) -> Path:
        """Its folder in /proc."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}")

    def memory(self) -> int:
        """Return its resident memory in kB."""
        return int((self.proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(os.listdir(self.proc / "fd"))

    def threads(self) -> int:
        """Return how many threads it has."""
        return int((self.proc / "status").read_text().partition("Threads:")[2].split()[0])

    def waited(self) -> float:
        """Return for how many seconds its main thread was ready and other programs had the processor."""
        return int((self.proc / "schedstat").read_text().split()[1]) / 1e9

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def unhandled(self) -> list[dict[str, Any]]:
        """Return the lines about errors that nothing was prepared for."""
        return [one for one in self.lines()
                if "exception" in one or one["logger"] == "asyncio" or one["level"] == "CRITICAL"]  # fmt: skip


@asynccontextmanager
async def served(folder: Path, state: Path | None = None, **sections: Any) -> AsyncIterator[Served]:
    """Run a server; it is started, and may not serve yet."""
    server = Served(write_site(folder, state, **sections), folder / "log")
    await server.start()
    try:
        yield server
        assert not server.unhandled(), server.unhandled()
    finally:
        await server.stop()


async def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition, and return how long that took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


def perform(*words: str) -> None:
    """Run a command. Raises CalledProcessError."""
    subprocess.run(words, check=True, capture_output=True, timeout=20)


def output_of(*words: str) -> str:
    """Return what a command prints. Raises CalledProcessError."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30, cwd=ROOT).stdout
