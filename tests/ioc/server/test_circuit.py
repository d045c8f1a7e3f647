"""What one connection may cost, seen from a bare socket."""

from __future__ import annotations

import asyncio
import struct

import pytest

from ioc.access import Policy
from ioc.database.dbfile import parse_text
from ioc.records import PutContext, PutRefused, Record, RecordSet, Source, Value
from ioc.server import Server, wire
from ioc.server.connection import HIGH_WATER, MOST_PUTS

PUTS = 20_000


async def _channel(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """Open a circuit and a channel of the record A on it, and return the server's number of that."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(wire.pack(wire.Command.VERSION, 0, wire.PROTOCOL_VERSION, 0, 0))
    writer.write(wire.pack(wire.Command.CREATE_CHAN, 0, 0, 7, wire.PROTOCOL_VERSION, b"A\0\0\0\0\0\0\0"))
    await reader.readexactly(16 + 16)  # version, access rights
    (sid,) = struct.unpack_from(">12xI", await reader.readexactly(16))
    return reader, writer, sid


async def test_GIVEN_a_slow_device_WHEN_a_client_sends_puts_without_end_THEN_few_wait_here_and_none_is_lost() -> None:
    definitions = parse_text('record(ao, "A") { field(DTYP, "labioc") field(OUT, "@D A") }', "test").expand({})
    records = RecordSet.build(definitions)
    gate, arrived, waiting, most = asyncio.Event(), [], 0, 0

    class Slow(Source):
        async def put(self, record: Record, value: Value, context: PutContext) -> None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await gate.wait()
            waiting -= 1
            arrived.append(value)

    records["A"].source = Slow()
    server = Server(records, interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        reader, writer, sid = await _channel(server)
        writer.writelines(
            wire.pack(wire.Command.WRITE, 6, 1, sid, number, struct.pack(">d", number)) for number in range(PUTS)
        )
        async with asyncio.timeout(60):
            while most < MOST_PUTS:  # noqa: ASYNC110
                await asyncio.sleep(0)
            gate.set()
            await writer.drain()
            writer.write(wire.pack(wire.Command.ECHO, 0, 0, 0, 0))
            assert await reader.readexactly(16) == wire.pack(wire.Command.ECHO, 0, 0, 0, 0)
            while len(arrived) < PUTS:  # noqa: ASYNC110
                await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()
    assert arrived == [float(number) for number in range(PUTS)]
    assert most <= MOST_PUTS


ELEMENTS, GETS = 20_000, 500
"""Of an array of 160 kB, asked for in one go: 80 MB of answers to 12 kB of questions."""


async def test_GIVEN_a_large_array_WHEN_a_client_asks_without_reading_THEN_few_answers_wait_here_and_all_arrive() -> (
    None
):
    text = f'record(waveform, "W") {{ field(NELM, "{ELEMENTS}") field(FTVL, "DOUBLE") }}'
    server = Server(RecordSet.build(parse_text(text, "test").expand({})), interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(wire.pack(wire.Command.CREATE_CHAN, 0, 0, 7, wire.PROTOCOL_VERSION, b"W\0\0\0\0\0\0\0"))
        await reader.readexactly(16 + 16)  # version, access rights
        (sid,) = struct.unpack_from(">12xI", await reader.readexactly(16))
        (circuit,) = server.service.circuits
        most = 0

        def watched(data: bytes) -> None:
            nonlocal most
            send(data)
            waiting = sum(map(len, circuit._out)) + circuit._transport.get_write_buffer_size()  # type: ignore[union-attr]
            most = max(most, waiting)

        send, circuit.send = circuit.send, watched  # type: ignore[method-assign]
        writer.writelines(wire.pack(wire.Command.READ_NOTIFY, 6, ELEMENTS, sid, number) for number in range(GETS))
        async with asyncio.timeout(60):
            while not circuit._paused:  # noqa: ASYNC110
                await asyncio.sleep(0)
            answers = []
            for _ in range(GETS):
                head = await reader.readexactly(24)
                answers.append(struct.unpack_from(">12xI", head)[0])
                await reader.readexactly(ELEMENTS * 8)
        writer.write(wire.pack(wire.Command.ECHO, 0, 0, 0, 0))
        assert await reader.readexactly(16) == wire.pack(wire.Command.ECHO, 0, 0, 0, 0)
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()
    assert answers == list(range(GETS))
    assert most < 2 * HIGH_WATER


class Closed(Policy):
    """A policy under which no client may put anything."""

    def may_put(self, record: Record, field: str, client: PutContext) -> str | None:
        return "no rights"


@pytest.mark.parametrize("completion", [True, False])
@pytest.mark.parametrize("denied", [True, False])
async def test_GIVEN_a_refused_put_WHEN_answered_THEN_one_with_completion_gets_a_status_and_a_plain_one_the_reason(
    completion: bool, denied: bool
) -> None:
    definitions = parse_text('record(ao, "A") { field(DTYP, "labioc") field(OUT, "@D A") }', "test").expand({})
    records = RecordSet.build(definitions)

    class Refusing(Source):
        async def put(self, record: Record, value: Value, context: PutContext) -> None:
            raise PutRefused("above 4000 V")

    records["A"].source = Refusing()
    server = Server(records, Closed() if denied else None, interfaces=["127.0.0.1"], port=0)
    await server.start()
    status = wire.ECA_NOWTACCESS if denied else wire.ECA_PUTFAIL
    try:
        reader, writer, sid = await _channel(server)
        command = wire.Command.WRITE_NOTIFY if completion else wire.Command.WRITE
        writer.write(wire.pack(command, 6, 1, sid, 77, struct.pack(">d", 5000.0)))
        head = await reader.readexactly(16)
        if completion:
            assert head == wire.pack(wire.Command.WRITE_NOTIFY, 6, 1, status, 77)
        else:
            kind, size, _, _, cid, code = struct.unpack(">HHHHII", head)
            assert (kind, cid, code) == (wire.Command.ERROR, 7, status)
            assert (b"no rights" if denied else b"above 4000 V") in await reader.readexactly(size)
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()


@pytest.mark.parametrize("completion", [True, False])
async def test_GIVEN_a_put_that_waits_WHEN_its_client_clears_the_channel_THEN_one_with_completion_is_dropped(
    completion: bool,
) -> None:
    definitions = parse_text('record(ao, "A") { field(DTYP, "labioc") field(OUT, "@D A") }', "test").expand({})
    records = RecordSet.build(definitions)
    contexts: list[PutContext] = []
    end = asyncio.Event()

    class Slow(Source):
        async def put(self, record: Record, value: Value, context: PutContext) -> None:
            contexts.append(context)
            await end.wait()

    records["A"].source = Slow()
    server = Server(records, None, interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(wire.pack(wire.Command.VERSION, 0, wire.PROTOCOL_VERSION, 0, 0))
        for cid in (7, 8):
            writer.write(wire.pack(wire.Command.CREATE_CHAN, 0, 0, cid, wire.PROTOCOL_VERSION, b"A\0\0\0\0\0\0\0"))
        head = await reader.readexactly(16 + 2 * 32)
        sids = [struct.unpack_from(">12xI", head, 32 * n)[0] for n in (1, 2)]
        command = wire.Command.WRITE_NOTIFY if completion else wire.Command.WRITE
        for sid in sids:
            writer.write(wire.pack(command, 6, 1, sid, 77, struct.pack(">d", 5.0)))
        writer.write(wire.pack(wire.Command.CLEAR_CHANNEL, 0, 0, sids[0], 7))
        assert await reader.readexactly(16) == wire.pack(wire.Command.CLEAR_CHANNEL, 0, 0, sids[0], 7)
        assert [context.cancelled.is_set() for context in contexts] == [completion, False]
        end.set()
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()


async def test_GIVEN_a_command_that_is_none_WHEN_it_arrives_THEN_that_connection_is_closed() -> None:
    server = Server(
        RecordSet.build(parse_text('record(ai, "A") {}', "test").expand({})), interfaces=["127.0.0.1"], port=0
    )
    await server.start()
    try:
        (reader, writer, sid), (other, others, _) = [await _channel(server) for _ in range(2)]
        writer.write(wire.pack(77, 0, 0, sid, 0))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        others.write(wire.pack(wire.Command.ECHO, 0, 0, 0, 0))
        assert await other.readexactly(16) == wire.pack(wire.Command.ECHO, 0, 0, 0, 0)
        others.close()
        await others.wait_closed()
    finally:
        await server.stop()


async def test_GIVEN_a_channel_that_is_none_WHEN_asked_of_THEN_that_is_reported_but_for_the_end_of_a_channel() -> None:
    server = Server(
        RecordSet.build(parse_text('record(ai, "A") {}', "test").expand({})), interfaces=["127.0.0.1"], port=0
    )
    await server.start()
    try:
        reader, writer, sid = await _channel(server)
        for command in (wire.Command.CLEAR_CHANNEL, wire.Command.READ_NOTIFY):
            writer.write(wire.pack(command, 6, 1, sid + 9, 5))
        kind, _, _, _, cid, code = struct.unpack(">HHHHII", await reader.readexactly(16))
        assert (kind, cid, code) == (wire.Command.ERROR, wire.NO_CHANNEL, wire.ECA_BADCHID)
        assert await reader.readexactly(16) == struct.pack(">HHHHII", wire.Command.READ_NOTIFY, 0, 6, 1, sid + 9, 5)
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()


@pytest.mark.parametrize(("sent", "denied"), [(b"5000", True), (b"lots", False)])
async def test_GIVEN_a_refused_put_WHEN_noted_THEN_with_what_the_client_has_sent(sent: bytes, denied: bool) -> None:
    records = RecordSet.build(parse_text('record(ao, "A") {}', "test").expand({}))
    noted: list[tuple[str, str]] = []

    class Noting(Source):
        def refused(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
            noted.append((field, value))

    records["A"].source = Noting()
    server = Server(records, Closed() if denied else None, interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        reader, writer, sid = await _channel(server)
        writer.write(wire.pack(wire.Command.WRITE_NOTIFY, 0, 1, sid, 77, sent.ljust(40, b"\0")))
        await reader.readexactly(16)
        writer.close()
        await writer.wait_closed()
    finally:
        await server.stop()
    assert noted == [("VAL", repr(sent.decode()))]


class Secret(Policy):
    """A policy under which nothing may be read, from when on ``closed`` is set."""

    closed = False

    def may_read(self, record: Record, field: str, client: PutContext) -> bool:
        return not self.closed


async def test_GIVEN_a_text_that_is_no_number_WHEN_it_may_not_be_read_THEN_each_client_loses_the_right() -> None:
    records = RecordSet.build(parse_text('record(stringin, "A") { field(VAL, "abc") }', "test").expand({}))
    policy = Secret()
    server = Server(records, policy, interfaces=["127.0.0.1"], port=0)
    await server.start()
    try:
        clients = [await _channel(server) for _ in range(2)]
        for reader, writer, sid in clients:
            for number, dbr in enumerate((6, 0)):
                writer.write(wire.pack(wire.Command.EVENT_ADD, dbr, 1, sid, number, struct.pack(">12xH2x", 1)))
            await reader.readexactly(16 + 16 + 40)
        policy.closed = True
        policy.changed()
        for reader, writer, sid in clients:
            assert await reader.readexactly(16) == wire.pack(wire.Command.ACCESS_RIGHTS, 0, 0, 7, 2)
            expected = [
                wire.pack(wire.Command.EVENT_ADD, 6, 0, wire.ECA_NORDACCESS, 0),
                wire.pack(wire.Command.EVENT_ADD, 0, 1, wire.ECA_NORDACCESS, 1, bytes(40)),
            ]
            found = await reader.readexactly(16 + 16 + 40)
            assert found in (b"".join(expected), b"".join(reversed(expected)))
            writer.write(wire.pack(wire.Command.READ_NOTIFY, 6, 1, sid, 9))
            denied = wire.pack(wire.Command.READ_NOTIFY, 6, 0, wire.ECA_NORDACCESS, 9)
            assert await reader.readexactly(16) == denied
            writer.close()
            await writer.wait_closed()
    finally:
        await server.stop()
