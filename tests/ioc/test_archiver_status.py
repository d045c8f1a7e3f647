"""The PVs of the bridge: values and alarms, read only, and a guest at the port of an IOC."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from archiver.status import BridgeState
from ioc.archiver_status import ArchiverPvs
from ioc.site.config import ServerSettings
from ioc.site.templates import template
from tests.archiver.status.test_snapshot import SERVER, SNAPSHOT
from tests.libca import Context
from tests.softioc import free_port

ECA_NORMAL = 1
FINE = replace(
    SNAPSHOT, state=BridgeState.OK, queue=0, lag=0.5, lost=0, log_error="", refused={}, servers=(), message=""
)


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[ArchiverPvs]:
    pvs = ArchiverPvs("LAB", port, local_only=True)
    await pvs.start()
    try:
        yield pvs
    finally:
        await pvs.stop()


@pytest.fixture
def search_port(monkeypatch: pytest.MonkeyPatch) -> int:
    port = free_port()
    monkeypatch.setenv("EPICS_CAS_SERVER_PORT", str(port))
    monkeypatch.setenv("EPICS_CAS_BEACON_ADDR_LIST", f"127.0.0.1:{free_port()}")
    return port


async def test_values_and_alarms_are_those_of_the_bridge(search_port: int) -> None:
    async with serving() as pvs:

        def look(signal: str) -> tuple[object, int]:
            record = pvs.records[f"LAB:ARCH:{signal}"]
            return record.val, record.sevr

        pvs.show(replace(FINE, cut_off=True))
        assert look("STATE") == (0, 1)
        pvs.show(FINE)
        assert look("STATE") == (0, 0)
        assert look("LAG") == (0.5, 0)
        assert look("MSG") == ("", 0)
        refused = replace(SERVER, refused=2, conflicts=("field VMON of DT5533E is integer there",))
        pvs.show(replace(FINE, refusing=True, servers=(refused,), message="x" * 300))
        assert look("STATE") == (0, 1)
        assert look("REFUSED") == (2, 0)
        assert look("CONFLICTS") == (1, 0)
        assert look("MSG") == ("x" * 300, 0)
        pvs.show(replace(FINE, state=BridgeState.SPOOLING, lag=61.0, queue=2**40))
        assert look("STATE") == (1, 1)
        assert look("LAG") == (61.0, 1)
        assert look("QUEUE") == (2**31 - 1, 0)
        pvs.show(SNAPSHOT)
        assert look("STATE") == (2, 2)
        assert look("LOST") == (4, 2)
        pvs.show(FINE)
        assert [look(signal)[1] for signal in ("STATE", "LAG", "LOST")] == [0, 0, 0]


async def test_a_client_reads_them_and_may_not_write(search_port: int) -> None:
    def client(port: int) -> tuple[object, bool]:
        with Context(f"127.0.0.1:{port}") as context:
            channel = context.channel("LAB:ARCH:QUEUE")
            return channel.get().value, channel.may_write

    async with serving() as pvs:
        pvs.show(replace(FINE, queue=5))
        value, may_write = await asyncio.to_thread(client, pvs.port)
        assert value == 5
        assert not may_write
        assert pvs.records["LAB:ARCH:QUEUE"].val == 5


def request(name: str) -> bytes:
    payload = name.encode() + bytes(8 - len(name) % 8)
    return struct.pack(">HHHHII", 0, 0, 0, 13, 0, 0) + struct.pack(">HHHHII", 6, len(payload), 5, 13, 1, 1) + payload


async def test_searches_are_answered_without_taking_any_from_an_ioc_at_the_same_port(search_port: int) -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ioc,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as cl,
    ):
        ioc.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ioc.bind(("127.0.0.1", search_port))
        cl.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        cl.bind(("127.0.0.1", 0))
        for one in (ioc, cl):
            one.setblocking(False)
        async with serving() as pvs, asyncio.timeout(10):
            for target in (("127.255.255.255", search_port), ("127.0.0.1", pvs.port)):
                cl.sendto(request("LAB:ARCH:STATE"), target)
                answer = await loop.sock_recv(cl, 1024)
                command, _, tcp_port = struct.unpack_from(">HHH", answer, 16)
                assert (command, tcp_port) == (6, pvs.port)
            cl.sendto(request("LAB:ARCH:STATE"), ("127.0.0.1", search_port))
            assert await loop.sock_recv(ioc, 1024)  # the IOC's alone
            with pytest.raises(BlockingIOError):
                cl.recv(1024)


async def test_they_are_served_where_the_ioc_of_the_site_listens(search_port: int) -> None:
    own = free_port()
    pvs = ArchiverPvs("LAB", ioc=ServerSettings(("127.0.0.1",), own))
    await pvs.start()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client, socket.socket() as other:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.setblocking(False)
            client.sendto(request("LAB:ARCH:STATE"), ("127.255.255.255", own))
            async with asyncio.timeout(10):
                assert await asyncio.get_running_loop().sock_recv(client, 1024)
            other.bind(("127.0.0.2", pvs.port))  # free, since only that of the IOC is in use
    finally:
        await pvs.stop()


async def test_a_port_that_is_taken_is_named(search_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match=str(taken.getsockname()[1])):
            await ArchiverPvs("LAB", taken.getsockname()[1], local_only=True).start()


def test_the_template_holds_what_is_shown() -> None:
    names = [record.name.removeprefix("LAB:ARCH:") for record in template("archiver").expand({"P": "LAB"})]
    assert names == ["STATE", "QUEUE", "SPOOL", "LOST", "LAG", "RATE", "REFUSED", "CONFLICTS", "MSG"]
