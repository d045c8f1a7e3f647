"""The server of the ARCH PVs: how it announces itself."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from dataclasses import replace

import pytest
from caproto.asyncio.server import VirtualCircuit

from archiver.status.pvs import StatusPvs
from tests.archiver.ca.watch import watching
from tests.archiver.status.test_snapshot import SNAPSHOT
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


async def test_GIVEN_a_client_that_takes_nothing_WHEN_values_change_for_long_THEN_other_clients_get_them_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("caproto.MAX_TOTAL_SUBSCRIPTION_BACKLOG", 10)
    stopped: list[object] = []
    send = VirtualCircuit._send_buffers

    async def hang(circuit: VirtualCircuit, *buffers: bytes) -> None:
        if circuit in stopped:
            await asyncio.Event().wait()  # what a client does that was stopped, when its buffers are full
        await send(circuit, *buffers)

    monkeypatch.setattr(VirtualCircuit, "_send_buffers", hang)
    pvs = StatusPvs("LAB", local_only=True)
    await pvs.start()
    try:
        address = f"127.0.0.1:{pvs.port}"
        async with watching(["LAB:ARCH:QUEUE"], address) as first:
            await first.connected("LAB:ARCH:QUEUE")
            stopped.extend(pvs._context.circuits)
            assert len(stopped) == 1
            async with watching(["LAB:ARCH:QUEUE"], address) as second:
                await second.until(lambda: bool(second.values("LAB:ARCH:QUEUE")))
                for queue in range(1, 201):
                    await pvs.show(replace(SNAPSHOT, queue=queue))
                    await second.until(lambda: second.values("LAB:ARCH:QUEUE")[-1] == queue)  # noqa: B023
    finally:
        await pvs.stop()
