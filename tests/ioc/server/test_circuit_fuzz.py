"""Requests that make no sense, thousands of them: each is answered or refused, and none is a surprise to the server."""

from __future__ import annotations

import asyncio
import logging
import random
import struct
from pathlib import Path

import pytest

from ioc.access import Policy
from ioc.database.dbfile import parse_template
from ioc.records import RecordSet
from ioc.server.circuit import Circuit, Service
from ioc.server.wire import Command, pack
from tests.conftest import rounds

RECORDS = Path(__file__).parents[2] / "conformance" / "records.db"
NAMES = (
    *(
        "T:AI",
        "T:AO",
        "T:BO",
        "T:MBBI",
        "T:LO",
        "T:SO",
        "T:LSI",
        "T:LSI.VAL$",
        "T:EMPTY",
        "T:WF",
        "T:CHARS",
        "T:NOBODY",
    ),
    *(
        "T:AI.SCAN",
        "T:AI.DESC$",
        "T:AI.FLNK",
        "T:AI.FLNK$",
        "T:AI.SDIS",
        "T:AI.HIHI",
        "T:AI.HHSV",
        "T:AI.UDF",
        "T:AI.ACKS",
    ),
    *(
        "T:AO.DRVH",
        "T:AO.PROC",
        "T:AO.DISA",
        "T:WF.[1:3]",
        'T:WF.{"arr":{"s":-2,"i":2}}',
        "T:LSI.VAL$[1:3]",
        "T:AI.[1]",
    ),
    *('T:AI.{"dbnd":{"abs":1}}', 'T:AI.{"ts":{}}'),
)
COMMANDS = (
    *(Command.EVENT_ADD, Command.EVENT_CANCEL, Command.READ, Command.READ_NOTIFY, Command.READ_NOTIFY),
    *(Command.WRITE, Command.WRITE, Command.WRITE_NOTIFY, Command.WRITE_NOTIFY, Command.CLEAR_CHANNEL),
    *(Command.EVENTS_OFF, Command.EVENTS_ON, Command.CREATE_CHAN, Command.ECHO, Command.CLIENT_NAME, Command.SEARCH),
)
TEXTS = (
    *(b"", b"1", b"nan", b"-inf", b"1e400", b"99999999999999999999", b"0x", b"1_0", b"\xff\xfe", b"Passive", b"ON"),
    *(b"T:LO", b"T:AI MS", b"T:AI.DESC PP", b"T:SO CP", b"NO", b"'", b"\0" * 40, b"x" * 80),
)
NUMBERS = tuple(struct.pack(">d", number) for number in (0.0, -1.5, 1e308, float("nan"), float("inf"), float("-inf")))


class Sink(asyncio.Transport):
    """A client that takes everything and says nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Forget it."""

    def abort(self) -> None:
        """Nothing to end."""

    def pause_reading(self) -> None:
        """Nothing comes from here but what the test hands over."""

    def resume_reading(self) -> None:
        """Nothing was held back."""


async def served(circuit: Circuit) -> None:
    """Let turns of the loop pass until a client's requests are all handled, as reading does."""
    while circuit._unserved:  # noqa: ASYNC110
        await asyncio.sleep(0)


def _request(chance: random.Random, sids: list[int]) -> bytes:
    command = chance.choice(COMMANDS)
    data_type = chance.choice((*range(7), *range(7), *range(41), chance.randrange(0x10000)))
    count = chance.choice((0, 1, 1, 1, 2, 10, 500, chance.randrange(0xFFFF)))
    payload = chance.choice((*TEXTS, *NUMBERS, chance.randbytes(chance.randrange(100))))
    if command == Command.EVENT_ADD:
        payload = struct.pack(">12xH2x", chance.choice((0, 1, 2, 4, 8, 5, 15, 16)))
    sid = chance.choice((*sids, *sids, chance.randrange(1 << 32)))
    return pack(command, data_type, count, sid, chance.randrange(5), payload)


@pytest.mark.parametrize("seed", range(rounds(4)))
async def test_GIVEN_requests_by_chance_WHEN_they_arrive_THEN_none_fails_within_the_server(
    seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    records = RecordSet.build(parse_template(RECORDS).expand({}))
    service = Service(records, Policy(), max_array_bytes=1 << 20, port=5064)
    chance = random.Random(seed)
    with caplog.at_level(logging.INFO, "labioc"):
        for _ in range(20):
            circuit = Circuit(service)
            circuit._transport = Sink()
            for cid, name in enumerate(NAMES):
                circuit.data_received(pack(Command.CREATE_CHAN, 0, 0, cid, 13, name.encode() + b"\0"))
            await served(circuit)
            sids = list(circuit.channels)
            assert len(sids) == len(NAMES) - 1
            for _ in range(100):
                circuit.data_received(b"".join(_request(chance, sids) for _ in range(3)))
                await served(circuit)
            await asyncio.sleep(0)
            circuit.connection_lost(None)
    assert [record.getMessage() for record in caplog.records] == []
    assert not any(record.monitors for record in records.values()), "monitors of clients that have gone"
