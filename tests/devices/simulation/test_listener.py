"""The port of a simulator: what becomes of connections when it stops, and that it stays the same."""

from __future__ import annotations

import asyncio
import socket

from devices.simulation.ports import Listener
from tests.fair_time import until


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)


async def test_a_stop_ends_a_connection_whose_task_has_not_begun_yet():
    before = asyncio.all_tasks()
    listener = Listener(echo)
    await listener.start()
    with socket.create_connection(("127.0.0.1", listener.port)):
        async with asyncio.timeout(3.0):
            while not any("_serve" in repr(task) for task in asyncio.all_tasks() - before):  # noqa: ASYNC110 - one turn
                await asyncio.sleep(0)
        await listener.stop()
        await until(lambda: asyncio.all_tasks() == before, what="the end of its task")


async def test_the_port_stays_the_same_and_dropped_clients_may_come_back():
    listener = Listener(echo)
    await listener.start()
    port = listener.port
    for again in (listener.disconnect, listener.stop):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"here\n")
        assert await reader.readline() == b"here\n"
        await again()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        await listener.start()
        assert listener.port == port
    await listener.stop()
