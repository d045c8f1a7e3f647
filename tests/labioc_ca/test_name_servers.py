"""Searching by TCP: at the C softIoc, at labioc, at a name server for other IOCs, and at one that is not well."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fair_time import until
from tests.labioc_ca.fake_ca import FakeCaServer, message
from tests.labioc_ca.test_subscribe import STARTERS, Starter, starting
from tests.labioc_ca.watch import Watch, watching
from tests.softioc import free_port

TYPES = [(Path(__file__).parent / "types.db", {"P": "T"})]
ITSELF = 0xFFFFFFFF


@asynccontextmanager
async def searching(names: list[str], *servers: str, **settings: str) -> AsyncIterator[Watch]:
    """Watch PVs that can be found by TCP only."""
    async with watching(names, NAME_SERVERS=" ".join(servers), **settings) as watch:
        yield watch


@pytest.fixture(params=STARTERS)
def start(request: pytest.FixtureRequest) -> Iterator[Starter]:
    """Start a server of one kind."""
    yield from starting(request.param)


async def test_GIVEN_an_ioc_as_its_own_name_server_WHEN_it_restarts_THEN_its_pvs_are_found_again(
    start: Starter,
) -> None:
    port = free_port()
    server = start(TYPES, port=port)
    async with searching(["T:AI", "T:SI", "T:NOT:THERE"], server.address) as watch:
        await watch.connected("T:AI", "T:SI")
        server.kill()
        await watch.disconnected("T:AI")
        start(TYPES, port=port)
        await watch.connected("T:AI", "T:SI", deadline=15)
        assert "T:NOT:THERE" not in watch.changes


class FakeNameServer:
    """Answers searches with the address of another server; every attribute can be changed at any time."""

    def __init__(self, ioc: FakeCaServer, minor: int = 13) -> None:
        self.port = free_port()
        self.host: int = ITSELF
        self.deaf = False
        self.accepted = 0
        self.echoes = 0
        self._ioc = ioc
        self._minor = minor
        self._writers: list[asyncio.StreamWriter] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeNameServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.drop()
        await self._server.wait_closed()

    def drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def send(self, data: bytes) -> None:
        self._writers[-1].write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.append(writer)
        writer.write(message(0, 0, self._minor))
        try:
            while True:
                command, size, _, _, number, _ = struct.unpack(">HHHHII", await reader.readexactly(16))
                name = (await reader.readexactly(size)).split(b"\0", 1)[0].decode()
                self.echoes += command == 23
                if command == 6 and name in self._ioc.names and not self.deaf:
                    writer.write(message(6, self._ioc.port, 0, self.host, number))
                elif command == 23 and not self.deaf:
                    writer.write(message(23))
        except (OSError, EOFError):
            pass
        finally:
            self._writers.remove(writer)
            writer.close()


async def test_GIVEN_a_name_server_WHEN_it_tells_of_an_ioc_elsewhere_THEN_that_one_is_used() -> None:
    async with FakeCaServer(["A", "B"]) as ioc, FakeNameServer(ioc) as names:
        ioc.names.discard("B")
        names.host = struct.unpack(">I", socket.inet_aton("127.0.0.1"))[0]
        async with searching(["A", "B"], names.address) as watch:
            await watch.connected("A")
            ioc.names.add("B")
            await watch.connected("B")
            assert [state.server for state in watch.subscriber.states()] == [ioc.address] * 2
            assert not ioc.searches  # nothing went by UDP


async def test_GIVEN_a_name_server_WHEN_it_goes_and_comes_THEN_connected_pvs_do_not_care_and_others_are_found() -> None:
    async with FakeCaServer(["A", "B"]) as ioc:
        ioc.names.discard("B")
        names = FakeNameServer(ioc)
        async with searching(["A", "B"], names.address) as watch:
            async with names:
                await watch.connected("A")
            ioc.names.add("B")
            async with names:
                await watch.connected("B")
            assert watch.changes["A"] == [True]


async def test_GIVEN_a_silent_name_server_WHEN_it_does_not_echo_THEN_it_is_connected_again() -> None:
    async with FakeCaServer(["A"]) as ioc, FakeNameServer(ioc) as names:
        names.deaf = True
        async with searching(["A"], names.address, CONN_TMO="0.2") as watch:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("labioc_ca.search.ECHO_TIMEOUT", 0.2)
                await until(lambda: names.accepted >= 2 and names.echoes >= 1, 5)
            names.deaf = False
            await watch.connected("A")


async def test_GIVEN_a_name_server_that_stops_in_the_middle_of_a_message_WHEN_time_is_up_THEN_it_is_connected_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("labioc_ca.search.ECHO_TIMEOUT", 0.2)
    async with FakeCaServer(["A"]) as ioc, FakeNameServer(ioc) as names:
        names.deaf = True
        async with searching(["A"], names.address) as watch:
            await until(lambda: names.accepted == 1, 10)
            names.send(message(6, 5064, 0, 0, 99, bytes(8))[:-3])
            await until(lambda: names.accepted == 2, 10)
            names.deaf = False
            await watch.connected("A")


@pytest.mark.parametrize("garbage", [b"\xff" * 400, b"HTTP/1.1 400 Bad Request\r\n\r\n", message(6, 5064, 0, 0, 99)])
async def test_GIVEN_garbage_from_a_name_server_WHEN_it_is_over_THEN_the_pv_is_found(garbage: bytes) -> None:
    async with FakeCaServer(["A"]) as ioc, FakeNameServer(ioc) as names:
        names.deaf = True
        async with searching(["A"], names.address) as watch:
            await until(lambda: names.accepted == 1, 5)
            names.send(garbage)
            names.deaf = False
            await watch.connected("A")


async def test_GIVEN_an_old_server_WHEN_it_takes_no_searches_THEN_it_is_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeCaServer(["A"]) as ioc, FakeNameServer(ioc, minor=11) as names, searching(["A"], names.address):
        await until(lambda: names.accepted >= 2, 5)
        reported = [record.getMessage() for record in caplog.records if record.name == "labioc.ca"]
        assert reported == [
            f"name server {names.address}: takes no searches by TCP (protocol version 4.11), trying again"
        ]


async def test_GIVEN_many_names_WHEN_the_name_server_does_not_read_THEN_little_waits_in_memory() -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(1)
        names = [f"N{number:04d}".ljust(400, "X") for number in range(5000)]
        async with searching(names, "127.0.0.1:{}".format(*deaf.getsockname()[1:]), MAX_SEARCH_PERIOD="0.05") as watch:
            loop = asyncio.get_running_loop()
            deaf.setblocking(False)
            peer, _ = await loop.sock_accept(deaf)
            with peer:
                peer.send(message(0, 0, 13))
                (server,) = watch.subscriber._searcher._name_servers
                await until(lambda: server._writer is not None, 5)
                sent = 0

                def slices() -> bool:
                    nonlocal sent
                    sent += 1
                    return sent > 100

                await until(slices, 10)
                assert server._writer is not None
                assert server._writer.transport.get_write_buffer_size() < 4 << 20
