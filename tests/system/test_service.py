"""The server as a service: ready when it serves, its health over HTTP, and SIGHUP, which ends nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import simulated_supply
from ioc.cli import main
from ioc.services.supervision import address_file
from ioc.site.config import load_site
from labioc_pages.page import fetch
from tests.fair_time import FairClock
from tests.libca import Context
from tests.softioc import free_port
from tests.system.test_tuned_limits import COMMAND, ROOT, write_site


async def notified(sock: socket.socket, text: str) -> None:
    """Wait until the service manager has received something."""
    async with asyncio.timeout(30.0):
        while text not in (await asyncio.get_running_loop().sock_recv(sock, 4096)).decode():
            pass


async def healthy(site: Path) -> None:
    clock = FairClock()
    while await asyncio.to_thread(main, ["health", str(site)]) != 0:
        assert clock() < 20.0, "still not healthy"
        await asyncio.sleep(0.1)


async def test_GIVEN_a_service_WHEN_started_hung_up_and_lost_THEN_it_says_how_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"}
        async with simulated_supply(CaenModel(Profile.A, channels=4)) as unit:
            site = write_site(tmp_path, unit.address)
            with (tmp_path / "log").open("wb") as errors:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", COMMAND, "run", str(site), "--port", str(port), "--log", "json",
                    cwd=ROOT, stderr=errors, env=environment,
                )  # fmt: skip
            await notified(sock, "READY=1")

            def heartbeat() -> object:
                with Context(f"127.0.0.1:{port}") as context:
                    return context.channel("LAB:IOC:HEARTBEAT").value()

            assert await asyncio.to_thread(heartbeat) is not None
            await notified(sock, "WATCHDOG=1")
            await healthy(site)
            process.send_signal(signal.SIGHUP)
            await notified(sock, "RELOADING=1")
            await notified(sock, "READY=1")
            await notified(sock, "WATCHDOG=1")
            _, metrics = await asyncio.to_thread(
                fetch, address_file(load_site(site), tmp_path / "state"), "/metrics", ""
            )
            assert b'labioc_ioc_device_up{device="HV1"} 1.0' in metrics
        capsys.readouterr()
        clock = FairClock()
        while await asyncio.to_thread(main, ["health", str(site)]) != 1:  # the supply is gone
            assert clock() < 20.0, "still healthy"
            await asyncio.sleep(0.1)
        assert "LAB:IOC: problem: HV1: not connected" in capsys.readouterr().out
        await notified(sock, "WATCHDOG=1")
        process.terminate()
        await notified(sock, "STOPPING=1")
        assert await process.wait() == 0
    assert await asyncio.to_thread(main, ["health", str(site), "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == {"ioc": "LAB:IOC", "findings": [{"kind": "failing", "text": "no IOC LAB:IOC is running"}]}
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert all(line["level"] in ("INFO", "WARNING") for line in lines)
    assert any("HV1: lost" in line["message"] for line in lines)
