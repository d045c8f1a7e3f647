"""The archiver of the demo while it is being started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ioc.commands.demo_archiver import DemoArchiver

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-c", "from ioc.cli import main; raise SystemExit(main())"]


def children(pid: int) -> list[int]:
    """Return the processes in which a demo archives."""
    found = []
    with contextlib.suppress(OSError):  # one of them has ended meanwhile
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"demo_archiver" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.mark.parametrize("after", [0.0, 0.1, 0.3])
def test_GIVEN_a_demo_WHEN_ctrl_c_comes_while_its_archiver_starts_THEN_both_end_without_a_word(
    after: float, tmp_path: Path
) -> None:
    with (tmp_path / "errors").open("w") as errors:
        demo = subprocess.Popen(
            [*COMMAND, "demo", "--port", "0"], stdout=errors, stderr=errors, cwd=ROOT, start_new_session=True
        )
    try:
        end = time.monotonic() + 20
        while not (archiver := children(demo.pid)):
            assert demo.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        time.sleep(after)  # the moment of the signal, not a wait for anything
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(10) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in archiver)
    finally:
        if demo.poll() is None:
            os.killpg(demo.pid, signal.SIGKILL)
            demo.wait()
    assert "Traceback" not in (tmp_path / "errors").read_text()


def test_GIVEN_a_folder_with_modules_of_our_names_WHEN_the_demo_runs_there_THEN_its_archiver_is_not_made_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ioc", "archiver"):
        (tmp_path / f"{name}.py").write_text("open('taken', 'w')")
    monkeypatch.chdir(tmp_path)
    archiver = DemoArchiver(1)
    try:
        end = time.monotonic() + 20
        while not (tmp_path / "taken").exists() and not any(archiver.directory.iterdir()):
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        asyncio.run(archiver.stop())
    assert not (tmp_path / "taken").exists()
