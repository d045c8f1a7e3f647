"""``labioc init``: from what is found to a site file that ``labioc check`` calls good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from devices.caen import discovery
from devices.caen.simulator.server import simulated_supply
from devices.discovery import Discovery, Found, Report
from ioc.cli import main
from ioc.site.config import load_site

CODE = "import sys; from ioc.cli import main; raise SystemExit(main())"
PLAIN = CODE.replace("import sys;", "import sys; sys.modules['prompt_toolkit'] = None;")
"""The same without prompt-toolkit."""


def finds(*found: Found) -> Discovery:
    async def look(place: str, report: Report) -> Sequence[Found]:
        if not place.startswith("tcp://"):
            raise ValueError(f"found {place!r}, allowed: tcp://HOST:PORT")
        report(f"looked at {place}")
        return found

    return Discovery(where="tcp://HOST:PORT", places=list, look=look)


@pytest.fixture
def one_supply(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Found(text="DT5533E, serial 7", keys={"address": "tcp://192.168.1.5:23", "channels": 4})
    monkeypatch.setattr(discovery, "DISCOVERY", finds(found))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("one_supply")
def test_GIVEN_a_place_WHEN_run_in_a_script_THEN_a_file_that_check_calls_good(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["init", "--device", "caen-dt55xx=tcp://192.168.1.5:23", "--prefix", "ANNIE"]) == 0
    shown = capsys.readouterr()
    assert "found: DT5533E, serial 7" in shown.out
    assert "labioc check site.toml" in shown.out
    assert "looked at tcp://192.168.1.5:23" in shown.err
    assert main(["check", "site.toml"]) == 0
    site = load_site("site.toml")
    assert (site.prefix, site.devices[0].readonly) == ("ANNIE", True)


@pytest.mark.usefixtures("one_supply")
def test_GIVEN_a_file_that_is_there_WHEN_run_THEN_it_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.toml").write_text("mine")
    assert main(["init", "--device", "caen-dt55xx=tcp://192.168.1.5:23"]) == 2
    shown = capsys.readouterr().err
    assert "is there already" in shown
    assert "looked at" not in shown
    assert Path("site.toml").read_text() == "mine"


def test_GIVEN_nothing_there_WHEN_run_THEN_status_1_and_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(discovery, "DISCOVERY", finds())
    target = tmp_path / "new.toml"
    assert main(["init", "--device", "caen-dt55xx=tcp://192.168.1.5:23", "-o", str(target)]) == 1
    assert "nothing was found at tcp://192.168.1.5:23" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.usefixtures("one_supply")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--device", "caen-dt55xx=192.168.1.5"], "allowed: tcp://HOST:PORT"),
        (["--device", "caen-dt55xx=tcp://h:23", "--prefix", "lab"], "--prefix: found 'lab', allowed"),
        (["--device", "caen-dt55xx=tcp://h:23", "-o", "no/such/site.toml"], "there is no folder no/such"),
        (["--device", "caen-dt55xx=tcp://h:23", "--device", "caen-dt55xx=tcp://h:23"], "HV2"),
        ([], "no terminal to ask at"),
    ],
)
def test_a_mistake_is_reported_and_no_file_written(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == 2
    assert reason in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_type_that_there_is_not_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["init", "--device", "caen=tcp://h:23"])
    assert ended.value.code == 2
    assert "caen-dt55xx, iseg-edcp, eurotherm-3200" in capsys.readouterr().err


class Terminal:
    """A process at a pseudo terminal."""

    def __init__(self, folder: Path, *arguments: str, code: str = CODE) -> None:
        self._ours, theirs = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        root = str(Path(__file__).resolve().parents[3])
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, env=environment | {"PYTHONPATH": root}, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def until(self, text: str, seconds: float = 30.0) -> None:
        """Read until the screen has shown a text since the last answer."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, f"no {text!r} in {self.shown!r}"
            if select.select([self._ours], [], [], 0.1)[0]:
                try:
                    data = os.read(self._ours, 4096)
                except OSError:
                    data = b""
                assert data, f"ended without {text!r}: {self.shown!r}"
                self.shown += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", data.decode(errors="replace"))

    def answer(self, text: str) -> None:
        self.shown = ""
        os.write(self._ours, text.encode() + b"\r")

    def interrupt(self) -> None:
        """Press Ctrl-C until it ends: one that comes just before Python waits for a line shows at the next key only."""
        deadline = time.monotonic() + 15.0
        while self.process.poll() is None and time.monotonic() < deadline:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)

    def close(self) -> int:
        try:
            return self.process.wait(20.0)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._ours)


async def test_GIVEN_a_supply_and_a_terminal_WHEN_the_questions_are_answered_THEN_the_file_is_written(
    tmp_path: Path,
) -> None:
    def talk(port: int) -> int:
        terminal = Terminal(tmp_path, "init")
        terminal.until("First part of every PV name [LAB]:")
        terminal.answer("lab")
        terminal.until("found 'lab', allowed")
        terminal.answer("HALL2")
        terminal.until("Which kind of device")
        terminal.answer("1")
        terminal.until("Place")
        terminal.answer("can://socketcan/can0")
        terminal.until("allowed")
        terminal.until("Which kind of device")
        terminal.answer("caen-dt55xx")
        terminal.until("Place")
        terminal.answer(f"tcp://127.0.0.1:{port}")
        terminal.until("found: DT5533E, serial 00123")
        terminal.until("Another kind of device")
        terminal.answer("")
        terminal.until("File [site.toml]")
        terminal.answer("hall.toml")
        terminal.until("next: read it")
        return terminal.close()

    async with simulated_supply() as supply:
        assert await asyncio.to_thread(talk, supply.port) == 0
        assert all(line.startswith(b"$CMD:MON,") for line in supply.received)
    site = load_site(tmp_path / "hall.toml")
    assert site.prefix == "HALL2"
    assert site.devices[0].limits["VSET"] == (0.0, 4000.0)


@pytest.mark.parametrize("code", [CODE, PLAIN])
def test_GIVEN_questions_WHEN_ctrl_c_is_pressed_THEN_it_ends_without_a_file(tmp_path: Path, code: str) -> None:
    terminal = Terminal(tmp_path, "init", code=code)
    terminal.until("First part of every PV name [LAB]:")
    terminal.answer("ANNIE")
    terminal.until("Which kind of device")
    if code == CODE:
        terminal.answer("\x03")  # a key; without prompt-toolkit the terminal makes a signal of it
    else:
        terminal.interrupt()
    assert terminal.close() == 130
    assert list(tmp_path.iterdir()) == []
