"""The tutorial is followed command by command against a demo of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines import needs

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-five-minutes.md"
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = "import sys; from ioc.cli import main; raise SystemExit(main())"
PATIENCE = 20.0
"""Seconds that a reader, and this test, waits for what the page shows."""


@dataclass(frozen=True)
class Step:
    """A command and what the page says that it prints, or a Python program."""

    command: str
    output: tuple[str, ...]
    is_python: bool = False


def steps() -> list[Step]:
    found = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "python":
            found.append(Step(text, tuple(re.findall(r"  # (.*)$", text, re.MULTILINE)), True))
            continue
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *output = part.splitlines()
            found.append(Step(command, tuple(line for line in output if line != "...")))
    return found


def plain(text: str) -> str:
    """Numbers and blanks do not matter: times, voltages, ports and column widths differ."""
    return re.sub(r"-?\d+(\.\d+)?", "#", " ".join(text.split()))


def shows(output: str, expected: tuple[str, ...]) -> bool:
    """Whether the output has the expected lines in their order; three dots stand for anything."""
    pattern = ".*".join(".*".join(map(re.escape, plain(line).split("..."))) for line in expected)
    return re.search(pattern, plain(output)) is not None


@dataclass
class Demo:
    search_port: str
    door: str

    def run(self, step: Step) -> None:
        command = re.sub(r"(/dev/tcp/127\.0\.0\.1/)\d+", rf"\g<1>{self.door}", step.command)
        arguments = [sys.executable, "-c", command] if step.is_python else ["bash", "-c", f"exec {command}"]
        if command.startswith("echo"):
            arguments[-1] = command
        end = time.monotonic() + PATIENCE
        while True:
            output = self._output(arguments, step, end)
            if shows(output, step.output):
                return
            if " put " in command or step.is_python or time.monotonic() > end:
                pytest.fail(f"{step.command}\nshould print\n{chr(10).join(step.output)}\nbut printed\n{output}")
            time.sleep(0.2)

    def _output(self, arguments: list[str], step: Step, end: float) -> str:
        """Run a command until it ends, a monitor until it has shown what the page shows."""
        process = subprocess.Popen(
            arguments, text=True, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        guard = threading.Timer(max(end - time.monotonic(), 0.1), process.kill)
        guard.start()
        output = ""
        try:
            for line in process.stdout:
                output += line
                if "monitor" in step.command and shows(output, step.output):
                    process.send_signal(signal.SIGINT)
                    break
            process.communicate(timeout=5.0)
        finally:
            guard.cancel()
            guard.join()
            process.kill()
            process.wait()
        return output

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        address = {"EPICS_CA_ADDR_LIST": f"127.0.0.1:{self.search_port}", "EPICS_CA_AUTO_ADDR_LIST": "NO"}
        return os.environ | address | {"PATH": path, "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def demo() -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, "demo", "--port", "0"],
        text=True, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if "Ctrl-C ends everything" in line:
                break
        address = re.search(r"EPICS_CA_ADDR_LIST=127\.0\.0\.1:(\d+)", printed)
        door = re.search(r"echo trip 0 > /dev/tcp/127\.0\.0\.1/(\d+)", printed)
        assert address is not None, printed
        assert door is not None, printed
        yield Demo(address[1], door[1])
        process.send_signal(signal.SIGINT)
        assert process.wait(5.0) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_GIVEN_the_demo_WHEN_the_tutorial_is_followed_THEN_each_command_prints_what_the_page_shows(demo: Demo) -> None:
    followed = steps()
    assert len(followed) > 15
    for step in followed:
        if step.is_python:
            needs("pyepics")
        demo.run(step)
