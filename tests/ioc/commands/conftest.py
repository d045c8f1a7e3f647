"""Fixtures for tests of commands: a site file with one supply, and a command run beside a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ioc.cli import main


@pytest.fixture
def write_site(tmp_path: Path) -> Callable[..., str]:
    """Write a site file with the supply HV1 and more keys of it; its folder of state is not there yet."""

    def write(more: str = "") -> str:
        path = tmp_path / "site.toml"
        path.write_text(
            f'[site]\nprefix = "LAB"\n[server]\nstate_dir = "{tmp_path / "state"}"\n[[device]]\nname = "HV1"\n'
            f'type = "caen-dt55xx"\naddress = "tcp://hv1:23"\n{more}'
        )
        return str(path)

    return write


@pytest.fixture
def labioc(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in a thread; returns its exit status, its output and its complaints, as lines."""

    async def run(*words: str) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        status = await asyncio.to_thread(main, words)
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return run
