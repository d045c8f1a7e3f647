"""The how-to on device families is followed word by word: its files, its commands, what it says that they print."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.test_tutorial import shows
from tests.softioc import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "add-a-device-family.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "acme-t100"
FILE = re.compile(r"`acme-t100/([\w./]+)`[^`]*:\n\n```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PATIENCE = 30.0
LEFT_BY_OTHERS = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")


def test_the_files_of_the_page_are_those_of_the_example() -> None:
    shown = dict(FILE.findall(PAGE))
    assert len(shown) == 5
    for name, text in shown.items():
        assert (EXAMPLE / name).read_text(encoding="utf-8") == text, name
    code = shown["acme_t100/__init__.py"]
    assert len(code.splitlines()) <= 25


def commands() -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for block in CONSOLE.findall(PAGE):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.splitlines()
            found.append((command, tuple(output)))
    return found


class Reader:
    """Somebody who types what the page says, in a folder of their own, with ports that are free."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"5025": str(free_port()), "5026": str(free_port())}
        self.running: list[tuple[subprocess.Popen[bytes], Path]] = []
        shutil.copytree(EXAMPLE, folder / "acme-t100", ignore=LEFT_BY_OTHERS)
        (folder / "scripts").symlink_to(ROOT / "scripts")
        site = folder / "acme-t100" / "site.toml"
        site.write_text(self.with_ports(site.read_text()))
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
            # Not into the environment of everybody else, and without asking any network.
            "PIP_TARGET": str(folder / "site"), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0",
            "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "EPICS_CA_SERVER_PORT": str(free_port()),
            "EPICS_CA_ADDR_LIST": "127.0.0.1", "EPICS_CA_AUTO_ADDR_LIST": "NO",
            "XDG_STATE_HOME": str(folder / "state"),
        }  # fmt: skip

    def with_ports(self, text: str) -> str:
        return re.sub("502[56]", lambda match: self.ports[match[0]], text)

    def follow(self, command: str, output: tuple[str, ...]) -> None:
        command, output = self.with_ports(command), tuple(map(self.with_ports, output))
        command = re.sub(r"^caproto-(\w+)", r"caproto-\1 --no-repeater", command)
        end = time.monotonic() + PATIENCE
        goes_on = re.match(r"labioc (simulate|run) ", command)
        while True:
            printed = self.start(command, output, end) if goes_on else self.run(command)
            if shows(printed, output):
                return
            if goes_on or "caproto-get" not in command or time.monotonic() > end:
                pytest.fail(f"{command}\nshould print\n{chr(10).join(output)}\nbut printed\n{printed}")
            time.sleep(0.2)

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.environment, timeout=PATIENCE, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.stdout

    def start(self, command: str, output: tuple[str, ...], end: float) -> str:
        """Start what runs until Ctrl-C, and return what it has printed as soon as that is what the page shows."""
        log = self.folder / f"{len(self.running)}.log"
        with log.open("wb") as file:
            arguments = ["bash", "-c", f"exec {command}"]
            process = subprocess.Popen(arguments, cwd=self.folder, env=self.environment, stdout=file, stderr=file)
        self.running.append((process, log))
        while not shows(log.read_text(), output) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        return log.read_text()


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    made = Reader(folder)
    try:
        yield made
        for process, log in reversed(made.running):
            process.send_signal(signal.SIGINT)
            assert process.wait(10.0) == 0
            assert "Traceback" not in log.read_text()
    finally:
        for process, _ in made.running:
            process.kill()
            process.wait()


@pytest.mark.timeout(180)
def test_GIVEN_nothing_WHEN_the_page_is_followed_THEN_a_new_family_is_served(tmp_path: Path) -> None:
    followed = commands()
    assert len(followed) > 12
    with reader(tmp_path) as made:
        for command, output in followed:
            made.follow(command, output)
