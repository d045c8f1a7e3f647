"""How many requests of one client are served in one turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ioc.server import connection, wire
from ioc.server.connection import SLICE, Connection
from ioc.server.wire import Command, Message


class Transport:
    """A connection that notes whether requests are read."""

    reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Slow(Connection):
    """Each request takes a quarter of a slice."""

    def __init__(self, transport: Any) -> None:
        super().__init__(1000)
        self._transport = transport
        self.now = 0.0
        self.served: list[int] = []

    def _handle(self, message: Message) -> None:
        self.now += SLICE / 4
        self.served.append(message.parameter1)


async def test_GIVEN_many_requests_at_once_WHEN_a_slice_is_over_THEN_the_others_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = Transport()
    client = Slow(transport)
    monkeypatch.setattr(connection.time, "perf_counter", lambda: client.now)
    client.data_received(b"".join(wire.pack(Command.ECHO, 0, 0, number, 0) for number in range(12)))
    turns = [len(client.served)]
    for _ in range(3):
        assert transport.reading == (len(client.served) == 12)
        await asyncio.sleep(0)
        turns.append(len(client.served))
    assert turns == [5, 10, 12, 12]
    assert client.served == list(range(12))
    assert transport.reading
