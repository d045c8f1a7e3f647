"""The console as a process: a script on a pipe, a person at a terminal, at a running server or at one of its own."""

from __future__ import annotations

import asyncio
import errno
import getpass
import logging
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from ioc.app import App
from ioc.console.server import MOST_CONSOLES, consoles, listen, user_at
from ioc.console.wire import connect, socket_path
from ioc.services.state import state_folder
from ioc.site.config import load_site
from tests.fair_time import until
from tests.ioc.app_rig import supply
from tests.ioc.commands.test_commands_serving import COMMAND, ROOT
from tests.ioc.commands.test_pv_commands import SITE

START_SECONDS = 20.0
WITHOUT_EDITOR = """
import sys
sys.modules["prompt_toolkit"] = None
from ioc.cli import main
raise SystemExit(main())
"""
_MOVES = re.compile(r"\x1b\[(?!3\dm)[0-9;?]*[A-Za-z]")
"""What is sent to a terminal beside text, but for colours."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE.format(folder=tmp_path / "state"))
    return path


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[App]:
    """Serve a site with consoles, as ``labioc run`` does."""
    site = load_site(str(path))
    folder = state_folder(site)
    app = App(site, port=0, folder=folder)
    try:
        await app.start()
        assert await app.wait_until_read(30.0)
        async with consoles(app, folder, asyncio.Event()):
            yield app
    finally:
        await app.stop()


class Person:
    """Somebody at a terminal: types, and reads what appears."""

    def __init__(self, words: list[str], editor: bool, errors: int | None = None) -> None:
        self.master, slave = pty.openpty()
        self.mode = termios.tcgetattr(slave)
        command = COMMAND if editor else [sys.executable, "-c", WITHOUT_EDITOR]
        terminal = {"TERM": "xterm" if editor else "dumb", "PROMPT_TOOLKIT_NO_CPR": "1"}
        self.process = subprocess.Popen(
            [*command, "console", *words],
            stdin=slave, stdout=slave, stderr=slave if errors is None else errors, cwd=ROOT,
            env=os.environ | terminal, start_new_session=True, preexec_fn=_have_terminal,  # noqa: PLW1509
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self.master, text.encode())

    def read_until(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, _MOVES.sub("", self.seen))):
            assert time.monotonic() < end, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode()
        return match

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


def _have_terminal() -> None:
    """Make standard input the controlling terminal, so that its Ctrl-C is a signal."""
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def person(*words: str, editor: bool = True, errors: int | None = None) -> Iterator[Person]:
    made = Person(list(words), editor, errors)
    try:
        made.read_until(r"help lists the commands")
        made.read_until("LAB>")
        yield made
    finally:
        made.close()


# ---- at a server of its own


def test_GIVEN_a_script_WHEN_it_ends_THEN_its_server_ends_and_a_command_that_failed_makes_the_status_1(
    site: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text("put LAB:HV1:CH00:VSET 40\nget NIX\nget LAB:HV1:CH00:VSET:RBV\nraw HV1 BDNAME")
    with script.open() as lines:
        done = subprocess.run(
            [*COMMAND, "console", "--serve", str(site), "--port", "0"],
            stdin=lines, capture_output=True, text=True, cwd=ROOT, timeout=START_SECONDS, check=False,
        )  # fmt: skip
    first, second, third = done.stdout.splitlines()
    assert first.startswith("LAB:HV1:CH00:VSET = 40.0 V")
    assert second.startswith("LAB:HV1:CH00:VSET:RBV = 40.0 V")
    assert third == "BDNAME = DT5533E"
    assert "LAB:HV1:CH00:VSET: 0 -> 40 by" in done.stderr
    assert "there is no PV NIX; dbl lists them" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("way", ["quit", "SIGTERM"])
def test_GIVEN_a_person_at_a_terminal_WHEN_the_console_is_ended_THEN_server_and_terminal_are_as_before(
    site: Path, way: str
) -> None:
    with person("--serve", str(site), "--port", "0") as there:
        assert socket_path(load_site(str(site)), site.parent / "state").exists()
        if way.startswith("SIG"):
            there.process.send_signal(getattr(signal, way))
        else:
            there.type("quit\r")
        status = there.process.wait(10.0)
        assert status == (128 + getattr(signal, way) if way.startswith("SIG") else 0)
        assert termios.tcgetattr(there.master) == there.mode
        assert not socket_path(load_site(str(site)), site.parent / "state").exists()


def test_GIVEN_a_console_that_is_killed_WHEN_it_has_started_a_server_THEN_that_ends_too(site: Path) -> None:
    path = socket_path(load_site(str(site)), site.parent / "state")
    with person("--serve", str(site), "--port", "0") as there:
        there.process.kill()
        end = time.monotonic() + START_SECONDS
        while path.exists():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_GIVEN_no_server_WHEN_a_console_is_asked_for_THEN_it_says_how_to_have_one(site: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "console", str(site)], capture_output=True, text=True, cwd=ROOT, timeout=START_SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"labioc: no server of LAB has a console at {site.parent}/state/LAB.IOC-console\n")
    assert "labioc console --serve SITE" in done.stderr


# ---- at a running server


@pytest.mark.parametrize("editor", [True, False])
async def test_GIVEN_a_running_server_WHEN_a_person_uses_a_console_THEN_ctrl_c_never_ends_the_server(
    site: Path, tmp_path: Path, editor: bool
) -> None:
    def use(errors: int) -> None:
        with person(str(site), editor=editor, errors=errors) as there:
            there.type("get LAB:IOC:HEARTB\t")
            there.read_until("HEARTBEAT")
            there.type("\r")
            beats = int(there.read_until(r"LAB:IOC:HEARTBEAT = (\d+)")[1])
            there.type("watch LAB:IOC:HEARTBEAT\r")
            there.read_until(rf"HEARTBEAT = {beats + 2} ")
            there.type("\x03")
            there.read_until("LAB>")
            there.type("put LAB:HV1:CH00:VSET 12\x03")
            there.read_until("LAB>")
            there.type("get LAB:HV1:CH00:VSET\r")
            there.read_until(r"VSET = 0\.0 V")
            there.type("set HV1.0 vset 5000\r")
            there.read_until(r"VSET 5000 V is above 4000 V")
            there.type("raw HV1 VSET 0 = 42\r")
            there.read_until(r"write 42\? \[y/N\]")
            there.type("y\r")
            there.read_until(r"VSET of channel 0 = 42\.0 V")
            there.type("stop HV1\r")
            there.read_until(r"\x1b\[33mLAB:HV1:DISABLE = DISABLED[\s\S]*LAB>")
            there.type("\x04")
            assert there.process.wait(10.0) == 0

    async with served(site) as app:
        with (tmp_path / "errors").open("w+") as errors:
            await asyncio.to_thread(use, errors.fileno())
            errors.seek(0)
            assert errors.read() == ""
        assert supply(app).model.channels[0].vset == 42.0
        who = f" {getpass.getuser()}@{socket.gethostname()} (127.0.0.1) "
        assert f"{who}LAB:HV1:DISABLE" in str(app.records["LAB:IOC:PUTS"].val)


async def test_GIVEN_a_running_server_WHEN_scripts_use_consoles_THEN_refusals_are_errors_and_the_server_goes_on(
    site: Path,
) -> None:
    async with served(site) as app:
        processes = [
            await asyncio.create_subprocess_exec(
                *COMMAND, "console", str(site), cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(2)
        ]  # fmt: skip
        script = b"put HV1:CH00:VSET 5000\nget LAB:IOC:ARMED\nquit\nput LAB:IOC:ARMED 0\n"
        for process in processes:
            out, err = await asyncio.wait_for(process.communicate(script), START_SECONDS)
            assert out.startswith(b"LAB:IOC:ARMED = ARMED")
            assert err == b"VSET 5000 V is above 4000 V (device VMAX)\n"
            assert process.returncode == 1
        assert app.statistics.armed


async def test_GIVEN_a_console_WHEN_the_server_ends_THEN_it_says_so(site: Path) -> None:
    async with served(site):
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "console", str(site), cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"dbl LAB:IOC:LAG\n")
        async with asyncio.timeout(START_SECONDS):
            assert await process.stdout.readline() == b"LAB:IOC:LAG\n"
    out, err = await asyncio.wait_for(process.communicate(b"dbl\n"), START_SECONDS)
    assert (out, err, process.returncode) == (b"", b"labioc: the server has ended\n", 1)


# ---- the socket


async def test_GIVEN_a_state_folder_WHEN_served_THEN_the_socket_has_its_rights_and_replaces_an_old_one(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = site.parent / "state"
    folder.mkdir()
    path = socket_path(load_site(str(site)), folder)
    for mode, expected in ((0o700, 0o600), (0o2775, 0o660), (0o755, 0o640)):
        folder.chmod(mode)
        path.unlink(missing_ok=True)
        path.write_text("a file that is no socket any more")
        async with served(site):
            found = path.stat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == expected
            if mode == 0o700:
                with caplog.at_level(logging.WARNING):
                    async with served(site):
                        assert "no console at" in caplog.text
                        assert "another server has one there" in caplog.text
                assert path.stat().st_ino == found.st_ino
        assert not path.exists()


def test_GIVEN_a_folder_of_a_group_that_is_not_ours_WHEN_listening_THEN_our_own_group_gets_no_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_permitted(*_: object) -> None:
        raise PermissionError

    tmp_path.chmod(0o775)
    monkeypatch.setattr("os.chown", not_permitted)
    path = tmp_path / "console"
    with closing(listen(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_GIVEN_a_put_under_way_WHEN_given_up_THEN_it_is_finished_and_the_console_says_so(
    site: Path,
) -> None:
    async with served(site) as app:
        reader, writer = await asyncio.open_unix_connection(
            sock=connect(socket_path(load_site(str(site)), site.parent / "state"))
        )
        assert b"hello" in await reader.readline()
        supply(app).faults.delay = 0.2
        writer.write(b'{"line": "put HV1:CH00:VSET 33"}\n')
        await until(lambda: bool(app.puts._queue.begun()), 5.0)
        writer.write(b'{"cancel": true}\n')
        assert b'{"err": "given up; a put that has begun is finished' in await reader.readline()
        assert await reader.readline() == b'{"done": true}\n'
        await until(lambda: app.records["LAB:HV1:CH00:VSET"].val == 33.0, 5.0)
        writer.close()


async def test_GIVEN_connections_WHEN_they_talk_nonsense_or_are_too_many_THEN_the_server_goes_on(site: Path) -> None:
    async with served(site):
        path = socket_path(load_site(str(site)), site.parent / "state")
        with connect(path) as sock:
            assert user_at(sock) == getpass.getuser()
        reader, writer = await asyncio.open_unix_connection(sock=connect(path))
        assert b"hello" in await reader.readline()
        writer.write(b'nonsense\n[1]\n{"cancel": 1}\n{"answer": 1}\n{"line": "dbl LAB:IOC:LAG"}\n')
        assert await reader.readline() == b'{"out": [["LAB:IOC:LAG", 0]]}\n'
        assert await reader.readline() == b'{"done": true}\n'
        writer.write(b"x" * (3 << 20))  # no line: given up
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), START_SECONDS)
        writer.close()
        many = [connect(path) for _ in range(MOST_CONSOLES + 5)]
        await until(lambda: _closed(many[-1]), 5.0)
        for sock in many:
            sock.close()


def _closed(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_GIVEN_no_descriptor_left_WHEN_a_console_connects_THEN_it_is_served_when_there_is_one_again(
    site: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ioc.console.server.PAUSE", 0.05)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")] * 2

    def scarce(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(sock)

    async with served(site):
        monkeypatch.setattr("socket.socket.accept", scarce)
        sock = connect(socket_path(load_site(str(site)), site.parent / "state"))
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        assert b"hello" in await reader.readline()
        writer.close()
    assert "no console can be opened: Too many open files" in caplog.text
