"""The console as a process: a script on a pipe, a person at a terminal, the thread that waits for either."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ioc.console.terminal import Worker
from tests.ioc.commands.test_commands_serving import COMMAND, ROOT

START_SECONDS = 20.0
SITE = """\
[site]
prefix = "LAB"
[server]
interfaces = ["127.0.0.1"]
[[device]]
name = "HV1"
type = "caen-dt55xx"
address = "tcp://127.0.0.1:23"
simulated = true
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


@pytest.mark.parametrize("from_file", [False, True])
def test_GIVEN_commands_on_standard_input_WHEN_they_end_THEN_the_server_ends(
    site: Path, tmp_path: Path, from_file: bool
) -> None:
    script = tmp_path / "script"
    script.write_text("put LAB:HV1:CH00:VSET 40\nget LAB:HV1:CH00:VSET:RBV\nraw HV1 BDNAME")
    with script.open() as lines:
        source: dict[str, Any] = {"stdin": lines} if from_file else {"input": script.read_text()}
        done = subprocess.run(
            [*COMMAND, "console", str(site), "--port", "0"],
            capture_output=True, text=True, cwd=ROOT, timeout=START_SECONDS, check=True, **source,
        )  # fmt: skip
    first, second, third = done.stdout.splitlines()
    assert first.startswith("LAB:HV1:CH00:VSET = 40.0 V")
    assert second.startswith("LAB:HV1:CH00:VSET:RBV = 40.0 V")
    assert third == "BDNAME = DT5533E"
    assert "LAB:HV1:CH00:VSET: 0 -> 40 by" in done.stderr
    assert "Traceback" not in done.stderr


def test_GIVEN_a_script_WHEN_a_command_of_it_fails_THEN_the_rest_is_done_and_the_status_is_1(site: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "console", str(site), "--port", "0"],
        input="get NIX\ndbl LAB:IOC:LAG\n", capture_output=True, text=True, cwd=ROOT, timeout=START_SECONDS,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == "LAB:IOC:LAG\n"
    assert "there is no PV NIX; dbl lists them" in done.stderr.splitlines()


class Person:
    """Somebody at a terminal: types, and reads what appears."""

    def __init__(self, site: Path) -> None:
        self.master, slave = pty.openpty()
        self.mode = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [*COMMAND, "console", str(site), "--port", "0"],
            stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, env=os.environ | {"TERM": "dumb"},
            start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.master, text.encode())

    def read_until(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.seen)):
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode()
        return match

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


@contextmanager
def person(site: Path) -> Iterator[Person]:
    made = Person(site)
    try:
        made.read_until(r"help lists the commands")
        made.read_until(r"LAB> ")
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("way", ["quit", "Ctrl-D", "SIGINT"])
def test_GIVEN_a_person_at_a_terminal_WHEN_the_server_is_ended_THEN_the_terminal_is_as_before(
    site: Path, way: str
) -> None:
    with person(site) as there:
        if way.startswith("SIG"):
            there.process.send_signal(getattr(signal, way))
        else:
            there.type({"quit": "quit\n", "Ctrl-D": "\x04"}[way])
        assert there.process.wait(10.0) == 0
        assert termios.tcgetattr(there.master) == there.mode


def test_GIVEN_a_person_at_a_terminal_WHEN_commands_are_typed_THEN_names_are_completed_and_writes_confirmed(
    site: Path,
) -> None:
    with person(site) as there:
        there.type("get LAB:IOC:HEARTB\t\n")
        beats = int(there.read_until(r"LAB:IOC:HEARTBEAT = (\d+)")[1])
        there.type("watch LAB:IOC:HEARTBEAT\n")
        there.read_until(rf"HEARTBEAT = {beats + 2} ")  # the server goes on while a line is being waited for
        there.type("\n")
        there.read_until("LAB> ")
        there.type("raw HV1 VSET 0 = 42\n")
        there.read_until(r"write 42\? \[y/N\] ")
        there.type("y\n")
        there.read_until(r"VSET of channel 0 = 42\.0 V")


async def test_GIVEN_a_worker_WHEN_nobody_waits_any_more_THEN_it_goes_on_with_the_next_job() -> None:
    worker = Worker("test worker")
    try:
        waiting = asyncio.create_task(worker.do(lambda: time.sleep(0.05)))
        await asyncio.sleep(0)
        waiting.cancel()
        assert await worker.do(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await worker.do(lambda: 1 / 0)
    finally:
        worker.end()
