"""Puts of Channel Access clients to a supply that takes 0.1 s for each exchange, and what reaches its wire when."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from ioc.app import App
from tests import dbr
from tests.fair_time import until
from tests.ioc.app_rig import running
from tests.libca import ECA_NORMAL, ECA_PUTFAIL
from tests.raw_ca import WRITE_NOTIFY, Message, RawCircuit

EXCHANGE = 0.1
CHANNELS = 8
ANSWER = 15.0  # seconds in which each put has its answer, on a busy machine


@dataclass
class SlowSupply:
    """A simulated supply; ``sets`` are the requests that changed it, in their order."""

    model: CaenModel = field(default_factory=lambda: CaenModel(Profile.A, channels=CHANNELS))
    sets: list[str] = field(default_factory=list)
    delay: float = 0.0
    sessions: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions.add(session := asyncio.current_task())
        while request := await reader.readline():
            if b"CMD:SET" in request:
                self.sets.append(request.decode().strip())
            await asyncio.sleep(self.delay)
            writer.write(self.model.respond(request))
        writer.close()
        await writer.wait_closed()
        self.sessions.discard(session)


@asynccontextmanager
async def slow_site() -> AsyncIterator[tuple[SlowSupply, App]]:
    supply = SlowSupply()
    server = await asyncio.start_server(supply.serve, "127.0.0.1", 0)
    address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    device = {"name": "HV1", "type": "caen-dt55xx", "address": address, "channels": CHANNELS, "timeout": 2.0}
    async with running(device) as app:
        supply.delay = EXCHANGE
        yield supply, app
        supply.delay = 0.0
    await until(lambda: not supply.sessions, 10.0, "the supply is left alone")
    server.close()


class Putter:
    """A client with one channel."""

    def __init__(self, app: App, name: str) -> None:
        self.circuit = RawCircuit(app.tcp_port)
        self.circuit.channel(name)
        self._sid = self.circuit.sids[name]

    def put(self, value: float) -> None:
        payload = struct.pack(">d", value)
        self.circuit.send(Message(WRITE_NOTIFY, dbr.DOUBLE, 1, self._sid, 1, payload))

    def status(self) -> int:
        return self.circuit.until(lambda one: one.command == WRITE_NOTIFY, ANSWER)[-1].parameter1

    def leave(self) -> None:
        self.circuit.__exit__()


async def clients(app: App, *names: str) -> list[Putter]:
    return [await asyncio.to_thread(Putter, app, name) for name in names]


async def of_channels(app: App) -> list[Putter]:
    return await clients(app, *(f"LAB:HV1:CH{n:02d}:VSET" for n in range(CHANNELS)))


async def test_GIVEN_8_puts_under_way_WHEN_the_server_is_disarmed_THEN_no_set_leaves_after_its_completion() -> None:
    async with slow_site() as (supply, app):
        puts = await of_channels(app)
        (arming,) = await clients(app, "LAB:IOC:ARMED")
        for number, put in enumerate(puts):
            put.put(100.0 + number)
        await until(lambda: bool(supply.sets), 10.0, "the first put has left")
        arming.put(0)
        assert await asyncio.to_thread(arming.status) == ECA_NORMAL
        sent = list(supply.sets)
        statuses = [await asyncio.to_thread(put.status) for put in puts]
        await asyncio.sleep(10 * EXCHANGE)  # what must not happen has this long to happen
        assert supply.sets == sent
        assert statuses.count(ECA_NORMAL) == len(sent) < 3
        assert set(statuses) == {ECA_NORMAL, ECA_PUTFAIL}
        for client in (*puts, arming):
            client.leave()


async def test_GIVEN_8_puts_with_completion_WHEN_their_clients_disconnect_THEN_only_what_had_begun_is_sent() -> None:
    async with slow_site() as (supply, app):
        puts = await of_channels(app)
        for number, put in enumerate(puts):
            put.put(100.0 + number)
        await until(lambda: bool(supply.sets), 10.0, "the first put has left")
        for put in puts:
            put.leave()
        refused = app.records["LAB:HV1:PUT:REFUSED"]
        await until(lambda: refused.val >= CHANNELS - 2, 10.0, "the others are refused")  # type: ignore[operator]
        sent = list(supply.sets)
        await asyncio.sleep(10 * EXCHANGE)
        assert supply.sets == sent
        assert len(sent) + refused.val == CHANNELS  # type: ignore[operator]


async def test_GIVEN_settings_of_8_channels_WHEN_one_output_is_switched_off_THEN_it_leaves_before_them() -> None:
    async with slow_site() as (supply, app):
        puts = await of_channels(app)
        (switch,) = await clients(app, "LAB:HV1:CH07:ON")
        for number, put in enumerate(puts):
            put.put(100.0 + number)
        await until(lambda: bool(supply.sets), 10.0, "the first put has left")
        switch.put(0)
        assert await asyncio.to_thread(switch.status) == ECA_NORMAL
        off = supply.sets.index("$CMD:SET,CH:7,PAR:OFF")
        assert off <= 2
        statuses = [await asyncio.to_thread(put.status) for put in puts]
        assert statuses[7] == ECA_PUTFAIL
        assert not any("CH:7,PAR:VSET" in request for request in supply.sets)
        for client in (*puts, switch):
            client.leave()
