"""The server of the ARCH PVs: how it announces itself."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest

from archiver.status_pvs import StatusPvs
from tests.softioc import free_port


@pytest.mark.parametrize("automatic", ["NO", "YES"])
async def test_GIVEN_no_repeater_WHEN_beacons_are_sent_THEN_nobody_is_troubled_and_listeners_get_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, automatic: str
) -> None:
    caplog.set_level(logging.INFO)
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        port = listener.getsockname()[1]
        if automatic == "YES":  # a local server tells this computer only
            monkeypatch.setenv("EPICS_CAS_BEACON_PORT", str(port))
        monkeypatch.setenv("EPICS_CAS_AUTO_BEACON_ADDR_LIST", automatic)
        listed = f"127.0.0.1:{free_port()}" + (f" 127.0.0.1:{port}" if automatic == "NO" else "")
        monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", listed)
        pvs = StatusPvs("LAB", local_only=True)
        await pvs.start()
        try:
            async with asyncio.timeout(5):
                numbers = []
                for _ in range(5):
                    beacon = await loop.sock_recv(listener, 100)
                    command, _, _, tcp_port, number, address = struct.unpack(">HHHHII", beacon)
                    assert (command, tcp_port, address) == (13, pvs.port, 0)
                    numbers.append(number)
        finally:
            await pvs.stop()
    assert numbers == list(range(5))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
